// A follower that needs what the log no longer has gets the snapshot: this end offers it and serves what the other end fetches, so the
// receiver sets the pace. State travels in chunks, live entries in bounded batches, on channel transfer. Owned by the host.
// Invariants: what is served is exactly the snapshot that was offered; while one is in use no newer one replaces it; a
// transfer that its receiver has left ends by itself and is reported to the core as failed.
import type { GroupId, Index, LogEntry, PeerId } from '../core/types.ts';
import { createRpc } from '../rpc/rpc.ts';
import { Channel, type Rpc, type Transport } from '../rpc/types.ts';
import { CHUNK_BYTES } from '../wal/snapshots.ts';
import type { StoredSnapshot } from '../wal/types.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';
import {
  decodeOutcome,
  decodeRequest,
  encodeEntries,
  encodeOffer,
  OfferOutcome,
  type TransferRequest,
} from './transfer-codec.ts';
import type { HostStats } from './types.ts';

export const OFFER = 'snapshot.offer';
export const STATE = 'snapshot.state';
export const LIVE = 'snapshot.live';
export const DONE = 'snapshot.done';
export const WANT = 'snapshot.want';
const ENTRIES_BYTES = 512 * 1024;
const LIVE_INDEXES = 2_048;
const TRANSFERS_MAX = 2;
const OFFER_TIMEOUT_MS = 5_000;
const IDLE_MS = 10_000;
/** A receiver that is busy, or that failed, is offered it again after this. */
const RETRY_MS = 500;

interface Transfer {
  runner: GroupRunner;
  peer: PeerId;
  snapshot: StoredSnapshot;
  usedMs: number;
  ended: boolean;
}

interface Owner extends RunnerOwner {
  readonly stats: HostStats;
  readonly transport: Transport;
  group(id: GroupId): GroupRunner | undefined;
  takeSnapshot(runner: GroupRunner): void;
}

export class SnapshotSender {
  readonly rpc: Rpc;
  private readonly owner: Owner;
  private transfers: Transfer[] = [];

  constructor(owner: Owner) {
    this.owner = owner;
    this.rpc = createRpc(owner.env, owner.transport, Channel.transfer);
    this.rpc.handle(STATE, (from, bytes, reply) => this.serveState(from, bytes, reply));
    this.rpc.handle(LIVE, (from, bytes, reply) => this.serveLive(from, bytes, reply));
    this.rpc.handle(DONE, (from, bytes, reply) => {
      const transfer = this.find(from, decodeRequest(bytes));
      if (transfer !== undefined) this.end(transfer, true);
      reply(new Uint8Array(0));
    });
    this.rpc.handle(WANT, (from, bytes, reply) => {
      const request = decodeRequest(bytes);
      const runner = request === undefined ? undefined : owner.group(request.group);
      // One that ends before the asker's log begins is of no use to it: it asks again when there is a newer one.
      if (runner !== undefined && owner.wal.firstIndex(runner.id) - 1 >= request!.index) this.start(runner, from);
      else if (runner !== undefined) owner.takeSnapshot(runner);
      reply(new Uint8Array(0));
    });
  }

  inUse(runner: GroupRunner): boolean {
    return this.transfers.some((transfer) => transfer.runner === runner);
  }

  start(runner: GroupRunner, peer: PeerId): void {
    if (this.transfers.some((transfer) => transfer.runner === runner && transfer.peer === peer)) return;
    // A state that is known to be wrong is given to nobody.
    if (!runner.isWhole || this.transfers.length >= TRANSFERS_MAX) {
      this.failLater(runner, peer);
      return;
    }
    const snapshot = this.owner.wal.openSnapshot(runner.id);
    if (snapshot === undefined) {
      this.failLater(runner, peer);
      this.owner.takeSnapshot(runner);
      return;
    }
    const transfer: Transfer = { runner, peer, snapshot, usedMs: this.owner.env.clock.nowMs(), ended: false };
    this.transfers.push(transfer);
    this.offer(transfer);
  }

  /** Not now: the core asks again. */
  refuse(runner: GroupRunner, peer: PeerId): void {
    this.failLater(runner, peer);
  }

  dropGroup(group: GroupId): void {
    for (const transfer of [...this.transfers]) if (transfer.runner.id === group) this.end(transfer, false);
  }

  dropPeer(peer: PeerId): void {
    for (const transfer of [...this.transfers]) if (transfer.peer === peer) this.end(transfer, false);
  }

  private offer(transfer: Transfer): void {
    const { runner, peer, snapshot } = transfer;
    const { meta, stateBytes, crc } = snapshot;
    const offer = encodeOffer({ group: runner.id, meta, stateBytes, stateCrc: crc });
    this.rpc.request(peer, OFFER, offer, OFFER_TIMEOUT_MS, (answer) => {
      if (transfer.ended) return;
      const outcome = answer.ok ? decodeOutcome(answer.bytes) : OfferOutcome.busy;
      if (outcome === OfferOutcome.busy) this.end(transfer, false);
      else if (outcome === OfferOutcome.have) this.end(transfer, true);
      else this.watch(transfer);
    });
  }

  private watch(transfer: Transfer): void {
    const { clock } = this.owner.env;
    clock.after(IDLE_MS / 4, () => {
      if (transfer.ended) return;
      if (clock.nowMs() - transfer.usedMs > IDLE_MS) this.end(transfer, false);
      else this.watch(transfer);
    });
  }

  private end(transfer: Transfer, done: boolean): void {
    if (transfer.ended) return;
    transfer.ended = true;
    this.transfers = this.transfers.filter((other) => other !== transfer);
    const { runner, peer, snapshot } = transfer;
    if (!done) {
      this.owner.stats.snapshotsFailed++;
      this.failLater(runner, peer);
      return;
    }
    this.owner.stats.snapshotsSent++;
    if (runner.closed) return;
    runner.raft.snapshotDone(peer, snapshot.meta.index);
    this.owner.dirty(runner);
  }

  private failLater(runner: GroupRunner, peer: PeerId): void {
    this.owner.env.clock.after(RETRY_MS, () => {
      if (runner.closed || this.find(peer, { group: runner.id, index: 0, from: 0, to: 0 })) return;
      runner.raft.snapshotFailed(peer);
      this.owner.dirty(runner);
    });
  }

  /** The transfer that a request belongs to; `index` 0: any of that group. */
  private find(peer: PeerId, request: TransferRequest | undefined): Transfer | undefined {
    if (request === undefined) return undefined;
    const { group, index } = request;
    return this.transfers.find(
      (transfer) =>
        transfer.peer === peer &&
        transfer.runner.id === group &&
        (index === 0 || transfer.snapshot.meta.index === index),
    );
  }

  /** One chunk of the state; empty: no such transfer any more. */
  private serveState(from: PeerId, bytes: Uint8Array, reply: (bytes: Uint8Array) => void): void {
    const request = decodeRequest(bytes);
    const transfer = this.find(from, request);
    if (request === undefined || transfer === undefined) {
      reply(new Uint8Array(0));
      return;
    }
    transfer.usedMs = this.owner.env.clock.nowMs();
    transfer.snapshot.read(request.from / CHUNK_BYTES, (chunk) => {
      reply(chunk ?? new Uint8Array(0));
      if (chunk !== undefined || transfer.ended) return;
      // Unreadable: a new one will do.
      this.end(transfer, false);
      this.owner.takeSnapshot(transfer.runner);
    });
  }

  private serveLive(from: PeerId, bytes: Uint8Array, reply: (bytes: Uint8Array) => void): void {
    const request = decodeRequest(bytes);
    const transfer = this.find(from, request);
    if (request === undefined || transfer === undefined) {
      reply(encodeEntries({ entries: [], next: 0, commit: 0, gone: true }));
      return;
    }
    const { runner } = transfer;
    transfer.usedMs = this.owner.env.clock.nowMs();
    const indexes = this.owner.wal.liveIndexes(runner.id, request.from, LIVE_INDEXES);
    this.readLive(runner, indexes, 0, [], 0, (entries, next) => {
      transfer.usedMs = this.owner.env.clock.nowMs();
      reply(encodeEntries({ entries, next, commit: runner.raft.commit, gone: false }));
    });
  }

  /** Reads run by run, until the batch is full or `indexes` are exhausted. A damaged entry is left out: the receiver will find
   * that it lacks it and ask others. */
  private readLive(
    runner: GroupRunner,
    indexes: readonly Index[],
    at: number,
    entries: LogEntry[],
    bytes: number,
    done: (entries: LogEntry[], next: Index) => void,
  ): void {
    if (at >= indexes.length || runner.closed) {
      done(entries, indexes.length === LIVE_INDEXES ? indexes[indexes.length - 1] + 1 : 0);
      return;
    }
    if (bytes >= ENTRIES_BYTES) {
      done(entries, indexes[at]);
      return;
    }
    let end = at;
    while (end + 1 < indexes.length && indexes[end + 1] === indexes[end] + 1) end++;
    this.owner.wal.readEntries(runner.id, indexes[at], indexes[end], ENTRIES_BYTES - bytes, (read) => {
      const got = read ?? [];
      let size = bytes;
      for (const entry of got) {
        entries.push(entry);
        size += entry.body.length + 64;
      }
      if (got.length === 0) this.owner.damaged(runner, indexes[at], () => {});
      this.readLive(runner, indexes, at + Math.max(1, got.length), entries, size, done);
    });
  }
}
