// The metadata group on this node: forms or joins the cluster, runs the meta machine, answers what exists and where, and
// makes the local groups follow. Called by the composition root; everything else sees `Catalog`, `MetaClient`, `Partitions`.
// Invariant: what the catalog says is what was committed, and a local group is only deleted on a committed word.
import { type GroupId, type Index, META_GROUP, type PeerId } from '../../cluster/core/types.ts';
import { wholeState } from '../../cluster/host/state-sink.ts';
import type { Group, GroupMachine, Host } from '../../cluster/host/types.ts';
import type { Rpc, Transport } from '../../cluster/rpc/types.ts';
import type { Env, Timer } from '../kit/env.ts';
import { type ApiError, apiError } from '../stream/errors.ts';
import { MetaCatalog } from './catalog.ts';
import { createClient } from './client.ts';
import { Drive } from './drive.ts';
import { Formation, type Identity, nodeRecord } from './formation.ts';
import type { FormationRecord } from './formation-record.ts';
import { Leaders } from './leaders.ts';
import { encodeJson, type MetaCommand, type MetaRequest, parseObject } from './meta-codec.ts';
import { MetaMachine, type MetaStream } from './meta-machine.ts';
import { Proposals } from './proposals.ts';
import { type OpenedPartition, Reconcile } from './reconcile.ts';
import {
  type Catalog,
  groupOf,
  type MetaClient,
  type NodeRecord,
  type Partitions,
  type StreamRecord,
} from './types.ts';

export type { Identity } from './formation.ts';
export type { OpenedPartition } from './reconcile.ts';

export interface MetaOptions {
  env: Env;
  host: Host;
  rpc: Rpc;
  transport: Transport;
  identity: Identity;
  /** How many nodes the configured routes name, this one included (1: no routes). Asked until the cluster is formed. */
  expectedNodes: () => number;
  /** A cluster listener is configured. */
  clustered: boolean;
  /** Groups that recovery found in the WAL. */
  recovered: ReadonlySet<GroupId>;
  /** Builds a partition's machine; it is opened right after. */
  openPartition: (record: StreamRecord, partition: number) => OpenedPartition;
  /** The group is deleted on this node. */
  closePartition: (group: GroupId) => void;
}

export interface Meta {
  catalog: Catalog;
  client: MetaClient;
  partitions: Partitions;
  start(): void;
  close(): void;
  /** '' until this node belongs to a cluster. */
  readonly clusterId: string;
  /** Registered here, a meta leader is known, all committed metadata of the start is applied, and wanted groups are open. */
  readonly ready: boolean;
  /** Hands the leadership of the meta group to `to`, or to any voter that is up. False: not leading or nobody there. */
  stepDown(to?: PeerId): boolean;
}

const STEP_DOWN = 'meta.stepDown';
const STEP_DOWN_MS_MAX = 2000;
const TICK_MS = 100;
const BALANCE_EVERY_TICKS = 10;
const REGISTER_EVERY_TICKS = 5;
/** An incarnation that was silent for so long may be replaced by another one of the same name. */
const DEAD_MS = 5000;

export function createMeta(options: MetaOptions): Meta {
  return new MetaNode(options);
}

class MetaNode implements Meta {
  readonly catalog: MetaCatalog;
  readonly client: MetaClient;
  readonly partitions: Partitions;
  readonly #options: MetaOptions;
  readonly #machine: MetaMachine;
  readonly #leaders: Leaders;
  readonly #proposals: Proposals;
  readonly #reconcile: Reconcile;
  readonly #formation: Formation;
  readonly #drive: Drive;
  #group: Group | undefined;
  #caughtUp = false;
  /** Behind a barrier, members are driven. */
  #driveAsked = false;
  #barrierAsked = false;
  #registered = false;
  #startMs = 0;
  #ticks = 0;
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: MetaOptions) {
    const { env, host, rpc, transport } = options;
    this.#options = options;
    this.#machine = new MetaMachine({
      onStream: (before, after) => this.#streamChanged(before, after),
      onNodes: () => this.#checkRegistered(),
    });
    this.catalog = new MetaCatalog(this.#machine, () => this.#group?.leader ?? 0);
    this.#leaders = new Leaders(env.clock, transport);
    this.#proposals = new Proposals({
      env,
      rpc,
      transport,
      group: () => this.#group,
      command: (request) => this.#command(request),
      clusterTimeUs: () => host.clusterTimeUs(),
    });
    this.#reconcile = new Reconcile({
      env,
      host,
      machine: this.#machine,
      recovered: options.recovered,
      openPartition: options.openPartition,
      closePartition: (group) => {
        // A copy that only moved away leaves a partition behind whose leader this node must go on knowing; what a deleted stream's were
        // is forgotten with its record.
        this.#leaders.stopped(group);
        options.closePartition(group);
      },
      onLeading: (group, term) => this.#leaders.started(group, term),
      onNotLeading: (group) => this.#leaders.stopped(group),
    });
    this.#formation = new Formation({
      env,
      rpc,
      transport,
      identity: options.identity,
      expectedNodes: options.expectedNodes,
      clustered: options.clustered,
      hasMetaLog: options.recovered.has(META_GROUP),
      view: () => ({ membership: this.#group?.status().membership, leader: this.#group?.leader ?? 0 }),
      isMember: (peer) => this.#machine.nodes.has(peer),
      onFormed: (record) => this.#formed(record),
    });
    this.#drive = new Drive({
      env,
      isDiskLow: (peer) => host.isDiskLow(peer),
      transport,
      machine: this.#machine,
      metaGroup: () => this.#group,
      partition: (group) => this.#reconcile.group(group),
      led: () => this.#leaders.own.keys(),
      submit: (request, done) => this.#proposals.submit(request, done),
    });
    this.client = createClient({
      env,
      catalog: this.catalog,
      proposals: this.#proposals,
      leaders: this.#leaders,
      group: () => this.#group,
      stepDown: (to, done) => this.#stepDownAnywhere(to, done),
    });
    rpc.handle(STEP_DOWN, (_, bytes, reply) => {
      const to = Number(parseObject(bytes)?.to);
      const answer = this.#group?.leading ? (this.stepDown(to || undefined) ? 'done' : 'nobody') : 'not-leading';
      reply(encodeJson({ answer }));
    });
    this.partitions = {
      local: (group) => this.#reconcile.ops(group),
      leaderOf: (group) => this.#leaders.leaderOf(group),
      termOf: (group) => this.#leaders.termOf(group),
      onLeaderChange: (handler) => this.#leaders.onChange(handler),
    };
    host.onLeaderChange((group, _leader, term) => {
      if (group === META_GROUP) this.#proposals.leaderChanged();
      else this.#leaders.sawTerm(group, term);
    });
  }

  get clusterId(): string {
    return this.#formation.record?.clusterId ?? '';
  }

  get ready(): boolean {
    return this.#registered && this.#caughtUp && this.catalog.metaLeader !== 0 && this.#reconcile.idle;
  }

  start(): void {
    this.#startMs = this.#options.env.clock.nowMs();
    this.#formation.start();
    this.#tick();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== undefined) this.#options.env.clock.cancel(this.#timer);
    this.#formation.close();
    this.#proposals.close();
    this.#reconcile.close();
    this.#leaders.close();
  }

  stepDown(to?: PeerId): boolean {
    const group = this.#group;
    if (group === undefined || !group.leading) return false;
    const { transport } = this.#options;
    const heirs = group.status().membership.voters.filter((peer) => transport.isUp(peer));
    const heir = to === undefined ? heirs[0] : heirs.find((peer) => peer === to);
    if (heir === undefined) return false;
    group.transferLeadership(heir);
    return true;
  }

  /** Asks the meta leader, wherever it is, to hand over to `to` (0: anybody). A node that does not lead has done nothing: who does is
   * asked again until the time is up. */
  #stepDownAnywhere(to: PeerId, done: (result: 'done' | 'nobody' | 'unknown') => void): void {
    const { env, rpc } = this.#options;
    const dueMs = env.clock.nowMs() + STEP_DOWN_MS_MAX;
    const attempt = (): void => {
      const leader = this.catalog.metaLeader;
      if (env.clock.nowMs() >= dueMs || this.#closed) done('unknown');
      else if (leader === 0) env.clock.after(TICK_MS, attempt);
      else {
        rpc.request(leader, STEP_DOWN, encodeJson({ to }), STEP_DOWN_MS_MAX, (reply) => {
          const answer = reply.ok ? parseObject(reply.bytes)?.answer : undefined;
          if (answer === 'not-leading') env.clock.after(TICK_MS, attempt);
          else done(answer === 'done' || answer === 'nobody' ? answer : 'unknown');
        });
      }
    };
    attempt();
  }

  #formed(record: FormationRecord): void {
    const { host } = this.#options;
    this.#group = host.openGroup(META_GROUP, record.membership, this.#shell(), 0);
    this.#options.env.crashPoint('meta.formation.opened');
    this.#proposals.leaderChanged();
  }

  /** The meta group's machine as the host sees it. */
  #shell(): GroupMachine {
    return {
      apply: (index, _term, body) => this.#apply(index, body),
      onLeading: () => this.#startLeading(),
      onNotLeading: () => {
        this.#proposals.stopped();
        this.#proposals.leaderChanged();
      },
      onPause: () => undefined,
      snapshot: () => this.#machine.snapshot(),
      restore: (index) =>
        wholeState((state) => {
          this.#machine.restore(state);
          this.#proposals.applied(index, undefined);
        }),
      // All of the state is in the snapshot.
      isEntryLive: () => false,
      digest: () => this.#machine.digest(),
    };
  }

  #apply(index: Index, body: Uint8Array): void {
    const result = this.#machine.apply(index, body);
    this.#proposals.applied(index, result);
  }

  #startLeading(): void {
    const { record } = this.#formation;
    if (this.#machine.clusterId === '' && record !== undefined) {
      const { clusterId, founders } = record;
      this.#proposals.submit({ type: 'form', clusterId, nodes: founders }, () => undefined);
    }
    this.#proposals.leaderChanged();
  }

  #streamChanged(before: MetaStream | undefined, after: MetaStream | undefined): void {
    this.catalog.changed(before, after);
    this.#reconcile.changed(before, after);
    if (before === undefined || after !== undefined) return;
    for (let p = 0; p < before.partitions; p++) this.#leaders.forget(groupOf(before.streamId, p));
  }

  /** What the meta leader knows at this moment, added to a request. */
  #command(request: MetaRequest): MetaCommand | ApiError {
    switch (request.type) {
      case 'create':
        return { type: 'create', account: request.account, config: request.config, live: this.#live() };
      case 'update': {
        const { account, streamId, revision, config } = request;
        return { type: 'update', account, streamId, revision, config, live: this.#live() };
      }
      case 'remove': {
        if (this.#live().includes(request.id)) return apiError(10003);
        return { type: 'remove', id: request.id, live: this.#live() };
      }
      case 'evict':
        return { ...request, live: this.#live() };
      case 'delete': {
        const { account, name } = request;
        return { type: 'delete', account, streamId: this.catalog.stream(account, name)?.streamId ?? 0 };
      }
      case 'node': {
        const replaces = this.#replacedBy(request.node);
        if (replaces === undefined) return apiError(10008);
        return { type: 'node', node: request.node, replaces };
      }
      default:
        return request;
    }
  }

  #live(): PeerId[] {
    const { transport } = this.#options;
    return [...this.#machine.nodes.keys()].filter((id) => id === transport.self.id || transport.isUp(id));
  }

  /** The dead incarnation whose place `node` takes; 0 none; undefined: the name belongs to a node that lives. */
  #replacedBy(node: NodeRecord): PeerId | 0 | undefined {
    const { env, transport } = this.#options;
    for (const other of this.#machine.nodes.values()) {
      if (other.name !== node.name || other.id === node.id) continue;
      const heardMs = Math.max(transport.lastHeardMs(other.id), this.#startMs);
      const isDead = other.id !== transport.self.id && !transport.isUp(other.id);
      if (isDead && env.clock.nowMs() - heardMs >= DEAD_MS) return other.id;
      if (!isDead) env.log.error('a second node has the name of a node that is up', { name: node.name, id: node.id });
      return undefined;
    }
    return 0;
  }

  #tick(): void {
    if (this.#closed) return;
    this.#timer = this.#options.env.clock.after(TICK_MS, () => this.#tick());
    this.#ticks++;
    if (this.#group === undefined) return;
    this.#driveMembers();
    if (this.#ticks % BALANCE_EVERY_TICKS === 0) {
      this.#drive.reviewMembers();
      this.#drive.tickBalance();
    }
    if (!this.#caughtUp) this.#catchUp();
    const isSure = this.#registered && this.catalog.metaLeader !== 0;
    if (!isSure && this.#ticks % REGISTER_EVERY_TICKS === 0) this.#register();
  }

  #driveMembers(): void {
    if (!this.#drive.hasPartitions) {
      this.#drive.tickMembership();
      return;
    }
    if (this.#driveAsked) return;
    this.#driveAsked = true;
    this.client.readBarrier((ok) => {
      this.#driveAsked = false;
      if (ok && !this.#closed) this.#drive.tickMembership();
    });
  }

  /** Once after the start: is everything applied that was committed before? */
  #catchUp(): void {
    if (this.#barrierAsked) return;
    this.#barrierAsked = true;
    this.client.readBarrier((ok) => {
      this.#barrierAsked = false;
      if (!ok || this.#closed) return;
      this.#caughtUp = true;
      this.#reconcile.caughtUp();
    });
  }

  /** This node is registered with its present name and addresses, by what its catalog says. */
  #checkRegistered(): void {
    const { transport } = this.#options;
    const wanted = nodeRecord(transport.self);
    const known = this.#machine.nodes.get(wanted.id);
    this.#registered =
      known !== undefined &&
      known.name === wanted.name &&
      known.clientUrl === wanted.clientUrl &&
      known.clusterUrl === wanted.clusterUrl &&
      known.monitorUrl === wanted.monitorUrl;
  }

  /** Asks the meta leader to register this node. While the own replica hears of no leader its catalog may be old: the cluster may
   * have gone on without this node, so peers are asked what they know. */
  #register(): void {
    const { transport } = this.#options;
    const request: MetaRequest = { type: 'node', node: nodeRecord(transport.self) };
    if (this.catalog.metaLeader !== 0) {
      this.#proposals.submit(request, () => undefined);
      return;
    }
    for (const peer of transport.peers()) {
      this.#formation.hello(peer.id, (hello) => {
        if (hello === undefined || hello.leader !== peer.id || this.#closed) return;
        if (!hello.member || !this.#registered) this.#proposals.submitTo(peer.id, request);
      });
    }
  }
}
