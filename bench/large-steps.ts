// `npm run large -- --only steps`: the longest single step of a partition (one entry applied, one callback, one timer) while it does what
// goes over many messages, in milliseconds of CPU of this thread. Everything real but the clock and the group, which commits when
// told. DESIGN §5: no step above 10 ms, however large the stream. Used by large.ts.
import type { ConsumerConfig, StreamConfig } from '../src/stream/config.ts';
import type { AckSink } from '../src/stream/types.ts';
import { streamConfig, World } from '../test/unit/stream/fake-world.ts';

const NONE = new Uint8Array(0);
const IN_FLIGHT = 8_000;
const NOBODY: AckSink = { stored() {}, refused() {}, returned() {} };
const WAIT_NS = 30e9;

/** Names a message's subject by its number. */
type Naming = (n: number) => string;

interface Case {
  name: string;
  config?: Partial<StreamConfig>;
  subject: Naming;
  /** What is there before the messages: consumers. */
  before?: (world: World) => void;
  /** What happens to them first. */
  prepare?: (world: World, messages: number) => void;
  /** A step itself; everything that follows up to rest is measured, too. */
  begin: (world: World, messages: number) => void;
  /** How far the clock goes on meanwhile. */
  forMs?: number;
}

const one: Naming = () => 'k.one';
const each: Naming = (n) => `k.${n % 7}.${n}`;
const few: Naming = (n) => `k.${n % 7}.${n % 1000}`;

function consumer(name: string, change: Partial<ConsumerConfig>): ConsumerConfig {
  return {
    name,
    durable_name: name,
    ack_policy: 'explicit',
    ack_wait: WAIT_NS,
    max_deliver: -1,
    deliver_policy: 'all',
    replay_policy: 'instant',
    max_ack_pending: -1,
    ...change,
  } as ConsumerConfig;
}

const create = (world: World, name: string, change: Partial<ConsumerConfig> = {}): void =>
  world.partition.createConsumer(consumer(name, change), '', () => {});

const update = (change: Partial<StreamConfig>) => (world: World) => world.partition.updateConfig(streamConfig(change));

function pull(world: World, name: string, batch: number): void {
  world.partition.pull(name, 'inbox', new TextEncoder().encode(JSON.stringify({ batch, expires: 60e9 })));
}

function pullAll(world: World, name: string, messages: number): void {
  for (let left = messages; left > 0; left -= 100_000) {
    pull(world, name, Math.min(left, 100_000));
    world.settle();
  }
  world.clock.advance(300);
  world.settle();
}

const WATCHING: Partial<ConsumerConfig> = { filter_subject: 'k.*.>' };

const CASES: Case[] = [
  { name: 'max_msgs lowered', subject: one, begin: update({ max_msgs: 10 }) },
  { name: 'max_bytes lowered', subject: each, begin: update({ max_bytes: 1000 }) },
  { name: 'max_msgs_per_subject lowered, one subject', subject: one, begin: update({ max_msgs_per_subject: 1 }) },
  { name: 'max_msgs_per_subject lowered, 1,000 subjects', subject: few, begin: update({ max_msgs_per_subject: 1 }) },
  {
    name: 'another field changed, a subject each',
    config: { max_msgs_per_subject: 1 },
    subject: each,
    begin: update({ max_msgs_per_subject: 1, description: 'x' }),
  },
  {
    name: 'duplicate window ended',
    subject: one,
    begin: update({ duplicate_window: 0 }),
  },
  {
    name: 'rollup of everything',
    subject: each,
    begin: (world) => void world.publish('k.0', '', { 'Nats-Rollup': 'all' }),
  },
  {
    name: 'rollup of one subject',
    subject: one,
    begin: (world) => void world.publish('k.one', '', { 'Nats-Rollup': 'sub' }),
  },
  { name: 'purge', subject: each, begin: (world) => world.partition.purge({}, () => {}) },
  {
    name: 'purge under a consumer',
    subject: each,
    before: (world) => create(world, 'c'),
    begin: (world) => world.partition.purge({}, () => {}),
  },
  { name: 'purge, keep', subject: one, begin: (world) => world.partition.purge({ keep: 10 }, () => {}) },
  {
    name: 'purge, wildcard',
    subject: each,
    begin: (world) => world.partition.purge({ filter: 'k.3.>' }, () => {}),
  },
  {
    name: 'purge, wildcard and keep',
    subject: each,
    begin: (world) => world.partition.purge({ filter: 'k.*.>', keep: 10 }, () => {}),
  },
  {
    name: 'max_age: all too old at once',
    config: { max_age: 3600e9 },
    subject: each,
    begin: () => {},
    forMs: 3_700_000,
  },
  {
    name: 'interest: the only consumer deleted',
    config: { retention: 'interest' },
    subject: each,
    before: (world) => create(world, 'c'),
    begin: (world) => world.partition.deleteConsumer('c', () => {}),
  },
  {
    name: 'interest: one of two consumers deleted',
    config: { retention: 'interest' },
    subject: each,
    before: (world) => {
      create(world, 'c', { filter_subject: 'k.>' });
      create(world, 'd', { filter_subject: 'k.*.>' });
    },
    begin: (world) => world.partition.deleteConsumer('c', () => {}),
  },
  {
    name: 'consumer: last_per_subject, durable',
    subject: each,
    begin: (world) => create(world, 'c', { deliver_policy: 'last_per_subject' }),
  },
  {
    name: 'consumer: last_per_subject, as a watch of a KV',
    subject: each,
    begin: (world) =>
      create(world, 'c', {
        durable_name: undefined,
        ack_policy: 'none',
        mem_storage: true,
        num_replicas: 1,
        deliver_policy: 'last_per_subject',
        inactive_threshold: 300e9,
      }),
  },
  { name: 'consumer: filter with a wildcard', subject: each, begin: (world) => create(world, 'c', WATCHING) },
  {
    name: 'consumer: last that matches a wildcard',
    subject: each,
    begin: (world) => create(world, 'c', { ...WATCHING, deliver_policy: 'last' }),
  },
  {
    name: 'consumer: the next match is far away',
    subject: (n) => `k.${n === 0 ? 'first' : 'x'}.${n}`,
    prepare: (world) => create(world, 'c', { filter_subject: 'k.first.>' }),
    begin: (world) => pull(world, 'c', 10),
  },
  {
    name: 'keys replaced under a consumer with a wildcard',
    config: { max_msgs_per_subject: 1 },
    subject: each,
    before: (world) => create(world, 'c', WATCHING),
    prepare: (world) => pullAll(world, 'c', 1),
    begin: (world, messages) => {
      world.publish(each(messages - 1));
      pull(world, 'c', 1);
    },
  },
  {
    name: 'all pending: ack wait over',
    subject: one,
    before: (world) => create(world, 'c'),
    prepare: (world, messages) => pullAll(world, 'c', messages),
    begin: () => {},
    forMs: 31_000,
  },
  {
    name: 'all pending: a leader begins',
    subject: one,
    before: (world) => create(world, 'c'),
    prepare: (world, messages) => pullAll(world, 'c', messages),
    begin: (world) => {
      world.group.depose(false);
      world.group.lead();
    },
  },
  {
    name: 'all pending: one ack for all',
    subject: one,
    before: (world) => create(world, 'c', { ack_policy: 'all' }),
    prepare: (world, messages) => pullAll(world, 'c', messages),
    begin: (world, messages) => world.partition.ack('c', messages, messages, 1, NONE, ''),
  },
  {
    name: 'work queue, all pending: one ack for all',
    config: { retention: 'workqueue' },
    subject: one,
    before: (world) => create(world, 'c', { ack_policy: 'all' }),
    prepare: (world, messages) => pullAll(world, 'c', messages),
    begin: (world, messages) => world.partition.ack('c', messages, messages, 1, NONE, ''),
  },
  {
    name: 'stream info with subjects',
    subject: each,
    begin: (world) =>
      world.partition.info({ deletedDetails: false, subjects: { filter: '>', offset: 0, limit: 100_000 } }, () => {}),
  },
  {
    name: 'stream info with deleted details',
    config: { max_msgs_per_subject: 1 },
    subject: (n) => (n % 2 === 0 ? 'k.one' : each(n)),
    begin: (world) => world.partition.info({ deletedDetails: true }, () => {}),
  },
  {
    name: 'get: last by a wildcard',
    subject: each,
    begin: (world) => world.partition.get({ last_by_subj: 'k.*.>' }, () => {}),
  },
  {
    name: 'get: last of many subjects',
    subject: each,
    begin: (world) => world.partition.getLast({ filters: ['k.*.>'], max: 1000 }, () => {}),
  },
  {
    name: 'get: batch from a start, wildcard',
    subject: each,
    begin: (world) => world.partition.getBatch({ filter: 'k.3.>', seq: 1, count: 100, bytes: 1 << 20 }, () => {}),
  },
  {
    name: 'a snapshot begins',
    subject: each,
    begin: (world) => void world.partition.snapshot(),
  },
  {
    name: 'digest with all pending',
    subject: one,
    before: (world) => create(world, 'c'),
    prepare: (world, messages) => pullAll(world, 'c', messages),
    begin: (world) => void world.partition.digest(),
  },
  { name: 'the stream ends', subject: each, begin: (world) => world.partition.close('deleted') },
];

const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
};

/** Longest step so far, and how many there were. */
class Meter {
  longestMs = 0;
  sumMs = 0;
  steps = 0;
  what = '';

  step(what: string, run: () => void): void {
    const before = cpuMs();
    run();
    const took = cpuMs() - before;
    this.steps++;
    this.sumMs += took;
    if (took <= this.longestMs) return;
    this.longestMs = took;
    this.what = what;
  }
}

function fill(world: World, messages: number, subject: Naming): void {
  const payload = new Uint8Array(16);
  for (let n = 0; n < messages; n++) {
    world.partition.publish(subject(n), NONE, payload, NOBODY, 0, world.group.term);
    if (n % IN_FLIGHT === IN_FLIGHT - 1) world.settle();
  }
  world.settle();
}

/** Every entry, callback and due timer is a step of its own. */
function measure(world: World, meter: Meter, forMs: number): void {
  const { group, clock } = world;
  const untilMs = clock.ms + forMs;
  for (let moved = true; moved; ) {
    while (group.uncommitted > 0) meter.step('apply', () => group.commit(1));
    meter.step('callback', () => {
      moved = clock.step(untilMs);
    });
  }
}

const FILLING = 'filling, a subject each';
const PER_TURN = 1_000;

/** A turn here is a thousand messages published, committed and applied. */
function measureFilling(messages: number, print: (line: string) => void): void {
  const world = new World({}).lead();
  const meter = new Meter();
  const payload = new Uint8Array(16);
  for (let n = 0; n < messages; ) {
    meter.step('turn', () => {
      for (const end = n + PER_TURN; n < end; n++)
        world.partition.publish(each(n), NONE, payload, NOBODY, 0, world.group.term);
      world.settle();
    });
  }
  print(`${meter.longestMs.toFixed(1).padStart(9)} ms at most (turn of ${PER_TURN} messages): ${FILLING}`);
}

/** `only`: part of a name. */
export function measureSteps(messages: number, only: string, print: (line: string) => void): void {
  if (FILLING.includes(only)) measureFilling(messages, print);
  for (const { name, config, subject, before, prepare, begin, forMs } of CASES) {
    if (!name.includes(only)) continue;
    const world = new World(config ?? {}).lead();
    before?.(world);
    world.settle();
    fill(world, messages, subject);
    prepare?.(world, messages);
    world.settle();
    const meter = new Meter();
    meter.step('call', () => begin(world, messages));
    measure(world, meter, forMs ?? 0);
    const { longestMs, what, steps, sumMs } = meter;
    const left = world.partition.machine.index.messages;
    print(
      `${longestMs.toFixed(1).padStart(9)} ms at most (${what}); ${sumMs.toFixed(0)} ms in ${steps} steps: ${name} (${left} left)`,
    );
  }
}
