// Env for one process life of one simulated node. Create it again, with the same disk, kv and clock objects, to
// restart the node. Everything that this life asked for comes back through `run`, so that a dead life never runs:
// a crash throws a private CrashSignal out of the product's code, and later callbacks of that life are dropped.
// Invariant: after death no callback of this life runs, and any call it still makes throws the signal again.
import type { Clock, Disk, Env, Kv, LogFields, Random, Timer } from '../../src/kit/env.ts';
import { createPrng, type Prng } from './prng.ts';
import type { ScheduledEvent, Scheduler } from './scheduler.ts';
import { type CrashKind, SimDisk } from './sim-disk.ts';
import { SimKv } from './sim-kv.ts';

/** Thrown to unwind the product's code at a crash. Nothing but SimEnv.run may catch it. */
export class CrashSignal extends Error {
  override name = 'CrashSignal';
}

export interface LogRecord {
  timeMs: number;
  node: string;
  level: 'debug' | 'info' | 'warn' | 'error';
  message: string;
  fields: LogFields | undefined;
}

/** A node's clocks, kept over restarts; change the fields at any time. */
export interface ClockModel {
  /** Wall clock minus true time. */
  offsetUs: number;
  /** Rate error of both clocks in parts per million; x10 is 9,000,000. Set it before a life starts. */
  driftPpm: number;
}

export interface SimEnvOptions {
  scheduler: Scheduler;
  /** Root of this life's chance; a number, a text or a stream of the run's generator. */
  seed: number | string | Prng;
  node: string;
  disk?: SimDisk;
  kv?: SimKv;
  clock?: ClockModel;
  /** Wall clock at true time 0. */
  epochUs?: number;
  /** Longest time that a turn collects input before endOfTurn runs. */
  turnMs?: number;
  /** Asked at every crash point: crash here, and how? */
  crashAt?: (name: string) => CrashKind | undefined;
  /** The life has ended (after the disk took the crash). */
  onCrash?: (reason: string, kind: CrashKind) => void;
  onLog?: (record: LogRecord) => void;
}

export interface SimEnv extends Env {
  readonly node: string;
  readonly alive: boolean;
  readonly simDisk: SimDisk;
  readonly simKv: SimKv;
  readonly clockModel: ClockModel;
  readonly logs: LogRecord[];
  /** Why this life ended. */
  readonly deathReason: string | undefined;
  /** Enters this life from outside (a test step), even while it is paused. Not run when dead; undefined if it died inside. */
  run<T>(fn: () => T): T | undefined;
  /** Enters it with something that came over a wire: at once, after a pause (in order of arrival), or never. */
  deliver(fn: () => void): void;
  /** Ends this life from outside: 'process' keeps what the kernel has, 'power' loses what was not synced. */
  kill(kind: CrashKind, reason?: string): void;
  /** SIGSTOP: nothing of this life runs for so long. */
  pause(durationMs: number): void;
}

/** Shorter delays vanish in the rounding of times: a timer that is set again and again for the rest would never let time pass. */
const TIMER_MS_MIN = 0.001;
const LOGS_MAX = 10_000;
/** Between two callbacks that waited for the end of a pause. */
const RESUME_STEP_MS = 0.001;

export function createSimEnv(options: SimEnvOptions): SimEnv {
  const { scheduler, node } = options;
  const prng = typeof options.seed === 'object' ? options.seed : createPrng(options.seed);
  const chance = prng.stream('random');
  const turns = prng.stream('turns');
  const simDisk = options.disk ?? new SimDisk({ scheduler, prng: prng.stream('disk') });
  const simKv = options.kv ?? new SimKv({ scheduler, prng: prng.stream('kv') });
  const clockModel = options.clock ?? { offsetUs: 0, driftPpm: 0 };
  const epochUs = options.epochUs ?? 1_700_000_000_000_000;
  const turnMs = options.turnMs ?? 0.05;
  const bornMs = scheduler.nowMs;
  const rate = 1 + clockModel.driftPpm / 1e6;
  const logs: LogRecord[] = [];
  let alive = true;
  let deathReason: string | undefined;
  let pausedUntilMs = 0;
  /** What came back from the world during a pause. */
  const deferred: (() => void)[] = [];
  let depth = 0;
  let turnQueue: (() => void)[] = [];
  let turnScheduled = false;

  function die(kind: CrashKind, reason: string): void {
    if (!alive) return;
    alive = false;
    deathReason = reason;
    simDisk.crash(kind);
    simKv.crash(kind);
    options.onCrash?.(reason, kind);
  }

  function crash(kind: CrashKind, reason: string): never {
    die(kind, reason);
    throw new CrashSignal(`${node}: ${reason}`);
  }

  function assertAlive(): void {
    if (!alive) throw new CrashSignal(`${node}: dead (${deathReason})`);
  }

  function run<T>(fn: () => T): T | undefined {
    if (!alive) return undefined;
    depth++;
    try {
      return fn();
    } catch (error) {
      if (error instanceof CrashSignal && depth === 1) return undefined;
      throw error;
    } finally {
      depth--;
    }
  }

  /** A callback that comes back from the world: now, after a pause, or never. */
  function enter(fn: () => void): void {
    if (!alive) return;
    if (scheduler.nowMs >= pausedUntilMs && deferred.length === 0) run(fn);
    else deferred.push(fn);
  }

  /** Each in an event of its own, in order; what arrives meanwhile queues up behind. */
  function resume(): void {
    if (!alive || scheduler.nowMs < pausedUntilMs) return;
    const next = deferred[0];
    if (next === undefined) return;
    run(next);
    deferred.shift();
    if (deferred.length > 0) scheduler.after(RESUME_STEP_MS, resume);
  }

  function runTurn(): void {
    turnScheduled = false;
    const queue = turnQueue;
    turnQueue = [];
    for (const fn of queue) fn();
  }

  interface SimTimer extends Timer {
    event: ScheduledEvent;
    cancelled: boolean;
  }

  const clock: Clock = {
    nowMs: () => (scheduler.nowMs - bornMs) * rate,
    wallUs: () => Math.round(epochUs + scheduler.nowMs * 1000 * rate + clockModel.offsetUs),
    after(delayMs, fn) {
      assertAlive();
      const timer: SimTimer = {
        dueMs: clock.nowMs() + delayMs,
        cancelled: false,
        event: scheduler.after(Math.max(TIMER_MS_MIN, delayMs) / rate, () =>
          enter(() => {
            if (!timer.cancelled) fn();
          }),
        ),
      };
      return timer;
    },
    cancel(timer) {
      (timer as SimTimer).cancelled = true;
      scheduler.cancel((timer as SimTimer).event);
    },
    endOfTurn(fn) {
      assertAlive();
      turnQueue.push(fn);
      if (turnScheduled) return;
      turnScheduled = true;
      scheduler.after(turns.float() * turnMs, () => enter(runTurn));
    },
  };

  const random: Random = {
    float: () => chance.float(),
    uint32: () => chance.uint32(),
    bytes: (length) => chance.bytes(length),
  };

  function log(level: LogRecord['level'], message: string, fields: LogFields | undefined): void {
    const record: LogRecord = { timeMs: scheduler.nowMs, node, level, message, fields };
    if (logs.length < LOGS_MAX) logs.push(record);
    options.onLog?.(record);
  }

  const disk: Disk = simDisk.mount({ enter, assertAlive, crash });

  const env: SimEnv = {
    node,
    clock,
    random,
    disk,
    simDisk,
    simKv,
    clockModel,
    logs,
    log: {
      debug: (message, fields) => log('debug', message, fields),
      info: (message, fields) => log('info', message, fields),
      warn: (message, fields) => log('warn', message, fields),
      error: (message, fields) => log('error', message, fields),
    },
    openKv(dir: string, done: (error: Error | null, kv: Kv | null) => void) {
      assertAlive();
      simKv.open(dir, enter, done);
    },
    fatal: (reason, kind = 'invariant') => {
      assertAlive();
      return crash('process', `fatal ${kind}: ${reason}`);
    },
    crashPoint(name) {
      assertAlive();
      const kind = options.crashAt?.(name);
      if (kind !== undefined) crash(kind, `crash point ${name}`);
    },
    get alive() {
      return alive;
    },
    get deathReason() {
      return deathReason;
    },
    run,
    deliver: enter,
    kill: (kind, reason = 'killed') => die(kind, reason),
    pause(durationMs) {
      if (!alive) return;
      pausedUntilMs = Math.max(pausedUntilMs, scheduler.nowMs + durationMs);
      scheduler.at(pausedUntilMs, resume);
    },
  };
  return env;
}
