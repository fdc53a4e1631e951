// Bytes from a NATS client to events (ADR-6 names, the client protocol's verbs). Pure; one parser per connection, fed by its
// session. Payloads are never copied when they lie inside one chunk; else they are gathered in one buffer of the known
// size. Whatever the splits, the events are those of the unsplit input. The message handed to `onPub` is reused.
// Bounds: a control line of `controlLineMax` bytes, a body of `payloadMax` bytes; nothing else is kept between chunks.
import { RawMessage } from '../../broker/raw-message.ts';
import { decodeName, type Interner } from '../../subjects/interner.ts';

export type ParseError =
  | 'unknown-operation'
  | 'not-connect'
  | 'control-line'
  | 'payload'
  /** Bad arguments: closed without a word. */
  | 'arguments'
  /** HPUB that was not negotiated or whose sizes make no sense: closed without a word. */
  | 'headers';

export interface ParserHandler {
  onConnect(json: string): void;
  /** `message` is valid during the call only. */
  onPub(message: RawMessage): void;
  onSub(subject: string, queue: string, sid: string): void;
  /** `max` 0: at once. */
  onUnsub(sid: string, max: number): void;
  onPing(): void;
  onPong(): void;
  /** Nothing is parsed afterwards. */
  onError(error: ParseError): void;
}

const Phase = { op: 0, line: 1, body: 2, stopped: 3 } as const;
type Phase = (typeof Phase)[keyof typeof Phase];

const SPACE = 32;
const TAB = 9;
const CR = 13;
const LF = 10;
const ARGS_MAX = 5;
const SIZE_DIGITS_MAX = 9;
const NOTHING = Buffer.alloc(0);

/** Verbs in upper case; those with arguments need a blank behind the name. */
const VERBS: readonly { name: string; args: boolean }[] = [
  { name: 'PUB', args: true },
  { name: 'HPUB', args: true },
  { name: 'SUB', args: true },
  { name: 'UNSUB', args: true },
  { name: 'CONNECT', args: true },
  { name: 'INFO', args: true },
  { name: 'PING', args: false },
  { name: 'PONG', args: false },
  { name: '+OK', args: false },
  { name: '-ERR', args: true },
];
const VERB_BYTES_MAX = 8;

export class Parser {
  payloadMax: number;
  /** The client negotiated headers: HPUB is legal. */
  headers = false;
  /** Only CONNECT is legal as the next verb. */
  connectOnly = false;

  readonly #handler: ParserHandler;
  readonly #names: Interner;
  #controlLineMax: number;
  readonly #message = new RawMessage();

  #phase: Phase = Phase.op;
  /** Beginning of a line that the chunk did not end. */
  #line: Buffer = NOTHING;
  #lineLength = 0;
  /** Body of the message whose line was read: total bytes without CRLF, and those of its header. */
  #total = 0;
  #hdrBytes = 0;
  /** Body so far, when it does not lie inside one chunk. */
  #body: Buffer = NOTHING;
  #bodyLength = 0;
  /** Arguments of the line at hand: start and end of each. */
  readonly #args = new Int32Array(ARGS_MAX * 2);
  #argCount = 0;

  constructor(handler: ParserHandler, names: Interner, limits: { controlLineMax: number; payloadMax: number }) {
    this.#handler = handler;
    this.#names = names;
    this.#controlLineMax = limits.controlLineMax;
    this.payloadMax = limits.payloadMax;
  }

  /** From the next line on. */
  setLimits(limits: { controlLineMax: number; payloadMax: number }): void {
    this.#controlLineMax = limits.controlLineMax;
    this.payloadMax = limits.payloadMax;
  }

  /** Ignores all further input; callable from inside an event. */
  stop(): void {
    this.#phase = Phase.stopped;
    this.#line = NOTHING;
    this.#body = NOTHING;
  }

  /** `chunk` must never change afterwards. */
  feed(chunk: Uint8Array): void {
    const buf = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    let at = 0;
    if (this.#phase === Phase.line) at = this.#continueLine(buf);
    else if (this.#phase === Phase.body) at = this.#continueBody(buf, 0);
    const end = buf.length;
    while (at < end && this.#phase === Phase.op) at = this.#operation(buf, at, end);
  }

  /** Handles the operation at `at`, or keeps what there is of it. Returns where to go on. */
  #operation(buf: Buffer, at: number, end: number): number {
    if (this.connectOnly && (buf[at] | 32) !== 99) return this.#fail('not-connect', end);
    // PUB is by far the most frequent verb: its arguments are found in the same pass that looks for the end of the line.
    if (
      at + 4 <= end &&
      (buf[at + 2] | 32) === 98 &&
      (buf[at] | 32) === 112 &&
      (buf[at + 1] | 32) === 117 &&
      (buf[at + 3] === SPACE || buf[at + 3] === TAB)
    ) {
      const lf = this.#scanArgs(buf, at + 4, end);
      if (lf < 0) return this.#keepLine(buf, at, end);
      this.#pub(buf, at + 4, lf);
      return this.#phase === Phase.body ? this.#continueBody(buf, lf + 1) : lf + 1;
    }
    const lf = buf.indexOf(LF, at);
    if (lf < 0) return this.#keepLine(buf, at, end);
    this.#handleLine(buf, at, lf);
    return this.#phase === Phase.body ? this.#continueBody(buf, lf + 1) : lf + 1;
  }

  #fail(error: ParseError, end: number): number {
    this.stop();
    this.#handler.onError(error);
    return end;
  }

  // Lines ---------------------------------------------------------------------------------------------------------

  /** The line that starts at `at` is not complete: refuses it if it can be refused already, else keeps it. */
  #keepLine(buf: Buffer, at: number, end: number): number {
    const length = end - at;
    const error = this.#judgePartial(buf, at, end);
    if (error !== undefined) return this.#fail(error, end);
    if (this.#line.length < length) this.#line = Buffer.allocUnsafe(Math.max(256, length));
    buf.copy(this.#line, 0, at, end);
    this.#lineLength = length;
    this.#phase = Phase.line;
    return end;
  }

  #continueLine(buf: Buffer): number {
    const lf = buf.indexOf(LF);
    const taken = lf < 0 ? buf.length : lf + 1;
    const length = this.#lineLength + taken;
    if (length > this.#line.length) {
      if (length > this.#controlLineMax + VERB_BYTES_MAX + 2) {
        // Too long for any verb; which error it is depends on whether the verb is one.
        const head = Buffer.concat([this.#line.subarray(0, this.#lineLength), buf.subarray(0, VERB_BYTES_MAX)]);
        return this.#fail(
          verbOf(head, 0, head.length) === 'unknown' ? 'unknown-operation' : 'control-line',
          buf.length,
        );
      }
      const wider = Buffer.allocUnsafe(Math.min(length * 2, this.#controlLineMax + VERB_BYTES_MAX + 2));
      this.#line.copy(wider, 0, 0, this.#lineLength);
      this.#line = wider;
    }
    buf.copy(this.#line, this.#lineLength, 0, taken);
    this.#lineLength = length;
    if (lf < 0) {
      const error = this.#judgePartial(this.#line, 0, length);
      if (error !== undefined) return this.#fail(error, buf.length);
      return taken;
    }
    const line = this.#line;
    this.#phase = Phase.op;
    this.#line = NOTHING;
    this.#handleLine(line, 0, length - 1);
    // The phase is what the line made of it.
    return (this.#phase as Phase) === Phase.body ? this.#continueBody(buf, taken) : taken;
  }

  #judgePartial(buf: Buffer, at: number, end: number): ParseError | undefined {
    if (verbOf(buf, at, end) === 'unknown') return 'unknown-operation';
    return end - at > this.#controlLineMax + VERB_BYTES_MAX ? 'control-line' : undefined;
  }

  /** `buf[at, lf)` is a whole line without its LF. */
  #handleLine(buf: Buffer, at: number, lf: number): void {
    const verb = verbOf(buf, at, lf + 1);
    if (typeof verb === 'string') {
      this.#fail('unknown-operation', lf);
      return;
    }
    if (lf - at > this.#controlLineMax + VERB_BYTES_MAX) {
      this.#fail('control-line', lf);
      return;
    }
    const args = at + VERBS[verb].name.length;
    const handler = this.#handler;
    switch (VERBS[verb].name) {
      case 'PING':
        handler.onPing();
        return;
      case 'PONG':
        handler.onPong();
        return;
      case 'CONNECT': {
        const end = buf[lf - 1] === CR ? lf - 1 : lf;
        if (end - args > this.#controlLineMax) this.#fail('control-line', lf);
        else handler.onConnect(buf.toString('utf8', args, end).trim());
        return;
      }
      case 'PUB':
        this.#scanArgs(buf, args, lf + 1);
        this.#pub(buf, args, lf);
        return;
      case 'HPUB':
        this.#scanArgs(buf, args, lf + 1);
        this.#hpub(buf, args, lf);
        return;
      case 'SUB':
        this.#scanArgs(buf, args, lf + 1);
        this.#sub(buf, args, lf);
        return;
      case 'UNSUB':
        this.#scanArgs(buf, args, lf + 1);
        this.#unsub(buf, args, lf);
        return;
      case '-ERR':
        // Whoever tells the server that it is wrong has ended the conversation.
        this.#fail('arguments', lf);
        return;
      default:
        // INFO and +OK are what servers say: legal, without meaning here.
        return;
    }
  }

  /** Finds the arguments from `at` on. Returns the index of the LF, or -1 when it lies beyond `end`. */
  #scanArgs(buf: Buffer, at: number, end: number): number {
    const args = this.#args;
    let count = 0;
    let p = at;
    for (;;) {
      let c = 0;
      while (p < end && ((c = buf[p]) === SPACE || c === TAB || c === CR)) p++;
      if (p >= end) return -1;
      if (c === LF) {
        this.#argCount = count;
        return p;
      }
      const start = p;
      while (p < end && ((c = buf[p]) > SPACE || !(c === SPACE || c === LF || c === CR || c === TAB))) p++;
      if (count < ARGS_MAX) {
        args[count * 2] = start;
        args[count * 2 + 1] = p;
        count++;
      }
    }
  }

  #tooLong(args: number, lf: number): boolean {
    if (lf - args <= this.#controlLineMax + 2) return false;
    this.#fail('control-line', lf);
    return true;
  }

  #pub(buf: Buffer, argsAt: number, lf: number): void {
    if (this.#tooLong(argsAt, lf)) return;
    const args = this.#args;
    const count = this.#argCount;
    if (count !== 2 && count !== 3) {
      this.#fail('arguments', lf);
      return;
    }
    const total = sizeOf(buf, args[count * 2 - 2], args[count * 2 - 1]);
    this.#beginBody(buf, count === 3, 0, total, 'arguments', lf);
  }

  #hpub(buf: Buffer, argsAt: number, lf: number): void {
    if (!this.headers) {
      this.#fail('headers', lf);
      return;
    }
    if (this.#tooLong(argsAt, lf)) return;
    const args = this.#args;
    const count = this.#argCount;
    if (count !== 3 && count !== 4) {
      this.#fail('headers', lf);
      return;
    }
    const hdr = sizeOf(buf, args[count * 2 - 4], args[count * 2 - 3]);
    const total = sizeOf(buf, args[count * 2 - 2], args[count * 2 - 1]);
    this.#beginBody(buf, count === 4, hdr, total, 'headers', lf);
  }

  #beginBody(buf: Buffer, replies: boolean, hdr: number, total: number, bad: ParseError, lf: number): void {
    if (total < 0 || hdr < 0 || hdr > total) {
      this.#fail(bad, lf);
      return;
    }
    if (total > this.payloadMax) {
      this.#fail('payload', lf);
      return;
    }
    const args = this.#args;
    this.#message.subject = this.#names.intern(buf, args[0], args[1]);
    // Replies are mostly used once: remembering them would only push out subjects.
    this.#message.reply = replies ? decodeName(buf, args[2], args[3]) : '';
    this.#hdrBytes = hdr;
    this.#total = total;
    this.#phase = Phase.body;
  }

  #sub(buf: Buffer, argsAt: number, lf: number): void {
    if (this.#tooLong(argsAt, lf)) return;
    const args = this.#args;
    const count = this.#argCount;
    if (count !== 2 && count !== 3) {
      this.#fail('arguments', lf);
      return;
    }
    const subject = decodeName(buf, args[0], args[1]);
    const queue = count === 3 ? this.#names.intern(buf, args[2], args[3]) : '';
    this.#handler.onSub(subject, queue, decodeName(buf, args[count * 2 - 2], args[count * 2 - 1]));
  }

  #unsub(buf: Buffer, argsAt: number, lf: number): void {
    if (this.#tooLong(argsAt, lf)) return;
    const args = this.#args;
    if (this.#argCount !== 1 && this.#argCount !== 2) {
      this.#fail('arguments', lf);
      return;
    }
    const max = this.#argCount === 2 ? sizeOf(buf, args[2], args[3]) : 0;
    this.#handler.onUnsub(decodeName(buf, args[0], args[1]), Math.max(0, max));
  }

  // Bodies --------------------------------------------------------------------------------------------------------

  /** Takes the body, or what there is of it, from `at` on. */
  #continueBody(buf: Buffer, at: number): number {
    const need = this.#total + 2;
    const there = buf.length - at;
    if (this.#bodyLength === 0) {
      if (there >= need) {
        this.#publish(buf, at);
        return at + need;
      }
      if (there === 0) return at;
      this.#body = Buffer.allocUnsafe(need);
    }
    const taken = Math.min(need - this.#bodyLength, there);
    buf.copy(this.#body, this.#bodyLength, at, at + taken);
    this.#bodyLength += taken;
    if (this.#bodyLength === need) {
      const body = this.#body;
      this.#body = NOTHING;
      this.#bodyLength = 0;
      this.#publish(body, 0);
    }
    return at + taken;
  }

  #publish(buf: Buffer, at: number): void {
    const end = at + this.#total;
    if (buf[end] !== CR || buf[end + 1] !== LF) {
      this.#fail('unknown-operation', end);
      return;
    }
    this.#phase = Phase.op;
    const message = this.#message;
    message.setBody(buf, at, at + this.#hdrBytes, end);
    this.#handler.onPub(message);
  }
}

/** Index into VERBS of what stands at `at`; 'partial' when `end` comes before that is certain. */
function verbOf(buf: Buffer, at: number, end: number): number | 'partial' | 'unknown' {
  next: for (let v = 0; v < VERBS.length; v++) {
    const { name, args } = VERBS[v];
    for (let i = 0; i < name.length; i++) {
      if (at + i >= end) return 'partial';
      let c = buf[at + i];
      if (c >= 97 && c <= 122) c -= 32;
      if (c !== name.charCodeAt(i)) continue next;
    }
    if (!args) return v;
    if (at + name.length >= end) return 'partial';
    const blank = buf[at + name.length];
    return blank === SPACE || blank === TAB ? v : 'unknown';
  }
  return 'unknown';
}

/** Decimal digits to a number; -1 when they are none. */
function sizeOf(buf: Buffer, from: number, to: number): number {
  if (to === from || to - from > SIZE_DIGITS_MAX) return -1;
  let n = 0;
  for (let i = from; i < to; i++) {
    const digit = buf[i] - 48;
    if (digit < 0 || digit > 9) return -1;
    n = n * 10 + digit;
  }
  return n;
}
