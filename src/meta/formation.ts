// How a node comes to belong to a cluster. Owned by meta.ts; runs until the node has its formation record.
// A fresh node asks its peers (`meta.hello`) until one of two things is true: a peer belongs to a cluster, then it joins
// that one and never forms; or all expected nodes are connected and all are fresh, then the one with the smallest name
// decides. The decision is a durable file before anybody hears of it, and founders learn of it by asking as well: so a
// crash between any two steps is resumed by the same loop. Nobody but that one node ever forms.
import type { Membership, PeerId } from '../../cluster/core/types.ts';
import type { PeerInfo, Rpc, Transport } from '../../cluster/rpc/types.ts';
import type { Env, Timer } from '../kit/env.ts';
import {
  decodeRecord,
  encodeRecord,
  type FormationRecord,
  foundCluster,
  isMembership,
  isRecord,
  joinCluster,
} from './formation-record.ts';
import { encodeJson, parseObject } from './meta-codec.ts';
import type { NodeRecord } from './types.ts';

/** The durable identity of the data directory, as far as formation changes it. */
export interface Identity {
  /** '' while fresh. */
  readonly clusterId: string;
  /** Makes the cluster id durable; a second call with the same id is harmless. */
  adoptCluster(clusterId: string, done: () => void): void;
}

export interface FormationOptions {
  env: Env;
  rpc: Rpc;
  transport: Transport;
  identity: Identity;
  /** How many nodes the configuration names, this one included. Asked again and again: a route may turn out to be this node. */
  expectedNodes: () => number;
  /** A cluster listener is configured: another node may dial in although no route is configured. */
  clustered: boolean;
  /** What this node knows of the meta group, for peers that ask. */
  view: () => { membership: Membership | undefined; leader: PeerId };
  isMember: (peer: PeerId) => boolean;
  /** The meta group was found in this node's log: it goes on even if the formation record is lost. */
  hasMetaLog: boolean;
  /** The record is durable and adopted: the meta group may be opened. Runs once. */
  onFormed: (record: FormationRecord) => void;
}

export interface Hello {
  name: string;
  clusterId: string;
  expected: number;
  record?: FormationRecord;
  membership?: Membership;
  /** Meta leader as the answering node knows it, 0 unknown. */
  leader: PeerId;
  /** The asking node is registered in the answering node's catalog. */
  member: boolean;
}

export const FORMATION_FILE = 'formation.json';
const HELLO = 'meta.hello';
const TICK_MS = 100;
const HELLO_TIMEOUT_MS = 1000;
const COMPLAIN_MS = 10_000;
/** The first reason, or another one than before. */
const COMPLAIN_ANEW_MS = 3_000;
/** A node that lists nobody but could be dialled listens so long for an existing cluster. */
const ALONE_GRACE_MS = 3000;

export class Formation {
  readonly #options: FormationOptions;
  readonly #hellos = new Map<PeerId, Hello>();
  readonly #asking = new Set<PeerId>();
  #record: FormationRecord | undefined;
  #saving = false;
  #startMs = 0;
  #complainedMs = 0;
  #complaint = '';
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: FormationOptions) {
    this.#options = options;
    options.rpc.handle(HELLO, (from, _bytes, reply) => reply(encodeJson(this.#answer(from))));
    options.transport.onPeerUp(() => {
      if (this.#record === undefined) this.#tick();
    });
    options.transport.onPeerDown((peer) => this.#hellos.delete(peer));
  }

  /** Undefined until durable and adopted. */
  get record(): FormationRecord | undefined {
    return this.#record;
  }

  start(): void {
    const { env, identity, hasMetaLog } = this.#options;
    this.#startMs = this.#complainedMs = env.clock.nowMs();
    const bytes = env.disk.readSync(FORMATION_FILE);
    const record = bytes === undefined ? undefined : decodeRecord(bytes);
    if (record !== undefined) {
      if (identity.clusterId !== '' && identity.clusterId !== record.clusterId) {
        env.fatal(`this data directory belongs to cluster ${identity.clusterId}, its formation record to another one`);
      }
      this.#adopt(record);
      return;
    }
    if (bytes !== undefined) {
      env.log.error('formation record is damaged; moved to quarantine', { file: FORMATION_FILE });
      env.disk.renameSync(FORMATION_FILE, `quarantine/${FORMATION_FILE}`);
    }
    if (identity.clusterId !== '' && hasMetaLog) {
      const nobody = { voters: [], learners: [] };
      this.#adopt({ clusterId: identity.clusterId, membership: nobody, founders: [], founding: nobody });
      return;
    }
    this.#tick();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== undefined) this.#options.env.clock.cancel(this.#timer);
  }

  /** Asks one peer what it knows; undefined: no answer. */
  hello(peer: PeerId, done: (hello: Hello | undefined) => void): void {
    this.#options.rpc.request(peer, HELLO, new Uint8Array(0), HELLO_TIMEOUT_MS, (reply) => {
      done(reply.ok ? parseHello(reply.bytes) : undefined);
    });
  }

  #answer(from: PeerId): Hello {
    const { identity, transport, expectedNodes, view, isMember } = this.#options;
    const { membership, leader } = view();
    const clusterId = this.#record?.clusterId ?? identity.clusterId;
    return {
      name: transport.self.name,
      clusterId,
      expected: expectedNodes(),
      record: this.#record,
      membership,
      leader,
      member: isMember(from),
    };
  }

  #tick(): void {
    if (this.#closed || this.#record !== undefined || this.#saving) return;
    const { env, transport } = this.#options;
    if (this.#timer !== undefined) env.clock.cancel(this.#timer);
    this.#timer = env.clock.after(TICK_MS, () => this.#tick());
    for (const peer of transport.peers()) this.#ask(peer.id);
    this.#decide();
  }

  #ask(peer: PeerId): void {
    if (this.#asking.has(peer)) return;
    this.#asking.add(peer);
    this.hello(peer, (hello) => {
      this.#asking.delete(peer);
      if (this.#closed || this.#record !== undefined || this.#saving) return;
      if (hello === undefined || !this.#options.transport.isUp(peer)) this.#hellos.delete(peer);
      else this.#hellos.set(peer, hello);
      this.#decide();
    });
  }

  #decide(): void {
    if (this.#joinFormed()) return;
    const { env, identity, transport, expectedNodes } = this.#options;
    if (identity.clusterId !== '') {
      this.#complain(`waiting for a peer of cluster ${identity.clusterId}: this node has lost its formation record`);
      return;
    }
    const expected = expectedNodes();
    const peers = transport.peers();
    const hellos = peers.map((peer) => this.#hellos.get(peer.id));
    if (peers.length + 1 < expected || hellos.some((hello) => hello === undefined)) {
      this.#complain(`waiting for all nodes to form a cluster: ${peers.length + 1} of ${expected} are here`);
      return;
    }
    if (peers.length + 1 > expected || hellos.some((hello) => hello!.expected !== expected)) {
      this.#complain('the nodes do not agree on how many they are: every node must list the same routes');
      return;
    }
    const self = transport.self;
    const names = [self.name, ...peers.map((peer) => peer.name)];
    if (new Set(names).size !== names.length) {
      this.#complain(`two nodes have the same name: ${names.join(', ')}`);
      return;
    }
    if (hellos.some((hello) => hello!.clusterId !== '')) return;
    if (names.some((name) => name < self.name)) return;
    const isAlone = expected === 1 && this.#options.clustered;
    if (isAlone && env.clock.nowMs() - this.#startMs < ALONE_GRACE_MS) return;
    const clusterId = [...env.random.bytes(16)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    env.log.info('forming a cluster', { clusterId, nodes: names.join(' ') });
    this.#save(foundCluster(clusterId, [self, ...peers].map(nodeRecord)));
  }

  /** True when some peer belongs to a cluster: then this node forms none, even if it can not join. */
  #joinFormed(): boolean {
    const { identity, transport } = this.#options;
    const formed = [...this.#hellos.values()].filter((hello) => hello.clusterId !== '');
    if (formed.length === 0) return false;
    const ids = new Set(formed.map((hello) => hello.clusterId));
    if (identity.clusterId !== '') ids.add(identity.clusterId);
    if (ids.size > 1) {
      this.#complain(`peers belong to different clusters: ${[...ids].join(', ')}`);
      return true;
    }
    const hello = formed.find((one) => one.record !== undefined);
    if (hello === undefined) return true;
    const joined = joinCluster(hello.record!, hello.membership, transport.self.id);
    // The incarnation is known to have belonged to the cluster before: it may have voted, so it comes back as a learner.
    const mayHaveVoted = identity.clusterId !== '';
    this.#save(mayHaveVoted ? { ...joined, membership: asLearner(joined.membership, transport.self.id) } : joined);
    return true;
  }

  #save(record: FormationRecord): void {
    this.#saving = true;
    const { env } = this.#options;
    env.disk.replace(FORMATION_FILE, encodeRecord(record), (error) => {
      if (error !== null) env.fatal(`formation record can not be written: ${error.message}`, 'disk');
      env.crashPoint('meta.formation.saved');
      // The next start finds it.
      if (!this.#closed) this.#adopt(record);
    });
  }

  #adopt(record: FormationRecord): void {
    const { env, identity, onFormed } = this.#options;
    const adopted = (): void => {
      if (this.#closed) return;
      env.crashPoint('meta.formation.adopted');
      this.#record = record;
      onFormed(record);
    };
    if (identity.clusterId === record.clusterId) adopted();
    else identity.adoptCluster(record.clusterId, adopted);
  }

  #complain(reason: string): void {
    const nowMs = this.#options.env.clock.nowMs();
    if (nowMs - this.#complainedMs < (reason === this.#complaint ? COMPLAIN_MS : COMPLAIN_ANEW_MS)) return;
    this.#complainedMs = nowMs;
    this.#complaint = reason;
    this.#options.env.log.warn(reason);
  }
}

export function nodeRecord(peer: PeerInfo): NodeRecord {
  const { id, name, clientUrl, clusterUrl, monitorUrl } = peer;
  return { id, name, clientUrl, clusterUrl, monitorUrl };
}

/** Undefined: not what a node of this product says. */
function parseHello(bytes: Uint8Array): Hello | undefined {
  const hello = parseObject(bytes);
  if (hello === undefined) return undefined;
  const { name, clusterId, expected, leader, record, membership } = hello;
  if (typeof name !== 'string' || typeof clusterId !== 'string') return undefined;
  if (typeof expected !== 'number' || typeof leader !== 'number') return undefined;
  if (record !== undefined && !isRecord(record)) return undefined;
  if (membership !== undefined && !isMembership(membership)) return undefined;
  return hello as unknown as Hello;
}

function asLearner(membership: Membership, self: PeerId): Membership {
  const without = (peers: PeerId[]): PeerId[] => peers.filter((peer) => peer !== self);
  return { voters: without(membership.voters), learners: [...without(membership.learners), self] };
}
