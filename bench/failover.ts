// `npm run failover`: how long publishers wait when the leader of their stream is killed with -9, or stopped cleanly.
// Three connections, one per node, eight workers each on an R3 stream; every worker publishes one message at a time with an id of
// its own (timeout 1000 ms, the same id again 20 ms after a failure). Measured per kill: the longest time without an ack of any
// worker, clients of the killed node apart. At the end every acknowledged id is looked up: one that is missing fails the run.
//   npm run failover -- [--kills 20] [--stops 3] [--against nats-server]
import { parseArgs } from 'node:util';
import { connect, type JetStreamClient, type JetStreamManager, type NatsConnection, RetentionPolicy } from 'nats';
import { Target } from '../test/conformance/target.ts';

const WORKERS_PER_CONNECTION = 8;
const PUBLISH_TIMEOUT_MS = 1000;
const RETRY_MS = 20;
const SETTLE_MS = 1500;
const OBSERVE_MS_AFTER = 6000;
const RECOVERED_MS_MAX = 20_000;

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '20' },
    stops: { type: 'string', default: '3' },
    against: { type: 'string', default: 'flotilla' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

interface Worker {
  connection: number;
  lastAckMs: number;
  /** Longest time without an ack since the fault. */
  gapMs: number;
  acked: number;
  unsettledMsMax: number;
}

const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));

function quantile(numbers: number[], q: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

class Run {
  readonly #target: Target;
  readonly #connections: NatsConnection[] = [];
  readonly #workers: Worker[] = [];
  readonly #ackedIds = new Map<string, number>();
  #running = true;
  #loops: Promise<void>[] = [];

  constructor(target: Target) {
    this.#target = target;
  }

  async start(): Promise<void> {
    for (const url of this.#target.urls) {
      this.#connections.push(
        await connect({
          servers: url,
          reconnect: true,
          maxReconnectAttempts: -1,
          reconnectTimeWait: 100,
          ignoreClusterUpdates: true,
          noRandomize: true,
        }),
      );
    }
    const jsm = await this.#connections[0].jetstreamManager({ timeout: 10_000 });
    await jsm.streams.add({
      name: 'FAILOVER',
      subjects: ['failover.>'],
      num_replicas: 3,
      retention: RetentionPolicy.Limits,
    });
    for (let c = 0; c < this.#connections.length; c++) {
      for (let w = 0; w < WORKERS_PER_CONNECTION; w++) {
        const worker: Worker = { connection: c, lastAckMs: performance.now(), gapMs: 0, acked: 0, unsettledMsMax: 0 };
        this.#workers.push(worker);
        this.#loops.push(this.#work(worker, this.#connections[c].jetstream(), `failover.${c}.${w}`));
      }
    }
  }

  async #work(worker: Worker, js: JetStreamClient, subject: string): Promise<void> {
    const payload = new Uint8Array(128);
    for (let i = 0; this.#running; i++) {
      const msgID = `${subject}.${i}`;
      for (;;) {
        const sent = performance.now();
        try {
          const ack = await js.publish(subject, payload, { msgID, timeout: PUBLISH_TIMEOUT_MS });
          const now = performance.now();
          worker.gapMs = Math.max(worker.gapMs, now - worker.lastAckMs);
          worker.lastAckMs = now;
          worker.acked++;
          this.#ackedIds.set(msgID, ack.seq);
          break;
        } catch (error) {
          if (!(error instanceof Error)) throw error;
          worker.unsettledMsMax = Math.max(worker.unsettledMsMax, performance.now() - sent);
          if (!this.#running) return;
          await pause(RETRY_MS);
        }
      }
    }
  }

  async #manager(avoid: number): Promise<JetStreamManager> {
    return await this.#connections[(avoid + 1) % 3].jetstreamManager({ timeout: 5000, checkAPI: false });
  }

  async leader(avoid = 0): Promise<number> {
    const deadline = performance.now() + RECOVERED_MS_MAX;
    for (;;) {
      try {
        const info = await (await this.#manager(avoid)).streams.info('FAILOVER');
        const at = this.#target.names.indexOf(info.cluster?.leader ?? '');
        if (at >= 0) return at;
      } catch (error) {
        if (performance.now() > deadline) throw error;
      }
      await pause(100);
    }
  }

  async metaLeader(): Promise<number> {
    for (const url of this.#target.monitorUrls) {
      const answer = (await (await fetch(`${url}/jsz`)).json()) as { meta_cluster?: { leader?: string } };
      const at = this.#target.names.indexOf(answer.meta_cluster?.leader ?? '');
      if (at >= 0) return at;
    }
    return -1;
  }

  /** Brings the stream's leadership to the node that leads the meta group, or away from it. */
  async arrange(withMeta: boolean): Promise<number> {
    for (let attempt = 0; attempt < 8; attempt++) {
      const leader = await this.leader();
      const meta = await this.metaLeader();
      if ((leader === meta) === withMeta) return leader;
      await this.#connections[(leader + 1) % 3].request('$JS.API.STREAM.LEADER.STEPDOWN.FAILOVER', undefined, {
        timeout: 3000,
      });
      await pause(700);
    }
    return await this.leader();
  }

  /** One fault: returns the longest gaps of the clients of the other nodes, and of the faulty one's. */
  async fault(node: number, how: 'kill' | 'stop'): Promise<{ others: number; own: number; unsettled: number }> {
    await pause(SETTLE_MS);
    const now = performance.now();
    for (const worker of this.#workers) {
      worker.gapMs = 0;
      worker.unsettledMsMax = 0;
      worker.lastAckMs = now;
    }
    if (how === 'kill') await this.#target.kill(node);
    else await this.#target.stopNode(node);
    await pause(OBSERVE_MS_AFTER);
    const end = performance.now();
    const gap = (worker: Worker): number => Math.max(worker.gapMs, end - worker.lastAckMs);
    const others = Math.max(...this.#workers.filter((worker) => worker.connection !== node).map(gap));
    const unsettled = Math.max(
      ...this.#workers.filter((worker) => worker.connection !== node).map((worker) => worker.unsettledMsMax),
    );
    await this.#target.restart(node);
    const deadline = performance.now() + RECOVERED_MS_MAX;
    const own = this.#workers.filter((worker) => worker.connection === node);
    while (own.some((worker) => worker.lastAckMs < end) && performance.now() < deadline) await pause(50);
    return { others, own: Math.max(...own.map(gap)), unsettled };
  }

  /** Ends the workers; returns how many acked ids are missing or stored under another seq. */
  async finish(): Promise<{ acked: number; missing: number }> {
    this.#running = false;
    await Promise.all(this.#loops);
    const jsm = await this.#manager(0);
    const info = await jsm.streams.info('FAILOVER');
    const stored = new Map<number, string>();
    const consumer = await this.#connections[0].jetstream().consumers.get('FAILOVER');
    if (info.state.messages > 0) {
      const messages = await consumer.consume({ max_messages: 5000 });
      for await (const message of messages) {
        stored.set(message.seq, message.headers?.get('Nats-Msg-Id') ?? '');
        if (message.info.pending === 0) break;
      }
    }
    let missing = 0;
    for (const [id, seq] of this.#ackedIds) if (stored.get(seq) !== id) missing++;
    for (const connection of this.#connections) await connection.close();
    return { acked: this.#ackedIds.size, missing };
  }
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write('usage: npm run failover -- [--kills 20] [--stops 3] [--against nats-server]\n');
    return 0;
  }
  const target = new Target(values.against === 'nats-server' ? 'nats-server' : 'flotilla');
  const others: number[] = [];
  const own: number[] = [];
  const stops: number[] = [];
  let unsettled = 0;
  try {
    await target.start(3);
    const run = new Run(target);
    await run.start();
    for (let kill = 0; kill < Number(values.kills); kill++) {
      const withMeta = kill % 2 === 0;
      const leader = await run.arrange(withMeta);
      const result = await run.fault(leader, 'kill');
      others.push(result.others);
      own.push(result.own);
      unsettled = Math.max(unsettled, result.unsettled);
      process.stdout.write(
        `kill -9 ${kill + 1}: ${target.names[leader]}${withMeta ? ' (leads the meta group too)' : ''}: longest gap ${Math.round(result.others)} ms; ` +
          `clients of the killed node ${Math.round(result.own)} ms\n`,
      );
    }
    for (let stop = 0; stop < Number(values.stops); stop++) {
      const leader = await run.leader();
      const result = await run.fault(leader, 'stop');
      stops.push(result.others);
      process.stdout.write(
        `clean stop ${stop + 1}: ${target.names[leader]}: longest gap ${Math.round(result.others)} ms\n`,
      );
    }
    const { acked, missing } = await run.finish();
    if (others.length > 0) {
      process.stdout.write(
        `${values.against}: ${others.length} kills: longest time without an ack: median ${Math.round(quantile(others, 0.5))} ms, worst ${Math.round(Math.max(...others))} ms; `,
      );
      process.stdout.write(
        `slowest call that failed: ${Math.round(unsettled)} ms; clients of the killed node: median ${Math.round(quantile(own, 0.5))} ms\n`,
      );
    }
    if (stops.length > 0)
      process.stdout.write(`${stops.length} clean stops: worst ${Math.round(Math.max(...stops))} ms\n`);
    process.stdout.write(`${acked} acknowledged messages, ${missing} of them missing\n`);
    return missing === 0 ? 0 : 1;
  } catch (error) {
    process.stderr.write(`${target.logs()}\n`);
    throw error;
  } finally {
    await target.stop();
  }
}

process.exit(await main());
