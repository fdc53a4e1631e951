// Makes the groups that run on this node equal to what the catalog says, some per turn. Owned by meta.ts.
// A group is opened when this node is among the partition's replicas (or still a member on its way out). It is deleted
// only on evidence from the meta log: a committed delete of its stream, or a committed `settled` without this node.
// Until the node has caught up with the meta log only groups found in the own log are opened: an older catalog may
// name streams that are long deleted, and opening those anew would bring an empty namesake to life.
import {
  type GroupId,
  type Index,
  META_GROUP,
  type Membership,
  type PeerId,
  type Term,
} from '../../cluster/core/types.ts';
import type { Group, GroupMachine, Host } from '../../cluster/host/types.ts';
import type { Env, Timer } from '../kit/env.ts';
import { NumberMap } from '../kit/number-map.ts';
import type { PartitionOps } from '../stream/types.ts';
import type { MetaMachine, MetaStream } from './meta-machine.ts';
import { groupOf, partitionOf, type StreamRecord, streamOf } from './types.ts';

/** One partition as the composition root builds it. `attach` is called once the group is open. */
export interface OpenedPartition {
  machine: GroupMachine;
  ops: PartitionOps;
  attach(group: Group): void;
}

export interface ReconcileOptions {
  env: Env;
  host: Host;
  machine: MetaMachine;
  openPartition: (record: StreamRecord, partition: number) => OpenedPartition;
  /** The group is gone from this node. */
  closePartition: (group: GroupId) => void;
  /** Groups that recovery found in this node's log. */
  recovered: ReadonlySet<GroupId>;
  onLeading: (group: GroupId, term: Term) => void;
  onNotLeading: (group: GroupId) => void;
}

interface Open {
  group: Group | undefined;
  partition: OpenedPartition;
}

const GROUPS_PER_TURN = 64;

export class Reconcile {
  readonly #options: ReconcileOptions;
  readonly #open = new NumberMap<Open>();
  readonly #dirty = new Set<GroupId>();
  /** Wanted, but not in the own log: waits until the catalog is known to be current. */
  readonly #held = new Set<GroupId>();
  /** Found in the own log, and neither opened nor deleted since. */
  readonly #unopened: Set<GroupId>;
  #current = false;
  /** The host was told that every group of the time of the start is open. */
  #allOpen = false;
  #scheduled = false;
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: ReconcileOptions) {
    this.#options = options;
    this.#unopened = new Set(options.recovered);
  }

  ops(group: GroupId): PartitionOps | undefined {
    return this.#open.get(group)?.partition.ops;
  }

  group(group: GroupId): Group | undefined {
    return this.#open.get(group)?.group;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Nothing is left to open or delete. */
  get idle(): boolean {
    return this.#dirty.size === 0 && this.#held.size === 0;
  }

  /** The record of a stream changed, came or went. */
  changed(before: MetaStream | undefined, after: MetaStream | undefined): void {
    const { streamId, partitions } = (after ?? before)!;
    for (let p = 0; p < partitions; p++) this.#dirty.add(groupOf(streamId, p));
    this.#schedule();
    if (before === undefined || after === undefined || before.revision === after.revision) return;
    for (let p = 0; p < partitions; p++) {
      this.ops(groupOf(streamId, p))?.updateConfig(after.config, after.revision);
    }
  }

  /** The catalog holds everything that was committed when this node started. Runs once. Groups that are open are looked at as well: this node
   * may have left some while it caught up, and no copy goes before it has. */
  caughtUp(): void {
    this.#current = true;
    for (const group of this.#held) this.#dirty.add(group);
    this.#held.clear();
    const { machine, recovered } = this.#options;
    const orphans: GroupId[] = [];
    for (const group of recovered) {
      if (group === META_GROUP) continue;
      const streamId = streamOf(group);
      if (machine.streams.has(streamId) || machine.wasDeleted(streamId)) this.#dirty.add(group);
      else orphans.push(group);
    }
    if (orphans.length > 0) {
      const { log } = this.#options.env;
      log.warn('groups of streams that the catalog does not know are kept on disk', { groups: orphans.join(' ') });
    }
    this.#schedule();
    this.#tellAllOpen();
  }

  #tellAllOpen(): void {
    if (!this.#current || this.#allOpen || !this.idle) return;
    this.#allOpen = true;
    this.#options.host.groupsKnown();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== undefined) this.#options.env.clock.cancel(this.#timer);
  }

  #schedule(): void {
    if (this.#scheduled || this.#closed || this.#dirty.size === 0) return;
    this.#scheduled = true;
    this.#options.env.clock.endOfTurn(() => this.#run());
  }

  #run(): void {
    this.#scheduled = false;
    if (this.#closed) return;
    let left = GROUPS_PER_TURN;
    for (const group of this.#dirty) {
      this.#dirty.delete(group);
      this.#reconcile(group);
      if (--left === 0) break;
    }
    if (this.#dirty.size === 0) {
      this.#tellAllOpen();
      return;
    }
    this.#scheduled = true;
    this.#timer = this.#options.env.clock.after(0, () => this.#run());
  }

  #reconcile(group: GroupId): void {
    const { machine, recovered, host } = this.#options;
    const record = machine.streams.get(streamOf(group));
    const isOpen = this.#open.has(group);
    if (record === undefined) {
      if (machine.wasDeleted(streamOf(group))) this.#drop(group);
      else if (isOpen) this.#options.env.log.error('no evidence that a stream was deleted; its group stays', { group });
      return;
    }
    const p = partitionOf(group);
    const belongs = record.replicas[p].includes(host.self) || record.members[p].includes(host.self);
    if (!belongs) {
      if (this.#current) this.#drop(group);
    } else if (!isOpen) {
      if (this.#current || recovered.has(group)) this.#openGroup(record, p, group);
      else this.#held.add(group);
    }
  }

  #openGroup(record: MetaStream, p: number, id: GroupId): void {
    const { host, openPartition } = this.#options;
    const partition = openPartition(record, p);
    const open: Open = { group: undefined, partition };
    this.#open.set(id, open);
    this.#unopened.delete(id);
    const machine = new ReportingMachine(id, partition.machine, this.#options);
    const group = host.openGroup(id, firstMembership(record, p, host.self), machine, record.replicas[p][0]);
    open.group = group;
    partition.attach(group);
    if (record.revision !== record.streamId) partition.ops.updateConfig(record.config, record.revision);
  }

  #drop(group: GroupId): void {
    const { host, closePartition } = this.#options;
    const wasOpen = this.#open.delete(group);
    if (!wasOpen && !this.#unopened.delete(group)) return;
    // The partition first: who waits on it hears that it was deleted, not that its leadership went.
    if (wasOpen) closePartition(group);
    host.deleteGroup(group);
  }
}

/** The partition's machine, with its leadership reported. A class, not an object of closures: `apply` passes through here for each entry, and with
 * a thousand groups whatever it touches on its way is cold. */
class ReportingMachine implements GroupMachine {
  private readonly id: GroupId;
  private readonly machine: GroupMachine;
  private readonly options: ReconcileOptions;

  constructor(id: GroupId, machine: GroupMachine, options: ReconcileOptions) {
    this.id = id;
    this.machine = machine;
    this.options = options;
  }

  apply(index: Index, term: Term, body: Uint8Array): void {
    this.machine.apply(index, term, body);
  }

  onLeading(term: Term, paused: boolean): void {
    this.machine.onLeading(term, paused);
    this.options.onLeading(this.id, term);
  }

  onNotLeading(leader: PeerId): void {
    this.machine.onNotLeading(leader);
    this.options.onNotLeading(this.id);
  }

  onPause(paused: boolean): void {
    this.machine.onPause(paused);
  }

  snapshot(): ReturnType<GroupMachine['snapshot']> {
    return this.machine.snapshot();
  }

  restore(index: Index): ReturnType<GroupMachine['restore']> {
    return this.machine.restore(index);
  }

  isEntryLive(index: Index): boolean {
    return this.machine.isEntryLive(index);
  }

  digest(): ReturnType<GroupMachine['digest']> {
    return this.machine.digest();
  }
}

/** With which membership a replica begins that has no log of the group yet: as the group itself began; without this node when it
 * was not there from the start, so that it learns before it votes. */
function firstMembership(record: MetaStream, p: number, self: PeerId): Membership {
  const founder = record.initial[p].includes(self) && !record.left[p].includes(self);
  if (founder) return { voters: record.initial[p], learners: [] };
  return { voters: record.initial[p].filter((peer) => peer !== self), learners: [self] };
}
