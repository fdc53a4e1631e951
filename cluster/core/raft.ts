// One replica of one Raft group as a pure state machine. The host calls step (a message came), tick (its deadline passed), propose,
// persisted (the WAL is durable) and so on, then hasReady/takeReady once a turn and does what the Ready says. No I/O, clock or
// chance in here: the same calls give the same effects. The rules are in election.ts, replication.ts, leadership.ts, reads.ts;
// this file holds the door and the two tables that say which rule meets which message.
import { assert } from './assert.ts';
import type { Common } from './common.ts';
import { campaign, onPreVote, onPreVoteReply, onTimeoutNow, onVote, onVoteReply, successionMs } from './election.ts';
import * as leadership from './leadership.ts';
import { settle } from './leadership.ts';
import { LONG_AGO_MS } from './limits.ts';
import { LogTerms, type TermRun } from './log-terms.ts';
import { type MembershipChange, MembershipLog } from './membership.ts';
import { provenUntilMs } from './proof.ts';
import * as reads from './reads.ts';
import * as replication from './replication.ts';
import { becomeFollower } from './roles.ts';
import { NOTHING, RaftState } from './state.ts';
import type {
  EntryKind,
  GroupId,
  HardState,
  Index,
  Membership,
  PeerId,
  RaftMessage,
  Ready,
  Role,
  SnapshotMeta,
  Term,
} from './types.ts';

export interface RaftOptions {
  /** Of all groups of the node; names it. */
  common: Common;
  group: GroupId;
  /** Uniform in [0, 1). */
  random: () => number;
  nowMs: number;
  hardState: HardState;
  /** The durable snapshot; the log begins after it. */
  snapshot: SnapshotMeta | undefined;
  /** The latest membership, committed or not. */
  membership: Membership;
  /** Index of its entry when that is still in the log; undefined: at or below the snapshot. */
  membershipIndex?: Index;
  /** The one before it; needed only when membershipIndex is given, because its entry may yet be truncated.
   * Default: the snapshot's. */
  previousMembership?: Membership;
  lastIndex: Index;
  /** Runs of equal terms that cover the restored log, ascending. */
  terms: readonly TermRun[];
  mayVote: boolean;
  /** This node should lead the group: it stands first. */
  preferred: boolean;
}

type Handler<T extends RaftMessage['type']> = (s: RaftState, m: replication.MessageOf<T>) => void;
type Handlers = { [T in RaftMessage['type']]: Handler<T> };

const ignore = (): void => {};

/** A message that only a leader of this term sends: whoever hears it follows. */
function followThen<T extends RaftMessage['type']>(handler: Handler<T>): Handler<T> {
  return (s, m) => {
    becomeFollower(s, s.term, m.from);
    handler(s, m);
  };
}

function twoLeaders(s: RaftState, m: RaftMessage, leader: PeerId): void {
  assert(false, `group ${s.group}: ${m.from} and ${leader} both lead term ${s.term}`);
}

const besideMe = (s: RaftState, m: RaftMessage): void => twoLeaders(s, m, s.id);

function fromLeader<T extends RaftMessage['type']>(handler: Handler<T>): Handler<T> {
  return (s, m) => {
    if (s.leader !== 0 && s.leader !== m.from) twoLeaders(s, m, s.leader);
    becomeFollower(s, s.term, m.from);
    handler(s, m);
  };
}

function refuseRead(s: RaftState, m: replication.MessageOf<'read-index'>): void {
  s.send(m.from, reads.refusal(m.context));
}

const follower: Handlers = {
  'pre-vote': onPreVote,
  'pre-vote-reply': ignore,
  vote: onVote,
  'vote-reply': ignore,
  append: fromLeader(replication.onAppend),
  'append-reply': ignore,
  heartbeat: fromLeader(replication.onHeartbeat),
  'heartbeat-reply': ignore,
  commit: fromLeader(replication.onCommit),
  'timeout-now': onTimeoutNow,
  'read-index': refuseRead,
  'read-index-reply': (s, m) => reads.onReadReply(s, m.from, m.context, m.ok, m.index),
};

const preCandidate: Handlers = {
  ...follower,
  'pre-vote-reply': onPreVoteReply,
  append: followThen(replication.onAppend),
  heartbeat: followThen(replication.onHeartbeat),
  commit: followThen(replication.onCommit),
};

const candidate: Handlers = {
  ...preCandidate,
  'pre-vote-reply': ignore,
  'vote-reply': onVoteReply,
  'timeout-now': ignore,
};

const leader: Handlers = {
  'pre-vote': (s, m) => {
    leadership.reassure(s, m.from);
    onPreVote(s, m);
  },
  'pre-vote-reply': ignore,
  vote: onVote,
  'vote-reply': ignore,
  append: besideMe,
  'append-reply': replication.onAppendReply,
  heartbeat: besideMe,
  'heartbeat-reply': replication.onHeartbeatReply,
  commit: besideMe,
  'timeout-now': ignore,
  'read-index': (s, m) => reads.onReadIndex(s, m.from, m.context),
  'read-index-reply': ignore,
};

const handlers: { [R in Role]: Handlers } = { follower, 'pre-candidate': preCandidate, candidate, leader };

/** What a message of a later term does to ours. `lead`: its sender leads that term. `raise`: the term exists. `ask`: a vote, unless
 * a leader works here. `none`: it names a term that nobody has taken yet. */
const laterTerm: { [T in RaftMessage['type']]: 'lead' | 'raise' | 'ask' | 'none' } = {
  'pre-vote': 'none',
  'pre-vote-reply': 'raise',
  vote: 'ask',
  'vote-reply': 'raise',
  append: 'lead',
  'append-reply': 'raise',
  heartbeat: 'lead',
  'heartbeat-reply': 'raise',
  commit: 'lead',
  'timeout-now': 'raise',
  'read-index': 'raise',
  'read-index-reply': 'raise',
};

/** True: the message goes on to its handler. */
function passLaterTerm(s: RaftState, m: RaftMessage): boolean {
  switch (laterTerm[m.type]) {
    case 'none':
      return true;
    case 'lead':
      becomeFollower(s, m.term, m.from);
      return true;
    case 'ask':
      // A late transfer must not help someone who was removed meanwhile.
      if (m.type === 'vote' && s.sticky && !(m.transfer && s.members.isMember(m.from))) return false;
      becomeFollower(s, m.term, 0);
      return true;
    case 'raise':
      // A granted pre-vote names the term that we would take.
      if (m.type === 'pre-vote-reply' && m.granted) return true;
      // Someone who was removed does not unseat a leader.
      if (s.lead !== undefined && !s.members.isMember(m.from)) return false;
      becomeFollower(s, m.term, 0);
      return true;
  }
}

/** Messages of an earlier term are void. Some are answered with ours, so that a leader steps down and a node that is
 * stuck at a later term, or one that is behind, finds its way back (stickiness and pre-vote would lock it out). */
function answerEarlierTerm(s: RaftState, m: RaftMessage): void {
  switch (m.type) {
    case 'append':
      s.send(m.from, { type: 'append-reply', ok: false, index: 0, hintTerm: 0, round: 0 });
      return;
    case 'heartbeat':
    case 'commit':
      s.send(m.from, { type: 'heartbeat-reply', round: 0 });
      return;
    case 'pre-vote':
      handlers[s.role]['pre-vote'](s, m);
      return;
    case 'vote':
      s.send(m.from, { type: 'vote-reply', granted: false });
  }
}

/** Does the message need a group that is awake? Late ones that bring nothing new do not. */
function rouses(s: RaftState, m: RaftMessage): boolean {
  // Someone who was taken for down speaks: the group fell asleep without it.
  if (s.progressOf(m.from)?.down) return true;
  switch (m.type) {
    case 'pre-vote':
    case 'vote':
      // A removed member may go on asking; it has no business here.
      return s.members.isMember(m.from);
    case 'append': {
      const news = m.prevIndex + (m.entries?.length ?? 0) > s.log.lastIndex || m.commit > s.commit;
      return m.term > s.term || (m.term === s.term && news);
    }
    case 'timeout-now':
    case 'read-index':
      return m.term >= s.term;
    case 'heartbeat':
      return m.term > s.term || (m.term === s.term && !(m.quiesce && m.lastIndex === s.log.lastIndex));
    case 'commit':
      return m.term > s.term || (m.term === s.term && m.index > s.commit);
    case 'append-reply':
      return m.term > s.term || (m.term === s.term && s.lead !== undefined && !m.ok);
    default:
      return m.term > s.term;
  }
}

export class Raft {
  protected readonly state: RaftState;

  constructor(options: RaftOptions) {
    const base = options.snapshot ?? { index: 0, term: 0 };
    const log = new LogTerms(base, options.lastIndex, options.terms);
    this.state = new RaftState({
      common: options.common,
      group: options.group,
      random: options.random,
      nowMs: options.nowMs,
      hardState: options.hardState,
      log,
      members: new MembershipLog(restoredMemberships(options, base.index), options.common.self.id),
      mayVote: options.mayVote,
      preferred: options.preferred,
    });
  }

  // ---- what is

  get id(): PeerId {
    return this.state.id;
  }
  get group(): GroupId {
    return this.state.group;
  }
  get role(): Role {
    return this.state.role;
  }
  /** 0 when unknown. */
  get leader(): PeerId {
    return this.state.leader;
  }
  get term(): Term {
    return this.state.term;
  }
  /** Rises with each change of the term, the role or the leader. */
  get reigns(): number {
    return this.state.reigns;
  }
  get vote(): PeerId {
    return this.state.vote;
  }
  get commit(): Index {
    return this.state.commit;
  }
  get firstIndex(): Index {
    return this.state.log.firstIndex;
  }
  get lastIndex(): Index {
    return this.state.log.lastIndex;
  }
  get lastTerm(): Term {
    return this.state.log.lastTerm;
  }
  get membership(): Membership {
    return this.state.members.latest;
  }
  /** Where the latest membership is in the log; at its base or below when no entry of the log changed it. */
  get membershipIndex(): Index {
    return this.state.members.latestIndex;
  }
  get quiesced(): boolean {
    return this.state.quiesced;
  }
  get mayVote(): boolean {
    return this.state.mayVote;
  }
  /** The member that leadership is being handed to; 0 nobody. Proposals are refused meanwhile. */
  get transferringTo(): PeerId {
    return this.state.lead?.transfer?.to ?? 0;
  }
  /** Index of this leader's own no-op: it serves once that is applied. Undefined: not leading. */
  get termStart(): Index | undefined {
    return this.state.lead?.termStart;
  }
  /** A successor's election, if there was one, came later than this less `proofMs` (proof.ts). Infinity: there is nobody else. */
  get provenUntilMs(): number {
    return provenUntilMs(this.state);
  }
  termOf(index: Index): Term | undefined {
    return this.state.log.termOf(index);
  }
  /** What a snapshot at `index` must name. */
  membershipAt(index: Index): Membership {
    return this.state.members.at(index);
  }
  /** On a leader: every member that keeps up has so much. Else all there is. */
  get storedByAll(): Index {
    const { lead, log } = this.state;
    let index = log.lastIndex;
    if (lead === undefined) return index;
    const { progress } = lead;
    for (let i = 0; i < progress.length; i++) {
      const { match, state, down } = progress[i];
      if (state === 'replicate' && !down && match < index) index = match;
    }
    return index;
  }
  /** On a leader: every other member. */
  get progress(): { peer: PeerId; match: Index; lastActiveMs: number; state: 'probe' | 'replicate' | 'snapshot' }[] {
    const { lead } = this.state;
    if (lead === undefined) return [];
    return lead.progress.map(({ peer, match, lastActiveMs, state }) => ({
      peer,
      match,
      lastActiveMs,
      state,
    }));
  }

  /** The host may let the core hear later of acknowledgements and syncs that commit nothing. To be asked after takeReady. */
  get steady(): boolean {
    return replication.isSteady(this.state);
  }

  /** No tick is needed before; Infinity: none at all until something happens. */
  get nextDeadlineMs(): number {
    const s = this.state;
    if (s.lead !== undefined) {
      if (s.lead.waking) return s.nowMs;
      if (s.quiesced) return Number.POSITIVE_INFINITY;
      return Math.min(s.lead.heartbeatDueMs, s.lead.transfer?.untilMs ?? Number.POSITIVE_INFINITY);
    }
    const electionMs = s.electable && !s.quiesced && !s.promising ? s.electionDueMs : Number.POSITIVE_INFINITY;
    return s.forwarded.length > 0 ? Math.min(electionMs, s.forwarded[0].untilMs) : electionMs;
  }

  // ---- what happens

  step(message: RaftMessage, nowMs: number): void {
    const s = this.state;
    s.setNow(nowMs);
    if (message.to !== s.id || message.from === s.id) return;
    if (s.quiesced && rouses(s, message)) this.wake(nowMs);
    if (message.term < s.term) {
      answerEarlierTerm(s, message);
      return;
    }
    if (message.term > s.term && !passLaterTerm(s, message)) return;
    dispatch(s, message);
    settle(s);
  }

  tick(nowMs: number): void {
    const s = this.state;
    s.setNow(nowMs);
    reads.expireReads(s);
    if (s.lead !== undefined) {
      if (!s.quiesced) leadership.tickLeader(s);
    } else if (!s.quiesced && !s.promising && s.nowMs >= s.electionDueMs) campaign(s);
  }

  /** Without news: what is made from now on is of this time. */
  setNow(nowMs: number): void {
    this.state.setNow(nowMs);
  }

  /** An entry of the leader's own term; it leaves with the next Ready. Undefined: not leading, or handing over. */
  propose(kind: EntryKind, body: Uint8Array, crc: number): { index: Index; term: Term } | undefined {
    const s = this.state;
    if (!leadership.mayPropose(s)) return undefined;
    leadership.stir(s);
    return { index: replication.appendOwn(s, kind, body, crc), term: s.term };
  }

  /** Adds or removes at most one voter, and any learners.
   * Undefined: not leading, a change is under way, no entry of this term is committed yet, or too big a step. */
  proposeMembership(membership: Membership): Index | undefined {
    return leadership.proposeMembership(this.state, membership);
  }

  /** The WAL holds everything up to the entry (index, term) and all hard states taken with it or before. */
  persisted(index: Index, term: Term): void {
    const s = this.state;
    replication.markStable(s, index, term);
    settle(s);
  }

  /** What `persisted` and the steps of acknowledgements of this term would tell, at once, and the consequences are drawn once. `acks`: the
   * first `numbers` of it are peer, index and round of each. */
  learn(index: Index, term: Term, acks: readonly number[], numbers: number, nowMs: number): void {
    const s = this.state;
    s.setNow(nowMs);
    replication.markStable(s, index, term);
    if (s.lead === undefined) return;
    for (let i = 0; i < numbers; i += 3) {
      const progress = s.progressOf(acks[i]);
      if (progress !== undefined) replication.acknowledge(s, progress, acks[i + 1], acks[i + 2]);
    }
    settle(s);
  }

  /** Votes, or requests for votes, have left, durable: from now on what they lead to is waited for. */
  votesLeft(nowMs: number): void {
    const s = this.state;
    s.setNow(nowMs);
    if (s.promising) s.promiseLeft();
  }

  /** This node's loop stood still for so long: what it could not hear is held against no leader. One that was not heard between many stalls
   * either is gone: a node that stalls all the time must not wait for it for ever. */
  stalled(ms: number): void {
    const s = this.state;
    if (s.lead !== undefined || s.quiesced || s.stalledMs >= s.limits.electionMinMs) return;
    s.stalledMs += Math.ceil(ms);
    s.standAt(s.electionDueMs + ms);
  }

  /** A read barrier: its answer is in a later Ready's `reads` under the same context. */
  readIndex(context: number, nowMs: number): void {
    this.wake(nowMs);
    reads.ask(this.state, context);
  }

  /** Hands leadership to a voter; given up after an election timeout. */
  transferLeadership(to: PeerId, nowMs: number): void {
    this.wake(nowMs);
    leadership.transfer(this.state, to);
    settle(this.state);
  }

  /** Asks for an election now (a new group whose leader is to be this node). */
  campaign(nowMs: number): void {
    const s = this.state;
    this.wake(nowMs);
    if (s.lead === undefined) campaign(s);
  }

  /** Ends quiescence. */
  wake(nowMs: number): void {
    const s = this.state;
    s.setNow(nowMs);
    if (!s.quiesced) return;
    s.quiesced = false;
    if (s.lead !== undefined) leadership.wakeLeader(s);
    else s.heardLeader();
  }

  /** The link to that peer was reset or is silent. A lost leader is replaced at once, by its heir. */
  peerDown(peer: PeerId, nowMs: number): void {
    const s = this.state;
    s.setNow(nowMs);
    if (s.lead !== undefined) {
      const progress = s.progressOf(peer);
      if (progress === undefined) return;
      this.wake(nowMs);
      leadership.peerRestarted(s, peer);
      leadership.giveUpHeir(s, s.lead, peer);
      progress.down = true;
    } else if (peer === s.leader) {
      s.quiesced = false;
      s.heardLeaderMs = LONG_AGO_MS;
      // The deadline of a group that slept is long past: all members would stand at once.
      s.standAt(s.nowMs + successionMs(s, peer));
    }
  }

  /** There is a link to that peer again. A group that fell asleep without it is woken, so that it gets what it lacks. */
  peerUp(peer: PeerId, nowMs: number): void {
    const s = this.state;
    s.setNow(nowMs);
    const progress = s.progressOf(peer);
    if (progress === undefined || !progress.down) return;
    progress.down = false;
    this.wake(nowMs);
    s.flushDue = true;
  }

  /** Without the right to vote a node replicates, but neither grants votes nor stands nor leads. */
  setMayVote(mayVote: boolean): void {
    const s = this.state;
    if (mayVote === s.mayVote) return;
    s.mayVote = mayVote;
    if (mayVote) s.restartElectionTimer();
    else if (s.role !== 'follower') becomeFollower(s, s.term, 0);
  }

  /** A follower holds the snapshot at `index`: appends go on from there. */
  snapshotDone(peer: PeerId, index: Index): void {
    const s = this.state;
    const progress = s.progressOf(peer);
    if (progress === undefined || progress.state !== 'snapshot') return;
    progress.becomeProbe(Math.min(index, s.log.lastIndex) + 1);
    s.flushDue = true;
  }

  /** Tried again with the follower's next sign of life. */
  snapshotFailed(peer: PeerId): void {
    const progress = this.state.progressOf(peer);
    if (progress === undefined || progress.state !== 'snapshot') return;
    progress.becomeProbe(progress.next);
    progress.paused = true;
  }

  /** May the host install this snapshot? `install`: yes; nothing is appended until restoredSnapshot or snapshotAborted. `have`:
   * this replica has all of it; the log must stay, because it may hold acknowledged entries above. `busy`: another one is
   * being installed. Ask between passes: what was appended must be in the WAL. */
  acceptSnapshot(meta: SnapshotMeta): 'install' | 'have' | 'busy' {
    const s = this.state;
    if (s.installing) return 'busy';
    if (s.lead !== undefined || meta.index <= s.commit) return 'have';
    if (s.log.termOf(meta.index) === meta.term) {
      s.setCommit(meta.index);
      return 'have';
    }
    if (s.role !== 'follower') becomeFollower(s, s.term, 0);
    s.installing = true;
    return 'install';
  }

  snapshotAborted(): void {
    this.state.installing = false;
  }

  /** The snapshot took the log's place, durably. */
  restoredSnapshot(meta: SnapshotMeta): void {
    const s = this.state;
    assert(meta.index > s.commit, `snapshot at ${meta.index}, at or below the commit index ${s.commit}`);
    assert(s.log.termOf(meta.index) !== meta.term, `snapshot at ${meta.index} replaces a log that holds it`);
    s.installing = false;
    s.out.append = NOTHING;
    becomeFollower(s, Math.max(s.term, meta.term), meta.term > s.term ? 0 : s.leader);
    s.log.reset(meta.index, meta.term);
    s.members.reset(meta.index, meta.membership);
    s.stable = meta.index;
    s.commit = meta.index;
    if (s.leader !== 0 && s.lead === undefined) {
      s.sendDurable(s.leader, { type: 'append-reply', ok: true, index: meta.index, hintTerm: 0, round: 0 });
    }
  }

  /** A snapshot at `firstIndex - 1` was saved, and the WAL no longer serves entries below `firstIndex` for replication. A snapshot is
   * of committed state, also one that a peer gave for an entry that this log holds. */
  compacted(firstIndex: Index): void {
    const s = this.state;
    if (firstIndex - 1 > s.commit) s.setCommit(firstIndex - 1);
    s.log.compactTo(firstIndex - 1);
    s.members.compactTo(firstIndex - 1);
  }

  // ---- what is to be done

  hasReady(): boolean {
    const s = this.state;
    const { out } = s;
    if (s.flushDue || s.hardStateChanged || s.commit > s.reportedCommit) return true;
    if (out.append.length > 0 || out.send.length > 0 || out.sendDurable.length > 0 || out.reads.length > 0) return true;
    if (out.snapshotTo.length > 0) return true;
    if (s.lead !== undefined) return reads.hasNewReads(s);
    return s.readQueue.length > 0;
  }

  takeReady(): Ready {
    const s = this.state;
    if (s.lead !== undefined) {
      if (reads.beginRound(s)) {
        replication.broadcastHeartbeat(s, false);
        reads.settleRounds(s);
      }
      if (s.flushDue) replication.flushAppends(s);
    } else {
      s.flushDue = false;
      reads.forwardReads(s);
    }
    const hardState = s.hardStateChanged ? { term: s.term, vote: s.vote } : undefined;
    s.hardStateChanged = false;
    s.reportedCommit = s.commit;
    const { out, commit } = s;
    const { append, send, sendDurable, reads: answered, snapshotTo } = out;
    out.append = out.send = out.sendDurable = out.reads = out.snapshotTo = NOTHING;
    return { hardState, append, send, sendDurable, commit, reads: answered, snapshotTo };
  }
}

function dispatch<T extends RaftMessage['type']>(s: RaftState, m: replication.MessageOf<T>): void {
  const handler = handlers[s.role][m.type as T] as Handler<T>;
  handler(s, m);
}

function restoredMemberships(options: RaftOptions, base: Index): MembershipChange[] {
  const { membership, membershipIndex, snapshot } = options;
  if (membershipIndex === undefined || membershipIndex <= base) return [{ index: base, membership }];
  const previous = options.previousMembership ?? snapshot?.membership;
  assert(previous !== undefined, `the membership before the one at ${membershipIndex} is unknown`);
  return [
    { index: base, membership: previous },
    { index: membershipIndex, membership },
  ];
}
