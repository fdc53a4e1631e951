// First half of recovery: which files there are, which of them count, and what each says. Format and identity are checked, the newest
// state file is chosen, sealed segments are represented by their tables, others by a scan; damaged small files go to quarantine.
// Invariant: nothing is deleted here; what may go is only named.
import type { Env } from '../../src/kit/env.ts';
import { decodeFormat, decodeSegmentInfo, encodeFormat, type SegmentInfo } from './bodies.ts';
import {
  FORMAT_FILE,
  SNAPSHOT_DIR,
  STATE_FILES,
  segmentName,
  segmentOfName,
  sidecarName,
  TAIL_FILES,
} from './options.ts';
import { quarantine } from './quarantine.ts';
import {
  checkBody,
  createHeader,
  decodeHeader,
  FORMAT_VERSION,
  HEADER_BYTES,
  RecordType,
  versionOfRecord,
} from './record.ts';
import { readOrZero, type ScannedSegment, scanSegment } from './segment-scan.ts';
import { readSidecarInfo, type SidecarInfo } from './sidecar.ts';
import { decodeStateFile, type StateFile, versionOfState } from './state-file.ts';
import { readTailMark, type TailEvidence } from './tail-mark.ts';

export interface SegmentFile {
  id: number;
  /** Size of the file; undefined: it is missing. */
  bytes: number | undefined;
  /** The table, when it is sealed. */
  table: { info: SidecarInfo; bytes: Uint8Array } | undefined;
  scan: ScannedSegment | undefined;
}

export interface Inventory {
  walId: number;
  /** The newest readable state file. */
  state: StateFile | undefined;
  /** Both state files are readable, of one write or of two that follow each other, and the log knows of no newer ones: `state` is surely
   * the newest. */
  stateSure: boolean;
  /** Names of the state files in the order in which they are to be replaced: what the newest one says stays readable until another one does. */
  statesOldestFirst: readonly string[];
  /** The state files had at least this generation, by what the log says. */
  vouchedGeneration: number;
  /** Where the log ends and which groups there are: the state files say so, and are not older than the log. */
  endSure: boolean;
  /** There may have been groups that nothing tells of. */
  groupsUnsure: boolean;
  /** Names of the tail marks that tell nothing; they are made anew. */
  lostTails: string[];
  segments: SegmentFile[];
  /** Segments that must be there, and of which nothing is left. */
  vanished: number[];
  /** Highest id ever used. */
  highestId: number;
  /** Names in the WAL's directory that count for nothing any more. */
  leftovers: string[];
}

function readSmall(env: Env, dir: string, name: string): Uint8Array | undefined {
  const size = env.disk.sizeSync(`${dir}/${name}`);
  return size === undefined ? undefined : readOrZero(env, `${dir}/${name}`, 0, size);
}

/** Undefined as well when the disk refuses any of it. */
function readWhole(env: Env, dir: string, name: string): Uint8Array | undefined {
  try {
    return env.disk.readSync(`${dir}/${name}`);
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    env.log.error('wal: unreadable file', { file: `${dir}/${name}`, error: error.message });
    return undefined;
  }
}

/** What the segment's first record says; undefined: not readable. */
function segmentInfo(env: Env, dir: string, id: number): SegmentInfo | undefined {
  const path = `${dir}/${segmentName(id)}`;
  if ((env.disk.sizeSync(path) ?? 0) < HEADER_BYTES) return undefined;
  const head = readOrZero(env, path, 0, HEADER_BYTES + 64);
  const view = new DataView(head.buffer, head.byteOffset, head.length);
  const h = createHeader();
  if (!decodeHeader(head, view, 0, h) || h.type !== RecordType.segment || h.segment !== id || h.offset !== 0)
    return undefined;
  const body = head.subarray(HEADER_BYTES, HEADER_BYTES + h.bodyLength);
  return body.length === h.bodyLength && checkBody(body, h.bodyCrc) ? decodeSegmentInfo(body) : undefined;
}

interface States {
  newest: StateFile | undefined;
  sure: boolean;
  oldestFirst: string[];
}

function readStates(env: Env, dir: string): States {
  const states: StateFile[] = [];
  const generations = new Map<string, number>();
  for (const name of STATE_FILES) {
    const bytes = readSmall(env, dir, name);
    if (bytes === undefined) continue;
    const state = decodeStateFile(bytes);
    if (state === undefined) quarantine(env, dir, name, 'state file damaged');
    else {
      states.push(state);
      generations.set(name, state.generation);
    }
  }
  states.sort((a, b) => b.generation - a.generation);
  const [newest, older] = states;
  const sure = older !== undefined && newest.generation - older.generation <= 1 && newest.walId === older.walId;
  const age = (name: string): number => generations.get(name) ?? -1;
  return { newest, sure, oldestFirst: [...STATE_FILES].sort((a, b) => age(a) - age(b)) };
}

function checkVersion(dir: string, version: number): void {
  if (version === FORMAT_VERSION) return;
  const which = version > FORMAT_VERSION ? 'the release that wrote it, or a newer one' : 'the release that wrote it';
  throw new Error(
    `the write-ahead log in ${dir}/ has format ${version}, this release reads format ${FORMAT_VERSION}: nothing was changed; start ${which}`,
  );
}

/** Checks FORMAT; throws when another version wrote it. Undefined: there is none (yet, or any more). When it cannot tell, whatever else has a
 * version of its own must be ours: the bytes of another one would look like damage. Nothing is touched before. */
function readFormat(env: Env, dir: string): number | undefined {
  const bytes = readSmall(env, dir, FORMAT_FILE);
  const format = bytes === undefined ? 'missing' : decodeFormat(bytes);
  if (typeof format === 'object') {
    checkVersion(dir, format.version);
    return format.walId;
  }
  for (const name of STATE_FILES) {
    const version = versionOfState(readSmall(env, dir, name) ?? new Uint8Array(0));
    if (version !== undefined) checkVersion(dir, version);
  }
  for (const name of env.disk.listSync(dir)) {
    if (segmentOfName(name, '.seg') === 0 || (env.disk.sizeSync(`${dir}/${name}`) ?? 0) < HEADER_BYTES) continue;
    const version = versionOfRecord(readOrZero(env, `${dir}/${name}`, 0, HEADER_BYTES));
    if (version !== undefined) checkVersion(dir, version);
  }
  if (format === 'damaged') quarantine(env, dir, FORMAT_FILE, 'format file damaged');
  return undefined;
}

/** `used`: there were groups here before, or there were none; undefined: not known. */
export function takeInventory(env: Env, dir: string, used: boolean | undefined): Inventory {
  const formatId = readFormat(env, dir);
  env.disk.mkdirSync(dir);
  env.disk.mkdirSync(`${dir}/${SNAPSHOT_DIR}`);
  const names = env.disk.listSync(dir);
  const onDisk = names.map((name) => segmentOfName(name, '.seg')).filter((id) => id > 0);
  const tables = names.map((name) => segmentOfName(name, '.idx')).filter((id) => id > 0);
  const { newest, sure, oldestFirst } = readStates(env, dir);
  const infos = new Map(onDisk.map((id) => [id, segmentInfo(env, dir, id)]));
  const walId =
    formatId ?? newest?.walId ?? [...infos.values()].find((info) => info !== undefined)?.walId ?? newId(env);
  if (formatId === undefined) env.disk.replaceSync(`${dir}/${FORMAT_FILE}`, encodeFormat(walId));

  const state = newest?.walId === walId ? newest : undefined;
  const stateSure = sure && state !== undefined;
  const inventory: Inventory = {
    walId,
    state,
    stateSure,
    statesOldestFirst: oldestFirst,
    vouchedGeneration: 0,
    endSure: state !== undefined,
    groupsUnsure: state?.groupsUnsure ?? false,
    lostTails: [],
    segments: [],
    vanished: [],
    highestId: Math.max(0, ...onDisk, ...tables, ...(state?.segments ?? [])),
    // Interrupted replacements of names that will not be replaced again; those of FORMAT and the state files are overwritten.
    leftovers: names.filter((name) => /^[0-9a-f]{8}\.(seg|idx)\.tmp$/.test(name)),
  };
  const listed = state?.segments ?? [];
  const highestListed = Math.max(0, ...listed);
  const ids = new Set([...listed, ...onDisk]);
  for (const id of [...ids].sort((a, b) => a - b)) {
    const owner = infos.get(id)?.walId;
    if (owner !== undefined && owner !== walId) {
      quarantine(env, dir, segmentName(id), 'segment of another log');
      continue;
    }
    const isListed = listed.includes(id);
    // Removed by compaction, or made ahead and never used: no record in it counts. Only said when the list is surely the newest.
    const removed = !isListed && stateSure && id <= highestListed;
    const unused = !isListed && stateSure && id > highestListed && owner === undefined;
    if (removed || unused) {
      inventory.leftovers.push(segmentName(id), ...(tables.includes(id) ? [sidecarName(id)] : []));
      continue;
    }
    const bytes = onDisk.includes(id) ? env.disk.sizeSync(`${dir}/${segmentName(id)}`) : undefined;
    const table = tables.includes(id) ? readTable(env, dir, id, walId) : undefined;
    if (bytes === undefined && table === undefined) {
      env.log.error('wal: a segment is gone', { segment: id });
      inventory.vanished.push(id);
      continue;
    }
    if (bytes === undefined) env.log.error('wal: a segment is gone; its table tells what was in it', { segment: id });
    inventory.segments.push({ id, bytes, table, scan: undefined });
  }
  for (const id of tables) if (!ids.has(id)) inventory.leftovers.push(sidecarName(id));
  const tail = TAIL_FILES.flatMap((name) => {
    const found = readTailMark(walId, readWhole(env, dir, name));
    if (found.length === 0) inventory.lostTails.push(name);
    return found;
  });
  scanUnsealed(env, dir, inventory, infos, tail);
  // The end of the log may have been cut off behind our back, and what would tell is lost in both places.
  if (tail.length === 0 && inventory.segments.length > 0) {
    env.log.error('wal: the evidence of how far the log was durable is lost');
    inventory.endSure = false;
  }
  for (const { id, scan } of inventory.segments) {
    const told = [infos.get(id), ...(scan?.marks.map(({ mark }) => mark) ?? [])];
    for (const one of told) inventory.vouchedGeneration = Math.max(inventory.vouchedGeneration, one?.generation ?? 0);
  }
  if (state !== undefined && state.generation < inventory.vouchedGeneration) {
    env.log.error('wal: the state files are older than the log: somebody put them back', {
      generation: state.generation,
      known: inventory.vouchedGeneration,
    });
    inventory.stateSure = false;
    inventory.endSure = false;
  }
  // A first start that was interrupted leaves at most the first segment, and no group is in it.
  const isUsed = used ?? (tables.length > 0 || Math.max(0, ...onDisk) > 1);
  if (!inventory.endSure && isUsed) inventory.groupsUnsure = true;
  return inventory;
}

function newId(env: Env): number {
  return env.random.uint32() * 65536 + (env.random.uint32() & 0xffff) + 1;
}

function readTable(env: Env, dir: string, id: number, walId: number): SegmentFile['table'] {
  const bytes = readSmall(env, dir, sidecarName(id)) as Uint8Array;
  const info = readSidecarInfo(bytes);
  if (info === undefined || info.segment !== id || info.walId !== walId) {
    quarantine(env, dir, sidecarName(id), 'table damaged');
    return undefined;
  }
  return { info, bytes };
}

/** From the last to the first: a segment's successor tells how far it was durable. */
function scanUnsealed(
  env: Env,
  dir: string,
  inventory: Inventory,
  infos: ReadonlyMap<number, SegmentInfo | undefined>,
  tail: readonly TailEvidence[],
): void {
  const { segments, state } = inventory;
  const ends = new Map<number, number>();
  if (state !== undefined) {
    const active = state.segments[state.segments.length - 1];
    if (active !== undefined) ends.set(active, state.durableEnd);
  }
  for (const { segment, durableEnd } of tail) ends.set(segment, Math.max(ends.get(segment) ?? 0, durableEnd));
  for (let i = segments.length - 1; i >= 0; i--) {
    const segment = segments[i];
    if (segment.table === undefined) {
      segment.scan = scanSegment(env, `${dir}/${segmentName(segment.id)}`, segment.id, ends.get(segment.id) ?? 0);
    }
    const info = infos.get(segment.id);
    if (info !== undefined) ends.set(info.previous, Math.max(ends.get(info.previous) ?? 0, info.previousEnd));
  }
}
