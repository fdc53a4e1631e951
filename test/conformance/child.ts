// Processes that must not outlive the one that started them: nodes under test, proxies. Called by target.ts and chaos/toxiproxy.ts.
// Invariant: whichever way this process exits, by an uncaught error too, what still runs is killed, by its own handle. A signal that is
// not handled ends a process without its exit handlers: whoever starts children handles those.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';

const running = new Set<ChildProcess>();

process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export function spawnOwned(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  const child = spawn(command, args, options);
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

/** Is there a process with this pid? */
export function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false;
    throw error;
  }
}
