// The door of the metadata group: what exists and where. Every node has the applied state as its `Catalog`.
import type { GroupId, PeerId, Term } from '../../cluster/core/types.ts';
import type { StreamConfig } from '../stream/config.ts';
import type { ApiError } from '../stream/errors.ts';
import type { PartitionOps } from '../stream/types.ts';

export interface NodeRecord {
  id: PeerId;
  name: string;
  /** As in PeerInfo, as last registered. */
  clientUrl?: string;
  clusterUrl?: string;
  monitorUrl?: string;
}

export interface StreamRecord {
  /** Index of the creating entry in the meta log; never reused. */
  streamId: number;
  account: string;
  name: string;
  config: StreamConfig;
  createdUs: number;
  /** Index of the meta entry that last set `config`: orders configurations. */
  revision: number;
  partitions: number;
  stride: number;
  /** Per partition its replicas (incarnations); the first is the preferred leader. */
  replicas: PeerId[][];
}

const PARTITIONS_PER_STREAM = 64;

export function groupOf(streamId: number, partition: number): GroupId {
  return streamId * PARTITIONS_PER_STREAM + partition;
}

export function streamOf(group: GroupId): number {
  return Math.floor(group / PARTITIONS_PER_STREAM);
}

export function partitionOf(group: GroupId): number {
  return group % PARTITIONS_PER_STREAM;
}

export interface Catalog {
  readonly metaLeader: PeerId;
  readonly nodes: ReadonlyMap<PeerId, NodeRecord>;
  stream(account: string, name: string): StreamRecord | undefined;
  streamById(streamId: number): StreamRecord | undefined;
  /** Ascending by name. */
  streams(account: string): StreamRecord[];
  /** Of all accounts. */
  all(): Iterable<StreamRecord>;
  /** Stream whose subjects match a literal subject. */
  streamOfSubject(account: string, subject: string): StreamRecord | undefined;
  /** Called after each applied change. `record` undefined: deleted. */
  onChange(
    handler: (change: {
      account: string;
      name: string;
      before: StreamRecord | undefined;
      record: StreamRecord | undefined;
    }) => void,
  ): void;
}

/** Proposals to the meta group, from any node: forwarded to the meta leader, answered when THIS node has applied the entry (and, for
 * create, when the partitions' leaders have applied their no-op). No leader within 2 s or link lost: 10008. */
export interface MetaClient {
  createStream(
    account: string,
    config: StreamConfig,
    done: (result: { record: StreamRecord; created: boolean } | ApiError) => void,
  ): void;
  /** `config` was made from `record` and checked against it. 'changed': the stream's configuration is another one by now, nothing
   * was done; read it and decide again. */
  updateStream(
    record: StreamRecord,
    config: StreamConfig,
    done: (result: StreamRecord | ApiError | 'changed') => void,
  ): void;
  deleteStream(account: string, name: string, done: (result: true | ApiError) => void): void;
  /** Takes a node that is down and will not come back out of the cluster: its replicas move to others. Refused (10003) while it is up. */
  removeNode(id: PeerId, done: (result: true | ApiError) => void): void;
  /** One of a partition's replicas becomes its preferred leader: leadership stays with it, and comes back to it. */
  prefer(streamId: number, partition: number, peer: PeerId, done: (result: true | ApiError) => void): void;
  /** Another node takes the place of `peer` in every partition of the stream. 10040: not there; 10075: no other node. */
  evict(streamId: number, peer: PeerId, done: (result: true | ApiError) => void): void;
  /** The meta leader hands over to `to`, or with 0 to any other voter that is up. 'nobody': there is none. */
  stepDown(to: PeerId, done: (result: true | 'nobody' | ApiError) => void): void;
  /** Linearizable: `done(true)` when this node's catalog holds all that was committed when asked. */
  readBarrier(done: (ok: boolean) => void): void;
}

/** Partitions hosted on this node, and who leads any partition of the cluster (own Raft knowledge or gossip). */
export interface Partitions {
  local(group: GroupId): PartitionOps | undefined;
  /** 0 when unknown. */
  leaderOf(group: GroupId): PeerId;
  /** Of the leader that is known, or was last. */
  termOf(group: GroupId): Term;
  /** Also when the same one leads in a later term. */
  onLeaderChange(handler: (group: GroupId, leader: PeerId, term: Term) => void): void;
}
