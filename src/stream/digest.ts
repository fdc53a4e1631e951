// A 128-bit rolling digest over the results of apply (DESIGN §7). Pure. Replicas that applied the same entries have the same
// digest; it detects divergence, it is not cryptographic. Invariant: the value is a function of the sequence of words added.

/** Number of 32-bit lanes; also the words that a snapshot keeps. */
export const DIGEST_LANES = 4;

export class RollingDigest {
  readonly lanes: Int32Array;

  constructor() {
    this.lanes = new Int32Array(DIGEST_LANES);
    this.reset();
  }

  reset(): void {
    this.lanes.set([0x243f6a88, 0x85a308d3 | 0, 0x13198a2e, 0x03707344]);
  }

  /** Any integer below 2^32. */
  add(word: number): void {
    const lanes = this.lanes;
    let a = lanes[0];
    let b = lanes[1];
    let c = lanes[2];
    let d = lanes[3];
    a = Math.imul(a ^ word, 0x2c1b3c6d);
    a ^= a >>> 15;
    b = Math.imul(b + a, 0x297a2d39);
    b ^= (b >>> 13) ^ word;
    c = Math.imul(c ^ b, 0x1b56c4e9);
    c ^= c >>> 16;
    d = Math.imul(d + c, 0x5bd1e995);
    d ^= d >>> 14;
    lanes[0] = (a + d) | 0;
    lanes[1] = b;
    lanes[2] = c;
    lanes[3] = d;
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
    let out = '';
    for (let i = 0; i < DIGEST_LANES; i++) out += (this.lanes[i] >>> 0).toString(16).padStart(8, '0');
    return out;
  }

  clone(): RollingDigest {
    const copy = new RollingDigest();
    copy.lanes.set(this.lanes);
    return copy;
  }
}
