// Operations on partitions from any node: here when this node leads, else by one rpc to the node that does. Used by the API's
// handlers. Every call is answered exactly once. A call that certainly had no effect (no leader known, not leading, no link) is
// tried again until LEADER_WAIT_MS_MAX has passed, and so is any read; everything else whose outcome is unknown is 10008.

import type { GroupId, PeerId } from '../../cluster/core/types.ts';
import type { Group, Host } from '../../cluster/host/types.ts';
import type { Rpc, RpcReply, Transport } from '../../cluster/rpc/types.ts';
import type { Env } from '../kit/env.ts';
import type { Partitions } from '../meta/types.ts';
import type { ConsumerConfig } from '../stream/config.ts';
import { type ApiError, apiError, isApiError } from '../stream/errors.ts';
import type {
  BatchRequest,
  ConsumerState,
  GetRequest,
  InfoRequest,
  LastRequest,
  MessageBatch,
  PartitionEdges,
  PartitionOps,
  PartOps,
  PartPlan,
  StoredMessage,
  StreamState,
} from '../stream/types.ts';
import { FORWARD_TIMEOUT_MS, LEADER_WAIT_MS_MAX } from './limits.ts';
import { decodeBatch, decodeMessage, encodeBatch, encodeMessage } from './message-codec.ts';
import type { GroupView, PeerState } from './shapes.ts';

const METHOD = 'js.op';
/** A leader that is known but does not answer as one is asked again after this, unless a change of leader is heard earlier. */
const RETRY_MS = 100;
/** A follower silent for longer is not called current. */
const CURRENT_WITHIN_MS = 3_000;

/** Arguments and result of each operation. */
interface Operations {
  info: [[want: InfoRequest], StreamState];
  get: [[request: GetRequest], StoredMessage];
  getBatch: [[request: BatchRequest], MessageBatch];
  getLast: [[request: LastRequest], { seqs: number[]; upTo: number; lastSeq: number } | 'too-many'];
  deleteMessage: [[seq: number], true];
  purge: [[request: { filter?: string; seq?: number; keep?: number }], number];
  createConsumer: [[config: ConsumerConfig, action: '' | 'create' | 'update'], ConsumerState];
  deleteConsumer: [[name: string], true];
  consumerInfo: [[name: string], ConsumerState];
  consumerNames: [[], string[]];
  consumerList: [[], ConsumerState[]];
  createPart: [[plan: PartPlan], true];
  removePart: [[name: string, homeId: number], true];
  edges: [[patterns: string[]], PartitionEdges];
  newest: [[filter: string, count: number], number[]];
  /** Hands leadership to that follower, or with 0 to the one that is furthest; to whom. */
  stepDown: [[to: PeerId], PeerId];
}

export type OperationName = keyof Operations;
export type Arguments<K extends OperationName> = Operations[K][0];
type Result<K extends OperationName> = Operations[K][1];
export type Done<K extends OperationName> = (result: Result<K> | ApiError, view: GroupView) => void;

type Runner<K extends OperationName> = (
  ops: PartitionOps,
  args: Arguments<K>,
  done: (r: Result<K> | ApiError) => void,
  group: Group | undefined,
) => void;

const RUNNERS: { [K in OperationName]: Runner<K> } = {
  info: (ops, [want], done) => ops.info(want, done),
  get: (ops, [request], done) => ops.get(request, done),
  getBatch: (ops, [request], done) => ops.getBatch(request, done),
  getLast: (ops, [request], done) => ops.getLast(request, done),
  deleteMessage: (ops, [seq], done) => ops.deleteMessage(seq, done),
  purge: (ops, [request], done) => ops.purge(request, done),
  createConsumer: (ops, [config, action], done) => ops.createConsumer(config, action, done),
  deleteConsumer: (ops, [name], done) => ops.deleteConsumer(name, done),
  consumerInfo: (ops, [name], done) => ops.consumerInfo(name, done),
  consumerNames: (ops, _, done) => ops.consumerNames(done),
  consumerList: (ops, _, done) => ops.consumerList(done),
  createPart: (ops, [plan], done) => partsOf(ops, done)?.createPart(plan, done),
  removePart: (ops, [name, homeId], done) => partsOf(ops, done)?.removePart(name, homeId, done),
  newest: (ops, [filter, count], done) => partsOf(ops, done)?.newest(filter, count, done),
  edges: (ops, [patterns], done) => partsOf(ops, done)?.edges(patterns, done),
  stepDown: (_ops, [to], done, group) => {
    const { membership, progress } = group?.status() ?? { membership: { voters: [] as PeerId[] }, progress: [] };
    const [next] = progress
      .filter(({ peer, state }) => peer !== group?.leader && state === 'replicate' && membership.voters.includes(peer))
      .filter(({ peer }) => to === 0 || peer === to)
      .sort((a, b) => b.match - a.match);
    if (next) group?.transferLeadership(next.peer);
    done(next?.peer ?? apiError(10005, { err: 'no replacement peer connected' }));
  },
};

/** Undefined, and answered: the stream has one partition. */
function partsOf(ops: PartitionOps, done: (error: ApiError) => void): PartOps | undefined {
  if (ops.parts === undefined) done(apiError(10008));
  return ops.parts;
}

const READS: ReadonlySet<OperationName> = new Set([
  'info',
  'get',
  'getBatch',
  'getLast',
  'consumerInfo',
  'consumerNames',
  'consumerList',
  'edges',
  'newest',
]);

/** First byte of an answer between nodes. */
const Answer = { value: 0, error: 1, notLeading: 2, message: 3, batch: 4 } as const;

export interface PartitionClientOptions {
  env: Env;
  self: PeerId;
  partitions: Partitions;
  rpc: Rpc;
  transport: Pick<Transport, 'isUp' | 'lastHeardMs'>;
  host: Pick<Host, 'group'>;
}

interface Call<K extends OperationName> {
  group: GroupId;
  op: K;
  args: Arguments<K>;
  dueMs: number;
  done: Done<K>;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class PartitionClient {
  readonly #options: PartitionClientOptions;
  /** Calls that wait for a leader of their group. */
  readonly #waiting = new Map<GroupId, (() => void)[]>();

  constructor(options: PartitionClientOptions) {
    this.#options = options;
    options.rpc.handle(METHOD, (from, bytes, reply) => this.#serve(from, bytes, reply));
    options.partitions.onLeaderChange((group, leader) => {
      if (leader !== 0) this.#wake(group);
    });
  }

  call<K extends OperationName>(group: GroupId, op: K, args: Arguments<K>, done: Done<K>): void {
    this.#attempt({ group, op, args, done, dueMs: this.#options.env.clock.nowMs() + LEADER_WAIT_MS_MAX });
  }

  #attempt<K extends OperationName>(call: Call<K>): void {
    const { partitions, rpc, self } = this.#options;
    const leader = partitions.leaderOf(call.group);
    if (leader === 0) {
      this.#later(call);
    } else if (leader === self) {
      const ops = partitions.local(call.group);
      if (ops?.leading !== true) {
        this.#later(call);
        return;
      }
      const run: Runner<K> = RUNNERS[call.op];
      const finish = (result: Result<K> | ApiError): void =>
        this.#finish(call, result, leader, this.#peersOf(call.group));
      run(ops, call.args, finish, this.#options.host.group(call.group));
    } else {
      const bytes = encoder.encode(JSON.stringify({ group: call.group, op: call.op, args: call.args }));
      rpc.request(leader, METHOD, bytes, FORWARD_TIMEOUT_MS, (reply) => this.#answered(call, leader, reply));
    }
  }

  #answered<K extends OperationName>(call: Call<K>, leader: PeerId, reply: RpcReply): void {
    if (!reply.ok) {
      if (reply.reason === 'no-link') this.#later(call);
      else this.#finish(call, apiError(10008), leader, []);
      return;
    }
    const body = reply.bytes.subarray(1);
    if (reply.bytes[0] === Answer.notLeading) {
      this.#later(call);
      return;
    }
    if (reply.bytes[0] === Answer.message) {
      const message = decodeMessage(body);
      this.#finish(call, (message as Result<K> | undefined) ?? this.#malformed(leader), leader, []);
      return;
    }
    if (reply.bytes[0] === Answer.batch) {
      const batch = decodeBatch(body);
      this.#finish(call, (batch as Result<K> | undefined) ?? this.#malformed(leader), leader, []);
      return;
    }
    const answer = parseJson<{ value: Result<K> | ApiError; peers: PeerState[] }>(body);
    this.#finish(call, answer?.value ?? this.#malformed(leader), leader, answer?.peers ?? []);
  }

  #malformed(from: PeerId): ApiError {
    this.#options.env.log.warn('malformed operation from a peer', { peer: from });
    return apiError(10008);
  }

  #finish<K extends OperationName>(call: Call<K>, result: Result<K> | ApiError, leader: PeerId, peers: PeerState[]) {
    const isUnknown = isApiError(result) && result.err_code === 10008;
    if (isUnknown && READS.has(call.op)) this.#later(call);
    else call.done(result, { leader, peers });
  }

  /** Again when a leader is heard of, at the latest after RETRY_MS; 10008 when the time is up. */
  #later<K extends OperationName>(call: Call<K>): void {
    const { clock } = this.#options.env;
    if (clock.nowMs() >= call.dueMs) {
      call.done(apiError(10008), { leader: 0, peers: [] });
      return;
    }
    let queue = this.#waiting.get(call.group);
    if (queue === undefined) {
      this.#waiting.set(call.group, (queue = []));
      clock.after(RETRY_MS, () => this.#wake(call.group, queue));
    }
    queue.push(() => this.#attempt(call));
  }

  /** `only`: the timer of a queue that was woken already has nothing to do. */
  #wake(group: GroupId, only?: (() => void)[]): void {
    const queue = this.#waiting.get(group);
    if (queue === undefined || (only !== undefined && only !== queue)) return;
    this.#waiting.delete(group);
    for (const attempt of queue) attempt();
  }

  #serve(from: PeerId, bytes: Uint8Array, reply: (bytes: Uint8Array) => void): void {
    const { partitions, host } = this.#options;
    const request = parseJson<Call<OperationName>>(bytes);
    if (!Array.isArray(request?.args) || !Object.hasOwn(RUNNERS, request.op)) {
      // Without an answer, the asker's time runs out: the outcome is unknown to it.
      this.#malformed(from);
      return;
    }
    const { group, op, args } = request;
    const ops = partitions.local(group);
    if (ops?.leading !== true) {
      reply(Uint8Array.of(Answer.notLeading));
      return;
    }
    const run = RUNNERS[op] as Runner<OperationName>;
    const answer = (result: Result<OperationName> | ApiError): void => {
      if (op === 'get' && !isApiError(result)) {
        reply(encodeMessage(Answer.message, result as StoredMessage));
        return;
      }
      if (op === 'getBatch' && !isApiError(result)) {
        reply(encodeBatch(Answer.batch, result as MessageBatch));
        return;
      }
      const kind = isApiError(result) ? Answer.error : Answer.value;
      const json = encoder.encode(JSON.stringify({ value: result, peers: this.#peersOf(group) }));
      const framed = new Uint8Array(1 + json.length);
      framed[0] = kind;
      framed.set(json, 1);
      reply(framed);
    };
    run(ops, args, answer, host.group(group));
  }

  /** The followers of a group that this node leads. A quiet group's followers are as alive as their nodes. */
  #peersOf(group: GroupId): PeerState[] {
    const { env, transport, host, self } = this.#options;
    const found = host.group(group)?.status();
    if (found === undefined) return [];
    return found.progress
      .filter(({ peer }) => peer !== self)
      .map((progress) => {
        const heardMs = Math.max(progress.lastActiveMs, transport.lastHeardMs(progress.peer));
        const activeMs = Number.isFinite(heardMs) ? Math.max(0, env.clock.nowMs() - heardMs) : 0;
        const offline = !transport.isUp(progress.peer);
        return {
          peer: progress.peer,
          current: !offline && activeMs < CURRENT_WITHIN_MS && progress.state === 'replicate',
          offline,
          activeMs,
          lag: Math.max(0, found.lastIndex - progress.match),
        };
      });
  }
}

/** Undefined: not JSON. */
function parseJson<T>(bytes: Uint8Array): T | undefined {
  try {
    return JSON.parse(decoder.decode(bytes)) as T;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
