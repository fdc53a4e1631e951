// Snapshot files, one per group and snapshot: `snap/<group>-<index>-<number>`. Written chunk by chunk under a name that nothing refers to yet,
// synced, read back and verified; what makes it count is a state record in the WAL that names it. The one before is unlinked after that.
// Invariant: a file that a durable state record names was verified; a file that no state record names counts for nothing.
import type { DiskFile } from '../../src/kit/env.ts';
import { decodeMembership, encodeMembership } from '../core/membership.ts';
import type { GroupId, Membership, SnapshotMeta } from '../core/types.ts';
import type { SnapshotRef } from './bodies.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { crashPoint, invariant, mustWork, type WalContext } from './context.ts';
import { SNAPSHOT_DIR, snapshotName } from './options.ts';
import { crc32c } from './record.ts';

const MAGIC = 0x50414e53;
const VERSION = 1;
const CHUNK_BYTES = 1024 * 1024;
const CHUNK_HEAD_BYTES = 8;
/** One write call takes at most so many bytes, so that neither checksums nor I/O hold up a turn. */
const WRITE_BYTES = 4 * 1024 * 1024;

export function snapshotPath(dir: string, group: GroupId, ref: SnapshotRef): string {
  return `${dir}/${SNAPSHOT_DIR}/${snapshotName(group, ref.index, ref.file)}`;
}

/** u32 magic, version, length, crc; then the head: who and what; then chunks {u32 length, u32 crc, bytes}; then {0, crc over chunk crcs}. */
function encodeHead(group: GroupId, meta: SnapshotMeta, file: number): Uint8Array {
  const body = new ByteWriter(64).varint(group).varint(meta.index).varint(meta.term).varint(file);
  body.block(encodeMembership(meta.membership));
  const bytes = body.finish();
  return new ByteWriter(bytes.length + 16)
    .u32(MAGIC)
    .u32(VERSION)
    .u32(bytes.length)
    .u32(crc32c(bytes))
    .raw(bytes)
    .finish();
}

export interface SnapshotContent {
  group: GroupId;
  ref: SnapshotRef;
  state: Uint8Array;
}

/** The whole file, verified; undefined when anything in it is wrong. `state` is a copy. */
export function decodeSnapshot(bytes: Uint8Array): SnapshotContent | undefined {
  if (bytes.length < 16) return undefined;
  const reader = new ByteReader(bytes);
  if (reader.u32() !== MAGIC || reader.u32() !== VERSION) return undefined;
  const headLength = reader.u32();
  const headCrc = reader.u32();
  if (headLength > reader.left) return undefined;
  const headBytes = reader.raw(headLength);
  if (crc32c(headBytes) !== headCrc) return undefined;
  const head = new ByteReader(headBytes);
  const group = head.varint();
  const index = head.varint();
  const term = head.varint();
  const file = head.varint();
  const membership: Membership | undefined = decodeMembership(head.block());
  if (membership === undefined) return undefined;
  const chunks: Uint8Array[] = [];
  const crcs = new ByteWriter(64);
  let size = 0;
  for (;;) {
    if (reader.left < CHUNK_HEAD_BYTES) return undefined;
    const length = reader.u32();
    const crc = reader.u32();
    if (length === 0) {
      if (crc !== crc32c(crcs.written()) || reader.left !== 0) return undefined;
      const state = new Uint8Array(size);
      let at = 0;
      for (const chunk of chunks) {
        state.set(chunk, at);
        at += chunk.length;
      }
      return { group, ref: { index, term, membership, file, bytes: bytes.length, crc }, state };
    }
    if (length > reader.left) return undefined;
    const chunk = reader.raw(length);
    if (crc32c(chunk) !== crc) return undefined;
    chunks.push(chunk);
    crcs.u32(crc);
    size += length;
  }
}

/** Where each chunk lies, to verify it after writing. */
interface Piece {
  at: number;
  length: number;
  crc: number;
}

/** Writes, syncs and verifies a new file; `done` gets what a state record must name. */
export function writeSnapshot(
  context: WalContext,
  group: GroupId,
  meta: SnapshotMeta,
  file: number,
  parts: readonly Uint8Array[],
  done: (ref: SnapshotRef) => void,
): void {
  const { disk } = context.env;
  const ref: SnapshotRef = { index: meta.index, term: meta.term, membership: meta.membership, file, bytes: 0, crc: 0 };
  const path = snapshotPath(context.dir, group, ref);
  const pieces: Piece[] = [];
  const crcs = new ByteWriter(64);
  let part = 0;
  let partAt = 0;
  let position = 0;

  const writeMore = (handle: DiskFile): void => {
    const buffers: Uint8Array[] = [];
    let size = 0;
    const add = (bytes: Uint8Array): void => {
      buffers.push(bytes);
      size += bytes.length;
    };
    if (position === 0) add(encodeHead(group, meta, file));
    while (part < parts.length && size < WRITE_BYTES) {
      const chunk = parts[part].subarray(partAt, partAt + CHUNK_BYTES);
      partAt += chunk.length;
      if (partAt === parts[part].length) {
        part++;
        partAt = 0;
      }
      if (chunk.length === 0) continue;
      const crc = crc32c(chunk);
      crcs.u32(crc);
      pieces.push({ at: position + size + CHUNK_HEAD_BYTES, length: chunk.length, crc });
      add(new ByteWriter(CHUNK_HEAD_BYTES).u32(chunk.length).u32(crc).finish());
      add(chunk);
    }
    const last = part === parts.length;
    if (last) {
      ref.crc = crc32c(crcs.written());
      add(new ByteWriter(CHUNK_HEAD_BYTES).u32(0).u32(ref.crc).finish());
    }
    handle.write(buffers, position, (error) => {
      mustWork(context, `writing ${path}`, error);
      position += size;
      if (last) finish(handle);
      else writeMore(handle);
    });
  };

  const finish = (handle: DiskFile): void => {
    ref.bytes = position;
    crashPoint(context, 'wal.snapshot.written');
    handle.sync((syncError) => {
      mustWork(context, `syncing ${path}`, syncError);
      crashPoint(context, 'wal.snapshot.synced');
      disk.syncDir(`${context.dir}/${SNAPSHOT_DIR}`, (dirError) => {
        mustWork(context, `syncing the directory of ${path}`, dirError);
        crashPoint(context, 'wal.snapshot.dir-synced');
        check(handle, 0);
      });
    });
  };

  const check = (handle: DiskFile, i: number): void => {
    if (i === pieces.length) {
      handle.close();
      crashPoint(context, 'wal.snapshot.verified');
      done(ref);
      return;
    }
    const piece = pieces[i];
    handle.read(piece.at, piece.length, (error, bytes) => {
      mustWork(context, `reading back ${path}`, error);
      invariant(
        context,
        bytes.length === piece.length && crc32c(bytes) === piece.crc,
        `${path} does not hold what was written`,
      );
      check(handle, i + 1);
    });
  };

  disk.open(path, 'create', (error, handle) => {
    mustWork(context, `creating ${path}`, error);
    writeMore(handle as DiskFile);
  });
}

/** The verified content of the file that `ref` names; undefined: unreadable. */
export function readSnapshotFile(
  context: WalContext,
  group: GroupId,
  ref: SnapshotRef,
  done: (content: SnapshotContent | undefined) => void,
): void {
  context.env.disk.open(snapshotPath(context.dir, group, ref), 'read', (error, handle) => {
    if (error !== null || handle === null) {
      done(undefined);
      return;
    }
    const whole = new Uint8Array(ref.bytes);
    const more = (at: number): void => {
      if (at === whole.length) {
        handle.close();
        done(matching(decodeSnapshot(whole), group, ref));
        return;
      }
      handle.read(at, Math.min(WRITE_BYTES, whole.length - at), (readError, bytes) => {
        if (readError !== null || bytes.length === 0) {
          handle.close();
          done(undefined);
          return;
        }
        whole.set(bytes, at);
        more(at + bytes.length);
      });
    };
    more(0);
  });
}

export function matching(
  content: SnapshotContent | undefined,
  group: GroupId,
  ref: SnapshotRef,
): SnapshotContent | undefined {
  const same =
    content !== undefined &&
    content.group === group &&
    content.ref.index === ref.index &&
    content.ref.term === ref.term &&
    content.ref.file === ref.file &&
    content.ref.crc === ref.crc;
  return same ? content : undefined;
}
