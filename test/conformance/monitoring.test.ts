// What monitoring tools and test harnesses read over HTTP.

import { beforeAll, describe, expect, inject, test } from 'vitest';
import { generations, type Json, ok, open, putMany, type Session, stream } from './harness.ts';

let s: Session;

beforeAll(async () => {
  s = await open(generations[1]);
});

async function get(path: string, node = 0): Promise<[number, Json]> {
  const response = await fetch(`${inject('monitorUrls')[node]}${path}`);
  return [response.status, (await response.json()) as Json];
}

describe('health', () => {
  test('every node is', async () => {
    for (const node of [0, 1, 2]) expect(await get('/healthz', node)).toEqual([200, { status: 'ok' }]);
  });
});

test('varz', async () => {
  const [status, varz] = await get('/varz');
  expect(status).toBe(200);
  expect(varz).toMatchObject({
    server_name: 'node1',
    proto: 1,
    host: '127.0.0.1',
    port: Number(new URL(inject('urls')[0]).port),
    max_payload: 1_048_576,
    max_connections: 65_536,
    ping_max: 2,
    ping_interval: 120_000_000_000,
    cluster: { name: 'conformance' },
    connections: expect.any(Number),
    in_msgs: expect.any(Number),
    out_bytes: expect.any(Number),
    mem: expect.any(Number),
    uptime: expect.any(String),
    slow_consumers: 0,
    jetstream: { config: { store_dir: expect.any(String) } },
  });
  expect(varz['version']).toBe(s.nc.info?.version);
});

test('connz shows this connection', async () => {
  const [, connz] = await get(`/connz?cid=${s.nc.info?.client_id}&subs=true`);
  const [connection] = connz['connections'] as Json[];
  expect(connection).toMatchObject({ cid: s.nc.info?.client_id, kind: 'Client', ip: '127.0.0.1', lang: 'nats.js' });
});

test('routez: two peers, by the id that they have themselves, with what came and went', async () => {
  const [, routez] = await get('/routez');
  const names = new Set((routez['routes'] as Json[]).map((route) => route['remote_name']));
  expect(names, JSON.stringify(routez)).toEqual(new Set(['node2', 'node3']));
  for (const route of routez['routes'] as Json[]) {
    const node = inject('names').indexOf(String(route['remote_name']));
    expect((await get('/varz', node))[1]['server_id']).toBe(route['remote_id']);
    expect(route).toMatchObject({ ip: '127.0.0.1', is_configured: true, uptime: expect.stringMatching(/s$/) });
  }
  const carried = (routez['routes'] as Json[]).reduce((sum, route) => sum + Number(route['in_bytes']), 0);
  expect(carried).toBeGreaterThan(0);
});

test('jsz agrees on the leader, and has streams and consumers in detail', async () => {
  const name = await stream(s);
  await putMany(s, `${name}.a`, 3);
  await ok(s, `CONSUMER.CREATE.${name}.C`, {
    stream_name: name,
    config: { durable_name: 'C', ack_policy: 'explicit' },
  });
  const leaders = new Set<unknown>();
  for (const node of [0, 1, 2]) {
    const [, jsz] = await get('/jsz', node);
    leaders.add((jsz['meta_cluster'] as Json)['leader']);
    expect((jsz['config'] as Json)['store_dir']).toBeTruthy();
  }
  expect(leaders.size).toBe(1);
  const leader = ((await ok(s, `STREAM.INFO.${name}`))['cluster'] as Json)['leader'];
  const [, jsz] = await get('/jsz?consumers=true&config=true', inject('names').indexOf(String(leader)));
  const account = (jsz['account_details'] as Json[]).find((each) => each['name'] === '$G') as Json;
  const detail = (account['stream_detail'] as Json[]).find((each) => each['name'] === name);
  expect(detail).toMatchObject({ config: { name }, state: { messages: 3, consumer_count: 1 } });
});
