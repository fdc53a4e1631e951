// Three nodes in one process on real files and real loopback sockets: the same story as in the simulator, with nothing simulated.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { createHost, type NodeHost } from '../../../cluster/host/host.ts';
import { loadIdentity } from '../../../cluster/host/identity.ts';
import { createLinks, type Links } from '../../../cluster/rpc/links.ts';
import { createRpc } from '../../../cluster/rpc/rpc.ts';
import type { Wal } from '../../../cluster/wal/types.ts';
import { openWal } from '../../../cluster/wal/wal.ts';
import { createNodeEnv } from '../../../src/kit/env-node.ts';
import { hmacSha256 } from '../../../src/kit/hmac-node.ts';
import { nodeNet } from '../../../src/kit/net-node.ts';
import { until } from '../until.ts';
import { ToyMachine } from './toy.ts';

interface Life {
  id: number;
  host: NodeHost;
  links: Links;
  wal: Wal;
  machine: ToyMachine;
  open(voters: number[]): void;
  stop(): Promise<void>;
}

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'flotilla-host-'));
const lives = new Set<Life>();
afterEach(async () => {
  for (const life of [...lives]) await life.stop();
  fs.rmSync(root, { recursive: true, force: true });
});

async function start(name: string, port: number, routes: string[]): Promise<Life> {
  const env = createNodeEnv({ dataDir: path.join(root, name), logLevel: 'silent' });
  const { identity } = loadIdentity(env, name, ['wal']);
  const id = identity.incarnation;
  const bootId = env.random.uint32();
  const wal = openWal(env, 'wal', { segmentBytes: 1024 * 1024, tailBytes: 256 * 1024 });
  const links = createLinks({
    env,
    net: nodeNet,
    hmac: hmacSha256,
    self: { id, name, clientUrl: '', clusterUrl: `127.0.0.1:${port}`, monitorUrl: '' },
    listen: { host: '127.0.0.1', port },
    routes,
    clusterName: 'test',
    clusterId: '',
    secret: '',
    formatVersion: 1,
    bootId,
  });
  await new Promise<void>((resolve, reject) => links.listen((error) => (error ? reject(error) : resolve())));
  const host = createHost({
    env,
    wal,
    transport: links,
    rpc: createRpc(env, links),
    self: id,
    bootId,
    onRolledBack: () => env.log.error('rolled back'),
    isDiskLow: () => false,
    snapshots: { bytes: 200_000, entries: 500, growth: 0, awayGrowth: 1, waitMs: 500, gapMs: 5 },
  });
  const life: Life = {
    id,
    host,
    links,
    wal,
    machine: new ToyMachine(),
    open(voters) {
      host.openGroup(0, { voters, learners: [] }, life.machine, voters[0]);
    },
    async stop() {
      lives.delete(life);
      host.close();
      await new Promise<void>((resolve) => links.close(resolve));
      await new Promise<void>((resolve) => wal.close(resolve));
    },
  };
  lives.add(life);
  return life;
}

const leader = () => [...lives].find((life) => life.host.group(0)?.leading);

async function put(count: number, text: (i: number) => string): Promise<void> {
  for (let i = 0; i < count; ) {
    await until('a leader', () => leader() !== undefined);
    const life = leader()!;
    const goal = life.machine.count;
    let sent = 0;
    for (; sent < 25 && i + sent < count; sent++) {
      if (life.host.group(0)!.propose(Buffer.from(text(i + sent))) === undefined) break;
    }
    await until('applied', () => !life.host.group(0)?.leading || life.machine.count >= goal + sent);
    i += sent;
    if (sent === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test('elect, commit, lose a leader, restart, send a snapshot, read', async () => {
  const a = await start('a', 0, []);
  const seed = a.links.self.clusterUrl;
  const b = await start('b', 0, [seed]);
  const c = await start('c', 0, [seed]);
  const voters = [a.id, b.id, c.id];
  for (const life of [a, b, c]) life.open(voters);
  await put(200, (i) => `put ${i} ${'x'.repeat(200)}`);
  await until('equal', () => new Set([...lives].map((life) => life.machine.sum)).size === 1);
  expect(a.machine.count).toBe(200);

  const port = c.links.port;
  await c.stop();
  await put(1_500, (i) => (i % 2 === 0 ? `put more ${i} ${'y'.repeat(300)}` : 'pad'));
  await until('a snapshot', () => leader()!.host.stats.snapshotsTaken > 0);
  const c2 = await start('c', port, [seed]);
  expect(c2.id).toBe(c.id);
  c2.open(voters);
  await until('caught up', () => c2.machine.sum === leader()!.machine.sum);
  expect(c2.host.stats.snapshotsInstalled).toBe(1);
  const bodies = new Set<number>();
  for (const index of c2.machine.live) c2.host.group(0)!.readBody(index, (body) => body && bodies.add(index));
  await until('bodies', () => bodies.size === 950);

  const first = leader()!;
  const stopped = first.stop();
  expect(await until('another leader', () => leader() !== undefined)).toBeLessThan(3_000);
  await stopped;
  await put(50, (i) => `put last ${i}`);
  const answers: boolean[] = [];
  for (const life of lives) life.host.group(0)!.readBarrier((ok) => answers.push(ok));
  await until('reads', () => answers.length === 2);
  expect(answers).toEqual([true, true]);
  expect(new Set([...lives].map((life) => life.machine.sum)).size).toBe(1);
});
