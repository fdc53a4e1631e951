// Which addresses are dialed, and when. Owned by links.ts. Configured addresses are dialed for ever; learnt ones only while no
// link to their node exists, and they are forgotten when they lead nowhere. Invariant: one attempt per address at a time, 100 ms to 1 s
// apart, and none to a node that is linked already.
import type { Env, Timer } from '../../src/kit/env.ts';
import { type Net, parseHostPort, type Socket } from '../../src/kit/net.ts';
import type { PeerId } from '../core/types.ts';

const REDIAL_MIN_MS = 100;
const REDIAL_MAX_MS = 1_000;
const DIAL_TIMEOUT_MS = 2_000;
const LEARNT_MAX = 256;
const LEARNT_ATTEMPTS_MAX = 300;

interface Target {
  address: string;
  host: string;
  port: number;
  configured: boolean;
  /** Who was found there last; 0 unknown. */
  peer: PeerId;
  isSelf: boolean;
  /** From the attempt until that connection is closed. */
  busy: boolean;
  backoffMs: number;
  attempts: number;
  timer: Timer | undefined;
}

export interface DialerOwner {
  isUp(peer: PeerId): boolean;
  onSocket(socket: Socket, address: string): void;
}

export class Dialer {
  private readonly env: Env;
  private readonly net: Net;
  private readonly owner: DialerOwner;
  private readonly targets = new Map<string, Target>();
  private closed = false;

  constructor(env: Env, net: Net, owner: DialerOwner) {
    this.env = env;
    this.net = net;
    this.owner = owner;
  }

  /** False: not an address. `peer` when it is known who is there. */
  add(address: string, configured: boolean, peer: PeerId): boolean {
    const where = parseHostPort(address);
    if (where === undefined || where.port === 0) return false;
    const known = this.targets.get(address);
    if (known !== undefined) {
      known.configured ||= configured;
      if (peer !== 0) known.peer = peer;
      return true;
    }
    if (!configured) {
      // An address to listen on is no address to dial, and a configured way to the node is preferred.
      if (where.host === '0.0.0.0' || where.host === '::' || this.targets.size >= LEARNT_MAX) return false;
      for (const other of this.targets.values()) if (other.configured && other.peer === peer && peer !== 0) return true;
    }
    const target: Target = {
      address,
      ...where,
      configured,
      peer,
      isSelf: false,
      busy: false,
      backoffMs: REDIAL_MIN_MS,
      attempts: 0,
      timer: undefined,
    };
    this.targets.set(address, target);
    // A learnt node may be dialing us at this moment.
    if (configured) this.dial(target);
    else this.schedule(target);
    return true;
  }

  /** Configured addresses that are not known to be this node itself. */
  configuredOthers(): number {
    let count = 0;
    for (const target of this.targets.values()) if (target.configured && !target.isSelf) count++;
    return count;
  }

  /** A route of the configuration leads to that peer. */
  isConfigured(peer: PeerId): boolean {
    for (const target of this.targets.values()) if (target.configured && target.peer === peer) return true;
    return false;
  }

  /** The connection to that address became a link. */
  reached(address: string, peer: PeerId): void {
    const target = this.targets.get(address);
    if (target === undefined) return;
    target.peer = peer;
    target.backoffMs = REDIAL_MIN_MS;
    target.attempts = 0;
  }

  /** The connection to that address ended. */
  lost(address: string, peer: PeerId, isSelf: boolean): void {
    const target = this.targets.get(address);
    if (target === undefined) return;
    target.busy = false;
    target.isSelf = isSelf;
    if (peer !== 0) target.peer = peer;
    this.schedule(target);
  }

  peerDown(peer: PeerId): void {
    for (const target of this.targets.values()) if (target.peer === peer) this.schedule(target);
  }

  close(): void {
    this.closed = true;
    for (const target of this.targets.values()) if (target.timer !== undefined) this.env.clock.cancel(target.timer);
  }

  private schedule(target: Target): void {
    if (this.closed || target.isSelf || target.busy || target.timer !== undefined) return;
    if (target.peer !== 0 && this.owner.isUp(target.peer)) return;
    const delayMs = target.backoffMs * (0.5 + this.env.random.float() / 2);
    target.backoffMs = Math.min(REDIAL_MAX_MS, target.backoffMs * 2);
    target.timer = this.env.clock.after(delayMs, () => {
      target.timer = undefined;
      this.dial(target);
    });
  }

  private dial(target: Target): void {
    if (this.closed || target.busy || (target.peer !== 0 && this.owner.isUp(target.peer))) return;
    if (!target.configured && target.attempts >= LEARNT_ATTEMPTS_MAX) {
      this.targets.delete(target.address);
      return;
    }
    target.busy = true;
    target.attempts++;
    this.net.dial(target.host, target.port, DIAL_TIMEOUT_MS, (_error, socket) => {
      if (socket === null) {
        target.busy = false;
        this.schedule(target);
        return;
      }
      if (this.closed) socket.destroy();
      else this.owner.onSocket(socket, target.address);
    });
  }
}
