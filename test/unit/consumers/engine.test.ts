// The engine around its consumers: many of them, none of them, timers, the odd corners of verbs and durations.
import { describe, expect, test } from 'vitest';
import type { Clock, Timer } from '../../../src/kit/env.ts';
import { formatGoDuration, parseGoDuration } from '../../../src/stream/delivery-durations.ts';
import { type TimedItem, TimerHeap } from '../../../src/stream/delivery-timers.ts';
import { parseAckVerb } from '../../../src/stream/delivery-verbs.ts';
import { isApiError } from '../../../src/stream/errors.ts';
import { createPrng } from '../../sim/prng.ts';
import { bytes, FakePartition } from './fake-partition.ts';

describe('many consumers', () => {
  test('a stored message wakes those whose filter matches, among hundreds that wait', () => {
    const p = new FakePartition();
    for (let i = 0; i < 60; i++) {
      const filter_subject = i % 3 === 0 ? `k.${i}` : i % 3 === 1 ? `k.${i}.*` : undefined;
      expect(isApiError(p.create({ durable_name: `C${i}`, filter_subject }))).toBe(false);
      p.pull('1', `in${i}`, `C${i}`);
    }
    p.run();
    p.store('k.3', 'x');
    p.store('k.4.y', 'y');
    p.run();
    for (let i = 0; i < 60; i++) {
      const expected = i === 3 ? ['x'] : i === 4 ? ['y'] : i % 3 === 2 ? ['x'] : [];
      expect(p.brief(`in${i}`), `consumer ${i}`).toEqual(expected);
    }
    p.create({ durable_name: 'C6', filter_subject: 'new' });
    p.store('k.6', 'old filter');
    p.store('new', 'new filter');
    p.run();
    expect(p.brief('in6')).toEqual(['new filter']);
  });

  test('interest with several consumers: every message goes in the end, none early', () => {
    const prng = createPrng(5);
    const p = new FakePartition({ retention: 'interest' });
    const filters: Record<string, string[]> = { A: ['a'], B: ['a', 'b'], C: ['>'] };
    for (const [name, filter_subjects] of Object.entries(filters)) p.create({ durable_name: name, filter_subjects });
    const done: Record<string, Set<number>> = { A: new Set(), B: new Set(), C: new Set() };
    for (let i = 0; i < 300; i++) {
      p.store(['a', 'b', 'c'][Math.floor(prng.float() * 3)], 'm');
      const name = 'ABC'[Math.floor(prng.float() * 3)];
      p.pull({ batch: 5, no_wait: true }, 'in', name).run();
      for (const message of p.take()) {
        if (message.reply === '' || prng.float() < 0.2) continue;
        p.ack(message, '', '', name);
        done[name].add(Number(message.reply.split('.')[5]));
      }
      p.run();
      if (prng.float() < 0.05) p.failover();
      for (const { seq, subject } of p.messages.messages.values()) {
        const owed = Object.keys(filters).some(
          (n) => (filters[n][0] === '>' || filters[n].includes(subject)) && !done[n].has(seq),
        );
        expect(owed, `seq ${seq} is kept for nobody`).toBe(true);
      }
      for (let seq = 1; seq <= p.messages.lastSeq; seq++) {
        if (!p.messages.exists(seq)) expect(done.C.has(seq), `seq ${seq} went before C had it`).toBe(true);
      }
    }
    for (let i = 0; i < 100 && p.messages.messages.size > 0; i++) {
      for (const name of ['A', 'B', 'C']) {
        p.pull({ batch: 100, no_wait: true }, 'in', name).run(700);
        for (const message of p.take()) if (message.reply !== '') p.ack(message, '', '', name);
      }
      p.run(700);
    }
    expect(p.messages.messages.size).toBe(0);
  });
});

describe('what costs nothing', () => {
  test('idle durables have no timer and write nothing', () => {
    const p = new FakePartition();
    p.create();
    p.store('a', '1');
    p.ack(p.fetch()[0]);
    p.info();
    p.run(60_000);
    const { commands } = p;
    const { eventsRun } = p.scheduler;
    p.run(3_600_000);
    expect(p.commands).toBe(commands);
    expect(p.scheduler.eventsRun - eventsRun).toBe(0);
    expect(p.scheduler.waiting).toBe(0);
  });

  test('stored and removed messages do not wake a consumer that nobody asks', () => {
    const p = new FakePartition();
    p.create();
    p.fetch();
    p.run(100);
    const { eventsRun } = p.scheduler;
    p.store('a', ...Array(1000).fill('x'));
    p.remove(5);
    p.run(1000);
    expect(p.scheduler.eventsRun - eventsRun).toBeLessThan(3);
    expect(p.info().num_pending).toBe(999);
  });
});

test('a former leader answers nothing and starts nothing', () => {
  const p = new FakePartition();
  p.create();
  p.store('a', '1');
  const [one] = p.fetch();
  p.engine.onNotLeading();
  p.pull('1').run();
  expect(p.brief()).toEqual(['409 Leadership Change']);
  p.ack(one, '', 'confirm');
  p.engine.flowReply('C', 'x');
  p.engine.consumerInfo('C', (state) => expect(state).toMatchObject({ err_code: 10008 }));
  p.store('a', '2');
  p.run(60_000);
  expect(p.received).toEqual([]);
});

test('local states are there without a log entry', () => {
  const p = new FakePartition();
  p.create();
  p.create({ name: 'O', ack_policy: 'none', mem_storage: true });
  p.store('a', '1', '2');
  p.fetch(1);
  const { commands } = p;
  expect(p.engine.localStates()).toMatchObject([
    { name: 'C', num_ack_pending: 1, num_pending: 1, delivered: { consumer_seq: 1, stream_seq: 1 } },
    { name: 'O', num_pending: 2 },
  ]);
  expect(p.engine.consumerCount).toBe(2);
  expect(p.commands).toBe(commands);
});

describe('timer heap', () => {
  test('fires everything once, in time, with one timer of the clock', () => {
    const prng = createPrng(9);
    let nowMs = 0;
    let timers: { dueMs: number; fn: () => void }[] = [];
    const clock = {
      nowMs: () => nowMs,
      after: (delayMs: number, fn: () => void) => {
        const timer = { dueMs: nowMs + delayMs, fn };
        timers.push(timer);
        return timer;
      },
      cancel: (timer: Timer) => {
        timers = timers.filter((t) => t !== timer);
      },
    } as unknown as Clock;
    const heap = new TimerHeap(clock);
    const due = new Map<TimedItem, number>();
    const items: TimedItem[] = Array.from({ length: 50 }, () => {
      const item: TimedItem = {
        heapAt: -1,
        dueMs: 0,
        tick(at) {
          expect(at).toBeGreaterThanOrEqual(due.get(item)!);
          expect(at - due.get(item)!).toBeLessThan(1);
          due.delete(item);
        },
      };
      return item;
    });
    for (let step = 0; step < 1500; step++) {
      const item = items[Math.floor(prng.float() * items.length)];
      if (prng.float() < 0.2) {
        heap.set(item, Number.POSITIVE_INFINITY);
        due.delete(item);
      } else {
        const at = nowMs + prng.float() * 50;
        heap.set(item, at);
        due.set(item, at);
      }
      expect(heap.size).toBe(due.size);
      expect(timers.length).toBeLessThanOrEqual(1);
      const until = nowMs + prng.float();
      while (timers.length > 0 && timers[0].dueMs <= until) {
        const [timer] = timers.splice(0, 1);
        nowMs = Math.max(nowMs, timer.dueMs);
        timer.fn();
      }
      nowMs = until;
      for (const at of due.values()) expect(at).toBeGreaterThan(nowMs - 1e-9);
    }
    heap.clear();
    expect([heap.size, timers.length]).toEqual([0, 0]);
  });
});

describe('words', () => {
  test('ack verbs', () => {
    const verb = (text: string) => parseAckVerb(bytes(text));
    expect(verb('')).toEqual({ kind: 'ack' });
    expect(verb('+ACK')).toEqual({ kind: 'ack' });
    expect(verb('+ACKnowledged')).toEqual({ kind: 'unknown' });
    expect(verb('-NAK')).toEqual({ kind: 'nak', delayMs: 0 });
    expect(verb('-NAK {"delay": 1500000}')).toEqual({ kind: 'nak', delayMs: 1.5 });
    expect(verb('-NAK {"delay": "x"}')).toEqual({ kind: 'nak', delayMs: 0 });
    expect(verb('-NAK {broken')).toEqual({ kind: 'nak', delayMs: 0 });
    expect(verb('-NAK 1m30s')).toEqual({ kind: 'nak', delayMs: 90_000 });
    expect(verb('+TERM')).toEqual({ kind: 'term', reason: '' });
    expect(verb('+TERM bad data')).toEqual({ kind: 'term', reason: 'bad data' });
    expect(verb('+NXT {"batch":2}')).toEqual({ kind: 'next', body: bytes(' {"batch":2}') });
    expect(verb('-NAK{"delay": 1500000}')).toEqual({ kind: 'nak', delayMs: 1.5 });
    expect(verb('+TERMinated')).toEqual({ kind: 'term', reason: 'inated' });
    expect(verb('+OK')).toEqual({ kind: 'ack' });
    expect(['+WPI x', '+OKAY', '+WP', '-NA'].map(verb)).toEqual(Array(4).fill({ kind: 'unknown' }));
    expect(verb('+NXT')).toEqual({ kind: 'next', body: bytes('') });
    expect(verb('+WPI')).toEqual({ kind: 'progress' });
    expect(verb('\x00\xff')).toEqual({ kind: 'unknown' });
  });

  test('Go durations', () => {
    const known: [number, string][] = [
      [0, '0s'],
      [1, '1ns'],
      [1100, '1.1µs'],
      [2_200_000, '2.2ms'],
      [1e9, '1s'],
      [1.5e9, '1.5s'],
      [60e9, '1m0s'],
      [3600e9, '1h0m0s'],
      [3661e9 + 5e6, '1h1m1.005s'],
    ];
    for (const [ns, text] of known) {
      expect(formatGoDuration(ns)).toBe(text);
      expect(parseGoDuration(text)).toBeCloseTo(ns, 0);
    }
    for (const bad of ['', '5', 's', '1x', '1s2']) expect(parseGoDuration(bad)).toBeUndefined();
    expect(parseGoDuration('-2s')).toBe(-2e9);
  });
});
