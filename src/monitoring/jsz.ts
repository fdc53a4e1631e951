// /jsz: what JetStream holds on this node, in nats-server's shapes; parts of it stand in /varz as well. A function of the node's view and
// the query, called by http.ts. A stream of several partitions is told as one.
import { API_LEVEL } from '../kit/version.ts';
import { type Answer, BadQuery, boolean, pageOf, type Query } from './query.ts';
import { rfc3339 } from './time.ts';
import type { NodeView, PartitionView, ReplicaView } from './types.ts';

export function jsz(view: NodeView, query: Query): Answer {
  const nowUs = view.nowUs();
  if (!view.identity.jetstream) {
    return {
      status: 200,
      body: { server_id: view.identity.serverId, now: rfc3339(nowUs), disabled: true, config: {} },
    };
  }
  const withConsumers = boolean(query, 'consumers');
  const withStreams = boolean(query, 'streams') || withConsumers;
  const withAccounts = boolean(query, 'accounts') || withStreams || query['acc'] !== undefined;
  const withConfig = boolean(query, 'config');
  const leaderOnly = boolean(query, 'leader-only');
  const meta = view.meta();
  if (leaderOnly && meta && meta.leader !== view.identity.serverName)
    throw new BadQuery('filtered response: not leader');
  const withRaft = boolean(query, 'raft');
  const { offset, limit } = pageOf(query);
  const all = view.partitions();
  const partitions = all.filter((p) => !boolean(query, 'stream-leader-only') || p.leading);
  const streams = new Map<string, PartitionView[]>();
  for (const partition of partitions) {
    if (query['acc'] && partition.account !== query['acc']) continue;
    const key = `${partition.account} ${partition.stream}`;
    streams.set(key, [...(streams.get(key) ?? []), partition]);
  }
  const parts = { withStreams, withConsumers, withConfig, withRaft };
  const details = withAccounts ? accountDetails(view, [...streams.values()], parts).slice(offset, offset + limit) : [];
  const led = partitions.filter((p) => p.leading && p.partition === 0);
  const body = {
    server_id: view.identity.serverId,
    now: rfc3339(nowUs),
    config: jetstreamConfig(view),
    limits: {},
    ...jetstreamStats(view, all),
    streams: streams.size,
    streams_leader: (withRaft && led.length) || undefined,
    consumers: partitions.reduce((count, p) => count + p.state.consumer_count, 0),
    messages: partitions.reduce((count, p) => count + p.state.messages, 0),
    bytes: partitions.reduce((count, p) => count + p.state.bytes, 0),
    meta_cluster: metaCluster(view),
    total: new Set(partitions.map((p) => p.account)).size,
    account_details: details.length > 0 ? details : undefined,
  };
  return { status: 200, body };
}

/** Which parts of a detail were asked for. */
interface Parts {
  withStreams: boolean;
  withConsumers: boolean;
  withConfig: boolean;
  withRaft: boolean;
}

function accountDetails(view: NodeView, streams: PartitionView[][], parts: Parts): object[] {
  const accounts = new Map<string, PartitionView[][]>();
  for (const stream of streams) accounts.set(stream[0].account, [...(accounts.get(stream[0].account) ?? []), stream]);
  return [...accounts].map(([name, list]) => ({
    name,
    id: name,
    memory: 0,
    storage: list.flat().reduce((bytes, p) => bytes + p.state.bytes, 0),
    reserved_memory: 0,
    reserved_storage: 0,
    accounts: 1,
    ha_assets: list.flat().length,
    api: { level: API_LEVEL, ...view.api() },
    stream_detail: parts.withStreams ? list.map((stream) => streamDetail(view, stream, parts)) : undefined,
  }));
}

function streamDetail(
  view: NodeView,
  partitions: PartitionView[],
  { withConsumers, withConfig, withRaft }: Parts,
): object {
  const [first] = partitions;
  const consumers = withConsumers || withRaft ? first.consumers() : [];
  const sum = (pick: (p: PartitionView) => number): number => partitions.reduce((total, p) => total + pick(p), 0);
  return {
    name: first.stream,
    created: rfc3339(first.createdUs),
    cluster: groupOf(view, first),
    config: withConfig ? first.config : undefined,
    state: {
      messages: sum((p) => p.state.messages),
      bytes: sum((p) => p.state.bytes),
      first_seq: Math.min(...partitions.map((p) => p.state.first_seq)),
      first_ts: rfc3339(Math.min(...partitions.map((p) => p.state.first_ts_us))),
      last_seq: Math.max(...partitions.map((p) => p.state.last_seq)),
      last_ts: rfc3339(Math.max(...partitions.map((p) => p.state.last_ts_us))),
      num_subjects: sum((p) => p.state.num_subjects),
      consumer_count: first.state.consumer_count,
    },
    consumer_detail: withConsumers ? consumers.map((consumer) => consumerDetail(view, first, consumer)) : undefined,
    stream_raft_group: withRaft ? groupName(first) : undefined,
    consumer_raft_groups: withRaft ? consumers.map(({ name }) => ({ name, raft_group: groupName(first) })) : undefined,
  };
}

/** A consumer is of its stream's group. */
function groupOf(view: NodeView, partition: PartitionView): object {
  return {
    name: view.identity.clusterName,
    raft_group: groupName(partition),
    leader: partition.leader || undefined,
    replicas: partition.replicas.map(replica),
  };
}

function groupName({ stream, config, group }: PartitionView): string {
  return `${stream}-R${config.num_replicas}-${group}`;
}

export function metaCluster(view: NodeView): object | undefined {
  const meta = view.meta();
  if (meta === undefined) return undefined;
  const { raft, size } = meta;
  const entries = raft === undefined ? 0 : raft.lastIndex - raft.firstIndex + 1;
  return {
    name: view.identity.clusterName,
    leader: meta.leader || undefined,
    peer: meta.leader === '' ? undefined : meta.leaderId,
    replicas: meta.peers.map(replica),
    cluster_size: size,
    quorum_needed: Math.floor(size / 2) + 1,
    pending: raft === undefined ? 0 : raft.commit - raft.applied,
    snapshot: { pending_entries: entries },
  };
}

function consumerDetail(
  view: NodeView,
  partition: PartitionView,
  consumer: ReturnType<PartitionView['consumers']>[number],
): object {
  const position = (p: { consumer_seq: number; stream_seq: number; last_active_us: number }): object => ({
    consumer_seq: p.consumer_seq,
    stream_seq: p.stream_seq,
    last_active: p.last_active_us === 0 ? undefined : rfc3339(p.last_active_us),
  });
  return {
    stream_name: partition.stream,
    name: consumer.name,
    created: rfc3339(consumer.createdUs),
    config: consumer.config,
    delivered: position(consumer.delivered),
    ack_floor: position(consumer.ack_floor),
    num_ack_pending: consumer.num_ack_pending,
    num_redelivered: consumer.num_redelivered,
    num_waiting: consumer.num_waiting,
    num_pending: consumer.num_pending,
    cluster: groupOf(view, partition),
    ts: rfc3339(view.nowUs()),
  };
}

function replica(peer: ReplicaView): object {
  return { name: peer.name, current: peer.current, active: peer.activeNs, lag: peer.lag || undefined, peer: peer.id };
}

export function jetstreamConfig(view: NodeView): object {
  return { max_memory: -1, max_storage: -1, store_dir: view.identity.storeDir, sync_interval: 0, strict: true };
}

export function jetstreamStats(view: NodeView, partitions: readonly PartitionView[]): object {
  const sum = (storage: string): number =>
    partitions.filter((p) => p.config.storage === storage).reduce((bytes, p) => bytes + p.state.bytes, 0);
  return {
    memory: sum('memory'),
    storage: sum('file'),
    reserved_memory: 0,
    reserved_storage: 0,
    accounts: new Set(partitions.map((p) => p.account)).size,
    ha_assets: partitions.filter((p) => p.config.num_replicas > 1).length,
    api: { level: API_LEVEL, ...view.api() },
  };
}
