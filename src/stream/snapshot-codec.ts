// The container of machine snapshots: one head with all small numbers and a directory of blocks, then the blocks as they
// are (usually views of table pages, so that taking a snapshot copies nothing). Pure. Used by machine.ts and its tables, which
// write and read in the same order. Invariant: nothing is believed before its CRC-32C was checked.
import { crc32c } from '@node-rs/crc32';

const MAGIC = 0x31534c46; // "FLS1", little-endian
const FORMAT = 1;
/** magic u32, format u32, head length u32, head CRC u32. */
const PREFIX_BYTES = 16;

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

  /** A large block. `value` must not change until the snapshot is written. `crc` when it is known already; returns it. */
  block(value: Uint8Array, crc?: number): number {
    const sum = crc ?? crc32c(value);
    this.u32(value.length);
    this.u32(sum);
    if (value.length > 0) this.#blocks.push(value);
    return sum;
  }

  finish(): Uint8Array[] {
    const head = this.#head.subarray(0, this.#length);
    this.#view.setUint32(0, MAGIC, true);
    this.#view.setUint32(4, FORMAT, true);
    this.#view.setUint32(8, this.#length, true);
    this.#view.setUint32(12, crc32c(head.subarray(PREFIX_BYTES)), true);
    return [head, ...this.#blocks];
  }
}

export class SnapshotReader {
  readonly #state: Uint8Array;
  readonly #view: DataView;
  readonly #headEnd: number;
  #at = PREFIX_BYTES;
  #blockAt: number;

  constructor(state: Uint8Array) {
    this.#state = state;
    this.#view = new DataView(state.buffer, state.byteOffset, state.length);
    if (state.length < PREFIX_BYTES || this.#view.getUint32(0, true) !== MAGIC)
      throw new SnapshotError('not a snapshot');
    const format = this.#view.getUint32(4, true);
    if (format !== FORMAT) throw new SnapshotError(`snapshot format ${format} is not known`);
    this.#headEnd = this.#view.getUint32(8, true);
    if (this.#headEnd < PREFIX_BYTES || this.#headEnd > state.length) throw new SnapshotError('snapshot head is cut');
    const crc = crc32c(state.subarray(PREFIX_BYTES, this.#headEnd));
    if (crc !== this.#view.getUint32(12, true)) throw new SnapshotError('snapshot head is damaged');
    this.#blockAt = this.#headEnd;
  }

  #take(bytes: number): number {
    const at = this.#at;
    if (at + bytes > this.#headEnd) throw new SnapshotError('snapshot head is too short');
    this.#at = at + bytes;
    return at;
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  number(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }

  bytes(): Uint8Array {
    const length = this.u32();
    const at = this.#take(length);
    return this.#state.slice(at, at + length);
  }

  /** A view of the next block, checked; copy what should outlive the state. */
  block(): Uint8Array {
    const length = this.u32();
    const crc = this.u32();
    const from = this.#blockAt;
    if (from + length > this.#state.length) throw new SnapshotError('snapshot block is cut');
    this.#blockAt = from + length;
    const bytes = this.#state.subarray(from, from + length);
    if (crc32c(bytes) !== crc) throw new SnapshotError('snapshot block is damaged');
    return bytes;
  }

  /** Everything written was read. */
  end(): void {
    if (this.#at !== this.#headEnd || this.#blockAt !== this.#state.length)
      throw new SnapshotError('snapshot has a tail');
  }
}
