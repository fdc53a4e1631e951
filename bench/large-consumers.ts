// `npm run large -- --only consumers`: what durable consumers cost a cluster when nobody uses them. One R3 stream; resident memory and CPU time of
// each of three nodes while nothing happens, and while one publisher stores 1,000 messages a second, with 0, 100 and 10,000 of them.
// Used by large.ts.
import { setTimeout as sleep } from 'node:timers/promises';
import { RawClient } from '../test/conformance/raw.ts';
import { Target } from '../test/conformance/target.ts';
import { cpuMsOf } from './proc.ts';

const STREAM = 'IDLE';
const COUNTS = [0, 100, 10_000];
const IN_FLIGHT = 100;
const REST_MS = 3_000;
const MEASURE_MS = 5_000;
const PUBLISHES_PER_TICK = 20;
const TICK_MS = 20;
const WITHIN_MS = 60_000;

export async function measureConsumers(print: (line: string) => void, memory: (pid: number) => string): Promise<void> {
  const target = new Target('flotilla');
  try {
    await target.start(3);
    const [client] = await RawClient.session(Number(new URL(target.urls[0]).port));
    client.send('SUB answer 1\r\n');
    const stream = JSON.stringify({ name: STREAM, subjects: [`${STREAM}.>`], num_replicas: 3 });
    client.send(`PUB $JS.API.STREAM.CREATE.${STREAM} answer ${stream.length}\r\n${stream}\r\n`);
    await client.until(/"did_create":true/, WITHIN_MS);
    let there = 0;
    for (const count of COUNTS) {
      const startedMs = performance.now();
      while (there < count) {
        const until = Math.min(there + IN_FLIGHT, count);
        for (let n = there; n < until; n++) client.send(createOf(`c${n}`));
        for (; there < until; there++) {
          const answer = await client.until(/MSG answer [^\r]*\r\n[^\r]*\r\n/, WITHIN_MS);
          if (answer.includes('"error"')) throw new Error(answer);
        }
      }
      print(`${count} durable consumers, created in ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
      await sleep(REST_MS);
      print(`  at rest: ${await shares(target, memory, () => {})}`);
      const publish = `PUB ${STREAM}.x 4\r\nbody\r\n`.repeat(PUBLISHES_PER_TICK);
      print(`  1,000 messages a second: ${await shares(target, memory, () => client.send(publish))}`);
    }
    client.close();
  } finally {
    await target.stop();
  }
}

function createOf(name: string): string {
  const body = JSON.stringify({ stream_name: STREAM, config: { durable_name: name, ack_policy: 'explicit' } });
  return `PUB $JS.API.CONSUMER.DURABLE.CREATE.${STREAM}.${name} answer ${body.length}\r\n${body}\r\n`;
}

/** Per node: CPU of one core while `tick` is called again and again, and memory then. */
async function shares(target: Target, memory: (pid: number) => string, tick: () => void): Promise<string> {
  const pids = [0, 1, 2].map((i) => target.pid(i) as number);
  const before = pids.map(cpuMsOf);
  const startedMs = performance.now();
  for (let ticks = 1; performance.now() - startedMs < MEASURE_MS; ticks++) {
    tick();
    await sleep(Math.max(0, startedMs + ticks * TICK_MS - performance.now()));
  }
  const tookMs = performance.now() - startedMs;
  const share = (pid: number, i: number): string =>
    `${(((cpuMsOf(pid) - before[i]) / tookMs) * 100).toFixed(1)} % of a core`;
  return pids.map((pid, i) => `${share(pid, i)}, ${memory(pid)}`).join('; ');
}
