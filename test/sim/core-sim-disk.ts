// A model of the WAL of one core in test/sim: a log in memory, the same log as the disk has it, and one flush at a time between them.
// A crash keeps what was flushed and, of a flush under way, any prefix of its records.
import type { HardState, Index, LogEntry, Membership, SnapshotMeta, Term } from '../../cluster/core/types.ts';
import { chainOf, type Truth, Violation } from './core-sim-truth.ts';
import type { Prng } from './prng.ts';
import type { Scheduler } from './scheduler.ts';

export interface SimSnapshot extends SnapshotMeta {
  chain: number;
}

/** A log from `base` on, with the chain value at each index. */
export class ChainedLog {
  base: Index = 0;
  baseTerm: Term = 0;
  entries: LogEntry[] = [];
  /** chains[i] belongs to index base + i. */
  chains: number[] = [0];

  get lastIndex(): Index {
    return this.base + this.entries.length;
  }

  at(index: Index): LogEntry | undefined {
    return this.entries[index - this.base - 1];
  }

  termOf(index: Index): Term | undefined {
    return index === this.base ? this.baseTerm : this.at(index)?.term;
  }

  chainAt(index: Index): number | undefined {
    return this.chains[index - this.base];
  }

  append(entry: LogEntry): number {
    if (entry.index <= this.base || entry.index > this.lastIndex + 1) {
      throw new Violation('contiguous-log', `append of ${entry.index} to ${this.base}..${this.lastIndex}`);
    }
    this.entries.length = entry.index - this.base - 1;
    this.chains.length = entry.index - this.base;
    const chain = chainOf(this.chains[this.chains.length - 1], entry);
    this.entries.push(entry);
    this.chains.push(chain);
    return chain;
  }

  dropTo(index: Index): void {
    if (index <= this.base) return;
    this.baseTerm = this.termOf(index)!;
    const count = index - this.base;
    this.entries.splice(0, count);
    this.chains.splice(0, count);
    this.base = index;
  }

  reset(snapshot: SimSnapshot): void {
    this.base = snapshot.index;
    this.baseTerm = snapshot.term;
    this.entries = [];
    this.chains = [snapshot.chain];
  }
}

type DiskRecord =
  | { kind: 'hard-state'; state: HardState }
  | { kind: 'entry'; entry: LogEntry }
  | { kind: 'snapshot'; snapshot: SimSnapshot; install: boolean };

export class CoreDisk {
  /** As the running process sees it. */
  memory = new ChainedLog();
  snapshot: SimSnapshot | undefined;

  private durable = new ChainedLog();
  private durableHardState: HardState = { term: 0, vote: 0 };
  private durableSnapshot: SimSnapshot | undefined;
  private readonly genesis: Membership;

  private queue: DiskRecord[] = [];
  private waiting: (() => void)[] = [];
  private flushing: DiskRecord[] | undefined;
  private life = 0;
  private readonly scheduler: Scheduler;
  private readonly prng: Prng;
  private readonly truth: Truth;
  /** Mean of a flush's duration; faults change it. */
  syncMs = 2;

  constructor(genesis: Membership, scheduler: Scheduler, prng: Prng, truth: Truth) {
    this.truth = truth;
    this.genesis = genesis;
    this.scheduler = scheduler;
    this.prng = prng;
  }

  append(entry: LogEntry): number {
    this.queue.push({ kind: 'entry', entry });
    return this.memory.append(entry);
  }

  saveHardState(state: HardState): void {
    this.queue.push({ kind: 'hard-state', state });
  }

  saveSnapshot(snapshot: SimSnapshot): void {
    this.queue.push({ kind: 'snapshot', snapshot, install: false });
  }

  installSnapshot(snapshot: SimSnapshot): void {
    this.queue.push({ kind: 'snapshot', snapshot, install: true });
  }

  /** `done` runs once everything queued so far is durable. */
  flush(done: () => void): void {
    this.waiting.push(done);
    if (this.flushing === undefined) this.begin();
  }

  private begin(): void {
    const records = this.queue;
    const completions = this.waiting;
    this.queue = [];
    this.waiting = [];
    this.flushing = records;
    const { life } = this;
    this.scheduler.after(records.length === 0 ? 0 : this.prng.exponential(this.syncMs), () => {
      if (life !== this.life) return;
      for (const record of records) this.makeDurable(record);
      for (const done of completions) done();
      this.flushing = undefined;
      if (this.waiting.length > 0) this.begin();
    });
  }

  private makeDurable(record: DiskRecord): void {
    if (record.kind === 'hard-state') this.durableHardState = record.state;
    else if (record.kind === 'entry') {
      const { index, term } = record.entry;
      this.truth.onEntry(index, term, this.durable.append(record.entry));
    } else {
      this.durableSnapshot = record.snapshot;
      if (record.install) this.durable.reset(record.snapshot);
      else this.durable.dropTo(record.snapshot.index);
    }
  }

  /** Would the entry survive a crash now? Below a snapshot it is there by its effect. */
  holds(index: Index, term: Term): boolean {
    return index < this.durable.base || this.durable.termOf(index) === term;
  }

  /** The process ends; a flush under way leaves a prefix of its records. */
  crash(): void {
    this.life++;
    const records = this.flushing ?? [];
    const kept = this.prng.int(records.length + 1);
    for (let i = 0; i < kept; i++) this.makeDurable(records[i]);
    this.queue = [];
    this.waiting = [];
    this.flushing = undefined;
  }

  /** What a new process finds. */
  recover(): {
    hardState: HardState;
    snapshot: SimSnapshot | undefined;
    membership: Membership;
    membershipIndex: Index | undefined;
    previousMembership: Membership;
    lastIndex: Index;
    terms: { start: Index; term: Term }[];
  } {
    this.memory = new ChainedLog();
    this.snapshot = this.durableSnapshot;
    if (this.snapshot !== undefined) this.memory.reset(this.snapshot);
    const terms: { start: Index; term: Term }[] = [];
    let previousMembership = this.snapshot?.membership ?? this.genesis;
    let membership = previousMembership;
    let membershipIndex: Index | undefined;
    for (const entry of this.durable.entries) {
      this.memory.append(entry);
      if (terms.at(-1)?.term !== entry.term) terms.push({ start: entry.index, term: entry.term });
      if (entry.membership === undefined) continue;
      [previousMembership, membership, membershipIndex] = [membership, entry.membership, entry.index];
    }
    const { lastIndex } = this.memory;
    const { durableHardState: hardState, snapshot } = this;
    return { hardState, snapshot, membership, membershipIndex, previousMembership, lastIndex, terms };
  }
}
