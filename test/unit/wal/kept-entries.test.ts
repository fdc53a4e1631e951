// Snapshots installed on top of own entries: what is kept, what was staged by this and by earlier transfers, and what dies with the rest of the old
// log, as memory shows it and as every start finds it again, also when a copy of the state is lost or a removed segment is back.
// crash.test.ts has the same among random steps, with a crash at every operation.
import { expect, test } from 'vitest';
import type { LogEntry } from '../../../cluster/core/types.ts';
import {
  bodyOf,
  bootSurely,
  createWorld,
  entryOf,
  flush,
  type Life,
  MEMBERS,
  read,
  settle,
  textOf,
  type World,
} from './wal-world.ts';

const GROUP = 5;
const FILLER = 6;
const OPTIONS = { segmentBytes: 4000, tailBytes: 0, compactLiveShare: 0.95 };

const entries = (first: number, last: number, term: number, name: string): LogEntry[] =>
  Array.from({ length: last - first + 1 }, (_, i) => entryOf(first + i, term, `${name}-${first + i}`));

function create(seed: string): { world: World; life: Life } {
  const world = createWorld(seed, OPTIONS);
  const life = bootSurely(world);
  life.env.run(() => {
    for (const group of [GROUP, FILLER]) life.wal.createGroup(group, MEMBERS);
  });
  return { world, life };
}

function restart(world: World, life: Life): Life {
  life.env.kill('power');
  return bootSurely(world);
}

function append(world: World, life: Life, list: LogEntry[]): void {
  life.env.run(() => life.wal.append(GROUP, list));
  flush(world, life);
}

function install(world: World, life: Life, kept: number, index: number, term: number, live: LogEntry[]): void {
  const meta = { index, term, membership: MEMBERS };
  life.env.run(() => life.wal.appendBelowSnapshot(GROUP, live));
  expect(settle(world, life, (done) => life.wal.installSnapshot(GROUP, meta, kept, [bodyOf('s')], done))).toBe(true);
}

/** Everything that can be read, below the snapshot and above: index=text. */
function show(world: World, life: Life): string {
  const { wal } = life;
  const shown: string[] = [];
  for (let index = 1; index <= wal.lastIndex(GROUP) + 20; index++) {
    const text = textOf(read(world, life, GROUP, index, index)?.[0].body);
    if (text !== undefined) shown.push(text);
  }
  return shown.join(' ');
}

/** Fills segments that nobody needs, and has everything sealed examined. */
function churn(world: World, life: Life): void {
  const { env, wal } = life;
  const first = wal.lastIndex(FILLER) + 1;
  for (let index = first; index < first + 12; index++) {
    env.run(() => wal.append(FILLER, [entryOf(index, 1, 'x'.repeat(700))]));
    flush(world, life);
  }
  env.run(() => wal.setLiveCheck(FILLER, () => false));
  const meta = { index: wal.lastIndex(FILLER), term: 1, membership: MEMBERS };
  settle(world, life, (done) => wal.saveSnapshot(FILLER, meta, [bodyOf('f')], done));
  for (let i = 0; i < 6; i++) settle(world, life, (done) => wal.compact(() => done()));
}

test('own entries up to the kept one stay, the conflicting suffix dies', () => {
  const made = create('conflict');
  const { world } = made;
  let { life } = made;
  append(world, life, entries(1, 6, 1, 'own'));
  append(world, life, entries(5, 9, 2, 'newer'));
  install(world, life, 6, 12, 4, entries(8, 8, 3, 'theirs'));
  const below = 'own-1 own-2 own-3 own-4 newer-5 newer-6 theirs-8';
  expect(show(world, life)).toBe(below);
  expect(life.wal.damagedRanges(GROUP)).toEqual([]);
  life = restart(world, life);
  expect(show(world, life)).toBe(below);
  append(world, life, entries(13, 15, 4, 'after'));
  append(world, life, entries(15, 15, 5, 'again'));
  for (let i = 0; i < 2; i++) {
    expect(show(world, life)).toBe(`${below} after-13 after-14 again-15`);
    expect([life.wal.firstIndex(GROUP), life.wal.termOf(GROUP, 12), life.wal.termOf(GROUP, 6)]).toEqual([
      13,
      4,
      undefined,
    ]);
    life = restart(world, life);
    expect(life.wal.recovered.get(GROUP)).toMatchObject({ lastIndex: 15, lastTerm: 5, voteSafe: true, damaged: [] });
  }
});

test('two snapshots in a row, then a third: parts of all of them count, wherever compaction has put them', () => {
  const made = create('in a row');
  const { world } = made;
  let { life } = made;
  append(world, life, entries(1, 5, 1, 'own'));
  install(world, life, 4, 10, 2, entries(7, 9, 2, 'first'));
  append(world, life, entries(11, 14, 2, 'log'));
  install(world, life, 12, 20, 3, entries(15, 16, 3, 'second'));
  const two = 'own-1 own-2 own-3 own-4 first-7 first-8 first-9 log-11 log-12 second-15 second-16';
  expect(show(world, life)).toBe(two);
  for (let i = 0; i < 3; i++) {
    life = restart(world, life);
    expect(show(world, life)).toBe(two);
    churn(world, life);
    expect(life.wal.stats.bytesCopiedForward).toBeGreaterThan(0);
    expect(show(world, life)).toBe(two);
  }
  // Nothing but own entries is live.
  install(world, life, 20, 30, 4, []);
  append(world, life, entries(31, 31, 4, 'end'));
  churn(world, life);
  for (const lost of [[], ['state-a'], ['state-b'], ['state-a', 'state-b']]) {
    life.env.kill('power');
    const image = world.disk.image();
    for (const name of lost) world.disk.remove(`wal/${name}`);
    life = bootSurely(world);
    expect(show(world, life), `${lost} lost`).toBe(`${two} end-31`);
    life.env.kill('process');
    world.disk.restore(image);
    life = bootSurely(world);
  }
  // All of it anew: what was pieced together is gone.
  install(world, life, 0, 40, 5, entries(2, 3, 5, 'whole'));
  for (let i = 0; i < 2; i++) {
    expect(show(world, life)).toBe('whole-2 whole-3');
    life = restart(world, life);
  }
});

test('what was staged for a transfer that was given up counts for nothing, now and later', () => {
  const made = create('given up');
  const { world } = made;
  let { life } = made;
  append(world, life, entries(1, 3, 1, 'own'));
  life.env.run(() => {
    life.wal.appendBelowSnapshot(GROUP, entries(5, 6, 2, 'early'));
    // Not even written yet.
    life.wal.dropStaged(GROUP);
  });
  flush(world, life);
  install(world, life, 2, 9, 2, entries(6, 7, 2, 'late'));
  for (let i = 0; i < 2; i++) {
    expect(show(world, life)).toBe('own-1 own-2 late-6 late-7');
    life = restart(world, life);
  }
  // Nor does it hold up compaction.
  const before = world.disk.files('wal/').filter((name) => name.endsWith('.seg'));
  life.env.run(() => {
    life.wal.appendBelowSnapshot(GROUP, entries(11, 12, 2, 'y'.repeat(900)));
  });
  flush(world, life);
  life.env.run(() => life.wal.dropStaged(GROUP));
  for (let i = 0; i < 4; i++) churn(world, life);
  const after = new Set(world.disk.files('wal/').filter((name) => name.endsWith('.seg')));
  expect(before.filter((name) => after.has(name))).toEqual([]);
  expect(show(world, life)).toBe('own-1 own-2 late-6 late-7');
});

test('damage below is not kept; damage that is found later stays known, and is repaired', () => {
  const made = create('damage');
  const { world } = made;
  let { life } = made;
  for (let i = 1; i <= 8; i++) append(world, life, [entryOf(i, 1, `own-${i}`.padEnd(300, '.'))]);
  churn(world, life);
  life = restart(world, life);
  expect(life.wal.keepable(GROUP, 8)).toBe(8);
  for (const path of world.disk.files('wal/').filter((name) => name.endsWith('.seg'))) {
    const at = Buffer.from(world.disk.content(path) as Uint8Array).indexOf('own-4');
    if (at >= 0) world.disk.flipBit(path, at + 3, 2);
  }
  // Nobody has noticed yet.
  expect(life.wal.keepable(GROUP, 8)).toBe(8);
  expect(read(world, life, GROUP, 4, 4)).toBeUndefined();
  expect(life.wal.damagedRanges(GROUP)).toEqual([{ first: 4, last: 4 }]);
  expect([life.wal.keepable(GROUP, 3), life.wal.keepable(GROUP, 4), life.wal.keepable(GROUP, 8)]).toEqual([3, 0, 0]);
  install(world, life, 6, 12, 2, []);
  for (let i = 0; i < 2; i++) {
    expect(life.wal.damagedRanges(GROUP)).toEqual([{ first: 4, last: 4 }]);
    expect(read(world, life, GROUP, 4, 4)).toBeUndefined();
    life = restart(world, life);
    if (i === 0) read(world, life, GROUP, 4, 4);
  }
  read(world, life, GROUP, 4, 4);
  life.env.run(() => life.wal.repair(GROUP, [entryOf(4, 1, 'repaired')]));
  flush(world, life);
  for (let i = 0; i < 2; i++) {
    expect(textOf(read(world, life, GROUP, 4, 4)?.[0].body)).toBe('repaired');
    expect(textOf(read(world, life, GROUP, 6, 6)?.[0].body)).toContain('own-6');
    expect(read(world, life, GROUP, 7, 7)).toBeUndefined();
    life = restart(world, life);
  }
});

test('a repair that was on its way when the log was replaced puts nothing back above the kept ones', () => {
  const made = create('repair');
  const { world } = made;
  let { life } = made;
  append(world, life, entries(1, 6, 1, 'own'));
  life = restart(world, life);
  for (const name of ['own-2', 'own-5']) {
    for (const path of world.disk.files('wal/').filter((file) => file.endsWith('.seg'))) {
      const at = Buffer.from(world.disk.content(path) as Uint8Array).indexOf(name);
      if (at >= 0) world.disk.flipBit(path, at + 3, 2);
    }
    expect(read(world, life, GROUP, Number(name.slice(4)), 6)).toBeUndefined();
  }
  const meta = { index: 9, term: 3, membership: MEMBERS };
  let switched = false;
  let repairs = 0;
  life.env.run(() =>
    life.wal.installSnapshot(GROUP, meta, 3, [bodyOf('s')], () => {
      switched = true;
    }),
  );
  // One leaves with the batch that the switch waits for, one with the batch of the switch itself.
  while (!switched) {
    const before = life.wal.stats.batches;
    life.env.run(() => {
      if (life.wal.firstIndex(GROUP) > 1) return;
      repairs++;
      life.wal.repair(GROUP, entries(2, 2, 1, 'repaired').concat(entries(5, 5, 1, 'repaired')));
      life.wal.flush(() => {});
    });
    world.scheduler.runUntilTrue(() => switched || life.wal.stats.batches > before);
  }
  flush(world, life);
  expect(repairs).toBeGreaterThan(2);
  for (let i = 0; i < 2; i++) {
    expect(show(world, life)).toBe('own-1 repaired-2 own-3');
    life = restart(world, life);
  }
});

test('nothing is kept in doubt, nor of a log of too many pieces; all of it anew begins to count from the start', () => {
  const made = create('doubt');
  const { world } = made;
  let { life } = made;
  append(world, life, entries(1, 2, 1, 'own'));
  life.env.run(() => life.wal.doubtAll(0));
  expect(life.wal.keepable(GROUP, 2)).toBe(0);
  life.env.run(() => life.wal.clearDoubt(GROUP));
  let pieces = 0;
  let last = 2;
  for (; life.wal.keepable(GROUP, last) === last; pieces++) {
    expect(pieces).toBeLessThan(100);
    install(world, life, last, last + 2, 2, entries(last + 1, last + 1, 2, 'piece'));
    last += 2;
  }
  expect(pieces).toBeGreaterThan(10);
  life = restart(world, life);
  expect(life.wal.keepable(GROUP, last)).toBe(0);
  expect(life.wal.liveIndexes(GROUP, 1, 1000).length).toBe(pieces + 2);
  install(world, life, 0, last + 1, 3, entries(1, 1, 1, 'own'));
  expect(life.wal.keepable(GROUP, last + 1)).toBe(last + 1);
  life = restart(world, life);
  expect(life.wal.keepable(GROUP, last + 1)).toBe(last + 1);
  expect(show(world, life)).toBe('own-1');
});

test('a segment of the old log that is back on disk brings nothing back', () => {
  const made = create('put back');
  const { world } = made;
  let { life } = made;
  append(world, life, entries(1, 9, 1, 'own'));
  install(world, life, 4, 12, 2, entries(6, 6, 2, 'theirs'));
  const before = world.disk.image();
  for (let i = 0; i < 3; i++) churn(world, life);
  life.env.kill('power');
  let back = 0;
  for (const [name, bytes] of before) {
    if (!/[.](seg|idx)$/.test(name) || world.disk.content(name) !== undefined) continue;
    world.disk.put(name, bytes);
    back++;
  }
  expect(back).toBeGreaterThan(0);
  for (const name of ['state-a', 'state-b']) world.disk.remove(`wal/${name}`);
  life = bootSurely(world);
  expect(show(world, life)).toBe('own-1 own-2 own-3 own-4 theirs-6');
});
