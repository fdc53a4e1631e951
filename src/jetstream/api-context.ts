// What every operation of the JetStream API works with, and the helpers that they share: finding a stream, calling its partitions,
// gathering several answers. One per node, made by api.ts.

import type { PeerId } from '../../cluster/core/types.ts';
import type { Rpc } from '../../cluster/rpc/types.ts';
import type { Env, Timer } from '../kit/env.ts';
import { type Catalog, groupOf, type MetaClient, type Partitions, type StreamRecord } from '../meta/types.ts';
import { type ApiError, apiError } from '../stream/errors.ts';
import type { Arguments, Done, OperationName, PartitionClient } from './partition-client.ts';
import type { ApiCounters, ClusterNames, GroupView } from './shapes.ts';
import type { StreamRules } from './stream-config.ts';

/** One request, decoded as far as its subject. `body` is valid during the call only. */
export interface ApiRequest {
  account: string;
  /** Subject tokens after the operation's name. */
  args: string[];
  body: Uint8Array;
}

/** An answer without `type`. */
export type Answer = (answer: object | ApiError) => void;

/** A row of the API's table. */
export interface Operation {
  /** After `io.nats.jetstream.api.v1.`. */
  type: string;
  /** How many tokens may follow the name. */
  args: readonly [min: number, max: number];
  /** Counted in the account's API statistics. */
  counted?: false;
  /** Of the cluster, not of an account: for the system account. */
  system?: true;
  /** What stands beside `error` in a refusal (paged lists). */
  beside?: object;
  run(api: ApiContext, request: ApiRequest, done: Answer): void;
}

/** A stream that is gone is found out about after this, when its partition does not answer. */
const GONE_CHECK_MS = 100;
const NOBODY: GroupView = { leader: 0, peers: [] };

export interface ApiContextOptions {
  env: Env;
  self: PeerId;
  meta: MetaClient;
  catalog: Catalog;
  partitions: Partitions;
  rpc: Rpc;
  client: PartitionClient;
  names: ClusterNames;
  rules: StreamRules;
  domain: string | undefined;
  counters(account: string): ApiCounters;
}

export class ApiContext {
  readonly env: Env;
  readonly meta: MetaClient;
  readonly catalog: Catalog;
  readonly names: ClusterNames;
  readonly rules: StreamRules;
  readonly options: ApiContextOptions;

  constructor(options: ApiContextOptions) {
    this.options = options;
    this.env = options.env;
    this.meta = options.meta;
    this.catalog = options.catalog;
    this.names = options.names;
    this.rules = options.rules;
  }

  get nowUs(): number {
    return this.env.clock.wallUs();
  }

  /** The stream as this node knows it; one that it does not know is asked for once more behind everything committed so far. */
  findStream(account: string, name: string, done: (record: StreamRecord | ApiError) => void): void {
    const known = this.catalog.stream(account, name);
    if (known !== undefined) {
      done(known);
      return;
    }
    this.latestStream(account, name, done);
  }

  /** The stream as everything committed so far has it: for answers and decisions that show or rest on its configuration. */
  latestStream(account: string, name: string, done: (record: StreamRecord | ApiError) => void): void {
    this.meta.readBarrier((ok) => {
      done(ok ? (this.catalog.stream(account, name) ?? apiError(10059)) : apiError(10008));
    });
  }

  /** An operation on one partition of a stream; 10059 when the stream turns out to be deleted. */
  call<K extends OperationName>(
    record: StreamRecord,
    partition: number,
    op: K,
    args: Arguments<K>,
    done: Done<K>,
  ): void {
    const { clock } = this.env;
    let isDone = false;
    let timer: Timer | undefined;
    const finish: Done<K> = (result, view) => {
      if (isDone) return;
      isDone = true;
      if (timer !== undefined) clock.cancel(timer);
      done(result, view);
    };
    this.options.client.call(groupOf(record.streamId, partition), op, args, finish);
    if (isDone) return;
    timer = clock.after(GONE_CHECK_MS, () => {
      this.meta.readBarrier((ok) => {
        if (ok && this.catalog.streamById(record.streamId) === undefined) finish(apiError(10059), NOBODY);
      });
    });
  }
}

/** Runs `each` for 0..count-1 together and hands over all results, in order, when the last one is there. */
export function gather<T>(
  count: number,
  each: (i: number, done: (result: T) => void) => void,
  all: (results: T[]) => void,
): void {
  const results: T[] = new Array(count);
  let missing = count;
  if (count === 0) {
    all(results);
    return;
  }
  for (let i = 0; i < count; i++) {
    each(i, (result) => {
      results[i] = result;
      if (--missing === 0) all(results);
    });
  }
}
