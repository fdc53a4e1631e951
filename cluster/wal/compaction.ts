// Removes old segments: examines sealed ones in turn (their tables tell which entries are in them, the groups which of those still count),
// copies what is live out of the mostly dead ones, and unlinks what holds nothing live. Called by wal.compact(); bounded work per call.
// Invariant: a segment leaves the list of segments only after a flush that made durable all that its removal rests on: the copies, the
// states and tombstones by which its entries are dead, and the states of all groups in a later segment.
import type { DiskFile } from '../../src/kit/env.ts';
import type { LogEntry } from '../core/types.ts';
import { crashPoint, mustBeGone, mustWork, type WalContext } from './context.ts';
import type { GroupLog } from './group-log.ts';
import type { LocationTable } from './location-table.ts';
import { segmentName, sidecarName } from './options.ts';
import { quarantine } from './quarantine.ts';
import { checkBody, createHeader, decodeHeader, HEADER_BYTES, RecordType, recordBytes } from './record.ts';
import type { Segment } from './segments.ts';
import { createRow, SidecarReader } from './sidecar.ts';
import { readTable } from './tables.ts';
import type { Writer } from './writer.ts';

/** Segments looked at by one call. */
export const SEGMENTS_PER_COMPACTION = 8;
/** Rows judged before others get a turn, … */
const ROWS_PER_SLICE = 5_000;
/** … which is longer where hardly any of them was dead: most of a large log is looked at in vain, again and again. */
const REST_MS = 20;
const DEAD_SHARE_MIN = 0.01;
/** Bytes read, enqueued and flushed at once. */
const COPY_BYTES = 1024 * 1024;
/** Small segments (from restarts) are merged when there are so many. */
const RUNTS_MIN = 4;

interface Live {
  log: GroupLog;
  table: LocationTable;
  index: number;
  offset: number;
  bodyLength: number;
}

export class Compactor {
  private readonly context: WalContext;
  private readonly writer: Writer;
  private running = false;
  /** Runs when the call under way is done; from then on nothing is compacted. */
  private closed: (() => void) | undefined;
  private turn = 0;

  constructor(context: WalContext, writer: Writer) {
    this.context = context;
    this.writer = writer;
  }

  run(done: (segmentsRemoved: number) => void): void {
    if (this.running || this.closed !== undefined) {
      this.context.env.clock.endOfTurn(() => done(0));
      return;
    }
    this.running = true;
    const candidates = [...this.context.segments.all.values()]
      .filter((segment) => segment.sealed && segment.id !== this.writer.active.id)
      .sort((a, b) => a.examined - b.examined || a.liveBytes / a.bytes - b.liveBytes / b.bytes);
    const dead = candidates.filter((segment) => segment.liveRecords === 0 && !segment.doubtful);
    const rest = candidates.filter((segment) => !dead.includes(segment)).slice(0, SEGMENTS_PER_COMPACTION);
    this.examineNext(rest, 0, dead, this.context.options.compactBytesMax, (gone) =>
      this.remove(gone, () => {
        this.running = false;
        done(gone.length);
        this.closed?.();
      }),
    );
  }

  close(done: () => void): void {
    this.closed = done;
    if (!this.running) done();
  }

  private examineNext(
    rest: Segment[],
    i: number,
    gone: Segment[],
    budget: number,
    done: (gone: Segment[]) => void,
  ): void {
    if (i === rest.length || budget <= 0 || this.closed !== undefined) {
      done(gone);
      return;
    }
    const segment = rest[i];
    segment.examined = ++this.turn;
    const next = (left: number): void => this.examineNext(rest, i + 1, gone, left, done);
    this.examine(segment, undefined, (known, lostAndWanted) => {
      if (!known) {
        next(budget);
      } else if (segment.liveRecords === 0) {
        // The table of a damaged segment may be all that still knows of a lost entry.
        if (!lostAndWanted) gone.push(segment);
        next(budget);
      } else if (!this.worthCopying(segment) || lostAndWanted) {
        next(budget);
      } else {
        const bytes = segment.liveBytes;
        // Few segments come here, so only of them it is listed what lives.
        const live: Live[] = [];
        this.examine(segment, live, (listed) => {
          if (!listed) next(budget);
          else
            this.copy(segment, live, 0, () => {
              if (segment.liveRecords === 0) gone.push(segment);
              next(budget - bytes);
            });
        });
      }
    });
  }

  private worthCopying(segment: Segment): boolean {
    const { options, segments } = this.context;
    if (segment.liveBytes <= segment.bytes * options.compactLiveShare) return true;
    const isRunt = (other: Segment): boolean => other.sealed && other.bytes < options.segmentBytes / 4;
    if (!isRunt(segment)) return false;
    let runts = 0;
    for (const other of segments.all.values()) if (isRunt(other)) runts++;
    return runts >= RUNTS_MIN;
  }

  /** Which entries of the segment count; those that a snapshot made superfluous are forgotten on the way. `live`: they are added to it.
   * Not `known`: the table is unreadable, or the log is being closed. */
  private examine(
    segment: Segment,
    live: Live[] | undefined,
    done: (known: boolean, lostAndWanted: boolean) => void,
  ): void {
    const { context } = this;
    readTable(context, segment.id, (bytes) => {
      if (bytes === undefined) {
        segment.doubtful = true;
        done(false, false);
        return;
      }
      const reader = new SidecarReader(bytes);
      const row = createRow();
      let lostAndWanted = false;
      const slice = (): void => {
        if (this.closed !== undefined) {
          done(false, false);
          return;
        }
        let dead = 0;
        for (let i = 0; i < ROWS_PER_SLICE; i++) {
          if (!reader.next(row)) {
            done(true, lostAndWanted);
            return;
          }
          const log = row.other === 0 ? context.groups.get(row.group) : undefined;
          if (log === undefined) continue;
          const { index, offset, bodyLength } = row;
          const table = row.staged && row.epoch === log.staged?.epoch ? log.staged.table : log.table;
          const staging = table !== log.table;
          if (!table.find(index)) {
            lostAndWanted ||=
              segment.doubtful && log.isCurrent(row.epoch, index, row.staged) && index <= log.last && log.isLive(index);
          } else if (table.segment === segment.id && table.offset === offset) {
            if (staging || log.isLive(index)) live?.push({ log, table, index, offset, bodyLength });
            else {
              table.delete(index);
              table.shrink(index);
              dead++;
            }
          }
        }
        const inVain = live === undefined && dead < ROWS_PER_SLICE * DEAD_SHARE_MIN;
        context.env.clock.after(inVain ? REST_MS : 0, slice);
      };
      slice();
    });
  }

  /** Copies live[from...] piece by piece, one flush each. */
  private copy(segment: Segment, live: Live[], from: number, done: () => void): void {
    if (from >= live.length) {
      done();
      return;
    }
    let to = from + 1;
    const end = (i: number): number => live[i].offset + recordBytes(live[i].bodyLength);
    while (to < live.length && end(to) - live[from].offset <= COPY_BYTES) to++;
    const { segments } = this.context;
    segments.borrow(segment.id, (file) => {
      if (file === undefined) {
        segments.release(segment.id);
        this.foundDamage(segment, live[from]);
        done();
        return;
      }
      this.copyPiece(segment, file, live.slice(from, to), live[from].offset, end(to - 1), () => {
        segments.release(segment.id);
        crashPoint(this.context, 'wal.compact.copied');
        this.copy(segment, live, to, done);
      });
    });
  }

  private copyPiece(segment: Segment, file: DiskFile, piece: Live[], from: number, to: number, done: () => void): void {
    const { context, writer } = this;
    file.read(from, to - from, (error, bytes) => {
      const h = createHeader();
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      for (const item of piece) {
        const { log, table, index, offset } = item;
        if (log.deleted || !table.find(index) || table.segment !== segment.id || table.offset !== offset) continue;
        const at = offset - from;
        const readable =
          error === null && decodeHeader(bytes, view, at, h) && h.segment === segment.id && h.offset === offset;
        const body = readable ? bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + h.bodyLength) : undefined;
        const fits =
          h.type === RecordType.entry && h.group === log.id && h.index === index && body?.length === h.bodyLength;
        if (body === undefined || !fits || !checkBody(body, h.bodyCrc)) {
          this.foundDamage(segment, item);
          continue;
        }
        const entry: LogEntry = { index, term: h.term, kind: h.entryKind as LogEntry['kind'], body, crc: h.bodyCrc };
        const move = { segment: segment.id, offset };
        writer.enqueueMove(log, entry, h.epoch, h.epochFrom, h.flags, table, move, h);
        context.stats.bytesCopiedForward += recordBytes(h.bodyLength);
      }
      writer.flush(done);
    });
  }

  private foundDamage(segment: Segment, { log, index }: Live): void {
    segment.doubtful = true;
    log.addDamage(index);
    this.context.stats.damagedReads++;
    this.context.env.log.error('wal: an entry cannot be verified', { group: log.id, index, segment: segment.id });
  }

  // ---- removal ----------------------------------------------------------------------------------------------------------

  private remove(gone: Segment[], done: () => void): void {
    if (gone.length === 0) {
      done();
      return;
    }
    const { context, writer } = this;
    writer.flush(() => {
      for (const segment of gone) context.segments.drop(segment.id);
      writer.keeper.replace(() => {
        crashPoint(context, 'wal.compact.listed');
        this.unlinkNext(gone, 0, done);
      });
    });
  }

  private unlinkNext(gone: Segment[], i: number, done: () => void): void {
    const { context } = this;
    const { disk } = context.env;
    if (i === gone.length) {
      disk.syncDir(context.dir, (error) => {
        mustWork(context, `syncing ${context.dir}`, error);
        for (const { id } of gone) context.segments.gone(id);
        context.stats.segments = context.segments.all.size;
        done();
      });
      return;
    }
    const { id, doubtful } = gone[i];
    context.stats.segmentsRemoved++;
    if (doubtful) {
      for (const name of [segmentName(id), sidecarName(id)]) {
        if (disk.sizeSync(`${context.dir}/${name}`) !== undefined)
          quarantine(context.env, context.dir, name, 'removed, but not all of it was readable');
      }
      this.unlinkNext(gone, i + 1, done);
      return;
    }
    disk.unlink(`${context.dir}/${sidecarName(id)}`, (tableError) => {
      mustBeGone(context, sidecarName(id), tableError);
      disk.unlink(`${context.dir}/${segmentName(id)}`, (error) => {
        mustBeGone(context, segmentName(id), error);
        crashPoint(context, 'wal.compact.unlinked');
        this.unlinkNext(gone, i + 1, done);
      });
    });
  }
}
