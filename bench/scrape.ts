// How long a scrape keeps the event loop: one real node with many streams and consumers, scraped again and again; prints the longest
// delay of the loop without and with scrapes. `node bench/scrape.ts [--streams 1000] [--consumers 10000] [--scrapes 20]`; exit 1 when
// scrapes add more than 10 ms to the 99th percentile of the delay.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
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

interface Delay {
  p99: number;
  max: number;
}

async function delayDuring(work: () => Promise<void>): Promise<Delay> {
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  await work();
  histogram.disable();
  // The monitor's own period of 1 ms is part of each value.
  return { p99: histogram.percentile(99) / 1e6 - 1, max: histogram.max / 1e6 - 1 };
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

let bytes = 0;
let tookMs = 0;
// Warm: the first scrape compiles what the others run.
await (await fetch(`${node.monitorUrl}/metrics`)).text();
const idle = await delayDuring(() => pause(scrapes * PAUSE_MS));
const busy = await delayDuring(async () => {
  for (let i = 0; i < scrapes; i++) {
    const beganMs = performance.now();
    const body = await (await fetch(`${node.monitorUrl}/metrics`)).arrayBuffer();
    tookMs += performance.now() - beganMs;
    bytes = body.byteLength;
    await pause(PAUSE_MS);
  }
});
const show = ({ p99, max }: Delay): string => `p99 ${p99.toFixed(1)} ms, longest ${max.toFixed(1)} ms`;
process.stdout.write(
  `${streams} streams, ${consumers} consumers, ${scrapes} scrapes of ${Math.round(bytes / 1024)} KiB, ${(tookMs / scrapes).toFixed(0)} ms each\n` +
    `loop delay without scrapes: ${show(idle)}\nloop delay with scrapes:    ${show(busy)}\n`,
);
await nc.close();
await node.close();
rmSync(storeDir, { recursive: true, force: true });
process.exit(busy.p99 - Math.max(0, idle.p99) > BOUND_MS ? 1 : 0);
