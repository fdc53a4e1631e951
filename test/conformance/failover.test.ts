// A cluster of its own whose nodes are killed with SIGKILL: what was acknowledged is there, and work goes on.

import { AckPolicy, type Consumer, type JsMsg } from '@nats-io/jetstream';
import type { Msg } from '@nats-io/transport-node';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { differs } from './differences.ts';
import { api, eventually, generations, type Json, ok, openAt, pull, type Session, stream, unique } from './harness.ts';
import { RawClient } from './raw.ts';
import { Target, targetKind } from './target.ts';

const target = new Target(targetKind());

beforeAll(async () => {
  await target.start(3);
});

/** One that failed between kill and restart leaves a whole cluster to the next one. */
afterEach(async () => {
  for (const i of [0, 1, 2]) if (target.pid(i) === undefined) await target.restart(i);
});

afterAll(async () => {
  await target.stop();
});

const connectTo = (i: number): Promise<Session> => openAt(generations[1], target.urls[i]);

/** Index of the node that leads the stream. */
async function leaderOf(session: Session, name: string): Promise<number> {
  return eventually(async () => {
    const answer = await api(session, `STREAM.INFO.${name}`).catch(() => undefined);
    const leader = (answer?.['cluster'] as Json | undefined)?.['leader'] as string | undefined;
    const index = target.names.indexOf(leader ?? '');
    return index >= 0 ? { index } : undefined;
  }, 20_000).then(({ index }) => index);
}

/** Publishes until an ack comes; returns its seq. */
async function publishAnyhow(session: Session, subject: string, text: string, id: string): Promise<number> {
  return eventually(async () => {
    const ack = await session.js.publish(subject, text, { msgID: id, timeout: 2_000 }).catch(() => undefined);
    return ack?.seq;
  }, 20_000);
}

/** What one fetch brings. A request that was lost with a node ends when its heartbeats are missed, as it does for every client: not a failure. */
async function fetched(
  consumer: Consumer,
  options: { max_messages: number; expires: number },
  take: (message: JsMsg) => unknown = () => {},
): Promise<JsMsg[]> {
  const messages: JsMsg[] = [];
  try {
    for await (const message of await consumer.fetch(options)) {
      messages.push(message);
      await take(message);
    }
  } catch (error) {
    if (!/heartbeats missed/.test((error as Error).message)) throw error;
  }
  return messages;
}

/** All of the stream in one pass of an ordered reader. */
function readAll(session: Session, name: string, count: number): Promise<string[]> {
  return eventually(async () => {
    const messages = await fetched(await session.orderedPull(name), { max_messages: count, expires: 10_000 });
    return messages.length === count && messages.map((message) => message.string());
  }, 60_000);
}

test('killing the leader loses nothing that was acknowledged, and duplicates nothing', async () => {
  const name = unique();
  const first = await connectTo(0);
  await stream(first, { name });
  const acked: string[] = [];
  for (let i = 0; i < 100; i++) {
    await first.js.publish(`${name}.a`, `${i}`, { msgID: `${i}` });
    acked.push(`${i}`);
  }
  const leader = await leaderOf(first, name);
  const other = await connectTo((leader + 1) % 3);
  const consumer = unique('C');
  await other.jsm.consumers.add(name, { durable_name: consumer, ack_policy: AckPolicy.Explicit });
  const before = await (await other.js.consumers.get(name, consumer)).fetch({ max_messages: 10, expires: 5_000 });
  let doubleAcked = 0;
  for await (const message of before) if (await message.ackAck()) doubleAcked++;
  expect(doubleAcked).toBe(10);

  await target.kill(leader);
  for (let i = 100; i < 120; i++) {
    await publishAnyhow(other, `${name}.a`, `${i}`, `${i}`);
    acked.push(`${i}`);
  }
  expect(await leaderOf(other, name)).not.toBe(leader);
  expect(await readAll(other, name, 120)).toEqual(acked);

  // What was doubly acknowledged is never delivered again.
  const seqs: number[] = [];
  await eventually(async () => {
    const again = await other.js.consumers.get(name, consumer);
    await fetched(again, { max_messages: 200, expires: 3_000 }, (message) => {
      seqs.push(message.seq);
      message.ack();
    });
    return new Set(seqs).size >= 110;
  });
  expect(Math.min(...seqs)).toBe(11);
  expect(new Set(seqs).size).toBe(110);

  await target.restart(leader);
  const back = await connectTo(leader);
  await eventually(async () => {
    const info = await api(back, `STREAM.INFO.${name}`).catch(() => undefined);
    const replicas = ((info?.['cluster'] as Json | undefined)?.['replicas'] ?? []) as Json[];
    return replicas.length === 2 && replicas.every((peer) => peer['current'] && !peer['offline']);
  }, 20_000);
  expect((await ok(back, `STREAM.INFO.${name}`))['state']).toMatchObject({ messages: 120, last_seq: 120 });
});

test('a stream of four partitions whose first leader is killed: order per subject, acks hold, nothing is lost', async () => {
  const name = unique();
  const first = await connectTo(0);
  await stream(first, { name, metadata: { 'flotilla.partitions': '4' } });
  const publish = async (session: Session, from: number, to: number): Promise<void> => {
    for (let i = from; i < to; i++) await publishAnyhow(session, `${name}.${i % 8}`, `${i % 8}:${i}`, `${i}`);
  };
  await publish(first, 0, 80);
  const leader = await leaderOf(first, name);
  const other = await connectTo((leader + 1) % 3);
  const consumer = unique('C');
  await other.jsm.consumers.add(name, { durable_name: consumer, ack_policy: AckPolicy.Explicit });
  const confirmed = new Set<string>();
  for await (const message of await (await other.js.consumers.get(name, consumer)).fetch({ max_messages: 20 }))
    if (await message.ackAck()) confirmed.add(message.string());
  expect(confirmed.size).toBe(20);

  await target.kill(leader);
  await publish(other, 80, 120);
  const seen: string[] = [];
  await eventually(async () => {
    const rest = await other.js.consumers.get(name, consumer);
    await fetched(rest, { max_messages: 200, expires: 2_000 }, async (message) => {
      if (await message.ackAck().catch(() => false)) seen.push(message.string());
    });
    return seen.length >= 100;
  }, 60_000);
  expect(seen.filter((text) => confirmed.has(text))).toEqual([]);
  expect(new Set([...seen, ...confirmed]).size).toBe(120);

  const last = new Map<string, number>();
  for (const text of await readAll(other, name, 120)) {
    const [key, n] = text.split(':');
    expect(Number(n)).toBe((last.get(key) ?? Number(key) - 8) + 8);
    last.set(key, Number(n));
  }
  await target.restart(leader);
}, 180_000);

test('key-value goes on after its leader is killed', async () => {
  const bucket = unique('B');
  const session = await connectTo(0);
  const kv = await session.kv(bucket, { replicas: 3 });
  for (let i = 0; i < 20; i++) await kv.put(`k${i}`, `${i}`);
  const leader = await leaderOf(session, `KV_${bucket}`);
  const survivor = leader === 0 ? await connectTo(1) : session;
  const view = await survivor.kv(bucket, { replicas: 3 });
  await target.kill(leader);
  await eventually(() => view.put('after', 'x').catch(() => undefined), 20_000);
  for (let i = 0; i < 20; i++) expect((await view.get(`k${i}`))?.string()).toBe(`${i}`);
  await target.restart(leader);
});

test.skipIf(differs('consuming-outlives-leader')).each(generations)(
  'who waits for messages when the leader is killed gets the next one soon, $name',
  async (generation) => {
    const name = unique();
    const maker = await connectTo(0);
    await stream(maker, { name });
    await maker.jsm.consumers.add(name, { durable_name: 'D', ack_policy: AckPolicy.Explicit });
    const leader = await leaderOf(maker, name);
    const session = await openAt(generation, target.urls[(leader + 1) % 3]);
    const got: string[] = [];
    const messages = await (await session.js.consumers.get(name, 'D')).consume({
      callback: (message) => {
        got.push(message.string());
        message.ack();
      },
    });
    await publishAnyhow(session, `${name}.a`, 'before', 'before');
    await eventually(async () => got.length === 1, 10_000);
    await target.kill(leader);
    await publishAnyhow(session, `${name}.a`, 'after', 'after');
    // The client's own cure comes after two heartbeats of 15 s.
    await eventually(async () => got.length === 2, 10_000);
    messages.stop();
    expect(got).toEqual(['before', 'after']);
    await target.restart(leader);
  },
  60_000,
);

describe.skipIf(differs('waiting-outlives-hand-over')).each(generations)(
  'who waits when the leader hands over, $name',
  (generation) => {
    /** Less than two heartbeats, after which clients ask again by themselves. */
    const SOON_MS = 10_000;

    async function setUp(node: (leader: number) => number, config = {}): Promise<{ name: string; session: Session }> {
      const name = unique();
      const maker = await connectTo(0);
      await stream(maker, { name, ...config });
      await maker.jsm.consumers.add(name, { durable_name: 'D', ack_policy: AckPolicy.Explicit });
      const session = await openAt(generation, target.urls[node(await leaderOf(maker, name))]);
      return { name, session };
    }

    async function stepDown(session: Session, operation: string): Promise<void> {
      expect(await ok(session, operation)).toMatchObject({ success: true });
    }

    async function restartLeader(session: Session, name: string): Promise<void> {
      const leader = await leaderOf(session, name);
      await target.stopNode(leader);
      await target.restart(leader);
    }

    const partitioned = { metadata: { 'flotilla.partitions': '4' } };
    test.each<[string, number, (session: Session, name: string) => Promise<void>, object?]>([
      ['stream, at its node', 0, (session, name) => stepDown(session, `STREAM.LEADER.STEPDOWN.${name}`)],
      ['stream, at another node', 1, (session, name) => stepDown(session, `STREAM.LEADER.STEPDOWN.${name}`)],
      ['consumer, at another node', 1, (session, name) => stepDown(session, `CONSUMER.LEADER.STEPDOWN.${name}.D`)],
      ['four partitions', 1, (session, name) => stepDown(session, `STREAM.LEADER.STEPDOWN.${name}`), partitioned],
      ['clean stop', 1, restartLeader],
    ])(
      'consuming gets the next message soon: %s',
      async (_, distance, handOver, config) => {
        const { name, session } = await setUp((leader) => (leader + distance) % 3, config);
        const got = new Set<string>();
        // Few enough that several requests of one inbox wait.
        const messages = await (await session.js.consumers.get(name, 'D')).consume({
          max_messages: 8,
          callback: (message) => {
            got.add(message.string());
            message.ack();
          },
        });
        for (let i = 0; i < 4; i++) {
          await publishAnyhow(session, `${name}.${i}`, `${i}`, `${i}`);
          await eventually(async () => got.size === i + 1, SOON_MS);
        }
        await handOver(session, name);
        for (let i = 4; i < 20; i++) await publishAnyhow(session, `${name}.${i}`, `${i}`, `${i}`);
        await eventually(async () => got.size === 20, SOON_MS);
        messages.stop();
      },
      90_000,
    );

    test('fetch and next end soon, and what they did not get comes later, once', async () => {
      const { name, session } = await setUp((leader) => (leader + 1) % 3);
      const consumer = await session.js.consumers.get(name, 'D');
      const got: string[] = [];
      const take = async (message: JsMsg): Promise<void> => {
        if (await message.ackAck()) got.push(message.string());
      };
      /** Some clients tell why it ended. */
      const unlessHandedOver = (error: Error): void => {
        if (!/leadership change/i.test(error.message)) throw error;
      };
      const waits = (): Promise<unknown>[] => [
        fetched(consumer, { max_messages: 5, expires: 30_000 }, take).catch(unlessHandedOver),
        consumer
          .next({ expires: 30_000 })
          .then((message) => message && take(message))
          .catch(unlessHandedOver),
      ];
      let stored = 0;
      for (let round = 0; round < 3; round++) {
        const ended = Promise.all(waits());
        await eventually(async () => (await ok(session, `CONSUMER.INFO.${name}.D`))['num_waiting'] === 2);
        await publishAnyhow(session, `${name}.a`, `${stored}`, `${stored}`);
        stored++;
        await eventually(async () => got.length === stored);
        const start = performance.now();
        await stepDown(session, `STREAM.LEADER.STEPDOWN.${name}`);
        await ended;
        expect(performance.now() - start).toBeLessThan(SOON_MS);
        await publishAnyhow(session, `${name}.a`, `${stored}`, `${stored}`);
        stored++;
        await fetched(consumer, { max_messages: 1, expires: 5_000 }, take);
        expect(got).toEqual(Array.from({ length: stored }, (_, i) => `${i}`));
      }
    }, 120_000);
  },
);

describe.skipIf(differs('listing-outlives-leader'))('a listing of keys under way', () => {
  const KEYS = 20_000;
  /** The client's heartbeats come every 5 s; it gives up when two are missed. */
  const SILENCE_MS = 9_000;

  test.each(generations)(
    'goes on when the leader is killed, $name',
    async (generation) => {
      const bucket = unique('B');
      const maker = await connectTo(0);
      const filled = await maker.kv(bucket, { replicas: 3 });
      for (let i = 0; i < KEYS; i += 500) {
        await Promise.all(Array.from({ length: 500 }, (_, k) => filled.put(`k${i + k}`, 'x')));
      }
      const leader = await leaderOf(maker, `KV_${bucket}`);
      const session = await openAt(generation, target.urls[(leader + 1) % 3]);
      const kv = await session.kv(bucket, { replicas: 3 });
      const seen = new Set<string>();
      let killed: Promise<void> | undefined;
      let heardMs = performance.now();
      let longestMs = 0;
      for await (const key of await kv.keys()) {
        seen.add(key);
        longestMs = Math.max(longestMs, performance.now() - heardMs);
        heardMs = performance.now();
        killed ??= target.kill(leader);
      }
      await killed;
      expect(seen.size).toBe(KEYS);
      expect(longestMs).toBeLessThan(SILENCE_MS);
      await target.restart(leader);
    },
    120_000,
  );
});

test.each(generations)(
  'a client whose node is killed goes on at another, $name',
  async (generation) => {
    const name = unique();
    const session = await openAt(generation, target.urls[1], {
      reconnect: true,
      ignoreClusterUpdates: false,
      maxReconnectAttempts: -1,
      reconnectTimeWait: 100,
    });
    await stream(session, { name });
    await session.jsm.consumers.add(name, { durable_name: 'D', ack_policy: AckPolicy.Explicit });
    const seen = new Set<string>();
    const messages = await (await session.js.consumers.get(name, 'D')).consume({
      expires: 2_000,
      callback: (message) => {
        seen.add(message.string());
        message.ack();
      },
    });
    for (let i = 0; i < 20; i++) await session.js.publish(`${name}.a`, `${i}`, { msgID: `${i}` });
    await target.kill(1);
    for (let i = 20; i < 40; i++) await publishAnyhow(session, `${name}.a`, `${i}`, `${i}`);
    await eventually(async () => seen.size === 40, 30_000);
    expect(session.nc.getServer()).not.toContain(String(target.port(1)));
    messages.stop();
    await target.restart(1);
    expect((await ok(session, `STREAM.INFO.${name}`))['state']).toMatchObject({ messages: 40, last_seq: 40 });
  },
  180_000,
);

test('clients are told which nodes are left, and which are back', async () => {
  const [client] = await RawClient.session(target.port(0), { protocol: 1 });
  const told = async (...nodes: number[]): Promise<void> => {
    const wanted = nodes.map((i) => target.port(i)).sort();
    for (;;) {
      const info = JSON.parse((await client.until(/INFO .*\r\n/)).slice('INFO '.length)) as { connect_urls?: string[] };
      const ports = info.connect_urls?.map((url) => Number(url.split(':').at(-1))).sort();
      if (JSON.stringify(ports) === JSON.stringify(wanted)) return;
    }
  };
  await target.kill(1);
  await told(0, 2);
  await target.restart(1);
  await told(0, 1, 2);
  client.close();
});

test('killing all nodes at once loses nothing', async () => {
  const name = unique();
  const session = await connectTo(1);
  await stream(session, { name });
  for (let i = 1; i <= 50; i++) await session.js.publish(`${name}.a`, `${i}`);
  await Promise.all([0, 1, 2].map((i) => target.kill(i)));
  await Promise.all([0, 1, 2].map((i) => target.restart(i)));
  const after = await connectTo(2);
  expect((await ok(after, `STREAM.INFO.${name}`))['state']).toMatchObject({ messages: 50, last_seq: 50 });
  expect((await after.js.publish(`${name}.a`, '51')).seq).toBe(51);
});

test.skipIf(differs('minority-refuses'))(
  'a node whose peers are frozen refuses in time, and serves when they go on',
  async () => {
    const name = unique();
    const session = await connectTo(0);
    await stream(session, { name, allow_direct: true });
    await session.js.publish(`${name}.a`, 'before');
    const consumer = unique('C');
    await session.jsm.consumers.add(name, { durable_name: consumer, ack_policy: AckPolicy.Explicit });
    const request = (subject: string) => session.nc.request(`$JS.API.${subject}`, '', { timeout: 5_000 });
    const calls: Record<string, () => Promise<unknown>> = {
      publish: () => session.js.publish(`${name}.a`, 'during'),
      info: () => session.jsm.streams.info(name),
      create: () => session.jsm.streams.add({ name: unique(), subjects: [unique('x')], num_replicas: 3 }),
      update: () => session.jsm.streams.update(name, { description: 'x' }),
      names: () => request('STREAM.NAMES').then(refusedOrText),
      'consumer info': () => session.jsm.consumers.info(name, consumer),
      'direct get': () => request(`DIRECT.GET.${name}.${name}.a`).then(refusedOrText),
      account: () => session.jsm.getAccountInfo(),
      pull: () =>
        pull(session, name, consumer, { batch: 2, expires: 1_000_000_000 }).then((frames) => {
          throw new Error(frames.at(-1)?.line);
        }),
    };
    for (const i of [1, 2]) target.signal(i, 'SIGSTOP');
    try {
      for (let round = 0; round < 3; round++) {
        const ends = await Promise.all(
          Object.entries(calls).map(async ([what, call]) => {
            const start = performance.now() - target.waitedForCpuMs();
            const end = await call().then(
              () => 'served',
              (error: Error) => error.message,
            );
            return { what, end, ms: performance.now() - target.waitedForCpuMs() - start };
          }),
        );
        for (const { what, end, ms } of ends) {
          // A publish without responders is "not enabled" in the words of the newer client; a pull may end by its own expiry.
          expect(end, what).toMatch(
            /temporarily unavailable|no responders|503|not enabled|Leadership Change|Request Timeout/i,
          );
          expect(ms, `${what}: ${end}`).toBeLessThan(3_000);
        }
      }
    } finally {
      for (const i of [1, 2]) target.signal(i, 'SIGCONT');
    }
    // Refused ones may have been stored; what is acknowledged from now on comes after them.
    const seq = await publishAnyhow(session, `${name}.a`, 'after', 'after');
    expect(seq).toBeGreaterThan(1);
    expect((await ok(session, `STREAM.INFO.${name}`))['state']).toMatchObject({ last_seq: seq });
  },
);

/** A status or an error is thrown, anything else is the text. */
function refusedOrText(message: Msg): string {
  const status = message.headers?.code ?? 0;
  const text = message.string();
  if (status >= 400) throw new Error(`${status} ${message.headers?.description}`);
  const { error } = (text.startsWith('{') ? JSON.parse(text) : {}) as Json;
  if (error) throw new Error(error.description);
  return text;
}
