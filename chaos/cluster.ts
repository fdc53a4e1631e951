// Three real processes that reach each other only through toxiproxy: a proxy for every ordered pair of nodes and one before each client
// port. Called by run.ts and deeds.ts. Invariants: gossip is off, so a node dials its configured proxies and nothing else, and `accounts`
// shows it by counting bytes at both ends; every proxy between nodes has its room, without which it would not count all of them.
import { setTimeout as pause } from 'node:timers/promises';
import type { Proxy as Toxi, Toxic } from 'toxiproxy-node-client';
import { freePorts, type NodePorts, Target, type Wiring } from '../test/conformance/target.ts';
import { accountsOf, type ByteAccount, type LinkCounts, proxyName } from './byte-accounts.ts';
import type { ToxiproxyServer } from './toxiproxy.ts';

export const NODES = [0, 1, 2] as const;
const SCRAPE_MS_MAX = 3000;
const SAMPLE_EVERY_MS = 2000;
const COUNTED_MS_MAX = 5000;
const COUNTED_EVERY_MS = 200;
const UNSEEN: LinkCounts = { in: 0, out: 0, downs: 0, unseenMs: 0 };
/** Between the end of a toxic that cuts and the next change of the same proxy. */
const CUT_MS = 50;

/** Toxiproxy counts what it took from a connection when its reader comes to the connection's end. A reader hands each piece on and waits
 * until it is taken; when a toxic has cut the way, or its other end is dead, nobody takes it any more, and the reader waits for ever. No
 * latency at all, but a toxic with room for 1,024 pieces: enough for a reader to come to the end, which follows within a second. */
const ROOM: ToxicSpec = { type: 'latency', attributes: { latency: 0, jitter: 0 } };

/** Of a proxy, seen from whoever dialed it. */
const STREAMS = ['upstream', 'downstream'] as const;
type Stream = (typeof STREAMS)[number];

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
  /** Per node: its processes by their ids, and when one of them was last asked for its counters. */
  readonly #lives = NODES.map(() => new Map<number, LinkCounts>());
  readonly #seenAt = NODES.map(() => performance.now());
  /** By proxy and stream. */
  readonly #rooms = new Map<string, Toxic<unknown>>();
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
        const proxy = await client.createProxy({ name: prefix + name, listen: listen(i, j), upstream });
        this.#between.set(name, proxy);
        for (const stream of STREAMS) await this.#makeRoom(proxy, stream);
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

  /** On every connection between `node` and the others; `way` as that node sees it. `heal` takes what this returns. */
  async poisonLinks(node: number, way: Way, toxic: ToxicSpec): Promise<Toxic<unknown>[]> {
    const name = this.names[node];
    const made: Toxic<unknown>[] = [];
    for (const other of this.names) {
      if (other === name) continue;
      // A link uses one connection, whoever dialed it: both proxies of the pair are concerned, each in its own direction.
      const dialed = this.#between.get(proxyName(name, other))!;
      const accepted = this.#between.get(proxyName(other, name))!;
      if (way !== 'in') {
        made.push(await this.#poison(dialed, 'upstream', toxic), await this.#poison(accepted, 'downstream', toxic));
      }
      if (way !== 'out') {
        made.push(await this.#poison(dialed, 'downstream', toxic), await this.#poison(accepted, 'upstream', toxic));
      }
    }
    return made;
  }

  async poisonClients(node: number, way: Way, toxic: ToxicSpec): Promise<Toxic<unknown>[]> {
    const proxy = this.#clients[node];
    const made: Toxic<unknown>[] = [];
    if (way !== 'in') made.push(await this.#poison(proxy, 'downstream', toxic));
    if (way !== 'out') made.push(await this.#poison(proxy, 'upstream', toxic));
    return made;
  }

  async #poison(proxy: Toxi, stream: Stream, { type, attributes }: ToxicSpec): Promise<Toxic<unknown>> {
    const name = `toxic${++this.#toxicsMade}`;
    const room = type === 'bandwidth' ? this.#rooms.get(`${proxy.name} ${stream}`) : undefined;
    // Before the room: behind it nobody would feel that the way is narrow.
    await room?.remove();
    const toxic = await proxy.addToxic({ name, type, stream, toxicity: 1, attributes });
    if (room) await this.#makeRoom(proxy, stream);
    return toxic;
  }

  async #makeRoom(proxy: Toxi, stream: Stream): Promise<void> {
    const name = `room${++this.#toxicsMade}`;
    this.#rooms.set(`${proxy.name} ${stream}`, await proxy.addToxic({ name, stream, toxicity: 1, ...ROOM }));
  }

  /** What came last on a proxy must go first: a toxic behind one that has cut a connection cannot be taken out. */
  async heal(toxics: readonly Toxic<unknown>[]): Promise<void> {
    await Promise.all(toxics.map((toxic) => toxic.remove()));
    await pause(CUT_MS);
  }

  // ---- processes

  async kill(node: number): Promise<void> {
    await this.#endedBy(node, () => this.target.kill(node));
  }

  async stopNode(node: number): Promise<void> {
    await this.#endedBy(node, () => this.target.stopNode(node));
  }

  /** A process takes with it what it counted since it was last asked. */
  async #endedBy(node: number, end: () => Promise<void>): Promise<void> {
    await this.sampleLinks(node);
    const pid = this.target.pid(node);
    await end();
    if (pid === undefined) return;
    const unseenMs = performance.now() - this.#seenAt[node];
    this.#lives[node].set(pid, { ...(this.#lives[node].get(pid) ?? UNSEEN), unseenMs });
    this.#seenAt[node] = performance.now();
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
    const askedAt = performance.now();
    const metrics = await this.metrics(node);
    if (metrics === undefined || this.target.pid(node) !== pid) return;
    const known = this.#lives[node].get(pid) ?? UNSEEN;
    const most = (before: number, series: string): number => Math.max(before, metrics.get(series) ?? 0);
    this.#lives[node].set(pid, {
      in: most(known.in, 'flotilla_link_bytes_total{direction="in"}'),
      out: most(known.out, 'flotilla_link_bytes_total{direction="out"}'),
      downs: most(known.downs, 'flotilla_link_changes_total{change="down"}'),
      unseenMs: 0,
    });
    this.#seenAt[node] = askedAt;
  }

  /** Ends all links for good: a proxy counts a connection when it has ended. */
  async accounts(seconds: number): Promise<ByteAccount[]> {
    clearInterval(this.#sampler);
    for (const [name, proxy] of this.#between) {
      const { listen, upstream } = proxy;
      this.#between.set(name, await proxy.update({ enabled: false, listen, upstream }));
    }
    const deadline = performance.now() + COUNTED_MS_MAX;
    for (;;) {
      for (const node of NODES) await this.sampleLinks(node);
      const lives = new Map(NODES.map((node) => [this.names[node], [...this.#lives[node].values()]]));
      const accounts = accountsOf(this.names, lives, await this.#toxiproxy.carried(), seconds);
      if (accounts.every(({ ok }) => ok) || performance.now() > deadline) return accounts;
      await pause(COUNTED_EVERY_MS);
    }
  }

  async stop(keep: boolean): Promise<void> {
    clearInterval(this.#sampler);
    await this.target.stop(keep);
    if (this.#toxiproxy.own) return;
    for (const proxy of [...this.#between.values(), ...this.#clients]) await proxy.remove();
  }
}

/** A partition's series on a metrics page. */
export const seriesOfPartition = (metric: string, stream: string, partition: number): string =>
  `${metric}{account="$G",stream="${stream}",partition="${partition}"}`;

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
