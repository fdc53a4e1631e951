// The sizes of a simulated cluster, drawn for each world: small enough that a short run seals, compacts, takes snapshots and transfers them, and
// removes what goes in several entries; in part of the worlds so small that there are many sealed segments to lose, and that logs are due to be
// folded while a member is away. Used by world.ts.
import type { NodeOptions } from '../../src/node.ts';
import type { Prng } from './prng.ts';

export type Tuning = Required<NonNullable<NodeOptions['tuning']>>;

export function drawTuning(chance: Prng): Tuning {
  return {
    wal: {
      segmentBytes: chance.pick([16, 48, 128]) * 1024,
      tailBytes: 64 * 1024,
      zeroBytes: chance.pick([0, 4096, 16_384]),
    },
    snapshots: chance.pick([
      { bytes: 32 * 1024, entries: 150 },
      { bytes: 8 * 1024, entries: 40, growth: 1, awayGrowth: 4 },
      { bytes: 64 * 1024, entries: 300, groups: 1, growth: 1 },
    ]),
    diskReserveBytes: 512 * 1024,
    digestEvery: 64,
    entryWork: 100,
    batchesUnderWay: chance.pick([1, 3, 64]),
  };
}
