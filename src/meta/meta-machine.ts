// The replicated state of the meta group: which nodes belong to the cluster, which streams exist, where their partitions
// live. Pure: `apply` is a function of the log alone; meta.ts owns the shell that proposes and answers.
// Invariants: a stream goes only by a committed delete that names its streamId; the streamId is the index of the creating
// entry (one command per entry, so it is unique and never reused); a record that was handed out is never changed in
// place.
import type { GroupId, Index, PeerId } from '../../cluster/core/types.ts';
import { PARTITIONS_KEY, type StreamConfig } from '../stream/config.ts';
import { type ApiError, apiError } from '../stream/errors.ts';
import { OVERLAP_STEPS_MAX, OverlapIndex } from '../subjects/overlap-index.ts';
import { equalConfigs } from './config-equality.ts';
import { hashHex, SetDigest } from './digest.ts';
import { decodeCommand, type MetaCommand, type MetaResult, parseJson } from './meta-codec.ts';
import { Load, place, resize, substitute } from './placement.ts';
import { groupOf, type NodeRecord, type StreamRecord } from './types.ts';

/** A stream with what reconcile needs beside the door's fields. Lists are per partition. */
export interface MetaStream extends StreamRecord {
  revision: Index;
  /** Index of the entry that last changed the record. */
  version: Index;
  /** Replicas at creation: the membership with which the group began. Never changes: a smaller one could elect a leader that
   * knows nothing. */
  initial: PeerId[][];
  /** Of `initial`, who has left since: may come back as learner only. */
  left: PeerId[][];
  /** Who may hold a copy beside `replicas`: they drop it when the partition has settled. */
  members: PeerId[][];
  /** Index of the entry that last changed `replicas`. */
  since: Index[];
}

export interface MetaListener {
  /** `after` undefined: deleted by a committed command, or not in the snapshot that was restored. */
  onStream(before: MetaStream | undefined, after: MetaStream | undefined): void;
  onNodes(): void;
}

interface Snapshot {
  head: {
    format: number;
    digest: string;
    clusterId: string;
    stampUs: number;
    nodes: NodeRecord[];
    deleted: number[];
  };
  streams: MetaStream[];
}

const FORMAT = 1;
const PARTITIONS_MAX = 64;
/** Deleted streamIds that are remembered, so that a replica which was away drops its copy on evidence. */
const DELETED_MAX = 10_000;

const DONE: MetaResult = { ok: true, streamId: 0, created: false };

export class MetaMachine {
  readonly nodes = new Map<PeerId, NodeRecord>();
  readonly #listener: MetaListener;
  readonly #streams = new Map<number, MetaStream>();
  /** Each record as it stands in snapshots and digest: made once per change, so that a snapshot only joins them. */
  readonly #texts = new Map<number, string>();
  readonly #names = new Map<string, Map<string, MetaStream>>();
  readonly #subjects = new Map<string, OverlapIndex>();
  readonly #load = new Load();
  readonly #digest = new SetDigest();
  readonly #unsettled = new Set<GroupId>();
  readonly #deleted = new Set<number>();
  #clusterId = '';
  #stampUs = 0;

  constructor(listener: MetaListener) {
    this.#listener = listener;
  }

  /** '' until the cluster's first entry is applied. */
  get clusterId(): string {
    return this.#clusterId;
  }

  /** Partitions whose group may differ from what is desired. */
  get unsettled(): ReadonlySet<GroupId> {
    return this.#unsettled;
  }

  get streams(): ReadonlyMap<number, MetaStream> {
    return this.#streams;
  }

  /** By name, in no order. */
  streamsOf(account: string): ReadonlyMap<string, MetaStream> | undefined {
    return this.#names.get(account);
  }

  /** A committed delete named it. */
  wasDeleted(streamId: number): boolean {
    return this.#deleted.has(streamId);
  }

  apply(index: Index, body: Uint8Array): MetaResult {
    const { command, stampUs } = decodeCommand(body);
    this.#stampUs = Math.max(this.#stampUs, stampUs);
    switch (command.type) {
      case 'form':
        return this.#form(command);
      case 'node':
        return this.#node(index, command);
      case 'remove':
        return this.#remove(index, command);
      case 'create':
        return this.#create(index, command);
      case 'update':
        return this.#update(index, command);
      case 'delete':
        return this.#delete(command);
      case 'replicas':
        return this.#move(index, command);
      case 'prefer':
        return this.#prefer(index, command);
      case 'evict':
        return this.#evict(index, command);
      case 'settled':
        return this.#settled(index, command);
    }
  }

  #form(command: Extract<MetaCommand, { type: 'form' }>): MetaResult {
    if (this.#clusterId !== '') return DONE;
    this.#clusterId = command.clusterId;
    for (const node of command.nodes) this.#setNode(node);
    this.#listener.onNodes();
    return DONE;
  }

  #node(index: Index, command: Extract<MetaCommand, { type: 'node' }>): MetaResult {
    const { node, replaces } = command;
    for (const other of this.nodes.values()) {
      // The name went to somebody else since the leader looked.
      if (other.name === node.name && other.id !== node.id && other.id !== replaces) return refused(apiError(10008));
    }
    this.#setNode(node);
    if (replaces !== 0 && this.nodes.has(replaces)) {
      this.#removeNode(replaces);
      this.#replaceEverywhere(index, replaces, (list) => list.map((peer) => (peer === replaces ? node.id : peer)));
    }
    this.#listener.onNodes();
    return DONE;
  }

  #remove(index: Index, command: Extract<MetaCommand, { type: 'remove' }>): MetaResult {
    const { id } = command;
    if (!this.nodes.has(id) || this.nodes.size === 1) return refused(apiError(10003));
    const live = this.#known(command.live).filter((peer) => peer !== id);
    this.#removeNode(id);
    this.#replaceEverywhere(index, id, (list) => {
      // What only that disk holds stays its own: offline, until the disk or a delete comes.
      return list.length === 1 ? list : substitute(list, id, live, this.#load);
    });
    this.#listener.onNodes();
    return DONE;
  }

  /** `replace` makes the new list of each one that has `old`. */
  #replaceEverywhere(index: Index, old: PeerId, replace: (list: PeerId[]) => PeerId[]): void {
    for (const record of [...this.#streams.values()]) {
      if (!record.replicas.some((list) => list.includes(old))) continue;
      const replicas = record.replicas.map((list) => (list.includes(old) ? replace(list) : list));
      this.#change(record, { ...record, version: index, ...this.#withReplicas(record, replicas, index) });
    }
  }

  #create(index: Index, command: Extract<MetaCommand, { type: 'create' }>): MetaResult {
    const { account, config } = command;
    const existing = this.#names.get(account)?.get(config.name);
    if (existing !== undefined) {
      if (!equalConfigs(existing.config, config)) return refused(apiError(10058));
      return { ok: true, streamId: existing.streamId, created: false };
    }
    const partitions = Number(config.metadata?.[PARTITIONS_KEY] ?? 1);
    if (!Number.isInteger(partitions) || partitions < 1 || partitions > PARTITIONS_MAX) {
      return refused(apiError(10052, { err: `${PARTITIONS_KEY} must be a number from 1 to ${PARTITIONS_MAX}` }));
    }
    const overlaps = this.#subjects.get(account);
    if (overlaps !== undefined && isTaken(overlaps, config)) return refused(apiError(10065));
    const wanted = Math.max(1, config.num_replicas);
    const live = this.#known(command.live);
    const replicas = place(partitions, wanted, live, this.#load);
    if (replicas === undefined) return refused(this.#noPeers(wanted, live.length));
    this.#change(undefined, {
      streamId: index,
      account,
      name: config.name,
      config,
      createdUs: this.#stampUs,
      partitions,
      stride: partitions,
      replicas,
      revision: index,
      version: index,
      initial: replicas,
      left: replicas.map(() => []),
      members: replicas,
      since: replicas.map(() => index),
    });
    return { ok: true, streamId: index, created: true };
  }

  #update(index: Index, command: Extract<MetaCommand, { type: 'update' }>): MetaResult {
    const { account, config, streamId } = command;
    const record = this.#streams.get(streamId);
    if (record === undefined || record.account !== account || record.name !== config.name)
      return refused(apiError(10059));
    // Flags that can only be set, and whatever else was checked, hold for the record that was read: compare and set.
    if (record.revision !== command.revision) return { ok: false, error: apiError(10008), changed: true };
    const overlaps = this.#subjects.get(account)!;
    for (const subject of record.config.subjects ?? []) overlaps.remove(subject);
    const meetsOthers = isTaken(overlaps, config);
    for (const subject of record.config.subjects ?? []) overlaps.add(subject);
    if (meetsOthers) return refused(apiError(10065));
    const wanted = Math.max(1, config.num_replicas);
    const live = this.#known(command.live);
    const replicas: PeerId[][] = [];
    for (const current of record.replicas) {
      // Also one that lost a node for which there was no other gets its copies back.
      const resized = resize(current, wanted, live, this.#load);
      if (resized === undefined && wanted !== Math.max(1, record.config.num_replicas)) {
        return refused(this.#noPeers(wanted, live.length));
      }
      replicas.push(resized ?? current);
    }
    const change = this.#withReplicas(record, replicas, index);
    this.#change(record, { ...record, config, revision: index, version: index, ...change });
    return { ok: true, streamId, created: false };
  }

  #delete(command: Extract<MetaCommand, { type: 'delete' }>): MetaResult {
    const record = this.#streams.get(command.streamId);
    if (record === undefined || record.account !== command.account) return refused(apiError(10059));
    this.#remember(record.streamId);
    this.#change(record, undefined);
    return { ok: true, streamId: record.streamId, created: false };
  }

  #move(index: Index, command: Extract<MetaCommand, { type: 'replicas' }>): MetaResult {
    const record = this.#streams.get(command.streamId);
    if (record === undefined || command.partition >= record.partitions) return refused(apiError(10059));
    const wanted = command.replicas;
    if (wanted.length === 0 || new Set(wanted).size !== wanted.length || this.#known(wanted).length !== wanted.length) {
      return refused(this.#noPeers(wanted.length, this.#known(wanted).length));
    }
    const replicas = record.replicas.map((list, partition) => (partition === command.partition ? wanted : list));
    this.#change(record, { ...record, version: index, ...this.#withReplicas(record, replicas, index) });
    return { ok: true, streamId: record.streamId, created: false };
  }

  /** The same replicas in another order: nothing moves but the wish who leads. */
  #prefer(index: Index, command: Extract<MetaCommand, { type: 'prefer' }>): MetaResult {
    const record = this.#streams.get(command.streamId);
    const { partition, peer } = command;
    if (record === undefined || partition >= record.partitions) return refused(apiError(10059));
    const list = record.replicas[partition];
    if (!list.includes(peer)) return refused(apiError(10040));
    const ordered = [peer, ...list.filter((other) => other !== peer)];
    const replicas = record.replicas.map((each, p) => (p === partition ? ordered : each));
    this.#change(record, { ...record, version: index, replicas });
    return { ok: true, streamId: record.streamId, created: false };
  }

  #evict(index: Index, command: Extract<MetaCommand, { type: 'evict' }>): MetaResult {
    const record = this.#streams.get(command.streamId);
    const { peer } = command;
    if (record === undefined) return refused(apiError(10059));
    if (!record.replicas.some((list) => list.includes(peer))) return refused(apiError(10040));
    const live = this.#known(command.live).filter((other) => other !== peer);
    const replicas = record.replicas.map((list) =>
      list.includes(peer) ? substitute(list, peer, live, this.#load) : list,
    );
    // Fewer copies than asked for are no answer to the wish for other ones.
    if (replicas.some((list, p) => list.length < record.replicas[p].length)) return refused(apiError(10075));
    this.#change(record, { ...record, version: index, ...this.#withReplicas(record, replicas, index) });
    return { ok: true, streamId: record.streamId, created: false };
  }

  #settled(index: Index, command: Extract<MetaCommand, { type: 'settled' }>): MetaResult {
    const record = this.#streams.get(command.streamId);
    const { partition } = command;
    if (record === undefined || record.since[partition] !== command.since) return refused(apiError(10059));
    const stay = record.replicas[partition];
    const gone = record.initial[partition].filter((peer) => !stay.includes(peer));
    const left = [...new Set([...record.left[partition], ...gone])];
    this.#change(record, {
      ...record,
      version: index,
      members: record.members.map((list, p) => (p === partition ? stay : list)),
      left: record.left.map((list, p) => (p === partition ? left : list)),
    });
    return { ok: true, streamId: record.streamId, created: false };
  }

  /** The fields that follow from a change of replicas. */
  #withReplicas(record: MetaStream, replicas: PeerId[][], index: Index): Partial<MetaStream> {
    const same = (p: number): boolean => record.replicas[p].join() === replicas[p].join();
    return {
      replicas,
      since: record.since.map((since, p) => (same(p) ? since : index)),
      members: record.members.map((list, p) => (same(p) ? list : [...new Set([...list, ...record.replicas[p]])])),
    };
  }

  #known(peers: readonly PeerId[]): PeerId[] {
    return peers.filter((peer) => this.nodes.has(peer));
  }

  #noPeers(wanted: number, live: number): ApiError {
    if (this.nodes.size === 1) return apiError(10074);
    const why = wanted <= this.nodes.size ? `, peer offline (${live} of ${wanted})` : '';
    return apiError(10005, { err: `no suitable peers for placement${why}` });
  }

  #setNode(node: NodeRecord): void {
    const before = this.nodes.get(node.id);
    if (before !== undefined) this.#digest.remove(`node ${JSON.stringify(before)}`);
    this.nodes.set(node.id, node);
    this.#digest.add(`node ${JSON.stringify(node)}`);
  }

  #removeNode(id: PeerId): void {
    this.#digest.remove(`node ${JSON.stringify(this.nodes.get(id))}`);
    this.nodes.delete(id);
  }

  #remember(streamId: number): void {
    this.#deleted.add(streamId);
    this.#digest.add(`deleted ${streamId}`);
    if (this.#deleted.size <= DELETED_MAX) return;
    for (const oldest of this.#deleted) {
      this.#deleted.delete(oldest);
      this.#digest.remove(`deleted ${oldest}`);
      break;
    }
  }

  #change(before: MetaStream | undefined, after: MetaStream | undefined): void {
    if (before !== undefined) this.#unlink(before);
    if (after !== undefined) this.#link(after);
    this.#listener.onStream(before, after);
  }

  #link(record: MetaStream): void {
    this.#streams.set(record.streamId, record);
    let names = this.#names.get(record.account);
    if (names === undefined) this.#names.set(record.account, (names = new Map()));
    names.set(record.name, record);
    let subjects = this.#subjects.get(record.account);
    if (subjects === undefined) this.#subjects.set(record.account, (subjects = new OverlapIndex()));
    for (const subject of record.config.subjects ?? []) subjects.add(subject);
    for (let p = 0; p < record.partitions; p++) {
      this.#load.count(record.replicas[p], 1);
      if (!sameSet(record.members[p], record.replicas[p])) this.#unsettled.add(groupOf(record.streamId, p));
    }
    const text = JSON.stringify(record);
    this.#texts.set(record.streamId, text);
    this.#digest.add(text);
  }

  #unlink(record: MetaStream): void {
    this.#streams.delete(record.streamId);
    const names = this.#names.get(record.account)!;
    names.delete(record.name);
    if (names.size === 0) this.#names.delete(record.account);
    const subjects = this.#subjects.get(record.account)!;
    for (const subject of record.config.subjects ?? []) subjects.remove(subject);
    for (let p = 0; p < record.partitions; p++) {
      this.#load.count(record.replicas[p], -1);
      this.#unsettled.delete(groupOf(record.streamId, p));
    }
    this.#digest.remove(this.#texts.get(record.streamId)!);
    this.#texts.delete(record.streamId);
  }

  snapshot(): Uint8Array[] {
    const head = {
      format: FORMAT,
      digest: this.digest(),
      clusterId: this.#clusterId,
      stampUs: this.#stampUs,
      nodes: [...this.nodes.values()],
      deleted: [...this.#deleted],
    };
    const streams = [...this.#texts.values()].join(',');
    return [new TextEncoder().encode(`{"head":${JSON.stringify(head)},"streams":[${streams}]}`)];
  }

  /** Throws when the state does not have the digest with which it was written: such a snapshot must not be used. */
  restore(bytes: Uint8Array | undefined): void {
    const before = new Map(this.#streams);
    this.#clear();
    if (bytes !== undefined) {
      const { head, streams } = parseJson(bytes) as Snapshot;
      if (head.format !== FORMAT) throw new Error(`meta snapshot of unknown format ${head.format}`);
      this.#clusterId = head.clusterId;
      this.#stampUs = head.stampUs;
      for (const node of head.nodes) this.#setNode(node);
      for (const record of streams) this.#link(record);
      for (const streamId of head.deleted) this.#remember(streamId);
      const digest = this.digest();
      if (digest !== head.digest) throw new Error(`meta snapshot is damaged: ${digest} instead of ${head.digest}`);
    }
    this.#listener.onNodes();
    for (const [streamId, old] of before) {
      if (!this.#streams.has(streamId)) this.#listener.onStream(old, undefined);
    }
    for (const [streamId, record] of this.#streams) {
      const old = before.get(streamId);
      if (old?.version !== record.version) this.#listener.onStream(old, record);
    }
  }

  #clear(): void {
    for (const record of [...this.#streams.values()]) this.#unlink(record);
    for (const id of [...this.nodes.keys()]) this.#removeNode(id);
    for (const streamId of this.#deleted) this.#digest.remove(`deleted ${streamId}`);
    this.#deleted.clear();
    this.#clusterId = '';
    this.#stampUs = 0;
  }

  digest(): string {
    return hashHex(`${this.#digest.hex()} ${this.#clusterId} ${this.#stampUs}`);
  }
}

function refused(error: ApiError): MetaResult {
  return { ok: false, error };
}

function sameSet(a: readonly PeerId[], b: readonly PeerId[]): boolean {
  return a.length === b.length && a.every((peer) => b.includes(peer));
}

/** Also when it would take all nodes long to find out: thousands of wildcards beside thousands of names. */
function isTaken(overlaps: OverlapIndex, { subjects = [] }: StreamConfig): boolean {
  return overlaps.meetsAny(subjects, overlaps.steps + OVERLAP_STEPS_MAX);
}
