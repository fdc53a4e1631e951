// Publishing into streams: acks, duplicates, expectations, roll-ups, through every node.

import { beforeAll, describe, expect, test } from 'vitest';
import { api, generations, headersOf, type Json, ok, open, put, type Session, stream, unique } from './harness.ts';

let s: Session;
let others: Session[];

beforeAll(async () => {
  s = await open(generations[1]);
  others = [await open(generations[1], 1), await open(generations[1], 2)];
});

const refused = (code: number, errCode: number, description: string, name: string) => ({
  error: { code, err_code: errCode, description },
  stream: name,
  seq: 0,
});

describe('acks', () => {
  test('through any node, in order', async () => {
    const name = await stream(s);
    const sessions = [s, ...others];
    for (let i = 1; i <= 9; i++)
      expect(await put(sessions[i % 3], `${name}.a`, `${i}`)).toEqual({ stream: name, seq: i });
  });

  test('pipelined from one connection keep their order', async () => {
    const name = await stream(s);
    const acks = await Promise.all(Array.from({ length: 500 }, (_, i) => put(others[0], `${name}.a`, `${i}`)));
    expect(acks.map((ack) => ack['seq'])).toEqual(Array.from({ length: 500 }, (_, i) => i + 1));
  });

  test('a subject without a stream has no responders', async () => {
    await expect(s.nc.request(unique('nothing'), 'x', { timeout: 2_000 })).rejects.toThrow(/no responders|503/i);
  });

  test('core subscribers see what is stored', async () => {
    const name = await stream(s);
    const seen: string[] = [];
    others[1].nc.subscribe(`${name}.>`, { callback: (_, message) => void seen.push(message.string()) });
    await others[1].nc.flush();
    await put(others[1], `${name}.a`, 'both');
    await others[1].nc.flush();
    expect(seen).toEqual(['both']);
  });
});

describe('duplicates', () => {
  test('the same id through every node is stored once', async () => {
    const name = await stream(s);
    expect(await put(s, `${name}.a`, '1', { 'Nats-Msg-Id': 'x' })).toEqual({ stream: name, seq: 1 });
    for (const session of [s, ...others]) {
      expect(await put(session, `${name}.b`, '2', { 'Nats-Msg-Id': 'x' })).toEqual({
        stream: name,
        seq: 1,
        duplicate: true,
      });
    }
    expect(await put(s, `${name}.a`, '3', { 'Nats-Msg-Id': 'y' })).toEqual({ stream: name, seq: 2 });
  });

  test('the window passes', async () => {
    const name = await stream(s, { duplicate_window: 200_000_000 });
    await put(s, `${name}.a`, '1', { 'Nats-Msg-Id': 'x' });
    await new Promise((go) => setTimeout(go, 600));
    expect(await put(s, `${name}.a`, '1', { 'Nats-Msg-Id': 'x' })).toEqual({ stream: name, seq: 2 });
  });
});

describe('expectations', () => {
  test('stream', async () => {
    const name = await stream(s);
    expect(await put(s, `${name}.a`, '', { 'Nats-Expected-Stream': name })).toEqual({ stream: name, seq: 1 });
    expect(await put(s, `${name}.a`, '', { 'Nats-Expected-Stream': 'other' })).toEqual(
      refused(400, 10060, 'expected stream does not match', name),
    );
  });

  test('last sequence', async () => {
    const name = await stream(s);
    await put(s, `${name}.a`);
    expect(await put(others[0], `${name}.a`, '', { 'Nats-Expected-Last-Sequence': '1' })).toEqual({
      stream: name,
      seq: 2,
    });
    expect(await put(others[1], `${name}.a`, '', { 'Nats-Expected-Last-Sequence': '1' })).toEqual(
      refused(400, 10071, 'wrong last sequence: 2', name),
    );
  });

  test('last sequence of the subject', async () => {
    const name = await stream(s);
    const key = 'Nats-Expected-Last-Subject-Sequence';
    expect(await put(s, `${name}.a`, '', { [key]: '0' })).toEqual({ stream: name, seq: 1 });
    expect(await put(s, `${name}.b`, '')).toEqual({ stream: name, seq: 2 });
    expect(await put(s, `${name}.a`, '', { [key]: '0' })).toEqual(refused(400, 10071, 'wrong last sequence: 1', name));
    expect(await put(others[0], `${name}.a`, '', { [key]: '1' })).toEqual({ stream: name, seq: 3 });
    const elsewhere = { [key]: '2', 'Nats-Expected-Last-Subject-Sequence-Subject': `${name}.b` };
    expect(await put(s, `${name}.a`, '', elsewhere)).toEqual({ stream: name, seq: 4 });
  });

  test('last sequence of a subject pattern; the pattern alone is no expectation', async () => {
    const name = await stream(s);
    for (const key of ['a.1', 'b.1', 'a.2', 'b.2']) await put(s, `${name}.${key}`);
    const key = 'Nats-Expected-Last-Subject-Sequence';
    const under = { [`${key}-Subject`]: `${name}.a.*` };
    expect(await put(s, `${name}.a.1`, '', { ...under, [key]: '4' })).toEqual(
      refused(400, 10071, 'wrong last sequence: 3', name),
    );
    expect(await put(others[0], `${name}.a.1`, '', { ...under, [key]: '3' })).toEqual({ stream: name, seq: 5 });
    expect(await put(s, `${name}.a.1`, '', under)).toEqual(
      refused(400, 10193, 'missing sequence for expected last sequence per subject', name),
    );
  });

  test('last message id', async () => {
    const name = await stream(s);
    await put(s, `${name}.a`, '', { 'Nats-Msg-Id': 'one' });
    expect(await put(s, `${name}.a`, '', { 'Nats-Expected-Last-Msg-Id': 'one', 'Nats-Msg-Id': 'two' })).toMatchObject({
      seq: 2,
    });
    expect(await put(s, `${name}.a`, '', { 'Nats-Expected-Last-Msg-Id': 'one' })).toEqual(
      refused(400, 10070, 'wrong last msg ID: two', name),
    );
  });

  test('racing compare-and-set through all nodes: exactly one wins each round', async () => {
    const name = await stream(s);
    let last = 0;
    for (let round = 0; round < 5; round++) {
      const acks = await Promise.all(
        [s, ...others].map((session, i) =>
          put(session, `${name}.k`, `${round}.${i}`, { 'Nats-Expected-Last-Subject-Sequence': String(last) }),
        ),
      );
      const won = acks.filter((ack) => !ack.error);
      expect(won).toHaveLength(1);
      for (const ack of acks) if (ack.error) expect([10071, 10164]).toContain(ack.error.err_code);
      last = won[0]['seq'] as number;
    }
  });
});

describe('roll-up', () => {
  test('of a subject and of everything', async () => {
    const name = await stream(s, { allow_rollup_hdrs: true });
    for (const key of ['a', 'a', 'b']) await put(s, `${name}.${key}`);
    expect(await put(s, `${name}.a`, 'sum', { 'Nats-Rollup': 'sub' })).toEqual({ stream: name, seq: 4 });
    const state = async () => (await ok(s, `STREAM.INFO.${name}`))['state'] as Json;
    expect(await state()).toMatchObject({ messages: 2, first_seq: 3, last_seq: 4 });
    await put(s, `${name}.a`, 'all', { 'Nats-Rollup': 'ALL' });
    expect(await state()).toMatchObject({ messages: 1, first_seq: 5 });
  });

  test('refusals', async () => {
    const denied = await stream(s);
    expect(await put(s, `${denied}.a`, '', { 'Nats-Rollup': 'sub' })).toEqual(
      refused(500, 10111, 'rollup not permitted', denied),
    );
    const allowed = await stream(s, { allow_rollup_hdrs: true });
    expect(await put(s, `${allowed}.a`, '', { 'Nats-Rollup': 'some' })).toEqual(
      refused(500, 10111, 'rollup value invalid: "some"', allowed),
    );
  });
});

describe('direct get', () => {
  async function direct(session: Session, name: string, tail: string, body: object | '') {
    const payload = body === '' ? '' : JSON.stringify(body);
    const message = await session.nc.request(`$JS.API.DIRECT.GET.${name}${tail}`, payload, { timeout: 20_000 });
    const hdrs = message.headers;
    return {
      code: hdrs?.code ?? 0,
      description: hdrs?.description ?? '',
      seq: hdrs?.get('Nats-Sequence') ?? '',
      stream: hdrs?.get('Nats-Stream') ?? '',
      subject: hdrs?.get('Nats-Subject') ?? '',
      time: hdrs?.get('Nats-Time-Stamp') ?? '',
      own: hdrs?.get('Own') ?? '',
      text: message.string(),
    };
  }

  test('by subject, by sequence, misses', async () => {
    const name = await stream(s, { allow_direct: true });
    await put(s, `${name}.a`, 'one', { Own: 'yes' });
    await put(s, `${name}.b`, 'two');
    for (const session of [s, ...others]) {
      expect(await direct(session, name, `.${name}.a`, '')).toEqual({
        code: 0,
        description: '',
        seq: '1',
        stream: name,
        subject: `${name}.a`,
        time: expect.stringMatching(/^\d{4}-.*Z$/),
        own: 'yes',
        text: 'one',
      });
      expect(await direct(session, name, '', { seq: 2 })).toMatchObject({ seq: '2', text: 'two' });
      expect(await direct(session, name, '', { last_by_subj: `${name}.b` })).toMatchObject({ seq: '2' });
      expect(await direct(session, name, '', { next_by_subj: `${name}.b`, seq: 1 })).toMatchObject({ seq: '2' });
      expect(await direct(session, name, `.${name}.zz`, '')).toMatchObject({
        code: 404,
        description: 'Message Not Found',
      });
      expect(await direct(session, name, '', { seq: 9 })).toMatchObject({ code: 404 });
      expect(await direct(session, name, '', '')).toMatchObject({ code: 408, description: 'Empty Request' });
    }
  });

  test('reads its own write through any node', async () => {
    const name = await stream(s, { allow_direct: true });
    const sessions = [s, ...others];
    for (let i = 1; i <= 15; i++) {
      await put(sessions[i % 3], `${name}.k`, `${i}`);
      expect(await api(sessions[(i + 1) % 3], `STREAM.MSG.GET.${name}`, { seq: i })).toHaveProperty('message');
    }
  });

  test('not without allow_direct', async () => {
    const name = await stream(s);
    await put(s, `${name}.a`);
    await expect(direct(s, name, `.${name}.a`, '')).rejects.toThrow(/no responders|503/i);
    await expect(direct(s, unique(), '', { seq: 1 })).rejects.toThrow(/no responders|503/i);
  });
});

test('headers beyond 64 KiB', async () => {
  const name = await stream(s);
  const ack = await put(s, `${name}.a`, 'x', { Big: 'v'.repeat(70_000) });
  expect(ack).toEqual(refused(400, 10097, 'header size exceeds maximum allowed of 64k', name));
});

test('without a reply subject it is stored all the same', async () => {
  const name = await stream(s);
  for (let i = 0; i < 20; i++) others[0].nc.publish(`${name}.a`, `${i}`);
  await others[0].nc.flush();
  expect(await put(others[0], `${name}.a`, 'last')).toEqual({ stream: name, seq: 21 });
});

test('headers are stored as sent', async () => {
  const name = await stream(s);
  await s.nc.request(`${name}.a`, 'x', {
    headers: headersOf(s, { 'camelCase-Key': 'v 1', UPPER: '2' }),
    timeout: 20_000,
  });
  const message = (await ok(s, `STREAM.MSG.GET.${name}`, { seq: 1 }))['message'] as Json;
  const text = Buffer.from(message['hdrs'] as string, 'base64').toString();
  expect(text).toBe('NATS/1.0\r\ncamelCase-Key: v 1\r\nUPPER: 2\r\n\r\n');
});

test('to be traced and stored nowhere: not stored', async () => {
  const name = await stream(s);
  const headers = headersOf(s, { 'Nats-Trace-Dest': unique('trace'), 'Nats-Trace-Only': 'true' });
  others[0].nc.publish(`${name}.a`, 'traced', { headers });
  await others[0].nc.flush();
  expect(await put(others[0], `${name}.a`, 'last')).toEqual({ stream: name, seq: 1 });
});
