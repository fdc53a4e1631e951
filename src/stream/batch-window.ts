// How many batches a node's leaders have on their way to being applied at once. With a thousand busy partitions each visit to one is a walk through
// memory that the others have pushed out of the processor's caches; of few at a time everything stays at hand, and the batches of those that wait
// grow meanwhile. One for all partitions of a node, owned by node.ts, asked by leader.ts at the end of a turn. While fewer than
// BATCHES are under way nobody notices it.
// Invariants: who waits is let go exactly once, in the order of asking; where nothing comes through for STUCK_MS (a lost majority, a slow disk)
// all that wait go; and nobody waits longer than PATIENCE looks, though some come through: with far followers few batches are applied in a
// second, however many there could be, and publishers give up after some.
import type { Clock, Timer } from '../kit/env.ts';
import { Fifo } from './fifo.ts';

/** With half as many a thousand streams are as fast, twice as many gain half as much; with a quarter the disk waits for work (ADR 0010). */
export const BATCHES = 64;
const STUCK_MS = 20;
/** Half a second. A thousand partitions that use the processors up wait half as long. */
const PATIENCE = 25;
export const WAITS_NOT = -1;

export interface Proposer {
  /** In the window's queue since it has looked so often, or WAITS_NOT; kept by the window. */
  waitsSince: number;
  /** Its batch may leave. */
  letGo(): void;
}

export class BatchWindow {
  readonly #clock: Clock;
  readonly #size: number;
  #underWay = 0;
  readonly #waiting = new Fifo<Proposer>();
  #turnAsked = false;
  #timer: Timer | undefined;
  /** Batches that have left since it was armed. */
  #left = 0;
  #looks = 0;

  readonly #endTurn = () => {
    this.#turnAsked = false;
    while (this.#underWay < this.#size && this.#waiting.size > 0) this.#letNextGo();
  };
  readonly #review = () => {
    this.#timer = undefined;
    const patientSince = this.#left === 0 ? this.#looks : this.#looks - PATIENCE;
    this.#looks++;
    for (let waiting = this.#waiting.size; waiting > 0; waiting--) {
      if ((this.#waiting.peek() as Proposer).waitsSince > patientSince) break;
      this.#letNextGo();
    }
    this.#arm();
  };

  constructor(clock: Clock, size: number) {
    this.#clock = clock;
    this.#size = size;
  }

  /** True: not now, letGo will be called. */
  keeps(proposer: Proposer): boolean {
    if (proposer.waitsSince !== WAITS_NOT) return true;
    if (this.#underWay < this.#size && this.#waiting.size === 0) return false;
    proposer.waitsSince = this.#looks;
    this.#waiting.push(proposer);
    this.#arm();
    return true;
  }

  /** A batch was proposed. */
  entered(): void {
    this.#underWay++;
  }

  /** So many of them are applied, or nobody here will know. */
  left(batches: number): void {
    this.#underWay -= batches;
    this.#left += batches;
    if (this.#waiting.size === 0 || this.#turnAsked) return;
    this.#turnAsked = true;
    this.#clock.endOfTurn(this.#endTurn);
  }

  #letNextGo(): void {
    const next = this.#waiting.shift() as Proposer;
    next.waitsSince = WAITS_NOT;
    next.letGo();
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#waiting.size === 0) return;
    this.#left = 0;
    this.#timer = this.#clock.after(STUCK_MS, this.#review);
  }
}
