// /accountz /accstatz: the accounts of this node, in nats-server's shapes. Functions of the node's view and the query, called by http.ts.
import { type Answer, boolean, type Query } from './query.ts';
import { rfc3339 } from './time.ts';
import type { NodeView } from './types.ts';

const GLOBAL = '$G';
export const SYSTEM_ACCOUNT = '$SYS';
/** They are always there; others do not exist. */
export const ACCOUNTS = [GLOBAL, SYSTEM_ACCOUNT];

export function accountz(view: NodeView, query: Query): Answer {
  const { identity } = view;
  const now = rfc3339(view.nowUs());
  const head = { server_id: identity.serverId, now, system_account: SYSTEM_ACCOUNT };
  const name = query['acc'];
  if (!name) return { status: 200, body: { ...head, accounts: ACCOUNTS } };
  if (!ACCOUNTS.includes(name)) return { status: 400, body: `Account ${name} does not exist` };
  const { connections, subscriptions } = view.account(name);
  const detail = {
    account_name: name,
    update_time: rfc3339(identity.startUs),
    is_system: name === SYSTEM_ACCOUNT || undefined,
    expired: false,
    complete: true,
    jetstream_enabled: identity.jetstream && name === GLOBAL,
    leafnode_connections: 0,
    client_connections: connections,
    subscriptions,
    name_tag: name,
    sublist_stats: { num_subscriptions: subscriptions },
  };
  return { status: 200, body: { ...head, account_detail: detail } };
}

export function accstatz(view: NodeView, query: Query): Answer {
  const withUnused = boolean(query, 'unused');
  const { routedIn, routedOut } = view.traffic();
  const stats = ACCOUNTS.flatMap((name) => {
    const account = view.account(name);
    if (account.connections === 0 && !withUnused) return [];
    // Messages between nodes are counted for all accounts together: nearly all are the clients'.
    const isGlobal = name === GLOBAL;
    return [
      {
        acc: name,
        name,
        conns: account.connections,
        leafnodes: 0,
        total_conns: account.totalConnections,
        num_subscriptions: account.subscriptions,
        sent: sums(account.outMsgs, account.outBytes, isGlobal ? routedOut : 0),
        received: sums(account.inMsgs, account.inBytes, isGlobal ? routedIn : 0),
        slow_consumers: account.slowConsumers,
      },
    ];
  });
  return { status: 200, body: { server_id: view.identity.serverId, now: rfc3339(view.nowUs()), account_statz: stats } };
}

function sums(msgs: number, bytes: number, routed: number): object {
  const none = { msgs: 0, bytes: 0 };
  return { msgs, bytes, gateways: none, routes: { msgs: routed }, leafs: none };
}
