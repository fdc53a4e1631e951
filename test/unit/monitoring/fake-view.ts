// A node that exists in numbers only, with as many partitions and consumers as a test wants to look at.

import { emptyHostStats } from '../../../cluster/host/stats.ts';
import type {
  AccountView,
  ConnectionView,
  NodeStats,
  NodeView,
  PartitionView,
  PeerView,
  ReplicaSample,
  TrafficCounts,
} from '../../../src/monitoring/types.ts';
import { DEFAULT_LIMITS } from '../../../src/protocols/nats/limits.ts';
import type { ConsumerPosition } from '../../../src/stream/types.ts';

export class FakeView implements NodeView {
  readonly identity = {
    serverId: 'N',
    serverName: 'n1',
    host: '127.0.0.1',
    port: 4222,
    httpHost: '127.0.0.1',
    httpPort: 8222,
    clusterName: 'c',
    clusterHost: '127.0.0.1',
    clusterPort: 6222,
    authRequired: false,
    limits: DEFAULT_LIMITS,
    storeDir: '/nonexistent/flotilla',
    jetstream: true,
    startUs: 0,
  };
  wallUs = 1_000_000;
  /** Differences from a healthy node. */
  change: Partial<{ inSync: number; ackUs: number; hasLeader: boolean; lag: number; leaderless: number }> = {};
  nodeStats: NodeStats | undefined = healthyStats();
  others: PeerView[] = ['n2', 'n3'].map((name) => ({ name, monitorUrl: '', clusterUrl: '', connected: true }));
  metaLeader = 'n1';
  readonly #partitions: number;
  readonly #consumersEach: number;

  constructor(size: { partitions: number; consumersEach: number }) {
    this.#partitions = size.partitions;
    this.#consumersEach = size.consumersEach;
  }

  nowUs(): number {
    return this.wallUs;
  }

  traffic(): TrafficCounts {
    return {
      inMsgs: 1,
      outMsgs: 2,
      inBytes: 3,
      outBytes: 4,
      slowConsumers: 0,
      staleConnections: 0,
      stalledClients: 0,
      connections: 1,
      totalConnections: 1,
      subscriptions: 1,
      subscribed: 2,
      routedLost: 1,
      routedIn: 5,
      routedOut: 6,
    };
  }

  connections(): ConnectionView[] {
    return [];
  }

  closedConnections(): ConnectionView[] {
    return [];
  }

  connectUrls(): string[] {
    return [];
  }

  routes(): [] {
    return [];
  }

  account(): AccountView {
    return { ...this.traffic(), slowConsumers: 0 };
  }

  partitions(): PartitionView[] {
    return [];
  }

  *replicas(): Generator<ReplicaSample> {
    const { inSync = 3, hasLeader = true, lag = 3 } = this.change;
    for (let i = 0; i < this.#partitions; i++) {
      yield {
        account: '$G',
        stream: `S${i}`,
        partition: 0,
        leading: true,
        hasLeader,
        term: 1,
        commit: 10,
        applied: 10,
        replicas: { expected: 3, inSync, lagMax: lag },
        messages: 7,
        bytes: 700,
        firstSeq: 1,
        lastSeq: 7,
        ackedSeq: 7,
        lastLocalSeq: 7,
        consumerCount: this.#consumersEach,
        consumers: () => this.#consumers(),
      };
    }
  }

  *#consumers(): Generator<ConsumerPosition> {
    for (let i = 0; i < this.#consumersEach; i++) {
      yield {
        name: `C${i}`,
        createdUs: 0,
        deliveredSeq: 5,
        lookedAtSeq: 6,
        floorSeq: 4,
        ackPending: 2,
        redelivered: 1,
        waiting: 1,
        ackUs: this.change.ackUs ?? this.wallUs,
      };
    }
  }

  partitionCounts(): { total: number; leaderless: number } {
    return { total: this.#partitions, leaderless: this.change.leaderless ?? 0 };
  }

  peers(): PeerView[] {
    return this.others;
  }

  links(): undefined {
    return undefined;
  }

  meta(): ReturnType<NodeView['meta']> {
    return { leader: this.metaLeader, leaderId: '1', raft: undefined, peers: [], size: 3 };
  }

  api(): { total: number; errors: number } {
    return { total: 1, errors: 0 };
  }

  hasConsumer(): Promise<boolean> {
    return Promise.resolve(true);
  }

  unhealthy(): string {
    return '';
  }

  stats(): NodeStats | undefined {
    return this.nodeStats;
  }
}

export function healthyStats(): NodeStats {
  return {
    wal: {
      segments: 1,
      bytes: 1,
      syncs: 1,
      syncMsTotal: 1,
      syncMsMax: 1,
      recordsWritten: 1,
      bytesWritten: 1,
      lastBatchRecords: 1,
      batches: 1,
      syncMsCounts: new Array(13).fill(1),
      batchBytesCounts: new Array(9).fill(1),
      segmentsRemoved: 0,
      bytesCopiedForward: 0,
      damagedReads: 0,
      stateFilesReplaced: 0,
      stateChanges: 0,
      stateFileBytes: 0,
    },
    host: { ...emptyHostStats(), groups: 1, leading: 1 },
    publish: {
      forwarded: 0,
      stored: 0,
      refused: new Map([[10071, 2]]),
      leaderless: 0,
      latencyCounts: new Float64Array(14),
      latencyMsSum: 0,
    },
    publishWaiting: 0,
    delivery: { delivered: 0, redelivered: 0, acked: 0, naked: 0, givenUp: 0 },
    disk: { freeBytes: 1e12, reserveBytes: 1e8, isLow: false },
  };
}
