// A partition without Raft and disk, for consumer tests: messages in an array, a log of commands that is "committed" some
// milliseconds after it was proposed, a leader's engine that can be replaced, and clients that keep what they receive.
// A second table applies the same log and must always agree with the first.
import { expect } from 'vitest';
import type { ConsumerConfig, StreamConfig } from '../../../src/stream/config.ts';
import { compileFilter } from '../../../src/stream/consumer-filter.ts';
import { type ConsumerRegistry, createConsumerTable } from '../../../src/stream/consumers.ts';
import { DeliveryEngine } from '../../../src/stream/delivery.ts';
import { type ApiError, apiError, isApiError } from '../../../src/stream/errors.ts';
import type {
  CommandProposer,
  ConsumerState,
  MessageView,
  Outlet,
  StoredMessage,
  SubjectFilter,
} from '../../../src/stream/types.ts';
import { createPrng } from '../../sim/prng.ts';
import { createScheduler, type Scheduler } from '../../sim/scheduler.ts';
import { createSimEnv, type SimEnv } from '../../sim/sim-env.ts';
import { plainStream } from '../plain-stream.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
export const bytes = (text: string): Uint8Array => encoder.encode(text);
export const text = (data: Uint8Array): string => decoder.decode(data);

export class FakeMessages implements MessageView {
  readonly messages = new Map<number, StoredMessage>();
  firstSeq = 1;
  lastSeq = 0;

  add(subject: string, payload: string, stampUs: number, hdr = ''): number {
    const seq = ++this.lastSeq;
    if (!this.#ids.has(subject)) this.#ids.set(subject, this.#ids.size + 1);
    this.messages.set(seq, { seq, subject, hdr: bytes(hdr), payload: bytes(payload), stampUs });
    return seq;
  }
  remove(seq: number): boolean {
    const was = this.messages.delete(seq);
    while (this.firstSeq <= this.lastSeq && !this.messages.has(this.firstSeq)) this.firstSeq++;
    return was;
  }
  exists(seq: number): boolean {
    return this.messages.has(seq);
  }
  next(from: number, filter: SubjectFilter): number {
    for (let seq = Math.max(from, this.firstSeq); seq <= this.lastSeq; seq++) {
      const message = this.messages.get(seq);
      if (message !== undefined && filter.matches(message.subject)) return seq;
    }
    return 0;
  }
  count(from: number, filter: SubjectFilter): number {
    let count = 0;
    for (let seq = this.next(from, filter); seq !== 0; seq = this.next(seq + 1, filter)) count++;
    return count;
  }
  isShort(): boolean {
    return !this.isLong;
  }
  /** Everything is counted in slices. */
  isLong = false;
  /** More than there are. */
  seemingSubjects = 0;
  get subjects(): number {
    return Math.max(this.#ids.size, this.seemingSubjects);
  }
  readonly #ids = new Map<string, number>();
  #last(matches: (message: StoredMessage) => boolean): number {
    return Math.max(0, ...[...this.messages.values()].filter(matches).map(({ seq }) => seq));
  }
  #subjectOfId(id: number): string {
    return [...this.#ids].find(([, each]) => each === id)?.[0] ?? '';
  }
  #lasts(filter: SubjectFilter): number[] {
    const names = [...this.#ids.keys()].filter((name) => filter.matches(name));
    return names.map((name) => this.#last(({ subject }) => subject === name)).filter((seq) => seq > 0);
  }
  firstLast(filter: SubjectFilter): number {
    return this.#lasts(filter).sort((a, b) => a - b)[0] ?? 0;
  }
  lastMatching(filter: SubjectFilter): number {
    return Math.max(0, ...this.#lasts(filter));
  }
  someSubjects(from: number, filter: SubjectFilter, max: number, each: (id: number) => void): number {
    let left = this.isLong ? Math.min(max, 2) : max;
    let at = from;
    for (const [name, id] of this.#ids) {
      if (id <= from) continue;
      if (left-- === 0) return at;
      at = id;
      if (filter.matches(name) && this.countOfSubject(id) > 0) each(id);
    }
    return 0;
  }
  someMessages(from: number, upTo: number, filter: SubjectFilter, max: number, each: (seq: number) => boolean): number {
    let left = this.isLong ? Math.min(max, 3) : max;
    for (let seq = Math.max(from, this.firstSeq); seq <= Math.min(upTo, this.lastSeq); seq++) {
      const message = this.messages.get(seq);
      if (message === undefined) continue;
      if (left-- === 0) return seq;
      if (filter.matches(message.subject) && !each(seq)) return seq + 1;
    }
    return 0;
  }
  countOfSubject(id: number): number {
    const name = this.#subjectOfId(id);
    return [...this.messages.values()].filter(({ subject }) => subject === name).length;
  }
  lastOfSubject(id: number): number {
    const name = this.#subjectOfId(id);
    return this.#last(({ subject }) => subject === name);
  }
  subjectIdOf(seq: number): number {
    return this.#ids.get(this.subjectOf(seq)) ?? 0;
  }
  previousOfSubject(seq: number): number {
    const name = this.subjectOf(seq);
    return this.#last((message) => message.subject === name && message.seq < seq);
  }
  isLastUpTo(seq: number, upTo: number): boolean {
    const name = this.subjectOf(seq);
    return this.exists(seq) && this.#last((message) => message.subject === name && message.seq <= upTo) === seq;
  }
  subjectOf(seq: number): string {
    return this.messages.get(seq)?.subject ?? '';
  }
  stampUsOf(seq: number): number {
    return this.messages.get(seq)?.stampUs ?? 0;
  }
  seqAtOrAfter(stampUs: number): number {
    for (const { seq, stampUs: at } of this.messages.values()) if (at >= stampUs) return seq;
    return this.lastSeq + 1;
  }
}

export interface Received {
  inbox: string;
  subject: string;
  reply: string;
  hdr: string;
  payload: string;
  atMs: number;
}

export const STREAM: StreamConfig = plainStream('S', { num_replicas: 3 });

export const PULL: ConsumerConfig = {
  durable_name: 'C',
  name: 'C',
  deliver_policy: 'all',
  ack_policy: 'explicit',
  ack_wait: 30e9,
  max_deliver: -1,
  replay_policy: 'instant',
  max_waiting: 512,
  max_ack_pending: 1000,
  num_replicas: 0,
};

interface Command {
  type: number;
  body: Uint8Array;
  done: ((result: ApiError | undefined) => void) | undefined;
}

export class FakePartition {
  readonly scheduler: Scheduler;
  readonly env: SimEnv;
  readonly messages = new FakeMessages();
  stream: StreamConfig;
  table: ConsumerRegistry;
  follower: ConsumerRegistry;
  engine: DeliveryEngine;
  /** Subjects that someone listens to; everything when undefined. */
  interest: Set<string> | undefined;
  readonly received: Received[] = [];
  readonly advisories: { subject: string; body: Record<string, unknown> }[] = [];
  /** Commands that were proposed and not committed. */
  #proposed: Command[] = [];
  readonly #lost: (readonly string[])[] = [];
  #commitAsked = false;
  /** From proposal to commit; Infinity: not until it is lowered and something is proposed, or `commit` is called. */
  commitMs = 1;
  /** Reads take so long; 0 answers inside the call. */
  readMs = 0;
  reads = 0;
  /** Exists and cannot be read. */
  readonly damaged = new Set<number>();
  commands = 0;
  /** How long the leadership is proven; a proof takes `proofMs`, and lasts. */
  provenUntilMs = Number.POSITIVE_INFINITY;
  proofMs = 1;
  proofLastsMs = Number.POSITIVE_INFINITY;
  proofsAsked = 0;
  #stampUs = 1_700_000_000_000_000;
  #term = 0;

  constructor(stream: Partial<StreamConfig> = {}) {
    const prng = createPrng(7);
    this.scheduler = createScheduler(prng);
    this.env = createSimEnv({ scheduler: this.scheduler, seed: 1, node: 'n1' });
    this.stream = { ...STREAM, ...stream };
    this.table = this.#newTable();
    this.follower = this.#newTable();
    this.engine = this.#newEngine();
    this.engine.onLeading(++this.#term);
  }

  readonly proposer: CommandProposer = {
    proposeCommand: (type, body, done) => {
      this.#proposed.push({ type, body, done });
      if (this.#commitAsked || this.commitMs === Number.POSITIVE_INFINITY) return;
      this.#commitAsked = true;
      this.scheduler.after(this.commitMs, () => this.commit());
    },
    readMessage: (seq, done) => {
      this.reads++;
      const answer = (): void => done(this.damaged.has(seq) ? undefined : this.messages.messages.get(seq));
      if (this.readMs === 0) answer();
      else this.scheduler.after(this.readMs, answer);
    },
    advance: () => {
      throw new Error('a stream of one partition is not advanced');
    },
    nowMs: () => this.env.clock.nowMs(),
    provenUntilMs: () => this.provenUntilMs,
    prove: (done) => {
      this.proofsAsked++;
      this.scheduler.after(this.proofMs, () => {
        this.provenUntilMs = this.scheduler.nowMs + this.proofLastsMs;
        done();
      });
    },
  };

  readonly outlet: Outlet = {
    deliverTo: (inbox, message) => {
      if (!this.outlet.hasInterest(inbox)) return false;
      const { subject, reply, hdr, payload } = message;
      this.received.push({ inbox, subject, reply, hdr: text(hdr), payload: text(payload), atMs: this.scheduler.nowMs });
      return true;
    },
    hasInterest: (inbox) => this.interest === undefined || this.interest.has(inbox),
    publish: (subject, payload) => {
      this.advisories.push({ subject, body: JSON.parse(text(payload)) });
    },
  };

  #newTable(): ConsumerRegistry {
    return createConsumerTable({
      config: () => this.stream,
      lostInterest: (patterns) => this.#lost.push(patterns),
      beginsExactly: () => false,
    });
  }

  /** What no consumer wants of that in which one has lost interest since the last call. */
  #unwanted(table: ConsumerRegistry): number[] {
    const { messages } = this;
    const unwanted = new Set<number>();
    for (const patterns of this.#lost.splice(0)) {
      const filter = compileFilter(patterns);
      for (let seq = messages.next(messages.firstSeq, filter); seq !== 0; seq = messages.next(seq + 1, filter))
        if (!table.isWanted(seq, messages.subjectOf(seq), messages)) unwanted.add(seq);
    }
    return [...unwanted];
  }

  #newEngine(): DeliveryEngine {
    return new DeliveryEngine({
      env: this.env,
      table: this.table,
      view: this.messages,
      proposer: this.proposer,
      outlet: this.outlet,
      streamName: this.stream.name,
      config: () => this.stream,
    });
  }

  /** Everything proposed so far is committed and applied; the leader's callbacks run. */
  commit(): void {
    this.#commitAsked = false;
    const batch = this.#proposed;
    this.#proposed = [];
    const results = batch.map(({ type, body }) => this.apply(type, body));
    batch.forEach(({ done }, i) => {
      done?.(results[i]);
    });
  }

  apply(type: number, body: Uint8Array): ApiError | undefined {
    this.commands++;
    this.#stampUs += 1000;
    const removed: number[] = [];
    const result = this.table.apply(type, body, this.#stampUs, this.messages, (seq) => removed.push(seq));
    removed.push(...this.#unwanted(this.table));
    const removedToo: number[] = [];
    const resultToo = this.follower.apply(type, body, this.#stampUs, this.messages, (seq) => removedToo.push(seq));
    removedToo.push(...this.#unwanted(this.follower));
    expect(resultToo).toEqual(result);
    expect(removedToo).toEqual(removed);
    for (const seq of removed) expect(this.messages.remove(seq)).toBe(true);
    expect(this.follower.digest()).toBe(this.table.digest());
    return result;
  }

  /** Stores messages and tells the leader. */
  store(subject: string, ...payloads: string[]): void {
    for (const payload of payloads) {
      this.#stampUs += 1000;
      const seq = this.messages.add(subject, payload, this.#stampUs);
      if (this.stream.retention === 'interest' && !this.table.isWanted(seq, subject, this.messages))
        this.messages.remove(seq);
    }
    this.engine.onStored(this.messages.lastSeq);
  }

  /** By limit, purge or delete. */
  remove(seq: number): void {
    this.engine.onRemoved(seq);
    this.messages.remove(seq);
    this.table.onRemoved(seq);
    this.follower.onRemoved(seq);
  }

  /** The leader is gone with what it did not commit; another one comes, whose table comes from a snapshot. */
  failover(): void {
    const lost = this.#proposed;
    this.#proposed = [];
    const old = this.engine;
    old.onNotLeading();
    for (const { done } of lost) done?.(apiError(10008));
    const restored = this.#newTable();
    restored.restore(this.table.snapshot());
    expect(restored.digest()).toBe(this.table.digest());
    this.table = restored;
    this.engine = this.#newEngine();
    this.engine.onLeading(++this.#term);
  }

  run(ms = 5): this {
    this.scheduler.runFor(ms);
    return this;
  }

  create(config: Partial<ConsumerConfig> = {}, action: '' | 'create' | 'update' = ''): ConsumerState | ApiError {
    let result: ConsumerState | ApiError | undefined;
    const named = { ...PULL, ...config };
    if (config.name !== undefined && config.durable_name === undefined) delete named.durable_name;
    if (config.durable_name !== undefined) named.name = config.durable_name;
    this.engine.createConsumer(named, action, (state) => {
      result = state;
    });
    for (let i = 0; i < 200 && result === undefined; i++) this.run(1);
    return result!;
  }

  info(name = 'C'): ConsumerState {
    let result: ConsumerState | ApiError | undefined;
    this.engine.consumerInfo(name, (state) => {
      result = state;
    });
    for (let i = 0; i < 200 && result === undefined; i++) this.run(1);
    if (result === undefined || isApiError(result)) throw new Error(`no info: ${JSON.stringify(result)}`);
    return result;
  }

  delete(name = 'C'): true | ApiError {
    let result: true | ApiError | undefined;
    this.engine.deleteConsumer(name, (outcome) => {
      result = outcome;
    });
    for (let i = 0; i < 200 && result === undefined; i++) this.run(1);
    return result!;
  }

  pull(body: object | string = '', inbox = 'in', name = 'C'): this {
    this.engine.pull(name, inbox, bytes(typeof body === 'string' ? body : JSON.stringify(body)));
    return this;
  }

  /** What came to an inbox since the last call. */
  take(inbox = 'in'): Received[] {
    const mine = this.received.filter((message) => message.inbox === inbox);
    for (const message of mine) this.received.splice(this.received.indexOf(message), 1);
    return mine;
  }

  /** As `take`, in short: payloads of messages, first lines of status frames. */
  brief(inbox = 'in'): string[] {
    return this.take(inbox).map(({ hdr, payload, reply }) =>
      hdr.startsWith('NATS/1.0 ') ? hdr.split('\r\n')[0].slice(9) : reply === '' ? 'confirmed' : payload,
    );
  }

  /** Acknowledges a received message. */
  ack(message: Received, verb = '', reply = '', name = 'C'): void {
    const [, , , , delivered, seq, consumerSeq] = message.reply.split('.');
    this.engine.ack(name, Number(seq), Number(consumerSeq), Number(delivered), bytes(verb), reply);
  }

  /** Delivers up to `batch` messages now. */
  fetch(batch = 100): Received[] {
    this.pull({ batch, no_wait: true }).run();
    return this.take().filter(({ reply }) => reply !== '');
  }
}
