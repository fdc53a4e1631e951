// A stream of four partitions is one stream to its clients. Everything here holds for an ordinary stream as well, so that the reference
// server is asked the same: what a client may rely on is order per subject, each message once, and numbers that fit together.

import { AckPolicy } from '@nats-io/jetstream';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  ackInfo,
  against,
  api,
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
  refusal,
  type Session,
  startPull,
  stream,
  take,
  texts,
  unique,
} from './harness.ts';

const SECOND = 1_000_000_000;
const KEYS = 12;
const PARTITIONED = { metadata: { 'flotilla.partitions': '4' } };

let sessions: Session[];
let s: Session;

beforeAll(async () => {
  sessions = await Promise.all([0, 1, 2].map((node) => open(generations[1], node)));
  s = sessions[0];
});

const info = (name: string, id: string): Promise<Json> => ok(s, `CONSUMER.INFO.${name}.${id}`);
const state = async (name: string, body?: object): Promise<Json> =>
  (await ok(s, `STREAM.INFO.${name}`, body))['state'] as Json;

/** `count` messages `<key>:<n>` over KEYS subjects, each subject counting by itself. */
async function filled(count: number, config: Record<string, unknown> = {}): Promise<string> {
  const name = await stream(s, { ...PARTITIONED, ...config });
  if (against === 'nats-server') await pause(100);
  await fill(name, 0, count);
  return name;
}

async function fill(name: string, from: number, to: number): Promise<void> {
  for (let i = from; i < to; i += KEYS) {
    const keys = Array.from({ length: Math.min(KEYS, to - i) }, (_, key) => key);
    await Promise.all(keys.map((key) => put(s, `${name}.${key}`, `${key}:${i / KEYS}`)));
  }
}

async function consumer(name: string, config: object = {}): Promise<string> {
  const id = unique('C');
  const full = { name: id, durable_name: id, ack_policy: 'explicit', ...config };
  await ok(s, `CONSUMER.CREATE.${name}.${id}`, { stream_name: name, config: full });
  if (against === 'nats-server') await pause(100);
  return id;
}

const confirmed = (frame: Frame, verb = '+ACK', session = s): Promise<unknown> =>
  session.nc.request(frame.reply, verb, { timeout: 20_000 });

const messages = (frames: Frame[]): Frame[] => frames.filter((frame) => frame.status === 0);

/** Each subject's messages in the order in which they were stored, from its first on, none twice. */
function expectOrder(all: string[], firstOf = 0): void {
  const next = new Map<string, number>();
  for (const text of all) {
    const [key, n] = text.split(':');
    expect(`${key}:${n}`).toBe(`${key}:${next.get(key) ?? firstOf}`);
    next.set(key, Number(n) + 1);
  }
}

describe('the stream', () => {
  test('its state adds up; messages by seq, last and next of a subject', async () => {
    const name = await filled(48, { allow_direct: true });
    const found = await state(name, { subjects_filter: '>', deleted_details: true });
    expect(found).toMatchObject({ messages: 48, num_subjects: KEYS });
    expect(Object.values(found['subjects'] as object)).toEqual(new Array(KEYS).fill(4));
    const ack = (await put(s, `${name}.3`, '3:4')) as unknown as { seq: number };
    expect((await state(name))['messages']).toBe(49);
    const get = async (body: object): Promise<Json> => (await ok(s, `STREAM.MSG.GET.${name}`, body))['message'] as Json;
    expect(await get({ seq: ack.seq })).toMatchObject({ subject: `${name}.3`, seq: ack.seq });
    expect(await get({ last_by_subj: `${name}.3` })).toMatchObject({ seq: ack.seq });
    const first = await get({ next_by_subj: `${name}.3` });
    expect(Buffer.from(first['data'] as string, 'base64').toString()).toBe('3:0');
    const second = await get({ next_by_subj: `${name}.3`, seq: Number(first['seq']) + 1 });
    expect(Buffer.from(second['data'] as string, 'base64').toString()).toBe('3:1');
    const direct = await s.jsm.direct.getMessage(name, { last_by_subj: `${name}.3` });
    expect(direct?.seq).toBe(ack.seq);
    const lowest = Number((await state(name))['first_seq']);
    expect(await get({ next_by_subj: `${name}.>` })).toMatchObject({ seq: lowest });
    expect(await ok(s, `STREAM.MSG.DELETE.${name}`, { seq: ack.seq })).toMatchObject({ success: true });
    expect(await refusal(s, `STREAM.MSG.GET.${name}`, { seq: ack.seq })).toEqual([404, 10037, 'no message found']);
    expect((await state(name))['messages']).toBe(48);
  });

  test('purge: of a subject, up to a seq, all but the newest, all', async () => {
    const name = await filled(48);
    expect(await ok(s, `STREAM.PURGE.${name}`, { filter: `${name}.5` })).toMatchObject({ purged: 4 });
    expect(await ok(s, `STREAM.PURGE.${name}`, { filter: `${name}.6`, keep: 1 })).toMatchObject({ purged: 3 });
    const before = await state(name);
    const middle = Math.floor((Number(before['first_seq']) + Number(before['last_seq'])) / 2);
    const { purged } = (await ok(s, `STREAM.PURGE.${name}`, { seq: middle })) as unknown as { purged: number };
    const after = await state(name);
    expect(Number(after['messages'])).toBe(41 - purged);
    expect(Number(after['first_seq'])).toBeGreaterThanOrEqual(middle);
    await ok(s, `STREAM.PURGE.${name}`, { keep: 5 });
    expect((await state(name))['messages']).toBe(5);
    await ok(s, `STREAM.PURGE.${name}`);
    expect((await state(name))['messages']).toBe(0);
    expect((await put(s, `${name}.0`, 'x'))['error']).toBeUndefined();
  });

  test('what a publish expects of its subject; message ids', async () => {
    const name = await stream(s, PARTITIONED);
    const first = (await put(s, `${name}.a`, '1', { 'Nats-Msg-Id': 'one' })) as unknown as { seq: number };
    expect(await put(s, `${name}.a`, '1', { 'Nats-Msg-Id': 'one' })).toMatchObject({ seq: first.seq, duplicate: true });
    const expected = { 'Nats-Expected-Last-Subject-Sequence': String(first.seq) };
    expect((await put(s, `${name}.a`, '2', expected))['error']).toBeUndefined();
    expect((await put(s, `${name}.a`, '3', expected))['error']).toMatchObject({ err_code: 10071 });
  });

  if (against === 'flotilla') {
    test('what only the whole stream could know is refused', async () => {
      const name = await stream(s, { ...PARTITIONED, allow_rollup_hdrs: true });
      for (const [header, value] of [
        ['Nats-Expected-Last-Sequence', '0'],
        ['Nats-Expected-Last-Msg-Id', 'x'],
        ['Nats-Rollup', 'all'],
      ]) {
        const answer = await put(s, `${name}.a`, 'x', { [header]: value });
        expect(answer.error?.description).toMatch(/not supported on a stream of several partitions/);
      }
      expect((await state(name))['messages']).toBe(0);
    });
  }
});

describe('consumers', () => {
  test('are created, updated, listed and deleted as one', async () => {
    const name = await filled(24);
    const id = await consumer(name, { max_ack_pending: 10 });
    expect(await info(name, id)).toMatchObject({ name: id, num_pending: 24, num_ack_pending: 0, num_waiting: 0 });
    const config = { durable_name: id, name: id, ack_policy: 'explicit', max_ack_pending: 7 };
    const updated = await ok(s, `CONSUMER.CREATE.${name}.${id}`, { stream_name: name, config, action: 'update' });
    expect((updated['config'] as Json)['max_ack_pending']).toBe(7);
    const other = await consumer(name, { filter_subject: `${name}.1` });
    expect((await info(name, other))['num_pending']).toBe(2);
    expect(((await ok(s, `CONSUMER.NAMES.${name}`))['consumers'] as string[]).sort()).toEqual([id, other].sort());
    const listed = (await ok(s, `CONSUMER.LIST.${name}`))['consumers'] as Json[];
    expect(listed.map((one) => one['num_pending']).sort()).toEqual([2, 24]);
    expect((await state(name))['consumer_count']).toBe(2);
    const elsewise = { stream_name: name, config: { ...config, max_ack_pending: 8 }, action: 'create' };
    expect((await api(s, `CONSUMER.CREATE.${name}.${id}`, elsewise)).error?.err_code).toBe(10148);
    expect(await ok(s, `CONSUMER.DELETE.${name}.${other}`)).toMatchObject({ success: true });
    expect(await refusal(s, `CONSUMER.INFO.${name}.${other}`)).toEqual([404, 10014, 'consumer not found']);
    expect((await state(name))['consumer_count']).toBe(1);
    const again = unique('C');
    await ok(s, `CONSUMER.CREATE.${name}.${again}`, {
      stream_name: name,
      config: { name: again, ack_policy: 'explicit', inactive_threshold: SECOND / 5 },
    });
    await eventually(async () => (await api(s, `CONSUMER.INFO.${name}.${again}`)).error?.err_code === 10014);
  });

  test('a name that was deleted begins anew', async () => {
    const name = await filled(24);
    const id = await consumer(name);
    const frames = await take(s, name, id, 24);
    await Promise.all(messages(frames).map((frame) => confirmed(frame)));
    expect(await info(name, id)).toMatchObject({ num_pending: 0, num_ack_pending: 0 });
    await ok(s, `CONSUMER.DELETE.${name}.${id}`);
    await ok(s, `CONSUMER.CREATE.${name}.${id}`, {
      stream_name: name,
      config: { name: id, durable_name: id, ack_policy: 'explicit' },
    });
    expect((await info(name, id))['num_pending']).toBe(24);
    expect(texts(await pull(s, name, id, { batch: 50, no_wait: true }))).toHaveLength(24);
  });

  test('deliver policies', async () => {
    const name = await filled(36);
    await pause(20);
    const middle = new Date().toISOString();
    await pause(20);
    await fill(name, 36, 48);
    const all = async (config: object): Promise<string[]> =>
      texts(await pull(s, name, await consumer(name, config), { batch: 100, no_wait: true }));
    const everything = await all({});
    expect(everything).toHaveLength(48);
    expectOrder(everything);
    const later = await all({ deliver_policy: 'by_start_time', opt_start_time: middle });
    expect(later).toHaveLength(12);
    expectOrder(later, 3);
    const lasts = await all({ deliver_policy: 'last_per_subject', filter_subject: `${name}.>` });
    expect(lasts).toHaveLength(KEYS);
    expectOrder(lasts, 3);
    expect(await all({ deliver_policy: 'last', filter_subject: `${name}.4` })).toEqual(['4:3']);
    expect(await all({ deliver_policy: 'last' })).toHaveLength(1);
    expectOrder(await all({ filter_subjects: [`${name}.1`, `${name}.2`] }));
    const { last_seq } = (await state(name)) as unknown as { last_seq: number };
    const fresh = await consumer(name, { deliver_policy: 'new' });
    const beyond = await consumer(name, { deliver_policy: 'by_start_sequence', opt_start_seq: last_seq + 1 });
    await fill(name, 48, 60);
    for (const id of [fresh, beyond]) {
      const got = texts(await pull(s, name, id, { batch: 100, expires: 20 * SECOND }, 20_000, isCount(12)));
      expect(got).toHaveLength(12);
      expectOrder(got, 4);
    }
  });

  test('every request ends as it should', async () => {
    const name = await stream(s, PARTITIONED);
    const id = await consumer(name);
    expect(lines(await pull(s, name, id, { batch: 5, no_wait: true }))).toEqual(['404 No Messages']);
    expect(lines(await pull(s, name, id, { batch: 5, expires: SECOND / 4 }))).toEqual(['408 Request Timeout']);
    await fill(name, 0, 3);
    const some = await pull(sessions[1], name, id, { batch: 5, no_wait: true });
    expect(texts(some)).toHaveLength(3);
    expect(lines(some)).toEqual(['408 Request Timeout']);
    const beats = await pull(
      s,
      name,
      id,
      { batch: 1, expires: 3 * SECOND, idle_heartbeat: SECOND / 5 },
      20_000,
      (frames) => frames.length > 1,
    );
    expect(lines(beats)[0]).toBe('100 Idle Heartbeat');
    const waiting = startPull(sessions[2], name, id, { batch: 2, expires: 20 * SECOND });
    await fill(name, 12, 14);
    expect(texts(await waiting.collect(isCount(2), 20_000))).toHaveLength(2);
    await put(s, `${name}.9`, 'x'.repeat(500));
    const small = await pull(s, name, id, { batch: 1, max_bytes: 100, expires: SECOND });
    expect(lines(small)).toEqual(['409 Message Size Exceeds MaxBytes']);
    expect(
      texts(await pull(s, name, id, { batch: 1, max_bytes: 4000, expires: 20 * SECOND }, 20_000, isCount(1))),
    ).toHaveLength(1);
    await ok(s, `CONSUMER.CREATE.${name}.M`, {
      stream_name: name,
      config: { name: 'M', durable_name: 'M', ack_policy: 'explicit', max_waiting: 1, deliver_policy: 'new' },
    });
    const first = startPull(s, name, 'M', { batch: 1, expires: 5 * SECOND });
    await pause(100);
    expect(lines(await pull(s, name, 'M', { batch: 1, expires: SECOND }))).toEqual(['409 Exceeded MaxWaiting']);
    await ok(s, `CONSUMER.DELETE.${name}.M`);
    expect(lines(await first.collect((frames) => frames.length > 0, 5_000))).toEqual(['409 Consumer Deleted']);
  });

  test('one at a time means one at a time, over all partitions', async () => {
    const name = await filled(24);
    const id = await consumer(name, { max_ack_pending: 1 });
    const seen: string[] = [];
    for (let i = 0; i < 24; i++) {
      const frames = await pull(sessions[i % 3], name, id, { batch: 10, expires: 20 * SECOND }, 20_000, isCount(1));
      expect(messages(frames)).toHaveLength(1);
      expect((await info(name, id))['num_ack_pending']).toBe(1);
      seen.push(messages(frames)[0].text);
      await confirmed(messages(frames)[0]);
    }
    expectOrder(seen);
    expect(seen).toHaveLength(24);
  });

  test('consumer seqs have no gaps, pending counts go down to nothing', async () => {
    const name = await filled(60);
    const id = await consumer(name);
    const frames = messages(await take(s, name, id, 60));
    expect(frames.map((frame) => ackInfo(frame).consumerSeq)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
    expect(frames.map((frame) => ackInfo(frame).pending)).toEqual(Array.from({ length: 60 }, (_, i) => 59 - i));
    expect(new Set(frames.map((frame) => ackInfo(frame).streamSeq)).size).toBe(60);
    expect(await info(name, id)).toMatchObject({ num_pending: 0, num_ack_pending: 60 });
  });

  test('acks: confirmed ones hold, others come again', async () => {
    const name = await filled(24);
    const id = await consumer(name, { ack_wait: SECOND / 2 });
    const frames = messages(await take(s, name, id, 24));
    const half = frames.slice(0, 12);
    await Promise.all(half.map((frame, i) => confirmed(frame, '+ACK', sessions[i % 3])));
    const again = messages(await pull(s, name, id, { batch: 24, expires: 20 * SECOND }, 20_000, isCount(12)));
    expect(again.map((frame) => frame.text).sort()).toEqual(
      frames
        .slice(12)
        .map((frame) => frame.text)
        .sort(),
    );
    expect(again.every((frame) => ackInfo(frame).delivered === 2)).toBe(true);
    await Promise.all(again.map((frame) => confirmed(frame)));
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 0, num_pending: 0 });
    await pause(700);
    expect(lines(await pull(s, name, id, { batch: 1, no_wait: true }))).toEqual(['404 No Messages']);
  });

  test('nak, progress, term, next, and the last of its deliveries', async () => {
    const name = await filled(3);
    const id = await consumer(name, { ack_wait: 2 * SECOND });
    const one = async (): Promise<Frame> => messages(await take(s, name, id, 1))[0];
    const first = await one();
    await confirmed(first, '-NAK');
    const second = await one();
    expect([second.text, ackInfo(second).delivered]).toEqual([first.text, 2]);
    for (let i = 0; i < 3; i++) {
      await pause(800);
      await confirmed(second, '+WPI');
    }
    await confirmed(second, 'a word that no client may say');
    const third = (await exchange(s, second.reply, '+NXT {"batch":1,"expires":3000000000}', isCount(1)))[0];
    expect(third.text).not.toBe(first.text);
    await confirmed(third, '+TERM');
    const fourth = await one();
    expect(new Set([first.text, third.text, fourth.text]).size).toBe(3);
    await confirmed(fourth);
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 0, num_pending: 0 });
    const twice = await consumer(name, { ack_wait: SECOND / 4, max_deliver: 2, backoff: [SECOND / 10, SECOND / 5] });
    const given = messages(await pull(s, name, twice, { batch: 20, expires: 3 * SECOND }, 20_000));
    expect(given.map((frame) => ackInfo(frame).delivered).sort()).toEqual([1, 1, 1, 2, 2, 2]);
  });

  test('without acks, and ack of all before: by the order of the stream', async () => {
    const name = await filled(36);
    const none = await consumer(name, { ack_policy: 'none' });
    const seqs = async (id: string): Promise<number[]> =>
      messages(await take(s, name, id, 36)).map((frame) => ackInfo(frame).streamSeq);
    const got = await seqs(none);
    expect(got).toEqual([...got].sort((a, b) => a - b));
    expect(await info(name, none)).toMatchObject({ num_pending: 0, num_ack_pending: 0 });
    const nobody = (await take(s, name, await consumer(name, { ack_policy: 'none' }), 1))[0].reply;
    await expect(s.nc.request(nobody, '+ACK', { timeout: 10_000 })).rejects.toThrow(/no responders/i);
    const id = await consumer(name, { ack_policy: 'all', ack_wait: 20 * SECOND });
    const frames = messages(await take(s, name, id, 36));
    await confirmed(frames[19], '+ACK', sessions[2]);
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 16 });
    await confirmed(frames[35]);
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 0 });
  });

  test('an ordered reader goes on behind its last message, whatever is stored meanwhile', async () => {
    const name = await filled(60);
    const seen: string[] = [];
    const seqs: number[] = [];
    const read = async (count: number): Promise<void> => {
      const id = unique('O');
      const config = {
        name: id,
        ack_policy: 'none',
        mem_storage: true,
        num_replicas: 1,
        deliver_policy: 'by_start_sequence',
        opt_start_seq: (seqs.at(-1) ?? 0) + 1,
      };
      const session = sessions[seen.length % 3];
      await ok(session, `CONSUMER.CREATE.${name}.${id}`, { stream_name: name, config });
      if (against === 'nats-server') await pause(100);
      const frames = await take(session, name, id, count);
      expect(messages(frames).map((frame) => ackInfo(frame).consumerSeq)).toEqual(
        Array.from({ length: count }, (_, i) => i + 1),
      );
      for (const frame of messages(frames)) {
        seen.push(frame.text);
        seqs.push(ackInfo(frame).streamSeq);
      }
      await ok(session, `CONSUMER.DELETE.${name}.${id}`);
    };
    await read(25);
    await put(s, `${name}.3`, '3:5');
    await read(20);
    for (let n = 6; n < 20; n++) await put(s, `${name}.3`, `3:${n}`);
    await read(30);
    expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
    expect(new Set(seqs).size).toBe(75);
    expectOrder(seen);
  });

  test('push consumers', async () => {
    const name = await filled(24);
    const seen = listen(s, `deliver.${name}`);
    await s.nc.flush();
    const id = unique('C');
    await ok(sessions[1], `CONSUMER.CREATE.${name}.${id}`, {
      stream_name: name,
      config: { name: id, durable_name: id, ack_policy: 'explicit', deliver_subject: `deliver.${name}` },
    });
    await eventually(async () => messages(seen.frames).length === 24);
    expectOrder(texts(seen.frames));
    await Promise.all(messages(seen.frames).map((frame) => confirmed(frame)));
    expect(await info(name, id)).toMatchObject({ num_ack_pending: 0, push_bound: true });
    seen.stop();
  });
});

describe('retention', () => {
  test('a work queue hands each message to one and forgets it', async () => {
    const name = await filled(24, { retention: 'workqueue' });
    const id = await consumer(name);
    const second = { stream_name: name, config: { name: 'X', durable_name: 'X', ack_policy: 'explicit' } };
    expect((await api(s, `CONSUMER.CREATE.${name}.X`, second)).error?.err_code).toBe(10099);
    const frames = messages(await take(s, name, id, 24));
    for (const frame of frames.slice(0, 20)) await confirmed(frame);
    await eventually(async () => (await state(name))['messages'] === 4);
    for (const frame of frames.slice(20)) await confirmed(frame);
    await eventually(async () => (await state(name))['messages'] === 0);
  });

  test('interest: removed when all who want it have it', async () => {
    const name = await stream(s, { ...PARTITIONED, retention: 'interest' });
    const a = await consumer(name);
    const b = await consumer(name, { filter_subject: `${name}.1` });
    await fill(name, 0, 24);
    expect((await state(name))['messages']).toBe(24);
    for (const frame of messages(await take(s, name, a, 24))) {
      await confirmed(frame);
    }
    await eventually(async () => (await state(name))['messages'] === 2);
    await ok(s, `CONSUMER.DELETE.${name}.${b}`);
    await eventually(async () => (await state(name))['messages'] === 0);
  });

  test('a bound per subject holds exactly', async () => {
    const name = await filled(60, { max_msgs_per_subject: 2 });
    expect((await state(name))['messages']).toBe(KEYS * 2);
  });
});

describe.each(generations)('the official client, $name', (generation) => {
  let c: Session;
  beforeAll(async () => {
    c = await open(generation, 2);
  });

  test('fetch, consume and double ack', async () => {
    const name = await filled(60);
    await c.jsm.consumers.add(name, { durable_name: 'D', ack_policy: AckPolicy.Explicit });
    const bound = await c.js.consumers.get(name, 'D');
    const seen: string[] = [];
    for await (const message of await bound.fetch({ max_messages: 10, expires: 5_000 })) {
      seen.push(message.string());
      expect(await message.ackAck()).toBe(true);
    }
    for await (const message of await bound.consume({ max_messages: 7 })) {
      seen.push(message.string());
      message.ack();
      if (seen.length === 60) break;
    }
    expectOrder(seen);
    await c.nc.flush();
    await eventually(async () => (await c.jsm.consumers.info(name, 'D')).num_ack_pending === 0);
  });

  test('ordered pull consumer', async () => {
    const name = await filled(120);
    const seen: string[] = [];
    const seqs: number[] = [];
    for await (const message of await (await c.orderedPull(name)).consume({ max_messages: 20 })) {
      seen.push(message.string());
      seqs.push(message.seq);
      if (seen.length === 120) await fill(name, 120, 132);
      if (seen.length === 132) break;
    }
    expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
    expectOrder(seen);
    const some = await (await c.orderedPull(name, `${name}.7`)).fetch({ max_messages: 11, expires: 5_000 });
    const of7: string[] = [];
    for await (const message of some) of7.push(message.string());
    expect(of7).toEqual(Array.from({ length: 11 }, (_, i) => `7:${i}`));
  });

  test('ordered push consumer', async () => {
    const name = await filled(60);
    const seen: string[] = [];
    const stop = await c.orderedPush(name, `${name}.>`, (text) => seen.push(text));
    await eventually(async () => seen.length === 60);
    await fill(name, 60, 72);
    await eventually(async () => seen.length === 72);
    stop();
    expectOrder(seen);
  });

  test('key-value store', async () => {
    const bucket = unique('KV');
    const config = { metadata: PARTITIONED.metadata, history: 5, replicas: 3 };
    const kv = await c.kv(bucket, config as object);
    const revisions = new Map<string, number>();
    for (let i = 0; i < 30; i++) revisions.set(`k${i % 10}`, await kv.put(`k${i % 10}`, `${i}`));
    expect((await kv.get('k3'))?.string()).toBe('23');
    expect((await kv.get('k3'))?.revision).toBe(revisions.get('k3'));
    await expect(kv.update('k3', 'x', 1)).rejects.toThrow();
    await kv.update('k3', 'new', revisions.get('k3')!);
    await expect(kv.create('k3', 'x')).rejects.toThrow();
    await kv.delete('k4');
    const keys: string[] = [];
    for await (const key of await kv.keys()) keys.push(key);
    expect(keys.sort()).toEqual(['k0', 'k1', 'k2', 'k3', 'k5', 'k6', 'k7', 'k8', 'k9']);
    const history: string[] = [];
    for await (const entry of await kv.history({ key: 'k3' })) history.push(entry.string());
    expect(history).toEqual(['3', '13', '23', 'new']);
    const watched: string[] = [];
    const watcher = await kv.watch({ key: 'k5' });
    const done = (async () => {
      for await (const entry of watcher) {
        watched.push(entry.string());
        if (entry.string() === 'last') break;
      }
    })();
    await kv.put('k6', 'other');
    await kv.put('k5', 'last');
    await done;
    expect(watched).toEqual(['25', 'last']);
    await kv.purge('k3');
    expect((await kv.get('k3'))?.operation).toBe('PURGE');
    await ok(s, `STREAM.DELETE.KV_${bucket}`);
  });
});
