// The memory tail: the last entries of every group as LogEntry objects, within budgets of bytes for all groups. What is not durable yet
// is always here. Filled by append, read by followers that are close behind, emptied oldest first. What somebody is about to ask for stays
// within the whole budget; what was released, within a small one: buffers that live longer than a scavenge cost a full collection.
// Invariant: a GroupTail holds the contiguous range first..last of its log, with each entry's chain value.
import type { Index, LogEntry } from '../core/types.ts';
import type { Chain } from './chain.ts';

/** What an entry costs besides its body. */
const ENTRY_BYTES = 200;
const COMPACT_AT = 4096;

export class GroupTail {
  first: Index = 1;
  last: Index = 0;
  /** Entries up to here are durable, so they may be forgotten. */
  durable: Index = 0;
  /** Nobody is about to ask for entries up to here. */
  released: Index = 0;
  private entries: (LogEntry | undefined)[] = new Array(16).fill(undefined);
  private chains = new Uint32Array(16 * 4);

  get(index: Index): LogEntry | undefined {
    return index >= this.first && index <= this.last ? this.entries[index & (this.entries.length - 1)] : undefined;
  }

  /** Copies the chain value of a held entry. */
  readChain(index: Index, into: Chain): boolean {
    if (index < this.first || index > this.last) return false;
    const at = (index & (this.entries.length - 1)) * 4;
    for (let i = 0; i < 4; i++) into[i] = this.chains[at + i];
    return true;
  }

  setChain(index: Index, chain: Chain): void {
    if (index >= this.first && index <= this.last) this.chains.set(chain, (index & (this.entries.length - 1)) * 4);
  }

  /** entry.index is last + 1, or anything when empty. */
  push(entry: LogEntry): void {
    if (this.last < this.first) this.first = entry.index;
    this.last = entry.index;
    if (this.last - this.first + 1 > this.entries.length) this.grow();
    this.entries[entry.index & (this.entries.length - 1)] = entry;
  }

  dropFirst(): LogEntry {
    const at = this.first++ & (this.entries.length - 1);
    const entry = this.entries[at] as LogEntry;
    this.entries[at] = undefined;
    return entry;
  }

  dropLast(): LogEntry {
    const at = this.last-- & (this.entries.length - 1);
    const entry = this.entries[at] as LogEntry;
    this.entries[at] = undefined;
    return entry;
  }

  private grow(): void {
    const size = this.entries.length * 2;
    const entries: (LogEntry | undefined)[] = new Array(size).fill(undefined);
    const chains = new Uint32Array(size * 4);
    for (let index = this.first; index < this.last; index++) {
      const from = index & (this.entries.length - 1);
      const to = index & (size - 1);
      entries[to] = this.entries[from];
      for (let i = 0; i < 4; i++) chains[to * 4 + i] = this.chains[from * 4 + i];
    }
    this.entries = entries;
    this.chains = chains;
  }
}

export class TailCache {
  bytes = 0;
  private readonly budgetBytes: number;
  private readonly releasedBytes: number;
  /** Order of arrival over all groups: whose first entry goes first. May name entries that are gone. */
  private queue: GroupTail[] = [];
  private indexes: Index[] = [];
  private head = 0;

  constructor(budgetBytes: number, releasedBytes: number) {
    this.budgetBytes = budgetBytes;
    this.releasedBytes = releasedBytes;
  }

  push(tail: GroupTail, entry: LogEntry): void {
    tail.push(entry);
    this.bytes += entry.body.length + ENTRY_BYTES;
    this.queue.push(tail);
    this.indexes.push(entry.index);
  }

  truncateFrom(tail: GroupTail, index: Index): void {
    while (tail.last >= index && tail.last >= tail.first) this.bytes -= tail.dropLast().body.length + ENTRY_BYTES;
    tail.durable = Math.min(tail.durable, index - 1);
    tail.released = Math.min(tail.released, index - 1);
  }

  clear(tail: GroupTail): void {
    this.truncateFrom(tail, 0);
  }

  /** Forgets the oldest durable entries until the budgets hold. Called after each flush. */
  evict(): void {
    while (this.head < this.queue.length) {
      const tail = this.queue[this.head];
      const index = this.indexes[this.head];
      if (tail.first === index && tail.last >= index) {
        const budget = index > tail.released ? this.budgetBytes : this.releasedBytes;
        if (index > tail.durable || this.bytes <= budget) break;
        this.bytes -= tail.dropFirst().body.length + ENTRY_BYTES;
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
