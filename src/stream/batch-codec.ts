// The body of a partition's log entry: a header and the commands of one turn. Pure. The leader's BatchBuilder writes it once;
// WAL, links and followers pass it on as it is; the machine applies it; reads decode one message at its offset.
// Little-endian, unaligned. Layout: docs of BatchHeader and PublishView below.
// Invariant: everything that apply needs of a publish is in its head, so no replica ever parses message headers.
import { BENCH_BYTES_MAX, type Bench, BodyMemory, NO_BENCH } from './body-memory.ts';
import { writeUtf8 } from './text.ts';

/** Version of what `apply` means. A batch or snapshot of a higher version is not touched. */
export const MACHINE_VERSION = 3;

/** Commands 32..63 belong to the consumers and are opaque here. */
export const CommandType = { publish: 1, purge: 2, delete: 3, config: 4, expire: 5, advance: 6 } as const;
export const CONSUMER_COMMAND_FIRST = 32;
export const CONSUMER_COMMAND_LAST = 63;

/**
 * Header: version u8, flags u8 (0), work u16, commands u32, base seq f64, stamp in µs f64, publishes u32, reserved u32.
 * Base seq is the local seq of the first publish: the machine's last seq + 1. Work is what the entry's apply may spend on removals beyond one
 * for each publish, about a tenth of a microsecond each; 0 (batches of version 1): no bound.
 */
export const BATCH_HEADER_BYTES = 32;
const AT_WORK = 2;
const AT_COMMANDS = 4;
const AT_BASE = 8;
const AT_STAMP = 16;
const AT_PUBLISHES = 24;
const AT_RESERVED = 28;

/** Flags of a publish. */
export const ROLLUP_SUBJECT = 1;
export const ROLLUP_ALL = 2;
export const HAS_ID = 4;
export const HAS_TTL = 8;
/** No delete marker follows when the message expires: it is one, or says that its key was purged. */
export const NO_MARKER = 32;
/** The subject's bytes stand elsewhere in the body: with an earlier publish of the same subject. */
export const SUBJECT_ELSEWHERE = 16;

/** type u8, flags u8, subject length u16, payload length u32, header length u16, reserved u16. */
const PUBLISH_HEAD_BYTES = 12;
/** type u8, 0 u8, 0 u16, body length u32. */
const COMMAND_HEAD_BYTES = 8;

export const SUBJECT_BYTES_MAX = 0xffff;
export const HDR_BYTES_MAX = 0xffff;

/** What one entry may spend. */
export const ENTRY_WORK = 40_000;

export interface BatchHeader {
  version: number;
  work: number;
  commands: number;
  baseSeq: number;
  stampUs: number;
  publishes: number;
}

export function viewOf(body: Uint8Array): DataView {
  return new DataView(body.buffer, body.byteOffset, body.length);
}

export function readBatchHeader(view: DataView): BatchHeader {
  return {
    version: view.getUint8(0),
    work: view.getUint16(AT_WORK, true),
    commands: view.getUint32(AT_COMMANDS, true),
    baseSeq: view.getFloat64(AT_BASE, true),
    stampUs: view.getFloat64(AT_STAMP, true),
    publishes: view.getUint32(AT_PUBLISHES, true),
  };
}

/** Where the parts of one publish are; filled again and again by `readPublish`. */
export class PublishView {
  flags = 0;
  subjectAt = 0;
  subjectEnd = 0;
  hdrAt = 0;
  hdrEnd = 0;
  payloadAt = 0;
  payloadEnd = 0;
  /** Nats-Msg-Id inside the header block; equal when there is none. */
  idAt = 0;
  idEnd = 0;
  /** Nats-TTL in seconds; 0 none, TTL_NEVER. */
  ttlSeconds = 0;
}

export const TTL_NEVER = 0xffffffff;

/** Decodes the publish that begins at `at`; returns where the next command begins. */
export function readPublish(view: DataView, at: number, out: PublishView): number {
  const flags = view.getUint8(at + 1);
  const subjectLength = view.getUint16(at + 2, true);
  const payloadLength = view.getUint32(at + 4, true);
  const hdrLength = view.getUint16(at + 8, true);
  let p = at + PUBLISH_HEAD_BYTES;
  let idOffset = 0;
  let idLength = 0;
  out.ttlSeconds = 0;
  if ((flags & (HAS_ID | HAS_TTL)) !== 0) {
    if ((flags & HAS_ID) !== 0) {
      idOffset = view.getUint16(p, true);
      idLength = view.getUint16(p + 2, true);
      p += 4;
    }
    if ((flags & HAS_TTL) !== 0) {
      out.ttlSeconds = view.getUint32(p, true);
      p += 4;
    }
  }
  if ((flags & SUBJECT_ELSEWHERE) !== 0) {
    out.subjectAt = view.getUint32(p, true);
    p += 4;
  } else {
    out.subjectAt = p;
    p += subjectLength;
  }
  out.flags = flags;
  out.subjectEnd = out.subjectAt + subjectLength;
  out.hdrAt = p;
  out.idAt = p + idOffset;
  out.idEnd = out.idAt + idLength;
  p += hdrLength;
  out.hdrEnd = p;
  out.payloadAt = p;
  p += payloadLength;
  out.payloadEnd = p;
  return p;
}

/** Body of the command (not a publish) at `at`; its end is where the next command begins. */
export function commandBody(view: DataView, body: Uint8Array, at: number): Uint8Array {
  const from = at + COMMAND_HEAD_BYTES;
  return body.subarray(from, from + view.getUint32(at + 4, true));
}

export function commandEnd(view: DataView, at: number): number {
  return at + COMMAND_HEAD_BYTES + view.getUint32(at + 4, true);
}

/** Collects the commands of a turn on a bench; `finish` gives away a copy. */
export class BatchBuilder {
  readonly #memory: BodyMemory;
  #bench: Bench = NO_BENCH;
  #length = 0;
  #commands = 0;
  #work = 0;
  /** What the next batch may need: as much as the last one, if that was not a single huge message. */
  #expected = BATCH_HEADER_BYTES;
  #lastSubject = '';
  #lastSubjectAt = 0;
  #lastSubjectLength = 0;

  baseSeq = 0;
  stampUs = 0;
  publishes = 0;

  constructor(memory = new BodyMemory()) {
    this.#memory = memory;
  }

  get empty(): boolean {
    return this.#commands === 0;
  }

  /** Bytes so far. */
  get bytes(): number {
    return this.#length;
  }

  begin(baseSeq: number, stampUs: number, work: number): void {
    this.drop();
    this.#work = work;
    this.baseSeq = baseSeq;
    this.stampUs = stampUs;
    this.#length = BATCH_HEADER_BYTES;
    this.#bench = this.#memory.bench(this.#expected);
  }

  /** Where the next command begins. */
  #reserve(bytes: number): number {
    const length = this.#length;
    const before = this.#bench;
    if (length + bytes > before.bytes.length) {
      this.#bench = this.#memory.bench(length + bytes);
      this.#bench.bytes.set(before.bytes.subarray(0, length));
      this.#memory.giveBack(before);
    }
    return length;
  }

  /** A command ends at `at`. */
  #ended(at: number): void {
    this.#length = at;
    this.#commands++;
    const room = this.#bench.bytes.length;
    if (at > room) throw new Error(`a batch of ${at} bytes in ${room}`);
  }

  // Where the subject of the publish appended last is, until the next append.
  get buffer(): Uint8Array {
    return this.#bench.bytes;
  }
  get subjectAt(): number {
    return this.#lastSubjectAt;
  }
  get subjectLength(): number {
    return this.#lastSubjectLength;
  }

  /** Copies one publish. `marks`: rollup and NO_MARKER bits; `idAt`/`idEnd` are offsets into `hdr` (equal: none). */
  publish(
    subject: string,
    hdr: Uint8Array,
    payload: Uint8Array,
    marks: number,
    idAt: number,
    idEnd: number,
    ttlSeconds: number,
  ): void {
    const hdrLength = hdr.length;
    const payloadLength = payload.length;
    const at = this.#reserve(PUBLISH_HEAD_BYTES + 12 + subject.length * 3 + hdrLength + payloadLength);
    const { bytes: buffer, view } = this.#bench;
    let flags = marks;
    let p = at + PUBLISH_HEAD_BYTES;
    if (idEnd > idAt) {
      flags |= HAS_ID;
      view.setUint16(p, idAt, true);
      view.setUint16(p + 2, idEnd - idAt, true);
      p += 4;
    }
    if (ttlSeconds !== 0) {
      flags |= HAS_TTL;
      view.setUint32(p, ttlSeconds, true);
      p += 4;
    }
    if (subject === this.#lastSubject) {
      flags |= SUBJECT_ELSEWHERE;
      view.setUint32(p, this.#lastSubjectAt, true);
      p += 4;
    } else {
      const end = writeUtf8(buffer, p, subject);
      this.#lastSubject = subject;
      this.#lastSubjectAt = p;
      this.#lastSubjectLength = end - p;
      p = end;
    }
    if (hdrLength > 0) {
      buffer.set(hdr, p);
      p += hdrLength;
    }
    if (payloadLength > 0) {
      copyInto(buffer, p, payload, payloadLength);
      p += payloadLength;
    }
    view.setUint16(at, CommandType.publish | (flags << 8), true);
    view.setUint16(at + 2, this.#lastSubjectLength, true);
    view.setUint32(at + 4, payloadLength, true);
    view.setUint32(at + 8, hdrLength, true);
    this.#ended(p);
    this.publishes++;
  }

  command(type: number, body: Uint8Array): void {
    const at = this.#reserve(COMMAND_HEAD_BYTES + body.length);
    const { bytes, view } = this.#bench;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, body.length, true);
    bytes.set(body, at + COMMAND_HEAD_BYTES);
    this.#ended(at + COMMAND_HEAD_BYTES + body.length);
  }

  /** The finished body; the builder keeps nothing of it. */
  finish(): Uint8Array {
    const { view } = this.#bench;
    view.setUint16(0, MACHINE_VERSION, true);
    view.setUint16(AT_WORK, this.#work, true);
    view.setUint32(AT_COMMANDS, this.#commands, true);
    view.setFloat64(AT_BASE, this.baseSeq, true);
    view.setFloat64(AT_STAMP, this.stampUs, true);
    view.setUint32(AT_PUBLISHES, this.publishes, true);
    view.setUint32(AT_RESERVED, 0, true);
    const body = this.#memory.keep(this.#bench, this.#length);
    this.#expected = Math.min(this.#length, BENCH_BYTES_MAX);
    this.drop();
    return body;
  }

  /** Forgets the batch. */
  drop(): void {
    this.#memory.giveBack(this.#bench);
    this.#bench = NO_BENCH;
    this.#length = 0;
    this.#commands = 0;
    this.publishes = 0;
    this.#lastSubject = '';
  }
}

/** A short copy is cheaper as a loop than as a call. */
function copyInto(buffer: Uint8Array, at: number, bytes: Uint8Array, length: number): void {
  if (length > 24) {
    buffer.set(bytes, at);
    return;
  }
  for (let i = 0; i < length; i++) buffer[at + i] = bytes[i];
}

// ---- bodies of the rarer commands -------------------------------------------------------------------------------------

/** A purge whose budget is used up: how many went, and what the next command has to say. */
export interface PurgeProgress {
  gone: number;
  from: number;
  below: number;
  keep: number;
}

export interface PurgeCommand {
  /** '' for every subject. */
  filter: string;
  /** Local seq: only messages below it go; 0 for no bound. */
  below: number;
  /** Newest matching messages that stay. With `from`: of those below `below`; of a filter with wildcards: of those below `from`, the newer ones
   * were counted. */
  keep: number;
  /** Local seq where to go on; 0 at first. */
  from: number;
  /** At most so many go; 0 for no bound, as in all new commands: what others remove meanwhile does not count. */
  limit: number;
  /** Work for one apply, about a tenth of a microsecond each; what is left is for the next command. 0 for no bound. */
  budget: number;
}

const PURGE_HEAD_BYTES = 40;

export function encodePurge(purge: PurgeCommand): Uint8Array {
  const filter = new TextEncoder().encode(purge.filter);
  const body = new Uint8Array(PURGE_HEAD_BYTES + filter.length);
  const view = viewOf(body);
  view.setFloat64(0, purge.below, true);
  view.setFloat64(8, purge.keep, true);
  view.setFloat64(16, purge.from, true);
  view.setFloat64(24, purge.limit, true);
  view.setFloat64(32, purge.budget, true);
  body.set(filter, PURGE_HEAD_BYTES);
  return body;
}

export function decodePurge(body: Uint8Array): PurgeCommand {
  const view = viewOf(body);
  return {
    below: view.getFloat64(0, true),
    keep: view.getFloat64(8, true),
    from: view.getFloat64(16, true),
    limit: view.getFloat64(24, true),
    budget: view.getFloat64(32, true),
    filter: new TextDecoder().decode(body.subarray(PURGE_HEAD_BYTES)),
  };
}

export function encodeDelete(seq: number): Uint8Array {
  const body = new Uint8Array(8);
  viewOf(body).setFloat64(0, seq, true);
  return body;
}

export function decodeDelete(body: Uint8Array): number {
  return viewOf(body).getFloat64(0, true);
}

/** `to`: the last seq becomes at least this one; the seqs in between are never given. Stands alone in its batch. */
export function encodeAdvance(to: number): Uint8Array {
  return encodeDelete(to);
}

export function decodeAdvance(body: Uint8Array): number {
  return decodeDelete(body);
}

/** Bits of an expire command: what may leave because of the batch's stamp. */
export const EXPIRE_AGE = 1;
export const EXPIRE_IDS = 2;
export const EXPIRE_TTL = 4;
/** What an earlier command could not remove at once (backlog.ts), and what is above the stream's limits. */
export const EXPIRE_BACKLOG = 8;

/** `max`: at most so many of each kind leave, so that one apply stays short. */
export function encodeExpire(kinds: number, max: number): Uint8Array {
  const body = new Uint8Array(8);
  const view = viewOf(body);
  view.setUint32(0, kinds, true);
  view.setUint32(4, max, true);
  return body;
}

export function decodeExpire(body: Uint8Array): { kinds: number; max: number } {
  const view = viewOf(body);
  return { kinds: view.getUint32(0, true), max: view.getUint32(4, true) };
}

/** `revision` orders configurations: the index of the metadata entry that set it. Configurations change rarely: JSON. */
export function encodeConfig(revision: number, config: object): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(config));
  const body = new Uint8Array(8 + json.length);
  viewOf(body).setFloat64(0, revision, true);
  body.set(json, 8);
  return body;
}

export function decodeConfig(body: Uint8Array): { revision: number; json: string } {
  return { revision: viewOf(body).getFloat64(0, true), json: new TextDecoder().decode(body.subarray(8)) };
}
