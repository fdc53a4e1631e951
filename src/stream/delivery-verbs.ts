// What the payload of an ack message asks for (nats-surface A3). Pure. The plain ack, which is nearly all of them, is decided by
// length and first byte.
import { parseGoDuration } from './delivery-durations.ts';

export type AckVerb =
  | { kind: 'ack' }
  | { kind: 'nak'; delayMs: number }
  | { kind: 'progress' }
  | { kind: 'term'; reason: string }
  | { kind: 'next'; body: Uint8Array }
  | { kind: 'unknown' };

const ACK: AckVerb = { kind: 'ack' };
const PROGRESS: AckVerb = { kind: 'progress' };
const UNKNOWN: AckVerb = { kind: 'unknown' };
const WORD_BYTES_MAX = 5;
const decoder = new TextDecoder();

/** What follows a word that takes something need not be behind a space. */
export function parseAckVerb(payload: Uint8Array): AckVerb {
  if (payload.length === 0 || isAck(payload)) return ACK;
  const start = String.fromCharCode(...payload.subarray(0, WORD_BYTES_MAX));
  if (start.startsWith('-NAK')) return { kind: 'nak', delayMs: delayOf(restOf(payload, 4)) };
  if (start.startsWith('+TERM')) return { kind: 'term', reason: restOf(payload, 5) };
  if (start.startsWith('+NXT')) return { kind: 'next', body: payload.subarray(4) };
  if (payload.length === 4 && start === '+WPI') return PROGRESS;
  return payload.length === 3 && start === '+OK' ? ACK : UNKNOWN;
}

/** The message is not handed out again. */
export function isFinal(verb: AckVerb): boolean {
  return verb.kind === 'ack' || verb.kind === 'term' || verb.kind === 'next';
}

/** `+ACK`, what clients say for nearly every message. */
function isAck(payload: Uint8Array): boolean {
  return payload.length === 4 && payload[0] === 43 && payload[1] === 65 && payload[2] === 67 && payload[3] === 75;
}

function restOf(payload: Uint8Array, from: number): string {
  return payload.length <= from ? '' : decoder.decode(payload.subarray(from)).trim();
}

/** `{"delay":ns}` or a Go duration; anything else means now. */
function delayOf(text: string): number {
  if (text === '') return 0;
  if (!text.startsWith('{')) return toMs(parseGoDuration(text));
  try {
    return toMs((JSON.parse(text) as { delay?: unknown }).delay);
  } catch {
    return 0; // not JSON: what a client writes there must not matter to anyone else
  }
}

function toMs(ns: unknown): number {
  return typeof ns === 'number' && Number.isFinite(ns) && ns > 0 ? ns / 1e6 : 0;
}
