// Where prometheus and promtool come from: PROMETHEUS_DIR, the PATH, or Debian's package, unpacked into .cache without installing it.
// Used by the watch test and by the check of deploy/. What cannot be had is told in one line; with CI=true that is a failure.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';

const ROOT = join(import.meta.dirname, '../..');
const CACHE = join(ROOT, '.cache/prometheus');
const APT_MS_MAX = 90_000;

export interface PrometheusTools {
  prometheus: string;
  promtool: string;
}

function onPath(program: string): string | undefined {
  const dirs = (process.env['PATH'] ?? '').split(delimiter);
  return dirs.map((dir) => join(dir, program)).find((file) => existsSync(file));
}

function toolsIn(dir: string): PrometheusTools | undefined {
  const tools = { prometheus: join(dir, 'prometheus'), promtool: join(dir, 'promtool') };
  return existsSync(tools.prometheus) && existsSync(tools.promtool) ? tools : undefined;
}

/** The tools, or why they are not to be had. */
export function prometheusTools(): PrometheusTools | string {
  const named = process.env['PROMETHEUS_DIR'];
  if (named) return toolsIn(named) ?? `PROMETHEUS_DIR=${named} has no prometheus and promtool`;
  const [prometheus, promtool] = [onPath('prometheus'), onPath('promtool')];
  if (prometheus && promtool) return { prometheus, promtool };
  const unpacked = join(CACHE, 'usr/bin');
  return toolsIn(unpacked) ?? unpack() ?? toolsIn(unpacked) ?? 'the package prometheus has no usr/bin/prometheus';
}

/** Undefined, or why not. */
function unpack(): string | undefined {
  const apt = onPath('apt-get');
  const dpkg = onPath('dpkg');
  if (!apt || !dpkg) return 'neither prometheus nor apt-get and dpkg are on the PATH';
  mkdirSync(CACHE, { recursive: true });
  const run = (program: string, ...args: string[]): string | undefined => {
    try {
      execFileSync(program, args, { cwd: CACHE, stdio: ['ignore', 'ignore', 'pipe'], timeout: APT_MS_MAX });
      return undefined;
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      const { stderr } = error as { stderr?: Buffer };
      return `${program} ${args[0]}: ${stderr?.toString().trim().split('\n').at(-1) || error.message}`;
    }
  };
  // A machine that has never asked for packages knows of none.
  const failed = run(apt, 'download', 'prometheus') && (run(apt, 'update') ?? run(apt, 'download', 'prometheus'));
  if (failed) return failed;
  const file = readdirSync(CACHE).find((name) => /^prometheus_.*\.deb$/.test(name));
  return file === undefined ? 'apt-get brought no package' : run(dpkg, '-x', file, '.');
}

/** Says why something is not checked; a failure where everything must be. */
export function skip(what: string, why: string): number {
  const must = process.env['CI'] === 'true';
  process.stdout.write(`${must ? 'FAILED' : 'SKIPPED'}: ${what}: ${why}\n`);
  return must ? 1 : 0;
}

/** Which of these switches were given. `--help` ends the process with the usage, anything else with a line and 2. */
export function switches(usage: string, ...known: string[]): Set<string> {
  const options = Object.fromEntries(['help', ...known].map((name) => [name, { type: 'boolean' as const }]));
  try {
    const given = new Set(Object.keys(parseArgs({ options }).values));
    if (!given.has('help')) return given;
    console.log(usage);
    process.exit(0);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    console.error(`${error.message}\n${usage}`);
    process.exit(2);
  }
}
