// The codec of a state file: an image of what is known of all groups and of which segments there are, then changes of it, appended one after the
// other. Pure. Used by state-keeper.ts, which writes, and by recovery. Invariants: an image is believed only whole; a change only whole and if it
// follows the one before it, so what is read is always a state that was once true; nothing that is not checksummed is looked at.
import type { GroupId } from '../core/types.ts';
import { encodeGroupState, type GroupState, readGroupState } from './bodies.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { crc32c, FORMAT_VERSION } from './record.ts';

/** The second copy of what is known about groups, and which segments there are. Written to both state files, so that one is enough. */
export interface StateFile {
  walId: number;
  generation: number;
  /** Records were lost, and with them perhaps all that was known of some group: one that is not listed may have been here. */
  groupsUnsure: boolean;
  /** All segments that must be there, ascending; the last one is active. */
  segments: number[];
  /** The active segment was durable up to here. */
  durableEnd: number;
  /** Logical records durable by then. */
  position: number;
  groups: GroupState[];
}

/** What became different of the groups since the generation before. */
export interface StateChange {
  generation: number;
  durableEnd: number;
  position: number;
  /** Applied before `groups`: one of the same id may have been created since. */
  removed: readonly GroupId[];
  groups: readonly GroupState[];
}

const IMAGE_MAGIC = 0x54535746;
const CHANGE_MAGIC = 0x43535746;
/** Magic, version and checksum stand in the files of all versions, then what the checksum covers. It begins with its length. */
const COVERED_AT = 12;
const IMAGE_HEAD_BYTES = 16;
const CHANGE_HEAD_BYTES = 12;
const GROUP_BYTES = 96;

function putGroups(out: ByteWriter, groups: readonly GroupState[]): void {
  out.varint(groups.length);
  for (const group of groups) {
    out.varint(group.group);
    encodeGroupState(out, group);
  }
}

export function encodeStateFile(state: StateFile): Uint8Array {
  const out = new ByteWriter(256 + state.groups.length * GROUP_BYTES);
  out.u32(IMAGE_MAGIC).u32(FORMAT_VERSION).u32(0).u32(0).u64(state.walId).varint(state.generation);
  out.u8(state.groupsUnsure ? 1 : 0);
  out.varint(state.durableEnd).varint(state.position).varint(state.segments.length);
  for (const segment of state.segments) out.varint(segment);
  putGroups(out, state.groups);
  out.setU32(COVERED_AT, out.length - IMAGE_HEAD_BYTES);
  out.setU32(8, crc32c(out.written(COVERED_AT), FORMAT_VERSION));
  return out.finish();
}

export function encodeStateChange(change: StateChange): Uint8Array {
  const out = new ByteWriter(64 + change.groups.length * GROUP_BYTES);
  out.u32(CHANGE_MAGIC).u32(0).u32(0);
  out.varint(change.generation).varint(change.durableEnd).varint(change.position);
  out.varint(change.removed.length);
  for (const group of change.removed) out.varint(group);
  putGroups(out, change.groups);
  out.setU32(8, out.length - CHANGE_HEAD_BYTES);
  out.setU32(4, crc32c(out.written(8), FORMAT_VERSION));
  return out.finish();
}

/** Where the image of this version ends; undefined: damaged. */
function endOfImage(bytes: Uint8Array, crc: number, version: number): number | undefined {
  if (bytes.length < IMAGE_HEAD_BYTES) return undefined;
  const end = IMAGE_HEAD_BYTES + new ByteReader(bytes, COVERED_AT).u32();
  return end <= bytes.length && crc32c(bytes.subarray(COVERED_AT, end), version) === crc ? end : undefined;
}

/** The version of a state file, whatever it is; undefined: damaged. Holds for all versions: magic, version, a checksum that begins with the
 * version, over an image of the length that it begins with, or (up to version 3) over all of the rest. */
export function versionOfState(bytes: Uint8Array): number | undefined {
  if (bytes.length < COVERED_AT) return undefined;
  const reader = new ByteReader(bytes);
  const magic = reader.u32();
  const version = reader.u32();
  const crc = reader.u32();
  if (magic !== IMAGE_MAGIC) return undefined;
  const isWhole = crc32c(bytes.subarray(COVERED_AT), version) === crc || endOfImage(bytes, crc, version) !== undefined;
  return isWhole ? version : undefined;
}

/** Undefined: the image is damaged. Changes count up to the first that is not whole, or does not follow. */
export function decodeStateFile(bytes: Uint8Array): StateFile | undefined {
  if (versionOfState(bytes) !== FORMAT_VERSION) return undefined;
  const end = endOfImage(bytes, new ByteReader(bytes, 8).u32(), FORMAT_VERSION);
  if (end === undefined || end === IMAGE_HEAD_BYTES) return undefined;
  const reader = new ByteReader(bytes.subarray(0, end), IMAGE_HEAD_BYTES);
  const walId = reader.u64();
  const generation = reader.varint();
  const groupsUnsure = reader.u8() === 1;
  const durableEnd = reader.varint();
  const position = reader.varint();
  const segments: number[] = [];
  for (let left = reader.varint(); left > 0; left--) segments.push(reader.varint());
  const groups = new Map<GroupId, GroupState>();
  readGroups(reader, groups);
  const state = { walId, generation, groupsUnsure, segments, durableEnd, position };
  let at = end;
  while (at < bytes.length) {
    const length = readChange(bytes, at, state, groups);
    if (length === 0) break;
    at += length;
  }
  return { ...state, groups: [...groups.values()] };
}

function readGroups(reader: ByteReader, groups: Map<GroupId, GroupState>): void {
  for (let left = reader.varint(); left > 0; left--) {
    const state = readGroupState(reader.varint(), reader);
    groups.set(state.group, state);
  }
}

/** Applies the change that begins at `at` and answers its length; 0: there is none that follows. */
function readChange(
  bytes: Uint8Array,
  at: number,
  state: Omit<StateFile, 'groups'>,
  groups: Map<GroupId, GroupState>,
): number {
  if (at + CHANGE_HEAD_BYTES > bytes.length) return 0;
  const head = new ByteReader(bytes, at);
  const magic = head.u32();
  const crc = head.u32();
  const length = head.u32();
  const end = at + CHANGE_HEAD_BYTES + length;
  if (magic !== CHANGE_MAGIC || end > bytes.length) return 0;
  if (crc32c(bytes.subarray(at + 8, end), FORMAT_VERSION) !== crc) return 0;
  const reader = new ByteReader(bytes.subarray(0, end), at + CHANGE_HEAD_BYTES);
  const generation = reader.varint();
  if (generation !== state.generation + 1) return 0;
  state.generation = generation;
  state.durableEnd = reader.varint();
  state.position = reader.varint();
  for (let left = reader.varint(); left > 0; left--) groups.delete(reader.varint());
  readGroups(reader, groups);
  return end - at;
}
