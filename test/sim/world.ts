// A simulated cluster: whole nodes (node.ts: log, consensus, meta, streams, API, core NATS) in one thread from one seed, on modelled
// disks, clocks and network. Scenarios (scenario.ts) drive it. Watches at all times that a term has one leader, that replicas which
// have applied the same entries hold the same results, and that no node ends itself without a reason that was given to it.
import { isDeepStrictEqual } from 'node:util';
import type { GroupId } from '../../cluster/core/types.ts';
import { partitionOf, streamOf } from '../../src/meta/types.ts';
import type { BrokerNode } from '../../src/node.ts';
import type { ReplicaState, StoredMessage } from '../checkers/history.ts';
import { createPrng, type Prng } from './prng.ts';
import { PromiseCheck, runnerOf } from './promise-check.ts';
import { createScheduler, type Scheduler } from './scheduler.ts';
import type { CrashKind } from './sim-disk.ts';
import { SimNode } from './sim-node.ts';
import { SimNetwork } from './sim-transport.ts';
import { drawTuning, type Tuning } from './tuning.ts';

export { SimNode } from './sim-node.ts';

export const FAST_DISK = { syncMs: 0.4, stallProbability: 0, stallMs: 1000 };
const SAMPLE_EVERY_EVENTS = 200;
/** A crash point that was hardly ever visited is likelier to be crashed at, so that the rare ones get their turn. */
const RARE_VISITS = 200;
const RARE_SHARE_MAX = 0.05;

/** What one replica of one partition holds. */
export interface PartitionReplica extends ReplicaState {
  partition: number;
}

export interface RunningPartition {
  /** Of each replica. */
  applied: number[];
  /** Somebody leads: what was committed is known. */
  isLed: boolean;
  /** By the metadata and the log of the leader: those who should vote do, and nobody else. */
  hasItsVoters: boolean;
}

export class World {
  readonly seed: number;
  readonly prng: Prng;
  readonly scheduler: Scheduler;
  readonly network: SimNetwork;
  readonly nodes: SimNode[] = [];
  readonly counts = new Map<string, number>();
  /** When a leader, or the home of a consumer of several partitions, last handed out the delivery with this ack subject. */
  readonly handedOutMs = new Map<string, number>();
  /** Broken invariants seen while running. */
  readonly violations: string[] = [];
  /** Nodes that stopped themselves. */
  readonly fatals: string[] = [];
  onLog:
    | ((record: { timeMs: number; node: string; level: string; message: string; fields: unknown }) => void)
    | undefined;
  /** A node's life has ended, or could not begin. */
  onDown: (node: SimNode) => void = () => undefined;
  /** Share of visits to a crash point at which the node crashes. */
  crashPointShare = 0;
  /** Until then a fault of several steps is under way, and nothing else strikes. */
  quietUntilMs = 0;
  readonly tuning: Tuning;
  readonly #chance: Prng;
  readonly #promises: PromiseCheck;
  readonly #leaders = new Map<string, string>();
  readonly #digests = new Map<string, { node: string; digest: string }>();
  #events = 0;

  constructor(seed: number, size: number) {
    this.seed = seed;
    this.prng = createPrng(seed);
    this.tuning = drawTuning(this.prng.stream('tuning'));
    this.scheduler = createScheduler(this.prng.stream('scheduler'));
    this.network = new SimNetwork(this.scheduler, this.prng.stream('network'));
    this.#chance = this.prng.stream('crash points');
    for (let i = 1; i <= size; i++) this.nodes.push(new SimNode(this, `n${i}`));
    this.#promises = new PromiseCheck(this);
    this.network.watch = (from, to, channel, bytes) => this.#promises.sent(from, to, channel, bytes);
    this.scheduler.afterEach = () => {
      if (++this.#events % SAMPLE_EVERY_EVENTS === 0) this.#sample();
    };
  }

  count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** A crash point is visited; crashes only where a majority stays up. */
  crashAt(node: SimNode, point: string): CrashKind | undefined {
    const visits = (this.counts.get(`visited ${point}`) ?? 0) + 1;
    this.counts.set(`visited ${point}`, visits);
    const share = this.crashPointShare;
    if (share === 0 || this.isQuiet) return undefined;
    const rare = Math.min(RARE_SHARE_MAX, (share * RARE_VISITS) / visits);
    if (this.#chance.float() >= Math.max(share, rare)) return undefined;
    if (this.nodes.filter((other) => other !== node && other.up).length < this.majority) return undefined;
    this.count(`crashed at ${point}`);
    return this.#chance.float() < 0.5 ? 'power' : 'process';
  }

  keepQuiet(durationMs: number): void {
    this.quietUntilMs = this.scheduler.nowMs + durationMs;
  }

  get isQuiet(): boolean {
    return this.scheduler.nowMs < this.quietUntilMs;
  }

  /** Networks and disks work well from now on. */
  soothe(): void {
    this.network.heal();
    for (const { disk } of this.nodes) {
      Object.assign(disk.latency, FAST_DISK);
      Object.assign(disk.faults, { spaceBytes: Number.POSITIVE_INFINITY, syncErrorProbability: 0 });
    }
  }

  get majority(): number {
    return Math.floor(this.nodes.length / 2) + 1;
  }

  get up(): SimNode[] {
    return this.nodes.filter((node) => node.up);
  }

  leads(group: number, term: number, node: SimNode): void {
    const { name } = node;
    this.#promises.leads(node, group, term);
    const key = `${group}:${term}`;
    const known = this.#leaders.get(key);
    if (known === undefined) this.#leaders.set(key, name);
    else if (known !== name) this.violations.push(`group ${group}: ${known} and ${name} both lead in term ${term}`);
    this.count('leaderships');
  }

  /** Same entries applied, same results: over all nodes and lives. */
  #sample(): void {
    for (const node of this.nodes) {
      const { name } = node;
      for (const [group, partition] of node.node?.partitions ?? []) {
        const runner = runnerOf(node, group);
        if (runner === undefined || runner.applied === 0 || !runner.isWhole) continue;
        const { applied } = runner;
        const key = `${group}:${applied}`;
        const digest = partition.digest();
        const known = this.#digests.get(key);
        if (known === undefined) this.#digests.set(key, { node: name, digest });
        else if (known.digest !== digest) {
          this.violations.push(
            `group ${group} at ${applied}: ${known.node} has results ${known.digest}, ${name} ${digest}`,
          );
        }
      }
    }
  }

  /** The running replicas of a stream, by partition. */
  runningOf(stream: string): Map<number, RunningPartition> {
    const running = new Map<number, RunningPartition>();
    for (const { node } of this.nodes) {
      for (const [group, partition] of node?.partitions ?? []) {
        if (partition.streamName !== stream) continue;
        const one = running.get(partition.partition) ?? { applied: [], isLed: false, hasItsVoters: false };
        running.set(partition.partition, one);
        one.applied.push(node?.host.group(group)?.applied ?? 0);
        if (!partition.leading) continue;
        one.isLed = true;
        one.hasItsVoters = hasItsVoters(node!, group);
      }
    }
    return running;
  }

  /** What every running replica of a stream holds: all at this moment, and then its messages, read from its own log. `stride`: how many
   * partitions it has. */
  replicas(stream: string, stride = 1): PartitionReplica[] {
    const states: PartitionReplica[] = [];
    const reads: (() => void)[] = [];
    for (const node of this.nodes) {
      for (const [group, partition] of node.node?.partitions ?? []) {
        if (partition.streamName !== stream) continue;
        const { last_seq: lastSeq, first_seq: firstSeq } = partition.localState();
        const number = partition.partition;
        const applied = node.node?.host.group(group)?.applied ?? 0;
        const messages: StoredMessage[] = [];
        states.push({ node: node.name, partition: number, digest: partition.digest(), applied, lastSeq, messages });
        const first = Math.max(1, Math.ceil((firstSeq - number) / stride));
        const last = Math.floor((lastSeq - number) / stride);
        reads.push(() => {
          const waiting = new Set<number>();
          node.look(() => {
            for (let local = first; local <= last; local++) {
              waiting.add(local);
              partition.readMessage(local, (message) => {
                waiting.delete(local);
                if (message === undefined) return;
                const content = new TextDecoder().decode(message.payload);
                messages.push({ seq: local * stride + number, subject: message.subject, content });
              });
            }
          });
          this.scheduler.runUntilTrue(() => waiting.size === 0, { timeoutMs: 60_000 });
          messages.sort((a, b) => a.seq - b.seq);
        });
      }
    }
    for (const read of reads) read();
    return states;
  }
}

function hasItsVoters({ meta, host }: BrokerNode, group: GroupId): boolean {
  const wanted = meta.catalog.streamById(streamOf(group))?.replicas[partitionOf(group)];
  const { voters, learners } = host.group(group)!.status().membership;
  return learners.length === 0 && isDeepStrictEqual(voters.toSorted(), wanted?.toSorted());
}
