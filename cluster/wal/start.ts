// The start of a WAL's life: recovery, then a new segment. The unsure tail of the last segment (after its last durable end) is copied into that
// new segment, which is written whole and synced before anything else happens: after a failed sync the page cache may show bytes that the
// disk does not have, and syncing the old file again would not write them. Old files are sealed with tables; none is ever cut.
// Order: new segment, state file, tables. A crash in between leaves files from which the next start finds the same.
import type { Env } from '../../src/kit/env.ts';
import type { GroupId } from '../core/types.ts';
import type { CarriedEntry } from './batch-packer.ts';
import { mustBeGone, mustWork, type WalContext } from './context.ts';
import { type Inventory, takeInventory } from './inventory.ts';
import {
  defaultWalOptions,
  parseSnapshotName,
  SNAPSHOT_DIR,
  segmentName,
  segmentOfName,
  sidecarName,
  type WalOptions,
} from './options.ts';
import { quarantine } from './quarantine.ts';
import { createHeader, decodeHeader, HEADER_BYTES } from './record.ts';
import { type Recovered, Recovery } from './recovery.ts';
import { readOrZero } from './segment-scan.ts';
import { SegmentSet } from './segments.ts';
import { SidecarBuilder } from './sidecar.ts';
import { stateFileBytes } from './state-keeper.ts';
import { createStats } from './stats.ts';
import { TailCache } from './tail-cache.ts';
import { freshTailMark } from './tail-mark.ts';
import type { RecoveredGroup } from './types.ts';
import { Writer } from './writer.ts';

export interface Started {
  context: WalContext;
  writer: Writer;
  recovered: ReadonlyMap<GroupId, RecoveredGroup>;
}

export function startWal(env: Env, dir: string, given: Partial<WalOptions>): Started {
  const options = { ...defaultWalOptions, ...given };
  const inventory = takeInventory(env, dir, options.used);
  const segments = new SegmentSet(env, dir);
  for (const file of inventory.segments) {
    const { scan, table } = file;
    const segment = segments.create(file.id, file.bytes ?? 0);
    segment.end = scan?.durableEnd ?? table?.info.end ?? 0;
    segment.sealed = true;
    const lost = scan !== undefined && (scan.regions.length > 0 || scan.rows.some((row) => row.damaged));
    segment.doubtful = lost || file.bytes === undefined || segment.bytes < segment.end;
  }
  for (const name of inventory.leftovers) {
    const id = segmentOfName(name, '.seg');
    if (id > 0) segments.leave(id);
  }
  const found = new Recovery(env, dir, inventory, segments).run();
  const context: WalContext = {
    env,
    dir,
    options,
    walId: inventory.walId,
    segments,
    groups: found.groups,
    tombstones: found.tombstones,
    cache: new TailCache(options.tailBytes, options.tailReleasedBytes),
    stats: createStats(),
    snapshotFileNext: 1,
    position: found.position,
    // What was read may not be durable yet; what the log vouches for is.
    generation: inventory.vouchedGeneration,
    recordsLost: found.unsure,
    groupsUnsure: found.groupsUnsure,
  };
  if (context.groupsUnsure) env.log.error('wal: records are lost, and perhaps all that was known of some group');
  const writer = beginSegment(context, inventory);
  context.stats.segments = segments.all.size;
  context.stats.bytes = segments.totalBytes();
  const candidates = [...inventory.leftovers, ...unreferencedSnapshots(context, found)];
  const leftovers = candidates.filter((name) => env.disk.sizeSync(`${dir}/${name}`) !== undefined);
  if (leftovers.length > 0) env.clock.endOfTurn(() => removeLeftovers(context, leftovers));
  return { context, writer, recovered: found.answers };
}

function beginSegment(context: WalContext, inventory: Inventory): Writer {
  const { env, dir, segments, walId } = context;
  const carried = carryTail(context, inventory);
  const last = inventory.segments[inventory.segments.length - 1];
  const previous = { id: last?.id ?? 0, end: last?.scan?.durableEnd ?? last?.table?.info.end ?? 0 };
  const id = inventory.highestId + 1;
  const generation = Math.max(inventory.state?.generation ?? 0, inventory.vouchedGeneration) + 1;
  const writer = new Writer(context, { active: segments.create(id, 0), nextSegment: id + 1, previous });
  // New tail marks look like sound ones: where they were lost, the doubt that follows from it is made durable first.
  const isFirst = inventory.segments.length === 0;
  if (isFirst) renewTails(context, inventory);
  env.disk.replaceSync(`${dir}/${segmentName(id)}`, writer.birth(carried));
  env.crashPoint('wal.recover.segment');
  const bytes = stateFileBytes(context, generation, writer.durableEnd);
  // The older one first: a crash in between leaves two that follow each other, so what they list is still surely the newest.
  for (const name of inventory.statesOldestFirst) {
    env.disk.replaceSync(`${dir}/${name}`, bytes);
    env.crashPoint('wal.recover.state');
  }
  context.generation = generation;
  writer.keeper.began(bytes.length);
  if (!isFirst) renewTails(context, inventory);
  for (const { scan } of inventory.segments) {
    if (scan === undefined) continue;
    const builder = new SidecarBuilder();
    // What lies beyond the durable end was carried over, and may yet vanish from the old file at a power cut.
    for (const row of scan.rows) if (row.offset < scan.durableEnd) builder.add(row);
    env.disk.replaceSync(
      `${dir}/${sidecarName(scan.id)}`,
      builder.finish(scan.id, walId, scan.durableEnd, scan.info?.base ?? 0),
    );
    env.crashPoint('wal.recover.sidecar');
  }
  return writer;
}

function renewTails({ env, dir, walId }: WalContext, { lostTails }: Inventory): void {
  for (const name of lostTails) env.disk.replaceSync(`${dir}/${name}`, freshTailMark(walId));
}

/** Entries that count and lie beyond what is surely on disk. */
function carryTail(context: WalContext, inventory: Inventory): CarriedEntry[] {
  const { env, dir, groups } = context;
  const carried: CarriedEntry[] = [];
  for (const { scan } of inventory.segments) {
    if (scan === undefined) continue;
    for (const row of scan.rows) {
      if (row.other !== 0 || row.damaged || row.offset < scan.durableEnd) continue;
      const table = groups.get(row.group)?.table;
      if (table === undefined || !table.find(row.index) || table.segment !== scan.id || table.offset !== row.offset)
        continue;
      const bytes = readOrZero(env, `${dir}/${segmentName(scan.id)}`, row.offset, HEADER_BYTES + row.bodyLength);
      const header = createHeader();
      if (!decodeHeader(bytes, new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, header)) continue;
      carried.push({ header, body: bytes.subarray(HEADER_BYTES) });
    }
  }
  return carried;
}

/** Snapshot files that no state names: interrupted, or superseded. When records are lost they may be more than that: quarantine. */
function unreferencedSnapshots(context: WalContext, found: Recovered): string[] {
  const { env, dir, groups } = context;
  const leftovers: string[] = [];
  for (const name of env.disk.listSync(`${dir}/${SNAPSHOT_DIR}`)) {
    const parsed = parseSnapshotName(name);
    if (parsed === undefined) continue;
    const log = groups.get(parsed.group);
    context.snapshotFileNext = Math.max(context.snapshotFileNext, parsed.file + 1);
    const ref = log?.snapshot;
    if (ref !== undefined && ref.index === parsed.index && ref.file === parsed.file) continue;
    if (found.unsure) quarantine(env, `${dir}/${SNAPSHOT_DIR}`, name, 'no group refers to it, and records are lost');
    else leftovers.push(`${SNAPSHOT_DIR}/${name}`);
  }
  for (const [group, log] of groups) {
    const ref = log.snapshot;
    context.snapshotFileNext = Math.max(context.snapshotFileNext, (ref?.file ?? 0) + 1);
    const size =
      ref === undefined ? undefined : env.disk.sizeSync(`${dir}/${SNAPSHOT_DIR}/${group}-${ref.index}-${ref.file}`);
    if (ref !== undefined && size !== ref.bytes)
      env.log.error('wal: a snapshot is missing or cut', { group, index: ref.index });
  }
  return leftovers;
}

function removeLeftovers(context: WalContext, names: string[]): void {
  const { env, dir, segments } = context;
  const next = (i: number): void => {
    if (i === names.length) {
      env.disk.syncDir(dir, (error) => {
        mustWork(context, `syncing ${dir}`, error);
        for (const name of names) segments.gone(segmentOfName(name, '.seg'));
      });
      return;
    }
    env.disk.unlink(`${dir}/${names[i]}`, (error) => {
      mustBeGone(context, names[i], error);
      next(i + 1);
    });
  };
  next(0);
}
