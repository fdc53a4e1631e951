// Configurations of streams and consumers as they are stored: JetStream's JSON field names, after defaults
// (nats-surface §3.1, §3.2). Durations are nanoseconds, -1 means unlimited, optional fields are absent when empty.
// Validation and defaults live in jetstream/; this file is only the shape.

export interface StreamConfig {
  name: string;
  description?: string;
  subjects?: string[];
  retention: 'limits' | 'interest' | 'workqueue';
  max_consumers: number;
  max_msgs: number;
  max_bytes: number;
  max_age: number;
  max_msgs_per_subject: number;
  max_msg_size: number;
  discard: 'old' | 'new';
  discard_new_per_subject?: boolean;
  storage: 'file' | 'memory';
  num_replicas: number;
  no_ack?: boolean;
  duplicate_window?: number;
  placement?: { cluster?: string; tags?: string[] };
  compression: 'none' | 's2';
  first_seq?: number;
  allow_direct: boolean;
  mirror_direct: boolean;
  sealed: boolean;
  deny_delete: boolean;
  deny_purge: boolean;
  allow_rollup_hdrs: boolean;
  consumer_limits: { inactive_threshold?: number; max_ack_pending?: number };
  allow_msg_ttl?: boolean;
  subject_delete_marker_ttl?: number;
  metadata?: Record<string, string>;
}

/** Partitions of a stream: `metadata["flotilla.partitions"]` (a string, so no strict client refuses it), default 1. */
export const PARTITIONS_KEY = 'flotilla.partitions';

export interface ConsumerConfig {
  durable_name?: string;
  name?: string;
  description?: string;
  deliver_policy: 'all' | 'last' | 'new' | 'by_start_sequence' | 'by_start_time' | 'last_per_subject';
  opt_start_seq?: number;
  /** RFC 3339. */
  opt_start_time?: string;
  ack_policy: 'none' | 'all' | 'explicit';
  ack_wait?: number;
  max_deliver?: number;
  backoff?: number[];
  filter_subject?: string;
  filter_subjects?: string[];
  replay_policy: 'instant' | 'original';
  rate_limit_bps?: number;
  sample_freq?: string;
  max_waiting?: number;
  max_ack_pending?: number;
  flow_control?: boolean;
  idle_heartbeat?: number;
  headers_only?: boolean;
  max_batch?: number;
  max_expires?: number;
  max_bytes?: number;
  deliver_subject?: string;
  deliver_group?: string;
  inactive_threshold?: number;
  num_replicas: number;
  mem_storage?: boolean;
  metadata?: Record<string, string>;
}
