import v8 from 'node:v8';
import vm from 'node:vm';
import { describe, expect, test } from 'vitest';
import {
  bodyOf,
  bootSurely,
  createWorld,
  entryOf,
  flush,
  type Life,
  MEMBERS,
  membershipEntry,
  read,
  settle,
  stateOf,
  textOf,
  texts,
  type World,
} from './wal-world.ts';

function restart(world: World, life: Life, kind: 'process' | 'power' = 'power'): Life {
  life.env.kill(kind);
  return bootSurely(world);
}

describe('wal', () => {
  test('appends, reads from memory and from disk, and finds it again after a power cut', () => {
    const world = createWorld(1);
    let life = bootSurely(world);
    expect(life.wal.recovered.size).toBe(0);
    life.env.run(() => {
      life.wal.createGroup(7, MEMBERS);
      life.wal.saveHardState(7, { term: 3, vote: 12 });
      life.wal.append(7, [entryOf(1, 3, 'one'), entryOf(2, 3, 'two'), entryOf(3, 3, 'x'.repeat(5000))]);
    });
    expect([life.wal.lastIndex(7), life.wal.firstIndex(7), life.wal.termOf(7, 2), life.wal.bytesOf(7, 3)]).toEqual([
      3, 1, 3, 5000,
    ]);
    expect(texts(life.wal.entriesFromMemory(7, 1, 2, 1e6))).toEqual(['one', 'two']);
    expect(flush(world, life)).toBe(true);
    life = restart(world, life);
    const found = life.wal.recovered.get(7);
    expect(found).toMatchObject({
      hardState: { term: 3, vote: 12 },
      firstIndex: 1,
      lastIndex: 3,
      lastTerm: 3,
      voteSafe: true,
      damaged: [],
      membership: MEMBERS,
    });
    expect(life.wal.entriesFromMemory(7, 1, 1, 1e6)).toBeUndefined();
    expect(texts(read(world, life, 7, 1, 3))).toEqual(['one', 'two', 'x'.repeat(5000)]);
    expect(texts(read(world, life, 7, 1, 3, 4))).toEqual(['one']);
    expect(life.wal.durable).toBe(4);
  });

  test('a deleted group keeps nothing of its machine in memory, whatever is kept of other groups', async () => {
    v8.setFlagsFromString('--expose-gc');
    const world = createWorld(5);
    const life = bootSurely(world);
    const machine = life.env.run(() => {
      life.wal.createGroup(1, MEMBERS);
      life.wal.append(1, [entryOf(1, 1, 'stays in the tail')]);
      life.wal.createGroup(2, MEMBERS);
      life.wal.append(2, [entryOf(1, 1, 'behind it')]);
      const state = { live: new Set([1]) };
      life.wal.setLiveCheck(2, (index) => state.live.has(index));
      return new WeakRef(state);
    }) as WeakRef<object>;
    expect(flush(world, life)).toBe(true);
    life.env.run(() => life.wal.deleteGroup(2));
    expect(flush(world, life)).toBe(true);
    // Whoever looked at it in this turn has it until the next one.
    await new Promise((done) => setImmediate(done));
    vm.runInNewContext('gc')();
    expect(machine.deref()).toBeUndefined();
    expect(texts(life.wal.entriesFromMemory(1, 1, 1, 1e6))).toEqual(['stays in the tail']);
  });

  test('whoever goes on writing while the log is closed is not answered', () => {
    const world = createWorld(4);
    let life = bootSurely(world);
    const answered: number[] = [];
    life.env.run(() => life.wal.createGroup(1, MEMBERS));
    const write = (index: number): void => {
      life.wal.append(1, [entryOf(index, 1, `entry ${index}`)]);
      life.wal.flush(() => {
        answered.push(index);
        write(index + 1);
      });
    };
    life.env.run(() => write(1));
    settle(world, life, (done) => life.wal.close(done));
    world.scheduler.runFor(1_000);
    expect(life.env.alive).toBe(true);
    expect(answered.length).toBeGreaterThan(0);
    life = restart(world, life);
    expect(life.wal.lastIndex(1)).toBeGreaterThanOrEqual(answered.length);
  });

  test('an overwritten suffix stays overwritten', () => {
    const world = createWorld(2);
    let life = bootSurely(world);
    life.env.run(() => {
      life.wal.createGroup(1, MEMBERS);
      life.wal.append(
        1,
        [1, 2, 3, 4, 5].map((i) => entryOf(i, 1, `a${i}`)),
      );
    });
    flush(world, life);
    life.env.run(() => life.wal.append(1, [entryOf(3, 2, 'b3')]));
    expect([life.wal.lastIndex(1), life.wal.termOf(1, 3), life.wal.termOf(1, 4)]).toEqual([3, 2, undefined]);
    flush(world, life);
    for (let i = 0; i < 3; i++) life = restart(world, life);
    expect(life.wal.recovered.get(1)).toMatchObject({ lastIndex: 3, lastTerm: 2, damaged: [] });
    expect(texts(read(world, life, 1, 1, 9))).toEqual(['a1', 'a2', 'b3']);
    // Again, now with the predecessor on disk only, and overwritten within one batch.
    life.env.run(() => {
      life.wal.append(1, [entryOf(2, 3, 'c2'), entryOf(3, 3, 'c3'), entryOf(4, 3, 'c4')]);
      life.wal.append(1, [entryOf(3, 4, 'd3')]);
    });
    flush(world, life);
    life = restart(world, life);
    expect(texts(read(world, life, 1, 1, 9))).toEqual(['a1', 'c2', 'd3']);
  });

  test('batches made during a sync leave with one next sync', () => {
    const world = createWorld(3);
    const life = bootSurely(world);
    life.env.run(() => life.wal.createGroup(1, MEMBERS));
    flush(world, life);
    const before = life.wal.stats.syncs;
    let done = 0;
    for (let i = 1; i <= 50; i++) {
      life.env.run(() => {
        life.wal.append(1, [entryOf(i, 1, `m${i}`)]);
        life.wal.flush(() => done++);
      });
    }
    world.scheduler.runUntilTrue(() => done === 50);
    expect(life.wal.stats.syncs - before).toBe(2);
  });

  test('segments rotate, are sealed, and restart from tables', () => {
    const world = createWorld(4, { segmentBytes: 4096 });
    let life = bootSurely(world);
    life.env.run(() => life.wal.createGroup(1, MEMBERS));
    for (let i = 1; i <= 100; i++) {
      life.env.run(() => life.wal.append(1, [entryOf(i, 1, `${i}-`.repeat(60))]));
      flush(world, life);
    }
    world.scheduler.runFor(100);
    expect(world.disk.files('wal/').filter((name) => name.endsWith('.idx')).length).toBeGreaterThan(3);
    life = restart(world, life);
    expect(life.wal.recovered.get(1)).toMatchObject({ lastIndex: 100, damaged: [], voteSafe: true });
    expect(texts(read(world, life, 1, 1, 100))).toEqual(Array.from({ length: 100 }, (_, i) => `${i + 1}-`.repeat(60)));
  });

  test('a large segment in which all is live is looked at in small pieces with rests; closing does not wait for it', () => {
    const world = createWorld(6, { segmentBytes: 3 << 20 });
    const life = bootSurely(world);
    life.env.run(() => life.wal.createGroup(1, MEMBERS));
    for (let i = 1; i <= 40_000; i += 500) {
      const entries = Array.from({ length: 500 }, (_, k) => entryOf(i + k, 1, `${i + k}`));
      life.env.run(() => life.wal.append(1, entries));
      flush(world, life);
    }
    expect(life.wal.stats.segments).toBeGreaterThan(1);
    const tookMs = (call: (done: () => void) => void): number => {
      const beganMs = life.env.clock.nowMs();
      expect(settle(world, life, call)).toBe(true);
      return life.env.clock.nowMs() - beganMs;
    };
    expect(tookMs((done) => life.wal.compact(() => done()))).toBeGreaterThan(80);
    expect(texts(read(world, life, 1, 1, 2))).toEqual(['1', '2']);
    let compacted = false;
    life.env.run(() =>
      life.wal.compact(() => {
        compacted = true;
      }),
    );
    expect(tookMs((done) => life.wal.close(done))).toBeLessThan(60);
    expect(compacted).toBe(true);
  });

  test('snapshots, live entries below them, compaction, and restarts', () => {
    const world = createWorld(5, { segmentBytes: 4096 });
    let life = bootSurely(world);
    const live = new Set([3, 50]);
    life.env.run(() => life.wal.createGroup(1, MEMBERS));
    life.env.run(() => life.wal.createGroup(2, MEMBERS));
    for (let i = 1; i <= 100; i++) {
      life.env.run(() => life.wal.append(1, [entryOf(i, 1, `${i}-`.repeat(60))]));
      if (i === 10) life.env.run(() => life.wal.append(2, [entryOf(1, 1, 'idle')]));
      flush(world, life);
    }
    const membership = { voters: [1], learners: [2] };
    expect(
      settle(world, life, (done) =>
        life.wal.saveSnapshot(1, { index: 90, term: 1, membership }, [bodyOf('state '), bodyOf('at 90')], done),
      ),
    ).toBe(true);
    expect(life.wal.firstIndex(1)).toBe(91);
    life.env.run(() => life.wal.setLiveCheck(1, (index) => live.has(index)));
    const before = world.disk.files('wal/').filter((name) => name.endsWith('.seg')).length;
    for (let i = 0; i < 3; i++) expect(settle(world, life, (done) => life.wal.compact(() => done()))).toBe(true);
    const after = world.disk.files('wal/').filter((name) => name.endsWith('.seg')).length;
    expect(after).toBeLessThan(before / 2);
    for (let i = 0; i < 2; i++) {
      life = restart(world, life);
      life.env.run(() => life.wal.setLiveCheck(1, (index) => live.has(index)));
      expect(life.wal.recovered.get(1)).toMatchObject({
        firstIndex: 91,
        lastIndex: 100,
        snapshot: { index: 90, term: 1, membership },
        membership,
        damaged: [],
      });
      expect(textOf(stateOf(life.wal, 1))).toBe('state at 90');
      expect(life.wal.liveIndexes(1, 1, 10)).toEqual([3, 50]);
      expect(texts(read(world, life, 1, 3, 3))).toEqual(['3-'.repeat(60)]);
      expect(texts(read(world, life, 1, 50, 50))).toEqual(['50-'.repeat(60)]);
      expect(texts(read(world, life, 1, 91, 100))?.length).toBe(10);
      expect(texts(read(world, life, 2, 1, 1))).toEqual(['idle']);
    }
  });

  test('an installed snapshot replaces the log at once', () => {
    const world = createWorld(6);
    let life = bootSurely(world);
    life.env.run(() => {
      life.wal.createGroup(1, MEMBERS);
      life.wal.append(1, [entryOf(1, 1, 'old1'), entryOf(2, 1, 'old2')]);
    });
    flush(world, life);
    life.env.run(() => life.wal.appendBelowSnapshot(1, [entryOf(2, 2, 'new2'), entryOf(5, 2, 'new5')]));
    flush(world, life);
    // Not switched: the old log counts.
    life = restart(world, life);
    expect(texts(read(world, life, 1, 1, 2))).toEqual(['old1', 'old2']);
    life.env.run(() => life.wal.appendBelowSnapshot(1, [entryOf(2, 2, 'new2'), entryOf(5, 2, 'new5')]));
    life.env.run(() => life.wal.appendBelowSnapshot(1, [entryOf(7, 3, 'new7')]));
    expect(
      settle(world, life, (done) =>
        life.wal.installSnapshot(1, { index: 9, term: 3, membership: MEMBERS }, 0, [bodyOf('s')], done),
      ),
    ).toBe(true);
    expect([life.wal.lastIndex(1), life.wal.firstIndex(1), life.wal.termOf(1, 9)]).toEqual([9, 10, 3]);
    life.env.run(() => life.wal.append(1, [entryOf(10, 4, 'ten')]));
    flush(world, life);
    for (let i = 0; i < 2; i++) {
      expect(life.wal.liveIndexes(1, 1, 10)).toEqual([2, 5, 7]);
      expect(texts(read(world, life, 1, 1, 1))).toBeUndefined();
      expect(texts(read(world, life, 1, 2, 2))).toEqual(['new2']);
      expect(texts(read(world, life, 1, 10, 10))).toEqual(['ten']);
      life = restart(world, life);
    }
    expect(textOf(stateOf(life.wal, 1))).toBe('s');
  });

  test('a deleted group is gone, and its namesake starts empty', () => {
    const world = createWorld(7);
    let life = bootSurely(world);
    life.env.run(() => {
      life.wal.createGroup(1, MEMBERS);
      life.wal.saveHardState(1, { term: 9, vote: 1 });
      life.wal.append(1, [entryOf(1, 9, 'old')]);
    });
    flush(world, life);
    life.env.run(() => life.wal.deleteGroup(1));
    flush(world, life);
    life = restart(world, life);
    expect(life.wal.recovered.size).toBe(0);
    life.env.run(() => life.wal.createGroup(1, MEMBERS));
    flush(world, life);
    life = restart(world, life);
    expect(life.wal.recovered.get(1)).toMatchObject({ lastIndex: 0, hardState: { term: 0, vote: 0 }, voteSafe: true });
  });

  test('membership is the newest in the log, and rolls back with it', () => {
    const world = createWorld(8);
    let life = bootSurely(world);
    const next = { voters: [11, 12, 13, 14], learners: [] };
    life.env.run(() => {
      life.wal.createGroup(1, MEMBERS);
      life.wal.append(1, [entryOf(1, 1, 'x'), membershipEntry(2, 1, next)]);
    });
    flush(world, life);
    life = restart(world, life);
    expect(life.wal.recovered.get(1)?.membership).toEqual(next);
    expect(read(world, life, 1, 2, 2)?.[0].membership).toEqual(next);
    life.env.run(() => life.wal.append(1, [entryOf(2, 2, 'y')]));
    flush(world, life);
    life = restart(world, life);
    expect(life.wal.recovered.get(1)?.membership).toEqual(MEMBERS);
  });

  describe('somebody deletes just before the node does', () => {
    /** With two entries; all that is removed is gone when that takes effect. */
    function begin(): { world: World; life: Life; deleted: string[] } {
      const world = createWorld(10);
      const life = bootSurely(world);
      life.env.run(() => {
        life.wal.createGroup(1, MEMBERS);
        life.wal.append(1, [entryOf(1, 1, 'x'), entryOf(2, 1, 'y')]);
      });
      flush(world, life);
      const deleted: string[] = [];
      world.disk.crashAt = (_operation, kind, path) => {
        if (kind === 'unlink') {
          world.disk.remove(path);
          deleted.push(path);
        }
        return undefined;
      };
      return { world, life, deleted };
    }

    test('a snapshot that another one replaced', () => {
      const { world, life, deleted } = begin();
      for (const index of [1, 2]) {
        const meta = { index, term: 1, membership: MEMBERS };
        settle(world, life, (done) => life.wal.saveSnapshot(1, meta, [bodyOf(`state at ${index}`)], done));
      }
      world.scheduler.runFor(100);
      expect(deleted).toEqual(['wal/snap/1-1-1']);
      expect(life.env.deathReason).toBeUndefined();
      expect(textOf(stateOf(life.wal, 1))).toBe('state at 2');
    });

    test('a draft that was given up', () => {
      const { world, life, deleted } = begin();
      const draft = life.wal.draftSnapshot(1, { index: 9, term: 1, membership: MEMBERS });
      settle(world, life, (done) => draft.write([new Uint8Array(1_000_000)], done));
      life.env.run(() => draft.discard());
      world.scheduler.runFor(100);
      expect(deleted).toEqual(['wal/snap/1-9-1']);
      expect(life.env.deathReason).toBeUndefined();
    });
  });

  test('a failed sync ends the node', () => {
    const world = createWorld(9);
    const life = bootSurely(world);
    life.env.run(() => life.wal.createGroup(1, MEMBERS));
    flush(world, life);
    world.disk.faults.syncErrorProbability = 1;
    life.env.run(() => life.wal.append(1, [entryOf(1, 1, 'x')]));
    expect(flush(world, life)).toBe(false);
    expect(life.env.deathReason).toContain('syncing a batch failed');
  });
});
