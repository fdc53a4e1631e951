// Frames of Channel.publish (pure): the publishes that one node forwards to another in one turn, and their answers.
// Called by publish-router. Invariant: whatever bytes arrive, decoding ends with a result or `undefined`, never a throw.
//
// forward: u8 1, u32 epoch, then per message: f64 group, f64 term, u32 token, u16 subject, u32 hdr, u32 payload lengths, bytes
// answers: u8 2, u32 epoch, then per answer:  u32 token, u8 outcome, then stored/duplicate: f64 seq,
//          refused: u16 err_code, u16 code, u16 text length, text
// returned: u8 3, and the rest as in forward: publishes that were not looked at, for whoever leads next
// `term` is that of the leader to which the publish is sent; it comes back with that term

import { RawMessage } from '../broker/raw-message.ts';
import type { Message } from '../broker/types.ts';
import { Interner } from '../subjects/interner.ts';

export const FORWARD = 1;
export const ANSWERS = 2;
export const RETURNED = 3;

export const Outcome = { stored: 0, duplicate: 1, refused: 2 } as const;

const HEADER_BYTES = 5;
const FORWARD_FIXED = 30;
const ANSWER_FIXED = 5;
const INITIAL_BYTES = 16 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const NO_BYTES = new Uint8Array(0);
/** Of all peers. */
const subjects = new Interner();

/** What of a message is stored. */
export type Body = Pick<Message, 'subject' | 'hdr' | 'payload'>;

/** A buffer that grows by doubling; handed over whole by `take`, then started anew. */
export class FrameBuilder {
  readonly #kind: number;
  #bytes = NO_BYTES;
  #view = new DataView(this.#bytes.buffer);
  length = 0;

  constructor(kind: number) {
    this.#kind = kind;
  }

  #reserve(extra: number): void {
    const start = this.length === 0 ? HEADER_BYTES : this.length;
    const needed = start + extra;
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(INITIAL_BYTES, needed, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, this.length));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.length = start;
  }

  addForward(group: number, term: number, token: number, message: Body): void {
    const { subject } = message;
    const raw = message instanceof RawMessage ? message : undefined;
    const hdrBytes = raw !== undefined ? raw.payloadStart - raw.hdrStart : message.hdr.length;
    const payloadBytes = raw !== undefined ? raw.end - raw.payloadStart : message.payload.length;
    this.#reserve(FORWARD_FIXED + subject.length * 3 + hdrBytes + payloadBytes);
    const at = this.length;
    const body = at + FORWARD_FIXED;
    const subjectBytes = writeText(this.#bytes, body, subject);
    this.#view.setFloat64(at, group);
    this.#view.setFloat64(at + 8, term);
    this.#view.setUint32(at + 16, token);
    this.#view.setUint16(at + 20, subjectBytes);
    this.#view.setUint32(at + 22, hdrBytes);
    this.#view.setUint32(at + 26, payloadBytes);
    const hdrAt = body + subjectBytes;
    if (raw !== undefined) raw.bytes.copy(this.#bytes, hdrAt, raw.hdrStart, raw.end);
    else {
      this.#bytes.set(message.hdr, hdrAt);
      this.#bytes.set(message.payload, hdrAt + hdrBytes);
    }
    this.length = hdrAt + hdrBytes + payloadBytes;
  }

  addStored(token: number, seq: number, duplicate: boolean): void {
    this.#reserve(ANSWER_FIXED + 8);
    this.#view.setUint32(this.length, token);
    this.#bytes[this.length + 4] = duplicate ? Outcome.duplicate : Outcome.stored;
    this.#view.setFloat64(this.length + ANSWER_FIXED, seq);
    this.length += ANSWER_FIXED + 8;
  }

  addRefused(token: number, errCode: number, code: number, text: string): void {
    const bytes = encoder.encode(text);
    this.#reserve(ANSWER_FIXED + 6 + bytes.length);
    const at = this.length;
    this.#view.setUint32(at, token);
    this.#bytes[at + 4] = Outcome.refused;
    this.#view.setUint16(at + 5, errCode);
    this.#view.setUint16(at + 7, code);
    this.#view.setUint16(at + 9, bytes.length);
    this.#bytes.set(bytes, at + 11);
    this.length = at + 11 + bytes.length;
  }

  /** The finished frame; the builder starts anew on a buffer of its own. */
  take(epoch: number): Uint8Array {
    this.#bytes[0] = this.#kind;
    this.#view.setUint32(1, epoch);
    const frame = this.#bytes.subarray(0, this.length);
    this.#bytes = new Uint8Array(Math.min(this.#bytes.length, 1 << 20));
    this.#view = new DataView(this.#bytes.buffer);
    this.length = 0;
    return frame;
  }
}

function writeText(target: Uint8Array, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 127) return encoder.encodeInto(text, target.subarray(at)).written;
    target[at + i] = unit;
  }
  return text.length;
}

export interface FrameReader {
  /** Also of what was returned. */
  onForward(group: number, term: number, token: number, subject: string, hdr: Uint8Array, payload: Uint8Array): void;
  onStored(token: number, seq: number, duplicate: boolean): void;
  onRefused(token: number, errCode: number, code: number, text: string): void;
}

/** Kind and epoch of a frame; undefined when it is none. */
export function frameHeader(bytes: Uint8Array): { kind: number; epoch: number } | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const kind = bytes[0];
  if (kind !== FORWARD && kind !== ANSWERS && kind !== RETURNED) return undefined;
  return { kind, epoch: new DataView(bytes.buffer, bytes.byteOffset).getUint32(1) };
}

/** Reads every item of a frame in order. False: the frame is malformed from some item on (items before it were handed over). */
export function readFrame(bytes: Uint8Array, reader: FrameReader): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const buf = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = HEADER_BYTES;
  if (bytes[0] !== ANSWERS) {
    while (at < bytes.length) {
      if (at + FORWARD_FIXED > bytes.length) return false;
      const subjectEnd = at + FORWARD_FIXED + view.getUint16(at + 20);
      const hdrEnd = subjectEnd + view.getUint32(at + 22);
      const end = hdrEnd + view.getUint32(at + 26);
      if (end > bytes.length) return false;
      reader.onForward(
        view.getFloat64(at),
        view.getFloat64(at + 8),
        view.getUint32(at + 16),
        subjects.intern(buf, at + FORWARD_FIXED, subjectEnd),
        hdrEnd > subjectEnd ? bytes.subarray(subjectEnd, hdrEnd) : NO_BYTES,
        bytes.subarray(hdrEnd, end),
      );
      at = end;
    }
    return true;
  }
  while (at < bytes.length) {
    if (at + ANSWER_FIXED > bytes.length) return false;
    const token = view.getUint32(at);
    const outcome = bytes[at + 4];
    if (outcome === Outcome.refused) {
      if (at + 11 > bytes.length) return false;
      const end = at + 11 + view.getUint16(at + 9);
      if (end > bytes.length) return false;
      reader.onRefused(
        token,
        view.getUint16(at + 5),
        view.getUint16(at + 7),
        decoder.decode(bytes.subarray(at + 11, end)),
      );
      at = end;
    } else {
      if (outcome > Outcome.refused || at + ANSWER_FIXED + 8 > bytes.length) return false;
      reader.onStored(token, view.getFloat64(at + ANSWER_FIXED), outcome === Outcome.duplicate);
      at += ANSWER_FIXED + 8;
    }
  }
  return true;
}
