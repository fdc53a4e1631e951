// Publishers that wait for their answer, in the order in which the leader decided (DESIGN §4). Pure; owned by partition.ts.
// Invariant: an answer leaves only when every message decided before it is applied, so none rests on an uncommitted fact;
// at step-down all of them get an unknown outcome. Plain arrays as a ring: no object per message.
import type { ApiError } from './errors.ts';
import { Fifo } from './fifo.ts';
import type { AckSink } from './types.ts';

const STORED = 0;
const DUPLICATE = 1;
const REFUSED = 2;
const SLOTS_FIRST = 64;

export class PubAckQueue {
  #mask = SLOTS_FIRST - 1;
  #head = 0;
  #size = 0;
  #kinds = new Uint8Array(SLOTS_FIRST);
  #seqs = new Float64Array(SLOTS_FIRST);
  #tokens = new Float64Array(SLOTS_FIRST);
  #sinks: (AckSink | undefined)[] = new Array<AckSink | undefined>(SLOTS_FIRST).fill(undefined);
  /** Errors of refused entries, in the same order. */
  readonly #errors = new Fifo<ApiError>();

  /** The highest local seq that was acknowledged; 0 before the first. */
  ackedSeq = 0;

  get size(): number {
    return this.#size;
  }

  #push(kind: number, sink: AckSink, token: number, seq: number): void {
    if (this.#size > this.#mask) this.#grow();
    const slot = (this.#head + this.#size) & this.#mask;
    this.#kinds[slot] = kind;
    this.#seqs[slot] = seq;
    this.#tokens[slot] = token;
    this.#sinks[slot] = sink;
    this.#size++;
  }

  #grow(): void {
    const slots = (this.#mask + 1) * 2;
    const kinds = new Uint8Array(slots);
    const seqs = new Float64Array(slots);
    const tokens = new Float64Array(slots);
    const sinks = new Array<AckSink | undefined>(slots).fill(undefined);
    for (let i = 0; i < this.#size; i++) {
      const from = (this.#head + i) & this.#mask;
      kinds[i] = this.#kinds[from];
      seqs[i] = this.#seqs[from];
      tokens[i] = this.#tokens[from];
      sinks[i] = this.#sinks[from];
    }
    this.#kinds = kinds;
    this.#seqs = seqs;
    this.#tokens = tokens;
    this.#sinks = sinks;
    this.#head = 0;
    this.#mask = slots - 1;
  }

  /** The message proposed as `seq`. Seqs ascend. */
  stored(sink: AckSink, token: number, seq: number): void {
    this.#push(STORED, sink, token, seq);
  }

  /** Same id as the message `seq`, which is in flight. */
  duplicate(sink: AckSink, token: number, seq: number): void {
    this.#push(DUPLICATE, sink, token, seq);
  }

  refused(sink: AckSink, token: number, error: ApiError): void {
    this.#push(REFUSED, sink, token, 0);
    this.#errors.push(error);
  }

  /** Everything up to local seq `applied` is applied, with all that it removes. `toStream(local)` is what publishers see: local * stride + partition. */
  release(
    applied: number,
    stride: number,
    partition: number,
    refuse: (sink: AckSink, token: number, error: ApiError) => void,
  ): void {
    while (this.#size > 0) {
      const slot = this.#head;
      const kind = this.#kinds[slot];
      const seq = this.#seqs[slot];
      if (seq > applied) return;
      const token = this.#tokens[slot];
      const sink = this.#take();
      if (kind === REFUSED) refuse(sink, token, this.#errors.shift() as ApiError);
      else {
        this.ackedSeq = Math.max(this.ackedSeq, seq);
        sink.stored(token, seq * stride + partition, kind === DUPLICATE);
      }
    }
  }

  #take(): AckSink {
    const slot = this.#head;
    const sink = this.#sinks[slot] as AckSink;
    this.#sinks[slot] = undefined;
    this.#head = (slot + 1) & this.#mask;
    this.#size--;
    return sink;
  }

  /** The outcome of all that wait is unknown. */
  fail(error: ApiError): void {
    this.#errors.drain();
    while (this.#size > 0) {
      const token = this.#tokens[this.#head];
      this.#take().refused(token, error);
    }
  }
}
