// The ends that a process gave itself are counted in its data directory, whatever the file looked like before.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FATAL_FILE, readFatalRecord, recordFatal } from '../../../src/kit/fatal-record.ts';

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'flotilla-fatal-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

test('each kind is counted, the last reason stays', () => {
  expect(readFatalRecord(dir)).toMatchObject({ disk: 0, invariant: 0, lastReason: '' });
  expect(recordFatal(dir, 'disk', 'wal: sync failed: EIO')).toBe('');
  expect(recordFatal(dir, 'disk', 'wal: write failed: EIO')).toBe('');
  expect(recordFatal(dir, 'invariant', 'x'.repeat(5000))).toBe('');
  const record = readFatalRecord(dir);
  expect(record).toMatchObject({ disk: 2, invariant: 1 });
  expect(record.lastReason).toHaveLength(1000);
  expect(record.lastUs).toBeGreaterThan(1.6e15);
  expect(readdirSync(dir)).toEqual([FATAL_FILE]);
});

test('a damaged file starts anew, a directory that is gone is told', () => {
  writeFileSync(join(dir, FATAL_FILE), '{"disk": 3');
  expect(recordFatal(dir, 'disk', 'again')).toBe('');
  expect(readFatalRecord(dir).disk).toBe(1);
  expect(recordFatal(join(dir, 'gone'), 'disk', 'why')).toContain('ENOENT');
});
