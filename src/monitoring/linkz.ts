// /routez /leafz /gatewayz: connections to other servers, in nats-server's shapes. Functions of the node's view and the query, called by
// http.ts. There are two connections per node here, the link and one for bulk data, and no leaf nodes or gateways.
import { type Answer, type Query, subsOf } from './query.ts';
import { rfc3339, uptimeText } from './time.ts';
import type { NodeView, RouteView } from './types.ts';

export function routez(view: NodeView, query: Query): Answer {
  const subs = subsOf(query);
  const nowUs = view.nowUs();
  const routes = view.routes().map((route, i) => routeBody(route, i + 1, nowUs, subs));
  const { serverId, serverName } = view.identity;
  const body = { server_id: serverId, server_name: serverName, now: rfc3339(nowUs), num_routes: routes.length, routes };
  return { status: 200, body };
}

function routeBody(route: RouteView, rid: number, nowUs: number, subs: 'none' | 'names' | 'detail'): object {
  const { subscriptions } = route;
  return {
    rid,
    remote_id: route.remoteId,
    remote_name: route.remoteName,
    did_solicit: route.dialed,
    is_configured: route.configured,
    ip: route.ip,
    port: route.port,
    start: rfc3339(route.startUs),
    last_activity: rfc3339(route.lastActivityUs),
    uptime: uptimeText(nowUs - route.startUs),
    idle: uptimeText(nowUs - route.lastActivityUs),
    pending_size: route.pendingBytes,
    in_msgs: route.inMsgs,
    out_msgs: route.outMsgs,
    in_bytes: route.inBytes,
    out_bytes: route.outBytes,
    subscriptions: subscriptions.length,
    subscriptions_list: subs === 'names' && subscriptions.length > 0 ? subscriptions.map((s) => s.subject) : undefined,
    subscriptions_list_detail:
      subs === 'detail' && subscriptions.length > 0
        ? subscriptions.map(({ account, subject, queue, weight }) => ({
            subject,
            qgroup: queue || undefined,
            sid: `R ${account} ${subject}${queue === '' ? '' : ` ${queue} ${weight}`}`,
            msgs: 0,
            cid: rid,
          }))
        : undefined,
    compression: 'off',
    bulk: route.bulk || undefined,
  };
}

export function leafz(view: NodeView): Answer {
  const body = { server_id: view.identity.serverId, now: rfc3339(view.nowUs()), leafnodes: 0, leafs: [] };
  return { status: 200, body };
}

export function gatewayz(view: NodeView): Answer {
  const { serverId } = view.identity;
  const body = { server_id: serverId, now: rfc3339(view.nowUs()), outbound_gateways: {}, inbound_gateways: {} };
  return { status: 200, body };
}
