// Some nodes in one thread: the real host, core, WAL and codecs on a simulated disk and network, each node with toy machines.
import type { Raft } from '../../../cluster/core/raft.ts';
import type { GroupRunner } from '../../../cluster/host/group-runner.ts';
import { createHost, type HostOptions, type NodeHost } from '../../../cluster/host/host.ts';
import type { Group } from '../../../cluster/host/types.ts';
import { createRpc } from '../../../cluster/rpc/rpc.ts';
import type { WalOptions } from '../../../cluster/wal/options.ts';
import type { Wal } from '../../../cluster/wal/types.ts';
import { openWal } from '../../../cluster/wal/wal.ts';
import { createPrng, type Prng } from '../../sim/prng.ts';
import { createScheduler, type Scheduler } from '../../sim/scheduler.ts';
import { type CrashKind, SimDisk } from '../../sim/sim-disk.ts';
import { createSimEnv, type SimEnv } from '../../sim/sim-env.ts';
import { SimNetwork } from '../../sim/sim-transport.ts';
import { ToyMachine } from './toy.ts';

export interface WorldOptions {
  seed: number;
  nodes: number;
  groups?: number[];
  /** Makes the machines' states larger. */
  ballastBytes?: number;
  host?: Partial<HostOptions>;
  wal?: Partial<WalOptions>;
  onApply?: (node: WorldNode, group: number, index: number, text: string) => void;
  crashAt?: (node: number, name: string) => CrashKind | undefined;
}

export class WorldNode {
  readonly world: World;
  readonly id: number;
  readonly disk: SimDisk;
  env!: SimEnv;
  host!: NodeHost;
  wal!: Wal;
  up = false;
  machines = new Map<number, ToyMachine>();
  rolledBack = 0;
  lives = 0;
  /** Groups were opened in an earlier life. */
  used = false;
  diskLow = false;

  constructor(world: World, id: number) {
    this.world = world;
    this.id = id;
    this.disk = new SimDisk({ scheduler: world.scheduler, prng: world.prng.stream(`disk${id}`) });
  }

  get name(): string {
    return `n${this.id}`;
  }

  start(voters?: number[]): void {
    const { world } = this;
    const { scheduler, options } = world;
    this.lives++;
    this.env = createSimEnv({
      scheduler,
      seed: world.prng.stream(`env${this.id}.${this.lives}`),
      node: this.name,
      disk: this.disk,
      crashAt: (name) => options.crashAt?.(this.id, name),
      onCrash: () => {
        this.up = false;
        world.network.leave(this.name);
      },
    });
    this.up = true;
    this.env.run(() => {
      const { env } = this;
      const info = { id: this.id, name: this.name, clientUrl: '', clusterUrl: '', monitorUrl: '' };
      this.wal = openWal(env, 'wal', {
        segmentBytes: 256 * 1024,
        tailBytes: 512 * 1024,
        zeroBytes: 0,
        used: this.used,
        ...options.wal,
      });
      const transport = world.network.join({ info, nowMs: () => env.clock.nowMs(), run: (fn) => void env.run(fn) });
      this.host = createHost({
        env,
        wal: this.wal,
        transport,
        rpc: createRpc(env, transport),
        self: this.id,
        bootId: env.random.uint32(),
        onRolledBack: () => {
          this.rolledBack++;
        },
        isDiskLow: () => this.diskLow,
        ...options.host,
      });
      this.machines = new Map();
      for (const group of options.groups ?? [0]) this.open(group, voters ?? world.ids);
      this.host.groupsKnown();
      this.used = true;
    });
  }

  open(group: number, voters: number[], learners: number[] = []): Group {
    const machine = new ToyMachine();
    machine.ballastBytes = this.world.options.ballastBytes ?? 0;
    this.machines.set(group, machine);
    machine.onApply = (index, text) => this.world.options.onApply?.(this, group, index, text);
    return this.host.openGroup(group, { voters, learners }, machine, voters[group % voters.length]);
  }

  kill(kind: CrashKind = 'process'): void {
    this.env.kill(kind);
  }

  group(id = 0): Group {
    return this.host.group(id)!;
  }

  core(id = 0): Raft {
    return (this.group(id) as GroupRunner).raft as Raft;
  }

  machine(id = 0): ToyMachine {
    return this.machines.get(id)!;
  }

  /** Ends the process and puts the disk back to the copy. */
  rollBack(copy: Map<string, Uint8Array>): void {
    this.kill('power');
    this.disk.restore(copy);
    this.start();
  }
}

export class World {
  readonly options: WorldOptions;
  readonly prng: Prng;
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly nodes: WorldNode[];

  constructor(options: WorldOptions) {
    this.options = options;
    this.prng = createPrng(options.seed);
    this.scheduler = createScheduler(this.prng.stream('scheduler'));
    this.network = new SimNetwork(this.scheduler, this.prng.stream('net'));
    this.nodes = Array.from({ length: options.nodes }, (_, i) => new WorldNode(this, i + 1));
  }

  get ids(): number[] {
    return this.nodes.map((node) => node.id);
  }

  start(): void {
    for (const node of this.nodes) node.start();
  }

  node(id: number): WorldNode {
    return this.nodes[id - 1];
  }

  /** Nothing passes between the two. */
  cut(a: WorldNode, b: WorldNode): void {
    this.network.cut(a.name, b.name);
    this.network.cut(b.name, a.name);
  }

  leader(group = 0): WorldNode | undefined {
    return this.nodes.find((node) => node.up && node.host.group(group)?.leading);
  }

  /** Runs until it holds; throws when it does not in time. */
  until(what: string, condition: () => boolean, timeoutMs = 10_000): void {
    if (!this.scheduler.runUntilTrue(condition, { timeoutMs, maxEvents: 5_000_000 })) {
      const states = this.nodes.map((node) => {
        if (!node.up) return `${node.name} down (${node.env?.deathReason})`;
        return `${node.name} ${JSON.stringify([...node.host.groups()].map((g) => g.status()).slice(0, 2))}`;
      });
      throw new Error(`not within ${timeoutMs} ms: ${what}\n${states.join('\n')}`);
    }
  }

  untilLeader(group = 0): WorldNode {
    this.until(`a leader of group ${group}`, () => this.leader(group) !== undefined);
    return this.leader(group)!;
  }

  /** Proposes on the leader and waits until it is applied there; tries again when that leader was deposed. */
  put(text: string, group = 0): number {
    for (;;) {
      const leader = this.untilLeader(group);
      const { term } = leader.group(group);
      const index = leader.env.run(() => leader.group(group).propose(Buffer.from(text)));
      const lost = () => !leader.up || leader.group(group).term !== term || !leader.group(group).leading;
      // Undefined: it is handing over.
      if (index === undefined) this.scheduler.runFor(10);
      else this.until(`${index} applied`, () => lost() || leader.group(group).applied >= index);
      if (index !== undefined && !lost()) return index;
    }
  }

  untilEqual(group = 0, timeoutMs = 10_000): void {
    const up = () => this.nodes.filter((node) => node.up);
    this.until(
      'replicas equal',
      () => new Set(up().map((n) => `${n.group(group).applied} ${n.machine(group).sum}`)).size === 1,
      timeoutMs,
    );
  }
}

/** Ends node `id` when it comes to `point` for the first time once it is sprung. */
export class Trap {
  hits = 0;
  private armed = false;
  private readonly id: number;
  private readonly point: string;
  private readonly kind: CrashKind;

  constructor(id: number, point: string, kind: CrashKind) {
    this.id = id;
    this.point = point;
    this.kind = kind;
  }

  crashAt = (node: number, name: string): CrashKind | undefined =>
    this.armed && node === this.id && name === this.point && ++this.hits === 1 ? this.kind : undefined;

  /** Starts the node, which dies of it, and starts it again. */
  spring(world: World): void {
    const node = world.node(this.id);
    this.armed = true;
    node.start();
    world.until('it died', () => this.hits > 0, 20_000);
    world.scheduler.runFor(100);
    if (node.up) throw new Error(`${node.name} went on`);
    node.start();
  }
}

/** The bodies of all that is live there, by index. */
export function readAll(world: World, node: WorldNode, group = 0): Map<number, string> {
  const bodies = new Map<number, string>();
  const { live } = node.machine(group);
  node.env.run(() => {
    for (const index of live) {
      node.group(group).readBody(index, (body) => {
        if (body !== undefined) bodies.set(index, Buffer.from(body).toString());
      });
    }
  });
  world.until('bodies read', () => bodies.size === live.size);
  return bodies;
}
