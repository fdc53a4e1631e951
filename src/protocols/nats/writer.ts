// Output of one connection: protocol lines and payloads are assembled in one chunk and leave as one socket write per turn
// (sooner when the chunk is full). Used by sessions; `WriterHost` is the front, which calls `flush` at the end of the turn.
// Chunks come from a shared pool and return to it when the kernel has taken them. While the socket is blocked nothing is
// handed to it: output waits here, where it is counted; the session cuts a connection that has more than `pendingMax`.
import { RawMessage } from '../../broker/raw-message.ts';
import type { Message } from '../../broker/types.ts';
import type { Socket } from '../../kit/net.ts';

const SMALL_CHUNK_BYTES = 4 * 1024;
const CHUNK_BYTES = 64 * 1024;
/** Bodies from this size on travel as parts of their own. */
const LARGE_BODY_BYTES = 32 * 1024;
/** Handed to the socket in one go. */
const PIECE_BYTES = 1024 * 1024;
const POOL_CHUNKS_MAX = 64;
const DIGITS_MAX = 10;

/** Free chunks, shared by all connections of a front. */
export class ChunkPool {
  readonly #small: Buffer[] = [];
  readonly #large: Buffer[] = [];

  take(bytes: number): Buffer {
    if (bytes <= SMALL_CHUNK_BYTES) return this.#small.pop() ?? Buffer.allocUnsafeSlow(SMALL_CHUNK_BYTES);
    return this.#large.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
  }

  give(chunk: Buffer): void {
    const free = chunk.length === SMALL_CHUNK_BYTES ? this.#small : this.#large;
    if (free.length < POOL_CHUNKS_MAX && chunk.length <= CHUNK_BYTES) free.push(chunk);
  }
}

export interface WriterHost {
  readonly pool: ChunkPool;
  /** The writer has output for the end of this turn. */
  onOutput(writer: Writer): void;
  nowMs(): number;
}

export class Writer {
  /** The socket takes nothing for now, and since when (monotonic). */
  blocked = false;
  blockedSinceMs = 0;

  readonly #socket: Socket;
  readonly #host: WriterHost;
  /** The chunk being filled, from where on it is not yet among the parts, and up to where it is filled. */
  #chunk: Buffer | undefined = undefined;
  #start = 0;
  #used = 0;
  /** Finished parts that wait for the flush or for the socket. */
  #parts: Uint8Array[] = [];
  #partsBytes = 0;
  /** Chunks among the parts or with the socket: free when both have nothing left. */
  #lent: Buffer[] = [];
  #scheduled = false;
  #closed = false;

  constructor(socket: Socket, host: WriterHost) {
    this.#socket = socket;
    this.#host = host;
  }

  /** Bytes not yet taken by the kernel. */
  get pendingBytes(): number {
    return this.#partsBytes + this.#used - this.#start + (this.blocked ? this.#socket.bufferedBytes : 0);
  }

  /** Lines that are not messages. */
  text(s: string): void {
    const bytes = Buffer.from(s, 'utf8');
    if (this.#closed) return;
    this.#room(bytes.length).set(bytes, this.#used);
    this.#used += bytes.length;
    this.#schedule();
  }

  /** MSG, or HMSG when there is a header and `headers` says that the client understands them. */
  message(sid: string, message: Message, headers: boolean): void {
    if (this.#closed) return;
    const raw = message instanceof RawMessage ? message : undefined;
    const hdrBytes = raw !== undefined ? raw.payloadStart - raw.hdrStart : message.hdr.length;
    const payloadBytes = raw !== undefined ? raw.end - raw.payloadStart : message.payload.length;
    const hmsg = hdrBytes > 0 && headers;
    const total = hmsg ? hdrBytes + payloadBytes : payloadBytes;
    const { subject, reply } = message;

    // The line: at most three bytes for each UTF-16 unit.
    const lineMax = 5 + 3 * (subject.length + sid.length + reply.length) + 3 + 2 * DIGITS_MAX + 3;
    const large = total >= LARGE_BODY_BYTES;
    let chunk = this.#room(large ? lineMax : lineMax + total + 2);
    let at = this.#used;
    if (hmsg) chunk[at++] = 72;
    chunk[at] = 77;
    chunk[at + 1] = 83;
    chunk[at + 2] = 71;
    chunk[at + 3] = 32;
    at = putName(chunk, at + 4, subject);
    chunk[at++] = 32;
    at = putName(chunk, at, sid);
    chunk[at++] = 32;
    if (reply.length > 0) {
      at = putName(chunk, at, reply);
      chunk[at++] = 32;
    }
    if (hmsg) {
      at = putNumber(chunk, at, hdrBytes);
      chunk[at++] = 32;
    }
    at = putNumber(chunk, at, total);
    chunk[at] = 13;
    chunk[at + 1] = 10;
    at += 2;

    if (large) {
      this.#used = at;
      this.#large(message, raw, hmsg);
      chunk = this.#room(2);
      at = this.#used;
    } else if (raw !== undefined) {
      raw.bytes.copy(chunk, at, hmsg ? raw.hdrStart : raw.payloadStart, raw.end);
      at += total;
    } else {
      if (hmsg) {
        chunk.set(message.hdr, at);
        at += hdrBytes;
      }
      chunk.set(message.payload, at);
      at += payloadBytes;
    }
    chunk[at] = 13;
    chunk[at + 1] = 10;
    this.#used = at + 2;
    if (!this.#scheduled) this.#schedule();
  }

  /** Hands what there is to the socket, piece by piece, until that is blocked. */
  flush(): void {
    this.#scheduled = false;
    if (this.#closed || this.blocked) return;
    this.#sealChunk();
    while (this.#parts.length > 0 && !this.blocked) {
      if (!this.#socket.write(this.#takePiece())) {
        this.blocked = true;
        this.blockedSinceMs = this.#host.nowMs();
      }
    }
    if (this.#parts.length > 0) return;
    this.#lendChunk();
    if (this.#socket.bufferedBytes === 0) this.#takeBack();
  }

  /** The socket took everything. */
  drained(): void {
    this.blocked = false;
    this.flush();
  }

  /** Hands over everything, blocked or not, for a last word before the socket ends. */
  finish(): void {
    if (this.#closed) return;
    this.#sealChunk();
    if (this.#parts.length > 0) this.#socket.write(this.#parts);
    this.drop();
  }

  /** Forgets what was not written. */
  drop(): void {
    this.#closed = true;
    this.#parts = [];
    this.#partsBytes = 0;
    this.#lent = [];
    this.#chunk = undefined;
    this.#start = 0;
    this.#used = 0;
  }

  /** The first parts, about PIECE_BYTES of them: a write deadline is about a piece, not about all that waits. */
  #takePiece(): Uint8Array[] {
    const parts = this.#parts;
    let bytes = 0;
    let count = 0;
    while (count < parts.length && bytes < PIECE_BYTES) bytes += parts[count++].length;
    this.#partsBytes -= bytes;
    if (count < parts.length) return parts.splice(0, count);
    this.#parts = [];
    return parts;
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed) return;
    this.#scheduled = true;
    this.#host.onOutput(this);
  }

  /** A chunk with room for `bytes` behind `#used`. */
  #room(bytes: number): Buffer {
    const chunk = this.#chunk;
    if (chunk !== undefined && chunk.length - this.#used >= bytes) return chunk;
    if (chunk !== undefined && this.#start === 0 && this.#used + bytes <= CHUNK_BYTES) {
      // A small chunk grows into a large one: the turn has more to say.
      const larger = this.#host.pool.take(CHUNK_BYTES);
      chunk.copy(larger, 0, 0, this.#used);
      this.#host.pool.give(chunk);
      return (this.#chunk = larger);
    }
    if (chunk !== undefined) this.#full();
    this.#start = 0;
    this.#used = 0;
    if (bytes > CHUNK_BYTES) return (this.#chunk = Buffer.allocUnsafeSlow(bytes));
    return (this.#chunk = this.#host.pool.take(chunk === undefined ? bytes : CHUNK_BYTES));
  }

  /** Enough has been collected: it leaves before the end of the turn, if it may. */
  #full(): void {
    if (this.blocked) {
      this.#sealChunk();
      this.#lendChunk();
      return;
    }
    const scheduled = this.#scheduled;
    this.flush();
    this.#scheduled = scheduled;
  }

  /** What is filled of the chunk becomes a part. */
  #sealChunk(): void {
    if (this.#chunk === undefined || this.#used === this.#start) return;
    this.#parts.push(this.#chunk.subarray(this.#start, this.#used));
    this.#partsBytes += this.#used - this.#start;
    this.#start = this.#used;
  }

  /** What comes next goes into another chunk. */
  #lendChunk(): void {
    if (this.#chunk !== undefined) this.#lent.push(this.#chunk);
    this.#chunk = undefined;
    this.#start = 0;
    this.#used = 0;
  }

  /** The kernel has everything: nobody reads the chunks any more. */
  #takeBack(): void {
    const { pool } = this.#host;
    for (const chunk of this.#lent) pool.give(chunk);
    this.#lent.length = 0;
  }

  /** The body as parts of their own: by reference where the bytes are stable, else copied once. */
  #large(message: Message, raw: RawMessage | undefined, withHeader: boolean): void {
    this.#sealChunk();
    let body: Uint8Array;
    if (raw !== undefined) body = raw.bytes.subarray(withHeader ? raw.hdrStart : raw.payloadStart, raw.end);
    else if (withHeader) body = Buffer.concat([message.hdr, message.payload]);
    else body = Buffer.from(message.payload);
    this.#parts.push(body);
    this.#partsBytes += body.length;
    if (this.#partsBytes >= PIECE_BYTES) this.#full();
  }
}

/** Writes `s` as UTF-8 at `at`; returns the end. */
function putName(chunk: Buffer, at: number, s: string): number {
  const length = s.length;
  for (let i = 0; i < length; i++) {
    const code = s.charCodeAt(i);
    if (code > 127) return at + chunk.write(s, at, 'utf8');
    chunk[at + i] = code;
  }
  return at + length;
}

/** Writes a non-negative integer in decimal; returns the end. */
function putNumber(chunk: Buffer, at: number, n: number): number {
  let digits = 1;
  for (let bound = 10; n >= bound; bound *= 10) digits++;
  let rest = n;
  for (let i = at + digits - 1; i >= at; i--) {
    const tens = Math.trunc(rest / 10);
    chunk[i] = 48 + rest - tens * 10;
    rest = tens;
  }
  return at + digits;
}
