// Writes the second copy of the groups' states and the list of segments: two files in turn, each replaced durably. Asked by the writer
// when a vote or term changed or a segment was added, and by the compactor before it removes a segment; off the steady path.
// Invariant: the newest readable file names every segment that recovery needs.
import type { DiskCallback } from '../../src/kit/env.ts';
import { encodeStateFile } from './bodies.ts';
import { crashPoint, mustWork, type WalContext } from './context.ts';
import { STATE_FILES } from './options.ts';

export class StateKeeper {
  /** Where the active segment was durable; kept by the writer. */
  durableEnd = 0;
  private readonly context: WalContext;
  private generation: number;
  private waiting: (() => void)[] = [];
  private busy = false;

  constructor(context: WalContext, generation: number) {
    this.context = context;
    this.generation = generation;
  }

  /** `done` runs when a file is durable that was made after this call. */
  save(done: () => void): void {
    this.waiting.push(done);
    if (!this.busy) this.write();
  }

  private write(): void {
    const { context } = this;
    this.busy = true;
    const served = this.waiting;
    this.waiting = [];
    this.generation++;
    const path = `${context.dir}/${STATE_FILES[this.generation % 2]}`;
    const written: DiskCallback = (error) => {
      mustWork(context, `replacing ${path}`, error);
      crashPoint(context, 'wal.state.replaced');
      for (const done of served) done();
      this.busy = false;
      if (this.waiting.length > 0) this.write();
    };
    context.env.disk.replace(path, stateFileBytes(context, this.generation, this.durableEnd), written);
  }
}

export function stateFileBytes(context: WalContext, generation: number, durableEnd: number): Uint8Array {
  return encodeStateFile({
    walId: context.walId,
    generation,
    segments: context.segments.ids(),
    durableEnd,
    position: context.position,
    groups: [...context.groups.values()].map((group) => group.state()),
  });
}
