// Env's Kv on `level`, for what can be rebuilt. Opened once per directory by the composition root. LevelDB may drop damaged log records without a
// word and forget recent writes after a power cut, so nothing here is ever the only copy; each value carries its own checksum.
// Invariant: a value is given out as it was put, or as absent; an unreadable or foreign directory is moved to quarantine/, never deleted.
import { mkdirSync, readdirSync, renameSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { Level } from 'level';
import type { Kv, Logger } from '../../src/kit/env.ts';
import { addChecksum, checkChecksum } from './value-codec.ts';

type Database = Level<string, Uint8Array>;

/** Below every key of the users, which are ordinary texts. */
const FORMAT_KEY = '\u0000format';
const FORMAT = 'flotilla-kv 1';

class LevelKv implements Kv {
  private readonly db: Database;
  private readonly log: Logger;

  constructor(db: Database, log: Logger) {
    this.db = db;
    this.log = log;
  }

  get(key: string, done: (error: Error | null, value: Uint8Array | undefined) => void): void {
    this.db.get(key).then(
      (stored) => {
        const value = stored === undefined ? undefined : checkChecksum(stored);
        if (stored !== undefined && value === undefined) this.log.warn('kv: a damaged value counts as absent', { key });
        outside(() => done(null, value));
      },
      (error: Error) => outside(() => done(error, undefined)),
    );
  }

  batch(
    operations: readonly { key: string; value: Uint8Array | undefined }[],
    done: (error: Error | null) => void,
  ): void {
    const batch = operations.map(({ key, value }) =>
      value === undefined
        ? ({ type: 'del', key } as const)
        : ({ type: 'put', key, value: addChecksum(value) } as const),
    );
    this.db.batch(batch).then(
      () => outside(() => done(null)),
      (error: Error) => outside(() => done(error)),
    );
  }

  keys(prefix: string, done: (error: Error | null, keys: string[]) => void): void {
    const range = { gte: prefix, lt: `${prefix}\u{10ffff}` };
    this.db
      .keys(range)
      .all()
      .then(
        (keys) =>
          outside(() =>
            done(
              null,
              keys.filter((key) => key !== FORMAT_KEY),
            ),
          ),
        (error: Error) => outside(() => done(error, [])),
      );
  }

  close(done: (error: Error | null) => void): void {
    this.db.close().then(
      () => outside(() => done(null)),
      (error: Error) => outside(() => done(error)),
    );
  }
}

/** Callbacks run outside the promise chain: what they throw is an uncaught exception, not a lost rejection. */
function outside(fn: () => void): void {
  process.nextTick(fn);
}

/** `path` is absolute. done(error): there is no store; go on without. */
export function openLevelKv(
  path: string,
  env: { readonly log: Logger },
  done: (error: Error | null, kv: Kv | null) => void,
): void {
  openOnce(path).then(
    (db) => outside(() => done(null, new LevelKv(db, env.log))),
    (error: Error) => {
      if (isLocked(error)) {
        outside(() => done(error, null));
        return;
      }
      try {
        quarantine(path);
      } catch (moveError) {
        outside(() => done(moveError as Error, null));
        return;
      }
      env.log.error('kv: the store was unreadable; moved to quarantine, it will be rebuilt', {
        path,
        error: reason(error),
      });
      openOnce(path).then(
        (db) => outside(() => done(null, new LevelKv(db, env.log))),
        (again: Error) => outside(() => done(again, null)),
      );
    },
  );
}

async function openOnce(path: string): Promise<Database> {
  const db: Database = new Level<string, Uint8Array>(path, { keyEncoding: 'utf8', valueEncoding: 'view' });
  await db.open();
  try {
    const format = await db.get(FORMAT_KEY);
    if (format === undefined) {
      const [first] = await db.keys({ limit: 1 }).all();
      if (first !== undefined) throw new Error('the store has content but no format mark');
      await db.put(FORMAT_KEY, new TextEncoder().encode(FORMAT));
    } else if (new TextDecoder().decode(format) !== FORMAT) {
      throw new Error(`the store has another format: ${new TextDecoder().decode(format)}`);
    }
    return db;
  } catch (error) {
    await db.close();
    throw error;
  }
}

function reason(error: Error): string {
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

/** In use by another process: not damaged. */
function isLocked(error: Error): boolean {
  const codes = [error, error.cause].map((e) => (e as { code?: string } | undefined)?.code);
  return codes.includes('LEVEL_LOCKED');
}

function quarantine(path: string): void {
  const dir = join(dirname(path), 'quarantine');
  mkdirSync(dir, { recursive: true });
  const taken = new Set(readdirSync(dir));
  let n = 1;
  while (taken.has(`${basename(path)}-${n}`)) n++;
  renameSync(path, join(dir, `${basename(path)}-${n}`));
}
