// Meta on the real host: consensus, log and rpc as in production, on simulated disks, clocks and network.
import { describe, expect, test } from 'vitest';
import { createHost } from '../../../cluster/host/host.ts';
import { loadIdentity, saveIdentity } from '../../../cluster/host/identity.ts';
import type { Host } from '../../../cluster/host/types.ts';
import { createRpc } from '../../../cluster/rpc/rpc.ts';
import { openWal } from '../../../cluster/wal/wal.ts';
import { createMeta, type Meta } from '../../../src/meta/meta.ts';
import type { StreamRecord } from '../../../src/meta/types.ts';
import type { StreamConfig } from '../../../src/stream/config.ts';
import { type ApiError, isApiError } from '../../../src/stream/errors.ts';
import { createPrng, type Prng } from '../../sim/prng.ts';
import { createScheduler, type Scheduler } from '../../sim/scheduler.ts';
import { type CrashKind, SimDisk } from '../../sim/sim-disk.ts';
import { createSimEnv, type SimEnv } from '../../sim/sim-env.ts';
import { SimNetwork } from '../../sim/sim-transport.ts';
import { Probe, streamConfig } from './meta-world.ts';

class RealNode {
  readonly name: string;
  readonly disk: SimDisk;
  readonly #cluster: RealCluster;
  #life = 0;
  id = 0;
  env!: SimEnv;
  host!: Host;
  meta!: Meta;
  readonly probes = new Map<number, Probe>();
  crashAt: ((point: string) => CrashKind | undefined) | undefined;

  constructor(cluster: RealCluster, name: string) {
    this.#cluster = cluster;
    this.name = name;
    this.disk = new SimDisk({ scheduler: cluster.scheduler, prng: cluster.prng.stream(`disk ${name}`) });
  }

  start(): void {
    const cluster = this.#cluster;
    const life = ++this.#life;
    this.probes.clear();
    const env = createSimEnv({
      scheduler: cluster.scheduler,
      seed: cluster.prng.stream(`${this.name} ${life}`),
      node: this.name,
      disk: this.disk,
      crashAt: (point) => this.crashAt?.(point),
      onCrash: () => cluster.network.leave(this.name),
    });
    this.env = env;
    // A delay below the resolution of the clock must not mean "now": time would stand still.
    const { after } = env.clock;
    env.clock.after = (delayMs, fn) => after(delayMs > 0 ? Math.max(delayMs, 1e-6) : delayMs, fn);
    env.run(() => {
      const { identity } = loadIdentity(env, this.name, ['wal']);
      this.id = identity.incarnation;
      const { name } = this;
      const info = { id: this.id, name, clientUrl: `${name}:4222`, clusterUrl: `${name}:6222`, monitorUrl: '' };
      const transport = cluster.network.join({
        info,
        nowMs: () => env.clock.nowMs(),
        run: (fn) => void env.run(fn),
      });
      const wal = openWal(env, 'wal', { segmentBytes: 256 * 1024, zeroBytes: 0 });
      const rpc = createRpc(env, transport);
      const onRolledBack = () => env.fatal('rolled back');
      const snapshots = { bytes: 16 * 1024, entries: 40, growth: 0 };
      this.host = createHost({
        env,
        wal,
        transport,
        rpc,
        self: this.id,
        bootId: life,
        onRolledBack,
        isDiskLow: () => false,
        snapshots,
        rebalance: false,
      });
      this.meta = createMeta({
        env,
        host: this.host,
        rpc,
        transport,
        identity: {
          get clusterId() {
            return identity.clusterId;
          },
          adoptCluster(clusterId, done) {
            identity.clusterId = clusterId;
            saveIdentity(env, identity);
            done();
          },
        },
        expectedNodes: () => cluster.expected,
        clustered: true,
        recovered: new Set(wal.recovered.keys()),
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

  kill(kind: CrashKind = 'power'): void {
    this.env.kill(kind);
  }

  wipe(): void {
    this.kill();
    this.disk.wipe();
  }
}

class RealCluster {
  readonly prng: Prng;
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly nodes: RealNode[] = [];
  readonly expected: number;

  constructor(seed: number, size: number) {
    this.prng = createPrng(seed);
    this.scheduler = createScheduler(this.prng.stream('events'));
    this.network = new SimNetwork(this.scheduler, this.prng.stream('network'));
    this.expected = size;
    for (let i = 1; i <= size; i++) this.add(`n${i}`);
  }

  add(name: string): RealNode {
    const node = new RealNode(this, name);
    this.nodes.push(node);
    return node;
  }

  static ready(seed: number, size: number): RealCluster {
    const cluster = new RealCluster(seed, size);
    for (const node of cluster.nodes) node.start();
    cluster.untilReady();
    return cluster;
  }

  untilReady(timeoutMs = 60_000): void {
    this.until(() => this.nodes.every((node) => node.env.alive && node.meta.ready), timeoutMs);
  }

  until(condition: () => boolean, timeoutMs = 30_000): void {
    if (this.scheduler.runUntilTrue(condition, { timeoutMs })) return;
    const logs = this.nodes.flatMap((node) => node.env.logs);
    const last = logs.sort((a, b) => a.timeMs - b.timeMs).slice(-25);
    throw new Error(
      `not reached in ${timeoutMs} ms\n${last.map((log) => `${log.timeMs} ${log.node} ${log.message}`).join('\n')}`,
    );
  }

  wait<T>(node: RealNode, start: (done: (result: T) => void) => void): T {
    let result: { value: T } | undefined;
    node.env.run(() =>
      start((value) => {
        result = { value };
      }),
    );
    this.until(() => result !== undefined, 20_000);
    return result!.value;
  }

  create(node: RealNode, config: StreamConfig): StreamRecord {
    const result = this.wait<{ record: StreamRecord } | ApiError>(node, (done) =>
      node.meta.client.createStream('$G', config, done),
    );
    if (isApiError(result)) throw new Error(result.description);
    return result.record;
  }
}

describe('on the real host', () => {
  test('one node forms, serves, restarts', () => {
    const cluster = RealCluster.ready(1, 1);
    const [node] = cluster.nodes;
    const record = cluster.create(node, streamConfig('S'));
    expect(node.meta.partitions.local(record.streamId * 64)?.leading).toBe(true);
    node.kill();
    node.start();
    cluster.untilReady();
    cluster.until(() => node.meta.partitions.local(record.streamId * 64)?.leading === true);
    expect(node.meta.catalog.stream('$G', 'S')).toEqual(record);
  });

  test('three nodes: form, create, delete, restart all', () => {
    const cluster = RealCluster.ready(2, 3);
    const [a, b, c] = cluster.nodes;
    const records = Array.from({ length: 120 }, (_, i) =>
      cluster.create([a, b, c][i % 3], streamConfig(`S${i}`, { num_replicas: 3 })),
    );
    for (const record of records.slice(0, 60)) {
      expect(cluster.wait(b, (done) => b.meta.client.deleteStream('$G', record.name, done))).toBe(true);
    }
    cluster.until(() => cluster.nodes.every((node) => node.probes.size === 60));
    for (const node of cluster.nodes) node.kill();
    for (const node of cluster.nodes) node.start();
    cluster.untilReady();
    cluster.until(() => cluster.nodes.every((node) => node.probes.size === 60));
    const groups = records.slice(60).map((record) => record.streamId * 64);
    cluster.until(() => groups.every((group) => a.meta.partitions.leaderOf(group) !== 0));
    // Preferred leaders get their partitions back.
    cluster.until(() =>
      records.slice(60).every((record) => b.meta.partitions.leaderOf(record.streamId * 64) === record.replicas[0][0]),
    );
  });

  test('a wiped node comes back as a learner and takes its own place', () => {
    for (let victim = 0; victim < 3; victim++) {
      const cluster = RealCluster.ready(10 + victim, 3);
      const node = cluster.nodes[victim];
      const other = cluster.nodes[(victim + 1) % 3];
      const record = cluster.create(other, streamConfig('S', { num_replicas: 3 }));
      const old = node.id;
      node.wipe();
      cluster.scheduler.runFor(300);
      node.start();
      expect(node.id).not.toBe(old);
      cluster.untilReady();
      for (const group of [0, record.streamId * 64]) {
        const members = (one: RealNode) => one.host.group(group)!.status().membership;
        cluster.until(() => cluster.nodes.every((one) => members(one).voters.includes(node.id)));
        cluster.until(() => cluster.nodes.every((one) => !members(one).voters.includes(old)));
      }
      expect([...other.meta.catalog.nodes.keys()]).not.toContain(old);
    }
  });

  test('a fourth node joins a running cluster and gets its share', () => {
    const cluster = RealCluster.ready(20, 3);
    cluster.create(cluster.nodes[0], streamConfig('S', { num_replicas: 3 }));
    const fourth = cluster.add('n4');
    fourth.start();
    cluster.untilReady();
    const record = cluster.create(fourth, streamConfig('T'));
    expect(record.replicas).toEqual([[fourth.id]]);
    cluster.until(() => fourth.host.group(0)!.status().membership.voters.length === 4);
  });

  test('a crash at each formation step is resumed', () => {
    for (const point of ['meta.formation.saved', 'meta.formation.adopted', 'meta.formation.opened']) {
      for (let victim = 0; victim < 3; victim++) {
        const cluster = new RealCluster(30 + victim, 3);
        const node = cluster.nodes[victim];
        node.crashAt = (name) => (name === point ? 'power' : undefined);
        for (const one of cluster.nodes) one.start();
        cluster.until(() => !node.env.alive);
        cluster.scheduler.runFor(2000);
        node.crashAt = undefined;
        node.start();
        cluster.untilReady();
        expect(new Set(cluster.nodes.map((one) => one.meta.clusterId)).size).toBe(1);
      }
    }
  });
});

/** What clients know of a stream: a create or delete without answer leaves it open. */
type Belief = 'there' | 'gone' | 'open';

/** Kills at any crash point of meta, host and log, wipes, a lossy network; at most one node away at a time. */
function swarm(seed: number): { there: number; crashes: number; wipes: number } {
  const cluster = RealCluster.ready(seed, 3);
  const prng = cluster.prng.stream('swarm');
  const beliefs = new Map<string, Belief>();
  /** The operation under way on a name: of two at once nobody knows the order. */
  const busy = new Map<string, symbol>();
  let crashes = 0;
  let wipes = 0;
  const away = () => cluster.nodes.filter((node) => !node.env.alive || !node.meta.ready);
  /** Every group has its three copies: one disk may go. */
  const isWhole = (): boolean => {
    const ids = cluster.nodes.map((node) => node.id);
    return cluster.nodes.every((node) =>
      [...node.host.groups()].every(({ id }) => {
        const { voters } = node.host.group(id)!.status().membership;
        return voters.length === 3 && ids.every((peer) => voters.includes(peer));
      }),
    );
  };
  for (const node of cluster.nodes) {
    node.crashAt = () => {
      if (away().length > 0 || !prng.chance(0.002)) return undefined;
      crashes++;
      return prng.pick(['power', 'process']);
    };
  }
  cluster.network.faults = { delayMinMs: 0.1, delayMeanMs: 2, loss: 0.02, duplicate: 0.02, reorder: 0.05 };

  const operate = (node: RealNode): void => {
    const name = `S${prng.int(10)}`;
    if (busy.has(name)) return;
    const operation = Symbol(name);
    busy.set(name, operation);
    const release = (): void => {
      if (busy.get(name) === operation) busy.delete(name);
    };
    const known = beliefs.get(name) ?? 'gone';
    beliefs.set(name, 'open');
    node.env.run(() => {
      if (prng.chance(0.6)) {
        node.meta.client.createStream('$G', streamConfig(name, { num_replicas: 3 }), (result) => {
          release();
          if (!isApiError(result)) beliefs.set(name, 'there');
          else if (result.err_code === 10005) beliefs.set(name, known);
        });
      } else {
        node.meta.client.deleteStream('$G', name, (result) => {
          release();
          if (result === true || result.err_code === 10059) beliefs.set(name, 'gone');
        });
      }
    });
    cluster.scheduler.after(12_000, release);
  };

  for (let round = 0; round < 80; round++) {
    const alive = cluster.nodes.filter((node) => node.env.alive);
    for (let i = prng.int(4); i >= 0; i--) operate(prng.pick(alive));
    if (away().length === 0 && prng.chance(0.15)) {
      const victim = prng.pick(alive);
      if (prng.chance(0.4) && isWhole()) {
        wipes++;
        victim.wipe();
      } else victim.kill(prng.pick(['power', 'process']));
    }
    const dead = cluster.nodes.find((node) => !node.env.alive);
    if (dead !== undefined && prng.chance(0.4)) dead.start();
    cluster.scheduler.runFor(prng.int(800));
  }
  for (const node of cluster.nodes) {
    node.crashAt = undefined;
    if (!node.env.alive) node.start();
  }
  cluster.network.faults = { delayMinMs: 0.1, delayMeanMs: 0.3, loss: 0, duplicate: 0, reorder: 0 };
  cluster.untilReady();
  cluster.scheduler.runFor(15_000);

  const [first] = cluster.nodes;
  const records = first.meta.catalog.streams('$G');
  const ids = cluster.nodes.map((node) => node.id).sort();
  for (const node of cluster.nodes) {
    expect(node.meta.catalog.streams('$G')).toEqual(records);
    expect([...node.meta.catalog.nodes.keys()].sort()).toEqual(ids);
    expect([...node.probes.keys()].sort()).toEqual(records.map((record) => record.streamId * 64).sort());
    for (const group of [0, ...node.probes.keys()]) {
      expect([...node.host.group(group)!.status().membership.voters].sort()).toEqual(ids);
      if (group !== 0) expect(node.meta.partitions.leaderOf(group)).toBe(first.meta.partitions.leaderOf(group));
      if (group !== 0) expect(node.meta.partitions.leaderOf(group)).not.toBe(0);
    }
  }
  for (const [name, belief] of beliefs) {
    const record = first.meta.catalog.stream('$G', name);
    if (belief === 'there') expect(record, name).toBeDefined();
    if (belief === 'gone') expect(record, name).toBeUndefined();
  }
  return { there: records.length, crashes, wipes };
}

describe('on the real host, under crashes and wipes', () => {
  test.each(Array.from({ length: 8 }, (_, i) => i + 1))('seed %i', (seed) => {
    swarm(seed);
  });
});
