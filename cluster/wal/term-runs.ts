// The terms of a group's log, as runs of equal terms; a damaged stretch whose term nobody knows is a run of term 0.
// Used by group-log.ts at run time (append, truncate) and by recovery, which may learn entries in any order.
// Invariant: runs are ascending, neighbours differ, and every index below the first run's start is unknown.
import type { Index, Term } from '../core/types.ts';

export class TermRuns {
  private starts: Index[] = [];
  private terms: Term[] = [];

  /** Position of the run that holds `index`, -1 when before all. */
  private find(index: Index): number {
    let low = 0;
    let high = this.starts.length - 1;
    if (high >= 0 && this.starts[high] <= index) return high;
    while (low <= high) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= index) low = middle + 1;
      else high = middle - 1;
    }
    return high;
  }

  /** 0 when unknown. The caller knows where the log ends. */
  at(index: Index): Term {
    const run = this.find(index);
    return run < 0 ? 0 : this.terms[run];
  }

  /** `index` is the last one, and follows what is known. */
  append(index: Index, term: Term): void {
    const last = this.starts.length - 1;
    if (last >= 0 && this.terms[last] === term) return;
    this.starts.push(index);
    this.terms.push(term);
  }

  /** Sets one index; `end` is one beyond the last index set so far (what follows stays as it was). */
  set(index: Index, term: Term, end: Index): void {
    if (index >= end) {
      if (index > end) this.append(end, 0);
      this.append(index, term);
      return;
    }
    const run = this.find(index);
    const old = run < 0 ? 0 : this.terms[run];
    if (old === term) return;
    const next = run + 1 < this.starts.length ? this.starts[run + 1] : end;
    const starts = [index];
    const terms = [term];
    if (index + 1 < next) {
      starts.push(index + 1);
      terms.push(old);
    }
    this.starts.splice(run + 1, 0, ...starts);
    this.terms.splice(run + 1, 0, ...terms);
    if (run >= 0 && this.starts[run] === index) this.removeRun(run);
    this.mergeAround(index);
  }

  private removeRun(run: number): void {
    this.starts.splice(run, 1);
    this.terms.splice(run, 1);
  }

  private mergeAround(index: Index): void {
    const run = this.find(index);
    if (run + 1 < this.starts.length && this.terms[run + 1] === this.terms[run]) this.removeRun(run + 1);
    if (run > 0 && this.terms[run - 1] === this.terms[run]) this.removeRun(run);
  }

  truncateFrom(index: Index): void {
    while (this.starts.length > 0 && this.starts[this.starts.length - 1] >= index) {
      this.starts.pop();
      this.terms.pop();
    }
  }

  /** Forgets runs that end at or before `index`. */
  dropTo(index: Index): void {
    let count = 0;
    while (count + 1 < this.starts.length && this.starts[count + 1] <= index + 1) count++;
    this.starts.splice(0, count);
    this.terms.splice(0, count);
  }

  /** Terms never fall along a log. Where they do, some of these entries had been replaced, and what told so is lost. */
  ascend(): boolean {
    let highest = 0;
    for (const term of this.terms) {
      if (term !== 0 && term < highest) return false;
      highest = Math.max(highest, term);
    }
    return true;
  }

  clear(): void {
    this.starts = [];
    this.terms = [];
  }
}
