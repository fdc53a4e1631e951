// The JSON answers of the monitoring port: /varz /connz /jsz /healthz /routez /subsz (nats-surface §7). Each is a function of the node's view
// and the query; a bad query value is a 400 with a text that names it.
import { availableParallelism } from 'node:os';
import { API_LEVEL, FLOTILLA_VERSION, NATS_VERSION } from '../kit/version.ts';
import { rfc3339, uptimeText } from './time.ts';
import type { ConnectionView, NodeView, PartitionView } from './types.ts';

export type Query = Readonly<Record<string, string | undefined>>;
export type Answer = { status: number; body: unknown };

const LIMIT_DEFAULT = 1024;

class BadQuery extends Error {}

function boolean(query: Query, key: string): boolean {
  const value = query[key];
  if (value === undefined || value === '') return false;
  if (/^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false)$/i.test(value)) return false;
  throw new BadQuery(`error decoding boolean for '${key}': ${value}`);
}

function integer(query: Query, key: string, fallback: number): number {
  const value = query[key];
  if (value === undefined || value === '') return fallback;
  if (!/^-?\d+$/.test(value)) throw new BadQuery(`error decoding int for '${key}': ${value}`);
  return Number(value);
}

/** Runs an endpoint; bad query values become a 400. */
export function answerOf(endpoint: (view: NodeView, query: Query) => Answer, view: NodeView, query: Query): Answer {
  try {
    return endpoint(view, query);
  } catch (error) {
    if (error instanceof BadQuery) return { status: 400, body: error.message };
    throw error;
  }
}

export function varz(view: NodeView): Answer {
  const { identity } = view;
  const { limits } = identity;
  const traffic = view.traffic();
  const connectUrls = view.connectUrls();
  const nowUs = view.nowUs();
  const memory = process.memoryUsage.rss();
  const usage = process.resourceUsage();
  const body: Record<string, unknown> = {
    server_id: identity.serverId,
    server_name: identity.serverName,
    version: NATS_VERSION,
    flotilla_version: FLOTILLA_VERSION,
    proto: 1,
    go: `node ${process.version}`,
    host: identity.host,
    port: identity.port,
    auth_required: identity.authRequired || undefined,
    max_connections: limits.connectionsMax,
    max_payload: limits.payloadBytesMax,
    max_pending: limits.pendingBytesMax,
    max_control_line: limits.controlLineBytesMax,
    ping_interval: limits.pingIntervalMs * NS_PER_MS,
    ping_max: limits.pingsOutMax,
    write_deadline: limits.writeDeadlineMs * NS_PER_MS,
    auth_timeout: limits.authTimeoutMs / 1000,
    http_host: identity.httpHost,
    http_port: identity.httpPort,
    http_base_path: '',
    https_port: 0,
    connect_urls: connectUrls.length > 0 ? connectUrls : undefined,
    cluster: identity.clusterName
      ? { name: identity.clusterName, addr: identity.clusterHost, cluster_port: identity.clusterPort }
      : {},
    jetstream: identity.jetstream ? { config: jetstreamConfig(view), stats: jetstreamStats(view) } : {},
    start: rfc3339(identity.startUs),
    now: rfc3339(nowUs),
    uptime: uptimeText(nowUs - identity.startUs),
    mem: memory,
    cores: availableParallelism(),
    gomaxprocs: availableParallelism(),
    cpu: Math.round(((usage.userCPUTime + usage.systemCPUTime) / Math.max(1, nowUs - identity.startUs)) * 1000) / 10,
    connections: traffic.connections,
    total_connections: traffic.totalConnections,
    routes: view.routes().length,
    remotes: view.routes().length,
    leafnodes: 0,
    gateway: {},
    leaf: {},
    mqtt: {},
    websocket: {},
    subscriptions: traffic.subscriptions,
    in_msgs: traffic.inMsgs,
    out_msgs: traffic.outMsgs,
    in_bytes: traffic.inBytes,
    out_bytes: traffic.outBytes,
    // What other nodes send is not counted among messages here.
    in_client_msgs: traffic.inMsgs,
    out_client_msgs: traffic.outMsgs,
    in_client_bytes: traffic.inBytes,
    out_client_bytes: traffic.outBytes,
    slow_consumers: traffic.slowConsumers,
    slow_consumer_stats: { clients: traffic.slowConsumers, routes: 0, gateways: 0, leafs: 0 },
    stale_connections: traffic.staleConnections,
    stalled_clients: traffic.stalledClients,
    system_account: '$SYS',
  };
  return { status: 200, body };
}

function jetstreamConfig(view: NodeView): object {
  return { max_memory: -1, max_storage: -1, store_dir: view.identity.storeDir, sync_interval: 0, strict: true };
}

function jetstreamStats(view: NodeView): object {
  const partitions = view.partitions();
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

const NS_PER_MS = 1_000_000;

const CONNECTION_ORDER: Record<string, (connection: ConnectionView) => number | string> = {
  cid: (c) => c.cid,
  start: (c) => c.startUs,
  subs: (c) => -c.subscriptions.length,
  pending: (c) => -c.pendingBytes,
  msgs_to: (c) => -c.outMsgs,
  msgs_from: (c) => -c.inMsgs,
  bytes_to: (c) => -c.outBytes,
  bytes_from: (c) => -c.inBytes,
  last: (c) => -c.lastActivityUs,
  idle: (c) => c.lastActivityUs,
  uptime: (c) => c.startUs,
  stop: (c) => -(c.stopUs ?? 0),
  reason: (c) => c.reason ?? '',
  rtt: (c) => -(c.rttMs ?? 0),
};

export function connz(view: NodeView, query: Query): Answer {
  const sort = query['sort'] || 'cid';
  const order = CONNECTION_ORDER[sort];
  if (order === undefined) throw new BadQuery(`invalid sorting option: ${sort}`);
  const state = (query['state'] || 'open').toLowerCase();
  if (!['open', 'closed', 'any', 'all'].includes(state)) throw new BadQuery(`error decoding state: ${state}`);
  const detail = query['subs'] === 'detail';
  const withSubs = detail || boolean(query, 'subs');
  const withAuth = boolean(query, 'auth');
  const offset = integer(query, 'offset', 0);
  const limit = integer(query, 'limit', LIMIT_DEFAULT) || LIMIT_DEFAULT;
  const cid = integer(query, 'cid', 0);
  const open = state === 'closed' ? [] : view.connections();
  const closed = state === 'open' ? [] : view.closedConnections();
  const all = [...open, ...closed]
    .filter(
      (c) =>
        (cid === 0 || c.cid === cid) &&
        (!query['user'] || c.user === query['user']) &&
        (!query['acc'] || c.account === query['acc']),
    )
    .sort((a, b) => (order(a) < order(b) ? -1 : order(a) > order(b) ? 1 : a.cid - b.cid));
  const nowUs = view.nowUs();
  const page = all.slice(offset, offset + limit);
  return {
    status: 200,
    body: {
      server_id: view.identity.serverId,
      now: rfc3339(nowUs),
      num_connections: page.length,
      total: all.length,
      offset,
      limit,
      connections: page.map((c) => connection(c, nowUs, withSubs, detail, withAuth)),
    },
  };
}

function connection(c: ConnectionView, nowUs: number, withSubs: boolean, detail: boolean, withAuth: boolean): object {
  return {
    cid: c.cid,
    kind: 'Client',
    type: 'nats',
    ip: c.ip,
    port: c.port,
    start: rfc3339(c.startUs),
    last_activity: rfc3339(c.lastActivityUs),
    stop: c.stopUs === undefined ? undefined : rfc3339(c.stopUs),
    reason: c.reason,
    rtt: c.rttMs === undefined ? undefined : `${Math.round(c.rttMs * 1000)}µs`,
    uptime: uptimeText((c.stopUs ?? nowUs) - c.startUs),
    idle: uptimeText(nowUs - c.lastActivityUs),
    pending_bytes: c.pendingBytes,
    in_msgs: c.inMsgs,
    out_msgs: c.outMsgs,
    in_bytes: c.inBytes,
    out_bytes: c.outBytes,
    stalls: c.stalls || undefined,
    subscriptions: c.subscriptions.length,
    name: c.name || undefined,
    lang: c.lang || undefined,
    version: c.version || undefined,
    authorized_user: withAuth && c.user ? c.user : undefined,
    account: withAuth ? c.account : undefined,
    subscriptions_list: withSubs && !detail ? c.subscriptions.map((s) => s.subject) : undefined,
    subscriptions_list_detail: detail
      ? c.subscriptions.map((s) => ({
          subject: s.subject,
          qgroup: s.queue || undefined,
          sid: s.sid,
          msgs: s.delivered,
          max: s.max || undefined,
          cid: s.cid,
        }))
      : undefined,
  };
}

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
  if (leaderOnly && meta && meta.leader !== view.identity.serverName) return { status: 200, body: {} };
  const partitions = view.partitions().filter((p) => !boolean(query, 'stream-leader-only') || p.leading);
  const streams = new Map<string, PartitionView[]>();
  for (const partition of partitions) {
    if (query['acc'] && partition.account !== query['acc']) continue;
    const key = `${partition.account} ${partition.stream}`;
    streams.set(key, [...(streams.get(key) ?? []), partition]);
  }
  const body = {
    server_id: view.identity.serverId,
    now: rfc3339(nowUs),
    config: jetstreamConfig(view),
    limits: {},
    ...jetstreamStats(view),
    streams: streams.size,
    consumers: partitions.reduce((count, p) => count + p.state.consumer_count, 0),
    messages: partitions.reduce((count, p) => count + p.state.messages, 0),
    bytes: partitions.reduce((count, p) => count + p.state.bytes, 0),
    meta_cluster: meta && {
      name: view.identity.clusterName,
      leader: meta.leader || undefined,
      peer: view.identity.serverName,
      replicas: meta.peers.map(replica),
      cluster_size: meta.size,
      quorum_needed: Math.floor(meta.size / 2) + 1,
      pending: 0,
    },
    total: new Set(partitions.map((p) => p.account)).size,
    account_details: withAccounts
      ? accountDetails(view, [...streams.values()], withStreams, withConsumers, withConfig)
      : undefined,
  };
  return { status: 200, body };
}

function accountDetails(
  view: NodeView,
  streams: PartitionView[][],
  withStreams: boolean,
  withConsumers: boolean,
  withConfig: boolean,
): object[] {
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
    api: view.api(),
    stream_detail: withStreams
      ? list.map((stream) => streamDetail(view, stream, withConsumers, withConfig))
      : undefined,
  }));
}

function streamDetail(
  view: NodeView,
  partitions: PartitionView[],
  withConsumers: boolean,
  withConfig: boolean,
): object {
  const [first] = partitions;
  const sum = (pick: (p: PartitionView) => number): number => partitions.reduce((total, p) => total + pick(p), 0);
  return {
    name: first.stream,
    created: rfc3339(first.createdUs),
    cluster: {
      name: view.identity.clusterName,
      leader: first.leader || undefined,
      replicas: first.replicas.map(replica),
    },
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
    consumer_detail: withConsumers ? first.consumers().map((consumer) => consumerDetail(first, consumer)) : undefined,
  };
}

function consumerDetail(partition: PartitionView, consumer: ReturnType<PartitionView['consumers']>[number]): object {
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
  };
}

function replica(peer: { name: string; current: boolean; activeNs: number; lag: number }): object {
  return { name: peer.name, current: peer.current, active: peer.activeNs, lag: peer.lag || undefined };
}

/** Accounts that are always there. */
const ACCOUNTS = ['$G', '$SYS'];

export function healthz(view: NodeView, query: Query): Answer {
  const details = boolean(query, 'details');
  const enabledOnly = boolean(query, 'js-enabled-only') || boolean(query, 'js-enabled');
  const serverOnly = boolean(query, 'js-server-only') || boolean(query, 'js-meta-only');
  const { account, stream, consumer } = query;
  const bad = (error: string): Answer => ({ status: 400, body: { status: 'error', error } });
  if (stream && !account) return bad('"account" must not be empty when checking stream health');
  if (consumer && !stream) return bad('"stream" must not be empty when checking consumer health');
  const failed = (status: number, error: string, type: string): Answer => ({
    status,
    body: details
      ? { status: 'error', errors: [{ type, account, stream, consumer, error }] }
      : { status: 'unavailable', error },
  });
  if (enabledOnly)
    return view.identity.jetstream
      ? { status: 200, body: { status: 'ok' } }
      : failed(503, 'JetStream not enabled', 'JETSTREAM');
  const trouble = view.unhealthy();
  if (trouble !== '') return failed(503, trouble, 'JETSTREAM');
  if (!serverOnly && account) {
    const ofAccount = view.partitions().filter((p) => p.account === account);
    if (ofAccount.length === 0 && !ACCOUNTS.includes(account)) {
      return failed(404, `JetStream account "${account}" not found`, 'ACCOUNT');
    }
    const found = ofAccount.filter((p) => p.stream === stream);
    if (stream && found.length === 0) {
      return failed(404, `JetStream stream "${stream}" not found on account "${account}"`, 'STREAM');
    }
    if (stream && found.some((p) => p.leader === ''))
      return failed(503, `JetStream stream '${account} > ${stream}' has no leader`, 'STREAM');
    // Consumers are known where their stream is led.
    const isLedHere = found.some((p) => p.leader === view.identity.serverName);
    if (consumer && isLedHere && !found.some((p) => p.consumers().some((c) => c.name === consumer))) {
      const error = `JetStream consumer "${consumer}" not found for stream "${stream}" on account "${account}"`;
      return failed(404, error, 'CONSUMER');
    }
  }
  return { status: 200, body: { status: 'ok' } };
}

export function routez(view: NodeView): Answer {
  const routes = view.routes().map((peer, i) => {
    const [ip, port] = splitAddress(peer.clusterUrl);
    return {
      rid: i + 1,
      remote_id: String(peer.id),
      remote_name: peer.name,
      ip,
      port,
      did_solicit: true,
      is_configured: true,
    };
  });
  return {
    status: 200,
    body: {
      server_id: view.identity.serverId,
      server_name: view.identity.serverName,
      now: rfc3339(view.nowUs()),
      num_routes: routes.length,
      routes,
    },
  };
}

function splitAddress(address: string): [host: string, port: number] {
  const colon = address.lastIndexOf(':');
  return [address.slice(0, colon), Number(address.slice(colon + 1))];
}

export function subsz(view: NodeView, query: Query): Answer {
  const limit = integer(query, 'limit', LIMIT_DEFAULT) || LIMIT_DEFAULT;
  const offset = integer(query, 'offset', 0);
  const all = view.connections().flatMap((c) => c.subscriptions.map((s) => ({ ...s, account: c.account })));
  const list = boolean(query, 'subs')
    ? all.slice(offset, offset + limit).map((s) => ({
        account: s.account,
        subject: s.subject,
        qgroup: s.queue || undefined,
        sid: s.sid,
        msgs: s.delivered,
        cid: s.cid,
      }))
    : undefined;
  return {
    status: 200,
    body: {
      server_id: view.identity.serverId,
      now: rfc3339(view.nowUs()),
      num_subscriptions: view.traffic().subscriptions,
      total: all.length,
      offset,
      limit,
      subscriptions_list: list,
    },
  };
}
