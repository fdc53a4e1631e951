// A bit flips in a replica's state: the digests tell. The minority gives its state up, in memory and on disk, and gets the majority's; where
// no majority agrees, the group stops and says so. With toy machines; test/unit/sim/state-flip.test.ts harms those of a stream.
import { describe, expect, test } from 'vitest';
import type { GroupRunner } from '../../../cluster/host/group-runner.ts';
import { World, type WorldNode } from './world.ts';

const EVERY = 64;

function started(seed: number, nodes = 3): World {
  const snapshots = { bytes: 4_000, entries: 40, growth: 0, awayGrowth: 1, waitMs: 100, gapMs: 5 };
  const world = new World({ seed, nodes, host: { rebalance: false, digestEvery: EVERY, snapshots } });
  world.start();
  for (let i = 0; i < 50; i++) world.put(`put ${i}`);
  world.untilEqual();
  return world;
}

/** So many entries that the next point of comparison is passed. */
function passPoint(world: World): void {
  const goal = Math.ceil((world.untilLeader().machine().applied + 2) / EVERY) * EVERY;
  while (world.untilLeader().machine().applied < goal) world.put('put more');
  world.scheduler.runFor(500);
}

const runner = (node: WorldNode) => node.group() as GroupRunner;
const logged = (node: WorldNode, what: RegExp) => node.env.logs.some((line) => what.test(line.message));

describe('replicas that differ', () => {
  test('a follower in the minority gives up its state and gets it anew', () => {
    const world = started(1);
    const leader = world.untilLeader();
    const odd = world.nodes.find((node) => node !== leader)!;
    odd.machine().sum ^= 1 << 7;
    world.scheduler.runFor(300);
    passPoint(world);
    expect(logged(odd, /differs from that of the majority: it is given up/)).toBe(true);
    world.until('refilled', () => odd.host.stats.snapshotsInstalled === 1 && runner(odd).isWhole, 20_000);
    world.put('put after');
    world.untilEqual();
    world.until('it votes', () => runner(odd).raft.mayVote);
    expect(odd.disk.files('quarantine/').some((path) => path.includes('snap'))).toBe(true);
    expect([leader.host.stats.groupsStopped, world.leader()]).toEqual([0, leader]);
    // Nothing of the wrong state is left on its disk.
    odd.kill('power');
    odd.start();
    passPoint(world);
    world.untilEqual();
    expect(odd.host.stats.digestMismatches).toBe(0);
  });

  test('a leader in the minority as well, and another one leads', () => {
    const world = started(2);
    const odd = world.untilLeader();
    odd.machine().sum ^= 1;
    passPoint(world);
    world.until('another leader', () => world.leader() !== undefined && world.leader() !== odd, 20_000);
    world.until('refilled', () => runner(odd).isWhole && runner(odd).raft.mayVote, 20_000);
    world.put('put after');
    world.untilEqual();
  });

  test('while it has no state, a replica serves nothing and gives its snapshot to nobody', () => {
    const world = started(3);
    const leader = world.untilLeader();
    const odd = world.nodes.find((node) => node !== leader)!;
    odd.machine().sum ^= 4;
    const goal = Math.ceil((leader.machine().applied + 2) / EVERY) * EVERY;
    while (leader.machine().applied < goal) world.put('put more');
    world.until('noticed', () => !runner(odd).isWhole);
    let answer: boolean | undefined;
    odd.env.run(() =>
      odd.group().readBarrier((ok) => {
        answer = ok;
      }),
    );
    world.scheduler.runFor(100);
    expect([answer, runner(odd).raft.mayVote, odd.group().status().stateMissing]).toEqual([undefined, false, true]);
    world.until('answered', () => answer === true, 20_000);
    expect(odd.machine().sum).toBe(leader.machine().sum);
  });

  test('without a majority the group stops, and says so', () => {
    const world = started(4);
    for (const node of world.nodes) node.machine().sum ^= node.id;
    const leader = world.untilLeader();
    const goal = Math.ceil((leader.machine().applied + 2) / EVERY) * EVERY;
    while (runner(leader).applied < goal && leader.group().leading) {
      leader.env.run(() => leader.group().propose(Buffer.from('put x')));
      world.scheduler.runFor(5);
    }
    world.until('all stopped', () => world.nodes.every((node) => runner(node).stopped));
    world.scheduler.runFor(5_000);
    expect(world.leader()).toBeUndefined();
    for (const node of world.nodes) {
      expect(node.host.stats.groupsStopped).toBe(1);
      expect(logged(node, /no majority of them agrees: it stops here until a restart/)).toBe(true);
    }
  });

  test('two that differ wait for the third, and stop when it does not come', () => {
    const world = started(5);
    const leader = world.untilLeader();
    const [odd, away] = world.nodes.filter((node) => node !== leader);
    away.kill();
    odd.machine().sum ^= 1;
    passPoint(world);
    world.scheduler.runFor(5_000);
    expect(runner(leader).stopped).toBe(false);
    world.until('both stopped', () => runner(leader).stopped && runner(odd).stopped, 10_000);
    expect(world.leader()).toBeUndefined();
  });

  test('two that differ go by the third, when it comes', () => {
    const world = started(6);
    const leader = world.untilLeader();
    const [odd, away] = world.nodes.filter((node) => node !== leader);
    away.kill();
    odd.machine().sum ^= 1;
    passPoint(world);
    away.start();
    world.until('refilled', () => odd.host.stats.snapshotsInstalled === 1 && runner(odd).isWhole, 30_000);
    world.put('put after');
    world.untilEqual();
    expect(world.nodes.map((node) => node.host.stats.groupsStopped)).toEqual([0, 0, 0]);
  });
});
