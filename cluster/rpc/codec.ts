// Frames between nodes, pure: `u32 length | u32 header length | protobuf header | raw body | CRC-32C of all before it`, little-endian;
// `length` counts what follows it. Used by links.ts on both ends of a connection. Invariant: a frame is handed on only if
// every byte of it is as it was sent; anything else is an error that ends the connection, never an exception, and no more than one
// frame of the permitted size is ever held in memory.
import { crc32c } from '@node-rs/crc32';
import { gatherParts } from '../../src/kit/gather.ts';
import { frames } from './frames.generated.js';

export const FRAME_BYTES_MAX = 16 * 1024 * 1024;
/** Before the other end has proved who it is. */
export const HANDSHAKE_FRAME_BYTES_MAX = 64 * 1024;

const PREFIX_BYTES = 8;
const CRC_BYTES = 4;

export type FrameHeader = frames.FrameHeader.$Properties;

/** Frame of one header and its body parts, which are not copied when large. */
export function encodeFrame(header: FrameHeader, body: readonly Uint8Array[]): Uint8Array[] {
  const encoded = frames.FrameHeader.encode(header).finish();
  let bodyBytes = 0;
  for (const part of body) bodyBytes += part.length;
  const bytes = 4 + encoded.length + bodyBytes + CRC_BYTES;
  if (bytes > FRAME_BYTES_MAX) throw new Error(`frame of ${bytes} bytes: the limit is ${FRAME_BYTES_MAX}`);
  const prefix = new Uint8Array(PREFIX_BYTES);
  writeU32(prefix, 0, bytes);
  writeU32(prefix, 4, encoded.length);
  const parts = gatherParts([prefix, encoded, ...body]);
  let crc = 0;
  for (const part of parts) crc = crc32c(part, crc);
  const trailer = new Uint8Array(CRC_BYTES);
  writeU32(trailer, 0, crc);
  parts.push(trailer);
  return parts;
}

/** Cuts a byte stream into frames, however it was split. After an error it stays in error. */
export class FrameParser {
  private readonly onFrame: (header: FrameHeader, body: Uint8Array) => void;
  private frameBytesMax: number;
  /** An incomplete frame: what has come of it, and, once its length is known, how long it is. */
  private pending: Uint8Array = new Uint8Array(0);
  private pendingBytes = 0;
  private failed: string | undefined;

  constructor(frameBytesMax: number, onFrame: (header: FrameHeader, body: Uint8Array) => void) {
    this.frameBytesMax = frameBytesMax;
    this.onFrame = onFrame;
  }

  /** Holds from the next frame on. */
  setFrameBytesMax(bytes: number): void {
    this.frameBytesMax = bytes;
  }

  /** Undefined: fine. Else what is wrong; nothing of the faulty frame or after it was handed on. */
  push(chunk: Uint8Array): string | undefined {
    let at = 0;
    while (at < chunk.length && this.failed === undefined) {
      at = this.pendingBytes > 0 ? this.fill(chunk, at) : this.take(chunk, at);
    }
    return this.failed;
  }

  /** Frames that lie in one chunk are handed on in place; the rest of the chunk becomes pending. */
  private take(chunk: Uint8Array, from: number): number {
    let at = from;
    while (this.failed === undefined && chunk.length - at >= 4) {
      const length = this.checkedLength(readU32(chunk, at));
      if (this.failed !== undefined) return at;
      if (chunk.length - at < 4 + length) {
        this.pending = new Uint8Array(4 + length);
        break;
      }
      this.frame(chunk.subarray(at, at + 4 + length));
      at += 4 + length;
    }
    if (this.failed !== undefined || at === chunk.length) return at;
    if (chunk.length - at < 4) this.pending = new Uint8Array(4);
    this.pending.set(chunk.subarray(at), 0);
    this.pendingBytes = chunk.length - at;
    return chunk.length;
  }

  private fill(chunk: Uint8Array, from: number): number {
    const count = Math.min(chunk.length - from, this.pending.length - this.pendingBytes);
    this.pending.set(chunk.subarray(from, from + count), this.pendingBytes);
    this.pendingBytes += count;
    if (this.pendingBytes < this.pending.length) return from + count;
    if (this.pending.length === 4) {
      // Only the length was pending. Every frame is longer than this.
      const length = this.checkedLength(readU32(this.pending, 0));
      if (this.failed !== undefined) return from + count;
      const whole = new Uint8Array(4 + length);
      whole.set(this.pending, 0);
      this.pending = whole;
      return from + count;
    }
    const frame = this.pending;
    this.pending = new Uint8Array(0);
    this.pendingBytes = 0;
    this.frame(frame);
    return from + count;
  }

  private checkedLength(length: number): number {
    if (length < 4 + CRC_BYTES || length > this.frameBytesMax) this.failed = `bad frame length ${length}`;
    return length;
  }

  private frame(frame: Uint8Array): void {
    const end = frame.length - CRC_BYTES;
    if (crc32c(frame.subarray(0, end)) !== readU32(frame, end)) {
      this.failed = 'bad frame checksum';
      return;
    }
    const headerBytes = readU32(frame, 4);
    if (headerBytes > end - PREFIX_BYTES) {
      this.failed = `bad frame header length ${headerBytes}`;
      return;
    }
    const header = decodeHeader(frame.subarray(PREFIX_BYTES, PREFIX_BYTES + headerBytes));
    if (header === undefined) {
      this.failed = 'bad frame header';
      return;
    }
    this.onFrame(header, frame.subarray(PREFIX_BYTES + headerBytes, end));
  }
}

function decodeHeader(bytes: Uint8Array): FrameHeader | undefined {
  try {
    return frames.FrameHeader.decode(bytes);
  } catch {
    // protobufjs reports malformed input by throwing; nothing else is called here.
    return undefined;
  }
}

/** Calls `each` for the messages of a data frame. False: lengths and body do not fit together. */
export function splitData(
  data: frames.Data.$Properties,
  body: Uint8Array,
  each: (channel: number, bytes: Uint8Array) => void,
): boolean {
  const channels = data.channel ?? [];
  const lengths = data.length ?? [];
  if (channels.length !== lengths.length) return false;
  let total = 0;
  for (const length of lengths) total += length;
  if (total !== body.length) return false;
  let at = 0;
  for (let i = 0; i < channels.length; i++) {
    each(channels[i], body.subarray(at, at + lengths[i]));
    at += lengths[i];
  }
  return true;
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

export function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
}
