// What several nodes say of themselves, as one picture of the cluster: who answers, what is at risk. Used by `flotilla status` and
// `flotilla top`. Pure. Invariant: a node that some node knows of is in the picture, whether it answers or not.
import type { NodeStatus } from '../monitoring/status.ts';

export interface NodeRow {
  name: string;
  /** Where it was asked; '' when nobody knows. */
  url: string;
  /** It has no monitoring port, but others are connected to it. */
  silent: boolean;
  /** Undefined: it did not answer. */
  status: NodeStatus | undefined;
}

export interface ClusterAlarm {
  node: string;
  name: string;
  severity: 'critical' | 'warning';
  text: string;
}

export interface ClusterStatus {
  cluster: string;
  meta_leader: string;
  nodes: NodeRow[];
  partitions: { total: number; leaderless: number; under_replicated: number; follower_lag_max: number };
  consumers: { count: number; ack_pending: number; lag_max: number; stalled: number };
  alarms: ClusterAlarm[];
  at_risk: { node: string; account: string; stream: string; partition: number; what: string }[];
  /** Nothing is at risk. */
  healthy: boolean;
}

export interface Answer {
  url: string;
  status: NodeStatus;
}

const SEVERITIES = ['critical', 'warning'] as const;

/** `unanswered`: URLs that were given by hand and stayed silent. */
export function clusterStatusOf(answers: readonly Answer[], unanswered: readonly string[]): ClusterStatus {
  const nodes: NodeRow[] = [];
  const byName = new Map<string, NodeRow>();
  const add = (row: NodeRow): void => {
    nodes.push(row);
    byName.set(row.name, row);
  };
  for (const { url, status } of answers) {
    if (!byName.has(status.server_name)) add({ name: status.server_name, url, silent: false, status });
  }
  for (const { url: asked, status } of answers) {
    for (const peer of status.peers) {
      if (byName.has(peer.name)) continue;
      const url = monitorUrlOf(peer, asked);
      add({ name: peer.name, url, silent: url === '' && peer.connected, status: undefined });
    }
  }
  const known = new Set(nodes.map(({ url }) => url));
  for (const url of unanswered) if (!known.has(url)) add({ name: url, url, silent: false, status: undefined });
  nodes.sort((a, b) => (a.name < b.name ? -1 : 1));

  const answering = nodes.flatMap(({ name, status }) => (status === undefined ? [] : [{ name, status }]));
  const max = (read: (status: NodeStatus) => number): number =>
    answering.reduce((most, { status }) => Math.max(most, read(status)), 0);
  const sum = (read: (status: NodeStatus) => number): number =>
    answering.reduce((total, { status }) => total + read(status), 0);
  // A node that is cut off knows no leaders; where any other one does, they are there.
  const knowing = answering.filter(({ status }) => status.meta_leader !== '');
  const leaderless = (knowing.length > 0 ? knowing : answering).map(({ status }) => status.partitions.leaderless);
  const alarms: ClusterAlarm[] = nodes.flatMap(({ name, url, silent, status }) => {
    if (status === undefined) {
      const text = url === '' ? 'is not connected' : `does not answer at ${url}`;
      return silent ? [] : [{ node: name, name: 'FlotillaNodeDown', severity: 'critical' as const, text }];
    }
    const own = status.alarms.map((alarm) => ({ node: name, ...alarm }));
    const waiting = { node: name, name: 'FlotillaNotReady', severity: 'critical' as const, text: status.trouble };
    return status.trouble === '' ? own : [waiting, ...own];
  });
  alarms.sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity));
  return {
    cluster: answering.find(({ status }) => status.cluster !== '')?.status.cluster ?? '',
    meta_leader: mostNamed(answering.map(({ status }) => status.meta_leader)),
    nodes,
    partitions: {
      total: max((status) => status.partitions.cluster),
      leaderless: knowing.length > 0 ? Math.min(...leaderless) : Math.max(0, ...leaderless),
      under_replicated: sum((status) => status.partitions.under_replicated),
      follower_lag_max: max((status) => status.partitions.follower_lag_max),
    },
    consumers: {
      count: sum((status) => status.consumers.count),
      ack_pending: sum((status) => status.consumers.ack_pending),
      lag_max: max((status) => status.consumers.lag_max),
      stalled: sum((status) => status.consumers.stalled),
    },
    alarms,
    at_risk: answering.flatMap(({ name, status }) => status.at_risk.map((risk) => ({ node: name, ...risk }))),
    healthy: alarms.length === 0,
  };
}

/** Where to ask a peer. An address that only means its own machine is replaced by the one that other nodes reach it at. */
export function monitorUrlOf(peer: { monitorUrl: string; clusterUrl: string }, askedUrl: string): string {
  if (peer.monitorUrl === '') return '';
  const url = new URL(`http://${peer.monitorUrl}`);
  const asked = new URL(askedUrl);
  if (isLoopback(url.hostname) && !isLoopback(asked.hostname)) {
    const cluster = peer.clusterUrl === '' ? undefined : new URL(`http://${peer.clusterUrl}`);
    if (cluster !== undefined && !isLoopback(cluster.hostname)) url.hostname = cluster.hostname;
  }
  return url.origin;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || host.startsWith('127.');
}

function mostNamed(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) if (name !== '') counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? '';
}
