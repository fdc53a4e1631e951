// What the parts of one open WAL share. Made by wal.ts from what recovery found; every part gets the same object.
// Invariant: only writer.ts appends to segments, only state-keeper.ts writes the state files, only compaction.ts removes segments.
import type { Env } from '../../src/kit/env.ts';
import type { GroupId } from '../core/types.ts';
import type { GroupLog } from './group-log.ts';
import type { WalCrashPoint, WalOptions } from './options.ts';
import type { SegmentSet } from './segments.ts';
import type { TailCache } from './tail-cache.ts';
import type { WalStats } from './types.ts';

/** A deleted group: its records up to this epoch are dead. Every segment repeats it while there are segments from before the deletion;
 * it is remembered as long as any segment says so, because a new group of the same id must begin with a higher epoch. */
export interface Tombstone {
  epoch: number;
  /** Active at the deletion. */
  segment: number;
  /** The last segment that says so. */
  repeatedIn: number;
}

export interface WalContext {
  env: Env;
  /** The WAL's directory, relative to the data directory. */
  dir: string;
  options: WalOptions;
  walId: number;
  segments: SegmentSet;
  groups: Map<GroupId, GroupLog>;
  tombstones: Map<GroupId, Tombstone>;
  cache: TailCache;
  stats: WalStats;
  /** Numbers of snapshot files are never used twice, over all groups. */
  snapshotFileNext: number;
  /** Logical records durable since the WAL began; never goes back. */
  position: number;
  /** Generation of the state files that are durable. */
  generation: number;
  /** The start found that records are gone which nothing names: some of any group may be missing. */
  recordsLost: boolean;
  /** A group that is not here may have been: see StateFile. */
  groupsUnsure: boolean;
}

/** Crash point with a checked name. */
export function crashPoint(context: WalContext, name: WalCrashPoint): void {
  context.env.crashPoint(name);
}

/** The end of every failed write, sync, create or unlink of ours: never retried (RELIABILITY 5.6). */
export function mustWork(context: WalContext, what: string, error: Error | null): void {
  if (error !== null) context.env.fatal(`wal: ${what} failed: ${error.message}`, 'disk');
}

/** The end of an unlink. What somebody else has removed before is gone as well. */
export function mustBeGone(context: WalContext, path: string, error: Error | null): void {
  const isGone = error !== null && 'code' in error && error.code === 'ENOENT';
  mustWork(context, `removing ${path}`, isGone ? null : error);
}

export function invariant(context: WalContext, condition: boolean, what: string): void {
  if (!condition) context.env.fatal(`wal: ${what}`);
}
