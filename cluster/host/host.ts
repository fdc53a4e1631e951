// The node's groups and the one place where their decisions become deeds. Once a turn, for all groups with news together: appends and
// hard states to the WAL, messages that may leave now (one frame per peer), one flush, then application; after the flush, what had
// to be durable first. Called by the broker's rooms through Host and Group, by links and timers from below.
// Invariants: nothing that rests on durability leaves before the flush that covers it; a message for a group that is not here
// is dropped; no step takes longer than the apply budget except a single entry's application; idle groups cost nothing.
import type { Env, Timer } from '../../src/kit/env.ts';
import { NumberMap } from '../../src/kit/number-map.ts';
import { isVote } from '../core/election.ts';
import type { Limits } from '../core/limits.ts';
import { NOTHING } from '../core/state.ts';
import type { GroupId, Index, LogEntry, Membership, PeerId, RaftMessage, Ready, Term } from '../core/types.ts';
import { decodeRaftBatch } from '../rpc/raft-codec.ts';
import { Channel, type Rpc, type Transport } from '../rpc/types.ts';
import type { Wal } from '../wal/types.ts';
import { AppendSender, type AppendSenderOwner } from './append-sender.ts';
import { ClusterClock } from './cluster-clock.ts';
import { Deadlines } from './deadlines.ts';
import { DigestCheck } from './digest-check.ts';
import { Doubt } from './doubt.ts';
import { drain } from './drain.ts';
import { Durables } from './durables.ts';
import { FullDisks } from './full-disks.ts';
import { GroupRunner, isAlone, type RunnerOwner } from './group-runner.ts';
import { HeldNews } from './held-news.ts';
import { LateApply } from './late-apply.ts';
import { type Commons, commonsOf, openRaft } from './open-raft.ts';
import { Outgoing } from './outgoing.ts';
import { Rebalance } from './rebalance.ts';
import { Repair } from './repair.ts';
import { SnapshotReceiver } from './snapshot-receiver.ts';
import { SnapshotSender } from './snapshot-sender.ts';
import { type SnapshotPolicy, SnapshotTaker } from './snapshot-taker.ts';
import { type RolledBack, Standing } from './standing.ts';
import { restoreMachine } from './state-sink.ts';
import { emptyHostStats } from './stats.ts';
import type { DrainBounds, Group, GroupMachine, Host } from './types.ts';

/** Application of committed entries in one pass, over all groups. */
const APPLY_BUDGET_MS = 8;
/** A timer that is later than this lets what waits in the sockets be read first. */
const STALL_MS = 100;
const TIMER_SLACK_MS = 0.01;
const HOUSEKEEPING_MS = 1_000;
/** A flush that takes longer than this: the disk hangs, leadership goes to nodes whose disk does not. */
const FLUSH_STUCK_MS = 3_000;
const WARN_EVERY_MS = 10_000;

export interface HostOptions {
  env: Env;
  wal: Wal;
  transport: Transport;
  rpc: Rpc;
  self: PeerId;
  /** Random per process start; the same as the links'. */
  bootId: number;
  /** Peers remember more of this node than its disk has. It doubts all its groups by itself; this is for whoever wants to know. */
  onRolledBack?: (finding: RolledBack) => void;
  /** This node's disk is nearly full. */
  isDiskLow: () => boolean;
  limits?: Partial<Limits>;
  snapshots?: Partial<SnapshotPolicy>;
  /** Machines' digests are compared at every so many entries (default 4096). */
  digestEvery?: number;
  /** Hand leadership back to preferred leaders (default true). */
  rebalance?: boolean;
}

export interface NodeHost extends Host {
  /** Stops everything; groups are told that they lead no longer. The WAL stays open. */
  close(): void;
}

export function createHost(options: HostOptions): NodeHost {
  return new GroupHost(options);
}

class GroupHost implements NodeHost, RunnerOwner, AppendSenderOwner {
  readonly self: PeerId;
  readonly env: Env;
  readonly wal: Wal;
  readonly stats = emptyHostStats();
  readonly transport: Transport;
  private readonly options: HostOptions;
  private readonly commons: Commons;
  private readonly runners = new NumberMap<GroupRunner>();
  private readonly sender: AppendSender;
  private readonly deadlines = new Deadlines<GroupRunner>();
  private readonly time: ClusterClock;
  private readonly standing: Standing;
  readonly fullDisks: FullDisks;
  private readonly digests: DigestCheck;
  private readonly repairs: Repair;
  private readonly doubts: Doubt;
  private readonly snapshotTaker: SnapshotTaker;
  private readonly snapshotSender: SnapshotSender;
  private readonly snapshotReceiver: SnapshotReceiver;
  private readonly outgoing: Outgoing;
  private readonly lateApply: LateApply;
  private readonly held: HeldNews;
  readonly rebalance: Rebalance;
  private readonly leaderHandlers: ((group: GroupId, leader: PeerId, term: Term) => void)[] = [];
  /** Recovered groups that were neither opened nor deleted in this life. */
  private readonly unopened: Set<GroupId>;
  private dirtyRunners: GroupRunner[] = [];
  private applyRunners: GroupRunner[] = [];
  /** Handed to the WAL since the last flush was asked for. */
  private durables = new Durables();
  private passQueued = false;
  private applyTimer: Timer | undefined;
  private timer: Timer | undefined;
  /** The deadline that the timer is set for, which may have been past by then, and when it should fire. */
  private timerMs = Number.POSITIVE_INFINITY;
  private timerDueMs = 0;
  private warnedMs = Number.NEGATIVE_INFINITY;
  /** When the flushes that are not done yet were asked for, ascending. */
  private readonly flushesMs: number[] = [];
  private diskStuck = false;
  private draining = false;
  private closed = false;

  constructor(options: HostOptions) {
    const { env, wal, transport, rpc, self, bootId } = options;
    this.options = options;
    this.self = self;
    this.commons = commonsOf(self, options.limits);
    this.env = env;
    this.wal = wal;
    this.unopened = new Set(wal.recovered.keys());
    this.transport = transport;
    this.time = new ClusterClock(env.clock, env.log, () => isAlone(this.runners));
    this.outgoing = new Outgoing(transport, this.stats);
    this.sender = new AppendSender(wal, this);
    this.held = new HeldNews(this.sender, () => this.queuePass());
    this.lateApply = new LateApply(env.clock, (runners) => this.applyLate(runners));
    this.fullDisks = new FullDisks(self, transport, options.isDiskLow);
    this.standing = new Standing({
      env,
      wal,
      transport,
      self,
      bootId,
      time: this.time,
      isDiskLow: () => this.fullDisks.isLow(self),
      onDisk: (peer, isLow) => this.heardOfDisk(peer, isLow),
      onVouched: () => this.reviewVotes(),
      onRolledBack: (finding) => this.doubtAll(finding),
    });
    this.rebalance = new Rebalance(this);
    this.digests = new DigestCheck(this, rpc, options.digestEvery);
    this.repairs = new Repair(this, rpc);
    this.doubts = new Doubt(this, rpc);
    this.snapshotTaker = new SnapshotTaker(this, options.snapshots ?? {});
    this.snapshotSender = new SnapshotSender(this);
    this.snapshotReceiver = new SnapshotReceiver(this, this.snapshotSender.rpc);
    transport.onMessage(Channel.raft, (from, bytes) => this.onRaft(from, bytes));
    transport.onPeerUp((peer) => this.onPeerUp(peer.id));
    transport.onPeerDown((peer) => this.onPeerDown(peer));
    env.clock.after(HOUSEKEEPING_MS, () => this.keepHouse());
  }

  // ---- Host

  openGroup(id: GroupId, membership: Membership, machine: GroupMachine, preferredLeader: PeerId): Group {
    if (this.runners.has(id)) throw new Error(`group ${id} is open already`);
    const { env, wal, commons } = this;
    const recovered = this.unopened.delete(id) ? wal.recovered.get(id) : undefined;
    const preferred = preferredLeader === this.self;
    const openOptions = { env, wal, commons, group: id, recovered, membership, preferred };
    const { raft, snapshotIndex, voteUnsafe, termsUnknown } = openRaft(openOptions);
    const runner = new GroupRunner(this, id, raft, machine, preferredLeader, snapshotIndex);
    // A machine without its state cannot tell what is dead.
    wal.setLiveCheck(id, (index) => runner.stateMissing || runner.installing || machine.isEntryLive(index));
    restoreMachine(this, runner, snapshotIndex);
    runner.voteUnsafe = voteUnsafe;
    runner.termsUnknown = termsUnknown;
    runner.reopen = () => openRaft(openOptions);
    this.runners.set(id, runner);
    this.stats.groups++;
    this.repairs.open(runner);
    this.snapshotTaker.opened(runner, wal.openSnapshot(id)?.stateBytes ?? 0);
    this.reviewVote(runner);
    this.dirty(runner);
    return runner;
  }

  deleteGroup(id: GroupId): void {
    this.unopened.delete(id);
    const runner = this.runners.get(id);
    if (runner !== undefined) {
      this.runners.delete(id);
      this.stats.groups--;
      this.forget(runner);
      runner.close();
    }
    this.wal.deleteGroup(id);
    this.wal.flush(() => {});
  }

  group(id: GroupId): GroupRunner | undefined {
    return this.runners.get(id);
  }

  groups(): Iterable<GroupRunner> {
    return this.runners.values();
  }

  isDiskLow(peer: PeerId): boolean {
    return this.fullDisks.isLow(peer);
  }

  restsOnLowDisk(group: GroupId): boolean {
    const runner = this.runners.get(group);
    return runner === undefined ? this.isDiskLow(this.self) : this.fullDisks.restsOnLow(runner.raft.membership.voters);
  }

  groupsKnown(): void {
    this.wal.settleGroups();
    this.wal.flush(() => {});
  }

  clusterTimeUs(): number {
    return this.time.nowUs();
  }

  onLeaderChange(handler: (group: GroupId, leader: PeerId, term: Term) => void): void {
    this.leaderHandlers.push(handler);
  }

  drain(bounds: DrainBounds, done: () => void): void {
    this.draining = true;
    drain(this, bounds, () => this.closed, done);
  }

  close(): void {
    this.closed = true;
    this.standing.close();
    if (this.timer !== undefined) this.env.clock.cancel(this.timer);
    for (const runner of this.runners.values()) {
      this.forget(runner);
      runner.close();
    }
    this.runners.clear();
  }

  // ---- what runners and helpers ask for

  dirty(runner: GroupRunner): void {
    if (runner.queued || runner.closed) return;
    runner.queued = true;
    this.dirtyRunners.push(runner);
    this.queuePass();
  }

  /** At once, while all that it takes is at hand. */
  proposed(runner: GroupRunner): void {
    if (runner.isPlain) this.serve(runner, this.env.clock.nowMs());
    else this.dirty(runner);
    this.queuePass();
  }

  leaderChanged(runner: GroupRunner): void {
    const { raft } = runner;
    if (raft.role !== 'leader') {
      this.sender.dropGroup(runner);
      this.snapshotSender.dropGroup(runner.id);
    } else {
      this.stats.electionsWon++;
      this.noteDown(runner);
    }
    for (const handler of this.leaderHandlers) handler(runner.id, raft.leader, raft.term);
  }

  acknowledged(runner: GroupRunner, from: PeerId, index: Index): void {
    this.sender.onReply(runner, from, true, index);
  }

  leadingChanged(leading: boolean): void {
    this.stats.leading += leading ? 1 : -1;
  }

  applied(runner: GroupRunner, index: Index): void {
    this.stats.appliedEntries++;
    this.digests.applied(runner, index);
  }

  damaged(runner: GroupRunner, index: Index, then: () => void): void {
    this.repairs.need(runner, index, then);
  }

  /** From AppendSender: a follower needs an entry that cannot be read here. */
  unreadable(group: GroupId, index: Index): void {
    const runner = this.runners.get(group);
    if (runner === undefined || index < this.wal.firstIndex(group)) return;
    this.repairs.need(runner, index, () => {});
  }

  leads(group: GroupId, term: Term): boolean {
    const raft = this.runners.get(group)?.raft;
    return raft !== undefined && raft.role === 'leader' && raft.term === term;
  }

  /** Queues for this turn's frame. */
  send(group: GroupId, message: RaftMessage): void {
    if (this.outgoing.add(group, message)) this.queuePass();
  }

  isSnapshotInUse(runner: GroupRunner): boolean {
    return this.snapshotSender.inUse(runner);
  }

  takeSnapshot(runner: GroupRunner): void {
    this.snapshotTaker.takeNow(runner);
  }

  repaired(runner: GroupRunner): void {
    if (runner.termsUnknown) {
      const { raft, voteUnsafe, termsUnknown } = runner.reopen();
      runner.replaceCore(raft);
      runner.voteUnsafe = voteUnsafe;
      runner.termsUnknown = termsUnknown;
    }
    this.reviewVote(runner);
  }

  /** A received snapshot took the place of what was here. */
  restored(runner: GroupRunner): void {
    this.stats.snapshotsInstalled++;
    this.digests.dropGroup(runner.id);
    this.repairs.review(runner);
    this.reviewVote(runner);
    this.dirty(runner);
  }

  /** Its state is wrong, or may be. */
  distrust(runner: GroupRunner): void {
    this.snapshotSender.dropGroup(runner.id);
    this.reviewVote(runner);
  }

  /** The right to vote, and to stand, as far as it is known now. */
  reviewVote(runner: GroupRunner): void {
    const { raft } = runner;
    const may =
      !runner.voteUnsafe &&
      runner.isWhole &&
      !this.diskStuck &&
      !runner.termsUnknown &&
      !this.repairs.holdsTail(runner) &&
      this.isVouchedFor(runner);
    if (may === raft.mayVote) return;
    // Members that sleep under this leader must notice that it is gone.
    if (!may && raft.role === 'leader') raft.wake(this.env.clock.nowMs());
    raft.setMayVote(may);
    this.dirty(runner);
  }

  /** Have enough voters said what they remember of this node? */
  isVouchedFor(runner: GroupRunner): boolean {
    return this.standing.mayVote(runner.raft.membership.voters);
  }

  // ---- input

  private onRaft(from: PeerId, bytes: Uint8Array): void {
    if (this.closed) return;
    const nowMs = this.env.clock.nowMs();
    const takesAck = (group: GroupId, term: Term, index: Index, round: number): boolean => {
      const runner = this.runners.get(group);
      return runner === undefined || runner.termsUnknown || this.held.holdsAck(runner, from, term, index, round);
    };
    const wrong = decodeRaftBatch(bytes, from, this.self, takesAck, (group, message) => {
      const runner = this.runners.get(group);
      if (runner === undefined || runner.termsUnknown) return;
      const { type } = message;
      if (!runner.raft.mayVote && this.isDeaf(runner, from)) return;
      const core = runner.core(nowMs);
      if (type === 'append-reply') this.sender.onReply(runner, from, message.ok, message.index);
      core.step(message, nowMs);
      if (type === 'append' && runner.isPlain) this.serve(runner, nowMs);
      else this.review(runner);
    });
    this.queuePass();
    if (wrong === undefined) return;
    this.stats.badMessages++;
    if (nowMs - this.warnedMs < WARN_EVERY_MS) return;
    this.warnedMs = nowMs;
    this.env.log.error(`consensus messages of node ${from} refused: ${wrong}`);
  }

  /** Whatever it answered would count as a promise, and it may have promised otherwise before: nothing is heard until that cannot be. Who
   * may vote hears; so does who may not for a reason of this life (a hanging disk, a damaged entry). */
  private isDeaf(runner: GroupRunner, from: PeerId): boolean {
    if (!this.standing.mayHear(runner.raft.membership.voters, from)) return true;
    return runner.voteUnsafe && !this.doubts.hasRisen(runner);
  }

  /** Groups that sleep without that peer are woken. */
  private onPeerUp(peer: PeerId): void {
    const nowMs = this.env.clock.nowMs();
    for (const runner of this.runners.values()) {
      if (runner.raft.role !== 'leader') continue;
      runner.core(nowMs).peerUp(peer, nowMs);
      this.dirty(runner);
    }
  }

  /** A new leader learns which members there is no link to: its group may sleep without them. */
  private noteDown(runner: GroupRunner): void {
    const nowMs = this.env.clock.nowMs();
    const core = runner.core(nowMs);
    for (const { peer } of core.progress) if (!this.transport.isUp(peer)) core.peerDown(peer, nowMs);
  }

  /** Reset or silent: groups led from there are without leader, whatever their timers say. */
  private onPeerDown(peer: PeerId): void {
    this.time.lost(peer);
    this.fullDisks.lost(peer);
    this.sender.dropPeer(peer);
    this.outgoing.dropPeer(peer);
    this.snapshotSender.dropPeer(peer);
    const nowMs = this.env.clock.nowMs();
    for (const runner of this.runners.values()) {
      if (runner.raft.leader !== peer && runner.raft.role !== 'leader') continue;
      runner.core(nowMs).peerDown(peer, nowMs);
      this.dirty(runner);
    }
  }

  private onTimer(): void {
    this.timer = undefined;
    const lateMs = this.env.clock.nowMs() - this.timerDueMs;
    this.timerMs = Number.POSITIVE_INFINITY;
    if (lateMs <= STALL_MS) {
      this.tick();
      return;
    }
    // The loop stood still, and timers run before sockets are read: heartbeats of a living leader may be waiting.
    this.stats.stalls++;
    for (const runner of this.runners.values()) runner.raft.stalled(lateMs);
    this.env.clock.endOfTurn(() => this.tick());
  }

  private tick(): void {
    if (this.closed) return;
    const nowMs = this.env.clock.nowMs();
    this.deadlines.take(nowMs, (runner) => {
      const before = runner.raft.role;
      runner.tick(nowMs);
      if (before === 'follower' && runner.raft.role !== 'follower') this.stats.electionsStarted++;
      this.review(runner);
    });
    this.armTimer();
  }

  private review(runner: GroupRunner): void {
    if (runner.hasNews) this.dirty(runner);
    else this.deadlines.update(runner);
  }

  private armTimer(): void {
    const nextMs = this.deadlines.nextMs;
    if (nextMs >= this.timerMs || this.closed) return;
    if (this.timer !== undefined) this.env.clock.cancel(this.timer);
    this.timerMs = nextMs;
    const nowMs = this.env.clock.nowMs();
    this.timerDueMs = Math.max(nextMs, nowMs);
    // A hair late, so that rounding of the difference never makes it early.
    const delayMs = this.timerDueMs - nowMs + TIMER_SLACK_MS;
    this.timer = this.env.clock.after(delayMs, () => this.onTimer());
  }

  // ---- the pass

  private queuePass(): void {
    if (this.passQueued || this.closed) return;
    this.passQueued = true;
    this.env.clock.endOfTurn(() => this.pass());
  }

  private pass(): void {
    this.passQueued = false;
    if (this.closed) return;
    const beganMs = this.env.clock.nowMs();
    const runners = this.dirtyRunners;
    this.dirtyRunners = [];
    for (const runner of runners) {
      runner.queued = false;
      if (!runner.closed) this.serve(runner, beganMs);
    }
    // First of all, so that followers write and sync while this node does; but commit indexes alone after the answers that they allow.
    this.sendAndFlush(beganMs);
    this.settleAcked(beganMs);
    this.sendAndFlush(beganMs);
    this.lateApply.review();
    this.apply(beganMs + APPLY_BUDGET_MS);
    this.armTimer();
    this.stats.passMsMax = Math.max(this.stats.passMsMax, this.env.clock.nowMs() - beganMs);
  }

  private sendAndFlush(nowMs: number): void {
    if (this.outgoing.send()) this.transport.flush();
    const { durables } = this;
    if (durables.count === 0) return;
    this.durables = new Durables();
    this.stats.turns++;
    this.env.crashPoint('host:before-flush');
    this.flushesMs.push(nowMs);
    this.wal.flush(() => this.onDurable(durables));
  }

  /** From acknowledgement to application in one visit. */
  private settleAcked(nowMs: number): void {
    for (const runner of this.held.takeDue()) {
      if (runner.closed) continue;
      this.takeReadys(runner, nowMs);
      if (!runner.applyQueued && runner.mustApply) this.applyOne(runner, nowMs + APPLY_BUDGET_MS);
    }
  }

  private serve(runner: GroupRunner, nowMs: number): void {
    this.takeReadys(runner, nowMs);
    if (runner.mustApply && !this.lateApply.puts(runner)) this.applySoon(runner);
  }

  /** Everything that its core wants done, but for application and the flush, which are the pass's. What is known of a group is looked at in one
   * go: with many groups in a pass it has left the processor's caches when the next step comes to it. Whoever is answered may end the group. */
  private takeReadys(runner: GroupRunner, nowMs: number): void {
    runner.beginPass(nowMs);
    while (!runner.closed && runner.hasReady) this.takeReady(runner, runner.takeReady());
    runner.endPass();
    this.deadlines.update(runner);
  }

  private takeReady(runner: GroupRunner, ready: Ready): void {
    const { id, raft } = runner;
    const { hardState, append, sendDurable } = ready;
    if (hardState !== undefined) this.wal.saveHardState(id, hardState);
    if (append.length > 0) {
      this.wal.append(id, append);
      this.lateApply.grown(runner, append);
    }
    for (const message of ready.send) this.dispatch(runner, message, append);
    for (const peer of ready.snapshotTo) {
      if (this.isHeldBack(runner, peer)) this.snapshotSender.refuse(runner, peer);
      else this.snapshotSender.start(runner, peer);
    }
    runner.takeOutcome(ready);
    if (hardState === undefined && append.length === 0 && sendDurable.length === 0) return;
    this.durables.add(runner, raft.lastIndex, raft.lastTerm, sendDurable);
  }

  private onDurable({ count, runners, indexes, terms, messages }: Durables): void {
    if (this.closed) return;
    this.flushesMs.shift();
    this.env.crashPoint('host:flushed');
    for (let i = 0; i < count; i++) {
      const runner = runners[i];
      if (runner.closed) continue;
      for (const message of messages[i]) this.dispatch(runner, message, NOTHING);
      const hasVoted = messages[i].some(isVote);
      if (hasVoted) runner.raft.votesLeft(this.env.clock.nowMs());
      // It had no deadline while the vote was on its way to the disk, and has one again.
      if (this.held.holdsSync(runner, indexes[i], terms[i]) && !hasVoted) continue;
      runner.raft.persisted(indexes[i], terms[i]);
      this.review(runner);
    }
    this.armTimer();
  }

  /** `fresh`: entries that were just appended. */
  private dispatch(runner: GroupRunner, message: RaftMessage, fresh: readonly LogEntry[]): void {
    if (runner.voteUnsafe && this.doubts.isVoid(runner, message)) return;
    if (message.type !== 'append') this.send(runner.id, message);
    // Like a loss on the way: the core finds out with the next heartbeats, and sends again when the member has room.
    else if (message.last < message.first || !this.isHeldBack(runner, message.to))
      this.sender.push(runner, message, fresh);
  }

  private isHeldBack(runner: GroupRunner, peer: PeerId): boolean {
    return this.fullDisks.isAnyLow && this.fullDisks.isHeldBack(runner.id, runner.raft.membership.voters, peer);
  }

  private applySoon(runner: GroupRunner): void {
    if (runner.applyQueued) return;
    runner.applyQueued = true;
    this.applyRunners.push(runner);
  }

  private applyLate(runners: readonly GroupRunner[]): void {
    for (const runner of runners) if (runner.mustApply) this.applySoon(runner);
    this.queuePass();
  }

  private applyOne(runner: GroupRunner, untilMs: number): void {
    const late = this.env.clock.nowMs() >= untilMs;
    const more = late ? runner.mustApply : runner.apply(untilMs);
    runner.release();
    if (more) this.applySoon(runner);
    else this.snapshotTaker.review(runner);
  }

  private apply(untilMs: number): void {
    if (this.applyRunners.length === 0) return;
    const runners = this.applyRunners;
    this.applyRunners = [];
    for (const runner of runners) {
      runner.applyQueued = false;
      if (!runner.closed) this.applyOne(runner, untilMs);
    }
    if (this.applyRunners.length === 0 || this.applyTimer !== undefined) return;
    // Sockets and timers get their turn between the slices.
    this.applyTimer = this.env.clock.after(0, () => {
      this.applyTimer = undefined;
      if (!this.closed) this.apply(this.env.clock.nowMs() + APPLY_BUDGET_MS);
    });
  }

  // ---- now and then

  private reviewVotes(): void {
    for (const runner of this.runners.values()) if (!runner.raft.mayVote) this.reviewVote(runner);
  }

  private keepHouse(): void {
    if (this.closed) return;
    this.time.recompute();
    this.stats.clockSkewUs = Math.round(this.time.skewUs);
    this.stats.clockSpreadUs = Math.round(this.time.spreadUs);
    this.reviewDisk();
    this.rebalance.leaveToOthers();
    for (const runner of this.runners.values()) {
      if (!runner.raft.mayVote) this.reviewVote(runner);
      if (runner.voteUnsafe) this.doubts.advance(runner);
      if (runner.stateMissing && !runner.savingSnapshot) runner.snapshotWanted ??= runner.applied;
      if (runner.termsUnknown && !this.repairs.isBusy(runner)) runner.snapshotWanted ??= runner.raft.lastIndex;
      if (runner.snapshotWanted !== undefined) this.snapshotReceiver.want(runner, runner.snapshotWanted);
    }
    this.snapshotTaker.keepHouse();
    this.repairs.keepHouse();
    this.repairs.scrub(HOUSEKEEPING_MS);
    if (this.options.rebalance !== false && !this.draining) this.rebalance.handBack();
    this.env.clock.after(HOUSEKEEPING_MS, () => this.keepHouse());
  }

  /** A leader whose disk hangs could go on with the others' disks, until its memory is full. */
  private reviewDisk(): void {
    const stuck = this.flushesMs.length > 0 && this.env.clock.nowMs() - this.flushesMs[0] > FLUSH_STUCK_MS;
    if (stuck === this.diskStuck) return;
    this.diskStuck = stuck;
    this.stats.diskStuck = Number(stuck);
    if (stuck) this.env.log.error(`the log could not be synced for ${FLUSH_STUCK_MS} ms, this node gives up leading`);
    else this.env.log.info('the log is synced again');
    for (const runner of this.runners.values()) this.reviewVote(runner);
  }

  private heardOfDisk(peer: PeerId, isLow: boolean): void {
    if (!this.fullDisks.heard(peer, isLow)) return;
    if (isLow) this.env.log.warn(`the disk of node ${peer} is nearly full: it gets nothing new while others suffice`);
    else this.env.log.info(`the disk of node ${peer} has room again: it catches up`);
  }

  /** This data directory was emptied, restored from a copy or rolled back: it is a replica that may have forgotten anything. */
  private doubtAll(finding: RolledBack): void {
    const { peer, remembered, durable } = finding;
    this.env.log.error(
      'the data directory is older than what this node once had: it takes no part in any group until all other members have told their terms',
      { peer, remembered, durable },
    );
    this.wal.doubtAll(remembered);
    for (const runner of this.runners.values()) {
      if (runner.holdsNews) this.env.crashPoint('host:doubts-with-held-news');
      runner.voteUnsafe = true;
      this.doubts.restart(runner);
      this.reviewVote(runner);
    }
    this.wal.flush(() => {});
    this.options.onRolledBack?.(finding);
  }

  private forget(runner: GroupRunner): void {
    this.sender.dropGroup(runner);
    this.snapshotSender.dropGroup(runner.id);
    this.snapshotReceiver.dropGroup(runner.id);
    this.repairs.dropGroup(runner.id);
    this.digests.dropGroup(runner.id);
  }
}
