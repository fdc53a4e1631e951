// One of three replicas loses what it had, in every way that files can go: deleted, cut, flipped, put back from an old copy, one or many at
// once, up to every record of a group. It is started with a member that lacks what the two others had acknowledged. Whatever it lost:
// nobody leads without all that was acknowledged, and when the third one is back everything is there again and everybody votes.
import { describe, expect, test } from 'vitest';
import type { GroupRunner } from '../../../cluster/host/group-runner.ts';
import { createPrng, type Prng } from '../../sim/prng.ts';
import { World, type WorldNode } from './world.ts';

const GROUPS = [0, 65, 130];
/** WAL_DAMAGE=full: every set of files, and many seeds from WAL_SEED on. */
const FULL = process.env['WAL_DAMAGE'] === 'full';
const SEED = Number(process.env['WAL_SEED'] ?? 1);
const SEEDS = Number(process.env['WAL_WORLDS'] ?? (FULL ? 300 : 15));
/** Seeds that once failed. */
const KEPT_SEEDS = [1030, 3125, 7030, 7043, 9805, 9940];
const OPTIONS = {
  nodes: 3,
  groups: GROUPS,
  host: { rebalance: false, snapshots: { bytes: 6_000, entries: 25, growth: 0, awayGrowth: 1, waitMs: 100, gapMs: 5 } },
  wal: { segmentBytes: 6 * 1024, tailBytes: 2_000 },
};

interface Prepared {
  images: Map<string, Uint8Array>[];
  /** Of node 3, some time before. */
  backup: Map<string, Uint8Array>;
  /** How many texts were applied by the group's leader. */
  counts: Map<number, number>;
}

/** Node 2 was cut off for the last entries of each group: only 1 and 3 have them. */
function prepare(seed: number, puts: number): Prepared {
  const world = new World({ ...OPTIONS, seed });
  world.start();
  const put = (group: number, i: number) => world.put(`put ${i} ${'x'.repeat((i * 37) % 300)}`, group);
  // Group 130 is small: all of it is in one or two segments.
  for (let i = 0; i < puts; i++) for (const group of GROUPS) if (group !== 130 || i % 10 === 3) put(group, i);
  world.scheduler.runFor(500);
  const three = world.node(3);
  const backup = three.disk.image();
  for (let i = 0; i < puts / 2; i++) for (const group of GROUPS) if (group !== 130 || i === 0) put(group, puts + i);
  world.scheduler.runFor(300);
  for (const other of ['n1', 'n3']) {
    world.network.cut('n2', other);
    world.network.cut(other, 'n2');
  }
  world.scheduler.runFor(3_000);
  for (let i = 0; i < 4; i++) for (const group of GROUPS) put(group, 1_000 + i);
  world.scheduler.runFor(1000);
  const counts = new Map(GROUPS.map((group) => [group, three.machine(group).count]));
  for (const group of GROUPS) expect(world.node(1).machine(group).count).toBe(counts.get(group));
  // At rest the log vouches for its last batch; without that, one that a crash tore and one that was damaged look alike.
  for (const node of world.nodes) node.kill('process');
  return { images: world.nodes.map((node) => node.disk.image()), backup, counts };
}

/** What became of each group at the end of the first part: somebody leads it, or not. */
function check(prepared: Prepared, name: string, harm: (node: WorldNode) => void): { led: number; doubted: number } {
  const world = new World({ ...OPTIONS, seed: 1 });
  for (const node of world.nodes) {
    node.disk.restore(prepared.images[node.id - 1]);
    node.used = true;
  }
  const [one, two, three] = world.nodes;
  harm(three);
  try {
    two.start();
    three.start();
    const doubted = [...three.host.groups()].filter((group) => (group as GroupRunner).voteUnsafe).length;
    world.scheduler.runFor(4_000);
    let led = 0;
    for (const group of GROUPS) {
      const leader = world.leader(group);
      if (leader === undefined) continue;
      led++;
      expect(leader.machine(group).count, `group ${group} is led without what was acknowledged`).toBe(
        prepared.counts.get(group),
      );
    }
    one.start();
    for (const group of GROUPS) world.put('put last', group);
    for (const group of GROUPS) world.untilEqual(group, 30_000);
    // More than once, when the leader changed under it.
    for (const group of GROUPS)
      expect(three.machine(group).count, `group ${group}`).toBeGreaterThan(prepared.counts.get(group) ?? 0);
    const runners = () => world.nodes.flatMap((node) => [...node.host.groups()] as GroupRunner[]);
    world.until('everybody votes', () => runners().every((runner) => runner.raft.mayVote), 30_000);
    // It stays so.
    three.kill('power');
    three.start();
    world.until('still', () => runners().every((runner) => runner.raft.mayVote), 30_000);
    expect(runners().some((runner) => runner.voteUnsafe)).toBe(false);
    return { led, doubted };
  } catch (error) {
    throw new Error(name, { cause: error });
  }
}

const walFiles = (image: ReadonlyMap<string, Uint8Array>): string[] =>
  [...image.keys()].filter((path) => path.startsWith('wal/')).sort();

/** Sets of `files` as bit masks: all of them when few or asked for, else a sample that has the full set and the single ones. */
function subsets(files: readonly string[], prng: Prng, sample: number): number[] {
  const all = 2 ** files.length;
  if (FULL && files.length <= 10) return Array.from({ length: all }, (_, mask) => mask);
  const some = new Set([all - 1, ...files.map((_, i) => 2 ** i), ...files.map((_, i) => all - 1 - 2 ** i)]);
  while (some.size < files.length * 2 + 1 + sample) some.add(prng.int(all));
  return [...some];
}

/** The files in groups that are lost together, so that all sets can be tried. */
function parts(files: readonly string[]): string[][] {
  const segments = [...new Set(files.map((path) => /wal\/([0-9a-f]{8})\.(?:seg|idx)$/.exec(path)?.[1] ?? ''))].filter(
    Boolean,
  );
  const newest = segments.slice(-3);
  const of = (test: (path: string) => boolean) => files.filter(test);
  return [
    of((path) => path.endsWith('state-a')),
    of((path) => path.endsWith('state-b')),
    of((path) => path.endsWith('FORMAT')),
    of((path) => path.endsWith('tail-a')),
    of((path) => path.endsWith('tail-b')),
    of((path) => path.includes('/snap/')),
    of((path) => path.endsWith('.idx')),
    of((path) => path.endsWith('.seg') && !newest.some((id) => path.includes(id))),
    ...newest.map((id) => of((path) => path.endsWith(`${id}.seg`))),
  ].filter((part) => part.length > 0);
}

describe('a replica that lost files', () => {
  const small = prepare(1, 6);
  const large = prepare(2, 40);

  test('deleted, in sets', { timeout: 1_200_000 }, () => {
    const seen = { led: 0, doubted: 0 };
    for (const prepared of [small, large]) {
      const groups = parts(walFiles(prepared.images[2]));
      const prng = createPrng('sets');
      for (const mask of subsets(groups.map(String), prng, 10)) {
        const lost = groups.filter((_, i) => (mask >> i) % 2 === 1).flat();
        const found = check(prepared, `deleted: ${lost.join(' ')}`, ({ disk }) => {
          for (const path of lost) disk.remove(path);
        });
        seen.led += found.led;
        seen.doubted += found.doubted;
      }
    }
    // Both happened: a loss that costs nothing, and one that bars the vote.
    expect(seen.led).toBeGreaterThan(10);
    expect(seen.doubted).toBeGreaterThan(10);
  });

  test('put back from an old copy, in sets', { timeout: 1_200_000 }, () => {
    for (const prepared of [small, large]) {
      const files = [...new Set([...walFiles(prepared.images[2]), ...walFiles(prepared.backup)])].sort();
      const groups = [...parts(files), ['peers-seen']];
      for (const mask of subsets(groups.map(String), createPrng('old'), 10)) {
        const old = groups.filter((_, i) => (mask >> i) % 2 === 1).flat();
        check(prepared, `put back: ${old.join(' ')}`, ({ disk }) => {
          for (const path of old) {
            const bytes = prepared.backup.get(path);
            if (bytes !== undefined) disk.put(path, bytes);
            else if (prepared.images[2].has(path)) disk.remove(path);
          }
        });
      }
    }
  });

  test('the end of the log cut off, with sets of what knows where it was', { timeout: 1_200_000 }, () => {
    const knowing = ['wal/state-a', 'wal/state-b', 'wal/tail-a', 'wal/tail-b'];
    for (const prepared of [small, large]) {
      const image = prepared.images[2];
      const active = [...image.keys()].filter((path) => path.endsWith('.seg') && image.get(path)!.length > 0).at(-1)!;
      const size = image.get(active)!.length;
      for (let mask = 0; mask < 16; mask++) {
        const lost = knowing.filter((_, i) => (mask >> i) % 2 === 1);
        // Also where a record ends.
        for (const at of FULL
          ? [0, 88, size / 4, size / 2, size - 400, size - 200, size - 90, size - 8]
          : [size / 2, size - 200]) {
          check(prepared, `cut at ${at}, without ${lost.join(' ')}`, ({ disk }) => {
            disk.cutTo(active, Math.floor(at / 8) * 8);
            for (const path of lost) disk.remove(path);
          });
        }
      }
    }
  });

  test('any faults in any files', { timeout: 1_200_000 }, () => {
    const failures: string[] = [];
    for (const seed of [...KEPT_SEEDS, ...Array.from({ length: SEEDS }, (_, i) => SEED + i)]) {
      const prng = createPrng(`loss-${seed}`);
      const prepared = prepare(seed, prng.pick([2, 6, 20, 50]));
      for (let i = 0; i < 4; i++) {
        const faults = prng.pick([1, 2, 3, 6]);
        const done: string[] = [];
        try {
          check(prepared, '', (node) => {
            for (let n = 0; n < faults; n++) done.push(harm(node, prepared, prng));
          });
        } catch (error) {
          const { cause } = error as Error;
          failures.push(`seed ${seed}, trial ${i}: ${done.join('; ')}: ${(cause as Error).message}`);
        }
      }
    }
    expect(failures).toEqual([]);
  });
});

const KINDS = ['flip', 'zero', 'zero all', 'cut', 'delete', 'old', 'garbage', 'eio'] as const;

function harm({ disk }: WorldNode, prepared: Prepared, prng: Prng): string {
  const files = disk.files('wal/').filter((path) => (disk.content(path)?.length ?? 0) > 0);
  if (files.length === 0) return 'nothing is left';
  const path = prng.pick(files);
  const size = disk.content(path)?.length ?? 0;
  const at = prng.int(size);
  const kind = prng.pick(KINDS);
  if (kind === 'flip') disk.flipBit(path, at, prng.int(8));
  else if (kind === 'zero') disk.zero(path, at, Math.min(size, at + prng.pick([8, 512, 4096])));
  else if (kind === 'zero all') disk.zero(path, 0, size);
  else if (kind === 'cut') disk.cutTo(path, at);
  else if (kind === 'garbage') disk.damage(path, (bytes) => bytes.set(prng.bytes(Math.min(64, size - at)), at));
  else if (kind === 'eio') disk.readError(path, at, at + 1);
  // Old tails, and a segment that ends where they say: README, what cannot be told.
  else if (kind === 'old' && !path.includes('tail-') && prepared.backup.has(path))
    disk.put(path, prepared.backup.get(path) as Uint8Array);
  else disk.remove(path);
  return `${kind} ${path} at ${at} of ${size}`;
}
