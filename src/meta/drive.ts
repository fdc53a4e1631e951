// What leaders do in the background, a step per tick: the meta leader brings the meta group's membership in line with the
// registered nodes; the leader of an unsettled partition moves it to its desired replicas and reports it settled; the
// leader of any partition hands over to the preferred leader once that has been up and caught up for a while.
// Every step is derived from applied state, so whoever leads next goes on where the last one stopped.
import {
  type GroupId,
  type Index,
  META_GROUP,
  type Membership,
  type PeerId,
  type Term,
} from '../../cluster/core/types.ts';
import type { Group, GroupStatus } from '../../cluster/host/types.ts';
import type { Transport } from '../../cluster/rpc/types.ts';
import type { Env } from '../kit/env.ts';
import { META_VOTERS_MAX } from './formation-record.ts';
import { nextStep } from './membership-steps.ts';
import type { MetaRequest } from './meta-codec.ts';
import type { MetaMachine } from './meta-machine.ts';
import { type NodeRecord, partitionOf, streamOf } from './types.ts';

export interface DriveOptions {
  /** A node without room should not lead. */
  isDiskLow: (peer: PeerId) => boolean;
  env: Env;
  transport: Transport;
  machine: MetaMachine;
  metaGroup: () => Group | undefined;
  partition: (group: GroupId) => Group | undefined;
  /** Partitions that this node leads. */
  led: () => Iterable<GroupId>;
  submit: (request: MetaRequest, done: () => void) => void;
}

/** Partitions that one leader moves at a time. */
const MOVES_MAX = 32;
const STEADY_MS = 5000;
/** A leader that has to go asks another heir after this. Nothing is accepted during an attempt, which lasts a third of it at most. */
const HAND_OVER_MS = 2000;
const TRANSFERS_PER_TICK = 8;
/** After an attempt that did not work the balancer leaves the group alone for so long. */
const TRANSFER_RETRY_MS = 10_000;

export class Drive {
  readonly #options: DriveOptions;
  /** What was committed one tick ago: who has that has caught up, even while more keeps coming. */
  #marks = new Map<GroupId, Index>();
  #balanceMarks = new Map<GroupId, Index>();
  /** The last change proposed here: until it is committed the membership is only an intention. */
  readonly #proposed = new Map<GroupId, { index: Index; term: Term }>();
  /** Whom a leader that has to go asked last. */
  readonly #handOvers = new Map<GroupId, { to: PeerId; ms: number }>();
  /** Led here, settled, and yet with other members than the catalog says. */
  readonly #astray = new Set<GroupId>();
  /** Settled reports under way. */
  readonly #reporting = new Set<GroupId>();
  /** Since when the preferred leader could take over. */
  readonly #steadySince = new Map<GroupId, number>();
  readonly #triedMs = new Map<GroupId, number>();

  constructor(options: DriveOptions) {
    this.#options = options;
  }

  /** Do partitions that this node leads have other members than they should have? Then its catalog has to be that of now before tickMembership
   * is called: by one of before, as after a start, a member that has come since would be sent away. */
  get hasPartitions(): boolean {
    const { machine, partition } = this.#options;
    for (const id of machine.unsettled) if (partition(id)?.leading) return true;
    return this.#astray.size > 0;
  }

  /** Several times a second. */
  tickMembership(): void {
    const { machine, metaGroup, partition } = this.#options;
    const marks = new Map<GroupId, Index>();
    const meta = metaGroup();
    if (meta?.leading && machine.clusterId !== '') this.#driveMeta(meta, marks);
    let moving = 0;
    for (const id of new Set([...machine.unsettled, ...this.#astray])) {
      const group = partition(id);
      if (!group?.leading) {
        this.#astray.delete(id);
        continue;
      }
      if (this.#drivePartition(id, group, marks)) moving++;
      if (moving === MOVES_MAX) break;
    }
    this.#marks = marks;
    for (const memory of [this.#proposed, this.#handOvers]) {
      for (const id of memory.keys()) {
        if (id !== META_GROUP && !machine.unsettled.has(id) && !this.#astray.has(id)) memory.delete(id);
      }
    }
  }

  /** Once a second. Settled partitions whose members are not those of the catalog all the same are driven until they are. */
  reviewMembers(): void {
    const { led, machine, partition } = this.#options;
    for (const id of led()) {
      const voters = machine.streams.get(streamOf(id))?.replicas[partitionOf(id)];
      const group = partition(id);
      if (voters === undefined || !group?.leading || machine.unsettled.has(id)) continue;
      if (!isSame(group.status().membership, { voters, learners: [] })) this.#astray.add(id);
    }
  }

  /** Once a second. */
  tickBalance(): void {
    const { env, isDiskLow, led, machine, partition, transport } = this.#options;
    const nowMs = env.clock.nowMs();
    let left = TRANSFERS_PER_TICK;
    const marks = new Map<GroupId, Index>();
    const seen = new Set<GroupId>();
    for (const id of led()) {
      const preferred = machine.streams.get(streamOf(id))?.replicas[partitionOf(id)][0];
      if (preferred === undefined || preferred === transport.self.id) continue;
      const group = partition(id);
      if (group === undefined || !transport.isUp(preferred) || machine.unsettled.has(id)) continue;
      if (isDiskLow(preferred)) continue;
      const status = group.status();
      marks.set(id, status.commit);
      const mark = this.#balanceMarks.get(id);
      if (!status.membership.voters.includes(preferred) || !hasReached(status, preferred, mark)) continue;
      seen.add(id);
      const since = this.#steadySince.get(id) ?? nowMs;
      this.#steadySince.set(id, since);
      const triedMs = this.#triedMs.get(id) ?? Number.NEGATIVE_INFINITY;
      if (nowMs - since < STEADY_MS || nowMs - triedMs < TRANSFER_RETRY_MS || left === 0) continue;
      left--;
      this.#triedMs.set(id, nowMs);
      group.transferLeadership(preferred);
    }
    this.#balanceMarks = marks;
    for (const id of this.#steadySince.keys()) if (!seen.has(id)) this.#steadySince.delete(id);
    for (const [id, triedMs] of this.#triedMs) if (nowMs - triedMs >= TRANSFER_RETRY_MS) this.#triedMs.delete(id);
  }

  #driveMeta(meta: Group, marks: Map<GroupId, Index>): void {
    const { machine } = this.#options;
    const status = meta.status();
    const wanted = metaMembership(status.membership, machine.nodes, (peer) => this.#isUp(peer));
    if (isSame(status.membership, wanted)) return;
    marks.set(META_GROUP, status.commit);
    this.#step(meta, status, wanted);
  }

  /** True when it is one of the moves under way; one that waits for a node that is down, or that gets nothing because its disk is full, is not:
   * the others do not wait behind it. */
  #drivePartition(id: GroupId, group: Group, marks: Map<GroupId, Index>): boolean {
    const { machine, submit } = this.#options;
    const record = machine.streams.get(streamOf(id));
    if (record === undefined || this.#reporting.has(id)) return false;
    const partition = partitionOf(id);
    const status = group.status();
    marks.set(id, status.commit);
    const voters = record.replicas[partition];
    if (this.#step(group, status, { voters, learners: [] })) {
      this.#astray.delete(id);
      if (!machine.unsettled.has(id)) return false;
      this.#reporting.add(id);
      const { streamId, since } = record;
      submit({ type: 'settled', streamId, partition, since: since[partition] }, () => this.#reporting.delete(id));
    }
    return voters.every((peer) => this.#isUp(peer) && !this.#options.isDiskLow(peer));
  }

  /** True when nothing is left to do and that is committed. */
  #step(group: Group, status: GroupStatus, wanted: Membership): boolean {
    const proposed = this.#proposed.get(group.id);
    // A leader of a later term has committed what its predecessors left before it leads.
    if (proposed !== undefined && proposed.term === status.term && status.commit < proposed.index) return false;
    const { machine, transport } = this.#options;
    const self = transport.self.id;
    const hasCaughtUp = (peer: PeerId): boolean => peer === self || this.#isReady(status, peer);
    const step = nextStep(status.membership, wanted, self, hasCaughtUp, (peer) => !machine.nodes.has(peer));
    if (step.kind === 'change') {
      const index = group.proposeMembership(step.membership);
      if (index !== undefined) this.#proposed.set(group.id, { index, term: status.term });
    } else if (step.kind === 'transfer') this.#handOver(group, step.heirs);
    return step.kind === 'done';
  }

  /** They take turns: one that has the log may yet be unable to lead, as while it restores its state, and to ask it on and on would stop the
   * group for as long. */
  #handOver(group: Group, heirs: readonly PeerId[]): void {
    const nowMs = this.#options.env.clock.nowMs();
    const last = this.#handOvers.get(group.id);
    if (last !== undefined && nowMs - last.ms < HAND_OVER_MS) return;
    const to = heirs[(heirs.indexOf(last?.to ?? 0) + 1) % heirs.length];
    this.#handOvers.set(group.id, { to, ms: nowMs });
    group.transferLeadership(to);
  }

  /** Up, by its link: the members of an idle group may be silent for long. */
  #isReady(status: GroupStatus, peer: PeerId): boolean {
    return this.#isUp(peer) && hasReached(status, peer, this.#marks.get(status.group));
  }

  #isUp(peer: PeerId): boolean {
    const { transport } = this.#options;
    return peer === transport.self.id || transport.isUp(peer);
  }
}

/** Every registered node is a member. Voters stay voters; places up to five go to nodes that are up, by name. */
export function metaMembership(
  current: Membership,
  nodes: ReadonlyMap<PeerId, NodeRecord>,
  isUp: (peer: PeerId) => boolean,
): Membership {
  const voters = current.voters.filter((peer) => nodes.has(peer));
  const others = [...nodes.values()]
    .filter((node) => !voters.includes(node.id))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const node of others) {
    if (voters.length < META_VOTERS_MAX && isUp(node.id)) voters.push(node.id);
  }
  return { voters, learners: others.filter((node) => !voters.includes(node.id)).map((node) => node.id) };
}

/** `peer` follows and has what was committed at the mark. */
function hasReached(status: GroupStatus, peer: PeerId, mark: Index | undefined): boolean {
  const progress = status.progress.find((one) => one.peer === peer);
  return mark !== undefined && progress?.state === 'replicate' && progress.match >= mark;
}

function isSame(a: Membership, b: Membership): boolean {
  const same = (left: PeerId[], right: PeerId[]): boolean =>
    left.length === right.length && left.every((peer) => right.includes(peer));
  return same(a.voters, b.voters) && same(a.learners, b.learners);
}
