// `npm run bench`: the same load against three Flotilla nodes and three nats-server nodes on this machine, interleaved in one run,
// printed as ratios. Absolute figures depend on the machine; only ratios of one run count. Flotilla syncs before every ack;
// nats-server runs with its default (a sync every two minutes) and, with --always, with `sync_interval: always` as well.
//   npm run bench -- [--rounds n] [--scale f] [--only name,name] [--always]
//   npm run bench -- --only many [--streams 1000] [--windows 500,4000] [--alone] [--rounds n] [--scale f]  many streams, in many.ts
import { execFileSync } from 'node:child_process';
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Target, type TargetKind } from '../test/conformance/target.ts';
import { buildLoad, type LoadResult, load, median, TITLES } from './load.ts';
import { runMany } from './many.ts';

interface Scenario {
  name: string;
  /** Of the three nodes, where the clients connect. */
  at: 'leader' | 'other';
  flags: string[];
  messages: number;
  /** What is compared: messages per second (higher is better) or the median latency (lower is better). */
  figure: 'perSecond' | 'p50Ms';
}

const SCENARIOS: Scenario[] = [
  {
    name: 'async 1 client, leader',
    at: 'leader',
    flags: ['-mode', 'async', '-clients', '1'],
    messages: 200_000,
    figure: 'perSecond',
  },
  {
    name: 'async 1 client, other node',
    at: 'other',
    flags: ['-mode', 'async', '-clients', '1'],
    messages: 200_000,
    figure: 'perSecond',
  },
  {
    name: 'async 4 clients, leader',
    at: 'leader',
    flags: ['-mode', 'async', '-clients', '4'],
    messages: 400_000,
    figure: 'perSecond',
  },
  {
    name: 'async 4 clients, other node',
    at: 'other',
    flags: ['-mode', 'async', '-clients', '4'],
    messages: 400_000,
    figure: 'perSecond',
  },
  {
    name: 'async 4 clients, 1 KB',
    at: 'leader',
    flags: ['-mode', 'async', '-clients', '4', '-size', '1024'],
    messages: 100_000,
    figure: 'perSecond',
  },
  {
    name: 'sync 1 client, leader',
    at: 'leader',
    flags: ['-mode', 'sync', '-clients', '1'],
    messages: 4_000,
    figure: 'p50Ms',
  },
  { name: 'consume, durable pull', at: 'leader', flags: ['-mode', 'consume'], messages: 150_000, figure: 'perSecond' },
  { name: 'consume, ordered', at: 'leader', flags: ['-mode', 'ordered'], messages: 200_000, figure: 'perSecond' },
  { name: 'core pub/sub', at: 'leader', flags: ['-mode', 'core'], messages: 500_000, figure: 'perSecond' },
];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    scale: { type: 'string', default: '1' },
    only: { type: 'string' },
    streams: { type: 'string', default: '1000' },
    windows: { type: 'string', default: '500,4000' },
    alone: { type: 'boolean', default: false },
    always: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

interface Side {
  label: string;
  target: Target;
  leader: string;
  other: string;
}

async function startSide(kind: TargetKind, label: string, binary: string, extra: string[]): Promise<Side> {
  const target = new Target(kind, extra);
  await target.start(3);
  load(binary, target.urls[0], ['-mode', 'create', '-stream', 'BENCH']);
  const leaderName = execFileSync(binary, ['-s', target.urls[0], '-mode', 'leader', '-stream', 'BENCH'], {
    encoding: 'utf8',
  }).trim();
  const at = target.names.indexOf(leaderName);
  if (at < 0) throw new Error(`${label}: unknown leader ${leaderName}`);
  return { label, target, leader: target.urls[at], other: target.urls[(at + 1) % 3] };
}

/** Milliseconds of an fdatasync after a 4 KiB write in the directory where the nodes store: median of 100. */
function diskSyncMs(dir: string): number {
  const file = openSync(join(dir, 'probe'), 'w');
  const block = Buffer.alloc(4096);
  const times: number[] = [];
  for (let i = 0; i < 100; i++) {
    const start = performance.now();
    writeSync(file, block);
    fdatasyncSync(file);
    times.push(performance.now() - start);
  }
  closeSync(file);
  return median(times);
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(
      'usage: npm run bench -- [--rounds n] [--scale f] [--only text,text] [--always]\n       npm run bench -- --only many [--streams 1000] [--windows 500,4000] [--alone] [--rounds n] [--scale f]\n',
    );
    return 0;
  }
  const rounds = Number(values.rounds);
  const scale = Number(values.scale);
  const windows = values.windows.split(',').map(Number);
  if (!windows.every((window) => Number.isInteger(window) && window > 0)) {
    process.stderr.write(`--windows ${values.windows}: not a list of numbers above 0\n`);
    return 1;
  }
  const scenarios = SCENARIOS.filter(
    (scenario) => !values.only || values.only.split(',').some((part) => scenario.name.includes(part)),
  );
  const dir = mkdtempSync(join(tmpdir(), 'bench-'));
  const sides: Side[] = [];
  try {
    const binary = buildLoad(dir);
    if (values.only === 'many') {
      await runMany({
        binary,
        streams: Number(values.streams),
        windows,
        alone: values.alone,
        rounds,
        scale,
      });
      return 0;
    }
    process.stdout.write(
      `fdatasync of 4 KiB: ${diskSyncMs(dir).toFixed(3)} ms; 3 nodes, R3, 128 B unless said, window 500 per client, ${rounds} rounds\n`,
    );
    sides.push(await startSide('flotilla', TITLES.flotilla, binary, []));
    sides.push(await startSide('nats-server', TITLES['nats-server'], binary, []));
    if (values.always) {
      const config = join(dir, 'always.conf');
      writeFileSync(config, 'jetstream { sync_interval: always }\n');
      sides.push(await startSide('nats-server', 'nats-server (sync always)', binary, ['-c', config]));
    }
    const rows: string[] = [];
    for (const scenario of scenarios) {
      const results = sides.map(() => [] as LoadResult[]);
      // The first round is not counted: it compiles code on one side and fills caches on both.
      for (let round = -1; round < rounds; round++) {
        for (const [i, side] of sides.entries()) {
          const messages = Math.max(100, Math.round(scenario.messages * scale));
          const url = scenario.at === 'leader' ? side.leader : side.other;
          const result = load(binary, url, [...scenario.flags, '-stream', 'BENCH', '-msgs', String(messages)]);
          if (round >= 0) results[i].push(result);
          const p = result.p50Ms === undefined ? '' : ` p50 ${result.p50Ms} ms p99 ${result.p99Ms} ms`;
          const e = result.errors > 0 ? ` ERRORS ${result.errors} (${result.firstError})` : '';
          const w = round < 0 ? ' (warm-up)' : '';
          process.stdout.write(`  ${scenario.name}${w} | ${side.label} | ${Math.round(result.perSecond)}/s${p}${e}\n`);
        }
      }
      const peaks = sides.map((side) => `${side.label} ${side.target.maxRssMb()} MB`);
      process.stdout.write(`  ${scenario.name} | memory of the largest node so far | ${peaks.join(', ')}\n`);
      const figures = results.map((list) => median(list.map((result) => result[scenario.figure] ?? Number.NaN)));
      const ratios = figures
        .slice(1)
        .map((figure) => (scenario.figure === 'p50Ms' ? figure / figures[0] : figures[0] / figure));
      const unit = scenario.figure === 'p50Ms' ? ' ms' : '/s';
      const shown = figures.map(
        (figure) => (scenario.figure === 'p50Ms' ? figure.toFixed(2) : String(Math.round(figure))) + unit,
      );
      rows.push(
        `| ${scenario.name} | ${shown.join(' | ')} | ${ratios.map((ratio) => `${ratio.toFixed(2)} ×`).join(' | ')} |`,
      );
    }
    process.stdout.write(
      `\n| median of ${rounds} | ${sides.map((side) => side.label).join(' | ')} | ${sides
        .slice(1)
        .map((side) => `flotilla vs ${side.label}`)
        .join(' | ')} |\n`,
    );
    process.stdout.write(
      `|---|${sides.map(() => '---').join('|')}|${sides
        .slice(1)
        .map(() => '---')
        .join('|')}|\n`,
    );
    process.stdout.write(`${rows.join('\n')}\n`);
    for (const side of sides)
      process.stdout.write(`memory of the largest ${side.label} node: ${side.target.maxRssMb()} MB\n`);
    return 0;
  } finally {
    await Promise.all(sides.map((side) => side.target.stop()));
    rmSync(dir, { recursive: true, force: true });
  }
}

process.exit(await main());
