// Meta under restarts at random moments: what was acknowledged stands, what was deleted stays deleted, all agree.
import { describe, expect, test } from 'vitest';
import { isApiError } from '../../../src/stream/errors.ts';
import { MetaWorld, streamConfig } from './meta-world.ts';

/** What clients know of a stream: a create or delete without answer leaves it open. */
type Belief = 'there' | 'gone' | 'open';

function swarm(seed: number): void {
  const world = MetaWorld.formed(seed, 3);
  const prng = world.world.prng.stream('swarm');
  const beliefs = new Map<string, Belief>();
  const busy = new Set<string>();
  const { scheduler } = world.world;

  const operate = (): void => {
    const node = prng.pick(world.alive);
    const name = `S${prng.int(12)}`;
    if (busy.has(name)) return;
    busy.add(name);
    const known = beliefs.get(name) ?? 'gone';
    beliefs.set(name, 'open');
    node.fake.run(() => {
      if (prng.chance(0.6)) {
        const config = streamConfig(name, {
          num_replicas: prng.pick([1, 3]),
          metadata: { 'flotilla.partitions': prng.pick(['1', '2']) },
        });
        node.client.createStream('$G', config, (result) => {
          busy.delete(name);
          if (!isApiError(result)) beliefs.set(name, 'there');
          else if (result.err_code === 10005) beliefs.set(name, known);
          else if (result.err_code === 10058) beliefs.set(name, 'there');
        });
      } else {
        node.client.deleteStream('$G', name, (result) => {
          busy.delete(name);
          if (result === true || result.err_code === 10059) beliefs.set(name, 'gone');
        });
      }
    });
    // The node may die with the answer.
    scheduler.after(8000, () => busy.delete(name));
  };

  for (let round = 0; round < 60; round++) {
    for (let i = prng.int(4); i >= 0; i--) operate();
    if (world.alive.length === 3 && prng.chance(0.2)) prng.pick(world.alive).fake.kill();
    else if (prng.chance(0.5)) world.nodes.find((node) => !node.fake.alive)?.start();
    world.run(prng.int(600));
  }
  for (const node of world.nodes) if (!node.fake.alive) node.start();
  world.until(() => world.nodes.every((node) => node.meta.ready));
  world.run(10_000);

  const [first] = world.nodes;
  for (const node of world.nodes) {
    expect(node.meta.catalog.streams('$G')).toEqual(first.meta.catalog.streams('$G'));
    const wanted = node.meta.catalog
      .streams('$G')
      .flatMap((record) => record.replicas.map((list, p) => ({ list, group: record.streamId * 64 + p })))
      .filter(({ list }) => list.includes(node.id))
      .map(({ group }) => group);
    expect([...node.probes.keys()].sort()).toEqual(wanted.sort());
    expect([...node.fake.logs].filter((group) => group !== 0).sort()).toEqual(wanted.sort());
    for (const group of wanted) {
      expect(node.meta.partitions.leaderOf(group)).toBe(first.meta.partitions.leaderOf(group));
      expect(node.meta.partitions.leaderOf(group)).not.toBe(0);
    }
  }
  for (const [name, belief] of beliefs) {
    const record = first.meta.catalog.stream('$G', name);
    if (belief === 'there') expect(record, name).toBeDefined();
    if (belief === 'gone') expect(record, name).toBeUndefined();
  }
}

describe('restarts at random moments', () => {
  test.each(Array.from({ length: 25 }, (_, i) => i + 1000))('seed %i', (seed) => swarm(seed));
});
