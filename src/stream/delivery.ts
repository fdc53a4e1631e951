// Consumers on the leader of a partition: answers their API requests, feeds pull requests and push subjects, takes acks. Built by
// the partition over the replicated ConsumerTable, which it changes by proposing commands only (DESIGN §7); what it keeps itself
// is tentative and ends with leadership. Local seqs at this door.
// Invariants: one timer for all consumers; deliveries of one turn are bounded, the rest goes on next turn; within a turn
// deliveries come before their log entries; acks are flushed once per consumer and turn.
import type { Env } from '../kit/env.ts';
import type { ConsumerConfig, StreamConfig } from './config.ts';
import { ConsumerCommand, type CreateAction, encodeCreate, encodePart, encodeRemove } from './consumer-codec.ts';
import { ConsumerRecord } from './consumer-record.ts';
import { decideCreate, keptDurable } from './consumer-rules.ts';
import { ConsumerRegistry } from './consumers.ts';
import { Advisories, randomId } from './delivery-advisories.ts';
import { LiveConsumer } from './delivery-consumer.ts';
import { createDeliveryCounts, type DeliveryCounts } from './delivery-counts.ts';
import * as frames from './delivery-frames.ts';
import type { Budget, DeliveryHost } from './delivery-host.ts';
import { HungryConsumers } from './delivery-hungry.ts';
import { positionOf } from './delivery-state.ts';
import { TimerHeap } from './delivery-timers.ts';
import { parseAckVerb } from './delivery-verbs.ts';
import { type ApiError, apiError, isApiError } from './errors.ts';
import { LeaderProof } from './leader-proof.ts';
import { PartTarget, type PartUplink } from './part-target.ts';
import type { PullsEnd } from './pull-queue.ts';
import { parsePull } from './pull-request.ts';
import type {
  CommandProposer,
  ConsumerPosition,
  ConsumerState,
  ConsumerTable,
  MessageView,
  Outlet,
  StoredMessage,
} from './types.ts';

/** What one turn may send, and what one consumer may send before the next has its go. */
const TURN_MESSAGES_MAX = 1000;
const TURN_BYTES_MAX = 4 << 20;
const SLICE_MESSAGES_MAX = 256;
const SLICE_BYTES_MAX = 1 << 20;

export interface DeliveryEngineOptions {
  env: Env;
  /** From createConsumerTable. */
  table: ConsumerTable;
  view: MessageView;
  proposer: CommandProposer;
  outlet: Outlet;
  streamName: string;
  config: () => StreamConfig;
  /** What clients see of a local seq; absent: the same. */
  streamSeq?: (seq: number) => number;
  /** On a stream of several partitions: its consumers are parts, their homes are reached by this. */
  uplink?: PartUplink;
  /** Shared by all partitions of the node; absent: its own. */
  counts?: DeliveryCounts;
}

type Answer<T> = (result: T | ApiError) => void;

export class DeliveryEngine implements DeliveryHost {
  readonly env: Env;
  readonly view: MessageView;
  readonly outlet: Outlet;
  readonly streamName: string;
  readonly advisories: Advisories;
  readonly streamSeq: (seq: number) => number;
  readonly counts: DeliveryCounts;
  readonly #table: ConsumerRegistry;
  readonly #proposer: CommandProposer;
  readonly #config: () => StreamConfig;
  readonly #uplink: PartUplink | undefined;
  readonly #timers: TimerHeap;
  readonly #proof: LeaderProof<LiveConsumer>;
  /** By name: every consumer with something to do, and all that live in memory. Others are woken by the first request. */
  readonly #live = new Map<string, LiveConsumer>();
  #ready: LiveConsumer[] = [];
  #flushing: LiveConsumer[] = [];
  readonly #hungry: HungryConsumers;
  /** Consumers to which the removal of messages matters, and a lower bound of the seqs that matter. */
  readonly #watching = new Set<LiveConsumer>();
  #watchedFrom = Number.POSITIVE_INFINITY;
  #turnAsked = false;
  #leading = false;
  /** The partition's last seq was asked to be at least this. */
  #advancedTo = 0;

  constructor(options: DeliveryEngineOptions) {
    if (!(options.table instanceof ConsumerRegistry)) throw new Error('the table must come from createConsumerTable');
    this.env = options.env;
    this.view = options.view;
    this.outlet = options.outlet;
    this.streamName = options.streamName;
    this.streamSeq = options.streamSeq ?? ((seq) => seq);
    this.counts = options.counts ?? createDeliveryCounts();
    this.#uplink = options.uplink;
    this.#table = options.table;
    this.#proposer = options.proposer;
    this.#config = options.config;
    this.#timers = new TimerHeap(options.env.clock);
    // A home passes on what an earlier leader of a part gave to it.
    this.#proof = new LeaderProof(options.env.clock, options.proposer, this, options.uplink === undefined ? 1 : 2);
    this.#hungry = new HungryConsumers(options.view);
    this.advisories = new Advisories(options.env, options.outlet, options.streamName);
  }

  // ---- leadership and facts from the log ------------------------------------------------------------------------------

  /** The partition leads and has applied everything of former terms. */
  onLeading(term: number): void {
    this.#leading = true;
    this.#proof.begin(term);
    this.#advancedTo = 0;
    for (const record of this.#table.records()) {
      const { config, pending } = record;
      if (this.#uplink !== undefined && pending.size === 0) continue;
      if (pending.size > 0 || config.deliver_subject || config.inactive_threshold || !config.durable_name) {
        this.ready(this.#wake(record));
      }
    }
  }

  onNotLeading(): void {
    this.#endAll(this.#config().num_replicas > 1 ? 'handed over' : 'shutdown');
  }

  /** The partition ends on this node: its stream was deleted, or the node stops. */
  close(reason: 'deleted' | 'shutdown' = 'shutdown'): void {
    // Consumers over several partitions are their home's to tell of.
    const gone = reason === 'deleted' && this.#leading && this.#uplink === undefined ? this.#names() : [];
    this.#endAll(reason);
    for (const name of gone) this.advisories.action(name, 'delete');
  }

  /** Messages up to `lastSeq` are stored. Called once per applied batch on the leader. */
  onStored(lastSeq: number): void {
    this.#hungry.stored(lastSeq, this.#wakeHungry);
  }

  readonly #wakeHungry = (consumer: LiveConsumer): void => this.ready(consumer);

  /** A message is about to be removed. */
  onRemoved(seq: number): void {
    if (seq < this.#watchedFrom) return;
    let from = Number.POSITIVE_INFINITY;
    for (const consumer of this.#watching) {
      consumer.onRemoved(seq);
      from = Math.min(from, consumer.watchedFrom);
      if (consumer.watchedFrom === Number.POSITIVE_INFINITY) this.#watching.delete(consumer);
    }
    this.#watchedFrom = from;
  }

  /** All messages are about to be removed. */
  onCleared(): void {
    for (const consumer of this.#watching) consumer.onCleared();
    this.#watching.clear();
    this.#watchedFrom = Number.POSITIVE_INFINITY;
  }

  /** Someone subscribed to this subject: a push consumer need not wait for its next look. */
  onInterest(subject: string): void {
    for (const consumer of this.#live.values()) if (consumer.push?.subject === subject) consumer.wake();
  }

  // ---- API ----------------------------------------------------------------------------------------------------------

  createConsumer(config: ConsumerConfig, action: CreateAction, done: Answer<ConsumerState>): void {
    if (!this.#leading) {
      done(apiError(10008));
      return;
    }
    const name = config.name ?? config.durable_name ?? randomId(this.env, 8);
    const live = this.#live.get(name);
    const record = live?.record ?? this.#table.get(name);
    const named = keptDurable(record?.config, { ...config, name }, action);
    if (record !== undefined && this.#isOccupied(record.config, named)) {
      done(apiError(10013));
      return;
    }
    if (live?.memory || (record === undefined && livesInMemory(named, this.#config()))) {
      this.#createInMemory(live, named, action, done);
      return;
    }
    const existed = record !== undefined;
    this.#proposer.proposeCommand(ConsumerCommand.create, encodeCreate(action, named), (result) => {
      if (result !== undefined) {
        done(result);
        return;
      }
      const created = this.#table.get(name);
      if (created === undefined || !this.#leading) {
        done(apiError(10008));
        return;
      }
      if (!existed) this.advisories.action(name, 'create');
      const consumer = this.#wake(created);
      this.#reconfigured(consumer);
      consumer.info(done);
    });
  }

  deleteConsumer(name: string, done: Answer<true>): void {
    if (!this.#leading) {
      done(apiError(10008));
      return;
    }
    const live = this.#live.get(name);
    if (live?.memory) {
      this.#removed(live);
      done(true);
      return;
    }
    this.#proposeRemove(0, name, (result) => done(result ?? true));
  }

  /** Call it behind the partition's read barrier, as the two below. */
  consumerInfo(name: string, done: Answer<ConsumerState>): void {
    const consumer = this.#find(name);
    if (consumer === undefined) done(apiError(this.#leading ? 10014 : 10008));
    else consumer.info(done);
  }

  get consumerCount(): number {
    let count = this.#table.count;
    for (const consumer of this.#live.values()) if (consumer.memory) count++;
    return count;
  }

  /** As this leader sees them now, deliveries under way included; for monitoring: no barrier, no log entry. */
  localStates(): ConsumerState[] {
    return this.#leading ? this.#names().map((name) => this.#find(name)!.localState()) : [];
  }

  /** All consumers of this leader, one at a time in the same object, so that a scrape may stop in between; wakes none of them. */
  *positions(): Generator<ConsumerPosition> {
    const at: ConsumerPosition = {
      name: '',
      createdUs: 0,
      deliveredSeq: 0,
      lookedAtSeq: 0,
      floorSeq: 0,
      ackPending: 0,
      redelivered: 0,
      waiting: 0,
      ackUs: 0,
    };
    for (const record of this.#table.records()) {
      if (!this.#leading) return;
      const live = this.#live.get(record.name);
      positionOf(record, at);
      if (live?.record === record) live.position(at);
      yield at;
    }
    for (const live of this.#live.values()) {
      if (!live.memory) continue;
      positionOf(live.record, at);
      live.position(at);
      yield at;
    }
  }

  consumerNames(done: Answer<string[]>): void {
    done(this.#leading ? this.#names() : apiError(10008));
  }

  consumerList(done: Answer<ConsumerState[]>): void {
    if (!this.#leading) {
      done(apiError(10008));
      return;
    }
    const names = this.#names();
    const states: (ConsumerState | ApiError)[] = [];
    let left = names.length;
    const finish = (): void => {
      const lost = states.find((state) => isApiError(state) && state.err_code === 10008);
      done((lost as ApiError | undefined) ?? states.filter((state): state is ConsumerState => !isApiError(state)));
    };
    if (left === 0) {
      finish();
      return;
    }
    names.forEach((name, i) => {
      this.consumerInfo(name, (state) => {
        states[i] = state;
        if (--left === 0) finish();
      });
    });
  }

  pull(name: string, reply: string, body: Uint8Array): void {
    if (reply === '') return;
    if (!this.#leading) {
      this.status(reply, frames.LEADERSHIP_CHANGE);
      return;
    }
    const consumer = this.#find(name);
    if (consumer === undefined) {
      this.status(reply, frames.NO_RESPONDERS);
      return;
    }
    const refusal = this.#pull(consumer, reply, body);
    if (refusal !== undefined) this.status(reply, refusal);
  }

  ack(name: string, seq: number, consumerSeq: number, _delivered: number, payload: Uint8Array, reply: string): void {
    const verb = parseAckVerb(payload);
    const consumer = this.#find(name);
    // Nobody takes acks where none are kept: whoever waits for the answer hears so at once.
    if (consumer === undefined || !consumer.record.tracksAcks) {
      if (reply !== '' && this.#leading) this.status(reply, frames.NO_RESPONDERS);
      return;
    }
    consumer.ack(seq, consumerSeq, verb, reply);
    if (verb.kind === 'next' && reply !== '' && consumer.queue !== undefined) this.pull(name, reply, verb.body);
  }

  /** A message to `$JS.FC.<stream>.<consumer>.<id>`. */
  flowReply(name: string, subject: string): void {
    const consumer = this.#find(name);
    if (consumer?.push?.answered(subject)) consumer.wake();
  }

  // ---- parts of consumers of several partitions (part-sessions.ts) -----------------------------------------------------

  /** Undefined: there is no such part, or this node does not lead. */
  part(name: string): LiveConsumer | undefined {
    return this.#find(name);
  }

  /** A part that its home keeps in memory. */
  beginPart(record: ConsumerRecord): LiveConsumer {
    return this.#begin(record, true);
  }

  dropPart(consumer: LiveConsumer): void {
    if (this.#live.get(consumer.record.name) === consumer) this.#drop(consumer, 'shutdown');
  }

  /** Makes the part in the log, or gives it the configuration. */
  createPart(homeId: number, config: ConsumerConfig, start: number, done: Answer<true>): void {
    this.#proposer.proposeCommand(ConsumerCommand.part, encodePart(homeId, config, start), (result) => {
      const record = this.#table.get(config.name ?? '');
      if (result !== undefined || record === undefined || !this.#leading) {
        done(result ?? apiError(10008));
        return;
      }
      this.#reconfigured(this.#wake(record));
      done(true);
    });
  }

  /** Ends the live parts that `isOver` names. */
  endParts(isOver: (consumer: LiveConsumer) => boolean): void {
    for (const consumer of [...this.#live.values()]) {
      if (!isOver(consumer)) continue;
      if (consumer.memory) this.#drop(consumer, 'shutdown');
      else {
        consumer.endSession();
        this.ready(consumer);
      }
    }
  }

  /** The home's record is made or changed: a command of its log. Its part wakes with it. */
  createHome(
    config: ConsumerConfig,
    action: CreateAction,
    start: number,
    done: (result: ConsumerRecord | ApiError) => void,
  ): void {
    this.#proposer.proposeCommand(ConsumerCommand.create, encodeCreate(action, config, start), (result) => {
      const record = this.#table.get(config.name ?? '');
      if (result !== undefined || record === undefined || !this.#leading) {
        done(result ?? apiError(10008));
        return;
      }
      this.#reconfigured(this.#wake(record));
      done(record);
    });
  }

  // ---- DeliveryHost ---------------------------------------------------------------------------------------------------

  get retention(): StreamConfig['retention'] {
    return this.#config().retention;
  }

  nowMs(): number {
    return this.#proposer.nowMs();
  }

  propose(type: number, body: Uint8Array, done: ((result: ApiError | undefined) => void) | undefined): void {
    this.#proposer.proposeCommand(type, body, done);
  }

  readMessage(seq: number, done: (message: StoredMessage | undefined) => void): void {
    this.#proposer.readMessage(seq, done);
  }

  status(inbox: string, frame: Uint8Array): boolean {
    return this.outlet.deliverTo(inbox, { subject: inbox, reply: '', hdr: frame, payload: frames.EMPTY });
  }

  confirm(inbox: string): void {
    this.#proof.confirm(inbox);
  }

  holdConfirms(): void {
    this.#proof.hold(1);
  }

  get isProven(): boolean {
    return this.#proof.holds;
  }

  mayHandOut(consumer: LiveConsumer): boolean {
    return this.#proof.mayHandOut(consumer);
  }

  hasInterest(inbox: string): boolean {
    return this.outlet.hasInterest(inbox);
  }

  ready(consumer: LiveConsumer): void {
    if (consumer.isReady || consumer.ended) return;
    consumer.isReady = true;
    this.#ready.push(consumer);
    this.#askTurn();
  }

  hungry(consumer: LiveConsumer): void {
    this.#hungry.add(consumer);
  }

  flush(consumer: LiveConsumer): void {
    if (consumer.isFlushing || consumer.ended) return;
    consumer.isFlushing = true;
    this.#flushing.push(consumer);
    this.#askTurn();
  }

  watch(consumer: LiveConsumer): void {
    const from = consumer.watchedFrom;
    if (from === Number.POSITIVE_INFINITY) return;
    this.#watching.add(consumer);
    this.#watchedFrom = Math.min(this.#watchedFrom, from);
  }

  schedule(consumer: LiveConsumer, dueMs: number): void {
    this.#timers.set(consumer, dueMs);
  }

  advance(seq: number): void {
    if (seq <= this.#advancedTo) return;
    this.#advancedTo = seq;
    // Who waits for it hears that the partition's last seq has moved.
    this.#proposer.advance(seq, () => {});
  }

  expire(consumer: LiveConsumer): void {
    if (consumer.memory) this.#removed(consumer);
    else this.#proposeRemove(consumer.record.id, consumer.record.name, () => {});
  }

  // ---- inside -------------------------------------------------------------------------------------------------------

  #askTurn(): void {
    if (this.#turnAsked) return;
    this.#turnAsked = true;
    this.env.clock.endOfTurn(this.#turn);
  }

  readonly #turn = (): void => {
    this.#turnAsked = false;
    let messages = TURN_MESSAGES_MAX;
    let bytes = TURN_BYTES_MAX;
    let queue = this.#ready;
    this.#ready = [];
    const budget: Budget = { messages: 0, bytes: 0 };
    while (queue.length > 0 && messages > 0 && bytes > 0) {
      const more: LiveConsumer[] = [];
      for (const consumer of queue) {
        if (consumer.ended) continue;
        const sliceMessages = Math.min(SLICE_MESSAGES_MAX, messages);
        const sliceBytes = Math.min(SLICE_BYTES_MAX, bytes);
        budget.messages = sliceMessages;
        budget.bytes = sliceBytes;
        consumer.isReady = false;
        if (consumer.deliver(budget)) {
          consumer.isReady = true;
          more.push(consumer);
        } else this.#settle(consumer);
        messages -= sliceMessages - budget.messages;
        bytes -= sliceBytes - budget.bytes;
      }
      queue = more;
    }
    for (const consumer of queue) this.#settle(consumer);
    if (queue.length > 0) {
      this.#ready = this.#ready.length === 0 ? queue : queue.concat(this.#ready);
      this.#askTurn();
    }
    const flushing = this.#flushing;
    this.#flushing = [];
    for (const consumer of flushing) {
      consumer.isFlushing = false;
      if (consumer.ended) continue;
      consumer.flush();
      consumer.reschedule();
    }
  };

  #settle(consumer: LiveConsumer): void {
    if (consumer.mustFlush) this.flush(consumer);
    this.watch(consumer);
    if (!consumer.isFlushing) consumer.reschedule();
  }

  /** Undefined: the request waits. */
  #pull(consumer: LiveConsumer, reply: string, body: Uint8Array): Uint8Array | undefined {
    const { queue } = consumer;
    if (queue === undefined) return frames.PUSH_BASED;
    const request = parsePull(body, consumer.record.config);
    if (request instanceof Uint8Array) return request;
    consumer.touch();
    if (request.noWait) {
      if (request.expiresMs === 0 && consumer.isDrained) return frames.NO_MESSAGES;
      if (queue.size > 0) {
        queue.dropLost();
        const { deliverable } = consumer;
        if (deliverable > 0 && deliverable < queue.asked) return frames.REQUESTS_PENDING;
      }
    }
    if (queue.isFull(this.nowMs())) return request.heartbeatMs > 0 ? undefined : frames.EXCEEDED_MAX_WAITING;
    consumer.pull(reply, request);
    return undefined;
  }

  #find(name: string): LiveConsumer | undefined {
    if (!this.#leading) return undefined;
    const live = this.#live.get(name);
    if (live?.memory) return live;
    const record = this.#table.get(name);
    if (record !== undefined) return this.#wake(record);
    if (live !== undefined) this.#drop(live, 'deleted');
    return undefined;
  }

  /** The live consumer of a replicated record. */
  #wake(record: ConsumerRecord): LiveConsumer {
    const live = this.#live.get(record.name);
    if (live?.record === record) return live;
    if (live !== undefined) this.#drop(live, 'deleted');
    return this.#begin(record, false);
  }

  #begin(record: ConsumerRecord, memory: boolean): LiveConsumer {
    const part = this.#uplink === undefined ? undefined : new PartTarget(this.#uplink, record.name);
    const consumer = new LiveConsumer(this, record, memory, part);
    this.#live.set(record.name, consumer);
    this.#hungry.track(consumer);
    this.watch(consumer);
    return consumer;
  }

  #createInMemory(
    live: LiveConsumer | undefined,
    config: ConsumerConfig,
    action: CreateAction,
    done: Answer<ConsumerState>,
  ): void {
    const outcome = decideCreate(live?.record.config, config, action);
    if (isApiError(outcome)) {
      done(outcome);
      return;
    }
    let consumer = live;
    if (consumer === undefined) {
      const record = new ConsumerRecord(0, config, this.env.clock.wallUs());
      record.begin(this.view, 0, false);
      consumer = this.#begin(record, true);
      this.advisories.action(record.name, 'create');
    } else if (outcome === 'changed') {
      consumer.record.reconfigure(config);
    }
    this.#reconfigured(consumer);
    consumer.info(done);
  }

  #reconfigured(consumer: LiveConsumer): void {
    consumer.configure();
    this.#hungry.track(consumer);
    this.ready(consumer);
  }

  /** PU5: a push subject may move only while nobody listens on the old one. */
  #isOccupied(old: ConsumerConfig, config: ConsumerConfig): boolean {
    if (!old.deliver_subject || !config.deliver_subject || old.deliver_subject === config.deliver_subject) return false;
    return this.outlet.hasInterest(old.deliver_subject);
  }

  #proposeRemove(id: number, name: string, done: (result: ApiError | undefined) => void): void {
    this.#proposer.proposeCommand(ConsumerCommand.remove, encodeRemove(id, name), (result) => {
      const live = this.#live.get(name);
      if (live !== undefined && !live.memory && !this.#table.has(live.record)) this.#drop(live, 'deleted');
      if (result === undefined) this.advisories.action(name, 'delete');
      done(result);
    });
  }

  #removed(consumer: LiveConsumer): void {
    this.#drop(consumer, 'deleted');
    this.advisories.action(consumer.record.name, 'delete');
  }

  #drop(consumer: LiveConsumer, why: PullsEnd): void {
    this.#live.delete(consumer.record.name);
    this.#hungry.forget(consumer);
    this.#watching.delete(consumer);
    consumer.end(why);
  }

  #endAll(why: PullsEnd): void {
    this.#leading = false;
    for (const consumer of this.#live.values()) consumer.end(consumer.memory ? 'deleted' : why);
    this.#live.clear();
    this.#hungry.clear();
    this.#watching.clear();
    this.#ready = [];
    this.#flushing = [];
    this.#timers.clear();
    this.#proof.end();
  }

  #names(): string[] {
    const names = [...this.#table.records()].map((record) => record.name);
    for (const consumer of this.#live.values()) if (consumer.memory) names.push(consumer.record.name);
    return names.sort();
  }
}

/**
 * What ordered consumers of clients create: nothing would be lost with it that the client cannot ask for again (DESIGN §7), and its pull
 * request tells it when the leader goes. A push consumer has none: its client would notice after two missed heartbeats. Where a stream limits its
 * consumers all of them are in its log: two creations at once are decided one after the other there.
 */
export function livesInMemory(config: ConsumerConfig, stream: StreamConfig): boolean {
  const light = config.mem_storage === true || config.num_replicas === 1;
  const isBounded = stream.max_consumers > 0 || stream.retention !== 'limits';
  const pulls = config.deliver_subject === undefined;
  return config.ack_policy === 'none' && !config.durable_name && light && pulls && !isBounded;
}
