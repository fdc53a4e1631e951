// Acks, redelivery, double acks, failover: nats-surface §2.4 and the rules of DESIGN §7.
import { describe, expect, test } from 'vitest';
import { SUCCESSION_MS } from '../../../cluster/host/types.ts';
import { isApiError } from '../../../src/stream/errors.ts';
import { FakePartition, type Received } from './fake-partition.ts';

function withConsumer(config = {}, stream = {}): FakePartition {
  const p = new FakePartition(stream);
  expect(isApiError(p.create(config))).toBe(false);
  return p;
}

const payloads = (messages: Received[]): string[] => messages.map(({ payload }) => payload);
/** [delivered, stream seq, consumer seq] of the ack subject. */
const numbers = ({ reply }: Received): number[] => reply.split('.').slice(4, 7).map(Number);

describe('explicit acks', () => {
  test('the floor moves over what is contiguous, and to delivered when nothing is pending', () => {
    const p = withConsumer();
    p.store('a', '1', '2', '3', '4');
    const got = p.fetch(3);
    p.ack(got[1]);
    expect(p.info()).toMatchObject({
      delivered: { consumer_seq: 3, stream_seq: 3 },
      ack_floor: { consumer_seq: 0, stream_seq: 0 },
      num_ack_pending: 2,
      num_pending: 1,
    });
    p.ack(got[0]);
    expect(p.info().ack_floor).toMatchObject({ consumer_seq: 2, stream_seq: 2 });
    p.ack(got[2]);
    expect(p.info()).toMatchObject({ ack_floor: { consumer_seq: 3, stream_seq: 3 }, num_ack_pending: 0 });
  });

  test('+ACK and +OK are acks, other words are nothing, but who waits for their answer gets it', () => {
    const p = withConsumer();
    p.store('a', '1', '2', '3');
    const got = p.fetch();
    p.ack(got[0], '+ACK');
    p.ack(got[1], '+OK');
    p.ack(got[2], 'hello', 'confirm');
    expect(p.brief('confirm')).toEqual(['confirmed']);
    expect(p.info()).toMatchObject({ num_ack_pending: 1, ack_floor: { stream_seq: 2 } });
  });

  test('where no acks are kept whoever waits for their answer meets nobody, and gets no message for it', () => {
    const p = new FakePartition();
    for (const text of ['1', '2']) p.store('a', text);
    p.create({ ack_policy: 'none' });
    const [message] = p.fetch(1);
    for (const verb of ['', '+ACK', '-NAK', '+TERM', '+NXT']) p.ack(message, verb, 'inbox');
    p.ack(message, '+NXT');
    p.run();
    const answers = p.take('inbox').map(({ inbox, hdr, payload }) => `${inbox} ${hdr}${payload}`);
    expect(answers).toEqual(Array(5).fill('inbox NATS/1.0 503\r\n\r\n'));
  });

  test('a double ack is answered after commit and apply, not before', () => {
    const p = withConsumer();
    p.store('a', '1');
    const [one] = p.fetch();
    p.commitMs = 50;
    p.ack(one, '', 'confirm');
    p.run(40);
    expect(p.take('confirm')).toEqual([]);
    p.run(40);
    expect(p.take('confirm')).toEqual([
      { inbox: 'confirm', subject: 'confirm', reply: '', hdr: '', payload: '', atMs: expect.any(Number) },
    ]);
  });

  test('a repeated double ack waits for the first one, and is answered at once afterwards', () => {
    const p = withConsumer();
    p.store('a', '1');
    const [one] = p.fetch();
    p.commitMs = 50;
    p.ack(one);
    p.run(10);
    p.ack(one, '', 'confirm');
    p.run(20);
    expect(p.take('confirm')).toEqual([]);
    p.run(100);
    expect(p.brief('confirm')).toEqual(['confirmed']);
    p.ack(one, '', 'confirm');
    expect(p.brief('confirm')).toEqual(['confirmed']);
  });

  test('acks of one turn are one command', () => {
    const p = withConsumer();
    p.store('a', ...Array.from({ length: 500 }, (_, i) => String(i)));
    const got = p.fetch(500);
    p.info();
    const before = p.commands;
    for (const message of got) p.ack(message);
    p.run();
    expect(p.commands - before).toBe(1);
    expect(p.info().ack_floor.stream_seq).toBe(500);
  });

  test('a seq beyond the stream, or with a consumer seq that was never handed out, is ignored', () => {
    const p = withConsumer();
    p.store('a', '1', '2');
    p.engine.ack('C', 99, 99, 1, new Uint8Array(0), 'confirm');
    p.engine.ack('C', 2, 5000, 1, new Uint8Array(0), 'confirm');
    p.run(100);
    expect(p.take('confirm')).toEqual([]);
    expect(payloads(p.fetch())).toEqual(['1', '2']);
  });
});

describe('redelivery', () => {
  test('after ack_wait: same stream seq, new consumer seq, delivered + 1, before new messages', () => {
    const p = withConsumer({ ack_wait: 2e9 });
    p.store('a', '1', '2');
    p.fetch();
    p.run(1900);
    expect(p.fetch()).toEqual([]);
    p.run(200);
    p.store('a', '3');
    const again = p.fetch();
    expect(payloads(again)).toEqual(['1', '2', '3']);
    expect(again.map(numbers)).toEqual([
      [2, 1, 3],
      [2, 2, 4],
      [1, 3, 5],
    ]);
    expect(p.info()).toMatchObject({ num_redelivered: 2, num_ack_pending: 3 });
  });

  test('to a request that already waits', () => {
    const p = withConsumer({ ack_wait: 1e9 });
    p.store('a', '1');
    p.pull('5').run(3500);
    expect(p.take().map(numbers)).toEqual([
      [1, 1, 1],
      [2, 1, 2],
      [3, 1, 3],
      [4, 1, 4],
    ]);
  });

  test('a proposed ack suppresses redelivery before it is committed', () => {
    const p = withConsumer({ ack_wait: 1e9 });
    p.store('a', '1');
    const [one] = p.fetch();
    p.commitMs = 5000;
    p.ack(one, '', 'confirm');
    p.pull('1').run(3000);
    expect(p.take()).toEqual([]);
    p.run(3000);
    expect(p.brief('confirm')).toEqual(['confirmed']);
  });

  test('backoff by attempt, the last value repeats', () => {
    const p = withConsumer({ ack_wait: 1e9, backoff: [1e9, 3e9] });
    p.store('a', '1');
    p.pull('10').run(8500);
    const at = p.take().map(({ atMs }) => atMs);
    expect(at.slice(1).map((ms, i) => Math.round((ms - at[i]) / 100) / 10)).toEqual([1, 3, 3]);
  });

  test('nak: now, after a JSON delay, after a Go duration', () => {
    const p = withConsumer();
    p.store('a', '1', '2', '3');
    const [one, two, three] = p.fetch();
    p.ack(one, '-NAK');
    p.ack(two, '-NAK {"delay": 1000000000}');
    p.ack(three, '-NAK 2s');
    expect(payloads(p.fetch())).toEqual(['1']);
    p.run(1000);
    expect(payloads(p.fetch())).toEqual(['2']);
    p.run(1000);
    expect(payloads(p.fetch())).toEqual(['3']);
    expect(p.advisories.map(({ subject }) => subject).slice(-3)).toEqual(
      Array(3).fill('$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.S.C'),
    );
  });

  test('+WPI starts the wait anew; nak and progress are answered at once', () => {
    const p = withConsumer({ ack_wait: 1e9 });
    p.store('a', '1');
    const [one] = p.fetch();
    for (let i = 0; i < 5; i++) {
      p.run(700);
      p.ack(one, '+WPI', 'confirm');
    }
    expect(p.brief('confirm').length).toBe(5);
    expect(p.fetch()).toEqual([]);
    p.ack(one, '-NAK', 'confirm');
    expect(p.brief('confirm')).toEqual(['confirmed']);
    expect(payloads(p.fetch())).toEqual(['1']);
  });

  test('+TERM: never again, an advisory with the reason, a double ack', () => {
    const p = withConsumer({ ack_wait: 1e9 });
    p.store('a', '1');
    const [one] = p.fetch();
    p.ack(one, '+TERM no use', 'confirm');
    p.run(5000);
    expect(p.brief('confirm')).toEqual(['confirmed']);
    expect(p.fetch()).toEqual([]);
    expect(p.info()).toMatchObject({ num_ack_pending: 0, ack_floor: { stream_seq: 1 } });
    expect(p.advisories.at(-1)).toMatchObject({
      subject: '$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.C',
      body: {
        type: 'io.nats.jetstream.advisory.v1.terminated',
        reason: 'no use',
        stream_seq: 1,
        consumer_seq: 1,
        deliveries: 1,
      },
    });
  });

  test('+NXT acknowledges and pulls', () => {
    const p = withConsumer();
    p.store('a', '1', '2', '3');
    const [one] = p.fetch(1);
    p.ack(one, '+NXT', 'more');
    p.run();
    const [two] = p.take('more');
    expect(two.payload).toBe('2');
    p.ack(two, '+NXT {"batch": 1, "no_wait": true}', 'more');
    p.run();
    expect(p.brief('more')).toEqual(['3']);
    expect(p.info().ack_floor.stream_seq).toBe(2);
  });

  test('max_deliver: an advisory, then the message is skipped, not removed', () => {
    const p = withConsumer({ ack_wait: 1e9, max_deliver: 2 });
    p.store('a', '1', '2');
    p.pull('10').run(5000);
    expect(p.brief()).toEqual(['1', '2', '1', '2']);
    const advised = p.advisories.filter(({ subject }) => subject.includes('MAX_DELIVERIES'));
    expect(advised.map(({ body }) => [body.type, body.stream_seq, body.deliveries])).toEqual([
      ['io.nats.jetstream.advisory.v1.max_deliver', 1, 2],
      ['io.nats.jetstream.advisory.v1.max_deliver', 2, 2],
    ]);
    expect(p.info()).toMatchObject({ num_ack_pending: 0, num_redelivered: 0, ack_floor: { stream_seq: 2 } });
    expect(p.messages.exists(1)).toBe(true);
  });

  test('max_deliver counts naks too', () => {
    const p = withConsumer({ max_deliver: 1 });
    p.store('a', '1');
    const [one] = p.fetch();
    p.ack(one, '-NAK');
    expect(p.fetch()).toEqual([]);
    expect(p.advisories.at(-1)!.subject).toBe('$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.S.C');
  });

  test('messages that were removed are no longer pending', () => {
    const p = withConsumer({ ack_wait: 1e9 });
    p.store('a', '1', '2', '3');
    p.fetch(2);
    p.info();
    p.remove(1);
    p.remove(2);
    expect(p.info()).toMatchObject({ num_ack_pending: 0, num_pending: 1, ack_floor: { stream_seq: 2 } });
    p.run(2000);
    expect(payloads(p.fetch())).toEqual(['3']);
  });

  test('a message removed before its delivery is in the log', () => {
    const p = withConsumer();
    p.store('a', '1', '2');
    p.fetch();
    p.remove(1);
    expect(p.info()).toMatchObject({ num_ack_pending: 1, delivered: { stream_seq: 2 } });
  });
});

describe('ack all', () => {
  test('acknowledges everything up to the seq', () => {
    const p = withConsumer({ ack_policy: 'all' });
    p.store('a', '1', '2', '3', '4', '5');
    const got = p.fetch();
    p.ack(got[3], '', 'confirm');
    expect(p.info()).toMatchObject({ num_ack_pending: 1, ack_floor: { consumer_seq: 4, stream_seq: 4 } });
    expect(p.brief('confirm')).toEqual(['confirmed']);
    p.ack(got[1], '', 'confirm');
    expect(p.brief('confirm')).toEqual(['confirmed']);
    expect(p.info().ack_floor.stream_seq).toBe(4);
  });

  test('after a failover it counts for what the former leader delivered', () => {
    const p = withConsumer({ ack_policy: 'all' });
    p.store('a', '1', '2', '3', '4');
    p.fetch(1);
    p.info();
    const got = p.fetch(2);
    p.commitMs = Number.POSITIVE_INFINITY;
    p.failover();
    p.commitMs = 1;
    p.ack(got[1], '', 'confirm');
    p.run(SUCCESSION_MS);
    expect(p.brief('confirm')).toEqual(['confirmed']);
    expect(payloads(p.fetch())).toEqual(['4']);
  });
});

describe('failover', () => {
  test('unacknowledged messages come again after a full ack wait, counted on', () => {
    const p = withConsumer({ ack_wait: 2e9 });
    p.store('a', '1', '2');
    p.fetch();
    p.info();
    p.run(1500);
    p.failover();
    p.run(1500);
    expect(p.fetch()).toEqual([]);
    p.run(600);
    expect(
      p
        .fetch()
        .map(numbers)
        .map(([delivered, seq]) => [delivered, seq]),
    ).toEqual([
      [2, 1],
      [2, 2],
    ]);
  });

  test('what the log does not know is delivered again at once, with consumer seqs never used before', () => {
    const p = withConsumer();
    p.store('a', '1', '2', '3');
    const before = p.fetch();
    p.commitMs = Number.POSITIVE_INFINITY;
    p.failover();
    p.commitMs = 1;
    const after = p.fetch();
    expect(payloads(after)).toEqual(['1', '2', '3']);
    const used = new Set(before.map((message) => numbers(message)[2]));
    for (const message of after) expect(used.has(numbers(message)[2])).toBe(false);
  });

  test('no consumer seq is handed out before its reservation is committed', () => {
    const p = withConsumer();
    p.commitMs = Number.POSITIVE_INFINITY;
    p.store('a', '1');
    p.pull('1').run(50);
    expect(p.take()).toEqual([]);
    p.commit();
    p.run();
    expect(p.brief()).toEqual(['1']);
  });

  test('an ack of the former leader’s delivery counts, whoever delivered it', () => {
    const p = withConsumer();
    p.store('a', '1', '2', '3');
    const got = p.fetch();
    p.commitMs = Number.POSITIVE_INFINITY;
    p.failover();
    p.commitMs = 1;
    p.ack(got[1], '', 'confirm');
    p.run(SUCCESSION_MS);
    expect(p.brief('confirm')).toEqual(['confirmed']);
    expect(payloads(p.fetch())).toEqual(['1', '3']);
    p.failover();
    p.run(60_000);
    expect(payloads(p.fetch())).toEqual(['1', '3']);
  });

  test('a new leader confirms nothing while its predecessor may still hand out; then in order, also what the log had before', () => {
    const p = withConsumer();
    p.store('a', '1', '2', '3');
    const [one, two, three] = p.fetch();
    p.ack(one);
    p.run();
    p.failover();
    const ledAtMs = p.scheduler.nowMs;
    for (const [message, inbox] of [
      [two, 'second'],
      [one, 'first'],
    ] as const) {
      p.ack(message, '', inbox);
      p.run();
    }
    p.run(SUCCESSION_MS - 20);
    expect(p.table.get('C')!.floorSeq).toBe(2);
    expect(p.received).toEqual([]);
    p.run(20);
    expect(p.received.map(({ inbox }) => inbox)).toEqual(['second', 'first']);
    expect(p.received.every(({ atMs }) => atMs >= ledAtMs + SUCCESSION_MS)).toBe(true);
    p.received.length = 0;
    p.ack(three, '', 'third');
    p.run();
    expect(p.brief('third')).toEqual(['confirmed']);
  });

  test('answers that wait end with leadership', () => {
    const p = withConsumer();
    p.store('a', '1');
    const [one] = p.fetch();
    p.failover();
    p.ack(one, '', 'confirm');
    p.run(100);
    p.failover();
    p.run(2 * SUCCESSION_MS);
    expect(p.take('confirm')).toEqual([]);
  });

  test('a confirmed ack is never redelivered, an unconfirmed one may be', () => {
    const p = withConsumer({ ack_wait: 1e9 });
    p.store('a', '1', '2');
    const [one, two] = p.fetch();
    p.ack(one, '', 'confirm');
    p.run();
    expect(p.brief('confirm')).toEqual(['confirmed']);
    p.commitMs = Number.POSITIVE_INFINITY;
    p.ack(two, '', 'confirm');
    p.run(50);
    p.failover();
    p.commitMs = 1;
    expect(p.take('confirm')).toEqual([]);
    for (let i = 0; i < 5; i++) {
      p.run(1100);
      expect(payloads(p.fetch())).toEqual(['2']);
    }
  });

  test('max_deliver is respected over leaders', () => {
    const p = withConsumer({ ack_wait: 1e9, max_deliver: 3 });
    p.store('a', '1');
    for (let i = 0; i < 3; i++) {
      expect(payloads(p.fetch())).toEqual(['1']);
      p.info();
      p.failover();
      p.run(1100);
    }
    expect(p.fetch()).toEqual([]);
    expect(p.info().num_ack_pending).toBe(0);
  });

  test('requests and answers under way end with 10008', () => {
    const p = withConsumer();
    p.commitMs = Number.POSITIVE_INFINITY;
    const outcomes: unknown[] = [];
    p.engine.createConsumer({ ...p.info().config, name: 'D', durable_name: 'D' }, '', (r) => outcomes.push(r));
    p.engine.deleteConsumer('C', (r) => outcomes.push(r));
    p.store('a', '1');
    p.failover();
    expect(outcomes).toMatchObject([{ err_code: 10008 }, { err_code: 10008 }]);
    expect(p.table.get('C')).toBeDefined();
  });

  test('deliveries reach the log within 250 ms without any ack', () => {
    const p = withConsumer();
    p.store('a', '1', '2');
    p.fetch();
    p.run(300);
    expect(p.table.get('C')!.deliveredSeq).toBe(2);
    const commands = p.commands;
    p.run(10_000);
    expect(p.commands).toBe(commands);
  });
});

describe('retention', () => {
  test('work queue: an ack removes, a termination removes, max_deliver does not', () => {
    const p = withConsumer({ ack_wait: 1e9, max_deliver: 1 }, { retention: 'workqueue' });
    p.store('a', '1', '2', '3');
    const [one, two] = p.fetch();
    p.ack(one);
    p.ack(two, '+TERM');
    p.run(3000);
    expect([1, 2, 3].map((seq) => p.messages.exists(seq))).toEqual([false, false, true]);
  });

  test('work queue: an ack of a former leader’s delivery removes', () => {
    const p = withConsumer({}, { retention: 'workqueue' });
    p.store('a', '1', '2');
    const got = p.fetch();
    p.commitMs = Number.POSITIVE_INFINITY;
    p.failover();
    p.commitMs = 1;
    p.ack(got[1]);
    p.run();
    expect(p.messages.exists(2)).toBe(false);
    expect(payloads(p.fetch())).toEqual(['1']);
    expect(p.info().num_pending).toBe(0);
  });

  test('work queue: an early ack removes, also when the new leader delivers beyond it in the same turn', () => {
    const p = withConsumer({}, { retention: 'workqueue' });
    p.store('a', '1', '2');
    const [one] = p.fetch();
    p.commitMs = Number.POSITIVE_INFINITY;
    p.failover();
    p.commitMs = 1;
    // A request of nobody makes the new leader reserve consumer seqs, and delivers nothing.
    p.interest = new Set(['in', 'confirm']);
    p.pull('1', 'gone').run();
    p.ack(one, '', 'confirm');
    p.pull('5').run(SUCCESSION_MS);
    expect(p.brief('confirm')).toEqual(['confirmed']);
    expect(p.brief()).toEqual(['2']);
    expect(p.messages.exists(1)).toBe(false);
  });

  test('work queue: a late ack frees a message that was given up', () => {
    const p = withConsumer({ ack_wait: 1e9, max_deliver: 1 }, { retention: 'workqueue' });
    p.store('a', '1');
    const [one] = p.fetch();
    p.run(3000);
    p.ack(one, '', 'confirm');
    p.run();
    expect(p.brief('confirm')).toEqual(['confirmed']);
    expect(p.messages.exists(1)).toBe(false);
  });

  test('nothing is confirmed by a leader that lost its place without knowing', () => {
    const p = withConsumer();
    p.store('a', '1');
    const [one] = p.fetch();
    p.proposer.proposeCommand = (_type, _body, done) => done?.({ code: 503, err_code: 10008, description: '' });
    p.ack(one, '', 'confirm');
    p.run(500);
    p.ack(one, '', 'confirm');
    p.run(500);
    expect(p.take('confirm')).toEqual([]);
  });

  test('work queue: ack all removes the range', () => {
    const p = withConsumer({ ack_policy: 'all' }, { retention: 'workqueue' });
    p.store('a', '1', '2', '3');
    p.ack(p.fetch()[1]);
    p.run();
    expect(p.messages.messages.size).toBe(1);
  });

  test('interest: removed when all interested have acknowledged; nobody interested: not kept', () => {
    const p = new FakePartition({ retention: 'interest' });
    p.store('a', 'nobody');
    expect(p.messages.exists(1)).toBe(false);
    p.create({ durable_name: 'A', filter_subject: 'a' });
    p.create({ durable_name: 'B' });
    p.store('a', 'both');
    p.store('b', 'one');
    const pulled = (name: string): Received[] => {
      p.pull({ batch: 10, no_wait: true }, 'in', name).run();
      return p.take().filter(({ reply }) => reply !== '');
    };
    const [forA] = pulled('A');
    const forB = pulled('B');
    p.ack(forA, '', '', 'A');
    p.run();
    expect(p.messages.exists(2)).toBe(true);
    for (const message of forB) p.ack(message, '', '', 'B');
    p.run();
    expect(p.messages.messages.size).toBe(0);
  });

  test('interest: deleting a consumer, or narrowing its filter, releases what only it wanted', () => {
    const p = new FakePartition({ retention: 'interest' });
    p.create({ durable_name: 'A', filter_subject: 'a' });
    p.create({ durable_name: 'B' });
    p.store('a', '1');
    p.store('b', '2');
    p.store('c', '3');
    p.create({ durable_name: 'B', filter_subject: 'b' });
    expect([1, 2, 3].map((seq) => p.messages.exists(seq))).toEqual([true, true, false]);
    p.delete('B');
    expect([1, 2, 3].map((seq) => p.messages.exists(seq))).toEqual([true, false, false]);
    p.delete('A');
    expect(p.messages.messages.size).toBe(0);
  });

  test('interest with ack none: delivery is enough', () => {
    const p = withConsumer({ ack_policy: 'none' }, { retention: 'interest' });
    p.store('a', '1', '2');
    p.fetch(1);
    p.run(300);
    expect(p.messages.messages.size).toBe(1);
  });
});
