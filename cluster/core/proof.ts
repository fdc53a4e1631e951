// How long ago a majority certainly still followed this leader. Every message of a leader carries a round and every answer brings it back;
// rounds are marked with the time at which they began, so an answer proves leadership at that time, whatever it was about.
// Used by replication.ts (the round of what is sent) and raft.ts. No lease for the log: commits and reads never look at it. It bounds how
// long after the election of a successor this replica can still act on being leader (docs/adr/0007).
// Invariant: a message with a mark's round, or a later one, was made no earlier than the mark says.
import type { Leadership, RaftState } from './state.ts';

/** Marks are so far apart; a proof is older than it need be by this at most. */
const MARK_EVERY_MS = 20;

export interface Marks {
  rounds: number[];
  ms: number[];
}

/** The round of a message that is made now. */
export function roundOfNow(s: RaftState, lead: Leadership): number {
  if (s.nowMs - lead.markedMs < MARK_EVERY_MS) return lead.round;
  const { rounds, ms } = lead.marks;
  while (ms.length > 0 && s.nowMs - ms[0] > s.limits.proofMs) {
    ms.shift();
    rounds.shift();
  }
  lead.round++;
  rounds.push(lead.round);
  ms.push(s.nowMs);
  lead.markedMs = s.nowMs;
  return lead.round;
}

/** A successor's election, if there was one, came later than this less `proofMs`. -Infinity: nothing is proven; Infinity: there is nobody else. */
export function provenUntilMs(s: RaftState): number {
  const { lead } = s;
  if (lead === undefined) return Number.NEGATIVE_INFINITY;
  if (s.lone) return Number.POSITIVE_INFINITY;
  const { rounds, ms } = lead.marks;
  for (let i = rounds.length - 1; i >= 0; i--) if (isConfirmed(s, rounds[i])) return ms[i] + s.limits.proofMs;
  return Number.NEGATIVE_INFINITY;
}

/** Has a majority answered messages of this round, or of later ones? */
export function isConfirmed(s: RaftState, round: number): boolean {
  const { voters } = s.members.latest;
  let count = 0;
  for (const peer of voters) if (peer === s.id || (s.progressOf(peer)?.round ?? 0) >= round) count++;
  return count >= s.quorum;
}
