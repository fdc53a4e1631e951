// A stored message as bytes between nodes: the answer of a forwarded get. Pure.
// u8 kind | f64 seq | f64 stamp µs | u16 subject | u32 headers | subject, headers, payload.

import type { StoredMessage } from '../stream/types.ts';

const FIXED = 8 + 8 + 2 + 4;

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
