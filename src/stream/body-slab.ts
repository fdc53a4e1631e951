// Memory for small batch bodies, shared by all partitions of a node: a body of its own would cost an allocation outside of the heap, and
// a buffer that is too large until it is copied. Used by BatchBuilder. Invariant: what was taken is used by nobody else until it is
// given back, and only the rest of what was taken last can be. A slab lives as long as the last of its bodies; bodies of one slab are
// of one time, and what keeps them (the log's memory tail) forgets the oldest first.

const SLAB_BYTES = 64 * 1024;
/** Larger ones get memory of their own. */
const SMALL_BYTES_MAX = 4 * 1024;
const ALIGN = 8;

export class BodySlab {
  #slab = new Uint8Array(0);
  #used = 0;

  /** Memory with any content. */
  take(bytes: number): Uint8Array {
    if (bytes > SMALL_BYTES_MAX) return new Uint8Array(bytes);
    if (this.#used + bytes > this.#slab.length) {
      this.#slab = new Uint8Array(SLAB_BYTES);
      this.#used = 0;
    }
    const from = this.#used;
    this.#used = from + bytes;
    return this.#slab.subarray(from, from + bytes);
  }

  /** Of `taken` only the first `bytes` are needed. */
  keep(taken: Uint8Array, bytes: number): Uint8Array {
    if (taken.buffer === this.#slab.buffer && taken.byteOffset + taken.length === this.#used) {
      this.#used = Math.min(this.#slab.length, taken.byteOffset + Math.ceil(bytes / ALIGN) * ALIGN);
    }
    return taken.subarray(0, bytes);
  }
}
