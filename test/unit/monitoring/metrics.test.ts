// The table of metrics keeps Prometheus' conventions, its page is fresh, and a scrape of very many streams and consumers is capped,
// complete in its sums, and done in slices.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { emptyCensus, STALLED_US, walk } from '../../../src/monitoring/census.ts';
import {
  CONSUMER_METRICS,
  HISTOGRAMS,
  METRICS,
  NODE_METRICS,
  PARTITION_METRICS,
} from '../../../src/monitoring/metric-table.ts';
import { createMetrics } from '../../../src/monitoring/metrics.ts';
import { metricsDoc } from '../../../src/monitoring/metrics-doc.ts';
import { escapeValue } from '../../../src/monitoring/series-text.ts';
import { inSlices } from '../../../src/monitoring/slices.ts';
import { FakeView } from './fake-view.ts';

const DOC = join(import.meta.dirname, '../../../docs/METRICS.md');

test('names: ours, unique, base units, _total on counters and on nothing else', () => {
  const names = METRICS.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const { name, kind } of METRICS) {
    expect(name).toMatch(/^flotilla_[a-z][a-z0-9_]*$/);
    expect(name.endsWith('_total'), name).toBe(kind === 'counter');
    expect(name, 'base units').not.toMatch(/(_ms|_us|milli|micro|_kb|_mb|percent)/);
  }
  for (const { help } of [...NODE_METRICS, ...HISTOGRAMS, ...PARTITION_METRICS, ...CONSUMER_METRICS])
    expect(help).toMatch(/^[^\n|]+[^.]$/);
  for (const { bounds } of HISTOGRAMS) expect([...bounds].sort((a, b) => a - b)).toEqual([...bounds]);
});

test('docs/METRICS.md is what the table says', () => {
  const doc = metricsDoc();
  if (process.env.UPDATE) writeFileSync(DOC, doc);
  expect(readFileSync(DOC, 'utf8')).toBe(doc);
});

/** name{labels} -> value. */
function parse(text: string): Map<string, number> {
  const series = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const space = line.lastIndexOf(' ');
    const key = line.slice(0, space);
    expect(series.has(key), key).toBe(false);
    series.set(key, Number(line.slice(space + 1)));
  }
  return series;
}

function sumOf(series: Map<string, number>, name: string): { count: number; sum: number } {
  const values = [...series].filter(([key]) => key.startsWith(`${name}{`)).map(([, value]) => value);
  return { count: values.length, sum: values.reduce((sum, value) => sum + value, 0) };
}

test('series are capped; the rest is summed under _other, and no sum changes with the cap', async () => {
  const view = new FakeView({ partitions: 30, consumersEach: 4 });
  const capped = parse((await createMetrics(view, 10).scrape()).toString());
  const whole = parse((await createMetrics(view, 1000).scrape()).toString());
  expect(sumOf(capped, 'flotilla_stream_messages').count).toBe(11);
  expect(sumOf(whole, 'flotilla_stream_messages').count).toBe(30);
  expect(sumOf(capped, 'flotilla_consumer_ack_pending').count).toBe(11);
  expect(sumOf(whole, 'flotilla_consumer_ack_pending').count).toBe(120);
  for (const { name, other } of [...PARTITION_METRICS, ...CONSUMER_METRICS])
    if (other === 'sum') expect(sumOf(capped, name).sum, name).toBe(sumOf(whole, name).sum);
  const rest = '{server="n1",account="_other",stream="_other",partition="_other"}';
  expect(capped.get(`flotilla_stream_messages${rest}`)).toBe(20 * 7);
  expect(capped.get(`flotilla_partition_lag_entries${rest}`)).toBe(3);
  expect(capped.has(`flotilla_stream_last_seq${rest}`)).toBe(false);
  // What the node says of itself does not know the cap.
  for (const { name } of NODE_METRICS)
    if (!/uptime/.test(name)) expect(sumOf(capped, name), name).toEqual(sumOf(whole, name));
});

test('a walk takes one partition or one consumer per step', async () => {
  const view = new FakeView({ partitions: 1000, consumersEach: 10 });
  const census = emptyCensus();
  const steps = walk(view, census);
  let count = 0;
  let seen = 0;
  while (!steps.next().done) {
    count++;
    expect(census.replicas + census.consumers - seen).toBeLessThanOrEqual(1);
    seen = census.replicas + census.consumers;
  }
  expect(seen).toBe(11_000);
  expect(count).toBe(11_001);
});

test('between the slices of a scrape the event loop turns', async () => {
  const view = new FakeView({ partitions: 1000, consumersEach: 10 });
  const metrics = createMetrics(view);
  let turns = 0;
  let over = false;
  const turn = (): void => {
    turns++;
    if (!over) setImmediate(turn);
  };
  setImmediate(turn);
  const [first, same] = await Promise.all([metrics.scrape(), metrics.scrape()]);
  over = true;
  expect(same).toBe(first);
  expect(metrics.counts.steps).toBe(11_001 + PARTITION_METRICS.length + CONSUMER_METRICS.length);
  expect(turns).toBeGreaterThanOrEqual(metrics.counts.turns - 1);
});

test('inSlices stops after its time although steps are left', async () => {
  const busy = function* (): Generator<void> {
    for (let i = 0; i < 5; i++) {
      const until = performance.now() + 4;
      while (performance.now() < until);
      yield;
    }
  };
  const counts = { turns: 0, steps: 0 };
  await inSlices(busy(), counts);
  expect(counts).toEqual({ turns: 6, steps: 5 });
});

test('risks: under-replicated, leaderless and stalled are counted and named, up to a hundred', () => {
  const view = new FakeView({ partitions: 200, consumersEach: 1 });
  const census = emptyCensus();
  for (const _ of walk(view, census));
  expect(census).toMatchObject({ underReplicated: 0, stalledConsumers: 0, risks: [] });
  view.change = { inSync: 2, ackUs: 1 };
  view.wallUs = STALLED_US + 2;
  const risky = emptyCensus();
  for (const _ of walk(view, risky));
  expect(risky).toMatchObject({ underReplicated: 200, stalledConsumers: 200 });
  expect(risky.risks).toHaveLength(100);
  expect(risky.risks[0]).toMatchObject({ stream: 'S0', what: '2 of 3 replicas in sync' });
});

test('label values are escaped', () => {
  expect(escapeValue('a"b\\c\nd')).toBe('a\\"b\\\\c\\nd');
});
