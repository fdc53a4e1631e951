// A node that leads many groups ends: all of them have a new leader at once, with one election each, and what that costs the disks does not
// grow with their number. A disk that is slow, or a loop that stood still, starts no elections of its own.
import { describe, expect, test } from 'vitest';
import type { GroupRunner } from '../../../cluster/host/group-runner.ts';
import { World, type WorldNode } from './world.ts';

const GROUPS = Array.from({ length: 300 }, (_, i) => 64 * (i + 1) + 1);
const HOST = { rebalance: false };

interface Before {
  world: World;
  victim: WorldNode;
  others: WorldNode[];
  led: number[];
}

function begin(seed: number): Before {
  const world = new World({ seed, nodes: 3, groups: GROUPS, host: HOST });
  world.start();
  world.until('leaders', () => GROUPS.every((group) => world.leader(group) !== undefined), 20_000);
  world.scheduler.runFor(5000);
  const victim = world.node(1);
  const others = [world.node(2), world.node(3)];
  const led = GROUPS.filter((group) => world.leader(group) === victim);
  expect(led.length).toBeGreaterThan(50);
  return { world, victim, others, led };
}

function sum(nodes: WorldNode[], read: (node: WorldNode) => number): number {
  return nodes.reduce((total, node) => total + read(node), 0);
}

describe('a node that leads many groups is killed', () => {
  for (const [disk, syncMs] of [
    ['fast', undefined],
    ['slow', 400],
  ] as const) {
    test(`one election for each group, a few syncs for all: ${disk} disk`, () => {
      const { world, victim, others, led } = begin(7);
      const terms = new Map(led.map((group) => [group, others[0].group(group).term]));
      const before = {
        started: sum(others, (node) => node.host.stats.electionsStarted),
        changes: sum(others, (node) => node.wal.stats.stateChanges),
        files: sum(others, (node) => node.wal.stats.stateFilesReplaced),
        syncs: sum(others, (node) => node.wal.stats.syncs),
      };
      if (syncMs !== undefined) for (const node of others) node.disk.latency.syncMs = syncMs;
      const killedMs = world.scheduler.nowMs;
      victim.kill();
      world.until('new leaders', () => led.every((group) => world.leader(group) !== undefined), 10_000);
      // Vote, answer, no-op: three syncs one after the other, each behind those of the groups that were a little earlier. Where a sync takes
      // as long as a vote may, some have to ask again.
      expect(world.scheduler.nowMs - killedMs).toBeLessThan(syncMs === undefined ? 250 : 20 * syncMs);
      const started = sum(others, (node) => node.host.stats.electionsStarted) - before.started;
      expect(started).toBeLessThanOrEqual(syncMs === undefined ? led.length : 3 * led.length);
      for (const group of led) expect(others[0].group(group).term).toBe((terms.get(group) as number) + 1);
      expect(sum(others, (node) => node.wal.stats.stateChanges) - before.changes).toBeLessThan(20);
      expect(sum(others, (node) => node.wal.stats.syncs) - before.syncs).toBeLessThan(40);
      expect(sum(others, (node) => node.wal.stats.stateFilesReplaced)).toBe(before.files);
      // Shared, not left to one of them.
      for (const node of others) expect(led.filter((group) => world.leader(group) === node).length).toBeGreaterThan(20);
    });
  }
});

test('votes that are lost on the way are asked for again, also by disks that took longer than an election', () => {
  const { world, victim, others, led } = begin(17);
  const terms = new Map(led.map((group) => [group, victim.group(group).term]));
  for (const node of others) node.disk.latency.syncMs = 700;
  victim.kill();
  const isVotedFor = (group: number): boolean =>
    others.every((node) => node.group(group).term > (terms.get(group) as number));
  world.until('votes', () => led.filter(isVotedFor).length > 20);
  world.network.faults.loss = 1;
  for (let i = 0; i < 100; i++) {
    world.scheduler.runFor(100);
    // Whoever waits for something has a timer for it.
    for (const node of others) {
      const runners = led.map((group) => node.group(group) as GroupRunner).filter(({ queued }) => !queued);
      for (const { queuedMs, deadlineMs } of runners) {
        if (deadlineMs !== Number.POSITIVE_INFINITY) expect(queuedMs).toBeGreaterThanOrEqual(0);
        expect(queuedMs).toBeLessThanOrEqual(deadlineMs);
      }
    }
  }
  world.network.faults.loss = 0;
  for (const node of others) node.disk.latency.syncMs = 1;
  world.until('new leaders', () => led.every((group) => world.leader(group) !== undefined), 10_000);
});

/** The groups do not fall asleep. */
function keepBusy(world: World, groups: readonly number[]): void {
  for (const group of groups) {
    const leader = world.leader(group);
    leader?.env.run(() => leader.group(group).propose(Buffer.from('x')));
  }
  world.scheduler.after(100, () => keepBusy(world, groups));
}

test('heartbeats of many groups share ticks and frames, and nobody takes their leaders for dead', () => {
  const { world } = begin(19);
  world.scheduler.runFor(60_000);
  // Woken one after the other: what they have in common is the clock alone.
  GROUPS.forEach((group, i) => {
    world.scheduler.after(i * 1.3, () => {
      const leader = world.leader(group)!;
      leader.env.run(() => leader.group(group).propose(Buffer.from('x')));
    });
  });
  world.scheduler.runFor(800);
  const framesBefore = sum(world.nodes, (node) => node.host.stats.framesSent);
  const elections = sum(world.nodes, (node) => node.host.stats.electionsStarted);
  world.scheduler.runFor(500);
  for (const group of GROUPS) expect(world.leader(group)?.group(group).status().quiesced).toBe(false);
  // At each of ten lines, from each node to each other one: its own groups' heartbeats, and the answers, which come in as they are delayed.
  const frames = sum(world.nodes, (node) => node.host.stats.framesSent) - framesBefore;
  expect(frames).toBeLessThanOrEqual(10 * 3 * 2 * 3);
  expect(sum(world.nodes, (node) => node.host.stats.electionsStarted)).toBe(elections);
});

describe('a loop that stood still', () => {
  test('holds its own silence against nobody', () => {
    const { world, others } = begin(11);
    const [, stalled] = others;
    const busy = GROUPS.slice(0, 40);
    keepBusy(world, busy);
    world.scheduler.runFor(1000);
    const ledElsewhere = busy.filter((group) => world.leader(group) !== stalled);
    expect(ledElsewhere.length).toBeGreaterThan(10);
    const started = stalled.host.stats.electionsStarted;
    for (let i = 0; i < 20; i++) {
      stalled.env.pause(550);
      world.scheduler.runFor(700);
    }
    expect(stalled.host.stats.stalls).toBeGreaterThan(0);
    expect(stalled.host.stats.electionsStarted).toBe(started);
  });

  test.each([130, 250, 500])('again and again for %i ms: a leader that is gone is replaced all the same', (pauseMs) => {
    const { world, victim, others, led } = begin(11);
    keepBusy(world, GROUPS);
    const stall = (): void => {
      for (const node of others) node.env.pause(pauseMs);
      world.scheduler.after(pauseMs + 20, stall);
    };
    stall();
    world.scheduler.runFor(1000);
    // Its links stay: nothing but its silence tells.
    victim.env.pause(60_000);
    const isLed = (group: number): boolean => others.some((node) => node.group(group).status().role === 'leader');
    world.until('new leaders', () => led.every(isLed), 3000);
  });

  test('a group that slept is woken: its old deadline is no stall', () => {
    const { world, victim, led } = begin(13);
    world.scheduler.runFor(60_000);
    const before = victim.host.stats.stalls;
    for (const group of led.slice(0, 20)) world.put('awake', group);
    expect(victim.host.stats.stalls).toBe(before);
    world.scheduler.runFor(3000);
    expect(sum(world.nodes, (node) => node.host.stats.stalls)).toBe(0);
  });
});

test('logs of many groups, each too short to be folded, are folded when all together would take long to replay', () => {
  const groups = GROUPS.slice(0, 40);
  // Of 40 groups each may have an eighth of 100 entries, all together what two may have.
  const snapshots = { bytes: 1e9, entries: 100, groups: 2, growth: 0, awayGrowth: 1, waitMs: 100, gapMs: 5 };
  const world = new World({ seed: 11, nodes: 3, groups, host: { snapshots, rebalance: false } });
  world.start();
  world.until('leaders', () => groups.every((group) => world.leader(group) !== undefined), 20_000);
  const toReplay = ({ host }: WorldNode): number =>
    ([...host.groups()] as GroupRunner[]).reduce((total, runner) => total + runner.logEntries, 0);
  for (let round = 0; round < 4; round++) for (const group of groups) world.put('put a', group);
  world.scheduler.runFor(3_000);
  for (const node of world.nodes) {
    expect(toReplay(node)).toBeGreaterThan(150);
    expect(node.host.stats.snapshotsTaken).toBe(0);
  }
  for (let round = 0; round < 4; round++) for (const group of groups) world.put('put a', group);
  world.scheduler.runFor(3_000);
  for (const node of world.nodes) {
    expect(toReplay(node)).toBeLessThanOrEqual(200);
    expect(node.host.stats.snapshotsTaken).toBeGreaterThan(10);
  }
});

test('small logs are not folded again and again because of one that is long, and not worth folding', () => {
  const groups = GROUPS.slice(0, 20);
  const [long, ...others] = groups;
  const policy = { bytes: 20_000, entries: 1e6, groups: 2, growth: 2, tailBytes: 1e9 };
  const snapshots = { ...policy, awayGrowth: 1, waitMs: 100, gapMs: 5 };
  const world = new World({ seed: 23, nodes: 1, groups, host: { snapshots } });
  world.start();
  world.until('leaders', () => groups.every((group) => world.leader(group) !== undefined), 20_000);
  const [node] = world.nodes;
  node.machine(long).ballastBytes = 100_000;
  const runner = node.host.group(long) as GroupRunner;
  world.put(`put ${'x'.repeat(10_000)}`, long);
  world.until('its first snapshot', () => node.host.stats.snapshotsTaken === 1);
  while (runner.logBytes < 60_000) world.put(`put ${'x'.repeat(10_000)}`, long);
  for (let round = 0; round < 3; round++) {
    for (const group of others) for (let i = 0; i < 8; i++) world.put('pad', group);
    world.scheduler.runFor(2_000);
  }
  expect(runner.logBytes).toBeGreaterThan(60_000);
  expect(node.host.stats.snapshotsTaken).toBe(1);
});
