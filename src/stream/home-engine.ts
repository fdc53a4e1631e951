// Consumers of a stream of several partitions on the leader of its first partition, their home (docs/adr/0004): API requests, pull
// requests, sessions with the parts, turns. The counterpart of DeliveryEngine, which is at work below it for the parts of this
// partition. Owned by partition.ts. Invariants: a consumer exists when the home's log says so; it is answered for when every
// partition has applied its part; sessions of this leadership have larger numbers than those of earlier ones.
import type { Env } from '../kit/env.ts';
import type { ConsumerConfig, StreamConfig } from './config.ts';
import { ConsumerCommand, type CreateAction, encodeRemove } from './consumer-codec.ts';
import { filterPatterns } from './consumer-filter.ts';
import { ConsumerRecord } from './consumer-record.ts';
import { decideCreate, keptDurable } from './consumer-rules.ts';
import type { ConsumerRegistry } from './consumers.ts';
import { type DeliveryEngine, livesInMemory } from './delivery.ts';
import { Advisories, randomId } from './delivery-advisories.ts';
import * as frames from './delivery-frames.ts';
import type { Budget } from './delivery-host.ts';
import { TimerHeap } from './delivery-timers.ts';
import { type ApiError, apiError, isApiError } from './errors.ts';
import { HomeConsumer, type HomeHost, REOPEN_MS } from './home-consumer.ts';
import { mergeParts } from './home-info.ts';
import type { HomeSource } from './home-source.ts';
import { LeaderProof } from './leader-proof.ts';
import { encodeHomeFrame, PartFrame, readPartFrame } from './part-frames.ts';
import { SESSIONS_PER_TERM } from './part-sessions.ts';
import type { PullsEnd } from './pull-queue.ts';
import { parsePull } from './pull-request.ts';
import type { CommandProposer, ConsumerState, MessageView, Outlet, PartCalls, PartitionEdges } from './types.ts';

const TURN_MESSAGES_MAX = 1000;
const TURN_BYTES_MAX = 4 << 20;
const SLICE_MESSAGES_MAX = 256;
const SLICE_BYTES_MAX = 1 << 20;
/** A part that could not be made or removed is looked after again. */
const REPAIR_MS = 1000;
/** How long the parts of a consumer in memory have to say where they stand. */
const OPEN_MS_MAX = 2000;

export interface HomeEngineOptions {
  env: Env;
  partitions: number;
  engine: DeliveryEngine;
  table: ConsumerRegistry;
  view: MessageView;
  proposer: CommandProposer;
  outlet: Outlet;
  streamName: string;
  config: () => StreamConfig;
  calls: PartCalls;
  /** To the leader of a partition. False: it did not leave. */
  toPart: (partition: number, frame: Uint8Array) => boolean;
  /** First local seq of a partition whose stream seq is >= seq. */
  toLocalFrom: (seq: number, partition: number) => number;
}

type Answer<T> = (result: T | ApiError) => void;

/** Where the parts of a new consumer begin. Seqs of the stream; 0: not decided here. */
interface Beginning {
  start: number;
  behind: number;
}

const AS_IT_IS: Beginning = { start: 0, behind: 0 };

interface AckAllWait {
  inbox: string;
  left: number;
}

export class HomeEngine implements HomeHost {
  readonly env: Env;
  readonly outlet: Outlet;
  readonly streamName: string;
  readonly partitions: number;
  readonly #options: HomeEngineOptions;
  readonly #table: ConsumerRegistry;
  readonly #calls: PartCalls;
  readonly #advisories: Advisories;
  readonly #timers: TimerHeap;
  readonly #proof: LeaderProof<HomeConsumer>;
  readonly #live = new Map<string, HomeConsumer>();
  readonly #ackAlls = new Map<number, AckAllWait>();
  #ready: HomeConsumer[] = [];
  #turnAsked = false;
  #leading = false;
  #session = 0;
  #token = 0;
  /** Counts leaderships: what was asked in an earlier one is not answered for. */
  #reign = 0;

  constructor(options: HomeEngineOptions) {
    this.#options = options;
    this.env = options.env;
    this.outlet = options.outlet;
    this.streamName = options.streamName;
    this.partitions = options.partitions;
    this.#table = options.table;
    this.#calls = options.calls;
    this.#advisories = new Advisories(options.env, options.outlet, options.streamName);
    this.#timers = new TimerHeap(options.env.clock);
    this.#proof = new LeaderProof(options.env.clock, options.proposer, this, 1);
  }

  // ---- leadership ---------------------------------------------------------------------------------------------------

  onLeading(term: number) {
    this.#leading = true;
    this.#reign++;
    this.#session = term * SESSIONS_PER_TERM;
    this.#proof.begin(term);
    for (let partition = 1; partition < this.partitions; partition++) this.#sync(partition);
    for (const record of this.#table.records()) {
      const { config } = record;
      if (config.deliver_subject || config.inactive_threshold || !config.durable_name) this.ready(this.#wake(record));
    }
  }

  onNotLeading() {
    this.#endAll(this.#options.config().num_replicas > 1 ? 'handed over' : 'shutdown');
  }

  close(reason: 'deleted' | 'shutdown') {
    const gone = reason === 'deleted' && this.#leading ? this.#names() : [];
    this.#endAll(reason);
    for (const name of gone) this.#advisories.action(name, 'delete');
  }

  /** A partition has a leader (again): sessions with earlier ones are over. */
  onPartLeader(partition: number) {
    if (!this.#leading) return;
    if (partition > 0) this.#sync(partition);
    for (const consumer of this.#live.values()) {
      for (const source of consumer.sources) {
        if (source.partition !== partition) continue;
        source.closed();
        source.reopenAtMs = 0;
        this.ready(consumer);
      }
    }
  }

  /** Tells the partition's leader which consumers there are. */
  #sync(partition: number) {
    const ids = [...this.#table.records()].map(({ id }) => id).sort((a, b) => a - b);
    const { nextId } = this.#table;
    this.toPart(partition, encodeHomeFrame({ kind: PartFrame.sync, session: ++this.#session, nextId, ids }));
  }

  // ---- API ----------------------------------------------------------------------------------------------------------

  createConsumer(config: ConsumerConfig, action: CreateAction, done: Answer<ConsumerState>) {
    if (!this.#leading) return done(apiError(10008));
    const name = config.name ?? config.durable_name ?? randomId(this.env, 8);
    const live = this.#live.get(name);
    const record = live?.record ?? this.#table.get(name);
    const named = keptDurable(record?.config, { ...config, name }, action);
    if (record !== undefined && this.#isOccupied(record.config, named)) return done(apiError(10013));
    const isLight = live?.memory === true || (record === undefined && livesInMemory(named, this.#options.config()));
    const refused = isLight ? this.#refusal(live, named, action) : undefined;
    if (refused !== undefined) return done(refused);
    if (isLight && live !== undefined) return this.#updateInMemory(live, named, done);
    const reign = this.#reign;
    this.#findBeginning(named, (beginning) => {
      if (isApiError(beginning)) return done(beginning);
      if (!this.#leading || reign !== this.#reign) return done(apiError(10008));
      // Somebody else may have been faster.
      const known = this.#live.get(name)?.record ?? this.#table.get(name);
      if (known !== record) return this.createConsumer(named, action, done);
      // One that exists may lack a part whose creation was never answered.
      if (isLight) this.#createInMemory(named, beginning, done);
      else this.#createReplicated(named, action, beginning, done);
    });
  }

  #refusal(live: HomeConsumer | undefined, config: ConsumerConfig, action: CreateAction): ApiError | undefined {
    const outcome = decideCreate(live?.config, config, action);
    return isApiError(outcome) ? outcome : undefined;
  }

  /** PU5: a push subject may move only while nobody listens on the old one. */
  #isOccupied(old: ConsumerConfig, config: ConsumerConfig): boolean {
    if (!old.deliver_subject || !config.deliver_subject || old.deliver_subject === config.deliver_subject) return false;
    return this.outlet.hasInterest(old.deliver_subject);
  }

  /** What only all partitions together can say about where a consumer begins. */
  #findBeginning(config: ConsumerConfig, then: (beginning: Beginning | ApiError) => void) {
    const { deliver_policy: policy, opt_start_seq: wanted = 1 } = config;
    const isOrdered = config.ack_policy !== 'explicit';
    if (policy !== 'last' && policy !== 'by_start_sequence' && !(policy === 'new' && isOrdered)) return then(AS_IT_IS);
    const edges: (PartitionEdges | ApiError)[] = [];
    let missing = this.partitions;
    for (let partition = 0; partition < this.partitions; partition++) {
      this.#calls.edges(partition, filterPatterns(config), (found) => {
        edges[partition] = found;
        if (--missing > 0) return;
        const refused = edges.find(isApiError);
        if (refused !== undefined) return then(refused);
        const known = edges as PartitionEdges[];
        const lastSeq = Math.max(...known.map((edge) => edge.lastSeq));
        const lastMatch = Math.max(...known.map((edge) => edge.lastMatch));
        if (policy === 'new') then({ start: 0, behind: lastSeq });
        else if (policy === 'by_start_sequence') then({ start: wanted, behind: Math.min(wanted - 1, lastSeq) });
        else if (lastMatch > 0) then({ start: lastMatch, behind: lastMatch });
        else then({ start: lastSeq + 1, behind: lastSeq });
      });
    }
  }

  #createReplicated(config: ConsumerConfig, action: CreateAction, beginning: Beginning, done: Answer<ConsumerState>) {
    const existed = this.#table.get(config.name ?? '') !== undefined;
    this.#advance(beginning.behind, (ok) => {
      if (!ok) return done(apiError(10008));
      const start = beginning.start === 0 ? 0 : this.#options.toLocalFrom(beginning.start, 0);
      this.#options.engine.createHome(config, action, start, (record) => {
        if (isApiError(record)) return done(record);
        if (!existed) this.#advisories.action(record.name, 'create');
        this.#createParts(record, beginning, (failed) => {
          if (failed !== undefined) return done(failed);
          const consumer = this.#live.get(record.name) ?? (this.#leading ? this.#wake(record) : undefined);
          consumer?.configure();
          if (consumer !== undefined) this.ready(consumer);
          this.consumerInfo(record.name, done);
        });
      });
    });
  }

  #advance(behind: number, then: (ok: boolean) => void) {
    const level = behind === 0 ? 0 : this.#options.toLocalFrom(behind + 1, 0) - 1;
    if (level <= this.#options.view.lastSeq) then(true);
    else this.#options.proposer.advance(level, then);
  }

  /** One command in every other partition's log; all of them have applied it, or it is not known. */
  #createParts(record: ConsumerRecord, beginning: Beginning, then: (failed: ApiError | undefined) => void) {
    let missing = this.partitions - 1;
    let failed: ApiError | undefined;
    const plan = { homeId: record.id, config: record.config, ...beginning };
    for (let partition = 1; partition < this.partitions; partition++) {
      this.#calls.createPart(partition, plan, (result) => {
        if (isApiError(result)) {
          failed = result;
          this.#repairLater(partition);
        }
        if (--missing === 0) then(failed);
      });
    }
  }

  /** What could not be made or removed now is, when the partition answers again. */
  #repairLater(partition: number) {
    const reign = this.#reign;
    this.env.clock.after(REPAIR_MS, () => {
      if (this.#leading && reign === this.#reign) this.#sync(partition);
    });
  }

  #createInMemory(config: ConsumerConfig, { start, behind }: Beginning, done: Answer<ConsumerState>) {
    const record = new ConsumerRecord(0, config, this.env.clock.wallUs());
    const consumer = this.#begin(record, true);
    consumer.start = start;
    consumer.behind = behind;
    this.#advisories.action(record.name, 'create');
    this.#whenOpen(consumer, (isOpen) => {
      if (isOpen) return this.#memoryInfo(consumer, done);
      if (this.#live.get(record.name) === consumer) this.#removed(consumer);
      done(apiError(10008));
    });
  }

  #whenOpen(consumer: HomeConsumer, then: (isOpen: boolean) => void) {
    const onOpen = (): void => {
      this.env.clock.cancel(timer);
      then(true);
    };
    const timer = this.env.clock.after(OPEN_MS_MAX, () => {
      if (consumer.onOpen === onOpen) consumer.onOpen = undefined;
      then(false);
    });
    consumer.onOpen = onOpen;
    this.ready(consumer);
  }

  #updateInMemory(consumer: HomeConsumer, config: ConsumerConfig, done: Answer<ConsumerState>) {
    const outcome = decideCreate(consumer.config, config, '');
    if (outcome === 'changed') {
      consumer.record.reconfigure(config);
      consumer.configure();
      // The parts are opened anew where they are, with what they are to be now.
      for (const source of consumer.sources) source.end();
    }
    this.#whenOpen(consumer, (isOpen) => {
      if (isOpen) this.#memoryInfo(consumer, done);
      else done(apiError(10008));
    });
  }

  deleteConsumer(name: string, done: Answer<true>) {
    if (!this.#leading) return done(apiError(10008));
    const live = this.#live.get(name);
    if (live?.memory) {
      this.#removed(live);
      done(true);
      return;
    }
    const record = this.#table.get(name);
    this.#remove(record?.id ?? 0, name, (result) => done(result ?? true));
  }

  #remove(id: number, name: string, done: (result: ApiError | undefined) => void) {
    this.#options.proposer.proposeCommand(ConsumerCommand.remove, encodeRemove(id, name), (result) => {
      if (result !== undefined) return done(result);
      const live = this.#live.get(name);
      if (live !== undefined && !live.memory && !this.#table.has(live.record)) this.#drop(live, 'deleted');
      this.#advisories.action(name, 'delete');
      this.#removeParts(id, name, () => done(undefined));
    });
  }

  /** The consumer is gone already: a partition that cannot be asked now hears of it when it can. */
  #removeParts(id: number, name: string, then: () => void) {
    let missing = this.partitions - 1;
    this.#options.engine.part(name);
    for (let partition = 1; partition < this.partitions; partition++) {
      this.#calls.removePart(partition, name, id, (result) => {
        if (isApiError(result)) this.#repairLater(partition);
        if (--missing === 0) then();
      });
    }
  }

  get consumerCount(): number {
    let count = this.#table.count;
    for (const consumer of this.#live.values()) if (consumer.memory) count++;
    return count;
  }

  consumerNames(done: Answer<string[]>) {
    done(this.#leading ? this.#names() : apiError(10008));
  }

  #names(): string[] {
    const names = [...this.#table.records()].map((record) => record.name);
    for (const consumer of this.#live.values()) if (consumer.memory) names.push(consumer.name);
    return names.sort();
  }

  /** Call it behind the partition's read barrier, as the one below. */
  consumerInfo(name: string, done: Answer<ConsumerState>) {
    const live = this.#live.get(name);
    const record = live?.record ?? this.#table.get(name);
    if (!this.#leading || record === undefined) return done(apiError(this.#leading ? 10014 : 10008));
    if (live?.memory) return this.#memoryInfo(live, done);
    const states: ConsumerState[] = [];
    let missing = this.partitions;
    let failed: ApiError | undefined;
    for (let partition = 0; partition < this.partitions; partition++) {
      this.#calls.partInfo(partition, name, (state) => {
        if (isApiError(state)) failed = this.#failureOf(partition, state, failed);
        else states[partition] = state;
        if (--missing === 0) done(failed ?? this.#merge(record, states));
      });
    }
  }

  /** A part that is not there (yet): nothing is known about the whole. */
  #failureOf(partition: number, error: ApiError, before: ApiError | undefined): ApiError {
    if (error.err_code === 10014 && partition > 0) {
      this.#sync(partition);
      return before ?? apiError(10008);
    }
    return error;
  }

  #memoryInfo(consumer: HomeConsumer, done: Answer<ConsumerState>) {
    const states: ConsumerState[] = [];
    let missing = consumer.sources.length;
    let failed: ApiError | undefined;
    for (const { partition } of consumer.sources) {
      this.#calls.partInfo(partition, consumer.name, (state) => {
        if (isApiError(state)) failed = state.err_code === 10014 ? apiError(10008) : state;
        else states.push(state);
        if (--missing > 0) return;
        if (failed !== undefined) return done(failed);
        done(this.#merge(consumer.record, states));
      });
    }
  }

  consumerList(done: Answer<ConsumerState[]>) {
    if (!this.#leading) return done(apiError(10008));
    const lists: (ConsumerState[] | ApiError)[] = [];
    let missing = this.partitions;
    for (let partition = 0; partition < this.partitions; partition++) {
      this.#calls.partList(partition, (list) => {
        lists[partition] = list;
        if (--missing > 0) return;
        const refused = lists.find(isApiError);
        done(refused ?? this.#mergeLists(lists as ConsumerState[][]));
      });
    }
  }

  #mergeLists(lists: ConsumerState[][]): ConsumerState[] {
    const byName = new Map<string, ConsumerState[]>();
    for (const state of lists.flat()) byName.set(state.name, [...(byName.get(state.name) ?? []), state]);
    const merged: ConsumerState[] = [];
    for (const name of this.#names()) {
      const record = this.#live.get(name)?.record ?? this.#table.get(name);
      const states = byName.get(name);
      if (record !== undefined && states !== undefined) merged.push(this.#merge(record, states));
    }
    return merged;
  }

  #merge(record: ConsumerRecord, states: ConsumerState[]): ConsumerState {
    const live = this.#live.get(record.name);
    live?.queue?.dropLost();
    const merged = mergeParts(record, states);
    merged.num_waiting = live?.queue?.size ?? 0;
    if (live?.push !== undefined && this.outlet.hasInterest(live.push.subject)) merged.push_bound = true;
    // Without acks, what waits here has left the parts and has been seen by nobody.
    if (!record.tracksAcks) for (const source of live?.sources ?? []) merged.num_pending += source.bufferedNew;
    return merged;
  }

  pull(name: string, reply: string, body: Uint8Array) {
    if (reply === '') return;
    if (!this.#leading) {
      this.status(reply, frames.LEADERSHIP_CHANGE);
      return;
    }
    const consumer = this.#find(name);
    if (consumer === undefined) {
      this.status(reply, frames.NO_RESPONDERS);
      return;
    }
    const refusal = this.#pull(consumer, reply, body);
    if (refusal !== undefined) this.status(reply, refusal);
  }

  /** Undefined: the request waits. */
  #pull(consumer: HomeConsumer, reply: string, body: Uint8Array): Uint8Array | undefined {
    const { queue } = consumer;
    if (queue === undefined) return frames.PUSH_BASED;
    const request = parsePull(body, consumer.config);
    if (request instanceof Uint8Array) return request;
    consumer.touch();
    if (request.noWait && queue.size > 0) {
      queue.dropLost();
      const { deliverable } = consumer;
      if (deliverable > 0 && deliverable < queue.asked) return frames.REQUESTS_PENDING;
    }
    if (queue.isFull(this.nowMs())) return request.heartbeatMs > 0 ? undefined : frames.EXCEEDED_MAX_WAITING;
    consumer.pull(reply, request);
    return undefined;
  }

  flowReply(name: string, subject: string) {
    const consumer = this.#find(name);
    if (consumer?.push?.answered(subject)) consumer.wake();
  }

  onInterest(subject: string) {
    for (const consumer of this.#live.values()) if (consumer.push?.subject === subject) consumer.wake();
  }

  // ---- frames of parts ----------------------------------------------------------------------------------------------

  /** False: malformed. */
  receive(partition: number, bytes: Uint8Array): boolean {
    return readPartFrame(bytes, {
      supply: (session, name, epoch) => this.#sourceOf(partition, session, name)?.reader(epoch),
      closed: (session, name, isMissing) => this.#closed(partition, session, name, isMissing),
      missing: (_session, ids) => this.#repair(partition, ids),
    });
  }

  #sourceOf(partition: number, session: number, name: string): HomeSource | undefined {
    const source = this.#live.get(name)?.sources.find((each) => each.partition === partition);
    return source !== undefined && source.session === session ? source : undefined;
  }

  #closed(partition: number, session: number, name: string, isMissing: boolean) {
    const source = this.#sourceOf(partition, session, name);
    const consumer = this.#live.get(name);
    if (source === undefined || consumer === undefined) return;
    source.closed();
    source.reopenAtMs = this.nowMs() + REOPEN_MS;
    if (isMissing && !consumer.memory && partition > 0) this.#repair(partition, [consumer.record.id]);
    this.ready(consumer);
  }

  /** Parts that were never made: their creation was not answered, or its answer was lost. They begin as if it were now. */
  #repair(partition: number, ids: number[]) {
    for (const record of this.#table.records()) {
      if (!ids.includes(record.id)) continue;
      this.#findBeginning(record.config, (beginning) => {
        if (isApiError(beginning)) return this.#repairLater(partition);
        if (!this.#leading || !this.#table.has(record)) return;
        const plan = { homeId: record.id, config: record.config, ...beginning };
        this.#calls.createPart(partition, plan, (result) => {
          const consumer = this.#live.get(record.name);
          if (isApiError(result)) this.#repairLater(partition);
          else if (consumer !== undefined) this.ready(consumer);
        });
      });
    }
  }

  // ---- HomeHost -----------------------------------------------------------------------------------------------------

  nowMs(): number {
    return this.#options.proposer.nowMs();
  }

  toPart(partition: number, frame: Uint8Array): boolean {
    return this.#options.toPart(partition, frame);
  }

  confirm(inbox: string) {
    this.#proof.confirm(inbox);
  }

  mayHandOut(consumer: HomeConsumer): boolean {
    return this.#proof.mayHandOut(consumer);
  }

  propose(type: number, body: Uint8Array, done: ((result: ApiError | undefined) => void) | undefined) {
    this.#options.proposer.proposeCommand(type, body, done);
  }

  status(inbox: string, frame: Uint8Array): boolean {
    return this.outlet.deliverTo(inbox, { subject: inbox, reply: '', hdr: frame, payload: frames.EMPTY });
  }

  hasInterest(inbox: string): boolean {
    return this.outlet.hasInterest(inbox);
  }

  ready(consumer: HomeConsumer) {
    if (consumer.isReady || consumer.ended) return;
    consumer.isReady = true;
    this.#ready.push(consumer);
    this.#askTurn();
  }

  schedule(consumer: HomeConsumer, dueMs: number) {
    this.#timers.set(consumer, dueMs);
  }

  open(consumer: HomeConsumer, source: HomeSource) {
    const session = ++this.#session;
    const { partition } = source;
    const isNew = source.position < 0;
    const level = (seq: number): number => this.#options.toLocalFrom(seq, partition);
    const frame = encodeHomeFrame({
      kind: PartFrame.open,
      session,
      name: consumer.name,
      homeId: consumer.memory ? 0 : consumer.record.id,
      config: consumer.memory ? JSON.stringify(consumer.config) : '',
      level: isNew && consumer.behind > 0 ? level(consumer.behind + 1) - 1 : 0,
      start: isNew && consumer.start > 0 ? level(consumer.start) : 0,
      after: source.position + 1,
      lastsEnd: source.lastsEnd,
    });
    source.opened(session);
    if (!this.toPart(partition, frame)) source.closed();
  }

  ackAll(consumer: HomeConsumer, partition: number, seq: number, inbox: string) {
    const streamSeq = seq * this.partitions + partition;
    const { sources } = consumer;
    const token = inbox === '' ? 0 : ++this.#token;
    // Without all of them nobody can say that it holds.
    if (token > 0 && sources.every((source) => source.session > 0)) {
      this.#ackAlls.set(token, { inbox, left: sources.length });
    }
    for (const source of sources) {
      const upTo = Math.floor((streamSeq - source.partition) / this.partitions);
      source.withdrawUpTo(upTo);
      const { session } = source;
      const { name } = consumer;
      if (session > 0) {
        this.toPart(
          source.partition,
          encodeHomeFrame({ kind: PartFrame.ackAll, session, name, upTo: Math.max(0, upTo), token }),
        );
      }
    }
  }

  ackedAll(_consumer: HomeConsumer, _partition: number, token: number) {
    const wait = this.#ackAlls.get(token);
    if (wait === undefined || --wait.left > 0) return;
    this.#ackAlls.delete(token);
    this.confirm(wait.inbox);
  }

  expire(consumer: HomeConsumer) {
    if (consumer.memory) this.#removed(consumer);
    else this.#remove(consumer.record.id, consumer.name, () => {});
  }

  // ---- inside -------------------------------------------------------------------------------------------------------

  #askTurn() {
    if (this.#turnAsked) return;
    this.#turnAsked = true;
    this.env.clock.endOfTurn(this.#turn);
  }

  readonly #turn = (): void => {
    this.#turnAsked = false;
    let messages = TURN_MESSAGES_MAX;
    let bytes = TURN_BYTES_MAX;
    const queue = this.#ready;
    this.#ready = [];
    const budget: Budget = { messages: 0, bytes: 0 };
    for (const consumer of queue) {
      consumer.isReady = false;
      if (consumer.ended) continue;
      const sliceMessages = Math.max(0, Math.min(SLICE_MESSAGES_MAX, messages));
      const sliceBytes = Math.max(0, Math.min(SLICE_BYTES_MAX, bytes));
      budget.messages = sliceMessages;
      budget.bytes = sliceBytes;
      if (consumer.deliver(budget)) this.ready(consumer);
      consumer.reschedule();
      messages -= sliceMessages - budget.messages;
      bytes -= sliceBytes - budget.bytes;
    }
  };

  #find(name: string): HomeConsumer | undefined {
    if (!this.#leading) return undefined;
    const live = this.#live.get(name);
    if (live?.memory) return live;
    const record = this.#table.get(name);
    if (record !== undefined) return this.#wake(record);
    if (live !== undefined) this.#drop(live, 'deleted');
    return undefined;
  }

  #wake(record: ConsumerRecord): HomeConsumer {
    const live = this.#live.get(record.name);
    if (live?.record === record) return live;
    if (live !== undefined) this.#drop(live, 'deleted');
    return this.#begin(record, false);
  }

  #begin(record: ConsumerRecord, memory: boolean): HomeConsumer {
    const consumer = new HomeConsumer(this, record, memory);
    this.#live.set(record.name, consumer);
    return consumer;
  }

  #removed(consumer: HomeConsumer) {
    this.#drop(consumer, 'deleted');
    this.#advisories.action(consumer.name, 'delete');
  }

  #drop(consumer: HomeConsumer, why: PullsEnd) {
    this.#live.delete(consumer.name);
    consumer.end(why);
    for (const source of consumer.sources) source.end();
  }

  #endAll(why: PullsEnd) {
    this.#leading = false;
    for (const consumer of this.#live.values()) {
      consumer.end(consumer.memory ? 'deleted' : why);
      for (const source of consumer.sources) source.end();
    }
    this.#live.clear();
    this.#ackAlls.clear();
    this.#ready = [];
    this.#timers.clear();
    this.#proof.end();
  }
}
