// The disk of one simulated node, kept over its restarts. Two images of every file: what the kernel shows (cache) and
// what is on the platter (durable), with the un-synced writes between them in order; directory entries likewise wait
// for syncDir. A process crash keeps the cache. A power cut keeps a random subset of what was not synced, torn by
// sector. Assumption stated by it: a sector write never harms bytes of that sector that were durable before.
import type { Disk, DiskFile } from '../../src/kit/env.ts';
import type { Prng } from './prng.ts';
import type { Scheduler } from './scheduler.ts';

export type CrashKind = 'process' | 'power';

export type OperationKind =
  | 'create'
  | 'open'
  | 'write'
  | 'sync'
  | 'read'
  | 'truncate'
  | 'rename'
  | 'unlink'
  | 'sync-dir';

/** What an env life gives its mounted disk. */
export interface DiskLife {
  enter(fn: () => void): void;
  assertAlive(): void;
  crash(kind: CrashKind, reason: string): never;
}

export interface DiskFaults {
  /** Chance that a read fails with EIO (sticky ranges: use damage.readError). */
  readErrorProbability: number;
  /** Chance that a sync fails; the pages are clean afterwards and may be gone after the restart. */
  syncErrorProbability: number;
  /** A lying disk: sync answers but makes nothing durable. */
  losesSyncs: boolean;
  /** Chance that a write lands at another offset of its file. */
  misdirectProbability: number;
  /** Space for all files; a write beyond it is cut short with ENOSPC. */
  spaceBytes: number;
}

/** What power cuts took; for whoever wants to know that they take something. */
export interface DiskLosses {
  /** Writes of which nothing is left, or only zeros; … */
  lostWrites: number;
  /** … whose sectors were kept, lost or spoilt one by one. */
  tornWrites: number;
  /** Names made, changed or removed that are as they were before. */
  lostNames: number;
}

export interface DiskLatency {
  writeMs: number;
  syncMs: number;
  readMs: number;
  stallProbability: number;
  stallMs: number;
}

export interface SimDiskOptions {
  scheduler: Scheduler;
  prng: Prng;
  sectorBytes?: number;
  latency?: Partial<DiskLatency>;
  faults?: Partial<DiskFaults>;
}

/** A byte array that grows. */
class Bytes {
  data = new Uint8Array(0);
  size = 0;

  resize(size: number): void {
    if (size > this.data.length) {
      const grown = new Uint8Array(Math.max(size, this.data.length * 2, 1024));
      grown.set(this.data.subarray(0, this.size));
      this.data = grown;
    } else if (size < this.size) this.data.fill(0, size, this.size);
    this.size = size;
  }

  put(position: number, bytes: Uint8Array): void {
    if (position + bytes.length > this.size) this.resize(position + bytes.length);
    this.data.set(bytes, position);
  }

  assign(other: Bytes): void {
    this.data = other.data.slice(0, other.size);
    this.size = other.size;
  }
}

type Change = { write: Uint8Array; position: number } | { size: number };

class Inode {
  cache = new Bytes();
  durable = new Bytes();
  /** Done, visible, not synced; in order. */
  pending: Change[] = [];
  /** How many changes were ever taken off the front of `pending`. */
  settled = 0;
  /** Issued, not done. */
  inFlight = new Set<Change>();
  /** Written, sync failed, pages clean: may be gone after a restart. */
  ghosts: Change[] = [];
  readErrors: { from: number; to: number }[] = [];
  /** Simulated time until which earlier calls on this file take. */
  busyUntilMs = 0;

  apply(change: Change): void {
    if ('size' in change) this.cache.resize(change.size);
    else this.cache.put(change.position, change.write);
    this.pending.push(change);
  }
}

type NameChange = { dir: string } & (
  | { link: string; inode: Inode }
  | { unlink: string }
  | { from: string; to: string; inode: Inode }
);

/** The effect of an operation that cannot fail. */
const none = (_effect: unknown): null => null;

const dirOf = (path: string): string => (path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '');

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code });
}

function joined(buffers: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const buffer of buffers) length += buffer.length;
  const out = new Uint8Array(length);
  let at = 0;
  for (const buffer of buffers) {
    out.set(buffer, at);
    at += buffer.length;
  }
  return out;
}

export class SimDisk {
  readonly faults: DiskFaults;
  readonly latency: DiskLatency;
  readonly losses: DiskLosses = { lostWrites: 0, tornWrites: 0, lostNames: 0 };
  /** Operations begun since creation. */
  operations = 0;
  /** Asked at each operation, just before it takes effect (it is in flight): crash here, and how? */
  crashAt: ((operation: number, kind: OperationKind, path: string) => CrashKind | undefined) | undefined;
  #scheduler: Scheduler;
  #prng: Prng;
  #sectorBytes: number;
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #nameChanges: NameChange[] = [];
  #life = 0;

  constructor(options: SimDiskOptions) {
    this.#scheduler = options.scheduler;
    this.#prng = options.prng;
    this.#sectorBytes = options.sectorBytes ?? 512;
    this.latency = { writeMs: 0.03, syncMs: 0.4, readMs: 0.1, stallProbability: 0, stallMs: 1000, ...options.latency };
    this.faults = {
      readErrorProbability: 0,
      syncErrorProbability: 0,
      losesSyncs: false,
      misdirectProbability: 0,
      spaceBytes: Number.POSITIVE_INFINITY,
      ...options.faults,
    };
  }

  // ---- crashes ------------------------------------------------------------------------------------------------------

  /** The end of a process life. Called by SimEnv. */
  crash(kind: CrashKind): void {
    this.#life++;
    for (const inode of new Set([...this.#names.values(), ...this.#durableNames.values()])) {
      inode.busyUntilMs = 0;
      for (const change of inode.inFlight) this.#interrupt(inode, change);
      inode.inFlight.clear();
      if (kind === 'power') this.#cutPower(inode);
      else this.#forgetGhosts(inode);
    }
    if (kind === 'power') this.#cutPowerOnNames();
  }

  /** A call under way when the process died: the kernel did a prefix of it. */
  #interrupt(inode: Inode, change: Change): void {
    if ('size' in change) {
      if (this.#prng.chance(0.5)) inode.apply(change);
      return;
    }
    const length = this.#prng.chance(0.5) ? change.write.length : this.#prng.int(change.write.length + 1);
    if (length > 0) inode.apply({ write: change.write.subarray(0, length), position: change.position });
  }

  #cutPower(inode: Inode): void {
    const image = inode.durable;
    for (const change of inode.pending) {
      const fate = this.#prng.float();
      if ('size' in change) {
        if (fate < 0.5) image.resize(change.size);
      } else if (fate < 0.35) image.put(change.position, change.write);
      else if (fate < 0.7) {
        this.losses.tornWrites++;
        this.#tear(image, change.position, change.write);
      } else {
        this.losses.lostWrites++;
        if (fate < 0.8) image.resize(Math.max(image.size, change.position + change.write.length));
      }
    }
    inode.pending = [];
    inode.ghosts = [];
    inode.cache.assign(image);
  }

  /** Each sector of the write keeps the old bytes, or gets the new ones, zeros or garbage. */
  #tear(image: Bytes, position: number, bytes: Uint8Array): void {
    const sector = this.#sectorBytes;
    const end = position + bytes.length;
    for (let from = position; from < end; ) {
      const to = Math.min(end, (Math.floor(from / sector) + 1) * sector);
      const fate = this.#prng.float();
      if (fate < 0.5) image.put(from, bytes.subarray(from - position, to - position));
      else if (fate < 0.58) image.put(from, new Uint8Array(to - from));
      else if (fate < 0.64) image.put(from, this.#prng.bytes(to - from));
      from = to;
    }
  }

  /** Directory entries come back in journal order up to some point, or (POSIX promises no more) any of them. */
  #cutPowerOnNames(): void {
    const ordered = this.#prng.chance(0.5);
    const kept = this.#prng.int(this.#nameChanges.length + 1);
    this.#nameChanges.forEach((change, i) => {
      if (ordered ? i < kept : this.#prng.chance(0.5)) this.#makeNameDurable(change);
      else this.losses.lostNames++;
    });
    this.#nameChanges = [];
    this.#names = new Map(this.#durableNames);
  }

  /** After a failed sync the cache may drop the clean pages at any time; here: at the restart. */
  #forgetGhosts(inode: Inode): void {
    for (const ghost of inode.ghosts) {
      if ('size' in ghost || this.#prng.chance(0.5)) continue;
      const end = ghost.position + ghost.write.length;
      for (let at = ghost.position; at < end; at++)
        inode.cache.data[at] = at < inode.durable.size ? inode.durable.data[at] : 0;
    }
    inode.ghosts = [];
  }

  // ---- names --------------------------------------------------------------------------------------------------------

  #makeNameDurable(change: NameChange): void {
    if ('link' in change) this.#durableNames.set(change.link, change.inode);
    else if ('unlink' in change) this.#durableNames.delete(change.unlink);
    else {
      this.#durableNames.delete(change.from);
      this.#durableNames.set(change.to, change.inode);
    }
  }

  #create(path: string): Inode {
    const inode = new Inode();
    this.#names.set(path, inode);
    this.#nameChanges.push({ dir: dirOf(path), link: path, inode });
    return inode;
  }

  #createOrEmpty(path: string): void {
    const inode = this.#names.get(path);
    if (inode === undefined) this.#create(path);
    else inode.apply({ size: 0 });
  }

  #rename(from: string, to: string): void {
    const inode = this.#names.get(from);
    if (inode === undefined) throw systemError('ENOENT', from);
    this.#names.delete(from);
    this.#names.set(to, inode);
    if (dirOf(from) === dirOf(to)) {
      this.#nameChanges.push({ dir: dirOf(to), from, to, inode });
    } else {
      this.#nameChanges.push({ dir: dirOf(to), link: to, inode }, { dir: dirOf(from), unlink: from });
    }
  }

  #unlink(path: string): void {
    if (!this.#names.delete(path)) throw systemError('ENOENT', path);
    this.#nameChanges.push({ dir: dirOf(path), unlink: path });
  }

  #syncDir(dir: string): void {
    if (this.faults.losesSyncs) return;
    this.#nameChanges = this.#nameChanges.filter((change) => {
      if (change.dir !== dir) return true;
      this.#makeNameDurable(change);
      return false;
    });
  }

  // ---- content ------------------------------------------------------------------------------------------------------

  get usedBytes(): number {
    let used = 0;
    for (const inode of this.#names.values()) used += inode.cache.size;
    return used;
  }

  /** Applies a write, or what fits of it. */
  #write(inode: Inode, path: string, change: { write: Uint8Array; position: number }): Error | null {
    const { faults } = this;
    const growth = change.position + change.write.length - inode.cache.size;
    if (growth > 0 && faults.spaceBytes !== Number.POSITIVE_INFINITY) {
      const room = faults.spaceBytes - this.usedBytes;
      if (growth > room) {
        const fits = Math.max(0, change.write.length - (growth - Math.max(0, room)));
        if (fits > 0) inode.apply({ write: change.write.subarray(0, fits), position: change.position });
        return systemError('ENOSPC', path);
      }
    }
    if (faults.misdirectProbability > 0 && this.#prng.chance(faults.misdirectProbability)) {
      const position = this.#prng.int(Math.max(1, inode.cache.size));
      inode.apply({ write: change.write, position });
    } else inode.apply(change);
    return null;
  }

  /** Changes up to the `upTo`th of this file were done when the sync was called: those become durable. */
  #sync(inode: Inode, path: string, upTo: number): Error | null {
    if (this.faults.syncErrorProbability > 0 && this.#prng.chance(this.faults.syncErrorProbability)) {
      inode.settled += inode.pending.length;
      inode.ghosts.push(...inode.pending);
      inode.pending = [];
      return systemError('EIO', path);
    }
    if (this.faults.losesSyncs) return null;
    const count = Math.max(0, Math.min(inode.pending.length, upTo - inode.settled));
    inode.settled += count;
    for (const change of inode.pending.splice(0, count)) {
      if ('size' in change) inode.durable.resize(change.size);
      else inode.durable.put(change.position, change.write);
    }
    return null;
  }

  #read(inode: Inode, path: string, position: number, length: number): Uint8Array {
    const end = Math.min(inode.cache.size, position + length);
    const bad = inode.readErrors.some((range) => range.from < end && position < range.to);
    if (bad || (this.faults.readErrorProbability > 0 && this.#prng.chance(this.faults.readErrorProbability))) {
      throw systemError('EIO', path);
    }
    return position >= end ? new Uint8Array(0) : inode.cache.data.slice(position, end);
  }

  #delay(meanMs: number): number {
    const { stallProbability, stallMs } = this.latency;
    if (stallProbability > 0 && this.#prng.chance(stallProbability)) return this.#prng.exponential(stallMs);
    return meanMs * 0.2 + this.#prng.exponential(meanMs * 0.8);
  }

  // ---- the Env side -------------------------------------------------------------------------------------------------

  /** The Disk of one process life. */
  mount(life: DiskLife): Disk {
    const generation = ++this.#life;

    /** An operation takes effect now; the test may end the life instead. */
    const begin = (kind: OperationKind, path: string): void => {
      life.assertAlive();
      const crash = this.crashAt?.(this.operations++, kind, path);
      if (crash !== undefined) life.crash(crash, `disk operation ${this.operations - 1}: ${kind} ${path}`);
    };

    /** Runs `effect` after a while, in order on its inode, then `done` with its error. */
    const later = (
      inode: Inode | undefined,
      meanMs: number,
      kind: OperationKind,
      path: string,
      effect: () => Error | null,
      done: (error: Error | null) => void,
    ): void => {
      life.assertAlive();
      const start = Math.max(this.#scheduler.nowMs, inode === undefined ? 0 : inode.busyUntilMs + 1e-6);
      const due = start + this.#delay(meanMs);
      if (inode !== undefined) inode.busyUntilMs = due;
      this.#scheduler.at(due, () => {
        if (generation !== this.#life) return;
        life.enter(() => {
          begin(kind, path);
          let error: Error | null;
          try {
            error = effect();
          } catch (thrown) {
            if (!(thrown instanceof Error) || !('code' in thrown)) throw thrown;
            error = thrown;
          }
          done(error);
        });
      });
    };

    const find = (path: string): Inode => {
      const inode = this.#names.get(path);
      if (inode === undefined) throw systemError('ENOENT', path);
      return inode;
    };

    const fileOf = (inode: Inode, path: string): DiskFile => {
      let open = true;
      const assertOpen = (): void => {
        if (!open) throw new Error(`${path}: used after close`);
      };
      return {
        write: (buffers, position, done) => {
          assertOpen();
          const change = { write: joined(buffers), position };
          inode.inFlight.add(change);
          const effect = (): Error | null => {
            inode.inFlight.delete(change);
            return this.#write(inode, path, change);
          };
          later(inode, this.latency.writeMs, 'write', path, effect, done);
        },
        sync: (done) => {
          assertOpen();
          const upTo = inode.settled + inode.pending.length;
          later(inode, this.latency.syncMs, 'sync', path, () => this.#sync(inode, path, upTo), done);
        },
        read: (position, length, done) => {
          assertOpen();
          let bytes = new Uint8Array(0);
          const effect = (): null => {
            bytes = this.#read(inode, path, position, length) as Uint8Array<ArrayBuffer>;
            return null;
          };
          later(inode, this.latency.readMs, 'read', path, effect, (error) => done(error, bytes));
        },
        truncate: (length, done) => {
          assertOpen();
          const change = { size: length };
          inode.inFlight.add(change);
          const effect = (): null => {
            inode.inFlight.delete(change);
            inode.apply(change);
            return null;
          };
          later(inode, this.latency.writeMs, 'truncate', path, effect, done);
        },
        close: () => {
          open = false;
        },
      };
    };

    /** The steps of replace, in order; each is an operation of its own. */
    const replaceSteps = (path: string, bytes: Uint8Array): [OperationKind, string, () => Error | null][] => {
      const temporary = `${path}.tmp`;
      const change = { write: bytes.slice(), position: 0 };
      return [
        ['create', temporary, () => none(this.#createOrEmpty(temporary))],
        ['write', temporary, () => this.#write(find(temporary), temporary, change)],
        ['sync', temporary, () => this.#sync(find(temporary), temporary, Number.POSITIVE_INFINITY)],
        ['rename', path, () => none(this.#rename(temporary, path))],
        ['sync-dir', dirOf(path), () => none(this.#syncDir(dirOf(path)))],
      ];
    };

    return {
      mkdirSync: () => life.assertAlive(),
      listSync: (dir) => {
        life.assertAlive();
        const prefix = dir === '' ? '' : `${dir}/`;
        const found = new Set<string>();
        for (const path of this.#names.keys())
          if (path.startsWith(prefix)) found.add(path.slice(prefix.length).split('/')[0]);
        return [...found].sort();
      },
      readSync: (path) => {
        life.assertAlive();
        const inode = this.#names.get(path);
        return inode === undefined ? undefined : this.#read(inode, path, 0, inode.cache.size);
      },
      sizeSync: (path) => {
        life.assertAlive();
        return this.#names.get(path)?.cache.size;
      },
      readRangeSync: (path, position, length) => {
        life.assertAlive();
        return this.#read(find(path), path, position, length);
      },
      replaceSync: (path, bytes) => {
        for (const [kind, target, effect] of replaceSteps(path, bytes)) {
          begin(kind, target);
          const error = effect();
          if (error !== null) throw error;
        }
      },
      renameSync: (from, to) => {
        begin('rename', from);
        this.#rename(from, to);
        begin('sync-dir', dirOf(to));
        this.#syncDir(dirOf(to));
        this.#syncDir(dirOf(from));
      },
      truncateSync: (path, length) => {
        begin('truncate', path);
        find(path).apply({ size: length });
      },
      open: (path, mode, done) => {
        let file: DiskFile | null = null;
        const effect = (): null => {
          if (mode === 'create' && this.#names.has(path)) throw systemError('EEXIST', path);
          file = fileOf(mode === 'create' ? this.#create(path) : find(path), path);
          return null;
        };
        later(undefined, this.latency.writeMs, mode === 'create' ? 'create' : 'open', path, effect, (error) =>
          done(error, file),
        );
      },
      replace: (path, bytes, done) => {
        const steps = replaceSteps(path, bytes);
        const next = (i: number): void => {
          if (i === steps.length) {
            done(null);
            return;
          }
          const [kind, target, effect] = steps[i];
          const meanMs = kind.startsWith('sync') ? this.latency.syncMs : this.latency.writeMs;
          later(undefined, meanMs, kind, target, effect, (error) => (error === null ? next(i + 1) : done(error)));
        };
        next(0);
      },
      unlink: (path, done) => {
        later(undefined, this.latency.writeMs, 'unlink', path, () => none(this.#unlink(path)), done);
      },
      syncDir: (dir, done) => {
        // Only what was done when the call was made becomes durable; the names are few, so the whole list is copied.
        const before = new Set(this.#nameChanges);
        const effect = (): null => {
          const later = this.#nameChanges.filter((change) => !before.has(change));
          this.#nameChanges = this.#nameChanges.filter((change) => before.has(change));
          this.#syncDir(dir);
          this.#nameChanges.push(...later);
          return null;
        };
        later(undefined, this.latency.syncMs, 'sync-dir', dir, effect, done);
      },
      freeBytes: (done) => {
        let free = 0;
        const effect = (): null => {
          free = Math.min(Number.MAX_SAFE_INTEGER, this.faults.spaceBytes - this.usedBytes);
          return null;
        };
        later(undefined, this.latency.readMs, 'read', '', effect, (error) => done(error, free));
      },
    };
  }

  // ---- what tests do to files ---------------------------------------------------------------------------------------

  /** All paths with this prefix, sorted. */
  files(prefix = ''): string[] {
    return [...this.#names.keys()].filter((path) => path.startsWith(prefix)).sort();
  }

  content(path: string): Uint8Array | undefined {
    const inode = this.#names.get(path);
    return inode?.cache.data.slice(0, inode.cache.size);
  }

  /** Changes both images of a file, behind everyone's back. */
  damage(path: string, change: (bytes: Uint8Array) => void): void {
    const inode = this.#names.get(path);
    if (inode === undefined) throw systemError('ENOENT', path);
    change(inode.cache.data.subarray(0, inode.cache.size));
    change(inode.durable.data.subarray(0, inode.durable.size));
  }

  flipBit(path: string, byte: number, bit = 0): void {
    this.damage(path, (bytes) => {
      if (byte < bytes.length) bytes[byte] ^= 1 << bit;
    });
  }

  zero(path: string, from: number, to: number): void {
    this.damage(path, (bytes) => bytes.fill(0, from, to));
  }

  cutTo(path: string, size: number): void {
    const inode = this.#names.get(path);
    if (inode === undefined) throw systemError('ENOENT', path);
    inode.cache.resize(Math.min(size, inode.cache.size));
    inode.durable.resize(Math.min(size, inode.durable.size));
  }

  remove(path: string): void {
    this.#names.delete(path);
    this.#durableNames.delete(path);
    this.#nameChanges = this.#nameChanges.filter((change) => !('link' in change && change.link === path));
  }

  /** Puts a whole file there, durable. */
  put(path: string, bytes: Uint8Array): void {
    const inode = new Inode();
    inode.cache.put(0, bytes);
    inode.durable.put(0, bytes);
    this.#names.set(path, inode);
    this.#durableNames.set(path, inode);
  }

  /** Reads of this range fail with EIO until it is cleared with the list. */
  readError(path: string, from: number, to: number): void {
    this.#names.get(path)?.readErrors.push({ from, to });
  }

  wipe(): void {
    this.#names.clear();
    this.#durableNames.clear();
    this.#nameChanges = [];
  }

  /** A backup of what the kernel shows. */
  image(): Map<string, Uint8Array> {
    return new Map(this.files().map((path) => [path, this.content(path) as Uint8Array]));
  }

  /** What would be there if the power went now and nothing unsynced survived. */
  durableImage(): Map<string, Uint8Array> {
    return new Map([...this.#durableNames].map(([path, { durable }]) => [path, durable.data.slice(0, durable.size)]));
  }

  /** The node goes back in time (between two lives). */
  restore(image: ReadonlyMap<string, Uint8Array>): void {
    this.wipe();
    for (const [path, bytes] of image) this.put(path, bytes.slice());
  }
}
