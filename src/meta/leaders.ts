// Who leads which group of the cluster. A node tells all peers when it starts and stops leading (everything it leads when a
// peer comes up); `leaderOf` names only leaders that have applied their own no-op and so accept at once. Raft knowledge of
// local replicas clears a deposed leader earlier than its own word could. One frame per peer and turn.
//
// Frame on Channel.leaders: [1 if it opens a full list, else 0][count u32 LE] then per group [group f64][term f64][leads u8].
import type { GroupId, PeerId, Term } from '../../cluster/core/types.ts';
import { Channel, type Transport } from '../../cluster/rpc/types.ts';
import type { Clock } from '../kit/env.ts';

const HEADER_BYTES = 5;
const ITEM_BYTES = 17;
const ITEMS_MAX = 4096;
const RETRY_MS = 100;

interface Known {
  leader: PeerId;
  term: Term;
}

export class Leaders {
  readonly #clock: Clock;
  readonly #transport: Transport;
  readonly #known = new Map<GroupId, Known>();
  /** What this node leads, with its term. */
  readonly #own = new Map<GroupId, Term>();
  /** Changes since the last frame: term, negative when this node leads no longer. */
  #news = new Map<GroupId, Term>();
  /** Peers that need the full list: just up, or their link was full. */
  readonly #behind = new Set<PeerId>();
  readonly #handlers: ((group: GroupId, leader: PeerId, term: Term) => void)[] = [];
  #flushAsked = false;
  #closed = false;

  constructor(clock: Clock, transport: Transport) {
    this.#clock = clock;
    this.#transport = transport;
    transport.onMessage(Channel.leaders, (from, bytes) => this.#heard(from, bytes));
    transport.onPeerUp((peer) => {
      this.#behind.add(peer.id);
      this.#askFlush();
    });
    transport.onPeerDown((peer) => {
      this.#behind.delete(peer);
      this.#clearLedBy(peer);
    });
  }

  leaderOf(group: GroupId): PeerId {
    return this.#known.get(group)?.leader ?? 0;
  }

  /** Of the leader that is known, or was last; 0 when none ever was. */
  termOf(group: GroupId): Term {
    return this.#known.get(group)?.term ?? 0;
  }

  /** Also of a leader that leads again, in a later term: it knows nothing any more of what it was asked in the earlier one. */
  onChange(handler: (group: GroupId, leader: PeerId, term: Term) => void): void {
    this.#handlers.push(handler);
  }

  /** Groups that this node leads. */
  get own(): ReadonlyMap<GroupId, Term> {
    return this.#own;
  }

  /** This node's no-op of `term` is applied. */
  started(group: GroupId, term: Term): void {
    this.#own.set(group, term);
    this.#tell(group, term);
    this.#set(group, term, this.#transport.self.id);
  }

  stopped(group: GroupId): void {
    const term = this.#own.get(group);
    if (term === undefined) return;
    this.#own.delete(group);
    this.#tell(group, -term);
    this.#clear(group, term, this.#transport.self.id);
  }

  /** A local replica saw `term` begin: whoever led an earlier one leads no longer. */
  sawTerm(group: GroupId, term: Term): void {
    const known = this.#known.get(group);
    if (known !== undefined && known.term < term) this.#set(group, term, 0);
  }

  /** The group is deleted. */
  forget(group: GroupId): void {
    this.stopped(group);
    this.#known.delete(group);
  }

  close(): void {
    this.#closed = true;
  }

  #set(group: GroupId, term: Term, leader: PeerId): void {
    const known = this.#known.get(group);
    if (known === undefined) {
      this.#known.set(group, { leader, term });
    } else {
      if (term < known.term) return;
      const isNews = known.leader !== leader || (leader !== 0 && known.term !== term);
      known.term = term;
      known.leader = leader;
      if (!isNews) return;
    }
    for (const handler of this.#handlers) handler(group, leader, term);
  }

  #clear(group: GroupId, term: Term, leader: PeerId): void {
    const known = this.#known.get(group);
    if (known !== undefined && known.leader === leader && known.term <= term) this.#set(group, known.term, 0);
  }

  #clearLedBy(peer: PeerId): void {
    for (const [group, known] of this.#known) if (known.leader === peer) this.#set(group, known.term, 0);
  }

  #tell(group: GroupId, term: Term): void {
    this.#news.set(group, term);
    this.#askFlush();
  }

  #askFlush(): void {
    if (this.#flushAsked || this.#closed) return;
    this.#flushAsked = true;
    this.#clock.endOfTurn(() => this.#flush());
  }

  #flush(): void {
    this.#flushAsked = false;
    if (this.#closed) return;
    const news = this.#news;
    this.#news = new Map();
    const update = news.size === 0 ? [] : encode(news, false);
    const full = this.#behind.size === 0 ? [] : encode(this.#own, true);
    for (const peer of this.#transport.peers()) {
      const frames = this.#behind.has(peer.id) ? full : update;
      if (frames.every((frame) => this.#transport.send(peer.id, Channel.leaders, [frame])))
        this.#behind.delete(peer.id);
      else this.#behind.add(peer.id);
    }
    if (this.#behind.size > 0) this.#clock.after(RETRY_MS, () => this.#askFlush());
  }

  #heard(from: PeerId, bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < HEADER_BYTES) return;
    const count = view.getUint32(1, true);
    if (bytes.length !== HEADER_BYTES + count * ITEM_BYTES) return;
    const isFull = bytes[0] === 1;
    const listed = new Set<GroupId>();
    for (let at = HEADER_BYTES; at < bytes.length; at += ITEM_BYTES) {
      const group = view.getFloat64(at, true);
      const term = view.getFloat64(at + 8, true);
      if (bytes[at + 16] === 0) this.#clear(group, term, from);
      else {
        this.#set(group, term, from);
        if (isFull) listed.add(group);
      }
    }
    if (!isFull) return;
    for (const [group, known] of this.#known) {
      if (known.leader === from && !listed.has(group)) this.#set(group, known.term, 0);
    }
  }
}

/** Frames of at most ITEMS_MAX groups. Only the first of a full list says so: it clears what the peer knew before. */
function encode(groups: ReadonlyMap<GroupId, Term>, isFull: boolean): Uint8Array[] {
  const frames: Uint8Array[] = [];
  const items = [...groups];
  for (let from = 0; from === 0 || from < items.length; from += ITEMS_MAX) {
    const count = Math.min(ITEMS_MAX, items.length - from);
    const bytes = new Uint8Array(HEADER_BYTES + count * ITEM_BYTES);
    const view = new DataView(bytes.buffer);
    bytes[0] = isFull && from === 0 ? 1 : 0;
    view.setUint32(1, count, true);
    for (let i = 0; i < count; i++) {
      const [group, term] = items[from + i];
      const at = HEADER_BYTES + i * ITEM_BYTES;
      view.setFloat64(at, group, true);
      view.setFloat64(at + 8, Math.abs(term), true);
      bytes[at + 16] = term > 0 ? 1 : 0;
    }
    frames.push(bytes);
  }
  return frames;
}
