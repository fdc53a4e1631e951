// The disk's free space decides whether publishes are accepted: below the reserve none, and again with some room above it.
import { describe, expect, it } from 'vitest';
import { DiskRoom } from '../../../src/kit/disk-room.ts';
import type { Env } from '../../../src/kit/env.ts';
import { FakeClock, fakeEnv } from '../stream/fake-world.ts';

const MIB = 1024 * 1024;

function world(): { clock: FakeClock; env: Env; disk: { free: number; error: Error | null } } {
  const clock = new FakeClock();
  const disk = { free: 1000 * MIB, error: null as Error | null };
  const freeBytes = (done: (error: Error | null, bytes: number) => void): void => done(disk.error, disk.free);
  return { clock, disk, env: { ...fakeEnv(clock), disk: { freeBytes } as Env['disk'] } };
}

describe('DiskRoom', () => {
  it('is low below the reserve and not low again before there is some more', () => {
    const { clock, env, disk } = world();
    const room = new DiskRoom(env, 100 * MIB);
    expect(room.isLow).toBe(false);
    disk.free = 99 * MIB;
    clock.advance(100);
    expect(room.isLow).toBe(true);
    disk.free = 101 * MIB;
    clock.advance(100);
    expect(room.isLow).toBe(true);
    disk.free = 117 * MIB;
    clock.advance(100);
    expect(room.isLow).toBe(false);
  });

  it('keeps its judgement while the disk does not answer, and looks no more when closed', () => {
    const { clock, env, disk } = world();
    disk.free = 0;
    const room = new DiskRoom(env, 100 * MIB);
    expect(room.isLow).toBe(true);
    disk.error = new Error('EIO');
    clock.advance(2000);
    expect(room.isLow).toBe(true);
    room.close();
    disk.error = null;
    disk.free = 1000 * MIB;
    clock.advance(5000);
    expect(room.isLow).toBe(true);
    expect(clock.timers).toEqual([]);
  });
});
