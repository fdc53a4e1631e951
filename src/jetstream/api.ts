// `$JS.API.>`: one sink per account, one table of operations. Runs on every node; a request is answered by the node where it
// entered, exactly once, however many nodes the work takes (DESIGN §4, "who owns the answer"). Given by the composition root the
// hook for pull requests, which have a faster way of their own.

import type { PeerId } from '../../cluster/core/types.ts';
import type { Rpc } from '../../cluster/rpc/types.ts';
import type { Broker, Message, SinkHandle } from '../broker/types.ts';
import type { Env } from '../kit/env.ts';
import { API_LEVEL } from '../kit/version.ts';
import type { Catalog, MetaClient, Partitions } from '../meta/types.ts';
import { type ApiError, apiError, isApiError } from '../stream/errors.ts';
import { ACCOUNT_OPERATIONS, serveUsage } from './account-api.ts';
import { ApiContext, type ApiContextOptions, type ApiRequest, type Operation } from './api-context.ts';
import { CLUSTER_OPERATIONS } from './cluster-api.ts';
import { CONSUMER_OPERATIONS } from './consumer-api.ts';
import { Deadlines } from './deadlines.ts';
import { directGet, UNAVAILABLE } from './direct-get.ts';
import { REQUEST_MS_MAX, REQUESTS_MAX } from './limits.ts';
import type { PartitionClient } from './partition-client.ts';
import type { ApiCounters } from './shapes.ts';
import { STREAM_OPERATIONS } from './stream-api.ts';

export interface JetStreamApiOptions {
  env: Env;
  broker: Broker;
  meta: MetaClient;
  catalog: Catalog;
  partitions: Partitions;
  client: PartitionClient;
  rpc: Rpc;
  self: PeerId;
  serverName: string;
  /** Undefined: this node is alone. */
  clusterName: string | undefined;
  /** Of streams that do not ask for a number. */
  defaultReplicas: number;
  domain?: string;
  /** Longest duplicate window that streams may ask for. */
  duplicateWindowNsMax?: number;
  /** Every client may do what otherwise belongs to the system account: nobody has to say who he is. */
  openAdministration?(): boolean;
  /** Does the account have JetStream? All but the system account do when this is absent. */
  accountEnabled?(account: string): boolean;
  /** `$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>`. */
  pull(account: string, stream: string, consumer: string, message: Message): void;
}

export interface JetStreamApi {
  /** Serves an account from now on; `$G` and `$SYS` are served from the beginning. */
  addAccount(account: string): void;
  /** Requests that entered this node. */
  counters(account: string): Readonly<ApiCounters>;
  /** Requests under way. */
  readonly inFlight: number;
  close(): void;
}

const GLOBAL_ACCOUNT = '$G';
const SYSTEM_ACCOUNT = '$SYS';
const TYPE_PREFIX = 'io.nats.jetstream.api.v1.';
const LEVEL_HEADER = 'Nats-Required-Api-Level:';
const EMPTY = new Uint8Array(0);

/** Known operations that this server does not have yet: the type of their answers, and what they are called. */
const NOT_YET: [name: string, type: string, what: string][] = [
  ['STREAM.SNAPSHOT', 'stream_snapshot_response', 'stream snapshots are'],
  ['STREAM.RESTORE', 'stream_restore_response', 'restoring streams is'],
  ['CONSUMER.PAUSE', 'consumer_pause_response', 'pausing consumers is'],
  ['CONSUMER.RESET', 'consumer_reset_response', 'resetting consumers is'],
  ['CONSUMER.UNPIN', 'consumer_unpin_response', 'unpinning consumers is'],
];

const OPERATIONS: ReadonlyMap<string, Operation> = new Map([
  ...Object.entries(ACCOUNT_OPERATIONS),
  ...Object.entries(STREAM_OPERATIONS),
  ...Object.entries(CONSUMER_OPERATIONS),
  ...Object.entries(CLUSTER_OPERATIONS),
  ...NOT_YET.map(([name, type, what]): [string, Operation] => [name, notYet(type, what)]),
]);

function notYet(type: string, what: string): Operation {
  const refusal = apiError(10052, { err: `${what} not supported by this server yet` });
  return { type, args: [1, 2], run: (_api, _request, done) => done(refusal) };
}

const UNKNOWN: Operation = {
  type: 'system_response',
  args: [0, Infinity],
  run: (_api, _request, done) => done(apiError(10003)),
};

const NAME_TOKENS_MAX = 3;
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const LEVEL_STATUS = encoder.encode('NATS/1.0 412 Required Api Level\r\n\r\n');

export function createJetStreamApi(options: JetStreamApiOptions): JetStreamApi {
  const { env, broker, catalog, domain } = options;
  const counters = new Map<string, ApiCounters>();
  const countersOf = (account: string): ApiCounters => {
    let found = counters.get(account);
    if (found === undefined) counters.set(account, (found = { total: 0, errors: 0 }));
    return found;
  };
  const contextOptions: ApiContextOptions = {
    env,
    self: options.self,
    meta: options.meta,
    catalog,
    partitions: options.partitions,
    rpc: options.rpc,
    client: options.client,
    names: {
      clusterName: options.clusterName,
      nameOf: (peer) => (peer === options.self ? options.serverName : catalog.nodes.get(peer)?.name),
    },
    rules: {
      clustered: options.clusterName !== undefined,
      clusterName: options.clusterName,
      defaultReplicas: options.defaultReplicas,
      duplicateWindowNsMax: options.duplicateWindowNsMax,
    },
    domain,
    counters: countersOf,
  };
  const context = new ApiContext(contextOptions);
  serveUsage(contextOptions);
  const sinks = new Map<string, SinkHandle[]>();
  const deadlines = new Deadlines(env.clock, REQUEST_MS_MAX);
  let inFlight = 0;

  const send = (account: string, reply: string, hdr: Uint8Array, payload: Uint8Array): void => {
    if (reply !== '') broker.deliverTo(account, reply, { subject: reply, reply: '', hdr, payload });
  };

  const run = (operation: Operation, request: ApiRequest, reply: string): void => {
    const { account } = request;
    inFlight++;
    let isDone = false;
    const answered = (answer: object | ApiError): void => {
      inFlight--;
      if (isApiError(answer)) countersOf(account).errors++;
      send(account, reply, EMPTY, encodeAnswer(operation, answer));
    };
    const deadline = deadlines.begin(() => answered(apiError(10008)));
    operation.run(context, request, (answer) => {
      if (isDone) env.fatal(`${operation.type}: answered twice`);
      isDone = true;
      // Too late: the client has been told that the outcome is unknown.
      if (deadline.expire === undefined) return;
      deadlines.end(deadline);
      answered(answer);
    });
    // After the start: INFO reports the requests before it.
    if (operation.counted !== false) countersOf(account).total++;
  };

  const refuse = (operation: Operation, account: string, reply: string, error: ApiError): void => {
    const found = countersOf(account);
    found.total++;
    found.errors++;
    send(account, reply, EMPTY, encodeAnswer(operation, error));
  };

  const receive = (tokens: string[], message: Message, account: string): void => {
    const { reply } = message;
    const [name, args] = splitName(tokens);
    const isSystem = account === SYSTEM_ACCOUNT;
    const isEnabled = options.accountEnabled?.(account) ?? !isSystem;
    const isAbove = requiredLevel(message.hdr) > API_LEVEL;
    if (isAbove && (name === 'CONSUMER.MSG.NEXT' || name === 'DIRECT.GET')) {
      send(account, reply, LEVEL_STATUS, EMPTY);
      return;
    }
    if (isEnabled && name === 'CONSUMER.MSG.NEXT' && args.length === 2) {
      options.pull(account, args[0], args[1], message);
      return;
    }
    const request: ApiRequest = { account, args, body: message.payload };
    if (isEnabled && name === 'DIRECT.GET' && args.length > 0) {
      let isLate = false;
      const deadline = deadlines.begin(() => {
        isLate = true;
        send(account, reply, UNAVAILABLE, EMPTY);
      });
      directGet(context, request, (hdr, payload) => {
        if (isLate) return;
        deadlines.end(deadline);
        send(account, reply, hdr, payload);
      });
      return;
    }
    const named = OPERATIONS.get(name);
    const fits = named !== undefined && args.length >= named.args[0] && args.length <= named.args[1];
    const isAllowed = named?.system !== true || isSystem || options.openAdministration?.() === true;
    const operation = fits && isAllowed ? named : UNKNOWN;
    if (!isEnabled && operation.system !== true) refuse(operation, account, reply, apiError(10039));
    else if (isAbove) refuse(operation, account, reply, apiError(10185));
    else if (inFlight >= REQUESTS_MAX) refuse(operation, account, reply, apiError(10008));
    else run(operation, request, reply);
  };

  const addAccount = (account: string): void => {
    if (sinks.has(account)) return;
    const prefixes = ['$JS.API.', ...(domain ? [`$JS.${domain}.API.`] : [])];
    sinks.set(
      account,
      prefixes.map((prefix) =>
        broker.addSink(account, `${prefix}>`, (message, from) => {
          receive(message.subject.slice(prefix.length).split('.'), message, from);
        }),
      ),
    );
  };
  addAccount(GLOBAL_ACCOUNT);
  addAccount(SYSTEM_ACCOUNT);

  return {
    addAccount,
    counters: countersOf,
    get inFlight() {
      return inFlight;
    },
    close() {
      for (const handle of [...sinks.values()].flat()) handle.remove();
      sinks.clear();
      deadlines.close();
    },
  };
}

/** The longest known name at the beginning, and the tokens after it. */
function splitName(tokens: string[]): [name: string, args: string[]] {
  for (let length = Math.min(NAME_TOKENS_MAX, tokens.length); length > 0; length--) {
    const name = tokens.slice(0, length).join('.');
    if (OPERATIONS.has(name) || name === 'CONSUMER.MSG.NEXT' || name === 'DIRECT.GET')
      return [name, tokens.slice(length)];
  }
  return ['', tokens];
}

function encodeAnswer(operation: Operation, answer: object | ApiError): Uint8Array {
  const type = TYPE_PREFIX + operation.type;
  const body = isApiError(answer) ? { type, error: answer, ...operation.beside } : { type, ...answer };
  return encoder.encode(JSON.stringify(body));
}

/** `Nats-Required-Api-Level`; 0 when the request has none. One that is no whole number is above every level. */
function requiredLevel(hdr: Uint8Array): number {
  if (hdr.length === 0) return 0;
  const line = decoder
    .decode(hdr)
    .split('\r\n')
    .find((each) => each.startsWith(LEVEL_HEADER));
  const level = line?.slice(LEVEL_HEADER.length).trim() ?? '';
  if (level === '') return 0;
  return /^[+-]?\d+$/.test(level) ? Number(level) : Infinity;
}
