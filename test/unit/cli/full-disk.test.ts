// Three server processes, each with its data on a small file system of its own (a tmpfs in a private mount namespace) whose size changes under
// it: a follower without room, then no majority with room, then a disk that is full at once, and room again. Where such mounts are refused
// it says so and does not run.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePorts } from '../../conformance/target.ts';
import { type Mounts, mountsHere } from './mounts.ts';

const MAIN = join(import.meta.dirname, '../../../src/cli/main.ts');
const MIB = 1024 * 1024;
/** Above the reserve of 128 MiB with some to spare, and below it. */
const ROOMY_MIB = 400;
const LOW_MIB = 120;
const INSUFFICIENT_STORAGE = 10047;
/** What a stream can take of a roomy disk, at least: the reserve and parts of segments go off. */
const FILLED_MIB = 180;
const BURST = 20;

const mounts = mountsHere();

const root = mkdtempSync(join(tmpdir(), 'flotilla-full-'));

class Node {
  readonly mounts: Mounts;
  readonly name: string;
  readonly dir: string;
  readonly port: number;
  readonly args: string[];
  /** Keeps the mount namespace, and with it the file system, over restarts of the server. */
  holder: ChildProcess | undefined;
  server: ChildProcess | undefined;
  stderr = '';

  constructor(mounts: Mounts, i: number, ports: number[]) {
    this.mounts = mounts;
    this.name = `n${i + 1}`;
    this.dir = join(root, this.name);
    this.port = ports[i * 2];
    const routes = [0, 1, 2].map((n) => `nats://127.0.0.1:${ports[n * 2 + 1]}`).join(',');
    this.args = ['server', '-a', '127.0.0.1', '-p', String(this.port), '-n', this.name, '-js', '-sd', this.dir];
    this.args.push('--cluster_name', 'full', '--cluster', `nats://127.0.0.1:${ports[i * 2 + 1]}`, '--routes', routes);
  }

  async mount(): Promise<void> {
    mkdirSync(this.dir);
    const script = `mount -t tmpfs -o size=${ROOMY_MIB}m tmpfs ${this.dir} && echo ready && exec sleep 600`;
    this.holder = spawn('unshare', [...this.mounts.unshare, 'sh', '-c', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((done) => this.holder?.stdout?.once('data', done));
  }

  private inside(command: string[]): string[] {
    return ['-t', String(this.holder?.pid), ...this.mounts.nsenter, ...command];
  }

  start(): void {
    // nsenter becomes the server: same pid, its signals and its exit code.
    this.server = spawn('nsenter', this.inside([process.execPath, MAIN, ...this.args]), {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.server.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
  }

  resize(mib: number): void {
    execFileSync('nsenter', this.inside(['mount', ...this.mounts.change, '-o', `remount,size=${mib}m`, this.dir]));
  }

  usedMib(): number {
    const out = execFileSync('nsenter', this.inside(['df', '-k', '--output=used', this.dir]), { encoding: 'utf8' });
    return Number(out.trim().split('\n').at(-1)) / 1024;
  }

  isRunning(): boolean {
    return this.server !== undefined && this.server.exitCode === null && this.server.signalCode === null;
  }
}

const nodes: Node[] = [];
let nc: NatsConnection;

async function until(what: string, condition: () => boolean | Promise<boolean>, timeoutMs = 20_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > end) {
      throw new Error(
        `not within ${timeoutMs} ms: ${what}\n${nodes.map((node) => `${node.name}: ${node.stderr}`).join('\n')}`,
      );
    }
    await new Promise((go) => setTimeout(go, 50));
  }
}

beforeAll(async () => {
  if (typeof mounts === 'string') return;
  const ports = await freePorts(6);
  for (let i = 0; i < 3; i++) nodes.push(new Node(mounts, i, ports));
  for (const node of nodes) {
    await node.mount();
    node.start();
  }
  await until('all are ready', () => nodes.every((node) => node.stderr.includes('Server is ready')), 40_000);
  nc = await connect({
    servers: nodes.map((node) => `127.0.0.1:${node.port}`),
    maxReconnectAttempts: -1,
    reconnectTimeWait: 100,
  });
});

afterAll(async () => {
  await nc?.close();
  for (const { server, holder } of nodes) {
    server?.kill('SIGKILL');
    if (holder !== undefined) {
      const ended = new Promise((done) => holder.once('exit', done));
      holder.kill('SIGKILL');
      await ended;
    }
  }
  rmSync(root, { recursive: true, force: true });
});

test('full disks', { timeout: 300_000 }, async (context) => {
  if (typeof mounts === 'string') context.skip(mounts);
  const js = jetstream(nc, { timeout: 3_000 });
  const jsm = await jetstreamManager(nc, { timeout: 5_000 });
  const create = () =>
    jsm.streams.add({ name: 'S', subjects: ['s'], num_replicas: 3 }).then(
      () => true,
      () => false,
    );
  await until('the stream', create);
  const payload = new Uint8Array(100 * 1024);
  let last = 0;
  /** Undefined: stored; else the code of the refusal. */
  const publish = async (): Promise<number | undefined> => {
    try {
      last = (await js.publish('s', payload)).seq;
      return undefined;
    } catch (error) {
      return (error as { code?: number }).code ?? -1;
    }
  };
  const leaderOf = async (): Promise<Node | undefined> => {
    const info = await jsm.streams.info('S').catch(() => undefined);
    return nodes.find((node) => node.name === info?.cluster?.leader);
  };
  const isEverywhere = async (): Promise<boolean> => {
    const info = await jsm.streams.info('S').catch(() => undefined);
    const replicas = info?.cluster?.replicas ?? [];
    return (
      info?.state.last_seq === last &&
      replicas.length === 2 &&
      replicas.every((one) => one.current && !one.offline && !one.lag)
    );
  };
  await until('a publish', async () => (await publish()) === undefined);
  const leader = (await leaderOf()) as Node;
  const [first, second] = nodes.filter((node) => node !== leader);

  // One follower has no room: it is known, the stream goes on, and it gets nothing more.
  first.resize(LOW_MIB);
  await until('it is known', () => leader.stderr.includes('is nearly full: it gets nothing new'));
  const before = first.usedMib();
  for (let i = 0; i < 300; i++) expect(await publish()).toBeUndefined();
  expect(last * payload.length).toBeGreaterThan(29 * MIB);
  expect(first.usedMib() - before).toBeLessThan(4);
  expect(second.usedMib()).toBeGreaterThan(29);
  // It has room again, and catches up by itself.
  first.resize(ROOMY_MIB);
  await until('it has caught up', () => first.usedMib() > 29);
  await until('nobody lags', isEverywhere);

  // No majority has room: refused, with the error that says so; what gives space back is done.
  for (const node of [first, second]) node.resize(LOW_MIB + Math.ceil(node.usedMib()));
  await until('refused', async () => (await publish()) === INSUFFICIENT_STORAGE);
  for (let i = 0; i < 5; i++) expect(await publish()).toBe(INSUFFICIENT_STORAGE);
  expect((await jsm.streams.purge('S', { keep: 1 })).purged).toBeGreaterThan(250);
  expect((await jsm.streams.info('S')).state.messages).toBe(1);
  for (const node of [first, second]) node.resize(ROOMY_MIB);
  await until('accepted again', async () => (await publish()) === undefined);
  await until('all have it', isEverywhere);

  // What the stream itself filled, a purge gives back, and it goes on: nobody has to make room.
  const fill = () => Promise.all(Array.from({ length: BURST }, publish));
  await until('it has filled its disks', async () => (await fill()).includes(INSUFFICIENT_STORAGE), 60_000);
  expect((await jsm.streams.info('S')).state.bytes).toBeGreaterThan(FILLED_MIB * MIB);
  await jsm.streams.purge('S');
  await until('accepted after the purge', async () => (await publish()) === undefined, 40_000);
  for (const node of nodes) await until('its space is back', () => node.usedMib() < ROOMY_MIB - FILLED_MIB, 40_000);
  await until('all have it after the purge', isEverywhere);

  // A disk that is full at once: that node may end when it has something to write, the others go on. On a full disk it does not start, and
  // says why; it comes back with its space.
  const victim = (await leaderOf()) === second ? first : second;
  victim.resize(Math.ceil(victim.usedMib()));
  for (let i = 0; i < 20; i++) await until('the others go on', async () => (await publish()) === undefined);
  victim.server?.kill('SIGKILL');
  await until('it ended', () => !victim.isRunning());
  await until('the others still go on', async () => (await publish()) === undefined);
  victim.start();
  await until('it does not start', () => !victim.isRunning());
  expect(victim.stderr.trim().split('\n').at(-1)).toMatch(/no space left on device/i);
  victim.resize(ROOMY_MIB);
  victim.start();
  await until('it is back', isEverywhere, 40_000);
});
