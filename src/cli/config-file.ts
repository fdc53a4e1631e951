// What the keys of a configuration file mean: a parsed tree to settings, errors and warnings, all at once and each with file and line.
// Called by config-load.ts; server-config.ts lays the flags over the settings. Pure. Invariant: a key either takes effect, or is named
// in a warning (harmless without effect) or in an error; none is accepted and ignored.
import { SYSTEM_ACCOUNT, type User } from '../auth/auth.ts';
import type { NatsLimits } from '../protocols/nats/limits.ts';
import type { ConfigMap, ConfigValue } from './config-parser.ts';
import { parseDurationMs, parseSize } from './config-parser.ts';
import { nearestName } from './flags.ts';

export interface FileSettings {
  name?: string;
  host?: string;
  port?: number;
  http?: { host?: string; port: number };
  jetstream?: boolean;
  storeDir?: string;
  defaultReplicas?: number;
  user?: string;
  pass?: string;
  token?: string;
  users?: User[];
  /** Of `accounts.$SYS`. */
  systemUsers?: User[];
  noAuthUser?: string;
  cluster?: {
    name?: string;
    host?: string;
    port?: number;
    routes?: string[];
    advertise?: string;
    gossip?: boolean;
    noAdvertise?: boolean;
    secret?: string;
  };
  limits: Partial<NatsLimits>;
  lameDuckMs?: number;
  lameDuckGraceMs?: number;
  logFile?: string;
  pidFile?: string;
  portsFileDir?: string;
  clientAdvertise?: string;
  metricsSeriesMax?: number;
  debug?: boolean;
  trace?: boolean;
}

export interface FileFindings {
  settings: FileSettings;
  errors: string[];
  warnings: string[];
}

type Handler = (value: ConfigValue, path: string, f: Reader) => void;
type Directives = Record<string, Handler>;

/** A peer must be able to send what a client may publish in one frame. */
const PAYLOAD_BYTES_MAX = 8 * 1024 * 1024;

class Reader {
  readonly settings: FileSettings = { limits: {} };
  readonly errors: string[] = [];
  readonly warnings: string[] = [];

  error(at: ConfigValue, text: string): void {
    this.errors.push(`${at.file}:${at.line}: ${text}`);
  }

  warn(at: ConfigValue, text: string): void {
    this.warnings.push(`${at.file}:${at.line}: ${text}`);
  }

  /** Runs the handler of each key; keys of `unsupported` and unknown ones are errors. */
  map(map: ConfigMap, prefix: string, directives: Directives, unsupported: readonly string[]): void {
    for (const [key, value] of map) {
      const name = key.toLowerCase();
      const path = prefix === '' ? name : `${prefix}.${name}`;
      if (Object.hasOwn(directives, name)) directives[name](value, path, this);
      else if (unsupported.includes(name)) this.error(value, `${path} is not supported by this server yet`);
      else if (!value.isVariable) {
        const nearest = nearestName(name, [...Object.keys(directives), ...unsupported]);
        const where = prefix === '' ? '' : ` in ${prefix}`;
        this.error(value, `unknown field "${key}"${where}${nearest ? `; did you mean "${nearest}"?` : ''}`);
      }
    }
  }

  /** The value as a map, or an error. */
  mapOf(value: ConfigValue, path: string): ConfigMap | undefined {
    if (value.data instanceof Map) return value.data;
    this.error(value, `${path} takes a map { … }`);
    return undefined;
  }

  string(value: ConfigValue, path: string): string | undefined {
    const { data } = value;
    if (typeof data === 'string' || typeof data === 'number') return String(data);
    this.error(value, `${path} takes a text`);
    return undefined;
  }

  boolean(value: ConfigValue, path: string): boolean | undefined {
    if (typeof value.data === 'boolean') return value.data;
    this.error(value, `${path} takes true or false`);
    return undefined;
  }

  /** A whole number or a size like 8MB. */
  size(value: ConfigValue, path: string, min: number): number | undefined {
    const { data } = value;
    const number = typeof data === 'string' ? parseSize(data) : data;
    if (typeof number === 'number' && Number.isSafeInteger(number) && number >= min) return number;
    this.error(value, `${path} takes a whole number or a size like 8MB, at least ${min}`);
    return undefined;
  }

  durationMs(value: ConfigValue, path: string): number | undefined {
    const { data } = value;
    const ms = typeof data === 'number' ? data * 1000 : typeof data === 'string' ? parseDurationMs(data) : undefined;
    if (ms !== undefined && ms >= 0 && ms < 2 ** 31) return ms;
    this.error(value, `${path} takes a duration like "2s" or "100ms", or a number of seconds`);
    return undefined;
  }

  port(value: ConfigValue, path: string): number | undefined {
    const { data } = value;
    const port = typeof data === 'string' && /^-?\d+$/.test(data) ? Number(data) : data;
    if (typeof port === 'number' && Number.isInteger(port) && port >= -1 && port <= 65535) return port;
    this.error(value, `${path} takes a port (0 to 65535, or -1 for any free one)`);
    return undefined;
  }

  /** `host:port` or a port alone. */
  listen(value: ConfigValue, path: string): { host?: string; port: number } | undefined {
    if (typeof value.data === 'number') {
      const port = this.port(value, path);
      return port === undefined ? undefined : { port };
    }
    const match = typeof value.data === 'string' ? /^(\[[^\]]*\]|[^:]*):(-?\d+)$/.exec(value.data) : null;
    const port = match ? Number(match[2]) : Number.NaN;
    if (match === null || port < -1 || port > 65535) {
      this.error(value, `${path} takes host:port or a port`);
      return undefined;
    }
    return { host: match[1].replace(/^\[|\]$/g, '') || undefined, port };
  }
}

type Kind = 'string' | 'boolean' | 'durationMs' | 'port';

/** A handler that checks a plain value and puts it into place. */
function to<K extends Kind>(
  kind: K,
  put: (settings: FileSettings, value: NonNullable<ReturnType<Reader[K]>>) => void,
): Handler {
  return (value, path, f) => {
    const checked = f[kind](value, path);
    if (checked !== undefined) put(f.settings, checked as NonNullable<ReturnType<Reader[K]>>);
  };
}

function limit(key: keyof NatsLimits, min: number, max = Number.MAX_SAFE_INTEGER): Handler {
  return (value, path, f) => {
    const number = f.size(value, path, min);
    if (number === undefined) return;
    if (number > max) f.error(value, `${path} can be ${max} at most`);
    else f.settings.limits[key] = number;
  };
}

/** Unlimited (0 or less) becomes what the limits mean by it. */
function countLimit(key: keyof NatsLimits, unlimited: number): Handler {
  return (value, path, f) => {
    const number = f.size(value, path, -1);
    if (number !== undefined) f.settings.limits[key] = number <= 0 ? unlimited : number;
  };
}

function limitMs(key: keyof NatsLimits): Handler {
  return to('durationMs', (s, ms) => {
    s.limits[key] = ms;
  });
}

function harmless(why: string): Handler {
  return (value, path, f) => f.warn(value, `${path} has no effect: ${why}`);
}

const NO_CONNECTS = harmless('routes are dialled for as long as the node lives');

const clusterOf = (s: FileSettings) => {
  s.cluster ??= {};
  return s.cluster;
};

const CLUSTER_SECRET: Handler = (value, path, f) => {
  const secret = f.string(value, path);
  if (secret === undefined) return;
  const cluster = clusterOf(f.settings);
  if (cluster.secret !== undefined && cluster.secret !== secret) {
    f.error(value, `${path}: the shared secret of the cluster is given twice`);
  }
  cluster.secret = secret;
};

const CLUSTER_AUTHORIZATION: Directives = {
  password: CLUSTER_SECRET,
  pass: CLUSTER_SECRET,
  token: CLUSTER_SECRET,
  user: harmless('the password alone is the shared secret of the nodes'),
  username: harmless('the password alone is the shared secret of the nodes'),
  timeout: harmless('handshakes between nodes have a bound of their own'),
};

const clusterHost = to('string', (s, host) => {
  clusterOf(s).host = host;
});
const clusterAdvertise = to('string', (s, address) => {
  clusterOf(s).advertise = address;
});
const TRANSPORT = harmless('links between nodes have their own transport');

const CLUSTER: Directives = {
  name: to('string', (s, name) => {
    clusterOf(s).name = name;
  }),
  listen: (value, path, f) => {
    const address = f.listen(value, path);
    if (address) Object.assign(clusterOf(f.settings), { host: address.host ?? '0.0.0.0', port: address.port });
  },
  host: clusterHost,
  net: clusterHost,
  port: to('port', (s, port) => {
    clusterOf(s).port = port;
  }),
  routes: (value, path, f) => {
    const list = Array.isArray(value.data) ? value.data : [value];
    clusterOf(f.settings).routes = list.flatMap((item) => f.string(item, path) ?? []);
  },
  advertise: clusterAdvertise,
  cluster_advertise: clusterAdvertise,
  gossip: to('boolean', (s, on) => {
    clusterOf(s).gossip = on;
  }),
  no_advertise: to('boolean', (s, on) => {
    clusterOf(s).noAdvertise = on;
  }),
  authorization: (value, path, f) => {
    const map = f.mapOf(value, path);
    if (map) f.map(map, path, CLUSTER_AUTHORIZATION, ['permissions', 'users', 'nkey']);
  },
  connect_retries: NO_CONNECTS,
  connect_backoff: NO_CONNECTS,
  pool_size: TRANSPORT,
  compression: TRANSPORT,
  ping_interval: TRANSPORT,
  ping_max: TRANSPORT,
  write_deadline: TRANSPORT,
};

const USER_KEYS = ['user', 'username', 'pass', 'password'] as const;
const USER_UNSUPPORTED = [
  'nkey',
  'permission',
  'permissions',
  'authorization',
  'allowed_connection_types',
  'proxy_required',
];

/** Passwords are compared as they are; a hash would refuse everybody, or worse, let its reader in. */
function password(value: ConfigValue, path: string, f: Reader): string | undefined {
  const text = f.string(value, path);
  if (text === undefined || !/^\$2[abxy]\$/.test(text)) return text;
  f.error(value, `${path}: bcrypt hashes are not supported by this server yet`);
  return undefined;
}

function usersOf(value: ConfigValue, path: string, f: Reader): User[] | undefined {
  if (!Array.isArray(value.data)) {
    f.error(value, `${path} takes a list [ … ]`);
    return undefined;
  }
  const list: User[] = [];
  for (const item of value.data) {
    const map = f.mapOf(item, `${path}: each of them`);
    if (map === undefined) continue;
    const user: User = { user: '', password: '' };
    const name: Handler = (v, p) => {
      user.user = f.string(v, p) ?? '';
    };
    const pass: Handler = (v, p) => {
      user.password = password(v, p, f) ?? '';
    };
    const handlers: Record<(typeof USER_KEYS)[number], Handler> = { user: name, username: name, pass, password: pass };
    const errors = f.errors.length;
    f.map(map, path, handlers, USER_UNSUPPORTED);
    if (f.errors.length > errors) continue;
    if (user.user === '') f.error(item, `${path}: a user needs a name`);
    else if (list.some((other) => other.user === user.user))
      f.error(item, `${path}: user "${user.user}" is there twice`);
    else list.push(user);
  }
  return list;
}

const users: Handler = (value, path, f) => {
  f.settings.users = usersOf(value, path, f);
};

/** Of accounts only the system account is known so far: its users run the cluster. */
const accounts: Handler = (value, path, f) => {
  for (const [name, account] of f.mapOf(value, path) ?? []) {
    const where = `${path}.${name}`;
    if (name !== SYSTEM_ACCOUNT) {
      f.error(account, `${where}: accounts other than ${SYSTEM_ACCOUNT} are not supported by this server yet`);
      continue;
    }
    const map = f.mapOf(account, where);
    const systemUsers: Handler = (list, listPath) => {
      f.settings.systemUsers = usersOf(list, listPath, f)?.map((user) => ({ ...user, account: SYSTEM_ACCOUNT }));
    };
    if (map)
      f.map(map, where, { users: systemUsers }, ['nkey', 'imports', 'exports', 'jetstream', 'limits', 'mappings']);
  }
};

const authUser = to('string', (s, user) => {
  s.user = user;
});
const authPass: Handler = (value, path, f) => {
  f.settings.pass = password(value, path, f);
};

const AUTHORIZATION: Directives = {
  user: authUser,
  username: authUser,
  pass: authPass,
  password: authPass,
  token: (value, path, f) => {
    f.settings.token = password(value, path, f);
  },
  timeout: limitMs('authTimeoutMs'),
  users,
};

const storeDir = to('string', (s, dir) => {
  s.storeDir = dir;
});
const NOT_ENFORCED = harmless('limits of the store are not enforced yet; give streams max_bytes');
const sync: Handler = (value, path, f) => {
  if (value.data !== 'always') f.warn(value, `${path} has no effect: every acknowledged message is synced (always)`);
};

const JETSTREAM: Directives = {
  enabled: to('boolean', (s, enabled) => {
    s.jetstream = enabled;
  }),
  strict: (value, path, f) => {
    if (f.boolean(value, path) === false) f.warn(value, `${path} has no effect: requests are always read strictly`);
  },
  store_dir: storeDir,
  storedir: storeDir,
  store: storeDir,
  sync_interval: sync,
  sync,
  max_memory_store: NOT_ENFORCED,
  max_mem_store: NOT_ENFORCED,
  max_mem: NOT_ENFORCED,
  max_file_store: NOT_ENFORCED,
  max_file: NOT_ENFORCED,
  default_replicas: (value, path, f) => {
    f.settings.defaultReplicas = f.size(value, path, 1);
  },
};

const JETSTREAM_UNSUPPORTED = [
  'domain',
  'key',
  'ek',
  'prev_key',
  'cipher',
  'extension_hint',
  'limits',
  'unique_tag',
  'max_outstanding_catchup',
  'max_buffered_size',
  'max_buffered_msgs',
  'request_queue_limit',
  'info_queue_limit',
  'meta_compact',
  'max_concurrent_io',
  'tpm',
];

const host = to('string', (s, name) => {
  s.host = name;
});
const logFile = to('string', (s, file) => {
  s.logFile = file;
});
const pidFile = to('string', (s, file) => {
  s.pidFile = file;
});
const monitorPort = to('port', (s, port) => {
  s.http = { ...s.http, port };
});

const leaf: Handler = (value, path, f) => {
  const map = f.mapOf(value, path);
  if (map === undefined) return;
  const remotes = [...map].find(([key]) => key.toLowerCase() === 'remotes');
  if (remotes) f.error(remotes[1], `${path}.remotes is not supported by this server yet`);
  else f.warn(value, `${path} has no effect: this server takes no leaf nodes yet`);
};
const websocket = harmless('this server does not listen for WebSockets yet');
const TIMES = harmless('log lines always bear the local time');
const REPORTS = harmless('reports have their own rhythm');

const TOP: Directives = {
  listen: (value, path, f) => {
    const address = f.listen(value, path);
    if (!address) return;
    f.settings.port = address.port;
    if (address.host !== undefined) f.settings.host = address.host;
  },
  host,
  net: host,
  port: to('port', (s, port) => {
    s.port = port;
  }),
  server_name: to('string', (s, name) => {
    s.name = name;
  }),
  http: (value, path, f) => {
    f.settings.http = f.listen(value, path) ?? f.settings.http;
  },
  http_port: monitorPort,
  monitor_port: monitorPort,
  store_dir: storeDir,
  storedir: storeDir,
  jetstream: (value, path, f) => {
    const { data } = value;
    if (data instanceof Map) {
      f.settings.jetstream = true;
      f.map(data, path, JETSTREAM, JETSTREAM_UNSUPPORTED);
    } else if (typeof data === 'boolean') f.settings.jetstream = data;
    else if (data === 'enabled' || data === 'disabled') f.settings.jetstream = data === 'enabled';
    else f.error(value, `${path} takes enabled, disabled, true, false or a map { … }`);
  },
  authorization: (value, path, f) => {
    const map = f.mapOf(value, path);
    if (map === undefined) return;
    f.map(map, path, AUTHORIZATION, ['default_permissions', 'auth_callout', 'proxy_required']);
    const { user, pass, token, users: list } = f.settings;
    if ([user, token, list].filter((given) => given !== undefined).length > 1) {
      f.error(value, `${path}: a single user, a token and a list of users exclude each other`);
    }
    if (pass !== undefined && user === undefined) f.error(value, `${path}: a password needs a user`);
  },
  accounts,
  system_account: (value, path, f) => {
    if (f.string(value, path) !== SYSTEM_ACCOUNT) f.error(value, `${path} can only be ${SYSTEM_ACCOUNT} so far`);
  },
  no_auth_user: to('string', (s, user) => {
    s.noAuthUser = user;
  }),
  cluster: (value, path, f) => {
    const map = f.mapOf(value, path);
    if (map === undefined) return;
    clusterOf(f.settings);
    f.map(map, path, CLUSTER, ['tls', 'permissions', 'accounts']);
  },
  max_payload: limit('payloadBytesMax', 1, PAYLOAD_BYTES_MAX),
  max_pending: limit('pendingBytesMax', 1),
  max_control_line: limit('controlLineBytesMax', 64),
  max_connections: countLimit('connectionsMax', Number.MAX_SAFE_INTEGER),
  max_conn: countLimit('connectionsMax', Number.MAX_SAFE_INTEGER),
  max_subscriptions: countLimit('subscriptionsMax', 0),
  max_subs: countLimit('subscriptionsMax', 0),
  ping_interval: limitMs('pingIntervalMs'),
  ping_max: limit('pingsOutMax', 0),
  write_deadline: limitMs('writeDeadlineMs'),
  lame_duck_duration: to('durationMs', (s, ms) => {
    s.lameDuckMs = ms;
  }),
  lame_duck_grace_period: to('durationMs', (s, ms) => {
    s.lameDuckGraceMs = ms;
  }),
  log_file: logFile,
  logfile: logFile,
  pid_file: pidFile,
  pidfile: pidFile,
  ports_file_dir: to('string', (s, dir) => {
    s.portsFileDir = dir;
  }),
  client_advertise: to('string', (s, address) => {
    s.clientAdvertise = address;
  }),
  metrics_series: (value, path, f) => {
    const number = f.size(value, path, 0);
    if (number !== undefined) f.settings.metricsSeriesMax = number;
  },
  debug: to('boolean', (s, on) => {
    s.debug = on;
  }),
  trace: to('boolean', (s, on) => {
    s.trace = on;
  }),
  server_tags: harmless('placement by tags is refused where a stream asks for it'),
  server_metadata: harmless('it is not shown anywhere yet'),
  leafnodes: leaf,
  leaf,
  websocket,
  ws: websocket,
  logtime: TIMES,
  logtime_utc: TIMES,
  connect_error_reports: REPORTS,
  reconnect_error_reports: REPORTS,
};

const TOP_UNSUPPORTED = (
  'trace_verbose trace_headers mappings maps disable_sublist_cache default_sentinel https https_port ' +
  'http_base_path gateway log_size_limit log_max_num syslog remote_syslog prof_port prof_block_rate ' +
  'proxy_protocol max_traced_msg_len max_sub_tokens tls ocsp allow_non_tls write_timeout operator operators roots root ' +
  'root_operator root_operators resolver account_resolver resolver_tls resolver_preload resolver_pinned_accounts ' +
  'system no_system_account no_header_support trusted trusted_keys mqtt feature_flags default_js_domain ' +
  'ocsp_cache no_fast_producer_stall max_closed_clients proxies'
).split(' ');

export function settingsOfFile(root: ConfigMap): FileFindings {
  const reader = new Reader();
  reader.map(root, '', TOP, TOP_UNSUPPORTED);
  const { settings, errors, warnings } = reader;
  return { settings, errors, warnings };
}
