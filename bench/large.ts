// `npm run large`: states far larger than a test's, against real processes. It prints, per scenario, how long a node takes until it serves,
// how much memory it needs and how long its event loop stood still. Figures depend on the machine; docs/SIZES.md has some of them.
//   npm run large -- [--messages n] [--only steps,consumers,steady,streams,restart,catch-up,compacted] [--subjects one,distinct] [--replicas 1|3] [--step part of a name] [--minutes n] [--data dir]
// restart    one node, R1: filled in a process of its own, killed, started again; once more after a clean stop. With --replicas 3 three nodes:
//            one of them is killed and started, then all of them at once
// steps      the longest single step of what goes over many messages (large-steps.ts); not part of what is run when nothing is named
// consumers  what durable consumers that nobody uses cost (large-consumers.ts); not part of it either
// steady, streams   does the memory of busy nodes come to rest, for --minutes (large-memory.ts); not part of it either
// catch-up   three nodes, R3: one is away while the messages go by, and comes back by the log while publishing goes on
// compacted  the same with max_msgs, so that the log is gone and a snapshot has to come
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { runtimeEnv, V8_FLAGS } from '../src/cli/runtime.mjs';
import { startNode } from '../src/index.ts';
import { groupOf } from '../src/meta/types.ts';
import type { AckSink } from '../src/stream/types.ts';
import { RawClient } from '../test/conformance/raw.ts';
import { freePorts, Target } from '../test/conformance/target.ts';
import { measureConsumers } from './large-consumers.ts';
import { measureSteady, measureStreams } from './large-memory.ts';
import { measureSteps } from './large-steps.ts';
import { buildLoad, type LoadResult, loadMeanwhile } from './load.ts';
import { cpuMsOf } from './proc.ts';

const STREAM = 'BIG';
const PAYLOAD_BYTES = 128;
const IN_FLIGHT = 8_000;
const WITHIN_MS = 300_000;

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '1000000' },
    only: { type: 'string', default: 'restart,catch-up,compacted' },
    subjects: { type: 'string', default: 'one,distinct' },
    replicas: { type: 'string', default: '1' },
    data: { type: 'string' },
    step: { type: 'string', default: '' },
    minutes: { type: 'string', default: '5' },
    fill: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

const print = (line: string): boolean => process.stdout.write(`${line}\n`);
const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

// ---- one node

/** In a process of its own: a node with a stream of `messages`, published as clients would, but without sockets between. */
async function fill(dir: string, messages: number, distinct: boolean): Promise<void> {
  const server = await startNode({ storeDir: dir, name: 'node1' });
  const client = await RawClient.connect(Number(new URL(server.clientUrl).port));
  const config = { name: STREAM, subjects: [`${STREAM}.>`], num_replicas: 1, storage: 'file' };
  for (let answer = ''; !answer.includes('"created"'); await sleep(100)) {
    answer = await request(client, `$JS.API.STREAM.CREATE.${STREAM}`, JSON.stringify(config)).catch(String);
  }
  client.close();
  const partition = [...(server.node?.partitions.values() ?? [])].find((each) => each.streamName === STREAM);
  if (partition === undefined) throw new Error('the stream has no partition here');
  const term = server.node?.meta.partitions.termOf(groupOf(partition.streamId, 0)) ?? 0;
  const payload = new Uint8Array(PAYLOAD_BYTES).fill(120);
  const none = new Uint8Array(0);
  let sent = 0;
  let stored = 0;
  await new Promise<void>((done, fail) => {
    const sink: AckSink = {
      stored: () => {
        if (++stored === messages) done();
        else if (sent - stored < IN_FLIGHT / 2) setImmediate(more);
      },
      refused: (_token, error) => fail(new Error(JSON.stringify(error))),
      returned: () => fail(new Error('it leads no longer')),
    };
    const more = (): void => {
      for (; sent < messages && sent - stored < IN_FLIGHT; sent++) {
        partition.publish(`${STREAM}.${distinct ? sent : 'x'}`, none, payload, sink, 0, term);
      }
    };
    more();
  });
  const frozenMs = performance.now();
  partition.machine.snapshot();
  const tookMs = performance.now() - frozenMs;
  print(`  a snapshot holds up the loop for ${tookMs.toFixed(1)} ms when it begins`);
  print(
    `  filled: ${(partition.machine.index.tableBytes / messages).toFixed(1)} B of tables a message, ${memory(process.pid)}`,
  );
  process.kill(process.pid, 'SIGKILL');
}

async function request(client: RawClient, subject: string, body: string, withinMs = 10_000): Promise<string> {
  client.send(`CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\nSUB answer 1\r\n`);
  client.send(`PUB ${subject} answer ${Buffer.byteLength(body)}\r\n${body}\r\n`);
  return await client.until(/H?MSG answer .*\r\n[\s\S]*\r\n/, withinMs);
}

function memory(pid: number): string {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mb = (name: string): string => (Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1]) / 1024).toFixed(0);
  return `${mb('VmRSS')} MB resident, ${mb('VmHWM')} MB at most`;
}

function isRunning(pid: number | undefined): boolean {
  // A dead child whose end was not taken yet has no memory.
  return pid !== undefined && /VmRSS/.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

/** Longest time that the event loop stood still since the last time somebody asked, in ms. */
async function stallMs(monitorUrl: string): Promise<number> {
  const text = await (await fetch(`${monitorUrl}/metrics`)).text();
  return 1000 * Number(/^nodejs_eventloop_lag_max_seconds\S* (\S+)/m.exec(text)?.[1]);
}

async function messagesOn(port: number): Promise<number> {
  const client = await RawClient.connect(port).catch(() => undefined);
  if (client === undefined) return -1;
  try {
    return Number(/"messages":(\d+)/.exec(await request(client, `$JS.API.STREAM.INFO.${STREAM}`, '', 500))?.[1] ?? -1);
  } catch {
    return -1;
  } finally {
    client.close();
  }
}

/** Starts a node on `dir` and waits until it tells of all messages; then `signal`. */
async function serve(dir: string, messages: number, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
  const [port, monitorPort] = await freePorts(2);
  const startedMs = performance.now();
  const main = resolve(import.meta.dirname, '../src/cli/main.ts');
  const flags = ['-a', '127.0.0.1', '-p', String(port), '-m', String(monitorPort), '-n', 'node1', '-js', '-sd', dir];
  const child = spawn(process.execPath, [...V8_FLAGS, main, 'server', ...flags], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: runtimeEnv(process.env),
  });
  const gone = new Promise((done) => child.once('exit', done));
  const pid = child.pid as number;
  for (let found = -1; found !== messages; found = await messagesOn(port)) {
    if (found >= 0) throw new Error(`${found} of ${messages} messages`);
    if (performance.now() - startedMs > WITHIN_MS) throw new Error('it does not serve');
    await sleep(20);
  }
  const tookMs = performance.now() - startedMs;
  print(`  serving after ${seconds(tookMs)} (${(cpuMsOf(pid) / 1000).toFixed(1)} s of CPU), ${memory(pid)}`);
  await stallMs(`http://127.0.0.1:${monitorPort}`);
  child.kill(signal);
  await gone;
}

async function restart(messages: number, distinct: boolean): Promise<void> {
  const dir = values.data ?? mkdtempSync(join(tmpdir(), 'large-'));
  print(`restart, ${messages} messages, ${distinct ? 'a subject each' : 'one subject'}`);
  try {
    const flags = ['--fill', dir, '--messages', String(messages), '--subjects', distinct ? 'distinct' : 'one'];
    const child = spawn(process.execPath, [import.meta.filename, ...flags], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    await new Promise((done) => child.once('exit', done));
    if (child.exitCode !== null) throw new Error(`filling ended with ${child.exitCode}`);
    print('  after kill -9:');
    await serve(dir, messages, 'SIGTERM');
    print('  after a clean stop:');
    await serve(dir, messages, 'SIGTERM');
  } finally {
    if (values.data === undefined) rmSync(dir, { recursive: true, force: true });
  }
}

// ---- three nodes

const load = (binary: string, url: string, flags: string[]): Promise<LoadResult> =>
  loadMeanwhile(binary, url, ['-stream', STREAM, ...flags]);

/** What the replica on this node has, whoever leads. */
async function localState(monitorUrl: string): Promise<{ messages: number; last: number }> {
  const text = await (await fetch(`${monitorUrl}/jsz?streams=true`)).text();
  const state = new RegExp(`"name":\\s*"${STREAM}"[\\s\\S]*?"messages":\\s*(\\d+)[\\s\\S]*?"last_seq":\\s*(\\d+)`).exec(
    text,
  );
  return { messages: Number(state?.[1] ?? -1), last: Number(state?.[2] ?? -1) };
}

/** Waits until the nodes tell clients of all messages (behind a read barrier) and have applied all of them themselves; prints what each took. */
async function served(target: Target, nodes: number[], messages: number, startedMs: number): Promise<void> {
  await Promise.all(
    nodes.map(async (i) => {
      const port = Number(new URL(target.urls[i]).port);
      const pid = target.pid(i) as number;
      for (let found = -1; found !== messages; found = await messagesOn(port)) {
        if (found >= 0) throw new Error(`${found} of ${messages} messages`);
        if (performance.now() - startedMs > WITHIN_MS || !isRunning(pid)) throw new Error(target.logs());
        await sleep(20);
      }
      const servingMs = performance.now() - startedMs;
      for (let own = -1; own !== messages; await sleep(20)) {
        own = (await localState(target.monitorUrls[i]).catch(() => undefined))?.messages ?? -1;
        if (performance.now() - startedMs > WITHIN_MS || !isRunning(pid)) throw new Error(target.logs());
      }
      const wholeMs = performance.now() - startedMs;
      const cpu = (cpuMsOf(pid) / 1000).toFixed(1);
      print(
        `  node ${i + 1} serving after ${seconds(servingMs)}, has all after ${seconds(wholeMs)} (${cpu} s of CPU), ${memory(pid)}`,
      );
    }),
  );
}

async function restartCluster(messages: number, distinct: boolean): Promise<void> {
  print(`restart of three nodes, R3, ${messages} messages, ${distinct ? 'a subject each' : 'one subject'}`);
  const dir = mkdtempSync(join(tmpdir(), 'large-'));
  const target = new Target('flotilla');
  try {
    const binary = buildLoad(dir);
    await target.start(3);
    await load(binary, target.urls[0], ['-mode', 'create']);
    const flags = ['-mode', 'async', '-clients', '1', '-window', '4000', '-size', String(PAYLOAD_BYTES)];
    if (distinct) flags.push('-distinct');
    const filled = await load(binary, target.urls[0], [...flags, '-msgs', String(messages)]);
    print(`  filled: ${Math.round(filled.perSecond)}/s, ${filled.errors} errors ${filled.firstError ?? ''}`);
    for (const i of [0, 1, 2]) print(`  node ${i + 1}: ${memory(target.pid(i) as number)}`);
    // Where messages were acknowledged late, more of them are there than were counted.
    const all = await messagesOn(target.port(0));
    if (all < messages) throw new Error(`${all} of ${messages} messages`);
    print('  one after kill -9:');
    await target.kill(2);
    let startedMs = performance.now();
    target.launch(2);
    await served(target, [2], all, startedMs);
    print('  all three after kill -9:');
    await Promise.all([0, 1, 2].map((i) => target.kill(i)));
    startedMs = performance.now();
    for (const i of [0, 1, 2]) target.launch(i);
    await served(target, [0, 1, 2], all, startedMs);
  } finally {
    await target.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function comeBack(messages: number, compacted: boolean): Promise<void> {
  print(`away while ${messages} messages went by, ${compacted ? 'log compacted (max_msgs 10000)' : 'all kept'}`);
  const dir = mkdtempSync(join(tmpdir(), 'large-'));
  const target = new Target('flotilla');
  try {
    const binary = buildLoad(dir);
    await target.start(3);
    await load(binary, target.urls[0], ['-mode', 'create', '-max-msgs', compacted ? '10000' : '-1']);
    await target.kill(2);
    const flags = ['-mode', 'async', '-clients', '2', '-window', '1000', '-size', String(PAYLOAD_BYTES)];
    const alone = await load(binary, target.urls[0], [...flags, '-msgs', String(messages)]);
    print(`  two nodes: ${Math.round(alone.perSecond)}/s, ${alone.errors} errors`);
    const { last } = await localState(target.monitorUrls[0]);
    for (const i of [0, 1]) {
      await stallMs(target.monitorUrls[i]);
      print(`  node ${i + 1}: ${memory(target.pid(i) as number)}`);
    }
    const startedMs = performance.now();
    target.launch(2);
    const during = load(binary, target.urls[0], [...flags, '-msgs', String(Math.ceil(messages / 4))]);
    let peak = { messages: -1, last: -1 };
    while (peak.last < last) {
      if (performance.now() - startedMs > WITHIN_MS || !isRunning(target.pid(2)))
        throw new Error(`it has come to ${peak.last} of ${last} only\n${target.logs()}`);
      await sleep(50);
      peak = await localState(target.monitorUrls[2]).catch(() => peak);
    }
    print(`  back at what it had missed after ${seconds(performance.now() - startedMs)}`);
    const rate = await during;
    print(`  publishing meanwhile: ${Math.round(rate.perSecond)}/s, ${rate.errors} errors ${rate.firstError ?? ''}`);
    for (let same = false; !same; await sleep(50)) {
      const all = await Promise.all(target.monitorUrls.map(localState));
      same = all.every(({ last: end, messages: count }) => end === all[0].last && count === all[0].messages);
      if (performance.now() - startedMs > WITHIN_MS) throw new Error(`replicas differ: ${JSON.stringify(all)}`);
    }
    print(`  all three equal after ${seconds(performance.now() - startedMs)}`);
    for (const i of [0, 1, 2]) {
      const stall = await stallMs(target.monitorUrls[i]);
      print(`  node ${i + 1}: ${memory(target.pid(i) as number)}, longest stall ${stall.toFixed(0)} ms`);
    }
  } finally {
    await target.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function main(): Promise<number> {
  const messages = Number(values.messages);
  const kinds = values.subjects.split(',');
  if (values.help || !(messages > 0)) {
    print(
      'usage: npm run large -- [--messages n] [--only steps,consumers,steady,streams,restart,catch-up,compacted] [--subjects one,distinct] [--replicas 1|3] [--step part of a name] [--minutes n] [--data dir]',
    );
    return values.help ? 0 : 1;
  }
  if (values.fill !== undefined) {
    await fill(values.fill, messages, kinds.includes('distinct'));
    return 0;
  }
  const only = values.only.split(',');
  if (only.includes('steps')) measureSteps(messages, values.step, print);
  if (only.includes('consumers')) await measureConsumers(print, memory);
  if (only.includes('steady')) await measureSteady(Number(values.minutes), print);
  if (only.includes('streams')) await measureStreams(Number(values.minutes), print);
  const restartAll = Number(values.replicas) > 1 ? restartCluster : restart;
  if (only.includes('restart')) for (const kind of kinds) await restartAll(messages, kind === 'distinct');
  if (only.includes('catch-up')) await comeBack(messages, false);
  if (only.includes('compacted')) await comeBack(messages, true);
  return 0;
}

process.exit(await main());
