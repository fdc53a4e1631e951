// Push consumers: interest, heartbeats, flow control (PU1..PU3), and the ordered consumers of clients (PU4).
import { describe, expect, test } from 'vitest';
import type { ConsumerConfig } from '../../../src/stream/config.ts';
import { isApiError } from '../../../src/stream/errors.ts';
import { FakePartition } from './fake-partition.ts';

/** As nats.js asks for it. */
const ORDERED: Partial<ConsumerConfig> = {
  name: 'O',
  ack_policy: 'none',
  deliver_subject: 'd',
  flow_control: true,
  idle_heartbeat: 5e9,
  max_deliver: 1,
  mem_storage: true,
  num_replicas: 1,
  max_waiting: 0,
  max_ack_pending: 0,
  inactive_threshold: 300e9,
};

function withConsumer(config: Partial<ConsumerConfig>, stream = {}): FakePartition {
  const p = new FakePartition(stream);
  expect(isApiError(p.create(config))).toBe(false);
  return p;
}

const PUSH: Partial<ConsumerConfig> = { durable_name: 'C', deliver_subject: 'd', max_waiting: 0 };

describe('ordered consumer', () => {
  test('gets consumer seqs from 1 without a gap', () => {
    const p = new FakePartition();
    p.store('a', '1', '2');
    expect(p.create(ORDERED)).toMatchObject({
      name: 'O',
      num_pending: 2,
      delivered: { consumer_seq: 0, stream_seq: 0 },
    });
    p.run();
    p.store('b', '3');
    p.run();
    const got = p.take('d');
    expect(got.map(({ payload }) => payload)).toEqual(['1', '2', '3']);
    expect(got.map(({ reply }) => reply.split('.').slice(4, 7).join(' '))).toEqual(['1 1 1', '1 2 2', '1 3 3']);
    expect(got.map(({ reply }) => reply.split('.').at(-1))).toEqual(['1', '0', '0']);
    expect(p.info('O')).toMatchObject({ push_bound: true, num_pending: 0, delivered: { consumer_seq: 3 } });
  });

  test('goes on with the next leader, and is not told that it is idle before it is: clients take that for the end of a list', () => {
    const p = withConsumer(ORDERED);
    p.store('a', '1', '2');
    p.run(300);
    expect(p.brief('d')).toEqual(['1', '2']);
    p.failover();
    p.run(4800);
    expect(p.take('d')).toEqual([]);
    p.store('a', '3');
    p.run();
    expect(p.brief('d')).toEqual(['3']);
    p.run(5000);
    expect(p.take('d').map(({ hdr }) => hdr.split('\r\n')[0])).toEqual(['NATS/1.0 100 Idle Heartbeat']);
  });

  test('what the log did not know to be delivered comes again, under a consumer seq that leaves a gap', () => {
    const p = withConsumer(ORDERED);
    p.store('a', '1');
    p.run();
    expect(p.brief('d')).toEqual(['1']);
    p.failover();
    p.run(100);
    const again = p.take('d').filter(({ payload }) => payload === '1');
    expect(again).toHaveLength(1);
    expect(Number(again[0].reply.split('.')[6])).toBeGreaterThan(2);
  });

  test('starts when interest comes, here before any message', () => {
    const p = new FakePartition();
    p.interest = new Set();
    p.store('a', '1');
    p.create(ORDERED);
    p.run(1000);
    expect(p.info('O').push_bound).toBeUndefined();
    p.interest.add('d');
    p.run(300);
    expect(p.brief('d')).toEqual(['1']);
  });

  test('starts at once when told of interest', () => {
    const p = new FakePartition();
    p.interest = new Set();
    p.store('a', '1');
    p.create(ORDERED);
    p.run(1000);
    p.interest.add('d');
    p.engine.onInterest('d');
    p.run(4);
    expect(p.brief('d')).toEqual(['1']);
  });

  test('goes after its threshold without interest', () => {
    const p = withConsumer({ ...ORDERED, inactive_threshold: 2e9 });
    p.run(10_000);
    expect(p.info('O').name).toBe('O');
    p.interest = new Set();
    p.run(4500);
    expect(() => p.info('O')).toThrow('10014');
  });

  test('of pulls lives in the leader’s memory, without log entries, and ends with Consumer Deleted', () => {
    const p = withConsumer({
      name: 'O',
      ack_policy: 'none',
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: 300e9,
    });
    p.store('a', '1');
    p.pull({ batch: 5, expires: 30e9 }, 'in', 'O').run();
    expect(p.commands).toBe(0);
    p.failover();
    expect(p.brief()).toEqual(['1', '409 Consumer Deleted']);
  });

  test('ack none without memory storage is replicated and goes on after a failover', () => {
    const p = withConsumer({ ack_policy: 'none', max_ack_pending: 0 });
    p.store('a', '1', '2', '3');
    expect(p.fetch(2).length).toBe(2);
    p.run(300);
    expect(p.info().ack_floor).toMatchObject({ consumer_seq: 2, stream_seq: 2 });
    p.failover();
    expect(p.fetch().map(({ payload }) => payload)).toEqual(['3']);
  });
});

describe('heartbeats', () => {
  test('when idle for so long, re-armed by deliveries, not while unbound', () => {
    const p = withConsumer({ ...ORDERED, idle_heartbeat: 1e9 });
    p.run(900);
    p.store('a', '1');
    p.run(900);
    expect(p.brief('d')).toEqual(['1']);
    p.run(200);
    expect(p.take('d')[0]).toMatchObject({
      subject: 'd',
      reply: '',
      hdr: 'NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\nNats-Last-Stream: 1\r\n\r\n',
    });
    p.run(3000);
    expect(p.brief('d').length).toBe(3);
    p.interest = new Set();
    p.run(3000);
    p.interest = undefined;
    p.run(500);
    expect(p.take('d')).toEqual([]);
  });
});

describe('flow control', () => {
  const BIG = 'x'.repeat(256 * 1024);

  test('a request beyond half of the window, a stop beyond the window, a doubled window after the answer', () => {
    const p = withConsumer({ ...ORDERED, idle_heartbeat: 1e9 });
    p.store('a', ...Array(100).fill(BIG));
    p.run(50);
    const first = p.take('d');
    const request = first.find(({ hdr }) => hdr === 'NATS/1.0 100 FlowControl Request\r\n\r\n')!;
    expect(request).toMatchObject({ subject: 'd', payload: '' });
    expect(request.reply).toMatch(/^\$JS\.FC\.S\.O\.[0-9A-Za-z]{4}$/);
    // 2 MiB is the first window: the request follows the 4th message and delivery stops behind the 8th.
    expect(first.indexOf(request)).toBe(4);
    expect(first.length).toBe(9);
    p.run(1100);
    expect(p.take('d').at(-1)!.hdr).toBe(
      `NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 8\r\nNats-Last-Stream: 8\r\nNats-Consumer-Stalled: ${request.reply}\r\n\r\n`,
    );
    p.engine.flowReply('O', '$JS.FC.S.O.nope');
    p.run(50);
    expect(p.take('d')).toEqual([]);
    p.engine.flowReply('O', request.reply);
    p.run(50);
    expect(p.take('d').length).toBeGreaterThan(8);
  });

  test('everything comes through when every request is answered', () => {
    const p = withConsumer(ORDERED);
    p.store('a', ...Array(300).fill(BIG));
    let got = 0;
    for (let i = 0; i < 200 && got < 300; i++) {
      p.run(10);
      for (const message of p.take('d')) {
        if (message.reply.startsWith('$JS.FC.')) p.engine.flowReply('O', message.reply);
        else got++;
      }
    }
    expect(got).toBe(300);
  });

  test('a client that comes back starts with a fresh window', () => {
    const p = withConsumer(ORDERED);
    p.store('a', ...Array(20).fill(BIG));
    p.run(50);
    p.take('d');
    p.interest = new Set();
    p.run(6000);
    p.interest = undefined;
    p.run(300);
    expect(p.take('d').length).toBeGreaterThan(5);
  });
});

describe('durable push', () => {
  test('acks, redelivery and max_ack_pending as with pull', () => {
    const p = withConsumer({ ...PUSH, ack_wait: 1e9, max_ack_pending: 2 });
    p.store('a', '1', '2', '3');
    p.run();
    const [one, two] = p.take('d');
    p.ack(one);
    p.run();
    expect(p.brief('d')).toEqual(['3']);
    p.ack(two);
    p.run(1100);
    expect(p.brief('d')).toEqual(['3']);
  });

  test('pauses without interest, loses nothing, goes on when it returns', () => {
    const p = withConsumer(PUSH);
    p.interest = new Set();
    p.store('a', '1');
    p.run();
    p.store('a', '2');
    p.run(10_000);
    expect(p.info()).toMatchObject({ num_pending: 2, num_ack_pending: 0, delivered: { consumer_seq: 0 } });
    p.interest.add('d');
    p.run(300);
    expect(p.brief('d')).toEqual(['1', '2']);
  });

  test('interest that takes nothing is not asked again in the same turn', () => {
    const p = withConsumer(PUSH);
    let refused = 0;
    p.outlet.deliverTo = () => ++refused < 0;
    p.store('a', '1');
    p.run(1000);
    expect(refused).toBeGreaterThan(3);
    expect(refused).toBeLessThan(250);
  });

  test('goes on under a new leader without any request', () => {
    const p = withConsumer(PUSH);
    p.failover();
    p.store('a', '1');
    p.run(50);
    expect(p.brief('d')).toEqual(['1']);
  });

  test('PU5 a new deliver subject only while nobody listens on the old one', () => {
    const p = withConsumer(PUSH);
    expect(p.create({ ...PUSH, deliver_subject: 'e' })).toMatchObject({ err_code: 10013 });
    p.interest = new Set(['e']);
    expect(p.create({ ...PUSH, deliver_subject: 'e' })).toMatchObject({ config: { deliver_subject: 'e' } });
    p.store('a', '1');
    p.run(300);
    expect(p.brief('e')).toEqual(['1']);
  });

  test('a rate limit spreads deliveries', () => {
    const p = withConsumer({ ...PUSH, rate_limit_bps: 80_000 });
    p.store('a', ...Array(5).fill('x'.repeat(1000)));
    p.run(5);
    expect(p.take('d').length).toBe(1);
    p.run(250);
    expect(p.take('d').length).toBe(2);
    p.run(1000);
    expect(p.take('d').length).toBe(2);
  });
});

test('replay original: as far apart as they were stored', () => {
  const p = new FakePartition();
  for (const [i, at] of [0, 500_000, 700_000].entries()) p.messages.add('a', String(i), 1_700_000_000_000_000 + at);
  p.create({ ...PUSH, replay_policy: 'original' });
  p.run(3000);
  const at = p.take('d').map(({ atMs }) => atMs);
  expect(at[1] - at[0]).toBeGreaterThanOrEqual(500);
  expect(at[1] - at[0]).toBeLessThan(520);
  expect(at[2] - at[1]).toBeGreaterThanOrEqual(200);
  expect(at[2] - at[1]).toBeLessThan(220);
});
