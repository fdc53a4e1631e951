// `$JS.API.….LEADER.STEPDOWN`, `STREAM.PEER.REMOVE`, `META.…` and `SERVER.REMOVE`: who leads what, and who holds it (nats-surface J22 to
// J24). Runs on the node where the request entered. Operations on the whole cluster belong to the system account.
import type { PeerId } from '../../cluster/core/types.ts';
import { groupOf, type StreamRecord } from '../meta/types.ts';
import { type ApiError, apiError, isApiError } from '../stream/errors.ts';
import { type Answer, type ApiContext, type ApiRequest, gather, type Operation } from './api-context.ts';
import { decode } from './stream-api.ts';
import { type Decoded, list, object, schema, text } from './strict-json.ts';

const STEP_DOWN_FIELDS = { placement: object('Placement', { cluster: text, tags: list(text), preferred: text }) };
const STEP_DOWN = schema('JSApiLeaderStepdownRequest', STEP_DOWN_FIELDS);
const PEER_REMOVE = schema('JSApiStreamRemovePeerRequest', { peer: text });
const SERVER_REMOVE = schema('JSApiMetaServerRemoveRequest', { peer: text, peer_id: text });

type Placement = Decoded<typeof STEP_DOWN_FIELDS>['placement'];

export const CLUSTER_OPERATIONS: Record<string, Operation> = {
  'STREAM.LEADER.STEPDOWN': {
    type: 'stream_leader_stepdown_response',
    args: [1, 1],
    run: (api, request, done) => {
      stepDown(api, request, done, (record, placement) => stepDownAll(api, record, placement, done));
    },
  },
  'CONSUMER.LEADER.STEPDOWN': { type: 'consumer_leader_stepdown_response', args: [2, 2], run: consumerStepDown },
  'STREAM.PEER.REMOVE': { type: 'stream_remove_peer_response', args: [1, 1], run: removePeer },
  'META.LEADER.STEPDOWN': { type: 'meta_leader_stepdown_response', args: [0, 0], system: true, run: metaStepDown },
  'SERVER.REMOVE': { type: 'meta_server_remove_response', args: [0, 0], system: true, run: removeServer },
};

function stepDown(
  api: ApiContext,
  { account, args, body }: ApiRequest,
  done: Answer,
  use: (record: StreamRecord, placement: Placement) => void,
) {
  if (api.names.clusterName === undefined) return done(apiError(10010));
  api.findStream(account, args[0], (record) => {
    if (isApiError(record)) return done(record);
    const request = decode(body, STEP_DOWN, true);
    if (isApiError(request)) return done(request);
    use(record, request.placement);
  });
}

/** A consumer is led where its stream is. */
function consumerStepDown(api: ApiContext, request: ApiRequest, done: Answer) {
  stepDown(api, request, done, (record, placement) => {
    api.call(record, 0, 'consumerInfo', [request.args[1]], (state) => {
      if (isApiError(state)) done(state);
      else stepDownAll(api, record, placement, done);
    });
  });
}

/** All partitions hand over; the new leaders are the preferred ones from now on, so that they stay. */
function stepDownAll(api: ApiContext, record: StreamRecord, placement: Placement, done: Answer) {
  const { partitions } = api.options;
  const leaders = record.replicas.map((_, partition) => partitions.leaderOf(groupOf(record.streamId, partition)));
  const to = heirOf(api, placement, (peer) => leaders.every((leader) => leader === peer));
  if (isApiError(to)) return done(to);
  if (to !== 0 && !record.replicas.some((replicas) => replicas.includes(to))) return done(noHeir());
  const moving = [...leaders.keys()].filter((partition) => to === 0 || leaders[partition] !== to);
  gather<ApiError | undefined>(
    moving.length,
    (i, moved) => {
      api.call(record, moving[i], 'stepDown', [to], (leader) => {
        if (isApiError(leader)) return moved(leader);
        api.meta.prefer(record.streamId, moving[i], leader, () => undefined);
        moved(undefined);
      });
    },
    (all) => done(all.find((error) => error !== undefined) ?? { success: true }),
  );
}

/** Who shall lead, by what the client says about it; 0: anybody. Nodes here have no tags. */
function heirOf(api: ApiContext, placement: Placement, leads: (peer: PeerId) => boolean): PeerId | ApiError {
  const { cluster, tags, preferred } = placement ?? {};
  let to: PeerId = 0;
  if (preferred) {
    const known = peerOfName(api, preferred);
    if (known === undefined) return apiError(10005, { err: `preferred server ${JSON.stringify(preferred)} not known` });
    if (leads(known))
      return apiError(10005, { err: `preferred server ${JSON.stringify(preferred)} is already leader` });
    to = known;
  }
  return tags?.length || (cluster && cluster !== api.names.clusterName) ? noHeir() : to;
}

function noHeir(): ApiError {
  return apiError(10005, { err: 'no replacement peer connected' });
}

function peerOfName(api: ApiContext, name: string): PeerId | undefined {
  for (const { id, name: known } of api.catalog.nodes.values()) if (known === name) return id;
  return undefined;
}

function removePeer(api: ApiContext, { account, args, body }: ApiRequest, done: Answer) {
  if (api.names.clusterName === undefined) return done(apiError(10010));
  if (body.length === 0) return done(apiError(10003));
  const request = decode(body, PEER_REMOVE);
  if (isApiError(request)) return done(request);
  const { peer: name } = request;
  if (!name) return done(apiError(10003));
  api.latestStream(account, args[0], (record) => {
    if (isApiError(record)) return done(record);
    const peer = peerOfName(api, name);
    if (peer === undefined) return done(apiError(10040));
    api.meta.evict(record.streamId, peer, (result) => done(isApiError(result) ? result : { success: true }));
  });
}

function metaStepDown(api: ApiContext, { body }: ApiRequest, done: Answer) {
  if (api.names.clusterName === undefined) return done(apiError(10010));
  const request = decode(body, STEP_DOWN, true);
  if (isApiError(request)) return done(request);
  const to = heirOf(api, request.placement, (peer) => peer === api.catalog.metaLeader);
  if (isApiError(to)) return done(to);
  api.meta.stepDown(to, (result) => {
    if (result === 'nobody') done(noHeir());
    else done(isApiError(result) ? result : { success: true });
  });
}

/** Only a node that is down: what it holds alone would be given up with it. */
function removeServer(api: ApiContext, { body }: ApiRequest, done: Answer) {
  if (api.names.clusterName === undefined) return done(apiError(10010));
  if (body.length === 0) return done(apiError(10003));
  const request = decode(body, SERVER_REMOVE);
  if (isApiError(request)) return done(request);
  const { peer: name, peer_id: peerId } = request;
  if (!name && !peerId) return done(apiError(10003));
  api.meta.readBarrier((ok) => {
    if (!ok) return done(apiError(10008));
    const id = name ? peerOfName(api, name) : Number(peerId);
    if (id === undefined || !api.catalog.nodes.has(id)) return done(apiError(10044));
    api.meta.removeNode(id, (result) => {
      if (!isApiError(result)) return done({ success: true });
      const isUp = result.err_code === 10003;
      done(isUp ? { ...result, description: 'server is up: only one that is down can be removed' } : result);
    });
  });
}
