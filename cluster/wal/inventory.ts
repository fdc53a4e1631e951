// First half of recovery: which files there are, which of them count, and what each says. Format and identity are checked, the newest
// state file is chosen, sealed segments are represented by their tables, others by a scan; damaged small files go to quarantine.
// Invariant: nothing is deleted here; what may go is only named.
import type { Env } from '../../src/kit/env.ts';
import {
  decodeFormat,
  decodeSegmentInfo,
  decodeStateFile,
  encodeFormat,
  type SegmentInfo,
  type StateFile,
} from './bodies.ts';
import {
  FORMAT_FILE,
  SNAPSHOT_DIR,
  STATE_FILES,
  segmentName,
  segmentOfName,
  sidecarName,
  TAIL_FILE,
} from './options.ts';
import { quarantine } from './quarantine.ts';
import { checkBody, createHeader, decodeHeader, FORMAT_VERSION, HEADER_BYTES, RecordType } from './record.ts';
import { readOrZero, type ScannedSegment, scanSegment } from './segment-scan.ts';
import { readSidecarInfo, type SidecarInfo } from './sidecar.ts';
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
  /** Both state files are readable and follow each other, so `state` is surely the newest. */
  stateSure: boolean;
  stateFilesIntact: number;
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
  intact: number;
}

function readStates(env: Env, dir: string): States {
  const states: StateFile[] = [];
  for (const name of STATE_FILES) {
    const bytes = readSmall(env, dir, name);
    if (bytes === undefined) continue;
    const state = decodeStateFile(bytes);
    if (state === undefined) quarantine(env, dir, name, 'state file damaged');
    else states.push(state);
  }
  states.sort((a, b) => b.generation - a.generation);
  const [newest, older] = states;
  const sure = older !== undefined && newest.generation === older.generation + 1 && newest.walId === older.walId;
  return { newest, sure, intact: states.length };
}

/** Checks FORMAT; throws when a newer release wrote it. Undefined: there is none (yet, or any more). */
function readFormat(env: Env, dir: string): number | undefined {
  const bytes = readSmall(env, dir, FORMAT_FILE);
  if (bytes === undefined) return undefined;
  const format = decodeFormat(bytes);
  if (format === 'damaged') {
    quarantine(env, dir, FORMAT_FILE, 'format file damaged');
    return undefined;
  }
  if (format.version > FORMAT_VERSION) {
    throw new Error(
      `the write-ahead log in ${dir}/ has format ${format.version}, this release knows formats up to ${FORMAT_VERSION}: start the release that wrote it, or a newer one`,
    );
  }
  return format.walId;
}

export function takeInventory(env: Env, dir: string): Inventory {
  env.disk.mkdirSync(dir);
  env.disk.mkdirSync(`${dir}/${SNAPSHOT_DIR}`);
  const formatId = readFormat(env, dir);
  const names = env.disk.listSync(dir);
  const onDisk = names.map((name) => segmentOfName(name, '.seg')).filter((id) => id > 0);
  const tables = names.map((name) => segmentOfName(name, '.idx')).filter((id) => id > 0);
  const { newest, sure, intact } = readStates(env, dir);
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
    stateFilesIntact: state === undefined ? 0 : intact,
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
  const tail = readTailMark(env, dir, walId, readSmall(env, dir, TAIL_FILE));
  scanUnsealed(env, dir, inventory, infos, tail);
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
