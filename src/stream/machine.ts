// The partition's state machine: what a batch of commands does to a stream (DESIGN §7). Pure and deterministic: its clock is the
// stamp of the batch, its configuration comes through the log. Called by partition.ts on every replica, leader or not.
// Invariants: a batch continues exactly at lastSeq + 1 and stamps never go back; what follows from state (limits, rollup, interest) happens
// in the apply that causes it; what follows from time only when an expire command says so. Message bytes are not kept.
import type { StateSink } from '../../cluster/host/state-sink.ts';
import {
  BATCH_HEADER_BYTES,
  CONSUMER_COMMAND_FIRST,
  CONSUMER_COMMAND_LAST,
  CommandType,
  commandBody,
  commandEnd,
  decodeAdvance,
  decodeConfig,
  decodeDelete,
  decodeExpire,
  decodePurge,
  EXPIRE_AGE,
  EXPIRE_IDS,
  EXPIRE_TTL,
  HAS_ID,
  HAS_TTL,
  MACHINE_VERSION,
  NO_MARKER,
  PublishView,
  ROLLUP_ALL,
  ROLLUP_SUBJECT,
  readBatchHeader,
  readPublish,
  TTL_NEVER,
  viewOf,
} from './batch-codec.ts';
import type { StreamConfig } from './config.ts';
import { compileFilter } from './consumer-filter.ts';
import { RollingDigest } from './digest.ts';
import { type ApiError, apiError } from './errors.ts';
import { KEPT_FOR_EVER, MessageIndex, WITHOUT_MARKER } from './message-index.ts';
import { RecentIds } from './recent-ids.ts';
import { SnapshotError, SnapshotReader, SnapshotWriter, type Steps } from './snapshot-codec.ts';
import { utf8Bytes, utf8Text } from './text.ts';
import { TtlHeap } from './ttl-heap.ts';
import type { ConsumerTable } from './types.ts';

/** Why a batch cannot be applied: the replica must stop (the caller ends the process). */
export class MachineError extends Error {}

/** A purge whose budget is used up: how many went, and what the next command has to say. */
export interface PurgeProgress {
  gone: number;
  from: number;
  below: number;
  limit: number;
}

/** Result of a command that is not a publish: an error, a count of removals (purge, expire), or nothing to say. */
export type CommandResult = ApiError | PurgeProgress | number | undefined;

/** What a removal costs of a purge's budget; looking at a message costs 1. */
const REMOVAL_COST = 8;

const MICROSECOND_NS = 1000;

/** What `state.bytes` counts for one message (nats-surface X7). */
export function accountedBytes(storage: 'file' | 'memory', subject: number, hdr: number, payload: number): number {
  if (storage === 'memory') return subject + hdr + payload + 16;
  return 22 + subject + payload + 8 + (hdr > 0 ? 4 + hdr : 0);
}

export interface MachineOptions {
  /** Makes the (empty) consumer table; seqs handed to it are local. `config` is the log's. */
  consumers: (options: { config: () => StreamConfig }) => ConsumerTable;
  /** Seeds the hash tables; any number, may differ between replicas. */
  seed: number;
  /** Stream `first_seq` -> first local seq. */
  toLocalFirst: (firstSeq: number) => number;
}

export class StreamMachine {
  readonly index: MessageIndex;
  readonly ids: RecentIds;
  readonly ttls = new TtlHeap();
  readonly consumers: ConsumerTable;
  /** Undefined until the log's first config command. */
  config: StreamConfig | undefined;
  configRevision = 0;
  /** Stamp of the last batch. */
  stampUs = 0;
  /** Stamp of the last stored message; 0 when there never was one. */
  lastMessageStampUs = 0;
  /** Nats-Msg-Id of the last stored message, '' when it had none. */
  lastMsgId = '';
  /** Results of the last applied batch's commands that were not publishes, in order. */
  readonly results: CommandResult[] = [];
  /** Messages below it that still exist never grow too old. */
  #ageCursor = 0;
  /** Called on the leader for each message that leaves. */
  onRemoved: ((seq: number) => void) | undefined;
  /** Removals of smaller seqs interest nobody; Infinity: none does. */
  watchedFrom: () => number = () => 0;

  readonly #toLocalFirst: (firstSeq: number) => number;
  readonly #noConsumers: Uint8Array;
  readonly #digest = new RollingDigest();
  readonly #publish = new PublishView();
  readonly #removeAcked = (seq: number) => {
    if (!this.index.remove(seq)) return;
    this.#digest.addNumber(seq);
    if (this.onRemoved !== undefined) this.onRemoved(seq);
  };

  // The configuration as apply uses it: 0 or false when it does not apply.
  #memoryStorage = false;
  #messagesMax = 0;
  #bytesMax = 0;
  #perSubjectMax = 0;
  #interest = false;
  #perMessageStored = false;

  constructor(options: MachineOptions) {
    this.index = new MessageIndex(options.seed);
    this.ids = new RecentIds(options.seed ^ 0x5bd1e995);
    this.consumers = options.consumers({ config: () => this.#knownConfig() });
    this.#noConsumers = this.consumers.snapshot();
    this.#toLocalFirst = options.toLocalFirst;
  }

  /** Consumers exist only after the configuration. */
  #knownConfig(): StreamConfig {
    if (this.config === undefined) throw new MachineError('a consumer before the configuration');
    return this.config;
  }

  get lastSeq(): number {
    return this.index.lastSeq;
  }

  // ---- apply

  apply(index: number, body: Uint8Array): void {
    const view = viewOf(body);
    const header = readBatchHeader(view);
    if (header.version > MACHINE_VERSION) throw new MachineError(`batch of machine version ${header.version}`);
    const messages = this.index;
    if (header.stampUs < this.stampUs) throw new MachineError(`batch stamp ${header.stampUs} before ${this.stampUs}`);
    this.stampUs = header.stampUs;
    this.results.length = 0;
    messages.beginEntry(index, header.stampUs);
    let at = BATCH_HEADER_BYTES;
    let commands = header.commands;
    let expected = header.baseSeq;
    while (commands > 0) {
      if (view.getUint8(at) === CommandType.publish) {
        const first = messages.lastSeq + 1;
        if (first !== expected) throw new MachineError(`batch at seq ${expected} after ${messages.lastSeq}`);
        if (this.config === undefined) throw new MachineError('a message before the configuration');
        at = this.#applyPublishes(view, body, at, commands, header.stampUs);
        expected = messages.lastSeq + 1;
        commands -= expected - first;
        if (!this.#perMessageStored) this.consumers.onStored(first, messages.lastSeq);
      } else {
        this.#applyCommand(view.getUint8(at), commandBody(view, body, at));
        at = commandEnd(view, at);
        commands--;
      }
    }
    if (at !== body.length) throw new MachineError(`batch of ${body.length} bytes ends at ${at}`);
    messages.endEntry();
    this.#mixResults(index, header.publishes);
  }

  #mixResults(index: number, publishes: number): void {
    const digest = this.#digest;
    const messages = this.index;
    digest.addNumber(index);
    digest.add(publishes);
    digest.addNumber(messages.lastSeq);
    digest.addNumber(messages.firstSeq);
    digest.addNumber(messages.messages);
    digest.addNumber(messages.bytes);
    digest.add(messages.subjects);
    digest.add(this.ids.size);
  }

  /** A run of publishes; returns where it ends. */
  #applyPublishes(view: DataView, body: Uint8Array, start: number, commands: number, stampUs: number): number {
    const messages = this.index;
    const publish = this.#publish;
    const memory = this.#memoryStorage;
    let subjectAt = -1;
    let subject = 0;
    let releases = -1;
    let at = start;
    let left = commands;
    while (left > 0 && view.getUint8(at) === CommandType.publish) {
      const next = readPublish(view, at, publish);
      if (publish.subjectAt !== subjectAt || messages.releases !== releases) {
        subject = messages.subjectId(body, publish.subjectAt, publish.subjectEnd);
        subjectAt = publish.subjectAt;
        releases = messages.releases;
      }
      const hdr = publish.hdrEnd - publish.hdrAt;
      const payload = publish.payloadEnd - publish.payloadAt;
      const subjectLength = publish.subjectEnd - subjectAt;
      const size = memory ? subjectLength + hdr + payload + 16 : 30 + subjectLength + payload + (hdr > 0 ? 4 + hdr : 0);
      messages.add(subject, at, size, (publish.flags & (HAS_TTL | NO_MARKER)) === 0 ? 0 : marksOf(publish));
      if (publish.flags !== 0) this.#afterPublish(body, subject, stampUs);
      if (this.#perMessageStored) this.#offerToConsumers(body);
      this.#enforceLimits(subject);
      at = next;
      left--;
    }
    this.lastMessageStampUs = stampUs;
    this.lastMsgId = publish.idEnd > publish.idAt ? utf8Text(body, publish.idAt, publish.idEnd) : '';
    return at;
  }

  /** Message id, time to live and rollup of the message just stored. */
  #afterPublish(body: Uint8Array, subject: number, stampUs: number): void {
    const { flags, idAt, idEnd, ttlSeconds } = this.#publish;
    const seq = this.index.lastSeq;
    if ((flags & HAS_ID) !== 0 && this.#dedupes()) this.ids.set(body, idAt, idEnd, seq, stampUs);
    if (ttlSeconds !== 0 && ttlSeconds !== TTL_NEVER) {
      // Where subjects keep several messages, none goes earlier than a marker would (ADR-43).
      const leastSeconds = this.#perSubjectMax === 1 ? 0 : this.markerTtlSeconds;
      this.ttls.push(stampUs + Math.max(ttlSeconds, leastSeconds) * 1e6, seq);
      if (this.ttls.size > 1024 && this.ttls.size > 2 * this.index.messages)
        this.ttls.prune((s) => this.index.exists(s));
    }
    if ((flags & ROLLUP_SUBJECT) !== 0) {
      while (this.index.countOfSubject(subject) > 1) this.#remove(this.index.firstOfSubject(subject));
    } else if ((flags & ROLLUP_ALL) !== 0) {
      while (this.index.firstSeq < seq) this.#remove(this.index.firstSeq);
    }
  }

  #dedupes(): boolean {
    return (this.config?.duplicate_window ?? 0) > 0;
  }

  #offerToConsumers(body: Uint8Array): void {
    const seq = this.index.lastSeq;
    this.consumers.onStored(seq, seq);
    if (!this.#interest) return;
    const subject = utf8Text(body, this.#publish.subjectAt, this.#publish.subjectEnd);
    if (!this.consumers.isWanted(seq, subject)) this.#removeAcked(seq);
  }

  /** Limits of discard old; per subject also of discard new, where the oldest revision makes room (KV2). */
  #enforceLimits(subject: number): void {
    const messages = this.index;
    if (this.#perSubjectMax > 0 && messages.messages > 0) {
      // The message may be gone already (no interest), and its subject with it.
      const last = messages.lastSeq;
      if (messages.exists(last)) {
        while (messages.countOfSubject(subject) > this.#perSubjectMax) this.#remove(messages.firstOfSubject(subject));
      }
    }
    this.#enforceTotals();
  }

  #enforceTotals(): void {
    const messages = this.index;
    if (this.#messagesMax > 0) while (messages.messages > this.#messagesMax) this.#remove(messages.firstSeq);
    if (this.#bytesMax > 0) while (messages.bytes > this.#bytesMax) this.#remove(messages.firstSeq);
  }

  #remove(seq: number): void {
    if (!this.index.remove(seq)) throw new MachineError(`message ${seq} is not there to be removed`);
    this.#digest.addNumber(seq);
    this.consumers.onRemoved(seq);
    if (this.onRemoved !== undefined) this.onRemoved(seq);
  }

  #applyCommand(type: number, body: Uint8Array): void {
    if (type >= CONSUMER_COMMAND_FIRST && type <= CONSUMER_COMMAND_LAST) {
      this.results.push(this.consumers.apply(type, body, this.stampUs, this.index, this.#removeAcked));
      return;
    }
    switch (type) {
      case CommandType.purge:
        this.results.push(this.#purge(body));
        return;
      case CommandType.delete:
        this.results.push(this.#delete(decodeDelete(body)));
        return;
      case CommandType.config:
        this.#configure(body);
        this.results.push(undefined);
        return;
      case CommandType.expire:
        this.results.push(this.#expire(body));
        return;
      case CommandType.advance:
        this.index.advanceTo(decodeAdvance(body));
        this.results.push(undefined);
        return;
      default:
        throw new MachineError(`command of unknown type ${type}`);
    }
  }

  #delete(seq: number): CommandResult {
    if (!this.index.exists(seq)) return apiError(10043, { seq });
    this.#remove(seq);
    return undefined;
  }

  /** Removes what the request names, oldest first; returns how many, or where to go on. */
  #purge(body: Uint8Array): number | PurgeProgress {
    const { filter, below, keep, from, limit, budget } = decodePurge(body);
    const messages = this.index;
    const before = messages.messages;
    const all = filter === '' || filter === '>';
    if (all && below === 0 && keep === 0 && from === 0 && this.consumers.count === 0) {
      this.#removeAll();
      return before;
    }
    const matching = compileFilter(all ? [] : [filter]);
    const bound = below > 0 ? below : messages.lastSeq + 1;
    let left = limit > 0 ? limit : Number.POSITIVE_INFINITY;
    if (keep > 0) left = messages.count(0, matching) - keep;
    let work = budget > 0 ? budget : Number.POSITIVE_INFINITY;
    let seq = messages.nextFrom(from);
    while (seq !== 0 && seq < bound && left > 0) {
      if (matching.literal && !all) {
        seq = messages.next(seq, matching);
        if (seq === 0 || seq >= bound) break;
      }
      if (work <= 0) {
        const gone = before - messages.messages;
        return { gone, from: seq, below: bound, limit: left === Number.POSITIVE_INFINITY ? 0 : left };
      }
      work--;
      if (all || matching.literal || messages.matches(seq, matching)) {
        this.#remove(seq);
        left--;
        work -= REMOVAL_COST;
      }
      seq = messages.nextFrom(seq + 1);
    }
    return before - messages.messages;
  }

  /** The tables go as a whole: only without consumers. Who is told does not show in the state. */
  #removeAll(): void {
    const messages = this.index;
    const told: number[] = [];
    if (this.onRemoved !== undefined) {
      for (let seq = messages.nextFrom(this.watchedFrom()); seq !== 0; seq = messages.nextFrom(seq + 1)) told.push(seq);
    }
    messages.removeAll();
    for (const seq of told) this.onRemoved?.(seq);
  }

  #configure(body: Uint8Array): void {
    const { revision, json } = decodeConfig(body);
    // A leader that lagged behind the metadata may propose an older one.
    if (this.config !== undefined && revision <= this.configRevision) return;
    const first = this.config === undefined;
    this.#adopt(JSON.parse(json) as StreamConfig, revision);
    const config = this.config as StreamConfig | undefined;
    if (first && config?.first_seq !== undefined && config.first_seq > 1 && this.index.lastSeq === 0) {
      this.index.startAt(this.#toLocalFirst(config.first_seq));
    }
    this.#enforceAfterUpdate();
  }

  #adopt(config: StreamConfig, revision: number): void {
    this.config = config;
    this.configRevision = revision;
    const discardOld = config.discard === 'old';
    this.#memoryStorage = config.storage === 'memory';
    this.#messagesMax = discardOld ? Math.max(0, config.max_msgs) : 0;
    this.#bytesMax = discardOld ? Math.max(0, config.max_bytes) : 0;
    this.#perSubjectMax = !discardOld && config.discard_new_per_subject ? 0 : Math.max(0, config.max_msgs_per_subject);
    this.#interest = config.retention === 'interest';
    this.#perMessageStored = config.retention !== 'limits';
  }

  /** A smaller limit takes effect at once; no duplicate window means no ids. */
  #enforceAfterUpdate(): void {
    const messages = this.index;
    if (!this.#dedupes()) this.ids.clear();
    if (this.#perSubjectMax > 0) {
      const excess: number[] = [];
      messages.eachSubject(compileFilter([]), (id) => {
        if (messages.countOfSubject(id) > this.#perSubjectMax) excess.push(id);
      });
      for (const id of excess) {
        while (messages.countOfSubject(id) > this.#perSubjectMax) this.#remove(messages.firstOfSubject(id));
      }
    }
    this.#enforceTotals();
  }

  /** Returns how many messages and ids left. */
  #expire(body: Uint8Array): number {
    let gone = 0;
    const { kinds, max } = decodeExpire(body);
    if ((kinds & EXPIRE_AGE) !== 0) {
      for (let left = max; left > 0 && this.ageDueUs <= this.stampUs; left--) {
        const seq = this.#ageCandidate();
        if (this.#needsMarker(seq)) break;
        this.#remove(seq);
        gone++;
      }
    }
    if ((kinds & EXPIRE_TTL) !== 0) {
      for (let left = max; left > 0 && this.ttls.dueUs <= this.stampUs; left--) {
        const { seq } = this.ttls;
        if (this.#needsMarker(seq)) break;
        this.ttls.pop();
        gone++;
        if (this.index.exists(seq)) this.#remove(seq);
      }
    }
    if ((kinds & EXPIRE_IDS) !== 0) gone += this.ids.dropUntilStamp(this.stampUs - this.windowUs, max);
    return gone;
  }

  /** Expiry of a subject's last message leaves a marker (ADR-43): the leader stores it, and it removes the message. */
  #needsMarker(seq: number): boolean {
    const { index } = this;
    return this.markerTtlSeconds > 0 && index.isLastOfSubject(seq) && !index.hasMark(seq, WITHOUT_MARKER);
  }

  /** The oldest message that may grow too old; 0 when there is none. */
  #ageCandidate(): number {
    const { index } = this;
    let seq = index.nextFrom(this.#ageCursor);
    while (seq !== 0 && index.hasMark(seq, KEPT_FOR_EVER)) seq = index.nextFrom(seq + 1);
    this.#ageCursor = seq === 0 ? index.lastSeq + 1 : seq;
    return seq;
  }

  // ---- what the leader asks

  /** Seqs that are due at `stampUs` and wait for a marker, at most about `max`. */
  dueForMarker(stampUs: number, max: number): number[] {
    const due = new Set<number>();
    if (this.markerTtlSeconds === 0) return [];
    const { index } = this;
    if (this.ageDueUs <= stampUs) {
      let seq = this.#ageCandidate();
      for (let left = max; left > 0 && seq !== 0 && index.stampUsOf(seq) + this.maxAgeUs <= stampUs; left--) {
        if (!index.hasMark(seq, KEPT_FOR_EVER) && this.#needsMarker(seq)) due.add(seq);
        seq = index.nextFrom(seq + 1);
      }
    }
    this.ttls.eachDue(stampUs, (seq) => {
      if (due.size < max && this.#needsMarker(seq)) due.add(seq);
    });
    return [...due];
  }

  /** Whole seconds that a delete marker lives; 0: none are made. */
  get markerTtlSeconds(): number {
    return Math.floor((this.config?.subject_delete_marker_ttl ?? 0) / 1e9);
  }

  get maxAgeUs(): number {
    return (this.config?.max_age ?? 0) / MICROSECOND_NS;
  }

  get windowUs(): number {
    return (this.config?.duplicate_window ?? 0) / MICROSECOND_NS;
  }

  /** Stamp at which the oldest message is too old; Infinity when none will be. */
  get ageDueUs(): number {
    const age = this.maxAgeUs;
    const seq = age <= 0 ? 0 : this.#ageCandidate();
    return seq === 0 ? Number.POSITIVE_INFINITY : this.index.stampUsOf(seq) + age;
  }

  /** Stamp at which the oldest message id leaves the window; Infinity when there is none. */
  get idsDueUs(): number {
    const oldest = this.ids.oldestStampUs;
    return oldest === 0 ? Number.POSITIVE_INFINITY : oldest + this.windowUs;
  }

  isEntryLive(index: number): boolean {
    return this.index.isEntryLive(index);
  }

  /** 32 hex digits over all results so far, the consumers' included. */
  digest(): string {
    const digest = this.#digest.clone();
    digest.addText(this.consumers.digest());
    return digest.hex();
  }

  // ---- snapshot

  /** The state as it is now, in parts that are made while they are taken; table pages are shared until they are written again. */
  snapshot(): Iterable<Uint8Array> {
    const out = new SnapshotWriter();
    out.u32(MACHINE_VERSION);
    out.number(this.stampUs);
    out.number(this.lastMessageStampUs);
    out.bytes(utf8Bytes(this.lastMsgId));
    out.number(this.configRevision);
    out.bytes(utf8Bytes(this.config === undefined ? '' : JSON.stringify(this.config)));
    for (const lane of this.#digest.lanes) out.u32(lane);
    out.block(this.consumers.snapshot());
    this.index.write(out);
    this.ids.write(out);
    out.number(this.#ageCursor);
    this.ttls.write(out);
    return out.parts();
  }

  /** Begins to replace everything; ended without a byte it is the empty machine. The sink throws SnapshotError on damaged bytes. */
  restore(): StateSink {
    this.#restoreEmpty();
    const from = new SnapshotReader();
    const steps = this.#read(from);
    let begun = false;
    let done = false;
    return {
      push: (bytes) => {
        begun = true;
        from.feed(bytes);
        if (!done) done = steps.next().done === true;
      },
      end: () => {
        if (!begun) return;
        if (!done) throw new SnapshotError('snapshot is cut');
        from.end();
      },
    };
  }

  *#read(from: SnapshotReader): Steps<void> {
    yield* from.head();
    const version = from.u32();
    if (version > MACHINE_VERSION) throw new SnapshotError(`snapshot of machine version ${version}`);
    this.stampUs = from.number();
    this.lastMessageStampUs = from.number();
    const id = from.bytes();
    this.lastMsgId = utf8Text(id, 0, id.length);
    const revision = from.number();
    const json = from.bytes();
    if (json.length > 0) this.#adopt(JSON.parse(utf8Text(json, 0, json.length)) as StreamConfig, revision);
    for (let i = 0; i < this.#digest.lanes.length; i++) this.#digest.lanes[i] = from.u32();
    this.consumers.restore(yield* from.block());
    yield* this.index.read(from);
    yield* this.ids.read(from);
    this.#ageCursor = from.number();
    yield* this.ttls.read(from);
  }

  #restoreEmpty(): void {
    this.index.removeAll();
    this.index.startAt(1);
    this.ids.clear();
    this.ttls.clear();
    this.#ageCursor = 0;
    this.config = undefined;
    this.configRevision = 0;
    this.stampUs = 0;
    this.lastMessageStampUs = 0;
    this.lastMsgId = '';
    this.#digest.reset();
    this.consumers.restore(this.#noConsumers);
  }
}

function marksOf(publish: PublishView): number {
  const kept = publish.ttlSeconds === TTL_NEVER ? KEPT_FOR_EVER : 0;
  return (publish.flags & NO_MARKER) === 0 ? kept : kept | WITHOUT_MARKER;
}
