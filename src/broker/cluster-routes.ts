// The broker's other half: interest gossip and messages to and from the brokers of other nodes, each over a channel of its own.
// Interest travels as changes and may overtake messages, never the reverse; a node asks for everything when a link comes
// up, and is told everything again when a change could not be sent. Records for a peer leave as one batch per turn and channel.
// Invariants: after a peer is down nothing of its interest is left; a message that came from a peer never goes to another.
import type { PeerId } from '../../cluster/core/types.ts';
import { Channel, type Transport } from '../../cluster/rpc/types.ts';
import type { Env } from '../kit/env.ts';
import type { Interner } from '../subjects/interner.ts';
import { isValidPattern } from '../subjects/subject.ts';
import { InterestTable } from './interest-table.ts';
import type { RawMessage } from './raw-message.ts';
import { RemoteInterest } from './remote-interest.ts';
import { RouteDecoder, RouteEncoder, type RouteHandler } from './route-codec.ts';
import type { Message } from './types.ts';

/** A batch leaves before the end of the turn when it is larger. */
const BATCH_BYTES_MAX = 256 * 1024;
/** Until a peer is told again what could not be sent. */
const RETRY_MS = 100;

export interface RouteOwner {
  addRemote(interest: RemoteInterest, account: string): void;
  removeRemote(interest: RemoteInterest, account: string): void;
  /** Routed here: for local subscribers only. */
  deliverRouted(account: string, target: string, picks: readonly string[], message: RawMessage): void;
}

/** One other node. */
export class PeerRoute implements RouteHandler {
  readonly id: PeerId;
  /** What waits for the end of the turn. */
  readonly changes = new RouteEncoder();
  readonly messages = new RouteEncoder();
  /** Groups for which this peer was picked, for the message at hand. */
  picks: string[] = [];
  /** What must be sent again because it could not be: our interest, our question for theirs. */
  owesSync = false;
  owesAsk = false;
  /** Our question waits among the changes. */
  asking = false;
  queued = false;

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

  onAsk(): void {
    this.#routes.sync(this);
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

  /** The peer is down. */
  forgetAll(): void {
    for (const [key, interest] of this.#interest) this.#forget(key, interest);
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
  /** Batches of messages for which a link had no room. */
  lostBatches = 0;

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

  localAdded(account: string, subject: string, queue: string): void {
    this.#tell(account, subject, queue, this.#table.add(account, subject, queue));
  }

  localRemoved(account: string, subject: string, queue: string): void {
    this.#tell(account, subject, queue, this.#table.remove(account, subject, queue));
  }

  /** Queues the message for a peer, with the picks that stand in `peer.picks`. */
  send(peer: PeerRoute, account: string, target: string, message: Message): void {
    peer.messages.message(account, target, peer.picks, message);
    if (peer.picks.length > 0) peer.picks = [];
    this.#enqueue(peer);
  }

  /** Tells a peer all of our interest. */
  sync(peer: PeerRoute): void {
    peer.owesSync = false;
    peer.changes.syncBegin();
    this.#table.forEach((account, subject, queue, weight) => {
      if (peer.owesSync) return;
      peer.changes.interest(account, subject, queue, weight);
      this.#enqueue(peer);
    });
    if (!peer.owesSync) peer.changes.syncEnd();
    this.#enqueueChange(peer);
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
    this.#ask(this.#peerFor(id));
  }

  #ask(peer: PeerRoute): void {
    peer.owesAsk = false;
    peer.asking = true;
    peer.changes.ask();
    this.#enqueueChange(peer);
  }

  #down(id: PeerId): void {
    const peer = this.#peers.get(id);
    if (peer === undefined) return;
    this.#peers.delete(id);
    // What is queued for it finds nothing to send.
    peer.changes.take();
    peer.messages.take();
    peer.forgetAll();
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
      const { asking } = peer;
      peer.asking = false;
      if (!this.#transport.send(peer.id, Channel.interest, peer.changes.take())) {
        // Interest may not be lost: it is told again as a whole.
        peer.owesSync = true;
        peer.owesAsk ||= asking;
        this.#retryLater();
      }
    }
    // A batch that finds no room is lost, as messages of core NATS may be.
    if (peer.messages.bytes > 0 && !this.#transport.send(peer.id, Channel.route, peer.messages.take()))
      this.lostBatches++;
  }

  #retryLater(): void {
    if (this.#retrying) return;
    this.#retrying = true;
    this.#env.clock.after(RETRY_MS, () => {
      this.#retrying = false;
      for (const peer of this.#peers.values()) {
        if (peer.owesAsk) this.#ask(peer);
        if (peer.owesSync) this.sync(peer);
      }
      this.flush();
    });
  }
}
