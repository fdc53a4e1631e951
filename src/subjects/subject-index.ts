// Which of many patterns match a literal subject. Pure; used by the broker (subscriptions), streams and the API.
// Literal patterns live in one Map, wildcard patterns in a trie of tokens; tokens of the subject are cut out only where
// the trie has literal children, so a unique reply inbox against `_INBOX.x.*` costs two small look-ups. Results of
// subjects that repeat are cached; a change of a literal pattern drops one entry, of a wildcard pattern all.
import { RepeatCache } from './repeat-cache.ts';
import { hasWildcard } from './subject.ts';

/** Few values are an array; many become a Set, so that removing one of 100,000 stays cheap. */
type Bucket<T> = T[] | Set<T>;
const BUCKET_ARRAY_MAX = 64;

interface Node<T> {
  children: Map<string, Node<T>> | undefined;
  star: Node<T> | undefined;
  /** Patterns that end here. */
  here: Bucket<T> | undefined;
  /** Patterns that end in `>` below here. */
  tail: Bucket<T> | undefined;
}

export class SubjectIndex<T> {
  readonly #literals = new Map<string, Bucket<T>>();
  readonly #root: Node<T> = newNode();
  readonly #cache: RepeatCache<readonly T[]> | undefined;
  #literalCount = 0;
  #wildcardCount = 0;

  /** `cacheMax`: most results kept; 0 for owners with a cache of their own. */
  constructor(cacheMax = 4096) {
    this.#cache = cacheMax > 0 ? new RepeatCache(Math.ceil(cacheMax / 2)) : undefined;
  }

  /** Number of (pattern, value) pairs. */
  get size(): number {
    return this.#literalCount + this.#wildcardCount;
  }

  /** The same pair twice counts once or twice, whichever is cheaper: do not. */
  insert(pattern: string, value: T): void {
    if (!hasWildcard(pattern)) {
      this.#literals.set(pattern, added(this.#literals.get(pattern), value));
      this.#literalCount++;
      this.#cache?.delete(pattern);
      return;
    }
    let node = this.#root;
    const tokens = pattern.split('.');
    const last = tokens.length - 1;
    for (let i = 0; i < last; i++) node = childFor(node, tokens[i]);
    if (tokens[last] === '>') node.tail = added(node.tail, value);
    else {
      node = childFor(node, tokens[last]);
      node.here = added(node.here, value);
    }
    this.#wildcardCount++;
    this.#cache?.clear();
  }

  /** False when the pair is not there. */
  remove(pattern: string, value: T): boolean {
    if (!hasWildcard(pattern)) {
      const bucket = this.#literals.get(pattern);
      if (bucket === undefined || !removed(bucket, value)) return false;
      if (isEmpty(bucket)) this.#literals.delete(pattern);
      this.#literalCount--;
      this.#cache?.delete(pattern);
      return true;
    }
    if (!removeBelow(this.#root, pattern.split('.'), 0, value)) return false;
    this.#wildcardCount--;
    this.#cache?.clear();
    return true;
  }

  /** Appends to `into` every value whose pattern matches the literal `subject`; once per matching pattern. */
  match(subject: string, into: T[]): void {
    const cache = this.#cache;
    if (cache === undefined) {
      this.#collect(subject, into);
      return;
    }
    let found = cache.get(subject);
    if (found === undefined) {
      const fresh: T[] = [];
      this.#collect(subject, fresh);
      cache.offer(subject, fresh);
      found = fresh;
    }
    for (let i = 0; i < found.length; i++) into.push(found[i]);
  }

  /** Every literal subject made of this one's tokens but another last token has the same matches, unless one of them is a pattern itself
   * (`hasLiteral`). Reply inboxes are like that: one pattern `_INBOX.x.*`, and a name used once below it. */
  lastTokenIsFree(subject: string): boolean {
    return this.#wildcardCount === 0 || lastIsFreeBelow(this.#root, subject, 0);
  }

  /** Every literal subject that begins like this one up to there, whatever tokens follow (one at least), has the same matches, unless it is a
   * pattern itself (`hasLiteral`). -1: all tokens count. Acks are like that: `$JS.ACK.>`, and a name used once below it. */
  restIsFreeFrom(subject: string): number {
    return restIsFreeBelow(this.#root, subject, 0);
  }

  hasLiteral(subject: string): boolean {
    return this.#literals.has(subject);
  }

  /** Some pattern matches the literal `subject`. */
  matchesAny(subject: string): boolean {
    return this.#literals.has(subject) || (this.#wildcardCount > 0 && anyBelow(this.#root, subject, 0));
  }

  #collect(subject: string, into: T[]): void {
    const exact = this.#literals.get(subject);
    if (exact !== undefined) collectBucket(exact, into);
    if (this.#wildcardCount > 0) collectBelow(this.#root, subject, 0, into);
  }
}

function newNode<T>(): Node<T> {
  return { children: undefined, star: undefined, here: undefined, tail: undefined };
}

function childFor<T>(node: Node<T>, token: string): Node<T> {
  if (token === '*') return (node.star ??= newNode());
  const children = (node.children ??= new Map());
  let child = children.get(token);
  if (child === undefined) children.set(token, (child = newNode()));
  return child;
}

function removeBelow<T>(node: Node<T>, tokens: string[], depth: number, value: T): boolean {
  if (depth === tokens.length) {
    if (node.here === undefined || !removed(node.here, value)) return false;
    if (isEmpty(node.here)) node.here = undefined;
    return true;
  }
  const token = tokens[depth];
  if (token === '>' && depth === tokens.length - 1) {
    if (node.tail === undefined || !removed(node.tail, value)) return false;
    if (isEmpty(node.tail)) node.tail = undefined;
    return true;
  }
  const child = token === '*' ? node.star : node.children?.get(token);
  if (child === undefined || !removeBelow(child, tokens, depth + 1, value)) return false;
  if (isBare(child)) {
    if (token === '*') node.star = undefined;
    else {
      node.children!.delete(token);
      if (node.children!.size === 0) node.children = undefined;
    }
  }
  return true;
}

function collectBelow<T>(node: Node<T>, subject: string, from: number, into: T[]): void {
  if (node.tail !== undefined) collectBucket(node.tail, into);
  if (node.children === undefined && node.star === undefined) return;
  const dot = subject.indexOf('.', from);
  const child = node.children?.get(dot < 0 ? subject.slice(from) : subject.slice(from, dot));
  if (dot < 0) {
    if (child?.here !== undefined) collectBucket(child.here, into);
    if (node.star?.here !== undefined) collectBucket(node.star.here, into);
    return;
  }
  if (child !== undefined) collectBelow(child, subject, dot + 1, into);
  if (node.star !== undefined) collectBelow(node.star, subject, dot + 1, into);
}

/** No wildcard pattern on the way names a last token. */
function lastIsFreeBelow<T>(node: Node<T>, subject: string, from: number): boolean {
  if (node.children === undefined && node.star === undefined) return true;
  const dot = subject.indexOf('.', from);
  if (dot < 0) return node.children === undefined;
  const child = node.children?.get(subject.slice(from, dot));
  if (child !== undefined && !lastIsFreeBelow(child, subject, dot + 1)) return false;
  return node.star === undefined || lastIsFreeBelow(node.star, subject, dot + 1);
}

/** Where on all ways no wildcard pattern names a token any more. */
function restIsFreeBelow<T>(node: Node<T>, subject: string, from: number): number {
  if (node.children === undefined && node.star === undefined) return from;
  const dot = subject.indexOf('.', from);
  if (dot < 0) return -1;
  const child = node.children?.get(subject.slice(from, dot));
  const named = child === undefined ? dot + 1 : restIsFreeBelow(child, subject, dot + 1);
  const any = node.star === undefined ? dot + 1 : restIsFreeBelow(node.star, subject, dot + 1);
  return named < 0 || any < 0 ? -1 : Math.max(named, any);
}

function anyBelow<T>(node: Node<T>, subject: string, from: number): boolean {
  if (node.tail !== undefined) return true;
  if (node.children === undefined && node.star === undefined) return false;
  const dot = subject.indexOf('.', from);
  const child = node.children?.get(dot < 0 ? subject.slice(from) : subject.slice(from, dot));
  if (dot < 0) return child?.here !== undefined || node.star?.here !== undefined;
  if (child !== undefined && anyBelow(child, subject, dot + 1)) return true;
  return node.star !== undefined && anyBelow(node.star, subject, dot + 1);
}

function isBare<T>(node: Node<T>): boolean {
  return node.children === undefined && node.star === undefined && node.here === undefined && node.tail === undefined;
}

function added<T>(bucket: Bucket<T> | undefined, value: T): Bucket<T> {
  if (bucket === undefined) return [value];
  if (!Array.isArray(bucket)) {
    bucket.add(value);
    return bucket;
  }
  if (bucket.length >= BUCKET_ARRAY_MAX) return new Set(bucket).add(value);
  bucket.push(value);
  return bucket;
}

function removed<T>(bucket: Bucket<T>, value: T): boolean {
  if (!Array.isArray(bucket)) return bucket.delete(value);
  const at = bucket.indexOf(value);
  if (at < 0) return false;
  bucket.splice(at, 1);
  return true;
}

function isEmpty<T>(bucket: Bucket<T>): boolean {
  return (Array.isArray(bucket) ? bucket.length : bucket.size) === 0;
}

function collectBucket<T>(bucket: Bucket<T>, into: T[]): void {
  if (Array.isArray(bucket)) for (let i = 0; i < bucket.length; i++) into.push(bucket[i]);
  else for (const value of bucket) into.push(value);
}
