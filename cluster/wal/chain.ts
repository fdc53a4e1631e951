// The log's chain: 128 bits that grow with every entry, chain(i) = chain(i-1) + hash(index, term, kind, body crc) mod 2^128. Pure.
// Being a sum it names a range by the difference of its ends, so replicas whose logs begin at different snapshots can still
// compare any range that both have. The index is inside the hash, so order counts. Against faults, not against forgery.

/** The value stands in the object that it belongs to, as signed words: those need no memory of their own. */
export interface Chain {
  chain0: number;
  chain1: number;
  chain2: number;
  chain3: number;
}

/** Of records that have none. */
export const NO_CHAIN: Readonly<Chain> = { chain0: 0, chain1: 0, chain2: 0, chain3: 0 };

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
  return mix(Math.imul(h, 0x9e3779b1) ^ kindAndHigh);
}

/** What the topmost bits of `a` and `b` carry, when `sum` is what they add up to with what came in below. */
function carryOf(a: number, b: number, sum: number): number {
  return ((a & b) | ((a | b) & ~sum)) >>> 31;
}

/** Adds one entry to `chain`, in place. */
export function chainAdd(chain: Chain, index: number, term: number, kind: number, crc: number): void {
  const indexLow = (index % TWO32) | 0;
  const indexHigh = Math.floor(index / TWO32) | 0;
  const termLow = (term % TWO32) | 0;
  const rest = (Math.floor(term / TWO32) * 256 + kind) | 0;
  const { chain0, chain1, chain2, chain3 } = chain;
  const add0 = lane(0x27d4eb2f, indexLow, indexHigh, termLow, rest, crc);
  const add1 = lane(0x4fa9d65e, indexLow, indexHigh, termLow, rest, crc);
  const add2 = lane(0x777ec18d, indexLow, indexHigh, termLow, rest, crc);
  const add3 = lane(0x9f53acbc, indexLow, indexHigh, termLow, rest, crc);
  const sum0 = (chain0 + add0) | 0;
  const sum1 = (chain1 + add1 + carryOf(chain0, add0, sum0)) | 0;
  const sum2 = (chain2 + add2 + carryOf(chain1, add1, sum1)) | 0;
  chain.chain0 = sum0;
  chain.chain1 = sum1;
  chain.chain2 = sum2;
  chain.chain3 = (chain3 + add3 + carryOf(chain2, add2, sum2)) | 0;
}

/** Takes the entry out again that was added last: a - b is ~(~a + b). */
export function chainRemove(chain: Chain, index: number, term: number, kind: number, crc: number): void {
  invert(chain);
  chainAdd(chain, index, term, kind, crc);
  invert(chain);
}

function invert(chain: Chain): void {
  chain.chain0 = ~chain.chain0;
  chain.chain1 = ~chain.chain1;
  chain.chain2 = ~chain.chain2;
  chain.chain3 = ~chain.chain3;
}

export function copyChain(from: Chain, to: Chain): void {
  to.chain0 = from.chain0;
  to.chain1 = from.chain1;
  to.chain2 = from.chain2;
  to.chain3 = from.chain3;
}
