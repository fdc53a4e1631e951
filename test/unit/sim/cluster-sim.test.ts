// The whole cluster under simulation: fixed seeds, fresh seeds that are printed, replay, and planted bugs that the checkers must find: if
// they do not, their silence about the real code means nothing.
import { describe, expect, it } from 'vitest';
import { gentle, hunt, MUTANTS } from '../../sim/mutants.ts';
import { runScenario } from '../../sim/scenario.ts';

/** Three and five nodes. Seeds replay a run only as long as the scenario draws the same numbers. */
const FIXED = [1, 3, 4, 6, 8, 11, 19];
/** Leaders that were cut off handed out here, up to 1.6 s later, what had been acknowledged through their successors. */
const CUT_OFF = [182272033, 182272046, 182272123, 182272139];
const CUT_OFF_MS = 15_000;
/** A stream of one replica, all nodes without power, and a clock that is wrong by two hours. */
const WRONG_CLOCK = 373376982;
/** Two changes of leaders while links are cut: a publish came late to a node that led again, behind what another one had stored. */
const LATE_FORWARD = 111154233;
/** A node emptied twice, then all restarted: leaders sent its last life away, by a catalog of before it came, and nobody took it back. */
const STALE_CATALOG = 923446480;
/** The end of a log was lost with its segment, and others had replaced it: copies were asked for without an end, and none fitted. */
const REPLACED_TAIL = 887242539;
const FRESH = 3;
const DURATION_MS = 5000;
/** Planted here; `npm run sim -- --mutants` plants all. */
const PLANTED = [
  'votes and acknowledgements are sent before they are durable',
  'the leader counts itself before its own sync',
  'publishes are acknowledged before they are committed',
  'the duplicate table is not in the snapshot',
  'a new leader delivers again what was acknowledged above the floor',
  'a conditional publish is stored whatever it expects',
  'a leader that is cut off goes on leading, and hands out without proof',
  'leadership is handed over before what is under way is committed',
  'a settled partition is not looked at again',
  'a copy goes before those that replace it have its content',
];

describe('the cluster under simulation', () => {
  it.each(FIXED)('keeps its promises with seed %i', (seed) => {
    expect(runScenario({ seed, durationMs: DURATION_MS }).findings).toEqual([]);
  });

  it.each(CUT_OFF)('hands out nothing that was acknowledged with seed %i', { timeout: 240_000 }, (seed) => {
    expect(runScenario({ seed, durationMs: CUT_OFF_MS }).findings).toEqual([]);
  });

  it('expires nothing by the clock of a node that has heard nobody yet', { timeout: 120_000 }, () => {
    expect(runScenario({ seed: WRONG_CLOCK, durationMs: 15_000 }).findings).toEqual([]);
  });

  it('stores in the order sent with seed 111154233', () => {
    expect(runScenario({ seed: LATE_FORWARD, durationMs: 15_000 }).findings).toEqual([]);
  });

  it('keeps all members with seed 923446480', () => {
    expect(runScenario({ seed: STALE_CATALOG, durationMs: 15_000 }).findings).toEqual([]);
  });

  it('gets a state where a log lost what others have replaced, with seed 887242539', { timeout: 120_000 }, () => {
    expect(runScenario({ seed: REPLACED_TAIL, durationMs: 15_000 }).findings).toEqual([]);
  });

  it.each([2, 10])('fails no publish when nodes are restarted one after the other, with seed %i', (seed) => {
    const { findings, counts } = runScenario({ seed, durationMs: 8000, ...gentle });
    expect(findings).toEqual([]);
    expect(counts.get('stopped cleanly')).toBeGreaterThan(1);
  });

  const start = Date.now() % 1e9;
  it.each(Array.from({ length: FRESH }, (_, i) => start + i))('keeps its promises with the fresh seed %i', (seed) => {
    const { findings, acked } = runScenario({ seed, durationMs: DURATION_MS });
    expect(findings, `replay: npm run sim -- --seed ${seed} --duration ${DURATION_MS}`).toEqual([]);
    expect(acked).toBeGreaterThan(0);
  });

  it('is a function of its seed', () => {
    const run = () => {
      const { trace, events, acked } = runScenario({ seed: 12, durationMs: 3000 });
      return { trace, events, acked };
    };
    expect(run()).toEqual(run());
  });
});

describe('planted bugs are found', () => {
  it.each(MUTANTS.filter(({ name }) => PLANTED.includes(name)))('$name', (mutant) => {
    expect(hunt(mutant)?.finding).toMatch(mutant.found ?? /./);
  });

  it('names the planted bugs as they are', () => {
    const names = MUTANTS.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(PLANTED));
  });
});
