// Consumers on the leader that have demand and no supply, and which of them a stored message wakes. With many of them the filters
// decide, through an index, so that a message costs what its subject matches and not what waits. Used by the delivery engine.
// Invariant: a consumer whose filter matches a stored message is woken, whatever else is.
import { SubjectIndex } from '../subjects/subject.ts';
import type { LiveConsumer } from './delivery-consumer.ts';
import type { MessageView } from './types.ts';

/** Up to so many are woken without a look at their filters. */
const WOKEN_BLINDLY_MAX = 16;

/** Made with the first consumer: most of a node's many replicas have none. */
class Sets {
  readonly all = new Set<LiveConsumer>();
  readonly filtered = new Set<LiveConsumer>();
  readonly index = new SubjectIndex<LiveConsumer>();
  /** The patterns under which a consumer stands in the index. */
  readonly patterns = new Map<LiveConsumer, readonly string[]>();
}

export class HungryConsumers {
  readonly #view: MessageView;
  #storedTo = 0;
  /** Somebody is hungry: the sets themselves are far away in memory. */
  #isAnybody = false;
  #sets: Sets | undefined;

  constructor(view: MessageView) {
    this.#view = view;
  }

  get size(): number {
    return this.#sets === undefined ? 0 : this.#sets.all.size + this.#sets.filtered.size;
  }

  /** A consumer exists, or has a new filter. */
  track(consumer: LiveConsumer): void {
    this.#sets ??= new Sets();
    const { patterns, index } = this.#sets;
    const own = consumer.record.filter.patterns;
    if (patterns.get(consumer) === own) return;
    this.forget(consumer);
    patterns.set(consumer, own);
    for (const pattern of own) index.insert(pattern, consumer);
  }

  forget(consumer: LiveConsumer): void {
    if (this.#sets === undefined) return;
    const { all, filtered, patterns, index } = this.#sets;
    for (const pattern of patterns.get(consumer) ?? []) index.remove(pattern, consumer);
    patterns.delete(consumer);
    all.delete(consumer);
    filtered.delete(consumer);
  }

  clear(): void {
    this.#sets = undefined;
    this.#isAnybody = false;
  }

  add(consumer: LiveConsumer): void {
    this.#sets ??= new Sets();
    this.#isAnybody = true;
    if (consumer.record.filter.patterns.length === 0) this.#sets.all.add(consumer);
    else this.#sets.filtered.add(consumer);
  }

  /** Messages up to `lastSeq` are stored: hands over whom they wake. */
  stored(lastSeq: number, wake: (consumer: LiveConsumer) => void): void {
    const before = this.#storedTo;
    this.#storedTo = lastSeq;
    if (!this.#isAnybody || this.#sets === undefined) return;
    this.#wakeSome(this.#sets, Math.max(before, this.#view.firstSeq - 1) + 1, lastSeq, wake);
    this.#isAnybody = this.size > 0;
  }

  #wakeSome(sets: Sets, first: number, lastSeq: number, wake: (consumer: LiveConsumer) => void): void {
    const { all, filtered, index } = sets;
    // An empty set, too, costs an iterator, and a table when it is cleared.
    if (all.size > 0) {
      for (const consumer of all) wake(consumer);
      all.clear();
    }
    const { size } = filtered;
    if (size === 0) return;
    if (size <= WOKEN_BLINDLY_MAX || size <= lastSeq - first) {
      for (const consumer of filtered) wake(consumer);
      filtered.clear();
      return;
    }
    const matching: LiveConsumer[] = [];
    for (let seq = first; seq <= lastSeq; seq++) {
      if (this.#view.exists(seq)) index.match(this.#view.subjectOf(seq), matching);
    }
    for (const consumer of matching) if (filtered.delete(consumer)) wake(consumer);
  }
}
