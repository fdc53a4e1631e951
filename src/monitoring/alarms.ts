// Each way in which the promise is at risk, once: as a rule for Prometheus (deploy/prometheus is generated from it), as words for
// whoever is woken by it (docs/OPERATIONS.md), and, where the moment is enough to tell, as a condition that a node checks about
// itself (/statusz, `flotilla status`, `flotilla top`). Pure.
import type { NodeSample } from './metric-table.ts';

export type Severity = 'critical' | 'warning';

export interface Alarm {
  name: string;
  severity: Severity;
  /** PromQL; fires while it has a result. */
  expr: string;
  for: string;
  /** One line; may use Prometheus' template words. */
  summary: string;
  /** What it means and what to do. Sentences, no line breaks. */
  action: string;
  /** '' when all is well. Absent: takes a history to tell. */
  holds?(n: NodeSample): string;
}

export const LAG_ENTRIES_ALARM = 20_000;
export const CLOCK_SPREAD_S_ALARM = 1;
export const DISK_FREE_RATIO_ALARM = 0.1;

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;
const when = (holds: boolean, text: string): string => (holds ? text : '');

export const ALARMS: readonly Alarm[] = [
  {
    name: 'FlotillaNotScraped',
    severity: 'critical',
    expr: 'absent(up{job="flotilla"})',
    for: '2m',
    summary: 'Prometheus scrapes no Flotilla node at all',
    action:
      'Nothing below can fire. Check the scrape configuration (job "flotilla", monitoring port, network policy) before anything else.',
  },
  {
    name: 'FlotillaNodeDown',
    severity: 'critical',
    expr: 'up{job="flotilla"} == 0',
    for: '30s',
    summary: '{{ $labels.instance }} does not answer',
    action:
      'One node of three may be down without loss of data or service; a second one ends service. Look at its process and log, start it again. If its disk is gone, start it with an empty directory: it joins as a new member and refills.',
  },
  {
    name: 'FlotillaNodeRestarts',
    severity: 'warning',
    expr: 'changes(process_start_time_seconds{job="flotilla"}[30m]) > 2',
    for: '0s',
    summary: '{{ $labels.server }} has restarted several times within half an hour',
    action: 'Its log says why on the last line before each start. Exit code 70 is a broken invariant or a failed disk.',
  },
  {
    name: 'FlotillaPartitionsLeaderless',
    severity: 'critical',
    // A node that is cut off knows no leaders; where any other one does, they are there.
    expr:
      'min by (job) (flotilla_partitions_leaderless and flotilla_meta_has_leader == 1) > 0 or ' +
      '(max by (job) (flotilla_partitions_leaderless) > 0 unless max by (job) (flotilla_meta_has_leader) == 1)',
    for: '15s',
    summary: '{{ $value }} partitions have no leader: they take no publishes and serve no consumers',
    action:
      'A majority of their replicas is down or cut off, or disks hang. Bring nodes back; nothing acknowledged is lost meanwhile. If the nodes are up, look at links (FlotillaLinksMissing) and syncs (FlotillaSyncStuck).',
    holds: ({ census }) =>
      when(census.leaderless > 0, `${plural(census.leaderless, 'partition')} without a leader that this node knows`),
  },
  {
    name: 'FlotillaMetaLeaderless',
    severity: 'critical',
    expr: 'min by (job) (flotilla_meta_has_leader) == 0',
    for: '15s',
    summary: 'A node knows no leader of the meta group: streams cannot be created or changed there',
    action: 'A majority of all nodes must be up and connected. A single node with this is cut off from the others.',
    holds: ({ view }) => when(view.meta()?.leader === '', 'the meta group has no leader that this node knows'),
  },
  {
    name: 'FlotillaUnderReplicated',
    severity: 'warning',
    expr: 'sum by (job) (flotilla_partitions_under_replicated) > 0',
    for: '30s',
    summary: '{{ $value }} partitions have fewer replicas in sync than configured',
    action:
      'Acknowledged messages are on a majority, but the next failure may stop service. Usually a node is down or refilling: bring it back and watch flotilla_follower_lag_entries_max fall.',
    holds: ({ census }) =>
      when(census.underReplicated > 0, `${plural(census.underReplicated, 'partition')} led here under-replicated`),
  },
  {
    name: 'FlotillaFollowerLag',
    severity: 'warning',
    expr: `max by (job, server) (flotilla_follower_lag_entries_max) > ${LAG_ENTRIES_ALARM}`,
    for: '1m',
    summary: 'A replica of a partition led by {{ $labels.server }} lacks {{ $value }} log entries',
    action:
      'It catches up by log or snapshot on its own. If the number grows, its disk or network is slower than the load: compare flotilla_wal_sync_seconds of the nodes.',
    holds: ({ census }) =>
      when(census.followerLagMax > LAG_ENTRIES_ALARM, `a follower lacks ${census.followerLagMax} log entries`),
  },
  {
    name: 'FlotillaApplyLag',
    severity: 'warning',
    expr: `max by (job, server) (flotilla_apply_lag_entries_max) > ${LAG_ENTRIES_ALARM}`,
    for: '1m',
    summary: '{{ $labels.server }} has {{ $value }} committed entries that it has not applied',
    action:
      'A failover to it would take that long. It lacks CPU, or an entry is damaged and waits for repair (FlotillaDamagedRanges).',
    holds: ({ census }) =>
      when(census.applyLagMax > LAG_ENTRIES_ALARM, `${census.applyLagMax} committed entries wait to be applied`),
  },
  {
    name: 'FlotillaLinksMissing',
    severity: 'warning',
    expr: 'flotilla_peers_connected < flotilla_peers_expected',
    for: '1m',
    summary: '{{ $labels.server }} has links to {{ $value }} nodes only',
    action:
      'A node is down, or cannot be reached on its cluster port from this one. A node that was taken out for good still counts until it is removed from the cluster.',
    holds: ({ view }) => {
      const missing = view.peers().filter((peer) => !peer.connected);
      return when(missing.length > 0, `no link to ${missing.map((peer) => peer.name).join(', ')}`);
    },
  },
  {
    name: 'FlotillaDiskFull',
    severity: 'critical',
    expr: 'flotilla_disk_low == 1',
    for: '0s',
    summary: '{{ $labels.server }} refuses publishes: its disk is full up to the reserve',
    action:
      'Reads, acks, deletes and purges go on, and publishes too once there is room. Make room: delete or purge streams, set max_bytes or max_age, enlarge the volume. Never delete files of the data directory.',
    holds: ({ stats }) => when(stats?.disk.isLow === true, 'the disk is full up to the reserve: publishes are refused'),
  },
  {
    name: 'FlotillaDiskNearlyFull',
    severity: 'warning',
    expr: `flotilla_disk_free_bytes / flotilla_disk_size_bytes < ${DISK_FREE_RATIO_ALARM}`,
    for: '1m',
    summary: '{{ $labels.server }} has {{ $value | humanizePercentage }} of its disk left',
    action: 'As for FlotillaDiskFull, while there is time.',
    holds: ({ stats, disk }) =>
      when(
        stats !== undefined && stats.disk.freeBytes / disk.sizeBytes < DISK_FREE_RATIO_ALARM,
        `${Math.round(((stats?.disk.freeBytes ?? 0) / disk.sizeBytes) * 100)} % of the disk left`,
      ),
  },
  {
    name: 'FlotillaDiskError',
    severity: 'critical',
    expr: 'increase(flotilla_fatal_errors_total{kind="disk"}[6h]) > 0',
    for: '0s',
    summary: '{{ $labels.server }} ended itself because a write or fsync failed',
    action:
      'After a failed fsync nobody knows what the disk holds, so the process ends and checks everything at its next start. Look at the kernel log and at fatal-errors.json in the data directory; replace the disk if it happens again, and let the node refill from an empty one.',
  },
  {
    name: 'FlotillaInvariantBroken',
    severity: 'critical',
    expr: 'increase(flotilla_fatal_errors_total{kind="invariant"}[6h]) > 0',
    for: '0s',
    summary: '{{ $labels.server }} ended itself because something that must hold did not',
    action:
      'A bug, or a data directory that was restored from an old copy. The reason is in the log and in fatal-errors.json: please report it. The other nodes go on.',
  },
  {
    name: 'FlotillaSyncStuck',
    severity: 'critical',
    expr: 'flotilla_wal_sync_stuck == 1',
    for: '0s',
    summary: 'The disk of {{ $labels.server }} hangs: a sync takes seconds, the node gives up leading',
    action: 'The others lead on. Look at the disk (kernel log, other users of it, cloud volume limits).',
    holds: ({ stats }) => when(stats?.host.diskStuck === 1, 'a sync of the log hangs, the node gives up leading'),
  },
  {
    name: 'FlotillaSlowSync',
    severity: 'warning',
    expr: 'histogram_quantile(0.99, sum by (job, server, le) (rate(flotilla_wal_sync_seconds_bucket[5m]))) > 0.1',
    for: '5m',
    summary: 'One in a hundred syncs of {{ $labels.server }} takes more than 100 ms',
    action:
      'Every acknowledgement waits for the faster two of three disks. One slow disk costs reserve, two slow ones cost latency. Give the data directory a disk of its own.',
  },
  {
    name: 'FlotillaDigestMismatch',
    severity: 'critical',
    expr: 'flotilla_digest_mismatches_total > 0',
    for: '0s',
    summary: '{{ $labels.server }} has found that replicas differ in what they have applied',
    action:
      'The log names group and index. The replica that the majority contradicts gives its state up and fetches it anew by itself; what it had is in quarantine/. Where no majority agrees the group stops and the log says so: keep the data directories for analysis, then restart its nodes, which compute their states anew from what is on disk. Report it either way.',
    holds: ({ stats }) =>
      when((stats?.host.digestMismatches ?? 0) > 0, `${stats?.host.digestMismatches} digest mismatches`),
  },
  {
    name: 'FlotillaQuarantine',
    severity: 'warning',
    expr: 'flotilla_quarantined_files > 0',
    for: '0s',
    summary: '{{ $labels.server }} has moved {{ $value }} doubtful files to quarantine/',
    action:
      'It could not trust them and has refilled from its peers where needed. The log says which and why. When all partitions are in sync again and the disk is trusted, the files may be removed; that clears the alert.',
    holds: ({ disk }) => when(disk.quarantinedFiles > 0, `${plural(disk.quarantinedFiles, 'file')} in quarantine/`),
  },
  {
    name: 'FlotillaDamagedRanges',
    severity: 'warning',
    expr: 'flotilla_damaged_ranges > 0',
    for: '5m',
    summary: '{{ $labels.server }} has {{ $value }} ranges of damaged entries that nobody has repaired yet',
    action:
      'It fetches them from the other replicas; that needs one of them up. Streams with one replica cannot be repaired: restore them from where the data came from. Damage that comes again means a bad disk.',
    holds: ({ stats }) =>
      when((stats?.host.rangesInRepair ?? 0) > 0, `${plural(stats?.host.rangesInRepair ?? 0, 'damaged range')}`),
  },
  {
    name: 'FlotillaClockSpread',
    severity: 'warning',
    expr: `max by (job) (flotilla_cluster_time_spread_seconds) > ${CLOCK_SPREAD_S_ALARM}`,
    for: '1m',
    summary: 'The wall clocks of the nodes are {{ $value }} s apart',
    action:
      'Stamps follow the median, so one wrong clock does no harm; two of three do (ages, time to live, duplicate window). Repair NTP on the node whose flotilla_clock_skew_seconds is far from 0.',
    holds: ({ stats }) => {
      const spread = (stats?.host.clockSpreadUs ?? 0) / 1e6;
      return when(spread > CLOCK_SPREAD_S_ALARM, `the wall clocks are ${spread.toFixed(1)} s apart`);
    },
  },
  {
    name: 'FlotillaConsumerStuck',
    severity: 'warning',
    expr: 'sum by (job) (flotilla_consumers_stalled) > 0',
    for: '5m',
    summary: '{{ $value }} consumers have messages that wait for an ack, and none came for minutes',
    action:
      'The application is down, hangs, or fails on the same message again and again: flotilla_consumer_ack_pending and flotilla_consumer_redelivered name the consumer. Consider max_deliver. Work-queue streams grow meanwhile.',
    holds: ({ census }) =>
      when(census.stalledConsumers > 0, `${plural(census.stalledConsumers, 'consumer')} without acks for minutes`),
  },
  {
    name: 'FlotillaPublishesUnavailable',
    severity: 'warning',
    expr: 'sum by (job, reason) (increase(flotilla_publishes_refused_total{err_code=~"503|10008|10047|10167"}[5m])) > 0',
    for: '1m',
    summary: 'Publishes are refused: {{ $labels.reason }}',
    action:
      'Code 503 and 10008: no leader, or it changed (publishers repeat with the same Nats-Msg-Id). 10047: disk full. 10167: more in flight than a partition takes; publishers should wait for acks.',
  },
  {
    name: 'FlotillaSlowConsumers',
    severity: 'warning',
    expr: 'increase(flotilla_slow_consumers_total[5m]) > 0',
    for: '0s',
    summary: '{{ $labels.server }} has cut connections that did not take what was sent',
    action:
      'A client reads too slowly for what it subscribed to. /connz?state=closed names it. Core messages to it are lost; JetStream delivers again.',
  },
  {
    name: 'FlotillaLoopStalls',
    severity: 'warning',
    expr: 'increase(flotilla_loop_stalls_total[5m]) > 5',
    for: '0s',
    summary: 'The event loop of {{ $labels.server }} stands still for more than 100 ms again and again',
    action:
      'Too little CPU, or memory pressure (see garbage collection and resident memory). Elections may follow. Give the node cores and memory of its own.',
  },
];

/** What a node can tell of itself at this moment. */
export function alarmsOf(n: NodeSample): { name: string; severity: Severity; text: string }[] {
  return ALARMS.flatMap(({ name, severity, holds }) => {
    const text = holds?.(n) ?? '';
    return text === '' ? [] : [{ name, severity, text }];
  });
}
