// Growing byte writer and checked reader for consumer commands and snapshots: LEB128 numbers up to 2^53, strings, runs.
// Pure; used by consumer-codec.ts and consumer-record.ts. A reader never runs past its end: malformed input throws, which is
// right for bytes that came out of a checksummed log.

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The bytes end too early, or say what cannot be. */
export class BytesError extends Error {}

export class ByteWriter {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 64) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  reset(): void {
    this.#length = 0;
  }

  u8(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  /** A non-negative safe integer. */
  number(value: number): void {
    this.#room(8);
    let rest = value;
    while (rest >= 0x80000000) {
      this.#bytes[this.#length++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    while (rest >= 128) {
      this.#bytes[this.#length++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
  }

  text(value: string): void {
    const bytes = encoder.encode(value);
    this.number(bytes.length);
    this.raw(bytes);
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Strictly ascending numbers as (gap, run length) pairs behind their count of pairs. */
  ascending(values: ArrayLike<number>): void {
    let runs = 0;
    for (let i = 0; i < values.length; i++) if (i === 0 || values[i] !== values[i - 1] + 1) runs++;
    this.number(runs);
    let before = 0;
    for (let i = 0; i < values.length; ) {
      let end = i + 1;
      while (end < values.length && values[end] === values[end - 1] + 1) end++;
      this.number(values[i] - before);
      this.number(end - i);
      before = values[end - 1];
      i = end;
    }
  }

  /** What was written, not copied; the writer is empty and keeps nothing of it. */
  give(): Uint8Array {
    const bytes = this.#bytes.subarray(0, this.#length);
    this.#bytes = new Uint8Array(64);
    this.#length = 0;
    return bytes;
  }

  /** A copy of what was written. */
  take(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  #room(more: number): void {
    const need = this.#length + more;
    if (need <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(need, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }
}

export class ByteReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  u8(): number {
    if (this.#at >= this.#bytes.length) throw new BytesError('consumer bytes end too early');
    return this.#bytes[this.#at++];
  }

  number(): number {
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.u8();
      value += (byte & 127) * scale;
      if (byte < 128) break;
      scale *= 128;
    }
    if (!Number.isSafeInteger(value)) throw new BytesError('consumer bytes hold a number beyond 2^53');
    return value;
  }

  text(): string {
    return decoder.decode(this.raw(this.number()));
  }

  /** A view, not a copy. */
  raw(length: number): Uint8Array {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new BytesError('consumer bytes end too early');
    const bytes = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return bytes;
  }

  /** What ByteWriter.ascending wrote; hands over (first, count) runs. */
  runs(onRun: (first: number, count: number) => void): void {
    let before = 0;
    for (let runs = this.number(); runs > 0; runs--) {
      const first = before + this.number();
      const count = this.number();
      before = first + count - 1;
      onRun(first, count);
    }
  }
}
