// What can go wrong in the whole-cluster scenario. Each seed switches each kind on or off; those that are on strike at random times.
// What damages files is in file-damage.ts, what puts disks back in roll-backs.ts, what stops nodes on purpose in clean-stops.ts; what all share, and
// the bounds, in fault-context.ts.
import { cleanStop, rollingRestart } from './clean-stops.ts';
import { emptiedTwice } from './emptied-twice.ts';
import { cut, type Fault, type FaultContext, healAfter, leads, oneOf, victim } from './fault-context.ts';
import { deleteFile, rotFile } from './file-damage.ts';
import { forgottenVote, rollBack, toldLate } from './roll-backs.ts';
import type { SimNode } from './sim-node.ts';
import { CALM } from './sim-transport.ts';
import { FAST_DISK } from './world.ts';

const HOUR_US = 3600e6;
/** As long as a clock counts after it was last heard of. */
const CLOCKS_HEARD_MS = 3500;
const SPACE_LEFT_MAX = 600 * 1024;

function crash(context: FaultContext, kind: 'process' | 'power'): boolean {
  const node = victim(context);
  node?.crash(kind);
  return node !== undefined;
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
  { name: 'bit rot', strike: rotFile, weight: 4 },
  { name: 'deleted file', strike: deleteFile, weight: 4 },
  { name: 'roll-back', strike: rollBack, weight: 4 },
  { name: 'forgotten vote', strike: forgottenVote, weight: 4 },
  { name: 'roll-back told late', strike: toldLate, weight: 4 },
  { name: 'clean stop', strike: cleanStop },
  { name: 'rolling restart', strike: rollingRestart, weight: 2 },
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
      healAfter(context, 500 + chance.float() * 6000);
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
      healAfter(context, 1000 + chance.float() * 4000);
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
      healAfter(context, 500 + chance.float() * 6000);
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

const HAND_OVERS_MAX = 6;
const HAND_OVER_GAP_MS = 700;

/** Leaders come and go while everybody lives; half the time one other node is cut off from the first of them, and may find it leading again. */
export const HAND_OVERS: Fault = {
  name: 'hand-overs in a row',
  weight: 2,
  strike: (context) => {
    const { world, chance } = context;
    const { scheduler } = world;
    const leaders = world.up.filter(leads);
    if (leaders.length === 0) return false;
    const first = oneOf(chance, leaders);
    const other = oneOf(chance, world.up);
    if (other !== first && chance.float() < 0.75) {
      cut(context, first, other, false);
      healAfter(context, 600 + chance.float() * 1300);
    }
    const handOver = (from: SimNode, left: number): void => {
      if (!context.faulty || left === 0 || world.up.length === 0) return;
      const heir = oneOf(chance, world.up);
      giveAll(from, heir);
      scheduler.after(chance.float() * HAND_OVER_GAP_MS, () => handOver(heir, left - 1));
    };
    handOver(first, 2 + Math.floor(chance.float() * HAND_OVERS_MAX));
    return true;
  },
};

/** All that it leads, to one other. */
function giveAll(from: SimNode, { node }: SimNode): void {
  if (node === undefined || from.node === undefined || node === from.node) return;
  const { self } = node.host;
  from.enter(({ host }) => {
    for (const group of host.groups()) if (group.leading) group.transferLeadership(self);
  });
}

/** Drawn for some seeds only, because it is long and nothing else strikes meanwhile. */
export const EMPTIED_TWICE: Fault = { name: 'emptied twice, then all restarted', weight: 16, strike: emptiedTwice };

/** Drawn for a few seeds only, because it takes a promise back. */
export const TWO_WRONG_CLOCKS: Fault = {
  name: 'two wrong clocks',
  weight: 3,
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
