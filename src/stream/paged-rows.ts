// Rows of u32 words under ascending keys (seqs, log indexes), off the JS heap, freed page by page. Pure; used by message-index.ts.
// A page is dense (slot = key - first) while it fills and is repacked with its keys beside the rows when most of it is gone;
// sparse neighbours merge, so memory follows the number of live rows, not the span of keys.
// Invariants: word 0 of a live row is not 0; pages are ordered and do not overlap; a frozen page (handed to a snapshot) is
// copied before it is written.
import type { SnapshotReader, SnapshotWriter } from './snapshot-codec.ts';
import { SnapshotError } from './snapshot-codec.ts';

const SLOTS_MAX = 4096;
const SLOTS_FIRST = 32;
const SPAN_MAX = 0xffffffff;

export interface RowPage {
  /** Key of slot 0. */
  first: number;
  /** Slots used, dead ones included. */
  slots: number;
  live: number;
  words: Uint32Array;
  /** Sparse pages: key - first of each slot, ascending. */
  keys: Uint32Array | undefined;
  frozen: boolean;
  /** CRC of the used words while frozen; -1 unknown. */
  crc: number;
}

export class PagedRows {
  readonly #width: number;
  /** Live pages are #pages[#head..]; the last one is the tail, where rows are appended. */
  #pages: RowPage[] = [];
  #head = 0;
  /** Page of the last append or find. */
  page: RowPage;

  constructor(width: number) {
    this.#width = width;
    this.page = this.#addTail(0, SLOTS_FIRST);
  }

  clear(): void {
    this.#pages = [];
    this.#head = 0;
    this.page = this.#addTail(0, SLOTS_FIRST);
  }

  #addTail(first: number, slots: number): RowPage {
    const page: RowPage = {
      first,
      slots: 0,
      live: 0,
      words: new Uint32Array(slots * this.#width),
      keys: undefined,
      frozen: false,
      crc: -1,
    };
    this.#pages.push(page);
    return page;
  }

  /** Makes room for `key`, larger than every key before; returns where its zeroed words are in `page.words`. The caller sets word 0. */
  append(key: number): number {
    let tail = this.#pages[this.#pages.length - 1];
    if (tail.slots === 0) tail.first = key;
    let slot = key - tail.first;
    if (slot >= SLOTS_MAX) {
      tail = this.#sealTail(tail, key);
      slot = 0;
    }
    const end = (slot + 1) * this.#width;
    if (end > tail.words.length) {
      let capacity = tail.words.length;
      while (capacity < end) capacity *= 2;
      const grown = new Uint32Array(Math.min(capacity, SLOTS_MAX * this.#width));
      grown.set(tail.words);
      tail.words = grown;
      tail.frozen = false;
    }
    // A frozen tail may grow: the snapshot's view ends before the new slot.
    tail.crc = -1;
    tail.slots = slot + 1;
    tail.live++;
    this.page = tail;
    return end - this.#width;
  }

  #sealTail(tail: RowPage, key: number): RowPage {
    if (tail.live === 0) {
      tail.first = key;
      tail.slots = 0;
      if (tail.frozen) this.#thaw(tail);
      tail.words.fill(0);
      return tail;
    }
    const next = this.#addTail(key, SLOTS_MAX);
    if (tail.live * 2 <= tail.slots) this.#repack(tail);
    return next;
  }

  /** Position of the live row in `page.words`, or -1. */
  find(key: number): number {
    let page = this.page;
    if (!covers(page, key)) {
      page = this.#pages[this.#indexOf(key)];
      this.page = page;
    }
    const slot = slotOf(page, key);
    if (slot < 0) return -1;
    const at = slot * this.#width;
    return page.words[at] === 0 ? -1 : at;
  }

  /** The words of `page`, to be changed. */
  writable(): Uint32Array {
    if (this.page.frozen) this.#thaw(this.page);
    return this.page.words;
  }

  #thaw(page: RowPage): void {
    page.words = page.words.slice();
    page.frozen = false;
    page.crc = -1;
  }

  /** Forgets the row that find returned as `at`. */
  remove(at: number): void {
    const page = this.page;
    this.writable()[at] = 0;
    page.live--;
    if (page === this.#pages[this.#pages.length - 1]) return;
    if (page.live === 0) {
      this.#dropPage(page);
    } else if (page !== this.#pages[this.#head]) {
      const crowded = page.keys === undefined ? page.live * 4 > page.slots : page.live * 2 > page.slots;
      if (!crowded) {
        this.#repack(page);
        this.#mergeAround(page);
      }
    }
  }

  /** The last page that begins at or before `key`; the first page when none does. */
  #indexOf(key: number): number {
    const pages = this.#pages;
    let low = this.#head;
    let high = pages.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (pages[middle].first <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #dropPage(page: RowPage): void {
    const index = this.#indexOf(page.first);
    if (index === this.#head) {
      this.#head++;
      if (this.#head > 64 && this.#head * 2 > this.#pages.length) {
        this.#pages = this.#pages.slice(this.#head);
        this.#head = 0;
      } else {
        this.#pages[index] = EMPTY_PAGE;
      }
    } else {
      this.#pages.splice(index, 1);
    }
    this.page = this.#pages[this.#pages.length - 1];
  }

  /** Keeps only live rows, with their keys beside them. */
  #repack(page: RowPage): void {
    const width = this.#width;
    const words = new Uint32Array(page.live * width);
    const keys = new Uint32Array(page.live);
    let used = 0;
    for (let slot = 0; slot < page.slots; slot++) {
      const at = slot * width;
      if (page.words[at] === 0) continue;
      copyRow(page.words, at, words, used * width, width);
      keys[used++] = page.keys === undefined ? slot : page.keys[slot];
    }
    page.words = words;
    page.keys = keys;
    page.slots = used;
    page.frozen = false;
    page.crc = -1;
  }

  #mergeAround(page: RowPage): void {
    const index = this.#indexOf(page.first);
    if (index + 2 < this.#pages.length) this.#merge(index);
    if (index > this.#head) this.#merge(index - 1);
  }

  /** Joins page `index` with the next one when both are sparse and small together. */
  #merge(index: number): void {
    const left = this.#pages[index];
    const right = this.#pages[index + 1];
    if (left.keys === undefined || right.keys === undefined) return;
    const shift = right.first - left.first;
    if (left.slots + right.slots > SLOTS_MAX / 2 || shift + right.keys[right.slots - 1] > SPAN_MAX) return;
    const width = this.#width;
    const words = new Uint32Array((left.slots + right.slots) * width);
    words.set(left.words.subarray(0, left.slots * width));
    words.set(right.words.subarray(0, right.slots * width), left.slots * width);
    const keys = new Uint32Array(left.slots + right.slots);
    keys.set(left.keys.subarray(0, left.slots));
    for (let i = 0; i < right.slots; i++) keys[left.slots + i] = shift + right.keys[i];
    left.words = words;
    left.keys = keys;
    left.slots += right.slots;
    left.live += right.live;
    left.frozen = false;
    left.crc = -1;
    this.#pages.splice(index + 1, 1);
    this.page = left;
  }

  /** Smallest live key >= from, or -1; `page` is its page and `foundAt` its position. */
  nextLive(from: number): number {
    const width = this.#width;
    const pages = this.#pages;
    let page = this.page;
    let index = -1;
    if (!covers(page, from)) {
      index = this.#indexOf(from);
      page = pages[index];
    }
    for (;;) {
      for (let slot = slotAtOrAfter(page, from); slot < page.slots; slot++) {
        if (page.words[slot * width] !== 0) {
          this.page = page;
          this.foundAt = slot * width;
          return keyOf(page, slot);
        }
      }
      if (index < 0) index = this.#indexOf(page.first);
      if (++index >= pages.length) return -1;
      page = pages[index];
    }
  }

  /** Position of the row that nextLive found. */
  foundAt = 0;

  /** Number of live rows with key >= from. */
  countFrom(from: number): number {
    const pages = this.#pages;
    let index = this.#indexOf(from);
    const page = pages[index];
    let count = 0;
    for (let slot = slotAtOrAfter(page, from); slot < page.slots; slot++) {
      if (page.words[slot * this.#width] !== 0) count++;
    }
    while (++index < pages.length) count += pages[index].live;
    return count;
  }

  write(out: SnapshotWriter): void {
    out.u32(this.#width);
    out.u32(this.#pages.length - this.#head);
    for (let i = this.#head; i < this.#pages.length; i++) {
      const page = this.#pages[i];
      if (!page.frozen) {
        page.frozen = true;
        page.crc = -1;
      }
      out.number(page.first);
      out.u32(page.slots);
      out.u32(page.live);
      out.u32(page.keys === undefined ? 0 : 1);
      page.crc = out.block(asBytes(page.words, page.slots * this.#width), page.crc < 0 ? undefined : page.crc);
      // Keys never change after a repack, which makes new arrays.
      if (page.keys !== undefined) out.block(asBytes(page.keys, page.slots));
    }
  }

  read(from: SnapshotReader): void {
    if (from.u32() !== this.#width) throw new SnapshotError('row width differs');
    const count = from.u32();
    this.#pages = [];
    this.#head = 0;
    for (let i = 0; i < count; i++) {
      const first = from.number();
      const slots = from.u32();
      const live = from.u32();
      const sparse = from.u32() === 1;
      const words = toWords(from.block());
      const keys = sparse ? toWords(from.block()) : undefined;
      if (words.length !== slots * this.#width || (keys !== undefined && keys.length !== slots)) {
        throw new SnapshotError('row page has the wrong size');
      }
      this.#pages.push({ first, slots, live, words, keys, frozen: false, crc: -1 });
    }
    if (count === 0) this.#addTail(0, SLOTS_FIRST);
    const tail = this.#pages[this.#pages.length - 1];
    if (tail.words.length === 0) tail.words = new Uint32Array(SLOTS_FIRST * this.#width);
    this.page = tail;
  }

  /** Bytes of memory held by pages. */
  get bytes(): number {
    let sum = 0;
    for (let i = this.#head; i < this.#pages.length; i++) {
      sum += this.#pages[i].words.byteLength + (this.#pages[i].keys?.byteLength ?? 0);
    }
    return sum;
  }
}

/** Stands where a page was dropped at the head, so that it can be collected. */
const EMPTY_PAGE: RowPage = {
  first: 0,
  slots: 0,
  live: 0,
  words: new Uint32Array(0),
  keys: undefined,
  frozen: true,
  crc: -1,
};

function copyRow(from: Uint32Array, at: number, to: Uint32Array, toAt: number, width: number): void {
  for (let i = 0; i < width; i++) to[toAt + i] = from[at + i];
}

function covers(page: RowPage, key: number): boolean {
  const slot = key - page.first;
  return slot >= 0 && page.slots > 0 && slot <= (page.keys === undefined ? page.slots - 1 : page.keys[page.slots - 1]);
}

function keyOf(page: RowPage, slot: number): number {
  return page.first + (page.keys === undefined ? slot : page.keys[slot]);
}

/** Slot of exactly this key, or -1. */
function slotOf(page: RowPage, key: number): number {
  if (page.keys === undefined) {
    const slot = key - page.first;
    return slot >= 0 && slot < page.slots ? slot : -1;
  }
  const slot = slotAtOrAfter(page, key);
  return slot < page.slots && keyOf(page, slot) === key ? slot : -1;
}

/** First slot whose key is >= key; page.slots when none. */
function slotAtOrAfter(page: RowPage, key: number): number {
  const relative = key - page.first;
  if (relative <= 0) return 0;
  const keys = page.keys;
  if (keys === undefined) return Math.min(relative, page.slots);
  let low = 0;
  let high = page.slots;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle] < relative) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function asBytes(words: Uint32Array, count: number): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, count * 4);
}

export function toWords(bytes: Uint8Array): Uint32Array {
  const words = new Uint32Array(bytes.length >>> 2);
  new Uint8Array(words.buffer).set(bytes);
  return words;
}
