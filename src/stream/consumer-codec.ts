// Bytes of the consumer commands in a partition's log (types 32..39). Written by the leader's DeliveryEngine, read by
// ConsumerRegistry.apply on every replica. Pure. Commands name a consumer by the id that its create command was given, so that
// nothing meant for a deleted consumer reaches its namesake.

import type { ConsumerConfig } from './config.ts';
import { ByteReader, ByteWriter } from './consumer-bytes.ts';

export const ConsumerCommand = {
  create: 32,
  remove: 33,
  /** Consumer seqs up to a number may be handed out by the present leader. */
  reserve: 34,
  /** First deliveries and repeated ones since the last such command. */
  delivered: 35,
  /** Messages acknowledged one by one, or terminated. */
  acks: 36,
  /** Everything up to a seq is acknowledged. */
  ackAll: 37,
  /** Messages given up after max_deliver: no longer pending, not acknowledged. */
  drop: 38,
  /** The part of a consumer of several partitions in a partition other than the first: made, or given a new configuration. */
  part: 39,
} as const;

export type CreateAction = '' | 'create' | 'update';
const ACTIONS: readonly CreateAction[] = ['', 'create', 'update'];

/** `start`: local seq of the first message, which the deliver policy would otherwise decide; 0: it decides. */
export function encodeCreate(action: CreateAction, config: ConsumerConfig, start = 0): Uint8Array {
  const writer = new ByteWriter(512);
  writer.u8(ACTIONS.indexOf(action));
  writer.text(JSON.stringify(config));
  if (start > 0) writer.number(start);
  return writer.take();
}

export function decodeCreate(body: Uint8Array): { action: CreateAction; config: ConsumerConfig; start: number } {
  const reader = new ByteReader(body);
  const action = ACTIONS[reader.u8()];
  if (action === undefined) throw new Error('unknown action in a consumer create command');
  const config = JSON.parse(reader.text()) as ConsumerConfig;
  return { action, config, start: reader.done ? 0 : reader.number() };
}

/** `homeId`: the consumer's id in the first partition's log. `start` as above. */
export function encodePart(homeId: number, config: ConsumerConfig, start: number): Uint8Array {
  const writer = new ByteWriter(512);
  writer.number(homeId);
  writer.text(JSON.stringify(config));
  writer.number(start);
  return writer.take();
}

export function decodePart(body: Uint8Array): { homeId: number; config: ConsumerConfig; start: number } {
  const reader = new ByteReader(body);
  const homeId = reader.number();
  const config = JSON.parse(reader.text()) as ConsumerConfig;
  return { homeId, config, start: reader.number() };
}

/** `id` 0: whoever has the name now. */
export function encodeRemove(id: number, name: string): Uint8Array {
  const writer = new ByteWriter();
  writer.number(id);
  writer.text(name);
  return writer.take();
}

export function decodeRemove(body: Uint8Array): { id: number; name: string } {
  const reader = new ByteReader(body);
  return { id: reader.number(), name: reader.text() };
}

/** Bodies of reserve and ackAll. */
export function encodeIdNumber(id: number, value: number): Uint8Array {
  const writer = new ByteWriter(16);
  writer.number(id);
  writer.number(value);
  return writer.take();
}

/** Bodies of acks and drop. `seqs` strictly ascend. */
export function encodeSeqs(id: number, seqs: ArrayLike<number>): Uint8Array {
  const writer = new ByteWriter(16 + seqs.length);
  writer.number(id);
  writer.ascending(seqs);
  return writer.take();
}

/** Collects the deliveries of one consumer between two delivered commands; a number or two per message, mostly none. */
export class DeliveredBatch {
  readonly #runs = new ByteWriter(32);
  #runCount = 0;
  #runSeq = 0;
  #runConsumerSeq = 0;
  #runLength = 0;
  #beforeSeq = 0;
  #beforeConsumerSeq = 0;
  #lastSeq = 0;
  #lastConsumerSeq = 0;
  #again: number[] = [];
  /** First deliveries collected. */
  firsts = 0;

  get isEmpty(): boolean {
    return this.#lastConsumerSeq === 0;
  }

  /** Deliveries of which the log does not know yet. */
  get size(): number {
    return this.firsts + this.#again.length / 2;
  }

  /** `tracked`: the message becomes pending; otherwise only the position moves. */
  first(seq: number, consumerSeq: number, tracked: boolean): void {
    this.#lastSeq = seq;
    this.#lastConsumerSeq = consumerSeq;
    this.firsts++;
    if (!tracked) return;
    if (
      this.#runLength > 0 &&
      seq === this.#runSeq + this.#runLength &&
      consumerSeq === this.#runConsumerSeq + this.#runLength
    ) {
      this.#runLength++;
      return;
    }
    this.#closeRun();
    this.#runSeq = seq;
    this.#runConsumerSeq = consumerSeq;
    this.#runLength = 1;
  }

  again(seq: number, consumerSeq: number, deliveries: number): void {
    this.#lastConsumerSeq = consumerSeq;
    this.#again.push(seq, deliveries);
  }

  /** Body of a delivered command; the batch is empty afterwards. */
  take(id: number): Uint8Array {
    this.#closeRun();
    const writer = new ByteWriter(32 + this.#runs.length + this.#again.length * 4);
    writer.number(id);
    writer.number(this.#lastSeq);
    writer.number(this.#lastConsumerSeq);
    writer.number(this.#runCount);
    writer.raw(this.#runs.take());
    writer.number(this.#again.length / 2);
    for (const value of this.#again) writer.number(value);
    this.#runs.reset();
    this.#runCount = 0;
    this.#beforeSeq = 0;
    this.#beforeConsumerSeq = 0;
    this.#lastSeq = 0;
    this.#lastConsumerSeq = 0;
    this.#again = [];
    this.firsts = 0;
    return writer.take();
  }

  #closeRun(): void {
    if (this.#runLength === 0) return;
    this.#runs.number(this.#runSeq - this.#beforeSeq);
    this.#runs.number(this.#runConsumerSeq - this.#beforeConsumerSeq);
    this.#runs.number(this.#runLength);
    this.#beforeSeq = this.#runSeq + this.#runLength - 1;
    this.#beforeConsumerSeq = this.#runConsumerSeq + this.#runLength - 1;
    this.#runCount++;
    this.#runLength = 0;
  }
}

/** What follows the consumer id in a delivered command: runs of first deliveries, then repeated ones. */
export function readDelivered(
  reader: ByteReader,
  onRun: (seq: number, consumerSeq: number, length: number) => void,
  onAgain: (seq: number, deliveries: number) => void,
): { lastSeq: number; lastConsumerSeq: number } {
  const lastSeq = reader.number();
  const lastConsumerSeq = reader.number();
  let seq = 0;
  let consumerSeq = 0;
  for (let runs = reader.number(); runs > 0; runs--) {
    seq += reader.number();
    consumerSeq += reader.number();
    const length = reader.number();
    onRun(seq, consumerSeq, length);
    seq += length - 1;
    consumerSeq += length - 1;
  }
  for (let again = reader.number(); again > 0; again--) onAgain(reader.number(), reader.number());
  return { lastSeq, lastConsumerSeq };
}
