// Which members' disks are nearly full, and what follows from it. Owned by the host; peers say so in their heartbeats. While a majority of a
// group's voters is up and has room the group goes on with those: a member without room gets no more entries, so that it never meets a full
// disk, and catches up when its space is back. When that majority is not there, what is appended would rest on a disk that is about to end:
// nothing new is accepted, and acks, deletes and purges go to everybody, out of each disk's reserve.
// Invariant: entries are held back from a member only while others who have room make a majority.
import { majorityOf } from '../core/membership.ts';
import { type GroupId, META_GROUP, type PeerId } from '../core/types.ts';
import type { Transport } from '../rpc/types.ts';
import type { GroupRunner } from './group-runner.ts';

export class FullDisks {
  private readonly self: PeerId;
  private readonly transport: Transport;
  private readonly isOwnLow: () => boolean;
  private readonly low = new Set<PeerId>();

  constructor(self: PeerId, transport: Transport, isOwnLow: () => boolean) {
    this.self = self;
    this.transport = transport;
    this.isOwnLow = isOwnLow;
  }

  /** True: that is news. */
  heard(peer: PeerId, isLow: boolean): boolean {
    if (isLow === this.low.has(peer)) return false;
    if (isLow) this.low.add(peer);
    else this.low.delete(peer);
    return true;
  }

  lost(peer: PeerId): void {
    this.low.delete(peer);
  }

  isLow(peer: PeerId): boolean {
    return peer === this.self ? this.isOwnLow() : this.low.has(peer);
  }

  /** Another one's. Asked at every message, so that without one nobody need look at who the members are. */
  get isAnyLow(): boolean {
    return this.low.size > 0;
  }

  /** Would a new entry of the group rest on a disk that is nearly full: this one's, or one that the majority needs? */
  restsOnLow(voters: readonly PeerId[]): boolean {
    if (this.isOwnLow()) return true;
    return this.low.size > 0 && voters.some((peer) => this.low.has(peer)) && !this.isEnough(voters);
  }

  /** Metadata is small, and a node without it could not even say that it has no room. */
  isHeldBack(group: GroupId, voters: readonly PeerId[], peer: PeerId): boolean {
    return this.low.has(peer) && group !== META_GROUP && this.isEnough(voters);
  }

  /** A member to lead in place of this node, which has no room; undefined: it must stay, or has room. */
  heirOf(runner: GroupRunner, nowMs: number): PeerId | undefined {
    const { voters } = runner.raft.membership;
    if (!this.isOwnLow() || !this.isEnough(voters)) return undefined;
    const heirs = runner
      .core(nowMs)
      .progress.filter(({ peer, state }) => state === 'replicate' && this.hasRoom(peer, voters));
    return heirs.reduce((best, heir) => (heir.match > best.match ? heir : best), heirs[0])?.peer;
  }

  private hasRoom(peer: PeerId, voters: readonly PeerId[]): boolean {
    return voters.includes(peer) && (peer === this.self || this.transport.isUp(peer)) && !this.isLow(peer);
  }

  private isEnough(voters: readonly PeerId[]): boolean {
    let count = 0;
    for (const peer of voters) if (this.hasRoom(peer, voters)) count++;
    return count >= majorityOf(voters);
  }
}
