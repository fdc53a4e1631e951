// The load generator (bench/load, a Go program on the official client): built once a run, called with flags, answers one line of JSON.
// Used by run.ts, many.ts and large.ts. Invariant: the same binary with the same flags loads every server.
import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { TargetKind } from '../test/conformance/target.ts';

/** What each server does before it answers, as it runs here. */
export const TITLES: Record<TargetKind, string> = {
  flotilla: 'flotilla (fsync before ack)',
  'nats-server': 'nats-server (default)',
};

export interface LoadResult {
  seconds: number;
  perSecond: number;
  p50Ms?: number;
  p99Ms?: number;
  maxMs?: number;
  errors: number;
  firstError?: string;
  /** Streams that did not answer within a minute. */
  silent?: number;
}

/** Exits with a clear line when there is no Go. */
export function buildLoad(dir: string): string {
  const binary = join(dir, 'load');
  try {
    execFileSync('go', ['build', '-o', binary, '.'], {
      cwd: join(import.meta.dirname, 'load'),
      stdio: ['ignore', 'inherit', 'inherit'],
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      process.stderr.write('bench: needs Go for the load generator and nats-server; it is not on PATH\n');
      process.exit(1);
    }
    throw error;
  }
  return binary;
}

export function load(binary: string, url: string, flags: string[], timeoutMs = 180_000): LoadResult {
  const text = execFileSync(binary, ['-s', url, ...flags], { encoding: 'utf8', timeout: timeoutMs });
  return JSON.parse(text) as LoadResult;
}

/** As load, while the caller goes on. */
export function loadMeanwhile(binary: string, url: string, flags: string[]): Promise<LoadResult> {
  return new Promise((done, fail) => {
    const child = spawn(binary, ['-s', url, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.once('exit', (code) =>
      code === 0 ? done(JSON.parse(text) as LoadResult) : fail(new Error(`load: ${code}`)),
    );
  });
}

export function median(numbers: number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
