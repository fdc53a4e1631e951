// Remembers over restarts how far the scrub has come. Without it a node that is restarted daily would verify its first segments again and
// again and its last ones never. Kept in the rebuildable store (`level`): if it is gone, old or of another data directory, the scrub begins
// at the beginning, or does a part twice. Made by the composition root; nothing waits for it.
import type { Env, Kv, Timer } from '../../src/kit/env.ts';
import type { PeerId } from '../core/types.ts';
import { decodeValid, encodeValid } from '../store/value-codec.ts';
import type { ScrubPosition } from '../wal/scrub.ts';
import type { Wal } from '../wal/types.ts';

const DIR = 'kv';
const KEY = 'scrub/position';
const SAVE_EVERY_MS = 60_000;
/** The scrub is the node's, not a group's. */
const NO_GROUP = 0;
const BODY_BYTES = 16;

export class ScrubMemory {
  private readonly env: Env;
  private readonly wal: Wal;
  private readonly self: PeerId;
  private kv: Kv | undefined;
  private timer: Timer | undefined;
  private saved: ScrubPosition = { segment: 0, group: 0, index: 0 };
  private closed = false;
  private opening = false;
  /** Of a close that came while the store was being opened. */
  private whenClosed: () => void = () => {};

  constructor(env: Env, wal: Wal, self: PeerId) {
    this.env = env;
    this.wal = wal;
    this.self = self;
  }

  open(): void {
    this.opening = true;
    this.env.openKv(DIR, (error, kv) => {
      this.opening = false;
      if (kv === null) this.env.log.warn('the rebuildable store is not used', { reason: error?.message });
      if (!this.closed) {
        if (kv !== null) this.recall(kv);
      } else if (kv === null) this.whenClosed();
      else kv.close(() => this.whenClosed());
    });
  }

  close(done: () => void): void {
    this.closed = true;
    if (this.timer !== undefined) this.env.clock.cancel(this.timer);
    if (this.opening) this.whenClosed = done;
    else if (this.kv === undefined) done();
    else this.kv.close(() => done());
  }

  private recall(kv: Kv): void {
    this.kv = kv;
    kv.get(KEY, (error, value) => {
      if (error !== null) this.env.log.warn('the rebuildable store cannot be read', { reason: error.message });
      const found = value === undefined ? undefined : decodeValid(value, NO_GROUP, this.self);
      if (found !== undefined && found.body.length === BODY_BYTES) {
        const view = new DataView(found.body.buffer, found.body.byteOffset, found.body.length);
        const position = { segment: found.index, group: view.getFloat64(0, true), index: view.getFloat64(8, true) };
        this.wal.resumeScrub(position);
        this.saved = position;
      }
      this.arm();
    });
  }

  private arm(): void {
    if (!this.closed) this.timer = this.env.clock.after(SAVE_EVERY_MS, () => this.save());
  }

  private save(): void {
    const { segment, group, index } = this.wal.scrubPosition;
    const same = segment === this.saved.segment && group === this.saved.group && index === this.saved.index;
    if (this.kv === undefined || same) {
      this.arm();
      return;
    }
    const body = new Uint8Array(BODY_BYTES);
    const view = new DataView(body.buffer);
    view.setFloat64(0, group, true);
    view.setFloat64(8, index, true);
    const value = encodeValid({ group: NO_GROUP, incarnation: this.self, index: segment }, body);
    this.kv.batch([{ key: KEY, value }], (error) => {
      if (error === null) this.saved = { segment, group, index };
      else this.env.log.warn('the rebuildable store cannot be written', { reason: error.message });
      this.arm();
    });
  }
}
