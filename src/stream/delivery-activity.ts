// When a consumer was last used, and when it has been unused for too long: inactive_threshold. Used by consumers on a leader, of one
// partition and of several. Invariant: it says once that the consumer is to go.
import type { ConsumerConfig } from './config.ts';
import type { PushTarget } from './delivery-push.ts';
import type { PullQueue } from './pull-queue.ts';
import type { Outlet } from './types.ts';

const EPHEMERAL_THRESHOLD_MS = 5000;

/** Where its messages are asked for: requests, or a subject. */
export interface Demand {
  readonly queue: PullQueue | undefined;
  readonly push: PushTarget | undefined;
}

export class Activity {
  #activeMs: number;
  /** 0: it may be unused for ever. */
  #thresholdMs = 0;
  #isOver = false;

  constructor(nowMs: number) {
    this.#activeMs = nowMs;
  }

  configure(config: ConsumerConfig): void {
    this.#thresholdMs = (config.inactive_threshold ?? 0) / 1e6;
    if (this.#thresholdMs === 0 && !config.durable_name) this.#thresholdMs = EPHEMERAL_THRESHOLD_MS;
  }

  /** Somebody else looks after it. */
  ignore(): void {
    this.#thresholdMs = 0;
  }

  touch(nowMs: number): void {
    this.#activeMs = nowMs;
  }

  /** True: it is to go. */
  isOver(nowMs: number, demand: Demand, outlet: Outlet): boolean {
    if (this.#isOver || this.dueMs > nowMs) return false;
    if (isUsed(demand, outlet)) this.#activeMs = nowMs;
    else this.#isOver = true;
    return this.#isOver;
  }

  get dueMs(): number {
    const isEndless = this.#thresholdMs === 0 || this.#isOver;
    return isEndless ? Number.POSITIVE_INFINITY : this.#activeMs + this.#thresholdMs;
  }
}

function isUsed({ queue, push }: Demand, outlet: Outlet): boolean {
  queue?.dropLost();
  return queue !== undefined ? queue.size > 0 : outlet.hasInterest(push!.subject);
}
