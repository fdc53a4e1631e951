// The WAL alone, on a real disk: what ADR 0002 rests on. `node bench/wal.ts [--dir <dir>] [--mb <size of each run>] [--only <part of a name>]`.
// Each run works in a fresh directory below --dir (default: the system's temporary one; take one on the disk that you want to know).
import { mkdtempSync, rmSync } from 'node:fs';
import { type FileHandle, open as openFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { crc32c } from '@node-rs/crc32';
import { EntryKind, type LogEntry } from '../cluster/core/types.ts';
import type { WalOptions } from '../cluster/wal/options.ts';
import type { Wal } from '../cluster/wal/types.ts';

// Before anything uses the thread pool, as the launcher does.
process.env['UV_THREADPOOL_SIZE'] ??= '8';
const { createNodeEnv } = await import('../src/kit/env-node.ts');
const { openWal } = await import('../cluster/wal/wal.ts');

const { values: args } = parseArgs({
  options: { dir: { type: 'string' }, mb: { type: 'string', default: '256' }, only: { type: 'string', default: '' } },
});
const TOTAL_BYTES = Number(args.mb) * 1024 * 1024;
const MEMBERS = { voters: [1], learners: [] };
const quiet = () => {};
const log = {
  debug: quiet,
  info: quiet,
  warn: quiet,
  error: (message: string) => console.error(message),
  fatalSync: (message: string) => console.error(message),
};

interface Bench {
  wal: Wal;
  dir: string;
  reopen(options?: Partial<WalOptions>): Promise<void>;
}

async function withWal(options: Partial<WalOptions>, run: (bench: Bench) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(args.dir ?? tmpdir(), 'flotilla-bench-wal-'));
  const start = (given: Partial<WalOptions>): Wal =>
    openWal(createNodeEnv({ dataDir: dir, log: log as never }), 'wal', given);
  const bench: Bench = {
    wal: start(options),
    dir,
    async reopen(given = options) {
      await new Promise<void>((done) => bench.wal.close(done));
      bench.wal = start(given);
    },
  };
  try {
    await run(bench);
    await new Promise<void>((done) => bench.wal.close(done));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const flush = (wal: Wal): Promise<void> => new Promise((done) => wal.flush(done));

function bodyOf(bytes: number, salt: number): { body: Uint8Array; crc: number } {
  const body = new Uint8Array(bytes).map((_, i) => (i * 31 + salt) & 255);
  return { body, crc: crc32c(body) };
}

class Times {
  private readonly ms: number[] = [];
  add(ms: number): void {
    this.ms.push(ms);
  }
  toString(): string {
    const sorted = this.ms.sort((a, b) => a - b);
    const at = (share: number): string =>
      (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0).toFixed(2);
    return `flush p50 ${at(0.5)} p99 ${at(0.99)} max ${at(1)} ms`;
  }
}

const mb = (bytes: number): string => (bytes / 1024 / 1024).toFixed(0);
const report = (name: string, text: string): void => console.log(`${name.padEnd(34)} ${text}`);

/** Appends to `groups` in turn, `perFlush` entries a flush, one flush after the other. */
async function write(
  wal: Wal,
  groups: number[],
  perFlush: number,
  bodyBytes: number,
  total: number,
  onFlush?: (entries: number) => void,
) {
  const { body, crc } = bodyOf(bodyBytes, groups.length);
  const next = new Map(groups.map((group) => [group, wal.lastIndex(group) + 1]));
  const times = new Times();
  let written = 0;
  let turn = 0;
  const begun = performance.now();
  while (written < total) {
    for (let i = 0; i < perFlush; i++) {
      const group = groups[turn++ % groups.length];
      const index = next.get(group) as number;
      next.set(group, index + 1);
      const entry: LogEntry = { index, term: 1, kind: EntryKind.batch, body, crc };
      wal.append(group, [entry]);
      written += bodyBytes;
    }
    const at = performance.now();
    await flush(wal);
    times.add(performance.now() - at);
    onFlush?.(perFlush);
  }
  const seconds = (performance.now() - begun) / 1000;
  return { times, seconds, mbPerS: written / 1024 / 1024 / seconds, entriesPerS: written / bodyBytes / seconds };
}

function create(wal: Wal, count: number): number[] {
  const groups = Array.from({ length: count }, (_, i) => 64 * (i + 1));
  for (const group of groups) wal.createGroup(group, MEMBERS);
  return groups;
}

/** What storing everything a second time, in a file per group, takes: written in the background, synced group by group before a WAL segment may go. */
class SecondCopy {
  private readonly files: FileHandle[] = [];
  private dirty = new Set<FileHandle>();
  private turn = 0;
  private bytes = 0;
  syncs = 0;
  work: Promise<void> = Promise.resolve();

  async open(dir: string, groups: number): Promise<void> {
    for (let i = 0; i < groups; i++) this.files.push(await openFile(join(dir, `group-${i}`), 'w'));
  }

  add(entries: number, bodyBytes: number): void {
    const chunk = new Uint8Array(bodyBytes + 80);
    this.work = this.work.then(async () => {
      for (let i = 0; i < entries; i++) {
        const file = this.files[this.turn++ % this.files.length];
        await file.write(chunk);
        this.dirty.add(file);
        this.bytes += chunk.length;
      }
      if (this.bytes < 64 * 1024 * 1024) return;
      this.bytes = 0;
      for (const file of this.dirty) {
        await file.datasync();
        this.syncs++;
      }
      this.dirty = new Set();
    });
  }

  async close(): Promise<void> {
    await this.work;
    for (const file of this.files) await file.close();
  }
}

const runs: Record<string, (name: string) => Promise<void>> = {};

for (const zeroBytes of [512 * 1024, 0]) {
  runs[`busy stream, ${zeroBytes} zeros ahead`] = (name) =>
    withWal({ zeroBytes }, async ({ wal }) => {
      const [group] = create(wal, 1);
      const small = await write(wal, [group], 1, 512, TOTAL_BYTES / 256);
      const large = await write(wal, [group], 1, 64 * 1024, TOTAL_BYTES);
      report(name, `512 B: ${small.times}; 64 KiB: ${large.mbPerS.toFixed(0)} MB/s, ${large.times}`);
    });
}

runs['busy stream, second copy'] = (name) =>
  withWal({}, async ({ wal, dir }) => {
    const [group] = create(wal, 1);
    const copy = new SecondCopy();
    await copy.open(dir, 1);
    const at = performance.now();
    const result = await write(wal, [group], 1, 64 * 1024, TOTAL_BYTES, (entries) => copy.add(entries, 64 * 1024));
    await copy.close();
    report(
      name,
      `64 KiB: ${result.mbPerS.toFixed(0)} MB/s, ${result.times}; all done in ${((performance.now() - at) / 1000).toFixed(1)} s, ${copy.syncs} more syncs`,
    );
  });

runs['1,000 groups'] = (name) =>
  withWal({}, async ({ wal }) => {
    const result = await write(wal, create(wal, 1000), 64, 256, TOTAL_BYTES / 8);
    report(name, `64 x 256 B a flush: ${result.entriesPerS.toFixed(0)} entries/s, ${result.times}`);
  });

runs['1,000 groups, second copy'] = (name) =>
  withWal({}, async ({ wal, dir }) => {
    const copy = new SecondCopy();
    await copy.open(dir, 1000);
    const at = performance.now();
    const result = await write(wal, create(wal, 1000), 64, 256, TOTAL_BYTES / 8, (entries) => copy.add(entries, 256));
    const written = performance.now();
    await copy.close();
    report(
      name,
      `${result.entriesPerS.toFixed(0)} entries/s, ${result.times}; the copy ends ${((performance.now() - written) / 1000).toFixed(1)} s later (${((written - at) / 1000).toFixed(1)} s of writing), ${copy.syncs} more syncs`,
    );
  });

runs['kv, hot keys'] = (name) =>
  withWal({ segmentBytes: 16 * 1024 * 1024 }, async ({ wal }) => {
    // 5,000 keys, 90 % of the updates on 500 of them, 8 updates of 512 B an entry; an entry lives while it holds the newest value of a key.
    const [group] = create(wal, 1);
    const { body, crc } = bodyOf(8 * 512, 1);
    const newest = new Map<number, number>();
    const liveKeys: number[] = [];
    wal.setLiveCheck(group, (index) => liveKeys[index] > 0);
    const times = new Times();
    let random = 1;
    const pick = (): number => {
      random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
      return random % 10 < 9 ? (random >>> 8) % 500 : 500 + ((random >>> 8) % 4500);
    };
    const entries = Math.floor(TOTAL_BYTES / body.length);
    let compactMs = 0;
    let peak = 0;
    for (let index = 1; index <= entries; index++) {
      liveKeys[index] = 0;
      for (let k = 0; k < 8; k++) {
        const key = pick();
        const before = newest.get(key);
        if (before !== undefined) liveKeys[before]--;
        newest.set(key, index);
        liveKeys[index]++;
      }
      wal.append(group, [{ index, term: 1, kind: EntryKind.batch, body, crc }]);
      if (index % 8 === 0) {
        const at = performance.now();
        await flush(wal);
        times.add(performance.now() - at);
      }
      if (index % 4000 === 0) {
        await new Promise<number>((done) =>
          wal.saveSnapshot(group, { index, term: 1, membership: MEMBERS }, [body], done),
        );
        const at = performance.now();
        await new Promise<void>((done) => wal.compact(() => done()));
        compactMs += performance.now() - at;
      }
      if (index % 1000 === 0) peak = Math.max(peak, wal.stats.bytes);
    }
    const live = liveKeys.filter((keys) => keys > 0).length * body.length;
    const copied = wal.stats.bytesCopiedForward;
    report(
      name,
      `${mb(wal.stats.bytesWritten)} MB written, ${mb(copied)} MB of it copies (${((100 * copied) / wal.stats.bytesWritten).toFixed(0)} %), live ${mb(live)} MB, on disk ${mb(wal.stats.bytes)} MB (peak ${mb(peak)}), compaction ${(compactMs / 1000).toFixed(1)} s in all, ${times}`,
    );
  });

runs['cold reads while writing'] = (name) =>
  withWal({ tailBytes: 4 * 1024 * 1024 }, async ({ wal }) => {
    const groups = create(wal, 2);
    await write(wal, groups, 2, 32 * 1024, TOTAL_BYTES);
    const [cold, hot] = groups;
    const last = wal.lastIndex(cold);
    let readBytes = 0;
    let reading = true;
    const begun = performance.now();
    const reader = (async () => {
      for (let at = 1; at < last - 200; ) {
        const entries = await new Promise<LogEntry[] | undefined>((done) =>
          wal.readEntries(cold, at, last, 1024 * 1024, done),
        );
        if (entries === undefined) throw new Error(`cannot read ${at}`);
        at += entries.length;
        for (const entry of entries) readBytes += entry.body.length;
      }
      reading = false;
    })();
    const times = new Times();
    const { body, crc } = bodyOf(4096, 3);
    while (reading) {
      wal.append(hot, [{ index: wal.lastIndex(hot) + 1, term: 1, kind: EntryKind.batch, body, crc }]);
      const at = performance.now();
      await flush(wal);
      times.add(performance.now() - at);
    }
    await reader;
    report(
      name,
      `${(readBytes / 1024 / 1024 / ((performance.now() - begun) / 1000)).toFixed(0)} MB/s verified (page cache), writer meanwhile: ${times}`,
    );
  });

runs['restart'] = (name) =>
  withWal({ segmentBytes: 8 * 1024 * 1024 }, async (bench) => {
    const groups = create(bench.wal, 1000);
    const result = await write(bench.wal, groups, 256, 512, TOTAL_BYTES / 2);
    const { bytes, segments } = bench.wal.stats;
    await new Promise<void>((done) => bench.wal.close(done));
    const at = performance.now();
    bench.wal = openWal(createNodeEnv({ dataDir: bench.dir, log: log as never }), 'wal', {});
    const ms = performance.now() - at;
    report(
      name,
      `${mb(bytes)} MB, ${segments} segments, ${(result.seconds * result.entriesPerS).toFixed(0)} entries of 1,000 groups: ${ms.toFixed(0)} ms`,
    );
  });

for (const [name, run] of Object.entries(runs)) if (name.includes(args.only)) await run(name);
