// Snapshot files, one per group and snapshot: `snap/<group>-<index>-<number>`: their format, and reading in chunks of one size, so that neither
// side of a transfer nor a restart ever holds a state as one buffer. Written by snapshot-draft.ts. What makes a file count is a state record in
// the WAL that names it by length and by a checksum over the checksums of its chunks.
// Invariant: a chunk is given out only when its own checksum fits; a state is whole only when the file's checksum is the one that was named.
import type { Env } from '../../src/kit/env.ts';
import { decodeMembership, encodeMembership } from '../core/membership.ts';
import type { GroupId, Membership, SnapshotMeta } from '../core/types.ts';
import type { SnapshotRef } from './bodies.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import type { WalContext } from './context.ts';
import { SNAPSHOT_DIR, snapshotName } from './options.ts';
import { crc32c, FORMAT_VERSION } from './record.ts';

const MAGIC = 0x50414e53;
/** Magic, version, length and checksum of the head. */
const PREFIX_BYTES = 16;
/** Length and checksum; before each chunk, and at the end: {0, checksum over the chunks' checksums}. */
export const CHUNK_HEAD_BYTES = 8;
/** Every chunk but the last has this size. One is what a transfer asks for at a time. */
export const CHUNK_BYTES = 256 * 1024;

export function snapshotPath(dir: string, group: GroupId, ref: SnapshotRef): string {
  return `${dir}/${SNAPSHOT_DIR}/${snapshotName(group, ref.index, ref.file)}`;
}

/** The head's checksum, and that over the chunks' checksums, begin with the magic: neither is ever the checksum of nothing. */
function headCrcOf(head: Uint8Array): number {
  return crc32c(head, MAGIC);
}

export function endCrcOf(chunkCrcs: Uint8Array): number {
  return crc32c(chunkCrcs, MAGIC);
}

/** What stands at the beginning of a file: who and what. */
export function encodeHead(group: GroupId, meta: SnapshotMeta, file: number): Uint8Array {
  const body = new ByteWriter(64).varint(group).varint(meta.index).varint(meta.term).varint(file);
  body.block(encodeMembership(meta.membership));
  const bytes = body.finish();
  return new ByteWriter(bytes.length + PREFIX_BYTES)
    .u32(MAGIC)
    .u32(FORMAT_VERSION)
    .u32(bytes.length)
    .u32(headCrcOf(bytes))
    .raw(bytes)
    .finish();
}

interface Head {
  group: GroupId;
  index: number;
  term: number;
  file: number;
  membership: Membership;
}

function decodeHead(bytes: Uint8Array): Head | undefined {
  const reader = new ByteReader(bytes);
  const group = reader.varint();
  const index = reader.varint();
  const term = reader.varint();
  const file = reader.varint();
  const membership = decodeMembership(reader.block());
  return membership === undefined ? undefined : { group, index, term, file, membership };
}

export interface SnapshotFile {
  group: GroupId;
  ref: SnapshotRef;
}

/** Goes through a whole file of `size` bytes, chunk by chunk; undefined when anything in it is wrong, which may turn out after `take` has
 * had some of its chunks. `read` answers with fewer bytes only beyond the end. */
export function scanSnapshot(
  size: number,
  read: (position: number, length: number) => Uint8Array,
  take: (chunk: Uint8Array) => void,
): SnapshotFile | undefined {
  const prefix = read(0, PREFIX_BYTES);
  if (prefix.length < PREFIX_BYTES) return undefined;
  const reader = new ByteReader(prefix);
  if (reader.u32() !== MAGIC || reader.u32() !== FORMAT_VERSION) return undefined;
  const headLength = reader.u32();
  const headCrc = reader.u32();
  if (headLength > size - PREFIX_BYTES || headLength > CHUNK_BYTES) return undefined;
  const headBytes = read(PREFIX_BYTES, headLength);
  if (headBytes.length !== headLength || headCrcOf(headBytes) !== headCrc) return undefined;
  const head = decodeHead(headBytes);
  if (head === undefined) return undefined;
  const crcs = new ByteWriter(64);
  for (let at = PREFIX_BYTES + headLength; ; ) {
    const bytes = read(at, CHUNK_HEAD_BYTES + CHUNK_BYTES);
    if (bytes.length < CHUNK_HEAD_BYTES) return undefined;
    const chunkHead = new ByteReader(bytes);
    const length = chunkHead.u32();
    const crc = chunkHead.u32();
    if (length === 0) {
      if (crc !== endCrcOf(crcs.written()) || at + CHUNK_HEAD_BYTES !== size) return undefined;
      const { group, index, term, file, membership } = head;
      return { group, ref: { index, term, membership, file, bytes: size, crc } };
    }
    if (length > bytes.length - CHUNK_HEAD_BYTES) return undefined;
    const chunk = bytes.subarray(CHUNK_HEAD_BYTES, CHUNK_HEAD_BYTES + length);
    if (crc32c(chunk) !== crc) return undefined;
    crcs.u32(crc);
    take(chunk);
    at += CHUNK_HEAD_BYTES + length;
  }
}

/** The same of a file on disk, at start-up. Throws what the disk throws. */
export function scanSnapshotSync(env: Env, path: string, take: (chunk: Uint8Array) => void): SnapshotFile | undefined {
  const size = env.disk.sizeSync(path) ?? 0;
  const read = (position: number, length: number): Uint8Array =>
    env.disk.readRangeSync(path, position, Math.max(0, Math.min(length, size - position)));
  return scanSnapshot(size, read, take);
}

export function isSameSnapshot(found: SnapshotFile | undefined, group: GroupId, ref: SnapshotRef): boolean {
  return (
    found !== undefined &&
    found.group === group &&
    found.ref.index === ref.index &&
    found.ref.term === ref.term &&
    found.ref.file === ref.file &&
    found.ref.bytes === ref.bytes &&
    found.ref.crc === ref.crc
  );
}

/** Bytes of the state in the file, and where its chunks lie. */
export function layoutOf(group: GroupId, ref: SnapshotRef): { stateBytes: number; firstAt: number; chunks: number } {
  const firstAt = encodeHead(group, ref, ref.file).length;
  const rest = ref.bytes - firstAt - CHUNK_HEAD_BYTES;
  const chunks = Math.ceil(rest / (CHUNK_HEAD_BYTES + CHUNK_BYTES));
  return { stateBytes: rest - chunks * CHUNK_HEAD_BYTES, firstAt, chunks };
}

/** The verified chunk number `chunk` of the file; undefined: unreadable. */
export function readChunk(
  context: WalContext,
  group: GroupId,
  ref: SnapshotRef,
  chunk: number,
  done: (bytes: Uint8Array | undefined) => void,
): void {
  const { stateBytes, firstAt, chunks } = layoutOf(group, ref);
  if (!Number.isInteger(chunk) || chunk < 0 || chunk >= chunks) {
    done(undefined);
    return;
  }
  const at = firstAt + chunk * (CHUNK_HEAD_BYTES + CHUNK_BYTES);
  const length = Math.min(CHUNK_BYTES, stateBytes - chunk * CHUNK_BYTES);
  context.env.disk.open(snapshotPath(context.dir, group, ref), 'read', (openError, handle) => {
    if (openError !== null || handle === null) {
      done(undefined);
      return;
    }
    handle.read(at, CHUNK_HEAD_BYTES + length, (error, bytes) => {
      handle.close();
      if (error !== null || bytes.length !== CHUNK_HEAD_BYTES + length) {
        done(undefined);
        return;
      }
      const head = new ByteReader(bytes);
      const body = bytes.subarray(CHUNK_HEAD_BYTES);
      done(head.u32() === length && head.u32() === crc32c(body) ? body : undefined);
    });
  });
}
