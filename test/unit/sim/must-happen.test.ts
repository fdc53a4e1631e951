// A crash point that nobody asks for may cease to be passed, and nobody would notice: what a long run of the simulator must meet names all of them.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { MUST_HAPPEN } from '../../sim/must-happen.ts';
import { runScenario } from '../../sim/scenario.ts';

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

test('what power cuts and networks take is counted', () => {
  const faults = ['power loss of all', 'lossy network', 'partition'];
  const { counts, findings } = runScenario({ seed: 5, durationMs: 6000, faults, workloads: [], faultGapMs: 500 });
  expect(findings).toEqual([]);
  const taken = MUST_HAPPEN.filter((name) => /^(disk|network) /.test(name));
  expect(taken).toContain('disk tornWrites');
  expect(taken.filter((name) => !counts.get(name))).toEqual([]);
});
