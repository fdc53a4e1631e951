// Bodies that came from disk: one budget for all partitions, the least recently used goes first, what is closed keeps nothing.
import { expect, test } from 'vitest';
import type { Group } from '../../../cluster/host/types.ts';
import { BodyCache, ColdBodies } from '../../../src/stream/body-cache.ts';

const BODY_BYTES = 100;

/** Bodies tell where they are from; reads answer when the test says so. */
class Disk {
  reads: string[] = [];
  answers: (() => void)[] = [];
  memory = new Set<number>();

  group(name: string): Group {
    const body = (index: number): Uint8Array => Buffer.from(`${name}${index}`.padEnd(BODY_BYTES));
    return {
      bodyFromMemory: (index: number) => (this.memory.has(index) ? body(index) : undefined),
      readBody: (index: number, done: (body: Uint8Array | undefined) => void) => {
        this.reads.push(`${name}${index}`);
        this.answers.push(() => done(body(index)));
      },
    } as Group;
  }

  answer(): void {
    const { answers } = this;
    this.answers = [];
    for (const each of answers) each();
  }
}

const textOf = (body: Uint8Array | undefined): string | undefined => body && Buffer.from(body).toString().trim();

test('one budget for all, the least recently used goes first', () => {
  const disk = new Disk();
  const shared = new ColdBodies(4 * BODY_BYTES);
  const [a, b] = ['a', 'b'].map((name) => new BodyCache(shared, disk.group(name)));
  const got: (string | undefined)[] = [];
  for (const index of [1, 2]) for (const cache of [a, b]) cache.read(index, (body) => got.push(textOf(body)));
  a.read(2, (body) => got.push(textOf(body)));
  disk.answer();
  expect(disk.reads).toEqual(['a1', 'b1', 'a2', 'b2']);
  expect(got).toEqual(['a1', 'b1', 'a2', 'a2', 'b2']);
  expect(shared.bytes).toBe(4 * BODY_BYTES);
  expect([a.now(1), a.now(2), b.now(2)].map(textOf)).toEqual(['a1', 'a2', 'b2']);
  a.read(3, () => {});
  disk.answer();
  expect([a.now(1), a.now(2), a.now(3), b.now(1), b.now(2)].map(textOf)).toEqual(['a1', 'a2', 'a3', undefined, 'b2']);
  expect(shared.bytes).toBe(4 * BODY_BYTES);
});

test('one that is larger than the budget is kept alone; the same one again replaces itself', () => {
  const disk = new Disk();
  const shared = new ColdBodies(BODY_BYTES - 1);
  const cache = new BodyCache(shared, disk.group('a'));
  for (const index of [1, 2, 2]) {
    cache.read(index, () => {});
    disk.answer();
  }
  expect([cache.now(1), textOf(cache.now(2)), shared.bytes]).toEqual([undefined, 'a2', BODY_BYTES]);
});

test('what is cleared or closed takes nothing of the budget, not even what is still being read', () => {
  const disk = new Disk();
  const shared = new ColdBodies(4 * BODY_BYTES);
  const [a, b] = ['a', 'b'].map((name) => new BodyCache(shared, disk.group(name)));
  for (const index of [1, 2]) for (const cache of [a, b]) cache.read(index, () => {});
  disk.answer();
  a.clear();
  expect([shared.bytes, textOf(b.now(1)), a.now(1)]).toEqual([2 * BODY_BYTES, 'b1', undefined]);
  let late: string | undefined;
  b.read(3, (body) => {
    late = textOf(body);
  });
  b.close();
  disk.answer();
  expect([late, shared.bytes, b.now(3)]).toEqual(['b3', 0, undefined]);
  a.read(4, () => {});
  disk.answer();
  expect([shared.bytes, textOf(a.now(4))]).toEqual([BODY_BYTES, 'a4']);
});
