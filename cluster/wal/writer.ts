// The one writer of the WAL: group commit. What is enqueued while a batch is being written and synced is the next batch: one gathered write and
// one fdatasync for all groups; completions run while busy is still held, so that what they enqueue joins the batch that starts right after.
// A batch: mark (the first of a segment: segment record and the states of all groups), changed states, tombstones, entries.
// Invariant: a batch is only written when everything before it in its segment, and all earlier segments, are durable.
import type { DiskFile, Timer } from '../../src/kit/env.ts';
import type { GroupId, LogEntry } from '../core/types.ts';
import { type BatchSummary, encodeGroupState, encodeMark, encodeSegmentInfo, encodeSummary } from './bodies.ts';
import { ByteWriter } from './bytes.ts';
import { chainAdd } from './chain.ts';
import { crashPoint, invariant, mustWork, type WalContext } from './context.ts';
import type { GroupLog } from './group-log.ts';
import type { LocationTable } from './location-table.ts';
import { sidecarName } from './options.ts';
import {
  crc32c,
  createHeader,
  decodeHeader,
  HEADER_BYTES,
  RecordFlag,
  type RecordHeader,
  RecordType,
  recordBytes,
} from './record.ts';
import { RecordPacker } from './record-packer.ts';
import { SegmentSupply } from './segment-supply.ts';
import type { Segment } from './segments.ts';
import { createRow, SidecarBuilder } from './sidecar.ts';
import { StateKeeper } from './state-keeper.ts';
import { countBatch, countSync } from './stats.ts';
import { TailMark } from './tail-mark.ts';

/** Where a copied-forward entry was found; (0, 0): nowhere, it is a repair. */
export interface Move {
  segment: number;
  offset: number;
  chain: readonly number[] | undefined;
}

/** What will be written next, as columns. */
interface Pending {
  groups: GroupLog[];
  entries: LogEntry[];
  epochs: number[];
  epochFroms: number[];
  flags: number[];
  tables: LocationTable[];
  moves: (Move | undefined)[];
  dirty: GroupLog[];
  tombstones: GroupId[];
  bytes: number;
  hardStateChanged: boolean;
}

/** A copy whose new place counts once the batch is durable. */
interface Landed {
  group: GroupLog;
  table: LocationTable;
  index: number;
  move: Move;
  segment: number;
  offset: number;
  bodyLength: number;
}

const NO_BODY = new Uint8Array(0);
const MARK_BYTES = 256;

function emptyPending(): Pending {
  return {
    groups: [],
    entries: [],
    epochs: [],
    epochFroms: [],
    flags: [],
    tables: [],
    moves: [],
    dirty: [],
    tombstones: [],
    bytes: 0,
    hardStateChanged: false,
  };
}

export interface WriterStart {
  active: Segment;
  nextSegment: number;
  generation: number;
  previous: { id: number; end: number };
}

/** A record that recovery carries over from the unsure tail of the last segment. */
export interface CarriedEntry {
  header: RecordHeader;
  body: Uint8Array;
}

export class Writer {
  readonly keeper: StateKeeper;
  active: Segment;
  /** The active segment is durable up to here. */
  durableEnd: number;
  private readonly context: WalContext;
  private readonly supply: SegmentSupply;
  private readonly tailMark: TailMark;
  private file: DiskFile | undefined;
  private builder = new SidecarBuilder();
  /** Logical records before the active segment. */
  private base: number;
  private end: number;
  private batchNumber = 0;
  /** Groups touched by the batch under way, and what it will have done to them once it is durable. */
  private touched: GroupLog[] = [];
  private summary: BatchSummary[] = [];
  private pending = emptyPending();
  private waiting: (() => void)[] = [];
  private landed: Landed[] = [];
  private busy = false;
  private position: number;
  private idleTimer: Timer | undefined;
  private previous: { id: number; end: number };
  private partsLeft = 0;
  private readonly header = createHeader();
  private readonly row = createRow();
  private readonly scratch = new ByteWriter(4096);

  constructor(context: WalContext, start: WriterStart) {
    this.context = context;
    this.active = start.active;
    this.previous = start.previous;
    this.base = context.position;
    this.position = context.position;
    this.end = 0;
    this.durableEnd = 0;
    this.keeper = new StateKeeper(context, start.generation);
    this.supply = new SegmentSupply(context, start.nextSegment);
    this.tailMark = new TailMark(context);
  }

  /** The bytes of the segment with which this life begins: the states of all groups, and what is carried over. Written by recovery, whole
   * and durable, before anything else; at once known to the location tables. */
  birth(carried: readonly CarriedEntry[]): Uint8Array {
    const { context, row } = this;
    const packer = new RecordPacker(this.active.id, 0);
    this.packSegmentHead(packer, 0);
    for (const { header, body } of carried) {
      header.flags |= RecordFlag.moved;
      packer.put(header, body);
      row.other = 0;
      row.kind = header.entryKind;
      row.group = header.group;
      row.epoch = header.epoch;
      row.epochFrom = header.epochFrom;
      row.index = header.index;
      row.term = header.term;
      row.offset = header.offset;
      row.bodyLength = body.length;
      row.staged = (header.flags & RecordFlag.staged) !== 0;
      row.moved = true;
      row.damaged = false;
      this.builder.add(row);
      context.groups.get(header.group)?.table.set(header.index, header.segment, header.offset, body.length);
    }
    const buffers = packer.finish();
    const whole = new Uint8Array(packer.end);
    let at = 0;
    for (const buffer of buffers) {
      whole.set(buffer, at);
      at += buffer.length;
    }
    // The first record once more, now that the size is known.
    const first = new RecordPacker(this.active.id, 0);
    this.packSegmentRecord(first, packer.end);
    at = 0;
    for (const buffer of first.finish()) {
      whole.set(buffer, at);
      at += buffer.length;
    }
    this.end = packer.end;
    this.durableEnd = packer.end;
    this.keeper.durableEnd = packer.end;
    this.active.end = packer.end;
    this.active.bytes = packer.end;
    return whole;
  }

  // ---- what joins the next batch --------------------------------------------------------------------------------------

  enqueueEntry(
    group: GroupLog,
    entry: LogEntry,
    epoch: number,
    epochFrom: number,
    flags: number,
    table: LocationTable,
  ): void {
    this.push(group, entry, epoch, epochFrom, flags, table, undefined);
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
  ): void {
    this.push(group, entry, epoch, epochFrom, flags | RecordFlag.moved, table, move);
  }

  private push(
    group: GroupLog,
    entry: LogEntry,
    epoch: number,
    epochFrom: number,
    flags: number,
    table: LocationTable,
    move: Move | undefined,
  ): void {
    const { pending } = this;
    pending.groups.push(group);
    pending.entries.push(entry);
    pending.epochs.push(epoch);
    pending.epochFroms.push(epochFrom);
    pending.flags.push(flags);
    pending.tables.push(table);
    pending.moves.push(move);
    pending.bytes += recordBytes(entry.body.length);
  }

  enqueueState(group: GroupLog, hardStateChanged: boolean): void {
    if (hardStateChanged) this.pending.hardStateChanged = true;
    if (group.stateDirty) return;
    group.stateDirty = true;
    this.pending.dirty.push(group);
    this.pending.bytes += MARK_BYTES;
  }

  enqueueTombstone(group: GroupId): void {
    this.pending.tombstones.push(group);
    this.pending.bytes += HEADER_BYTES;
  }

  // ---- the commit loop --------------------------------------------------------------------------------------------------

  flush(done: () => void): void {
    this.waiting.push(done);
    if (this.busy) return;
    this.busy = true;
    if (this.nothingPending()) this.context.env.clock.endOfTurn(() => this.next());
    else this.begin();
  }

  private nothingPending(): boolean {
    const { entries, dirty, tombstones } = this.pending;
    return entries.length === 0 && dirty.length === 0 && tombstones.length === 0;
  }

  /** The batch before is done and busy is held: the next one, or rest. */
  private next(): void {
    while (this.nothingPending() && this.waiting.length > 0) {
      const dones = this.waiting;
      this.waiting = [];
      for (const done of dones) done();
    }
    if (this.waiting.length > 0) this.begin();
    else {
      this.busy = false;
      this.armIdleMark();
    }
  }

  private begin(): void {
    if (this.idleTimer !== undefined) this.context.env.clock.cancel(this.idleTimer);
    this.idleTimer = undefined;
    const full = this.end + this.pending.bytes > this.context.options.segmentBytes;
    if (full && this.batchNumber > 0) {
      this.supply.take((id, file, bytes) => this.rotate(id, file, bytes));
      return;
    }
    this.withFile((file) => this.writeBatch(file, false));
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
  private rotate(id: number, file: DiskFile, bytes: number): void {
    const { context } = this;
    const old = this.active;
    old.end = this.durableEnd;
    const path = `${context.dir}/${sidecarName(old.id)}`;
    const table = this.builder.finish(old.id, context.walId, old.end, this.base);
    context.env.disk.replace(path, table, (error) => {
      mustWork(context, `replacing ${path}`, error);
      crashPoint(context, 'wal.seal.sidecar');
      old.sealed = true;
    });
    this.file?.close();
    this.previous = { id: old.id, end: old.end };
    this.file = file;
    this.active = context.segments.create(id, bytes);
    this.builder = new SidecarBuilder();
    this.base = this.position;
    this.end = 0;
    this.durableEnd = 0;
    this.keeper.durableEnd = 0;
    this.batchNumber = 0;
    this.summary = [];
    crashPoint(context, 'wal.segment.activated');
    this.writeBatch(file, true);
  }

  private writeBatch(file: DiskFile, freshSegment: boolean): void {
    const { context, pending } = this;
    const dones = this.waiting;
    this.waiting = [];
    this.pending = emptyPending();
    const start = this.end;
    const recordsBefore = this.position;
    const packer = new RecordPacker(this.active.id, start);
    if (freshSegment) this.packSegmentHead(packer, 0);
    else this.packMark(packer);
    this.touched = [];
    this.packStates(packer, pending);
    this.packEntries(packer, pending);
    this.summary = this.touched.map(summaryOf);
    this.batchNumber++;
    const buffers = packer.finish();
    this.end = packer.end;
    const position = this.position;
    countBatch(context.stats, pending.entries.length + pending.dirty.length, packer.end - start);
    invariant(context, position >= recordsBefore, 'the position went back');
    crashPoint(context, 'wal.batch.encoded');

    this.partsLeft = 1;
    const part = (): void => {
      if (--this.partsLeft > 0) return;
      this.completed(packer.end, position, dones);
    };
    if (freshSegment || pending.hardStateChanged) {
      this.partsLeft++;
      this.keeper.save(part);
    }
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

  private completed(end: number, position: number, dones: (() => void)[]): void {
    const { context, active } = this;
    this.durableEnd = end;
    this.keeper.durableEnd = end;
    active.end = end;
    active.bytes = Math.max(active.bytes, end);
    context.position = position;
    for (const group of this.touched) {
      group.durable = Math.max(group.durable, group.batchLast);
      group.tail.durable = group.durable;
    }
    const { landed } = this;
    this.landed = [];
    for (const copy of landed) this.land(copy);
    context.cache.evict();
    this.tailMark.write(active.id, end, false);
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

  // ---- packing ----------------------------------------------------------------------------------------------------------

  private prepare(type: number, group: GroupId, body: Uint8Array): RecordHeader {
    const h = this.header;
    h.type = type;
    h.entryKind = 0;
    h.flags = RecordFlag.noChain;
    h.bodyCrc = crc32c(body);
    h.group = group;
    h.epoch = 0;
    h.epochFrom = 0;
    h.index = 0;
    h.term = 0;
    h.chain0 = h.chain1 = h.chain2 = h.chain3 = 0;
    return h;
  }

  /** A record that is no entry: written, and noted in the table. */
  private packOther(
    packer: RecordPacker,
    type: number,
    group: GroupId,
    epoch: number,
    index: number,
    flags: number,
    body: Uint8Array,
  ): void {
    const h = this.prepare(type, group, body);
    h.epoch = epoch;
    h.index = index;
    h.flags |= flags;
    packer.put(h, body);
    const { row } = this;
    row.other = type;
    row.kind = 0;
    row.group = group;
    row.epoch = epoch;
    row.epochFrom = 0;
    row.index = index;
    row.term = 0;
    row.offset = h.offset;
    row.bodyLength = body.length;
    row.staged = false;
    row.moved = (flags & RecordFlag.moved) !== 0;
    row.damaged = false;
    this.builder.add(row);
  }

  private packSegmentRecord(packer: RecordPacker, bornBytes: number): void {
    const { context, previous } = this;
    const { walId } = context;
    const body = encodeSegmentInfo({
      walId,
      base: this.position,
      previous: previous.id,
      previousEnd: previous.end,
      bornBytes,
    });
    packer.put(this.prepare(RecordType.segment, 0, body), body);
  }

  /** Who we are, and the states of all groups, so that no older segment is needed for them; not counted as new records. */
  private packSegmentHead(packer: RecordPacker, bornBytes: number): void {
    const { context } = this;
    this.packSegmentRecord(packer, bornBytes);
    const oldest = context.segments.oldest();
    for (const group of context.groups.values()) {
      group.pruneEpochs(oldest);
      this.packState(packer, group, RecordFlag.moved);
    }
    for (const [id, tombstone] of context.tombstones) {
      if (tombstone.segment < oldest) context.tombstones.delete(id);
      else
        this.packOther(packer, RecordType.tombstone, id, tombstone.epoch, tombstone.segment, RecordFlag.moved, NO_BODY);
    }
  }

  private packState(packer: RecordPacker, group: GroupLog, flags: number): void {
    this.scratch.length = 0;
    encodeGroupState(this.scratch, group.state());
    this.packOther(packer, RecordType.state, group.id, group.epoch, 0, flags, this.scratch.finish());
  }

  private packMark(packer: RecordPacker): void {
    const { scratch } = this;
    scratch.length = 0;
    encodeMark(scratch, this.durableEnd, this.batchNumber, this.position, this.summary.length);
    for (const done of this.summary) encodeSummary(scratch, done);
    const body = scratch.finish();
    packer.put(this.prepare(RecordType.mark, 0, body), body);
  }

  private touch(group: GroupLog): void {
    if (group.batchNumber === this.context.stats.batches) return;
    group.batchNumber = this.context.stats.batches;
    group.batchLast = group.durable;
    group.batchState = false;
    this.touched.push(group);
  }

  private packStates(packer: RecordPacker, pending: Pending): void {
    for (const group of pending.dirty) {
      group.stateDirty = false;
      if (group.deleted) continue;
      this.touch(group);
      group.batchState = true;
      this.packState(packer, group, 0);
      this.position++;
    }
    for (const id of pending.tombstones) {
      const tombstone = this.context.tombstones.get(id);
      if (tombstone === undefined) continue;
      this.packOther(packer, RecordType.tombstone, id, tombstone.epoch, tombstone.segment, 0, NO_BODY);
      this.position++;
    }
  }

  private packEntries(packer: RecordPacker, pending: Pending): void {
    const { header: h, row } = this;
    const { entries, groups, epochs, epochFroms, flags, tables, moves } = pending;
    for (let i = 0; i < entries.length; i++) {
      const group = groups[i];
      if (group.deleted) continue;
      const entry = entries[i];
      const move = moves[i];
      const staged = (flags[i] & RecordFlag.staged) !== 0;
      h.type = RecordType.entry;
      h.entryKind = entry.kind;
      h.flags = flags[i];
      h.bodyCrc = entry.crc;
      h.group = group.id;
      h.epoch = epochs[i];
      h.epochFrom = epochFroms[i];
      h.index = entry.index;
      h.term = entry.term;
      if (move !== undefined || staged) this.setChain(h, move?.chain);
      else this.advanceChain(h, group, entry);
      packer.put(h, entry.body);
      row.other = 0;
      row.kind = entry.kind;
      row.group = group.id;
      row.epoch = h.epoch;
      row.epochFrom = h.epochFrom;
      row.index = entry.index;
      row.term = entry.term;
      row.offset = h.offset;
      row.bodyLength = entry.body.length;
      row.staged = staged;
      row.moved = move !== undefined;
      row.damaged = false;
      this.builder.add(row);
      const bodyLength = entry.body.length;
      if (move !== undefined) {
        const { segment, offset } = h;
        this.landed.push({ group, table: tables[i], index: entry.index, move, segment, offset, bodyLength });
        continue;
      }
      this.position++;
      if (staged) {
        tables[i].set(entry.index, h.segment, h.offset, bodyLength);
        continue;
      }
      this.touch(group);
      if (tables[i] !== group.table || !group.isCurrent(h.epoch, entry.index)) continue;
      group.tail.setChain(entry.index, group.chain);
      group.table.set(entry.index, h.segment, h.offset, bodyLength);
      group.batchLast = entry.index;
    }
  }

  private setChain(h: RecordHeader, chain: readonly number[] | undefined): void {
    if (chain === undefined) h.flags |= RecordFlag.noChain;
    h.chain0 = chain?.[0] ?? 0;
    h.chain1 = chain?.[1] ?? 0;
    h.chain2 = chain?.[2] ?? 0;
    h.chain3 = chain?.[3] ?? 0;
  }

  /** chain(index) from chain(index - 1), which is the last one written, in the tail, in the file, or unknown. */
  private advanceChain(h: RecordHeader, group: GroupLog, entry: LogEntry): void {
    const { chain } = group;
    if (group.chainIndex !== entry.index - 1 && !this.loadChain(group, entry.index - 1)) {
      chain.fill(0);
      h.flags |= RecordFlag.chainStart;
    }
    chainAdd(chain, entry.index, entry.term, entry.kind, entry.crc);
    group.chainIndex = entry.index;
    h.chain0 = chain[0];
    h.chain1 = chain[1];
    h.chain2 = chain[2];
    h.chain3 = chain[3];
  }

  private loadChain(group: GroupLog, index: number): boolean {
    if (group.tail.readChain(index, group.chain)) return true;
    const { table } = group;
    if (!table.find(index)) return false;
    return readChainOf(this.context, table.segment, table.offset, group.chain);
  }

  // ---- idle mark, close -------------------------------------------------------------------------------------------------

  /** A batch under load is vouched for by the mark of the next one; the last one before a pause gets a mark of its own. It is not synced:
   * it only has to be there after a process crash, and what it says stays true. */
  private armIdleMark(): void {
    const { context } = this;
    if (this.idleTimer !== undefined || this.summary.length === 0) return;
    this.idleTimer = context.env.clock.after(context.options.idleMarkMs, () => {
      this.idleTimer = undefined;
      if (this.busy) return;
      this.writeIdleMark(() => {});
      this.tailMark.write(this.active.id, this.durableEnd, true);
    });
  }

  private writeIdleMark(done: () => void): void {
    const { context } = this;
    const start = this.end;
    const packer = new RecordPacker(this.active.id, start);
    this.packMark(packer);
    this.summary = [];
    this.batchNumber++;
    this.end = packer.end;
    const { file } = this;
    if (file === undefined) {
      done();
      return;
    }
    file.write(packer.finish(), start, (error) => {
      mustWork(context, 'writing a mark', error);
      crashPoint(context, 'wal.mark.idle');
      done();
    });
  }

  close(done: () => void): void {
    this.flush(() => {
      const { context } = this;
      if (this.idleTimer !== undefined) context.env.clock.cancel(this.idleTimer);
      this.idleTimer = undefined;
      const { file } = this;
      this.supply.close();
      this.tailMark.write(this.active.id, this.durableEnd, true);
      this.tailMark.close();
      if (file === undefined) {
        done();
        return;
      }
      this.writeIdleMark(() =>
        file.sync((error) => {
          mustWork(context, 'syncing at close', error);
          file.close();
          done();
        }),
      );
    });
  }
}

function summaryOf(group: GroupLog): BatchSummary {
  const { id, epoch, epochFrom, batchLast, batchState } = group;
  return {
    group: id,
    epoch,
    epochFrom,
    lastIndex: batchLast,
    lastTerm: group.termOf(batchLast) ?? 0,
    state: batchState,
  };
}

const chainHeader = createHeader();

/** The chain value in a record's header on disk, read at once: one small read, only where a log is rewritten or begins after a restart. */
export function readChainOf(context: WalContext, segment: number, offset: number, chain: Uint32Array): boolean {
  const path = context.segments.path(segment);
  if (context.env.disk.sizeSync(path) === undefined) return false;
  const bytes = readQuietly(context, path, offset);
  if (bytes === undefined) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const h = chainHeader;
  if (!decodeHeader(bytes, view, 0, h) || h.segment !== segment || h.offset !== offset) return false;
  if ((h.flags & RecordFlag.noChain) !== 0) return false;
  chain[0] = h.chain0;
  chain[1] = h.chain1;
  chain[2] = h.chain2;
  chain[3] = h.chain3;
  return true;
}

function readQuietly(context: WalContext, path: string, offset: number): Uint8Array | undefined {
  try {
    return context.env.disk.readRangeSync(path, offset, HEADER_BYTES);
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    context.env.log.warn('wal: a header cannot be read', { path, offset, error: error.message });
    return undefined;
  }
}
