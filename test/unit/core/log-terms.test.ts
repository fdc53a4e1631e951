// Runs of terms against a plain array of terms.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LogTerms } from '../../../cluster/core/log-terms.ts';

/** The obvious implementation. */
class PlainTerms {
  base = 0;
  terms: number[] = [0];

  get last(): number {
    return this.base + this.terms.length - 1;
  }
  termOf(index: number): number | undefined {
    return index < this.base ? undefined : this.terms[index - this.base];
  }
  lastWithin(index: number, term: number): number {
    if (index < this.base) return index;
    for (let i = Math.min(index, this.last); i >= this.base; i--) if (this.termOf(i)! <= term) return i;
    return this.base - 1;
  }
}

describe('log terms', () => {
  test('behaves like an array of terms', () => {
    const action = fc.oneof(
      fc.record({ kind: fc.constant('append' as const), n: fc.nat(3) }),
      fc.record({ kind: fc.constant('truncate' as const), n: fc.nat(6) }),
      fc.record({ kind: fc.constant('compact' as const), n: fc.nat(6) }),
      fc.record({ kind: fc.constant('reset' as const), n: fc.nat(6) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
        const log = new LogTerms({ index: 0, term: 0 }, 0, []);
        const plain = new PlainTerms();
        for (const { kind, n } of actions) {
          if (kind === 'append') {
            const term = log.lastTerm + (n > 1 ? 0 : n);
            log.append(term);
            plain.terms.push(term);
          } else if (kind === 'truncate') {
            const at = Math.max(plain.base + 1, plain.last + 1 - n);
            log.truncateFrom(at);
            plain.terms.length = at - plain.base;
          } else if (kind === 'compact') {
            const at = Math.min(plain.last, plain.base + n);
            log.compactTo(at);
            plain.terms.splice(0, at - plain.base);
            plain.base = at;
          } else {
            log.reset(plain.last + n, log.lastTerm + 1);
            plain.base = plain.last + n;
            plain.terms = [log.lastTerm];
          }
          expect([log.baseIndex, log.lastIndex, log.lastTerm]).toEqual([plain.base, plain.last, plain.terms.at(-1)]);
          for (let index = plain.base - 2; index <= plain.last + 2; index++) {
            expect(log.termOf(index)).toBe(plain.termOf(index));
            for (let term = 0; term <= log.lastTerm + 1; term++) {
              if (index >= 0) expect(log.lastWithin(index, term)).toBe(plain.lastWithin(index, term));
            }
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  test('is restored from runs, whatever lies below the base', () => {
    const log = new LogTerms({ index: 5, term: 2 }, 9, [
      { start: 1, term: 1 },
      { start: 4, term: 2 },
      { start: 8, term: 4 },
    ]);
    expect([5, 6, 7, 8, 9, 10, 4].map((index) => log.termOf(index))).toEqual([2, 2, 2, 4, 4, undefined, undefined]);
    expect(() => new LogTerms({ index: 5, term: 2 }, 9, [{ start: 7, term: 2 }])).toThrow('no term for index 6');
    expect(() => new LogTerms({ index: 5, term: 2 }, 6, [])).toThrow('no term for index 6');
    expect(() => new LogTerms({ index: 5, term: 2 }, 4, [])).toThrow('before its base');
  });

  test('refuses what cannot be', () => {
    const log = new LogTerms({ index: 5, term: 3 }, 5, []);
    expect(() => log.append(2)).toThrow('term 2 after 3');
    expect(() => log.truncateFrom(5)).toThrow('at or below');
    expect(() => log.compactTo(6)).toThrow('after the log');
  });
});
