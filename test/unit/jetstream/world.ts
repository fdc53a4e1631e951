// A small world for the API's tests: a simulated clock, two nodes with a partition that one of them leads, a metadata group that
// answers at once, and a broker that only remembers what was sent. Requests go in by `request`, answers come out parsed.
import type { Rpc, RpcReply } from '../../../cluster/rpc/types.ts';
import type { Broker, Message, Sink } from '../../../src/broker/types.ts';
import { createJetStreamApi, type JetStreamApi, type JetStreamApiOptions } from '../../../src/jetstream/api.ts';
import { PartitionClient } from '../../../src/jetstream/partition-client.ts';
import type { Catalog, MetaClient, Partitions, StreamRecord } from '../../../src/meta/types.ts';
import { groupOf } from '../../../src/meta/types.ts';
import type { ConsumerConfig, StreamConfig } from '../../../src/stream/config.ts';
import { apiError } from '../../../src/stream/errors.ts';
import type { ConsumerState, PartitionOps, StoredMessage } from '../../../src/stream/types.ts';
import { createPrng } from '../../sim/prng.ts';
import { createScheduler } from '../../sim/scheduler.ts';
import { createSimEnv } from '../../sim/sim-env.ts';

export const HERE = 1;
export const THERE = 2;

const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A partition of a handful of messages, in memory. */
/** Nobody publishes here. */
const TERM = 1;

export class FakePartition implements PartitionOps {
  leading = true;
  readonly messages = new Map<number, StoredMessage>();
  readonly consumers = new Map<string, ConsumerState>();
  readonly calls: string[] = [];
  last = 0;
  /** Set: calls are answered with it. */
  refusal: ReturnType<typeof apiError> | undefined;
  /** Set: calls are kept here instead of answered. */
  hanging: (() => void)[] | undefined;

  store(subject: string, text: string, hdr = ''): void {
    const seq = ++this.last;
    this.messages.set(seq, {
      seq,
      subject,
      hdr: encoder.encode(hdr),
      payload: encoder.encode(text),
      stampUs: 1_700_000_000_000_000 + seq,
    });
  }

  publish(): void {}
  updateConfig(): void {}
  pull(): void {}
  ack(): void {}

  info: PartitionOps['info'] = (want, done) => {
    this.calls.push('info');
    if (this.hanging) {
      const { hanging } = this;
      this.hanging = undefined;
      this.info(want, (state) => hanging.push(() => done(state)));
      this.hanging = hanging;
      return;
    }
    if (this.refusal) return done(this.refusal);
    const all = [...this.messages.values()];
    const subjects: Record<string, number> = {};
    for (const { subject } of all) subjects[subject] = (subjects[subject] ?? 0) + 1;
    done({
      messages: all.length,
      bytes: all.reduce((sum, message) => sum + message.payload.length, 0),
      first_seq: all[0]?.seq ?? this.last + (this.last > 0 ? 1 : 0),
      first_ts_us: all[0]?.stampUs ?? 0,
      last_seq: this.last,
      last_ts_us: 0,
      num_subjects: Object.keys(subjects).length,
      num_deleted: 0,
      consumer_count: this.consumers.size,
      subjects: want.subjects ? subjects : undefined,
      subjects_total: want.subjects ? Object.keys(subjects).length : undefined,
    });
  };

  get: PartitionOps['get'] = (request, done) => {
    this.calls.push(`get ${JSON.stringify(request)}`);
    if (this.refusal) return done(this.refusal);
    const all = [...this.messages.values()];
    let found: StoredMessage | undefined;
    if ('last_by_subj' in request) found = all.findLast((message) => message.subject === request.last_by_subj);
    else if ('next_by_subj' in request) found = all.find((message) => message.seq >= (request.seq ?? 1));
    else if ('seq' in request) found = this.messages.get(request.seq);
    done(found ?? apiError(10037));
  };

  getBatch: PartitionOps['getBatch'] = (request, done) => {
    const { count } = request;
    const matching = [...this.messages.values()].filter((message) => {
      if ('seqs' in request) return request.seqs.includes(message.seq);
      return message.seq >= (request.seq ?? 1) && (request.filter === '' || request.filter === message.subject);
    });
    done({ messages: matching.slice(0, count), more: matching.length > count, pending: matching.length });
  };

  getLast: PartitionOps['getLast'] = ({ filters }, done) => {
    const last = new Map<string, number>();
    for (const { seq, subject } of this.messages.values()) if (filters.includes(subject)) last.set(subject, seq);
    done({ seqs: [...last.values()].sort((a, b) => a - b), upTo: this.last, lastSeq: this.last });
  };

  deleteMessage: PartitionOps['deleteMessage'] = (seq, done) => {
    this.calls.push(`delete ${seq}`);
    done(this.messages.delete(seq) ? true : apiError(10043, { seq }));
  };

  purge: PartitionOps['purge'] = (request, done) => {
    this.calls.push(`purge ${JSON.stringify(request)}`);
    const { size } = this.messages;
    this.messages.clear();
    done(size);
  };

  createConsumer: PartitionOps['createConsumer'] = (config, _, done) => {
    this.calls.push(`create ${config.name}`);
    if (this.refusal) return done(this.refusal);
    const state = consumerState(config);
    this.consumers.set(state.name, state);
    done(state);
  };

  deleteConsumer: PartitionOps['deleteConsumer'] = (name, done) => {
    done(this.consumers.delete(name) ? true : apiError(10014));
  };

  consumerInfo: PartitionOps['consumerInfo'] = (name, done) => done(this.consumers.get(name) ?? apiError(10014));
  consumerNames: PartitionOps['consumerNames'] = (done) => done([...this.consumers.keys()]);
  consumerList: PartitionOps['consumerList'] = (done) => done([...this.consumers.values()]);
}

function consumerState(config: ConsumerConfig): ConsumerState {
  const none = { consumer_seq: 0, stream_seq: 0, last_active_us: 0 };
  return {
    name: config.name ?? '',
    config,
    createdUs: 1_700_000_000_000_000,
    delivered: none,
    ack_floor: none,
    num_ack_pending: 0,
    num_redelivered: 0,
    num_waiting: 0,
    num_pending: 0,
  };
}

type Handler = (from: number, bytes: Uint8Array, reply: (bytes: Uint8Array) => void) => void;

export function createWorld(options: Partial<JetStreamApiOptions> = {}) {
  const scheduler = createScheduler(createPrng('api'));
  const records = new Map<string, StreamRecord>();
  const hidden = new Map<string, StreamRecord>();
  const leaders = new Map<number, number>();
  const leaderHandlers: ((group: number, leader: number, term: number) => void)[] = [];
  const partitions = new Map<number, Map<number, FakePartition>>([
    [HERE, new Map()],
    [THERE, new Map()],
  ]);
  const handlers = new Map<number, Map<string, Handler>>([
    [HERE, new Map()],
    [THERE, new Map()],
  ]);
  const sent: { account: string; inbox: string; message: Message }[] = [];
  const sinks = new Map<string, Sink>();
  const requests: string[] = [];
  let nextId = 1;
  /** Set: what requests to the other node come to. */
  const link: { failure: Extract<RpcReply, { ok: false }>['reason'] | undefined } = { failure: undefined };

  const broker: Broker = {
    congestion: 0,
    subscribe() {},
    unsubscribe() {},
    publish: () => false,
    deliverTo(account, inbox, message) {
      sent.push({ account, inbox, message });
      return true;
    },
    hasInterest: () => true,
    interestOf: () => [],
    subscriptionOf: () => undefined,
    onInterestLost() {},
    addSink(account, subject, sink) {
      sinks.set(`${account} ${subject}`, sink);
      return { remove: () => sinks.delete(`${account} ${subject}`) };
    },
    stats: {
      subscriptions: 0,
      subscribed: 0,
      routedIn: 0,
      routedOut: 0,
      routedLost: 0,
      inMsgs: 0,
      outMsgs: 0,
      inBytes: 0,
      outBytes: 0,
    },
  };

  const wishes: string[] = [];
  const overtaking: { times: number; config: Partial<StreamConfig> } = { times: 0, config: {} };

  const catalog: Catalog = {
    metaLeader: HERE,
    nodes: new Map([
      [HERE, { id: HERE, name: 'here' }],
      [THERE, { id: THERE, name: 'there' }],
    ]),
    stream: (_, name) => records.get(name),
    streamById: (id) => [...records.values()].find((record) => record.streamId === id),
    streams: (account) => [...records.values()].filter((each) => each.account === account).sort(byName),
    all: () => records.values(),
    streamOfSubject: () => undefined,
    onChange() {},
  };

  const meta: MetaClient = {
    createStream(account, config, done) {
      const existing = records.get(config.name);
      if (existing) return done({ record: existing, created: false });
      const streamId = nextId++;
      const count = Number(config.metadata?.['flotilla.partitions'] ?? 1);
      const record: StreamRecord = {
        streamId,
        account,
        name: config.name,
        config,
        createdUs: 1_700_000_000_000_000,
        revision: streamId,
        partitions: count,
        stride: count,
        replicas: Array.from({ length: count }, () => [HERE, THERE]),
      };
      records.set(config.name, record);
      for (let partition = 0; partition < count; partition++) {
        const group = groupOf(streamId, partition);
        leaders.set(group, HERE);
        partitions.get(HERE)!.set(group, new FakePartition());
      }
      done({ record, created: true });
    },
    updateStream({ name, revision }, config, done) {
      const known = records.get(name)!;
      if (overtaking.times > 0) {
        overtaking.times--;
        records.set(name, {
          ...known,
          config: { ...known.config, ...overtaking.config },
          revision: known.revision + 1,
        });
        return done('changed');
      }
      if (known.revision !== revision) return done('changed');
      const record = { ...known, config, revision: revision + 1 };
      records.set(name, record);
      done(record);
    },
    deleteStream(_, name, done) {
      done(records.delete(name) ? true : apiError(10059));
    },
    removeNode: (_, done) => done(apiError(10003)),
    prefer: (streamId, partition, peer, done) => {
      wishes.push(`prefer ${streamId}/${partition} ${peer}`);
      done(true);
    },
    evict: (_, _peer, done) => done(apiError(10075)),
    stepDown: (to, done) => {
      wishes.push(`meta ${to}`);
      done(true);
    },
    readBarrier(done) {
      for (const [name, record] of hidden) records.set(name, record);
      hidden.clear();
      done(true);
    },
  };

  const env = (node: number) =>
    createSimEnv({ scheduler, seed: `node${node}`, node: `node${node}`, epochUs: 1_700_000_000_000_000 });

  const directory = (node: number): Partitions => ({
    local: (group) => partitions.get(node)!.get(group),
    leaderOf: (group) => leaders.get(group) ?? 0,
    termOf: () => TERM,
    onLeaderChange: (handler) => void leaderHandlers.push(handler),
  });

  const node = (self: number): JetStreamApi => {
    const own = env(self);
    const rpc: Rpc = {
      request(to, method, bytes, _timeoutMs, done) {
        requests.push(`${to} ${method}`);
        const handler = handlers.get(to)?.get(method);
        own.clock.after(1, () => {
          if (link.failure || !handler) done({ ok: false, reason: link.failure ?? 'refused' });
          else handler(self, bytes, (answer) => done({ ok: true, bytes: answer }));
        });
      },
      handle: (method, handler) => void handlers.get(self)!.set(method, handler),
    };
    const client = new PartitionClient({
      env: own,
      self,
      partitions: directory(self),
      rpc,
      transport: { isUp: () => true, lastHeardMs: () => own.clock.nowMs() },
      host: { group: () => undefined },
    });
    return createJetStreamApi({
      env: own,
      broker,
      meta,
      catalog,
      partitions: directory(self),
      client,
      rpc,
      self,
      serverName: catalog.nodes.get(self)!.name,
      clusterName: 'C',
      defaultReplicas: 1,
      pull() {},
      ...options,
    });
  };
  node(THERE);
  const api = node(HERE);

  const raw = (subject: string, body: unknown = '', reply = 'reply', hdr = '', account = '$G'): void => {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const message = { subject: `$JS.API.${subject}`, reply, hdr: encoder.encode(hdr), payload: encoder.encode(text) };
    sinks.get(`${account} $JS.API.>`)?.(message, account, undefined);
  };

  return {
    api,
    scheduler,
    catalog,
    records,
    sent,
    requests,
    /** What was asked of the metadata group about leaders. */
    wishes,
    link,
    raw,
    /** Just before each of the next `times` updates another one changes `config`. */
    overtakeUpdates(times: number, config: Partial<StreamConfig>): void {
      overtaking.times = times;
      overtaking.config = config;
    },
    /** The answer, within `withinMs` of simulated time; undefined when there is none. */
    request(
      subject: string,
      body: unknown = '',
      withinMs = 5_000,
      hdr = '',
      account = '$G',
    ): Record<string, never> & Answer {
      const before = sent.length;
      raw(subject, body, 'reply', hdr, account);
      scheduler.runUntilTrue(() => sent.length > before, { timeoutMs: withinMs });
      const answer = sent[before];
      return answer && JSON.parse(decoder.decode(answer.message.payload));
    },
    partition: (stream: string, partition = 0): FakePartition => {
      const group = groupOf(records.get(stream)!.streamId, partition);
      return partitions.get(HERE)!.get(group) ?? partitions.get(THERE)!.get(group)!;
    },
    /** Moves leadership (and, as there is one copy in this world, the partition); 0: nobody leads. */
    lead(stream: string, leader: number, tell = true): void {
      const group = groupOf(records.get(stream)!.streamId, 0);
      const copy = partitions.get(HERE)!.get(group) ?? partitions.get(THERE)!.get(group)!;
      if (leader !== 0) {
        partitions.get(HERE)!.delete(group);
        partitions.get(THERE)!.delete(group);
        partitions.get(leader)!.set(group, copy);
      }
      leaders.set(group, leader);
      if (tell) for (const handler of leaderHandlers) handler(group, leader, TERM);
    },
    /** A request from the other node, as bytes. */
    fromPeer(method: string, bytes: Uint8Array): Uint8Array | undefined {
      let answer: Uint8Array | undefined;
      handlers.get(HERE)!.get(method)!(THERE, bytes, (reply) => (answer = reply));
      return answer;
    },
    /** This node has not applied the creation of the stream yet. */
    hide(stream: string): void {
      hidden.set(stream, records.get(stream)!);
      records.delete(stream);
    },
    frames: () =>
      sent.map(({ inbox, message }) => ({
        inbox,
        hdr: decoder.decode(message.hdr),
        text: decoder.decode(message.payload),
      })),
    empty: EMPTY,
  };
}

export interface Answer {
  type: string;
  error?: { code: number; err_code: number; description: string };
  [key: string]: unknown;
}

function byName(a: StreamRecord, b: StreamRecord): number {
  return a.name < b.name ? -1 : 1;
}
