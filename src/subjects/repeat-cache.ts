// A bounded cache that admits a key only when it is asked for twice within a short while, so that keys used once
// (reply inboxes) neither fill it nor push out hot ones. Pure; used by the subject index and by broker routes.
// Invariant: at most 2 × `halfMax` entries; an entry not asked for during `halfMax` admissions is gone.

const DOOR_SLOTS = 1024;

export class RepeatCache<V> {
  readonly #halfMax: number;
  #young = new Map<string, V>();
  #old = new Map<string, V>();
  /** Keys lately asked for once, one per hash slot; empty before the first offer: each of thousands of partitions has such a cache. */
  #door: string[] = [];

  constructor(halfMax: number) {
    this.#halfMax = halfMax;
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  get(key: string): V | undefined {
    const hit = this.#young.get(key);
    if (hit !== undefined || this.#old.size === 0) return hit;
    const aged = this.#old.get(key);
    if (aged === undefined) return undefined;
    this.#old.delete(key);
    this.#store(key, aged);
    return aged;
  }

  /** Keeps `value` if `key` was offered lately; otherwise only remembers that it was. */
  offer(key: string, value: V): void {
    if (this.#door.length === 0) this.#door = new Array<string>(DOOR_SLOTS).fill('');
    const slot = doorSlot(key);
    if (this.#door[slot] === key) this.#store(key, value);
    else this.#door[slot] = key;
  }

  delete(key: string): void {
    if (!this.#young.delete(key)) this.#old.delete(key);
  }

  clear(): void {
    if (this.#young.size > 0) this.#young = new Map();
    if (this.#old.size > 0) this.#old = new Map();
  }

  #store(key: string, value: V): void {
    if (this.#young.size >= this.#halfMax) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }
}

/** A cheap hash of length and the last characters, where subjects differ most. */
function doorSlot(key: string): number {
  let hash = key.length;
  for (let i = Math.max(0, key.length - 8); i < key.length; i++) hash = (hash * 31 + key.charCodeAt(i)) | 0;
  return hash & (DOOR_SLOTS - 1);
}
