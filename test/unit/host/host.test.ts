import { describe, expect, test } from 'vitest';
import type { GroupRunner } from '../../../cluster/host/group-runner.ts';
import { Channel } from '../../../cluster/rpc/types.ts';
import { readAll, World, type WorldNode } from './world.ts';

const small = { snapshots: { bytes: 2_000, entries: 30, growth: 0, awayGrowth: 1, waitMs: 200, gapMs: 5 } };

function barrier(node: WorldNode, group = 0): { answer: boolean | undefined } {
  const result: { answer: boolean | undefined } = { answer: undefined };
  node.env.run(() => node.group(group).readBarrier((ok) => (result.answer = ok)));
  return result;
}

/** What one read gives from `first` on. */
function readOn(world: World, node: WorldNode, first: number, bytesMax: number): string[] | undefined {
  const read: { bodies?: readonly Uint8Array[] | undefined } = {};
  node.env.run(() => node.group().readBodies(first, bytesMax, (bodies) => Object.assign(read, { bodies })));
  world.until('bodies read', () => 'bodies' in read);
  return read.bodies?.map((body) => Buffer.from(body).toString());
}

describe('one node', () => {
  test('leads at once, applies what it proposed, recovers it after a power cut', () => {
    const world = new World({ seed: 1, nodes: 1 });
    world.start();
    world.untilLeader();
    expect(world.scheduler.nowMs).toBeLessThan(500);
    for (let i = 0; i < 50; i++) world.put(`put ${i}`);
    const [node] = world.nodes;
    const { sum, count } = node.machine();
    expect(count).toBe(50);
    node.kill('power');
    node.start();
    world.untilLeader();
    expect(node.machine()).toMatchObject({ sum, count });
    expect(barrier(node).answer).toBeUndefined();
  });

  test('snapshots shorten the log, keep what is alive readable, and restore the machine', () => {
    const world = new World({ seed: 3, nodes: 1, host: small, wal: { segmentBytes: 16 * 1024, tailBytes: 4_000 } });
    world.start();
    const [node] = world.nodes;
    const texts = new Map<number, string>();
    for (let i = 0; i < 300; i++) {
      const text = `put ${i} ${'y'.repeat(i % 90)}`;
      texts.set(world.put(text), text);
      if (i % 3 === 0) {
        const [dead] = texts.keys();
        texts.delete(dead);
        world.put(`del ${dead}`);
      }
    }
    world.scheduler.runFor(3_000);
    expect(node.host.stats.snapshotsTaken).toBeGreaterThan(3);
    expect(node.group().status().firstIndex).toBeGreaterThan(200);
    expect(readAll(world, node)).toEqual(texts);
    let several = 0;
    for (const [first, text] of texts) {
      const bodies = readOn(world, node, first, 500);
      expect(bodies?.[0]).toBe(text);
      for (const [i, body] of (bodies ?? []).entries()) expect(body).toBe(texts.get(first + i) ?? body);
      if ((bodies?.length ?? 0) > 1) several++;
    }
    expect(several).toBeGreaterThan(50);
    expect(readOn(world, node, node.group().applied + 1, 500)).toBeUndefined();
    const { sum } = node.machine();
    node.kill('process');
    node.start();
    world.untilLeader();
    expect(node.machine().sum).toBe(sum);
    expect(readAll(world, node)).toEqual(texts);
    // Far fewer entries were applied again than were ever written.
    expect(node.host.stats.appliedEntries).toBeLessThan(150);
  });

  test('space comes back after removals although nothing more is written', () => {
    const host = { snapshots: { ...small.snapshots, entries: 100, bytes: 1e9, growth: 0 } };
    const world = new World({ seed: 21, nodes: 1, host, wal: { segmentBytes: 16 * 1024, tailBytes: 4_000 } });
    world.start();
    const [node] = world.nodes;
    const indexes = Array.from({ length: 110 }, (_, i) => world.put(`put ${i} ${'y'.repeat(1_000)}`));
    world.scheduler.runFor(10_000);
    const { segments } = node.wal.stats;
    expect(segments).toBeGreaterThan(5);
    const { snapshotsTaken } = node.host.stats;
    for (const index of indexes.slice(0, 80)) world.put(`del ${index}`);
    world.scheduler.runFor(15_000);
    expect(node.host.stats.snapshotsTaken).toBe(snapshotsTaken);
    expect(node.wal.stats.segments).toBeLessThan(segments - 3);
  });

  test('a group can be deleted and created anew', () => {
    const world = new World({ seed: 4, nodes: 1 });
    world.start();
    world.put('put a');
    const [node] = world.nodes;
    const waiting = barrier(node);
    node.env.run(() => node.host.deleteGroup(0));
    expect(waiting.answer).toBe(false);
    expect(node.host.group(0)).toBeUndefined();
    expect(node.host.stats).toMatchObject({ groups: 0, leading: 0 });
    node.env.run(() => node.open(0, [1]));
    world.put('put b');
    expect(node.machine().count).toBe(1);
    world.scheduler.runFor(100);
    node.kill('power');
    node.start();
    world.untilLeader();
    expect(node.machine().count).toBe(1);
  });

  test('bytes in flight return to zero; nothing is accepted before the own no-op is applied', () => {
    const world = new World({ seed: 5, nodes: 1 });
    world.start();
    const [node] = world.nodes;
    expect(node.env.run(() => node.group().propose(Buffer.from('put early')))).toBeUndefined();
    world.untilLeader();
    node.env.run(() => {
      for (let i = 0; i < 10; i++) node.group().propose(new Uint8Array(100));
    });
    expect(node.group().inFlightBytes).toBe(1_000);
    world.until('applied', () => node.machine().count === 10);
    expect(node.group().inFlightBytes).toBe(0);
  });
});

describe('three nodes', () => {
  test('elect the preferred one, commit on a majority, apply the same everywhere', () => {
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
      groupsStopped: 0,
      badMessages: 0,
    });
    expect(
      leader
        .group()
        .status()
        .progress.map((p) => p.state),
    ).toEqual(['replicate', 'replicate']);
  });

  test('a killed leader is replaced at once, and comes back as a follower that catches up; then it leads again', () => {
    const world = new World({ seed: 6, nodes: 3 });
    world.start();
    for (let i = 0; i < 20; i++) world.put(`put ${i}`);
    const first = world.untilLeader();
    first.kill('power');
    const beganMs = world.scheduler.nowMs;
    const second = world.untilLeader();
    expect(second).not.toBe(first);
    expect(world.scheduler.nowMs - beganMs).toBeLessThan(500);
    for (let i = 0; i < 20; i++) world.put(`put more ${i}`);
    first.start();
    world.untilEqual();
    expect(first.machine().count).toBe(40);
    world.until('the preferred leader leads again', () => world.leader() === first, 15_000);
  });

  test('all nodes lose power at once: everything applied is there again', () => {
    const world = new World({ seed: 7, nodes: 3, groups: [0, 64, 65] });
    world.start();
    for (const group of [0, 64, 65]) for (let i = 0; i < 30; i++) world.put(`put ${i}`, group);
    for (const node of world.nodes) node.kill('power');
    for (const node of world.nodes) node.start();
    for (const group of [0, 64, 65]) {
      world.put('put last', group);
      world.untilEqual(group);
      expect(world.nodes.map((node) => node.machine(group).count)).toEqual([31, 31, 31]);
    }
  });

  test('without a majority nothing is committed, read or voted for', () => {
    const world = new World({ seed: 8, nodes: 3 });
    for (const node of [1, 2]) world.node(node).start();
    world.put('put a');
    world.node(2).kill();
    const alone = world.node(1);
    world.until('it notices', () => !alone.group().leading);
    const refused = barrier(alone);
    world.scheduler.runFor(3_000);
    expect(refused.answer).toBe(false);
    expect(alone.group().status().role).not.toBe('leader');
    // A node that has heard of nobody may not vote, whatever its log says.
    alone.kill();
    alone.start();
    world.scheduler.runFor(3_000);
    expect((alone.group() as GroupRunner).raft.mayVote).toBe(false);
    world.node(2).start();
    world.put('put b');
  });

  test('read barriers: any replica has applied what was committed before it was asked', () => {
    const world = new World({ seed: 9, nodes: 3 });
    world.start();
    // A node hears no leader before its peers have vouched for it; without a leader a barrier is refused.
    world.put('put first');
    world.untilEqual();
    for (let i = 0; i < 20; i++) {
      const index = world.put(`put ${i}`);
      for (const node of world.nodes) {
        const read = barrier(node);
        world.until('an answer', () => read.answer !== undefined);
        expect(read.answer).toBe(true);
        expect(node.group().applied).toBeGreaterThanOrEqual(index);
      }
    }
    // All barriers of a turn share one round.
    const [leader] = world.nodes;
    const before = leader.host.stats.framesSent;
    const reads = Array.from({ length: 50 }, () => barrier(leader));
    world.until('answers', () => reads.every((read) => read.answer === true));
    expect(leader.host.stats.framesSent - before).toBeLessThan(10);
  });

  test('what a follower lacks below the log comes by snapshot, with the bodies that live', () => {
    const world = new World({ seed: 10, nodes: 3, host: small, wal: { segmentBytes: 32 * 1024, tailBytes: 8_000 } });
    world.start();
    for (let i = 0; i < 10; i++) world.put(`put early ${i}`);
    world.untilEqual();
    world.node(3).kill();
    for (let i = 0; i < 400; i++) {
      const index = world.put(`put ${i} ${'z'.repeat(100)}`);
      if (i % 2 === 0) world.put(`del ${index}`);
    }
    world.scheduler.runFor(2_000);
    world.node(3).start();
    world.untilEqual();
    expect(world.node(3).host.stats.snapshotsInstalled).toBeGreaterThan(0);
    expect(readAll(world, world.node(3))).toEqual(readAll(world, world.node(1)));
    expect(world.node(3).machine().live.size).toBe(210);
    // And it is good enough to lead with.
    world.node(1).kill('power');
    world.put('put after');
    world.node(2).kill();
    world.node(1).start();
    world.put('put at last');
    expect(readAll(world, world.node(3)).size).toBe(212);
  });

  test('a snapshot transfer that is cut goes on later', () => {
    const world = new World({ seed: 11, nodes: 3, host: small, wal: { segmentBytes: 64 * 1024, tailBytes: 8_000 } });
    world.start();
    world.put('put a');
    world.node(3).kill();
    for (let i = 0; i < 300; i++) world.put(`put ${i} ${'z'.repeat(8_000)}`);
    world.scheduler.runFor(2_000);
    const late = world.node(3);
    late.start();
    const staged = () => late.wal.stats.bytesWritten;
    const before = staged();
    world.until('a part has come', () => staged() - before > 600_000);
    expect(late.host.stats.snapshotsInstalled).toBe(0);
    for (const other of ['n1', 'n2']) {
      world.network.cut(other, 'n3');
      world.network.cut('n3', other);
    }
    world.scheduler.runFor(3_000);
    expect(late.host.stats.snapshotsInstalled).toBe(0);
    expect(late.machine().count).toBeLessThan(2);
    world.network.heal();
    world.untilEqual(0, 20_000);
    expect(late.host.stats.snapshotsInstalled).toBe(1);
    expect(readAll(world, late).size).toBe(301);
  });

  test('idle groups fall silent, and wake when their leader dies', () => {
    const groups = [0, ...Array.from({ length: 100 }, (_, i) => 64 + i)];
    const world = new World({ seed: 13, nodes: 3, groups });
    world.start();
    for (const group of groups) world.put('put x', group);
    world.scheduler.runFor(5_000);
    const frames = () => world.nodes.reduce((sum, node) => sum + node.host.stats.framesSent, 0);
    const before = frames();
    const events = world.scheduler.eventsRun;
    world.scheduler.runFor(5_000);
    expect(frames() - before).toBe(0);
    // Link heartbeats and housekeeping only.
    expect(world.scheduler.eventsRun - events).toBeLessThan(1_000);
    world.node(1).kill();
    world.until('all groups led', () => groups.every((group) => world.leader(group) !== undefined), 3_000);
  });

  test('a learner becomes a voter, a removed voter leaves', () => {
    const world = new World({ seed: 14, nodes: 4, groups: [] });
    for (const node of world.nodes) node.start();
    for (const node of [1, 2, 3]) world.node(node).env.run(() => world.node(node).open(0, [1, 2, 3]));
    for (let i = 0; i < 10; i++) world.put(`put ${i}`);
    const leader = world.untilLeader();
    const change = (voters: number[], learners: number[]) => {
      leader.env.run(() => expect(leader.group().proposeMembership({ voters, learners })).toBeDefined());
      world.scheduler.runFor(500);
    };
    world.node(4).env.run(() => world.node(4).open(0, [1, 2, 3], [4]));
    change([1, 2, 3], [4]);
    expect(world.node(4).machine().count).toBe(10);
    change([1, 2, 3, 4], []);
    change([1, 2, 4], []);
    world.node(3).kill();
    world.node(2).kill();
    world.put('put with 1 and 4');
    expect(world.node(4).group().status().membership).toEqual({ voters: [1, 2, 4], learners: [] });
  });

  test('what a leader that is none any more still applies may end the group', () => {
    const world = new World({ seed: 41, nodes: 3 });
    world.start();
    const from = world.untilLeader();
    const machine = from.machine();
    const runner = from.group() as GroupRunner;
    const apply = runner.apply.bind(runner);
    // Its turn does not come before leadership is lost.
    runner.apply = (untilMs) => untilMs > world.scheduler.nowMs + 50 && apply(untilMs);
    from.env.run(() => from.group().propose(Buffer.from('put end')));
    world.until('committed', () => runner.backlog > 0);
    machine.onApply = () => from.host.deleteGroup(0);
    from.env.run(() => from.group().transferLeadership(world.nodes.find((node) => node !== from)!.id));
    world.until('ended', () => runner.closed);
    world.scheduler.runFor(500);
    expect(from.env.deathReason).toBeUndefined();
    expect(machine.count).toBe(1);
    expect(machine.calls.filter((call) => call === 'not leading, 0')).toHaveLength(1);
  });
});

describe('what a node cannot be sure of', () => {
  test('a node that was restored from a backup hears it from its peers, doubts, and finds its way back', () => {
    const world = new World({ seed: 15, nodes: 3, host: { rebalance: false } });
    world.start();
    for (let i = 0; i < 10; i++) world.put(`put ${i}`);
    world.untilEqual();
    const node = world.node(2);
    node.kill();
    const backup = node.disk.image();
    node.start();
    for (let i = 0; i < 50; i++) world.put(`put ${i}`);
    world.scheduler.runFor(3_000);
    node.kill();
    node.disk.restore(backup);
    world.node(3).kill();
    node.start();
    const runner = () => node.group() as GroupRunner;
    world.until('told', () => node.rolledBack > 0);
    world.scheduler.runFor(5_000);
    // One of those who may have its forgotten vote is missing: it stores and acknowledges nothing, and the other one cannot lead.
    expect([runner().raft.lastIndex < world.node(1).group().applied, runner().raft.mayVote]).toEqual([true, false]);
    expect(world.leader()).toBeUndefined();
    world.node(3).start();
    world.until('no doubt', () => runner().raft.mayVote);
    world.untilEqual();
    expect(node.machine().count).toBe(60);
    world.node(1).kill();
    world.put('put with its vote');
    node.kill('power');
    node.start();
    world.put('put after a restart');
    expect([node.rolledBack, runner().voteUnsafe]).toEqual([1, false]);
  });

  test('garbage on the raft channel is counted and harms nobody', () => {
    const world = new World({ seed: 17, nodes: 3 });
    world.start();
    world.put('put a');
    const [one] = world.nodes;
    const transport = (
      one.host as unknown as { transport: { send(to: number, channel: number, parts: Uint8Array[]): boolean } }
    ).transport;
    one.env.run(() => {
      for (let i = 0; i < 50; i++)
        for (const channel of [Channel.raft, Channel.transfer, Channel.rpc])
          transport.send(2, channel, [one.env.random.bytes(i)]);
    });
    world.put('put b');
    expect(world.node(2).host.stats.badMessages).toBeGreaterThan(0);
    world.untilEqual();
  });

  test.each(['a flipped bit', 'zeros', 'a cut file'])(
    '%s in a sealed segment of one node: its entries come back from the others',
    (how) => {
      const world = new World({ seed: 18, nodes: 3, wal: { segmentBytes: 16 * 1024, tailBytes: 4_000 } });
      world.start();
      for (let i = 0; i < 200; i++) world.put(`put ${i} ${'w'.repeat(200)}`);
      world.untilEqual();
      world.scheduler.runFor(1_000);
      const node = world.node(2);
      node.kill();
      const [segment] = node.disk.files('wal/').filter((path) => path.endsWith('.seg'));
      const size = node.disk.content(segment)!.length;
      if (how === 'a flipped bit') node.disk.flipBit(segment, size >> 1, 3);
      else if (how === 'zeros') node.disk.zero(segment, size >> 2, size >> 1);
      else node.disk.cutTo(segment, size >> 1);
      node.start();
      world.untilEqual();
      expect(readAll(world, node)).toEqual(readAll(world, world.node(1)));
      expect(node.host.stats.entriesRepaired).toBeGreaterThan(0);
      world.until(
        'the log is whole',
        () => node.wal.damagedRanges(0).length === 0 && (node.group() as GroupRunner).raft.mayVote,
      );
      expect(node.rolledBack).toBe(0);
    },
  );

  test('a node that is unsure of its last entries does not vote until all the others have vouched for it', () => {
    const world = new World({ seed: 21, nodes: 3, host: { rebalance: false } });
    world.start();
    for (let i = 0; i < 50; i++) world.put(`put ${i}`);
    world.untilEqual();
    const node = world.node(3);
    node.kill();
    const segment = node.disk
      .files('wal/')
      .filter((path) => path.endsWith('.seg'))
      .at(-1)!;
    const bytes = node.disk.content(segment)!;
    let end = bytes.length;
    while (bytes[end - 1] === 0) end--;
    node.disk.zero(segment, Math.floor(end * 0.7), end);
    for (const file of ['wal/state-a', 'wal/state-b']) node.disk.flipBit(file, 20, 1);
    world.node(1).kill();
    node.start();
    const runner = () => node.group() as GroupRunner;
    expect(runner().voteUnsafe).toBe(true);
    world.scheduler.runFor(5_000);
    // One of the others is missing: it might have this node's forgotten vote.
    expect(runner().voteUnsafe).toBe(true);
    expect(world.leader()).toBeUndefined();
    world.node(1).start();
    world.until('no doubt', () => !runner().voteUnsafe && runner().raft.mayVote);
    world.untilEqual();
    expect(node.machine().count).toBe(50);
    world.node(2).kill();
    world.put('put with its vote');
    node.kill('power');
    node.start();
    expect(runner().voteUnsafe).toBe(false);
  });

  test('a node whose disk hangs gives up leading', () => {
    const world = new World({ seed: 22, nodes: 3, host: { rebalance: false } });
    world.start();
    world.put('put a');
    const [first] = world.nodes;
    expect(world.leader()).toBe(first);
    // The flush never comes back.
    (first.wal as { flush: (done: () => void) => void }).flush = () => {};
    first.env.run(() => first.group().propose(Buffer.from('put b')));
    world.until('another leader', () => world.leader() !== undefined && world.leader() !== first);
    world.put('put c');
    expect(first.env.logs.some((line) => /gives up leading/.test(line.message))).toBe(true);
  });

  test('an unreadable snapshot is fetched from another member', () => {
    const world = new World({ seed: 19, nodes: 3, host: small });
    world.start();
    for (let i = 0; i < 100; i++) world.put(`put ${i} ${'w'.repeat(50)}`);
    world.scheduler.runFor(2_000);
    const node = world.node(3);
    let covers = 0;
    for (let i = 0; i < 100 && covers < node.group().applied; i++) {
      world.put(`put more ${i}`);
      world.scheduler.runFor(300);
      covers = Math.max(...node.disk.files('wal/snap/').map((path) => Number(path.split('-')[1])));
    }
    expect(covers).toBe(node.group().applied);
    node.kill();
    const snapshots = node.disk.files('wal/snap/');
    expect(snapshots.length).toBeGreaterThan(0);
    for (const path of snapshots) node.disk.flipBit(path, node.disk.content(path)!.length - 10, 1);
    node.start();
    // Up to its snapshot it has applied everything, but it has no state: a read would find nothing, and waits.
    const runner = node.group() as GroupRunner;
    const answers: boolean[] = [];
    const ask = (): void => {
      if (!runner.stateMissing) return;
      runner.readBarrier((ok) => answers.push(ok && runner.stateMissing));
      node.env.clock.after(10, () => ask());
    };
    node.env.run(ask);
    world.until('restored', () => !runner.stateMissing);
    world.put('put x');
    expect(answers.length).toBeGreaterThan(10);
    expect(answers).not.toContain(true);
    world.untilEqual();
    expect(readAll(world, node)).toEqual(readAll(world, world.node(1)));
  });
});

describe('time', () => {
  test('cluster time follows the majority and never runs back', () => {
    const world = new World({ seed: 20, nodes: 3 });
    world.start();
    world.scheduler.runFor(1_000);
    const odd = world.node(2);
    let last = 0;
    for (const offsetUs of [0, 3_600e6, -3_600e6, 31_536_000e6, 0]) {
      odd.env.clockModel.offsetUs = offsetUs;
      for (let i = 0; i < 20; i++) {
        world.scheduler.runFor(100);
        for (const node of world.nodes) {
          expect(Math.abs(node.host.clusterTimeUs() - world.node(1).env.clock.wallUs())).toBeLessThan(50_000);
        }
        expect(odd.host.clusterTimeUs()).toBeGreaterThan(last);
        last = odd.host.clusterTimeUs();
      }
    }
    expect(odd.env.logs.some((line) => /wall clock of this node/.test(line.message))).toBe(true);
    expect(world.node(1).env.logs.some((line) => /wall clock of this node/.test(line.message))).toBe(false);
  });
});
