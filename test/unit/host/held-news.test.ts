// Acknowledgements and syncs that commit nothing wait beside their group, and nobody can tell: what a majority holds is committed at once,
// whoever is slow or gone, and leadership, membership and catching up see what has been said.
import { describe, expect, test } from 'vitest';
import { World, type WorldNode } from './world.ts';

const GROUP = 65;

function begin(
  seed: number,
  nodes: number,
  rebalance = false,
): { world: World; leader: WorldNode; others: WorldNode[] } {
  const world = new World({ seed, nodes, groups: [GROUP], host: { rebalance } });
  world.start();
  world.untilLeader(GROUP);
  world.scheduler.runFor(1_000);
  const leader = world.leader(GROUP)!;
  return { world, leader, others: world.nodes.filter((node) => node !== leader) };
}

/** How long the commit of each of these takes at most. */
function slowest(world: World, count: number, gapMs: number): number {
  let worstMs = 0;
  for (let i = 0; i < count; i++) {
    const beganMs = world.scheduler.nowMs;
    world.put(`put ${i}`, GROUP);
    worstMs = Math.max(worstMs, world.scheduler.nowMs - beganMs);
    world.scheduler.runFor(gapMs);
  }
  return worstMs;
}

describe('what a majority holds is committed at once', () => {
  for (const nodes of [2, 3, 4, 5]) {
    test(`of ${nodes} nodes`, () => {
      const { world } = begin(nodes, nodes);
      expect(slowest(world, 40, 7)).toBeLessThan(30);
    });
  }

  for (const [nodes, dead] of [
    [3, 1],
    [4, 1],
    [5, 1],
    [5, 2],
  ] as const) {
    test(`of ${nodes} nodes, ${dead} of them down`, () => {
      const { world, others } = begin(10 + nodes + dead, nodes);
      for (const node of others.slice(0, dead)) node.kill('power');
      world.scheduler.runFor(3_000);
      expect(slowest(world, 40, 7)).toBeLessThan(30);
    });
  }

  test('while the disk of the leader is slow', () => {
    const { world, leader } = begin(20, 3);
    leader.disk.latency.syncMs = 400;
    expect(slowest(world, 10, 7)).toBeLessThan(100);
  });

  test('while that of a follower is', () => {
    const { world, others } = begin(21, 3);
    others[0].disk.latency.syncMs = 400;
    expect(slowest(world, 10, 7)).toBeLessThan(100);
  });
});

test('nothing is committed before a majority has synced it, whichever of them is last', () => {
  const { world, leader, others } = begin(22, 3);
  for (const node of [leader, others[0]]) node.disk.latency.syncMs = 200;
  others[1].kill('power');
  expect(slowest(world, 5, 7)).toBeGreaterThan(100);
});

test('whoever asks what the others have hears all that they said', () => {
  const { world, leader } = begin(25, 3);
  for (let i = 0; i < 20; i++) {
    world.put(`put ${i}`, GROUP);
    world.scheduler.runFor(12);
    const { lastIndex, progress } = leader.env.run(() => leader.group(GROUP).status())!;
    expect(progress.map(({ match }) => match)).toEqual([lastIndex, lastIndex]);
  }
});

test('a member that is far behind catches up as fast as it answers', () => {
  const { world, leader, others } = begin(23, 3);
  const [behind] = others;
  for (const node of world.nodes) {
    if (node === behind) continue;
    world.network.cut(behind.name, node.name);
    world.network.cut(node.name, behind.name);
  }
  world.scheduler.runFor(3_000);
  leader.env.run(() => {
    for (let i = 0; i < 9_000; i++) leader.group(GROUP).propose(Buffer.from(`put ${i}`));
  });
  world.until('stored', () => leader.group(GROUP).applied > 9_000);
  world.network.heal();
  world.until('caught up', () => behind.group(GROUP).applied > 9_000, 3_000);
});

test('leadership goes back while entries come all the time', () => {
  const { world } = begin(24, 3, true);
  const preferred = world.node([1, 2, 3][GROUP % 3]);
  preferred.kill('process');
  world.scheduler.runFor(3_000);
  preferred.start();
  const untilMs = world.scheduler.nowMs + 15_000;
  while (world.scheduler.nowMs < untilMs && world.leader(GROUP) !== preferred) {
    world.put('put more', GROUP);
    world.scheduler.runFor(40);
  }
  expect(world.leader(GROUP)).toBe(preferred);
});

test('who voted stands itself when the candidate is gone, also if its time came while the vote was being synced', () => {
  const { world, leader, others } = begin(25, 5);
  leader.kill('power');
  const stands = (node: WorldNode): boolean => node.core(GROUP).role !== 'follower';
  world.until('a candidate', () => others.some(stands), 3_000);
  const candidate = others.find(stands)!;
  const voters = others.filter((node) => node !== candidate);
  for (const node of voters) node.disk.latency.syncMs = 600;
  world.until('votes', () => voters.every((node) => node.core(GROUP).vote === candidate.id), 3_000);
  candidate.kill('power');
  world.until('a leader', () => world.leader(GROUP) !== undefined, 15_000);
});
