// Batch bodies read back from the log: from the memory tail, from a small cache of bodies that came from disk, or from
// disk once for all who ask for the same entry meanwhile. Used by partition.ts for reads and deliveries of cold messages.
// Invariant: the cache holds at most `bytesMax` (or one body).
import type { Group, Index } from '../../cluster/host/types.ts';

type BodyDone = (body: Uint8Array | undefined) => void;

export class BodyCache {
  readonly #group: Group;
  readonly #bytesMax: number;
  #bytes = 0;
  /** Least recently used first. */
  readonly #bodies = new Map<Index, Uint8Array>();
  readonly #reading = new Map<Index, BodyDone[]>();

  constructor(group: Group, bytesMax: number) {
    this.#group = group;
    this.#bytesMax = bytesMax;
  }

  /** The body if no disk is needed. */
  now(index: Index): Uint8Array | undefined {
    const body = this.#group.bodyFromMemory(index);
    if (body !== undefined) return body;
    const cached = this.#bodies.get(index);
    if (cached !== undefined) {
      this.#bodies.delete(index);
      this.#bodies.set(index, cached);
    }
    return cached;
  }

  /** `done(undefined)`: damaged or gone. */
  read(index: Index, done: BodyDone): void {
    const waiting = this.#reading.get(index);
    if (waiting !== undefined) {
      waiting.push(done);
      return;
    }
    this.#reading.set(index, [done]);
    this.#group.readBody(index, (body) => {
      const all = this.#reading.get(index) ?? [];
      this.#reading.delete(index);
      if (body !== undefined) this.#keep(index, body);
      for (const each of all) each(body);
    });
  }

  #keep(index: Index, body: Uint8Array): void {
    this.#bodies.set(index, body);
    this.#bytes += body.length;
    for (const [oldest, old] of this.#bodies) {
      if (this.#bytes <= this.#bytesMax || oldest === index) return;
      this.#bodies.delete(oldest);
      this.#bytes -= old.length;
    }
  }

  clear(): void {
    this.#bodies.clear();
    this.#bytes = 0;
  }
}
