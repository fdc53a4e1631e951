// How many batches a node's leaders have on their way to being applied at once. With a thousand busy partitions each visit to one is a walk through
// memory that the others have pushed out of the processor's caches; of few at a time everything stays at hand, and the batches of those that wait
// grow meanwhile. One for all partitions of a node, owned by node.ts, asked by leader.ts at the end of a turn. Up to BATCHES busy partitions
// never notice it.
// Invariants: who waits is let go exactly once, in the order of asking; where nothing comes through for STUCK_MS (a far follower, a lost
// majority, a slow disk) all that wait go, so nobody waits for those longer than that.
import type { Clock, Timer } from '../kit/env.ts';
import { Fifo } from './fifo.ts';

/** With half or twice as many a thousand streams are as fast; with a quarter the disk waits for work. */
export const BATCHES = 64;
const STUCK_MS = 20;

export interface Proposer {
  /** In the window's queue; kept by the window. */
  waits: boolean;
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

  readonly #endTurn = () => {
    this.#turnAsked = false;
    while (this.#underWay < this.#size && this.#waiting.size > 0) this.#letNextGo();
  };
  readonly #review = () => {
    this.#timer = undefined;
    if (this.#left === 0) for (let waiting = this.#waiting.size; waiting > 0; waiting--) this.#letNextGo();
    this.#arm();
  };

  constructor(clock: Clock, size: number) {
    this.#clock = clock;
    this.#size = size;
  }

  /** True: not now, letGo will be called. */
  keeps(proposer: Proposer): boolean {
    if (proposer.waits) return true;
    if (this.#underWay < this.#size && this.#waiting.size === 0) return false;
    proposer.waits = true;
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
    next.waits = false;
    next.letGo();
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#waiting.size === 0) return;
    this.#left = 0;
    this.#timer = this.#clock.after(STUCK_MS, this.#review);
  }
}
