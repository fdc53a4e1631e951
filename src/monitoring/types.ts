// What monitoring sees of a node: plain numbers and names, read when somebody asks, never pushed. Given by the composition root.
import type { GroupStatus, HostStats } from '../../cluster/host/types.ts';
import type { LinkStats } from '../../cluster/rpc/links.ts';
import type { WalStats } from '../../cluster/wal/types.ts';
import type { PublishStats } from '../jetstream/publish-router.ts';
import type { StreamConfig } from '../stream/config.ts';
import type { DeliveryCounts } from '../stream/delivery-counts.ts';
import type { ConsumerPosition, ConsumerState, StreamState } from '../stream/types.ts';

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
  /** These may change while the server runs. */
  readonly authRequired: boolean;
  readonly limits: ClientLimits;
  storeDir: string;
  jetstream: boolean;
  startUs: number;
}

export interface ClientLimits {
  payloadBytesMax: number;
  connectionsMax: number;
  pendingBytesMax: number;
  controlLineBytesMax: number;
  pingIntervalMs: number;
  pingsOutMax: number;
  writeDeadlineMs: number;
  authTimeoutMs: number;
}

export interface TrafficCounts {
  inMsgs: number;
  outMsgs: number;
  inBytes: number;
  outBytes: number;
  slowConsumers: number;
  staleConnections: number;
  stalledClients: number;
  connections: number;
  totalConnections: number;
  subscriptions: number;
  /** Ever made. */
  subscribed: number;
  routedIn: number;
  routedOut: number;
  /** No room on the link. */
  routedLost: number;
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

/** A connection to another node. There are two per node: the link, and one for bulk data beside it. */
export interface RouteView {
  remoteId: string;
  remoteName: string;
  bulk: boolean;
  dialed: boolean;
  configured: boolean;
  ip: string;
  port: number;
  startUs: number;
  lastActivityUs: number;
  pendingBytes: number;
  inMsgs: number;
  outMsgs: number;
  inBytes: number;
  outBytes: number;
  /** What the clients there want, on the link. */
  subscriptions: readonly { account: string; subject: string; queue: string; weight: number }[];
}

/** What the connections of one account carried. */
export type AccountView = Omit<
  TrafficCounts,
  'staleConnections' | 'stalledClients' | 'subscribed' | 'routedIn' | 'routedOut' | 'routedLost'
>;

export interface ReplicaView {
  name: string;
  id: string;
  current: boolean;
  activeNs: number;
  lag: number;
}

/** One partition that has a replica on this node. */
export interface PartitionView {
  account: string;
  stream: string;
  partition: number;
  /** Of the Raft group, in the log's and the metrics' terms. */
  group: number;
  createdUs: number;
  config: StreamConfig;
  /** As this replica has applied it; a follower's may lag. */
  state: StreamState;
  /** '' when unknown. */
  leader: string;
  leading: boolean;
  replicas: ReplicaView[];
  raft: GroupStatus | undefined;
  /** Asked for by name only: it counts what each of them has left. */
  consumers(): ConsumerState[];
}

/** One partition that has a replica on this node, as a scrape sees it: nothing in it is counted on demand. */
export interface ReplicaSample {
  account: string;
  stream: string;
  partition: number;
  leading: boolean;
  hasLeader: boolean;
  term: number;
  commit: number;
  applied: number;
  /** Of the leader; undefined on others. `inSync` counts the leader itself. */
  replicas: { expected: number; inSync: number; lagMax: number } | undefined;
  messages: number;
  bytes: number;
  firstSeq: number;
  lastSeq: number;
  /** Highest seq that this replica, as leader, has acknowledged in this life of the process. */
  ackedSeq: number;
  /** In the numbers of ConsumerPosition. */
  lastLocalSeq: number;
  consumerCount: number;
  /** On the leader. The same object each time. */
  consumers(): Iterable<ConsumerPosition>;
}

/** A node of the cluster as the metadata and the links know it. */
export interface PeerView {
  name: string;
  monitorUrl: string;
  clusterUrl: string;
  connected: boolean;
}

export interface NodeStats {
  wal: WalStats;
  host: HostStats;
  publish: PublishStats;
  publishWaiting: number;
  delivery: DeliveryCounts;
  disk: { freeBytes: number; reserveBytes: number; isLow: boolean };
}

export interface NodeView {
  identity: ServerIdentity;
  nowUs(): number;
  traffic(): TrafficCounts;
  connections(): ConnectionView[];
  closedConnections(): ConnectionView[];
  /** Where clients find the nodes of the cluster, own first. */
  connectUrls(): string[];
  routes(): RouteView[];
  /** Of one account since the start. */
  account(name: string): AccountView;
  partitions(): PartitionView[];
  /** The same, one at a time in the order of their groups: a scrape stops in between. */
  replicas(): Iterable<ReplicaSample>;
  /** Partitions of the whole cluster, and how many of them have no leader that this node knows. */
  partitionCounts(): { total: number; leaderless: number };
  /** All other nodes, up or not. */
  peers(): PeerView[];
  /** Between the nodes; undefined without a cluster. */
  links(): LinkStats | undefined;
  /** Streams and consumers of the whole cluster as the catalog knows them. */
  meta():
    | { leader: string; leaderId: string; raft: GroupStatus | undefined; peers: ReplicaView[]; size: number }
    | undefined;
  api(): { total: number; errors: number };
  /** Asks whoever leads the stream. Undefined: nobody could tell. */
  hasConsumer(group: number, name: string): Promise<boolean | undefined>;
  /** '' when all is well, else what is not. */
  unhealthy(): string;
  stats(): NodeStats | undefined;
}
