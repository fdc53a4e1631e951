import { describe, expect, test } from 'vitest';
import { World } from './world.ts';

describe('one node', () => {
  test('leads at once, applies what it proposed, recovers it after a crash', () => {
    const world = new World({ seed: 1, nodes: 1 });
    world.start();
    world.untilLeader();
    for (let i = 0; i < 50; i++) world.put(`put ${i}`);
    const [node] = world.nodes;
    const { sum, count } = node.machine();
    expect(count).toBe(50);
    node.kill('power');
    node.start();
    world.untilLeader();
    expect(node.machine()).toMatchObject({ sum, count });
  });
});

describe('three nodes', () => {
  test('elect, commit on a majority, apply the same everywhere', () => {
    const world = new World({ seed: 2, nodes: 3 });
    world.start();
    const leader = world.untilLeader();
    expect(leader.id).toBe(1);
    for (let i = 0; i < 100; i++) world.put(`put ${i}`);
    world.untilEqual();
    expect(world.nodes.map((node) => node.machine().count)).toEqual([100, 100, 100]);
    expect(leader.host.stats).toMatchObject({
      groups: 1,
      leading: 1,
      electionsWon: 1,
      digestMismatches: 0,
      badMessages: 0,
    });
    expect(leader.group().inFlightBytes).toBe(0);
  });
});
