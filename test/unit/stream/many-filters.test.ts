// Consumers with very many filters: they are matched, and compared with those of others, as few are, and no step of it holds a node up. What the
// steps took pair by pair is in the tests' names; the bounds leave a busy machine room.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileFilter } from '../../../src/stream/consumer-filter.ts';
import { placeError } from '../../../src/stream/consumer-rules.ts';
import { MessageIndex } from '../../../src/stream/message-index.ts';
import { FEW, matchersOf } from '../../../src/stream/subject-matcher.ts';
import { utf8Bytes } from '../../../src/stream/text.ts';
import { subjectMatches, subjectsOverlap } from '../../../src/subjects/subject.ts';
import { streamConfig } from './fake-world.ts';

const STEP_MS_MAX = 2_000;
const QUEUE = streamConfig({ retention: 'workqueue' });

const many = (count: number, pattern: (i: number) => string): string[] =>
  Array.from({ length: count }, (_, i) => pattern(i));

/** Of the processor, whoever else is at work. */
function stepMs(step: () => void): number {
  const before = process.cpuUsage();
  step();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

const tokens = (wild: boolean): fc.Arbitrary<string[]> =>
  fc.array(fc.constantFrom('a', 'b', 'ü', ...(wild ? ['*', '>'] : [])), { minLength: 1, maxLength: 3 });
/** `>` stands last only. */
const pattern = tokens(true).map((all) => all.map((t, i) => (t === '>' && i + 1 < all.length ? 'a' : t)).join('.'));
const lots = fc.array(pattern, { minLength: FEW + 1, maxLength: FEW + 20 }).map((all) => all.filter((p) => p !== '>'));

test('say the same as one by one', () => {
  fc.assert(
    fc.property(lots, tokens(false), (patterns, subject) => {
      const name = subject.join('.');
      const bytes = utf8Bytes(name);
      const expected = patterns.some((each) => subjectMatches(each, name));
      expect(compileFilter(patterns).matches(name)).toBe(expected);
      expect(matchersOf(patterns).some((matcher) => matcher.matches(bytes, 0, bytes.length))).toBe(expected);
    }),
  );
});

test('a work queue refuses the same as pair by pair', () => {
  fc.assert(
    fc.property(lots, lots, (mine, others) => {
      const padded = [...mine, ...many(40, (i) => `z.${i}`)];
      const expected = others.some((a) => padded.some((b) => subjectsOverlap(a, b)));
      expect(placeError(QUEUE, padded, [others], 1, true)?.err_code).toBe(expected ? 10100 : undefined);
    }),
  );
});

test('10,000 filters are counted over 20,000 subjects at once, where it took 2 s', () => {
  const index = new MessageIndex(1);
  for (let i = 0; i < 20_000; i++) {
    index.beginEntry(i + 1, i);
    const subject = utf8Bytes(`k.${i}.x`);
    index.add(index.subjectId(subject, 0, subject.length), 10, 20, 0);
    index.endEntry();
  }
  const filter = compileFilter(many(10_000, (i) => (i === 0 ? 'k.19999.*' : `k.f${i}.*`)));
  let found = 0;
  expect(stepMs(() => index.someSubjects(0, filter, 60_000, () => found++))).toBeLessThan(STEP_MS_MAX);
  expect(found).toBe(1);
  expect(stepMs(() => (found = index.next(1, filter)))).toBeLessThan(STEP_MS_MAX);
  expect(found).toBe(20_000);
});

test('two consumers of a work queue with 30,000 filters each stand side by side at once, where every replica took 15 s', () => {
  const mine = many(30_000, (i) => `a.${i}.x`);
  const theirs = many(30_000, (i) => `b.${i}.*`);
  let refusal: unknown;
  expect(stepMs(() => (refusal = placeError(QUEUE, mine, [theirs], 1, true)))).toBeLessThan(STEP_MS_MAX);
  expect(refusal).toBeUndefined();
  expect(placeError(QUEUE, mine, [[...theirs, 'a.*.x']], 1, true)?.err_code).toBe(10100);
  // Each with each, through a wildcard: that is not found out.
  const crossing = many(30_000, (i) => `a.*.y${i}`);
  expect(stepMs(() => (refusal = placeError(QUEUE, mine, [crossing], 1, true)))).toBeLessThan(STEP_MS_MAX);
  expect(refusal).toMatchObject({ err_code: 10100 });
});
