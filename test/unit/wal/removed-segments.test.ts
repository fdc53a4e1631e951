// A removed segment that is read once more: its unlink was cut off, or undone by a power cut, and the list that would tell is in doubt. What was
// dead in it stays dead, and what was deleted stays deleted, because starts of epochs and tombstones are forgotten only when no file holds
// entries of before. Compaction is stopped between the list without the segment and the unlink; then starts are interrupted or state files lost.
import { expect, test } from 'vitest';
import { type GroupState, mergeGroupStates } from '../../../cluster/wal/bodies.ts';
import { GroupLog } from '../../../cluster/wal/group-log.ts';
import { RecordType } from '../../../cluster/wal/record.ts';
import { scanSegment } from '../../../cluster/wal/segment-scan.ts';
import { SegmentSet } from '../../../cluster/wal/segments.ts';
import { decodeStateFile, type StateFile } from '../../../cluster/wal/state-file.ts';
import {
  bodyOf,
  boot,
  bootSurely,
  createWorld,
  entryOf,
  flush,
  type Life,
  MEMBERS,
  read,
  settle,
  texts,
  type World,
} from './wal-world.ts';

const GROUP = 5;
const FILLER = 6;
const DELETED = 7;
const FIRST_SEGMENT = 'wal/00000001.seg';

/** A node whose first segments can be removed. In them: entries 1–8 of a log that an installed snapshot replaced (only 3 and 6 are live),
 * a suffix after it that was rewritten, and a deleted group. */
function readyToCompact(): { world: World; life: Life } {
  const world = createWorld('removed', { segmentBytes: 4000, tailBytes: 0 });
  const life = bootSurely(world);
  const { env, wal } = life;
  env.run(() => {
    for (const group of [GROUP, FILLER, DELETED]) wal.createGroup(group, MEMBERS);
    wal.append(DELETED, [entryOf(1, 1, 'deleted')]);
    for (let i = 1; i <= 8; i++) wal.append(GROUP, [entryOf(i, 1, `stale-${i}`)]);
  });
  flush(world, life);
  env.run(() => {
    wal.deleteGroup(DELETED);
    wal.appendBelowSnapshot(GROUP, [entryOf(3, 2, 'live-3'), entryOf(6, 2, 'live-6')]);
  });
  const meta = { index: 9, term: 2, membership: MEMBERS };
  expect(settle(world, life, (done) => wal.installSnapshot(GROUP, meta, 0, [bodyOf('state')], done))).toBe(true);
  env.run(() => wal.append(GROUP, [entryOf(10, 2, 'ten'), entryOf(11, 2, 'dead-11')]));
  flush(world, life);
  env.run(() => wal.append(GROUP, [entryOf(11, 3, 'eleven')]));
  flush(world, life);
  for (let i = 1; i <= 20; i++) {
    env.run(() => wal.append(FILLER, [entryOf(i, 1, 'x'.repeat(500))]));
    flush(world, life);
  }
  env.run(() => wal.setLiveCheck(FILLER, () => false));
  const filled = { index: 20, term: 1, membership: MEMBERS };
  settle(world, life, (done) => wal.saveSnapshot(FILLER, filled, [bodyOf('filled')], done));
  return { world, life };
}

/** The same: the segments are off the list but on disk. */
function stoppedBeforeUnlink(): World {
  const { world, life } = readyToCompact();
  world.crashAt = (name) => (name === 'wal.compact.listed' ? 'process' : undefined);
  while (life.env.alive) settle(world, life, (done) => life.wal.compact(() => done()));
  world.crashAt = undefined;
  expect(world.disk.files(FIRST_SEGMENT)).toEqual([FIRST_SEGMENT]);
  return world;
}

/** A power cut undoes removals that no sync of the directory followed. */
function putBack(world: World, before: ReadonlyMap<string, Uint8Array>): void {
  const isSegment = (name: string): boolean => /[.](seg|idx)$/.test(name);
  const removed = [...before].filter(([name]) => isSegment(name) && world.disk.content(name) === undefined);
  expect(removed.map(([name]) => name)).toContain(FIRST_SEGMENT);
  for (const [name, bytes] of removed) world.disk.put(name, bytes);
}

function expectOnlyTheLiving(world: World, life: Life): void {
  const { wal } = life;
  expect([...wal.recovered.keys()].sort()).toEqual([GROUP, FILLER]);
  expect(wal.liveIndexes(GROUP, 1, 100)).toEqual([3, 6]);
  expect(texts(read(world, life, GROUP, 3, 3))).toEqual(['live-3']);
  expect(texts(read(world, life, GROUP, 6, 6))).toEqual(['live-6']);
  expect(wal.recovered.get(GROUP)).toMatchObject({ firstIndex: 10, lastIndex: 11, lastTerm: 3, damaged: [] });
  expect(texts(read(world, life, GROUP, 10, 11))).toEqual(['ten', 'eleven']);
}

test('starts cut off at each of their operations, twice in a row', { timeout: 600_000 }, () => {
  const image = stoppedBeforeUnlink().disk.image();
  const worldAgain = (): World => {
    const world = createWorld('removed again', { segmentBytes: 4000, tailBytes: 0 });
    world.disk.restore(image);
    return world;
  };
  const measured = worldAgain();
  // Operations are counted when somebody asks.
  measured.disk.crashAt = () => undefined;
  bootSurely(measured);
  const { operations } = measured.disk;
  expect(operations).toBeGreaterThan(15);
  for (let first = 0; first <= operations; first++) {
    for (let second = 0; second <= operations; second++) {
      const world = worldAgain();
      for (const stopAt of [first, second]) {
        const at = world.disk.operations + stopAt;
        world.disk.crashAt = (operation) => (operation === at ? 'process' : undefined);
        boot(world)?.env.kill('process');
      }
      world.disk.crashAt = undefined;
      const life = bootSurely(world);
      expectOnlyTheLiving(world, life);
      expect(life.wal.recovered.get(GROUP)?.voteSafe).toBe(true);
      world.scheduler.runFor(100);
      expect(world.disk.files(FIRST_SEGMENT), 'it is removed in the end').toEqual([]);
      life.env.kill('process');
    }
  }
});

for (const lost of [['state-a'], ['state-b'], ['state-a', 'state-b']]) {
  for (const starts of [0, 1, 2]) {
    test(`${lost.join(' and ')} lost after ${starts} starts that removed nothing yet`, () => {
      const world = stoppedBeforeUnlink();
      for (let i = 0; i < starts; i++) bootSurely(world).env.kill('process');
      for (const name of lost) world.disk.remove(`wal/${name}`);
      expectOnlyTheLiving(world, bootSurely(world));
    });
  }

  test(`${lost.join(' and ')} lost, and the unlink undone by a power cut`, () => {
    const world = stoppedBeforeUnlink();
    const before = world.disk.image();
    const { segments } = decodeStateFile(before.get('wal/state-a') as Uint8Array) as StateFile;
    const isRemoved = (name: string): boolean =>
      /[.]seg$/.test(name) && Number.parseInt(name.slice(4), 16) < segments[0];
    let life = bootSurely(world);
    world.scheduler.runUntilTrue(() => !world.disk.files('wal/').some(isRemoved));
    // Before the directory is synced.
    life.env.kill('process');
    life = bootSurely(world);
    life.env.kill('process');
    putBack(world, before);
    for (const name of lost) world.disk.remove(`wal/${name}`);
    expectOnlyTheLiving(world, bootSurely(world));
  });
}

test('a segment begun while the unlinks are under way, and a power cut that undoes them', () => {
  const { world, life } = readyToCompact();
  let listed = false;
  world.crashAt = (name) => {
    listed ||= name === 'wal.compact.listed';
    return undefined;
  };
  while (!listed) {
    let done = false;
    life.env.run(() =>
      life.wal.compact(() => {
        done = true;
      }),
    );
    world.scheduler.runUntilTrue(() => done || listed);
  }
  const before = world.disk.image();
  world.crashAt = (name) => (name === 'wal.batch.synced' ? 'process' : undefined);
  life.env.run(() => life.wal.append(FILLER, [entryOf(21, 1, 'x'.repeat(4000))]));
  expect(flush(world, life)).toBe(false);
  putBack(world, before);
  for (const name of ['state-a', 'state-b']) world.disk.remove(`wal/${name}`);
  expectOnlyTheLiving(world, bootSurely(world));
});

test('segments begun before a start has removed what the one before it left', () => {
  const world = stoppedBeforeUnlink();
  const life = bootSurely(world);
  const { latency } = world.disk;
  const { writeMs } = latency;
  latency.writeMs = 1e6;
  world.scheduler.runFor(1);
  latency.writeMs = writeMs;
  const before = world.disk.files('wal/').length;
  for (let i = 21; i <= 30; i++) {
    life.env.run(() => life.wal.append(FILLER, [entryOf(i, 1, 'x'.repeat(2000))]));
    expect(flush(world, life)).toBe(true);
  }
  life.env.kill('process');
  expect(world.disk.files('wal/').length).toBeGreaterThan(before + 2);
  expect(world.disk.files(FIRST_SEGMENT)).toEqual([FIRST_SEGMENT]);
  for (const name of ['state-a', 'state-b']) world.disk.remove(`wal/${name}`);
  expectOnlyTheLiving(world, bootSurely(world));
});

test('a tombstone that judges nothing is not repeated at each start', () => {
  const world = stoppedBeforeUnlink();
  const tombstones = (): number => {
    const newest = world.disk.files('wal/').findLast((name) => name.endsWith('.seg')) as string;
    const life = bootSurely(world);
    const { rows } = scanSegment(life.env, newest, Number.parseInt(newest.slice(4), 16), 0);
    life.env.kill('process');
    return rows.filter((row) => row.other === RecordType.tombstone && row.group === DELETED).length;
  };
  // The first start finds the segments that it judges.
  bootSurely(world).env.kill('process');
  expect(tombstones()).toBe(1);
  bootSurely(world);
  world.scheduler.runFor(100);
  expect(world.disk.files(FIRST_SEGMENT)).toEqual([]);
  bootSurely(world).env.kill('process');
  expect(tombstones()).toBe(0);
});

test('two copies of a state know the epochs of both', () => {
  const state = (epochs: [number, number][]): GroupState => ({
    ...newLog().state(),
    epochs: epochs.map(([epoch, from]) => ({ epoch, from, segment: 1 })),
  });
  const epochsOf = (a: [number, number][], b: [number, number][]): number[][] =>
    mergeGroupStates(state(a), state(b)).epochs.map(({ epoch, from }) => [epoch, from]);
  const forgetful: [number, number][] = [[8, 32]];
  const whole: [number, number][] = [
    [7, 0],
    [8, 32],
  ];
  expect(epochsOf(forgetful, whole)).toEqual(whole);
  expect(epochsOf(whole, forgetful)).toEqual(whole);
  expect(epochsOf(whole, [[9, 20]])).toEqual([
    [7, 0],
    [9, 20],
  ]);
  expect(epochsOf([[9, 0]], whole)).toEqual([[9, 0]]);
});

test('an epoch is forgotten when the segment after the one it began in is gone as well', () => {
  const log = newLog();
  log.beginEpoch(1, 0, 3);
  log.beginEpoch(2, 10, 3);
  log.beginEpoch(3, 20, 4);
  const known = (): number[] => log.epochs.map(({ epoch }) => epoch);
  log.pruneEpochs(4);
  expect(known()).toEqual([1, 2, 3]);
  log.pruneEpochs(5);
  expect(known()).toEqual([2, 3]);
  log.pruneEpochs(6);
  expect(known()).toEqual([3]);
});

function newLog(): GroupLog {
  return new GroupLog(GROUP, [], new SegmentSet(bootSurely(createWorld('log')).env, 'wal'));
}

test('whichever segment somebody deleted while the node was down, compaction does not stumble over it', () => {
  const { world } = readyToCompact();
  // One of them was made ahead and is empty; a start that has lost a list of segments keeps it.
  world.crashAt = (name) => (name === 'wal.segment.created' ? 'process' : undefined);
  for (let life = boot(world), i = 1; life?.env.alive; i++) {
    const { env, wal } = life;
    env.run(() => wal.append(GROUP, [entryOf(11 + i, 3, 'y'.repeat(500))]));
    flush(world, life);
  }
  world.crashAt = undefined;
  world.disk.remove('wal/state-a');
  bootSurely(world).env.kill('process');
  const image = world.disk.image();
  const segments = world.disk.files('wal/').filter((name) => name.endsWith('.seg'));
  expect(segments.length).toBeGreaterThan(3);
  for (const name of segments) {
    const after = createWorld(`without ${name}`, { segmentBytes: 4000, tailBytes: 0 });
    after.disk.restore(image);
    after.disk.remove(name);
    const life = bootSurely(after);
    life.env.run(() => life.wal.setLiveCheck(FILLER, () => false));
    for (let i = 0; i < 10; i++) settle(after, life, (done) => life.wal.compact(() => done()));
    expect(life.env.deathReason, name).toBeUndefined();
  }
});

test('a table or a segment that somebody deletes while the node runs, and that nobody needs, does not end it', () => {
  for (const ending of ['.idx', '.seg']) {
    const { world, life } = readyToCompact();
    const names = world.disk.files('wal/').filter((name) => name.endsWith('.idx'));
    expect(names.length).toBeGreaterThan(1);
    // The newest: what they hold is dead.
    for (const name of names.slice(1)) world.disk.remove(name.replace('.idx', ending));
    life.env.run(() => life.wal.deleteGroup(FILLER));
    flush(world, life);
    for (let i = 0; i < 6; i++) settle(world, life, (done) => life.wal.compact(() => done()));
    expect(life.env.deathReason).toBeUndefined();
    expect(life.wal.stats.segmentsRemoved).toBeGreaterThan(0);
  }
});
