// What was handed to the log in one pass, of all groups: columns, because there is one for each entry. Filled by the host as it takes what cores
// want done, gone through when the flush is done that was asked for after it.
// Invariant: what stands in a row may be said, and is stored, once that flush is done, and not before.
import type { Index, RaftMessage, Term } from '../core/types.ts';
import type { GroupRunner } from './group-runner.ts';

export class Durables {
  readonly runners: GroupRunner[] = [];
  /** The end of the group's log. */
  readonly indexes: Index[] = [];
  readonly terms: Term[] = [];
  /** They leave then. */
  readonly messages: (readonly RaftMessage[])[] = [];

  get count(): number {
    return this.runners.length;
  }

  add(runner: GroupRunner, index: Index, term: Term, messages: readonly RaftMessage[]): void {
    this.runners.push(runner);
    this.indexes.push(index);
    this.terms.push(term);
    this.messages.push(messages);
  }
}
