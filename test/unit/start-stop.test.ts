// A node that is stopped while it is still finding out who it is: its cluster's formation, its stores being opened. Nothing of it may
// touch the directory once `close` is over, for the directory may be another process's by then.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseServerFlags, serverConfigOf } from '../../src/cli/server-config.ts';
import { type StartedServer, startServer } from '../../src/server.ts';

const filesBelow = (dir: string): string[] => readdirSync(dir, { recursive: true }).map(String).sort();
const pause = (ms: number): Promise<void> => new Promise((resume) => setTimeout(resume, ms));

/** Unlike startNode it does not wait until the node is healthy. */
function begin(storeDir: string): Promise<StartedServer> {
  const parsed = parseServerFlags(['-a=127.0.0.1', '-p=-1', '-m=-1', '-n=brief', '-js', `-sd=${storeDir}`]);
  const result = parsed.ok ? serverConfigOf(parsed.values, {}, 'n1') : { ok: false as const, errors: [parsed.error] };
  if (!result.ok) throw new Error(result.errors.join());
  return startServer(result.config);
}

test('a node closed at any moment of its start leaves its directory alone afterwards', async () => {
  const exitListeners: number[] = [];
  for (let waitMs = 0; waitMs < 20; waitMs++) {
    const storeDir = mkdtempSync(join(tmpdir(), 'flotilla-start-stop-'));
    const node = await begin(storeDir);
    await pause(waitMs);
    await node.close();
    const files = filesBelow(storeDir);
    expect(files.filter((file) => file.endsWith('.tmp') || file.includes('quarantine/'))).toEqual([]);
    rmSync(storeDir, { recursive: true });
    await pause(5);
    expect(() => readdirSync(storeDir)).toThrow('ENOENT');
    exitListeners.push(process.listenerCount('exit'));
  }
  // What the first one loads may listen for good; no node adds to it.
  expect(exitListeners.at(-1)).toBe(exitListeners[0]);
});
