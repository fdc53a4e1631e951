// One node alone: what differs from a cluster, and that nothing is lost over a kill.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { generations, ok, openAt, put, refusal, type Session, unique } from './harness.ts';
import { Target, targetKind } from './target.ts';

const target = new Target(targetKind());
let s: Session;

beforeAll(async () => {
  await target.start(1);
  s = await openAt(generations[0], target.urls[0]);
});

afterAll(async () => {
  await target.stop();
});

test('replicas need a cluster', async () => {
  const name = unique();
  expect(await refusal(s, `STREAM.CREATE.${name}`, { name, num_replicas: 3 })).toEqual([
    500,
    10074,
    'replicas > 1 not supported in non-clustered mode',
  ]);
  expect(await refusal(s, `STREAM.LEADER.STEPDOWN.${name}`)).toEqual([
    503,
    10010,
    'JetStream clustering support required',
  ]);
});

test('the cluster block names only this node, and only in info', async () => {
  const name = unique();
  expect(await ok(s, `STREAM.CREATE.${name}`, { name })).not.toHaveProperty('cluster');
  expect((await ok(s, `STREAM.INFO.${name}`))['cluster']).toEqual({ leader: 'node1' });
});

test('INFO has no cluster', () => {
  expect(s.nc.info?.cluster).toBeUndefined();
  expect(s.nc.info?.connect_urls ?? []).toEqual([]);
});

test('a killed node has everything that it acknowledged', async () => {
  const name = unique();
  await ok(s, `STREAM.CREATE.${name}`, { name, subjects: [`${name}.>`] });
  for (let i = 0; i < 50; i++) await put(s, `${name}.a`, `${i}`, { 'Nats-Msg-Id': `${i}` });
  const config = { durable_name: 'D', ack_policy: 'explicit' };
  await ok(s, `CONSUMER.DURABLE.CREATE.${name}.D`, { stream_name: name, config });
  await target.kill(0);
  await target.restart(0);
  s = await openAt(generations[0], target.urls[0]);
  expect((await ok(s, `STREAM.INFO.${name}`))['state']).toMatchObject({
    messages: 50,
    last_seq: 50,
    consumer_count: 1,
  });
  expect(await put(s, `${name}.a`, '49', { 'Nats-Msg-Id': '49' })).toEqual({ stream: name, seq: 50, duplicate: true });
  expect(await ok(s, `CONSUMER.INFO.${name}.D`)).toMatchObject({ num_pending: 50 });
});
