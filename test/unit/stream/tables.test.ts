import { describe, expect, test } from 'vitest';
import { KeyTable } from '../../../src/stream/key-table.ts';
import { PagedRows } from '../../../src/stream/paged-rows.ts';
import { SnapshotError, SnapshotReader, SnapshotWriter, type Steps } from '../../../src/stream/snapshot-codec.ts';

const encoder = new TextEncoder();

function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 4294967296) * below);
  };
}

function joined(parts: Iterable<Uint8Array>): Uint8Array {
  return new Uint8Array(Buffer.concat([...parts]));
}

/** Runs `read` on all of `state` at once. */
function readAll(state: Uint8Array, read: (from: SnapshotReader) => Steps<void>): void {
  const from = new SnapshotReader();
  function* all(): Steps<void> {
    yield* from.head();
    yield* read(from);
  }
  from.feed(state);
  if (all().next().done !== true) throw new SnapshotError('cut');
  from.end();
}

describe('paged rows', () => {
  test('pages stop growing where they are large, whatever number of them there is', () => {
    const rows = new PagedRows(1);
    const count = 3_000_000;
    for (let key = 1; key <= count; key++) {
      const at = rows.append(key);
      rows.page.words[at] = key;
    }
    for (let key = 1; key <= count; key += 9_973) expect(rows.get(rows.find(key), 0)).toBe(key);
  });

  test('random appends and removals, dense and sparse, over many pages', () => {
    const rows = new PagedRows(3);
    const model = new Map<number, number>();
    const below = random(5);
    const put = (key: number): void => {
      const at = rows.append(key);
      rows.page.words[at] = 1;
      rows.page.words[at + 1] = key;
      model.set(key, key);
    };
    const drop = (key: number): void => {
      const at = rows.find(key);
      if (at >= 0 !== model.delete(key)) throw new Error(`${key} found at ${at}`);
      if (at >= 0) rows.remove(at);
    };
    const verify = (): void => {
      const keys = [...model.keys()];
      const seen: number[] = [];
      for (let key = rows.nextLive(0); key >= 0; key = rows.nextLive(key + 1)) {
        if (rows.get(rows.foundAt, 1) !== key >>> 0) throw new Error(`${key} has another row`);
        seen.push(key);
      }
      expect(seen).toEqual(keys);
      for (let i = 0; i < 20; i++) {
        const from = below((keys[keys.length - 1] ?? 0) + 2);
        expect(rows.countFrom(from)).toBe(keys.filter((key) => key >= from).length);
        expect(rows.find(from) >= 0).toBe(model.has(from));
      }
    };
    let key = 1;
    for (let i = 0; i < 40_000; i++) {
      put(key);
      key += below(200) === 0 ? 1 + below(6000) : 1;
      // Nine of ten go at once, so that pages get sparse and merge.
      if (below(10) > 0) drop(key - 1 - below(3000));
      if (i % 10_000 === 9_999) verify();
    }
    const keys = [...model.keys()];
    for (const each of keys) if (below(50) > 0) drop(each);
    verify();
    expect(rows.bytes).toBeLessThan(600_000);
    for (const each of [...model.keys()]) drop(each);
    verify();
    put(key + 10 ** 12);
    verify();
  });

  test('what is not packed yet is a small part: of 3,000 rows as of 300,000', () => {
    const rows = new PagedRows(7);
    const fill = (from: number, to: number): void => {
      for (let key = from; key <= to; key++) {
        const at = rows.append(key);
        for (let column = 0; column < 7; column++) rows.page.words[at + column] = 1 + (column === 1 ? key : 0);
      }
    };
    fill(1, 3000);
    expect(rows.bytes).toBeLessThan(2 * 512 * 28 + 3000 * 3);
    fill(3001, 300_000);
    expect(rows.bytes).toBeLessThan(2 * 4096 * 28 + 300_000 * 3);
    expect(rows.get(rows.find(2222), 1)).toBe(2223);
  });

  test('a snapshot does not change with what comes later, and restores', () => {
    const rows = new PagedRows(3);
    for (let key = 1; key <= 9000; key++) {
      const at = rows.append(key);
      rows.page.words[at] = 7;
      rows.page.words[at + 1] = key;
    }
    const shot = new SnapshotWriter();
    rows.write(shot);
    const parts = shot.parts();
    // Taken while rows change: what was handed out later is as it was at `write`, too.
    const early = [parts.next().value as Uint8Array, parts.next().value as Uint8Array];
    for (let key = 1; key <= 9000; key += 2) {
      const at = rows.find(key);
      if (key % 3 === 0) rows.remove(at);
      else rows.set(at, 1, key % 5 === 0 ? 0xffffffff : 1);
    }
    for (let key = 9001; key < 9100; key++) {
      const at = rows.append(key);
      rows.page.words[at] = 9;
    }
    const before = joined([...early, ...parts]);
    const copy = new PagedRows(3);
    readAll(before, (from) => copy.read(from));
    expect(copy.countFrom(0)).toBe(9000);
    for (let key = 1; key <= 9000; key += 500) {
      const at = copy.find(key);
      expect(copy.get(at, 1)).toBe(key);
    }
    // A second snapshot sees the changes, although pages were shared with the first.
    const second = new SnapshotWriter();
    rows.write(second);
    const again = new PagedRows(3);
    readAll(joined(second.parts()), (from) => again.read(from));
    expect(again.countFrom(0)).toBe(rows.countFrom(0));
    expect(again.find(3)).toBe(-1);
    const last = again.find(9099);
    expect(again.get(last, 0)).toBe(9);
    expect(again.get(again.find(25), 1)).toBe(0xffffffff);
  });

  test('a snapshot of format 2 restores: widths of its packed columns are bytes', () => {
    const base64 = [
      'RkxTMQIAAADIAAAAtPkt2gQAAAAEAAAAAAAAAAAA8D8GAAAABgAAAAIAAAAAAAAABwAAAAEAAAAAAAAAAwAAAAAAAAAEAAAABQAAAAAAAAAAyIJABgAAAAYA',
      'AAACAAAAAAAAAAcAAAABAAAABgAAAAMAAACmaAYABAAAAAXppDUAAAAAAMSSQAYAAAAGAAAAAgAAAAAAAAAHAAAAAQAAAAwAAAADAAAATNEMAAQAAAAF0klr',
      'AAAAAAAknEAQAAAABgAAAAAAAAAxAAAAzIGCwD8AAQIDBAUAAABxEQHiIgJTNAPERQQ1VwUAAAAAgNHwCACj4RGAdNIaAEbDI4AXtCwYAAAAFWu+yQAAAAAD',
      'AAAABgAAAAkAAAAMAAAADwAAADEAAADMgYLAPwABAgMEBQAAAHERAeIiAlM0A8RFBDVXBQAAAACA0fAIAKPhEYB00hoARsMjgBe0LBgAAAAVa77JAAAAAAMA',
      'AAAGAAAACQAAAAwAAAAPAAAAMQAAAMyBgsA/AAECAwQFAAAAcREB4iICUzQDxEUENVcFAAAAAIDR8AgAo+ERgHTSGgBGwyOAF7QsGAAAABVrvskAAAAAAwAA',
      'AAYAAAAJAAAADAAAAA8AAAAAAQAAdN5wkAcAAAASAAAA8jkTAAW77qAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAcAAAATAAAAY0sUAIWM36kA',
      'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAcAAAAUAAAA1FwVAAVe0LIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAcAAAAVAAAARW4W',
      'AIUvwbsAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAcAAAAWAAAAtn8XAAUBssQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAcAAAAX',
      'AAAAJ5EYAIXSos0=',
    ].join('');
    const rows = new PagedRows(4);
    readAll(new Uint8Array(Buffer.from(base64, 'base64')), (from) => rows.read(from));
    expect(rows.countFrom(0)).toBe(24);
    for (let i = 0; i < 24; i++) {
      const at = rows.find(1 + Math.floor(i / 6) * 600 + (i % 6) * 3);
      expect([0, 1, 2, 3].map((column) => rows.get(at, column))).toEqual([7, i, i * 70_001, 5 + i * 150_000_000]);
    }
  });
});

describe('key table', () => {
  const fill = (table: KeyTable, model: Map<string, number>, below: (n: number) => number, steps: number): void => {
    for (let i = 0; i < steps; i++) {
      const name = `k.${below(60_000)}.${'x'.repeat(below(40))}`;
      const bytes = encoder.encode(name);
      if (below(3) > 0) {
        const id = table.findOrInsert(bytes, 0, bytes.length);
        if (table.inserted === model.has(name)) throw new Error(`${name} inserted: ${table.inserted}`);
        const at = table.writableRow(id);
        table.words[at] = i;
        model.set(name, i);
      } else {
        const id = table.find(bytes, 0, bytes.length);
        if ((id !== 0) !== model.delete(name)) throw new Error(`${name} found as ${id}`);
        if (id !== 0) table.remove(id);
      }
    }
  };
  const verify = (table: KeyTable, model: Map<string, number>): void => {
    expect(table.size).toBe(model.size);
    let count = 0;
    for (let id = table.nextId(0); id !== 0; id = table.nextId(id)) {
      const at = table.row(id);
      const value = table.words[at];
      if (model.get(table.text(id)) !== value) throw new Error(`${table.text(id)} has ${value}`);
      count++;
    }
    expect(count).toBe(model.size);
    for (const [name, value] of model) {
      const bytes = encoder.encode(`_${name}_`);
      const id = table.find(bytes, 1, bytes.length - 1);
      const at = table.row(id);
      if (table.words[at] !== value) throw new Error(`${name} is lost`);
    }
  };

  test('random inserts and removals against a Map, through splits, with snapshots', () => {
    const table = new KeyTable(2, 99);
    const model = new Map<string, number>();
    const below = random(3);
    fill(table, model, below, 30_000);
    verify(table, model);
    const shot = new SnapshotWriter();
    table.write(shot);
    const parts = shot.parts();
    const modelBefore = new Map(model);
    fill(table, model, below, 20_000);
    verify(table, model);
    const before = joined(parts);
    const copy = new KeyTable(2, 1);
    readAll(before, (from) => copy.read(from));
    verify(copy, modelBefore);
    const second = new SnapshotWriter();
    table.write(second);
    readAll(joined(second.parts()), (from) => copy.read(from));
    verify(copy, model);
    fill(copy, model, below, 5000);
    verify(copy, model);
  });

  test('tables of none to three keys against a Map, with snapshots that do not change afterwards', () => {
    for (let seed = 1; seed <= 100; seed++) {
      const below = random(seed);
      let table = new KeyTable(1, seed);
      const model = new Map<string, number>();
      for (let step = 0; step < 60; step++) {
        const name = `only.${below(1 + (seed % 3))}`;
        const bytes = encoder.encode(name);
        const id = table.find(bytes, 0, bytes.length);
        expect(id !== 0).toBe(model.has(name));
        if (id !== 0 && below(4) === 0) {
          table.remove(id);
          model.delete(name);
        } else {
          const at = table.writableRow(table.findOrInsert(bytes, 0, bytes.length));
          table.words[at] = step;
          model.set(name, step);
        }
        if (below(4) > 0) continue;
        const out = new SnapshotWriter();
        table.write(out);
        const then = new Map(model);
        const other = encoder.encode('only.0');
        const at = table.writableRow(table.findOrInsert(other, 0, other.length));
        table.words[at] = 1000 + step;
        model.set('only.0', 1000 + step);
        const copy = new KeyTable(1, 1);
        readAll(joined(out.parts()), (from) => copy.read(from));
        verify(copy, then);
        verify(table, model);
        if (below(2) > 0) continue;
        table = copy;
        model.clear();
        for (const [key, value] of then) model.set(key, value);
      }
      verify(table, model);
    }
  });

  test('what all keys begin with: exact of a table that only grew, never more than what all have', () => {
    let table = new KeyTable(1, 7);
    const below = random(11);
    const says = (prefix: string): boolean => table.allBeginWith(encoder.encode(prefix));
    const add = (name: string): number => table.findOrInsert(encoder.encode(name), 0, encoder.encode(name).length);
    expect(says('')).toBe(false);
    const names = new Set<string>();
    const check = (isExact: boolean): void => {
      for (const prefix of ['', 'k', 'k.', 'k.a', 'k.a.', 'k.a.1', 'k.b.', 'x.']) {
        const all = [...names].every((name) => name.startsWith(prefix) && name.length > prefix.length);
        if (isExact) expect(says(prefix)).toBe(all);
        else expect(says(prefix) && !all).toBe(false);
      }
    };
    for (const stem of ['k.a.1', 'k.a.', 'k.', 'x.']) {
      for (let i = 0; i < 50; i++) {
        const name = `${stem}${below(1000)}`;
        add(name);
        names.add(name);
        check(true);
      }
      const out = new SnapshotWriter();
      table.write(out);
      const copy = new KeyTable(1, 8);
      readAll(joined(out.parts()), (from) => copy.read(from));
      table = copy;
      if (stem !== 'k.') check(true);
    }
    for (const name of names) {
      table.remove(add(name));
      names.delete(name);
      if (names.size > 0) check(false);
    }
    add('x.y');
    names.add('x.y');
    check(true);
    add('x.');
    expect(says('x.')).toBe(false);
    expect(says('x')).toBe(true);
  });

  test('keys of every size, freed and used again', () => {
    const table = new KeyTable(1, 5);
    for (let round = 0; round < 2; round++) {
      const ids: number[] = [];
      for (const length of [1, 3, 4, 253, 254, 255, 256, 511, 600, 1024, 1025, 40_000, 65_535]) {
        const key = new Uint8Array(length).fill(length & 255);
        ids.push(table.findOrInsert(key, 0, length));
        expect(table.find(key, 0, length)).toBe(ids[ids.length - 1]);
      }
      const { bytes } = table;
      for (const id of ids) table.remove(id);
      expect(table.size).toBe(0);
      expect(table.bytes).toBe(bytes);
    }
  });
});

test('a damaged snapshot is refused', () => {
  const out = new SnapshotWriter();
  out.u32(1);
  out.number(2.5);
  out.bytes(encoder.encode('abc'));
  out.block(new Uint8Array(100).fill(3));
  const good = joined(out.parts());
  const read = (state: Uint8Array): void =>
    readAll(state, function* (from) {
      from.u32();
      from.number();
      from.bytes();
      yield* from.block();
    });
  read(good);
  for (let i = 0; i < good.length; i++) {
    const bad = good.slice();
    bad[i] ^= 4;
    expect(() => read(bad)).toThrow(SnapshotError);
  }
  for (const length of [0, 5, 20, good.length - 1]) expect(() => read(good.subarray(0, length))).toThrow(SnapshotError);
  expect(() => read(joined([good, new Uint8Array(1)]))).toThrow(SnapshotError);
});
