// `flotilla load`: steady traffic for trying a cluster and its dashboards: publishers that repeat what was not acknowledged under the same
// Nats-Msg-Id, and consumers that ack. One line a second. It ends with exit code 1 when a message that was acknowledged did not arrive.
import { performance } from 'node:perf_hooks';
import { setTimeout as pause } from 'node:timers/promises';
import {
  AckPolicy,
  DiscardPolicy,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
} from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { type FlagSpec, helpOf, parseFlags } from './flags.ts';
import { fail, say } from './terminal.ts';

export const LOAD_FLAGS = {
  server: {
    names: ['s', 'server'],
    kind: 'string',
    value: 'urls',
    help: 'where to connect, separated by commas (default nats://127.0.0.1:4222)',
  },
  stream: {
    names: ['stream'],
    kind: 'string',
    value: 'name',
    help: 'stream to use, created when missing (default LOAD)',
  },
  replicas: {
    names: ['replicas'],
    kind: 'integer',
    value: 'n',
    help: 'its replicas (default: 3, or 1 on a single node)',
  },
  rate: { names: ['rate'], kind: 'integer', value: 'n', help: 'messages a second (default 500)' },
  size: { names: ['size'], kind: 'integer', value: 'bytes', help: 'bytes per message (default 256)' },
  seconds: { names: ['seconds'], kind: 'integer', value: 'n', help: 'end after so long (default: at Ctrl-C)' },
  user: { names: ['user'], kind: 'string', value: 'user', help: 'user' },
  pass: { names: ['pass'], kind: 'string', value: 'password', help: 'password' },
  help: { names: ['h', 'help'], kind: 'boolean', help: 'print this help' },
} as const satisfies Record<string, FlagSpec>;

const TICK_MS = 50;
const ATTEMPT_MS = 2000;
const RETRY_MS = 100;
const WAITING_MAX = 5000;
const STREAM_BYTES_MAX = 256 * 1024 * 1024;
const DRAIN_MS_MAX = 30_000;
const CONSUMER = 'load';

interface Options {
  servers: string[];
  stream: string;
  replicas: number | undefined;
  rate: number;
  size: number;
  seconds: number;
  user: string | undefined;
  pass: string | undefined;
}

export async function load(args: readonly string[]): Promise<number> {
  const parsed = parseFlags(LOAD_FLAGS, args);
  if (!parsed.ok) return fail(parsed.error, 1);
  const { values, rest } = parsed;
  if (values.help) {
    say(`usage: flotilla load [flags]\n\n${helpOf(LOAD_FLAGS)}`);
    return 0;
  }
  if (rest.length > 0) return fail(`load takes flags only, not "${rest[0]}"`, 1);
  const options: Options = {
    servers: ((values.server as string | undefined) ?? 'nats://127.0.0.1:4222').split(','),
    stream: (values.stream as string | undefined) ?? 'LOAD',
    replicas: values.replicas as number | undefined,
    rate: (values.rate as number | undefined) ?? 500,
    size: (values.size as number | undefined) ?? 256,
    seconds: (values.seconds as number | undefined) ?? Number.POSITIVE_INFINITY,
    user: values.user as string | undefined,
    pass: values.pass as string | undefined,
  };
  if (options.rate < 1 || options.size < 1 || options.seconds < 1)
    return fail('--rate, --size and --seconds must be at least 1', 1);
  let nc: NatsConnection | undefined;
  try {
    nc = await connect({
      servers: options.servers,
      user: options.user,
      pass: options.pass,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RETRY_MS,
      waitOnFirstConnect: true,
      ignoreClusterUpdates: true,
    });
    return await new Load(nc, options).run();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return fail(error.message, 1);
  } finally {
    await nc?.close();
  }
}

class Load {
  readonly #nc: NatsConnection;
  readonly #options: Options;
  readonly #js: JetStreamClient;
  readonly #body: Uint8Array;
  /** Of this run; message ids of another run never meet them. */
  readonly #run = `${process.pid}-${Date.now()}`;
  readonly #publishing = new Set<Promise<void>>();
  /** Acknowledged to the publisher and not yet acknowledged by the consumer. */
  readonly #owed = new Set<number>();
  /** Consumed before the publisher heard of its ack. */
  readonly #early = new Set<number>();
  #ending = false;
  #sent = 0;
  #acked = 0;
  #consumed = 0;
  #repeated = 0;
  #latenciesMs: number[] = [];

  constructor(nc: NatsConnection, options: Options) {
    this.#nc = nc;
    this.#options = options;
    this.#js = jetstream(nc, { timeout: ATTEMPT_MS });
    this.#body = new Uint8Array(options.size).fill(0x2e);
  }

  async run(): Promise<number> {
    const manager = await jetstreamManager(this.#nc, { timeout: 10_000 });
    await this.#setUp(manager);
    const stop = (): void => {
      this.#ending = true;
    };
    process.once('SIGINT', stop);
    process.once('SIGTERM', stop);
    const consuming = this.#consume();
    await this.#publish();
    await Promise.all(this.#publishing);
    const untilMs = performance.now() + DRAIN_MS_MAX;
    while (this.#owed.size > 0 && performance.now() < untilMs) await pause(TICK_MS);
    await (await consuming)();
    const missing = this.#owed.size;
    say(`${this.#acked} acknowledged, ${this.#consumed} consumed, ${this.#repeated} repeated, ${missing} missing`);
    return missing === 0 ? 0 : 1;
  }

  async #setUp(manager: JetStreamManager): Promise<void> {
    const { stream, replicas } = this.#options;
    await this.#insist(() =>
      manager.streams.add({
        name: stream,
        subjects: [`${stream.toLowerCase()}.>`],
        num_replicas: replicas ?? (this.#nc.info?.cluster ? 3 : 1),
        max_bytes: STREAM_BYTES_MAX,
        discard: DiscardPolicy.Old,
      }),
    );
    await this.#insist(() =>
      manager.consumers.add(stream, {
        durable_name: CONSUMER,
        ack_policy: AckPolicy.Explicit,
        max_ack_pending: 10_000,
      }),
    );
  }

  /** Sends at the asked rate; when the cluster is slower, as fast as it acknowledges. */
  async #publish(): Promise<void> {
    const { rate, seconds } = this.#options;
    const beganMs = performance.now();
    let toldMs = beganMs;
    while (!this.#ending) {
      const nowMs = performance.now();
      const elapsedS = (nowMs - beganMs) / 1000;
      if (elapsedS >= seconds) break;
      const due = Math.floor(elapsedS * rate);
      while (this.#sent < due && this.#publishing.size < WAITING_MAX) {
        const done = this.#publishOne(this.#sent++).finally(() => this.#publishing.delete(done));
        this.#publishing.add(done);
      }
      if (nowMs - toldMs >= 1000) {
        this.#tell((nowMs - toldMs) / 1000);
        toldMs = nowMs;
      }
      await pause(TICK_MS);
    }
  }

  async #publishOne(i: number): Promise<void> {
    const subject = `${this.#options.stream.toLowerCase()}.${i % 100}`;
    const msgID = `${this.#run}-${i}`;
    const beganMs = performance.now();
    await this.#insist(() => this.#js.publish(subject, this.#body, { msgID }));
    this.#latenciesMs.push(performance.now() - beganMs);
    this.#acked++;
    if (!this.#early.delete(i)) this.#owed.add(i);
  }

  /** Returns how to stop it. */
  async #consume(): Promise<() => Promise<void>> {
    const consumer = await this.#js.consumers.get(this.#options.stream, CONSUMER);
    const messages = await consumer.consume({
      max_messages: 500,
      // After a change of leader the client asks again when two heartbeats are missing: not half a minute later, as by default.
      expires: 5000,
      idle_heartbeat: 1000,
      callback: (message) => {
        this.#consumed++;
        const id = message.headers?.get('Nats-Msg-Id') ?? '';
        if (id.startsWith(`${this.#run}-`)) {
          const i = Number(id.slice(this.#run.length + 1));
          if (!this.#owed.delete(i) && i >= this.#acked - WAITING_MAX * 2) this.#early.add(i);
        }
        message.ack();
      },
    });
    return async () => {
      await messages.close();
    };
  }

  /** Repeats until it succeeds or the load ends: an answer that does not come means that the outcome is unknown. */
  async #insist<T>(attempt: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof Error) || this.#nc.isClosed() || isFinal(error)) throw error;
        this.#repeated++;
        await pause(RETRY_MS);
      }
    }
  }

  #tell(elapsedS: number): void {
    const sorted = this.#latenciesMs.sort((a, b) => a - b);
    this.#latenciesMs = [];
    const at = (part: number): string => (sorted[Math.floor((sorted.length - 1) * part)] ?? 0).toFixed(1);
    say(
      `${Math.round(sorted.length / elapsedS)} acked/s (p50 ${at(0.5)} ms, p99 ${at(0.99)} ms), ` +
        `${this.#acked} acked, ${this.#consumed} consumed, ${this.#repeated} repeated, ${this.#publishing.size} waiting`,
    );
  }
}

/** A refusal that another attempt will not change. */
function isFinal(error: Error): boolean {
  const { code } = error as { code?: unknown };
  return typeof code === 'number' && code >= 10_000 && ![10_008, 10_047, 10_077, 10_167, 10_023].includes(code);
}
