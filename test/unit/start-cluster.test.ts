// The doors for other people's tests: a cluster is ready when it is handed over, and one that cannot start leaves nothing behind.
import { createServer } from 'node:net';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import { startCluster } from '../../src/index.ts';
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
  await Promise.all(nodes.map((node) => node.close()));
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
