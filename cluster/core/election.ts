// Who becomes leader: pre-vote, vote, timeout-now. Called by the handler table in raft.ts and by ticks. Invariants: a node without
// the right to vote neither grants nor stands; a vote goes only to a log at least as complete as one's own; while a leader
// works nobody else is helped (stickiness), except by that leader's own wish (transfer). Requests for votes and votes leave only
// when everything they claim is durable; whoever is asked answers whatever it believes the membership to be (thesis §4.1).
// Many groups lose their leaders at once when a node ends. So each has an heir, which all members know without a word and which differs from
// group to group: it stands at once, the others wait for it, and nobody stands against anybody.
import type { MessageOf } from './replication.ts';
import { becomeCandidate, becomeFollower, becomeLeader, becomePreCandidate } from './roles.ts';
import type { RaftState } from './state.ts';
import type { PeerId, RaftMessage } from './types.ts';

/** A candidacy or a vote: what must be durable before it leaves. */
export function isVote(message: RaftMessage): boolean {
  return message.type === 'vote' || (message.type === 'vote-reply' && message.granted);
}

/** Asks whether an election could be won, without disturbing anyone (thesis §9.6). */
export function campaign(s: RaftState): void {
  if (!s.electable) return;
  if (s.lone) {
    stand(s, false);
    return;
  }
  becomePreCandidate(s);
  const { lastIndex, lastTerm } = s.log;
  for (const peer of s.members.latest.voters) {
    if (peer !== s.id) s.send(peer, { type: 'pre-vote', term: s.term + 1, lastIndex, lastTerm });
  }
}

/** After the link to the leader was reset: how long until this member stands. */
export function successionMs(s: RaftState, lost: PeerId): number {
  if (s.preferred) return 0;
  const { heirMs, nextHeirMs } = s.limits;
  const heirs = s.members.latest.voters.filter((peer) => peer !== lost);
  const at = heirs.indexOf(s.id);
  if (at < 0) return heirMs + nextHeirMs * heirs.length;
  const first = (Math.imul(s.group % 2 ** 32, 0x9e3779b1) >>> 16) % heirs.length;
  return heirMs + nextHeirMs * ((at - first + heirs.length) % heirs.length);
}

/** A real candidacy. The own vote needs no waiting: requests leave after it is durable, so no answer can come before;
 * a lone voter leads at once but stays mute until then. */
export function stand(s: RaftState, transfer: boolean): void {
  becomeCandidate(s);
  if (s.lone) {
    becomeLeader(s);
    return;
  }
  s.promisedMs = s.nowMs;
  const { lastIndex, lastTerm } = s.log;
  for (const peer of s.members.latest.voters) {
    if (peer !== s.id) s.sendDurable(peer, { type: 'vote', lastIndex, lastTerm, transfer });
  }
}

export function onPreVote(s: RaftState, m: MessageOf<'pre-vote'>): void {
  // Who stands, or has a vote under way, does not help another one to overtake that: a slow disk would let no election end.
  const isFree = s.mayVote && !s.sticky && !s.promising && s.role !== 'candidate' && m.term > s.term;
  const granted = isFree && s.log.isUpToDate(m.lastIndex, m.lastTerm);
  s.send(m.from, { type: 'pre-vote-reply', term: granted ? m.term : s.term, granted });
  if (!granted) {
    // Nobody leads, and this log is the better one.
    if (isFree && s.role === 'follower') s.standAt(Math.min(s.electionDueMs, s.nowMs));
    return;
  }
  // Give way to the one who asked first, for a moment. Two that ask at once must not split the votes: the better log goes on,
  // of equal ones the higher id.
  const { lastIndex, lastTerm } = s.log;
  const better = m.lastTerm !== lastTerm || m.lastIndex !== lastIndex || m.from > s.id;
  if (s.role === 'pre-candidate' && better) becomeFollower(s, s.term, 0);
  if (s.role !== 'follower') return;
  const { heartbeatMs } = s.limits;
  s.standAt(Math.max(s.electionDueMs, s.nowMs + heartbeatMs * 2 * (1 + s.random())));
}

export function onPreVoteReply(s: RaftState, m: MessageOf<'pre-vote-reply'>): void {
  if (!m.granted || m.term !== s.term + 1 || !countVote(s, m.from)) return;
  stand(s, false);
}

/** The term is the sender's already; stickiness was judged before it rose. */
export function onVote(s: RaftState, m: MessageOf<'vote'>): void {
  const free = s.vote === m.from || (s.vote === 0 && s.leader === 0);
  if (!free || !s.mayVote || !s.log.isUpToDate(m.lastIndex, m.lastTerm)) {
    s.send(m.from, { type: 'vote-reply', granted: false });
    return;
  }
  if (s.vote === 0) {
    s.vote = m.from;
    s.hardStateChanged = true;
  }
  s.drawElectionTimeout();
  s.promisedMs = s.nowMs;
  s.sendDurable(m.from, { type: 'vote-reply', granted: true });
}

export function onVoteReply(s: RaftState, m: MessageOf<'vote-reply'>): void {
  if (m.granted && countVote(s, m.from)) becomeLeader(s);
}

/** True when the vote completes a majority. */
function countVote(s: RaftState, from: number): boolean {
  const votes = s.votes!;
  if (!s.members.isVoter(from)) return false;
  votes.add(from);
  return votes.size >= s.quorum;
}

/** The leader hands over (thesis §3.10): straight to a real candidacy that others must not resist. */
export function onTimeoutNow(s: RaftState): void {
  if (s.electable) stand(s, true);
}
