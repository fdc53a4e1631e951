// Every metric of /metrics in one table: name, kind, unit in the name, help, and how it is read from the node's plain counters. Used by
// scrape.ts (what is served) and metrics-doc.ts (docs/METRICS.md), and by tests that hold rules and dashboards against it.
// Invariants: Prometheus' naming (base units, `_total` for counters); a counter never goes back while the process lives; nothing here
// counts on demand.
import { BATCH_BYTES_BUCKETS, SYNC_MS_BUCKETS } from '../../cluster/wal/stats.ts';
import { LATENCY_BUCKETS_MS } from '../jetstream/publish-router.ts';
import type { FatalRecord } from '../kit/fatal-record.ts';
import { FLOTILLA_VERSION } from '../kit/version.ts';
import { errorText } from '../stream/errors.ts';
import type { ConsumerPosition } from '../stream/types.ts';
import type { Census } from './census.ts';
import type { NodeStats, NodeView, ReplicaSample, TrafficCounts } from './types.ts';

export type Labels = Record<string, string>;
export interface Sample {
  labels: Labels;
  value: number;
}

/** Everything that metrics of the node as a whole are read from; gathered once per scrape. */
export interface NodeSample {
  view: NodeView;
  traffic: TrafficCounts;
  /** Undefined without JetStream. */
  stats: NodeStats | undefined;
  census: Census;
  disk: { sizeBytes: number; quarantinedFiles: number };
  fatal: FatalRecord;
}

export type Kind = 'counter' | 'gauge' | 'histogram';

export interface NodeMetric {
  name: string;
  kind: 'counter' | 'gauge';
  help: string;
  labels: readonly string[];
  /** A number for a metric without labels; undefined: not known on this node. */
  read(n: NodeSample): number | Sample[] | undefined;
}

export interface HistogramMetric {
  name: string;
  help: string;
  /** Upper bounds in the unit of the name. */
  bounds: readonly number[];
  /** One count more than bounds. */
  read(n: NodeSample): { counts: ArrayLike<number>; sum: number } | undefined;
}

/** One series per partition or per consumer. What lies beyond the cap is told under `stream="_other"`: its sum or its maximum, or nothing
 * where neither says something. */
export interface SeriesMetric<T> {
  name: string;
  kind: 'counter' | 'gauge';
  help: string;
  other: 'sum' | 'max' | 'none';
  /** Undefined: no such series on this replica. */
  read(at: T): number | undefined;
}

export interface ConsumerSample {
  at: ConsumerPosition;
  lag: number;
}

export const PARTITION_LABELS = ['account', 'stream', 'partition'] as const;
export const CONSUMER_LABELS = [...PARTITION_LABELS, 'consumer'] as const;
/** The label values of what is beyond the cap. */
export const OTHER = '_other';

const ms = (value: number | undefined): number | undefined => (value === undefined ? undefined : value / 1e3);
const us = (value: number | undefined): number | undefined => (value === undefined ? undefined : value / 1e6);

function byDirection(counts: Record<string, number> | undefined): Sample[] | undefined {
  return counts && Object.entries(counts).map(([direction, value]) => ({ labels: { direction }, value }));
}

function counter(name: string, help: string, read: (n: NodeSample) => number | undefined): NodeMetric {
  return { name, kind: 'counter', help, labels: [], read };
}

function gauge(name: string, help: string, read: (n: NodeSample) => number | undefined): NodeMetric {
  return { name, kind: 'gauge', help, labels: [], read };
}

function labelled(
  name: string,
  kind: 'counter' | 'gauge',
  help: string,
  label: string | readonly string[],
  read: (n: NodeSample) => Sample[] | undefined,
): NodeMetric {
  return { name, kind, help, labels: typeof label === 'string' ? [label] : label, read };
}

function refusals(n: NodeSample): Sample[] | undefined {
  if (n.stats === undefined) return undefined;
  const { refused, leaderless } = n.stats.publish;
  const samples = [...refused].map(([code, value]) => ({
    labels: { err_code: String(code), reason: errorText(code) },
    value,
  }));
  samples.push({ labels: { err_code: '503', reason: 'no leader in time' }, value: leaderless });
  return samples;
}

export const NODE_METRICS: readonly NodeMetric[] = [
  // Clients
  gauge('flotilla_connections', 'Open client connections', (n) => n.traffic.connections),
  counter('flotilla_connections_total', 'Client connections accepted', (n) => n.traffic.totalConnections),
  gauge('flotilla_subscriptions', 'Subscriptions of clients', (n) => n.traffic.subscriptions),
  counter('flotilla_received_messages_total', 'Messages from clients', (n) => n.traffic.inMsgs),
  counter('flotilla_sent_messages_total', 'Messages to clients', (n) => n.traffic.outMsgs),
  counter('flotilla_received_bytes_total', 'Payload and header bytes from clients', (n) => n.traffic.inBytes),
  counter('flotilla_sent_bytes_total', 'Payload and header bytes to clients', (n) => n.traffic.outBytes),
  counter(
    'flotilla_slow_consumers_total',
    'Connections cut because they did not take what was sent',
    (n) => n.traffic.slowConsumers,
  ),
  labelled('flotilla_routed_messages_total', 'counter', 'Core messages between nodes', 'direction', (n) =>
    byDirection({ in: n.traffic.routedIn, out: n.traffic.routedOut }),
  ),
  counter(
    'flotilla_routed_messages_lost_total',
    'Core messages for which the link to another node had no room',
    (n) => n.traffic.routedLost,
  ),
  counter('flotilla_api_requests_total', '$JS.API requests answered by this node', (n) => n.view.api().total),
  counter('flotilla_api_errors_total', 'Of these, answered with an error', (n) => n.view.api().errors),

  // Publishes
  counter(
    'flotilla_publishes_stored_total',
    'Publishes that entered here and were acknowledged',
    (n) => n.stats?.publish.stored,
  ),
  counter(
    'flotilla_publishes_forwarded_total',
    'Publishes sent on to the leader on another node',
    (n) => n.stats?.publish.forwarded,
  ),
  labelled(
    'flotilla_publishes_refused_total',
    'counter',
    'Publishes that entered here and were refused',
    ['err_code', 'reason'],
    refusals,
  ),
  gauge('flotilla_publishes_waiting', 'Publishes that wait for their acknowledgement', (n) => n.stats?.publishWaiting),

  // Replication
  gauge('flotilla_partitions', 'Partitions of the whole cluster', (n) => n.census.partitionsTotal),
  gauge('flotilla_partition_replicas', 'Partitions with a replica on this node', (n) => n.census.replicas),
  gauge('flotilla_partitions_leading', 'Partitions led by this node', (n) => n.census.leading),
  gauge(
    'flotilla_partitions_under_replicated',
    'Partitions led by this node with fewer replicas in sync than configured',
    (n) => n.census.underReplicated,
  ),
  gauge(
    'flotilla_partitions_leaderless',
    'Partitions of the cluster without a leader that this node knows',
    (n) => n.census.leaderless,
  ),
  gauge(
    'flotilla_follower_lag_entries_max',
    'Log entries that the slowest replica of any partition led here lacks',
    (n) => n.census.followerLagMax,
  ),
  gauge(
    'flotilla_apply_lag_entries_max',
    'Committed entries that this node has not applied, in its worst partition',
    (n) => n.census.applyLagMax,
  ),
  gauge('flotilla_meta_has_leader', '1 when this node knows the leader of the meta group', (n) => {
    const meta = n.view.meta();
    return meta === undefined ? undefined : Number(meta.leader !== '');
  }),
  gauge('flotilla_meta_leading', '1 on the node that leads the meta group', (n) => {
    const meta = n.view.meta();
    return meta === undefined ? undefined : Number(meta.leader === n.view.identity.serverName);
  }),
  gauge(
    'flotilla_peers_connected',
    'Other nodes with a link up',
    (n) => n.view.peers().filter((peer) => peer.connected).length,
  ),
  gauge('flotilla_peers_expected', 'Other nodes of the cluster, up or not', (n) => n.view.peers().length),
  labelled(
    'flotilla_link_bytes_total',
    'counter',
    'Bytes between nodes, heartbeats and handshakes included',
    'direction',
    (n) => {
      const links = n.view.links();
      return byDirection(links && { in: links.bytesIn, out: links.bytesOut });
    },
  ),
  labelled('flotilla_link_changes_total', 'counter', 'Links that came up and that were lost', 'change', (n) => {
    const links = n.view.links();
    return (
      links && [
        { labels: { change: 'up' }, value: links.linksUp },
        { labels: { change: 'down' }, value: links.linksDown },
      ]
    );
  }),
  gauge('flotilla_groups', 'Raft groups on this node', (n) => n.stats?.host.groups),
  gauge('flotilla_groups_leading', 'Raft groups that this node leads', (n) => n.stats?.host.leading),
  counter(
    'flotilla_elections_started_total',
    'Elections that this node started',
    (n) => n.stats?.host.electionsStarted,
  ),
  counter('flotilla_elections_won_total', 'Elections that it won', (n) => n.stats?.host.electionsWon),
  counter('flotilla_applied_entries_total', 'Log entries applied', (n) => n.stats?.host.appliedEntries),
  counter(
    'flotilla_raft_frames_dropped_total',
    'Consensus frames that found no link or no room; they are sent again',
    (n) => n.stats?.host.framesDropped,
  ),
  counter(
    'flotilla_raft_frames_bad_total',
    'Consensus frames refused as malformed or damaged',
    (n) => n.stats?.host.badMessages,
  ),
  labelled('flotilla_snapshot_transfers_total', 'counter', 'Snapshots between nodes', 'outcome', (n) => {
    const host = n.stats?.host;
    return (
      host && [
        { labels: { outcome: 'sent' }, value: host.snapshotsSent },
        { labels: { outcome: 'installed' }, value: host.snapshotsInstalled },
        { labels: { outcome: 'failed' }, value: host.snapshotsFailed },
      ]
    );
  }),
  counter(
    'flotilla_snapshot_fetched_bytes_total',
    'States and entries fetched from other nodes with snapshots',
    (n) => n.stats?.host.snapshotBytesFetched,
  ),
  counter('flotilla_snapshots_taken_total', 'Snapshots of own state', (n) => n.stats?.host.snapshotsTaken),

  // Durability
  counter('flotilla_wal_syncs_total', 'fdatasync calls of the log', (n) => n.stats?.wal.syncs),
  gauge('flotilla_wal_sync_max_seconds', 'The longest of them', (n) => ms(n.stats?.wal.syncMsMax)),
  gauge(
    'flotilla_wal_sync_stuck',
    '1 while a sync hangs so long that this node gives up leading',
    (n) => n.stats?.host.diskStuck,
  ),
  counter('flotilla_wal_records_total', 'Records written to the log', (n) => n.stats?.wal.recordsWritten),
  counter('flotilla_wal_written_bytes_total', 'Bytes written to the log', (n) => n.stats?.wal.bytesWritten),
  counter(
    'flotilla_wal_state_files_total',
    'Replacements of a state file, the copies of what is known of groups',
    (n) => n.stats?.wal.stateFilesReplaced,
  ),
  counter(
    'flotilla_wal_state_changes_total',
    'Changes (terms, votes, groups) appended to both state files',
    (n) => n.stats?.wal.stateChanges,
  ),
  counter('flotilla_wal_state_file_bytes_total', 'Bytes of both', (n) => n.stats?.wal.stateFileBytes),
  gauge('flotilla_wal_size_bytes', 'Size of the log on disk, all segments', (n) => n.stats?.wal.bytes),
  gauge('flotilla_wal_segments', 'Segments of the log', (n) => n.stats?.wal.segments),
  counter(
    'flotilla_wal_segments_removed_total',
    'Segments given back by compaction',
    (n) => n.stats?.wal.segmentsRemoved,
  ),
  counter(
    'flotilla_wal_copied_forward_bytes_total',
    'Live bytes that compaction wrote again',
    (n) => n.stats?.wal.bytesCopiedForward,
  ),
  counter(
    'flotilla_wal_damaged_reads_total',
    'Reads that met a record which could not be verified',
    (n) => n.stats?.wal.damagedReads,
  ),
  gauge(
    'flotilla_damaged_ranges',
    'Ranges of entries that are damaged here and being fetched from other nodes',
    (n) => n.stats?.host.rangesInRepair,
  ),
  counter('flotilla_ranges_damaged_total', 'Ranges found damaged', (n) => n.stats?.host.rangesDamaged),
  counter('flotilla_ranges_repaired_total', 'Ranges repaired from other nodes', (n) => n.stats?.host.rangesRepaired),
  counter('flotilla_entries_repaired_total', 'Entries fetched for it', (n) => n.stats?.host.entriesRepaired),
  gauge(
    'flotilla_quarantined_files',
    'Doubtful files in quarantine/; they stay until somebody has looked at them',
    (n) => (n.stats === undefined ? undefined : n.disk.quarantinedFiles),
  ),
  counter(
    'flotilla_digest_checks_total',
    'Comparisons of state with other replicas',
    (n) => n.stats?.host.digestChecks,
  ),
  counter('flotilla_digest_mismatches_total', 'Of these, different', (n) => n.stats?.host.digestMismatches),
  counter(
    'flotilla_groups_stopped_total',
    'Groups that stopped here because no majority of their replicas agreed on the state',
    (n) => n.stats?.host.groupsStopped,
  ),
  labelled(
    'flotilla_fatal_errors_total',
    'counter',
    'Times that a process on this data directory ended itself: the disk (a failed fsync among others) or a broken invariant',
    'kind',
    (n) => [
      { labels: { kind: 'disk' }, value: n.fatal.disk },
      { labels: { kind: 'invariant' }, value: n.fatal.invariant },
    ],
  ),
  gauge('flotilla_disk_free_bytes', 'Free bytes where the data is', (n) => n.stats?.disk.freeBytes),
  gauge('flotilla_disk_size_bytes', 'Size of that file system', (n) => n.disk.sizeBytes),
  gauge(
    'flotilla_disk_reserve_bytes',
    'Publishes are refused when less than this is free',
    (n) => n.stats?.disk.reserveBytes,
  ),
  gauge('flotilla_disk_low', '1 while publishes are refused for lack of room', (n) => {
    const disk = n.stats?.disk;
    return disk && Number(disk.isLow);
  }),

  // Time
  gauge(
    'flotilla_cluster_time_spread_seconds',
    'From the earliest to the latest wall clock among the nodes heard of',
    (n) => us(n.stats?.host.clockSpreadUs),
  ),
  gauge('flotilla_clock_skew_seconds', "This node's wall clock minus cluster time", (n) =>
    us(n.stats?.host.clockSkewUs),
  ),

  // Consumers
  gauge(
    'flotilla_consumers',
    'Consumers on partitions led here; over several partitions, one part on each',
    (n) => n.census.consumers,
  ),
  gauge(
    'flotilla_ack_pending_messages',
    'Messages delivered from here that wait for their ack',
    (n) => n.census.ackPending,
  ),
  gauge('flotilla_waiting_pulls', 'Pull requests that wait for messages', (n) => n.census.waitingPulls),
  gauge(
    'flotilla_consumer_lag_messages_max',
    'Messages that the slowest consumer led here has not looked at',
    (n) => n.census.consumerLagMax,
  ),
  gauge(
    'flotilla_consumers_stalled',
    'Consumers led here with messages that wait for an ack, and no ack for five minutes',
    (n) => n.census.stalledConsumers,
  ),
  counter(
    'flotilla_delivered_messages_total',
    'Messages handed to consumers, redeliveries included',
    (n) => n.stats?.delivery.delivered,
  ),
  counter('flotilla_redelivered_messages_total', 'Redeliveries among them', (n) => n.stats?.delivery.redelivered),
  counter('flotilla_acks_total', 'Acks taken', (n) => n.stats?.delivery.acked),
  counter('flotilla_naks_total', 'Negative acks taken', (n) => n.stats?.delivery.naked),
  counter(
    'flotilla_deliveries_given_up_total',
    'Messages given up after max_deliver attempts',
    (n) => n.stats?.delivery.givenUp,
  ),

  // Node
  gauge('flotilla_messages', 'Messages stored on this node, all replicas', (n) => n.census.messages),
  gauge('flotilla_messages_bytes', 'Bytes of these messages', (n) => n.census.bytes),
  gauge('flotilla_pass_max_seconds', 'The longest turn of the replication host', (n) => ms(n.stats?.host.passMsMax)),
  counter(
    'flotilla_loop_stalls_total',
    'Timers that found the event loop more than 100 ms late',
    (n) => n.stats?.host.stalls,
  ),
  gauge('flotilla_uptime_seconds', 'Since this process started', (n) => us(n.view.nowUs() - n.view.identity.startUs)),
  labelled('flotilla_info', 'gauge', 'Always 1; what runs here', ['version'], () => [
    { labels: { version: FLOTILLA_VERSION }, value: 1 },
  ]),
];

const seconds = (bounds: readonly number[]): number[] => bounds.map((bound) => bound / 1e3);

export const HISTOGRAMS: readonly HistogramMetric[] = [
  {
    name: 'flotilla_publish_ack_seconds',
    help: 'From a publish that entered here to its acknowledgement',
    bounds: seconds(LATENCY_BUCKETS_MS),
    read: ({ stats }) => stats && { counts: stats.publish.latencyCounts, sum: stats.publish.latencyMsSum / 1e3 },
  },
  {
    name: 'flotilla_wal_sync_seconds',
    help: 'fdatasync calls of the log',
    bounds: seconds(SYNC_MS_BUCKETS),
    read: ({ stats }) => stats && { counts: stats.wal.syncMsCounts, sum: stats.wal.syncMsTotal / 1e3 },
  },
  {
    name: 'flotilla_wal_batch_bytes',
    help: 'Bytes written per group commit',
    bounds: BATCH_BYTES_BUCKETS,
    read: ({ stats }) => stats && { counts: stats.wal.batchBytesCounts, sum: stats.wal.bytesWritten },
  },
];

export const PARTITION_METRICS: readonly SeriesMetric<ReplicaSample>[] = [
  {
    name: 'flotilla_partition_leading',
    kind: 'gauge',
    help: '1 on the leader',
    other: 'sum',
    read: (r) => Number(r.leading),
  },
  {
    name: 'flotilla_partition_has_leader',
    kind: 'gauge',
    help: '1 when this replica knows its leader',
    other: 'sum',
    read: (r) => Number(r.hasLeader),
  },
  {
    name: 'flotilla_partition_replicas_expected',
    kind: 'gauge',
    help: 'On the leader: replicas as configured',
    other: 'sum',
    read: (r) => r.replicas?.expected,
  },
  {
    name: 'flotilla_partition_replicas_in_sync',
    kind: 'gauge',
    help: 'On the leader: replicas with a link up that lack next to nothing, itself included',
    other: 'sum',
    read: (r) => r.replicas?.inSync,
  },
  {
    name: 'flotilla_partition_lag_entries',
    kind: 'gauge',
    help: 'On the leader: log entries that the slowest replica lacks',
    other: 'max',
    read: (r) => r.replicas?.lagMax,
  },
  { name: 'flotilla_partition_term', kind: 'gauge', help: 'Raft term', other: 'none', read: (r) => r.term },
  {
    name: 'flotilla_partition_commit_index',
    kind: 'gauge',
    help: 'Committed index',
    other: 'none',
    read: (r) => r.commit,
  },
  {
    name: 'flotilla_partition_applied_index',
    kind: 'gauge',
    help: 'Applied index',
    other: 'none',
    read: (r) => r.applied,
  },
  {
    name: 'flotilla_stream_messages',
    kind: 'gauge',
    help: 'Messages stored on this replica',
    other: 'sum',
    read: (r) => r.messages,
  },
  { name: 'flotilla_stream_bytes', kind: 'gauge', help: 'Bytes of these messages', other: 'sum', read: (r) => r.bytes },
  {
    name: 'flotilla_stream_first_seq',
    kind: 'gauge',
    help: 'First seq stored on this replica',
    other: 'none',
    read: (r) => r.firstSeq,
  },
  {
    name: 'flotilla_stream_last_seq',
    kind: 'gauge',
    help: 'Last seq stored on this replica',
    other: 'none',
    read: (r) => r.lastSeq,
  },
  {
    name: 'flotilla_stream_last_acked_seq',
    kind: 'gauge',
    help: 'Highest seq that this replica, as leader, has acknowledged to a publisher since its process started',
    other: 'none',
    read: (r) => r.ackedSeq,
  },
  {
    name: 'flotilla_stream_consumers',
    kind: 'gauge',
    help: 'Consumers',
    other: 'sum',
    read: (r) => r.consumerCount,
  },
];

/** On the leader of the consumer's partition. Seqs are the partition's own. */
export const CONSUMER_METRICS: readonly SeriesMetric<ConsumerSample>[] = [
  {
    name: 'flotilla_consumer_lag_messages',
    kind: 'gauge',
    help: 'Messages after the last one that it has looked at; with a filter, those that do not match count until then',
    other: 'sum',
    read: (c) => c.lag,
  },
  {
    name: 'flotilla_consumer_ack_pending',
    kind: 'gauge',
    help: 'Delivered messages that wait for their ack',
    other: 'sum',
    read: (c) => c.at.ackPending,
  },
  {
    name: 'flotilla_consumer_redelivered',
    kind: 'gauge',
    help: 'Of these, delivered more than once',
    other: 'sum',
    read: (c) => c.at.redelivered,
  },
  {
    name: 'flotilla_consumer_waiting_pulls',
    kind: 'gauge',
    help: 'Pull requests that wait',
    other: 'sum',
    read: (c) => c.at.waiting,
  },
  {
    name: 'flotilla_consumer_delivered_seq',
    kind: 'gauge',
    help: 'Last seq delivered',
    other: 'none',
    read: (c) => c.at.deliveredSeq,
  },
  {
    name: 'flotilla_consumer_ack_floor_seq',
    kind: 'gauge',
    help: 'Everything up to here is acknowledged',
    other: 'none',
    read: (c) => c.at.floorSeq,
  },
];

/** All names with their kinds, the process' own (prom-client's defaults) excepted. */
export const METRICS: readonly { name: string; kind: Kind }[] = [
  ...NODE_METRICS,
  ...HISTOGRAMS.map(({ name }) => ({ name, kind: 'histogram' as const })),
  ...PARTITION_METRICS,
  ...CONSUMER_METRICS,
];
