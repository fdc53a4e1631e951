// What the faults of a run share: the world, whose disk may suffer, and the ways to strike that keep a run within what is promised. Used by
// faults.ts and the files of single faults. Bounds: what destroys data on a disk befalls one node of a run (the frail one), because the
// promise is about a minority of disks; a fault of several steps is left alone until it is over.
import type { Prng } from './prng.ts';
import type { Copy } from './roll-backs.ts';
import type { SimNode, World } from './world.ts';

export interface FaultContext {
  readonly world: World;
  readonly chance: Prng;
  /** The node whose disk may lose or change data. */
  readonly frail: SimNode;
  /** An older copy of the frail node's disk. */
  copy: Copy | undefined;
  /** When the last wrong clock was set right. */
  clocksRightMs: number;
  faulty: boolean;
}

export interface Fault {
  name: string;
  /** False: it could not strike now. Undefined: works by itself all the time. */
  strike?: (context: FaultContext) => boolean;
  /** So many times as often as others: it finds its conditions seldom, or has many branches. */
  weight?: number;
}

/** At most a minority is down at once, except where the fault is about more. */
export function victim({ world, chance }: FaultContext): SimNode | undefined {
  const { up } = world;
  return up.length > world.majority ? oneOf(chance, up) : undefined;
}

/** The frail node, down: now is the time to do something to its files. */
export function frailDown(context: FaultContext): SimNode | undefined {
  const { world, frail } = context;
  if (frail.up) {
    if (world.up.length <= world.majority) return undefined;
    frail.crash(context.chance.float() < 0.5 ? 'power' : 'process');
  }
  return frail;
}

export function oneOf<T>(chance: Prng, list: readonly T[]): T {
  return list[Math.floor(chance.float() * list.length)];
}

export function cut({ world }: FaultContext, a: SimNode, b: SimNode, oneWay: boolean): void {
  world.network.cut(a.name, b.name);
  if (!oneWay) world.network.cut(b.name, a.name);
}

/** Ends what is wrong with the network after so long, or when the fault that is under way by then is over. */
export function healAfter({ world }: FaultContext, delayMs: number): void {
  const { scheduler, network } = world;
  const heal = (): void => {
    if (world.isQuiet) scheduler.at(world.quietUntilMs, heal);
    else network.heal();
  };
  scheduler.after(delayMs, heal);
}

export const leads = ({ node }: SimNode): boolean =>
  [...(node?.partitions.values() ?? [])].some((partition) => partition.leading);
