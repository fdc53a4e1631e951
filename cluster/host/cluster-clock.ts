// Cluster time (DESIGN §7): the median of a majority's wall clocks, advanced by the local monotonic clock. Fed by heartbeats, asked by
// leaders for stamps. Invariant: it never runs backwards here; a jump of one node's wall clock moves it only if that node is
// the median.

import type { Clock, Logger } from '../../src/kit/env.ts';
import type { PeerId } from '../core/types.ts';

/** A clock that was not heard of for so long no longer counts. */
const FRESH_MS = 3_000;
const FAR_US = 5_000_000;
const ALARM_EVERY_MS = 60_000;

export class ClusterClock {
  private readonly clock: Clock;
  private readonly log: Logger;
  /** Wall clock minus monotonic clock, in microseconds, and when it was heard. */
  private readonly offsets = new Map<PeerId, { offsetUs: number; heardMs: number }>();
  private offsetUs: number;
  /** From the earliest to the latest wall clock that was heard of lately, own included. */
  spreadUs = 0;
  private lastUs = 0;
  private alarmMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, log: Logger) {
    this.clock = clock;
    this.log = log;
    this.offsetUs = this.ownOffsetUs();
  }

  nowUs(): number {
    const us = Math.floor(this.clock.nowMs() * 1_000 + this.offsetUs);
    this.lastUs = Math.max(this.lastUs, us);
    return this.lastUs;
  }

  /** How far the own wall clock is from the median. */
  get skewUs(): number {
    return this.ownOffsetUs() - this.offsetUs;
  }

  heard(peer: PeerId, wallUs: number): void {
    if (!Number.isSafeInteger(wallUs) || wallUs <= 0) return;
    const heardMs = this.clock.nowMs();
    this.offsets.set(peer, { offsetUs: wallUs - heardMs * 1_000, heardMs });
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
    const upper = offsets[offsets.length >> 1];
    const lower = offsets[(offsets.length - 1) >> 1];
    // Of an even number of clocks the one that agrees with the time so far is believed.
    this.offsetUs = Math.abs(upper - this.offsetUs) < Math.abs(lower - this.offsetUs) ? upper : lower;
    if (Math.abs(this.skewUs) > FAR_US && nowMs - this.alarmMs >= ALARM_EVERY_MS) {
      this.alarmMs = nowMs;
      this.log.warn(`the wall clock of this node is ${Math.round(this.skewUs / 1_000)} ms away from the cluster's`);
    }
  }

  private ownOffsetUs(): number {
    return this.clock.wallUs() - this.clock.nowMs() * 1_000;
  }
}
