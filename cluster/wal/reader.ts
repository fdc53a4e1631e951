// Reads entries back from segments, verified one by one: header checksum, own segment and offset, group and index, body checksum, and the
// chain between neighbours. Used by wal.ts (readEntries) and compaction. What cannot be verified is reported as damage, never returned.
// Invariant: an entry that is returned is the one that the location table named when the read began and still names.
import { decodeMembership } from '../core/membership.ts';
import { EntryKind, type Index, type LogEntry } from '../core/types.ts';
import { type Chain, chainAdd, copyChain } from './chain.ts';
import type { WalContext } from './context.ts';
import type { GroupLog } from './group-log.ts';
import type { LocationTable } from './location-table.ts';
import {
  checkBody,
  createHeader,
  decodeHeader,
  HEADER_BYTES,
  RecordFlag,
  type RecordHeader,
  RecordType,
  recordBytes,
} from './record.ts';

/** One read spans at most so many bytes (more for one large record) ... */
const READ_BYTES_MAX = 4 * 1024 * 1024;
/** ... and jumps over at most so many bytes of other groups. */
const GAP_BYTES_MAX = 64 * 1024;
/** A place that moved while it was being read is looked up again. */
const RETRIES_MAX = 8;

/** Entries of one segment that one read covers. */
interface Span {
  segment: number;
  from: number;
  to: number;
  indexes: Index[];
  offsets: number[];
}

function spanAt(table: LocationTable, first: Index, last: Index, bytesMax: number): Span | undefined {
  if (!table.find(first)) return undefined;
  const { segment } = table;
  const span: Span = { segment, from: table.offset, to: table.offset, indexes: [], offsets: [] };
  let bytes = 0;
  for (let index = first; index <= last; index++) {
    if (!table.find(index) || table.segment !== segment) break;
    const end = table.offset + recordBytes(table.bodyLength);
    const gap = table.offset - span.to;
    bytes += table.bodyLength;
    if (index > first && (gap < 0 || gap > GAP_BYTES_MAX || end - span.from > READ_BYTES_MAX || bytes > bytesMax))
      break;
    span.to = end;
    span.indexes.push(index);
    span.offsets.push(table.offset);
  }
  return span;
}

/** The entry whose record lies at `at` in `bytes`, if every check holds. */
function verify(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  h: RecordHeader,
  group: number,
  index: Index,
  span: Span,
): LogEntry | undefined {
  if (!decodeHeader(bytes, view, at, h)) return undefined;
  if (h.type !== RecordType.entry || h.group !== group || h.index !== index) return undefined;
  if (h.segment !== span.segment || h.offset !== span.from + at) return undefined;
  const body = bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + h.bodyLength);
  if (body.length !== h.bodyLength || !checkBody(body, h.bodyCrc)) return undefined;
  const entry: LogEntry = { index, term: h.term, kind: h.entryKind as LogEntry['kind'], body, crc: h.bodyCrc };
  if (h.entryKind === EntryKind.membership) {
    entry.membership = decodeMembership(body);
    if (entry.membership === undefined) return undefined;
  }
  return entry;
}

/** Remembers the chain value of the entry before, to check the next. */
class ChainCheck {
  private readonly chain: Chain = { chain0: 0, chain1: 0, chain2: 0, chain3: 0 };
  private index: Index = -1;

  continues(h: RecordHeader): boolean {
    if ((h.flags & RecordFlag.noChain) !== 0) {
      this.index = -1;
      return true;
    }
    const { chain } = this;
    const known = this.index === h.index - 1 && (h.flags & RecordFlag.chainStart) === 0;
    if (known) chainAdd(chain, h.index, h.term, h.entryKind, h.bodyCrc);
    const { chain0, chain1, chain2, chain3 } = h;
    const fits =
      chain.chain0 === chain0 && chain.chain1 === chain1 && chain.chain2 === chain2 && chain.chain3 === chain3;
    copyChain(h, chain);
    this.index = h.index;
    return !known || fits;
  }
}

export class Reader {
  private readonly context: WalContext;
  /** Waits for the next flush: what is not durable yet and no longer in memory. */
  private readonly afterFlush: (retry: () => void) => void;
  private readonly isDurable: (segment: number, offset: number) => boolean;
  private readonly header = createHeader();

  constructor(
    context: WalContext,
    afterFlush: (retry: () => void) => void,
    isDurable: (segment: number, offset: number) => boolean,
  ) {
    this.context = context;
    this.afterFlush = afterFlush;
    this.isDurable = isDurable;
  }

  /** From memory where possible; stops at what is missing, damaged, or beyond `bytesMax` (but gives at least one). */
  read(
    group: GroupLog,
    first: Index,
    last: Index,
    bytesMax: number,
    done: (entries: LogEntry[] | undefined) => void,
  ): void {
    this.more(group, group.epoch, first, last, bytesMax, [], 0, done);
  }

  private more(
    group: GroupLog,
    epoch: number,
    first: Index,
    last: Index,
    bytesMax: number,
    found: LogEntry[],
    tries: number,
    done: (entries: LogEntry[] | undefined) => void,
  ): void {
    let at = first;
    let left = bytesMax;
    for (const entry of found) left -= entry.body.length;
    for (;;) {
      const entry = at <= last ? group.held(at) : undefined;
      if (entry === undefined || (found.length > 0 && entry.body.length > left)) break;
      found.push(entry);
      left -= entry.body.length;
      at++;
    }
    const known = at <= last && !group.deleted && group.table.find(at);
    const full = found.length > 0 && (group.held(at) !== undefined || (known && group.table.bodyLength > left));
    const span = !known || full ? undefined : spanAt(group.table, at, last, left);
    if (span === undefined) {
      done(found.length > 0 ? found : undefined);
      return;
    }
    if (!this.isDurable(span.segment, span.from)) {
      this.afterFlush(() => this.more(group, epoch, at, last, bytesMax, found, tries + 1, done));
      return;
    }
    this.readSpan(group, span, (entries) => {
      if (group.deleted) {
        done(undefined);
        return;
      }
      // A log that was rewritten meanwhile: what was read before may not fit what follows.
      if (group.epoch !== epoch) {
        if (tries >= RETRIES_MAX) done(undefined);
        else this.more(group, group.epoch, found[0]?.index ?? first, last, bytesMax, [], tries + 1, done);
        return;
      }
      for (const entry of entries) found.push(entry);
      const next = at + entries.length;
      const lastRead = next - 1;
      if (entries.length === span.indexes.length) {
        if (next > last || !group.table.find(next)) done(found);
        else this.more(group, epoch, next, last, bytesMax, found, tries, done);
        return;
      }
      // The entry after the last good one is bad, unless it moved while we read.
      const bad = span.indexes[entries.length];
      const movedOn =
        group.table.find(bad) &&
        (group.table.segment !== span.segment || group.table.offset !== span.offsets[entries.length]);
      if (movedOn && tries < RETRIES_MAX) {
        this.more(group, epoch, lastRead + 1, last, bytesMax, found, tries + 1, done);
        return;
      }
      this.foundDamage(group, bad, span);
      done(found.length > 0 ? found : undefined);
    });
  }

  /** Verifies first..last on disk, as far as one read goes: so many are good, and whether the next one is damaged. */
  verify(group: GroupLog, first: Index, last: Index, done: (good: number, damaged: boolean) => void): void {
    const span = group.deleted ? undefined : spanAt(group.table, first, last, READ_BYTES_MAX);
    if (span === undefined || !this.isDurable(span.segment, span.from)) {
      done(1, false);
      return;
    }
    this.readSpan(group, span, (entries) => {
      const good = entries.length;
      if (good === span.indexes.length) {
        done(good, false);
        return;
      }
      const { table } = group;
      const still = !group.deleted && table.find(span.indexes[good]) && table.offset === span.offsets[good];
      const damaged = still && table.segment === span.segment;
      if (damaged) this.foundDamage(group, span.indexes[good], span);
      done(damaged ? good : good + 1, damaged);
    });
  }

  /** The good entries of the span, up to the first bad one. */
  private readSpan(group: GroupLog, span: Span, done: (entries: LogEntry[]) => void): void {
    const { segments } = this.context;
    segments.borrow(span.segment, (file) => {
      if (file === undefined) {
        segments.release(span.segment);
        done([]);
        return;
      }
      file.read(span.from, span.to - span.from, (error, bytes) => {
        segments.release(span.segment);
        // EIO on a range: a latent sector error is damage of what lies there, found record by record.
        if (error !== null && span.indexes.length > 1) {
          this.readSpan(
            group,
            { ...span, to: span.offsets[1], indexes: span.indexes.slice(0, 1), offsets: span.offsets.slice(0, 1) },
            done,
          );
          return;
        }
        done(error !== null ? [] : this.verifySpan(group, span, bytes));
      });
    });
  }

  private verifySpan(group: GroupLog, span: Span, bytes: Uint8Array): LogEntry[] {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const check = new ChainCheck();
    const entries: LogEntry[] = [];
    for (let i = 0; i < span.indexes.length; i++) {
      const index = span.indexes[i];
      const entry = verify(bytes, view, span.offsets[i] - span.from, this.header, group.id, index, span);
      if (entry === undefined || !check.continues(this.header)) break;
      const term = index >= group.first ? group.termOf(index) : undefined;
      if (term !== undefined && term !== entry.term) break;
      entries.push(entry);
    }
    return entries;
  }

  private foundDamage(group: GroupLog, index: Index, span: Span): void {
    const { context } = this;
    context.stats.damagedReads++;
    const segment = context.segments.all.get(span.segment);
    if (segment !== undefined) segment.doubtful = true;
    if (group.damaged.some((range) => index >= range.first && index <= range.last)) return;
    group.addDamage(index);
    context.env.log.error('wal: an entry cannot be verified', { group: group.id, index, segment: span.segment });
  }
}
