// A voter votes for a new leader, is rolled back to before that vote, and then reaches only the old leader, which has not stepped down yet.
// What these two commit would go when the new leader's log wins. The same worlds lose messages with the gate left out: so they reach it.
import { describe, expect, test } from 'vitest';
import { Doubt } from '../../../cluster/host/doubt.ts';
import { World } from './world.ts';

const SEEDS = Array.from({ length: 40 }, (_, i) => i + 1);

interface Outcome {
  /** The old leader still led when the voter was back. */
  reached: boolean;
  committed: boolean;
  lost: boolean;
}

function play(seed: number): Outcome {
  const world = new World({ seed, nodes: 3, host: { rebalance: false } });
  world.start();
  world.put('put first');
  world.untilEqual();
  world.scheduler.runFor(300);
  const [old, voter, heir] = world.nodes;
  expect(world.leader()).toBe(old);
  const backup = voter.disk.image();
  for (let i = 0; i < 20; i++) world.put(`put ${i}`);
  world.scheduler.runFor(620);
  world.cut(old, voter);
  world.cut(old, heir);
  const isElected = () => heir.core().role === 'leader';
  const missed: Outcome = { reached: false, committed: false, lost: false };
  if (!world.scheduler.runUntilTrue(isElected, { timeoutMs: 1150 })) return missed;
  const heirTerm = heir.core().term;
  world.network.heal();
  world.cut(heir, old);
  world.cut(heir, voter);
  voter.rollBack(backup);
  const index = old.env.run(() => old.group().propose(Buffer.from('put x')));
  if (index === undefined) return missed;
  world.scheduler.runFor(1500);
  const committed = old.group().applied >= index && old.machine().live.has(index);
  world.network.heal();
  world.until('everybody votes', () => world.nodes.every((node) => node.core().mayVote), 20_000);
  world.put('put last');
  world.scheduler.runFor(1000);
  expect(heir.core().term).toBeGreaterThanOrEqual(heirTerm);
  // The first, the twenty, the one that matters and the last.
  return { reached: true, committed, lost: committed && heir.machine().count < 23 };
}

describe('a forgotten vote', () => {
  test('harms nothing: nobody hears from a node in doubt until it stands above all terms', () => {
    const reached = SEEDS.map(play).filter((outcome) => outcome.reached);
    expect(reached.length).toBeGreaterThan(10);
    expect(reached.filter(({ committed }) => committed)).toEqual([]);
  });

  test('loses what was acknowledged if a node in doubt answers', () => {
    const { hasRisen } = Doubt.prototype;
    Doubt.prototype.hasRisen = () => true;
    try {
      expect(SEEDS.map(play).filter(({ lost }) => lost).length).toBeGreaterThan(5);
    } finally {
      Doubt.prototype.hasRisen = hasRisen;
    }
  });
});
