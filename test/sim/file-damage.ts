// Damage to the files of the frail node's disk, while it runs, is down, or comes back again and again. Used by faults.ts. Sealed segments,
// their tables and snapshots are most of a real disk and little of a simulated one, so they are chosen more often than by chance.
import { type FaultContext, frailDown, oneOf } from './fault-context.ts';
import type { Prng } from './prng.ts';
import type { SimNode } from './world.ts';

const AGAIN_SHARE = 0.25;

/** What a file is, without its number. */
const kindOf = (path: string): string => path.replaceAll(/[0-9a-f]*\d[0-9a-f-]*/g, '#');

function fileOf(chance: Prng, { disk }: SimNode): string | undefined {
  const files = disk.files().filter((path) => (disk.content(path)?.length ?? 0) > 0);
  const dice = chance.float();
  const ending = dice < 0.35 ? '.seg' : dice < 0.55 ? '.idx' : dice < 0.8 ? 'snap/' : '';
  const some = files.filter((path) => path.includes(ending));
  return oneOf(chance, some.length > 0 ? some : files);
}

export function rotFile(context: FaultContext): boolean {
  // While it runs, or while it is down.
  if (context.chance.float() < 0.5 && frailDown(context) === undefined) return false;
  const hasStruck = rot(context);
  if (hasStruck) onceMore(context, () => void rot(context));
  return hasStruck;
}

function rot(context: FaultContext): boolean {
  const { chance, frail, world } = context;
  const path = fileOf(chance, frail);
  if (path === undefined) return false;
  const size = frail.disk.content(path)?.length ?? 0;
  frail.damaged = true;
  const kind = chance.float();
  const at = Math.floor(chance.float() * size);
  if (kind < 0.25) {
    frail.disk.readError(path, at, at + 1);
    frail.diskFails = true;
    world.count('unreadable sector');
  } else if (kind < 0.7) for (let i = 0; i < 1 + chance.float() * 3; i++) frail.disk.flipBit(path, at + i * 40, i);
  else if (kind < 0.85) frail.disk.zero(path, at, Math.min(size, at + 512));
  else if (!frail.up) frail.disk.cutTo(path, at);
  else return false;
  world.count(`damaged ${kindOf(path)}`);
  return true;
}

export function deleteFile(context: FaultContext): boolean {
  const { chance, frail } = context;
  if (frail.up && chance.float() < 0.3) return deleteTables(context);
  if (frailDown(context) === undefined) return false;
  const path = fileOf(chance, frail);
  if (path === undefined) return false;
  const files = frail.disk.files();
  const dice = chance.float();
  // Without any copy of its identity the node must refuse to start; a segment goes with the table that names what was in it, or without.
  if (dice < 0.12)
    remove(
      context,
      files.filter((one) => one.startsWith('identity')),
    );
  else if (!path.endsWith('.seg') || dice > 0.5) remove(context, [path]);
  else
    remove(
      context,
      files.filter((one) => one.startsWith(path.slice(0, -'.seg'.length))),
    );
  onceMore(context, () => remove(context, [fileOf(chance, frail) ?? path]));
  return true;
}

/** Compaction and scrub miss them while the node runs. */
function deleteTables(context: FaultContext): boolean {
  const { chance, frail } = context;
  const tables = frail.disk.files('wal/').filter((path) => path.endsWith('.idx'));
  if (tables.length === 0) return false;
  remove(context, chance.float() < 0.5 ? [oneOf(chance, tables)] : tables);
  return true;
}

function remove({ frail, world }: FaultContext, paths: readonly string[]): void {
  frail.damaged = true;
  for (const path of paths) {
    frail.disk.remove(path);
    world.count(`deleted ${kindOf(path)}`);
  }
}

/** The node comes back, goes down a moment later, and there is more of it. */
function onceMore(context: FaultContext, damage: () => void): void {
  const { chance, frail, world } = context;
  if (frail.up || chance.float() >= AGAIN_SHARE) return;
  frail.start();
  world.scheduler.after(chance.float() * 200, () => {
    if (!context.faulty || world.isQuiet || frailDown(context) === undefined) return;
    damage();
    world.count('damaged again while it recovers');
  });
}
