// What clients of a chaos run do, and what they remember of the answers: publishers with ids, compare-and-set writers, and workers of
// two durable consumers who ask for confirmation of every ack. Called by kill-storm.ts.
// Invariant: only what a node confirmed is written down, so everything written down must be found afterwards.
import { randomUUID } from 'node:crypto';
import {
  AckPolicy,
  connect,
  type JetStreamClient,
  type JetStreamManager,
  type NatsConnection,
  RetentionPolicy,
} from 'nats';

const ATTEMPT_MS = 2000;
const RETRY_MS = 50;
const FETCH_MS = 1000;
const ACK_WAIT_NANOS = 3_000_000_000;
/** A copy that left before the confirmation may still arrive this long after it. */
export const IN_FLIGHT_MS = 4000;
const CAS_KEYS = 5;

export const STREAMS = { log: 'STORM_LOG', work: 'STORM_WORK', cas: 'STORM_CAS' } as const;

const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));

interface Acked {
  seq: number;
  /** Publisher whose earlier acks all came before this one was sent. */
  writer: string;
}

export class Workload {
  readonly acked = new Map<string, Acked>();
  readonly workAcked = new Set<string>();
  readonly workTaken = new Map<string, number>();
  readonly confirmed = new Map<string, number>();
  readonly problems: string[] = [];
  casWrites = 0;
  redeliveredInFlight = 0;
  readonly #connections: NatsConnection[] = [];
  readonly #loops: Promise<void>[] = [];
  readonly #casAcked = new Map<number, string>();
  readonly #urls: string[];
  readonly #payload: number;
  #publishing = true;
  #working = true;

  constructor(urls: string[], payload: number) {
    this.#urls = urls;
    this.#payload = payload;
  }

  async start(): Promise<void> {
    for (const url of this.#urls) {
      const others = this.#urls.filter((other) => other !== url);
      this.#connections.push(
        await connect({
          servers: [url, ...others],
          noRandomize: true,
          ignoreClusterUpdates: true,
          maxReconnectAttempts: -1,
          reconnectTimeWait: 100,
        }),
      );
    }
    const jsm = await this.manager();
    const replicated = { num_replicas: Math.min(3, this.#urls.length) };
    await jsm.streams.add({ name: STREAMS.log, subjects: ['storm.log.*'], allow_direct: true, ...replicated });
    await jsm.streams.add({ name: STREAMS.cas, subjects: ['storm.cas.*'], allow_direct: true, ...replicated });
    await jsm.streams.add({
      name: STREAMS.work,
      subjects: ['storm.work.*'],
      retention: RetentionPolicy.Workqueue,
      ...replicated,
    });
    for (const stream of [STREAMS.log, STREAMS.work]) {
      await jsm.consumers.add(stream, {
        durable_name: 'workers',
        ack_policy: AckPolicy.Explicit,
        ack_wait: ACK_WAIT_NANOS,
        max_ack_pending: 2000,
      });
    }
    for (const [c, connection] of this.#connections.entries()) {
      const js = connection.jetstream({ timeout: ATTEMPT_MS });
      for (let w = 0; w < 3; w++) this.#loops.push(this.#publish(js, `storm.log.${c}-${w}`, this.acked));
      this.#loops.push(this.#publish(js, `storm.work.${c}`, undefined));
      for (let w = 0; w < 2; w++) this.#loops.push(this.#compareAndSet(js));
      this.#loops.push(this.#work(js, STREAMS.log));
      this.#loops.push(this.#work(js, STREAMS.work));
    }
  }

  /** Any node that answers. */
  async manager(): Promise<JetStreamManager> {
    return await this.#connections[0].jetstreamManager({ timeout: 5000, checkAPI: false });
  }

  get connection(): NatsConnection {
    return this.#connections[0];
  }

  async #publish(js: JetStreamClient, subject: string, acked: Map<string, Acked> | undefined): Promise<void> {
    const body = new Uint8Array(this.#payload);
    let last = 0;
    for (let i = 0; this.#publishing; i++) {
      const msgID = `${subject}:${i}`;
      const ack = await this.#insist(
        () => js.publish(subject, body, { msgID }),
        () => this.#publishing,
      );
      if (!ack) return;
      if (acked === undefined) {
        this.workAcked.add(msgID);
        continue;
      }
      if (ack.seq <= last) this.problems.push(`${msgID}: seq ${ack.seq} after ${last} was acknowledged: out of order`);
      last = ack.seq;
      acked.set(msgID, { seq: ack.seq, writer: subject });
    }
  }

  /** Reads the last value of a key, writes the next one on that condition. Stored values name the seq that they followed. */
  async #compareAndSet(js: JetStreamClient): Promise<void> {
    const jsm = await js.jetstreamManager(false);
    while (this.#publishing) {
      const subject = `storm.cas.${Math.floor(Math.random() * CAS_KEYS)}`;
      try {
        let expected = 0;
        try {
          expected = (await jsm.streams.getMessage(STREAMS.cas, { last_by_subj: subject })).seq;
        } catch (error) {
          if (!(error instanceof Error) || !/no message found/i.test(error.message)) throw error;
        }
        const value = JSON.stringify({ after: expected, by: randomUUID() });
        const ack = await js.publish(subject, value, { expect: { lastSubjectSequence: expected } });
        if (this.#casAcked.has(ack.seq)) this.problems.push(`compare-and-set: seq ${ack.seq} was given twice`);
        this.#casAcked.set(ack.seq, value);
        this.casWrites++;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        await pause(RETRY_MS);
      }
    }
  }

  async #work(js: JetStreamClient, stream: string): Promise<void> {
    while (this.#working) {
      try {
        const consumer = await js.consumers.get(stream, 'workers');
        const messages = await consumer.fetch({ max_messages: 50, expires: FETCH_MS });
        for await (const message of messages) {
          const id = message.headers?.get('Nats-Msg-Id') ?? '';
          const key = `${stream} ${message.seq}`;
          const before = this.confirmed.get(key);
          if (before !== undefined) {
            const late = performance.now() - before;
            if (late > IN_FLIGHT_MS) {
              this.problems.push(
                `${key} (${id}) delivered again ${Math.round(late)} ms after its ack was confirmed (delivery ${message.info.redeliveryCount})`,
              );
            } else this.redeliveredInFlight++;
          }
          if (stream === STREAMS.work) this.workTaken.set(id, message.seq);
          void message
            .ackAck({ timeout: ATTEMPT_MS })
            .then((yes) => {
              if (yes && !this.confirmed.has(key)) this.confirmed.set(key, performance.now());
            })
            .catch((error: unknown) => {
              if (!(error instanceof Error)) throw error;
            });
        }
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        await pause(RETRY_MS);
      }
    }
  }

  async #insist<T>(attempt: () => Promise<T>, wanted: () => boolean): Promise<T | undefined> {
    while (wanted()) {
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        await pause(RETRY_MS);
      }
    }
    return undefined;
  }

  /** Every stream has three replicas again, and the one on `node` is up to date. */
  async refilled(node: string, withinMs: number): Promise<void> {
    const deadline = performance.now() + withinMs;
    const jsm = await this.manager();
    for (const stream of Object.values(STREAMS)) {
      for (;;) {
        let seen = '';
        try {
          const cluster = (await jsm.streams.info(stream)).cluster;
          seen = JSON.stringify(cluster);
          const replicas = cluster?.replicas ?? [];
          const isBack = cluster?.leader === node || replicas.some(({ name, current }) => name === node && current);
          if (isBack && replicas.length === 2 && replicas.every(({ current }) => current)) break;
        } catch (error) {
          if (!(error instanceof Error)) throw error;
        }
        if (performance.now() > deadline) {
          this.problems.push(`${stream} on ${node} was not refilled in ${withinMs} ms: ${seen}`);
          return;
        }
        await pause(100);
      }
    }
  }

  async stopPublishing(): Promise<void> {
    this.#publishing = false;
    await pause(ATTEMPT_MS);
  }

  async stopWorking(): Promise<void> {
    this.#working = false;
    await Promise.all(this.#loops);
  }

  /** Everything in the stream as its present leader gives it, by seq. */
  async read(stream: string): Promise<Map<number, { id: string; subject: string; text: string }>> {
    const jsm = await this.manager();
    const { state } = await jsm.streams.info(stream);
    const found = new Map<number, { id: string; subject: string; text: string }>();
    if (state.messages === 0 || stream === STREAMS.work) {
      for (let seq = state.first_seq; state.messages > 0 && seq <= state.last_seq; seq++) {
        try {
          const message = await jsm.streams.getMessage(stream, { seq });
          found.set(seq, { id: message.header.get('Nats-Msg-Id'), subject: message.subject, text: message.string() });
        } catch (error) {
          if (!(error instanceof Error) || !/no message found/i.test(error.message)) throw error;
        }
      }
      return found;
    }
    const consumer = await this.connection.jetstream().consumers.get(stream);
    while (found.size < state.messages) {
      const size = found.size;
      const messages = await consumer.fetch({ max_messages: 5000, expires: 5000 });
      for await (const message of messages) {
        if (found.has(message.seq))
          this.problems.push(`${stream}: seq ${message.seq} came twice from an ordered consumer`);
        const text = stream === STREAMS.cas ? message.string() : '';
        found.set(message.seq, { id: message.headers?.get('Nats-Msg-Id') ?? '', subject: message.subject, text });
        if (message.info.pending === 0) break;
      }
      if (found.size === size) {
        this.problems.push(`${stream}: holds ${state.messages} messages but gives only ${size}`);
        break;
      }
    }
    return found;
  }

  async verify(where: string): Promise<void> {
    const say = (text: string): void => void this.problems.push(`${where}: ${text}`);
    const log = await this.read(STREAMS.log);
    const seqOfId = new Map<string, number>();
    for (const [seq, { id }] of log) {
      if (seqOfId.has(id)) say(`${id} is stored twice: ${seqOfId.get(id)} and ${seq}`);
      seqOfId.set(id, seq);
    }
    for (const [id, { seq }] of this.acked) {
      if (log.get(seq)?.id !== id) say(`${id}, acknowledged as ${seq}, is ${seqOfId.get(id) ?? 'missing'}`);
    }
    const cas = await this.read(STREAMS.cas);
    const last = new Map<string, number>();
    for (const seq of [...cas.keys()].sort((a, b) => a - b)) {
      const { subject, text } = cas.get(seq)!;
      const { after } = JSON.parse(text) as { after: number };
      if (after !== (last.get(subject) ?? 0))
        say(`${subject} ${seq} was written after ${last.get(subject)} for ${after}`);
      last.set(subject, seq);
    }
    for (const [seq, value] of this.#casAcked) {
      if (cas.get(seq)?.text !== value) say(`compare-and-set ${seq} is ${cas.has(seq) ? 'another value' : 'missing'}`);
    }
    const work = await this.read(STREAMS.work);
    const waiting = new Set([...work.values()].map((message) => message.id));
    for (const id of this.workAcked) {
      if (!this.workTaken.has(id) && !waiting.has(id)) say(`${id} of the work queue was lost before anyone took it`);
    }
    for (const [key] of this.confirmed) {
      const [stream, seq] = key.split(' ');
      if (stream === STREAMS.work && work.has(Number(seq))) say(`${key} is still stored after its confirmed ack`);
    }
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) await connection.close();
  }
}
