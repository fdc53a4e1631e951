// A node's disk is replaced, and replaced again when the node votes; then all nodes start anew. What they have applied of the metadata by then may
// still name the life in between, whose place is long taken. Used by faults.ts.
import type { FaultContext } from './fault-context.ts';

/** The cluster has to hold each life for dead before it takes the next one in. */
const MS_MAX = 30_000;
const LOOK_MS = 20;
const VOTES_FOR_MS_MAX = 300;

export function emptiedTwice(context: FaultContext): boolean {
  const { world, frail, chance } = context;
  const { scheduler } = world;
  if (world.up.length < world.nodes.length) return false;
  world.soothe();
  world.keepQuiet(MS_MAX);
  const untilMs = scheduler.nowMs + MS_MAX;
  const restartAll = (): void => {
    if (!context.faulty) return;
    for (const node of world.nodes) node.crash(chance.float() < 0.5 ? 'power' : 'process');
    for (const node of world.nodes) node.start();
    world.keepQuiet(0);
    world.count('emptied twice: all restarted');
  };
  const empty = (then: () => void): void => {
    if (!context.faulty) return;
    frail.wipe();
    frail.start();
    const look = (): void => {
      if (!context.faulty || scheduler.nowMs > untilMs) return;
      if (votesEverywhere(context)) scheduler.after(chance.float() * VOTES_FOR_MS_MAX, then);
      else scheduler.after(LOOK_MS, look);
    };
    look();
  };
  empty(() => empty(restartAll));
  return true;
}

/** As the leaders of all groups see it that it has a copy of: the metadata, and partitions. */
function votesEverywhere({ world, frail }: FaultContext): boolean {
  const self = frail.node?.host.self;
  const groups = [...(frail.node?.host.groups() ?? [])];
  if (self === undefined || groups.length < 2) return false;
  return groups.every(({ id }) =>
    world.up.some(({ node }) => {
      const group = node?.host.group(id);
      return group?.leading === true && group.status().membership.voters.includes(self);
    }),
  );
}
