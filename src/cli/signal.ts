// `flotilla server --signal <what>=<pid or pid file>`: sends a running server the signal that means `what`, as nats-server does.
import { readFileSync } from 'node:fs';

const SIGNALS: Record<string, NodeJS.Signals> = {
  stop: 'SIGKILL',
  quit: 'SIGINT',
  term: 'SIGTERM',
  reopen: 'SIGUSR1',
  reload: 'SIGHUP',
  ldm: 'SIGUSR2',
};

/** Undefined: sent. */
export function sendSignal(text: string): string | undefined {
  const at = text.indexOf('=');
  const what = at < 0 ? text : text.slice(0, at);
  const target = at < 0 ? '' : text.slice(at + 1);
  const signal = Object.hasOwn(SIGNALS, what) ? SIGNALS[what] : undefined;
  if (signal === undefined) return `unknown signal "${what}"; known are ${Object.keys(SIGNALS).join(', ')}`;
  if (target === '') return `--signal ${what} needs a process: --signal ${what}=<pid or pid file>`;
  const pid = /^\d+$/.test(target) ? Number(target) : pidOfFile(target);
  if (pid === undefined) return `${target} is neither a process id nor a readable file with one`;
  try {
    process.kill(pid, signal);
    return undefined;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return `could not signal process ${pid}: ${(error as NodeJS.ErrnoException).code === 'ESRCH' ? 'no such process' : error.message}`;
  }
}

function pidOfFile(file: string): number | undefined {
  try {
    const pid = Number(readFileSync(file, 'utf8').trim());
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  } catch (error) {
    if (error instanceof Error && 'code' in error) return undefined;
    throw error;
  }
}
