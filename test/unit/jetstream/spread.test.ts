// Leaders come back to where they spread, after each node in turn was killed and started again; idle streams and busy ones.
import { describe, expect, test } from 'vitest';
import { type Outcome, SimClient } from '../../sim/sim-client.ts';
import { World } from '../../sim/world.ts';

const STREAMS = 12;
const BACK_MS_MAX = 12_000;

class Cluster {
  readonly world: World;
  readonly client: SimClient;

  constructor(seed: number) {
    this.world = new World(seed, 3);
    for (const node of this.world.nodes) node.start();
    this.client = new SimClient('c', this.world.scheduler, this.world.nodes[0]);
    for (let i = 0; i < STREAMS; i++) this.create(`S${i}`);
  }

  create(name: string): void {
    for (let attempt = 0; ; attempt++) {
      let outcome: Outcome | undefined;
      const body = JSON.stringify({ name, subjects: [`${name}.>`], num_replicas: 3 });
      this.client.request(`$JS.API.STREAM.CREATE.${name}`, body, {}, 5000, (done) => {
        outcome = done;
      });
      this.world.scheduler.runUntilTrue(() => outcome !== undefined, { timeoutMs: 6000 });
      if (outcome?.kind === 'reply' && outcome.text.includes('did_create')) return;
      if (attempt === 100) throw new Error(JSON.stringify(outcome));
      this.world.scheduler.runFor(200);
    }
  }

  /** How many streams each node leads. */
  leads(): number[] {
    return this.world.nodes.map(({ node }) => {
      if (node === undefined) return 0;
      return [...node.partitions.values()].filter((partition) => partition.leading).length;
    });
  }
}

describe('leaders come back to spread', () => {
  test.each([false, true])('after a restart of each node (busy: %s)', (busy) => {
    const cluster = new Cluster(busy ? 41 : 40);
    const { world, client } = cluster;
    const isSpread = (): boolean => cluster.leads().every((count) => count === STREAMS / 3);
    expect(world.scheduler.runUntilTrue(isSpread, { timeoutMs: BACK_MS_MAX })).toBe(true);
    let running = busy;
    const publish = (): void => {
      if (!running) return;
      for (let i = 0; i < STREAMS; i++) client.publish(`S${i}.x`, 'x');
      world.scheduler.after(250, publish);
    };
    publish();
    for (const victim of world.nodes) {
      victim.crash('process');
      world.scheduler.runFor(15_000);
      expect(cluster.leads().reduce((a, b) => a + b)).toBe(STREAMS);
      victim.start();
      const startMs = world.scheduler.nowMs;
      const back = world.scheduler.runUntilTrue(isSpread, { timeoutMs: BACK_MS_MAX });
      expect(back, `${victim.name}: ${cluster.leads()} after ${world.scheduler.nowMs - startMs} ms`).toBe(true);
    }
    running = false;
  });
});
