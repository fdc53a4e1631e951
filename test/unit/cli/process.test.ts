// Real server processes: what harnesses wait for, and starts that fail: one clear line, exit code 1, nothing changed on disk.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { runtimeEnv } from '../../../src/cli/runtime.mjs';
import { freePorts } from '../../conformance/target.ts';
import { mountsHere } from './mounts.ts';
import { plainEnv } from './plain-env.ts';

const MAIN = join(import.meta.dirname, '../../../src/cli/main.ts');
const PROCESS_MS_MAX = 100_000;

interface Run {
  child: ChildProcess;
  stderr: () => string;
  ended: Promise<{ code: number | null; stderr: string }>;
}

const root = mkdtempSync(join(tmpdir(), 'flotilla-cli-'));
const compiled = join(root, 'compiled');
const running = new Set<ChildProcess>();

function run(...args: string[]): Run {
  const env = runtimeEnv({ ...plainEnv(), NODE_COMPILE_CACHE: compiled });
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'ignore', 'pipe'], env });
  running.add(child);
  let stderr = '';
  child.stderr!.setEncoding('utf8').on('data', (chunk) => {
    stderr += chunk;
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), PROCESS_MS_MAX);
  const ended = new Promise<{ code: number | null; stderr: string }>((done) => {
    child.on('close', (code) => {
      clearTimeout(timer);
      running.delete(child);
      done({ code, stderr });
    });
  });
  return { child, stderr: () => stderr, ended };
}

function server(dir: string, ...args: string[]): Run {
  return run('server', '-a', '127.0.0.1', '-p', '-1', '-n', 'n1', '-js', '-sd', dir, ...args);
}

/** Resolves with what stderr says up to the line that harnesses wait for. */
function ready({ child, stderr, ended }: Run): Promise<string> {
  return new Promise((done, reject) => {
    const look = () => stderr().includes('Server is ready') && done(stderr());
    child.stderr!.on('data', look);
    look();
    void ended.then(() => reject(new Error(`not ready: ${stderr()}`)));
  });
}

/** Every file with its content. */
function picture(dir: string): string {
  if (!existsSync(dir)) return 'absent';
  if (!statSync(dir).isDirectory()) return readFileSync(dir, 'latin1');
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => {
      const file = join(dir, name);
      const content = statSync(file).isFile() ? createHash('sha256').update(readFileSync(file)).digest('hex') : 'dir';
      return `${name} ${content}`;
    })
    .join('\n');
}

function newerFormat(text: string): string {
  const body = text.replace(/^(flotilla-wal) \d+ (\d+) .*\n$/, '$1 99 $2');
  return `${body} ${crc32c(body)}\n`;
}

async function refused(dir: string, ...args: string[]): Promise<string> {
  const before = picture(dir);
  const { code, stderr } = await server(dir, ...args).ended;
  expect(picture(dir)).toBe(before);
  const lines = stderr.trimEnd().split('\n');
  expect(lines, stderr).toHaveLength(1);
  expect(code).toBe(1);
  return lines[0];
}

/** A directory in which a server has run. */
let used: string;

beforeAll(async () => {
  used = join(root, 'used');
  const first = server(used);
  await ready(first);
  first.child.kill('SIGTERM');
  expect((await first.ended).code).toBe(0);
});

afterEach(async () => {
  for (const child of running) child.kill('SIGKILL');
});

afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('a server process', () => {
  test('tells its address, then that it is ready; writes its ports; ends cleanly', async () => {
    const file = join(root, 'ok.conf');
    writeFileSync(
      file,
      `host: 127.0.0.1, port: -1, http: "127.0.0.1:-1"
       jetstream { store_dir: "${join(root, 'ok')}" }
       ports_file_dir: "${root}"
       lame_duck_grace_period: "10ms", lame_duck_duration: "10ms"`,
    );
    const started = run('server', '-c', file);
    const stderr = await ready(started);
    const [, port] = /Listening for client connections on 127\.0\.0\.1:(\d+)\n[\s\S]*Server is ready/.exec(stderr)!;
    const portsFile = join(root, `nats-server_${started.child.pid}.ports`);
    await expect.poll(() => existsSync(portsFile)).toBe(true);
    const ports = JSON.parse(readFileSync(portsFile, 'utf8'));
    expect(ports).toMatchObject({ nats: [`nats://127.0.0.1:${port}`] });
    expect(stderr).toContain(`Starting http monitor on ${ports.monitoring[0].slice('http://'.length)}\n`);
    expect(readdirSync(join(root, 'ok', 'jetstream')).length).toBeGreaterThan(0);
    started.child.kill('SIGUSR2');
    expect(await started.ended).toMatchObject({ code: 0 });
    expect(existsSync(portsFile)).toBe(false);
  });

  test('-t checks a configuration; a bad one says where', async () => {
    const good = join(root, 'good.conf');
    const broken = join(root, 'broken.conf');
    const wrong = join(root, 'wrong.conf');
    const empty = join(root, 'empty.conf');
    writeFileSync(empty, '# nothing\n');
    writeFileSync(good, 'port: 4222\n');
    writeFileSync(broken, '{"jetstream": true,\n');
    writeFileSync(wrong, 'prot: 1\n\ntls { }\n');
    const runs = [['-t', '-c', good], ['-c', broken], ['-c', wrong], ['-c', empty], ['-t']];
    const ends = await Promise.all(runs.map((args) => run('server', ...args).ended));
    const [checked, parse, keys, nothing, flags] = ends;
    expect(nothing).toEqual({ code: 1, stderr: `flotilla: ${empty}: the file says nothing\n` });
    expect(flags).toEqual({ code: 0, stderr: 'flotilla: configuration is valid\n' });
    expect(checked).toEqual({ code: 0, stderr: `flotilla: configuration file ${good} is valid\n` });
    expect(parse.code).toBe(1);
    expect(parse.stderr).toContain(`${broken}: Parse error on line 2: '`);
    expect(keys.code).toBe(1);
    expect(keys.stderr).toContain(`${wrong}:1: unknown field "prot"; did you mean "port"?\n`);
    expect(keys.stderr).toContain(`${wrong}:3: tls is not supported by this server yet\n`);
  });
});

describe('lame duck mode', () => {
  const started = async (name: string): Promise<Run & { port: number }> => {
    const process = server(join(root, name));
    const [, port] = /127\.0\.0\.1:(\d+)/.exec(await ready(process))!;
    return { ...process, port: Number(port) };
  };

  test('is over at once when nobody is connected', async () => {
    const { child, ended } = await started('lame-alone');
    const before = performance.now();
    child.kill('SIGUSR2');
    expect((await ended).code).toBe(0);
    expect(performance.now() - before).toBeLessThan(8000);
  });

  test('SIGTERM ends it cleanly', async () => {
    const { child, ended, stderr, port } = await started('lame-term');
    const socket = connect(port, '127.0.0.1');
    await new Promise((done) => socket.once('data', done));
    child.kill('SIGUSR2');
    await expect.poll(stderr).toContain('Entering lame duck mode');
    child.kill('SIGTERM');
    expect((await ended).code).toBe(0);
    expect(stderr()).toContain('Trapped "terminated" signal; shutting down');
    socket.destroy();
  });
});

describe('a running server', () => {
  /** Everything that the log says from now on, once it says `line`. */
  async function says(file: string, line: string): Promise<string> {
    await expect.poll(() => readFileSync(file, 'utf8')).toContain(line);
    return readFileSync(file, 'utf8');
  }

  /** Connected as `user`; resolves with what the server says when it ends the connection. */
  function client(port: number, user: string, pass: string): { ended: Promise<string>; ready: Promise<void> } {
    const socket = connect(port, '127.0.0.1');
    let heard = '';
    let open: () => void;
    const ready = new Promise<void>((done) => {
      open = done;
    });
    socket.setEncoding('latin1').on('data', (chunk) => {
      heard += chunk;
      if (heard.includes('PONG')) open();
    });
    socket.write(`CONNECT ${JSON.stringify({ verbose: false, protocol: 1, user, pass })}\r\nPING\r\n`);
    return { ready, ended: new Promise((done) => socket.on('close', () => done(heard))) };
  }

  test('SIGHUP reads the configuration anew: users, limits and log level change, or nothing does', async () => {
    const dir = join(root, 'reload');
    const conf = join(root, 'reload.conf');
    const log = join(root, 'reload.log');
    const pidFile = join(root, 'reload.pid');
    const write = (users: string, more = '') =>
      writeFileSync(
        conf,
        `host: 127.0.0.1, port: -1, jetstream { store_dir: "${dir}" }, log_file: "${log}", pid_file: "${pidFile}"
         authorization { users: [ ${users} ] }
         ${more}`,
      );
    write('{user: a, password: pa}, {user: b, password: pb}');
    const started = run('server', '-c', conf);
    const [, portText] = /127\.0\.0\.1:(\d+)/.exec(await says(log, 'Server is ready'))!;
    const port = Number(portText);
    const [a, b] = [client(port, 'a', 'pa'), client(port, 'b', 'pb')];
    await Promise.all([a.ready, b.ready]);

    write('{user: a, password: pa}, {user: c, password: pc}', 'max_payload: 2KB, debug: true');
    expect(await run('server', '--signal', `reload=${pidFile}`).ended).toEqual({ code: 0, stderr: '' });
    await says(log, 'Reloaded server configuration; changed: auth, limits, debug');
    expect(await b.ended).toContain("-ERR 'Authorization Violation'");
    const c = client(port, 'c', 'pc');
    await c.ready;

    for (const [text, why] of [
      ['port: 1', 'these can not change while it runs: port'],
      ['prot: 1', 'unknown field "prot"'],
      ['jetstream: "', 'Parse error'],
    ]) {
      write('{user: d, password: pd}', text);
      started.child.kill('SIGHUP');
      await says(log, why);
    }
    // Refused as a whole: the users are those of before.
    const again = client(port, 'a', 'pa');
    await again.ready;
    started.child.kill('SIGTERM');
    expect(await started.ended).toEqual({ code: 0, stderr: '' });
    expect(await a.ended).toContain('"max_payload":2048');
    // Told when it came.
    expect(await again.ended).toContain('"max_payload":2048');
    expect(await c.ended).not.toContain('Authorization');
  });

  test('SIGUSR1 goes on in a new log file, and opens no debugger', async () => {
    const log = join(root, 'rotate.log');
    const pidFile = join(root, 'rotate.pid');
    const started = server(join(root, 'rotate'), '-l', log, '-P', pidFile);
    await says(log, 'Server is ready');
    await expect.poll(() => existsSync(pidFile)).toBe(true);
    renameSync(log, `${log}.1`);
    expect(await run('server', '--signal', `reopen=${pidFile}`).ended).toEqual({ code: 0, stderr: '' });
    await says(log, 'File log re-opened');
    started.child.kill('SIGTERM');
    expect(await started.ended).toEqual({ code: 0, stderr: '' });
    expect(readFileSync(log, 'utf8')).toContain('shutting down');
    expect(readFileSync(`${log}.1`, 'utf8')).not.toContain('shutting down');

    const toStderr = server(join(root, 'rotate'));
    await ready(toStderr);
    toStderr.child.kill('SIGUSR1');
    await expect.poll(toStderr.stderr).toContain('File log re-open ignored');
    toStderr.child.kill('SIGTERM');
    const { code, stderr } = await toStderr.ended;
    expect(code).toBe(0);
    expect(stderr).not.toContain('ebugger');
  });

  test('what it compiled outlives a kill', async () => {
    rmSync(compiled, { recursive: true, force: true });
    const started = server(join(root, 'compiling'));
    await ready(started);
    // Written right after the line that says ready.
    await expect.poll(() => readdirSync(compiled, { recursive: true }).length).toBeGreaterThan(100);
    started.child.kill('SIGKILL');
    await started.ended;
  });

  test('signals by name', async () => {
    expect((await run('server', '--signal', 'lmd=1').ended).stderr).toContain('unknown signal "lmd"');
    expect((await run('server', '-sl', 'ldm').ended).stderr).toContain('needs a process');
    expect((await run('server', '-sl', 'term=/nowhere').ended).stderr).toContain('neither a process id nor');
    expect((await run('server', '-sl', 'term=999999999').ended).stderr).toContain('no such process');
    const started = server(join(root, 'signalled'));
    await ready(started);
    expect(await run('server', '-sl', `quit=${started.child.pid}`).ended).toEqual({ code: 0, stderr: '' });
    expect((await started.ended).code).toBe(0);
  });

  test('files that cannot be written are one line each', async () => {
    const never = join(root, 'nofiles');
    expect(await refused(never, '-l', '/nowhere/x.log')).toContain('could not open the log file /nowhere/x.log');
    expect(await refused(never, '-P', '/nowhere/x.pid')).toContain('pid file /nowhere/x.pid is not writable');
    expect(await refused(never, '-P', root)).toBe(`flotilla: pid file ${root}: is a directory`);
    expect(await refused(never, '--ports_file_dir', '/nowhere')).toContain(
      'directory for the ports file /nowhere is not writable',
    );
    expect(await refused(never, '--ports_file_dir', MAIN)).toContain(`${MAIN}: not a directory`);
  });
});

describe('a start that fails changes nothing', () => {
  test('ports that are taken', async () => {
    const holder = createServer();
    await new Promise<void>((done) => holder.listen(0, '127.0.0.1', done));
    const { port } = holder.address() as { port: number };
    const dir = join(root, 'never');
    const busy = `127.0.0.1:${port}, address already in use`;
    expect(await refused(dir, '-p', String(port))).toBe(`flotilla: Error listening on port: ${busy}`);
    expect(await refused(used, '-m', String(port))).toBe(`flotilla: Error listening on monitoring port: ${busy}`);
    const cluster = ['--cluster', `nats://127.0.0.1:${port}`];
    expect(await refused(used, ...cluster)).toBe(`flotilla: Error listening on cluster port: ${busy}`);
    holder.close();
  });

  test('a store directory that is a file, or cannot be made', async () => {
    const file = join(root, 'file');
    writeFileSync(file, 'mine');
    expect(await refused(file)).toContain('storage directory is not a directory');
    if (process.platform === 'linux') {
      expect(await refused('/proc/flotilla')).toContain('could not create storage directory /proc/flotilla');
    }
  });

  test('a directory on a file system that is mounted read-only, before and after its first use', async (context) => {
    const mounts = mountsHere();
    if (typeof mounts === 'string') return context.skip(mounts);
    const lines = (dir: string): string[] => {
      const args = ['server', '-a', '127.0.0.1', '-p', '-1', '-n', 'n1', '-js', '-sd', dir];
      // A bind mount of the directory on itself, read-only, seen by that one process.
      const script = `mount --bind '${dir}' '${dir}' && mount -o remount,bind,ro '${dir}' && exec "$@"`;
      const end = spawnSync('unshare', [...mounts.unshare, 'sh', '-c', script, 'sh', process.execPath, MAIN, ...args], {
        encoding: 'utf8',
        env: plainEnv(),
        timeout: PROCESS_MS_MAX,
      });
      expect(end.status).toBe(1);
      return end.stderr.trim().split('\n');
    };
    const fresh = join(root, 'read-only-fresh');
    mkdirSync(fresh);
    expect(lines(fresh)).toEqual([expect.stringMatching(/^flotilla: could not create storage directory .*read-only/)]);
    expect(picture(fresh)).toBe('');
    const used = join(root, 'read-only-used');
    const first = server(used);
    await ready(first);
    first.child.kill('SIGKILL');
    await first.ended;
    const before = picture(used);
    expect(lines(used)).toEqual([
      expect.stringMatching(/^flotilla: storage directory .* is not writable: .*read-only/),
    ]);
    expect(picture(used)).toBe(before);
  });

  test('a directory that another process holds', async () => {
    const dir = join(root, 'held');
    const owner = server(dir);
    await ready(owner);
    const { code, stderr } = await server(dir).ended;
    expect(stderr).toBe(`flotilla: data directory ${join(dir, 'jetstream')} is in use by process ${owner.child.pid}\n`);
    expect(code).toBe(1);
    owner.child.kill('SIGTERM');
    expect((await owner.ended).code).toBe(0);
  });

  test('a newer format, and an identity that is gone', async () => {
    const store = join(used, 'jetstream');
    const formatFile = join(store, 'wal', 'FORMAT');
    const format = readFileSync(formatFile, 'latin1');
    writeFileSync(formatFile, newerFormat(format));
    expect(await refused(used)).toContain('has format 99, this release reads format');
    writeFileSync(formatFile, format);
    for (const name of ['identity', 'identity.copy']) rmSync(join(store, name));
    expect(await refused(used)).toContain('no identity; move them away to join as a new node');
    for (const name of ['identity', 'identity.copy']) writeFileSync(join(store, name), 'damaged');
    expect(await refused(used)).toContain('both copies of the identity file are damaged');
  });
});

test('a cluster that can not form says why within seconds', async () => {
  const ports = await freePorts(2);
  const routes = ports.map((port) => `127.0.0.1:${port}`).join();
  const twins = ports.map((port, i) =>
    server(join(root, `twin${i}`), '--cluster', `127.0.0.1:${port}`, '--cluster_name', 'twins', '--routes', routes),
  );
  await expect.poll(() => twins[0].stderr(), { timeout: 30_000 }).toContain('two nodes have the same name: n1, n1');
  for (const twin of twins) twin.child.kill('SIGTERM');
  for (const twin of twins) expect((await twin.ended).code).toBe(0);
});

describe('a cluster that is stopped', () => {
  test('a node that hangs is waited for, until one asks again', async () => {
    const data = join(root, 'hangs');
    const started = run('start', '--nodes', '1', '-p', String(await firstPort()), '--data', data);
    const [, pid] = /\[(\d+)\] .*Server is ready/.exec(await ready(started))!;
    process.kill(Number(pid), 'SIGSTOP');
    started.child.kill('SIGTERM');
    await new Promise((resume) => setTimeout(resume, 1500));
    expect(started.child.exitCode).toBeNull();
    started.child.kill('SIGTERM');
    expect((await started.ended).code).toBe(0);
    expect(existsSync(join(data, 'n1', 'jetstream', 'identity'))).toBe(true);
    expect(() => process.kill(Number(pid), 0)).toThrow('ESRCH');
  });

  /** A client port whose monitoring and cluster ports are free as well. */
  async function firstPort(): Promise<number> {
    const [port] = await freePorts(1);
    const others = await Promise.all([port + 2000, port + 4000].map(isFree));
    return others.every(Boolean) ? port : firstPort();
  }

  function isFree(port: number): Promise<boolean> {
    return new Promise((done) => {
      const probe = createServer().once('error', () => done(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => done(true)));
    });
  }
});

describe('a cluster that is not started', () => {
  const notStarted = async (...args: string[]): Promise<string> => {
    const { code, stderr } = await run('start', ...args).ended;
    expect(code).toBe(1);
    expect(stderr.trimEnd().split('\n'), stderr).toHaveLength(1);
    return stderr.trimEnd();
  };

  test('a size, a node or a port that there is not', async () => {
    const data = join(root, 'never');
    const lines = await Promise.all([
      ...['0', '2', '4', '7'].map((size) => notStarted('--nodes', size, '--data', data)),
      notStarted('--nodes', 'x', '--data', data),
      notStarted('--nodes=', '--data', data),
      notStarted('--node', '4', '--data', data),
      notStarted('-p', '62000', '--data', data),
      notStarted('--nod', '3', '--data', data),
    ]);
    expect(lines).toEqual([
      ...['0', '2', '4', '7'].map((size) => `flotilla: --nodes must be 1, 3 or 5, not ${size}`),
      'flotilla: --nodes needs a whole number, not "x"',
      'flotilla: --nodes needs a whole number, not ""',
      'flotilla: --node must be 1 to 3',
      'flotilla: -p must be 1 to 61533, not 62000',
      'flotilla: unknown flag --nod; did you mean --node?',
    ]);
    expect(existsSync(data)).toBe(false);
  });

  test('a part of the cluster that the data is of', async () => {
    const data = join(root, 'five');
    mkdirSync(join(data, 'n4', 'jetstream'), { recursive: true });
    const before = picture(data);
    expect(await notStarted('--data', data)).toBe(
      `flotilla: ${data} holds more than 3 nodes (n4): start it with --nodes 5, or empty with --fresh. Nothing was started or changed.`,
    );
    expect(await notStarted('--data', data, '--node', '2', '--fresh')).toContain('holds more than 3 nodes');
    expect(picture(data)).toBe(before);
  });
});
