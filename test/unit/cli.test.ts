// Flags: nats-server's spellings, and errors that help.
import { describe, expect, test } from 'vitest';
import { helpOf, nearestName } from '../../src/cli/flags.ts';
import { parseServerFlags, SERVER_FLAGS, serverConfigOf } from '../../src/cli/server-config.ts';

function config(args: string[], env: Record<string, string> = {}) {
  const parsed = parseServerFlags(args);
  if (!parsed.ok) return { ok: false as const, errors: [parsed.error] };
  return serverConfigOf(parsed.values, env, 'random');
}

describe('server flags', () => {
  test('one dash or two, with = or a space', () => {
    for (const args of [['-p', '5000'], ['--port=5000'], ['-p=5000'], ['--port', '5000']]) {
      expect(config(args)).toMatchObject({ ok: true, config: { port: 5000, name: 'random', jetstream: false } });
    }
    expect(config(['-js', '-sd=/tmp/x', '-DV'])).toMatchObject({
      ok: true,
      config: { jetstream: true, storeDir: '/tmp/x', debug: true, trace: true },
    });
    for (const no of ['false', '0', 'F']) {
      expect(config([`-js=${no}`])).toMatchObject({ ok: true, config: { jetstream: false } });
    }
    expect(config(['-js=1'])).toMatchObject({ ok: true, config: { jetstream: true } });
    expect(config(['-p', '-1'])).toMatchObject({ ok: true, config: { port: 0 } });
  });

  test('a flag of nats-server that is not here yet is refused by its name, and is not in the help', () => {
    for (const flag of ['--tls', '-T=false', '-VV', '--syslog', '--profile', '--connect_retries']) {
      const name = flag.split('=')[0];
      expect(config([flag])).toMatchObject({ errors: [expect.stringMatching(`^${name} is not supported yet: `)] });
      expect(helpOf(SERVER_FLAGS)).not.toContain(`${name} `);
    }
    expect(helpOf(SERVER_FLAGS)).toContain('-sd, --store_dir <dir>');
  });

  test('an unknown flag names the nearest one', () => {
    expect(config(['--cluster_nmae', 'x'])).toEqual({
      ok: false,
      errors: ['unknown flag --cluster_nmae; did you mean --cluster_name?'],
    });
    expect(config(['--qqqqqqqqqqqq'])).toEqual({ ok: false, errors: ['unknown flag --qqqqqqqqqqqq; see --help'] });
  });

  test('all errors at once', () => {
    const result = config(['-p', '99999', '--user', 'u', '--routes', 'nats://a:1', '--default_replicas', '9']);
    expect(result.ok).toBe(false);
    expect(result.ok ? [] : result.errors).toHaveLength(4);
  });

  test('beyond loopback a cluster needs its secret', () => {
    const args = ['--cluster', 'nats://10.0.0.1:6222', '--routes', 'nats://10.0.0.2:6222'];
    expect(config(args).ok).toBe(false);
    expect(config(args, { FLOTILLA_CLUSTER_SECRET: 's' })).toMatchObject({
      ok: true,
      config: { cluster: { routes: ['10.0.0.2:6222'], secret: 's' } },
    });
  });

  test('an address that is none is one error, and shows no password', () => {
    for (const address of ['nope', 'nats://10.0.0.1', ':6222', 'nats://10.0.0.1:99999']) {
      expect(config(['--cluster', address])).toEqual({
        ok: false,
        errors: [`cluster: "${address}" is not an address like nats://host:port`],
      });
    }
    expect(config(['--cluster', 'nats://u:secret@10.0.0.1'])).toEqual({
      ok: false,
      errors: ['cluster: "nats://u:***@10.0.0.1" is not an address like nats://host:port'],
    });
  });

  test('routes as nats-server takes them: any scheme, spaces, the secret as the password of addresses', () => {
    const args = ['--cluster', 'nats://u:s%40t@10.0.0.1:6222', '--routes'];
    expect(config([...args, 'nats-route://u:s%40t@10.0.0.2:6222, tls://10.0.0.3:6222,'])).toMatchObject({
      ok: true,
      config: { cluster: { routes: ['10.0.0.2:6222', '10.0.0.3:6222'], secret: 's@t' } },
    });
    const contradiction = ['cluster: a password in --cluster or --routes is not the secret that the nodes share'];
    expect(config([...args, 'nats://u:other@10.0.0.2:6222'])).toEqual({ ok: false, errors: contradiction });
    expect(config(args.slice(0, 2), { FLOTILLA_CLUSTER_SECRET: 'other' })).toEqual({
      ok: false,
      errors: contradiction,
    });
    expect(config(args.slice(0, 2), { FLOTILLA_CLUSTER_SECRET: '' })).toMatchObject({ ok: true });
  });

  test('names', () => {
    const cluster = ['--cluster', 'nats://127.0.0.1:6222'];
    expect(config([...cluster, '--cluster_name', 'a b'])).toEqual({
      ok: false,
      errors: ['cluster name must not be empty or contain spaces'],
    });
    expect(config(['-n', 'a b'])).toMatchObject({ errors: ['server name must not be empty or contain spaces'] });
    expect(config(['-sd', ''])).toMatchObject({ errors: ['the storage directory must have a name'] });
  });

  test('what clients are told may differ from where the server listens', () => {
    expect(config(['--client_advertise', 'n1.example:14222'])).toMatchObject({
      ok: true,
      config: { host: '0.0.0.0', clientAdvertise: { host: 'n1.example', port: 14222 } },
    });
    expect(config(['-p', '5000', '--client_advertise', '10.0.0.1'])).toMatchObject({
      ok: true,
      config: { clientAdvertise: { host: '10.0.0.1', port: 5000 } },
    });
    expect(config(['--client_advertise', 'a b:c'])).toMatchObject({ ok: false });
  });

  test('values must fit', () => {
    expect(config(['-p', 'abc'])).toMatchObject({ errors: ['-p needs a whole number, not "abc"'] });
    expect(config(['-n'])).toMatchObject({ errors: ['-n needs a value'] });
    expect(config(['-js=maybe'])).toMatchObject({ errors: ['-js takes true or false, not "maybe"'] });
  });

  test('nearest name', () => {
    expect(nearestName('sevrer', ['server', 'start'])).toBe('server');
    expect(nearestName('xyz', ['server'])).toBeUndefined();
  });
});
