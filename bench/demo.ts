// `npm run demo`: the broker's job on real input. Four official clients publish every line of real text (the sources that lie under
// node_modules) to an R3 stream of a three-node cluster; three workers share a durable pull consumer and one ordered reader follows.
// Midway the stream's leader is killed with -9 and comes back. Then every acknowledged line is looked up by content hash: stored
// once, in the order of its publisher, delivered to a worker and to the reader. Exit 1 if anything is missing.
//   npm run demo -- [--lines 40000]
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import {
  AckPolicy,
  type ConsumerMessages,
  type JetStreamManager,
  type JsMsg,
  jetstream,
  jetstreamManager,
} from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { Target } from '../test/conformance/target.ts';
import { type Acked, problemsOf } from './demo-check.ts';

const PUBLISHERS = 4;
const WORKERS = 3;
const IN_FLIGHT_MAX = 200;
const ATTEMPT_MS = 2000;
const DRAIN_MS_MAX = 120_000;
const LEADER_ATTEMPTS_MAX = 100;
const STREAM = 'LINES';

const { values } = parseArgs({
  options: { lines: { type: 'string', default: '40000' }, help: { type: 'boolean', short: 'h', default: false } },
});

const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));
const say = (text: string): void => void process.stdout.write(`${text}\n`);

/** Lines of TypeScript and JavaScript sources, walked in name order until there are enough. */
function realLines(count: number): string[] {
  const lines: string[] = [];
  const walk = (dir: string): void => {
    for (const entry of readdirSync(dir, { withFileTypes: true }).sort((a, b) => a.name.localeCompare(b.name))) {
      if (lines.length >= count) return;
      const path = join(dir, entry.name);
      if (entry.isDirectory()) walk(path);
      else if (/\.(ts|js|mjs|md)$/.test(entry.name))
        for (const line of readFileSync(path, 'utf8').split('\n')) if (lines.length < count) lines.push(line);
    }
  };
  walk(resolve(import.meta.dirname, '..', 'node_modules'));
  return lines;
}

const hashOf = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

class Publisher {
  readonly acked: Acked[] = [];
  longestGapMs = 0;
  #lastAckMs = performance.now();
  readonly #nc: NatsConnection;
  readonly #number: number;

  constructor(nc: NatsConnection, number: number) {
    this.#nc = nc;
    this.#number = number;
  }

  /** Publishes window by window: the next one is sent when all of this one is acknowledged; a failed line is tried again with its id. */
  async run(lines: readonly string[], onAck: () => void): Promise<void> {
    const js = jetstream(this.#nc, { timeout: ATTEMPT_MS });
    const subject = `lines.${this.#number}`;
    this.#lastAckMs = performance.now();
    for (let from = 0; from < lines.length; from += IN_FLIGHT_MAX) {
      const window = lines.slice(from, from + IN_FLIGHT_MAX);
      let waiting = window.map((line, i) => ({ line, id: `${this.#number}.${from + i}` }));
      while (waiting.length > 0) {
        const failed: typeof waiting = [];
        await Promise.all(
          waiting.map(async (attempt) => {
            try {
              const ack = await js.publish(subject, attempt.line, { msgID: attempt.id });
              this.acked.push({ seq: ack.seq, hash: hashOf(attempt.line), window: from });
              this.longestGapMs = Math.max(this.longestGapMs, performance.now() - this.#lastAckMs);
              this.#lastAckMs = performance.now();
              onAck();
            } catch (error) {
              if (!(error instanceof Error)) throw error;
              failed.push(attempt);
            }
          }),
        );
        waiting = failed;
        if (waiting.length > 0) await pause(50);
      }
    }
  }
}

async function main(): Promise<number> {
  if (values.help) {
    say('usage: npm run demo -- [--lines 40000]');
    return 0;
  }
  const lines = realLines(Number(values.lines));
  say(
    `${lines.length} lines of real text, ${PUBLISHERS} publishers, ${WORKERS} workers, 1 ordered reader, 3 nodes, R3`,
  );
  const target = new Target('flotilla');
  try {
    await target.start(3);
    return await runDemo(target, lines);
  } catch (error) {
    process.stderr.write(`${target.logs()}\n`);
    throw error;
  } finally {
    await target.stop();
  }
}

/** On a busy machine there may be an election just now: then nobody leads, or nobody answers. */
async function leaderOf(jsm: JetStreamManager): Promise<string> {
  let last: unknown;
  for (let attempts = 0; attempts < LEADER_ATTEMPTS_MAX; attempts++) {
    const info = await jsm.streams.info(STREAM).catch((error: unknown) => void (last = error));
    if (info?.cluster?.leader) return info.cluster.leader;
    await pause(200);
  }
  throw new Error(`nobody leads the stream: ${last}`);
}

async function runDemo(target: Target, lines: readonly string[]): Promise<number> {
  const open = (first: number): Promise<NatsConnection> =>
    connect({
      servers: [...target.urls.slice(first), ...target.urls.slice(0, first)],
      noRandomize: true,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
    });
  const admin = await open(0);
  const jsm = await jetstreamManager(admin, { timeout: 10_000 });
  await jsm.streams.add({ name: STREAM, subjects: ['lines.*'], num_replicas: 3 });
  await jsm.consumers.add(STREAM, {
    durable_name: 'workers',
    ack_policy: AckPolicy.Explicit,
    ack_wait: 10_000_000_000,
    max_ack_pending: 5000,
  });

  const taken = new Map<number, { hash: string; deliveries: number }>();
  const open_streams: ConsumerMessages[] = [];
  const take = (message: JsMsg): void => {
    const known = taken.get(message.seq);
    if (known) known.deliveries++;
    else taken.set(message.seq, { hash: hashOf(message.data), deliveries: 1 });
    message.ack();
  };
  const connections: NatsConnection[] = [admin];
  for (let w = 0; w < WORKERS; w++) {
    const nc = await open(w % 3);
    connections.push(nc);
    const consumer = await jetstream(nc).consumers.get(STREAM, 'workers');
    const messages = await consumer.consume({ max_messages: 500, idle_heartbeat: 1000, expires: 5000, callback: take });
    open_streams.push(messages);
  }
  const read: { seq: number; hash: string }[] = [];
  const readerConnection = await open(1);
  connections.push(readerConnection);
  const reader = await jetstream(readerConnection).consumers.get(STREAM);
  open_streams.push(
    await reader.consume({
      idle_heartbeat: 1000,
      expires: 5000,
      callback: (message) => void read.push({ seq: message.seq, hash: hashOf(message.data) }),
    }),
  );

  const publishers: Publisher[] = [];
  for (let p = 0; p < PUBLISHERS; p++) {
    const nc = await open(p % 3);
    connections.push(nc);
    publishers.push(new Publisher(nc, p));
  }
  let acks = 0;
  const startMs = performance.now();
  const halfway = new Promise<void>((reached) => {
    const share = Math.ceil(lines.length / PUBLISHERS);
    const runs = publishers.map((publisher, p) =>
      publisher.run(lines.slice(p * share, (p + 1) * share), () => {
        if (++acks === Math.floor(lines.length / 2)) reached();
      }),
    );
    published = Promise.all(runs);
  });
  await halfway;
  const leader = await leaderOf(jsm);
  const victim = target.names.indexOf(leader);
  say(`${acks} lines acknowledged after ${seconds(startMs)} s; kill -9 of ${leader}, the leader`);
  await target.kill(victim);
  const back = pause(3000).then(() => target.restart(victim));
  await published;
  const publishSeconds = (performance.now() - startMs) / 1000;
  await back;
  say(
    `all lines published in ${publishSeconds.toFixed(1)} s (${Math.round(acks / publishSeconds)} lines/s with the failure); ${leader} is back`,
  );

  const deadline = performance.now() + DRAIN_MS_MAX;
  const last = Math.max(...publishers.flatMap((publisher) => publisher.acked.map((ack) => ack.seq)));
  while (performance.now() < deadline && (taken.size < lines.length || (read.at(-1)?.seq ?? 0) < last)) await pause(50);
  for (const messages of open_streams) messages.stop();

  const problems = problemsOf(
    publishers.map((publisher) => publisher.acked),
    taken,
    read,
  );
  const gap = Math.max(...publishers.map((publisher) => publisher.longestGapMs));
  const redelivered = [...taken.values()].filter((message) => message.deliveries > 1).length;
  say(
    `delivered to workers: ${taken.size} (${redelivered} more than once); ordered reader: ${read.length}; failover: longest wait of a publisher ${Math.round(gap)} ms`,
  );
  for (const connection of connections) await connection.close();
  if (problems.length === 0) {
    say(`OK: ${acks} acknowledged lines are stored once, in order, and were delivered`);
    return 0;
  }
  for (const problem of problems.slice(0, 20)) say(`FAILED: ${problem}`);
  say(`${problems.length} problems`);
  return 1;
}

let published: Promise<unknown> = Promise.resolve();

function seconds(sinceMs: number): string {
  return ((performance.now() - sinceMs) / 1000).toFixed(1);
}

process.exit(await main());
