// The series per partition and per consumer as text, capped: the first `max` of each kind stand alone, the rest is told under `_other`.
// Filled by scrape.ts during its walk, then taken metric by metric. Own text instead of prom-client's because tens of thousands of
// lines are written in slices. Invariant: all lines of a metric stand together; the totals over a metric that sums do not depend on the cap.
import type { SeriesMetric } from './metric-table.ts';

export class SeriesText<T> {
  readonly #metrics: readonly SeriesMetric<T>[];
  readonly #max: number;
  readonly #lines: string[];
  readonly #other: (number | undefined)[];
  #shown = 0;

  constructor(metrics: readonly SeriesMetric<T>[], max: number) {
    this.#metrics = metrics;
    this.#max = max;
    this.#lines = metrics.map(({ name, kind, help }) => `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${kind}\n`);
    this.#other = metrics.map(() => undefined);
  }

  /** The next one is not shown on its own: its labels need not be made. */
  get isFull(): boolean {
    return this.#shown >= this.#max;
  }

  /** `labels`: rendered by labelText; '' when full. */
  add(labels: string, from: T): void {
    const metrics = this.#metrics;
    if (this.isFull) {
      for (let i = 0; i < metrics.length; i++) this.#addOther(i, metrics[i].read(from));
      return;
    }
    this.#shown++;
    for (let i = 0; i < metrics.length; i++) {
      const value = metrics[i].read(from);
      if (value !== undefined) this.#lines[i] += `${metrics[i].name}${labels} ${value}\n`;
    }
  }

  #addOther(i: number, value: number | undefined): void {
    const { other } = this.#metrics[i];
    if (value === undefined || other === 'none') return;
    const sum = this.#other[i];
    this.#other[i] = sum === undefined ? value : other === 'sum' ? sum + value : Math.max(sum, value);
  }

  /** One text per metric. `otherLabels`: of what is beyond the cap. */
  *texts(otherLabels: string): Generator<string> {
    for (let i = 0; i < this.#metrics.length; i++) {
      const other = this.#other[i];
      yield other === undefined ? this.#lines[i] : `${this.#lines[i]}${this.#metrics[i].name}${otherLabels} ${other}\n`;
    }
  }
}

export function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeValue(value)}"`);
  return `{${pairs.join(',')}}`;
}

export function escapeValue(value: string): string {
  return /[\\"\n]/.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n') : value;
}

function escapeHelp(help: string): string {
  return help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
