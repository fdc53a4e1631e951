// openWal: recovers the node's log and gives out its door (types.ts). Called once at start-up by the composition root; used by the host only.
// This file joins the parts: inventory and recovery at start, then writer (append, flush), reader, snapshots, compaction.
// Invariant: what the door shows of a group (last index, terms) is the appended state; what flush answered for is the durable one.
import type { Env } from '../../src/kit/env.ts';
import type { GroupId, HardState, Index, LogEntry, Membership, SnapshotMeta, Term } from '../core/types.ts';
import type { SnapshotRef } from './bodies.ts';
import { NO_CHAIN } from './chain.ts';
import { Compactor } from './compaction.ts';
import { crashPoint, invariant, mustBeGone, type WalContext } from './context.ts';
import { GroupLog } from './group-log.ts';
import { SNAPSHOT_DIR, type WalOptions } from './options.ts';
import { quarantine } from './quarantine.ts';
import { Reader } from './reader.ts';
import { RecordFlag } from './record.ts';
import { Scrub, type ScrubPosition } from './scrub.ts';
import { SnapshotDraft } from './snapshot-draft.ts';
import { isSameSnapshot, layoutOf, readChunk, scanSnapshotSync, snapshotPath } from './snapshots.ts';
import { startWal } from './start.ts';
import type { LiveCheck, RecoveredGroup, StoredSnapshot, Wal, WalStats } from './types.ts';
import type { Writer } from './writer.ts';

/** A log that was pieced together from so many parts is fetched as a whole next time: what is remembered of each is written again and again. */
const PARTS_MAX = 32;

/** Synchronous recovery. Throws when the directory was written by a newer format, or cannot be written at all. */
export function openWal(env: Env, dir: string, options: Partial<WalOptions> = {}): Wal {
  const { context, writer, recovered } = startWal(env, dir, options);
  return new SegmentedWal(context, writer, recovered);
}

class SegmentedWal implements Wal {
  readonly recovered: ReadonlyMap<GroupId, RecoveredGroup>;
  readonly stats: WalStats;
  private readonly context: WalContext;
  private readonly writer: Writer;
  private readonly reader: Reader;
  private readonly compactor: Compactor;
  private readonly scrubber: Scrub;
  /** Snapshots of one group are saved one after the other. */
  private readonly saving = new Map<GroupId, (() => void)[]>();

  constructor(context: WalContext, writer: Writer, recovered: ReadonlyMap<GroupId, RecoveredGroup>) {
    this.context = context;
    this.writer = writer;
    this.recovered = recovered;
    this.stats = context.stats;
    this.compactor = new Compactor(context, writer);
    this.reader = new Reader(
      context,
      (retry) => writer.flush(retry),
      (segment, offset) => segment !== writer.active.id || offset < writer.durableEnd,
    );
    this.scrubber = new Scrub(context, this.reader);
  }

  get durable(): number {
    return this.context.position;
  }

  get groupsUnsure(): boolean {
    return this.context.groupsUnsure;
  }

  private log(group: GroupId): GroupLog {
    const log = this.context.groups.get(group);
    if (log === undefined) return this.context.env.fatal(`wal: group ${group} is not open`);
    return log;
  }

  private check(condition: boolean, what: string): void {
    invariant(this.context, condition, what);
  }

  // ---- groups -----------------------------------------------------------------------------------------------------------

  createGroup(group: GroupId, membership: Membership): void {
    const { context, writer } = this;
    if (context.groups.has(group)) return;
    const epoch = (context.tombstones.get(group)?.epoch ?? 0) + 1;
    context.tombstones.delete(group);
    const log = new GroupLog(group, [{ epoch, from: 0, segment: writer.active.id }], context.segments);
    log.born = epoch;
    log.membership = membership;
    if (context.groupsUnsure) log.doubts = 1;
    context.groups.set(group, log);
    writer.enqueueState(log, true);
  }

  deleteGroup(group: GroupId): void {
    const { context, writer } = this;
    const log = context.groups.get(group);
    if (log === undefined) return;
    const { snapshot } = log;
    log.deleted = true;
    // What is kept of other logs may name this one for long, and with it would go on holding all that its machine had in memory.
    log.liveCheck = undefined;
    log.table.clear();
    log.staged?.table.clear();
    context.cache.clear(log);
    context.groups.delete(group);
    const { id } = writer.active;
    context.tombstones.set(group, { epoch: log.nextEpoch, segment: id, repeatedIn: id });
    writer.enqueueTombstone(group);
    writer.flush(() => this.dropSnapshot(group, snapshot));
  }

  saveHardState(group: GroupId, state: HardState): void {
    const log = this.log(group);
    const { term, vote } = log.hardState;
    if (term === state.term && vote === state.vote) return;
    this.check(state.term > term || (state.term === term && vote === 0), `hard state of group ${group} goes back`);
    log.hardState = { term: state.term, vote: state.vote };
    this.writer.enqueueState(log, true);
  }

  // ---- the log ----------------------------------------------------------------------------------------------------------

  append(group: GroupId, entries: readonly LogEntry[]): void {
    if (entries.length === 0) return;
    const { context, writer } = this;
    const log = this.log(group);
    if (entries[0].index !== log.last + 1) this.truncateFrom(log, entries[0].index);
    for (const entry of entries) {
      // Once an entry: texts are made for those who read them.
      if (entry.index !== log.last + 1)
        this.check(false, `group ${group}: entries are not contiguous at ${entry.index}`);
      log.appendTerm(entry.index, entry.term);
      context.cache.push(log, entry);
      writer.enqueueEntry(log, entry);
    }
  }

  /** The suffix from there is about to be replaced. */
  private truncateFrom(log: GroupLog, from: Index): void {
    const { context, writer } = this;
    this.check(
      from <= log.last && from >= log.first,
      `group ${log.id}: append at ${from}, log is ${log.first}..${log.last}`,
    );
    log.cutChain(from);
    context.cache.truncateFrom(log, from);
    log.beginEpoch(log.nextEpoch, from, writer.active.id);
    log.truncateFrom(from);
    writer.enqueueState(log, true);
  }

  flush(done: () => void): void {
    this.writer.flush(done);
  }

  lastIndex(group: GroupId): Index {
    return this.log(group).last;
  }

  firstIndex(group: GroupId): Index {
    return this.log(group).first;
  }

  termOf(group: GroupId, index: Index): Term | undefined {
    return this.log(group).termOf(index);
  }

  bytesOf(group: GroupId, index: Index): number {
    const log = this.log(group);
    const entry = log.held(index);
    if (entry !== undefined) return entry.body.length;
    return log.table.find(index) ? log.table.bodyLength : 0;
  }

  entriesFromMemory(group: GroupId, first: Index, last: Index, maxBytes: number): LogEntry[] | undefined {
    const log = this.log(group);
    if (last < first) return [];
    const head = log.held(first);
    if (head === undefined) return undefined;
    // Mostly it is one entry: a list of one is made as such, where pushing would make room for many.
    const entries = [head];
    let bytes = head.body.length;
    for (let index = first + 1; index <= last; index++) {
      const entry = log.held(index);
      if (entry === undefined) return undefined;
      bytes += entry.body.length;
      if (bytes > maxBytes) break;
      entries.push(entry);
    }
    return entries;
  }

  release(group: GroupId, index: Index): void {
    this.log(group).released = index;
  }

  readEntries(
    group: GroupId,
    first: Index,
    last: Index,
    maxBytes: number,
    done: (entries: LogEntry[] | undefined) => void,
  ): void {
    this.reader.read(this.log(group), first, last, maxBytes, done);
  }

  liveIndexes(group: GroupId, from: Index, max: number): Index[] {
    const log = this.log(group);
    const found: Index[] = [];
    for (
      let index = log.table.next(Math.max(1, from));
      index > 0 && index < log.first;
      index = log.table.next(index + 1)
    ) {
      if (found.length === max) break;
      if (log.isLive(index)) found.push(index);
    }
    return found;
  }

  repair(group: GroupId, entries: readonly LogEntry[]): void {
    const log = this.log(group);
    for (const entry of entries) {
      const { index } = entry;
      const term = index >= log.first ? log.termOf(index) : undefined;
      const reported = log.damaged.some((range) => index >= range.first && index <= range.last);
      const missing = !log.table.find(index) && log.held(index) === undefined && log.isLive(index);
      if (!(reported || missing) || index > log.last || (term !== undefined && term !== entry.term)) continue;
      // The unreadable original must not be found any more; the copy counts once it is durable.
      log.table.delete(index);
      if (term === undefined && index >= log.first) log.learnTerm(index, entry.term);
      const nowhere = { segment: 0, offset: 0 };
      this.writer.enqueueMove(log, entry, log.epoch, log.epochFrom, RecordFlag.noChain, log.table, nowhere, NO_CHAIN);
    }
  }

  damagedRanges(group: GroupId): { first: Index; last: Index }[] {
    const log = this.log(group);
    log.forgetDeadDamage();
    return log.damaged.map((range) => ({ ...range }));
  }

  clearDoubt(group: GroupId): void {
    const log = this.log(group);
    if (log.doubts % 2 === 0) return;
    log.doubts++;
    this.writer.enqueueState(log, true);
  }

  isInDoubt(group: GroupId): boolean {
    return this.log(group).doubts % 2 === 1;
  }

  doubtAll(position: number): void {
    const { context, writer } = this;
    context.groupsUnsure = true;
    context.position = Math.max(context.position, position);
    writer.raisePosition(position);
    for (const log of context.groups.values()) {
      if (log.doubts % 2 === 1) continue;
      log.doubts++;
      writer.enqueueState(log, true);
    }
    writer.enqueueCopy();
  }

  settleGroups(): void {
    if (!this.context.groupsUnsure) return;
    this.context.groupsUnsure = false;
    this.writer.enqueueCopy();
  }

  // ---- snapshots --------------------------------------------------------------------------------------------------------

  saveSnapshot(
    group: GroupId,
    meta: SnapshotMeta,
    state: Iterable<Uint8Array> | SnapshotDraft,
    done: (bytes: number) => void,
  ): void {
    const log = this.log(group);
    this.check(meta.index <= log.last, `group ${group}: snapshot at ${meta.index} beyond the log's end ${log.last}`);
    this.oneAfterTheOther(group, (finished) =>
      this.writeThenFlush(log, meta, state, (ref, bytes) => {
        // One at the same index takes the place of one that cannot be read.
        const needed = log.snapshot !== undefined && log.snapshot === log.lostSnapshot ? log.snapshot.index : log.first;
        const superseded = log.deleted || ref.index < needed;
        if (superseded) {
          this.dropSnapshot(group, ref);
          finished(() => done(bytes));
          return;
        }
        const before = log.snapshot;
        log.snapshot = ref;
        log.membership = ref.membership;
        log.terms.dropTo(ref.index);
        this.switchTo(log, before, false, () => finished(() => done(bytes)));
      }),
    );
  }

  draftSnapshot(group: GroupId, meta: SnapshotMeta): SnapshotDraft {
    return new SnapshotDraft(this.context, group, meta, this.context.snapshotFileNext++);
  }

  keepable(group: GroupId, index: Index): Index {
    const log = this.log(group);
    const isDoubtful = log.doubts % 2 === 1 || this.context.recordsLost;
    const isDamaged = this.damagedRanges(group).some((range) => range.first <= index);
    const isPatched = Math.max(log.epochs.length, log.adopted.length) >= PARTS_MAX;
    return isDoubtful || isDamaged || isPatched ? 0 : index;
  }

  appendBelowSnapshot(group: GroupId, entries: readonly LogEntry[]): void {
    const log = this.log(group);
    if (log.staged === undefined) log.staged = { epoch: log.nextEpoch++, table: log.newStagedTable() };
    const { epoch, table } = log.staged;
    for (const entry of entries) this.writer.enqueueStaged(log, entry, epoch, table);
  }

  dropStaged(group: GroupId): void {
    const log = this.log(group);
    const { staged } = log;
    if (staged === undefined) return;
    log.staged = undefined;
    // What still waits to be written is entered into the table then.
    this.writer.flush(() => staged.table.clear());
  }

  installSnapshot(
    group: GroupId,
    meta: SnapshotMeta,
    kept: Index,
    state: Iterable<Uint8Array> | SnapshotDraft,
    done: () => void,
  ): void {
    const { context, writer } = this;
    const log = this.log(group);
    this.check(kept < meta.index, `group ${group}: a snapshot at ${meta.index} on top of entries up to ${kept}`);
    this.oneAfterTheOther(group, (finished) =>
      this.writeThenFlush(log, meta, state, (ref) => {
        crashPoint(context, 'wal.install.staged');
        if (log.deleted) {
          this.dropSnapshot(group, ref);
          finished(done);
          return;
        }
        this.check(kept <= log.durable, `group ${group}: entries up to ${kept} are kept, durable is ${log.durable}`);
        const { snapshot: before, staged } = log;
        context.cache.clear(log);
        log.beginEpoch(log.nextEpoch, kept === 0 ? 0 : kept + 1, writer.active.id);
        if (staged !== undefined) log.adopted = [...log.adopted, { epoch: staged.epoch, by: log.epoch }];
        log.standAt(ref, kept, staged?.table ?? log.newStagedTable());
        log.staged = undefined;
        if (kept > 0) crashPoint(context, 'wal.install.kept');
        this.switchTo(log, before, true, () => finished(done));
      }),
    );
  }

  openSnapshot(group: GroupId): StoredSnapshot | undefined {
    const { snapshot } = this.log(group);
    if (snapshot === undefined) return undefined;
    const { context } = this;
    return {
      meta: metaOf(snapshot),
      stateBytes: layoutOf(group, snapshot).stateBytes,
      crc: snapshot.crc,
      read: (chunk, done) =>
        readChunk(context, group, snapshot, chunk, (bytes) => {
          const isCurrent = context.groups.get(group)?.snapshot === snapshot;
          if (bytes === undefined && isCurrent) this.loseSnapshot(group, snapshot);
          done(bytes);
        }),
    };
  }

  readSnapshotSync(group: GroupId, take: (chunk: Uint8Array) => void): boolean {
    const { snapshot } = this.log(group);
    if (snapshot === undefined) return false;
    const whole = isSameSnapshot(scanQuietly(this.context, group, snapshot, take), group, snapshot);
    if (!whole) this.loseSnapshot(group, snapshot);
    return whole;
  }

  distrustSnapshot(group: GroupId): void {
    const { snapshot, lostSnapshot } = this.log(group);
    if (snapshot !== undefined && snapshot !== lostSnapshot) this.loseSnapshot(group, snapshot, 'its state is wrong');
  }

  private oneAfterTheOther(group: GroupId, start: (finished: (done: () => void) => void) => void): void {
    const begin = (): void =>
      start((done) => {
        const next = this.saving.get(group)?.shift();
        if (next === undefined) this.saving.delete(group);
        done();
        next?.();
      });
    const waiting = this.saving.get(group);
    if (waiting !== undefined) {
      waiting.push(begin);
      return;
    }
    this.saving.set(group, []);
    begin();
  }

  /** The file is durable and verified, and so is all that was appended before: what a switch to it rests on. */
  private writeThenFlush(
    log: GroupLog,
    meta: SnapshotMeta,
    state: Iterable<Uint8Array> | SnapshotDraft,
    done: (ref: SnapshotRef, stateBytes: number) => void,
  ): void {
    const isDraft = state instanceof SnapshotDraft;
    const draft = isDraft ? state : this.draftSnapshot(log.id, meta);
    const finish = () => draft.finish((ref) => this.writer.flush(() => done(ref, draft.stateBytes)));
    if (isDraft) finish();
    else draft.writeAll(state[Symbol.iterator](), finish);
  }

  /** A saved snapshot can be found again by its file; an installed one begins a new epoch, which the state files must know. */
  private switchTo(log: GroupLog, before: SnapshotRef | undefined, installed: boolean, done: () => void): void {
    this.writer.enqueueState(log, installed);
    this.writer.flush(() => {
      crashPoint(this.context, installed ? 'wal.install.switched' : 'wal.snapshot.switched');
      this.dropSnapshot(log.id, before);
      done();
    });
  }

  private dropSnapshot(group: GroupId, ref: SnapshotRef | undefined): void {
    const { context } = this;
    if (ref === undefined) return;
    const path = snapshotPath(context.dir, group, ref);
    context.env.disk.unlink(path, (error) => {
      mustBeGone(context, path, error);
      crashPoint(context, 'wal.snapshot.unlinked');
    });
  }

  private loseSnapshot(group: GroupId, ref: SnapshotRef, reason = 'snapshot damaged'): void {
    const { env, dir } = this.context;
    this.log(group).lostSnapshot = ref;
    const path = snapshotPath(dir, group, ref);
    if (env.disk.sizeSync(path) === undefined) env.log.error('wal: a snapshot is gone', { group, index: ref.index });
    else quarantine(env, `${dir}/${SNAPSHOT_DIR}`, path.slice(path.lastIndexOf('/') + 1), reason);
  }

  // ---- the rest ---------------------------------------------------------------------------------------------------------

  setLiveCheck(group: GroupId, check: LiveCheck): void {
    this.log(group).liveCheck = check;
  }

  scrub(bytesMax: number, done: (damaged: { group: GroupId; index: Index }[]) => void): void {
    this.scrubber.run(bytesMax, done);
  }

  get scrubPosition(): ScrubPosition {
    return this.scrubber.position;
  }

  resumeScrub(position: ScrubPosition): void {
    this.scrubber.resume(position);
  }

  compact(done: (segmentsRemoved: number) => void): void {
    this.compactor.run(done);
  }

  close(done: () => void): void {
    this.compactor.close(() =>
      this.writer.close(() => {
        this.context.segments.close();
        done();
      }),
    );
  }
}

function metaOf(ref: SnapshotRef): SnapshotMeta {
  return { index: ref.index, term: ref.term, membership: ref.membership };
}

function scanQuietly(
  { env, dir }: WalContext,
  group: GroupId,
  ref: SnapshotRef,
  take: (chunk: Uint8Array) => void,
): ReturnType<typeof scanSnapshotSync> {
  const path = snapshotPath(dir, group, ref);
  try {
    return scanSnapshotSync(env, path, take);
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    env.log.error('wal: a snapshot cannot be read', { path, error: error.message });
    return undefined;
  }
}
