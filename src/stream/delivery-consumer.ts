// One consumer on the partition's leader: who asks for messages (pull requests or a push subject), which message is next, what
// waits for an ack. Everything here is tentative: made from the ConsumerRecord when leadership comes, thrown away when it goes.
// Driven by DeliveryEngine. Invariants: positions are at or ahead of the record's, never behind; a message with an ack on its
// way is not delivered again; a delivery that reached nobody did not happen.
import type { ConsumerRecord } from './consumer-record.ts';
import { AHEAD_MAX } from './consumer-record.ts';
import { UndeliveredCount } from './delivery-count.ts';
import { EMPTY, headersOnly, withLeft } from './delivery-frames.ts';
import type { DeliveryHost } from './delivery-host.ts';
import { DeliveryLog } from './delivery-log.ts';
import { PushTarget } from './delivery-push.ts';
import { Redeliveries } from './delivery-redeliveries.ts';
import type { TimedItem } from './delivery-timers.ts';
import type { AckVerb } from './delivery-verbs.ts';
import { type ApiError, isApiError } from './errors.ts';
import { PullQueue } from './pull-queue.ts';
import type { PullBody } from './pull-request.ts';
import type { ConsumerPosition, ConsumerState, StoredMessage } from './types.ts';

const EPHEMERAL_THRESHOLD_MS = 5000;
/** A message that exists and cannot be read waits for repair. */
const DAMAGED_RETRY_MS = 1000;

const NOT_READ = 0;
/** Inside the call that may answer at once. */
const READING = 1;
const AWAITED = 2;
const READ = 3;

/** What a turn may still send. */
export interface Budget {
  messages: number;
  bytes: number;
}

export class LiveConsumer implements TimedItem {
  readonly record: ConsumerRecord;
  /** Exists on this leader alone and ends with it: no log. */
  readonly memory: boolean;
  heapAt = -1;
  dueMs = 0;
  /** Queued for a slice of delivery. */
  isReady = false;
  isFlushing = false;
  ended = false;

  readonly queue: PullQueue | undefined;
  readonly push: PushTarget | undefined;
  readonly #host: DeliveryHost;
  readonly #log: DeliveryLog | undefined;
  readonly #redeliveries = new Redeliveries();
  readonly #count: UndeliveredCount;
  readonly #ackPrefix: string;
  readonly #ahead;
  /** Last seq looked at, and last one delivered. */
  #cursor: number;
  #deliveredSeq: number;
  /** Last one given; starts at what former leaders may have given. */
  #consumerSeq: number;
  /** Something was delivered under this leader. */
  #handedOut = false;
  #headersOnly = false;
  #pendingMax = 0;
  #thresholdMs = 0;
  #activeMs: number;
  #removing = false;
  // A read under way or done: messages of cold storage come later.
  #readSeq = 0;
  #readState: typeof NOT_READ | typeof READING | typeof AWAITED | typeof READ = NOT_READ;
  #read: StoredMessage | undefined;
  /** Nothing is delivered before; 0 = no such hold. */
  #holdUntilMs = 0;
  // replay_policy original: until this seq, messages come as far apart as they were stored.
  #replayEnd = 0;
  #replayStampUs = 0;
  #replaySentMs = 0;

  constructor(host: DeliveryHost, record: ConsumerRecord, memory: boolean) {
    const nowMs = host.nowMs();
    this.#host = host;
    this.record = record;
    this.memory = memory;
    this.#count = new UndeliveredCount(record, host.view);
    this.#ackPrefix = `$JS.ACK.${host.streamName}.${record.name}.`;
    this.#ahead = record.ahead.copy();
    this.#cursor = record.deliveredSeq;
    this.#deliveredSeq = record.deliveredSeq;
    this.#consumerSeq = record.reservedConsumerSeq;
    this.#activeMs = nowMs;
    if (!memory) {
      this.#log = new DeliveryLog(record, {
        propose: (type, body, done) => host.propose(type, body, done),
        confirm: (inbox) => host.confirm(inbox),
        onReserved: () => host.ready(this),
      });
    }
    if (record.config.deliver_subject) {
      this.push = new PushTarget(host.env, host.outlet, host.streamName, record.name);
    } else this.queue = new PullQueue(record.config.max_waiting || 512, host);
    if (record.config.replay_policy === 'original') this.#replayEnd = host.view.lastSeq;
    this.configure();
    const { pending } = record;
    for (let slot = pending.first(); slot >= 0; slot = pending.next(slot)) {
      this.#redeliveries.add(pending.seqAt(slot), pending.consumerSeqAt(slot), pending.deliveriesAt(slot), nowMs);
    }
    this.reschedule();
  }

  /** The record's configuration is new. */
  configure(): void {
    const { config } = this.record;
    this.#redeliveries.configure(config);
    this.push?.configure(config);
    this.#headersOnly = config.headers_only === true;
    this.#pendingMax = this.record.tracksAcks && (config.max_ack_pending ?? 0) > 0 ? config.max_ack_pending! : 0;
    this.#thresholdMs = (config.inactive_threshold ?? 0) / 1e6;
    if (this.#thresholdMs === 0 && !config.durable_name) this.#thresholdMs = EPHEMERAL_THRESHOLD_MS;
    this.#cursor = this.#deliveredSeq;
    this.#count.invalidate();
  }

  /** Of the last delivery, as far as this leader knows. */
  get #lastConsumerSeq(): number {
    return this.#handedOut ? this.#consumerSeq : this.record.deliveredConsumerSeq;
  }

  // ---- demand -------------------------------------------------------------------------------------------------------

  pull(reply: string, body: PullBody): void {
    this.#activeMs = this.#host.nowMs();
    this.queue!.add(reply, body, this.#activeMs);
    this.#host.ready(this);
  }

  /** Nothing is there for a request that does not wait: not even a message on its way back. */
  get isDrained(): boolean {
    return this.#redeliveries.peek() === 0 && this.#nextNew() === 0;
  }

  /** Messages that may be delivered, for comparison with what requests ask for. */
  get deliverable(): number {
    return this.#undelivered() + this.#redeliveries.queued;
  }

  #hasDemand(nowMs: number): boolean {
    return this.queue !== undefined ? this.queue.size > 0 : this.push!.admits(nowMs);
  }

  /** A client is at work with it. */
  touch(): void {
    this.#activeMs = this.#host.nowMs();
  }

  /** Interest on the push subject has come, or a flow control request was answered. */
  wake(): void {
    this.push?.hurry();
    this.#host.ready(this);
  }

  // ---- delivery -----------------------------------------------------------------------------------------------------

  /** Delivers while there is demand, supply and budget. True: stopped by the budget alone. */
  deliver(budget: Budget): boolean {
    const nowMs = this.#host.nowMs();
    if (this.#isAwaiting() || this.#holdUntilMs > nowMs) return false;
    this.#holdUntilMs = 0;
    while (this.#hasDemand(nowMs)) {
      const again = this.#redeliveries.peek();
      const blocked = this.#pendingMax > 0 && this.#redeliveries.pending.size >= this.#pendingMax;
      const seq = again !== 0 ? again : blocked ? 0 : this.#nextNew();
      if (seq === 0) {
        if (!blocked) this.#drained(nowMs);
        return false;
      }
      if (this.#log !== undefined && !this.#log.reserve(this.#consumerSeq + 1)) return false;
      const message = this.#load(seq);
      if (message === undefined) {
        if (this.#isAwaiting() || !this.#skip(seq, again !== 0, nowMs)) return false;
        continue;
      }
      if (this.#replayEnd >= seq && again === 0 && !this.#replayDue(message.stampUs, nowMs)) return false;
      if (budget.messages <= 0 || budget.bytes <= 0) return true;
      if (again !== 0) this.#send(seq, message, this.#redeliveries.deliveries(seq) + 1, nowMs, budget);
      else this.#send(seq, message, 1, nowMs, budget);
    }
    return false;
  }

  #send(seq: number, message: StoredMessage, deliveries: number, nowMs: number, budget: Budget): void {
    const host = this.#host;
    const left = this.#count.get(this.#cursor, this.#ahead) - (deliveries === 1 ? 1 : 0);
    const consumerSeq = this.#consumerSeq + 1;
    const reply = `${this.#ackPrefix}${deliveries}.${host.streamSeq(seq)}.${consumerSeq}.${message.stampUs}000.${left}`;
    let { hdr, payload } = message;
    if (this.#headersOnly) {
      hdr = headersOnly(hdr, payload.length);
      payload = EMPTY;
    }
    const size = message.subject.length + reply.length + hdr.length + payload.length;
    const request = this.queue?.fitting(size, nowMs);
    if (this.queue !== undefined && request === undefined) return;
    const inbox = request !== undefined ? request.reply : this.push!.subject;
    if (!host.outlet.deliverTo(inbox, { subject: message.subject, reply, hdr, payload })) {
      if (request !== undefined) this.queue!.drop();
      else this.push!.lost(nowMs);
      return;
    }
    this.#readState = NOT_READ;
    this.#read = undefined;
    this.#consumerSeq = consumerSeq;
    this.#handedOut = true;
    this.#activeMs = nowMs;
    host.counts.delivered++;
    budget.messages--;
    budget.bytes -= size;
    if (deliveries === 1) {
      this.#cursor = seq;
      this.#deliveredSeq = seq;
      if (this.#ahead.size > 0) this.#ahead.removeUpTo(seq);
      this.#count.delivered();
      if (this.record.tracksAcks) this.#redeliveries.add(seq, consumerSeq, 1, nowMs);
      this.#log?.first(seq, consumerSeq, this.record.tracksAcks, nowMs);
      if (seq <= this.#replayEnd) {
        this.#replayStampUs = message.stampUs;
        this.#replaySentMs = nowMs;
      }
    } else {
      host.counts.redelivered++;
      this.#redeliveries.sent(seq, nowMs);
      this.#log?.again(seq, consumerSeq, deliveries, nowMs);
    }
    if (request !== undefined) this.queue!.served(size, nowMs);
    else this.push!.sent(size, nowMs);
  }

  /** The next message never delivered; 0 when none. */
  #nextNew(): number {
    const { view } = this.#host;
    for (;;) {
      const seq = this.record.nextAfter(this.#cursor, view);
      if (seq === 0) {
        if (view.lastSeq > this.#cursor) this.#cursor = view.lastSeq;
        return 0;
      }
      if (this.#ahead.size === 0 || !this.#ahead.has(seq)) return seq;
      this.#cursor = seq;
    }
  }

  #drained(nowMs: number): void {
    if (this.queue?.hasOneShots)
      this.queue.sweep(nowMs, true, this.#lastConsumerSeq, this.#streamSeq(this.#deliveredSeq));
    this.#host.hungry(this);
  }

  /** The stored message; undefined when it is not there, or not yet (then the read is AWAITED). */
  #load(seq: number): StoredMessage | undefined {
    if (this.#readState !== READ || this.#readSeq !== seq) {
      this.#readSeq = seq;
      this.#readState = READING;
      this.#host.readMessage(seq, this.#onRead);
      if (this.#readState === READING) {
        this.#readState = AWAITED;
        return undefined;
      }
    }
    if (this.#read === undefined) this.#readState = NOT_READ;
    return this.#read;
  }

  #isAwaiting(): boolean {
    return this.#readState === AWAITED;
  }

  readonly #onRead = (message: StoredMessage | undefined): void => {
    const awaited = this.#readState === AWAITED;
    this.#readState = READ;
    this.#read = message;
    if (awaited && !this.ended) this.#host.ready(this);
  };

  /** A message could not be read. False: it will be, later. */
  #skip(seq: number, redelivery: boolean, nowMs: number): boolean {
    if (this.#host.view.exists(seq)) {
      this.#holdUntilMs = nowMs + DAMAGED_RETRY_MS;
      return false;
    }
    if (redelivery) this.#redeliveries.pending.remove(seq);
    else this.#cursor = seq;
    return true;
  }

  #replayDue(stampUs: number, nowMs: number): boolean {
    if (this.#replayStampUs === 0) return true;
    const atMs = this.#replaySentMs + (stampUs - this.#replayStampUs) / 1000;
    if (atMs <= nowMs) return true;
    this.#holdUntilMs = atMs;
    return false;
  }

  // ---- acks ---------------------------------------------------------------------------------------------------------

  ack(seq: number, consumerSeq: number, verb: AckVerb, reply: string): void {
    if (!this.record.tracksAcks) return;
    const nowMs = this.#host.nowMs();
    const { pending } = this.#redeliveries;
    this.#activeMs = nowMs;
    switch (verb.kind) {
      case 'ack':
        this.#acknowledge(seq, consumerSeq, reply);
        break;
      case 'next':
        this.#acknowledge(seq, consumerSeq, '');
        break;
      case 'term':
        if (pending.has(seq)) this.#adviseTerminated(seq, consumerSeq, verb.reason);
        this.#acknowledge(seq, consumerSeq, reply);
        break;
      case 'progress':
        this.#redeliveries.prolong(seq, nowMs);
        if (reply !== '') this.#host.confirm(reply);
        break;
      case 'nak':
        if (pending.has(seq)) this.#refuse(seq, consumerSeq, verb.delayMs, nowMs);
        if (reply !== '') this.#host.confirm(reply);
        break;
    }
    this.#host.ready(this);
  }

  #refuse(seq: number, consumerSeq: number, delayMs: number, nowMs: number): void {
    this.#host.counts.naked++;
    const deliveries = this.#redeliveries.deliveries(seq);
    this.#host.advisories.naked(this.record.name, consumerSeq, this.#streamSeq(seq), deliveries);
    if (!this.#redeliveries.refuse(seq, delayMs, nowMs)) this.#giveUp(seq, deliveries);
  }

  #adviseTerminated(seq: number, consumerSeq: number, reason: string): void {
    const deliveries = this.#redeliveries.deliveries(seq);
    this.#host.advisories.terminated(this.record.name, consumerSeq, this.#streamSeq(seq), deliveries, reason);
  }

  #giveUp(seq: number, deliveries: number): void {
    this.#host.counts.givenUp++;
    this.#log?.drop(seq);
    this.#host.flush(this);
    this.#host.advisories.maxDeliveries(this.record.name, this.#streamSeq(seq), deliveries);
  }

  #acknowledge(seq: number, consumerSeq: number, reply: string): void {
    const log = this.#log;
    if (log === undefined) return;
    if (seq > this.#deliveredSeq) {
      this.#acknowledgeEarly(log, seq, consumerSeq, reply);
      return;
    }
    const { pending } = this.#redeliveries;
    const all = this.record.config.ack_policy === 'all';
    let known: boolean;
    if (all) {
      const before = pending.size;
      pending.removeUpTo(seq, ignore);
      known = pending.size < before;
      this.#host.counts.acked += before - pending.size;
    } else {
      known = pending.remove(seq);
      if (known) this.#host.counts.acked++;
    }
    if (!known && !this.#mattersToLog(seq, all)) {
      if (reply !== '') this.#host.confirm(reply);
      return;
    }
    if (all) log.ackAll(seq, reply);
    else log.ack(seq, reply);
    this.#host.flush(this);
  }

  /** Not delivered under this leader: counts if a former leader may have delivered it, so that the consumer seq is reserved. */
  #acknowledgeEarly(log: DeliveryLog, seq: number, consumerSeq: number, reply: string): void {
    const { view } = this.#host;
    const { record } = this;
    if (consumerSeq > record.reservedConsumerSeq || seq > view.lastSeq) return;
    if (record.config.ack_policy === 'all') {
      this.#redeliveries.pending.removeUpTo(seq, ignore);
      this.#deliveredSeq = seq;
      this.#cursor = Math.max(this.#cursor, seq);
      log.earlyAckAll(seq, reply);
    } else {
      if (!view.exists(seq) || record.ahead.has(seq)) {
        if (reply !== '') this.#host.confirm(reply);
        return;
      }
      if (this.#ahead.size >= AHEAD_MAX || !record.wants(seq, view.subjectOf(seq))) return;
      this.#ahead.add(seq);
      this.#host.counts.acked++;
      log.earlyAck(seq, reply);
    }
    this.#count.invalidate();
    this.#host.flush(this);
  }

  /** Not pending here. An ack may still be on its way, or free a message that was given up from a work queue. */
  #mattersToLog(seq: number, all: boolean): boolean {
    const { view, retention } = this.#host;
    if (all) return this.record.floorSeq < seq;
    if (!view.exists(seq)) return false;
    const subject = view.subjectOf(seq);
    return this.record.wants(seq, subject) || (retention !== 'limits' && this.record.filter.matches(subject));
  }

  // ---- facts that come from the log -----------------------------------------------------------------------------------

  onRemoved(seq: number): void {
    this.#redeliveries.pending.remove(seq);
    this.#count.removed(seq, this.#cursor, this.#ahead);
  }

  /** Removals of messages from this seq on matter to it; Infinity: none do. */
  get watchedFrom(): number {
    const { pending } = this.#redeliveries;
    if (pending.size > 0) return pending.firstSeq;
    return this.#count.watches(this.#cursor) ? this.#cursor + 1 : Number.POSITIVE_INFINITY;
  }

  /** num_pending now; from here on removals are told to this consumer, so that the count stays right. */
  #undelivered(): number {
    const count = this.#count.get(this.#cursor, this.#ahead);
    this.#host.watch(this);
    return count;
  }

  // ---- time ---------------------------------------------------------------------------------------------------------

  tick(nowMs: number): void {
    if (this.#redeliveries.nextDueMs <= nowMs) {
      this.#redeliveries.expire(nowMs, (seq, deliveries) => this.#giveUp(seq, deliveries));
    }
    if (this.queue !== undefined && this.queue.nextDueMs <= nowMs) {
      this.queue.sweep(nowMs, false, this.#lastConsumerSeq, this.#streamSeq(this.#deliveredSeq));
    }
    this.push?.tick(nowMs, this.#lastConsumerSeq, this.#streamSeq(this.#deliveredSeq));
    if (this.#log !== undefined && this.#log.nextDueMs <= nowMs) this.#host.flush(this);
    if (this.#thresholdMs > 0 && this.#activeMs + this.#thresholdMs <= nowMs) this.#checkActive(nowMs);
    this.#host.ready(this);
  }

  #checkActive(nowMs: number): void {
    this.queue?.dropLost();
    const active = this.queue !== undefined ? this.queue.size > 0 : this.#host.outlet.hasInterest(this.push!.subject);
    if (active) this.#activeMs = nowMs;
    else if (!this.#removing) {
      this.#removing = true;
      this.#host.expire(this);
    }
  }

  /** Tells the heap of timers when it is needed next. */
  reschedule(): void {
    if (this.#redeliveries.pending.size === 0) this.#redeliveries.nextDueMs = Number.POSITIVE_INFINITY;
    let dueMs = this.#redeliveries.nextDueMs;
    if (this.#holdUntilMs > 0) dueMs = Math.min(dueMs, this.#holdUntilMs);
    if (this.queue !== undefined && this.queue.size > 0) dueMs = Math.min(dueMs, this.queue.nextDueMs);
    if (this.push !== undefined) dueMs = Math.min(dueMs, this.push.nextDueMs);
    if (this.#log !== undefined) dueMs = Math.min(dueMs, this.#log.nextDueMs);
    if (this.#thresholdMs > 0 && !this.#removing) dueMs = Math.min(dueMs, this.#activeMs + this.#thresholdMs);
    this.#host.schedule(this, dueMs);
  }

  // ---- log ----------------------------------------------------------------------------------------------------------

  get mustFlush(): boolean {
    return this.#log?.mustFlush === true;
  }

  flush(): void {
    this.#log?.flush();
  }

  // ---- answers ------------------------------------------------------------------------------------------------------

  /** State as of the call, once the log holds all of it. */
  info(done: (state: ConsumerState | ApiError) => void): void {
    if (this.#log === undefined) {
      if (this.#consumerSeq > this.record.deliveredConsumerSeq) {
        this.record.deliveredUpTo(this.#deliveredSeq, this.#consumerSeq, this.#host.env.clock.wallUs());
      }
      done(this.#state());
      return;
    }
    this.#log.barrier((error) => done(isApiError(error) ? error : this.#state()));
  }

  /** What monitoring shows, without counting anything. */
  position(into: ConsumerPosition): void {
    const { pending } = this.#redeliveries;
    into.deliveredSeq = this.#deliveredSeq;
    into.lookedAtSeq = this.#cursor;
    into.ackPending = pending.size;
    into.redelivered = pending.redelivered;
    into.waiting = this.queue?.size ?? 0;
  }

  localState(): ConsumerState {
    const { pending } = this.#redeliveries;
    return {
      ...this.#state(),
      delivered: {
        consumer_seq: this.#lastConsumerSeq,
        stream_seq: this.#streamSeq(this.#deliveredSeq),
        last_active_us: this.record.deliveredUs,
      },
      num_ack_pending: pending.size,
      num_redelivered: pending.redelivered,
      num_pending: this.#undelivered(),
    };
  }

  #state(): ConsumerState {
    const { record } = this;
    this.queue?.dropLost();
    return {
      name: record.name,
      config: record.config,
      createdUs: record.createdUs,
      delivered: {
        consumer_seq: record.deliveredConsumerSeq,
        stream_seq: this.#streamSeq(record.deliveredSeq),
        last_active_us: record.deliveredUs,
      },
      ack_floor: {
        consumer_seq: record.floorConsumerSeq,
        stream_seq: this.#streamSeq(record.floorSeq),
        last_active_us: record.ackUs,
      },
      num_ack_pending: record.pending.size,
      num_redelivered: record.pending.redelivered,
      num_waiting: this.queue?.size ?? 0,
      num_pending: this.#undelivered() + (this.#log?.unloggedFirsts ?? 0),
      push_bound: this.push !== undefined && this.#host.outlet.hasInterest(this.push.subject) ? true : undefined,
    };
  }

  /** No more deliveries; waiting requests end with `frame`, or with what is left of them when it is undefined. */
  end(frame: Uint8Array | undefined): void {
    this.ended = true;
    this.queue?.endAll((request) => frame ?? withLeft('409 Server Shutdown', request.batch, request.bytes));
    this.#log?.abandon();
    this.#host.schedule(this, Number.POSITIVE_INFINITY);
  }

  #streamSeq(seq: number): number {
    return this.#host.streamSeq(seq);
  }
}

function ignore(): void {}
