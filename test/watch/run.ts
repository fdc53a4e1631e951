// `npm run watch-test`: does what operators look at tell the truth? Three real nodes under load, a real Prometheus with the shipped rules,
// one kill -9 of the leader. Every query of the dashboard must return data, the alerts must fire and clear, `flotilla status` must
// agree with them, and every replica must have stored what was acknowledged. About two minutes; exit 1 when any of it fails.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { ROWS } from '../../deploy/grafana/dashboard.ts';
import { freePorts, Target } from '../conformance/target.ts';
import { type PrometheusTools, prometheusTools, skip, switches } from './tools.ts';

const ROOT = join(import.meta.dirname, '../..');
const MAIN = join(ROOT, 'src/cli/main.ts');
const RULES = join(ROOT, 'deploy/prometheus/flotilla.rules.yml');
const RULE_TESTS = join(ROOT, 'deploy/prometheus/rules.test.yml');
const SCRAPE_S = 1;
const BASELINE_MS = 12_000;
const FIRE_MS_MAX = 90_000;
const CLEAR_MS_MAX = 90_000;
const READY_MS_MAX = 30_000;
/** What the machine that runs this test may be in for itself. */
const OF_THE_MACHINE = ['FlotillaDiskNearlyFull', 'FlotillaLoopStalls', 'FlotillaSlowSync'];
const FIRING = ['FlotillaNodeDown', 'FlotillaUnderReplicated'];

const startMs = performance.now();
const failures: string[] = [];

function say(text: string): void {
  process.stdout.write(`${((performance.now() - startMs) / 1000).toFixed(1).padStart(6)} ${text}\n`);
}

function check(ok: boolean, text: string): void {
  say(`${ok ? 'ok    ' : 'FAILED'} ${text}`);
  if (!ok) failures.push(text);
}

const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));

async function until(what: string, msMax: number, holds: () => Promise<boolean>): Promise<void> {
  const beganMs = performance.now();
  while (!(await holds())) {
    if (performance.now() - beganMs > msMax) {
      check(false, `${what}: not within ${msMax / 1000} s`);
      return;
    }
    await pause(500);
  }
  check(true, `${what} (after ${((performance.now() - beganMs) / 1000).toFixed(1)} s)`);
}

interface Result {
  metric: Record<string, string>;
  value?: [number, string];
  values?: [number, string][];
}

class Prometheus {
  readonly #url: string;
  readonly #child: ChildProcess;
  #stderr = '';

  constructor(tools: PrometheusTools, dir: string, port: number, targets: string[]) {
    this.#url = `http://127.0.0.1:${port}`;
    const config = join(dir, 'prometheus.yml');
    // JSON is YAML.
    const scrape = { job_name: 'flotilla', static_configs: [{ targets }] };
    const global = { scrape_interval: `${SCRAPE_S}s`, scrape_timeout: `${SCRAPE_S}s`, evaluation_interval: '1s' };
    writeFileSync(config, JSON.stringify({ global, rule_files: [RULES], scrape_configs: [scrape] }));
    execFileSync(tools.promtool, ['check', 'config', config], { stdio: 'pipe' });
    const flags = ['--config.file', config, '--storage.tsdb.path', join(dir, 'tsdb')];
    this.#child = spawn(tools.prometheus, [...flags, '--web.listen-address', `127.0.0.1:${port}`], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-4000);
    });
  }

  async ready(): Promise<void> {
    await until('Prometheus is ready', READY_MS_MAX, async () => (await this.#get('/-/ready'))?.ok === true);
    if (this.#child.exitCode !== null) throw new Error(`prometheus: ${this.#stderr}`);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = new Promise((done) => this.#child.once('exit', done));
    this.#child.kill('SIGKILL');
    await ended;
  }

  async #get(path: string): Promise<Response | undefined> {
    try {
      return await fetch(this.#url + path);
    } catch (error) {
      // Not up yet.
      if (error instanceof TypeError) return undefined;
      throw error;
    }
  }

  async #results(path: string): Promise<Result[]> {
    const response = await this.#get(path);
    const answer = (await response?.json()) as { status: string; error?: string; data: { result: Result[] } };
    if (answer?.status !== 'success') throw new Error(`${path}: ${answer?.error ?? 'no answer'}`);
    return answer.data.result;
  }

  now(expr: string): Promise<Result[]> {
    return this.#results(`/api/v1/query?query=${encodeURIComponent(expr)}`);
  }

  over(expr: string, fromS: number, toS: number): Promise<Result[]> {
    return this.#results(
      `/api/v1/query_range?query=${encodeURIComponent(expr)}&start=${fromS}&end=${toS}&step=${SCRAPE_S * 2}`,
    );
  }

  async firing(): Promise<string[]> {
    const results = await this.now('ALERTS{alertstate="firing"}');
    return [...new Set(results.map(({ metric }) => metric['alertname']))]
      .filter((name) => !OF_THE_MACHINE.includes(name))
      .sort();
  }
}

function hasNumber({ value, values }: Result): boolean {
  return (values ?? (value ? [value] : [])).some(([, text]) => Number.isFinite(Number(text)));
}

/** With Grafana's variables as it would fill them in. */
function filled(expr: string): string {
  return expr.replaceAll('$server', '.*').replaceAll('$__rate_interval', `${SCRAPE_S * 10}s`);
}

async function checkDashboard(prometheus: Prometheus, fromS: number): Promise<void> {
  let queries = 0;
  const empty: string[] = [];
  for (const { panels } of ROWS) {
    for (const panel of panels) {
      for (const { expr, instant } of panel.queries) {
        queries++;
        const results = instant
          ? await prometheus.now(filled(expr))
          : await prometheus.over(filled(expr), fromS, Date.now() / 1000);
        if (!results.some(hasNumber)) empty.push(`${panel.title}: ${expr}`);
      }
    }
  }
  check(empty.length === 0, `${queries} queries of the dashboard return data`);
  for (const text of empty) say(`       nothing: ${text}`);
}

interface Ended {
  code: number | null;
  out: string;
}

function cli(...args: string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  const ended = new Promise<Ended>((done) => child.on('close', (code) => done({ code, out })));
  return { child, ended };
}

async function checkStatus(url: string, expected: number, when: string): Promise<void> {
  const { code, out } = await cli('status', '-m', url).ended;
  check(code === expected, `flotilla status ends with ${expected} ${when}`);
  if (code !== expected) say(out);
}

/** Each alert's unit test, by promtool. */
function checkRules(tools: PrometheusTools): void {
  let complaint = '';
  try {
    execFileSync(tools.promtool, ['test', 'rules', RULE_TESTS], { stdio: 'pipe' });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    complaint = (error as { stdout?: Buffer }).stdout?.toString() || error.message;
  }
  check(complaint === '', 'promtool test rules');
  if (complaint !== '') say(complaint);
}

async function checkScrape(tools: PrometheusTools, url: string): Promise<void> {
  const text = await (await fetch(`${url}/metrics`)).text();
  let complaint = '';
  try {
    execFileSync(tools.promtool, ['check', 'metrics'], { input: text, stdio: 'pipe' });
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    complaint = (error as { stderr?: Buffer }).stderr?.toString() ?? error.message;
  }
  // prom-client's own names are not ours to choose.
  const ours = complaint.split('\n').filter((line) => line.startsWith('flotilla_') || /error/i.test(line));
  check(ours.length === 0, 'promtool check metrics accepts a scrape');
  for (const line of ours) say(`       ${line}`);
}

async function leaderOf(target: Target): Promise<number> {
  for (const [i, url] of target.monitorUrls.entries()) {
    const text = await (await fetch(`${url}/metrics`)).text();
    if (/^flotilla_partition_leading\{[^}]*stream="LOAD"[^}]*\} 1$/m.test(text)) return i;
  }
  return 0;
}

async function watch(tools: PrometheusTools): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'flotilla-watch-'));
  const target = new Target('flotilla');
  let prometheus: Prometheus | undefined;
  let load: ReturnType<typeof cli> | undefined;
  try {
    await target.start(3);
    const [port] = await freePorts(1);
    const hosts = target.monitorUrls.map((url) => new URL(url).host);
    prometheus = new Prometheus(tools, dir, port, hosts);
    await prometheus.ready();
    const fromS = Date.now() / 1000;
    load = cli('load', '-s', target.urls.join(','), '--rate', '200');
    await pause(BASELINE_MS);
    await checkScrape(tools, target.monitorUrls[0]);
    const before = await prometheus.firing();
    check(before.length === 0, `no alert fires while all is well${before.length ? `, but ${before.join(', ')}` : ''}`);
    await checkStatus(target.monitorUrls[0], 0, 'while all is well');

    const victim = await leaderOf(target);
    const other = (victim + 1) % 3;
    say(`kill -9 of ${target.names[victim]}, which leads the stream`);
    await target.kill(victim);
    for (const name of FIRING) {
      await until(`${name} fires`, FIRE_MS_MAX, async () => (await prometheus!.firing()).includes(name));
    }
    await checkStatus(target.monitorUrls[other], 1, 'while a node is down');
    say(`${target.names[victim]} comes back`);
    target.launch(victim);
    for (const name of FIRING) {
      await until(`${name} clears`, CLEAR_MS_MAX, async () => !(await prometheus!.firing()).includes(name));
    }
    await until('no alert fires any more', CLEAR_MS_MAX, async () => (await prometheus!.firing()).length === 0);
    await checkStatus(target.monitorUrls[victim], 0, 'after it');

    load.child.kill('SIGINT');
    const { code, out } = await load.ended;
    check(code === 0, `load: ${out.trim().split('\n').at(-1)}`);
    await pause(SCRAPE_S * 3000);
    const behind = await prometheus.now(
      'max by (account, stream, partition) (flotilla_stream_last_acked_seq) - on (account, stream, partition) group_right flotilla_stream_last_seq',
    );
    const stored = behind.length === 3 && behind.every(({ value }) => Number(value?.[1]) <= 0);
    check(stored, 'every replica has stored what was acknowledged');
    await checkDashboard(prometheus, fromS);
  } finally {
    load?.child.kill('SIGKILL');
    await prometheus?.stop();
    await target.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

switches('usage: npm run watch-test   (about two minutes; prometheus comes from PROMETHEUS_DIR, the PATH, or apt-get)');
const tools = prometheusTools();
if (typeof tools === 'string') process.exit(skip('watch test', tools));
checkRules(tools);
await watch(tools);
say(failures.length === 0 ? 'All that operators see is true.' : `${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
