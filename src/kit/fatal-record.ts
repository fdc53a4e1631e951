// How often, and why, processes on this data directory had to end themselves: a small file, because counters in memory end with them.
// Written by Env.fatal, read by monitoring at the next start. Not synced: the process ends, the machine does not.
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FatalKind } from './env.ts';

export const FATAL_FILE = 'fatal-errors.json';
const REASON_MAX = 1000;

export interface FatalRecord {
  disk: number;
  invariant: number;
  /** Of the last one; 0 and '' when there was none. */
  lastUs: number;
  lastReason: string;
}

const NONE: FatalRecord = { disk: 0, invariant: 0, lastUs: 0, lastReason: '' };

/** What is unreadable counts as nothing: the file is for people and alerts, no decision rests on it. */
export function readFatalRecord(dataDir: string): FatalRecord {
  let text: string;
  try {
    text = readFileSync(join(dataDir, FATAL_FILE), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return NONE;
  }
  try {
    return { ...NONE, ...(JSON.parse(text) as Partial<FatalRecord>) };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return NONE;
  }
}

/** '' or why it could not be written. */
export function recordFatal(dataDir: string, kind: FatalKind, reason: string): string {
  const before = readFatalRecord(dataDir);
  const record: FatalRecord = {
    ...before,
    [kind]: before[kind] + 1,
    lastUs: Date.now() * 1_000,
    lastReason: reason.slice(0, REASON_MAX),
  };
  const file = join(dataDir, FATAL_FILE);
  try {
    writeFileSync(`${file}.tmp`, `${JSON.stringify(record)}\n`);
    renameSync(`${file}.tmp`, file);
    return '';
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return error.message;
  }
}
