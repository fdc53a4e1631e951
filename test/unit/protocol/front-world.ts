// A NATS front of one node on a real port, and a raw client that speaks the protocol by hand.
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { createLinks, type Links } from '../../../cluster/rpc/links.ts';
import type { Transport } from '../../../cluster/rpc/types.ts';
import { type AuthConfig, createAuth } from '../../../src/auth/auth.ts';
import { createBroker } from '../../../src/broker/broker.ts';
import type { Broker } from '../../../src/broker/types.ts';
import type { Env } from '../../../src/kit/env.ts';
import { createNodeEnv } from '../../../src/kit/env-node.ts';
import { hmacSha256 } from '../../../src/kit/hmac-node.ts';
import { createNodeLog } from '../../../src/kit/log-node.ts';
import { nodeNet } from '../../../src/kit/net-node.ts';
import { createNatsFront, type NatsFront } from '../../../src/protocols/nats/front.ts';
import type { InfoFields } from '../../../src/protocols/nats/info.ts';
import type { NatsLimits } from '../../../src/protocols/nats/limits.ts';

export interface World {
  front: NatsFront;
  broker: Broker;
  port: number;
  info: InfoFields;
}

/** What a front says by itself, because time passes, stands in no exact frame of a test; one that is about it asks for it. */
const PATIENT = {
  firstPingMs: 3_600_000,
  pingIntervalMs: 3_600_000,
  authTimeoutMs: 3_600_000,
  writeDeadlineMs: 3_600_000,
};

const log = createNodeLog({ level: 'error' });
const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

export interface FrontOptions {
  auth?: AuthConfig;
  limits?: Partial<NatsLimits>;
}

/** One front; with `transport` a node of a cluster. */
export async function startFront(
  options: FrontOptions & { transport?: (env: Env) => Promise<Transport> } = {},
): Promise<World> {
  const dataDir = mkdtempSync(join(tmpdir(), 'front-'));
  const env = createNodeEnv({ dataDir, log });
  const transport = await options.transport?.(env);
  const broker = createBroker({ env, transport, self: transport?.self.id ?? 1 });
  const info: InfoFields = { server_id: 'NTEST', server_name: 'n1', version: '2.14.0', jetstream: false, api_lvl: 4 };
  const front = createNatsFront({
    env,
    net: nodeNet,
    broker,
    listen: { host: '127.0.0.1', port: 0 },
    info: () => info,
    auth: createAuth(options.auth),
    limits: { ...PATIENT, ...options.limits },
  });
  await new Promise<void>((resolve, reject) => front.start((error) => (error === null ? resolve() : reject(error))));
  cleanups.push(async () => {
    await new Promise<void>((done) => front.close(done));
    rmSync(dataDir, { recursive: true, force: true });
  });
  return { front, broker, port: front.address.port, info };
}

/** Brokers and fronts joined by real links; returns when every node is linked to every other. */
export async function startCluster(size: number): Promise<(World & { links: Links })[]> {
  const nodes: (World & { links: Links })[] = [];
  for (let id = 1; id <= size; id++) {
    let links: Links | undefined;
    const world = await startFront({
      transport: async (env) => {
        links = createLinks({
          env,
          net: nodeNet,
          hmac: hmacSha256,
          self: { id, name: `n${id}`, clientUrl: '', clusterUrl: '127.0.0.1:0', monitorUrl: '' },
          listen: { host: '127.0.0.1', port: 0 },
          routes: nodes.map((node) => `127.0.0.1:${node.links.port}`),
          clusterName: 'test',
          clusterId: '',
          secret: '',
          formatVersion: 1,
          bootId: id,
        });
        const opened = links;
        await new Promise<void>((resolve, reject) => opened.listen((error) => (error ? reject(error) : resolve())));
        cleanups.push(() => new Promise<void>((done) => opened.close(done)));
        return opened;
      },
    });
    nodes.push({ ...world, links: links! });
  }
  while (nodes.some((node) => node.links.peers().length < size - 1)) await new Promise((next) => setTimeout(next, 5));
  return nodes;
}

export const QUIET = 'CONNECT {"verbose":false,"pedantic":false,"protocol":1,"headers":true,"no_responders":true}\r\n';

/** Everything that a raw connection received, as latin1, and waiting for more of it. */
export class RawClient {
  readonly socket: Socket;
  text = '';
  bytes = 0;
  closed = false;
  /** Keeps what arrives; off for floods. */
  keep = true;
  #wake: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.bytes += chunk.length;
      if (this.keep) this.text += chunk.toString('latin1');
      this.#tell();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      this.#tell();
    });
    cleanups.push(() => void socket.destroy());
  }

  static async open(port: number, hello = ''): Promise<RawClient> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true });
    const client = new RawClient(socket);
    await client.until((text) => text.includes('\r\n') || client.closed);
    if (hello !== '') await client.say(hello);
    return client;
  }

  write(text: string | Uint8Array): void {
    this.socket.write(typeof text === 'string' ? Buffer.from(text, 'utf8') : text);
  }

  /** Writes, and waits until everything before the PING has had its effect. */
  async say(text: string): Promise<void> {
    const pongs = this.text.split('PONG\r\n').length;
    this.write(`${text}PING\r\n`);
    await this.until((all) => all.split('PONG\r\n').length > pongs || this.closed);
  }

  async until(enough: (text: string) => boolean): Promise<void> {
    while (!enough(this.text)) await new Promise<void>((wake) => this.#wake.push(wake));
  }

  async end(): Promise<void> {
    while (!this.closed) await new Promise<void>((wake) => this.#wake.push(wake));
  }

  /** What came since the last call, without INFO and PONG. */
  take(): string {
    const text = this.text.replace(/INFO [^\n]*\n|PONG\r\n/g, '');
    this.text = '';
    return text;
  }

  get infos(): Record<string, unknown>[] {
    return [...this.text.matchAll(/INFO (\{.*\})/g)].map((match) => JSON.parse(match[1]) as Record<string, unknown>);
  }

  #tell(): void {
    const wake = this.#wake;
    this.#wake = [];
    for (const fn of wake) fn();
  }
}
