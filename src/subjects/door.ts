// Who was here lately: tells what comes back from what comes once, by hash, in a fixed number of slots. Before the caches of this room, so that
// names used once (reply inboxes, acks) neither fill them nor push out hot ones. Pure.
// Two that share a slot and take turns would push each other out for ever: whoever comes to a taken slot gets it half of the time.

export class Door {
  readonly #slots: number;
  /** Empty before the first question: each of thousands of partitions has such a door. */
  #seen = new Int32Array(0);
  #chance = 1;

  /** `slots`: a power of two; about as many names as that may take turns. */
  constructor(slots: number) {
    this.#slots = slots;
  }

  /** Was it here lately? Remembers that it is, mostly. */
  knows(hash: number): boolean {
    if (this.#seen.length === 0) this.#seen = new Int32Array(this.#slots);
    const slot = (hash ^ (hash >>> 16)) & (this.#slots - 1);
    const seen = this.#seen[slot];
    if (seen === hash) return true;
    this.#chance = (Math.imul(this.#chance, 1_664_525) + 1_013_904_223) | 0;
    if (seen === 0 || this.#chance < 0) this.#seen[slot] = hash;
    return false;
  }
}
