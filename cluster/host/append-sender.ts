// Gives append messages their entries and sends them within a window per peer. The host hands over what cores want to send; entries
// come from the WAL's memory tail, else from disk, one read per follower at a time. Invariants: the messages of one group to one
// peer keep their order; what was sent to a peer and not answered stays below the window (a group that has nothing under
// way may always send one piece), so neither the link's queue nor heartbeats behind it grow with a slow follower.
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

/** One group to one peer. */
interface Lane {
  group: GroupId;
  peer: PeerId;
  queue: Append[];
  reading: boolean;
  dropped: boolean;
  /** Under way: last index and bytes of each message. */
  lasts: Index[];
  sizes: number[];
  bytes: number;
}

interface Peer {
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

  push(group: GroupId, message: Append): void {
    if (message.last < message.first) {
      message.entries = [];
      this.owner.send(group, message);
      return;
    }
    const lane = this.lane(group, message.to);
    this.forget(lane, message.first);
    lane.queue.push(message);
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
    while (lane.lasts.length > 0 && (!ok || lane.lasts[0] <= index)) {
      lane.lasts.shift();
      this.release(peer, lane, lane.sizes.shift()!);
    }
    if (!ok) lane.queue = [];
    if (lane.queue.length > 0) this.pump(lane);
    if (peer.blocked.size === 0) return;
    for (const blocked of [...peer.blocked]) if (peer.bytes < WINDOW_BYTES) this.pump(blocked);
  }

  /** Leadership of the group ended, or the group did. */
  dropGroup(group: GroupId): void {
    for (const peer of this.peers.values()) {
      const lane = peer.lanes.get(group);
      if (lane !== undefined) this.drop(peer, lane);
    }
  }

  /** The link is gone, and what was under way with it. */
  dropPeer(id: PeerId): void {
    const peer = this.peers.get(id);
    if (peer === undefined) return;
    for (const lane of [...peer.lanes.values()]) this.drop(peer, lane);
    this.peers.delete(id);
  }

  private drop(peer: Peer, lane: Lane): void {
    lane.dropped = true;
    lane.queue = [];
    peer.bytes -= lane.bytes;
    peer.blocked.delete(lane);
    peer.lanes.delete(lane.group);
  }

  /** The core sends again from `first` on: what was under way from there is lost. */
  private forget(lane: Lane, first: Index): void {
    const peer = this.peers.get(lane.peer)!;
    while (lane.lasts.length > 0 && lane.lasts[lane.lasts.length - 1] >= first) {
      lane.lasts.pop();
      this.release(peer, lane, lane.sizes.pop()!);
    }
  }

  private release(peer: Peer, lane: Lane, bytes: number): void {
    peer.bytes -= bytes;
    lane.bytes -= bytes;
  }

  private lane(group: GroupId, to: PeerId): Lane {
    let peer = this.peers.get(to);
    if (peer === undefined) {
      peer = { lanes: new Map(), bytes: 0, blocked: new Set() };
      this.peers.set(to, peer);
    }
    let lane = peer.lanes.get(group);
    if (lane === undefined) {
      lane = { group, peer: to, queue: [], reading: false, dropped: false, lasts: [], sizes: [], bytes: 0 };
      peer.lanes.set(group, lane);
    }
    return lane;
  }

  private pump(lane: Lane): void {
    const peer = this.peers.get(lane.peer);
    if (peer === undefined || lane.dropped) return;
    peer.blocked.delete(lane);
    while (lane.queue.length > 0 && !lane.reading) {
      const message = lane.queue[0];
      if (!this.owner.leads(lane.group, message.term)) {
        lane.queue = [];
        return;
      }
      if (lane.bytes > 0 && peer.bytes >= WINDOW_BYTES) {
        peer.blocked.add(lane);
        return;
      }
      const entries = this.wal.entriesFromMemory(lane.group, message.first, message.last, PIECE_BYTES);
      if (entries !== undefined) this.piece(peer, lane, message, entries);
      else this.read(lane, message);
    }
  }

  private read(lane: Lane, message: Append): void {
    lane.reading = true;
    this.wal.readEntries(lane.group, message.first, message.last, PIECE_BYTES, (entries) => {
      lane.reading = false;
      const peer = this.peers.get(lane.peer);
      if (lane.dropped || peer === undefined) return;
      // A refusal may have emptied the queue meanwhile.
      if (lane.queue[0] === message) {
        if (entries === undefined) {
          lane.queue.shift();
          this.owner.unreadable(lane.group, message.first);
        } else if (this.owner.leads(lane.group, message.term)) {
          this.piece(peer, lane, message, entries);
        }
      }
      this.pump(lane);
    });
  }

  private piece(peer: Peer, lane: Lane, message: Append, entries: LogEntry[]): void {
    const { group, queue } = lane;
    const lastEntry = entries[entries.length - 1];
    let bytes = 0;
    for (const entry of entries) bytes += entry.body.length + ENTRY_OVERHEAD_BYTES;
    lane.lasts.push(lastEntry.index);
    lane.sizes.push(bytes);
    lane.bytes += bytes;
    peer.bytes += bytes;
    if (lastEntry.index < message.last) {
      const { index: prevIndex, term: prevTerm } = lastEntry;
      queue[0] = { ...message, prevIndex, prevTerm, first: prevIndex + 1 };
      this.owner.send(group, { ...message, last: lastEntry.index, entries });
      return;
    }
    queue.shift();
    message.entries = entries;
    this.owner.send(group, message);
  }
}
