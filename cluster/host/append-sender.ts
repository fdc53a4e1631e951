// Gives append messages their entries and sends them within a window per peer. The host hands over what cores want to send; entries are those that
// the core has just made, else they come from the WAL's memory tail, else from disk, one read per follower at a time. Invariants: the messages of
// one group to one peer keep their order; what was sent to a peer and not answered stays below the window (a group that has nothing under
// way may always send one piece), so neither the link's queue nor heartbeats behind it grow with a slow follower.
import { NOTHING } from '../core/state.ts';
import type { GroupId, Index, LogEntry, PeerId, RaftMessage, Term } from '../core/types.ts';
import type { Wal } from '../wal/types.ts';

export type Append = Extract<RaftMessage, { type: 'append' }>;

/** Bodies under way to one peer. */
const WINDOW_BYTES = 8 * 1024 * 1024;
const ROOM_BYTES = WINDOW_BYTES / 4;
/** Bodies in one message. */
const PIECE_BYTES = 1024 * 1024;
const ENTRY_OVERHEAD_BYTES = 32;

export interface AppendSenderOwner {
  /** Queues for this turn's frame to `message.to`. */
  send(group: GroupId, message: RaftMessage): void;
  /** Does this node still lead the group in that term? */
  leads(group: GroupId, term: Term): boolean;
  /** The entry should be there and is not: damaged, or compacted meanwhile. */
  unreadable(group: GroupId, index: Index): void;
}

/** Last index and bytes of each message under way, oldest first: a ring, because there is one for each entry. */
class Flights {
  private pairs: number[] = [0, 0, 0, 0, 0, 0, 0, 0];
  private head = 0;
  private count = 0;

  get isEmpty(): boolean {
    return this.count === 0;
  }

  get firstIndex(): Index {
    return this.pairs[this.head];
  }

  get lastIndex(): Index {
    return this.pairs[this.at(this.count - 1)];
  }

  push(index: Index, bytes: number): void {
    if (this.count * 2 === this.pairs.length) this.grow();
    const at = this.at(this.count++);
    this.pairs[at] = index;
    this.pairs[at + 1] = bytes;
  }

  /** Returns the bytes of the oldest. */
  shift(): number {
    const bytes = this.pairs[this.head + 1];
    this.head = this.at(1);
    this.count--;
    return bytes;
  }

  /** Returns the bytes of the newest. */
  pop(): number {
    return this.pairs[this.at(--this.count) + 1];
  }

  private at(n: number): number {
    return (this.head + n * 2) & (this.pairs.length - 1);
  }

  private grow(): void {
    const { pairs, head } = this;
    this.pairs = [...pairs.slice(head), ...pairs.slice(0, head), ...pairs.map(() => 0)];
    this.head = 0;
  }
}

/** One group to one peer. */
interface Lane {
  group: GroupId;
  peer: Peer;
  queue: Append[];
  reading: boolean;
  dropped: boolean;
  underWay: Flights;
  bytes: number;
}

interface Peer {
  id: PeerId;
  lanes: Map<GroupId, Lane>;
  bytes: number;
  blocked: Set<Lane>;
}

export class AppendSender {
  private readonly wal: Wal;
  private readonly owner: AppendSenderOwner;
  private readonly peers = new Map<PeerId, Peer>();

  constructor(wal: Wal, owner: AppendSenderOwner) {
    this.wal = wal;
    this.owner = owner;
  }

  /** `fresh`: entries that the group was just given; mostly they are what the message names. */
  push(group: GroupId, message: Append, fresh: readonly LogEntry[]): void {
    if (message.last < message.first) {
      message.entries = NOTHING;
      this.owner.send(group, message);
      return;
    }
    const lane = this.lane(group, message.to);
    const { underWay, queue } = lane;
    while (!underWay.isEmpty && underWay.lastIndex >= message.first) release(lane, underWay.pop());
    const isNext = queue.length === 0 && !lane.reading && !isBlocked(lane);
    if (isNext && names(message, fresh)) {
      const bytes = bytesOf(fresh);
      if (bytes <= PIECE_BYTES) {
        this.leave(lane, message, fresh, bytes);
        return;
      }
    }
    queue.push(message);
    this.pump(lane);
  }

  /** Far from its window: its answers may wait. */
  hasRoom(to: PeerId): boolean {
    const peer = this.peers.get(to);
    return peer === undefined || (peer.bytes < ROOM_BYTES && peer.blocked.size === 0);
  }

  /** The peer has answered for everything up to `index`, or (not ok) wants to begin elsewhere. */
  onReply(group: GroupId, from: PeerId, ok: boolean, index: Index): void {
    const peer = this.peers.get(from);
    const lane = peer?.lanes.get(group);
    if (peer === undefined || lane === undefined) return;
    const { underWay } = lane;
    while (!underWay.isEmpty && (!ok || underWay.firstIndex <= index)) release(lane, underWay.shift());
    if (!ok) lane.queue = [];
    if (lane.queue.length > 0) this.pump(lane);
    if (peer.blocked.size === 0) return;
    for (const blocked of [...peer.blocked]) if (peer.bytes < WINDOW_BYTES) this.pump(blocked);
  }

  /** Leadership of the group ended, or the group did. */
  dropGroup(group: GroupId): void {
    for (const peer of this.peers.values()) {
      const lane = peer.lanes.get(group);
      if (lane !== undefined) this.drop(lane);
    }
  }

  /** The link is gone, and what was under way with it. */
  dropPeer(id: PeerId): void {
    const peer = this.peers.get(id);
    if (peer === undefined) return;
    for (const lane of [...peer.lanes.values()]) this.drop(lane);
    this.peers.delete(id);
  }

  private drop(lane: Lane): void {
    const { peer } = lane;
    lane.dropped = true;
    lane.queue = [];
    peer.bytes -= lane.bytes;
    peer.blocked.delete(lane);
    peer.lanes.delete(lane.group);
  }

  private lane(group: GroupId, to: PeerId): Lane {
    let peer = this.peers.get(to);
    if (peer === undefined) {
      peer = { id: to, lanes: new Map(), bytes: 0, blocked: new Set() };
      this.peers.set(to, peer);
    }
    let lane = peer.lanes.get(group);
    if (lane === undefined) {
      lane = { group, peer, queue: [], reading: false, dropped: false, underWay: new Flights(), bytes: 0 };
      peer.lanes.set(group, lane);
    }
    return lane;
  }

  private pump(lane: Lane): void {
    if (lane.dropped) return;
    const { blocked } = lane.peer;
    blocked.delete(lane);
    while (lane.queue.length > 0 && !lane.reading) {
      const message = lane.queue[0];
      if (!this.owner.leads(lane.group, message.term)) {
        lane.queue = [];
        return;
      }
      if (isBlocked(lane)) {
        blocked.add(lane);
        return;
      }
      const entries = this.wal.entriesFromMemory(lane.group, message.first, message.last, PIECE_BYTES);
      if (entries !== undefined) this.piece(lane, message, entries);
      else this.read(lane, message);
    }
  }

  private read(lane: Lane, message: Append): void {
    lane.reading = true;
    this.wal.readEntries(lane.group, message.first, message.last, PIECE_BYTES, (entries) => {
      lane.reading = false;
      if (lane.dropped) return;
      // A refusal may have emptied the queue meanwhile.
      if (lane.queue[0] === message) {
        if (entries === undefined) {
          lane.queue.shift();
          this.owner.unreadable(lane.group, message.first);
        } else if (this.owner.leads(lane.group, message.term)) {
          this.piece(lane, message, entries);
        }
      }
      this.pump(lane);
    });
  }

  /** The first message in the queue leaves, or as much of it as there is. */
  private piece(lane: Lane, message: Append, entries: LogEntry[]): void {
    const { queue } = lane;
    const { index, term } = entries[entries.length - 1];
    const bytes = bytesOf(entries);
    if (index < message.last) {
      queue[0] = { ...message, prevIndex: index, prevTerm: term, first: index + 1 };
      this.leave(lane, { ...message, last: index }, entries, bytes);
      return;
    }
    queue.shift();
    this.leave(lane, message, entries, bytes);
  }

  private leave(lane: Lane, message: Append, entries: readonly LogEntry[], bytes: number): void {
    lane.underWay.push(message.last, bytes);
    lane.bytes += bytes;
    lane.peer.bytes += bytes;
    message.entries = entries;
    this.owner.send(lane.group, message);
  }
}

function release(lane: Lane, bytes: number): void {
  lane.peer.bytes -= bytes;
  lane.bytes -= bytes;
}

function isBlocked({ bytes, peer }: Lane): boolean {
  return bytes > 0 && peer.bytes >= WINDOW_BYTES;
}

function names({ first, last }: Append, entries: readonly LogEntry[]): boolean {
  return entries.length === last - first + 1 && entries[0].index === first;
}

function bytesOf(entries: readonly LogEntry[]): number {
  let bytes = 0;
  for (let i = 0; i < entries.length; i++) bytes += entries[i].body.length + ENTRY_OVERHEAD_BYTES;
  return bytes;
}
