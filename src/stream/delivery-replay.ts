// replay_policy original: messages that were stored before the consumer woke come as far apart as they were stored. Pure; used by
// delivery-consumer.ts.

export class ReplayPace {
  readonly #end: number;
  #stampUs = 0;
  #sentMs = 0;

  /** Messages up to `end` keep their distance; 0: none do. */
  constructor(end: number) {
    this.#end = end;
  }

  /** When a message may go; 0: at once. */
  dueMs(seq: number, stampUs: number): number {
    if (seq > this.#end || this.#stampUs === 0) return 0;
    return this.#sentMs + (stampUs - this.#stampUs) / 1000;
  }

  sent(seq: number, stampUs: number, nowMs: number): void {
    if (seq > this.#end) return;
    this.#stampUs = stampUs;
    this.#sentMs = nowMs;
  }
}
