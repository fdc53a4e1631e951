// What clients do during a round, by the official client: publishers with and without ids, a work queue, a stream of four partitions,
// double acks, an ordered reader, and compare-and-set on a key-value bucket. Called by round.ts, once per round with streams of its own.
// Invariant: everything they did and were told is in the histories, nothing else is; one history per stream.
import { setTimeout as pause } from 'node:timers/promises';
import {
  AckPolicy,
  type Consumer,
  DeliverPolicy,
  type JetStreamClient,
  type JsMsg,
  type KV,
  type NatsConnection,
  NatsError,
  RetentionPolicy,
} from 'nats';
import type { Event } from '../test/checkers/history.ts';

const ATTEMPT_MS = 3000;
const RETRY_MS = 50;
/** Below the duplicate window, so that a retry is still known. */
const RETRIES_MS_MAX = 90_000;
const DUPLICATE_WINDOW_MS = 120_000;
const ACK_WAIT_MS = 12_000;
/** Copies that left before a confirmation: less than the ack wait, so that a lost confirmation would be seen. */
export const IN_FLIGHT_MS = 10_000;
const FETCH_MS = 1000;
/** What does not end although its time is over is given up: the connection is cut and the client has not noticed. */
const FETCH_GIVEN_UP_MS = 6000;
const SAMPLE_MS = 700;
const NOT_ACKED_SHARE = 0.01;
const KEYS = 8;
const WORKERS = 'workers';
const READER = 'reader';
/** Per connection. */
const LANES = { withIds: 5, withoutIds: 2, work: 2, parts: 2, keyValue: 2, bulk: 192 };
const PACED = LANES.withIds + LANES.withoutIds + LANES.work + LANES.parts;
/** Of one lane of the stream of several partitions. */
const SUBJECTS = 11;

export const STREAMS = ['log', 'work', 'kv', 'parts', 'bulk'] as const;
export type StreamKind = (typeof STREAMS)[number];
export const PARTITIONS: Record<StreamKind, number> = { log: 1, work: 1, kv: 1, parts: 4, bulk: 1 };

/** Those with workers. */
const WORKED = ['log', 'work', 'parts'] as const;

export interface WorkloadOptions {
  round: number;
  /** Messages a second to the log stream, the work queue and the stream of several partitions together; 0: as fast as acks come. */
  rate: number;
  /** Messages a second to a stream that nobody consumes; 0: none. */
  bulk: number;
  payloadBytes: number;
}

const now = (): number => performance.now();
/** When a message left its leader is not known here. */
const arrival = (): { at: number; leftAt: number } => ({ at: now(), leftAt: now() });
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class Workload {
  readonly streams: Record<StreamKind, string>;
  readonly events: Record<StreamKind, Event[]> = { log: [], work: [], kv: [], parts: [], bulk: [] };
  acked = 0;
  readonly #connections: readonly NatsConnection[];
  readonly #admin: NatsConnection;
  readonly #options: WorkloadOptions;
  readonly #loops: Promise<void>[] = [];
  #publishing = true;
  #working = true;
  #readSeq = 0;

  /** The last of the connections moves from node to node, the others stay with theirs. `admin` goes to the nodes directly, so that
   * asking and setting up are not part of what is disturbed. */
  constructor(connections: readonly NatsConnection[], admin: NatsConnection, options: WorkloadOptions) {
    this.#connections = connections;
    this.#admin = admin;
    this.#options = options;
    const { round } = options;
    this.streams = {
      log: `CHAOS_LOG_${round}`,
      work: `CHAOS_WORK_${round}`,
      kv: `KV_CHAOS_${round}`,
      parts: `CHAOS_PARTS_${round}`,
      bulk: `CHAOS_BULK_${round}`,
    };
  }

  get readSeq(): number {
    return this.#readSeq;
  }

  async start(): Promise<void> {
    const { log, work, kv, parts, bulk } = this.streams;
    const jsm = await this.#admin.jetstreamManager({ timeout: 10_000, checkAPI: false });
    const shared = { num_replicas: 3, duplicate_window: DUPLICATE_WINDOW_MS * 1e6 };
    await jsm.streams.add({ name: log, subjects: [`${log}.>`], allow_direct: true, ...shared });
    await jsm.streams.add({ name: bulk, subjects: [`${bulk}.>`], ...shared });
    await jsm.streams.add({ name: work, subjects: [`${work}.>`], retention: RetentionPolicy.Workqueue, ...shared });
    const metadata = { 'flotilla.partitions': String(PARTITIONS.parts) };
    await jsm.streams.add({ name: parts, subjects: [`${parts}.>`], metadata, ...shared });
    // A bucket that forgets nothing, so that every write can be checked.
    const bucket = {
      subjects: [`$KV.${kv.slice(3)}.>`],
      allow_direct: true,
      allow_rollup_hdrs: true,
      deny_delete: true,
    };
    await jsm.streams.add({ name: kv, ...bucket, ...shared });
    for (const stream of [log, work, parts]) {
      const config = { ack_policy: AckPolicy.Explicit, ack_wait: ACK_WAIT_MS * 1e6, max_ack_pending: 5000 };
      await jsm.consumers.add(stream, { durable_name: WORKERS, ...config });
    }
    let client = 0;
    for (const connection of this.#connections) {
      const js = connection.jetstream({ timeout: ATTEMPT_MS });
      const lane = (kind: StreamKind, withIds: boolean): void => {
        const [rate, lanes] = kind === 'bulk' ? [this.#options.bulk, LANES.bulk] : [this.#options.rate, PACED];
        const everyMs = rate === 0 ? 0 : (this.#connections.length * lanes * 1000) / rate;
        this.#loops.push(this.#publish(js, kind, client++, withIds, everyMs));
      };
      if (this.#options.bulk > 0) for (let i = 0; i < LANES.bulk; i++) lane('bulk', true);
      for (let i = 0; i < LANES.withIds; i++) lane('log', true);
      for (let i = 0; i < LANES.withoutIds; i++) lane('log', false);
      for (let i = 0; i < LANES.work; i++) lane('work', true);
      for (let i = 0; i < LANES.parts; i++) lane('parts', true);
      for (let i = 0; i < LANES.keyValue; i++) this.#loops.push(this.#compareAndSet(js, client++));
      this.#loops.push(...WORKED.map((kind) => this.#work(js, kind)));
    }
    const moving = this.#connections[this.#connections.length - 1];
    this.#loops.push(this.#readInOrder(moving.jetstream({ timeout: ATTEMPT_MS })));
    this.#loops.push(this.#samplePositions(moving));
  }

  async stopPublishing(): Promise<void> {
    this.#publishing = false;
    await pause(ATTEMPT_MS + RETRY_MS);
  }

  async stop(): Promise<void> {
    this.#publishing = false;
    this.#working = false;
    await Promise.all(this.#loops);
  }

  // ---- publishers

  /** One message after the other; several lanes per connection keep it busy. */
  async #publish(
    js: JetStreamClient,
    kind: StreamKind,
    client: number,
    withIds: boolean,
    everyMs: number,
  ): Promise<void> {
    const stream = this.streams[kind];
    let dueMs = now() + Math.random() * everyMs;
    for (let n = 0; this.#publishing; n++) {
      // What an outage held up is not made up for.
      dueMs = Math.max(dueMs + everyMs, now() - everyMs);
      const earlyMs = dueMs - now();
      if (earlyMs > 0) await pause(earlyMs);
      const content = `${kind}.${client}.${n}`;
      const subject = kind === 'parts' ? `${stream}.${client}.${n % SUBJECTS}` : `${stream}.${client}`;
      const body = bodyOf(content, this.#options.payloadBytes);
      const firstMs = now();
      for (let attempt = 0; this.#publishing; attempt++) {
        const id = withIds ? `${content}#${attempt}` : content;
        const msgId = withIds ? content : '';
        this.events[kind].push({ kind: 'sent', at: now(), client, id, msgId, subject, content });
        const options = withIds ? { msgID: content } : undefined;
        const stored = await this.#settled(kind, id, async () => await js.publish(subject, body, options));
        if (stored) break;
        await pause(RETRY_MS);
        if (!withIds || now() - firstMs > RETRIES_MS_MAX) break;
      }
    }
  }

  /** True: acknowledged. */
  async #settled(
    kind: StreamKind,
    id: string,
    attempt: () => Promise<{ seq: number; duplicate: boolean }>,
  ): Promise<boolean> {
    const events = this.events[kind];
    try {
      const { seq, duplicate } = await attempt();
      events.push({ kind: 'acked', at: now(), id, seq, duplicate });
      this.acked++;
      return true;
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) events.push({ kind: 'unknown', at: now(), id });
      else events.push({ kind: 'refused', at: now(), id, error: refusal });
      return false;
    }
  }

  // ---- key-value

  async #bucket(js: JetStreamClient): Promise<KV | undefined> {
    while (this.#publishing) {
      try {
        return await js.views.kv(this.streams.kv.slice(3), { bindOnly: true });
      } catch (error) {
        expected(error);
        await pause(RETRY_MS);
      }
    }
    return undefined;
  }

  /** Reads a key, writes the next value on the condition that nobody else did. */
  async #compareAndSet(js: JetStreamClient, client: number): Promise<void> {
    const events = this.events.kv;
    const bucket = await this.#bucket(js);
    for (let n = 0; this.#publishing && bucket; n++) {
      const key = `key${Math.floor(Math.random() * KEYS)}`;
      const subject = `$KV.${this.streams.kv.slice(3)}.${key}`;
      const at = now();
      let revision = 0;
      try {
        const entry = await bucket.get(key);
        revision = entry?.revision ?? 0;
        events.push({ kind: 'read', at, until: now(), subject, seq: revision });
        if (entry) {
          const content = contentOf(entry.value);
          events.push({
            kind: 'delivered',
            ...arrival(),
            consumer: `get ${client}`,
            seq: revision,
            content,
            deliveries: 1,
          });
        }
      } catch (error) {
        expected(error);
        await pause(RETRY_MS);
        continue;
      }
      const id = `kv.${client}.${n}`;
      const body = bodyOf(id, this.#options.payloadBytes);
      events.push({ kind: 'sent', at: now(), client, id, msgId: '', subject, content: id, expected: revision });
      const won = await this.#settled('kv', id, async () => ({
        seq: revision === 0 ? await bucket.create(key, body) : await bucket.update(key, body, revision),
        duplicate: false,
      }));
      await pause(won ? RETRY_MS : RETRY_MS + Math.random() * RETRY_MS);
    }
  }

  // ---- consumers

  /** Pulls, and asks for the confirmation of every ack. */
  async #work(js: JetStreamClient, kind: (typeof WORKED)[number]): Promise<void> {
    const events = this.events[kind];
    let consumer: Consumer | undefined;
    while (this.#working) {
      try {
        consumer ??= await js.consumers.get(this.streams[kind], WORKERS);
        await fetched(consumer, 200, (message) => {
          const { seq } = message;
          const deliveries = message.info.redeliveryCount;
          const content = contentOf(message.data);
          events.push({ kind: 'delivered', ...arrival(), consumer: WORKERS, seq, content, deliveries });
          if (this.#publishing && Math.random() < NOT_ACKED_SHARE) return;
          events.push({ kind: 'ack-sent', at: now(), consumer: WORKERS, seq });
          void message.ackAck({ timeout: ATTEMPT_MS }).then((confirmed) => {
            if (confirmed) events.push({ kind: 'ack-confirmed', at: now(), consumer: WORKERS, seq });
          }, expected);
        });
      } catch (error) {
        expected(error);
        consumer = undefined;
        await pause(RETRY_MS);
      }
    }
  }

  async #readInOrder(js: JetStreamClient): Promise<void> {
    let consumer: Consumer | undefined;
    while (this.#working) {
      try {
        consumer ??= await js.consumers.get(this.streams.log, {
          deliver_policy: DeliverPolicy.StartSequence,
          opt_start_seq: this.#readSeq + 1,
        });
        const before = this.#readSeq;
        await fetched(consumer, 2000, (message) => {
          const { seq } = message;
          this.#readSeq = seq;
          const content = contentOf(message.data);
          this.events.log.push({ kind: 'delivered', ...arrival(), consumer: READER, seq, content, deliveries: 1 });
        });
        if (this.#readSeq > before) continue;
        // What arrives for a pull that the client has given up already is dropped there, and the client learns of it from the message
        // behind it: which never comes when it was the last.
        await consumer.delete();
        consumer = undefined;
      } catch (error) {
        expected(error);
        consumer = undefined;
        await pause(RETRY_MS);
      }
    }
  }

  async #samplePositions(connection: NatsConnection): Promise<void> {
    const jsm = await connection.jetstreamManager({ timeout: ATTEMPT_MS, checkAPI: false });
    const sample = async (kind: StreamKind, of: string, ask: () => Promise<number>): Promise<void> => {
      const at = now();
      try {
        const seq = await ask();
        this.events[kind].push({ kind: 'position', at, until: now(), of, seq });
      } catch (error) {
        expected(error);
      }
    };
    const { streams } = this;
    while (this.#working) {
      for (const kind of STREAMS)
        await sample(kind, 'last seq', async () => (await jsm.streams.info(streams[kind])).state.last_seq);
      for (const kind of ['log', 'work'] as const)
        await sample(
          kind,
          'ack floor',
          async () => (await jsm.consumers.info(streams[kind], WORKERS)).ack_floor.stream_seq,
        );
      await pause(SAMPLE_MS);
    }
  }

  // ---- for the judge

  /** Undefined: all was delivered and acked. */
  async undrained(): Promise<string | undefined> {
    const jsm = await this.#admin.jetstreamManager({ timeout: ATTEMPT_MS, checkAPI: false });
    for (const kind of WORKED) {
      const { num_pending, num_ack_pending } = await jsm.consumers.info(this.streams[kind], WORKERS);
      if (num_pending + num_ack_pending > 0)
        return `${this.streams[kind]}: ${num_pending} not delivered, ${num_ack_pending} not acked`;
    }
    const { state } = await jsm.streams.info(this.streams.log);
    return this.#readSeq === state.last_seq ? undefined : `the reader is at ${this.#readSeq} of ${state.last_seq}`;
  }

  readonly consumers: Record<StreamKind, { drained: readonly string[]; ordered: readonly string[] }> = {
    log: { drained: [WORKERS, READER], ordered: [READER] },
    work: { drained: [WORKERS], ordered: [] },
    kv: { drained: [], ordered: [] },
    parts: { drained: [WORKERS], ordered: [] },
    bulk: { drained: [], ordered: [] },
  };
}

/** Hands on what one pull brings. */
async function fetched(consumer: Consumer, max_messages: number, take: (message: JsMsg) => void): Promise<void> {
  const messages = await consumer.fetch({ max_messages, expires: FETCH_MS });
  const giveUp = setTimeout(() => messages.stop(), FETCH_GIVEN_UP_MS);
  try {
    for await (const message of messages) take(message);
  } finally {
    clearTimeout(giveUp);
  }
}

/** What faults do to a client; anything else is a fault of this program. */
function expected(error: unknown): void {
  if (!(error instanceof Error) || error instanceof TypeError || error instanceof ReferenceError) throw error;
}

/** The error that promises that nothing was stored; undefined: nobody knows. */
function refusalOf(error: unknown): number | undefined {
  expected(error);
  if (!(error instanceof NatsError)) return undefined;
  const code = error.api_error?.err_code;
  if (code !== undefined) return code === 10008 ? undefined : code;
  return error.code === '503' ? 503 : undefined;
}

/** The content, then dots up to the wanted size. */
export function bodyOf(content: string, bytes: number): Uint8Array {
  return encoder.encode(`${content}|`.padEnd(bytes, '.'));
}

/** What was sent, or all of it when somebody changed a byte. */
export function contentOf(body: Uint8Array): string {
  const text = decoder.decode(body);
  const [content, filler] = text.split('|', 2);
  return filler !== undefined && /^\.*$/.test(filler) ? content : text;
}
