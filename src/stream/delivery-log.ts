// On the leader: what one consumer has to tell the partition's log, gathered per turn: deliveries (lazily), acks, given-up
// messages, reservations of consumer seqs. Double acks are answered from here, after apply. Used by delivery-consumer.ts.
// Invariants: a delivered command always precedes the acks of what it tells, and follows the acks of what it passes over (else a
// work queue would keep an acknowledged message); consumer seqs are handed out only below a
// reservation that was applied in this leader's time; `onAnswer` of a barrier runs after everything proposed before it.
import { ConsumerCommand, DeliveredBatch, encodeIdNumber, encodeSeqs } from './consumer-codec.ts';
import type { ConsumerRecord } from './consumer-record.ts';
import { type ApiError, apiError } from './errors.ts';

/** Deliveries that the log does not know of may be so old, and so many. */
const UNLOGGED_MS_MAX = 250;
const UNLOGGED_MAX = 4096;
const RESERVE_MIN = 1024;
const RESERVE_MAX = 1 << 20;

export interface LogOutlet {
  propose(type: number, body: Uint8Array, done: ((result: ApiError | undefined) => void) | undefined): void;
  /** Answers a double ack. */
  confirm(inbox: string): void;
  /** More consumer seqs may be handed out. */
  onReserved(): void;
}

interface Barrier {
  after: number;
  onAnswer: (error: ApiError | undefined) => void;
}

export class DeliveryLog {
  readonly #record: ConsumerRecord;
  readonly #outlet: LogOutlet;
  readonly #delivered = new DeliveredBatch();
  #acks: number[] = [];
  #ackAllTo = 0;
  /** Of messages that a former leader delivered: beyond every delivery that the log knows. */
  #earlyAcks: number[] = [];
  #earlyAckAllTo = 0;
  #drops: number[] = [];
  #confirmations: string[] = [];
  #proposed = 0;
  #completed = 0;
  #barriers: Barrier[] = [];
  /** Leadership went before something was applied: nothing is confirmed any more. */
  #lost = false;
  #reservedTo: number;
  #reserving = false;
  #handedOut = 0;
  #firstsOnTheirWay = 0;
  /** When the deliveries must be logged; Infinity while there are none. */
  nextDueMs = Number.POSITIVE_INFINITY;

  constructor(record: ConsumerRecord, outlet: LogOutlet) {
    this.#record = record;
    this.#outlet = outlet;
    this.#reservedTo = record.reservedConsumerSeq;
  }

  /** First deliveries that the log does not know of yet (proposed or not). */
  get unloggedFirsts(): number {
    return this.#delivered.firsts + this.#firstsOnTheirWay;
  }

  get mustFlush(): boolean {
    return (
      this.#acks.length > 0 || this.#ackAllTo > 0 || this.#drops.length > 0 || this.#delivered.size >= UNLOGGED_MAX
    );
  }

  /** May consumer seq `next` be handed out? Asks for more in time; `onReserved` follows a no. */
  reserve(next: number): boolean {
    const left = this.#reservedTo - next + 1;
    const block = Math.min(RESERVE_MAX, Math.max(RESERVE_MIN, this.#handedOut));
    if (left < block / 2 && !this.#reserving) {
      const upTo = next - 1 + Math.max(0, left) + block;
      this.#reserving = true;
      this.#propose(ConsumerCommand.reserve, encodeIdNumber(this.#record.id, upTo), (result) => {
        this.#reserving = false;
        if (result !== undefined) return;
        this.#reservedTo = upTo;
        this.#outlet.onReserved();
      });
    }
    return left > 0;
  }

  first(seq: number, consumerSeq: number, tracked: boolean, nowMs: number): void {
    this.#handedOut++;
    this.#delivered.first(seq, consumerSeq, tracked);
    if (this.nextDueMs === Number.POSITIVE_INFINITY) this.nextDueMs = nowMs + UNLOGGED_MS_MAX;
  }

  again(seq: number, consumerSeq: number, deliveries: number, nowMs: number): void {
    this.#handedOut++;
    this.#delivered.again(seq, consumerSeq, deliveries);
    if (this.nextDueMs === Number.POSITIVE_INFINITY) this.nextDueMs = nowMs + UNLOGGED_MS_MAX;
  }

  ack(seq: number, confirmTo: string): void {
    this.#acks.push(seq);
    if (confirmTo !== '') this.#confirmations.push(confirmTo);
  }

  ackAll(seq: number, confirmTo: string): void {
    if (seq > this.#ackAllTo) this.#ackAllTo = seq;
    if (confirmTo !== '') this.#confirmations.push(confirmTo);
  }

  /** As ack, for a message not delivered under this leader. */
  earlyAck(seq: number, confirmTo: string): void {
    this.#earlyAcks.push(seq);
    if (confirmTo !== '') this.#confirmations.push(confirmTo);
  }

  earlyAckAll(seq: number, confirmTo: string): void {
    if (seq > this.#earlyAckAllTo) this.#earlyAckAllTo = seq;
    if (confirmTo !== '') this.#confirmations.push(confirmTo);
  }

  drop(seq: number): void {
    this.#drops.push(seq);
  }

  /** Proposes all that there is to tell. */
  flush(): void {
    const { id } = this.#record;
    this.nextDueMs = Number.POSITIVE_INFINITY;
    if (this.#earlyAcks.length > 0) {
      this.#propose(ConsumerCommand.acks, encodeSeqs(id, ascending(this.#earlyAcks)), undefined);
      this.#earlyAcks = [];
    }
    if (this.#earlyAckAllTo > 0) {
      this.#propose(ConsumerCommand.ackAll, encodeIdNumber(id, this.#earlyAckAllTo), undefined);
      this.#earlyAckAllTo = 0;
    }
    if (!this.#delivered.isEmpty) {
      const { firsts } = this.#delivered;
      this.#firstsOnTheirWay += firsts;
      this.#propose(ConsumerCommand.delivered, this.#delivered.take(id), () => {
        this.#firstsOnTheirWay -= firsts;
      });
    }
    if (this.#drops.length > 0) {
      this.#propose(ConsumerCommand.drop, encodeSeqs(id, ascending(this.#drops)), undefined);
      this.#drops = [];
    }
    if (this.#acks.length > 0) {
      this.#propose(ConsumerCommand.acks, encodeSeqs(id, ascending(this.#acks)), undefined);
      this.#acks = [];
    }
    if (this.#ackAllTo > 0) {
      this.#propose(ConsumerCommand.ackAll, encodeIdNumber(id, this.#ackAllTo), undefined);
      this.#ackAllTo = 0;
    }
    if (this.#confirmations.length === 0) return;
    const inboxes = this.#confirmations;
    this.#confirmations = [];
    this.#behind((error) => {
      if (error === undefined) for (const inbox of inboxes) this.#outlet.confirm(inbox);
    });
  }

  /** Runs when all that happened before the call is applied; 10008 when leadership goes first. */
  barrier(onAnswer: (error: ApiError | undefined) => void): void {
    this.flush();
    this.#behind(onAnswer);
  }

  #behind(onAnswer: (error: ApiError | undefined) => void): void {
    if (this.#lost) onAnswer(apiError(10008));
    else if (this.#completed === this.#proposed) onAnswer(undefined);
    else this.#barriers.push({ after: this.#proposed, onAnswer });
  }

  /** Leadership is gone: what was proposed and not applied may have happened or not. */
  abandon(): void {
    this.#lost = true;
    const barriers = this.#barriers;
    this.#barriers = [];
    for (const barrier of barriers) barrier.onAnswer(apiError(10008));
  }

  /** Commands of one leader are applied in the order in which they were proposed. */
  #propose(type: number, body: Uint8Array, done: ((result: ApiError | undefined) => void) | undefined): void {
    this.#proposed++;
    this.#outlet.propose(type, body, (result) => {
      this.#completed++;
      if (result?.err_code === 10008) this.#lost = true;
      done?.(result);
      while (this.#barriers.length > 0 && this.#barriers[0].after <= this.#completed) {
        const { onAnswer } = this.#barriers.shift()!;
        onAnswer(this.#lost ? apiError(10008) : result);
      }
    });
  }
}

/** Sorted, each once. */
function ascending(seqs: number[]): number[] {
  seqs.sort((a, b) => a - b);
  return seqs.filter((seq, i) => i === 0 || seq !== seqs[i - 1]);
}
