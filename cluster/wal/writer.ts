// The one writer of the WAL: group commit. What is enqueued while a batch is being written and synced is the next batch: one gathered write and
// one fdatasync for all groups; completions run while busy is still held, so that what they enqueue joins the batch that starts right after.
// A batch: mark (the first of a segment: segment record and the states of all groups), changed states, tombstones, entries.
// Invariant: a batch is only written when everything before it in its segment, and all earlier segments, are durable.
import type { DiskFile, Timer } from '../../src/kit/env.ts';
import type { GroupId, LogEntry } from '../core/types.ts';
import { BatchPacker, type CarriedEntry, type Landed } from './batch-packer.ts';
import { type Chain, NO_CHAIN } from './chain.ts';
import { crashPoint, mustWork, type WalContext } from './context.ts';
import type { GroupLog } from './group-log.ts';
import type { LocationTable } from './location-table.ts';
import { advanceChain } from './log-chain.ts';
import { sidecarName, TAIL_FILES } from './options.ts';
import { emptyPending, type Move, type Pending, PendingEntries } from './pending.ts';
import { HEADER_BYTES, RecordFlag } from './record.ts';
import { SegmentSupply } from './segment-supply.ts';
import type { Segment } from './segments.ts';
import { StateKeeper } from './state-keeper.ts';
import { countBatch, countSync } from './stats.ts';
import { TailMark } from './tail-mark.ts';

const STATE_BYTES = 256;
/** Where zeros ahead of use are overwritten faster than this, what the disk can take is the limit, not its syncs: … */
const ZEROS_LAST_MS = 10;
/** … no zeros for so long. */
const NO_ZEROS_MS = 250;

export interface WriterStart {
  active: Segment;
  nextSegment: number;
  previous: { id: number; end: number };
}

export class Writer {
  readonly keeper: StateKeeper;
  active: Segment;
  /** The active segment is durable up to here. */
  durableEnd = 0;
  private readonly context: WalContext;
  private readonly supply: SegmentSupply;
  private readonly tailMarks: TailMark[];
  private file: DiskFile | undefined;
  private readonly packer: BatchPacker;
  private end = 0;
  /** The file is written up to here: records, then zeros. */
  private filledEnd = 0;
  private readonly zeros: Uint8Array;
  /** When zeros were written last, and when they may be again. */
  private zerosMs = Number.NEGATIVE_INFINITY;
  private nextZerosMs = Number.NEGATIVE_INFINITY;
  /** The durable end for which the evidence of a pause was written. */
  private restedAt = -1;
  private pending = emptyPending();
  private readonly entries = new PendingEntries();
  private waiting: (() => void)[] = [];
  private busy = false;
  /** Nothing is written any more: who still asks (a compaction under way, a snapshot) is not answered. */
  private closed = false;
  private idleTimer: Timer | undefined;
  private partsLeft = 0;

  constructor(context: WalContext, start: WriterStart) {
    this.context = context;
    this.active = start.active;
    this.packer = new BatchPacker(context, start.active.id, start.previous);
    this.zeros = new Uint8Array(context.options.zeroBytes);
    this.keeper = new StateKeeper(context);
    this.supply = new SegmentSupply(context, start.nextSegment);
    this.tailMarks = TAIL_FILES.map((name) => new TailMark(context, name));
  }

  /** The content of the first segment of this life; see BatchPacker.birth. */
  birth(carried: readonly CarriedEntry[]): Uint8Array {
    const whole = this.packer.birth(carried);
    const { active, keeper } = this;
    this.end = this.filledEnd = this.durableEnd = keeper.durableEnd = active.end = active.bytes = whole.length;
    return whole;
  }

  /** More records than that were durable once. */
  raisePosition(position: number): void {
    this.packer.position = Math.max(this.packer.position, position);
  }

  // ---- what joins the next batch --------------------------------------------------------------------------------------

  /** The next entry of the group's log. */
  enqueueEntry(group: GroupLog, entry: LogEntry): void {
    const flags = advanceChain(this.context, group, entry);
    this.entries.add(group, entry, group.epoch, group.epochFrom, flags, group.table, undefined, group);
  }

  enqueueStaged(group: GroupLog, entry: LogEntry, epoch: number, table: LocationTable): void {
    const flags = RecordFlag.staged | RecordFlag.noChain;
    this.entries.add(group, entry, epoch, 0, flags, table, undefined, NO_CHAIN);
  }

  /** A copy of an entry that exists already; its new place counts when durable, if the old one still counts then. */
  enqueueMove(
    group: GroupLog,
    entry: LogEntry,
    epoch: number,
    epochFrom: number,
    flags: number,
    table: LocationTable,
    move: Move,
    chain: Chain,
  ): void {
    this.entries.add(group, entry, epoch, epochFrom, flags | RecordFlag.moved, table, move, chain);
  }

  /** `copyStates`: the state files are to tell it as well, before the flush answers. */
  enqueueState(group: GroupLog, copyStates: boolean): void {
    if (copyStates) this.pending.copyStates = true;
    if (group.stateDirty) return;
    group.stateDirty = true;
    this.pending.dirty.push(group);
    this.pending.bytes += STATE_BYTES;
  }

  /** The state files are to be replaced before the next flush answers, although no record is. */
  enqueueCopy(): void {
    this.pending.replaceStates = true;
  }

  enqueueTombstone(group: GroupId): void {
    this.pending.tombstones.push(group);
    this.pending.copyStates = true;
    this.pending.bytes += HEADER_BYTES;
  }

  // ---- the commit loop --------------------------------------------------------------------------------------------------

  flush(done: () => void): void {
    if (this.closed) return;
    this.waiting.push(done);
    if (this.busy) return;
    this.busy = true;
    if (this.nothingPending()) this.context.env.clock.endOfTurn(() => this.next());
    else this.begin();
  }

  private nothingPending(): boolean {
    const { dirty, tombstones, replaceStates } = this.pending;
    return this.entries.count === 0 && dirty.length === 0 && tombstones.length === 0 && !replaceStates;
  }

  /** The batch before is done and busy is held: the next one, or rest. */
  private next(): void {
    while (this.nothingPending() && this.waiting.length > 0) {
      const dones = this.waiting;
      this.waiting = [];
      for (const done of dones) done();
    }
    if (this.closed) return;
    if (this.waiting.length > 0) this.begin();
    else {
      this.busy = false;
      this.armIdleMark();
    }
  }

  private begin(): void {
    if (this.idleTimer !== undefined) this.context.env.clock.cancel(this.idleTimer);
    this.idleTimer = undefined;
    const full = this.end + this.pending.bytes + this.entries.bytes > this.context.options.segmentBytes;
    if (full && this.packer.batchNumber > 0) {
      this.supply.take((id, file) => this.rotate(id, file));
      return;
    }
    this.withFile((file) => this.writeBatch(file));
  }

  private withFile(use: (file: DiskFile) => void): void {
    if (this.file !== undefined) {
      use(this.file);
      return;
    }
    const { context } = this;
    const path = context.segments.path(this.active.id);
    context.env.disk.open(path, 'write', (error, file) => {
      mustWork(context, `opening ${path}`, error);
      this.file = file as DiskFile;
      use(this.file);
    });
  }

  /** Everything in the old segment is durable: seal it in the background and go on in the new one. */
  private rotate(id: number, file: DiskFile): void {
    const { context } = this;
    const old = this.active;
    old.end = this.durableEnd;
    const path = `${context.dir}/${sidecarName(old.id)}`;
    const table = this.packer.turnTo(id, old.end);
    context.env.disk.replace(path, table, (error) => {
      mustWork(context, `replacing ${path}`, error);
      crashPoint(context, 'wal.seal.sidecar');
      old.sealed = true;
    });
    this.file?.close();
    this.file = file;
    this.active = context.segments.create(id, 0);
    this.end = 0;
    this.filledEnd = 0;
    this.durableEnd = 0;
    this.restedAt = -1;
    this.keeper.durableEnd = 0;
    crashPoint(context, 'wal.segment.activated');
    this.writeBatch(file);
  }

  private writeBatch(file: DiskFile): void {
    const { context, pending } = this;
    const dones = this.waiting;
    this.waiting = [];
    this.pending = emptyPending();
    const start = this.end;
    const records = this.entries.count + pending.dirty.length;
    const { end, position, buffers } = this.packNext(start, pending);
    this.fill(start, end, buffers);
    countBatch(context.stats, records, end - start);
    crashPoint(context, 'wal.batch.encoded');

    this.partsLeft = 1;
    const part = (): void => {
      if (--this.partsLeft > 0) return;
      this.completed(end, position, dones);
    };
    const replaceStates = start === 0 || pending.replaceStates;
    if (replaceStates || pending.copyStates) this.partsLeft++;
    if (replaceStates) this.keeper.replace(part);
    else if (pending.copyStates) this.keeper.append(pending.dirty, pending.tombstones, part);
    file.write(buffers, start, (writeError) => {
      mustWork(context, 'writing a batch', writeError);
      crashPoint(context, 'wal.batch.written');
      const begunMs = context.env.clock.nowMs();
      file.sync((syncError) => {
        mustWork(context, 'syncing a batch', syncError);
        countSync(context.stats, context.env.clock.nowMs() - begunMs);
        crashPoint(context, 'wal.batch.synced');
        part();
      });
    });
  }

  /** A batch that makes the file grow takes zeros behind it along: the next ones overwrite them, and their syncs have no growth to journal. */
  private fill(start: number, end: number, buffers: Uint8Array[]): void {
    if (end <= this.filledEnd) return;
    this.filledEnd = end;
    const bytes = Math.min(this.zeros.length, this.context.options.segmentBytes - end);
    if (end - start > bytes / 2) return;
    const nowMs = this.context.env.clock.nowMs();
    if (nowMs - this.zerosMs < ZEROS_LAST_MS) this.nextZerosMs = nowMs + NO_ZEROS_MS;
    if (nowMs < this.nextZerosMs) return;
    this.zerosMs = nowMs;
    this.filledEnd += bytes;
    buffers.push(this.zeros.subarray(0, bytes));
  }

  private packNext(start: number, pending: Pending): { end: number; position: number; buffers: Uint8Array[] } {
    const packed = this.packer.pack(start, this.durableEnd, pending, this.entries);
    this.entries.clear();
    this.end = packed.end;
    return { end: packed.end, position: this.packer.position, buffers: packed.finish() };
  }

  private completed(end: number, position: number, dones: (() => void)[]): void {
    const { context, active } = this;
    this.durableEnd = end;
    this.keeper.durableEnd = end;
    active.end = end;
    active.bytes = this.filledEnd;
    context.position = Math.max(context.position, position);
    const { touched } = this.packer;
    // Once a batch, so it runs as it stands: an iterator would make an object for each of thousands.
    for (let i = 0; i < touched.length; i++) {
      const group = touched[i];
      group.durable = Math.max(group.durable, group.batchLast);
    }
    const { landed } = this.packer;
    this.packer.landed = [];
    for (const copy of landed) this.land(copy);
    context.cache.evict();
    for (const mark of this.tailMarks) mark.write(active.id, end, false);
    context.stats.segments = context.segments.all.size;
    context.stats.bytes = context.segments.totalBytes();
    for (const done of dones) done();
    this.supply.prepare(active.end);
    this.next();
  }

  /** A copy became durable: it takes the place of the original, unless that was overwritten or dropped meanwhile. */
  private land(copy: Landed): void {
    const { table, index, move, group } = copy;
    const found = table.find(index);
    const repaired = move.segment === 0;
    if (repaired ? found : !found || table.segment !== move.segment || table.offset !== move.offset) return;
    if (repaired && (group.deleted || table !== group.table || index > group.last)) return;
    table.set(index, copy.segment, copy.offset, copy.bodyLength);
    if (repaired) group.forgetDamage(index, index);
  }

  // ---- idle mark, close -------------------------------------------------------------------------------------------------

  /** A batch under load is vouched for by the mark of the next one; the last one before a pause gets a mark of its own. It is not synced:
   * it only has to be there after a process crash, and what it says stays true. */
  private armIdleMark(): void {
    const { context } = this;
    if (this.idleTimer !== undefined || this.restedAt === this.durableEnd) return;
    this.idleTimer = context.env.clock.after(context.options.idleMarkMs, () => {
      this.idleTimer = undefined;
      if (this.busy) return;
      this.restedAt = this.durableEnd;
      if (this.packer.unvouched) this.writeIdleMark(() => {});
      for (const mark of this.tailMarks) mark.write(this.active.id, this.durableEnd, true);
    });
  }

  private writeIdleMark(done: () => void): void {
    const { context } = this;
    const start = this.end;
    const { file } = this;
    if (file === undefined) {
      done();
      return;
    }
    const packed = this.packer.packIdleMark(start, this.durableEnd);
    this.end = packed.end;
    this.filledEnd = Math.max(this.filledEnd, this.end);
    file.write(packed.finish(), start, (error) => {
      mustWork(context, 'writing a mark', error);
      crashPoint(context, 'wal.mark.idle');
      done();
    });
  }

  close(done: () => void): void {
    this.flush(() => {
      this.closed = true;
      const { context } = this;
      if (this.idleTimer !== undefined) context.env.clock.cancel(this.idleTimer);
      this.idleTimer = undefined;
      const { file } = this;
      this.supply.close();
      for (const mark of this.tailMarks) {
        mark.write(this.active.id, this.durableEnd, true);
        mark.close();
      }
      if (file === undefined) {
        this.keeper.close(done);
        return;
      }
      this.writeIdleMark(() =>
        file.sync((error) => {
          mustWork(context, 'syncing at close', error);
          file.close();
          this.keeper.close(done);
        }),
      );
    });
  }
}
