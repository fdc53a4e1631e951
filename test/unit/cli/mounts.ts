// Mounts that only one test's processes see, in a mount namespace of their own: small disks, read-only directories. Called by tests of real
// processes. Invariant: a machine that refuses such mounts (a container without the right to make them, also for root) is told from one
// where they fail for another reason: that is an error, never a test left out in silence.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Arguments that open a namespace, and those that enter it, both before the command. */
export interface Mounts {
  unshare: string[];
  nsenter: string[];
}

/** As root; and as whoever we are, mapped to root in a user namespace. */
const WAYS: Mounts[] = [
  { unshare: ['-m'], nsenter: ['-m'] },
  { unshare: ['-Urm'], nsenter: ['-U', '-m', '--preserve-credentials'] },
];

/** All that the tests do, once. */
const PROBE = `mount -t tmpfs -o size=1m tmpfs small && mount -o remount,size=2m small &&
  mount --bind still still && mount -o remount,bind,ro still`;

/** How mounts are made here, or the machine's words when it refuses them. */
export function mountsHere(): Mounts | string {
  const dir = mkdtempSync(join(tmpdir(), 'flotilla-mounts-'));
  mkdirSync(join(dir, 'small'));
  mkdirSync(join(dir, 'still'));
  const refusals: string[] = [];
  try {
    for (const way of WAYS) {
      const end = spawnSync('unshare', [...way.unshare, 'sh', '-c', PROBE], {
        cwd: dir,
        encoding: 'utf8',
        env: { ...process.env, LC_ALL: 'C' },
      });
      if (end.status === 0) return way;
      const words = end.error?.message ?? end.stderr.trim();
      // The last: user namespaces are limited to none.
      if (!/ENOENT|not permitted|denied|superuser|No space left/i.test(words)) {
        throw new Error(`mounts in a namespace of their own: ${words}`);
      }
      refusals.push(words);
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  return `mounts in a namespace of their own are refused: ${refusals.join('; ')}`;
}
