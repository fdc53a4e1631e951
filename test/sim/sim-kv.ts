// Kv for simulated nodes, kept over restarts: in memory, ordered, and allowed to lose everything at a crash, because
// what is in it can be rebuilt. Invariant: a batch is there whole or not at all.
import type { Kv } from '../../src/kit/env.ts';
import type { Prng } from './prng.ts';
import type { Scheduler } from './scheduler.ts';

export interface SimKvOptions {
  scheduler: Scheduler;
  prng: Prng;
  /** At a crash: everything is gone (quarantined). */
  loseAllProbability?: number;
  /** At a power cut: the store goes back to an earlier state. */
  goBackProbability?: number;
  /** openKv answers with an error. */
  openErrorProbability?: number;
}

type Store = Map<string, Uint8Array>;

export class SimKv {
  #options: Required<SimKvOptions>;
  #stores = new Map<string, Store>();
  #earlier = new Map<string, Store>();
  #life = 0;

  constructor(options: SimKvOptions) {
    this.#options = { loseAllProbability: 0.05, goBackProbability: 0.5, openErrorProbability: 0, ...options };
  }

  crash(kind: 'process' | 'power'): void {
    this.#life++;
    const { prng, loseAllProbability, goBackProbability } = this.#options;
    if (prng.chance(loseAllProbability)) this.#stores.clear();
    else if (kind === 'power' && prng.chance(goBackProbability)) {
      this.#stores = new Map([...this.#earlier].map(([dir, store]) => [dir, new Map(store)]));
    }
    this.#earlier = new Map([...this.#stores].map(([dir, store]) => [dir, new Map(store)]));
  }

  /** Used by the env of one life; `enter` drops what belongs to a dead life. */
  open(dir: string, enter: (fn: () => void) => void, done: (error: Error | null, kv: Kv | null) => void): void {
    const { scheduler, prng, openErrorProbability } = this.#options;
    const life = this.#life;
    const later = (fn: () => void): void => {
      scheduler.after(0.01 + prng.exponential(0.1), () => {
        if (life === this.#life) enter(fn);
      });
    };
    if (prng.chance(openErrorProbability)) {
      later(() => done(new Error(`kv ${dir}: unreadable, quarantined`), null));
      return;
    }
    const store = (): Store => {
      let found = this.#stores.get(dir);
      if (found === undefined) this.#stores.set(dir, (found = new Map()));
      return found;
    };
    const kv: Kv = {
      get: (key, got) => later(() => got(null, store().get(key)?.slice())),
      batch: (operations, applied) => {
        const copied = operations.map(({ key, value }) => ({ key, value: value?.slice() }));
        later(() => {
          if (prng.chance(0.1)) this.#earlier.set(dir, new Map(store()));
          for (const { key, value } of copied) {
            if (value === undefined) store().delete(key);
            else store().set(key, value);
          }
          applied(null);
        });
      },
      keys: (prefix, got) => later(() => got(null, [...store().keys()].filter((key) => key.startsWith(prefix)).sort())),
      close: (closed) => later(() => closed(null)),
    };
    later(() => done(null, kv));
  }
}
