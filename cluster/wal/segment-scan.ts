// Reads one unsealed (or table-less) segment from end to end at start-up and says what is in it: rows, states, marks, and the stretches
// that cannot be read. Tells a torn tail from corruption: below the highest durable end that any mark vouches for, nothing may be
// missing (RELIABILITY 5.3); above it the first bad record ends the segment, since nothing there was ever acknowledged.
import type { Env } from '../../src/kit/env.ts';
import {
  decodeGroupState,
  decodeMark,
  decodeSegmentInfo,
  type GroupState,
  type Mark,
  type SegmentInfo,
} from './bodies.ts';
import {
  ALIGN_BYTES,
  checkBody,
  createHeader,
  decodeHeader,
  HEADER_BYTES,
  RECORD_MAGIC,
  RecordFlag,
  RecordType,
  recordBytes,
} from './record.ts';
import { createRow, type Row, readSidecarInfo, SidecarReader } from './sidecar.ts';

const WINDOW_BYTES = 1024 * 1024;
const SECTOR_BYTES = 4096;

/** Bytes that hold no readable record although they were durable. */
export interface LostRegion {
  from: number;
  to: number;
  /** Number of the batch it begins in, and of the first mark after it; the mark vouches for the batch before its own. */
  batchBefore: number;
  batchAfter: number | undefined;
  /** The marks around it count as many records as were read: it held copies or marks only, nothing that is not elsewhere. */
  harmless: boolean;
}

export interface ScannedSegment {
  id: number;
  info: SegmentInfo | undefined;
  rows: Row[];
  states: { offset: number; state: GroupState }[];
  /** State records whose body is damaged. */
  lostStates: { offset: number; group: number }[];
  marks: { offset: number; mark: Mark }[];
  regions: LostRegion[];
  /** Where the readable (or lost) part ends; beyond it nothing was acknowledged. */
  end: number;
  durableEnd: number;
  /** Logical records before `end`, counted from the WAL's beginning; undefined when nothing tells. */
  position: number | undefined;
}

/** Bounded reads of one file; what the disk refuses reads as zeros, sector by sector. */
class Window {
  bytes: Uint8Array = new Uint8Array(0);
  view = new DataView(this.bytes.buffer);
  readonly size: number;
  private readonly env: Env;
  private readonly path: string;
  private start = 0;

  constructor(env: Env, path: string) {
    this.env = env;
    this.path = path;
    this.size = env.disk.sizeSync(path) ?? 0;
  }

  /** Place in `bytes` where `length` bytes from `position` are, or -1 when the file is too short. */
  locate(position: number, length: number): number {
    if (position + length > this.size) return -1;
    if (position < this.start || position + length > this.start + this.bytes.length) {
      this.bytes = readOrZero(
        this.env,
        this.path,
        position,
        Math.min(this.size - position, Math.max(WINDOW_BYTES, length)),
      );
      this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
      this.start = position;
      if (this.bytes.length < length) return -1;
    }
    return position - this.start;
  }
}

/** A disk's refusal (EIO) is damage, not the end; anything else that is thrown goes on. */
export function readOrZero(env: Env, path: string, position: number, length: number): Uint8Array {
  try {
    return env.disk.readRangeSync(path, position, length);
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    if (length <= SECTOR_BYTES) {
      env.log.error('wal: unreadable sector', { path, position, error: error.message });
      return new Uint8Array(length);
    }
    const whole = new Uint8Array(length);
    for (let at = 0; at < length; at += SECTOR_BYTES) {
      whole.set(readOrZero(env, path, position + at, Math.min(SECTOR_BYTES, length - at)), at);
    }
    return whole;
  }
}

/** `knownDurable`: what others (the next segment, a state file) say was durable in it. */
export function scanSegment(env: Env, path: string, id: number, knownDurable: number): ScannedSegment {
  const window = new Window(env, path);
  const found: ScannedSegment = {
    id,
    info: undefined,
    rows: [],
    states: [],
    lostStates: [],
    marks: [],
    regions: [],
    end: 0,
    durableEnd: knownDurable,
    position: undefined,
  };
  const h = createHeader();
  /** Ends of bad stretches, ascending, to be judged when the marks are known; a bad body counts from its record's start. */
  const badAt: number[] = [];
  let batch = 0;
  /** Logical records read since the last mark (or the segment's head), and how many there were before that. */
  let counted = 0;
  let countedFrom: number | undefined;
  let at = 0;

  const isRecord = (position: number): boolean => {
    const place = window.locate(position, HEADER_BYTES);
    if (place < 0 || window.view.getUint32(place, true) !== RECORD_MAGIC) return false;
    if (!decodeHeader(window.bytes, window.view, place, h)) return false;
    return h.segment === id && h.offset === position;
  };

  const nextRecord = (from: number): number => {
    for (let position = from; position + HEADER_BYTES <= window.size; position += ALIGN_BYTES)
      if (isRecord(position)) return position;
    return -1;
  };

  while (at + HEADER_BYTES <= window.size) {
    if (!isRecord(at)) {
      badAt.push(at);
      const next = nextRecord(at + ALIGN_BYTES);
      found.regions.push({
        from: at,
        to: next < 0 ? window.size : next,
        batchBefore: batch,
        batchAfter: undefined,
        harmless: false,
      });
      if (next < 0) break;
      at = next;
      continue;
    }
    const size = recordBytes(h.bodyLength);
    const place = window.locate(at, HEADER_BYTES + h.bodyLength);
    const body =
      place < 0 ? undefined : window.bytes.subarray(place + HEADER_BYTES, place + HEADER_BYTES + h.bodyLength);
    const intact = body !== undefined && checkBody(body, h.bodyCrc);
    if (!intact) badAt.push(at);
    if (h.type === RecordType.segment) {
      if (intact && body !== undefined) {
        found.info = decodeSegmentInfo(body);
        found.durableEnd = Math.max(found.durableEnd, found.info.bornBytes);
        countedFrom = found.info.base;
      }
    } else if (h.type === RecordType.mark) {
      if (intact && body !== undefined) {
        const mark = decodeMark(body);
        found.marks.push({ offset: at, mark });
        found.durableEnd = Math.max(found.durableEnd, mark.durableEnd);
        const whole = countedFrom !== undefined && mark.position === countedFrom + counted;
        for (const region of found.regions) {
          if (region.batchAfter !== undefined) continue;
          region.batchAfter = mark.batch;
          region.harmless = whole;
        }
        counted = 0;
        countedFrom = mark.position;
        batch = mark.batch;
      }
    } else {
      const state = h.type === RecordType.state;
      if (state && intact && body !== undefined)
        found.states.push({ offset: at, state: decodeGroupState(h.group, body) });
      else if (state) found.lostStates.push({ offset: at, group: h.group });
      if ((h.flags & RecordFlag.moved) === 0) counted++;
      found.rows.push({
        other: h.type === RecordType.entry ? 0 : h.type,
        kind: h.entryKind,
        group: h.group,
        epoch: h.epoch,
        epochFrom: h.epochFrom,
        index: h.index,
        term: h.term,
        offset: at,
        bodyLength: h.bodyLength,
        staged: (h.flags & RecordFlag.staged) !== 0,
        moved: (h.flags & RecordFlag.moved) !== 0,
        damaged: !intact,
      });
    }
    at += size;
  }

  const torn = badAt.find((bad) => bad >= found.durableEnd);
  found.end = Math.max(torn ?? Math.min(at, alignedUp(window.size)), found.durableEnd);
  cutAt(found, found.end);
  addLostCopies(found);
  if (window.size < found.durableEnd && (found.regions[found.regions.length - 1]?.to ?? 0) < found.durableEnd) {
    const from = Math.min(at, window.size);
    found.regions.push({ from, to: found.durableEnd, batchBefore: batch, batchAfter: undefined, harmless: false });
  }
  found.position = positionAt(found);
  return found;
}

const alignedUp = (size: number): number => Math.ceil(size / ALIGN_BYTES) * ALIGN_BYTES;

/** Forgets what lies at or beyond `end`. */
function cutAt(found: ScannedSegment, end: number): void {
  found.rows = found.rows.filter((row) => row.offset < end);
  found.states = found.states.filter(({ offset }) => offset < end);
  found.lostStates = found.lostStates.filter(({ offset }) => offset < end);
  found.marks = found.marks.filter(({ offset }) => offset < end);
  found.regions = found.regions
    .filter((region) => region.from < found.durableEnd)
    .map((region) => ({ ...region, to: Math.min(region.to, end) }));
}

/** Copies that the marks name and the scan did not meet: known, unreadable. */
function addLostCopies(found: ScannedSegment): void {
  const seen = new Set(found.rows.map((row) => row.offset));
  const row = createRow();
  for (const { mark } of found.marks) {
    if (readSidecarInfo(mark.copies) === undefined) continue;
    const reader = new SidecarReader(mark.copies);
    while (reader.next(row)) if (!seen.has(row.offset)) found.rows.push({ ...row, damaged: true });
  }
  found.rows.sort((a, b) => a.offset - b.offset);
}

/** Records since the last mark are counted on top of what it says. */
function positionAt(found: ScannedSegment): number | undefined {
  const mark = found.marks[found.marks.length - 1];
  const base = mark?.mark.position ?? found.info?.base;
  if (base === undefined) return undefined;
  const from = mark?.offset ?? 0;
  let count = 0;
  for (const row of found.rows) if (row.offset > from && !row.moved) count++;
  return base + count;
}
