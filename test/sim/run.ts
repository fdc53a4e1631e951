// `npm run sim`: seeds of the simulated cluster. Prints, at the end, how often each fault and crash point occurred; exit 1 when a seed
// broke a promise, with the command that replays it.
//   npm run sim -- --seed 7 [--verbose]     npm run sim -- --minutes 10     npm run sim -- --seeds 100 [--from 1]
import { parseArgs } from 'node:util';
import { MUST_HAPPEN } from './must-happen.ts';
import { hunt, MUTANTS } from './mutants.ts';
import { runScenario } from './scenario.ts';

/** Runs shorter than this are not held to the list. */
const JUDGED_FROM_MINUTES = 10;

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string' },
    from: { type: 'string' },
    minutes: { type: 'string' },
    duration: { type: 'string', default: '15000' },
    mutants: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

/** Exit code: is each planted bug found? */
function plantAll(): number {
  let missed = 0;
  for (const mutant of MUTANTS) {
    const startMs = performance.now();
    const hit = hunt(mutant);
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    if (hit === undefined) missed++;
    const how =
      hit === undefined ? `NOT FOUND in ${mutant.seeds} seeds` : `seed ${hit.seed}: ${firstLine(hit.finding)}`;
    process.stdout.write(`${mutant.name} (${seconds} s)\n    ${how}\n`);
  }
  process.stdout.write(`${MUTANTS.length} planted bugs, ${missed} not found\n`);
  return missed === 0 ? 0 : 1;
}

function firstLine(text: string): string {
  return text.split('\n')[0].slice(0, 200);
}

function main(): number {
  if (values.help) {
    process.stdout.write(
      'usage: npm run sim -- --seed N [--verbose] | --minutes M | --seeds COUNT [--from N] | --mutants; --duration simulated-ms\n',
    );
    return 0;
  }
  if (values.mutants) return plantAll();
  const startMs = performance.now();
  const deadlineMs = startMs + Number(values.minutes ?? 0) * 60_000;
  const first =
    values.seed !== undefined
      ? Number(values.seed)
      : values.from !== undefined
        ? Number(values.from)
        : Math.floor(Math.random() * 1e9);
  const count =
    values.seed !== undefined
      ? 1
      : values.minutes !== undefined
        ? Number.POSITIVE_INFINITY
        : Number(values.seeds ?? 20);
  const totals = new Map<string, number>();
  const failed: number[] = [];
  let runs = 0;
  let acked = 0;
  let events = 0;
  let simulatedMs = 0;
  for (let seed = first; seed < first + count; seed++) {
    if (values.minutes !== undefined && performance.now() > deadlineMs) break;
    const onLog = values.verbose
      ? (record: { timeMs: number; node: string; level: string; message: string; fields: unknown }) =>
          void process.stdout.write(
            `${record.timeMs.toFixed(1)} ${record.node} ${record.level} ${record.message} ${JSON.stringify(record.fields ?? '')}\n`,
          )
      : undefined;
    const result = runScenario({ seed, durationMs: Number(values.duration), onLog });
    runs++;
    acked += result.acked;
    events += result.events;
    simulatedMs += result.simulatedMs;
    for (const [name, value] of result.counts) totals.set(name, (totals.get(name) ?? 0) + value);
    if (values.seed !== undefined)
      process.stdout.write(`seed ${seed}: ${result.acked} acked, ${result.events} events, trace ${result.trace}\n`);
    if (result.findings.length > 0) {
      failed.push(seed);
      process.stdout.write(`seed ${seed} FAILED (npm run sim -- --seed ${seed}):\n`);
      for (const finding of result.findings.slice(0, 10)) process.stdout.write(`  ${finding}\n`);
    }
  }
  for (const [name, value] of [...totals].sort(([a], [b]) => a.localeCompare(b)))
    process.stdout.write(`${String(value).padStart(10)}  ${name}\n`);
  const seconds = (performance.now() - startMs) / 1000;
  process.stdout.write(
    `${runs} seeds from ${first}, ${acked} messages acknowledged, ${events} events, ${Math.round(simulatedMs / 1000)} simulated s in ${seconds.toFixed(1)} s; ${failed.length} failed${failed.length > 0 ? `: ${failed.join(', ')}` : ''}\n`,
  );
  const missing = MUST_HAPPEN.filter((name) => (totals.get(name) ?? 0) === 0);
  if (Number(values.minutes ?? 0) >= JUDGED_FROM_MINUTES && missing.length > 0) {
    process.stdout.write(`never happened: ${missing.join(', ')}\n`);
    return 1;
  }
  return failed.length === 0 ? 0 : 1;
}

process.exit(main());
