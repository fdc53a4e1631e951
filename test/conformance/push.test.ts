// Push consumers: delivery while there is interest, queue delivery, heartbeats, flow control.

import { beforeAll, expect, test } from 'vitest';
import {
  ackInfo,
  eventually,
  type Frame,
  generations,
  type Json,
  listen,
  ok,
  open,
  pause,
  put,
  putMany,
  refusal,
  type Session,
  stream,
  texts,
  unique,
} from './harness.ts';

let s: Session;
let other: Session;

beforeAll(async () => {
  s = await open(generations[1]);
  other = await open(generations[1], 1);
});

const SECOND = 1_000_000_000;

async function push(name: string, config: object): Promise<string> {
  const id = unique('C');
  const full = { name: id, durable_name: id, ack_policy: 'explicit', ...config };
  await ok(s, `CONSUMER.CREATE.${name}.${id}`, { stream_name: name, config: full });
  return id;
}

const messages = (frames: Frame[]) => frames.filter((frame) => frame.status === 0);

test('delivers while somebody listens, resumes when interest returns', async () => {
  const name = await stream(s);
  await putMany(s, `${name}.a`, 3, '');
  const inbox = unique('deliver');
  const id = await push(name, { deliver_subject: inbox, ack_policy: 'none' });
  const info = () => ok(s, `CONSUMER.INFO.${name}.${id}`);
  expect(await info()).not.toHaveProperty('push_bound', true);
  const first = listen(other, inbox);
  await eventually(async () => texts(first.frames).length === 3);
  expect(texts(first.frames)).toEqual(['1', '2', '3']);
  await eventually(async () => (await info())['push_bound'] === true);
  first.stop();
  await other.nc.flush();
  await eventually(async () => (await info())['push_bound'] !== true);
  await put(s, `${name}.a`, '4');
  const second = listen(s, inbox);
  await eventually(async () => texts(second.frames).length === 1);
  expect(texts(second.frames)).toEqual(['4']);
});

test('redelivers what is not acknowledged', async () => {
  const name = await stream(s);
  await put(s, `${name}.a`, 'x');
  const inbox = unique('deliver');
  const seen = listen(other, inbox);
  await push(name, { deliver_subject: inbox, ack_wait: SECOND / 2 });
  await eventually(async () => seen.frames.length >= 2);
  expect(seen.frames.slice(0, 2).map((frame) => ackInfo(frame).delivered)).toEqual([1, 2]);
  await s.nc.request(seen.frames[1].reply, '', { timeout: 20_000 });
});

test('a deliver group gets each message once', async () => {
  const name = await stream(s);
  const inbox = unique('deliver');
  const members = [listen(s, inbox, 'g'), listen(other, inbox, 'g'), listen(s, inbox, 'g')];
  await s.nc.flush();
  await other.nc.flush();
  await push(name, { deliver_subject: inbox, deliver_group: 'g', ack_policy: 'none' });
  await putMany(s, `${name}.a`, 30, '');
  const all = () => members.flatMap((member) => texts(member.frames)).map(Number);
  await eventually(async () => all().length >= 30);
  await pause(100);
  expect(all().sort((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1));
});

test('idle heartbeats', async () => {
  const name = await stream(s);
  await put(s, `${name}.a`, 'x');
  const inbox = unique('deliver');
  const seen = listen(other, inbox);
  await push(name, { deliver_subject: inbox, ack_policy: 'none', idle_heartbeat: SECOND / 4 });
  await eventually(async () => seen.frames.filter((frame) => frame.status === 100).length >= 2);
  const beat = seen.frames.filter((frame) => frame.status === 100).at(-1);
  expect(beat).toMatchObject({
    line: '100 Idle Heartbeat',
    headers: { 'Nats-Last-Consumer': '1', 'Nats-Last-Stream': '1' },
  });
});

test('flow control asks and goes on', async () => {
  const name = await stream(s);
  const inbox = unique('deliver');
  const seen = listen(other, inbox, undefined, (message) => {
    if (message.headers?.code === 100 && message.reply) message.respond();
  });
  await other.nc.flush();
  await push(name, { deliver_subject: inbox, ack_policy: 'none', idle_heartbeat: SECOND, flow_control: true });
  const chunk = 'x'.repeat(100_000);
  for (let i = 0; i < 80; i += 10) await putMany(s, `${name}.a`, 10, chunk);
  await eventually(async () => messages(seen.frames).length === 80, 20_000);
  const asked = seen.frames.filter((frame) => frame.line === '100 FlowControl Request');
  expect(asked.length).toBeGreaterThan(0);
  expect(asked[0].reply).toMatch(/^\$JS\.FC\./);
  expect(messages(seen.frames).map((frame) => ackInfo(frame).consumerSeq)).toEqual(
    Array.from({ length: 80 }, (_, i) => i + 1),
  );
});

test('an ephemeral goes when its interest goes', async () => {
  const name = await stream(s);
  const inbox = unique('deliver');
  const seen = listen(other, inbox);
  await other.nc.flush();
  const config = { deliver_subject: inbox, ack_policy: 'none', inactive_threshold: SECOND / 2 };
  await ok(s, `CONSUMER.CREATE.${name}`, { stream_name: name, config });
  await pause(1_500);
  expect(await ok(s, `CONSUMER.NAMES.${name}`)).toMatchObject({ total: 1 });
  seen.stop();
  await eventually(async () => (await ok(s, `CONSUMER.NAMES.${name}`))['total'] === 0);
});

test('a bound durable keeps its deliver subject', async () => {
  const name = await stream(s);
  const inbox = unique('deliver');
  const seen = listen(other, inbox);
  await other.nc.flush();
  const id = await push(name, { deliver_subject: inbox });
  await eventually(async () => ((await ok(s, `CONSUMER.INFO.${name}.${id}`)) as Json)['push_bound'] === true);
  const change = {
    stream_name: name,
    config: { durable_name: id, ack_policy: 'explicit', deliver_subject: unique('d') },
  };
  expect(await refusal(s, `CONSUMER.DURABLE.CREATE.${name}.${id}`, change)).toEqual([
    400,
    10013,
    'consumer name already in use',
  ]);
  seen.stop();
});
