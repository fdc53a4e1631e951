// The replicated table against a model that keeps a status per message: random commands, removals, snapshots.
import { describe, expect, test } from 'vitest';
import { ByteReader, ByteWriter } from '../../../src/stream/consumer-bytes.ts';
import {
  ConsumerCommand,
  DeliveredBatch,
  encodeCreate,
  encodeIdNumber,
  encodeRemove,
  encodeSeqs,
} from '../../../src/stream/consumer-codec.ts';
import { compileFilter } from '../../../src/stream/consumer-filter.ts';
import { PendingSet } from '../../../src/stream/consumer-pending.ts';
import { formatRfc3339, parseRfc3339 } from '../../../src/stream/consumer-time.ts';
import type { ConsumerRegistry } from '../../../src/stream/consumers.ts';
import { createConsumerTable } from '../../../src/stream/consumers.ts';
import { createPrng } from '../../sim/prng.ts';
import { FakeMessages, PULL, STREAM } from './fake-partition.ts';

const SUBJECTS = ['a', 'b', 'c.x'];

/** What the consumer must have come to, told message by message. */
class Model {
  readonly pending = new Map<number, { deliveries: number; consumerSeq: number }>();
  readonly ahead = new Set<number>();
  delivered = 0;
  deliveredConsumer = 0;
  floor = 0;

  settle(): void {
    const first = Math.min(...this.pending.keys());
    this.floor = Math.max(this.floor, this.pending.size === 0 ? this.delivered : first - 1);
  }
}

function run(seed: number, steps: number, policy: 'explicit' | 'all'): void {
  const prng = createPrng(seed);
  const pick = (below: number): number => Math.floor(prng.float() * below);
  const messages = new FakeMessages();
  const stream = { ...STREAM };
  let table: ConsumerRegistry = createConsumerTable({
    config: () => stream,
    lostInterest: () => {},
    beginsExactly: () => false,
  });
  const twin = createConsumerTable({ config: () => stream, lostInterest: () => {}, beginsExactly: () => false });
  let stampUs = 1;
  const apply = (type: number, body: Uint8Array): void => {
    stampUs++;
    const remove = (): void => {
      throw new Error('a limits stream removes nothing by ack');
    };
    expect(table.apply(type, body, stampUs, messages, remove)).toEqual(
      twin.apply(type, body, stampUs, messages, remove),
    );
  };
  const filter = compileFilter(['a', 'c.*']);
  apply(ConsumerCommand.create, encodeCreate('', { ...PULL, ack_policy: policy, filter_subjects: ['a', 'c.*'] }));
  const model = new Model();
  /** The leader's view: may be ahead of the log. */
  let cursor = 0;
  let consumerSeq = 0;
  let batch = new DeliveredBatch();
  const told: number[] = [];
  const toldAgain: [number, number][] = [];
  const flush = (): void => {
    if (batch.isEmpty) return;
    const last = consumerSeq;
    apply(ConsumerCommand.delivered, batch.take(1));
    for (const seq of told.splice(0)) {
      if (seq <= model.delivered) continue;
      model.delivered = seq;
      const at = firstConsumerSeq.get(seq)!;
      if (messages.exists(seq) && !model.ahead.has(seq)) model.pending.set(seq, { deliveries: 1, consumerSeq: at });
    }
    for (const [seq, deliveries] of toldAgain.splice(0)) {
      const entry = model.pending.get(seq);
      if (entry !== undefined) entry.deliveries = Math.max(entry.deliveries, deliveries);
    }
    model.deliveredConsumer = last;
    for (const seq of model.ahead) if (seq <= model.delivered) model.ahead.delete(seq);
    model.settle();
  };
  const firstConsumerSeq = new Map<number, number>();

  for (let step = 0; step < steps; step++) {
    const dice = pick(100);
    if (dice < 30) {
      messages.add(SUBJECTS[pick(3)], '', step);
    } else if (dice < 55) {
      for (let n = pick(6); n > 0; n--) {
        const seq = messages.next(cursor + 1, filter);
        if (seq === 0) break;
        cursor = seq;
        if (model.ahead.has(seq)) continue;
        batch.first(seq, ++consumerSeq, true);
        firstConsumerSeq.set(seq, consumerSeq);
        told.push(seq);
      }
    } else if (dice < 60) {
      flush();
    } else if (dice < 66 && model.pending.size > 0) {
      const seq = [...model.pending.keys()][pick(model.pending.size)];
      const deliveries = model.pending.get(seq)!.deliveries + 1;
      batch.again(seq, ++consumerSeq, deliveries);
      toldAgain.push([seq, deliveries]);
    } else if (dice < 82) {
      if (prng.float() < 0.9) flush();
      const seqs = new Set<number>();
      for (let n = 1 + pick(4); n > 0; n--) seqs.add(1 + pick(messages.lastSeq + 3));
      if (policy === 'all') {
        const upTo = Math.max(...seqs);
        apply(ConsumerCommand.ackAll, encodeIdNumber(1, upTo));
        for (const seq of model.pending.keys()) if (seq <= upTo) model.pending.delete(seq);
        if (Math.min(upTo, messages.lastSeq) > model.delivered) {
          model.delivered = Math.min(upTo, messages.lastSeq);
          cursor = Math.max(cursor, model.delivered);
        }
      } else {
        const sorted = [...seqs].sort((x, y) => x - y);
        apply(ConsumerCommand.acks, encodeSeqs(1, sorted));
        for (const seq of sorted) {
          if (seq <= model.delivered) model.pending.delete(seq);
          else if (messages.exists(seq) && filter.matches(messages.subjectOf(seq))) model.ahead.add(seq);
        }
      }
      model.settle();
    } else if (dice < 85 && model.pending.size > 0) {
      const seq = [...model.pending.keys()][pick(model.pending.size)];
      apply(ConsumerCommand.drop, encodeSeqs(1, [seq]));
      model.pending.delete(seq);
      model.settle();
    } else if (dice < 95 && messages.lastSeq > 0) {
      const seq = 1 + pick(messages.lastSeq);
      if (!messages.remove(seq)) continue;
      table.onRemoved(seq);
      twin.onRemoved(seq);
      model.ahead.delete(seq);
      if (model.pending.delete(seq)) model.settle();
    } else if (dice < 97) {
      const state = table.snapshot();
      table = createConsumerTable({ config: () => stream, lostInterest: () => {}, beginsExactly: () => false });
      table.restore(state);
      expect(table.snapshot()).toEqual(state);
    } else {
      // The leader changes: what it did not tell the log is lost.
      batch = new DeliveredBatch();
      told.length = 0;
      toldAgain.length = 0;
      cursor = model.delivered;
      consumerSeq += 100;
    }
    const record = table.get('C')!;
    const pending: Record<number, number> = {};
    for (let slot = record.pending.first(); slot >= 0; slot = record.pending.next(slot)) {
      pending[record.pending.seqAt(slot)] = record.pending.deliveriesAt(slot);
    }
    expect(pending).toEqual(Object.fromEntries([...model.pending].map(([seq, { deliveries }]) => [seq, deliveries])));
    expect(record.pending.size).toBe(model.pending.size);
    expect(record.pending.redelivered).toBe(
      [...model.pending.values()].filter(({ deliveries }) => deliveries > 1).length,
    );
    expect([...record.ahead.values()]).toEqual([...model.ahead].sort((x, y) => x - y));
    expect([record.deliveredSeq, record.deliveredConsumerSeq, record.floorSeq]).toEqual([
      model.delivered,
      model.deliveredConsumer,
      model.floor,
    ]);
    expect(record.floorConsumerSeq).toBeLessThanOrEqual(record.deliveredConsumerSeq);
    expect(table.digest()).toBe(twin.digest());
  }
}

describe('table', () => {
  test.each([1, 2, 3, 4, 5, 6])('explicit acks agree with the model, seed %i', (seed) => run(seed, 800, 'explicit'));
  test.each([1, 2, 3])('ack all agrees with the model, seed %i', (seed) => run(seed, 800, 'all'));

  test('a command for a consumer that is gone does nothing', () => {
    const messages = new FakeMessages();
    const table = createConsumerTable({ config: () => STREAM, lostInterest: () => {}, beginsExactly: () => false });
    const apply = (type: number, body: Uint8Array) => table.apply(type, body, 1, messages, () => {});
    apply(ConsumerCommand.create, encodeCreate('', PULL));
    apply(ConsumerCommand.remove, encodeRemove(0, 'C'));
    apply(ConsumerCommand.create, encodeCreate('', PULL));
    expect(apply(ConsumerCommand.reserve, encodeIdNumber(1, 500))).toMatchObject({ err_code: 10014 });
    expect(apply(ConsumerCommand.remove, encodeRemove(1, 'C'))).toMatchObject({ err_code: 10014 });
    expect(table.get('C')).toMatchObject({ id: 2, reservedConsumerSeq: 0 });
  });

  test('a snapshot of another version, or cut short, is refused', () => {
    const table = createConsumerTable({ config: () => STREAM, lostInterest: () => {}, beginsExactly: () => false });
    expect(() => table.restore(new Uint8Array([9, 0, 0]))).toThrow('version 9');
    expect(() => table.restore(new Uint8Array([1, 5]))).toThrow('too early');
  });
});

describe('pending set', () => {
  test('against a Map, with a stuck message in front and millions of slots reused', () => {
    const prng = createPrng(3);
    const set = new PendingSet(true);
    const model = new Map<number, number>();
    let seq = 0;
    for (let step = 0; step < 30_000; step++) {
      if (model.size < 50 && prng.float() < 0.6) {
        seq += 1 + Math.floor(prng.float() * 3);
        set.add(seq, seq * 2, 1, seq * 3);
        model.set(seq, 1);
      } else if (model.size > 1) {
        const keys = [...model.keys()];
        const victim = keys[1 + Math.floor(prng.float() * (keys.length - 1))];
        if (prng.float() < 0.2) {
          set.setDeliveries(set.find(victim), model.get(victim)! + 1);
          model.set(victim, model.get(victim)! + 1);
        } else expect(set.remove(victim)).toBe(model.delete(victim));
      }
      expect(set.size).toBe(model.size);
      if (step % 500 !== 0) continue;
      const got: [number, number][] = [];
      for (let slot = set.first(); slot >= 0; slot = set.next(slot)) {
        got.push([set.seqAt(slot), set.deliveriesAt(slot)]);
        expect([set.consumerSeqAt(slot), set.dueAt(slot)]).toEqual([set.seqAt(slot) * 2, set.seqAt(slot) * 3]);
      }
      expect(got).toEqual([...model]);
      expect(set.remove(seq + 1)).toBe(false);
    }
    expect(() => set.add(seq, 1, 1, 0)).toThrow('does not follow');
    const removed: number[] = [];
    set.removeUpTo(seq, (gone) => removed.push(gone));
    expect(removed).toEqual([...model.keys()]);
    expect([set.size, set.first(), set.firstSeq]).toEqual([0, -1, 0]);
  });
});

describe('bytes', () => {
  test('numbers up to 2^53, texts, runs', () => {
    const numbers = [0, 1, 127, 128, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 45 + 3, Number.MAX_SAFE_INTEGER];
    const writer = new ByteWriter(1);
    for (const value of numbers) writer.number(value);
    writer.text('grüße');
    writer.ascending([1, 2, 3, 7, 9, 10]);
    const reader = new ByteReader(writer.take());
    expect(numbers.map(() => reader.number())).toEqual(numbers);
    expect(reader.text()).toBe('grüße');
    const runs: number[][] = [];
    reader.runs((first, count) => runs.push([first, count]));
    expect(runs).toEqual([
      [1, 3],
      [7, 1],
      [9, 2],
    ]);
    expect(reader.done).toBe(true);
    expect(() => reader.u8()).toThrow('too early');
  });

  test('times there and back, offsets, days around leap years', () => {
    for (const iso of [
      '1970-01-01T00:00:00.000Z',
      '2000-02-29T23:59:59.999Z',
      '2024-12-31T00:00:00.001Z',
      '1969-07-20T20:17:40.000Z',
    ]) {
      const us = parseRfc3339(iso)!;
      expect(us).toBe(Date.parse(iso) * 1000);
      expect(formatRfc3339(us)).toBe(iso.replace('Z', '000Z'));
    }
    expect(parseRfc3339('2024-01-01T02:00:00.123456789+02:00')).toBe(
      Date.parse('2024-01-01T00:00:00Z') * 1000 + 123456,
    );
    expect(parseRfc3339('yesterday')).toBeUndefined();
  });
});
