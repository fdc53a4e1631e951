// A few values by subject id, each until another subject takes its place. Pure; used by message-index.ts for who reads.
// Invariant: it takes no memory until something is remembered: most of a node's many replicas are only written.

const SLOTS = 256;
const NO_IDS = new Uint32Array(0);

export class SubjectCache<T> {
  #ids: Uint32Array = NO_IDS;
  #values: T[] = [];

  get(subject: number): T | undefined {
    const slot = subject & (SLOTS - 1);
    return this.#ids[slot] === subject ? this.#values[slot] : undefined;
  }

  set(subject: number, value: T): void {
    if (this.#ids === NO_IDS) {
      this.#ids = new Uint32Array(SLOTS);
      this.#values = new Array<T>(SLOTS).fill(value);
    }
    const slot = subject & (SLOTS - 1);
    this.#ids[slot] = subject;
    this.#values[slot] = value;
  }

  forget(subject: number): void {
    if (this.get(subject) !== undefined) this.#ids[subject & (SLOTS - 1)] = 0;
  }

  clear(): void {
    this.#ids.fill(0);
  }
}
