// Where the entries of one group lie: index -> (segment, offset, body length), off-heap. Pure; one per group, owned by group-log.ts.
// Indexes are kept in chunks of 256: a full chunk is one typed array (12 bytes an entry); a chunk that lost most of its
// entries to compaction becomes a short sorted list. Every change is told to the accounting of live bytes per segment.
import type { Index } from '../core/types.ts';

const CHUNK = 256;
const WORDS = 3;
/** A chunk with at most so many entries left is kept as a list. */
const SPARSE_MAX = 64;
const OFFSET_UNIT = 8;

/** Told about each entry that a segment gains or loses. */
export interface LiveAccounting {
  add(segment: number, bodyLength: number): void;
  remove(segment: number, bodyLength: number): void;
}

interface Chunk {
  count: number;
  /** Dense: slot i at i * 3 (segment 0: absent). Sparse: entry k at k * 3. */
  words: Uint32Array;
  /** Sparse: low bytes of the indexes, ascending. */
  keys: Uint8Array | undefined;
}

export class LocationTable {
  /** Set by find(). */
  segment = 0;
  offset = 0;
  bodyLength = 0;
  count = 0;
  private readonly accounting: LiveAccounting;
  private readonly chunks = new Map<number, Chunk>();
  /** Chunk numbers, ascending. */
  private order: number[] = [];
  private lastNumber = -1;
  private lastChunk: Chunk | undefined;

  constructor(accounting: LiveAccounting) {
    this.accounting = accounting;
  }

  private chunkOf(index: Index): Chunk | undefined {
    const number = Math.floor(index / CHUNK);
    if (number === this.lastNumber) return this.lastChunk;
    const chunk = this.chunks.get(number);
    if (chunk !== undefined) {
      this.lastNumber = number;
      this.lastChunk = chunk;
    }
    return chunk;
  }

  /** Word position of the entry in its chunk, or -1. */
  private slot(chunk: Chunk, low: number): number {
    const { keys } = chunk;
    if (keys === undefined) return chunk.words[low * WORDS] === 0 ? -1 : low * WORDS;
    for (let k = 0; k < chunk.count; k++) if (keys[k] === low) return k * WORDS;
    return -1;
  }

  /** True when known; its place is in segment, offset, bodyLength. */
  find(index: Index): boolean {
    const chunk = this.chunkOf(index);
    if (chunk === undefined) return false;
    const at = this.slot(chunk, index % CHUNK);
    if (at < 0) return false;
    this.segment = chunk.words[at];
    this.offset = chunk.words[at + 1] * OFFSET_UNIT;
    this.bodyLength = chunk.words[at + 2];
    return true;
  }

  /** Reads what set() is going to write, so that it is near by then. */
  peek(index: Index): number {
    const { lastChunk } = this;
    return lastChunk === undefined || lastChunk.keys !== undefined ? 0 : lastChunk.words[(index % CHUNK) * WORDS];
  }

  set(index: Index, segment: number, offset: number, bodyLength: number): void {
    let chunk = this.chunkOf(index);
    if (chunk === undefined) {
      const number = Math.floor(index / CHUNK);
      chunk = { count: 0, words: new Uint32Array(CHUNK * WORDS), keys: undefined };
      this.chunks.set(number, chunk);
      this.insertOrder(number);
    } else if (chunk.keys !== undefined && this.slot(chunk, index % CHUNK) < 0) this.makeDense(chunk);
    let at = this.slot(chunk, index % CHUNK);
    if (at < 0) {
      at = (index % CHUNK) * WORDS;
      chunk.count++;
      this.count++;
    } else this.accounting.remove(chunk.words[at], chunk.words[at + 2]);
    chunk.words[at] = segment;
    chunk.words[at + 1] = offset / OFFSET_UNIT;
    chunk.words[at + 2] = bodyLength;
    this.accounting.add(segment, bodyLength);
  }

  delete(index: Index): void {
    const chunk = this.chunkOf(index);
    if (chunk === undefined) return;
    const at = this.slot(chunk, index % CHUNK);
    if (at < 0) return;
    this.accounting.remove(chunk.words[at], chunk.words[at + 2]);
    this.count--;
    const { keys } = chunk;
    if (keys === undefined) chunk.words[at] = 0;
    else {
      const k = at / WORDS;
      keys.copyWithin(k, k + 1, chunk.count);
      chunk.words.copyWithin(at, at + WORDS, chunk.count * WORDS);
    }
    if (--chunk.count === 0) this.dropChunk(Math.floor(index / CHUNK));
  }

  truncateFrom(index: Index): void {
    while (this.order.length > 0) {
      const number = this.order[this.order.length - 1];
      if (number < Math.floor(index / CHUNK)) return;
      const from = Math.max(index, number * CHUNK);
      for (let i = number * CHUNK + CHUNK - 1; i >= from; i--) this.delete(i);
      if (from > number * CHUNK) return;
    }
  }

  clear(): void {
    this.truncateFrom(0);
  }

  /** Takes over what only `other` knows, which is empty after it. Whole chunks change hands where this one has nothing. */
  absorb(other: LocationTable): void {
    for (const [number, chunk] of other.chunks) {
      if (!this.chunks.has(number)) {
        this.chunks.set(number, chunk);
        this.count += chunk.count;
        continue;
      }
      for (let index = number * CHUNK; index < (number + 1) * CHUNK; index++) {
        if (!other.find(index)) continue;
        if (!this.find(index)) this.set(index, other.segment, other.offset, other.bodyLength);
        other.delete(index);
      }
    }
    other.chunks.clear();
    other.order = [];
    other.count = 0;
    other.lastNumber = -1;
    this.order = [...this.chunks.keys()].sort((a, b) => a - b);
    this.lastNumber = -1;
  }

  /** Smallest known index >= from, or 0. */
  next(from: Index): Index {
    let place = this.place(Math.floor(from / CHUNK));
    for (; place < this.order.length; place++) {
      const number = this.order[place];
      const chunk = this.chunks.get(number) as Chunk;
      const low = Math.max(0, from - number * CHUNK);
      if (chunk.keys === undefined) {
        for (let i = low; i < CHUNK; i++) if (chunk.words[i * WORDS] !== 0) return number * CHUNK + i;
      } else {
        for (let k = 0; k < chunk.count; k++) if (chunk.keys[k] >= low) return number * CHUNK + chunk.keys[k];
      }
    }
    return 0;
  }

  /** Chunks that end at or below `index` and are thin become lists. Call after entries were deleted below a snapshot. */
  shrink(index: Index): void {
    const number = Math.floor(index / CHUNK);
    const chunk = this.chunks.get(number);
    if (chunk === undefined || chunk.keys !== undefined || chunk.count > SPARSE_MAX) return;
    const keys = new Uint8Array(chunk.count);
    const words = new Uint32Array(chunk.count * WORDS);
    let k = 0;
    for (let low = 0; low < CHUNK; low++) {
      if (chunk.words[low * WORDS] === 0) continue;
      keys[k] = low;
      words.set(chunk.words.subarray(low * WORDS, low * WORDS + WORDS), k * WORDS);
      k++;
    }
    chunk.keys = keys;
    chunk.words = words;
  }

  private makeDense(chunk: Chunk): void {
    const keys = chunk.keys as Uint8Array;
    const words = new Uint32Array(CHUNK * WORDS);
    for (let k = 0; k < chunk.count; k++)
      words.set(chunk.words.subarray(k * WORDS, k * WORDS + WORDS), keys[k] * WORDS);
    chunk.words = words;
    chunk.keys = undefined;
  }

  /** First place in `order` whose number is >= number. */
  private place(number: number): number {
    let low = 0;
    let high = this.order.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.order[middle] < number) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private insertOrder(number: number): void {
    this.lastNumber = -1;
    if (this.order.length === 0 || this.order[this.order.length - 1] < number) this.order.push(number);
    else this.order.splice(this.place(number), 0, number);
  }

  private dropChunk(number: number): void {
    this.chunks.delete(number);
    this.order.splice(this.place(number), 1);
    this.lastNumber = -1;
  }
}
