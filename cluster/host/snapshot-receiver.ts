// The other end of snapshot-sender.ts: fetches an offered snapshot piece by piece into a file, verifies it, puts it in place of the log and feeds
// it to the machine, a chunk a turn: no state is ever in memory as a whole.
// What is here and committed stays: only live entries above that are fetched (ADR 0009).
// Owned by the host. Invariants: nothing of the old log is given up before everything new is here and verified; the switch is one
// atomic step of the WAL; a broken transfer goes on where it stopped when the same snapshot is offered again; at most two pieces are in memory.
import type { GroupId, Index, LogEntry, PeerId } from '../core/types.ts';
import type { Rpc, Transport } from '../rpc/types.ts';
import type { SnapshotDraft } from '../wal/snapshot-draft.ts';
import { CHUNK_BYTES } from '../wal/snapshots.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';
import { DONE, LIVE, OFFER, STATE, WANT } from './snapshot-sender.ts';
import { feedState } from './state-sink.ts';
import {
  decodeEntries,
  decodeOffer,
  encodeOutcome,
  encodeRequest,
  type Offer,
  OfferOutcome,
} from './transfer-codec.ts';
import type { HostStats } from './types.ts';

const RECEIVING_MAX = 2;
const FETCH_TIMEOUT_MS = 5_000;
/** Among so many of the own last indexes an entry is looked for that the sender has as well, and among more and more when there is none. A piece
 * may end before it comes to the log's end. */
const MATCH_SPANS = [4, 32, 256];
/** Pieces of a broken transfer are kept for so long. */
const KEEP_MS = 60_000;
const SAVE_POLL_MS = 20;
const WANT_EVERY_MS = 3_000;

interface Receiving {
  runner: GroupRunner;
  offer: Offer;
  from: PeerId;
  draft: SnapshotDraft;
  /** Bytes of state that have come. */
  bytes: number;
  /** Own entries up to here stay. */
  kept: Index;
  /** The next live entries are to tell whether more of them do: of MATCH_SPANS so many are left to be tried. */
  spans: number;
  /** First index of live entries not fetched yet; 0: all are here. */
  nextLive: Index;
  /** A piece is on its way here. */
  asking: boolean;
  /** The disk has a piece, and the one that came meanwhile. */
  writing: boolean;
  waiting: (() => void) | undefined;
  /** The log here stays; only the machine is replaced, and what was below is no longer needed as entries. */
  stateOnly: boolean;
  active: boolean;
  touchedMs: number;
}

interface Owner extends RunnerOwner {
  readonly stats: HostStats;
  readonly transport: Transport;
  group(id: GroupId): GroupRunner | undefined;
  restored(runner: GroupRunner): void;
}

export class SnapshotReceiver {
  private readonly owner: Owner;
  private readonly rpc: Rpc;
  private readonly receiving = new Map<GroupId, Receiving>();
  private readonly wantedMs = new WeakMap<GroupRunner, number>();

  constructor(owner: Owner, rpc: Rpc) {
    this.owner = owner;
    this.rpc = rpc;
    rpc.handle(OFFER, (from, bytes, reply) => {
      const offer = decodeOffer(bytes);
      if (offer === undefined) reply(encodeOutcome(OfferOutcome.busy));
      else this.whenQuiet(offer.group, () => reply(encodeOutcome(this.onOffer(from, offer))));
    });
  }

  /** The core may only be asked when everything that it has appended is with the WAL: after this turn's pass. */
  private whenQuiet(group: GroupId, then: () => void): void {
    this.owner.env.clock.endOfTurn(() => {
      if (this.owner.group(group)?.queued) this.whenQuiet(group, then);
      else then();
    });
  }

  dropGroup(group: GroupId): void {
    const receiving = this.receiving.get(group);
    if (receiving !== undefined) this.giveUp(receiving);
  }

  private giveUp(receiving: Receiving): void {
    const { runner, draft } = receiving;
    receiving.active = false;
    receiving.waiting = undefined;
    this.receiving.delete(runner.id);
    // Once it is being installed it is the WAL's.
    if (runner.installing) return;
    draft.discard();
    this.owner.wal.dropStaged(runner.id);
  }

  /** Asks the members for a snapshot at or above `index`, one at a time. */
  want(runner: GroupRunner, index: Index): void {
    const { env, transport } = this.owner;
    const nowMs = env.clock.nowMs();
    if (this.receiving.get(runner.id)?.active) return;
    if (nowMs - (this.wantedMs.get(runner) ?? Number.NEGATIVE_INFINITY) < WANT_EVERY_MS) return;
    const { voters, learners } = runner.raft.membership;
    const peers = [...voters, ...learners].filter((peer) => transport.isUp(peer));
    if (peers.length === 0) return;
    this.wantedMs.set(runner, nowMs);
    const peer = peers[Math.floor(env.random.float() * peers.length)];
    const request = encodeRequest({ group: runner.id, index, from: 0, to: 0 });
    this.rpc.request(peer, WANT, request, FETCH_TIMEOUT_MS, () => {});
  }

  private onOffer(from: PeerId, offer: Offer): OfferOutcome {
    const runner = this.owner.group(offer.group);
    if (runner === undefined || runner.installing) return OfferOutcome.busy;
    const nowMs = this.owner.env.clock.nowMs();
    const known = this.receiving.get(offer.group);
    if (known?.active) return OfferOutcome.busy;
    // Below what is wanted it does not help; a log of unknown terms must be covered as a whole.
    if (runner.termsUnknown && offer.meta.index < (runner.snapshotWanted ?? Number.POSITIVE_INFINITY))
      return OfferOutcome.busy;
    const stateOnly = this.isStateOnly(runner, offer);
    const outcome = runner.raft.acceptSnapshot(offer.meta);
    if (outcome !== 'install' && !stateOnly) {
      this.owner.dirty(runner);
      return outcome === 'have' ? OfferOutcome.have : OfferOutcome.busy;
    }
    let receiving = known;
    if (receiving === undefined || !sameOffer(receiving.offer, offer) || !this.mayKeep(runner, receiving.kept)) {
      for (const [group, other] of this.receiving) {
        if (group !== offer.group && !other.active && nowMs - other.touchedMs > KEEP_MS) this.giveUp(other);
      }
      if (known === undefined && this.receiving.size >= RECEIVING_MAX) {
        if (!stateOnly) runner.raft.snapshotAborted();
        return OfferOutcome.busy;
      }
      if (known !== undefined) this.giveUp(known);
      receiving = this.begin(runner, offer, from, stateOnly);
      this.receiving.set(offer.group, receiving);
    }
    receiving.from = from;
    receiving.stateOnly = stateOnly;
    receiving.active = true;
    const started = receiving;
    this.owner.env.clock.endOfTurn(() => this.fetch(started));
    return OfferOutcome.fetch;
  }

  private begin(runner: GroupRunner, offer: Offer, from: PeerId, stateOnly: boolean): Receiving {
    const { env, wal } = this.owner;
    const kept = this.keptOf(runner);
    const receiving: Receiving = {
      runner,
      offer,
      from,
      draft: wal.draftSnapshot(runner.id, offer.meta),
      bytes: 0,
      kept,
      spans: this.isSure(runner) ? MATCH_SPANS.length : 0,
      nextLive: 0,
      asking: false,
      writing: false,
      waiting: undefined,
      stateOnly,
      active: true,
      touchedMs: env.clock.nowMs(),
    };
    this.beginLive(receiving);
    return receiving;
  }

  /** Where live entries are fetched from: as long as that may show more common ones, from near the end of the log here. */
  private beginLive(receiving: Receiving): void {
    const { kept } = receiving;
    const { lastIndex } = receiving.runner.raft;
    if (kept >= lastIndex) receiving.spans = 0;
    const { spans } = receiving;
    const nearEnd = spans > 0 ? lastIndex - MATCH_SPANS[MATCH_SPANS.length - spans] : 0;
    receiving.nextLive = Math.max(kept, nearEnd) + 1;
  }

  /** The machine said what is dead here: one that is missing or was wrong may have said too much. Who is in doubt of its log's end or terms is not
   * believed about the rest either. */
  private isSure(runner: GroupRunner): boolean {
    return runner.isWhole && runner.snapshotWanted === undefined && !runner.voteUnsafe && !runner.termsUnknown;
  }

  private mayKeep(runner: GroupRunner, kept: Index): boolean {
    return kept === 0 || (this.isSure(runner) && this.owner.wal.keepable(runner.id, kept) === kept);
  }

  /** Up to here own entries stay below any snapshot: they are committed, and applied here. */
  keptOf(runner: GroupRunner): Index {
    return this.mayKeep(runner, runner.applied) ? runner.applied : 0;
  }

  /** The last of these committed entries that the log here has: of that index and term it is the same one, and so is everything before it. */
  lastMatch({ raft }: GroupRunner, committed: readonly LogEntry[]): Index {
    return committed.findLast(({ index, term }) => index <= raft.lastIndex && raft.termOf(index) === term)?.index ?? 0;
  }

  /** The log here reaches the snapshot's position, but machine state or entries below it are missing. */
  private isStateOnly(runner: GroupRunner, offer: Offer): boolean {
    const { index, term } = offer.meta;
    if (runner.snapshotWanted === undefined || index < runner.snapshotWanted || index < runner.applied) return false;
    return index >= runner.raft.firstIndex - 1 && runner.raft.termOf(index) === term;
  }

  /** The next piece, while the disk has the one before; or the end. */
  private fetch(receiving: Receiving): void {
    if (!receiving.active || receiving.asking || receiving.waiting !== undefined) return;
    receiving.touchedMs = this.owner.env.clock.nowMs();
    if (receiving.bytes < receiving.offer.stateBytes) this.fetchState(receiving);
    else if (receiving.nextLive > 0 && !receiving.stateOnly) this.fetchLive(receiving);
    else if (!receiving.writing) this.verify(receiving);
  }

  /** One piece after the other, also when the transfer is broken meanwhile: what has come is kept. */
  private store(receiving: Receiving, write: (done: () => void) => void): void {
    const begin = (): void => {
      receiving.writing = true;
      write(() => {
        const { waiting } = receiving;
        receiving.writing = false;
        receiving.waiting = undefined;
        waiting?.();
        this.fetch(receiving);
      });
    };
    if (receiving.writing) receiving.waiting = begin;
    else begin();
    this.fetch(receiving);
  }

  private ask(receiving: Receiving, method: string, from: number, done: (bytes: Uint8Array) => void): void {
    const { offer } = receiving;
    const request = encodeRequest({ group: offer.group, index: offer.meta.index, from, to: 0 });
    receiving.asking = true;
    this.rpc.request(receiving.from, method, request, FETCH_TIMEOUT_MS, (answer) => {
      receiving.asking = false;
      if (!receiving.active) return;
      if (!answer.ok) {
        this.stop(receiving);
        return;
      }
      this.owner.stats.snapshotBytesFetched += answer.bytes.length;
      done(answer.bytes);
    });
  }

  private fetchState(receiving: Receiving): void {
    this.ask(receiving, STATE, receiving.bytes, (bytes) => {
      const left = receiving.offer.stateBytes - receiving.bytes;
      if (bytes.length !== Math.min(left, CHUNK_BYTES)) {
        this.stop(receiving);
        return;
      }
      receiving.bytes += bytes.length;
      this.store(receiving, (done) => receiving.draft.write([bytes], done));
    });
  }

  private fetchLive(receiving: Receiving): void {
    this.ask(receiving, LIVE, receiving.nextLive, (bytes) => {
      const batch = decodeEntries(bytes);
      const { offer } = receiving;
      if (batch === undefined || batch.gone || (batch.next !== 0 && batch.next <= receiving.nextLive)) {
        this.stop(receiving);
        return;
      }
      if (receiving.spans > 0 && !this.match(receiving, batch.entries)) {
        this.fetch(receiving);
        return;
      }
      const { wal } = this.owner;
      const entries = batch.entries.filter(({ index }) => index > receiving.kept && index <= offer.meta.index);
      receiving.nextLive = batch.next > offer.meta.index ? 0 : batch.next;
      this.store(receiving, (done) => {
        if (entries.length > 0) wal.appendBelowSnapshot(offer.group, entries);
        // Staged entries are written with the next flush; waiting for it bounds what is in memory.
        wal.flush(done);
      });
    });
  }

  /** After a restart the log goes on above what is applied, and nobody has told yet what of it is committed. False: these entries do not tell it either,
   * others are asked for. */
  private match(receiving: Receiving, entries: readonly LogEntry[]): boolean {
    const { runner, offer, nextLive } = receiving;
    const below = entries.filter(({ index }) => index < offer.meta.index);
    const match = this.lastMatch(runner, below);
    const isMore = match > receiving.kept && this.mayKeep(runner, match);
    // Those from `kept` on have been looked at: they are what is fetched.
    const isAll = nextLive === receiving.kept + 1;
    if (isMore) receiving.kept = match;
    receiving.spans = isMore || isAll ? 0 : receiving.spans - 1;
    if (isMore || isAll) return true;
    this.beginLive(receiving);
    return false;
  }

  private verify(receiving: Receiving): void {
    const { runner, offer, draft } = receiving;
    if (draft.seal() !== offer.stateCrc) {
      this.owner.env.log.error(`group ${runner.id}: the snapshot fetched from peer ${receiving.from} is damaged`);
      this.giveUp(receiving);
      this.stop(receiving);
      return;
    }
    if (runner.savingSnapshot) {
      this.owner.env.clock.after(SAVE_POLL_MS, () => {
        if (receiving.active) this.verify(receiving);
      });
      return;
    }
    // While the transfer of a whole snapshot is active the core takes no appends, so what it accepted still holds.
    const holds = receiving.stateOnly ? this.isStateOnly(runner, offer) : this.mayKeep(runner, receiving.kept);
    if (!holds) {
      this.giveUp(receiving);
      this.stop(receiving);
      return;
    }
    this.install(receiving);
  }

  private install(receiving: Receiving): void {
    const { runner, offer, draft, stateOnly, kept } = receiving;
    const { env, wal } = this.owner;
    runner.installing = true;
    env.crashPoint('host:before-install');
    const stored = () => {
      env.crashPoint('host:installed');
      this.receiving.delete(runner.id);
      receiving.active = false;
      if (!runner.closed) this.restore(receiving);
    };
    if (stateOnly) {
      wal.dropStaged(runner.id);
      wal.saveSnapshot(runner.id, offer.meta, draft, stored);
      return;
    }
    if (kept > 0) this.owner.stats.snapshotsOnKept++;
    wal.installSnapshot(runner.id, offer.meta, kept, draft, stored);
  }

  /** The log stands at the snapshot; the machine follows, from the file. */
  private restore(receiving: Receiving): void {
    const { runner, offer, stateOnly } = receiving;
    const { index } = offer.meta;
    const finish = (whole: boolean): void => {
      if (!whole) runner.machine.restore(index).end();
      if (!stateOnly) runner.raft.restoredSnapshot(offer.meta);
      else if (index >= runner.raft.firstIndex) runner.raft.compacted(index + 1);
      runner.installing = false;
      runner.restored(index, whole);
      this.owner.restored(runner);
      const request = encodeRequest({ group: offer.group, index, from: 0, to: 0 });
      this.rpc.request(receiving.from, DONE, request, FETCH_TIMEOUT_MS, () => {});
    };
    const snapshot = this.owner.wal.openSnapshot(runner.id);
    if (snapshot === undefined || snapshot.meta.index !== index) finish(false);
    else feedState(this.owner.env.clock, snapshot, runner.machine.restore(index), () => !runner.closed, finish);
  }

  /** Appends may flow again; the pieces stay for a while. */
  private stop(receiving: Receiving): void {
    receiving.active = false;
    if (receiving.runner.closed || receiving.stateOnly) return;
    receiving.runner.raft.snapshotAborted();
    this.owner.dirty(receiving.runner);
  }
}

function sameOffer(a: Offer, b: Offer): boolean {
  return (
    a.meta.index === b.meta.index &&
    a.meta.term === b.meta.term &&
    a.stateBytes === b.stateBytes &&
    a.stateCrc === b.stateCrc
  );
}
