// What a leader knows of one other member, and how much it may send to it. Owned by the leadership of a group, driven by
// replication.ts. `probe`: where the logs agree is unknown, one message at a time. `replicate`: appends are pipelined,
// `next` runs ahead of the answers by about `inflightMax` entries. `snapshot`: waits for the host's transfer.
// Invariant: match < next; everything up to match is durable on that member and equal to the leader's log.
import type { Member } from './common.ts';
import { LONG_AGO_MS } from './limits.ts';
import type { Index, PeerId } from './types.ts';

export class Progress {
  readonly member: Member;
  state: 'probe' | 'replicate' | 'snapshot' = 'probe';
  /** Its word counts. */
  voter = false;
  /** There is no link to it, says the host: the group may sleep without it. Ends with peerUp, or with a word of its own. */
  down = false;
  match: Index = 0;
  next: Index;
  /** The commit index that this member knows once all that was sent has arrived. */
  sentCommit: Index = 0;
  /** Reads that it asked for wait there until it knows that this is committed. */
  awaited: Index = 0;
  /** Highest read round that this member has answered. */
  round = 0;
  lastActiveMs: number;
  /** When `match` last rose, or a silent pipeline was last examined. */
  movedMs: number;
  /** When something was last sent that shows it that its leader lives. */
  sentMs = LONG_AGO_MS;
  /** Probe only: a message is under way; its answer or the next heartbeat's lets another one go. */
  paused = false;
  /** Probe only: the answer to a first message is late; those that follow carry no entries. */
  repeating = false;

  constructor(member: Member, next: Index, nowMs: number) {
    this.member = member;
    this.next = next;
    this.lastActiveMs = nowMs;
    this.movedMs = nowMs;
  }

  get peer(): PeerId {
    return this.member.id;
  }

  /** Replicate only: entries that were sent and not acknowledged. */
  get underWay(): number {
    return this.next - 1 - this.match;
  }

  /** Appends up to `last` were handed to the network. */
  sent(last: Index): void {
    if (this.state === 'probe') this.paused = true;
    else if (last >= this.next) this.next = last + 1;
  }

  /** The member holds everything up to `index`. True: that is news. */
  acked(index: Index, nowMs: number): boolean {
    if (this.next <= index) this.next = index + 1;
    if (index <= this.match) return false;
    this.match = index;
    this.movedMs = nowMs;
    return true;
  }

  /** Probe only: it is alive, so ask again. */
  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.repeating = true;
  }

  becomeReplicate(): void {
    this.state = 'replicate';
    this.next = this.match + 1;
    this.paused = false;
    this.repeating = false;
  }

  becomeProbe(next: Index): void {
    this.state = 'probe';
    this.next = Math.max(next, this.match + 1);
    this.paused = false;
    this.repeating = false;
  }

  becomeSnapshot(): void {
    this.state = 'snapshot';
    this.paused = false;
    this.repeating = false;
  }

  /** The member may have restarted: nothing is taken for granted until it answers. A transfer goes on by itself. */
  forget(lastIndex: Index): void {
    this.match = 0;
    this.sentCommit = 0;
    if (this.state !== 'snapshot') this.becomeProbe(lastIndex + 1);
  }
}
