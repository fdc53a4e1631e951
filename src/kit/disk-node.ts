// Disk on node:fs callbacks. Only env-node.ts creates it. Invariants: calls on one file run one after the other, so they
// complete in order; a partial write is continued; replace is temp, fsync, rename, fsync of the directory; reads
// and file management never occupy the last two threads of the pool, which belong to log writes and syncs.
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { Disk, DiskCallback, DiskFile } from './env.ts';
import { gatherParts, restOf } from './gather.ts';

const POOL_THREADS = Math.max(1, Number(process.env['UV_THREADPOOL_SIZE'] ?? '4') || 4);

/** Lets at most `width` operations run at once; the others wait in order. */
class Gate {
  private readonly width: number;
  private running = 0;
  private readonly waiting: ((leave: () => void) => void)[] = [];
  private readonly leave = () => {
    this.running--;
    const next = this.waiting.shift();
    if (next !== undefined) this.start(next);
  };

  constructor(width: number) {
    this.width = width;
  }

  enter(operation: (leave: () => void) => void): void {
    if (this.running < this.width) this.start(operation);
    else this.waiting.push(operation);
  }

  private start(operation: (leave: () => void) => void): void {
    this.running++;
    operation(this.leave);
  }
}

/** What is under way on the disk; whoever gives the directory up waits for the end of it. */
class Activity {
  private count = 0;
  private readonly waiting: (() => void)[] = [];

  begin(): void {
    this.count++;
  }

  end(): void {
    this.count--;
    if (this.count === 0) for (const wake of this.waiting.splice(0)) this.whenIdle(wake);
  }

  /** `done` runs in a later turn: what the last completion goes on to do is waited for as well. */
  whenIdle(done: () => void): void {
    if (this.count > 0) this.waiting.push(done);
    else setImmediate(() => (this.count === 0 ? done() : this.waiting.push(done)));
  }
}

/** Writes of up to this size go to the page cache in the loop itself (0.1 ms, less than two threads' wake-ups)… */
const NOW_BYTES_MAX = 256 * 1024;
/** …unless one of them had to wait for the disk: then they are left to the threads for a while. */
const NOW_MS_MAX = 5;
const NOT_NOW_MS = 1_000;

class PageCache {
  private backMs = 0;

  get isQuick(): boolean {
    return performance.now() >= this.backMs;
  }

  wrote(tookMs: number): void {
    if (tookMs > NOW_MS_MAX) this.backMs = performance.now() + NOT_NOW_MS;
  }
}

class NodeDiskFile implements DiskFile {
  private readonly fd: number;
  private readonly gate: Gate;
  private readonly pageCache: PageCache;
  private readonly activity: Activity;
  private readonly queue: (() => void)[] = [];
  private busy = false;
  private closing = false;

  constructor(fd: number, gate: Gate, pageCache: PageCache, activity: Activity) {
    this.fd = fd;
    this.gate = gate;
    this.pageCache = pageCache;
    this.activity = activity;
  }

  write(buffers: readonly Uint8Array[], position: number, done: DiskCallback): void {
    const gathered = gatherParts(buffers);
    this.run(() => {
      // writev refuses an empty list.
      if (gathered.length === 0) setImmediate(() => this.finish(() => done(null)));
      else if (isShort(gathered) && this.pageCache.isQuick) this.writeNow(gathered, position, done);
      else this.writeAll(gathered, position, done);
    });
  }

  /** Into the page cache, which is cheaper than a thread's wake-up and the loop's. */
  private writeNow(buffers: Uint8Array[], position: number, done: DiskCallback): void {
    const beganMs = performance.now();
    let written = 0;
    let failure: Error | null = null;
    try {
      written = fs.writevSync(this.fd, buffers, position);
    } catch (error) {
      failure = error as Error;
    }
    this.pageCache.wrote(performance.now() - beganMs);
    process.nextTick(() => {
      const rest = failure === null ? restOf(buffers, written) : [];
      if (rest.length > 0) this.writeAll(rest, position + written, done);
      else this.finish(() => done(failure));
    });
  }

  sync(done: DiskCallback): void {
    this.run(() => fs.fdatasync(this.fd, (error) => this.finish(() => done(error))));
  }

  read(position: number, length: number, done: (error: Error | null, bytes: Uint8Array) => void): void {
    this.run(() => {
      this.gate.enter((leave) => {
        const bytes = Buffer.allocUnsafeSlow(length);
        const next = (at: number) => {
          fs.read(this.fd, bytes, at, length - at, position + at, (error, count) => {
            if (error === null && count > 0 && at + count < length) {
              next(at + count);
              return;
            }
            leave();
            this.finish(() => done(error, error === null ? bytes.subarray(0, at + count) : bytes.subarray(0, 0)));
          });
        };
        next(0);
      });
    });
  }

  truncate(length: number, done: DiskCallback): void {
    this.run(() => fs.ftruncate(this.fd, length, (error) => this.finish(() => done(error))));
  }

  close(): void {
    if (this.closing) return;
    this.run(() => fs.close(this.fd, () => this.finish(() => undefined)));
    this.closing = true;
  }

  private run(operation: () => void): void {
    if (this.closing) throw new Error('disk: the file was closed');
    if (this.busy) {
      this.queue.push(operation);
      return;
    }
    this.busy = true;
    this.activity.begin();
    operation();
  }

  /** The completion runs while busy is still held: what it calls comes after what already waits. */
  private finish(completion: () => void): void {
    completion();
    const next = this.queue.shift();
    if (next !== undefined) {
      next();
      return;
    }
    this.busy = false;
    this.activity.end();
  }

  private writeAll(buffers: Uint8Array[], position: number, done: DiskCallback): void {
    fs.writev(this.fd, buffers, position, (error, written) => {
      if (error !== null) {
        this.finish(() => done(error));
        return;
      }
      const rest = restOf(buffers, written);
      if (rest.length === 0) this.finish(() => done(null));
      else if (written === 0) this.finish(() => done(new Error('disk: a write made no progress')));
      else this.writeAll(rest, position + written, done);
    });
  }
}

function isShort(buffers: readonly Uint8Array[]): boolean {
  let bytes = 0;
  for (const { length } of buffers) bytes += length;
  return bytes <= NOW_BYTES_MAX;
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

function syncDirSync(dir: string): void {
  const fd = fs.openSync(dir, 'r');
  try {
    fs.fsyncSync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

function writeAllSync(fd: number, bytes: Uint8Array): void {
  let at = 0;
  while (at < bytes.length) at += fs.writeSync(fd, bytes, at, bytes.length - at, at);
}

class NodeDisk implements NodeDirectory {
  private readonly root: string;
  private readonly gate = new Gate(Math.max(1, POOL_THREADS - 2));
  private readonly pageCache = new PageCache();
  private readonly activity = new Activity();
  /** Replacements of one path follow each other; the temporary name is fixed, so a crash leaves at most one behind. */
  private readonly replacing = new Map<string, (() => void)[]>();

  constructor(root: string) {
    this.root = path.resolve(root);
  }

  absolute(relative: string): string {
    return path.join(this.root, relative);
  }

  mkdirSync(dir: string): void {
    let at = this.root;
    if (!fs.existsSync(at)) {
      const first = fs.mkdirSync(at, { recursive: true });
      if (first !== undefined) syncDirSync(path.dirname(first));
    }
    for (const name of dir.split('/')) {
      if (name === '' || name === '.') continue;
      const parent = at;
      at = path.join(at, name);
      if (fs.existsSync(at)) continue;
      fs.mkdirSync(at);
      syncDirSync(parent);
    }
  }

  listSync(dir: string): string[] {
    try {
      return fs.readdirSync(this.absolute(dir)).sort();
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }

  readSync(file: string): Uint8Array | undefined {
    try {
      return fs.readFileSync(this.absolute(file));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  sizeSync(file: string): number | undefined {
    return fs.statSync(this.absolute(file), { throwIfNoEntry: false })?.size;
  }

  readRangeSync(file: string, position: number, length: number): Uint8Array {
    const fd = fs.openSync(this.absolute(file), 'r');
    try {
      const bytes = Buffer.allocUnsafeSlow(length);
      let at = 0;
      while (at < length) {
        const count = fs.readSync(fd, bytes, at, length - at, position + at);
        if (count === 0) break;
        at += count;
      }
      return bytes.subarray(0, at);
    } finally {
      fs.closeSync(fd);
    }
  }

  replaceSync(file: string, bytes: Uint8Array): void {
    const target = this.absolute(file);
    const temp = `${target}.tmp`;
    const fd = fs.openSync(temp, 'w');
    try {
      writeAllSync(fd, bytes);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
    fs.renameSync(temp, target);
    syncDirSync(path.dirname(target));
  }

  renameSync(from: string, to: string): void {
    const source = this.absolute(from);
    const target = this.absolute(to);
    this.mkdirSync(path.posix.dirname(to));
    fs.renameSync(source, target);
    syncDirSync(path.dirname(target));
    syncDirSync(path.dirname(source));
  }

  truncateSync(file: string, length: number): void {
    const fd = fs.openSync(this.absolute(file), 'r+');
    try {
      fs.ftruncateSync(fd, length);
      fs.fsyncSync(fd);
    } finally {
      fs.closeSync(fd);
    }
  }

  open(
    file: string,
    mode: 'create' | 'write' | 'read',
    done: (error: Error | null, file: DiskFile | null) => void,
  ): void {
    const flags = mode === 'create' ? 'wx+' : mode === 'write' ? 'r+' : 'r';
    this.activity.begin();
    fs.open(this.absolute(file), flags, (error, fd) => {
      done(error, error === null ? new NodeDiskFile(fd, this.gate, this.pageCache, this.activity) : null);
      this.activity.end();
    });
  }

  replace(file: string, bytes: Uint8Array, done: DiskCallback): void {
    this.activity.begin();
    const start = () => {
      this.gate.enter((leave) => {
        this.replaceNow(this.absolute(file), bytes, (error) => {
          leave();
          done(error);
          this.activity.end();
          const next = waiting.shift();
          if (next === undefined) this.replacing.delete(file);
          else next();
        });
      });
    };
    const queued = this.replacing.get(file);
    const waiting = queued ?? [];
    if (queued === undefined) {
      this.replacing.set(file, waiting);
      start();
    } else {
      waiting.push(start);
    }
  }

  unlink(file: string, done: DiskCallback): void {
    this.activity.begin();
    this.gate.enter((leave) => {
      fs.unlink(this.absolute(file), (error) => {
        leave();
        done(error);
        this.activity.end();
      });
    });
  }

  syncDir(dir: string, done: DiskCallback): void {
    this.activity.begin();
    this.syncAbsoluteDir(this.absolute(dir), (error) => {
      done(error);
      this.activity.end();
    });
  }

  whenIdle(done: () => void): void {
    this.activity.whenIdle(done);
  }

  freeBytes(done: (error: Error | null, bytes: number) => void): void {
    fs.statfs(this.root, (error, stat) => done(error, error === null ? stat.bavail * stat.bsize : 0));
  }

  private syncAbsoluteDir(dir: string, done: DiskCallback): void {
    fs.open(dir, 'r', (openError, fd) => {
      if (openError !== null) {
        done(openError);
        return;
      }
      fs.fsync(fd, (syncError) => fs.close(fd, () => done(syncError)));
    });
  }

  private replaceNow(target: string, bytes: Uint8Array, done: DiskCallback): void {
    const temp = `${target}.tmp`;
    fs.open(temp, 'w', (openError, fd) => {
      if (openError !== null) {
        done(openError);
        return;
      }
      const fail = (error: Error) => fs.close(fd, () => done(error));
      const writeFrom = (at: number) => {
        if (at === bytes.length) {
          fs.fsync(fd, (syncError) => {
            if (syncError !== null) fail(syncError);
            else fs.close(fd, (closeError) => (closeError ? done(closeError) : rename()));
          });
          return;
        }
        fs.write(fd, bytes, at, bytes.length - at, at, (error, written) =>
          error === null ? writeFrom(at + written) : fail(error),
        );
      };
      const rename = () => {
        fs.rename(temp, target, (error) =>
          error === null ? this.syncAbsoluteDir(path.dirname(target), done) : done(error),
        );
      };
      writeFrom(0);
    });
  }
}

export interface NodeDirectory extends Disk {
  /** Serves the composition root (kv store, lock); everything else speaks relative paths. */
  absolute(relative: string): string;
  /** `done` runs when nothing is being written, read or removed any more. */
  whenIdle(done: () => void): void;
}

export function createNodeDisk(dataDir: string): NodeDirectory {
  const disk = new NodeDisk(dataDir);
  disk.mkdirSync('');
  return disk;
}
