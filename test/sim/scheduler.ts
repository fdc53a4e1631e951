// The one event queue of a simulated world. Time only moves when an event is taken from it, so a run has no waiting
// and no races. Events at the same time run in an order drawn from the seed, never in the order of insertion.
// Invariant: the sequence of events is a function of the seed alone.
import { NOTHING } from '../../cluster/core/state.ts';
import type { Prng } from './prng.ts';

// All groups of all nodes share it: in a simulated world whoever adds something to it fails.
Object.freeze(NOTHING);

/** Opaque; give it to cancel(). */
export interface ScheduledEvent {
  readonly timeMs: number;
}

interface HeapEvent extends ScheduledEvent {
  timeMs: number;
  tie: number;
  fn: (() => void) | undefined;
}

export interface Scheduler {
  /** Simulated true time in ms since the start of the run. */
  readonly nowMs: number;
  /** Events run so far. */
  readonly eventsRun: number;
  /** Events waiting (cancelled ones may be counted). */
  readonly waiting: number;
  at(timeMs: number, fn: () => void): ScheduledEvent;
  after(delayMs: number, fn: () => void): ScheduledEvent;
  cancel(event: ScheduledEvent): void;
  /** Runs the next event; false when there is none. */
  step(): boolean;
  /** Runs every event up to and including this time, then sets the clock to it. */
  runUntil(timeMs: number): void;
  runFor(durationMs: number): void;
  /** Runs until the queue is empty or `condition` holds after an event; false when `maxEvents` ran out first. */
  runUntilIdle(maxEvents?: number): boolean;
  runUntilTrue(condition: () => boolean, limits?: { maxEvents?: number; timeoutMs?: number }): boolean;
  /** Called after each event: invariants of the whole world. */
  afterEach: (() => void) | undefined;
}

export function createScheduler(prng: Prng): Scheduler {
  const heap: HeapEvent[] = [];
  let nowMs = 0;
  let eventsRun = 0;

  const before = (x: HeapEvent, y: HeapEvent): boolean =>
    x.timeMs < y.timeMs || (x.timeMs === y.timeMs && x.tie < y.tie);

  function push(event: HeapEvent): void {
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(event, heap[parent])) break;
      heap[at] = heap[parent];
      at = parent;
    }
    heap[at] = event;
  }

  function pop(): HeapEvent | undefined {
    const top = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++;
      if (!before(heap[child], last)) break;
      heap[at] = heap[child];
      at = child;
    }
    heap[at] = last;
    return top;
  }

  function step(): boolean {
    for (;;) {
      const event = pop();
      if (event === undefined) return false;
      const fn = event.fn;
      if (fn === undefined) continue;
      event.fn = undefined;
      nowMs = event.timeMs;
      eventsRun++;
      fn();
      scheduler.afterEach?.();
      return true;
    }
  }

  function dropCancelled(): void {
    while (heap.length > 0 && heap[0].fn === undefined) pop();
  }

  const scheduler: Scheduler = {
    get nowMs() {
      return nowMs;
    },
    get eventsRun() {
      return eventsRun;
    },
    get waiting() {
      return heap.length;
    },
    at(timeMs, fn) {
      const event: HeapEvent = { timeMs: Math.max(timeMs, nowMs), tie: prng.uint32(), fn };
      push(event);
      return event;
    },
    after: (delayMs, fn) => scheduler.at(nowMs + Math.max(0, delayMs), fn),
    cancel(event) {
      (event as HeapEvent).fn = undefined;
    },
    step,
    runUntil(timeMs) {
      for (;;) {
        dropCancelled();
        if (heap.length === 0 || heap[0].timeMs > timeMs) break;
        step();
      }
      nowMs = Math.max(nowMs, timeMs);
    },
    runFor: (durationMs) => scheduler.runUntil(nowMs + durationMs),
    runUntilIdle(maxEvents = 10_000_000) {
      for (let i = 0; i < maxEvents; i++) if (!step()) return true;
      return false;
    },
    runUntilTrue(condition, limits = {}) {
      const deadline = nowMs + (limits.timeoutMs ?? Number.POSITIVE_INFINITY);
      for (let i = 0; i < (limits.maxEvents ?? 10_000_000); i++) {
        if (condition()) return true;
        dropCancelled();
        if (heap.length === 0 || heap[0].timeMs > deadline) break;
        step();
      }
      return condition();
    },
    afterEach: undefined,
  };
  return scheduler;
}
