// One simulated run from one seed: boot, workload under faults, heal, drain, check. Called by run.ts and by the tests.
// What is drawn from the seed: size of the cluster, which kinds of fault are on (each with even odds), when they strike.
import { checkAll } from '../checkers/checkers.ts';
import type { Event, History } from '../checkers/history.ts';
import type { Prng } from './prng.ts';
import { type Outcome, SimClient } from './sim-client.ts';
import { CALM } from './sim-transport.ts';
import { type SimNode, World } from './world.ts';

const STREAM = 'S';
const CONSUMER = 'work';
const BOOT_MS = 60_000;
const HEAL_MS = 120_000;
const REQUEST_MS = 2_500;
const WRONG_LAST_SEQ = 10071;
const FAST_DISK = { syncMs: 0.4, stallProbability: 0, stallMs: 1000 };

export interface ScenarioOptions {
  seed: number;
  /** Simulated time under faults. */
  durationMs?: number;
  /** Exactly these kinds of fault, instead of what the seed draws. */
  faults?: readonly string[];
  /** Changes the world before it starts: planted bugs. */
  prepare?: (world: World) => void;
  onLog?: World['onLog'];
}

export interface ScenarioResult {
  seed: number;
  findings: string[];
  counts: ReadonlyMap<string, number>;
  events: number;
  acked: number;
  simulatedMs: number;
  /** Of everything that happened, in order: two runs of a seed must agree. */
  trace: string;
}

export function runScenario(options: ScenarioOptions): ScenarioResult {
  return new Scenario(options).run();
}

class Scenario {
  readonly #world: World;
  readonly #chance: Prng;
  readonly #durationMs: number;
  readonly #events: Event[] = [];
  readonly #findings: string[] = [];
  readonly #enabled: Record<string, boolean> = {};
  #publishing = true;
  #faulty = true;
  #acked = 0;
  #trace = 0;

  constructor(options: ScenarioOptions) {
    // Every fourth seed runs five nodes; the stream has three replicas all the same.
    this.#world = new World(options.seed, options.seed % 4 === 3 ? 5 : 3);
    this.#chance = this.#world.prng.stream('scenario');
    this.#world.onLog = options.onLog;
    this.#durationMs = options.durationMs ?? 15_000;
    for (const { name } of FAULTS) {
      const drawn = this.#chance.float() < 0.5;
      this.#enabled[name] = options.faults?.includes(name) ?? drawn;
    }
    options.prepare?.(this.#world);
  }

  run(): ScenarioResult {
    const world = this.#world;
    for (const node of world.nodes) node.start();
    if (
      !world.scheduler.runUntilTrue(() => world.nodes.every((node) => node.node?.meta.ready === true), {
        timeoutMs: BOOT_MS,
      })
    ) {
      this.#findings.push('the cluster did not become ready');
    } else {
      this.#setUp();
      this.#startWorkload();
      this.#startFaults();
      world.scheduler.runFor(this.#durationMs);
      this.#heal();
    }
    this.#findings.push(...world.violations);
    return {
      seed: world.seed,
      findings: this.#findings,
      counts: this.#allCounts(),
      events: world.scheduler.eventsRun,
      acked: this.#acked,
      simulatedMs: world.scheduler.nowMs,
      trace: (this.#trace >>> 0).toString(16),
    };
  }

  #allCounts(): Map<string, number> {
    const counts = new Map(this.#world.counts);
    for (const [name, value] of Object.entries(this.#world.network.counts)) counts.set(`network ${name}`, value);
    return counts;
  }

  #record(event: Event): void {
    this.#events.push(event);
    const text = JSON.stringify(event);
    for (let i = 0; i < text.length; i++) this.#trace = (Math.imul(this.#trace, 31) + text.charCodeAt(i)) | 0;
  }

  #setUp(): void {
    this.#call('$JS.API.STREAM.CREATE.S', {
      name: STREAM,
      subjects: ['s.>'],
      num_replicas: 3,
      duplicate_window: 120e9,
    });
    this.#call(`$JS.API.CONSUMER.DURABLE.CREATE.S.${CONSUMER}`, {
      stream_name: STREAM,
      config: {
        durable_name: CONSUMER,
        ack_policy: 'explicit',
        ack_wait: 3e9,
        max_deliver: -1,
        deliver_policy: 'all',
        replay_policy: 'instant',
        max_ack_pending: 200,
      },
    });
  }

  /** An API request through the first node, repeated until it is answered without a passing error. */
  #call(subject: string, body: unknown): void {
    const client = new SimClient(
      `admin${this.#events.length}${subject.length}`,
      this.#world.scheduler,
      this.#world.nodes[0],
    );
    let answer = '';
    const attempt = (): void =>
      client.request(subject, JSON.stringify(body), {}, 6000, (outcome) => {
        if (outcome.kind === 'reply' && !outcome.text.includes('"error"')) answer = outcome.text;
        else {
          answer = '';
          this.#world.scheduler.after(200, attempt);
        }
      });
    attempt();
    if (!this.#world.scheduler.runUntilTrue(() => answer !== '', { timeoutMs: 30_000 }))
      this.#findings.push(`${subject} was never answered well`);
  }

  // ---- workload ---------------------------------------------------------------------------------------------------

  #startWorkload(): void {
    const { nodes } = this.#world;
    for (let c = 0; c < 4; c++) this.#publisher(c, nodes[c % nodes.length], c % 2 === 0);
    for (let c = 0; c < 2; c++) this.#casWriter(10 + c, nodes[(c + 1) % nodes.length]);
    for (let w = 0; w < 2; w++) this.#worker(w, nodes[(w + 1) % nodes.length]);
  }

  #publisher(number: number, host: SimNode, withIds: boolean): void {
    const { scheduler } = this.#world;
    const client = new SimClient(`p${number}`, scheduler, host);
    const chance = this.#world.prng.stream(`publisher ${number}`);
    let count = 0;
    const next = (): void => {
      if (!this.#publishing) return;
      const n = count++;
      send(n, 0);
      scheduler.after(chance.float() * 60, next);
    };
    const send = (n: number, attempt: number): void => {
      const id = `p${number}.${n}.${attempt}`;
      const msgId = withIds ? `p${number}.${n}` : '';
      const content = `${withIds ? `p${number}.${n}` : id}${'.'.repeat(Math.floor((n % 7) * 40))}`;
      const subject = `s.${number}.${n % 5}`;
      this.#record({ kind: 'sent', at: scheduler.nowMs, client: number, id, msgId, subject, content });
      client.request(subject, content, withIds ? { 'Nats-Msg-Id': msgId } : {}, REQUEST_MS, (outcome) => {
        const settled = this.#settlePublish(id, outcome);
        if (!settled && withIds && attempt < 20) scheduler.after(50 + chance.float() * 200, () => send(n, attempt + 1));
      });
    };
    next();
  }

  /** Writers that contend for a few keys: each write names the seq that it believes to be the key's last. */
  #casWriter(number: number, host: SimNode): void {
    const { scheduler } = this.#world;
    const client = new SimClient(`c${number}`, scheduler, host);
    const chance = this.#world.prng.stream(`cas ${number}`);
    const believed = [0, 0, 0];
    let count = 0;
    const next = (): void => {
      if (!this.#publishing) return;
      const key = Math.floor(chance.float() * believed.length);
      const expected = believed[key];
      const id = `c${number}.${count++}`;
      const subject = `s.key.${key}`;
      this.#record({
        kind: 'sent',
        at: scheduler.nowMs,
        client: number,
        id,
        msgId: '',
        subject,
        content: id,
        expected,
      });
      const headers = { 'Nats-Expected-Last-Subject-Sequence': String(expected) };
      client.request(subject, id, headers, REQUEST_MS, (outcome) => {
        if (this.#settlePublish(id, outcome)) this.#world.count('compare-and-set won');
        const answer = outcome.kind === 'reply' ? (JSON.parse(outcome.text) as PubAck) : undefined;
        if (answer?.error?.err_code === WRONG_LAST_SEQ) {
          this.#world.count('compare-and-set lost');
          believed[key] = Number(/\d+$/.exec(answer.error.description)?.[0] ?? 0);
        } else if (answer !== undefined && answer.error === undefined) believed[key] = answer.seq;
        scheduler.after(20 + chance.float() * 100, next);
      });
    };
    next();
  }

  /** True: acknowledged. */
  #settlePublish(id: string, outcome: Outcome): boolean {
    const at = this.#world.scheduler.nowMs;
    if (outcome.kind === 'no-responders') {
      this.#record({ kind: 'refused', at, id, error: 503 });
      return false;
    }
    const answer = outcome.kind === 'reply' ? (JSON.parse(outcome.text) as PubAck) : undefined;
    if (answer === undefined || answer.error?.err_code === 10008) {
      this.#record({ kind: 'unknown', at, id });
      return false;
    }
    if (answer.error !== undefined) {
      this.#record({ kind: 'refused', at, id, error: answer.error.err_code });
      return false;
    }
    this.#acked++;
    this.#record({ kind: 'acked', at, id, seq: answer.seq, duplicate: answer.duplicate === true });
    return true;
  }

  #worker(number: number, host: SimNode): void {
    const { scheduler } = this.#world;
    const client = new SimClient(`w${number}`, scheduler, host);
    const chance = this.#world.prng.stream(`worker ${number}`);
    client.onMessage = (_subject, reply, hdr, content) => {
      const tokens = reply.split('.');
      if (hdr.startsWith('NATS/1.0 ') || tokens[1] !== 'ACK') return;
      const seq = Number(tokens[5]);
      this.#record({
        kind: 'delivered',
        at: scheduler.nowMs,
        consumer: CONSUMER,
        seq,
        content,
        deliveries: Number(tokens[4]),
      });
      if (this.#faulty && chance.float() < 0.1) return;
      client.request(reply, '', {}, REQUEST_MS, (outcome) => {
        if (outcome.kind === 'reply')
          this.#record({ kind: 'ack-confirmed', at: scheduler.nowMs, consumer: CONSUMER, seq });
      });
    };
    const pull = (): void => {
      const body = JSON.stringify({ batch: 20, expires: 900e6 });
      client.publish(`$JS.API.CONSUMER.MSG.NEXT.${STREAM}.${CONSUMER}`, body, {}, client.inbox());
      scheduler.after(1000, pull);
    };
    pull();
  }

  // ---- faults -----------------------------------------------------------------------------------------------------

  #startFaults(): void {
    const world = this.#world;
    if (this.#enabled['crash points']) world.crashPointShare = 0.0005;
    const strike = (): void => {
      if (!this.#faulty) return;
      const choices = FAULTS.filter((fault) => this.#enabled[fault.name] && fault.strike !== undefined);
      if (choices.length > 0) {
        const fault = choices[Math.floor(this.#chance.float() * choices.length)];
        if (fault.strike?.(world, this.#chance) === true) world.count(`fault ${fault.name}`);
      }
      world.scheduler.after(100 + this.#chance.float() * 2500, strike);
    };
    const revive = (): void => {
      if (!this.#faulty) return;
      for (const node of world.nodes) {
        if (!node.up && this.#chance.float() < 0.3) {
          world.count('restart');
          node.start();
        }
      }
      world.scheduler.after(500, revive);
    };
    strike();
    revive();
  }

  // ---- the end ----------------------------------------------------------------------------------------------------

  #heal(): void {
    const world = this.#world;
    const { scheduler } = world;
    this.#faulty = false;
    world.crashPointShare = 0;
    world.network.heal();
    for (const node of world.nodes) {
      Object.assign(node.disk.latency, FAST_DISK);
      node.clock.offsetUs = 0;
      node.start();
    }
    scheduler.runFor(3000);
    this.#publishing = false;
    scheduler.runFor(REQUEST_MS + 500);
    const converged = (): boolean => {
      if (world.up.length < world.nodes.length) {
        for (const node of world.nodes) if (!node.up) node.start();
        return false;
      }
      const applied = world.nodes.map((node) => this.#appliedOf(node)).filter((index) => index !== undefined);
      return applied.length === 3 && applied.every((index) => index === applied[0]);
    };
    const drained = (): boolean => world.nodes.some((node) => this.#pendingOf(node) === 0);
    // Looked at twice a simulated second: counting what is pending costs more than an event.
    const deadlineMs = scheduler.nowMs + HEAL_MS;
    let healed = false;
    while (!healed && scheduler.nowMs < deadlineMs) {
      scheduler.runFor(500);
      healed = converged() && drained();
    }
    if (!healed) {
      const where = world.nodes.map(
        (node) => `${node.name}: up ${node.up}, applied ${this.#appliedOf(node)}, pending ${this.#pendingOf(node)}`,
      );
      this.#findings.push(`no progress after healing: ${where.join('; ')}; ${world.fatals.join('; ')}`);
    }
    const history: History = {
      events: this.#events,
      replicas: world.replicas(STREAM),
      removed: new Set(),
      drained: healed ? [CONSUMER] : [],
    };
    if (history.replicas.length !== 3) this.#findings.push(`${history.replicas.length} replicas after healing`);
    if (history.replicas.length > 0)
      for (const finding of checkAll(history)) this.#findings.push(`${finding.check}: ${finding.text}`);
  }

  #appliedOf(node: SimNode): number | undefined {
    for (const [group, partition] of node.node?.partitions ?? []) {
      if (partition.streamName === STREAM) return node.node?.host.group(group)?.applied;
    }
    return undefined;
  }

  #pendingOf(node: SimNode): number | undefined {
    for (const partition of node.node?.partitions.values() ?? []) {
      if (partition.streamName !== STREAM || !partition.leading) continue;
      const consumer = partition.localConsumers().find((state) => state.name === CONSUMER);
      return consumer && consumer.num_pending + consumer.num_ack_pending;
    }
    return undefined;
  }
}

interface PubAck {
  seq: number;
  duplicate?: boolean;
  error?: { err_code: number; description: string };
}

interface Fault {
  name: string;
  /** False: it could not strike now. Undefined: works by itself all the time. */
  strike?: (world: World, chance: Prng) => boolean;
}

/** At most a minority is down at once, except where the fault is about all nodes. */
function victim(world: World, chance: Prng): SimNode | undefined {
  const { up } = world;
  return up.length > world.majority ? up[Math.floor(chance.float() * up.length)] : undefined;
}

function crash(world: World, chance: Prng, kind: 'process' | 'power'): boolean {
  const node = victim(world, chance);
  node?.crash(kind);
  return node !== undefined;
}

const FAULTS: readonly Fault[] = [
  { name: 'crash points' },
  { name: 'process crash', strike: (world, chance) => crash(world, chance, 'process') },
  { name: 'power loss', strike: (world, chance) => crash(world, chance, 'power') },
  {
    name: 'power loss of all',
    strike: (world, chance) => {
      if (chance.float() < 0.6) return false;
      for (const node of world.up) node.crash('power');
      return true;
    },
  },
  {
    name: 'wiped node',
    strike: (world, chance) => {
      // A second disk is not lost before the first one's node has been replaced.
      const whole = world.nodes.every((node) => node.node?.meta.ready === true && node.node.partitions.size > 0);
      if (!whole || chance.float() < 0.5) return false;
      victim(world, chance)?.wipe();
      return true;
    },
  },
  {
    name: 'pause',
    strike: (world, chance) => {
      const node = world.up[Math.floor(chance.float() * world.up.length)];
      node?.env?.pause(200 + chance.float() * 4000);
      return node !== undefined;
    },
  },
  {
    name: 'partition',
    strike: (world, chance) => {
      const alone = world.nodes[Math.floor(chance.float() * world.nodes.length)];
      const oneWay = chance.float() < 0.4;
      world.count(oneWay ? 'one-way cut' : 'two-way cut');
      for (const other of world.nodes) {
        if (other === alone) continue;
        world.network.cut(alone.name, other.name);
        if (!oneWay) world.network.cut(other.name, alone.name);
      }
      world.scheduler.after(500 + chance.float() * 6000, () => world.network.heal());
      return true;
    },
  },
  {
    name: 'lossy network',
    strike: (world, chance) => {
      world.network.faults = {
        delayMinMs: chance.float() * 5,
        delayMeanMs: 5 + chance.float() * 40,
        loss: chance.float() * 0.3,
        duplicate: chance.float() * 0.3,
        reorder: chance.float() * 0.3,
      };
      world.scheduler.after(500 + chance.float() * 6000, () => {
        world.network.faults = { ...CALM };
      });
      return true;
    },
  },
  {
    name: 'slow disk',
    strike: (world, chance) => {
      const { disk } = world.nodes[Math.floor(chance.float() * world.nodes.length)];
      Object.assign(disk.latency, { syncMs: 5 + chance.float() * 50, stallProbability: 0.02, stallMs: 300 });
      world.scheduler.after(500 + chance.float() * 5000, () => void Object.assign(disk.latency, FAST_DISK));
      return true;
    },
  },
  {
    name: 'clock jump',
    strike: (world, chance) => {
      // The promise is about a minority of wrong clocks: the one that was wrong before is set right.
      const node = world.nodes[Math.floor(chance.float() * world.nodes.length)];
      for (const other of world.nodes) other.clock.offsetUs = 0;
      node.clock.offsetUs = Math.round((chance.float() - 0.5) * 2 * 3600e6);
      return true;
    },
  },
];
