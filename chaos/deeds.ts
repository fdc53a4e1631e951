// How each deed of scenarios.ts is done and undone. Called by run.ts. Invariant: after `undo` of every deed all processes run and no
// proxy has a toxic left; a deed changes nothing before it has chosen its node.
import { existsSync, rmSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { type Cluster, NODES } from './cluster.ts';
import { type Chance, CUT, type Deed, type Scenario, type Where } from './scenarios.ts';

export interface World {
  cluster: Cluster;
  chance: Chance;
  /** Of the log stream; undefined when nobody knows one. */
  leader(): Promise<number | undefined>;
  /** The node holds all streams again. */
  refilled(node: number): Promise<void>;
  say(text: string): void;
}

type Undo = () => Promise<void>;
type Toxics = Awaited<ReturnType<Cluster['poisonLinks']>>;

const ROLLING_READY_MS_MAX = 60_000;
const STAGGER_MS = 400;
/** From a start to the next SIGKILL: before the log is open, while it is read, after links are up. */
const LIFE_MS = { min: 300, more: 3000 };

async function chosen(world: World, on: Where | 'two'): Promise<number[]> {
  if (on === 'all') return [...NODES];
  const { chance } = world;
  const any = chance(NODES.length);
  if (on === 'any') return [any];
  if (on === 'two') return NODES.filter((node) => node !== any);
  const leader = (await world.leader()) ?? any;
  return [on === 'leader' ? leader : (leader + 1 + chance(NODES.length - 1)) % NODES.length];
}

/** Nodes that are down already (another deed's) stay with whoever took them down. */
const running = (world: World, nodes: readonly number[]): number[] =>
  nodes.filter((node) => world.cluster.target.pid(node) !== undefined);

async function launchAll(world: World, nodes: readonly number[]): Promise<void> {
  for (const [i, node] of nodes.entries()) {
    if (i > 0) await pause(world.chance(STAGGER_MS));
    world.cluster.target.launch(node);
  }
}

type Doing<K extends Deed['do']> = (world: World, deed: Extract<Deed, { do: K }>) => Promise<Undo>;

const DEEDS: { [K in Deed['do']]: Doing<K> } = {
  links: async (world, { on, way, toxic }) => {
    const nodes = await chosen(world, on);
    say(world, nodes, `links ${way}: ${toxic.type}`);
    // Every connection has two ends: on all nodes one way is both ways already.
    const made: Toxics = [];
    for (const node of nodes) made.push(...(await world.cluster.poisonLinks(node, on === 'all' ? 'out' : way, toxic)));
    return () => world.cluster.heal(made);
  },
  clients: async (world, { on, way, toxic }) => {
    const nodes = await chosen(world, on);
    say(world, nodes, `clients ${way}: ${toxic.type}`);
    const made: Toxics = [];
    for (const node of nodes) made.push(...(await world.cluster.poisonClients(node, way, toxic)));
    return () => world.cluster.heal(made);
  },
  flap: async (world, { on, onMs, offMs }) => {
    const nodes = await chosen(world, on);
    say(world, nodes, 'links flap');
    let flapping = true;
    const turns = async (): Promise<void> => {
      while (flapping) {
        const made: Toxics = [];
        for (const node of nodes) made.push(...(await world.cluster.poisonLinks(node, 'both', CUT)));
        await pause(onMs);
        await world.cluster.heal(made);
        await pause(offMs);
      }
    };
    const done = turns();
    return async () => {
      flapping = false;
      await done;
    };
  },
  kill: async (world, { on }) => {
    const nodes = running(world, await chosen(world, on));
    say(world, nodes, 'killed');
    await Promise.all(nodes.map((node) => world.cluster.kill(node)));
    return () => launchAll(world, nodes);
  },
  'crash-loop': async (world, { on, times }) => {
    const nodes = running(world, await chosen(world, on));
    say(world, nodes, `killed ${times} times`);
    const loop = async (node: number, lives: readonly number[]): Promise<void> => {
      await world.cluster.kill(node);
      for (const lifeMs of lives) {
        world.cluster.target.launch(node);
        await pause(lifeMs);
        await world.cluster.kill(node);
      }
    };
    // Drawn before anything happens: what the seed gives must not depend on who is faster.
    const lives = nodes.map(() => Array.from({ length: times - 1 }, () => LIFE_MS.min + world.chance(LIFE_MS.more)));
    await Promise.all(nodes.map((node, i) => loop(node, lives[i])));
    return () => launchAll(world, nodes);
  },
  stop: async (world, { on }) => {
    const nodes = running(world, await chosen(world, on));
    say(world, nodes, 'stopped');
    await Promise.all(nodes.map((node) => world.cluster.stopNode(node)));
    return () => launchAll(world, nodes);
  },
  freeze: async (world, { on }) => {
    const nodes = running(world, await chosen(world, on));
    say(world, nodes, 'frozen');
    for (const node of nodes) world.cluster.target.signal(node, 'SIGSTOP');
    return async () => {
      for (const node of nodes) world.cluster.target.signal(node, 'SIGCONT');
    };
  },
  'rolling-restart': async (world) => {
    for (const node of NODES) {
      say(world, [node], 'restarted');
      await world.cluster.stopNode(node);
      world.cluster.target.launch(node);
      await world.cluster.target.ready(ROLLING_READY_MS_MAX);
    }
    return async () => {};
  },
  wipe: async (world, { on }) => {
    const nodes = running(world, await chosen(world, on));
    say(world, nodes, 'emptied');
    for (const node of nodes) {
      await world.cluster.kill(node);
      const dir = world.cluster.target.dataDir(node);
      if (!existsSync(dir)) throw new Error(`${dir} is not there`);
      rmSync(dir, { recursive: true });
    }
    return async () => {
      await launchAll(world, nodes);
      for (const node of nodes) await world.refilled(node);
    };
  },
};

function say(world: World, nodes: readonly number[], what: string): void {
  world.say(`  ${nodes.map((node) => world.cluster.names[node]).join(', ')} ${what}`);
}

/** All deeds at once, for as long as the seed says, then everything undone: what was frozen, then the last one first. */
export async function play(world: World, { deeds, forMs: [min, max] }: Scenario): Promise<void> {
  const undo: Undo[] = [];
  const thaw: Undo[] = [];
  for (const deed of deeds) {
    const done = await (DEEDS[deed.do] as Doing<Deed['do']>)(world, deed as never);
    (deed.do === 'freeze' ? thaw : undo).push(done);
  }
  await pause(min + world.chance(max - min + 1));
  // First: a toxic on the way to a process that takes nothing cannot be taken out.
  for (const each of thaw) await each();
  for (const each of undo.reverse()) await each();
}
