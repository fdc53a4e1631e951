// A clean stop in the simulated cluster: nobody who publishes should notice, not even when another member came back a moment ago.
import { describe, expect, test } from 'vitest';
import type { GroupRunner } from '../../../cluster/host/group-runner.ts';
import { World, type WorldNode } from './world.ts';

const BOUNDS = { catchUpMs: 6_000, handOverMs: 3_000 };
const GROUPS = [0, 64, 65, 66, 67, 68];

function drain(node: WorldNode, bounds = BOUNDS): () => boolean {
  let drained = false;
  node.env.run(() => node.host.drain(bounds, () => (drained = true)));
  return () => drained;
}

/** A member comes back, far behind, and the leader stops at once: the longest time in which nothing was applied, milliseconds. */
function gapOfStop(seed: number, catchUpMs: number): number {
  const snapshots = { bytes: 200_000, entries: 1_000, growth: 0, awayGrowth: 1, waitMs: 200, gapMs: 5 };
  const world = new World({ seed, nodes: 3, ballastBytes: 3_000_000, host: { snapshots, rebalance: false } });
  world.start();
  const leader = world.untilLeader();
  const [late, other] = world.nodes.filter((node) => node !== leader);
  world.put('put a');
  late.kill();
  for (let i = 0; i < 3_000; i++) world.put(`put ${i} ${'x'.repeat(200)}`);
  late.start();
  const startedMs = world.scheduler.nowMs;
  const member = () =>
    leader
      .group()
      .status()
      .progress.find(({ peer }) => peer === late.id);
  world.until('it answers', () => (member()?.lastActiveMs ?? 0) > startedMs);
  expect(leader.group().status().commit - (member()?.match ?? 0)).toBeGreaterThan(2_000);
  const drained = drain(leader, { ...BOUNDS, catchUpMs });
  let gap = 0;
  const publish = (): void => {
    const sinceMs = world.scheduler.nowMs;
    world.put('put b');
    gap = Math.max(gap, world.scheduler.nowMs - sinceMs);
  };
  for (let i = 0; i < 10_000 && !drained(); i++) publish();
  expect(drained()).toBe(true);
  leader.kill();
  for (let i = 0; i < 50; i++) publish();
  world.untilEqual();
  expect(other.machine().count).toBeGreaterThan(2_000);
  return gap;
}

/** All groups led by one node; the others, of which the first may be told to begin anew `linkedMs` before. */
function ledByOne(
  seed: number,
  groups: number[],
  linkedMs?: number,
): { world: World; node: WorldNode; others: WorldNode[] } {
  const world = new World({ seed, nodes: 3, groups, host: { rebalance: false } });
  world.start();
  const [node, ...others] = world.nodes;
  world.scheduler.runFor(6_000);
  for (const group of groups) {
    world.until('led by one', () => {
      const leader = world.leader(group);
      if (leader !== node) leader?.env.run(() => leader.group(group).transferLeadership(node.id));
      world.scheduler.runFor(100);
      return world.leader(group) === node;
    });
  }
  if (linkedMs !== undefined) {
    others[0].kill();
    world.scheduler.runFor(500);
    others[0].start();
    world.scheduler.runFor(linkedMs);
  }
  return { world, node, others };
}

function heirsOf(world: World, node: WorldNode, groups: number[]): number[] {
  world.until('drained', drain(node));
  return groups.map((group) => world.untilLeader(group).id);
}

describe('whoever gets what a node leads', () => {
  const many = Array.from({ length: 12 }, (_, i) => 64 + i);

  test('they get equal shares', () => {
    const { world, node, others } = ledByOne(21, many);
    const heirs = heirsOf(world, node, many);
    expect(others.map(({ id }) => heirs.filter((heir) => heir === id).length)).toEqual([6, 6]);
  });

  test('one that came back a moment ago has still to apply what it missed, and gets nothing', () => {
    const { world, node, others } = ledByOne(22, many, 1_000);
    expect(new Set(heirsOf(world, node, many))).toEqual(new Set([others[1].id]));
  });

  test('after a while it is as good as others', () => {
    const { world, node } = ledByOne(22, many, 6_000);
    expect(new Set(heirsOf(world, node, many)).size).toBe(2);
  });

  test('one without room gets nothing', () => {
    const { world, node, others } = ledByOne(23, many);
    others[1].diskLow = true;
    world.scheduler.runFor(1_000);
    expect(new Set(heirsOf(world, node, many))).toEqual(new Set([others[0].id]));
  });

  test('one that does not take it is not asked twice in a row', () => {
    const { world, node, others } = ledByOne(24, [65]);
    const [other, heir] = others;
    expect((heir.group(65) as GroupRunner).preferredLeader).toBe(heir.id);
    // It hears nothing of the group.
    (heir.group(65) as GroupRunner).termsUnknown = true;
    const sinceMs = world.scheduler.nowMs;
    expect(heirsOf(world, node, [65])).toEqual([other.id]);
    expect(world.scheduler.nowMs - sinceMs).toBeGreaterThan(500);
  });
});

describe('a node that stops', () => {
  test('hands every leadership over', () => {
    const world = new World({ seed: 12, nodes: 3, groups: GROUPS });
    world.start();
    for (const group of GROUPS) world.untilLeader(group);
    const node = world.node(1);
    expect(node.host.stats.leading).toBeGreaterThan(0);
    world.until('drained', drain(node));
    expect([...node.host.groups()].filter((group) => group.leading)).toEqual([]);
    for (const group of GROUPS) world.put('put x', group);
  });

  test('feeds a member that is far behind before it goes: publishers wait no longer than for an election', () => {
    // Whether a stop without patience hurts depends on how far the snapshot has come.
    const seed = [1, 2, 3, 4, 5, 6, 7, 8].find((each) => gapOfStop(each, 0) > 100);
    expect(seed).toBeDefined();
    expect(gapOfStop(seed as number, BOUNDS.catchUpMs)).toBeLessThan(50);
  });

  test.each(['down', 'full'])('does not wait for a member that cannot come: %s', (why) => {
    const world = new World({ seed: 4, nodes: 3, host: { rebalance: false } });
    world.start();
    const leader = world.untilLeader();
    const [late] = world.nodes.filter((node) => node !== leader);
    if (why === 'down') late.kill();
    else late.diskLow = true;
    world.scheduler.runFor(2_000);
    for (let i = 0; i < 1_500; i++) world.put(`put ${i}`);
    const sinceMs = world.scheduler.nowMs;
    world.until('drained', drain(leader));
    expect(world.scheduler.nowMs - sinceMs).toBeLessThan(300);
    world.put('put z');
  });

  test('goes in the end when a member does not come into step', () => {
    const world = new World({ seed: 5, nodes: 3, host: { rebalance: false } });
    world.start();
    const leader = world.untilLeader();
    const [late] = world.nodes.filter((node) => node !== leader);
    world.put('put a');
    late.kill();
    for (let i = 0; i < 1_500; i++) world.put(`put ${i}`);
    // It is there, but nothing that it is sent becomes durable.
    late.start();
    late.disk.latency.syncMs = 60_000;
    world.scheduler.runFor(500);
    const sinceMs = world.scheduler.nowMs;
    world.until('drained', drain(leader), 20_000);
    expect(world.scheduler.nowMs - sinceMs).toBeGreaterThan(BOUNDS.catchUpMs);
    expect(world.scheduler.nowMs - sinceMs).toBeLessThan(BOUNDS.catchUpMs + BOUNDS.handOverMs + 100);
  });
});
