// The doors for other people's tests: a cluster is ready when it is handed over, and one that cannot start leaves nothing behind.
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import { startCluster, startNode } from '../../src/index.ts';
import { freePorts } from '../conformance/target.ts';

test('a cluster that is handed over takes streams of three replicas at once, through any node', async () => {
  const nodes = await startCluster(3, { clusterPorts: await freePorts(3) });
  for (const [i, node] of nodes.entries()) {
    expect((await fetch(`${node.monitorUrl}/healthz`)).status).toBe(200);
    const nc = await connect({ servers: node.clientUrl });
    const { config } = await (await jetstreamManager(nc)).streams.add({ name: `S${i}`, num_replicas: 3 });
    expect(config.num_replicas).toBe(3);
    await nc.close();
  }
  // Health of a consumer is the same wherever it is asked for.
  const nc = await connect({ servers: nodes[0].clientUrl });
  await (await jetstreamManager(nc)).consumers.add('S0', { durable_name: 'there', ack_policy: 'explicit' });
  await nc.close();
  const health = (name: string) =>
    Promise.all(
      nodes.map(async ({ monitorUrl }) => {
        const answer = await fetch(`${monitorUrl}/healthz?account=$G&stream=S0&consumer=${name}`);
        return answer.status;
      }),
    );
  expect(await health('there')).toEqual([200, 200, 200]);
  expect(await health('nowhere')).toEqual([404, 404, 404]);
  await Promise.all(nodes.map((node) => node.close()));
});

test('five replicas: two nodes go, what was stored is there and more is taken', async () => {
  const nodes = await startCluster(5, { clusterPorts: await freePorts(5) });
  const nc = await connect({ servers: nodes[4].clientUrl });
  const jsm = await jetstreamManager(nc);
  const { cluster } = await jsm.streams.add({ name: 'FIVE', subjects: ['five'], num_replicas: 5 });
  expect([cluster?.leader, ...cluster!.replicas!.map(({ name }) => name)].sort()).toEqual([
    'n1',
    'n2',
    'n3',
    'n4',
    'n5',
  ]);
  const js = jetstream(nc);
  for (let i = 1; i <= 20; i++) expect((await js.publish('five', `${i}`)).seq).toBe(i);
  await Promise.all([nodes[0].close(), nodes[1].close()]);
  const publish = (): Promise<number> =>
    js.publish('five', 'more', { msgID: 'more', timeout: 5_000 }).then(
      ({ seq }) => seq,
      () => 0,
    );
  await expect.poll(publish, { timeout: 60_000 }).toBe(21);
  expect((await jsm.streams.info('FIVE')).state).toMatchObject({ messages: 21, last_seq: 21 });
  await nc.close();
  await Promise.all(nodes.slice(2).map((node) => node.close()));
});

test('a node alone is healthy when it is handed over', async () => {
  const node = await startNode({ monitorPort: 0 });
  expect((await fetch(`${node.monitorUrl}/healthz`)).status).toBe(200);
  await node.close();
});

test('a cluster needs a port per node', async () => {
  await expect(startCluster(3, { clusterPorts: [1] })).rejects.toThrow(
    'clusterPorts: 3 nodes need as many ports, not 1',
  );
});

test('a node that stops leaves no stored publish unanswered, and says before that it goes', async () => {
  const nodes = await startCluster(3, { clusterPorts: await freePorts(3) });
  const other = await connect({ servers: nodes[1].clientUrl });
  const jsm = await jetstreamManager(other);
  await jsm.streams.add({ name: 'S', subjects: ['s'], num_replicas: 3 });
  const socket = createConnection(Number(new URL(nodes[0].clientUrl).port), '127.0.0.1');
  let text = '';
  socket.setEncoding('latin1').on('data', (chunk) => (text += chunk));
  const ended = new Promise((done) => socket.on('close', done));
  socket.write('CONNECT {"verbose":false,"protocol":1}\r\nSUB inbox 1\r\n');
  const publishing = setInterval(() => socket.write('PUB s inbox 1\r\nx\r\n'.repeat(20)), 1);
  await expect.poll(() => text.split('"seq":').length).toBeGreaterThan(200);
  await nodes[0].close();
  clearInterval(publishing);
  await ended;
  const answers = text.match(/\{"stream":"S","seq":\d+\}/g) ?? [];
  expect(text).toContain('"ldm":true');
  const { state } = await jsm.streams.info('S');
  expect(new Set(answers).size).toBe(state.messages);
  await other.close();
  await Promise.all(nodes.slice(1).map((node) => node.close()));
});

test('another project imports them by the name of the package, from a linked copy of the repository', async () => {
  const project = mkdtempSync(join(tmpdir(), 'flotilla-project-'));
  // What `npm install <directory>` makes.
  mkdirSync(join(project, 'node_modules'));
  symlinkSync(join(import.meta.dirname, '../..'), join(project, 'node_modules/flotilla'));
  writeFileSync(
    join(project, 'program.mjs'),
    `import { startNode, startCluster } from 'flotilla';
     const node = await startNode();
     console.log(typeof startCluster, new URL(node.clientUrl).hostname);
     await node.close();`,
  );
  const { stdout } = await promisify(execFile)(process.execPath, ['program.mjs'], { cwd: project, timeout: 30_000 });
  expect(stdout).toBe('function 127.0.0.1\n');
  rmSync(project, { recursive: true });
});

test('a port that is taken ends all of them', async () => {
  const clusterPorts = await freePorts(3);
  const blocker = createServer();
  await new Promise<void>((bound) => blocker.listen(clusterPorts[1], '127.0.0.1', bound));
  await expect(startCluster(3, { clusterPorts })).rejects.toThrow(`cluster port: 127.0.0.1:${clusterPorts[1]}`);
  blocker.close();
  for (const port of [clusterPorts[0], clusterPorts[2]]) {
    const probe = createServer();
    await new Promise<void>((bound, taken) => probe.once('error', taken).listen(port, '127.0.0.1', bound));
    probe.close();
  }
});
