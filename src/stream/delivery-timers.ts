// The earliest of many due times behind one timer of the clock: an indexed binary heap. Whoever has nothing due is not in it
// and costs nothing. Used by the delivery engine; items are its consumers.
import type { Clock, Timer } from '../kit/env.ts';

export interface TimedItem {
  /** Where it stands in the heap; -1 outside. Written by TimerHeap alone. */
  heapAt: number;
  dueMs: number;
  /** Called when due; leaves the heap first. */
  tick(nowMs: number): void;
}

export class TimerHeap {
  readonly #clock: Clock;
  readonly #heap: TimedItem[] = [];
  #timer: Timer | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#heap.length;
  }

  /** Moves an item to a new due time; Infinity takes it out. */
  set(item: TimedItem, dueMs: number): void {
    if (dueMs === Number.POSITIVE_INFINITY) {
      this.#take(item);
      return;
    }
    if (item.heapAt >= 0 && item.dueMs === dueMs) return;
    item.dueMs = dueMs;
    if (item.heapAt < 0) {
      item.heapAt = this.#heap.length;
      this.#heap.push(item);
    }
    this.#down(this.#up(item.heapAt));
    this.#arm();
  }

  clear(): void {
    for (const item of this.#heap) item.heapAt = -1;
    this.#heap.length = 0;
    if (this.#timer !== undefined) this.#clock.cancel(this.#timer);
    this.#timer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
  }

  /** A timer that comes too early is cheap; it is only moved forward, never back. */
  #arm(): void {
    if (this.#heap.length === 0 || this.#heap[0].dueMs >= this.#timerAtMs) return;
    if (this.#timer !== undefined) this.#clock.cancel(this.#timer);
    this.#timerAtMs = this.#heap[0].dueMs;
    this.#timer = this.#clock.after(Math.max(0, this.#timerAtMs - this.#clock.nowMs()), () => this.#fire());
  }

  #fire(): void {
    this.#timer = undefined;
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    const nowMs = this.#clock.nowMs();
    const due: TimedItem[] = [];
    while (this.#heap.length > 0 && this.#heap[0].dueMs <= nowMs) {
      due.push(this.#heap[0]);
      this.#take(this.#heap[0]);
    }
    for (const item of due) item.tick(nowMs);
    this.#arm();
  }

  #take(item: TimedItem): void {
    const at = item.heapAt;
    if (at < 0) return;
    item.heapAt = -1;
    const last = this.#heap.pop()!;
    if (last === item) return;
    this.#heap[at] = last;
    last.heapAt = at;
    this.#down(this.#up(at));
  }

  #up(from: number): number {
    const item = this.#heap[from];
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#heap[parent].dueMs <= item.dueMs) break;
      this.#put(at, this.#heap[parent]);
      at = parent;
    }
    this.#put(at, item);
    return at;
  }

  #down(from: number): void {
    const item = this.#heap[from];
    let at = from;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= this.#heap.length) break;
      if (child + 1 < this.#heap.length && this.#heap[child + 1].dueMs < this.#heap[child].dueMs) child++;
      if (this.#heap[child].dueMs >= item.dueMs) break;
      this.#put(at, this.#heap[child]);
      at = child;
    }
    this.#put(at, item);
  }

  #put(at: number, item: TimedItem): void {
    this.#heap[at] = item;
    item.heapAt = at;
  }
}
