// Routes of subjects whose last token, or all tokens from some place on, do not matter: a client subscribes to `_INBOX.x.*` once and lets every
// answer come to a name of its own below it; acks come to names of their own below `$JS.ACK.>`. Kept by the broker beside its cache of
// whole subjects, which such names only pass through. Pure.
// Invariant: an entry holds until any pattern with a wildcard changes; the owner asks `hasLiteral` for each subject, so patterns
// without wildcards may change at will.
import type { Route } from './route.ts';

/** Answers to one client come in runs, and few clients are answered at a time. */
const KEPT = 8;
const DOT = 46;
const TAIL = 62;
const STAR = 42;

export class InboxRoutes {
  /** Including the last dot. Most recently used first. */
  #prefixes: string[] = [];
  #routes: Route[] = [];
  /** Any number of tokens may follow; else one. */
  #deep: boolean[] = [];

  get(subject: string): Route | undefined {
    const prefixes = this.#prefixes;
    for (let i = 0; i < prefixes.length; i++) {
      if (!isNameBelow(prefixes[i], subject, this.#deep[i])) continue;
      if (i > 0) this.#toFront(i);
      return this.#routes[0];
    }
    return undefined;
  }

  /** `route` is that of a literal without faults that begins with `prefix` and of which the rest is free: any tokens (`deep`), or one. */
  keep(prefix: string, deep: boolean, route: Route): void {
    if (prefix === '') return;
    if (this.#prefixes.length === KEPT) {
      this.#prefixes.pop();
      this.#routes.pop();
      this.#deep.pop();
    }
    this.#prefixes.unshift(prefix);
    this.#routes.unshift(route);
    this.#deep.unshift(deep);
  }

  clear(): void {
    if (this.#prefixes.length === 0) return;
    this.#prefixes = [];
    this.#routes = [];
    this.#deep = [];
  }

  #toFront(at: number): void {
    moveToFront(this.#prefixes, at);
    moveToFront(this.#routes, at);
    moveToFront(this.#deep, at);
  }
}

function moveToFront<T>(list: T[], at: number): void {
  const item = list[at];
  list.copyWithin(1, 0, at);
  list[0] = item;
}

/** `subject` is the prefix and one plain token, or several (`deep`). */
function isNameBelow(prefix: string, subject: string, deep: boolean): boolean {
  const from = prefix.length;
  if (subject.length <= from || !subject.startsWith(prefix)) return false;
  let before = DOT;
  for (let i = from; i < subject.length; i++) {
    const code = subject.charCodeAt(i);
    // White space, wildcards, empty tokens, too many tokens: left to those who look closely.
    if (code <= 32 || code === STAR || code === TAIL || (code === DOT && (!deep || before === DOT))) return false;
    before = code;
  }
  return before !== DOT;
}
