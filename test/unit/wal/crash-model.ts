// What a crashed WAL may come back with: a scripted workload, run on the WAL and on a model side by side. The model keeps, per group, the last
// state that was answered for and every state (and torn part of one) asked for since; recovery must show exactly one of those.
import { expect } from 'vitest';
import type { LogEntry } from '../../../cluster/core/types.ts';
import { createPrng, type Prng } from '../../sim/prng.ts';
import {
  bodyOf,
  boot,
  bootSurely,
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

export interface Item {
  term: number;
  text: string;
}

/** One group; undefined in its place: no such group. */
export interface GroupModel {
  term: number;
  vote: number;
  snapshot: { index: number; term: number; state: string } | undefined;
  first: number;
  /** From `first` on. */
  log: Item[];
  /** Live entries at or below the snapshot. */
  below: Map<number, Item>;
}

export type Step =
  | { do: 'create' | 'delete'; group: number }
  | { do: 'append'; group: number; from: number; items: Item[] }
  | { do: 'hard'; group: number; term: number; vote: number }
  | { do: 'snapshot'; group: number; index: number; state: string }
  | { do: 'stage'; group: number; live: [number, Item][] }
  | { do: 'install'; group: number; index: number; term: number; state: string; kept: number; live: [number, Item][] }
  | { do: 'compact' }
  | { do: 'flush' }
  | { do: 'wait'; ms: number };

const GROUPS = [0, 64, 65, 2 ** 33];
/** Which entries below a snapshot the machines of these tests want. */
export const isLive = (index: number): boolean => index % 3 === 0;

const lastOf = (group: GroupModel): number => group.first + group.log.length - 1;

/** State after a step; `part`: only so many of the step's entries are there. */
function after(group: GroupModel | undefined, step: Step, part = Number.MAX_SAFE_INTEGER): GroupModel | undefined {
  if (step.do === 'create')
    return group ?? { term: 0, vote: 0, snapshot: undefined, first: 1, log: [], below: new Map() };
  if (step.do === 'delete' || group === undefined) return undefined;
  if (step.do === 'hard') return { ...group, term: step.term, vote: step.vote };
  if (step.do === 'append')
    return { ...group, log: [...group.log.slice(0, step.from - group.first), ...step.items.slice(0, part)] };
  if (step.do === 'snapshot') {
    const below = new Map(group.below);
    for (let index = group.first; index <= step.index; index++)
      if (isLive(index)) below.set(index, group.log[index - group.first]);
    const { term } = group.log[step.index - group.first];
    const log = group.log.slice(step.index - group.first + 1);
    return { ...group, snapshot: { index: step.index, term, state: step.state }, first: step.index + 1, log, below };
  }
  if (step.do === 'install') {
    const { index, term, state, kept, live } = step;
    const log = group.log.map((item, i): [number, Item] => [group.first + i, item]);
    const own = [...group.below, ...log].filter(([i]) => i <= kept && isLive(i));
    return { ...group, snapshot: { index, term, state }, first: index + 1, log: [], below: new Map([...own, ...live]) };
  }
  return group;
}

/** A workload that is a function of its seed. `keeps`: snapshots are installed on top of own entries, and transfers given up. */
export function makeSteps(seed: number | string, count: number, keeps: boolean): Step[] {
  const prng = createPrng(`steps-${seed}`);
  const steps: Step[] = [];
  const groups = new Map<number, GroupModel | undefined>();
  const add = (step: Step): void => {
    steps.push(step);
    if ('group' in step) groups.set(step.group, after(groups.get(step.group), step));
  };
  let number = 0;
  const item = (term: number): Item => ({
    term,
    text: `${number++}:`.padEnd(prng.pick([3, 20, 100, 700]), 'abcdefgh'),
  });
  for (const group of GROUPS) add({ do: 'create', group });
  while (steps.length < count) {
    const id = prng.pick(GROUPS);
    const group = groups.get(id);
    if (group === undefined) {
      add({ do: 'create', group: id });
      continue;
    }
    const last = lastOf(group);
    const roll = prng.float();
    if (roll < 0.5) {
      const term = Math.max(1, group.term);
      if (group.term === 0) add({ do: 'hard', group: id, term, vote: 0 });
      add({
        do: 'append',
        group: id,
        from: last + 1,
        items: Array.from({ length: prng.between(1, 4) }, () => item(term)),
      });
    } else if (roll < 0.58 && group.log.length > 0) {
      const term = group.term + 1;
      add({ do: 'hard', group: id, term, vote: 0 });
      const from = prng.between(group.first, last);
      add({ do: 'append', group: id, from, items: Array.from({ length: prng.between(1, 3) }, () => item(term)) });
    } else if (roll < 0.64) add({ do: 'hard', group: id, term: group.term + 1, vote: prng.between(1, 9) });
    else if (roll < 0.71 && group.log.length > 0) {
      add({
        do: 'snapshot',
        group: id,
        index: prng.between(group.first, last),
        state: `state-${number++}`.repeat(prng.between(1, 30)),
      });
    } else if (roll < 0.74) {
      const kept = keeps && prng.chance(0.7) ? prng.between(group.first - 1, last) : 0;
      const index = kept > 0 && prng.chance(0.5) ? kept + prng.between(1, 6) : last + prng.between(1, 6);
      const liveOf = (): [number, Item][] => {
        const live: [number, Item][] = [];
        for (let i = 3; i <= index; i += 3) if (i > kept && prng.chance(0.5)) live.push([i, item(group.term + 1)]);
        return live;
      };
      add({ do: 'hard', group: id, term: group.term + 1, vote: 0 });
      if (keeps && prng.chance(0.3)) add({ do: 'stage', group: id, live: liveOf() });
      const live = liveOf();
      add({ do: 'install', group: id, index, term: group.term + 1, state: `installed-${number++}`, kept, live });
    } else if (roll < 0.8) add({ do: 'compact' });
    else if (roll < 0.815) add({ do: 'delete', group: id });
    else if (roll < 0.84) add({ do: 'wait', ms: 30 });
    else add({ do: 'flush' });
  }
  add({ do: 'flush' });
  return steps;
}

export class CrashModel {
  private acked = new Map<number, GroupModel | undefined>();
  private asked = new Map<number, (GroupModel | undefined)[]>();
  readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  /** What was answered for, when nothing is under way. */
  expected(): ReadonlyMap<number, GroupModel | undefined> {
    return this.acked;
  }

  private latest(group: number): GroupModel | undefined {
    const asked = this.asked.get(group);
    return asked === undefined || asked.length === 0 ? this.acked.get(group) : asked[asked.length - 1];
  }

  private note(step: Step): void {
    if (!('group' in step)) return;
    const asked = this.asked.get(step.group) ?? [];
    const before = this.latest(step.group);
    if (step.do === 'append')
      for (let part = 0; part < step.items.length; part++) asked.push(after(before, step, part));
    asked.push(after(before, step));
    this.asked.set(step.group, asked);
  }

  private answered(): void {
    for (const group of this.asked.keys()) this.acked.set(group, this.latest(group));
    this.asked.clear();
  }

  /** Runs one step; false when the life ended in it. */
  run(life: Life, step: Step): boolean {
    const { wal, env } = life;
    const { world } = this;
    this.note(step);
    switch (step.do) {
      case 'create':
        env.run(() => {
          wal.createGroup(step.group, MEMBERS);
          wal.setLiveCheck(step.group, isLive);
        });
        return env.alive;
      case 'delete':
        env.run(() => wal.deleteGroup(step.group));
        return env.alive;
      case 'hard':
        env.run(() => wal.saveHardState(step.group, { term: step.term, vote: step.vote }));
        return env.alive;
      case 'append':
        env.run(() =>
          wal.append(
            step.group,
            step.items.map((item, i) => entryOf(step.from + i, item.term, item.text)),
          ),
        );
        return env.alive;
      case 'snapshot': {
        const term = env.run(() => wal.termOf(step.group, step.index)) as number;
        const meta = { index: step.index, term, membership: MEMBERS };
        return this.answer(settle(world, life, (done) => wal.saveSnapshot(step.group, meta, halves(step.state), done)));
      }
      case 'stage':
        // A transfer that is given up.
        env.run(() => {
          wal.appendBelowSnapshot(
            step.group,
            step.live.map(([i, item]) => entryOf(i, item.term, item.text)),
          );
          wal.dropStaged(step.group);
        });
        return env.alive;
      case 'install': {
        const { index, term, live, kept } = step;
        const entries: LogEntry[] = live.map(([i, item]) => entryOf(i, item.term, item.text));
        const middle = entries.length >> 1;
        env.run(() => wal.appendBelowSnapshot(step.group, entries.slice(middle)));
        if (!env.alive || !flush(world, life)) return false;
        env.run(() => wal.appendBelowSnapshot(step.group, entries.slice(0, middle)));
        if (!env.alive) return false;
        const meta = { index, term, membership: MEMBERS };
        const installed = settle(world, life, (done) =>
          wal.installSnapshot(step.group, meta, kept, halves(step.state), done),
        );
        if (installed) {
          const below = this.latest(step.group)?.below.keys() ?? [];
          expect(wal.liveIndexes(step.group, 1, 1e9)).toEqual([...below].sort((a, b) => a - b));
        }
        return this.answer(installed);
      }
      case 'compact':
        return settle(world, life, (done) => wal.compact(() => done()));
      case 'wait':
        world.scheduler.runFor(step.ms);
        return env.alive;
      case 'flush':
        return this.answer(flush(world, life));
    }
  }

  private answer(done: boolean): boolean {
    if (done) this.answered();
    return done;
  }

  /** Compares what the WAL came back with to what it may come back with, and goes on from there. */
  check(life: Life): void {
    for (const group of GROUPS) {
      const allowed = [this.acked.get(group), ...(this.asked.get(group) ?? [])];
      const found = life.wal.recovered.get(group);
      if (found === undefined) {
        expect(allowed.includes(undefined), `group ${group} is gone`).toBe(true);
        this.acked.set(group, undefined);
        continue;
      }
      expect({ voteSafe: found.voteSafe, damaged: found.damaged }, `group ${group}`).toEqual({
        voteSafe: true,
        damaged: [],
      });
      const { term, vote } = found.hardState;
      const hardStates = allowed.filter((model) => model !== undefined && model.term === term && model.vote === vote);
      expect(
        hardStates.length,
        `group ${group}: hard state ${term}/${vote} was never asked for, or went back`,
      ).toBeGreaterThan(0);
      const shown = this.show(life, group);
      const match = allowed.findLast((model) => model !== undefined && same(model, shown));
      expect(
        match,
        `group ${group} shows\n${describe(shown)}\nallowed are\n${allowed.map((m) => m && describe(m)).join('\n')}`,
      ).toBeDefined();
      this.acked.set(group, { ...(match as GroupModel), term, vote });
    }
    this.asked.clear();
  }

  private show(life: Life, group: number): GroupModel {
    const { wal, env } = life;
    env.run(() => wal.setLiveCheck(group, isLive));
    const found = wal.recovered.get(group);
    const first = found?.firstIndex ?? 1;
    const last = found?.lastIndex ?? 0;
    const log = first > last ? [] : (read(this.world, life, group, first, last) ?? []);
    expect(log.map((entry) => entry.index)).toEqual(Array.from({ length: last - first + 1 }, (_, i) => first + i));
    const below = new Map<number, Item>();
    for (const index of wal.liveIndexes(group, 1, 1e9)) {
      const entry = read(this.world, life, group, index, index)?.[0];
      below.set(index, { term: entry?.term ?? -1, text: textOf(entry?.body) ?? 'unreadable' });
    }
    const meta = found?.snapshot;
    const state = textOf(env.run(() => stateOf(wal, group))) ?? 'unreadable';
    return {
      term: 0,
      vote: 0,
      first,
      log: log.map((entry) => ({ term: entry.term, text: textOf(entry.body) as string })),
      snapshot: meta && { index: meta.index, term: meta.term, state },
      below,
    };
  }
}

function halves(state: string): Uint8Array[] {
  const bytes = bodyOf(state);
  return [bytes.subarray(0, bytes.length >> 1), bytes.subarray(bytes.length >> 1)];
}

const itemText = ({ term, text }: Item): string => `${term}/${text.slice(0, 8)}`;

function describe(model: GroupModel): string {
  const { snapshot } = model;
  const below = [...model.below].sort((a, b) => a[0] - b[0]).map(([i, item]) => `${i}=${itemText(item)}`);
  const head =
    snapshot === undefined
      ? ''
      : `@${snapshot.index}/${snapshot.term} ${snapshot.state.slice(0, 16)}(${snapshot.state.length})`;
  return `${head} [${below.join(' ')}] ${model.first}: ${model.log.map(itemText).join(' ')}`;
}

const same = (a: GroupModel, b: GroupModel): boolean => {
  if (describe(a) !== describe(b) || a.snapshot?.state !== b.snapshot?.state) return false;
  return (
    a.log.every((item, i) => item.text === b.log[i].text) &&
    [...a.below].every(([i, item]) => item.text === b.below.get(i)?.text)
  );
};

/** One whole trial: the workload until the life ends, recovery (perhaps interrupted as well), a check, the same once more, and some work after it. */
export function trial(world: World, steps: readonly Step[], prng: Prng): { crashed: boolean } {
  // Crashes lose no file: what a first start leaves behind that was interrupted is a new directory, not an emptied one.
  world.options = { ...world.options, used: false };
  const model = new CrashModel(world);
  let life = boot(world);
  let crashed = life === undefined;
  if (life !== undefined) {
    for (const step of steps) {
      if (model.run(life, step)) continue;
      crashed = true;
      break;
    }
    if (!crashed) life.env.kill('power', 'the end');
  }
  if (!crashed && world.crashAt !== undefined) {
    // At a point that only a recovery passes.
    life = boot(world);
    crashed = life === undefined;
    life?.env.kill('process');
  }
  world.disk.faults.syncErrorProbability = 0;
  world.disk.faults.spaceBytes = Number.POSITIVE_INFINITY;
  // Recovery itself is interrupted now and then, at any of its operations.
  world.crashAt = undefined;
  for (let interruptions = prng.int(3); interruptions > 0; interruptions--) {
    const stopAt = world.disk.operations + prng.int(24);
    const kind = prng.pick(['process', 'power'] as const);
    world.disk.crashAt = (operation) => (operation === stopAt ? kind : undefined);
    boot(world)?.env.kill(kind);
  }
  world.disk.crashAt = undefined;
  life = bootSurely(world);
  model.check(life);
  life.env.kill('process');
  life = bootSurely(world);
  model.check(life);
  for (const step of aftermath(life, prng)) expect(model.run(life, step)).toBe(true);
  life.env.kill('power');
  life = bootSurely(world);
  model.check(life);
  expect(world.disk.files('quarantine/').filter((name) => !name.includes('state-'))).toEqual([]);
  return { crashed };
}

/** Every group works on after a crash. */
function aftermath(life: Life, prng: Prng): Step[] {
  const steps: Step[] = [];
  for (const group of GROUPS) {
    const found = life.wal.recovered.get(group);
    const term = (found?.hardState.term ?? 0) + 1;
    if (found === undefined) steps.push({ do: 'create', group });
    steps.push({ do: 'hard', group, term, vote: 3 });
    const last = found?.lastIndex ?? 0;
    const first = found?.firstIndex ?? 1;
    const from = prng.chance(0.5) && last >= first ? prng.between(first, last) : last + 1;
    steps.push({ do: 'append', group, from, items: [{ term, text: `after-${group}` }] });
  }
  steps.push({ do: 'compact' }, { do: 'flush' });
  return steps;
}
