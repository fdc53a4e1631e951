// Disks that go back in time: an older copy of the frail node's directory takes the place of what it has. Used by faults.ts. What a node
// forgot it can only be told, so a copy is put back only where somebody can tell (cluster/host/README.md, "Rolled back", says when nobody can):
// either every other member has it on disk that the node had more, or those who know stay up, and nothing else strikes, until it was told.
import type { PeerId } from '../../cluster/core/types.ts';
import { META_GROUP } from '../../cluster/core/types.ts';
import { decodeSeen, SEEN_FILE } from '../../cluster/host/standing.ts';
import type { Group } from '../../cluster/host/types.ts';
import { cut, type FaultContext, frailDown, leads } from './fault-context.ts';
import { coreOf, recoverImage } from './promise-check.ts';
import type { SimNode, World } from './world.ts';

/** By then a node that can be told has been, if its peers run. */
const TOLD_MS_MAX = 10_000;
/** And so long after that it is durable that it doubts. */
const DOUBT_DURABLE_MS = 300;
const COPY_MS_MAX = 10_000;
const SOON_SHARE = 0.5;

export interface Copy {
  readonly image: ReadonlyMap<string, Uint8Array>;
  readonly takenMs: number;
  /** Whose it is, and how much a recovery finds in it. */
  readonly id: PeerId;
  readonly durable: number;
}

function copyOf(node: SimNode, nowMs: number): Copy | undefined {
  const image = node.disk.image();
  const durable = recoverImage(node, image)?.durable;
  const id = node.node?.host.self;
  return durable === undefined || id === undefined ? undefined : { image, takenMs: nowMs, id, durable };
}

function remembersOnDisk({ disk }: SimNode, { id, durable }: Copy): boolean {
  const bytes = disk.durableImage().get(SEEN_FILE);
  return ((bytes && decodeSeen(bytes)?.get(id)?.durable) ?? 0) > durable;
}

/** In its present life. */
function remembers(world: World, node: SimNode, { id, durable }: Copy): boolean {
  return world.network.heardDurable(node.name, id) > durable;
}

function putBack(context: FaultContext, { image }: Copy): void {
  const { frail } = context;
  frail.disk.restore(image);
  frail.damaged = true;
  context.copy = undefined;
}

/** Nothing else strikes until it is up and has heard what all others remember. */
function quietUntilTold({ world, frail }: FaultContext): void {
  const { scheduler, network } = world;
  world.keepQuiet(TOLD_MS_MAX);
  const look = (): void => {
    const others = world.nodes.filter((node) => node !== frail);
    const hasHeard = others.every(({ node }) => node && network.heardDurable(frail.name, node.host.self) > 0);
    if (hasHeard) world.keepQuiet(DOUBT_DURABLE_MS);
    else if (world.isQuiet) scheduler.after(20, look);
  };
  look();
}

/** Some time after a copy was taken: seconds, so that its peers have it on disk that it had more, or a moment. */
export function rollBack(context: FaultContext): boolean {
  const { world, frail, chance } = context;
  const { scheduler } = world;
  const { nowMs } = scheduler;
  const { copy } = context;
  if (copy === undefined || nowMs - copy.takenMs > COPY_MS_MAX) {
    const taken = frail.up ? copyOf(frail, nowMs) : undefined;
    context.copy = taken;
    if (taken !== undefined && chance.float() < SOON_SHARE)
      scheduler.after(300 + chance.float() * 600, () => rollBackSoon(context, taken));
    return false;
  }
  const others = world.nodes.filter((node) => node !== frail);
  if (!others.every((node) => remembersOnDisk(node, copy)) || frailDown(context) === undefined) return false;
  putBack(context, copy);
  return true;
}

function rollBackSoon(context: FaultContext, copy: Copy): void {
  const { world, frail } = context;
  const others = world.nodes.filter((node) => node !== frail);
  if (!context.faulty || world.isQuiet || context.copy !== copy) return;
  if (!others.every((node) => node.up && remembers(world, node, copy))) return;
  world.soothe();
  frailDown(context);
  putBack(context, copy);
  frail.start();
  quietUntilTold(context);
  world.count('rolled back while its peers know it by heart');
}

/** What these lead of such groups. */
function handOver(nodes: readonly SimNode[], heir: SimNode, isMeant: (group: Group) => boolean): void {
  const id = heir.node?.host.self;
  for (const node of nodes) {
    if (id === undefined || node === heir) continue;
    node.enter(({ host }) => {
      for (const group of host.groups()) if (group.leading && isMeant(group)) group.transferLeadership(id);
    });
  }
}

/** The leader is cut off; the frail node votes for the third one, is put back to before that, and then reaches only the old leader, which
 * may not have stepped down yet. */
export function forgottenVote(context: FaultContext): boolean {
  const { world, frail, chance } = context;
  const { scheduler, network } = world;
  const old = world.nodes.find((node) => node !== frail && leads(node));
  const heir = world.nodes.find((node) => node !== frail && node !== old);
  if (world.nodes.length !== 3 || world.up.length < 3 || old === undefined || heir === undefined) return false;
  const copy = copyOf(frail, scheduler.nowMs);
  if (copy === undefined) return false;
  world.soothe();
  world.keepQuiet(10_000);
  const lives = world.nodes.map(({ life }) => life);
  const isUndisturbed = (): boolean =>
    context.faulty && world.up.length === 3 && world.nodes.every(({ life }, i) => life === lives[i]);
  const end = (): void => {
    network.heal();
    quietUntilTold(context);
  };
  const turnBack = (groups: readonly number[]): void => {
    network.heal();
    for (const other of [old, frail]) cut(context, heir, other, false);
    frail.crash('power');
    putBack(context, copy);
    frail.start();
    if (groups.some((group) => old.node?.partitions.get(group)?.leading))
      world.count('forgotten vote: the old leader goes on');
    scheduler.after(1500 + chance.float() * 1500, end);
  };
  // Without the metadata's leader it would not find its groups again.
  handOver(world.nodes, old, (group) => group.id === META_GROUP);
  // Its peers have heard by then that it has more than the copy.
  scheduler.after(400 + chance.float() * 400, () => {
    if (!isUndisturbed() || !remembers(world, old, copy) || !remembers(world, heir, copy)) {
      end();
      return;
    }
    const led = [...(old.node?.partitions ?? [])].filter(([, { leading }]) => leading).map(([group]) => group);
    for (const other of [heir, frail]) cut(context, old, other, false);
    const untilMs = scheduler.nowMs + 2500;
    const look = (): void => {
      const won = led.filter((group) => heir.node?.partitions.get(group)?.leading);
      if (!isUndisturbed() || scheduler.nowMs > untilMs) end();
      else if (won.length > 0) turnBack(won);
      else scheduler.after(5, look);
    };
    look();
  });
  return true;
}

/** Does it have all that the other one may have acknowledged, in every group, and do both know of the same election? */
function hasAllOf(node: SimNode, other: SimNode): boolean {
  return [...(other.node?.host.groups() ?? [])].every(({ id }) => {
    const [mine, its] = [coreOf(node, id), coreOf(other, id)];
    return (
      mine !== undefined &&
      its !== undefined &&
      mine.term === its.term &&
      mine.lastTerm === mine.term &&
      mine.lastTerm === its.lastTerm &&
      mine.lastIndex >= its.lastIndex
    );
  });
}

/** Of two peers one has not heard of the frail node since the copy was taken, but has all that it had. The frail node goes back, hears that
 * one only, follows and leads with it, and is told by the other one in the middle of that. */
export function toldLate(context: FaultContext): boolean {
  const { world, frail, chance } = context;
  const { scheduler, network } = world;
  if (world.nodes.length !== 3 || world.up.length < 3) return false;
  const [witness, ignorant] = chance.shuffle(world.nodes.filter((node) => node !== frail));
  world.soothe();
  world.keepQuiet(15_000);
  // What the frail node led on, the ignorant one would lack.
  handOver(world.nodes, witness, () => true);
  const end = (): void => {
    world.soothe();
    quietUntilTold(context);
  };
  const begin = (): void => {
    const copy = world.up.length < 3 || leads(frail) ? undefined : copyOf(frail, scheduler.nowMs);
    if (copy === undefined) {
      end();
      return;
    }
    cut(context, frail, ignorant, false);
    const untilMs = scheduler.nowMs + 3000;
    const look = (): void => {
      if (!context.faulty || world.up.length < 3 || scheduler.nowMs > untilMs) end();
      else if (remembers(world, witness, copy) && hasAllOf(ignorant, frail)) turnBack(copy);
      else scheduler.after(1, look);
    };
    scheduler.after(200 + chance.float() * 300, look);
  };
  const turnBack = (copy: Copy): void => {
    network.heal();
    for (const node of [ignorant, frail]) cut(context, witness, node, false);
    frail.crash('power');
    putBack(context, copy);
    frail.start();
    // It is told as a follower, or as a leader of some groups, while syncs are under way.
    scheduler.after(2000 + chance.float() * 500, () => {
      if (chance.float() < 0.6) handOver([ignorant], frail, () => chance.float() < 0.8);
      frail.disk.latency.syncMs = 20;
    });
    scheduler.after(3000 + chance.float() * 500, () => {
      network.heal();
      if (frail.up) world.count(leads(frail) ? 'told late: it leads by then' : 'told late: it follows by then');
    });
    scheduler.after(6500, end);
  };
  scheduler.after(500 + chance.float() * 500, begin);
  return true;
}
