// The consumer API: shapes, defaults, the order of checks and exact errors, idempotence, paging, deletion.

import { beforeAll, describe, expect, test } from 'vitest';
import { api, generations, type Json, ok, open, putMany, refusal, type Session, stream, unique } from './harness.ts';

let s: Session;
let others: Session[];
let shared: string;

beforeAll(async () => {
  s = await open(generations[1]);
  others = [await open(generations[1], 1), await open(generations[1], 2)];
  shared = await stream(s);
  await putMany(s, `${shared}.a`, 5);
});

const T = 'io.nats.jetstream.api.v1.';

const create = (name: string, consumer: string, config: object, more: object = {}, tail = '') =>
  [
    `CONSUMER.CREATE.${name}.${consumer}${tail}`,
    { stream_name: name, config: { name: consumer, ...config }, ...more },
  ] as const;

describe('create', () => {
  test('defaults of an explicit pull consumer, and the shape of the answer', async () => {
    const answer = await ok(s, ...create(shared, 'shape', { durable_name: 'shape', ack_policy: 'explicit' }));
    const { created, ts, cluster, config, ...rest } = answer;
    expect(rest).toEqual({
      type: `${T}consumer_create_response`,
      stream_name: shared,
      name: 'shape',
      delivered: { consumer_seq: 0, stream_seq: 0 },
      ack_floor: { consumer_seq: 0, stream_seq: 0 },
      num_ack_pending: 0,
      num_redelivered: 0,
      num_waiting: 0,
      num_pending: 5,
    });
    const { metadata, ...fields } = config as Json;
    expect(fields).toEqual({
      durable_name: 'shape',
      name: 'shape',
      deliver_policy: 'all',
      ack_policy: 'explicit',
      ack_wait: 30_000_000_000,
      max_deliver: -1,
      replay_policy: 'instant',
      max_waiting: 512,
      max_ack_pending: 1000,
      num_replicas: 0,
    });
    expect(Object.keys(metadata as Json).sort()).toEqual(['_nats.level', '_nats.req.level', '_nats.ver']);
    for (const time of [created, ts]) expect(time).toMatch(/Z$/);
    expect((cluster as Json)['leader']).toMatch(/^node[123]$/);
    const info = await ok(others[0], `CONSUMER.INFO.${shared}.shape`);
    expect(info).toMatchObject({ type: `${T}consumer_info_response`, created, num_pending: 5 });
  });

  test('the ack policy is none when absent', async () => {
    const name = unique('C');
    const answer = await ok(s, ...create(shared, name, { durable_name: name }));
    const { metadata, ...fields } = answer['config'] as Json;
    expect(metadata).toBeDefined();
    expect(fields).toEqual({
      durable_name: name,
      name,
      deliver_policy: 'all',
      ack_policy: 'none',
      max_deliver: -1,
      replay_policy: 'instant',
      max_waiting: 512,
      num_replicas: 0,
    });
  });

  test('legacy ephemeral gets a name', async () => {
    const answer = await ok(s, `CONSUMER.CREATE.${shared}`, {
      stream_name: shared,
      config: { ack_policy: 'explicit' },
    });
    expect(answer['name']).toMatch(/^[A-Za-z0-9]{8}$/);
    expect(answer['config']).toMatchObject({ inactive_threshold: 5_000_000_000 });
    await ok(s, `CONSUMER.DELETE.${shared}.${answer['name']}`);
  });

  test('legacy durable', async () => {
    const name = unique('C');
    const body = { stream_name: shared, config: { durable_name: name, ack_policy: 'explicit' } };
    const answer = await ok(others[0], `CONSUMER.DURABLE.CREATE.${shared}.${name}`, body);
    expect(answer['config']).toMatchObject({ durable_name: name, name });
  });

  test('filter in the subject', async () => {
    const name = unique('C');
    const answer = await ok(s, ...create(shared, name, { filter_subject: `${shared}.a` }, {}, `.${shared}.a`));
    expect(answer['config']).toMatchObject({ filter_subject: `${shared}.a` });
  });

  test('backoff sets ack_wait', async () => {
    const name = unique('C');
    const config = { durable_name: name, ack_policy: 'explicit', backoff: [1e9, 2e9], max_deliver: 5 };
    expect((await ok(s, ...create(shared, name, config)))['config']).toMatchObject({
      ack_wait: 1e9,
      backoff: [1e9, 2e9],
      max_deliver: 5,
    });
  });

  test('idempotent; action create and update', async () => {
    const name = unique('C');
    const config = { durable_name: name, ack_policy: 'explicit' };
    const first = await ok(s, ...create(shared, name, config, { action: 'create' }));
    for (const action of ['', 'create']) {
      const again = await ok(others[0], ...create(shared, name, config, { action }));
      expect(again['created']).toBe(first['created']);
    }
    const changed = { ...config, description: 'changed', max_ack_pending: 7 };
    expect(await refusal(s, ...create(shared, name, changed, { action: 'create' }))).toEqual([
      400,
      10148,
      'consumer already exists',
    ]);
    const updated = await ok(s, ...create(shared, name, changed, { action: 'update' }));
    expect(updated['config']).toMatchObject({ description: 'changed', max_ack_pending: 7 });
    expect(await refusal(s, ...create(shared, unique('C'), {}, { action: 'update' }))).toEqual([
      400,
      10149,
      'consumer does not exist',
    ]);
  });

  test('a durable that is asked for by its name alone does not become one that is removed when unused', async () => {
    const name = unique('C');
    await ok(s, ...create(shared, name, { durable_name: name, ack_policy: 'explicit' }));
    const again = await ok(others[0], ...create(shared, name, { ack_policy: 'explicit' }));
    expect((again['config'] as Json)['inactive_threshold']).toBeUndefined();
  });

  test.each<[string, object, string]>([
    ['deliver policy', { deliver_policy: 'new' }, 'deliver policy can not be updated'],
    ['ack policy', { ack_policy: 'all' }, 'ack policy can not be updated'],
    ['replay policy', { replay_policy: 'original' }, 'replay policy can not be updated'],
    ['max waiting', { max_waiting: 7 }, 'max waiting can not be updated'],
    ['push', { deliver_subject: 'x.y' }, 'can not update pull consumer to push based'],
  ])('update refuses %s', async (_, change, text) => {
    const name = unique('C');
    const config = { durable_name: name, ack_policy: 'explicit' };
    await ok(s, ...create(shared, name, config));
    expect(await refusal(s, ...create(shared, name, { ...config, ...change }))).toEqual([500, 10012, text]);
  });

  test.each<[string, object, [number, number, string]]>([
    [
      'both filters',
      { filter_subject: 'a', filter_subjects: ['b'] },
      [400, 10136, 'consumer cannot have both FilterSubject and FilterSubjects specified'],
    ],
    [
      'overlapping filters',
      { filter_subjects: ['a.*', 'a.b'] },
      [400, 10138, 'consumer subject filters cannot overlap'],
    ],
    ['empty filter', { filter_subjects: ['a', ''] }, [400, 10139, 'consumer filter in FilterSubjects cannot be empty']],
    [
      'start sequence missing',
      { deliver_policy: 'by_start_sequence' },
      [400, 10094, 'consumer delivery policy is deliver by start sequence, but optional start sequence is not set'],
    ],
    [
      'start time missing',
      { deliver_policy: 'by_start_time' },
      [400, 10094, 'consumer delivery policy is deliver by start time, but optional start time is not set'],
    ],
    [
      'start sequence with all',
      { opt_start_seq: 3 },
      [400, 10094, 'consumer delivery policy is deliver all, but optional start sequence is also set'],
    ],
    [
      'start time with new',
      { deliver_policy: 'new', opt_start_time: '2024-01-01T00:00:00Z' },
      [400, 10094, 'consumer delivery policy is deliver new, but optional start time is also set'],
    ],
    [
      'last per subject without filter',
      { deliver_policy: 'last_per_subject' },
      [400, 10094, 'consumer delivery policy is deliver last per subject, but optional filter subject is not set'],
    ],
    [
      'negative ack wait',
      { ack_policy: 'explicit', ack_wait: -1 },
      [400, 10183, 'consumer ack wait needs to be positive'],
    ],
    [
      'negative backoff',
      { ack_policy: 'explicit', backoff: [-1] },
      [400, 10184, 'consumer backoff needs to be positive'],
    ],
    [
      'backoff longer than max deliver',
      { ack_policy: 'explicit', backoff: [1e9, 1e9], max_deliver: 1 },
      [400, 10116, 'max deliver is required to be > length of backoff values'],
    ],
    ['too many replicas', { num_replicas: 5 }, [400, 10126, 'consumer config replica count exceeds parent stream']],
    ['rate limit on pull', { rate_limit_bps: 9 }, [400, 10086, 'consumer in pull mode can not have rate limit set']],
    [
      'heartbeat on pull',
      { idle_heartbeat: 1e9 },
      [400, 10088, 'consumer idle heartbeat requires a push based consumer'],
    ],
    [
      'flow control on pull',
      { flow_control: true },
      [400, 10089, 'consumer flow control requires a push based consumer'],
    ],
    [
      'bad sampling',
      { sample_freq: 'often' },
      [400, 10095, expect.stringContaining('failed to parse consumer sampling')],
    ],
    ['wildcard deliver subject', { deliver_subject: 'a.*' }, [400, 10079, 'consumer deliver subject has wildcards']],
    [
      'max waiting on push',
      { deliver_subject: 'a.b', max_waiting: 3 },
      [400, 10080, 'consumer in push mode can not set max waiting'],
    ],
    [
      'max ack pending without acks on push',
      { deliver_subject: 'a.b', max_ack_pending: 3 },
      [400, 10082, 'consumer requires ack policy for max ack pending'],
    ],
    [
      'small heartbeat',
      { deliver_subject: 'a.b', idle_heartbeat: 1e6 },
      [400, 10083, 'consumer idle heartbeat needs to be >= 100ms'],
    ],
    [
      'flow control without heartbeat',
      { deliver_subject: 'a.b', flow_control: true },
      [400, 10108, 'consumer with flow control also needs heartbeats'],
    ],
    ['small max expires', { max_expires: 1 }, [400, 10115, 'consumer max request expires needs to be >= 1ms']],
    [
      'long description',
      { description: 'd'.repeat(4097) },
      [400, 10107, 'consumer description is too long, maximum allowed is 4096'],
    ],
    [
      'different durable and name',
      { durable_name: 'other' },
      [400, 10017, 'consumer name in subject does not match durable name in request'],
    ],
  ])('refuses %s', async (_, config, error) => {
    expect(await refusal(s, ...create(shared, unique('C'), config))).toEqual(error);
  });

  test('the order of checks on names and subjects', async () => {
    const missing = unique();
    expect(await refusal(s, `CONSUMER.CREATE.${missing}.c`, { stream_name: shared, config: {} })).toEqual([
      400,
      10056,
      'stream name in subject does not match request',
    ]);
    expect(await refusal(s, ...create(missing, 'c', {}))).toEqual([404, 10059, 'stream not found']);
    expect(await refusal(s, `CONSUMER.DURABLE.CREATE.${shared}.d`, { stream_name: shared, config: {} })).toEqual([
      400,
      10018,
      'consumer expected to be durable but a durable name was not set',
    ]);
    expect(
      await refusal(s, `CONSUMER.DURABLE.CREATE.${shared}.d`, { stream_name: shared, config: { durable_name: 'e' } }),
    ).toEqual([400, 10017, 'consumer name in subject does not match durable name in request']);
    expect(
      await refusal(s, `CONSUMER.CREATE.${shared}`, { stream_name: shared, config: { durable_name: 'e' } }),
    ).toEqual([400, 10020, 'consumer expected to be ephemeral but a durable name was set in request']);
    expect(await refusal(s, ...create(shared, 'f', { filter_subjects: ['a', 'b'] }, {}, '.a'))).toEqual([
      400,
      10137,
      'consumer with multiple subject filters cannot use subject based API',
    ]);
    expect(await refusal(s, ...create(shared, 'f', { filter_subject: 'b' }, {}, '.a'))).toEqual([
      400,
      10131,
      'Consumer create request did not match filtered subject from create subject',
    ]);
    const slashed = await refusal(s, `CONSUMER.CREATE.${shared}.a/b`, { stream_name: shared, config: { name: 'a/b' } });
    expect(slashed).toEqual([400, 10127, 'Consumer name can not contain path separators']);
    expect(await refusal(s, ...create(shared, 'u', { bogus: true }))).toEqual([
      400,
      10025,
      'invalid JSON: json: unknown field "bogus"',
    ]);
    const invalid = await api(s, ...create(shared, 'u', { ack_policy: 'maybe' }));
    expect(invalid.error).toMatchObject({ code: 400, err_code: 10025 });
  });

  test('work-queue rules', async () => {
    const name = await stream(s, { retention: 'workqueue' });
    const explicit = { ack_policy: 'explicit' };
    expect(await refusal(s, ...create(name, 'n', { ack_policy: 'none' }))).toEqual([
      400,
      10084,
      'consumer in pull mode requires explicit ack policy on workqueue stream',
    ]);
    expect(await refusal(s, ...create(name, 'n', { ack_policy: 'all' }))).toEqual([
      400,
      10098,
      'workqueue stream requires explicit ack',
    ]);
    expect(await refusal(s, ...create(name, 'n', { ...explicit, deliver_policy: 'new' }))).toEqual([
      400,
      10101,
      'consumer must be deliver all on workqueue stream',
    ]);
    await ok(s, ...create(name, 'a', { ...explicit, durable_name: 'a', filter_subject: `${name}.a` }));
    expect(
      await refusal(s, ...create(name, 'b', { ...explicit, durable_name: 'b', filter_subject: `${name}.*` })),
    ).toEqual([400, 10100, 'filtered consumer not unique on workqueue stream']);
    expect(await refusal(s, ...create(name, 'c', { ...explicit, durable_name: 'c' }))).toEqual([
      400,
      10099,
      'multiple non-filtered consumers not allowed on workqueue stream',
    ]);
    await ok(s, ...create(name, 'd', { ...explicit, durable_name: 'd', filter_subject: `${name}.d` }));
  });

  test('stream limits on consumers', async () => {
    const name = await stream(s, {
      max_consumers: 1,
      consumer_limits: { inactive_threshold: 60e9, max_ack_pending: 50 },
    });
    const answer = await ok(s, ...create(name, 'a', { ack_policy: 'explicit', durable_name: 'a' }));
    expect(answer['config']).toMatchObject({ max_ack_pending: 50, inactive_threshold: 60e9 });
    expect(await refusal(s, ...create(name, 'b', { durable_name: 'b' }))).toEqual([
      400,
      10026,
      'maximum consumers limit reached',
    ]);
    const changed = { ack_policy: 'explicit', durable_name: 'a', inactive_threshold: 60e9 };
    expect(await refusal(s, ...create(name, 'a', { ...changed, max_ack_pending: 51 }))).toEqual([
      400,
      10121,
      'consumer max ack pending exceeds system limit of 50',
    ]);
  });
});

describe('the limit of consumers, asked for through all nodes at once', () => {
  const ORDERED = { ack_policy: 'none', mem_storage: true, num_replicas: 1, inactive_threshold: 60e9 };
  const kinds: [string, object, object][] = [
    ['replicated', {}, { ack_policy: 'explicit' }],
    ['in memory', {}, ORDERED],
    ['of four partitions', { metadata: { 'flotilla.partitions': '4' } }, { ack_policy: 'explicit' }],
    ['of four partitions, in memory', { metadata: { 'flotilla.partitions': '4' } }, ORDERED],
  ];

  test.each(kinds)('%s', async (_, config, consumer) => {
    const sessions = [s, ...others];
    const name = await stream(s, { max_consumers: 2, ...config });
    const answers = await Promise.all(
      Array.from({ length: 9 }, (_, i) =>
        api(sessions[i % 3], ...create(name, `c${i}`, { ...consumer, name: `c${i}` })),
      ),
    );
    const codes = answers.map((answer) => answer.error?.err_code ?? 'created');
    expect(codes.filter((code) => code === 'created')).toHaveLength(2);
    expect(new Set(codes)).toEqual(new Set(['created', 10026]));
    expect((await ok(s, `STREAM.INFO.${name}`))['state']).toMatchObject({ consumer_count: 2 });
    expect(((await ok(s, `CONSUMER.NAMES.${name}`))['consumers'] as string[]).length).toBe(2);
  });
});

describe('names, list, info, delete', () => {
  test('names and list', async () => {
    const name = await stream(s);
    expect(await ok(s, `CONSUMER.NAMES.${name}`)).toEqual({
      type: `${T}consumer_names_response`,
      total: 0,
      offset: 0,
      limit: 1024,
      consumers: [],
    });
    for (const each of ['b', 'a', 'c']) await ok(s, ...create(name, each, { durable_name: each }));
    expect(await ok(others[0], `CONSUMER.NAMES.${name}`)).toMatchObject({ total: 3, consumers: ['a', 'b', 'c'] });
    const list = await ok(others[1], `CONSUMER.LIST.${name}`);
    expect(list).toMatchObject({ type: `${T}consumer_list_response`, total: 3, offset: 0, limit: 256 });
    expect((list['consumers'] as Json[]).map((each) => each['name'])).toEqual(['a', 'b', 'c']);
    const info = await ok(s, `STREAM.INFO.${name}`);
    expect((info['state'] as Json)['consumer_count']).toBe(3);
  });

  test('an ack to a consumer or a stream that is not there meets nobody, at once', async () => {
    for (const subject of [`$JS.ACK.${shared}.gone.1.1.1.1.0`, `$JS.ACK.${unique()}.c.1.1.1.1.0`]) {
      await expect(s.nc.request(subject, '+ACK', { timeout: 10_000 })).rejects.toThrow(/no responders/i);
    }
  });

  test('delete', async () => {
    const name = unique('C');
    await ok(s, ...create(shared, name, { durable_name: name }));
    expect(await ok(others[1], `CONSUMER.DELETE.${shared}.${name}`)).toEqual({
      type: `${T}consumer_delete_response`,
      success: true,
    });
    for (const session of [s, ...others]) {
      expect(await refusal(session, `CONSUMER.INFO.${shared}.${name}`)).toEqual([404, 10014, 'consumer not found']);
    }
    expect(await refusal(s, `CONSUMER.DELETE.${shared}.${name}`)).toEqual([404, 10014, 'consumer not found']);
    expect(await refusal(s, `CONSUMER.INFO.${unique()}.${name}`)).toEqual([404, 10059, 'stream not found']);
  });
});
