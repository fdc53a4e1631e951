// `npm run deploy-check`: what is shipped to run Flotilla elsewhere, looked at by the tools that will run it: the compose file by compose's
// own loader, the chart by helm and the Kubernetes schemas, the unit by systemd, the scrape configuration and the rules by promtool.
// Tools come from the PATH or the package registries (.cache); `--quick` leaves out helm where it would have to be built. What cannot
// be had is told in one line; with CI=true that is a failure. Paths, ports and flags are held by `npm test` (test/unit/deploy.test.ts).
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { prometheusTools, skip, switches } from './tools.ts';

const ROOT = join(import.meta.dirname, '../..');
const CACHE = join(ROOT, '.cache');
const GO_BIN = join(CACHE, 'go-bin');
const PYTHON = join(CACHE, 'kubernetes-validate');
const COMPOSE = 'github.com/compose-spec/compose-go/v2/cmd@v2.8.1';
const HELM = 'helm.sh/helm/v3/cmd/helm@v3.18.6';
const VALIDATE = 'kubernetes-validate==1.37.0';
const CHART = 'deploy/helm/flotilla';
const BUILD_MS_MAX = 600_000;

const isQuick = switches(
  'usage: npm run deploy-check -- [--quick]   (without helm where it would have to be built)',
  'quick',
).has('quick');
let failed = 0;

interface Run {
  ok: boolean;
  out: string;
  text: string;
}

function run(program: string, args: readonly string[], env: Record<string, string> = {}): Run {
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    cwd: ROOT,
    encoding: 'utf8',
    timeout: BUILD_MS_MAX,
    maxBuffer: 64 * 1024 * 1024,
    env: { ...process.env, ...env },
  });
  return { ok: status === 0, out: stdout ?? '', text: `${stdout ?? ''}${stderr ?? ''}${error?.message ?? ''}`.trim() };
}

function report(what: string, { ok, text }: Run): boolean {
  process.stdout.write(`${ok ? 'ok    ' : 'FAILED'} ${what}\n`);
  if (!ok) {
    process.stdout.write(`${text}\n`);
    failed++;
  }
  return ok;
}

function onPath(program: string): string | undefined {
  const dirs = [GO_BIN, ...(process.env['PATH'] ?? '').split(delimiter)];
  return dirs.map((dir) => join(dir, program)).find((file) => existsSync(file));
}

/** A Go program under its binary's name; built when it is not there. */
function goTool(binary: string, pack: string): string | undefined {
  const known = onPath(binary);
  if (known !== undefined || onPath('go') === undefined) return known;
  process.stdout.write(`       building ${pack}\n`);
  mkdirSync(GO_BIN, { recursive: true });
  return run('go', ['install', pack], { GOBIN: GO_BIN }).ok ? onPath(binary) : undefined;
}

function checkCompose(): void {
  const file = join(ROOT, 'docker-compose.yml');
  for (const [program, ...args] of [['docker-compose'], ['docker', 'compose']]) {
    if (onPath(program) === undefined || !run(program, [...args, 'version']).ok) continue;
    report('docker compose config', run(program, [...args, '-f', file, '--profile', 'load', 'config', '--quiet']));
    return;
  }
  // What `docker compose config` is made of.
  const loader = goTool('cmd', COMPOSE);
  if (loader === undefined) failed += skip('compose file', 'neither docker compose nor go');
  else report('compose file, by compose-go', run(loader, [file]));
}

function checkChart(dir: string): void {
  const helm = isQuick ? onPath('helm') : goTool('helm', HELM);
  if (helm === undefined) {
    if (isQuick) process.stdout.write('       left out: helm is not here, and this is a quick run\n');
    else failed += skip('chart', 'neither helm nor go');
    return;
  }
  report('helm lint', run(helm, ['lint', '--strict', CHART]));
  for (const sets of [
    [],
    ['replicas=5', 'antiAffinity=false', 'serviceMonitor.enabled=true', 'prometheusRule.enabled=true'],
  ]) {
    const flags = sets.flatMap((set) => ['--set', set]);
    const rendered = run(helm, ['template', 'flotilla', CHART, '--namespace', 'brokers', ...flags]);
    if (report(`helm template ${sets.join(' ')}`, rendered)) checkManifests(dir, rendered.out);
  }
}

function checkManifests(dir: string, manifests: string): void {
  const python = onPath('python3');
  const known = existsSync(join(PYTHON, 'kubernetes_validate'));
  const installed =
    known || (python && run(python, ['-m', 'pip', 'install', '--quiet', '--target', PYTHON, VALIDATE]).ok);
  if (python === undefined || !installed) {
    failed += skip('manifests', 'no python3, or the package kubernetes-validate cannot be had');
    return;
  }
  const file = join(dir, 'manifests.yaml');
  writeFileSync(file, manifests);
  const checked = run(python, ['-m', 'kubernetes_validate', '--strict', '--no-warn', file], { PYTHONPATH: PYTHON });
  const passed = checked.text.match(/ passed for resource /g)?.length ?? 0;
  report(`${passed} manifests against the Kubernetes schemas`, { ...checked, ok: checked.ok && passed >= 5 });
}

function checkUnit(dir: string): void {
  const tool = onPath('systemd-analyze');
  if (tool === undefined) {
    failed += skip('unit', 'no systemd-analyze');
    return;
  }
  // The program and the page are where the unit is installed, not here.
  const unit = readFileSync(join(ROOT, 'deploy/systemd/flotilla.service'), 'utf8')
    .replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`)
    .replace(/^(Documentation|WorkingDirectory)=.*\n/gm, '');
  const file = join(dir, 'flotilla.service');
  writeFileSync(file, unit);
  const checked = run(tool, ['verify', '--man=no', file]);
  report('systemd-analyze verify', { ...checked, ok: checked.ok && !checked.text.includes('flotilla.service:') });
}

function checkPrometheus(): void {
  const tools = prometheusTools();
  if (typeof tools === 'string') {
    failed += skip('Prometheus configuration', tools);
    return;
  }
  report('promtool check config', run(tools.promtool, ['check', 'config', 'deploy/prometheus/prometheus.yml']));
  report('promtool test rules', run(tools.promtool, ['test', 'rules', 'deploy/prometheus/rules.test.yml']));
}

const dir = mkdtempSync(join(tmpdir(), 'flotilla-deploy-'));
checkCompose();
checkChart(dir);
checkUnit(dir);
checkPrometheus();
rmSync(dir, { recursive: true, force: true });
process.exit(failed === 0 ? 0 : 1);
