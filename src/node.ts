// One node of the broker, everything below the sockets: log, consensus, meta, streams, routers, API and core NATS joined together.
// `server.ts` gives it a real machine and listeners, the simulator a model of one. Nothing here touches node:*.
import { createHost } from '../cluster/host/host.ts';
import { type Identity as StoredIdentity, saveIdentity } from '../cluster/host/identity.ts';
import { ScrubMemory } from '../cluster/host/scrub-memory.ts';
import type { SnapshotPolicy } from '../cluster/host/snapshot-taker.ts';
import type { GroupId, Host } from '../cluster/host/types.ts';
import { createRpc } from '../cluster/rpc/rpc.ts';
import type { Transport } from '../cluster/rpc/types.ts';
import type { WalOptions } from '../cluster/wal/options.ts';
import type { Wal } from '../cluster/wal/types.ts';
import { openWal } from '../cluster/wal/wal.ts';
import { createBroker } from './broker/broker.ts';
import type { Broker } from './broker/types.ts';
import { createJetStreamApi, type JetStreamApi } from './jetstream/api.ts';
import { createConsumerRouter } from './jetstream/consumer-router.ts';
import { PartRouter } from './jetstream/part-links.ts';
import { PartitionClient } from './jetstream/partition-client.ts';
import { createPublishRouter, type PublishRouter } from './jetstream/publish-router.ts';
import { DiskRoom } from './kit/disk-room.ts';
import type { Env } from './kit/env.ts';
import { createMeta, type Identity, type Meta } from './meta/meta.ts';
import { groupOf, type StreamRecord } from './meta/types.ts';
import { ENTRY_WORK } from './stream/batch-codec.ts';
import { BATCHES, BatchWindow } from './stream/batch-window.ts';
import { ColdBodies } from './stream/body-cache.ts';
import { BodyMemory } from './stream/body-memory.ts';
import { createDeliveryCounts, type DeliveryCounts } from './stream/delivery-counts.ts';
import { Partition } from './stream/partition.ts';

export interface NodeOptions {
  env: Env;
  transport: Transport;
  /** Random per process start. */
  bootId: number;
  /** Durable identity of the data directory; its incarnation is `transport.self.id`. */
  identity: Identity;
  expectedNodes: () => number;
  /** A cluster listener is configured. */
  clustered: boolean;
  clusterName: string | undefined;
  defaultReplicas: number;
  /** Clients need no credentials: what belongs to the system account is open to all of them. */
  openAdministration?: () => boolean;
  /** A peer remembers more of this node than it has itself. It repairs itself; the simulator wants to know all the same. */
  onRolledBack?: (reason: string) => void;
  /** Sizes other than the defaults; for tests. */
  tuning?: {
    wal?: Partial<WalOptions>;
    snapshots?: Partial<SnapshotPolicy>;
    diskReserveBytes?: number;
    digestEvery?: number;
    entryWork?: number;
    batchesUnderWay?: number;
  };
}

export interface BrokerNode {
  readonly broker: Broker;
  readonly wal: Wal;
  readonly host: Host;
  readonly meta: Meta;
  readonly api: JetStreamApi;
  readonly client: PartitionClient;
  readonly publishRouter: PublishRouter;
  /** Room on the disk of the data directory. */
  readonly room: DiskRoom;
  readonly deliveryCounts: DeliveryCounts;
  /** Partitions with a replica here. */
  readonly partitions: ReadonlyMap<GroupId, Partition>;
  start(): void;
  /** Hands leaderships over; the node goes on serving meanwhile. */
  drain(done: () => void): void;
  /** Stops; what was acknowledged is durable already. */
  close(done: () => void): void;
}

const NOTHING = new Uint8Array(0);
/** Bodies that were read back from disk. */
const COLD_BYTES_MAX = 8 << 20;
/** Files of the log, in the data directory. */
export const WAL_DIR = 'wal';
/** Container engines kill what has not stopped after ten seconds. */
const DRAIN = { catchUpMs: 6_000, handOverMs: 3_000 };

/** Recovers the log (synchronously; throws when the directory is of a newer format) and builds the node; `start` sets it going. */
export function createNode(options: NodeOptions): BrokerNode {
  const { env, transport } = options;
  const { self } = transport;
  const used = options.identity.clusterId !== '';
  const wal = openWal(env, WAL_DIR, { ...options.tuning?.wal, used });
  const scrubMemory = new ScrubMemory(env, wal, self.id);
  const room = new DiskRoom(env, options.tuning?.diskReserveBytes);
  const rpc = createRpc(env, transport);
  const host = createHost({
    env,
    wal,
    transport,
    self: self.id,
    bootId: options.bootId,
    rpc,
    onRolledBack: (finding) => options.onRolledBack?.(JSON.stringify(finding)),
    snapshots: options.tuning?.snapshots,
    digestEvery: options.tuning?.digestEvery,
    rebalance: false,
    isDiskLow: () => room.isLow,
  });
  const broker = createBroker({ env, transport, self: self.id });
  const partitions = new Map<GroupId, Partition>();
  const bodies = new BodyMemory();
  const window = new BatchWindow(env.clock, options.tuning?.batchesUnderWay ?? BATCHES);
  const coldBodies = new ColdBodies(COLD_BYTES_MAX);
  const deliveryCounts = createDeliveryCounts();

  const meta = createMeta({
    env,
    host,
    rpc,
    transport,
    identity: options.identity,
    expectedNodes: options.expectedNodes,
    clustered: options.clustered,
    recovered: new Set(wal.recovered.keys()),
    openPartition: (record, number) => {
      const partition = partitionOfRecord(record, number);
      partitions.set(groupOf(record.streamId, number), partition);
      return { machine: partition, ops: partition, attach: (group) => partition.attach(group) };
    },
    closePartition: (group) => {
      partitions.get(group)?.close('deleted');
      partitions.delete(group);
    },
  });

  function partitionOfRecord(record: StreamRecord, number: number): Partition {
    const { account } = record;
    return new Partition({
      env,
      account,
      streamName: record.name,
      streamId: record.streamId,
      partition: number,
      stride: record.stride,
      config: record.config,
      clusterTimeUs: () => host.clusterTimeUs(),
      entryWork: options.tuning?.entryWork ?? ENTRY_WORK,
      isDiskLow: () => host.restsOnLowDisk(groupOf(record.streamId, number)),
      links: record.partitions > 1 ? partRouter.linksOf(record) : undefined,
      bodies,
      window,
      coldBodies,
      deliveryCounts,
      outlet: {
        deliverTo: (inbox, message) => broker.deliverTo(account, inbox, message),
        hasInterest: (inbox) => broker.hasInterest(account, inbox),
        publish: (subject, payload) => {
          broker.publish(account, { subject, reply: '', hdr: NOTHING, payload }, undefined);
        },
      },
    });
  }

  const { catalog, partitions: directory } = meta;
  const client = new PartitionClient({ env, self: self.id, partitions: directory, rpc, transport, host });
  const partRouter = new PartRouter({ env, transport, partitions: directory, client, each: () => partitions.values() });
  const publishRouter = createPublishRouter({ env, broker, transport, catalog, partitions: directory });
  const consumerRouter = createConsumerRouter({ env, broker, transport, catalog, partitions: directory });
  const api = createJetStreamApi({
    env,
    broker,
    meta: meta.client,
    catalog,
    partitions: directory,
    client,
    rpc,
    self: self.id,
    serverName: self.name,
    clusterName: options.clusterName,
    defaultReplicas: options.defaultReplicas,
    openAdministration: options.openAdministration,
    pull: (account, stream, consumer, message) => consumerRouter.pull(account, stream, consumer, message),
  });

  return {
    broker,
    wal,
    host,
    meta,
    api,
    client,
    publishRouter,
    room,
    deliveryCounts,
    partitions,
    start: () => {
      scrubMemory.open();
      meta.start();
    },
    drain: (done) => host.drain(DRAIN, done),
    close: (done) => {
      room.close();
      meta.close();
      api.close();
      publishRouter.close();
      for (const partition of partitions.values()) partition.close();
      host.close();
      scrubMemory.close(() => wal.close(done));
    },
  };
}

/** The stored identity as formation changes it. `adopted` runs when the cluster id is durable. */
export function durableIdentity(env: Env, stored: StoredIdentity, adopted: (clusterId: string) => void): Identity {
  return {
    get clusterId() {
      return stored.clusterId;
    },
    adoptCluster(clusterId, done) {
      stored.clusterId = clusterId;
      try {
        saveIdentity(env, stored);
      } catch (error) {
        if (!(error instanceof Error) || !('code' in error)) throw error;
        env.fatal(`the identity can not be written: ${error.message}`, 'disk');
      }
      adopted(clusterId);
      done();
    },
  };
}
