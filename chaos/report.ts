// What a run leaves behind: a table on the terminal, report.json, report.html, and the timeline (acks a second, faults as bands) as a picture.
// Called by run.ts. Pure but for `write`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ByteAccount } from './byte-accounts.ts';
import type { Fault } from './round.ts';

export interface Report {
  seed: number;
  command: string;
  startedAt: string;
  seconds: number;
  rounds: number;
  counts: Record<string, number>;
  /** Findings per check. */
  checks: Record<string, number>;
  findings: string[];
  byteAccounts: ByteAccount[];
  /** Times in seconds since the start. */
  faults: { name: string; about: string; at: number; heldMs: number; longestMs: number; acked: number }[];
  acksPerSecond: number[];
}

export function faultRows(faults: readonly Fault[], startMs: number): Report['faults'] {
  return faults.map(({ name, about, from, heldMs, longestMs, acked }) => ({
    name,
    about,
    at: Math.round((from - startMs) / 100) / 10,
    heldMs: Math.round(heldMs),
    longestMs: Math.round(longestMs),
    acked,
  }));
}

interface Row {
  name: string;
  times: number;
  acked: number;
  longestMs: number;
  medianMs: number;
}

function byScenario(faults: Report['faults']): Row[] {
  return [...Map.groupBy(faults, ({ name }) => name)]
    .map(([name, list]) => {
      const silent = list.map(({ longestMs }) => longestMs).sort((a, b) => a - b);
      const acked = list.reduce((sum, fault) => sum + fault.acked, 0);
      return { name, times: list.length, acked, longestMs: silent.at(-1) ?? 0, medianMs: silent[silent.length >> 1] };
    })
    .sort((a, b) => b.longestMs - a.longestMs);
}

const number = (value: number): string => value.toLocaleString('en');

export function tableOf(report: Report): string {
  const lines = ['fault              times      acked   longest time without service (median)'];
  for (const { name, times, acked, longestMs, medianMs } of byScenario(report.faults)) {
    lines.push(
      `${name.padEnd(18)} ${String(times).padStart(5)} ${number(acked).padStart(10)}   ${number(longestMs)} ms (${number(medianMs)} ms)`,
    );
  }
  lines.push('', ...Object.entries(report.counts).map(([name, value]) => `${name.padEnd(34)} ${number(value)}`));
  lines.push('', ...Object.entries(report.checks).map(([name, value]) => `${name.padEnd(34)} ${number(value)} found`));
  lines.push('');
  for (const { node, out, taken, owed, in: read, ok } of report.byteAccounts) {
    const wrote = `wrote ${number(out)} bytes, proxies took ${number(taken)}`;
    lines.push(
      `${node} ${wrote}; for it they took ${number(owed)}, it read ${number(read)}${ok ? '' : ': THESE DO NOT MATCH'}`,
    );
  }
  return lines.join('\n');
}

/** Names of faults stand side by side. */
const WIDTH_MIN = 1400;
const FAULT_WIDTH_MIN = 16;
const HEIGHT = 420;
const LEFT = 70;
const TOP = 120;
const COLOURS = ['#c6dbef', '#fdd0a2', '#c7e9c0', '#dadaeb', '#fcbba1', '#d9d9d9'];

const escaped = (text: string): string => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);

export function timelineOf(report: Report): string {
  const { acksPerSecond, faults } = report;
  const seconds = Math.max(acksPerSecond.length, 1);
  const highest = acksPerSecond.reduce((most, rate) => Math.max(most, rate), 1);
  const width = Math.max(WIDTH_MIN, faults.length * FAULT_WIDTH_MIN);
  const x = (at: number): number => LEFT + (at / seconds) * (width - LEFT - 10);
  const y = (rate: number): number => TOP + HEIGHT - (rate / highest) * HEIGHT;
  const bands = faults.map(({ name, at, heldMs, longestMs }, i) => {
    const from = x(at);
    const wide = Math.max(1, x(at + heldMs / 1000) - from);
    const title = `${name} at ${at} s, held ${heldMs} ms, longest time without service ${longestMs} ms`;
    return (
      `<g><title>${escaped(title)}</title><rect x="${from.toFixed(1)}" y="${TOP}" width="${wide.toFixed(1)}" height="${HEIGHT}" ` +
      `fill="${COLOURS[i % COLOURS.length]}"/><text x="0" y="0" transform="translate(${(from + 8).toFixed(1)},${TOP - 6}) rotate(-55)">` +
      `${escaped(name)}</text></g>`
    );
  });
  const points = acksPerSecond.map((rate, second) => `${x(second + 0.5).toFixed(1)},${y(rate).toFixed(1)}`).join(' ');
  const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const at = y(share * highest);
    return `<line x1="${LEFT}" x2="${width - 10}" y1="${at}" y2="${at}" stroke="#ddd"/><text x="4" y="${at + 4}">${number(Math.round(share * highest))}/s</text>`;
  });
  const everyS = Math.max(10, Math.ceil(seconds / 20 / 10) * 10);
  const times = Array.from({ length: Math.floor(seconds / everyS) + 1 }, (_, i) => i * everyS).map(
    (at) => `<text x="${x(at).toFixed(1)}" y="${TOP + HEIGHT + 16}">${at} s</text>`,
  );
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${TOP + HEIGHT + 24}" font-family="sans-serif" font-size="11">` +
    `${bands.join('')}${marks.join('')}${times.join('')}<polyline points="${points}" fill="none" stroke="#08519c" stroke-width="1.5"/></svg>`
  );
}

export function htmlOf(report: Report): string {
  const cells = (row: (string | number)[]): string =>
    `<tr>${row.map((cell) => `<td>${escaped(typeof cell === 'number' ? number(cell) : cell)}</td>`).join('')}</tr>`;
  const table = (head: string[], rows: (string | number)[][]): string =>
    `<table><tr>${head.map((cell) => `<th>${escaped(cell)}</th>`).join('')}</tr>${rows.map(cells).join('')}</table>`;
  const { counts, checks, findings, byteAccounts } = report;
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>Flotilla chaos, seed ${report.seed}</title>
<style>body{font-family:sans-serif;max-width:1420px;margin:1em auto}td,th{padding:2px 12px 2px 0;text-align:left}pre{white-space:pre-wrap}</style>
<h1>Chaos: ${findings.length === 0 ? 'nothing lost, nothing wrong' : `${findings.length} findings`}</h1>
<p>${escaped(report.startedAt)}, ${number(report.seconds)} s, ${report.rounds} rounds. <code>${escaped(report.command)}</code></p>
<p>Acknowledgements per second; bands are faults (hold the pointer over one). Gaps between rounds: draining, and reading every replica.</p>
<div style="overflow-x:auto">${timelineOf(report)}</div>
${findings.length > 0 ? `<h2>Findings</h2><pre>${escaped(findings.join('\n'))}</pre>` : ''}
<h2>Faults</h2>${table(
    ['fault', 'times', 'acknowledged', 'longest time without service, ms', 'median, ms'],
    byScenario(report.faults).map((row) => [row.name, row.times, row.acked, row.longestMs, row.medianMs]),
  )}
<h2>Counts</h2>${table(['what', 'how many'], Object.entries(counts))}
<h2>Checks</h2>${table(['check', 'findings'], Object.entries(checks))}
<h2>Bytes between nodes</h2>${table(
    ['node', 'written by its sockets', 'taken from it by proxies', 'taken for it by proxies', 'read by its sockets'],
    byteAccounts.map((row) => [row.node, row.out, row.taken, row.owed, row.in]),
  )}
</html>
`;
}

export function write(dir: string, report: Report): void {
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, 'report.json'), `${JSON.stringify(report, null, 2)}\n`);
  writeFileSync(join(dir, 'report.html'), htmlOf(report));
  writeFileSync(join(dir, 'timeline.svg'), timelineOf(report));
}
