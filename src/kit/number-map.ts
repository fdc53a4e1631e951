// A Map whose keys are whole numbers from 0 on (a group's id has 48 bits) and whose `get` is quick. Pure. A Map keeps each key above 2^31
// as an object of its own, calls the runtime for its hash and goes to each candidate for its own: with a thousand groups that was 6 % of a
// node's time. Owned by whoever is asked for a group at every entry. In all else, order and iteration included, it is a Map.
// Invariant: the table holds exactly the entries of the Map; a slot is free, or every slot from its key's home up to it is taken.

const SLOTS_FIRST = 16;
/** No key: keys are not negative. */
const FREE = -1;
const HIGH = 2 ** 32;

export class NumberMap<V> extends Map<number, V> {
  #keys: Float64Array;
  #values: (V | undefined)[];

  /** Empty: Map's constructor would call `set` before there is a table. */
  constructor() {
    super();
    [this.#keys, this.#values] = emptyTable<V>(SLOTS_FIRST);
  }

  override get(key: number): V | undefined {
    return this.#values[this.#slotOf(key)];
  }

  override set(key: number, value: V): this {
    if (!Number.isSafeInteger(key) || key < 0)
      throw new RangeError(`${key} is no key: keys are whole numbers from 0 on`);
    super.set(key, value);
    // A quarter stays free, or chains grow long.
    if (this.size * 4 > this.#keys.length * 3) this.#grow();
    else this.#put(key, value);
    return this;
  }

  override delete(key: number): boolean {
    if (!super.delete(key)) return false;
    const keys = this.#keys;
    const mask = keys.length - 1;
    let gap = this.#slotOf(key);
    // What could have stood in the gap moves there, and leaves one itself.
    for (let at = (gap + 1) & mask; keys[at] !== FREE; at = (at + 1) & mask) {
      const home = homeOf(keys[at], mask);
      if (((at - home) & mask) < ((at - gap) & mask)) continue;
      keys[gap] = keys[at];
      this.#values[gap] = this.#values[at];
      gap = at;
    }
    keys[gap] = FREE;
    this.#values[gap] = undefined;
    return true;
  }

  override clear(): void {
    super.clear();
    [this.#keys, this.#values] = emptyTable<V>(SLOTS_FIRST);
  }

  #grow(): void {
    [this.#keys, this.#values] = emptyTable<V>(this.#keys.length * 2);
    for (const [key, value] of this) this.#put(key, value);
  }

  #put(key: number, value: V): void {
    const slot = this.#slotOf(key);
    this.#keys[slot] = key;
    this.#values[slot] = value;
  }

  /** Where the key is, or the free slot where it would go. */
  #slotOf(key: number): number {
    const keys = this.#keys;
    const mask = keys.length - 1;
    let at = homeOf(key, mask);
    while (keys[at] !== key && keys[at] !== FREE) at = (at + 1) & mask;
    return at;
  }
}

function emptyTable<V>(slots: number): [Float64Array, (V | undefined)[]] {
  return [new Float64Array(slots).fill(FREE), new Array(slots).fill(undefined)];
}

function homeOf(key: number, mask: number): number {
  // Math.imul takes the lower 32 bits of what it is given.
  const mixed = Math.imul(key, 0x85ebca6b) ^ Math.imul(key / HIGH, 0x9e3779b1);
  return (mixed ^ (mixed >>> 15)) & mask;
}
