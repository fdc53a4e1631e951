// The simulated disk keeps exactly what it promises: synced content and synced names, and a random rest.
import { describe, expect, test } from 'vitest';
import type { DiskFile } from '../../../src/kit/env.ts';
import { createPrng } from '../../sim/prng.ts';
import { createScheduler } from '../../sim/scheduler.ts';
import { SimDisk } from '../../sim/sim-disk.ts';
import { createSimEnv, type SimEnv } from '../../sim/sim-env.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (content: Uint8Array | undefined): string | undefined =>
  content === undefined ? undefined : new TextDecoder().decode(content);

function world(seed: number) {
  const prng = createPrng(seed);
  const scheduler = createScheduler(prng.stream('scheduler'));
  const disk = new SimDisk({ scheduler, prng: prng.stream('disk') });
  const boot = (life: number): SimEnv =>
    createSimEnv({ scheduler, seed: prng.stream(`life-${life}`), node: 'a', disk });
  return { scheduler, disk, boot };
}

/** Calls and waits for the callback. */
function wait(
  scheduler: ReturnType<typeof createScheduler>,
  call: (done: (error: Error | null) => void) => void,
): Error | null {
  let result: Error | null | undefined;
  call((error) => {
    result = error;
  });
  expect(scheduler.runUntilTrue(() => result !== undefined)).toBe(true);
  return result as Error | null;
}

function create(scheduler: ReturnType<typeof createScheduler>, env: SimEnv, path: string): DiskFile {
  let opened: DiskFile | null = null;
  wait(scheduler, (done) =>
    env.disk.open(path, 'create', (error, file) => {
      opened = file;
      done(error);
    }),
  );
  return opened as unknown as DiskFile;
}

describe('prng', () => {
  test('same seed, same numbers; streams do not depend on what was drawn', () => {
    const a = createPrng(7);
    const b = createPrng(7);
    expect([a.uint32(), a.uint32()]).toEqual([b.uint32(), b.uint32()]);
    a.float();
    expect(a.stream('x').uint32()).toBe(b.stream('x').uint32());
    expect(createPrng(7).stream('x').uint32()).not.toBe(createPrng(8).stream('x').uint32());
  });

  test('int is in range and roughly even', () => {
    const prng = createPrng(1);
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 4000; i++) counts[prng.int(4)]++;
    for (const count of counts) expect(count).toBeGreaterThan(850);
  });
});

describe('sim-disk', () => {
  test('a power cut keeps what was synced and named durably, whatever the seed', () => {
    const kept = new Set<string | undefined>();
    for (let seed = 0; seed < 60; seed++) {
      const { scheduler, disk, boot } = world(seed);
      const env = boot(1);
      const file = create(scheduler, env, 'd/f');
      wait(scheduler, (done) => file.write([bytes('hel'), bytes('lo ')], 0, done));
      wait(scheduler, (done) => file.sync(done));
      wait(scheduler, (done) => env.disk.syncDir('d', done));
      wait(scheduler, (done) => file.write([bytes('world')], 6, done));
      expect(text(disk.content('d/f'))).toBe('hello world');
      env.kill('power');
      const content = text(disk.content('d/f'));
      expect(content?.startsWith('hello ')).toBe(true);
      kept.add(content);
    }
    expect(kept.has('hello world')).toBe(true);
    expect(kept.has('hello ')).toBe(true);
  });

  test('without syncDir a new file may be gone; a process crash keeps it', () => {
    let gone = 0;
    for (let seed = 0; seed < 40; seed++) {
      const { scheduler, disk, boot } = world(seed);
      const env = boot(1);
      const file = create(scheduler, env, 'd/f');
      wait(scheduler, (done) => file.write([bytes('x')], 0, done));
      wait(scheduler, (done) => file.sync(done));
      env.kill(seed % 2 === 0 ? 'power' : 'process');
      if (disk.content('d/f') === undefined) gone++;
      if (seed % 2 === 1) expect(text(disk.content('d/f'))).toBe('x');
    }
    expect(gone).toBeGreaterThan(3);
  });

  test('replaceSync crashed at any step leaves the old or the new content', () => {
    for (let seed = 0; seed < 10; seed++) {
      for (let step = 0; step < 5; step++) {
        for (const kind of ['process', 'power'] as const) {
          const { disk, boot } = world(seed);
          const env = boot(1);
          env.run(() => env.disk.replaceSync('d/f', bytes('old')));
          const first = disk.operations;
          disk.crashAt = (operation) => (operation === first + step ? kind : undefined);
          env.run(() => env.disk.replaceSync('d/f', bytes('new')));
          expect(env.alive).toBe(false);
          expect(['old', 'new']).toContain(text(disk.content('d/f')));
        }
      }
    }
  });

  test('a dead life never runs again, and its calls throw', () => {
    const { scheduler, boot } = world(1);
    const env = boot(1);
    let ran = 0;
    env.clock.after(5, () => ran++);
    env.clock.endOfTurn(() => ran++);
    env.kill('process');
    scheduler.runFor(10);
    expect(ran).toBe(0);
    expect(() => env.clock.after(1, () => {})).toThrow('dead');
    expect(env.run(() => ran++)).toBeUndefined();
  });

  test('fatal and crash points unwind to run', () => {
    const { scheduler, disk } = world(1);
    const env = createSimEnv({
      scheduler,
      seed: 1,
      node: 'a',
      disk,
      crashAt: (name) => (name === 'here' ? 'power' : undefined),
    });
    let after = false;
    env.run(() => {
      env.crashPoint('elsewhere');
      env.crashPoint('here');
      after = true;
    });
    expect([env.alive, after, env.deathReason]).toEqual([false, false, 'crash point here']);
  });

  test('a failed sync leaves clean pages that a restart may lose', () => {
    const seen = new Set<string | undefined>();
    for (let seed = 0; seed < 20; seed++) {
      const { scheduler, disk, boot } = world(seed);
      const env = boot(1);
      const file = create(scheduler, env, 'f');
      wait(scheduler, (done) => file.write([bytes('abc')], 0, done));
      disk.faults.syncErrorProbability = 1;
      expect(wait(scheduler, (done) => file.sync(done))).toMatchObject({ code: 'EIO' });
      disk.faults.syncErrorProbability = 0;
      expect(wait(scheduler, (done) => file.sync(done))).toBeNull();
      expect(text(disk.content('f'))).toBe('abc');
      env.kill('process');
      seen.add(text(disk.content('f')));
    }
    expect([...seen].sort()).toEqual(['\0\0\0', 'abc']);
  });

  test('space budget cuts a write short; EIO ranges stick', () => {
    const { scheduler, disk, boot } = world(1);
    const env = boot(1);
    const file = create(scheduler, env, 'f');
    disk.faults.spaceBytes = 4;
    expect(wait(scheduler, (done) => file.write([bytes('abcdef')], 0, done))).toMatchObject({ code: 'ENOSPC' });
    expect(text(disk.content('f'))).toBe('abcd');
    disk.readError('f', 2, 3);
    let error: Error | null = null;
    wait(scheduler, (done) =>
      file.read(0, 4, (e) => {
        error = e;
        done(null);
      }),
    );
    expect(error).toMatchObject({ code: 'EIO' });
    expect(() => env.disk.readSync('f')).toThrow('EIO');
  });

  test('pause delays callbacks, not the world', () => {
    const { scheduler, boot } = world(1);
    const env = boot(1);
    const at: number[] = [];
    env.clock.after(5, () => at.push(scheduler.nowMs));
    env.pause(50);
    scheduler.runFor(100);
    expect(at).toEqual([50]);
  });
});
