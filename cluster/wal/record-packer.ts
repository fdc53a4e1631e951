// Lays records one after the other for one gathered write. Headers, padding and small bodies share slabs; large bodies are passed on as they
// are, never copied. Used by writer.ts, once a batch, and by recovery for the segment it creates.
// Invariant: the buffers, one after the other, are the bytes of the segment from `start` to `end`.
import { encodeHeader, HEADER_BYTES, type RecordHeader, recordBytes } from './record.ts';

/** The first slab holds a batch of a few records; fresh memory for each batch is what the collector is kept busy with. */
const SLAB_BYTES_MIN = 2_048;
const SLAB_BYTES_MAX = 65_536;
/** An iovec entry costs more than copying this much. */
const COPY_BYTES_MAX = 512;

export class RecordPacker {
  readonly buffers: Uint8Array[] = [];
  readonly segment: number;
  /** File position of the next record. */
  end: number;
  private slab = new Uint8Array(SLAB_BYTES_MIN);
  private from = 0;
  private at = 0;

  constructor(segment: number, start: number) {
    this.segment = segment;
    this.end = start;
  }

  /** Sets segment, offset and body length in `h`. */
  put(h: RecordHeader, body: Uint8Array): void {
    h.segment = this.segment;
    h.offset = this.end;
    h.bodyLength = body.length;
    const size = recordBytes(body.length);
    const copied = body.length <= COPY_BYTES_MAX;
    this.room(HEADER_BYTES + COPY_BYTES_MAX + 8);
    encodeHeader(this.slab, this.at, h);
    this.at += HEADER_BYTES;
    if (copied) {
      this.slab.set(body, this.at);
      this.at += size - HEADER_BYTES;
    } else {
      this.cut();
      this.buffers.push(body);
      this.at += size - HEADER_BYTES - body.length;
    }
    this.end += size;
  }

  finish(): Uint8Array[] {
    this.cut();
    return this.buffers;
  }

  private cut(): void {
    if (this.at > this.from) this.buffers.push(this.slab.subarray(this.from, this.at));
    this.from = this.at;
  }

  private room(bytes: number): void {
    if (this.at + bytes <= this.slab.length) return;
    this.cut();
    this.slab = new Uint8Array(Math.min(SLAB_BYTES_MAX, this.slab.length * 4));
    this.from = 0;
    this.at = 0;
  }
}
