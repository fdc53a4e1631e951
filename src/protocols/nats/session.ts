// One NATS client: what it said of itself, its subscriptions, and what it is owed. Between parser (input), broker (deeds) and
// writer (output); made by the front. Commands take effect in the order in which they arrived, so the PONG for a PING is
// written behind everything that earlier commands caused. A closed session publishes and delivers nothing.
import type { Authenticator } from '../../auth/auth.ts';
import { GLOBAL_ACCOUNT } from '../../auth/auth.ts';
import { messageBytes, type RawMessage } from '../../broker/raw-message.ts';
import type { Broker, Message, Receiver, Subscription } from '../../broker/types.ts';
import type { Clock } from '../../kit/env.ts';
import type { Socket } from '../../kit/net.ts';
import { ReadGate } from '../../net/read-gate.ts';
import type { Interner } from '../../subjects/interner.ts';
import { isLiteral, isValidPattern } from '../../subjects/subject.ts';
import { CLOSE_ERRORS, CloseReason } from './close-reasons.ts';
import { type ConnectOptions, DEFAULT_OPTIONS, parseConnect } from './connect-options.ts';
import { LINK_STALL_SHARE, type NatsLimits, STALL_SHARE } from './limits.ts';
import { type ParseError, Parser, type ParserHandler } from './parser.ts';
import { Writer, type WriterHost } from './writer.ts';

/** What a session needs of its front. */
export interface SessionHost extends WriterHost {
  readonly broker: Broker;
  readonly auth: Authenticator;
  readonly limits: NatsLimits;
  readonly names: Interner;
  readonly clock: Clock;
  readonly counts: FrontCounts;
  /** Fullness of the fullest receiver that the input at hand has met. */
  congestion: number;
  /** The node is about to stop: what comes now is not looked at. */
  readonly hushed: boolean;
  /** `INFO {…}` for this client, with line end. */
  infoLine(session: Session): string;
  /** The session is over; its socket may still be closing. */
  onEnded(session: Session, reason: CloseReason): void;
  onSocketClosed(session: Session): void;
}

export interface FrontCounts {
  inMsgs: number;
  outMsgs: number;
  inBytes: number;
  outBytes: number;
  slowConsumers: number;
  staleConnections: number;
  stalledClients: number;
}

/** Subscriptions that are given back in one go: about two milliseconds of work. */
const UNSUBSCRIBE_STEP = 1_000;
const SYSTEM_QUEUE = '_sys_';
const STATUS_NO_RESPONDERS = 'NATS/1.0 503\r\nNats-Subject: ';
const NOTHING = new Uint8Array(0);

const PARSE_ERRORS: Readonly<Record<ParseError, CloseReason>> = {
  'unknown-operation': CloseReason.parseError,
  'not-connect': CloseReason.authFailure,
  'control-line': CloseReason.controlLineMax,
  payload: CloseReason.payloadMax,
  arguments: CloseReason.protocolViolation,
  headers: CloseReason.headerViolation,
};

export class ClientSubscription implements Subscription {
  readonly account: string;
  readonly subject: string;
  readonly queue: string;
  readonly sid: string;
  readonly receiver: Session;
  readonly echo: boolean;
  /** Deliveries after which it ends; 0: none. */
  max = 0;
  delivered = 0;
  live = true;

  constructor(receiver: Session, subject: string, queue: string, sid: string) {
    this.account = receiver.account;
    this.subject = subject;
    this.queue = queue;
    this.sid = sid;
    this.receiver = receiver;
    this.echo = receiver.options.echo;
  }
}

export class Session implements Receiver, ParserHandler {
  readonly cid: number;
  readonly startUs: number;
  /** Beyond the number of connections: told so and closed. */
  readonly refused: boolean;
  options: Readonly<ConnectOptions> = DEFAULT_OPTIONS;
  account = GLOBAL_ACCOUNT;
  user = '';
  connected = false;
  closeReason: CloseReason | undefined = undefined;
  inMsgs = 0;
  outMsgs = 0;
  inBytes = 0;
  outBytes = 0;
  /** Monotonic time when anything last arrived, and when anything was last said or heard. */
  lastInMs: number;
  lastActivityMs: number;
  /** Round trip of the last ping; undefined before the first answer. */
  rttMs: number | undefined = undefined;
  subscriptions = new Map<string, ClientSubscription>();

  readonly #host: SessionHost;
  readonly #socket: Socket;
  readonly #parser: Parser;
  readonly #writer: Writer;
  readonly #gate: ReadGate;
  readonly #acceptedMs: number;
  #connectedMs = 0;
  #pingsOut = 0;
  #pingSentMs = 0;

  constructor(host: SessionHost, socket: Socket, cid: number, refused: boolean) {
    this.#host = host;
    this.#socket = socket;
    this.cid = cid;
    this.refused = refused;
    this.startUs = host.clock.wallUs();
    this.#acceptedMs = this.lastInMs = this.lastActivityMs = host.nowMs();
    this.#writer = new Writer(socket, host);
    this.#gate = new ReadGate(socket, host.clock);
    this.#parser = new Parser(this, host.names, {
      controlLineMax: host.limits.controlLineBytesMax,
      payloadMax: host.limits.payloadBytesMax,
    });
    this.#parser.connectOnly = host.auth.required;
  }

  /** Greets the client and reads what it says. */
  start(): void {
    this.#socket.onClose((error) => this.#socketClosed(error));
    this.#socket.onDrain(() => this.#writer.drained());
    this.sendInfo();
    if (this.refused) this.close(CloseReason.connectionsMax);
    this.#socket.onData((bytes) => this.#input(bytes));
  }

  get remoteAddress(): string {
    return this.#socket.remoteAddress;
  }

  get pendingBytes(): number {
    return this.#writer.pendingBytes;
  }

  get stalls(): number {
    return this.#gate.stalls;
  }

  sendInfo(): void {
    this.#writer.text(this.#host.infoLine(this));
  }

  /** The bounds of the front changed. */
  limitsChanged(): void {
    const { controlLineBytesMax: controlLineMax, payloadBytesMax: payloadMax } = this.#host.limits;
    this.#parser.setLimits({ controlLineMax, payloadMax });
  }

  /** Ends the session: with an -ERR where the reason has one. Callable at any time, also from inside a delivery. */
  close(reason: CloseReason): void {
    if (this.closeReason !== undefined) return;
    this.#end(reason);
    if (reason === CloseReason.slowPending || reason === CloseReason.slowDeadline) {
      this.#host.counts.slowConsumers++;
      this.#writer.drop();
      this.#socket.destroy();
      return;
    }
    const error = CLOSE_ERRORS[reason];
    if (error !== undefined) this.#writer.text(`-ERR '${error}'\r\n`);
    this.#writer.finish();
    this.#socket.end();
  }

  /** The client had its time to read the last words. */
  destroy(): void {
    this.#socket.destroy();
  }

  /** Looks at everything that depends on time. */
  sweep(nowMs: number): void {
    if (this.closeReason !== undefined) return;
    const { limits, auth } = this.#host;
    if (this.#writer.blocked && nowMs - this.#writer.blockedSinceMs > limits.writeDeadlineMs) {
      this.close(CloseReason.slowDeadline);
      return;
    }
    if (!this.connected && auth.required) {
      if (nowMs - this.#acceptedMs >= limits.authTimeoutMs) this.close(CloseReason.authTimeout);
      return;
    }
    this.#pingWhenDue(nowMs);
  }

  #pingWhenDue(nowMs: number): void {
    const { firstPingMs, pingIntervalMs, pingsOutMax } = this.#host.limits;
    const first = this.rttMs === undefined && this.#pingsOut === 0;
    const since = first
      ? nowMs - (this.connected ? this.#connectedMs : this.#acceptedMs)
      : nowMs - Math.max(this.#pingSentMs, this.lastInMs);
    if (since < (first ? Math.min(firstPingMs, pingIntervalMs) : pingIntervalMs)) return;
    if (this.#pingsOut >= pingsOutMax) {
      this.#host.counts.staleConnections++;
      this.close(CloseReason.stale);
      return;
    }
    this.#pingsOut++;
    this.#pingSentMs = nowMs;
    this.#writer.text('PING\r\n');
  }

  // Input ---------------------------------------------------------------------------------------------------------

  #input(bytes: Uint8Array): void {
    if (this.closeReason !== undefined || this.#host.hushed) return;
    const host = this.#host;
    this.lastInMs = this.lastActivityMs = host.nowMs();
    host.congestion = 0;
    host.broker.congestion = 0;
    this.#parser.feed(bytes);
    const pressure = Math.max(beyond(host.congestion, STALL_SHARE), beyond(host.broker.congestion, LINK_STALL_SHARE));
    if (pressure > 0 && this.closeReason === undefined) {
      host.counts.stalledClients++;
      this.#gate.stall(pressure);
    }
  }

  onConnect(json: string): void {
    const options = parseConnect(json, this.options);
    const refusal = options === undefined ? CloseReason.protocolViolation : this.#admit(options);
    if (refusal === undefined) this.#ok();
    else this.close(refusal);
  }

  /** Takes the client as what it says it is, or says why not. */
  #admit(options: ConnectOptions): CloseReason | undefined {
    if (options.protocol !== 0 && options.protocol !== 1) return CloseReason.badProtocol;
    if (options.noResponders && !options.headers) return CloseReason.noRespondersHeaders;
    const isLegacy = options.account !== '' || options.newAccount;
    const identity = !isLegacy ? this.#host.auth.authenticate(options) : undefined;
    if (identity === undefined) return CloseReason.authFailure;
    if (this.connected) this.#unsubscribeAll();
    else this.#connectedMs = this.#host.nowMs();
    this.options = { ...options, pass: '', token: '' };
    this.account = identity.account;
    this.user = identity.user;
    this.connected = true;
    this.#parser.connectOnly = false;
    this.#parser.headers = options.headers;
    return undefined;
  }

  onPub(message: RawMessage): void {
    const host = this.#host;
    const bytes = message.end - message.hdrStart;
    this.inMsgs++;
    this.inBytes += bytes;
    host.counts.inMsgs++;
    host.counts.inBytes += bytes;
    const options = this.options;
    if (options.pedantic && !isLiteral(message.subject)) this.#err('Invalid Publish Subject');
    if (options.verbose) this.#writer.text('+OK\r\n');
    if (message.reply !== '' && isReservedReply(message.reply)) {
      this.#err(`Permissions Violation for Publish with Reply of "${message.reply}"`);
      return;
    }
    if (host.broker.publish(this.account, message, this)) return;
    if (options.noResponders && message.reply !== '') this.#noResponders(message.subject, message.reply);
  }

  onSub(subject: string, queue: string, sid: string): void {
    if (queue === SYSTEM_QUEUE) {
      this.#err(`Permissions Violation for Subscription to "${subject}" using queue "${queue}"`);
      return;
    }
    if (!isValidPattern(subject)) {
      this.#err('Invalid Subject');
      return;
    }
    const max = this.#host.limits.subscriptionsMax;
    if (!this.subscriptions.has(sid)) {
      if (max > 0 && this.subscriptions.size >= max) {
        this.#err('maximum subscriptions exceeded');
        return;
      }
      const subscription = new ClientSubscription(this, subject, queue, sid);
      this.subscriptions.set(sid, subscription);
      this.#host.broker.subscribe(subscription);
    }
    this.#ok();
  }

  onUnsub(sid: string, max: number): void {
    const subscription = this.subscriptions.get(sid);
    if (subscription !== undefined) {
      subscription.max = max;
      if (max === 0 || subscription.delivered >= max) this.#unsubscribe(subscription);
    }
    this.#ok();
  }

  onPing(): void {
    this.#writer.text('PONG\r\n');
  }

  onPong(): void {
    if (this.#pingsOut === 0) return;
    this.#pingsOut = 0;
    this.rttMs = this.#host.nowMs() - this.#pingSentMs;
  }

  onError(error: ParseError): void {
    this.close(PARSE_ERRORS[error]);
  }

  // Output --------------------------------------------------------------------------------------------------------

  deliver(subscription: Subscription, message: Message): void {
    const own = subscription as ClientSubscription;
    if (!own.live) return;
    own.delivered++;
    const writer = this.#writer;
    writer.message(own.sid, message, this.options.headers);
    const counts = this.#host.counts;
    const bytes = messageBytes(message);
    this.outMsgs++;
    this.outBytes += bytes;
    counts.outMsgs++;
    counts.outBytes += bytes;
    if (own.max !== 0 && own.delivered >= own.max) this.#unsubscribe(own);
    if (writer.blocked) this.#watchPending();
  }

  #watchPending(): void {
    const fullness = this.#writer.pendingBytes / this.#host.limits.pendingBytesMax;
    if (fullness > 1) this.close(CloseReason.slowPending);
    else if (fullness > this.#host.congestion) this.#host.congestion = fullness;
  }

  #noResponders(subject: string, reply: string): void {
    const own = this.#host.broker.subscriptionOf(this, this.account, reply);
    if (own === undefined) return;
    const hdr = Buffer.from(`${STATUS_NO_RESPONDERS}${subject}\r\n\r\n`);
    this.deliver(own, { subject: reply, reply: '', hdr, payload: NOTHING });
  }

  #ok(): void {
    if (this.options.verbose) this.#writer.text('+OK\r\n');
  }

  #err(text: string): void {
    this.#writer.text(`-ERR '${text}'\r\n`);
  }

  // Ends ----------------------------------------------------------------------------------------------------------

  #unsubscribe(subscription: ClientSubscription): void {
    subscription.live = false;
    this.subscriptions.delete(subscription.sid);
    this.#host.broker.unsubscribe(subscription);
  }

  /** All of them are dead at once; the broker is told in steps, because there may be very many. */
  #unsubscribeAll(): void {
    const all = this.subscriptions;
    this.subscriptions = new Map();
    for (const subscription of all.values()) subscription.live = false;
    const { broker, clock } = this.#host;
    const rest = all.values();
    const step = () => {
      for (let left = UNSUBSCRIBE_STEP; left > 0; left--) {
        const next = rest.next();
        if (next.done === true) return;
        broker.unsubscribe(next.value);
      }
      clock.after(0, step);
    };
    step();
  }

  #socketClosed(error: Error | undefined): void {
    this.#gate.close();
    if (this.closeReason === undefined) {
      this.#end(error === undefined ? CloseReason.clientClosed : CloseReason.readError);
      this.#writer.drop();
    }
    this.#host.onSocketClosed(this);
  }

  #end(reason: CloseReason): void {
    this.closeReason = reason;
    this.#parser.stop();
    this.#gate.close();
    // Counted with its subscriptions, as monitoring shows them.
    this.#host.onEnded(this, reason);
    this.#unsubscribeAll();
  }
}

/** How far a fullness is on its way from `share` to 1; not above 0 when it has not got there. */
function beyond(fullness: number, share: number): number {
  return (fullness - share) / (1 - share);
}

/** Where acks and answers of services go: nobody may ask for an answer there, `$JS.ACK.`, `_R_.` or `_GR_.`. */
function isReservedReply(reply: string): boolean {
  const first = reply.charCodeAt(0);
  if (first === 36) return reply.startsWith('$JS.ACK.');
  return first === 95 && (reply.startsWith('_R_.') || reply.startsWith('_GR_.'));
}
