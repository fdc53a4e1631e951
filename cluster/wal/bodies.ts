// Bodies of the WAL's own records and of FORMAT: what is known of groups and segments besides entries. Pure codecs.
// Invariant: a decoder is only given bytes whose checksum held, except decodeFormat, which checks itself.
import { decodeMembership, encodeMembership } from '../core/membership.ts';
import type { GroupId, HardState, Index, Membership, Term } from '../core/types.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { crc32c, FORMAT_VERSION } from './record.ts';

/** The snapshot that counts, and its file. */
export interface SnapshotRef {
  index: Index;
  term: Term;
  membership: Membership;
  /** Number in the file's name; never reused. */
  file: number;
  /** Size of the file. */
  bytes: number;
  /** CRC-32C over the checksums of its chunks. */
  crc: number;
}

/** From `from` on, entries of earlier epochs are dead. `segment` was the active one when the epoch began. */
export interface EpochStart {
  epoch: number;
  from: Index;
  segment: number;
}

/** Staged entries of `epoch` count as if they were of epoch `by`, which the installation that took them over began. */
export interface Adoption {
  epoch: number;
  by: number;
}

/** Everything about a group but its entries; written whole each time, so the newest one is enough. */
export interface GroupState {
  group: GroupId;
  /** Epoch of its creation: tells it from an earlier group of the same id. */
  born: number;
  /** What installed snapshots took over, and no later one replaced; ascending. */
  adopted: Adoption[];
  /** Odd: what was last or voted is not known for sure (voteSafe is false until the host clears it). Each change counts one up. */
  doubts: number;
  epochs: EpochStart[];
  hardState: HardState;
  /** At the snapshot, or at creation. */
  membership: Membership;
  snapshot: SnapshotRef | undefined;
  /** The log's end when this was written: tells recovery what must be there. */
  lastIndex: Index;
  lastTerm: Term;
}

/** States of all groups are written again and again; their memberships hardly change, and are never changed in place. */
const membershipBytes = new WeakMap<Membership, Uint8Array>();

function bytesOf(membership: Membership): Uint8Array {
  let bytes = membershipBytes.get(membership);
  if (bytes === undefined) {
    bytes = encodeMembership(membership);
    membershipBytes.set(membership, bytes);
  }
  return bytes;
}

export function encodeGroupState(out: ByteWriter, state: GroupState): void {
  out
    .varint(state.born)
    .varint(state.doubts)
    .varint(state.hardState.term)
    .varint(state.hardState.vote)
    .varint(state.lastIndex)
    .varint(state.lastTerm);
  out.varint(state.epochs.length);
  for (const { epoch, from, segment } of state.epochs) out.varint(epoch).varint(from).varint(segment);
  out.varint(state.adopted.length);
  for (const { epoch, by } of state.adopted) out.varint(epoch).varint(by);
  out.block(bytesOf(state.membership));
  const { snapshot } = state;
  if (snapshot === undefined) out.u8(0);
  else {
    out.u8(1).varint(snapshot.index).varint(snapshot.term).varint(snapshot.file).varint(snapshot.bytes);
    out.u32(snapshot.crc).block(bytesOf(snapshot.membership));
  }
}

function readMembership(reader: ByteReader): Membership {
  const membership = decodeMembership(reader.block());
  if (membership === undefined) throw new Error('wal: a checksummed membership cannot be read');
  return membership;
}

export function decodeGroupState(group: GroupId, body: Uint8Array): GroupState {
  return readGroupState(group, new ByteReader(body));
}

export function readGroupState(group: GroupId, reader: ByteReader): GroupState {
  const born = reader.varint();
  const doubts = reader.varint();
  const hardState = { term: reader.varint(), vote: reader.varint() };
  const lastIndex = reader.varint();
  const lastTerm = reader.varint();
  const epochs: EpochStart[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    epochs.push({ epoch: reader.varint(), from: reader.varint(), segment: reader.varint() });
  }
  const adopted: Adoption[] = [];
  for (let left = reader.varint(); left > 0; left--) adopted.push({ epoch: reader.varint(), by: reader.varint() });
  const membership = readMembership(reader);
  let snapshot: SnapshotRef | undefined;
  if (reader.u8() === 1) {
    const index = reader.varint();
    const term = reader.varint();
    const file = reader.varint();
    const bytes = reader.varint();
    const crc = reader.u32();
    snapshot = { index, term, file, bytes, crc, membership: readMembership(reader) };
  }
  return { group, born, adopted, doubts, epochs, hardState, membership, snapshot, lastIndex, lastTerm };
}

/** One copy may have forgotten starts of which the segments that the other one lists still hold dead entries; a start stays true for ever. */
function mergeEpochs(a: readonly EpochStart[], b: readonly EpochStart[]): EpochStart[] {
  const merged: EpochStart[] = [];
  for (const start of [...a, ...b].sort((x, y) => x.epoch - y.epoch)) {
    while (merged.length > 0 && merged[merged.length - 1].from >= start.from) merged.pop();
    merged.push(start);
  }
  return merged;
}

/** What two copies of a group's state say together. In the life of a group nothing of it goes back, so the higher value is the newer. */
export function mergeGroupStates(a: GroupState, b: GroupState): GroupState {
  if (a.born !== b.born) return a.born > b.born ? a : b;
  const epochOf = (state: GroupState): number => state.epochs[state.epochs.length - 1]?.epoch ?? 0;
  const later = (x: GroupState, y: GroupState): boolean => {
    if (epochOf(x) !== epochOf(y)) return epochOf(x) > epochOf(y);
    const one = x.snapshot?.index ?? 0;
    const other = y.snapshot?.index ?? 0;
    // One that took the place of an unreadable file at the same index has a higher number.
    return one !== other ? one > other : (x.snapshot?.file ?? 0) >= (y.snapshot?.file ?? 0);
  };
  const base = later(a, b) ? a : b;
  const { hardState: x } = a;
  const { hardState: y } = b;
  const hardState = x.term !== y.term ? (x.term > y.term ? x : y) : x.vote !== 0 ? x : y;
  return { ...base, epochs: mergeEpochs(a.epochs, b.epochs), hardState, doubts: Math.max(a.doubts, b.doubts) };
}

/** First record of a segment. */
export interface SegmentInfo {
  walId: number;
  /** Logical records before this segment. */
  base: number;
  /** The segment before it, and up to where that one was durable; 0 for the first. */
  previous: number;
  previousEnd: number;
  /** The file was created whole and synced with so many bytes (by recovery); 0 otherwise. */
  bornBytes: number;
  /** The state files had at least this generation. */
  generation: number;
}

export function encodeSegmentInfo(info: SegmentInfo): Uint8Array {
  return new ByteWriter(48)
    .u64(info.walId)
    .u64(info.base)
    .u32(info.previous)
    .u64(info.previousEnd)
    .u64(info.bornBytes)
    .u64(info.generation)
    .finish();
}

export function decodeSegmentInfo(body: Uint8Array): SegmentInfo {
  const reader = new ByteReader(body);
  return {
    walId: reader.u64(),
    base: reader.u64(),
    previous: reader.u32(),
    previousEnd: reader.u64(),
    bornBytes: reader.u64(),
    generation: reader.u64(),
  };
}

/** What a batch did to one group: kept apart from the batch, so that its loss can be named. */
export interface BatchSummary {
  group: GroupId;
  epoch: number;
  epochFrom: Index;
  lastIndex: Index;
  lastTerm: Term;
  /** The batch held a state record of the group. */
  state: boolean;
}

/** Stands at the head of a batch: everything before `durableEnd` was synced. Written as encodeMark, the summaries, the copies as a block. */
export interface Mark {
  durableEnd: number;
  /** Number of the batch that follows, in this segment. */
  batch: number;
  /** Logical records before that batch, since the WAL began. */
  position: number;
  /** The state files had at least this generation: older ones were put back by somebody. */
  generation: number;
  /** What the batch before it (in this segment) did. */
  summary: BatchSummary[];
  /** Table (sidecar.ts) of the copies and staged entries in that batch; empty when there were none. No log tells of those. */
  copies: Uint8Array;
}

/** `count` summaries follow. */
export function encodeMark(out: ByteWriter, mark: Omit<Mark, 'summary' | 'copies'>, count: number): void {
  out.u64(mark.durableEnd).varint(mark.batch).varint(mark.position).varint(mark.generation).varint(count);
}

/** The fields of a BatchSummary. */
export function encodeSummary(
  out: ByteWriter,
  group: GroupId,
  epoch: number,
  epochFrom: Index,
  lastIndex: Index,
  lastTerm: Term,
  state: boolean,
): void {
  out.varint(group).varint(epoch).varint(epochFrom).varint(lastIndex).varint(lastTerm);
  out.u8(state ? 1 : 0);
}

export function decodeMark(body: Uint8Array): Mark {
  const reader = new ByteReader(body);
  const durableEnd = reader.u64();
  const batch = reader.varint();
  const position = reader.varint();
  const generation = reader.varint();
  const summary: BatchSummary[] = [];
  for (let left = reader.varint(); left > 0; left--) {
    summary.push({
      group: reader.varint(),
      epoch: reader.varint(),
      epochFrom: reader.varint(),
      lastIndex: reader.varint(),
      lastTerm: reader.varint(),
      state: reader.u8() === 1,
    });
  }
  return { durableEnd, batch, position, generation, summary, copies: reader.block() };
}

const FORMAT_NAME = 'flotilla-wal';

export function encodeFormat(walId: number): Uint8Array {
  const text = `${FORMAT_NAME} ${FORMAT_VERSION} ${walId}`;
  return new TextEncoder().encode(`${text} ${crc32c(text)}\n`);
}

/** 'damaged' when it is not a FORMAT file at all; a version above ours comes back as it is, to be refused. */
export function decodeFormat(bytes: Uint8Array): { version: number; walId: number } | 'damaged' {
  const match = /^(flotilla-wal (\d+) (\d+)) (\d+)\n$/.exec(new TextDecoder().decode(bytes));
  if (match === null || Number(match[4]) !== crc32c(match[1])) return 'damaged';
  return { version: Number(match[2]), walId: Number(match[3]) };
}
