// Gives append messages their entries and sends them within a window per peer. The host hands over what cores want to send; entries are those that
// the core has just made, else they come from the WAL's memory tail, else from disk, one read per follower at a time. Invariants: the messages of
// one group to one peer keep their order; what was sent to a peer and not answered stays below the window (a group that has nothing under
// way may always send one piece), so neither the link's queue nor heartbeats behind it grow with a slow follower.
import { added, NOTHING, without } from '../core/state.ts';
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

/** Last index and bytes of each message under way but the oldest, in their order: a ring, because there may be one for each entry. */
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

/** Whose messages they are; it keeps its lanes, so that none has to be looked for. */
export interface LaneOwner {
  readonly id: GroupId;
  /** To each peer that it has sent entries. Written here only. */
  lanes: Lane[];
}

/** One group to one peer. */
export interface Lane {
  readonly peer: Peer;
  queue: Append[];
  reading: boolean;
  dropped: boolean;
  /** Last index and bytes of the oldest message under way; 0 bytes: there is none. */
  oldestTo: Index;
  oldestBytes: number;
  /** Mostly there are no others. */
  later: Flights | undefined;
  readonly owner: LaneOwner;
}

interface Peer {
  readonly id: PeerId;
  readonly lanes: Set<Lane>;
  bytes: number;
  readonly blocked: Set<Lane>;
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
  push(owner: LaneOwner, message: Append, fresh: readonly LogEntry[]): void {
    if (message.last < message.first) {
      message.entries = NOTHING;
      this.owner.send(owner.id, message);
      return;
    }
    const lane = laneTo(owner, message.to) ?? this.newLane(owner, message.to);
    sentAgain(lane, message.first);
    const isNext = lane.queue.length === 0 && !lane.reading && !isBlocked(lane);
    if (isNext && names(message, fresh)) {
      const bytes = bytesOf(fresh);
      if (bytes <= PIECE_BYTES) {
        this.leave(lane, message, fresh, bytes);
        return;
      }
    }
    lane.queue = added(lane.queue, message);
    this.pump(lane);
  }

  /** Far from its window: its answers may wait. */
  hasRoom(to: PeerId): boolean {
    const peer = this.peers.get(to);
    return peer === undefined || (peer.bytes < ROOM_BYTES && peer.blocked.size === 0);
  }

  /** The peer has answered for everything up to `index`, or (not ok) wants to begin elsewhere. */
  onReply(owner: LaneOwner, from: PeerId, ok: boolean, index: Index): void {
    const lane = laneTo(owner, from);
    if (lane === undefined) return;
    const { peer } = lane;
    while (lane.oldestBytes > 0 && (!ok || lane.oldestTo <= index)) shift(lane);
    if (!ok) lane.queue = NOTHING;
    if (lane.queue.length > 0) this.pump(lane);
    if (peer.blocked.size === 0) return;
    for (const blocked of [...peer.blocked]) if (peer.bytes < WINDOW_BYTES) this.pump(blocked);
  }

  /** Leadership of the group ended, or the group did. */
  dropGroup(owner: LaneOwner): void {
    for (const lane of owner.lanes) drop(lane);
    owner.lanes = NOTHING;
  }

  /** The link is gone, and what was under way with it. */
  dropPeer(id: PeerId): void {
    const peer = this.peers.get(id);
    if (peer === undefined) return;
    for (const lane of peer.lanes) {
      drop(lane);
      lane.owner.lanes = lane.owner.lanes.filter((other) => other !== lane);
    }
    this.peers.delete(id);
  }

  private newLane(owner: LaneOwner, to: PeerId): Lane {
    let peer = this.peers.get(to);
    if (peer === undefined) {
      peer = { id: to, lanes: new Set(), bytes: 0, blocked: new Set() };
      this.peers.set(to, peer);
    }
    const lane: Lane = {
      peer,
      queue: NOTHING,
      reading: false,
      dropped: false,
      oldestTo: 0,
      oldestBytes: 0,
      later: undefined,
      owner,
    };
    peer.lanes.add(lane);
    owner.lanes = added(owner.lanes, lane);
    return lane;
  }

  private pump(lane: Lane): void {
    if (lane.dropped) return;
    const { blocked } = lane.peer;
    blocked.delete(lane);
    while (lane.queue.length > 0 && !lane.reading) {
      const message = lane.queue[0];
      if (!this.owner.leads(lane.owner.id, message.term)) {
        lane.queue = NOTHING;
        return;
      }
      if (isBlocked(lane)) {
        blocked.add(lane);
        return;
      }
      const entries = this.wal.entriesFromMemory(lane.owner.id, message.first, message.last, PIECE_BYTES);
      if (entries !== undefined) this.piece(lane, message, entries);
      else this.read(lane, message);
    }
  }

  private read(lane: Lane, message: Append): void {
    lane.reading = true;
    this.wal.readEntries(lane.owner.id, message.first, message.last, PIECE_BYTES, (entries) => {
      lane.reading = false;
      if (lane.dropped) return;
      // A refusal may have emptied the queue meanwhile.
      if (lane.queue[0] === message) {
        if (entries === undefined) {
          lane.queue = without(lane.queue, 0);
          this.owner.unreadable(lane.owner.id, message.first);
        } else if (this.owner.leads(lane.owner.id, message.term)) {
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
    lane.queue = without(queue, 0);
    this.leave(lane, message, entries, bytes);
  }

  private leave(lane: Lane, message: Append, entries: readonly LogEntry[], bytes: number): void {
    if (lane.oldestBytes === 0) {
      lane.oldestTo = message.last;
      lane.oldestBytes = bytes;
    } else {
      lane.later ??= new Flights();
      lane.later.push(message.last, bytes);
    }
    lane.peer.bytes += bytes;
    message.entries = entries;
    this.owner.send(lane.owner.id, message);
  }
}

function laneTo({ lanes }: LaneOwner, to: PeerId): Lane | undefined {
  for (let i = 0; i < lanes.length; i++) if (lanes[i].peer.id === to) return lanes[i];
  return undefined;
}

/** The oldest message is not under way any more. */
function shift(lane: Lane): void {
  const { later } = lane;
  lane.peer.bytes -= lane.oldestBytes;
  lane.oldestTo = later?.firstIndex ?? 0;
  lane.oldestBytes = later?.shift() ?? 0;
  if (later?.isEmpty) lane.later = undefined;
}

/** What is sent again takes the place of what is under way, which may be lost: nobody would answer for it. */
function sentAgain(lane: Lane, first: Index): void {
  const { later } = lane;
  while (later !== undefined && !later.isEmpty && later.lastIndex >= first) lane.peer.bytes -= later.pop();
  if (later?.isEmpty) lane.later = undefined;
  if (lane.oldestBytes > 0 && lane.oldestTo >= first) shift(lane);
}

function isBlocked({ oldestBytes, peer }: Lane): boolean {
  return oldestBytes > 0 && peer.bytes >= WINDOW_BYTES;
}

/** Its owner forgets it. */
function drop(lane: Lane): void {
  lane.dropped = true;
  lane.queue = NOTHING;
  while (lane.oldestBytes > 0) shift(lane);
  lane.peer.blocked.delete(lane);
  lane.peer.lanes.delete(lane);
}

function names({ first, last }: Append, entries: readonly LogEntry[]): boolean {
  return entries.length === last - first + 1 && entries[0].index === first;
}

function bytesOf(entries: readonly LogEntry[]): number {
  let bytes = 0;
  for (let i = 0; i < entries.length; i++) bytes += entries[i].body.length + ENTRY_OVERHEAD_BYTES;
  return bytes;
}
