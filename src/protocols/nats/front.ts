// The NATS front of a node: its listener, its sessions, and everything they share. Built by the composition root. All
// output of a turn leaves at the end of the turn, one write per connection; all time-outs are looked at by one sweep.
// Invariant: a session is in `#sessions` from accept until its socket has closed, and counted as open until it ended.
import type { Authenticator } from '../../auth/auth.ts';
import type { Broker } from '../../broker/types.ts';
import type { Env, Timer } from '../../kit/env.ts';
import type { Net, Socket } from '../../kit/net.ts';
import { ConnectionListener } from '../../net/listener.ts';
import { Interner } from '../../subjects/interner.ts';
import { CloseReason } from './close-reasons.ts';
import {
  type AccountTraffic,
  addTraffic,
  ClosedConnections,
  type ConnectionInfo,
  connectionInfo,
  type SubscriptionInfo,
  splitAddress,
  subscriptionInfos,
} from './connections.ts';
import { type InfoFields, infoLine } from './info.ts';
import { DEFAULT_LIMITS, LAME_DUCK_STEP_MS_MAX, LINGER_MS, type NatsLimits, SWEEP_MS } from './limits.ts';
import { type FrontCounts, Session, type SessionHost } from './session.ts';
import { ChunkPool, type Writer } from './writer.ts';

export interface NatsFrontOptions {
  env: Env;
  net: Net;
  broker: Broker;
  /** Port 0 picks a free port. */
  listen: { host: string; port: number };
  info: () => InfoFields;
  auth: Authenticator;
  limits?: Partial<NatsLimits>;
}

export interface FrontStats extends FrontCounts {
  /** Open now, and ever accepted. */
  connections: number;
  totalConnections: number;
}

export interface NatsFront {
  /** Real port once it listens, else 0. */
  readonly address: { host: string; port: number };
  readonly limits: NatsLimits;
  readonly stats: FrontStats;
  /** Binds the address. */
  start(ready: (error: Error | null) => void): void;
  connections(): ConnectionInfo[];
  /** The last closed ones, oldest first. */
  closed(): ConnectionInfo[];
  /** Of one account since the start. */
  trafficOf(account: string): AccountTraffic;
  /** Undefined: no such open connection. */
  subscriptions(cid: number): SubscriptionInfo[] | undefined;
  /** The cluster's topology or the node's state changed: tells clients that understand it. */
  updateInfo(): void;
  /** New rules for clients, old and new ones: those for whom `stays` is false are sent away. */
  reload(auth: Authenticator, limits: NatsLimits, stays: (who: { user: string; account: string }) => boolean): void;
  /**
   * Stops accepting, tells clients to go elsewhere, and after `graceMs` closes those that stayed, one by one, so that all have gone
   * after `durationMs`. Done as soon as nobody is left.
   */
  lameDuck(graceMs: number, durationMs: number, done: () => void): void;
  /** This node is about to stop: tells clients that understand it, and goes on serving them. */
  announceEnd(): void;
  /** Nothing more is read, and what is written waits for `close`: a client that gets its answer and the end in one asks nothing in between that
   * nobody would answer. */
  hush(): void;
  /** False: no such open connection. */
  kick(cid: number): boolean;
  /** Stops accepting and ends every session after its output has left. */
  close(done: () => void): void;
}

export function createNatsFront(options: NatsFrontOptions): NatsFront {
  return new Front(options);
}

class Front implements NatsFront, SessionHost {
  readonly broker: Broker;
  auth: Authenticator;
  limits: NatsLimits;
  readonly clock: Env['clock'];
  readonly names = new Interner();
  readonly pool = new ChunkPool();
  readonly counts: FrontCounts = {
    inMsgs: 0,
    outMsgs: 0,
    inBytes: 0,
    outBytes: 0,
    slowConsumers: 0,
    staleConnections: 0,
    stalledClients: 0,
  };
  congestion = 0;
  hushed = false;

  readonly #info: () => InfoFields;
  readonly #env: Env;
  readonly #listener: ConnectionListener;
  /** By cid: open ones, and those whose socket has not closed yet. */
  readonly #sessions = new Map<number, Session>();
  readonly #closed = new ClosedConnections();
  /** Ended sessions whose client may still read the last words, with the time when that is over. */
  #lingering: { session: Session; untilMs: number }[] = [];
  #nextCid = 1;
  #ldm = false;
  #sweepTimer: Timer | undefined = undefined;
  #lameDuckTimer: Timer | undefined = undefined;
  #outputs: Writer[] = [];
  #onEmpty: (() => void) | undefined = undefined;
  readonly #flushBound = () => this.#flush();

  constructor(options: NatsFrontOptions) {
    this.#env = options.env;
    this.clock = options.env.clock;
    this.broker = options.broker;
    this.auth = options.auth;
    this.limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#info = options.info;
    this.#listener = new ConnectionListener({
      net: options.net,
      host: options.listen.host,
      port: options.listen.port,
      connectionsMax: this.limits.connectionsMax,
      onConnection: (socket, refused) => this.#accept(socket, refused),
    });
  }

  get address(): { host: string; port: number } {
    return this.#listener.address;
  }

  get stats(): FrontStats {
    return { ...this.counts, connections: this.#listener.open, totalConnections: this.#nextCid - 1 };
  }

  start(ready: (error: Error | null) => void): void {
    this.#listener.start((error) => {
      if (error === null) this.#sweepTimer = this.clock.after(SWEEP_MS, () => this.#sweep());
      ready(error);
    });
  }

  connections(): ConnectionInfo[] {
    const nowMs = this.clock.nowMs();
    const wallUs = this.clock.wallUs();
    const open = [...this.#sessions.values()].filter((session) => session.closeReason === undefined);
    return open.map((session) => connectionInfo(session, nowMs, wallUs));
  }

  closed(): ConnectionInfo[] {
    return this.#closed.list();
  }

  trafficOf(account: string): AccountTraffic {
    const traffic = { ...this.#closed.trafficOf(account) };
    for (const info of this.connections()) {
      if (info.account !== account) continue;
      addTraffic(traffic, info);
      traffic.connections++;
      traffic.subscriptions += info.subscriptions;
    }
    return traffic;
  }

  subscriptions(cid: number): SubscriptionInfo[] | undefined {
    const session = this.#sessions.get(cid);
    return session?.closeReason === undefined && session !== undefined ? subscriptionInfos(session) : undefined;
  }

  updateInfo(): void {
    for (const session of this.#sessions.values()) {
      if (session.connected && session.options.protocol >= 1 && session.closeReason === undefined) session.sendInfo();
    }
  }

  reload(auth: Authenticator, limits: NatsLimits, stays: (who: { user: string; account: string }) => boolean): void {
    this.auth = auth;
    this.limits = limits;
    this.#listener.setConnectionsMax(limits.connectionsMax);
    for (const session of [...this.#sessions.values()]) {
      if (session.closeReason !== undefined) continue;
      session.limitsChanged();
      if (session.connected && !stays(session)) session.close(CloseReason.authFailure);
    }
    this.updateInfo();
  }

  announceEnd(): void {
    if (this.#ldm) return;
    this.#ldm = true;
    this.updateInfo();
  }

  hush(): void {
    this.#listener.stop(() => {});
    this.hushed = true;
  }

  lameDuck(graceMs: number, durationMs: number, done: () => void): void {
    this.#listener.stop(() => {});
    this.announceEnd();
    this.#whenEmpty(done);
    this.#lameDuckTimer = this.clock.after(graceMs, () => {
      const staying = [...this.#sessions.keys()];
      const stepMs = Math.max(0, durationMs - graceMs) / Math.max(1, staying.length);
      this.#sendAway(staying, Math.min(stepMs, LAME_DUCK_STEP_MS_MAX));
    });
  }

  kick(cid: number): boolean {
    const session = this.#sessions.get(cid);
    if (session === undefined || session.closeReason !== undefined) return false;
    session.close(CloseReason.kicked);
    return true;
  }

  close(done: () => void): void {
    this.#listener.stop(() => {});
    if (this.#lameDuckTimer !== undefined) this.clock.cancel(this.#lameDuckTimer);
    for (const session of this.#sessions.values()) session.close(CloseReason.serverShutdown);
    this.#whenEmpty(() => {
      if (this.#sweepTimer !== undefined) this.clock.cancel(this.#sweepTimer);
      this.#sweepTimer = undefined;
      done();
    });
  }

  // For sessions --------------------------------------------------------------------------------------------------

  nowMs(): number {
    return this.clock.nowMs();
  }

  onOutput(writer: Writer): void {
    if (this.#outputs.push(writer) === 1) this.clock.endOfTurn(this.#flushBound);
  }

  infoLine(session: Session): string {
    const { host, port } = this.address;
    return infoLine(this.#info(), {
      host,
      port,
      max_payload: this.limits.payloadBytesMax,
      auth_required: this.auth.required,
      client_id: session.cid,
      client_ip: splitAddress(session.remoteAddress).ip,
      ldm: this.#ldm,
    });
  }

  onEnded(session: Session, reason: CloseReason): void {
    if (!session.refused) this.#listener.release();
    const wallUs = this.clock.wallUs();
    const info = connectionInfo(session, this.clock.nowMs(), wallUs);
    this.#closed.add({ ...info, stopUs: wallUs, reason });
    this.#lingering.push({ session, untilMs: this.clock.nowMs() + LINGER_MS });
    this.#env.log.debug('client connection closed', { cid: session.cid, reason });
  }

  onSocketClosed(session: Session): void {
    this.#sessions.delete(session.cid);
    if (this.#sessions.size === 0) this.#empty();
  }

  // Inside --------------------------------------------------------------------------------------------------------

  #accept(socket: Socket, refused: boolean): void {
    const session = new Session(this, socket, this.#nextCid++, refused);
    this.#sessions.set(session.cid, session);
    session.start();
  }

  /** Of two that wait the later one is told: a close overtakes a lame duck. */
  #whenEmpty(done: () => void): void {
    this.#onEmpty = done;
    if (this.#sessions.size === 0) this.#empty();
  }

  #empty(): void {
    const done = this.#onEmpty;
    this.#onEmpty = undefined;
    done?.();
  }

  /** One client a step; those who have left by themselves cost none. */
  #sendAway(staying: number[], stepMs: number): void {
    let session: Session | undefined;
    while (staying.length > 0 && (session === undefined || session.closeReason !== undefined))
      session = this.#sessions.get(staying.pop()!);
    session?.close(CloseReason.serverShutdown);
    if (staying.length > 0) this.#lameDuckTimer = this.clock.after(stepMs, () => this.#sendAway(staying, stepMs));
  }

  #flush(): void {
    const outputs = this.#outputs;
    if (this.hushed) return;
    this.#outputs = [];
    for (let i = 0; i < outputs.length; i++) outputs[i].flush();
  }

  #sweep(): void {
    const nowMs = this.clock.nowMs();
    for (const session of this.#sessions.values()) session.sweep(nowMs);
    let over = 0;
    while (over < this.#lingering.length && this.#lingering[over].untilMs <= nowMs)
      this.#lingering[over++].session.destroy();
    if (over > 0) this.#lingering.splice(0, over);
    this.#sweepTimer = this.clock.after(SWEEP_MS, () => this.#sweep());
  }
}
