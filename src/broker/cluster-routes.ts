// The broker's other half: interest gossip and messages to and from the brokers of other nodes, each over a channel of its own.
// Interest travels as changes and may overtake messages, never the reverse; a node tells everything when a link comes
// up, before anything else that it sends there, and again when a change could not be sent. Records for a peer leave as one batch per turn and channel.
// Invariants: after a peer is down nothing of its interest is left; a message that came from a peer never goes to another.
import type { PeerId } from '../../cluster/core/types.ts';
import { Channel, type Transport } from '../../cluster/rpc/types.ts';
import type { Env } from '../kit/env.ts';
import type { Interner } from '../subjects/interner.ts';
import { isValidPattern } from '../subjects/subject.ts';
import { InterestTable, type InterestWalk } from './interest-table.ts';
import type { RawMessage } from './raw-message.ts';
import { RemoteInterest } from './remote-interest.ts';
import { RouteDecoder, RouteEncoder, type RouteHandler } from './route-codec.ts';
import type { Message } from './types.ts';

/** A batch leaves before the end of the turn when it is larger. */
const BATCH_BYTES_MAX = 256 * 1024;
/** Until a peer is told again what could not be sent. */
const RETRY_MS = 100;
/** Interest that is told or forgotten in one go: about two milliseconds of work. */
const STEP_ENTRIES = 1_000;

export interface RouteOwner {
  addRemote(interest: RemoteInterest, account: string): void;
  removeRemote(interest: RemoteInterest, account: string): void;
  /** A peer came or went: routes that name it are worked out anew. */
  forgetRoutes(): void;
  /** No room on the link to a peer. */
  routedLost(messages: number): void;
  /** Routed here: for local subscribers only. */
  deliverRouted(account: string, target: string, picks: readonly string[], message: RawMessage): void;
}

/** One other node. */
export class PeerRoute implements RouteHandler {
  readonly id: PeerId;
  /** False once it is down: its interest counts no more, and is cleared away step by step. */
  live = true;
  /** The walk through our interest that tells it everything, while that is under way. */
  telling: InterestWalk | undefined = undefined;
  /** What waits for the end of the turn. */
  readonly changes = new RouteEncoder();
  readonly messages = new RouteEncoder();
  /** Groups for which this peer was picked, for the message at hand. */
  picks: string[] = [];
  /** Our interest must be told again because some of it could not be. */
  owesSync = false;
  queued = false;
  /** Messages in `messages`. */
  messageCount = 0;
  /** How full the link was when the batch at hand was begun. */
  fullness = 0;

  readonly #routes: ClusterRoutes;
  readonly #decoder: RouteDecoder;
  readonly #interest = new Map<string, RemoteInterest>();
  /** Rises with each sync of theirs; interest of an older one goes at its end. */
  #epoch = 0;

  constructor(routes: ClusterRoutes, id: PeerId, names: Interner) {
    this.#routes = routes;
    this.id = id;
    this.#decoder = new RouteDecoder(this, names);
  }

  frame(bytes: Uint8Array): boolean {
    return this.#decoder.frame(bytes);
  }

  onSyncBegin(): void {
    this.#epoch++;
  }

  onSyncEnd(): void {
    for (const [key, interest] of this.#interest) if (interest.epoch !== this.#epoch) this.#forget(key, interest);
  }

  onInterest(account: string, subject: string, queue: string, weight: number): void {
    if (!isValidPattern(subject)) return;
    const key = `${account}\n${subject}\n${queue}`;
    const known = this.#interest.get(key);
    if (weight === 0) {
      if (known !== undefined) this.#forget(key, known);
      return;
    }
    if (known !== undefined) {
      known.weight = weight;
      known.epoch = this.#epoch;
      return;
    }
    const interest = new RemoteInterest(this, account, subject, queue, weight, this.#epoch);
    this.#interest.set(key, interest);
    this.#routes.owner.addRemote(interest, account);
  }

  onMessage(account: string, target: string, picks: readonly string[], message: RawMessage): void {
    this.#routes.owner.deliverRouted(account, target, picks, message);
  }

  interest(): IterableIterator<RemoteInterest> {
    return this.#interest.values();
  }

  /** Forgets some of the interest of a peer that is down. False: nothing is left. */
  forgetSome(): boolean {
    let left = STEP_ENTRIES;
    for (const [key, interest] of this.#interest) {
      if (left-- === 0) return true;
      this.#forget(key, interest);
    }
    return false;
  }

  #forget(key: string, interest: RemoteInterest): void {
    this.#interest.delete(key);
    this.#routes.owner.removeRemote(interest, interest.account);
  }
}

export class ClusterRoutes {
  readonly owner: RouteOwner;
  /** Changes of our interest wait for the end of the turn: `flush` first if anything else may overtake them. */
  interestWaits = false;

  readonly #env: Env;
  readonly #transport: Transport;
  readonly #names: Interner;
  readonly #table = new InterestTable();
  readonly #peers = new Map<PeerId, PeerRoute>();
  #queue: PeerRoute[] = [];
  #retrying = false;
  readonly #flushBound = () => this.flush();

  constructor(env: Env, transport: Transport, names: Interner, owner: RouteOwner) {
    this.#env = env;
    this.#transport = transport;
    this.#names = names;
    this.owner = owner;
    const heard = (from: PeerId, bytes: Uint8Array) => {
      if (this.#peerFor(from).frame(bytes)) return;
      env.log.error('a peer sent a malformed route frame', { peer: from, bytes: bytes.length });
    };
    transport.onMessage(Channel.interest, heard);
    transport.onMessage(Channel.route, heard);
    transport.onPeerUp((info) => this.#up(info.id));
    transport.onPeerDown((id) => this.#down(id));
    for (const info of transport.peers()) this.#up(info.id);
  }

  interestOf(peer: PeerId): { account: string; subject: string; queue: string; weight: number }[] {
    const interest = this.#peers.get(peer)?.interest() ?? [];
    return Array.from(interest, ({ account, subject, queue, weight }) => ({ account, subject, queue, weight }));
  }

  localAdded(account: string, subject: string, queue: string): void {
    this.#tell(account, subject, queue, this.#table.add(account, subject, queue));
  }

  localRemoved(account: string, subject: string, queue: string): void {
    this.#tell(account, subject, queue, this.#table.remove(account, subject, queue));
  }

  /** Queues the message for a peer, with the picks that stand in `peer.picks`. How full the way there is. */
  send(peer: PeerRoute, account: string, target: string, message: Message): number {
    if (peer.messageCount++ === 0) peer.fullness = this.#transport.fullness(peer.id, Channel.route);
    peer.messages.message(account, target, peer.picks, message);
    if (peer.picks.length > 0) peer.picks = [];
    this.#enqueue(peer);
    return peer.fullness;
  }

  /** Tells a peer all of our interest, step by step; from the beginning if that was under way. */
  sync(peer: PeerRoute): void {
    peer.owesSync = false;
    peer.telling = this.#table.entries();
    peer.changes.syncBegin();
    this.#syncStep(peer, peer.telling);
  }

  #syncStep(peer: PeerRoute, telling: InterestWalk): void {
    // Begun anew, refused by the link, or the peer is down.
    if (peer.telling !== telling || !peer.live) return;
    for (let left = STEP_ENTRIES; left > 0; left--) {
      const next = telling.next();
      if (next.done === true) {
        peer.changes.syncEnd();
        peer.telling = undefined;
        break;
      }
      const { account, subject, queue, weight } = next.value;
      peer.changes.interest(account, subject, queue, weight);
    }
    this.#enqueueChange(peer);
    if (peer.telling === telling) this.#env.clock.after(0, () => this.#syncStep(peer, telling));
  }

  /** Everything that waits goes to the links. */
  flush(): void {
    const queue = this.#queue;
    this.#queue = [];
    this.interestWaits = false;
    for (const peer of queue) {
      peer.queued = false;
      this.#flushPeer(peer);
    }
  }

  #peerFor(id: PeerId): PeerRoute {
    let peer = this.#peers.get(id);
    if (peer === undefined) this.#peers.set(id, (peer = new PeerRoute(this, id, this.#names)));
    return peer;
  }

  #up(id: PeerId): void {
    this.sync(this.#peerFor(id));
  }

  #down(id: PeerId): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.#peers.delete(id);
    peer.live = false;
    // What is queued for it finds nothing to send.
    peer.changes.take();
    peer.messages.take();
    this.owner.forgetRoutes();
    const forget = () => {
      if (peer.forgetSome()) this.#env.clock.after(0, forget);
    };
    forget();
  }

  #tell(account: string, subject: string, queue: string, weight: number): void {
    if (weight < 0) return;
    for (const peer of this.#peers.values()) {
      peer.changes.interest(account, subject, queue, weight);
      this.#enqueueChange(peer);
    }
  }

  #enqueueChange(peer: PeerRoute): void {
    this.interestWaits = true;
    this.#enqueue(peer);
  }

  #enqueue(peer: PeerRoute): void {
    if (peer.changes.bytes + peer.messages.bytes > BATCH_BYTES_MAX) this.#flushPeer(peer);
    if (peer.queued) return;
    peer.queued = true;
    if (this.#queue.push(peer) === 1) this.#env.clock.endOfTurn(this.#flushBound);
  }

  #flushPeer(peer: PeerRoute): void {
    if (peer.changes.bytes > 0) {
      if (!this.#transport.send(peer.id, Channel.interest, peer.changes.take())) {
        // Interest may not be lost: it is told again as a whole.
        peer.owesSync = true;
        peer.telling = undefined;
        this.#retryLater();
      }
    }
    if (peer.messages.bytes === 0) return;
    const { messageCount } = peer;
    peer.messageCount = 0;
    // Messages that find no room are lost, as those of core NATS may be.
    if (!this.#transport.send(peer.id, Channel.route, peer.messages.take())) this.owner.routedLost(messageCount);
  }

  #retryLater(): void {
    if (this.#retrying) return;
    this.#retrying = true;
    this.#env.clock.after(RETRY_MS, () => {
      this.#retrying = false;
      for (const peer of this.#peers.values()) {
        if (peer.owesSync) this.sync(peer);
      }
      this.flush();
    });
  }
}
