// `$JS.API.DIRECT.GET.<stream>[.<subject>]`: one message as it was stored, its position in headers (nats-surface §2.7, D1, D2, D5).
// No JSON in answers. Streams without allow_direct, and those that do not exist, answer as if nobody listened.

import { isApiError } from '../stream/errors.ts';
import type { StoredMessage } from '../stream/types.ts';
import type { ApiContext, ApiRequest } from './api-context.ts';
import { timeText } from './shapes.ts';
import { getRequest, readMessage } from './stream-api.ts';
import { decodeLenient, flag, int, list, schema, text, time, uint64 } from './strict-json.ts';

/** One frame to the reply subject. */
export type Frame = (hdr: Uint8Array, payload: Uint8Array) => void;

const GET = schema('JSApiMsgGetRequest', {
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
});

const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();

function status(line: string): Uint8Array {
  return encoder.encode(`NATS/1.0 ${line}\r\n\r\n`);
}

export const NO_RESPONDERS = status('503');
const NOT_FOUND = status('404 Message Not Found');
const EMPTY_REQUEST = status('408 Empty Request');
const MALFORMED = status('408 Malformed Request');
const BAD_REQUEST = status('408 Bad Request');
/** Batches and multi_last are not served yet. */
const NO_BATCHES = status('408 Batch Not Supported');
export const UNAVAILABLE = status('503 JetStream system temporarily unavailable');

export function directGet(api: ApiContext, { account, args, body }: ApiRequest, send: Frame) {
  const [name, ...tokens] = args;
  const subject = tokens.join('.');
  let decoded = decodeLenient(body, GET);
  if (subject !== '') decoded = body.length > 0 ? 'no body expected' : { last_by_subj: subject };
  const isEmpty = subject === '' && body.length === 0;
  api.findStream(account, name, (record) => {
    if (isApiError(record)) return send(record.err_code === 10008 ? UNAVAILABLE : NO_RESPONDERS, EMPTY);
    if (!record.config.allow_direct) return send(NO_RESPONDERS, EMPTY);
    if (isEmpty) return send(EMPTY_REQUEST, EMPTY);
    if (typeof decoded === 'string') return send(subject === '' ? MALFORMED : BAD_REQUEST, EMPTY);
    const { no_hdr } = decoded;
    const wanted = getRequest(decoded);
    if (decoded.multi_last?.length) return send(wanted === undefined || decoded.seq ? NO_BATCHES : BAD_REQUEST, EMPTY);
    if (wanted === undefined) return send(BAD_REQUEST, EMPTY);
    if (decoded.batch) return send('last_by_subj' in wanted ? BAD_REQUEST : NO_BATCHES, EMPTY);
    readMessage(api, record, wanted, (message) => {
      if (!isApiError(message)) send(directHeaders(name, message, no_hdr === true), message.payload);
      else send(message.err_code === 10037 ? NOT_FOUND : UNAVAILABLE, EMPTY);
    });
  });
}

/** The stored headers, then where the message comes from. */
function directHeaders(stream: string, message: StoredMessage, noStored: boolean): Uint8Array {
  const lines =
    `Nats-Stream: ${stream}\r\nNats-Subject: ${message.subject}\r\nNats-Sequence: ${message.seq}\r\n` +
    `Nats-Time-Stamp: ${timeText(message.stampUs)}\r\n\r\n`;
  const stored = message.hdr;
  if (noStored || stored.length === 0) return encoder.encode(`NATS/1.0\r\n${lines}`);
  const added = encoder.encode(lines);
  const hdr = new Uint8Array(stored.length - 2 + added.length);
  hdr.set(stored.subarray(0, stored.length - 2));
  hdr.set(added, stored.length - 2);
  return hdr;
}
