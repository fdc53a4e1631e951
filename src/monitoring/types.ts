// What monitoring sees of a node: plain numbers and names, read when somebody asks, never pushed. Given by the composition root.
import type { GroupStatus, HostStats } from '../../cluster/host/types.ts';
import type { WalStats } from '../../cluster/wal/types.ts';
import type { PublishStats } from '../jetstream/publish-router.ts';
import type { StreamConfig } from '../stream/config.ts';
import type { ConsumerState, StreamState } from '../stream/types.ts';

export interface ServerIdentity {
  serverId: string;
  serverName: string;
  host: string;
  port: number;
  httpHost: string;
  httpPort: number;
  clusterName: string | undefined;
  clusterHost: string;
  clusterPort: number;
  authRequired: boolean;
  maxPayload: number;
  maxConnections: number;
  maxPending: number;
  storeDir: string;
  jetstream: boolean;
  startUs: number;
}

export interface TrafficCounts {
  inMsgs: number;
  outMsgs: number;
  inBytes: number;
  outBytes: number;
  slowConsumers: number;
  connections: number;
  totalConnections: number;
  subscriptions: number;
  routedIn: number;
  routedOut: number;
}

export interface ConnectionView {
  cid: number;
  ip: string;
  port: number;
  startUs: number;
  lastActivityUs: number;
  rttMs: number | undefined;
  pendingBytes: number;
  inMsgs: number;
  outMsgs: number;
  inBytes: number;
  outBytes: number;
  stalls: number;
  subscriptions: readonly {
    subject: string;
    queue: string;
    sid: string;
    delivered: number;
    max: number;
    cid: number;
  }[];
  name: string;
  lang: string;
  version: string;
  user: string;
  account: string;
  stopUs?: number;
  reason?: string;
}

export interface ReplicaView {
  name: string;
  current: boolean;
  activeNs: number;
  lag: number;
}

/** One partition that has a replica on this node. */
export interface PartitionView {
  account: string;
  stream: string;
  partition: number;
  createdUs: number;
  config: StreamConfig;
  /** As this replica has applied it; a follower's may lag. */
  state: StreamState;
  /** '' when unknown. */
  leader: string;
  leading: boolean;
  replicas: ReplicaView[];
  raft: GroupStatus | undefined;
  consumers: ConsumerState[];
}

export interface NodeView {
  identity: ServerIdentity;
  nowUs(): number;
  traffic(): TrafficCounts;
  connections(): ConnectionView[];
  closedConnections(): ConnectionView[];
  /** Where clients find the nodes of the cluster, own first. */
  connectUrls(): string[];
  /** Nodes that this one has a link to. */
  routes(): { id: number; name: string; clusterUrl: string }[];
  partitions(): PartitionView[];
  /** Streams and consumers of the whole cluster as the catalog knows them. */
  meta(): { leader: string; raft: GroupStatus | undefined; peers: ReplicaView[]; size: number } | undefined;
  api(): { total: number; errors: number };
  /** '' when all is well, else what is not. */
  unhealthy(): string;
  stats(): { wal: WalStats; host: HostStats; publish: PublishStats; publishWaiting: number } | undefined;
}
