// /metrics: Prometheus' text format. The hot path counts in plain numbers and arrays; they are read here when somebody scrapes, by the
// table of metric-table.ts: metrics of the node through a prom-client registry (with its defaults for the process), series per partition
// and consumer by series-text.ts. Called by http.ts.
// Invariants: walking and rendering happen in slices of a few milliseconds, whatever there is to tell; scrapes at the same time share one.
import { collectDefaultMetrics, type Metric, Registry } from 'prom-client';
import { readFatalRecord } from '../kit/fatal-record.ts';
import { emptyCensus, walk } from './census.ts';
import { DiskLook } from './disk-facts.ts';
import {
  CONSUMER_METRICS,
  type ConsumerSample,
  HISTOGRAMS,
  type HistogramMetric,
  type Labels,
  NODE_METRICS,
  type NodeMetric,
  type NodeSample,
  OTHER,
  PARTITION_METRICS,
} from './metric-table.ts';
import { escapeValue, labelText, SeriesText } from './series-text.ts';
import { inSlices, nextTurn, type SliceCounts } from './slices.ts';
import type { NodeView, ReplicaSample } from './types.ts';

export const SERIES_MAX_DEFAULT = 1000;
/** Metrics of the node that are rendered in one go; they have few lines each. */
const NODE_METRICS_PER_TURN = 20;

export interface Scraper {
  readonly contentType: string;
  /** Slices so far, over all scrapes. */
  readonly counts: SliceCounts;
  /** The whole answer. */
  scrape(): Promise<Buffer>;
  /** What the node as a whole is described by, fresh. */
  sample(): Promise<NodeSample>;
}

/** `seriesMax`: series per partition metric, and per consumer metric. */
export function createMetrics(view: NodeView, seriesMax = SERIES_MAX_DEFAULT): Scraper {
  return new NodeScraper(view, seriesMax);
}

interface MetricValue {
  value: number;
  labels: Labels;
  metricName?: string;
}

class NodeScraper implements Scraper {
  readonly counts: SliceCounts = { turns: 0, steps: 0 };
  readonly #view: NodeView;
  readonly #seriesMax: number;
  readonly #registry = new Registry();
  readonly #disk: DiskLook;
  readonly #fatal;
  #current: NodeSample | undefined;
  #running: Promise<Buffer> | undefined;

  constructor(view: NodeView, seriesMax: number) {
    this.#view = view;
    this.#seriesMax = seriesMax;
    this.#disk = new DiskLook(view.identity.storeDir);
    this.#fatal = readFatalRecord(view.identity.storeDir);
    this.#registry.setDefaultLabels({ server: view.identity.serverName });
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: 20 });
    for (const spec of NODE_METRICS) this.#register(spec.name, spec.help, spec.kind, (n) => nodeValues(spec, n));
    for (const spec of HISTOGRAMS) this.#register(spec.name, spec.help, 'histogram', (n) => bucketValues(spec, n));
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** prom-client's own kinds count themselves; ours were counted elsewhere and are only told. */
  #register(name: string, help: string, type: string, values: (n: NodeSample) => MetricValue[]): void {
    const metric = {
      name,
      help,
      type,
      get: async () => ({ name, help, type, values: this.#current === undefined ? [] : values(this.#current) }),
      reset() {},
    };
    this.#registry.registerMetric(metric as unknown as Metric);
  }

  scrape(): Promise<Buffer> {
    this.#running ??= this.#scrape().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async sample(): Promise<NodeSample> {
    const census = emptyCensus();
    const disk = await this.#disk.facts();
    await inSlices(walk(this.#view, census));
    return this.#sampleOf(census, disk);
  }

  #sampleOf(census: NodeSample['census'], disk: NodeSample['disk']): NodeSample {
    const view = this.#view;
    return { view, traffic: view.traffic(), stats: view.stats(), census, disk, fatal: this.#fatal };
  }

  async #scrape(): Promise<Buffer> {
    const census = emptyCensus();
    const partitions = new SeriesText<ReplicaSample>(PARTITION_METRICS, this.#seriesMax);
    const consumers = new SeriesText<ConsumerSample>(CONSUMER_METRICS, this.#seriesMax);
    const server = this.#view.identity.serverName;
    const own = `{server="${escapeValue(server)}",`;
    let prefix = '';
    const disk = await this.#disk.facts();
    const visitor = {
      replica: (replica: ReplicaSample) => {
        const { account, stream, partition } = replica;
        prefix = `${own}account="${escapeValue(account)}",stream="${escapeValue(stream)}",partition="${partition}"`;
        partitions.add(partitions.isFull ? '' : `${prefix}}`, replica);
      },
      consumer: (_replica: ReplicaSample, at: ConsumerSample['at'], lag: number) => {
        consumers.add(consumers.isFull ? '' : `${prefix},consumer="${escapeValue(at.name)}"}`, { at, lag });
      },
    };
    await inSlices(walk(this.#view, census, visitor), this.counts);
    this.#current = this.#sampleOf(census, disk);
    const chunks: Buffer[] = [];
    for (const { name } of this.#registry.getMetricsAsArray()) {
      chunks.push(Buffer.from(`${await this.#registry.getSingleMetricAsString(name)}\n`));
      if (chunks.length % NODE_METRICS_PER_TURN === 0) await nextTurn();
    }
    const other = labelText({ server, account: OTHER, stream: OTHER, partition: OTHER });
    await inSlices(encode(partitions.texts(other), chunks), this.counts);
    const otherConsumer = labelText({ server, account: OTHER, stream: OTHER, partition: OTHER, consumer: OTHER });
    await inSlices(encode(consumers.texts(otherConsumer), chunks), this.counts);
    return Buffer.concat(chunks);
  }
}

function* encode(texts: Iterable<string>, chunks: Buffer[]): Generator<void> {
  for (const text of texts) {
    chunks.push(Buffer.from(text));
    yield;
  }
}

function nodeValues(spec: NodeMetric, n: NodeSample): MetricValue[] {
  const read = spec.read(n);
  if (read === undefined) return [];
  return typeof read === 'number' ? [{ labels: {}, value: read }] : read;
}

function bucketValues(spec: HistogramMetric, n: NodeSample): MetricValue[] {
  const read = spec.read(n);
  if (read === undefined) return [];
  const { name, bounds } = spec;
  const values: MetricValue[] = [];
  let count = 0;
  for (let i = 0; i <= bounds.length; i++) {
    count += read.counts[i];
    const le = i === bounds.length ? '+Inf' : String(bounds[i]);
    values.push({ value: count, labels: { le }, metricName: `${name}_bucket` });
  }
  values.push({ value: read.sum, labels: {}, metricName: `${name}_sum` });
  values.push({ value: count, labels: {}, metricName: `${name}_count` });
  return values;
}
