// `npm run durable-acks`: shows from outside, by strace, that a completed fdatasync on a majority stands behind every PubAck. Three nodes, one
// R3 stream, a few publishers; each node's writes and syncs are traced. For every acknowledged message: on how many nodes had a sync
// of the file that holds it, begun after it was written there, returned before the leader's write of the ack began? Exit 1 below two.
//   npm run durable-acks -- [--messages 2000] [--window 50] [--against nats-server]
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { connect } from 'nats';
import { Target } from '../test/conformance/target.ts';

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '2000' },
    window: { type: 'string', default: '50' },
    against: { type: 'string', default: 'flotilla' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

const STREAM = 'DURABLE';
const PAYLOAD = /durable-message-(\d{8})/g;
const ACK = /"stream":"DURABLE",\s*"seq":(\d+)/g;
const MAJORITY = 2;

/** A system call with the times, in seconds, of its begin and its end. */
interface Call {
  name: string;
  fd: number;
  text: string;
  beganS: number;
  endedS: number;
}

/** Reads strace -f -ttt -T output; calls cut in two by other threads are joined again. */
async function* callsOf(file: string): AsyncGenerator<Call> {
  const unfinished = new Map<string, { beganS: number; text: string }>();
  for await (const line of createInterface({ input: createReadStream(file, 'latin1') })) {
    const head = /^(\d+)\s+(\d+\.\d+) (.*)$/.exec(line);
    if (head === null) continue;
    const [, thread, time, rest] = head;
    const atS = Number(time);
    if (rest.endsWith('<unfinished ...>')) {
      unfinished.set(thread, { beganS: atS, text: rest });
      continue;
    }
    const resumed = rest.startsWith('<... ');
    const before = unfinished.get(thread);
    if (resumed) unfinished.delete(thread);
    if (resumed && before === undefined) continue;
    const text = resumed ? `${before!.text}${rest}` : rest;
    const beganS = resumed ? before!.beganS : atS;
    const call = /^(\w+)\((\d+)/.exec(text);
    const tookS = /<(\d+\.\d+)>$/.exec(rest)?.[1];
    if (call === null || tookS === undefined || / = -1 /.test(rest.slice(-80))) continue;
    yield { name: call[1], fd: Number(call[2]), text, beganS, endedS: beganS + Number(tookS) };
  }
}

interface Trace {
  /** Message number → when a sync that covers it had returned. */
  durableS: Map<number, number>;
  /** Sequence number → when the write of its ack began. */
  ackS: Map<number, number>;
  syncs: number;
}

async function readTrace(file: string): Promise<Trace> {
  const trace: Trace = { durableS: new Map(), ackS: new Map(), syncs: 0 };
  /** Per file: messages whose write has returned and that no sync has covered yet. */
  const written = new Map<number, { message: number; endedS: number }[]>();
  const calls: Call[] = [];
  for await (const call of callsOf(file)) calls.push(call);
  calls.sort((a, b) => a.endedS - b.endedS);
  for (const { name, fd, text, beganS, endedS } of calls) {
    if (name === 'fdatasync' || name === 'fsync') {
      trace.syncs++;
      const waiting = written.get(fd) ?? [];
      written.set(
        fd,
        waiting.filter((each) => {
          if (each.endedS > beganS) return true;
          if (!trace.durableS.has(each.message)) trace.durableS.set(each.message, endedS);
          return false;
        }),
      );
      continue;
    }
    for (const [, seq] of text.replaceAll('\\"', '"').matchAll(ACK)) {
      if (!trace.ackS.has(Number(seq))) trace.ackS.set(Number(seq), beganS);
    }
    // Socket writes hold messages too: they are never synced, so they count for nothing.
    let waiting = written.get(fd);
    if (waiting === undefined) written.set(fd, (waiting = []));
    for (const [, number] of text.matchAll(PAYLOAD)) waiting.push({ message: Number(number), endedS });
  }
  return trace;
}

function attach(pid: number, file: string): Promise<ChildProcess> {
  const calls = 'trace=write,writev,pwrite64,pwritev,pwritev2,sendmsg,fdatasync,fsync';
  const flags = ['-f', '-ttt', '-T', '-s', '1000000', '-e', calls, '-e', 'signal=none', '-o', file, '-p', String(pid)];
  return new Promise((done, fail) => {
    const child = spawn('strace', flags, { stdio: ['ignore', 'ignore', 'pipe'] });
    child.once('error', (error) => fail(new Error(`strace is needed: ${error.message}`)));
    child.once('exit', (code) => fail(new Error(`strace ended with ${code}: may this user trace processes?`)));
    child.stderr.on('data', (text: Buffer) => text.toString().includes('attached') && done(child));
  });
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write('usage: npm run durable-acks -- [--messages n] [--window n] [--against nats-server]\n');
    return 0;
  }
  const kind = values.against === 'nats-server' ? 'nats-server' : 'flotilla';
  const messages = Number(values.messages);
  const dir = mkdtempSync(join(tmpdir(), 'durable-acks-'));
  const target = new Target(kind);
  try {
    execFileSync('strace', ['-V'], { stdio: 'ignore' });
    await target.start(3);
    const connection = await connect({ servers: target.urls[0] });
    const manager = await connection.jetstreamManager();
    const info = await manager.streams.add({ name: STREAM, subjects: ['durable'], num_replicas: 3 });
    const leader = target.names.indexOf(info.cluster?.leader ?? '');
    if (leader < 0) throw new Error('the stream has no leader');
    const client = await connect({ servers: target.urls[leader] });
    const js = client.jetstream();
    const traces = target.names.map((name) => join(dir, name));
    const tracers = await Promise.all(traces.map((file, i) => attach(target.pid(i)!, file)));

    const acked = new Map<number, number>();
    let next = 0;
    const publisher = async (): Promise<void> => {
      while (next < messages) {
        const number = next++;
        const payload = `durable-message-${String(number).padStart(8, '0')}`;
        acked.set(number, (await js.publish('durable', payload, { timeout: 30_000 })).seq);
      }
    };
    await Promise.all(Array.from({ length: Number(values.window) }, publisher));
    await client.close();
    await connection.close();
    for (const tracer of tracers) {
      tracer.removeAllListeners('exit');
      const gone = new Promise((resume) => tracer.once('exit', resume));
      tracer.kill('SIGINT');
      await gone;
    }

    const seen = await Promise.all(traces.map(readTrace));
    const onNodes = [0, 0, 0, 0];
    let unseen = 0;
    let leastMs = Number.POSITIVE_INFINITY;
    for (const [number, seq] of acked) {
      const ackS = seen[leader].ackS.get(seq);
      if (ackS === undefined) {
        unseen++;
        continue;
      }
      const before = seen.map((trace) => trace.durableS.get(number)).filter((at) => at !== undefined && at <= ackS);
      onNodes[before.length]++;
      const sorted = (before as number[]).sort((a, b) => a - b);
      if (sorted.length >= MAJORITY) leastMs = Math.min(leastMs, (ackS - sorted[MAJORITY - 1]) * 1000);
    }
    const short = onNodes[0] + onNodes[1];
    process.stdout.write(
      `${kind}: ${acked.size} acknowledged messages, ${seen.map(({ syncs }) => syncs).join(' + ')} syncs on three nodes\n` +
        `synced before the ack was written: on three nodes ${onNodes[3]}, on two ${onNodes[2]}, on one ${onNodes[1]}, on none ${onNodes[0]}\n`,
    );
    if (unseen > 0) process.stdout.write(`${unseen} acks were not seen in the trace\n`);
    if (short === 0 && unseen === 0) {
      process.stdout.write(
        `OK: a completed sync on a majority stands behind every ack, by ${leastMs.toFixed(3)} ms at least\n`,
      );
      return 0;
    }
    process.stdout.write(`NOT SO: ${short} acks had no majority of completed syncs behind them\n`);
    return 1;
  } finally {
    await target.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

process.exit(await main());
