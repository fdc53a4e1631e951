// Nothing that a run has started outlives it, whichever way the run ends.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const CHILD = join(import.meta.dirname, '../../conformance/child.ts');

/** The pid of what a process started that then ended so. */
function startedBy(ending: string): Promise<number> {
  const wait = JSON.stringify('setInterval(() => {}, 1000)');
  const code = `import { spawnOwned } from ${JSON.stringify(CHILD)};
    const child = spawnOwned(process.execPath, ['-e', ${wait}], { stdio: 'ignore' });
    process.stdout.write(String(child.pid), () => { ${ending} });`;
  return new Promise((resolve) => {
    execFile(process.execPath, ['--input-type=module', '-e', code], (_error, stdout) => resolve(Number(stdout)));
  });
}

test.each(['process.exit(0)', 'setTimeout(() => { throw new Error("crash"); })', 'Promise.reject(new Error("crash"))'])(
  '%s',
  async (ending) => {
    const pid = await startedBy(ending);
    expect(pid).toBeGreaterThan(1);
    // Killed, it may still be waiting for somebody to take note of that.
    await expect.poll(() => existsSync(`/proc/${pid}/exe`)).toBe(false);
  },
);
