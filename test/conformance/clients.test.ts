// JetStream as programs use it, through both generations of the client: managers, publish, consume, fetch, next, ordered
// consumers; each step on another node of the cluster where that can make a difference.

import { AckPolicy, type JsMsg } from '@nats-io/jetstream';
import { describe, expect, test } from 'vitest';
import { eventually, generations, headersOf, open, putMany, type Session, stream, unique } from './harness.ts';

const SECOND = 1_000_000_000;

async function all(generation: (typeof generations)[number]): Promise<Session[]> {
  return Promise.all([0, 1, 2].map((node) => open(generation, node)));
}

async function take(iterator: AsyncIterable<JsMsg>, count: number): Promise<JsMsg[]> {
  const messages: JsMsg[] = [];
  for await (const message of iterator) {
    messages.push(message);
    if (messages.length === count) break;
  }
  return messages;
}

describe.each(generations)('JetStream, $name', (generation) => {
  test('managing streams', async () => {
    const [a, b, c] = await all(generation);
    const name = unique();
    const made = await a.jsm.streams.add({ name, subjects: [`${name}.>`], num_replicas: 3 });
    expect(made.config).toMatchObject({ name, num_replicas: 3, subjects: [`${name}.>`] });
    expect((await b.jsm.streams.info(name)).created).toBe(made.created);
    await b.jsm.streams.update(name, { max_msgs: 5 });
    expect((await c.jsm.streams.info(name)).config.max_msgs).toBe(5);
    expect(await c.jsm.streams.find(`${name}.x`)).toBe(name);
    for (let i = 0; i < 7; i++) await b.js.publish(`${name}.x`, `${i}`);
    expect((await a.jsm.streams.getMessage(name, { last_by_subj: `${name}.x` }))?.string()).toBe('6');
    expect(await c.jsm.streams.deleteMessage(name, 7)).toBe(true);
    expect((await a.jsm.streams.info(name, { deleted_details: true })).state.messages).toBe(4);
    expect((await b.jsm.streams.purge(name, { keep: 1 })).purged).toBe(3);
    const names: string[] = [];
    for await (const each of a.jsm.streams.names(`${name}.>`)) names.push(each);
    expect(names).toEqual([name]);
    expect(await c.jsm.streams.delete(name)).toBe(true);
    await expect(a.jsm.streams.info(name)).rejects.toThrow('stream not found');
  });

  test('account information', async () => {
    const [a] = await all(generation);
    const info = await a.jsm.getAccountInfo();
    expect(info.limits.max_streams).toBe(-1);
    expect(typeof info.api.total).toBe('number');
  });

  test('managing consumers', async () => {
    const [a, b, c] = await all(generation);
    const name = await stream(a);
    const made = await b.jsm.consumers.add(name, { durable_name: 'D', ack_policy: AckPolicy.Explicit });
    expect(made.config).toMatchObject({ durable_name: 'D', ack_policy: 'explicit' });
    await c.jsm.consumers.update(name, 'D', { max_ack_pending: 5 });
    expect((await a.jsm.consumers.info(name, 'D')).config.max_ack_pending).toBe(5);
    const names: string[] = [];
    for await (const info of a.jsm.consumers.list(name)) names.push(info.name);
    expect(names).toEqual(['D']);
    expect(await a.jsm.consumers.delete(name, 'D')).toBe(true);
    await expect(b.jsm.consumers.info(name, 'D')).rejects.toThrow('consumer not found');
  });

  test('publish options', async () => {
    const [a, b] = await all(generation);
    const name = await stream(a);
    expect(await a.js.publish(`${name}.a`, 'x', { msgID: 'one' })).toMatchObject({ seq: 1, duplicate: false });
    expect(await b.js.publish(`${name}.a`, 'x', { msgID: 'one' })).toMatchObject({ seq: 1, duplicate: true });
    const expectation = { expect: { lastSequence: 1, streamName: name, lastMsgID: 'one' } };
    expect(await b.js.publish(`${name}.a`, 'y', expectation)).toMatchObject({ seq: 2 });
    await expect(b.js.publish(`${name}.a`, 'z', { expect: { lastSequence: 1 } })).rejects.toThrow(
      'wrong last sequence: 2',
    );
    await expect(a.js.publish(unique('nowhere'), 'x', { timeout: 1_000 })).rejects.toThrow(
      /no responders|503|not enabled/i,
    );
  });

  test('fetch, next and consume, from any node', async () => {
    const [a, b, c] = await all(generation);
    const name = await stream(a);
    await putMany(a, `${name}.x`, 50, '');
    await a.jsm.consumers.add(name, { durable_name: 'D', ack_policy: AckPolicy.Explicit });
    const onB = await b.js.consumers.get(name, 'D');
    const fetched = await take(await onB.fetch({ max_messages: 10, expires: 5_000 }), 10);
    for (const message of fetched) expect(await message.ackAck()).toBe(true);
    const next = await onB.next({ expires: 5_000 });
    expect(next?.string()).toBe('11');
    next?.ack();
    const onC = await c.js.consumers.get(name, 'D');
    const messages = await onC.consume({ max_messages: 7 });
    const seen = new Set<number>();
    for await (const message of messages) {
      seen.add(message.seq);
      message.ack();
      if (seen.size === 39) break;
    }
    expect(Math.min(...seen)).toBe(12);
    expect(Math.max(...seen)).toBe(50);
    await c.nc.flush();
    await eventually(async () => {
      const info = await a.jsm.consumers.info(name, 'D');
      return info.num_pending === 0 && info.num_ack_pending === 0;
    });
    expect(await (await b.js.consumers.get(name, 'D')).next({ expires: 1_000 })).toBeNull();
  });

  test('consume goes on while messages are published elsewhere', async () => {
    const [a, b] = await all(generation);
    const name = await stream(a);
    await a.jsm.consumers.add(name, { durable_name: 'D', ack_policy: AckPolicy.Explicit });
    const texts: string[] = [];
    const consumer = await b.js.consumers.get(name, 'D');
    const messages = await consumer.consume({
      max_messages: 20,
      callback: (message) => {
        texts.push(message.string());
        message.ack();
      },
    });
    for (let i = 0; i < 200; i++) await a.js.publish(`${name}.x`, `${i}`);
    await eventually(async () => texts.length >= 200);
    messages.stop();
    expect(texts).toEqual(Array.from({ length: 200 }, (_, i) => `${i}`));
  });

  test('nak, term, working', async () => {
    const [a, b] = await all(generation);
    const name = await stream(a);
    await putMany(a, `${name}.x`, 2, '');
    await a.jsm.consumers.add(name, { durable_name: 'D', ack_policy: AckPolicy.Explicit, ack_wait: SECOND });
    const consumer = await b.js.consumers.get(name, 'D');
    const first = await consumer.next({ expires: 5_000 });
    first?.nak();
    const again = await consumer.next({ expires: 5_000 });
    expect([again?.string(), again?.redelivered, again?.info.deliveryCount]).toEqual(['1', true, 2]);
    again?.working();
    again?.term('done with it');
    const second = await consumer.next({ expires: 5_000 });
    expect(second?.string()).toBe('2');
    await second?.ackAck();
    expect(await a.jsm.consumers.info(name, 'D')).toMatchObject({ num_ack_pending: 0, num_pending: 0 });
  });

  test('headers of messages', async () => {
    const [a, b] = await all(generation);
    const name = await stream(a);
    await a.js.publish(`${name}.x`, 'body', { headers: headersOf(a, { 'My-Key': 'v' }) });
    const consumer = await b.orderedPull(name);
    const message = await consumer.next({ expires: 5_000 });
    expect(message?.headers?.get('My-Key')).toBe('v');
  });

  test('ordered pull consumer', async () => {
    const [a, b] = await all(generation);
    const name = await stream(a);
    for (let i = 1; i <= 60; i++) await a.js.publish(`${name}.${i % 2 ? 'odd' : 'even'}`, `${i}`);
    const everything = await take(await (await b.orderedPull(name)).consume({ max_messages: 11 }), 60);
    expect(everything.map((message) => message.string())).toEqual(Array.from({ length: 60 }, (_, i) => `${i + 1}`));
    const odd = await take(await (await b.orderedPull(name, `${name}.odd`)).fetch({ max_messages: 30 }), 30);
    expect(odd.map((message) => message.string())).toEqual(Array.from({ length: 30 }, (_, i) => `${2 * i + 1}`));
  });

  test('ordered pull consumer survives the loss of its server side', async () => {
    const [a, b] = await all(generation);
    const name = await stream(a);
    await putMany(a, `${name}.x`, 10, '');
    const consumer = await b.orderedPull(name);
    const texts: string[] = [];
    const messages = await consumer.consume({
      expires: 2_000,
      callback: (message) => void texts.push(message.string()),
    });
    await eventually(async () => texts.length === 10);
    for await (const info of a.jsm.consumers.list(name)) await a.jsm.consumers.delete(name, info.name);
    for (let i = 11; i <= 20; i++) await a.js.publish(`${name}.x`, `${i}`);
    await eventually(async () => texts.length === 20, 20_000);
    messages.stop();
    expect(texts).toEqual(Array.from({ length: 20 }, (_, i) => `${i + 1}`));
  });

  test('ordered push consumer', async () => {
    const [a, b] = await all(generation);
    const name = await stream(a);
    for (let i = 1; i <= 20; i++) await a.js.publish(`${name}.x`, `${i}`);
    const texts: string[] = [];
    const stop = await b.orderedPush(name, `${name}.x`, (text) => texts.push(text));
    await eventually(async () => texts.length === 20);
    for (let i = 21; i <= 40; i++) await a.js.publish(`${name}.x`, `${i}`);
    await eventually(async () => texts.length === 40);
    stop();
    expect(texts).toEqual(Array.from({ length: 40 }, (_, i) => `${i + 1}`));
  });
});
