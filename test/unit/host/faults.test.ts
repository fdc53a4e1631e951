// Random kills, power cuts, partitions and message faults under load: what was applied on a leader stays, in one order, everywhere.
import { describe, expect, test } from 'vitest';
import { scanSegment } from '../../../cluster/wal/segment-scan.ts';
import { createPrng, type Prng } from '../../sim/prng.ts';
import { createScheduler } from '../../sim/scheduler.ts';
import { SimDisk } from '../../sim/sim-disk.ts';
import { createSimEnv } from '../../sim/sim-env.ts';
import { World, type WorldNode } from './world.ts';

const GROUPS = [0, 65];

/** Per group, what was ever applied at an index, by anyone; and which of them a leader applied. */
interface Truth {
  texts: Map<number, string>;
  acked: Set<number>;
}

/** Runs one seed; returns the world after everything was healed and drained. */
function run(
  seed: number,
  options: { nodes: number; ms: number; lossy: boolean; rot: boolean },
): { world: World; truth: Map<number, Truth> } {
  const truth = new Map<number, Truth>(GROUPS.map((group) => [group, { texts: new Map(), acked: new Set() }]));
  const world = new World({
    seed,
    nodes: options.nodes,
    groups: GROUPS,
    host: { snapshots: { bytes: 4_000, entries: 60, growth: 0, awayGrowth: 1, waitMs: 200, gapMs: 5 } },
    onApply(node, group, index, text) {
      const { texts, acked } = truth.get(group)!;
      if ((texts.get(index) ?? text) !== text)
        throw new Error(`group ${group}, index ${index}: "${texts.get(index)}" and "${text}"`);
      texts.set(index, text);
      if (node.group(group).leading) acked.add(index);
    },
  });
  const { scheduler, prng, nodes, network } = world;
  const chance = prng.stream('faults');
  world.start();
  let counter = 0;

  const load = () => {
    for (const node of nodes) {
      for (const id of node.up ? GROUPS : []) {
        if (!node.group(id).leading) continue;
        node.env.run(() => {
          const live = [...node.machine(id).live];
          const put = `put ${counter++} ${'x'.repeat(chance.uint32() % 400)}`;
          node.group(id).propose(Buffer.from(live.length > 20 ? `del ${live[chance.uint32() % live.length]}` : put));
        });
      }
    }
    if (scheduler.nowMs < options.ms) scheduler.after(chance.float() * 8, load);
  };
  load();

  const trouble = () => {
    if (scheduler.nowMs >= options.ms) return;
    const node = nodes[chance.uint32() % nodes.length];
    const other = nodes[chance.uint32() % nodes.length];
    const kind = chance.uint32() % 6;
    if (kind <= 1 && node.up) {
      node.kill(kind === 0 ? 'process' : 'power');
      if (options.rot && node.id === 3) spoil(node, chance);
    } else if (kind === 2) {
      network.cut(node.name, other.name);
      if (chance.float() < 0.7) network.cut(other.name, node.name);
    } else if (kind === 3) network.heal();
    else if (kind === 4 && options.lossy) {
      network.faults = { delayMinMs: 0.1, delayMeanMs: 3, loss: 0.1, duplicate: 0.2, reorder: 0.2 };
    } else if (kind === 5 && node.up) node.env.pause(chance.float() * 1_500);
    for (const down of nodes) if (!down.up && chance.float() < 0.5) down.start();
    scheduler.after(chance.float() * 500, trouble);
  };
  scheduler.after(1_000, trouble);
  scheduler.runUntil(options.ms);
  network.heal();
  for (const node of nodes) if (!node.up) node.start();
  for (const id of GROUPS) world.untilLeader(id);
  for (const id of GROUPS) world.put('last', id);
  scheduler.runFor(1_000);
  for (const id of GROUPS) world.untilEqual(id, 20_000);
  return { world, truth };
}

/** Some bits of one file of a node that is down. */
function spoil(node: WorldNode, chance: Prng): void {
  const files = node.disk.files('wal/').filter((path) => path.endsWith('.seg') || path.endsWith('.idx'));
  const path = files[chance.uint32() % files.length];
  const isSealed = path.endsWith('.idx') || files.includes(path.replace('.seg', '.idx'));
  const size = isSealed ? node.disk.content(path)!.length : vouchedEnd(node, path);
  for (let i = 0; i < 3; i++) node.disk.flipBit(path, chance.uint32() % size, chance.uint32() % 8);
}

/** How far an unsealed segment vouches for itself. Damage to the batch that a power cut left as the last one looks like a torn write: the log
 * says that it cannot tell them apart, and nobody else had the time to remember that batch. */
function vouchedEnd({ disk }: WorldNode, path: string): number {
  const prng = createPrng('look');
  const scheduler = createScheduler(prng.stream('scheduler'));
  const copy = new SimDisk({ scheduler, prng });
  copy.restore(disk.image());
  const env = createSimEnv({ scheduler, seed: prng, node: 'look', disk: copy });
  const id = Number.parseInt(path.slice('wal/'.length), 16);
  return env.run(() => scanSegment(env, path, id, 0).durableEnd) as number;
}

/** What should be alive after all that was ever applied. */
function survivors({ texts }: Truth): number[] {
  const live = new Set<number>();
  for (const [index, text] of [...texts].sort(([a], [b]) => a - b)) {
    if (text.startsWith('put ')) live.add(index);
    if (text.startsWith('del ')) live.delete(Number(text.slice(4)));
  }
  return [...live];
}

describe('under faults nothing applied is lost', () => {
  // 56, 502: a new leader alone has an entry, and cannot read it.
  test.each([1, 2, 3, 4, 5, 6, 56, 502])('seed %i', (seed) => {
    const rot = seed > 4;
    const { world, truth } = run(seed, { nodes: seed === 4 ? 5 : 3, ms: 8_000, lossy: seed % 2 === 0, rot });
    for (const [group, known] of truth) {
      expect(known.acked.size).toBeGreaterThan(100);
      const live = survivors(known);
      for (const node of world.nodes) {
        expect([...node.machine(group).live].sort((a, b) => a - b)).toEqual(live);
        const bodies: (string | undefined)[] = [];
        for (const [at, index] of live.entries()) {
          node.env.run(() =>
            node.group(group).readBody(index, (body) => (bodies[at] = body && Buffer.from(body).toString())),
          );
        }
        world.until('bodies read', () => bodies.filter((body) => body !== undefined).length === live.length);
        expect(bodies).toEqual(live.map((index) => known.texts.get(index)));
      }
    }
    for (const { host, rolledBack } of world.nodes)
      expect([host.stats.digestMismatches, host.stats.badMessages, rolledBack]).toEqual([0, 0, 0]);
  });
});
