// How long a scrape keeps the event loop: one real node with many streams and consumers, scraped again and again; prints the longest turn
// of the loop, in CPU time, without and with scrapes, and the longest garbage collection meanwhile: the work of a turn is cut in slices
// of 2 ms, a collection can not be, and falls into any turn. `node bench/scrape.ts [--streams 1000] [--consumers 10000] [--scrapes
// 20]`; exit 1 when a turn without its collections takes more than 10 ms, or more than one scrape in ten has a turn that does with them.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PerformanceObserver, performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { startNode } from '../src/index.ts';

const BOUND_MS = 10;
const AT_ONCE = 200;
const PAUSE_MS = 100;

const { values } = parseArgs({
  options: {
    streams: { type: 'string', default: '1000' },
    consumers: { type: 'string', default: '10000' },
    scrapes: { type: 'string', default: '20' },
  },
});
const streams = Number(values.streams);
const consumers = Number(values.consumers);
const scrapes = Number(values.scrapes);

const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));

async function requestAll(nc: NatsConnection, requests: { subject: string; body: object }[]): Promise<void> {
  for (let at = 0; at < requests.length; at += AT_ONCE) {
    const answers = await Promise.all(
      requests
        .slice(at, at + AT_ONCE)
        .map(({ subject, body }) => nc.request(subject, JSON.stringify(body), { timeout: 30_000 })),
    );
    for (const answer of answers) {
      const { error } = answer.json<{ error?: { description: string } }>();
      if (error !== undefined) throw new Error(error.description);
    }
  }
}

interface Turns {
  /** CPU time of the longest turn of the event loop. */
  longestMs: number;
  /** The same without the garbage collections in it. */
  longestWorkMs: number;
  longestGcMs: number;
  /** Turns that took more CPU time than the bound. */
  over: number;
}

/** CPU time, not wall-clock: what else the machine does is not the scrape's. */
async function turnsDuring(work: () => Promise<void>): Promise<Turns> {
  const cpuMs = (): number => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1000;
  };
  const turns: Turns = { longestMs: 0, longestWorkMs: 0, longestGcMs: 0, over: 0 };
  const gcs: { startMs: number; durationMs: number }[] = [];
  const observer = new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) gcs.push({ startMs: startTime, durationMs: duration });
  });
  observer.observe({ entryTypes: ['gc'] });
  const long: { fromMs: number; toMs: number; tookMs: number }[] = [];
  let lastMs = cpuMs();
  let beganMs = performance.now();
  let over = false;
  const turn = (): void => {
    const nowMs = cpuMs();
    const tookMs = nowMs - lastMs;
    turns.longestMs = Math.max(turns.longestMs, tookMs);
    if (tookMs > BOUND_MS) turns.over++;
    const atMs = performance.now();
    if (tookMs > 1) long.push({ fromMs: beganMs, toMs: atMs, tookMs });
    lastMs = nowMs;
    beganMs = atMs;
    if (!over) setImmediate(turn);
  };
  setImmediate(turn);
  await work();
  over = true;
  // The observer hears of collections a turn later.
  await pause(10);
  observer.disconnect();
  for (const { fromMs, toMs, tookMs } of long) {
    let gcMs = 0;
    for (const gc of gcs) if (gc.startMs >= fromMs && gc.startMs < toMs) gcMs += gc.durationMs;
    turns.longestWorkMs = Math.max(turns.longestWorkMs, tookMs - gcMs);
  }
  for (const gc of gcs) turns.longestGcMs = Math.max(turns.longestGcMs, gc.durationMs);
  return turns;
}

/** Scrapes from a thread of its own, so that reading the answer is not counted. */
function scrapeFromOutside(url: string, count: number): Promise<number> {
  const code = `
    const { parentPort, workerData: { url, count, pauseMs } } = require('node:worker_threads');
    (async () => {
      let bytes = 0;
      for (let i = 0; i < count; i++) {
        bytes = (await (await fetch(url)).arrayBuffer()).byteLength;
        await new Promise((resume) => setTimeout(resume, pauseMs));
      }
      parentPort.postMessage(bytes);
    })();`;
  return new Promise((done, reject) => {
    const worker = new Worker(code, { eval: true, workerData: { url, count, pauseMs: PAUSE_MS } });
    worker.once('message', done);
    worker.once('error', reject);
  });
}

const storeDir = mkdtempSync(join(tmpdir(), 'flotilla-scrape-'));
const node = await startNode({ name: 'n1', monitorPort: 0, storeDir });
const nc = await connect({ servers: node.clientUrl });
while ((await fetch(`${node.monitorUrl}/healthz`)).status !== 200) await pause(50);
const streamNames = Array.from({ length: streams }, (_, i) => `S${i}`);
await requestAll(
  nc,
  streamNames.map((name) => ({
    subject: `$JS.API.STREAM.CREATE.${name}`,
    body: { name, subjects: [`s.${name}.>`], storage: 'file', retention: 'limits' },
  })),
);
await requestAll(
  nc,
  Array.from({ length: consumers }, (_, i) => {
    const stream = streamNames[i % streams];
    const name = `C${i}`;
    return {
      subject: `$JS.API.CONSUMER.DURABLE.CREATE.${stream}.${name}`,
      body: { stream_name: stream, config: { durable_name: name, ack_policy: 'explicit', deliver_policy: 'all' } },
    };
  }),
);
for (const name of streamNames) nc.publish(`s.${name}.x`, 'x');
await nc.flush();
await pause(2000);

const url = `${node.monitorUrl}/metrics`;
// The first scrapes compile what the others run.
await scrapeFromOutside(url, 3);
const idle = await turnsDuring(() => pause(scrapes * PAUSE_MS));
let bytes = 0;
const busy = await turnsDuring(async () => {
  bytes = await scrapeFromOutside(url, scrapes);
});
const show = ({ longestMs, longestWorkMs, longestGcMs, over }: Turns): string =>
  `longest turn ${longestMs.toFixed(1)} ms of CPU (${longestWorkMs.toFixed(1)} ms without garbage collection; longest collection ` +
  `${longestGcMs.toFixed(1)} ms of wall clock), ${over} above ${BOUND_MS} ms`;
process.stdout.write(
  `${streams} streams, ${consumers} consumers, ${scrapes} scrapes of ${Math.round(bytes / 1024)} KiB\n` +
    `without scrapes: ${show(idle)}\nwith scrapes:    ${show(busy)}\n`,
);
await nc.close();
await node.close();
rmSync(storeDir, { recursive: true, force: true });
process.exit(busy.longestWorkMs > BOUND_MS || busy.over > idle.over + scrapes / 10 ? 1 : 0);
