// The body of a pull request (nats-surface §2.5): nothing, a number, or JSON that is read leniently (X3). Pure.
import type { ConsumerConfig } from './config.ts';
import { formatGoDuration } from './delivery-durations.ts';
import { badRequest, exceeded } from './delivery-frames.ts';

/** Durations in milliseconds, 0 = none; bytes 0 = no bound. Who expires before it begins is answered so at once. */
export interface PullBody {
  batch: number;
  expiresMs: number;
  noWait: boolean;
  maxBytes: number;
  heartbeatMs: number;
}

const decoder = new TextDecoder();
const ONE: PullBody = { batch: 1, expiresMs: 0, noWait: false, maxBytes: 0, heartbeatMs: 0 };

/** The request, or the status frame that refuses it. */
export function parsePull(body: Uint8Array, config: ConsumerConfig): PullBody | Uint8Array {
  const request = readPull(body);
  if (request instanceof Uint8Array) return request;
  const { max_batch: batchMax = 0, max_expires: expiresMax = 0, max_bytes: bytesMax = 0 } = config;
  if (batchMax > 0 && request.batch > batchMax) return exceeded('MaxRequestBatch', String(batchMax));
  if (expiresMax > 0 && request.expiresMs * 1e6 > expiresMax) {
    return exceeded('MaxRequestExpires', formatGoDuration(expiresMax));
  }
  if (bytesMax > 0 && request.maxBytes > bytesMax) return exceeded('MaxRequestMaxBytes', String(bytesMax));
  return request;
}

/** As parsePull, whatever the consumer allows. */
export function readPull(body: Uint8Array): PullBody | Uint8Array {
  if (body.length === 0) return ONE;
  const text = decoder.decode(body).trim();
  if (!text.startsWith('{')) {
    const batch = /^[+-]?\d{1,15}$/.test(text) ? Number(text) : 1;
    return { ...ONE, batch: Math.max(1, batch) };
  }
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return badRequest('invalid JSON');
  }
  const fields = new Map(Object.entries(json).map(([key, value]) => [key.toLowerCase(), value]));
  for (const name of ['batch', 'expires', 'max_bytes', 'idle_heartbeat']) {
    const value = fields.get(name);
    if (value !== undefined && value !== null && typeof value !== 'number') return badRequest(`invalid ${name}`);
  }
  const expiresNs = numberOf(fields.get('expires'));
  const heartbeatNs = numberOf(fields.get('idle_heartbeat'));
  if (heartbeatNs > 0 && heartbeatNs * 2 > expiresNs) return badRequest('heartbeat value too large');
  return {
    batch: Math.max(1, Math.floor(numberOf(fields.get('batch')))),
    expiresMs: expiresNs / 1e6,
    noWait: fields.get('no_wait') === true,
    maxBytes: Math.max(0, Math.floor(numberOf(fields.get('max_bytes')))),
    heartbeatMs: heartbeatNs / 1e6,
  };
}

function numberOf(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : 0;
}
