// Whatever a client or a stranger sends: its connection is dealt with, and the node and everybody else go on. Real nodes under a stream of
// nonsense, while well-behaved clients publish and read through every node and must not notice.

import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPrng, type Prng } from '../sim/prng.ts';
import { against, api, eventually, generations, ok, openAt, pause, type Session, stream } from './harness.ts';
import { RawClient } from './raw.ts';
import { Target, targetKind } from './target.ts';

/** Of well-behaved clients, without what the machine takes away from the nodes. */
const INTERRUPTION_MS_MAX = 6_000;
const SEED = 20_261_121;
const HELLO = 'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n';

const target = new Target(targetKind());
let sessions: Session[];
let pids: (number | undefined)[];
let name: string;
let running = true;
let published = 0;
const troubles: string[] = [];
let publishers: Promise<void>[];

beforeAll(async () => {
  await target.start(3);
  sessions = await Promise.all(target.urls.map((url) => openAt(generations[1], url)));
  pids = [0, 1, 2].map((i) => target.pid(i));
  name = await stream(sessions[0]);
  publishers = sessions.map(async (session, i) => {
    for (let n = 0; running; n++) {
      const start = performance.now() - target.waitedForCpuMs();
      // The machine may be so busy that a leader changes: the same id again, as clients do. Longer than that nobody may wait.
      let stored = false;
      while (!stored && running) {
        stored = await session.js.publish(`${name}.${i}`, 'x', { timeout: 5_000, msgID: `${i}.${n}` }).then(
          () => true,
          () => pause(20).then(() => false),
        );
      }
      const waitedMs = performance.now() - target.waitedForCpuMs() - start;
      if (waitedMs > INTERRUPTION_MS_MAX) troubles.push(`a publish took ${Math.round(waitedMs)} ms`);
      if (stored) published++;
      await pause(5);
    }
  });
});

afterAll(async () => {
  await target.stop();
});

/** Sends and lets the other end say what it thinks; ends with the connection or after `ms`. */
function say(port: number, bytes: Uint8Array | string, ms = 1_000): Promise<void> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    const timer = setTimeout(() => socket.destroy(), ms);
    socket.on('data', () => {});
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      done();
    });
    socket.write(bytes);
  });
}

function garbage(prng: Prng, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => prng.int(256)));
}

/** After each attack: the same processes, and everybody is served. */
async function allIsWell(): Promise<void> {
  const before = published;
  await eventually(async () => published >= before + 30, 30_000);
  expect(troubles).toEqual([]);
  expect([0, 1, 2].map((i) => target.pid(i))).toEqual(pids);
}

test('garbage, on the clients’ ports and the cluster’s and the monitors’', async () => {
  const prng = createPrng(SEED);
  const ports = [0, 1, 2].flatMap((i) => [
    target.port(i),
    ...(against === 'flotilla' ? [target.clusterPort(i)] : []),
    Number(new URL(target.monitorUrls[i]).port),
  ]);
  for (let round = 0; round < 8; round++) {
    await Promise.all(ports.map((port) => say(port, garbage(prng, 1 + prng.int(5_000)), 300)));
  }
  // Lengths of four gigabytes, and frames that end in the middle.
  for (const port of ports) await say(port, Buffer.from([255, 255, 255, 255, 1, 2, 3, 4]), 200);
  await allIsWell();
}, 60_000);

test('valid beginnings that go wrong at any byte, and clients that leave in the middle', async () => {
  const prng = createPrng(SEED + 1);
  const whole = Buffer.from(
    `${HELLO}SUB ${name}.x q 1\r\nPUB ${name}.bad reply 5\r\nhello\r\nHPUB ${name}.h 22 27\r\nNATS/1.0\r\nA: b\r\n\r\nhello\r\nUNSUB 1 2\r\nPING\r\n`,
  );
  const attempts: Promise<void>[] = [];
  for (let at = 0; at < whole.length; at += 2) {
    const cut = whole.subarray(0, at);
    const altered = Buffer.from(whole);
    altered[at] = prng.int(256);
    attempts.push(say(target.port(at % 3), cut, 150), say(target.port((at + 1) % 3), altered, 150));
    if (attempts.length > 60) await Promise.all(attempts.splice(0));
  }
  await Promise.all(attempts);
  await allIsWell();
}, 60_000);

test('huge lines and payloads, and lengths that lie', async () => {
  const big = 'y'.repeat(3 << 20);
  await Promise.all([
    say(target.port(0), `${HELLO}PUB ${big} 1\r\n`),
    say(target.port(1), `CONNECT {"name":"${big}"}\r\n`),
    say(target.port(2), big),
    say(target.port(0), `${HELLO}PUB a 999999999\r\n${big}`),
    say(target.port(1), `${HELLO}PUB a 1048576\r\n${big}`),
    say(target.port(2), `${HELLO}HPUB a 65536 65537\r\n${big}`),
    say(target.port(0), `${HELLO}PUB a 10\r\n${'z'.repeat(9)}`),
    say(target.port(1), `${HELLO}${'SUB a 1\r\n'.repeat(50_000)}`),
  ]);
  await allIsWell();
}, 60_000);

test('hundreds of connections that dribble', async () => {
  const sockets: Socket[] = [];
  const text = `${HELLO}PUB ${name}.slow 100000\r\n`;
  for (let i = 0; i < 300; i++) {
    const socket = connect(target.port(i % 3), '127.0.0.1');
    socket.on('error', () => {});
    socket.on('data', () => {});
    sockets.push(socket);
  }
  for (let at = 0; at < 60; at++) {
    for (const socket of sockets) socket.write(text[at % text.length]);
    await pause(20);
  }
  await allIsWell();
  for (const socket of sockets) socket.destroy();
  await allIsWell();
}, 60_000);

test('100,000 subscriptions on one connection, which goes away', async () => {
  const [client] = await RawClient.session(target.port(1));
  let text = '';
  for (let i = 0; i < 100_000; i++) text += `SUB many.${i}.* ${i}\r\n`;
  client.send(text);
  await eventually(async () => {
    const { subscriptions } = (await (await fetch(`${target.monitorUrls[1]}/varz`)).json()) as {
      subscriptions: number;
    };
    return subscriptions >= 100_000;
  }, 60_000);
  client.send('PUB many.77.x 1\r\nx\r\n');
  expect(await client.until(/MSG many\.77\.x 77 1\r\nx\r\n/, 20_000)).toBeTruthy();
  await allIsWell();
  client.close();
  await eventually(async () => {
    const { subscriptions } = (await (await fetch(`${target.monitorUrls[1]}/varz`)).json()) as {
      subscriptions: number;
    };
    return subscriptions < 10_000;
  }, 60_000);
  await allIsWell();
}, 180_000);

test('requests whose content was mixed up', async () => {
  const prng = createPrng(SEED + 2);
  const victim = await stream(sessions[0], { allow_direct: true });
  await ok(sessions[0], `CONSUMER.CREATE.${victim}.C`, {
    stream_name: victim,
    config: { name: 'C', durable_name: 'C', ack_policy: 'explicit' },
  });
  const values = [
    'null',
    'true',
    '-1',
    '1e400',
    '99999999999999999999',
    '""',
    '"x"',
    '[]',
    '{}',
    '[[[[]]]]',
    '{"a":{"b":{}}}',
    '"\\u0000"',
    '"\\ud800"',
    '0.5',
    '[null]',
    '"a b"',
    '">"',
    '"*"',
  ];
  const keys = [
    'name',
    'subjects',
    'max_age',
    'num_replicas',
    'retention',
    'metadata',
    'placement',
    'stream_name',
    'config',
    'ack_wait',
    'backoff',
    'filter_subjects',
    'seq',
    'batch',
    'last_by_subj',
    'multi_last',
    'keep',
    'filter',
    'expires',
    'no_wait',
    'start_time',
    'zzz',
    '__proto__',
    'constructor',
  ];
  const operations = [
    'STREAM.CREATE.@x',
    'STREAM.UPDATE.@',
    'STREAM.INFO.@',
    'STREAM.NAMES',
    'STREAM.LIST',
    'STREAM.PURGE.@',
    'STREAM.MSG.GET.@',
    'STREAM.MSG.DELETE.@',
    'CONSUMER.CREATE.@.D',
    'CONSUMER.DURABLE.CREATE.@.D',
    'CONSUMER.NAMES.@',
    'CONSUMER.LIST.@',
    'CONSUMER.INFO.@.C',
    'CONSUMER.MSG.NEXT.@.C',
    'DIRECT.GET.@',
    'STREAM.LEADER.STEPDOWN.@',
    'STREAM.PEER.REMOVE.@',
    'INFO',
  ];
  for (let round = 0; round < 400; round++) {
    const fields = Array.from({ length: prng.int(4) }, () => `"${prng.pick(keys)}":${prng.pick(values)}`);
    let body = `{${fields.join(',')}}`;
    if (prng.chance(0.2)) body = body.slice(0, prng.int(body.length + 1));
    const subject = `$JS.API.${prng.pick(operations).replace('@', victim)}`;
    sessions[round % 3].nc.publish(subject, body, { reply: `_INBOX.nobody.${round}` });
    if (round % 50 === 49) await pause(50);
  }
  await allIsWell();
  expect((await api(sessions[2], `STREAM.INFO.${victim}`)).error).toBeUndefined();
}, 60_000);

test('and nothing that was acknowledged is missing', async () => {
  running = false;
  await Promise.all(publishers);
  const { state } = await ok(sessions[0], `STREAM.INFO.${name}`);
  // Strangers may have added to it.
  expect((state as { messages: number }).messages).toBeGreaterThanOrEqual(published);
  expect(troubles).toEqual([]);
  if (against === 'flotilla') expect(target.maxRssMb()).toBeLessThan(800);
});
