// A crash at every disk operation and at every crash point of a scripted workload, as process crash and as power cut. The default run takes a
// sample; WAL_CRASH=full takes every place for several seeds (minutes). WAL_SEED=<n> starts at another seed, WAL_WORLDS=<n> takes more of the
// random worlds.
import { expect, test } from 'vitest';
import { WAL_CRASH_POINTS } from '../../../cluster/wal/options.ts';
import { createPrng } from '../../sim/prng.ts';
import type { CrashKind } from '../../sim/sim-disk.ts';
import { makeSteps, trial } from './crash-model.ts';
import { createWorld, type World } from './wal-world.ts';

const FULL = process.env['WAL_CRASH'] === 'full';
const SEED = Number(process.env['WAL_SEED'] ?? 1);
const WORLDS = Number(process.env['WAL_WORLDS'] ?? (FULL ? 400 : 25));
const SEEDS = FULL ? 4 : 2;
const STEPS = FULL ? 300 : 160;
const SAMPLE = FULL ? Number.POSITIVE_INFINITY : 70;
/** Worlds that once failed: 1274, a renamed state file that was read after a crash and gone after the next one; 9702, a removed segment
 * that was read again when its epochs were forgotten. (Their snapshots keep nothing.) */
const KEPT_WORLDS = [1274, 9702];
const KINDS: CrashKind[] = ['process', 'power'];

const OPTIONS = { segmentBytes: 6 * 1024, tailBytes: 2048, compactBytesMax: 16 * 1024, idleMarkMs: 2 };

function worldOf(seed: number, variant: string): World {
  const world = createWorld(`crash-${seed}-${variant}`, { ...OPTIONS, zeroBytes: seed % 2 === 0 ? 1500 : 0 });
  world.disk.latency.stallProbability = 0.01;
  world.disk.latency.stallMs = 20;
  return world;
}

/** How many operations and crash points an undisturbed run passes. */
function measure(seed: number): { operations: number; points: string[] } {
  const world = worldOf(seed, 'x');
  let end = 0;
  let points: string[] = [];
  const steps = makeSteps(seed, STEPS, true);
  const prng = createPrng(`trial-${seed}`);
  const { disk } = world;
  disk.crashAt = (operation) => {
    end = operation;
    points = world.points.slice();
    return undefined;
  };
  expect(trial(world, steps, prng).crashed).toBe(false);
  return { operations: end, points };
}

function places(count: number, seed: number): number[] {
  const all = Array.from({ length: count }, (_, i) => i);
  if (count <= SAMPLE) return all;
  return createPrng(`sample-${seed}`)
    .shuffle(all)
    .slice(0, SAMPLE)
    .sort((a, b) => a - b);
}

for (let seed = SEED; seed < SEED + SEEDS; seed++) {
  test(`seed ${seed}: crash at disk operations`, { timeout: 3_600_000 }, () => {
    const steps = makeSteps(seed, STEPS, true);
    const { operations } = measure(seed);
    expect(operations).toBeGreaterThan(500);
    for (const at of places(operations, seed)) {
      for (const kind of KINDS) {
        const world = worldOf(seed, 'x');
        world.disk.crashAt = (operation) => (operation === at ? kind : undefined);
        try {
          trial(world, steps, createPrng(`trial-${seed}-${at}-${kind}`));
        } catch (error) {
          throw new Error(`seed ${seed}, ${kind} crash at operation ${at}`, { cause: error });
        }
      }
    }
  });

  test(`seed ${seed}: crash at crash points`, { timeout: 3_600_000 }, () => {
    const steps = makeSteps(seed, STEPS, true);
    const { points } = measure(seed);
    for (const at of places(points.length, seed + 1000)) {
      for (const kind of KINDS) {
        const world = worldOf(seed, 'x');
        world.crashAt = (_name, count) => (count === at ? kind : undefined);
        try {
          trial(world, steps, createPrng(`trial-${seed}-${at}-${kind}`));
        } catch (error) {
          throw new Error(`seed ${seed}, ${kind} crash at point ${at} (${points[at]})`, { cause: error });
        }
      }
    }
  });
}

test('a crash at every named point, the first and the last time that it is passed', { timeout: 3_600_000 }, () => {
  const crashedAt = new Set<string>();
  for (let seed = SEED; seed < SEED + 2; seed++) {
    const steps = makeSteps(seed, STEPS, true);
    const { points } = measure(seed);
    for (const name of WAL_CRASH_POINTS) {
      const last = points.filter((point) => point === name).length;
      for (const occurrence of new Set([1, Math.max(1, last)])) {
        for (const kind of KINDS) {
          const world = worldOf(seed, 'x');
          let passed = 0;
          world.crashAt = (point) => (point === name && ++passed === occurrence ? kind : undefined);
          try {
            if (trial(world, steps, createPrng(`named-${seed}-${occurrence}-${kind}`)).crashed) crashedAt.add(name);
          } catch (error) {
            throw new Error(`seed ${seed}, ${kind} crash at ${name}, time ${occurrence}`, { cause: error });
          }
        }
      }
    }
  }
  expect(WAL_CRASH_POINTS.filter((name) => !crashedAt.has(name))).toEqual([]);
});

/** Other sizes, budgets and paces per seed: what only a rare constellation of files shows. */
test('many worlds, a few crashes each', { timeout: 3_600_000 }, () => {
  const failures: string[] = [];
  for (const seed of [...KEPT_WORLDS, ...Array.from({ length: WORLDS }, (_, i) => SEED + i)]) {
    const prng = createPrng(`world-${seed}`);
    const options = {
      segmentBytes: prng.pick([2000, 4000, 6000, 12_000, 30_000]),
      tailBytes: prng.pick([0, 2000, 50_000]),
      compactBytesMax: prng.pick([1000, 16_384, 1_000_000]),
      compactLiveShare: prng.pick([0.2, 0.5, 0.95]),
      idleMarkMs: prng.pick([0.5, 2, 20]),
      zeroBytes: prng.pick([0, 0, 300, 3000]),
    };
    const steps = makeSteps(`world-${seed}`, prng.pick([60, 150, 300]), !KEPT_WORLDS.includes(seed));
    const world = (): World => {
      const made = createWorld(`world-${seed}`, options);
      made.disk.latency.stallProbability = 0.02;
      made.disk.latency.stallMs = 20;
      return made;
    };
    let operations = 0;
    const undisturbed = world();
    undisturbed.disk.crashAt = (operation) => {
      operations = operation;
      return undefined;
    };
    for (let i = 0; i < (FULL || KEPT_WORLDS.includes(seed) ? 20 : 4); i++) {
      const at = prng.int(Math.max(1, operations));
      const kind = prng.pick(KINDS);
      const disturbed = i === 0 ? undisturbed : world();
      if (i > 0) disturbed.disk.crashAt = (operation) => (operation === at ? kind : undefined);
      try {
        trial(disturbed, steps, createPrng(`trial-${seed}-${i}`));
      } catch (error) {
        failures.push(`world ${seed}, trial ${i}: ${kind} crash at operation ${at}: ${(error as Error).message}`);
      }
    }
  }
  expect(failures).toEqual([]);
});

test('failed syncs and full disks end the node; nothing answered for is lost', () => {
  let crashed = 0;
  for (let i = 0; i < (FULL ? 300 : 60); i++) {
    const world = worldOf(SEED + (i % 5), `faults-${i}`);
    if (i % 2 === 0) world.disk.faults.syncErrorProbability = 0.01;
    else world.disk.faults.spaceBytes = 9000 + i * 700;
    try {
      if (trial(world, makeSteps(SEED + (i % 5), STEPS, true), createPrng(`faults-${SEED}-${i}`)).crashed) crashed++;
    } catch (error) {
      throw new Error(`faults-${i}`, { cause: error });
    }
  }
  expect(crashed).toBeGreaterThan(10);
});

test('a disk that answers syncs without doing them is found out', () => {
  let failures = 0;
  for (let at = 200; at < 900; at += 50) {
    const world = worldOf(SEED, 'x');
    world.disk.faults.losesSyncs = true;
    world.disk.crashAt = (operation) => (operation === at ? 'power' : undefined);
    try {
      trial(world, makeSteps(SEED, STEPS, true), createPrng(`mutant-${at}`));
    } catch {
      failures++;
    }
  }
  expect(failures).toBeGreaterThan(10);
});
