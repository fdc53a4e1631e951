// The leader's side of a partition: decides which records enter the log, builds this turn's batch, proposes it, and answers when it
// is applied (DESIGN §4). Owned and called by partition.ts. It is the one place that answers publishers.
// Invariants: no answer rests on an uncommitted fact (a refusal that quotes the stream's state also waits for proof that this
// node still leads); every publish and command is answered exactly once; records enter the log in the order in which they came, and only those
// that were sent to the leader of this very term: one that was long on its way may have been overtaken under other leaders.
import type { Term } from '../../cluster/core/types.ts';
import { NO_TIME_US } from '../../cluster/host/cluster-clock.ts';
import type { Group } from '../../cluster/host/types.ts';
import type { Env } from '../kit/env.ts';
import { hasWildcard } from '../subjects/subject.ts';
import {
  BatchBuilder,
  CONSUMER_COMMAND_FIRST,
  CommandType,
  decodeAdvance,
  HDR_BYTES_MAX,
  NO_MARKER,
  ROLLUP_ALL,
  ROLLUP_SUBJECT,
  SUBJECT_BYTES_MAX,
  TTL_NEVER,
} from './batch-codec.ts';
import { type BatchWindow, type Proposer, WAITS_NOT } from './batch-window.ts';
import type { BodyMemory } from './body-memory.ts';
import type { StreamConfig } from './config.ts';
import { compileFilter } from './consumer-filter.ts';
import { type ApiError, apiError } from './errors.ts';
import { Fifo } from './fifo.ts';
import { type CommandDone, HeldQueue } from './held-queue.ts';
import type { CommandResult, StreamMachine } from './machine.ts';
import { partitionOfSubject } from './partitioning.ts';
import { PubAckQueue } from './pub-ack-queue.ts';
import { endsItsKey, Header, markerHeaders, PublishHeaders, withoutStatus } from './publish-headers.ts';
import { accountedBytes, earlyRefusal, lateRefusal, refusalOfPartitions, rollupOf, ttlOf } from './publish-rules.ts';
import { Tentative } from './tentative.ts';
import { TextKey, utf8Length } from './text.ts';
import type { AckSink } from './types.ts';

/** One entry carries at most this much, or one message. */
const BATCH_BYTES_MAX = 1 << 20;
/** What a publish adds to a batch beside subject, headers and payload, at most. */
const PUBLISH_OVERHEAD = 32;

export interface LeaderLimits {
  /** Bytes and messages decided and not yet answered; beyond: 10167. */
  inFlightBytesMax: number;
  inFlightMessagesMax: number;
}

export interface LeaderOptions {
  env: Env;
  machine: StreamMachine;
  streamName: string;
  stride: number;
  partition: number;
  clusterTimeUs: () => number;
  /** The configuration that new records must meet: the newest that the metadata has committed. */
  config: () => StreamConfig;
  limits: LeaderLimits;
  /** What the apply of one entry may spend on removals. */
  entryWork: number;
  /** Memory for its batches, shared with others. */
  bodies?: BodyMemory;
  /** Shared by all leaders of the node. */
  window: BatchWindow;
}

/** A proposed batch. */
interface Flight {
  index: number;
  length: number;
  publishes: number;
  /** What its messages took of the stream's room (Tentative). */
  roomMessages: number;
  roomBytes: number;
  /** Its subjects were counted (Tentative). */
  tracked: boolean;
}

interface Refusal {
  sink: AckSink;
  token: number;
  error: ApiError;
}

/** What became of a publish that was looked at. */
const ADMITTED = 0;
const ANSWERED = 1;
/** It must be looked at again when what is in flight now is applied. */
const HOLD = 2;
type Verdict = typeof ADMITTED | typeof ANSWERED | typeof HOLD;

const NOTHING: CommandResult[] = [];
const NOBODY_ASKED: (CommandDone | undefined)[] = [];
const EMPTY = new Uint8Array(0);
/** Waits for markers. */
const NOBODY: AckSink = { stored() {}, refused() {}, returned() {} };
// What is found in the publish at hand: nothing of it outlives that, and with one for all leaders it is always in the processor's cache.
const headers = new PublishHeaders();
const key = new TextKey();
const UNAVAILABLE = apiError(10008);
const OVERLOADED = apiError(10167);

export class PartitionLeader implements Proposer {
  readonly #env: Env;
  readonly #machine: StreamMachine;
  readonly #options: LeaderOptions;
  readonly #stride: number;
  readonly #partition: number;
  #group: Group | undefined;
  leading = false;
  /** In which it leads, or led last. */
  #term = 0;
  waitsSince = WAITS_NOT;

  readonly #builder: BatchBuilder;
  readonly #tentative: Tentative;
  readonly #acks = new PubAckQueue();
  readonly #flights = new Fifo<Flight>();
  #flightBytes = 0;
  // Room that the messages in the builder take.
  #roomMessages = 0;
  #roomBytes = 0;
  #stampUs = 0;
  /** Callbacks of commands in the log, one per command that is not a publish. */
  readonly #commands = new Fifo<CommandDone | undefined>();
  #turnAsked = false;

  // Batches are counted: the one being built is number #proposed.
  #proposed = 0;
  #applied = 0;
  /** Last batch with something that may remove messages other than by limits. */
  #removingBatch = -1;

  /** Subjects in flight are asked for: they are counted from the next batch on. */
  #trackWanted = false;
  /** First batch whose subjects are counted. */
  #trackedFrom = 0;

  readonly #held = new HeldQueue();
  /** What is held goes on when this many batches are applied. */
  #heldUntil = 0;
  #releasing = false;
  /** Leadership is being handed over: what comes waits for the next leader, or for this one if it remains. */
  #paused = false;

  /** Refusals that wait for proof of leadership. */
  #confirming: Refusal[] = [];
  /** Counts leaderships, so that proof of a later one does not count. */
  #reign = 0;

  // What #checkHeaders found in the publish at hand.
  #rollup = 0;
  #idAt = 0;
  #idEnd = 0;
  #ttlSeconds = 0;
  // What #checkRoom found: the message takes the place of one of its subject.
  #replaces = false;
  #replacedBytes = 0;

  readonly #endTurn = () => {
    this.#turnAsked = false;
    if (!this.#builder.empty && !this.#options.window.keeps(this)) this.#propose();
    if (this.#confirming.length > 0) this.#confirm();
  };
  /** A literal subject whose messages are in this partition. */
  readonly #isHere = (subject: string): boolean =>
    !hasWildcard(subject) && partitionOfSubject(subject, this.#stride) === this.#partition;
  readonly #refuseConfirmed = (sink: AckSink, token: number, error: ApiError) => {
    this.#confirming.push({ sink, token, error });
    this.#askTurn();
  };

  constructor(options: LeaderOptions) {
    this.#env = options.env;
    this.#machine = options.machine;
    this.#options = options;
    this.#stride = options.stride;
    this.#partition = options.partition;
    this.#tentative = new Tentative(options.env.random.uint32());
    this.#builder = new BatchBuilder(options.bodies);
  }

  attach(group: Group): void {
    this.#group = group;
  }

  #toStream(local: number): number {
    return local === 0 ? 0 : local * this.#stride + this.#partition;
  }

  // ---- leadership

  /** `firstSeq`: local seq of the first message when the log has no configuration yet. */
  begin(term: Term, firstSeq: number, paused: boolean): void {
    this.leading = true;
    this.#term = term;
    this.#reign++;
    this.#stampUs = this.#machine.stampUs;
    this.#proposed = 0;
    this.#applied = 0;
    this.#removingBatch = -1;
    this.#heldUntil = 0;
    this.#trackWanted = false;
    this.#paused = paused;
    const lastSeq = this.#machine.config === undefined ? firstSeq - 1 : this.#machine.lastSeq;
    this.#tentative.reset(lastSeq, this.#machine.lastMsgId);
  }

  /** What was decided goes to the log now; what comes until the end of the pause has not been looked at. */
  pause(paused: boolean): void {
    if (paused && !this.#builder.empty) this.#propose();
    this.#paused = paused;
    if (!paused && this.#held.size > 0) this.#releaseHeld();
  }

  /** Everything in flight has an unknown outcome; publishes that wait to be looked at go back. */
  end(): void {
    if (!this.leading) return;
    this.leading = false;
    this.#paused = false;
    this.#builder.drop();
    this.#options.window.left(this.#flights.size);
    this.#flights.drain();
    this.#flightBytes = 0;
    this.#tentative.reset(0, '');
    const commands = this.#commands.drain();
    const refusals = this.#confirming;
    this.#confirming = [];
    const held = this.#held.drain();
    // First of all: whoever hears an answer may publish again.
    for (const item of held) {
      if ('sink' in item) this.#giveBack(item.subject, item.hdr, item.payload, item.sink, item.token, this.#term);
    }
    this.#acks.fail(UNAVAILABLE);
    for (const { sink, token } of refusals) sink.refused(token, UNAVAILABLE);
    for (const done of commands) done?.(UNAVAILABLE);
    for (const item of held) if ('type' in item) item.done?.(UNAVAILABLE);
  }

  #giveBack(subject: string, hdr: Uint8Array, payload: Uint8Array, sink: AckSink, token: number, term: Term): void {
    if (this.#group === undefined) sink.refused(token, UNAVAILABLE);
    else sink.returned(token, this.#group.id, term, subject, hdr, payload);
  }

  /** Publishes without an answer. */
  get waiting(): number {
    return this.#acks.size + this.#held.size;
  }

  /** The highest local seq that this replica has acknowledged to a publisher; 0 before the first. */
  get ackedSeq(): number {
    return this.#acks.ackedSeq;
  }

  /** The last seq that is given, in flight or applied. */
  get lastSeq(): number {
    return this.#tentative.lastSeq;
  }

  // ---- publish

  publish(subject: string, hdr: Uint8Array, payload: Uint8Array, sink: AckSink, token: number, term: Term): void {
    if (!this.leading || term !== this.#term) {
      this.#giveBack(subject, hdr, payload, sink, token, term);
      return;
    }
    const { inFlightBytesMax, inFlightMessagesMax } = this.#options.limits;
    const bytes = hdr.length + payload.length;
    if (
      this.#flightBytes + this.#builder.bytes + this.#held.bytes + bytes > inFlightBytesMax ||
      this.waiting >= inFlightMessagesMax
    ) {
      // A single message larger than the bound still passes alone.
      if (this.#flightBytes + this.#held.bytes > 0 || !this.#builder.empty) {
        sink.refused(token, OVERLOADED);
        return;
      }
    }
    const behind = this.#paused || this.#releasing || this.#held.size > 0;
    if (behind || this.#decide(subject, hdr, payload, sink, token) === HOLD) {
      this.#held.publish(subject, hdr, payload, sink, token);
    }
  }

  /** Looks at one publish: into the batch, answered, or to be held. */
  #decide(subject: string, hdr: Uint8Array, payload: Uint8Array, sink: AckSink, token: number): Verdict {
    const config = this.#options.config();
    if (config.sealed) return this.#refuse(sink, token, apiError(10109));
    if (config.max_msg_size >= 0 && hdr.length + payload.length > config.max_msg_size) {
      return this.#refuse(sink, token, apiError(10054));
    }
    if (hdr.length > HDR_BYTES_MAX) return this.#refuse(sink, token, apiError(10097));
    if (subject.length * 3 > SUBJECT_BYTES_MAX) return this.#refuse(sink, token, apiError(10054));
    this.#rollup = 0;
    this.#idAt = 0;
    this.#idEnd = 0;
    this.#ttlSeconds = 0;
    this.#replaces = false;
    this.#replacedBytes = 0;
    let stored = hdr;
    if (hdr.length > 0) {
      stored = withoutStatus(hdr);
      if (headers.scan(stored)) {
        const verdict = this.#checkHeaders(config, subject, stored, sink, token);
        if (verdict !== ADMITTED) return verdict;
      }
    }
    if (config.discard === 'new') {
      const verdict = this.#checkRoom(config, subject, stored, payload, sink, token);
      if (verdict !== ADMITTED) return verdict;
    }
    this.#append(config, subject, stored, payload, sink, token);
    return ADMITTED;
  }

  #append(
    config: StreamConfig,
    subject: string,
    hdr: Uint8Array,
    payload: Uint8Array,
    sink: AckSink,
    token: number,
  ): void {
    const builder = this.#builder;
    const bytes = subject.length + hdr.length + payload.length + PUBLISH_OVERHEAD;
    if (!builder.empty && builder.bytes + bytes > BATCH_BYTES_MAX) {
      this.#propose();
      if (!this.leading) {
        sink.refused(token, UNAVAILABLE);
        return;
      }
    }
    if (builder.empty) this.#beginBatch();
    const noMarker = config.subject_delete_marker_ttl !== undefined && hdr.length > 0 && endsItsKey(hdr);
    const marks = noMarker ? this.#rollup | NO_MARKER : this.#rollup;
    builder.publish(subject, hdr, payload, marks, this.#idAt, this.#idEnd, this.#ttlSeconds);
    const size = accountedBytes(config.storage, builder.subjectLength, hdr.length, payload.length);
    const roomMessages = this.#replaces ? 0 : 1;
    const roomBytes = Math.max(0, size - this.#replacedBytes);
    this.#roomMessages += roomMessages;
    this.#roomBytes += roomBytes;
    const tentative = this.#tentative;
    tentative.add(roomMessages, roomBytes);
    if (tentative.tracksSubjects) {
      tentative.count(builder.buffer, builder.subjectAt, builder.subjectAt + builder.subjectLength);
    }
    if (this.#idEnd > this.#idAt) {
      tentative.ids.set(hdr, this.#idAt, this.#idEnd, tentative.lastSeq, builder.stampUs);
      tentative.lastMsgId = headers.text(Header.msgId);
    } else {
      tentative.lastMsgId = '';
    }
    if (this.#rollup === ROLLUP_ALL) this.#removingBatch = this.#proposed;
    this.#acks.stored(sink, token, tentative.lastSeq);
  }

  #refuse(sink: AckSink, token: number, error: ApiError): Verdict {
    sink.refused(token, error);
    return ANSWERED;
  }

  /** Refuses with a statement about the stream: after what it rests on, and only if this node still leads then. */
  #refuseByState(sink: AckSink, token: number, error: ApiError): Verdict {
    if (this.#acks.size > 0) this.#acks.refused(sink, token, error);
    else this.#refuseConfirmed(sink, token, error);
    return ANSWERED;
  }

  #confirm(): void {
    const refusals = this.#confirming;
    const reign = this.#reign;
    this.#confirming = [];
    this.#group?.readBarrier((ok) => {
      const proven = ok && this.leading && reign === this.#reign;
      for (const { sink, token, error } of refusals) sink.refused(token, proven ? error : UNAVAILABLE);
    });
  }

  // ---- headers, in the replicated order of nats-surface B8

  #checkHeaders(config: StreamConfig, subject: string, hdr: Uint8Array, sink: AckSink, token: number): Verdict {
    // The usual case: a message id and nothing else.
    const idOnly = headers.present === 1 << Header.msgId;
    if (!idOnly) {
      const refusal = earlyRefusal(headers, this.#options.streamName);
      if (refusal !== undefined) return this.#refuse(sink, token, refusal);
      const ttl = ttlOf(config, headers);
      if (typeof ttl !== 'number') return this.#refuse(sink, token, ttl);
      this.#ttlSeconds = ttl;
    }
    if (headers.has(Header.msgId)) {
      this.#idAt = headers.from(Header.msgId);
      this.#idEnd = headers.to(Header.msgId);
      if (this.#isDuplicate(config, hdr, sink, token)) return ANSWERED;
    }
    if (idOnly) return ADMITTED;
    if (this.#stride > 1) {
      const refusal = refusalOfPartitions(headers, this.#isHere);
      if (refusal !== undefined) return this.#refuse(sink, token, refusal);
    }
    const verdict = this.#checkExpectations(config, subject, sink, token);
    if (verdict !== ADMITTED) return verdict;
    const refusal = lateRefusal(headers);
    if (refusal !== undefined) return this.#refuse(sink, token, refusal);
    const rollup = rollupOf(config, headers);
    if (typeof rollup !== 'number') return this.#refuse(sink, token, rollup);
    this.#rollup = rollup;
    return ADMITTED;
  }

  #checkExpectations(config: StreamConfig, subject: string, sink: AckSink, token: number): Verdict {
    if (headers.has(Header.expectedLastSeq)) {
      const last = this.#toStream(this.#tentative.lastSeq);
      if (headers.number(Header.expectedLastSeq) !== last) {
        return this.#refuseByState(sink, token, apiError(10071, { seq: last }));
      }
    }
    if (headers.has(Header.expectedLastSubjectSeq)) {
      const verdict = this.#checkSubjectSeq(config, subject, sink, token);
      if (verdict !== ADMITTED) return verdict;
    } else if (headers.has(Header.expectedLastSubjectSeqSubject)) {
      return this.#refuse(sink, token, apiError(10193));
    }
    if (headers.has(Header.expectedLastMsgId)) {
      const last = this.#tentative.lastMsgId;
      if (headers.text(Header.expectedLastMsgId) !== last) {
        return this.#refuseByState(sink, token, apiError(10070, { id: last }));
      }
    }
    return ADMITTED;
  }

  /** A known id answers with the first message's seq: at once if that is applied, else when it is. */
  #isDuplicate(config: StreamConfig, hdr: Uint8Array, sink: AckSink, token: number): boolean {
    const windowUs = (config.duplicate_window ?? 0) / 1000;
    if (windowUs <= 0) return false;
    const inFlight = this.#tentative.ids.seqOf(hdr, this.#idAt, this.#idEnd);
    if (inFlight !== 0) {
      this.#acks.duplicate(sink, token, inFlight);
      return true;
    }
    const ids = this.#machine.ids;
    const seq = ids.seqOf(hdr, this.#idAt, this.#idEnd);
    if (seq === 0 || ids.stampOf(hdr, this.#idAt, this.#idEnd) + windowUs <= this.#batchStampUs()) return false;
    if (seq > this.#machine.settledSeq) this.#acks.duplicate(sink, token, seq);
    else sink.stored(token, this.#toStream(seq), true);
    return true;
  }

  #checkSubjectSeq(config: StreamConfig, subject: string, sink: AckSink, token: number): Verdict {
    const { index } = this.#machine;
    let of = subject;
    if (headers.has(Header.expectedLastSubjectSeqSubject)) of = headers.text(Header.expectedLastSubjectSeqSubject);
    const wildcard = hasWildcard(of);
    if (!this.#subjectsKnown() || this.#removalsInFlight(config)) return this.#holdForAll();
    if (wildcard && this.#tentative.inFlight > 0) return this.#holdForAll();
    let last = 0;
    if (wildcard) {
      last = index.lastMatching(compileFilter([of]));
    } else {
      key.set(of);
      last = this.#tentative.lastOfSubject(key.bytes, 0, key.length);
      const id = last > 0 ? 0 : index.findSubject(key.bytes, 0, key.length);
      if (id !== 0) last = index.lastOfSubject(id);
    }
    const seq = this.#toStream(last);
    if (headers.number(Header.expectedLastSubjectSeq) === seq) return ADMITTED;
    return this.#refuseByState(sink, token, apiError(10071, { seq }));
  }

  /** Exact counts of all subjects in flight. False at the first question, until what was not counted is applied. */
  #subjectsKnown(): boolean {
    this.#trackWanted = true;
    if (this.#builder.empty) this.#track();
    return this.#tentative.tracksSubjects && this.#applied >= this.#trackedFrom;
  }

  #track(): void {
    if (this.#tentative.tracksSubjects) return;
    this.#tentative.tracksSubjects = true;
    this.#trackedFrom = this.#proposed;
  }

  #holdForAll(): Verdict {
    this.#heldUntil = this.#builder.empty ? this.#proposed : this.#proposed + 1;
    return HOLD;
  }

  /** Something in flight may remove a subject's last message, so that "its last seq" is not known yet. */
  #removalsInFlight(config: StreamConfig): boolean {
    if (this.#removingBatch >= this.#applied) return true;
    const { inFlight, roomMessages, roomBytes } = this.#tentative;
    if (inFlight === 0) return false;
    if (config.retention === 'interest') return true;
    if (config.discard !== 'old') return false;
    const { messages, bytes } = this.#machine.index;
    return (
      (config.max_msgs > 0 && messages + roomMessages > config.max_msgs) ||
      (config.max_bytes > 0 && bytes + roomBytes > config.max_bytes)
    );
  }

  // ---- discard new

  #checkRoom(
    config: StreamConfig,
    subject: string,
    hdr: Uint8Array,
    payload: Uint8Array,
    sink: AckSink,
    token: number,
  ): Verdict {
    const { index } = this.#machine;
    const tentative = this.#tentative;
    const total = config.max_msgs > 0 || config.max_bytes > 0;
    if (config.max_msgs_per_subject > 0 && (config.discard_new_per_subject || total)) {
      if (!this.#subjectsKnown()) return this.#holdForAll();
      key.set(subject);
      const id = index.findSubject(key.bytes, 0, key.length);
      const applied = id === 0 ? 0 : index.countOfSubject(id);
      const inFlight = tentative.countOfSubject(key.bytes, 0, key.length);
      if (applied + inFlight >= config.max_msgs_per_subject) {
        if (config.discard_new_per_subject && this.#rollup === 0) {
          return this.#refuseByState(sink, token, apiError(10077, { err: 'maximum messages per subject exceeded' }));
        }
        // It pushes out the oldest of its subject; which one that is, is known while none of the subject is in flight.
        this.#replaces = !config.discard_new_per_subject;
        if (this.#replaces && inFlight === 0) this.#replacedBytes = index.sizeOf(index.firstOfSubject(id));
      }
    }
    if (config.max_msgs > 0 && !this.#replaces && index.messages + tentative.roomMessages >= config.max_msgs) {
      return this.#refuseByState(sink, token, apiError(10077, { err: 'maximum messages exceeded' }));
    }
    if (config.max_bytes > 0) {
      const size = accountedBytes(config.storage, utf8Length(subject), hdr.length, payload.length);
      if (index.bytes + tentative.roomBytes + Math.max(0, size - this.#replacedBytes) > config.max_bytes) {
        return this.#refuseByState(sink, token, apiError(10077, { err: 'maximum bytes exceeded' }));
      }
    }
    return ADMITTED;
  }

  // ---- delete markers

  /** Stores a delete marker in place of `seq`, which is due, unless the subject has a newer message. False: ask again later. */
  storeMarker(seq: number, seconds: number): boolean {
    const ttlSeconds = Math.min(seconds, TTL_NEVER - 1);
    const { index } = this.#machine;
    const config = this.#options.config();
    if (
      !this.leading ||
      this.#paused ||
      this.#held.size > 0 ||
      !this.#subjectsKnown() ||
      this.#removalsInFlight(config)
    )
      return false;
    const subject = index.subjectOf(seq);
    key.set(subject);
    if (!index.isLastOfSubject(seq) || this.#tentative.countOfSubject(key.bytes, 0, key.length) > 0) return true;
    this.#rollup = ROLLUP_SUBJECT;
    this.#idAt = 0;
    this.#idEnd = 0;
    this.#ttlSeconds = ttlSeconds;
    this.#replaces = true;
    this.#replacedBytes = index.sizeOf(seq);
    this.#append(config, subject, markerHeaders(ttlSeconds), EMPTY, NOBODY, 0);
    return true;
  }

  // ---- commands

  /** Adds a command to this turn's batch. `done(result)` after apply; 10008 when leadership goes first. */
  command(type: number, body: Uint8Array, done: CommandDone | undefined): void {
    if (!this.leading) {
      done?.(UNAVAILABLE);
      return;
    }
    if (this.#paused || this.#releasing || this.#held.size > 0) this.#held.command(type, body, done);
    else this.#appendCommand(type, body, done);
  }

  #appendCommand(type: number, body: Uint8Array, done: CommandDone | undefined): void {
    if (!this.#builder.empty && this.#builder.bytes + body.length + PUBLISH_OVERHEAD > BATCH_BYTES_MAX) {
      this.#propose();
      if (!this.leading) {
        done?.(UNAVAILABLE);
        return;
      }
    }
    // An advance moves the base of what follows, so it has a batch for itself.
    if (type === CommandType.advance && !this.#builder.empty) this.#propose();
    if (!this.leading) {
      done?.(UNAVAILABLE);
      return;
    }
    if (this.#builder.empty) this.#beginBatch();
    this.#builder.command(type, body);
    this.#commands.push(done);
    if (type === CommandType.advance) {
      this.#tentative.advanceTo(decodeAdvance(body));
      this.#propose();
      return;
    }
    // Of the consumers' commands only those of work queues and interest streams remove messages.
    if (type < CONSUMER_COMMAND_FIRST || this.#options.config().retention !== 'limits') {
      this.#removingBatch = this.#proposed;
    }
  }

  // ---- batches

  #batchStampUs(): number {
    if (!this.#builder.empty) return this.#builder.stampUs;
    const nowUs = Math.floor(this.#options.clusterTimeUs());
    // Nobody has told the time: a stamp that stands still expires nothing too early. The first one is this node's own.
    if (nowUs === NO_TIME_US && this.#stampUs === 0) return this.#env.clock.wallUs();
    return Math.max(this.#stampUs, nowUs);
  }

  #beginBatch(): void {
    if (this.#trackWanted) this.#track();
    this.#stampUs = this.#batchStampUs();
    this.#builder.begin(this.#tentative.lastSeq + 1, this.#stampUs, this.#options.entryWork);
    this.#roomMessages = 0;
    this.#roomBytes = 0;
    this.#askTurn();
  }

  #askTurn(): void {
    if (this.#turnAsked) return;
    this.#turnAsked = true;
    this.#env.clock.endOfTurn(this.#endTurn);
  }

  #propose(): void {
    const publishes = this.#builder.publishes;
    const body = this.#builder.finish();
    const index = this.#group?.propose(body);
    if (index === undefined) {
      this.end();
      return;
    }
    const roomMessages = this.#roomMessages;
    const roomBytes = this.#roomBytes;
    const tracked = this.#tentative.tracksSubjects && this.#proposed >= this.#trackedFrom;
    this.#flights.push({ index, length: body.length, publishes, roomMessages, roomBytes, tracked });
    this.#flightBytes += body.length;
    this.#proposed++;
    this.#options.window.entered();
  }

  letGo(): void {
    if (!this.#builder.empty) this.#propose();
  }

  /** The machine has applied entry `index`: all that is applied while leading was proposed here. */
  applied(index: number, body: Uint8Array): void {
    const flight = this.#flights.shift();
    if (flight?.index !== index) this.#env.fatal(`entry ${index} was applied, ${flight?.index} was proposed`);
    this.#flightBytes -= flight.length;
    this.#applied++;
    this.#options.window.left(1);
    const { lastSeq, results } = this.#machine;
    this.#tentative.applied(flight.publishes, flight.roomMessages, flight.roomBytes, lastSeq);
    if (flight.tracked) this.#tentative.forgetSubjects(body, flight.publishes);
    // Callbacks may propose, and apply may run in them: keep nothing that changes.
    const outcomes = results.length > 0 ? results.slice() : NOTHING;
    const done = outcomes.length > 0 ? outcomes.map(() => this.#commands.shift()) : NOBODY_ASKED;
    this.#acks.release(this.#machine.settledSeq, this.#stride, this.#partition, this.#refuseConfirmed);
    for (let i = 0; i < done.length; i++) done[i]?.(outcomes[i]);
    if (this.#held.size > 0) this.#releaseHeld();
  }

  #releaseHeld(): void {
    this.#releasing = true;
    while (this.leading && !this.#paused && this.#applied >= this.#heldUntil) {
      const next = this.#held.take();
      if (next === undefined) break;
      if ('type' in next) {
        this.#appendCommand(next.type, next.body, next.done);
      } else if (this.#decide(next.subject, next.hdr, next.payload, next.sink, next.token) === HOLD) {
        this.#held.putBack(next);
        break;
      }
    }
    this.#releasing = false;
  }
}
