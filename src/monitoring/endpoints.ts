// JSON answers of the monitoring port about the server and its clients: /varz /connz /subsz /healthz (nats-surface §7). Each is a function
// of the node's view and the query; a bad query value is a 400 with a text that names it.
import { availableParallelism } from 'node:os';
import { FLOTILLA_VERSION, NATS_VERSION } from '../kit/version.ts';
import { isLiteral, subjectMatches } from '../subjects/subject.ts';
import { ACCOUNTS, SYSTEM_ACCOUNT } from './accounts.ts';
import { jetstreamConfig, jetstreamStats, metaCluster } from './jsz.ts';
import { type Answer, BadQuery, boolean, integer, pageOf, type Query, subsOf } from './query.ts';
import { rfc3339, uptimeText } from './time.ts';
import type { ConnectionView, NodeView } from './types.ts';

const NS_PER_MS = 1_000_000;

/** `requests`: how often each page of this port was asked for. */
export function varz(view: NodeView, _query: Query, requests: Readonly<Record<string, number>>): Answer {
  const { identity } = view;
  const routes = view.routes();
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
      ? {
          name: identity.clusterName,
          addr: identity.clusterHost,
          cluster_port: identity.clusterPort,
          urls: view.peers().map((peer) => peer.clusterUrl),
        }
      : {},
    jetstream: identity.jetstream
      ? {
          config: jetstreamConfig(view),
          stats: jetstreamStats(view, view.partitions()),
          meta: metaCluster(view),
          limits: {},
        }
      : {},
    start: rfc3339(identity.startUs),
    now: rfc3339(nowUs),
    uptime: uptimeText(nowUs - identity.startUs),
    mem: memory,
    cores: availableParallelism(),
    gomaxprocs: availableParallelism(),
    cpu: Math.round(((usage.userCPUTime + usage.systemCPUTime) / Math.max(1, nowUs - identity.startUs)) * 1000) / 10,
    connections: traffic.connections,
    total_connections: traffic.totalConnections,
    routes: routes.length,
    remotes: routes.filter((route) => !route.bulk).length,
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
    stale_connection_stats: { clients: traffic.staleConnections, routes: 0, gateways: 0, leafs: 0 },
    http_req_stats: requests,
    config_load_time: rfc3339(identity.startUs),
    system_account: SYSTEM_ACCOUNT,
  };
  return { status: 200, body };
}

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
  const subs = subsOf(query);
  const withAuth = boolean(query, 'auth');
  const { offset, limit } = pageOf(query);
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
      connections: page.map((c) => connection(c, nowUs, subs, withAuth)),
    },
  };
}

function connection(c: ConnectionView, nowUs: number, subs: ReturnType<typeof subsOf>, withAuth: boolean): object {
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
    name_tag: withAuth ? c.account : undefined,
    subscriptions_list: subs === 'names' ? c.subscriptions.map((s) => s.subject) : undefined,
    subscriptions_list_detail: subs === 'detail' ? c.subscriptions.map(subscriptionDetail) : undefined,
  };
}

function subscriptionDetail(s: ConnectionView['subscriptions'][number]): object {
  const { subject, queue, sid, delivered, max, cid } = s;
  return { subject, qgroup: queue || undefined, sid, msgs: delivered, max: max || undefined, cid };
}

export async function healthz(view: NodeView, query: Query): Promise<Answer> {
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
  // A node that was started without JetStream lacks nothing, whichever option a probe asks with.
  if (enabledOnly || !view.identity.jetstream) return { status: 200, body: { status: 'ok' } };
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
    if (!consumer) return { status: 200, body: { status: 'ok' } };
    // Where the stream is led they are known; its first partition knows all of them.
    const has = await view.hasConsumer(found[0].group - found[0].partition, consumer);
    const of = `for stream "${stream}" on account "${account}"`;
    if (has === false) return failed(404, `JetStream consumer "${consumer}" not found ${of}`, 'CONSUMER');
    if (has === undefined) return failed(503, `JetStream consumer "${consumer}" ${of} did not answer`, 'CONSUMER');
  }
  return { status: 200, body: { status: 'ok' } };
}

export function subsz(view: NodeView, query: Query): Answer {
  const { offset, limit } = pageOf(query);
  const { acc: account, test: subject } = query;
  if (subject && !isLiteral(subject))
    throw new BadQuery(`invalid test subject, must be valid publish subject: ${subject}`);
  const traffic = view.traffic();
  const withList = boolean(query, 'subs');
  const found = (withList ? view.connections() : [])
    .filter((c) => !account || c.account === account)
    .flatMap((c) => c.subscriptions.map((s) => ({ ...s, account: c.account })))
    .filter((s) => !subject || subjectMatches(s.subject, subject));
  const page = found.slice(offset, offset + limit);
  return {
    status: 200,
    body: {
      server_id: view.identity.serverId,
      now: rfc3339(view.nowUs()),
      num_subscriptions: account ? view.account(account).subscriptions : traffic.subscriptions,
      num_inserts: traffic.subscribed,
      num_removes: traffic.subscribed - traffic.subscriptions,
      total: found.length,
      offset,
      limit,
      subscriptions_list:
        page.length === 0
          ? undefined
          : page.map((s) => ({ account: s.account, account_tag: s.account, ...subscriptionDetail(s) })),
    },
  };
}
