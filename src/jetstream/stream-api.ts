// `$JS.API.STREAM.…`: the operations on streams (nats-surface §2.2, J2 to J10). A row per operation; what they share is
// below the table. Runs on the node where the request entered; partitions are asked through ApiContext.

import type { StreamRecord } from '../meta/types.ts';
import type { StreamConfig } from '../stream/config.ts';
import { parseRfc3339 } from '../stream/consumer-time.ts';
import { type ApiError, apiError, isApiError } from '../stream/errors.ts';
import { partitionOfSubject } from '../stream/partitioning.ts';
import type { GetRequest, InfoRequest, StoredMessage, StreamState } from '../stream/types.ts';
import { hasWildcard, isValidPattern } from '../subjects/subject.ts';
import { type Answer, type ApiContext, type ApiRequest, gather, type Operation } from './api-context.ts';
import { isBeyondLimits } from './consumer-config.ts';
import { INFOS_PER_PAGE, NAMES_PER_PAGE, SUBJECTS_PER_PAGE } from './limits.ts';
import { clusterShape, type GroupView, page, storedMessageShape, streamInfoShape } from './shapes.ts';
import {
  collides,
  completeStreamConfig,
  completeStreamUpdate,
  decodeStreamRequest,
  nameRefusal,
  refusalOfUpdate,
  type StreamRequest,
} from './stream-config.ts';
import {
  type Decoded,
  decodeStrict,
  type Fields,
  flag,
  int,
  list,
  looksLikeJson,
  type Schema,
  schema,
  text,
  time,
  uint64,
} from './strict-json.ts';

const NAMES = schema('JSApiStreamNamesRequest', { offset: int, subject: text });
const LIST = schema('JSApiStreamListRequest', { offset: int, subject: text });
const INFO = schema('JSApiStreamInfoRequest', { offset: int, deleted_details: flag, subjects_filter: text });
const PURGE = schema('JSApiStreamPurgeRequest', { seq: uint64, filter: text, keep: uint64 });
const DELETE_MESSAGE = schema('JSApiMsgDeleteRequest', { seq: uint64, no_erase: flag });
const EMPTY = schema('', {});

const GET_FIELDS = {
  seq: uint64,
  last_by_subj: text,
  next_by_subj: text,
  batch: int,
  max_bytes: int,
  start_time: time,
  multi_last: list(text),
  up_to_seq: uint64,
  up_to_time: time,
  no_hdr: flag,
};
const GET = schema('JSApiMsgGetRequest', GET_FIELDS);

/** An update that loses against others so often is told to come back. */
const UPDATE_ATTEMPTS_MAX = 16;

/** Of a purge over several partitions. */
const KEPT_MAX = 100_000;
const NO_PAGE = { total: 0, offset: 0, limit: 0 };

export const STREAM_OPERATIONS: Record<string, Operation> = {
  'STREAM.CREATE': { type: 'stream_create_response', args: [1, 1], run: create },
  'STREAM.UPDATE': { type: 'stream_update_response', args: [1, 1], run: update },
  'STREAM.DELETE': { type: 'stream_delete_response', args: [1, 1], run: remove },
  'STREAM.INFO': { type: 'stream_info_response', args: [1, 1], beside: NO_PAGE, run: info },
  'STREAM.NAMES': {
    type: 'stream_names_response',
    args: [0, 0],
    beside: { ...NO_PAGE, streams: null },
    run: names,
  },
  'STREAM.LIST': {
    type: 'stream_list_response',
    args: [0, 0],
    beside: { ...NO_PAGE, streams: [] },
    run: infos,
  },
  'STREAM.PURGE': { type: 'stream_purge_response', args: [1, 1], beside: { purged: 0 }, run: purge },
  'STREAM.MSG.GET': { type: 'stream_msg_get_response', args: [1, 1], counted: false, run: getMessage },
  'STREAM.MSG.DELETE': { type: 'stream_msg_delete_response', args: [1, 1], run: deleteMessage },
};

/** Decodes a body; `optional`: anything that does not look like JSON means no options. */
export function decode<F extends Fields>(body: Uint8Array, of: Schema<F>, optional = false): Decoded<F> | ApiError {
  if (optional && !looksLikeJson(body)) return {};
  const decoded = decodeStrict(body, of);
  return typeof decoded === 'string' ? apiError(10025, { err: decoded }) : decoded;
}

/** 10038 unless the body is empty or an object without keys. */
export function refuseBody(body: Uint8Array): ApiError | undefined {
  return typeof decodeStrict(body, EMPTY) === 'string' ? apiError(10038) : undefined;
}

function create(api: ApiContext, { account, args, body }: ApiRequest, done: Answer) {
  const request = decodeStreamRequest(body);
  if (isApiError(request)) return done(request);
  if (request.name !== args[0]) return done(apiError(10056));
  if (/[/\\]/.test(args[0])) return done(apiError(10128));
  const config = completeStreamConfig(request, api.rules);
  if (isApiError(config)) return done(config);
  api.meta.createStream(account, config, (result) => {
    if (isApiError(result)) return done(result);
    const { record, created } = result;
    streamState(api, record, {}, (state, view) => {
      // Created is created, whether or not its leader could be asked right after.
      if (isApiError(state) && !created) return done(state);
      const known = isApiError(state) ? emptyState(record) : state;
      done({
        ...streamInfoShape(record, known, clusterOfChange(api, view), api.nowUs),
        did_create: created || undefined,
      });
    });
  });
}

function update(api: ApiContext, { account, args, body }: ApiRequest, done: Answer) {
  const request = decodeStreamRequest(body);
  if (isApiError(request)) return done(request);
  if (!request.name) return done(nameRefusal());
  if (request.name !== args[0]) return done(apiError(10056));
  const refused = refusalOfUpdate(request, api.rules);
  if (refused) return done(refused);
  attemptUpdate(api, account, request, UPDATE_ATTEMPTS_MAX, done);
}

/** Reads the configuration, decides, and changes exactly what it read: decided anew when another update came first. */
function attemptUpdate(api: ApiContext, account: string, request: StreamRequest, attempts: number, done: Answer) {
  api.latestStream(account, request.name ?? '', (record) => {
    if (isApiError(record)) return done(record);
    const config = completeStreamUpdate(record.config, request, api.rules);
    if (isApiError(config)) return done(config);
    checkConsumers(api, record, config, (broken) => {
      if (broken) return done(broken);
      api.meta.updateStream(record, config, (updated) => {
        if (updated === 'changed') {
          if (attempts > 1) attemptUpdate(api, account, request, attempts - 1, done);
          else done(apiError(10008));
          return;
        }
        if (isApiError(updated)) return done(updated);
        // Answered when the partitions have it: whoever asks next, through any node, meets the new rules.
        streamState(api, updated, { revision: updated.revision }, (state, view) => {
          if (isApiError(state)) return done(state);
          done(streamInfoShape(updated, state, clusterOfChange(api, view), api.nowUs));
        });
      });
    });
  });
}

/** 10069 when existing consumers are beyond limits that an update brings. */
function checkConsumers(
  api: ApiContext,
  record: StreamRecord,
  next: StreamConfig,
  done: (broken: ApiError | undefined) => void,
) {
  const { max_ack_pending: most, inactive_threshold: longest } = next.consumer_limits;
  const before = record.config.consumer_limits;
  if (most === before.max_ack_pending && longest === before.inactive_threshold) return done(undefined);
  api.call(record, 0, 'consumerList', [], (consumers) => {
    if (isApiError(consumers)) return done(consumers);
    const broken = consumers.filter(({ config }) => isBeyondLimits(config, next)).map(({ name }) => name);
    const err = `change to limits violates consumers: ${broken.sort().join(', ')}`;
    done(broken.length > 0 ? apiError(10069, { err }) : undefined);
  });
}

/** Answers to changes name the cluster only where there is one. */
function clusterOfChange(api: ApiContext, view: GroupView): object | undefined {
  return api.names.clusterName === undefined ? undefined : clusterShape(api.names, view);
}

function remove(api: ApiContext, { account, args, body }: ApiRequest, done: Answer) {
  const refused = refuseBody(body);
  if (refused) return done(refused);
  api.meta.deleteStream(account, args[0], (result) => done(isApiError(result) ? result : { success: true }));
}

function info(api: ApiContext, { account, args, body }: ApiRequest, done: Answer) {
  const request = decode(body, INFO, true);
  if (isApiError(request)) return done(request);
  api.latestStream(account, args[0], (record) => {
    if (isApiError(record)) return done(record);
    const { deleted_details: deletedDetails } = request;
    const offset = Math.max(0, request.offset ?? 0);
    const filter = request.subjects_filter;
    const subjects = filter ? { filter, offset, limit: SUBJECTS_PER_PAGE } : undefined;
    streamState(api, record, { subjects, deletedDetails }, (state, view) => {
      if (isApiError(state)) return done(state);
      let paging = { total: 0, offset: 0, limit: 0 };
      if (state.subjects) {
        const total = state.subjects_total ?? 0;
        if (total > 0) paging = { total, offset, limit: SUBJECTS_PER_PAGE };
        if (offset >= total) state.subjects = undefined;
      }
      done({ ...paging, ...streamInfoShape(record, state, clusterShape(api.names, view), api.nowUs) });
    });
  });
}

function names(api: ApiContext, { account, body }: ApiRequest, done: Answer) {
  const request = decode(body, NAMES, true);
  if (isApiError(request)) return done(request);
  listed(api, account, request.subject, (records) => {
    if (isApiError(records)) return done(records);
    const { fields, items } = page(records, request.offset, NAMES_PER_PAGE);
    done({ ...fields, streams: records.length > 0 ? items.map((record) => record.name) : null });
  });
}

function infos(api: ApiContext, { account, body }: ApiRequest, done: Answer) {
  const request = decode(body, LIST, true);
  if (isApiError(request)) return done(request);
  listed(api, account, request.subject, (records) => {
    if (isApiError(records)) return done(records);
    const { fields, items } = page(records, request.offset, INFOS_PER_PAGE);
    const missing: string[] = [];
    gather<object | undefined>(
      items.length,
      (i, found) =>
        streamState(api, items[i], {}, (state, view) => {
          if (isApiError(state)) missing.push(items[i].name);
          found(
            isApiError(state) ? undefined : streamInfoShape(items[i], state, clusterShape(api.names, view), api.nowUs),
          );
        }),
      (all) =>
        done({
          ...fields,
          streams: all.filter((each) => each !== undefined),
          missing: missing.length > 0 ? missing.sort() : undefined,
        }),
    );
  });
}

/** The account's streams behind everything committed so far, those with a subject that meets `filter`. */
function listed(
  api: ApiContext,
  account: string,
  filter: string | undefined,
  done: (records: StreamRecord[] | ApiError) => void,
) {
  api.meta.readBarrier((ok) => {
    if (!ok) return done(apiError(10008));
    const all = api.catalog.streams(account);
    if (!filter) return done(all);
    done(isValidPattern(filter) ? all.filter(({ config }) => collides(config, filter)) : []);
  });
}

function purge(api: ApiContext, { account, args, body }: ApiRequest, done: Answer) {
  const request = decode(body, PURGE, true);
  if (isApiError(request)) return done(request);
  const { seq, keep, filter } = request;
  if (seq && keep) return done(apiError(10003));
  api.findStream(account, args[0], (record) => {
    if (isApiError(record)) return done(record);
    const { sealed, deny_purge } = record.config;
    if (sealed) return done(apiError(10109));
    if (deny_purge) return done(apiError(10110, { err: 'stream purge not permitted' }));
    if (filter && !isValidPattern(filter)) return done({ success: true, purged: 0 });
    const only = filter && !hasWildcard(filter) ? partitionOfSubject(filter, record.partitions) : undefined;
    const spread = only === undefined && record.partitions > 1;
    if (keep && spread) return purgeAllBut(api, record, filter, keep, done);
    const wanted = { filter: filter || undefined, seq: seq || undefined, keep: keep || undefined };
    purgePartitions(api, record, only, wanted, done);
  });
}

function purgePartitions(
  api: ApiContext,
  record: StreamRecord,
  only: number | undefined,
  wanted: { filter?: string; seq?: number; keep?: number },
  done: Answer,
) {
  onPartitions<number | ApiError>(
    record,
    only,
    (partition, found) => api.call(record, partition, 'purge', [wanted], found),
    (all) => {
      const refused = all.find(isApiError);
      done(refused ?? { success: true, purged: all.reduce<number>((sum, each) => sum + Number(each), 0) });
    },
  );
}

/** The newest `keep` messages of all partitions stay: which is the oldest of them is found first. What is stored meanwhile stays, too. */
function purgeAllBut(api: ApiContext, record: StreamRecord, filter: string | undefined, keep: number, done: Answer) {
  if (keep > KEPT_MAX) {
    return done(apiError(10110, { err: `on a stream of several partitions at most ${KEPT_MAX} messages can be kept` }));
  }
  onPartitions<number[] | ApiError>(
    record,
    undefined,
    (partition, found) => api.call(record, partition, 'newest', [filter ?? '', keep], found),
    (all) => {
      const refused = all.find(isApiError);
      if (refused !== undefined) return done(refused);
      const seqs = (all as number[][]).flat().sort((a, b) => b - a);
      if (seqs.length <= keep) return done({ success: true, purged: 0 });
      purgePartitions(api, record, undefined, { filter: filter || undefined, seq: seqs[keep - 1] }, done);
    },
  );
}

function deleteMessage(api: ApiContext, { account, args, body }: ApiRequest, done: Answer) {
  const request = decode(body, DELETE_MESSAGE);
  if (isApiError(request)) return done(request);
  if (request.seq === undefined) return done(apiError(10003));
  const { seq } = request;
  api.findStream(account, args[0], (record) => {
    if (isApiError(record)) return done(record);
    const { sealed, deny_delete } = record.config;
    if (sealed) return done(apiError(10109));
    if (deny_delete) return done(apiError(10057, { err: 'message delete not permitted' }));
    if (!Number.isSafeInteger(seq) || seq === 0) return done(apiError(10043, { seq }));
    api.call(record, seq % record.partitions, 'deleteMessage', [seq], (result) => {
      done(isApiError(result) ? result : { success: true });
    });
  });
}

function getMessage(api: ApiContext, { account, args, body }: ApiRequest, done: Answer) {
  const request = decode(body, GET);
  if (isApiError(request)) return done(request);
  const isBatch = (request.batch ?? 0) > 0 || (request.max_bytes ?? 0) > 0;
  const wanted = isBatch ? undefined : getRequest(request);
  if (wanted === undefined) return done(apiError(10003));
  api.findStream(account, args[0], (record) => {
    if (isApiError(record)) return done(record);
    readMessage(api, record, wanted, (message) => {
      if (isApiError(message)) return done(message);
      done({ message: storedMessageShape(request.no_hdr ? { ...message, hdr: new Uint8Array(0) } : message) });
    });
  });
}

/** One way of asking for one message; undefined: none, or several that exclude each other. */
export function getRequest(r: Decoded<typeof GET_FIELDS>): GetRequest | undefined {
  const start_time_us = r.start_time === undefined ? undefined : parseRfc3339(r.start_time);
  // Positions beyond what a double can hold are beyond every last message.
  const seq = r.seq ? Math.min(r.seq, Number.MAX_SAFE_INTEGER) : undefined;
  if (seq !== undefined && start_time_us !== undefined) return undefined;
  if (r.last_by_subj) {
    const isAlone = seq === undefined && !r.next_by_subj && start_time_us === undefined;
    return isAlone ? { last_by_subj: r.last_by_subj } : undefined;
  }
  if (r.next_by_subj) return { next_by_subj: r.next_by_subj, seq, start_time_us };
  if (seq !== undefined) return { seq };
  return start_time_us === undefined ? undefined : { start_time_us };
}

/** Reads one message, from all partitions that may hold it: the last one, or the first one, wins. */
export function readMessage(
  api: ApiContext,
  record: StreamRecord,
  request: GetRequest,
  done: (message: StoredMessage | ApiError) => void,
) {
  let only: number | undefined;
  if ('last_by_subj' in request) only = partitionOfLiteral(request.last_by_subj, record);
  else if ('next_by_subj' in request) only = partitionOfLiteral(request.next_by_subj, record);
  else if ('seq' in request) only = request.seq % record.partitions;
  const takesLast = 'last_by_subj' in request;
  onPartitions<StoredMessage | ApiError>(
    record,
    only,
    (partition, found) => api.call(record, partition, 'get', [request], found),
    (all) => {
      let best: StoredMessage | undefined;
      for (const each of all) {
        if (isApiError(each)) {
          if (each.err_code !== 10037) return done(each);
        } else if (best === undefined || each.seq > best.seq === takesLast) best = each;
      }
      done(best ?? apiError(10037));
    },
  );
}

/** Filters that are not even patterns match nothing; some partition says so. */
function partitionOfLiteral(filter: string, record: StreamRecord): number | undefined {
  if (!isValidPattern(filter)) return 0;
  return hasWildcard(filter) ? undefined : partitionOfSubject(filter, record.partitions);
}

/** Asks one partition or all of them. */
function onPartitions<T>(
  record: StreamRecord,
  only: number | undefined,
  ask: (partition: number, found: (result: T) => void) => void,
  all: (results: T[]) => void,
): void {
  if (only !== undefined) gather(1, (_, found) => ask(only, found), all);
  else gather(record.partitions, ask, all);
}

/** State of the whole stream, and who replicates its first partition. */
export function streamState(
  api: ApiContext,
  record: StreamRecord,
  want: { deletedDetails?: boolean; subjects?: InfoRequest['subjects']; revision?: number },
  done: (state: StreamState | ApiError, view: GroupView) => void,
): void {
  const { subjects: page } = want;
  // A page over several partitions may begin in any of them.
  const subjects = page && record.partitions > 1 ? { ...page, offset: 0, limit: page.offset + page.limit } : page;
  const wanted: InfoRequest = { deletedDetails: want.deletedDetails ?? false, subjects, revision: want.revision };
  let first: GroupView = { leader: 0, peers: [] };
  gather<StreamState | ApiError>(
    record.partitions,
    (partition, found) =>
      api.call(record, partition, 'info', [wanted], (state, view) => {
        if (partition === 0) first = view;
        found(state);
      }),
    (states) => {
      const refused = states.find(isApiError);
      done(refused ?? mergeStates(states as StreamState[], page), first);
    },
  );
}

function mergeStates(states: StreamState[], page: InfoRequest['subjects']): StreamState {
  if (states.length === 1) return states[0];
  const filled = states.filter((state) => state.messages > 0);
  const last = states.reduce((a, b) => (b.last_seq > a.last_seq ? b : a));
  const first = filled.length > 0 ? filled.reduce((a, b) => (b.first_seq < a.first_seq ? b : a)) : undefined;
  const sum = (of: (state: StreamState) => number): number => states.reduce((total, state) => total + of(state), 0);
  return {
    messages: sum((state) => state.messages),
    bytes: sum((state) => state.bytes),
    first_seq: first?.first_seq ?? (last.last_seq > 0 ? last.last_seq + 1 : 0),
    first_ts_us: first?.first_ts_us ?? 0,
    last_seq: last.last_seq,
    last_ts_us: Math.max(...states.map((state) => state.last_ts_us)),
    num_subjects: sum((state) => state.num_subjects),
    num_deleted: sum((state) => state.num_deleted),
    consumer_count: states[0].consumer_count,
    deleted: states.flatMap((state) => state.deleted ?? []).sort((a, b) => a - b),
    subjects: page && mergeSubjects(states, page.offset, page.limit),
    subjects_total: page && sum((state) => state.subjects_total ?? 0),
  };
}

function emptyState({ config }: StreamRecord): StreamState {
  const first = config.first_seq ?? 0;
  return {
    messages: 0,
    bytes: 0,
    first_seq: first,
    first_ts_us: 0,
    last_seq: Math.max(0, first - 1),
    last_ts_us: 0,
    num_subjects: 0,
    num_deleted: 0,
    consumer_count: 0,
  };
}

/** One partition after the other. */
function mergeSubjects(states: readonly StreamState[], offset: number, limit: number): Record<string, number> {
  const merged: Record<string, number> = {};
  let place = 0;
  for (const { subjects } of states) {
    for (const name in subjects) {
      if (place >= offset && place < offset + limit) merged[name] = subjects[name];
      place++;
    }
  }
  return merged;
}
