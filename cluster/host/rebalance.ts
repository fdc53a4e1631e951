// Leadership goes where it should be, a few groups at a time: back to preferred leaders that are up again, away from this node when its disk
// has no room. Asked by the host once a second. Invariant: a group is handed only to a member that has all that is committed, or to the
// one that full-disks.ts names; who did not take it is not asked again soon.
import type { PeerId } from '../core/types.ts';
import type { Transport } from '../rpc/types.ts';
import type { FullDisks } from './full-disks.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';

/** Whose link has been up for so long has gone through what it missed: a preferred leader gets its group back, and others theirs gladly. */
export const SETTLED_MS = 5_000;
const PER_ROUND = 16;
const AGAIN_MS = 60_000;

interface Owner extends RunnerOwner {
  readonly self: PeerId;
  readonly transport: Transport;
  readonly fullDisks: FullDisks;
  groups(): Iterable<GroupRunner>;
}

export class Rebalance {
  private readonly owner: Owner;
  private readonly upSinceMs = new Map<PeerId, number>();

  constructor(owner: Owner) {
    this.owner = owner;
    const { env, transport } = owner;
    transport.onPeerUp((peer) => this.upSinceMs.set(peer.id, env.clock.nowMs()));
    transport.onPeerDown((peer) => this.upSinceMs.delete(peer));
  }

  /** How long that member has been in reach without a break; 0: it is not. */
  linkedMs(peer: PeerId, nowMs: number): number {
    return nowMs - (this.upSinceMs.get(peer) ?? nowMs);
  }

  handBack(): void {
    const { owner } = this;
    const nowMs = owner.env.clock.nowMs();
    let moved = 0;
    for (const runner of owner.groups()) {
      const { raft, preferredLeader: to } = runner;
      if (!runner.leading || to === owner.self || !raft.membership.voters.includes(to)) continue;
      if (this.linkedMs(to, nowMs) < SETTLED_MS || nowMs < runner.handBackMs) continue;
      if (owner.fullDisks.isLow(to)) continue;
      const member = runner.core(nowMs).progress.find((progress) => progress.peer === to);
      if (member === undefined || member.state !== 'replicate' || member.match < raft.commit) continue;
      // A member that did not take it is not asked again soon: nothing is accepted during an attempt.
      runner.handBackMs = nowMs + AGAIN_MS;
      runner.transferLeadership(to);
      if (++moved >= PER_ROUND) return;
    }
  }

  /** A leader without room would have to refuse what the others could store. */
  leaveToOthers(): void {
    const { env, fullDisks, self } = this.owner;
    if (!fullDisks.isLow(self)) return;
    const nowMs = env.clock.nowMs();
    for (const runner of this.owner.groups()) {
      const heir = runner.leading && runner.raft.transferringTo === 0 ? fullDisks.heirOf(runner, nowMs) : undefined;
      if (heir !== undefined) runner.transferLeadership(heir);
    }
  }
}
