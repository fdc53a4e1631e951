// A 128-bit hash of strings and a set of such hashes that can be added to and taken from. Pure; used by the meta
// machine (results digest) and for the check value of the formation record. Two replicas whose sets hold the same
// strings have the same digest, in whatever order the strings came and went.

export type Hash128 = readonly [number, number, number, number];

/** Four lanes of multiply-xor over the UTF-16 units, mixed at the end so that every lane depends on every unit. */
export function hash128(text: string): Hash128 {
  let a = 0x9e3779b9;
  let b = 0x85ebca6b;
  let c = 0xc2b2ae35;
  let d = 0x27d4eb2f ^ text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i) + 1;
    a = Math.imul(a ^ unit, 0x01000193);
    b = Math.imul(b ^ unit, 0x5bd1e995);
    c = Math.imul(c ^ (a >>> 15) ^ unit, 0x2c1b3c6d);
    d = Math.imul(d ^ (b >>> 13) ^ (c >>> 16), 0x297a2d39) + unit;
  }
  for (let round = 0; round < 3; round++) {
    a = finish(a + d);
    b = finish(b ^ a);
    c = finish(c + b);
    d = finish(d ^ c);
  }
  return [a >>> 0, b >>> 0, c >>> 0, d >>> 0];
}

export function hashHex(text: string): string {
  return toHex(hash128(text));
}

/** Sum of the hashes of its members. */
export class SetDigest {
  readonly #sum: [number, number, number, number] = [0, 0, 0, 0];

  add(text: string): void {
    const hash = hash128(text);
    for (let i = 0; i < 4; i++) this.#sum[i] = (this.#sum[i] + hash[i]) >>> 0;
  }

  remove(text: string): void {
    const hash = hash128(text);
    for (let i = 0; i < 4; i++) this.#sum[i] = (this.#sum[i] - hash[i]) >>> 0;
  }

  hex(): string {
    return toHex(this.#sum);
  }
}

function finish(lane: number): number {
  lane = Math.imul(lane ^ (lane >>> 16), 0x85ebca6b);
  lane = Math.imul(lane ^ (lane >>> 13), 0xc2b2ae35);
  return lane ^ (lane >>> 16);
}

function toHex(hash: Hash128): string {
  return hash.map((lane) => lane.toString(16).padStart(8, '0')).join('');
}
