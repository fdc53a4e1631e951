// The scrub goes on after a restart where it was; whatever is wrong with what was remembered, it only does more than it had to.
import { describe, expect, test } from 'vitest';
import { ScrubMemory } from '../../../cluster/host/scrub-memory.ts';
import { encodeValid } from '../../../cluster/store/value-codec.ts';
import type { Wal } from '../../../cluster/wal/types.ts';
import { openWal } from '../../../cluster/wal/wal.ts';
import { createPrng } from '../../sim/prng.ts';
import { createScheduler } from '../../sim/scheduler.ts';
import { SimDisk } from '../../sim/sim-disk.ts';
import { createSimEnv, type SimEnv } from '../../sim/sim-env.ts';
import { SimKv } from '../../sim/sim-kv.ts';
import { bodyOf, entryOf } from '../wal/wal-world.ts';

const SELF = 11;

class Node {
  readonly prng = createPrng(5);
  readonly scheduler = createScheduler(this.prng.stream('scheduler'));
  readonly disk = new SimDisk({ scheduler: this.scheduler, prng: this.prng.stream('disk') });
  kv = this.newKv();
  env!: SimEnv;
  wal!: Wal;
  memory!: ScrubMemory;
  private lives = 0;

  newKv(openErrorProbability = 0): SimKv {
    const { scheduler, prng } = this;
    const kind = { loseAllProbability: 0, goBackProbability: 0, openErrorProbability };
    return new SimKv({ scheduler, prng: prng.stream('kv'), ...kind });
  }

  start(self = SELF): void {
    const { scheduler, disk, kv } = this;
    this.env = createSimEnv({ scheduler, seed: this.prng.stream(`life${this.lives++}`), node: 'a', disk, kv });
    this.env.run(() => {
      this.wal = openWal(this.env, 'wal', { segmentBytes: 8 * 1024, tailBytes: 4 * 1024 });
      this.memory = new ScrubMemory(this.env, this.wal, self);
      this.memory.open();
    });
    scheduler.runFor(100);
  }

  fill(): void {
    this.env.run(() => this.wal.createGroup(64, { voters: [SELF], learners: [] }));
    for (let index = 1; index <= 100; index++) {
      this.env.run(() => {
        this.wal.append(64, [entryOf(index, 1, 'x'.repeat(900))]);
        this.wal.flush(() => {});
      });
      this.scheduler.runFor(20);
    }
    expect(this.wal.stats.segments).toBeGreaterThan(8);
  }

  scrubUntil(segment: number): void {
    for (let i = 0; i < 100 && this.wal.scrubPosition.segment < segment; i++) {
      this.env.run(() => this.wal.scrub(1000, (found) => expect(found).toEqual([])));
      this.scheduler.runFor(100);
    }
    expect(this.wal.scrubPosition.segment).toBe(segment);
  }

  /** The segment with which the scrub begins. */
  firstScrubbed(): number {
    this.env.run(() => this.wal.scrub(1, () => {}));
    this.scheduler.runFor(100);
    return this.wal.scrubPosition.segment;
  }

  restart(self = SELF): void {
    this.env.kill('process');
    this.start(self);
  }
}

function scrubbed(): Node {
  const node = new Node();
  node.start();
  node.fill();
  node.scrubUntil(5);
  node.scheduler.runFor(61_000);
  return node;
}

describe('after a restart', () => {
  test('the scrub goes on where it was', () => {
    const node = scrubbed();
    node.restart();
    expect(node.firstScrubbed()).toBe(5);
    node.scrubUntil(7);
    node.scheduler.runFor(61_000);
    node.restart();
    expect(node.firstScrubbed()).toBe(7);
  });

  test('what was not saved yet is done again', () => {
    const node = scrubbed();
    node.scrubUntil(6);
    node.restart();
    expect(node.firstScrubbed()).toBe(5);
  });

  test('another incarnation begins at the beginning', () => {
    const node = scrubbed();
    node.restart(12);
    expect(node.firstScrubbed()).toBe(1);
  });

  test('a store that is gone, unreadable or full of nonsense costs nothing but time', () => {
    const node = scrubbed();
    node.kv = node.newKv();
    node.restart();
    expect(node.firstScrubbed()).toBe(1);
    node.kv = node.newKv(1);
    node.restart();
    expect(node.firstScrubbed()).toBe(1);
    expect(node.env.logs.some((line) => /rebuildable store is not used/.test(line.message))).toBe(true);
    for (const value of [bodyOf('?'), encodeValid({ group: 0, incarnation: SELF, index: 6 }, bodyOf('short'))]) {
      node.kv = node.newKv();
      node.kv.open(
        'kv',
        (fn) => fn(),
        (_error, kv) => kv?.batch([{ key: 'scrub/position', value }], () => {}),
      );
      node.scheduler.runFor(100);
      node.restart();
      expect(node.firstScrubbed()).toBe(1);
    }
  });

  test('a position beyond the last segment goes round', () => {
    const node = scrubbed();
    node.scrubUntil(6);
    node.env.run(() => node.wal.resumeScrub({ segment: 3, group: 64, index: 1 }));
    expect(node.wal.scrubPosition.segment).toBe(6);
    node.restart();
    const other = new Node();
    other.kv = other.newKv();
    other.start();
    other.fill();
    other.restart();
    other.env.run(() => other.wal.resumeScrub({ segment: 1_000, group: 7, index: 9 }));
    expect(other.firstScrubbed()).toBe(1);
  });
});
