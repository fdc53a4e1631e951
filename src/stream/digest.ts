// A 128-bit rolling digest over the results of apply (DESIGN §7). Pure. Replicas that applied the same entries have the same
// digest; it detects divergence, it is not cryptographic. Invariant: the value is a function of the sequence of words added.

/** Number of 32-bit lanes; also the words that a snapshot keeps. */
const DIGEST_LANES = 4;

export class RollingDigest {
  // Four numbers in one object: an array would be three more places in memory per entry and replica.
  #a = 0;
  #b = 0;
  #c = 0;
  #d = 0;

  constructor() {
    this.reset();
  }

  reset(): void {
    this.lanes = [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344];
  }

  get lanes(): number[] {
    return [this.#a >>> 0, this.#b >>> 0, this.#c >>> 0, this.#d >>> 0];
  }

  set lanes(lanes: readonly number[]) {
    if (lanes.length !== DIGEST_LANES) throw new Error(`digest of ${lanes.length} lanes`);
    this.#a = lanes[0] | 0;
    this.#b = lanes[1] | 0;
    this.#c = lanes[2] | 0;
    this.#d = lanes[3] | 0;
  }

  /** Any integer below 2^32. */
  add(word: number): void {
    const a = Math.imul(this.#a ^ word, 0x2c1b3c6d);
    const mixed = a ^ (a >>> 15);
    const b = Math.imul(this.#b + mixed, 0x297a2d39);
    this.#b = b ^ (b >>> 13) ^ word;
    const c = Math.imul(this.#c ^ this.#b, 0x1b56c4e9);
    this.#c = c ^ (c >>> 16);
    const d = Math.imul(this.#d + this.#c, 0x5bd1e995);
    this.#d = d ^ (d >>> 14);
    this.#a = (mixed + this.#d) | 0;
  }

  /** An integer in [0, 2^53). */
  addNumber(n: number): void {
    this.add(n | 0);
    this.add((n / 4294967296) | 0);
  }

  addText(text: string): void {
    this.add(text.length);
    for (let i = 0; i < text.length; i++) this.add(text.charCodeAt(i));
  }

  hex(): string {
    return this.lanes.map((lane) => lane.toString(16).padStart(8, '0')).join('');
  }

  clone(): RollingDigest {
    const copy = new RollingDigest();
    copy.lanes = this.lanes;
    return copy;
  }
}
