// A world for one partition in tests: a clock that the test moves, a group that commits when told and can lose leadership.
import type { Group, GroupMachine, GroupStatus } from '../../../cluster/host/types.ts';
import type { Env, Timer } from '../../../src/kit/env.ts';
import { ENTRY_WORK } from '../../../src/stream/batch-codec.ts';
import { BATCHES, BatchWindow } from '../../../src/stream/batch-window.ts';
import { ColdBodies } from '../../../src/stream/body-cache.ts';
import type { StreamConfig } from '../../../src/stream/config.ts';
import type { ApiError } from '../../../src/stream/errors.ts';
import { Partition, type PartitionOptions } from '../../../src/stream/partition.ts';
import type { AckSink } from '../../../src/stream/types.ts';
import { plainStream } from '../plain-stream.ts';

interface FakeTimer extends Timer {
  fn: () => void;
}

export class FakeClock {
  ms = 1000;
  wall = 1_700_000_000_000_000;
  timers: FakeTimer[] = [];
  #turn: (() => void)[] = [];

  nowMs(): number {
    return this.ms;
  }
  wallUs(): number {
    return this.wall;
  }
  after(delayMs: number, fn: () => void): Timer {
    const timer = { dueMs: this.ms + delayMs, fn };
    this.timers.push(timer);
    return timer;
  }
  cancel(timer: Timer): void {
    this.timers = this.timers.filter((t) => t !== timer);
  }
  endOfTurn(fn: () => void): void {
    this.#turn.push(fn);
  }

  /** Runs what was asked for at the end of the turn. */
  turn(): void {
    while (this.#turn.length > 0) this.#turn.shift()?.();
  }

  /** What is asked for at the end of the turn, or the next timer, is run alone. False: neither is there up to `untilMs`. */
  step(untilMs: number): boolean {
    const last = this.#turn.shift();
    if (last !== undefined) {
      last();
      return true;
    }
    const next = this.timers.filter((t) => t.dueMs <= untilMs).sort((a, b) => a.dueMs - b.dueMs)[0];
    if (next === undefined) return false;
    this.wall += (next.dueMs - this.ms) * 1000;
    this.ms = next.dueMs;
    this.cancel(next);
    next.fn();
    return true;
  }

  /** Both clocks go on; due timers run in order. */
  advance(ms: number): void {
    const until = this.ms + ms;
    while (this.step(until)) {}
    this.wall += (until - this.ms) * 1000;
    this.ms = until;
  }
}

export function fakeEnv(clock: FakeClock, seed = 1): Env {
  let state = seed;
  const uint32 = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state;
  };
  const unused = (): never => {
    throw new Error('not part of this world');
  };
  return {
    clock,
    random: {
      float: () => uint32() / 4294967296,
      uint32,
      bytes: (n) => Uint8Array.from({ length: n }, () => uint32() & 255),
    },
    disk: new Proxy({}, { get: unused }) as Env['disk'],
    log: { debug() {}, info() {}, warn() {}, error() {} },
    openKv: unused,
    fatal: (reason) => {
      throw new Error(`fatal: ${reason}`);
    },
    crashPoint() {},
  };
}

/** Entries are committed by `commit`; bodies are read "from disk" when `cold`. */
export class FakeGroup implements Group {
  readonly id = 64;
  provenUntilMs = Number.POSITIVE_INFINITY;
  leading = false;
  leader = 0;
  term = 0;
  applied = 0;
  inFlightBytes = 0;
  /** Reads of bodies go to disk and wait for `readDisk`. */
  cold = false;
  /** Barriers wait for `answerBarriers`. */
  holdBarriers = false;
  damaged = new Set<number>();
  diskReads = 0;
  readonly log: Uint8Array[] = [];
  /** Whatever was proposed, also what was lost since. */
  readonly proposed: Uint8Array[] = [];
  #paused = false;
  readonly #machine: GroupMachine;
  #barriers: ((ok: boolean) => void)[] = [];
  #reads: (() => void)[] = [];

  constructor(machine: GroupMachine) {
    this.#machine = machine;
  }

  propose(body: Uint8Array): number | undefined {
    if (!this.leading || this.#paused) return undefined;
    this.proposed.push(body);
    this.log.push(body);
    return this.log.length;
  }

  get uncommitted(): number {
    return this.log.length - this.applied;
  }

  commit(count = this.uncommitted): void {
    for (let i = 0; i < count; i++) {
      this.applied++;
      this.#machine.apply(this.applied, this.term, this.log[this.applied - 1]);
    }
  }

  lead(): void {
    this.term++;
    this.leading = true;
    this.#paused = false;
    this.#machine.onLeading(this.term, false);
  }

  /** Loses leadership; what is not committed is lost when `lose`. */
  depose(lose = true): void {
    this.leading = false;
    if (lose) this.log.length = this.applied;
    this.#machine.onNotLeading(0);
  }

  /** Leadership is being handed over, or was not taken. */
  pause(paused: boolean): void {
    if (!this.leading) return;
    if (!paused) this.#paused = false;
    this.#machine.onPause(paused);
    this.#paused = paused;
  }

  /** Another leader's entry reaches this replica. */
  follow(body: Uint8Array): void {
    this.log.push(body);
    this.commit();
  }

  readBarrier(done: (ok: boolean) => void): void {
    if (this.holdBarriers) this.#barriers.push(done);
    else done(true);
  }

  answerBarriers(ok = true): void {
    for (const done of this.#barriers.splice(0)) done(ok);
  }

  readBody(index: number, done: (body: Uint8Array | undefined) => void): void {
    this.diskReads++;
    const read = (): void => done(this.damaged.has(index) ? undefined : this.log[index - 1]);
    if (this.cold) this.#reads.push(read);
    else read();
  }

  readBodies(first: number, _bytesMax: number, done: (bodies: readonly Uint8Array[] | undefined) => void): void {
    this.diskReads++;
    const read = (): void => {
      let end = first;
      while (end < first + 3 && end <= this.log.length && !this.damaged.has(end)) end++;
      done(end === first ? undefined : this.log.slice(first - 1, end - 1));
    };
    if (this.cold) this.#reads.push(read);
    else read();
  }

  readDisk(): void {
    for (const read of this.#reads.splice(0)) read();
  }

  bodyFromMemory(index: number): Uint8Array | undefined {
    return this.cold ? undefined : this.log[index - 1];
  }

  transferLeadership(): void {}
  proposeMembership(): number | undefined {
    return undefined;
  }
  status(): GroupStatus {
    throw new Error('not part of this world');
  }
}

export function streamConfig(change: Partial<StreamConfig> = {}): StreamConfig {
  return plainStream('S', {
    subjects: ['>'],
    duplicate_window: 120_000_000_000,
    allow_rollup_hdrs: true,
    ...change,
  });
}

export type Outcome = { seq: number; duplicate: boolean } | ApiError | 'returned';

/** Remembers outcomes by token; a second outcome of one token is an error. */
export class Outcomes implements AckSink {
  readonly byToken = new Map<number, Outcome>();
  readonly order: number[] = [];

  #set(token: number, outcome: Outcome): void {
    if (this.byToken.has(token)) throw new Error(`token ${token} was answered twice`);
    this.byToken.set(token, outcome);
    this.order.push(token);
  }
  stored(token: number, seq: number, duplicate: boolean): void {
    this.#set(token, { seq, duplicate });
  }
  refused(token: number, error: ApiError): void {
    this.#set(token, error);
  }
  returned(token: number): void {
    this.#set(token, 'returned');
  }
}

export function headers(lines: Record<string, string>): Uint8Array {
  const text = Object.entries(lines).map(([name, value]) => `${name}: ${value}\r\n`);
  return new TextEncoder().encode(`NATS/1.0\r\n${text.join('')}\r\n`);
}

export const NONE = new Uint8Array(0);

export class World {
  readonly clock = new FakeClock();
  readonly env = fakeEnv(this.clock);
  readonly outcomes = new Outcomes();
  readonly delivered: { inbox: string; subject: string; reply: string }[] = [];
  readonly partition: Partition;
  readonly group: FakeGroup;
  readonly window: BatchWindow;
  #token = 0;

  /** `batches`: how many may be on their way at once. */
  constructor(config: Partial<StreamConfig> = {}, options: Partial<PartitionOptions> = {}, batches = BATCHES) {
    this.window = options.window ?? new BatchWindow(this.clock, batches);
    this.partition = new Partition({
      coldBodies: new ColdBodies(4 << 20),
      env: this.env,
      account: '$G',
      streamName: 'S',
      streamId: 1,
      partition: 0,
      stride: 1,
      config: streamConfig(config),
      clusterTimeUs: () => this.clock.wall,
      entryWork: ENTRY_WORK,
      window: this.window,
      outlet: {
        deliverTo: (inbox, { subject, reply }) => this.delivered.push({ inbox, subject, reply }) > 0,
        hasInterest: () => true,
        publish() {},
      },
      ...options,
    });
    this.group = new FakeGroup(this.partition);
    this.partition.attach(this.group);
  }

  lead(): this {
    this.group.lead();
    this.settle();
    return this;
  }

  /** End of turn and commit until nothing moves. */
  settle(): void {
    do {
      this.group.commit();
      this.clock.turn();
    } while (this.group.uncommitted > 0);
  }

  /** Publishes; returns the token. */
  publish(
    subject: string,
    payload: string | Uint8Array = '',
    hdr: Uint8Array | Record<string, string> = NONE,
    term = this.group.term,
  ): number {
    const token = ++this.#token;
    const bytes = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
    const hdrBytes = hdr instanceof Uint8Array ? hdr : headers(hdr);
    this.partition.publish(subject, hdrBytes, bytes, this.outcomes, token, term);
    return token;
  }

  outcome(token: number): Outcome | undefined {
    return this.outcomes.byToken.get(token);
  }

  /** Publishes and settles. */
  store(subject: string, payload: string | Uint8Array = '', hdr: Uint8Array | Record<string, string> = NONE): Outcome {
    const token = this.publish(subject, payload, hdr);
    this.settle();
    const outcome = this.outcome(token);
    if (outcome === undefined) throw new Error('no outcome');
    return outcome;
  }

  /** Runs an operation, settles, and returns what its callback got. */
  ask<T>(operation: (done: (result: T) => void) => void): T {
    let result: { value: T } | undefined;
    operation((value) => {
      if (result !== undefined) throw new Error('answered twice');
      result = { value };
    });
    this.settle();
    if (result === undefined) throw new Error('not answered');
    return (result as { value: T }).value;
  }
}
