// The partition's state machine: what a batch of commands does to a stream (DESIGN §7). Pure and deterministic: its clock is the
// stamp of the batch, its configuration comes through the log. Called by partition.ts on every replica, leader or not.
// Invariants: a batch continues exactly at lastSeq + 1 and stamps never go back; what follows from state (limits, rollup, interest) happens
// in the apply that causes it, or, when that would be long, in entries that follow (backlog.ts); what follows from time only when an expire
// command says so. Message bytes are not kept.
import type { StateSink } from '../../cluster/host/state-sink.ts';
import { Backlog, type ChoreKind } from './backlog.ts';
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
  EXPIRE_BACKLOG,
  EXPIRE_IDS,
  EXPIRE_TTL,
  HAS_ID,
  HAS_TTL,
  MACHINE_VERSION,
  NO_MARKER,
  PublishView,
  type PurgeCommand,
  type PurgeProgress,
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
import type { ConsumerTable, ConsumerTableOptions, RemovalWatcher, SubjectFilter } from './types.ts';

/** Why a batch cannot be applied: the replica must stop (the caller ends the process). */
export class MachineError extends Error {}

/** Result of a command that is not a publish: an error, a count of removals (purge, expire), or nothing to say. */
export type CommandResult = ApiError | PurgeProgress | number | undefined;

/** What a removal costs of an entry's work; looking at a message costs 1, and asking who wants it so much. */
const REMOVAL_COST = 8;
const WANTED_COST = 4;

const MICROSECOND_NS = 1000;

const NO_RESULTS: readonly CommandResult[] = [];
/** The publish that is being applied. Nothing of it outlives a call: with one for all machines it is always in the processor's cache. */
const publish = new PublishView();

export interface MachineOptions {
  /** Makes the (empty) consumer table; seqs handed to it are local. `config` is the log's. */
  consumers: (options: ConsumerTableOptions) => ConsumerTable;
  /** Seeds the hash tables; any number, may differ between replicas. */
  seed: number;
  /** Stream `first_seq` -> first local seq. */
  toLocalFirst: (firstSeq: number) => number;
}

export class StreamMachine {
  // What every entry needs comes first, so that it is side by side in memory.
  readonly index: MessageIndex;
  /** Stamp of the last batch. */
  stampUs = 0;
  /** Results of the last applied batch's commands that were not publishes, in order. */
  results = NO_RESULTS;
  /** What the entry being applied may still spend. */
  #work = 0;
  #isBounded = false;
  /** Of the entry being applied. */
  #version = MACHINE_VERSION;
  /** Undefined until the log's first config command. */
  config: StreamConfig | undefined;
  configRevision = 0;
  // The configuration as apply uses it: 0 or false when it does not apply.
  #memoryStorage = false;
  #interest = false;
  #perSubjectMax = 0;
  #messagesMax = 0;
  #bytesMax = 0;
  #ages = false;
  /** Stamp of the last stored message; 0 when there never was one. */
  lastMessageStampUs = 0;
  /** Nats-Msg-Id of the last stored message, '' when it had none. */
  lastMsgId = '';
  readonly ids: RecentIds;
  readonly #digest = new RollingDigest();

  readonly ttls = new TtlHeap();
  readonly consumers: ConsumerTable;
  /** Messages below it that still exist never grow too old. */
  #ageCursor = 0;
  /** Told, on the leader, of what is about to leave. */
  watcher: RemovalWatcher | undefined;
  readonly #backlog = new Backlog();
  readonly #toLocalFirst: (firstSeq: number) => number;
  readonly #noConsumers: Uint8Array;
  readonly #removeAcked = (seq: number) => {
    if (!this.index.exists(seq)) return;
    this.watcher?.onRemoved(seq);
    this.index.remove(seq);
    this.#work -= REMOVAL_COST;
    this.#digest.addNumber(seq);
  };
  /** What a chore does with a message that it looks at. */
  readonly #chores: Record<ChoreKind, (seq: number) => boolean> = {
    'per-subject': (seq) => {
      if (this.index.exceeds(seq, this.#perSubjectMax)) this.#remove(seq);
      return true;
    },
    'rolled-up': (seq) => {
      this.#remove(seq);
      return true;
    },
    unwanted: (seq) => {
      this.#work -= WANTED_COST + this.consumers.count;
      if (!this.consumers.isWanted(seq, this.index.subjectOf(seq), this.index)) this.#removeAcked(seq);
      return true;
    },
  };

  constructor(options: MachineOptions) {
    this.index = new MessageIndex(options.seed);
    this.ids = new RecentIds(options.seed ^ 0x5bd1e995);
    this.consumers = options.consumers({
      config: () => this.#knownConfig(),
      beginsExactly: () => this.#version < 3,
      lostInterest: (patterns) => this.#backlog.add('unwanted', patterns, this.index.firstSeq, this.index.lastSeq + 1),
    });
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
    this.#version = header.version;
    if (header.stampUs < this.stampUs) throw new MachineError(`batch stamp ${header.stampUs} before ${this.stampUs}`);
    this.stampUs = header.stampUs;
    this.results = NO_RESULTS;
    this.#isBounded = header.work > 0;
    this.#work = this.#isBounded ? header.work : Number.POSITIVE_INFINITY;
    messages.beginEntry(index, header.stampUs);
    let at = BATCH_HEADER_BYTES;
    let commands = header.commands;
    let expected = header.baseSeq;
    let results: CommandResult[] | undefined;
    while (commands > 0) {
      if (view.getUint8(at) === CommandType.publish) {
        const first = messages.lastSeq + 1;
        if (first !== expected) throw new MachineError(`batch at seq ${expected} after ${messages.lastSeq}`);
        if (this.config === undefined) throw new MachineError('a message before the configuration');
        at = this.#applyPublishes(view, body, at, commands, header.stampUs);
        expected = messages.lastSeq + 1;
        commands -= expected - first;
      } else {
        results ??= [];
        results.push(this.#applyCommand(view.getUint8(at), commandBody(view, body, at)));
        at = commandEnd(view, at);
        commands--;
      }
    }
    if (at !== body.length) throw new MachineError(`batch of ${body.length} bytes ends at ${at}`);
    messages.endEntry();
    if (results !== undefined) this.results = results;
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
      if (publish.flags !== 0) subject = this.#afterPublish(body, at, size, subject, stampUs);
      if (this.#interest) this.#offerToConsumers(body);
      this.#enforceLimits(subject);
      at = next;
      left--;
    }
    this.lastMessageStampUs = stampUs;
    this.lastMsgId = publish.idEnd > publish.idAt ? utf8Text(body, publish.idAt, publish.idEnd) : '';
    return at;
  }

  /** Rollup, message id and time to live of the message just stored. Returns the id of its subject, which may be another one now. */
  #afterPublish(body: Uint8Array, at: number, size: number, subject: number, stampUs: number): number {
    const { flags, idAt, idEnd, ttlSeconds } = publish;
    const seq = this.index.lastSeq;
    let id = subject;
    if ((flags & ROLLUP_SUBJECT) !== 0) this.#rollUpSubject(subject);
    else if ((flags & ROLLUP_ALL) !== 0) id = this.#rollUpAll(body, at, size, subject);
    if ((flags & HAS_ID) !== 0 && this.#dedupes()) this.ids.set(body, idAt, idEnd, seq, stampUs);
    if (ttlSeconds !== 0 && ttlSeconds !== TTL_NEVER) {
      // Where subjects keep several messages, none goes earlier than a marker would (ADR-43).
      const leastSeconds = this.#perSubjectMax === 1 ? 0 : this.markerTtlSeconds;
      this.ttls.push(stampUs + Math.max(ttlSeconds, leastSeconds) * 1e6, seq);
      if (this.ttls.size > 1024 && this.ttls.size > 2 * this.index.messages)
        this.ttls.prune((s) => this.index.exists(s));
    }
    return id;
  }

  #rollUpSubject(subject: number): void {
    const { index } = this;
    while (index.countOfSubject(subject) > 1) {
      const first = index.firstOfSubject(subject);
      if (this.#work <= 0) {
        this.#backlog.add('rolled-up', [index.subjectOf(first)], first, index.lastSeq);
        return;
      }
      this.#remove(first);
    }
  }

  /** The message just stored is the only one: the tables go as a whole, and it is stored again. Returns the id of its subject. */
  #rollUpAll(body: Uint8Array, at: number, size: number, subject: number): number {
    const { index } = this;
    const seq = index.lastSeq;
    if (!this.#isBounded) {
      while (index.firstSeq < seq) this.#remove(index.firstSeq);
      return subject;
    }
    if (index.firstSeq === seq) return subject;
    this.#removeAll();
    index.startAt(seq);
    const id = index.subjectId(body, publish.subjectAt, publish.subjectEnd);
    index.add(id, at, size, marksOf(publish));
    return id;
  }

  #dedupes(): boolean {
    return (this.config?.duplicate_window ?? 0) > 0;
  }

  #offerToConsumers(body: Uint8Array): void {
    const seq = this.index.lastSeq;
    const subject = utf8Text(body, publish.subjectAt, publish.subjectEnd);
    if (!this.consumers.isWanted(seq, subject, this.index)) this.#removeAcked(seq);
  }

  /** Limits of discard old; per subject also of discard new, where the oldest revision makes room (KV2). Nothing leaves in the stead of what a rollup has yet to remove. */
  #enforceLimits(subject: number): void {
    const messages = this.index;
    if (this.#perSubjectMax > 0 && messages.messages > 0) {
      // The message may be gone already (no interest), and its subject with it.
      const last = messages.lastSeq;
      if (messages.exists(last) && messages.countOfSubject(subject) > this.#perSubjectMax) {
        this.#makeRoom(messages.firstOfSubject(subject));
        while (messages.countOfSubject(subject) > this.#perSubjectMax && this.#work > 0)
          this.#remove(messages.firstOfSubject(subject));
        if (messages.countOfSubject(subject) > this.#perSubjectMax) this.#backlog.extend('per-subject', last + 1);
      }
    }
    if (this.#isAboveLimits && !this.#backlog.isRollingUp) {
      this.#makeRoom(messages.firstSeq);
      this.#enforceTotals();
    }
  }

  /** For the message just stored: as many come as go, and it costs no work. */
  #makeRoom(seq: number): void {
    this.#remove(seq);
    this.#work += REMOVAL_COST;
  }

  #enforceTotals(): void {
    while (this.#isAboveLimits && this.#work > 0) this.#remove(this.index.firstSeq);
  }

  get #isAboveLimits(): boolean {
    const { messages, bytes } = this.index;
    return (this.#messagesMax > 0 && messages > this.#messagesMax) || (this.#bytesMax > 0 && bytes > this.#bytesMax);
  }

  #remove(seq: number): void {
    if (!this.index.exists(seq)) throw new MachineError(`message ${seq} is not there to be removed`);
    this.watcher?.onRemoved(seq);
    this.index.remove(seq);
    this.#work -= REMOVAL_COST;
    this.#digest.addNumber(seq);
    this.consumers.onRemoved(seq);
  }

  /** Hands over the messages of [from, below) that match, oldest first, until it says false or the work is spent: then where to go on. 0: through. */
  #sweep(from: number, below: number, filter: SubjectFilter, each: (seq: number) => boolean): number {
    const messages = this.index;
    const all = filter.patterns.length === 0;
    let seq = messages.nextFrom(from);
    while (seq !== 0 && seq < below) {
      if (filter.literal) {
        seq = messages.next(seq, filter);
        if (seq === 0 || seq >= below) return 0;
      }
      if (this.#work <= 0) return seq;
      this.#work--;
      if ((all || filter.literal || messages.matches(seq, filter)) && !each(seq)) return 0;
      seq = messages.nextFrom(seq + 1);
    }
    return 0;
  }

  #workOff(): void {
    for (let chore = this.#backlog.first; chore !== undefined; chore = this.#backlog.first) {
      const next = this.#sweep(chore.from, chore.below, chore.filter, this.#chores[chore.kind]);
      if (next !== 0) {
        chore.from = next;
        return;
      }
      this.#backlog.shift();
    }
  }

  /** Up to this seq everything is as its publishers asked: what a later message rolls up is not yet gone. */
  get settledSeq(): number {
    return Math.min(this.index.lastSeq, this.#backlog.rolledUpBelow - 1);
  }

  /** There is something to remove for which entries that follow are needed. */
  get hasBacklog(): boolean {
    return this.#backlog.first !== undefined || this.#isAboveLimits;
  }

  #applyCommand(type: number, body: Uint8Array): CommandResult {
    if (type >= CONSUMER_COMMAND_FIRST && type <= CONSUMER_COMMAND_LAST) {
      const result = this.consumers.apply(type, body, this.stampUs, this.index, this.#removeAcked);
      this.#workOff();
      return result;
    }
    switch (type) {
      case CommandType.purge:
        return this.#purge(body);
      case CommandType.delete:
        return this.#delete(decodeDelete(body));
      case CommandType.config:
        this.#configure(body);
        return undefined;
      case CommandType.expire:
        return this.#expire(body);
      case CommandType.advance:
        this.index.advanceTo(decodeAdvance(body));
        return undefined;
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
    const command = decodePurge(body);
    const entryWork = this.#work;
    this.#work = command.budget > 0 ? command.budget : Number.POSITIVE_INFINITY;
    const result = this.#purgeSome(command);
    this.#work = entryWork;
    return result;
  }

  #purgeSome({ filter, below, keep, from, limit }: PurgeCommand): number | PurgeProgress {
    const messages = this.index;
    const before = messages.messages;
    const all = filter === '' || filter === '>';
    if (all && below === 0 && keep === 0 && from === 0 && (this.#isBounded || this.consumers.count === 0)) {
      this.#removeAll();
      return before;
    }
    const matching = compileFilter(all ? [] : [filter]);
    let bound = below > 0 ? below : messages.lastSeq + 1;
    let left = limit > 0 ? limit : Number.POSITIVE_INFINITY;
    let start = from;
    const isCounted = keep > 0 && (all || matching.literal || !this.#isBounded);
    if (isCounted) {
      // Counted again in each part: others may have removed some meanwhile. What is behind the bound came later.
      left = messages.count(0, matching) - (from > 0 ? messages.count(bound, matching) : 0) - keep;
    } else if (keep > 0) {
      const { seq, missing, looks } = messages.newest(
        matching,
        from > 0 ? from - 1 : messages.lastSeq,
        keep,
        this.#work,
      );
      this.#work -= looks;
      if (seq === 0) return 0;
      if (missing > 0) return { gone: 0, from: seq, below: bound, keep: missing };
      bound = Math.min(bound, seq);
      start = 0;
    }
    if (left <= 0) return 0;
    const next = this.#sweep(start, bound, matching, (seq) => {
      this.#remove(seq);
      return --left > 0;
    });
    const gone = before - messages.messages;
    return next === 0 ? gone : { gone, from: next, below: bound, keep: isCounted ? keep : 0 };
  }

  /** The tables go as a whole. */
  #removeAll(): void {
    this.watcher?.onCleared();
    this.index.removeAll();
    this.ttls.clear();
    this.#backlog.clear();
    this.consumers.onCleared();
  }

  #configure(body: Uint8Array): void {
    const { revision, json } = decodeConfig(body);
    // A leader that lagged behind the metadata may propose an older one.
    if (this.config !== undefined && revision <= this.configRevision) return;
    const first = this.config === undefined;
    const perSubjectMax = this.#perSubjectMax;
    this.#adopt(JSON.parse(json) as StreamConfig, revision);
    const config = this.config as StreamConfig | undefined;
    if (first && config?.first_seq !== undefined && config.first_seq > 1 && this.index.lastSeq === 0) {
      this.index.startAt(this.#toLocalFirst(config.first_seq));
    }
    this.#enforceAfterUpdate(perSubjectMax);
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
    this.#ages = config.max_age > 0;
  }

  /** A smaller limit takes effect from now on; no duplicate window means no ids. A subject with more than its limit begins where the chore has
   * not been yet: what it left behind has no more, and publishes keep it so. */
  #enforceAfterUpdate(perSubjectBefore: number): void {
    const { index } = this;
    const max = this.#perSubjectMax;
    if (!this.#dedupes()) this.ids.clear();
    // Interest decides no more: what somebody wanted until now, and acknowledges before it is looked at, stays.
    if (!this.#interest) this.#backlog.drop('unwanted');
    if (max === 0) this.#backlog.drop('per-subject');
    else if (perSubjectBefore === 0 || max < perSubjectBefore) {
      this.#backlog.drop('per-subject');
      this.#backlog.add('per-subject', [], index.firstSeq, index.lastSeq + 1);
    }
    this.#workOff();
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
    if ((kinds & EXPIRE_BACKLOG) !== 0) {
      this.#workOff();
      this.#enforceTotals();
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

  /** Time may remove something of what is there now. */
  get fallsDue(): boolean {
    return this.#ages || this.ids.size > 0 || this.ttls.size > 0;
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
    out.bytes(this.#backlog.write());
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
    this.#digest.lanes = this.#digest.lanes.map(() => from.u32());
    this.consumers.restore(yield* from.block());
    if (version > 1) this.#backlog.read(from.bytes());
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
    this.#backlog.clear();
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
