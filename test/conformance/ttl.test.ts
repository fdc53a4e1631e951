// Per-message time to live and delete markers.

import { beforeAll, expect, test } from 'vitest';
import {
  eventually,
  generations,
  type Json,
  ok,
  open,
  pause,
  put,
  refusal,
  type Session,
  stream,
  unique,
} from './harness.ts';

let s: Session;

beforeAll(async () => {
  s = await open(generations[1], 1);
});

const SECOND = 1_000_000_000;

const state = async (name: string): Promise<Json> => (await ok(s, `STREAM.INFO.${name}`))['state'] as Json;

const hdrsOf = (message: Json): string => Buffer.from((message['hdrs'] as string) ?? '', 'base64').toString();

test('configuration', async () => {
  const name = unique();
  const marked = await ok(s, `STREAM.CREATE.${name}`, { name, subject_delete_marker_ttl: 60 * SECOND });
  expect(marked['config']).toMatchObject({
    allow_msg_ttl: true,
    allow_rollup_hdrs: true,
    subject_delete_marker_ttl: 60 * SECOND,
    metadata: { '_nats.req.level': '1' },
  });
  const other = unique();
  expect(await refusal(s, `STREAM.CREATE.${other}`, { name: other, subject_delete_marker_ttl: 1000 })).toEqual([
    500,
    10052,
    'subject delete marker TTL must be at least 1 second',
  ]);
  await ok(s, `STREAM.CREATE.${other}`, { name: other, allow_msg_ttl: true });
  expect(await refusal(s, `STREAM.UPDATE.${other}`, { name: other, allow_msg_ttl: false })).toEqual([
    500,
    10052,
    'message TTL status can not be disabled',
  ]);
});

test('a message lives as long as it says', async () => {
  const name = await stream(s, { allow_msg_ttl: true });
  await put(s, `${name}.a`, 'short', { 'Nats-TTL': '3s' });
  await put(s, `${name}.b`, 'long', { 'Nats-TTL': '60' });
  await put(s, `${name}.c`, 'plain');
  expect(await state(name)).toMatchObject({ messages: 3 });
  await eventually(async () => (await state(name))['messages'] === 2);
  expect(await state(name)).toMatchObject({ first_seq: 2, last_seq: 3 });
});

test('never outlives the stream’s age', async () => {
  const name = await stream(s, { allow_msg_ttl: true, max_age: SECOND });
  await put(s, `${name}.a`, 'stays', { 'Nats-TTL': 'never' });
  await put(s, `${name}.b`, 'goes');
  await eventually(async () => (await state(name))['messages'] === 1);
  await pause(500);
  expect(await state(name)).toMatchObject({ messages: 1, first_seq: 1 });
});

test('refusals', async () => {
  const without = await stream(s);
  expect((await put(s, `${without}.a`, '', { 'Nats-TTL': '1s' })).error).toEqual({
    code: 400,
    err_code: 10166,
    description: 'per-message TTL is disabled',
  });
  const name = await stream(s, { allow_msg_ttl: true });
  for (const value of ['often', '10ms', '-1']) {
    expect((await put(s, `${name}.a`, '', { 'Nats-TTL': value })).error).toEqual({
      code: 400,
      err_code: 10165,
      description: 'invalid per-message TTL',
    });
  }
});

test('a marker takes the place of a subject’s last message', async () => {
  const name = await stream(s, { max_age: SECOND, subject_delete_marker_ttl: 60 * SECOND });
  await put(s, `${name}.a`, 'goes');
  const marker = await eventually(async () => {
    const answer = await ok(s, `STREAM.MSG.GET.${name}`, { last_by_subj: `${name}.a` }).catch(() => undefined);
    const message = answer?.['message'] as Json | undefined;
    return message && message['seq'] === 2 ? message : undefined;
  });
  expect(marker).not.toHaveProperty('data');
  const lines = hdrsOf(marker)
    .split('\r\n')
    .filter((line) => line !== '');
  expect(lines.sort()).toEqual(['NATS/1.0', 'Nats-Marker-Reason: MaxAge', 'Nats-Rollup: sub', 'Nats-TTL: 1m0s']);
});
