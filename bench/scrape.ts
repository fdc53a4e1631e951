// How long a scrape keeps the event loop: one real node with many streams and consumers, scraped again and again; prints the longest turn
// of the loop, in CPU time, without and with scrapes. `node bench/scrape.ts [--streams 1000] [--consumers 10000] [--scrapes 20]`; exit
// 1 when more than one scrape in ten causes a turn of more than 10 ms (a garbage collection may fall into any).
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
  /** Turns that took more CPU time than the bound. */
  over: number;
}

/** CPU time, not wall-clock: what else the machine does is not the scrape's. */
async function turnsDuring(work: () => Promise<void>): Promise<Turns> {
  const cpuMs = (): number => {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1000;
  };
  const turns: Turns = { longestMs: 0, over: 0 };
  let lastMs = cpuMs();
  let over = false;
  const turn = (): void => {
    const nowMs = cpuMs();
    turns.longestMs = Math.max(turns.longestMs, nowMs - lastMs);
    if (nowMs - lastMs > BOUND_MS) turns.over++;
    lastMs = nowMs;
    if (!over) setImmediate(turn);
  };
  setImmediate(turn);
  await work();
  over = true;
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
const show = ({ longestMs, over }: Turns): string =>
  `longest turn ${longestMs.toFixed(1)} ms of CPU, ${over} above ${BOUND_MS} ms`;
process.stdout.write(
  `${streams} streams, ${consumers} consumers, ${scrapes} scrapes of ${Math.round(bytes / 1024)} KiB\n` +
    `without scrapes: ${show(idle)}\nwith scrapes:    ${show(busy)}\n`,
);
await nc.close();
await node.close();
rmSync(storeDir, { recursive: true, force: true });
process.exit(busy.over > idle.over + scrapes / 10 ? 1 : 0);
