// One node of the simulated cluster over all its lives: its disk, clock and name, and the process that runs now, if one does. Owned
// by World. Invariant: a life that ends by itself, or cannot begin, is a violation unless something was done to its disk that explains it.
import type { GroupRunner } from '../../cluster/host/group-runner.ts';
import { loadIdentity } from '../../cluster/host/identity.ts';
import type { PeerInfo } from '../../cluster/rpc/types.ts';
import { type BrokerNode, createNode, durableIdentity, WAL_DIR } from '../../src/node.ts';
import type { ClientHost } from './sim-client.ts';
import { type CrashKind, SimDisk } from './sim-disk.ts';
import { type ClockModel, createSimEnv, type SimEnv } from './sim-env.ts';
import { SimKv } from './sim-kv.ts';
import type { Tuning } from './tuning.ts';
import type { World } from './world.ts';

const STOPPED = 'stopped';

export class SimNode implements ClientHost {
  readonly name: string;
  readonly disk: SimDisk;
  readonly kv: SimKv;
  readonly clock: ClockModel = { offsetUs: 0, driftPpm: 0 };
  life = 0;
  env: SimEnv | undefined;
  node: BrokerNode | undefined;
  /** Not started again before this. */
  heldUntilMs = 0;
  /** Its disk answers with errors, or did a moment ago. */
  diskFails = false;
  /** Something of its files was changed, lost or put back: it may refuse to go on. Until its disk is replaced. */
  damaged = false;
  /** It said that it cannot go on with this disk: whoever runs it gives it an empty one. */
  refused = false;
  /** It was told to end, and hands over what it leads. */
  stopping = false;
  readonly #world: World;

  constructor(world: World, name: string) {
    this.#world = world;
    this.name = name;
    const prng = world.prng.stream(`node ${name}`);
    this.disk = new SimDisk({ scheduler: world.scheduler, prng: prng.stream('disk') });
    this.kv = new SimKv({ scheduler: world.scheduler, prng: prng.stream('kv') });
  }

  get tuning(): Tuning {
    return this.#world.tuning;
  }

  get up(): boolean {
    return this.env?.alive === true && this.node !== undefined;
  }

  enter(fn: (node: BrokerNode) => void): void {
    const { env, node } = this;
    if (node !== undefined) env?.deliver(() => fn(node));
  }

  /** For checks: at once, whatever the node does. */
  look(fn: (node: BrokerNode) => void): void {
    const { env, node } = this;
    if (node !== undefined) env?.run(() => fn(node));
  }

  start(): void {
    if (this.env?.alive) return;
    const world = this.#world;
    if (this.refused) this.#replaceDisk();
    const life = ++this.life;
    this.stopping = false;
    const env = createSimEnv({
      scheduler: world.scheduler,
      seed: world.prng.stream(`${this.name} life ${life}`),
      node: this.name,
      disk: this.disk,
      kv: this.kv,
      clock: this.clock,
      crashAt: (point) => world.crashAt(this, point),
      onCrash: (reason) => this.#ended(reason),
      onLog: (record) => {
        if (record.level === 'warn' || record.level === 'error') world.count(`said ${kindOf(record.message)}`);
        world.onLog?.(record);
      },
    });
    this.env = env;
    if (this.clock.offsetUs !== 0) world.count('restart with a wrong clock');
    env.run(() => {
      try {
        this.#boot(env, life);
      } catch (error) {
        // What the disk answers while a node starts ends the start.
        if (!(error instanceof Error) || !('code' in error)) throw error;
        env.fatal(`start failed: ${error.message}`, 'disk');
      }
    });
  }

  #boot(env: SimEnv, life: number): void {
    const world = this.#world;
    const identity = this.#identity(env);
    const info: PeerInfo = {
      id: identity.incarnation,
      name: this.name,
      clientUrl: `${this.name}:4222`,
      clusterUrl: `${this.name}:6222`,
      monitorUrl: '',
    };
    const transport = world.network.join({ info, nowMs: () => env.clock.nowMs(), run: (fn) => env.deliver(fn) });
    const node = createNode({
      env,
      transport,
      bootId: life,
      identity: durableIdentity(env, identity, () => undefined),
      expectedNodes: () => world.nodes.length,
      clustered: true,
      clusterName: 'sim',
      defaultReplicas: 3,
      onRolledBack: (reason) => {
        world.count('found itself rolled back');
        if (!this.damaged) world.violations.push(`${this.name} believes that it was rolled back: ${reason}`);
      },
      tuning: this.tuning,
    });
    const { broker } = node;
    const deliverTo = broker.deliverTo.bind(broker);
    broker.deliverTo = (account, inbox, message) => {
      if (message.reply.startsWith('$JS.ACK.')) world.handedOutMs.set(message.reply, world.scheduler.nowMs);
      return deliverTo(account, inbox, message);
    };
    node.host.onLeaderChange((group, leader, term) => {
      if (leader === info.id) world.leads(group, term, this);
    });
    this.node = node;
    node.start();
  }

  /** Refusals of the identity are errors for whoever runs the node. */
  #identity(env: SimEnv): ReturnType<typeof loadIdentity>['identity'] {
    try {
      return loadIdentity(env, this.name, [WAL_DIR]).identity;
    } catch (error) {
      if (!(error instanceof Error) || !error.message.includes('identity')) throw error;
      // Nothing is wrong with its files, but with the disk at this moment.
      if ('code' in error && !this.damaged) return env.fatal(error.message, 'disk');
      return env.fatal(`start refused: ${error.message}`);
    }
  }

  #ended(reason: string): void {
    const world = this.#world;
    for (const group of this.node?.host.groups() ?? []) {
      const { late, applied, committed } = group as GroupRunner;
      if (late && applied < committed) world.count('ended before it applied what it follows late');
    }
    this.node = undefined;
    world.network.leave(this.name);
    if (reason.startsWith('fatal')) {
      const kind = reason.startsWith('fatal disk') ? 'disk' : /start refused/.exec(reason)?.[0];
      world.count(`stopped itself: ${kind ?? 'invariant'}`);
      world.fatals.push(`${this.name}: ${reason}`);
      const explained = kind === 'disk' ? this.diskFails : kind !== undefined && this.damaged;
      if (!explained) world.violations.push(`${this.name} stopped itself: ${reason}`);
      else if (kind !== 'disk' || (this.damaged && reason.includes('start failed'))) this.refused = true;
    } else world.count(reason === STOPPED ? 'stopped cleanly' : 'crash');
    world.onDown(this);
  }

  /** As a node does that is asked to end: it hands over, closes, and its process ends. */
  stop(): void {
    this.stopping = true;
    this.enter((node) => node.drain(() => node.close(() => this.env?.kill('process', STOPPED))));
  }

  crash(kind: CrashKind): void {
    this.env?.kill(kind);
  }

  /** The disk is replaced by an empty one. */
  wipe(): void {
    this.crash('power');
    this.#replaceDisk();
  }

  #replaceDisk(): void {
    if (this.refused) this.#world.count('emptied because it refused its disk');
    this.disk.wipe();
    this.damaged = false;
    this.refused = false;
  }
}

/** A log line without its numbers and names. */
function kindOf(message: string): string {
  return message.replaceAll(/[0-9a-f]{6,}|\d+/g, '#').replaceAll(/stream \S+/g, 'stream …');
}
