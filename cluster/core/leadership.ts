// What a leader does besides replicating: heartbeats, check-quorum, transfer, membership changes, putting the group to
// sleep and waking it. Called by raft.ts. Invariants: a leader that a majority does not answer steps down; it sleeps only when
// every member has everything and knows that it is committed; a leader that is no voter any more leads no longer than until
// that change is committed.
import { gridLine } from './limits.ts';
import { crc32cOf, encodeMembership, isSingleStep } from './membership.ts';
import * as reads from './reads.ts';
import { appendOwn, broadcastHeartbeat, examine, sendHeartbeat, settleCommit, syncProgress } from './replication.ts';
import { becomeFollower } from './roles.ts';
import type { Leadership, RaftState } from './state.ts';
import type { Index, Membership, PeerId } from './types.ts';
import { EntryKind } from './types.ts';

/** Draws the consequences of whatever has just been learnt. */
export function settle(s: RaftState): void {
  const { lead } = s;
  if (lead === undefined) return;
  settleCommit(s, lead);
  reads.settleRounds(s);
  settleTransfer(s, lead);
  if (!s.members.selfVotes && s.commit >= s.members.latestIndex) abdicate(s);
}

function settleTransfer(s: RaftState, lead: Leadership): void {
  const { transfer } = lead;
  if (transfer === undefined || transfer.sent) return;
  // What is under way is committed first: nobody who waits for it is left without an answer.
  if (s.progressOf(transfer.to)?.match !== s.log.lastIndex || s.commit !== s.log.lastIndex) return;
  transfer.sent = true;
  s.send(transfer.to, { type: 'timeout-now' });
}

/** A removed leader tells the others what is committed and lets the most complete voter follow at once. */
function abdicate(s: RaftState): void {
  broadcastHeartbeat(s, false);
  let heir = 0;
  let best = -1;
  for (const peer of s.members.latest.voters) {
    const match = s.progressOf(peer)?.match ?? 0;
    if (match > best) [heir, best] = [peer, match];
  }
  s.send(heir, { type: 'timeout-now' });
  becomeFollower(s, s.term, 0);
}

export function tickLeader(s: RaftState): void {
  const lead = s.lead!;
  if (lead.waking) restartClocks(s, lead);
  if (lead.transfer !== undefined && s.nowMs >= lead.transfer.untilMs) lead.transfer = undefined;
  if (s.nowMs < lead.heartbeatDueMs) return;
  if (!hasQuorum(s)) {
    becomeFollower(s, s.term, 0);
    return;
  }
  reads.expireQueue(s);
  if (lead.activeIndex !== s.log.lastIndex) {
    lead.activeIndex = s.log.lastIndex;
    lead.activeMs = s.nowMs;
  }
  s.quiesced = maySleep(s, lead);
  if (s.quiesced) broadcastHeartbeat(s, true);
  else beat(s, lead);
}

/** Heartbeats to those with whom nothing else is exchanged. One who does not answer is asked at every beat. Whoever would be due before the
 * next line of the grid is served now: nobody waits for longer than heartbeatMs. */
function beat(s: RaftState, lead: Leadership): void {
  const { limits } = s;
  const { heartbeatMs } = limits;
  const line = gridLine(limits, s.nowMs);
  const since = line - heartbeatMs;
  let dueMs = line + heartbeatMs;
  for (const progress of lead.progress) {
    const sentLine = gridLine(limits, progress.sentMs);
    if (sentLine > since && progress.lastActiveMs > since && progress.state === 'replicate') {
      dueMs = Math.min(dueMs, sentLine + heartbeatMs);
    } else if (!lead.muted) sendHeartbeat(s, lead, progress, false);
  }
  lead.heartbeatDueMs = dueMs;
}

/** Check-quorum: has a majority been heard lately? */
function hasQuorum(s: RaftState): boolean {
  let alive = 0;
  for (const peer of s.members.latest.voters) {
    if (peer === s.id || isAlive(s, peer)) alive++;
  }
  return alive >= s.quorum;
}

function isAlive(s: RaftState, peer: PeerId): boolean {
  const progress = s.progressOf(peer);
  return progress !== undefined && s.nowMs - progress.lastActiveMs <= s.limits.electionMaxMs;
}

function maySleep(s: RaftState, lead: Leadership): boolean {
  const { lastIndex } = s.log;
  if (s.commit !== lastIndex || lead.transfer !== undefined) return false;
  if (lead.readRounds.length > 0 || lead.asks.length > 0 || s.readQueue.length > 0) return false;
  let voters = s.members.selfVotes ? 1 : 0;
  for (const progress of lead.progress) {
    // One that is down is woken for when it is back; the host, or it itself, says so.
    if (progress.down) continue;
    if (progress.match !== lastIndex || !isAlive(s, progress.peer)) return false;
    if (s.members.isVoter(progress.peer)) voters++;
  }
  if (voters < s.quorum) return false;
  return lead.progress.length === 0 || s.nowMs - lead.activeMs >= s.limits.quiesceAfterMs;
}

/** The group is needed again, and all members are told. */
export function wakeLeader(s: RaftState): void {
  restartClocks(s, s.lead!);
  broadcastHeartbeat(s, false);
}

/** Silence while the group slept is held against nobody. */
function restartClocks(s: RaftState, lead: Leadership): void {
  s.quiesced = false;
  lead.waking = false;
  lead.heartbeatDueMs = gridLine(s.limits, s.nowMs) + s.limits.heartbeatMs;
  lead.activeMs = s.nowMs;
  for (const progress of lead.progress) progress.lastActiveMs = s.nowMs;
}

/** News without a time (a proposal): the clocks start with the tick that is due at once. The news itself wakes the others; one
 * that it does not reach is woken by the heartbeat after it. */
export function stir(s: RaftState): void {
  if (!s.quiesced) return;
  s.quiesced = false;
  s.lead!.waking = true;
}

/** It may have restarted, and what was under way to it may be lost. */
export function peerRestarted(s: RaftState, peer: PeerId): void {
  const progress = s.progressOf(peer);
  if (progress === undefined) return;
  progress.forget(s.log.lastIndex);
  s.flushDue = true;
}

/** Another voter, or the leader itself, to which nothing needs to be said. */
export function transfer(s: RaftState, to: PeerId): void {
  const { lead } = s;
  if (lead === undefined || to === s.id || !s.members.isVoter(to)) return;
  lead.transfer = { to, untilMs: s.nowMs + s.limits.electionMinMs, sent: false };
  s.flushDue = true;
  const progress = s.progressOf(to);
  if (progress !== undefined) examine(s, lead, progress);
}

/** There is no link to that member any more: if it was to take over, nobody waits for it beyond the next tick. */
export function giveUpHeir(s: RaftState, { transfer }: Leadership, peer: PeerId): void {
  if (transfer?.to === peer) transfer.untilMs = s.nowMs;
}

/** May the leader append now? Not while it hands over. */
export function mayPropose(s: RaftState): boolean {
  return s.lead !== undefined && s.lead.transfer === undefined;
}

/** One change at a time, and only after an entry of this term is committed (the 2015 fix of thesis §4.1). */
export function proposeMembership(s: RaftState, to: Membership): Index | undefined {
  if (!mayPropose(s) || s.commit < s.lead!.termStart || s.members.latestIndex > s.commit) return undefined;
  if (!isSingleStep(s.members.latest, to)) return undefined;
  stir(s);
  const body = encodeMembership(to);
  const index = appendOwn(s, EntryKind.membership, body, crc32cOf(body), to);
  s.members.append(index, to);
  syncProgress(s);
  return index;
}

/** Someone who should hear this leader does not: it may have restarted. */
export function reassure(s: RaftState, peer: PeerId): void {
  peerRestarted(s, peer);
  const lead = s.lead!;
  const progress = s.progressOf(peer);
  if (progress !== undefined && !lead.muted) sendHeartbeat(s, lead, progress, false);
}
