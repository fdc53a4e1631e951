// Env: the world as a parameter. Clock, chance, disk, key-value store and log reach the rest of the program only
// through these interfaces; `env-node.ts` implements them on Node, `test/sim` from one seed in one thread.
// Everything asynchronous is a callback, never a promise, so that the simulator decides the order of events.

/** Handle of a one-shot timer; opaque. */
export interface Timer {
  readonly dueMs: number;
}

export interface Clock {
  /** Monotonic time in milliseconds (fractional). Elections, ack-wait, intervals use this and nothing else. */
  nowMs(): number;
  /** Wall clock in microseconds since 1970 (an integer below 2^53). May jump. Stamps only (DESIGN §7). */
  wallUs(): number;
  /** Runs `fn` once, at least `delayMs` from now. */
  after(delayMs: number, fn: () => void): Timer;
  cancel(timer: Timer): void;
  /** Runs `fn` when the input of this turn has been handled (after the poll phase). Order of calls is kept. */
  endOfTurn(fn: () => void): void;
}

export interface Random {
  /** Uniform in [0, 1). */
  float(): number;
  /** Uniform integer in [0, 2^32). */
  uint32(): number;
  bytes(length: number): Uint8Array;
}

export type DiskCallback = (error: Error | null) => void;

/** An open file. Calls on one file complete in the order in which they were made, except that the content of
 * writes is durable only after a `sync` that was called after they completed. */
export interface DiskFile {
  /** Writes all of `buffers` one after the other at byte `position`; partial writes are continued inside. */
  write(buffers: readonly Uint8Array[], position: number, done: DiskCallback): void;
  /** fdatasync: content and size are durable when `done(null)` runs. An error is final: stop the node. */
  sync(done: DiskCallback): void;
  /** Reads up to `length` bytes at `position`; fewer only at the end of the file. */
  read(position: number, length: number, done: (error: Error | null, bytes: Uint8Array) => void): void;
  truncate(length: number, done: DiskCallback): void;
  close(): void;
}

/** Files of one node. Paths are relative to its data directory, with `/`. */
export interface Disk {
  // Start-up only, synchronous: before the node serves.
  mkdirSync(dir: string): void;
  /** Names (not paths) in `dir`, sorted; empty when it does not exist. */
  listSync(dir: string): string[];
  /** Whole content, or undefined when the file does not exist. Throws on EIO. */
  readSync(path: string): Uint8Array | undefined;
  /** Size in bytes, or undefined. */
  sizeSync(path: string): number | undefined;
  /** Reads a range synchronously; for scanning big files at start-up in bounded pieces. */
  readRangeSync(path: string, position: number, length: number): Uint8Array;
  /** Creates or replaces `path` durably: temp file, fsync, rename, fsync of the directory. */
  replaceSync(path: string, bytes: Uint8Array): void;
  /** rename + directory sync; for moving doubtful files to quarantine/. Creates the target's directory. */
  renameSync(from: string, to: string): void;
  truncateSync(path: string, length: number): void;

  // Run time.
  /** `create` fails if it exists, `write` opens an existing file for writing and reading, `read` for reading. */
  open(
    path: string,
    mode: 'create' | 'write' | 'read',
    done: (error: Error | null, file: DiskFile | null) => void,
  ): void;
  /** As replaceSync, without blocking. */
  replace(path: string, bytes: Uint8Array, done: DiskCallback): void;
  unlink(path: string, done: DiskCallback): void;
  /** Makes creates, renames and unlinks in `dir` durable. */
  syncDir(dir: string, done: DiskCallback): void;
  /** Bytes that may still be written by this process. */
  freeBytes(done: (error: Error | null, bytes: number) => void): void;
}

/** A key-value store for what can be rebuilt (`level` on Node). May be empty, old or gone after any restart. */
export interface Kv {
  get(key: string, done: (error: Error | null, value: Uint8Array | undefined) => void): void;
  /** Applies all puts (value) and deletes (undefined) together. */
  batch(operations: readonly { key: string; value: Uint8Array | undefined }[], done: DiskCallback): void;
  /** Keys with the prefix, ascending. */
  keys(prefix: string, done: (error: Error | null, keys: string[]) => void): void;
  close(done: DiskCallback): void;
}

export type LogFields = Record<string, string | number | boolean | undefined>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** What ended the process: the disk answered with an error, or a rule of the program's own was broken (the default). */
export type FatalKind = 'disk' | 'invariant';

export interface Env {
  readonly clock: Clock;
  readonly random: Random;
  readonly disk: Disk;
  readonly log: Logger;
  /** Opens (creates) the rebuildable store in `dir`; done(error) means: go on without, it was quarantined. */
  openKv(dir: string, done: (error: Error | null, kv: Kv | null) => void): void;
  /** A broken invariant or a failed fsync: says why and ends the process (in the simulator: crashes the node). Never returns. */
  fatal(reason: string, kind?: FatalKind): never;
  /** Named crash point between durable steps, or in a branch that is rarely taken, so that visits are counted. A no-op in production; the simulator may stop the node here by
   * throwing its private crash signal, which nothing may catch. */
  crashPoint(name: string): void;
}
