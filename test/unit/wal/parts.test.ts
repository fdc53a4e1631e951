// The pure parts of the WAL against simple models, and the whole once on a real disk.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ByteReader, ByteWriter } from '../../../cluster/wal/bytes.ts';
import { type Chain, chainAdd, chainRemove, NO_CHAIN } from '../../../cluster/wal/chain.ts';
import { LocationTable } from '../../../cluster/wal/location-table.ts';
import { createHeader, decodeHeader, encodeHeader, HEADER_BYTES } from '../../../cluster/wal/record.ts';
import { createRow, type Row, readSidecarInfo, SidecarBuilder, SidecarReader } from '../../../cluster/wal/sidecar.ts';
import { scanSnapshot } from '../../../cluster/wal/snapshots.ts';
import { LogEnd, TailCache } from '../../../cluster/wal/tail-cache.ts';
import { TermRuns } from '../../../cluster/wal/term-runs.ts';
import { openWal } from '../../../cluster/wal/wal.ts';
import { createNodeEnv } from '../../../src/kit/env-node.ts';
import { entryOf, MEMBERS, texts } from './wal-world.ts';

const u32 = fc.integer({ min: 0, max: 0xffffffff });
const i32 = fc.integer({ min: -0x80000000, max: 0x7fffffff });
/** Its 128 bits. */
function numberOf({ chain0, chain1, chain2, chain3 }: Chain): bigint {
  return [chain3, chain2, chain1, chain0].reduce((sum, word) => (sum << 32n) | BigInt(word >>> 0), 0n);
}

const u48 = fc.integer({ min: 0, max: 2 ** 48 });

describe('codecs', () => {
  test('varints up to 2^53', () => {
    fc.assert(
      fc.property(fc.array(fc.maxSafeNat()), (numbers) => {
        const out = new ByteWriter(4);
        for (const n of numbers) out.varint(n).u64(n);
        const reader = new ByteReader(out.finish());
        for (const n of numbers) expect([reader.varint(), reader.u64()]).toEqual([n, n]);
        expect(reader.left).toBe(0);
        expect(() => reader.u8()).toThrow('end too early');
      }),
    );
  });

  test('a header comes back as it was; any flipped bit is noticed', () => {
    const header = fc.record({
      type: fc.integer({ min: 1, max: 5 }),
      entryKind: fc.integer({ min: 0, max: 2 }),
      flags: fc.integer({ min: 0, max: 15 }),
      bodyLength: u32,
      bodyCrc: u32,
      segment: u32,
      offset: u32,
      group: u48,
      epoch: u32,
      epochFrom: u48,
      index: u48,
      term: u48,
      chain0: i32,
      chain1: i32,
      chain2: i32,
      chain3: i32,
    });
    fc.assert(
      fc.property(header, fc.integer({ min: 0, max: HEADER_BYTES * 8 - 1 }), (h, bit) => {
        const bytes = new Uint8Array(HEADER_BYTES);
        const view = new DataView(bytes.buffer);
        encodeHeader(bytes, 0, h);
        const read = createHeader();
        expect(decodeHeader(bytes, view, 0, read)).toBe(true);
        expect(read).toEqual(h);
        bytes[bit >> 3] ^= 1 << (bit & 7);
        expect(decodeHeader(bytes, view, 0, read)).toBe(false);
      }),
    );
  });

  test('a table gives its rows back; damaged, it is refused', () => {
    const row = fc.record({
      other: fc.constantFrom(0, 0, 0, 3, 4),
      kind: fc.integer({ min: 0, max: 2 }),
      group: fc.constantFrom(0, 64, 2 ** 40),
      epoch: fc.integer({ min: 0, max: 4 }),
      epochFrom: fc.integer({ min: 0, max: 9 }),
      index: fc.oneof(fc.integer({ min: 0, max: 20 }), u48),
      term: fc.oneof(fc.integer({ min: 0, max: 3 }), u48),
      offset: fc.integer({ min: 0, max: 1e6 }).map((n) => n * 8),
      bodyLength: fc.integer({ min: 0, max: 1e7 }),
      staged: fc.boolean(),
      moved: fc.boolean(),
      damaged: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(row), fc.nat(), (rows, where) => {
        const builder = new SidecarBuilder();
        for (const each of rows) builder.add(each);
        const bytes = builder.finish(9, 2 ** 47, 4096, 123);
        expect(readSidecarInfo(bytes)).toEqual({ segment: 9, walId: 2 ** 47, end: 4096, base: 123, rows: rows.length });
        const reader = new SidecarReader(bytes);
        const found: Row[] = [];
        const next = createRow();
        while (reader.next(next)) found.push({ ...next });
        expect(found).toEqual(rows.map((each) => (each.other === 0 ? each : { ...each, kind: 0 })));
        const bit = where % (bytes.length * 8);
        bytes[bit >> 3] ^= 1 << (bit & 7);
        const info = readSidecarInfo(bytes);
        // Only the padding of the head is not covered.
        if (info !== undefined) expect(bit >> 3).toBeGreaterThanOrEqual(52);
      }),
    );
  });

  test('no bytes make the snapshot decoder throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const read = (at: number, length: number): Uint8Array => bytes.subarray(at, at + length);
        expect(scanSnapshot(bytes.length, read, () => {})).toBeUndefined();
      }),
    );
  });

  test('the chain of a range does not depend on where the log begins', () => {
    const from = (first: number, last: number): bigint => {
      const chain = { ...NO_CHAIN };
      for (let i = first; i <= last; i++) chainAdd(chain, i, 3 + (i >> 2), 1, (i * 0x9e3779b1) >>> 0);
      return numberOf(chain);
    };
    const range = BigInt.asUintN(128, from(1, 90) - from(1, 40));
    expect(range).toBe(from(41, 90));
    expect(from(1, 2)).not.toBe(from(2, 3));
  });

  test('an entry taken out of the chain leaves it as it was', () => {
    const entry = fc.record({ term: u48, kind: fc.integer({ min: 0, max: 2 }), crc: u32 });
    fc.assert(
      fc.property(u48, fc.array(entry, { maxLength: 20 }), (first, entries) => {
        const chain = { ...NO_CHAIN };
        const values: bigint[] = [];
        for (const [i, { term, kind, crc }] of entries.entries()) {
          values.push(numberOf(chain));
          chainAdd(chain, first + i, term, kind, crc);
        }
        for (const [i, { term, kind, crc }] of [...entries.entries()].reverse()) {
          chainRemove(chain, first + i, term, kind, crc);
          expect(numberOf(chain)).toBe(values[i]);
        }
      }),
    );
  });
});

describe('tables', () => {
  test('locations against a map, with live bytes per segment', () => {
    const step = fc.oneof(
      fc.record({
        do: fc.constant('set' as const),
        index: fc.integer({ min: 1, max: 1500 }),
        segment: fc.integer({ min: 1, max: 5 }),
      }),
      fc.record({
        do: fc.constant('delete' as const),
        index: fc.integer({ min: 1, max: 1500 }),
        segment: fc.constant(0),
      }),
      fc.record({ do: fc.constant('cut' as const), index: fc.integer({ min: 1, max: 1500 }), segment: fc.constant(0) }),
      fc.record({
        do: fc.constant('shrink' as const),
        index: fc.integer({ min: 1, max: 1500 }),
        segment: fc.constant(0),
      }),
      // Another table with some entries from `index` on is taken over.
      fc.record({
        do: fc.constant('absorb' as const),
        index: fc.integer({ min: 1, max: 1500 }),
        segment: fc.integer({ min: 1, max: 5 }),
      }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const live = new Map<number, number>();
        const count = (segment: number, by: number): void => {
          live.set(segment, (live.get(segment) ?? 0) + by);
        };
        const accounting = {
          add: (segment: number) => count(segment, 1),
          remove: (segment: number) => count(segment, -1),
        };
        const table = new LocationTable(accounting);
        const model = new Map<number, number>();
        for (const { do: what, index, segment } of steps) {
          if (what === 'set') {
            table.set(index, segment, index * 8, 10);
            model.set(index, segment);
          } else if (what === 'delete') {
            table.delete(index);
            model.delete(index);
          } else if (what === 'absorb') {
            const other = new LocationTable(accounting);
            for (let i = index; i < index + 900; i += 1 + (i % 70)) other.set(i, segment, i * 8, 10);
            if (index % 2 === 0) other.shrink(index);
            for (let i = other.next(1); i !== 0; i = other.next(i + 1)) if (!model.has(i)) model.set(i, segment);
            table.absorb(other);
            expect([other.count, other.next(1)]).toEqual([0, 0]);
          } else if (what === 'shrink') table.shrink(index);
          else {
            table.truncateFrom(index);
            for (const known of [...model.keys()]) if (known >= index) model.delete(known);
          }
        }
        const all: number[] = [];
        for (let index = table.next(1); index !== 0; index = table.next(index + 1)) all.push(index);
        expect(all).toEqual([...model.keys()].sort((a, b) => a - b));
        expect(table.count).toBe(model.size);
        for (const [index, segment] of model) {
          expect(table.find(index)).toBe(true);
          expect([table.segment, table.offset, table.bodyLength]).toEqual([segment, index * 8, 10]);
        }
        for (let segment = 1; segment <= 5; segment++) {
          expect(live.get(segment) ?? 0).toBe([...model.values()].filter((s) => s === segment).length);
        }
      }),
    );
  });

  test('term runs against an array, learned in any order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 3 })), { maxLength: 80 }),
        fc.integer({ min: 0, max: 40 }),
        (known, cut) => {
          const runs = new TermRuns();
          const model: number[] = [];
          let end = 1;
          for (const [index, term] of known) {
            runs.set(index, term, end);
            end = Math.max(end, index + 1);
            model[index] = term;
          }
          for (let i = 1; i < end; i++) expect(runs.at(i)).toBe(model[i] ?? 0);
          runs.dropTo(cut);
          for (let i = cut + 1; i < end; i++) expect(runs.at(i)).toBe(model[i] ?? 0);
          runs.truncateFrom(Math.max(1, cut));
          runs.append(Math.max(1, cut), 9);
          expect(runs.at(Math.max(1, cut))).toBe(9);
        },
      ),
    );
  });

  test('the tail keeps what is not durable, and its budget', () => {
    const cache = new TailCache(5000, 1000);
    const tails = [new LogEnd(), new LogEnd()];
    for (let i = 1; i <= 100; i++) {
      for (const tail of tails) cache.push(tail, entryOf(i, 1, 'x'.repeat(100)));
      if (i === 50) tails[0].durable = 40;
      cache.evict();
    }
    expect(tails[0].heldFirst).toBeLessThanOrEqual(41);
    expect([tails[1].heldFirst, tails[1].held(100)?.index]).toEqual([1, 100]);
    for (const tail of tails) tail.durable = 100;
    cache.evict();
    expect(cache.bytes).toBeLessThanOrEqual(5000);
    expect(cache.bytes).toBeGreaterThan(4500);
    expect(tails[1].held(100)?.index).toBe(100);
    cache.truncateFrom(tails[1], 99);
    expect([tails[1].last, tails[1].held(99), tails[1].held(98)?.index]).toEqual([98, undefined, 98]);
    for (const tail of tails) cache.clear(tail);
    expect(cache.bytes).toBe(0);
  });
});

test('what was released leaves the tail earlier, but not before what came in front of it', () => {
  const cache = new TailCache(50_000, 1000);
  const tails = [new LogEnd(), new LogEnd()];
  for (let i = 1; i <= 50; i++) for (const tail of tails) cache.push(tail, entryOf(i, 1, 'x'.repeat(100)));
  for (const tail of tails) tail.durable = 50;
  tails[0].released = 50;
  tails[1].released = 20;
  cache.evict();
  expect(tails.map((tail) => tail.heldFirst)).toEqual([22, 21]);
  cache.truncateFrom(tails[1], 10);
  expect(tails[1].released).toBe(9);
  tails[0].released = 50;
  cache.evict();
  expect(cache.bytes).toBeLessThanOrEqual(1000);
});

test('on a real disk: write, rotate, with zeros ahead, close, read back', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'flotilla-wal-'));
  const nothing = (): void => {};
  const log = { debug: nothing, info: nothing, warn: nothing, error: nothing, fatalSync: nothing };
  try {
    for (let life = 0; life < 3; life++) {
      const wal = openWal(createNodeEnv({ dataDir, log: log as never }), 'wal', {
        segmentBytes: 64 * 1024,
        zeroBytes: 10_000,
        tailBytes: 1000,
      });
      if (life === 0) wal.createGroup(3, MEMBERS);
      const from = wal.lastIndex(3);
      for (let i = 1; i <= 60; i++) {
        wal.append(3, [entryOf(from + i, 1, `${from + i}.`.repeat(400))]);
        await new Promise<void>((done) => wal.flush(done));
      }
      const entries = await new Promise((done: (found: ReturnType<typeof texts>) => void) =>
        wal.readEntries(3, 1, from + 60, 1e9, (found) => done(texts(found))),
      );
      expect(entries).toEqual(Array.from({ length: from + 60 }, (_, i) => `${i + 1}.`.repeat(400)));
      await new Promise<void>((done) => wal.close(done));
    }
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
