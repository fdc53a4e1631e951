// ReadIndex (thesis §6.4) without leases. The leader gathers all reads of a turn, its own and its followers', notes the commit
// index, and answers when a majority has confirmed by a round of heartbeats begun afterwards that it still leads. A follower sends
// one question for all its reads of a turn. Invariant: each context is answered exactly once, at the latest after an
// election timeout or two, or when this replica's leader changes.
import { isConfirmed } from './proof.ts';
import { added, type MessageBody, NOTHING, type RaftState, without } from './state.ts';
import type { Index, PeerId } from './types.ts';

export function answer(s: RaftState, contexts: readonly number[], ok: boolean, index: Index): void {
  for (const context of contexts) s.out.reads = added(s.out.reads, { context, ok, index });
}

/** A read asked here. */
export function ask(s: RaftState, context: number): void {
  noteFirst(s);
  s.readQueue = added(s.readQueue, context);
}

/** A follower's question to this leader. */
export function onReadIndex(s: RaftState, from: PeerId, context: number): void {
  noteFirst(s);
  const lead = s.lead!;
  lead.asks = added(lead.asks, { from, context });
}

function noteFirst(s: RaftState): void {
  if (s.readQueue.length === 0 && (s.lead?.asks.length ?? 0) === 0) s.readsSinceMs = s.nowMs;
}

/** A leader whose term's first entry does not get committed in time refuses what waits for it. */
export function expireQueue(s: RaftState): void {
  const lead = s.lead!;
  if (s.nowMs - s.readsSinceMs < s.limits.electionMaxMs) return;
  answer(s, s.readQueue, false, 0);
  for (const { from, context } of lead.asks) s.send(from, refusal(context));
  s.readQueue = lead.asks = NOTHING;
}

/** Has a leader reads that a round may begin for? Only an own committed entry tells how far earlier terms had committed
 * (thesis §6.4 step 1). */
export function hasNewReads(s: RaftState): boolean {
  const { lead } = s;
  if (lead === undefined || s.commit < lead.termStart) return false;
  return s.readQueue.length > 0 || lead.asks.length > 0;
}

/** End of a turn on a leader: one round for everything that was asked. False: nothing to begin. */
export function beginRound(s: RaftState): boolean {
  if (!hasNewReads(s)) return false;
  const lead = s.lead!;
  lead.round++;
  const round = { round: lead.round, index: s.commit, contexts: s.readQueue, asks: lead.asks };
  lead.readRounds = added(lead.readRounds, round);
  for (const { from } of lead.asks) {
    const progress = s.progressOf(from);
    if (progress !== undefined) progress.awaited = s.commit;
  }
  s.readQueue = lead.asks = NOTHING;
  return true;
}

/** Answers the rounds that a majority has confirmed. */
export function settleRounds(s: RaftState): void {
  const lead = s.lead;
  if (lead === undefined || lead.readRounds.length === 0) return;
  while (lead.readRounds.length > 0 && isConfirmed(s, lead.readRounds[0].round)) {
    const { index, contexts, asks } = lead.readRounds[0];
    lead.readRounds = without(lead.readRounds, 0);
    answer(s, contexts, true, index);
    for (const ask of asks) s.send(ask.from, { type: 'read-index-reply', context: ask.context, ok: true, index });
  }
}

/** The leadership ends: nobody may be told "ok" any more. Questions of followers are refused as well. */
export function refuseRounds(s: RaftState): void {
  const lead = s.lead;
  if (lead === undefined) return;
  const asks = [...lead.asks];
  for (const round of lead.readRounds) {
    answer(s, round.contexts, false, 0);
    asks.push(...round.asks);
  }
  for (const ask of asks) s.send(ask.from, refusal(ask.context));
}

export function refusal(context: number): MessageBody {
  return { type: 'read-index-reply', context, ok: false, index: 0 };
}

/** End of a turn on any other role: one question to the leader, or a refusal when nobody leads. */
export function forwardReads(s: RaftState): void {
  if (s.readQueue.length === 0) return;
  const contexts = s.readQueue;
  s.readQueue = NOTHING;
  if (s.leader === 0) {
    answer(s, contexts, false, 0);
    return;
  }
  const context = ++s.forwardContext;
  s.forwarded = added(s.forwarded, { context, contexts, untilMs: s.nowMs + s.limits.electionMinMs });
  s.send(s.leader, { type: 'read-index', context });
}

export function onReadReply(s: RaftState, from: PeerId, context: number, ok: boolean, index: Index): void {
  const at = s.forwarded.findIndex((reads) => reads.context === context);
  if (at < 0 || from !== s.leader) return;
  const { contexts } = s.forwarded[at];
  s.forwarded = without(s.forwarded, at);
  answer(s, contexts, ok, index);
}

/** Refuses what the leader has left unanswered for too long. */
export function expireReads(s: RaftState): void {
  while (s.forwarded.length > 0 && s.forwarded[0].untilMs <= s.nowMs) {
    answer(s, s.forwarded[0].contexts, false, 0);
    s.forwarded = without(s.forwarded, 0);
  }
}

/** The leader changed or is unknown: what was sent to the old one is refused. */
export function refuseForwarded(s: RaftState): void {
  for (const reads of s.forwarded) answer(s, reads.contexts, false, 0);
  s.forwarded = NOTHING;
}
