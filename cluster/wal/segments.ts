// The segments on disk: how much of each is live, and open files to read them. Shared by writer, reader, compaction and recovery.
// Invariant: liveRecords of a segment is the number of entries whose location is in it; a segment is only unlinked at zero.
import type { DiskFile, Env } from '../../src/kit/env.ts';
import type { LiveAccounting } from './location-table.ts';
import { segmentName } from './options.ts';
import { recordBytes } from './record.ts';

export interface Segment {
  id: number;
  /** Bytes that hold records. */
  end: number;
  /** Size of the file. */
  bytes: number;
  /** Immutable, its sidecar is durable. */
  sealed: boolean;
  liveRecords: number;
  liveBytes: number;
  /** Something in it could not be read: never unlinked, but moved to quarantine. */
  doubtful: boolean;
  /** Its place in the order of examination by the compactor. */
  examined: number;
}

interface Handle {
  file: DiskFile | undefined;
  users: number;
  waiting: ((file: DiskFile | undefined) => void)[];
  /** The segment is gone: close when nobody reads. */
  dropped: boolean;
}

const HANDLES_MAX = 64;

export class SegmentSet implements LiveAccounting {
  readonly all = new Map<number, Segment>();
  /** Removed, but perhaps still on disk, or there again after a power cut: a start that cannot trust the list of segments reads them. */
  private readonly leaving = new Set<number>();
  /** What earlier lives unlinked is durably gone: this one has synced the directory. */
  private settled = false;
  private readonly env: Env;
  private readonly dir: string;
  private readonly handles = new Map<number, Handle>();

  constructor(env: Env, dir: string) {
    this.env = env;
    this.dir = dir;
  }

  ids(): number[] {
    return [...this.all.keys()].sort((a, b) => a - b);
  }

  /** No file that is known holds a record of an older one. */
  oldestKnown(): number {
    let oldest = Number.MAX_SAFE_INTEGER;
    for (const id of this.all.keys()) oldest = Math.min(oldest, id);
    for (const id of this.leaving) oldest = Math.min(oldest, id);
    return oldest;
  }

  /** No file holds a record of an older one, and none will after a power cut. */
  oldestOnDisk(): number {
    return this.settled ? this.oldestKnown() : 0;
  }

  /** The directory was synced. */
  settle(): void {
    this.settled = true;
  }

  totalBytes(): number {
    let bytes = 0;
    for (const segment of this.all.values()) bytes += segment.bytes;
    return bytes;
  }

  create(id: number, bytes: number): Segment {
    const segment = {
      id,
      end: bytes,
      bytes,
      sealed: false,
      liveRecords: 0,
      liveBytes: 0,
      doubtful: false,
      examined: 0,
    };
    this.all.set(id, segment);
    return segment;
  }

  add(id: number, bodyLength: number): void {
    const segment = this.all.get(id);
    if (segment === undefined) return;
    segment.liveRecords++;
    segment.liveBytes += recordBytes(bodyLength);
  }

  remove(id: number, bodyLength: number): void {
    const segment = this.all.get(id);
    if (segment === undefined) return;
    segment.liveRecords--;
    segment.liveBytes -= recordBytes(bodyLength);
  }

  path(id: number): string {
    return `${this.dir}/${segmentName(id)}`;
  }

  /** Lends the segment's file for reading; undefined: it cannot be opened. Give it back with release(). */
  borrow(id: number, use: (file: DiskFile | undefined) => void): void {
    const known = this.handles.get(id);
    if (known !== undefined) {
      known.users++;
      if (known.file === undefined) known.waiting.push(use);
      else use(known.file);
      return;
    }
    const handle: Handle = { file: undefined, users: 1, waiting: [use], dropped: false };
    this.handles.set(id, handle);
    this.closeIdle();
    this.env.disk.open(this.path(id), 'read', (error, file) => {
      if (error !== null && this.handles.get(id) === handle) this.handles.delete(id);
      handle.file = file ?? undefined;
      const { waiting } = handle;
      handle.waiting = [];
      for (const next of waiting) next(handle.file);
    });
  }

  release(id: number): void {
    const handle = this.handles.get(id);
    if (handle === undefined) return;
    handle.users--;
    if (handle.dropped && handle.users === 0) {
      handle.file?.close();
      this.handles.delete(id);
    }
  }

  /** Its file counts no more, and is not durably gone. */
  leave(id: number): void {
    this.leaving.add(id);
  }

  /** Its file is durably gone. */
  gone(id: number): void {
    this.leaving.delete(id);
  }

  /** The segment is about to be unlinked or moved. */
  drop(id: number): void {
    this.all.delete(id);
    this.leave(id);
    const handle = this.handles.get(id);
    if (handle === undefined) return;
    handle.dropped = true;
    handle.users++;
    this.release(id);
  }

  private closeIdle(): void {
    if (this.handles.size <= HANDLES_MAX) return;
    for (const [id, handle] of this.handles) {
      if (handle.users > 0 || handle.file === undefined) continue;
      handle.file.close();
      this.handles.delete(id);
      return;
    }
  }

  close(): void {
    for (const handle of this.handles.values()) handle.file?.close();
    this.handles.clear();
  }
}
