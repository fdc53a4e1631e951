// Drive alone: which changes of members it proposes to a partition that it leads, by what the catalog and the group say.
import { expect, test } from 'vitest';
import type { Membership, PeerId } from '../../../cluster/core/types.ts';
import { Drive, type DriveOptions } from '../../../src/meta/drive.ts';
import { groupOf } from '../../../src/meta/types.ts';

const GROUP = groupOf(5, 0);
const REPLICAS = [1, 2, 3];

/** Node 1 leads a settled partition that has the voters 1 and 2, or these; what it proposes is committed at once. */
function world(replicas: PeerId[] = REPLICAS, voters: PeerId[] = [1, 2]) {
  let membership: Membership = { voters, learners: [] };
  let nowMs = 0;
  const asked: PeerId[] = [];
  let commit = 10;
  /** How far node 3 has come. */
  const third = { match: 0 };
  const group = {
    id: GROUP,
    leading: true,
    status: () => ({
      group: GROUP,
      term: 1,
      commit,
      membership,
      progress: [2, 3].map((peer) => ({ peer, state: 'replicate', match: peer === 3 ? third.match : commit })),
    }),
    proposeMembership: (to: Membership) => {
      membership = to;
      return ++commit;
    },
    transferLeadership: (to: PeerId) => asked.push(to),
  };
  const submitted: unknown[] = [];
  const drive = new Drive({
    env: { clock: { nowMs: () => nowMs } },
    isDiskLow: () => false,
    transport: { self: { id: 1 }, isUp: () => true },
    machine: {
      clusterId: '',
      unsettled: new Set(),
      streams: new Map([[5, { streamId: 5, replicas: [replicas], since: [1] }]]),
      nodes: new Map(REPLICAS.map((id) => [id, {}])),
    },
    metaGroup: () => undefined,
    partition: (id: number) => (id === GROUP ? group : undefined),
    led: () => [GROUP],
    submit: (request: unknown) => submitted.push(request),
  } as unknown as DriveOptions);
  const tick = (): Membership => {
    drive.tickMembership();
    return membership;
  };
  const pass = (ms: number): void => {
    for (const dueMs = nowMs + ms; nowMs < dueMs; nowMs += 100) drive.tickMembership();
  };
  return { drive, group, submitted, third, tick, asked, pass, caughtUp: () => (third.match = commit) };
}

test('a settled partition that lacks a replica gets it back, and is left alone then', () => {
  const { drive, submitted, tick, caughtUp } = world();
  expect(drive.hasPartitions).toBe(false);
  drive.reviewMembers();
  expect(drive.hasPartitions).toBe(true);
  expect(tick()).toEqual({ voters: [1, 2], learners: [3] });
  // It has not caught up.
  expect(tick()).toEqual({ voters: [1, 2], learners: [3] });
  expect(drive.hasPartitions).toBe(true);
  caughtUp();
  expect(tick()).toEqual({ voters: [1, 2, 3], learners: [] });
  tick();
  expect(drive.hasPartitions).toBe(false);
  // The catalog says so already.
  expect(submitted).toEqual([]);
});

test('one with the members that it should have is not looked at', () => {
  const { drive } = world([2, 1]);
  drive.reviewMembers();
  expect(drive.hasPartitions).toBe(false);
});

test('one that is led by others now is their business', () => {
  const { drive, group, tick } = world();
  drive.reviewMembers();
  group.leading = false;
  expect(tick()).toEqual({ voters: [1, 2], learners: [] });
  expect(drive.hasPartitions).toBe(false);
});

test('a leader that has to go asks its heirs in turn, with pauses in which it serves: one of them may be unable to lead', () => {
  const { drive, asked, pass, caughtUp } = world([2, 3], [1, 2, 3]);
  caughtUp();
  drive.reviewMembers();
  // Only the second look knows who has caught up.
  pass(600);
  expect(asked).toEqual([2]);
  pass(2000);
  expect(asked).toEqual([2, 3]);
  pass(2000);
  expect(asked).toEqual([2, 3, 2]);
});

test('moves to a node whose disk is full hold up no others', () => {
  const FULL = 3;
  const groups = Array.from({ length: 40 }, (_, i) => groupOf(10 + i, 0));
  const looked = new Set<number>();
  const drive = new Drive({
    env: { clock: { nowMs: () => 0 } },
    isDiskLow: (peer: PeerId) => peer === FULL,
    transport: { self: { id: 1 }, isUp: () => true },
    machine: {
      clusterId: '',
      unsettled: new Set(groups),
      streams: new Map(groups.map((_, i) => [10 + i, { streamId: 10 + i, replicas: [[1, 2, FULL]], since: [1] }])),
      nodes: new Map(REPLICAS.map((id) => [id, {}])),
    },
    metaGroup: () => undefined,
    partition: (id: number) => ({
      id,
      leading: true,
      status: () => {
        looked.add(id);
        return { group: id, term: 1, commit: 9, membership: { voters: [1, 2], learners: [FULL] }, progress: [] };
      },
    }),
    led: () => groups,
    submit: () => undefined,
  } as unknown as DriveOptions);
  drive.tickMembership();
  expect([...looked]).toEqual(groups);
});
