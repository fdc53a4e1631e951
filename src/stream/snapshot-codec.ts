// The stream format of machine snapshots: a head with all small numbers, then blocks (table pages), each with its own length and CRC-32C.
// Pure. Used by machine.ts and its tables, which write and read in the same order. Neither way is ever one buffer or one long step: a
// writer hands out pages as they are while they are taken, a reader works as far as the bytes reach that it was given.
// Invariant: nothing is believed before its checksum was checked.
import { crc32c } from '@node-rs/crc32';

const MAGIC = 0x31534c46; // "FLS1", little-endian
/** 2: widths of packed columns are bytes, later bits. */
const FORMAT = 3;
export const BYTE_WIDTHS = 2;
/** Magic, format, length and CRC of the head. */
const PREFIX_BYTES = 16;
/** Length and CRC. */
const BLOCK_HEAD_BYTES = 8;
const HEAD_BYTES_MAX = 1 << 30;
const BLOCK_BYTES_MAX = 1 << 30;

/** The snapshot's bytes are damaged or of a format that this version does not know. */
export class SnapshotError extends Error {}

export class SnapshotWriter {
  #head = new Uint8Array(1024);
  #view = new DataView(this.#head.buffer);
  #length = PREFIX_BYTES;
  readonly #blocks: Uint8Array[] = [];

  #reserve(bytes: number): number {
    const at = this.#length;
    if (at + bytes > this.#head.length) {
      const grown = new Uint8Array(Math.max(at + bytes, this.#head.length * 2));
      grown.set(this.#head.subarray(0, at));
      this.#head = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#length = at + bytes;
    return at;
  }

  u32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, true);
  }

  number(value: number): void {
    const at = this.#reserve(8);
    this.#view.setFloat64(at, value, true);
  }

  /** Small byte strings, kept in the head. */
  bytes(value: Uint8Array): void {
    this.u32(value.length);
    const at = this.#reserve(value.length);
    this.#head.set(value, at);
  }

  /** A large block. `value` must not change any more. */
  block(value: Uint8Array): void {
    this.#blocks.push(value);
  }

  /** All parts in order. Checksums are computed as they are taken. */
  *parts(): Generator<Uint8Array> {
    const head = this.#head.subarray(0, this.#length);
    this.#view.setUint32(0, MAGIC, true);
    this.#view.setUint32(4, FORMAT, true);
    this.#view.setUint32(8, this.#length, true);
    this.#view.setUint32(12, crc32c(head.subarray(PREFIX_BYTES)), true);
    yield head;
    const blocks = this.#blocks;
    for (let i = 0; i < blocks.length; i++) {
      const block = blocks[i];
      const blockHead = new Uint8Array(BLOCK_HEAD_BYTES);
      const view = new DataView(blockHead.buffer);
      view.setUint32(0, block.length, true);
      view.setUint32(4, crc32c(block), true);
      yield blockHead;
      if (block.length > 0) yield block;
      // Copied pages need not stay until the last one is written.
      blocks[i] = blockHead;
    }
  }
}

/** What reads a snapshot runs up to a `yield` whenever it needs bytes that are not there yet. */
export type Steps<T> = Generator<undefined, T, undefined>;

export class SnapshotReader {
  /** Known when the head was read. */
  format = 0;
  readonly #pieces: Uint8Array[] = [];
  #available = 0;
  /** Of the first piece, taken already. */
  #taken = 0;
  #head: Uint8Array = new Uint8Array(0);
  #view = new DataView(this.#head.buffer);
  #at = 0;

  /** The next bytes of the snapshot; they must stay as they are until they were read. */
  feed(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#pieces.push(bytes);
    this.#available += bytes.length;
  }

  *#take(length: number): Steps<Uint8Array> {
    while (this.#available < length) yield;
    const taken = new Uint8Array(length);
    let at = 0;
    while (at < length) {
      const piece = this.#pieces[0];
      const part = piece.subarray(this.#taken, this.#taken + length - at);
      taken.set(part, at);
      at += part.length;
      this.#taken += part.length;
      if (this.#taken === piece.length) {
        this.#pieces.shift();
        this.#taken = 0;
      }
    }
    this.#available -= length;
    return taken;
  }

  /** To be read first. */
  *head(): Steps<void> {
    const prefix = yield* this.#take(PREFIX_BYTES);
    const view = new DataView(prefix.buffer);
    if (view.getUint32(0, true) !== MAGIC) throw new SnapshotError('not a snapshot');
    const format = view.getUint32(4, true);
    if (format !== FORMAT && format !== BYTE_WIDTHS) throw new SnapshotError(`snapshot format ${format} is not known`);
    this.format = format;
    const length = view.getUint32(8, true);
    if (length < PREFIX_BYTES || length > HEAD_BYTES_MAX) throw new SnapshotError('snapshot head is damaged');
    this.#head = yield* this.#take(length - PREFIX_BYTES);
    if (crc32c(this.#head) !== view.getUint32(12, true)) throw new SnapshotError('snapshot head is damaged');
    this.#view = new DataView(this.#head.buffer);
  }

  #next(bytes: number): number {
    const at = this.#at;
    if (at + bytes > this.#head.length) throw new SnapshotError('snapshot head is too short');
    this.#at = at + bytes;
    return at;
  }

  u32(): number {
    return this.#view.getUint32(this.#next(4), true);
  }

  number(): number {
    return this.#view.getFloat64(this.#next(8), true);
  }

  bytes(): Uint8Array {
    const length = this.u32();
    const at = this.#next(length);
    return this.#head.slice(at, at + length);
  }

  /** The next block, checked: a buffer of its own, the caller's to keep. */
  *block(): Steps<Uint8Array> {
    const head = yield* this.#take(BLOCK_HEAD_BYTES);
    const view = new DataView(head.buffer);
    const length = view.getUint32(0, true);
    if (length > BLOCK_BYTES_MAX) throw new SnapshotError('snapshot block is damaged');
    const block = yield* this.#take(length);
    if (crc32c(block) !== view.getUint32(4, true)) throw new SnapshotError('snapshot block is damaged');
    return block;
  }

  /** Everything written was read. */
  end(): void {
    if (this.#at !== this.#head.length || this.#available !== 0) throw new SnapshotError('snapshot has a tail');
  }
}
