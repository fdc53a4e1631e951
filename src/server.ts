// One server process: the node (node.ts) on a real machine, with its cluster links, client listener and monitoring port. Called by
// `flotilla server` and by tests in their own process (index.ts). Invariant: nothing below the data directory is touched before its
// lock is held, and an error at start leaves nothing running.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { createServer as createTcpServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { type Identity, loadIdentity } from '../cluster/host/identity.ts';
import { createLinks, type Links } from '../cluster/rpc/links.ts';
import { createSoloTransport } from '../cluster/rpc/solo-transport.ts';
import type { PeerInfo, Transport } from '../cluster/rpc/types.ts';
import { openLevelKv } from '../cluster/store/level-kv.ts';
import { createAuth, isOpen, staysAdmitted } from './auth/auth.ts';
import { createBroker } from './broker/broker.ts';
import type { Broker } from './broker/types.ts';
import { isLoopback, type ServerConfig } from './cli/server-config.ts';
import { createNodeEnv, type NodeEnv } from './kit/env-node.ts';
import { hmacSha256 } from './kit/hmac-node.ts';
import { type DataDirLock, lockDataDir } from './kit/lock.ts';
import { createNodeLog, type NodeLog } from './kit/log-node.ts';
import { nodeNet } from './kit/net-node.ts';
import { serverIdOf } from './kit/server-id.ts';
import { API_LEVEL, FORMAT_VERSION, NATS_VERSION } from './kit/version.ts';
import { type Monitoring, startMonitoring } from './monitoring/http.ts';
import { type BrokerNode, createNode, durableIdentity, type NodeOptions, WAL_DIR } from './node.ts';
import { nodeViewOf } from './node-view.ts';
import { createNatsFront, type NatsFront } from './protocols/nats/front.ts';

/** How long a node that stops waits for the answers to what its clients published. */
const ANSWERS_MS_MAX = 250;
const ANSWERS_POLL_MS = 2;

/** A start that failed for a reason the operator can act on. One line. */
export class StartError extends Error {}

export interface StartedServer {
  readonly name: string;
  readonly clientUrl: string;
  /** '' without a monitoring port. */
  readonly monitorUrl: string;
  /** '' without a cluster listener. */
  readonly clusterUrl: string;
  readonly node: BrokerNode | undefined;
  readonly log: NodeLog;
  /** Takes over what of a new configuration can change while it runs. */
  reload(config: ServerConfig): void;
  /** Stops accepting, tells clients, hands leaderships over, closes connections over time. */
  lameDuck(): Promise<void>;
  /** Hands leaderships over, closes everything. */
  close(): Promise<void>;
}

export async function startServer(config: ServerConfig): Promise<StartedServer> {
  const log = openLog(config);
  const dataDir = resolve(config.storeDir, 'jetstream');
  await portsFree(config);
  const lock = config.jetstream ? takeDirectory(dataDir) : undefined;
  const server = new Server(config, dataDir, lock, log);
  try {
    await server.start();
    return server;
  } catch (error) {
    await server.close();
    throw error;
  }
}

function openLog({ debug, logFile }: ServerConfig): NodeLog {
  try {
    return createNodeLog({ level: debug ? 'debug' : 'info', file: logFile });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    throw new StartError(`could not open the log file ${logFile}: ${error.message}`);
  }
}

/** A look before anything is made: a port that is taken leaves no trace on disk. */
async function portsFree({ host, port, http, cluster }: ServerConfig): Promise<void> {
  const wanted = [
    { what: 'port', host, port },
    { what: 'monitoring port', ...http },
    { what: 'cluster port', host: cluster?.host, port: cluster?.port },
  ];
  for (const each of wanted) {
    if (!each.port) continue;
    await bound(`${each.what}: ${each.host}:${each.port}`, (done) => {
      const probe = createTcpServer();
      probe.once('error', done);
      probe.listen(each.port, each.host, () => probe.close(() => done(null)));
    });
  }
}

/** Step by step: Node's recursive mkdir never returns where making a directory answers ENOENT, as /proc does. */
function makeDirectories(dir: string): void {
  const missing: string[] = [];
  for (let path = dir; statSync(path, { throwIfNoEntry: false }) === undefined; path = dirname(path))
    missing.push(path);
  if (missing.length === 0 && !statSync(dir).isDirectory()) {
    throw Object.assign(new Error('not a directory'), { code: 'ENOTDIR' });
  }
  for (const path of missing.reverse()) if (!existsSync(path)) mkdirSync(path);
}

function addressText(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function takeDirectory(dir: string): DataDirLock {
  try {
    makeDirectories(dir);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const { code } = error as NodeJS.ErrnoException;
    const isFile = code === 'EEXIST' || code === 'ENOTDIR';
    throw new StartError(
      isFile
        ? `storage directory is not a directory: ${dir}`
        : `could not create storage directory ${dir}: ${error.message}`,
    );
  }
  try {
    return lockDataDir(dir);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const { code } = error as NodeJS.ErrnoException;
    throw new StartError(code ? `storage directory ${dir} is not writable: ${error.message}` : error.message);
  }
}

class Server implements StartedServer {
  readonly name: string;
  readonly log: NodeLog;
  clientUrl = '';
  monitorUrl = '';
  clusterUrl = '';
  node: BrokerNode | undefined;
  #config: ServerConfig;
  readonly #env: NodeEnv;
  readonly #lock: DataDirLock | undefined;
  #serverId = '';
  readonly #startUs: number;
  #identity: Identity | undefined;
  #links: Links | undefined;
  #broker: Broker | undefined;
  #front: NatsFront | undefined;
  #monitoring: Monitoring | undefined;
  #closing: Promise<void> | undefined;

  constructor(config: ServerConfig, dataDir: string, lock: DataDirLock | undefined, log: NodeLog) {
    this.#config = config;
    this.name = config.name;
    this.log = log;
    this.#lock = lock;
    this.#env = createNodeEnv({
      dataDir,
      log,
      openKv: (dir, done) => openLevelKv(dir, this.#env, done),
    });
    this.#startUs = this.#env.clock.wallUs();
  }

  async start(): Promise<void> {
    const { jetstream, cluster } = this.#config;
    if (jetstream) this.#identity = this.#loadIdentity();
    const self = this.#self();
    const bootId = this.#env.random.uint32();
    this.#serverId = serverIdOf(self.id, bootId);
    const transport: Transport = cluster ? this.#createLinks(self, bootId) : createSoloTransport(self);
    if (jetstream) {
      this.node = this.#createNode({
        env: this.#env,
        transport,
        bootId,
        identity: durableIdentity(this.#env, this.#identity!, (clusterId) => this.#links?.setClusterId(clusterId)),
        expectedNodes: () => this.#links?.expectedNodes ?? 1,
        clustered: cluster !== undefined,
        clusterName: cluster?.name,
        defaultReplicas: this.#config.defaultReplicas,
        openAdministration: () => isOpen(this.#config.auth),
      });
      this.#broker = this.node.broker;
    } else {
      this.#broker = createBroker({ env: this.#env, transport, self: self.id });
    }
    this.#createFront();
    await this.#listen();
    this.#tellTopology(transport);
    this.node?.start();
    const { host, http } = this.#config;
    if (http) this.log.info(`Starting http monitor on ${addressText(http.host, this.#monitoring!.port)}`);
    this.log.info(`Listening for client connections on ${addressText(host, this.#front!.address.port)}`);
    if (cluster) this.log.info(`Listening for route connections on ${addressText(cluster.host, this.#links!.port)}`);
    this.log.info('Server is ready');
  }

  #loadIdentity(): Identity {
    try {
      return loadIdentity(this.#env, this.name, [WAL_DIR]).identity;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      throw new StartError(error.message);
    }
  }

  #createNode(options: NodeOptions): BrokerNode {
    try {
      return createNode(options);
    } catch (error) {
      // Anything but a plain Error is a fault of the program and keeps its stack.
      if (!(error instanceof Error) || error.name !== 'Error') throw error;
      throw new StartError(`could not open the data directory: ${error.message}`);
    }
  }

  #self(): PeerInfo {
    const { cluster, http, host, port, clientAdvertise } = this.#config;
    const reachable = clientAdvertise?.host ?? reachableAt(host);
    const clusterHost = cluster && isAny(cluster.host) ? reachable : cluster?.host;
    return {
      id: this.#identity?.incarnation ?? randomIncarnation(),
      name: this.name,
      clientUrl: `${reachable}:${clientAdvertise?.port ?? port}`,
      clusterUrl: cluster ? (cluster.advertise ?? `${clusterHost}:${cluster.port}`) : '',
      monitorUrl: http ? `${reachable}:${http.port}` : '',
    };
  }

  #createLinks(self: PeerInfo, bootId: number): Links {
    const cluster = this.#config.cluster!;
    this.#links = createLinks({
      env: this.#env,
      net: nodeNet,
      hmac: hmacSha256,
      self,
      listen: { host: cluster.host, port: cluster.port },
      routes: cluster.routes,
      clusterName: cluster.name,
      clusterId: this.#identity?.clusterId ?? '',
      secret: cluster.secret,
      formatVersion: FORMAT_VERSION,
      bootId,
      gossip: cluster.gossip,
    });
    return this.#links;
  }

  #createFront(): void {
    const { host, port, auth, cluster, jetstream, limits } = this.#config;
    this.#front = createNatsFront({
      env: this.#env,
      net: nodeNet,
      broker: this.#broker!,
      listen: { host, port },
      auth: createAuth(auth),
      limits,
      info: () => {
        const own = this.#ownClientUrl();
        return {
          server_id: this.#serverId,
          server_name: this.name,
          version: NATS_VERSION,
          go: `node ${process.version}`,
          jetstream,
          api_lvl: API_LEVEL,
          cluster: cluster?.name,
          connect_urls: cluster && !cluster.noAdvertise ? this.#connectUrls() : undefined,
          own_urls: [own],
        };
      },
    });
  }

  #connectUrls(): string[] {
    return this.#links ? [this.#ownClientUrl(), ...this.#links.peers().map((peer) => peer.clientUrl)] : [];
  }

  /** What clients are told of this node. */
  #ownClientUrl(): string {
    const { clientAdvertise } = this.#config;
    return clientAdvertise ? `${clientAdvertise.host}:${clientAdvertise.port}` : this.#localClientUrl();
  }

  #localClientUrl(): string {
    const { host, port } = this.#config;
    return `${reachableAt(host)}:${this.#front?.address.port || port}`;
  }

  /** Clients first: a port that is taken ends the start before any peer has heard of this node. */
  async #listen(): Promise<void> {
    const { host, port, http, cluster, clientAdvertise } = this.#config;
    await bound(`port: ${host}:${port}`, (done) => this.#front!.start(done));
    this.clientUrl = `nats://${this.#localClientUrl()}`;
    if (http) {
      try {
        this.#monitoring = await startMonitoring(http.host, http.port, this.#view(), {
          seriesMax: this.#config.metricsSeriesMax,
        });
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        throw new StartError(`Error listening on monitoring port: ${http.host}:${http.port}, ${plain(error)}`);
      }
      this.monitorUrl = `http://${reachableAt(http.host)}:${this.#monitoring.port}`;
    }
    if (cluster && this.#links) {
      const links = this.#links;
      links.self.clientUrl = this.#ownClientUrl();
      if (this.#monitoring) {
        const monitorHost = clientAdvertise?.host ?? reachableAt(http!.host);
        links.self.monitorUrl = `${monitorHost}:${this.#monitoring.port}`;
      }
      if (isAny(host) && !clientAdvertise && !isLoopback(cluster.host))
        this.log.warn('clients are told 127.0.0.1 as an address of this node: set --client_advertise host:port');
      await bound(`cluster port: ${cluster.host}:${cluster.port}`, (done) => links.listen(done));
      this.clusterUrl = links.self.clusterUrl;
    }
  }

  #view(): ReturnType<typeof nodeViewOf> {
    const { host, http, cluster, storeDir, jetstream } = this.#config;
    const config = (): ServerConfig => this.#config;
    return nodeViewOf({
      identity: {
        serverId: this.#serverId,
        serverName: this.name,
        host,
        port: this.#front!.address.port,
        httpHost: http?.host ?? '',
        httpPort: http?.port ?? 0,
        clusterName: cluster?.name,
        clusterHost: cluster?.host ?? '',
        clusterPort: cluster?.port ?? 0,
        get authRequired() {
          return createAuth(config().auth).required;
        },
        get limits() {
          return config().limits;
        },
        storeDir: join(storeDir, 'jetstream'),
        jetstream,
        startUs: this.#startUs,
      },
      env: this.#env,
      front: this.#front!,
      broker: this.#broker!,
      node: this.node,
      peers: () => this.#links?.peers() ?? [],
      links: () => this.#links?.stats,
      linkConnections: () => this.#links?.connections() ?? [],
      connectUrls: () => this.#connectUrls(),
    });
  }

  #tellTopology(transport: Transport): void {
    transport.onPeerUp(() => this.#front?.updateInfo());
    transport.onPeerDown(() => this.#front?.updateInfo());
  }

  reload(config: ServerConfig): void {
    const before = this.#config.auth;
    this.#config = config;
    this.log.setLevel(config.debug ? 'debug' : 'info');
    this.#front!.reload(createAuth(config.auth), config.limits, (who) => staysAdmitted(before, config.auth, who));
  }

  async lameDuck(): Promise<void> {
    // Whoever leads something here hands it over while clients still find it.
    this.node?.drain(() => undefined);
    const { lameDuckGraceMs, lameDuckMs } = this.#config;
    await new Promise<void>((done) => this.#front!.lameDuck(lameDuckGraceMs, lameDuckMs, done));
    await this.close();
  }

  /** Whoever asks again waits for the same end. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    // Clients keep being served until every leadership has been handed over; then they are sent away, with the answers to what they published;
    // then the log closes.
    const node = this.node;
    const front = this.#front;
    front?.announceEnd();
    if (node) await new Promise<void>((done) => node.drain(done));
    front?.hush();
    if (node) await answered(node.publishRouter);
    if (front) await new Promise<void>((done) => front.close(done));
    if (node) await new Promise<void>((done) => node.close(done));
    const links = this.#links;
    if (links) await new Promise<void>((done) => links.close(done));
    await this.#monitoring?.close();
    // A write still under way would land in a directory that belongs to another process by now, or to nobody.
    await new Promise<void>((done) => this.#env.whenDiskIdle(done));
    this.#lock?.release();
    this.log.close();
  }
}

/** Nobody publishes any more: until all have their answer, or for a moment. */
async function answered(router: { readonly waiting: number }): Promise<void> {
  for (let waitedMs = 0; router.waiting > 0 && waitedMs < ANSWERS_MS_MAX; waitedMs += ANSWERS_POLL_MS)
    await new Promise((resume) => setTimeout(resume, ANSWERS_POLL_MS));
}

function bound(what: string, start: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolveBound, reject) => {
    start((error) => {
      if (error) reject(new StartError(`Error listening on ${what}, ${plain(error)}`));
      else resolveBound();
    });
  });
}

function isAny(host: string): boolean {
  return host === '0.0.0.0' || host === '::';
}

/** Where a listener on `host` is found from this machine. */
function reachableAt(host: string): string {
  return isAny(host) ? '127.0.0.1' : host;
}

function plain(error: Error): string {
  return (error as NodeJS.ErrnoException).code === 'EADDRINUSE' ? 'address already in use' : error.message;
}

/** Without a data directory a node is a new one at each start. */
function randomIncarnation(): number {
  return randomBytes(6).readUIntBE(0, 6) || 1;
}
