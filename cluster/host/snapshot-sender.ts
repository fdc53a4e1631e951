// A follower that needs what the log no longer has gets the snapshot: this end offers it and serves what the other end fetches, so the
// receiver sets the pace. State travels in chunks, live entries in bounded batches, on channel transfer. Owned by the host.
// Invariants: what is served is exactly the snapshot that was offered; while one is in use no newer one replaces it; a
// transfer that its receiver has left ends by itself and is reported to the core as failed.
import { crc32c } from '@node-rs/crc32';
import type { GroupId, Index, LogEntry, PeerId, SnapshotMeta } from '../core/types.ts';
import { createRpc } from '../rpc/rpc.ts';
import { Channel, type Rpc, type Transport } from '../rpc/types.ts';
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
export const STATE_CHUNK_BYTES = 256 * 1024;
const ENTRIES_BYTES = 512 * 1024;
const LIVE_INDEXES = 1_024;
const TRANSFERS_MAX = 2;
const OFFER_TIMEOUT_MS = 5_000;
const IDLE_MS = 10_000;
/** A receiver that is busy, or that failed, is offered it again after this. */
const RETRY_MS = 500;

interface Transfer {
  runner: GroupRunner;
  peer: PeerId;
  meta: SnapshotMeta | undefined;
  state: Uint8Array;
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
    this.rpc.handle(STATE, (from, bytes, reply) => reply(this.serveState(from, bytes)));
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
    const { env, wal } = this.owner;
    const usedMs = env.clock.nowMs();
    const transfer: Transfer = { runner, peer, meta: undefined, state: new Uint8Array(0), usedMs, ended: false };
    if (this.transfers.length >= TRANSFERS_MAX) {
      this.failLater(transfer);
      return;
    }
    this.transfers.push(transfer);
    wal.readSnapshot(runner.id, (meta, state) => {
      if (transfer.ended) return;
      if (meta === undefined || state === undefined) {
        // None, or unreadable: a new one will do.
        this.end(transfer, false);
        this.owner.takeSnapshot(runner);
        return;
      }
      transfer.meta = meta;
      transfer.state = state;
      this.offer(transfer, meta);
    });
  }

  dropGroup(group: GroupId): void {
    for (const transfer of [...this.transfers]) if (transfer.runner.id === group) this.end(transfer, false);
  }

  dropPeer(peer: PeerId): void {
    for (const transfer of [...this.transfers]) if (transfer.peer === peer) this.end(transfer, false);
  }

  private offer(transfer: Transfer, meta: SnapshotMeta): void {
    const { runner, peer, state } = transfer;
    const offer = encodeOffer({ group: runner.id, meta, stateBytes: state.length, stateCrc: crc32c(state) });
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
    const { runner, peer, meta } = transfer;
    if (!done || meta === undefined) {
      this.owner.stats.snapshotsFailed++;
      this.failLater(transfer);
      return;
    }
    this.owner.stats.snapshotsSent++;
    if (runner.closed) return;
    runner.raft.snapshotDone(peer, meta.index);
    this.owner.dirty(runner);
  }

  private failLater(transfer: Transfer): void {
    this.owner.env.clock.after(RETRY_MS, () => {
      if (transfer.runner.closed || this.find(transfer.peer, { group: transfer.runner.id, index: 0, from: 0, to: 0 }))
        return;
      transfer.runner.raft.snapshotFailed(transfer.peer);
      this.owner.dirty(transfer.runner);
    });
  }

  /** The transfer that a request belongs to; `index` 0: any of that group. */
  private find(peer: PeerId, request: TransferRequest | undefined): Transfer | undefined {
    if (request === undefined) return undefined;
    const { group, index } = request;
    return this.transfers.find(
      (transfer) =>
        transfer.peer === peer && transfer.runner.id === group && (index === 0 || transfer.meta?.index === index),
    );
  }

  /** Empty: no such transfer any more. */
  private serveState(from: PeerId, bytes: Uint8Array): Uint8Array {
    const request = decodeRequest(bytes);
    const transfer = this.find(from, request);
    if (request === undefined || transfer === undefined) return new Uint8Array(0);
    transfer.usedMs = this.owner.env.clock.nowMs();
    return transfer.state.subarray(request.from, request.from + STATE_CHUNK_BYTES);
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
