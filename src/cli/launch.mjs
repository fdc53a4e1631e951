#!/usr/bin/env node
// The way in, on any Node >= 20: installs the dependencies when they are missing, then runs the broker or a tool of the
// repository under the pinned runtime (the npm package `node`). Plain JavaScript, because older Nodes cannot strip types.
//   launch.mjs <flotilla arguments>         e.g. start --nodes 3, server -p 4222
//   launch.mjs --tool vitest run …          a program from node_modules/.bin, or a .ts file of the repository
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runtimeEnv, V8_FLAGS } from './runtime.mjs';

const PARENT_LOOK_MS = 250;

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const bin = join(root, 'node_modules', '.bin');
const runtime = join(root, 'node_modules', 'node', 'bin', 'node');

if (!existsSync(runtime)) {
  process.stderr.write('flotilla: installing dependencies (npm ci) …\n');
  // Warnings about an older Node are not of interest: what is installed runs under the runtime that comes with it.
  const install = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  });
  if (install.status !== 0 || !existsSync(runtime)) {
    process.stderr.write('flotilla: npm ci did not provide the runtime; see the lines above\n');
    process.exit(1);
  }
}

const args = process.argv.slice(2);
const isTool = args[0] === '--tool';
const program = isTool ? args[1] : undefined;
const command = !isTool
  ? [...V8_FLAGS, join(root, 'src', 'cli', 'main.ts'), ...args]
  : program.endsWith('.ts')
    ? [join(root, program), ...args.slice(2)]
    : [join(bin, program), ...args.slice(2)];

const child = spawn(runtime, command, {
  stdio: 'inherit',
  env: {
    ...runtimeEnv(process.env),
    PATH: `${bin}:${process.env.PATH}`,
    FLOTILLA_COMMAND: process.env.FLOTILLA_COMMAND ?? (isTool ? 'npm run' : 'flotilla'),
  },
});
for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2']) process.on(signal, () => child.kill(signal));
// The terminal sends Ctrl-C to both; a SIGINT sent to this process alone is passed on.
process.on('SIGINT', () => process.stdin.isTTY || child.kill('SIGINT'));
// npm runs a script in a shell, and a signal that npm is sent ends that shell, which passes nothing on. Whoever is started otherwise may well
// outlive what started it.
if (process.env.npm_package_json === join(root, 'package.json')) {
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    child.kill('SIGTERM');
  }, PARENT_LOOK_MS);
  watch.unref();
}
child.on('error', (error) => {
  process.stderr.write(`flotilla: ${error.message}\n`);
  process.exit(1);
});
child.on('exit', (code, signal) => (signal ? process.kill(process.pid, signal) : process.exit(code ?? 1)));
