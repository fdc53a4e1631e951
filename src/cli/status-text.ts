// The cluster's picture as lines of a terminal: tables of plain text. Used by `flotilla status` and `flotilla top`. Pure.
import type { Counter, NodeStatus } from '../monitoring/status.ts';
import type { ClusterStatus, NodeRow } from './cluster-status.ts';

const RISKS_SHOWN = 10;

/** What a node did per second between two looks; undefined before there are two. */
export type Rates = Partial<Record<Counter, number>> | undefined;

export function ratesOf(before: NodeStatus | undefined, now: NodeStatus, elapsedS: number): Rates {
  // After a restart all counters begin again.
  if (before === undefined || elapsedS <= 0 || now.uptime_seconds < before.uptime_seconds) return undefined;
  const rates: Rates = {};
  for (const key of Object.keys(now.counters) as Counter[])
    rates[key] = Math.max(0, now.counters[key] - before.counters[key]) / elapsedS;
  return rates;
}

export function statusLines(status: ClusterStatus, rates?: ReadonlyMap<string, Rates>): string[] {
  const answering = status.nodes.filter((node) => node.status !== undefined).length;
  const { partitions, consumers } = status;
  return [
    `${status.cluster === '' ? 'flotilla' : `cluster ${status.cluster}`}: ${answering} of ${status.nodes.length} nodes answer` +
      `; ${status.meta_leader === '' ? 'NO META LEADER' : `meta leader ${status.meta_leader}`}`,
    `partitions ${partitions.total}: ${partitions.leaderless} without leader, ${partitions.under_replicated} under-replicated, ` +
      `follower lag ${partitions.follower_lag_max}; consumers ${consumers.count}: ${consumers.ack_pending} messages wait for acks, ` +
      `${consumers.stalled} stuck`,
    '',
    ...table(NODE_COLUMNS, status.nodes),
    ...(rates === undefined ? [] : ['', ...rateTable(status, rates)]),
    '',
    ...alarmLines(status),
  ];
}

interface Column<T> {
  title: string;
  left?: boolean;
  text(row: T): string;
}

const of =
  (read: (status: NodeStatus) => string | number) =>
  ({ status }: NodeRow): string =>
    status === undefined ? '' : String(read(status));

const NODE_COLUMNS: readonly Column<NodeRow>[] = [
  { title: 'node', left: true, text: (row) => row.name },
  { title: 'state', left: true, text: stateOf },
  { title: 'leads', text: of((s) => s.partitions.leading) },
  { title: 'replicas', text: of((s) => s.partitions.replicas) },
  { title: 'under-repl', text: of((s) => s.partitions.under_replicated) },
  { title: 'lag', text: of((s) => s.partitions.follower_lag_max) },
  { title: 'unapplied', text: of((s) => s.partitions.apply_lag_max) },
  { title: 'clients', text: of((s) => s.connections) },
  { title: 'log', text: of((s) => bytesText(s.log.bytes)) },
  { title: 'disk free', text: of((s) => bytesText(s.disk.free_bytes)) },
  { title: 'memory', text: of((s) => bytesText(s.memory_bytes)) },
  { title: 'up', text: of((s) => durationText(s.uptime_seconds)) },
];

function stateOf({ silent, status }: NodeRow): string {
  if (status === undefined) return silent ? 'connected' : 'DOWN';
  if (status.trouble !== '') return 'STARTING';
  return status.alarms.length > 0 ? 'AT RISK' : 'ok';
}

interface RateRow {
  name: string;
  rates: Rates;
}

const rate =
  (key: Counter) =>
  ({ rates }: RateRow): string =>
    rates === undefined ? '-' : countText(rates[key] ?? 0);

const RATE_COLUMNS: readonly Column<RateRow>[] = [
  { title: 'per second', left: true, text: (row) => row.name },
  { title: 'msgs in', text: rate('received_messages') },
  { title: 'msgs out', text: rate('sent_messages') },
  { title: 'stored', text: rate('publishes_stored') },
  { title: 'refused', text: rate('publishes_refused') },
  { title: 'delivered', text: rate('delivered') },
  { title: 'again', text: rate('redelivered') },
  { title: 'acks', text: rate('acks') },
  { title: 'log', text: ({ rates }) => (rates === undefined ? '-' : bytesText(rates.log_bytes ?? 0)) },
  { title: 'syncs', text: rate('syncs') },
  {
    title: 'ms/sync',
    text: ({ rates }) => (rates?.syncs ? (((rates.sync_seconds ?? 0) / rates.syncs) * 1000).toFixed(2) : '-'),
  },
];

function rateTable(status: ClusterStatus, rates: ReadonlyMap<string, Rates>): string[] {
  const rows = status.nodes
    .filter((node) => node.status !== undefined)
    .map(({ name }) => ({ name, rates: rates.get(name) }));
  return table(RATE_COLUMNS, rows);
}

function table<T>(columns: readonly Column<T>[], rows: readonly T[]): string[] {
  const cells = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ text }) => text(row)))];
  const widths = columns.map((_, i) => Math.max(...cells.map((line) => line[i].length)));
  return cells.map((line) =>
    line
      .map((cell, i) => (columns[i].left ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}

function alarmLines(status: ClusterStatus): string[] {
  if (status.healthy) return ['Nothing is at risk.'];
  const lines = status.alarms.map(
    ({ severity, node, name, text }) => `${severity.toUpperCase().padEnd(8)}  ${node}: ${text} (${name})`,
  );
  for (const { node, account, stream, partition, what } of status.at_risk.slice(0, RISKS_SHOWN))
    lines.push(`          ${node}: ${account} ${stream}/${partition}: ${what}`);
  const more = status.at_risk.length - RISKS_SHOWN;
  if (more > 0) lines.push(`          and ${more} more`);
  return lines;
}

export function bytesText(bytes: number): string {
  if (!Number.isFinite(bytes)) return '?';
  const units = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

export function countText(count: number): string {
  return count >= 10 || count === 0 ? Math.round(count).toLocaleString('en-US') : count.toFixed(1);
}

export function durationText(seconds: number): string {
  const parts: [number, string][] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'm'],
  ];
  const at = parts.findIndex(([size]) => seconds >= size);
  if (at < 0) return `${Math.floor(seconds)}s`;
  const [size, unit] = parts[at];
  const [nextSize, nextUnit] = parts[at + 1] ?? [1, 's'];
  return `${Math.floor(seconds / size)}${unit}${Math.floor((seconds % size) / nextSize)}${nextUnit}`;
}
