// What the next batch of the WAL will hold: entries as columns, and what else there is. Filled by writer.ts, emptied when batch-packer.ts has
// packed it. Pure.
import type { GroupId, LogEntry } from '../core/types.ts';
import type { GroupLog } from './group-log.ts';
import type { LocationTable } from './location-table.ts';
import { recordBytes } from './record.ts';

/** Where a copied-forward entry was found; (0, 0): nowhere, it is a repair. */
export interface Move {
  segment: number;
  offset: number;
  chain: readonly number[] | undefined;
}

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

  add(
    group: GroupLog,
    entry: LogEntry,
    epoch: number,
    epochFrom: number,
    flags: number,
    table: LocationTable,
    move: Move | undefined,
  ): void {
    const at = this.count++;
    this.groups[at] = group;
    this.entries[at] = entry;
    this.epochs[at] = epoch;
    this.epochFroms[at] = epochFrom;
    this.flags[at] = flags;
    this.tables[at] = table;
    this.moves[at] = move;
    this.bytes += recordBytes(entry.body.length);
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
