// Some seqs of a span, a bit each: which messages a consumer with last_per_subject begins with. Made in any order, walked ascending. Pure; used
// by delivery-count.ts on the leader. Invariant: only seqs of [low, high] are marked.

export class SeqMarks {
  readonly #low: number;
  readonly #high: number;
  readonly #words: Uint32Array;

  constructor(low: number, high: number) {
    this.#low = low;
    this.#high = high;
    this.#words = new Uint32Array((high - low + 32) >>> 5);
  }

  add(seq: number): void {
    const place = seq - this.#low;
    this.#words[place >>> 5] |= 1 << (place & 31);
  }

  /** Smallest marked seq >= from; 0 when there is none. */
  next(from: number): number {
    if (from > this.#high) return 0;
    const place = Math.max(0, from - this.#low);
    const words = this.#words;
    let word = place >>> 5;
    let bits = words[word] & (-1 << (place & 31));
    while (bits === 0) {
      if (++word === words.length) return 0;
      bits = words[word];
    }
    return this.#low + word * 32 + (31 - Math.clz32(bits & -bits));
  }
}
