// One group on this node: its core, its machine, and what waits for them. The host calls it once a turn when something happened;
// the broker sees it as a Group. It does what a Ready says except for I/O, which the host does for all groups together.
// Invariants: applied <= commit, each index is applied once and in order; `leading` holds exactly from the application of the
// own no-op to the first sign that leadership is gone; every read barrier is answered exactly once.
import { crc32c } from '@node-rs/crc32';
import type { Env } from '../../src/kit/env.ts';
import type { Raft } from '../core/raft.ts';
import { added, NOTHING } from '../core/state.ts';
import {
  EntryKind,
  type GroupId,
  type Index,
  type LogEntry,
  META_GROUP,
  type Membership,
  type PeerId,
  type Ready,
  type Term,
} from '../core/types.ts';
import type { Wal } from '../wal/types.ts';
import type { Lane, LaneOwner } from './append-sender.ts';
import { type HasDeadline, NOT_QUEUED_MS } from './deadlines.ts';
import { ACK_NUMBERS } from './held-news.ts';
import type { OpenedRaft } from './open-raft.ts';
import type { Group, GroupMachine, GroupStatus } from './types.ts';

/** Entries are taken from the WAL for application in pieces of this size. */
const APPLY_PIECE_BYTES = 1024 * 1024;
/** An entry must fit into one frame between nodes. */
export const ENTRY_BYTES_MAX = 12 * 1024 * 1024;
/** A leader that is none any more applies what it knows to be committed for so long, in one go. */
const FAREWELL_MS = 100;
const ENTRY_OVERHEAD_BYTES = 64;
const READ_BODY_BYTES = 64 * 1024 * 1024;

/** Of a core of which nothing was seen yet. */
const UNSEEN = -1;

const bodyOf = (entry: LogEntry): Uint8Array => entry.body;

/** What may be asked or told of a core at any time: what is held for it (held-news.ts) changes none of this, or makes it only stricter. */
export type CoreView = Omit<
  Raft,
  'progress' | 'step' | 'tick' | 'peerUp' | 'peerDown' | 'readIndex' | 'transferLeadership' | 'takeReady'
>;

export interface RunnerOwner {
  readonly env: Env;
  readonly wal: Wal;
  /** Something is to be taken from the core, or to be applied, in this turn's pass. */
  dirty(runner: GroupRunner): void;
  /** An entry was proposed: it is to leave in this turn. */
  proposed(runner: GroupRunner): void;
  /** Its core is about to hear that acknowledgement, which was held. */
  acknowledged(runner: GroupRunner, from: PeerId, index: Index): void;
  /** Leadership or the known leader changed. */
  leaderChanged(runner: GroupRunner): void;
  leadingChanged(leading: boolean): void;
  /** An entry was applied. */
  applied(runner: GroupRunner, index: Index): void;
  /** A committed entry cannot be read here; `then` runs when it was repaired. */
  damaged(runner: GroupRunner, index: Index, then: () => void): void;
}

interface WaitingRead {
  index: Index;
  done: (ok: boolean) => void;
}

export class GroupRunner implements Group, HasDeadline, LaneOwner {
  // What nearly every visit looks at stands first, and so side by side in memory.
  private readonly owner: RunnerOwner;
  /** Replaced only while `termsUnknown`. */
  private bare: Raft;
  closed = false;
  leading = false;
  /** It is in the host's list for the next pass. */
  queued = false;
  // ---- what held-news.ts keeps here
  steadiness: 'none' | 'leads' | 'follows' = 'none';
  steadyTerm: Term = 0;
  ackNumbers = 0;
  /** The most that any other member has acknowledged, or that is known to be synced here, held or not. */
  ackedTo: Index = 0;
  syncedTo: Index = 0;
  syncedTerm: Term = 0;
  syncHeld = false;
  /** It is in the list of those that hold what may commit something. */
  acksDue = false;
  /** Peer, index and round of each; the first `ackNumbers` count. */
  acks: number[] = NOTHING;
  // ---- until here
  /** Terms of damaged entries are unknown: it takes no part until they are repaired. */
  termsUnknown = false;
  private seenReigns: number;
  /** The barriers asked for in this turn, under one context. */
  private newReads: ((ok: boolean) => void)[] = NOTHING;
  lanes: Lane[] = NOTHING;
  /** Up to here it is committed, as of the last Ready. */
  committed: Index;
  applied: Index;
  private applying = false;
  /** The machine's state is not that of `applied`: nothing may be applied (its snapshot is unreadable). */
  stateMissing = false;
  /** The machine takes a state: a received snapshot, put in place of the log first, or a large one at start-up. */
  installing = false;
  /** Nobody knows which replica's state is right: nothing is applied, read or voted for in this life. */
  stopped = false;
  /** Its log's end or its hard state is not known for sure: no vote in this life. */
  voteUnsafe = false;
  /** Key of its entry in the host's heap of deadlines. */
  queuedMs = NOT_QUEUED_MS;
  readonly id: GroupId;
  /** Bodies handed to the log since what was committed was applied. */
  backlogBytes = 0;
  inFlightBytes = 0;
  /** It is in the host's list of those whose committed entries may wait (late-apply.ts). */
  late = false;
  /** It is in the host's list of those that have something to apply. */
  applyQueued = false;
  readonly machine: GroupMachine;
  /** Applied since the last snapshot. */
  logBytes = 0;
  logEntries = 0;
  private waitingReads: WaitingRead[] = NOTHING;

  readonly preferredLeader: PeerId;
  /** Its machine was told that nothing can be proposed. */
  private paused = false;
  /** Not handed back to the preferred leader before. */
  handBackMs = 0;
  /** Entries or state are missing here that others no longer have as such: a snapshot at or above this index is wanted. */
  snapshotWanted: Index | undefined;
  /** Its own snapshot is being written. */
  savingSnapshot = false;
  /** Makes the core anew from what the WAL knows. */
  reopen!: () => OpenedRaft;
  private seenTerm: Term;
  private seenLeader: PeerId = 0;
  private nextContext = 1;
  private readonly askedReads = new Map<number, ((ok: boolean) => void)[]>();

  constructor(
    owner: RunnerOwner,
    id: GroupId,
    raft: Raft,
    machine: GroupMachine,
    preferredLeader: PeerId,
    applied: Index,
  ) {
    this.owner = owner;
    this.id = id;
    this.bare = raft;
    this.machine = machine;
    this.preferredLeader = preferredLeader;
    this.applied = applied;
    this.committed = applied;
    this.seenTerm = raft.term;
    this.seenReigns = raft.reigns;
  }

  // ---- its core

  get raft(): CoreView {
    return this.bare;
  }

  /** The core, having heard all that is held for it: for whoever tells it something, or asks what the others have. */
  core(nowMs: number): Raft {
    if (this.holdsNews) {
      this.settle(nowMs);
      if (this.bare.hasReady()) this.owner.dirty(this);
    }
    return this.bare;
  }

  replaceCore(raft: Raft): void {
    this.bare = raft;
    this.seenReigns = UNSEEN;
    this.steadiness = 'none';
  }

  get holdsNews(): boolean {
    return this.syncHeld || this.ackNumbers > 0;
  }

  private settle(nowMs: number): void {
    const { bare, acks, ackNumbers } = this;
    // Only what is synced since is news.
    const syncedTo = this.syncHeld ? this.syncedTo : 0;
    this.syncHeld = false;
    this.ackNumbers = 0;
    for (let i = 0; i < ackNumbers; i += ACK_NUMBERS) this.owner.acknowledged(this, acks[i], acks[i + 1]);
    const numbers = bare.term === this.steadyTerm ? ackNumbers : 0;
    bare.learn(syncedTo, this.syncedTerm, acks, numbers, nowMs);
  }

  // ---- Group

  get leader(): PeerId {
    return this.raft.leader;
  }

  get term(): Term {
    return this.raft.term;
  }

  get provenUntilMs(): number {
    return this.leading ? this.raft.provenUntilMs : Number.NEGATIVE_INFINITY;
  }

  get deadlineMs(): number {
    return this.closed ? Number.POSITIVE_INFINITY : this.raft.nextDeadlineMs;
  }

  propose(body: Uint8Array): Index | undefined {
    if (!this.leading || this.closed) return undefined;
    if (body.length > ENTRY_BYTES_MAX)
      throw new Error(`entry of ${body.length} bytes: the limit is ${ENTRY_BYTES_MAX}`);
    const at = this.raft.propose(EntryKind.batch, body, crc32c(body));
    if (at === undefined) return undefined;
    this.inFlightBytes += body.length;
    this.owner.proposed(this);
    return at.index;
  }

  proposeMembership(membership: Membership): Index | undefined {
    if (this.closed) return undefined;
    const index = this.raft.proposeMembership(membership);
    if (index !== undefined) this.owner.dirty(this);
    return index;
  }

  readBarrier(done: (ok: boolean) => void): void {
    if (this.closed) {
      this.owner.env.clock.endOfTurn(() => done(false));
      return;
    }
    this.newReads = added(this.newReads, done);
    this.owner.dirty(this);
  }

  bodyFromMemory(index: Index): Uint8Array | undefined {
    if (this.closed) return undefined;
    return this.owner.wal.entriesFromMemory(this.id, index, index, READ_BODY_BYTES)?.[0].body;
  }

  readBody(index: Index, done: (body: Uint8Array | undefined) => void): void {
    const body = this.bodyFromMemory(index);
    if (body !== undefined) done(body);
    else this.readStored(index, index, READ_BODY_BYTES, (bodies) => done(bodies?.[0]));
  }

  readBodies(first: Index, bytesMax: number, done: (bodies: readonly Uint8Array[] | undefined) => void): void {
    this.readStored(first, this.applied, bytesMax, done);
  }

  private readStored(
    first: Index,
    last: Index,
    bytesMax: number,
    done: (bodies: readonly Uint8Array[] | undefined) => void,
  ): void {
    if (this.closed || first < 1 || first > this.applied) {
      done(undefined);
      return;
    }
    const { wal } = this.owner;
    wal.readEntries(this.id, first, last, bytesMax, (entries) => {
      if (entries !== undefined || this.closed) {
        done(entries?.map(bodyOf));
        return;
      }
      this.owner.damaged(this, first, () => {
        if (this.closed) done(undefined);
        else wal.readEntries(this.id, first, last, bytesMax, (again) => done(again?.map(bodyOf)));
      });
    });
  }

  transferLeadership(to: PeerId): void {
    if (this.closed) return;
    const nowMs = this.owner.env.clock.nowMs();
    if (this.leading) this.setPaused(true);
    this.core(nowMs).transferLeadership(to, nowMs);
    this.reviewPause();
    this.owner.dirty(this);
  }

  status(): GroupStatus {
    const raft = this.core(this.owner.env.clock.nowMs());
    return {
      group: this.id,
      role: raft.role,
      term: raft.term,
      leader: raft.leader,
      commit: raft.commit,
      applied: this.applied,
      lastIndex: raft.lastIndex,
      firstIndex: raft.firstIndex,
      membership: raft.membership,
      progress: raft.progress,
      quiesced: raft.quiesced,
      stateMissing: !this.isWhole,
    };
  }

  // ---- the host's side

  /** Must the next pass look at it? Not after a word that changed nothing but what a core knows of its peers. */
  get hasNews(): boolean {
    const { bare } = this;
    return bare.reigns !== this.seenReigns || this.newReads.length > 0 || bare.hasReady();
  }

  /** Nothing but the log's growth is to be done here, which ends with no call of the machine or of a reader. */
  get isPlain(): boolean {
    return this.steadiness !== 'none' && !this.queued && this.bare.reigns === this.seenReigns;
  }

  tick(nowMs: number): void {
    this.core(nowMs).tick(nowMs);
    this.reviewPause();
  }

  /** A leader that hands over accepts nothing; whoever was to take over may not have done so. */
  private reviewPause(): void {
    if (this.leading && this.bare.role === 'leader') this.setPaused(this.bare.transferringTo !== 0);
  }

  private setPaused(paused: boolean): void {
    if (paused === this.paused) return;
    this.paused = paused;
    this.machine.onPause(paused);
  }

  /** Before Readys are taken: who leads now? Hands the turn's reads to the core. */
  beginPass(nowMs: number): void {
    const raft = this.bare;
    if (this.holdsNews) this.settle(nowMs);
    raft.setNow(nowMs);
    if (raft.reigns !== this.seenReigns) this.seeReign(raft, nowMs);
    if (this.newReads.length > 0) {
      const context = this.nextContext++;
      this.askedReads.set(context, this.newReads);
      this.newReads = NOTHING;
      raft.readIndex(context, nowMs);
    }
  }

  private seeReign(raft: Raft, nowMs: number): void {
    const wasLeading = this.leading;
    const { seenTerm, seenLeader } = this;
    this.noteReign(raft);
    if (raft.term === seenTerm && raft.leader === seenLeader) return;
    // What it has committed it answers still: whoever comes next does not know who asked.
    if (wasLeading) this.apply(nowMs + FAREWELL_MS);
    // What was applied, or who was answered, may have ended the group.
    if (this.closed) return;
    this.setLeading(false);
    this.inFlightBytes = 0;
    const other = raft.leader === raft.id ? 0 : raft.leader;
    if (wasLeading || (raft.leader !== seenLeader && raft.leader !== raft.id)) this.machine.onNotLeading(other);
    this.owner.leaderChanged(this);
  }

  private noteReign(raft: CoreView): void {
    this.seenReigns = raft.reigns;
    this.seenTerm = raft.term;
    this.seenLeader = raft.leader;
  }

  get hasReady(): boolean {
    return this.bare.hasReady();
  }

  takeReady(): Ready {
    return this.bare.takeReady();
  }

  /** Commit index and reads of a Ready. */
  takeOutcome(ready: Ready): void {
    this.committed = ready.commit;
    for (const { context, ok, index } of ready.reads) {
      const asked = this.askedReads.get(context) ?? [];
      this.askedReads.delete(context);
      for (const done of asked) {
        if (!ok) done(false);
        else if (index <= this.applied && this.isWhole) done(true);
        else this.waitingReads = added(this.waitingReads, { index, done });
      }
    }
  }

  /** After Readys were taken. */
  endPass(): void {
    const { raft } = this;
    this.steadyTerm = raft.term;
    this.steadiness = !raft.steady ? 'none' : raft.role === 'leader' ? 'leads' : 'follows';
  }

  get mustApply(): boolean {
    return this.applied < this.committed && !this.applying && !this.closed && this.isWhole;
  }

  /** Committed entries that are not applied. */
  get backlog(): number {
    return this.committed - this.applied;
  }

  /** Readers wait for what is to be applied. */
  get hasReads(): boolean {
    return this.waitingReads.length > 0;
  }

  /** The machine's state is that of `applied`. */
  get isWhole(): boolean {
    return !this.stateMissing && !this.installing && !this.stopped;
  }

  /** Applies committed entries until `untilMs`. True: there is more to do at once. */
  apply(untilMs: number): boolean {
    const { env, wal } = this.owner;
    while (this.mustApply) {
      const first = this.applied + 1;
      const entries = wal.entriesFromMemory(this.id, first, this.committed, APPLY_PIECE_BYTES);
      if (entries === undefined) {
        this.applying = true;
        wal.readEntries(this.id, first, this.committed, APPLY_PIECE_BYTES, (read) => this.onRead(first, read));
        return false;
      }
      this.applying = true;
      for (const entry of entries) {
        this.applyEntry(entry);
        if (this.closed || env.clock.nowMs() >= untilMs) break;
      }
      this.applying = false;
      if (env.clock.nowMs() >= untilMs) return this.mustApply;
    }
    this.backlogBytes = 0;
    return false;
  }

  /** What neither the machine nor a member that keeps up will ask for soon need not stay in memory. */
  release(): void {
    if (!this.closed) this.owner.wal.release(this.id, Math.min(this.applied, this.raft.storedByAll));
  }

  /** Entries that had to come from disk. They are few enough to be applied in one go. */
  private onRead(first: Index, entries: LogEntry[] | undefined): void {
    if (this.closed) return;
    if (!this.isWhole) {
      // A snapshot takes the place of the machine's state: what comes after it is read when that is done.
      this.applying = false;
      return;
    }
    if (entries === undefined) {
      this.owner.damaged(this, first, () => {
        this.applying = false;
        this.owner.dirty(this);
      });
      return;
    }
    for (const entry of entries) if (!this.closed && entry.index === this.applied + 1) this.applyEntry(entry);
    this.applying = false;
    this.owner.dirty(this);
  }

  private applyEntry(entry: LogEntry): void {
    const { raft, machine } = this;
    if (entry.index !== this.applied + 1)
      throw new Error(`group ${this.id}: entry ${entry.index} after ${this.applied}`);
    this.applied = entry.index;
    if (entry.kind === EntryKind.batch) {
      machine.apply(entry.index, entry.term, entry.body);
      if (this.leading && entry.term === raft.term) this.inFlightBytes -= entry.body.length;
    } else if (entry.kind === EntryKind.noop && raft.role === 'leader' && raft.termStart === entry.index) {
      // The turn in which leadership was won may not have been noticed yet.
      this.noteReign(raft);
      this.setLeading(true);
      this.inFlightBytes = 0;
      this.paused = raft.transferringTo !== 0;
      machine.onLeading(raft.term, this.paused);
    }
    this.logBytes += entry.body.length + ENTRY_OVERHEAD_BYTES;
    this.logEntries++;
    this.owner.applied(this, entry.index);
    this.settleReads();
  }

  private setLeading(leading: boolean): void {
    if (leading !== this.leading) this.owner.leadingChanged(leading);
    this.leading = leading;
    this.paused = false;
  }

  /** Answers the barriers that what is applied satisfies. */
  settleReads(): void {
    if (this.waitingReads.length === 0) return;
    const ready = this.waitingReads.filter((read) => read.index <= this.applied);
    if (ready.length === 0) return;
    const later = this.waitingReads.filter((read) => read.index > this.applied);
    this.waitingReads = later.length === 0 ? NOTHING : later;
    for (const read of ready) read.done(true);
  }

  /** The machine was replaced by the state at `index`, or (not `whole`) lost it. */
  restored(index: Index, whole: boolean): void {
    this.applied = index;
    this.committed = Math.max(this.committed, index);
    this.logBytes = 0;
    this.logEntries = 0;
    this.stateMissing = !whole;
    this.termsUnknown = false;
    this.snapshotWanted = whole ? undefined : index;
    this.applying = false;
    if (whole) this.settleReads();
  }

  close(): void {
    if (this.closed) return;
    const wasLeading = this.leading;
    this.closed = true;
    this.setLeading(false);
    if (wasLeading) this.machine.onNotLeading(0);
    const reads = [
      ...this.newReads,
      ...[...this.askedReads.values()].flat(),
      ...this.waitingReads.map((read) => read.done),
    ];
    this.newReads = this.waitingReads = NOTHING;
    this.askedReads.clear();
    for (const done of reads) done(false);
  }
}

/** The members of the meta group are the cluster's nodes; without it this node is in no cluster yet. */
export function isAlone(runners: ReadonlyMap<GroupId, GroupRunner>): boolean {
  const metadata = runners.get(META_GROUP);
  if (metadata === undefined) return true;
  const { voters, learners } = metadata.raft.membership;
  return voters.length + learners.length <= 1;
}
