// One simulated run from one seed: boot, workloads under faults, heal, drain, check, and once more after everyone lost power. Called by
// run.ts and by the tests. What is drawn from the seed: size of the cluster, which workloads run, which kinds of fault are on, when
// they strike.
import type { Event } from '../checkers/history.ts';
import type { Fault, FaultContext } from './fault-context.ts';
import { EMPTIED_TWICE, FAULTS, HAND_OVERS, powerLossAtAck, TWO_WRONG_CLOCKS } from './faults.ts';
import { Moves } from './moves.ts';
import { PartitionedLoad } from './partitioned-load.ts';
import { PipelinedLoad } from './pipelined-load.ts';
import type { Prng } from './prng.ts';
import { SimClient } from './sim-client.ts';
import { REQUEST_MS, type Run, type StreamLoad } from './stream-load.ts';
import { AckedLoad, LogLoad, NamesakeLoad, RemovalLoad, UpdateLoad } from './workloads.ts';
import { type SimNode, World } from './world.ts';

const BOOT_MS = 60_000;
const HEAL_MS = 120_000;
/** A node that stops during a run is back after a moment, after a while, or after long. */
const RESTART_MS = [30, 1500, 6000];
const CRASH_POINT_SHARE = 0.0005;
/** Of acks: the power goes just then. */
const POWER_LOSS_SHARE = 0.01;
const POWER_LOSS_GAP_MS = 2500;
/** Of worlds: no disk loses anything in them. */
const SPARING_SHARE = 0.15;
/** Of worlds. */
const HAND_OVERS_SHARE = 0.25;
const EMPTIED_TWICE_SHARE = 0.1;
/** Of worlds; those whose streams cannot be scaled are left out. */
const MOVES_SHARE = 0.3;
/** Of these worlds: no disk loses anything, so that streams may have one replica or two. */
const MOVES_SPARING_SHARE = 0.5;
/** Faults whose victim loses what only it has: a stream with one replica is not kept beside them. */
const DESTRUCTIVE = [
  'wiped node',
  'bit rot',
  'deleted file',
  'roll-back',
  'forgotten vote',
  'roll-back told late',
  EMPTIED_TWICE.name,
];

/** The workload of every fifth seed; the others are drawn. */
const PIPELINED = 'pipelined';
/** Not a stream of its own: it changes the members of those of the others. */
export const MOVES = 'moves';

export const WORKLOADS: Record<string, (run: Run) => StreamLoad> = {
  'work queue': (run) => new AckedLoad(run, 'Q', 'workqueue'),
  interest: (run) => new AckedLoad(run, 'I', 'interest'),
  removals: (run) => new RemovalLoad(run, 'D', 3),
  namesakes: (run) => new NamesakeLoad(run, 'T', 3),
  updates: (run) => new UpdateLoad(run, 'U', 3),
  partitions: (run) => new PartitionedLoad(run, 'P'),
  'partitioned queue': (run) => new AckedLoad(run, 'PQ', 'workqueue', 4),
  'partitioned interest': (run) => new AckedLoad(run, 'PI', 'interest', 4),
  'one replica': (run) => new LogLoad(run, 'R1', 1),
  'five replicas': (run) => new LogLoad(run, 'R5', 5),
  [PIPELINED]: (run) => new PipelinedLoad(run, 'B'),
};
/** Those that need a certain cluster, or certain faults to be off, are rare enough. */
const shareOf = (name: string): number => (name.endsWith('replica') || name.endsWith('replicas') ? 0.7 : 0.3);

export interface ScenarioOptions {
  seed: number;
  /** Simulated time under faults. */
  durationMs?: number;
  /** Exactly these kinds of fault, instead of what the seed draws. */
  faults?: readonly string[];
  /** Exactly these workloads beside the log; 'moves' is one. */
  workloads?: readonly string[];
  /** Mean time between faults; default 1350. */
  faultGapMs?: number;
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

class Scenario implements Run {
  readonly world: World;
  readonly clocksFail: boolean;
  readonly isGentle: boolean;
  publishing = true;
  faulty = true;
  readonly #chance: Prng;
  readonly #durationMs: number;
  readonly #faultGapMs: number;
  readonly #faults: Set<string>;
  readonly #context: FaultContext;
  readonly #loads: StreamLoad[];
  readonly #moves: Moves | undefined;
  readonly #findings: string[] = [];
  #acked = 0;
  #powerLossMs = 0;
  #calls = 0;
  #trace = 0;

  constructor(options: ScenarioOptions) {
    const { seed, faults, workloads } = options;
    // Every fourth seed runs five nodes; most streams have three replicas all the same.
    this.world = new World(seed, seed % 4 === 3 ? 5 : 3);
    this.world.onLog = options.onLog;
    this.#chance = this.world.prng.stream('scenario');
    this.#durationMs = options.durationMs ?? 15_000;
    this.#faultGapMs = options.faultGapMs ?? 1350;
    // From streams of their own: what other seeds draw stays what it was.
    const moving = this.world.prng.stream(MOVES);
    const mayMove = moving.float() < MOVES_SHARE;
    const sparesDisks = this.#chance.float() < SPARING_SHARE || (mayMove && moving.float() < MOVES_SPARING_SHARE);
    const drawn = FAULTS.filter(() => this.#chance.float() < 0.4)
      .map(({ name }) => name)
      .filter((name) => !sparesDisks || !DESTRUCTIVE.includes(name));
    if (this.#chance.float() < 0.08) drawn.push(TWO_WRONG_CLOCKS.name);
    if (this.world.prng.stream('hand-overs').float() < HAND_OVERS_SHARE) drawn.push(HAND_OVERS.name);
    if (!sparesDisks && this.world.prng.stream(EMPTIED_TWICE.name).float() < EMPTIED_TWICE_SHARE)
      drawn.push(EMPTIED_TWICE.name);
    this.#faults = new Set(faults ?? drawn);
    this.clocksFail = this.#faults.has(TWO_WRONG_CLOCKS.name);
    const { world } = this;
    const sizes = this.#sizes();
    const isMoved = workloads?.includes(MOVES) ?? (mayMove && sizes.length > 1);
    this.isGentle = !isMoved && [...this.#faults].every((name) => name === 'rolling restart');
    const frail = world.nodes[Math.floor(this.#chance.float() * world.nodes.length)];
    this.#context = {
      world,
      chance: this.#chance,
      frail,
      copy: undefined,
      clocksRightMs: Number.NEGATIVE_INFINITY,
      faulty: true,
    };
    const chosen = Object.keys(WORKLOADS).filter((name) =>
      name === PIPELINED ? seed % 5 === 0 : this.#chance.float() < shareOf(name) && this.#mayRun(name),
    );
    const beside = (workloads ?? chosen).filter((name) => name !== MOVES);
    this.#loads = [new LogLoad(this, 'S', 3), ...beside.map((name) => WORKLOADS[name](this))];
    if (isMoved) this.#moves = new Moves(this, this.#loads, sizes);
    for (const name of isMoved ? [...beside, MOVES] : beside) world.count(`workload ${name}`);
    world.onDown = (node) => this.#restartLater(node);
    options.prepare?.(world);
  }

  get #isDestructive(): boolean {
    return DESTRUCTIVE.some((name) => this.#faults.has(name));
  }

  /** How many replicas a stream that moves may have: what a disk loses must be elsewhere, also while another node is down. */
  #sizes(): number[] {
    const sizes = this.#isDestructive ? [3, 4, 5] : [1, 2, 3, 5];
    return sizes.filter((size) => size <= this.world.nodes.length);
  }

  #mayRun(workload: string): boolean {
    if (workload === 'one replica') return !this.#isDestructive;
    return workload !== 'five replicas' || this.world.nodes.length === 5;
  }

  run(): ScenarioResult {
    const { world } = this;
    try {
      this.#play();
    } catch (error) {
      // A broken invariant of the product, or of the model; which one, its stack says.
      this.#findings.push(`threw: ${error instanceof Error ? error.stack : error}`);
    }
    this.#findings.push(...world.violations);
    const counts = new Map(world.counts);
    for (const [name, value] of Object.entries(world.network.counts)) counts.set(`network ${name}`, value);
    for (const { disk } of world.nodes)
      for (const [name, value] of Object.entries(disk.losses))
        counts.set(`disk ${name}`, (counts.get(`disk ${name}`) ?? 0) + value);
    return {
      seed: world.seed,
      findings: this.#findings,
      counts,
      events: world.scheduler.eventsRun,
      acked: this.#acked,
      simulatedMs: world.scheduler.nowMs,
      trace: (this.#trace >>> 0).toString(16),
    };
  }

  #play(): void {
    const { world } = this;
    for (const node of world.nodes) node.start();
    const isReady = (): boolean => world.nodes.every((node) => node.node?.meta.ready === true);
    if (!world.scheduler.runUntilTrue(isReady, { timeoutMs: BOOT_MS })) {
      this.#findings.push('the cluster did not become ready');
      return;
    }
    for (const load of this.#loads) load.setUp();
    for (const load of this.#loads) load.start();
    this.#moves?.start();
    this.#startFaults();
    world.scheduler.runFor(this.#durationMs);
    this.#calm();
    world.scheduler.runFor(3000);
    this.publishing = false;
    world.scheduler.runFor(REQUEST_MS + 500);
    if (!this.#settle()) return;
    if (world.seed % 2 === 0) {
      // What is on the platters is enough.
      for (const node of world.nodes) node.crash('power');
      for (const node of world.nodes) node.start();
      if (!this.#settle()) return;
    }
    this.#check();
  }

  // ---- Run

  record(event: Event): void {
    const text = JSON.stringify(event);
    for (let i = 0; i < text.length; i++) this.#trace = (Math.imul(this.#trace, 31) + text.charCodeAt(i)) | 0;
  }

  acked(): void {
    this.#acked++;
    const { nowMs } = this.world.scheduler;
    if (!this.faulty || !this.#faults.has('power loss at an ack')) return;
    if (nowMs - this.#powerLossMs < POWER_LOSS_GAP_MS || this.#chance.float() >= POWER_LOSS_SHARE) return;
    if (this.world.up.length < this.world.nodes.length || this.world.isQuiet) return;
    this.#powerLossMs = nowMs;
    powerLossAtAck(this.#context);
  }

  call(subject: string, body: unknown): void {
    const { world } = this;
    const client = new SimClient(`admin${this.#calls++}`, world.scheduler, world.nodes[0]);
    let answer = '';
    const attempt = (): void =>
      client.request(subject, JSON.stringify(body), {}, 6000, (outcome) => {
        if (outcome.kind === 'reply' && !outcome.text.includes('"error"')) answer = outcome.text;
        else world.scheduler.after(200, attempt);
      });
    attempt();
    if (!world.scheduler.runUntilTrue(() => answer !== '', { timeoutMs: 30_000 }))
      throw new Error(`${subject} was never answered well`);
  }

  // ---- faults

  #startFaults(): void {
    const { world } = this;
    if (this.#faults.has('crash points')) world.crashPointShare = CRASH_POINT_SHARE;
    const choices = [...FAULTS, HAND_OVERS, EMPTIED_TWICE, TWO_WRONG_CLOCKS].flatMap((fault) =>
      this.#faults.has(fault.name) && fault.strike !== undefined ? Array<Fault>(fault.weight ?? 1).fill(fault) : [],
    );
    const strike = (): void => {
      if (!this.faulty) return;
      if (choices.length > 0 && !world.isQuiet) {
        const fault = choices[Math.floor(this.#chance.float() * choices.length)];
        if (fault.strike?.(this.#context) === true) world.count(`fault ${fault.name}`);
      }
      world.scheduler.after(this.#faultGapMs * (0.07 + this.#chance.float() * 1.86), strike);
    };
    strike();
  }

  #restartLater(node: SimNode): void {
    const { world } = this;
    const restart = (): void => {
      if (node.env?.alive) return;
      if (this.faulty && world.scheduler.nowMs < node.heldUntilMs) {
        world.scheduler.at(node.heldUntilMs, restart);
        return;
      }
      world.count('restart');
      node.start();
    };
    const meanMs = RESTART_MS[Math.floor(this.#chance.float() * RESTART_MS.length)];
    world.scheduler.after(this.#chance.float() * meanMs, restart);
  }

  // ---- the end

  #calm(): void {
    const { world } = this;
    this.faulty = false;
    this.#context.faulty = false;
    world.crashPointShare = 0;
    world.soothe();
    for (const node of world.nodes) {
      node.clock.offsetUs = 0;
      node.start();
    }
  }

  /** Everything equal and drained, in bounded time. */
  #settle(): boolean {
    const { world } = this;
    const { scheduler } = world;
    const isDone = (): boolean =>
      world.nodes.every((node) => node.up && !node.stopping) &&
      this.#loads.every((load) => load.isEqual() && load.isDone());
    // Looked at twice a simulated second: counting what is pending costs more than an event.
    const deadlineMs = scheduler.nowMs + HEAL_MS;
    while (scheduler.nowMs < deadlineMs) {
      scheduler.runFor(500);
      if (isDone()) return true;
    }
    const up = world.nodes.map((node) => `${node.name} ${node.up ? 'up' : 'down'}`);
    const loads = this.#loads.filter((load) => !load.isEqual() || !load.isDone()).map((load) => load.describe());
    this.#findings.push(`no progress after healing: ${up.join(', ')}; ${loads.join('; ')}; ${world.fatals.join('; ')}`);
    this.#check();
    return false;
  }

  #check(): void {
    for (const load of this.#loads) this.#findings.push(...load.findings());
  }
}
