// `npm run failover`: how long publishers wait when the leader of their stream is killed with -9, or stopped cleanly.
// Three connections, one per node, eight workers each on an R3 stream; every worker publishes one message at a time with an id of
// its own (timeout 1000 ms, the same id again 20 ms after a failure). Measured per kill: the longest time without an ack of any
// worker, clients of the killed node apart. Those are pinned to their node; beside them one client per node knows only that node and
// finds the others by what the server tells it, as real clients do: their gap is a figure of its own. One more client per node has
// nothing but defaults: on the surviving nodes each of its calls must end, by answer or error, within 3 s. The killed node leads the
// meta group in half of the kills. At the end every acknowledged id is looked up: one that is missing fails the run, and so does
// (but for nats-server) a figure beyond its bound. Before each clean stop the same is measured without one: a busy machine has gaps of its own.
//   npm run failover -- [--kills 20] [--stops 3] [--against nats-server]
//   npm run failover -- --streams 1000 [--kills 20] [--rate 1000] [--against nats-server]      many streams, in failover-many.ts
import { parseArgs } from 'node:util';
import { connect, type JetStreamClient, type JetStreamManager, type NatsConnection, RetentionPolicy } from 'nats';
import { Target } from '../test/conformance/target.ts';
import { type ManyKill, ManyStreams } from './failover-many.ts';

const WORKERS_PER_CONNECTION = 8;
const PUBLISH_TIMEOUT_MS = 1000;
const RETRY_MS = 20;
const SETTLE_MS = 1500;
const OBSERVE_MS_AFTER = 6000;
const DURING_MS_AFTER = 500;
const RECOVERED_MS_MAX = 20_000;
/** What is promised. */
const BOUNDS = { medianMs: 1500, worstMs: 3000, stopMs: 300, settledMs: 3000 };

const USAGE = `usage: npm run failover -- [--kills 20] [--stops 3] [--against nats-server]
         one stream: publishers while its leader is killed with -9, or stopped; exit 1 beyond a bound
       npm run failover -- --streams 1000 [--kills 20] [--rate 1000] [--against nats-server]
         many streams of three replicas: a node that leads a third of them is killed with -9, and every stream is published
         to until it acknowledges. Every second kill finds them asleep; before the others all of them are published to in
         turn, --rate messages a second
`;

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '20' },
    stops: { type: 'string', default: '3' },
    against: { type: 'string', default: 'flotilla' },
    streams: { type: 'string', default: '1' },
    rate: { type: 'string', default: '1000' },
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
  /** Publishes that ended otherwise than with an ack, since the fault. */
  failed: number;
}

function workerOn(connection: number): Worker {
  return { connection, lastAckMs: performance.now(), gapMs: 0, acked: 0, unsettledMsMax: 0, failed: 0 };
}

/** A client without options: whatever it asks must come to an end. */
interface Plain {
  node: number;
  connection: NatsConnection;
  /** Calls from then on count. */
  sinceMs: number;
  settledMsMax: number;
  slowest: string;
}

interface Fault {
  /** Longest gaps of the clients of other nodes, of the faulty node's pinned ones, and of those that may go elsewhere. */
  others: number;
  /** The same until half a second after the process is gone: what comes later is the machine's, or of the smaller cluster. */
  during: number;
  own: number;
  moved: number;
  unsettled: number;
  /** Publishes through surviving nodes that failed. */
  failed: number;
  /** Slowest call of a client with defaults on a surviving node. */
  settled: number;
  slowest: string;
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
  /** Clients that go where the server tells them; the last of the connections. */
  readonly #movers: Worker[] = [];
  readonly #plain: Plain[] = [];
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
        const worker = workerOn(c);
        this.#workers.push(worker);
        this.#loops.push(this.#work(worker, this.#connections[c].jetstream(), `failover.${c}.${w}`));
      }
    }
    for (const [node, url] of this.#target.urls.entries()) {
      const mover = await connect({ servers: url, maxReconnectAttempts: -1, reconnectTimeWait: 100 });
      const at = this.#connections.push(mover) - 1;
      const worker = workerOn(at);
      this.#movers.push(worker);
      this.#loops.push(this.#work(worker, mover.jetstream(), `failover.mover.${node}`));
      const plain: Plain = {
        node,
        connection: await connect({ servers: url, maxReconnectAttempts: -1, ignoreClusterUpdates: true }),
        sinceMs: 0,
        settledMsMax: 0,
        slowest: '',
      };
      this.#plain.push(plain);
      this.#loops.push(this.#ask(plain));
    }
  }

  /** Calls of all kinds, one after the other, with the client's own patience. */
  async #ask(plain: Plain): Promise<void> {
    const js = plain.connection.jetstream();
    const jsm = await js.jetstreamManager(false);
    const calls: [string, () => Promise<unknown>][] = [
      ['publish', () => js.publish(`failover.plain.${plain.node}`, new Uint8Array(128))],
      ['stream info', () => jsm.streams.info('FAILOVER')],
      ['account info', () => jsm.getAccountInfo()],
      ['get message', () => jsm.streams.getMessage('FAILOVER', { last_by_subj: 'failover.>' })],
      ['stream names', () => jsm.streams.names().next()],
    ];
    for (let i = 0; this.#running; i++) {
      const [what, call] = calls[i % calls.length];
      const start = performance.now();
      const end = await call().then(
        () => 'ok',
        (error: Error) => error.message,
      );
      const ms = performance.now() - start;
      if (start >= plain.sinceMs && ms > plain.settledMsMax) {
        plain.settledMsMax = ms;
        plain.slowest = `${what}: ${end}`;
      }
      await pause(RETRY_MS);
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
          worker.failed++;
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

  async #stepDown(subject: string, preferred: string | undefined, avoid: number): Promise<void> {
    const body = preferred === undefined ? undefined : JSON.stringify({ placement: { preferred } });
    await this.#connections[(avoid + 1) % 3].request(`$JS.API.${subject}`, body, { timeout: 3000 });
  }

  /** Brings the leadership of the meta group to the node that leads the stream, or away from it; says whether it is there. */
  async arrange(withMeta: boolean): Promise<{ leader: number; isMeta: boolean }> {
    const { kind, names } = this.#target;
    for (let attempt = 0; attempt < 8; attempt++) {
      const leader = await this.leader();
      const meta = await this.metaLeader();
      if ((leader === meta) === withMeta) return { leader, isMeta: withMeta };
      // There the meta group obeys the system account alone: the stream is moved until it fits.
      if (kind === 'nats-server') await this.#stepDown('STREAM.LEADER.STEPDOWN.FAILOVER', undefined, leader);
      else await this.#stepDown('META.LEADER.STEPDOWN', names[withMeta ? leader : (leader + 1) % 3], leader);
      await pause(700);
    }
    return { leader: await this.leader(), isMeta: !withMeta };
  }

  #forget(): void {
    const now = performance.now();
    for (const worker of [...this.#workers, ...this.#movers])
      Object.assign(worker, { gapMs: 0, unsettledMsMax: 0, failed: 0, lastAckMs: now });
    for (const plain of this.#plain) Object.assign(plain, { sinceMs: now, settledMsMax: 0, slowest: 'none' });
  }

  /** The longest gap while nothing happens, in as much time as a fault is looked at: what of a fault's gap is the machine's own. */
  async quietGap(): Promise<number> {
    await pause(SETTLE_MS);
    this.#forget();
    await pause(OBSERVE_MS_AFTER);
    return Math.max(...this.#workers.map((worker) => worker.gapMs));
  }

  async fault(node: number, how: 'kill' | 'stop'): Promise<Fault> {
    await pause(SETTLE_MS);
    // A client that is still coming back from the last fault would wait for itself.
    for (const { connection } of this.#plain) await connection.flush();
    this.#forget();
    const port = String(this.#target.port(node));
    const moving = this.#movers.filter((mover) => this.#connections[mover.connection].getServer().endsWith(port));
    if (how === 'kill') await this.#target.kill(node);
    else await this.#target.stopNode(node);
    const survivors = this.#workers.filter((worker) => worker.connection !== node);
    await pause(DURING_MS_AFTER);
    const gapUntil = (ms: number, worker: Worker): number => Math.max(worker.gapMs, ms - worker.lastAckMs);
    const gone = performance.now();
    const during = Math.max(...survivors.map((worker) => gapUntil(gone, worker)));
    await pause(OBSERVE_MS_AFTER - DURING_MS_AFTER);
    const end = performance.now();
    const gap = (worker: Worker): number => gapUntil(end, worker);
    const others = Math.max(...survivors.map(gap));
    const unsettled = Math.max(...survivors.map((worker) => worker.unsettledMsMax));
    const moved = Math.max(0, ...moving.map(gap));
    const failed = survivors.reduce((sum, worker) => sum + worker.failed, 0);
    const [plain] = this.#plain.filter((each) => each.node !== node).sort((a, b) => b.settledMsMax - a.settledMsMax);
    const { settledMsMax: settled, slowest } = plain;
    await this.#target.restart(node);
    const deadline = performance.now() + RECOVERED_MS_MAX;
    const own = this.#workers.filter((worker) => worker.connection === node);
    while (own.some((worker) => worker.lastAckMs < end) && performance.now() < deadline) await pause(50);
    return { others, during, own: Math.max(...own.map(gap)), moved, unsettled, failed, settled, slowest };
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
    for (const { connection } of this.#plain) await connection.close();
    return { acked: this.#ackedIds.size, missing };
  }
}

const ms = (value: number): string => `${Math.round(value)} ms`;

function told({ others, during, own, moved, failed, settled, slowest }: Fault): string {
  return (
    `longest gap ${ms(others)} (${ms(during)} while it went), ${failed} failed publishes; clients of that node ${ms(own)}, ${ms(moved)} when they may go elsewhere; ` +
    `defaults: slowest call ${ms(settled)} (${slowest})`
  );
}

/** Prints the figures; those that are beyond what is promised. */
function summary(kills: Fault[], metaKills: number, stops: Fault[], quiet: number[]): string[] {
  const broken: string[] = [];
  const figure = (what: string, value: number, bound: number): string => {
    if (value > bound) broken.push(`${what}: ${ms(value)}, not ${ms(bound)}`);
    return ms(value);
  };
  const of = (key: 'others' | 'own' | 'moved' | 'unsettled', q: number): number =>
    quantile(
      kills.map((kill) => kill[key]),
      q,
    );
  if (kills.length > 0) {
    process.stdout.write(
      `${values.against}: ${kills.length} kills, ${metaKills} of them of the meta leader: longest time without an ack: ` +
        `median ${figure('median gap', of('others', 0.5), BOUNDS.medianMs)}, worst ${figure('worst gap', of('others', 1), BOUNDS.worstMs)}\n` +
        `clients of the killed node: median ${ms(of('own', 0.5))} when pinned to it, ` +
        `${ms(of('moved', 0.5))} (worst ${ms(of('moved', 1))}) when they go elsewhere; slowest call that failed ${ms(of('unsettled', 1))}\n`,
    );
  }
  if (stops.length > 0) {
    const gaps = stops.map((stop) => stop.others);
    const during = stops.map((stop) => stop.during);
    const moved = stops.map((stop) => stop.moved);
    const failed = stops.reduce((sum, stop) => sum + stop.failed, 0);
    process.stdout.write(
      `${stops.length} clean stops: longest time without an ack: median ${ms(quantile(gaps, 0.5))}, ` +
        `worst ${figure('clean stop', quantile(gaps, 1), BOUNDS.stopMs)} (while they went: median ${ms(quantile(during, 0.5))}, ` +
        `worst ${ms(quantile(during, 1))}; as long before each of them: ` +
        `median ${ms(quantile(quiet, 0.5))}, worst ${ms(quantile(quiet, 1))}); ${failed} publishes through other nodes failed; ` +
        `clients of the stopped node that go elsewhere: median ${ms(quantile(moved, 0.5))}, worst ${ms(quantile(moved, 1))}\n`,
    );
  }
  const settled = Math.max(0, ...[...kills, ...stops].map((fault) => fault.settled));
  process.stdout.write(
    `a client with defaults on a surviving node: slowest call ${figure('slowest call', settled, BOUNDS.settledMs)}\n`,
  );
  return broken;
}

function toldMany({ node, quiet, led, waitsMs, retries, counts, cpuMs }: ManyKill): string {
  const waits = `half of the streams after ${ms(quantile(waitsMs, 0.5))}, 99 % ${ms(quantile(waitsMs, 0.99))}, all ${ms(quantile(waitsMs, 1))}`;
  const work =
    counts &&
    `; elections ${counts.started} begun, ${counts.won} won; ${counts.syncs} syncs, ${counts.stateFiles} state files replaced ` +
      `and ${counts.stateChanges} changes appended, ${(counts.stateBytes / 1e6).toFixed(1)} MB`;
  return (
    `${node} (led ${led}, streams ${quiet ? 'asleep' : 'busy'}): ${waits}; ${retries} publishes repeated` +
    `${work ?? ''}; ${(cpuMs / 1000).toFixed(1)} s of CPU on the others`
  );
}

async function manyStreams(target: Target): Promise<number> {
  const kills: ManyKill[] = [];
  try {
    await target.start(3);
    const run = new ManyStreams(target, Number(values.streams), Number(values.rate));
    await run.start();
    for (let kill = 0; kill < Number(values.kills); kill++) {
      const result = await run.kill(kill % 3, kill % 2 === 0);
      kills.push(result);
      process.stdout.write(`kill -9 ${kill + 1}: ${toldMany(result)}\n`);
    }
    const { acked, missing } = await run.finish();
    const worst = kills.map(({ waitsMs }) => quantile(waitsMs, 1));
    const figures: [string, number, number][] = [
      ['median', quantile(worst, 0.5), BOUNDS.medianMs],
      ['worst', quantile(worst, 1), BOUNDS.worstMs],
    ];
    process.stdout.write(
      `${target.kind}: ${kills.length} kills of a node under ${values.streams} streams: longest time without an ack over all streams: ` +
        `${figures.map(([what, value]) => `${what} ${ms(value)}`).join(', ')}\n` +
        `${acked} acknowledged messages, ${missing} of them missing\n`,
    );
    const broken = figures.filter(([, value, bound]) => value > bound);
    return verdict(
      target,
      missing,
      broken.map(([what, value, bound]) => `${what}: ${ms(value)}, not ${ms(bound)}`),
    );
  } catch (error) {
    process.stderr.write(`${target.logs()}\n`);
    throw error;
  } finally {
    await target.stop();
  }
}

/** The exit code. Bounds of time are ours: of the other server only what is missing counts. */
function verdict(target: Target, missing: number, broken: readonly string[]): number {
  if (target.kind === 'nats-server') return missing === 0 ? 0 : 1;
  for (const each of broken) process.stdout.write(`beyond its bound: ${each}\n`);
  return missing === 0 && broken.length === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const target = new Target(values.against === 'nats-server' ? 'nats-server' : 'flotilla');
  if (Number(values.streams) > 1) return await manyStreams(target);
  const kills: Fault[] = [];
  const stops: Fault[] = [];
  const quiet: number[] = [];
  let metaKills = 0;
  try {
    await target.start(3);
    const run = new Run(target);
    await run.start();
    for (let kill = 0; kill < Number(values.kills); kill++) {
      const { leader, isMeta } = await run.arrange(kill % 2 === 0);
      if (isMeta) metaKills++;
      const result = await run.fault(leader, 'kill');
      kills.push(result);
      process.stdout.write(
        `kill -9 ${kill + 1}: ${target.names[leader]}${isMeta ? ' (leads the meta group too)' : ''}: ${told(result)}\n`,
      );
    }
    for (let stop = 0; stop < Number(values.stops); stop++) {
      quiet.push(await run.quietGap());
      const leader = await run.leader();
      const result = await run.fault(leader, 'stop');
      stops.push(result);
      process.stdout.write(`clean stop ${stop + 1}: ${target.names[leader]}: ${told(result)}\n`);
    }
    const { acked, missing } = await run.finish();
    const broken = summary(kills, metaKills, stops, quiet);
    process.stdout.write(`${acked} acknowledged messages, ${missing} of them missing\n`);
    return verdict(target, missing, broken);
  } catch (error) {
    process.stderr.write(`${target.logs()}\n`);
    throw error;
  } finally {
    await target.stop();
  }
}

process.exit(await main());
