// `$JS.API.CONSUMER.…` but for MSG.NEXT: the operations on consumers (nats-surface J12 to J16). They are asked of
// the first partition of their stream, which has them or is their home (docs/adr/0004). Runs on the node where the request entered.

import type { Random } from '../kit/env.ts';
import type { StreamRecord } from '../meta/types.ts';
import { apiError, isApiError } from '../stream/errors.ts';
import type { Answer, ApiContext, ApiRequest, Operation } from './api-context.ts';
import { type CreateForm, checkForm, completeConsumerConfig, decodeConsumerRequest } from './consumer-config.ts';
import { INFOS_PER_PAGE, NAMES_PER_PAGE } from './limits.ts';
import { clusterShape, consumerInfoShape, page } from './shapes.ts';
import { decode, refuseBody } from './stream-api.ts';
import { int, schema } from './strict-json.ts';

const NAMES = schema('JSApiConsumersRequest', { offset: int });

const NAME_LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const NAME_LENGTH = 8;

export const CONSUMER_OPERATIONS: Record<string, Operation> = {
  'CONSUMER.CREATE': {
    type: 'consumer_create_response',
    args: [1, Infinity],
    run: (api, request, done) => {
      const [stream, consumer = '', ...filter] = request.args;
      create(api, request, { stream, consumer, filter: filter.join('.'), isDurable: false }, done);
    },
  },
  'CONSUMER.DURABLE.CREATE': {
    type: 'consumer_create_response',
    args: [2, 2],
    run: (api, request, done) => {
      const [stream, consumer] = request.args;
      create(api, request, { stream, consumer, filter: '', isDurable: true }, done);
    },
  },
  'CONSUMER.NAMES': {
    type: 'consumer_names_response',
    args: [1, 1],
    beside: { total: 0, offset: 0, limit: 0, consumers: [] },
    run: names,
  },
  'CONSUMER.LIST': {
    type: 'consumer_list_response',
    args: [1, 1],
    beside: { total: 0, offset: 0, limit: 0, consumers: [] },
    run: infos,
  },
  'CONSUMER.INFO': { type: 'consumer_info_response', args: [2, 2], run: info },
  'CONSUMER.DELETE': { type: 'consumer_delete_response', args: [2, 2], run: remove },
};

function create(api: ApiContext, { account, body }: ApiRequest, form: CreateForm, done: Answer) {
  const request = decodeConsumerRequest(body);
  if (isApiError(request)) return done(request);
  const refused = checkForm(request, form);
  if (refused) return done(refused);
  if ((request.config?.num_replicas ?? 0) > 1 && !api.rules.clustered) return done(apiError(10074));
  api.findStream(account, form.stream, (record) => {
    if (isApiError(record)) return done(record);
    const config = completeConsumerConfig(request, form, record.config, () => randomName(api.env.random));
    if (isApiError(config)) return done(config);
    api.call(record, 0, 'createConsumer', [config, request.action ?? ''], (state, view) => {
      if (isApiError(state)) return done(state);
      const cluster = api.names.clusterName === undefined ? undefined : clusterShape(api.names, view);
      done(consumerInfoShape(record.name, state, cluster, api.nowUs));
    });
  });
}

export function randomName(random: Random): string {
  let name = '';
  for (let i = 0; i < NAME_LENGTH; i++) name += NAME_LETTERS[Math.floor(random.float() * NAME_LETTERS.length)];
  return name;
}

function names(api: ApiContext, request: ApiRequest, done: Answer) {
  const options = decode(request.body, NAMES, true);
  if (isApiError(options)) return done(options);
  onStream(api, request, done, (record) => {
    api.call(record, 0, 'consumerNames', [], (all) => {
      if (isApiError(all)) return done(all);
      const { fields, items } = page(all.sort(), options.offset, NAMES_PER_PAGE);
      done({ ...fields, consumers: items });
    });
  });
}

function infos(api: ApiContext, request: ApiRequest, done: Answer) {
  const options = decode(request.body, NAMES, true);
  if (isApiError(options)) return done(options);
  onStream(api, request, done, (record) => {
    api.call(record, 0, 'consumerList', [], (all, view) => {
      if (isApiError(all)) return done(all);
      all.sort((a, b) => (a.name < b.name ? -1 : 1));
      const { fields, items } = page(all, options.offset, INFOS_PER_PAGE);
      const cluster = clusterShape(api.names, view);
      done({ ...fields, consumers: items.map((state) => consumerInfoShape(record.name, state, cluster, api.nowUs)) });
    });
  });
}

function info(api: ApiContext, request: ApiRequest, done: Answer) {
  const refused = refuseBody(request.body);
  if (refused) return done(refused);
  onStream(api, request, done, (record) => {
    api.call(record, 0, 'consumerInfo', [request.args[1]], (state, view) => {
      if (isApiError(state)) return done(state);
      done(consumerInfoShape(record.name, state, clusterShape(api.names, view), api.nowUs));
    });
  });
}

function remove(api: ApiContext, request: ApiRequest, done: Answer) {
  const refused = refuseBody(request.body);
  if (refused) return done(refused);
  onStream(api, request, done, (record) => {
    api.call(record, 0, 'deleteConsumer', [request.args[1]], (result) => {
      done(isApiError(result) ? result : { success: true });
    });
  });
}

function onStream(
  api: ApiContext,
  { account, args }: ApiRequest,
  done: Answer,
  use: (record: StreamRecord) => void,
): void {
  api.findStream(account, args[0], (record) => (isApiError(record) ? done(record) : use(record)));
}
