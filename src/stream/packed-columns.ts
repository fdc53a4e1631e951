// Rows of u32 words, column by column, each value as many bits as the column's values are far apart: most columns of a page of messages are nearly
// constant, so 28 bytes become three to eight. Pure; paged-rows.ts keeps pages that are no longer appended to in this form.
// Invariants: a value that does not fit widens its column, at most three times in a page's life; a dead row reads as anything; any four
// bytes that begin where a column has a value are within `bytes`.

export interface PackedColumns {
  /** One bit per row: it lives. Then the columns, each from a whole byte on, lowest bits first. */
  bytes: Uint8Array;
  rows: number;
  /** Per column: bits per value (0 to 25, or 32), what is added to each, and where it begins in `bytes`. */
  widths: Uint8Array;
  bases: Uint32Array;
  starts: Uint32Array;
}

/** What a column is widened to, or to whole words. */
const WIDENED = 24;
/** Wherever one of these begins in its first byte, four bytes hold it. */
const SHARED_MAX = 25;
const WHOLE = 32;
/** Behind the last column. */
const PADDING_BYTES = 3;

/** A column begins at a whole byte. */
const bytesOf = (rows: number, width: number): number => (rows * width + 7) >>> 3;
const isWidth = (width: number): boolean => width <= SHARED_MAX || width === WHOLE;

function widthOf(span: number): number {
  const bits = WHOLE - Math.clz32(span);
  return bits > SHARED_MAX ? WHOLE : bits;
}

const widenedWidthOf = (span: number): number => (widthOf(span) > WIDENED ? WHOLE : WIDENED);

/** `bytes`: what the columns hold already; zeros when left out. Undefined: they are of another length. */
function layOut(rows: number, widths: Uint8Array, bases: Uint32Array, bytes?: Uint8Array): PackedColumns | undefined {
  const starts = new Uint32Array(widths.length);
  let at = (rows + 7) >>> 3;
  for (let c = 0; c < widths.length; c++) {
    starts[c] = at;
    at += bytesOf(rows, widths[c]);
  }
  const length = at + PADDING_BYTES;
  if (bytes !== undefined && bytes.length !== length) return undefined;
  return { bytes: bytes ?? new Uint8Array(length), rows, widths, bases, starts };
}

/** What a snapshot whose widths are bytes holds ends with the last column. */
export function withPadding(bytes: Uint8Array): Uint8Array {
  const padded = new Uint8Array(bytes.length + PADDING_BYTES);
  padded.set(bytes);
  return padded;
}

/** `words`: `rows` rows of `columns` words; word 0 of a dead row is 0. */
export function packRows(words: Uint32Array, rows: number, columns: number): PackedColumns {
  const widths = new Uint8Array(columns);
  const bases = new Uint32Array(columns);
  for (let c = 0; c < columns; c++) {
    let base = 0xffffffff;
    let top = 0;
    for (let row = 0, at = 0; row < rows; row++, at += columns) {
      if (words[at] === 0) continue;
      const value = words[at + c];
      if (value < base) base = value;
      if (value > top) top = value;
    }
    if (top < base) continue;
    bases[c] = base;
    widths[c] = widthOf(top - base);
  }
  const packed = layOut(rows, widths, bases) as PackedColumns;
  const { bytes } = packed;
  for (let row = 0, at = 0; row < rows; row++, at += columns) if (words[at] !== 0) bytes[row >>> 3] |= 1 << (row & 7);
  for (let c = 0; c < columns; c++) packColumn(packed, c, words, columns);
  return packed;
}

// One loop per column, so that nothing is decided per value. Dead rows get something, which nobody reads.
function packColumn(packed: PackedColumns, column: number, words: Uint32Array, columns: number): void {
  const { bytes, rows } = packed;
  const width = packed.widths[column];
  const base = packed.bases[column];
  let to = packed.starts[column];
  if (width === 0) return;
  if (width === WHOLE) {
    for (let row = 0, at = column; row < rows; row++, at += columns, to += 4) putWord(bytes, to, words[at] - base);
    return;
  }
  const mask = maskOf(width);
  let pending = 0;
  let bits = 0;
  for (let row = 0, at = column; row < rows; row++, at += columns) {
    pending |= ((words[at] - base) & mask) << bits;
    for (bits += width; bits >= 8; bits -= 8) {
      bytes[to++] = pending;
      pending >>>= 8;
    }
  }
  if (bits > 0) bytes[to] = pending;
}

/** The rows as words again; dead ones are zeros. */
export function unpackRows(packed: PackedColumns): Uint32Array {
  const { rows } = packed;
  const columns = packed.widths.length;
  const words = new Uint32Array(rows * columns);
  for (let c = 0; c < columns; c++)
    for (let row = 0, at = c; row < rows; row++, at += columns)
      if (isLiveRow(packed, row)) words[at] = valueAt(packed, row, c);
  return words;
}

const maskOf = (width: number): number => (1 << width) - 1;

function wordAt(bytes: Uint8Array, at: number): number {
  return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24);
}

function putWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word;
  bytes[at + 1] = word >>> 8;
  bytes[at + 2] = word >>> 16;
  bytes[at + 3] = word >>> 24;
}

export function isLiveRow(packed: PackedColumns, row: number): boolean {
  return (packed.bytes[row >>> 3] & (1 << (row & 7))) !== 0;
}

export function killRow(packed: PackedColumns, row: number): void {
  packed.bytes[row >>> 3] &= ~(1 << (row & 7));
}

export function valueAt(packed: PackedColumns, row: number, column: number): number {
  const base = packed.bases[column];
  const width = packed.widths[column];
  if (width === 0) return base;
  const bit = row * width;
  const word = wordAt(packed.bytes, packed.starts[column] + (bit >>> 3));
  return base + (width === WHOLE ? word >>> 0 : (word >>> (bit & 7)) & maskOf(width));
}

function store(packed: PackedColumns, row: number, column: number, offset: number): void {
  const { bytes } = packed;
  const width = packed.widths[column];
  if (width === 0) return;
  const bit = row * width;
  const at = packed.starts[column] + (bit >>> 3);
  if (width === WHOLE) putWord(bytes, at, offset);
  else putWord(bytes, at, (wordAt(bytes, at) & ~(maskOf(width) << (bit & 7))) | (offset << (bit & 7)));
}

/** False: the value does not fit; see `widened`. */
export function setValue(packed: PackedColumns, row: number, column: number, value: number): boolean {
  const offset = value - packed.bases[column];
  if (offset < 0 || widthOf(offset) > packed.widths[column]) return false;
  store(packed, row, column, offset);
  return true;
}

/** A copy in which `value` fits into the column. Bases only fall and widths only grow, so that this ends. */
export function widened(packed: PackedColumns, column: number, value: number): PackedColumns {
  const widths = packed.widths.slice();
  const bases = packed.bases.slice();
  if (value < bases[column]) {
    let top = value;
    for (let row = 0; row < packed.rows; row++)
      if (isLiveRow(packed, row)) top = Math.max(top, valueAt(packed, row, column));
    bases[column] = 0;
    widths[column] = Math.max(widths[column], widenedWidthOf(top));
  } else {
    // What changes once tends to change again, by more: links between messages far apart.
    widths[column] = widenedWidthOf(value - bases[column]);
  }
  const wider = layOut(packed.rows, widths, bases) as PackedColumns;
  wider.bytes.set(packed.bytes.subarray(0, (packed.rows + 7) >>> 3));
  for (let c = 0; c < widths.length; c++) {
    if (c !== column) {
      const from = packed.starts[c];
      wider.bytes.set(packed.bytes.subarray(from, from + bytesOf(packed.rows, widths[c])), wider.starts[c]);
      continue;
    }
    for (let row = 0; row < packed.rows; row++)
      if (isLiveRow(packed, row)) store(wider, row, c, valueAt(packed, row, c) - bases[c]);
  }
  return wider;
}

/** From what a snapshot says; undefined when it does not fit together. */
export function packedFrom(
  bytes: Uint8Array,
  rows: number,
  widths: Uint8Array,
  bases: Uint32Array,
): PackedColumns | undefined {
  return widths.every(isWidth) ? layOut(rows, widths, bases, bytes) : undefined;
}
