// Followers apply late: with a thousand groups that get an entry now and then, a visit to a machine that has left the processor's caches costs
// far more than applying one entry more, so a follower's committed entries wait for company. Owned by the host, asked in each pass.
// Invariant: nothing that somebody waits for waits here (a leader's entries, those below a read), and what waits is few entries, small,
// still in the log's memory, and applied within LATE_MS.
import type { Clock, Timer } from '../../src/kit/env.ts';
import { type LogEntry, META_GROUP } from '../core/types.ts';
import type { GroupRunner } from './group-runner.ts';

/** How long what is committed may wait on a follower, … */
const LATE_MS = 500;
/** … how many entries and bytes of a group, … */
const GROUP_ENTRIES = 16;
const GROUP_BYTES = 64 * 1024;
/** … and how much of all groups may reach the log meanwhile: a part of what its memory holds (tailBytes). */
const LOG_BYTES = 4 * 1024 * 1024;

export class LateApply {
  private readonly clock: Clock;
  private readonly due: (runners: readonly GroupRunner[]) => void;
  private waiting: GroupRunner[] = [];
  private timer: Timer | undefined;
  /** Grew the log since the first of them began to wait. */
  private logBytes = 0;

  /** `due`: these are to be applied now. */
  constructor(clock: Clock, due: (runners: readonly GroupRunner[]) => void) {
    this.clock = clock;
    this.due = due;
  }

  /** May it wait? Then it is taken in. */
  puts(runner: GroupRunner): boolean {
    if (runner.id === META_GROUP || runner.raft.role !== 'follower' || runner.hasReads) return false;
    if (runner.backlog > GROUP_ENTRIES || runner.backlogBytes > GROUP_BYTES) return false;
    if (!runner.late) {
      runner.late = true;
      this.timer ??= this.clock.after(LATE_MS, () => this.end());
      this.waiting.push(runner);
    }
    return true;
  }

  /** These were handed to the log. */
  grown(runner: GroupRunner, entries: readonly LogEntry[]): void {
    let bytes = 0;
    for (const entry of entries) bytes += entry.body.length;
    runner.backlogBytes += bytes;
    if (this.waiting.length > 0) this.logBytes += bytes;
  }

  /** Once a pass, before what is due is applied. */
  review(): void {
    if (this.logBytes > LOG_BYTES) this.end();
  }

  private end(): void {
    if (this.timer !== undefined) this.clock.cancel(this.timer);
    this.timer = undefined;
    const runners = this.waiting;
    this.waiting = [];
    this.logBytes = 0;
    for (const runner of runners) runner.late = false;
    this.due(runners);
  }
}
