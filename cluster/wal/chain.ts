// The log's chain: 128 bits that grow with every entry, chain(i) = chain(i-1) + hash(index, term, kind, body crc) mod 2^128. Pure.
// Being a sum it names a range by the difference of its ends, so replicas whose logs begin at different snapshots can still
// compare any range that both have. The index is inside the hash, so order counts. Against faults, not against forgery.

export type Chain = Uint32Array;

const TWO32 = 4294967296;

function mix(h: number): number {
  let x = h;
  x ^= x >>> 16;
  x = Math.imul(x, 0x85ebca6b);
  x ^= x >>> 13;
  x = Math.imul(x, 0xc2b2ae35);
  return x ^ (x >>> 16);
}

function lane(
  seed: number,
  indexLow: number,
  indexHigh: number,
  termLow: number,
  kindAndHigh: number,
  crc: number,
): number {
  let h = mix(seed ^ indexLow);
  h = mix(Math.imul(h, 0x9e3779b1) ^ crc);
  h = mix(Math.imul(h, 0x9e3779b1) ^ termLow);
  h = mix(Math.imul(h, 0x9e3779b1) ^ indexHigh);
  return mix(Math.imul(h, 0x9e3779b1) ^ kindAndHigh) >>> 0;
}

/** Adds one entry to `chain`, in place. */
export function chainAdd(chain: Chain, index: number, term: number, kind: number, crc: number): void {
  const indexLow = (index % TWO32) | 0;
  const indexHigh = Math.floor(index / TWO32) | 0;
  const termLow = (term % TWO32) | 0;
  const rest = (Math.floor(term / TWO32) * 256 + kind) | 0;
  let carry = 0;
  for (let i = 0; i < 4; i++) {
    const sum = chain[i] + lane(Math.imul(i + 1, 0x27d4eb2f), indexLow, indexHigh, termLow, rest, crc) + carry;
    chain[i] = sum;
    carry = sum >= TWO32 ? 1 : 0;
  }
}
