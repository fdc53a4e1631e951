// Where a push consumer delivers to: interest on its subject, idle heartbeats (PU2), flow control (PU3), rate limit. The other
// kind of demand beside PullQueue. Used by delivery-consumer.ts. Invariant: nothing is sent while unbound; at most one flow
// control request is outstanding, and beyond the window nothing is sent until it is answered.
import type { Env } from '../kit/env.ts';
import type { ConsumerConfig } from './config.ts';
import { randomId } from './delivery-advisories.ts';
import { EMPTY, FLOW_CONTROL, idleHeartbeat } from './delivery-frames.ts';
import type { Outlet } from './types.ts';

const WINDOW_BYTES_MAX = 32 << 20;
const WINDOW_BYTES_START = WINDOW_BYTES_MAX / 16;
/** How soon and how rarely an unbound consumer looks for interest. */
const PROBE_MS_MIN = 5;
const PROBE_MS_MAX = 250;

export class PushTarget {
  subject = '';
  bound = false;
  /** Never later than the next heartbeat, probe, or moment at which the rate limit lets something pass. */
  nextDueMs = 0;
  readonly #env: Env;
  readonly #outlet: Outlet;
  readonly #flowPrefix: string;
  #flowControl = false;
  #heartbeatMs = 0;
  #heartbeatAtMs = Number.POSITIVE_INFINITY;
  #probeMs = PROBE_MS_MIN;
  #probeAtMs = 0;
  #bitsPerMs = 0;
  #freeAtMs = 0;
  #windowBytes = WINDOW_BYTES_START;
  #sentBytes = 0;
  #flowId = '';
  #flowBytes = 0;

  constructor(env: Env, outlet: Outlet, stream: string, consumer: string) {
    this.#env = env;
    this.#outlet = outlet;
    this.#flowPrefix = `$JS.FC.${stream}.${consumer}.`;
  }

  configure(config: ConsumerConfig): void {
    if (config.deliver_subject !== this.subject) {
      this.subject = config.deliver_subject ?? '';
      this.bound = false;
      this.#probeAtMs = 0;
      this.nextDueMs = 0;
    }
    this.#flowControl = config.flow_control === true;
    this.#heartbeatMs = (config.idle_heartbeat ?? 0) / 1e6;
    this.#bitsPerMs = (config.rate_limit_bps ?? 0) / 1000;
  }

  /** Something may be sent now. Looks for interest when there was none and the time for it has come. */
  admits(nowMs: number): boolean {
    if (!this.bound && (this.#probeAtMs > nowMs || !this.#probe(nowMs))) return false;
    if (this.#flowControl && this.#sentBytes > this.#windowBytes) return false;
    if (this.#freeAtMs <= nowMs) return true;
    this.nextDueMs = Math.min(this.nextDueMs, this.#freeAtMs);
    return false;
  }

  sent(size: number, nowMs: number): void {
    if (this.#bitsPerMs > 0) this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + (size * 8) / this.#bitsPerMs;
    if (this.#heartbeatMs > 0) this.#heartbeatAtMs = nowMs + this.#heartbeatMs;
    if (!this.#flowControl) return;
    this.#sentBytes += size;
    if (this.#flowId !== '' || this.#sentBytes <= this.#windowBytes / 2) return;
    this.#flowId = this.#flowPrefix + randomId(this.#env, 4);
    this.#flowBytes = this.#sentBytes;
    this.#outlet.deliverTo(this.subject, {
      subject: this.subject,
      reply: this.#flowId,
      hdr: FLOW_CONTROL,
      payload: EMPTY,
    });
  }

  /** The client answered a flow control request. True when it was the outstanding one. */
  answered(flowSubject: string): boolean {
    if (flowSubject !== this.#flowId) return false;
    this.#windowBytes = Math.min(WINDOW_BYTES_MAX, this.#windowBytes * 2);
    this.#sentBytes = Math.max(0, this.#sentBytes - this.#flowBytes);
    this.#flowId = '';
    this.#flowBytes = 0;
    return true;
  }

  /** Nobody is there any more. */
  lost(nowMs: number): void {
    this.bound = false;
    this.#probeMs = PROBE_MS_MIN;
    this.#probeAtMs = nowMs + this.#probeMs;
    this.nextDueMs = Math.min(this.nextDueMs, this.#probeAtMs);
  }

  /** Someone has subscribed: looks for interest at the next occasion. */
  hurry(): void {
    if (!this.bound) this.#probeAtMs = 0;
  }

  tick(nowMs: number, lastConsumerSeq: number, lastStreamSeq: number): void {
    if (!this.bound && this.#probeAtMs <= nowMs) this.#probe(nowMs);
    if (this.bound && this.#heartbeatAtMs <= nowMs) {
      const hdr = idleHeartbeat(lastConsumerSeq, lastStreamSeq, this.#flowId);
      if (this.#outlet.deliverTo(this.subject, { subject: this.subject, reply: '', hdr, payload: EMPTY })) {
        this.#heartbeatAtMs = nowMs + this.#heartbeatMs;
      } else this.lost(nowMs);
    }
    const sendAtMs = this.#freeAtMs > nowMs ? this.#freeAtMs : Number.POSITIVE_INFINITY;
    this.nextDueMs = this.bound ? Math.min(this.#heartbeatAtMs, sendAtMs) : this.#probeAtMs;
  }

  #probe(nowMs: number): boolean {
    if (!this.#outlet.hasInterest(this.subject)) {
      this.#probeMs = Math.min(PROBE_MS_MAX, this.#probeMs * 2);
      this.#probeAtMs = nowMs + this.#probeMs;
      this.nextDueMs = Math.min(this.nextDueMs, this.#probeAtMs);
      return false;
    }
    this.bound = true;
    this.#probeMs = PROBE_MS_MIN;
    this.#windowBytes = WINDOW_BYTES_START;
    this.#sentBytes = 0;
    this.#flowId = '';
    this.#heartbeatAtMs = this.#heartbeatMs > 0 ? nowMs + this.#heartbeatMs : Number.POSITIVE_INFINITY;
    this.nextDueMs = Math.min(this.nextDueMs, this.#heartbeatAtMs);
    return true;
  }
}
