// The door of the node's one log. Implemented by wal.ts; used by host. The WAL's segments ARE the store (ADR 0002):
// an entry is written once, sealed segments are immutable, and what is still live in an old segment is copied forward
// in one sweep before the segment is unlinked.
import type { GroupId, HardState, Index, LogEntry, Membership, SnapshotMeta, Term } from '../core/types.ts';
import type { ScrubPosition } from './scrub.ts';
import type { SnapshotDraft } from './snapshot-draft.ts';

/** What recovery found of one group. */
export interface RecoveredGroup {
  group: GroupId;
  hardState: HardState;
  /** The durable snapshot, if one was saved. Its state is read later. */
  snapshot: SnapshotMeta | undefined;
  /** First and last index of the contiguous log after the snapshot (last = snapshot index when empty). */
  firstIndex: Index;
  lastIndex: Index;
  lastTerm: Term;
  /** Latest membership in snapshot or log, and the index it stands at. */
  membership: Membership;
  /** Index of its entry when that is above the snapshot, and the membership before it: the entry may yet be truncated by a
   * new leader, and then the one before rules again. */
  membershipIndex?: Index;
  previousMembership?: Membership;
  /** False when the last (index, term) or the hard state could not be established for sure: must not vote (DESIGN §6). */
  voteSafe: boolean;
  /** Ranges of entries that are damaged: known to have existed, unreadable. */
  damaged: { first: Index; last: Index }[];
}

export interface WalStats {
  segments: number;
  bytes: number;
  syncs: number;
  syncMsTotal: number;
  syncMsMax: number;
  recordsWritten: number;
  bytesWritten: number;
  /** Records and bytes of the flush under way or the last one. */
  lastBatchRecords: number;
  batches: number;
  /** Counts per bucket of SYNC_MS_BUCKETS and BATCH_BYTES_BUCKETS (stats.ts), one more for what is above. */
  syncMsCounts: number[];
  batchBytesCounts: number[];
  segmentsRemoved: number;
  bytesCopiedForward: number;
  /** Reads that met a record which could not be verified. */
  damagedReads: number;
  /** Replacements of a state file, changes appended to both, and the bytes of all that. */
  stateFilesReplaced: number;
  stateChanges: number;
  stateFileBytes: number;
}

/** Asked by the compactor, synchronously: which entries at or below the snapshot are still wanted? Set per group by
 * its machine's owner; entries above the snapshot index are always live. */
export type LiveCheck = (index: Index) => boolean;

/** A snapshot on disk. */
export interface StoredSnapshot {
  readonly meta: SnapshotMeta;
  readonly stateBytes: number;
  /** Of the whole file: the same for the same state, wherever it was written. */
  readonly crc: number;
  /** Chunk number `chunk` (CHUNK_BYTES each, the last one shorter), verified; undefined: unreadable, or replaced meanwhile. */
  read(chunk: number, done: (bytes: Uint8Array | undefined) => void): void;
}

export interface Wal {
  /** Groups found at start-up. */
  readonly recovered: ReadonlyMap<GroupId, RecoveredGroup>;
  readonly stats: WalStats;
  /** Logical records durable since this WAL began (copies not counted): what NodeHeartbeat.durable announces. Never goes back,
   * unless files were lost or an older state was restored. */
  readonly durable: number;
  /** Records were lost, and perhaps all that was known of some group: one that is not in `recovered` may have voted and acknowledged here all
   * the same. Stands over restarts until `settleGroups`. */
  readonly groupsUnsure: boolean;

  /** Begins (or reopens after deletion of nothing) a group; durable with the next flush. It begins with voteSafe false while groupsUnsure. */
  createGroup(group: GroupId, membership: Membership): void;
  /** Tombstone: all records of the group are dead from the next flush on. */
  deleteGroup(group: GroupId): void;

  /** Appends entries; the in-memory view (lastIndex, termOf, entriesFromMemory) changes at once, durability comes with
   * flush. entries[0].index <= lastIndex means: the suffix from there is replaced. Never at or below the snapshot index. */
  append(group: GroupId, entries: readonly LogEntry[]): void;
  saveHardState(group: GroupId, state: HardState): void;

  /** Everything appended so far becomes durable with one gathered write and one fdatasync; `done` runs after it, while the next
   * flush waits ("completions run while busy is still held", STYLE). Calls during a flush join the next one. */
  flush(done: () => void): void;

  lastIndex(group: GroupId): Index;
  firstIndex(group: GroupId): Index;
  termOf(group: GroupId, index: Index): Term | undefined;
  bytesOf(group: GroupId, index: Index): number;

  /** Entries first..last (inclusive, at most `maxBytes` but at least one) if all are in the memory tail; else undefined. */
  entriesFromMemory(group: GroupId, first: Index, last: Index, maxBytes: number): LogEntry[] | undefined;
  /** Same from disk or memory; each record verified. What follows a damaged or missing entry is left out; when `first` itself is
   * one, `done(undefined)`. Calls back at once when all are in memory. Also serves live entries below the snapshot index. */
  readEntries(
    group: GroupId,
    first: Index,
    last: Index,
    maxBytes: number,
    done: (entries: LogEntry[] | undefined) => void,
  ): void;
  /** Entries up to `index` were applied here and are durable on every member that keeps up: memory has better uses. */
  release(group: GroupId, index: Index): void;
  /** Indexes of live entries at or below the snapshot index, ascending (what a snapshot's manifest names). */
  liveIndexes(group: GroupId, from: Index, max: number): Index[];

  /** Writes machine state durably as the group's snapshot (a new file, synced and verified; the previous one is kept until
   * then) and from then on entries <= meta.index are kept only while live. The parts of `state` are taken as the file is written. */
  saveSnapshot(
    group: GroupId,
    meta: SnapshotMeta,
    state: Iterable<Uint8Array> | SnapshotDraft,
    done: (bytes: number) => void,
  ): void;
  /** A file for a state that comes piece by piece; counts from saveSnapshot or installSnapshot on. */
  draftSnapshot(group: GroupId, meta: SnapshotMeta): SnapshotDraft;
  /** The durable snapshot as it is now. */
  openSnapshot(group: GroupId): StoredSnapshot | undefined;
  /** Gives out the durable snapshot's state, chunk by chunk, at start-up. False: there is none, or it is unreadable, which may turn out after
   * some of its chunks were taken; then it was quarantined. */
  readSnapshotSync(group: GroupId, take: (chunk: Uint8Array) => void): boolean;
  /** Its bytes are as they were written, but the state is known to be wrong: it goes to quarantine, and counts as unreadable. */
  distrustSnapshot(group: GroupId): void;
  /** A follower receives a snapshot. Its own entries up to `index` are committed and applied here: `index`, when they may stay below it, or 0, when
   * all that is live must come anew, because something of them is damaged, in doubt, or may be missing. */
  keepable(group: GroupId, index: Index): Index;
  /** It stages `live` entries (any order, batches) between that and meta.index ... */
  appendBelowSnapshot(group: GroupId, entries: readonly LogEntry[]): void;
  /** (or gives it up: what was staged counts for nothing) ... */
  dropStaged(group: GroupId): void;
  /** ... then switches atomically to meta + state, on top of its own entries up to `kept` and the staged ones; all others are gone. The log is empty
   * after it: lastIndex = meta.index. */
  installSnapshot(
    group: GroupId,
    meta: SnapshotMeta,
    kept: Index,
    state: Iterable<Uint8Array> | SnapshotDraft,
    done: () => void,
  ): void;

  /** Intact copies, from peers, of entries that are damaged here; durable with the next flush, readable then. Entries that are fine
   * already are skipped. The caller has made sure that they are the same entries (index, term, and committed or vouched for). */
  repair(group: GroupId, entries: readonly LogEntry[]): void;
  /** Ranges of the group known to be damaged now: from recovery, and from reads since. */
  damagedRanges(group: GroupId): { first: Index; last: Index }[];

  /** The host has made sure of the group in other ways (it was admitted anew): it may vote, also after a restart. Durable with the
   * next flush. Without it `voteSafe` stays false over restarts. */
  clearDoubt(group: GroupId): void;
  /** The opposite of voteSafe, as it stands now. */
  isInDoubt(group: GroupId): boolean;
  /** What is here is older than what this node once had, `position` records at least: no group is sure of anything from now on. Durable with the
   * next flush. */
  doubtAll(position: number): void;
  /** Every group that may have been here is open by now, in doubt; what is created from now on is new. Durable with the next flush. */
  settleGroups(): void;

  setLiveCheck(group: GroupId, check: LiveCheck): void;
  /** Verifies about `bytesMax` bytes of sealed segments more, in turn over all of them, and asks some LiveChecks what should be there;
   * names what is damaged or missing (it is in damagedRanges then). Called at the rate at which the host wants everything read again. */
  scrub(bytesMax: number, done: (damaged: { group: GroupId; index: Index }[]) => void): void;
  /** Where the scrub is; and where it goes on after a restart (only before it has begun). A wrong position costs time, nothing else. */
  readonly scrubPosition: ScrubPosition;
  resumeScrub(position: ScrubPosition): void;
  /** Copies live entries out of the worst sealed segments and unlinks them; bounded work per call. */
  compact(done: (segmentsRemoved: number) => void): void;
  close(done: () => void): void;
}
