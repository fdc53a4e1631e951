// What can go wrong in the whole-cluster scenario. Each seed switches each kind on or off; those that are on strike at random times.
// Bound: what destroys data on a disk befalls one node of a run (the frail one), because the promise is about a minority of
// disks; everything else befalls anyone.
import type { Prng } from './prng.ts';
import { CALM } from './sim-transport.ts';
import type { SimNode, World } from './world.ts';

export const FAST_DISK = { syncMs: 0.4, stallProbability: 0, stallMs: 1000 };
const HOUR_US = 3600e6;
/** As long as a clock counts after it was last heard of. */
const CLOCKS_HEARD_MS = 3500;
const SPACE_LEFT_MAX = 600 * 1024;

export interface FaultContext {
  readonly world: World;
  readonly chance: Prng;
  /** The node whose disk may lose or change data. */
  readonly frail: SimNode;
  /** An older copy of the frail node's disk, taken at `takenMs`. */
  backup: { image: ReadonlyMap<string, Uint8Array>; takenMs: number; life: number } | undefined;
  /** When the last wrong clock was set right. */
  clocksRightMs: number;
  faulty: boolean;
}

export interface Fault {
  name: string;
  /** False: it could not strike now. Undefined: works by itself all the time. */
  strike?: (context: FaultContext) => boolean;
}

/** At most a minority is down at once, except where the fault is about more. */
function victim({ world, chance }: FaultContext): SimNode | undefined {
  const { up } = world;
  return up.length > world.majority ? up[Math.floor(chance.float() * up.length)] : undefined;
}

function crash(context: FaultContext, kind: 'process' | 'power'): boolean {
  const node = victim(context);
  node?.crash(kind);
  return node !== undefined;
}

/** The frail node, down: now is the time to do something to its files. */
function frailDown(context: FaultContext): SimNode | undefined {
  const { world, frail } = context;
  if (frail.up) {
    if (world.up.length <= world.majority) return undefined;
    frail.crash(context.chance.float() < 0.5 ? 'power' : 'process');
  }
  return frail;
}

function oneOf<T>(chance: Prng, list: readonly T[]): T {
  return list[Math.floor(chance.float() * list.length)];
}

function cut(context: FaultContext, a: SimNode, b: SimNode, oneWay: boolean): void {
  const { world } = context;
  world.network.cut(a.name, b.name);
  if (!oneWay) world.network.cut(b.name, a.name);
}

function rot(context: FaultContext): boolean {
  const { chance, frail, world } = context;
  const files = frail.disk.files().filter((path) => (frail.disk.content(path)?.length ?? 0) > 0);
  if (files.length === 0) return false;
  const path = oneOf(chance, files);
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
  world.count(`damaged ${path.replaceAll(/[0-9a-f]*\d[0-9a-f-]*/g, '#')}`);
  return true;
}

const leads = ({ node }: SimNode): boolean =>
  [...(node?.partitions.values() ?? [])].some((partition) => partition.leading);

/** The leader is cut off; the frail node votes for the third one, is put back to before that, and then reaches only the old leader, which
 * may not have stepped down yet. */
function forgottenVote(context: FaultContext): boolean {
  const { world, frail, chance } = context;
  const { scheduler, network } = world;
  const old = world.nodes.find((node) => node !== frail && leads(node));
  const heir = world.nodes.find((node) => node !== frail && node !== old);
  if (world.nodes.length !== 3 || world.up.length < 3 || old === undefined || heir === undefined) return false;
  const { life } = frail;
  const image = frail.disk.image();
  const leadBefore = new Map([...(old.node?.partitions ?? [])].filter(([, partition]) => partition.leading));
  const hasWon = (): boolean =>
    [...leadBefore.keys()].some((group) => heir.node?.partitions.get(group)?.leading === true);
  const turnBack = (): void => {
    network.heal();
    for (const other of [old, frail]) cut(context, heir, other, false);
    frail.crash('power');
    frail.disk.restore(image);
    frail.damaged = true;
    frail.start();
    if (leads(old)) world.count('forgotten vote: the old leader goes on');
    scheduler.after(1500 + chance.float() * 1500, () => network.heal());
  };
  // Its peers have heard by then that it has more than the copy.
  scheduler.after(400 + chance.float() * 400, () => {
    for (const other of [heir, frail]) cut(context, old, other, false);
    const untilMs = scheduler.nowMs + 2500;
    const look = (): void => {
      const isOver = !context.faulty || scheduler.nowMs > untilMs || frail.life !== life || !frail.up;
      if (isOver) network.heal();
      else if (hasWon()) turnBack();
      else scheduler.after(5, look);
    };
    look();
  });
  return true;
}

export const FAULTS: readonly Fault[] = [
  { name: 'crash points' },
  { name: 'power loss at an ack' },
  { name: 'process crash', strike: (context) => crash(context, 'process') },
  { name: 'power loss', strike: (context) => crash(context, 'power') },
  {
    name: 'power loss of all',
    strike: ({ world, chance }) => {
      if (chance.float() < 0.4) return false;
      for (const node of world.up) node.crash('power');
      return true;
    },
  },
  {
    name: 'crash loop',
    strike: (context) => {
      // Again and again, a moment after it has begun to recover.
      const node = victim(context);
      if (node === undefined) return false;
      const again = (left: number): void => {
        node.crash(context.chance.float() < 0.5 ? 'power' : 'process');
        if (!context.faulty || left === 0) return;
        node.start();
        context.world.scheduler.after(context.chance.float() * 60, () => again(left - 1));
      };
      again(3);
      return true;
    },
  },
  {
    name: 'wiped node',
    strike: (context) => {
      const { world, frail, chance } = context;
      if (world.up.length <= world.majority && frail.up) return false;
      if (chance.float() < 0.5) return false;
      frail.wipe();
      return true;
    },
  },
  {
    name: 'bit rot',
    strike: (context) => {
      // While it runs, or while it is down.
      if (context.chance.float() < 0.5 && frailDown(context) === undefined) return false;
      return rot(context);
    },
  },
  {
    name: 'deleted file',
    strike: (context) => {
      const node = frailDown(context);
      const files = node?.disk.files() ?? [];
      if (node === undefined || files.length === 0) return false;
      const path = oneOf(context.chance, files);
      node.damaged = true;
      // Without any copy of its identity the node must refuse to start.
      const doomed = context.chance.float() < 0.15 ? files.filter((one) => one.startsWith('identity')) : [path];
      for (const one of doomed) {
        node.disk.remove(one);
        context.world.count(`deleted ${one.replaceAll(/[0-9a-f]*\d[0-9a-f-]*/g, '#')}`);
      }
      return true;
    },
  },
  {
    name: 'roll-back',
    strike: (context) => {
      const { world, frail, backup } = context;
      const nowMs = world.scheduler.nowMs;
      if (backup === undefined || nowMs - backup.takenMs > 10_000) {
        context.backup = frail.up ? { image: frail.disk.image(), takenMs: nowMs, life: frail.life } : undefined;
        return false;
      }
      if (nowMs - backup.takenMs < 300) return false;
      const node = frailDown(context);
      if (node === undefined) return false;
      node.disk.restore(backup.image);
      node.damaged = true;
      context.backup = undefined;
      return true;
    },
  },
  { name: 'forgotten vote', strike: forgottenVote },
  {
    name: 'full disk',
    strike: ({ world, chance }) => {
      // One that leaves leading to others, or all, so that publishes must be refused.
      const victims = chance.float() < 0.4 ? world.nodes : [oneOf(chance, world.nodes)];
      for (const node of victims) {
        node.diskFails = true;
        node.disk.faults.spaceBytes = node.disk.usedBytes + Math.floor(chance.float() * SPACE_LEFT_MAX);
      }
      world.scheduler.after(500 + chance.float() * 4000, () => {
        for (const node of victims) node.disk.faults.spaceBytes = Number.POSITIVE_INFINITY;
      });
      return true;
    },
  },
  {
    name: 'failed sync',
    strike: (context) => {
      // One is enough: the node ends, and so does the trouble.
      const node = victim(context);
      if (node === undefined) return false;
      node.diskFails = true;
      node.disk.faults.syncErrorProbability = 1;
      context.world.scheduler.after(30, () => {
        node.disk.faults.syncErrorProbability = 0;
      });
      return true;
    },
  },
  {
    name: 'pause',
    strike: ({ world, chance }) => {
      const node = world.up[Math.floor(chance.float() * world.up.length)];
      node?.env?.pause(200 + chance.float() * 4000);
      return node !== undefined;
    },
  },
  {
    name: 'partition',
    strike: (context) => {
      const { world, chance } = context;
      const alone = oneOf(chance, world.nodes);
      const oneWay = chance.float() < 0.4;
      world.count(oneWay ? 'one-way cut' : 'two-way cut');
      for (const other of world.nodes) if (other !== alone) cut(context, alone, other, oneWay);
      world.scheduler.after(500 + chance.float() * 6000, () => world.network.heal());
      return true;
    },
  },
  {
    name: 'leader cut off',
    strike: (context) => {
      const { world, chance } = context;
      const leaders = world.nodes.filter(leads);
      if (leaders.length === 0) return false;
      const alone = oneOf(chance, leaders);
      for (const other of world.nodes) if (other !== alone) cut(context, alone, other, false);
      world.scheduler.after(1000 + chance.float() * 4000, () => world.network.heal());
      return true;
    },
  },
  {
    name: 'cut between two',
    strike: (context) => {
      const { world, chance } = context;
      const [a, b] = [oneOf(chance, world.nodes), oneOf(chance, world.nodes)];
      if (a === b) return false;
      cut(context, a, b, chance.float() < 0.3);
      world.scheduler.after(500 + chance.float() * 6000, () => world.network.heal());
      return true;
    },
  },
  {
    name: 'lossy network',
    strike: ({ world, chance }) => {
      world.network.faults = {
        delayMinMs: chance.float() * 5,
        delayMeanMs: 5 + chance.float() * 40,
        loss: chance.float() * 0.3,
        duplicate: chance.float() * 0.3,
        reorder: chance.float() * 0.3,
      };
      world.scheduler.after(500 + chance.float() * 6000, () => {
        world.network.faults = { ...CALM };
      });
      return true;
    },
  },
  {
    name: 'slow disk',
    strike: ({ world, chance }) => {
      // On one node or on several.
      for (const { disk } of world.nodes) {
        if (chance.float() < 0.5) continue;
        Object.assign(disk.latency, { syncMs: 5 + chance.float() * 50, stallProbability: 0.02, stallMs: 300 });
        world.scheduler.after(500 + chance.float() * 5000, () => void Object.assign(disk.latency, FAST_DISK));
      }
      return true;
    },
  },
  {
    name: 'clock jump',
    strike: (context) => {
      const { world, chance } = context;
      const { nowMs } = world.scheduler;
      // The promise is about one wrong clock: the one that was wrong is set right, and everyone has heard of that before the next goes wrong.
      const wrong = world.nodes.find(({ clock }) => clock.offsetUs !== 0);
      if (wrong !== undefined) {
        wrong.clock.offsetUs = 0;
        context.clocksRightMs = nowMs;
        return false;
      }
      if (nowMs - context.clocksRightMs < CLOCKS_HEARD_MS) return false;
      oneOf(chance, world.nodes).clock.offsetUs = Math.round((chance.float() - 0.5) * 6 * HOUR_US);
      return true;
    },
  },
];

/** Drawn for a few seeds only, because it takes a promise back. */
export const TWO_WRONG_CLOCKS: Fault = {
  name: 'two wrong clocks',
  strike: ({ world, chance }) => {
    for (const node of world.nodes) node.clock.offsetUs = 0;
    for (let i = 0; i < 2; i++)
      oneOf(chance, world.nodes).clock.offsetUs = Math.round((chance.float() - 0.5) * 6 * HOUR_US);
    return true;
  },
};

/** A majority, or everyone, loses power at the moment at which a client hears that its message is stored; who is left may be away for long. */
export function powerLossAtAck({ world, chance }: FaultContext): void {
  const { up } = world;
  const spared = chance.float() < 0.3 ? undefined : oneOf(chance, up);
  const awayMs = 1000 + chance.float() * 5000;
  for (const node of up) {
    if (node === spared) node.heldUntilMs = world.scheduler.nowMs + awayMs;
    node.crash(node === spared ? 'process' : 'power');
  }
  world.count('fault power loss at an ack');
}
