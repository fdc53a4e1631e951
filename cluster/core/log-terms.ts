// What core remembers of a group's log: where it begins and ends, and which term each index has, as runs of equal terms
// (a handful of numbers, however long the log is). Entries themselves belong to the WAL. Invariant: terms never
// fall along the log, and `termOf` is defined exactly for baseIndex..lastIndex.
import { assert } from './assert.ts';
import type { Index, Term } from './types.ts';

export interface TermRun {
  start: Index;
  term: Term;
}

export class LogTerms {
  lastIndex: Index;
  /** The last run, at hand because nearly every question is about it: of the base when there is none. */
  lastTerm: Term;
  private lastStart: Index;
  /** The position before the first entry: a snapshot's, or (0, 0). */
  baseIndex: Index;
  baseTerm: Term;
  private starts: Index[] = [];
  private terms: Term[] = [];

  /** `runs` cover base.index + 1 .. lastIndex; what lies at or below the base is ignored. */
  constructor(base: { index: Index; term: Term }, lastIndex: Index, runs: readonly TermRun[]) {
    assert(lastIndex >= base.index, `log ends at ${lastIndex}, before its base ${base.index}`);
    this.baseIndex = base.index;
    this.baseTerm = base.term;
    this.lastIndex = base.index;
    this.lastTerm = base.term;
    this.lastStart = base.index;
    for (let i = 0; i < runs.length; i++) {
      const end = i + 1 < runs.length ? runs[i + 1].start - 1 : lastIndex;
      if (end <= this.lastIndex) continue;
      assert(runs[i].start <= this.lastIndex + 1, `no term for index ${this.lastIndex + 1}`);
      this.append(runs[i].term);
      this.lastIndex = end;
    }
    assert(this.lastIndex === lastIndex, `no term for index ${lastIndex}`);
  }

  get firstIndex(): Index {
    return this.baseIndex + 1;
  }

  termOf(index: Index): Term | undefined {
    if (index > this.lastIndex || index < this.baseIndex) return undefined;
    if (index >= this.lastStart) return this.lastTerm;
    for (let run = this.starts.length - 1; run >= 0; run--) {
      if (index >= this.starts[run]) return this.terms[run];
    }
    return this.baseTerm;
  }

  /** One more entry. */
  append(term: Term): void {
    const { lastTerm } = this;
    // Once an entry: texts are made for those who read them.
    if (term < lastTerm) assert(false, `term ${term} after ${lastTerm} at index ${this.lastIndex + 1}`);
    this.lastIndex++;
    if (term === lastTerm) return;
    this.starts.push(this.lastIndex);
    this.terms.push(term);
    this.noteLast();
  }

  /** Forgets the entry at `index` and all after it. */
  truncateFrom(index: Index): void {
    assert(index > this.baseIndex, `truncation at ${index}, at or below the log's base ${this.baseIndex}`);
    if (index > this.lastIndex) return;
    this.lastIndex = index - 1;
    while (this.starts.length > 0 && this.starts[this.starts.length - 1] > this.lastIndex) {
      this.starts.pop();
      this.terms.pop();
    }
    this.noteLast();
  }

  /** The log now begins after `index`. */
  compactTo(index: Index): void {
    const term = this.termOf(index);
    if (index <= this.baseIndex) return;
    assert(term !== undefined, `compaction to ${index}, after the log's end ${this.lastIndex}`);
    let gone = 0;
    while (gone < this.starts.length && (this.starts[gone + 1] ?? this.lastIndex + 1) <= index + 1) gone++;
    this.starts.splice(0, gone);
    this.terms.splice(0, gone);
    if (this.starts.length > 0 && this.starts[0] <= index) this.starts[0] = index + 1;
    this.baseIndex = index;
    this.baseTerm = term;
    this.noteLast();
  }

  /** Empty after (index, term): a snapshot took the log's place. */
  reset(index: Index, term: Term): void {
    this.baseIndex = index;
    this.baseTerm = term;
    this.lastIndex = index;
    this.starts = [];
    this.terms = [];
    this.noteLast();
  }

  private noteLast(): void {
    const last = this.starts.length - 1;
    this.lastStart = last < 0 ? this.baseIndex : this.starts[last];
    this.lastTerm = last < 0 ? this.baseTerm : this.terms[last];
  }

  /** The largest i <= index whose term is <= `term`: where two logs may still agree (conflict back-off). One below the
   * base when no known entry qualifies; `index` itself when that lies below the base. */
  lastWithin(index: Index, term: Term): Index {
    if (index < this.baseIndex) return index;
    let at = Math.min(index, this.lastIndex);
    for (let run = this.starts.length - 1; run >= 0; run--) {
      if (this.starts[run] > at) continue;
      if (this.terms[run] <= term) return at;
      at = this.starts[run] - 1;
    }
    return this.baseTerm <= term ? at : this.baseIndex - 1;
  }

  /** Thesis §3.6.1: is a log that ends at (lastTerm, lastIndex) at least as complete as this one? */
  isUpToDate(lastIndex: Index, lastTerm: Term): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);
  }
}
