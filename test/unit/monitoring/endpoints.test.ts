// Monitoring seen from outside: a real node in this process, its port asked as Prometheus and the health check would.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type StartedServer, startNode } from '../../../src/index.ts';
import { METRICS } from '../../../src/monitoring/metrics.ts';
import { rfc3339, uptimeText } from '../../../src/monitoring/time.ts';

let server: StartedServer;

beforeAll(async () => {
  server = await startNode({ name: 'watched', monitorPort: 0 });
  for (let i = 0; i < 100 && (await status('/healthz')) !== 200; i++)
    await new Promise((resume) => setTimeout(resume, 50));
});

afterAll(async () => await server.close());

const get = (path: string): Promise<Response> => fetch(server.monitorUrl + path);
const status = async (path: string): Promise<number> => (await get(path)).status;
const json = async (path: string): Promise<Record<string, unknown>> =>
  (await (await get(path)).json()) as Record<string, unknown>;

test('health is ok, and says what is missing', async () => {
  expect(await (await get('/healthz')).text()).toBe('{"status":"ok"}');
  expect(await status('/healthz?account=$G&stream=NONE')).toBe(404);
  expect(await json('/healthz?stream=S')).toEqual({
    status: 'error',
    error: '"account" must not be empty when checking stream health',
  });
});

test('every endpoint answers, a bad value is a 400 that names it', async () => {
  for (const path of ['/varz', '/connz', '/jsz?streams=true&config=true', '/routez', '/subsz?subs=1', '/'])
    expect(await status(path), path).toBe(200);
  const bad = await get('/connz?limit=many');
  expect([bad.status, await bad.text()]).toEqual([400, "error decoding int for 'limit': many"]);
  expect(await status('/connz?sort=colour')).toBe(400);
});

test('varz names the server and counts', async () => {
  expect(await json('/varz')).toMatchObject({ server_name: 'watched', connections: 0, in_msgs: 0, proto: 1 });
});

test('metrics: every one of the list is in the text, with its type', async () => {
  const text = await (await get('/metrics')).text();
  for (const { name, kind } of METRICS) expect(text, name).toContain(`# TYPE ${name} ${kind}`);
  expect(text).toMatch(/flotilla_wal_syncs_total\{server="watched"\} [1-9]/);
  expect(text).toContain('flotilla_publish_ack_seconds_bucket{le="+Inf",server="watched"} 0');
});

test('times', () => {
  expect(rfc3339(0)).toBe('0001-01-01T00:00:00Z');
  expect(rfc3339(1_700_000_000_123_456)).toBe('2023-11-14T22:13:20.123456Z');
  expect(uptimeText(90_061_000_000)).toBe('1d1h1m1s');
  expect(uptimeText(5_000_000)).toBe('5s');
});
