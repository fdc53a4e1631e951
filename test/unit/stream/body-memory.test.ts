import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BatchBuilder } from '../../../src/stream/batch-codec.ts';
import { BENCH_BYTES_MAX, BodyMemory } from '../../../src/stream/body-memory.ts';

const NO_BYTES = new Uint8Array(0);

function begin(builder: BatchBuilder): BatchBuilder {
  builder.begin(1, 1, 0);
  return builder;
}

test('bodies are what was built, alone or beside others on the same memory, and stay so', () => {
  const size = fc.oneof(fc.nat(300), fc.nat(6_000), fc.nat(70_000), fc.nat({ max: 1_200_000 }));
  const step = fc.record({ who: fc.nat(2), bytes: size, end: fc.constantFrom('no', 'no', 'finish', 'drop') });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => {
      const shared = new BodyMemory();
      const together = [0, 1, 2].map(() => begin(new BatchBuilder(shared)));
      const alone = [0, 1, 2].map(() => begin(new BatchBuilder()));
      const pairs: [Uint8Array, Uint8Array][] = [];
      for (const [i, { who, bytes, end }] of steps.entries()) {
        const payload = new Uint8Array(bytes).fill(i + 1);
        for (const builder of [together[who], alone[who]]) builder.publish(`s.${i}`, NO_BYTES, payload, 0, 0, 0, 0);
        if (end === 'no') continue;
        if (end === 'finish') {
          const body = together[who].finish();
          pairs.push([body, alone[who].finish()]);
        }
        begin(together[who]);
        alone[who] = begin(new BatchBuilder());
      }
      for (const [body, expected] of pairs) expect(Buffer.compare(body, expected)).toBe(0);
    }),
    { numRuns: 60 },
  );
});

test('a batch leaves no memory behind that is not its body', () => {
  const memory = new BodyMemory();
  const builder = new BatchBuilder(memory);
  const payload = new Uint8Array(1000);
  for (let round = 0; round < 3; round++) {
    begin(builder);
    for (let i = 0; i < 500; i++) builder.publish('s', NO_BYTES, payload, 0, 0, 0, 0);
    const body = builder.finish();
    expect(body.buffer.byteLength).toBe(body.length);
  }
  // A huge message is its own memory, and the next batch does not expect another.
  begin(builder).publish('s', NO_BYTES, new Uint8Array(9 << 20), 0, 0, 0, 0);
  const huge = builder.finish();
  expect(huge.buffer.byteLength - huge.length).toBeLessThan(100);
  begin(builder);
  expect(builder.buffer.length).toBe(BENCH_BYTES_MAX);
  builder.drop();
  const bench = memory.bench(300_000);
  memory.giveBack(bench);
  expect(memory.bench(300_000)).toBe(bench);
});
