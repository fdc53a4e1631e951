// Batch bodies read back from the log: from the memory tail, from a small cache of bodies that came from disk, or from disk once for all
// who ask for the same entry meanwhile. Used by partition.ts for reads and deliveries of cold messages. `ColdBodies` is the node's, with
// one budget for all partitions; each partition asks through a `BodyCache` of its own.
// Invariant: all caches together hold at most `bytesMax` (or one body).
import type { Group, Index } from '../../cluster/host/types.ts';
import { viewOf } from './batch-codec.ts';

/** Who reads the log in order gets so much of it in one read. */
const AHEAD_BYTES = 64 * 1024;
/** An entry so close behind what was read last goes on with it: those between may hold no messages. */
const GAP_MAX = 8;

type BodyDone = (body: Uint8Array | undefined) => void;

interface Kept {
  readonly owner: BodyCache;
  readonly index: Index;
  readonly body: Uint8Array;
  newer: Kept | undefined;
  older: Kept | undefined;
}

export class ColdBodies {
  readonly #bytesMax: number;
  bytes = 0;
  /** A list by last use. */
  #newest: Kept | undefined;
  #oldest: Kept | undefined;
  #viewed: Uint8Array | undefined;
  #view: DataView | undefined;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Messages of one body are decoded one after the other. Here, because a view keeps its body: one for the node, not for each partition. */
  viewOf(body: Uint8Array): DataView {
    if (this.#view === undefined || body !== this.#viewed) {
      this.#viewed = body;
      this.#view = viewOf(body);
    }
    return this.#view;
  }

  add(kept: Kept): void {
    this.bytes += kept.body.length;
    this.#link(kept);
    while (this.bytes > this.#bytesMax && this.#oldest !== undefined && this.#oldest !== kept) {
      const { owner, index } = this.#oldest;
      owner.forget(index);
    }
  }

  used(kept: Kept): void {
    if (kept === this.#newest) return;
    this.#unlink(kept);
    this.#link(kept);
  }

  drop(kept: Kept): void {
    this.bytes -= kept.body.length;
    this.#unlink(kept);
  }

  #link(kept: Kept): void {
    kept.older = this.#newest;
    if (this.#newest !== undefined) this.#newest.newer = kept;
    this.#newest = kept;
    this.#oldest ??= kept;
  }

  #unlink(kept: Kept): void {
    const { newer, older } = kept;
    if (newer !== undefined) newer.older = older;
    else this.#newest = older;
    if (older !== undefined) older.newer = newer;
    else this.#oldest = newer;
    kept.newer = undefined;
    kept.older = undefined;
  }
}

export class BodyCache {
  readonly #shared: ColdBodies;
  readonly #group: Group;
  readonly #bodies = new Map<Index, Kept>();
  readonly #reading = new Map<Index, BodyDone[]>();
  /** Behind the last entry that came from disk. */
  #end: Index = Number.POSITIVE_INFINITY;
  #closed = false;

  constructor(shared: ColdBodies, group: Group) {
    this.#shared = shared;
    this.#group = group;
  }

  /** The body if no disk is needed. */
  now(index: Index): Uint8Array | undefined {
    const body = this.#group.bodyFromMemory(index);
    if (body !== undefined) return body;
    const kept = this.#bodies.get(index);
    if (kept === undefined) return undefined;
    this.#shared.used(kept);
    return kept.body;
  }

  /** `done(undefined)`: damaged or gone. */
  read(index: Index, done: BodyDone): void {
    const waiting = this.#reading.get(index);
    if (waiting !== undefined) {
      waiting.push(done);
      return;
    }
    this.#reading.set(index, [done]);
    if (index >= this.#end && index < this.#end + GAP_MAX) {
      this.#group.readBodies(index, AHEAD_BYTES, (bodies) => this.#cameAll(index, bodies));
    } else this.#group.readBody(index, (body) => this.#came(index, body, index + 1));
  }

  /** `end`: behind what came with it. */
  #came(index: Index, body: Uint8Array | undefined, end: Index): void {
    const all = this.#reading.get(index) ?? [];
    this.#reading.delete(index);
    if (body !== undefined) {
      this.#end = end;
      this.#keep(index, body);
    }
    for (const each of all) each(body);
  }

  /** Each in memory of its own: one that is kept would keep all of them. */
  #cameAll(index: Index, bodies: readonly Uint8Array[] | undefined): void {
    const count = bodies?.length ?? 0;
    const own = bodies === undefined || count === 1 ? bodies : bodies.map((body) => Buffer.from(body));
    if (own !== undefined) for (let i = count - 1; i > 0; i--) this.#keep(index + i, own[i]);
    this.#came(index, own?.[0], index + count);
  }

  #keep(index: Index, body: Uint8Array): void {
    if (this.#closed) return;
    this.forget(index);
    const kept: Kept = { owner: this, index, body, newer: undefined, older: undefined };
    this.#bodies.set(index, kept);
    this.#shared.add(kept);
  }

  /** Called by `ColdBodies` as well. */
  forget(index: Index): void {
    const kept = this.#bodies.get(index);
    if (kept === undefined) return;
    this.#bodies.delete(index);
    this.#shared.drop(kept);
  }

  clear(): void {
    for (const kept of this.#bodies.values()) this.#shared.drop(kept);
    this.#bodies.clear();
  }

  /** Nothing is kept any more. */
  close(): void {
    this.#closed = true;
    this.clear();
  }
}
