// What `npm start` promises a new user: the commands that it prints work as they stand, a killed node comes back, Ctrl-C keeps the data for the next
// start, and `--fresh` begins empty.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, expect, test } from 'vitest';
import { freePorts } from '../../conformance/target.ts';
import { plainEnv } from './plain-env.ts';

const ROOT = join(import.meta.dirname, '../../..');
const data = mkdtempSync(join(tmpdir(), 'flotilla-start-'));
const running = new Set<ChildProcess>();

afterAll(() => {
  // SIGTERM: only so are its nodes stopped with it.
  for (const child of running) child.kill('SIGTERM');
  rmSync(data, { recursive: true, force: true });
});

interface Cluster {
  child: ChildProcess;
  text: () => string;
  /** Resolves when the text says so; rejects when the process ends before. */
  says: (pattern: RegExp) => Promise<RegExpExecArray>;
  /** Ctrl-C; the exit code. */
  interrupt: () => Promise<number | null>;
}

function startCluster(port: number, ...flags: string[]): Cluster {
  const args = ['src/cli/launch.mjs', 'start', '--data', data, '-p', String(port), ...flags];
  const child = spawn(process.execPath, args, { cwd: ROOT, env: plainEnv(), stdio: ['ignore', 'pipe', 'ignore'] });
  running.add(child);
  let text = '';
  child.stdout!.setEncoding('utf8').on('data', (chunk) => {
    text += chunk;
  });
  const ended = new Promise<number | null>((done) => {
    child.on('close', (code) => {
      running.delete(child);
      done(code);
    });
  });
  const says = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((done, reject) => {
      const look = (): void => {
        const found = pattern.exec(text);
        if (found !== null) done(found);
      };
      child.stdout!.on('data', look);
      look();
      void ended.then(() => reject(new Error(`it never said ${pattern}: ${text}`)));
    });
  const interrupt = (): Promise<number | null> => {
    child.kill('SIGINT');
    return ended;
  };
  return { child, text: () => text, says, interrupt };
}

/** A line as the user copies it. */
async function typed(command: string): Promise<string> {
  const { stdout } = await promisify(execFile)('sh', ['-c', command], { cwd: ROOT, env: plainEnv(), timeout: 60_000 });
  return stdout;
}

function command(cluster: Cluster, number: number): string {
  const found = new RegExp(`^ {2}${number}\\. .*?: +((?:npm run|kill) .*)$`, 'm').exec(cluster.text());
  return found![1];
}

const read = async (cluster: Cluster, count: number): Promise<string[]> =>
  (await typed(`${command(cluster, 2)} --count ${count}`)).trimEnd().split('\n');

test('three nodes: store, read, kill, and again; what is stored is there at the next start', {
  timeout: 240_000,
}, async () => {
  // Client, cluster and monitoring ports of three nodes stand in rows.
  const port = await freeRows(3);
  const first = startCluster(port);
  await first.says(/Ctrl-C stops all nodes and keeps their data/);
  expect(first.text()).toMatch(/^Flotilla is running: 3 nodes\.$/m);
  expect(first.text().match(/^ {2}n\d +pid \d+ .*leads the cluster/gm)).toHaveLength(1);
  await typed(command(first, 1));
  expect(await read(first, 10)).toHaveLength(10);

  await typed(command(first, 3));
  await first.says(/it comes back in 3 s/);
  await typed(command(first, 1));
  expect(await read(first, 20)).toHaveLength(20);
  await first.says(/node n\d is back as pid \d+/);
  expect(await first.interrupt()).toBe(0);
  expect(first.text()).toContain('All nodes have stopped; their data is kept.');

  const second = startCluster(port, '--restart=false');
  await second.says(/Ctrl-C stops all nodes/);
  expect(second.text()).toMatch(/leads 1 stream: ORDERS/);
  expect(await read(second, 20)).toHaveLength(20);
  await typed(command(second, 3));
  const [, again] = await second.says(/Bring it back: npm start (-- .*)/);
  const number = /--node (\d)/.exec(again)![1];
  const alone = startCluster(port, '--node', number);
  await alone.says(new RegExp(`Flotilla is running: node n${number} of 3`));
  expect(await alone.interrupt()).toBe(0);
  expect(await second.interrupt()).toBe(0);

  const empty = startCluster(port, '--fresh');
  await empty.says(/Ctrl-C stops all nodes/);
  await expect(read(empty, 1)).rejects.toThrow(/stream not found/);
  expect(await empty.interrupt()).toBe(0);
});

/** The first of `count` client ports in a row whose monitoring and cluster ports are free as well. */
async function freeRows(count: number): Promise<number> {
  const [port] = await freePorts(1);
  const row = Array.from({ length: count }, (_, i) => port + i);
  const wanted = [...row, ...row.map((each) => each + 2000), ...row.map((each) => each + 4000)];
  const areFree = await Promise.all(wanted.map(isFree));
  return areFree.every(Boolean) && Math.max(...wanted) < 32_000 ? port : freeRows(count);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const probe = createServer().once('error', () => done(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => done(true)));
  });
}
