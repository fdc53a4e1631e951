// Core NATS through both generations of the client, on one node and across nodes.

import { describe, expect, inject, test } from 'vitest';
import { differs } from './differences.ts';
import { eventually, generations, headersOf, open, pause, type Session, unique } from './harness.ts';

/** Subscribes and waits until the interest is known on the whole cluster: a request from `from` reaches it. */
async function settled(subscriber: Session, from: Session): Promise<void> {
  const subject = unique('settled');
  subscriber.nc.subscribe(subject, { max: 1, callback: (_, message) => void message.respond() });
  await subscriber.nc.flush();
  await eventually(() => from.nc.request(subject, '', { timeout: 500 }).catch(() => undefined));
}

function collect(session: Session, subject: string, queue?: string): { data: string[]; subjects: string[] } {
  const seen = { data: [] as string[], subjects: [] as string[] };
  session.nc.subscribe(subject, {
    queue,
    callback: (_, message) => {
      seen.data.push(message.string());
      seen.subjects.push(message.subject);
    },
  });
  return seen;
}

describe.each(generations)('core, $name', (generation) => {
  test('publish and subscribe with wildcards on one node', async () => {
    const a = await open(generation);
    const base = unique('core');
    const one = collect(a, `${base}.*`);
    const tail = collect(a, `${base}.>`);
    const exact = collect(a, `${base}.a`);
    const literalStar = collect(a, `${base}.a*`);
    a.nc.publish(`${base}.a`, '1');
    a.nc.publish(`${base}.a.b`, '2');
    a.nc.publish(`${base}.b`, '3');
    a.nc.publish(base, '4');
    await a.nc.flush();
    expect(one.data).toEqual(['1', '3']);
    expect(tail.data).toEqual(['1', '2', '3']);
    expect(exact.data).toEqual(['1']);
    expect(literalStar.data).toEqual([]);
  });

  test('a message reaches subscribers on every node once, in order', async () => {
    const sessions = await Promise.all([0, 1, 2].map((node) => open(generation, node)));
    const subject = unique('cross');
    const seen = sessions.map((session) => collect(session, subject));
    for (const session of sessions) await settled(session, sessions[0]);
    for (let i = 0; i < 200; i++) sessions[0].nc.publish(subject, String(i));
    await sessions[0].nc.flush();
    const want = Array.from({ length: 200 }, (_, i) => String(i));
    for (const each of seen) await eventually(async () => each.data.length >= 200);
    for (const each of seen) expect(each.data).toEqual(want);
  });

  test('queue group: exactly one member cluster-wide', async () => {
    const sessions = await Promise.all([0, 1, 2].map((node) => open(generation, node)));
    const subject = unique('queue');
    const seen = sessions.map((session) => collect(session, subject, 'workers'));
    const plain = collect(sessions[1], subject);
    for (const session of sessions) for (const from of sessions) await settled(session, from);
    for (let i = 0; i < 90; i++) sessions[i % 3].nc.publish(subject, String(i));
    await Promise.all(sessions.map((session) => session.nc.flush()));
    await eventually(async () => plain.data.length === 90);
    await eventually(async () => seen.flatMap((each) => each.data).length >= 90);
    await pause(50);
    const all = seen.flatMap((each) => each.data).sort((x, y) => Number(x) - Number(y));
    expect(all).toEqual(Array.from({ length: 90 }, (_, i) => String(i)));
  });

  test('queue group: local members are preferred', async () => {
    const [a, b] = await Promise.all([open(generation, 0), open(generation, 1)]);
    const subject = unique('local');
    const local = collect(a, subject, 'q');
    const remote = collect(b, subject, 'q');
    await settled(b, a);
    await settled(a, b);
    for (let i = 0; i < 30; i++) a.nc.publish(subject, String(i));
    await a.nc.flush();
    await eventually(async () => local.data.length + remote.data.length === 30);
    if (!differs('queue-local-first')) expect(remote.data.length).toBe(0);
  });

  test('request and reply across nodes', async () => {
    const [a, b] = await Promise.all([open(generation, 0), open(generation, 2)]);
    const subject = unique('service');
    b.nc.subscribe(subject, { callback: (_, message) => void message.respond(`re ${message.string()}`) });
    await settled(b, a);
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => a.nc.request(subject, String(i), { timeout: 20_000 })),
    );
    expect(answers.map((answer) => answer.string())).toEqual(Array.from({ length: 50 }, (_, i) => `re ${i}`));
  });

  test('no responders', async () => {
    const a = await open(generation);
    await expect(a.nc.request(unique('nobody'), '', { timeout: 20_000 })).rejects.toThrow(/no responders|503/i);
  });

  test('headers pass untouched, also across nodes', async () => {
    const [a, b] = await Promise.all([open(generation, 0), open(generation, 1)]);
    const subject = unique('hdr');
    const got: string[][] = [];
    b.nc.subscribe(subject, {
      callback: (_, message) => {
        got.push([message.headers?.get('Some-Key') ?? '', message.headers?.get('other') ?? '', message.string()]);
      },
    });
    await settled(b, a);
    a.nc.publish(subject, 'body', { headers: headersOf(a, { 'Some-Key': 'a value', other: 'x' }) });
    await a.nc.flush();
    await eventually(async () => got.length === 1);
    expect(got).toEqual([['a value', 'x', 'body']]);
  });

  test('noEcho: own publishes are not delivered back', async () => {
    const a = await open(generation, 0, { noEcho: true });
    const b = await open(generation, 0);
    const subject = unique('echo');
    const own = collect(a, subject);
    const other = collect(b, subject);
    await b.nc.flush();
    await a.nc.flush();
    a.nc.publish(subject, 'x');
    await a.nc.flush();
    await eventually(async () => other.data.length === 1);
    expect(own.data).toEqual([]);
  });

  test('unsubscribe after a maximum', async () => {
    const a = await open(generation);
    const subject = unique('max');
    let count = 0;
    a.nc.subscribe(subject, { max: 3, callback: () => void count++ });
    for (let i = 0; i < 10; i++) a.nc.publish(subject);
    await a.nc.flush();
    expect(count).toBe(3);
  });

  test('INFO names all client endpoints of the cluster', async () => {
    const a = await open(generation, 0);
    const ports = inject('urls').map((url) => new URL(url).port);
    const urls = await eventually(async () => {
      const list = a.nc.info?.connect_urls ?? [];
      return list.length >= 3 ? list : undefined;
    });
    expect(urls.map((url) => url.split(':').at(-1)).sort()).toEqual(ports.sort());
    expect(a.nc.info?.server_name).toBe('node1');
    expect(a.nc.info?.jetstream).toBe(true);
    expect(a.nc.info?.headers).toBe(true);
    expect(a.nc.info?.max_payload).toBe(1_048_576);
  });

  test('a payload of max_payload passes, across nodes too', async () => {
    const [a, b] = await Promise.all([open(generation, 0), open(generation, 1)]);
    const subject = unique('big');
    const sizes: number[] = [];
    b.nc.subscribe(subject, { callback: (_, message) => void sizes.push(message.data.length) });
    await settled(b, a);
    a.nc.publish(subject, new Uint8Array(1_048_576));
    a.nc.publish(subject, new Uint8Array(0));
    await a.nc.flush();
    await eventually(async () => sizes.length === 2);
    expect(sizes).toEqual([1_048_576, 0]);
  });
});
