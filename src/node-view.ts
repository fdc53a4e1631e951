// What monitoring sees of a running server: reads the rooms' plain numbers when asked. Used by server.ts only.

import { META_GROUP } from '../cluster/core/types.ts';
import type { GroupStatus } from '../cluster/host/types.ts';
import type { PeerInfo } from '../cluster/rpc/types.ts';
import type { Broker } from './broker/types.ts';
import type { Env } from './kit/env.ts';
import type { ConnectionView, NodeView, PartitionView, ReplicaView, ServerIdentity } from './monitoring/types.ts';
import type { BrokerNode } from './node.ts';
import type { ConnectionInfo } from './protocols/nats/connections.ts';
import type { NatsFront } from './protocols/nats/front.ts';

export interface NodeViewOptions {
  identity: ServerIdentity;
  env: Env;
  front: NatsFront;
  broker: Broker;
  node: BrokerNode | undefined;
  peers: () => PeerInfo[];
  connectUrls: () => string[];
}

/** Several metrics of one scrape look at the same partitions. */
const PARTITIONS_FRESH_MS = 50;

export function nodeViewOf(options: NodeViewOptions): NodeView {
  const { identity, env, front, broker, node } = options;
  let partitionsCache: PartitionView[] = [];
  let partitionsAtMs = Number.NEGATIVE_INFINITY;

  const nameOf = (peer: number): string => {
    if (peer === 0) return '';
    return (
      node?.meta.catalog.nodes.get(peer)?.name ?? options.peers().find((info) => info.id === peer)?.name ?? String(peer)
    );
  };

  const replicasOf = (status: GroupStatus | undefined): ReplicaView[] => {
    if (status === undefined || node === undefined) return [];
    const nowMs = env.clock.nowMs();
    return [...status.membership.voters, ...status.membership.learners]
      .filter((peer) => peer !== status.leader)
      .map((peer) => {
        const progress = status.progress.find((member) => member.peer === peer);
        const lag = progress ? Math.max(0, status.lastIndex - progress.match) : 0;
        const activeNs = progress ? Math.round((nowMs - progress.lastActiveMs) * 1e6) : 0;
        return { name: nameOf(peer), current: lag === 0 || progress?.state === 'replicate', activeNs, lag };
      });
  };

  const readPartitions = (): PartitionView[] => {
    if (node === undefined) return [];
    const views: PartitionView[] = [];
    for (const [group, partition] of node.partitions) {
      const raft = node.host.group(group)?.status();
      const record = node.meta.catalog.streamById(Math.floor(group / 64));
      if (record === undefined) continue;
      views.push({
        account: record.account,
        stream: record.name,
        partition: group % 64,
        createdUs: record.createdUs,
        config: record.config,
        state: partition.localState(),
        leader: nameOf(node.meta.partitions.leaderOf(group)),
        leading: partition.leading,
        replicas: replicasOf(raft),
        raft,
        consumers: partition.localConsumers(),
      });
    }
    return views;
  };

  return {
    identity,
    nowUs: () => env.clock.wallUs(),
    traffic: () => ({
      inMsgs: front.stats.inMsgs,
      outMsgs: front.stats.outMsgs,
      inBytes: front.stats.inBytes,
      outBytes: front.stats.outBytes,
      slowConsumers: front.stats.slowConsumers,
      connections: front.stats.connections,
      totalConnections: front.stats.totalConnections,
      subscriptions: broker.stats.subscriptions,
      routedIn: broker.stats.routedIn,
      routedOut: broker.stats.routedOut,
    }),
    connections: () => front.connections().map((info) => connectionView(front, info)),
    closedConnections: () => front.closed().map((info) => connectionView(front, info)),
    connectUrls: options.connectUrls,
    routes: () => options.peers(),
    partitions: () => {
      const nowMs = env.clock.nowMs();
      if (nowMs - partitionsAtMs > PARTITIONS_FRESH_MS) {
        partitionsCache = readPartitions();
        partitionsAtMs = nowMs;
      }
      return partitionsCache;
    },
    meta: () => {
      if (node === undefined || identity.clusterName === undefined) return undefined;
      const raft = node.host.group(META_GROUP)?.status();
      const peers = replicasOf(raft);
      return { leader: nameOf(raft?.leader ?? 0), raft, peers, size: raft?.membership.voters.length ?? 0 };
    },
    api: () => node?.api.counters('$G') ?? { total: 0, errors: 0 },
    unhealthy: () =>
      node === undefined || node.meta.ready ? '' : 'JetStream has not established contact with a meta leader',
    stats: () =>
      node && {
        wal: node.wal.stats,
        host: node.host.stats,
        publish: node.publishRouter.stats,
        publishWaiting: node.publishRouter.waiting,
      },
  };
}

function connectionView(front: NatsFront, info: ConnectionInfo): ConnectionView {
  const subscriptions = front.subscriptions(info.cid) ?? [];
  return {
    ...info,
    subscriptions: subscriptions.map((s) => ({ ...s, delivered: s.msgs })),
  };
}
