// Finds the headers that a stream obeys in the block of a publish, in place. Pure; used by the leader once per publish that has a
// header block, never by apply. Names are compared exactly, the first of several wins, as the reference server does.
import { utf8Bytes, utf8Text } from './text.ts';

export const Header = {
  msgId: 0,
  expectedStream: 1,
  expectedLastSeq: 2,
  expectedLastSubjectSeq: 3,
  expectedLastSubjectSeqSubject: 4,
  expectedLastMsgId: 5,
  rollup: 6,
  ttl: 7,
  incr: 8,
  schedule: 9,
  scheduler: 10,
  batchId: 11,
  streamSource: 12,
  traceDest: 13,
  traceOnly: 14,
} as const;
export type Header = (typeof Header)[keyof typeof Header];

const NAMES: [string, Header][] = [
  ['Nats-Msg-Id', Header.msgId],
  ['Nats-Expected-Stream', Header.expectedStream],
  ['Nats-Expected-Last-Sequence', Header.expectedLastSeq],
  ['Nats-Expected-Last-Subject-Sequence', Header.expectedLastSubjectSeq],
  ['Nats-Expected-Last-Subject-Sequence-Subject', Header.expectedLastSubjectSeqSubject],
  ['Nats-Expected-Last-Msg-Id', Header.expectedLastMsgId],
  ['Nats-Rollup', Header.rollup],
  ['Nats-TTL', Header.ttl],
  ['Nats-Incr', Header.incr],
  ['Nats-Schedule', Header.schedule],
  ['Nats-Scheduler', Header.scheduler],
  ['Nats-Batch-Id', Header.batchId],
  ['Nats-Stream-Source', Header.streamSource],
  ['Nats-Trace-Dest', Header.traceDest],
  ['Nats-Trace-Only', Header.traceOnly],
];

/** By length of the name. */
const KNOWN: { bytes: Uint8Array; header: Header }[][] = [];
for (const [name, header] of NAMES) {
  (KNOWN[name.length] ??= []).push({ bytes: utf8Bytes(name), header });
}

const LF = 10;
const CR = 13;
const SPACE = 32;
const TAB = 9;
const COLON = 58;
/** `NATS/1.0` */
const STATUS_AT = 8;

export class PublishHeaders {
  /** Bit per Header that is there with a value that is not empty. */
  present = 0;
  #hdr: Uint8Array = new Uint8Array(0);
  readonly #from = new Int32Array(NAMES.length);
  readonly #to = new Int32Array(NAMES.length);

  /** Looks through the block; false when nothing in it concerns the stream. */
  scan(hdr: Uint8Array): boolean {
    this.present = 0;
    this.#hdr = hdr;
    const end = hdr.length;
    let at = hdr.indexOf(LF) + 1;
    while (at > 0 && at < end) {
      // "Nats-"
      if (hdr[at] === 78 && hdr[at + 1] === 97 && hdr[at + 2] === 116 && hdr[at + 3] === 115 && hdr[at + 4] === 45) {
        this.#line(at, end);
      }
      while (at < end && hdr[at] !== LF) at++;
      at++;
    }
    return this.present !== 0;
  }

  #line(start: number, end: number): void {
    const hdr = this.#hdr;
    let colon = start + 5;
    while (colon < end && hdr[colon] !== COLON && hdr[colon] !== LF) colon++;
    const known = KNOWN[colon - start];
    if (known === undefined || hdr[colon] !== COLON) return;
    for (const { bytes, header } of known) {
      if (!startsWith(hdr, start, bytes)) continue;
      if ((this.present & (1 << header)) !== 0) return;
      let from = colon + 1;
      while (from < end && (hdr[from] === SPACE || hdr[from] === TAB)) from++;
      let to = from;
      while (to < end && hdr[to] !== CR && hdr[to] !== LF) to++;
      while (to > from && (hdr[to - 1] === SPACE || hdr[to - 1] === TAB)) to--;
      if (to === from) return;
      this.present |= 1 << header;
      this.#from[header] = from;
      this.#to[header] = to;
      return;
    }
  }

  has(header: Header): boolean {
    return (this.present & (1 << header)) !== 0;
  }

  /** Range of the value in the block. */
  from(header: Header): number {
    return this.#from[header];
  }

  to(header: Header): number {
    return this.#to[header];
  }

  text(header: Header): string {
    return utf8Text(this.#hdr, this.#from[header], this.#to[header]);
  }

  /** A decimal integer >= 0; -1 when it is anything else (which equals no seq). */
  number(header: Header): number {
    const hdr = this.#hdr;
    let value = 0;
    for (let i = this.#from[header]; i < this.#to[header]; i++) {
      const digit = hdr[i] - 48;
      if (digit < 0 || digit > 9) return -1;
      value = value * 10 + digit;
    }
    return value;
  }
}

function startsWith(hdr: Uint8Array, at: number, name: Uint8Array): boolean {
  for (let i = 5; i < name.length; i++) if (hdr[at + i] !== name[i]) return false;
  return true;
}

/** A status in the first line (`NATS/1.0 503 …`) is not stored (nats-surface H6). */
export function withoutStatus(hdr: Uint8Array): Uint8Array {
  if (hdr.length <= STATUS_AT || hdr[STATUS_AT] === CR) return hdr;
  const lineEnd = hdr.indexOf(CR, STATUS_AT);
  if (lineEnd < 0) return hdr;
  const stripped = new Uint8Array(hdr.length - (lineEnd - STATUS_AT));
  stripped.set(hdr.subarray(0, STATUS_AT));
  stripped.set(hdr.subarray(lineEnd), STATUS_AT);
  return stripped;
}

/** The message is a delete marker, or says that its key was purged: none is made when it expires (ADR-43). */
export function endsItsKey(hdr: Uint8Array): boolean {
  const text = utf8Text(hdr, 0, hdr.length);
  return text.includes('\nNats-Marker-Reason:') || /\nKV-Operation: *PURGE\r/.test(text);
}

/** Header block of a delete marker that lives `ttlSeconds`, as clients expect it. */
export function markerHeaders(ttlSeconds: number): Uint8Array {
  const hours = Math.floor(ttlSeconds / 3600);
  const minutes = Math.floor((ttlSeconds % 3600) / 60);
  let ttl = `${ttlSeconds % 60}s`;
  if (hours > 0 || minutes > 0) ttl = `${minutes}m${ttl}`;
  if (hours > 0) ttl = `${hours}h${ttl}`;
  return utf8Bytes(`NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: ${ttl}\r\nNats-Rollup: sub\r\n\r\n`);
}

/** Whole seconds of `Nats-TTL`: a number, a Go duration of at least 1s (`0` is a shorter one), `never` (Infinity). Undefined: invalid. */
export function parseTtl(value: string): number | undefined {
  if (value.toLowerCase() === 'never') return Number.POSITIVE_INFINITY;
  let seconds = 0;
  if (/^\d+$/.test(value) && value !== '0') {
    seconds = Number(value);
  } else {
    if (!/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(value)) return undefined;
    for (const [, amount, , unit] of value.matchAll(/(\d+(\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) {
      seconds += Number(amount) * UNIT_SECONDS[unit];
    }
    if (seconds < 1) return undefined;
  }
  return seconds < TTL_SECONDS_MAX ? Math.floor(seconds) : undefined;
}

/** What a u32 holds, one below TTL_NEVER. */
const TTL_SECONDS_MAX = 0xffffffff;
const UNIT_SECONDS: Record<string, number> = { ns: 1e-9, us: 1e-6, µs: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 };
