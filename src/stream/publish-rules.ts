// What a publish's headers may ask of a stream, as far as only the message and the configuration decide (nats-surface B4-B8).
// Pure; used by leader.ts. Features that this server does not have are refused, never ignored.
import { ROLLUP_ALL, ROLLUP_SUBJECT, TTL_NEVER } from './batch-codec.ts';
import type { StreamConfig } from './config.ts';
import { type ApiError, apiError } from './errors.ts';
import { Header, type PublishHeaders, parseTtl } from './publish-headers.ts';

/** Checked before the stream's state. */
export function earlyRefusal(headers: PublishHeaders, streamName: string): ApiError | undefined {
  if (isTraceOnly(headers)) return apiError(10052, { err: 'tracing messages is not supported by this server yet' });
  if (headers.has(Header.incr)) return apiError(10168);
  if (headers.has(Header.batchId)) return apiError(10174);
  if (headers.has(Header.expectedStream) && headers.text(Header.expectedStream) !== streamName) return apiError(10060);
  return undefined;
}

/** The message asks to be followed on its way and stored nowhere, as `nats trace` does (ADR-41). */
function isTraceOnly(headers: PublishHeaders): boolean {
  if (!headers.has(Header.traceDest) || !headers.has(Header.traceOnly)) return false;
  return ['1', 'true', 'on'].includes(headers.text(Header.traceOnly).toLowerCase());
}

/** Seconds to live (0: none, TTL_NEVER), or why not. */
export function ttlOf(config: StreamConfig, headers: PublishHeaders): number | ApiError {
  if (!headers.has(Header.ttl)) return 0;
  const seconds = parseTtl(headers.text(Header.ttl));
  if (seconds === undefined) return apiError(10165);
  if (!config.allow_msg_ttl) return apiError(10166);
  return seconds === Number.POSITIVE_INFINITY ? TTL_NEVER : seconds;
}

/** Checked after the stream's state. */
export function lateRefusal(headers: PublishHeaders): ApiError | undefined {
  // What a source of a stream writes of itself is not a client's to say.
  if (headers.has(Header.streamSource)) return apiError(10227);
  return headers.has(Header.schedule) || headers.has(Header.scheduler) ? apiError(10188) : undefined;
}

/** Rollup mark of the batch (0: none), or why not. */
export function rollupOf(config: StreamConfig, headers: PublishHeaders): number | ApiError {
  if (!headers.has(Header.rollup)) return 0;
  if (!config.allow_rollup_hdrs || config.deny_purge) return apiError(10111, { err: 'rollup not permitted' });
  const value = headers.text(Header.rollup).toLowerCase();
  if (value === 'sub') return ROLLUP_SUBJECT;
  if (value === 'all') return ROLLUP_ALL;
  return apiError(10111, { err: `rollup value invalid: "${value}"` });
}

/** On a stream of several partitions only what one of them can know may be expected: the rest is refused, never half checked. */
export function refusalOfPartitions(
  headers: PublishHeaders,
  isOfPartition: (subject: string) => boolean,
): ApiError | undefined {
  const what = OF_THE_WHOLE.find(([header]) => headers.has(header))?.[1];
  if (what !== undefined) return apiError(10052, { err: `${what} is not supported on a stream of several partitions` });
  if (headers.has(Header.expectedLastSubjectSeqSubject)) {
    const isHere = isOfPartition(headers.text(Header.expectedLastSubjectSeqSubject));
    if (!isHere) return apiError(10052, { err: 'the expected sequence is of a subject in another partition' });
  }
  if (headers.has(Header.rollup) && headers.text(Header.rollup).toLowerCase() === 'all') {
    return apiError(10111, { err: 'rollup of all subjects is not supported on a stream of several partitions' });
  }
  return undefined;
}

const OF_THE_WHOLE: [header: Header, what: string][] = [
  [Header.expectedLastSeq, 'the expected last sequence of the stream'],
  [Header.expectedLastMsgId, 'the expected last message id'],
];

/** What `state.bytes` counts for one message (nats-surface X7). */
export function accountedBytes(storage: 'file' | 'memory', subject: number, hdr: number, payload: number): number {
  if (storage === 'memory') return subject + hdr + payload + 16;
  return 22 + subject + payload + 8 + (hdr > 0 ? 4 + hdr : 0);
}
