// Nodes that are stopped on purpose, as an operator does: they hand over what they lead, close and end. Used by faults.ts. A rolling restart
// stops the next node while the one before is still catching up, which is when handing over could cost availability.
import { type FaultContext, victim } from './fault-context.ts';
import { coreOf } from './promise-check.ts';
import type { SimNode, World } from './world.ts';

const CATCHING_UP_MS_MAX = 400;
/** Longer than a node may take to hand over and to catch up. */
const STEP_MS_MAX = 12_000;

export function cleanStop(context: FaultContext): boolean {
  const node = victim(context);
  if (node === undefined || node.stopping) return false;
  node.stop();
  return true;
}

/** One node after the other, each as soon as the one before has begun to catch up. */
export function rollingRestart(context: FaultContext): boolean {
  const { world, chance } = context;
  // Nobody else stops nodes at the same time, not even another one who restarts them all.
  const mayStop = (): boolean =>
    world.up.length === world.nodes.length && !world.nodes.some(({ stopping }) => stopping);
  if (!mayStop()) return false;
  const order = world.nodes.toSorted(() => chance.float() - 0.5);
  const { scheduler } = world;
  const stop = (i: number): void => {
    const node = order[i];
    if (!context.faulty || node === undefined || !mayStop()) return;
    const untilMs = scheduler.nowMs + STEP_MS_MAX;
    const awayMs = 300 + chance.float() * 3000;
    const { life } = node;
    node.stop();
    const whenDown = (): void => {
      if (!context.faulty || scheduler.nowMs > untilMs) return;
      if (node.up) {
        scheduler.after(20, whenDown);
        return;
      }
      node.heldUntilMs = scheduler.nowMs + awayMs;
      scheduler.after(awayMs, () => {
        node.start();
        const seenUntilMs = scheduler.nowMs + CATCHING_UP_MS_MAX;
        const whenBack = (): void => {
          if (!context.faulty || node.life !== life + 1 || !node.up) return;
          const next = order[i + 1];
          if (next === undefined) return;
          if (scheduler.nowMs < seenUntilMs && !isCatchingUp(world, next, node)) scheduler.after(0.5, whenBack);
          else stop(i + 1);
        };
        whenBack();
      });
    };
    whenDown();
  };
  stop(0);
  return true;
}

/** As the leader of something sees it. */
function isCatchingUp(world: World, leader: SimNode, member: SimNode): boolean {
  const id = member.node?.host.self;
  if (leader.node === undefined || !world.network.isLinked(leader.name, member.name)) return false;
  return [...leader.node.host.groups()].some((group) =>
    coreOf(leader, group.id)?.progress.some(({ peer, state }) => peer === id && state !== 'replicate'),
  );
}
