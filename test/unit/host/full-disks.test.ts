// A disk that is nearly full: the group goes on with the members that have room while they are a majority, and nobody is driven into a full
// disk; when they are none, the leader says so; what gives space back still reaches everybody.
import { describe, expect, test } from 'vitest';
import { World } from './world.ts';

const GROUP = 65;
const options = { nodes: 3, groups: [GROUP], host: { rebalance: false } };

function started(seed: number) {
  const world = new World({ ...options, seed });
  world.start();
  world.put('put first', GROUP);
  const leader = world.untilLeader(GROUP);
  const [a, b] = world.nodes.filter((node) => node !== leader);
  return { world, leader, a, b };
}

describe('a nearly full disk', () => {
  test('of a follower: the others go on without it, it catches up when it has room', () => {
    const { world, leader, a, b } = started(1);
    a.diskLow = true;
    world.until('told', () => leader.host.isDiskLow(a.id));
    world.scheduler.runFor(1_000);
    const bytes = a.wal.stats.bytesWritten;
    for (let i = 0; i < 300; i++) world.put(`put ${i} ${'x'.repeat(2_000)}`, GROUP);
    world.scheduler.runFor(2_000);
    expect([leader.machine(GROUP).count, b.machine(GROUP).count]).toEqual([301, 301]);
    expect(a.wal.stats.bytesWritten - bytes).toBeLessThan(60_000);
    expect(leader.host.restsOnLowDisk(GROUP)).toBe(false);
    expect([leader.env.alive, world.leader(GROUP)]).toEqual([true, leader]);
    a.diskLow = false;
    world.untilEqual(GROUP);
    expect(a.machine(GROUP).count).toBe(301);
    expect(leader.env.logs.map((line) => line.message)).toEqual(
      expect.arrayContaining([expect.stringMatching(/nearly full/), expect.stringMatching(/has room again/)]),
    );
  });

  test('also when the log was folded into a snapshot meanwhile', () => {
    const { world, leader, a } = started(2);
    a.diskLow = true;
    world.until('told', () => leader.host.isDiskLow(a.id));
    for (let i = 0; i < 200; i++) world.put(i % 10 === 0 ? `put ${i}` : 'pad', GROUP);
    leader.env.run(() =>
      (leader.host as unknown as { snapshotTaker: { takeNow(runner: unknown): void } }).snapshotTaker.takeNow(
        leader.group(GROUP),
      ),
    );
    world.until('a snapshot', () => leader.wal.firstIndex(GROUP) > 150, 15_000);
    world.scheduler.runFor(3_000);
    expect(a.host.stats.snapshotsInstalled).toBe(0);
    a.diskLow = false;
    world.untilEqual(GROUP);
    expect(a.host.stats.snapshotsInstalled).toBe(1);
  });

  test('of so many that no majority has room: the leader knows, and what is proposed all the same reaches everybody', () => {
    const { world, leader, a, b } = started(3);
    a.diskLow = true;
    world.until('told', () => leader.host.isDiskLow(a.id));
    for (let i = 0; i < 20; i++) world.put(`put ${i}`, GROUP);
    b.diskLow = true;
    world.until('it rests on a low disk', () => leader.host.restsOnLowDisk(GROUP));
    world.put('del 3', GROUP);
    world.untilEqual(GROUP);
    expect(a.machine(GROUP).count).toBe(22);
    b.diskLow = false;
    world.until('it does not', () => !leader.host.restsOnLowDisk(GROUP));
  });

  test('of a follower that is needed, because the other one is down', () => {
    const { world, leader, a, b } = started(4);
    a.diskLow = true;
    world.until('told', () => leader.host.isDiskLow(a.id));
    b.kill();
    world.until('it rests on a low disk', () => leader.host.restsOnLowDisk(GROUP));
    world.put('del 1', GROUP);
    world.until('there', () => a.machine(GROUP).count === 2);
  });

  test('of the leader: it hands over to one that has room, and gets nothing new', () => {
    const { world, leader } = started(5);
    leader.diskLow = true;
    expect(leader.host.restsOnLowDisk(GROUP)).toBe(true);
    world.until('another leader', () => world.leader(GROUP) !== undefined && world.leader(GROUP) !== leader);
    const next = world.untilLeader(GROUP);
    world.until('told', () => next.host.isDiskLow(leader.id));
    const { count } = leader.machine(GROUP);
    for (let i = 0; i < 10; i++) world.put(`put ${i}`, GROUP);
    expect(next.host.restsOnLowDisk(GROUP)).toBe(false);
    expect(leader.machine(GROUP).count).toBe(count);
    leader.diskLow = false;
    world.untilEqual(GROUP);
  });

  test('that is full at once: what ends the node is its disk, also when it only notes what peers have', () => {
    const reasons: string[] = [];
    for (let seed = 1; seed <= 12; seed++) {
      const { world, leader } = started(seed);
      world.put('put more', GROUP);
      world.scheduler.runFor(seed * 50);
      leader.disk.faults.spaceBytes = leader.disk.usedBytes;
      world.scheduler.runFor(3_000);
      if (!leader.env.alive) reasons.push(leader.env.deathReason ?? '');
    }
    for (const reason of reasons) expect(reason).toMatch(/^fatal disk: .*ENOSPC/);
    expect(reasons).toContainEqual(expect.stringContaining('peers-seen'));
  });

  test('of the only replica: nothing is accepted', () => {
    const world = new World({ ...options, seed: 6, nodes: 1 });
    world.start();
    const leader = world.untilLeader(GROUP);
    leader.diskLow = true;
    expect(leader.host.restsOnLowDisk(GROUP)).toBe(true);
  });
});
