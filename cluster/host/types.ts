// The door that the broker sees of consensus: groups that apply what was committed. Implemented by host.ts.
import { defaultLimits } from '../core/limits.ts';
import type { GroupId, Index, LogEntry, Membership, PeerId, Role, SnapshotMeta, Term } from '../core/types.ts';
import type { StateSink } from './state-sink.ts';

/** A replicated state machine with its leader-side shell. All calls come from the host, in one event loop. */
export interface GroupMachine {
  /** A committed batch entry, in order, each index once. Synchronous and deterministic in its effect on replicated state. */
  apply(index: Index, term: Term, body: Uint8Array): void;
  /** This node's own no-op of `term` is applied: it may accept from now on; tentative state = applied state. `paused`: not at once, it hands
   * leadership over already (`onPause`). */
  onLeading(term: Term, paused: boolean): void;
  /** It leads no longer, or another leader is known (0: nobody). Everything that waits for commits has an unknown outcome. */
  onNotLeading(leader: PeerId): void;
  /** Nothing can be proposed for a moment, because leadership is being handed over, or can be again, because it was not taken. In the call that
   * begins it something can be proposed still. No word of its end when leadership goes. */
  onPause(paused: boolean): void;
  /** State at the applied index, as parts that are made one after the other while they are taken: what is applied meanwhile is not in them. */
  snapshot(): Iterable<Uint8Array>;
  /** Begins to replace everything by the state at `index`; a sink that is ended without a byte leaves the empty machine. */
  restore(index: Index): StateSink;
  /** Is the entry at or below the snapshot index still needed (it holds live messages)? */
  isEntryLive(index: Index): boolean;
  /** 128-bit digest over results at the applied index, 32 hex digits. */
  digest(): string;
}

/** How long a proof of leadership lasts, from when it was asked for. */
export const PROOF_MS = defaultLimits.proofMs;
/** After the election of a leader, no earlier one acts on an old proof any more, also if its clock is slower by a fifth. */
export const SUCCESSION_MS = PROOF_MS * 1.25;

export interface GroupStatus {
  group: GroupId;
  role: Role;
  term: Term;
  leader: PeerId;
  commit: Index;
  applied: Index;
  lastIndex: Index;
  firstIndex: Index;
  membership: Membership;
  /** On the leader: per member, how far it has acknowledged and when it was last heard (monotonic ms). */
  progress: { peer: PeerId; match: Index; lastActiveMs: number; state: 'probe' | 'replicate' | 'snapshot' }[];
  quiesced: boolean;
  /** The machine does not have the state of `applied` (unreadable, asked for elsewhere; or being restored): reads wait meanwhile. */
  stateMissing: boolean;
}

export interface Group {
  readonly id: GroupId;
  /** True between onLeading and onNotLeading. */
  readonly leading: boolean;
  /** 0 when unknown. */
  readonly leader: PeerId;
  readonly term: Term;
  readonly applied: Index;
  /** Appends a batch (at most 12 MiB) to the group's log; it leaves for WAL and followers at the end of this turn. Undefined: not
   * leading, or handing leadership over (`onPause`). */
  propose(body: Uint8Array): Index | undefined;
  /** Bytes proposed and not yet applied on this leader. */
  readonly inFlightBytes: number;
  /** ReadIndex (DESIGN §7): `done(true)` when this replica has applied everything that was committed when the call was made. */
  readBarrier(done: (ok: boolean) => void): void;
  /** May this leader act alone on being leader, before this moment of the monotonic clock? (docs/adr/0007; a read barrier renews it.) A
   * successor waits for SUCCESSION_MS before it relies on nobody doing so any more. -Infinity: no. Infinity: there is nobody else. */
  readonly provenUntilMs: number;
  /** Body of a committed entry that is still kept; undefined: damaged or gone. Synchronous when in memory. */
  readBody(index: Index, done: (body: Uint8Array | undefined) => void): void;
  /** The same of `first` and of those behind it, as many as about `bytesMax` hold, in one read; never from memory alone. They may share memory. */
  readBodies(first: Index, bytesMax: number, done: (bodies: readonly Uint8Array[] | undefined) => void): void;
  /** The body if it is in the memory tail. */
  bodyFromMemory(index: Index): Uint8Array | undefined;
  transferLeadership(to: PeerId): void;
  /** One change at a time; the host orders learner -> voter. Undefined: not leading or a change is under way. */
  proposeMembership(membership: Membership): Index | undefined;
  status(): GroupStatus;
}

export interface HostStats {
  groups: number;
  leading: number;
  electionsStarted: number;
  electionsWon: number;
  appliedEntries: number;
  framesSent: number;
  snapshotsSent: number;
  snapshotsInstalled: number;
  /** Of those, the ones for which only entries above the own ones were fetched. */
  snapshotsOnKept: number;
  /** Of states and live entries, also of transfers that failed. */
  snapshotBytesFetched: number;
  /** Transfers that ended without an installed snapshot; they are tried again. */
  snapshotsFailed: number;
  /** Turns in which a flush was asked for. */
  turns: number;
  snapshotsTaken: number;
  /** Raft frames that found no link or no room. */
  framesDropped: number;
  /** Raft payloads that were malformed or damaged. */
  badMessages: number;
  digestChecks: number;
  digestMismatches: number;
  /** Groups that stopped here because no majority of their replicas agreed on the state. */
  groupsStopped: number;
  entriesRepaired: number;
  /** Ranges of entries found damaged, those fetched from other members since, and those being fetched now. */
  rangesDamaged: number;
  rangesRepaired: number;
  rangesInRepair: number;
  /** Timers that found the loop more than 100 ms late. */
  stalls: number;
  /** The longest pass so far. */
  passMsMax: number;
  /** This node's wall clock minus cluster time. */
  clockSkewUs: number;
  /** Between the earliest and the latest wall clock heard of, own included. */
  clockSpreadUs: number;
  /** 1 while a sync of the log has hung so long that this node gives up leading. */
  diskStuck: number;
}

export interface DrainBounds {
  /** How long members that are behind may take to come into step. */
  catchUpMs: number;
  /** How long handing over may take after that. */
  handOverMs: number;
}

export interface Host {
  readonly self: PeerId;
  readonly stats: HostStats;
  /** Opens (recovers or creates) a group here. `membership` is used only when the group is new on this node; when this node is not
   * among its voters it waits as a learner. `priority` 0..n: higher is preferred as leader (first candidate, shorter timeout). */
  openGroup(group: GroupId, membership: Membership, machine: GroupMachine, preferredLeader: PeerId): Group;
  /** That node's disk (or this one's) is nearly full, as far as is known here. */
  isDiskLow(peer: PeerId): boolean;
  /** What is proposed to the group now would rest on a disk that is nearly full: only what gives space back should be. */
  restsOnLowDisk(group: GroupId): boolean;
  /** Every group that should be on this node is open: one that is opened later is new here. Until then a node that lost records opens what it
   * does not find as a replica in doubt. */
  groupsKnown(): void;
  /** Stops the group and writes its tombstone. */
  deleteGroup(group: GroupId): void;
  group(group: GroupId): Group | undefined;
  groups(): Iterable<Group>;
  /** Median of a majority's wall clocks, advanced by the monotonic clock; microseconds (DESIGN §7). NO_TIME_US (cluster-clock.ts) while this node
   * of a cluster has heard no other. */
  clusterTimeUs(): number;
  /** Hands all leaderships to others, then calls done, or when the time is over. */
  drain(bounds: DrainBounds, done: () => void): void;
  /** Called whenever the leader of any local group changes. */
  onLeaderChange(handler: (group: GroupId, leader: PeerId, term: Term) => void): void;
}

export type { GroupId, Index, LogEntry, Membership, PeerId, SnapshotMeta, StateSink, Term };
