// Cluster time with one wrong clock: which of two clocks is believed, before and after a restart.
import { describe, expect, test } from 'vitest';
import { ClusterClock, NO_TIME_US } from '../../../cluster/host/cluster-clock.ts';

const TRUE_US = 1_700_000_000_000_000;
const HOUR_US = 3_600_000_000;
const log = { debug() {}, info() {}, warn() {}, error() {} };

/** A node whose wall clock is `wrongUs` off; `tell` is a heartbeat of a peer. */
function node(wrongUs: number, alone = true) {
  let nowMs = 0;
  const state = { wrongUs };
  const clock = {
    nowMs: () => nowMs,
    wallUs: () => TRUE_US + nowMs * 1000 + state.wrongUs,
    after: () => ({ dueMs: 0 }),
    cancel() {},
    endOfTurn() {},
  };
  const time = new ClusterClock(clock, log, () => alone);
  return {
    time,
    state,
    pass: (ms: number) => (nowMs += ms),
    tell: (peer: number, peerWrongUs = 0, told = false) =>
      time.heard(peer, TRUE_US + nowMs * 1000 + peerWrongUs, told ? TRUE_US + nowMs * 1000 : 0),
    errorUs: () => time.nowUs() - TRUE_US - nowMs * 1000,
  };
}

describe('cluster time', () => {
  test.each([HOUR_US, -HOUR_US])('a restarted node %i us off believes the peer that knows the time', (wrongUs) => {
    const a = node(wrongUs);
    expect(a.errorUs()).toBe(wrongUs);
    a.tell(2, 0, true);
    expect(a.errorUs()).toBe(0);
    a.pass(1000);
    a.tell(2);
    expect(a.errorUs()).toBe(0);
  });

  test('two restarted nodes that differ: never ahead of the right one', () => {
    const a = node(HOUR_US);
    a.tell(2);
    expect(a.errorUs()).toBe(0);
    expect(a.time.toldUs).toBe(0);
    const b = node(0);
    b.tell(1, HOUR_US);
    expect(b.errorUs()).toBe(0);
    const late = node(0);
    late.tell(1, -HOUR_US);
    expect(late.errorUs()).toBe(-HOUR_US);
    late.tell(3);
    expect(late.errorUs()).toBe(0);
    expect(late.time.toldUs).toBeGreaterThan(0);
  });

  test('with a time so far, the clock that jumps is not believed', () => {
    const a = node(0);
    a.tell(2);
    a.state.wrongUs = HOUR_US;
    a.tell(2);
    expect(a.errorUs()).toBe(0);
  });

  test('cut off it goes on by the monotonic clock, and back with one peer it still knows the time', () => {
    const a = node(0);
    a.tell(2);
    a.time.lost(2);
    a.state.wrongUs = HOUR_US;
    a.time.recompute();
    a.pass(10_000);
    expect(a.errorUs()).toBe(0);
    a.tell(3);
    expect(a.errorUs()).toBe(0);
  });

  test('alone it follows its own clock, but not backwards', () => {
    const a = node(0);
    a.state.wrongUs = HOUR_US;
    a.time.recompute();
    expect(a.errorUs()).toBe(HOUR_US);
    a.state.wrongUs = 0;
    a.time.recompute();
    expect(a.errorUs()).toBe(HOUR_US);
  });

  test('a node that has peers and has heard none of them has no time', () => {
    const a = node(HOUR_US, false);
    expect(a.time.nowUs()).toBe(NO_TIME_US);
    a.pass(60_000);
    a.time.recompute();
    expect(a.time.nowUs()).toBe(NO_TIME_US);
    expect(a.time.toldUs).toBe(0);
    a.tell(2, 0, true);
    expect(a.errorUs()).toBe(0);
    // Cut off afterwards, it goes on.
    a.time.lost(2);
    a.pass(1000);
    expect(a.errorUs()).toBe(0);
  });
});
