// From a client's publish to the partition that stores it, and back with the PubAck (DESIGN §4, "who owns the answer").
// Runs on every node; a publish is answered by the node where it entered. Invariants: every publish with a reply gets exactly one
// answer; a publish is never sent to a leader twice by this node, unless the first one returned it without having looked at it; per partition,
// publishes leave in the order they came.

import type { PeerId } from '../../cluster/core/types.ts';
import { Channel, type Transport } from '../../cluster/rpc/types.ts';
import type { Broker, Message, SinkHandle } from '../broker/types.ts';
import type { Env, Timer } from '../kit/env.ts';
import { type Catalog, groupOf, type Partitions, type StreamRecord } from '../meta/types.ts';
import { type ApiError, apiError } from '../stream/errors.ts';
import { partitionOfSubject } from '../stream/partitioning.ts';
import type { AckSink } from '../stream/types.ts';
import { AckBodies } from './ack-bodies.ts';
import { ANSWERS, FORWARD, FrameBuilder, frameHeader, RETURNED, readFrame } from './publish-codec.ts';

/** How long a publish waits for a leader to be known. */
const HOLD_MS_MAX = 2000;
/** What a leader has returned goes there again after this, if it is still, or again, the one that is known. */
const RETURN_AGAIN_MS = 200;
/** A publish without answer for so long is told that its outcome is unknown, … */
const ANSWER_MS_MAX = 2500;
/** … or later, while others of its stream are answered: a long queue is not a hang. */
const ANSWER_FLOWING_MS_MAX = 4500;
const FLOWING_MS = 1000;
const SWEEP_MS = 250;
/** A link without room for answers is asked again after this. */
const OWED_RETRY_MS = 10;
/** What was forwarded to a leader that is none any more is waited for, so long, before later publishes go to the next one; looked at so often. It
 * says at once what it stored and what it returns; whoever is gone is not waited for, the link tells. */
const FORMER_MS_MAX = 200;
const FORMER_POLL_MS = 5;
/** With more publishes in flight nobody looks for those of one partition. */
const FORMER_SLOTS_MAX = 1 << 16;
/** Bytes held per partition while no leader is known. */
const HOLD_BYTES_MAX = 16 << 20;
/** A forward buffer leaves before the end of the turn when it grows beyond this. */
const FORWARD_BYTES_FLUSH = 1 << 20;
const NO_ANSWER = 0xffffffff;
const SLOT_BITS = 20;
const SLOTS_MAX = 1 << SLOT_BITS;

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

interface Held {
  subject: string;
  hdr: Uint8Array;
  payload: Uint8Array;
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

/** Where a subject goes; one per stream record, shared by its sinks. */
interface Route {
  record: StreamRecord;
  /** What a PubAck says before the seq, and its bytes. */
  ackPrefix: string;
  ackPrefixBytes: Uint8Array;
  /** When a publish was last stored. */
  storedMs: number;
  /** Of each partition: the last one, in the order in which they came, that was stored. */
  storedOrders: number[];
  sinks: SinkHandle[];
}

interface PeerLink {
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
  readonly #routes = new Map<number, Route>();
  readonly #holds = new Map<number, Hold>();
  readonly #links = new Map<PeerId, PeerLink>();
  readonly #ackBodies = new AckBodies();
  /** Of all groups so far, and with which a group's leader changed last: whoever has a publish from before is none any more, or leads again. */
  #leaderChanges = 0;
  readonly #leaderChangedAt = new Map<number, number>();
  #holdTimer: Timer | undefined;
  /** When it fires. */
  #holdDueMs = 0;
  #sweepTimer: Timer | undefined;
  #owedTimer: Timer | undefined;
  #flushAsked = false;
  #closed = false;

  // Waiting publishes: one slot each. token = generation << SLOT_BITS | slot.
  readonly #replies: string[] = [];
  readonly #accounts: string[] = [];
  readonly #slotRoutes: Route[] = [];
  readonly #groups: number[] = [];
  /** 0 while it is not with another node; and after how many changes of leaders it left, when it is. */
  readonly #peers: PeerId[] = [];
  readonly #leftAt: number[] = [];
  /** The how manyth it is. */
  readonly #orders: number[] = [];
  #taken = 0;
  readonly #generations: number[] = [];
  readonly #startMs: number[] = [];
  readonly #free: number[] = [];

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
    returned: (token, group, subject, hdr, payload) =>
      this.#takeBack(this.#transport.self.id, token, group, subject, hdr, payload),
  };

  constructor(options: PublishRouterOptions) {
    this.#env = options.env;
    this.#broker = options.broker;
    this.#transport = options.transport;
    this.#catalog = options.catalog;
    this.#partitions = options.partitions;
    this.#catalog.onChange(({ before, record }) => {
      if (before !== undefined && record?.streamId !== before.streamId) this.#removeRoute(before);
      if (record !== undefined) this.#setRoute(record);
    });
    this.#partitions.onLeaderChange((group, leader) => {
      this.#leaderChangedAt.set(group, ++this.#leaderChanges);
      if (leader !== 0) this.#releaseHold(group, leader);
    });
    this.#transport.onMessage(Channel.publish, (from, bytes) => this.#onFrame(from, bytes));
    this.#transport.onPeerDown((peer) => this.#onPeerDown(peer));
  }

  get waiting(): number {
    return this.#replies.length - this.#free.length;
  }

  close(): void {
    this.#closed = true;
    for (const timer of [this.#holdTimer, this.#sweepTimer, this.#owedTimer]) if (timer) this.#env.clock.cancel(timer);
    for (const route of this.#routes.values()) for (const sink of route.sinks) sink.remove();
    this.#routes.clear();
  }

  #setRoute(record: StreamRecord): void {
    const old = this.#routes.get(record.streamId);
    const ackPrefix = `{"stream":${JSON.stringify(record.name)},"seq":`;
    const route: Route = {
      record,
      ackPrefix,
      ackPrefixBytes: encoder.encode(ackPrefix),
      storedMs: Number.NEGATIVE_INFINITY,
      storedOrders: old?.storedOrders ?? new Array<number>(record.partitions).fill(0),
      sinks: [],
    };
    this.#routes.set(record.streamId, route);
    for (const subject of record.config.subjects ?? []) {
      route.sinks.push(
        this.#broker.addSink(record.account, subject, (message, account) => this.#publish(route, account, message)),
      );
    }
    for (const sink of old?.sinks ?? []) sink.remove();
  }

  #removeRoute(record: StreamRecord): void {
    const route = this.#routes.get(record.streamId);
    if (route === undefined) return;
    this.#routes.delete(record.streamId);
    for (const sink of route.sinks) sink.remove();
    for (let partition = 0; partition < record.partitions; partition++) {
      const group = groupOf(record.streamId, partition);
      for (const held of this.#holds.get(group)?.queue ?? []) this.#settleNoResponders(held.token);
      this.#holds.delete(group);
      this.#leaderChangedAt.delete(group);
    }
  }

  // ---- a client's publish ---------------------------------------------------------------------------------------

  #publish(route: Route, account: string, message: Message): void {
    const { record } = route;
    const partition = record.partitions === 1 ? 0 : partitionOfSubject(message.subject, record.partitions);
    const group = groupOf(record.streamId, partition);
    const wantsAnswer = message.reply !== '' && record.config.no_ack !== true;
    const token = wantsAnswer ? this.#takeSlot(account, message.reply, route, group) : NO_ANSWER;
    if (token === -1) {
      this.#answerRefused(account, message.reply, route.ackPrefix, apiError(10167));
      return;
    }
    const leader = this.#holds.has(group) ? 0 : this.#partitions.leaderOf(group);
    if (leader === 0) {
      const { subject, hdr, payload } = message;
      const dueMs = this.#env.clock.nowMs() + HOLD_MS_MAX;
      this.#hold(group, this.#holds.get(group)?.queue.length ?? 0, { subject, hdr, payload, token, dueMs });
    } else this.#toLeader(group, leader, message.subject, message.hdr, message.payload, token);
  }

  #toLeader(group: number, leader: PeerId, subject: string, hdr: Uint8Array, payload: Uint8Array, token: number): void {
    if (leader === this.#transport.self.id) {
      const ops = this.#partitions.local(group);
      if (ops === undefined) this.#settleRefused(token, apiError(10008));
      else ops.publish(subject, hdr, payload, this.#localSink, token);
      return;
    }
    const link = this.#link(leader);
    if (token !== NO_ANSWER) {
      const slot = token & (SLOTS_MAX - 1);
      this.#peers[slot] = leader;
      this.#leftAt[slot] = this.#leaderChanges;
    }
    link.forward.addForward(group, token, subject, hdr, payload);
    this.stats.forwarded++;
    if (link.forward.length > FORWARD_BYTES_FLUSH) this.#sendForwards(leader, link);
    else this.#askFlush();
  }

  /** Copies what may be part of a receive buffer. False: there is no room. */
  #hold(group: number, at: number, { subject, hdr, payload, token, dueMs }: Held): boolean {
    const hold = this.#holdOf(group);
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

  /** A leader that is none any more gives back what it has not looked at: it waits for the next one, before what came later. Where that one,
   * or the same one in a later term, is known already and has got later ones, its place in the order is gone; so it is where one has stored them. */
  #takeBack(from: PeerId, token: number, group: number, subject: string, hdr: Uint8Array, payload: Uint8Array): void {
    const slot = this.#claim(token);
    if (token !== NO_ANSWER && slot < 0) return;
    const hold = this.#holds.get(group);
    const leader = this.#partitions.leaderOf(group);
    const isTooLate = hold === undefined && leader !== 0 && (leader !== from || this.#isWithFormer(slot, group));
    if (isTooLate || this.#isOvertaken(slot)) {
      this.#settleRefused(token, apiError(10008));
      return;
    }
    if (slot >= 0) this.#peers[slot] = 0;
    const queue = hold?.queue ?? [];
    const at = this.#placeOf(slot, hold);
    const sinceMs = slot >= 0 ? this.#startMs[slot] : this.#env.clock.nowMs();
    const dueMs = Math.min(sinceMs + HOLD_MS_MAX, queue[at]?.dueMs ?? Number.POSITIVE_INFINITY);
    // What is due does not wait behind one that nobody waits for.
    for (let i = at - 1; i >= 0 && queue[i].dueMs > dueMs; i--) queue[i].dueMs = dueMs;
    if (this.#hold(group, at, { subject, hdr, payload, token, dueMs })) this.#holds.get(group)!.returned++;
    // It may lead again, and the word of that may have come before this: then no other will.
    if (leader !== 0) this.#armHolds(this.#env.clock.nowMs() + RETURN_AGAIN_MS);
  }

  /** Among those that came back, maybe from another leader. `slot` -1: behind them. */
  #placeOf(slot: number, hold: Hold | undefined): number {
    if (hold === undefined) return 0;
    const isLater = ({ token }: Held): boolean =>
      slot >= 0 && token !== NO_ANSWER && this.#orders[token & (SLOTS_MAX - 1)] > this.#orders[slot];
    let at = hold.returned;
    while (at > 0 && isLater(hold.queue[at - 1])) at--;
    return at;
  }

  /** Has one that came later been stored? `slot` -1: nobody knows. */
  #isOvertaken(slot: number): boolean {
    if (slot < 0) return false;
    return this.#orders[slot] < this.#slotRoutes[slot].storedOrders[this.#partitionOf(slot)];
  }

  #partitionOf(slot: number): number {
    return this.#groups[slot] - groupOf(this.#slotRoutes[slot].record.streamId, 0);
  }

  #holdOf(group: number): Hold {
    let hold = this.#holds.get(group);
    if (hold === undefined) {
      hold = { queue: [], returned: 0, bytes: 0, formerUntilMs: undefined };
      this.#holds.set(group, hold);
    }
    return hold;
  }

  #releaseHold(group: number, leader: PeerId): void {
    if (this.#waitsForFormer(group, leader)) {
      this.#env.clock.after(FORMER_POLL_MS, () => {
        const now = this.#partitions.leaderOf(group);
        if (now !== 0 && !this.#closed) this.#releaseHold(group, now);
      });
      return;
    }
    const hold = this.#holds.get(group);
    if (hold === undefined) return;
    this.#holds.delete(group);
    for (const { subject, hdr, payload, token } of hold.queue) {
      if (this.#isOvertaken(this.#claim(token))) this.#settleRefused(token, apiError(10008));
      else this.#toLeader(group, leader, subject, hdr, payload, token);
    }
  }

  /** What came before must not be overtaken: it may yet come back from whoever led before, who may be the one that leads now. */
  #waitsForFormer(group: number, leader: PeerId): boolean {
    if (!this.#ledHereUntilNow(group, leader) && !this.#isAnyWithFormer(group)) return false;
    const nowMs = this.#env.clock.nowMs();
    const hold = this.#holdOf(group);
    hold.formerUntilMs ??= nowMs + FORMER_MS_MAX;
    return nowMs < hold.formerUntilMs;
  }

  /** The word of the next leader may be read in the turn in which this node is to find out that it leads no longer. */
  #ledHereUntilNow(group: number, leader: PeerId): boolean {
    return leader !== this.#transport.self.id && this.#partitions.local(group)?.leading === true;
  }

  /** Is any publish of the group with somebody to whom it left before the group's leader changed last? */
  #isAnyWithFormer(group: number): boolean {
    if (this.waiting > FORMER_SLOTS_MAX) return false;
    for (let slot = 0; slot < this.#peers.length; slot++) if (this.#isWithFormer(slot, group)) return true;
    return false;
  }

  /** `slot` -1: nobody waits for it, and nobody knows. */
  #isWithFormer(slot: number, group: number): boolean {
    if (slot < 0 || this.#peers[slot] === 0 || this.#groups[slot] !== group) return false;
    return this.#leftAt[slot] < (this.#leaderChangedAt.get(group) ?? 0);
  }

  #expireHolds(): void {
    this.#holdTimer = undefined;
    const nowMs = this.#env.clock.nowMs();
    let nextMs = Number.POSITIVE_INFINITY;
    // Those that are there now: a leader of this node may return what it is given at once.
    for (const [group, hold] of [...this.#holds]) {
      let expired = 0;
      while (expired < hold.queue.length && hold.queue[expired].dueMs <= nowMs) expired++;
      for (const held of hold.queue.splice(0, expired)) {
        hold.bytes -= held.subject.length + held.hdr.length + held.payload.length;
        this.#settleNoResponders(held.token);
      }
      hold.returned = Math.max(0, hold.returned - expired);
      const leader = this.#partitions.leaderOf(group);
      if (hold.queue.length === 0) {
        if ((hold.formerUntilMs ?? 0) <= nowMs) this.#holds.delete(group);
        continue;
      }
      if (leader !== 0) this.#releaseHold(group, leader);
      // It waits on for a former leader, and the new one may be gone before that is over.
      if (this.#holds.get(group) === hold) nextMs = Math.min(nextMs, hold.queue[0].dueMs);
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
  #takeSlot(account: string, reply: string, route: Route, group: number): number {
    let slot = this.#free.pop();
    if (slot === undefined) {
      slot = this.#replies.length;
      if (slot === SLOTS_MAX) return -1;
      this.#generations.push(0);
    }
    this.#replies[slot] = reply;
    this.#accounts[slot] = account;
    this.#slotRoutes[slot] = route;
    this.#peers[slot] = 0;
    this.#groups[slot] = group;
    this.#leftAt[slot] = 0;
    this.#orders[slot] = ++this.#taken;
    this.#startMs[slot] = this.#env.clock.nowMs();
    this.#sweepTimer ??= this.#env.clock.after(SWEEP_MS, () => this.#sweepSlots());
    return this.#tokenOf(slot);
  }

  /** The slot of a token that still waits; -1 when it was settled before. */
  #claim(token: number): number {
    if (token === NO_ANSWER) return -1;
    const slot = token & (SLOTS_MAX - 1);
    if (slot >= this.#replies.length || this.#replies[slot] === '') return -1;
    return this.#tokenOf(slot) === token ? slot : -1;
  }

  #releaseSlot(slot: number): void {
    this.#replies[slot] = '';
    this.#peers[slot] = 0;
    // The all-ones token means "no answer", so its generation is skipped.
    this.#generations[slot] = (this.#generations[slot] + 1) % ((1 << (32 - SLOT_BITS)) - 1);
    this.#free.push(slot);
  }

  /** Whoever should have answered never did: the client is not left to wait. */
  #sweepSlots(): void {
    this.#sweepTimer = undefined;
    const nowMs = this.#env.clock.nowMs();
    for (let slot = 0; slot < this.#replies.length; slot++) {
      if (this.#replies[slot] === '') continue;
      const waitedMs = nowMs - this.#startMs[slot];
      if (waitedMs < ANSWER_MS_MAX) continue;
      if (waitedMs < ANSWER_FLOWING_MS_MAX && nowMs - this.#slotRoutes[slot].storedMs < FLOWING_MS) continue;
      this.#settleRefused(this.#tokenOf(slot), apiError(10008));
    }
    if (this.waiting > 0) this.#sweepTimer = this.#env.clock.after(SWEEP_MS, () => this.#sweepSlots());
  }

  #tokenOf(slot: number): number {
    return ((this.#generations[slot] << SLOT_BITS) | slot) >>> 0;
  }

  #settleStored(token: number, seq: number, duplicate: boolean): void {
    this.stats.stored++;
    const slot = this.#claim(token);
    if (slot < 0) return;
    const nowMs = this.#env.clock.nowMs();
    const route = this.#slotRoutes[slot];
    route.storedMs = nowMs;
    const partition = this.#partitionOf(slot);
    route.storedOrders[partition] = Math.max(route.storedOrders[partition], this.#orders[slot]);
    this.#observeLatency(nowMs - this.#startMs[slot]);
    const reply = this.#replies[slot];
    const answer = this.#ackBodies.stored(reply, route.ackPrefixBytes, seq, duplicate);
    this.#broker.deliverTo(this.#accounts[slot], reply, answer);
    this.#releaseSlot(slot);
  }

  #settleRefused(token: number, error: ApiError): void {
    const slot = this.#claim(token);
    this.stats.refused.set(error.err_code, (this.stats.refused.get(error.err_code) ?? 0) + 1);
    if (slot < 0) return;
    this.#answerRefused(this.#accounts[slot], this.#replies[slot], this.#slotRoutes[slot].ackPrefix, error);
    this.#releaseSlot(slot);
  }

  #settleNoResponders(token: number): void {
    this.stats.leaderless++;
    const slot = this.#claim(token);
    if (slot < 0) return;
    this.#answer(this.#accounts[slot], this.#replies[slot], NO_RESPONDERS, EMPTY);
    this.#releaseSlot(slot);
  }

  #answerRefused(account: string, reply: string, ackPrefix: string, error: ApiError): void {
    const body = `{"error":${JSON.stringify(error)},${ackPrefix.slice(1)}0}`;
    this.#answer(account, reply, EMPTY, encoder.encode(body));
  }

  #answer(account: string, reply: string, hdr: Uint8Array, payload: Uint8Array): void {
    this.#broker.deliverTo(account, reply, { subject: reply, reply: '', hdr, payload });
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
      if (this.#closed) return;
      for (const [peer, link] of this.#links) {
        if (link.returns.length > 0) this.#sendReturns(peer, link);
        if (link.answers.length > 0) this.#sendAnswers(peer, link);
        if (link.forward.length > 0) this.#sendForwards(peer, link);
      }
    });
  }

  /** Answers for which there is no room wait, in order: the peer's clients wait for them. */
  #sendAnswers(peer: PeerId, link: PeerLink): void {
    if (link.answers.length > 0) link.owed.push(link.answers.take(link.answersEpoch));
    let sent = 0;
    while (sent < link.owed.length && this.#transport.send(peer, Channel.publish, [link.owed[sent]])) sent++;
    // Without a link nobody waits: the peer has told its clients so.
    link.owed.splice(0, this.#transport.isUp(peer) ? sent : link.owed.length);
    if (link.owed.length > 0) this.#owedTimer ??= this.#env.clock.after(OWED_RETRY_MS, () => this.#retryOwed());
  }

  /** Without room for them they are refused: an answer is small, and waits for room. */
  #sendReturns(peer: PeerId, link: PeerLink): void {
    const frame = link.returns.take(link.answersEpoch);
    if (this.#transport.send(peer, Channel.publish, [frame])) return;
    const { err_code, code, description } = apiError(10008);
    readFrame(frame, {
      onForward: (_group, token) => {
        if (token !== NO_ANSWER) link.answers.addRefused(token, err_code, code, description);
      },
      onStored: () => undefined,
      onRefused: () => undefined,
    });
  }

  #retryOwed(): void {
    this.#owedTimer = undefined;
    for (const [peer, link] of this.#links) if (link.owed.length > 0) this.#sendAnswers(peer, link);
  }

  #sendForwards(peer: PeerId, link: PeerLink): void {
    const frame = link.forward.take(link.epoch);
    if (this.#transport.send(peer, Channel.publish, [frame])) return;
    const error = this.#transport.isUp(peer) ? apiError(10167) : apiError(10008);
    readFrame(frame, {
      onForward: (_group, token) => this.#settleRefused(token, error),
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
        link.sink = this.#remoteSink(from, link);
      }
      const { sink } = link;
      whole = readFrame(bytes, {
        onForward: (group, token, subject, hdr, payload) => {
          const ops = this.#partitions.local(group);
          if (ops === undefined) sink.refused(token, apiError(10008));
          else ops.publish(subject, hdr, payload, sink, token);
        },
        onStored: () => undefined,
        onRefused: () => undefined,
      });
    } else if (header !== undefined && header.epoch === link.epoch) {
      whole = readFrame(bytes, {
        onForward: (group, token, subject, hdr, payload) => this.#takeBack(from, token, group, subject, hdr, payload),
        onStored: (token, seq, duplicate) => this.#settleStored(token, seq, duplicate),
        onRefused: (token, errCode, code, description) =>
          this.#settleRefused(token, { code, err_code: errCode, description }),
      });
    }
    if (!whole) this.#env.log.warn('malformed publish frame from a peer', { peer: from });
  }

  /** Answers for what a peer forwarded in its present epoch. Sinks of earlier epochs stay with their publishes and are silent. */
  #remoteSink(peer: PeerId, link: PeerLink): AckSink {
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
      returned: (token, group, subject, hdr, payload) => {
        if (link.answersEpoch !== epoch) return;
        link.returns.addForward(group, token, subject, hdr, payload);
        if (link.returns.length > FORWARD_BYTES_FLUSH) this.#sendReturns(peer, link);
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
    for (let slot = 0; slot < this.#peers.length; slot++) {
      if (this.#peers[slot] !== peer) continue;
      this.#settleRefused(this.#tokenOf(slot), apiError(10008));
    }
  }
}
