// What one batch does to each group that it touches, for the mark of the next batch: columns that serve batch after batch, filled while the
// batch is packed and its groups are at hand. Used by batch-packer.ts.
// Invariant: slot i is what becomes of the i-th group that the batch touches once it is durable.
import type { GroupId, Index, Term } from '../core/types.ts';
import { encodeSummary } from './bodies.ts';
import type { ByteWriter } from './bytes.ts';
import type { GroupLog } from './group-log.ts';

/** Stands for a term that is looked up if no entry brings one. */
const NO_TERM = -1;

export class BatchSummaries {
  count = 0;
  private readonly groups: GroupId[] = [];
  private readonly epochs: number[] = [];
  private readonly epochFroms: Index[] = [];
  private readonly lastIndexes: Index[] = [];
  private readonly lastTerms: Term[] = [];
  private readonly states: boolean[] = [];

  /** The group is touched for the first time in this batch. Returns its slot. */
  add(group: GroupLog): number {
    const slot = this.count++;
    this.groups[slot] = group.id;
    this.epochs[slot] = group.epoch;
    this.epochFroms[slot] = group.epochFrom;
    this.lastIndexes[slot] = group.durable;
    this.lastTerms[slot] = NO_TERM;
    this.states[slot] = false;
    return slot;
  }

  /** A state record of the group is in the batch. */
  stated(slot: number): void {
    this.states[slot] = true;
  }

  /** The group's log ends there. */
  grown(slot: number, index: Index, term: Term): void {
    this.lastIndexes[slot] = index;
    this.lastTerms[slot] = term;
  }

  /** The batch is packed. `touched`: the groups of the slots. */
  complete(touched: readonly GroupLog[]): void {
    const { lastTerms, lastIndexes } = this;
    for (let slot = 0; slot < touched.length; slot++)
      if (lastTerms[slot] === NO_TERM) lastTerms[slot] = touched[slot].termOf(lastIndexes[slot]) ?? 0;
  }

  encode(out: ByteWriter): void {
    for (let i = 0; i < this.count; i++)
      encodeSummary(
        out,
        this.groups[i],
        this.epochs[i],
        this.epochFroms[i],
        this.lastIndexes[i],
        this.lastTerms[i],
        this.states[i],
      );
  }
}
