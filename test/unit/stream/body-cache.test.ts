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
  isDamaged = false;
  /** Memory that several bodies share. */
  shared: ArrayBufferLike[] = [];

  group(name: string): Group {
    const body = (index: number): Uint8Array => Buffer.from(`${name}${index}`.padEnd(BODY_BYTES));
    return {
      bodyFromMemory: (index: number) => (this.memory.has(index) ? body(index) : undefined),
      readBody: (index: number, done: (body: Uint8Array | undefined) => void) => {
        this.reads.push(`${name}${index}`);
        this.answers.push(() => done(body(index)));
      },
      readBodies: (first: number, _bytesMax: number, done: (bodies: Uint8Array[] | undefined) => void) => {
        this.reads.push(`${name}${first}…`);
        const whole = new Uint8Array(Buffer.concat([0, 1, 2].map((i) => body(first + i))));
        this.shared.push(whole.buffer);
        const bodies = [0, 1, 2].map((i) => whole.subarray(i * BODY_BYTES, (i + 1) * BODY_BYTES));
        this.answers.push(() => done(this.isDamaged ? undefined : bodies));
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
  a.read(30, () => {});
  disk.answer();
  expect([a.now(1), a.now(2), a.now(30), b.now(1), b.now(2)].map(textOf)).toEqual(['a1', 'a2', 'a30', undefined, 'b2']);
  expect(shared.bytes).toBe(4 * BODY_BYTES);
});

test('one that is larger than the budget is kept alone; the same one again replaces itself', () => {
  const disk = new Disk();
  const shared = new ColdBodies(BODY_BYTES - 1);
  const cache = new BodyCache(shared, disk.group('a'));
  for (const index of [1, 20, 20]) {
    cache.read(index, () => {});
    disk.answer();
  }
  expect([cache.now(1), textOf(cache.now(20)), shared.bytes]).toEqual([undefined, 'a20', BODY_BYTES]);
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
  b.read(30, (body) => {
    late = textOf(body);
  });
  b.close();
  disk.answer();
  expect([late, shared.bytes, b.now(30)]).toEqual(['b30', 0, undefined]);
  a.read(40, () => {});
  disk.answer();
  expect([shared.bytes, textOf(a.now(40))]).toEqual([BODY_BYTES, 'a40']);
});

test('who reads in order gets several entries from one read, each in memory of its own', () => {
  const disk = new Disk();
  const shared = new ColdBodies(100 * BODY_BYTES);
  const cache = new BodyCache(shared, disk.group('a'));
  const got: (string | undefined)[] = [];
  const read = (index: number): void => {
    const body = cache.now(index);
    if (body !== undefined) got.push(textOf(body));
    else cache.read(index, (late) => got.push(textOf(late)));
    disk.answer();
  };
  for (const index of [50, 51, 52, 53, 54, 61]) read(index);
  expect(disk.reads).toEqual(['a50', 'a51…', 'a54…', 'a61…']);
  expect(got).toEqual(['a50', 'a51', 'a52', 'a53', 'a54', 'a61']);
  expect(shared.bytes).toBe(10 * BODY_BYTES);
  for (const index of [51, 52, 53]) expect(disk.shared).not.toContain(cache.now(index)?.buffer);
  // Elsewhere, before or far behind: that one alone.
  for (const index of [40, 400]) read(index);
  expect(disk.reads.slice(4)).toEqual(['a40', 'a400']);
});

test('several that cannot be read, or come after the end, leave nothing behind', () => {
  const disk = new Disk();
  disk.isDamaged = true;
  const shared = new ColdBodies(100 * BODY_BYTES);
  const cache = new BodyCache(shared, disk.group('a'));
  const got: (string | undefined)[] = [];
  const read = (index: number) => cache.read(index, (body) => got.push(textOf(body)));
  read(1);
  disk.answer();
  read(2);
  disk.answer();
  expect([cache.now(2), cache.now(3), shared.bytes]).toEqual([undefined, undefined, BODY_BYTES]);
  disk.isDamaged = false;
  read(2);
  cache.close();
  disk.answer();
  expect(disk.reads).toEqual(['a1', 'a2…', 'a2…']);
  expect(got).toEqual(['a1', undefined, 'a2']);
  expect([shared.bytes, cache.now(2), cache.now(3)]).toEqual([0, undefined, undefined]);
});
