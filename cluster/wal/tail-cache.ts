// The memory tail: the last entries of every group as LogEntry objects, within budgets of bytes for all groups. What is not durable yet
// is always here. Filled by append, read by followers that are close behind, emptied oldest first. What somebody is about to ask for stays
// within the whole budget; what was released, within a small one: buffers that live longer than a scavenge cost a full collection.
// Invariant: what a LogEnd holds are the last entries of its log, without a gap.
import type { Index, LogEntry } from '../core/types.ts';

/** What an entry costs besides its body. */
const ENTRY_BYTES = 200;
const COMPACT_AT = 4096;

/** The end of one group's log. With thousands of groups each visit finds it in cold memory: what a visit looks at stands together here, and
 * first in what is built on it. */
export class LogEnd {
  last: Index = 0;
  /** The log is durable up to here; entries up to here may be forgotten. */
  durable: Index = 0;
  /** Nobody is about to ask for entries up to here. */
  released: Index = 0;
  /** So many entries up to the last one are in memory. */
  heldCount = 0;
  private entries: (LogEntry | undefined)[] = new Array(16).fill(undefined);

  get heldFirst(): Index {
    return this.last - this.heldCount + 1;
  }

  /** The entry, if it is in memory. */
  held(index: Index): LogEntry | undefined {
    return index <= this.last && index > this.last - this.heldCount
      ? this.entries[index & (this.entries.length - 1)]
      : undefined;
  }

  /** entry.index is last + 1, or anything when none is held. */
  push(entry: LogEntry): void {
    this.last = entry.index;
    if (++this.heldCount > this.entries.length) this.grow();
    this.entries[entry.index & (this.entries.length - 1)] = entry;
  }

  dropFirst(): LogEntry {
    const entry = this.take(this.heldFirst);
    this.heldCount--;
    return entry;
  }

  dropLast(): LogEntry {
    const entry = this.take(this.last);
    this.heldCount--;
    this.last--;
    return entry;
  }

  private take(index: Index): LogEntry {
    const at = index & (this.entries.length - 1);
    const entry = this.entries[at] as LogEntry;
    this.entries[at] = undefined;
    return entry;
  }

  private grow(): void {
    const size = this.entries.length * 2;
    const entries: (LogEntry | undefined)[] = new Array(size).fill(undefined);
    for (let index = this.heldFirst; index < this.last; index++)
      entries[index & (size - 1)] = this.entries[index & (this.entries.length - 1)];
    this.entries = entries;
  }
}

export class TailCache {
  bytes = 0;
  private readonly budgetBytes: number;
  private readonly releasedBytes: number;
  /** Order of arrival over all groups: whose first entry goes first. May name entries that are gone. */
  private queue: LogEnd[] = [];
  private indexes: Index[] = [];
  private head = 0;

  constructor(budgetBytes: number, releasedBytes: number) {
    this.budgetBytes = budgetBytes;
    this.releasedBytes = releasedBytes;
  }

  push(log: LogEnd, entry: LogEntry): void {
    log.push(entry);
    this.bytes += entry.body.length + ENTRY_BYTES;
    this.queue.push(log);
    this.indexes.push(entry.index);
  }

  /** What is held from `index` on is gone from the log. */
  truncateFrom(log: LogEnd, index: Index): void {
    while (log.last >= index && log.heldCount > 0) this.bytes -= log.dropLast().body.length + ENTRY_BYTES;
    log.durable = Math.min(log.durable, index - 1);
    log.released = Math.min(log.released, index - 1);
  }

  /** Holds nothing of the log any more. */
  clear(log: LogEnd): void {
    while (log.heldCount > 0) this.forgetFirst(log);
  }

  private forgetFirst(log: LogEnd): void {
    this.bytes -= log.dropFirst().body.length + ENTRY_BYTES;
  }

  /** Forgets the oldest durable entries until the budgets hold. Called after each flush. */
  evict(): void {
    while (this.head < this.queue.length) {
      const log = this.queue[this.head];
      const index = this.indexes[this.head];
      if (log.heldFirst === index && log.heldCount > 0) {
        const budget = index > log.released ? this.budgetBytes : this.releasedBytes;
        if (index > log.durable || this.bytes <= budget) break;
        this.forgetFirst(log);
      }
      this.head++;
    }
    if (this.head > COMPACT_AT && this.head * 2 > this.queue.length) {
      this.queue.splice(0, this.head);
      this.indexes.splice(0, this.head);
      this.head = 0;
    }
  }
}
