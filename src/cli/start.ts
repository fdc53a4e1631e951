// `flotilla start` (npm start): a cluster on this machine, one process per node, and what to try with it.
// It owns the processes it started and nothing else: Ctrl-C stops them cleanly and keeps their data.
import { type ChildProcess, spawn } from 'node:child_process';
import { accessSync, constants, existsSync, rmSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { lockDataDir } from '../kit/lock.ts';
import { type FlagSpec, helpOf, parseFlags } from './flags.ts';
import { runtimeEnv, V8_FLAGS } from './runtime.mjs';

const FLAGS = {
  nodes: { names: ['nodes'], kind: 'integer', value: 'n', help: 'how many nodes: 1, 3 or 5 (default 3)' },
  node: {
    names: ['node'],
    kind: 'integer',
    value: 'i',
    help: 'start only node i of the cluster (to bring back one that was stopped)',
  },
  fresh: {
    names: ['fresh'],
    kind: 'boolean',
    help: 'start empty: removes the data of these nodes first (of all in the place; with --node of that one)',
  },
  data: { names: ['data'], kind: 'string', value: 'dir', help: 'where the data is kept (default ./data)' },
  restart: {
    names: ['restart'],
    kind: 'boolean',
    help: 'bring a killed node back after 3 s (default; --restart=false: leave it)',
  },
  port: {
    names: ['p', 'port'],
    kind: 'integer',
    value: 'port',
    help: 'first client port (default 4222; monitoring +4000, cluster +2000)',
  },
  debug: { names: ['D', 'debug'], kind: 'boolean', help: 'log debug lines' },
  help: { names: ['h', 'help'], kind: 'boolean', help: 'print this help' },
} as const satisfies Record<string, FlagSpec>;

const SIZES = [1, 3, 5];
const PORT = 4222;
/** From a node's client port to its others. */
const CLUSTER_OFFSET = 2000;
const MONITOR_OFFSET = 4000;
const RESTART_MS = 3000;
const READY_MS_MAX = 30_000;
const STOP_MS_MAX = 15_000;
/** Signals this close together are one: a terminal tells npm and this process, and npm tells it again. */
const ONE_SIGNAL_MS = 500;
/** Streams of an earlier run elect their leaders just after the nodes are up. */
const LEADERS_MS_MAX = 3000;

interface NodeProcess {
  number: number;
  name: string;
  clientPort: number;
  monitorPort: number;
  clusterPort: number;
  dir: string;
  child: ChildProcess | undefined;
}

export async function start(args: readonly string[], mainFile: string): Promise<number> {
  // `npm start -- --nodes 1` has its `--` taken by npm; who calls the launcher directly may leave it.
  const parsed = parseFlags(FLAGS, args[0] === '--' ? args.slice(1) : args);
  if (!parsed.ok) return fail(parsed.error);
  const { values, rest } = parsed;
  if (rest.length > 0) return fail(`start takes flags only, not "${rest[0]}"`);
  if (values.help) {
    process.stdout.write(`usage: flotilla start [flags]   (npm start -- [flags])\n\n${helpOf(FLAGS)}\n`);
    return 0;
  }
  const count = (values.nodes as number | undefined) ?? 3;
  if (!SIZES.includes(count)) return fail(`--nodes must be 1, 3 or 5, not ${count}`);
  const only = values.node as number | undefined;
  if (only !== undefined && (only < 1 || only > count)) return fail(`--node must be 1 to ${count}`);
  const firstPort = (values.port as number | undefined) ?? PORT;
  const portMax = 65_535 - MONITOR_OFFSET - (count - 1);
  if (firstPort < 1 || firstPort > portMax) return fail(`-p must be 1 to ${portMax}, not ${firstPort}`);
  if (values.data === '') return fail('--data must name a directory');
  const dataDir = resolve((values.data as string | undefined) ?? 'data');
  const all: NodeProcess[] = Array.from({ length: count }, (_, i) => ({
    number: i + 1,
    name: `n${i + 1}`,
    clientPort: firstPort + i,
    monitorPort: firstPort + MONITOR_OFFSET + i,
    clusterPort: firstPort + CLUSTER_OFFSET + i,
    dir: join(dataDir, `n${i + 1}`),
    child: undefined,
  }));
  const nodes = only === undefined ? all : [all[only - 1]];
  const isFresh = values.fresh === true;
  // A part of a cluster could not serve what the rest of it holds.
  const beyond = namesBeyond(dataDir, count);
  if (beyond.length > 0 && !(isFresh && only === undefined)) {
    const size = SIZES.find((each) => each >= Number(beyond.at(-1)?.slice(1)));
    return fail(
      `${dataDir} holds more than ${count} node${count === 1 ? '' : 's'} (${beyond.join(', ')}): ` +
        `start it with --nodes ${size}, or empty with --fresh. Nothing was started or changed.`,
    );
  }
  const dirs = new Map(nodes.map(({ name, dir }) => [name, dir]));
  for (const name of beyond) dirs.set(name, join(dataDir, name));

  for (const [name, dir] of dirs) {
    const error = dirError(dir);
    if (error) return fail(`node ${name}: ${error}. Nothing was started or changed.`);
  }
  for (const node of nodes) {
    for (const port of [node.clientPort, node.monitorPort, node.clusterPort]) {
      const error = await portError(port);
      if (error) return fail(`node ${node.name}: port ${port} on 127.0.0.1: ${error}. Nothing was started or changed.`);
    }
  }
  if (isFresh) for (const dir of dirs.values()) rmSync(dir, { recursive: true, force: true });

  const again = [
    'npm start --',
    `--nodes ${count}`,
    ...(firstPort === PORT ? [] : [`-p ${firstPort}`]),
    ...(values.data === undefined ? [] : [`--data ${dataDir}`]),
  ].join(' ');
  return await new Supervisor(all, nodes, mainFile, again, values.restart !== false, values.debug === true).run();
}

class Supervisor {
  readonly #all: NodeProcess[];
  readonly #nodes: NodeProcess[];
  readonly #mainFile: string;
  /** The command that starts this cluster; with a number behind `--node`, one node of it. */
  readonly #again: string;
  readonly #restart: boolean;
  readonly #debug: boolean;
  #stopping = false;
  #stoppingSinceMs = 0;
  #failed = false;
  #finish: ((code: number) => void) | undefined;

  constructor(
    all: NodeProcess[],
    nodes: NodeProcess[],
    mainFile: string,
    again: string,
    restart: boolean,
    debug: boolean,
  ) {
    this.#all = all;
    this.#nodes = nodes;
    this.#mainFile = mainFile;
    this.#again = again;
    this.#restart = restart;
    this.#debug = debug;
  }

  async run(): Promise<number> {
    const finished = new Promise<number>((resolveRun) => {
      this.#finish = resolveRun;
    });
    // A closed terminal ends the cluster too: nothing would be left to stop it with.
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => this.#stop());
    // So does one that reads no more (`npm start | head`): without a listener the next line would end this process, and leave the nodes.
    process.stdout.on('error', () => this.#stop());
    for (const node of this.#nodes) this.#launch(node);
    if (await this.#untilReady()) await this.#greet();
    return await finished;
  }

  #launch(node: NodeProcess): void {
    const flags = [
      '-a',
      '127.0.0.1',
      '-p',
      node.clientPort,
      '-m',
      node.monitorPort,
      '-n',
      node.name,
      '-js',
      '-sd',
      node.dir,
    ];
    if (this.#all.length > 1) {
      const routes = this.#all.map((other) => `nats://127.0.0.1:${other.clusterPort}`).join(',');
      flags.push('--cluster', `nats://127.0.0.1:${node.clusterPort}`, '--cluster_name', 'flotilla', '--routes', routes);
    }
    if (this.#debug) flags.push('-D');
    // A process group of its own: Ctrl-C reaches the nodes through this process only, so that they stop in order.
    const child = spawn(process.execPath, [...V8_FLAGS, this.#mainFile, 'server', ...flags.map(String)], {
      stdio: ['ignore', 'inherit', 'inherit'],
      detached: true,
      env: runtimeEnv(process.env),
    });
    node.child = child;
    child.on('exit', (code, signal) => this.#onExit(node, code, signal));
  }

  #onExit(node: NodeProcess, code: number | null, signal: NodeJS.Signals | null): void {
    node.child = undefined;
    if (this.#stopping) {
      if (this.#nodes.every((other) => other.child === undefined)) {
        say('All nodes have stopped; their data is kept.');
        this.#finish?.(this.#failed ? 1 : 0);
      }
      return;
    }
    if (code !== null && code !== 0 && signal === null) {
      // It said why itself, on one line.
      say(`node ${node.name} ended with exit code ${code}; stopping.`);
      this.#failed = true;
      this.#stop();
      return;
    }
    const how = signal ? `was killed (${signal})` : 'has stopped';
    if (!this.#restart || code === 0) {
      say(`node ${node.name} ${how}. Bring it back: ${this.#again} --node ${node.number}`);
      if (this.#nodes.every((other) => other.child === undefined)) this.#finish?.(0);
      return;
    }
    say(`node ${node.name} ${how}; it comes back in ${RESTART_MS / 1000} s.`);
    setTimeout(() => {
      if (this.#stopping) return;
      this.#launch(node);
      say(`node ${node.name} is back as pid ${node.child?.pid}.`);
    }, RESTART_MS);
  }

  #stop(): void {
    if (this.#stopping) {
      this.#hurry();
      return;
    }
    this.#stopping = true;
    this.#stoppingSinceMs = performance.now();
    say('Stopping …');
    const alive = this.#nodes.filter((node) => node.child !== undefined);
    if (alive.length === 0) this.#finish?.(this.#failed ? 1 : 0);
    for (const node of alive) node.child?.kill('SIGTERM');
    setTimeout(() => {
      for (const node of this.#nodes) node.child?.kill('SIGKILL');
    }, STOP_MS_MAX).unref();
  }

  /** Asked again: whoever hangs is not waited for. What was acknowledged is on disk. */
  #hurry(): void {
    if (performance.now() - this.#stoppingSinceMs < ONE_SIGNAL_MS) return;
    say('Not waiting any longer: killing the nodes that are left; their data is kept.');
    for (const node of this.#nodes) node.child?.kill('SIGKILL');
  }

  async #untilReady(): Promise<boolean> {
    const deadline = Date.now() + READY_MS_MAX;
    while (!this.#stopping && Date.now() < deadline) {
      const healthy = await Promise.all(this.#nodes.map((node) => isHealthy(node.monitorPort)));
      if (healthy.every(Boolean)) return true;
      await new Promise((resume) => setTimeout(resume, 100));
    }
    const healthUrl = `http://127.0.0.1:${this.#nodes[0].monitorPort}/healthz`;
    if (!this.#stopping) say(`The nodes are up, but the cluster is not healthy yet; see ${healthUrl}`);
    return !this.#stopping;
  }

  async #greet(): Promise<void> {
    const leading = await leadership(this.#nodes, Date.now() + LEADERS_MS_MAX);
    const lines = this.#nodes.map(
      (node) =>
        `  ${node.name}  pid ${String(node.child?.pid).padEnd(7)} nats://127.0.0.1:${node.clientPort}  ` +
        `http://127.0.0.1:${node.monitorPort}  ${leading.get(node.name) ?? ''}`,
    );
    // The leader is the one worth killing; the commands go to the others, so that they work right after it.
    const victim =
      this.#nodes.find((node) => leading.get(node.name)?.startsWith('leads the cluster')) ?? this.#nodes[0];
    const others = this.#nodes.length > 1 ? this.#nodes.filter((node) => node !== victim) : [victim];
    const [first, last] = [others[0], others[others.length - 1]].map((node) => `nats://127.0.0.1:${node.clientPort}`);
    const count = this.#nodes.length;
    if (count < this.#all.length) {
      const names = this.#nodes.map(({ name }) => name).join(', ');
      say(
        ['', `Flotilla is running: node ${names} of ${this.#all.length}.`, ...lines, '', 'Ctrl-C stops it.', ''].join(
          '\n',
        ),
      );
      return;
    }
    const running = `${count} node${count === 1 ? '' : 's'}`;
    say(
      [
        '',
        `Flotilla is running: ${running}.`,
        ...lines,
        '',
        'Try next (in another terminal):',
        `  1. store ten messages${this.#all.length > 1 ? ', replicated: ' : ':             '}   npm run -s flotilla -- pub orders.new "hello" --count 10 --stream ORDERS -s ${first}`,
        `  2. read them, from any node:          npm run -s flotilla -- sub "orders.>" --stream ORDERS -s ${last}`,
        `  3. kill ${this.#all.length > 1 ? 'a node, then do 1 and 2 again' : 'it; when it is back, do 2 again'}: kill -9 ${victim.child?.pid}`,
        '',
        'Ctrl-C stops all nodes and keeps their data.',
        '',
      ].join('\n'),
    );
  }
}

/** Per node name, what it leads, from the nodes' own monitoring; waits until every stream has a leader, or for the deadline. */
async function leadership(nodes: readonly NodeProcess[], deadlineMs: number): Promise<Map<string, string>> {
  const result = new Map<string, string>();
  let hasAll = true;
  await Promise.all(
    nodes.map(async (node) => {
      const answer = await getJson(`http://127.0.0.1:${node.monitorPort}/jsz?streams=true`);
      const details = answer?.account_details?.flatMap((account) => account.stream_detail ?? []) ?? [];
      if (details.some((stream) => stream.cluster && !stream.cluster.leader)) hasAll = false;
      const led = details.filter((stream) => stream.cluster?.leader === node.name).map((stream) => stream.name);
      const parts = [];
      if (answer?.meta_cluster?.leader === node.name) parts.push('leads the cluster');
      if (led.length > 0)
        parts.push(`leads ${led.length} stream${led.length === 1 ? '' : 's'}: ${led.slice(0, 5).join(', ')}`);
      result.set(node.name, parts.join('; '));
    }),
  );
  if (hasAll || Date.now() >= deadlineMs) return result;
  await new Promise((resume) => setTimeout(resume, 100));
  return await leadership(nodes, deadlineMs);
}

interface JszAnswer {
  meta_cluster?: { leader?: string };
  account_details?: { stream_detail?: { name: string; cluster?: { leader?: string } }[] }[];
}

async function getJson(url: string): Promise<JszAnswer | undefined> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
    return response.ok ? ((await response.json()) as JszAnswer) : undefined;
  } catch (error) {
    if (error instanceof Error) return undefined;
    throw error;
  }
}

async function isHealthy(port: number): Promise<boolean> {
  return (await getJson(`http://127.0.0.1:${port}/healthz`)) !== undefined;
}

/** Nodes of an earlier, larger cluster in the same place, by number. */
function namesBeyond(dataDir: string, count: number): string[] {
  const names: string[] = [];
  for (let number = count + 1; number <= Math.max(...SIZES); number++) {
    if (existsSync(join(dataDir, `n${number}`, 'jetstream'))) names.push(`n${number}`);
  }
  return names;
}

/** Why a node could not use its directory; looked at before anything is started, and before `--fresh` removes anything. */
function dirError(dir: string): string | undefined {
  try {
    const stored = join(dir, 'jetstream');
    if (existsSync(stored) && statSync(stored).isDirectory()) {
      lockDataDir(stored).release();
      return undefined;
    }
    let parent = stored;
    while (!existsSync(parent)) parent = dirname(parent);
    if (!statSync(parent).isDirectory()) return `storage directory is not a directory: ${parent}`;
    accessSync(parent, constants.W_OK);
    return undefined;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const { code } = error as NodeJS.ErrnoException;
    return code ? `storage directory ${dir} is not writable: ${error.message}` : error.message;
  }
}

function portError(port: number): Promise<string | undefined> {
  return new Promise((done) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => {
      done(error.code === 'EADDRINUSE' ? 'address already in use by another program' : error.message);
    });
    probe.listen(port, '127.0.0.1', () => probe.close(() => done(undefined)));
  });
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function fail(text: string): number {
  process.stderr.write(`flotilla: ${text}\n`);
  return 1;
}
