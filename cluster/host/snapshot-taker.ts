// When a group's log is folded into a snapshot of its machine, and old segments are compacted. Owned by the host, asked after application.
// One group at a time. On a leader the state is taken first and becomes the log's new beginning only when all connected members have the
// entries below it, so that a follower that is merely some milliseconds behind needs no snapshot transfer.
// Invariant: a snapshot names exactly the applied index at which its state was taken.
import type { PeerId, SnapshotMeta } from '../core/types.ts';
import type { Transport } from '../rpc/types.ts';
import { SEGMENTS_PER_COMPACTION } from '../wal/compaction.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';
import type { HostStats } from './types.ts';

export interface SnapshotPolicy {
  /** A snapshot is due when the applied log since the last one has that many bytes or entries ... */
  bytes: number;
  entries: number;
  /** ... on a node with no more groups than that; more of them share what these may have, down to an eighth each. All together, but for those
   * that are not worth folding, they never have more than these, since a restart replays it all: the larger ones go first ... */
  groups: number;
  /** ... so many times as much while a member is away for a short time, or back for a short time ... */
  awayGrowth: number;
  /** ... and at least so many times the size of the last state, */
  growth: number;
  /** but no more than this, or half that size: a restart replays it. */
  tailBytes: number;
  /** How long connected members may take to get the entries below. */
  waitMs: number;
  /** Between the snapshots of two groups. */
  gapMs: number;
}

/** A member that was away for seconds should find what it lacks in the log: a snapshot takes the whole state along, and all that was stored since its
 * own log ends. */
const DEFAULTS: SnapshotPolicy = {
  bytes: 64 * 1024 * 1024,
  entries: 80_000,
  groups: 8,
  awayGrowth: 2,
  growth: 2,
  tailBytes: 256 * 1024 * 1024,
  waitMs: 5_000,
  gapMs: 20,
};
const WAIT_POLL_MS = 20;
const SHARE_MIN = 1 / 8;
/** A member that went may be back so soon, and has what it missed so long after it came: meanwhile a log may grow further. */
const AWAY_MS = 60_000;
const BACK_MS = 10_000;
/** What was applied may have removed what older segments hold (a purge, acks, a deleted group): so often they are all looked at. */
const LOOK_FOR_DEAD_MS = 5_000;

interface Owner extends RunnerOwner {
  readonly stats: HostStats;
  readonly transport: Transport;
  /** A transfer of its snapshot is under way: it must stay as it is. */
  isSnapshotInUse(runner: GroupRunner): boolean;
  groups(): Iterable<GroupRunner>;
}

export class SnapshotTaker {
  private readonly owner: Owner;
  private readonly policy: SnapshotPolicy;
  private readonly queue = new Set<GroupRunner>();
  private readonly stateBytes = new WeakMap<GroupRunner, number>();
  /** Peers that went or came, and until when a log waits for them. */
  private readonly expected = new Map<PeerId, number>();
  private busy = false;
  private compacting = false;
  /** Calls of compact() that may find nothing before it is left alone. */
  private compactions = 0;
  private lookedMs = Number.NEGATIVE_INFINITY;
  private lookedAtEntries = -1;

  constructor(owner: Owner, policy: Partial<SnapshotPolicy>) {
    this.owner = owner;
    this.policy = { ...DEFAULTS, ...policy };
    const { env, transport } = owner;
    transport.onPeerUp((peer) => this.expected.set(peer.id, env.clock.nowMs() + BACK_MS));
    transport.onPeerDown((peer) => this.expected.set(peer, env.clock.nowMs() + AWAY_MS));
  }

  opened(runner: GroupRunner, stateBytes: number): void {
    this.stateBytes.set(runner, stateBytes);
  }

  /** Called after application. */
  review(runner: GroupRunner): void {
    if (!this.isDue(runner)) return;
    this.queue.add(runner);
    this.next();
  }

  /** Also without need: a follower wants one and there is none. */
  takeNow(runner: GroupRunner): void {
    this.queue.add(runner);
    this.next();
  }

  keepHouse(): void {
    this.relieve();
    this.next();
    this.lookForDead();
    if (this.compactions === 0 || this.compacting) return;
    this.compacting = true;
    this.owner.wal.compact((removed) => {
      this.compacting = false;
      // Bounded work per call: while it finds something it goes on with the next round.
      if (removed === 0) this.compactions--;
    });
  }

  /** Space comes back although nothing more is written: when the disk is full, nothing is. */
  private lookForDead(): void {
    const { env, wal, stats } = this.owner;
    const nowMs = env.clock.nowMs();
    if (nowMs - this.lookedMs < LOOK_FOR_DEAD_MS || stats.appliedEntries === this.lookedAtEntries) return;
    this.lookedMs = nowMs;
    this.lookedAtEntries = stats.appliedEntries;
    this.compactions = Math.max(this.compactions, Math.ceil(wal.stats.segments / SEGMENTS_PER_COMPACTION));
  }

  /** Many groups, none of them due by itself: those above the average are, when all together have too much. A log that is not worth folding stays as
   * it is, whatever the others do: it counts for nothing here, else they would be folded again and again for it. */
  private relieve(): void {
    const { bytes, entries, groups, awayGrowth } = this.policy;
    const { env } = this.owner;
    const runners: GroupRunner[] = [];
    let sumBytes = 0;
    let sumEntries = 0;
    for (const runner of this.owner.groups()) {
      if (!this.isWorthIt(runner)) continue;
      runners.push(runner);
      sumBytes += runner.logBytes;
      sumEntries += runner.logEntries;
    }
    const size = Math.max(sumBytes / (bytes * groups), sumEntries / (entries * groups));
    const nowMs = env.clock.nowMs();
    const isAway = [...this.expected.values()].some((untilMs) => untilMs > nowMs);
    if (size <= (isAway ? awayGrowth : 1)) return;
    env.crashPoint('host:relieves');
    for (const runner of runners) {
      const { logBytes, logEntries } = runner;
      if (logBytes * runners.length >= sumBytes || logEntries * runners.length >= sumEntries) this.queue.add(runner);
    }
  }

  private isDue(runner: GroupRunner): boolean {
    const { bytes, entries, groups, awayGrowth } = this.policy;
    const share = Math.min(1, Math.max(SHARE_MIN, groups / this.owner.stats.groups));
    const size = Math.max(runner.logBytes / (bytes * share), runner.logEntries / (entries * share));
    if (size < 1) return false;
    const expected = size < awayGrowth ? this.expectedMember(runner) : undefined;
    if (expected === undefined) return this.isWorthIt(runner);
    const { env, transport } = this.owner;
    env.crashPoint(transport.isUp(expected) ? 'host:waits-for-returned' : 'host:waits-for-absent');
    return false;
  }

  /** What it would no longer have to replay is more than what must be written for that. */
  private isWorthIt(runner: GroupRunner): boolean {
    const { growth, tailBytes } = this.policy;
    const stateBytes = this.stateBytes.get(runner) ?? 0;
    return runner.logBytes >= Math.min(growth * stateBytes, Math.max(tailBytes, stateBytes / 2));
  }

  private expectedMember({ raft }: GroupRunner): PeerId | undefined {
    const nowMs = this.owner.env.clock.nowMs();
    return raft.membership.voters.find((peer) => (this.expected.get(peer) ?? 0) > nowMs);
  }

  private next(): void {
    if (this.busy) return;
    for (const runner of this.queue) {
      if (runner.closed) this.queue.delete(runner);
      else if (!this.owner.isSnapshotInUse(runner) && runner.isWhole) {
        this.queue.delete(runner);
        if (runner.applied > runner.raft.firstIndex - 1) {
          this.take(runner);
          return;
        }
      }
    }
  }

  private take(runner: GroupRunner): void {
    const { env } = this.owner;
    const { raft, applied: index } = runner;
    const meta: SnapshotMeta = { index, term: raft.termOf(index)!, membership: raft.membershipAt(index) };
    const state = runner.machine.snapshot();
    this.busy = true;
    runner.savingSnapshot = true;
    runner.logBytes = 0;
    runner.logEntries = 0;
    const untilMs = env.clock.nowMs() + this.policy.waitMs;
    const whenReady = () => {
      if (runner.closed) this.finish(runner);
      else if (env.clock.nowMs() < untilMs && this.isSomeoneBehind(runner, index))
        env.clock.after(WAIT_POLL_MS, whenReady);
      else this.save(runner, meta, state);
    };
    whenReady();
  }

  private isSomeoneBehind(runner: GroupRunner, index: number): boolean {
    // Whoever catches up by the log is not to begin again with the snapshot.
    const { progress } = runner.core(this.owner.env.clock.nowMs());
    return progress.some(
      ({ peer, match, state }) => match < index && state !== 'snapshot' && this.owner.transport.isUp(peer),
    );
  }

  private save(runner: GroupRunner, meta: SnapshotMeta, state: Iterable<Uint8Array>): void {
    const { env, wal, stats } = this.owner;
    env.crashPoint('host:before-snapshot');
    wal.saveSnapshot(runner.id, meta, state, (bytes) => {
      env.crashPoint('host:snapshot-saved');
      stats.snapshotsTaken++;
      this.compactions = Math.max(this.compactions, 1);
      this.stateBytes.set(runner, bytes);
      if (!runner.closed && meta.index >= runner.raft.firstIndex) {
        runner.raft.compacted(meta.index + 1);
        this.owner.dirty(runner);
      }
      this.finish(runner);
    });
  }

  private finish(runner: GroupRunner): void {
    runner.savingSnapshot = false;
    this.owner.env.clock.after(this.policy.gapMs, () => {
      this.busy = false;
      this.next();
    });
  }
}
