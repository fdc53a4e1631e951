// Meta nodes in the small world, with a partition machine that only remembers what happened to it.

import type { GroupId, PeerId } from '../../../cluster/core/types.ts';
import { wholeState } from '../../../cluster/host/state-sink.ts';
import type { GroupMachine } from '../../../cluster/host/types.ts';
import { createMeta, type Meta } from '../../../src/meta/meta.ts';
import type { MetaClient, StreamRecord } from '../../../src/meta/types.ts';
import type { StreamConfig } from '../../../src/stream/config.ts';
import { type ApiError, isApiError } from '../../../src/stream/errors.ts';
import type { PartitionOps } from '../../../src/stream/types.ts';
import { plainStream } from '../plain-stream.ts';
import { type FakeNode, World } from './fake-cluster.ts';

export function streamConfig(name: string, more: Partial<StreamConfig> = {}): StreamConfig {
  return plainStream(name, { subjects: [`${name}.>`], ...more });
}

/** A partition without content. */
export class Probe {
  leading = false;
  /** Newest configuration told to this replica. */
  config: StreamConfig;

  constructor(config: StreamConfig) {
    this.config = config;
  }

  readonly machine: GroupMachine = {
    apply: () => undefined,
    onLeading: () => {
      this.leading = true;
    },
    onNotLeading: () => {
      this.leading = false;
    },
    onPause: () => undefined,
    snapshot: () => [],
    restore: () => wholeState(() => undefined),
    isEntryLive: () => false,
    digest: () => '',
  };

  get ops(): PartitionOps {
    const probe = this;
    return {
      get leading() {
        return probe.leading;
      },
      updateConfig: (config: StreamConfig) => {
        probe.config = config;
      },
    } as PartitionOps;
  }
}

export class TestNode {
  readonly fake: FakeNode;
  readonly expected: number;
  meta!: Meta;
  readonly probes = new Map<GroupId, Probe>();

  constructor(world: World, id: PeerId, name: string, expected: number) {
    this.fake = world.addNode({ id, name, clientUrl: `${name}:4222`, clusterUrl: `${name}:6222`, monitorUrl: '' });
    this.expected = expected;
  }

  get id(): PeerId {
    return this.fake.info.id;
  }

  get client(): MetaClient {
    return this.meta.client;
  }

  start(): void {
    this.probes.clear();
    this.fake.start((fake) => {
      const recovered = new Set(fake.logs);
      this.meta = createMeta({
        env: fake.env,
        host: fake.host,
        rpc: fake.rpc,
        transport: fake.transport,
        identity: {
          get clusterId() {
            return fake.clusterId;
          },
          adoptCluster(clusterId, done) {
            fake.env.clock.after(1, () => {
              fake.clusterId = clusterId;
              done();
            });
          },
        },
        expectedNodes: () => this.expected,
        clustered: true,
        recovered,
        openPartition: (record, partition) => {
          const probe = new Probe(record.config);
          this.probes.set(record.streamId * 64 + partition, probe);
          return { machine: probe.machine, ops: probe.ops, attach: () => undefined };
        },
        closePartition: (group) => this.probes.delete(group),
      });
      this.meta.start();
    });
  }
}

export class MetaWorld {
  readonly world: World;
  readonly nodes: TestNode[] = [];

  constructor(seed: number) {
    this.world = new World(seed);
  }

  add(name: string, expected: number, id = this.nodes.length + 101): TestNode {
    const node = new TestNode(this.world, id, name, expected);
    this.nodes.push(node);
    return node;
  }

  /** A formed cluster. */
  static formed(seed: number, size: number): MetaWorld {
    const world = new MetaWorld(seed);
    for (let i = 0; i < size; i++) world.add(`n${i + 1}`, size);
    for (const node of world.nodes) node.start();
    world.until(() => world.nodes.every((node) => node.meta.ready));
    return world;
  }

  get alive(): TestNode[] {
    return this.nodes.filter((node) => node.fake.alive);
  }

  get metaLeader(): TestNode {
    const id = this.alive[0].meta.catalog.metaLeader;
    return this.nodes.find((node) => node.id === id)!;
  }

  until(condition: () => boolean, timeoutMs = 30_000): void {
    if (!this.world.scheduler.runUntilTrue(condition, { timeoutMs })) {
      const logs = this.nodes.flatMap((node) => node.fake.env?.logs ?? []).map((log) => `${log.node} ${log.message}`);
      throw new Error(`not reached in ${timeoutMs} ms\n${logs.slice(-20).join('\n')}`);
    }
  }

  run(ms: number): void {
    this.world.scheduler.runFor(ms);
  }

  wait<T>(start: (done: (result: T) => void) => void, node: TestNode): T {
    let result: { value: T } | undefined;
    node.fake.run(() =>
      start((value) => {
        if (result !== undefined) throw new Error('answered twice');
        result = { value };
      }),
    );
    this.until(() => result !== undefined, 20_000);
    return result!.value;
  }

  create(node: TestNode, config: StreamConfig): { record: StreamRecord; created: boolean } | ApiError {
    return this.wait<{ record: StreamRecord; created: boolean } | ApiError>(
      (done) => node.client.createStream('$G', config, done),
      node,
    );
  }

  created(node: TestNode, config: StreamConfig): StreamRecord {
    const result = this.create(node, config);
    if (isApiError(result)) throw new Error(result.description);
    return result.record;
  }

  delete(node: TestNode, name: string): true | ApiError {
    return this.wait<true | ApiError>((done) => node.client.deleteStream('$G', name, done), node);
  }
}
