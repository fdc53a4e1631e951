// Distinct seqs that come in any order and leave ascending. Close to each other they are marked in a bitmap, many times faster than a sort.
// Pure; used by message-index.ts for the last message of each subject.
// Invariant: no seq is added twice, none outside of [low, high].

/** Seqs per bit and result, at most, for a bitmap to be worth it. */
const BITMAP_SPAN = 64;
const BITS_MAX = 0x80000000;
const SEQS_FIRST = 64;

export class SeqMarks {
  readonly #low: number;
  /** Undefined: seqs far from each other are kept one by one. */
  readonly #marked: Uint32Array | undefined;
  #seqs = new Float64Array(SEQS_FIRST);
  #count = 0;

  /** `expected`: how many there will be, at most. */
  constructor(low: number, high: number, expected: number) {
    this.#low = low;
    const span = high - low + 1;
    if (span > 0 && span <= Math.min(expected * BITMAP_SPAN, BITS_MAX))
      this.#marked = new Uint32Array((span + 31) >>> 5);
  }

  add(seq: number): void {
    const marked = this.#marked;
    if (marked !== undefined) {
      const place = seq - this.#low;
      marked[place >>> 5] |= 1 << (place & 31);
    } else {
      if (this.#count === this.#seqs.length) {
        const grown = new Float64Array(this.#count * 2);
        grown.set(this.#seqs);
        this.#seqs = grown;
      }
      this.#seqs[this.#count] = seq;
    }
    this.#count++;
  }

  ascending(): Float64Array<ArrayBuffer> {
    const marked = this.#marked;
    if (marked === undefined) return this.#seqs.slice(0, this.#count).sort();
    const seqs = new Float64Array(this.#count);
    const low = this.#low;
    let count = 0;
    for (let word = 0; word < marked.length; word++) {
      const first = low + word * 32;
      for (let bits = marked[word]; bits !== 0; bits &= bits - 1) {
        seqs[count++] = first + (31 - Math.clz32(bits & -bits));
      }
    }
    return seqs;
  }
}
