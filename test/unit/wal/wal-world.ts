// A simulated node with a WAL, for the tests of this folder: boots lives on one disk and drives callbacks to their end.
import { crc32c } from '@node-rs/crc32';
import { encodeMembership } from '../../../cluster/core/membership.ts';
import { EntryKind, type LogEntry, type Membership } from '../../../cluster/core/types.ts';
import type { WalOptions } from '../../../cluster/wal/options.ts';
import type { Wal } from '../../../cluster/wal/types.ts';
import { openWal } from '../../../cluster/wal/wal.ts';
import { createPrng, type Prng } from '../../sim/prng.ts';
import { createScheduler, type Scheduler } from '../../sim/scheduler.ts';
import { type CrashKind, SimDisk } from '../../sim/sim-disk.ts';
import { createSimEnv, type LogRecord, type SimEnv } from '../../sim/sim-env.ts';

export const MEMBERS: Membership = { voters: [11, 12, 13], learners: [] };

export interface World {
  prng: Prng;
  scheduler: Scheduler;
  disk: SimDisk;
  /** Crash points passed, in order, over all lives. */
  points: string[];
  crashAt: ((name: string, count: number) => CrashKind | undefined) | undefined;
  /** Lines of all lives; for whoever looks into a failing seed. */
  onLog: ((record: LogRecord) => void) | undefined;
  options: Partial<WalOptions>;
  lives: number;
}

export interface Life {
  env: SimEnv;
  wal: Wal;
}

/** No zeros behind the last batch unless asked for: where files end is where tests cut them. */
export function createWorld(seed: number | string, given: Partial<WalOptions> = {}): World {
  const options = { zeroBytes: 0, ...given };
  const prng = createPrng(seed);
  const scheduler = createScheduler(prng.stream('scheduler'));
  const disk = new SimDisk({ scheduler, prng: prng.stream('disk') });
  return { prng, scheduler, disk, points: [], crashAt: undefined, onLog: undefined, options, lives: 0 };
}

/** Starts a life; undefined when it was stopped during recovery. */
export function boot(world: World): Life | undefined {
  const { scheduler, disk, prng } = world;
  const env = createSimEnv({
    scheduler,
    seed: prng.stream(`life-${world.lives++}`),
    node: 'a',
    disk,
    onLog: (record) => world.onLog?.(record),
    crashAt: (name) => {
      world.points.push(name);
      return world.crashAt?.(name, world.points.length - 1);
    },
  });
  let wal: Wal | undefined;
  try {
    wal = env.run(() => openWal(env, 'wal', world.options));
  } catch (error) {
    // The disk refused: the process ends, as a real one does.
    if (!(error instanceof Error) || !('code' in error)) throw error;
    env.kill('process', error.message);
  }
  return wal === undefined ? undefined : { env, wal };
}

export function bootSurely(world: World): Life {
  const life = boot(world);
  if (life === undefined) throw new Error('the node did not start');
  return life;
}

/** Calls, and runs the world until the callback came; false when the life ended first. */
export function settle(world: World, life: Life, call: (done: () => void) => void): boolean {
  let finished = false;
  life.env.run(() =>
    call(() => {
      finished = true;
    }),
  );
  world.scheduler.runUntilTrue(() => finished || !life.env.alive);
  return finished;
}

export function flush(world: World, life: Life): boolean {
  return settle(world, life, (done) => life.wal.flush(done));
}

export function bodyOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export function entryOf(index: number, term: number, text: string): LogEntry {
  const body = bodyOf(text);
  return { index, term, kind: EntryKind.batch, body, crc: crc32c(body) };
}

export function membershipEntry(index: number, term: number, membership: Membership): LogEntry {
  const body = encodeMembership(membership);
  return { index, term, kind: EntryKind.membership, body, crc: crc32c(body), membership };
}

/** State of the durable snapshot, as one buffer. */
export function stateOf(wal: Wal, group: number): Uint8Array | undefined {
  const chunks: Uint8Array[] = [];
  return wal.readSnapshotSync(group, (chunk) => chunks.push(chunk)) ? Buffer.concat(chunks) : undefined;
}

export const textOf = (body: Uint8Array | undefined): string | undefined =>
  body === undefined ? undefined : new TextDecoder().decode(body);

export function read(
  world: World,
  life: Life,
  group: number,
  first: number,
  last: number,
  bytes = 1e9,
): LogEntry[] | undefined {
  let found: LogEntry[] | undefined;
  settle(world, life, (done) =>
    life.wal.readEntries(group, first, last, bytes, (entries) => {
      found = entries;
      done();
    }),
  );
  return found;
}

export function texts(entries: LogEntry[] | undefined): (string | undefined)[] | undefined {
  return entries?.map((entry) => textOf(entry.body));
}
