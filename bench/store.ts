// Where should a machine's pages be kept for the next start: one file written in order, or `level`? The same pages, written and read both ways,
// and once more with a tenth of them changed. `node bench/store.ts [megabytes] [bytes per page]` (docs/adr/0005)
import {
  closeSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { openLevelKv } from '../cluster/store/level-kv.ts';
import type { Kv } from '../src/kit/env.ts';
import { createNodeEnv, type NodeEnv } from '../src/kit/env-node.ts';
import { createNodeLog } from '../src/kit/log-node.ts';

const MB = Number(process.argv[2] ?? 300);
const PAGE_BYTES = Number(process.argv[3] ?? 32 * 1024);
const PAGES = Math.floor((MB * 1024 * 1024) / PAGE_BYTES);
const BATCH = 32;

const dir = mkdtempSync(join(tmpdir(), 'store-'));
let state = 1;
const pages = Array.from({ length: PAGES }, () => {
  const words = new Uint32Array(PAGE_BYTES / 4);
  // Half of it is noise: tables do not compress well.
  for (let i = 0; i < words.length; i += 2) words[i] = state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return new Uint8Array(words.buffer);
});

function measure(): () => string {
  const began = performance.now();
  const cpu = process.cpuUsage();
  return () => {
    const used = process.cpuUsage(cpu);
    const ms = performance.now() - began;
    return `${(ms / 1000).toFixed(2)} s, ${((used.user + used.system) / 1e6).toFixed(2)} s of CPU, ${(MB / (ms / 1000)).toFixed(0)} MB/s`;
  };
}

function sizeOf(path: string): string {
  const bytes = readdirSync(path).reduce((sum, name) => sum + statSync(join(path, name)).size, 0);
  return `${(bytes / 1024 / 1024).toFixed(0)} MB on disk`;
}

const keyOf = (i: number): string => `pages/7/${i.toString(16).padStart(8, '0')}`;

function files(): void {
  const path = join(dir, 'file');
  const write = measure();
  const fd = openSync(path, 'w');
  for (const page of pages) {
    crc32c(page);
    writeSync(fd, page);
  }
  fdatasyncSync(fd);
  closeSync(fd);
  console.log(`file, written: ${write()}`);
  const read = measure();
  const again = openSync(path, 'r');
  const piece = new Uint8Array(256 * 1024);
  for (let n = 1; n > 0; ) {
    n = readSync(again, piece);
    crc32c(piece.subarray(0, n));
  }
  closeSync(again);
  console.log(`file, read: ${read()}`);
}

function put(kv: Kv, indexes: readonly number[]): Promise<void> {
  return new Promise((done, fail) => {
    const next = (from: number): void => {
      if (from >= indexes.length) {
        done();
        return;
      }
      const batch = indexes.slice(from, from + BATCH).map((i) => ({ key: keyOf(i), value: pages[i] }));
      kv.batch(batch, (error) => (error ? fail(error) : next(from + BATCH)));
    };
    next(0);
  });
}

async function level(env: NodeEnv): Promise<void> {
  const open = (): Promise<Kv> =>
    new Promise((done, fail) => openLevelKv(join(dir, 'kv'), env, (error, kv) => (kv ? done(kv) : fail(error))));
  const close = (kv: Kv): Promise<void> => new Promise((done) => kv.close(() => done()));
  let kv = await open();
  const write = measure();
  await put(
    kv,
    Array.from({ length: PAGES }, (_, i) => i),
  );
  console.log(`level, written: ${write()}`);
  await close(kv);
  kv = await open();
  const tenth = measure();
  await put(
    kv,
    Array.from({ length: PAGES / 10 }, (_, i) => i * 10),
  );
  console.log(`level, a tenth of it written again: ${tenth()} (as if all of it)`);
  const settled = measure();
  await close(kv);
  const reopened = await open();
  console.log(`level, closed and opened: ${settled()}; ${sizeOf(join(dir, 'kv'))}`);
  const read = measure();
  for (let i = 0; i < PAGES; i++) {
    await new Promise<void>((done, fail) =>
      reopened.get(keyOf(i), (error, value) =>
        error || value?.length !== PAGE_BYTES ? fail(error ?? new Error(`page ${i} is gone`)) : done(),
      ),
    );
  }
  console.log(`level, read: ${read()}`);
  await close(reopened);
}

console.log(`${PAGES} pages of ${PAGE_BYTES} bytes`);
try {
  files();
  const env: NodeEnv = createNodeEnv({
    dataDir: dir,
    log: createNodeLog({ level: 'info' }),
    openKv: (path, done) => openLevelKv(path, env, done),
  });
  await level(env);
} finally {
  rmSync(dir, { recursive: true, force: true });
}
