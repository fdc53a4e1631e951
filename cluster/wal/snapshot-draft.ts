// A snapshot file in the making, for a group's own state (as fast as the disk takes it) or one that comes from a peer piece by piece. It is written
// under a name that nothing refers to yet, synced, read back and verified. Made by wal.ts.
// Invariants: a file that `finish` answered for is durable and holds what was written; one that is not finished, or discarded, counts for nothing.
import type { DiskFile } from '../../src/kit/env.ts';
import type { GroupId, SnapshotMeta } from '../core/types.ts';
import type { SnapshotRef } from './bodies.ts';
import { ByteWriter } from './bytes.ts';
import { crashPoint, invariant, mustBeGone, mustWork, type WalContext } from './context.ts';
import { SNAPSHOT_DIR } from './options.ts';
import { crc32c } from './record.ts';
import { CHUNK_BYTES, CHUNK_HEAD_BYTES, encodeHead, endCrcOf, snapshotPath } from './snapshots.ts';

/** One call takes about so many bytes from a state, so that neither checksums nor I/O hold up a turn. */
const STEP_BYTES = 1024 * 1024;
/** So much is written between syncs: one sync of a large file would hold up the log's. */
const SYNC_BYTES = 16 * 1024 * 1024;

/** Where a chunk lies, to verify it after writing. */
interface Piece {
  at: number;
  length: number;
  crc: number;
}

export class SnapshotDraft {
  readonly meta: SnapshotMeta;
  /** Bytes of state so far. */
  stateBytes = 0;
  private readonly context: WalContext;
  private readonly ref: SnapshotRef;
  private readonly path: string;
  private readonly pieces: Piece[] = [];
  private readonly crcs = new ByteWriter(64);
  private handle: DiskFile | undefined;
  private position = 0;
  private synced = 0;
  /** Parts of the chunk that is not full yet. */
  private open: Uint8Array[] = [];
  private openBytes = 0;
  /** What is to be written next. */
  private out: Uint8Array[] = [];
  private outBytes = 0;
  private busy = false;
  private discarded = false;

  constructor(context: WalContext, group: GroupId, meta: SnapshotMeta, file: number) {
    this.context = context;
    this.meta = meta;
    this.ref = { index: meta.index, term: meta.term, membership: meta.membership, file, bytes: 0, crc: 0 };
    this.path = snapshotPath(context.dir, group, this.ref);
    this.add(encodeHead(group, meta, file));
  }

  /** Appends bytes, which must not change any more. One call at a time. */
  write(parts: readonly Uint8Array[], done: () => void): void {
    for (const part of parts) this.take(part);
    this.flush(done);
  }

  /** All of a state, a step at a time. */
  writeAll(state: Iterator<Uint8Array>, done: () => void): void {
    const parts: Uint8Array[] = [];
    let bytes = 0;
    while (bytes < STEP_BYTES) {
      const next = state.next();
      if (next.done === true) {
        this.write(parts, done);
        return;
      }
      parts.push(next.value);
      bytes += next.value.length;
    }
    this.write(parts, () => this.writeAll(state, done));
  }

  /** No bytes come any more: the checksum of all of them (StoredSnapshot.crc). */
  seal(): number {
    this.closeChunk();
    return endCrcOf(this.crcs.written());
  }

  /** Ends, syncs and verifies the file; `done` gets what a state record must name. */
  finish(done: (ref: SnapshotRef) => void): void {
    const { context, ref } = this;
    ref.crc = this.seal();
    this.add(new ByteWriter(CHUNK_HEAD_BYTES).u32(0).u32(ref.crc).finish());
    this.flush(() => {
      ref.bytes = this.position;
      crashPoint(context, 'wal.snapshot.written');
      const handle = this.handle as DiskFile;
      handle.sync((syncError) => {
        mustWork(context, `syncing ${this.path}`, syncError);
        crashPoint(context, 'wal.snapshot.synced');
        context.env.disk.syncDir(`${context.dir}/${SNAPSHOT_DIR}`, (dirError) => {
          mustWork(context, `syncing the directory of ${this.path}`, dirError);
          crashPoint(context, 'wal.snapshot.dir-synced');
          this.verify(handle, 0, () => done(ref));
        });
      });
    });
  }

  /** Nothing will come of it. */
  discard(): void {
    this.discarded = true;
    this.open = [];
    if (!this.busy) this.remove();
  }

  /** Cuts into chunks of one size. */
  private take(part: Uint8Array): void {
    let at = 0;
    this.stateBytes += part.length;
    while (at < part.length) {
      const piece = part.subarray(at, at + CHUNK_BYTES - this.openBytes);
      this.open.push(piece);
      this.openBytes += piece.length;
      at += piece.length;
      if (this.openBytes === CHUNK_BYTES) this.closeChunk();
    }
  }

  private closeChunk(): void {
    const length = this.openBytes;
    if (length === 0) return;
    let crc = 0;
    for (const part of this.open) crc = crc32c(part, crc);
    this.crcs.u32(crc);
    this.pieces.push({ at: this.position + this.outBytes + CHUNK_HEAD_BYTES, length, crc });
    this.add(new ByteWriter(CHUNK_HEAD_BYTES).u32(length).u32(crc).finish());
    for (const part of this.open) this.add(part);
    this.open = [];
    this.openBytes = 0;
  }

  private add(bytes: Uint8Array): void {
    this.out.push(bytes);
    this.outBytes += bytes.length;
  }

  private flush(done: () => void): void {
    const { context, path } = this;
    invariant(context, !this.busy && !this.discarded, `${path} is written twice at a time, or after it was given up`);
    this.busy = true;
    const { out, outBytes } = this;
    this.out = [];
    this.outBytes = 0;
    const write = (handle: DiskFile): void => {
      handle.write(out, this.position, (error) => {
        mustWork(context, `writing ${path}`, error);
        this.position += outBytes;
        if (this.position - this.synced < SYNC_BYTES) {
          this.written(done);
          return;
        }
        this.synced = this.position;
        handle.sync((syncError) => {
          mustWork(context, `syncing ${path}`, syncError);
          this.written(done);
        });
      });
    };
    if (this.handle !== undefined) {
      write(this.handle);
      return;
    }
    context.env.disk.open(path, 'create', (error, handle) => {
      mustWork(context, `creating ${path}`, error);
      this.handle = handle as DiskFile;
      write(this.handle);
    });
  }

  private written(done: () => void): void {
    this.busy = false;
    if (this.discarded) this.remove();
    else done();
  }

  private verify(handle: DiskFile, i: number, done: () => void): void {
    const { context, path, pieces } = this;
    if (i === pieces.length) {
      handle.close();
      crashPoint(context, 'wal.snapshot.verified');
      done();
      return;
    }
    const { at, length, crc } = pieces[i];
    handle.read(at, length, (error, bytes) => {
      mustWork(context, `reading back ${path}`, error);
      const same = bytes.length === length && crc32c(bytes) === crc;
      invariant(context, same, `${path} does not hold what was written`);
      this.verify(handle, i + 1, done);
    });
  }

  private remove(): void {
    const { context, handle, path } = this;
    if (handle === undefined) return;
    handle.close();
    this.handle = undefined;
    context.env.disk.unlink(path, (error) => mustBeGone(context, path, error));
  }
}
