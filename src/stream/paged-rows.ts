// Rows of u32 words under ascending keys (seqs, log indexes), off the JS heap, freed page by page. Pure; used by message-index.ts.
// The last two pages are plain words (slot = key - first), because they are written most; those before are packed column by column, and when
// most of a page is gone only what lives is kept, with its keys beside. Sparse neighbours merge, so memory follows the number of live
// rows, not the span of keys.
// Invariants: word 0 of a live row is not 0; pages are ordered and do not overlap; a frozen page (handed to a snapshot) is
// copied before it is written, except that rows may be appended behind what the snapshot sees.
import {
  isLiveRow,
  killRow,
  type PackedColumns,
  packedFrom,
  packRows,
  setValue,
  unpackRows,
  valueAt,
  widened,
  withPadding,
} from './packed-columns.ts';
import type { SnapshotReader, SnapshotWriter, Steps } from './snapshot-codec.ts';
import { BYTE_WIDTHS, SnapshotError } from './snapshot-codec.ts';

/** Slots of a page: few while there are few pages, so that what is not packed yet is a small part of many rows, and little of few (a node may
 * have thousands of small partitions); from so many pages on, twice as many. */
const SLOTS_MIN = 512;
const SLOTS_MAX = 4096;
const PAGES_PER_SIZE = 16;
const SLOTS_FIRST = 32;
const SPAN_MAX = 0xffffffff;

export interface RowPage {
  /** Key of slot 0. */
  first: number;
  /** Slots used, dead ones included. */
  slots: number;
  live: number;
  /** Empty when the page is packed. */
  words: Uint32Array;
  packed: PackedColumns | undefined;
  /** Sparse pages, which are packed: key - first of each slot, ascending. */
  keys: Uint32Array | undefined;
  frozen: boolean;
}

const NO_WORDS = new Uint32Array(0);

/** The table is its own last page, where rows are appended: with thousands of tables each object more is a walk through cold memory more. */
export class PagedRows implements RowPage {
  first = 0;
  slots = 0;
  live = 0;
  words: Uint32Array;
  frozen = false;
  /** Page of the last append or find. */
  page: RowPage = this;
  readonly #width: number;
  /** The last page has no more slots than that. */
  #slotsMax = SLOTS_MIN;
  readonly packed: undefined;
  readonly keys: undefined;
  /** Live pages are #pages[#head..]; the last one is this. */
  #pages: RowPage[] = [this];
  #head = 0;

  constructor(width: number) {
    this.#width = width;
    this.words = new Uint32Array(SLOTS_FIRST * width);
  }

  clear(): void {
    this.#pages = [this];
    this.#head = 0;
    this.page = this;
    this.#begin(0, SLOTS_FIRST);
  }

  /** An empty last page. `spare`: words that no page has any more. */
  #begin(first: number, slots: number, spare: Uint32Array = NO_WORDS): void {
    const length = slots * this.#width;
    this.first = first;
    this.slots = 0;
    this.live = 0;
    this.words = spare.length === length ? spare.fill(0) : new Uint32Array(length);
    this.frozen = false;
  }

  /** Makes room for `key`, larger than every key before; returns where its zeroed words are in `words`. The caller sets word 0. */
  append(key: number): number {
    if (this.slots === 0) this.first = key;
    let slot = key - this.first;
    if (slot >= this.#slotsMax) {
      this.#seal(key);
      slot = 0;
    }
    const end = (slot + 1) * this.#width;
    if (end > this.words.length) this.#grow(end);
    this.slots = slot + 1;
    this.live++;
    this.page = this;
    return end - this.#width;
  }

  #grow(length: number): void {
    let capacity = this.words.length;
    while (capacity < length) capacity *= 2;
    const grown = new Uint32Array(Math.min(capacity, this.#slotsMax * this.#width));
    grown.set(this.words);
    this.words = grown;
    this.frozen = false;
  }

  /** What the last page holds becomes a page of its own; the last one goes on with `key`. */
  #seal(key: number): void {
    if (this.live === 0) {
      this.first = key;
      this.slots = 0;
      if (this.frozen) this.#thaw(this);
      this.words.fill(0);
      return;
    }
    const { first, slots, live, words, frozen } = this;
    const pages = this.#pages;
    this.#slotsMax = slotsOf(pages.length - this.#head);
    const sealed: RowPage = { first, slots, live, words, packed: undefined, keys: undefined, frozen };
    pages[pages.length - 1] = sealed;
    pages.push(this);
    // Links between neighbours are still written into the page that was the last one until now; the one before has had most of its writes.
    const before = pages[pages.length - 3];
    let spare: Uint32Array | undefined;
    if (before !== undefined && pages.length - 3 >= this.#head && before.packed === undefined) {
      if (!before.frozen) spare = before.words;
      this.#pack(before);
    }
    this.#begin(key, this.#slotsMax, spare);
    if (live * 2 <= slots) this.#repack(sealed);
  }

  #pack(page: RowPage): void {
    page.packed = packRows(page.words, page.slots, this.#width);
    page.words = NO_WORDS;
    page.frozen = false;
  }

  /** Slot of the live row in `page`, or -1. */
  find(key: number): number {
    let page = this.page;
    if (!covers(page, key)) {
      page = this.#pages[this.#indexOf(key)];
      this.page = page;
    }
    const slot = slotOf(page, key);
    return slot >= 0 && this.#isLive(page, slot) ? slot : -1;
  }

  #isLive(page: RowPage, slot: number): boolean {
    const { packed } = page;
    return packed === undefined ? page.words[slot * this.#width] !== 0 : isLiveRow(packed, slot);
  }

  /** A word of the row at `slot` of `page`. */
  get(slot: number, column: number): number {
    const { packed, words } = this.page;
    return packed === undefined ? words[slot * this.#width + column] : valueAt(packed, slot, column);
  }

  set(slot: number, column: number, value: number): void {
    const { page } = this;
    if (page.frozen) this.#thaw(page);
    if (page.packed === undefined) page.words[slot * this.#width + column] = value;
    else if (!setValue(page.packed, slot, column, value)) {
      page.packed = widened(page.packed, column, value);
      setValue(page.packed, slot, column, value);
    }
  }

  #thaw(page: RowPage): void {
    if (page.packed === undefined) page.words = page.words.slice();
    else page.packed = { ...page.packed, bytes: page.packed.bytes.slice() };
    page.frozen = false;
  }

  /** Forgets the row at `slot` of `page`. */
  remove(slot: number): void {
    const page = this.page;
    if (page.frozen) this.#thaw(page);
    if (page.packed === undefined) page.words[slot * this.#width] = 0;
    else killRow(page.packed, slot);
    page.live--;
    if (page === this) return;
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
    this.page = this;
  }

  /** Keeps only live rows, with their keys beside them. */
  #repack(page: RowPage): void {
    const width = this.#width;
    const all = page.packed === undefined ? page.words : unpackRows(page.packed);
    const words = new Uint32Array(page.live * width);
    const keys = new Uint32Array(page.live);
    let used = 0;
    for (let slot = 0; slot < page.slots; slot++) {
      const at = slot * width;
      if (all[at] === 0) continue;
      copyRow(all, at, words, used * width, width);
      keys[used++] = page.keys === undefined ? slot : page.keys[slot];
    }
    page.keys = keys;
    page.slots = used;
    page.words = words;
    this.#pack(page);
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
    if (left.packed === undefined || right.packed === undefined) return;
    const shift = right.first - left.first;
    if (left.slots + right.slots > SLOTS_MAX / 2 || shift + right.keys[right.slots - 1] > SPAN_MAX) return;
    const words = new Uint32Array((left.slots + right.slots) * this.#width);
    words.set(unpackRows(left.packed));
    words.set(unpackRows(right.packed), left.slots * this.#width);
    const keys = new Uint32Array(left.slots + right.slots);
    keys.set(left.keys.subarray(0, left.slots));
    for (let i = 0; i < right.slots; i++) keys[left.slots + i] = shift + right.keys[i];
    left.keys = keys;
    left.slots += right.slots;
    left.live += right.live;
    left.words = words;
    this.#pack(left);
    this.#pages.splice(index + 1, 1);
    this.page = left;
  }

  /** Smallest live key >= from, or -1; `page` is its page and `foundAt` its slot. */
  nextLive(from: number): number {
    const pages = this.#pages;
    let page = this.page;
    let index = -1;
    if (!covers(page, from)) {
      index = this.#indexOf(from);
      page = pages[index];
    }
    for (;;) {
      for (let slot = slotAtOrAfter(page, from); slot < page.slots; slot++) {
        if (this.#isLive(page, slot)) {
          this.page = page;
          this.foundAt = slot;
          return keyOf(page, slot);
        }
      }
      if (index < 0) index = this.#indexOf(page.first);
      if (++index >= pages.length) return -1;
      page = pages[index];
    }
  }

  /** Largest live key <= upTo, or 0. */
  previousLive(upTo: number): number {
    const pages = this.#pages;
    for (let index = this.#indexOf(upTo); index >= this.#head; index--) {
      const page = pages[index];
      let slot = slotAtOrAfter(page, upTo + 1) - 1;
      while (slot >= 0 && !this.#isLive(page, slot)) slot--;
      if (slot >= 0) {
        this.page = page;
        return keyOf(page, slot);
      }
    }
    return 0;
  }

  /** Slot of the row that nextLive found. */
  foundAt = 0;

  /** Number of live rows with key >= from. */
  countFrom(from: number): number {
    const pages = this.#pages;
    let index = this.#indexOf(from);
    const page = pages[index];
    let count = 0;
    for (let slot = slotAtOrAfter(page, from); slot < page.slots; slot++) {
      if (this.#isLive(page, slot)) count++;
    }
    while (++index < pages.length) count += pages[index].live;
    return count;
  }

  write(out: SnapshotWriter): void {
    out.u32(this.#width);
    out.u32(this.#pages.length - this.#head);
    for (let i = this.#head; i < this.#pages.length; i++) {
      const page = this.#pages[i];
      const { packed } = page;
      page.frozen = true;
      out.number(page.first);
      out.u32(page.slots);
      out.u32(page.live);
      out.u32(packed === undefined ? WIDE : page.keys === undefined ? DENSE : SPARSE);
      if (packed === undefined) {
        out.block(asBytes(page.words, page.slots * this.#width));
        continue;
      }
      for (let c = 0; c < this.#width; c++) {
        out.u32(packed.widths[c]);
        out.u32(packed.bases[c]);
      }
      out.block(packed.bytes);
      // Keys never change after a repack, which makes new arrays.
      if (page.keys !== undefined) out.block(asBytes(page.keys, page.slots));
    }
  }

  *read(from: SnapshotReader): Steps<void> {
    if (from.u32() !== this.#width) throw new SnapshotError('row width differs');
    const count = from.u32();
    this.#pages = [];
    this.#head = 0;
    for (let i = 0; i < count; i++) this.#pages.push(yield* this.#readPage(from));
    const last = this.#pages.pop();
    this.#pages.push(this);
    this.page = this;
    this.#begin(last?.first ?? 0, SLOTS_FIRST);
    if (last?.packed !== undefined) throw new SnapshotError('the last row page is packed');
    if (last === undefined || last.slots === 0) return;
    this.slots = last.slots;
    this.live = last.live;
    this.words = last.words;
  }

  *#readPage(from: SnapshotReader): Steps<RowPage> {
    const first = from.number();
    const slots = from.u32();
    const live = from.u32();
    const form = from.u32();
    const page: RowPage = { first, slots, live, words: NO_WORDS, packed: undefined, keys: undefined, frozen: false };
    if (form === WIDE) {
      page.words = wordsOf(yield* from.block());
      if (page.words.length !== slots * this.#width) throw new SnapshotError('row page has the wrong size');
      return page;
    }
    const inBytes = from.format === BYTE_WIDTHS;
    const widths = new Uint8Array(this.#width);
    const bases = new Uint32Array(this.#width);
    for (let c = 0; c < this.#width; c++) {
      widths[c] = from.u32() * (inBytes ? 8 : 1);
      bases[c] = from.u32();
    }
    const bytes = yield* from.block();
    page.packed = packedFrom(inBytes ? withPadding(bytes) : bytes, slots, widths, bases);
    if (form === SPARSE) page.keys = wordsOf(yield* from.block());
    if (page.packed === undefined || (page.keys !== undefined && page.keys.length !== slots))
      throw new SnapshotError('row page has the wrong size');
    return page;
  }

  /** Bytes of memory held by pages. */
  get bytes(): number {
    let sum = 0;
    for (let i = this.#head; i < this.#pages.length; i++) {
      const { words, packed, keys } = this.#pages[i];
      sum += words.byteLength + (packed?.bytes.byteLength ?? 0) + (keys?.byteLength ?? 0);
    }
    return sum;
  }
}

/** Forms of a page in a snapshot. */
const WIDE = 0;
const DENSE = 1;
const SPARSE = 2;

/** Stands where a page was dropped at the head, so that it can be collected. */
const EMPTY_PAGE: RowPage = {
  first: 0,
  slots: 0,
  live: 0,
  words: NO_WORDS,
  packed: undefined,
  keys: undefined,
  frozen: true,
};

/** Of the page that comes after so many. */
function slotsOf(pages: number): number {
  return Math.min(SLOTS_MAX, SLOTS_MIN * 2 ** Math.floor(pages / PAGES_PER_SIZE));
}

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

/** Bytes that a snapshot's block brought, as words; they are a buffer of their own. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
}
