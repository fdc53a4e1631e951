// What ends a cluster of `npm start`, beside Ctrl-C: nothing of it may stay when nobody is left to stop it.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isRunning } from '../../conformance/child.ts';
import { freePorts } from '../../conformance/target.ts';
import { plainEnv } from './plain-env.ts';

/** A node that ended is started again after three seconds. */
const COMES_BACK_MS = 4_000;
const ROOT = join(import.meta.dirname, '../../..');

/** A cluster of one, started by a shell; the first line that says where it is. */
async function started(
  dir: string,
  port: number,
  env: NodeJS.ProcessEnv,
): Promise<{ shell: ChildProcess; pid: number }> {
  const launch = `"${process.execPath}" "${join(ROOT, 'src/cli/launch.mjs')}" start --nodes 1 --data "${dir}" -p ${port}`;
  // Not the last command: a shell may become that.
  const shell = spawn('sh', ['-c', `${launch}; exit 0`], { stdio: ['ignore', 'pipe', 'inherit'], env });
  let text = '';
  return new Promise((done, reject) => {
    shell.on('exit', () => reject(new Error(`it did not start: ${text}`)));
    shell.stdout!.on('data', (chunk) => {
      text += chunk;
      const pid = /n1 +pid (\d+)/.exec(text)?.[1];
      if (pid !== undefined) done({ shell, pid: Number(pid) });
    });
  });
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const probe = createServer();
    probe.once('error', () => done(false));
    probe.listen(port, '127.0.0.1', () => probe.close(() => done(true)));
  });
}

test.each([
  ['a signal to npm, which ends its shell', (shell: ChildProcess, _pid: number) => shell.kill('SIGTERM')],
  [
    'a console that reads no more',
    (shell: ChildProcess, pid: number) => {
      shell.stdout!.destroy();
      // There is something to be said: that it comes back.
      process.kill(pid, 'SIGKILL');
    },
  ],
])('%s stops the cluster', { timeout: 100_000 }, async (_, end) => {
  const dir = mkdtempSync(join(tmpdir(), 'flotilla-launch-'));
  const [port] = await freePorts(1);
  const env = { ...plainEnv(), npm_package_json: join(ROOT, 'package.json') };
  const { shell, pid } = await started(dir, port, env);
  expect(isRunning(pid)).toBe(true);
  const closed = new Promise((done) => shell.on('close', done));
  end(shell, pid);
  await closed;
  await expect.poll(() => isRunning(pid), { timeout: 30_000 }).toBe(false);
  await new Promise((resume) => setTimeout(resume, COMES_BACK_MS));
  expect(await isFree(port)).toBe(true);
  rmSync(dir, { recursive: true });
});
