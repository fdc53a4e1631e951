// The numbers of the WAL, each with its unit, and the names of its files. Used by every file of the room.
import type { GroupId, Index } from '../core/types.ts';

export interface WalOptions {
  /** A segment is sealed when the next batch would make it larger. */
  segmentBytes: number;
  /** Budget of the memory tail, for all groups. */
  tailBytes: number;
  /** The same once the oldest entry was released. */
  tailReleasedBytes: number;
  /** So many zeros follow a batch that makes the file grow, so that the syncs of the next ones need not journal it (ADR 0002). 0: none. */
  zeroBytes: number;
  /** After so long without a batch a mark says that the last one is durable. */
  idleMarkMs: number;
  /** A sealed segment with at most this share of live bytes is copied forward. */
  compactLiveShare: number;
  /** Upper bound of what one compact() call copies. */
  compactBytesMax: number;
  /** The data directory has belonged to a cluster before, so there were groups in it, or it has not. Not said: what is on disk tells. */
  used?: boolean;
}

export const defaultWalOptions: WalOptions = {
  segmentBytes: 64 * 1024 * 1024,
  tailBytes: 16 * 1024 * 1024,
  tailReleasedBytes: 2 * 1024 * 1024,
  zeroBytes: 512 * 1024,
  idleMarkMs: 20,
  compactLiveShare: 0.5,
  compactBytesMax: 64 * 1024 * 1024,
};

export const FORMAT_FILE = 'FORMAT';
export const STATE_FILES = ['state-a', 'state-b'] as const;
export const TAIL_FILES = ['tail-a', 'tail-b'] as const;
export const SNAPSHOT_DIR = 'snap';
export const QUARANTINE_DIR = 'quarantine';

const hex = (id: number): string => id.toString(16).padStart(8, '0');

export const segmentName = (id: number): string => `${hex(id)}.seg`;
export const sidecarName = (id: number): string => `${hex(id)}.idx`;
export const snapshotName = (group: GroupId, index: Index, file: number): string => `${group}-${index}-${file}`;

/** Segment id of a `.seg` or `.idx` name, 0 for other names. */
export function segmentOfName(name: string, ending: '.seg' | '.idx'): number {
  return name.length === 12 && name.endsWith(ending) && /^[0-9a-f]{8}/.test(name) ? Number.parseInt(name, 16) : 0;
}

export function parseSnapshotName(name: string): { group: GroupId; index: Index; file: number } | undefined {
  const match = /^(\d+)-(\d+)-(\d+)$/.exec(name);
  return match === null ? undefined : { group: Number(match[1]), index: Number(match[2]), file: Number(match[3]) };
}

/** Where a node may be stopped between two durable steps; the simulator stops at each (Env.crashPoint). */
export const WAL_CRASH_POINTS = [
  'wal.recover.segment',
  'wal.recover.state',
  'wal.recover.sidecar',
  'wal.batch.encoded',
  'wal.batch.written',
  'wal.batch.synced',
  'wal.state.replaced',
  'wal.state.written',
  'wal.state.appended',
  'wal.segment.created',
  'wal.segment.dir-synced',
  'wal.segment.activated',
  'wal.seal.sidecar',
  'wal.mark.idle',
  'wal.snapshot.written',
  'wal.snapshot.synced',
  'wal.snapshot.dir-synced',
  'wal.snapshot.verified',
  'wal.snapshot.switched',
  'wal.snapshot.unlinked',
  'wal.install.staged',
  'wal.install.kept',
  'wal.install.switched',
  'wal.compact.copied',
  'wal.compact.listed',
  'wal.compact.unlinked',
] as const;
export type WalCrashPoint = (typeof WAL_CRASH_POINTS)[number];
