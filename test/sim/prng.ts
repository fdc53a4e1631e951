// Seeded chance for everything under test/sim. One root generator per run; each part of the world draws from a
// stream of its own, derived by name, so that one part drawing more or fewer numbers never shifts what another sees.
// Invariant: the same seed and the same names give the same numbers, on every machine.

export interface Prng {
  /** Uniform integer in [0, 2^32). */
  uint32(): number;
  /** Uniform in [0, 1). */
  float(): number;
  /** Uniform integer in [0, below). */
  int(below: number): number;
  /** Uniform integer in [low, high], both included. */
  between(low: number, high: number): number;
  chance(probability: number): boolean;
  /** Exponentially distributed with this mean. */
  exponential(mean: number): number;
  pick<T>(items: readonly T[]): T;
  /** Shuffles in place and returns the same array. */
  shuffle<T>(items: T[]): T[];
  bytes(length: number): Uint8Array;
  /** An independent generator that depends on this generator's seed and the name only, never on what was drawn. */
  stream(name: string): Prng;
}

/** Four 32-bit words from a text: FNV-1a with four offsets, each word finished by a murmur3 avalanche. */
function hashText(text: string): [number, number, number, number] {
  const words: number[] = [];
  for (let lane = 0; lane < 4; lane++) {
    let h = (0x811c9dc5 ^ Math.imul(lane + 1, 0x9e3779b9)) >>> 0;
    for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
    h ^= h >>> 16;
    h = Math.imul(h, 0x85ebca6b);
    h ^= h >>> 13;
    h = Math.imul(h, 0xc2b2ae35);
    words.push((h ^ (h >>> 16)) >>> 0);
  }
  return [words[0], words[1], words[2], words[3]];
}

/** sfc32 (Chris Doty-Humphrey's small fast counting generator). */
export function createPrng(seed: number | string): Prng {
  const name = String(seed);
  let [a, b, c, counter] = hashText(name);

  function uint32(): number {
    const t = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t;
    c |= 0;
    return t >>> 0;
  }
  for (let i = 0; i < 12; i++) uint32();

  const prng: Prng = {
    uint32,
    float: () => uint32() / 4294967296,
    int: (below) => Math.floor((uint32() / 4294967296) * below),
    between: (low, high) => low + Math.floor((uint32() / 4294967296) * (high - low + 1)),
    chance: (probability) => uint32() / 4294967296 < probability,
    exponential: (mean) => -mean * Math.log(1 - uint32() / 4294967296),
    pick: (items) => items[prng.int(items.length)],
    shuffle: (items) => {
      for (let i = items.length - 1; i > 0; i--) {
        const j = prng.int(i + 1);
        const held = items[i];
        items[i] = items[j];
        items[j] = held;
      }
      return items;
    },
    bytes: (length) => {
      const out = new Uint8Array(length);
      for (let i = 0; i < length; i += 4) {
        const word = uint32();
        out[i] = word;
        if (i + 1 < length) out[i + 1] = word >>> 8;
        if (i + 2 < length) out[i + 2] = word >>> 16;
        if (i + 3 < length) out[i + 3] = word >>> 24;
      }
      return out;
    },
    stream: (part) => createPrng(`${name}/${part}`),
  };
  return prng;
}
