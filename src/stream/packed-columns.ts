// Rows of u32 words, column by column, each column as wide as its values are far apart: most columns of a page of messages are nearly constant, so
// 28 bytes become five to ten. Pure; paged-rows.ts keeps pages that are no longer appended to in this form.
// Invariants: a value that does not fit widens its column, at most three times in a page's life; a dead row reads as anything.

export interface PackedColumns {
  /** One bit per row: it lives. Then the columns, little-endian. */
  bytes: Uint8Array;
  rows: number;
  /** Per column: bytes per value (0 to 4), what is added to each, and where it begins in `bytes`. */
  widths: Uint8Array;
  bases: Uint32Array;
  starts: Uint32Array;
}

const WIDENED_MIN = 3;

const widthOf = (span: number): number =>
  span === 0 ? 0 : span < 0x100 ? 1 : span < 0x10000 ? 2 : span < 0x1000000 ? 3 : 4;

/** `bytes`: what the columns hold already; zeros when left out. Undefined: they are of another length. */
function layOut(rows: number, widths: Uint8Array, bases: Uint32Array, bytes?: Uint8Array): PackedColumns | undefined {
  const starts = new Uint32Array(widths.length);
  let at = (rows + 7) >>> 3;
  for (let c = 0; c < widths.length; c++) {
    starts[c] = at;
    at += rows * widths[c];
  }
  if (bytes !== undefined && bytes.length !== at) return undefined;
  return { bytes: bytes ?? new Uint8Array(at), rows, widths, bases, starts };
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
  for (let row = 0, at = column; row < rows; row++, at += columns) {
    const offset = words[at] - base;
    bytes[to] = offset;
    if (width > 1) bytes[to + 1] = offset >>> 8;
    if (width > 2) bytes[to + 2] = offset >>> 16;
    if (width > 3) bytes[to + 3] = offset >>> 24;
    to += width;
  }
}

/** The rows as words again; dead ones are zeros. */
export function unpackRows(packed: PackedColumns): Uint32Array {
  const { bytes, rows } = packed;
  const columns = packed.widths.length;
  const words = new Uint32Array(rows * columns);
  for (let c = 0; c < columns; c++) {
    const width = packed.widths[c];
    const base = packed.bases[c];
    let from = packed.starts[c];
    for (let row = 0, at = c; row < rows; row++, at += columns, from += width) {
      if ((bytes[row >>> 3] & (1 << (row & 7))) === 0) continue;
      let offset = width === 0 ? 0 : bytes[from];
      if (width > 1) offset |= bytes[from + 1] << 8;
      if (width > 2) offset |= bytes[from + 2] << 16;
      if (width > 3) offset |= bytes[from + 3] << 24;
      words[at] = base + (offset >>> 0);
    }
  }
  return words;
}

export function isLiveRow(packed: PackedColumns, row: number): boolean {
  return (packed.bytes[row >>> 3] & (1 << (row & 7))) !== 0;
}

export function killRow(packed: PackedColumns, row: number): void {
  packed.bytes[row >>> 3] &= ~(1 << (row & 7));
}

export function valueAt(packed: PackedColumns, row: number, column: number): number {
  const { bytes } = packed;
  const base = packed.bases[column];
  const start = packed.starts[column];
  switch (packed.widths[column]) {
    case 0:
      return base;
    case 1:
      return base + bytes[start + row];
    case 2: {
      const at = start + row * 2;
      return base + (bytes[at] | (bytes[at + 1] << 8));
    }
    case 3: {
      const at = start + row * 3;
      return base + (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16));
    }
    default: {
      const at = start + row * 4;
      return base + ((bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0);
    }
  }
}

function store(packed: PackedColumns, row: number, column: number, offset: number): void {
  const { bytes } = packed;
  const width = packed.widths[column];
  let at = packed.starts[column] + row * width;
  for (let i = 0; i < width; i++) {
    bytes[at++] = offset;
    offset >>>= 8;
  }
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
    widths[column] = Math.max(WIDENED_MIN, widths[column], widthOf(top));
  } else {
    // What changes once tends to change again, by more: links between messages far apart.
    widths[column] = Math.max(WIDENED_MIN, widthOf(value - bases[column]));
  }
  const wider = layOut(packed.rows, widths, bases) as PackedColumns;
  wider.bytes.set(packed.bytes.subarray(0, (packed.rows + 7) >>> 3));
  for (let c = 0; c < widths.length; c++) {
    if (c !== column) {
      const from = packed.starts[c];
      wider.bytes.set(packed.bytes.subarray(from, from + packed.rows * widths[c]), wider.starts[c]);
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
  return widths.some((width) => width > 4) ? undefined : layOut(rows, widths, bases, bytes);
}
