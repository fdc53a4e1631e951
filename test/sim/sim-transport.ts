// A network between simulated nodes at the level of messages: per directed link a delay, and on the raft channel loss, duplication and
// reordering; other channels lose nothing and keep their order, as TCP does, until the link ends. Partitions may be one-way. Every fault is counted.
// Invariant: nothing reaches a life other than the one that the link was made to, and all chance comes from the seed.
import type { PeerId } from '../../cluster/core/types.ts';
import { Channel, type NodeHeartbeat, type PeerInfo, type Transport } from '../../cluster/rpc/types.ts';
import type { Prng } from './prng.ts';
import type { Scheduler } from './scheduler.ts';

export interface NetworkFaults {
  delayMinMs: number;
  delayMeanMs: number;
  /** Shares of raft-channel messages. */
  loss: number;
  duplicate: number;
  reorder: number;
}

export const CALM: NetworkFaults = { delayMinMs: 0.1, delayMeanMs: 0.3, loss: 0, duplicate: 0, reorder: 0 };

/** Messages of one link are at least so far apart. */
const LINK_STEP_MS = 1e-6;
const HEARTBEAT_MS = 150;
const SILENT_MS = 2000;
const HANDSHAKE_MS = 5;
const RETRANSMIT_MS = 100;

export interface NetworkCounts {
  delivered: number;
  lost: number;
  duplicated: number;
  reordered: number;
  cutMessages: number;
  linksUp: number;
  linksDown: number;
}

/** What the network needs of a process life. */
export interface EndpointLife {
  readonly info: PeerInfo;
  nowMs(): number;
  /** Enters the life; nothing happens when it is dead. */
  run(fn: () => void): void;
}

export class SimNetwork {
  readonly counts: NetworkCounts = {
    delivered: 0,
    lost: 0,
    duplicated: 0,
    reordered: 0,
    cutMessages: 0,
    linksUp: 0,
    linksDown: 0,
  };
  faults: NetworkFaults = { ...CALM };
  /** Sees everything that nodes send, as it leaves. */
  watch: ((from: PeerInfo, to: PeerId, channel: Channel, bytes: Uint8Array) => void) | undefined;
  readonly scheduler: Scheduler;
  readonly chance: Prng;
  readonly #ends = new Map<string, Endpoint>();
  readonly #cuts = new Set<string>();

  constructor(scheduler: Scheduler, chance: Prng) {
    this.scheduler = scheduler;
    this.chance = chance;
  }

  /** The transport of a new life of the node of that name; the earlier life's is gone. */
  join(life: EndpointLife): Transport {
    const end = new Endpoint(this, life);
    this.#ends.set(life.info.name, end);
    for (const other of this.#ends.values()) this.#connectLater(end, other);
    end.beat();
    return end;
  }

  /** The node's life has ended: peers see a reset. */
  leave(name: string): void {
    const end = this.#ends.get(name);
    if (end === undefined) return;
    this.#ends.delete(name);
    end.dead = true;
    for (const other of this.#ends.values()) this.#drop(other, end.life.info.id, end);
  }

  /** Nothing passes from `from` to `to` any more; TCP notices by silence. */
  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  heal(): void {
    this.#cuts.clear();
    this.faults = { ...CALM };
  }

  isCut(from: string, to: string): boolean {
    return this.#cuts.has(`${from}>${to}`);
  }

  isLinked(a: string, b: string): boolean {
    const end = this.#ends.get(b);
    return end !== undefined && this.#ends.get(a)?.links.has(end.self.id) === true;
  }

  /** The most that the present life of that node has heard to be durable at that peer, in any of its lives; 0: nothing. */
  heardDurable(name: string, peer: PeerId): number {
    return this.#ends.get(name)?.heardDurable.get(peer) ?? 0;
  }

  present(end: Endpoint): boolean {
    return !end.dead && this.#ends.get(end.life.info.name) === end;
  }

  #connectLater(a: Endpoint, b: Endpoint): void {
    if (a === b) return;
    this.scheduler.after(HANDSHAKE_MS + this.chance.float() * 100, () => this.#connect(a, b));
  }

  #connect(a: Endpoint, b: Endpoint): void {
    if (!this.present(a) || !this.present(b) || a.links.has(b.life.info.id)) return;
    const [nameA, nameB] = [a.life.info.name, b.life.info.name];
    if (this.isCut(nameA, nameB) || this.isCut(nameB, nameA)) {
      this.#connectLater(a, b);
      return;
    }
    this.counts.linksUp++;
    const id = this.chance.uint32();
    a.linkUp(b, id);
    b.linkUp(a, id);
  }

  /** One end gives up the link (silence or reset); the other end learns of it unless it is cut off, and both try again. */
  drop(end: Endpoint, peer: Endpoint): void {
    this.#drop(end, peer.life.info.id, peer);
    this.#drop(peer, end.life.info.id, end);
    this.#connectLater(end, peer);
  }

  #drop(end: Endpoint, id: PeerId, peer: Endpoint): void {
    if (end.links.get(id)?.peer !== peer) return;
    this.counts.linksDown++;
    end.linkDown(id);
  }

  delayMs(): number {
    return (
      this.faults.delayMinMs - Math.log(1 - this.chance.float()) * (this.faults.delayMeanMs - this.faults.delayMinMs)
    );
  }
}

interface Link {
  peer: Endpoint;
  id: number;
  /** When the last ordered message arrives: later ones do not overtake it. */
  lastArrivalMs: number;
  heardMs: number;
  /** Ordered messages that a cut holds back. */
  stalled: (() => void)[];
}

class Endpoint implements Transport {
  readonly self: PeerInfo;
  readonly life: EndpointLife;
  readonly links = new Map<PeerId, Link>();
  /** The most that each peer said to be durable. */
  readonly heardDurable = new Map<PeerId, number>();
  dead = false;
  readonly #network: SimNetwork;
  readonly #handlers = new Map<Channel, (from: PeerId, bytes: Uint8Array) => void>();
  readonly #up: ((peer: PeerInfo) => void)[] = [];
  readonly #down: ((peer: PeerId) => void)[] = [];
  readonly #heartbeats: ((from: PeerId, heartbeat: NodeHeartbeat) => void)[] = [];
  readonly #heardMs = new Map<PeerId, number>();
  #source: ((peer: PeerId) => NodeHeartbeat) | undefined;

  constructor(network: SimNetwork, life: EndpointLife) {
    this.#network = network;
    this.life = life;
    this.self = life.info;
  }

  send(to: PeerId, channel: Channel, parts: readonly Uint8Array[]): boolean {
    const link = this.links.get(to);
    if (link === undefined) return false;
    const bytes = concat(parts);
    this.#network.watch?.(this.self, to, channel, bytes);
    const { chance, faults, counts } = this.#network;
    const lossy = channel === Channel.raft;
    if (lossy && chance.float() < faults.loss) {
      counts.lost++;
      return true;
    }
    const reorder = lossy && chance.float() < faults.reorder;
    if (reorder) counts.reordered++;
    this.#carry(link, channel, bytes, reorder);
    if (lossy && chance.float() < faults.duplicate) {
      counts.duplicated++;
      this.#carry(link, channel, bytes, true);
    }
    return true;
  }

  /** A modelled link refuses nothing. */
  fullness(): number {
    return 0;
  }

  #carry(link: Link, channel: Channel, bytes: Uint8Array, unordered: boolean): void {
    const network = this.#network;
    const { scheduler } = network;
    const arrivalMs = unordered ? scheduler.nowMs + network.delayMs() + network.delayMs() * 10 : this.#inOrder(link);
    const { peer, id } = link;
    scheduler.at(arrivalMs, () => {
      const isCut = network.isCut(this.self.name, peer.self.name);
      if (isCut) network.counts.cutMessages++;
      if (channel === Channel.raft) {
        if (!isCut) peer.#receive(this, id, channel, bytes);
        return;
      }
      if (!isCut && link.stalled.length === 0) {
        peer.#receive(this, id, channel, bytes);
        return;
      }
      link.stalled.push(() => peer.#receive(this, id, channel, bytes));
      if (link.stalled.length === 1) this.#retransmit(link);
    });
  }

  /** When what leaves now arrives. Events of one moment happen in any order; what a link carries does not. */
  #inOrder(link: Link): number {
    const arrivalMs = this.#network.scheduler.nowMs + this.#network.delayMs();
    link.lastArrivalMs = Math.max(arrivalMs, link.lastArrivalMs + LINK_STEP_MS);
    return link.lastArrivalMs;
  }

  /** A connection that outlives a cut has lost nothing: what was sent meanwhile arrives behind it, in order. */
  #retransmit(link: Link): void {
    const network = this.#network;
    network.scheduler.after(RETRANSMIT_MS, () => {
      if (this.links.get(link.peer.self.id) !== link) return;
      if (network.isCut(this.self.name, link.peer.self.name)) {
        this.#retransmit(link);
        return;
      }
      const { stalled } = link;
      link.stalled = [];
      for (const receive of stalled) receive();
    });
  }

  #receive(from: Endpoint, id: number, channel: Channel, bytes: Uint8Array): void {
    const link = this.links.get(from.self.id);
    if (link === undefined || link.id !== id || !this.#network.present(this)) return;
    this.#heard(link);
    this.#network.counts.delivered++;
    this.life.run(() => this.#handlers.get(channel)?.(from.self.id, bytes));
  }

  #heard(link: Link): void {
    link.heardMs = this.#network.scheduler.nowMs;
    this.#heardMs.set(link.peer.self.id, this.life.nowMs());
  }

  linkUp(peer: Endpoint, id: number): void {
    const link: Link = { peer, id, lastArrivalMs: 0, heardMs: this.#network.scheduler.nowMs, stalled: [] };
    this.links.set(peer.self.id, link);
    this.#heard(link);
    this.#beatTo(link);
    this.life.run(() => {
      for (const handler of this.#up) handler(peer.self);
    });
  }

  linkDown(id: PeerId): void {
    this.links.delete(id);
    this.life.run(() => {
      for (const handler of this.#down) handler(id);
    });
  }

  /** Heartbeats and silence, for the life of this endpoint. */
  beat(): void {
    const network = this.#network;
    network.scheduler.after(HEARTBEAT_MS * (0.9 + network.chance.float() * 0.2), () => {
      if (!network.present(this)) return;
      for (const link of [...this.links.values()]) {
        if (network.scheduler.nowMs - link.heardMs > SILENT_MS) {
          network.drop(this, link.peer);
          continue;
        }
        this.#beatTo(link);
      }
      this.beat();
    });
  }

  #beatTo(link: Link): void {
    this.life.run(() => {
      const heartbeat = this.#source?.(link.peer.self.id);
      if (heartbeat !== undefined) this.#sendHeartbeat(link, heartbeat);
    });
  }

  /** In order with what else the link carries, but not sent again after a cut. */
  #sendHeartbeat(link: Link, heartbeat: NodeHeartbeat): void {
    const { peer, id } = link;
    this.#network.scheduler.at(this.#inOrder(link), () => {
      if (this.#network.isCut(this.self.name, peer.self.name)) return;
      const other = peer.links.get(this.self.id);
      if (other === undefined || other.id !== id || !this.#network.present(peer)) return;
      peer.#heard(other);
      peer.life.run(() => {
        const { id: from } = this.self;
        peer.heardDurable.set(from, Math.max(peer.heardDurable.get(from) ?? 0, heartbeat.durable));
        for (const handler of peer.#heartbeats) handler(from, heartbeat);
      });
    });
  }

  onMessage(channel: Channel, handler: (from: PeerId, bytes: Uint8Array) => void): void {
    this.#handlers.set(channel, handler);
  }

  onPeerUp(handler: (peer: PeerInfo) => void): void {
    this.#up.push(handler);
  }

  onPeerDown(handler: (peer: PeerId) => void): void {
    this.#down.push(handler);
  }

  onHeartbeat(handler: (from: PeerId, heartbeat: NodeHeartbeat) => void): void {
    this.#heartbeats.push(handler);
  }

  /** The network delays each message by itself: there is nothing to gather. */
  flush(): void {}

  setHeartbeatSource(source: (peer: PeerId) => NodeHeartbeat): void {
    this.#source = source;
  }

  peers(): PeerInfo[] {
    return [...this.links.values()].map((link) => link.peer.self);
  }

  isUp(peer: PeerId): boolean {
    return this.links.has(peer);
  }

  lastHeardMs(peer: PeerId): number {
    return this.#heardMs.get(peer) ?? Number.NEGATIVE_INFINITY;
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
