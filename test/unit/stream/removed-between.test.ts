// What clients, and other commands, do between the entries of a removal in parts: no message leaves that nobody asked to leave, and an
// answer says what is so.
import { expect, test } from 'vitest';
import type { ConsumerConfig } from '../../../src/stream/config.ts';
import { streamConfig, World } from './fake-world.ts';

/** An entry removes eleven messages at most. */
const entryWork = 80;

const bodyless = (world: World, count: number, subject: (i: number) => string): void => {
  for (let i = 0; i < count; i++) world.publish(subject(i));
  world.settle();
};

const seqsOf = (world: World): number[] => {
  const { index } = world.partition.machine;
  const seqs: number[] = [];
  for (let seq = index.nextFrom(0); seq !== 0; seq = index.nextFrom(seq + 1)) seqs.push(seq);
  return seqs;
};

test.each([{ filter: '' }, { filter: 'k.a' }, { filter: 'k.*' }])(
  'two purges that keep, at a time: what is to be kept stays, $filter',
  ({ filter }) => {
    const world = new World({}, { entryWork }).lead();
    bodyless(world, 200, () => 'k.a');
    const gone: unknown[] = [];
    for (let i = 0; i < 2; i++) world.partition.purge({ filter, keep: 30 }, (result) => gone.push(result));
    world.settle();
    expect(seqsOf(world)).toEqual(Array.from({ length: 30 }, (_, i) => 171 + i));
    expect(gone.reduce((sum: number, each) => sum + (each as number), 0)).toBe(170);
  },
);

test('a limit takes messages while a purge that keeps is on its way', () => {
  const world = new World({}, { entryWork }).lead();
  bodyless(world, 200, () => 'k.a');
  world.partition.purge({ keep: 30 }, () => {});
  world.clock.turn();
  world.group.commit(1);
  world.partition.updateConfig(streamConfig({ max_msgs: 100 }));
  world.settle();
  expect(seqsOf(world)).toEqual(Array.from({ length: 30 }, (_, i) => 171 + i));
});

test('publishes that come while a smaller limit per subject has no work left do not carry the surplus beyond its reach', () => {
  const world = new World({}, { entryWork }).lead();
  bodyless(world, 300, (i) => (i < 280 ? `k.${i}` : 'k.a'));
  world.partition.updateConfig(streamConfig({ max_msgs_per_subject: 2 }));
  // In the entry of the new limit, whose work looks at other subjects: as many come as go.
  for (let i = 0; i < 20; i++) world.publish('k.a');
  world.settle();
  expect(seqsOf(world).slice(-3)).toEqual([280, 319, 320]);
});

const consumer = (name: string): ConsumerConfig => ({
  name,
  durable_name: name,
  ack_policy: 'all',
  ack_wait: 30e9,
  deliver_policy: 'all',
  replay_policy: 'instant',
  num_replicas: 1,
});

test('a stream that keeps by interest no more: what was wanted when the interest of another ended stays', () => {
  const world = new World({ retention: 'interest' }, { entryWork }).lead();
  for (const name of ['c', 'd']) world.partition.createConsumer(consumer(name), '', () => {});
  world.settle();
  bodyless(world, 200, () => 'k.a');
  world.partition.deleteConsumer('c', () => {});
  world.clock.turn();
  world.group.commit(1);
  expect(world.partition.machine.hasBacklog).toBe(true);
  world.partition.updateConfig(streamConfig({ retention: 'limits' }));
  world.partition.deleteConsumer('d', () => {});
  world.settle();
  expect(seqsOf(world)).toHaveLength(200);
});

test('a rollup is acknowledged when what it rolls up is gone, and what came after it behind it', () => {
  const world = new World({}, { entryWork }).lead();
  bodyless(world, 200, () => 'k.a');
  world.partition.updateConfig(streamConfig({ max_msgs_per_subject: 199 }));
  const rollup = world.publish('k.a', 'x', { 'Nats-Rollup': 'sub', 'Nats-Msg-Id': 'r' });
  const later = world.publish('k.b');
  let entries = 0;
  for (;;) {
    world.clock.turn();
    if (world.group.uncommitted === 0) break;
    world.group.commit(1);
    entries++;
    const { messages } = world.partition.localState();
    for (const token of [rollup, later]) expect(world.outcome(token) !== undefined).toBe(messages <= 2 && entries > 1);
  }
  expect(entries).toBeGreaterThan(10);
  expect(world.outcomes.order.slice(-2)).toEqual([rollup, later]);
  expect(seqsOf(world)).toEqual([201, 202]);
});

test.each(['sub', ''])('a limit takes nothing that a rollup makes room for, however long that takes: %j', (rollup) => {
  const world = new World({}, { entryWork }).lead();
  bodyless(world, 200, (i) => (i === 1 ? 'k.keep' : 'k.a'));
  world.partition.updateConfig(streamConfig({ max_bytes: world.partition.machine.index.bytes }));
  world.settle();
  // More than what an entry can remove.
  world.publish('k.a', 'x'.repeat(2_000), rollup === '' ? {} : { 'Nats-Rollup': rollup });
  // It comes before there is an end of it.
  world.publish('k.b', 'x');
  world.settle();
  expect(world.partition.machine.hasBacklog).toBe(false);
  if (rollup !== '') expect(seqsOf(world)).toEqual([2, 201, 202]);
  else expect(seqsOf(world)[0]).toBeGreaterThan(11);
});

test('a leader that finds a rollup half done does not acknowledge it again before it is done', () => {
  const world = new World({}, { entryWork }).lead();
  bodyless(world, 200, () => 'k.a');
  const rollup = world.publish('k.a', 'x', { 'Nats-Rollup': 'sub', 'Nats-Msg-Id': 'r' });
  world.clock.turn();
  world.group.commit(1);
  world.group.depose();
  expect(world.outcome(rollup)).toMatchObject({ err_code: 10008 });
  world.group.lead();
  const again = world.publish('k.a', 'x', { 'Nats-Rollup': 'sub', 'Nats-Msg-Id': 'r' });
  for (;;) {
    world.clock.turn();
    expect(world.outcome(again) === undefined || world.partition.localState().messages === 1).toBe(true);
    if (world.group.uncommitted === 0) break;
    world.group.commit(1);
  }
  expect(world.outcome(again)).toEqual({ seq: 201, duplicate: true });
});
