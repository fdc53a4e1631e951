// The four roles and the ways between them. Used by election.ts, leadership.ts and raft.ts; no rule about when, only what changes.
// Invariants: one vote per term, the candidate's own included; a leader begins its term with a no-op.
import { assert } from './assert.ts';
import { gridLine, LONG_AGO_MS } from './limits.ts';
import * as reads from './reads.ts';
import { appendOwn, syncProgress } from './replication.ts';
import { NOTHING, type RaftState } from './state.ts';
import type { PeerId, Role, Term } from './types.ts';
import { EntryKind } from './types.ts';

const NO_BYTES = new Uint8Array(0);

export function becomeFollower(s: RaftState, term: Term, leader: PeerId): void {
  if (term > s.term) s.raiseTerm(term, 0);
  if (leader === s.leader && s.role === 'follower') return;
  leave(s, 'follower', leader);
}

export function becomePreCandidate(s: RaftState): void {
  leave(s, 'pre-candidate', 0);
  voteForSelf(s);
}

export function becomeCandidate(s: RaftState): void {
  s.raiseTerm(s.term + 1, s.id);
  leave(s, 'candidate', 0);
  voteForSelf(s);
}

/** A candidate that is no voter any more does not count. */
function voteForSelf(s: RaftState): void {
  s.votes = new Set(s.members.selfVotes ? [s.id] : []);
}

export function becomeLeader(s: RaftState): void {
  assert(s.role === 'candidate' && s.vote === s.id, 'a leader that was no candidate');
  leave(s, 'leader', s.id);
  s.lead = {
    progress: NOTHING,
    muted: s.lone,
    waking: false,
    round: 0,
    markedMs: LONG_AGO_MS,
    termStart: s.log.lastIndex + 1,
    transfer: undefined,
    readRounds: NOTHING,
    asks: NOTHING,
    heartbeatDueMs: gridLine(s.limits, s.nowMs) + s.limits.heartbeatMs,
    activeMs: s.nowMs,
    activeIndex: s.log.lastIndex,
    marks: { rounds: [], ms: [] },
  };
  syncProgress(s);
  appendOwn(s, EntryKind.noop, NO_BYTES, 0);
}

function leave(s: RaftState, role: Role, leader: PeerId): void {
  reads.refuseRounds(s);
  reads.refuseForwarded(s);
  s.lead = undefined;
  s.votes = undefined;
  s.promisedMs = undefined;
  s.rule(role, leader);
  s.quiesced = false;
  s.drawElectionTimeout();
}
