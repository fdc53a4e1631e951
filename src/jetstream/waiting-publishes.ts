// Publishes that wait for their PubAck on the node where they entered (pure): one slot each, columns side by side, found again by a token
// that fits into 32 bits; and who else has them, counted per partition. Used by publish-router.ts.
// Invariant: a token is that of one publish until its slot has been used 4,095 times more, which takes millions of publishes: an answer that comes
// after all must never find somebody else's; the counts of a way are those of its slots.
import { Fifo } from '../stream/fifo.ts';

/** The token of a publish for which nobody waits. */
export const NO_ANSWER = 0xffffffff;
/** token = generation << SLOT_BITS | slot. */
const SLOT_BITS = 20;
const SLOTS_MAX = 1 << SLOT_BITS;
/** The all-ones token means "no answer", so that generation is skipped. */
const GENERATIONS = (1 << (32 - SLOT_BITS)) - 1;
/** A free slot is used again after so many others. */
const RESTING = 1024;

export interface AwayCounts {
  /** How often the leader changed: whoever has a publish from before is none any more, or leads again. */
  changes: number;
  /** Publishes that other nodes have: since the last change, and from before. */
  away: number;
  withFormer: number;
}

export class WaitingPublishes<Way extends AwayCounts, Link> {
  /** '' while the slot is free. */
  readonly replies: string[] = [];
  readonly accounts: string[] = [];
  readonly ways: Way[] = [];
  readonly startMs: number[] = [];
  /** Undefined while no other node has it; and after how many changes of leaders it left, when one has. */
  readonly #awayBy: (Link | undefined)[] = [];
  readonly #leftAt: number[] = [];
  readonly #generations: number[] = [];
  readonly #free = new Fifo<number>();

  get count(): number {
    return this.replies.length - this.#free.size;
  }

  /** Its token; -1: too many wait already. */
  take(account: string, reply: string, way: Way, nowMs: number): number {
    const slot = this.#freeSlot();
    if (slot < 0) return -1;
    this.replies[slot] = reply;
    this.accounts[slot] = account;
    this.ways[slot] = way;
    this.startMs[slot] = nowMs;
    this.#awayBy[slot] = undefined;
    this.#leftAt[slot] = 0;
    return this.tokenOf(slot);
  }

  #freeSlot(): number {
    const slots = this.replies.length;
    if (this.#free.size > RESTING || slots === SLOTS_MAX) return this.#free.shift() ?? -1;
    this.#generations.push(0);
    return slots;
  }

  /** The slot of a token that still waits; -1 when it was settled before. */
  claim(token: number): number {
    if (token === NO_ANSWER) return -1;
    const slot = token & (SLOTS_MAX - 1);
    if (slot >= this.replies.length || this.replies[slot] === '') return -1;
    return this.tokenOf(slot) === token ? slot : -1;
  }

  release(slot: number): void {
    this.isBack(slot);
    this.replies[slot] = '';
    this.#generations[slot] = (this.#generations[slot] + 1) % GENERATIONS;
    this.#free.push(slot);
  }

  tokenOf(slot: number): number {
    return ((this.#generations[slot] << SLOT_BITS) | slot) >>> 0;
  }

  /** It goes to another node; nobody has it so far. */
  leaves(token: number, by: Link): void {
    const slot = this.claim(token);
    if (slot < 0) return;
    const way = this.ways[slot];
    this.#awayBy[slot] = by;
    this.#leftAt[slot] = way.changes;
    way.away++;
  }

  /** No other node has it any more. */
  isBack(slot: number): void {
    if (this.#awayBy[slot] === undefined) return;
    this.#awayBy[slot] = undefined;
    const way = this.ways[slot];
    if (this.#leftAt[slot] === way.changes) way.away--;
    else way.withFormer--;
  }

  isAwayBy(slot: number, link: Link): boolean {
    return this.#awayBy[slot] === link;
  }

  /** Who has a publish of that way leads no longer, or anew. */
  leaderChanged(way: Way): void {
    way.changes++;
    way.withFormer += way.away;
    way.away = 0;
  }
}
