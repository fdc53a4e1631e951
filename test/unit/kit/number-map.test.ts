// NumberMap against Map: whatever is done to both, both say the same, and keys that share a home or were moved are found.
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NumberMap } from '../../../src/kit/number-map.ts';

const KEYS = [
  0,
  1,
  2,
  17,
  2 ** 20,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 32 + 1,
  5 * 2 ** 32,
  2 ** 47 + 3,
  2 ** 53 - 1,
];

describe('NumberMap', () => {
  it('is a Map', () => {
    const key = fc.oneof(
      fc.constantFrom(...KEYS),
      fc.nat(40),
      fc.nat(40).map((n) => n * 2 ** 20 + 2 ** 40),
    );
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ what: fc.constant('set' as const), key }) },
      { weight: 4, arbitrary: fc.record({ what: fc.constant('delete' as const), key }) },
      { weight: 1, arbitrary: fc.record({ what: fc.constant('clear' as const), key }) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), fc.boolean(), (steps, clears) => {
        const map = new NumberMap<number>();
        const model = new Map<number, number>();
        const seen = new Set<number>(KEYS);
        for (const [i, { what, key }] of steps.entries()) {
          seen.add(key);
          if (what === 'set') {
            map.set(key, i);
            model.set(key, i);
          } else if (what === 'delete') expect(map.delete(key)).toBe(model.delete(key));
          else if (clears) {
            map.clear();
            model.clear();
          }
          for (const k of seen) {
            expect(map.get(k)).toBe(model.get(k));
            expect(map.has(k)).toBe(model.has(k));
          }
        }
        expect([...map]).toEqual([...model]);
        expect(map.size).toBe(model.size);
      }),
    );
  });

  it('keeps a value that is undefined apart from none', () => {
    const map = new NumberMap<undefined>();
    map.set(7, undefined);
    expect([map.has(7), map.has(8)]).toEqual([true, false]);
  });

  it('holds thousands, and forgets them', () => {
    const map = new NumberMap<number>();
    const keys = Array.from({ length: 5000 }, (_, i) => i * 2 ** 16 + (i % 3));
    for (const key of keys) map.set(key, key + 1);
    for (const key of keys) expect(map.get(key)).toBe(key + 1);
    for (const key of keys) if (key % 2 === 0) expect(map.delete(key)).toBe(true);
    for (const key of keys) expect(map.get(key)).toBe(key % 2 === 0 ? undefined : key + 1);
  });

  it('refuses what is no whole number from 0 on', () => {
    const map = new NumberMap<number>();
    for (const key of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => map.set(key, 1)).toThrow(/no key/);
      expect([map.get(key), map.has(key), map.delete(key)]).toEqual([undefined, false, false]);
    }
  });
});
