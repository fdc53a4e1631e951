// Create, update, delete, lists; deliver policies; rules between consumers (nats-surface §3.2).
import { describe, expect, test } from 'vitest';
import type { ConsumerConfig } from '../../../src/stream/config.ts';
import { EPHEMERAL_INACTIVE_NS } from '../../../src/stream/consumer-rules.ts';
import { type ApiError, isApiError } from '../../../src/stream/errors.ts';
import type { ConsumerState } from '../../../src/stream/types.ts';
import { FakePartition, PULL } from './fake-partition.ts';

function filled(): FakePartition {
  const p = new FakePartition();
  for (const subject of ['k.a', 'k.b', 'x', 'k.a', 'k.c', 'k.b', 'x'])
    p.store(subject, `${subject}@${p.messages.lastSeq + 1}`);
  return p;
}

const policy = (config: Partial<ConsumerConfig>): { p: FakePartition; state: ConsumerState; got: string[] } => {
  const p = filled();
  const state = p.create(config) as ConsumerState;
  return { p, state, got: p.fetch().map(({ payload }) => payload.split('@')[1]) };
};

describe('deliver policies', () => {
  test('all', () => {
    const { state, got } = policy({ filter_subject: 'x' });
    expect(state).toMatchObject({ num_pending: 2, delivered: { stream_seq: 0 } });
    expect(got).toEqual(['3', '7']);
  });

  test('new', () => {
    const { p, state, got } = policy({ deliver_policy: 'new' });
    expect(state).toMatchObject({ num_pending: 0, delivered: { stream_seq: 7 }, ack_floor: { stream_seq: 7 } });
    expect(got).toEqual([]);
    p.store('x', 'x@8');
    expect(p.fetch().length).toBe(1);
  });

  test('last, with and without a filter, and with nothing that matches', () => {
    expect(policy({ deliver_policy: 'last' }).got).toEqual(['7']);
    expect(policy({ deliver_policy: 'last', filter_subject: 'k.a' }).got).toEqual(['4']);
    expect(policy({ deliver_policy: 'last', filter_subject: 'k.*' }).got).toEqual(['6']);
    expect(policy({ deliver_policy: 'last', filter_subject: 'none' }).got).toEqual([]);
  });

  test('by start sequence: inside, below the first, beyond the last', () => {
    const by = (opt_start_seq: number): Partial<ConsumerConfig> => ({
      deliver_policy: 'by_start_sequence',
      opt_start_seq,
    });
    const { state, got } = policy(by(6));
    expect(state.delivered.stream_seq).toBe(5);
    expect(got).toEqual(['6', '7']);
    const p = filled();
    for (const seq of [1, 2, 3]) p.remove(seq);
    p.create(by(2));
    expect(p.fetch().length).toBe(4);
    const beyond = policy(by(10));
    expect(beyond.got).toEqual([]);
    beyond.p.store('x', 'x@8', 'x@9', 'x@10');
    expect(beyond.p.fetch().map(({ payload }) => payload)).toEqual(['x@10']);
  });

  test('by start time', () => {
    const p = filled();
    const stampUs = p.messages.stampUsOf(5);
    const iso = (us: number): string =>
      new Date(us / 1000).toISOString().replace('Z', `${String(us % 1000).padStart(3, '0')}Z`);
    p.create({ deliver_policy: 'by_start_time', opt_start_time: iso(stampUs) });
    expect(p.fetch().length).toBe(3);
  });

  test('last per subject: the latest of each, then what comes', () => {
    const { p, state, got } = policy({ deliver_policy: 'last_per_subject', filter_subject: 'k.*' });
    expect(state).toMatchObject({ num_pending: 3, delivered: { stream_seq: 3 } });
    expect(got).toEqual(['4', '5', '6']);
    p.store('k.a', 'k.a@8');
    expect(p.fetch().map(({ payload }) => payload)).toEqual(['k.a@8']);
    expect(p.info().num_pending).toBe(0);
  });

  test('last per subject survives a failover half way, and skips what was removed', () => {
    const p = filled();
    p.create({ deliver_policy: 'last_per_subject' });
    expect(p.fetch(1).map(({ payload }) => payload)).toEqual(['k.a@4']);
    p.info();
    p.remove(5);
    p.failover();
    expect(p.info().num_pending).toBe(2);
    const got = p.fetch();
    expect(got.map(({ payload }) => payload)).toEqual(['k.b@6', 'x@7']);
    expect(got.map(({ reply }) => reply.split('.').at(-1))).toEqual(['1', '0']);
  });

  test('several filters', () => {
    expect(policy({ filter_subjects: ['x', 'k.a'] }).got).toEqual(['1', '3', '4', '7']);
  });
});

describe('num_pending', () => {
  test('stays exact while messages come and go', () => {
    const p = filled();
    p.create({ filter_subject: 'k.>' });
    const left = (): number => Number(p.fetch(1)[0].reply.split('.').at(-1));
    expect(left()).toBe(4);
    p.remove(4);
    p.remove(3);
    p.store('k.z', 'new');
    p.store('x', 'new');
    expect(left()).toBe(3);
    p.remove(5);
    expect(left()).toBe(1);
    expect(p.info().num_pending).toBe(1);
  });
});

describe('create and update', () => {
  test('equal configurations are one consumer; create with a different one is refused; update changes', () => {
    const p = new FakePartition();
    const first = p.create() as ConsumerState;
    expect(p.create()).toMatchObject({ createdUs: first.createdUs });
    expect(p.create({}, 'create')).toMatchObject({ name: 'C' });
    expect(p.create({ ack_wait: 5e9 }, 'create')).toMatchObject({ err_code: 10148 });
    expect(p.create({ ack_wait: 5e9 }, 'update')).toMatchObject({
      config: { ack_wait: 5e9 },
      createdUs: first.createdUs,
    });
    expect(p.create({ durable_name: 'D' }, 'update')).toMatchObject({ err_code: 10149 });
    expect(p.create({ durable_name: 'D' }, 'create')).toMatchObject({ name: 'D' });
  });

  test('a durable stays one when it is asked for by its name alone, as clients ask for ephemerals', () => {
    const p = new FakePartition();
    p.create({ durable_name: 'D' });
    p.create({ durable_name: 'T', inactive_threshold: 60e9 });
    p.create({ name: 'E', inactive_threshold: EPHEMERAL_INACTIVE_NS });
    const again = { inactive_threshold: EPHEMERAL_INACTIVE_NS, max_ack_pending: 7 };
    expect(p.create({ name: 'D', ...again }, 'create')).toMatchObject({ err_code: 10148 });
    expect(p.create({ name: 'D', ...again })).toMatchObject({ config: { durable_name: 'D', max_ack_pending: 7 } });
    expect(p.create({ name: 'T', ...again }, 'update')).toMatchObject({ config: { inactive_threshold: 60e9 } });
    p.run(10_000);
    expect(p.info('D').config.inactive_threshold).toBeUndefined();
    expect(p.info('T').name).toBe('T');
    expect(() => p.info('E')).toThrow();
    expect(p.create({ name: 'T', inactive_threshold: 1e9 })).toMatchObject({ config: { inactive_threshold: 1e9 } });
    p.run(3_000);
    expect(() => p.info('T')).toThrow();
  });

  test('metadata that only answers carry, and a list of one filter, make no difference', () => {
    const p = new FakePartition();
    p.create({ filter_subject: 'a', metadata: { x: '1' } });
    expect(isApiError(p.create({ filter_subjects: ['a'], metadata: { x: '1', '_nats.level': '1' } }, 'create'))).toBe(
      false,
    );
  });

  test('what can not be updated', () => {
    const texts: [Partial<ConsumerConfig>, string][] = [
      [{ deliver_policy: 'new' }, 'deliver policy can not be updated'],
      [{ ack_policy: 'all' }, 'ack policy can not be updated'],
      [{ replay_policy: 'original' }, 'replay policy can not be updated'],
      [{ max_waiting: 7 }, 'max waiting can not be updated'],
      [{ mem_storage: true }, 'storage type can not be updated'],
      [{ deliver_subject: 'd' }, 'can not update pull consumer to push based'],
    ];
    const p = new FakePartition();
    p.create();
    for (const [change, description] of texts) {
      expect(p.create(change)).toMatchObject({ code: 500, err_code: 10012, description });
    }
    expect(p.info().config.deliver_policy).toBe('all');
  });

  test('a new filter counts at once', () => {
    const p = filled();
    p.create({ filter_subject: 'x' });
    p.fetch(1);
    expect(p.create({ filter_subject: 'k.*' })).toMatchObject({ num_pending: 3 });
    expect(p.fetch().map(({ payload }) => payload)).toEqual(['k.a@4', 'k.c@5', 'k.b@6']);
  });

  test('the stream’s limit of consumers', () => {
    const p = new FakePartition({ max_consumers: 1 });
    p.create();
    expect(p.create({ durable_name: 'D' })).toMatchObject({ err_code: 10026 });
    expect(p.create({ name: 'O', ack_policy: 'none', mem_storage: true })).toMatchObject({ err_code: 10026 });
    expect(isApiError(p.create())).toBe(false);
  });

  test('creations at once do not exceed the limit, of whatever kind they are', () => {
    const p = new FakePartition({ max_consumers: 2 });
    const answers: (ConsumerState | ApiError)[] = [];
    for (let i = 0; i < 3; i++) {
      const durable = { ...PULL, name: `D${i}`, durable_name: `D${i}` };
      const ordered = {
        ...PULL,
        name: `O${i}`,
        durable_name: undefined,
        ack_policy: 'none',
        mem_storage: true,
      } as const;
      for (const config of [durable, ordered])
        p.engine.createConsumer(config, 'create', (state) => answers.push(state));
    }
    p.run(20);
    expect(answers.map((answer) => (isApiError(answer) ? answer.err_code : answer.name)).sort()).toEqual([
      10026,
      10026,
      10026,
      10026,
      'D0',
      'O0',
    ]);
    expect(p.engine.consumerCount).toBe(2);
    p.failover();
    p.engine.createConsumer({ ...PULL, name: 'D3', durable_name: 'D3' }, '', (state) => answers.push(state));
    p.run(20);
    expect(answers.at(-1)).toMatchObject({ err_code: 10026 });
  });

  test('work queues: one consumer per message', () => {
    const p = new FakePartition({ retention: 'workqueue' });
    p.create({ filter_subject: 'a.>' });
    expect(p.create({ durable_name: 'D' })).toMatchObject({ err_code: 10099 });
    expect(p.create({ durable_name: 'D', filter_subject: 'a.b' })).toMatchObject({ err_code: 10100 });
    expect(isApiError(p.create({ durable_name: 'D', filter_subject: 'b' }))).toBe(false);
    expect(p.create({ durable_name: 'D', filter_subject: '*.b' })).toMatchObject({ err_code: 10100 });
    expect(p.table.get('D')!.config.filter_subject).toBe('b');
  });

  test('a namesake does not inherit: acks of the deleted consumer mean nothing to it', () => {
    const p = new FakePartition();
    p.create();
    p.store('a', '1', '2');
    const [one] = p.fetch();
    p.delete();
    p.ack(one, '', 'confirm');
    p.run();
    expect(p.take('confirm')[0].hdr).toBe('NATS/1.0 503\r\n\r\n');
    p.create();
    p.ack(one);
    p.run();
    expect(p.fetch().map(({ payload }) => payload)).toEqual(['1', '2']);
  });

  test('names and list are sorted and hold consumers in memory too', () => {
    const p = new FakePartition();
    p.create({ durable_name: 'B' });
    p.create({ name: 'A', ack_policy: 'none', mem_storage: true });
    let names: string[] | ApiError = [];
    let states: ConsumerState[] | ApiError = [];
    p.engine.consumerNames((result) => (names = result));
    p.engine.consumerList((result) => (states = result));
    p.run();
    expect(names).toEqual(['A', 'B']);
    expect((states as ConsumerState[]).map(({ name }) => name)).toEqual(['A', 'B']);
    p.engine.onNotLeading();
    p.engine.consumerNames((result) => (names = result));
    expect(names).toMatchObject({ err_code: 10008 });
  });
});
