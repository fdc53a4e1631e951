// A bounded cache that admits a key only when it is asked for twice within a short while, so that keys used once
// (reply inboxes) neither fill it nor push out hot ones. Pure; used by the subject index and by broker routes.
// Invariant: at most 2 × `halfMax` entries, of short keys; an entry not asked for during `halfMax` admissions is gone.
import { Door } from './door.ts';

/** Longer ones are never kept: thousands of them, of as many kilobytes each as a client likes, would be most of a node's memory. */
const KEY_LENGTH_MAX = 255;

export class RepeatCache<V> {
  readonly #halfMax: number;
  #young = new Map<string, V>();
  #old = new Map<string, V>();
  readonly #door: Door;

  /** `halfMax`: a power of two. */
  constructor(halfMax: number) {
    this.#halfMax = halfMax;
    this.#door = new Door(halfMax);
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
    if (key.length <= KEY_LENGTH_MAX && this.#door.knows(hashOf(key))) this.#store(key, value);
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

function hashOf(key: string): number {
  let hash = key.length;
  for (let i = 0; i < key.length; i++) hash = (Math.imul(hash, 31) + key.charCodeAt(i)) | 0;
  return hash;
}
