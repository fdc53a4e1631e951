// `$JS.API.INFO`: what an account uses, summed over the cluster (nats-surface §3.5). Each node answers `js.usage` for the
// partitions that it leads and the requests that entered it; a node that does not answer in time is left out of the sum.

import type { PeerId } from '../../cluster/core/types.ts';
import { groupOf } from '../meta/types.ts';
import { apiError, isApiError } from '../stream/errors.ts';
import type { PartitionOps } from '../stream/types.ts';
import { type ApiContext, type ApiContextOptions, gather, type Operation } from './api-context.ts';
import { type AccountUsage, accountInfoShape } from './shapes.ts';

const METHOD = 'js.usage';
const TIMEOUT_MS = 1_500;
const USAGE_BYTES = 5 * 8;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export const ACCOUNT_OPERATIONS: Record<string, Operation> = {
  INFO: {
    type: 'account_info_response',
    args: [0, 0],
    run(api, { account }, done) {
      // Counted before this request is: it is not part of its own answer.
      const own = { ...api.options.counters(account) };
      api.meta.readBarrier((ok) => {
        if (!ok) return done(apiError(10008));
        totalUsage(api, account, own, (usage) => {
          done(accountInfoShape(usage, api.catalog.streams(account), api.options.domain));
        });
      });
    },
  },
};

/** Registers this node's side of `js.usage`. */
export function serveUsage(options: ApiContextOptions): void {
  options.rpc.handle(METHOD, (_, bytes, reply) => {
    const account = decoder.decode(bytes);
    usageHere(options, account, options.counters(account), (usage) => reply(encodeUsage(usage)));
  });
}

function totalUsage(api: ApiContext, account: string, own: AccountUsage['api'], done: (usage: AccountUsage) => void) {
  const { self, rpc } = api.options;
  const others: PeerId[] = [...api.catalog.nodes.keys()].filter((peer) => peer !== self);
  gather<AccountUsage | undefined>(
    others.length + 1,
    (i, found) => {
      if (i === others.length) usageHere(api.options, account, own, found);
      else {
        rpc.request(others[i], METHOD, encoder.encode(account), TIMEOUT_MS, (reply) => {
          found(reply.ok ? decodeUsage(reply.bytes) : undefined);
        });
      }
    },
    (all) => {
      const total: AccountUsage = { memory: 0, storage: 0, consumers: 0, api: { total: 0, errors: 0 } };
      for (const usage of all) {
        if (usage === undefined) continue;
        total.memory += usage.memory;
        total.storage += usage.storage;
        total.consumers += usage.consumers;
        total.api.total += usage.api.total;
        total.api.errors += usage.api.errors;
      }
      done(total);
    },
  );
}

function usageHere(
  { catalog, partitions }: ApiContextOptions,
  account: string,
  counters: AccountUsage['api'],
  done: (usage: AccountUsage) => void,
): void {
  const led: { ops: PartitionOps; replicas: number; isMemory: boolean }[] = [];
  for (const { streamId, config, partitions: count } of catalog.streams(account)) {
    for (let partition = 0; partition < count; partition++) {
      const ops = partitions.local(groupOf(streamId, partition));
      if (ops?.leading) led.push({ ops, replicas: config.num_replicas, isMemory: config.storage === 'memory' });
    }
  }
  const usage: AccountUsage = { memory: 0, storage: 0, consumers: 0, api: { ...counters } };
  gather<void>(
    led.length,
    (i, found) => {
      const { ops, replicas, isMemory } = led[i];
      ops.info({ deletedDetails: false }, (state) => {
        if (!isApiError(state)) {
          if (isMemory) usage.memory += state.bytes * replicas;
          else usage.storage += state.bytes * replicas;
          usage.consumers += state.consumer_count;
        }
        found();
      });
    },
    () => done(usage),
  );
}

function encodeUsage({ memory, storage, consumers, api }: AccountUsage): Uint8Array {
  const bytes = new Uint8Array(USAGE_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of [memory, storage, consumers, api.total, api.errors].entries()) view.setFloat64(i * 8, value);
  return bytes;
}

/** Undefined: malformed. */
function decodeUsage(bytes: Uint8Array): AccountUsage | undefined {
  if (bytes.length !== USAGE_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [memory, storage, consumers, total, errors] = [0, 1, 2, 3, 4].map((i) => view.getFloat64(i * 8));
  return { memory, storage, consumers, api: { total, errors } };
}
