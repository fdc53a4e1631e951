// Is there room on the disk for more messages? Asked by partitions before they accept a publish; looks at the disk by itself, more
// often as it fills. Invariant: what is refused leaves a reserve, so that acks, deletes, purges, snapshots and the compaction that brings
// space back never meet a full disk, and a stopped node can start again.
import type { Env, Timer } from './env.ts';

/** One compaction copies up to 64 MiB before it frees anything; the rest is for the log, snapshots and level meanwhile. */
export const DISK_RESERVE_BYTES = 128 * 1024 * 1024;
/** Publishes go on when this much more than the reserve is free, so that the answer does not flutter. */
const RESUME_ABOVE_BYTES = 16 * 1024 * 1024;
/** With so much free the next look may be late. */
const PLENTY_BYTES = 2 * 1024 * 1024 * 1024;
const LOOK_MS = 100;
const LOOK_MS_WITH_PLENTY = 1_000;

export class DiskRoom {
  /** Nothing new is to be stored. */
  isLow = false;
  /** As of the last look; NaN before the first. */
  freeBytes = Number.NaN;
  private readonly env: Env;
  readonly reserveBytes: number;
  private timer: Timer | undefined;
  private closed = false;

  constructor(env: Env, reserveBytes = DISK_RESERVE_BYTES) {
    this.env = env;
    this.reserveBytes = reserveBytes;
    this.look();
  }

  close(): void {
    this.closed = true;
    if (this.timer !== undefined) this.env.clock.cancel(this.timer);
  }

  private look(): void {
    const { clock, disk, log } = this.env;
    disk.freeBytes((error, bytes) => {
      if (this.closed) return;
      if (error !== null) log.error(`the disk's free space is unknown: ${error.message}`);
      else this.judge(bytes);
      const plenty = error !== null || bytes > PLENTY_BYTES;
      this.timer = clock.after(plenty ? LOOK_MS_WITH_PLENTY : LOOK_MS, () => this.look());
    });
  }

  private judge(bytes: number): void {
    this.freeBytes = bytes;
    const isLow = bytes < this.reserveBytes + (this.isLow ? RESUME_ABOVE_BYTES : 0);
    if (isLow === this.isLow) return;
    this.isLow = isLow;
    const free = { free: bytes, reserve: this.reserveBytes };
    if (isLow) this.env.log.error('the disk is nearly full: publishes are refused, deletes and acks go on', free);
    else this.env.log.info('the disk has room again: publishes go on', free);
  }
}
