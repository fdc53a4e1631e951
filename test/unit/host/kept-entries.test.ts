// A member that needs a snapshot keeps what it had committed and fetches the rest: as little as that, whatever breaks on the way, and never anything
// that the group did not commit. Where its state or its log is not sure, it fetches everything.
import { describe, expect, test } from 'vitest';
import type { GroupRunner } from '../../../cluster/host/group-runner.ts';
import { readAll, Trap, World, type WorldNode, type WorldOptions } from './world.ts';

const snapshots = { bytes: 2_000, entries: 30, growth: 0, awayGrowth: 1, waitMs: 200, gapMs: 5 };
const FIRST = 60;
const MISSED = 80;
const BODY_BYTES = 4_000;

interface Scene {
  world: World;
  late: WorldNode;
  others: WorldNode[];
}

/** All have `FIRST` bodies, a third of them removed again, in a snapshot and above; node 3 is not up. */
function scene(seed: number, given: Partial<WorldOptions> = {}): Scene {
  const host = { snapshots, rebalance: false };
  const world = new World({ seed, nodes: 3, host, wal: { segmentBytes: 64 * 1024, tailBytes: 8_000 }, ...given });
  world.start();
  for (let i = 0; i < FIRST; i++) {
    const index = world.put(`put early ${i} ${'e'.repeat(BODY_BYTES)}`);
    if (i % 3 === 0) world.put(`del ${index}`);
  }
  world.untilEqual();
  world.scheduler.runFor(1_000);
  const [one, two, late] = world.nodes;
  late.kill();
  return { world, late, others: [one, two] };
}

/** The others go on without it; mostly until what it lacks is in no log any more. */
function goOn({ world }: Scene): void {
  for (let i = 0; i < MISSED; i++) world.put(`put late ${i} ${'l'.repeat(BODY_BYTES)}`);
  world.scheduler.runFor(2_000);
}

/** It is what the others are, has had to repair nothing for it, and is so after a restart and as the leader. */
function expectWhole({ world, late, others }: Scene): void {
  for (let life = 0; life < 2; life++) {
    world.untilEqual(0, 30_000);
    expect(readAll(world, late)).toEqual(readAll(world, others[0]));
    expect([late.host.stats.rangesDamaged, late.host.stats.entriesRepaired]).toEqual([0, 0]);
    late.kill('power');
    world.scheduler.runFor(100);
    late.start();
  }
  world.untilEqual(0, 30_000);
  const bodies = readAll(world, others[0]);
  others[0].kill('power');
  world.put('put after');
  others[1].kill();
  others[0].start();
  world.until('it leads', () => late.group().leading, 30_000);
  world.put('put at last');
  for (const [index, text] of bodies) expect(readAll(world, late).get(index)).toBe(text);
}

const sum = (bodies: Iterable<string>): number => [...bodies].reduce((bytes, body) => bytes + body.length, 0);

describe('what is here stays', () => {
  test('restarted with a snapshot of its own', () => {
    const all = scene(1);
    const { world, late, others } = all;
    goOn(all);
    late.start();
    world.untilEqual(0, 30_000);
    const { snapshotsInstalled, snapshotsOnKept, snapshotBytesFetched } = late.host.stats;
    expect([snapshotsInstalled, snapshotsOnKept]).toEqual([1, 1]);
    const bodies = readAll(world, others[0]);
    const missed = sum([...bodies.values()].filter((body) => body.startsWith('put late')));
    expect(sum(bodies.values())).toBeGreaterThan(missed * 1.3);
    expect(snapshotBytesFetched).toBeLessThan(missed * 1.15);
    expectWhole(all);
  });

  test('restarted with a log and no snapshot: what the others have as well counts, although nobody told that it is committed', () => {
    const late = { ...snapshots, entries: 150, bytes: 1e9 };
    const all = scene(9, { host: { snapshots: late, rebalance: false } });
    const own = all.late.wal.lastIndex(0);
    expect(all.late.wal.firstIndex(0)).toBe(1);
    goOn(all);
    goOn(all);
    all.late.start();
    all.world.untilEqual(0, 30_000);
    const { snapshotsOnKept, snapshotBytesFetched } = all.late.host.stats;
    expect(snapshotsOnKept).toBe(1);
    const missed = [...readAll(all.world, all.others[0])].filter(([index]) => index > own).map(([, body]) => body);
    expect(snapshotBytesFetched).toBeLessThan(sum(missed) * 1.15);
    expectWhole(all);
  });

  test.each([40, 300])('cut off, as a leader with %i entries that nobody else ever got', (never) => {
    const all = scene(2);
    const { world, late, others } = all;
    late.start();
    world.untilEqual();
    for (const other of others) if (other.group().leading) world.cut(other, late);
    late.env.run(() => late.group().transferLeadership(3));
    world.until('it leads', () => {
      const leader = world.leader();
      if (leader !== undefined && leader !== late) leader.env.run(() => leader.group().transferLeadership(3));
      world.network.heal();
      return leader === late && late.group().leading;
    });
    world.untilEqual();
    const committed = late.group().applied;
    for (const other of others) world.cut(other, late);
    late.env.run(() => {
      for (let i = 0; i < never; i++) late.group().propose(Buffer.from(`put never ${i} ${'n'.repeat(1_000)}`));
    });
    world.scheduler.runFor(3_000);
    expect(late.group().applied).toBe(committed);
    expect(late.wal.lastIndex(0)).toBe(committed + never);
    goOn(all);
    world.network.heal();
    world.untilEqual(0, 30_000);
    expect(late.host.stats.snapshotsOnKept).toBe(1);
    for (const body of readAll(world, late).values()) expect(body).not.toContain('never');
    expectWhole(all);
  });

  test('several snapshots in a row, each on top of the one before', () => {
    const all = scene(3);
    const { world, late } = all;
    for (let round = 0; round < 4; round++) {
      goOn(all);
      late.start();
      world.untilEqual(0, 30_000);
      expect(late.host.stats.snapshotsOnKept).toBe(1);
      late.kill(round % 2 === 0 ? 'process' : 'power');
    }
    late.start();
    expectWhole(all);
  });

  test('a transfer that breaks, and another snapshot is offered instead', () => {
    const all = scene(4);
    const { world, late, others } = all;
    goOn(all);
    late.start();
    world.until('a part has come', () => late.wal.stats.bytesWritten > 60_000, 20_000);
    expect(late.host.stats.snapshotsInstalled).toBe(0);
    for (const other of others) world.cut(other, late);
    goOn(all);
    world.network.heal();
    expectWhole(all);
  });
});

describe('all of it is fetched', () => {
  const fetchesAll = (all: Scene): void => {
    const { world, late, others } = all;
    world.until('it is whole', () => (late.group() as GroupRunner).raft.mayVote && late.group().leader !== 0, 60_000);
    world.untilEqual(0, 60_000);
    expect(late.host.stats.snapshotsInstalled).toBeGreaterThan(0);
    expect(late.host.stats.snapshotsOnKept).toBe(0);
    expect(readAll(world, late)).toEqual(readAll(world, others[0]));
  };

  test('by a node that was rolled back', () => {
    const all = scene(5);
    const { world, late } = all;
    const copy = late.disk.image();
    late.start();
    for (let i = 0; i < 5; i++) world.put(`put forgotten ${i}`);
    world.untilEqual();
    world.scheduler.runFor(1_000);
    late.kill();
    goOn(all);
    late.rollBack(copy);
    world.scheduler.runFor(100);
    expect(late.rolledBack).toBe(1);
    fetchesAll(all);
  });

  test('by one whose own snapshot is unreadable', () => {
    const all = scene(6);
    const { late } = all;
    goOn(all);
    for (const path of late.disk.files('wal/snap/')) late.disk.flipBit(path, 70, 1);
    late.start();
    fetchesAll(all);
  });

  test('by one that has met damage below', () => {
    const all = scene(7);
    const { world, late } = all;
    const harmed = [...late.machine().live][3];
    for (const path of late.disk.files('wal/').filter((name) => name.endsWith('.seg'))) {
      const at = Buffer.from(late.disk.content(path) as Uint8Array).indexOf('early 4 ');
      if (at >= 0) late.disk.flipBit(path, at + 100, 2);
    }
    goOn(all);
    for (const other of all.others) world.cut(other, late);
    late.start();
    late.env.run(() => late.group().readBody(harmed, () => {}));
    late.env.run(() => {
      for (const index of late.machine().live) late.group().readBody(index, () => {});
    });
    world.scheduler.runFor(50);
    expect(late.wal.damagedRanges(0).length).toBe(1);
    world.network.heal();
    fetchesAll(all);
  });
});

const POINTS = [
  'wal.snapshot.synced',
  'wal.install.staged',
  'wal.install.kept',
  'wal.install.switched',
  'host:installed',
];

describe.each(POINTS)('it dies at %s', (point) => {
  test.each(['process', 'power'] as const)('%s', (kind) => {
    const trap = new Trap(3, point, kind);
    const all = scene(8, { crashAt: trap.crashAt });
    goOn(all);
    trap.spring(all.world);
    expectWhole(all);
  });
});
