// `npm run bench -- --only many`: what many streams cost. 1,000 R3 streams (or --streams n) on three nodes, first of Flotilla, then of
// nats-server (not with --alone), with the same steps: create them, leave them alone, publish to one stream and to all of them in turn,
// kill -9 a node, and see when every stream has answered. CPU time comes from /proc, so on a busy machine it says more than the rates do.
import { Target, type TargetKind } from '../test/conformance/target.ts';
import { type LoadResult, load, median, TITLES } from './load.ts';
import { cpuMsOf } from './proc.ts';

const CLIENTS = '4';
const CREATE_CLIENTS = '8';
const SETTLE_MS = 10_000;
const IDLE_MS = 20_000;
const MESSAGES_ONE = 200_000;
const MESSAGES_ALL = 100_000;
const CREATE_MS_MAX = 900_000;

export interface ManyOptions {
  binary: string;
  streams: number;
  /** Publishes in flight per client. */
  window: number;
  /** Without nats-server. */
  alone: boolean;
  rounds: number;
  scale: number;
}

interface Figures {
  createSeconds: number;
  idlePercent: number;
  rssMb: number;
  onePerSecond: number;
  allPerSecond: number;
  oneCpuUs: number;
  allCpuUs: number;
  errors: number;
  firstError: string;
  failoverSeconds: number;
  /** Streams that had not answered a minute after the kill. */
  silent: number;
  idleDownPercent: number;
}

const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));

class Side {
  readonly #target: Target;
  readonly #options: ManyOptions;
  #errors = 0;
  #firstError = '';

  constructor(kind: TargetKind, options: ManyOptions) {
    this.#target = new Target(kind);
    this.#options = options;
  }

  async run(): Promise<Figures> {
    const { streams, rounds, scale } = this.#options;
    const { urls } = this.#target;
    try {
      await this.#target.start(3);
      const created = this.#load(urls[0], ['-mode', 'create-many', '-clients', CREATE_CLIENTS], CREATE_MS_MAX);
      await pause(SETTLE_MS);
      const idlePercent = await this.#cpuPercent();
      this.#load(urls[0], ['-mode', 'create', '-stream', 'ONE']);
      const one: { perSecond: number; cpuUs: number }[] = [];
      const all: { perSecond: number; cpuUs: number }[] = [];
      for (let round = 0; round < rounds; round++) {
        one.push(this.#publish(['-mode', 'async', '-stream', 'ONE'], MESSAGES_ONE * scale));
        all.push(this.#publish(['-mode', 'many'], MESSAGES_ALL * scale));
      }
      const rssMb = this.#target.maxRssMb();
      await this.#target.kill(2);
      const sweep = this.#load(urls[0], ['-mode', 'sweep']);
      await pause(SETTLE_MS);
      return {
        createSeconds: created.seconds * (1000 / streams),
        idlePercent,
        rssMb,
        onePerSecond: median(one.map(({ perSecond }) => perSecond)),
        allPerSecond: median(all.map(({ perSecond }) => perSecond)),
        oneCpuUs: median(one.map(({ cpuUs }) => cpuUs)),
        allCpuUs: median(all.map(({ cpuUs }) => cpuUs)),
        errors: this.#errors,
        firstError: this.#firstError,
        failoverSeconds: sweep.seconds,
        silent: sweep.silent ?? 0,
        idleDownPercent: await this.#cpuPercent(),
      };
    } finally {
      await this.#target.stop();
    }
  }

  #load(url: string, flags: string[], timeoutMs?: number): LoadResult {
    const { binary, streams } = this.#options;
    const named = flags.includes('-stream') ? flags : [...flags, '-stream', 'MANY', '-streams', String(streams)];
    const result = load(binary, url, named, timeoutMs);
    process.stdout.write(`  ${this.#target.kind} | ${named.join(' ')} | ${JSON.stringify(result)}\n`);
    return result;
  }

  #publish(flags: string[], messages: number): { perSecond: number; cpuUs: number } {
    const count = Math.max(1000, Math.round(messages));
    const before = this.#cpuMs();
    const load = ['-clients', CLIENTS, '-window', String(this.#options.window), '-msgs', String(count)];
    const result = this.#load(this.#target.urls[0], [...flags, ...load]);
    const cpuMs = sum(this.#cpuMs()) - sum(before);
    this.#errors += result.errors;
    this.#firstError ||= result.firstError ?? '';
    return { perSecond: result.perSecond, cpuUs: (cpuMs * 1000) / count };
  }

  /** Of each running node since it started. */
  #cpuMs(): number[] {
    const pids = [0, 1, 2].map((i) => this.#target.pid(i)).filter((pid) => pid !== undefined);
    return pids.map(cpuMsOf);
  }

  /** Of one core, of the busiest node. */
  async #cpuPercent(): Promise<number> {
    const before = this.#cpuMs();
    const beganMs = performance.now();
    await pause(IDLE_MS);
    const after = this.#cpuMs();
    const ms = performance.now() - beganMs;
    return Math.max(...after.map((cpuMs, i) => ((cpuMs - before[i]) / ms) * 100));
  }
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function sweepCell({ failoverSeconds, silent }: Figures): string {
  return silent === 0 ? `${failoverSeconds.toFixed(2)} s` : `${silent} silent after a minute`;
}

export async function runMany(options: ManyOptions): Promise<void> {
  const { streams, window, alone } = options;
  const kinds: TargetKind[] = alone ? ['flotilla'] : ['flotilla', 'nats-server'];
  const sides: Figures[] = [];
  for (const kind of kinds) sides.push(await new Side(kind, options).run());
  const row = (what: string, figure: (side: Figures) => string): string =>
    `| ${what} | ${sides.map(figure).join(' | ')} |`;
  const rows = [
    `| ${streams} streams of three replicas, window ${window} | ${kinds.map((kind) => TITLES[kind]).join(' | ')} |`,
    `|---${'|---'.repeat(kinds.length)}|`,
    row(`created by ${CREATE_CLIENTS} clients, per 1,000`, (side) => `${side.createSeconds.toFixed(1)} s`),
    row('a quiet node, share of one core', (side) => `${side.idlePercent.toFixed(1)} %`),
    row('a quiet node while another is down', (side) => `${side.idleDownPercent.toFixed(1)} %`),
    row('publish to one stream', (side) => `${Math.round(side.onePerSecond)}/s`),
    row('publish to all in turn', (side) => `${Math.round(side.allPerSecond)}/s`),
    row('all in turn : one', (side) => `${(side.allPerSecond / side.onePerSecond).toFixed(2)} ×`),
    row('CPU time of all nodes per message, one stream', (side) => `${side.oneCpuUs.toFixed(0)} µs`),
    row('CPU time of all nodes per message, all in turn', (side) => `${side.allCpuUs.toFixed(0)} µs`),
    row('publishes refused or unanswered', (side) => `${side.errors}${side.errors > 0 ? ` (${side.firstError})` : ''}`),
    row('kill -9 of a node, until every stream has answered', sweepCell),
    row('memory of the largest node, peak', (side) => `${side.rssMb} MB`),
  ];
  process.stdout.write(`\n${rows.join('\n')}\n`);
}
