// Stored messages as bytes between nodes: the answers of forwarded gets. Pure.
// message: u8 kind | f64 seq | f64 stamp µs | u16 subject | u32 headers | subject, headers, payload.
// batch: u8 kind | u8 more | f64 pending | per message: u32 length, message (its kind is 0).

import type { MessageBatch, StoredMessage } from '../stream/types.ts';

const FIXED = 8 + 8 + 2 + 4;
const BATCH_FIXED = 1 + 8;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** `kind` becomes the first byte. */
export function encodeMessage(kind: number, message: StoredMessage): Uint8Array {
  const subject = encoder.encode(message.subject);
  const bytes = new Uint8Array(1 + FIXED + subject.length + message.hdr.length + message.payload.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = kind;
  view.setFloat64(1, message.seq);
  view.setFloat64(9, message.stampUs);
  view.setUint16(17, subject.length);
  view.setUint32(19, message.hdr.length);
  let at = 1 + FIXED;
  for (const part of [subject, message.hdr, message.payload]) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** `bytes` without the first byte. The result's parts are views of them. Undefined: malformed. */
export function decodeMessage(bytes: Uint8Array): StoredMessage | undefined {
  if (bytes.length < FIXED) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const hdrAt = FIXED + view.getUint16(16);
  const payloadAt = hdrAt + view.getUint32(18);
  if (payloadAt > bytes.length) return undefined;
  return {
    seq: view.getFloat64(0),
    stampUs: view.getFloat64(8),
    subject: decoder.decode(bytes.subarray(FIXED, hdrAt)),
    hdr: bytes.subarray(hdrAt, payloadAt),
    payload: bytes.subarray(payloadAt),
  };
}

/** `kind` becomes the first byte. */
export function encodeBatch(kind: number, { messages, more, pending }: MessageBatch): Uint8Array {
  const parts = messages.map((message) => encodeMessage(0, message));
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + 4 + part.length, BATCH_FIXED + 1));
  const view = new DataView(bytes.buffer);
  bytes[0] = kind;
  bytes[1] = more ? 1 : 0;
  view.setFloat64(2, pending);
  let at = 1 + BATCH_FIXED;
  for (const part of parts) {
    view.setUint32(at, part.length);
    bytes.set(part, at + 4);
    at += 4 + part.length;
  }
  return bytes;
}

/** `bytes` without the first byte. Undefined: malformed. */
export function decodeBatch(bytes: Uint8Array): MessageBatch | undefined {
  if (bytes.length < BATCH_FIXED) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const messages: StoredMessage[] = [];
  for (let at = BATCH_FIXED; at < bytes.length; ) {
    if (at + 4 > bytes.length) return undefined;
    const end = at + 4 + view.getUint32(at);
    if (end > bytes.length || end < at + 5) return undefined;
    const message = decodeMessage(bytes.subarray(at + 5, end));
    if (message === undefined) return undefined;
    messages.push(message);
    at = end;
  }
  return { messages, more: bytes[0] === 1, pending: view.getFloat64(1) };
}
