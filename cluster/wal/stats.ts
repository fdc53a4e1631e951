// Counters of the WAL in plain numbers and arrays, collected by the metrics on scrape.
import type { WalStats } from './types.ts';

/** Upper bounds of the buckets; the last bucket of each histogram counts everything above. */
export const SYNC_MS_BUCKETS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1000] as const;
export const BATCH_BYTES_BUCKETS = [1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24] as const;

export function createStats(): WalStats {
  return {
    segments: 0,
    bytes: 0,
    syncs: 0,
    syncMsTotal: 0,
    syncMsMax: 0,
    recordsWritten: 0,
    bytesWritten: 0,
    lastBatchRecords: 0,
    batches: 0,
    syncMsCounts: new Array(SYNC_MS_BUCKETS.length + 1).fill(0),
    batchBytesCounts: new Array(BATCH_BYTES_BUCKETS.length + 1).fill(0),
    segmentsRemoved: 0,
    bytesCopiedForward: 0,
    damagedReads: 0,
    stateFilesReplaced: 0,
    stateChanges: 0,
    stateFileBytes: 0,
  };
}

function bucketOf(bounds: readonly number[], value: number): number {
  let i = 0;
  while (i < bounds.length && value > bounds[i]) i++;
  return i;
}

export function countBatch(stats: WalStats, records: number, bytes: number): void {
  stats.batches++;
  stats.recordsWritten += records;
  stats.bytesWritten += bytes;
  stats.lastBatchRecords = records;
  stats.batchBytesCounts[bucketOf(BATCH_BYTES_BUCKETS, bytes)]++;
}

export function countSync(stats: WalStats, ms: number): void {
  stats.syncs++;
  stats.syncMsTotal += ms;
  stats.syncMsMax = Math.max(stats.syncMsMax, ms);
  stats.syncMsCounts[bucketOf(SYNC_MS_BUCKETS, ms)]++;
}
