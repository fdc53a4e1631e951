// Subject names and wildcards (ADR-6). Pure; called by every room that handles subjects.
// A subject is tokens joined by dots: no empty token, no white space, any other UTF-8. A token that is exactly `*`
// stands for one token, a last token that is exactly `>` for one or more; inside longer tokens both are plain letters.
export { SubjectIndex } from './subject-index.ts';

const DOT = 46;
const STAR = 42;
const TAIL = 62;
/** As many as fit on a control line of 4 KiB. Indexes go down a level per token. */
export const TOKENS_MAX = 2_048;

function isSpace(code: number): boolean {
  return code === 32 || (code >= 9 && code <= 13 && code !== 11);
}

/** Well-formed: usable in a subscription. */
export function isValidPattern(s: string): boolean {
  return check(s, true);
}

/** Well-formed and without wildcards: usable in a publish. */
export function isLiteral(s: string): boolean {
  return check(s, false);
}

function check(s: string, wildcards: boolean): boolean {
  const end = s.length;
  let start = 0;
  let tokens = 0;
  for (let i = 0; i <= end; i++) {
    const code = i === end ? DOT : s.charCodeAt(i);
    if (code !== DOT) {
      if (isSpace(code)) return false;
      continue;
    }
    if (i === start || ++tokens > TOKENS_MAX) return false;
    if (i === start + 1) {
      const only = s.charCodeAt(start);
      if (only === TAIL && (!wildcards || i !== end)) return false;
      if (only === STAR && !wildcards) return false;
    }
    start = i + 1;
  }
  return true;
}

/** True when the valid `pattern` has a wildcard token. */
export function hasWildcard(pattern: string): boolean {
  const end = pattern.length;
  for (let i = 0; i < end; i++) {
    const code = pattern.charCodeAt(i);
    if (code !== STAR && code !== TAIL) continue;
    const opens = i === 0 || pattern.charCodeAt(i - 1) === DOT;
    const closes = i + 1 === end || pattern.charCodeAt(i + 1) === DOT;
    if (opens && closes) return true;
  }
  return false;
}

/** `pattern` (may have wildcards) matches the literal `subject`. Both valid. */
export function subjectMatches(pattern: string, subject: string): boolean {
  return isSubsetOf(subject, pattern);
}

/** Some literal subject matches both patterns. Both valid. */
export function subjectsOverlap(a: string, b: string): boolean {
  let i = 0;
  let j = 0;
  for (;;) {
    const aEnd = tokenEnd(a, i);
    const bEnd = tokenEnd(b, j);
    if (isOnly(a, i, aEnd, TAIL) || isOnly(b, j, bEnd, TAIL)) return true;
    if (!isOnly(a, i, aEnd, STAR) && !isOnly(b, j, bEnd, STAR) && !sameToken(a, i, aEnd, b, j, bEnd)) return false;
    const aDone = aEnd === a.length;
    const bDone = bEnd === b.length;
    if (aDone || bDone) return aDone && bDone;
    i = aEnd + 1;
    j = bEnd + 1;
  }
}

/** Every literal subject that matches `inner` matches `outer`. Both valid. */
export function isSubsetOf(inner: string, outer: string): boolean {
  if (inner === outer) return true;
  let i = 0;
  let j = 0;
  for (;;) {
    const innerEnd = tokenEnd(inner, i);
    const outerEnd = tokenEnd(outer, j);
    if (isOnly(outer, j, outerEnd, TAIL)) return true;
    if (isOnly(inner, i, innerEnd, TAIL)) return false;
    if (!isOnly(outer, j, outerEnd, STAR)) {
      if (isOnly(inner, i, innerEnd, STAR)) return false;
      if (!sameToken(inner, i, innerEnd, outer, j, outerEnd)) return false;
    }
    const innerDone = innerEnd === inner.length;
    const outerDone = outerEnd === outer.length;
    if (innerDone || outerDone) return innerDone && outerDone;
    i = innerEnd + 1;
    j = outerEnd + 1;
  }
}

function tokenEnd(s: string, from: number): number {
  const dot = s.indexOf('.', from);
  return dot < 0 ? s.length : dot;
}

function isOnly(s: string, from: number, end: number, code: number): boolean {
  return end === from + 1 && s.charCodeAt(from) === code;
}

function sameToken(a: string, aFrom: number, aEnd: number, b: string, bFrom: number, bEnd: number): boolean {
  const length = aEnd - aFrom;
  if (length !== bEnd - bFrom) return false;
  for (let k = 0; k < length; k++) if (a.charCodeAt(aFrom + k) !== b.charCodeAt(bFrom + k)) return false;
  return true;
}
