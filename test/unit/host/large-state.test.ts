// States of several chunks: they come over piece by piece, are restored piece by piece, and whatever breaks on the way (link, sender's file, the
// receiver itself at any step) neither loses what was there nor leaves files behind.
import { describe, expect, test } from 'vitest';
import type { GroupRunner } from '../../../cluster/host/group-runner.ts';
import { Trap, World, type WorldNode } from './world.ts';

const STATE_BYTES = 1_200_000;
const snapshots = { bytes: 2_000, entries: 30, growth: 0, waitMs: 100, gapMs: 5 };

/** Node 3 is down while the others go on and fold their logs. */
function leaveBehind(world: World): WorldNode {
  world.start();
  world.put('put first');
  const late = world.node(3);
  late.kill();
  for (let i = 0; i < 80; i++) world.put(`put ${i} ${'z'.repeat(60)}`);
  world.scheduler.runFor(2_000);
  return late;
}

const snapshotFiles = (node: WorldNode): string[] => node.disk.files('wal/snap/');

function expectTidy(world: World): void {
  // Whoever writes a snapshot at this moment has two.
  world.scheduler.runFor(3_000);
  for (const node of world.nodes) expect(snapshotFiles(node).length).toBe(1);
}

test('a state of several chunks, cut in the middle of it', () => {
  const world = new World({ seed: 31, nodes: 3, ballastBytes: STATE_BYTES, host: { snapshots } });
  const late = leaveBehind(world);
  late.start();
  world.until('a part of the state has come', () =>
    snapshotFiles(late).some((path) => (late.disk.content(path)?.length ?? 0) > 300_000),
  );
  for (const other of ['n1', 'n2']) {
    world.network.cut(other, 'n3');
    world.network.cut('n3', other);
  }
  world.scheduler.runFor(3_000);
  expect(late.host.stats.snapshotsInstalled).toBe(0);
  world.network.heal();
  world.untilEqual(0, 20_000);
  expect(late.host.stats.snapshotsInstalled).toBeGreaterThan(0);
  expectTidy(world);
});

test("the sender's file is damaged under way: another one is made, and nothing damaged arrives", () => {
  const world = new World({ seed: 32, nodes: 3, ballastBytes: STATE_BYTES, host: { snapshots } });
  const late = leaveBehind(world);
  for (const node of [world.node(1), world.node(2)])
    for (const path of snapshotFiles(node)) node.disk.flipBit(path, 900_000, 3);
  late.start();
  world.scheduler.runFor(500);
  world.put('put more');
  world.untilEqual(0, 30_000);
  expect(late.host.stats.snapshotsInstalled).toBeGreaterThan(0);
  expectTidy(world);
});

test('at start-up it is restored over many turns, and leads only then', () => {
  const world = new World({ seed: 35, nodes: 1, ballastBytes: STATE_BYTES, host: { snapshots } });
  world.start();
  for (let i = 0; i < 80; i++) world.put(`put ${i} ${'w'.repeat(50)}`);
  world.scheduler.runFor(2_000);
  const [node] = world.nodes;
  const { sum, count } = node.machine();
  for (const kind of ['process', 'power'] as const) {
    node.kill(kind);
    node.start();
    const runner = node.group() as GroupRunner;
    expect(runner.isWhole).toBe(false);
    expect(runner.leading).toBe(false);
    world.untilLeader();
    expect(runner.isWhole).toBe(true);
    expect(node.machine()).toMatchObject({ sum, count });
  }
  // Killed in the middle of it.
  node.kill();
  node.start();
  world.scheduler.runFor(0.2);
  expect((node.group() as GroupRunner).isWhole).toBe(false);
  node.kill('power');
  node.start();
  world.untilLeader();
  expect(node.machine()).toMatchObject({ sum, count });
});

test('reads wait while the state is missing', () => {
  const world = new World({ seed: 33, nodes: 3, ballastBytes: STATE_BYTES, host: { snapshots } });
  world.start();
  for (let i = 0; i < 80; i++) world.put(`put ${i} ${'w'.repeat(50)}`);
  world.scheduler.runFor(2_000);
  const node = world.node(3);
  node.kill();
  const intact = world.node(1).machine().count;
  for (const path of snapshotFiles(node)) node.disk.flipBit(path, 700_000, 1);
  node.start();
  const runner = node.group() as GroupRunner;
  expect(runner.isWhole).toBe(false);
  const seen: number[] = [];
  const ask = (): void => {
    node.env.run(() => node.group().readBarrier((ok) => ok && seen.push(node.machine().count)));
  };
  for (let i = 0; i < 100 && !runner.isWhole; i++) {
    ask();
    world.scheduler.runFor(50);
  }
  expect(runner.isWhole).toBe(true);
  world.until('an answer', () => seen.length > 0);
  for (const count of seen) expect(count).toBeGreaterThanOrEqual(intact);
});

test('entries that come from a slow disk are not applied to a machine that takes a state', () => {
  const wal = { tailBytes: 16 * 1024, tailReleasedBytes: 4 * 1024 };
  // What is under way to the one that is cut off is not all that it will lack.
  const host = { rebalance: false, snapshots: { ...snapshots, awayGrowth: 1 }, limits: { inflightMax: 64 } };
  const world = new World({ seed: 3, nodes: 3, groups: [65], ballastBytes: 4_000_000, wal, host });
  world.start();
  const leader = world.untilLeader(65);
  world.scheduler.runFor(1_000);
  const behind = world.nodes.find((node) => node !== leader)!;
  const propose = (count: number, bytes: number): void =>
    leader.env.run(() => {
      for (let i = 0; i < count; i++) leader.group(65).propose(Buffer.from(`put ${'x'.repeat(bytes)}`));
    });
  const machine = behind.machine(65);
  const { restore, apply } = machine;
  let restoring = false;
  let appliedMeanwhile = 0;
  machine.restore = (index) => {
    const sink = restore.call(machine, index);
    restoring = true;
    const end = (): void => {
      restoring = false;
      sink.end();
    };
    return { push: (bytes) => sink.push(bytes), end };
  };
  machine.apply = (index, term, body) => {
    appliedMeanwhile += Number(restoring);
    apply.call(machine, index, term, body);
  };
  // More than the log keeps in memory: what is committed is on its way from the disk for long.
  behind.disk.latency.readMs = 3_500;
  propose(50, 3_000);
  world.scheduler.runFor(300);
  expect(behind.group(65).status()).toMatchObject({ commit: 51, applied: 1 });
  behind.disk.latency.readMs = 100;
  for (const other of world.nodes) if (other !== behind) world.cut(other, behind);
  // So much that what is received begins another segment: the read holds up what is written to its own.
  propose(200, 1_000);
  world.scheduler.runFor(600);
  world.network.heal();
  world.until('it takes a state', () => restoring);
  expect(behind.group(65).applied).toBe(1);
  world.untilEqual(65);
  expect(appliedMeanwhile).toBe(0);
  propose(1, 100);
  world.scheduler.runFor(1_000);
  world.untilEqual(65);
});

const POINTS = [
  'wal.snapshot.written',
  'wal.snapshot.synced',
  'wal.snapshot.verified',
  'wal.install.staged',
  'wal.install.switched',
  'host:installed',
];

describe.each(POINTS)('the receiver dies at %s', (point) => {
  test.each(['process', 'power'] as const)('%s', (kind) => {
    const trap = new Trap(3, point, kind);
    const { crashAt } = trap;
    const world = new World({ seed: 34, nodes: 3, ballastBytes: STATE_BYTES, host: { snapshots }, crashAt });
    const late = leaveBehind(world);
    trap.spring(world);
    world.put('put more');
    world.untilEqual(0, 30_000);
    expect(late.machine().count).toBe(82);
    expectTidy(world);
  });
});
