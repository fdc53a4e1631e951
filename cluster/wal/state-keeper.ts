// Writes the second copy of the groups' states and the list of segments: two files of the same content, each replaced durably. Asked by the
// writer when a vote or term changed or a segment was added, and by the compactor before it removes a segment; off the steady path.
// Invariant: what is answered for is in both files, so when one is damaged the other one names every group and every segment there is.
import type { DiskCallback } from '../../src/kit/env.ts';
import { encodeStateFile } from './bodies.ts';
import { crashPoint, mustWork, type WalContext } from './context.ts';
import { STATE_FILES } from './options.ts';

export class StateKeeper {
  /** Where the active segment was durable; kept by the writer. */
  durableEnd = 0;
  private readonly context: WalContext;
  private waiting: (() => void)[] = [];
  private idle: (() => void)[] = [];
  private busy = false;

  constructor(context: WalContext) {
    this.context = context;
  }

  /** `done` runs when both files are durable with what was true at this call. */
  save(done: () => void): void {
    this.waiting.push(done);
    if (!this.busy) this.write();
  }

  /** `done` runs when no file is being written. */
  whenIdle(done: () => void): void {
    if (this.busy) this.idle.push(done);
    else done();
  }

  private write(): void {
    const { context } = this;
    this.busy = true;
    const served = this.waiting;
    this.waiting = [];
    const generation = context.generation + 1;
    const bytes = stateFileBytes(context, generation, this.durableEnd);
    let left = STATE_FILES.length;
    context.stats.stateFilesWritten += left;
    context.stats.stateFileBytes += left * bytes.length;
    const written: DiskCallback = (error) => {
      mustWork(context, 'replacing a state file', error);
      crashPoint(context, 'wal.state.replaced');
      if (--left > 0) return;
      context.generation = generation;
      for (const done of served) done();
      this.busy = false;
      if (this.waiting.length > 0) {
        this.write();
        return;
      }
      const { idle } = this;
      this.idle = [];
      for (const done of idle) done();
    };
    for (const name of STATE_FILES) context.env.disk.replace(`${context.dir}/${name}`, bytes, written);
  }
}

export function stateFileBytes(context: WalContext, generation: number, durableEnd: number): Uint8Array {
  return encodeStateFile({
    walId: context.walId,
    generation,
    groupsUnsure: context.groupsUnsure,
    segments: context.segments.ids(),
    durableEnd,
    position: context.position,
    groups: [...context.groups.values()].map((group) => group.state()),
  });
}
