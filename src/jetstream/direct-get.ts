// `$JS.API.DIRECT.GET.<stream>[.<subject>]`: messages as they were stored, their position in headers (nats-surface §2.7, D1 to D5).
// No JSON in answers. Streams without allow_direct, and those that do not exist, answer as if nobody listened.

import type { StreamRecord } from '../meta/types.ts';
import { parseRfc3339 } from '../stream/consumer-time.ts';
import { isApiError } from '../stream/errors.ts';
import type { StoredMessage } from '../stream/types.ts';
import type { ApiContext, ApiRequest } from './api-context.ts';
import { type BatchEnd, type BatchLimits, lastSeqs, rangeBatch, seqsBatch } from './direct-batch.ts';
import { timeText } from './shapes.ts';
import { getRequest, readMessage } from './stream-api.ts';
import { type Decoded, decodeLenient, flag, int, list, schema, text, time, uint64 } from './strict-json.ts';

/** One frame to the reply subject. */
export type Frame = (hdr: Uint8Array, payload: Uint8Array) => void;

const FIELDS = {
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
const GET = schema('JSApiMsgGetRequest', FIELDS);
type Wanted = Decoded<typeof FIELDS>;

const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();

function status(line: string): Uint8Array {
  return encoder.encode(`NATS/1.0 ${line}\r\n\r\n`);
}

export const NO_RESPONDERS = status('503');
const NOT_FOUND = status('404 Message Not Found');
const NO_RESULTS = status('404 No Results');
const EMPTY_REQUEST = status('408 Empty Request');
const MALFORMED = status('408 Malformed Request');
const BAD_REQUEST = status('408 Bad Request');
const TOO_MANY = status('413 Too Many Results');
export const UNAVAILABLE = status('503 JetStream system temporarily unavailable');

export function directGet(api: ApiContext, { account, args, body }: ApiRequest, send: Frame) {
  const [name, ...tokens] = args;
  const subject = tokens.join('.');
  const decoded: Wanted | string = subject !== '' && body.length === 0 ? {} : decodeLenient(body, GET);
  const isEmpty = subject === '' && body.length === 0;
  api.findStream(account, name, (record) => {
    if (isApiError(record)) return send(record.err_code === 10008 ? UNAVAILABLE : NO_RESPONDERS, EMPTY);
    if (!record.config.allow_direct) return send(NO_RESPONDERS, EMPTY);
    if (isEmpty) return send(EMPTY_REQUEST, EMPTY);
    if (typeof decoded === 'string') return send(MALFORMED, EMPTY);
    if (subject === '') return answer(api, record, decoded, send);
    const { no_hdr, ...others } = decoded;
    // The subject says it all; beside it only this is allowed.
    if (Object.keys(others).length > 0) return send(BAD_REQUEST, EMPTY);
    one(api, record, { last_by_subj: subject, no_hdr }, send);
  });
}

function answer(api: ApiContext, record: StreamRecord, wanted: Wanted, send: Frame) {
  const { seq, last_by_subj, next_by_subj, multi_last, start_time, batch, up_to_seq, up_to_time } = wanted;
  const isMulti = (multi_last?.length ?? 0) > 0;
  if (!seq && !last_by_subj && !next_by_subj && !isMulti && start_time === undefined) return send(EMPTY_REQUEST, EMPTY);
  const conflicts =
    (seq && (last_by_subj || start_time !== undefined)) ||
    (last_by_subj && (next_by_subj || isMulti || batch || start_time !== undefined)) ||
    (next_by_subj && isMulti) ||
    (up_to_seq && up_to_time !== undefined);
  if (conflicts) return send(BAD_REQUEST, EMPTY);
  if (isMulti) multiLast(api, record, wanted, send);
  else if (batch) range(api, record, wanted, send);
  else one(api, record, wanted, send);
}

function one(api: ApiContext, record: StreamRecord, wanted: Wanted, send: Frame) {
  const request = getRequest(wanted);
  if (request === undefined) return send(BAD_REQUEST, EMPTY);
  readMessage(api, record, request, (message) => {
    if (isApiError(message)) return send(message.err_code === 10037 ? NOT_FOUND : UNAVAILABLE, EMPTY);
    send(wanted.no_hdr ? EMPTY : withOrigin(record.name, message, ''), message.payload);
  });
}

function range(api: ApiContext, record: StreamRecord, wanted: Wanted, send: Frame) {
  const { seq, next_by_subj: filter = '', start_time, no_hdr } = wanted;
  const start_time_us = start_time === undefined ? undefined : parseRfc3339(start_time);
  rangeBatch(
    api,
    record,
    { filter, seq: seq || undefined, start_time_us },
    limitsOf(wanted),
    (message, pending, lastSeq) =>
      send(no_hdr ? EMPTY : withOrigin(record.name, message, place(pending, lastSeq)), message.payload),
    (end) => {
      if (isApiError(end)) return send(UNAVAILABLE, EMPTY);
      if (end.sent === 0 && (wanted.batch ?? 0) > 0) return send(NOT_FOUND, EMPTY);
      // As the reference server: without headers the messages sent are not counted off.
      send(eob(no_hdr ? { ...end, pending: end.pending + end.sent } : end), EMPTY);
    },
  );
}

function multiLast(api: ApiContext, record: StreamRecord, wanted: Wanted, send: Frame) {
  const { multi_last: filters = [], seq: from = 0, up_to_seq, up_to_time } = wanted;
  const up_to_time_us = up_to_time === undefined ? undefined : parseRfc3339(up_to_time);
  lastSeqs(api, record, { filters, up_to_seq: up_to_seq || undefined, up_to_time_us }, (found) => {
    if (found === 'too-many') return send(TOO_MANY, EMPTY);
    if (isApiError(found)) return send(UNAVAILABLE, EMPTY);
    const isBeyond = (up_to_seq ?? 0) > found.lastSeq;
    if (found.seqs.length === 0 || isBeyond) return send(NO_RESULTS, EMPTY);
    const upTo = up_to_seq || found.upTo;
    seqsBatch(
      api,
      record,
      found.seqs.filter((seq) => seq >= from),
      limitsOf({ ...wanted, batch: Math.max(0, wanted.batch ?? 0) || found.seqs.length }),
      (message, pending, lastSeq) => send(withOrigin(record.name, message, place(pending, lastSeq)), message.payload),
      (end) => {
        if (isApiError(end)) send(UNAVAILABLE, EMPTY);
        else send(eob(end, `Nats-UpTo-Sequence: ${upTo}\r\n`), EMPTY);
      },
    );
  });
}

function limitsOf({ batch = 0, max_bytes }: Wanted): BatchLimits {
  return { count: batch, bytes: max_bytes || undefined };
}

/** Where a message stands in its batch. */
function place(pending: number, lastSeq: number): string {
  return `Nats-Num-Pending: ${pending}\r\nNats-Last-Sequence: ${lastSeq}\r\n`;
}

function eob({ pending, lastSeq }: BatchEnd, more = ''): Uint8Array {
  return encoder.encode(`NATS/1.0 204 EOB\r\n${place(pending, lastSeq)}${more}\r\n`);
}

/** The stored headers, then where the message comes from. */
function withOrigin(stream: string, message: StoredMessage, more: string): Uint8Array {
  const lines =
    `Nats-Stream: ${stream}\r\nNats-Subject: ${message.subject}\r\nNats-Sequence: ${message.seq}\r\n` +
    `Nats-Time-Stamp: ${timeText(message.stampUs)}\r\n${more}\r\n`;
  const stored = message.hdr;
  if (stored.length === 0) return encoder.encode(`NATS/1.0\r\n${lines}`);
  const added = encoder.encode(lines);
  const hdr = new Uint8Array(stored.length - 2 + added.length);
  hdr.set(stored.subarray(0, stored.length - 2));
  hdr.set(added, stored.length - 2);
  return hdr;
}
