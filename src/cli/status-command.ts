// `flotilla status` and `flotilla top`: ask one node, find the others through it, ask them all. Exit codes of status (and of top --once):
// 0 nothing is at risk, 1 something is, 2 nobody answers or the command line is wrong.
import { performance } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import type { NodeStatus } from '../monitoring/status.ts';
import { type Answer, type ClusterStatus, clusterStatusOf, monitorUrlOf } from './cluster-status.ts';
import { type FlagSpec, helpOf, parseFlags } from './flags.ts';
import { type Rates, ratesOf, statusLines } from './status-text.ts';
import { fail, say } from './terminal.ts';

const COMMON = {
  monitor: {
    names: ['m', 'monitor'],
    kind: 'string',
    value: 'urls',
    help: 'monitoring address of one node or several, separated by commas (default: 127.0.0.1, ports 8222 to 8224)',
  },
  timeout: {
    names: ['timeout'],
    kind: 'integer',
    value: 'ms',
    help: 'how long a node may take to answer (default 3000)',
  },
  help: { names: ['h', 'help'], kind: 'boolean', help: 'print this help' },
} as const satisfies Record<string, FlagSpec>;

export const STATUS_FLAGS = {
  ...COMMON,
  json: { names: ['json'], kind: 'boolean', help: 'one JSON document' },
} as const satisfies Record<string, FlagSpec>;

export const TOP_FLAGS = {
  ...COMMON,
  once: { names: ['once'], kind: 'boolean', help: 'one picture, without terminal control, and end' },
  interval: { names: ['interval'], kind: 'integer', value: 'ms', help: 'time between pictures (default 1000)' },
} as const satisfies Record<string, FlagSpec>;

const EXIT_CODES = 'exit code: 0 nothing is at risk, 1 something is, 2 nobody answers or the command line is wrong';
/** Where `npm start` puts its nodes. */
const DEFAULT_URLS = [8222, 8223, 8224].map((port) => `http://127.0.0.1:${port}`);
const TIMEOUT_MS = 3000;
const INTERVAL_MS = 1000;
const INTERVAL_MS_MIN = 100;
/** q, Ctrl-C, Ctrl-D. */
const STOP_KEYS = [0x71, 3, 4];

interface Asked {
  urls: string[];
  /** Named by the operator: who is silent is missed. */
  named: boolean;
  timeoutMs: number;
}

interface Picture {
  status: ClusterStatus;
  atMs: number;
}

export async function status(args: readonly string[]): Promise<number> {
  const parsed = parseFlags(STATUS_FLAGS, args);
  if (!parsed.ok) return fail(parsed.error, 2);
  const { values, rest } = parsed;
  if (values.help) {
    say(`usage: flotilla status [flags]\n\n${helpOf(STATUS_FLAGS)}\n\n${EXIT_CODES}`);
    return 0;
  }
  const asked = askedOf(values, rest);
  if (typeof asked === 'string') return fail(asked, 2);
  const picture = await look(asked);
  if (picture === undefined) return fail(nobody(asked), 2);
  say(values.json ? JSON.stringify(picture.status, undefined, 2) : statusLines(picture.status).join('\n'));
  return picture.status.healthy ? 0 : 1;
}

export async function top(args: readonly string[]): Promise<number> {
  const parsed = parseFlags(TOP_FLAGS, args);
  if (!parsed.ok) return fail(parsed.error, 2);
  const { values, rest } = parsed;
  if (values.help) {
    say(`usage: flotilla top [flags]   (q or Ctrl-C ends it)\n\n${helpOf(TOP_FLAGS)}\n\n${EXIT_CODES}`);
    return 0;
  }
  const asked = askedOf(values, rest);
  if (typeof asked === 'string') return fail(asked, 2);
  const intervalMs = (values.interval as number | undefined) ?? INTERVAL_MS;
  if (intervalMs < INTERVAL_MS_MIN) return fail(`--interval must be at least ${INTERVAL_MS_MIN}`, 2);
  const first = await look(asked);
  if (first === undefined) return fail(nobody(asked), 2);
  return values.once ? await once(asked, first, intervalMs) : await refresh(asked, first, intervalMs);
}

/** Two looks, because rates are differences. */
async function once(asked: Asked, first: Picture, intervalMs: number): Promise<number> {
  await pause(intervalMs);
  const second = await look(asked);
  if (second === undefined) return fail(nobody(asked), 2);
  say(statusLines(second.status, ratesBetween(first, second)).join('\n'));
  return second.status.healthy ? 0 : 1;
}

async function refresh(asked: Asked, first: Picture, intervalMs: number): Promise<number> {
  const { stdin, stdout } = process;
  let stop = (): void => {};
  const stopped = new Promise<'stop'>((done) => {
    stop = () => done('stop');
  });
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
  if (stdin.isTTY) {
    stdin.setRawMode(true);
    stdin.on('data', (keys: Buffer) => keys.some((key) => STOP_KEYS.includes(key)) && stop());
  }
  const controlled = stdout.isTTY === true && process.env.TERM !== 'dumb';
  let last = first;
  try {
    for (;;) {
      if ((await Promise.race([pause(intervalMs), stopped])) === 'stop') return 0;
      const next = await look(asked);
      const lines = next === undefined ? [nobody(asked)] : statusLines(next.status, ratesBetween(last, next));
      if (next !== undefined) last = next;
      stdout.write(controlled ? screen(lines) : `${lines.join('\n')}\n\n`);
    }
  } finally {
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.pause();
  }
}

/** From the top left corner, each line cut to the terminal, the rest cleared: no flicker, nothing left over. */
function screen(lines: readonly string[]): string {
  // A terminal that does not know its size says 0.
  const columns = process.stdout.columns || 80;
  const rows = process.stdout.rows || 24;
  const shown = lines.slice(0, rows - 1).map((line) => `${line.slice(0, columns)}\x1b[K`);
  return `\x1b[H${shown.join('\n')}\n\x1b[J`;
}

function ratesBetween(before: Picture, now: Picture): Map<string, Rates> {
  const elapsedS = (now.atMs - before.atMs) / 1000;
  const old = new Map(before.status.nodes.map(({ name, status: was }) => [name, was]));
  return new Map(now.status.nodes.map(({ name, status: is }) => [name, is && ratesOf(old.get(name), is, elapsedS)]));
}

function askedOf(values: { monitor?: unknown; timeout?: unknown }, rest: readonly string[]): Asked | string {
  if (rest.length > 0) return `flags only, not "${rest[0]}"`;
  const named = values.monitor as string | undefined;
  const urls = named === undefined ? [...DEFAULT_URLS] : [];
  for (const text of named?.split(',') ?? []) {
    const url = URL.parse(text.includes('://') ? text : `http://${text}`);
    if (url === null || url.protocol !== 'http:') return `--monitor: "${text}" is not an address like http://host:port`;
    urls.push(url.origin);
  }
  const timeoutMs = (values.timeout as number | undefined) ?? TIMEOUT_MS;
  return timeoutMs > 0 ? { urls, timeoutMs, named: named !== undefined } : '--timeout must be above 0';
}

/** Undefined: nobody answers. */
async function look({ urls, timeoutMs, named }: Asked): Promise<Picture | undefined> {
  const answers = await askAll(urls, timeoutMs);
  const others = new Set<string>();
  const names = new Set(answers.map(({ status: { server_name } }) => server_name));
  for (const { url, status: answer } of answers)
    for (const peer of answer.peers) if (!names.has(peer.name)) others.add(monitorUrlOf(peer, url));
  for (const url of ['', ...urls]) others.delete(url);
  answers.push(...(await askAll([...others], timeoutMs)));
  if (answers.length === 0) return undefined;
  const unanswered = urls.filter((url) => named && !answers.some((answer) => answer.url === url));
  return { status: clusterStatusOf(answers, unanswered), atMs: performance.now() };
}

async function askAll(urls: readonly string[], timeoutMs: number): Promise<Answer[]> {
  const asked = await Promise.all(
    urls.map(async (url) => {
      const answer = await ask(url, timeoutMs);
      return answer === undefined ? [] : [{ url, status: answer }];
    }),
  );
  return asked.flat();
}

async function ask(url: string, timeoutMs: number): Promise<NodeStatus | undefined> {
  try {
    const response = await fetch(`${url}/statusz`, { signal: AbortSignal.timeout(timeoutMs) });
    const answer = response.ok ? ((await response.json()) as Partial<NodeStatus>) : {};
    // Some other program may listen there.
    return answer.server_name === undefined || answer.counters === undefined ? undefined : (answer as NodeStatus);
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

function nobody({ urls }: Asked): string {
  return `no node answers at ${urls.join(', ')}; is the monitoring port on (-m), and the address right (--monitor)?`;
}
