// A small ascending set of seqs: acks that arrived for messages whose delivery the log does not know (a former leader's).
// Pure; bounded by its owner, so a sorted array is enough.

export class SeqSet {
  #seqs: number[];

  constructor(seqs: number[] = []) {
    this.#seqs = seqs;
  }

  get size(): number {
    return this.#seqs.length;
  }

  values(): readonly number[] {
    return this.#seqs;
  }

  has(seq: number): boolean {
    return this.#seqs[this.#lowerBound(seq)] === seq;
  }

  /** False when it was there already. */
  add(seq: number): boolean {
    const at = this.#lowerBound(seq);
    if (this.#seqs[at] === seq) return false;
    this.#seqs.splice(at, 0, seq);
    return true;
  }

  remove(seq: number): boolean {
    const at = this.#lowerBound(seq);
    if (this.#seqs[at] !== seq) return false;
    this.#seqs.splice(at, 1);
    return true;
  }

  removeUpTo(seq: number): void {
    if (this.#seqs.length > 0 && this.#seqs[0] <= seq) this.#seqs.splice(0, this.#lowerBound(seq + 1));
  }

  copy(): SeqSet {
    return new SeqSet(this.#seqs.slice());
  }

  #lowerBound(seq: number): number {
    let low = 0;
    let high = this.#seqs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#seqs[middle] < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
