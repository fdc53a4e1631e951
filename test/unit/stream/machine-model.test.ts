import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BatchBuilder,
  CommandType,
  ENTRY_WORK,
  EXPIRE_AGE,
  EXPIRE_BACKLOG,
  EXPIRE_IDS,
  encodeConfig,
  encodeDelete,
  encodeExpire,
  encodePurge,
  ROLLUP_ALL,
  ROLLUP_SUBJECT,
} from '../../../src/stream/batch-codec.ts';
import type { StreamConfig } from '../../../src/stream/config.ts';
import { compileFilter } from '../../../src/stream/consumer-filter.ts';
import { createConsumerTable } from '../../../src/stream/consumers.ts';
import { StreamMachine } from '../../../src/stream/machine.ts';
import { streamConfig } from './fake-world.ts';
import { Model, type Step } from './model.ts';

const SUBJECTS = ['a', 'b', 'a.b', 'a.c', 'a.b.c', 'ü.x', 'long.subject.with.many.tokens.to.cross.eight.bytes'];
const FILTERS = ['', '>', 'a', 'a.*', 'a.>', '*', 'none', 'ü.x'];
const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();

function newMachine(seed: number): StreamMachine {
  return new StreamMachine({ consumers: createConsumerTable, seed, toLocalFirst: (first) => first });
}

const concat = (parts: Iterable<Uint8Array>): Uint8Array => new Uint8Array(Buffer.concat([...parts]));

/** In pieces that end anywhere. */
function restore(machine: StreamMachine, state: Uint8Array): void {
  const sink = machine.restore();
  for (let at = 0, length = 1; at < state.length; at += length, length = (length * 5) % 977) {
    sink.push(state.slice(at, at + length));
  }
  sink.end();
}

function restored(machine: StreamMachine, seed: number): StreamMachine {
  const copy = newMachine(seed);
  restore(copy, concat(machine.snapshot()));
  return copy;
}

const limit = fc.constantFrom(-1, -1, 0, 1, 3, 10);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('publish' as const),
      subject: fc.constantFrom(...SUBJECTS),
      payload: fc.nat(40),
      hdr: fc.boolean(),
      id: fc.constantFrom('', '', 'i1', 'i2', 'i3', 'an-id-longer-than-eight-bytes'),
      rollup: fc.constantFrom('', '', '', '', '', '', '', 'sub', 'all') as fc.Arbitrary<'' | 'sub' | 'all'>,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('purge' as const),
      filter: fc.constantFrom(...FILTERS),
      below: fc.constantFrom(0, 0, 1, 5, 40),
      keep: fc.constant(0),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('purge' as const),
      filter: fc.constantFrom(...FILTERS),
      below: fc.constant(0),
      keep: fc.constantFrom(0, 1, 2, 100),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('delete' as const), seq: fc.nat(60) }) },
  {
    weight: 1,
    arbitrary: fc
      .record({
        max_msgs: limit,
        max_msgs_per_subject: limit,
        max_bytes: fc.constantFrom(-1, -1, 60, 300),
        max_age: fc.constantFrom(0, 50_000_000, 1_000_000_000),
        duplicate_window: fc.constantFrom(0, 50_000_000, 1_000_000_000),
        discard: fc.constantFrom('old', 'old', 'new') as fc.Arbitrary<'old' | 'new'>,
        discard_new_per_subject: fc.boolean(),
      })
      .map((change) => ({ kind: 'config' as const, change })),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('expire' as const), max: fc.constantFrom(1, 3, 1000) }) },
);

const entries = fc.array(
  fc.record({
    steps: fc.array(step, { minLength: 1, maxLength: 8 }),
    gapUs: fc.constantFrom(0, 1000, 30_000, 400_000),
    /** Log indexes skip what is not a batch. */
    skip: fc.constantFrom(1, 1, 1, 2, 3000),
    snapshot: fc.constantFrom(false, false, false, true),
  }),
  { minLength: 1, maxLength: 40 },
);

describe('machine against a naive model', () => {
  /** Entries of version 1 have no bound; with little work a command is gone on with in the entries after it. */
  test.each([
    { storage: 'file', work: 0 },
    { storage: 'memory', work: ENTRY_WORK },
    { storage: 'file', work: 3 },
  ] as const)('%o', ({ storage, work }) => {
    let gaps = 0;
    fc.assert(
      fc.property(entries, (drawn) => {
        const log =
          work !== 3 ? drawn : drawn.flatMap(({ steps, ...rest }) => steps.map((step) => ({ ...rest, steps: [step] })));
        const config = streamConfig({ storage });
        const model = new Model(config);
        let machine = newMachine(7);
        const twin = newMachine(8);
        // A leader listens to removals; that must not change results.
        twin.watcher = { onRemoved() {}, onCleared() {} };
        const builder = new BatchBuilder();
        let index = 0;
        let stampUs = 1_000_000;
        let revision = 1;
        let last = 0;
        for (const [number, entry] of log.entries()) {
          index += entry.skip;
          stampUs += entry.gapUs;
          builder.begin(last + 1, stampUs, work);
          if (number === 0) builder.command(CommandType.config, encodeConfig(revision, config));
          for (const each of entry.steps) {
            const hdrLength = append(builder, each, () => ++revision, model.config);
            if (each.kind === 'publish') last++;
            model.apply(each, index, stampUs, hdrLength);
          }
          const body = builder.finish();
          machine.apply(index, body);
          twin.apply(index, body);
          while (machine.hasBacklog) {
            gaps++;
            expect(twin.hasBacklog).toBe(true);
            if (entry.snapshot) machine = restored(machine, 11);
            index++;
            builder.begin(last + 1, stampUs, work);
            builder.command(CommandType.expire, encodeExpire(EXPIRE_BACKLOG, 0));
            const rest = builder.finish();
            machine.apply(index, rest);
            twin.apply(index, rest);
          }
          if (entry.snapshot) {
            const whole = concat(machine.snapshot());
            machine = newMachine(9);
            restore(machine, whole);
            expect(concat(restored(machine, 10).snapshot())).toEqual(concat(machine.snapshot()));
          }
          check(machine, model, stampUs);
          expect(machine.digest()).toBe(twin.digest());
        }
        check(twin, model, stampUs);
      }),
      { numRuns: 60 },
    );
    if (work === 3) expect(gaps).toBeGreaterThan(20);
    else expect(gaps).toBe(0);
  });
});

function append(builder: BatchBuilder, each: Step, nextRevision: () => number, config: StreamConfig): number {
  switch (each.kind) {
    case 'publish': {
      const hdr = each.hdr || each.id !== '' ? encoder.encode(`NATS/1.0\r\nNats-Msg-Id: ${each.id}\r\n\r\n`) : EMPTY;
      const at = 23;
      const end = at + encoder.encode(each.id).length;
      const rollup = each.rollup === 'sub' ? ROLLUP_SUBJECT : each.rollup === 'all' ? ROLLUP_ALL : 0;
      const payload = new Uint8Array(each.payload).fill(each.payload);
      if (each.id === '') builder.publish(each.subject, hdr, payload, rollup, 0, 0, 0);
      else builder.publish(each.subject, hdr, payload, rollup, at, end, 0);
      return hdr.length;
    }
    case 'purge':
      builder.command(CommandType.purge, encodePurge({ ...each, from: 0, limit: 0, budget: 0 }));
      return 0;
    case 'delete':
      builder.command(CommandType.delete, encodeDelete(each.seq));
      return 0;
    case 'config':
      builder.command(CommandType.config, encodeConfig(nextRevision(), { ...config, ...each.change }));
      return 0;
    case 'expire':
      builder.command(CommandType.expire, encodeExpire(EXPIRE_AGE | EXPIRE_IDS, each.max));
      return 0;
  }
}

function check(machine: StreamMachine, model: Model, stampUs: number): void {
  const { index } = machine;
  const seqs = model.seqs;
  const everything = compileFilter([]);
  const seen: number[] = [];
  for (let seq = index.next(0, everything); seq !== 0; seq = index.next(seq + 1, everything)) seen.push(seq);
  expect(seen).toEqual(seqs);
  expect(index.lastSeq).toBe(model.last);
  expect(index.firstSeq).toBe(model.first);
  expect(index.messages).toBe(seqs.length);
  expect(index.bytes).toBe(model.bytes);
  const gone: number[] = [];
  const take = (seq: number): number => gone.push(seq);
  for (let from = index.someDeleted(0, 7, take); from > 0; from = index.someDeleted(from, 7, take));
  const between = Array.from({ length: index.lastSeq - index.firstSeq + 1 }, (_, i) => index.firstSeq + i);
  expect(gone).toEqual(seqs.length === 0 ? [] : between.filter((seq) => !model.messages.has(seq)));
  expect(index.deletedCount).toBe(gone.length);
  for (const seq of seqs) {
    const message = model.messages.get(seq)!;
    const { subject, size, entry } = message;
    const found = {
      subject: index.subjectOf(seq),
      stampUs: index.stampUsOf(seq),
      size: index.sizeOf(seq),
      entry: index.locate(seq),
    };
    expect(found).toEqual({ subject, stampUs: message.stampUs, size, entry });
  }
  const live = new Set([...model.messages.values()].map((message) => message.entry));
  for (const entry of live) expect(machine.isEntryLive(entry)).toBe(true);
  for (let entry = 1; entry < 10; entry++) expect(machine.isEntryLive(entry)).toBe(live.has(entry));

  for (const pattern of [...FILTERS.slice(1), 'a.b']) checkFilter(machine, model, [pattern]);
  checkFilter(machine, model, ['a', 'a.b.c', 'none']);
  checkFilter(machine, model, ['a.*', 'b']);

  const from = seqs.find((seq) => model.messages.get(seq)!.stampUs >= stampUs - 30_000);
  expect(index.seqAtOrAfter(stampUs - 30_000)).toBe(from ?? model.last + 1);
  expect(machine.ids.size).toBe(model.ids.size);
  for (const [id, { seq, stampUs: stamp }] of model.ids) {
    const bytes = encoder.encode(id);
    expect(machine.ids.seqOf(bytes, 0, bytes.length)).toBe(seq);
    expect(machine.ids.stampOf(bytes, 0, bytes.length)).toBe(stamp);
  }
}

function checkFilter(machine: StreamMachine, model: Model, patterns: string[]): void {
  const { index } = machine;
  const filter = compileFilter(patterns);
  const matching = model.seqs.filter((seq) => filter.matches(model.messages.get(seq)!.subject));
  // From anywhere, so that chains are entered in the middle.
  for (let from = Math.max(0, model.last - 25); from <= model.last + 1; from += 3) {
    const rest = matching.filter((seq) => seq >= from);
    expect(index.next(from, filter)).toBe(rest[0] ?? 0);
    expect(index.count(from, filter)).toBe(rest.length);
  }
  const { seqs } = model;
  const subject = (seq: number): string => model.messages.get(seq)!.subject;
  const lasts = new Map(matching.map((seq) => [subject(seq), seq]));
  expect(index.firstLast(filter)).toBe(lasts.size === 0 ? 0 : Math.min(...lasts.values()));
  expect(index.lastMatching(filter)).toBe(matching.at(-1) ?? 0);
  const upTo = model.last - 5;
  const then = new Set(new Map(seqs.filter((seq) => seq <= upTo).map((seq) => [subject(seq), seq])).values());
  const some = seqs.slice(-12);
  const before = (seq: number): number => seqs.findLast((b) => b < seq && subject(b) === subject(seq)) ?? 0;
  expect(some.map((seq) => [index.isLastUpTo(seq, upTo), index.previousOfSubject(seq)])).toEqual(
    some.map((seq) => [then.has(seq), before(seq)]),
  );
  const seen: number[] = [];
  const see = (seq: number): boolean => seen.push(seq) > 0;
  const start = Math.max(1, model.last - 25);
  for (let from = start; from !== 0; ) from = index.someMessages(from, upTo, filter, 3, see);
  expect(seen).toEqual(matching.filter((seq) => seq >= start && seq <= upTo));
}
