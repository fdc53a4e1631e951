// The words of consensus shared by core, WAL, rpc and host. Raft thesis terms throughout. No bytes of any
// client protocol are known here.

/** A member of groups: the incarnation of a data directory, a random integer in [1, 2^48). 0 means nobody. */
export type PeerId = number;
/** A Raft group: 0 is the meta group; a partition's is streamId * 64 + partition (streamId >= 1, partition < 64). */
export type GroupId = number;
/** Position in a group's log, from 1. */
export type Index = number;
export type Term = number;

export const META_GROUP: GroupId = 0;

export const EntryKind = { noop: 0, batch: 1, membership: 2 } as const;
export type EntryKind = (typeof EntryKind)[keyof typeof EntryKind];

export interface Membership {
  voters: PeerId[];
  learners: PeerId[];
}

/** One item of a group's log. `body` is opaque to core; core reads `membership` of membership entries only. */
export interface LogEntry {
  index: Index;
  term: Term;
  kind: EntryKind;
  /** Command batch (kind batch), encoded membership (kind membership; encodeMembership in membership.ts) or empty (noop). */
  body: Uint8Array;
  /** CRC-32C of body, computed once by the proposer, checked by every receiver, stored with the record. */
  crc: number;
  /** Decoded, when kind is membership. */
  membership?: Membership;
}

/** What must survive a restart besides entries. One record, written atomically, synced before what rests on it. */
export interface HardState {
  term: Term;
  /** Who got this node's vote in `term`; 0 nobody. Cleared only by a rise of the term. */
  vote: PeerId;
}

/** The state from which a core starts. `index` 0 when the log begins at the beginning. */
export interface SnapshotMeta {
  index: Index;
  term: Term;
  membership: Membership;
}

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader';

/** Messages between cores of one group. `term` is the sender's (for pre-vote requests: the term it would take). */
export type RaftMessage = { from: PeerId; to: PeerId; term: Term } & (
  | { type: 'pre-vote'; lastIndex: Index; lastTerm: Term }
  | { type: 'pre-vote-reply'; granted: boolean }
  /** `transfer`: the leader itself asked for it; skips stickiness. */
  | { type: 'vote'; lastIndex: Index; lastTerm: Term; transfer: boolean }
  | { type: 'vote-reply'; granted: boolean }
  /** From core: `first..last` (last < first: empty) names a range; the host attaches `entries` from the WAL, and may cut
   * one range into several messages by size. To core: `entries` is set. */
  | {
      type: 'append';
      prevIndex: Index;
      prevTerm: Term;
      first: Index;
      last: Index;
      entries?: readonly LogEntry[];
      commit: Index;
      round: number;
    }
  /** `index`: match when ok; else a hint where to try next, with the sender's term there. */
  | { type: 'append-reply'; ok: boolean; index: Index; hintTerm: Term; round: number }
  /** `quiesce`: a follower that has and knows committed all of 1..lastIndex may stop its election timer. */
  | { type: 'heartbeat'; commit: Index; round: number; quiesce: boolean; lastIndex: Index }
  | { type: 'heartbeat-reply'; round: number }
  /** Up to here the receiver's log is the leader's, and committed. News for one that is sent nothing else; not answered. */
  | { type: 'commit'; index: Index }
  | { type: 'timeout-now' }
  /** A follower asks for a read barrier; `context` is the asker's. */
  | { type: 'read-index'; context: number }
  | { type: 'read-index-reply'; context: number; ok: boolean; index: Index }
);

/** What the host must do, in this order: append + hardState to the WAL (one sync), `send` at once, `sendDurable` when the sync
 * is done (then `core.persisted(index, term)` with the log's last position at takeReady), apply up to `commit`, answer `reads`
 * when applied that far. `sendDurable` waits for everything handed to the WAL so far, even when this Ready itself appends
 * nothing: it may acknowledge what an earlier one wrote. */
export interface Ready {
  hardState: HardState | undefined;
  /** Contiguous; replaces any suffix of the log from append[0].index on. */
  append: LogEntry[];
  send: RaftMessage[];
  sendDurable: RaftMessage[];
  commit: Index;
  /** Reads that may be answered when applied >= index (`ok`), or must be refused. */
  reads: { context: number; ok: boolean; index: Index }[];
  /** Followers that need what the log no longer has: start a snapshot transfer, then report snapshotDone(). */
  snapshotTo: PeerId[];
}
