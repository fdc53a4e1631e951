import { expect, test } from 'vitest';
import { chainAdd, NO_CHAIN } from '../../../cluster/wal/chain.ts';
import { createHeader, decodeHeader, RecordFlag, RecordType, recordBytes } from '../../../cluster/wal/record.ts';
import { bootSurely, createWorld, entryOf, flush, type Life, MEMBERS, read, settle, type World } from './wal-world.ts';

const GROUP = 5;

interface Link {
  index: number;
  starts: boolean;
  chain: number[];
}

/** What the records of the group's entries say of the chain, in file order. */
function links(world: World): Link[] {
  const found: Link[] = [];
  const h = createHeader();
  for (const path of world.disk.files('wal/').filter((name) => name.endsWith('.seg'))) {
    const bytes = world.disk.content(path) as Uint8Array;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; decodeHeader(bytes, view, at, h); at += recordBytes(h.bodyLength)) {
      if (h.type !== RecordType.entry || h.group !== GROUP || (h.flags & RecordFlag.moved) !== 0) continue;
      const starts = (h.flags & RecordFlag.chainStart) !== 0;
      found.push({ index: h.index, starts, chain: [h.chain0, h.chain1, h.chain2, h.chain3] });
    }
  }
  return found;
}

/** The chain over `terms`, the terms of the entries from `first` on. */
function chainOver(first: number, terms: readonly number[]): number[] {
  const chain = { ...NO_CHAIN };
  for (const [i, term] of terms.entries()) {
    const { kind, crc } = entry(first + i, term);
    chainAdd(chain, first + i, term, kind, crc);
  }
  return [chain.chain0, chain.chain1, chain.chain2, chain.chain3];
}

const entry = (index: number, term: number): ReturnType<typeof entryOf> => entryOf(index, term, `${term}:${index}`);

function append(life: Life, first: number, terms: readonly number[]): void {
  life.env.run(() =>
    life.wal.append(
      GROUP,
      terms.map((term, i) => entry(first + i, term)),
    ),
  );
}

function begin(world: World): Life {
  const life = bootSurely(world);
  life.env.run(() => life.wal.createGroup(GROUP, MEMBERS));
  return life;
}

test('a rewritten log goes on from the chain of what is left, durable or not, and over a restart', () => {
  const world = createWorld('chain');
  let life = begin(world);
  append(life, 1, [1, 1, 1, 1]);
  flush(world, life);
  append(life, 5, [1, 1]);
  append(life, 3, [2, 2]);
  append(life, 4, [3]);
  flush(world, life);
  expect(links(world).map(({ index, starts }) => [index, starts])).toEqual([
    [1, true],
    ...[2, 3, 4, 5, 6, 3, 4, 4].map((index) => [index, false]),
  ]);
  expect(links(world).at(-2)?.chain).toEqual(chainOver(1, [1, 1, 2, 2]));
  expect(links(world).at(-1)?.chain).toEqual(chainOver(1, [1, 1, 2, 3]));

  life.env.kill('power');
  life = bootSurely(world);
  // Goes on from the file; is replaced in memory; then from what is only in the file.
  append(life, 5, [3]);
  append(life, 5, [4, 4]);
  flush(world, life);
  expect(links(world).at(-1)).toEqual({ index: 6, starts: false, chain: chainOver(1, [1, 1, 2, 3, 4, 4]) });
  append(life, 2, [5]);
  flush(world, life);
  expect(links(world).at(-1)).toEqual({ index: 2, starts: false, chain: chainOver(1, [1, 5]) });
  expect(read(world, life, GROUP, 1, 9)?.map(({ term }) => term)).toEqual([1, 5]);
});

test('where nothing is known of what came before, a replaced beginning is a beginning again', () => {
  const world = createWorld('chain-start', { tailBytes: 0, tailReleasedBytes: 0 });
  const life = begin(world);
  const meta = { index: 10, term: 1, membership: MEMBERS };
  settle(world, life, (done) => life.wal.installSnapshot(GROUP, meta, 0, [new Uint8Array(8)], done));
  append(life, 11, [1, 1]);
  append(life, 11, [2, 2]);
  flush(world, life);
  append(life, 11, [3, 3]);
  flush(world, life);
  expect(links(world)).toEqual(
    [1, 2, 3].flatMap((term) => [
      { index: 11, starts: true, chain: chainOver(11, [term]) },
      { index: 12, starts: false, chain: chainOver(11, [term, term]) },
    ]),
  );
  life.env.kill('power');
  const next = bootSurely(world);
  expect(read(world, next, GROUP, 11, 12)?.map(({ term }) => term)).toEqual([3, 3]);
  expect(next.wal.stats.damagedReads).toBe(0);
});
