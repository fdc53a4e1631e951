// `npm run large -- --only steady,streams`: does the memory of busy nodes come to rest, and where? Three nodes. `steady`: four clients publish to one R3
// stream that keeps 100,000 messages, round after round for `--minutes`; in every second round all of it is consumed and acknowledged, too.
// `streams`: 1,000 R3 streams are published to in turn. Memory is told as the node sees it: JavaScript heap, buffers outside of it, and
// what is left of the resident set: code, tables of the C library, stacks. Used by large.ts.
import { readFileSync } from 'node:fs';
import { Target } from '../test/conformance/target.ts';
import { buildLoad, loadMeanwhile } from './load.ts';
import { cpuMsOf } from './proc.ts';

const KEPT = 100_000;
const PER_ROUND = 400_000;
const CLIENTS = ['-clients', '4', '-window', '500', '-size', '128'];
const STREAMS = 1_000;
const PER_STREAM_ROUND = 50_000;

type Print = (line: string) => void;

/** Megabytes of one node, in parts. */
async function partsOf(monitorUrl: string): Promise<string> {
  const text = await (await fetch(`${monitorUrl}/metrics`)).text();
  const mb = (name: string): number => Number(new RegExp(`^${name}(?:{[^}]*})? (\\S+)`, 'm').exec(text)?.[1]) / 1048576;
  const resident = mb('process_resident_memory_bytes');
  const heap = mb('nodejs_heap_size_total_bytes');
  const external = mb('nodejs_external_memory_bytes');
  const rest = resident - heap - external;
  return `${resident.toFixed(0)} MB (heap ${heap.toFixed(0)}, buffers ${external.toFixed(0)}, rest ${rest.toFixed(0)})`;
}

async function tell(target: Target, what: string, print: Print): Promise<void> {
  const nodes = await Promise.all(target.monitorUrls.map(partsOf));
  print(`  ${what}: ${nodes.join('; ')}`);
}

async function onThree(run: (target: Target, binary: string) => Promise<void>): Promise<void> {
  const target = new Target('flotilla');
  try {
    const binary = buildLoad(target.dir);
    await target.start(3);
    await run(target, binary);
  } finally {
    await target.stop();
  }
}

export async function measureSteady(minutes: number, print: Print): Promise<void> {
  print(`steady: one R3 stream, ${KEPT} messages kept, for ${minutes} minutes`);
  await onThree(async (target, binary) => {
    await loadMeanwhile(binary, target.urls[0], ['-mode', 'create', '-max-msgs', String(KEPT)]);
    await tell(target, 'at rest', print);
    const startedMs = performance.now();
    let published = 0;
    let consumed = 0;
    for (let round = 1; performance.now() - startedMs < minutes * 60_000; round++) {
      await loadMeanwhile(binary, target.urls[0], ['-mode', 'async', ...CLIENTS, '-msgs', String(PER_ROUND)]);
      published += PER_ROUND;
      if (round % 2 === 0) {
        await loadMeanwhile(binary, target.urls[0], ['-mode', 'consume', '-msgs', String(KEPT)]);
        consumed += KEPT;
      }
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
      await tell(target, `${seconds} s, ${published / 1000}k published, ${consumed / 1000}k consumed`, print);
    }
  });
}

export async function measureStreams(minutes: number, print: Print): Promise<void> {
  print(`streams: ${STREAMS} R3 streams, published to in turn for ${minutes} minutes`);
  await onThree(async (target, binary) => {
    const many = ['-streams', String(STREAMS)];
    await tell(target, 'no streams', print);
    await loadMeanwhile(binary, target.urls[0], ['-mode', 'create-many', '-clients', '8', ...many]);
    await tell(target, 'created', print);
    const startedMs = performance.now();
    let published = 0;
    while (performance.now() - startedMs < minutes * 60_000) {
      const flags = ['-mode', 'many', ...CLIENTS, ...many, '-msgs', String(PER_STREAM_ROUND)];
      const { errors, firstError } = await loadMeanwhile(binary, target.urls[0], flags);
      if (errors > 0) print(`  ${errors} errors: ${firstError}`);
      published += PER_STREAM_ROUND;
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
      await tell(target, `${seconds} s, ${published / 1000}k published`, print);
    }
    for (const i of [0, 1, 2]) {
      const pid = target.pid(i) as number;
      const peak = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
      print(
        `  node ${i + 1}: ${(Number(peak) / 1024).toFixed(0)} MB at most, ${(cpuMsOf(pid) / 1000).toFixed(0)} s of CPU`,
      );
    }
  });
}
