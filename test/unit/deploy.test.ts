// What is shipped to run Flotilla elsewhere (image, compose file, chart, unit) says what the code says: its flags are known, its ports
// and paths meet, and the image has everything that the sources import.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfigFile } from '../../src/cli/config-load.ts';
import { parseFlags } from '../../src/cli/flags.ts';
import { LOAD_FLAGS } from '../../src/cli/load-command.ts';
import { V8_FLAGS } from '../../src/cli/runtime.mjs';
import { parseServerFlags, type ServerConfig, serverConfigOf } from '../../src/cli/server-config.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const NODES = ['n1', 'n2', 'n3'];

/** The configuration that these arguments of `flotilla` make; `server` comes first. */
function serverOf(args: readonly string[]): ServerConfig {
  expect(args[0]).toBe('server');
  const parsed = parseServerFlags(args.slice(1));
  if (!parsed.ok) throw new Error(parsed.error);
  expect(parsed.rest).toEqual([]);
  const result = serverConfigOf(parsed.values, { FLOTILLA_CLUSTER_SECRET: 's' }, 'random');
  if (!result.ok) throw new Error(result.errors.join('; '));
  return result.config;
}

/** JSON arrays after a Dockerfile's word. */
function arrayAfter(text: string, word: string): string[] {
  const found = new RegExp(`^${word} (\\[.*\\])$`, 'm').exec(text);
  if (found === null) throw new Error(`no ${word} […]`);
  return JSON.parse(found[1]) as string[];
}

/** Items of the first list under `key:` in a block of YAML lines. */
function listUnder(lines: readonly string[], key: string): string[] {
  const at = lines.findIndex((line) => line.trim() === `${key}:`);
  expect(at, key).toBeGreaterThanOrEqual(0);
  const items: string[] = [];
  for (const line of lines.slice(at + 1)) {
    const item = /^\s*- (.*)$/.exec(line)?.[1];
    if (item === undefined) break;
    items.push(item);
  }
  return items;
}

/** Lines of one service of the compose file. */
function service(compose: string, name: string): string[] {
  const lines = compose.split('\n');
  const from = lines.indexOf(`  ${name}:`);
  expect(from, name).toBeGreaterThan(0);
  const length = lines.slice(from + 1).findIndex((line) => /^( {2})?\S/.test(line));
  return lines.slice(from + 1, from + 1 + length);
}

/** `host:port` pairs of `ports: ['4222:4222', …]`. */
function portsOf(lines: readonly string[]): [outside: number, inside: number][] {
  const line = lines.find((each) => each.trim().startsWith('ports:')) ?? '';
  return [...line.matchAll(/'(\d+):(\d+)'/g)].map(([, outside, inside]) => [Number(outside), Number(inside)]);
}

interface Proxy {
  name: string;
  listen: string;
  upstream: string;
}

describe('image', () => {
  const dockerfile = read('Dockerfile');

  test('runs the broker as it is run elsewhere, not as root', () => {
    const entry = arrayAfter(dockerfile, 'ENTRYPOINT');
    expect(entry.slice(0, -1)).toEqual(['node', ...V8_FLAGS]);
    expect(existsSync(join(ROOT, entry[entry.length - 1]))).toBe(true);
    expect(arrayAfter(dockerfile, 'RUN')).toEqual([...entry, 'server', '-t']);
    const config = serverOf(arrayAfter(dockerfile, 'CMD'));
    expect(config).toMatchObject({ port: 4222, http: { port: 8222 }, jetstream: true, storeDir: '/data' });
    expect(dockerfile).toMatch(/^VOLUME \/data$/m);
    expect(dockerfile).toMatch(/^USER node$/m);
    expect(dockerfile).toContain(`http://127.0.0.1:${config.http?.port}/healthz`);
    expect(dockerfile).toMatch(/^FROM node:24-/m);
  });

  test('has what the sources import: nothing beside src and cluster, no development package', () => {
    const copied = [...dockerfile.matchAll(/^COPY (src|cluster) \1$/gm)].map(([, dir]) => dir);
    expect(copied.sort()).toEqual(['cluster', 'src']);
    const manifest = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
    const wrong: string[] = [];
    for (const dir of copied) {
      for (const name of readdirSync(join(ROOT, dir), { recursive: true, encoding: 'utf8' })) {
        const file = join(ROOT, dir, name);
        if (!/\.(ts|js|mjs)$/.test(name) || name.endsWith('.d.ts') || !statSync(file).isFile()) continue;
        const code = readFileSync(file, 'utf8').replace(/^import type [^;]*;/gm, '');
        for (const [, target] of code.matchAll(/(?:from|import)\s*\(?\s*'([@.\w][\w@./-]*)'/g)) {
          if (target.startsWith('node:')) continue;
          if (target.startsWith('.')) {
            const top = relative(ROOT, resolve(dirname(file), target)).split('/')[0];
            if (!copied.includes(top)) wrong.push(`${dir}/${name}: ${target}`);
          } else {
            const parts = target.split('/');
            const pack = target.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0];
            if (manifest.dependencies[pack] === undefined) wrong.push(`${dir}/${name}: ${target}`);
          }
        }
      }
    }
    expect(wrong).toEqual([]);
    const ignored = read('.dockerignore').split('\n');
    for (const path of ['package.json', 'package-lock.json', 'src', 'cluster']) expect(ignored).toContain(`!${path}`);
  });
});

describe('compose file', () => {
  const compose = read('docker-compose.yml');
  const proxies = JSON.parse(read('deploy/toxiproxy/proxies.json')) as Proxy[];

  test('three brokers, equal but for their names, that reach each other through toxiproxy only', () => {
    const configs = NODES.map((name) => serverOf(listUnder(service(compose, name), 'command')));
    for (const [i, config] of configs.entries()) {
      const name = NODES[i];
      const others = NODES.filter((other) => other !== name);
      const ways = others.map((other) => proxies.find((proxy) => proxy.name === `${name}-${other}`));
      expect(ways.map((proxy) => proxy?.upstream)).toEqual(others.map((other) => `${other}:${config.cluster?.port}`));
      expect(config.cluster?.routes).toEqual(ways.map((proxy) => `toxiproxy:${proxy?.listen.split(':')[1]}`));
      expect(config.cluster).toMatchObject({ gossip: false, advertise: `${name}:${config.cluster?.port}` });
      expect(config.clientAdvertise).toEqual({ host: name, port: config.port });
      expect(portsOf(service(compose, name)).map(([, inside]) => inside)).toEqual([config.port, config.http?.port]);
      expect(config.storeDir).toBe('/data');
      expect(service(compose, name).join('\n')).toContain(`${name}:/data`);
    }
    expect(proxies).toHaveLength(6);
    expect(new Set(proxies.map(({ listen }) => listen)).size).toBe(6);
    const shared = configs.map(({ name: _, clientAdvertise: __, cluster, ...rest }) => ({
      ...rest,
      cluster: { ...cluster, advertise: '', routes: [] },
    }));
    expect(shared[1]).toEqual(shared[0]);
    expect(shared[2]).toEqual(shared[0]);
  });

  test('no port of the machine is taken twice, every mounted path exists', () => {
    const outside = [...compose.matchAll(/'(\d+):\d+'/g)].map(([, port]) => port);
    expect(new Set(outside).size).toBe(outside.length);
    const mounted = [...compose.matchAll(/(\.\/[\w./-]+):\//g)].map(([, path]) => path);
    expect(mounted.length).toBeGreaterThan(3);
    expect(mounted.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
    const home = /HOME_DASHBOARD_PATH: (\S+)/.exec(compose)?.[1] ?? '';
    expect(existsSync(join(ROOT, home.replace('/var/lib/grafana', 'deploy/grafana')))).toBe(true);
    expect(read('deploy/grafana/provisioning/dashboards/flotilla.yml')).toContain('path: /var/lib/grafana/dashboards');
  });

  test('the load generator uses known flags and the brokers that there are', () => {
    const line = service(compose, 'load').find((each) => each.trim().startsWith('command:')) ?? '';
    const args = [...line.matchAll(/'([^']+)'/g)].map(([, arg]) => arg);
    expect(args[0]).toBe('load');
    const parsed = parseFlags(LOAD_FLAGS, args.slice(1));
    if (!parsed.ok) throw new Error(parsed.error);
    expect(parsed.values.server).toBe(NODES.map((name) => `nats://${name}:4222`).join(','));
    expect(service(compose, 'load').join('\n')).toMatch(/profiles: \[load\]/);
  });

  test('Prometheus scrapes the monitoring port of each broker, as the job that the rules name', () => {
    const config = read('deploy/prometheus/prometheus.yml');
    expect(config).toContain(`targets: [${NODES.map((name) => `'${name}:8222'`).join(', ')}]`);
    expect(config).toContain('job_name: flotilla');
    const rules = /rule_files:\n {2}- (\S+)/.exec(config)?.[1] ?? '';
    expect(existsSync(join(ROOT, 'deploy/prometheus', rules))).toBe(true);
    const datasource = read('deploy/grafana/provisioning/datasources/prometheus.yml');
    expect(datasource).toContain(`url: http://prometheus:${portsOf(service(compose, 'prometheus'))[0][1]}`);
  });
});

describe('chart', () => {
  const stateful = read('deploy/helm/flotilla/templates/statefulset.yaml');

  test('its arguments are known, its ports are those of the server', () => {
    const lines = stateful.split('\n').filter((line) => !/\{\{-? (range|end)|\{\{ \. \| quote/.test(line));
    const args = listUnder(lines, 'args').map((arg) =>
      arg
        .replaceAll('$(POD_NAME)', 'flotilla-0')
        .replaceAll('{{ include "flotilla.domain" . }}', 'flotilla-nodes.ns.svc')
        .replaceAll('{{ include "flotilla.routes" . }}', 'nats://flotilla-0.flotilla-nodes.ns.svc:6222')
        .replaceAll('{{ .Values.defaultReplicas }}', '3')
        .replaceAll('{{ .Values.clusterName }}', 'flotilla'),
    );
    expect(args.join(' ')).not.toContain('{{');
    const config = serverOf(args);
    const declared = Object.fromEntries(
      [...stateful.matchAll(/name: (\w+), containerPort: (\d+)/g)].map(([, name, port]) => [name, Number(port)]),
    );
    expect(declared).toEqual({ client: config.port, monitor: config.http?.port, cluster: config.cluster?.port });
    expect(config.cluster?.advertise).toBe(`flotilla-0.flotilla-nodes.ns.svc:${declared['cluster']}`);
    expect(read('deploy/helm/flotilla/templates/_helpers.tpl')).toContain(`nats://%s-%d.%s:${declared['cluster']}`);
    expect(stateful).toContain(`mountPath: ${config.storeDir} `);
    const services = read('deploy/helm/flotilla/templates/services.yaml');
    for (const [name, port] of Object.entries(declared)) expect(services).toContain(`name: ${name}, port: ${port}`);
  });

  test('probes ask paths that the monitoring port has', () => {
    const endpoints = read('src/monitoring/http.ts');
    const paths = [...stateful.matchAll(/path: (\/\w+), port: monitor/g)].map(([, path]) => path);
    expect(paths.sort()).toEqual(['/healthz', '/varz']);
    for (const path of paths) expect(endpoints).toContain(`'${path}'`);
  });
});

describe('unit', () => {
  const unit = read('deploy/systemd/flotilla.service');

  test('starts the broker with the flags of the runtime', () => {
    const [program, ...args] = (/^ExecStart=(.*)$/m.exec(unit)?.[1] ?? '').split(' ');
    expect(program).toBe('/opt/flotilla/node_modules/node/bin/node');
    expect(args.slice(0, V8_FLAGS.length)).toEqual(V8_FLAGS);
    const [main, ...rest] = args.slice(V8_FLAGS.length);
    expect(existsSync(join(ROOT, main))).toBe(true);
    expect(serverOf(rest).name).toBe('random');
  });

  test('the example configuration is valid and keeps its data where the unit allows', () => {
    const file = loadConfigFile(join(ROOT, 'deploy/systemd/node.conf'), {});
    expect([file.errors, file.warnings]).toEqual([[], []]);
    const result = serverConfigOf({}, { FLOTILLA_CLUSTER_SECRET: 's' }, 'random', file.settings);
    if (!result.ok) throw new Error(result.errors.join('; '));
    const { config } = result;
    expect(config).toMatchObject({ name: 'n1', port: 4222, http: { port: 8222 }, cluster: { port: 6222 } });
    expect(config.cluster?.routes).toContain(`${config.cluster?.host}:6222`);
    expect(config.storeDir).toBe(`/var/lib/${/^StateDirectory=(\S+)$/m.exec(unit)?.[1]}`);
  });
});

test('packages that run a script when they are installed are allowed to: npm would leave out the runtime without', () => {
  const { allowScripts } = JSON.parse(read('package.json')) as { allowScripts: Record<string, boolean> };
  const { packages } = JSON.parse(read('package-lock.json')) as {
    packages: Record<string, { hasInstallScript?: true }>;
  };
  const scripted = Object.keys(packages).filter((path) => packages[path].hasInstallScript);
  expect(scripted).toContain('node_modules/node');
  expect(scripted).toEqual(Object.keys(allowScripts).map((name) => `node_modules/${name}`));
  expect(Object.values(allowScripts)).not.toContain(false);
});
