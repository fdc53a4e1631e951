import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  isLiveRow,
  killRow,
  packRows,
  setValue,
  unpackRows,
  valueAt,
  widened,
} from '../../../src/stream/packed-columns.ts';

const word = fc.oneof(
  fc.constantFrom(0, 1, 0xff, 0x100, 0xffff, 0x10000, 0xffffff, 0x1000000, 0x7fffffff, 0x80000000, 0xffffffff),
  fc.nat(300),
  fc.nat(0xffffffff),
);

test('columns against words: packed, changed, widened, killed', () => {
  const scenario = fc.record({
    columns: fc.integer({ min: 1, max: 4 }),
    rows: fc.array(fc.array(word, { minLength: 4, maxLength: 4 }), { minLength: 1, maxLength: 40 }),
    changes: fc.array(fc.record({ row: fc.nat(39), column: fc.nat(3), value: word, kill: fc.nat(9) }), {
      maxLength: 60,
    }),
  });
  fc.assert(
    fc.property(scenario, ({ columns, rows, changes }) => {
      const words = new Uint32Array(rows.length * columns);
      for (const [r, row] of rows.entries()) words.set(row.slice(0, columns), r * columns);
      let packed = packRows(words, rows.length, columns);
      const alive = rows.map((_, r) => words[r * columns] !== 0);
      for (const { row, column, value, kill } of changes) {
        const r = row % rows.length;
        const c = column % columns;
        if (!alive[r]) continue;
        if (kill === 0) {
          killRow(packed, r);
          alive[r] = false;
          continue;
        }
        if (!setValue(packed, r, c, value)) {
          const before = packed.bytes.slice();
          const wider = widened(packed, c, value);
          expect(packed.bytes).toEqual(before);
          packed = wider;
          expect(setValue(packed, r, c, value)).toBe(true);
        }
        words[r * columns + c] = value;
      }
      const all = unpackRows(packed);
      for (let r = 0; r < rows.length; r++) {
        expect(isLiveRow(packed, r)).toBe(alive[r]);
        for (let c = 0; c < columns && alive[r]; c++) {
          expect(valueAt(packed, r, c)).toBe(words[r * columns + c]);
          expect(all[r * columns + c]).toBe(words[r * columns + c]);
        }
      }
    }),
  );
});

test('a column is widened three times at most', () => {
  let packed = packRows(new Uint32Array([7, 1000, 7, 1000]), 2, 2);
  let times = 0;
  for (const value of [1001, 1002, 999, 5, 0, 70_000, 0xffffff, 0x1000000, 0xffffffff, 3]) {
    if (setValue(packed, 1, 1, value)) continue;
    packed = widened(packed, 1, value);
    expect(setValue(packed, 1, 1, value)).toBe(true);
    times++;
  }
  expect(times).toBeLessThanOrEqual(3);
  expect(valueAt(packed, 0, 1)).toBe(1000);
});
