// What monitoring sees of connections (nats-surface VF2): snapshots of open sessions, and the last closed ones. Read on demand, so the
// hot path pays for counters only. Invariant: at most CLOSED_MAX closed connections are remembered, the oldest go first.
import type { CloseReason } from './close-reasons.ts';
import { CLOSED_MAX } from './limits.ts';
import type { Session } from './session.ts';

export interface ConnectionInfo {
  cid: number;
  ip: string;
  port: number;
  account: string;
  user: string;
  name: string;
  lang: string;
  version: string;
  /** Wall clock, microseconds since 1970. */
  startUs: number;
  lastActivityUs: number;
  rttMs: number | undefined;
  inMsgs: number;
  outMsgs: number;
  inBytes: number;
  outBytes: number;
  pendingBytes: number;
  stalls: number;
  subscriptions: number;
  /** Set when closed. */
  stopUs: number | undefined;
  reason: CloseReason | undefined;
}

export interface SubscriptionInfo {
  cid: number;
  account: string;
  subject: string;
  queue: string;
  sid: string;
  msgs: number;
  /** 0: none. */
  max: number;
}

export function connectionInfo(session: Session, nowMs: number, wallUs: number): ConnectionInfo {
  const { ip, port } = splitAddress(session.remoteAddress);
  const { name, lang, version } = session.options;
  return {
    cid: session.cid,
    ip,
    port,
    account: session.account,
    user: session.user,
    name,
    lang,
    version,
    startUs: session.startUs,
    lastActivityUs: wallUs - Math.round((nowMs - session.lastActivityMs) * 1_000),
    rttMs: session.rttMs,
    inMsgs: session.inMsgs,
    outMsgs: session.outMsgs,
    inBytes: session.inBytes,
    outBytes: session.outBytes,
    pendingBytes: session.pendingBytes,
    stalls: session.stalls,
    subscriptions: session.subscriptions.size,
    stopUs: undefined,
    reason: undefined,
  };
}

export function subscriptionInfos(session: Session): SubscriptionInfo[] {
  return [...session.subscriptions.values()].map((s) => ({
    cid: session.cid,
    account: s.account,
    subject: s.subject,
    queue: s.queue,
    sid: s.sid,
    msgs: s.delivered,
    max: s.max,
  }));
}

export function splitAddress(address: string): { ip: string; port: number } {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, Math.max(0, colon));
  const bare = host.startsWith('[') ? host.slice(1, -1) : host;
  return { ip: bare.startsWith('::ffff:') ? bare.slice(7) : bare, port: Number(address.slice(colon + 1)) || 0 };
}

/** What the connections of one account carried, open and closed ones together. */
export interface AccountTraffic {
  connections: number;
  totalConnections: number;
  subscriptions: number;
  inMsgs: number;
  outMsgs: number;
  inBytes: number;
  outBytes: number;
  slowConsumers: number;
}

export function noTraffic(): AccountTraffic {
  return {
    connections: 0,
    totalConnections: 0,
    subscriptions: 0,
    inMsgs: 0,
    outMsgs: 0,
    inBytes: 0,
    outBytes: 0,
    slowConsumers: 0,
  };
}

export function addTraffic(traffic: AccountTraffic, info: ConnectionInfo): void {
  traffic.totalConnections++;
  traffic.inMsgs += info.inMsgs;
  traffic.outMsgs += info.outMsgs;
  traffic.inBytes += info.inBytes;
  traffic.outBytes += info.outBytes;
  if (info.reason?.startsWith('Slow Consumer')) traffic.slowConsumers++;
}

/** The last closed connections, oldest first. */
export class ClosedConnections {
  readonly #ring: ConnectionInfo[] = [];
  /** Of all that were ever closed. */
  readonly #byAccount = new Map<string, AccountTraffic>();
  #next = 0;

  trafficOf(account: string): AccountTraffic {
    return this.#byAccount.get(account) ?? noTraffic();
  }

  add(info: ConnectionInfo): void {
    let traffic = this.#byAccount.get(info.account);
    if (traffic === undefined) this.#byAccount.set(info.account, (traffic = noTraffic()));
    addTraffic(traffic, info);
    if (this.#ring.length < CLOSED_MAX) this.#ring.push(info);
    else {
      this.#ring[this.#next] = info;
      this.#next = (this.#next + 1) % CLOSED_MAX;
    }
  }

  list(): ConnectionInfo[] {
    return [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)];
  }
}
