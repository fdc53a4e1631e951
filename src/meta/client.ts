// MetaClient: what the JetStream API asks of the meta group. Pure of state: turns a request's outcome into the catalog's
// record, and lets a create wait until every partition has a leader that accepts.
import type { GroupId, PeerId } from '../../cluster/core/types.ts';
import type { Group } from '../../cluster/host/types.ts';
import type { Env } from '../kit/env.ts';
import { apiError } from '../stream/errors.ts';
import { readBarrier } from './barrier.ts';
import type { Leaders } from './leaders.ts';
import type { Proposals } from './proposals.ts';
import { type Catalog, groupOf, type MetaClient } from './types.ts';

export interface ClientOptions {
  env: Env;
  catalog: Catalog;
  proposals: Proposals;
  leaders: Leaders;
  /** Undefined until this node belongs to a cluster. */
  group: () => Group | undefined;
  /** Asks the meta leader to hand over; 0: to anybody. */
  stepDown: (to: PeerId, done: (result: 'done' | 'nobody' | 'unknown') => void) => void;
}

const LEADERS_MS_MAX = 4000;

export function createClient(options: ClientOptions): MetaClient {
  const { env, catalog, proposals, leaders, group } = options;
  const whenLed = leaderWaits(env, leaders);
  const barrier = (done: (ok: boolean) => void): void => readBarrier(env.clock, group, done);
  return {
    createStream(account, config, done) {
      proposals.submit({ type: 'create', account, config }, (outcome) => {
        if (!outcome.ok) {
          done(outcome.error);
          return;
        }
        const { streamId, created } = outcome;
        const record = catalog.streamById(streamId);
        if (record === undefined) {
          done(apiError(10059));
          return;
        }
        if (!created) {
          done({ record, created });
          return;
        }
        const groups = record.replicas.map((_, partition) => groupOf(streamId, partition));
        whenLed(groups, (led) => done(led ? { record, created } : apiError(10008)));
      });
    },
    updateStream({ account, streamId, revision }, config, done) {
      proposals.submit({ type: 'update', account, streamId, revision, config }, (outcome) => {
        if (outcome.ok) done(catalog.streamById(streamId) ?? apiError(10059));
        else done(outcome.changed ? 'changed' : outcome.error);
      });
    },
    deleteStream(account, name, done) {
      proposals.submit({ type: 'delete', account, name }, (outcome) => done(outcome.ok ? true : outcome.error));
    },
    removeNode(id, done) {
      proposals.submit({ type: 'remove', id }, (outcome) => done(outcome.ok ? true : outcome.error));
    },
    prefer(streamId, partition, peer, done) {
      proposals.submit({ type: 'prefer', streamId, partition, peer }, (outcome) =>
        done(outcome.ok ? true : outcome.error),
      );
    },
    evict(streamId, peer, done) {
      proposals.submit({ type: 'evict', streamId, peer }, (outcome) => done(outcome.ok ? true : outcome.error));
    },
    stepDown(to, done) {
      options.stepDown(to, (result) => {
        if (result === 'nobody') done(result);
        else done(result === 'done' ? true : apiError(10008));
      });
    },
    readBarrier: barrier,
  };
}

/** `done(true)` when all groups have a leader that accepts, `done(false)` after 4 s. */
function leaderWaits(env: Env, leaders: Leaders): (groups: GroupId[], done: (led: boolean) => void) => void {
  const waits = new Map<GroupId, (() => void)[]>();
  leaders.onChange((group, leader) => {
    const checks = waits.get(group);
    if (checks === undefined || leader === 0) return;
    waits.delete(group);
    for (const check of checks) check();
  });
  return (groups, done) => {
    let settled = false;
    const settle = (led: boolean): void => {
      if (settled) return;
      settled = true;
      env.clock.cancel(timer);
      done(led);
    };
    const timer = env.clock.after(LEADERS_MS_MAX, () => {
      for (const group of groups) waits.delete(group);
      settle(false);
    });
    const check = (): void => {
      const open = groups.find((group) => leaders.leaderOf(group) === 0);
      if (open === undefined) {
        settle(true);
        return;
      }
      const checks = waits.get(open);
      if (checks === undefined) waits.set(open, [check]);
      else checks.push(check);
    };
    check();
  };
}
