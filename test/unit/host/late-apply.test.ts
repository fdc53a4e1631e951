// Followers apply late, and nobody can tell: readers, successors and snapshots find everything that was committed, and what waits is
// little and not for long.
import { describe, expect, test } from 'vitest';
import { World, type WorldNode } from './world.ts';

const GROUP = 65;

function begin(seed: number, groups = [GROUP]): { world: World; leader: WorldNode; followers: WorldNode[] } {
  const world = new World({ seed, nodes: 3, groups, host: { rebalance: false } });
  world.start();
  const leader = world.untilLeader(GROUP);
  world.scheduler.runFor(1_000);
  return { world, leader, followers: world.nodes.filter((node) => node !== leader) };
}

function applied(node: WorldNode, group = GROUP): number {
  return node.group(group).applied;
}

describe('a follower', () => {
  test('applies a few entries together, within a second', () => {
    const { world, followers } = begin(1);
    const before = followers.map((node) => applied(node));
    for (let i = 0; i < 5; i++) world.put(`put ${i}`, GROUP);
    expect(followers.map((node) => applied(node))).toEqual(before);
    world.scheduler.runFor(700);
    world.untilEqual(GROUP, 1);
    expect(followers[0].machine(GROUP).count).toBe(5);
  });

  test('does not let many or large ones wait', () => {
    const { world, followers } = begin(2);
    for (let i = 0; i < 40; i++) world.put(`put ${i}`, GROUP);
    for (const node of followers) expect(applied(node)).toBeGreaterThan(applied(world.leader(GROUP)!) - 20);
    world.scheduler.runFor(1_000);
    const [follower] = followers;
    const before = applied(follower);
    const at = world.put(`put ${'x'.repeat(100_000)}`, GROUP);
    world.put('put the next append tells what is committed', GROUP);
    world.scheduler.runFor(20);
    expect(before).toBeLessThan(at);
    expect(applied(follower)).toBeGreaterThanOrEqual(at);
  });

  test('has everything that was committed when a read was asked, at once', () => {
    const { world, leader, followers } = begin(3);
    for (let round = 0; round < 20; round++) {
      const at = world.put(`put ${round}`, GROUP);
      for (const node of followers) {
        let found = 0;
        node.env.run(() => node.group(GROUP).readBarrier((ok) => (found = ok ? applied(node) : -1)));
        world.until('an answer', () => found !== 0, 60);
        expect(found).toBeGreaterThanOrEqual(at);
      }
      // Entries in flight while it is asked: the leader may have them committed before this follower has them.
      leader.env.run(() => leader.group(GROUP).propose(Buffer.from(`put beside ${round}`)));
    }
  });

  test('that takes over has applied all of it before it leads', () => {
    const { world, leader } = begin(4);
    const indexes = Array.from({ length: 7 }, (_, i) => world.put(`put ${i}`, GROUP));
    leader.kill('power');
    const next = world.untilLeader(GROUP);
    for (const index of indexes) expect(next.machine(GROUP).live.has(index)).toBe(true);
    const { calls } = next.machine(GROUP);
    expect(calls[calls.length - 1]).toMatch(/^leading/);
  });

  test('that lost power with entries unapplied applies them after its start', () => {
    const { world, followers } = begin(5);
    const [node] = followers;
    const indexes = Array.from({ length: 7 }, (_, i) => world.put(`put ${i}`, GROUP));
    expect(node.machine(GROUP).live.size).toBe(0);
    node.kill('power');
    node.start();
    world.scheduler.runFor(3_000);
    expect([...node.machine(GROUP).live]).toEqual(indexes);
    world.untilEqual(GROUP);
  });

  test('applies what waits when other groups fill the memory of the log', () => {
    const other = 129;
    const { world, followers } = begin(6, [GROUP, other]);
    const at = world.put('put small', GROUP);
    world.put('put it is told with the next', GROUP);
    for (let i = 0; i < 60; i++) world.put(`put ${'x'.repeat(100_000)}`, other);
    world.scheduler.runFor(20);
    for (const node of followers) expect(applied(node)).toBeGreaterThanOrEqual(at);
    expect(world.scheduler.nowMs).toBeLessThan(10_000);
  });
});

test('the metadata is applied everywhere at once', () => {
  const world = new World({ seed: 7, nodes: 3, groups: [0] });
  world.start();
  world.untilLeader();
  world.scheduler.runFor(1_000);
  for (let i = 0; i < 5; i++) world.put(`put ${i}`);
  world.scheduler.runFor(20);
  world.untilEqual(0, 1);
});
