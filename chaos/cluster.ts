// Three real processes that reach each other only through toxiproxy: a proxy for every ordered pair of nodes and one before each client
// port. Called by run.ts and deeds.ts. Invariant: gossip is off, so a node dials its configured proxies and nothing else; `accounts`
// shows it by counting bytes at both ends.
import type { Proxy as Toxi, Toxic } from 'toxiproxy-node-client';
import { freePorts, type NodePorts, Target, type Wiring } from '../test/conformance/target.ts';
import { accountsOf, type ByteAccount, type LinkBytes, proxyName } from './byte-accounts.ts';
import type { ToxiproxyServer } from './toxiproxy.ts';

export const NODES = [0, 1, 2] as const;
const SCRAPE_MS_MAX = 3000;
const SAMPLE_EVERY_MS = 2000;

/** Seen from a node: what leaves it, what reaches it. */
export type Way = 'out' | 'in' | 'both';

export interface ToxicSpec {
  type: 'latency' | 'bandwidth' | 'timeout' | 'reset_peer' | 'limit_data' | 'slicer';
  attributes: Record<string, number>;
}

/** One number per series of a metrics page. */
export type Metrics = ReadonlyMap<string, number>;

export class Cluster {
  readonly target: Target;
  /** Where clients connect: the proxies. */
  readonly clientUrls: string[] = [];
  readonly #toxiproxy: ToxiproxyServer;
  readonly #between = new Map<string, Toxi>();
  readonly #clients: Toxi[] = [];
  /** Link counters by node and process. */
  readonly #links = new Map<string, Map<number, LinkBytes>>();
  readonly #toxics = new Set<Toxic<unknown>>();
  #toxicsMade = 0;
  #sampler: NodeJS.Timeout | undefined;

  constructor(toxiproxy: ToxiproxyServer) {
    this.#toxiproxy = toxiproxy;
    this.target = new Target('flotilla', [], {}, (nodes) => this.#wire(nodes));
  }

  get names(): readonly string[] {
    return this.target.names;
  }

  async start(): Promise<void> {
    await this.target.start(NODES.length);
    this.#sampler = setInterval(() => {
      for (const node of NODES) void this.sampleLinks(node);
    }, SAMPLE_EVERY_MS);
  }

  async #wire(nodes: NodePorts[]): Promise<Wiring[]> {
    const { client, prefix } = this.#toxiproxy;
    const ports = await freePorts(nodes.length * nodes.length);
    const listen = (i: number, j: number): string => `127.0.0.1:${ports[i * nodes.length + j]}`;
    const wiring: Wiring[] = [];
    for (const [i, from] of nodes.entries()) {
      const routes: string[] = [];
      for (const [j, to] of nodes.entries()) {
        if (i === j) continue;
        const name = proxyName(from.name, to.name);
        const upstream = `127.0.0.1:${to.clusterPort}`;
        this.#between.set(name, await client.createProxy({ name: prefix + name, listen: listen(i, j), upstream }));
        routes.push(`nats://${listen(i, j)}`);
      }
      wiring.push({ routes, flags: ['--cluster_gossip=false', '--no_advertise'] });
      const upstream = `127.0.0.1:${from.port}`;
      this.#clients.push(
        await client.createProxy({ name: `${prefix}clients-${from.name}`, listen: listen(i, i), upstream }),
      );
      this.clientUrls.push(`nats://${listen(i, i)}`);
    }
    return wiring;
  }

  // ---- network faults

  /** On every connection between `node` and the others; `way` as that node sees it. */
  async poisonLinks(node: number, way: Way, toxic: ToxicSpec): Promise<void> {
    const name = this.names[node];
    for (const other of this.names) {
      if (other === name) continue;
      // A link uses one connection, whoever dialed it: both proxies of the pair are concerned, each in its own direction.
      const dialed = this.#between.get(proxyName(name, other))!;
      const accepted = this.#between.get(proxyName(other, name))!;
      if (way !== 'in') {
        await this.#poison(dialed, 'upstream', toxic);
        await this.#poison(accepted, 'downstream', toxic);
      }
      if (way !== 'out') {
        await this.#poison(dialed, 'downstream', toxic);
        await this.#poison(accepted, 'upstream', toxic);
      }
    }
  }

  async poisonClients(node: number, way: Way, toxic: ToxicSpec): Promise<void> {
    if (way !== 'in') await this.#poison(this.#clients[node], 'downstream', toxic);
    if (way !== 'out') await this.#poison(this.#clients[node], 'upstream', toxic);
  }

  async #poison(proxy: Toxi, stream: 'upstream' | 'downstream', { type, attributes }: ToxicSpec): Promise<void> {
    const name = `toxic${++this.#toxicsMade}`;
    this.#toxics.add(await proxy.addToxic({ name, type, stream, toxicity: 1, attributes }));
  }

  async healNetwork(): Promise<void> {
    const toxics = [...this.#toxics];
    this.#toxics.clear();
    await Promise.all(toxics.map((toxic) => toxic.remove()));
  }

  // ---- processes

  async kill(node: number): Promise<void> {
    await this.sampleLinks(node);
    await this.target.kill(node);
  }

  async stopNode(node: number): Promise<void> {
    await this.sampleLinks(node);
    await this.target.stopNode(node);
  }

  // ---- what nodes say of themselves

  /** Undefined: it does not answer now. */
  async metrics(node: number): Promise<Metrics | undefined> {
    try {
      const answer = await fetch(`${this.target.monitorUrls[node]}/metrics`, {
        signal: AbortSignal.timeout(SCRAPE_MS_MAX),
      });
      return seriesOf(await answer.text());
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      return undefined;
    }
  }

  async sampleLinks(node: number): Promise<void> {
    const pid = this.target.pid(node);
    if (pid === undefined) return;
    const metrics = await this.metrics(node);
    if (metrics === undefined || this.target.pid(node) !== pid) return;
    const name = this.names[node];
    let lives = this.#links.get(name);
    if (lives === undefined) this.#links.set(name, (lives = new Map()));
    const known = lives.get(pid);
    lives.set(pid, {
      in: Math.max(known?.in ?? 0, metrics.get('flotilla_link_bytes_total{direction="in"}') ?? 0),
      out: Math.max(known?.out ?? 0, metrics.get('flotilla_link_bytes_total{direction="out"}') ?? 0),
    });
  }

  /** Ends all links for good: a proxy counts a connection when it has ended. */
  async accounts(run: { faults: number; seconds: number }): Promise<ByteAccount[]> {
    clearInterval(this.#sampler);
    for (const [name, proxy] of this.#between) {
      const { listen, upstream } = proxy;
      this.#between.set(name, await proxy.update({ enabled: false, listen, upstream }));
    }
    await new Promise((resume) => setTimeout(resume, 1000));
    for (const node of NODES) await this.sampleLinks(node);
    const lives = new Map([...this.#links].map(([name, byPid]) => [name, [...byPid.values()]]));
    return accountsOf(this.names, lives, await this.#toxiproxy.carried(), run);
  }

  async stop(keep: boolean): Promise<void> {
    clearInterval(this.#sampler);
    await this.target.stop(keep);
    if (this.#toxiproxy.own) return;
    for (const proxy of [...this.#between.values(), ...this.#clients]) await proxy.remove();
  }
}

/** Without the label that names the node: it is known who was asked. */
export function seriesOf(page: string): Metrics {
  const series = new Map<string, number>();
  for (const line of page.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const space = line.lastIndexOf(' ');
    const name = line
      .slice(0, space)
      .replace(/,server="[^"]*"|server="[^"]*",?/, '')
      .replace('{}', '');
    series.set(name, Number(line.slice(space + 1)));
  }
  return series;
}
