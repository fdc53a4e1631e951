// A simulated cluster: whole nodes (node.ts: log, consensus, meta, streams, API, core NATS) in one thread from one seed, on modelled
// disks, clocks and network. Scenarios (scenario.ts) drive it. Watches at all times that a term has one leader and that replicas which
// have applied the same entries hold the same results.
import { loadIdentity } from '../../cluster/host/identity.ts';
import type { PeerInfo } from '../../cluster/rpc/types.ts';
import { type BrokerNode, createNode, durableIdentity, WAL_DIR } from '../../src/node.ts';
import type { ReplicaState, StoredMessage } from '../checkers/history.ts';
import { createPrng, type Prng } from './prng.ts';
import { createScheduler, type Scheduler } from './scheduler.ts';
import type { ClientHost } from './sim-client.ts';
import { type CrashKind, SimDisk } from './sim-disk.ts';
import { type ClockModel, createSimEnv, type SimEnv } from './sim-env.ts';
import { SimKv } from './sim-kv.ts';
import { SimNetwork } from './sim-transport.ts';

/** Small enough that a short run seals, compacts, takes snapshots and transfers them. */
const TUNING = {
  wal: { segmentBytes: 128 * 1024, tailBytes: 64 * 1024, preallocate: false },
  snapshots: { bytes: 32 * 1024, entries: 150 },
};
const SAMPLE_EVERY_EVENTS = 200;

export class SimNode implements ClientHost {
  readonly name: string;
  readonly disk: SimDisk;
  readonly kv: SimKv;
  readonly clock: ClockModel = { offsetUs: 0, driftPpm: 0 };
  life = 0;
  env: SimEnv | undefined;
  node: BrokerNode | undefined;
  readonly #world: World;

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
    const prng = world.prng.stream(`node ${name}`);
    this.disk = new SimDisk({ scheduler: world.scheduler, prng: prng.stream('disk') });
    this.kv = new SimKv({ scheduler: world.scheduler, prng: prng.stream('kv') });
  }

  get up(): boolean {
    return this.env?.alive === true && this.node !== undefined;
  }

  enter(fn: (node: BrokerNode) => void): void {
    const { env, node } = this;
    if (node !== undefined) env?.run(() => fn(node));
  }

  start(): void {
    if (this.env?.alive) return;
    const world = this.#world;
    const life = ++this.life;
    const env = createSimEnv({
      scheduler: world.scheduler,
      seed: world.prng.stream(`${this.name} life ${life}`),
      node: this.name,
      disk: this.disk,
      kv: this.kv,
      clock: this.clock,
      crashAt: (point) => world.crashAt(this, point),
      onCrash: (reason) => {
        world.count(reason.startsWith('fatal') ? 'fatal' : 'crash');
        if (reason.startsWith('fatal')) world.fatals.push(`${this.name}: ${reason}`);
        this.node = undefined;
        world.network.leave(this.name);
      },
      onLog: world.onLog,
    });
    this.env = env;
    env.run(() => {
      const { identity } = loadIdentity(env, this.name, [WAL_DIR]);
      const info: PeerInfo = {
        id: identity.incarnation,
        name: this.name,
        clientUrl: `${this.name}:4222`,
        clusterUrl: `${this.name}:6222`,
        monitorUrl: '',
      };
      const transport = world.network.join({ info, nowMs: () => env.clock.nowMs(), run: (fn) => void env.run(fn) });
      const node = createNode({
        env,
        transport,
        bootId: life,
        identity: durableIdentity(env, identity, () => undefined),
        expectedNodes: () => world.nodes.length,
        clustered: true,
        clusterName: 'sim',
        defaultReplicas: 3,
        onRolledBack: (reason) => env.fatal(`rolled back: ${reason}`),
        tuning: TUNING,
      });
      node.host.onLeaderChange((group, leader, term) => {
        if (leader === info.id) world.leads(group, term, this.name);
      });
      this.node = node;
      node.start();
    });
  }

  crash(kind: CrashKind): void {
    this.env?.kill(kind);
  }

  /** The disk is replaced by an empty one. */
  wipe(): void {
    this.crash('power');
    this.disk.wipe();
  }
}

export class World {
  readonly seed: number;
  readonly prng: Prng;
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly nodes: SimNode[] = [];
  readonly counts = new Map<string, number>();
  /** Broken invariants seen while running. */
  readonly violations: string[] = [];
  /** Nodes that stopped themselves. */
  readonly fatals: string[] = [];
  onLog:
    | ((record: { timeMs: number; node: string; level: string; message: string; fields: unknown }) => void)
    | undefined;
  /** Share of visits to a crash point at which the node crashes. */
  crashPointShare = 0;
  /** At most one node may be down or cut off at a time beyond this bound. */
  readonly #chance: Prng;
  readonly #leaders = new Map<string, string>();
  readonly #digests = new Map<string, { node: string; digest: string }>();
  #events = 0;

  constructor(seed: number, size: number) {
    this.seed = seed;
    this.prng = createPrng(seed);
    this.scheduler = createScheduler(this.prng.stream('scheduler'));
    this.network = new SimNetwork(this.scheduler, this.prng.stream('network'));
    this.#chance = this.prng.stream('crash points');
    for (let i = 1; i <= size; i++) this.nodes.push(new SimNode(this, `n${i}`));
    this.scheduler.afterEach = () => {
      if (++this.#events % SAMPLE_EVERY_EVENTS === 0) this.#sample();
    };
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** A crash point is visited; crashes only where the scenario allows another node to be down. */
  crashAt(node: SimNode, point: string): CrashKind | undefined {
    this.count(`visited ${point}`);
    if (this.crashPointShare === 0 || this.#chance.float() >= this.crashPointShare) return undefined;
    if (this.nodes.filter((other) => other !== node && other.up).length < this.majority) return undefined;
    this.count(`crashed at ${point}`);
    return this.#chance.float() < 0.5 ? 'power' : 'process';
  }

  get majority(): number {
    return Math.floor(this.nodes.length / 2) + 1;
  }

  get up(): SimNode[] {
    return this.nodes.filter((node) => node.up);
  }

  leads(group: number, term: number, name: string): void {
    const key = `${group}:${term}`;
    const known = this.#leaders.get(key);
    if (known === undefined) this.#leaders.set(key, name);
    else if (known !== name) this.violations.push(`group ${group}: ${known} and ${name} both lead in term ${term}`);
    this.count('leaderships');
  }

  /** Same entries applied, same results: over all nodes and lives. */
  #sample(): void {
    for (const { name, node } of this.nodes) {
      if (node === undefined) continue;
      for (const [group, partition] of node.partitions) {
        const applied = node.host.group(group)?.applied;
        if (applied === undefined || applied === 0) continue;
        const key = `${group}:${applied}`;
        const digest = partition.digest();
        const known = this.#digests.get(key);
        if (known === undefined) this.#digests.set(key, { node: name, digest });
        else if (known.digest !== digest) {
          this.violations.push(
            `group ${group} at ${applied}: ${known.node} has results ${known.digest}, ${name} ${digest}`,
          );
        }
      }
    }
  }

  /** What every running replica of a stream holds, read from its own log. */
  replicas(stream: string): ReplicaState[] {
    const states: ReplicaState[] = [];
    for (const node of this.nodes) {
      node.enter((broker) => {
        for (const [group, partition] of broker.partitions) {
          if (partition.streamName !== stream) continue;
          const state = partition.localState();
          const messages: StoredMessage[] = [];
          const waiting = new Set<number>();
          for (let seq = state.first_seq; seq <= state.last_seq && seq > 0; seq++) {
            waiting.add(seq);
            partition.readMessage(seq, (message) => {
              waiting.delete(seq);
              if (message !== undefined)
                messages.push({ seq, subject: message.subject, content: new TextDecoder().decode(message.payload) });
            });
          }
          this.scheduler.runUntilTrue(() => waiting.size === 0, { timeoutMs: 60_000 });
          messages.sort((a, b) => a.seq - b.seq);
          states.push({
            node: node.name,
            digest: partition.digest(),
            applied: broker.host.group(group)?.applied ?? 0,
            lastSeq: state.last_seq,
            messages,
          });
        }
      });
    }
    return states;
  }
}
