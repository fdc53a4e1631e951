// Env on Node: what the composition root hands to everything below the sockets. Clock by performance.now and setTimeout, disk by
// node:fs callbacks (disk-node.ts), log by pino in nats-server's line format. The launcher sets UV_THREADPOOL_SIZE >= 8: the disk
// leaves two threads of the pool to log writes, however many reads are under way.
// Invariant: nothing here decides anything; every decision is above, and can be simulated.
import { randomFillSync } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { createNodeDisk } from './disk-node.ts';
import type { Clock, Env, Kv, Random, Timer } from './env.ts';
import { FATAL_FILE, recordFatal } from './fatal-record.ts';
import { createNodeLog, type LogLevel, type NodeLog } from './log-node.ts';

/** Functions queued while the end of a turn is being worked off still belong to it, this many times over. */
const TURN_ROUNDS_MAX = 4;
/** setTimeout's longest delay. */
const TIMER_MS_MAX = 2_147_483_647;

export interface NodeEnvOptions {
  dataDir: string;
  /** Default: pino to stderr at `logLevel`. */
  log?: NodeLog;
  logLevel?: LogLevel;
  /** Opens the rebuildable store; `dir` is absolute. Given by the composition root. Default: there is none. */
  openKv?: (dir: string, done: (error: Error | null, kv: Kv | null) => void) => void;
}

interface NodeTimer extends Timer {
  handle: NodeJS.Timeout | undefined;
}

class NodeClock implements Clock {
  private queue: (() => void)[] = [];
  private draining = false;
  private readonly drainBound = () => this.drain();

  nowMs(): number {
    return performance.now();
  }

  wallUs(): number {
    return Date.now() * 1_000;
  }

  after(delayMs: number, fn: () => void): Timer {
    const timer: NodeTimer = { dueMs: performance.now() + delayMs, handle: undefined };
    const arm = (ms: number) => {
      timer.handle = setTimeout(fire, Math.min(TIMER_MS_MAX, Math.max(1, Math.ceil(ms))));
    };
    // libuv counts whole milliseconds and may be early by a fraction of one.
    const fire = () => {
      const leftMs = timer.dueMs - performance.now();
      if (leftMs > 0) arm(leftMs);
      else fn();
    };
    arm(delayMs);
    return timer;
  }

  cancel(timer: Timer): void {
    clearTimeout((timer as NodeTimer).handle);
  }

  endOfTurn(fn: () => void): void {
    if (this.queue.push(fn) === 1 && !this.draining) setImmediate(this.drainBound);
  }

  /** Runs in the check phase, right after the poll phase. What the functions queue themselves (answers of this turn) leaves in the same
   * turn as far as the bound allows, so that an ack does not wait for another poll. */
  private drain(): void {
    this.draining = true;
    for (let round = 0; round < TURN_ROUNDS_MAX && this.queue.length > 0; round++) {
      const batch = this.queue;
      this.queue = [];
      for (const fn of batch) fn();
    }
    this.draining = false;
    if (this.queue.length > 0) setImmediate(this.drainBound);
  }
}

const nodeRandom: Random = {
  float: () => Math.random(),
  uint32: () => randomFillSync(new Uint32Array(1))[0],
  bytes: (length) => randomFillSync(new Uint8Array(length)),
};

/** Env plus what only the composition root may use. */
export interface NodeEnv extends Env {
  readonly nodeLog: NodeLog;
  /** `done` runs when nothing is under way on the disk: the directory may be given to another process, or removed. */
  whenDiskIdle(done: () => void): void;
}

export function createNodeEnv(options: NodeEnvOptions): NodeEnv {
  const log = options.log ?? createNodeLog({ level: options.logLevel ?? 'info' });
  const disk = createNodeDisk(options.dataDir);
  return {
    clock: new NodeClock(),
    random: nodeRandom,
    disk,
    log,
    nodeLog: log,
    whenDiskIdle: (done) => disk.whenIdle(done),
    openKv(dir, done) {
      if (options.openKv === undefined) done(new Error('no key-value store configured'), null);
      else options.openKv(disk.absolute(dir), done);
    },
    fatal(reason, kind = 'invariant'): never {
      log.fatalSync(reason);
      const unrecorded = recordFatal(options.dataDir, kind, reason);
      if (unrecorded !== '') log.fatalSync(`this end is not recorded in ${FATAL_FILE}: ${unrecorded}`);
      // EX_SOFTWARE: supervisors restart, and a test tells this end from a signal.
      process.exit(70);
    },
    crashPoint() {},
  };
}
