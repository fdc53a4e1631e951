// The rebuildable store on LevelDB: values come back whole or not at all; an unreadable directory is set aside.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Level } from 'level';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openLevelKv } from '../../../cluster/store/level-kv.ts';
import { addChecksum, checkChecksum, decodeValid, encodeValid } from '../../../cluster/store/value-codec.ts';
import type { Kv, Logger } from '../../../src/kit/env.ts';

let dir = '';
const lines: string[] = [];
const line = (message: string): void => {
  lines.push(message);
};
const log: Logger = { debug: line, info: line, warn: line, error: line };
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

const open = (): Promise<Kv> =>
  new Promise((resolve, reject) =>
    openLevelKv(join(dir, 'kv'), { log }, (error, kv) => (kv === null ? reject(error) : resolve(kv))),
  );
const get = (kv: Kv, key: string): Promise<string | undefined> =>
  new Promise((resolve, reject) =>
    kv.get(key, (error, value) => (error ? reject(error) : resolve(value && new TextDecoder().decode(value)))),
  );
const keys = (kv: Kv, prefix: string): Promise<string[]> =>
  new Promise((resolve, reject) => kv.keys(prefix, (error, found) => (error ? reject(error) : resolve(found))));
const put = (kv: Kv, all: Record<string, string | undefined>): Promise<void> =>
  new Promise((resolve, reject) =>
    kv.batch(
      Object.entries(all).map(([key, value]) => ({ key, value: value === undefined ? undefined : bytes(value) })),
      (error) => (error ? reject(error) : resolve()),
    ),
  );
const close = (kv: Kv): Promise<void> =>
  new Promise((resolve, reject) => kv.close((error) => (error ? reject(error) : resolve())));

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'flotilla-kv-'));
  lines.length = 0;
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('batches, prefixes, reopening', async () => {
  let kv = await open();
  await put(kv, { 'a/1': 'one', 'a/2': 'two', 'b/1': 'three' });
  await put(kv, { 'a/2': undefined, 'a/3': 'four' });
  await close(kv);
  kv = await open();
  expect(await get(kv, 'a/1')).toBe('one');
  expect(await get(kv, 'a/2')).toBeUndefined();
  expect(await keys(kv, 'a/')).toEqual(['a/1', 'a/3']);
  expect(await keys(kv, '')).toEqual(['a/1', 'a/3', 'b/1']);
  await close(kv);
});

test('a damaged value is absent, and said so', async () => {
  const kv = await open();
  await put(kv, { x: 'value', y: 'other' });
  await close(kv);
  const raw = new Level<string, Uint8Array>(join(dir, 'kv'), { valueEncoding: 'view' });
  await raw.put('x', bytes('garbage'));
  await raw.close();
  const again = await open();
  expect(await get(again, 'x')).toBeUndefined();
  expect(await get(again, 'y')).toBe('other');
  expect(lines.join()).toContain('damaged value');
  await close(again);
});

test('an unreadable directory goes to quarantine and an empty one takes its place', async () => {
  const kv = await open();
  await put(kv, { x: 'value' });
  await close(kv);
  writeFileSync(join(dir, 'kv', 'CURRENT'), 'nonsense');
  const again = await open();
  expect(await keys(again, '')).toEqual([]);
  expect(readdirSync(join(dir, 'quarantine'))).toEqual(['kv-1']);
  await close(again);
});

test('another format goes to quarantine; a lock does not', async () => {
  const raw = new Level<string, Uint8Array>(join(dir, 'kv'), { valueEncoding: 'view' });
  await raw.put('\u0000format', bytes('flotilla-kv 99'));
  await raw.close();
  const kv = await open();
  await expect(open()).rejects.toThrow();
  expect(readdirSync(join(dir, 'quarantine'))).toEqual(['kv-1']);
  await close(kv);
});

test('value codec', () => {
  const value = encodeValid({ group: 2 ** 40 + 3, incarnation: 77, index: 9 }, bytes('state'));
  expect(decodeValid(value, 2 ** 40 + 3, 77)).toEqual({ index: 9, body: bytes('state') });
  expect(decodeValid(value, 3, 77)).toBeUndefined();
  expect(decodeValid(value, 2 ** 40 + 3, 78)).toBeUndefined();
  const stored = addChecksum(value);
  expect(checkChecksum(stored)).toEqual(value);
  stored[9] ^= 1;
  expect(checkChecksum(stored)).toBeUndefined();
});
