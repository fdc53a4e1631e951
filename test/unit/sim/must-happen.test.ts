// A crash point that nobody asks for may cease to be passed, and nobody would notice: what a long run of the simulator must meet names all of them.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MUST_HAPPEN } from '../../sim/must-happen.ts';

const ROOT = join(import.meta.dirname, '../../..');

/** Names in calls of `crashPoint`; where a part of one is computed, it stands for any. */
function crashPoints(): string[] {
  const found = ['src', 'cluster'].flatMap((top) =>
    readdirSync(join(ROOT, top), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .flatMap((file) => [
        ...readFileSync(join(ROOT, top, file), 'utf8').matchAll(/\bcrashPoint\(([^;{]*?['`][^;]*?)\);/g),
      ])
      .flatMap(([, call]) => [...call.matchAll(/['`]([^'`]+)['`]/g)].map(([, name]) => name)),
  );
  return [...new Set(found)];
}

test('every crash point of the product must be met by a long run', () => {
  const names = crashPoints();
  expect(names).toEqual(expect.arrayContaining(['wal.install.switched', 'host:flushed', 'stream:backlog']));
  const isAsked = (name: string): boolean => {
    const pattern = new RegExp(`^visited ${name.replaceAll('.', '\\.').replace(/\$\{.*\}/, '.+')}$`);
    return MUST_HAPPEN.some((wanted) => pattern.test(wanted));
  };
  expect(names.filter((name) => !isAsked(name))).toEqual([]);
});
