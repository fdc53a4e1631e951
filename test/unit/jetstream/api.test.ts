// Who answers, when, and with what when leaders move: the API in front of fake partitions.
import { describe, expect, test } from 'vitest';
import { apiError } from '../../../src/stream/errors.ts';
import { createWorld, HERE, THERE } from './world.ts';

const T = 'io.nats.jetstream.api.v1.';

function withStream(config: object = {}) {
  const world = createWorld();
  expect(world.request('STREAM.CREATE.S', { name: 'S', subjects: ['s.>'], ...config }).error).toBeUndefined();
  return world;
}

describe('the table', () => {
  test('unknown operations and wrong numbers of tokens are bad requests', () => {
    const world = createWorld();
    for (const subject of ['NOPE', 'STREAM.NOPE.S', 'STREAM.INFO', 'STREAM.INFO.a.b', 'INFO.x', 'STREAM.NAMES.x']) {
      expect(world.request(subject)).toEqual({
        type: `${T}system_response`,
        error: { code: 400, err_code: 10003, description: 'bad request' },
      });
    }
  });

  test('without a reply subject the work is done and nothing is answered', () => {
    const world = createWorld();
    world.raw('STREAM.CREATE.S', { name: 'S' }, '');
    expect(world.records.has('S')).toBe(true);
    expect(world.sent).toEqual([]);
  });

  test('accounts without JetStream hear so', () => {
    const world = createWorld({ accountEnabled: () => false });
    expect(world.request('STREAM.NAMES')).toMatchObject({ error: { code: 503, err_code: 10039 } });
  });

  test('a level that this server does not have', () => {
    const world = createWorld();
    const hdr = 'NATS/1.0\r\nNats-Required-Api-Level: 99\r\n\r\n';
    expect(world.request('STREAM.NAMES', '', 1000, hdr)).toMatchObject({ error: { code: 412, err_code: 10185 } });
    world.raw('DIRECT.GET.S', { seq: 1 }, 'reply', hdr);
    expect(world.frames().at(-1)?.hdr).toBe('NATS/1.0 412 Required Api Level\r\n\r\n');
  });

  test('a required level: none is asked for by an empty one, and no level is enough for what is no whole number', () => {
    const world = createWorld();
    const errCode = (level: string): number | undefined =>
      world.request('STREAM.NAMES', '', 1000, `NATS/1.0\r\nNats-Required-Api-Level: ${level}\r\n\r\n`).error?.err_code;
    for (const level of ['', '0', '1', '+1', '-1']) expect([level, errCode(level)]).toEqual([level, undefined]);
    for (const level of ['abc', '1.0', '0x1', '1x']) expect([level, errCode(level)]).toEqual([level, 10185]);
  });

  test('what is not built yet is refused by name', () => {
    const world = withStream();
    const { error, type } = world.request('CONSUMER.PAUSE.S.C', {});
    expect([type, error?.err_code, error?.description]).toEqual([
      `${T}consumer_pause_response`,
      10052,
      'pausing consumers is not supported by this server yet',
    ]);
  });

  test('a domain has a prefix of its own', () => {
    const world = createWorld({ domain: 'D' });
    expect(world.request('INFO')).toMatchObject({ domain: 'D' });
  });

  test('requests and refusals are counted per account; gets are not', () => {
    const world = withStream({ allow_direct: true });
    world.request('STREAM.INFO.S');
    world.request('STREAM.INFO.MISSING');
    world.request('STREAM.MSG.GET.S', { seq: 1 });
    expect(world.api.counters('$G')).toEqual({ total: 3, errors: 2 });
    expect(world.request('INFO')['api']).toMatchObject({ total: 3, errors: 2 });
    expect(world.request('INFO')['api']).toMatchObject({ total: 4 });
  });
});

describe('leaders', () => {
  test('a partition led elsewhere is asked by one request', () => {
    const world = withStream();
    world.partition('S').store('s.a', 'body', 'NATS/1.0\r\nA: b\r\n\r\n');
    world.lead('S', THERE);
    world.requests.length = 0;
    expect(world.request('STREAM.INFO.S')).toMatchObject({ state: { messages: 1 }, cluster: { leader: 'there' } });
    expect(world.request('STREAM.MSG.GET.S', { seq: 1 })).toMatchObject({
      message: { subject: 's.a', data: 'Ym9keQ==', seq: 1, hdrs: btoa('NATS/1.0\r\nA: b\r\n\r\n') },
    });
    expect(world.requests).toEqual([`${THERE} js.op`, `${THERE} js.op`]);
  });

  test('a request waits for a leader, and goes on when one is heard of', () => {
    const world = withStream();
    world.lead('S', 0);
    world.raw('STREAM.INFO.S');
    world.scheduler.runFor(500);
    const before = world.sent.length;
    world.lead('S', THERE);
    world.scheduler.runFor(20);
    expect(world.sent.length).toBe(before + 1);
  });

  test('two seconds without a leader are 10008', () => {
    const world = withStream();
    world.lead('S', 0);
    const startMs = world.scheduler.nowMs;
    expect(world.request('STREAM.PURGE.S')).toMatchObject({ error: { code: 503, err_code: 10008 } });
    expect(world.scheduler.nowMs - startMs).toBeGreaterThanOrEqual(2_000);
    expect(world.scheduler.nowMs - startMs).toBeLessThan(2_500);
  });

  test('work that hangs is answered with 10008 before the client gives up; what it brings later is dropped', () => {
    const world = withStream();
    const hanging: (() => void)[] = [];
    world.partition('S').hanging = hanging;
    const startMs = world.scheduler.nowMs;
    expect(world.request('STREAM.INFO.S')).toMatchObject({ error: { code: 503, err_code: 10008 } });
    expect(world.scheduler.nowMs - startMs).toBeLessThan(3000);
    expect(world.api.inFlight).toBe(0);
    const before = world.sent.length;
    expect(hanging).toHaveLength(1);
    for (const answer of hanging) answer();
    world.scheduler.runFor(10_000);
    expect(world.sent.length).toBe(before);
  });

  test('a leader that says it is not one is asked again later', () => {
    const world = withStream();
    world.partition('S').leading = false;
    world.raw('STREAM.PURGE.S');
    world.scheduler.runFor(300);
    world.partition('S').leading = true;
    const before = world.sent.length;
    world.scheduler.runFor(300);
    expect(world.sent.length).toBe(before + 1);
    expect(world.partition('S').calls.filter((call) => call.startsWith('purge'))).toHaveLength(1);
  });

  test('a change whose outcome is unknown is not made twice', () => {
    const world = withStream();
    world.lead('S', THERE);
    world.link.failure = 'link-lost';
    expect(world.request('STREAM.PURGE.S').error?.err_code).toBe(10008);
    expect(world.requests.filter((request) => request === `${THERE} js.op`)).toHaveLength(1);
  });

  test('a read whose outcome is unknown is asked again', () => {
    const world = withStream();
    world.lead('S', THERE);
    world.link.failure = 'timeout';
    world.raw('STREAM.INFO.S');
    world.scheduler.runFor(50);
    world.link.failure = undefined;
    const before = world.sent.length;
    world.scheduler.runFor(500);
    expect(world.sent.length).toBe(before + 1);
    expect(JSON.parse(new TextDecoder().decode(world.sent.at(-1)?.message.payload)).error).toBeUndefined();
  });

  test('what never left is tried again', () => {
    const world = withStream();
    world.lead('S', THERE);
    world.link.failure = 'no-link';
    world.raw('STREAM.PURGE.S');
    world.scheduler.runFor(50);
    world.link.failure = undefined;
    world.scheduler.runFor(500);
    expect(world.partition('S').calls.filter((call) => call.startsWith('purge'))).toHaveLength(1);
  });

  test('a stream that is deleted meanwhile is not found', () => {
    const world = withStream();
    world.lead('S', 0);
    world.raw('STREAM.INFO.S');
    world.records.delete('S');
    const before = world.sent.length;
    world.scheduler.runFor(200);
    expect(JSON.parse(new TextDecoder().decode(world.sent[before].message.payload)).error.err_code).toBe(10059);
    world.scheduler.runFor(3_000);
    expect(world.sent.length).toBe(before + 1);
  });

  test('a stream that this node has not heard of yet is asked for', () => {
    const world = withStream();
    world.hide('S');
    expect(world.request('STREAM.INFO.S').error).toBeUndefined();
  });
});

describe('who leads', () => {
  const preferred = (name: string) => ({ placement: { preferred: name } });

  test('the cluster belongs to the system account, unless nobody has to say who he is', () => {
    const closed = createWorld();
    expect(closed.request('META.LEADER.STEPDOWN').error?.err_code).toBe(10003);
    expect(closed.request('SERVER.REMOVE', { peer: 'there' }).error?.err_code).toBe(10003);
    expect(closed.request('META.LEADER.STEPDOWN', preferred('there'), 1000, '', '$SYS')).toEqual({
      type: `${T}meta_leader_stepdown_response`,
      success: true,
    });
    expect(closed.wishes).toEqual([`meta ${THERE}`]);
    expect(closed.request('STREAM.NAMES', '', 1000, '', '$SYS').error?.err_code).toBe(10039);
    const open = createWorld({ openAdministration: () => true });
    expect(open.request('META.LEADER.STEPDOWN')).toMatchObject({ success: true });
    expect(open.request('SERVER.REMOVE', { peer: 'there' }).error).toEqual({
      code: 400,
      err_code: 10003,
      description: 'server is up: only one that is down can be removed',
    });
  });

  test('peers that are not there, or not elsewhere', () => {
    const world = withStream();
    expect(world.request('STREAM.PEER.REMOVE.S', { peer: 'nobody' }).error?.err_code).toBe(10040);
    expect(world.request('STREAM.PEER.REMOVE.S', { peer: 'there' }).error).toEqual({
      code: 503,
      err_code: 10075,
      description: 'peer remap failed',
    });
    expect(world.request('SERVER.REMOVE', { peer: 'nobody' }, 1000, '', '$SYS').error?.err_code).toBe(10044);
  });
});

describe('other nodes', () => {
  test('nonsense from a peer is not answered and breaks nothing', () => {
    const world = withStream();
    const bytes = (text: string) => new TextEncoder().encode(text);
    for (const text of ['', '{', 'null', '[]', '{"op":"toString"}', '{"op":"nothing","group":64,"args":[]}']) {
      expect(world.fromPeer('js.op', bytes(text))).toBeUndefined();
    }
    expect(world.fromPeer('js.op', bytes('{"op":"info","group":1,"args":[]}'))).toEqual(Uint8Array.of(2));
    expect(world.request('STREAM.INFO.S').error).toBeUndefined();
  });
});

describe('streams', () => {
  test('create twice, update, list, delete', () => {
    const world = withStream();
    const again = world.request('STREAM.CREATE.S', { name: 'S', subjects: ['s.>'] });
    expect([again.error, again['did_create']]).toEqual([undefined, undefined]);
    expect(world.request('STREAM.UPDATE.S', { name: 'S', subjects: ['s.>'], max_msgs: 3 })).toMatchObject({
      config: { max_msgs: 3 },
    });
    world.request('STREAM.CREATE.B', { name: 'B' });
    expect(world.request('STREAM.NAMES')).toMatchObject({ total: 2, streams: ['B', 'S'] });
    expect(world.request('STREAM.NAMES', { subject: 's.x' })).toMatchObject({ total: 1, streams: ['S'] });
    expect(world.request('STREAM.LIST', { offset: 1 })).toMatchObject({
      total: 2,
      offset: 1,
      streams: [{ config: { name: 'S' } }],
    });
    expect(world.request('STREAM.DELETE.S', ' ').error?.err_code).toBe(10038);
    expect(world.request('STREAM.DELETE.S', '{}')).toEqual({ type: `${T}stream_delete_response`, success: true });
    expect(world.request('STREAM.DELETE.S').error?.err_code).toBe(10059);
  });

  test('an update that could be of no stream says so, also when there is none', () => {
    const world = createWorld();
    expect(world.request('STREAM.UPDATE.S', { name: 'S', max_age: -1 }).error?.err_code).toBe(10052);
    expect(world.request('STREAM.UPDATE.S', { name: 'S' }).error?.err_code).toBe(10059);
  });

  test('an update that another one overtakes is decided anew', () => {
    const world = withStream();
    const body = { name: 'S', subjects: ['s.>'] };
    world.overtakeUpdates(1, { deny_delete: true });
    expect(world.request('STREAM.UPDATE.S', { ...body, max_msgs: 3 }).error?.description).toBe(
      'stream configuration update can not cancel deny message deletes',
    );
    world.overtakeUpdates(2, { description: 'another' });
    expect(world.request('STREAM.UPDATE.S', { ...body, deny_delete: true, max_msgs: 4 })).toMatchObject({
      config: { max_msgs: 4, deny_delete: true },
    });
    world.overtakeUpdates(1000, { description: 'another' });
    expect(world.request('STREAM.UPDATE.S', { ...body, deny_delete: true }).error?.err_code).toBe(10008);
  });

  test('the fields of an answer stand in the order of the reference', () => {
    const world = withStream();
    const answer = world.request('STREAM.INFO.S');
    expect(Object.keys(answer)).toEqual([
      'type',
      'total',
      'offset',
      'limit',
      'config',
      'created',
      'state',
      'cluster',
      'ts',
    ]);
    expect(Object.keys(answer['state'] as object)).toEqual([
      'messages',
      'bytes',
      'first_seq',
      'first_ts',
      'last_seq',
      'last_ts',
      'consumer_count',
    ]);
  });

  test('a listed stream without a leader is named as missing', () => {
    const world = withStream();
    world.lead('S', 0);
    expect(world.request('STREAM.LIST')).toMatchObject({ total: 1, streams: [], missing: ['S'] });
  });

  test('several partitions are one stream', () => {
    const world = withStream({ metadata: { 'flotilla.partitions': '2' } });
    world.partition('S', 0).store('s.a', 'x');
    world.partition('S', 1).store('s.b', 'yy');
    expect(world.request('STREAM.INFO.S', { subjects_filter: '>' })).toMatchObject({
      total: 2,
      state: { messages: 2, bytes: 3, num_subjects: 2, subjects: { 's.a': 1, 's.b': 1 } },
    });
    expect(world.request('STREAM.MSG.DELETE.S', { seq: 1 }).error).toBeUndefined();
    expect(world.partition('S', 1).calls).toContain('delete 1');
    expect(world.request('STREAM.PURGE.S')).toMatchObject({ purged: 1 });
    expect(
      world.request('STREAM.UPDATE.S', { name: 'S', metadata: { 'flotilla.partitions': '3' } }).error,
    ).toMatchObject({
      err_code: 10052,
      description: 'stream configuration update can not change the number of partitions',
    });
    expect(world.request('STREAM.UPDATE.S', { name: 'S', subjects: ['s.>'] })).toMatchObject({
      config: { metadata: { 'flotilla.partitions': '2' } },
    });
  });
});

describe('consumers', () => {
  const create = { stream_name: 'S', config: { ack_policy: 'explicit' } };

  test('an unnamed one gets a name', () => {
    const world = withStream();
    expect(world.request('CONSUMER.CREATE.S', create)['name']).toMatch(/^[A-Za-z0-9]{8}$/);
    expect(world.request('CONSUMER.CREATE.S', create)['name']).not.toBe(
      world.request('CONSUMER.CREATE.S', create)['name'],
    );
    expect(world.request('CONSUMER.NAMES.S')).toMatchObject({ total: 3 });
  });

  test('info, list, delete', () => {
    const world = withStream();
    world.request('CONSUMER.CREATE.S.b', create);
    world.request('CONSUMER.CREATE.S.a.s.x', { stream_name: 'S', config: { filter_subject: 's.x' } });
    expect(world.request('CONSUMER.LIST.S')).toMatchObject({ consumers: [{ name: 'a' }, { name: 'b' }] });
    expect(world.request('CONSUMER.INFO.S.a')).toMatchObject({ config: { filter_subject: 's.x' } });
    expect(world.request('CONSUMER.DELETE.S.a')).toMatchObject({ success: true });
    expect(world.request('CONSUMER.INFO.S.a').error?.err_code).toBe(10014);
  });

  test('refusals of the partition pass through', () => {
    const world = withStream();
    world.partition('S').refusal = apiError(10026);
    expect(world.request('CONSUMER.CREATE.S.b', create).error?.err_code).toBe(10026);
    world.lead('S', THERE);
    expect(world.request('CONSUMER.CREATE.S.b', create).error?.err_code).toBe(10026);
  });
});

describe('direct get', () => {
  const lastFrame = (world: ReturnType<typeof createWorld>, subject: string, body: unknown = '') => {
    world.raw(subject, body);
    world.scheduler.runFor(100);
    return world.frames().at(-1);
  };

  test('headers tell where the message is from', () => {
    const world = withStream({ allow_direct: true });
    world.partition('S').store('s.a', 'x', 'NATS/1.0\r\nK: v\r\n\r\n');
    world.partition('S').store('s.b', 'y');
    const origin =
      'Nats-Stream: S\r\nNats-Subject: s.a\r\nNats-Sequence: 1\r\nNats-Time-Stamp: 2023-11-14T22:13:20.000001Z\r\n\r\n';
    for (const leader of [HERE, THERE]) {
      world.lead('S', leader);
      expect(lastFrame(world, 'DIRECT.GET.S.s.a')).toEqual({
        inbox: 'reply',
        hdr: `NATS/1.0\r\nK: v\r\n${origin}`,
        text: 'x',
      });
      expect(lastFrame(world, 'DIRECT.GET.S', { seq: 1, no_hdr: true })).toMatchObject({ hdr: '', text: 'x' });
    }
    expect(lastFrame(world, 'DIRECT.GET.S', { seq: 2 })).toMatchObject({ text: 'y' });
  });

  test.each<[unknown, string]>([
    ['', '408 Empty Request'],
    ['{', '408 Malformed Request'],
    [{}, '408 Empty Request'],
    [{ seq: 1, last_by_subj: 'a' }, '408 Bad Request'],
    [{ seq: 9 }, '404 Message Not Found'],
  ])('%j', (body, line) => {
    const world = withStream({ allow_direct: true });
    expect(lastFrame(world, 'DIRECT.GET.S', body)?.hdr).toBe(`NATS/1.0 ${line}\r\n\r\n`);
  });

  test('nobody answers for other streams', () => {
    const world = withStream();
    for (const name of ['S', 'MISSING'])
      expect(lastFrame(world, `DIRECT.GET.${name}`, { seq: 1 })?.hdr).toBe('NATS/1.0 503\r\n\r\n');
  });
});
