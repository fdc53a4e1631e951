// What the suite runs against: N nodes of Flotilla or of nats-server on 127.0.0.1, started with the same flags and
// seen only through sockets. Called by global-setup (the shared cluster) and by tests that kill nodes (own clusters).
// Invariant: every process started here is stopped here, by its own handle; ports and directories are fresh per target.

import { type ChildProcess, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { runtimeEnv, V8_FLAGS } from '../../src/cli/runtime.mjs';
import { spawnOwned } from './child.ts';
import { RawClient } from './raw.ts';

export type TargetKind = 'flotilla' | 'nats-server';

const NATS_SERVER_MODULE = 'github.com/nats-io/nats-server/v2@v2.15.2';
const READY_WITHIN_MS = 90_000;
const STDERR_KEPT = 64 * 1024;

export function targetKind(): TargetKind {
  return process.env['CONFORMANCE_AGAINST'] === 'nats-server' ? 'nats-server' : 'flotilla';
}

/** How one node is told to reach the others. */
export interface Wiring {
  routes: string[];
  flags: string[];
}

export interface NodePorts {
  name: string;
  port: number;
  clusterPort: number;
}

interface Node {
  name: string;
  args: string[];
  process: ChildProcess | undefined;
  stderr: string;
}

export class Target {
  readonly kind: TargetKind;
  /** `nats://127.0.0.1:port` per node. */
  readonly urls: string[] = [];
  readonly monitorUrls: string[] = [];
  readonly names: string[] = [];
  readonly clusterName = 'conformance';
  private readonly nodes: Node[] = [];
  readonly dir = mkdtempSync(join(tmpdir(), 'conformance-'));
  private readonly extra: string[];
  private readonly credentials: object;
  private readonly wire: ((nodes: NodePorts[]) => Promise<Wiring[]>) | undefined;

  /** `credentials`: fields of CONNECT that the flags make necessary. `wire`: per node, when they do not reach each other directly. */
  constructor(
    kind: TargetKind,
    extraFlags: string[] = [],
    credentials: object = {},
    wire?: (nodes: NodePorts[]) => Promise<Wiring[]>,
  ) {
    this.kind = kind;
    this.extra = extraFlags;
    this.credentials = credentials;
    this.wire = wire;
  }

  /** Starts `count` nodes (a cluster when more than one) and waits until JetStream serves on all of them. */
  async start(count: number): Promise<void> {
    const ports = await freePorts(count * 3);
    const direct = Array.from({ length: count }, (_, i) => `nats://127.0.0.1:${ports[i * 3 + 1]}`);
    const known = direct.map((_, i) => ({ name: `node${i + 1}`, port: ports[i * 3], clusterPort: ports[i * 3 + 1] }));
    const wiring = await this.wire?.(known);
    for (let i = 0; i < count; i++) {
      const [port, clusterPort, monitorPort] = ports.slice(i * 3, i * 3 + 3);
      const name = `node${i + 1}`;
      const args = ['-a', '127.0.0.1', '-p', String(port), '-m', String(monitorPort), '-n', name];
      args.push('-js', '-sd', join(this.dir, name), ...this.extra);
      if (count > 1) {
        args.push('--cluster_name', this.clusterName, '--cluster', `nats://127.0.0.1:${clusterPort}`);
        args.push('--routes', (wiring?.[i].routes ?? direct).join(','), ...(wiring?.[i].flags ?? []));
      }
      this.names.push(name);
      this.urls.push(`nats://127.0.0.1:${port}`);
      this.monitorUrls.push(`http://127.0.0.1:${monitorPort}`);
      this.nodes.push({ name, args, process: undefined, stderr: '' });
    }
    for (let i = 0; i < count; i++) this.spawn(i);
    await this.ready();
  }

  port(i: number): number {
    return Number(new URL(this.urls[i]).port);
  }

  /** Where node `i` listens for other nodes. */
  clusterPort(i: number): number {
    const { args } = this.nodes[i];
    return Number(new URL(args[args.indexOf('--cluster') + 1]).port);
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(i: number): Promise<void> {
    await stopProcess(this.nodes[i].process, 'SIGKILL');
    this.nodes[i].process = undefined;
  }

  /** SIGTERM; resolves when the process is gone. */
  async stopNode(i: number): Promise<void> {
    await stopProcess(this.nodes[i].process, 'SIGTERM');
    this.nodes[i].process = undefined;
  }

  dataDir(i: number): string {
    return join(this.dir, this.nodes[i].name);
  }

  signal(i: number, signal: NodeJS.Signals): void {
    this.nodes[i].process?.kill(signal);
  }

  /** Starts a stopped node without waiting for it. */
  launch(i: number): void {
    this.spawn(i);
  }

  pid(i: number): number | undefined {
    return this.nodes[i].process?.pid;
  }

  /** Largest peak resident memory of the running nodes, in MB. */
  maxRssMb(): number {
    const peaks = this.nodes.map((node) => {
      if (node.process?.pid === undefined) return 0;
      const kb = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${node.process.pid}/status`, 'utf8'))?.[1];
      return Math.round(Number(kb) / 1024);
    });
    return Math.max(...peaks);
  }

  /**
   * How long the running nodes have been ready to run and were not given a processor, one after the other, in ms: what a busy machine adds
   * to whatever takes time. 0 where the system does not tell.
   */
  waitedForCpuMs(): number {
    return this.nodes.reduce((sum, { process: child }) => {
      const file = `/proc/${child?.pid}/schedstat`;
      return existsSync(file) ? sum + Number(readFileSync(file, 'utf8').split(' ')[1]) / 1e6 : sum;
    }, 0);
  }

  /** Starts a killed node again on its directory and ports, and waits until it serves. */
  async restart(i: number): Promise<void> {
    this.spawn(i);
    await this.ready();
  }

  /** `keep`: the data directories stay, as evidence. */
  async stop(keep = false): Promise<void> {
    await Promise.all(this.nodes.map((node) => stopProcess(node.process, 'SIGKILL')));
    if (!keep) rmSync(this.dir, { recursive: true, force: true });
  }

  /** What the nodes wrote to stderr; for failure reports. */
  logs(): string {
    return this.nodes.map((node) => `--- ${node.name}\n${node.stderr}`).join('\n');
  }

  private spawn(i: number): void {
    const node = this.nodes[i];
    const [command, leading] = commandOf(this.kind);
    const child = spawnOwned(command, [...leading, ...node.args], {
      env: runtimeEnv(process.env),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      node.stderr = (node.stderr + chunk.toString()).slice(-STDERR_KEPT);
    });
    node.process = child;
  }

  private async probe(port: number, subject: string, body: string): Promise<string> {
    const client = await RawClient.connect(port);
    try {
      const options = { verbose: false, headers: true, no_responders: true, ...this.credentials };
      client.send(`CONNECT ${JSON.stringify(options)}\r\nSUB probe 1\r\n`);
      client.send(`PUB ${subject} probe ${Buffer.byteLength(body)}\r\n${body}\r\n`);
      return await client.until(/H?MSG probe .*\r\n[\s\S]*\r\n/, 3_000);
    } finally {
      client.close();
    }
  }

  /** All running nodes know each other: a stream with a replica on each can be created through any of them. */
  async ready(withinMs = READY_WITHIN_MS): Promise<void> {
    const deadline = performance.now() + withinMs;
    const running = this.nodes.flatMap((node, i) => (node.process ? [i] : []));
    const body = JSON.stringify({
      name: 'READY_PROBE',
      subjects: ['ready.probe'],
      num_replicas: this.nodes.length > 1 ? Math.min(3, this.nodes.length) : 1,
    });
    let last = 'nothing';
    for (;;) {
      const dead = this.nodes.find((node) => node.process && node.process.exitCode !== null);
      const late = performance.now() > deadline;
      if (dead || late) throw new Error(`target not ready (last: ${last})\n${this.logs()}`);
      try {
        for (const i of running) {
          last = await this.probe(this.port(i), '$JS.API.STREAM.CREATE.READY_PROBE', body);
          if (last.includes('"error"')) throw new Error(last);
        }
        last = await this.probe(this.port(running[0]), '$JS.API.STREAM.DELETE.READY_PROBE', '');
        if (last.includes('"success":true')) return;
      } catch (error) {
        last = String(error);
        await new Promise((go) => setTimeout(go, 100));
      }
    }
  }
}

function commandOf(kind: TargetKind): [string, string[]] {
  if (kind === 'nats-server') return [natsServerBinary(), []];
  return [process.execPath, [...V8_FLAGS, resolve(import.meta.dirname, '../../src/cli/main.ts'), 'server']];
}

/** On PATH, in Go's bin directory, or installed there from a pinned version. */
function natsServerBinary(): string {
  const onPath = (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((dir) => join(dir, 'nats-server'))
    .find(existsSync);
  if (onPath) return onPath;
  const inGo = join(execFileSync('go', ['env', 'GOPATH'], { encoding: 'utf8' }).trim(), 'bin', 'nats-server');
  if (!existsSync(inGo)) execFileSync('go', ['install', NATS_SERVER_MODULE], { stdio: 'inherit' });
  return inGo;
}

function stopProcess(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  return new Promise((done) => {
    if (!child || child.exitCode !== null || child.signalCode !== null) return done();
    child.once('exit', () => done());
    child.kill(signal);
  });
}

/** Where the ports begin that the system gives to whoever asks for any, clients among them; Linux says it, others begin higher. */
function firstEphemeral(): number {
  const file = '/proc/sys/net/ipv4/ip_local_port_range';
  return existsSync(file) ? Number.parseInt(readFileSync(file, 'utf8'), 10) : 32_768;
}

/**
 * Ports that were free a moment ago, all distinct because all are held until the last one is known, and below those that another program may
 * be given before they are bound again: at the start of a node, or while it is killed.
 */
export async function freePorts(count: number): Promise<number[]> {
  const from = 10_000;
  const below = firstEphemeral();
  const servers: Server[] = [];
  for (let attempts = 0; servers.length < count; attempts++) {
    if (attempts > 100 * count) throw new Error(`no ${count} free ports from ${from} to ${below}`);
    // Where nearly all are given to anybody, so are these.
    const port = below - from >= 1_000 ? from + Math.floor(Math.random() * (below - from)) : 0;
    const server = createServer();
    const isFree = await new Promise<boolean>((done) => {
      server.once('error', () => done(false)).listen(port, '127.0.0.1', () => done(true));
    });
    if (isFree) servers.push(server);
  }
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}
