// What the groups of a node have in common: who the node is, the limits, and the other members. Made by the host, given to each core. With a
// thousand groups, whatever each has of its own is one more line of memory that has left the processor's caches when it is looked at; a
// peer's id is a number of 48 bits, which every object that holds one keeps in a place apart. Invariant: one Member per id.
import { assert } from './assert.ts';
import type { Limits } from './limits.ts';
import type { PeerId } from './types.ts';

/** A node as cores hold it: `id` 0 is nobody. */
export interface Member {
  readonly id: PeerId;
}

export const NOBODY: Member = { id: 0 };

export class Common {
  readonly self: Member;
  readonly limits: Limits;
  private readonly members = new Map<PeerId, Member>();

  constructor(self: PeerId, limits: Limits) {
    const { proofMs, heartbeatMs, gridMs, electionMinMs, electionMaxMs } = limits;
    const whole = [proofMs, heartbeatMs, gridMs, electionMinMs, electionMaxMs, limits.heirMs, limits.nextHeirMs];
    assert(whole.every(Number.isInteger), 'cores count whole milliseconds');
    this.limits = limits;
    this.members.set(NOBODY.id, NOBODY);
    this.self = this.member(self);
  }

  member(id: PeerId): Member {
    let member = this.members.get(id);
    if (member === undefined) {
      member = { id };
      this.members.set(id, member);
    }
    return member;
  }
}
