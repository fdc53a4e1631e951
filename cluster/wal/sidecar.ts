// The index table of one segment, kept in a file beside it (`.idx`), so that a restart reads tables and not all bytes, and so that an entry
// that can no longer be read is still known by name. Pure codec: the builder takes a row per record as the segment is written or scanned.
// Invariant: rows come back in file order; the file is believed only whole (two checksums), and can be rebuilt by a scan.
import { ByteReader, ByteWriter } from './bytes.ts';
import { crc32c, FORMAT_VERSION, recordBytes } from './record.ts';

const MAGIC = 0x58444957;
const FIXED_BYTES = 64;
const LAST_FIELDS = 4;

/** Row tags: low two bits are the entry kind (3: another record), then what differs from the group's row before. */
const OTHER = 3;
const SAME_INDEX = 4;
const SAME_TERM = 8;
const SAME_EPOCH = 16;
const IN_PLACE = 32;
/** A byte of extra flags follows. */
const EXTRA = 64;
const STAGED = 1;
const DAMAGED = 2;
const MOVED = 4;

/** What a scan or a table tells about one record. Reused between calls. */
export interface Row {
  /** RecordType of records that are no entries (state, tombstone); 0 for entries. */
  other: number;
  kind: number;
  group: number;
  epoch: number;
  epochFrom: number;
  index: number;
  term: number;
  offset: number;
  bodyLength: number;
  staged: boolean;
  /** A copy: says nothing about the log's end. */
  moved: boolean;
  /** Known by its header, but its body could not be verified. */
  damaged: boolean;
}

export function createRow(): Row {
  return {
    other: 0,
    kind: 0,
    group: 0,
    epoch: 0,
    epochFrom: 0,
    index: 0,
    term: 0,
    offset: 0,
    bodyLength: 0,
    staged: false,
    moved: false,
    damaged: false,
  };
}

interface Slot {
  index: number;
  term: number;
  epoch: number;
  epochFrom: number;
}

export interface SidecarInfo {
  segment: number;
  /** Identity of the WAL that wrote it. */
  walId: number;
  /** Bytes of the segment that hold records. */
  end: number;
  /** Logical records before this segment. */
  base: number;
  rows: number;
}

export class SidecarBuilder {
  rows = 0;
  private readonly out = new ByteWriter(4096);
  private readonly numbers = new Map<number, number>();
  /** By number: index, term, epoch and its first index of the group's last row. */
  private readonly last: number[] = [];
  /** Where the next record would begin if nothing lay between. */
  private expected = 0;

  /** The number that the group has, or gets with its next row if no other group comes before. */
  numberOf(group: number): number {
    return this.numbers.get(group) ?? this.numbers.size;
  }

  /** Reads what the next row is compared with, so that it is near by then. */
  peek(number: number): number {
    const at = number * LAST_FIELDS;
    return at < this.last.length ? this.last[at] : 0;
  }

  add(row: Row): void {
    this.addNumbered(row, this.numberOf(row.group));
  }

  /** `number` is numberOf(row.group). */
  addNumbered(row: Row, number: number): void {
    const { last } = this;
    const at = number * LAST_FIELDS;
    const fresh = at === last.length;
    if (fresh) {
      this.numbers.set(row.group, number);
      last.push(0, 0, 0, 0);
    }
    let tag = row.other === 0 ? row.kind : OTHER;
    if (row.index === last[at] + 1) tag |= SAME_INDEX;
    if (row.term === last[at + 1]) tag |= SAME_TERM;
    if (row.epoch === last[at + 2] && row.epochFrom === last[at + 3]) tag |= SAME_EPOCH;
    const extra = (row.staged ? STAGED : 0) | (row.damaged ? DAMAGED : 0) | (row.moved ? MOVED : 0);
    if (extra !== 0) tag |= EXTRA;
    if (row.offset === this.expected) tag |= IN_PLACE;
    const { out } = this;
    out.u8(tag);
    if (extra !== 0) out.u8(extra);
    out.varint(number);
    if (fresh) out.varint(row.group);
    if (row.other !== 0) out.u8(row.other);
    if ((tag & SAME_INDEX) === 0) out.varint(row.index);
    if ((tag & SAME_TERM) === 0) out.varint(row.term);
    if ((tag & SAME_EPOCH) === 0) out.varint(row.epoch).varint(row.epochFrom);
    if ((tag & IN_PLACE) === 0) out.varint(row.offset);
    out.varint(row.bodyLength);
    last[at] = row.index;
    last[at + 1] = row.term;
    last[at + 2] = row.epoch;
    last[at + 3] = row.epochFrom;
    this.expected = row.offset + recordBytes(row.bodyLength);
    this.rows++;
  }

  finish(segment: number, walId: number, end: number, base: number): Uint8Array {
    const rows = this.out.written();
    const head = new ByteWriter(FIXED_BYTES + rows.length);
    head.u32(MAGIC).u32(FORMAT_VERSION).u64(walId).u32(segment).u32(0).u64(end).u64(base).u64(this.rows);
    head.u32(rows.length).u32(crc32c(rows));
    head.u32(crc32c(head.written()));
    while (head.length < FIXED_BYTES) head.u8(0);
    return head.raw(rows).finish();
  }
}

/** Undefined: not a whole sidecar of this format. */
export function readSidecarInfo(bytes: Uint8Array): SidecarInfo | undefined {
  if (bytes.length < FIXED_BYTES) return undefined;
  const reader = new ByteReader(bytes);
  if (reader.u32() !== MAGIC || reader.u32() !== FORMAT_VERSION) return undefined;
  const walId = reader.u64();
  const segment = reader.u32();
  reader.u32();
  const end = reader.u64();
  const base = reader.u64();
  const rows = reader.u64();
  const length = reader.u32();
  const rowsCrc = reader.u32();
  const covered = reader.at;
  if (reader.u32() !== crc32c(bytes.subarray(0, covered))) return undefined;
  if (bytes.length !== FIXED_BYTES + length || crc32c(bytes.subarray(FIXED_BYTES)) !== rowsCrc) return undefined;
  return { segment, walId, end, base, rows };
}

/** Reads rows in file order, in slices. Only for bytes that readSidecarInfo accepted. */
export class SidecarReader {
  private readonly reader: ByteReader;
  private readonly slots: Slot[] = [];
  private readonly groups: number[] = [];
  private expected = 0;

  constructor(bytes: Uint8Array) {
    this.reader = new ByteReader(bytes, FIXED_BYTES);
  }

  /** False at the end. */
  next(row: Row): boolean {
    const { reader, slots, groups } = this;
    if (reader.left === 0) return false;
    const tag = reader.u8();
    const extra = (tag & EXTRA) !== 0 ? reader.u8() : 0;
    const number = reader.varint();
    if (number === slots.length) {
      slots.push({ index: 0, term: 0, epoch: 0, epochFrom: 0 });
      groups.push(reader.varint());
    }
    const slot = slots[number];
    const other = (tag & OTHER) === OTHER;
    row.other = other ? reader.u8() : 0;
    row.kind = other ? 0 : tag & OTHER;
    row.group = groups[number];
    slot.index = (tag & SAME_INDEX) !== 0 ? slot.index + 1 : reader.varint();
    if ((tag & SAME_TERM) === 0) slot.term = reader.varint();
    if ((tag & SAME_EPOCH) === 0) {
      slot.epoch = reader.varint();
      slot.epochFrom = reader.varint();
    }
    row.index = slot.index;
    row.term = slot.term;
    row.epoch = slot.epoch;
    row.epochFrom = slot.epochFrom;
    row.staged = (extra & STAGED) !== 0;
    row.damaged = (extra & DAMAGED) !== 0;
    row.moved = (extra & MOVED) !== 0;
    row.offset = (tag & IN_PLACE) !== 0 ? this.expected : reader.varint();
    row.bodyLength = reader.varint();
    this.expected = row.offset + recordBytes(row.bodyLength);
    return true;
  }
}
