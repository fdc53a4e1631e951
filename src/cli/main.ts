// `flotilla …`: one table of commands. Each takes its arguments and returns the exit code.
import { fileURLToPath } from 'node:url';
import { FLOTILLA_VERSION, NATS_VERSION } from '../kit/version.ts';
import { nearestName } from './flags.ts';

interface Command {
  help: string;
  run(args: readonly string[]): Promise<number>;
}

const MAIN_FILE = fileURLToPath(import.meta.url);

// Commands load their code when they run: a server starts without the client library, a client without the server.
const COMMANDS: Record<string, Command> = {
  start: {
    help: 'a cluster on this machine (npm start): --nodes 3, --fresh, --node i',
    run: async (args) => (await import('./start.ts')).start(args, MAIN_FILE),
  },
  server: {
    help: 'one node; flags as nats-server (flotilla server --help)',
    run: async (args) => (await import('./server-command.ts')).server(args),
  },
  pub: {
    help: 'publish: flotilla pub <subject> <text> [--count n] [--stream S] [-s url]',
    run: async (args) => (await import('./client-commands.ts')).pub(args),
  },
  sub: {
    help: 'subscribe, or read a stream from its start: flotilla sub <subject> [--stream S] [-s url]',
    run: async (args) => (await import('./client-commands.ts')).sub(args),
  },
  status: {
    help: 'is anything at risk? exit code 0 no, 1 yes, 2 nobody answers: [--json] [-m host:8222]',
    run: async (args) => (await import('./status-command.ts')).status(args),
  },
  top: {
    help: 'nodes, leaders, rates, lag and alarms, refreshed each second: [--once] [-m host:8222]',
    run: async (args) => (await import('./status-command.ts')).top(args),
  },
  load: {
    help: 'steady traffic for trying a cluster: [-s url,url] [--rate n] [--seconds n]',
    run: async (args) => (await import('./load-command.ts')).load(args),
  },
  version: {
    help: 'print the version',
    run: async () => {
      process.stdout.write(`flotilla ${FLOTILLA_VERSION} (speaks NATS ${NATS_VERSION})\n`);
      return 0;
    },
  },
};

function usage(): string {
  const rows = Object.entries(COMMANDS).map(([name, command]) => `  ${name.padEnd(8)} ${command.help}`);
  return `usage: flotilla <command> [flags]\n\n${rows.join('\n')}\n`;
}

async function main(argv: readonly string[]): Promise<number> {
  const [name, ...args] = argv;
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    process.stdout.write(usage());
    return 0;
  }
  if (name === '--version' || name === '-v') return await COMMANDS.version.run(args);
  const command = COMMANDS[name];
  if (command === undefined) {
    const nearest = nearestName(name, Object.keys(COMMANDS));
    process.stderr.write(`flotilla: unknown command ${name}${nearest ? `; did you mean ${nearest}?` : ''}\n${usage()}`);
    return 1;
  }
  return await command.run(args);
}

const code = await main(process.argv.slice(2));
process.exit(code);
