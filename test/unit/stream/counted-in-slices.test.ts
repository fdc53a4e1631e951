// A consumer of a stream with very many subjects: it is made in one short entry, and what it has before it is counted in slices on the leader.
// Whatever happens between two slices, the number is exact, the answer comes once, and replicas agree.
import { expect, test } from 'vitest';
import { BatchBuilder, CommandType, ENTRY_WORK, encodeConfig } from '../../../src/stream/batch-codec.ts';
import type { ConsumerConfig } from '../../../src/stream/config.ts';
import { ByteWriter } from '../../../src/stream/consumer-bytes.ts';
import { ConsumerCommand, encodeCreate } from '../../../src/stream/consumer-codec.ts';
import { type ConsumerRegistry, createConsumerTable } from '../../../src/stream/consumers.ts';
import { type ApiError, isApiError } from '../../../src/stream/errors.ts';
import { StreamMachine } from '../../../src/stream/machine.ts';
import type { ConsumerState } from '../../../src/stream/types.ts';
import { streamConfig, World } from './fake-world.ts';

const EMPTY = new Uint8Array(0);
/** More than two slices of them. */
const SUBJECTS = 140_000;
const AGAIN = 30_000;

const CONFIG = {
  name: 'c',
  durable_name: 'c',
  ack_policy: 'explicit',
  ack_wait: 30e9,
  deliver_policy: 'last_per_subject',
  replay_policy: 'instant',
  max_deliver: -1,
  max_ack_pending: -1,
} as ConsumerConfig;
const WILD: Partial<ConsumerConfig> = { filter_subject: 'k.*.>' };

function filled(): World {
  const world = new World().lead();
  for (let n = 0; n < SUBJECTS + AGAIN; n++) {
    world.publish(`k.${n % 7}.${n % SUBJECTS}`);
    if (n % 8_000 === 0) world.settle();
  }
  world.settle();
  return world;
}

function creating(world: World, change: Partial<ConsumerConfig> = {}): (ConsumerState | ApiError)[] {
  const answers: (ConsumerState | ApiError)[] = [];
  world.partition.createConsumer({ ...CONFIG, ...change }, '', (state) => answers.push(state));
  world.settle();
  return answers;
}

/** One timer. */
function slice(world: World): void {
  world.clock.step(world.clock.ms + 5);
  world.settle();
}

const rest = (world: World): void => {
  world.clock.advance(2_000);
  world.settle();
};

test('all kinds of changes between two slices: the number is exact, and the last of each subject comes, once', () => {
  for (const change of [WILD, { ...WILD, deliver_policy: 'all' as const }]) {
    const world = filled();
    const isAll = 'deliver_policy' in change;
    const answers = creating(world, change);
    expect(answers).toEqual([]);
    const at = (n: number): string => `k.${n % 7}.${n % SUBJECTS}`;
    const remove = (seq: number): void => world.partition.deleteMessage(seq, () => {});
    let left = isAll ? SUBJECTS + AGAIN : SUBJECTS;
    for (let n = 0; answers.length === 0; n++) {
      if (n > 50) throw new Error('it is not answered');
      // A last one goes, so that the one before it is the last, where there is one: early, in the middle, at the end.
      const again = 100 + n * 900;
      remove(SUBJECTS + 1 + again);
      if (isAll) left--;
      // One alone goes, of a subject that nothing else has.
      remove(AGAIN + 1 + n * 1000);
      left--;
      // One comes.
      world.publish(at(n));
      left++;
      world.settle();
      slice(world);
    }
    expect(answers).toHaveLength(1);
    const [answer] = answers;
    if (isApiError(answer)) throw new Error(JSON.stringify(answer));
    rest(world);
    expect(world.ask((done) => world.partition.consumerInfo('c', done))).toMatchObject({ num_pending: left });
    if (isAll) continue;
    const seen = new Map<string, number>();
    const { lastsEnd } = (world.partition.machine.consumers as ConsumerRegistry).get('c')!;
    for (let n = 0; n < 2; n++)
      world.partition.pull('c', 'inbox', new TextEncoder().encode('{"batch":100000,"expires":60000000000}'));
    for (let before = -1; before < world.delivered.length; ) {
      before = world.delivered.length;
      for (let n = 0; n < 50; n++) world.clock.advance(1);
      world.settle();
    }
    expect(world.delivered).toHaveLength(left);
    for (const { subject, reply } of world.delivered) {
      const seq = Number(reply.split('.')[5]);
      const before = seen.get(subject);
      if (before !== undefined) expect(seq).toBeGreaterThan(lastsEnd);
      seen.set(subject, seq);
    }
    expect(world.delivered.at(-1)!.reply.split('.').at(-1)).toBe('0');
  }
}, 60_000);

test('the leader goes between two slices: the answer says so; the next one counts for itself', () => {
  const world = filled();
  const answers = creating(world, WILD);
  slice(world);
  world.group.depose();
  expect(answers).toMatchObject([{ err_code: 10008 }]);
  world.group.lead();
  world.settle();
  const infos: (ConsumerState | ApiError)[] = [];
  world.partition.consumerInfo('c', (state) => infos.push(state));
  world.settle();
  expect(infos).toEqual([]);
  rest(world);
  expect(infos).toMatchObject([{ num_pending: SUBJECTS }]);
  expect(answers).toHaveLength(1);
});

test('consumer or stream end between two slices', () => {
  for (const end of ['consumer', 'stream'] as const) {
    const world = filled();
    const answers = creating(world, WILD);
    slice(world);
    if (end === 'consumer') world.partition.deleteConsumer('c', () => {});
    else world.partition.close('deleted');
    world.settle();
    expect(answers).toMatchObject([{ err_code: 10008 }]);
    rest(world);
    expect(answers).toHaveLength(1);
    expect(world.clock.timers).toEqual([]);
  }
});

test('everything is purged between two slices', () => {
  const world = filled();
  const answers = creating(world, WILD);
  slice(world);
  world.partition.purge({}, () => {});
  world.settle();
  world.store('k.1.1');
  rest(world);
  expect(answers).toMatchObject([{ num_pending: 1 }]);
});

test('a replica that got the state between creation and counting agrees, and can lead', () => {
  const world = filled();
  creating(world, WILD);
  const other = new World();
  const sink = other.partition.restore(0);
  for (const part of world.partition.snapshot()) sink.push(part);
  sink.end();
  const entries = world.group.log.length;
  rest(world);
  world.partition.deleteMessage(SUBJECTS + 7, () => {});
  world.partition.pull('c', 'inbox', new TextEncoder().encode('{"batch":1000,"expires":60000000000}'));
  rest(world);
  rest(world);
  for (const [i, body] of world.group.log.entries()) {
    if (i < entries) other.group.log.push(EMPTY);
    else other.partition.apply(i + 1, 1, body);
  }
  other.group.applied = other.group.log.length;
  expect(other.partition.digest()).toBe(world.partition.digest());
  other.lead();
  const infos: (ConsumerState | ApiError)[] = [];
  other.partition.consumerInfo('c', (state) => infos.push(state));
  rest(other);
  expect(infos).toMatchObject([{ num_pending: SUBJECTS - 1000, num_ack_pending: 1000 }]);
});

test('entries of earlier versions begin where they always began', () => {
  const begun = (version: number): number => {
    const machine = new StreamMachine({ consumers: createConsumerTable, seed: 3, toLocalFirst: (first) => first });
    const builder = new BatchBuilder();
    let index = 0;
    const apply = (fill: () => void, of = version): void => {
      builder.begin(machine.lastSeq + 1, 1000, ENTRY_WORK);
      fill();
      const body = builder.finish();
      body[0] = of;
      machine.apply(++index, body);
    };
    apply(() => {
      builder.command(CommandType.config, encodeConfig(1, streamConfig({})));
      for (let n = 0; n < 30_000; n++) builder.publish(`k.${n % 25_000}`, EMPTY, EMPTY, 0, 0, 0, 0);
    });
    apply(() => builder.command(ConsumerCommand.create, encodeCreate('create', CONFIG)));
    return (machine.consumers as ConsumerRegistry).get('c')!.deliveredSeq;
  };
  expect(begun(2)).toBe(5_000);
  expect(begun(3)).toBe(0);
});

test('states of earlier versions, which have the lasts one by one, are read', () => {
  const old = new ByteWriter();
  old.u8(2);
  old.number(8);
  old.number(1);
  old.number(7);
  old.text(JSON.stringify(CONFIG));
  for (const value of [1_000, 2, 3, 4, 5, 6, 0, 8, 9]) old.number(value);
  old.number(0);
  old.ascending([]);
  old.ascending([5, 7, 8]);
  old.number(0);
  const options = { config: () => streamConfig(), lostInterest: () => {}, beginsExactly: () => false };
  const table = createConsumerTable(options);
  table.restore(old.take());
  expect(table.get('c')).toMatchObject({ id: 7, deliveredSeq: 2, lastsEnd: 9 });
  const again = createConsumerTable(options);
  again.restore(table.snapshot());
  expect(again.digest()).toBe(table.digest());
});
