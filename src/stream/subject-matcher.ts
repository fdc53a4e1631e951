// Subject patterns against subjects as bytes: scans of the subject table decide without making strings, unless there are many patterns. Pure;
// used by message-index.ts. Says the same as subjects/subject.ts for valid patterns and subjects.
import { SubjectIndex } from '../subjects/subject.ts';
import { utf8Bytes, utf8Text } from './text.ts';

/** More patterns than this are not gone through one by one. */
export const FEW = 32;

const DOT = 46;
const STAR = 42;
const TAIL = 62;

const LITERAL = 0;
const ONE_TOKEN = 1;
const REST = 2;

export interface Matcher {
  /** The subject `subject[from, to)` matches. */
  matches(subject: Uint8Array, from: number, to: number): boolean;
}

/** A subject matches if one of them says so. */
export function matchersOf(patterns: readonly string[]): readonly Matcher[] {
  if (patterns.length > FEW) return [new ManyMatcher(patterns)];
  return patterns.map((pattern) => new SubjectMatcher(pattern));
}

/** What `subjectMatches` says of one of the patterns, however many they are. */
export function anyOf(patterns: readonly string[]): (subject: string) => boolean {
  const index = new SubjectIndex<true>(0);
  for (const pattern of patterns) index.insert(pattern, true);
  return (subject) => index.matchesAny(subject);
}

class ManyMatcher implements Matcher {
  readonly #matches: (subject: string) => boolean;

  constructor(patterns: readonly string[]) {
    this.#matches = anyOf(patterns);
  }

  matches(subject: Uint8Array, from: number, to: number): boolean {
    return this.#matches(utf8Text(subject, from, to));
  }
}

export class SubjectMatcher implements Matcher {
  readonly #bytes: Uint8Array;
  /** What stands at each byte of the pattern. */
  readonly #kinds: Uint8Array;

  constructor(pattern: string) {
    const bytes = utf8Bytes(pattern);
    const { length } = bytes;
    this.#bytes = bytes;
    this.#kinds = new Uint8Array(length);
    for (let i = 0; i < length; i++) {
      const alone = (i === 0 || bytes[i - 1] === DOT) && (i + 1 === length || bytes[i + 1] === DOT);
      if (alone && bytes[i] === STAR) this.#kinds[i] = ONE_TOKEN;
      else if (alone && bytes[i] === TAIL && i + 1 === length) this.#kinds[i] = REST;
    }
  }

  matches(subject: Uint8Array, from: number, to: number): boolean {
    const bytes = this.#bytes;
    const kinds = this.#kinds;
    let at = from;
    for (let i = 0; i < bytes.length; i++) {
      const kind = kinds[i];
      if (kind === LITERAL) {
        if (at >= to || subject[at] !== bytes[i]) return false;
        at++;
      } else if (kind === REST) {
        return at < to;
      } else {
        if (at >= to) return false;
        while (at < to && subject[at] !== DOT) at++;
      }
    }
    return at === to;
  }
}
