// Subject patterns against subjects as bytes: scans of the subject table decide without making strings. Pure; used by
// message-index.ts. Says the same as subjects/subject.ts for valid patterns and subjects.
import { utf8Bytes } from './text.ts';

const DOT = 46;
const STAR = 42;
const TAIL = 62;

const LITERAL = 0;
const ONE_TOKEN = 1;
const REST = 2;

export class SubjectMatcher {
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

  /** The subject `subject[from, to)` matches. */
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
