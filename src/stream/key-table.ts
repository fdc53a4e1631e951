// A hash table from byte strings to rows of u32 words, off the JS heap: ids are small numbers, keys live in an arena. Pure; used
// for subjects (subject-table.ts) and message ids (recent-ids.ts): no JS object per key, no pause to rehash: the index is
// a directory of small tables that split alone (extendible hashing).
// Invariants: an id is valid from insert to remove, then reused; frozen pages and chunks (handed to a snapshot) are copied before
// they are written. Hashes are seeded, so that clients cannot choose collisions.
import { asBytes, wordsOf } from './paged-rows.ts';
import { SnapshotError, type SnapshotReader, type SnapshotWriter, type Steps } from './snapshot-codec.ts';
import type { Matcher } from './subject-matcher.ts';
import { utf8Text } from './text.ts';

// Row: hash (never 0), arena unit, then the user's words. A free row: 0, next free id.
const HASH = 0;
const UNIT = 1;
const OWN_WORDS = 2;
export const KEY_BYTES_MAX = 0xffff;

const PAGE_BITS = 12;
const PAGE_ROWS = 1 << PAGE_BITS;
const ROWS_FIRST = 8;

// A key in the arena: its length (a byte, or LONG and two bytes), then its bytes.
const UNIT_BYTES = 4;
const CHUNK_UNITS_BITS = 18;
const CHUNK_UNITS_MASK = (1 << CHUNK_UNITS_BITS) - 1;
const CHUNK_BYTES = UNIT_BYTES << CHUNK_UNITS_BITS;
const CHUNK_FIRST = 256;
const LONG = 255;
/** Sizes up to this many units have a free list each, larger ones one per power of two. */
const EXACT_UNITS = 64;
const CLASSES = EXACT_UNITS + 10;

/** Keys that one question looks at. */
const SHARED_LOOKS = 20_000;
const ALL_LOOKED_AT = Number.POSITIVE_INFINITY;

const NO_BYTES: Uint8Array = new Uint8Array(0);
const NO_WORDS: Uint32Array = new Uint32Array(0);
/** Never written: nothing was given back yet. */
const NO_FREE_UNITS: Uint32Array = new Uint32Array(CLASSES);

const SLOTS_MAX = 4096;
const SLOTS_FIRST = 16;
const DEPTH_MAX = 18;
/** A split happens at three quarters. */
const LOAD_EXPECTED = 0.6;

interface Page {
  words: Uint32Array;
  frozen: boolean;
}

interface Chunk {
  bytes: Uint8Array;
  frozen: boolean;
}

interface Slots {
  ids: Uint32Array;
  /** Some bits of each id's hash, so that a row, which is far away, is looked at only when it is likely the one. */
  tags: Uint8Array;
  used: number;
  depth: number;
}

export class KeyTable {
  // What the only key needs comes first.
  size = 0;
  /** Whether the last findOrInsert made the row. */
  inserted = false;
  /** The id of the key that is `#shared`; 0: none, or not known. Most tables of a node with very many hold one key. */
  #onlyId = 0;
  /** All keys that were looked at begin with its first `#sharedLength` bytes and go on; -1: none was. Those of a snapshot are looked at when somebody
   * asks, up to this id so far. */
  #shared = NO_BYTES;
  /** Words of the row that `row` returned last; while there is one page they are its words. */
  words = NO_WORDS;
  #rows = 0;
  readonly #stride: number;
  /** A page may be frozen. */
  #hasFrozen = false;

  #sharedLength = -1;
  #sharedUpTo = ALL_LOOKED_AT;
  #seed: number;
  #pages: Page[] = [];
  #freeRow = 0;

  #chunks: Chunk[] = [];
  /** Next unused unit of the last chunk. */
  #bump = 0;
  #freeUnits = NO_FREE_UNITS;

  /** Empty while the only key is all that there ever was. */
  #directory: Slots[] = [];
  #depth = 0;

  /** Where the key is that #seek looked for. */
  #key = NO_BYTES;
  #keyFrom = 0;
  #keyTo = 0;

  constructor(userWords: number, seed: number) {
    this.#stride = OWN_WORDS + userWords;
    this.#seed = seed | 0;
  }

  clear(): void {
    this.size = 0;
    this.words = NO_WORDS;
    this.#pages = [];
    this.#rows = 0;
    this.#hasFrozen = false;
    this.#freeRow = 0;
    this.#chunks = [];
    this.#bump = 0;
    this.#freeUnits = NO_FREE_UNITS;
    this.#directory = [];
    this.#depth = 0;
    this.#sharedLength = -1;
    this.#sharedUpTo = ALL_LOOKED_AT;
    this.#onlyId = 0;
  }

  /** The id of the key `bytes[from, to)`, 0 when it is not there. */
  find(bytes: Uint8Array, from: number, to: number): number {
    if (this.#isOnly(bytes, from, to)) return this.#onlyId;
    return this.#known(hashBytes(bytes, from, to, this.#seed), bytes, from, to);
  }

  /** The id of the key; a new row's user words are 0. */
  findOrInsert(bytes: Uint8Array, from: number, to: number): number {
    if (this.#isOnly(bytes, from, to)) {
      this.inserted = false;
      return this.#onlyId;
    }
    const hash = hashBytes(bytes, from, to, this.#seed);
    const known = this.#known(hash, bytes, from, to);
    this.inserted = known === 0;
    return known !== 0 ? known : this.#insert(hash, bytes, from, to);
  }

  /** Is it the table's one key, as far as that is known without a look at the table? */
  #isOnly(bytes: Uint8Array, from: number, to: number): boolean {
    const key = this.#shared;
    if (this.#onlyId === 0 || this.size !== 1 || key.length !== to - from) return false;
    for (let i = 0; i < key.length; i++) if (key[i] !== bytes[from + i]) return false;
    return true;
  }

  #known(hash: number, bytes: Uint8Array, from: number, to: number): number {
    const id = this.#lookup(hash, bytes, from, to);
    // A snapshot brought it.
    if (id !== 0 && this.size === 1) {
      this.#shared = bytes.slice(from, to);
      this.#sharedLength = to - from - 1;
      this.#sharedUpTo = ALL_LOOKED_AT;
      this.#onlyId = id;
    }
    return id;
  }

  /** Position of the user words of `id` in `words`. For reading; see `writableRow`. */
  row(id: number): number {
    const index = id - 1;
    if (this.#rows > PAGE_ROWS) this.words = this.#pages[index >>> PAGE_BITS].words;
    return (index & (PAGE_ROWS - 1)) * this.#stride + OWN_WORDS;
  }

  writableRow(id: number): number {
    const index = id - 1;
    if (this.#hasFrozen || this.#rows > PAGE_ROWS) {
      const page = this.#pages[index >>> PAGE_BITS];
      if (page.frozen) thaw(page);
      this.words = page.words;
      if (this.#rows <= PAGE_ROWS) this.#hasFrozen = false;
    }
    return (index & (PAGE_ROWS - 1)) * this.#stride + OWN_WORDS;
  }

  text(id: number): string {
    const at = this.row(id) - OWN_WORDS;
    this.#seek(this.words[at + UNIT]);
    return utf8Text(this.#key, this.#keyFrom, this.#keyTo);
  }

  /** The key of `id` matches one of the patterns. */
  matches(id: number, matchers: readonly Matcher[]): boolean {
    const at = this.row(id) - OWN_WORDS;
    this.#seek(this.words[at + UNIT]);
    for (let i = 0; i < matchers.length; i++)
      if (matchers[i].matches(this.#key, this.#keyFrom, this.#keyTo)) return true;
    return false;
  }

  /** Every key begins with `prefix` and goes on. May say no of keys that are gone, and after a snapshot was read until it has been asked so often
   * that all keys were looked at. */
  allBeginWith(prefix: Uint8Array): boolean {
    if (this.#sharedUpTo < ALL_LOOKED_AT && !this.#findShared()) return false;
    if (this.size === 0 || prefix.length > this.#sharedLength) return false;
    for (let i = 0; i < prefix.length; i++) if (this.#shared[i] !== prefix[i]) return false;
    return true;
  }

  /** Looks at some more of the keys; true: all were looked at. */
  #findShared(): boolean {
    let id = this.nextId(this.#sharedUpTo);
    for (let left = SHARED_LOOKS; id !== 0 && left > 0; id = this.nextId(id), left--) {
      const at = this.row(id) - OWN_WORDS;
      this.#seek(this.words[at + UNIT]);
      this.#share(this.#key, this.#keyFrom, this.#keyTo);
      this.#sharedUpTo = id;
    }
    if (id === 0) this.#sharedUpTo = ALL_LOOKED_AT;
    return id === 0;
  }

  #share(key: Uint8Array, from: number, to: number): void {
    if (this.#sharedLength < 0) {
      this.#shared = key.slice(from, to);
      this.#sharedLength = to - from - 1;
      return;
    }
    const most = Math.min(this.#sharedLength, to - from - 1);
    let same = 0;
    while (same < most && this.#shared[same] === key[from + same]) same++;
    this.#sharedLength = same;
  }

  /** Smallest id in use that is larger than `id`; 0 when there is none. */
  nextId(id: number): number {
    for (let index = id; index < this.#rows; index++) {
      const words = this.#pages[index >>> PAGE_BITS].words;
      if (words[(index & (PAGE_ROWS - 1)) * this.#stride + HASH] !== 0) return index + 1;
    }
    return 0;
  }

  remove(id: number): void {
    const at = this.writableRow(id) - OWN_WORDS;
    const words = this.words;
    if (id === this.#onlyId) this.#onlyId = 0;
    this.#unindex(words[at + HASH] | 0, id);
    this.#freeArena(words[at + UNIT]);
    words[at + HASH] = 0;
    words[at + UNIT] = this.#freeRow;
    this.#freeRow = id;
    this.size--;
  }

  // ---- index

  #lookup(hash: number, bytes: Uint8Array, from: number, to: number): number {
    if (this.#directory.length === 0) return 0;
    const { ids, tags } = this.#slotsOf(hash);
    const mask = ids.length - 1;
    const tag = tagOf(hash);
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const id = ids[slot];
      if (id === 0) return 0;
      if (tags[slot] !== tag) continue;
      const index = id - 1;
      const words = this.#pages[index >>> PAGE_BITS].words;
      const at = (index & (PAGE_ROWS - 1)) * this.#stride;
      if ((words[at] | 0) === hash && this.#sameKey(words, at, bytes, from, to)) return id;
    }
  }

  #sameKey(words: Uint32Array, at: number, bytes: Uint8Array, from: number, to: number): boolean {
    this.#seek(words[at + UNIT]);
    const start = this.#keyFrom;
    const length = to - from;
    if (this.#keyTo - start !== length) return false;
    const key = this.#key;
    for (let i = 0; i < length; i++) if (key[start + i] !== bytes[from + i]) return false;
    return true;
  }

  #seek(unit: number): void {
    const key = this.#chunks[unit >>> CHUNK_UNITS_BITS].bytes;
    const at = (unit & CHUNK_UNITS_MASK) * UNIT_BYTES;
    const short = key[at];
    const from = short === LONG ? at + 3 : at + 1;
    this.#key = key;
    this.#keyFrom = from;
    this.#keyTo = from + (short === LONG ? key[at + 1] | (key[at + 2] << 8) : short);
  }

  #insert(hash: number, bytes: Uint8Array, from: number, to: number): number {
    const length = to - from;
    if (length === 0 || length > KEY_BYTES_MAX) throw new Error(`key of ${length} bytes`);
    const unit = this.#allocArena(storedBytes(length));
    const arena = this.#chunks[unit >>> CHUNK_UNITS_BITS].bytes;
    let start = (unit & CHUNK_UNITS_MASK) * UNIT_BYTES;
    arena[start++] = Math.min(length, LONG);
    if (length >= LONG) {
      arena[start++] = length;
      arena[start++] = length >>> 8;
    }
    for (let i = 0; i < length; i++) arena[start + i] = bytes[from + i];
    const id = this.#allocRow();
    const at = this.writableRow(id) - OWN_WORDS;
    const words = this.words;
    words.fill(0, at + OWN_WORDS, at + this.#stride);
    words[at + HASH] = hash;
    words[at + UNIT] = unit;
    if (this.size > 0 || this.#directory.length > 0) this.#index(hash, id);
    if (this.size === 0) {
      this.#sharedLength = -1;
      this.#sharedUpTo = ALL_LOOKED_AT;
      this.#onlyId = id;
    }
    if (this.#sharedLength !== 0) this.#share(bytes, from, to);
    this.size++;
    return id;
  }

  #slotsOf(hash: number): Slots {
    return this.#directory[this.#depth === 0 ? 0 : hash >>> (32 - this.#depth)];
  }

  #index(hash: number, id: number): void {
    if (this.#directory.length === 0) {
      this.#directory = [newSlots(0)];
      if (this.#onlyId !== 0) place(this.#directory[0], this.#hashOf(this.#onlyId), this.#onlyId);
    }
    let slots = this.#slotsOf(hash);
    while ((slots.used + 1) * 4 > slots.ids.length * 3) {
      if (slots.ids.length < SLOTS_MAX || slots.depth >= DEPTH_MAX) this.#grow(slots);
      else this.#split(slots, hash);
      slots = this.#slotsOf(hash);
    }
    place(slots, hash, id);
  }

  #hashOf(id: number): number {
    const index = id - 1;
    return this.#pages[index >>> PAGE_BITS].words[(index & (PAGE_ROWS - 1)) * this.#stride] | 0;
  }

  #grow(slots: Slots): void {
    const old = slots.ids;
    slots.ids = new Uint32Array(old.length * 2);
    slots.tags = new Uint8Array(old.length * 2);
    slots.used = 0;
    for (let i = 0; i < old.length; i++) if (old[i] !== 0) place(slots, this.#hashOf(old[i]), old[i]);
  }

  /** Two tables instead of one, told apart by the next bit of the hash. */
  #split(slots: Slots, hash: number): void {
    if (slots.depth === this.#depth) {
      const doubled: Slots[] = [];
      for (const entry of this.#directory) doubled.push(entry, entry);
      this.#directory = doubled;
      this.#depth++;
    }
    const depth = slots.depth + 1;
    const zero = newSlots(depth, slots.ids.length);
    const one = newSlots(depth, slots.ids.length);
    for (let i = 0; i < slots.ids.length; i++) {
      const id = slots.ids[i];
      if (id === 0) continue;
      const idHash = this.#hashOf(id);
      place((idHash >>> (32 - depth)) & 1 ? one : zero, idHash, id);
    }
    // The entries that pointed to the old table are one aligned run.
    const run = 1 << (this.#depth - slots.depth);
    const start = (hash >>> (32 - this.#depth)) & ~(run - 1);
    for (let i = 0; i < run; i++) this.#directory[start + i] = i < run / 2 ? zero : one;
  }

  #unindex(hash: number, id: number): void {
    if (this.#directory.length === 0) return;
    const slots = this.#slotsOf(hash);
    const { ids, tags } = slots;
    const mask = ids.length - 1;
    let hole = hash & mask;
    while (ids[hole] !== id) hole = (hole + 1) & mask;
    // Later entries of the run move back over the hole when that keeps them reachable.
    for (let slot = (hole + 1) & mask; ids[slot] !== 0; slot = (slot + 1) & mask) {
      const home = this.#hashOf(ids[slot]) & mask;
      if (((slot - home) & mask) >= ((slot - hole) & mask)) {
        ids[hole] = ids[slot];
        tags[hole] = tags[slot];
        hole = slot;
      }
    }
    ids[hole] = 0;
    slots.used--;
  }

  // ---- rows

  #allocRow(): number {
    if (this.#freeRow !== 0) {
      const id = this.#freeRow;
      const at = this.row(id) - OWN_WORDS;
      this.#freeRow = this.words[at + UNIT];
      return id;
    }
    const index = this.#rows++;
    const pageIndex = index >>> PAGE_BITS;
    if (pageIndex === this.#pages.length) {
      const rows = pageIndex === 0 ? ROWS_FIRST : PAGE_ROWS;
      this.words = new Uint32Array(rows * this.#stride);
      this.#pages.push({ words: this.words, frozen: false });
    } else {
      const page = this.#pages[pageIndex];
      const end = ((index & (PAGE_ROWS - 1)) + 1) * this.#stride;
      if (end > page.words.length) {
        const grown = new Uint32Array(Math.min(page.words.length * 2, PAGE_ROWS * this.#stride));
        grown.set(page.words);
        page.words = grown;
        page.frozen = false;
        this.words = grown;
      }
    }
    return index + 1;
  }

  // ---- arena

  #allocArena(bytes: number): number {
    const kind = classOf(bytes);
    const head = this.#freeUnits[kind];
    if (head !== 0) {
      const unit = head - 1;
      const chunk = this.#writableChunk(unit);
      const at = (unit & CHUNK_UNITS_MASK) * UNIT_BYTES;
      const arena = chunk.bytes;
      this.#freeUnits[kind] = (arena[at] | (arena[at + 1] << 8) | (arena[at + 2] << 16) | (arena[at + 3] << 24)) >>> 0;
      return unit;
    }
    const units = unitsOf(kind);
    const needed = units * UNIT_BYTES;
    if (this.#chunks.length === 0 || this.#bump * UNIT_BYTES + needed > CHUNK_BYTES) {
      const first = this.#chunks.length === 0 ? Math.max(CHUNK_FIRST, needed) : CHUNK_BYTES;
      this.#chunks.push({ bytes: new Uint8Array(first), frozen: false });
      this.#bump = 0;
    }
    const index = this.#chunks.length - 1;
    const chunk = this.#chunks[index];
    const end = this.#bump * UNIT_BYTES + needed;
    if (end > chunk.bytes.length) {
      const grown = new Uint8Array(Math.min(Math.max(chunk.bytes.length * 2, end), CHUNK_BYTES));
      grown.set(chunk.bytes);
      chunk.bytes = grown;
      chunk.frozen = false;
    } else if (chunk.frozen) {
      thawChunk(chunk);
    }
    const unit = ((index << CHUNK_UNITS_BITS) | this.#bump) >>> 0;
    this.#bump += units;
    return unit;
  }

  #freeArena(unit: number): void {
    this.#seek(unit);
    const kind = classOf(storedBytes(this.#keyTo - this.#keyFrom));
    if (this.#freeUnits === NO_FREE_UNITS) this.#freeUnits = new Uint32Array(CLASSES);
    const bytes = this.#writableChunk(unit).bytes;
    const at = (unit & CHUNK_UNITS_MASK) * UNIT_BYTES;
    const next = this.#freeUnits[kind];
    bytes[at] = next;
    bytes[at + 1] = next >>> 8;
    bytes[at + 2] = next >>> 16;
    bytes[at + 3] = next >>> 24;
    this.#freeUnits[kind] = unit + 1;
  }

  #writableChunk(unit: number): Chunk {
    const chunk = this.#chunks[unit >>> CHUNK_UNITS_BITS];
    if (chunk.frozen) thawChunk(chunk);
    return chunk;
  }

  // ---- snapshot

  write(out: SnapshotWriter): void {
    out.u32(this.#stride);
    out.u32(this.#seed >>> 0);
    out.u32(this.size);
    out.u32(this.#rows);
    out.u32(this.#freeRow);
    out.u32(this.#bump);
    for (const head of this.#freeUnits) out.u32(head);
    out.u32(this.#pages.length);
    for (const page of this.#pages) {
      out.block(asBytes(page.words, page.words.length));
      page.frozen = true;
    }
    this.#hasFrozen = true;
    out.u32(this.#chunks.length);
    for (const chunk of this.#chunks) {
      out.block(chunk.bytes);
      chunk.frozen = true;
    }
  }

  *read(from: SnapshotReader): Steps<void> {
    this.clear();
    if (from.u32() !== this.#stride) throw new SnapshotError('key row width differs');
    this.#seed = from.u32() | 0;
    const size = from.u32();
    this.#rows = from.u32();
    this.#freeRow = from.u32();
    this.#bump = from.u32();
    const freeUnits = NO_FREE_UNITS.map(() => from.u32());
    if (freeUnits.some((unit) => unit !== 0)) this.#freeUnits = freeUnits;
    this.#makeRoom(size);
    const pages = from.u32();
    for (let i = 0; i < pages; i++) {
      this.#pages.push({ words: wordsOf(yield* from.block()), frozen: false });
      if (i === 0) this.words = this.#pages[0].words;
      this.#indexPage(i);
    }
    const chunks = from.u32();
    for (let i = 0; i < chunks; i++) this.#chunks.push({ bytes: yield* from.block(), frozen: false });
    if (this.size !== size) throw new SnapshotError('number of keys differs');
    if (size > 0) this.#sharedUpTo = 0;
  }

  /** As many small tables as that many keys will need, so that none of them has to split on the way. */
  #makeRoom(keys: number): void {
    while (keys / 2 ** this.#depth > SLOTS_MAX * LOAD_EXPECTED && this.#depth < DEPTH_MAX) this.#depth++;
    const depth = this.#depth;
    if (depth > 0) this.#directory = Array.from({ length: 2 ** depth }, () => newSlots(depth, SLOTS_MAX));
  }

  #indexPage(page: number): void {
    const { words } = this.#pages[page];
    const first = page * PAGE_ROWS;
    for (let row = 0, at = 0; at < words.length && first + row < this.#rows; row++, at += this.#stride) {
      if (words[at + HASH] === 0) continue;
      this.#index(words[at + HASH] | 0, first + row + 1);
      this.size++;
    }
  }

  /** Bytes of memory held by rows, index and keys. */
  get bytes(): number {
    let sum = 0;
    for (const page of this.#pages) sum += page.words.byteLength;
    for (const chunk of this.#chunks) sum += chunk.bytes.byteLength;
    let last: Slots | undefined;
    for (const slots of this.#directory) {
      if (slots !== last) sum += slots.ids.byteLength + slots.tags.byteLength;
      last = slots;
    }
    return sum;
  }
}

function newSlots(depth: number, length = SLOTS_FIRST): Slots {
  return { ids: new Uint32Array(length), tags: new Uint8Array(length), used: 0, depth };
}

/** Bits that neither the directory nor the place in a small table use, as long as there are not too many of those. */
function tagOf(hash: number): number {
  return (hash >>> 12) & 0xff;
}

function place(slots: Slots, hash: number, id: number): void {
  const mask = slots.ids.length - 1;
  let slot = hash & mask;
  while (slots.ids[slot] !== 0) slot = (slot + 1) & mask;
  slots.ids[slot] = id;
  slots.tags[slot] = tagOf(hash);
  slots.used++;
}

function thaw(page: Page): void {
  page.words = page.words.slice();
  page.frozen = false;
}

function thawChunk(chunk: Chunk): void {
  chunk.bytes = chunk.bytes.slice();
  chunk.frozen = false;
}

/** Bytes that a key takes in the arena. */
function storedBytes(length: number): number {
  return length < LONG ? length + 1 : length + 3;
}

function classOf(bytes: number): number {
  const units = Math.ceil(bytes / UNIT_BYTES);
  if (units <= EXACT_UNITS) return units;
  return EXACT_UNITS + (32 - Math.clz32(units - 1)) - 6;
}

function unitsOf(kind: number): number {
  return kind <= EXACT_UNITS ? kind : EXACT_UNITS << (kind - EXACT_UNITS);
}

/** Four bytes at a time, multiply and rotate; seeded. Never 0. */
function hashBytes(bytes: Uint8Array, from: number, to: number, seed: number): number {
  let hash = seed ^ (to - from);
  let i = from;
  for (const end = to - 3; i < end; i += 4) {
    let word = bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    word = Math.imul(word, 0x2c1b3c6d);
    hash ^= (word << 15) | (word >>> 17);
    hash = Math.imul((hash << 13) | (hash >>> 19), 0x297a2d39) + 0x1b56c4e9;
  }
  for (; i < to; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  hash ^= hash >>> 16;
  hash = Math.imul(hash, 0x7feb352d);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x846ca68b);
  return (hash ^ (hash >>> 16)) | 0 || 1;
}
