// The parts of a chaos run that need no process: what a seed draws, what clients put into a message, what a report shows.
import { expect, test } from 'vitest';
import { bodyOf, contentOf } from '../../../chaos/attempts.ts';
import { htmlOf, type Report, tableOf } from '../../../chaos/report.ts';
import { chanceOf, drawn, SCENARIOS } from '../../../chaos/scenarios.ts';

const order = (seed: number, count: number): string[] => {
  const scenarios = drawn(chanceOf(seed));
  return Array.from({ length: count }, () => {
    const { name, about } = scenarios.next().value;
    return `${name}: ${about}`;
  });
};

test('a seed gives the same faults in the same order, and another seed others', () => {
  expect(order(3, 60)).toEqual(order(3, 60));
  expect(order(3, 20)).not.toEqual(order(4, 20));
});

test('every scenario comes before one comes again', () => {
  const names = order(1, SCENARIOS.length + Math.floor(SCENARIOS.length / 4)).map((text) => text.split(':')[0]);
  const alone = names.filter((name) => name !== 'storm');
  expect(new Set(alone).size).toBe(SCENARIOS.length);
  expect(alone).toHaveLength(SCENARIOS.length);
});

test('a scenario empties at most one directory, and kills no other node at that time', () => {
  for (const { deeds } of SCENARIOS) {
    const kinds: string[] = deeds.map((deed) => deed.do);
    if (!kinds.includes('wipe')) continue;
    expect(kinds.filter((kind) => kind !== 'links' && kind !== 'flap')).toEqual(['wipe']);
  }
});

test('a changed byte of a body is seen', () => {
  const body = bodyOf('log.1.7', 40);
  expect([body.length, contentOf(body)]).toEqual([40, 'log.1.7']);
  expect(contentOf(bodyOf('log.1.7', 3))).toBe('log.1.7');
  for (let i = 0; i < body.length; i++) {
    const broken = Uint8Array.from(body);
    broken[i] ^= 1;
    expect(contentOf(broken)).not.toBe('log.1.7');
  }
});

test('the report tells findings, faults and rates', () => {
  const report: Report = {
    seed: 5,
    command: 'npm run chaos',
    startedAt: '2026-01-01',
    seconds: 3,
    rounds: 1,
    counts: { acknowledged: 1234 },
    checks: { lost: 1 },
    findings: ['S lost: <seq 4>'],
    byteAccounts: [{ node: 'n1', out: 10, in: 10, taken: 5, owed: 7, ok: false }],
    faults: [{ name: 'kill-leader', about: 'kill -9', at: 1, heldMs: 500, longestMs: 700, acked: 9 }],
    acksPerSecond: [4, 0, 7],
  };
  const html = htmlOf(report);
  for (const part of ['1 findings', '&#60;seq 4&#62;', 'kill-leader', '700', '1,234', '<polyline points="'])
    expect(html).toContain(part);
  expect(html).not.toContain('<seq 4>');
  expect(tableOf(report)).toMatch(/kill-leader +1 +9 +700 ms[\s\S]*DO NOT MATCH/);
});
