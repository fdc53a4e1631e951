import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { DiskFile } from '../../../src/kit/env.ts';
import { createNodeEnv } from '../../../src/kit/env-node.ts';
import { readFatalRecord } from '../../../src/kit/fatal-record.ts';
import { gatherParts } from '../../../src/kit/gather.ts';
import { LOCK_FILE, lockDataDir, processStart } from '../../../src/kit/lock.ts';
import { createNodeLog, formatLine } from '../../../src/kit/log-node.ts';

let dir: string;
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'flotilla-kit-'));
});
afterEach(() => fs.rmSync(dir, { recursive: true, force: true }));

const quiet = () => createNodeEnv({ dataDir: dir, logLevel: 'silent' });

function opened(env: ReturnType<typeof quiet>, name: string, mode: 'create' | 'write' | 'read'): Promise<DiskFile> {
  return new Promise((resolve, reject) =>
    env.disk.open(name, mode, (error, file) => (file ? resolve(file) : reject(error))),
  );
}
function done(call: (callback: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => call((error) => (error ? reject(error) : resolve())));
}

describe('clock', () => {
  test('end-of-turn functions run in order, those they queue as well, and input is not starved', async () => {
    const env = quiet();
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      let again = 0;
      const forever = () => {
        if (again++ < 100) env.clock.endOfTurn(forever);
      };
      env.clock.endOfTurn(() => {
        order.push('a');
        env.clock.endOfTurn(() => order.push('c'));
      });
      env.clock.endOfTurn(() => order.push('b'));
      env.clock.endOfTurn(forever);
      setImmediate(() => {
        order.push('immediate');
        expect(again).toBeLessThan(10);
        resolve();
      });
    });
    expect(order).toEqual(['a', 'b', 'c', 'immediate']);
  });

  test('timers are never early and can be cancelled', async () => {
    const env = quiet();
    const start = env.clock.nowMs();
    let cancelled = false;
    env.clock.cancel(env.clock.after(1, () => (cancelled = true)));
    await new Promise<void>((resolve) => {
      env.clock.after(5.4, () => {
        expect(env.clock.nowMs() - start).toBeGreaterThanOrEqual(5.4);
        resolve();
      });
    });
    expect(cancelled).toBe(false);
  });
});

describe('disk', () => {
  test('what was written is read back; calls on one file complete in order', async () => {
    const env = quiet();
    env.disk.mkdirSync('wal/a');
    const file = await opened(env, 'wal/a/1', 'create');
    const order: number[] = [];
    const parts = [
      new Uint8Array(10).fill(1),
      new Uint8Array(5_000).fill(2),
      new Uint8Array(0),
      new Uint8Array(3).fill(3),
    ];
    const calls: ((cb: (error: Error | null) => void) => void)[] = [
      (cb) => file.write(parts, 0, cb),
      (cb) => file.sync(cb),
      (cb) => file.write([], 0, cb),
      (cb) => file.truncate(5_012, cb),
    ];
    await Promise.all(calls.map((call, i) => done(call).then(() => order.push(i + 1))));
    expect(order).toEqual([1, 2, 3, 4]);
    const bytes = await new Promise<Uint8Array>((resolve) => file.read(4, 100_000, (_, b) => resolve(b)));
    expect(bytes.length).toBe(5_008);
    expect([bytes[0], bytes[6], bytes[5_006], bytes[5_007]]).toEqual([1, 2, 3, 3]);
    file.close();
    expect(env.disk.sizeSync('wal/a/1')).toBe(5_012);
    expect(env.disk.readRangeSync('wal/a/1', 5_010, 10)).toHaveLength(2);
    expect(env.disk.listSync('wal')).toEqual(['a']);
    expect(env.disk.listSync('nothing')).toEqual([]);
    expect(env.disk.readSync('nothing')).toBeUndefined();
    await expect(opened(env, 'wal/a/1', 'create')).rejects.toThrow(/EEXIST/);
    await expect(opened(env, 'wal/a/2', 'write')).rejects.toThrow(/ENOENT/);
  });

  test('replace: the last of several wins, nothing temporary stays; rename makes the directory', async () => {
    const env = quiet();
    env.disk.replaceSync('identity', Uint8Array.of(1));
    await Promise.all([2, 3, 4].map((n) => done((cb) => env.disk.replace('identity', new Uint8Array(n), cb))));
    expect(env.disk.readSync('identity')).toHaveLength(4);
    env.disk.renameSync('identity', 'quarantine/x/identity');
    expect(env.disk.listSync('')).toEqual(['quarantine']);
    env.disk.truncateSync('quarantine/x/identity', 1);
    expect(env.disk.sizeSync('quarantine/x/identity')).toBe(1);
    await done((cb) => env.disk.unlink('quarantine/x/identity', cb));
    await done((cb) => env.disk.syncDir('quarantine/x', cb));
    expect(await new Promise<number>((resolve) => env.disk.freeBytes((_, n) => resolve(n)))).toBeGreaterThan(0);
  });

  test('idle comes after everything that is under way, and after what that goes on to do', async () => {
    const env = quiet();
    const file = await opened(env, 'a', 'create');
    const order: string[] = [];
    env.disk.replace('formation', new Uint8Array(100_000), () => {
      order.push('replaced');
      env.disk.replace('identity', Uint8Array.of(1), () => order.push('replaced again'));
    });
    file.write([new Uint8Array(100_000)], 0, () => order.push('written'));
    file.sync(() => order.push('synced'));
    file.close();
    env.disk.unlink('nothing', () => order.push('unlinked'));
    await new Promise<void>((resolve) => env.whenDiskIdle(resolve));
    expect(order.toSorted()).toEqual(['replaced', 'replaced again', 'synced', 'unlinked', 'written']);
    expect(env.disk.listSync('')).toEqual(['a', 'formation', 'identity']);
    // With nothing under way it comes as well.
    await new Promise<void>((resolve) => env.whenDiskIdle(resolve));
  });

  test('gathering keeps the bytes', () => {
    const parts = [3, 0, 3_000, 1, 2_048, 2_049, 7].map((n, i) => new Uint8Array(n).fill(i));
    const out = gatherParts(parts);
    expect(Buffer.concat(out).equals(Buffer.concat(parts))).toBe(true);
    expect(out.length).toBe(5);
    expect(out[1]).toBe(parts[2]);
  });
});

describe('log', () => {
  test('lines look like those of nats-server', async () => {
    const file = path.join(dir, 'log');
    const log = createNodeLog({ level: 'info', file, pid: 7 });
    log.debug('not shown');
    log.info('listening', { port: 4222 });
    log.warn('two\nlines');
    log.flushSync();
    // A flush does not wait for a write that is under way: the first line may land behind the second one, and a moment later.
    const written = () => fs.readFileSync(file, 'utf8').split('\n').filter(Boolean).sort();
    await expect.poll(written).toHaveLength(2);
    const lines = written();
    expect(lines[0]).toMatch(/^\[7\] \d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d\.\d{6} \[INF\] listening port=4222$/);
    expect(lines[1]).toMatch(/\[WRN\] two lines$/);
    expect(formatLine(1, new Date(2026, 0, 2, 15, 4, 5, 6).getTime(), 'ERR', 'x', '')).toBe(
      '[1] 2026/01/02 15:04:05.006000 [ERR] x\n',
    );
  });

  test('fatal says why and ends the process with 70', async () => {
    const code = `import { createNodeEnv } from ${JSON.stringify(path.resolve('src/kit/env-node.ts'))};
      const env = createNodeEnv({ dataDir: ${JSON.stringify(dir)} }); env.log.info('first'); env.fatal('it is broken', 'disk');`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'ignore', 'pipe'] });
    let text = '';
    child.stderr.on('data', (chunk) => (text += chunk));
    const exit = await new Promise((resolve) => child.on('close', resolve));
    expect(exit).toBe(70);
    expect(readFatalRecord(dir)).toMatchObject({ disk: 1, invariant: 0, lastReason: 'it is broken' });
    // Lines that were on their way to a full pipe may come after the last words; their times tell the order.
    expect(text).toMatch(/\[FTL\] it is broken\n/);
    expect(text).toMatch(/\[INF\] first\n/);
  });
});

describe('lock', () => {
  test('a living owner is named; released and stale locks are taken over', () => {
    const lock = lockDataDir(dir);
    expect(() => lockDataDir(dir)).toThrow(`in use by process ${process.pid}`);
    lock.release();
    // A dead process, and a reused pid.
    fs.writeFileSync(path.join(dir, LOCK_FILE), `999999\nwhenever\n`);
    lockDataDir(dir).release();
    fs.writeFileSync(path.join(dir, LOCK_FILE), `${process.pid}\nanother life\n`);
    lockDataDir(dir).release();
    fs.writeFileSync(path.join(dir, LOCK_FILE), 'garbage');
    const last = lockDataDir(dir);
    expect(fs.readdirSync(dir)).toEqual([LOCK_FILE]);
    last.release();
    expect(fs.readdirSync(dir)).toEqual([]);
    expect(processStart(process.pid)).not.toBe('');
  });
});
