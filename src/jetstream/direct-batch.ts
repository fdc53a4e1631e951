// `$JS.API.DIRECT.GET` for several messages (ADR-31; nats-surface D3, D4): a range that matches a filter, or the last message of each of
// many subjects. One frame per message, then a status frame that ends it. Used by direct-get.ts. Partitions are asked for pieces of
// bounded size, and what they send is merged by seq, so a batch of any length holds little memory here.
import type { StreamRecord } from '../meta/types.ts';
import { type ApiError, isApiError } from '../stream/errors.ts';
import type { BatchRequest, MessageBatch, StoredMessage } from '../stream/types.ts';
import { type ApiContext, gather } from './api-context.ts';

/** One piece of a batch, from one partition. */
const PIECE_MESSAGES = 1024;
const PIECE_BYTES = 1 << 20;
/** Of a batch that names no bound of its own. */
const BATCH_BYTES_MAX = 64 << 20;
/** Subjects in one answer. */
const SUBJECTS_MAX = 1024;

/** How far a batch came; `lastSeq` 0: nothing was sent. */
export interface BatchEnd {
  sent: number;
  pending: number;
  lastSeq: number;
}

export interface BatchLimits {
  /** Negative: none at all. */
  count: number;
  /** Negative: the first message is beyond it. */
  bytes: number | undefined;
}

type OnMessage = (message: StoredMessage, pending: number, lastSeq: number) => void;

/** Messages that match `filter` ('' all), beginning with a seq or a time. */
export function rangeBatch(
  api: ApiContext,
  record: StreamRecord,
  range: { filter: string; seq?: number; start_time_us?: number },
  limits: BatchLimits,
  onMessage: OnMessage,
  done: (end: BatchEnd | ApiError) => void,
): void {
  const first = (partition: number, found: (batch: MessageBatch | ApiError) => void): void =>
    ask(api, record, partition, { ...range, count: PIECE_MESSAGES, bytes: PIECE_BYTES }, found);
  const later = (partition: number, seq: number, found: (batch: MessageBatch | ApiError) => void): void =>
    ask(api, record, partition, { filter: range.filter, seq, count: PIECE_MESSAGES, bytes: PIECE_BYTES }, found);
  merge(record.partitions, first, later, undefined, limits, onMessage, done);
}

/** The messages of `seqs`, as far as they still exist. */
export function seqsBatch(
  api: ApiContext,
  record: StreamRecord,
  seqs: number[],
  limits: BatchLimits,
  onMessage: OnMessage,
  done: (end: BatchEnd | ApiError) => void,
): void {
  const of = (partition: number, from: number): number[] =>
    seqs.filter((seq) => seq % record.stride === partition && seq >= from).slice(0, PIECE_MESSAGES);
  const piece = (partition: number, from: number, found: (batch: MessageBatch | ApiError) => void): void => {
    const wanted = of(partition, from);
    if (wanted.length === 0) found({ messages: [], more: false, pending: 0 });
    else ask(api, record, partition, { seqs: wanted, count: PIECE_MESSAGES, bytes: PIECE_BYTES }, found);
  };
  const first = (partition: number, found: (batch: MessageBatch | ApiError) => void): void =>
    piece(partition, 0, found);
  merge(record.partitions, first, piece, seqs.length, limits, onMessage, done);
}

/** The seqs of the last messages of subjects over all partitions, ascending, up to which seq they were looked for, and the last one. */
export function lastSeqs(
  api: ApiContext,
  record: StreamRecord,
  wanted: { filters: string[]; up_to_seq?: number; up_to_time_us?: number },
  done: (found: { seqs: number[]; upTo: number; lastSeq: number } | 'too-many' | ApiError) => void,
): void {
  type Found = { seqs: number[]; upTo: number; lastSeq: number } | 'too-many' | ApiError;
  gather<Found>(
    record.partitions,
    (partition, found) => api.call(record, partition, 'getLast', [{ ...wanted, max: SUBJECTS_MAX }], found),
    (all) => {
      const total = { seqs: [] as number[], upTo: 0, lastSeq: 0 };
      for (const each of all) {
        if (each === 'too-many' || isApiError(each)) return done(each);
        total.seqs.push(...each.seqs);
        total.upTo = Math.max(total.upTo, each.upTo);
        total.lastSeq = Math.max(total.lastSeq, each.lastSeq);
      }
      if (total.seqs.length > SUBJECTS_MAX) return done('too-many');
      total.seqs.sort((a, b) => a - b);
      done(total);
    },
  );
}

function ask(
  api: ApiContext,
  record: StreamRecord,
  partition: number,
  request: BatchRequest,
  found: (batch: MessageBatch | ApiError) => void,
): void {
  api.call(record, partition, 'getBatch', [request], found);
}

/** Pieces of all partitions in one order. What lies behind the end of some partition's piece waits until that partition has been asked
 * again. `pending`: how many there are; the partitions say so when it is not known. */
function merge(
  partitions: number,
  first: (partition: number, found: (batch: MessageBatch | ApiError) => void) => void,
  later: (partition: number, seq: number, found: (batch: MessageBatch | ApiError) => void) => void,
  known: number | undefined,
  limits: BatchLimits,
  onMessage: OnMessage,
  done: (end: BatchEnd | ApiError) => void,
): void {
  const bytesMax = limits.bytes === undefined ? BATCH_BYTES_MAX : limits.bytes;
  const end: BatchEnd = { sent: 0, pending: known ?? 0, lastSeq: 0 };
  let bytes = 0;
  const queues: { messages: StoredMessage[]; at: number; more: boolean }[] = [];

  /** Sends what is certain to be next; the partition that must be asked before more is; undefined: the end. */
  const send = (): number | undefined => {
    for (;;) {
      if (end.sent >= limits.count || (end.sent > 0 && bytes >= bytesMax)) return undefined;
      let best: number | undefined;
      for (const [partition, queue] of queues.entries()) {
        if (queue.at === queue.messages.length) {
          if (queue.more) return partition;
          continue;
        }
        const seq = queue.messages[queue.at].seq;
        if (best === undefined || seq < queues[best].messages[queues[best].at].seq) best = partition;
      }
      if (best === undefined) return undefined;
      const message = queues[best].messages[queues[best].at++];
      end.pending = Math.max(0, end.pending - 1);
      onMessage(message, end.pending, end.lastSeq);
      end.sent++;
      end.lastSeq = message.seq;
      bytes += message.subject.length + message.hdr.length + message.payload.length;
    }
  };

  const goOn = (): void => {
    const partition = send();
    if (partition === undefined) {
      done(end);
      return;
    }
    const last = queues[partition].messages.at(-1)?.seq ?? 0;
    later(partition, last + 1, (batch) => {
      if (isApiError(batch)) return done(batch);
      queues[partition] = { messages: batch.messages, at: 0, more: batch.more && batch.messages.length > 0 };
      goOn();
    });
  };

  gather<MessageBatch | ApiError>(partitions, first, (all) => {
    for (const batch of all) {
      if (isApiError(batch)) return done(batch);
      if (known === undefined) end.pending += batch.pending;
      queues.push({ messages: batch.messages, at: 0, more: batch.more && batch.messages.length > 0 });
    }
    goOn();
  });
}
