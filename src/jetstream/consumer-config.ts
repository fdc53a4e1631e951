// A consumer's configuration on its way in: decoding, defaults, rules that need no look at other consumers (nats-surface §3.2).
// Pure; called by the API on the node where a request entered. Work-queue rules between consumers, limits on their number and
// what an update may change are decided by the partition.

import type { ConsumerConfig, StreamConfig } from '../stream/config.ts';
import { EPHEMERAL_INACTIVE_NS } from '../stream/consumer-rules.ts';
import { formatGoDuration } from '../stream/delivery-durations.ts';
import { type ApiError, apiError } from '../stream/errors.ts';
import { OVERLAP_STEPS_MAX, OverlapIndex } from '../subjects/overlap-index.ts';
import { hasWildcard, isValidPattern, subjectsOverlap } from '../subjects/subject.ts';
import {
  byteLength,
  DESCRIPTION_BYTES_MAX,
  METADATA_BYTES_MAX,
  metadataBytes,
  NAME_LENGTH_MAX,
  TOO_MANY_SUBJECTS,
} from './limits.ts';
import { isAssetName, withoutServerKeys } from './stream-config.ts';
import {
  anything,
  type Decoded,
  decodeStrict,
  flag,
  int,
  int64,
  list,
  nanoseconds,
  object,
  oneOf,
  schema,
  text,
  textMap,
  time,
  uint64,
} from './strict-json.ts';

const MS = 1_000_000;
const ACK_WAIT_NS = 30_000 * MS;
const HEARTBEAT_NS_MIN = 100 * MS;
const MAX_WAITING = 512;
const MAX_ACK_PENDING = 1000;

const CONSUMER_FIELDS = {
  durable_name: text,
  name: text,
  description: text,
  deliver_policy: oneOf(['all', 'last', 'new', 'by_start_sequence', 'by_start_time', 'last_per_subject', 'undefined']),
  opt_start_seq: uint64,
  opt_start_time: time,
  ack_policy: oneOf(['none', 'all', 'explicit', 'flow_control']),
  ack_wait: nanoseconds,
  max_deliver: int,
  backoff: list(nanoseconds),
  filter_subject: text,
  filter_subjects: list(text),
  replay_policy: oneOf(['instant', 'original']),
  rate_limit_bps: uint64,
  sample_freq: text,
  max_waiting: int,
  max_ack_pending: int,
  flow_control: flag,
  idle_heartbeat: nanoseconds,
  headers_only: flag,
  max_batch: int,
  max_expires: nanoseconds,
  max_bytes: int,
  deliver_subject: text,
  deliver_group: text,
  inactive_threshold: nanoseconds,
  num_replicas: int,
  mem_storage: flag,
  metadata: textMap,
  direct: flag,
  sourcing: flag,
  // Not served yet; see UNSUPPORTED.
  pause_until: time,
  priority_policy: oneOf(
    ['none', 'overflow', 'pinned_client', 'prioritized'],
    (met) => `unknown priority policy: ${met}`,
  ),
  priority_groups: anything,
  priority_timeout: int64,
};

const REQUEST_FIELDS = {
  stream_name: text,
  config: object('ConsumerConfig', CONSUMER_FIELDS),
  action: oneOf(['', 'create', 'update'], (met) => `unknown consumer action: ${met}`),
  pedantic: flag,
};

const CREATE = schema('CreateConsumerRequest', REQUEST_FIELDS);

export type ConsumerRequest = Decoded<typeof REQUEST_FIELDS>;
type ConsumerInput = Decoded<typeof CONSUMER_FIELDS>;

export function decodeConsumerRequest(body: Uint8Array): ConsumerRequest | ApiError {
  const decoded = decodeStrict(body, CREATE);
  return typeof decoded === 'string' ? apiError(10025, { err: decoded }) : decoded;
}

const UNSUPPORTED: [isAsked: (input: ConsumerInput) => boolean, what: string][] = [
  [(c) => c.ack_policy === 'flow_control', 'ack policy flow_control is'],
  [(c) => c.pause_until !== undefined && !c.pause_until.startsWith('0001-01-01T00:00:00'), 'pausing consumers is'],
  [(c) => (c.priority_policy ?? 'none') !== 'none' || c.priority_groups === 'given', 'priority groups are'],
  [(c) => (c.rate_limit_bps ?? 0) > 0 && !!c.deliver_subject, 'push rate limits are'],
  [(c) => c.sourcing === true || (c.direct === true && !!c.deliver_subject), 'direct consumers are'],
];

/** The forms of `$JS.API.CONSUMER….CREATE`: what the subject says. */
export interface CreateForm {
  stream: string;
  /** '' in the legacy ephemeral form. */
  consumer: string;
  /** '' when the subject has none. */
  filter: string;
  /** CONSUMER.DURABLE.CREATE. */
  isDurable: boolean;
}

/** Checks of a request against its subject, in the reference's order. */
export function checkForm(request: ConsumerRequest, form: CreateForm): ApiError | undefined {
  const config = request.config ?? {};
  if (request.stream_name !== form.stream) return apiError(10056);
  if (/[/\\]/.test(form.consumer)) return apiError(10127);
  if (form.isDurable) {
    if (!config.durable_name) return apiError(10018);
    if (config.durable_name !== form.consumer) return apiError(10017);
  } else if (form.consumer === '') {
    if (config.durable_name) return apiError(10020);
  } else if (config.durable_name && config.durable_name !== form.consumer) {
    return apiError(10017);
  }
  if (form.filter !== '') {
    if (config.filter_subjects?.length) return apiError(10137);
    if ((config.filter_subject ?? '') !== form.filter) return apiError(10131);
  }
  return undefined;
}

/** The complete configuration. `generateName` names consumers that have none. */
export function completeConsumerConfig(
  request: ConsumerRequest,
  form: CreateForm,
  stream: StreamConfig,
  generateName: () => string,
): ConsumerConfig | ApiError {
  const input = request.config ?? {};
  const asked = UNSUPPORTED.find(([isAsked]) => isAsked(input));
  if (asked) return apiError(10052, { err: `${asked[1]} not supported by this server yet` });
  const config = withDefaults(input, form, stream, generateName);
  return checkConsumerConfig(config, input, stream) ?? config;
}

function withDefaults(
  c: ConsumerInput,
  form: CreateForm,
  stream: StreamConfig,
  generateName: () => string,
): ConsumerConfig {
  const limits = stream.consumer_limits;
  const isPush = !!c.deliver_subject;
  const config: ConsumerConfig = {
    deliver_policy: c.deliver_policy === undefined || c.deliver_policy === 'undefined' ? 'all' : c.deliver_policy,
    ack_policy: c.ack_policy === undefined || c.ack_policy === 'flow_control' ? 'none' : c.ack_policy,
    replay_policy: c.replay_policy ?? 'instant',
    num_replicas: c.num_replicas ?? 0,
  };
  const name = form.consumer || c.durable_name || c.name || generateName();
  config.name = name;
  if (c.durable_name) config.durable_name = name;
  if (c.description) config.description = c.description;
  if (c.opt_start_seq) config.opt_start_seq = c.opt_start_seq;
  if (c.opt_start_time) config.opt_start_time = c.opt_start_time;
  if (c.backoff?.length) config.backoff = c.backoff;
  if (config.ack_policy !== 'none') config.ack_wait = c.backoff?.[0] ?? (c.ack_wait || ACK_WAIT_NS);
  else if (c.ack_wait) config.ack_wait = c.ack_wait;
  config.max_deliver = !c.max_deliver || c.max_deliver < -1 ? -1 : c.max_deliver;
  if (c.filter_subject) config.filter_subject = c.filter_subject;
  if (c.filter_subjects?.length) config.filter_subjects = c.filter_subjects;
  if (c.rate_limit_bps) config.rate_limit_bps = c.rate_limit_bps;
  if (c.sample_freq) config.sample_freq = c.sample_freq;
  if (!isPush) config.max_waiting = !c.max_waiting || c.max_waiting < 0 ? MAX_WAITING : c.max_waiting;
  else if ((c.max_waiting ?? 0) > 0) config.max_waiting = c.max_waiting;
  const maxAckPending =
    c.max_ack_pending || limits.max_ack_pending || (config.ack_policy === 'none' ? 0 : MAX_ACK_PENDING);
  if (maxAckPending !== 0) config.max_ack_pending = Math.max(-1, maxAckPending);
  if (c.flow_control) config.flow_control = true;
  if ((c.idle_heartbeat ?? 0) > 0) config.idle_heartbeat = c.idle_heartbeat;
  if (c.headers_only) config.headers_only = true;
  if ((c.max_batch ?? 0) > 0) config.max_batch = c.max_batch;
  if ((c.max_expires ?? 0) > 0) config.max_expires = c.max_expires;
  if ((c.max_bytes ?? 0) > 0) config.max_bytes = c.max_bytes;
  if (c.deliver_subject) config.deliver_subject = c.deliver_subject;
  if (c.deliver_group) config.deliver_group = c.deliver_group;
  const inactive = Math.max(0, c.inactive_threshold ?? 0) || Math.max(0, limits.inactive_threshold ?? 0);
  if (inactive) config.inactive_threshold = inactive;
  else if (!c.durable_name) config.inactive_threshold = EPHEMERAL_INACTIVE_NS;
  if (c.mem_storage) config.mem_storage = true;
  const metadata = withoutServerKeys(c.metadata);
  if (metadata) config.metadata = metadata;
  return config;
}

/** Is an existing consumer beyond the limits that `stream` would have? */
export function isBeyondLimits(consumer: ConsumerConfig, stream: StreamConfig): boolean {
  return checkLimits(consumer, stream, {}) !== undefined;
}

type Rule = (config: ConsumerConfig, stream: StreamConfig, input: ConsumerInput) => ApiError | undefined;

function checkConsumerConfig(config: ConsumerConfig, input: ConsumerInput, stream: StreamConfig): ApiError | undefined {
  for (const rule of RULES) {
    const refused = rule(config, stream, input);
    if (refused) return refused;
  }
  return undefined;
}

const checkNames: Rule = (c) => {
  const name = c.name ?? '';
  const kind = c.durable_name ? 'durable name' : 'name';
  if (!isAssetName(name)) return invalid(`consumer ${kind} can not contain '.', '*', '>', '\\', '/'`);
  return byteLength(name) > NAME_LENGTH_MAX ? apiError(10102, { max: NAME_LENGTH_MAX }) : undefined;
};

const checkTexts: Rule = (c) => {
  if (byteLength(c.description ?? '') > DESCRIPTION_BYTES_MAX) return apiError(10107, { max: DESCRIPTION_BYTES_MAX });
  return metadataBytes(c.metadata) > METADATA_BYTES_MAX ? apiError(10135, { limit: '128KB' }) : undefined;
};

const checkReplicas: Rule = (c, stream) => {
  if (c.num_replicas < 0) return apiError(10133);
  if (c.num_replicas > stream.num_replicas) return apiError(10126);
  const mustMatch = stream.retention !== 'limits' && c.num_replicas > 0;
  return mustMatch && c.num_replicas !== stream.num_replicas ? apiError(10134) : undefined;
};

const checkAcks: Rule = (c) => {
  if (c.backoff?.some((wait) => wait < 0)) return apiError(10184);
  if ((c.ack_wait ?? 0) < 0) return apiError(10183);
  const maxDeliver = c.max_deliver ?? -1;
  return c.backoff && maxDeliver !== -1 && c.backoff.length > maxDeliver ? apiError(10116) : undefined;
};

const checkLimits: Rule = (c, { consumer_limits: limits }) => {
  const { max_ack_pending: most = 0, inactive_threshold: longest = 0 } = limits;
  if (most > 0 && (c.max_ack_pending ?? 0) > most) return apiError(10121, { limit: most });
  if (longest > 0 && (c.inactive_threshold ?? 0) > longest) {
    return apiError(10153, { limit: formatGoDuration(longest) });
  }
  return undefined;
};

const checkPush: Rule = (c, stream) => {
  if (c.deliver_subject === undefined) return undefined;
  if (!isValidPattern(c.deliver_subject)) return apiError(10112);
  if (hasWildcard(c.deliver_subject)) return apiError(10079);
  if (stream.subjects?.some((subject) => subjectsOverlap(subject, c.deliver_subject!))) return apiError(10081);
  if (c.max_waiting) return apiError(10080);
  if (c.ack_policy === 'none' && (c.max_ack_pending ?? 0) > 0) return apiError(10082);
  if (c.idle_heartbeat !== undefined && c.idle_heartbeat < HEARTBEAT_NS_MIN) return apiError(10083);
  return c.flow_control && !c.idle_heartbeat ? apiError(10108) : undefined;
};

const checkPull: Rule = (c, stream, input) => {
  if (c.deliver_subject !== undefined) return undefined;
  if (c.rate_limit_bps) return apiError(10086);
  if (stream.retention === 'workqueue' && c.ack_policy === 'none') return apiError(10084);
  if (c.idle_heartbeat) return apiError(10088);
  if (c.flow_control) return apiError(10089);
  if (input.direct) return apiError(10090);
  return c.max_expires !== undefined && c.max_expires < MS ? apiError(10115) : undefined;
};

const POLICY_WORDS: Record<ConsumerConfig['deliver_policy'], string> = {
  all: 'all',
  last: 'last',
  new: 'new',
  by_start_sequence: 'by start sequence',
  by_start_time: 'by start time',
  last_per_subject: 'last per subject',
};

const checkPolicy: Rule = (c) => {
  const isSeq = c.deliver_policy === 'by_start_sequence';
  const isTime = c.deliver_policy === 'by_start_time';
  const isFiltered = c.filter_subject !== undefined || c.filter_subjects !== undefined;
  const words = `consumer delivery policy is deliver ${POLICY_WORDS[c.deliver_policy]}, but optional`;
  const refuse = (problem: string): ApiError => apiError(10094, { err: `${words} ${problem}` });
  if (isSeq && !c.opt_start_seq) return refuse('start sequence is not set');
  if (isTime && !c.opt_start_time) return refuse('start time is not set');
  // The doubled word is the reference's.
  if (c.opt_start_seq && !isSeq) return refuse(`${isTime ? 'start start' : 'start'} sequence is also set`);
  if (c.opt_start_time && !isTime) return refuse('start time is also set');
  if (c.deliver_policy === 'last_per_subject' && !isFiltered) return refuse('filter subject is not set');
  return undefined;
};

const checkFilters: Rule = (c, _, input) => {
  if (c.filter_subject !== undefined && c.filter_subjects !== undefined) return apiError(10136);
  if (input.filter_subjects?.includes('')) return apiError(10139);
  const filters = c.filter_subjects ?? (c.filter_subject === undefined ? [] : [c.filter_subject]);
  if (filters.some((filter) => !isValidPattern(filter))) return invalid('invalid subject');
  const seen = new OverlapIndex();
  for (const filter of filters) {
    if (seen.steps > OVERLAP_STEPS_MAX) return invalid(TOO_MANY_SUBJECTS);
    if (!seen.addApart(filter)) return apiError(10138);
  }
  return undefined;
};

const checkSampling: Rule = (c) => {
  if (c.sample_freq === undefined) return undefined;
  const digits = c.sample_freq.replace(/%$/, '');
  if (/^[+-]?\d+$/.test(digits)) {
    if (Number(digits) < 0) return apiError(10095, { err: '<nil>' });
    return Number(digits) > 0 ? invalid('ack sampling is not supported by this server yet') : undefined;
  }
  return apiError(10095, { err: `strconv.Atoi: parsing ${JSON.stringify(digits)}: invalid syntax` });
};

const checkWorkQueue: Rule = (c, stream) => {
  if (stream.retention !== 'workqueue') return undefined;
  if (c.ack_policy !== 'explicit') return apiError(10098);
  return c.deliver_policy === 'all' ? undefined : apiError(10101);
};

/** In the order in which the reference server looks. */
const RULES: Rule[] = [
  checkReplicas,
  checkNames,
  checkAcks,
  checkTexts,
  checkPush,
  checkPull,
  checkLimits,
  checkFilters,
  checkPolicy,
  checkSampling,
  checkWorkQueue,
];

function invalid(err: string): ApiError {
  return apiError(10052, { err });
}
