// Cluster time (DESIGN §7): the median of the wall clocks that can be heard, advanced by the local monotonic clock. Fed by heartbeats,
// asked by leaders for stamps. Invariants: one wrong clock among three or more nodes moves it never ahead, also when just one other node
// can be heard, and also after a restart; once the time is known it never runs backwards here. A node that knows that it has peers and has heard
// none of them in this life has no time: what it leads alone goes on with the stamps it has.

import type { Clock, Logger } from '../../src/kit/env.ts';
import type { PeerId } from '../core/types.ts';

/** A clock that was not heard of for so long no longer counts. */
const FRESH_MS = 3_000;
const FAR_US = 5_000_000;
const ALARM_EVERY_MS = 60_000;
/** Of `nowUs`: nobody has told it. */
export const NO_TIME_US = 0;

export class ClusterClock {
  private readonly clock: Clock;
  private readonly log: Logger;
  /** This node is all there is. */
  private readonly isAlone: () => boolean;
  /** Wall clock minus monotonic clock, in microseconds, and when it was heard. */
  private readonly offsets = new Map<PeerId, { offsetUs: number; heardMs: number }>();
  private offsetUs: number;
  /** From the earliest to the latest wall clock that was heard of lately, own included. */
  spreadUs = 0;
  /** `offsetUs` rests on more than the own clock: on clocks that agree, on three of them, or on the word of a peer that knows. */
  private known = false;
  /** Peers were heard in this life: being cut off from them makes the own clock no better. */
  private hasPeers = false;
  private lastUs = 0;
  private alarmMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, log: Logger, isAlone: () => boolean) {
    this.clock = clock;
    this.log = log;
    this.isAlone = isAlone;
    this.offsetUs = this.ownOffsetUs();
  }

  nowUs(): number {
    if (!this.hasPeers && !this.isAlone()) return NO_TIME_US;
    const us = Math.floor(this.clock.nowMs() * 1_000 + this.offsetUs);
    // What was believed before anyone was heard binds nobody.
    if (this.hasPeers && !this.known) return us;
    this.lastUs = Math.max(this.lastUs, us);
    return this.lastUs;
  }

  /** For heartbeats: the time that peers may take over; 0 when it rests on nothing but this node. */
  get toldUs(): number {
    return this.known ? this.nowUs() : 0;
  }

  /** How far the own wall clock is from the median. */
  get skewUs(): number {
    return this.ownOffsetUs() - this.offsetUs;
  }

  /** `toldUs`: the cluster's time as the peer knows it, 0 when it does not. */
  heard(peer: PeerId, wallUs: number, toldUs: number): void {
    if (!Number.isSafeInteger(wallUs) || wallUs <= 0) return;
    const heardMs = this.clock.nowMs();
    if (!this.hasPeers) this.lastUs = 0;
    this.hasPeers = true;
    this.offsets.set(peer, { offsetUs: wallUs - heardMs * 1_000, heardMs });
    if (!this.known && Number.isSafeInteger(toldUs) && toldUs > 0) {
      this.offsetUs = toldUs - heardMs * 1_000;
      this.known = true;
    }
    this.recompute();
  }

  /** The link to it is gone: its clock says nothing of the time from here on, and must not be the median beside one that jumps. */
  lost(peer: PeerId): void {
    this.offsets.delete(peer);
  }

  /** Also called now and then, so that a single node follows its own wall clock. */
  recompute(): void {
    const nowMs = this.clock.nowMs();
    const offsets = [this.ownOffsetUs()];
    for (const [peer, { offsetUs, heardMs }] of this.offsets) {
      if (nowMs - heardMs <= FRESH_MS) offsets.push(offsetUs);
      else this.offsets.delete(peer);
    }
    offsets.sort((a, b) => a - b);
    this.spreadUs = offsets[offsets.length - 1] - offsets[0];
    this.settle(offsets);
    if (Math.abs(this.skewUs) > FAR_US && nowMs - this.alarmMs >= ALARM_EVERY_MS) {
      this.alarmMs = nowMs;
      this.log.warn(`the wall clock of this node is ${Math.round(this.skewUs / 1_000)} ms away from the cluster's`);
    }
  }

  /** `offsets` ascend. */
  private settle(offsets: readonly number[]): void {
    // Cut off, it goes on by the monotonic clock.
    if (offsets.length === 1 && this.hasPeers) return;
    const upper = offsets[offsets.length >> 1];
    const lower = offsets[(offsets.length - 1) >> 1];
    // Of an even number of clocks the one that agrees with the time so far is believed. Nobody knows it: the earlier one, because stamps
    // that stand still for a while harm less than messages and ids that expire before their time.
    const isUpperCloser = Math.abs(upper - this.offsetUs) < Math.abs(lower - this.offsetUs);
    this.offsetUs = this.known && isUpperCloser ? upper : lower;
    if (offsets.length > 2 || (offsets.length === 2 && upper - lower <= FAR_US)) this.known = true;
  }

  private ownOffsetUs(): number {
    return this.clock.wallUs() - this.clock.nowMs() * 1_000;
  }
}
