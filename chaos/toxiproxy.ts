// Where toxiproxy's server comes from (TOXIPROXY_URL, the PATH, Go's bin directory, `go install` of a pinned version), and what its
// proxies have carried. Called by cluster.ts. A server that was started here ends with `stop`; one that was named is left running.
import { type ChildProcess, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Toxiproxy } from 'toxiproxy-node-client';
import { spawnOwned } from '../test/conformance/child.ts';
import { freePorts } from '../test/conformance/target.ts';

const VERSION = 'v2.12.0';
const MODULE = `github.com/Shopify/toxiproxy/v2/cmd/server@${VERSION}`;
const INSTALL_MS_MAX = 240_000;
const START_MS_MAX = 15_000;

/** Bytes that one proxy took from its connections, counted when they have ended. Upstream: from whoever dialed it. */
export type Carried = Record<'upstream' | 'downstream', number>;

export interface ToxiproxyServer {
  readonly url: string;
  readonly client: Toxiproxy;
  /** Started here: its proxies end with it. */
  readonly own: boolean;
  /** Of the names of this run's proxies: a server that was named may know others. */
  readonly prefix: string;
  carried(): Promise<Map<string, Carried>>;
  stop(): void;
}

/** The server, or one line on why there is none. */
export async function startToxiproxy(): Promise<ToxiproxyServer | string> {
  const named = process.env['TOXIPROXY_URL'];
  if (named) return await serverAt(named.replace(/\/$/, ''), undefined);
  const binary = onPath('toxiproxy-server') ?? inGo();
  if (!binary.startsWith('/')) return binary;
  const [port] = await freePorts(1);
  const child = spawnOwned(binary, ['-host', '127.0.0.1', '-port', String(port), '-proxy-metrics'], {
    stdio: 'ignore',
  });
  return await serverAt(`http://127.0.0.1:${port}`, child);
}

function onPath(program: string): string | undefined {
  const dirs = (process.env['PATH'] ?? '').split(delimiter);
  return dirs.map((dir) => join(dir, program)).find((file) => existsSync(file));
}

/** An absolute path, or why not. `go install` names the program after its directory. */
function inGo(): string {
  const go = onPath('go');
  const why = 'set TOXIPROXY_URL, put toxiproxy-server on the PATH, or install Go';
  if (go === undefined) return `toxiproxy cannot be had: ${why}`;
  try {
    const file = join(execFileSync(go, ['env', 'GOPATH'], { encoding: 'utf8' }).trim(), 'bin', 'server');
    if (existsSync(file)) return file;
    execFileSync(go, ['install', MODULE], { stdio: ['ignore', 'ignore', 'pipe'], timeout: INSTALL_MS_MAX });
    return existsSync(file) ? file : `toxiproxy cannot be had: go install ${MODULE} made no ${file}; ${why}`;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return `toxiproxy cannot be had: go install ${MODULE}: ${error.message.split('\n').at(-1)}; ${why}`;
  }
}

async function serverAt(url: string, child: ChildProcess | undefined): Promise<ToxiproxyServer | string> {
  const client = new Toxiproxy(url);
  const stop = (): void => void child?.kill('SIGKILL');
  const deadline = performance.now() + START_MS_MAX;
  for (;;) {
    try {
      await client.getVersion();
      break;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      if (performance.now() > deadline || (child && child.exitCode !== null)) {
        stop();
        return `toxiproxy at ${url} does not answer: ${error.message}`;
      }
      await pause(50);
    }
  }
  const prefix = `${process.pid}-`;
  const carried = async (): Promise<Map<string, Carried>> =>
    carriedOf(await (await fetch(`${url}/metrics`)).text(), prefix);
  return { url, client, own: child !== undefined, prefix, carried, stop };
}

const SERIES = /^toxiproxy_proxy_received_bytes_total\{([^}]*)\} (\S+)$/;

/** From toxiproxy's own metrics page: the proxies whose names begin so, without that. */
export function carriedOf(page: string, prefix: string): Map<string, Carried> {
  const all = new Map<string, Carried>();
  for (const line of page.split('\n')) {
    const match = SERIES.exec(line);
    if (match === null) continue;
    const labels = Object.fromEntries(
      [...match[1].matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]),
    );
    if (!labels['proxy'].startsWith(prefix)) continue;
    const name = labels['proxy'].slice(prefix.length);
    let carried = all.get(name);
    if (carried === undefined) {
      carried = { upstream: 0, downstream: 0 };
      all.set(name, carried);
    }
    carried[labels['direction'] as keyof Carried] += Number(match[2]);
  }
  return all;
}
