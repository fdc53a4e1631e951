// A consumer of a stream of several partitions on the leader of its home (docs/adr/0004): who asks for messages, which part's message is
// next, consumer seqs, bounds. The counterpart of LiveConsumer, whose messages come from sources instead of a log. Driven by
// HomeEngine. Invariants: a message is handed out once or given back; each part's messages keep their order; without explicit acks
// messages are handed out ascending by stream seq, and none below what was handed out can be stored later.
import type { Env } from '../kit/env.ts';
import type { ConsumerConfig } from './config.ts';
import type { ConsumerRecord } from './consumer-record.ts';
import { Activity } from './delivery-activity.ts';
import type { Budget } from './delivery-host.ts';
import { DeliveryLog, type LogOutlet } from './delivery-log.ts';
import { PushTarget } from './delivery-push.ts';
import { ReplySubjects } from './delivery-reply.ts';
import type { TimedItem } from './delivery-timers.ts';
import { HomeSource, type SourceOwner } from './home-source.ts';
import type { Offer } from './part-frames.ts';
import { partitionOfSubject } from './partitioning.ts';
import { PullQueue, type PullQueueOutlet, type PullsEnd } from './pull-queue.ts';
import type { PullBody } from './pull-request.ts';
import type { Outlet } from './types.ts';

/** Messages granted or waiting here, in all and per part. */
const FLIGHT_MAX = 1024;
const FLIGHT_OF_PART_MAX = 512;
/** Without acks a part may send so much more than is asked for: it waits here for the next request. */
const AHEAD_MIN = 16;
/** A session that could not be opened is tried again after this. */
export const REOPEN_MS = 100;

export interface HomeHost extends PullQueueOutlet {
  readonly env: Env;
  readonly outlet: Outlet;
  readonly streamName: string;
  readonly partitions: number;
  nowMs(): number;
  toPart(partition: number, frame: Uint8Array): boolean;
  confirm(inbox: string): void;
  /** Is it proven at this moment that this node is the home? If not, asks, and `ready` follows. */
  mayHandOut(consumer: HomeConsumer): boolean;
  propose: LogOutlet['propose'];
  ready(consumer: HomeConsumer): void;
  schedule(consumer: HomeConsumer, dueMs: number): void;
  /** Begins a session with a part; sets the source's session if it could be asked for. */
  open(consumer: HomeConsumer, source: HomeSource): void;
  ackAll(consumer: HomeConsumer, partition: number, seq: number, inbox: string): void;
  ackedAll(consumer: HomeConsumer, partition: number, token: number): void;
  expire(consumer: HomeConsumer): void;
}

export class HomeConsumer implements TimedItem, SourceOwner {
  readonly record: ConsumerRecord;
  readonly memory: boolean;
  /** Of the partitions that can have what the filters name. */
  sources: readonly HomeSource[] = [];
  readonly queue: PullQueue | undefined;
  readonly push: PushTarget | undefined;
  /** Where the parts begin, for those that are opened in memory: start and level, in seqs of the stream. */
  start = 0;
  behind = 0;
  /** Called once when all parts have said where they stand. */
  onOpen: (() => void) | undefined;
  heapAt = -1;
  dueMs = 0;
  isReady = false;
  ended = false;
  readonly #host: HomeHost;
  readonly #log: DeliveryLog | undefined;
  readonly #replies: ReplySubjects;
  /** Messages go out by stream seq. */
  readonly #isOrdered: boolean;
  #consumerSeq: number;
  #streamSeq = 0;
  #pendingMax = 0;
  readonly #activity: Activity;
  /** Requests that do not wait: which answers of the parts count for them. */
  #poll = 0;
  /** Whose turn it is; when ordered, as long as its messages stay below the bound. */
  #lane = 0;
  #laneBelow = 0;
  /** Who is asked first when there is not enough for all. */
  #turn = 0;
  #reopenAtMs = Number.POSITIVE_INFINITY;

  constructor(host: HomeHost, record: ConsumerRecord, memory: boolean) {
    this.#host = host;
    this.record = record;
    this.memory = memory;
    this.#replies = new ReplySubjects(host.streamName, record.name);
    this.#isOrdered = record.config.ack_policy !== 'explicit';
    this.#consumerSeq = record.reservedConsumerSeq;
    this.#activity = new Activity(host.nowMs());
    if (!memory) {
      this.#log = new DeliveryLog(record, {
        propose: (type, body, done) => host.propose(type, body, done),
        confirm: () => {},
        onReserved: () => host.ready(this),
      });
    }
    if (record.config.deliver_subject) {
      this.push = new PushTarget(host.env, host.outlet, host.streamName, record.name);
    } else this.queue = new PullQueue(record.config.max_waiting || 512, host);
    this.configure();
    this.reschedule();
  }

  get name(): string {
    return this.record.name;
  }

  get config(): ConsumerConfig {
    return this.record.config;
  }

  configure(): void {
    const { config } = this;
    this.#chooseSources();
    this.push?.configure(config);
    this.#pendingMax = this.record.tracksAcks && (config.max_ack_pending ?? 0) > 0 ? config.max_ack_pending! : 0;
    this.#activity.configure(config);
  }

  /** Literal filters name their partitions; others may match anywhere. */
  #chooseSources(): void {
    const { partitions } = this.#host;
    const { literal, patterns } = this.record.filter;
    const able = new Set<number>();
    if (literal) for (const subject of patterns) able.add(partitionOfSubject(subject, partitions));
    else for (let partition = 0; partition < partitions; partition++) able.add(partition);
    if (this.sources.length === able.size && this.sources.every((source) => able.has(source.partition))) return;
    for (const source of this.sources) if (!able.has(source.partition)) source.end();
    const known = new Map(this.sources.map((source) => [source.partition, source]));
    this.sources = [...able]
      .sort((a, b) => a - b)
      .map((partition) => known.get(partition) ?? new HomeSource(this, partition));
    this.#lane = 0;
    this.#laneBelow = 0;
  }

  // ---- demand -------------------------------------------------------------------------------------------------------

  pull(reply: string, body: PullBody): void {
    const nowMs = this.#host.nowMs();
    this.#activity.touch(nowMs);
    if (body.noWait) this.#poll++;
    this.queue!.add(reply, body, nowMs);
    this.#host.ready(this);
  }

  touch(): void {
    this.#activity.touch(this.#host.nowMs());
  }

  wake(): void {
    this.push?.hurry();
    this.#host.ready(this);
  }

  /** Messages that may be delivered, as far as the parts have told. */
  get deliverable(): number {
    return this.#sum((source) => source.remaining + source.again);
  }

  #sum(of: (source: HomeSource) => number): number {
    let sum = 0;
    for (const source of this.sources) sum += of(source);
    return sum;
  }

  #hasDemand(nowMs: number): boolean {
    return this.queue !== undefined ? this.queue.size > 0 : this.push!.admits(nowMs);
  }

  // ---- delivery -----------------------------------------------------------------------------------------------------

  /** Hands out while there is demand, supply and budget, then asks for more. True: stopped by the budget alone. */
  deliver(budget: Budget): boolean {
    const nowMs = this.#host.nowMs();
    this.#laneBelow = 0;
    const more = this.#handOut(budget, nowMs);
    if (!more) this.#ask(nowMs);
    return more;
  }

  #handOut(budget: Budget, nowMs: number): boolean {
    let left = -1;
    let isProven = false;
    while (this.#hasDemand(nowMs)) {
      const source = this.#nextSource(nowMs);
      const offer = source?.peek();
      if (source === undefined || offer === undefined) return false;
      if (this.#log?.reserve(this.#consumerSeq + 1) === false) return false;
      if (budget.messages <= 0 || budget.bytes <= 0) return true;
      isProven ||= this.#host.mayHandOut(this);
      if (!isProven) return false;
      if (left < 0) left = this.#sum((each) => each.remaining);
      if (this.#send(source, offer, offer.isNew ? left - 1 : left, nowMs, budget) && offer.isNew) left--;
    }
    return false;
  }

  #send(source: HomeSource, offer: Offer, left: number, nowMs: number, budget: Budget): boolean {
    const { outlet } = this.#host;
    const { deliveries, stampUs, subject, hdr, payload } = offer;
    const streamSeq = this.#toStream(source, offer.seq);
    const consumerSeq = this.#consumerSeq + 1;
    const reply = this.#replies.of(deliveries, streamSeq, consumerSeq, stampUs, left);
    const size = subject.length + reply.length + hdr.length + payload.length;
    const request = this.queue?.fitting(size, nowMs);
    if (this.queue !== undefined && request === undefined) return false;
    const inbox = request !== undefined ? request.reply : this.push!.subject;
    if (!outlet.deliverTo(inbox, { subject, reply, hdr, payload })) {
      if (request !== undefined) this.queue!.drop();
      else this.push!.lost(nowMs);
      return false;
    }
    source.take();
    this.#consumerSeq = consumerSeq;
    this.#streamSeq = Math.max(this.#streamSeq, streamSeq);
    this.#activity.touch(nowMs);
    budget.messages--;
    budget.bytes -= size;
    if (request !== undefined) this.queue!.served(size, nowMs);
    else this.push!.sent(size, nowMs);
    return true;
  }

  #toStream(source: HomeSource, seq: number): number {
    return seq * this.#host.partitions + source.partition;
  }

  #nextSource(nowMs: number): HomeSource | undefined {
    if (this.#isOrdered) {
      const source = this.#nextInOrder();
      return source?.mayHandOut(nowMs) ? source : undefined;
    }
    let found: HomeSource | undefined;
    for (let i = 0; i < this.sources.length; i++) {
      const lane = (this.#lane + i) % this.sources.length;
      const offer = this.sources[lane].peek();
      if (offer === undefined || (found !== undefined && offer.isNew)) continue;
      if (!this.sources[lane].mayHandOut(nowMs)) continue;
      found = this.sources[lane];
      this.#lane = lane;
      // What comes again goes first.
      if (!offer.isNew) break;
    }
    return found;
  }

  /** The source of the message with the smallest stream seq, if no part can come with a smaller one. */
  #nextInOrder(): HomeSource | undefined {
    const head = this.#laneBelow > 0 ? this.sources[this.#lane].peek() : undefined;
    if (head !== undefined && this.#toStream(this.sources[this.#lane], head.seq) < this.#laneBelow) {
      return this.#isBlocked(head) ? undefined : this.sources[this.#lane];
    }
    this.#laneBelow = 0;
    let first: Offer | undefined;
    let firstSeq = Number.POSITIVE_INFINITY;
    let below = Number.POSITIVE_INFINITY;
    for (let lane = 0; lane < this.sources.length; lane++) {
      const source = this.sources[lane];
      const offer = source.peek();
      const seq = this.#toStream(source, offer?.seq ?? source.settled + 1);
      if (offer !== undefined && seq < firstSeq) {
        below = Math.min(below, firstSeq);
        first = offer;
        firstSeq = seq;
        this.#lane = lane;
      } else below = Math.min(below, seq);
    }
    if (first === undefined || this.#isBlocked(first)) return undefined;
    if (firstSeq < below) {
      this.#laneBelow = below;
      return this.sources[this.#lane];
    }
    this.#lift(firstSeq);
    return undefined;
  }

  /** Parts that have nothing below `seq` are to make sure that nothing below comes later; and below what is stored anywhere, so that
   * one time is enough for all that. */
  #lift(seq: number): void {
    let last = seq;
    for (const source of this.sources) last = Math.max(last, this.#toStream(source, source.lastSeq));
    for (const source of this.sources) {
      const isBehind = source.buffered === 0 && this.#toStream(source, source.settled + 1) <= seq;
      if (!isBehind || !source.isIdle) continue;
      source.level = Math.max(source.level, Math.floor((last - source.partition) / this.#host.partitions));
    }
  }

  /** Ordered consumers keep more than they may hand out: the bound on pending acks is looked at last. */
  #isBlocked(offer: Offer): boolean {
    if (this.#pendingMax === 0 || !offer.isNew) return false;
    return this.#sum((source) => source.pending - source.buffered) >= this.#pendingMax;
  }

  // ---- supply -------------------------------------------------------------------------------------------------------

  #ask(nowMs: number): void {
    this.#endOneShots(nowMs);
    if (this.onOpen !== undefined && this.sources.every((source) => source.isKnown)) {
      const { onOpen } = this;
      this.onOpen = undefined;
      onOpen();
    }
    const wanted = this.#wanted(nowMs);
    if (wanted > 0 || this.#isAwake) this.#openSources(nowMs);
    const isAlone = this.queue !== undefined ? this.queue.size === 0 : !this.push!.bound;
    if (isAlone && this.record.tracksAcks) this.#giveBack();
    else if (wanted > 0) this.#grant(wanted);
    for (const source of this.sources) if (source.isKnown) source.demand(0, 0, this.#poll);
  }

  #wanted(nowMs: number): number {
    if (!this.#hasDemand(nowMs)) return 0;
    return this.queue === undefined ? FLIGHT_MAX : Math.min(FLIGHT_MAX, this.queue.asked);
  }

  /** Sessions of consumers in memory are all there is of their parts. */
  get #isAwake(): boolean {
    return this.memory || this.push?.bound === true;
  }

  #openSources(nowMs: number): void {
    this.#reopenAtMs = Number.POSITIVE_INFINITY;
    for (const source of this.sources) {
      if (source.session > 0) continue;
      if (source.reopenAtMs <= nowMs) {
        this.#host.open(this, source);
        if (source.session > 0) continue;
        source.reopenAtMs = nowMs + REOPEN_MS;
      }
      this.#reopenAtMs = Math.min(this.#reopenAtMs, source.reopenAtMs);
    }
  }

  /** Nobody waits: what came in excess goes back, so that its ack wait does not run out here. */
  #giveBack(): void {
    for (const source of this.sources) if (source.buffered > 0) source.rewind();
  }

  #grant(wanted: number): void {
    const able = this.sources.filter((source) => source.isKnown && source.left + source.again > source.credit);
    if (this.#isOrdered) {
      // Each part's next message is needed to know which is the first.
      const share = Math.ceil(wanted / this.sources.length) + 1;
      const each = Math.min(FLIGHT_OF_PART_MAX, this.record.tracksAcks ? share : Math.max(AHEAD_MIN, wanted));
      for (const source of able) {
        const more = each - source.credit - source.buffered;
        if (more * 2 >= each) source.demand(more, more, this.#poll);
      }
      return;
    }
    let room = wanted - this.#sum((source) => source.credit + source.buffered);
    let news = Number.POSITIVE_INFINITY;
    if (this.#pendingMax > 0) news = this.#pendingMax - this.#sum((source) => source.pending + source.newsCredit);
    const share = Math.ceil(room / Math.max(1, able.length));
    // What comes again goes first.
    const order = able.filter((source) => source.again > 0);
    const others = able.filter((source) => source.again === 0);
    for (let i = 0; i < others.length; i++) order.push(others[(i + this.#turn) % others.length]);
    for (const source of order) {
      if (room <= 0) break;
      const most = Math.min(room, share, FLIGHT_OF_PART_MAX - source.credit - source.buffered);
      const fresh = source.left > 0 ? Math.max(0, Math.min(most, news)) : 0;
      const more = Math.min(most, fresh + source.again);
      if (more <= 0) continue;
      source.demand(more, Math.min(more, fresh), this.#poll);
      room -= more;
      news -= Math.min(more, fresh);
    }
    this.#turn = (this.#turn + 1) % this.sources.length;
  }

  /** Requests that do not wait end when every part has said, after they came, that it has nothing. */
  #endOneShots(nowMs: number): void {
    if (this.queue?.hasOneShots !== true) return;
    const isDrained = this.sources.every((source) => source.isIdle && source.poll >= this.#poll);
    if (isDrained) this.queue.sweep(nowMs, true, this.#consumerSeq, this.#streamSeq);
  }

  // ---- SourceOwner --------------------------------------------------------------------------------------------------

  nowMs(): number {
    return this.#host.nowMs();
  }

  toPart(partition: number, frame: Uint8Array): boolean {
    return this.#host.toPart(partition, frame);
  }

  confirm(inbox: string): void {
    this.#activity.touch(this.#host.nowMs());
    this.#host.confirm(inbox);
  }

  ackAll(partition: number, seq: number, inbox: string): void {
    this.#host.ackAll(this, partition, seq, inbox);
  }

  ackedAll(partition: number, token: number): void {
    this.#host.ackedAll(this, partition, token);
  }

  lost(source: HomeSource): void {
    source.reopenAtMs = this.#host.nowMs() + REOPEN_MS;
    this.#host.ready(this);
  }

  changed(): void {
    this.#host.ready(this);
  }

  // ---- time ---------------------------------------------------------------------------------------------------------

  tick(nowMs: number): void {
    if (this.queue !== undefined && this.queue.nextDueMs <= nowMs) {
      this.queue.sweep(nowMs, false, this.#consumerSeq, this.#streamSeq);
    }
    this.push?.tick(nowMs, this.#consumerSeq, this.#streamSeq);
    if (this.#activity.isOver(nowMs, this, this.#host.outlet)) this.#host.expire(this);
    this.#host.ready(this);
  }

  reschedule(): void {
    let dueMs = Math.min(this.#reopenAtMs, this.#activity.dueMs);
    if (this.queue !== undefined && this.queue.size > 0) dueMs = Math.min(dueMs, this.queue.nextDueMs);
    if (this.push !== undefined) dueMs = Math.min(dueMs, this.push.nextDueMs);
    this.#host.schedule(this, dueMs);
  }

  /** No more deliveries; waiting requests end. */
  end(why: PullsEnd): void {
    this.ended = true;
    this.queue?.endAll(why);
    this.#log?.abandon();
    this.#host.schedule(this, Number.POSITIVE_INFINITY);
  }
}
