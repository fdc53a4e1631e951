// Reads what is in sealed segments again, piece by piece, and verifies every entry that counts: latent errors must be found while other replicas
// still have good copies. Called by wal.scrub() at the host's rate; goes through all segments by id and begins again.
// Invariant: an entry is reported only if the location table still names the place that could not be verified.
import type { GroupId, Index } from '../core/types.ts';
import type { WalContext } from './context.ts';
import type { GroupLog } from './group-log.ts';
import type { Reader } from './reader.ts';
import { recordBytes } from './record.ts';
import { createRow, SidecarReader } from './sidecar.ts';
import { readTable } from './tables.ts';

/** Rows looked at by one call at most, so that a call over dead records is bounded as well. */
const ROWS_MAX = 10_000;

export interface Found {
  group: GroupId;
  index: Index;
}

export class Scrub {
  private readonly context: WalContext;
  private readonly reader: Reader;
  private readonly row = createRow();
  /** Segment under examination, and its table. */
  private segment = 0;
  private table: SidecarReader | undefined;
  private running = false;

  constructor(context: WalContext, reader: Reader) {
    this.context = context;
    this.reader = reader;
  }

  /** Verifies about `bytesMax` bytes more. */
  run(bytesMax: number, done: (found: Found[]) => void): void {
    if (this.running) {
      this.context.env.clock.endOfTurn(() => done([]));
      return;
    }
    this.running = true;
    const finish = (found: Found[]): void => {
      this.running = false;
      done(found);
    };
    if (this.table !== undefined && this.context.segments.all.has(this.segment)) this.advance(bytesMax, finish);
    else this.nextSegment(bytesMax, finish);
  }

  private nextSegment(bytesMax: number, done: (found: Found[]) => void): void {
    const { context } = this;
    const sealed = context.segments.ids().filter((id) => context.segments.all.get(id)?.sealed);
    const next = sealed.find((id) => id > this.segment) ?? sealed[0];
    this.table = undefined;
    if (next === undefined) {
      context.env.clock.endOfTurn(() => done([]));
      return;
    }
    this.segment = next;
    readTable(context, next, (bytes) => {
      const segment = context.segments.all.get(next);
      if (bytes === undefined) {
        if (segment !== undefined) segment.doubtful = true;
        done([]);
        return;
      }
      this.table = new SidecarReader(bytes);
      this.advance(bytesMax, done);
    });
  }

  private advance(bytesMax: number, done: (found: Found[]) => void): void {
    const { context, row, segment } = this;
    const wanted: { log: GroupLog; index: Index }[] = [];
    let bytes = 0;
    for (let rows = 0; rows < ROWS_MAX && bytes < bytesMax; rows++) {
      if (this.table?.next(row) !== true) {
        this.table = undefined;
        break;
      }
      const log = row.other === 0 ? context.groups.get(row.group) : undefined;
      if (log === undefined || !log.table.find(row.index)) continue;
      if (log.table.segment !== segment || log.table.offset !== row.offset) continue;
      wanted.push({ log, index: row.index });
      bytes += recordBytes(row.bodyLength);
    }
    this.verify(wanted, done);
  }

  /** Runs of neighbours of one group are read together. */
  private verify(wanted: readonly { log: GroupLog; index: Index }[], done: (found: Found[]) => void): void {
    const found: Found[] = [];
    const sorted = wanted.toSorted((a, b) => a.log.id - b.log.id || a.index - b.index);
    const next = (i: number): void => {
      if (i >= sorted.length) {
        done(found);
        return;
      }
      const { log, index } = sorted[i];
      let end = i + 1;
      while (end < sorted.length && sorted[end].log === log && sorted[end].index === index + end - i) end++;
      this.reader.verify(log, index, sorted[end - 1].index, (good, damaged) => {
        if (damaged) found.push({ group: log.id, index: index + good });
        next(i + good + (damaged ? 1 : 0));
      });
    };
    next(0);
  }
}
