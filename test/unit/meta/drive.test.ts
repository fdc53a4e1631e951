// Drive alone: which changes of members it proposes to a partition that it leads, by what the catalog and the group say.
import { expect, test } from 'vitest';
import type { Membership, PeerId } from '../../../cluster/core/types.ts';
import { Drive, type DriveOptions } from '../../../src/meta/drive.ts';
import { groupOf } from '../../../src/meta/types.ts';

const GROUP = groupOf(5, 0);
const REPLICAS = [1, 2, 3];

/** Node 1 leads a settled partition that has the voters 1 and 2; what it proposes is committed at once. */
function world(replicas: PeerId[] = REPLICAS) {
  let membership: Membership = { voters: [1, 2], learners: [] };
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
  };
  const submitted: unknown[] = [];
  const drive = new Drive({
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
  return { drive, group, submitted, third, tick, caughtUp: () => (third.match = commit) };
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
