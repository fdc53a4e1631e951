// The dedupe table: Nats-Msg-Id -> (seq, stamp), off the JS heap. Pure; one is part of the machine (ids leave by window, through the
// log), another of the leader's tentative state (ids leave when their entry is applied).
// Invariant: rows are linked in the order in which they were set last, so seqs and stamps ascend along the links.

import { KeyTable } from './key-table.ts';
import type { SnapshotReader, SnapshotWriter, Steps } from './snapshot-codec.ts';

const SEQ_LOW = 0;
const SEQ_HIGH = 1;
const STAMP_LOW = 2;
const STAMP_HIGH = 3;
const NEXT = 4;
const PREVIOUS = 5;
const WORDS = 6;
const HIGH = 4294967296;

export class RecentIds {
  #oldest = 0;
  /** 0: there is none, which is known without a look at the table. */
  #newest = 0;
  readonly #keys: KeyTable;

  constructor(seed: number) {
    this.#keys = new KeyTable(WORDS, seed);
  }

  get size(): number {
    return this.#newest === 0 ? 0 : this.#keys.size;
  }

  /** 0 when the id is not known. */
  seqOf(bytes: Uint8Array, from: number, to: number): number {
    const row = this.#keys.find(bytes, from, to);
    return row === 0 ? 0 : this.#number(row, SEQ_LOW);
  }

  /** Stamp of the id that seqOf would find; 0 when not known. */
  stampOf(bytes: Uint8Array, from: number, to: number): number {
    const row = this.#keys.find(bytes, from, to);
    return row === 0 ? 0 : this.#number(row, STAMP_LOW);
  }

  #number(row: number, word: number): number {
    const at = this.#keys.row(row);
    const words = this.#keys.words;
    return words[at + word] + words[at + word + 1] * HIGH;
  }

  set(bytes: Uint8Array, from: number, to: number, seq: number, stampUs: number): void {
    const row = this.#keys.findOrInsert(bytes, from, to);
    if (!this.#keys.inserted) this.#unlink(row);
    const at = this.#keys.writableRow(row);
    const words = this.#keys.words;
    words[at + SEQ_LOW] = seq;
    words[at + SEQ_HIGH] = seq / HIGH;
    words[at + STAMP_LOW] = stampUs;
    words[at + STAMP_HIGH] = stampUs / HIGH;
    words[at + NEXT] = 0;
    words[at + PREVIOUS] = this.#newest;
    if (this.#newest === 0) this.#oldest = row;
    else this.#setLink(this.#newest, NEXT, row);
    this.#newest = row;
  }

  #setLink(row: number, link: number, to: number): void {
    const at = this.#keys.writableRow(row);
    this.#keys.words[at + link] = to;
  }

  #unlink(row: number): void {
    const at = this.#keys.row(row);
    const next = this.#keys.words[at + NEXT];
    const previous = this.#keys.words[at + PREVIOUS];
    if (previous === 0) this.#oldest = next;
    else this.#setLink(previous, NEXT, next);
    if (next === 0) this.#newest = previous;
    else this.#setLink(next, PREVIOUS, previous);
  }

  #drop(row: number): void {
    this.#unlink(row);
    this.#keys.remove(row);
  }

  /** Stamp of the oldest id; 0 when there is none. */
  get oldestStampUs(): number {
    return this.#oldest === 0 ? 0 : this.#number(this.#oldest, STAMP_LOW);
  }

  /** Drops at most `max` ids with stamp <= cutoffUs, oldest first; returns how many. */
  dropUntilStamp(cutoffUs: number, max: number): number {
    let dropped = 0;
    while (dropped < max && this.#oldest !== 0 && this.#number(this.#oldest, STAMP_LOW) <= cutoffUs) {
      this.#drop(this.#oldest);
      dropped++;
    }
    return dropped;
  }

  /** Drops ids with seq <= last, oldest first. */
  dropUntilSeq(last: number): void {
    while (this.#oldest !== 0 && this.#number(this.#oldest, SEQ_LOW) <= last) this.#drop(this.#oldest);
  }

  clear(): void {
    this.#keys.clear();
    this.#oldest = 0;
    this.#newest = 0;
  }

  write(out: SnapshotWriter): void {
    out.u32(this.#oldest);
    out.u32(this.#newest);
    this.#keys.write(out);
  }

  *read(from: SnapshotReader): Steps<void> {
    this.#oldest = from.u32();
    this.#newest = from.u32();
    yield* this.#keys.read(from);
  }
}
