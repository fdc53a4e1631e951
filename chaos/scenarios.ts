// What can go wrong, as data: each scenario is a list of deeds that hold at the same time for a while and are then undone, the last
// one first. deeds.ts knows how. Pure. Invariant: at most one directory is emptied at a time; two would be a majority lost, which nobody promises to survive.
import type { ToxicSpec, Way } from './cluster.ts';

/** `leader`: of the log stream. */
export type Where = 'leader' | 'follower' | 'any' | 'all';

export type Deed =
  /** On the links between this node and the others. */
  | { do: 'links'; on: Where; way: Way; toxic: ToxicSpec }
  /** On the connections of clients to this node. */
  | { do: 'clients'; on: Where; way: Way; toxic: ToxicSpec }
  /** The links are cut and whole again by turns. */
  | { do: 'flap'; on: Where; onMs: number; offMs: number }
  /** SIGKILL. `two`: a majority. */
  | { do: 'kill'; on: Where | 'two' }
  /** SIGKILL again and again, while the node starts and repairs itself. */
  | { do: 'crash-loop'; on: Where; times: number }
  /** SIGSTOP, then SIGCONT. */
  | { do: 'freeze'; on: Where }
  /** SIGTERM. */
  | { do: 'stop'; on: Where }
  /** SIGTERM and start again, one node after the other. */
  | { do: 'rolling-restart' }
  /** SIGKILL, and the directory is emptied. */
  | { do: 'wipe'; on: 'follower' | 'any' };

export interface Scenario {
  name: string;
  about: string;
  deeds: readonly Deed[];
  /** How long it holds. */
  forMs: readonly [min: number, max: number];
}

export const CUT: ToxicSpec = { type: 'timeout', attributes: { timeout: 0 } };
const toxic = (type: ToxicSpec['type'], attributes: Record<string, number>): ToxicSpec => ({ type, attributes });

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'leader-cut',
    about: 'the leader reaches no other node, and none reaches it',
    deeds: [{ do: 'links', on: 'leader', way: 'both', toxic: CUT }],
    forMs: [4000, 7000],
  },
  {
    name: 'leader-mute',
    about: 'nothing that the leader sends arrives; it hears the others',
    deeds: [{ do: 'links', on: 'leader', way: 'out', toxic: CUT }],
    forMs: [4000, 7000],
  },
  {
    name: 'leader-deaf',
    about: 'the leader hears nobody; the others hear it',
    deeds: [{ do: 'links', on: 'leader', way: 'in', toxic: CUT }],
    forMs: [4000, 7000],
  },
  {
    name: 'all-cut',
    about: 'no node reaches another',
    deeds: [{ do: 'links', on: 'all', way: 'both', toxic: CUT }],
    forMs: [2000, 5000],
  },
  {
    name: 'latency',
    about: 'every link takes 100 ms more, give or take 50',
    deeds: [{ do: 'links', on: 'all', way: 'both', toxic: toxic('latency', { latency: 50, jitter: 25 }) }],
    forMs: [4000, 8000],
  },
  {
    name: 'spikes',
    about: "one node's links take a second more",
    deeds: [{ do: 'links', on: 'any', way: 'both', toxic: toxic('latency', { latency: 1000, jitter: 200 }) }],
    forMs: [4000, 8000],
  },
  {
    name: 'bandwidth',
    about: 'the leader sends no more than 50 kB/s to others',
    deeds: [{ do: 'links', on: 'leader', way: 'out', toxic: toxic('bandwidth', { rate: 50 }) }],
    forMs: [4000, 8000],
  },
  {
    name: 'reset-peer',
    about: "one node's links are reset again and again",
    deeds: [{ do: 'links', on: 'any', way: 'both', toxic: toxic('reset_peer', { timeout: 200 }) }],
    forMs: [3000, 6000],
  },
  {
    name: 'limit-data',
    about: 'links end in the middle of a frame, after 20,000 bytes',
    deeds: [{ do: 'links', on: 'all', way: 'out', toxic: toxic('limit_data', { bytes: 20_000 }) }],
    forMs: [3000, 6000],
  },
  {
    name: 'slicer',
    about: 'links and clients get their bytes in pieces of about 50',
    deeds: [
      {
        do: 'links',
        on: 'all',
        way: 'out',
        toxic: toxic('slicer', { average_size: 50, size_variation: 30, delay: 20 }),
      },
      {
        do: 'clients',
        on: 'any',
        way: 'both',
        toxic: toxic('slicer', { average_size: 50, size_variation: 30, delay: 20 }),
      },
    ],
    forMs: [3000, 6000],
  },
  {
    name: 'flapping',
    about: "the leader's links are cut for a second, whole for a second, and so on",
    deeds: [{ do: 'flap', on: 'leader', onMs: 1000, offMs: 1000 }],
    forMs: [6000, 10_000],
  },
  {
    name: 'clients-reset',
    about: 'connections of clients are reset',
    deeds: [{ do: 'clients', on: 'all', way: 'both', toxic: toxic('reset_peer', { timeout: 100 }) }],
    forMs: [1500, 3000],
  },
  {
    name: 'clients-mute',
    about: 'what one node answers to its clients is lost; what they send arrives',
    deeds: [{ do: 'clients', on: 'leader', way: 'out', toxic: CUT }],
    forMs: [3000, 6000],
  },
  {
    name: 'clients-limited',
    about: "clients' connections to one node end in the middle of a message",
    deeds: [{ do: 'clients', on: 'any', way: 'both', toxic: toxic('limit_data', { bytes: 30_000 }) }],
    forMs: [3000, 6000],
  },
  { name: 'kill-leader', about: 'kill -9', deeds: [{ do: 'kill', on: 'leader' }], forMs: [200, 4000] },
  { name: 'kill-follower', about: 'kill -9', deeds: [{ do: 'kill', on: 'follower' }], forMs: [200, 4000] },
  { name: 'kill-two', about: 'kill -9 of a majority', deeds: [{ do: 'kill', on: 'two' }], forMs: [200, 3000] },
  { name: 'kill-all', about: 'kill -9 of all at once', deeds: [{ do: 'kill', on: 'all' }], forMs: [100, 1500] },
  {
    name: 'crash-loop',
    about: 'kill -9 while the node comes back, four times',
    deeds: [{ do: 'crash-loop', on: 'any', times: 4 }],
    forMs: [200, 1000],
  },
  {
    name: 'crash-loop-all',
    about: 'the same with all nodes at once, twice',
    deeds: [{ do: 'crash-loop', on: 'all', times: 2 }],
    forMs: [200, 1000],
  },
  { name: 'freeze-leader', about: 'SIGSTOP', deeds: [{ do: 'freeze', on: 'leader' }], forMs: [4000, 6000] },
  { name: 'freeze-all', about: 'SIGSTOP of all', deeds: [{ do: 'freeze', on: 'all' }], forMs: [1500, 4000] },
  { name: 'rolling-restart', about: 'SIGTERM, one by one', deeds: [{ do: 'rolling-restart' }], forMs: [0, 0] },
  { name: 'stop-all', about: 'SIGTERM of all at once', deeds: [{ do: 'stop', on: 'all' }], forMs: [100, 1000] },
  {
    name: 'wipe',
    about: 'kill -9, and the node comes back with an empty directory',
    deeds: [{ do: 'wipe', on: 'any' }],
    forMs: [200, 2500],
  },
  {
    name: 'wipe-slow',
    about: 'an emptied node is filled again over links that take 100 ms more',
    deeds: [
      { do: 'links', on: 'all', way: 'both', toxic: toxic('latency', { latency: 50, jitter: 25 }) },
      { do: 'wipe', on: 'any' },
    ],
    forMs: [200, 1000],
  },
  {
    name: 'wipe-flapping',
    about: "an emptied node is filled again while the leader's links flap",
    deeds: [
      { do: 'flap', on: 'leader', onMs: 700, offMs: 1500 },
      { do: 'wipe', on: 'follower' },
    ],
    forMs: [200, 1000],
  },
];

/** Deeds that a storm may combine: one on the network, one on the processes. */
const ON_NETWORK = SCENARIOS.flatMap((scenario) => scenario.deeds).filter(
  (deed) => deed.do === 'links' || deed.do === 'clients' || deed.do === 'flap',
);
const ON_PROCESSES = SCENARIOS.flatMap((scenario) => scenario.deeds).filter(
  (deed) => deed.do === 'kill' || deed.do === 'crash-loop' || deed.do === 'freeze' || deed.do === 'stop',
);

export type Chance = (below: number) => number;

/** xorshift32: the same faults in the same order for the same seed. */
export function chanceOf(seed: number): Chance {
  let state = (seed * 2654435761) >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const isNarrow = (deed: Deed): boolean => deed.do === 'links' && deed.toxic.type === 'bandwidth';

/** Two or three at once. A narrow way is made first: on a proxy that cuts connections already it could not be. */
export function storm(chance: Chance): Scenario {
  const pick = (deeds: readonly Deed[]): Deed => deeds[chance(deeds.length)];
  const deeds = [pick(ON_NETWORK), pick(ON_PROCESSES)];
  if (chance(2) === 0) deeds.push(pick(ON_NETWORK));
  if (deeds.length > 2 && isNarrow(deeds[2])) deeds.reverse();
  return { name: 'storm', about: deeds.map(deedText).join(' + '), deeds, forMs: [3000, 7000] };
}

export function deedText(deed: Deed): string {
  if (deed.do === 'rolling-restart') return deed.do;
  const what = deed.do === 'links' || deed.do === 'clients' ? `${deed.do} ${deed.toxic.type} ${deed.way}` : deed.do;
  return `${what} on ${deed.on}`;
}

/** Every scenario once in the order of the seed, a storm after every fourth, and again from a new order. */
export function* drawn(chance: Chance): Generator<Scenario, never> {
  for (;;) {
    const deck = [...SCENARIOS];
    for (let i = deck.length - 1; i > 0; i--) {
      const j = chance(i + 1);
      [deck[i], deck[j]] = [deck[j], deck[i]];
    }
    for (const [i, scenario] of deck.entries()) {
      yield scenario;
      if (i % 4 === 3) yield storm(chance);
    }
  }
}
