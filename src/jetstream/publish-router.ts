// From a client's publish to the partition that stores it, and back with the PubAck (DESIGN §4, "who owns the answer").
// Runs on every node; a publish is answered by the node where it entered. Invariants: every publish with a reply gets exactly one
// answer; a publish is never sent to a leader twice by this node, unless the first one returned it without having looked at it; per partition,
// publishes are stored in the order in which they came. For each is sent to the leader of one term, which takes it in no other; so what was
// stored in a later term came later in the log, and what comes back from an earlier term than one that was sent to since is given up.

import type { PeerId, Term } from '../../cluster/core/types.ts';
import { Channel, type Transport } from '../../cluster/rpc/types.ts';
import type { Broker, Message, Sink, SinkHandle } from '../broker/types.ts';
import type { Env, Timer } from '../kit/env.ts';
import { type Catalog, groupOf, type Partitions, type StreamRecord } from '../meta/types.ts';
import { type ApiError, apiError } from '../stream/errors.ts';
import { partitionOfSubject } from '../stream/partitioning.ts';
import type { AckSink } from '../stream/types.ts';
import { AckBodies } from './ack-bodies.ts';
import { ANSWERS, type Body, FORWARD, FrameBuilder, frameHeader, RETURNED, readFrame } from './publish-codec.ts';
import { type AwayCounts, NO_ANSWER, WaitingPublishes } from './waiting-publishes.ts';

/** How long a publish waits for a leader to be known. */
const HOLD_MS_MAX = 2000;
/** A publish without answer for so long is told that its outcome is unknown, … */
const ANSWER_MS_MAX = 2500;
/** … or later, while others of its partition are answered: a long queue is not a hang. */
const ANSWER_FLOWING_MS_MAX = 4500;
const SWEEP_MS = 250;
/** A partition flows that has stored something since the last but so many sweeps: a second. */
const FLOWING_SWEEPS = 4;
/** A link without room for answers is asked again after this. */
const OWED_RETRY_MS = 10;
/** What was forwarded to a leader that is none any more is waited for, so long, before later publishes go to the next one; looked at so often. It
 * says at once what it stored and what it returns; whoever is gone is not waited for, the link tells. */
const FORMER_MS_MAX = 200;
const FORMER_POLL_MS = 5;
/** Bytes held per partition while no leader is known. */
const HOLD_BYTES_MAX = 16 << 20;
/** A forward buffer leaves before the end of the turn when it grows beyond this. */
const FORWARD_BYTES_FLUSH = 1 << 20;

const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();
const NO_RESPONDERS = encoder.encode('NATS/1.0 503\r\n\r\n');

export interface PublishRouterOptions {
  env: Env;
  broker: Broker;
  transport: Transport;
  catalog: Catalog;
  partitions: Partitions;
}

export interface PublishRouter {
  /** Publishes waiting for their PubAck on this node. */
  readonly waiting: number;
  readonly stats: PublishStats;
  close(): void;
}

export interface PublishStats {
  forwarded: number;
  stored: number;
  /** By err_code. */
  refused: Map<number, number>;
  /** Held until no leader had been known for too long: answered 503, certainly not stored. */
  leaderless: number;
  /** Publish-to-ack latency: counts per bucket of LATENCY_BUCKETS_MS, and the sum in ms. */
  latencyCounts: Float64Array;
  latencyMsSum: number;
}

export const LATENCY_BUCKETS_MS = [0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

interface Held extends Body {
  token: number;
  dueMs: number;
}

interface Hold {
  /** `dueMs` ascends. */
  queue: Held[];
  /** So many at its front came back from a leader: they came before the others. */
  returned: number;
  bytes: number;
  /** Until then a former leader is waited for; undefined: it has not been asked for yet. */
  formerUntilMs: number | undefined;
}

interface Stream {
  /** One for each partition. */
  ways: Way[];
  sinks: SinkHandle[];
}

/** The way to a partition, and all that a publish asks of it: with thousands of streams each other place to look at is a wait for memory. */
interface Way extends AwayCounts {
  readonly group: number;
  /** To its leader; undefined: not known. */
  link: PeerLink | undefined;
  /** In which that leads, or the last one did. */
  term: Term;
  /** In which that led to which a publish was last sent. */
  sentTerm: Term;
  hold: Hold | undefined;
  noAck: boolean;
  /** What a PubAck says before the seq. */
  readonly ackHead: Uint8Array;
  /** After how many sweeps a publish was last stored. */
  storedAt: number;
  readonly name: string;
}

interface PeerLink {
  readonly peer: PeerId;
  epoch: number;
  forward: FrameBuilder;
  answers: FrameBuilder;
  returns: FrameBuilder;
  /** Epoch of the peer's forwards that `answers` and `returns` belong to. */
  answersEpoch: number;
  /** Answers for which the link had no room, oldest first. */
  owed: Uint8Array[];
  sink: AckSink;
}

export function createPublishRouter(options: PublishRouterOptions): PublishRouter {
  return new Router(options);
}

class Router implements PublishRouter {
  readonly #env: Env;
  readonly #broker: Broker;
  readonly #transport: Transport;
  readonly #catalog: Catalog;
  readonly #partitions: Partitions;
  readonly #streams = new Map<number, Stream>();
  /** By group. */
  readonly #ways = new Map<number, Way>();
  /** Those with a hold. */
  readonly #holding = new Set<Way>();
  readonly #links = new Map<PeerId, PeerLink>();
  /** To this node itself: nothing is sent there. */
  readonly #here: PeerLink;
  readonly #ackBodies = new AckBodies();
  #sweeps = 0;
  #holdTimer: Timer | undefined;
  /** When it fires. */
  #holdDueMs = 0;
  #sweepTimer: Timer | undefined;
  #owedTimer: Timer | undefined;
  #flushAsked = false;
  /** The time of this turn; negative: not read yet. */
  #readMs = -1;
  #closed = false;

  readonly #slots = new WaitingPublishes<Way, PeerLink>();

  readonly stats: PublishStats = {
    forwarded: 0,
    stored: 0,
    refused: new Map(),
    leaderless: 0,
    latencyCounts: new Float64Array(LATENCY_BUCKETS_MS.length + 1),
    latencyMsSum: 0,
  };

  readonly #localSink: AckSink = {
    stored: (token, seq, duplicate) => this.#settleStored(token, seq, duplicate),
    refused: (token, error) => this.#settleRefused(token, error),
    returned: (token, group, term, subject, hdr, payload) => this.#takeBack(token, group, term, subject, hdr, payload),
  };

  constructor(options: PublishRouterOptions) {
    this.#env = options.env;
    this.#broker = options.broker;
    this.#transport = options.transport;
    this.#catalog = options.catalog;
    this.#partitions = options.partitions;
    this.#here = this.#link(this.#transport.self.id);
    this.#catalog.onChange(({ before, record }) => {
      if (before !== undefined && record?.streamId !== before.streamId) this.#removeStream(before);
      if (record !== undefined) this.#setStream(record);
    });
    this.#partitions.onLeaderChange((group, leader, term) => {
      const way = this.#ways.get(group);
      if (way !== undefined) this.#leaderChanged(way, leader, term);
    });
    this.#transport.onMessage(Channel.publish, (from, bytes) => this.#onFrame(from, bytes));
    this.#transport.onPeerDown((peer) => this.#onPeerDown(peer));
  }

  get waiting(): number {
    return this.#slots.count;
  }

  close(): void {
    this.#closed = true;
    for (const timer of [this.#holdTimer, this.#sweepTimer, this.#owedTimer]) if (timer) this.#env.clock.cancel(timer);
    for (const { sinks } of this.#streams.values()) for (const sink of sinks) sink.remove();
    this.#streams.clear();
  }

  #setStream(record: StreamRecord): void {
    let stream = this.#streams.get(record.streamId);
    if (stream === undefined) {
      const ackHead = encoder.encode(ackPrefix(record.name));
      const ways = Array.from({ length: record.partitions }, (_, p) => this.#makeWay(record, p, ackHead));
      stream = { ways, sinks: [] };
      this.#streams.set(record.streamId, stream);
    }
    const { ways, sinks: old } = stream;
    for (const way of ways) way.noAck = record.config.no_ack === true;
    const [only] = ways;
    const sink: Sink =
      ways.length === 1
        ? (message, account) => this.#publish(only, account, message)
        : (message, account) => this.#publish(ways[partitionOfSubject(message.subject, ways.length)], account, message);
    stream.sinks = (record.config.subjects ?? []).map((subject) => this.#broker.addSink(record.account, subject, sink));
    for (const handle of old) handle.remove();
  }

  #makeWay({ streamId, name }: StreamRecord, partition: number, ackHead: Uint8Array): Way {
    const group = groupOf(streamId, partition);
    const leader = this.#partitions.leaderOf(group);
    const way: Way = {
      group,
      link: leader === 0 ? undefined : this.#link(leader),
      term: this.#partitions.termOf(group),
      sentTerm: 0,
      hold: undefined,
      noAck: false,
      ackHead,
      changes: 0,
      away: 0,
      withFormer: 0,
      storedAt: -1 - FLOWING_SWEEPS,
      name,
    };
    this.#ways.set(group, way);
    return way;
  }

  #removeStream({ streamId }: StreamRecord): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    this.#streams.delete(streamId);
    for (const sink of stream.sinks) sink.remove();
    for (const way of stream.ways) {
      for (const held of way.hold?.queue ?? []) this.#settleNoResponders(held.token);
      this.#ways.delete(way.group);
      this.#dropHold(way);
      way.link = undefined;
    }
  }

  #leaderChanged(way: Way, leader: PeerId, term: Term): void {
    way.link = leader === 0 ? undefined : this.#link(leader);
    way.term = term;
    this.#slots.leaderChanged(way);
    this.#releaseHold(way);
  }

  // ---- a client's publish ---------------------------------------------------------------------------------------

  #publish(way: Way, account: string, message: Message): void {
    const wantsAnswer = message.reply !== '' && !way.noAck;
    const token = wantsAnswer ? this.#takeSlot(account, message.reply, way) : NO_ANSWER;
    if (token === -1) {
      this.#answerRefused(account, message.reply, way, apiError(10167));
      return;
    }
    const { link, hold } = way;
    if (link !== undefined && hold === undefined) {
      this.#toLeader(way, link, message, token);
      return;
    }
    const { subject, hdr, payload } = message;
    const dueMs = this.#env.clock.nowMs() + HOLD_MS_MAX;
    this.#hold(way, hold?.queue.length ?? 0, { subject, hdr, payload, token, dueMs });
  }

  #toLeader(way: Way, link: PeerLink, message: Body, token: number): void {
    const { group, term } = way;
    way.sentTerm = term;
    if (link === this.#here) {
      const ops = this.#partitions.local(group);
      if (ops === undefined) this.#settleRefused(token, apiError(10008));
      else ops.publish(message.subject, message.hdr, message.payload, this.#localSink, token, term);
      return;
    }
    this.#slots.leaves(token, link);
    link.forward.addForward(group, term, token, message);
    this.stats.forwarded++;
    if (link.forward.length > FORWARD_BYTES_FLUSH) this.#sendForwards(link);
    else this.#askFlush();
  }

  /** Copies what may be part of a receive buffer. False: there is no room. */
  #hold(way: Way, at: number, { subject, hdr, payload, token, dueMs }: Held): boolean {
    const hold = this.#holdOf(way);
    const bytes = subject.length + hdr.length + payload.length;
    if (hold.bytes + bytes > HOLD_BYTES_MAX) {
      this.#settleRefused(token, apiError(10167));
      return false;
    }
    hold.bytes += bytes;
    hold.queue.splice(at, 0, { subject, hdr: new Uint8Array(hdr), payload: new Uint8Array(payload), token, dueMs });
    this.#armHolds(dueMs);
    return true;
  }

  /** A leader that is none any more gives back what it has not looked at: it waits for the next one, before what came later. All that comes
   * back into a hold is of one term, and so of one leader, in the order in which it was sent. */
  #takeBack(token: number, group: number, term: Term, subject: string, hdr: Uint8Array, payload: Uint8Array): void {
    const slot = this.#slots.claim(token);
    if (token !== NO_ANSWER && slot < 0) return;
    const way = this.#ways.get(group);
    if (way === undefined) {
      // Its stream is gone, with all that waited for a leader.
      this.#settleNoResponders(token);
      return;
    }
    if (term < way.sentTerm) {
      // Later ones went to a later leader, and may be stored there: its place in the order is gone.
      this.#settleRefused(token, apiError(10008));
      return;
    }
    // The word of the next leader, or of the next term of this one, is on its way.
    if (term === way.term) way.link = undefined;
    if (slot >= 0) this.#slots.isBack(slot);
    const { hold } = way;
    const queue = hold?.queue ?? [];
    const at = hold?.returned ?? 0;
    const sinceMs = slot >= 0 ? this.#slots.startMs[slot] : this.#env.clock.nowMs();
    const dueMs = Math.min(sinceMs + HOLD_MS_MAX, queue[at]?.dueMs ?? Number.POSITIVE_INFINITY);
    // What is due does not wait behind one that nobody waits for.
    for (let i = at - 1; i >= 0 && queue[i].dueMs > dueMs; i--) queue[i].dueMs = dueMs;
    if (this.#hold(way, at, { subject, hdr, payload, token, dueMs })) way.hold!.returned++;
    // That word came first, and no other will: it goes on when those that come back with it are here.
    if (hold === undefined && way.link !== undefined) this.#releaseSoon(way);
  }

  #holdOf(way: Way): Hold {
    if (way.hold === undefined) {
      way.hold = { queue: [], returned: 0, bytes: 0, formerUntilMs: undefined };
      this.#holding.add(way);
    }
    return way.hold;
  }

  #dropHold(way: Way): void {
    way.hold = undefined;
    this.#holding.delete(way);
  }

  /** What waited for a leader goes to it, if there is one. */
  #releaseHold(way: Way): void {
    const { link } = way;
    if (link === undefined || this.#closed) return;
    const isWaiting = this.#waitsForFormer(way, link);
    const { hold } = way;
    if (hold === undefined) return;
    if (isWaiting) {
      this.#releaseSoon(way);
      return;
    }
    this.#dropHold(way);
    for (const held of hold.queue) this.#toLeader(way, link, held, held.token);
  }

  #releaseSoon(way: Way): void {
    const { hold } = way;
    // Another look may have ended the waiting: it does not begin anew.
    this.#env.clock.after(FORMER_POLL_MS, () => {
      if (way.hold === hold) this.#releaseHold(way);
    });
  }

  /** What came before must not be overtaken: it may yet come back from whoever led before, who may be the one that leads now. */
  #waitsForFormer(way: Way, link: PeerLink): boolean {
    if (!this.#ledHereUntilNow(way, link) && way.withFormer === 0) return false;
    const nowMs = this.#env.clock.nowMs();
    const hold = this.#holdOf(way);
    hold.formerUntilMs ??= nowMs + FORMER_MS_MAX;
    return nowMs < hold.formerUntilMs;
  }

  /** The word of the next leader may be read in the turn in which this node is to find out that it leads no longer. */
  #ledHereUntilNow({ group }: Way, link: PeerLink): boolean {
    return link !== this.#here && this.#partitions.local(group)?.leading === true;
  }

  #expireHolds(): void {
    this.#holdTimer = undefined;
    const nowMs = this.#env.clock.nowMs();
    let nextMs = Number.POSITIVE_INFINITY;
    // Those that are there now: a leader of this node may return what it is given at once.
    for (const way of [...this.#holding]) {
      const { hold } = way;
      if (hold === undefined) continue;
      let expired = 0;
      while (expired < hold.queue.length && hold.queue[expired].dueMs <= nowMs) expired++;
      for (const held of hold.queue.splice(0, expired)) {
        hold.bytes -= held.subject.length + held.hdr.length + held.payload.length;
        this.#settleNoResponders(held.token);
      }
      hold.returned = Math.max(0, hold.returned - expired);
      if (hold.queue.length === 0) {
        if ((hold.formerUntilMs ?? 0) <= nowMs) this.#dropHold(way);
        continue;
      }
      this.#releaseHold(way);
      // It waits on for a former leader, and the new one may be gone before that is over.
      if (way.hold === hold) nextMs = Math.min(nextMs, hold.queue[0].dueMs);
    }
    if (nextMs !== Number.POSITIVE_INFINITY) this.#armHolds(nextMs);
  }

  #armHolds(dueMs: number): void {
    const { clock } = this.#env;
    if (this.#holdTimer !== undefined) {
      if (this.#holdDueMs <= dueMs) return;
      clock.cancel(this.#holdTimer);
    }
    this.#holdDueMs = dueMs;
    this.#holdTimer = clock.after(Math.max(1, dueMs - clock.nowMs()), () => this.#expireHolds());
  }

  // ---- waiting publishes ----------------------------------------------------------------------------------------

  /** -1: too many publishes wait already. */
  #takeSlot(account: string, reply: string, way: Way): number {
    this.#sweepTimer ??= this.#env.clock.after(SWEEP_MS, () => this.#sweepSlots());
    return this.#slots.take(account, reply, way, this.#turnMs());
  }

  /** Whoever should have answered never did: the client is not left to wait. */
  #sweepSlots(): void {
    this.#sweepTimer = undefined;
    this.#sweeps++;
    const nowMs = this.#env.clock.nowMs();
    for (let slot = 0; slot < this.#slots.replies.length; slot++) {
      if (this.#slots.replies[slot] === '') continue;
      const waitedMs = nowMs - this.#slots.startMs[slot];
      if (waitedMs < ANSWER_MS_MAX) continue;
      const isFlowing = this.#sweeps - this.#slots.ways[slot].storedAt <= FLOWING_SWEEPS;
      if (isFlowing && waitedMs < ANSWER_FLOWING_MS_MAX) continue;
      this.#settleRefused(this.#slots.tokenOf(slot), apiError(10008));
    }
    if (this.waiting > 0) this.#sweepTimer = this.#env.clock.after(SWEEP_MS, () => this.#sweepSlots());
  }

  #settleStored(token: number, seq: number, duplicate: boolean): void {
    this.stats.stored++;
    const slot = this.#slots.claim(token);
    if (slot < 0) return;
    const way = this.#slots.ways[slot];
    way.storedAt = this.#sweeps;
    this.#observeLatency(this.#turnMs() - this.#slots.startMs[slot]);
    const reply = this.#slots.replies[slot];
    const answer = this.#ackBodies.stored(reply, way.ackHead, seq, duplicate);
    this.#broker.deliverTo(this.#slots.accounts[slot], reply, answer);
    this.#slots.release(slot);
  }

  #settleRefused(token: number, error: ApiError): void {
    const slot = this.#slots.claim(token);
    this.stats.refused.set(error.err_code, (this.stats.refused.get(error.err_code) ?? 0) + 1);
    if (slot < 0) return;
    this.#answerRefused(this.#slots.accounts[slot], this.#slots.replies[slot], this.#slots.ways[slot], error);
    this.#slots.release(slot);
  }

  #settleNoResponders(token: number): void {
    this.stats.leaderless++;
    const slot = this.#slots.claim(token);
    if (slot < 0) return;
    this.#answer(this.#slots.accounts[slot], this.#slots.replies[slot], NO_RESPONDERS, EMPTY);
    this.#slots.release(slot);
  }

  #answerRefused(account: string, reply: string, { name }: Way, error: ApiError): void {
    const body = `{"error":${JSON.stringify(error)},${ackPrefix(name).slice(1)}0}`;
    this.#answer(account, reply, EMPTY, encoder.encode(body));
  }

  #answer(account: string, reply: string, hdr: Uint8Array, payload: Uint8Array): void {
    this.#broker.deliverTo(account, reply, { subject: reply, reply: '', hdr, payload });
  }

  /** The time, read once in a turn. */
  #turnMs(): number {
    if (this.#readMs < 0) {
      this.#readMs = this.#env.clock.nowMs();
      this.#askFlush();
    }
    return this.#readMs;
  }

  #observeLatency(ms: number): void {
    let bucket = 0;
    while (bucket < LATENCY_BUCKETS_MS.length && ms > LATENCY_BUCKETS_MS[bucket]) bucket++;
    this.stats.latencyCounts[bucket]++;
    this.stats.latencyMsSum += ms;
  }

  // ---- between nodes --------------------------------------------------------------------------------------------

  #link(peer: PeerId): PeerLink {
    let link = this.#links.get(peer);
    if (link === undefined) {
      link = {
        peer,
        epoch: this.#env.random.uint32(),
        forward: new FrameBuilder(FORWARD),
        answers: new FrameBuilder(ANSWERS),
        returns: new FrameBuilder(RETURNED),
        answersEpoch: 0,
        owed: [],
        sink: this.#localSink,
      };
      this.#links.set(peer, link);
    }
    return link;
  }

  #askFlush(): void {
    if (this.#flushAsked) return;
    this.#flushAsked = true;
    this.#env.clock.endOfTurn(() => {
      this.#flushAsked = false;
      this.#readMs = -1;
      if (this.#closed) return;
      for (const link of this.#links.values()) {
        if (link.returns.length > 0) this.#sendReturns(link);
        if (link.answers.length > 0) this.#sendAnswers(link);
        if (link.forward.length > 0) this.#sendForwards(link);
      }
    });
  }

  /** Answers for which there is no room wait, in order: the peer's clients wait for them. */
  #sendAnswers(link: PeerLink): void {
    const { peer } = link;
    if (link.answers.length > 0) link.owed.push(link.answers.take(link.answersEpoch));
    let sent = 0;
    while (sent < link.owed.length && this.#transport.send(peer, Channel.publish, [link.owed[sent]])) sent++;
    // Without a link nobody waits: the peer has told its clients so.
    link.owed.splice(0, this.#transport.isUp(peer) ? sent : link.owed.length);
    if (link.owed.length > 0) this.#owedTimer ??= this.#env.clock.after(OWED_RETRY_MS, () => this.#retryOwed());
  }

  /** Without room for them they are refused: an answer is small, and waits for room. */
  #sendReturns(link: PeerLink): void {
    const frame = link.returns.take(link.answersEpoch);
    if (this.#transport.send(link.peer, Channel.publish, [frame])) return;
    const { err_code, code, description } = apiError(10008);
    readFrame(frame, {
      onForward: (_group, _term, token) => {
        if (token !== NO_ANSWER) link.answers.addRefused(token, err_code, code, description);
      },
      onStored: () => undefined,
      onRefused: () => undefined,
    });
  }

  #retryOwed(): void {
    this.#owedTimer = undefined;
    for (const link of this.#links.values()) if (link.owed.length > 0) this.#sendAnswers(link);
  }

  #sendForwards(link: PeerLink): void {
    const { peer } = link;
    const frame = link.forward.take(link.epoch);
    if (this.#transport.send(peer, Channel.publish, [frame])) return;
    const error = this.#transport.isUp(peer) ? apiError(10167) : apiError(10008);
    readFrame(frame, {
      onForward: (_group, _term, token) => this.#settleRefused(token, error),
      onStored: () => undefined,
      onRefused: () => undefined,
    });
  }

  #onFrame(from: PeerId, bytes: Uint8Array): void {
    const header = frameHeader(bytes);
    const link = this.#link(from);
    let whole = header !== undefined;
    if (header?.kind === FORWARD) {
      if (link.answersEpoch !== header.epoch) {
        // The peer started anew: answers for its earlier life would meet the wrong tokens.
        if (link.answers.length > 0) link.answers.take(0);
        if (link.returns.length > 0) link.returns.take(0);
        link.owed.length = 0;
        link.answersEpoch = header.epoch;
        link.sink = this.#remoteSink(link);
      }
      const { sink } = link;
      whole = readFrame(bytes, {
        onForward: (group, term, token, subject, hdr, payload) => {
          const ops = this.#partitions.local(group);
          if (ops === undefined) sink.refused(token, apiError(10008));
          else ops.publish(subject, hdr, payload, sink, token, term);
        },
        onStored: () => undefined,
        onRefused: () => undefined,
      });
    } else if (header !== undefined && header.epoch === link.epoch) {
      whole = readFrame(bytes, {
        onForward: (group, term, token, subject, hdr, payload) =>
          this.#takeBack(token, group, term, subject, hdr, payload),
        onStored: (token, seq, duplicate) => this.#settleStored(token, seq, duplicate),
        onRefused: (token, errCode, code, description) =>
          this.#settleRefused(token, { code, err_code: errCode, description }),
      });
    }
    if (!whole) this.#env.log.warn('malformed publish frame from a peer', { peer: from });
  }

  /** Answers for what a peer forwarded in its present epoch. Sinks of earlier epochs stay with their publishes and are silent. */
  #remoteSink(link: PeerLink): AckSink {
    const epoch = link.answersEpoch;
    const isHeard = (token: number): boolean => token !== NO_ANSWER && link.answersEpoch === epoch;
    return {
      stored: (token, seq, duplicate) => {
        if (!isHeard(token)) return;
        link.answers.addStored(token, seq, duplicate);
        this.#askFlush();
      },
      refused: (token, error) => {
        if (!isHeard(token)) return;
        link.answers.addRefused(token, error.err_code, error.code, error.description);
        this.#askFlush();
      },
      // Also those that nobody waits for.
      returned: (token, group, term, subject, hdr, payload) => {
        if (link.answersEpoch !== epoch) return;
        link.returns.addForward(group, term, token, { subject, hdr, payload });
        if (link.returns.length > FORWARD_BYTES_FLUSH) this.#sendReturns(link);
        this.#askFlush();
      },
    };
  }

  /** What was forwarded to that peer has an unknown outcome now. */
  #onPeerDown(peer: PeerId): void {
    const link = this.#links.get(peer);
    if (link === undefined) return;
    if (link.forward.length > 0) link.forward.take(0);
    if (link.answers.length > 0) link.answers.take(0);
    if (link.returns.length > 0) link.returns.take(0);
    link.owed.length = 0;
    link.epoch = (link.epoch + 1) >>> 0;
    for (let slot = 0; slot < this.#slots.replies.length; slot++) {
      if (this.#slots.isAwayBy(slot, link)) this.#settleRefused(this.#slots.tokenOf(slot), apiError(10008));
    }
  }
}

/** What a PubAck says before the seq. */
function ackPrefix(stream: string): string {
  return `{"stream":${JSON.stringify(stream)},"seq":`;
}
