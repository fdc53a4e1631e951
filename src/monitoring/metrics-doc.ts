// docs/METRICS.md from the table of metrics; a test keeps the file equal to it. Pure but for the list of prom-client's defaults.
import { collectDefaultMetrics, Registry } from 'prom-client';
import {
  CONSUMER_LABELS,
  CONSUMER_METRICS,
  HISTOGRAMS,
  NODE_METRICS,
  PARTITION_LABELS,
  PARTITION_METRICS,
  type SeriesMetric,
} from './metric-table.ts';

interface Row {
  name: string;
  kind: string;
  labels: readonly string[];
  help: string;
}

export function metricsDoc(): string {
  const own: Row[] = [
    ...NODE_METRICS,
    ...HISTOGRAMS.map(({ name, help, bounds }) => ({
      name,
      kind: 'histogram',
      labels: [],
      help: `${help}; buckets up to ${bounds[0]} … ${bounds[bounds.length - 1]}`,
    })),
  ];
  return [
    '# Metrics',
    '',
    'Generated from `src/monitoring/metric-table.ts` (`UPDATE=1 npm test -- test/unit/monitoring`); do not edit.',
    '',
    'Every node serves `/metrics` on its monitoring port (`-m`). All series carry `server`, the name of the node. What is counted is counted',
    'all the time in plain numbers; a scrape reads them in slices of a few milliseconds, whatever the number of streams and consumers.',
    'With 1,000 streams and 10,000 consumers no slice of a scrape holds the event loop for more than 10 ms; `node bench/scrape.ts` shows it',
    '(a garbage collection may fall into any turn, and is told apart).',
    '',
    '## The node',
    '',
    'Sums here are complete however many streams and consumers there are: alerts rest on these.',
    '',
    ...table(own),
    '',
    '## Per partition',
    '',
    'On every replica, unless the help says "on the leader". The first 1,000 partitions of a node (`--metrics_series`) have series of their',
    'own; the rest is told under `stream="_other"` as the last column says.',
    '',
    ...seriesTable(PARTITION_METRICS, PARTITION_LABELS),
    '',
    '## Per consumer',
    '',
    "On the leader of the consumer's partition; the first 1,000 of a node, the rest under `_other`. Seqs are the partition's own.",
    '',
    ...seriesTable(CONSUMER_METRICS, CONSUMER_LABELS),
    '',
    '## The process',
    '',
    "prom-client's defaults: CPU, memory, event loop delay, garbage collection.",
    '',
    ...table(processRows()),
    '',
  ].join('\n');
}

function table(rows: readonly Row[]): string[] {
  return [
    '| metric | kind | labels | what |',
    '|---|---|---|---|',
    ...rows.map(({ name, kind, labels, help }) => `| \`${name}\` | ${kind} | ${labels.join(', ')} | ${help} |`),
  ];
}

function seriesTable<T>(metrics: readonly SeriesMetric<T>[], labels: readonly string[]): string[] {
  return [
    `Labels: ${labels.map((label) => `\`${label}\``).join(', ')}.`,
    '',
    '| metric | kind | what | beyond the cap |',
    '|---|---|---|---|',
    ...metrics.map(({ name, kind, help, other }) => `| \`${name}\` | ${kind} | ${help} | ${other} |`),
  ];
}

function processRows(): Row[] {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const rows = (registry.getMetricsAsArray() as unknown as { name: string; help: string; type: string }[]).map(
    ({ name, help, type }) => ({ name, kind: type, labels: [], help: help.replace(/\.$/, '') }),
  );
  registry.clear();
  return rows.sort((a, b) => (a.name < b.name ? -1 : 1));
}
