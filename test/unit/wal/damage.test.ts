// Damage to every kind of file at many places: bits flipped, stretches zeroed, files cut, files deleted, a sector that cannot be read. One
// fault at a time, after the node stopped. Whatever it is: the node starts, nothing wrong is ever given out, nothing is lost silently
// (it is whole, or reported as damaged, or the vote is given up), and entries given back by peers make it whole again.
import { expect, test } from 'vitest';
import type { LogEntry } from '../../../cluster/core/types.ts';
import { commonsOf, type OpenedRaft, openRaft } from '../../../cluster/host/open-raft.ts';
import { createPrng, type Prng } from '../../sim/prng.ts';
import { CrashModel, type GroupModel, makeSteps } from './crash-model.ts';
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
  stateOf,
  textOf,
  type World,
} from './wal-world.ts';

const OPTIONS = { segmentBytes: 3000, tailBytes: 2048 };
const GROUPS = [0, 64, 129];
const FULL = process.env['WAL_DAMAGE'] === 'full';
/** Bytes between two flipped bits; WAL_DAMAGE=full looks closely. */
const STEP_BYTES = FULL ? 9 : 160;
/** Random worlds, from the first seed on: WAL_SEED=<n> WAL_WORLDS=<n>. */
const FIRST_SEED = Number(process.env['WAL_SEED'] ?? 1);
const WORLDS = Number(process.env['WAL_WORLDS'] ?? (FULL ? 300 : 20));
const FAULTS = FULL ? 30 : 10;
const isLive = (index: number): boolean => index % 3 === 0;

interface Truth {
  term: number;
  vote: number;
  last: number;
  lastTerm: number;
  snapshot: number;
  entries: Map<number, LogEntry>;
}

interface Prepared {
  image: Map<string, Uint8Array>;
  truth: Map<number, Truth>;
}

/** A node with sealed segments, an active one, snapshots, live entries below them, rewritten suffixes and some removed segments. */
function prepare(rest: 'closed' | 'killed at rest'): Prepared {
  const world = createWorld('damage', OPTIONS);
  let life = bootSurely(world);
  const truth = new Map<number, Truth>();
  const append = (group: number, index: number, term: number, text: string): void => {
    const entry = entryOf(index, term, text);
    life.env.run(() => life.wal.append(group, [entry]));
    const known = truth.get(group) as Truth;
    for (const old of known.entries.keys()) if (old > index) known.entries.delete(old);
    known.entries.set(index, entry);
    known.last = index;
    known.lastTerm = term;
  };
  const hard = (group: number, term: number, vote: number): void => {
    life.env.run(() => life.wal.saveHardState(group, { term, vote }));
    Object.assign(truth.get(group) as Truth, { term, vote });
  };
  for (const group of GROUPS) {
    life.env.run(() => life.wal.createGroup(group, MEMBERS));
    truth.set(group, { term: 0, vote: 0, last: 0, lastTerm: 0, snapshot: 0, entries: new Map() });
    hard(group, 1, 7);
  }
  for (let i = 1; i <= 40; i++) {
    for (const group of GROUPS) {
      if (group === 129 && i > 6) continue;
      const known = truth.get(group) as Truth;
      append(group, known.last + 1, known.term, `${group}-${i}-`.repeat(i % 4 === 0 ? 30 : 4));
      if (i === 17 && group === 64) {
        hard(64, 2, 0);
        append(64, 15, 2, 'rewritten');
      }
    }
    flush(world, life);
    if (i === 20) {
      const known = truth.get(64) as Truth;
      settle(world, life, (done) =>
        life.wal.saveSnapshot(
          64,
          { index: 12, term: 1, membership: MEMBERS },
          [bodyOf('snapshot of 64 '.repeat(9))],
          done,
        ),
      );
      known.snapshot = 12;
      life.env.run(() => life.wal.setLiveCheck(64, isLive));
      settle(world, life, (done) => life.wal.compact(() => done()));
    }
    if (i === 25) {
      life.env.kill('process');
      life = bootSurely(world);
      life.env.run(() => life.wal.setLiveCheck(64, isLive));
    }
    if (i === 33) hard(0, 5, 3);
    flush(world, life);
  }
  for (const [index] of truth.get(64)?.entries ?? [])
    if (index <= 12 && !isLive(index)) truth.get(64)?.entries.delete(index);
  if (rest === 'closed') settle(world, life, (done) => life.wal.close(done));
  else world.scheduler.runFor(100);
  life.env.kill('process');
  return { image: world.disk.image(), truth };
}

function worldWith(prepared: Prepared, seed: string): World {
  const world = createWorld(seed, OPTIONS);
  world.disk.restore(prepared.image);
  return world;
}

interface Judgement {
  unsure: number;
  damaged: number;
  snapshotLost: number;
}

/** Never wrong, never silently less. */
function judge(world: World, life: Life, truth: Map<number, Truth>): Judgement {
  const found: Judgement = { unsure: 0, damaged: 0, snapshotLost: 0 };
  for (const [group, known] of truth) {
    const answer = life.wal.recovered.get(group);
    expect(answer, `group ${group} is gone`).toBeDefined();
    if (answer === undefined) continue;
    life.env.run(() => life.wal.setLiveCheck(group, isLive));
    if (answer.voteSafe) {
      expect(answer.hardState).toEqual({ term: known.term, vote: known.vote });
      expect([answer.lastIndex, answer.lastTerm]).toEqual([known.last, known.lastTerm]);
      expect(answer.snapshot?.index ?? 0).toBe(known.snapshot);
    } else found.unsure++;
    expect(answer.lastIndex).toBeLessThanOrEqual(known.last);
    const live = new Set(life.wal.liveIndexes(group, 1, 1e9));
    for (const [index, entry] of known.entries) {
      const got = index > answer.lastIndex ? undefined : read(world, life, group, index, index)?.[0];
      if (got !== undefined) {
        expect([textOf(got.body), got.term, got.index]).toEqual([textOf(entry.body), entry.term, index]);
        if (index <= known.snapshot && answer.snapshot !== undefined) expect(live.has(index)).toBe(true);
        continue;
      }
      found.damaged++;
      const reported = life.wal.damagedRanges(group).some((range) => index >= range.first && index <= range.last);
      expect(
        reported || (!answer.voteSafe && index > answer.lastIndex),
        `group ${group}: ${index} is lost silently`,
      ).toBe(true);
    }
    if (known.snapshot > 0) {
      const state = life.env.run(() => stateOf(life.wal, group));
      if (state === undefined) found.snapshotLost++;
      else expect(textOf(state)).toBe('snapshot of 64 '.repeat(9));
    }
  }
  return found;
}

/** Peers give back what is damaged; after a restart nothing is missing. */
function repairAll(world: World, life: Life, truth: Map<number, Truth>): void {
  for (const [group, known] of truth) {
    const wanted = life.wal.damagedRanges(group);
    const entries = [...known.entries.values()].filter(({ index }) =>
      wanted.some(({ first, last }) => index >= first && index <= last),
    );
    life.env.run(() => life.wal.repair(group, entries));
  }
  expect(flush(world, life)).toBe(true);
}

function tryDamage(prepared: Prepared, name: string, harm: (world: World) => void): Judgement {
  const world = worldWith(prepared, name);
  harm(world);
  let life: Life | undefined;
  try {
    life = bootSurely(world);
    const found = judge(world, life, prepared.truth);
    if (found.unsure === 0) {
      repairAll(world, life, prepared.truth);
      for (const [group, known] of prepared.truth) {
        for (const index of known.entries.keys())
          expect(
            textOf(read(world, life, group, index, index)?.[0]?.body),
            `${group}/${index} after repair`,
          ).toBeDefined();
      }
      life.env.kill('process');
      life = bootSurely(world);
      const again = judge(world, life, prepared.truth);
      expect([again.unsure, again.damaged]).toEqual([0, 0]);
    } else {
      // Started once more without repair: no surer than before.
      life.env.kill('process');
      judge(world, bootSurely(world), prepared.truth);
    }
    return found;
  } catch (error) {
    throw new Error(name, { cause: error });
  }
}

for (const rest of ['closed', 'killed at rest'] as const) {
  test(`${rest}: single faults in every file`, { timeout: 600_000 }, () => {
    const prepared = prepare(rest);
    const prng = createPrng('places');
    const sums: Record<string, number> = {};
    const count = (kind: string, found: Judgement): void => {
      for (const [what, n] of Object.entries(found))
        sums[`${kind} ${what}`] = (sums[`${kind} ${what}`] ?? 0) + (n > 0 ? 1 : 0);
      sums[`${kind} trials`] = (sums[`${kind} trials`] ?? 0) + 1;
    };
    for (const [path, bytes] of prepared.image) {
      const size = bytes.length;
      for (let at = prng.int(STEP_BYTES); at < size; at += STEP_BYTES) {
        const bit = prng.int(8);
        count(
          'flip',
          tryDamage(prepared, `flip ${path} ${at}.${bit}`, (world) => world.disk.flipBit(path, at, bit)),
        );
      }
      for (let i = 0; i < 6; i++) {
        const at = prng.int(size);
        const length = prng.pick([16, 512, 4096]);
        count(
          'zero',
          tryDamage(prepared, `zero ${path} ${at}+${length}`, (world) => world.disk.zero(path, at, at + length)),
        );
        count(
          'cut',
          tryDamage(prepared, `cut ${path} to ${at}`, (world) => world.disk.cutTo(path, at)),
        );
      }
      count(
        'cut',
        tryDamage(prepared, `cut ${path} to 0`, (world) => world.disk.cutTo(path, 0)),
      );
      count(
        'delete',
        tryDamage(prepared, `delete ${path}`, (world) => world.disk.remove(path)),
      );
      const at = prng.int(size);
      count(
        'eio',
        tryDamage(prepared, `eio ${path} at ${at}`, (world) => world.disk.readError(path, at, at + 1)),
      );
    }
    for (const kind of ['flip', 'zero', 'cut', 'delete']) {
      expect(sums[`${kind} damaged`], `${kind} harmed nothing: ${JSON.stringify(sums)}`).toBeGreaterThan(0);
      expect(sums[`${kind} snapshotLost`]).toBeGreaterThan(0);
    }
    // A bit in a sealed segment or in any table, mark or copy costs no vote.
    expect(sums['flip unsure'] / sums['flip trials']).toBeLessThan(0.1);
    if (process.env['WAL_DAMAGE'] !== undefined) console.log(rest, sums);
  });
}

/** One fault of any kind at any place. */
function harm(world: World, prng: Prng, files: string[]): string {
  const file = prng.pick(files);
  const size = world.disk.content(file)?.length ?? 0;
  const at = prng.int(size);
  const length = Math.min(prng.pick([1, 64, 512, 4096]), size - at);
  const kind = prng.pick(['flip', 'zero', 'garbage', 'cut', 'delete', 'eio'] as const);
  if (kind === 'flip') world.disk.flipBit(file, at, prng.int(8));
  else if (kind === 'zero') world.disk.zero(file, at, at + length);
  else if (kind === 'garbage') world.disk.damage(file, (bytes) => bytes.set(createPrng(at).bytes(length), at));
  else if (kind === 'cut') world.disk.cutTo(file, at);
  else if (kind === 'delete') world.disk.remove(file);
  else world.disk.readError(file, at, at + 1);
  return `${kind} ${file} ${at}+${length}`;
}

/** Goes through everything, twice, with more than the time between that a missing entry needs to be reported. */
function scrubAll(world: World, life: Life): void {
  for (let i = 0; i < 30; i++) {
    settle(world, life, (done) => life.wal.scrub(1e6, () => done()));
    if (i === 15) world.scheduler.runFor(20_000);
  }
}

/** Whatever is left of a log, the core can be opened on it: it asserts that terms are known and never fall. */
function openCores({ env, wal }: Life): void {
  const fixed = { env, wal, commons: commonsOf(11, undefined), membership: MEMBERS, preferred: false };
  for (const [group, recovered] of wal.recovered) {
    const { raft, voteUnsafe, termsUnknown } = env.run(() => openRaft({ ...fixed, group, recovered })) as OpenedRaft;
    expect(raft.lastIndex).toBe(recovered.lastIndex);
    if (termsUnknown || !recovered.voteSafe) expect(voteUnsafe).toBe(true);
  }
}

/** As judge, for a model of the crash test. A group with voteSafe false may show an older state of itself. */
function judgeModel(world: World, life: Life, group: number, known: GroupModel | undefined): void {
  const answer = life.wal.recovered.get(group);
  if (known === undefined) {
    expect(answer?.voteSafe ?? false, `group ${group} is back`).toBe(false);
    return;
  }
  if (answer === undefined) throw new Error(`group ${group} is gone`);
  if (!answer.voteSafe) return;
  expect(answer.hardState).toEqual({ term: known.term, vote: known.vote });
  expect(answer.lastIndex).toBe(known.first + known.log.length - 1);
  const wanted = new Map(known.below);
  known.log.forEach((item, i) => {
    wanted.set(known.first + i, item);
  });
  for (const [index, { term, text }] of wanted) {
    const entry = read(world, life, group, index, index)?.[0];
    if (entry !== undefined) expect([entry.term, textOf(entry.body)]).toEqual([term, text]);
    else {
      const reported = life.wal.damagedRanges(group).some((range) => index >= range.first && index <= range.last);
      expect(reported, `group ${group}: ${index} is lost silently`).toBe(true);
    }
  }
}

test('any workload, any fault: what may vote is right, and what is lost is reported', { timeout: 3_600_000 }, () => {
  const failures: string[] = [];
  for (let seed = FIRST_SEED; seed < FIRST_SEED + WORLDS; seed++) {
    const prng = createPrng(`damaged-world-${seed}`);
    const options = {
      segmentBytes: prng.pick([2000, 6000, 30_000]),
      tailBytes: 2000,
      zeroBytes: prng.pick([0, 0, 1000, 5000]),
      compactLiveShare: prng.pick([0.2, 0.5, 0.95]),
    };
    const world = createWorld(`damaged-world-${seed}`, options);
    const model = new CrashModel(world);
    let life = bootSurely(world);
    for (const step of makeSteps(`damaged-world-${seed}`, prng.pick([60, 200]), true))
      expect(model.run(life, step)).toBe(true);
    world.scheduler.runFor(200);
    life.env.kill('process');
    const image = world.disk.image();
    for (let i = 0; i < FAULTS; i++) {
      const damaged = createWorld(`damaged-${seed}-${i}`, options);
      damaged.disk.restore(image);
      const what = harm(
        damaged,
        prng,
        [...image.keys()].filter((path) => (image.get(path)?.length ?? 0) > 0),
      );
      try {
        for (let round = 0; round < 2; round++) {
          life = bootSurely(damaged);
          for (const group of life.wal.recovered.keys()) life.env.run(() => life.wal.setLiveCheck(group, isLive));
          openCores(life);
          scrubAll(damaged, life);
          for (const [group, known] of model.expected()) judgeModel(damaged, life, group, known);
          life.env.kill('process');
        }
      } catch (error) {
        failures.push(`world ${seed}, fault ${i}: ${what}: ${(error as Error).message.split('\n')[0]}`);
      }
    }
  }
  expect(failures).toEqual([]);
});

test('misdirected and stale content is recognized', () => {
  const prepared = prepare('closed');
  const segments = [...prepared.image.keys()].filter((path) => path.endsWith('.seg'));
  const prng = createPrng('misdirected');
  for (let i = 0; i < 60; i++) {
    const [from, to] = [prng.pick(segments), prng.pick(segments)];
    const source = prepared.image.get(from) as Uint8Array;
    const at = prng.int(source.length / 512) * 512;
    const target = prng.int((prepared.image.get(to) as Uint8Array).length / 512) * 512;
    tryDamage(prepared, `misdirect ${from}@${at} to ${to}@${target}`, (world) =>
      world.disk.damage(to, (bytes) =>
        bytes.set(source.subarray(at, Math.min(at + 512, at + bytes.length - target)), target),
      ),
    );
  }
  for (const from of segments) {
    for (const to of segments) {
      if (from === to) continue;
      tryDamage(prepared, `${from} in the place of ${to}`, (world) =>
        world.disk.put(to, (prepared.image.get(from) as Uint8Array).slice()),
      );
    }
  }
});

test('an older state of the whole directory is known by its position', () => {
  const world = createWorld('rollback', OPTIONS);
  let life = bootSurely(world);
  life.env.run(() => life.wal.createGroup(1, MEMBERS));
  flush(world, life);
  life.env.run(() => life.wal.append(1, [entryOf(1, 1, 'a')]));
  flush(world, life);
  const backup = world.disk.image();
  const announced: number[] = [life.wal.durable];
  for (let i = 2; i < 20; i++) {
    life.env.run(() => life.wal.append(1, [entryOf(i, 1, 'b')]));
    flush(world, life);
    announced.push(life.wal.durable);
  }
  expect(announced).toEqual([...announced].sort((a, b) => a - b));
  life.env.kill('power');
  life = bootSurely(world);
  expect(life.wal.durable).toBe(announced[announced.length - 1]);
  life.env.kill('process');
  world.disk.restore(backup);
  for (let i = 0; i < 3; i++) {
    life = bootSurely(world);
    expect(life.wal.durable).toBe(announced[0]);
    life.env.kill('process');
  }
});

test('a scrub finds what nobody reads, wherever it is in a sealed segment', () => {
  const prepared = prepare('closed');
  const world = worldWith(prepared, 'scrub');
  const life = bootSurely(world);
  life.env.run(() => life.wal.setLiveCheck(64, isLive));
  const round = (): string[] => {
    const found: string[] = [];
    for (let i = 0; i < 60; i++) {
      settle(world, life, (done) =>
        life.wal.scrub(2000, (damaged) => {
          for (const { group, index } of damaged) found.push(`${group}/${index}`);
          done();
        }),
      );
    }
    return [...new Set(found)].sort();
  };
  expect(round()).toEqual([]);
  const harmed = new Set<string>();
  for (const [group, index] of [
    [0, 5],
    [64, 9],
    [129, 3],
  ]) {
    const text = textOf(prepared.truth.get(group)?.entries.get(index)?.body) as string;
    for (const path of world.disk.files('wal/').filter((name) => name.endsWith('.seg'))) {
      const at = Buffer.from(world.disk.content(path) as Uint8Array).indexOf(text);
      if (at < 0) continue;
      world.disk.flipBit(path, at + 3, 2);
      harmed.add(`${group}/${index}`);
    }
  }
  expect(harmed.size).toBe(3);
  expect(round()).toEqual([...harmed].sort());
  repairAll(world, life, prepared.truth);
  expect(round()).toEqual([]);
});

const LOSSES = ['deleted', 'deleted and unreadable', 'unreadable'] as const;
test.each(LOSSES)('both tail marks %s: no vote, also when the start is cut off', { timeout: 600_000 }, (loss) => {
  const prepared = prepare('killed at rest');
  const harmed = (): World => {
    const world = worldWith(prepared, 'tails');
    const lose = (name: string, isDeleted: boolean): void => {
      if (isDeleted) world.disk.remove(name);
      else world.disk.readError(name, 5000, 5001);
    };
    lose('wal/tail-a', loss !== 'unreadable');
    lose('wal/tail-b', loss === 'deleted');
    return world;
  };
  const whole = harmed();
  whole.disk.crashAt = () => undefined;
  bootSurely(whole);
  for (let stopAt = 0; stopAt <= whole.disk.operations; stopAt++) {
    const world = harmed();
    world.disk.crashAt = (operation) => (operation === stopAt ? 'process' : undefined);
    boot(world)?.env.kill('process');
    world.disk.crashAt = undefined;
    const { wal } = bootSurely(world);
    expect(wal.groupsUnsure, `cut off at ${stopAt}`).toBe(true);
    for (const { group, voteSafe } of wal.recovered.values())
      expect(voteSafe, `group ${group}, cut off at ${stopAt}`).toBe(false);
  }
});

test('one tail mark unreadable, the other one whole: nothing is in doubt', () => {
  const prepared = prepare('killed at rest');
  const world = worldWith(prepared, 'tail');
  world.disk.readError('wal/tail-b', 5000, 5001);
  const found = judge(world, bootSurely(world), prepared.truth);
  expect(found).toEqual({ unsure: 0, damaged: 0, snapshotLost: 0 });
});

test('both copies of the hard state damaged: no vote', () => {
  const prepared = prepare('closed');
  const world = worldWith(prepared, 'both');
  for (const path of ['wal/state-a', 'wal/state-b']) world.disk.flipBit(path, 30, 1);
  const life = boot(world) as Life;
  for (const group of GROUPS) expect(life.wal.recovered.get(group)?.voteSafe).toBe(false);
  judge(world, life, prepared.truth);
});
