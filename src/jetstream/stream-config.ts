// A stream's configuration on its way in: decoding, defaults, rules (nats-surface §3.1). Pure; called by the API on the node
// where a request entered, so that only complete and valid configurations reach the metadata group. What this server cannot do
// yet is refused by name, never accepted and ignored.

import { PARTITIONS_KEY, type StreamConfig } from '../stream/config.ts';
import { formatGoDuration } from '../stream/delivery-durations.ts';
import { type ApiError, apiError } from '../stream/errors.ts';
import { OVERLAP_STEPS_MAX, OverlapIndex } from '../subjects/overlap-index.ts';
import { hasWildcard, isSubsetOf, isValidPattern, subjectsOverlap } from '../subjects/subject.ts';
import {
  byteLength,
  DESCRIPTION_BYTES_MAX,
  METADATA_BYTES_MAX,
  metadataBytes,
  NAME_LENGTH_MAX,
  TOO_MANY_SUBJECTS,
} from './limits.ts';
import {
  anything,
  type Decoded,
  decodeStrict,
  flag,
  int,
  int32,
  int64,
  list,
  nanoseconds,
  object,
  oneOf,
  oneOfAnyCase,
  schema,
  text,
  textMap,
  uint64,
} from './strict-json.ts';

const MS = 1_000_000;
const REPLICAS_MAX = 5;
const PARTITIONS_MAX = 64;
const DUPLICATE_WINDOW_NS = 120_000 * MS;
const SHORTEST_NS = 100 * MS;
const MARKER_NS_MIN = 1000 * MS;
/** Above this a sequence would soon leave the integers of a double. */
const FIRST_SEQ_MAX = 2 ** 52;

/** Keys that servers add to answers; a client that sends back what it got means nothing by them. */
export const SERVER_METADATA = '_nats.';
/** `_nats.req.level` with its value, which counts like a client's own. */
const ADDED_METADATA_BYTES = 16;

const STREAM_FIELDS = {
  name: text,
  description: text,
  subjects: list(text),
  retention: oneOf(['limits', 'interest', 'workqueue']),
  max_consumers: int,
  max_msgs: int64,
  max_bytes: int64,
  max_age: nanoseconds,
  max_msgs_per_subject: int64,
  max_msg_size: int32,
  discard: oneOfAnyCase(['old', 'new']),
  discard_new_per_subject: flag,
  storage: oneOf(['file', 'memory']),
  num_replicas: int,
  no_ack: flag,
  duplicate_window: nanoseconds,
  placement: object('Placement', { cluster: text, tags: list(text), preferred: text }),
  compression: oneOf(['none', 's2'], () => 'unknown compression algorithm'),
  first_seq: uint64,
  allow_direct: flag,
  mirror_direct: flag,
  sealed: flag,
  deny_delete: flag,
  deny_purge: flag,
  allow_rollup_hdrs: flag,
  consumer_limits: object('StreamConsumerLimits', { inactive_threshold: nanoseconds, max_ack_pending: int }),
  metadata: textMap,
  pedantic: flag,
  allow_msg_ttl: flag,
  subject_delete_marker_ttl: nanoseconds,
  // Not served yet; see UNSUPPORTED.
  mirror: anything,
  sources: anything,
  subject_transform: anything,
  republish: anything,
  allow_msg_counter: flag,
  allow_atomic: flag,
  allow_batched: flag,
  allow_msg_schedules: flag,
  persist_mode: oneOf(['default', 'async']),
};

const STREAM = schema('StreamConfigRequest', STREAM_FIELDS, ['StreamConfig']);

export type StreamRequest = Decoded<typeof STREAM_FIELDS>;

/** Options that are known and refused, with the words for them. */
const UNSUPPORTED: [isAsked: (request: StreamRequest) => boolean, what: string][] = [
  [(r) => r.mirror !== undefined, 'stream mirrors are'],
  [(r) => r.sources === 'given', 'stream sources are'],
  [(r) => r.subject_transform !== undefined, 'subject transforms are'],
  [(r) => r.republish !== undefined, 'republish is'],
  [(r) => r.allow_msg_counter === true, 'message counters are'],
  [(r) => r.allow_atomic === true, 'atomic batch publishing is'],
  [(r) => r.allow_batched === true, 'batch publishing is'],
  [(r) => r.allow_msg_schedules === true, 'message schedules are'],
  [(r) => r.persist_mode === 'async', 'async persist mode is'],
];

export interface StreamRules {
  /** More than one node is configured. */
  clustered: boolean;
  /** Undefined on a node that is alone. */
  clusterName?: string;
  /** Of streams that do not ask for a number. */
  defaultReplicas: number;
  /** Longest duplicate window that the server allows; undefined: no limit. */
  duplicateWindowNsMax?: number;
}

export function decodeStreamRequest(body: Uint8Array): StreamRequest | ApiError {
  const decoded = decodeStrict(body, STREAM);
  return typeof decoded === 'string' ? apiError(10025, { err: decoded }) : decoded;
}

/** The complete configuration that a create asks for. */
export function completeStreamConfig(request: StreamRequest, rules: StreamRules): StreamConfig | ApiError {
  if (request.sealed) return invalid('stream configuration for create can not be sealed');
  if (request.mirror_direct && request.mirror === undefined) return invalid(NO_MIRROR);
  return complete(request, rules);
}

function complete(request: StreamRequest, rules: StreamRules): StreamConfig | ApiError {
  const asked = UNSUPPORTED.find(([isAsked]) => isAsked(request));
  if (asked) return invalid(`${asked[1]} not supported by this server yet`);
  const corrected = request.pedantic ? correction(request, rules) : undefined;
  if (corrected) return corrected;
  if (request.placement?.preferred) return invalid('preferred server not permitted in placement');
  const config = withDefaults(request, rules);
  return checkStreamConfig(config, rules) ?? config;
}

/** What is wrong with an update whatever it is of: told before it is looked whether there is such a stream. */
export function refusalOfUpdate(request: StreamRequest, rules: StreamRules): ApiError | undefined {
  const config = complete(request, rules);
  return 'err_code' in config ? config : undefined;
}

/** What an update of `current` to the complete configuration `next` makes of it, or why it may not. */
export function completeStreamUpdate(
  current: StreamConfig,
  request: StreamRequest,
  rules: StreamRules,
): StreamConfig | ApiError {
  const next = complete(request, rules);
  if ('err_code' in next) return next;
  delete next.first_seq;
  if (current.first_seq !== undefined) next.first_seq = current.first_seq;
  const partitions = current.metadata?.[PARTITIONS_KEY];
  if (partitions !== undefined && next.metadata?.[PARTITIONS_KEY] === undefined) {
    next.metadata = { ...next.metadata, [PARTITIONS_KEY]: partitions };
  }
  const refused = UPDATE_RULES.find(([isBroken]) => isBroken(current, next));
  if (refused) return invalid(refused[1]);
  if (next.sealed) seal(next);
  return next;
}

const NO_MIRROR = 'stream has no mirror but does have mirror direct';

const UPDATE_RULES: [isBroken: (current: StreamConfig, next: StreamConfig) => boolean, words: string][] = [
  [(a, b) => a.name !== b.name, 'stream configuration name must match original'],
  [(a, b) => a.storage !== b.storage, 'stream configuration update can not change storage type'],
  [
    (a, b) => a.retention !== b.retention && (a.retention === 'workqueue' || b.retention === 'workqueue'),
    'stream configuration update can not change retention policy to/from workqueue',
  ],
  [(a, b) => a.sealed && !b.sealed, 'stream configuration update can not unseal a sealed stream'],
  [(a, b) => a.deny_delete && !b.deny_delete, 'stream configuration update can not cancel deny message deletes'],
  [(a, b) => a.deny_purge && !b.deny_purge, 'stream configuration update can not cancel deny purge'],
  [(a, b) => a.allow_msg_ttl === true && !b.allow_msg_ttl, 'message TTL status can not be disabled'],
  [
    (a, b) => partitionsOf(a) !== partitionsOf(b),
    'stream configuration update can not change the number of partitions',
  ],
];

function partitionsOf(config: StreamConfig): number {
  return Number(config.metadata?.[PARTITIONS_KEY] ?? 1);
}

function seal(config: StreamConfig): void {
  config.sealed = true;
  config.max_age = 0;
  config.discard = 'new';
  config.deny_delete = true;
  config.deny_purge = true;
  config.allow_rollup_hdrs = false;
}

/** The first thing that defaults would correct silently, for clients that want to hear of it. */
function correction(r: StreamRequest, rules: StreamRules): ApiError | undefined {
  const below = CORRECTED_LIMITS.find((key) => (r[key] ?? 0) < -1);
  if (below) return apiError(10157, { err: `${below} must be set to -1` });
  if (!r.duplicate_window && (r.max_age ?? 0) > 0 && (r.max_age ?? 0) < longestWindow(rules))
    return apiError(10157, { err: 'duplicate window cannot be bigger than max age' });
  if ((r.subject_delete_marker_ttl ?? 0) < MARKER_NS_MIN) return undefined;
  if (!r.allow_msg_ttl) return invalid('subject delete marker cannot be set if message TTLs are disabled');
  return r.allow_rollup_hdrs ? undefined : invalid('subject delete marker cannot be set if roll-ups are disabled');
}

const CORRECTED_LIMITS = ['max_msgs', 'max_msgs_per_subject', 'max_bytes', 'max_msg_size', 'max_consumers'] as const;

function longestWindow({ duplicateWindowNsMax }: StreamRules): number {
  return Math.min(DUPLICATE_WINDOW_NS, duplicateWindowNsMax ?? Infinity);
}

function withDefaults(r: StreamRequest, rules: StreamRules): StreamConfig {
  const maxAge = r.max_age ?? 0;
  const config: StreamConfig = {
    name: r.name ?? '',
    retention: r.retention ?? 'limits',
    max_consumers: unlimited(r.max_consumers),
    max_msgs: unlimited(r.max_msgs),
    max_bytes: unlimited(r.max_bytes),
    max_age: maxAge,
    max_msgs_per_subject: unlimited(r.max_msgs_per_subject),
    max_msg_size: unlimited(r.max_msg_size),
    discard: r.discard ?? 'old',
    storage: r.storage ?? 'file',
    num_replicas: r.num_replicas || rules.defaultReplicas,
    compression: r.compression ?? 'none',
    allow_direct: r.allow_direct ?? false,
    mirror_direct: r.mirror_direct ?? false,
    sealed: r.sealed ?? false,
    deny_delete: r.deny_delete ?? false,
    deny_purge: r.deny_purge ?? false,
    allow_rollup_hdrs: r.allow_rollup_hdrs ?? false,
    consumer_limits: nonZero(r.consumer_limits ?? {}),
  };
  config.subjects = r.subjects?.length ? r.subjects : [config.name];
  if (r.description) config.description = r.description;
  if (r.discard_new_per_subject) config.discard_new_per_subject = true;
  if (r.no_ack) config.no_ack = true;
  if (r.first_seq) config.first_seq = r.first_seq;
  if (r.allow_msg_ttl) config.allow_msg_ttl = true;
  if (r.subject_delete_marker_ttl) {
    config.subject_delete_marker_ttl = r.subject_delete_marker_ttl;
    // A marker is a message with a TTL that rolls its subject up, which is a purge. Who asks for both roll-ups and no purges is refused.
    config.allow_msg_ttl = true;
    if (!config.allow_rollup_hdrs) config.deny_purge = false;
    config.allow_rollup_hdrs = true;
  }
  const longest = longestWindow(rules);
  config.duplicate_window = r.duplicate_window || (maxAge > 0 ? Math.min(maxAge, longest) : longest);
  const { cluster, tags } = r.placement ?? {};
  if (cluster || tags?.length)
    config.placement = { ...(cluster ? { cluster } : {}), ...(tags?.length ? { tags } : {}) };
  const metadata = withoutServerKeys(r.metadata);
  if (metadata) config.metadata = metadata;
  return config;
}

/** Nodes have no tags, and there is one cluster: a wish for others cannot be met, and is not ignored. */
function checkPlacement({ placement }: StreamConfig, { clustered, clusterName }: StreamRules): ApiError | undefined {
  if (!clustered || placement === undefined) return undefined;
  const { cluster, tags } = placement;
  if (cluster && cluster !== clusterName) return apiError(10005, { err: 'no suitable peers for placement' });
  if (tags?.length) return apiError(10005, { err: `no suitable peers for placement, tags not matched ['${tags[0]}']` });
  return undefined;
}

function checkStreamConfig(config: StreamConfig, rules: StreamRules): ApiError | undefined {
  if (config.num_replicas < 0) return apiError(10133);
  const wrong = STREAM_RULES.find(([isBroken]) => isBroken(config));
  if (wrong) return invalid(wrong[1]);
  if (rules.duplicateWindowNsMax !== undefined && (config.duplicate_window ?? 0) > rules.duplicateWindowNsMax) {
    return invalid(
      `duplicates window can not be larger then server limit of ${formatGoDuration(rules.duplicateWindowNsMax)}`,
    );
  }
  const refused = checkSubjects(config);
  if (refused) return refused;
  const misplaced = checkPlacement(config, rules);
  if (misplaced) return misplaced;
  return config.num_replicas > 1 && !rules.clustered ? apiError(10074) : undefined;
}

const NAME_REQUIRED = "stream name is required and can not contain '.', '*', '>', '\\', '/'";

export function nameRefusal(): ApiError {
  return invalid(NAME_REQUIRED);
}

/** In the order in which the reference server looks. */
const STREAM_RULES: [isBroken: (config: StreamConfig) => boolean, words: string][] = [
  [(c) => !isAssetName(c.name), NAME_REQUIRED],
  [(c) => byteLength(c.name) > NAME_LENGTH_MAX, `stream name is too long, maximum allowed is ${NAME_LENGTH_MAX}`],
  [
    (c) => byteLength(c.description ?? '') > DESCRIPTION_BYTES_MAX,
    `stream description is too long, maximum allowed is ${DESCRIPTION_BYTES_MAX}`,
  ],
  [
    (c) => metadataBytes(c.metadata) + ADDED_METADATA_BYTES > METADATA_BYTES_MAX,
    `stream metadata exceeds maximum size of ${METADATA_BYTES_MAX} bytes`,
  ],
  [(c) => c.num_replicas > REPLICAS_MAX, `maximum replicas is ${REPLICAS_MAX}`],
  [(c) => c.max_age < 0, 'max age can not be negative'],
  [(c) => c.max_age > 0 && c.max_age < SHORTEST_NS, 'max age needs to be >= 100ms'],
  [(c) => window(c) < 0, 'duplicates window can not be negative'],
  [(c) => c.max_age > 0 && window(c) > c.max_age, 'duplicates window can not be larger then max age'],
  [(c) => window(c) > 0 && window(c) < SHORTEST_NS, 'duplicates window needs to be >= 100ms'],
  [(c) => c.deny_purge && c.allow_rollup_hdrs, 'roll-ups require the purge permission'],
  [
    (c) => c.discard_new_per_subject === true && c.discard !== 'new',
    'discard new per subject requires discard new policy to be set',
  ],
  [
    (c) => c.discard_new_per_subject === true && c.max_msgs_per_subject <= 0,
    'discard new per subject requires max msgs per subject > 0',
  ],
  [(c) => (c.subject_delete_marker_ttl ?? 0) < 0, 'subject delete marker TTL must not be negative'],
  [
    (c) => (c.subject_delete_marker_ttl ?? MARKER_NS_MIN) < MARKER_NS_MIN,
    'subject delete marker TTL must be at least 1 second',
  ],
  [(c) => (c.first_seq ?? 0) > FIRST_SEQ_MAX, `first sequence must not be above ${FIRST_SEQ_MAX}`],
  [
    (c) => !(Number.isInteger(partitionsOf(c)) && partitionsOf(c) >= 1 && partitionsOf(c) <= PARTITIONS_MAX),
    `metadata "${PARTITIONS_KEY}" must be a number from 1 to ${PARTITIONS_MAX}`,
  ],
  [
    (c) => partitionsOf(c) > 1 && c.first_seq !== undefined,
    'a stream of several partitions can not have a first sequence',
  ],
];

function window(config: StreamConfig): number {
  return config.duplicate_window ?? 0;
}

/** Subjects of ours that a stream may only capture when nobody waits for its acks, and what is exempt. */
const RESERVED: [patterns: string[], exempt: string, words: string][] = [
  [['$JS.>', '$JSC.>', '$NRG.>'], '$JS.EVENT.>', 'subjects that overlap with jetstream api require no-ack to be true'],
  [['$SYS.>'], '$SYS.ACCOUNT.>', 'subjects that overlap with system api require no-ack to be true'],
];

function checkSubjects(config: StreamConfig): ApiError | undefined {
  const subjects = config.subjects ?? [];
  const seen = new OverlapIndex();
  for (const subject of subjects) {
    if (subject === '>') {
      if (!config.no_ack) return invalid('capturing all subjects requires no-ack to be true');
      if (config.num_replicas > 1) return invalid('capturing all subjects requires replicas of 1');
    }
    if (!isValidPattern(subject)) return invalid('invalid subject');
    for (const [patterns, exempt, words] of RESERVED) {
      const isReserved = patterns.some((pattern) => subjectsOverlap(subject, pattern));
      if (isReserved && !config.no_ack && !isSubsetOf(subject, exempt)) return invalid(words);
    }
    if (seen.steps > OVERLAP_STEPS_MAX) return invalid(TOO_MANY_SUBJECTS);
    if (seen.addApart(subject)) continue;
    const other = subjects.find((each) => subjectsOverlap(each, subject));
    return invalid(`subject ${JSON.stringify(other)} overlaps with ${JSON.stringify(subject)}`);
  }
  return undefined;
}

/** Usable as the name of a stream or consumer, whatever its length. */
export function isAssetName(name: string): boolean {
  return name !== '' && !/[ \t\r\n\f.*>\\/]/.test(name);
}

/** A stream whose subjects are all literal could still be asked for with a pattern: do they meet? */
export function collides(config: StreamConfig, filter: string): boolean {
  return (config.subjects ?? []).some((subject) =>
    hasWildcard(filter) || hasWildcard(subject) ? subjectsOverlap(subject, filter) : subject === filter,
  );
}

/** Without the keys that servers add; undefined when nothing is left. */
export function withoutServerKeys(metadata: Record<string, string> | undefined): Record<string, string> | undefined {
  const kept = Object.entries(metadata ?? {}).filter(([key]) => !key.startsWith(SERVER_METADATA));
  return kept.length > 0 ? Object.fromEntries(kept) : undefined;
}

function unlimited(limit: number | undefined): number {
  return limit === undefined || limit === 0 || limit < -1 ? -1 : limit;
}

function nonZero<T extends Record<string, number>>(limits: { [K in keyof T]?: T[K] }): { [K in keyof T]?: T[K] } {
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value)) as { [K in keyof T]?: T[K] };
}

function invalid(err: string): ApiError {
  return apiError(10052, { err });
}
