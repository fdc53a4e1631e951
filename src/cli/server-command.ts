// `flotilla server`: one node from flags and a configuration file, until a signal. Exit codes: 0 clean end, 1 could not start (one line says why).
import { randomBytes } from 'node:crypto';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NATS_VERSION } from '../kit/version.ts';
import { StartError, type StartedServer, startServer } from '../server.ts';
import type { FileFindings } from './config-file.ts';
import { loadConfigFile } from './config-load.ts';
import { helpOf } from './flags.ts';
import { parseServerFlags, SERVER_FLAGS, type ServerConfig, serverConfigOf } from './server-config.ts';

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
  if (parsed.rest.length > 0) return fail(`unrecognized argument "${parsed.rest[0]}"`);
  const configFile = parsed.values.config as string | undefined;
  const file: FileFindings = configFile
    ? loadConfigFile(configFile, process.env)
    : { settings: { limits: {} }, errors: [], warnings: [] };
  const result = serverConfigOf(parsed.values, process.env, randomBytes(6).toString('hex'), file.settings);
  for (const warning of file.warnings) complain(`warning: ${warning}`);
  if (!result.ok || file.errors.length > 0) {
    // What the flags and the file contradict each other in is told when the file itself is sound.
    for (const error of file.errors.length > 0 || result.ok ? file.errors : result.errors) complain(error);
    return 1;
  }
  if (parsed.values.test) {
    complain(`configuration${configFile ? ` file ${configFile}` : ''} is valid`);
    return 0;
  }
  const { config } = result;
  let started: StartedServer;
  try {
    started = await startServer(config);
  } catch (error) {
    if (error instanceof StartError) return fail(error.message);
    throw error;
  }
  const portsFile = writePidAndPorts(config, started);
  const code = await untilSignal(started);
  for (const file of [config.pidFile, portsFile]) if (file) rmSync(file, { force: true });
  return code;
}

/** SIGTERM and SIGINT end cleanly, SIGUSR2 is lame duck mode; a second signal does not wait. */
function untilSignal(started: StartedServer): Promise<number> {
  return new Promise((done) => {
    let ending = false;
    const end = (how: 'close' | 'lameDuck', signal: string): void => {
      if (ending) {
        if (how === 'close') done(1);
        return;
      }
      ending = true;
      started.log.info(how === 'close' ? `Trapped "${signal}" signal; shutting down` : 'Entering lame duck mode');
      started[how]().then(
        () => done(0),
        (error: unknown) => {
          started.log.error(`shutdown: ${String(error)}`);
          done(1);
        },
      );
    };
    process.on('SIGTERM', () => end('close', 'terminated'));
    process.on('SIGINT', () => end('close', 'interrupt'));
    process.on('SIGUSR2', () => end('lameDuck', 'user defined signal 2'));
    process.on('SIGHUP', () => started.log.warn('reload is not supported yet; the configuration stays as it is'));
  });
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
