// A whole cluster of cores in one thread, from one seed: lossy, duplicating, reordering network with partitions; crashes that lose
// what was not durable; pauses, slow disks, membership changes, transfers, snapshots. After a time of faults everything
// heals, and then the group must work, agree, fall asleep and wake. By hand, with an optional JSON of Weather as third argument:
// `node test/sim/core-sim.ts <first seed> <last seed>` or `node test/sim/core-sim.ts <seed> trace`.
import type { Limits } from '../../cluster/core/limits.ts';
import { Raft } from '../../cluster/core/raft.ts';
import type { Membership, PeerId, RaftMessage } from '../../cluster/core/types.ts';
import { CoreNode, type HostBugs, type NodeWorld } from './core-sim-node.ts';
import { Truth, Violation } from './core-sim-truth.ts';
import { createPrng, type Prng } from './prng.ts';
import { createScheduler, type Scheduler } from './scheduler.ts';

export interface CoreSimOptions {
  bugs?: HostBugs;
  Core?: typeof Raft;
  /** Fixes some of what the seed would draw. */
  weather?: Partial<Weather>;
  faultsMs?: number;
  trace?: (line: string) => void;
}

export interface CoreSimReport {
  seed: number | string;
  nodes: number;
  events: number;
  elections: number;
  committed: number;
  acked: number;
  readsOk: number;
  readsRefused: number;
  snapshotsInstalled: number;
  crashes: number;
  partitions: number;
  membershipChanges: number;
  /** Equal for equal runs. */
  traceHash: number;
}

/** How bad this seed's world is; each kind of fault is on or off. */
export interface Weather {
  voters: number;
  /** Nodes besides the first voters; learners from the beginning, or outside until they are added. */
  others: number;
  othersLearn: boolean;
  lossChance: number;
  duplicateChance: number;
  delayMeanMs: number;
  reorders: boolean;
  crashes: boolean;
  pauses: boolean;
  partitions: boolean;
  /** What is under way when a link is cut still arrives. */
  leaky: boolean;
  membership: boolean;
  transfers: boolean;
  snapshots: boolean;
  slowDisks: boolean;
  voteBans: boolean;
  /** Nodes are told to stand, several at once, whoever leads. */
  storms: boolean;
  /** A node dies right after it sent something; ten times as often after a vote. */
  crashAfterSendChance: number;
  /** Some messages take very long. */
  spikeChance: number;
  restartMeanMs: number;
  proposalMeanMs: number;
  readMeanMs: number;
  faultMeanMs: number;
  appendEntriesMax: number;
  inflightMax: number;
  promptCommits: boolean;
}

function drawWeather(prng: Prng): Weather {
  const on = (): boolean => prng.chance(0.6);
  const membership = on();
  return {
    voters: prng.pick([1, 2, 3, 3, 3, 3, 4, 5, 5]),
    others: membership ? prng.int(3) : 0,
    othersLearn: prng.chance(0.3),
    membership,
    lossChance: on() ? prng.float() * 0.2 : 0,
    duplicateChance: on() ? prng.float() * 0.2 : 0,
    delayMeanMs: prng.pick([0.3, 1, 5, 30]),
    reorders: on(),
    crashes: on(),
    pauses: on(),
    partitions: on(),
    leaky: on(),
    transfers: on(),
    snapshots: on(),
    slowDisks: on(),
    voteBans: prng.chance(0.2),
    storms: prng.chance(0.3),
    crashAfterSendChance: prng.pick([0, 0, 0, 0.002, 0.01]),
    spikeChance: on() ? 0.01 : 0,
    restartMeanMs: prng.pick([20, 500, 2000]),
    proposalMeanMs: prng.pick([5, 30, 200, 2500]),
    readMeanMs: prng.pick([20, 200, 2000]),
    faultMeanMs: prng.pick([300, 1000, 3000]),
    appendEntriesMax: prng.pick([3, 10, 64, 64]),
    inflightMax: prng.pick([2, 8, 64, 64]),
    promptCommits: prng.chance(0.5),
  };
}

const DETECT_MS = 2000;

export class CoreSim implements NodeWorld {
  readonly scheduler: Scheduler;
  readonly truth = new Truth();
  readonly nodes: CoreNode[] = [];
  readonly bugs: HostBugs;
  readonly Core: typeof Raft;
  readonly limits: Partial<Limits>;
  crashes = 0;
  partitions = 0;
  membershipChanges = 0;
  traceHash = 0;

  private readonly net: Prng;
  private readonly faults: Prng;
  private readonly weather: Weather;
  private readonly options: CoreSimOptions;
  private healing = false;
  /** Directed links that are cut, as from * 100 + to, and since when. */
  private readonly cut = new Map<number, number>();
  private readonly linkFreeMs = new Map<number, number>();
  private nextProposal = 1;
  private actAgainMs = 0;

  constructor(seed: number | string, options: CoreSimOptions = {}) {
    const prng = createPrng(seed);
    this.options = options;
    this.bugs = options.bugs ?? {};
    this.Core = options.Core ?? Raft;
    this.scheduler = createScheduler(prng.stream('scheduler'));
    this.net = prng.stream('net');
    this.faults = prng.stream('faults');
    this.weather = { ...drawWeather(prng.stream('weather')), ...options.weather };
    const { appendEntriesMax, inflightMax, promptCommits } = this.weather;
    this.limits = { appendEntriesMax, inflightMax, promptCommits };
    this.createNodes(prng.stream('nodes'));
    this.scheduler.afterEach = () => {
      this.traceHash = (Math.imul(this.traceHash, 31) + Math.floor(this.scheduler.nowMs * 1000)) | 0;
    };
    this.trace(() => `weather ${JSON.stringify(this.weather)}`);
  }

  private createNodes(prng: Prng): void {
    const { voters, others, othersLearn } = this.weather;
    const count = voters + others;
    const ids = Array.from({ length: count }, (_, i) => i + 1);
    const genesis: Membership = { voters: ids.slice(0, voters), learners: othersLearn ? ids.slice(voters) : [] };
    const preferred = prng.int(count * 2) + 1;
    for (const id of ids) {
      const node = new CoreNode(id, genesis, this, prng);
      node.preferred = id === preferred;
      this.nodes.push(node);
    }
    for (const node of this.nodes) node.start();
  }

  trace(text: () => string): void {
    this.options.trace?.(`${this.scheduler.nowMs.toFixed(1).padStart(9)} ${text()}`);
  }

  node(id: PeerId): CoreNode {
    return this.nodes[id - 1];
  }

  // ---- network

  send(message: RaftMessage): void {
    const { weather, net } = this;
    if (this.cut.has(message.from * 100 + message.to)) return;
    if (!this.healing && net.chance(weather.lossChance)) return;
    this.deliver(message);
    if (!this.healing && net.chance(weather.duplicateChance)) this.deliver(message);
  }

  /** Crash points: right after a message left. */
  sent(node: CoreNode, message: RaftMessage): void {
    const { crashAfterSendChance } = this.weather;
    if (crashAfterSendChance === 0 || this.healing) return;
    const weight = message.type === 'vote' || message.type === 'vote-reply' ? 10 : 1;
    if (this.faults.chance(crashAfterSendChance * weight)) this.scheduler.after(0, () => this.crash(node));
  }

  private deliver(message: RaftMessage): void {
    const { weather, net, scheduler } = this;
    const link = message.from * 100 + message.to;
    let atMs = scheduler.nowMs + net.exponential(this.healing ? 0.5 : weather.delayMeanMs);
    if (!this.healing && net.chance(weather.spikeChance)) atMs += net.exponential(500);
    if (!weather.reorders || this.healing) {
      // Strictly later: events of equal time run in any order.
      atMs = Math.max(atMs, (this.linkFreeMs.get(link) ?? 0) + 1e-6);
      this.linkFreeMs.set(link, atMs);
    }
    const { healing } = this;
    scheduler.at(atMs, () => {
      // What was late from before the healing would disturb a sleep that nothing else may disturb.
      if (healing !== this.healing) return;
      if (weather.leaky || !this.cut.has(link)) this.node(message.to)?.receive(message);
    });
  }

  private reachable(from: PeerId, to: PeerId): boolean {
    return this.node(to).alive && !this.cut.has(from * 100 + to) && !this.cut.has(to * 100 + from);
  }

  /** The link of `at` to `peer` was lost: its host says so, and again when it is back. */
  private reportDown(at: CoreNode, peer: PeerId): void {
    if (this.healing) return;
    at.run(() => at.raft.peerDown(peer, this.scheduler.nowMs));
    this.reportUp(at, peer);
  }

  private reportUp(at: CoreNode, peer: PeerId): void {
    this.scheduler.after(50 + this.faults.exponential(50), () => {
      if (!this.reachable(at.id, peer)) this.reportUp(at, peer);
      else at.run(() => at.raft.peerUp(peer, this.scheduler.nowMs));
    });
  }

  transferSnapshot(from: CoreNode, to: PeerId): void {
    const { snapshot } = from.disk;
    const { raft } = from;
    const chance = this.healing ? 0 : 0.2;
    this.trace(() => `${from.name} sends snapshot ${snapshot?.index} to n${to}`);
    this.scheduler.after(20 + this.net.exponential(50), () => {
      const target = this.node(to);
      const answer = (call: () => void): void => {
        this.trace(() => `snapshot to n${to}: ${call}`);
        this.scheduler.after(1, () => from.run(() => from.raft === raft && call()));
      };
      if (snapshot === undefined || !this.reachable(from.id, to) || this.net.chance(chance)) {
        answer(() => raft.snapshotFailed(to));
        return;
      }
      // A receiver that dies never answers; the sender notices.
      const timeout = this.scheduler.after(3000, () => answer(() => raft.snapshotFailed(to)));
      target.receiveSnapshot(snapshot, (index) => {
        this.scheduler.cancel(timeout);
        answer(() => raft.snapshotDone(to, index));
      });
    });
  }

  // ---- faults

  private repeat(meanMs: number, prng: Prng, act: () => void): void {
    this.scheduler.after(prng.exponential(meanMs), () => {
      if (!this.healing) act();
      this.repeat(meanMs, prng, act);
    });
  }

  private crash(node: CoreNode): void {
    if (!node.alive) return;
    this.crashes++;
    const { id } = node;
    node.crash();
    for (const other of this.nodes) {
      if (other.id === id) continue;
      const resets =
        !this.cut.has(other.id * 100 + id) && !this.cut.has(id * 100 + other.id) && this.faults.chance(0.8);
      this.scheduler.after(resets ? this.faults.float() * 20 : DETECT_MS, () => this.reportDown(other, id));
    }
    this.scheduler.after(this.faults.exponential(this.weather.restartMeanMs), () => this.restart(node));
  }

  private restart(node: CoreNode): void {
    if (!node.alive) node.start();
  }

  private cutLinks(links: [PeerId, PeerId][]): void {
    this.partitions++;
    this.trace(() => `cut ${links.map(([a, b]) => `${a}>${b}`).join(' ')}`);
    const since = this.scheduler.nowMs;
    for (const [a, b] of links) {
      this.cut.set(a * 100 + b, since);
      this.scheduler.after(DETECT_MS, () => {
        if (this.cut.get(a * 100 + b) !== since) return;
        this.reportDown(this.node(a), b);
        this.reportDown(this.node(b), a);
      });
    }
  }

  private partition(): void {
    const ids = this.faults.shuffle(this.nodes.map(({ id }) => id));
    const some = ids.slice(0, 1 + this.faults.int(Math.max(1, ids.length - 1)));
    const oneWay = this.faults.chance(0.3);
    const links: [PeerId, PeerId][] = [];
    for (const a of some) {
      for (const b of ids) {
        if (some.includes(b)) continue;
        links.push([a, b]);
        if (!oneWay) links.push([b, a]);
      }
    }
    if (this.faults.chance(0.3)) links.splice(0, this.faults.int(links.length + 1));
    this.cutLinks(links);
    this.scheduler.after(this.faults.exponential(3000), () => this.heal(links));
  }

  private heal(links: [PeerId, PeerId][]): void {
    for (const [a, b] of links) this.cut.delete(a * 100 + b);
    this.trace(() => `healed ${links.length} links`);
  }

  private changeMembership(): void {
    const leader = this.faults.pick(this.nodes);
    if (!leader.alive || leader.paused || leader.raft.role !== 'leader') return;
    const { voters, learners } = leader.raft.membership;
    const others = this.nodes.map(({ id }) => id).filter((id) => !voters.includes(id) && !learners.includes(id));
    const choices: Membership[] = [];
    for (const id of others) choices.push({ voters, learners: [...learners, id] });
    for (const id of learners) {
      choices.push({ voters: [...voters, id], learners: learners.filter((peer) => peer !== id) });
      choices.push({ voters, learners: learners.filter((peer) => peer !== id) });
    }
    for (const id of voters) choices.push({ voters: voters.filter((peer) => peer !== id), learners });
    const to = this.faults.pick(choices);
    if (leader.changeMembership(to)) this.membershipChanges++;
  }

  private startFaults(): void {
    const { weather, faults, nodes } = this;
    const every = (on: boolean, factor: number, act: () => void): void => {
      if (on) this.repeat(weather.faultMeanMs * factor, faults, act);
    };
    every(weather.crashes, 3, () => this.crash(faults.pick(nodes)));
    every(weather.crashes, 20, () => {
      for (const node of nodes) this.crash(node);
    });
    every(weather.partitions, 3, () => this.partition());
    every(weather.pauses, 3, () => {
      const node = faults.pick(nodes);
      node.pause();
      this.scheduler.after(faults.exponential(1500), () => node.resume());
    });
    every(weather.membership, 1, () => this.changeMembership());
    every(weather.transfers, 3, () => {
      const node = faults.pick(nodes);
      const to = faults.pick(nodes).id;
      node.run(() => node.raft.transferLeadership(to, this.scheduler.nowMs));
    });
    every(weather.snapshots, 1, () => faults.pick(nodes).compact());
    every(weather.slowDisks, 4, () => {
      faults.pick(nodes).disk.syncMs = faults.pick([0.2, 2, 20, 400]);
    });
    every(weather.voteBans, 6, () => {
      const node = faults.pick(nodes);
      node.setMayVote(!node.mayVote);
    });
    every(weather.storms, 0.5, () => {
      const from = faults.pick(nodes).id;
      for (const node of nodes) {
        if (!node.alive || faults.chance(0.5)) continue;
        this.send({ type: 'timeout-now', from, to: node.id, term: node.raft.term });
      }
    });
    every(true, 10, () => {
      const node = faults.pick(nodes);
      node.run(() => node.raft.wake(this.scheduler.nowMs));
    });
  }

  private startClients(): void {
    this.repeat(this.weather.proposalMeanMs, this.net, () => {
      for (const node of this.nodes) node.propose(this.nextProposal++);
    });
    this.repeat(this.weather.readMeanMs, this.net, () => this.net.pick(this.nodes).read());
    this.repeat(500, this.net, () => {
      for (const node of this.nodes) {
        node.checkReads();
        node.checkMembership();
      }
    });
  }

  // ---- phases

  run(): void {
    this.startClients();
    this.startFaults();
    this.scheduler.runFor(this.options.faultsMs ?? 20_000);
    this.healAll();
    this.mustConverge();
    this.mustSleep();
    this.mustWake();
    this.mustSleepWithout();
  }

  private healAll(): void {
    this.trace(() => 'everything heals');
    this.healing = true;
    this.cut.clear();
    for (const node of this.nodes) {
      node.disk.syncMs = 1;
      node.setMayVote(true);
      node.resume();
      this.restart(node);
    }
  }

  /** The working leader: the one of the highest term. */
  leader(): CoreNode | undefined {
    const leaders = this.nodes.filter((node) => node.alive && node.raft.role === 'leader');
    return leaders.sort((a, b) => b.raft.term - a.raft.term)[0];
  }

  private members(): CoreNode[] {
    const membership = this.leader()?.raft.membership;
    if (membership === undefined) return [];
    return [...membership.voters, ...membership.learners].map((id) => this.node(id));
  }

  private within(what: string, ms: number, condition: () => boolean): void {
    if (this.scheduler.runUntilTrue(condition, { timeoutMs: ms })) return;
    const states = this.nodes.map(({ name, raft, applied }) => {
      const { role, term, leader, commit, lastIndex, quiesced } = raft;
      return `${name}:${role} t${term} l${leader} c${commit}/${lastIndex} a${applied}${quiesced ? ' q' : ''}`;
    });
    throw new Violation('liveness', `${what} within ${ms} ms: ${states.join(', ')}`);
  }

  /** For conditions that are asked after every event: acts at most every 20 ms. */
  private seldom(act: () => void): void {
    if (this.scheduler.nowMs < this.actAgainMs) return;
    this.actAgainMs = this.scheduler.nowMs + 20;
    act();
  }

  private agree(): boolean {
    const members = this.members();
    const { commitIndex } = this.truth;
    return members.length > 0 && members.every((node) => node.applied === commitIndex);
  }

  private mustConverge(): void {
    const term = Math.max(...this.nodes.map(({ raft }) => raft.term));
    this.within('a leader', 10_000, () => {
      const leader = this.leader();
      return leader !== undefined && leader.raft.commit >= leader.raft.termStart!;
    });
    const { acked } = this.truth;
    this.within('an acknowledged proposal', 10_000, () => {
      if (this.truth.acked > acked) return true;
      this.seldom(() => this.leader()?.propose(this.nextProposal++));
      return false;
    });
    this.within('agreement of all members', 10_000, () => this.agree());
    const before = this.nodes.map(({ readsOk }) => readsOk);
    for (const node of this.members()) node.read();
    this.within('a read on every member', 10_000, () =>
      this.members().every((node) => {
        if (node.readsOk > before[node.id - 1]) return true;
        this.seldom(() => node.read());
        return false;
      }),
    );
    const risen = Math.max(...this.nodes.map(({ raft }) => raft.term)) - term;
    if (risen > 20) throw new Violation('term-growth', `${risen} terms after healing`);
  }

  private mustSleep(): void {
    this.within('sleep of all members', 15_000, () => {
      const members = this.members().filter(({ alive }) => alive);
      return members.length > 0 && members.every(({ raft }) => raft.nextDeadlineMs === Number.POSITIVE_INFINITY);
    });
    const leader = this.leader()!;
    const { term } = leader.raft;
    this.scheduler.runFor(5000);
    if (leader.raft.term !== term) throw new Violation('liveness', 'an election while the group sleeps');
  }

  private mustWake(): void {
    const { acked } = this.truth;
    this.leader()!.propose(this.nextProposal++);
    this.within('an answer of a group that slept', 2000, () => this.truth.acked > acked && this.agree());
  }

  /** One member dies while the group sleeps, the leader perhaps: the others must work, sleep without it, work again, and take it in
   * when it is back, whether the hosts notice that or it has to ask. */
  private mustSleepWithout(): void {
    const leader = this.leader()!;
    const { voters } = leader.raft.membership;
    if (voters.length < 3) return;
    this.mustSleep();
    const members = this.members();
    const lost = this.faults.pick(members);
    lost.crash();
    this.crashes++;
    const told = new Map<CoreNode, number>();
    this.work('an answer without a member', () => {
      for (const node of members) {
        // Once in a life, and a new leader once more.
        const { role, term } = node.raft;
        const news = role === 'leader' ? term : 0;
        if (!node.alive || (told.get(node) ?? -1) >= news) continue;
        told.set(node, news);
        node.run(() => node.raft.peerDown(lost.id, this.scheduler.nowMs));
      }
    });
    this.mustSleep();
    this.work('an answer of a group that slept without a member', () => {});
    this.mustSleep();
    lost.start();
    const asks = this.faults.chance(0.5) && voters.includes(lost.id);
    if (!asks) for (const node of this.nodes) if (node !== lost) this.reportUp(node, lost.id);
    this.within('agreement with a member that was away', 5000, () => this.agree());
    this.mustSleep();
    this.work('an answer of all', () => {});
    this.within('agreement after that', 2000, () => this.agree());
  }

  private work(what: string, meanwhile: () => void): void {
    const { acked } = this.truth;
    this.within(what, 5000, () => {
      meanwhile();
      if (this.truth.acked > acked) return true;
      this.seldom(() => this.leader()?.propose(this.nextProposal++));
      return false;
    });
  }

  report(seed: number | string): CoreSimReport {
    const sum = (of: (node: CoreNode) => number): number => this.nodes.reduce((total, node) => total + of(node), 0);
    return {
      seed,
      nodes: this.nodes.length,
      events: this.scheduler.eventsRun,
      elections: this.truth.elections,
      committed: this.truth.commitIndex,
      acked: this.truth.ackedCount,
      readsOk: sum(({ readsOk }) => readsOk),
      readsRefused: sum(({ readsRefused }) => readsRefused),
      snapshotsInstalled: sum(({ snapshotsInstalled }) => snapshotsInstalled),
      crashes: this.crashes,
      partitions: this.partitions,
      membershipChanges: this.membershipChanges,
      traceHash: this.traceHash >>> 0,
    };
  }
}

/** Throws what went wrong, with the seed. */
export function runCoreSim(seed: number | string, options: CoreSimOptions = {}): CoreSimReport {
  const sim = new CoreSim(seed, options);
  try {
    sim.run();
  } catch (error) {
    const reason = error as Error;
    reason.message = `seed ${seed} at ${sim.scheduler.nowMs.toFixed(1)} ms: ${reason.message}`;
    throw reason;
  }
  return sim.report(seed);
}

/** Runs seeds first..last; prints each failure and a summary. */
function main(args: readonly string[]): void {
  const first = Number(args[0] ?? 1);
  const weather = args[2] === undefined ? undefined : (JSON.parse(args[2]) as Partial<Weather>);
  if (args[1] === 'trace') {
    console.log(runCoreSim(first, { weather, trace: (line) => console.log(line) }));
    return;
  }
  const last = Number(args[1] ?? first);
  let failed = 0;
  const totals: Record<string, number> = {};
  for (let seed = first; seed <= last; seed++) {
    try {
      for (const [key, value] of Object.entries(runCoreSim(seed, { weather })))
        totals[key] = (totals[key] ?? 0) + Number(value);
    } catch (error) {
      failed++;
      console.log((error as Error).message);
    }
  }
  console.log(`${last - first + 1 - failed} seeds passed, ${failed} failed`, totals);
  if (failed > 0) process.exitCode = 1;
}

if (import.meta.main) main(process.argv.slice(2));
