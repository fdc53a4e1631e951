// What brokers of different nodes say to each other, as bytes. Pure; used by cluster-routes.ts. A frame is a run of
// records: who wants what (absolute weights, so that repeating one does no harm), and messages. Lengths are
// varints, names UTF-8. Whatever bytes arrive, decoding ends: with events, or with `false`.
import { decodeName, type Interner } from '../subjects/interner.ts';
import { RawMessage } from './raw-message.ts';
import type { Message } from './types.ts';

const Kind = { syncBegin: 2, syncEnd: 3, interest: 4, message: 5 } as const;
const Flag = { target: 1, reply: 2, header: 4, picks: 8 } as const;

const CHUNK_BYTES = 64 * 1024;
/** Bodies from this size on are parts of their own. */
const LARGE_BODY_BYTES = 16 * 1024;
const VARINT_BYTES_MAX = 5;
const PICKS_MAX = 65_536;

export interface RouteHandler {
  /** The sender wants all of our interest. */
  /** What is not named before onSyncEnd is no longer wanted. */
  onSyncBegin(): void;
  onSyncEnd(): void;
  /** `weight` members; 0: none any more. `queue` '' for plain interest, whose weight is 1 or 0. */
  onInterest(account: string, subject: string, queue: string, weight: number): void;
  /** For plain subscribers of `target`, and one member of each group in `picks`. `message` is reused. */
  onMessage(account: string, target: string, picks: readonly string[], message: RawMessage): void;
}

/** Collects records for one peer. What `take` returned never changes afterwards. */
export class RouteEncoder {
  #chunk: Buffer = Buffer.alloc(0);
  #start = 0;
  #used = 0;
  #parts: Uint8Array[] = [];
  #partsBytes = 0;

  get bytes(): number {
    return this.#partsBytes + this.#used - this.#start;
  }

  take(): Uint8Array[] {
    this.#seal();
    const parts = this.#parts;
    this.#parts = [];
    this.#partsBytes = 0;
    return parts;
  }

  syncBegin(): void {
    this.#kind(Kind.syncBegin);
  }

  syncEnd(): void {
    this.#kind(Kind.syncEnd);
  }

  interest(account: string, subject: string, queue: string, weight: number): void {
    this.#room(1 + nameMax(account) + nameMax(subject) + nameMax(queue) + VARINT_BYTES_MAX);
    this.#chunk[this.#used++] = Kind.interest;
    this.#name(account);
    this.#name(subject);
    this.#name(queue);
    this.#varint(weight);
  }

  message(account: string, target: string, picks: readonly string[], message: Message): void {
    const raw = message instanceof RawMessage ? message : undefined;
    const hdrBytes = raw !== undefined ? raw.payloadStart - raw.hdrStart : message.hdr.length;
    const payloadBytes = raw !== undefined ? raw.end - raw.payloadStart : message.payload.length;
    const { subject, reply } = message;
    let headMax = 2 + nameMax(account) + nameMax(subject) + nameMax(target) + nameMax(reply) + 3 * VARINT_BYTES_MAX;
    for (const queue of picks) headMax += nameMax(queue);
    const body = hdrBytes + payloadBytes;
    const large = body >= LARGE_BODY_BYTES;
    this.#room(large ? headMax : headMax + body);
    this.#chunk[this.#used++] = Kind.message;
    this.#chunk[this.#used++] =
      (target !== subject ? Flag.target : 0) |
      (reply !== '' ? Flag.reply : 0) |
      (hdrBytes > 0 ? Flag.header : 0) |
      (picks.length > 0 ? Flag.picks : 0);
    this.#name(account);
    this.#name(subject);
    if (target !== subject) this.#name(target);
    if (reply !== '') this.#name(reply);
    if (picks.length > 0) {
      this.#varint(picks.length);
      for (const queue of picks) this.#name(queue);
    }
    if (hdrBytes > 0) this.#varint(hdrBytes);
    this.#varint(payloadBytes);
    if (large)
      this.#part(
        raw !== undefined ? raw.bytes.subarray(raw.hdrStart, raw.end) : Buffer.concat([message.hdr, message.payload]),
      );
    else if (raw !== undefined) {
      raw.bytes.copy(this.#chunk, this.#used, raw.hdrStart, raw.end);
      this.#used += body;
    } else {
      this.#chunk.set(message.hdr, this.#used);
      this.#chunk.set(message.payload, this.#used + hdrBytes);
      this.#used += body;
    }
  }

  #kind(kind: number): void {
    this.#room(1);
    this.#chunk[this.#used++] = kind;
  }

  #room(bytes: number): void {
    if (this.#chunk.length - this.#used >= bytes) return;
    this.#seal();
    this.#chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, bytes));
    this.#start = 0;
    this.#used = 0;
  }

  #seal(): void {
    if (this.#used > this.#start) this.#part0(this.#chunk.subarray(this.#start, this.#used));
    this.#start = this.#used;
  }

  #part(bytes: Uint8Array): void {
    this.#seal();
    this.#part0(bytes);
  }

  #part0(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#partsBytes += bytes.length;
  }

  #varint(value: number): void {
    let rest = value;
    while (rest > 127) {
      this.#chunk[this.#used++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    this.#chunk[this.#used++] = rest;
  }

  #name(s: string): void {
    const chunk = this.#chunk;
    const length = s.length;
    const before = this.#used;
    this.#varint(length);
    const at = this.#used;
    for (let i = 0; i < length; i++) {
      const code = s.charCodeAt(i);
      if (code > 127) {
        this.#used = before;
        const bytes = Buffer.byteLength(s, 'utf8');
        this.#varint(bytes);
        chunk.write(s, this.#used, 'utf8');
        this.#used += bytes;
        return;
      }
      chunk[at + i] = code;
    }
    this.#used = at + length;
  }
}

function nameMax(s: string): number {
  return VARINT_BYTES_MAX + 3 * s.length;
}

/** Reads frames of one peer. */
export class RouteDecoder {
  readonly #handler: RouteHandler;
  readonly #names: Interner;
  readonly #message = new RawMessage();
  #buf: Buffer = Buffer.alloc(0);
  #at = 0;
  #bad = false;

  constructor(handler: RouteHandler, names: Interner) {
    this.#handler = handler;
    this.#names = names;
  }

  /** False: malformed; records before the malformed one took effect. `bytes` must never change afterwards. */
  frame(bytes: Uint8Array): boolean {
    this.#buf = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = 0;
    this.#bad = false;
    while (!this.#bad && this.#at < this.#buf.length) this.#record();
    this.#buf = Buffer.alloc(0);
    return !this.#bad;
  }

  #record(): void {
    switch (this.#buf[this.#at++]) {
      case Kind.syncBegin:
        this.#handler.onSyncBegin();
        return;
      case Kind.syncEnd:
        this.#handler.onSyncEnd();
        return;
      case Kind.interest: {
        const account = this.#name(true);
        const subject = this.#name(false);
        const queue = this.#name(true);
        const weight = this.#varint();
        if (!this.#bad) this.#handler.onInterest(account, subject, queue, weight);
        return;
      }
      case Kind.message:
        this.#readMessage();
        return;
      default:
        this.#bad = true;
    }
  }

  #readMessage(): void {
    const flags = this.#buf[this.#at++];
    const account = this.#name(true);
    const subject = this.#name(true);
    const target = flags & Flag.target ? this.#name(false) : subject;
    const reply = flags & Flag.reply ? this.#name(false) : '';
    const picks: string[] = [];
    if (flags & Flag.picks) {
      const count = this.#varint();
      if (count > PICKS_MAX) this.#bad = true;
      for (let i = 0; i < count && !this.#bad; i++) picks.push(this.#name(true));
    }
    const hdrBytes = flags & Flag.header ? this.#varint() : 0;
    const payloadBytes = this.#varint();
    const start = this.#at;
    const end = start + hdrBytes + payloadBytes;
    if (this.#bad || end > this.#buf.length) {
      this.#bad = true;
      return;
    }
    this.#at = end;
    const message = this.#message;
    message.subject = subject;
    message.reply = reply;
    message.setBody(this.#buf, start, start + hdrBytes, end);
    this.#handler.onMessage(account, target, picks, message);
  }

  #varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < VARINT_BYTES_MAX; i++) {
      if (this.#at >= this.#buf.length) break;
      const byte = this.#buf[this.#at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
    this.#bad = true;
    return 0;
  }

  #name(repeats: boolean): string {
    const length = this.#varint();
    const from = this.#at;
    const to = from + length;
    if (this.#bad || to > this.#buf.length) {
      this.#bad = true;
      return '';
    }
    this.#at = to;
    return repeats ? this.#names.intern(this.#buf, from, to) : decodeName(this.#buf, from, to);
  }
}
