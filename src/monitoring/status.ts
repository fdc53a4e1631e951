// /statusz: one node's answer to "is anything at risk right now?", in one small document. Called by http.ts; `flotilla status` and
// `flotilla top` ask all nodes for it. Pure. Invariant: its size does not grow with the number of streams or consumers.
import { FLOTILLA_VERSION } from '../kit/version.ts';
import { alarmsOf, type Severity } from './alarms.ts';
import type { Risk } from './census.ts';
import type { NodeSample } from './metric-table.ts';
import type { PeerView } from './types.ts';

export interface NodeStatus {
  server_name: string;
  version: string;
  cluster: string;
  uptime_seconds: number;
  /** '' when it serves, else what it waits for. */
  trouble: string;
  meta_leader: string;
  peers: PeerView[];
  partitions: {
    cluster: number;
    leaderless: number;
    replicas: number;
    leading: number;
    under_replicated: number;
    follower_lag_max: number;
    apply_lag_max: number;
  };
  consumers: { count: number; ack_pending: number; lag_max: number; stalled: number };
  /** Only ever grow while the process lives; rates are their differences. */
  counters: Record<Counter, number>;
  connections: number;
  memory_bytes: number;
  disk: { free_bytes: number; size_bytes: number; low: boolean };
  log: { bytes: number; segments: number };
  alarms: { name: string; severity: Severity; text: string }[];
  /** The first hundred partitions and consumers behind the alarms. */
  at_risk: Risk[];
}

export type Counter =
  | 'received_messages'
  | 'sent_messages'
  | 'publishes_stored'
  | 'publishes_refused'
  | 'delivered'
  | 'redelivered'
  | 'acks'
  | 'syncs'
  | 'sync_seconds'
  | 'log_bytes';

export function statusOf(n: NodeSample): NodeStatus {
  const { view, traffic, stats, census, disk } = n;
  const { identity } = view;
  let refused = stats?.publish.leaderless ?? 0;
  for (const count of stats?.publish.refused.values() ?? []) refused += count;
  return {
    server_name: identity.serverName,
    version: FLOTILLA_VERSION,
    cluster: identity.clusterName ?? '',
    uptime_seconds: (view.nowUs() - identity.startUs) / 1e6,
    trouble: view.unhealthy(),
    meta_leader: view.meta()?.leader ?? (identity.jetstream ? identity.serverName : ''),
    peers: view.peers(),
    partitions: {
      cluster: census.partitionsTotal,
      leaderless: census.leaderless,
      replicas: census.replicas,
      leading: census.leading,
      under_replicated: census.underReplicated,
      follower_lag_max: census.followerLagMax,
      apply_lag_max: census.applyLagMax,
    },
    consumers: {
      count: census.consumers,
      ack_pending: census.ackPending,
      lag_max: census.consumerLagMax,
      stalled: census.stalledConsumers,
    },
    counters: {
      received_messages: traffic.inMsgs,
      sent_messages: traffic.outMsgs,
      publishes_stored: stats?.publish.stored ?? 0,
      publishes_refused: refused,
      delivered: stats?.delivery.delivered ?? 0,
      redelivered: stats?.delivery.redelivered ?? 0,
      acks: stats?.delivery.acked ?? 0,
      syncs: stats?.wal.syncs ?? 0,
      sync_seconds: (stats?.wal.syncMsTotal ?? 0) / 1e3,
      log_bytes: stats?.wal.bytesWritten ?? 0,
    },
    connections: traffic.connections,
    memory_bytes: process.memoryUsage.rss(),
    disk: { free_bytes: stats?.disk.freeBytes ?? 0, size_bytes: disk.sizeBytes, low: stats?.disk.isLow ?? false },
    log: { bytes: stats?.wal.bytes ?? 0, segments: stats?.wal.segments ?? 0 },
    alarms: alarmsOf(n),
    at_risk: census.risks,
  };
}
