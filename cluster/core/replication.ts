// How the leader's log reaches the others and how entries become committed; both ends. Called by the handler table in raft.ts.
// Invariants: nothing at or below the commit index is ever truncated; a follower truncates only on a real conflict (same
// index, other term), never because a message is old; "ok" leaves a follower only once what it says is durable; only entries
// of the leader's own term are committed by counting (thesis §3.6.2), the leader counting itself once its WAL has them.
import { assert } from './assert.ts';
import { Progress } from './progress.ts';
import { roundOfNow } from './proof.ts';
import { added, type Leadership, type RaftState } from './state.ts';
import type { Index, LogEntry, Membership, PeerId, RaftMessage, Term } from './types.ts';
import { EntryKind } from './types.ts';

export type MessageOf<T extends RaftMessage['type']> = Extract<RaftMessage, { type: T }>;

// ---- the leader's side

/** Adds an entry of the leader's own term. */
export function appendOwn(
  s: RaftState,
  kind: EntryKind,
  body: Uint8Array,
  crc: number,
  membership?: Membership,
): Index {
  s.log.append(s.term);
  const index = s.log.lastIndex;
  s.out.append = added(s.out.append, { index, term: s.term, kind, body, crc, membership });
  s.flushDue = true;
  return index;
}

/** End of a turn: each follower gets what it is owed and its flow control allows. */
export function flushAppends(s: RaftState): void {
  s.flushDue = false;
  const lead = s.lead;
  if (lead === undefined || lead.muted) return;
  const { progress } = lead;
  for (let i = 0; i < progress.length; i++) flushPeer(s, lead, progress[i]);
}

function flushPeer(s: RaftState, lead: Leadership, progress: Progress): void {
  if (progress.state === 'snapshot') return;
  if (progress.state === 'probe') {
    if (!progress.paused) sendAppend(s, lead, progress);
    return;
  }
  while (progress.next <= s.log.lastIndex && progress.underWay < s.limits.inflightMax) {
    if (!sendAppend(s, lead, progress)) return;
  }
  // What is under way brings the commit index along; only an idle follower is told of it.
  if (isUntold(s, progress)) {
    progress.sentCommit = Math.min(s.commit, progress.match);
    progress.sentMs = s.nowMs;
    s.post({ from: s.id, to: progress.peer, term: s.term, type: 'commit', index: progress.sentCommit });
  }
}

function isUntold(s: RaftState, progress: Progress): boolean {
  const { sentCommit } = progress;
  if (progress.underWay > 0 || sentCommit >= Math.min(s.commit, progress.match)) return false;
  return s.limits.promptCommits || sentCommit < progress.awaited;
}

/** Would flushPeer send anything? */
function isOwed(s: RaftState, progress: Progress): boolean {
  if (progress.state === 'snapshot') return false;
  if (progress.state === 'probe') return !progress.paused;
  return progress.next <= s.log.lastIndex || isUntold(s, progress);
}

/** One append from `next` on, possibly empty. False: the log no longer has it, a snapshot is needed. */
function sendAppend(s: RaftState, lead: Leadership, progress: Progress): boolean {
  const first = progress.next;
  const prevTerm = s.log.termOf(first - 1);
  if (prevTerm === undefined) {
    needSnapshot(s, progress);
    return false;
  }
  const most = progress.repeating ? 0 : s.limits.appendEntriesMax;
  const last = Math.min(s.log.lastIndex, first + most - 1);
  const { commit } = s;
  postAppend(s, lead, progress.peer, first - 1, prevTerm, first, last);
  progress.sent(last);
  progress.sentMs = s.nowMs;
  progress.sentCommit = Math.max(progress.sentCommit, Math.min(commit, last));
  return true;
}

function postAppend(
  s: RaftState,
  lead: Leadership,
  to: PeerId,
  prevIndex: Index,
  prevTerm: Term,
  first: Index,
  last: Index,
): void {
  const { id: from, term, commit } = s;
  const round = roundOfNow(s, lead);
  const entries = undefined;
  s.post({ from, to, term, type: 'append', prevIndex, prevTerm, first, last, entries, commit, round });
}

function needSnapshot(s: RaftState, progress: Progress): void {
  if (s.nowMs - progress.lastActiveMs > s.limits.electionMaxMs) {
    // Nobody is there to receive it: wait for a sign of life.
    progress.becomeProbe(progress.next);
    progress.paused = true;
    return;
  }
  progress.becomeSnapshot();
  s.out.snapshotTo = added(s.out.snapshotTo, progress.peer);
}

export function sendHeartbeat(s: RaftState, lead: Leadership, progress: Progress, quiesce: boolean): void {
  const commit = Math.min(s.commit, progress.match);
  const { id: from, term } = s;
  const { lastIndex } = s.log;
  const round = roundOfNow(s, lead);
  s.post({ from, to: progress.peer, term, type: 'heartbeat', commit, round, quiesce, lastIndex });
  progress.sentCommit = Math.max(progress.sentCommit, commit);
  progress.sentMs = s.nowMs;
}

export function broadcastHeartbeat(s: RaftState, quiesce: boolean): void {
  const lead = s.lead!;
  if (lead.muted) return;
  for (const progress of lead.progress) sendHeartbeat(s, lead, progress, quiesce);
}

export function onAppendReply(s: RaftState, m: MessageOf<'append-reply'>): void {
  const progress = s.progressOf(m.from);
  if (progress === undefined) return;
  if (m.ok) {
    acknowledge(s, progress, m.index, m.round);
    return;
  }
  if (m.index > s.log.lastIndex) return;
  hear(s, progress, m.round);
  s.flushDue = true;
  if (progress.state === 'snapshot') return;
  const next = s.log.lastWithin(m.index, m.hintTerm) + 1;
  // A refusal that leads nowhere new is old: a true one always moves `next` down.
  if (next <= progress.match || next >= progress.next) return;
  progress.becomeProbe(next);
}

/** That member holds everything up to `index`. */
export function acknowledge(s: RaftState, progress: Progress, index: Index, round: number): void {
  if (index > s.log.lastIndex) return;
  hear(s, progress, round);
  progress.acked(index, s.nowMs);
  if (progress.state === 'probe' || (progress.state === 'snapshot' && progress.match >= s.log.baseIndex)) {
    progress.becomeReplicate();
  }
  if (isOwed(s, progress)) s.flushDue = true;
}

/** The WAL holds everything up to that entry. */
export function markStable(s: RaftState, index: Index, term: Term): void {
  if (index > s.stable && s.log.termOf(index) === term) s.stable = index;
  const { lead } = s;
  if (lead === undefined || !lead.muted || s.stable < lead.termStart) return;
  lead.muted = false;
  s.flushDue = true;
}

export function onHeartbeatReply(s: RaftState, m: MessageOf<'heartbeat-reply'>): void {
  const lead = s.lead!;
  const progress = s.progressOf(m.from);
  if (progress === undefined) return;
  hear(s, progress, m.round);
  if (progress.state === 'probe') {
    progress.resume();
    s.flushDue = true;
    return;
  }
  // Alive, behind, and silent about it for long: something may be lost. (A reset link is known at once, this is for the rest.)
  if (s.nowMs - progress.movedMs >= s.limits.electionMinMs) examine(s, lead, progress);
}

/** An empty append at the end of what was sent: its answer tells whether all of it arrived. */
export function examine(s: RaftState, lead: Leadership, progress: Progress): void {
  if (progress.state !== 'replicate' || progress.match >= s.log.lastIndex) return;
  progress.movedMs = s.nowMs;
  const prevTerm = s.log.termOf(progress.next - 1);
  if (prevTerm === undefined) {
    // Compacted meanwhile. It may have more than it could say: ask where the log begins now.
    progress.becomeProbe(s.log.firstIndex);
    s.flushDue = true;
    return;
  }
  const end = progress.next - 1;
  postAppend(s, lead, progress.peer, end, prevTerm, end + 1, end);
}

function hear(s: RaftState, progress: Progress, round: number): void {
  progress.lastActiveMs = s.nowMs;
  progress.down = false;
  progress.round = Math.max(progress.round, round);
}

/** Commits what a majority holds durably, if it is of this term. */
export function settleCommit(s: RaftState, lead: Leadership): void {
  if (s.commit === s.log.lastIndex) return;
  const index = heldByMajority(s, lead);
  if (index <= s.commit || s.log.termOf(index) !== s.term) return;
  s.setCommit(index);
  s.flushDue = true;
}

/** The highest index above the commit index that a majority of the voters holds durably; 0: none. Asked at every acknowledgement. */
function heldByMajority(s: RaftState, lead: Leadership): Index {
  const { progress } = lead;
  const own = s.members.selfVotes ? s.stable : 0;
  let best = isHeld(s, lead, own) ? own : 0;
  for (let i = 0; i < progress.length; i++) {
    const { voter, match } = progress[i];
    if (voter && match > best && isHeld(s, lead, match)) best = match;
  }
  return best;
}

/** Is it above the commit index, and does a majority of the voters hold everything up to it? */
function isHeld(s: RaftState, lead: Leadership, index: Index): boolean {
  if (index <= s.commit) return false;
  const { progress } = lead;
  let count = s.members.selfVotes && s.stable >= index ? 1 : 0;
  for (let i = 0; i < progress.length; i++) if (progress[i].voter && progress[i].match >= index) count++;
  return count >= s.quorum;
}

/** Would this replica do nothing about an acknowledgement that commits nothing, and nothing about a sync of its own that commits nothing?
 * On a leader: everything is sent, nobody waits for an answer, a notice, a transfer or a change of the members. */
export function isSteady(s: RaftState): boolean {
  const { lead } = s;
  if (lead === undefined) return s.role === 'follower';
  if (s.limits.promptCommits || s.quorum < 2 || s.quiesced || lead.waking || lead.muted) return false;
  if (s.commit < lead.termStart || s.commit < s.members.latestIndex || lead.transfer !== undefined) return false;
  if (lead.readRounds.length > 0 || lead.asks.length > 0 || s.readQueue.length > 0) return false;
  const { progress } = lead;
  for (let i = 0; i < progress.length; i++) {
    const { state, down, next, awaited, sentCommit } = progress[i];
    if (state !== 'replicate' || down || next <= s.log.lastIndex || awaited > sentCommit) return false;
  }
  return true;
}

/** The set of followers, and who votes, follow the membership. Called at each of its changes. */
export function syncProgress(s: RaftState): void {
  const lead = s.lead!;
  const { voters, learners } = s.members.latest;
  const others = [...voters, ...learners].filter((peer) => peer !== s.id);
  lead.progress = lead.progress.filter(({ peer }) => others.includes(peer));
  for (const peer of others) {
    if (s.progressOf(peer) !== undefined) continue;
    lead.progress = added(lead.progress, new Progress(s.common.member(peer), s.log.lastIndex + 1, s.nowMs));
  }
  for (const progress of lead.progress) progress.voter = voters.includes(progress.peer);
}

// ---- the follower's side

export function onAppend(s: RaftState, m: MessageOf<'append'>): void {
  s.heardLeader();
  if (s.installing) return;
  const entries = m.entries ?? [];
  const { round } = m;
  if (!isWellFormed(m.prevIndex, m.prevTerm, entries, m.term)) return;
  // What is committed here is equal on the leader; only what lies above needs to be compared.
  if (m.prevIndex >= s.commit && s.log.termOf(m.prevIndex) !== m.prevTerm) {
    const index = s.log.lastWithin(Math.min(m.prevIndex, s.log.lastIndex), m.prevTerm);
    const hintTerm = s.log.termOf(index) ?? 0;
    s.send(m.from, { type: 'append-reply', ok: false, index, hintTerm, round });
    return;
  }
  for (const entry of entries) if (entry.index > s.commit) takeEntry(s, entry);
  const match = Math.max(m.prevIndex + entries.length, s.commit);
  s.setCommit(Math.min(m.commit, match));
  const { id: from, term } = s;
  s.postDurable({ from, to: m.from, term, type: 'append-reply', ok: true, index: match, hintTerm: 0, round });
}

function takeEntry(s: RaftState, entry: LogEntry): void {
  const known = s.log.termOf(entry.index);
  if (known === entry.term) return;
  if (known !== undefined) truncateFrom(s, entry.index);
  s.log.append(entry.term);
  if (entry.membership !== undefined) s.members.append(entry.index, entry.membership);
  s.out.append = added(s.out.append, entry);
}

function truncateFrom(s: RaftState, index: Index): void {
  assert(index > s.commit, `truncation at ${index}, at or below the commit index ${s.commit}`);
  s.log.truncateFrom(index);
  s.members.truncateFrom(index);
  s.stable = Math.min(s.stable, index - 1);
  const { append } = s.out;
  while (append.length > 0 && append[append.length - 1].index >= index) append.pop();
}

/** Contiguous, terms that do not fall, none above the sender's, memberships decoded. Anything else is not from a core. */
function isWellFormed(prevIndex: Index, prevTerm: number, entries: readonly LogEntry[], term: number): boolean {
  let index = prevIndex;
  let last = prevTerm;
  for (const entry of entries) {
    if (entry.index !== ++index || entry.term < last || entry.term > term) return false;
    if ((entry.kind === EntryKind.membership) !== (entry.membership !== undefined)) return false;
    last = entry.term;
  }
  return true;
}

export function onHeartbeat(s: RaftState, m: MessageOf<'heartbeat'>): void {
  s.heardLeader();
  if (!s.installing) s.setCommit(Math.min(m.commit, s.log.lastIndex));
  s.post({ from: s.id, to: m.from, term: s.term, type: 'heartbeat-reply', round: m.round });
  if (m.quiesce && !s.installing && s.log.lastIndex === m.lastIndex && s.commit === m.lastIndex) s.quiesced = true;
}

export function onCommit(s: RaftState, m: MessageOf<'commit'>): void {
  s.heardLeader();
  if (!s.installing) s.setCommit(Math.min(m.index, s.log.lastIndex));
}
