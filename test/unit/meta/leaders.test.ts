// Leader gossip: what every node believes about who leads, through changes, lost links and full queues.
import { describe, expect, test } from 'vitest';
import type { PeerId } from '../../../cluster/core/types.ts';
import { Leaders } from '../../../src/meta/leaders.ts';
import { type FakeNode, World } from './fake-cluster.ts';

interface Member {
  node: FakeNode;
  leaders: Leaders;
  changes: [number, PeerId][];
}

function members(count: number): { world: World; all: Member[] } {
  const world = new World(1);
  const all: Member[] = [];
  for (let id = 1; id <= count; id++) {
    const node = world.addNode({ id, name: `n${id}`, clientUrl: '', clusterUrl: '', monitorUrl: '' });
    node.start(() => {
      const leaders = new Leaders(node.env.clock, node.transport);
      const changes: [number, PeerId][] = [];
      leaders.onChange((group, leader) => changes.push([group, leader]));
      all.push({ node, leaders, changes });
    });
  }
  world.scheduler.runFor(50);
  return { world, all };
}

describe('leader gossip', () => {
  test('a thousand groups in one turn are one frame per peer', () => {
    const { world, all } = members(3);
    const [a, b, c] = all;
    let frames = 0;
    const { send } = a.node.transport;
    a.node.transport.send = (to, channel, parts) => {
      frames++;
      return send.call(a.node.transport, to, channel, parts);
    };
    a.node.run(() => {
      for (let group = 64; group < 64 * 1001; group += 64) a.leaders.started(group, 1);
    });
    world.scheduler.runFor(20);
    expect(frames).toBe(2);
    for (const one of [b, c]) expect(one.changes).toHaveLength(1000);
    expect(b.leaders.leaderOf(64 * 77)).toBe(1);
  });

  test('the later term wins, whatever arrives first', () => {
    const { world, all } = members(3);
    const [a, b, c] = all;
    b.node.run(() => b.leaders.started(64, 5));
    world.scheduler.runFor(20);
    a.node.run(() => a.leaders.started(64, 4));
    world.scheduler.runFor(20);
    expect(c.leaders.leaderOf(64)).toBe(2);
    a.node.run(() => a.leaders.stopped(64));
    world.scheduler.runFor(20);
    expect(c.leaders.leaderOf(64)).toBe(2);
    b.node.run(() => b.leaders.stopped(64));
    world.scheduler.runFor(20);
    expect(c.leaders.leaderOf(64)).toBe(0);
  });

  test('a leader that leads again is news, though it was not known to have stopped', () => {
    const { world, all } = members(2);
    const [a, b] = all;
    const terms: [PeerId, number][] = [];
    b.node.run(() => b.leaders.onChange((_group, leader, term) => terms.push([leader, term])));
    for (const term of [5, 6, 6]) {
      a.node.run(() => a.leaders.started(64, term));
      world.scheduler.runFor(20);
    }
    expect(terms).toEqual([
      [1, 5],
      [1, 6],
    ]);
    expect(b.leaders.termOf(64)).toBe(6);
    expect(b.leaders.termOf(65)).toBe(0);
  });

  test('a local replica that saw a new term knows that the old leader is none', () => {
    const { world, all } = members(2);
    const [a, b] = all;
    a.node.run(() => a.leaders.started(64, 5));
    world.scheduler.runFor(20);
    b.node.run(() => b.leaders.sawTerm(64, 5));
    expect(b.leaders.leaderOf(64)).toBe(1);
    b.node.run(() => b.leaders.sawTerm(64, 6));
    expect(b.leaders.leaderOf(64)).toBe(0);
  });

  test('a lost peer leads nothing; when it is back it says what it leads', () => {
    const { world, all } = members(2);
    const [a, b] = all;
    a.node.run(() => a.leaders.started(64, 5));
    world.scheduler.runFor(20);
    world.cuts.add('1-2');
    a.node.transport.down(2);
    b.node.transport.down(1);
    expect(b.leaders.leaderOf(64)).toBe(0);
    a.node.run(() => a.leaders.started(128, 5));
    world.cuts.clear();
    world.connect(a.node);
    world.scheduler.runFor(50);
    expect(b.leaders.leaderOf(64)).toBe(1);
    expect(b.leaders.leaderOf(128)).toBe(1);
  });

  test('what a full link refused is told again', () => {
    const { world, all } = members(2);
    const [a, b] = all;
    const { send } = a.node.transport;
    a.node.transport.send = () => false;
    a.node.run(() => a.leaders.started(64, 5));
    world.scheduler.runFor(20);
    expect(b.leaders.leaderOf(64)).toBe(0);
    a.node.transport.send = send;
    world.scheduler.runFor(200);
    expect(b.leaders.leaderOf(64)).toBe(1);
  });

  test('frames that no node wrote are ignored', () => {
    const { all } = members(2);
    const [, b] = all;
    for (const bytes of [[], [1], [1, 255, 255, 255, 255], [0, 1, 0, 0, 0, 7]]) {
      b.node.transport.deliver(1, 6, new Uint8Array(bytes));
    }
    expect(b.changes).toEqual([]);
  });
});
