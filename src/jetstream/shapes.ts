// The JSON of answers: which keys, in which order, present when (nats-surface §3.3 to §3.5, X2, X4, X9). Pure. No key is invented
// here: strict clients refuse unknown ones.

import type { PeerId } from '../../cluster/core/types.ts';
import { API_LEVEL, NATS_VERSION } from '../kit/version.ts';
import type { StreamRecord } from '../meta/types.ts';
import type { ConsumerConfig, StreamConfig } from '../stream/config.ts';
import { formatRfc3339 } from '../stream/consumer-time.ts';
import type { ConsumerState, StoredMessage, StreamState } from '../stream/types.ts';
import { SERVER_METADATA } from './stream-config.ts';

/** How far one follower of a group is, as its leader sees it. */
export interface PeerState {
  peer: PeerId;
  current: boolean;
  offline: boolean;
  activeMs: number;
  lag: number;
}

/** Who replicates a partition; `leader` 0 when unknown. */
export interface GroupView {
  leader: PeerId;
  peers: PeerState[];
}

/** What answers say about this cluster. */
export interface ClusterNames {
  /** Undefined on a node that is alone. */
  clusterName: string | undefined;
  nameOf(peer: PeerId): string | undefined;
}

export interface ApiCounters {
  total: number;
  errors: number;
}

export interface AccountUsage {
  memory: number;
  storage: number;
  consumers: number;
  api: ApiCounters;
}

const ZERO_TIME = '0001-01-01T00:00:00Z';

/** RFC 3339 without trailing zeros; 0 is "no time". */
export function timeText(us: number): string {
  if (us === 0) return ZERO_TIME;
  return formatRfc3339(us).replace(/\.?0+Z$/, 'Z');
}

const STREAM_KEYS: (keyof StreamConfig)[] = [
  'name',
  'description',
  'subjects',
  'retention',
  'max_consumers',
  'max_msgs',
  'max_bytes',
  'max_age',
  'max_msgs_per_subject',
  'max_msg_size',
  'discard',
  'storage',
  'num_replicas',
  'no_ack',
  'duplicate_window',
  'placement',
  'compression',
  'first_seq',
  'allow_direct',
  'mirror_direct',
  'discard_new_per_subject',
  'sealed',
  'deny_delete',
  'deny_purge',
  'allow_rollup_hdrs',
  'consumer_limits',
  'allow_msg_ttl',
  'subject_delete_marker_ttl',
];

const CONSUMER_KEYS: (keyof ConsumerConfig)[] = [
  'durable_name',
  'name',
  'description',
  'deliver_policy',
  'opt_start_seq',
  'opt_start_time',
  'ack_policy',
  'ack_wait',
  'max_deliver',
  'backoff',
  'filter_subject',
  'filter_subjects',
  'replay_policy',
  'rate_limit_bps',
  'sample_freq',
  'max_waiting',
  'max_ack_pending',
  'flow_control',
  'headers_only',
  'max_batch',
  'max_expires',
  'max_bytes',
  'deliver_subject',
  'deliver_group',
  'idle_heartbeat',
  'inactive_threshold',
  'num_replicas',
  'mem_storage',
];

/** `config` in answers: fixed order, and the versions that servers add (X9). */
export function streamConfigShape(config: StreamConfig): object {
  return {
    ...pick({ allow_msg_ttl: false, ...config }, STREAM_KEYS),
    metadata: withVersions(config.metadata, config.allow_msg_ttl ? 1 : 0),
  };
}

export function consumerConfigShape(config: ConsumerConfig): object {
  return { ...pick(config, CONSUMER_KEYS), metadata: withVersions(config.metadata, 0) };
}

function pick<T extends object>(from: T, keys: (keyof T)[]): object {
  return Object.fromEntries(keys.filter((key) => from[key] !== undefined).map((key) => [key, from[key]]));
}

/** `level`: the API level that the asset needs (ADR-44). */
function withVersions(metadata: Record<string, string> | undefined, level: number): Record<string, string> {
  const all = {
    ...metadata,
    [`${SERVER_METADATA}level`]: String(API_LEVEL),
    [`${SERVER_METADATA}req.level`]: String(level),
    [`${SERVER_METADATA}ver`]: NATS_VERSION,
  };
  return Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
}

export function streamStateShape(state: StreamState): object {
  return {
    messages: state.messages,
    bytes: state.bytes,
    first_seq: state.first_seq,
    first_ts: timeText(state.first_ts_us),
    last_seq: state.last_seq,
    last_ts: timeText(state.last_ts_us),
    num_subjects: state.num_subjects || undefined,
    subjects: state.subjects,
    num_deleted: state.num_deleted || undefined,
    deleted: state.deleted?.length ? state.deleted : undefined,
    consumer_count: state.consumer_count,
  };
}

/** Without `type`, which the dispatcher puts first. */
export function streamInfoShape(record: StreamRecord, state: StreamState, cluster: object | undefined, nowUs: number) {
  return {
    config: streamConfigShape(record.config),
    created: timeText(record.createdUs),
    state: streamStateShape(state),
    cluster,
    ts: timeText(nowUs),
  };
}

export function consumerInfoShape(stream: string, state: ConsumerState, cluster: object | undefined, nowUs: number) {
  const position = (at: ConsumerState['delivered']) => ({
    consumer_seq: at.consumer_seq,
    stream_seq: at.stream_seq,
    last_active: at.last_active_us === 0 ? undefined : timeText(at.last_active_us),
  });
  return {
    stream_name: stream,
    name: state.name,
    created: timeText(state.createdUs),
    config: consumerConfigShape(state.config),
    delivered: position(state.delivered),
    ack_floor: position(state.ack_floor),
    num_ack_pending: state.num_ack_pending,
    num_redelivered: state.num_redelivered,
    num_waiting: state.num_waiting,
    num_pending: state.num_pending,
    cluster,
    push_bound: state.push_bound || undefined,
    ts: timeText(nowUs),
  };
}

/** Who leads and who follows; a lone node only names itself. */
export function clusterShape(names: ClusterNames, view: GroupView): object | undefined {
  const leader = names.nameOf(view.leader);
  if (names.clusterName === undefined) return leader === undefined ? undefined : { leader };
  const replicas = view.peers.map((peer) => ({
    name: names.nameOf(peer.peer) ?? '',
    current: peer.current,
    offline: peer.offline || undefined,
    active: Math.round(peer.activeMs * 1e6),
    lag: peer.lag || undefined,
  }));
  replicas.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { name: names.clusterName, leader, replicas: replicas.length > 0 ? replicas : undefined };
}

export function storedMessageShape(message: StoredMessage): object {
  return {
    subject: message.subject,
    seq: message.seq,
    hdrs: message.hdr.length > 0 ? base64(message.hdr) : undefined,
    data: message.payload.length > 0 ? base64(message.payload) : undefined,
    time: timeText(message.stampUs),
  };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');
}

/** Nothing is limited per account. */
const UNLIMITED = {
  max_memory: -1,
  max_storage: -1,
  max_streams: -1,
  max_consumers: -1,
  max_ack_pending: -1,
  memory_max_stream_bytes: -1,
  storage_max_stream_bytes: -1,
  max_bytes_required: false,
};

export function accountInfoShape(usage: AccountUsage, streams: readonly StreamRecord[], domain: string | undefined) {
  const reserved = (storage: StreamConfig['storage']): number => {
    const limited = streams.filter(({ config }) => config.storage === storage && config.max_bytes > 0);
    return limited.reduce((sum, { config }) => sum + config.max_bytes * config.num_replicas, 0);
  };
  return {
    memory: usage.memory,
    storage: usage.storage,
    reserved_memory: reserved('memory'),
    reserved_storage: reserved('file'),
    streams: streams.length,
    consumers: usage.consumers,
    limits: UNLIMITED,
    domain,
    api: { level: API_LEVEL, total: usage.api.total, errors: usage.api.errors },
  };
}

/** One page of `all`: the paging fields and the items on it. An offset beyond the end is the end. */
export function page<T>(all: readonly T[], offset: number | undefined, limit: number) {
  const from = Math.min(Math.max(0, offset ?? 0), all.length);
  return { fields: { total: all.length, offset: from, limit }, items: all.slice(from, from + limit) };
}
