// Requests that must be answered within a fixed time, in the order in which they came: one timer for all of them. Used by api.ts, so
// that a request whose work hangs somewhere is answered by the node where it entered. Invariant: `expire` runs at most once, and
// never after `end`.
import type { Clock, Timer } from '../kit/env.ts';

interface Waiting {
  readonly dueMs: number;
  /** Undefined when the request was answered. */
  expire: (() => void) | undefined;
}

export type Deadline = Waiting;

export class Deadlines {
  readonly #clock: Clock;
  readonly #afterMs: number;
  #queue: Waiting[] = [];
  #timer: Timer | undefined;

  constructor(clock: Clock, afterMs: number) {
    this.#clock = clock;
    this.#afterMs = afterMs;
  }

  begin(expire: () => void): Deadline {
    const waiting: Waiting = { dueMs: this.#clock.nowMs() + this.#afterMs, expire };
    this.#queue.push(waiting);
    this.#timer ??= this.#clock.after(this.#afterMs, () => this.#sweep());
    return waiting;
  }

  end(deadline: Deadline): void {
    deadline.expire = undefined;
  }

  close(): void {
    if (this.#timer !== undefined) this.#clock.cancel(this.#timer);
    this.#timer = undefined;
    this.#queue = [];
  }

  /** The timer is set for the oldest one that still waits. */
  #sweep(): void {
    this.#timer = undefined;
    const nowMs = this.#clock.nowMs();
    const queue = this.#queue;
    let at = 0;
    const due: (() => void)[] = [];
    for (; at < queue.length; at++) {
      const { dueMs, expire } = queue[at];
      if (expire === undefined) continue;
      if (dueMs > nowMs) break;
      queue[at].expire = undefined;
      due.push(expire);
    }
    this.#queue = queue.slice(at);
    if (this.#queue.length > 0) {
      this.#timer = this.#clock.after(Math.max(1, this.#queue[0].dueMs - nowMs), () => this.#sweep());
    }
    for (const expire of due) expire();
  }
}
