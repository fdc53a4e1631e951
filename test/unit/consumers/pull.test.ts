// Pull requests and every status frame (nats-surface §2.5), byte for byte.
import { describe, expect, test } from 'vitest';
import { isApiError } from '../../../src/stream/errors.ts';
import { FakePartition } from './fake-partition.ts';

const left = (status: string, messages: number, bytes: number): string =>
  `NATS/1.0 ${status}\r\nNats-Pending-Messages: ${messages}\r\nNats-Pending-Bytes: ${bytes}\r\n\r\n`;

function withConsumer(config = {}, stream = {}): FakePartition {
  const p = new FakePartition(stream);
  const state = p.create(config);
  expect(isApiError(state)).toBe(false);
  return p;
}

describe('delivery', () => {
  test('messages carry the stored subject and an exact ack subject', () => {
    const p = withConsumer();
    p.store('a.b', 'one', 'two');
    p.pull({ batch: 2 }).run();
    const [one, two] = p.take();
    expect(one.subject).toBe('a.b');
    expect(one.payload).toBe('one');
    expect(one.reply).toMatch(/^\$JS\.ACK\.S\.C\.1\.1\.1\.1700000000\d{9}\.1$/);
    expect(two.reply).toMatch(/^\$JS\.ACK\.S\.C\.1\.2\.2\.1700000000\d{9}\.0$/);
  });

  test('a waiting request is served when something is stored', () => {
    const p = withConsumer();
    p.pull('2').run();
    p.store('a', 'one');
    p.run();
    p.store('a', 'two', 'three');
    p.run();
    expect(p.brief()).toEqual(['one', 'two']);
  });

  test('requests are served round-robin, one message each', () => {
    const p = withConsumer();
    p.pull({ batch: 3 }, 'x').pull({ batch: 2 }, 'y').run();
    p.store('a', '1', '2', '3', '4', '5');
    p.run();
    expect(p.brief('x')).toEqual(['1', '3', '5']);
    expect(p.brief('y')).toEqual(['2', '4']);
  });

  test('a filter decides what is delivered and what is pending', () => {
    const p = withConsumer({ filter_subject: 'a.*' });
    for (const subject of ['a.1', 'b.1', 'a.2', 'b.2', 'a.3']) p.store(subject, subject);
    p.pull({ batch: 2 }).run();
    const got = p.take();
    expect(got.map(({ payload }) => payload)).toEqual(['a.1', 'a.2']);
    expect(got.map(({ reply }) => reply.split('.').at(-1))).toEqual(['2', '1']);
    expect(p.info().num_pending).toBe(1);
  });

  test('headers_only keeps headers and tells the size', () => {
    const p = withConsumer({ headers_only: true });
    p.messages.add('a', 'hello', 1, 'NATS/1.0\r\nk: v\r\n\r\n');
    p.store('a', 'four');
    p.pull('2').run();
    const [first, second] = p.take();
    expect(first.hdr).toBe('NATS/1.0\r\nk: v\r\nNats-Msg-Size: 5\r\n\r\n');
    expect(first.payload).toBe('');
    expect(second.hdr).toBe('NATS/1.0\r\nNats-Msg-Size: 4\r\n\r\n');
  });

  test('reads that come later keep the order, and one is under way at a time', () => {
    const p = withConsumer();
    p.readMs = 3;
    p.store('a', '1', '2', '3');
    p.pull('3').run(2);
    expect(p.brief()).toEqual([]);
    p.run(20);
    expect(p.brief()).toEqual(['1', '2', '3']);
    expect(p.reads).toBe(3);
  });

  test('a message that exists and cannot be read holds the line until it can', () => {
    const p = withConsumer();
    p.store('a', '1', '2');
    p.damaged.add(1);
    p.pull('2').run(1500);
    expect(p.brief()).toEqual([]);
    expect(p.reads).toBeLessThan(4);
    p.damaged.clear();
    p.run(1500);
    expect(p.brief()).toEqual(['1', '2']);
  });

  test('a thousand messages a turn, the rest in the next ones', () => {
    const p = withConsumer({ max_ack_pending: -1 });
    p.store('a', ...Array.from({ length: 2500 }, (_, i) => String(i)));
    p.pull({ batch: 3000 }).run(10);
    expect(p.brief().length).toBe(2500);
  });

  test('max_ack_pending holds new messages back until an ack', () => {
    const p = withConsumer({ max_ack_pending: 2 });
    p.store('a', '1', '2', '3');
    p.pull('5').run();
    const got = p.take();
    expect(got.length).toBe(2);
    p.ack(got[0]);
    p.run();
    expect(p.brief()).toEqual(['3']);
  });
});

describe('status frames', () => {
  test('S1 bad requests', () => {
    const p = withConsumer();
    p.pull({ batch: 1, expires: 1e9, idle_heartbeat: 6e8 }).run();
    expect(p.take()[0].hdr).toBe('NATS/1.0 400 Bad Request - heartbeat value too large\r\n\r\n');
    p.pull('{nonsense').run();
    expect(p.brief()[0]).toMatch(/^400 Bad Request - /);
  });

  test('S2 no_wait with nothing there; no_wait that drains; a taken message ends the others', () => {
    const p = withConsumer();
    p.pull({ batch: 1, no_wait: true });
    expect(p.take()[0].hdr).toBe('NATS/1.0 404 No Messages\r\n\r\n');
    p.store('a', '1');
    p.pull({ batch: 5, no_wait: true }).run();
    expect(p.take().map(({ hdr, payload }) => hdr || payload)).toEqual(['1', left('408 Request Timeout', 4, 0)]);
    p.store('a', '2');
    p.pull({ batch: 1 }, 'first').pull({ batch: 1, no_wait: true }).run();
    expect(p.brief('first')).toEqual(['2']);
    expect(p.brief()).toEqual(['404 No Messages']);
  });

  test('S2 no_wait with expires waits for the first message, then ends when drained', () => {
    const p = withConsumer();
    p.pull({ batch: 5, no_wait: true, expires: 5e9 }).run(100);
    expect(p.brief()).toEqual([]);
    p.store('a', '1', '2');
    p.run();
    expect(p.brief()).toEqual(['1', '2', '408 Request Timeout']);
  });

  test('S3 expiry tells what is left', () => {
    const p = withConsumer();
    p.store('a', '1');
    p.pull({ batch: 3, expires: 1e9, max_bytes: 1000 }).run(900);
    const size = 'a'.length + p.received[0].reply.length + 1;
    expect(p.brief()).toEqual(['1']);
    p.run(200);
    expect(p.take()[0].hdr).toBe(left('408 Request Timeout', 2, 1000 - size));
    expect(p.info().num_waiting).toBe(0);
  });

  test('S3 a request that had expired before it came is answered at once', () => {
    const p = withConsumer();
    p.pull({ batch: 2, expires: -1 }).run(50);
    expect(p.take()[0].hdr).toBe(left('408 Request Timeout', 2, 0));
    expect(p.info().num_waiting).toBe(0);
  });

  test('S4 no_wait behind requests that already ask for more', () => {
    const p = withConsumer({ max_ack_pending: 1 });
    p.store('a', '1', '2', '3');
    p.pull({ batch: 10 }, 'first').run();
    p.pull({ batch: 1, no_wait: true });
    expect(p.take()[0].hdr).toBe('NATS/1.0 408 Requests Pending\r\n\r\n');
  });

  test('S6 a full queue: told, unless the request has heartbeats', () => {
    const p = withConsumer({ max_waiting: 2 });
    p.pull('', 'x').pull('', 'y').pull('', 'z').run();
    expect(p.take('z')[0].hdr).toBe('NATS/1.0 409 Exceeded MaxWaiting\r\n\r\n');
    p.pull({ batch: 1, expires: 10e9, idle_heartbeat: 1e9 }, 'z').run();
    expect(p.take('z')).toEqual([]);
    p.interest = new Set(['y', 'z']);
    p.run(1100);
    p.pull('', 'z').run();
    expect(p.take('z')).toEqual([]);
    expect(p.info().num_waiting).toBe(2);
  });

  test('S7 limits of the consumer', () => {
    const p = withConsumer({ max_batch: 10, max_expires: 60e9, max_bytes: 100 });
    p.pull({ batch: 11 });
    p.pull({ batch: 1, expires: 61e9 });
    p.pull({ batch: 1, max_bytes: 101 });
    expect(p.take().map(({ hdr }) => hdr)).toEqual([
      'NATS/1.0 409 Exceeded MaxRequestBatch of 10\r\n\r\n',
      'NATS/1.0 409 Exceeded MaxRequestExpires of 1m0s\r\n\r\n',
      'NATS/1.0 409 Exceeded MaxRequestMaxBytes of 100\r\n\r\n',
    ]);
  });

  test('S8 a message that does not fit closes the request, the next request gets it', () => {
    const p = withConsumer();
    p.pull({ batch: 2, max_bytes: 100 }, 'small').pull('', 'big').run();
    p.store('a', 'x'.repeat(200));
    p.run();
    expect(p.take('small')[0].hdr).toBe(left('409 Message Size Exceeds MaxBytes', 2, 100));
    expect(p.take('big').length).toBe(1);
  });

  test('S9 batch filled with bytes left', () => {
    const p = withConsumer();
    p.store('a', '1');
    p.pull({ batch: 1, max_bytes: 1000 }).run();
    const [message, status] = p.take();
    const size = 1 + message.reply.length + 1;
    expect(status.hdr).toBe(left('409 Batch Completed', 0, 1000 - size));
  });

  test('S10 pull on a push consumer', () => {
    const p = withConsumer({ deliver_subject: 'd', max_waiting: 0 });
    p.pull('').run();
    expect(p.take()[0].hdr).toBe('NATS/1.0 409 Consumer is push based\r\n\r\n');
  });

  test('S11 deletion ends waiting requests', () => {
    const p = withConsumer();
    p.pull('').run();
    expect(p.delete()).toBe(true);
    expect(p.take()[0].hdr).toBe('NATS/1.0 409 Consumer Deleted\r\n\r\n');
    expect(p.delete()).toMatchObject({ err_code: 10014 });
  });

  test('S12 leadership goes: each inbox hears once what is left of all its requests, and then that nothing is', () => {
    const p = withConsumer();
    p.pull({ batch: 3, max_bytes: 50 }).pull({ batch: 4, max_bytes: 60 }).pull('', 'other').run();
    p.failover();
    const nothing = left('408 Request Timeout', 0, 0);
    const hdrs = (inbox: string): string[] => p.take(inbox).map(({ hdr }) => hdr);
    expect(hdrs('in')).toEqual([left('409 Leadership Change', 7, 110), nothing]);
    expect(hdrs('other')).toEqual([left('409 Leadership Change', 1, 0), nothing]);
  });

  test('S12 what was delivered of a request is not left', () => {
    const p = withConsumer();
    p.store('a', 'one');
    p.pull('3').run();
    expect(p.brief()).toEqual(['one']);
    p.failover();
    expect(p.take()[0].hdr).toBe(left('409 Leadership Change', 2, 0));
  });

  test('S13 the node stops', () => {
    const p = withConsumer();
    p.pull({ batch: 3, max_bytes: 50 }).run();
    p.engine.close();
    expect(p.take()[0].hdr).toBe(left('409 Server Shutdown', 3, 50));
  });

  test('S16 heartbeats, re-armed by deliveries', () => {
    const p = withConsumer();
    p.store('a', '1');
    p.pull({ batch: 5, expires: 10e9, idle_heartbeat: 1e9 }).run(900);
    p.store('a', '2');
    p.run(900);
    expect(p.brief()).toEqual(['1', '2']);
    p.run(200);
    expect(p.take()[0].hdr).toBe('NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 2\r\nNats-Last-Stream: 2\r\n\r\n');
    p.run(3000);
    expect(p.brief()).toEqual(['100 Idle Heartbeat', '100 Idle Heartbeat', '100 Idle Heartbeat']);
  });

  test('S17 an unknown consumer', () => {
    const p = new FakePartition();
    p.pull('', 'in', 'nobody').run();
    expect(p.take()[0].hdr).toBe('NATS/1.0 503\r\n\r\n');
  });
});

describe('interest', () => {
  test('a request whose inbox vanished is dropped silently and costs no message', () => {
    const p = withConsumer();
    p.pull('', 'gone').pull('', 'here').run();
    p.interest = new Set(['here']);
    p.store('a', '1', '2');
    p.run();
    expect(p.brief('here')).toEqual(['1']);
    const info = p.info();
    expect(info.delivered).toMatchObject({ consumer_seq: 1, stream_seq: 1 });
    expect(info.num_waiting).toBe(0);
    expect(info.num_pending).toBe(1);
  });

  test('an ephemeral without requests ends after its threshold, one with a request stays', () => {
    const p = withConsumer({ name: 'E', inactive_threshold: 2e9 });
    p.pull('', 'in', 'E').run(10_000);
    expect(p.table.get('E')).toBeDefined();
    p.interest = new Set();
    p.run(5000);
    expect(p.table.get('E')).toBeUndefined();
    expect(p.advisories.at(-1)).toMatchObject({
      subject: '$JS.EVENT.ADVISORY.CONSUMER.DELETED.S.E',
      body: { type: 'io.nats.jetstream.advisory.v1.consumer_action', action: 'delete', consumer: 'E', stream: 'S' },
    });
  });

  test('5 s is the default of ephemerals; durables without a threshold stay', () => {
    const p = withConsumer({ name: 'E' });
    p.create();
    p.run(4500);
    expect(p.table.get('E')).toBeDefined();
    p.run(1000);
    expect(p.table.get('E')).toBeUndefined();
    p.run(100_000);
    expect(p.table.get('C')).toBeDefined();
  });

  test('the threshold runs anew under a new leader', () => {
    const p = withConsumer({ name: 'E' });
    p.run(4000);
    p.failover();
    p.run(4000);
    expect(p.table.get('E')).toBeDefined();
    p.run(1500);
    expect(p.table.get('E')).toBeUndefined();
  });
});
