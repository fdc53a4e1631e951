// The chain along a group's log as it is appended: goes on from the entry before, wherever that one's value is to be found. Used by writer.ts
// once an entry, while the group is at hand.
// Invariant: a value that goes on from another one says so; where that one is not known, the record is marked as a beginning.
import type { Index, LogEntry } from '../core/types.ts';
import { type Chain, chainAdd, copyChain } from './chain.ts';
import type { WalContext } from './context.ts';
import type { GroupLog } from './group-log.ts';
import { createHeader, decodeHeader, HEADER_BYTES, RecordFlag } from './record.ts';

/** Moves the group's chain on to `entry`, the next of its log. Returns what the record's flags say of it. */
export function advanceChain(context: WalContext, log: GroupLog, entry: LogEntry): number {
  const { index } = entry;
  let flags = 0;
  if (log.chainIndex !== index - 1) {
    const isKnown = loadChain(context, log, index - 1);
    log.startChain(index, isKnown);
    if (!isKnown) flags = RecordFlag.chainStart;
  }
  chainAdd(log, index, entry.term, entry.kind, entry.crc);
  log.chainIndex = index;
  return flags;
}

/** From the record's header, where the log is rewritten or goes on after a restart: what is no longer in memory is durable. */
function loadChain(context: WalContext, log: GroupLog, index: Index): boolean {
  const { table } = log;
  return table.find(index) && readChainOf(context, table.segment, table.offset, log);
}

const chainHeader = createHeader();

/** The chain value in a record's header on disk, read at once: one small read, only where a log is rewritten or begins after a restart. */
function readChainOf(context: WalContext, segment: number, offset: number, chain: Chain): boolean {
  const path = context.segments.path(segment);
  if (context.env.disk.sizeSync(path) === undefined) return false;
  const bytes = readQuietly(context, path, offset);
  if (bytes === undefined) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const h = chainHeader;
  if (!decodeHeader(bytes, view, 0, h) || h.segment !== segment || h.offset !== offset) return false;
  if ((h.flags & RecordFlag.noChain) !== 0) return false;
  copyChain(h, chain);
  return true;
}

function readQuietly(context: WalContext, path: string, offset: number): Uint8Array | undefined {
  try {
    return context.env.disk.readRangeSync(path, offset, HEADER_BYTES);
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    context.env.log.warn('wal: a header cannot be read', { path, offset, error: error.message });
    return undefined;
  }
}
