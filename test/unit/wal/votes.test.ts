// Terms and votes in their three places: the log, and both state files, to which changes are appended. The power goes at the very moment at which a
// vote was answered for, and one place is damaged on top of it: the vote is known, or the node gives up the right to vote. A copy that is
// not durable by then is found out (a planted bug). And the files' own rules: what follows, what does not, when they are written anew.
import { expect, test } from 'vitest';
import {
  decodeStateFile,
  encodeStateChange,
  encodeStateFile,
  type StateFile,
} from '../../../cluster/wal/state-file.ts';
import { StateKeeper } from '../../../cluster/wal/state-keeper.ts';
import { bootSurely, createWorld, entryOf, flush, MEMBERS, type World } from './wal-world.ts';

const GROUPS = [1, 2, 3];
const FILES = ['wal/state-a', 'wal/state-b'];

interface Moment {
  image: Map<string, Uint8Array>;
  /** Where the batch begins that holds what was answered for last. */
  batchAt: number;
  segment: string;
  terms: Map<number, { term: number; vote: number }>;
}

/** What is durable each time a vote was answered for. */
function moments(): Moment[] {
  const world = createWorld('votes');
  const life = bootSurely(world);
  const terms = new Map<number, { term: number; vote: number }>();
  for (const group of GROUPS) life.env.run(() => life.wal.createGroup(group, MEMBERS));
  flush(world, life);
  const found: Moment[] = [];
  for (let round = 1; round <= 8; round++) {
    const voting = GROUPS.filter((group) => (round + group) % 3 !== 0);
    const segment = [...world.disk.image().keys()]
      .filter((path) => path.endsWith('.seg'))
      .sort()
      .at(-1) as string;
    const batchAt = world.disk.image().get(segment)?.length as number;
    for (const group of voting) {
      const state = { term: round, vote: 11 + (round % 3) };
      terms.set(group, state);
      life.env.run(() => {
        life.wal.saveHardState(group, state);
        if (round % 2 === 0) life.wal.append(group, [entryOf(life.wal.lastIndex(group) + 1, round, 'text')]);
      });
    }
    flush(world, life);
    found.push({ image: world.disk.durableImage(), batchAt, segment, terms: new Map(terms) });
  }
  return found;
}

function harmed(moment: Moment, harm: (world: World) => void): World {
  const world = createWorld('harmed');
  world.disk.restore(moment.image);
  harm(world);
  return world;
}

/** Groups that would vote without what they voted before; and those that gave up the right to. */
function judge(world: World, moment: Moment): { wrong: number; unsafe: number } {
  const { wal } = bootSurely(world);
  let wrong = 0;
  let unsafe = 0;
  for (const [group, state] of moment.terms) {
    const answer = wal.recovered.get(group);
    if (answer === undefined || !answer.voteSafe) unsafe++;
    else if (answer.hardState.term !== state.term || answer.hardState.vote !== state.vote) wrong++;
  }
  return { wrong, unsafe };
}

function wrongWithoutTheLastBatch(): number {
  let wrong = 0;
  for (const moment of moments()) {
    const lost = harmed(moment, ({ disk }) => disk.cutTo(moment.segment, moment.batchAt));
    wrong += judge(lost, moment).wrong;
    const torn = harmed(moment, ({ disk }) =>
      disk.zero(moment.segment, moment.batchAt, moment.image.get(moment.segment)?.length as number),
    );
    wrong += judge(torn, moment).wrong;
  }
  return wrong;
}

test('the batch that told it is gone: the state files tell it', () => {
  expect(wrongWithoutTheLastBatch()).toBe(0);
});

test('planted: votes leave before the state files are durable, and that is found', () => {
  const { append } = StateKeeper.prototype;
  StateKeeper.prototype.append = function (changed, removed, done) {
    append.call(this, changed, removed, () => {});
    done();
  };
  try {
    expect(wrongWithoutTheLastBatch()).toBeGreaterThan(0);
  } finally {
    StateKeeper.prototype.append = append;
  }
});

test('one state file is cut or damaged anywhere: the vote is known, and may be used', () => {
  const moment = moments().at(-1) as Moment;
  for (const path of FILES) {
    const { length } = moment.image.get(path) as Uint8Array;
    for (let at = 0; at < length; at += 13) {
      const cut = harmed(moment, ({ disk }) => disk.cutTo(path, at));
      expect(judge(cut, moment), `${path} cut to ${at}`).toEqual({ wrong: 0, unsafe: 0 });
      const flipped = harmed(moment, ({ disk }) => disk.flipBit(path, at, at % 8));
      expect(judge(flipped, moment), `${path} flipped at ${at}`).toEqual({ wrong: 0, unsafe: 0 });
    }
  }
});

test('a file that was put back is recognized as older, alone and with the other one', () => {
  const all = moments();
  const last = all.at(-1) as Moment;
  for (const earlier of all.slice(0, -2)) {
    for (const paths of [FILES, FILES.slice(0, 1), FILES.slice(1)]) {
      const world = harmed(last, ({ disk }) => {
        for (const path of paths) disk.put(path, earlier.image.get(path) as Uint8Array);
      });
      expect(judge(world, last).wrong).toBe(0);
    }
  }
});

test('votes of many groups in one turn are one change; groups that come and go are in it', () => {
  const world = createWorld('many');
  const life = bootSurely(world);
  for (let group = 1; group <= 500; group++) life.env.run(() => life.wal.createGroup(group, MEMBERS));
  flush(world, life);
  const { stateChanges, stateFilesReplaced, syncs } = { ...life.wal.stats };
  for (let group = 1; group <= 500; group++) life.env.run(() => life.wal.saveHardState(group, { term: 3, vote: 12 }));
  life.env.run(() => life.wal.deleteGroup(7));
  life.env.run(() => life.wal.createGroup(501, MEMBERS));
  flush(world, life);
  expect(life.wal.stats.stateChanges - stateChanges).toBeLessThanOrEqual(2);
  expect(life.wal.stats.syncs - syncs).toBeLessThanOrEqual(2);
  expect(life.wal.stats.stateFilesReplaced).toBe(stateFilesReplaced);
  const [a, b] = FILES.map((path) => decodeStateFile(world.disk.durableImage().get(path) as Uint8Array));
  expect(a).toEqual(b);
  const known = new Map(a?.groups.map((state) => [state.group, state.hardState]));
  expect(known.has(7)).toBe(false);
  expect(known.get(501)).toEqual({ term: 0, vote: 0 });
  expect(known.get(500)).toEqual({ term: 3, vote: 12 });
  expect(known.size).toBe(500);
});

test('changes do not grow without bound: an image takes their place', () => {
  const world = createWorld('bound');
  const life = bootSurely(world);
  for (let group = 1; group <= 200; group++) life.env.run(() => life.wal.createGroup(group, MEMBERS));
  flush(world, life);
  const before = life.wal.stats.stateFilesReplaced;
  let most = 0;
  for (let term = 1; term <= 60; term++) {
    for (let group = 1; group <= 200; group++) life.env.run(() => life.wal.saveHardState(group, { term, vote: 0 }));
    flush(world, life);
    most = Math.max(most, ...FILES.map((path) => world.disk.image().get(path)?.length ?? 0));
  }
  expect(most).toBeLessThan(320 * 1024);
  expect(life.wal.stats.stateFilesReplaced).toBeGreaterThan(before);
  life.env.kill('power');
  expect(bootSurely(world).wal.recovered.get(200)?.hardState).toEqual({ term: 60, vote: 0 });
});

test('a change counts only if it follows, and nothing after one that does not', () => {
  const state: StateFile = {
    walId: 9,
    generation: 4,
    groupsUnsure: false,
    segments: [1, 2],
    durableEnd: 80,
    position: 3,
    groups: [],
  };
  const image = encodeStateFile(state);
  const change = (generation: number): Uint8Array =>
    encodeStateChange({ generation, durableEnd: generation * 100, position: generation, removed: [], groups: [] });
  const read = (...parts: Uint8Array[]): number | undefined => decodeStateFile(Buffer.concat(parts))?.generation;
  expect(read(image)).toBe(4);
  expect(read(image, change(5), change(6))).toBe(6);
  expect(read(image, change(5), change(7))).toBe(5);
  expect(read(image, change(6), change(5))).toBe(4);
  expect(read(image, change(5), change(5))).toBe(5);
  expect(read(image, new Uint8Array(64), change(5))).toBe(4);
  const whole = change(5);
  for (let size = 0; size < whole.length; size++) expect(read(image, whole.subarray(0, size))).toBe(4);
});
