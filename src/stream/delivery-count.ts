// On the leader: how many messages a consumer has not delivered yet (num_pending), exact at every delivery. Counted once, then
// adjusted by what is stored (looked at when the consumer next delivers) and removed (told by the engine while it watches).
// Used by delivery-consumer.ts. Invariant: while `valid`, `value` = deliverable messages in (cursor, countedTo].
import type { ConsumerRecord } from './consumer-record.ts';
import type { SeqSet } from './consumer-seq-set.ts';
import type { MessageView } from './types.ts';

/** More new messages than this (and than are left anyway) are counted by the view, not one by one. */
const STEPS_MAX = 10_000;
/** After so many removals without a delivery the count is given up, so that an idle consumer costs nothing. */
const REMOVALS_MAX = 10_000;

export class UndeliveredCount {
  readonly #record: ConsumerRecord;
  readonly #view: MessageView;
  #value = 0;
  #countedTo = 0;
  #valid = false;
  #removals = 0;

  constructor(record: ConsumerRecord, view: MessageView) {
    this.#record = record;
    this.#view = view;
  }

  /** Removals of messages matter to the count. */
  watches(cursor: number): boolean {
    return this.#valid && this.#countedTo > cursor;
  }

  invalidate(): void {
    this.#valid = false;
  }

  /** Deliverable messages behind `cursor`. `ahead`: acknowledged ones among them. */
  get(cursor: number, ahead: SeqSet): number {
    const view = this.#view;
    const { lastSeq } = view;
    this.#removals = 0;
    if (this.#valid && lastSeq - this.#countedTo > Math.max(STEPS_MAX, this.#value)) this.#valid = false;
    if (!this.#valid) {
      this.#value = this.#record.countAfter(cursor, view);
      for (const seq of ahead.values()) if (seq > cursor && view.exists(seq)) this.#value--;
      this.#valid = true;
    } else {
      let seq = Math.max(this.#countedTo, cursor);
      while (seq < lastSeq && (seq = this.#record.nextAfter(seq, view)) !== 0) if (!ahead.has(seq)) this.#value++;
    }
    this.#countedTo = lastSeq;
    return this.#value;
  }

  /** The next message was delivered. */
  delivered(): void {
    this.#value--;
  }

  /** The message is about to be removed. */
  removed(seq: number, cursor: number, ahead: SeqSet): void {
    if (!this.#valid) return;
    if (++this.#removals > REMOVALS_MAX) this.#valid = false;
    else if (seq > cursor && seq <= this.#countedTo && !ahead.has(seq)) {
      const { filter } = this.#record;
      const subject = filter.patterns.length === 0 ? '' : this.#view.subjectOf(seq);
      if (this.#record.admits(seq, subject)) this.#value--;
    }
  }
}
