// `npm run conformance [-- --against nats-server] [vitest arguments]`: runs the suite against Flotilla or the reference
// server. Started by the launcher, so that it runs on the bundled runtime.

import { spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';

const args = process.argv.slice(2);
const at = args.findIndex((arg) => arg === '--against' || arg.startsWith('--against='));
let against = 'flotilla';
if (at >= 0) {
  const inline = args[at].split('=')[1];
  against = inline ?? args[at + 1];
  args.splice(at, inline ? 1 : 2);
}
if (against !== 'flotilla' && against !== 'nats-server') {
  console.error(`--against must be flotilla or nats-server, not ${against}`);
  process.exit(1);
}

const root = join(import.meta.dirname, '../..');
const bin = join(root, 'node_modules/.bin');
const env = { ...process.env, CONFORMANCE_AGAINST: against, PATH: `${bin}${delimiter}${process.env.PATH}` };
const vitest = join(root, 'node_modules/vitest/vitest.mjs');
const config = join(import.meta.dirname, 'vitest.config.ts');
const child = spawn(join(bin, 'node'), [vitest, 'run', '--config', config, ...args], { env, stdio: 'inherit' });
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
