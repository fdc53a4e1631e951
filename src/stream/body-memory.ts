// Memory for batch bodies, shared by all partitions of a node. A batch grows on a bench, whose memory serves the next batch afterwards; its body is
// a copy that is as long as it is: bodies live until they are applied everywhere, and what grows would leave its shorter copies to the
// collector, more than what is kept. Small bodies share slabs, because memory of its own would cost each an allocation outside of the heap. Used by
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
  /** Undefined: it serves one batch. */
  readonly pool: Pool | undefined;
}

/** Benches of one size on which nobody builds. */
interface Pool {
  readonly bytes: number;
  readonly kept: number;
  readonly idle: Bench[];
}

export const NO_BENCH: Bench = { bytes: NO_BYTES, view: new DataView(NO_BYTES.buffer), pool: undefined };

export class BodyMemory {
  readonly #pools: readonly Pool[] = SIZES.map((size) => ({ ...size, idle: [] }));
  #slab = NO_BYTES;
  #used = 0;

  /** A bench of at least so many bytes, with any content. */
  bench(bytes: number): Bench {
    let size = 0;
    while (size < SIZES.length && SIZES[size].bytes < bytes) size++;
    const pool = size < SIZES.length ? this.#pools[size] : undefined;
    const idle = pool?.idle.pop();
    if (idle !== undefined) return idle;
    const memory = new Uint8Array(pool?.bytes ?? bytes);
    return { bytes: memory, view: new DataView(memory.buffer), pool };
  }

  /** Nobody builds on it any more. */
  giveBack(bench: Bench): void {
    const { pool } = bench;
    if (pool !== undefined && pool.idle.length < pool.kept) pool.idle.push(bench);
  }

  /** The first `length` bytes of a bench as a body: a copy, unless no pool has benches so large. */
  keep({ bytes }: Bench, length: number): Uint8Array {
    if (length > BENCH_BYTES_MAX) return bytes.subarray(0, length);
    return length > SMALL_BYTES_MAX ? bytes.slice(0, length) : this.#keepSmall(bytes, length);
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
