// What the payload of an ack message asks for (nats-surface A3). Pure. The plain ack, which is nearly all of them, is decided by
// length and first byte.
import { parseGoDuration } from './delivery-durations.ts';

export type AckVerb =
  | { kind: 'ack' }
  | { kind: 'nak'; delayMs: number }
  | { kind: 'progress' }
  | { kind: 'term'; reason: string }
  | { kind: 'next'; body: Uint8Array };

const ACK: AckVerb = { kind: 'ack' };
const PROGRESS: AckVerb = { kind: 'progress' };
const decoder = new TextDecoder();

/** Undefined: nothing that a client may say; ignored. */
export function parseAckVerb(payload: Uint8Array): AckVerb | undefined {
  if (payload.length === 0 || isAck(payload)) return ACK;
  const word = wordOf(payload);
  switch (word) {
    case '+OK':
      return payload.length === word.length ? ACK : undefined;
    case '-NAK':
      return { kind: 'nak', delayMs: delayOf(restOf(payload, word)) };
    case '+WPI':
      return payload.length === word.length ? PROGRESS : undefined;
    case '+TERM':
      return { kind: 'term', reason: restOf(payload, word) };
    case '+NXT':
      return { kind: 'next', body: payload.subarray(Math.min(payload.length, word.length + 1)) };
    default:
      return undefined;
  }
}

/** `+ACK`, what clients say for nearly every message. */
function isAck(payload: Uint8Array): boolean {
  return payload.length === 4 && payload[0] === 43 && payload[1] === 65 && payload[2] === 67 && payload[3] === 75;
}

/** Up to the first space; verbs have at most five letters. */
function wordOf(payload: Uint8Array): string {
  let end = 0;
  while (end < payload.length && end < 6 && payload[end] !== 32) end++;
  return String.fromCharCode(...payload.subarray(0, end));
}

function restOf(payload: Uint8Array, word: string): string {
  return payload.length <= word.length ? '' : decoder.decode(payload.subarray(word.length)).trim();
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
