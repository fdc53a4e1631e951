// Memory for batch bodies, shared by all partitions of a node. A batch grows on a bench, whose memory serves the next batch afterwards; its body is
// a copy that is as long as it is: bodies live until they are applied everywhere, and what grows leaves its shorter copies to the collector,
// more than twice what is kept. Small bodies share slabs, because memory of its own would cost each an allocation outside of the heap. Used by
// BatchBuilder. Invariant: a bench is with one builder at a time. A slab lives as long as the last of its bodies; those are of one time, and
// what keeps them (the log's memory tail) forgets the oldest first.

const SLAB_BYTES = 64 * 1024;
/** Larger ones get memory of their own. */
const SMALL_BYTES_MAX = 4 * 1024;
const ALIGN = 8;

/** Sizes of benches, and how many of a size are kept while nobody builds on them: a thousand partitions may build at once. */
const SIZES: readonly { bytes: number; kept: number }[] = [
  { bytes: 1 << 10, kept: 1024 },
  { bytes: 4 << 10, kept: 256 },
  { bytes: 16 << 10, kept: 64 },
  { bytes: 64 << 10, kept: 16 },
  { bytes: 256 << 10, kept: 4 },
  { bytes: 1 << 20, kept: 2 },
];

/** A longer batch gets a bench of its own, which becomes its body. */
export const BENCH_BYTES_MAX = SIZES[SIZES.length - 1].bytes;

const NO_BYTES = new Uint8Array(0);

export interface Bench {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

export const NO_BENCH: Bench = { bytes: NO_BYTES, view: new DataView(NO_BYTES.buffer) };

export class BodyMemory {
  readonly #idle: Bench[][] = SIZES.map(() => []);
  #slab = NO_BYTES;
  #used = 0;

  /** A bench of at least so many bytes, with any content. */
  bench(bytes: number): Bench {
    let size = 0;
    while (size < SIZES.length && SIZES[size].bytes < bytes) size++;
    const idle = size < SIZES.length ? this.#idle[size].pop() : undefined;
    if (idle !== undefined) return idle;
    const memory = new Uint8Array(size < SIZES.length ? SIZES[size].bytes : bytes);
    return { bytes: memory, view: new DataView(memory.buffer) };
  }

  /** Nobody builds on it any more. */
  giveBack(bench: Bench): void {
    const { length } = bench.bytes;
    let size = 0;
    while (size < SIZES.length && SIZES[size].bytes !== length) size++;
    if (size < SIZES.length && this.#idle[size].length < SIZES[size].kept) this.#idle[size].push(bench);
  }

  /** The first `length` bytes of a bench that is given back, as a body. */
  keep(bench: Bench, length: number): Uint8Array {
    if (length > BENCH_BYTES_MAX) return bench.bytes.subarray(0, length);
    const body = length > SMALL_BYTES_MAX ? bench.bytes.slice(0, length) : this.#keepSmall(bench.bytes, length);
    this.giveBack(bench);
    return body;
  }

  #keepSmall(bytes: Uint8Array, length: number): Uint8Array {
    if (this.#used + length > this.#slab.length) {
      this.#slab = new Uint8Array(SLAB_BYTES);
      this.#used = 0;
    }
    const from = this.#used;
    const body = this.#slab.subarray(from, from + length);
    body.set(bytes.subarray(0, length));
    this.#used = Math.min(this.#slab.length, from + Math.ceil(length / ALIGN) * ALIGN);
    return body;
  }
}
