// What clients do during a round, by the official client: publishers with and without ids, a work queue, a stream of four partitions,
// double acks, ordered readers, compare-and-set on a key-value bucket, and lists and watches of another (key-load.ts). Called by round.ts,
// once per round with streams of its own.
// Invariant: everything they did and were told is in the histories, nothing else is; one history per stream.
import { setTimeout as pause } from 'node:timers/promises';
import { jetstream, DeliverPolicy as NewerDeliverPolicy } from '@nats-io/jetstream';
import type { NatsConnection as NewerConnection } from '@nats-io/transport-node';
import {
  AckPolicy,
  type Consumer,
  DeliverPolicy,
  type JetStreamClient,
  type JsMsg,
  type KV,
  type NatsConnection,
  RetentionPolicy,
} from 'nats';
import type { Event } from '../test/checkers/history.ts';
import {
  ATTEMPT_MS,
  arrival,
  bodyOf,
  contentOf,
  DUPLICATE_WINDOW_MS,
  expected,
  now,
  RETRIES_MS_MAX,
  RETRY_MS,
  settled,
} from './attempts.ts';
import { KeyLoad } from './key-load.ts';

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
const CONSUMER = 'consume';
/** Pulls end, and ask again, within this time; a leader that is gone shows by two heartbeats. */
const CONSUME = { max_messages: 500, expires: 5000, idle_heartbeat: 2000 };
/** After that long without a publish every client has noticed that it lacks something, but for some of the newer generation. */
const NUDGE_AFTER_MS = 40_000;
/** Per connection. */
const LANES = { withIds: 5, withoutIds: 2, work: 2, parts: 2, keyValue: 2, bulk: 192 };
const PACED = LANES.withIds + LANES.withoutIds + LANES.work + LANES.parts;
/** Of one lane of the stream of several partitions. */
const SUBJECTS = 11;

export const STREAMS = ['log', 'work', 'kv', 'keys', 'parts', 'bulk'] as const;
export type StreamKind = (typeof STREAMS)[number];
export const PARTITIONS: Record<StreamKind, number> = { log: 1, work: 1, kv: 1, keys: 1, parts: 4, bulk: 1 };

/** Those with workers. */
const WORKED = ['log', 'work', 'parts'] as const;

/** Of a stream KV_x. */
const bucketOf = (stream: string): string => stream.slice('KV_'.length);

export interface WorkloadOptions {
  round: number;
  /** Messages a second to the log stream, the work queue and the stream of several partitions together; 0: as fast as acks come. */
  rate: number;
  /** Messages a second to a stream that nobody consumes; 0: none. */
  bulk: number;
  payloadBytes: number;
}

export interface Connections {
  /** The last of them moves from node to node, the others stay with theirs. */
  clients: readonly NatsConnection[];
  /** Of the newer generation of the client; moves as well. */
  newer: NewerConnection;
  /** Goes to the nodes directly, so that asking and setting up are not part of what is disturbed. */
  admin: NatsConnection;
}

export class Workload {
  readonly streams: Record<StreamKind, string>;
  readonly events: Record<StreamKind, Event[]> = { log: [], work: [], kv: [], keys: [], parts: [], bulk: [] };
  readonly keys: KeyLoad;
  acked = 0;
  /** Publishes without which a reader would not have come to the end. */
  nudges = 0;
  readonly #connections: readonly NatsConnection[];
  readonly #newer: NewerConnection;
  readonly #admin: NatsConnection;
  readonly #options: WorkloadOptions;
  readonly #loops: Promise<void>[] = [];
  #publishing = true;
  #working = true;
  #readSeq = 0;
  #consumedSeq = 0;
  #consuming: { stop(): void } | undefined;
  #nudgeAtMs = Number.POSITIVE_INFINITY;

  constructor({ clients, newer, admin }: Connections, options: WorkloadOptions) {
    this.#connections = clients;
    this.#newer = newer;
    this.#admin = admin;
    this.#options = options;
    const { round } = options;
    this.streams = {
      log: `CHAOS_LOG_${round}`,
      work: `CHAOS_WORK_${round}`,
      kv: `KV_CHAOS_${round}`,
      keys: `KV_CHAOS_KEYS_${round}`,
      parts: `CHAOS_PARTS_${round}`,
      bulk: `CHAOS_BULK_${round}`,
    };
    this.keys = new KeyLoad(bucketOf(this.streams.keys), this.events.keys, clients[clients.length - 1], newer);
  }

  async start(): Promise<void> {
    const { log, work, kv, keys, parts, bulk } = this.streams;
    const jsm = await this.#admin.jetstreamManager({ timeout: 10_000, checkAPI: false });
    const shared = { num_replicas: 3, duplicate_window: DUPLICATE_WINDOW_MS * 1e6 };
    await jsm.streams.add({ name: log, subjects: [`${log}.>`], allow_direct: true, ...shared });
    await jsm.streams.add({ name: bulk, subjects: [`${bulk}.>`], ...shared });
    await jsm.streams.add({ name: work, subjects: [`${work}.>`], retention: RetentionPolicy.Workqueue, ...shared });
    const metadata = { 'flotilla.partitions': String(PARTITIONS.parts) };
    await jsm.streams.add({ name: parts, subjects: [`${parts}.>`], metadata, ...shared });
    // A bucket that forgets nothing, so that every write can be checked.
    const bucket = { allow_direct: true, allow_rollup_hdrs: true, deny_delete: true, ...shared };
    await jsm.streams.add({ name: kv, subjects: [`$KV.${bucketOf(kv)}.>`], ...bucket });
    // And one that knows the last of each key.
    await jsm.streams.add({ name: keys, subjects: [`$KV.${bucketOf(keys)}.>`], max_msgs_per_subject: 1, ...bucket });
    for (const stream of [log, work, parts]) {
      const config = { ack_policy: AckPolicy.Explicit, ack_wait: ACK_WAIT_MS * 1e6, max_ack_pending: 5000 };
      await jsm.consumers.add(stream, { durable_name: WORKERS, ...config });
    }
    const writers = this.#connections.map((connection) => connection.jetstream({ timeout: ATTEMPT_MS }));
    await this.keys.start(this.#admin.jetstream({ timeout: ATTEMPT_MS }), writers);
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
    this.#loops.push(this.#consumeInOrder());
    this.#loops.push(this.#samplePositions(moving));
  }

  async stopPublishing(): Promise<void> {
    this.#publishing = false;
    this.keys.stopWriting();
    await pause(ATTEMPT_MS + RETRY_MS);
    this.#nudgeAtMs = now() + NUDGE_AFTER_MS;
  }

  async stop(): Promise<void> {
    this.#publishing = false;
    this.#working = false;
    this.#consuming?.stop();
    await Promise.all([...this.#loops, this.keys.stop()]);
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
    const seq = await settled(this.events[kind], id, attempt);
    if (seq !== undefined) this.acked++;
    return seq !== undefined;
  }

  // ---- key-value

  async #bucket(js: JetStreamClient): Promise<KV | undefined> {
    while (this.#publishing) {
      try {
        return await js.views.kv(bucketOf(this.streams.kv), { bindOnly: true });
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
      const subject = `$KV.${bucketOf(this.streams.kv)}.${key}`;
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

  /** Asks for more as messages come, as applications do; where it ended it goes on. */
  async #consumeInOrder(): Promise<void> {
    const js = jetstream(this.#newer, { timeout: ATTEMPT_MS });
    while (this.#working) {
      try {
        const consumer = await js.consumers.get(this.streams.log, {
          deliver_policy: NewerDeliverPolicy.StartSequence,
          opt_start_seq: this.#consumedSeq + 1,
        });
        const messages = await consumer.consume(CONSUME);
        this.#consuming = messages;
        if (!this.#working) messages.stop();
        for await (const { seq, data } of messages) {
          this.#consumedSeq = seq;
          const message = { consumer: CONSUMER, seq, content: contentOf(data), deliveries: 1 };
          this.events.log.push({ kind: 'delivered', ...arrival(), ...message });
        }
      } catch (error) {
        expected(error);
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
    const lastSeq = async (kind: StreamKind): Promise<number> =>
      (await jsm.streams.info(this.streams[kind])).state.last_seq;
    const ofLog = await lastSeq('log');
    if (this.#readSeq !== ofLog) return `the reader is at ${this.#readSeq} of ${ofLog}`;
    const lacking =
      this.keys.undrained(await lastSeq('keys')) ??
      (this.#consumedSeq === ofLog
        ? undefined
        : { why: `the ordered consumer is at ${this.#consumedSeq} of ${ofLog}`, isNewer: true });
    if (lacking?.isNewer && now() > this.#nudgeAtMs) await this.#nudge();
    return lacking?.why;
  }

  /** One more message behind the last one. */
  async #nudge(): Promise<void> {
    this.nudges++;
    this.#nudgeAtMs = now() + NUDGE_AFTER_MS;
    const js = this.#admin.jetstream({ timeout: ATTEMPT_MS });
    await this.keys.nudge(js);
    const content = `log.nudge.${this.nudges}`;
    const subject = `${this.streams.log}.nudge`;
    this.events.log.push({ kind: 'sent', at: now(), client: -1, id: content, msgId: '', subject, content });
    const body = bodyOf(content, this.#options.payloadBytes);
    await this.#settled('log', content, async () => await js.publish(subject, body));
  }

  get consumers(): Record<StreamKind, { drained: readonly string[]; ordered: readonly string[] }> {
    return {
      log: { drained: [WORKERS, READER, CONSUMER], ordered: [READER, CONSUMER] },
      work: { drained: [WORKERS], ordered: [] },
      kv: { drained: [], ordered: [] },
      keys: { drained: this.keys.lastWatches, ordered: this.keys.watches },
      parts: { drained: [WORKERS], ordered: [] },
      bulk: { drained: [], ordered: [] },
    };
  }
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
