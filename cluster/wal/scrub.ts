// Reads what is in sealed segments again, piece by piece, and verifies every entry that counts: latent errors must be found while other replicas
// still have good copies. Beside that it asks the machines, index by index, whether something is wanted that no segment has. Called by wal.scrub() at the host's rate; goes through all segments by id and begins again.
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
/** A live entry that is in no segment is reported when it still is so after this time. */
const SUSPECT_MS = 10_000;
const SUSPECTS_MAX = 1000;

export interface Found {
  group: GroupId;
  index: Index;
}

/** How far it has come: the segment under examination, and the group and index up to which the machines were asked. */
export interface ScrubPosition {
  segment: number;
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
  /** The group and index up to which the machines were asked. */
  private group: GroupId = 0;
  private index: Index = 0;
  private suspects: (Found & { sinceMs: number })[] = [];

  constructor(context: WalContext, reader: Reader) {
    this.context = context;
    this.reader = reader;
  }

  get position(): ScrubPosition {
    return { segment: this.segment, group: this.group, index: this.index };
  }

  /** Goes on where an earlier life was: with that segment from its start, or with the next that there is. */
  resume({ segment, group, index }: ScrubPosition): void {
    if (this.running || this.segment !== 0) return;
    this.segment = Math.max(0, segment - 1);
    this.group = group;
    this.index = index;
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
      done([...this.missing(), ...found]);
    };
    if (this.table !== undefined && this.context.segments.all.has(this.segment)) this.advance(bytesMax, finish);
    else this.nextSegment(bytesMax, finish);
  }

  /** Live entries below the snapshot of one group after the other that are in no table: their records were lost with all that named them.
   * A machine that is being restored or replays its log answers for an older state, so what it misses has to be missed again later. */
  private missing(): Found[] {
    const { groups, env } = this.context;
    const log = groups.get(this.group);
    const end = log?.liveCheck === undefined ? 0 : log.first - 1;
    const stop = Math.min(end, this.index + ROWS_MAX);
    const nowMs = env.clock.nowMs();
    while (this.index < stop && this.suspects.length < SUSPECTS_MAX) {
      const index = ++this.index;
      if (this.isMissing(this.group, index)) this.suspects.push({ group: this.group, index, sinceMs: nowMs });
    }
    if (this.index >= end) {
      const ids = [...groups.keys()].sort((a, b) => a - b);
      this.group = ids.find((id) => id > this.group) ?? ids[0] ?? 0;
      this.index = 0;
    }
    const ripe = this.suspects.filter(({ sinceMs }) => nowMs - sinceMs >= SUSPECT_MS);
    if (ripe.length === 0) return [];
    this.suspects = this.suspects.filter(({ sinceMs }) => nowMs - sinceMs < SUSPECT_MS);
    const found = ripe.filter(({ group, index }) => this.isMissing(group, index));
    for (const { group, index } of found) {
      groups.get(group)?.addDamage(index);
      env.log.error('wal: a live entry is in no segment', { group, index });
    }
    return found.map(({ group, index }) => ({ group, index }));
  }

  private isMissing(group: GroupId, index: Index): boolean {
    const log = this.context.groups.get(group);
    if (log === undefined || index >= log.first || log.table.find(index) || !log.isLive(index)) return false;
    return !log.damaged.some((range) => index >= range.first && index <= range.last);
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
