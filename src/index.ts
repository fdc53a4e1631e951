// For programs and tests that want a broker inside their own process: a node, or a cluster on this machine.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type ServerConfig, serverConfigOf } from './cli/server-config.ts';
import { StartError, type StartedServer, startServer } from './server.ts';

export { StartError, type StartedServer } from './server.ts';

const HEALTHY_MS_MAX = 30_000;
const HEALTH_LOOK_MS = 20;

export interface StartNodeOptions {
  name?: string;
  /** Default: any free one. */
  port?: number;
  monitorPort?: number;
  /** Default: a new directory that is removed at close. */
  storeDir?: string;
  cluster?: { name: string; port: number; routes: string[] };
}

/** Starts one node on 127.0.0.1 in this process; one that is alone is healthy when this resolves. Throws StartError with one clear line. */
export async function startNode(options: StartNodeOptions = {}): Promise<StartedServer> {
  const storeDir = options.storeDir ?? mkdtempSync(join(tmpdir(), 'flotilla-'));
  const removeDir = (): void => {
    if (options.storeDir === undefined) rmSync(storeDir, { recursive: true, force: true });
  };
  try {
    const started = await startServer(configOf(options, storeDir));
    if (options.cluster === undefined && !(await healthy([started]))) {
      await started.close();
      throw new StartError(`the node is not healthy after ${HEALTHY_MS_MAX / 1000} s`);
    }
    return Object.assign(Object.create(started) as StartedServer, {
      close: async () => {
        await started.close();
        removeDir();
      },
    });
  } catch (error) {
    removeDir();
    throw error;
  }
}

/** Starts `count` nodes that form one cluster; resolves when all of them are healthy. When one of them cannot start, none is left. */
export async function startCluster(
  count: number,
  options: { clusterPorts: number[]; storeDirs?: string[] },
): Promise<StartedServer[]> {
  if (options.clusterPorts.length !== count)
    throw new StartError(`clusterPorts: ${count} nodes need as many ports, not ${options.clusterPorts.length}`);
  const routes = options.clusterPorts.map((port) => `127.0.0.1:${port}`);
  const outcomes = await Promise.allSettled(
    Array.from({ length: count }, (_, i) =>
      startNode({
        name: `n${i + 1}`,
        monitorPort: 0,
        storeDir: options.storeDirs?.[i],
        cluster: { name: 'flotilla', port: options.clusterPorts[i], routes },
      }),
    ),
  );
  const nodes = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  const isHealthy = failed === undefined && (await healthy(nodes));
  if (isHealthy) return nodes;
  await Promise.all(nodes.map((node) => node.close()));
  throw failed?.reason ?? new StartError(`the cluster is not healthy after ${HEALTHY_MS_MAX / 1000} s`);
}

/** What /healthz of each node says, without asking for it. */
async function healthy(nodes: readonly StartedServer[]): Promise<boolean> {
  const untilMs = performance.now() + HEALTHY_MS_MAX;
  while (performance.now() < untilMs) {
    if (nodes.every(({ node }) => node?.meta.ready)) return true;
    await new Promise((resume) => setTimeout(resume, HEALTH_LOOK_MS));
  }
  return false;
}

function configOf(options: StartNodeOptions, storeDir: string): ServerConfig {
  const { cluster } = options;
  const result = serverConfigOf(
    {
      addr: '127.0.0.1',
      port: options.port ?? -1,
      name: options.name,
      httpPort: options.monitorPort === undefined ? undefined : options.monitorPort || -1,
      jetstream: true,
      storeDir,
      cluster: cluster && `nats://127.0.0.1:${cluster.port}`,
      clusterName: cluster?.name,
      routes: cluster?.routes.join(','),
    },
    process.env,
    'n1',
  );
  if (!result.ok) throw new StartError(result.errors.join('; '));
  return result.config;
}
