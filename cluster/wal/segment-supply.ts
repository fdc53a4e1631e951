// Segments made ahead of use: created and named durably before the active one is full. Used by writer.ts only.
// Invariant: a segment is handed out after its directory entry is durable; ids only rise.
import type { DiskFile } from '../../src/kit/env.ts';
import { crashPoint, mustWork, type WalContext } from './context.ts';

/** The next segment is begun when the active one is so full. */
const BEGIN_AT = 0.25;

interface Spare {
  id: number;
  file: DiskFile | undefined;
  ready: boolean;
}

export class SegmentSupply {
  private readonly context: WalContext;
  private nextId: number;
  private spare: Spare | undefined;
  private taker: ((id: number, file: DiskFile) => void) | undefined;

  constructor(context: WalContext, nextId: number) {
    this.context = context;
    this.nextId = nextId;
  }

  /** Called after each batch. */
  prepare(activeEnd: number): void {
    if (activeEnd >= BEGIN_AT * this.context.options.segmentBytes && this.spare === undefined) this.create();
  }

  take(taker: (id: number, file: DiskFile) => void): void {
    this.taker = taker;
    if (this.spare === undefined) this.create();
    else this.handOut();
  }

  private create(): void {
    const { context } = this;
    const { disk } = context.env;
    const spare: Spare = { id: this.nextId++, file: undefined, ready: false };
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
    taker(spare.id, spare.file as DiskFile);
  }

  close(): void {
    this.spare?.file?.close();
    this.spare = undefined;
  }
}
