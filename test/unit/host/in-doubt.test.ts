// A node in doubt (its directory was rolled back, or its log says so) takes no part before it stands above every vote that it may have
// forgotten, and then comes back by itself: through changes of the members, a second roll-back on the way, two such nodes of five. Where
// nobody can know what was voted it stays out, and nothing is lost by that.
import { describe, expect, test } from 'vitest';
import type { PeerId, RaftMessage } from '../../../cluster/core/types.ts';
import { decodeRaftBatch } from '../../../cluster/rpc/raft-codec.ts';
import { Channel } from '../../../cluster/rpc/types.ts';
import { World, type WorldNode } from './world.ts';

const HOST = { rebalance: false };

function begin(nodes: number, seed: number): World {
  const world = new World({ seed, nodes, host: HOST });
  world.start();
  world.put('put first');
  world.untilEqual();
  world.scheduler.runFor(300);
  return world;
}

/** As many as the peers need to remember more of everybody than a copy taken before has. */
function putSome(world: World): void {
  for (let i = 0; i < 20; i++) world.put(`put ${i}`);
  world.scheduler.runFor(500);
}

function change(world: World, voters: PeerId[], learners: PeerId[]): void {
  const leader = world.untilLeader();
  leader.env.run(() => expect(leader.group().proposeMembership({ voters, learners })).toBeDefined());
  world.scheduler.runFor(500);
}

function untilAllVote(world: World): void {
  world.until('everybody votes', () => world.nodes.every((node) => !node.up || node.core().mayVote), 20_000);
}

/** Consensus messages that the node sends from now on. */
function listen(world: World, node: WorldNode): RaftMessage[] {
  const said: RaftMessage[] = [];
  world.network.watch = (from, to, channel, bytes) => {
    if (from.id !== node.id || channel !== Channel.raft) return;
    expect(
      decodeRaftBatch(
        bytes,
        from.id,
        to,
        () => false,
        (_group, message) => said.push(message),
      ),
    ).toBeUndefined();
  };
  return said;
}

describe('a node in doubt', () => {
  test('says nothing until it is above all terms, and then nothing of an earlier one', () => {
    const world = begin(3, 1);
    const [one, two, three] = world.nodes;
    const backup = two.disk.image();
    putSome(world);
    two.rollBack(backup);
    const said = listen(world, two);
    world.until('told', () => two.rolledBack > 0);
    const term = Math.max(one.core().term, three.core().term);
    untilAllVote(world);
    expect(said.length).toBeGreaterThan(0);
    expect(said.filter((message) => message.term <= term)).toEqual([]);
    world.untilEqual();
    expect(two.machine().count).toBe(21);
  });

  test('takes back a vote that waits for its disk when it is told', () => {
    const world = begin(3, 2);
    const [one, two, three] = world.nodes;
    const backup = two.disk.image();
    const isolate = (alone: WorldNode): void => {
      for (const other of world.nodes) if (other !== alone) world.cut(alone, other);
    };
    // Node 3 has nothing of what the two others acknowledge, and has not heard how far node 2 came.
    isolate(three);
    world.scheduler.runFor(2500);
    putSome(world);
    world.network.heal();
    isolate(one);
    two.rollBack(backup);
    two.disk.latency.syncMs = 3000;
    const said = listen(world, two);
    world.until('a vote', () => two.core().vote === three.id, 20_000);
    expect([two.rolledBack, three.core().role]).toEqual([0, 'candidate']);
    const { term } = two.core();
    said.length = 0;
    world.network.heal();
    world.until('told', () => two.rolledBack > 0, 1000);
    world.scheduler.runFor(8000);
    expect(said.filter((message) => message.term <= term)).toEqual([]);
    two.disk.latency.syncMs = 1;
    untilAllVote(world);
    world.untilEqual();
    expect(two.machine().count).toBe(21);
  });

  test('hears nothing before a learner has told its term: it may have been made a voter by an entry that only these two had', () => {
    const world = new World({ seed: 4, nodes: 4, groups: [], host: HOST });
    for (const node of world.nodes) node.start();
    for (const id of [1, 2, 3]) world.node(id).env.run(() => world.node(id).open(0, [1, 2, 3]));
    world.put('put first');
    const [one, two, three, four] = world.nodes;
    four.env.run(() => four.open(0, [1, 2, 3], [4]));
    change(world, [1, 2, 3], [4]);
    const backup = two.disk.image();
    putSome(world);
    for (const other of [one, two, three]) world.cut(other, four);
    two.rollBack(backup);
    two.env.run(() => two.open(0, [1, 2, 3]));
    world.until('told', () => two.rolledBack > 0);
    world.put('put without it');
    world.scheduler.runFor(5000);
    expect([two.core().lastIndex < one.core().commit, two.core().mayVote]).toEqual([true, false]);
    world.network.heal();
    untilAllVote(world);
    world.untilEqual();
  });

  test('comes back although voters of its old log are gone for ever', () => {
    const world = new World({ seed: 3, nodes: 4, groups: [], host: HOST });
    for (const node of world.nodes) node.start();
    for (const id of [1, 2, 3]) world.node(id).env.run(() => world.node(id).open(0, [1, 2, 3]));
    world.put('put first');
    world.scheduler.runFor(500);
    const [one, two, three, four] = world.nodes;
    const backup = two.disk.image();
    four.env.run(() => four.open(0, [1, 2, 3], [4]));
    change(world, [1, 2, 3], [4]);
    change(world, [1, 2, 3, 4], []);
    change(world, [1, 2, 4], []);
    three.kill();
    putSome(world);
    two.rollBack(backup);
    two.env.run(() => two.open(0, [1, 2, 3]));
    world.until('told', () => two.rolledBack > 0);
    untilAllVote(world);
    expect(two.group().status().membership).toEqual({ voters: [1, 2, 4], learners: [] });
    one.kill();
    world.put('put with its vote');
    expect(two.machine().count).toBe(22);
  });

  test('is rolled back again on its way, at every moment of it', () => {
    const world = begin(3, 5);
    const [one, two] = world.nodes;
    const backup = two.disk.image();
    for (let moment = 0; moment < 12; moment++) {
      putSome(world);
      two.rollBack(backup);
      world.scheduler.runFor(moment * 250);
    }
    untilAllVote(world);
    world.untilEqual();
    expect(two.machine().count).toBe(1 + 12 * 20);
    one.kill();
    world.put('put with its vote');
  });

  test('waits for a voter that is down for ever until that is removed; the others go on', () => {
    const world = begin(5, 6);
    const [, two, , , five] = world.nodes;
    const backup = two.disk.image();
    putSome(world);
    five.kill();
    two.rollBack(backup);
    world.until('told', () => two.rolledBack > 0);
    putSome(world);
    world.scheduler.runFor(5000);
    expect([two.machine().count, two.core().mayVote]).toEqual([0, false]);
    change(world, [1, 2, 3, 4], []);
    untilAllVote(world);
    world.untilEqual();
    expect(two.machine().count).toBe(41);
  });

  test('of five, two at once find their way back', () => {
    const world = begin(5, 7);
    const [, two, three] = world.nodes;
    const backups = [two, three].map((node) => node.disk.image());
    putSome(world);
    for (const [i, node] of [two, three].entries()) node.rollBack(backups[i]);
    world.until('told', () => two.rolledBack > 0 && three.rolledBack > 0);
    untilAllVote(world);
    world.untilEqual();
    for (const node of [world.node(1), world.node(4)]) node.kill();
    world.put('put with their votes');
    expect(two.machine().count).toBe(22);
  });

  test('of three, two at once stand still: the third may be the only one who has what they acknowledged', () => {
    const world = begin(3, 8);
    const [one, two, three] = world.nodes;
    const backups = [two, three].map((node) => node.disk.image());
    putSome(world);
    for (const [i, node] of [two, three].entries()) node.rollBack(backups[i]);
    world.until('told', () => two.rolledBack > 0 && three.rolledBack > 0);
    world.scheduler.runFor(10_000);
    expect(world.leader()).toBeUndefined();
    expect([one, two, three].map((node) => node.core().mayVote)).toEqual([true, false, false]);
    expect(one.machine().count).toBe(21);
  });

  test('of two gets everything back from the other one', () => {
    for (const preferred of [1, 2]) {
      const world = begin(2, 11 + preferred);
      const [one, two] = world.nodes;
      const rolled = world.node(preferred);
      const backup = rolled.disk.image();
      putSome(world);
      rolled.rollBack(backup);
      world.until('told', () => rolled.rolledBack > 0);
      untilAllVote(world);
      world.put('put with its vote');
      world.untilEqual();
      expect([one.machine().count, two.machine().count]).toEqual([22, 22]);
    }
  });

  test('of two stands still if the other one is in doubt as well', () => {
    const world = begin(2, 14);
    putSome(world);
    for (const node of world.nodes) {
      node.env.run(() => node.wal.doubtAll(0));
      node.env.run(() => node.wal.flush(() => {}));
    }
    world.scheduler.runFor(100);
    for (const node of world.nodes) node.kill('power');
    for (const node of world.nodes) node.start();
    world.scheduler.runFor(10_000);
    expect(world.nodes.map((node) => [node.core().mayVote, node.core().role])).toEqual([
      [false, 'follower'],
      [false, 'follower'],
    ]);
  });

  test('of two that remembers to have been alone does not lead alone again', () => {
    const world = new World({ seed: 13, nodes: 2, groups: [], host: HOST });
    for (const node of world.nodes) node.start();
    const [one, two] = world.nodes;
    one.env.run(() => one.open(0, [1]));
    world.put('put first');
    const backup = one.disk.image();
    two.env.run(() => two.open(0, [1], [2]));
    change(world, [1], [2]);
    change(world, [1, 2], []);
    putSome(world);
    one.kill('power');
    one.disk.restore(backup);
    one.start();
    one.env.run(() => one.wal.doubtAll(0));
    one.env.run(() => one.open(0, [1]));
    world.scheduler.runFor(5000);
    expect(world.leader()).toBeUndefined();
    expect(two.machine().count).toBe(21);
  });

  test('that is the only voter stands above what a learner has of its forgotten terms', () => {
    const world = new World({ seed: 9, nodes: 2, groups: [], host: HOST });
    for (const node of world.nodes) node.start();
    const [one, two] = world.nodes;
    const open = (): void => void one.env.run(() => one.open(0, [1]));
    open();
    world.put('put first');
    one.kill('power');
    const backup = one.disk.image();
    one.start();
    open();
    two.env.run(() => two.open(0, [1], [2]));
    world.untilLeader();
    change(world, [1], [2]);
    putSome(world);
    const { term } = two.core();
    one.kill('power');
    one.disk.restore(backup);
    one.start();
    // It would stand for the same term again before its peer can tell.
    const backupTerm = one.wal.recovered.get(0)?.hardState.term as number;
    expect(backupTerm).toBeLessThan(term);
    one.env.run(() => one.wal.doubtAll(0));
    open();
    world.until('it leads', () => world.leader() === one);
    expect(one.core().term).toBeGreaterThan(term);
  });
});

describe('no doubt at all', () => {
  test('every node is killed at once, or loses power: all are back within an election', () => {
    for (let seed = 1; seed <= 10; seed++) {
      for (const nodes of [1, 2, 3, 5]) {
        const world = begin(nodes, 100 + seed);
        for (const node of world.nodes) node.kill(seed % 2 === 0 ? 'power' : 'process');
        for (const node of world.nodes) node.start();
        const startedMs = world.scheduler.nowMs;
        world.put('put after');
        expect(world.scheduler.nowMs - startedMs).toBeLessThan(2500);
        world.untilEqual();
        expect(world.nodes.map((node) => [node.rolledBack, node.core().mayVote])).toEqual(
          world.nodes.map(() => [0, true]),
        );
      }
    }
  });

  test('copies of one moment, put back everywhere, are a cluster again', () => {
    const world = begin(3, 10);
    for (const node of world.nodes) node.kill();
    const backups = world.nodes.map((node) => node.disk.image());
    for (const node of world.nodes) node.start();
    putSome(world);
    for (const node of world.nodes) node.kill();
    for (const [i, node] of world.nodes.entries()) node.disk.restore(backups[i]);
    for (const node of world.nodes) node.start();
    world.put('put anew');
    world.untilEqual();
    expect(world.nodes.map((node) => [node.machine().count, node.rolledBack])).toEqual([
      [2, 0],
      [2, 0],
      [2, 0],
    ]);
  });

  test('copies taken one after the other, put back everywhere, are none: each knows that the ones before it are old', () => {
    const world = begin(3, 15);
    const backups = world.nodes.map((node) => {
      node.kill();
      const backup = node.disk.image();
      node.start();
      putSome(world);
      world.scheduler.runFor(2000);
      return backup;
    });
    for (const node of world.nodes) node.kill();
    for (const [i, node] of world.nodes.entries()) node.disk.restore(backups[i]);
    for (const node of world.nodes) node.start();
    world.scheduler.runFor(10_000);
    expect(world.nodes.map((node) => node.rolledBack > 0)).toEqual([true, true, false]);
    expect(world.leader()).toBeUndefined();
  });
});
