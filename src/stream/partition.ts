// One partition of a stream on this node: the door between the replicated machine and everyone who asks something of it. The host calls
// it as GroupMachine, the API and the routers as PartitionOps, the consumers as CommandProposer (DESIGN §4, §7).
// Invariants: what changes the stream goes through leader.ts and the log, what reads it through partition-reads.ts; seqs outside are the
// stream's, inside local (partition-seqs.ts). A broken invariant stops the process.
import type { Group, GroupMachine, Index, PeerId, StateSink } from '../../cluster/host/types.ts';
import type { Env } from '../kit/env.ts';
import {
  CommandType,
  encodeAdvance,
  encodeConfig,
  encodeDelete,
  encodePurge,
  PublishView,
  type PurgeCommand,
  readPublish,
} from './batch-codec.ts';
import { BodyCache, type ColdBodies } from './body-cache.ts';
import type { ConsumerConfig, StreamConfig } from './config.ts';
import { type ConsumerRegistry, createConsumerTable } from './consumers.ts';
import { DeliveryEngine } from './delivery.ts';
import type { DeliveryCounts } from './delivery-counts.ts';
import { type ApiError, apiError } from './errors.ts';
import { ExpiryTimers } from './expiry.ts';
import { HomeEngine } from './home-engine.ts';
import { type LeaderOptions, PartitionLeader } from './leader.ts';
import { type CommandResult, StreamMachine } from './machine.ts';
import { PartSessions } from './part-sessions.ts';
import { PartitionReads } from './partition-reads.ts';
import { PartitionSeqs } from './partition-seqs.ts';
import { utf8Text } from './text.ts';
import type {
  AckSink,
  BatchRequest,
  CommandProposer,
  ConsumerPosition,
  ConsumerState,
  GetRequest,
  InfoRequest,
  LastRequest,
  MessageBatch,
  Outlet,
  PartitionOps,
  PartLinks,
  PartOps,
  StoredMessage,
  StreamState,
} from './types.ts';

const EMPTY = new Uint8Array(0);
const IN_FLIGHT_BYTES_MAX = 32 << 20;
const IN_FLIGHT_MESSAGES_MAX = 64 << 10;
const DISK_LOW = apiError(10047);

export interface PartitionOptions extends Pick<LeaderOptions, 'bodies' | 'window'> {
  env: Env;
  account: string;
  streamName: string;
  streamId: number;
  partition: number;
  stride: number;
  /** As the metadata has it now; the log's first configuration comes from here. */
  config: StreamConfig;
  /** Index of the metadata entry that set `config`; default: the creating one. */
  configRevision?: number;
  outlet: Outlet;
  clusterTimeUs: () => number;
  /** The disk has no room for new messages. */
  isDiskLow?: () => boolean;
  /** Shared by all partitions of the node. */
  deliveryCounts?: DeliveryCounts;
  /** To the stream's other partitions; absent: there are none. */
  links?: PartLinks;
  inFlightBytesMax?: number;
  inFlightMessagesMax?: number;
  /** What one entry may spend on removals (batch-codec.ts). */
  entryWork: number;
  /** Shared by all partitions of the node. */
  coldBodies: ColdBodies;
}

type Done<T> = (result: T | ApiError) => void;

export class Partition implements GroupMachine, PartitionOps, CommandProposer {
  readonly account: string;
  readonly streamName: string;
  readonly streamId: number;
  readonly partition: number;
  readonly machine: StreamMachine;
  readonly nowMs: () => number;
  readonly #env: Env;
  readonly #isDiskLow: () => boolean;
  readonly #seqs: PartitionSeqs;
  readonly #reads: PartitionReads;
  readonly #entryWork: number;
  readonly #leader: PartitionLeader;
  readonly #engine: DeliveryEngine;
  /** On a stream of several partitions: its consumers are parts; the first partition is their home. */
  readonly #sessions: PartSessions | undefined;
  readonly #home: HomeEngine | undefined;
  readonly parts: PartOps | undefined;
  readonly #expiry: ExpiryTimers;
  /** The newest configuration that the metadata has, and the entry that set it. */
  #config: StreamConfig;
  #configRevision: number;
  #group: Group | undefined;
  readonly #coldBodies: ColdBodies;
  #cache: BodyCache | undefined;
  readonly #publish = new PublishView();
  #closed = false;

  constructor(options: PartitionOptions) {
    const { env, streamName, partition, stride, config, clusterTimeUs } = options;
    if (partition < 0 || partition >= stride) throw new Error(`partition ${partition} of a stride of ${stride}`);
    this.#env = env;
    this.account = options.account;
    this.streamName = streamName;
    this.streamId = options.streamId;
    this.#coldBodies = options.coldBodies;
    this.partition = partition;
    this.#seqs = new PartitionSeqs(stride, partition);
    this.#entryWork = options.entryWork;
    this.#config = config;
    this.#configRevision = options.configRevision ?? options.streamId;
    this.#isDiskLow = options.isDiskLow ?? (() => false);
    this.nowMs = () => env.clock.nowMs();
    this.machine = new StreamMachine({
      consumers: createConsumerTable,
      seed: env.random.uint32(),
      toLocalFirst: (firstSeq) => this.#seqs.toLocalFrom(firstSeq),
    });
    this.#reads = new PartitionReads({
      clock: env.clock,
      machine: this.machine,
      seqs: this.#seqs,
      readMessage: (seq, done) => this.readMessage(seq, done),
      localState: () => this.localState(),
      isLeading: () => this.leading,
      configRevision: () => this.#configRevision,
    });
    this.#leader = new PartitionLeader({
      env,
      machine: this.machine,
      streamName,
      stride,
      partition,
      clusterTimeUs,
      config: () => this.#config,
      entryWork: options.entryWork,
      bodies: options.bodies,
      window: options.window,
      limits: {
        inFlightBytesMax: options.inFlightBytesMax ?? IN_FLIGHT_BYTES_MAX,
        inFlightMessagesMax: options.inFlightMessagesMax ?? IN_FLIGHT_MESSAGES_MAX,
      },
    });
    const { links } = options;
    if (links !== undefined) this.#sessions = this.#createSessions(links);
    this.#engine = new DeliveryEngine({
      env,
      uplink: this.#sessions,
      table: this.machine.consumers,
      view: this.machine.index,
      proposer: this,
      outlet: options.outlet,
      streamName,
      config: () => this.#config,
      streamSeq: (local) => this.#seqs.toStream(local),
      counts: options.deliveryCounts,
    });
    if (links !== undefined && partition === 0) this.#home = this.#createHome(options, links);
    if (this.#sessions !== undefined) this.parts = this.#partOps(this.#sessions);
    this.#expiry = new ExpiryTimers({ env, machine: this.machine, leader: this.#leader, clusterTimeUs });
  }

  #createSessions(links: PartLinks): PartSessions {
    return new PartSessions({
      env: this.#env,
      engine: () => this.#engine,
      table: this.machine.consumers as ConsumerRegistry,
      view: this.machine.index,
      proposer: this,
      send: (home, frame) => links.toHome(home, this.partition, frame),
      toLocalFrom: (seq) => this.#seqs.toLocalFrom(seq),
      isLeading: () => this.leading,
    });
  }

  #createHome({ env, outlet, streamName }: PartitionOptions, links: PartLinks): HomeEngine {
    const { calls } = links;
    return new HomeEngine({
      env,
      partitions: links.partitions,
      engine: this.#engine,
      table: this.machine.consumers as ConsumerRegistry,
      view: this.machine.index,
      proposer: this,
      outlet,
      streamName,
      config: () => this.#config,
      toPart: links.toPart,
      toLocalFrom: (seq, partition) => this.#seqs.toLocalFrom(seq, partition),
      calls: {
        ...calls,
        edges: (partition, patterns, done) => {
          if (partition === 0) this.#reads.edges(patterns, done);
          else calls.edges(partition, patterns, done);
        },
        partInfo: (partition, name, done) => {
          if (partition === 0) this.#engine.consumerInfo(name, done);
          else calls.partInfo(partition, name, done);
        },
        partList: (partition, done) => {
          if (partition === 0) this.#engine.consumerList(done);
          else calls.partList(partition, done);
        },
      },
    });
  }

  #partOps(sessions: PartSessions): PartOps {
    return {
      createPart: (plan, done) => sessions.create(plan, done),
      removePart: (name, homeId, done) => sessions.remove(name, homeId, done),
      edges: (patterns, done) => this.#reads.edges(patterns, done),
      newest: (filter, count, done) => this.#reads.newest(filter, count, done),
      fromHome: (from, frame) => sessions.receive(from, frame),
      fromPart: (from, frame) => this.#home?.receive(from, frame) ?? true,
      onPartLeader: (partition) => this.#home?.onPartLeader(partition),
      onPeerDown: (peer) => sessions.onPeerDown(peer),
    };
  }

  attach(group: Group): void {
    this.#group = group;
    this.#reads.attach(group);
    this.#cache = new BodyCache(this.#coldBodies, group);
    this.#leader.attach(group);
  }

  /** The partition ends on this node: its stream was deleted, or the node stops. */
  close(reason: 'deleted' | 'shutdown' = 'shutdown'): void {
    if (this.#closed) return;
    this.#home?.close(reason);
    this.#engine.close(reason);
    this.#closed = true;
    this.#reads.close();
    this.#cache?.close();
    this.#stopLeading();
  }

  get leading(): boolean {
    return this.#leader.leading;
  }

  /** The newest configuration that the metadata has told this replica. */
  get config(): StreamConfig {
    return this.#config;
  }

  // ---- GroupMachine

  apply(index: Index, _term: number, body: Uint8Array): void {
    const { machine } = this;
    const before = machine.lastSeq;
    try {
      machine.apply(index, body);
    } catch (error) {
      this.#env.fatal(`stream ${this.streamName} (${this.streamId}/${this.partition}) at entry ${index}: ${error}`);
    }
    if (machine.configRevision > this.#configRevision) this.#adoptConfig();
    if (!this.#leader.leading) return;
    this.#leader.applied(index, body);
    if (!this.#leader.leading) return;
    if (machine.lastSeq > before) this.#engine.onStored(machine.lastSeq);
    if (this.#reads.isWaiting) this.#reads.configured();
    this.#expiry.applied();
  }

  #adoptConfig(): void {
    const { config, configRevision } = this.machine;
    if (config === undefined) return;
    this.#config = config;
    this.#configRevision = configRevision;
  }

  onLeading(term: number, paused: boolean): void {
    if (this.#closed) return;
    this.#stopLeading();
    const { machine } = this;
    machine.watcher = this.#engine;
    this.#leader.begin(term, this.#seqs.toLocalFrom(this.#config.first_seq ?? 0), paused);
    if (machine.config === undefined || machine.configRevision < this.#configRevision) this.#proposeConfig();
    this.#engine.onLeading(term);
    this.#home?.onLeading(term);
    this.#expiry.applied();
  }

  onNotLeading(_leader: PeerId): void {
    this.#stopLeading();
  }

  onPause(paused: boolean): void {
    this.#leader.pause(paused);
  }

  #stopLeading(): void {
    if (this.machine.watcher !== undefined) {
      this.machine.watcher = undefined;
      if (!this.#closed) {
        this.#home?.onNotLeading();
        this.#engine.onNotLeading();
      }
      this.#sessions?.onNotLeading();
    }
    this.#expiry.stop();
    this.#leader.end();
    this.#reads.giveUp();
  }

  snapshot(): Iterable<Uint8Array> {
    return this.machine.snapshot();
  }

  restore(index: Index): StateSink {
    const sink = this.machine.restore();
    const checked = (step: () => void): void => {
      try {
        step();
      } catch (error) {
        const name = `${this.streamName} (${this.streamId}/${this.partition})`;
        this.#env.fatal(`stream ${name}: snapshot at ${index}: ${error}`);
      }
    };
    this.#cache?.clear();
    return {
      push: (bytes) => checked(() => sink.push(bytes)),
      end: () => {
        checked(() => sink.end());
        if (this.machine.configRevision > this.#configRevision) this.#adoptConfig();
      },
    };
  }

  isEntryLive(index: Index): boolean {
    return this.machine.isEntryLive(index);
  }

  digest(): string {
    return this.machine.digest();
  }

  // ---- writes

  publish(subject: string, hdr: Uint8Array, payload: Uint8Array, sink: AckSink, token: number, term: number): void {
    if (this.leading && this.#isDiskLow()) sink.refused(token, DISK_LOW);
    else this.#leader.publish(subject, hdr, payload, sink, token, term);
  }

  deleteMessage(seq: number, done: Done<true>): void {
    const refusal = this.#refusalOf(this.#config.deny_delete, 10057, 'message delete not permitted');
    if (refusal !== undefined) {
      done(refusal);
      return;
    }
    const local = this.#seqs.toLocal(seq);
    // Also a seq of another partition is answered from the log: "not found" is a statement about the stream.
    this.#leader.command(CommandType.delete, encodeDelete(local), (result) => {
      if (result === undefined) done(true);
      else if (typeof result === 'number' || 'gone' in result) done(apiError(10057, { err: 'unexpected result' }));
      else done(result.err_code === 10043 ? apiError(10043, { seq }) : result);
    });
  }

  #refusalOf(denied: boolean, code: 10057 | 10110, err: string): ApiError | undefined {
    if (this.#config.sealed) return apiError(10109);
    return denied ? apiError(code, { err }) : undefined;
  }

  purge(request: { filter?: string; seq?: number; keep?: number }, done: Done<number>): void {
    const refusal = this.#refusalOf(this.#config.deny_purge, 10110, 'stream purge not permitted');
    if (refusal !== undefined) {
      done(refusal);
      return;
    }
    const { filter = '', seq = 0, keep = 0 } = request;
    const below = seq <= 0 ? 0 : this.#seqs.toLocalFrom(seq);
    this.#purgeOn({ filter, below, keep, from: 0, limit: 0, budget: this.#entryWork }, 0, done);
  }

  /** Of a large stream a part goes with each command, so that no apply is long. */
  #purgeOn(command: PurgeCommand, before: number, done: Done<number>): void {
    this.#leader.command(CommandType.purge, encodePurge(command), (result) => {
      if (typeof result === 'number') done(before + result);
      else if (result === undefined || 'code' in result) done(result ?? before);
      else {
        const { gone, ...rest } = result;
        this.#purgeOn({ ...command, ...rest }, before + gone, done);
      }
    });
  }

  updateConfig(config: StreamConfig, revision?: number): void {
    const known = this.#configRevision;
    if (revision !== undefined ? revision <= known : JSON.stringify(config) === JSON.stringify(this.#config)) return;
    this.#config = config;
    this.#configRevision = revision ?? known + 1;
    if (this.leading) this.#proposeConfig();
  }

  #proposeConfig(): void {
    this.#leader.command(CommandType.config, encodeConfig(this.#configRevision, this.#config), undefined);
  }

  provenUntilMs(): number {
    return this.#group?.provenUntilMs ?? Number.NEGATIVE_INFINITY;
  }

  prove(done: () => void): void {
    this.#group?.readBarrier(done);
  }

  proposeCommand(type: number, body: Uint8Array, done: ((result: ApiError | undefined) => void) | undefined): void {
    // Consumer commands have no number as result.
    this.#leader.command(type, body, done as ((result: CommandResult) => void) | undefined);
  }

  advance(seq: number, done: (ok: boolean) => void): void {
    this.#leader.command(CommandType.advance, encodeAdvance(seq), (result) => done(result === undefined));
  }

  /** The last local seq that is given, in flight or applied. */
  get lastGivenSeq(): number {
    return this.#leader.lastSeq;
  }

  // ---- reads

  info(want: InfoRequest, done: Done<StreamState>): void {
    this.#reads.info(want, done);
  }

  get(request: GetRequest, done: Done<StoredMessage>): void {
    this.#reads.get(request, done);
  }

  getBatch(request: BatchRequest, done: Done<MessageBatch>): void {
    this.#reads.getBatch(request, done);
  }

  getLast(request: LastRequest, done: Done<{ seqs: number[]; upTo: number; lastSeq: number } | 'too-many'>): void {
    this.#reads.getLast(request, done);
  }

  /** As applied here, for monitoring: no barrier. */
  localState(): StreamState {
    const { index, lastMessageStampUs } = this.machine;
    // A stream that was told where to begin says so from the start.
    const unused = index.lastSeq === 0 && this.#config.first_seq === undefined;
    return {
      messages: index.messages,
      bytes: index.bytes,
      first_seq: unused ? 0 : this.#seqs.toStream(index.firstSeq),
      first_ts_us: index.messages === 0 ? 0 : index.stampUsOf(index.firstSeq),
      last_seq: this.#seqs.toStream(index.lastSeq),
      last_ts_us: lastMessageStampUs,
      num_subjects: index.subjects,
      num_deleted: index.deletedCount,
      consumer_count: this.#consumerCount,
    };
  }

  /** Consumers of the leader's engine, for monitoring; empty on other replicas. */
  localConsumers(): ConsumerState[] {
    return this.#engine.localStates();
  }

  /** Where its consumers stand, on the leader; for monitoring. */
  consumerPositions(): Generator<ConsumerPosition> {
    return this.#engine.positions();
  }

  /** The highest seq that this replica has acknowledged to a publisher since it was opened; 0: none. */
  get ackedSeq(): number {
    return this.#seqs.toStream(this.#leader.ackedSeq);
  }

  /** Those of the stream, told by its first partition. */
  get #consumerCount(): number {
    if (this.#sessions !== undefined && this.#home === undefined) return 0;
    if (!this.leading) return this.machine.consumers.count;
    return this.#home?.consumerCount ?? this.#engine.consumerCount;
  }

  /** Local seqs, also in the result. Undefined: removed, or unreadable for now (then it still exists). */
  readMessage(seq: number, done: (message: StoredMessage | undefined) => void): void {
    const { index } = this.machine;
    const entry = index.locate(seq);
    const cache = this.#cache;
    const body = entry === 0 ? undefined : cache?.now(entry);
    if (body !== undefined) done(this.#decode(body, seq));
    else if (entry === 0 || cache === undefined) done(undefined);
    else {
      cache.read(entry, (read) => done(read !== undefined && index.exists(seq) ? this.#decode(read, seq) : undefined));
    }
  }

  #decode(body: Uint8Array, seq: number): StoredMessage {
    const { index } = this.machine;
    index.locate(seq);
    const publish = this.#publish;
    readPublish(this.#coldBodies.viewOf(body), index.offset, publish);
    return {
      seq,
      subject: utf8Text(body, publish.subjectAt, publish.subjectEnd),
      hdr: publish.hdrEnd === publish.hdrAt ? EMPTY : body.subarray(publish.hdrAt, publish.hdrEnd),
      payload: body.subarray(publish.payloadAt, publish.payloadEnd),
      stampUs: index.stampUsOf(seq),
    };
  }

  // ---- consumers

  createConsumer(config: ConsumerConfig, action: '' | 'create' | 'update', done: Done<ConsumerState>): void {
    (this.#home ?? this.#engine).createConsumer(config, action, done);
  }

  deleteConsumer(name: string, done: Done<true>): void {
    (this.#home ?? this.#engine).deleteConsumer(name, done);
  }

  consumerInfo(name: string, done: Done<ConsumerState>): void {
    this.#reads.barrier((ok) => {
      if (ok) (this.#home ?? this.#engine).consumerInfo(name, done);
      else done(apiError(10008));
    });
  }

  consumerNames(done: Done<string[]>): void {
    this.#reads.barrier((ok) => {
      if (ok) (this.#home ?? this.#engine).consumerNames(done);
      else done(apiError(10008));
    });
  }

  consumerList(done: Done<ConsumerState[]>): void {
    this.#reads.barrier((ok) => {
      if (ok) (this.#home ?? this.#engine).consumerList(done);
      else done(apiError(10008));
    });
  }

  pull(consumer: string, reply: string, body: Uint8Array): void {
    (this.#home ?? this.#engine).pull(consumer, reply, body);
  }

  ack(
    consumer: string,
    streamSeq: number,
    consumerSeq: number,
    delivered: number,
    verb: Uint8Array,
    reply: string,
  ): void {
    const local = this.#seqs.toLocal(streamSeq);
    if (local > 0) this.#engine.ack(consumer, local, consumerSeq, delivered, verb, reply);
  }

  flowReply(consumer: string, subject: string): void {
    (this.#home ?? this.#engine).flowReply(consumer, subject);
  }
}
