import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  hasWildcard,
  isLiteral,
  isSubsetOf,
  isValidPattern,
  SubjectIndex,
  subjectMatches,
  subjectsOverlap,
  TOKENS_MAX,
} from '../../../src/subjects/subject.ts';

/** The definition, spelled out; slow and plain. */
function matchesPlain(pattern: string, subject: string): boolean {
  const p = pattern.split('.');
  const s = subject.split('.');
  for (let i = 0; i < p.length; i++) {
    if (p[i] === '>' && i === p.length - 1) return s.length > i;
    if (i >= s.length || (p[i] !== '*' && p[i] !== s[i])) return false;
  }
  return p.length === s.length;
}

const token = fc.constantFrom('a', 'b', 'c*', '>d');
const literal = fc.array(token, { minLength: 1, maxLength: 4 }).map((tokens) => tokens.join('.'));
const pattern = fc
  .tuple(fc.array(fc.oneof(token, fc.constant('*')), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([tokens, tail]) => (tail ? [...tokens, '>'] : tokens).join('.'))
  .chain((p) => fc.constantFrom(p, '>', p));
/** Every literal of up to 6 tokens over the tokens that matter and one that no pattern names. */
const universe: string[] = [];
{
  const grow = (prefix: string, depth: number) => {
    for (const t of ['a', 'b', 'z']) {
      const next = prefix === '' ? t : `${prefix}.${t}`;
      universe.push(next);
      if (depth < 6) grow(next, depth + 1);
    }
  };
  grow('', 1);
}
const small = fc
  .tuple(fc.array(fc.constantFrom('a', 'b', '*'), { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([tokens, tail]) => (tail ? [...tokens, '>'] : tokens).join('.'));

test('as many tokens as a name may have are no trouble for an index, and more make no name', () => {
  const deep = Array.from({ length: TOKENS_MAX - 1 }, (_, i) => (i % 2 === 0 ? 'a' : '*')).join('.');
  const subject = `${deep.replaceAll('*', 'b')}.c`;
  expect([isValidPattern(`${deep}.>`), isLiteral(subject)]).toEqual([true, true]);
  expect([isValidPattern(`${deep}.a.>`), isLiteral(`${subject}.c`)]).toEqual([false, false]);
  const index = new SubjectIndex<number>(0);
  index.insert(`${deep}.>`, 1);
  index.insert(`${deep}.c`, 2);
  const found: number[] = [];
  index.match(subject, found);
  expect(found).toEqual([1, 2]);
  expect([index.matchesAny(subject), index.lastTokenIsFree(subject), index.restIsFreeFrom(subject)]).toEqual([
    true,
    false,
    -1,
  ]);
  expect([index.remove(`${deep}.>`, 1), index.remove(`${deep}.c`, 2), index.size]).toEqual([true, true, 0]);
});

describe('names', () => {
  test.each([
    ['a', true, true],
    ['a.b.c', true, true],
    ['foo*', true, true],
    ['foo*.>bar', true, true],
    ['größe.日本', true, true],
    ['$JS.API.>', true, false],
    ['*', true, false],
    ['>', true, false],
    ['a.*.c', true, false],
    ['', false, false],
    ['.', false, false],
    ['a.', false, false],
    ['.a', false, false],
    ['a..b', false, false],
    ['a b', false, false],
    ['a\tb', false, false],
    ['a\r', false, false],
    ['a\n', false, false],
    ['a.>.b', false, false],
    ['>.a', false, false],
  ])('%j: pattern %s, literal %s', (s, asPattern, asLiteral) => {
    expect(isValidPattern(s)).toBe(asPattern);
    expect(isLiteral(s)).toBe(asLiteral);
    if (asPattern) expect(hasWildcard(s)).toBe(!asLiteral);
  });
});

describe('wildcards', () => {
  test('matching follows the definition', () => {
    fc.assert(fc.property(pattern, literal, (p, s) => subjectMatches(p, s) === matchesPlain(p, s)));
  });
  test('overlap means: some literal matches both', () => {
    fc.assert(
      fc.property(small, small, (a, b) => {
        expect(subjectsOverlap(a, b)).toBe(universe.some((s) => matchesPlain(a, s) && matchesPlain(b, s)));
      }),
      { numRuns: 150 },
    );
  });
  test('subset means: every literal of one matches the other', () => {
    fc.assert(
      fc.property(small, small, (a, b) => {
        expect(isSubsetOf(a, b)).toBe(universe.every((s) => !matchesPlain(a, s) || matchesPlain(b, s)));
      }),
      { numRuns: 150 },
    );
  });
});

describe('index', () => {
  test('equals asking every pattern, under inserts, removes and repeated questions', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.record({ do: fc.constant('insert' as const), s: fc.oneof(pattern, literal) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('remove' as const), s: fc.nat(1000).map(String) }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constant('match' as const), s: literal }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.constantFrom(0, 4), (steps, cacheMax) => {
        const index = new SubjectIndex<{ pattern: string }>(cacheMax);
        const model: { pattern: string }[] = [];
        for (const { do: verb, s } of steps) {
          if (verb === 'insert') {
            const value = { pattern: s };
            model.push(value);
            index.insert(s, value);
          } else if (verb === 'remove') {
            if (model.length === 0) continue;
            const [value] = model.splice(Number(s) % model.length, 1);
            expect(index.remove(value.pattern, value)).toBe(true);
            expect(index.remove(value.pattern, value)).toBe(false);
          } else {
            for (let again = 0; again < 3; again++) {
              const found: { pattern: string }[] = [];
              index.match(s, found);
              const expected = model.filter((v) => matchesPlain(v.pattern, s));
              expect(found.length).toBe(expected.length);
              expect(new Set(found)).toEqual(new Set(expected));
              expect(index.matchesAny(s)).toBe(expected.length > 0);
            }
          }
          expect(index.size).toBe(model.length);
        }
      }),
    );
  });

  test('a last token is free when no pattern with a wildcard names it', () => {
    const index = new SubjectIndex<number>(0);
    expect(index.lastTokenIsFree('_INBOX.x.1')).toBe(true);
    index.insert('_INBOX.x.*', 1);
    index.insert('_INBOX.y.one', 2);
    expect(index.lastTokenIsFree('_INBOX.x.1')).toBe(true);
    expect(index.lastTokenIsFree('_INBOX.y.1')).toBe(true);
    expect(index.hasLiteral('_INBOX.y.one')).toBe(true);
    index.insert('*.x.end', 3);
    expect(index.lastTokenIsFree('_INBOX.x.1')).toBe(false);
    expect(index.lastTokenIsFree('_INBOX.y.1')).toBe(true);
    index.remove('*.x.end', 3);
    index.insert('_INBOX.>', 4);
    expect(index.lastTokenIsFree('_INBOX.x.1')).toBe(true);
  });

  test('the rest is free from where no pattern with a wildcard names a token any more', () => {
    const index = new SubjectIndex<number>(0);
    expect(index.restIsFreeFrom('$JS.ACK.S.C.1')).toBe(0);
    index.insert('$JS.ACK.>', 1);
    index.insert('$JS.ACK.S.C.one', 2);
    index.insert('_INBOX.x.*', 3);
    expect(index.restIsFreeFrom('$JS.ACK.S.C.1')).toBe('$JS.ACK.'.length);
    expect(index.restIsFreeFrom('other.things')).toBe('other.'.length);
    expect(index.restIsFreeFrom('_INBOX.x.1')).toBe(-1);
    index.insert('*.ACK.S.*.end', 4);
    expect(index.restIsFreeFrom('$JS.ACK.S.C.1')).toBe(-1);
    expect(index.restIsFreeFrom('$JS.ACK.S.C.1.2')).toBe('$JS.ACK.S.C.1.'.length);
    expect(index.restIsFreeFrom('$JS.ACK.T.C.1')).toBe('$JS.ACK.T.'.length);
    index.remove('*.ACK.S.*.end', 4);
    expect(index.restIsFreeFrom('$JS.ACK.S.C.1')).toBe('$JS.ACK.'.length);
  });

  test('100,000 patterns and as many unique inboxes', () => {
    const index = new SubjectIndex<number>();
    for (let i = 0; i < 100_000; i++) index.insert(i % 2 === 0 ? `orders.${i}.new` : `_INBOX.c${i}.*`, i);
    const found: number[] = [];
    for (let i = 1; i < 100_000; i += 2) index.match(`_INBOX.c${i}.u${i}`, found);
    expect(found.length).toBe(50_000);
    for (let i = 0; i < 100_000; i++)
      expect(index.remove(i % 2 === 0 ? `orders.${i}.new` : `_INBOX.c${i}.*`, i)).toBe(true);
    expect(index.size).toBe(0);
  });

  test('100,000 subscribers of one subject leave one by one', () => {
    const index = new SubjectIndex<number>();
    for (let i = 0; i < 100_000; i++) index.insert('hot', i);
    for (let i = 0; i < 100_000; i++) index.remove('hot', i);
    expect(index.matchesAny('hot')).toBe(false);
  });
});
