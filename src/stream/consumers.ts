// The consumers of one partition as its log has made them: owned by the stream machine, changed by apply alone, equal on
// every replica. Implements ConsumerTable (types.ts). Pure.
// Invariants: an id is never given twice; a command for an id that is gone does nothing; removals that an acknowledgement
// causes (work queue, interest) happen in the apply of that acknowledgement.
import type { ConsumerConfig, StreamConfig } from './config.ts';
import { ByteReader, ByteWriter } from './consumer-bytes.ts';
import { ConsumerCommand, decodeCreate, decodePart, decodeRemove, readDelivered } from './consumer-codec.ts';
import { filterPatterns } from './consumer-filter.ts';
import { ConsumerRecord } from './consumer-record.ts';
import { decideCreate, placeError, sameConfig } from './consumer-rules.ts';
import { RollingDigest } from './digest.ts';
import { type ApiError, apiError, isApiError } from './errors.ts';
import type { ConsumerTable, ConsumerTableOptions, MessageView } from './types.ts';

/** 2: records name their home. 3: lasts are not kept one by one. */
const SNAPSHOT_VERSION = 3;

/** What makes the body of a command different per type: called with the record it names. */
type Handler = (
  registry: ConsumerRegistry,
  record: ConsumerRecord,
  reader: ByteReader,
  stampUs: number,
  view: MessageView,
  remove: (seq: number) => void,
) => void;

export function createConsumerTable(options: ConsumerTableOptions): ConsumerRegistry {
  return new ConsumerRegistry(options);
}

export class ConsumerRegistry implements ConsumerTable {
  readonly #config: () => StreamConfig;
  readonly #lostInterest: (patterns: readonly string[]) => void;
  readonly #isExact: () => boolean;
  readonly #byId = new Map<number, ConsumerRecord>();
  readonly #byName = new Map<string, ConsumerRecord>();
  /** Consumers for which the removal of a message can matter; the others cost nothing per message. */
  readonly #holding = new Set<ConsumerRecord>();
  /** Never above the smallest seq that any of them holds. */
  #heldFrom = Number.POSITIVE_INFINITY;
  #nextId = 1;

  constructor(options: ConsumerTableOptions) {
    this.#config = options.config;
    this.#lostInterest = options.lostInterest;
    this.#isExact = options.beginsExactly;
  }

  get count(): number {
    return this.#byId.size;
  }

  get(name: string): ConsumerRecord | undefined {
    return this.#byName.get(name);
  }

  /** Still there? (Not deleted, not replaced by a namesake.) */
  has(record: ConsumerRecord): boolean {
    return this.#byId.get(record.id) === record;
  }

  /** In the order of creation. */
  records(): IterableIterator<ConsumerRecord> {
    return this.#byId.values();
  }

  /** The id that the next consumer will be given. */
  get nextId(): number {
    return this.#nextId;
  }

  get keepsByInterest(): boolean {
    return this.#config().retention === 'interest';
  }

  apply(
    type: number,
    body: Uint8Array,
    stampUs: number,
    view: MessageView,
    remove: (seq: number) => void,
  ): ApiError | undefined {
    if (type === ConsumerCommand.create) return this.#create(body, stampUs, view);
    if (type === ConsumerCommand.remove) return this.#remove(body);
    if (type === ConsumerCommand.part) return this.#part(body, stampUs, view);
    const handler = HANDLERS[type];
    if (handler === undefined) throw new Error(`unknown consumer command ${type}`);
    const reader = new ByteReader(body);
    const record = this.#byId.get(reader.number());
    if (record === undefined) return apiError(10014);
    handler(this, record, reader, stampUs, view, remove);
    this.#track(record);
    return undefined;
  }

  onRemoved(seq: number): void {
    if (seq < this.#heldFrom) return;
    let from = Number.POSITIVE_INFINITY;
    for (const record of this.#holding) {
      if (record.forget(seq)) {
        record.settle();
        this.#track(record);
      }
      from = Math.min(from, record.heldFrom);
    }
    this.#heldFrom = from;
  }

  onCleared(): void {
    for (const record of this.#holding) record.forgetAll();
    this.#holding.clear();
    this.#heldFrom = Number.POSITIVE_INFINITY;
  }

  isWanted(seq: number, subject: string, view: MessageView): boolean {
    for (const record of this.#byId.values()) if (record.wants(seq, subject, view)) return true;
    return false;
  }

  snapshot(): Uint8Array {
    const writer = new ByteWriter(256);
    writer.u8(SNAPSHOT_VERSION);
    writer.number(this.#nextId);
    writer.number(this.#byId.size);
    for (const record of this.#byId.values()) record.write(writer);
    return writer.take();
  }

  restore(state: Uint8Array): void {
    const reader = new ByteReader(state);
    const version = reader.u8();
    if (version < 1 || version > SNAPSHOT_VERSION) throw new Error(`consumer snapshot of version ${version}`);
    this.#byId.clear();
    this.#byName.clear();
    this.#holding.clear();
    this.#heldFrom = Number.POSITIVE_INFINITY;
    this.#nextId = reader.number();
    for (let count = reader.number(); count > 0; count--) this.#add(ConsumerRecord.read(reader, version));
  }

  digest(): string {
    const digest = new RollingDigest();
    digest.addNumber(this.#nextId);
    for (const record of this.#byId.values()) record.mix(digest);
    return digest.hex();
  }

  /** A message that the consumer has given up or passed over and that is still there: an ack may free it. */
  isPassed(record: ConsumerRecord, seq: number, view: MessageView): boolean {
    if (this.#config().retention === 'limits' || seq > record.deliveredSeq || !view.exists(seq)) return false;
    return record.filter.matches(view.subjectOf(seq));
  }

  /** The consumer is done with a message: the stream's retention may have it go. */
  release(record: ConsumerRecord, seq: number, view: MessageView, remove: (seq: number) => void): void {
    const { retention } = this.#config();
    if (retention === 'limits' || !view.exists(seq)) return;
    if (retention === 'interest' && this.isWanted(seq, view.subjectOf(seq), view)) return;
    remove(seq);
    record.forget(seq);
    this.onRemoved(seq);
  }

  #create(body: Uint8Array, stampUs: number, view: MessageView): ApiError | undefined {
    const { action, config, start } = decodeCreate(body);
    const existing = this.#byName.get(config.name ?? config.durable_name ?? '');
    const outcome = decideCreate(existing?.config, config, action);
    if (isApiError(outcome)) return outcome;
    if (outcome === 'same') return undefined;
    const others = [...this.#byId.values()]
      .filter((record) => record !== existing)
      .map((record) => record.filter.patterns);
    const refused = placeError(this.#config(), filterPatterns(config), others, this.#byId.size, existing === undefined);
    if (refused !== undefined) return refused;
    if (existing === undefined) {
      const record = new ConsumerRecord(this.#nextId++, config, stampUs);
      record.begin(view, start, this.#isExact());
      this.#add(record);
      return undefined;
    }
    this.#reconfigure(existing, config);
    return undefined;
  }

  #reconfigure(record: ConsumerRecord, config: ConsumerConfig): void {
    const before = record.filter;
    record.reconfigure(config);
    this.#track(record);
    if (before.patterns.join(' ') !== record.filter.patterns.join(' ')) this.#releaseUnwanted(before);
  }

  /** The home has decided what may be: here it is only followed. A part of an earlier consumer of the name gives way. */
  #part(body: Uint8Array, stampUs: number, view: MessageView): ApiError | undefined {
    const { homeId, config, start } = decodePart(body);
    const existing = this.#byName.get(config.name ?? '');
    if (existing !== undefined && existing.homeId > homeId) return apiError(10014);
    if (existing?.homeId === homeId) {
      if (!sameConfig(existing.config, config)) this.#reconfigure(existing, config);
      return undefined;
    }
    if (existing !== undefined) this.#forget(existing);
    const record = new ConsumerRecord(this.#nextId++, config, stampUs);
    record.homeId = homeId;
    record.begin(view, start, this.#isExact());
    this.#add(record);
    if (existing !== undefined) this.#releaseUnwanted(existing.filter);
    return undefined;
  }

  #remove(body: Uint8Array): ApiError | undefined {
    const { id, name } = decodeRemove(body);
    const record = id === 0 ? this.#byName.get(name) : this.#byId.get(id);
    if (record === undefined) return apiError(10014);
    this.#forget(record);
    this.#releaseUnwanted(record.filter);
    return undefined;
  }

  #forget(record: ConsumerRecord): void {
    this.#byId.delete(record.id);
    this.#byName.delete(record.name);
    this.#holding.delete(record);
  }

  /** A consumer has lost interest in what matches `filter`. */
  #releaseUnwanted(filter: ConsumerRecord['filter']): void {
    if (this.keepsByInterest) this.#lostInterest(filter.patterns);
  }

  #add(record: ConsumerRecord): void {
    this.#byId.set(record.id, record);
    this.#byName.set(record.name, record);
    this.#track(record);
  }

  #track(record: ConsumerRecord): void {
    const from = record.heldFrom;
    if (from === Number.POSITIVE_INFINITY) this.#holding.delete(record);
    else {
      this.#holding.add(record);
      this.#heldFrom = Math.min(this.#heldFrom, from);
    }
  }
}

const HANDLERS: Record<number, Handler> = {
  [ConsumerCommand.reserve](_registry, record, reader) {
    record.reservedConsumerSeq = Math.max(record.reservedConsumerSeq, reader.number());
  },

  [ConsumerCommand.delivered](registry, record, reader, stampUs, view, remove) {
    const before = record.deliveredSeq;
    const { lastSeq, lastConsumerSeq } = readDelivered(
      reader,
      (seq, consumerSeq, length) => {
        for (let i = 0; i < length; i++) record.delivered(seq + i, consumerSeq + i, view);
      },
      (seq, deliveries) => record.deliveredAgain(seq, deliveries),
    );
    const seen = !record.tracksAcks && registry.keepsByInterest ? record.wantedBetween(before, lastSeq, view) : [];
    record.deliveredUpTo(lastSeq, lastConsumerSeq, stampUs);
    for (const seq of seen) registry.release(record, seq, view, remove);
  },

  [ConsumerCommand.acks](registry, record, reader, stampUs, view, remove) {
    reader.runs((first, count) => {
      for (let seq = first; seq < first + count; seq++) {
        if (record.acknowledge(seq, view) || registry.isPassed(record, seq, view)) {
          registry.release(record, seq, view, remove);
        }
      }
    });
    record.ackUs = stampUs;
    record.settle();
  },

  [ConsumerCommand.ackAll](registry, record, reader, stampUs, view, remove) {
    for (const seq of record.acknowledgeUpTo(reader.number(), view)) registry.release(record, seq, view, remove);
    record.ackUs = stampUs;
    record.settle();
  },

  [ConsumerCommand.drop](_registry, record, reader) {
    reader.runs((first, count) => {
      for (let seq = first; seq < first + count; seq++) record.pending.remove(seq);
    });
    record.settle();
  },
};
