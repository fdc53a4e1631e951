// What one node needs to know, from flags (and a configuration file): shape, defaults, checks. All errors at once.
import type { AuthConfig } from '../auth/auth.ts';
import { DEFAULT_LIMITS, type NatsLimits } from '../protocols/nats/limits.ts';
import type { FileSettings } from './config-file.ts';
import { type FlagSpec, type FlagValues, parseFlags } from './flags.ts';

export interface ServerConfig {
  name: string;
  host: string;
  /** 0: any free port. */
  port: number;
  /** Address that clients and other nodes are told instead of the listener's own. */
  clientAdvertise: { host: string; port: number } | undefined;
  http: { host: string; port: number } | undefined;
  jetstream: boolean;
  storeDir: string;
  auth: AuthConfig;
  cluster:
    | {
        name: string;
        host: string;
        port: number /** host:port each */;
        routes: string[];
        advertise?: string;
        /** Cluster addresses are told to other nodes, and learnt ones dialed. */
        gossip: boolean;
        /** Clients are not told of other nodes. */
        noAdvertise: boolean;
        secret: string;
      }
    | undefined;
  defaultReplicas: number;
  limits: NatsLimits;
  metricsSeriesMax: number;
  lameDuckGraceMs: number;
  lameDuckMs: number;
  debug: boolean;
  trace: boolean;
  /** Default: stderr. */
  logFile?: string;
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
  clientAdvertise: {
    names: ['client_advertise'],
    kind: 'string',
    value: 'host:port',
    help: 'address told to clients and other nodes, when it is not the listening one (with 0.0.0.0 and nodes on other machines: needed)',
  },
  name: {
    names: ['n', 'name', 'server_name'],
    kind: 'string',
    value: 'name',
    help: 'server name (default: a random one)',
  },
  config: { names: ['c', 'config'], kind: 'string', value: 'file', help: 'configuration file' },
  test: { names: ['t'], kind: 'boolean', help: 'check the configuration and exit' },
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
  clusterGossip: {
    names: ['cluster_gossip'],
    kind: 'boolean',
    help: 'tell and dial cluster addresses learnt from other nodes (default; =false: dial --routes only)',
  },
  noAdvertise: {
    names: ['no_advertise'],
    kind: 'boolean',
    help: 'do not tell clients the addresses of the other nodes',
  },
  defaultReplicas: {
    names: ['default_replicas'],
    kind: 'integer',
    value: 'n',
    help: 'replicas of streams that name none (default 1)',
  },
  metricsSeries: {
    names: ['metrics_series'],
    kind: 'integer',
    value: 'n',
    help: 'series per stream and per consumer on /metrics, the rest is summed (default 1000)',
  },
  pid: { names: ['P', 'pid'], kind: 'string', value: 'file', help: 'file for the process id' },
  portsFileDir: {
    names: ['ports_file_dir'],
    kind: 'string',
    value: 'dir',
    help: 'directory for a file that lists the ports',
  },
  logFile: { names: ['l', 'log'], kind: 'string', value: 'file', help: 'file for log lines (default: stderr)' },
  signal: {
    names: ['sl', 'signal'],
    kind: 'string',
    value: 'what=pid',
    help: 'tell a running server: stop, quit, term, reopen, reload or ldm; a process id or a pid file',
  },
  debug: { names: ['D', 'debug'], kind: 'boolean', help: 'log debug lines' },
  trace: { names: ['V', 'trace'], kind: 'boolean', help: 'log protocol lines' },
  debugTrace: { names: ['DV'], kind: 'boolean', help: 'debug and trace' },
  version: { names: ['v', 'version'], kind: 'boolean', help: 'print the version and exit' },
  help: { names: ['h', 'help'], kind: 'boolean', help: 'print this help and exit' },
  tls: {
    names: ['tls', 'tlscert', 'tlskey', 'tlsverify', 'tlscacert', 'help_tls', 'ms', 'https_port'],
    kind: 'unsupported',
    help: 'there is no TLS',
  },
  logging: {
    names: ['T', 'logtime', 'logtime_utc', 's', 'syslog', 'r', 'remote_syslog', 'log_size_limit'],
    kind: 'unsupported',
    help: 'log lines go to stderr or to the file of -l, with local time',
  },
  verboseTrace: { names: ['VV', 'DVV', 'max_traced_msg_len'], kind: 'unsupported', help: 'use -V or -DV' },
  profile: { names: ['profile'], kind: 'unsupported', help: 'there is no profiling port' },
  connectRetries: { names: ['connect_retries'], kind: 'unsupported', help: 'nodes are dialed until they answer' },
} as const satisfies Record<string, FlagSpec>;

export type ServerFlag = keyof typeof SERVER_FLAGS;

export type ConfigResult = { ok: true; config: ServerConfig } | { ok: false; errors: string[] };

export function parseServerFlags(args: readonly string[]): ReturnType<typeof parseFlags<ServerFlag>> {
  return parseFlags<ServerFlag>(SERVER_FLAGS, args);
}

const METRICS_SERIES_MAX = 1000;
const LAME_DUCK_GRACE_MS = 10_000;
const LAME_DUCK_MS = 120_000;

/** Flags over a file's settings over defaults. `randomName` names a server that was given none. */
export function serverConfigOf(
  values: FlagValues<ServerFlag>,
  env: Record<string, string | undefined>,
  randomName: string,
  file: FileSettings = { limits: {} },
): ConfigResult {
  const errors: string[] = [];
  const text = (key: ServerFlag): string | undefined => values[key] as string | undefined;
  const portOf = (port: number, what: string): number => {
    if (port === -1) return 0;
    if (port < 0 || port > 65535) errors.push(`${what}: ${port} is not a port (0 to 65535, or -1 for any free one)`);
    return port;
  };

  const name = text('name') ?? file.name ?? randomName;
  if (/\s/.test(name) || name === '') errors.push('server name must not be empty or contain spaces');
  const host = text('addr') ?? file.host ?? '0.0.0.0';
  const port = portOf((values.port as number | undefined) ?? file.port ?? 4222, 'port');
  const advertised = text('clientAdvertise') ?? file.clientAdvertise;
  const clientAdvertise = advertised === undefined ? undefined : advertiseOf(advertised, port);
  if (advertised !== undefined && clientAdvertise === undefined)
    errors.push(`client_advertise: "${advertised}" is not an address like host or host:port`);
  const monitorPort = (values.httpPort as number | undefined) ?? file.http?.port;
  const http =
    monitorPort === undefined
      ? undefined
      : { host: file.http?.host ?? host, port: portOf(monitorPort, 'monitoring port') };

  const auth = authOf(values, file, errors);
  const cluster = clusterOf(values, env, file, errors);
  const limits = { ...DEFAULT_LIMITS, ...file.limits };
  if (limits.payloadBytesMax > limits.pendingBytesMax) {
    errors.push(
      `max_payload (${limits.payloadBytesMax}) must not be higher than max_pending (${limits.pendingBytesMax})`,
    );
  }
  const defaultReplicas = (values.defaultReplicas as number | undefined) ?? file.defaultReplicas ?? 1;
  const storeDir = text('storeDir') ?? file.storeDir ?? './data/flotilla';
  if (storeDir === '') errors.push('the storage directory must have a name');
  if (defaultReplicas < 1 || defaultReplicas > 5) errors.push('default_replicas must be 1 to 5');
  const metricsSeriesMax = (values.metricsSeries as number | undefined) ?? file.metricsSeriesMax ?? METRICS_SERIES_MAX;
  if (metricsSeriesMax < 0) errors.push('metrics_series must not be negative');
  if (errors.length > 0) return { ok: false, errors };
  const debugTrace = values.debugTrace === true;
  return {
    ok: true,
    config: {
      name,
      host,
      port,
      clientAdvertise,
      http,
      jetstream: (values.jetstream as boolean | undefined) ?? file.jetstream ?? false,
      storeDir,
      auth,
      cluster,
      defaultReplicas,
      limits,
      metricsSeriesMax,
      lameDuckGraceMs: file.lameDuckGraceMs ?? LAME_DUCK_GRACE_MS,
      lameDuckMs: file.lameDuckMs ?? LAME_DUCK_MS,
      debug: debugTrace || ((values.debug as boolean | undefined) ?? file.debug ?? false),
      trace: debugTrace || ((values.trace as boolean | undefined) ?? file.trace ?? false),
      logFile: text('logFile') ?? file.logFile,
      pidFile: text('pid') ?? file.pidFile,
      portsFileDir: text('portsFileDir') ?? file.portsFileDir,
    },
  };
}

/** Credentials given by flags replace all of the file's. */
function authOf(values: FlagValues<ServerFlag>, file: FileSettings, errors: string[]): AuthConfig {
  const flags = {
    user: values.user as string | undefined,
    pass: values.pass as string | undefined,
    token: values.auth as string | undefined,
  };
  if ((flags.user === undefined) !== (flags.pass === undefined)) errors.push('--user and --pass belong together');
  if (flags.user !== undefined && flags.token !== undefined) errors.push('--auth and --user exclude each other');
  const byFlags = flags.user !== undefined || flags.token !== undefined;
  const { user, pass, token } = byFlags ? flags : file;
  const system = file.systemUsers ?? [];
  if (user !== undefined) return { users: [{ user, password: pass ?? '' }, ...system] };
  if (token !== undefined) return { users: system, token };
  const users = byFlags ? [] : (file.users ?? []);
  const { noAuthUser } = file;
  if (noAuthUser !== undefined && !users.some((known) => known.user === noAuthUser)) {
    errors.push(`no_auth_user: there is no user "${noAuthUser}"`);
  }
  const twice = system.find((known) => users.some((other) => other.user === known.user));
  if (twice !== undefined) errors.push(`user "${twice.user}" is in two accounts`);
  return { users: [...users, ...system], noAuthUser };
}

function clusterOf(
  values: FlagValues<ServerFlag>,
  env: Record<string, string | undefined>,
  file: FileSettings,
  errors: string[],
): ServerConfig['cluster'] {
  const flagged = values.cluster as string | undefined;
  const flaggedRoutes = values.routes as string | undefined;
  const flaggedName = values.clusterName as string | undefined;
  if (flagged === undefined && file.cluster === undefined) {
    if (flaggedRoutes || flaggedName !== undefined) errors.push('--routes and --cluster_name need --cluster');
    return undefined;
  }
  const name = flaggedName ?? file.cluster?.name ?? 'flotilla';
  if (/\s/.test(name) || name === '') errors.push('cluster name must not be empty or contain spaces');
  const own = flagged === undefined ? undefined : addressOf(flagged, 'cluster', errors);
  const port = own?.port ?? file.cluster?.port;
  if (flagged === undefined && port === undefined) errors.push('cluster: needs a port, or listen: host:port');
  const host = own?.host ?? file.cluster?.host ?? '0.0.0.0';
  const routes = splitList(flaggedRoutes) ?? file.cluster?.routes ?? [];
  const dialed = routes.map((route) => addressOf(route, 'routes', errors));
  const secret = env.FLOTILLA_CLUSTER_SECRET || own?.password || file.cluster?.secret || '';
  if ([own, ...dialed].some((address) => address?.password !== undefined && address.password !== secret))
    errors.push('cluster: a password in --cluster or --routes is not the secret that the nodes share');
  // An address that is none says nothing about where the cluster listens.
  const isKnown = flagged === undefined || own !== undefined;
  if (isKnown && !isLoopback(host) && secret === '') {
    errors.push(
      'cluster: beyond loopback, nodes must share a secret: set FLOTILLA_CLUSTER_SECRET, or password in cluster.authorization',
    );
  }
  return {
    name,
    host,
    port: port === -1 ? 0 : (port ?? 0),
    routes: dialed.flatMap((address) => (address ? [`${address.host}:${address.port}`] : [])),
    advertise: (values.clusterAdvertise as string | undefined) ?? file.cluster?.advertise,
    gossip: (values.clusterGossip as boolean | undefined) ?? file.cluster?.gossip ?? true,
    noAdvertise: (values.noAdvertise as boolean | undefined) ?? file.cluster?.noAdvertise ?? false,
    secret,
  };
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.');
}

/** A host alone means the port that clients are listened for at. */
function advertiseOf(text: string, port: number): Address | undefined {
  return parseAddress(/:\d+$/.test(text) ? text : `${text}:${port}`);
}

function splitList(text: string | undefined): string[] | undefined {
  const items = text?.split(',').map((item) => item.trim());
  return items?.filter((item) => item !== '');
}

interface Address {
  host: string;
  port: number;
  password?: string;
}

function addressOf(url: string, what: string, errors: string[]): Address | undefined {
  const address = parseAddress(url);
  const shown = url.replace(/:[^@/]*@/, ':***@');
  if (address === undefined) errors.push(`${what}: "${shown}" is not an address like nats://host:port`);
  return address;
}

/** `[scheme://][user[:password]@]host:port`; the user's name does not matter. */
function parseAddress(url: string): Address | undefined {
  const match = /^(?:[a-z][a-z+-]*:\/\/)?(?:[^@/:]*(?::([^@/]*))?@)?(\[[^\]]+\]|[^:/]+):(-?\d+)\/?$/.exec(url);
  if (!match) return undefined;
  const port = Number(match[3]);
  if (port < -1 || port > 65535) return undefined;
  const password = match[1] === undefined ? undefined : unescaped(match[1]);
  return { host: match[2].replace(/^\[|\]$/g, ''), port: port === -1 ? 0 : port, password };
}

/** Of a text in an address: `%40` is `@`; as it is when it is not escaped properly. */
function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return text;
    throw error;
  }
}
