// One consumer on the partition's leader: who asks for messages (pull requests or a push subject), which message is next, what
// waits for an ack. Everything here is tentative: made from the ConsumerRecord when leadership comes, thrown away when it goes.
// Driven by DeliveryEngine. On a stream of several partitions it is a part: its demand is its home's credit (docs/adr/0004).
// Invariants: positions are at or ahead of the record's, never behind; a message with an ack on its
// way is not delivered again; a delivery that reached nobody did not happen.
import type { PeerId } from '../../cluster/core/types.ts';
import { AHEAD_MAX, type ConsumerRecord } from './consumer-record.ts';
import { Activity } from './delivery-activity.ts';
import { FAR, UndeliveredCount } from './delivery-count.ts';
import { EMPTY, headersOnly } from './delivery-frames.ts';
import type { Budget, DeliveryHost, InfoDone } from './delivery-host.ts';
import { DeliveryLog } from './delivery-log.ts';
import { NextMessage } from './delivery-next.ts';
import { PushTarget } from './delivery-push.ts';
import { Redeliveries } from './delivery-redeliveries.ts';
import { ReplayPace } from './delivery-replay.ts';
import { ReplySubjects } from './delivery-reply.ts';
import { stateOf } from './delivery-state.ts';
import type { TimedItem } from './delivery-timers.ts';
import { type AckVerb, isFinal } from './delivery-verbs.ts';
import { apiError, isApiError } from './errors.ts';
import type { DemandFrame, RewindFrame } from './part-frames.ts';
import type { PartTarget } from './part-target.ts';
import { PullQueue, type PullsEnd } from './pull-queue.ts';
import type { PullBody } from './pull-request.ts';
import type { ConsumerPosition, ConsumerState, StoredMessage, SubjectFilter } from './types.ts';

/** A message that exists and cannot be read waits for repair. */
const DAMAGED_RETRY_MS = 1000;

/** In place of an inbox: an answer that the home waits for. No subject begins with a space. */
const TOKEN = ' ';

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
  readonly part: PartTarget | undefined;
  readonly #host: DeliveryHost;
  readonly #log: DeliveryLog | undefined;
  readonly #redeliveries = new Redeliveries();
  readonly #count: UndeliveredCount;
  /** Wait until it is counted. */
  #infos: InfoDone[] = [];
  readonly #replies: ReplySubjects;
  readonly #ahead;
  #countedFilter: SubjectFilter | undefined;
  /** Last seq looked at, and last one delivered. */
  #cursor: number;
  #deliveredSeq: number;
  /** Last one given; starts at what former leaders may have given. */
  #consumerSeq: number;
  /** Something was delivered under this leader. */
  #handedOut = false;
  #headersOnly = false;
  #pendingMax = 0;
  readonly #activity: Activity;
  readonly #next: NextMessage;
  /** Nothing is delivered before; 0 = no such hold. */
  #holdUntilMs = 0;
  readonly #pace: ReplayPace;

  constructor(host: DeliveryHost, record: ConsumerRecord, memory: boolean, part?: PartTarget) {
    const nowMs = host.nowMs();
    this.#host = host;
    this.record = record;
    this.memory = memory;
    this.part = part;
    this.#next = new NextMessage(
      (seq, done) => host.readMessage(seq, done),
      () => {
        if (!this.ended) host.ready(this);
      },
    );
    this.#replies = new ReplySubjects(host.streamName, record.name);
    this.#ahead = record.ahead.copy();
    this.#count = new UndeliveredCount(record, host.view, host.env.clock, this.#ahead, () => this.#counted());
    this.#cursor = record.deliveredSeq;
    this.#deliveredSeq = record.deliveredSeq;
    // A part counts its own deliveries; consumer seqs are the home's.
    this.#consumerSeq = part === undefined ? record.reservedConsumerSeq : record.deliveredConsumerSeq;
    this.#activity = new Activity(nowMs);
    if (!memory) {
      this.#log = new DeliveryLog(record, {
        propose: (type, body, done) => host.propose(type, body, done),
        confirm: (inbox) => this.#confirm(inbox),
        onReserved: () => host.ready(this),
      });
    }
    // A part has no demand of its own.
    if (part === undefined && record.config.deliver_subject) {
      this.push = new PushTarget(host.env, host.outlet, host.streamName, record.name);
    } else if (part === undefined) this.queue = new PullQueue(record.config.max_waiting || 512, host);
    this.#pace = new ReplayPace(record.config.replay_policy === 'original' ? host.view.lastSeq : 0);
    this.configure();
    this.#redeliveries.begin(record.pending, nowMs);
    this.reschedule();
  }

  /** The record's configuration is new. */
  configure(): void {
    const { config } = this.record;
    this.#redeliveries.configure(config);
    this.push?.configure(config);
    this.#headersOnly = config.headers_only === true;
    this.#pendingMax = this.record.tracksAcks && (config.max_ack_pending ?? 0) > 0 ? config.max_ack_pending! : 0;
    this.#activity.configure(config);
    if (this.part !== undefined) {
      // Bounds of the consumer as a whole are the home's.
      this.#pendingMax = 0;
      this.#activity.ignore();
    }
    if (this.#countedFilter === this.record.filter) return;
    this.#countedFilter = this.record.filter;
    this.#cursor = Math.max(this.#deliveredSeq, this.part?.lastOnTheWay ?? 0);
    this.#count.invalidate();
  }

  /** Of the last delivery, as far as this leader knows. */
  get #lastConsumerSeq(): number {
    return this.#handedOut ? this.#consumerSeq : this.record.deliveredConsumerSeq;
  }

  // ---- demand -------------------------------------------------------------------------------------------------------

  pull(reply: string, body: PullBody): void {
    const nowMs = this.#host.nowMs();
    this.#activity.touch(nowMs);
    this.queue!.add(reply, body, nowMs);
    this.#host.ready(this);
  }

  /** Nothing is there for a request that does not wait: not even a message on its way back. */
  get isDrained(): boolean {
    return this.#redeliveries.peek() === 0 && this.#isCounted() && this.#nextNew() === 0;
  }

  /** Messages that may be delivered, for comparison with what requests ask for. */
  get deliverable(): number {
    return this.#isCounted() ? this.#undelivered() + this.#redeliveries.queued : Number.POSITIVE_INFINITY;
  }

  #hasDemand(nowMs: number): boolean {
    if (this.part !== undefined) return this.part.admits;
    return this.queue !== undefined ? this.queue.size > 0 : this.push!.admits(nowMs);
  }

  touch(): void {
    this.#activity.touch(this.#host.nowMs());
  }

  /** Interest on the push subject has come, or a flow control request was answered. */
  wake(): void {
    this.push?.hurry();
    this.#host.ready(this);
  }

  // ---- delivery -----------------------------------------------------------------------------------------------------

  /** Delivers while there is demand, supply and budget. True: stopped by the budget alone. */
  deliver(budget: Budget): boolean {
    const more = this.#deliver(budget);
    if (this.part !== undefined && this.part.session > 0) this.#report(this.part);
    return more;
  }

  #deliver(budget: Budget): boolean {
    const nowMs = this.#host.nowMs();
    if (this.#next.isAwaited || this.#holdUntilMs > nowMs) return false;
    this.#holdUntilMs = 0;
    let isProven = false;
    while (this.#hasDemand(nowMs)) {
      if (!this.#isCounted()) return false;
      const again = this.#redeliveries.peek();
      const blocked = this.#isBlocked;
      const seq = again !== 0 ? again : blocked ? 0 : this.#nextNew();
      if (seq === FAR) return this.#goOn();
      if (seq === 0) {
        this.part?.void();
        if (!blocked) this.#drained(nowMs);
        return false;
      }
      if (this.part === undefined && this.#log?.reserve(this.#consumerSeq + 1) === false) return false;
      const message = this.#next.load(seq);
      if (message === undefined) {
        if (this.#next.isAwaited || !this.#skip(seq, again !== 0, nowMs)) return false;
        continue;
      }
      if (again === 0 && !this.#isDue(seq, message.stampUs, nowMs)) return false;
      if (budget.messages <= 0 || budget.bytes <= 0) return true;
      isProven ||= this.#host.mayHandOut(this);
      if (!isProven) return false;
      if (this.part !== undefined) this.#offer(this.part, seq, message, again === 0, nowMs, budget);
      else if (again !== 0) this.#send(seq, message, this.#redeliveries.deliveries(seq) + 1, nowMs, budget);
      else this.#send(seq, message, 1, nowMs, budget);
    }
    return false;
  }

  /** New messages must wait. */
  get #isBlocked(): boolean {
    if (this.part !== undefined) return this.part.news <= 0;
    return this.#pendingMax > 0 && this.#redeliveries.pending.size >= this.#pendingMax;
  }

  #send(seq: number, message: StoredMessage, deliveries: number, nowMs: number, budget: Budget): void {
    const host = this.#host;
    const left = this.#count.get(this.#cursor) - (deliveries === 1 ? 1 : 0);
    const consumerSeq = this.#consumerSeq + 1;
    const reply = this.#replies.of(deliveries, host.streamSeq(seq), consumerSeq, message.stampUs, left);
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
    this.#next.forget();
    this.#consumerSeq = consumerSeq;
    this.#handedOut = true;
    this.#activity.touch(nowMs);
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
      this.#pace.sent(seq, message.stampUs, nowMs);
    } else {
      host.counts.redelivered++;
      this.#redeliveries.sent(seq, nowMs);
      this.#log?.again(seq, consumerSeq, deliveries, nowMs);
    }
    if (request !== undefined) this.queue!.served(size, nowMs);
    else this.push!.sent(size, nowMs);
  }

  // ---- the part of a consumer of several partitions -------------------------------------------------------------------

  /** Sends a message to the home. It counts as delivered unless it comes back; without acks, when the home has handed it out. */
  #offer(part: PartTarget, seq: number, message: StoredMessage, isNew: boolean, nowMs: number, budget: Budget): void {
    const { stampUs, subject } = message;
    const deliveries = isNew ? 1 : this.#redeliveries.deliveries(seq) + 1;
    const hdr = this.#headersOnly ? headersOnly(message.hdr, message.payload.length) : message.hdr;
    const payload = this.#headersOnly ? EMPTY : message.payload;
    const size = subject.length + hdr.length + payload.length;
    part.offer({ seq, isNew, deliveries, stampUs, subject, hdr, payload }, size);
    this.#next.forget();
    this.#host.counts.delivered++;
    budget.messages--;
    budget.bytes -= size;
    if (!isNew) {
      this.#host.counts.redelivered++;
      this.#redeliveries.sent(seq, nowMs);
      this.#redeliveries.hold(seq);
      this.#log?.again(seq, ++this.#consumerSeq, deliveries, nowMs);
      return;
    }
    this.#count.get(this.#cursor);
    this.#cursor = seq;
    if (this.#ahead.size > 0) this.#ahead.removeUpTo(seq);
    this.#count.delivered();
    this.#pace.sent(seq, stampUs, nowMs);
    if (!this.record.tracksAcks) return;
    this.#deliveredSeq = seq;
    this.#handedOut = true;
    this.#redeliveries.add(seq, ++this.#consumerSeq, 1, nowMs);
    this.#redeliveries.hold(seq);
    this.#log?.first(seq, this.#consumerSeq, true, nowMs);
  }

  #report(part: PartTarget): void {
    if (!this.#isCounted()) return;
    const left = this.#undelivered();
    if (left === 0) {
      if (this.#nextNew() === FAR) this.#goOn();
      else this.#host.hungry(this);
    }
    const again = this.#redeliveries.peek() === 0 ? 0 : this.#redeliveries.queued;
    const { lastsEnd } = this.record;
    const { lastSeq } = this.#host.view;
    const pending = this.#redeliveries.pending.size;
    if (part.owesProof && (part.lastOnTheWay > 0 ? this.#host.mayHandOut(this) : this.#host.isProven)) part.proven();
    if (!part.report({ left, again, pending, settled: this.#cursor, lastSeq, lastsEnd })) this.endSession();
  }

  /** A leader of the home begins to speak for the consumer. */
  openSession(session: number, home: PeerId): void {
    this.endSession();
    this.part!.open(session, home);
    this.#host.ready(this);
  }

  /** What is on its way is taken back: the home does not hand it out any more, or nobody knows. */
  endSession(): void {
    const part = this.part!;
    if (part.session > 0) this.#host.holdConfirms();
    this.#takeBack(part);
    for (const inbox of part.close()) this.#host.confirm(inbox);
  }

  demand(frame: DemandFrame): void {
    const part = this.part!;
    if (!this.#taken(part, frame.taken)) return;
    part.demand(frame);
    if (frame.level > this.#host.view.lastSeq) this.#host.advance(frame.level);
    this.#host.ready(this);
  }

  rewind(frame: RewindFrame): void {
    const part = this.part!;
    if (!this.#taken(part, frame.taken)) return;
    this.#takeBack(part);
    part.rewound();
    this.#host.ready(this);
  }

  /** Everything up to `seq` is acknowledged in all partitions. */
  ackAll(seq: number, token: number): void {
    const upTo = Math.min(seq, this.#host.view.lastSeq);
    this.#acknowledge(upTo, this.#consumerSeq, token === 0 ? '' : TOKEN + token);
    this.#host.ready(this);
  }

  /** False: the session is over. */
  #taken(part: PartTarget, count: number): boolean {
    const nowMs = this.#host.nowMs();
    const isSane = part.taken(count, (seq) => {
      if (this.record.tracksAcks) {
        this.#redeliveries.prolong(seq, nowMs);
        return;
      }
      this.#deliveredSeq = seq;
      this.#handedOut = true;
      this.#log?.first(seq, ++this.#consumerSeq, false, nowMs);
    });
    if (isSane) return true;
    part.breakOff();
    this.endSession();
    return false;
  }

  #takeBack(part: PartTarget): void {
    const seqs = part.takeBack();
    if (this.record.tracksAcks) this.#redeliveries.takeBack(seqs);
    else if (seqs.length > 0) {
      this.#cursor = seqs[0] - 1;
      this.#count.invalidate();
    }
  }

  /** The answer to a double ack goes behind what the home was sent before. */
  #confirm(inbox: string): void {
    const { part } = this;
    if (part === undefined || part.session === 0) {
      if (!inbox.startsWith(TOKEN)) this.#host.confirm(inbox);
      return;
    }
    if (inbox.startsWith(TOKEN)) part.ackedAll(Number(inbox.slice(TOKEN.length)));
    else part.confirm(inbox);
    this.#host.ready(this);
  }

  // ---- supply -------------------------------------------------------------------------------------------------------

  /** The next message never delivered; 0 when none, FAR when there is more to look at than one turn allows. */
  #nextNew(): number {
    const { view } = this.#host;
    for (;;) {
      const seq = this.#count.next(this.#cursor);
      if (seq === FAR) {
        this.#cursor = this.#count.lookedTo;
        return FAR;
      }
      if (seq === 0) {
        if (view.lastSeq > this.#cursor) this.#cursor = view.lastSeq;
        return 0;
      }
      if (this.#ahead.size === 0 || !this.#ahead.has(seq)) return seq;
      this.#cursor = seq;
    }
  }

  /** Soon, when others have had their turn. */
  #goOn(): false {
    this.#host.env.clock.after(0, () => this.#host.ready(this));
    return false;
  }

  #drained(nowMs: number): void {
    if (this.queue?.hasOneShots)
      this.queue.sweep(nowMs, true, this.#lastConsumerSeq, this.#streamSeq(this.#deliveredSeq));
    this.#host.hungry(this);
  }

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

  #isDue(seq: number, stampUs: number, nowMs: number): boolean {
    const atMs = this.#pace.dueMs(seq, stampUs);
    if (atMs > nowMs) this.#holdUntilMs = atMs;
    return atMs <= nowMs;
  }

  // ---- acks ---------------------------------------------------------------------------------------------------------

  ack(seq: number, consumerSeq: number, verb: AckVerb, reply: string): void {
    const nowMs = this.#host.nowMs();
    const { pending } = this.#redeliveries;
    this.#activity.touch(nowMs);
    if (this.part !== undefined && this.#leaveToHome(this.part, seq, verb, reply)) return;
    if (verb.kind === 'progress') this.#redeliveries.prolong(seq, nowMs);
    if (verb.kind === 'nak' && pending.has(seq)) this.#refuse(seq, consumerSeq, verb.delayMs, nowMs);
    if (verb.kind === 'term' && pending.has(seq)) this.#adviseTerminated(seq, consumerSeq, verb.reason);
    if (isFinal(verb)) this.#acknowledge(seq, consumerSeq, verb.kind === 'next' ? '' : reply);
    // An unknown word too: it changes nothing, and whoever waits for the answer to it gets one.
    else if (reply !== '') this.#confirm(reply);
    this.#host.ready(this);
  }

  /** Acks of everything so far are the home's to spread. An acknowledged message that is on its way is not handed out any more. */
  #leaveToHome(part: PartTarget, seq: number, verb: AckVerb, reply: string): boolean {
    if (!isFinal(verb)) return false;
    if (this.record.config.ack_policy === 'all') {
      // Without a home it counts here, and nobody says that it counts everywhere.
      if (part.session === 0) this.#acknowledge(seq, this.#consumerSeq, '');
      else part.ackAll(seq, verb.kind === 'next' ? '' : reply);
      this.#host.ready(this);
      return true;
    }
    if (reply !== '' && part.isOnTheWay(seq)) part.withdraw(seq);
    return false;
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
      pending.removeUpTo(seq, () => {});
      known = pending.size < before;
      this.#host.counts.acked += before - pending.size;
    } else {
      known = pending.remove(seq);
      if (known) this.#host.counts.acked++;
    }
    if (!known && !this.record.matters(seq, all, this.#host.view, this.#host.retention)) {
      if (reply !== '') this.#confirm(reply);
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
    if (seq > view.lastSeq || (this.part === undefined && consumerSeq > record.reservedConsumerSeq)) return;
    if (record.config.ack_policy === 'all') {
      this.#redeliveries.pending.removeUpTo(seq, () => {});
      this.#deliveredSeq = seq;
      this.#cursor = Math.max(this.#cursor, seq);
      this.#count.invalidate();
      log.earlyAckAll(seq, reply);
    } else {
      if (!view.exists(seq) || record.ahead.has(seq)) {
        if (reply !== '') this.#confirm(reply);
        return;
      }
      if (this.#ahead.size >= AHEAD_MAX || !record.wants(seq, view.subjectOf(seq), view)) return;
      if (this.#ahead.add(seq)) this.#count.acknowledged(seq, this.#cursor);
      this.#host.counts.acked++;
      log.earlyAck(seq, reply);
    }
    this.#host.flush(this);
  }

  // ---- facts that come from the log -----------------------------------------------------------------------------------

  onRemoved(seq: number): void {
    this.#redeliveries.pending.remove(seq);
    this.#count.removed(seq, this.#cursor);
    if (this.part?.isOnTheWay(seq)) {
      this.part.withdraw(seq);
      this.#host.ready(this);
    }
  }

  onCleared(): void {
    this.#redeliveries.pending.clear();
    this.#count.invalidate();
    if (this.part?.withdrawAll()) this.#host.ready(this);
  }

  /** Removals of messages from this seq on matter to it; Infinity: none do. */
  get watchedFrom(): number {
    const { pending } = this.#redeliveries;
    if (pending.size > 0) return pending.firstSeq;
    const first = this.part?.firstOnTheWay ?? 0;
    if (first > 0) return first;
    return this.#count.watches(this.#cursor) ? this.#cursor + 1 : Number.POSITIVE_INFINITY;
  }

  /** Is it known how much is left? If not, it will be, and `#counted` follows. */
  #isCounted(): boolean {
    if (this.#count.isKnown(this.#cursor)) return true;
    this.#host.watch(this);
    return false;
  }

  #counted(): void {
    const waiting = this.#infos;
    this.#infos = [];
    for (const answer of waiting) this.#answer(answer);
    this.#host.ready(this);
  }

  /** num_pending now; from here on removals are told to this consumer, so that the count stays right. */
  #undelivered(): number {
    const count = this.#count.get(this.#cursor);
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
    if (this.#activity.isOver(nowMs, this, this.#host.outlet)) this.#host.expire(this);
    this.#host.ready(this);
  }

  /** Tells the heap of timers when it is needed next. */
  reschedule(): void {
    if (this.#redeliveries.pending.size === 0) this.#redeliveries.nextDueMs = Number.POSITIVE_INFINITY;
    let dueMs = Math.min(this.#redeliveries.nextDueMs, this.#activity.dueMs);
    if (this.#holdUntilMs > 0) dueMs = Math.min(dueMs, this.#holdUntilMs);
    if (this.queue !== undefined && this.queue.size > 0) dueMs = Math.min(dueMs, this.queue.nextDueMs);
    if (this.push !== undefined) dueMs = Math.min(dueMs, this.push.nextDueMs);
    if (this.#log !== undefined) dueMs = Math.min(dueMs, this.#log.nextDueMs);
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
  info(done: InfoDone): void {
    if (this.#log === undefined) this.#answer(done);
    else this.#log.barrier((error) => (isApiError(error) ? done(error) : this.#answer(done)));
  }

  /** Nothing is delivered before it is known how much is left. */
  #answer(done: InfoDone): void {
    if (this.ended || !this.#isCounted()) {
      if (this.ended) done(apiError(10008));
      else this.#infos.push(done);
      return;
    }
    if (this.memory && this.#consumerSeq > this.record.deliveredConsumerSeq) {
      this.record.deliveredUpTo(this.#deliveredSeq, this.#consumerSeq, this.#host.env.clock.wallUs());
    }
    done(this.#state(this.#undelivered() + (this.#log?.unloggedFirsts ?? 0)));
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
      ...this.#state(this.#isCounted() ? this.#undelivered() : this.#count.soFar),
      delivered: {
        consumer_seq: this.#lastConsumerSeq,
        stream_seq: this.#streamSeq(this.#deliveredSeq),
        last_active_us: this.record.deliveredUs,
      },
      num_ack_pending: pending.size,
      num_redelivered: pending.redelivered,
    };
  }

  #state(undelivered: number): ConsumerState {
    this.queue?.dropLost();
    const isBound = this.push !== undefined && this.#host.outlet.hasInterest(this.push.subject);
    const facts = { undelivered, waiting: this.queue?.size ?? 0, isBound };
    return stateOf(this.record, (seq) => this.#streamSeq(seq), facts);
  }

  /** No more deliveries; waiting requests end. */
  end(why: PullsEnd): void {
    this.ended = true;
    this.queue?.endAll(why);
    this.#log?.abandon();
    this.#count.end();
    for (const answer of this.#infos) answer(apiError(10008));
    this.#infos = [];
    this.#host.schedule(this, Number.POSITIVE_INFINITY);
  }

  #streamSeq(seq: number): number {
    return this.#host.streamSeq(seq);
  }
}
