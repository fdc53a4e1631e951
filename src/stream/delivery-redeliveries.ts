// On the leader: which delivered messages wait for an ack, until when, and which are to be delivered again. Times are monotonic
// milliseconds and live in memory only; a new leader starts every pending message with a full ack wait (DESIGN §7).
// Used by delivery-consumer.ts. Invariant: a pending message either has a due time or stands in the queue (due = Infinity).
import type { ConsumerConfig } from './config.ts';
import { PendingSet } from './consumer-pending.ts';

/** After a scan of n pending messages the next one is at least n / this many milliseconds away. */
const SCANNED_PER_MS = 1000;

export class Redeliveries {
  readonly pending = new PendingSet(true);
  /** Never later than the earliest due time. */
  nextDueMs = Number.POSITIVE_INFINITY;
  /** Given back before any client had them: their count is one too high. They stand in the queue. */
  readonly #unsent = new Set<number>();
  #queue: number[] = [];
  #queueHead = 0;
  #waitMs = 30_000;
  #backoffMs: number[] = [];
  #deliveriesMax = 0;

  configure(config: ConsumerConfig): void {
    this.#waitMs = (config.ack_wait ?? 30e9) / 1e6;
    this.#backoffMs = (config.backoff ?? []).map((ns) => ns / 1e6);
    this.#deliveriesMax = config.max_deliver !== undefined && config.max_deliver > 0 ? config.max_deliver : 0;
  }

  /** How many messages stand in the queue, at most. */
  get queued(): number {
    return this.#queue.length - this.#queueHead;
  }

  /** A leader begins: all that is pending waits anew. */
  begin(pending: PendingSet, nowMs: number): void {
    this.nextDueMs = this.pending.copyFrom(pending, (deliveries) => nowMs + this.#waitFor(deliveries));
  }

  add(seq: number, consumerSeq: number, deliveries: number, nowMs: number): void {
    const dueMs = nowMs + this.#waitFor(deliveries);
    this.pending.add(seq, consumerSeq, deliveries, dueMs);
    if (dueMs < this.nextDueMs) this.nextDueMs = dueMs;
  }

  /** The message to deliver again next; 0 when none. It stays first until `sent` or removed. */
  peek(): number {
    while (this.#queueHead < this.#queue.length) {
      const seq = this.#queue[this.#queueHead];
      const slot = this.pending.find(seq);
      if (slot >= 0 && this.pending.dueAt(slot) === Number.POSITIVE_INFINITY) return seq;
      this.#unsent.delete(seq);
      this.#popQueue();
    }
    return 0;
  }

  /** Deliveries of a pending message so far. */
  deliveries(seq: number): number {
    const slot = this.pending.find(seq);
    if (slot < 0) return 0;
    return this.pending.deliveriesAt(slot) - (this.#unsent.has(seq) ? 1 : 0);
  }

  /** Its ack wait begins when it is prolonged. */
  hold(seq: number): void {
    this.pending.setDue(this.pending.find(seq), Number.MAX_VALUE);
  }

  /** Messages that were on their way to a client, in the order in which they left, and did not get there: they come first again. */
  takeBack(seqs: readonly number[]): void {
    const back = seqs.filter((seq) => this.pending.has(seq));
    for (const seq of back) {
      this.pending.setDue(this.pending.find(seq), Number.POSITIVE_INFINITY);
      this.#unsent.add(seq);
    }
    this.#queue = back.concat(this.#queue.slice(this.#queueHead));
    this.#queueHead = 0;
  }

  /** The first of the queue was delivered once more. */
  sent(seq: number, nowMs: number): number {
    this.#popQueue();
    const slot = this.pending.find(seq);
    const deliveries = this.deliveries(seq) + 1;
    this.#unsent.delete(seq);
    this.pending.setDeliveries(slot, deliveries);
    this.#wait(slot, nowMs + this.#waitFor(deliveries));
    return deliveries;
  }

  /** Not acknowledged: again after `delayMs`. False: it has had its last delivery, and is no longer pending. */
  refuse(seq: number, delayMs: number, nowMs: number): boolean {
    const slot = this.pending.find(seq);
    if (delayMs > 0) {
      this.#wait(slot, nowMs + delayMs);
      return true;
    }
    return this.#enqueue(slot);
  }

  /** The client is at work: the ack wait starts anew. */
  prolong(seq: number, nowMs: number): void {
    const slot = this.pending.find(seq);
    if (slot >= 0) this.#wait(slot, nowMs + this.#waitFor(this.pending.deliveriesAt(slot)));
  }

  /** Queues what is due, ascending. `onDropped` sees what has had its last delivery; it is no longer pending. */
  expire(nowMs: number, onDropped: (seq: number, deliveries: number) => void): void {
    const { pending } = this;
    let nextDueMs = Number.POSITIVE_INFINITY;
    const scanned = pending.size;
    for (let slot = pending.first(); slot >= 0; slot = pending.next(slot)) {
      const dueMs = pending.dueAt(slot);
      if (dueMs > nowMs) {
        if (dueMs < nextDueMs) nextDueMs = dueMs;
        continue;
      }
      const seq = pending.seqAt(slot);
      const deliveries = pending.deliveriesAt(slot);
      if (!this.#enqueue(slot)) onDropped(seq, deliveries);
    }
    this.nextDueMs = Math.max(nextDueMs, nowMs + scanned / SCANNED_PER_MS);
  }

  #enqueue(slot: number): boolean {
    const seq = this.pending.seqAt(slot);
    if (this.#deliveriesMax > 0 && this.deliveries(seq) >= this.#deliveriesMax) {
      this.pending.remove(seq);
      return false;
    }
    if (this.pending.dueAt(slot) === Number.POSITIVE_INFINITY) return true;
    this.pending.setDue(slot, Number.POSITIVE_INFINITY);
    this.#queue.push(seq);
    return true;
  }

  #wait(slot: number, dueMs: number): void {
    this.pending.setDue(slot, dueMs);
    if (dueMs < this.nextDueMs) this.nextDueMs = dueMs;
  }

  #waitFor(deliveries: number): number {
    const { length } = this.#backoffMs;
    return length === 0 ? this.#waitMs : this.#backoffMs[Math.min(deliveries, length) - 1];
  }

  #popQueue(): void {
    this.#queueHead++;
    if (this.#queueHead * 2 > this.#queue.length && this.#queueHead > 32) {
      this.#queue = this.#queue.slice(this.#queueHead);
      this.#queueHead = 0;
    }
  }
}
