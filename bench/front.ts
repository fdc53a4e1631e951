// Core publish/subscribe through one node, spoken by hand over raw sockets: how many messages a second the front carries from
// publishers to subscribers. `node bench/front.ts [--messages N] [--size BYTES] [--subs N] [--port PORT]`; with --port against a server
// that runs already (nats-server, say), else against a front of its own in a child process (--prof: with a CPU profile in the cwd).
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createAuth } from '../src/auth/auth.ts';
import { createBroker } from '../src/broker/broker.ts';
import { createNodeEnv } from '../src/kit/env-node.ts';
import { nodeNet } from '../src/kit/net-node.ts';
import { createNatsFront } from '../src/protocols/nats/front.ts';

const HELLO = 'CONNECT {"verbose":false,"pedantic":false,"echo":true,"headers":true,"no_responders":true}\r\n';
const BATCH_BYTES = 64 * 1024;
const ROUNDS = 3;

const { values } = parseArgs({
  options: {
    serve: { type: 'boolean', default: false },
    prof: { type: 'boolean', default: false },
    messages: { type: 'string', default: '1000000' },
    size: { type: 'string', default: '128' },
    subs: { type: 'string', default: '1' },
    port: { type: 'string' },
  },
});

function serve(): void {
  const dataDir = mkdtempSync(join(tmpdir(), 'front-bench-'));
  const env = createNodeEnv({ dataDir, logLevel: 'error' });
  const front = createNatsFront({
    env,
    net: nodeNet,
    broker: createBroker({ env, transport: undefined, self: 1 }),
    listen: { host: '127.0.0.1', port: 0 },
    info: () => ({ server_id: 'N', server_name: 'bench', version: '2.14.0', jetstream: false, api_lvl: 4 }),
    auth: createAuth(),
  });
  front.start((error) => {
    if (error !== null) throw error;
    process.stdout.write(`${front.address.port}\n`);
  });
  process.on('SIGTERM', () => {
    rmSync(dataDir, { recursive: true, force: true });
    process.exit(0);
  });
}

async function open(port: number, hello: string): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true });
  socket.write(`${HELLO}${hello}PING\r\n`);
  let text = '';
  await new Promise<void>((ready) => {
    socket.on('data', function seen(chunk) {
      text += chunk.toString('latin1');
      if (!text.includes('PONG')) return;
      socket.off('data', seen);
      ready();
    });
  });
  return socket;
}

async function round(port: number, messages: number, size: number, subs: number): Promise<number> {
  const subscribers: Socket[] = [];
  for (let i = 0; i < subs; i++) subscribers.push(await open(port, 'SUB bench.subject 1\r\n'));
  const publisher = await open(port, '');
  const expected = messages * (`MSG bench.subject 1 ${size}\r\n`.length + size + 2);
  const done = subscribers.map(
    (socket) =>
      new Promise<void>((all) => {
        let bytes = 0;
        socket.on('data', (chunk) => {
          bytes += chunk.length;
          if (bytes >= expected) all();
        });
      }),
  );
  publisher.resume();
  const frame = Buffer.from(`PUB bench.subject ${size}\r\n${'x'.repeat(size)}\r\n`);
  const perBatch = Math.max(1, Math.floor(BATCH_BYTES / frame.length));
  const batch = Buffer.concat(new Array<Buffer>(perBatch).fill(frame));
  const startMs = performance.now();
  for (let left = messages; left > 0; left -= perBatch) {
    const part = left >= perBatch ? batch : batch.subarray(0, left * frame.length);
    if (!publisher.write(part)) await new Promise((drained) => publisher.once('drain', drained));
  }
  await Promise.all(done);
  const seconds = (performance.now() - startMs) / 1000;
  for (const socket of [...subscribers, publisher]) socket.destroy();
  return messages / seconds;
}

async function main(): Promise<void> {
  const messages = Number(values.messages);
  const size = Number(values.size);
  const subs = Number(values.subs);
  let port = Number(values.port ?? 0);
  let child: ReturnType<typeof spawn> | undefined;
  if (port === 0) {
    const flags = values.prof ? ['--cpu-prof'] : [];
    child = spawn(process.execPath, [...flags, import.meta.filename, '--serve'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    port = await new Promise<number>((ready) => child!.stdout!.once('data', (line: Buffer) => ready(Number(line))));
  }
  const rates: number[] = [];
  for (let i = 0; i < ROUNDS; i++) rates.push(await round(port, messages, size, subs));
  const text = rates.map((rate) => Math.round(rate).toLocaleString('en')).join(', ');
  process.stdout.write(`${messages} messages of ${size} B to ${subs} subscriber(s): ${text} published/s\n`);
  child?.kill('SIGTERM');
}

if (values.serve) serve();
else await main();
