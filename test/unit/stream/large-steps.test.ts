// What looks at or removes many messages does so in parts, and the parts together do the same as one step would.
import { describe, expect, test } from 'vitest';
import {
  BatchBuilder,
  CommandType,
  ENTRY_WORK,
  EXPIRE_BACKLOG,
  encodeConfig,
  encodeExpire,
  encodePurge,
  type PurgeCommand,
  ROLLUP_SUBJECT,
} from '../../../src/stream/batch-codec.ts';
import type { ConsumerConfig } from '../../../src/stream/config.ts';
import { compileFilter } from '../../../src/stream/consumer-filter.ts';
import { createConsumerTable } from '../../../src/stream/consumers.ts';
import { listDeleted } from '../../../src/stream/deleted-list.ts';
import { StreamMachine } from '../../../src/stream/machine.ts';
import type { MessageIndex } from '../../../src/stream/message-index.ts';
import { FakeClock, NONE, streamConfig, World } from './fake-world.ts';

const EMPTY = new Uint8Array(0);
const MESSAGES = 3000;

class Stream {
  readonly machine = new StreamMachine({ consumers: createConsumerTable, seed: 3, toLocalFirst: (first) => first });
  private readonly builder = new BatchBuilder();
  private index = 0;

  constructor() {
    this.apply((builder) => {
      builder.command(CommandType.config, encodeConfig(1, streamConfig({})));
      for (let i = 0; i < MESSAGES; i++) builder.publish(`s.${i % 7}.${(i * 31) % 500}`, EMPTY, EMPTY, 0, 0, 0, 0);
    });
  }

  apply(fill: (builder: BatchBuilder) => void): void {
    this.index++;
    this.builder.begin(this.machine.lastSeq + 1, this.index * 1000, ENTRY_WORK);
    fill(this.builder);
    this.machine.apply(this.index, this.builder.finish());
  }

  /** Commands that it took. */
  purge(command: PurgeCommand, between: () => void): number {
    let next = command;
    for (let commands = 1; ; commands++) {
      this.apply((builder) => builder.command(CommandType.purge, encodePurge(next)));
      const [result] = this.machine.results;
      if (typeof result === 'number') return commands;
      if (result === undefined || 'code' in result) throw new Error(JSON.stringify(result));
      const { gone: _, ...rest } = result;
      next = { ...command, ...rest };
      between();
    }
  }

  get seqs(): number[] {
    const { index } = this.machine;
    const seqs: number[] = [];
    for (let seq = index.nextFrom(0); seq !== 0; seq = index.nextFrom(seq + 1)) seqs.push(seq);
    return seqs;
  }
}

describe('a purge in parts', () => {
  test.each([
    { filter: '', below: 2000, keep: 0 },
    { filter: '', below: 0, keep: 700 },
    { filter: 's.3.>', below: 0, keep: 0 },
    { filter: 's.*.1', below: 0, keep: 2 },
    { filter: 's.>', below: 1500, keep: 1000 },
    { filter: 's.0.0', below: 0, keep: 0 },
    { filter: 's.9.>', below: 0, keep: 0 },
  ])('%o', (request) => {
    const whole = new Stream();
    expect(whole.purge({ ...request, from: 0, limit: 0, budget: 0 }, () => {})).toBe(1);
    const parts = new Stream();
    const later = () => parts.apply((builder) => builder.publish('s.3.1', EMPTY, EMPTY, 0, 0, 0, 0));
    const commands = parts.purge({ ...request, from: 0, limit: 0, budget: 100 }, later);
    if (!(request.filter === 's.0.0')) expect(commands).toBeGreaterThan(5);
    // What was stored meanwhile is not touched.
    expect(parts.seqs.filter((seq) => seq <= MESSAGES)).toEqual(whole.seqs);
    expect(parts.machine.lastSeq).toBe(MESSAGES + commands - 1);
    expect(parts.machine.index.messages).toBe(whole.machine.index.messages + commands - 1);
  });

  test('through the partition: one answer with the sum', () => {
    const world = new World({}).lead();
    for (let i = 0; i < 12_000; i++) world.store(`k.${i % 3}`, '', NONE);
    const log = world.group.log.length;
    expect(world.ask((done) => world.partition.purge({ filter: 'k.>', keep: 500 }, done))).toBe(11_500);
    expect(world.group.log.length).toBeGreaterThan(log + 1);
    expect(world.partition.localState().messages).toBe(500);
  });
});

/** Commits entry by entry; the most messages that one of them removed, and how many removed some. */
function settleOneByOne(world: World): { most: number; entries: number } {
  const { index } = world.partition.machine;
  let most = 0;
  let entries = 0;
  for (;;) {
    world.clock.turn();
    if (world.group.uncommitted === 0) return { most, entries };
    const before = index.messages;
    world.group.commit(1);
    most = Math.max(most, before - index.messages);
    if (index.messages < before) entries++;
  }
}

const WORK = 80;
/** Removals that WORK is enough for, and one too many. */
const MOST = 11;

function filled(config: Parameters<typeof streamConfig>[0], prepare: (world: World) => void = () => {}): World {
  const world = new World(config, { entryWork: WORK }).lead();
  prepare(world);
  world.settle();
  for (let i = 0; i < 600; i++) world.publish(`k.${i % 4}.${i % 40}`, 'x'.repeat(10));
  world.settle();
  return world;
}

const seqsOf = (world: World): number[] => {
  const { index } = world.partition.machine;
  const seqs: number[] = [];
  for (let seq = index.nextFrom(0); seq !== 0; seq = index.nextFrom(seq + 1)) seqs.push(seq);
  return seqs;
};
const newest = (count: number): number[] => Array.from({ length: count }, (_, i) => 601 - count + i);

const consumer = (name: string, filter_subject: string): ConsumerConfig => ({
  name,
  durable_name: name,
  ack_policy: 'explicit',
  ack_wait: 30e9,
  deliver_policy: 'all',
  replay_policy: 'instant',
  filter_subject,
  num_replicas: 1,
});
const CREATE = (world: World, name: string, filter: string): void =>
  world.partition.createConsumer(consumer(name, filter), '', () => {});

describe('what one command says must leave goes with the entries after it', () => {
  test.each([
    { change: { max_msgs: 25 }, left: newest(25) },
    { change: { max_bytes: 25 * 45 }, left: newest(25) },
    { change: { max_msgs_per_subject: 2 }, left: newest(80) },
  ])('a smaller limit: $change', ({ change, left }) => {
    const world = filled({});
    world.partition.updateConfig(streamConfig(change));
    const { most, entries } = settleOneByOne(world);
    expect(seqsOf(world).slice(-left.length + 1)).toEqual(left.slice(1));
    expect(seqsOf(world).length - left.length).toBeLessThanOrEqual(1);
    expect(most).toBeLessThanOrEqual(MOST);
    expect(entries).toBeGreaterThan(40);
    expect(world.partition.machine.hasBacklog).toBe(false);
  });

  test('a limit that is raised again on the way keeps what is left', () => {
    const world = filled({});
    world.partition.updateConfig(streamConfig({ max_msgs_per_subject: 1 }));
    world.clock.turn();
    world.group.commit(1);
    expect(world.partition.machine.hasBacklog).toBe(true);
    world.partition.updateConfig(streamConfig({}));
    world.settle();
    expect(world.partition.localState().messages).toBeGreaterThan(500);
    expect(world.partition.machine.hasBacklog).toBe(false);
  });

  test('publishes go on meanwhile and keep the new limit', () => {
    const world = filled({});
    world.partition.updateConfig(streamConfig({ max_msgs_per_subject: 2 }));
    for (let i = 0; i < 200; i++) {
      world.publish(`k.${i % 4}.${i % 40}`);
      world.clock.turn();
      if (i % 3 === 0) world.group.commit(1);
    }
    world.settle();
    expect(seqsOf(world)).toEqual(Array.from({ length: 80 }, (_, i) => 721 + i));
  });

  test('a rollup of a subject with many messages', () => {
    const world = filled({});
    for (let i = 0; i < 100; i++) world.publish('k.0.0');
    world.settle();
    const before = world.partition.localState().messages;
    world.publish('k.0.0', 'last', { 'Nats-Rollup': 'sub' });
    const { most, entries } = settleOneByOne(world);
    expect(world.partition.localState().messages).toBe(before - 115 + 1);
    expect(most).toBeLessThanOrEqual(MOST);
    expect(entries).toBeGreaterThan(5);
  });

  test('a rollup of a subject that looks like a wildcard takes nothing else', () => {
    const apply = (machine: StreamMachine, index: number, fill: (builder: BatchBuilder) => void): void => {
      const builder = new BatchBuilder();
      builder.begin(machine.lastSeq + 1, 1000, WORK);
      fill(builder);
      machine.apply(index, builder.finish());
    };
    const machine = new StreamMachine({ consumers: createConsumerTable, seed: 3, toLocalFirst: (first) => first });
    apply(machine, 1, (builder) => {
      builder.command(CommandType.config, encodeConfig(1, streamConfig({})));
      for (let i = 0; i < 40; i++) builder.publish(i % 2 === 0 ? 'k.*' : 'k.a', EMPTY, EMPTY, 0, 0, 0, 0);
    });
    apply(machine, 2, (builder) => builder.publish('k.*', EMPTY, EMPTY, ROLLUP_SUBJECT, 0, 0, 0));
    for (let index = 3; machine.hasBacklog; index++)
      apply(machine, index, (builder) => builder.command(CommandType.expire, encodeExpire(EXPIRE_BACKLOG, 0)));
    expect(machine.index.messages).toBe(21);
    expect(machine.index.count(0, compileFilter(['k.a']))).toBe(20);
  });

  test('a rollup of everything is one step, whoever has messages pending', () => {
    const world = filled({}, (each) => CREATE(each, 'c', 'k.>'));
    world.partition.pull('c', 'inbox', new TextEncoder().encode('{"batch":50,"expires":60000000000}'));
    world.settle();
    world.publish('k.9', 'last', { 'Nats-Rollup': 'all', 'Nats-Msg-Id': 'm' });
    world.publish('k.9', 'newer');
    world.settle();
    expect(seqsOf(world)).toEqual([601, 602]);
    expect(world.ask((done) => world.partition.get({ seq: 601 }, done))).toMatchObject({ subject: 'k.9' });
    const state = world.ask((done) => world.partition.consumerInfo('c', done));
    expect(state).toMatchObject({ num_pending: 2, num_ack_pending: 0, ack_floor: { stream_seq: 50 } });
    const log = world.group.log.length;
    expect(world.ask((done) => world.partition.purge({}, done))).toBe(2);
    expect(world.group.log.length).toBe(log + 1);
    expect(world.ask((done) => world.partition.consumerInfo('c', done))).toMatchObject({ num_pending: 0 });
  });

  test('interest that ends, through a change of leaders; what is wanted again by then stays', () => {
    const world = filled({ retention: 'interest' }, (each) => {
      CREATE(each, 'c', 'k.>');
      CREATE(each, 'd', 'k.1.>');
    });
    world.partition.deleteConsumer('c', () => {});
    world.clock.turn();
    world.group.commit(1);
    const afterOne = world.partition.localState().messages;
    expect(afterOne).toBeGreaterThan(580);
    const state = [...world.partition.snapshot()];
    world.group.depose();
    world.group.lead();
    CREATE(world, 'e', 'k.2.3');
    CREATE(world, 'f', 'k.2.38');
    const { most } = settleOneByOne(world);
    expect(most).toBeLessThanOrEqual(MOST);
    const { index } = world.partition.machine;
    const left = seqsOf(world).map((seq) => index.subjectOf(seq));
    expect(left.filter((subject) => subject.startsWith('k.1.'))).toHaveLength(150);
    expect(left.filter((subject) => subject === 'k.2.38').length).toBeGreaterThanOrEqual(14);
    expect(left).toHaveLength(150 + left.filter((subject) => subject === 'k.2.38').length);
    // A replica that got the state in the middle comes to the same.
    const other = new World({ retention: 'interest' }, { entryWork: WORK });
    const sink = other.partition.restore(0);
    for (const part of state) sink.push(part);
    sink.end();
    expect(other.partition.machine.hasBacklog).toBe(true);
  });
});

test('subjects in slices: each once', () => {
  const { index } = new Stream().machine;
  const seen: number[] = [];
  let slices = 0;
  for (let from = 0; ; slices++) {
    from = index.someSubjects(from, compileFilter(['s.*.*']), 64, (id) => seen.push(id));
    if (from === 0) break;
  }
  expect(slices).toBeGreaterThan(10);
  expect(new Set(seen).size).toBe(index.subjects);
  expect(seen.length).toBe(index.subjects);
});

test('a filter that is the stream’s own subjects counts as no filter at all, until another subject comes', () => {
  const stream = new Stream();
  const { index } = stream.machine;
  const own = compileFilter(['none.>', 's.>']);
  const all = compileFilter([]);
  stream.purge({ filter: 's.3.>', below: 1000, from: 0, keep: 0, limit: 0, budget: 0 }, () => {});
  const expected = (matches: (subject: string) => boolean): number[] =>
    stream.seqs.filter((seq) => matches(index.subjectOf(seq)));
  const check = (): void => {
    const seqs = expected((subject) => subject.startsWith('s.'));
    const lasts = new Map(seqs.map((seq) => [index.subjectOf(seq), seq]));
    expect(index.firstLast(own)).toBe(Math.min(...lasts.values()));
    expect(index.lastMatching(own)).toBe(seqs.at(-1));
    for (const from of [0, 17, 1500, MESSAGES])
      expect(index.count(from, own)).toBe(seqs.filter((seq) => seq >= from).length);
  };
  check();
  expect(index.count(0, own)).toEqual(index.count(0, all));
  stream.apply((builder) => builder.publish('other', EMPTY, EMPTY, 0, 0, 0, 0));
  expect(index.count(0, all)).toBe(index.count(0, own) + 1);
  check();
});

test('deleted messages in slices, while more of them go', () => {
  const { machine } = new Stream();
  const { index } = machine;
  const removed = new Set<number>();
  const remove = (seq: number): void => {
    if (index.remove(seq)) removed.add(seq);
  };
  for (let seq = 3; seq < MESSAGES; seq += 3) remove(seq);
  const clock = new FakeClock();
  const indexInSlices = {
    get firstSeq() {
      return index.firstSeq;
    },
    someDeleted: (from: number, _max: number, each: (seq: number) => void) => index.someDeleted(from, 100, each),
  } as MessageIndex;
  let list: number[] | undefined;
  const toStream = (local: number): number => local * 2 + 1;
  listDeleted(clock, indexInSlices, toStream, (gone) => {
    list = gone;
  });
  let slices = 1;
  for (; list === undefined; slices++) {
    // Ahead of it, far behind it, and the first of all.
    if (slices < 20) remove(2501 + 2 * slices);
    remove(MESSAGES);
    remove(index.firstSeq);
    remove(100);
    clock.step(clock.ms);
  }
  expect(slices).toBeGreaterThan(20);
  const expected = [...removed].sort((a, b) => a - b).filter((seq) => seq > index.firstSeq && seq !== 100);
  expect(list.filter((seq) => seq !== toStream(100))).toEqual(expected.map(toStream));
});
