// What a command of the log has said must leave, and one apply could not remove: a smaller limit, a rollup, an interest that ended may concern
// millions of messages. Pure; part of machine.ts, which works it off in the entries that follow, equally on every replica; the leader
// proposes such entries while there is something left (expiry.ts).
// Invariants: rollups first, whose publishers wait for it, then oldest first, one after the other; a chore concerns no message that was
// stored after it (but see `extend`); what it removes is decided when the message is looked at, so that a message which is wanted again by
// then stays.
import { compileFilter } from './consumer-filter.ts';
import { utf8Bytes, utf8Text } from './text.ts';
import type { SubjectFilter } from './types.ts';

/** per-subject: above the limit per subject. rolled-up: all of it. unwanted: of an interest stream, what no consumer wants. */
export type ChoreKind = 'per-subject' | 'rolled-up' | 'unwanted';

export interface Chore {
  kind: ChoreKind;
  filter: SubjectFilter;
  /** Messages of [from, below) are to be looked at. */
  from: number;
  below: number;
}

export class Backlog {
  #chores: Chore[] = [];

  get first(): Chore | undefined {
    return this.#chores[0];
  }

  /** `patterns` empty: all subjects. Of a rollup: the subject, whatever it looks like. */
  add(kind: ChoreKind, patterns: readonly string[], from: number, below: number): void {
    if (from >= below) return;
    const filter = kind === 'rolled-up' ? exactly(patterns[0]) : compileFilter(patterns);
    const chore = { kind, filter, from, below };
    const after = kind === 'rolled-up' ? this.#chores.findIndex((each) => each.kind !== kind) : -1;
    if (after < 0) this.#chores.push(chore);
    else this.#chores.splice(after, 0, chore);
  }

  get isRollingUp(): boolean {
    return this.first?.kind === 'rolled-up';
  }

  /** Seq of the first message that rolls up what is still there; Infinity: there is none. */
  get rolledUpBelow(): number {
    return this.first?.kind === 'rolled-up' ? this.first.below : Number.POSITIVE_INFINITY;
  }

  /** Newer messages have taken the place of some that were to be looked at. */
  extend(kind: ChoreKind, below: number): void {
    for (const chore of this.#chores) if (chore.kind === kind) chore.below = below;
  }

  /** The first is done. */
  shift(): void {
    this.#chores.shift();
  }

  drop(kind: ChoreKind): void {
    this.#chores = this.#chores.filter((chore) => chore.kind !== kind);
  }

  clear(): void {
    this.#chores = [];
  }

  write(): Uint8Array {
    const rows = this.#chores.map(({ kind, filter, from, below }) => [kind, filter.patterns, from, below]);
    return utf8Bytes(JSON.stringify(rows));
  }

  read(bytes: Uint8Array): void {
    this.clear();
    const rows = JSON.parse(utf8Text(bytes, 0, bytes.length)) as [ChoreKind, string[], number, number][];
    for (const [kind, patterns, from, below] of rows) this.add(kind, patterns, from, below);
  }
}

function exactly(subject: string): SubjectFilter {
  return { patterns: [subject], literal: true, matches: (other) => other === subject };
}
