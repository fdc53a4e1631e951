// One walk over all replicas and consumers of this node: sums that are always complete, and a visit of each for whoever writes series.
// Used by scrape.ts and status.ts. Pure: a generator, so that the caller gives the event loop its turns in between.
// Invariant: the work per step is that of one partition or of one consumer, whatever there is in total.
import type { ConsumerPosition } from '../stream/types.ts';
import type { NodeView, ReplicaSample } from './types.ts';

/** No ack for so long although messages wait for one. */
export const STALLED_US = 5 * 60 * 1_000_000;
const RISKS_MAX = 100;

export interface Risk {
  account: string;
  stream: string;
  partition: number;
  what: string;
}

export interface Census {
  replicas: number;
  leading: number;
  /** Led here with fewer replicas in sync than configured. */
  underReplicated: number;
  /** Of the whole cluster, as far as this node knows. */
  partitionsTotal: number;
  leaderless: number;
  /** Entries that the slowest replica of a partition led here lacks. */
  followerLagMax: number;
  /** Committed entries that this node has not applied. */
  applyLagMax: number;
  messages: number;
  bytes: number;
  consumers: number;
  ackPending: number;
  waitingPulls: number;
  consumerLagMax: number;
  stalledConsumers: number;
  /** The first of them, by name. */
  risks: Risk[];
}

/** What to do with each replica and consumer on the way; both objects are valid during the call only. */
export interface Visitor {
  replica(replica: ReplicaSample): void;
  consumer(replica: ReplicaSample, at: ConsumerPosition, lag: number): void;
}

export function emptyCensus(): Census {
  return {
    replicas: 0,
    leading: 0,
    underReplicated: 0,
    partitionsTotal: 0,
    leaderless: 0,
    followerLagMax: 0,
    applyLagMax: 0,
    messages: 0,
    bytes: 0,
    consumers: 0,
    ackPending: 0,
    waitingPulls: 0,
    consumerLagMax: 0,
    stalledConsumers: 0,
    risks: [],
  };
}

export function* walk(view: NodeView, census: Census, visitor?: Visitor): Generator<void> {
  const { total, leaderless } = view.partitionCounts();
  census.partitionsTotal = total;
  census.leaderless = leaderless;
  yield;
  for (const replica of view.replicas()) {
    countReplica(census, replica);
    visitor?.replica(replica);
    yield;
    if (!replica.leading) continue;
    for (const at of replica.consumers()) {
      const lag = Math.max(0, replica.lastLocalSeq - Math.max(at.lookedAtSeq, at.deliveredSeq));
      countConsumer(census, replica, at, lag, view.nowUs());
      visitor?.consumer(replica, at, lag);
      yield;
    }
  }
}

function countReplica(census: Census, replica: ReplicaSample): void {
  const { replicas } = replica;
  census.replicas++;
  census.messages += replica.messages;
  census.bytes += replica.bytes;
  census.applyLagMax = Math.max(census.applyLagMax, replica.commit - replica.applied);
  if (!replica.hasLeader) addRisk(census, replica, 'no leader known');
  if (!replica.leading || replicas === undefined) return;
  census.leading++;
  census.followerLagMax = Math.max(census.followerLagMax, replicas.lagMax);
  if (replicas.inSync >= replicas.expected) return;
  census.underReplicated++;
  addRisk(census, replica, `${replicas.inSync} of ${replicas.expected} replicas in sync`);
}

function countConsumer(census: Census, replica: ReplicaSample, at: ConsumerPosition, lag: number, nowUs: number): void {
  census.consumers++;
  census.ackPending += at.ackPending;
  census.waitingPulls += at.waiting;
  census.consumerLagMax = Math.max(census.consumerLagMax, lag);
  if (at.ackPending === 0 || nowUs - Math.max(at.ackUs, at.createdUs) < STALLED_US) return;
  census.stalledConsumers++;
  addRisk(census, replica, `consumer ${at.name}: ${at.ackPending} messages wait for an ack, none came for minutes`);
}

function addRisk(census: Census, { account, stream, partition }: ReplicaSample, what: string): void {
  if (census.risks.length < RISKS_MAX) census.risks.push({ account, stream, partition, what });
}
