// Routes of subjects whose last token does not matter: a client subscribes to `_INBOX.x.*` once and lets every answer come to a name of its
// own below it. Kept by the broker beside its cache of whole subjects, which such names only pass through. Pure.
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

  get(subject: string): Route | undefined {
    const prefixes = this.#prefixes;
    for (let i = 0; i < prefixes.length; i++) {
      if (!isNameBelow(prefixes[i], subject)) continue;
      const route = this.#routes[i];
      if (i > 0) this.#toFront(i, prefixes[i], route);
      return route;
    }
    return undefined;
  }

  /** `route` is that of `subject`, a literal without faults of which the last token is free. */
  keep(subject: string, route: Route): void {
    const prefix = subject.slice(0, subject.lastIndexOf('.') + 1);
    if (prefix === '') return;
    if (this.#prefixes.length === KEPT) {
      this.#prefixes.pop();
      this.#routes.pop();
    }
    this.#prefixes.unshift(prefix);
    this.#routes.unshift(route);
  }

  clear(): void {
    if (this.#prefixes.length === 0) return;
    this.#prefixes = [];
    this.#routes = [];
  }

  #toFront(at: number, prefix: string, route: Route): void {
    this.#prefixes.copyWithin(1, 0, at);
    this.#routes.copyWithin(1, 0, at);
    this.#prefixes[0] = prefix;
    this.#routes[0] = route;
  }
}

/** `subject` is the prefix and one plain token. */
function isNameBelow(prefix: string, subject: string): boolean {
  const from = prefix.length;
  if (subject.length <= from || !subject.startsWith(prefix)) return false;
  for (let i = from; i < subject.length; i++) {
    const code = subject.charCodeAt(i);
    // White space, a further token, a wildcard: left to those who look closely.
    if (code <= 32 || code === DOT || code === STAR || code === TAIL) return false;
  }
  return true;
}
