// `npm run bench -- --only many`: what many streams cost. 1,000 R3 streams (or --streams n) on three nodes, first of Flotilla, then of
// nats-server (not with --alone), with the same steps: create them, leave them alone, publish to one stream and to all of them in turn (a
// warm-up, then the rounds; with each window), kill -9 a node, and see when every stream has answered. CPU time comes from /proc, so on a busy
// machine it says more than the rates do.
import { Target, type TargetKind } from '../test/conformance/target.ts';
import { type LoadResult, load, median, TITLES } from './load.ts';
import { cpuMsOf } from './proc.ts';

const CLIENTS = '4';
const CREATE_CLIENTS = '8';
const SETTLE_MS = 10_000;
const IDLE_MS = 20_000;
const MESSAGES = 200_000;
const CREATE_MS_MAX = 900_000;

export interface ManyOptions {
  binary: string;
  streams: number;
  /** Publishes in flight per client, one after the other. */
  windows: readonly number[];
  /** Without nats-server. */
  alone: boolean;
  rounds: number;
  scale: number;
}

interface Rate {
  perSecond: number;
  cpuUs: number;
}

interface Figures {
  createSeconds: number;
  idlePercent: number;
  rssMb: number;
  /** By window. */
  one: Rate[];
  all: Rate[];
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
    const { streams, windows } = this.#options;
    const { urls } = this.#target;
    try {
      await this.#target.start(3);
      const created = this.#load(urls[0], ['-mode', 'create-many', '-clients', CREATE_CLIENTS], CREATE_MS_MAX);
      await pause(SETTLE_MS);
      const idlePercent = await this.#cpuPercent();
      this.#load(urls[0], ['-mode', 'create', '-stream', 'ONE']);
      const rates = windows.map((window) => this.#rates(window));
      const rssMb = this.#target.maxRssMb();
      await this.#target.kill(2);
      const sweep = this.#load(urls[0], ['-mode', 'sweep']);
      await pause(SETTLE_MS);
      return {
        createSeconds: created.seconds * (1000 / streams),
        idlePercent,
        rssMb,
        one: rates.map(({ one }) => one),
        all: rates.map(({ all }) => all),
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

  #rates(window: number): { one: Rate; all: Rate } {
    const { rounds, scale } = this.#options;
    const one: Rate[] = [];
    const all: Rate[] = [];
    for (let round = -1; round < rounds; round++) {
      const ofOne = this.#publish(['-mode', 'async', '-stream', 'ONE'], MESSAGES * scale, window);
      const ofAll = this.#publish(['-mode', 'many'], MESSAGES * scale, window);
      if (round < 0) continue;
      one.push(ofOne);
      all.push(ofAll);
    }
    return { one: medianRate(one), all: medianRate(all) };
  }

  #publish(flags: string[], messages: number, window: number): Rate {
    const count = Math.max(1000, Math.round(messages));
    const before = this.#cpuMs();
    const load = ['-clients', CLIENTS, '-window', String(window), '-msgs', String(count)];
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

function medianRate(rates: readonly Rate[]): Rate {
  return {
    perSecond: median(rates.map(({ perSecond }) => perSecond)),
    cpuUs: median(rates.map(({ cpuUs }) => cpuUs)),
  };
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function sweepCell({ failoverSeconds, silent }: Figures): string {
  return silent === 0 ? `${failoverSeconds.toFixed(2)} s` : `${silent} silent after a minute`;
}

export async function runMany(options: ManyOptions): Promise<void> {
  const { streams, windows, alone } = options;
  const kinds: TargetKind[] = alone ? ['flotilla'] : ['flotilla', 'nats-server'];
  const sides: Figures[] = [];
  for (const kind of kinds) sides.push(await new Side(kind, options).run());
  const row = (what: string, figure: (side: Figures) => string): string =>
    `| ${what} | ${sides.map(figure).join(' | ')} |`;
  const rows = [
    `| ${streams} streams of three replicas, ${CLIENTS} clients | ${kinds.map((kind) => TITLES[kind]).join(' | ')} |`,
    `|---${'|---'.repeat(kinds.length)}|`,
    row(`created by ${CREATE_CLIENTS} clients, per 1,000`, (side) => `${side.createSeconds.toFixed(1)} s`),
    row('a quiet node, share of one core', (side) => `${side.idlePercent.toFixed(1)} %`),
    row('a quiet node while another is down', (side) => `${side.idleDownPercent.toFixed(1)} %`),
    ...windows.flatMap((window, i) => [
      row(`${window} in flight each: publish to one stream`, ({ one }) => `${Math.round(one[i].perSecond)}/s`),
      row('publish to all in turn', ({ all }) => `${Math.round(all[i].perSecond)}/s`),
      row('all in turn : one', ({ one, all }) => `${(all[i].perSecond / one[i].perSecond).toFixed(2)} ×`),
      row('CPU time of all nodes per message, one stream', ({ one }) => `${one[i].cpuUs.toFixed(0)} µs`),
      row('CPU time of all nodes per message, all in turn', ({ all }) => `${all[i].cpuUs.toFixed(0)} µs`),
    ]),
    row('publishes refused or unanswered', (side) => `${side.errors}${side.errors > 0 ? ` (${side.firstError})` : ''}`),
    row('kill -9 of a node, until every stream has answered', sweepCell),
    row('memory of the largest node, peak', (side) => `${side.rssMb} MB`),
  ];
  process.stdout.write(`\n${rows.join('\n')}\n`);
}
