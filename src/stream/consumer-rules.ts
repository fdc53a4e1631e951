// What may be asked of consumers given those that exist: idempotent create, update rules (nats-surface K*), work-queue rules
// (K27), the stream's consumer limit. Pure; ConsumerRegistry.apply decides replicated consumers by it, the DeliveryEngine those
// that live in the leader's memory. What a configuration alone shows is validated by the API layer.
import { OVERLAP_STEPS_MAX, OverlapIndex } from '../subjects/overlap-index.ts';
import { subjectsOverlap } from '../subjects/subject.ts';
import type { ConsumerConfig, StreamConfig } from './config.ts';
import type { CreateAction } from './consumer-codec.ts';
import { type ApiError, apiError } from './errors.ts';

/** Metadata that answers carry but configurations do not (X9). */
const INJECTED_METADATA = '_nats.';

const FIXED: readonly [keyof ConsumerConfig, string][] = [
  ['deliver_policy', 'deliver policy'],
  ['mem_storage', 'storage type'],
  ['opt_start_seq', 'start sequence'],
  ['opt_start_time', 'start time'],
  ['ack_policy', 'ack policy'],
  ['replay_policy', 'replay policy'],
  ['idle_heartbeat', 'heart beats'],
  ['flow_control', 'flow control'],
];

/** How long an ephemeral may be unused when its request does not say. */
export const EPHEMERAL_INACTIVE_NS = 5e9;

/**
 * What is asked for when a request names an existing durable by `name` alone: the same durable. As an ephemeral it would be removed,
 * with all that it has acknowledged, as soon as nobody used it for some seconds.
 */
export function keptDurable(
  existing: ConsumerConfig | undefined,
  config: ConsumerConfig,
  action: CreateAction,
): ConsumerConfig {
  if (!existing?.durable_name || config.durable_name || action === 'create') return config;
  const { inactive_threshold: asked, ...kept } = { ...config, durable_name: existing.durable_name };
  const threshold = asked === EPHEMERAL_INACTIVE_NS ? existing.inactive_threshold : asked;
  return threshold === undefined ? kept : { ...kept, inactive_threshold: threshold };
}

/** Outcome for a create request that meets `existing`: a refusal, or whether anything changes. */
export function decideCreate(
  existing: ConsumerConfig | undefined,
  config: ConsumerConfig,
  action: CreateAction,
): ApiError | 'new' | 'same' | 'changed' {
  if (existing === undefined) return action === 'update' ? apiError(10149) : 'new';
  if (sameConfig(existing, config)) return 'same';
  return action === 'create' ? apiError(10148) : (updateError(existing, config) ?? 'changed');
}

export function updateError(old: ConsumerConfig, config: ConsumerConfig): ApiError | undefined {
  for (const [field, words] of FIXED) {
    if (normal(old[field]) !== normal(config[field])) return apiError(10012, { err: `${words} can not be updated` });
  }
  if (!old.deliver_subject && config.deliver_subject) {
    return apiError(10012, { err: 'can not update pull consumer to push based' });
  }
  if (old.deliver_subject && !config.deliver_subject) {
    return apiError(10012, { err: 'can not update push consumer to pull based' });
  }
  if (normal(old.max_waiting) !== normal(config.max_waiting)) {
    return apiError(10012, { err: 'max waiting can not be updated' });
  }
  return undefined;
}

/** Two lists with more pairs than this are not compared pair by pair. */
const PAIRS_MAX = 1_000;

/** May a consumer with these filters stand beside `others`? `isNew` also checks the stream's limit of consumers. */
export function placeError(
  stream: StreamConfig,
  patterns: readonly string[],
  others: Iterable<readonly string[]>,
  count: number,
  isNew: boolean,
): ApiError | undefined {
  if (isNew && stream.max_consumers > 0 && count >= stream.max_consumers) return apiError(10026);
  if (stream.retention !== 'workqueue') return undefined;
  const meets = overlapsWith(patterns);
  for (const other of others) {
    if (patterns.length === 0) return apiError(10099);
    if (other.length === 0 || meets(other)) return apiError(10100);
  }
  return undefined;
}

/** Does a pattern of the other list overlap with one of these? What would take too long to find out counts as if it did. */
function overlapsWith(patterns: readonly string[]): (other: readonly string[]) => boolean {
  let index: OverlapIndex | undefined;
  return (other) => {
    if (patterns.length * other.length <= PAIRS_MAX)
      return other.some((a) => patterns.some((b) => subjectsOverlap(a, b)));
    if (index === undefined) {
      index = new OverlapIndex();
      for (const pattern of patterns) index.add(pattern);
    }
    return index.meetsAny(other, OVERLAP_STEPS_MAX);
  };
}

export function sameConfig(a: ConsumerConfig, b: ConsumerConfig): boolean {
  return canonical(a) === canonical(b);
}

function normal(value: unknown): unknown {
  return value === undefined || value === '' || value === 0 || value === false ? undefined : value;
}

function canonical(config: ConsumerConfig): string {
  const plain: Record<string, unknown> = { ...config };
  if (config.filter_subjects?.length === 1) {
    plain.filter_subject = config.filter_subjects[0];
    delete plain.filter_subjects;
  }
  if (config.name === undefined) plain.name = config.durable_name;
  plain.metadata = Object.entries(config.metadata ?? {})
    .filter(([key]) => !key.startsWith(INJECTED_METADATA))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(
    Object.keys(plain)
      .sort()
      .filter((key) => normal(plain[key]) !== undefined && !(Array.isArray(plain[key]) && plain[key].length === 0))
      .map((key) => [key, plain[key]]),
  );
}
