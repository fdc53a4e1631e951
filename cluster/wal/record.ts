// The codec of one WAL record: an 80-byte header, then the body, padded with zeros to 8 bytes. Pure. A header is verified before its
// length is trusted; it names its own segment and offset, so a record that lies in a wrong place is not believed.
// Invariant: what encodeHeader wrote, decodeHeader reads back, and any changed bit makes it answer false. No checksum of this room is that of
// nothing (0): each begins with a number of its own, so zeros never pass one.
import { crc32c } from '@node-rs/crc32';
import type { GroupId, Index, Term } from '../core/types.ts';
import type { Chain } from './chain.ts';

export const HEADER_BYTES = 80;
export const ALIGN_BYTES = 8;
/** Of everything in the directory. Any change to what a byte means counts one up; other versions are refused (inventory.ts). */
export const FORMAT_VERSION = 5;
/** 'FWL' and the format version. */
const MAGIC_WORD = 0x004c5746;
const MAGIC = MAGIC_WORD | (FORMAT_VERSION << 24);
/** First byte pattern of every record, as it stands in the file. */
export const RECORD_MAGIC = MAGIC >>> 0;
const TWO32 = 4294967296;

export const RecordType = { segment: 1, entry: 2, state: 3, tombstone: 4, mark: 5 } as const;
export type RecordType = (typeof RecordType)[keyof typeof RecordType];

export const RecordFlag = {
  /** Copied forward by compaction, recovery or repair: stands later in the WAL than its place in the log. */
  moved: 1,
  /** Part of a snapshot being received; counts once a state record of the same epoch is there. */
  staged: 2,
  /** The chain begins again at this entry (its predecessor's value was not known). */
  chainStart: 4,
  /** The record has no chain value (staged, repaired). */
  noChain: 8,
} as const;

/** All header fields; one object is reused by each reader and writer. */
export interface RecordHeader extends Chain {
  type: number;
  entryKind: number;
  flags: number;
  bodyLength: number;
  bodyCrc: number;
  segment: number;
  offset: number;
  group: GroupId;
  /** Counts the rewrites of a group's log; see group-log.ts. */
  epoch: number;
  /** First index of `epoch`. */
  epochFrom: Index;
  index: Index;
  term: Term;
}

export function createHeader(): RecordHeader {
  return {
    type: 0,
    entryKind: 0,
    flags: 0,
    bodyLength: 0,
    bodyCrc: 0,
    segment: 0,
    offset: 0,
    group: 0,
    epoch: 0,
    epochFrom: 0,
    index: 0,
    term: 0,
    chain0: 0,
    chain1: 0,
    chain2: 0,
    chain3: 0,
  };
}

/** Bytes that a record takes in its file. */
export function recordBytes(bodyLength: number): number {
  return (HEADER_BYTES + bodyLength + ALIGN_BYTES - 1) & -ALIGN_BYTES;
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value % TWO32, true);
  view.setUint32(at + 4, Math.floor(value / TWO32), true);
}

function getU64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO32;
}

/** A header is made here and copied to its place: a checksum is asked for a view, and one made for each record is much of what a small one costs. */
const made = new Uint8Array(HEADER_BYTES);
const madeView = new DataView(made.buffer);
const madeSummed = made.subarray(8);

/** Writes the 80 header bytes of `h` at `at`. */
export function encodeHeader(bytes: Uint8Array, at: number, h: RecordHeader): void {
  madeView.setUint32(0, RECORD_MAGIC, true);
  madeView.setUint32(8, h.bodyLength, true);
  madeView.setUint32(12, h.bodyCrc, true);
  madeView.setUint8(16, h.type);
  madeView.setUint8(17, h.entryKind);
  madeView.setUint16(18, h.flags, true);
  madeView.setUint32(20, h.segment, true);
  madeView.setUint32(24, h.offset, true);
  madeView.setUint32(28, h.epoch, true);
  setU64(madeView, 32, h.group);
  setU64(madeView, 40, h.index);
  setU64(madeView, 48, h.term);
  setU64(madeView, 56, h.epochFrom);
  madeView.setInt32(64, h.chain0, true);
  madeView.setInt32(68, h.chain1, true);
  madeView.setInt32(72, h.chain2, true);
  madeView.setInt32(76, h.chain3, true);
  madeView.setUint32(4, crc32c(madeSummed, RECORD_MAGIC), true);
  bytes.set(made, at);
}

/** The version of the record at the beginning of `bytes`, whatever it is; undefined: no record. Holds for all versions: magic, version, a
 * checksum over the next 72 bytes that begins with both. */
export function versionOfRecord(bytes: Uint8Array): number | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const magic = view.getUint32(0, true);
  if ((magic & 0x00ffffff) !== MAGIC_WORD) return undefined;
  return view.getUint32(4, true) === crc32c(bytes.subarray(8, HEADER_BYTES), magic) ? magic >>> 24 : undefined;
}

/** Reads the header at `at` into `h`; false: these are not the bytes of a header. Nothing is believed before the checksum. */
export function decodeHeader(bytes: Uint8Array, view: DataView, at: number, h: RecordHeader): boolean {
  if (at + HEADER_BYTES > bytes.length || view.getUint32(at, true) !== RECORD_MAGIC) return false;
  if (view.getUint32(at + 4, true) !== crc32c(bytes.subarray(at + 8, at + HEADER_BYTES), RECORD_MAGIC)) return false;
  h.bodyLength = view.getUint32(at + 8, true);
  h.bodyCrc = view.getUint32(at + 12, true);
  h.type = view.getUint8(at + 16);
  h.entryKind = view.getUint8(at + 17);
  h.flags = view.getUint16(at + 18, true);
  h.segment = view.getUint32(at + 20, true);
  h.offset = view.getUint32(at + 24, true);
  h.epoch = view.getUint32(at + 28, true);
  h.group = getU64(view, at + 32);
  h.index = getU64(view, at + 40);
  h.term = getU64(view, at + 48);
  h.epochFrom = getU64(view, at + 56);
  h.chain0 = view.getInt32(at + 64, true);
  h.chain1 = view.getInt32(at + 68, true);
  h.chain2 = view.getInt32(at + 72, true);
  h.chain3 = view.getInt32(at + 76, true);
  return true;
}

export function checkBody(body: Uint8Array, crc: number): boolean {
  return crc32c(body) === crc >>> 0;
}

export { crc32c };
