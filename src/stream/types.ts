// The door of one partition: what jetstream/ asks of it, and the words between its machine and its consumers.
// Seqs at this door are the stream's (seq = local * stride + partition mapping is done inside).

import type { PeerId, Term } from '../../cluster/core/types.ts';
import type { ConsumerConfig, StreamConfig } from './config.ts';
import type { ApiError } from './errors.ts';
import type { SubjectsPage } from './subjects-page.ts';

/** Receives PubAck outcomes without a closure per message. `token` is whatever the caller passed to publish. */
export interface AckSink {
  /** Durable on a majority and applied. */
  stored(token: number, seq: number, duplicate: boolean): void;
  /** Certainly not stored, except 10008 whose outcome is unknown. */
  refused(token: number, error: ApiError): void;
  /** Certainly not stored either: it was not looked at before this replica stopped leading `group` in `term`, and what was published here behind
   * it in that term will not be. Whoever leads next may store it. */
  returned(token: number, group: number, term: Term, subject: string, hdr: Uint8Array, payload: Uint8Array): void;
}

export interface StoredMessage {
  seq: number;
  subject: string;
  hdr: Uint8Array;
  payload: Uint8Array;
  /** Microseconds since 1970; printed with three zeros as nanoseconds. */
  stampUs: number;
}

/** nats-surface I2; plain numbers; times as microseconds, 0 = none. */
export interface StreamState {
  messages: number;
  bytes: number;
  first_seq: number;
  first_ts_us: number;
  last_seq: number;
  last_ts_us: number;
  num_subjects: number;
  num_deleted: number;
  consumer_count: number;
  deleted?: number[];
  /** A page of them, and how many there are in all. */
  subjects?: Record<string, number>;
  subjects_total?: number;
}

/** nats-surface I4 without times as text: the API layer prints it. */
export interface ConsumerState {
  name: string;
  config: ConsumerConfig;
  createdUs: number;
  delivered: { consumer_seq: number; stream_seq: number; last_active_us: number };
  ack_floor: { consumer_seq: number; stream_seq: number; last_active_us: number };
  num_ack_pending: number;
  num_redelivered: number;
  num_waiting: number;
  num_pending: number;
  push_bound?: boolean;
}

export interface InfoRequest {
  deletedDetails: boolean;
  /** Messages per subject, of the subjects that match: `limit` of them after the first `offset`. */
  subjects?: SubjectsPage;
  /** The answer rests on the configuration of this metadata entry, or on a newer one. */
  revision?: number;
}

/** Where a consumer stands, for monitoring: nothing in it is counted on demand. Local seqs. */
export interface ConsumerPosition {
  name: string;
  createdUs: number;
  deliveredSeq: number;
  /** Messages up to here were delivered or do not match; 0 messages are left when it is the stream's last seq. */
  lookedAtSeq: number;
  floorSeq: number;
  ackPending: number;
  redelivered: number;
  waiting: number;
  /** Of the last ack that the log knows; 0: none yet. */
  ackUs: number;
}

export type GetRequest =
  | { seq: number }
  | { last_by_subj: string }
  | { next_by_subj: string; seq?: number; start_time_us?: number }
  | { start_time_us: number };

/** Seqs of the stream; 0: none. */
export interface PartitionEdges {
  lastSeq: number;
  /** The last message that meets the patterns; all when there are none. */
  lastMatch: number;
}

/** Several messages, ascending: a range that matches a filter ('' everything), or those of `seqs` that still exist. Ends after `count`
 * messages, or when their subjects, headers and payloads come to `bytes`: at least one. */
export type BatchRequest = { count: number; bytes: number } & (
  | { seqs: number[] }
  | { filter: string; seq?: number; start_time_us?: number }
);

export interface MessageBatch {
  messages: StoredMessage[];
  /** There are more that were asked for. */
  more: boolean;
  /** Of a range: how many match from its start on. */
  pending: number;
}

/** The last message of each subject that matches, as the stream stood at a seq or before a time; now when neither is given. */
export interface LastRequest {
  filters: string[];
  up_to_seq?: number;
  up_to_time_us?: number;
  max: number;
}

/** Leader-side operations. Every callback runs exactly once, after the facts that it rests on are committed and applied
 * (10008 after a loss of leadership). Calls on a replica that does not lead are answered with 10008. */
export interface PartitionOps {
  readonly leading: boolean;

  /** Hot path. `hdr`/`payload`/`msg` bytes are copied into the batch during the call. `subject` is literal and belongs to the stream. `term`: in
   * which this replica was known to lead when the publish left for it; leading in another one, it returns it: later ones may be stored since. */
  publish(subject: string, hdr: Uint8Array, payload: Uint8Array, sink: AckSink, token: number, term: Term): void;

  info(want: InfoRequest, done: (state: StreamState | ApiError) => void): void;
  get(request: GetRequest, done: (message: StoredMessage | ApiError) => void): void;
  getBatch(request: BatchRequest, done: (batch: MessageBatch | ApiError) => void): void;
  /** Their seqs, ascending, and the seq up to which they were looked for. 'too-many': more than `max`. */
  getLast(
    request: LastRequest,
    done: (result: { seqs: number[]; upTo: number; lastSeq: number } | 'too-many' | ApiError) => void,
  ): void;
  deleteMessage(seq: number, done: (result: true | ApiError) => void): void;
  purge(request: { filter?: string; seq?: number; keep?: number }, done: (purged: number | ApiError) => void): void;
  /** Config as validated by the API; a changed limit takes effect at apply. `revision`: index of the metadata entry that set it, so
   * that a replica whose metadata lags never brings back an older one; absent: newer than all before. */
  updateConfig(config: StreamConfig, revision?: number): void;

  /** Idempotent create/update by nats-surface K*, action rules 10148/10149 included; `config` is validated and defaulted. */
  createConsumer(
    config: ConsumerConfig,
    action: '' | 'create' | 'update',
    done: (state: ConsumerState | ApiError) => void,
  ): void;
  deleteConsumer(name: string, done: (result: true | ApiError) => void): void;
  consumerInfo(name: string, done: (state: ConsumerState | ApiError) => void): void;
  consumerNames(done: (names: string[] | ApiError) => void): void;
  consumerList(done: (states: ConsumerState[] | ApiError) => void): void;

  /** `$JS.API.CONSUMER.MSG.NEXT`: messages and status frames go out through deliverTo(reply). Body as sent by the client. */
  pull(consumer: string, reply: string, body: Uint8Array): void;
  /** A message to `$JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<ts>.<pending>`: tokens after `$JS.ACK`, payload verb, reply for
   * a double ack ('' none). */
  ack(
    consumer: string,
    streamSeq: number,
    consumerSeq: number,
    delivered: number,
    verb: Uint8Array,
    reply: string,
  ): void;
  /** On streams of several partitions. */
  readonly parts?: PartOps;
  /** A message to `$JS.FC.<stream>.<consumer>.<id>` (its whole subject): a push consumer's flow control request was answered. */
  flowReply?(consumer: string, subject: string): void;
}

/** What homes and parts of consumers of several partitions ask of each other (docs/adr/0004). */
export interface PartOps {
  createPart(plan: PartPlan, done: (result: true | ApiError) => void): void;
  removePart(name: string, homeId: number, done: (result: true | ApiError) => void): void;
  edges(patterns: readonly string[], done: (edges: PartitionEdges | ApiError) => void): void;
  /** Seqs of the newest messages that match, at most `count`; ascending. */
  newest(filter: string, count: number, done: (seqs: number[] | ApiError) => void): void;
  /** A frame from the leader of the home, which is node `from`. False: malformed. */
  fromHome(from: PeerId, frame: Uint8Array): boolean;
  /** A frame from the leader of another partition (or of this one), to the home. False: malformed. */
  fromPart(partition: number, frame: Uint8Array): boolean;
  /** A partition of the stream has a new leader. */
  onPartLeader(partition: number): void;
  onPeerDown(peer: PeerId): void;
}

/** How the partitions of one stream reach each other; given by the composition root. Frames may arrive at any later time, in order per
 * pair of nodes, or not at all. */
export interface PartLinks {
  readonly partitions: number;
  /** To the leader of a partition. False: it did not leave. */
  toPart(partition: number, frame: Uint8Array): boolean;
  /** From partition `from` to the home on node `home`. False: it did not leave. */
  toHome(home: PeerId, from: number, frame: Uint8Array): boolean;
  calls: PartCalls;
}

/** What a home asks of the leaders of other partitions; answered once each, 10008 when the outcome is unknown. */
export interface PartCalls {
  createPart(partition: number, plan: PartPlan, done: (result: true | ApiError) => void): void;
  removePart(partition: number, name: string, homeId: number, done: (result: true | ApiError) => void): void;
  edges(partition: number, patterns: readonly string[], done: (result: PartitionEdges | ApiError) => void): void;
  partInfo(partition: number, name: string, done: (state: ConsumerState | ApiError) => void): void;
  partList(partition: number, done: (states: ConsumerState[] | ApiError) => void): void;
}

/** What makes the part of a consumer. Seqs of the stream; 0: none. */
export interface PartPlan {
  homeId: number;
  config: ConsumerConfig;
  /** Where it begins, if not where the deliver policy says. */
  start: number;
  /** What is stored after the part is made has a larger seq than this. */
  behind: number;
}

/** How a partition reaches clients; given by the composition root (broker.deliverTo / hasInterest with the account bound). */
export interface Outlet {
  deliverTo(inbox: string, message: { subject: string; reply: string; hdr: Uint8Array; payload: Uint8Array }): boolean;
  hasInterest(inbox: string): boolean;
  /** Publishes an advisory if someone listens. */
  publish(subject: string, payload: Uint8Array): void;
}

// ---- between machine.ts and consumers (both replicated state; all pure) ---------------------------------------------

/** A compiled set of subject filters; empty set = everything. */
export interface SubjectFilter {
  readonly patterns: readonly string[];
  matches(subject: string): boolean;
  /** All patterns are literal subjects. */
  readonly literal: boolean;
}

/** The machine's messages as consumers see them. Local seqs. O(1) per step unless said. */
export interface MessageView {
  readonly firstSeq: number;
  readonly lastSeq: number;
  exists(seq: number): boolean;
  /** Smallest existing seq >= from that matches; 0 when none. Skips along per-subject links for literal filters. */
  next(from: number, filter: SubjectFilter): number;
  /** Existing messages with seq >= from that match. May be O(subjects) or O(messages) for wildcards: computed on demand only. */
  count(from: number, filter: SubjectFilter): number;
  /** `count` from there on takes a step of at most a few milliseconds. */
  isShort(from: number, filter: SubjectFilter): boolean;
  /** Of the last messages of the subjects that match, the oldest and the newest; 0 when nothing matches. O(subjects). */
  firstLast(filter: SubjectFilter): number;
  lastMatching(filter: SubjectFilter): number;
  /** Subjects that have messages. */
  readonly subjects: number;
  /** Calls `each` with the ids of those of the `max` subjects behind `from` that match; returns the last id looked at, 0 at the end. All that
   * begin to exist meanwhile may come or not; literal filters are one step. */
  someSubjects(from: number, filter: SubjectFilter, max: number, each: (id: number) => void): number;
  /** Calls `each` with those of the `max` messages of [from, upTo] that match, until it says false; returns where to go on, 0 at the end. */
  someMessages(from: number, upTo: number, filter: SubjectFilter, max: number, each: (seq: number) => boolean): number;
  countOfSubject(id: number): number;
  lastOfSubject(id: number): number;
  /** Of an existing message. */
  subjectIdOf(seq: number): number;
  /** The message before it of the same subject; 0: it is the first. */
  previousOfSubject(seq: number): number;
  /** Of its subject's messages up to `upTo` it is the last that still exists. */
  isLastUpTo(seq: number, upTo: number): boolean;
  subjectOf(seq: number): string;
  stampUsOf(seq: number): number;
  /** First existing seq whose stamp is >= stampUs; lastSeq + 1 when none. */
  seqAtOrAfter(stampUs: number): number;
}

/** Called before the messages go. */
export interface RemovalWatcher {
  onRemoved(seq: number): void;
  /** All messages at once. */
  onCleared(): void;
}

/** What a consumer table is made with, by the machine that owns it. */
export interface ConsumerTableOptions {
  /** The stream's configuration as the log has made it: equal on every replica at the same place of the log. */
  config: () => StreamConfig;
  /** Interest retention: a consumer no longer wants what matches (everything when there are no patterns); who else does must be asked. */
  lostInterest: (patterns: readonly string[]) => void;
  /** The entry being applied is of a machine version in which last_per_subject began at its first message, whatever it took to find it. */
  beginsExactly: () => boolean;
}

/** Consumer state kept by the partition's log; implemented in consumers.ts, owned by StreamMachine. */
export interface ConsumerTable {
  /** A command of type 32..63 from a batch, at its place in the log. Removals by ack go through `remove`. Returns the command's
   * result for the leader's waiting callback (undefined: done). */
  apply(
    type: number,
    body: Uint8Array,
    stampUs: number,
    view: MessageView,
    remove: (seq: number) => void,
  ): ApiError | undefined;
  /** A message was removed by limit, purge, delete or rollup: it is no longer pending anywhere. */
  onRemoved(seq: number): void;
  /** All messages were removed. */
  onCleared(): void;
  /** Interest retention: does any consumer still want this message? */
  isWanted(seq: number, subject: string, view: MessageView): boolean;
  readonly count: number;
  snapshot(): Uint8Array;
  restore(state: Uint8Array): void;
  /** Mixed into the machine's results digest. */
  digest(): string;
}

/** How leader-side consumer code writes to the partition's log. */
export interface CommandProposer {
  /** Adds a command to the partition's batch of this turn. `done(result)` after apply; `lost` (10008) when leadership goes first. */
  proposeCommand(type: number, body: Uint8Array, done: ((result: ApiError | undefined) => void) | undefined): void;
  /** The partition's last seq becomes at least `seq`: what is stored later has a larger one. `done(true)` after apply. */
  advance(seq: number, done: (ok: boolean) => void): void;
  /** Reads a stored message (local seq); undefined: removed or damaged. Synchronous when in memory. */
  readMessage(seq: number, done: (message: StoredMessage | undefined) => void): void;
  readonly nowMs: () => number;
  /** As of Group: up to when this leader may act alone on being leader. */
  readonly provenUntilMs: () => number;
  /** Asks for a new proof; `done` when it is there, or will not come. */
  prove(done: () => void): void;
}
