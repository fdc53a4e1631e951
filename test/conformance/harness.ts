// What every file of the suite uses: both generations of the official client behind one shape, unique names, and raw
// requests whose answers are compared byte for byte. The legacy client's objects have the modern ones' shape wherever
// this suite touches them; the one cast that says so is in `legacy`.

import {
  type Consumer,
  type JetStreamClient,
  type JetStreamManager,
  jetstream,
  jetstreamManager,
} from '@nats-io/jetstream';
import { type KV, Kvm, type KvOptions } from '@nats-io/kv';
import {
  type ConnectionOptions,
  connect,
  headers,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
} from '@nats-io/transport-node';
import { connect as connectLegacy, consumerOpts, headers as headersLegacy, StorageType } from 'nats';
import { afterAll, inject } from 'vitest';
import { targetKind } from './target.ts';

export interface Session {
  nc: NatsConnection;
  js: JetStreamClient;
  jsm: JetStreamManager;
  kv(bucket: string, options?: Partial<KvOptions>): Promise<KV>;
  headers(): MsgHdrs;
  /** The generation's ordered pull consumer. */
  orderedPull(stream: string, filter?: string): Promise<Consumer>;
  /** The generation's ordered push consumer; returns how to stop it. */
  orderedPush(stream: string, filter: string, onMessage: (text: string, seq: number) => void): Promise<() => void>;
  close(): Promise<void>;
}

export interface Generation {
  name: string;
  open(options: ConnectionOptions): Promise<Session>;
}

const modern: Generation = {
  name: 'nats.js 3.x',
  async open(options) {
    const nc = await connect(options);
    const js = jetstream(nc, { timeout: 20_000 });
    return {
      nc,
      js,
      jsm: await jetstreamManager(nc, { timeout: 20_000 }),
      kv: (bucket, kvOptions = {}) => new Kvm(js).create(bucket, kvOptions),
      headers: () => headers(),
      orderedPull: (stream, filter) => js.consumers.get(stream, filter ? { filter_subjects: filter } : {}),
      orderedPush: async (stream, filter, onMessage) => {
        const consumer = await js.consumers.getPushConsumer(stream, { filter_subjects: filter });
        const messages = await consumer.consume({ callback: (message) => onMessage(message.string(), message.seq) });
        return () => messages.stop();
      },
      close: () => nc.close(),
    };
  },
};

const legacy: Generation = {
  name: 'nats 2.29',
  async open(options) {
    const nc = await connectLegacy(options as Parameters<typeof connectLegacy>[0]);
    const js = nc.jetstream({ timeout: 20_000 });
    const jsm = await nc.jetstreamManager({ timeout: 20_000 });
    return {
      nc,
      js,
      jsm,
      kv: (bucket: string, kvOptions: object = {}) => js.views.kv(bucket, { storage: StorageType.File, ...kvOptions }),
      headers: () => headersLegacy(),
      orderedPull: (stream: string, filter?: string) =>
        js.consumers.get(stream, filter ? { filterSubjects: filter } : {}),
      orderedPush: async (stream: string, filter: string, onMessage: (text: string, seq: number) => void) => {
        const options = consumerOpts();
        options.orderedConsumer();
        options.bindStream(stream);
        options.callback((_, message) => {
          if (message) onMessage(message.string(), message.seq);
        });
        const subscription = await js.subscribe(filter, options);
        return () => subscription.unsubscribe();
      },
      close: () => nc.close(),
    } as unknown as Session;
  },
};

/** Only a hang takes longer. */
const PATIENCE_MS = 25_000;

export const generations: Generation[] = [legacy, modern];
export const against = targetKind();

const opened: Session[] = [];
/** Those on the cluster that outlives this file. */
const onShared: Session[] = [];

/** A session on node `node` of the shared cluster (0 to 2); closed at the end of the file. */
export async function open(generation: Generation, node = 0, options: ConnectionOptions = {}): Promise<Session> {
  const session = await openAt(generation, inject('urls')[node], options);
  onShared.push(session);
  return session;
}

export async function openAt(generation: Generation, url: string, options: ConnectionOptions = {}): Promise<Session> {
  const session = await generation.open({ servers: url, reconnect: false, ignoreClusterUpdates: true, ...options });
  opened.push(session);
  return session;
}

afterAll(async () => {
  const cleaner = onShared.find((session) => !session.nc.isClosed());
  if (cleaner) {
    // Buckets too, whose streams bear a prefix: pages of the next file show what is left here.
    const { streams } = (await api(cleaner, 'STREAM.NAMES')) as { streams?: string[] | null };
    for (const name of (streams ?? []).filter((each) => each.includes(run)))
      await cleaner.nc.request(`$JS.API.STREAM.DELETE.${name}`, '', { timeout: 20_000 });
  }
  await Promise.all(opened.map((session) => session.close()));
});

// Names differ between files and between runs on one target.
const run = `${process.pid.toString(36)}${Date.now().toString(36)}`.toUpperCase();
let counter = 0;

/** A name that no other test uses; streams with that in their name are deleted at the end of the file. */
export function unique(prefix = 'S'): string {
  return `${prefix}_${run}_${++counter}`;
}

/** An answer, read by path. */
export type Json = Record<string, unknown> & { error?: { code: number; err_code: number; description: string } };

/** Whoever can ask: a session, or a bare connection of an account without JetStream. */
export type Requester = Pick<Session, 'nc'>;

/** One request to `$JS.API.<operation>`; the parsed answer. `body` may be text for malformed requests. */
export async function api(session: Requester, operation: string, body?: unknown): Promise<Json> {
  const payload = body === undefined ? '' : typeof body === 'string' ? body : JSON.stringify(body);
  const message = await session.nc.request(`$JS.API.${operation}`, payload, { timeout: 20_000 });
  return JSON.parse(message.string());
}

/** As `api`, and the answer must not be an error. */
export async function ok(session: Requester, operation: string, body?: unknown): Promise<Json> {
  const answer = await api(session, operation, body);
  if (answer.error) throw new Error(`${operation}: ${JSON.stringify(answer.error)}`);
  return answer;
}

/** As `api`; the error as `[code, err_code, description]`, or the whole answer when there is none. */
export async function refusal(session: Requester, operation: string, body?: unknown): Promise<unknown> {
  const answer = await api(session, operation, body);
  const error = answer.error;
  return error ? [error.code, error.err_code, error.description] : answer;
}

/** Creates a stream (three replicas unless `config` says otherwise) and returns its name. */
export async function stream(session: Session, config: Record<string, unknown> = {}): Promise<string> {
  const name = (config['name'] as string | undefined) ?? unique();
  await ok(session, `STREAM.CREATE.${name}`, {
    name,
    subjects: [`${name}.>`],
    num_replicas: 3,
    ...config,
  });
  return name;
}

/** Publishes into a stream and returns the PubAck, error or not. */
export async function put(
  session: Session,
  subject: string,
  payload = '',
  headers: Record<string, string> = {},
): Promise<Json> {
  const nc = session.nc;
  const hdrs = Object.keys(headers).length > 0 ? headersOf(session, headers) : undefined;
  const message = await nc.request(subject, payload, { timeout: 20_000, headers: hdrs });
  return JSON.parse(message.string());
}

export async function putMany(session: Session, subject: string, count: number, payload = 'x'): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, i) => put(session, subject, `${payload}${i + 1}`)));
}

export function headersOf(session: Session, values: Record<string, string>): MsgHdrs {
  const made = session.headers();
  for (const [key, value] of Object.entries(values)) made.set(key, value);
  return made;
}

export interface Frame {
  subject: string;
  reply: string;
  /** 0 when it is a message, else the status code. */
  status: number;
  /** `404 No Messages`, as on the header's first line. */
  line: string;
  headers: Record<string, string>;
  text: string;
}

function frameOf(message: Msg): Frame {
  const headers: Record<string, string> = {};
  let status = 0;
  let line = '';
  if (message.headers) {
    for (const key of message.headers.keys()) headers[key] = message.headers.get(key);
    status = message.headers.code;
    if (status > 0) line = `${status} ${message.headers.description}`.trim();
  }
  return { subject: message.subject, reply: message.reply ?? '', status, line, headers, text: message.string() };
}

/** A raw pull request: every frame that comes to its inbox until `done` says so or `withinMs` passed. */
export async function pull(
  session: Session,
  streamName: string,
  consumer: string,
  body: unknown,
  withinMs = 20_000,
  done: (frames: Frame[]) => boolean = (frames) => isFinal(frames.at(-1)),
): Promise<Frame[]> {
  const request = startPull(session, streamName, consumer, body);
  return request.collect(done, withinMs);
}

/** The next `count` frames with messages, however long a busy machine needs; the request asks for no more, so nothing of it stays. */
export function take(session: Session, streamName: string, consumer: string, count: number): Promise<Frame[]> {
  const body = { batch: count, expires: PATIENCE_MS * 1e6 };
  return pull(session, streamName, consumer, body, PATIENCE_MS, isCount(count));
}

export interface PullRequest {
  frames: Frame[];
  collect(done: (frames: Frame[]) => boolean, withinMs: number): Promise<Frame[]>;
}

export function startPull(session: Session, streamName: string, consumer: string, body: unknown): PullRequest {
  return start(session, `$JS.API.CONSUMER.MSG.NEXT.${streamName}.${consumer}`, body);
}

/** Publishes `body` with an inbox of its own as reply; the frames that come to it until `done`. */
export function exchange(
  session: Session,
  subject: string,
  body: unknown,
  done: (frames: Frame[]) => boolean,
  withinMs = 20_000,
): Promise<Frame[]> {
  return start(session, subject, body).collect(done, withinMs);
}

/** Collects what comes to a subject. */
export function listen(
  session: Session,
  subject: string,
  queue?: string,
  also: (message: Msg) => void = () => {},
): { frames: Frame[]; stop(): void } {
  const frames: Frame[] = [];
  const subscription = session.nc.subscribe(subject, {
    queue,
    callback: (_, message) => {
      frames.push(frameOf(message));
      also(message);
    },
  });
  return { frames, stop: () => subscription.unsubscribe() };
}

function start(session: Session, subject: string, body: unknown): PullRequest {
  const nc = session.nc;
  const inbox = `_INBOX.${unique('P')}`;
  const frames: Frame[] = [];
  let wake = () => {};
  const subscription = nc.subscribe(inbox, {
    callback: (_, message) => {
      frames.push(frameOf(message));
      wake();
    },
  });
  const payload = typeof body === 'string' ? body : JSON.stringify(body);
  nc.publish(subject, payload, { reply: inbox });
  return {
    frames,
    collect: (done, withinMs) =>
      new Promise((resolve) => {
        const finish = () => {
          clearTimeout(timer);
          wake = () => {};
          subscription.unsubscribe();
          resolve(frames);
        };
        const timer = setTimeout(finish, withinMs);
        wake = () => {
          if (frames.length > 0 && done(frames)) finish();
        };
        wake();
      }),
  };
}

/** A status frame that ends a pull request. */
export function isFinal(frame: Frame | undefined): boolean {
  return frame !== undefined && frame.status >= 200;
}

export const isCount = (count: number) => (frames: Frame[]) =>
  frames.filter((frame) => frame.status === 0).length >= count;

export function texts(frames: Frame[]): string[] {
  return frames.filter((frame) => frame.status === 0).map((frame) => frame.text);
}

export function lines(frames: Frame[]): string[] {
  return frames.filter((frame) => frame.status > 0).map((frame) => frame.line);
}

/** The ack subject's numbers. */
export function ackInfo(frame: Frame): { delivered: number; streamSeq: number; consumerSeq: number; pending: number } {
  const tokens = frame.reply.split('.');
  return {
    delivered: Number(tokens[4]),
    streamSeq: Number(tokens[5]),
    consumerSeq: Number(tokens[6]),
    pending: Number(tokens[8]),
  };
}

/** Polls until `check` returns something other than undefined or false. */
export async function eventually<T>(check: () => Promise<T | undefined | false>, withinMs = 30_000): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== false) return value;
    if (performance.now() > deadline) throw new Error(`not within ${withinMs} ms`);
    await pause(20);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((go) => setTimeout(go, ms));
}
