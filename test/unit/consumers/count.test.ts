// What a consumer has still to deliver, counted in slices while messages come, go and are acknowledged between them: at every delivery it is the
// number that a look at all messages gives, and the next message is the next of these.
import { expect, test } from 'vitest';
import { ConsumerRecord } from '../../../src/stream/consumer-record.ts';
import { FAR, UndeliveredCount } from '../../../src/stream/delivery-count.ts';
import { createPrng } from '../../sim/prng.ts';
import { createScheduler } from '../../sim/scheduler.ts';
import { createSimEnv } from '../../sim/sim-env.ts';
import { FakeMessages, FakePartition, PULL } from './fake-partition.ts';

const FILTERS = [undefined, 'k.*', '*.3', 'k.1', 'k.>'];

function life(seed: number): number {
  const prng = createPrng(seed);
  const pick = (below: number): number => Math.floor(prng.float() * below);
  const scheduler = createScheduler(prng.stream('scheduler'));
  const { clock } = createSimEnv({ scheduler, seed: prng.stream('env'), node: 'a' });
  const view = new FakeMessages();
  view.isLong = true;
  const names = 3 + pick(4);
  const store = (): void => void view.add(`${pick(3) > 0 ? 'k' : 'j'}.${pick(names)}`, '', view.lastSeq);
  const seqs = (): number[] => [...view.messages.keys()];
  for (let i = 4 + pick(8); i > 0; i--) store();
  const policy = pick(3) > 0 ? 'last_per_subject' : 'all';
  const filter = prng.pick(FILTERS);
  const record = new ConsumerRecord(1, { ...PULL, deliver_policy: policy, filter_subject: filter }, 0);
  record.begin(view, 0, false);
  let cursor = record.deliveredSeq;
  const { ahead } = record;
  const count = new UndeliveredCount(record, view, clock, ahead, () => {});
  const isDue = (seq: number): boolean => seq > cursor && record.admits(seq, view.subjectOf(seq), view);
  const due = (): number[] => seqs().filter((seq) => isDue(seq) && !ahead.has(seq));
  let delivered = 0;

  const deliver = (): void => {
    if (!count.isKnown(cursor)) return;
    const seq = count.next(cursor);
    const next = seqs().find(isDue) ?? 0;
    if (seq === FAR) {
      expect(next === 0 || next > count.lookedTo, `seed ${seed}: ${next} was passed over`).toBe(true);
      cursor = count.lookedTo;
      return;
    }
    expect(seq, `seed ${seed}: next`).toBe(next);
    if (seq === 0) cursor = view.lastSeq;
    expect(count.get(cursor), `seed ${seed}: pending at ${cursor}`).toBe(due().length);
    if (seq === 0) return;
    cursor = seq;
    if (ahead.has(seq)) return;
    ahead.removeUpTo(seq);
    count.delivered();
    delivered++;
  };
  const acknowledge = (): void => {
    const open = due();
    if (open.length === 0) return;
    const seq = prng.pick(open);
    ahead.add(seq);
    count.acknowledged(seq, cursor);
  };
  const remove = (): void => {
    if (view.messages.size === 0) return;
    const seq = prng.pick(seqs());
    if (count.watches(cursor)) count.removed(seq, cursor);
    view.remove(seq);
  };
  const reconfigure = (): void => {
    if (pick(4) > 0) return;
    record.reconfigure({ ...record.config, filter_subject: prng.pick(FILTERS) });
    count.invalidate();
  };
  const slice = (): void => scheduler.runFor(1);
  const deeds = [store, store, store, remove, remove, remove, acknowledge, deliver, slice, reconfigure];
  for (let step = 0; step < 60; step++) prng.pick(deeds)();
  return delivered;
}

test('counted between many changes', () => {
  let delivered = 0;
  for (let seed = 1; seed <= 1_000; seed++) delivered += life(seed);
  expect(delivered).toBeGreaterThan(1_000);
});

test('who waits for the number is told, also when everything goes meanwhile and somebody else finds the little that is left', () => {
  const prng = createPrng(1);
  const scheduler = createScheduler(prng.stream('scheduler'));
  const { clock } = createSimEnv({ scheduler, seed: prng.stream('env'), node: 'a' });
  const view = new FakeMessages();
  view.isLong = true;
  for (let i = 0; i < 20; i++) view.add(`k.${i}`, '', i);
  const record = new ConsumerRecord(1, { ...PULL, filter_subject: 'k.*' }, 0);
  record.begin(view, 0, false);
  let told = 0;
  const count = new UndeliveredCount(record, view, clock, record.ahead, () => told++);
  expect(count.isKnown(0)).toBe(false);
  for (const seq of [...view.messages.keys()]) view.remove(seq);
  count.invalidate();
  view.isLong = false;
  expect(count.isKnown(0)).toBe(true);
  scheduler.runFor(10);
  expect(told).toBe(1);
});

test('a client that asks for the same consumer again and again does not have it counted from the beginning each time', () => {
  const p = new FakePartition();
  for (let i = 0; i < 200; i++) p.store(`k.${i}`, '');
  p.messages.isLong = true;
  const config = { ...PULL, filter_subject: 'k.*', deliver_policy: 'by_start_sequence', opt_start_seq: 2 } as const;
  let answer: unknown;
  p.commitMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 200 && answer === undefined; i++) {
    p.engine.createConsumer(config, '', (state) => (answer = state));
    p.commit();
    // Hardly more than a slice.
    for (let event = 0; event < 6; event++) p.scheduler.step();
  }
  expect(answer).toMatchObject({ num_pending: 199 });
});
