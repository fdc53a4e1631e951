// Messages with a time to live of their own (Nats-TTL), soonest first: a binary heap of (due stamp, seq) off the JS heap. Pure; part of
// the machine. A message that left earlier stays in the heap until it is due or until `prune`.
// Invariant: parent due <= child due; ties by seq, so that the order of removals is the same everywhere.
import { asBytes, wordsOf } from './paged-rows.ts';
import type { SnapshotReader, SnapshotWriter, Steps } from './snapshot-codec.ts';

const ITEMS_FIRST = 16;
const NO_ITEMS = new Float64Array(0);

export class TtlHeap {
  /** due, seq, due, seq … */
  #items: Float64Array = NO_ITEMS;
  size = 0;

  /** Stamp at which the next message is due; Infinity when there is none. */
  get dueUs(): number {
    return this.size === 0 ? Number.POSITIVE_INFINITY : this.#items[0];
  }

  /** Seq of the message that is due next. */
  get seq(): number {
    return this.#items[1];
  }

  #isBefore(a: number, b: number): boolean {
    const items = this.#items;
    return items[2 * a] < items[2 * b] || (items[2 * a] === items[2 * b] && items[2 * a + 1] < items[2 * b + 1]);
  }

  #swap(a: number, b: number): void {
    const items = this.#items;
    const due = items[2 * a];
    const seq = items[2 * a + 1];
    items[2 * a] = items[2 * b];
    items[2 * a + 1] = items[2 * b + 1];
    items[2 * b] = due;
    items[2 * b + 1] = seq;
  }

  push(dueUs: number, seq: number): void {
    if (2 * this.size === this.#items.length) {
      const grown = new Float64Array(Math.max(2 * ITEMS_FIRST, this.#items.length * 2));
      grown.set(this.#items);
      this.#items = grown;
    }
    let at = this.size++;
    this.#items[2 * at] = dueUs;
    this.#items[2 * at + 1] = seq;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!this.#isBefore(at, parent)) return;
      this.#swap(at, parent);
      at = parent;
    }
  }

  pop(): void {
    this.size--;
    this.#swap(0, this.size);
    this.#sink(0);
  }

  #sink(start: number): void {
    for (let at = start; ; ) {
      let least = at;
      const left = 2 * at + 1;
      if (left < this.size && this.#isBefore(left, least)) least = left;
      if (left + 1 < this.size && this.#isBefore(left + 1, least)) least = left + 1;
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  /** Calls `each` with the seqs due at `stampUs`, in no order. */
  eachDue(stampUs: number, each: (seq: number) => void): void {
    const visit = (at: number): void => {
      if (at >= this.size || this.#items[2 * at] > stampUs) return;
      each(this.#items[2 * at + 1]);
      visit(2 * at + 1);
      visit(2 * at + 2);
    };
    visit(0);
  }

  /** Forgets what is not kept. */
  prune(keep: (seq: number) => boolean): void {
    let kept = 0;
    for (let i = 0; i < this.size; i++) {
      if (!keep(this.#items[2 * i + 1])) continue;
      this.#items[2 * kept] = this.#items[2 * i];
      this.#items[2 * kept + 1] = this.#items[2 * i + 1];
      kept++;
    }
    this.size = kept;
    for (let at = (kept >>> 1) - 1; at >= 0; at--) this.#sink(at);
  }

  clear(): void {
    this.#items = NO_ITEMS;
    this.size = 0;
  }

  write(out: SnapshotWriter): void {
    out.u32(this.size);
    out.block(asBytes(new Uint32Array(this.#items.slice(0, 2 * this.size).buffer), 4 * this.size));
  }

  *read(from: SnapshotReader): Steps<void> {
    this.size = from.u32();
    this.#items = new Float64Array(wordsOf(yield* from.block()).buffer);
  }
}
