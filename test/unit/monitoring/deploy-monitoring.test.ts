// What is shipped for Prometheus and Grafana says what the code says: generated files are fresh, every metric that a rule or a panel
// names exists, every alert has a unit test for promtool and a section for whoever is woken by it.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { dashboardJson, ROWS } from '../../../deploy/grafana/dashboard.ts';
import { ALARMS } from '../../../src/monitoring/alarms.ts';
import { HISTOGRAMS, METRICS } from '../../../src/monitoring/metric-table.ts';
import { alarmsDoc, rulesYaml } from '../../../src/monitoring/rules-doc.ts';

const ROOT = join(import.meta.dirname, '../../..');
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

function fresh(file: string, text: string): void {
  if (process.env.UPDATE) writeFileSync(join(ROOT, file), text);
  expect(read(file)).toBe(text);
}

test('the rule file is what the table of alarms says, in the chart too', () => {
  fresh('deploy/prometheus/flotilla.rules.yml', rulesYaml());
  fresh('deploy/helm/flotilla/files/flotilla.rules.yml', rulesYaml());
});

test('the dashboard is what its rows say', () => fresh('deploy/grafana/dashboards/flotilla.json', dashboardJson()));

test('the operations page has a section for each alert', () => {
  const page = read('docs/OPERATIONS.md');
  const [begin, end] = ['<!-- alerts: generated from src/monitoring/alarms.ts -->\n', '<!-- end of alerts -->'];
  const from = page.indexOf(begin) + begin.length;
  const to = page.indexOf(end);
  expect(from, 'marks in docs/OPERATIONS.md').toBeGreaterThan(begin.length);
  expect(to).toBeGreaterThanOrEqual(from);
  fresh('docs/OPERATIONS.md', `${page.slice(0, from)}\n${alarmsDoc()}\n\n${page.slice(to)}`);
});

/** Names of ours in a PromQL expression. */
function namesIn(expr: string): string[] {
  return expr.match(/\bflotilla_[a-z0-9_]+/g) ?? [];
}

test('rules, their tests and the dashboard name only metrics that exist', () => {
  const known = new Set(METRICS.map(({ name }) => name));
  for (const { name } of HISTOGRAMS) for (const part of ['bucket', 'sum', 'count']) known.add(`${name}_${part}`);
  const used = [
    ...ALARMS.flatMap(({ expr }) => namesIn(expr)),
    ...namesIn(read('deploy/prometheus/rules.test.yml')),
    ...ROWS.flatMap(({ panels }) => panels.flatMap(({ queries }) => queries.flatMap(({ expr }) => namesIn(expr)))),
  ];
  expect(used.length).toBeGreaterThan(100);
  expect(used.filter((name) => !known.has(name))).toEqual([]);
});

test('pages and programs name only metrics that exist', () => {
  const known = new Set(METRICS.map(({ name }) => name));
  for (const { name } of HISTOGRAMS) for (const part of ['bucket', 'sum', 'count']) known.add(`${name}_${part}`);
  const files = ['chaos', 'docs', 'bench', 'test/watch', 'deploy']
    .flatMap((dir) =>
      readdirSync(join(ROOT, dir), { recursive: true, encoding: 'utf8' }).map((name) => join(dir, name)),
    )
    .filter((name) => /\.(ts|md|ya?ml)$/.test(name));
  const named = ['README.md', ...files].flatMap((file) =>
    [...read(file).matchAll(/\bflotilla_[a-z0-9_]+[a-z0-9]\b/g)].map(([name]) => `${file}: ${name}`),
  );
  expect(named.length).toBeGreaterThan(100);
  expect(named.filter((each) => !known.has(each.split(': ')[1]))).toEqual([]);
});

test('every alert is named once and has a promtool test that fires and clears', () => {
  const names = ALARMS.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  const tests = read('deploy/prometheus/rules.test.yml');
  expect(names.filter((name) => !tests.includes(`alertname="${name}"`))).toEqual([]);
});
