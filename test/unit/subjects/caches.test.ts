import { expect, test } from 'vitest';
import { Interner } from '../../../src/subjects/interner.ts';
import { RepeatCache } from '../../../src/subjects/repeat-cache.ts';

const HALF_MAX = 16_384;

/** Names asked for in turn, as by publishers to many streams: how many of the last round were kept. */
function keptInTurn(count: number, rounds: number): number {
  const cache = new RepeatCache<number>(HALF_MAX);
  let kept = 0;
  for (let round = 0; round < rounds; round++) {
    kept = 0;
    for (let i = 0; i < count; i++) {
      const key = `MANY-${i >> 2}.${i & 3}`;
      const found = cache.get(key);
      if (found === undefined) cache.offer(key, i);
      else {
        if (found !== i) expect(found).toBe(i);
        kept++;
      }
    }
  }
  expect(cache.size).toBeLessThanOrEqual(2 * HALF_MAX);
  return kept;
}

test.each([1, 1_000, 4_000, 10_000])(
  '%i names that take turns are kept, though they share slots of the door',
  (count) => {
    expect(keptInTurn(count, 20)).toBeGreaterThan(count * 0.98);
  },
);

test('names that come once are not kept, and push nothing out', () => {
  const cache = new RepeatCache<number>(64);
  for (let i = 0; cache.get('hot') === undefined; i++) {
    expect(i).toBeLessThan(10);
    cache.offer('hot', 1);
  }
  for (let i = 0; i < 100_000; i++) {
    cache.get(`_INBOX.${i}`);
    cache.offer(`_INBOX.${i}`, i);
  }
  expect(cache.get('hot')).toBe(1);
  expect(cache.size).toBeLessThan(5);
});

test('what is kept of names is bounded in bytes: long ones are not', () => {
  const cache = new RepeatCache<number>(64);
  const long = 'x'.repeat(256);
  for (let i = 0; i < 10; i++) {
    cache.offer(long, 1);
    cache.offer(long.slice(1), 2);
  }
  expect(cache.get(long)).toBe(undefined);
  expect(cache.get(long.slice(1))).toBe(2);
});

test('many names in turn are interned, and a name that shares all slots with others is still the right one', () => {
  const names = new Interner();
  const texts = Array.from({ length: 10_000 }, (_, i) => `größe.${i}.${'x'.repeat(i % 130)}`);
  const bytes = texts.map((text) => Buffer.from(`--${text}--`));
  for (let round = 0; round < 8; round++) {
    for (let i = 0; i < texts.length; i++) {
      const name = names.intern(bytes[i], 2, bytes[i].length - 2);
      if (name !== texts[i]) expect(name).toBe(texts[i]);
    }
  }
});
