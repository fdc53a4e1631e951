// The judge of the demo is judged: whatever is done to what was stored, delivered or read, it says so; nothing done, it has nothing to say.
import { expect, test } from 'vitest';
import { type Acked, problemsOf } from '../../../bench/demo-check.ts';

interface Seen {
  acked: Acked[][];
  taken: Map<number, { hash: string }>;
  read: { seq: number; hash: string }[];
}

/** Two publishers by turns, windows of two lines. Within a window the order is free. */
function seen(): Seen {
  const line = (seq: number, window: number): Acked => ({ seq, hash: `line ${seq}`, window });
  const acked = [
    [line(3, 0), line(1, 0), line(5, 2), line(7, 2)],
    [line(2, 0), line(4, 0), line(6, 2), line(8, 2)],
  ];
  const all = Array.from({ length: 8 }, (_, i) => ({ seq: i + 1, hash: `line ${i + 1}` }));
  return { acked, taken: new Map(all.map(({ seq, hash }) => [seq, { hash }])), read: all };
}

const judge = ({ acked, taken, read }: Seen): string[] => problemsOf(acked, taken, read);

test('all as it should be', () => {
  expect(judge(seen())).toEqual([]);
});

const HARMS: [what: string, harm: (seen: Seen) => unknown, said: RegExp][] = [
  ['a line that the reader did not get', ({ read }) => read.splice(4, 1), /seq 5 is missing/],
  ['another line under its seq', ({ read }) => Object.assign(read[4], { hash: 'other' }), /seq 5 is another line/],
  ['a line that no worker got', ({ taken }) => taken.delete(8), /seq 8 was not delivered/],
  ['a worker that got another line', ({ taken }) => taken.set(8, { hash: 'other' }), /seq 8 was not delivered/],
  ['a line stored twice', ({ read }) => read.push({ seq: 9, hash: 'line 8' }), /seq 9 is stored but nobody was told/],
  ['a seq read twice', ({ read }) => read.push({ ...read[7] }), /saw a seq twice/],
  ['a reader that goes back', ({ read }) => read.reverse(), /went back at 7/],
  ['a seq given to two lines', ({ acked }) => Object.assign(acked[1][3], { seq: 7 }), /seq 7 was acknowledged twice/],
  [
    'a line stored before those of the window before',
    ({ acked }) => Object.assign(acked[0][2], { seq: 2 }),
    /seq 2 was sent after 3/,
  ],
];

test.each(HARMS)('%s', (_, harm, said) => {
  const harmed = seen();
  harm(harmed);
  expect(judge(harmed).join('\n')).toMatch(said);
});
