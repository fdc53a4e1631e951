// Key-value buckets through both generations of the client, through every node.

import { describe, expect, test } from 'vitest';
import { differs } from './differences.ts';
import { eventually, generations, open, pause, type Session, unique } from './harness.ts';

async function bucket(sessions: Session[], options: object = {}) {
  const name = unique('B');
  const first = await sessions[0].kv(name, { replicas: 3, ...options });
  const others = await Promise.all(sessions.slice(1).map((session) => session.kv(name, { replicas: 3, ...options })));
  return { name, views: [first, ...others] };
}

async function listed(keys: AsyncIterable<string>): Promise<string[]> {
  const all: string[] = [];
  for await (const key of keys) all.push(key);
  return all.sort();
}

describe.each(generations)('key-value, $name', (generation) => {
  const sessions = () => Promise.all([0, 1, 2].map((node) => open(generation, node)));

  test('put, get, update, delete, purge', async () => {
    const { views } = await bucket(await sessions(), { history: 5 });
    const [a, b, c] = views;
    expect(await a.get('missing')).toBeNull();
    expect(await a.put('k', 'one')).toBe(1);
    for (const view of views) {
      expect(await view.get('k')).toMatchObject({ key: 'k', revision: 1, operation: 'PUT' });
    }
    expect((await b.get('k'))?.string()).toBe('one');
    expect(await b.update('k', 'two', 1)).toBe(2);
    await expect(c.update('k', 'late', 1)).rejects.toThrow('wrong last sequence: 2');
    expect((await c.get('k', { revision: 1 }))?.string()).toBe('one');
    await c.delete('k');
    expect(await a.get('k')).toMatchObject({ operation: 'DEL', revision: 3 });
    await b.put('k', 'three');
    await a.purge('k');
    expect(await c.get('k')).toMatchObject({ operation: 'PURGE' });
  });

  test('create only when absent or deleted', async () => {
    const { views } = await bucket(await sessions());
    const [a, b, c] = views;
    expect(await a.create('k', '1')).toBe(1);
    await expect(b.create('k', '2')).rejects.toThrow('wrong last sequence: 1');
    await c.delete('k');
    expect(await b.create('k', '3')).toBe(3);
    expect((await a.get('k'))?.string()).toBe('3');
  });

  test('racing compare-and-set through all nodes loses no update', async () => {
    const { views } = await bucket(await sessions());
    await views[0].put('n', '0');
    const increment = async (view: (typeof views)[number]) => {
      for (let done = 0; done < 10; ) {
        const entry = await view.get('n');
        try {
          await view.update('n', String(Number(entry?.string()) + 1), entry?.revision ?? 0);
          done++;
        } catch (error) {
          expect(String(error)).toMatch(/wrong last sequence/);
        }
      }
    };
    await Promise.all(views.map(increment));
    expect((await views[1].get('n'))?.string()).toBe('30');
  });

  test('reads its own writes through any node', async () => {
    const { views } = await bucket(await sessions());
    for (let i = 0; i < 30; i++) {
      await views[i % 3].put('k', `${i}`);
      expect((await views[(i + 1) % 3].get('k'))?.string()).toBe(`${i}`);
    }
  });

  test('keys and history', async () => {
    const { views } = await bucket(await sessions(), { history: 3 });
    const [a, b] = views;
    for (const text of ['1', '2', '3', '4']) await a.put('k', text);
    await a.put('a.b', 'x');
    await a.put('a.c', 'y');
    await a.delete('a.c');
    if (differs('lagging-consumer')) await pause(200);
    expect(await listed(await b.keys())).toEqual(['a.b', 'k']);
    expect(await listed(await b.keys('a.>'))).toEqual(['a.b']);
    const history: string[] = [];
    for await (const entry of await b.history({ key: 'k' })) history.push(entry.string());
    expect(history).toEqual(['2', '3', '4']);
  });

  test('keys of an empty bucket', async () => {
    const { views } = await bucket(await sessions());
    expect(await listed(await views[1].keys())).toEqual([]);
  });

  test('watch: initial values, then updates from every node', async () => {
    const { views } = await bucket(await sessions());
    const [a, b, c] = views;
    await a.put('x.1', 'old');
    await a.put('x.1', 'now');
    await a.put('y', 'else');
    const seen: string[] = [];
    const watch = await b.watch({ key: 'x.*' });
    const reading = (async () => {
      for await (const entry of watch)
        seen.push(`${entry.key}=${entry.operation === 'PUT' ? entry.string() : entry.operation}`);
    })();
    await eventually(async () => seen.length === 1);
    await c.put('x.2', 'two');
    await a.delete('x.1');
    await b.put('y', 'other');
    await eventually(async () => seen.length === 3);
    watch.stop();
    await reading;
    expect(seen).toEqual(['x.1=now', 'x.2=two', 'x.1=DEL']);
  });

  test('a bucket found again is the same', async () => {
    const [first, second] = await sessions();
    const { name, views } = await bucket([first]);
    await views[0].put('k', 'v');
    const again = await second.kv(name, { replicas: 3 });
    expect((await again.get('k'))?.string()).toBe('v');
    const status = await again.status();
    expect(status).toMatchObject({ bucket: name, values: 1, history: 1, replicas: 3 });
    expect(await again.destroy()).toBe(true);
    await expect(first.jsm.streams.info(`KV_${name}`)).rejects.toThrow('stream not found');
  });

  test('age', async () => {
    const { views } = await bucket(await sessions(), { ttl: 500 });
    await views[0].put('k', 'v');
    await eventually(async () => (await views[2].get('k')) === null);
  });
});

test('entries with a time to live leave a marker', async () => {
  const [a, b] = await Promise.all([open(generations[1], 0), open(generations[1], 1)]);
  const { views } = await bucket([a, b], { markerTTL: 60_000 });
  const seen: string[] = [];
  const watch = await views[1].watch({ key: 'k' });
  const reading = (async () => {
    for await (const entry of watch) seen.push(entry.operation);
  })();
  await views[0].create('k', 'v', '1s');
  await eventually(async () => seen.length === 2, 15_000);
  watch.stop();
  await reading;
  expect(seen).toEqual(['PUT', 'PURGE']);
  expect(await views[0].create('k', 'again')).toBeGreaterThan(1);
});
