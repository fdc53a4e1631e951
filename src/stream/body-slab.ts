// Memory for small batch bodies, shared by all partitions of a node: a body of its own would cost an allocation outside of the heap, and
// a buffer that is too large until it is copied. Used by BatchBuilder. Invariant: what was taken is used by nobody else until it is
// given back, and only the rest of what was taken last can be. A slab lives as long as the last of its bodies; bodies of one slab are
// of one time, and what keeps them (the log's memory tail) forgets the oldest first.

const SLAB_BYTES = 64 * 1024;
/** Larger ones get memory of their own. */
const SMALL_BYTES_MAX = 4 * 1024;
const ALIGN = 8;

const NO_BYTES = new Uint8Array(0);

export class BodySlab {
  // What `take` gave last: memory from `from` on, with a view of the whole. One view serves all bodies of a slab.
  buffer = NO_BYTES;
  view = new DataView(NO_BYTES.buffer);
  from = 0;

  #slab = NO_BYTES;
  #view = this.view;
  #used = 0;

  /** Memory with any content. */
  take(bytes: number): void {
    if (bytes > SMALL_BYTES_MAX) {
      this.buffer = new Uint8Array(bytes);
      this.view = new DataView(this.buffer.buffer);
      this.from = 0;
      return;
    }
    if (this.#used + bytes > this.#slab.length) {
      this.#slab = new Uint8Array(SLAB_BYTES);
      this.#view = new DataView(this.#slab.buffer);
      this.#used = 0;
    }
    this.buffer = this.#slab;
    this.view = this.#view;
    this.from = this.#used;
    this.#used += bytes;
  }

  /** Of the `taken` bytes at `from` only the first `bytes` are needed. */
  keep(buffer: Uint8Array, from: number, taken: number, bytes: number): Uint8Array {
    if (buffer === this.#slab && from + taken === this.#used) {
      this.#used = Math.min(buffer.length, from + Math.ceil(bytes / ALIGN) * ALIGN);
    }
    return buffer.subarray(from, from + bytes);
  }
}
