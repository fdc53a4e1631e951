// The data directory's lock: one process per directory. The composition root takes it before anything reads or writes there. The file
// names the process by pid and start time, so that neither a crash nor a reused pid (pid 1 of a container) keeps
// a directory locked. Two machines sharing one directory are not detected by it; peers refuse the second incarnation.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';

export const LOCK_FILE = 'LOCK';

export interface DataDirLock {
  release(): void;
}

interface Owner {
  pid: number;
  started: string;
}

/** Identifies one life of a pid: boot id and start tick on Linux, else what `ps` says; '' when there is no such process. */
export function processStart(pid: number): string {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1');
    const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    // The second field is the command in parentheses and may hold spaces; start time is field 22.
    return `${boot}/${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`;
  } catch {
    if (fs.existsSync('/proc/self/stat')) return '';
  }
  try {
    return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'latin1' }).trim();
  } catch {
    return '';
  }
}

function readOwner(file: string): Owner | undefined {
  try {
    const [pid, started] = fs.readFileSync(file, 'latin1').split('\n');
    return /^\d+$/.test(pid) && started !== undefined ? { pid: Number(pid), started } : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function create(file: string, owner: Owner): boolean {
  // The content is complete before the name exists: link() fails when another process was first.
  const mine = `${file}.${owner.pid}`;
  fs.writeFileSync(mine, `${owner.pid}\n${owner.started}\n`);
  try {
    fs.linkSync(mine, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    fs.unlinkSync(mine);
  }
}

/** Throws an Error that names the owner when another living process holds the directory. */
export function lockDataDir(dir: string): DataDirLock {
  fs.mkdirSync(dir, { recursive: true });
  const file = path.join(dir, LOCK_FILE);
  const self: Owner = { pid: process.pid, started: processStart(process.pid) };
  while (!create(file, self)) {
    const owner = readOwner(file);
    if (owner !== undefined && owner.started !== '' && processStart(owner.pid) === owner.started) {
      throw new Error(`data directory ${dir} is in use by process ${owner.pid}`);
    }
    takeAside(file, owner, dir);
  }
  let held = true;
  return {
    release() {
      if (!held) return;
      held = false;
      const owner = readOwner(file);
      if (owner?.pid === self.pid && owner.started === self.started) fs.unlinkSync(file);
    },
  };
}

/** Removes a stale lock. A process that lost the race moves the new owner's lock by mistake: it sees that, puts it back, gives up. */
function takeAside(file: string, stale: Owner | undefined, dir: string): void {
  const aside = `${file}.stale.${process.pid}`;
  try {
    fs.renameSync(file, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const moved = readOwner(aside);
  if (moved !== undefined && (moved.pid !== stale?.pid || moved.started !== stale.started)) {
    fs.renameSync(aside, file);
    throw new Error(`data directory ${dir} is in use by process ${moved.pid}`);
  }
  fs.unlinkSync(aside);
}
