// What configuration files mean for a server, alone and under flags.
import { describe, expect, test } from 'vitest';
import { settingsOfFile } from '../../../src/cli/config-file.ts';
import { parseConfig } from '../../../src/cli/config-parser.ts';
import { parseServerFlags, serverConfigOf } from '../../../src/cli/server-config.ts';

function findings(text: string) {
  const parsed = parseConfig(text, 'a.conf', {
    variable: () => undefined,
    include: () => ({ ok: false, error: 'no files here' }),
  });
  if (!parsed.ok) throw new Error(parsed.error);
  return settingsOfFile(parsed.root);
}

function config(text: string, args: string[] = [], env: Record<string, string> = {}) {
  const { settings, errors } = findings(text);
  expect(errors).toEqual([]);
  const flags = parseServerFlags(args);
  if (!flags.ok) throw new Error(flags.error);
  return serverConfigOf(flags.values, env, 'random', settings);
}

describe('configuration file', () => {
  test('what harnesses send', () => {
    const text = `host: 127.0.0.1
      port: -1
      http: 127.0.0.1:-1
      jetstream { store_dir: "/x", max_file_store: 1MB, max_mem_store: 1MB, sync_interval: always, strict: true }
      leafnodes { listen: "127.0.0.1:-1" }
      server_tags: ["a"]
      websocket { port: -1, no_tls: true }
      ports_file_dir: /tmp`;
    expect(config(text)).toMatchObject({
      ok: true,
      config: { host: '127.0.0.1', port: 0, http: { host: '127.0.0.1', port: 0 }, jetstream: true, storeDir: '/x' },
    });
    const { warnings } = findings(text);
    expect(warnings.map((line) => line.split(' has ')[0])).toEqual([
      'a.conf:4: jetstream.max_file_store',
      'a.conf:4: jetstream.max_mem_store',
      'a.conf:5: leafnodes',
      'a.conf:6: server_tags',
      'a.conf:7: websocket',
    ]);
    expect(config('{"jetstream": true}')).toMatchObject({ config: { jetstream: true } });
    expect(config('jetstream: disabled')).toMatchObject({ config: { jetstream: false } });
  });

  test('limits', () => {
    const text = `max_payload: 1024; max_connections: 9; max_pending: 2MB; max_control_line: 1kb; max_subs: 3
      ping_interval: "100ms", ping_max: 3, write_deadline: 2, lame_duck_duration: 30s, lame_duck_grace_period: "5s"
      authorization { token: abc, timeout: 0.5 }`;
    expect(config(text)).toMatchObject({
      config: {
        limits: {
          payloadBytesMax: 1024,
          connectionsMax: 9,
          pendingBytesMax: 2 << 20,
          controlLineBytesMax: 1024,
          subscriptionsMax: 3,
          pingIntervalMs: 100,
          pingsOutMax: 3,
          writeDeadlineMs: 2000,
          authTimeoutMs: 500,
        },
        lameDuckMs: 30_000,
        lameDuckGraceMs: 5000,
        auth: { token: 'abc' },
      },
    });
    expect(config('max_pending: 1kb')).toMatchObject({ ok: false });
  });

  test('users; credentials of flags replace them', () => {
    const text = 'P: secret\nauthorization { users: [ {user: a, password: $P}, {username: b} ] }\nno_auth_user: b';
    const users = [
      { user: 'a', password: 'secret' },
      { user: 'b', password: '' },
    ];
    expect(config(text)).toMatchObject({ config: { auth: { users, noAuthUser: 'b' } } });
    const flagged = config(text, ['--user', 'c', '--pass', 'd']);
    expect(flagged.ok && flagged.config.auth).toEqual({ users: [{ user: 'c', password: 'd' }] });
    expect(config('no_auth_user: x')).toMatchObject({ errors: ['no_auth_user: there is no user "x"'] });
  });

  test('users of the system account, beside ordinary ones or alone', () => {
    const text = 'accounts { $SYS { users: [ {user: admin, password: secret} ] } }\nsystem_account: "$SYS"';
    const admin = { user: 'admin', password: 'secret', account: '$SYS' };
    expect(config(text)).toMatchObject({ config: { auth: { users: [admin] } } });
    const both = `${text}\nauthorization { users: [ {user: a, password: b} ] }`;
    expect(config(both)).toMatchObject({ config: { auth: { users: [{ user: 'a', password: 'b' }, admin] } } });
    expect(config(text, ['--auth', 't'])).toMatchObject({ config: { auth: { token: 't', users: [admin] } } });
    expect(config(`${text}\nauthorization { users: [ {user: admin, password: b} ] }`)).toMatchObject({
      errors: ['user "admin" is in two accounts'],
    });
    expect(findings('system_account: OTHER').errors).toHaveLength(1);
  });

  test('cluster, and flags over it', () => {
    const text = `server_name: n1
      cluster { name: C, listen: 10.0.0.1:6222, routes: [nats://10.0.0.2:6222
        nats-route://u:s@10.0.0.3:6222], advertise: h:1, authorization { password: s } }`;
    const cluster = { name: 'C', host: '10.0.0.1', port: 6222, advertise: 'h:1', secret: 's' };
    const routes = ['10.0.0.2:6222', '10.0.0.3:6222'];
    expect(config(text)).toMatchObject({ config: { name: 'n1', cluster: { ...cluster, routes } } });
    const args = ['--routes', 'nats://x:1', '--cluster_name', 'D', '-n', 'n2', '-p', '5'];
    expect(config(text, args, { FLOTILLA_CLUSTER_SECRET: 'e' })).toMatchObject({
      config: { name: 'n2', port: 5, cluster: { ...cluster, name: 'D', routes: ['x:1'], secret: 'e' } },
    });
    const quiet = 'cluster { listen: 127.0.0.1:1, gossip: false, no_advertise: true }';
    expect(config('cluster { listen: 127.0.0.1:1 }')).toMatchObject({
      config: { cluster: { gossip: true, noAdvertise: false } },
    });
    expect(config(quiet)).toMatchObject({ config: { cluster: { gossip: false, noAdvertise: true } } });
    expect(config(quiet, ['--cluster_gossip', '--no_advertise=false'])).toMatchObject({
      config: { cluster: { gossip: true, noAdvertise: false } },
    });
    expect(config('cluster { name: x, listen: 10.0.0.1:1 }')).toMatchObject({ ok: false });
    expect(config('cluster { name: x }')).toMatchObject({ ok: false });
  });

  test('all errors at once, with file and line', () => {
    const text = `prot: 1
      jetstream { store_dir: x, domain: hub }
      accounts { A: {} }
      cluster { tls {}, nmae: x }
      port: 99999
      ping_interval: soon
      max_payload: 64MB
      debug: 1
      authorization { users: [ {user: u, password: $2a$11$xyz}, {nkey: U} ] }
      leafnodes { remotes: [] }`;
    expect(findings(text).errors).toEqual([
      'a.conf:1: unknown field "prot"; did you mean "port"?',
      'a.conf:2: jetstream.domain is not supported by this server yet',
      'a.conf:3: accounts.A: accounts other than $SYS are not supported by this server yet',
      'a.conf:4: cluster.tls is not supported by this server yet',
      'a.conf:4: unknown field "nmae" in cluster; did you mean "name"?',
      'a.conf:5: port takes a port (0 to 65535, or -1 for any free one)',
      'a.conf:6: ping_interval takes a duration like "2s" or "100ms", or a number of seconds',
      'a.conf:7: max_payload can be 8388608 at most',
      'a.conf:8: debug takes true or false',
      'a.conf:9: authorization.users.password: bcrypt hashes are not supported by this server yet',
      'a.conf:9: authorization.users.nkey is not supported by this server yet',
      'a.conf:10: leafnodes.remotes is not supported by this server yet',
    ]);
    expect(findings('authorization { user: a, token: b }').errors).toHaveLength(1);
    expect(findings('__proto__: 1\nconstructor: 2').errors).toHaveLength(2);
  });
});
