// What looks at or removes many messages does so in parts, and the parts together do the same as one step would.
import { describe, expect, test } from 'vitest';
import {
  BatchBuilder,
  CommandType,
  encodeConfig,
  encodePurge,
  type PurgeCommand,
} from '../../../src/stream/batch-codec.ts';
import { compileFilter } from '../../../src/stream/consumer-filter.ts';
import { createConsumerTable } from '../../../src/stream/consumers.ts';
import { StreamMachine } from '../../../src/stream/machine.ts';
import { NONE, streamConfig, World } from './fake-world.ts';

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
    this.builder.begin(this.machine.lastSeq + 1, this.index * 1000);
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
      const { from, below, limit } = result;
      next = { ...command, from, below, limit, keep: 0 };
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
