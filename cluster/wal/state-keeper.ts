// Writes the second copy of the groups' states and the list of segments: two files of the same content, state-file.ts. What a vote or term changed
// is appended to both and synced, many groups at once, beside the batch of the log that says the same; the list of segments, and what has
// grown too long, replaces both. Asked by the writer and by the compactor. Invariants: what is answered for is in both files, so when one is
// damaged the other one names every group and every segment there is; one write at a time, so they are never more than one apart.
import type { DiskFile } from '../../src/kit/env.ts';
import type { GroupId } from '../core/types.ts';
import { crashPoint, mustWork, type WalContext } from './context.ts';
import type { GroupLog } from './group-log.ts';
import { STATE_FILES } from './options.ts';
import { encodeStateChange, encodeStateFile } from './state-file.ts';

/** Changes behind an image are at most so long, or twice the image if that is more. */
const CHANGES_BYTES_MAX = 256 * 1024;

export class StateKeeper {
  /** Where the active segment was durable; kept by the writer. */
  durableEnd = 0;
  private readonly context: WalContext;
  private waiting: (() => void)[] = [];
  private idle: (() => void)[] = [];
  private busy = false;
  /** What the next write must tell. */
  private changed = new Set<GroupLog>();
  private removed: GroupId[] = [];
  private wantsImage = false;
  /** Of both files. */
  private imageBytes = 0;
  private end = 0;
  private readonly files: (DiskFile | undefined)[] = STATE_FILES.map(() => undefined);

  constructor(context: WalContext) {
    this.context = context;
  }

  /** Both files were replaced by an image of that size. */
  began(imageBytes: number): void {
    this.imageBytes = imageBytes;
    this.end = imageBytes;
  }

  /** `done` runs when both files are durable with all that was true at this call. */
  replace(done: () => void): void {
    this.wantsImage = true;
    this.enqueue(done);
  }

  /** `done` runs when both files are durable with what was true of these groups at this call. */
  append(changed: readonly GroupLog[], removed: readonly GroupId[], done: () => void): void {
    for (const group of changed) this.changed.add(group);
    this.removed.push(...removed);
    this.enqueue(done);
  }

  /** `done` runs when no file is being written any more. */
  close(done: () => void): void {
    const end = (): void => {
      this.closeFiles();
      done();
    };
    if (this.busy) this.idle.push(end);
    else end();
  }

  private enqueue(done: () => void): void {
    this.waiting.push(done);
    if (!this.busy) this.write();
  }

  private write(): void {
    const { context } = this;
    this.busy = true;
    const served = this.waiting;
    this.waiting = [];
    const generation = context.generation + 1;
    const change = this.wantsImage ? undefined : this.takeChange(generation);
    const roomBytes = Math.max(CHANGES_BYTES_MAX, 2 * this.imageBytes) - (this.end - this.imageBytes);
    let left = STATE_FILES.length;
    const written = (): void => {
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
    if (change === undefined || change.length > roomBytes) this.writeImages(generation, written);
    else this.writeChange(change, written);
  }

  private takeChange(generation: number): Uint8Array {
    const { context, durableEnd, removed } = this;
    const groups = [...this.changed].filter((group) => !group.deleted).map((group) => group.state());
    this.changed = new Set();
    this.removed = [];
    return encodeStateChange({ generation, durableEnd, position: context.position, removed, groups });
  }

  private writeImages(generation: number, written: () => void): void {
    const { context } = this;
    this.wantsImage = false;
    this.changed = new Set();
    this.removed = [];
    this.closeFiles();
    const bytes = stateFileBytes(context, generation, this.durableEnd);
    this.began(bytes.length);
    context.stats.stateFilesReplaced += STATE_FILES.length;
    context.stats.stateFileBytes += STATE_FILES.length * bytes.length;
    for (const name of STATE_FILES) {
      context.env.disk.replace(`${context.dir}/${name}`, bytes, (error) => {
        mustWork(context, 'replacing a state file', error);
        crashPoint(context, 'wal.state.replaced');
        written();
      });
    }
  }

  private writeChange(change: Uint8Array, written: () => void): void {
    const { context } = this;
    const at = this.end;
    this.end += change.length;
    context.stats.stateChanges++;
    context.stats.stateFileBytes += STATE_FILES.length * change.length;
    for (let i = 0; i < STATE_FILES.length; i++) {
      this.withFile(i, (file) =>
        file.write([change], at, (writeError) => {
          mustWork(context, 'writing to a state file', writeError);
          crashPoint(context, 'wal.state.written');
          file.sync((syncError) => {
            mustWork(context, 'syncing a state file', syncError);
            crashPoint(context, 'wal.state.appended');
            written();
          });
        }),
      );
    }
  }

  private withFile(i: number, use: (file: DiskFile) => void): void {
    const known = this.files[i];
    if (known !== undefined) {
      use(known);
      return;
    }
    const path = `${this.context.dir}/${STATE_FILES[i]}`;
    this.context.env.disk.open(path, 'write', (error, opened) => {
      mustWork(this.context, `opening ${path}`, error);
      const file = opened as DiskFile;
      this.files[i] = file;
      use(file);
    });
  }

  private closeFiles(): void {
    for (const [i, file] of this.files.entries()) {
      file?.close();
      this.files[i] = undefined;
    }
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
