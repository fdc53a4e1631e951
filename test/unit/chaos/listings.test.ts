// The checkers of key listings and watches: sound ones pass, and each kind of wrong one is found, by these or by the checkers of all histories
// from what a chaos run gives them.
import { expect, test } from 'vitest';
import { judgeListings, type Listing, replacedIn, skippedBy, type Write } from '../../../chaos/listings.ts';
import { checkAll } from '../../checkers/checkers.ts';
import type { Event } from '../../checkers/history.ts';

const NEVER = Number.POSITIVE_INFINITY;

/** a, b, c written in this order before 10; d deleted. */
const WRITES: Write[] = [
  { key: 'd', kept: true, sentAt: 0, ackedAt: 1, seq: 1 },
  { key: 'a', kept: true, sentAt: 1, ackedAt: 2, seq: 2 },
  { key: 'b', kept: true, sentAt: 2, ackedAt: 3, seq: 3 },
  { key: 'c', kept: true, sentAt: 3, ackedAt: 4, seq: 4 },
  { key: 'd', kept: false, sentAt: 4, ackedAt: 5, seq: 5 },
];

const listing = (keys: string, over: Partial<Listing> = {}): Listing => ({
  by: 'client',
  endsByHeartbeat: false,
  at: 10,
  until: 20,
  keys: new Set(keys),
  ...over,
});

const found = (keys: string, more: Write[] = []): string[] =>
  judgeListings([...WRITES, ...more], [listing(keys)], []).findings;

test('a whole list passes, and what is missing, deleted or made up is found', () => {
  expect(found('abc')).toEqual([]);
  expect(found('ab')).toEqual([expect.stringContaining('lacks 1: c (seq 4)')]);
  expect(found('')).toEqual([expect.stringContaining('lacks 3')]);
  expect(found('abcd')).toEqual([expect.stringContaining('has 1 deleted ones: d')]);
  expect(found('abcx')).toEqual([expect.stringContaining('x, which nobody wrote')]);
});

test.each<[name: string, write: Write, isListed: boolean, isNotListed: boolean]>([
  ['deleted while it lasted', { key: 'c', kept: false, sentAt: 15, ackedAt: 16, seq: 6 }, true, true],
  ['being deleted when it began', { key: 'c', kept: false, sentAt: 8, ackedAt: 12, seq: 6 }, true, true],
  ['deleted, and nobody knows', { key: 'c', kept: false, sentAt: 8, ackedAt: NEVER, seq: 0 }, true, true],
  ['deleted after it', { key: 'c', kept: false, sentAt: 21, ackedAt: 22, seq: 6 }, true, false],
  ['deleted before it', { key: 'c', kept: false, sentAt: 8, ackedAt: 9, seq: 6 }, false, true],
  ['rewritten while it lasted', { key: 'c', kept: true, sentAt: 15, ackedAt: 16, seq: 6 }, true, false],
])('a key %s', (_name, write, isListed, isNotListed) => {
  expect(found('abc', [write]).length === 0).toBe(isListed);
  expect(found('ab', [write]).length === 0).toBe(isNotListed);
});

test('a deleted key that was written again while the list lasted may be there or not', () => {
  const again: Write = { key: 'd', kept: true, sentAt: 15, ackedAt: 16, seq: 6 };
  expect([...found('abc', [again]), ...found('abcd', [again])]).toEqual([]);
});

const CUT: Partial<Listing> = { endsByHeartbeat: true, until: 5011 };
const FAULTS = [{ from: 100, heldMs: 50 }];

test('the end of a list may be missing to a client that takes a heartbeat for it, in a fault', () => {
  expect(judgeListings(WRITES, [listing('ab', CUT)], FAULTS)).toEqual({ findings: [], endedByHeartbeat: 1 });
});

test('a key that was written meanwhile has moved to the end, and may be missing with it', () => {
  const again: Write = { key: 'a', kept: true, sentAt: 15, ackedAt: 16, seq: 6 };
  expect(judgeListings([...WRITES, again], [listing('b', CUT)], FAULTS)).toEqual({ findings: [], endedByHeartbeat: 1 });
});

test.each<[name: string, keys: string, over: Partial<Listing>, faults: typeof FAULTS]>([
  ['no fault', 'ab', CUT, []],
  ['a fault before it', 'ab', CUT, [{ from: 0, heldMs: 9 }]],
  ['a fault after it', 'ab', CUT, [{ from: 5012, heldMs: 9 }]],
  ['too short for a heartbeat', 'ab', { ...CUT, until: 5009 }, FAULTS],
  ['another client', 'ab', { ...CUT, endsByHeartbeat: false }, FAULTS],
  ['not its end', 'ac', CUT, FAULTS],
])('but not: %s', (_name, keys, over, faults) => {
  const judged = judgeListings(WRITES, [listing(keys, over)], faults);
  expect([judged.findings.length, judged.endedByHeartbeat]).toEqual([1, 0]);
});

/** The writes above as a history with a watch that gets these seqs, one each millisecond, and what is stored at the end. */
function checked(watched: readonly number[], from = 10, stored = [2, 3, 4, 5]): string[] {
  const events: Event[] = [];
  for (const { key, sentAt, ackedAt, seq } of WRITES) {
    const id = `${seq}`;
    events.push({ kind: 'sent', at: sentAt, client: 1, id, msgId: id, subject: key, content: id });
    events.push({ kind: 'acked', at: ackedAt, id, seq, duplicate: false });
  }
  for (const [i, seq] of watched.entries()) {
    const message = { consumer: 'w', seq, content: `${seq}`, deliveries: 1 };
    events.push({ kind: 'delivered', at: from + i, leftAt: from + i, ...message });
  }
  const messages = stored.map((seq) => ({ seq, subject: WRITES[seq - 1].key, content: `${seq}` }));
  const replicas = [{ node: 'n1', digest: 'd', applied: 9, lastSeq: 5, messages }];
  const history = { events, replicas, ...replacedIn(events), drained: ['w'], ordered: ['w'] };
  const findings = checkAll(history).map(({ check }) => check);
  return [...findings, ...skippedBy('w', WRITES, events).map(() => 'skipped')];
}

test.each<[name: string, watched: number[], found: string[]]>([
  ['gets everything', [1, 2, 3, 4, 5], []],
  ['skips what was replaced', [2, 3, 4, 5], []],
  ['ends too early', [1, 2, 3, 4], ['never-delivered']],
  ['skips one', [1, 2, 4, 5], ['never-delivered', 'skipped']],
  ['gets one twice', [1, 2, 3, 3, 4, 5], ['out-of-order']],
  ['goes back', [1, 3, 2, 4, 5], ['out-of-order', 'skipped']],
])('a watch that %s', (_name, watched, found) => {
  expect(checked(watched)).toEqual(found);
});

test('a watch that skips what was replaced only afterwards', () => {
  expect(checked([2, 3, 4, 5], 3)).toEqual(['skipped']);
});

test('a bucket that lost the last of a key, or has one that was replaced', () => {
  expect(checked([1, 2, 3, 4, 5], 10, [2, 3, 5])).toEqual(['lost']);
  expect(checked([1, 2, 3, 4, 5], 10, [1, 2, 3, 4, 5])).toEqual(['came-back']);
});
