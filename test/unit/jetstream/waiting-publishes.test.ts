// The counts by which a hand-over knows that nobody else has a publish any more, against a look at every publish.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type AwayCounts, NO_ANSWER, WaitingPublishes } from '../../../src/jetstream/waiting-publishes.ts';

interface Publish {
  token: number;
  way: AwayCounts;
  /** Where it is, and after how many changes of leaders it left. */
  away: { by: string; changes: number } | undefined;
}

const step = fc.record({
  kind: fc.constantFrom('take', 'take', 'leave', 'leave', 'back', 'release', 'late', 'change'),
  which: fc.nat(30),
  way: fc.nat(2),
  link: fc.constantFrom('a', 'b'),
});

test('counts are those of the publishes that wait, whatever happens to them', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const slots = new WaitingPublishes<AwayCounts, string>();
      const ways = Array.from({ length: 3 }, () => ({ changes: 0, away: 0, withFormer: 0 }));
      const live: Publish[] = [];
      const settled: number[] = [NO_ANSWER];
      for (const { kind, which, way: at, link } of steps) {
        const way = ways[at];
        const chosen = live.length === 0 ? undefined : live[which % live.length];
        if (kind === 'take') {
          const token = slots.take('$G', `r${which}`, way, 0);
          expect(live.some((publish) => publish.token === token)).toBe(false);
          live.push({ token, way, away: undefined });
        } else if (kind === 'change') slots.leaderChanged(way);
        else if (kind === 'late') {
          // Of one that was settled: its slot may be somebody else's.
          const token = settled[which % settled.length];
          expect(slots.claim(token)).toBe(-1);
          slots.leaves(token, link);
        } else if (chosen !== undefined) {
          const slot = slots.claim(chosen.token);
          expect(slots.ways[slot]).toBe(chosen.way);
          if (kind === 'release') {
            slots.release(slot);
            settled.push(chosen.token);
            live.splice(live.indexOf(chosen), 1);
          } else if (kind === 'back') {
            slots.isBack(slot);
            chosen.away = undefined;
          } else if (chosen.away === undefined) {
            slots.leaves(chosen.token, link);
            chosen.away = { by: link, changes: chosen.way.changes };
          }
        }
        expect(slots.count).toBe(live.length);
        for (const one of ways) {
          const away = live.filter((publish) => publish.way === one && publish.away !== undefined);
          const former = away.filter((publish) => publish.away!.changes < one.changes);
          expect([one.away, one.withFormer]).toEqual([away.length - former.length, former.length]);
        }
        for (const publish of live) {
          const slot = slots.claim(publish.token);
          expect(slots.isAwayBy(slot, 'a')).toBe(publish.away?.by === 'a');
        }
      }
    }),
  );
});

test('an answer that comes after all does not find the publish of somebody who publishes one after the other', () => {
  const slots = new WaitingPublishes<AwayCounts, string>();
  const way = { changes: 0, away: 0, withFormer: 0 };
  const settled = slots.take('$G', 'r', way, 0);
  slots.release(slots.claim(settled));
  let again = 0;
  for (let i = 0; i < 2_000_000; i++) {
    const token = slots.take('$G', 'r', way, 0);
    if (token === settled) again++;
    slots.release(slots.claim(token));
  }
  expect(again).toBe(0);
  expect(slots.count).toBe(0);
});

test('all slots are used when so many wait, and no more', () => {
  const slots = new WaitingPublishes<AwayCounts, string>();
  const way = { changes: 0, away: 0, withFormer: 0 };
  const tokens = Array.from({ length: 1 << 20 }, () => slots.take('$G', 'r', way, 0));
  expect(new Set(tokens).size).toBe(1 << 20);
  expect(slots.take('$G', 'r', way, 0)).toBe(-1);
  slots.release(slots.claim(tokens[7]));
  const next = slots.take('$G', 'r', way, 0);
  expect(next).not.toBe(tokens[7]);
  expect(slots.claim(next)).toBe(7);
});
