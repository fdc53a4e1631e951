// Publishers that wait for their answer, in the order in which the leader decided (DESIGN §4). Pure; owned by partition.ts.
// Invariant: an answer leaves only when every message decided before it is applied, so none rests on an uncommitted fact;
// at step-down all of them get an unknown outcome. Plain arrays as a ring: no object per message.
import type { ApiError } from './errors.ts';
import { Fifo } from './fifo.ts';
import type { AckSink } from './types.ts';

const STORED = 0;
const DUPLICATE = 1;
const REFUSED = 2;
// Numbers of one slot.
const SLOT_NUMBERS = 3;
const SEQ = 0;
const TOKEN = 1;
const KIND = 2;
const SLOTS_FIRST = 4;
const NO_NUMBERS = new Float64Array(0);

export class PubAckQueue {
  /** Slots - 1. There are none before the first publish: most of a node's many replicas never lead. */
  #mask = -1;
  #head = 0;
  #size = 0;
  /** Seq, token and kind side by side: with a thousand queues each array more is a walk through cold memory more. */
  #numbers: Float64Array = NO_NUMBERS;
  #sinks: (AckSink | undefined)[] = [];
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
    const numbers = this.#numbers;
    const at = slot * SLOT_NUMBERS;
    numbers[at + SEQ] = seq;
    numbers[at + TOKEN] = token;
    numbers[at + KIND] = kind;
    this.#sinks[slot] = sink;
    this.#size++;
  }

  #grow(): void {
    const slots = Math.max(SLOTS_FIRST, (this.#mask + 1) * 2);
    const numbers = new Float64Array(slots * SLOT_NUMBERS);
    const sinks = new Array<AckSink | undefined>(slots).fill(undefined);
    for (let i = 0; i < this.#size; i++) {
      const from = (this.#head + i) & this.#mask;
      for (let n = 0; n < SLOT_NUMBERS; n++) numbers[i * SLOT_NUMBERS + n] = this.#numbers[from * SLOT_NUMBERS + n];
      sinks[i] = this.#sinks[from];
    }
    this.#numbers = numbers;
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
      const at = this.#head * SLOT_NUMBERS;
      const seq = this.#numbers[at + SEQ];
      if (seq > applied) return;
      const token = this.#numbers[at + TOKEN];
      const kind = this.#numbers[at + KIND];
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
      const token = this.#numbers[this.#head * SLOT_NUMBERS + TOKEN];
      this.#take().refused(token, error);
    }
  }
}
