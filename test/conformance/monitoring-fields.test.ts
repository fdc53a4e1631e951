// Every field of every monitoring page, by name and kind of value: what tools for nats-server read is there. What is expected stands in
// monitoring-fields.txt, as nats-server answers; `UPDATE=1 npm run conformance -- --against nats-server monitoring-fields` writes it anew.
// What Flotilla has not, and what it adds, are the tables below. Answers may have less for a moment, so each page is read until it
// has everything, or for a few seconds.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, inject, test } from 'vitest';
import { against, generations, type Json, ok, open, put, type Session, stream } from './harness.ts';

const GOLDEN = join(import.meta.dirname, 'monitoring-fields.txt');
const UPDATE = process.env['UPDATE'] === '1' && against === 'nats-server';
const WITHIN_MS = 8_000;

/** S: the node that leads the stream. M: the one that leads the cluster. F: one that does not. */
const PAGES = [
  'S /varz',
  'S /connz?subs=1&auth=1',
  'S /connz?subs=detail',
  'S /accountz',
  'S /accountz?acc=$G',
  'S /accountz?acc=NONE',
  'S /accstatz',
  'S /accstatz?unused=1',
  'S /leafz',
  'S /leafz?subs=1',
  'S /gatewayz',
  'S /gatewayz?accs=1',
  'S /routez',
  'S /routez?subs=1',
  'S /routez?subs=detail',
  'S /jsz',
  'S /jsz?accounts=1',
  'S /jsz?accounts=1&offset=5',
  'S /jsz?acc=$G',
  'S /jsz?acc=NONE',
  'S /jsz?streams=1',
  'S /jsz?acc=$G&streams=1&stream-leader-only=1',
  'S /jsz?acc=$G&consumers=1&config=1',
  'S /jsz?streams=1&consumers=1&config=1&raft=1&accounts=1',
  'M /jsz?leader-only=1&accounts=1',
  'F /jsz?leader-only=1',
  'S /subsz',
  'S /subsz?subs=1',
  'S /subsz?subs=1&limit=1&offset=1',
  'S /subsz?subs=1&acc=$G',
  'S /subsz?subs=1&acc=NONE',
  'S /subsz?subs=1&test=fields.a',
  'S /subsz?test=fields.*',
];

/** What nats-server tells and Flotilla does not, by the end of its name. */
const NOT_HERE: [fields: string[], why: string][] = [
  [['sublist_stats.*', 'num_cache', 'num_matches', 'cache_hit_rate', 'max_fanout', 'avg_fanout'], 'another index'],
  [['imports'], 'accounts are not joined by imports'],
  [['routes[].rtt'], 'links are judged by their silence, not by round trips'],
  [['routes[].account', 'cluster.pool_size'], 'one link per node, not one per account'],
  [['routes.bytes'], 'bytes between nodes are counted per link, in /routez'],
  [['leader_since', 'system_account', 'traffic_account'], 'not kept per group; consensus is no client traffic'],
  [['pending_requests', 'pending_infos', 'snapshot.pending_size', 'snapshot.last_*'], 'queues that are not there'],
  [['default_max_consumers'], 'no such limit'],
  [['cluster.auth_timeout', 'cluster.tls_timeout', 'tls_timeout'], 'no TLS yet'],
  [['config_digest', 'feature_flags', 'disk_io_wait_stats'], 'nothing of that kind'],
  [['allow_msg_ttl', 'config.metadata'], 'told when set'],
];
/** What Flotilla adds. */
const MORE_HERE = ['flotilla_version', 'routes[].bulk', 'auth_required', 'connections[].account'];

let s: Session;
const nodeOf: Record<string, number> = {};

beforeAll(async () => {
  s = await open(generations[1]);
  await open(generations[1], 1);
  const name = await stream(s, { subjects: ['fields.stored'] });
  await ok(s, `CONSUMER.CREATE.${name}.C`, {
    stream_name: name,
    config: { durable_name: 'C', ack_policy: 'explicit' },
  });
  await put(s, 'fields.stored', 'x');
  const leader = ((await ok(s, `STREAM.INFO.${name}`))['cluster'] as Json)['leader'];
  nodeOf['S'] = inject('names').indexOf(String(leader));
  const meta = (await body(nodeOf['S'], '/jsz'))['meta_cluster'] as Json;
  nodeOf['M'] = inject('names').indexOf(String(meta['leader']));
  nodeOf['F'] = (nodeOf['M'] + 1) % 3;
  // Each node has clients with and without a queue group, and hears of those of the others.
  for (const node of [0, 1, 2]) {
    const session = await open(generations[1], node);
    session.nc.subscribe('fields.a', { callback: () => undefined });
    session.nc.subscribe('fields.*', { queue: 'q', callback: () => undefined });
    await session.nc.flush();
  }
});

async function fetchFrom(node: number, path: string): Promise<Response> {
  return await fetch(`${inject('monitorUrls')[node]}${path}`);
}

async function body(node: number, path: string): Promise<Json> {
  return (await (await fetchFrom(node, path)).json()) as Json;
}

/** Names of values with their kinds; those of all items of a list together. */
function fieldsOf(value: unknown, name: string, into: Set<string>): void {
  if (Array.isArray(value)) {
    into.add(`${name}: list`);
    for (const each of value) fieldsOf(each, `${name}[]`, into);
  } else if (typeof value === 'object' && value !== null) {
    // Counters by page: which pages were asked for is not compared.
    const entries = name.endsWith('.http_req_stats') ? [] : Object.entries(value);
    if (name !== '') into.add(`${name}: object`);
    for (const [key, each] of entries) fieldsOf(each, name === '' ? key : `${name}.${key}`, into);
  } else into.add(`${name}: ${typeof value}`);
}

async function rowsOf(page: string): Promise<string[]> {
  const [where, path] = page.split(' ');
  const response = await fetchFrom(nodeOf[where], path);
  const text = await response.text();
  const head = `${page} => ${response.status} ${response.headers.get('content-type')?.split(';')[0]}`;
  if (response.status !== 200) return [`${head} ${text.trim()}`];
  const fields = new Set<string>();
  fieldsOf(JSON.parse(text), '', fields);
  return [head, ...[...fields].sort().map((field) => `${page} ${field}`)];
}

function isNotHere(row: string): boolean {
  const field = row.slice(0, row.lastIndexOf(': '));
  return NOT_HERE.some(([names]) =>
    names.some((name) => {
      if (name.endsWith('*')) return field.includes(name.slice(0, -1));
      return field.endsWith(name) || field.includes(`${name}[]`) || field.includes(`${name}.`);
    }),
  );
}

test.each(PAGES)('%s', async (page) => {
  if (UPDATE) return;
  const isOfPage = (row: string): boolean => row.startsWith(`${page} `) || row.startsWith(`${page} => `);
  const isHere = (row: string): boolean => against === 'nats-server' || !isNotHere(row);
  const expected = readFileSync(GOLDEN, 'utf8').split('\n').filter(isOfPage);
  expect(expected.length).toBeGreaterThan(0);
  const wanted = expected.filter(isHere);
  await expect
    .poll(async () => {
      const rows = new Set(await rowsOf(page));
      return wanted.filter((row) => !rows.has(row));
    })
    .toEqual([]);
  if (against === 'nats-server') return;
  const more = (await rowsOf(page)).filter((row) => !expected.includes(row));
  expect(more.filter((row) => !MORE_HERE.some((name) => row.includes(` ${name}: `)))).toEqual([]);
});

test('the fields are recorded', async () => {
  if (!UPDATE) return;
  await new Promise((resume) => setTimeout(resume, WITHIN_MS));
  const rows: string[] = [];
  for (const page of PAGES) rows.push(...(await rowsOf(page)));
  writeFileSync(GOLDEN, `${rows.join('\n')}\n`);
}, 30_000);
