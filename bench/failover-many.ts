// `npm run failover -- --streams 1000`: how long publishers wait when a node that leads a third of many R3 streams is killed with -9.
// At the kill one message is sent to every stream (by the clients of the surviving nodes, with an id, timeout 1000 ms, the same id
// again 20 ms after a failure) and the time until each is acknowledged counts from the kill. Every second kill finds the streams asleep;
// before the others all of them are published to in turn, `--rate` messages a second. The next kill waits until leaders are spread
// again. Printed beside it, from the survivors' metrics: elections, syncs of the log, replaced state files, CPU time. At the end
// every acknowledged id is looked up in its stream: one that is missing fails the run.
// Called by failover.ts.
import { type JetStreamClient, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import type { Target } from '../test/conformance/target.ts';
import { cpuMsOf } from './proc.ts';

const CREATORS = 8;
const CREATE_TRIES = 10;
const REST_MS = 5000;
const OBSERVE_MS_MAX = 30_000;
const SPREAD_MS_MAX = 90_000;
const PUBLISH_TIMEOUT_MS = 1000;
const RETRY_MS = 20;
/** Publishes that a stream is behind with are left out: the load has a rate, not a backlog. */
const PACE_MS = 20;
const LOOKUPS = 32;
const COUNTERS = {
  started: 'flotilla_elections_started_total',
  won: 'flotilla_elections_won_total',
  syncs: 'flotilla_wal_syncs_total',
  stateFiles: 'flotilla_wal_state_files_total',
  stateChanges: 'flotilla_wal_state_changes_total',
  stateBytes: 'flotilla_wal_state_file_bytes_total',
} as const;
type Counts = Record<keyof typeof COUNTERS, number>;

export interface ManyKill {
  node: string;
  /** The streams were asleep. */
  quiet: boolean;
  /** From the kill to the acknowledgement, ascending, one per stream. */
  waitsMs: number[];
  retries: number;
  /** Streams that the killed node led. */
  led: number;
  cpuMs: number;
  counts: Counts | undefined;
}

const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));

export class ManyStreams {
  readonly #target: Target;
  readonly #streams: number;
  readonly #rate: number;
  readonly #connections: NatsConnection[] = [];
  readonly #clients: JetStreamClient[] = [];
  readonly #ackedIds: Map<string, number>[];
  readonly #busy: boolean[];
  /** Its clients are not used. */
  #victim = -1;
  #loading = false;
  #next = 0;
  #id = 0;
  #retries = 0;

  constructor(target: Target, streams: number, rate: number) {
    this.#target = target;
    this.#streams = streams;
    this.#rate = rate;
    this.#ackedIds = Array.from({ length: streams }, () => new Map());
    this.#busy = new Array(streams).fill(false);
  }

  async start(): Promise<void> {
    for (const servers of this.#target.urls) {
      const options = { servers, maxReconnectAttempts: -1, reconnectTimeWait: 100, ignoreClusterUpdates: true };
      const connection = await connect(options);
      this.#connections.push(connection);
      this.#clients.push(jetstream(connection));
    }
    const jsm = await jetstreamManager(this.#connections[0], { timeout: 10_000 });
    const create = async (first: number): Promise<void> => {
      for (let i = first; i < this.#streams; i += CREATORS) {
        const name = `MANY-${i}`;
        const config = { name, subjects: [`${name}.>`], num_replicas: 3, allow_direct: true };
        for (let tries = 1; ; tries++) {
          try {
            await jsm.streams.add(config);
            break;
          } catch (error) {
            // Whether it came to be is unknown; to ask for the same once more is no error.
            if (tries === CREATE_TRIES) throw error;
          }
        }
      }
    };
    await Promise.all(Array.from({ length: CREATORS }, (_, first) => create(first)));
  }

  async kill(node: number, quiet: boolean): Promise<ManyKill> {
    const { names } = this.#target;
    await this.#spread();
    const led = await this.#led(node);
    const others = names.map((_, i) => i).filter((i) => i !== node);
    this.#victim = node;
    this.#loading = !quiet;
    const load = this.#load();
    await pause(REST_MS);
    const before = await this.#counts(others);
    const cpuBefore = this.#cpuMs(others);
    this.#retries = 0;
    const killedMs = performance.now();
    const gone = this.#target.kill(node);
    const waitsMs = await Promise.all(
      Array.from({ length: this.#streams }, async (_, i) => {
        await this.#publish(i, killedMs + OBSERVE_MS_MAX);
        return performance.now() - killedMs;
      }),
    );
    await gone;
    const cpuMs = this.#cpuMs(others) - cpuBefore;
    const after = await this.#counts(others);
    this.#loading = false;
    await load;
    await this.#target.restart(node);
    this.#victim = -1;
    const counts = before && after && subtract(after, before);
    waitsMs.sort((a, b) => a - b);
    return { node: names[node], quiet, waitsMs, retries: this.#retries, led, cpuMs, counts };
  }

  /** Returns how many ids were acknowledged, and how many of them are missing or stored under another seq. */
  async finish(): Promise<{ acked: number; missing: number }> {
    const jsm = await jetstreamManager(this.#connections[0], { timeout: 10_000 });
    let acked = 0;
    let missing = 0;
    const look = async (first: number): Promise<void> => {
      for (let i = first; i < this.#streams; i += LOOKUPS) {
        const stored = new Map<string, number>();
        const batch = this.#ackedIds[i].size * 2 + 100;
        const found = await jsm.direct.getBatch(`MANY-${i}`, { batch, seq: 1 });
        for await (const message of found) stored.set(message.header.get('Nats-Msg-Id'), message.seq);
        acked += this.#ackedIds[i].size;
        for (const [id, seq] of this.#ackedIds[i]) if (stored.get(id) !== seq) missing++;
      }
    };
    await Promise.all(Array.from({ length: LOOKUPS }, (_, first) => look(first)));
    for (const connection of this.#connections) await connection.close();
    return { acked, missing };
  }

  /** One message, until it is acknowledged. */
  async #publish(stream: number, untilMs: number): Promise<void> {
    const id = ++this.#id;
    const msgID = String(id);
    for (let attempt = id; ; attempt++) {
      let at = attempt % this.#clients.length;
      if (at === this.#victim) at = (at + 1) % this.#clients.length;
      try {
        const options = { msgID, timeout: PUBLISH_TIMEOUT_MS };
        const ack = await this.#clients[at].publish(`MANY-${stream}.x`, new Uint8Array(128), options);
        this.#ackedIds[stream].set(msgID, ack.seq);
        return;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        this.#retries++;
        if (performance.now() > untilMs) throw new Error(`MANY-${stream} does not acknowledge: ${error.message}`);
        await pause(RETRY_MS);
      }
    }
  }

  /** All streams in turn; one that has not answered is passed over. */
  async #load(): Promise<void> {
    const under: Promise<void>[] = [];
    const failures: unknown[] = [];
    while (this.#loading) {
      for (let n = (this.#rate * PACE_MS) / 1000; n > 0; n--) {
        const stream = this.#next++ % this.#streams;
        if (this.#busy[stream]) continue;
        this.#busy[stream] = true;
        const done = this.#publish(stream, performance.now() + OBSERVE_MS_MAX);
        under.push(
          done
            .catch((error: unknown) => failures.push(error))
            .then(() => {
              this.#busy[stream] = false;
            }),
        );
      }
      await pause(PACE_MS);
    }
    await Promise.all(under);
    if (failures.length > 0) throw failures[0];
  }

  /** Streams that each node leads. */
  async #led(node: number): Promise<number> {
    const url = `${this.#target.monitorUrls[node]}/jsz?streams=true&stream-leader-only=true`;
    const answer = (await (await fetch(url)).json()) as {
      account_details?: { stream_detail?: { cluster?: { leader?: string } }[] }[];
    };
    const streams = (answer.account_details ?? []).flatMap((account) => account.stream_detail ?? []);
    return streams.filter(({ cluster }) => cluster?.leader === this.#target.names[node]).length;
  }

  /** Waits until every node leads at least a quarter. */
  async #spread(): Promise<void> {
    const deadline = performance.now() + SPREAD_MS_MAX;
    for (;;) {
      const led = await Promise.all(this.#target.names.map((_, i) => this.#led(i)));
      if (Math.min(...led) >= this.#streams / 4) return;
      // There leaders do not come back by themselves.
      if (this.#target.kind === 'nats-server' && Math.max(...led) > 0 && performance.now() > deadline) return;
      if (performance.now() > deadline) throw new Error(`leaders are not spread: ${led.join(', ')}`);
      await pause(500);
    }
  }

  /** Sums over these nodes; undefined: not of our kind. */
  async #counts(nodes: readonly number[]): Promise<Counts | undefined> {
    if (this.#target.kind !== 'flotilla') return undefined;
    const sums: Counts = { started: 0, won: 0, syncs: 0, stateFiles: 0, stateChanges: 0, stateBytes: 0 };
    for (const node of nodes) {
      const text = await (await fetch(`${this.#target.monitorUrls[node]}/metrics`)).text();
      for (const key of Object.keys(COUNTERS) as (keyof Counts)[]) {
        const value = new RegExp(`^${COUNTERS[key]}(?:{[^}]*})? (\\S+)$`, 'm').exec(text)?.[1];
        if (value === undefined) throw new Error(`no ${COUNTERS[key]} in the metrics of node ${node + 1}`);
        sums[key] += Number(value);
      }
    }
    return sums;
  }

  #cpuMs(nodes: readonly number[]): number {
    const pids = nodes.map((node) => this.#target.pid(node)).filter((pid) => pid !== undefined);
    return pids.reduce((sum, pid) => sum + cpuMsOf(pid), 0);
  }
}

function subtract(a: Counts, b: Counts): Counts {
  const difference = { ...a };
  for (const key of Object.keys(a) as (keyof Counts)[]) difference[key] -= b[key];
  return difference;
}
