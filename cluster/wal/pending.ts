// What the next batch of the WAL will hold: entries as columns, and what else there is. Filled by writer.ts, emptied when batch-packer.ts has
// packed it. What a group knew when an entry was appended is kept with the entry: by then the group is in cold memory. Pure.
import type { GroupId, LogEntry } from '../core/types.ts';
import type { Chain } from './chain.ts';
import type { GroupLog } from './group-log.ts';
import type { LocationTable } from './location-table.ts';
import { recordBytes } from './record.ts';

/** Where a copied-forward entry was found; (0, 0): nowhere, it is a repair. */
export interface Move {
  segment: number;
  offset: number;
}

const CHAIN_WORDS = 4;

/** Columns longer than this are not kept for the next batch. */
const COLUMNS_KEPT = 16_384;

/** Entries that will be written next, as columns, which serve batch after batch. */
export class PendingEntries {
  count = 0;
  /** Of their records. */
  bytes = 0;
  groups: (GroupLog | undefined)[] = [];
  entries: (LogEntry | undefined)[] = [];
  epochs: number[] = [];
  epochFroms: number[] = [];
  flags: number[] = [];
  tables: (LocationTable | undefined)[] = [];
  moves: (Move | undefined)[] = [];
  private chains: number[] = [];

  add(
    group: GroupLog,
    entry: LogEntry,
    epoch: number,
    epochFrom: number,
    flags: number,
    table: LocationTable,
    move: Move | undefined,
    chain: Chain,
  ): void {
    const at = this.count++;
    this.groups[at] = group;
    this.entries[at] = entry;
    this.epochs[at] = epoch;
    this.epochFroms[at] = epochFrom;
    this.flags[at] = flags;
    this.tables[at] = table;
    this.moves[at] = move;
    this.chains[at * CHAIN_WORDS] = chain.chain0;
    this.chains[at * CHAIN_WORDS + 1] = chain.chain1;
    this.chains[at * CHAIN_WORDS + 2] = chain.chain2;
    this.chains[at * CHAIN_WORDS + 3] = chain.chain3;
    this.bytes += recordBytes(entry.body.length);
  }

  copyChain(at: number, to: Chain): void {
    to.chain0 = this.chains[at * CHAIN_WORDS];
    to.chain1 = this.chains[at * CHAIN_WORDS + 1];
    to.chain2 = this.chains[at * CHAIN_WORDS + 2];
    to.chain3 = this.chains[at * CHAIN_WORDS + 3];
  }

  /** They were packed: nothing of them is held on to. */
  clear(): void {
    const { count } = this;
    this.count = 0;
    this.bytes = 0;
    if (count > COLUMNS_KEPT) {
      this.groups = [];
      this.entries = [];
      this.epochs = [];
      this.epochFroms = [];
      this.flags = [];
      this.tables = [];
      this.moves = [];
      this.chains = [];
      return;
    }
    this.groups.fill(undefined, 0, count);
    this.entries.fill(undefined, 0, count);
    this.tables.fill(undefined, 0, count);
    this.moves.fill(undefined, 0, count);
  }
}

/** What will be written next besides. */
export interface Pending {
  dirty: GroupLog[];
  tombstones: GroupId[];
  bytes: number;
  /** The changed states and the tombstones go to the state files as well. */
  copyStates: boolean;
  /** The state files are to be replaced. */
  replaceStates: boolean;
}

export function emptyPending(): Pending {
  return {
    dirty: [],
    tombstones: [],
    bytes: 0,
    copyStates: false,
    replaceStates: false,
  };
}
