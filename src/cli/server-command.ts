// `flotilla server`: one node from flags and a configuration file, until a signal. Exit codes: 0 clean end, 1 could not start (one line says why).
import { randomBytes } from 'node:crypto';
import { accessSync, constants, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { dirname, join } from 'node:path';
import { NATS_VERSION } from '../kit/version.ts';
import { StartError, type StartedServer, startServer } from '../server.ts';
import type { FileFindings } from './config-file.ts';
import { loadConfigFile } from './config-load.ts';
import { helpOf } from './flags.ts';
import { planReload } from './reload.ts';
import { parseServerFlags, SERVER_FLAGS, type ServerConfig, serverConfigOf } from './server-config.ts';
import { sendSignal } from './signal.ts';

export async function server(args: readonly string[]): Promise<number> {
  const parsed = parseServerFlags(args);
  if (!parsed.ok) return fail(parsed.error);
  if (parsed.values.help) {
    process.stdout.write(`usage: flotilla server [flags]\n\n${helpOf(SERVER_FLAGS)}\n`);
    return 0;
  }
  if (parsed.values.version) {
    process.stdout.write(`nats-server: v${NATS_VERSION}\n`);
    return 0;
  }
  if (parsed.values.signal !== undefined) {
    const problem = sendSignal(String(parsed.values.signal));
    return problem === undefined ? 0 : fail(problem);
  }
  if (parsed.rest.length > 0) return fail(`unrecognized argument "${parsed.rest[0]}"`);
  const configFile = parsed.values.config as string | undefined;
  const randomName = randomBytes(6).toString('hex');
  const read = (): { config: ServerConfig | undefined; errors: string[]; warnings: string[] } => {
    const file: FileFindings = configFile
      ? loadConfigFile(configFile, process.env)
      : { settings: { limits: {} }, errors: [], warnings: [] };
    const result = serverConfigOf(parsed.values, process.env, randomName, file.settings);
    const { warnings } = file;
    // What the flags and the file contradict each other in is told when the file itself is sound.
    if (file.errors.length > 0) return { config: undefined, errors: file.errors, warnings };
    return result.ok
      ? { config: result.config, errors: [], warnings }
      : { config: undefined, errors: result.errors, warnings };
  };
  const { config, errors, warnings } = read();
  for (const warning of warnings) complain(`warning: ${warning}`);
  if (config === undefined) {
    for (const error of errors) complain(error);
    return 1;
  }
  if (parsed.values.test) {
    complain(`configuration${configFile ? ` file ${configFile}` : ''} is valid`);
    return 0;
  }
  const unwritable = unwritableOf(config);
  if (unwritable !== undefined) return fail(unwritable);
  let started: StartedServer;
  try {
    started = await startServer(config);
  } catch (error) {
    if (error instanceof StartError) return fail(error.message);
    throw error;
  }
  const portsFile = writePidAndPorts(config, started);
  // A node that is killed leaves what it has compiled to the next one as well (runtime.mjs).
  flushCompileCache();
  let current = config;
  const reload = (): void => {
    const { log } = started;
    log.info('Trapped "hangup" signal; reloading the configuration');
    const again = configFile === undefined ? undefined : read();
    const plan = again?.config && planReload(current, again.config);
    let problem: string | undefined;
    if (again === undefined) problem = 'there is no configuration file (-c)';
    else if (plan === undefined) problem = again.errors.join('; ');
    else if (plan.refused.length > 0) problem = `these can not change while it runs: ${plan.refused.join(', ')}`;
    if (problem !== undefined || again?.config === undefined || plan === undefined) {
      log.error(`Failed to reload server configuration: ${problem}`);
      return;
    }
    current = again.config;
    started.reload(current);
    log.info(`Reloaded server configuration; changed: ${plan.changed.join(', ') || 'nothing'}`);
  };
  const code = await untilSignal(started, reload, () => reopenLog(started));
  for (const file of [config.pidFile, portsFile]) if (file) rmSync(file, { force: true });
  return code;
}

function reopenLog({ log }: StartedServer): void {
  try {
    log.info(log.reopen() ? 'File log re-opened' : 'File log re-open ignored, not a file logger');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
    log.error(`could not re-open the log file: ${error.message}`);
  }
}

/**
 * SIGTERM and SIGINT end cleanly, also in lame duck mode (SIGUSR2); when they have come before, the end does not wait. SIGHUP reads the
 * configuration anew, SIGUSR1 re-opens the log file (the runtime would open a debugger's port otherwise).
 */
function untilSignal(started: StartedServer, reload: () => void, reopen: () => void): Promise<number> {
  return new Promise((done) => {
    let ending: 'lameDuck' | 'close' | undefined;
    const end = (how: 'close' | 'lameDuck', saying: string): void => {
      if (ending === 'close') {
        if (how === 'close') done(1);
        return;
      }
      if (ending === how) return;
      ending = how;
      started.log.info(saying);
      started[how]().then(
        () => done(0),
        (error: unknown) => {
          started.log.error(`shutdown: ${String(error)}`);
          done(1);
        },
      );
    };
    process.on('SIGTERM', () => end('close', 'Trapped "terminated" signal; shutting down'));
    process.on('SIGINT', () => end('close', 'Trapped "interrupt" signal; shutting down'));
    process.on('SIGUSR2', () => end('lameDuck', 'Entering lame duck mode, stop accepting new clients'));
    process.on('SIGHUP', reload);
    process.on('SIGUSR1', reopen);
  });
}

/** Why a file that tells of the running server could not be written; looked at before anything is made. */
function unwritableOf({ pidFile, portsFileDir }: ServerConfig): string | undefined {
  const wanted = [
    { what: 'pid file', path: pidFile, isDirectory: false },
    { what: 'directory for the ports file', path: portsFileDir, isDirectory: true },
  ];
  for (const { what, path, isDirectory } of wanted) {
    if (path === undefined) continue;
    try {
      const stats = statSync(path, { throwIfNoEntry: isDirectory });
      if (stats !== undefined && stats.isDirectory() !== isDirectory)
        return `${what} ${path}: ${isDirectory ? 'not' : 'is'} a directory`;
      accessSync(stats === undefined ? dirname(path) : path, constants.W_OK);
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      return `${what} ${path} is not writable: ${error.message}`;
    }
  }
  return undefined;
}

function writePidAndPorts(config: ServerConfig, started: StartedServer): string | undefined {
  if (config.pidFile) writeFileSync(config.pidFile, String(process.pid));
  if (!config.portsFileDir) return undefined;
  const list = (url: string): string[] => (url === '' ? [] : [url]);
  const ports = {
    nats: list(started.clientUrl),
    monitoring: list(started.monitorUrl),
    cluster: list(started.clusterUrl).map((url) => `nats://${url}`),
  };
  const file = join(config.portsFileDir, `nats-server_${process.pid}.ports`);
  writeFileSync(`${file}.tmp`, JSON.stringify(ports));
  renameSync(`${file}.tmp`, file);
  return file;
}

function complain(text: string): void {
  process.stderr.write(`flotilla: ${text}\n`);
}

function fail(text: string): number {
  complain(text);
  return 1;
}
