// The replicated state of one consumer: where it starts, what was delivered, what is pending, its floor. Pure transitions,
// called by ConsumerRegistry.apply on every replica; the leader's DeliveryEngine reads it and, for consumers that live in its
// memory alone, drives it directly. Invariants: floor <= delivered, both only grow; every seq up to `deliveredSeq` is pending
// or done; `ahead` holds acknowledged seqs beyond it.
import type { ConsumerConfig, StreamConfig } from './config.ts';
import type { ByteReader, ByteWriter } from './consumer-bytes.ts';
import { compileFilter, filterPatterns } from './consumer-filter.ts';
import { PendingSet } from './consumer-pending.ts';
import { SeqSet } from './consumer-seq-set.ts';
import { parseRfc3339 } from './consumer-time.ts';
import type { RollingDigest } from './digest.ts';
import type { MessageView, SubjectFilter } from './types.ts';

/** Acks for messages whose delivery the log does not know; a former leader has delivered few of them. Further ones are ignored. */
export const AHEAD_MAX = 65_536;

/** With more of them last_per_subject begins at the first message, whichever is the first that it delivers. */
const SUBJECTS_LOOKED_AT = 20_000;

export class ConsumerRecord {
  readonly id: number;
  readonly name: string;
  readonly createdUs: number;
  config: ConsumerConfig;
  filter: SubjectFilter;
  /** Of the part of a consumer of several partitions: the consumer's id in the first partition's log. 0: it is whole, or the home. */
  homeId = 0;

  deliveredSeq = 0;
  deliveredConsumerSeq = 0;
  deliveredUs = 0;
  floorSeq = 0;
  floorConsumerSeq = 0;
  ackUs = 0;
  /** No leader has handed out a consumer seq above it. */
  reservedConsumerSeq = 0;
  readonly pending = new PendingSet(false);
  ahead = new SeqSet();
  /** last_per_subject: of the seqs up to it only the last of each subject is delivered. */
  lastsEnd = 0;

  constructor(id: number, config: ConsumerConfig, createdUs: number) {
    this.id = id;
    this.name = config.name ?? config.durable_name ?? '';
    this.config = config;
    this.filter = compileFilter(filterPatterns(config));
    this.createdUs = createdUs;
  }

  get tracksAcks(): boolean {
    return this.config.ack_policy !== 'none';
  }

  /** Resolves the deliver policy against the messages there are; a `given` start is taken as it is. `isExact`: however long it takes. */
  begin(view: MessageView, given: number, isExact: boolean): void {
    const start = given > 0 ? Math.max(given, view.firstSeq) : this.#startSeq(view, isExact);
    this.deliveredSeq = start - 1;
    this.floorSeq = start - 1;
  }

  /** Goes on behind `seq`. Of what last_per_subject began with, up to `lastsEnd`, comes what still is its subject's last. */
  resume(seq: number, lastsEnd: number): void {
    this.deliveredSeq = seq;
    this.floorSeq = seq;
    if (lastsEnd > seq) this.lastsEnd = lastsEnd;
  }

  #startSeq(view: MessageView, isExact: boolean): number {
    const { config } = this;
    switch (config.deliver_policy) {
      case 'all':
        return Math.max(1, view.firstSeq);
      case 'new':
        return view.lastSeq + 1;
      case 'last':
        return this.#lastMatching(view) || view.lastSeq + 1;
      case 'by_start_sequence':
        return Math.max(config.opt_start_seq ?? 1, view.firstSeq, 1);
      case 'by_start_time':
        return Math.max(1, view.seqAtOrAfter(parseRfc3339(config.opt_start_time ?? '') ?? 0));
      case 'last_per_subject':
        this.lastsEnd = view.lastSeq;
        if (isExact || this.filter.literal || view.subjects <= SUBJECTS_LOOKED_AT)
          return view.firstLast(this.filter) || view.lastSeq + 1;
        return Math.max(1, view.firstSeq);
    }
  }

  #lastMatching(view: MessageView): number {
    if (this.filter.patterns.length === 0 && view.exists(view.lastSeq)) return view.lastSeq;
    return view.lastMatching(this.filter);
  }

  /** The configuration changes, positions stay. Validation came first. */
  reconfigure(config: ConsumerConfig): void {
    this.config = config;
    this.filter = compileFilter(filterPatterns(config));
  }

  /** Smallest existing seq after `cursor` that this consumer is to deliver; 0 when none. Knows nothing of `ahead`. */
  nextAfter(cursor: number, view: MessageView): number {
    let seq = cursor;
    do seq = seq >= view.lastSeq ? 0 : view.next(seq + 1, this.filter);
    while (seq !== 0 && seq <= this.lastsEnd && !view.isLastUpTo(seq, this.lastsEnd));
    return seq;
  }

  /** An existing message that this consumer has not finished with. */
  wants(seq: number, subject: string, view: MessageView): boolean {
    if (seq <= this.deliveredSeq) return this.pending.has(seq);
    if (this.ahead.size > 0 && this.ahead.has(seq)) return false;
    return this.admits(seq, subject, view);
  }

  /** Filter and deliver policy let the message through. */
  admits(seq: number, subject: string, view: MessageView): boolean {
    return this.filter.matches(subject) && (seq > this.lastsEnd || view.isLastUpTo(seq, this.lastsEnd));
  }

  /** An ack of a message that its leader does not know as pending: it may still be on its way, or free a message that was given up. */
  matters(seq: number, all: boolean, view: MessageView, retention: StreamConfig['retention']): boolean {
    if (all) return this.floorSeq < seq;
    if (!view.exists(seq)) return false;
    const subject = view.subjectOf(seq);
    return this.wants(seq, subject, view) || (retention !== 'limits' && this.filter.matches(subject));
  }

  delivered(seq: number, consumerSeq: number, view: MessageView): void {
    if (seq <= this.deliveredSeq) return;
    this.deliveredSeq = seq;
    if (this.tracksAcks && view.exists(seq) && !this.ahead.has(seq)) this.pending.add(seq, consumerSeq, 1, 0);
  }

  deliveredAgain(seq: number, deliveries: number): void {
    const slot = this.pending.find(seq);
    if (slot >= 0 && deliveries > this.pending.deliveriesAt(slot)) this.pending.setDeliveries(slot, deliveries);
  }

  /** Ends a delivered command. */
  deliveredUpTo(seq: number, consumerSeq: number, stampUs: number): void {
    if (seq > this.deliveredSeq) this.deliveredSeq = seq;
    if (consumerSeq > this.deliveredConsumerSeq) this.deliveredConsumerSeq = consumerSeq;
    this.deliveredUs = stampUs;
    this.ahead.removeUpTo(this.deliveredSeq);
    this.settle();
  }

  /** True when the message was wanted before. An acknowledgement counts whoever delivered the message (DESIGN §7). */
  acknowledge(seq: number, view: MessageView): boolean {
    if (seq <= this.deliveredSeq) return this.pending.remove(seq);
    if (!view.exists(seq) || !this.wants(seq, view.subjectOf(seq), view) || this.ahead.size >= AHEAD_MAX) return false;
    return this.ahead.add(seq);
  }

  /** Everything up to `seq` is done. Returns the messages that were wanted before, ascending. */
  acknowledgeUpTo(seq: number, view: MessageView): number[] {
    const done: number[] = [];
    this.pending.removeUpTo(seq, (removed) => done.push(removed));
    const last = Math.min(seq, view.lastSeq);
    if (last <= this.deliveredSeq) return done;
    for (const wanted of this.wantedBetween(this.deliveredSeq, last, view)) done.push(wanted);
    this.deliveredSeq = last;
    this.ahead.removeUpTo(last);
    return done;
  }

  /** Existing messages after `cursor`, up to and with `last`, that were to be delivered. */
  wantedBetween(cursor: number, last: number, view: MessageView): number[] {
    const wanted: number[] = [];
    for (let seq = this.nextAfter(cursor, view); seq !== 0 && seq <= last; seq = this.nextAfter(seq, view)) {
      if (!this.ahead.has(seq)) wanted.push(seq);
    }
    return wanted;
  }

  /** The message is gone. True when it was pending. */
  forget(seq: number): boolean {
    if (seq > this.deliveredSeq) {
      if (this.ahead.size > 0) this.ahead.remove(seq);
      return false;
    }
    return this.pending.remove(seq);
  }

  /** All messages are gone. */
  forgetAll(): void {
    this.pending.clear();
    this.ahead = new SeqSet();
    this.settle();
  }

  /** Smallest seq whose removal matters to the state; Infinity: none does. */
  get heldFrom(): number {
    if (this.pending.size > 0) return this.pending.firstSeq;
    return this.ahead.size > 0 ? this.ahead.values()[0] : Number.POSITIVE_INFINITY;
  }

  /** Moves the floor to where the first pending message allows. */
  settle(): void {
    const slot = this.pending.first();
    const seq = slot < 0 ? this.deliveredSeq : this.pending.seqAt(slot) - 1;
    const consumerSeq = slot < 0 ? this.deliveredConsumerSeq : this.pending.consumerSeqAt(slot) - 1;
    if (seq > this.floorSeq) this.floorSeq = seq;
    if (consumerSeq > this.floorConsumerSeq) this.floorConsumerSeq = consumerSeq;
  }

  write(writer: ByteWriter): void {
    writer.number(this.id);
    writer.text(JSON.stringify(this.config));
    writer.number(this.createdUs);
    for (const value of this.#positions()) writer.number(value);
    writer.number(this.pending.size);
    let seq = 0;
    let consumerSeq = 0;
    for (let slot = this.pending.first(); slot >= 0; slot = this.pending.next(slot)) {
      writer.number(this.pending.seqAt(slot) - seq);
      writer.number(this.pending.consumerSeqAt(slot) - consumerSeq);
      writer.number(this.pending.deliveriesAt(slot));
      seq = this.pending.seqAt(slot);
      consumerSeq = this.pending.consumerSeqAt(slot);
    }
    writer.ascending(this.ahead.values());
    writer.number(this.homeId);
  }

  /** `version`: of consumers.ts. */
  static read(reader: ByteReader, version: number): ConsumerRecord {
    const id = reader.number();
    const config = JSON.parse(reader.text()) as ConsumerConfig;
    const record = new ConsumerRecord(id, config, reader.number());
    record.deliveredSeq = reader.number();
    record.deliveredConsumerSeq = reader.number();
    record.deliveredUs = reader.number();
    record.floorSeq = reader.number();
    record.floorConsumerSeq = reader.number();
    record.ackUs = reader.number();
    record.reservedConsumerSeq = reader.number();
    record.lastsEnd = reader.number();
    let seq = 0;
    let consumerSeq = 0;
    for (let count = reader.number(); count > 0; count--) {
      seq += reader.number();
      consumerSeq += reader.number();
      record.pending.add(seq, consumerSeq, reader.number(), 0);
    }
    record.ahead = new SeqSet(readAscending(reader));
    // Earlier versions kept the lasts one by one; which they are follows from `lastsEnd`.
    if (version < 3) reader.runs(() => {});
    record.homeId = version > 1 ? reader.number() : 0;
    return record;
  }

  mix(digest: RollingDigest): void {
    digest.addNumber(this.id);
    digest.addNumber(this.homeId);
    digest.addText(this.name);
    for (const value of this.#positions()) digest.addNumber(value);
    for (let slot = this.pending.first(); slot >= 0; slot = this.pending.next(slot)) {
      digest.addNumber(this.pending.seqAt(slot));
      digest.addNumber(this.pending.deliveriesAt(slot));
    }
    for (const seq of this.ahead.values()) digest.addNumber(seq);
  }

  #positions(): number[] {
    return [
      this.deliveredSeq,
      this.deliveredConsumerSeq,
      this.deliveredUs,
      this.floorSeq,
      this.floorConsumerSeq,
      this.ackUs,
      this.reservedConsumerSeq,
      this.lastsEnd,
    ];
  }
}

function readAscending(reader: ByteReader): number[] {
  const values: number[] = [];
  reader.runs((first, count) => {
    for (let i = 0; i < count; i++) values.push(first + i);
  });
  return values;
}
