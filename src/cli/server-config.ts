// What one node needs to know, from flags (and a configuration file): shape, defaults, checks. All errors at once.
import { type FlagSpec, type FlagValues, parseFlags } from './flags.ts';

export interface ServerConfig {
  name: string;
  host: string;
  /** 0: any free port. */
  port: number;
  http: { host: string; port: number } | undefined;
  jetstream: boolean;
  storeDir: string;
  auth: { user?: string; pass?: string; token?: string };
  cluster:
    | {
        name: string;
        host: string;
        port: number /** host:port each */;
        routes: string[];
        advertise?: string;
        secret: string;
      }
    | undefined;
  defaultReplicas: number;
  maxPayload: number;
  debug: boolean;
  trace: boolean;
  pidFile?: string;
  portsFileDir?: string;
}

export const SERVER_FLAGS = {
  addr: { names: ['a', 'addr', 'net'], kind: 'string', value: 'host', help: 'address for clients (default 0.0.0.0)' },
  port: {
    names: ['p', 'port'],
    kind: 'integer',
    value: 'port',
    help: 'port for clients (default 4222; -1: any free one)',
  },
  name: {
    names: ['n', 'name', 'server_name'],
    kind: 'string',
    value: 'name',
    help: 'server name (default: a random one)',
  },
  config: { names: ['c', 'config'], kind: 'string', value: 'file', help: 'configuration file' },
  httpPort: { names: ['m', 'http_port'], kind: 'integer', value: 'port', help: 'port for monitoring' },
  jetstream: { names: ['js', 'jetstream'], kind: 'boolean', help: 'enable JetStream' },
  storeDir: { names: ['sd', 'store_dir'], kind: 'string', value: 'dir', help: 'directory of stored data' },
  user: { names: ['user'], kind: 'string', value: 'user', help: 'user that clients must name' },
  pass: { names: ['pass'], kind: 'string', value: 'password', help: 'password that clients must give' },
  auth: { names: ['auth'], kind: 'string', value: 'token', help: 'token that clients must give' },
  cluster: {
    names: ['cluster', 'cluster_listen'],
    kind: 'string',
    value: 'url',
    help: 'address for other nodes, nats://host:port',
  },
  clusterName: {
    names: ['cluster_name'],
    kind: 'string',
    value: 'name',
    help: 'name of the cluster; all nodes must agree',
  },
  routes: {
    names: ['routes'],
    kind: 'string',
    value: 'urls',
    help: 'other nodes, nats://host:port, separated by commas',
  },
  clusterAdvertise: {
    names: ['cluster_advertise'],
    kind: 'string',
    value: 'host:port',
    help: 'cluster address told to other nodes',
  },
  defaultReplicas: {
    names: ['default_replicas'],
    kind: 'integer',
    value: 'n',
    help: 'replicas of streams that name none (default 1)',
  },
  pid: { names: ['P', 'pid'], kind: 'string', value: 'file', help: 'file for the process id' },
  portsFileDir: {
    names: ['ports_file_dir'],
    kind: 'string',
    value: 'dir',
    help: 'directory for a file that lists the ports',
  },
  debug: { names: ['D', 'debug'], kind: 'boolean', help: 'log debug lines' },
  trace: { names: ['V', 'trace'], kind: 'boolean', help: 'log protocol lines' },
  debugTrace: { names: ['DV'], kind: 'boolean', help: 'debug and trace' },
  version: { names: ['v', 'version'], kind: 'boolean', help: 'print the version and exit' },
  help: { names: ['h', 'help'], kind: 'boolean', help: 'print this help and exit' },
} as const satisfies Record<string, FlagSpec>;

export type ServerFlag = keyof typeof SERVER_FLAGS;

export type ConfigResult = { ok: true; config: ServerConfig } | { ok: false; errors: string[] };

export function parseServerFlags(args: readonly string[]): ReturnType<typeof parseFlags<ServerFlag>> {
  return parseFlags<ServerFlag>(SERVER_FLAGS, args);
}

/** Flags to configuration. `randomName` names a server that was given none. */
export function serverConfigOf(
  values: FlagValues<ServerFlag>,
  env: Record<string, string | undefined>,
  randomName: string,
): ConfigResult {
  const errors: string[] = [];
  const text = (key: ServerFlag): string | undefined => values[key] as string | undefined;
  const portOf = (value: unknown, fallback: number, what: string): number => {
    if (value === undefined) return fallback;
    const port = value as number;
    if (port === -1) return 0;
    if (port < 0 || port > 65535) errors.push(`${what}: ${port} is not a port (0 to 65535, or -1 for any free one)`);
    return port;
  };

  const name = text('name') ?? randomName;
  if (/\s/.test(name) || name === '') errors.push('server name must not be empty or contain spaces');
  const port = portOf(values.port, 4222, 'port');
  const host = text('addr') ?? '0.0.0.0';
  const httpPort = values.httpPort === undefined ? undefined : portOf(values.httpPort, 8222, 'monitoring port');

  const auth = { user: text('user'), pass: text('pass'), token: text('auth') };
  if ((auth.user === undefined) !== (auth.pass === undefined)) errors.push('--user and --pass belong together');
  if (auth.user !== undefined && auth.token !== undefined) errors.push('--auth and --user exclude each other');

  let cluster: ServerConfig['cluster'];
  const routes = (text('routes') ?? '').split(',').filter((route) => route !== '');
  if (text('cluster') !== undefined) {
    const address = parseAddress(text('cluster')!);
    if (address === undefined) errors.push(`cluster: "${text('cluster')}" is not an address like nats://host:port`);
    const parsedRoutes = routes.map((route) => {
      const parsed = parseAddress(route);
      if (parsed === undefined) errors.push(`routes: "${route}" is not an address like nats://host:port`);
      return parsed ? `${parsed.host}:${parsed.port}` : '';
    });
    cluster = {
      name: text('clusterName') ?? 'flotilla',
      host: address?.host ?? '',
      port: address?.port ?? 0,
      routes: parsedRoutes,
      advertise: text('clusterAdvertise'),
      secret: env.FLOTILLA_CLUSTER_SECRET ?? '',
    };
    if (address && !isLoopback(address.host) && cluster.secret === '') {
      errors.push('cluster: beyond loopback, nodes must share a secret: set FLOTILLA_CLUSTER_SECRET');
    }
  } else if (routes.length > 0 || text('clusterName') !== undefined) {
    errors.push('--routes and --cluster_name need --cluster');
  }

  const defaultReplicas = (values.defaultReplicas as number | undefined) ?? 1;
  if (defaultReplicas < 1 || defaultReplicas > 5) errors.push('default_replicas must be 1 to 5');
  if (errors.length > 0) return { ok: false, errors };
  return {
    ok: true,
    config: {
      name,
      host,
      port,
      http: httpPort === undefined ? undefined : { host, port: httpPort },
      jetstream: values.jetstream === true,
      storeDir: text('storeDir') ?? './data/flotilla',
      auth,
      cluster,
      defaultReplicas,
      maxPayload: 1 << 20,
      debug: values.debug === true || values.debugTrace === true,
      trace: values.trace === true || values.debugTrace === true,
      pidFile: text('pid'),
      portsFileDir: text('portsFileDir'),
    },
  };
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

function parseAddress(url: string): { host: string; port: number } | undefined {
  const match = /^(?:[a-z+]+:\/\/)?(?:[^@/]*@)?(\[[^\]]+\]|[^:/]+):(-?\d+)\/?$/.exec(url);
  if (!match) return undefined;
  const port = Number(match[2]);
  if (port < -1 || port > 65535) return undefined;
  return { host: match[1].replace(/^\[|\]$/g, ''), port: port === -1 ? 0 : port };
}
