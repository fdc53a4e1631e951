// Segments made ahead of use: created, named durably, and (if asked) filled with zeros step by step while the active one fills up, so that
// writing into them later changes no file size. Used by writer.ts only.
// Invariant: a segment is handed out after its directory entry is durable; ids only rise.
import type { DiskFile } from '../../src/kit/env.ts';
import { crashPoint, mustWork, type WalContext } from './context.ts';

const ZERO_STEP_BYTES = 1024 * 1024;
/** The next segment is begun when the active one is so full, and filled with zeros by the time it is ZEROED_AT full. */
const BEGIN_AT = 0.25;
const ZEROED_AT = 0.75;

interface Spare {
  id: number;
  file: DiskFile | undefined;
  ready: boolean;
  zeroed: number;
  zeroing: boolean;
}

export class SegmentSupply {
  private readonly context: WalContext;
  private nextId: number;
  private spare: Spare | undefined;
  private taker: ((id: number, file: DiskFile, bytes: number) => void) | undefined;
  private readonly zeros: Uint8Array;

  constructor(context: WalContext, nextId: number) {
    this.context = context;
    this.nextId = nextId;
    this.zeros = new Uint8Array(Math.min(ZERO_STEP_BYTES, context.options.segmentBytes));
  }

  /** Called after each batch. */
  prepare(activeEnd: number): void {
    const { segmentBytes, preallocate } = this.context.options;
    const used = activeEnd / segmentBytes;
    if (used < BEGIN_AT) return;
    if (this.spare === undefined) this.create();
    const wanted = Math.min(1, (used - BEGIN_AT) / (ZEROED_AT - BEGIN_AT)) * segmentBytes;
    if (preallocate) this.zero(wanted);
  }

  take(taker: (id: number, file: DiskFile, bytes: number) => void): void {
    this.taker = taker;
    if (this.spare === undefined) this.create();
    else this.handOut();
  }

  private create(): void {
    const { context } = this;
    const { disk } = context.env;
    const spare: Spare = { id: this.nextId++, file: undefined, ready: false, zeroed: 0, zeroing: false };
    this.spare = spare;
    const path = context.segments.path(spare.id);
    disk.open(path, 'create', (openError, file) => {
      mustWork(context, `creating ${path}`, openError);
      spare.file = file as DiskFile;
      crashPoint(context, 'wal.segment.created');
      disk.syncDir(context.dir, (syncError) => {
        mustWork(context, `syncing ${context.dir}`, syncError);
        crashPoint(context, 'wal.segment.dir-synced');
        context.segments.settle();
        spare.ready = true;
        this.handOut();
      });
    });
  }

  private handOut(): void {
    const { spare, taker } = this;
    if (spare === undefined || taker === undefined || !spare.ready) return;
    this.spare = undefined;
    this.taker = undefined;
    taker(spare.id, spare.file as DiskFile, spare.zeroed);
  }

  private zero(wanted: number): void {
    const { context, spare } = this;
    if (spare === undefined || !spare.ready || spare.zeroing) return;
    if (spare.zeroed >= wanted || spare.zeroed + this.zeros.length > context.options.segmentBytes) return;
    const file = spare.file as DiskFile;
    spare.zeroing = true;
    file.write([this.zeros], spare.zeroed, (writeError) => {
      mustWork(context, 'preallocating', writeError);
      // Handed out or closed meanwhile.
      if (this.spare !== spare) return;
      file.sync((syncError) => {
        mustWork(context, 'syncing a preallocated segment', syncError);
        spare.zeroed += this.zeros.length;
        spare.zeroing = false;
      });
    });
  }

  close(): void {
    this.spare?.file?.close();
    this.spare = undefined;
  }
}
