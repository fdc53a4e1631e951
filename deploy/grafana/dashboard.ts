// The Grafana dashboard as data: rows of panels, each with its queries. dashboards/flotilla.json is generated from it
// (UPDATE=1 npm test -- test/unit/monitoring), and the test of monitoring runs every query against a real Prometheus.
// Invariant: a query names only metrics that the table in src/monitoring has, or Prometheus' own.

export interface Query {
  expr: string;
  legend?: string;
  /** As it is now, as a table, instead of over time. */
  instant?: boolean;
}

export interface Panel {
  title: string;
  kind: 'stat' | 'timeseries' | 'table' | 'state-timeline' | 'bargauge';
  /** Of 24. */
  width: number;
  height?: number;
  unit?: string;
  description?: string;
  /** Value from which on it is red; below it is green. */
  redFrom?: number;
  /** Value below which it is red. */
  redBelow?: number;
  queries: readonly Query[];
}

export interface Row {
  title: string;
  panels: readonly Panel[];
}

const ON = 'server=~"$server"';

function quantiles(metric: string): Query[] {
  return [0.5, 0.99, 0.999].map((q) => ({
    expr: `histogram_quantile(${q}, sum by (le) (rate(${metric}_bucket{${ON}}[$__rate_interval])))`,
    legend: `p${q * 100}`,
  }));
}

/** A node that is cut off knows no leaders; where any other one does, they are there. */
const LEADERLESS =
  'min(flotilla_partitions_leaderless and flotilla_meta_has_leader == 1) or max(flotilla_partitions_leaderless)';
const perNode = (expr: string): Query => ({ expr, legend: '{{server}}' });
const rate = (metric: string): Query => perNode(`sum by (server) (rate(${metric}{${ON}}[$__rate_interval]))`);

export const ROWS: readonly Row[] = [
  {
    title: 'Overview: is anything at risk right now?',
    panels: [
      {
        title: 'Nodes that answer',
        kind: 'stat',
        width: 3,
        redBelow: 3,
        queries: [{ expr: 'sum(up{job="flotilla"})' }],
      },
      {
        title: 'Leaderless partitions',
        kind: 'stat',
        width: 3,
        redFrom: 1,
        queries: [{ expr: LEADERLESS }],
      },
      {
        title: 'Under-replicated partitions',
        kind: 'stat',
        width: 3,
        redFrom: 1,
        queries: [{ expr: 'sum(flotilla_partitions_under_replicated)' }],
      },
      {
        title: 'Digest mismatches',
        kind: 'stat',
        width: 3,
        redFrom: 1,
        queries: [{ expr: 'sum(flotilla_digest_mismatches_total)' }],
      },
      {
        title: 'Quarantined files',
        kind: 'stat',
        width: 3,
        redFrom: 1,
        queries: [{ expr: 'sum(flotilla_quarantined_files)' }],
      },
      {
        title: 'Least disk free',
        kind: 'stat',
        width: 3,
        unit: 'percentunit',
        redBelow: 0.1,
        queries: [{ expr: 'min(flotilla_disk_free_bytes / flotilla_disk_size_bytes)' }],
      },
      {
        title: 'Acknowledged per second',
        kind: 'stat',
        width: 3,
        unit: 'short',
        queries: [{ expr: 'sum(rate(flotilla_publishes_stored_total[$__rate_interval]))' }],
      },
      {
        title: 'Publish to ack, p99',
        kind: 'stat',
        width: 3,
        unit: 's',
        redFrom: 1,
        queries: [
          {
            expr: 'histogram_quantile(0.99, sum by (le) (rate(flotilla_publish_ack_seconds_bucket[$__rate_interval])))',
          },
        ],
      },
      {
        title: 'Alerts',
        kind: 'timeseries',
        width: 12,
        description: 'Firing alerts of deploy/prometheus/flotilla.rules.yml; what to do: docs/OPERATIONS.md',
        queries: [
          {
            expr: 'count by (alertname, severity) (ALERTS{alertstate="firing", alertname=~"Flotilla.*"})',
            legend: '{{severity}} {{alertname}}',
          },
        ],
      },
      {
        title: 'Acknowledged and refused',
        kind: 'timeseries',
        width: 12,
        queries: [
          { expr: 'sum(rate(flotilla_publishes_stored_total[$__rate_interval]))', legend: 'acknowledged' },
          { expr: 'sum by (reason) (rate(flotilla_publishes_refused_total[$__rate_interval]))', legend: '{{reason}}' },
        ],
      },
    ],
  },
  {
    title: 'Partition map',
    panels: [
      {
        title: 'Partitions led',
        kind: 'timeseries',
        width: 8,
        queries: [perNode(`flotilla_partitions_leading{${ON}}`)],
      },
      {
        title: 'Nodes that know no leader, per partition',
        kind: 'state-timeline',
        width: 8,
        description: 'Empty: every replica knows its leader.',
        queries: [
          {
            expr: 'sum by (stream, partition) (1 - flotilla_partition_has_leader{stream!="_other"})',
            legend: '{{stream}}/{{partition}}',
          },
        ],
      },
      {
        title: 'Follower lag (log entries)',
        kind: 'timeseries',
        width: 8,
        queries: [{ expr: 'topk(10, flotilla_partition_lag_entries)', legend: '{{stream}}/{{partition}}' }],
      },
      {
        title: 'Who leads what',
        kind: 'table',
        width: 12,
        queries: [{ expr: 'flotilla_partition_leading{stream!="_other"} == 1', instant: true }],
      },
      {
        title: 'Replicas in sync',
        kind: 'table',
        width: 12,
        queries: [
          {
            expr: 'flotilla_partition_replicas_in_sync{stream!="_other"} / flotilla_partition_replicas_expected',
            instant: true,
          },
        ],
      },
    ],
  },
  {
    title: 'Latency',
    panels: [
      {
        title: 'Publish to ack',
        kind: 'timeseries',
        width: 8,
        unit: 's',
        queries: quantiles('flotilla_publish_ack_seconds'),
      },
      {
        title: 'Sync of the log',
        kind: 'timeseries',
        width: 8,
        unit: 's',
        queries: quantiles('flotilla_wal_sync_seconds'),
      },
      {
        title: 'Sync of the log, p99 per node',
        kind: 'timeseries',
        width: 8,
        unit: 's',
        queries: [
          perNode(
            `histogram_quantile(0.99, sum by (server, le) (rate(flotilla_wal_sync_seconds_bucket{${ON}}[$__rate_interval])))`,
          ),
        ],
      },
      {
        title: 'Publishes that wait for their ack',
        kind: 'timeseries',
        width: 8,
        queries: [perNode(`flotilla_publishes_waiting{${ON}}`)],
      },
      { title: 'Syncs per second', kind: 'timeseries', width: 8, queries: [rate('flotilla_wal_syncs_total')] },
      {
        title: 'Bytes per sync',
        kind: 'timeseries',
        width: 8,
        unit: 'bytes',
        queries: [
          perNode(
            `sum by (server) (rate(flotilla_wal_batch_bytes_sum{${ON}}[$__rate_interval])) / sum by (server) (rate(flotilla_wal_batch_bytes_count{${ON}}[$__rate_interval]))`,
          ),
        ],
      },
    ],
  },
  {
    title: 'Durability',
    panels: [
      {
        title: 'Under-replicated and leaderless partitions',
        kind: 'timeseries',
        width: 8,
        queries: [
          { expr: 'sum(flotilla_partitions_under_replicated)', legend: 'under-replicated' },
          { expr: LEADERLESS, legend: 'leaderless' },
        ],
      },
      {
        title: 'Stored behind acknowledged, per stream',
        kind: 'timeseries',
        width: 8,
        description:
          'Last acknowledged seq minus last stored seq of each replica. Above 0 for longer than catching up takes: that replica lacks acknowledged messages.',
        queries: [
          {
            expr: 'topk(10, max by (account, stream, partition) (flotilla_stream_last_acked_seq) - on (account, stream, partition) group_right flotilla_stream_last_seq)',
            legend: '{{stream}}/{{partition}} on {{server}}',
          },
        ],
      },
      {
        title: 'Damage',
        kind: 'timeseries',
        width: 8,
        queries: [
          perNode(`flotilla_damaged_ranges{${ON}}`),
          { expr: `flotilla_ranges_damaged_total{${ON}}`, legend: '{{server}} found' },
          { expr: `flotilla_ranges_repaired_total{${ON}}`, legend: '{{server}} repaired' },
        ],
      },
      {
        title: 'Ends by a failed disk or a broken invariant',
        kind: 'timeseries',
        width: 8,
        queries: [{ expr: `flotilla_fatal_errors_total{${ON}}`, legend: '{{server}} {{kind}}' }],
      },
      {
        title: 'Disk free',
        kind: 'timeseries',
        width: 8,
        unit: 'bytes',
        queries: [perNode(`flotilla_disk_free_bytes{${ON}}`)],
      },
      {
        title: 'Log on disk',
        kind: 'timeseries',
        width: 8,
        unit: 'bytes',
        queries: [perNode(`flotilla_wal_size_bytes{${ON}}`)],
      },
      { title: 'Segments', kind: 'timeseries', width: 8, queries: [perNode(`flotilla_wal_segments{${ON}}`)] },
      {
        title: 'Written to the log',
        kind: 'timeseries',
        width: 8,
        unit: 'Bps',
        queries: [
          rate('flotilla_wal_written_bytes_total'),
          {
            expr: `sum by (server) (rate(flotilla_wal_copied_forward_bytes_total{${ON}}[$__rate_interval]))`,
            legend: '{{server}} copied by compaction',
          },
        ],
      },
      {
        title: 'Clocks',
        kind: 'timeseries',
        width: 8,
        unit: 's',
        queries: [
          { expr: 'max(flotilla_cluster_time_spread_seconds)', legend: 'spread' },
          { expr: `flotilla_clock_skew_seconds{${ON}}`, legend: '{{server}} off the median' },
        ],
      },
    ],
  },
  {
    title: 'Consumers',
    panels: [
      {
        title: 'Delivered, again, acked',
        kind: 'timeseries',
        width: 8,
        queries: [
          { expr: `sum(rate(flotilla_delivered_messages_total{${ON}}[$__rate_interval]))`, legend: 'delivered' },
          { expr: `sum(rate(flotilla_redelivered_messages_total{${ON}}[$__rate_interval]))`, legend: 'again' },
          { expr: `sum(rate(flotilla_acks_total{${ON}}[$__rate_interval]))`, legend: 'acks' },
          { expr: `sum(rate(flotilla_naks_total{${ON}}[$__rate_interval]))`, legend: 'naks' },
          { expr: `sum(rate(flotilla_deliveries_given_up_total{${ON}}[$__rate_interval]))`, legend: 'given up' },
        ],
      },
      {
        title: 'Lag (messages)',
        kind: 'timeseries',
        width: 8,
        queries: [{ expr: 'topk(10, flotilla_consumer_lag_messages)', legend: '{{stream}} {{consumer}}' }],
      },
      {
        title: 'Messages that wait for their ack',
        kind: 'timeseries',
        width: 8,
        queries: [{ expr: 'topk(10, flotilla_consumer_ack_pending)', legend: '{{stream}} {{consumer}}' }],
      },
      {
        title: 'Consumers without acks for minutes',
        kind: 'timeseries',
        width: 8,
        queries: [perNode(`flotilla_consumers_stalled{${ON}}`)],
      },
      {
        title: 'Waiting pull requests',
        kind: 'timeseries',
        width: 8,
        queries: [perNode(`flotilla_waiting_pulls{${ON}}`)],
      },
      {
        title: 'Connections cut as too slow',
        kind: 'timeseries',
        width: 8,
        queries: [perNode(`flotilla_slow_consumers_total{${ON}}`)],
      },
    ],
  },
  {
    title: 'Node internals',
    panels: [
      { title: 'CPU', kind: 'timeseries', width: 8, unit: 'percentunit', queries: [rate('process_cpu_seconds_total')] },
      {
        title: 'Memory',
        kind: 'timeseries',
        width: 8,
        unit: 'bytes',
        queries: [
          perNode(`process_resident_memory_bytes{${ON}}`),
          { expr: `nodejs_heap_size_used_bytes{${ON}}`, legend: '{{server}} heap' },
        ],
      },
      {
        title: 'Event loop delay',
        kind: 'timeseries',
        width: 8,
        unit: 's',
        queries: [
          { expr: `nodejs_eventloop_lag_p99_seconds{${ON}}`, legend: '{{server}} p99' },
          { expr: `nodejs_eventloop_lag_max_seconds{${ON}}`, legend: '{{server}} longest' },
        ],
      },
      {
        title: 'Garbage collection (share of time)',
        kind: 'timeseries',
        width: 8,
        unit: 'percentunit',
        queries: [rate('nodejs_gc_duration_seconds_sum')],
      },
      {
        title: 'Committed and not applied (entries)',
        kind: 'timeseries',
        width: 8,
        queries: [perNode(`flotilla_apply_lag_entries_max{${ON}}`)],
      },
      {
        title: 'Elections',
        kind: 'timeseries',
        width: 8,
        queries: [
          { expr: `flotilla_elections_started_total{${ON}}`, legend: '{{server}} started' },
          { expr: `flotilla_elections_won_total{${ON}}`, legend: '{{server}} won' },
        ],
      },
      {
        title: 'Snapshot transfers',
        kind: 'timeseries',
        width: 8,
        queries: [{ expr: `flotilla_snapshot_transfers_total{${ON}}`, legend: '{{server}} {{outcome}}' }],
      },
      {
        title: 'Between the nodes',
        kind: 'timeseries',
        width: 8,
        unit: 'Bps',
        queries: [
          {
            expr: `sum by (server, direction) (rate(flotilla_link_bytes_total{${ON}}[$__rate_interval]))`,
            legend: '{{server}} {{direction}}',
          },
        ],
      },
      {
        title: 'Links up',
        kind: 'timeseries',
        width: 8,
        queries: [perNode(`flotilla_peers_connected{${ON}}`)],
      },
      {
        title: 'Clients and subscriptions',
        kind: 'timeseries',
        width: 8,
        queries: [
          { expr: `flotilla_connections{${ON}}`, legend: '{{server}} clients' },
          { expr: `flotilla_subscriptions{${ON}}`, legend: '{{server}} subscriptions' },
        ],
      },
      {
        title: 'Messages from and to clients',
        kind: 'timeseries',
        width: 8,
        queries: [
          { expr: `sum(rate(flotilla_received_messages_total{${ON}}[$__rate_interval]))`, legend: 'from' },
          { expr: `sum(rate(flotilla_sent_messages_total{${ON}}[$__rate_interval]))`, legend: 'to' },
        ],
      },
      { title: 'Up', kind: 'timeseries', width: 8, unit: 's', queries: [perNode(`flotilla_uptime_seconds{${ON}}`)] },
    ],
  },
];

// biome-ignore lint/suspicious/noTemplateCurlyInString: Grafana's own placeholder.
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };
const COLUMNS = 24;

function panelJson(panel: Panel, id: number, x: number, y: number): object {
  const { title, kind, width, description, unit = 'short' } = panel;
  const red = { color: 'red', value: panel.redFrom ?? null };
  const green = { color: 'green', value: null };
  const steps =
    panel.redFrom !== undefined
      ? [green, red]
      : panel.redBelow !== undefined
        ? [
            { color: 'red', value: null },
            { color: 'green', value: panel.redBelow },
          ]
        : [green];
  return {
    id,
    type: kind,
    title,
    description,
    datasource: DATASOURCE,
    gridPos: { x, y, w: width, h: heightOf(panel) },
    fieldConfig: { defaults: { unit, thresholds: { mode: 'absolute', steps }, noValue: '0' }, overrides: [] },
    options: kind === 'stat' ? { reduceOptions: { calcs: ['lastNotNull'] }, colorMode: 'background' } : {},
    targets: panel.queries.map(({ expr, legend, instant }, i) => ({
      refId: String.fromCharCode(65 + i),
      datasource: DATASOURCE,
      expr,
      legendFormat: legend ?? '',
      instant: instant === true,
      range: instant !== true,
      format: instant ? 'table' : 'time_series',
    })),
  };
}

function heightOf({ kind, height }: Panel): number {
  return height ?? (kind === 'stat' ? 4 : 8);
}

export function dashboardJson(): string {
  const panels: object[] = [];
  let id = 1;
  let y = 0;
  for (const row of ROWS) {
    panels.push({
      id: id++,
      type: 'row',
      title: row.title,
      collapsed: false,
      gridPos: { x: 0, y: y++, w: COLUMNS, h: 1 },
    });
    let x = 0;
    let tallest = 0;
    for (const panel of row.panels) {
      if (x + panel.width > COLUMNS) {
        x = 0;
        y += tallest;
        tallest = 0;
      }
      panels.push(panelJson(panel, id++, x, y));
      x += panel.width;
      tallest = Math.max(tallest, heightOf(panel));
    }
    y += tallest;
  }
  const dashboard = {
    uid: 'flotilla',
    title: 'Flotilla',
    tags: ['flotilla'],
    schemaVersion: 39,
    version: 1,
    refresh: '5s',
    time: { from: 'now-15m', to: 'now' },
    templating: {
      list: [
        { name: 'datasource', type: 'datasource', query: 'prometheus', label: 'Prometheus' },
        {
          name: 'server',
          type: 'query',
          label: 'node',
          datasource: DATASOURCE,
          query: { query: 'label_values(flotilla_info, server)', refId: 'server' },
          refresh: 2,
          includeAll: true,
          multi: true,
          allValue: '.*',
          current: { text: 'All', value: '$__all' },
        },
      ],
    },
    panels,
  };
  return `${JSON.stringify(dashboard, undefined, 2)}\n`;
}
