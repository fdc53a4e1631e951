// A small world for meta tests: simulated clock and disks, links without sockets, and a host whose consensus is one shared
// log per group (commits need a majority of voters alive). It checks what meta does with consensus, not consensus itself.
import type { GroupId, Index, Membership, PeerId, Term } from '../../../cluster/core/types.ts';
import type { DrainBounds, Group, GroupMachine, GroupStatus, Host, HostStats } from '../../../cluster/host/types.ts';
import type { PeerInfo, Rpc, RpcReply, Transport } from '../../../cluster/rpc/types.ts';
import { createPrng } from '../../sim/prng.ts';
import { createScheduler, type Scheduler } from '../../sim/scheduler.ts';

interface LogItem {
  term: Term;
  body: Uint8Array | undefined;
}

class SharedGroup {
  readonly log: LogItem[] = [];
  committed: Index = 0;
  membership: Membership;
  term: Term = 0;
  leader: PeerId = 0;
  readonly replicas = new Map<PeerId, FakeGroup>();

  constructor(membership: Membership) {
    this.membership = membership;
  }

  hasMajority(alive: (peer: PeerId) => boolean): boolean {
    const { voters } = this.membership;
    return voters.filter((peer) => alive(peer) && this.replicas.has(peer)).length > voters.length / 2;
  }
}

export class World {
  readonly scheduler: Scheduler;
  readonly prng;
  readonly nodes = new Map<PeerId, FakeNode>();
  readonly groups = new Map<GroupId, SharedGroup>();
  /** Pairs "a-b" (a < b) that can not talk. */
  readonly cuts = new Set<string>();
  /** Who cannot tell what of its logs is committed by now. */
  readonly withoutBarriers = new Set<PeerId>();

  constructor(seed: number) {
    this.prng = createPrng(seed);
    this.scheduler = createScheduler(this.prng.stream('events'));
    const elect = (): void => {
      for (const [id, group] of this.groups) this.#elect(id, group);
      this.scheduler.after(50, elect);
    };
    this.scheduler.after(50, elect);
  }

  isAlive = (peer: PeerId): boolean => this.nodes.get(peer)?.alive === true;

  areLinked(a: PeerId, b: PeerId): boolean {
    return this.isAlive(a) && this.isAlive(b) && !this.cuts.has(`${Math.min(a, b)}-${Math.max(a, b)}`);
  }

  addNode(info: PeerInfo): FakeNode {
    const node = new FakeNode(this, info);
    this.nodes.set(info.id, node);
    return node;
  }

  /** Links of a node that has just started. */
  connect(node: FakeNode): void {
    for (const other of this.nodes.values()) {
      if (other === node || !this.areLinked(node.info.id, other.info.id)) continue;
      this.scheduler.after(5, () => {
        if (!this.areLinked(node.info.id, other.info.id)) return;
        node.transport.up(other.info);
        other.transport.up(node.info);
      });
    }
  }

  stop(node: FakeNode): void {
    node.alive = false;
    for (const group of this.groups.values()) {
      group.replicas.delete(node.info.id);
      if (group.leader === node.info.id) group.leader = 0;
    }
    for (const other of this.nodes.values()) if (other.alive) other.transport.down(node.info.id);
  }

  shared(id: GroupId, membership: Membership): SharedGroup {
    let group = this.groups.get(id);
    if (group === undefined) this.groups.set(id, (group = new SharedGroup(membership)));
    return group;
  }

  lead(id: GroupId, peer: PeerId): void {
    const group = this.groups.get(id)!;
    group.replicas.get(group.leader)?.stopLeading(peer);
    group.leader = peer;
    group.term++;
    for (const replica of group.replicas.values()) replica.leaderChanged();
    group.log.push({ term: group.term, body: undefined });
    this.commit(group);
  }

  #elect(_id: GroupId, group: SharedGroup): void {
    if (!group.hasMajority(this.isAlive)) {
      if (group.leader !== 0) {
        group.replicas.get(group.leader)?.stopLeading(0);
        group.leader = 0;
        for (const replica of group.replicas.values()) replica.leaderChanged();
      }
      return;
    }
    if (group.leader !== 0) return;
    const able = group.membership.voters.filter((peer) => this.isAlive(peer) && group.replicas.has(peer)).sort();
    const wanted = able.find((peer) => group.replicas.get(peer)!.preferred === peer);
    this.lead(_id, wanted ?? able[0]);
  }

  commit(group: SharedGroup): void {
    this.scheduler.after(2, () => {
      if (group.leader === 0 || !group.hasMajority(this.isAlive)) return;
      group.committed = group.log.length;
      for (const replica of group.replicas.values()) replica.catchUp();
    });
  }
}

class FakeGroup implements Group {
  readonly id: GroupId;
  readonly preferred: PeerId;
  readonly machine: GroupMachine;
  readonly #node: FakeNode;
  readonly #shared: SharedGroup;
  applied: Index = 0;
  leading = false;
  inFlightBytes = 0;
  readonly provenUntilMs = Number.POSITIVE_INFINITY;

  constructor(node: FakeNode, id: GroupId, shared: SharedGroup, machine: GroupMachine, preferred: PeerId) {
    this.#node = node;
    this.id = id;
    this.#shared = shared;
    this.machine = machine;
    this.preferred = preferred;
    shared.replicas.set(node.info.id, this);
  }

  get #isMember(): boolean {
    const { voters, learners } = this.#shared.membership;
    return voters.includes(this.#node.info.id) || learners.includes(this.#node.info.id);
  }

  get leader(): PeerId {
    return this.#isMember ? this.#shared.leader : 0;
  }

  get term(): Term {
    return this.#shared.term;
  }

  leaderChanged(): void {
    if (this.#isMember) for (const handler of this.#node.host.leaderHandlers) handler(this.id, this.leader, this.term);
  }

  stopLeading(next: PeerId): void {
    if (!this.leading) return;
    this.leading = false;
    this.machine.onNotLeading(next);
  }

  catchUp(): void {
    this.#node.world.scheduler.after(this.#node.world.prng.float() * 2, () => {
      if (!this.#node.alive || this.#shared.replicas.get(this.#node.info.id) !== this || !this.#isMember) return;
      if (this.#shared.leader === 0) return;
      while (this.applied < this.#shared.committed) {
        const item = this.#shared.log[this.applied++];
        if (item.body !== undefined) this.machine.apply(this.applied, item.term, item.body);
        else if (item.term === this.#shared.term && this.#shared.leader === this.#node.info.id && !this.leading) {
          this.leading = true;
          this.machine.onLeading(item.term, false);
        }
      }
    });
  }

  propose(body: Uint8Array): Index | undefined {
    if (!this.leading) return undefined;
    this.#shared.log.push({ term: this.#shared.term, body });
    this.#node.world.commit(this.#shared);
    return this.#shared.log.length;
  }

  readBarrier(done: (ok: boolean) => void): void {
    this.#node.world.scheduler.after(3, () => {
      if (!this.#node.alive) return;
      const knowsAll = this.leader !== 0 && this.applied >= this.#shared.committed;
      done(knowsAll && !this.#node.world.withoutBarriers.has(this.#node.info.id));
    });
  }

  readBody(_index: Index, done: (body: Uint8Array | undefined) => void): void {
    done(undefined);
  }

  readBodies(_first: Index, _bytesMax: number, done: (bodies: readonly Uint8Array[] | undefined) => void): void {
    done(undefined);
  }

  bodyFromMemory(): Uint8Array | undefined {
    return undefined;
  }

  transferLeadership(to: PeerId): void {
    this.#node.world.scheduler.after(1, () => {
      if (this.leading && this.#node.world.isAlive(to)) this.#node.world.lead(this.id, to);
    });
  }

  proposeMembership(membership: Membership): Index | undefined {
    if (!this.leading) return undefined;
    const { voters } = this.#shared.membership;
    const moved =
      voters.filter((peer) => !membership.voters.includes(peer)).length +
      membership.voters.filter((peer) => !voters.includes(peer)).length;
    if (moved > 1) throw new Error('more than one step');
    this.#shared.membership = membership;
    this.#shared.log.push({ term: 0, body: undefined });
    for (const replica of this.#shared.replicas.values()) replica.leaderChanged();
    this.#node.world.commit(this.#shared);
    return this.#shared.log.length;
  }

  status(): GroupStatus {
    const { membership, term, committed, log, replicas } = this.#shared;
    const peers = [...membership.voters, ...membership.learners];
    return {
      group: this.id,
      role: this.leading ? 'leader' : 'follower',
      term,
      leader: this.leader,
      commit: committed,
      applied: this.applied,
      lastIndex: log.length,
      firstIndex: 1,
      membership,
      progress: peers.map((peer) => ({
        peer,
        match: replicas.get(peer)?.applied ?? 0,
        lastActiveMs: this.#node.env.clock.nowMs(),
        state: 'replicate',
      })),
      quiesced: false,
      stateMissing: false,
    };
  }
}

class FakeHost implements Host {
  readonly self: PeerId;
  readonly stats = {} as HostStats;
  readonly leaderHandlers: ((group: GroupId, leader: PeerId, term: Term) => void)[] = [];
  readonly deleted: GroupId[] = [];
  readonly #node: FakeNode;
  readonly #groups = new Map<GroupId, FakeGroup>();

  constructor(node: FakeNode) {
    this.#node = node;
    this.self = node.info.id;
  }

  openGroup(id: GroupId, membership: Membership, machine: GroupMachine, preferredLeader: PeerId): Group {
    if (this.#groups.has(id)) throw new Error(`group ${id} is open already`);
    const group = new FakeGroup(this.#node, id, this.#node.world.shared(id, membership), machine, preferredLeader);
    this.#groups.set(id, group);
    this.#node.logs.add(id);
    group.catchUp();
    return group;
  }

  groupsKnown(): void {}

  isDiskLow(): boolean {
    return false;
  }

  restsOnLowDisk(): boolean {
    return false;
  }

  deleteGroup(id: GroupId): void {
    this.deleted.push(id);
    const group = this.#groups.get(id);
    group?.stopLeading(0);
    this.#groups.delete(id);
    this.#node.logs.delete(id);
    this.#node.world.groups.get(id)?.replicas.delete(this.self);
    const shared = this.#node.world.groups.get(id);
    if (shared?.leader === this.self) shared.leader = 0;
  }

  group(id: GroupId): Group | undefined {
    return this.#groups.get(id);
  }

  groups(): Iterable<Group> {
    return this.#groups.values();
  }

  clusterTimeUs(): number {
    return this.#node.env.clock.wallUs();
  }

  drain(_bounds: DrainBounds, done: () => void): void {
    done();
  }

  onLeaderChange(handler: (group: GroupId, leader: PeerId, term: Term) => void): void {
    this.leaderHandlers.push(handler);
  }
}

class FakeTransport implements Transport {
  readonly self: PeerInfo;
  readonly #node: FakeNode;
  readonly #peers = new Map<PeerId, PeerInfo>();
  readonly #handlers = new Map<number, (from: PeerId, bytes: Uint8Array) => void>();
  readonly #up: ((peer: PeerInfo) => void)[] = [];
  readonly #down: ((peer: PeerId) => void)[] = [];
  readonly #heardMs = new Map<PeerId, number>();

  constructor(node: FakeNode) {
    this.#node = node;
    this.self = node.info;
  }

  up(peer: PeerInfo): void {
    if (this.#peers.has(peer.id) || !this.#node.alive) return;
    this.#node.run(() => {
      this.#peers.set(peer.id, peer);
      for (const handler of this.#up) handler(peer);
    });
  }

  down(peer: PeerId): void {
    if (!this.#peers.delete(peer)) return;
    this.#heardMs.set(peer, this.#node.env.clock.nowMs());
    this.#node.run(() => {
      for (const handler of this.#down) handler(peer);
    });
  }

  deliver(from: PeerId, channel: number, bytes: Uint8Array): void {
    if (this.#peers.has(from)) this.#node.run(() => this.#handlers.get(channel)?.(from, bytes));
  }

  fullness(): number {
    return 0;
  }

  send(to: PeerId, channel: number, parts: readonly Uint8Array[]): boolean {
    if (!this.#peers.has(to)) return false;
    const bytes = new Uint8Array(Buffer.concat(parts));
    const { world, info } = this.#node;
    const target = world.nodes.get(to)!;
    world.scheduler.after(1, () => {
      if (world.areLinked(info.id, to)) target.transport.deliver(info.id, channel, bytes);
    });
    return true;
  }

  onMessage(channel: number, handler: (from: PeerId, bytes: Uint8Array) => void): void {
    this.#handlers.set(channel, handler);
  }

  onPeerUp(handler: (peer: PeerInfo) => void): void {
    this.#up.push(handler);
  }

  onPeerDown(handler: (peer: PeerId) => void): void {
    this.#down.push(handler);
  }

  onHeartbeat(): void {}

  flush(): void {}

  setHeartbeatSource(): void {}

  peers(): PeerInfo[] {
    return [...this.#peers.values()];
  }

  isUp(peer: PeerId): boolean {
    return this.#peers.has(peer);
  }

  lastHeardMs(peer: PeerId): number {
    if (this.#peers.has(peer)) return this.#node.env.clock.nowMs();
    return this.#heardMs.get(peer) ?? Number.NEGATIVE_INFINITY;
  }
}

class FakeRpc implements Rpc {
  readonly handlers = new Map<string, (from: PeerId, bytes: Uint8Array, reply: (bytes: Uint8Array) => void) => void>();
  readonly #node: FakeNode;

  constructor(node: FakeNode) {
    this.#node = node;
  }

  request(to: PeerId, method: string, bytes: Uint8Array, timeoutMs: number, done: (reply: RpcReply) => void): void {
    const { world, info } = this.#node;
    let settled = false;
    const settle = (reply: RpcReply): void => {
      if (settled) return;
      settled = true;
      this.#node.run(() => done(reply));
    };
    if (to !== info.id && !this.#node.transport.isUp(to)) {
      world.scheduler.after(0, () => settle({ ok: false, reason: 'no-link' }));
      return;
    }
    world.scheduler.after(timeoutMs, () => settle({ ok: false, reason: 'timeout' }));
    const target = world.nodes.get(to)!;
    world.scheduler.after(1, () => {
      if (to !== info.id && !world.areLinked(info.id, to)) return;
      target.run(() =>
        target.rpc.handlers.get(method)?.(info.id, bytes, (answer) => {
          world.scheduler.after(1, () => {
            if (to === info.id || world.areLinked(info.id, to)) settle({ ok: true, bytes: answer });
          });
        }),
      );
    });
  }

  handle(method: string, handler: (from: PeerId, bytes: Uint8Array, reply: (bytes: Uint8Array) => void) => void): void {
    this.handlers.set(method, handler);
  }
}

import { type CrashKind, SimDisk } from '../../sim/sim-disk.ts';
import { createSimEnv, type SimEnv } from '../../sim/sim-env.ts';

/** One process life after the other on one data directory. */
export class FakeNode {
  readonly world: World;
  info: PeerInfo;
  alive = false;
  readonly disk: SimDisk;
  /** Groups that the data directory holds. */
  readonly logs = new Set<GroupId>();
  clusterId = '';
  crashAt: ((name: string) => CrashKind | undefined) | undefined;
  env!: SimEnv;
  host!: FakeHost;
  transport!: FakeTransport;
  rpc!: FakeRpc;
  #lives = 0;

  constructor(world: World, info: PeerInfo) {
    this.world = world;
    this.info = info;
    this.disk = new SimDisk({ scheduler: world.scheduler, prng: world.prng.stream(`disk ${info.id}`) });
  }

  /** A new life; `boot` builds and starts what runs in it. */
  start(boot: (node: FakeNode) => void): void {
    this.alive = true;
    this.env = createSimEnv({
      scheduler: this.world.scheduler,
      seed: this.world.prng.stream(`life ${this.info.id} ${this.#lives++}`),
      node: this.info.name,
      disk: this.disk,
      crashAt: (name) => this.crashAt?.(name),
      onCrash: () => this.world.stop(this),
    });
    this.host = new FakeHost(this);
    this.transport = new FakeTransport(this);
    this.rpc = new FakeRpc(this);
    this.run(() => boot(this));
    if (this.alive) this.world.connect(this);
  }

  kill(): void {
    this.env.kill('power');
  }

  run(fn: () => void): void {
    if (this.alive) this.env.run(fn);
  }
}
