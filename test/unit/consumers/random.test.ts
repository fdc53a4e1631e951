// Many random lives of one consumer: clients that ack, nak, terminate, ask twice or stay silent; removals; leaders that go with
// what they did not commit. Checked at every delivery and after every step (RELIABILITY C1..C5).
import { describe, expect, test } from 'vitest';
import type { ConsumerConfig, StreamConfig } from '../../../src/stream/config.ts';
import { compileFilter, filterPatterns } from '../../../src/stream/consumer-filter.ts';
import { createPrng } from '../../sim/prng.ts';
import { FakePartition, type Received } from './fake-partition.ts';

const SUBJECTS = ['a', 'b', 'c.x'];

function life(
  seed: number,
  steps: number,
  config: Partial<ConsumerConfig>,
  stream: Partial<StreamConfig> = {},
  prepare: (p: FakePartition) => void = () => {},
): void {
  const prng = createPrng(seed);
  const pick = (below: number): number => Math.floor(prng.float() * below);
  const p = new FakePartition(stream);
  prepare(p);
  p.create(config);
  const tracked = config.ack_policy !== 'none';
  const filter = compileFilter(filterPatterns(config as ConsumerConfig));
  const held: Received[] = [];
  const consumerSeqs = new Set<number>();
  const everDelivered = new Set<number>();
  const stored = new Set<number>();
  const gone = new Set<number>();
  /** It is one for this consumer: of what was there before it, the last of each subject. */
  const isDue = (seq: number): boolean => {
    const { lastsEnd } = p.table.get('C')!;
    return seq > lastsEnd || config.deliver_policy !== 'last_per_subject' || p.messages.isLastUpTo(seq, lastsEnd);
  };
  for (const { seq, subject } of p.messages.messages.values())
    if (filter.matches(subject) && isDue(seq)) stored.add(seq);
  /** reply inbox -> seq of the double ack. */
  const asked = new Map<string, number>();
  const confirmed = new Set<number>();
  let acked = new Set<number>();
  let lastNew = 0;
  let serial = 0;
  let floors = [0, 0, 0, 0];

  const store = (n: number): void => {
    for (let i = 0; i < n; i++) {
      const subject = SUBJECTS[pick(3)];
      p.store(subject, `m${p.messages.lastSeq + 1}`);
      if (filter.matches(subject)) stored.add(p.messages.lastSeq);
    }
  };

  const check = (message: Received): void => {
    const [, , , , delivered, seq, consumerSeq, , pending] = message.reply.split('.').map(Number);
    expect(message.payload).toBe(`m${seq}`);
    expect(confirmed.has(seq), `seq ${seq} was confirmed and came again`).toBe(false);
    expect(acked.has(seq), `seq ${seq} has an ack on its way and came again`).toBe(false);
    expect(consumerSeqs.has(consumerSeq), `consumer seq ${consumerSeq} twice`).toBe(false);
    consumerSeqs.add(consumerSeq);
    if (delivered === 1) {
      expect(seq).toBeGreaterThan(lastNew);
      lastNew = seq;
    }
    everDelivered.add(seq);
    counts.push([Math.max(seq, lastNew), pending]);
    held.push(message);
  };
  let counts: [number, number][] = [];

  /** The client's side of one step: nothing else moves meanwhile, so the counts can be compared. */
  const receive = (): void => {
    counts = [];
    for (const message of [...p.received]) {
      if (asked.has(message.inbox)) {
        const seq = asked.get(message.inbox)!;
        confirmed.add(seq);
        asked.delete(message.inbox);
      } else if (message.reply !== '') check(message);
    }
    p.received.length = 0;
  };

  const checkLastCount = (): void => {
    if (counts.length === 0) return;
    const [seq, pending] = counts.at(-1)!;
    let naive = 0;
    for (let s = p.messages.next(seq + 1, filter); s !== 0; s = p.messages.next(s + 1, filter)) {
      if (isDue(s) && !acked.has(s) && !confirmed.has(s)) naive++;
    }
    // A former leader's delivery that was acknowledged under it is not pending either.
    const ahead = [...p.table.get('C')!.ahead.values()].filter(
      (s) => s > seq && !acked.has(s) && !confirmed.has(s),
    ).length;
    expect(pending, `num_pending behind ${seq}`).toBe(naive - ahead);
  };

  const ack = (): void => {
    if (held.length === 0) return;
    const at = pick(held.length);
    const message = held[at];
    const seq = Number(message.reply.split('.')[5]);
    const dice = pick(10);
    if (dice === 0) p.ack(message, '-NAK');
    else if (dice === 1) p.ack(message, '-NAK {"delay": 300000000}');
    else if (dice === 2) p.ack(message, '+WPI');
    else {
      held.splice(at, 1);
      const reply = dice < 6 ? `reply${++serial}` : '';
      if (reply !== '') asked.set(reply, seq);
      if (tracked) {
        if (config.ack_policy === 'all') for (const s of everDelivered) if (s <= seq) acked.add(s);
        acked.add(seq);
      }
      p.ack(message, dice === 3 ? '+TERM' : '', reply);
    }
  };

  const step = (): void => {
    const dice = pick(100);
    if (dice < 25) store(1 + pick(4));
    else if (dice < 45) p.pull({ batch: 1 + pick(6), no_wait: prng.float() < 0.3, expires: 1e9 }, `in${pick(3)}`);
    else if (dice < 75) for (let n = pick(4); n >= 0; n--) ack();
    else if (dice < 80 && p.messages.lastSeq > 0) {
      const seq = 1 + pick(p.messages.lastSeq);
      if (p.messages.exists(seq)) {
        p.remove(seq);
        gone.add(seq);
      }
    } else if (dice < 83) {
      const { delivered, ack_floor } = p.info();
      const now = [delivered.consumer_seq, delivered.stream_seq, ack_floor.consumer_seq, ack_floor.stream_seq];
      for (let i = 0; i < 4; i++) expect(now[i]).toBeGreaterThanOrEqual(floors[i]);
      floors = now;
    } else if (dice < 86) {
      receive();
      p.failover();
      // What was not committed is lost with its acks.
      for (const reply of asked.keys()) asked.delete(reply);
      acked = new Set(confirmed);
      lastNew = p.table.get('C')!.deliveredSeq;
    } else if (dice < 90) p.commitMs = [1, 1, 5, 40][pick(4)];
    else p.run(pick(400));
  };

  for (let i = 0; i < steps; i++) {
    step();
    const before = p.messages.lastSeq;
    p.run(prng.float() < 0.5 ? 1 : 3);
    receive();
    if (before === p.messages.lastSeq) checkLastCount();
    const max = config.max_ack_pending ?? 0;
    if (max > 0) expect(p.table.get('C')!.pending.size).toBeLessThanOrEqual(max * 2);
  }

  // Everything comes to an end: each message was delivered, or removed, and nothing stays pending.
  p.commitMs = 1;
  for (let i = 0; i < 400; i++) {
    p.pull({ batch: 50, expires: 1e9 }).run(200);
    receive();
    for (const message of held.splice(0)) p.ack(message);
    p.run(100);
    receive();
    const info = p.info();
    if (tracked && info.num_pending === 0 && info.num_ack_pending === 0) break;
  }
  const info = p.info();
  expect(info).toMatchObject({ num_pending: 0, num_ack_pending: 0, num_redelivered: 0 });
  expect(info.ack_floor.stream_seq).toBe(info.delivered.stream_seq);
  for (const seq of stored) {
    if (!gone.has(seq)) expect(everDelivered.has(seq), `seq ${seq} was never delivered`).toBe(true);
  }
  if (stream.retention === 'workqueue')
    expect([...p.messages.messages.values()].filter((m) => filter.matches(m.subject))).toEqual([]);
}

describe('random lives', () => {
  const short = { ack_wait: 400e6, filter_subjects: ['a', 'c.*'] };
  test.each([1, 2, 3, 4, 5, 6, 7, 8])('explicit, seed %i', (seed) => life(seed, 400, short));
  test.each([11, 12, 13])('explicit without filter, few pending, seed %i', (seed) =>
    life(seed, 400, { ack_wait: 400e6, max_ack_pending: 7 }),
  );
  test.each([21, 22, 23])('ack all, seed %i', (seed) => life(seed, 300, { ...short, ack_policy: 'all' }));
  test.each([31, 32, 31027])('work queue, seed %i', (seed) =>
    life(seed, 300, { ack_wait: 400e6 }, { retention: 'workqueue' }),
  );
  const long = (p: FakePartition, seemingSubjects: number): void => {
    for (let n = 0; n < 60; n++) p.messages.add(SUBJECTS[(n * n) % 3], `m${n + 1}`, n);
    p.messages.isLong = true;
    p.messages.seemingSubjects = seemingSubjects;
  };
  test.each([51, 52, 53, 54])('counted in slices, seed %i', (seed) =>
    life(seed, 400, short, {}, (p) => long(p, seed % 2 === 0 ? 1e6 : 0)),
  );
  test.each([61, 62, 63, 64, 65, 66])('last per subject, in slices, seed %i', (seed) =>
    life(seed, 400, { ...short, deliver_policy: 'last_per_subject' }, {}, (p) => long(p, seed % 2 === 0 ? 1e6 : 0)),
  );
  test.each([71, 72])('last per subject, seed %i', (seed) =>
    life(seed, 400, { ...short, deliver_policy: 'last_per_subject' }, {}, (p) => {
      long(p, 0);
      p.messages.isLong = false;
    }),
  );
  test.each([41, 42])('backoff, seed %i', (seed) => life(seed, 300, { ...short, backoff: [100e6, 700e6] }));
});
