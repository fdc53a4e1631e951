// Mounts that only one test's processes see, in a mount namespace of their own: small disks, read-only directories. Called by tests of real
// processes. Invariant: a test is left out only when the machine refuses (a container without the right to mount, also for root), in its own
// words; commands that are wrong are an error.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Mounts {
  /** Arguments that open a namespace, and those that enter it, both before the command. */
  unshare: string[];
  nsenter: string[];
  /** Those of `mount` before the options with which a mounted file system is changed. */
  change: string[];
}

const AS_ROOT: Mounts = { unshare: ['-m'], nsenter: ['-m'], change: [] };
/** As whoever we are, mapped to root. What is mounted there names its owner as seen from outside, which the change must not repeat. */
const AS_USER: Mounts = {
  unshare: ['-Urm'],
  nsenter: ['-U', '-m', '--preserve-credentials'],
  change: ['--options-mode', 'ignore'],
};

/** All that the tests do, once. */
const probe = ({ change }: Mounts): string =>
  `mount -t tmpfs -o size=1m tmpfs small && mount ${change.join(' ')} -o remount,size=2m small &&
  mount --bind still still && mount -o remount,bind,ro still`;

/** How mounts are made here, or the machine's words when it refuses them. */
export function mountsHere(): Mounts | string {
  const dir = mkdtempSync(join(tmpdir(), 'flotilla-mounts-'));
  mkdirSync(join(dir, 'small'));
  mkdirSync(join(dir, 'still'));
  const tried = (way: Mounts): string => {
    const end = spawnSync('unshare', [...way.unshare, 'sh', '-c', probe(way)], {
      cwd: dir,
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
    });
    return end.status === 0 ? '' : (end.error?.message ?? end.stderr.trim());
  };
  try {
    const refusal = tried(AS_ROOT);
    if (refusal === '') return AS_ROOT;
    if (/usage:|option|syntax/i.test(refusal.replace('bad option', ''))) throw new Error(`mounts: ${refusal}`);
    return tried(AS_USER) === '' ? AS_USER : `mounts of their own are refused: ${refusal}`;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
