// What monitoring sees of a running server: reads the rooms' plain numbers when asked. Used by server.ts only.

import { META_GROUP } from '../cluster/core/types.ts';
import type { GroupStatus } from '../cluster/host/types.ts';
import type { LinkConnection, LinkStats } from '../cluster/rpc/links.ts';
import type { PeerInfo } from '../cluster/rpc/types.ts';
import type { Broker } from './broker/types.ts';
import type { Env } from './kit/env.ts';
import { serverIdOf } from './kit/server-id.ts';
import { groupOf, type NodeRecord } from './meta/types.ts';
import type {
  ConnectionView,
  NodeView,
  PartitionView,
  PeerView,
  ReplicaSample,
  ReplicaView,
  RouteView,
  ServerIdentity,
} from './monitoring/types.ts';
import type { BrokerNode } from './node.ts';
import { type ConnectionInfo, splitAddress } from './protocols/nats/connections.ts';
import type { NatsFront } from './protocols/nats/front.ts';
import { isApiError } from './stream/errors.ts';

export interface NodeViewOptions {
  identity: ServerIdentity;
  env: Env;
  front: NatsFront;
  broker: Broker;
  node: BrokerNode | undefined;
  peers: () => PeerInfo[];
  links: () => LinkStats | undefined;
  linkConnections: () => LinkConnection[];
  connectUrls: () => string[];
}

/** A replica with less than this to fetch, over a link that is up, counts as one. */
const IN_SYNC_ENTRIES_MAX = 1_000;

export function nodeViewOf(options: NodeViewOptions): NodeView {
  const { identity, env, front, broker, node } = options;

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
        return {
          name: nameOf(peer),
          id: String(peer),
          current: lag === 0 || progress?.state === 'replicate',
          activeNs,
          lag,
        };
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
        group,
        createdUs: record.createdUs,
        config: record.config,
        state: partition.localState(),
        leader: nameOf(node.meta.partitions.leaderOf(group)),
        leading: partition.leading,
        replicas: replicasOf(raft),
        raft,
        consumers: () => partition.localConsumers(),
      });
    }
    return views;
  };

  function* replicas(): Generator<ReplicaSample> {
    if (node === undefined) return;
    const up = new Set(options.peers().map((peer) => peer.id));
    for (const group of [...node.partitions.keys()].sort((a, b) => a - b)) {
      const partition = node.partitions.get(group);
      const status = node.host.group(group)?.status();
      const record = node.meta.catalog.streamById(Math.floor(group / 64));
      if (partition === undefined || status === undefined || record === undefined) continue;
      const state = partition.localState();
      yield {
        account: record.account,
        stream: record.name,
        partition: group % 64,
        leading: partition.leading,
        hasLeader: status.leader !== 0,
        term: status.term,
        commit: status.commit,
        applied: status.applied,
        replicas: partition.leading ? replicaCounts(status, record.config.num_replicas, up) : undefined,
        messages: state.messages,
        bytes: state.bytes,
        firstSeq: state.first_seq,
        lastSeq: state.last_seq,
        ackedSeq: partition.ackedSeq,
        lastLocalSeq: partition.machine.lastSeq,
        consumerCount: state.consumer_count,
        consumers: () => partition.consumerPositions(),
      };
    }
  }

  const partitionCounts = () => {
    let total = 0;
    let leaderless = 0;
    if (node !== undefined) {
      for (const { streamId, partitions } of node.meta.catalog.all()) {
        total += partitions;
        for (let i = 0; i < partitions; i++)
          if (node.meta.partitions.leaderOf(groupOf(streamId, i)) === 0) leaderless++;
      }
    }
    return { total, leaderless };
  };

  const peerViews = (): PeerView[] =>
    peersByName(identity.serverName, options.peers(), node?.meta.catalog.nodes.values() ?? []);

  return {
    identity,
    nowUs: () => env.clock.wallUs(),
    traffic: () => ({
      inMsgs: front.stats.inMsgs,
      outMsgs: front.stats.outMsgs,
      inBytes: front.stats.inBytes,
      outBytes: front.stats.outBytes,
      slowConsumers: front.stats.slowConsumers,
      staleConnections: front.stats.staleConnections,
      stalledClients: front.stats.stalledClients,
      connections: front.stats.connections,
      totalConnections: front.stats.totalConnections,
      subscriptions: broker.stats.subscriptions,
      subscribed: broker.stats.subscribed,
      routedIn: broker.stats.routedIn,
      routedOut: broker.stats.routedOut,
      routedLost: broker.stats.routedLost,
    }),
    connections: () => front.connections().map((info) => connectionView(front, info)),
    closedConnections: () => front.closed().map((info) => connectionView(front, info)),
    connectUrls: options.connectUrls,
    routes: () =>
      options.linkConnections().map((link) => routeView(link, link.bulk ? [] : broker.interestOf(link.peer.id))),
    account: (name) => front.trafficOf(name),
    partitions: readPartitions,
    replicas,
    partitionCounts,
    peers: peerViews,
    links: options.links,
    meta: () => {
      if (node === undefined || identity.clusterName === undefined) return undefined;
      const raft = node.host.group(META_GROUP)?.status();
      const peers = replicasOf(raft);
      const leader = raft?.leader ?? 0;
      return {
        leader: nameOf(leader),
        leaderId: String(leader),
        raft,
        peers,
        size: raft?.membership.voters.length ?? 0,
      };
    },
    api: () => node?.api.counters('$G') ?? { total: 0, errors: 0 },
    hasConsumer: (group, name) =>
      new Promise((done) => {
        if (node === undefined) done(undefined);
        else
          node.client.call(group, 'consumerInfo', [name], (result) => {
            if (!isApiError(result)) done(true);
            else done(result.err_code === 10014 ? false : undefined);
          });
      }),
    unhealthy: () =>
      node === undefined || node.meta.ready ? '' : 'JetStream has not established contact with a meta leader',
    stats: () =>
      node && {
        wal: node.wal.stats,
        host: node.host.stats,
        publish: node.publishRouter.stats,
        publishWaiting: node.publishRouter.waiting,
        delivery: node.deliveryCounts,
        disk: node.room,
      },
  };
}

/** As its leader sees them. What a member lacks that is away and has not been heard since this leader's election is not known. */
export function replicaCounts(
  status: Pick<GroupStatus, 'lastIndex' | 'membership' | 'progress'>,
  expected: number,
  up: ReadonlySet<number>,
): NonNullable<ReplicaSample['replicas']> {
  let inSync = 1;
  let lagMax = 0;
  for (const { peer, match, state } of status.progress) {
    if (!status.membership.voters.includes(peer)) continue;
    const lag = Math.max(0, status.lastIndex - match);
    if (match > 0 || up.has(peer)) lagMax = Math.max(lagMax, lag);
    if (up.has(peer) && state === 'replicate' && lag <= IN_SYNC_ENTRIES_MAX) inSync++;
  }
  return { expected, inSync, lagMax };
}

/** All nodes but this one, by name: an emptied node is a new member under its old name, and its former self is not missed. */
export function peersByName(
  self: string,
  up: readonly PeerInfo[],
  known: Iterable<Pick<NodeRecord, 'name' | 'monitorUrl' | 'clusterUrl'>>,
): PeerView[] {
  const views = new Map<string, PeerView>();
  for (const { name, monitorUrl = '', clusterUrl = '' } of known)
    views.set(name, { name, monitorUrl, clusterUrl, connected: false });
  for (const { name, monitorUrl, clusterUrl } of up) views.set(name, { name, monitorUrl, clusterUrl, connected: true });
  views.delete(self);
  return [...views.values()];
}

function routeView(link: LinkConnection, subscriptions: RouteView['subscriptions']): RouteView {
  const { ip, port } = splitAddress(link.remoteAddress);
  return {
    remoteId: serverIdOf(link.peer.id, link.peerBootId),
    remoteName: link.peer.name,
    bulk: link.bulk,
    dialed: link.dialed,
    configured: link.configured,
    ip,
    port,
    startUs: link.upUs,
    lastActivityUs: Math.max(link.upUs, link.heardUs),
    pendingBytes: link.waitingBytes,
    inMsgs: link.messagesIn,
    outMsgs: link.messagesOut,
    inBytes: link.bytesIn,
    outBytes: link.bytesOut,
    subscriptions,
  };
}

function connectionView(front: NatsFront, info: ConnectionInfo): ConnectionView {
  const subscriptions = front.subscriptions(info.cid) ?? [];
  return {
    ...info,
    subscriptions: subscriptions.map((s) => ({ ...s, delivered: s.msgs })),
  };
}
