// Packs one batch into records: mark or segment head, states, tombstones, entries. Used by writer.ts once a batch, and once at birth by recovery.
// Knows what the active segment holds so far: its table rows, its number of records, what the batch before did.
// Invariant: states go before entries; an entry's location is known to its group's table from here on, and counts as durable when the writer says so.
import type { GroupId, LogEntry } from '../core/types.ts';
import { BatchSummaries } from './batch-summaries.ts';
import { encodeGroupState, encodeMark, encodeSegmentInfo } from './bodies.ts';
import { ByteWriter } from './bytes.ts';
import type { Tombstone, WalContext } from './context.ts';
import type { GroupLog } from './group-log.ts';
import type { LocationTable } from './location-table.ts';
import type { Move, Pending, PendingEntries } from './pending.ts';
import { crc32c, createHeader, RecordFlag, type RecordHeader, RecordType } from './record.ts';
import { RecordPacker } from './record-packer.ts';
import { createRow, SidecarBuilder } from './sidecar.ts';

/** A copy whose new place counts once the batch is durable. */
export interface Landed {
  group: GroupLog;
  table: LocationTable;
  index: number;
  move: Move;
  segment: number;
  offset: number;
  bodyLength: number;
}

/** A record that recovery carries over from the unsure tail of the last segment. */
export interface CarriedEntry {
  header: RecordHeader;
  body: Uint8Array;
}

/** So many entries' share of their groups fits into the fastest cache. */
const LOOK_AHEAD = 32;

const NO_BODY = new Uint8Array(0);

export class BatchPacker {
  /** Logical records packed since the WAL began. */
  position: number;
  /** Copies of the batch under way. */
  landed: Landed[] = [];
  /** Groups touched by the batch under way, and what it will have done to them once it is durable. */
  touched: GroupLog[] = [];
  private readonly summary = new BatchSummaries();
  /** Nobody needs it, but that it is kept keeps looking ahead from being optimized away. */
  lookedAt = 0;
  /** Batches of this segment so far. */
  batchNumber = 0;
  private readonly context: WalContext;
  /** The active segment and the one before it. */
  private segment: number;
  private previous: { id: number; end: number };
  private builder = new SidecarBuilder();
  /** Rows of the last batch that are no part of a log's growth, for the next mark. */
  private copies = new SidecarBuilder();
  /** Logical records before the active segment. */
  private base: number;
  private readonly header = createHeader();
  private readonly row = createRow();
  private readonly scratch = new ByteWriter(4096);

  constructor(context: WalContext, segment: number, previous: { id: number; end: number }) {
    this.context = context;
    this.segment = segment;
    this.previous = previous;
    this.position = context.position;
    this.base = context.position;
  }

  /** The table of the active segment, which ends at `end`; what is packed next belongs to `segment`. */
  turnTo(segment: number, end: number): Uint8Array {
    const table = this.builder.finish(this.segment, this.context.walId, end, this.base);
    this.previous = { id: this.segment, end };
    this.segment = segment;
    this.builder = new SidecarBuilder();
    this.base = this.position;
    this.batchNumber = 0;
    this.summary.count = 0;
    this.copies = new SidecarBuilder();
    return table;
  }

  /** One batch from `start` on. `durableEnd`: what its mark vouches for. */
  pack(start: number, durableEnd: number, pending: Pending, entries: PendingEntries): RecordPacker {
    const packer = new RecordPacker(this.segment, start);
    if (start === 0) this.packSegmentHead(packer, 0);
    else this.packMark(packer, durableEnd);
    this.touched = [];
    this.summary.count = 0;
    this.packStates(packer, pending);
    this.packEntries(packer, entries);
    this.summary.complete(this.touched);
    this.batchNumber++;
    return packer;
  }

  /** Does the last batch still wait for a mark that names what it did? */
  get unvouched(): boolean {
    return this.summary.count > 0 || this.copies.rows > 0;
  }

  /** A mark alone: an empty batch. */
  packIdleMark(start: number, durableEnd: number): RecordPacker {
    const packer = new RecordPacker(this.segment, start);
    this.packMark(packer, durableEnd);
    this.summary.count = 0;
    this.batchNumber++;
    return packer;
  }

  /** The bytes of the segment with which this life begins: the states of all groups, and what is carried over. Written by recovery, whole
   * and durable, before anything else; at once known to the location tables. */
  birth(carried: readonly CarriedEntry[]): Uint8Array {
    const { context, row } = this;
    const packer = new RecordPacker(this.segment, 0);
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
      this.copies.add(row);
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
    const first = new RecordPacker(this.segment, 0);
    this.packSegmentRecord(first, packer.end);
    at = 0;
    for (const buffer of first.finish()) {
      whole.set(buffer, at);
      at += buffer.length;
    }
    return whole;
  }

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
      generation: context.generation,
    });
    packer.put(this.prepare(RecordType.segment, 0, body), body);
  }

  /** Who we are, and the states of all groups, so that no older segment is needed for them; not counted as new records. */
  private packSegmentHead(packer: RecordPacker, bornBytes: number): void {
    const { context } = this;
    this.packSegmentRecord(packer, bornBytes);
    const oldest = context.segments.oldestOnDisk();
    for (const group of context.groups.values()) {
      group.pruneEpochs(oldest);
      this.packState(packer, group, RecordFlag.moved);
    }
    for (const [id, tombstone] of context.tombstones) {
      if (tombstone.segment >= context.segments.oldestKnown())
        this.packTombstone(packer, id, tombstone, RecordFlag.moved);
      else if (tombstone.repeatedIn < oldest) context.tombstones.delete(id);
    }
  }

  private packTombstone(packer: RecordPacker, id: GroupId, tombstone: Tombstone, flags: number): void {
    tombstone.repeatedIn = this.segment;
    this.packOther(packer, RecordType.tombstone, id, tombstone.epoch, tombstone.segment, flags, NO_BODY);
  }

  private packState(packer: RecordPacker, group: GroupLog, flags: number): void {
    this.scratch.length = 0;
    encodeGroupState(this.scratch, group.state());
    this.packOther(packer, RecordType.state, group.id, group.epoch, 0, flags, this.scratch.finish());
  }

  private packMark(packer: RecordPacker, durableEnd: number): void {
    const { scratch } = this;
    scratch.length = 0;
    const { batchNumber: batch, position, summary } = this;
    encodeMark(scratch, { durableEnd, batch, position, generation: this.context.generation }, summary.count);
    summary.encode(scratch);
    scratch.block(this.copies.rows === 0 ? NO_BODY : this.copies.finish(this.segment, this.context.walId, 0, 0));
    this.copies = new SidecarBuilder();
    const body = scratch.finish();
    packer.put(this.prepare(RecordType.mark, 0, body), body);
  }

  private touch(group: GroupLog): void {
    if (group.batchNumber === this.context.stats.batches) return;
    group.batchNumber = this.context.stats.batches;
    group.batchLast = group.durable;
    group.batchSlot = this.summary.add(group);
    this.touched.push(group);
  }

  private packStates(packer: RecordPacker, pending: Pending): void {
    for (const group of pending.dirty) {
      group.stateDirty = false;
      if (group.deleted) continue;
      this.touch(group);
      this.summary.stated(group.batchSlot);
      this.packState(packer, group, 0);
      this.position++;
    }
    for (const id of pending.tombstones) {
      const tombstone = this.context.tombstones.get(id);
      if (tombstone === undefined) continue;
      this.packTombstone(packer, id, tombstone, 0);
      this.position++;
    }
  }

  /** The group's number in the active segment's table. */
  private rowNumber(group: GroupLog): number {
    if (group.rowsIn !== this.segment) {
      group.rowsIn = this.segment;
      group.rowNumber = this.builder.numberOf(group.id);
    }
    return group.rowNumber;
  }

  /** Looks at what the next entries will need of their groups, in a loop so short that the processor has many of these lines of memory on
   * their way at a time; packing would wait for one after the other. */
  private lookAhead({ groups, entries, tables }: PendingEntries, from: number, to: number): void {
    let sum = 0;
    for (let i = from; i < to; i++) {
      const group = groups[i] as GroupLog;
      const { index, body } = entries[i] as LogEntry;
      const { length } = body;
      if (length > 0) sum += body[0] + body[length - 1];
      sum += group.durable + group.batchLast + this.builder.peek(group.rowNumber);
      sum += (tables[i] as LocationTable).peek(index);
    }
    this.lookedAt = sum;
  }

  private packEntries(packer: RecordPacker, pending: PendingEntries): void {
    const { header: h, row } = this;
    const { count, entries, groups, epochs, epochFroms, flags, tables, moves } = pending;
    for (let i = 0; i < count; i++) {
      if (i % LOOK_AHEAD === 0) this.lookAhead(pending, i, Math.min(i + LOOK_AHEAD, count));
      const group = groups[i] as GroupLog;
      if (group.deleted) continue;
      const entry = entries[i] as LogEntry;
      const table = tables[i] as LocationTable;
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
      pending.copyChain(i, h);
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
      this.builder.addNumbered(row, this.rowNumber(group));
      if (row.moved || staged) this.copies.add(row);
      const bodyLength = entry.body.length;
      if (move !== undefined) {
        const { segment, offset } = h;
        this.landed.push({ group, table, index: entry.index, move, segment, offset, bodyLength });
        continue;
      }
      this.position++;
      if (staged) {
        table.set(entry.index, h.segment, h.offset, bodyLength);
        continue;
      }
      this.touch(group);
      if (table !== group.table || !group.isCurrent(h.epoch, entry.index)) continue;
      table.set(entry.index, h.segment, h.offset, bodyLength);
      group.batchLast = entry.index;
      this.summary.grown(group.batchSlot, entry.index, entry.term);
    }
  }
}
