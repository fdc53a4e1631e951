// Consumers on the leader that have demand and no supply, and which of them a stored message wakes. With many of them the filters
// decide, through an index, so that a message costs what its subject matches and not what waits. Used by the delivery engine.
// Invariant: a consumer whose filter matches a stored message is woken, whatever else is.
import { SubjectIndex } from '../subjects/subject.ts';
import type { LiveConsumer } from './delivery-consumer.ts';
import type { MessageView } from './types.ts';

/** Up to so many are woken without a look at their filters. */
const WOKEN_BLINDLY_MAX = 16;

export class HungryConsumers {
  readonly #view: MessageView;
  #storedTo = 0;
  /** Somebody may be in the sets: a look at them would be one at memory far away. */
  #isAnybody = false;
  readonly #all = new Set<LiveConsumer>();
  readonly #filtered = new Set<LiveConsumer>();
  #index = new SubjectIndex<LiveConsumer>();
  /** The patterns under which a consumer stands in the index. */
  readonly #patterns = new Map<LiveConsumer, readonly string[]>();

  constructor(view: MessageView) {
    this.#view = view;
  }

  get size(): number {
    return this.#all.size + this.#filtered.size;
  }

  /** A consumer exists, or has a new filter. */
  track(consumer: LiveConsumer): void {
    const { patterns } = consumer.record.filter;
    if (this.#patterns.get(consumer) === patterns) return;
    this.forget(consumer);
    this.#patterns.set(consumer, patterns);
    for (const pattern of patterns) this.#index.insert(pattern, consumer);
  }

  forget(consumer: LiveConsumer): void {
    for (const pattern of this.#patterns.get(consumer) ?? []) this.#index.remove(pattern, consumer);
    this.#patterns.delete(consumer);
    this.#all.delete(consumer);
    this.#filtered.delete(consumer);
  }

  clear(): void {
    this.#all.clear();
    this.#filtered.clear();
    this.#patterns.clear();
    this.#index = new SubjectIndex();
  }

  add(consumer: LiveConsumer): void {
    this.#isAnybody = true;
    if (consumer.record.filter.patterns.length === 0) this.#all.add(consumer);
    else this.#filtered.add(consumer);
  }

  /** Messages up to `lastSeq` are stored: hands over whom they wake. */
  stored(lastSeq: number, wake: (consumer: LiveConsumer) => void): void {
    const before = this.#storedTo;
    this.#storedTo = lastSeq;
    if (!this.#isAnybody) return;
    this.#wakeSome(before, lastSeq, wake);
    this.#isAnybody = this.size > 0;
  }

  #wakeSome(before: number, lastSeq: number, wake: (consumer: LiveConsumer) => void): void {
    const first = Math.max(before, this.#view.firstSeq - 1) + 1;
    // An empty set, too, costs an iterator, and a table when it is cleared.
    if (this.#all.size > 0) {
      for (const consumer of this.#all) wake(consumer);
      this.#all.clear();
    }
    const { size } = this.#filtered;
    if (size === 0) return;
    if (size <= WOKEN_BLINDLY_MAX || size <= lastSeq - first) {
      for (const consumer of this.#filtered) wake(consumer);
      this.#filtered.clear();
      return;
    }
    const matching: LiveConsumer[] = [];
    for (let seq = first; seq <= lastSeq; seq++) {
      if (this.#view.exists(seq)) this.#index.match(this.#view.subjectOf(seq), matching);
    }
    for (const consumer of matching) if (this.#filtered.delete(consumer)) wake(consumer);
  }
}
