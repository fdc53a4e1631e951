// A node dies at every named point between two durable steps, by crash and by power cut, while the others go on; then all come together.
import { describe, expect, test } from 'vitest';
import { World } from './world.ts';

const POINTS = [
  'host:before-flush',
  'host:flushed',
  'host:before-snapshot',
  'host:snapshot-saved',
  'host:before-install',
  'host:installed',
];

function live(world: World): void {
  for (let i = 0; i < 60; i++) world.put(`put ${i} ${'v'.repeat(60)}`);
  world.scheduler.runFor(500);
}

describe.each(POINTS)('%s', (point) => {
  test.each(['process', 'power'] as const)('%s', (kind) => {
    for (const occurrence of [1, 7]) {
      let hits = 0;
      const world = new World({
        seed: occurrence * 31 + point.length,
        nodes: 3,
        host: { snapshots: { bytes: 1_000, entries: 20, growth: 0, awayGrowth: 1, waitMs: 50, gapMs: 5 } },
        crashAt: (node, name) => (node === 3 && name === point && ++hits === occurrence ? kind : undefined),
      });
      world.start();
      const node = world.node(3);
      const restart = () => {
        if (!node.up) node.start();
      };
      live(world);
      restart();
      // Far behind once more, so that snapshots are installed too.
      world.scheduler.runFor(500);
      if (node.up) node.kill('process');
      live(world);
      restart();
      world.scheduler.runFor(1_000);
      restart();
      live(world);
      restart();
      world.put('put last');
      world.untilEqual();
      expect(node.machine().count).toBe(181);
      expect(node.rolledBack).toBe(0);
      if (occurrence === 1) expect(hits).toBeGreaterThan(0);
    }
  });
});
