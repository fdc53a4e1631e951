// Monitoring seen from outside: a real node in this process, its port asked as Prometheus and the health check would.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AckPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type StartedServer, startNode } from '../../../src/index.ts';
import { recordFatal } from '../../../src/kit/fatal-record.ts';
import { METRICS } from '../../../src/monitoring/metric-table.ts';
import type { NodeStatus } from '../../../src/monitoring/status.ts';
import { rfc3339, uptimeText } from '../../../src/monitoring/time.ts';

let server: StartedServer;

beforeEach(async () => {
  server = await startNode({ name: 'watched', monitorPort: 0 });
  await expect.poll(() => status('/healthz')).toBe(200);
});

afterEach(async () => await server.close());

const get = (path: string): Promise<Response> => fetch(server.monitorUrl + path);
const status = async (path: string): Promise<number> => (await get(path)).status;
const json = async (path: string): Promise<Record<string, unknown>> =>
  (await (await get(path)).json()) as Record<string, unknown>;

test('health is ok, and says what is missing', async () => {
  expect(await (await get('/healthz')).text()).toBe('{"status":"ok"}');
  expect(await status('/healthz?account=$G&stream=NONE')).toBe(404);
  expect(await json('/healthz?account=$G&stream=NONE')).toEqual({
    status: 'unavailable',
    error: 'JetStream stream "NONE" not found on account "$G"',
  });
  expect(await json('/healthz?account=$G&stream=NONE&details=true')).toEqual({
    status: 'error',
    errors: [
      { type: 'STREAM', account: '$G', stream: 'NONE', error: 'JetStream stream "NONE" not found on account "$G"' },
    ],
  });
  expect(await status('/healthz?account=NONE')).toBe(404);
  expect(await (await get('/healthz?account=$G&details=true')).text()).toBe('{"status":"ok"}');
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

test('accounts, subscriptions that match a subject, and what one node alone has none of', async () => {
  expect(await json('/accountz')).toMatchObject({ system_account: '$SYS', accounts: ['$G', '$SYS'] });
  const unknown = await get('/accountz?acc=NONE');
  expect([unknown.status, await unknown.text()]).toEqual([400, 'Account NONE does not exist']);
  const nc = await connect({ servers: server.clientUrl });
  nc.subscribe('a.*', { queue: 'q', callback: () => undefined });
  nc.subscribe('a.b', { max: 5, callback: () => undefined });
  nc.subscribe('b', { callback: () => undefined });
  nc.publish('a.b', 'four');
  await nc.flush();
  expect(await json('/subsz?subs=1&test=a.b')).toMatchObject({
    total: 2,
    subscriptions_list: [
      { account: '$G', subject: 'a.*', qgroup: 'q', msgs: 1 },
      { account: '$G', subject: 'a.b', msgs: 1, max: 5 },
    ],
  });
  expect(await json('/subsz?subs=1&offset=1&limit=1')).toMatchObject({ total: 3, offset: 1, limit: 1 });
  expect(await status('/subsz?test=a.*')).toBe(400);
  await nc.close();
  await expect
    .poll(() => json('/varz'))
    .toMatchObject({ server_name: 'watched', connections: 0, in_msgs: 1, proto: 1 });
  expect(await json('/accountz?acc=$G')).toMatchObject({ account_detail: { client_connections: 0, subscriptions: 0 } });
  // A connection that is gone still counts.
  const [account] = (await json('/accstatz?unused=1'))['account_statz'] as Record<string, unknown>[];
  expect(account).toMatchObject({
    acc: '$G',
    conns: 0,
    total_conns: 1,
    sent: { msgs: 2, bytes: 8 },
    received: { msgs: 1, bytes: 4 },
  });
  expect(await json('/accstatz')).toMatchObject({ account_statz: [] });
  expect(await json('/routez')).toMatchObject({ num_routes: 0, routes: [] });
  expect(await json('/leafz')).toMatchObject({ leafnodes: 0, leafs: [] });
  expect(await json('/gatewayz')).toMatchObject({ outbound_gateways: {}, inbound_gateways: {} });
});

test('metrics: every one of the list is in the text, with its type', async () => {
  const text = await (await get('/metrics')).text();
  for (const { name, kind } of METRICS) expect(text, name).toContain(`# TYPE ${name} ${kind}`);
  expect(text).toMatch(/flotilla_wal_syncs_total\{server="watched"\} [1-9]/);
  expect(text).toContain('flotilla_publish_ack_seconds_bucket{le="+Inf",server="watched"} 0');
});

test('a stream and its consumer are told as they stand', async () => {
  const nc = await connect({ servers: server.clientUrl });
  const jsm = await jetstreamManager(nc);
  await jsm.streams.add({ name: 'ORDERS', subjects: ['orders.>'] });
  await jsm.consumers.add('ORDERS', { durable_name: 'billing', ack_policy: AckPolicy.Explicit });
  const js = jetstream(nc);
  for (let i = 0; i < 5; i++) await js.publish('orders.new', String(i));
  await expect(js.publish('orders.new', 'x', { expect: { lastSequence: 1 } })).rejects.toThrow('wrong last sequence');
  const consumer = await js.consumers.get('ORDERS', 'billing');
  let left = 2;
  for await (const message of await consumer.fetch({ max_messages: 3, expires: 5000 })) {
    if (left-- > 0) await message.ackAck();
  }
  const text = await (await get('/metrics')).text();
  const stream = '{server="watched",account="$G",stream="ORDERS",partition="0"} ';
  expect(text).toContain(`flotilla_stream_last_seq${stream}5\n`);
  expect(text).toContain(`flotilla_stream_last_acked_seq${stream}5\n`);
  expect(text).toContain(`flotilla_partition_replicas_in_sync${stream}1\n`);
  const billing = '{server="watched",account="$G",stream="ORDERS",partition="0",consumer="billing"} ';
  expect(text).toContain(`flotilla_consumer_ack_pending${billing}1\n`);
  expect(text).toContain(`flotilla_consumer_delivered_seq${billing}3\n`);
  expect(text).toContain(`flotilla_consumer_ack_floor_seq${billing}2\n`);
  expect(text).toContain(`flotilla_consumer_lag_messages${billing}2\n`);
  expect(text).toContain('flotilla_acks_total{server="watched"} 2\n');
  expect(text).toContain('flotilla_delivered_messages_total{server="watched"} 3\n');
  expect(text).toContain(
    'flotilla_publishes_refused_total{err_code="10071",reason="wrong last sequence",server="watched"} 1\n',
  );
  expect(await json('/statusz')).toMatchObject({
    server_name: 'watched',
    trouble: '',
    meta_leader: 'watched',
    peers: [],
    partitions: { cluster: 1, leaderless: 0, replicas: 1, leading: 1, under_replicated: 0 },
    consumers: { count: 1, ack_pending: 1, lag_max: 2, stalled: 0 },
    counters: { publishes_stored: 5, publishes_refused: 1, delivered: 3, acks: 2 },
    alarms: [],
  });
  await nc.close();
});

test('what earlier processes left behind is told: their ends, and files in quarantine', async () => {
  const storeDir = mkdtempSync(join(tmpdir(), 'flotilla-left-'));
  const dataDir = join(storeDir, 'jetstream');
  mkdirSync(join(dataDir, 'quarantine'), { recursive: true });
  writeFileSync(join(dataDir, 'quarantine', 'wal-00000001-1'), 'doubtful');
  recordFatal(dataDir, 'disk', 'wal: sync failed: EIO');
  const node = await startNode({ name: 'left', monitorPort: 0, storeDir });
  const text = await (await fetch(`${node.monitorUrl}/metrics`)).text();
  const status = (await (await fetch(`${node.monitorUrl}/statusz`)).json()) as NodeStatus;
  await node.close();
  rmSync(storeDir, { recursive: true });
  expect(text).toContain('flotilla_fatal_errors_total{kind="disk",server="left"} 1\n');
  expect(text).toContain('flotilla_fatal_errors_total{kind="invariant",server="left"} 0\n');
  expect(text).toContain('flotilla_quarantined_files{server="left"} 1\n');
  expect(status.alarms.map(({ name }) => name)).toContain('FlotillaQuarantine');
});

test('times', () => {
  expect(rfc3339(0)).toBe('0001-01-01T00:00:00Z');
  expect(rfc3339(1_700_000_000_123_456)).toBe('2023-11-14T22:13:20.123456Z');
  expect(uptimeText(90_061_000_000)).toBe('1d1h1m1s');
  expect(uptimeText(5_000_000)).toBe('5s');
});
