// The stream API: shapes, defaults, exact errors, purge, get, delete, limits. Raw requests, so that every byte counts;
// the client generations' own stream managers are in clients.test.ts.

import { beforeAll, describe, expect, test } from 'vitest';
import { USUAL_STREAM } from '../unit/plain-stream.ts';
import { differs } from './differences.ts';
import {
  api,
  eventually,
  generations,
  headersOf,
  type Json,
  ok,
  open,
  put,
  putMany,
  refusal,
  type Session,
  stream,
  unique,
} from './harness.ts';

let s: Session;
let others: Session[];

beforeAll(async () => {
  s = await open(generations[1]);
  others = [await open(generations[1], 1), await open(generations[1], 2)];
});

const state = async (name: string, more?: object): Promise<Json> =>
  (await ok(s, `STREAM.INFO.${name}`, more))['state'] as Json;

const T = 'io.nats.jetstream.api.v1.';

describe('create', () => {
  test('defaults, and the shape of the answer', async () => {
    const name = unique();
    const answer = await ok(s, `STREAM.CREATE.${name}`, { name });
    const { created, ts, cluster, config, ...rest } = answer;
    expect(rest).toEqual({
      type: `${T}stream_create_response`,
      did_create: true,
      state: {
        messages: 0,
        bytes: 0,
        first_seq: 0,
        first_ts: '0001-01-01T00:00:00Z',
        last_seq: 0,
        last_ts: '0001-01-01T00:00:00Z',
        consumer_count: 0,
      },
    });
    for (const time of [created, ts]) expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/);
    const { metadata, ...fields } = config as Json;
    expect(fields).toEqual({
      name,
      subjects: [name],
      ...USUAL_STREAM,
      duplicate_window: 120_000_000_000,
      allow_msg_ttl: false,
    });
    expect(Object.keys(metadata as Json).sort()).toEqual(['_nats.level', '_nats.req.level', '_nats.ver']);
    expect(cluster).toMatchObject({ name: 'conformance', leader: expect.stringMatching(/^node[123]$/) });
  });

  test('three replicas: the cluster block names leader and replicas', async () => {
    const name = await stream(s);
    const cluster = await eventually(async () => {
      const block = (await ok(s, `STREAM.INFO.${name}`))['cluster'] as Json;
      return (block['replicas'] as Json[])?.every((peer) => peer['current']) ? block : undefined;
    });
    const replicas = cluster['replicas'] as Json[];
    expect([cluster['leader'], ...replicas.map((peer) => peer['name'])].sort()).toEqual(['node1', 'node2', 'node3']);
    for (const peer of replicas) expect(peer).toMatchObject({ current: true, active: expect.any(Number) });
  });

  test('info shape', async () => {
    const name = await stream(s);
    const answer = await ok(s, `STREAM.INFO.${name}`);
    expect(answer).toMatchObject({ type: `${T}stream_info_response`, total: 0, offset: 0, limit: 0 });
    expect(answer).not.toHaveProperty('did_create');
  });

  test('a window shorter than two minutes follows max_age', async () => {
    const name = unique();
    const answer = await ok(s, `STREAM.CREATE.${name}`, { name, max_age: 10_000_000_000 });
    expect((answer['config'] as Json)['duplicate_window']).toBe(10_000_000_000);
  });

  test('the same configuration again succeeds, through any node; another one does not', async () => {
    const config = { name: unique(), subjects: ['again'], max_msgs: 10 };
    config.subjects = [`${config.name}.a`, `${config.name}.b`];
    const first = await ok(s, `STREAM.CREATE.${config.name}`, config);
    for (const other of [s, ...others]) {
      const answer = await ok(other, `STREAM.CREATE.${config.name}`, { ...config, max_bytes: -1, retention: 'limits' });
      expect(answer['created']).toBe(first['created']);
    }
    expect(await refusal(others[0], `STREAM.CREATE.${config.name}`, { ...config, max_msgs: 11 })).toEqual([
      400,
      10058,
      'stream name already in use with a different configuration',
    ]);
  });

  test('racing equal creates all succeed', async () => {
    const name = unique();
    const body = { name, subjects: [`${name}.>`], num_replicas: 3 };
    await Promise.all([s, ...others].flatMap((each) => [0, 1].map(() => ok(each, `STREAM.CREATE.${name}`, body))));
  });

  test.each<[string, object, [number, number, string]]>([
    ['name with a dot', { name: 'a.b' }, [400, 10056, 'stream name in subject does not match request']],
    ['negative replicas', { num_replicas: -1 }, [400, 10133, 'replicas count cannot be negative']],
    ['six replicas', { num_replicas: 6 }, [500, 10052, 'maximum replicas is 5']],
    ['invalid subject', { subjects: ['a..b'] }, [500, 10052, 'invalid subject']],
    ['duplicate subjects', { subjects: ['a1.x', 'a1.x'] }, [500, 10052, 'subject "a1.x" overlaps with "a1.x"']],
    ['overlapping subjects', { subjects: ['a1.*', 'a1.x'] }, [500, 10052, 'subject "a1.*" overlaps with "a1.x"']],
    ['negative max age', { max_age: -1 }, [500, 10052, 'max age can not be negative']],
    ['small max age', { max_age: 1000 }, [500, 10052, 'max age needs to be >= 100ms']],
    [
      'window beyond age',
      { max_age: 1_000_000_000, duplicate_window: 2_000_000_000 },
      [500, 10052, 'duplicates window can not be larger then max age'],
    ],
    ['negative window', { duplicate_window: -1 }, [500, 10052, 'duplicates window can not be negative']],
    ['small window', { duplicate_window: 1000 }, [500, 10052, 'duplicates window needs to be >= 100ms']],
    [
      'per subject without discard new',
      { discard_new_per_subject: true },
      [500, 10052, 'discard new per subject requires discard new policy to be set'],
    ],
    [
      'per subject without limit',
      { discard_new_per_subject: true, discard: 'new' },
      [500, 10052, 'discard new per subject requires max msgs per subject > 0'],
    ],
    ['sealed', { sealed: true }, [500, 10052, 'stream configuration for create can not be sealed']],
    [
      'roll-up without purge',
      { allow_rollup_hdrs: true, deny_purge: true },
      [500, 10052, 'roll-ups require the purge permission'],
    ],
    ['all subjects', { subjects: ['>'] }, [500, 10052, 'capturing all subjects requires no-ack to be true']],
    [
      'API subjects',
      { subjects: ['$JS.API.>'] },
      [500, 10052, 'subjects that overlap with jetstream api require no-ack to be true'],
    ],
    ['mirror direct', { mirror_direct: true }, [500, 10052, 'stream has no mirror but does have mirror direct']],
  ])('refuses %s', async (_, config, error) => {
    const name = unique();
    expect(await refusal(s, `STREAM.CREATE.${name}`, { name, subjects: [name], ...config })).toEqual(error);
  });

  test('refuses bad names and unknown keys', async () => {
    const long = 'n'.repeat(256);
    expect(await refusal(s, `STREAM.CREATE.${long}`, { name: long })).toEqual([
      500,
      10052,
      'stream name is too long, maximum allowed is 255',
    ]);
    expect(await refusal(s, 'STREAM.CREATE.sl/ash', { name: 'sl/ash' })).toEqual([
      400,
      10128,
      'Stream name can not contain path separators',
    ]);
    const name = unique();
    expect(await refusal(s, `STREAM.CREATE.${name}`, { name, bogus: 1 })).toEqual([
      400,
      10025,
      'invalid JSON: json: unknown field "bogus"',
    ]);
    expect(await refusal(s, `STREAM.CREATE.${name}`, '{"name":')).toEqual([400, 10025, 'invalid JSON: unexpected EOF']);
    const answer = await api(s, `STREAM.CREATE.${name}`, { name, max_msgs: 'many' });
    expect(answer['type']).toBe(`${T}stream_create_response`);
    expect(answer.error).toMatchObject({ code: 400, err_code: 10025 });
    expect(answer.error?.description).toMatch(/^invalid JSON: json: cannot unmarshal string into Go .* of type int64$/);
  });

  test('keys are matched without case', async () => {
    const name = unique();
    const answer = await ok(s, `STREAM.CREATE.${name}`, { Name: name, MAX_MSGS: 7 });
    expect((answer['config'] as Json)['max_msgs']).toBe(7);
  });

  test('refuses subjects of another stream', async () => {
    const name = await stream(s);
    const other = unique();
    expect(await refusal(s, `STREAM.CREATE.${other}`, { name: other, subjects: [`${name}.x`] })).toEqual([
      400,
      10065,
      'subjects overlap with an existing stream',
    ]);
  });

  test.skipIf(differs('unknown-operation'))('an unknown operation is a bad request', async () => {
    const answer = await api(s, 'STREAM.FROBNICATE', {});
    expect(answer).toMatchObject({ error: { code: 400, err_code: 10003, description: 'bad request' } });
  });
});

describe('update', () => {
  test('changes limits and subjects, keeps created', async () => {
    const name = await stream(s, { description: 'before' });
    const before = await ok(s, `STREAM.INFO.${name}`);
    const answer = await ok(others[1], `STREAM.UPDATE.${name}`, {
      name,
      subjects: [`${name}.>`, `${name}x`],
      num_replicas: 3,
      max_msgs: 5,
      description: 'after',
    });
    expect(answer).toMatchObject({ type: `${T}stream_update_response`, created: before['created'] });
    expect(answer['config']).toMatchObject({ max_msgs: 5, description: 'after', subjects: [`${name}.>`, `${name}x`] });
    expect(await put(s, `${name}x`, 'now')).toEqual({ stream: name, seq: 1 });
  });

  test('a lower limit removes at once', async () => {
    const name = await stream(s);
    await putMany(s, `${name}.a`, 10);
    await ok(s, `STREAM.UPDATE.${name}`, { name, subjects: [`${name}.>`], num_replicas: 3, max_msgs: 3 });
    expect(await eventually(async () => ((await state(name))['messages'] === 3 ? 3 : undefined))).toBe(3);
  });

  test.each<[string, object, string]>([
    ['storage', { storage: 'memory' }, 'stream configuration update can not change storage type'],
    [
      'retention to workqueue',
      { retention: 'workqueue' },
      'stream configuration update can not change retention policy to/from workqueue',
    ],
    ['deny_delete', { deny_delete: false }, 'stream configuration update can not cancel deny message deletes'],
    ['deny_purge', { deny_delete: true, deny_purge: false }, 'stream configuration update can not cancel deny purge'],
    [
      'what sealing would set',
      { sealed: true, deny_purge: false },
      'stream configuration update can not cancel deny purge',
    ],
  ])('refuses %s', async (_, change, text) => {
    const base = { deny_delete: true, deny_purge: true };
    const name = await stream(s, base);
    const config = { name, subjects: [`${name}.>`], num_replicas: 3, ...base, ...change };
    expect(await refusal(s, `STREAM.UPDATE.${name}`, config)).toEqual([500, 10052, text]);
  });

  test('missing stream', async () => {
    const name = unique();
    expect(await refusal(s, `STREAM.UPDATE.${name}`, { name, subjects: [name] })).toEqual([
      404,
      10059,
      'stream not found',
    ]);
  });

  test('racing updates through different nodes never undo a flag that can only be set', async () => {
    const name = await stream(s);
    const base = { name, subjects: [`${name}.>`], num_replicas: 3 };
    const flags = ['deny_delete', 'deny_purge'];
    for (const [i, flag] of flags.entries()) {
      const kept = Object.fromEntries(flags.slice(0, i).map((each) => [each, true]));
      const updates = await Promise.all(
        [s, ...others, s].map((session, n) =>
          api(session, `STREAM.UPDATE.${name}`, { ...base, ...kept, max_msgs: n + 1, [flag]: n === 1 }),
        ),
      );
      // Whoever came before the flag succeeded, whoever came after it was refused.
      for (const { error } of updates) if (error) expect(error.description).toContain('can not cancel deny');
      expect(updates[1].error).toBeUndefined();
      expect((await ok(s, `STREAM.INFO.${name}`))['config']).toMatchObject({ ...kept, [flag]: true });
    }
  });

  test('racing updates through different nodes never take the same subject', async () => {
    const names = await Promise.all([s, ...others].map((session) => stream(session)));
    const wanted = unique();
    const taken = await Promise.all(
      [s, ...others].map((session, i) =>
        api(session, `STREAM.UPDATE.${names[i]}`, { name: names[i], subjects: [`${wanted}.>`], num_replicas: 3 }),
      ),
    );
    expect(taken.filter(({ error }) => !error)).toHaveLength(1);
    for (const { error } of taken) if (error) expect(error.err_code).toBe(10065);
  });

  test('what an answered update forbids is forbidden through every node', async () => {
    for (let round = 0; round < 10; round++) {
      const name = await stream(s);
      await put(s, `${name}.a`);
      const base = { name, subjects: [`${name}.>`], num_replicas: 3 };
      await ok(s, `STREAM.UPDATE.${name}`, { ...base, deny_purge: true });
      for (const other of others) {
        expect(await refusal(other, `STREAM.PURGE.${name}`)).toEqual([500, 10110, 'stream purge not permitted']);
      }
      await ok(others[0], `STREAM.UPDATE.${name}`, { ...base, deny_purge: true, sealed: true });
      for (const session of [s, ...others]) {
        expect((await put(session, `${name}.a`)).error?.err_code).toBe(10109);
        expect(await refusal(session, `STREAM.MSG.DELETE.${name}`, { seq: 1 })).toEqual([
          400,
          10109,
          'invalid operation on sealed stream',
        ]);
      }
    }
  });

  test('sealing is one-way and refuses writes', async () => {
    const name = await stream(s);
    await put(s, `${name}.a`);
    const answer = await ok(s, `STREAM.UPDATE.${name}`, {
      name,
      subjects: [`${name}.>`],
      num_replicas: 3,
      sealed: true,
    });
    expect(answer['config']).toMatchObject({ sealed: true, deny_delete: true, deny_purge: true, discard: 'new' });
    const refused = await put(s, `${name}.a`);
    expect(refused.error).toMatchObject({
      code: 400,
      err_code: 10109,
      description: 'invalid operation on sealed stream',
    });
  });
});

describe('names, list, delete', () => {
  test('names by subject, list, paging fields', async () => {
    const name = await stream(s);
    const other = await stream(s);
    const names = await ok(others[0], 'STREAM.NAMES', { subject: `${name}.>` });
    expect(names).toEqual({ type: `${T}stream_names_response`, total: 1, offset: 0, limit: 1024, streams: [name] });
    const all = (await ok(s, 'STREAM.NAMES'))['streams'] as string[];
    expect(all).toEqual([...all].sort());
    expect(all).toContain(other);
    expect(await ok(s, 'STREAM.NAMES', { subject: unique('none') })).toMatchObject({ total: 0, streams: null });
    const list = await ok(s, 'STREAM.LIST', { subject: `${other}.a` });
    expect(list).toMatchObject({ type: `${T}stream_list_response`, total: 1, offset: 0, limit: 256 });
    const [info] = list['streams'] as Json[];
    expect(info).toMatchObject({ config: { name: other }, state: { messages: 0 } });
    const beyond = await ok(s, 'STREAM.NAMES', { subject: `${name}.>`, offset: 5 });
    expect(beyond['total']).toBe(1);
    expect(beyond['offset']).toBe(1);
  });

  test('delete', async () => {
    const name = await stream(s);
    await put(s, `${name}.a`);
    expect(await refusal(s, `STREAM.DELETE.${name}`, { x: 1 })).toEqual([
      400,
      10038,
      'expected an empty request payload',
    ]);
    expect(await ok(others[0], `STREAM.DELETE.${name}`)).toEqual({ type: `${T}stream_delete_response`, success: true });
    for (const session of [s, ...others]) {
      expect(await refusal(session, `STREAM.INFO.${name}`)).toEqual([404, 10059, 'stream not found']);
    }
    expect(await refusal(s, `STREAM.DELETE.${name}`)).toEqual([404, 10059, 'stream not found']);
    // A namesake starts afresh.
    await stream(s, { name });
    expect(await put(s, `${name}.a`)).toEqual({ stream: name, seq: 1 });
  });
});

describe('purge', () => {
  async function filled(): Promise<string> {
    const name = await stream(s);
    for (let i = 0; i < 3; i++) for (const key of ['a', 'b']) await put(s, `${name}.${key}`, `${key}${i}`);
    return name;
  }

  test('all', async () => {
    const name = await filled();
    expect(await ok(s, `STREAM.PURGE.${name}`)).toEqual({
      type: `${T}stream_purge_response`,
      success: true,
      purged: 6,
    });
    expect(await state(name)).toMatchObject({ messages: 0, bytes: 0, first_seq: 7, last_seq: 6 });
    expect(await put(s, `${name}.a`)).toMatchObject({ seq: 7 });
  });

  test('by subject', async () => {
    const name = await filled();
    expect(await ok(s, `STREAM.PURGE.${name}`, { filter: `${name}.a` })).toMatchObject({ purged: 3 });
    expect(await state(name)).toMatchObject({ messages: 3, first_seq: 2, last_seq: 6, num_deleted: 2 });
  });

  test('up to a sequence', async () => {
    const name = await filled();
    expect(await ok(s, `STREAM.PURGE.${name}`, { seq: 4 })).toMatchObject({ purged: 3 });
    expect(await state(name)).toMatchObject({ messages: 3, first_seq: 4 });
  });

  test('keep', async () => {
    const name = await filled();
    expect(await ok(s, `STREAM.PURGE.${name}`, { keep: 2 })).toMatchObject({ purged: 4 });
    expect(await state(name)).toMatchObject({ messages: 2, first_seq: 5 });
  });

  test('keep by subject', async () => {
    const name = await filled();
    expect(await ok(s, `STREAM.PURGE.${name}`, { filter: `${name}.b`, keep: 1 })).toMatchObject({ purged: 2 });
    expect(await state(name)).toMatchObject({ messages: 4, first_seq: 1, last_seq: 6 });
  });

  test('refusals', async () => {
    const name = await stream(s, { deny_purge: true });
    expect(await refusal(s, `STREAM.PURGE.${name}`, { seq: 1, keep: 1 })).toEqual([400, 10003, 'bad request']);
    expect(await refusal(s, `STREAM.PURGE.${name}`)).toEqual([500, 10110, 'stream purge not permitted']);
    expect(await refusal(s, `STREAM.PURGE.${unique()}`)).toEqual([404, 10059, 'stream not found']);
  });
});

describe('get and delete messages', () => {
  test('get by sequence, last, next', async () => {
    const name = await stream(s);
    await put(s, `${name}.a`, 'one', { 'X-Key': 'v' });
    await put(s, `${name}.b`, 'two');
    await put(s, `${name}.a`, '');
    const get = async (body: object): Promise<Json> =>
      (await ok(others[0], `STREAM.MSG.GET.${name}`, body))['message'] as Json;
    const first = await get({ seq: 1 });
    expect(first).toEqual({
      subject: `${name}.a`,
      seq: 1,
      hdrs: Buffer.from('NATS/1.0\r\nX-Key: v\r\n\r\n').toString('base64'),
      data: Buffer.from('one').toString('base64'),
      time: expect.stringMatching(/Z$/),
    });
    expect(await get({ last_by_subj: `${name}.a` })).toEqual({
      subject: `${name}.a`,
      seq: 3,
      time: expect.any(String),
    });
    expect(await get({ last_by_subj: `${name}.*` })).toMatchObject({ seq: 3 });
    expect(await get({ next_by_subj: `${name}.b` })).toMatchObject({ seq: 2, data: 'dHdv' });
    expect(await get({ next_by_subj: `${name}.a`, seq: 2 })).toMatchObject({ seq: 3 });
    expect(await get({ seq: 2, next_by_subj: '>' })).toMatchObject({ seq: 2 });
  });

  test.each([{}, { seq: 1, last_by_subj: 'x' }, { last_by_subj: 'a', next_by_subj: 'b' }])(
    'bad get %j',
    async (body) => {
      const name = await stream(s);
      expect(await refusal(s, `STREAM.MSG.GET.${name}`, body)).toEqual([400, 10003, 'bad request']);
    },
  );

  test('misses', async () => {
    const name = await stream(s);
    expect(await refusal(s, `STREAM.MSG.GET.${name}`, { seq: 9 })).toEqual([404, 10037, 'no message found']);
    expect(await refusal(s, `STREAM.MSG.GET.${name}`, { last_by_subj: 'q' })).toEqual([404, 10037, 'no message found']);
    if (!differs('delete-beyond-last')) {
      expect(await refusal(s, `STREAM.MSG.DELETE.${name}`, { seq: 9 })).toEqual([400, 10043, 'sequence 9 not found']);
    }
    expect(await refusal(s, `STREAM.MSG.GET.${unique()}`, { seq: 1 })).toEqual([404, 10059, 'stream not found']);
  });

  test('delete leaves a gap', async () => {
    const name = await stream(s);
    await putMany(s, `${name}.a`, 5);
    expect(await ok(others[1], `STREAM.MSG.DELETE.${name}`, { seq: 3 })).toEqual({
      type: `${T}stream_msg_delete_response`,
      success: true,
    });
    expect(await refusal(s, `STREAM.MSG.GET.${name}`, { seq: 3 })).toEqual([404, 10037, 'no message found']);
    expect(await state(name, { deleted_details: true })).toMatchObject({ messages: 4, num_deleted: 1, deleted: [3] });
    expect(await refusal(s, `STREAM.MSG.DELETE.${name}`, { seq: 3 })).toEqual([400, 10043, 'sequence 3 not found']);
  });

  test('denied', async () => {
    const name = await stream(s, { deny_delete: true });
    await put(s, `${name}.a`);
    expect(await refusal(s, `STREAM.MSG.DELETE.${name}`, { seq: 1 })).toEqual([
      500,
      10057,
      'message delete not permitted',
    ]);
  });

  test('subjects in info', async () => {
    const name = await stream(s);
    for (const key of ['a', 'a', 'b', 'c.d']) await put(s, `${name}.${key}`);
    const answer = await ok(s, `STREAM.INFO.${name}`, { subjects_filter: `${name}.*` });
    expect(answer).toMatchObject({ total: 2, offset: 0, limit: 100_000 });
    expect((answer['state'] as Json)['subjects']).toEqual({ [`${name}.a`]: 2, [`${name}.b`]: 1 });
    expect((answer['state'] as Json)['num_subjects']).toBe(3);
  });
});

describe('limits', () => {
  test('bytes are counted as the reference counts them', async () => {
    const name = await stream(s, { subjects: ['accounted'] });
    for (let i = 0; i < 3; i++) await put(s, 'accounted', 'A');
    expect((await state(name))['bytes']).toBe(3 * (22 + 'accounted'.length + 1 + 8));
    await put(s, 'accounted', 'A', { K: 'v' });
    const hdr = 'NATS/1.0\r\nK: v\r\n\r\n'.length;
    expect((await state(name))['bytes']).toBe(4 * (22 + 'accounted'.length + 1 + 8) + 4 + hdr);
  });

  test('memory streams count less', async () => {
    const name = await stream(s, { storage: 'memory' });
    await put(s, `${name}.a`, 'A');
    expect((await state(name))['bytes']).toBe(`${name}.a`.length + 1 + 16);
  });

  test('max_msgs, discard old', async () => {
    const name = await stream(s, { max_msgs: 3 });
    await putMany(s, `${name}.a`, 5);
    expect(await state(name)).toMatchObject({ messages: 3, first_seq: 3, last_seq: 5 });
  });

  test('max_msgs_per_subject, discard old', async () => {
    const name = await stream(s, { max_msgs_per_subject: 2 });
    for (const key of ['a', 'a', 'b', 'a']) await put(s, `${name}.${key}`);
    expect(await state(name)).toMatchObject({ messages: 3, first_seq: 2, last_seq: 4 });
  });

  test('discard new with a limit per subject still replaces the oldest', async () => {
    const name = await stream(s, { max_msgs_per_subject: 1, discard: 'new' });
    for (const text of ['1', '2']) expect((await put(s, `${name}.k`, text)).error).toBeUndefined();
    expect(await state(name)).toMatchObject({ messages: 1, first_seq: 2 });
  });

  test.each<[object, string]>([
    [{ max_msgs: 2 }, 'maximum messages exceeded'],
    [{ max_bytes: 150 }, 'maximum bytes exceeded'],
    [{ max_msgs_per_subject: 2, discard_new_per_subject: true }, 'maximum messages per subject exceeded'],
  ])('discard new: %j', async (limit, text) => {
    const name = await stream(s, { discard: 'new', subjects: [unique('s')], ...limit });
    const [subject] = ((await ok(s, `STREAM.INFO.${name}`))['config'] as Json)['subjects'] as string[];
    const body = 'x'.repeat(20);
    let refused: Json | undefined;
    for (let i = 0; i < 4 && !refused; i++) {
      const ack = await put(s, subject, body);
      if (ack.error) refused = ack;
    }
    expect(refused).toEqual({
      error: { code: 503, err_code: 10077, description: text },
      stream: name,
      seq: 0,
    });
  });

  test('max_age', async () => {
    const name = await stream(s, { max_age: 500_000_000 });
    await put(s, `${name}.a`);
    expect(await eventually(async () => (await state(name))['messages'] === 0)).toBe(true);
    expect(await state(name)).toMatchObject({ first_seq: 2, last_seq: 1 });
  });

  test('max_msg_size', async () => {
    const name = await stream(s, { max_msg_size: 10 });
    expect((await put(s, `${name}.a`, 'x'.repeat(10))).error).toBeUndefined();
    expect((await put(s, `${name}.a`, 'x'.repeat(11))).error).toEqual({
      code: 400,
      err_code: 10054,
      description: 'message size exceeds maximum allowed',
    });
  });

  test.each([
    [1, { messages: 0, first_seq: 1, last_seq: 0 }],
    [5, { messages: 0, first_seq: 5, last_seq: 4 }],
  ])('first_seq %i in an empty stream', async (first_seq, expected) => {
    for (const num_replicas of [1, 3]) {
      const name = unique();
      expect((await ok(s, `STREAM.CREATE.${name}`, { name, first_seq, num_replicas }))['state']).toMatchObject(
        expected,
      );
      for (const session of [s, ...others]) {
        expect((await ok(session, `STREAM.INFO.${name}`))['state']).toMatchObject(expected);
      }
      expect(await put(s, name)).toEqual({ stream: name, seq: first_seq });
    }
  });

  test('first_seq', async () => {
    const name = await stream(s, { first_seq: 100 });
    expect(await state(name)).toMatchObject({ first_seq: 100, last_seq: 99 });
    expect(await put(s, `${name}.a`)).toEqual({ stream: name, seq: 100 });
  });

  test('no_ack: stored, not answered', async () => {
    const name = await stream(s, { no_ack: true });
    s.nc.publish(`${name}.a`, 'x');
    await s.nc.flush();
    await eventually(async () => (await state(name))['messages'] === 1);
    await expect(s.nc.request(`${name}.a`, 'y', { timeout: 500 })).rejects.toThrow(/timeout/i);
  });
});

test('account info', async () => {
  const name = await stream(s);
  const answer = await ok(s, 'INFO');
  expect(answer).toMatchObject({
    type: `${T}account_info_response`,
    memory: expect.any(Number),
    storage: expect.any(Number),
    streams: expect.any(Number),
    consumers: expect.any(Number),
    limits: {
      max_memory: -1,
      max_storage: -1,
      max_streams: -1,
      max_consumers: -1,
      max_ack_pending: -1,
      memory_max_stream_bytes: -1,
      storage_max_stream_bytes: -1,
      max_bytes_required: false,
    },
    api: { level: expect.any(Number), total: expect.any(Number), errors: expect.any(Number) },
  });
  await ok(s, `STREAM.DELETE.${name}`);
});

test('a required API level that is no whole number is refused, an empty one asks for none', async () => {
  const errCode = async (level: string): Promise<number | undefined> => {
    const headers = headersOf(s, { 'Nats-Required-Api-Level': level });
    const answer = await s.nc.request('$JS.API.STREAM.NAMES', '', { timeout: 20_000, headers });
    return (JSON.parse(answer.string()) as { error?: { err_code: number } }).error?.err_code;
  };
  for (const level of ['', '0', '+1']) expect([level, await errCode(level)]).toEqual([level, undefined]);
  for (const level of ['abc', '1.0', '0x1', '99']) expect([level, await errCode(level)]).toEqual([level, 10185]);
});
