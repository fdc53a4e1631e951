// Pull requests, acks and redelivery, frame by frame, while the consumer's leader may be on another node than the client.

import { beforeAll, describe, expect, test } from 'vitest';
import { differs } from './differences.ts';
import {
  ackInfo,
  eventually,
  exchange,
  type Frame,
  generations,
  isCount,
  type Json,
  lines,
  listen,
  ok,
  open,
  pause,
  pull,
  put,
  putMany,
  type Session,
  startPull,
  stream,
  take,
  texts,
  unique,
} from './harness.ts';

let sessions: Session[];
let s: Session;

beforeAll(async () => {
  sessions = await Promise.all([0, 1, 2].map((node) => open(generations[1], node)));
  s = sessions[0];
});

const SECOND = 1_000_000_000;

async function consumer(name: string, config: object = {}): Promise<string> {
  const id = unique('C');
  const full = { name: id, durable_name: id, ack_policy: 'explicit', ...config };
  await ok(s, `CONSUMER.CREATE.${name}.${id}`, { stream_name: name, config: full });
  if (differs('consumer-interest-spreads')) await pause(100);
  return id;
}

const info = (name: string, id: string): Promise<Json> => ok(s, `CONSUMER.INFO.${name}.${id}`);

async function ack(frame: Frame, verb = '+ACK', session = s): Promise<void> {
  await session.nc.request(frame.reply, verb, { timeout: 20_000 });
}

async function filled(count: number, config: Record<string, unknown> = {}): Promise<string> {
  const name = await stream(s, config);
  await putMany(s, `${name}.a`, count, '');
  return name;
}

describe('deliver policies', () => {
  async function delivered(name: string, config: object): Promise<string[]> {
    const id = await consumer(name, config);
    return texts(await pull(s, name, id, { batch: 50, no_wait: true }));
  }

  test('all, last, new, by sequence, by time, last per subject', async () => {
    const name = await stream(s);
    for (const [key, text] of [
      ['a', '1'],
      ['b', '2'],
      ['a', '3'],
    ])
      await put(s, `${name}.${key}`, text);
    await pause(20);
    const middle = new Date().toISOString();
    await pause(20);
    for (const [key, text] of [
      ['c', '4'],
      ['a', '5'],
    ])
      await put(s, `${name}.${key}`, text);
    expect(await delivered(name, {})).toEqual(['1', '2', '3', '4', '5']);
    expect(await delivered(name, { deliver_policy: 'last' })).toEqual(['5']);
    expect(await delivered(name, { deliver_policy: 'last', filter_subject: `${name}.b` })).toEqual(['2']);
    expect(await delivered(name, { deliver_policy: 'by_start_sequence', opt_start_seq: 3 })).toEqual(['3', '4', '5']);
    expect(await delivered(name, { deliver_policy: 'by_start_time', opt_start_time: middle })).toEqual(['4', '5']);
    expect(await delivered(name, { deliver_policy: 'last_per_subject', filter_subject: `${name}.>` })).toEqual([
      '2',
      '4',
      '5',
    ]);
    expect(await delivered(name, { filter_subject: `${name}.a` })).toEqual(['1', '3', '5']);
    expect(await delivered(name, { filter_subjects: [`${name}.b`, `${name}.c`] })).toEqual(['2', '4']);
    expect(await delivered(name, { filter_subject: 'other' })).toEqual([]);
    const id = await consumer(name, { deliver_policy: 'new' });
    await put(s, `${name}.a`, '6');
    expect(texts(await pull(s, name, id, { batch: 5, no_wait: true }))).toEqual(['6']);
  });

  test('a message is what was stored, with the ack subject as reply', async () => {
    const name = await stream(s);
    await put(s, `${name}.a`, 'body', { K: 'v' });
    const id = await consumer(name);
    for (const session of sessions.slice(1)) {
      const [frame] = await take(session, name, id, 1);
      expect(frame).toMatchObject({ subject: `${name}.a`, text: 'body', headers: { K: 'v' } });
      expect(frame.reply).toMatch(new RegExp(`^\\$JS\\.ACK\\.${name}\\.${id}\\.\\d+\\.1\\.\\d+\\.\\d{19}\\.0$`));
      await ack(frame, '-NAK');
    }
  });

  test('replay as it was published: the gap between two messages is kept', async () => {
    const name = await stream(s);
    await put(s, `${name}.a`, '1');
    await pause(700);
    await put(s, `${name}.a`, '2');
    const id = await consumer(name, { replay_policy: 'original' });
    let firstMs = 0;
    const both = (frames: Frame[]): boolean => {
      if (frames.length === 1) firstMs ||= performance.now();
      return frames.length === 2;
    };
    expect(texts(await pull(s, name, id, { batch: 2, expires: 20 * SECOND }, 20_000, both))).toEqual(['1', '2']);
    expect(performance.now() - firstMs).toBeGreaterThan(500);
  });

  test('headers only', async () => {
    const name = await stream(s);
    await put(s, `${name}.a`, 'body', { K: 'v' });
    const id = await consumer(name, { headers_only: true });
    const [frame] = await take(s, name, id, 1);
    expect(frame).toMatchObject({ text: '', headers: { K: 'v', 'Nats-Msg-Size': '4' } });
  });

  test('pending counts', async () => {
    const name = await filled(10);
    const id = await consumer(name);
    const frames = await take(s, name, id, 4);
    expect(frames.map((frame) => ackInfo(frame).pending)).toEqual([9, 8, 7, 6]);
    expect(await info(name, id)).toMatchObject({
      num_pending: 6,
      num_ack_pending: 4,
      delivered: { consumer_seq: 4, stream_seq: 4 },
      ack_floor: { consumer_seq: 0, stream_seq: 0 },
    });
  });
});

describe('requests', () => {
  test('no_wait', async () => {
    const name = await filled(2);
    const id = await consumer(name);
    const frames = await pull(s, name, id, { batch: 5, no_wait: true });
    expect(texts(frames)).toEqual(['1', '2']);
    // Partly served: what is missing of the batch is reported as at a timeout.
    expect(frames.at(-1)).toMatchObject({ line: '408 Request Timeout', headers: { 'Nats-Pending-Messages': '3' } });
    expect(lines(await pull(s, name, id, { batch: 5, no_wait: true }))).toEqual(['404 No Messages']);
  });

  test('expires', async () => {
    const name = await filled(1);
    const id = await consumer(name);
    const started = performance.now();
    const frames = await pull(s, name, id, { batch: 3, expires: SECOND / 2 });
    expect(performance.now() - started).toBeGreaterThan(400);
    expect(texts(frames)).toEqual(['1']);
    expect(frames.at(-1)).toMatchObject({
      line: '408 Request Timeout',
      headers: { 'Nats-Pending-Messages': '2', 'Nats-Pending-Bytes': '0' },
    });
    expect((await info(name, id))['num_waiting']).toBe(0);
  });

  test('a waiting request gets what arrives, through every node', async () => {
    const name = await stream(s);
    const id = await consumer(name);
    for (const session of sessions) {
      const waiting = startPull(session, name, id, { batch: 2, expires: 5 * SECOND });
      await eventually(async () => (await info(name, id))['num_waiting'] === 1);
      await put(s, `${name}.a`, 'x');
      await put(s, `${name}.a`, 'y');
      const frames = await waiting.collect(isCount(2), 20_000);
      expect(texts(frames)).toEqual(['x', 'y']);
    }
  });

  test('an empty body and a number', async () => {
    const name = await filled(4);
    const id = await consumer(name);
    expect(texts(await pull(s, name, id, '', 20_000, isCount(1)))).toEqual(['1']);
    expect(texts(await pull(s, name, id, '2', 20_000, isCount(2)))).toEqual(['2', '3']);
  });

  test('no_wait with expires waits for the first message', async () => {
    const name = await stream(s);
    const id = await consumer(name);
    const waiting = startPull(s, name, id, { batch: 3, no_wait: true, expires: 4 * SECOND });
    await eventually(async () => (await info(name, id))['num_waiting'] === 1);
    await put(s, `${name}.a`, '1');
    const frames = await waiting.collect((all) => all.at(-1)?.status === 404 || all.at(-1)?.status === 408, 20_000);
    expect(texts(frames)).toEqual(['1']);
  });

  test('idle heartbeats', async () => {
    const name = await filled(1);
    const id = await consumer(name);
    const frames = await pull(s, name, id, { batch: 5, expires: 3 * SECOND, idle_heartbeat: SECOND / 4 });
    const beats = frames.filter((frame) => frame.status === 100);
    expect(beats.length).toBeGreaterThanOrEqual(2);
    expect(beats[0]).toMatchObject({
      line: '100 Idle Heartbeat',
      headers: { 'Nats-Last-Consumer': '1', 'Nats-Last-Stream': '1' },
    });
    expect(frames.at(-1)?.line).toBe('408 Request Timeout');
  });

  test('a heartbeat longer than half the expiry', async () => {
    const name = await stream(s);
    const id = await consumer(name);
    const frames = await pull(s, name, id, { batch: 1, expires: SECOND, idle_heartbeat: SECOND });
    expect(lines(frames)).toEqual(['400 Bad Request - heartbeat value too large']);
  });

  test('max_bytes', async () => {
    const name = await stream(s);
    await putMany(s, `${name}.a`, 5, 'x'.repeat(1000));
    const id = await consumer(name);
    const small = await pull(s, name, id, { batch: 5, max_bytes: 100, expires: SECOND });
    expect(small).toHaveLength(1);
    expect(small[0]).toMatchObject({
      line: '409 Message Size Exceeds MaxBytes',
      headers: { 'Nats-Pending-Messages': '5', 'Nats-Pending-Bytes': '100' },
    });
    // The status may overtake messages that wait for their replication.
    const both = (frames: Frame[]) => texts(frames).length >= 2 && lines(frames).length >= 1;
    const some = await pull(s, name, id, { batch: 5, max_bytes: 2500, expires: SECOND }, 3_000, both);
    expect(texts(some)).toHaveLength(2);
    expect(lines(some)).toEqual(['409 Message Size Exceeds MaxBytes']);
    const enough = await pull(s, name, id, { batch: 2, max_bytes: 100_000, expires: SECOND }, 3_000, both);
    expect(texts(enough)).toHaveLength(2);
    expect(lines(enough)).toEqual(['409 Batch Completed']);
  });

  test('limits of the consumer on requests', async () => {
    const name = await filled(1);
    const id = await consumer(name, { max_batch: 2, max_expires: 2 * SECOND, max_bytes: 1024 });
    expect(lines(await pull(s, name, id, { batch: 3, expires: SECOND }))).toEqual([
      '409 Exceeded MaxRequestBatch of 2',
    ]);
    expect(lines(await pull(s, name, id, { batch: 1, expires: 3 * SECOND }))).toEqual([
      '409 Exceeded MaxRequestExpires of 2s',
    ]);
    expect(lines(await pull(s, name, id, { batch: 1, max_bytes: 2048, expires: SECOND }))).toEqual([
      '409 Exceeded MaxRequestMaxBytes of 1024',
    ]);
  });

  test('too many waiting', async () => {
    const name = await stream(s);
    const id = await consumer(name, { max_waiting: 1 });
    const first = startPull(s, name, id, { batch: 1, expires: 20 * SECOND });
    await eventually(async () => (await info(name, id))['num_waiting'] === 1);
    expect(lines(await pull(s, name, id, { batch: 1, expires: SECOND }))).toEqual(['409 Exceeded MaxWaiting']);
    await put(s, `${name}.a`, 'x');
    expect(texts(await first.collect(isCount(1), 20_000))).toEqual(['x']);
  });

  test('served in turn, a message each', async () => {
    const name = await stream(s);
    const id = await consumer(name);
    const requests = sessions.map((session) => startPull(session, name, id, { batch: 10, expires: 10 * SECOND }));
    await eventually(async () => (await info(name, id))['num_waiting'] === 3);
    await putMany(s, `${name}.a`, 30, '');
    const all = await Promise.all(requests.map((request) => request.collect(isCount(10), 10_000)));
    expect(all.map((frames) => texts(frames).length)).toEqual([10, 10, 10]);
    const numbers = all.flatMap((frames) => texts(frames).map(Number)).sort((a, b) => a - b);
    expect(numbers).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
  });

  test('consumer deleted while waiting', async () => {
    const name = await stream(s);
    const id = await consumer(name);
    const waiting = startPull(sessions[1], name, id, { batch: 1, expires: 10 * SECOND });
    await eventually(async () => (await info(name, id))['num_waiting'] === 1);
    await ok(s, `CONSUMER.DELETE.${name}.${id}`);
    expect(lines(await waiting.collect(() => true, 5_000))).toEqual(['409 Consumer Deleted']);
  });

  test('stream deleted while waiting', async () => {
    const name = await stream(s);
    const id = await consumer(name);
    const waiting = startPull(sessions[1], name, id, { batch: 1, expires: 10 * SECOND });
    await eventually(async () => (await info(name, id))['num_waiting'] === 1);
    await ok(s, `STREAM.DELETE.${name}`);
    expect(lines(await waiting.collect(() => true, 5_000))).toEqual(['409 Consumer Deleted']);
  });

  test.each(['1', '4'])('stream of %s partitions deleted: its consumers are told of once each', async (partitions) => {
    const name = await stream(s, { num_replicas: 1, metadata: { 'flotilla.partitions': partitions } });
    const light = { durable_name: undefined, ack_policy: 'none', mem_storage: true };
    const ids = [await consumer(name), await consumer(name), await consumer(name, light)].sort();
    const told = listen(sessions[1], `$JS.EVENT.ADVISORY.CONSUMER.DELETED.${name}.*`);
    await sessions[1].nc.flush();
    if (differs('consumer-interest-spreads')) await pause(100);
    await ok(s, `STREAM.DELETE.${name}`);
    await eventually(async () => told.frames.length >= ids.length);
    await pause(200);
    const events = told.frames
      .map(({ text }) => JSON.parse(text) as Json)
      .map(({ consumer, action }) => [consumer, action]);
    expect(events.sort()).toEqual(ids.map((id) => [id, 'delete']));
    told.stop();
  });

  test('missing consumer or stream: no responders', async () => {
    const name = await stream(s);
    for (const session of sessions) {
      expect((await pull(session, name, 'nobody', ''))[0].status).toBe(503);
      expect((await pull(session, unique(), 'nobody', ''))[0].status).toBe(503);
    }
  });

  test('push consumers are not pulled', async () => {
    const name = await stream(s);
    const id = await consumer(name, { deliver_subject: unique('push') });
    expect(lines(await pull(s, name, id, ''))).toEqual(['409 Consumer is push based']);
  });
});

describe('acks', () => {
  test('double ack through every node moves the floor', async () => {
    const name = await filled(3);
    const id = await consumer(name);
    const frames = await take(s, name, id, 3);
    for (const [i, frame] of frames.entries()) await ack(frame, i === 0 ? '' : '+ACK', sessions[i]);
    expect(await info(name, id)).toMatchObject({
      num_ack_pending: 0,
      ack_floor: { consumer_seq: 3, stream_seq: 3 },
    });
  });

  test('out of order acks hold the floor', async () => {
    const name = await filled(3);
    const id = await consumer(name);
    const frames = await take(s, name, id, 3);
    await ack(frames[2]);
    await ack(frames[1]);
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 1, ack_floor: { consumer_seq: 0, stream_seq: 0 } });
    await ack(frames[0]);
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 0, ack_floor: { consumer_seq: 3, stream_seq: 3 } });
  });

  test('ack all', async () => {
    const name = await filled(3);
    const id = await consumer(name, { ack_policy: 'all' });
    const frames = await take(s, name, id, 3);
    await ack(frames[1]);
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 1, ack_floor: { consumer_seq: 2, stream_seq: 2 } });
  });

  test('ack none: delivered is acknowledged', async () => {
    const name = await filled(3);
    const id = await consumer(name, { ack_policy: 'none' });
    await take(s, name, id, 2);
    expect(await info(name, id)).toMatchObject({
      num_ack_pending: 0,
      num_pending: 1,
      delivered: { consumer_seq: 2, stream_seq: 2 },
      ack_floor: { consumer_seq: 2, stream_seq: 2 },
    });
  });

  test('ack none: whoever waits for the answer to an ack hears at once that nobody takes it', async () => {
    const name = await filled(1);
    const id = await consumer(name, { ack_policy: 'none' });
    const [frame] = await take(s, name, id, 1);
    for (const verb of ['+ACK', '-NAK', '+NXT'])
      await expect(s.nc.request(frame.reply, verb, { timeout: 10_000 })).rejects.toThrow(/no responders/i);
  });

  test('ack wait: redelivered with the next delivery count', async () => {
    const name = await filled(1);
    const id = await consumer(name, { ack_wait: SECOND / 2 });
    const [first] = await take(s, name, id, 1);
    expect(ackInfo(first)).toMatchObject({ delivered: 1, streamSeq: 1, consumerSeq: 1 });
    const [second] = await take(sessions[1], name, id, 1);
    expect(ackInfo(second)).toMatchObject({ delivered: 2, streamSeq: 1, consumerSeq: 2 });
    expect(await info(name, id)).toMatchObject({ num_redelivered: 1, num_ack_pending: 1 });
    await ack(second);
    expect(await info(name, id)).toMatchObject({ num_redelivered: 0, num_ack_pending: 0 });
  });

  test('backoff', async () => {
    const name = await filled(1);
    const id = await consumer(name, { backoff: [SECOND / 5, 3 * SECOND], max_deliver: 3 });
    const times: number[] = [];
    const waiting = startPull(s, name, id, { batch: 3, expires: 20 * SECOND });
    await waiting.collect((frames) => {
      while (times.length < frames.length) times.push(performance.now());
      return frames.length >= 3;
    }, 20_000);
    expect(times).toHaveLength(3);
    expect(times[1] - times[0]).toBeGreaterThan(150);
    expect(times[1] - times[0]).toBeLessThan(2_500);
    expect(times[2] - times[1]).toBeGreaterThan(2_500);
  });

  test('max deliver', async () => {
    const name = await filled(2);
    const id = await consumer(name, { ack_wait: SECOND / 5, max_deliver: 2 });
    const frames = await pull(s, name, id, { batch: 10, expires: 3 * SECOND }, 20_000);
    expect(texts(frames).sort()).toEqual(['1', '1', '2', '2']);
    expect(frames.at(-1)?.line).toBe('408 Request Timeout');
  });

  test('max ack pending stops and resumes delivery', async () => {
    const name = await filled(5);
    const id = await consumer(name, { max_ack_pending: 2 });
    const waiting = startPull(s, name, id, { batch: 5, expires: 10 * SECOND });
    await eventually(async () => waiting.frames.length >= 2);
    await waiting.collect(() => false, 300);
    expect(texts(waiting.frames)).toEqual(['1', '2']);
    for (const frame of [...waiting.frames]) await ack(frame);
    expect(texts(await take(s, name, id, 1))).toHaveLength(1);
  });

  test('nak redelivers at once, with a delay later', async () => {
    const name = await filled(1);
    const id = await consumer(name);
    const [first] = await take(s, name, id, 1);
    s.nc.publish(first.reply, '-NAK');
    const [second] = await take(s, name, id, 1);
    expect(ackInfo(second)).toMatchObject({ delivered: 2, streamSeq: 1 });
    const started = performance.now();
    s.nc.publish(second.reply, `-NAK {"delay": ${SECOND / 2}}`);
    const [third] = await take(s, name, id, 1);
    expect(performance.now() - started).toBeGreaterThan(400);
    expect(ackInfo(third)).toMatchObject({ delivered: 3, streamSeq: 1 });
  });

  test('work in progress extends the wait', async () => {
    const name = await filled(1);
    const id = await consumer(name, { ack_wait: 2 * SECOND });
    const [first] = await take(s, name, id, 1);
    for (let i = 0; i < 4; i++) {
      await pause(700);
      await ack(first, '+WPI');
    }
    expect(texts(await pull(s, name, id, { batch: 1, no_wait: true }))).toEqual([]);
    await ack(first);
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 0, num_redelivered: 0 });
  });

  test('term stops redelivery', async () => {
    const name = await filled(1);
    const id = await consumer(name, { ack_wait: SECOND / 5 });
    const [first] = await take(s, name, id, 1);
    await ack(first, '+TERM because');
    expect(texts(await pull(s, name, id, { batch: 1, expires: SECOND }))).toEqual([]);
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 0, ack_floor: { stream_seq: 1 } });
  });

  test('a word that no client may say is answered, and is no ack', async () => {
    const name = await filled(1);
    const id = await consumer(name);
    const [frame] = await take(s, name, id, 1);
    for (const [i, word] of ['hello', '+ack', '+ACK '].entries()) await ack(frame, word, sessions[i]);
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 1, ack_floor: { stream_seq: 0 } });
  });

  test('ack and next', async () => {
    const name = await filled(3);
    const id = await consumer(name);
    const [first] = await take(s, name, id, 1);
    // The next message comes to the ack's reply subject, as to a pull request's.
    const next = async (reply: string, verb: string) => (await exchange(s, reply, verb, isCount(1)))[0];
    const second = await next(first.reply, '+NXT');
    expect(second.text).toBe('2');
    const third = await next(second.reply, '+NXT {"batch":1}');
    expect(third.text).toBe('3');
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 1, ack_floor: { stream_seq: 2 } });
  });

  test('deleted messages leave the pending set', async () => {
    const name = await filled(3);
    const id = await consumer(name);
    await take(s, name, id, 3);
    await ok(s, `STREAM.PURGE.${name}`);
    await eventually(async () => (await info(name, id))['num_ack_pending'] === 0);
    expect(await info(name, id)).toMatchObject({ num_pending: 0 });
  });
});

describe('retention', () => {
  const messages = async (name: string) => ((await ok(s, `STREAM.INFO.${name}`))['state'] as Json)['messages'];

  test('work queue: an ack removes', async () => {
    const name = await filled(3, { retention: 'workqueue' });
    const id = await consumer(name);
    const frames = await take(s, name, id, 2);
    await ack(frames[1]);
    await ack(frames[0]);
    await eventually(async () => (await messages(name)) === 1);
    expect(texts(await pull(s, name, id, { batch: 5, no_wait: true }))).toEqual(['3']);
  });

  test('interest: removed when all who want it have acked, not kept when nobody does', async () => {
    const name = await stream(s, { retention: 'interest' });
    expect(await put(s, `${name}.a`, 'lost')).toEqual({ stream: name, seq: 1 });
    await eventually(async () => (await messages(name)) === 0);
    const a = await consumer(name);
    const b = await consumer(name, { filter_subject: `${name}.b` });
    await put(s, `${name}.a`, 'for a');
    await put(s, `${name}.b`, 'for both');
    const ofA = await take(s, name, a, 2);
    for (const frame of ofA) await ack(frame);
    await eventually(async () => (await messages(name)) === 1);
    const [ofB] = await take(s, name, b, 1);
    await ack(ofB);
    await eventually(async () => (await messages(name)) === 0);
  });
});

describe('inactivity', () => {
  test('an idle ephemeral goes away', async () => {
    const name = await stream(s);
    const config = { ack_policy: 'explicit', inactive_threshold: SECOND / 2 };
    const made = await ok(s, `CONSUMER.CREATE.${name}`, { stream_name: name, config });
    const gone = async () => (await ok(s, `CONSUMER.NAMES.${name}`))['total'] === 0;
    expect(made['name']).toBeTruthy();
    await eventually(gone);
  });
});
