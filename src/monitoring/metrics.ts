// /metrics: Prometheus text by prom-client. The hot path counts in plain numbers and arrays; they are read here, on scrape
// (DESIGN §11). `METRICS` is the one list of what there is; docs/METRICS.md is generated from it.
import { collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client';
import { LATENCY_BUCKETS_MS } from '../jetstream/publish-router.ts';
import type { NodeView, PartitionView } from './types.ts';

/** Series per stream and per consumer beyond this are summed under the label value `_rest`. */
const SERIES_MAX = 1000;

type Labels = Record<string, string | number>;
type Sample = { labels: Labels; value: number };

interface MetricSpec {
  name: string;
  kind: 'counter' | 'gauge';
  help: string;
  labels: readonly string[];
  read(view: NodeView): Sample[];
}

const one = (value: number | undefined): Sample[] => (value === undefined ? [] : [{ labels: {}, value }]);
const s = (ms: number | undefined): number | undefined => (ms === undefined ? undefined : ms / 1000);

function perPartition(view: NodeView, read: (partition: PartitionView) => number | undefined): Sample[] {
  const samples: Sample[] = [];
  let rest = 0;
  for (const partition of view.partitions()) {
    const value = read(partition);
    if (value === undefined) continue;
    if (samples.length < SERIES_MAX) {
      samples.push({
        labels: { account: partition.account, stream: partition.stream, partition: partition.partition },
        value,
      });
    } else {
      rest += value;
    }
  }
  if (samples.length === SERIES_MAX && rest > 0)
    samples.push({ labels: { account: '_rest', stream: '_rest', partition: 0 }, value: rest });
  return samples;
}

const PARTITION_LABELS = ['account', 'stream', 'partition'] as const;

export const METRICS: readonly MetricSpec[] = [
  {
    name: 'flotilla_connections',
    kind: 'gauge',
    help: 'Open client connections',
    labels: [],
    read: (v) => one(v.traffic().connections),
  },
  {
    name: 'flotilla_connections_total',
    kind: 'counter',
    help: 'Client connections accepted',
    labels: [],
    read: (v) => one(v.traffic().totalConnections),
  },
  {
    name: 'flotilla_subscriptions',
    kind: 'gauge',
    help: 'Subscriptions of clients',
    labels: [],
    read: (v) => one(v.traffic().subscriptions),
  },
  {
    name: 'flotilla_received_messages_total',
    kind: 'counter',
    help: 'Messages from clients',
    labels: [],
    read: (v) => one(v.traffic().inMsgs),
  },
  {
    name: 'flotilla_sent_messages_total',
    kind: 'counter',
    help: 'Messages to clients',
    labels: [],
    read: (v) => one(v.traffic().outMsgs),
  },
  {
    name: 'flotilla_received_bytes_total',
    kind: 'counter',
    help: 'Payload and header bytes from clients',
    labels: [],
    read: (v) => one(v.traffic().inBytes),
  },
  {
    name: 'flotilla_sent_bytes_total',
    kind: 'counter',
    help: 'Payload and header bytes to clients',
    labels: [],
    read: (v) => one(v.traffic().outBytes),
  },
  {
    name: 'flotilla_slow_consumers_total',
    kind: 'counter',
    help: 'Connections cut because they did not take what was sent',
    labels: [],
    read: (v) => one(v.traffic().slowConsumers),
  },
  {
    name: 'flotilla_routed_messages_total',
    kind: 'counter',
    help: 'Core messages between nodes',
    labels: ['direction'],
    read: (v) => [
      { labels: { direction: 'in' }, value: v.traffic().routedIn },
      { labels: { direction: 'out' }, value: v.traffic().routedOut },
    ],
  },
  {
    name: 'flotilla_publishes_stored_total',
    kind: 'counter',
    help: 'Publishes that entered here and were acknowledged',
    labels: [],
    read: (v) => one(v.stats()?.publish.stored),
  },
  {
    name: 'flotilla_publishes_forwarded_total',
    kind: 'counter',
    help: 'Publishes sent on to another leader',
    labels: [],
    read: (v) => one(v.stats()?.publish.forwarded),
  },
  {
    name: 'flotilla_publishes_refused_total',
    kind: 'counter',
    help: 'Publishes refused, by JetStream error code',
    labels: ['err_code'],
    read: (v) =>
      [...(v.stats()?.publish.refused ?? [])].map(([code, value]) => ({ labels: { err_code: code }, value })),
  },
  {
    name: 'flotilla_publishes_waiting',
    kind: 'gauge',
    help: 'Publishes that wait for their acknowledgement',
    labels: [],
    read: (v) => one(v.stats()?.publishWaiting),
  },
  {
    name: 'flotilla_wal_syncs_total',
    kind: 'counter',
    help: 'fdatasync calls of the log',
    labels: [],
    read: (v) => one(v.stats()?.wal.syncs),
  },
  {
    name: 'flotilla_wal_sync_seconds_total',
    kind: 'counter',
    help: 'Time spent in them',
    labels: [],
    read: (v) => one(s(v.stats()?.wal.syncMsTotal)),
  },
  {
    name: 'flotilla_wal_sync_seconds_max',
    kind: 'gauge',
    help: 'Longest of them',
    labels: [],
    read: (v) => one(s(v.stats()?.wal.syncMsMax)),
  },
  {
    name: 'flotilla_wal_records_total',
    kind: 'counter',
    help: 'Records written to the log',
    labels: [],
    read: (v) => one(v.stats()?.wal.recordsWritten),
  },
  {
    name: 'flotilla_wal_written_bytes_total',
    kind: 'counter',
    help: 'Bytes written to the log',
    labels: [],
    read: (v) => one(v.stats()?.wal.bytesWritten),
  },
  {
    name: 'flotilla_wal_bytes',
    kind: 'gauge',
    help: 'Size of the log on disk',
    labels: [],
    read: (v) => one(v.stats()?.wal.bytes),
  },
  {
    name: 'flotilla_wal_segments',
    kind: 'gauge',
    help: 'Segments of the log',
    labels: [],
    read: (v) => one(v.stats()?.wal.segments),
  },
  {
    name: 'flotilla_wal_last_batch_records',
    kind: 'gauge',
    help: 'Records of the latest group commit',
    labels: [],
    read: (v) => one(v.stats()?.wal.lastBatchRecords),
  },
  {
    name: 'flotilla_groups',
    kind: 'gauge',
    help: 'Raft groups on this node',
    labels: [],
    read: (v) => one(v.stats()?.host.groups),
  },
  {
    name: 'flotilla_groups_leading',
    kind: 'gauge',
    help: 'Raft groups that this node leads',
    labels: [],
    read: (v) => one(v.stats()?.host.leading),
  },
  {
    name: 'flotilla_elections_started_total',
    kind: 'counter',
    help: 'Elections that this node started',
    labels: [],
    read: (v) => one(v.stats()?.host.electionsStarted),
  },
  {
    name: 'flotilla_elections_won_total',
    kind: 'counter',
    help: 'Elections that it won',
    labels: [],
    read: (v) => one(v.stats()?.host.electionsWon),
  },
  {
    name: 'flotilla_applied_entries_total',
    kind: 'counter',
    help: 'Log entries applied',
    labels: [],
    read: (v) => one(v.stats()?.host.appliedEntries),
  },
  {
    name: 'flotilla_snapshots_total',
    kind: 'counter',
    help: 'Snapshot transfers',
    labels: ['direction'],
    read: (v) => {
      const host = v.stats()?.host;
      return host === undefined
        ? []
        : [
            { labels: { direction: 'sent' }, value: host.snapshotsSent },
            { labels: { direction: 'installed' }, value: host.snapshotsInstalled },
          ];
    },
  },
  {
    name: 'flotilla_meta_has_leader',
    kind: 'gauge',
    help: '1 when this node knows the leader of the meta group',
    labels: [],
    read: (v) => {
      const meta = v.meta();
      return one(meta === undefined ? undefined : Number(meta.leader !== ''));
    },
  },
  {
    name: 'flotilla_partition_has_leader',
    kind: 'gauge',
    help: '1 when the leader is known here',
    labels: PARTITION_LABELS,
    read: (v) => perPartition(v, (p) => Number(p.leader !== '')),
  },
  {
    name: 'flotilla_partition_leading',
    kind: 'gauge',
    help: '1 on the leader',
    labels: PARTITION_LABELS,
    read: (v) => perPartition(v, (p) => Number(p.leading)),
  },
  {
    name: 'flotilla_partition_term',
    kind: 'gauge',
    help: 'Raft term',
    labels: PARTITION_LABELS,
    read: (v) => perPartition(v, (p) => p.raft?.term),
  },
  {
    name: 'flotilla_partition_commit_index',
    kind: 'gauge',
    help: 'Committed index',
    labels: PARTITION_LABELS,
    read: (v) => perPartition(v, (p) => p.raft?.commit),
  },
  {
    name: 'flotilla_partition_applied_index',
    kind: 'gauge',
    help: 'Applied index',
    labels: PARTITION_LABELS,
    read: (v) => perPartition(v, (p) => p.raft?.applied),
  },
  {
    name: 'flotilla_partition_lag',
    kind: 'gauge',
    help: 'On the leader: entries that the slowest replica lacks',
    labels: PARTITION_LABELS,
    read: (v) => perPartition(v, (p) => lagOf(p)),
  },
  {
    name: 'flotilla_stream_messages',
    kind: 'gauge',
    help: 'Messages stored (this replica)',
    labels: PARTITION_LABELS,
    read: (v) => perPartition(v, (p) => p.state.messages),
  },
  {
    name: 'flotilla_stream_bytes',
    kind: 'gauge',
    help: 'Bytes stored (this replica)',
    labels: PARTITION_LABELS,
    read: (v) => perPartition(v, (p) => p.state.bytes),
  },
  {
    name: 'flotilla_stream_last_seq',
    kind: 'gauge',
    help: 'Last sequence (this replica)',
    labels: PARTITION_LABELS,
    read: (v) => perPartition(v, (p) => p.state.last_seq),
  },
  {
    name: 'flotilla_stream_consumers',
    kind: 'gauge',
    help: 'Consumers',
    labels: PARTITION_LABELS,
    read: (v) => perPartition(v, (p) => p.state.consumer_count),
  },
];

function lagOf(partition: PartitionView): number | undefined {
  const { raft } = partition;
  if (!partition.leading || raft === undefined) return undefined;
  return Math.max(0, ...raft.progress.map((member) => raft.lastIndex - member.match));
}

const LATENCY_NAME = 'flotilla_publish_ack_seconds';
const LATENCY_HELP = 'From a publish that entered here to its acknowledgement';

/** A registry whose metrics read `view` on each scrape. */
export function createMetrics(view: NodeView): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ server: view.identity.serverName });
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 20 });
  for (const spec of METRICS) {
    const gauge = new Gauge({
      name: spec.name,
      help: spec.help,
      labelNames: [...spec.labels],
      registers: [registry],
      collect() {
        this.reset();
        for (const { labels, value } of spec.read(view)) this.set(labels, value);
      },
    });
    if (spec.kind === 'counter') asType(gauge, 'counter');
  }
  registry.registerMetric(latencyHistogram(view));
  return registry;
}

/** prom-client's Counter cannot be set to what was counted elsewhere; the text format only needs the type's name. */
function asType(gauge: Gauge, type: string): void {
  const get = gauge.get.bind(gauge);
  gauge.get = async () => ({ ...(await get()), type: type as never });
}

function latencyHistogram(view: NodeView): Metric {
  const gauge = new Gauge({ name: LATENCY_NAME, help: LATENCY_HELP, labelNames: ['le'], registers: [] });
  const get = gauge.get.bind(gauge);
  gauge.get = async () => {
    const stats = view.stats()?.publish;
    const values: { value: number; labels: Labels; metricName: string }[] = [];
    let count = 0;
    if (stats !== undefined) {
      for (let i = 0; i <= LATENCY_BUCKETS_MS.length; i++) {
        count += stats.latencyCounts[i];
        const le = i === LATENCY_BUCKETS_MS.length ? '+Inf' : String(LATENCY_BUCKETS_MS[i] / 1000);
        values.push({ value: count, labels: { le }, metricName: `${LATENCY_NAME}_bucket` });
      }
      values.push({ value: stats.latencyMsSum / 1000, labels: {}, metricName: `${LATENCY_NAME}_sum` });
      values.push({ value: count, labels: {}, metricName: `${LATENCY_NAME}_count` });
    }
    return { ...(await get()), type: 'histogram' as never, values: values as never };
  };
  return gauge;
}
