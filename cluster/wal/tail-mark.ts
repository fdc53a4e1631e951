// How far the active segment was durable, kept outside of it: two small files of the same content, each with two slots that are written in turn
// when the log rests and at most every MARK_EVERY_MS under load, never synced. They tell a segment whose end was cut off or wiped behind our
// back from one with a torn tail. Invariant: what a slot says was true when it was written, and stays true; the third slot of a file is
// never written again, so that a file without a readable one was damaged, whatever a power cut did to the others.
import type { DiskFile } from '../../src/kit/env.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { mustWork, type WalContext } from './context.ts';
import { crc32c, FORMAT_VERSION } from './record.ts';

const MAGIC = 0x4c494154;
const SLOT_BYTES = 64;
/** Slots lie in sectors of their own. */
const SLOT_AT = [0, 4096] as const;
const FIXED_SLOT_AT = 8192;
const FILE_BYTES = FIXED_SLOT_AT + SLOT_BYTES;
const MARK_EVERY_MS = 100;

export interface TailEvidence {
  segment: number;
  durableEnd: number;
}

function encodeSlot(walId: number, generation: number, segment: number, durableEnd: number): Uint8Array {
  const out = new ByteWriter(SLOT_BYTES)
    .u32(MAGIC)
    .u32(FORMAT_VERSION)
    .u64(walId)
    .u64(generation)
    .u32(segment)
    .u64(durableEnd);
  out.u32(crc32c(out.written()));
  while (out.length < SLOT_BYTES) out.u8(0);
  return out.finish();
}

/** What a file of this content says; empty: its evidence is lost. A power cut leaves any content in a slot, but readable: a file that the disk
 * refuses a part of (undefined) may have lost its newer slot, so its older one tells nothing. */
export function readTailMark(walId: number, bytes: Uint8Array | undefined): TailEvidence[] {
  const found: TailEvidence[] = [];
  for (const at of [...SLOT_AT, FIXED_SLOT_AT]) {
    if (bytes?.length !== FILE_BYTES) break;
    const reader = new ByteReader(bytes, at);
    const known = reader.u32() === MAGIC && reader.u32() === FORMAT_VERSION && reader.u64() === walId;
    if (!known) continue;
    reader.u64();
    const segment = reader.u32();
    const durableEnd = reader.u64();
    const covered = bytes.subarray(at, reader.at);
    if (reader.u32() === crc32c(covered)) found.push({ segment, durableEnd });
  }
  return found;
}

/** Content of a file that tells nothing yet. */
export function freshTailMark(walId: number): Uint8Array {
  const fresh = new Uint8Array(FILE_BYTES);
  fresh.set(encodeSlot(walId, 0, 0, 0), FIXED_SLOT_AT);
  return fresh;
}

export class TailMark {
  private readonly context: WalContext;
  private readonly path: string;
  private file: DiskFile | undefined;
  /** Slots are not compared with those of earlier lives: each is about a segment of its own. */
  private generation = 0;
  private busy = false;
  /** Asked for while busy, for a pause: written right after. */
  private next: TailEvidence | undefined;
  private nextMs = 0;
  private closed = false;

  constructor(context: WalContext, name: string) {
    this.context = context;
    this.path = `${context.dir}/${name}`;
  }

  /** `resting`: no batch follows soon, so do not wait for the interval. */
  write(segment: number, durableEnd: number, resting: boolean): void {
    const { context } = this;
    const nowMs = context.env.clock.nowMs();
    if (this.closed) return;
    if (this.busy && resting) this.next = { segment, durableEnd };
    if (this.busy || (!resting && nowMs < this.nextMs)) return;
    this.nextMs = nowMs + MARK_EVERY_MS;
    this.busy = true;
    this.withFile((file) => {
      const slot = encodeSlot(context.walId, this.generation, segment, durableEnd);
      file.write([slot], SLOT_AT[this.generation % SLOT_AT.length], (error) => {
        mustWork(context, 'writing the tail mark', error);
        this.generation++;
        this.busy = false;
        const { next } = this;
        this.next = undefined;
        if (next !== undefined) this.write(next.segment, next.durableEnd, true);
      });
    });
  }

  private withFile(use: (file: DiskFile) => void): void {
    if (this.file !== undefined) {
      use(this.file);
      return;
    }
    const { path } = this;
    this.context.env.disk.open(path, 'write', (error, file) => {
      mustWork(this.context, `opening ${path}`, error);
      if (this.closed) {
        file?.close();
        return;
      }
      this.file = file as DiskFile;
      use(this.file);
    });
  }

  close(): void {
    this.closed = true;
    this.file?.close();
    this.file = undefined;
  }
}
