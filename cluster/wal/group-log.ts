// One group as the WAL knows it in memory: the log's bounds and terms, where its entries lie, its hard state and snapshot. No I/O.
// A log that is rewritten (a conflicting suffix replaced, a snapshot installed, a group created anew) begins a new *epoch* with the index
// from which it replaces. Every record carries its epoch, so which records count does not depend on the order in which files are read.
// Invariant: an entry (index, epoch) counts if and only if no later epoch began at or below its index. A staged entry has the epoch that the
// installation of its snapshot began, or none: then it does not count.
import type { GroupId, HardState, Index, Membership, Term } from '../core/types.ts';
import type { Adoption, EpochStart, GroupState, SnapshotRef } from './bodies.ts';
import { type Chain, chainRemove } from './chain.ts';
import { type LiveAccounting, LocationTable } from './location-table.ts';
import { LogEnd } from './tail-cache.ts';
import { TermRuns } from './term-runs.ts';
import type { LiveCheck } from './types.ts';

/** The term of the last run has to be looked up. */
const NO_TERM = -1;

export class GroupLog extends LogEnd implements Chain {
  // What each append and each batch looks at comes first: see LogEnd.
  readonly id: GroupId;
  /** The last of `epochs`. */
  epoch = 0;
  epochFrom: Index = 0;
  private lastRun: Term = NO_TERM;
  /** The entry that the chain stands at; -1: not known. */
  chainIndex: Index = -1;
  chain0 = 0;
  chain1 = 0;
  chain2 = 0;
  chain3 = 0;
  deleted = false;
  table: LocationTable;
  /** The batch that touched the group last, how far the log then reaches, and the group's place in its summaries. */
  batchNumber = -1;
  batchLast: Index = 0;
  batchSlot = 0;
  /** The segment whose table has rows of the group, and the group's number there. */
  rowsIn = -1;
  rowNumber = 0;

  /** From here on the chain's entries were added one by one in this life, and can be taken out again. */
  private chainFrom: Index = 0;
  stateDirty = false;
  /** Epoch of its creation. */
  born = 0;
  /** Whose staged entries count, and as of which epoch. */
  adopted: Adoption[] = [];
  /** Odd: it must not vote. */
  doubts = 0;
  epochs: EpochStart[] = [];
  /** Higher than any epoch that any record carries. */
  nextEpoch = 1;
  hardState: HardState = { term: 0, vote: 0 };
  /** At the snapshot, or at creation. */
  membership: Membership = { voters: [], learners: [] };
  snapshot: SnapshotRef | undefined;
  /** Its file was found unreadable. */
  lostSnapshot: SnapshotRef | undefined;
  readonly terms = new TermRuns();
  /** A snapshot being received: its live entries, under an epoch that does not count yet. */
  staged: { epoch: number; table: LocationTable } | undefined;
  liveCheck: LiveCheck | undefined;
  /** Known to have existed, unreadable; ascending, disjoint. */
  damaged: { first: Index; last: Index }[] = [];

  private readonly accounting: LiveAccounting;

  constructor(id: GroupId, epochs: EpochStart[], accounting: LiveAccounting) {
    super();
    this.id = id;
    this.table = new LocationTable(accounting);
    this.accounting = accounting;
    this.setEpochs(epochs);
  }

  setEpochs(epochs: EpochStart[]): void {
    this.epochs = epochs;
    this.epoch = epochs[epochs.length - 1]?.epoch ?? 0;
    this.epochFrom = epochs[epochs.length - 1]?.from ?? 0;
    this.nextEpoch = this.epoch + 1;
  }

  /** First index after the snapshot. */
  get first(): Index {
    return (this.snapshot?.index ?? 0) + 1;
  }

  get lastTerm(): Term {
    return this.termOf(this.last) ?? 0;
  }

  termOf(index: Index): Term | undefined {
    if (index === 0) return 0;
    if (this.snapshot !== undefined && index === this.snapshot.index) return this.snapshot.term;
    if (index < this.first || index > this.last) return undefined;
    const term = this.terms.at(index);
    return term === 0 ? undefined : term;
  }

  /** Does an entry of this epoch at this index count? */
  isCurrent(epoch: number, index: Index, staged = false): boolean {
    if (staged) {
      const adoption = this.adopted.find((adopted) => adopted.epoch === epoch);
      return adoption !== undefined && this.isCurrent(adoption.by, index);
    }
    if (epoch === this.epoch) return true;
    for (let i = this.epochs.length - 1; i >= 0 && this.epochs[i].epoch > epoch; i--) {
      if (this.epochs[i].from <= index) return false;
    }
    return epoch <= this.epoch;
  }

  /** Everything from `from` on is dead; what is written next belongs to the new epoch. */
  beginEpoch(epoch: number, from: Index, segment: number): void {
    while (this.epochs.length > 0 && this.epochs[this.epochs.length - 1].from >= from) this.epochs.pop();
    this.epochs.push({ epoch, from, segment });
    this.epoch = epoch;
    this.epochFrom = from;
    if (from === 0) this.adopted = [];
    this.nextEpoch = Math.max(this.nextEpoch, epoch + 1);
    if (this.chainIndex >= from) this.chainIndex = -1;
  }

  /** Epochs begun well before the oldest segment on disk have no dead entries left anywhere: only the newest of them is remembered. The segment
   * after the one they began in may hold some: what was enqueued before leaves with the next batch. */
  pruneEpochs(oldestOnDisk: number): void {
    let keep = 0;
    while (keep + 1 < this.epochs.length && this.epochs[keep + 1].segment + 1 < oldestOnDisk) keep++;
    if (keep > 0) this.epochs.splice(0, keep);
  }

  /** The term of what follows the log's end. */
  appendTerm(index: Index, term: Term): void {
    if (term === this.lastRun) return;
    this.terms.append(index, term);
    this.lastRun = term;
  }

  /** The term of an entry that had none. */
  learnTerm(index: Index, term: Term): void {
    this.terms.set(index, term, this.last + 1);
    this.lastRun = NO_TERM;
  }

  /** The chain is known up to the entry before `index`, which is the next one; or begins anew there. */
  startChain(index: Index, isKnown: boolean): void {
    this.chainIndex = index - 1;
    // Without what came before, the first one is no sum that the log goes on from when it is taken out.
    this.chainFrom = isKnown ? index : index + 1;
    if (isKnown) return;
    this.chain0 = this.chain1 = this.chain2 = this.chain3 = 0;
  }

  /** Before the entries from `index` on leave memory: the chain goes back to where it stood without them, if those are all. */
  cutChain(index: Index): void {
    for (;;) {
      const at = this.chainIndex;
      const entry = at >= index && at >= this.chainFrom ? this.held(at) : undefined;
      if (entry === undefined) return;
      chainRemove(this, at, entry.term, entry.kind, entry.crc);
      this.chainIndex = at - 1;
    }
  }

  truncateFrom(index: Index): void {
    this.lastRun = NO_TERM;
    this.table.truncateFrom(index);
    this.terms.truncateFrom(index);
    this.last = Math.min(this.last, index - 1);
    this.durable = Math.min(this.durable, index - 1);
    this.batchLast = Math.min(this.batchLast, index - 1);
    this.forgetDamage(index, Number.MAX_SAFE_INTEGER);
  }

  /** The log is empty and stands at the snapshot: below it is what is here up to `kept`, and what `table` holds. That one becomes the group's:
   * nothing that is on its way for the old one lands in it. */
  standAt(snapshot: SnapshotRef, kept: Index, table: LocationTable): void {
    this.table.truncateFrom(kept + 1);
    table.absorb(this.table);
    this.table = table;
    this.forgetDamage(kept + 1, Number.MAX_SAFE_INTEGER);
    this.terms.clear();
    this.lastRun = NO_TERM;
    this.snapshot = snapshot;
    this.membership = snapshot.membership;
    this.last = snapshot.index;
    this.durable = snapshot.index;
    this.batchLast = snapshot.index;
    this.released = 0;
    this.chainIndex = -1;
  }

  newStagedTable(): LocationTable {
    return new LocationTable(this.accounting);
  }

  /** Takes first..last out of the damaged ranges. */
  forgetDamage(first: Index, last: Index): void {
    this.damaged = this.damaged.flatMap((range) => {
      if (range.last < first || range.first > last) return [range];
      const left = range.first < first ? [{ first: range.first, last: first - 1 }] : [];
      const right = range.last > last ? [{ first: last + 1, last: range.last }] : [];
      return [...left, ...right];
    });
  }

  /** What is damaged below the snapshot and no longer wanted is no damage. */
  forgetDeadDamage(): void {
    for (const { first, last } of this.damaged) {
      for (let index = first; index <= Math.min(last, this.first - 1); index++)
        if (!this.isLive(index)) this.forgetDamage(index, index);
    }
  }

  addDamage(index: Index): void {
    this.forgetDamage(index, index);
    this.damaged.push({ first: index, last: index });
    this.damaged.sort((a, b) => a.first - b.first);
    for (let i = this.damaged.length - 1; i > 0; i--) {
      if (this.damaged[i - 1].last + 1 < this.damaged[i].first) continue;
      this.damaged[i - 1].last = this.damaged[i].last;
      this.damaged.splice(i, 1);
    }
  }

  /** May the compactor drop what it finds at this index? Above the snapshot everything is live. */
  isLive(index: Index): boolean {
    return index >= this.first || this.liveCheck === undefined || this.liveCheck(index);
  }

  state(): GroupState {
    return {
      group: this.id,
      born: this.born,
      adopted: this.adopted,
      doubts: this.doubts,
      epochs: this.epochs,
      hardState: this.hardState,
      membership: this.membership,
      snapshot: this.snapshot,
      lastIndex: this.durable,
      lastTerm: this.termOf(this.durable) ?? 0,
    };
  }
}
