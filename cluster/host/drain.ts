// A node that is stopped hands over what it leads while it still serves. Owned by the host.
// A group goes on without a pause only if the members that stay and keep up make a majority. While one that could be of it is still far
// behind, perhaps because it was restarted itself a moment ago, the leader leads on and feeds it, for a bounded time.
// Invariant: nobody waits for a member that cannot come (not linked, or its disk is full), nor where waiting would not make a majority.
import { majorityOf } from '../core/membership.ts';
import type { PeerId } from '../core/types.ts';
import type { Transport } from '../rpc/types.ts';
import type { FullDisks } from './full-disks.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';
import { type Rebalance, SETTLED_MS } from './rebalance.ts';
import type { DrainBounds } from './types.ts';

const POLL_MS = 20;
/** Who lacks no more than that has it within an election. */
const IN_STEP_ENTRIES = 1_000;
/** What is on its way all the time while a leader is busy: members that lack no more have the log alike. */
const UNDER_WAY_ENTRIES = 8;

interface Owner extends RunnerOwner {
  readonly self: PeerId;
  readonly transport: Transport;
  readonly fullDisks: FullDisks;
  readonly rebalance: Rebalance;
  groups(): Iterable<GroupRunner>;
}

/** Calls `done` when nothing is led here any more, or the time is over, or `isClosed`. */
export function drain(
  owner: Owner,
  { catchUpMs, handOverMs }: DrainBounds,
  isClosed: () => boolean,
  done: () => void,
): void {
  const { clock } = owner.env;
  const heirs = new Heirs(owner);
  const patientUntilMs = clock.nowMs() + catchUpMs;
  let untilMs = clock.nowMs() + handOverMs;
  const step = (): void => {
    const nowMs = clock.nowMs();
    let led = 0;
    for (const runner of owner.groups()) {
      if (runner.raft.role !== 'leader' || runner.raft.membership.voters.length === 1) continue;
      led++;
      if (runner.raft.transferringTo !== 0) continue;
      if (nowMs < patientUntilMs && isWorthWaiting(owner, runner, nowMs)) {
        owner.env.crashPoint('host:drain-waits');
        untilMs = nowMs + handOverMs;
        continue;
      }
      const heir = heirs.of(runner, nowMs);
      if (heir !== undefined) runner.transferLeadership(heir);
    }
    if (led === 0 || isClosed() || nowMs >= untilMs) done();
    else clock.after(POLL_MS, step);
  };
  step();
}

/** Too few of those who stay are in step, and somebody is on the way who would make them enough. */
function isWorthWaiting({ transport, fullDisks }: Owner, runner: GroupRunner, nowMs: number): boolean {
  const { commit, membership, progress } = runner.core(nowMs);
  const { voters } = membership;
  let inStep = 0;
  let coming = 0;
  for (const { peer, match, state } of progress) {
    if (!voters.includes(peer) || !transport.isUp(peer) || fullDisks.isLow(peer)) continue;
    if (state === 'replicate' && commit - match <= IN_STEP_ENTRIES) inStep++;
    else coming++;
  }
  const enough = majorityOf(voters);
  return inStep < enough && inStep + coming >= enough;
}

/** Who gets which group. */
class Heirs {
  private readonly owner: Owner;
  /** How many groups each member leads, with those that were handed to it. */
  private readonly led = new Map<PeerId, number>();
  private readonly asked = new Map<GroupRunner, PeerId>();

  constructor(owner: Owner) {
    this.owner = owner;
    for (const { leader } of owner.groups()) this.count(leader);
  }

  /** The best of the linked voters. Undefined: there is none. */
  of(runner: GroupRunner, nowMs: number): PeerId | undefined {
    const { commit, membership, progress } = runner.core(nowMs);
    const { transport } = this.owner;
    let heir: PeerId | undefined;
    let best: number[] = [];
    for (const { peer, match } of progress) {
      if (!membership.voters.includes(peer) || !transport.isUp(peer)) continue;
      const rank = this.rank(runner, peer, commit - match, nowMs);
      if (heir !== undefined && !isAbove(rank, best)) continue;
      heir = peer;
      best = rank;
    }
    if (heir === undefined) return undefined;
    this.asked.set(runner, heir);
    this.count(heir);
    return heir;
  }

  /** What counts, the first difference deciding: it has room; it was not asked in vain; how little it lacks of what is committed; it
   * has been here long enough to have applied that, or at least longer than others; it would get the group back anyway; it leads less. */
  private rank(runner: GroupRunner, peer: PeerId, lacks: number, nowMs: number): number[] {
    const { fullDisks, rebalance } = this.owner;
    return [
      Number(!fullDisks.isLow(peer)),
      Number(this.asked.get(runner) !== peer),
      Math.min(0, UNDER_WAY_ENTRIES - lacks),
      Math.min(rebalance.linkedMs(peer, nowMs), SETTLED_MS),
      Number(runner.preferredLeader === peer),
      -(this.led.get(peer) ?? 0),
    ];
  }

  private count(leader: PeerId): void {
    this.led.set(leader, (this.led.get(leader) ?? 0) + 1);
  }
}

function isAbove(rank: readonly number[], other: readonly number[]): boolean {
  const at = rank.findIndex((value, i) => value !== other[i]);
  return at >= 0 && rank[at] > other[at];
}
