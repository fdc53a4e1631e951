// Everything that one replica of one group knows, and the few primitives that all rules share: sending, terms, time. Changed
// only by the rules in election.ts, replication.ts, reads.ts, leadership.ts on behalf of raft.ts. Invariants: the term never falls;
// `vote` is cleared by a rise of the term and by nothing else; commit <= log.lastIndex; `lead` exists exactly on a leader.
import { assert } from './assert.ts';
import { type Common, NOBODY } from './common.ts';
import { type Limits, LONG_AGO_MS } from './limits.ts';
import type { LogTerms } from './log-terms.ts';
import type { MembershipLog } from './membership.ts';
import type { Progress } from './progress.ts';
import type { Marks } from './proof.ts';
import type { GroupId, HardState, Index, LogEntry, PeerId, RaftMessage, Role, Term } from './types.ts';

/** Reads of one turn that one round of heartbeats will confirm. */
export interface ReadRound {
  round: number;
  index: Index;
  contexts: number[];
  asks: { from: PeerId; context: number }[];
}

/** What only a leader has. Made when it is elected, dropped when it steps down. */
export interface Leadership {
  // What every entry looks at stands first.
  /** Of every other member. A list: it is gone through at each message, and has a handful of items at most. */
  progress: Progress[];
  /** A lone voter elects itself before its vote is durable; it says nothing to anyone until it is. */
  muted: boolean;
  /** Woken by an event without a time: the next tick starts the clocks again. */
  waking: boolean;
  round: number;
  /** When the latest mark of `marks` was made. */
  markedMs: number;
  /** Index of this term's no-op: nothing is served before it is committed. */
  termStart: Index;
  transfer: { to: PeerId; untilMs: number; sent: boolean } | undefined;
  readRounds: ReadRound[];
  /** Reads of followers that wait for the next round. */
  asks: { from: PeerId; context: number }[];
  heartbeatDueMs: number;

  /** When the log last grew, as seen by the heartbeat. */
  activeMs: number;
  activeIndex: Index;
  marks: Marks;
}

/** Reads that a follower has sent to its leader under one context of its own. */
export interface ForwardedReads {
  context: number;
  contexts: number[];
  untilMs: number;
}

/** Effects gathered for the next Ready. */
export interface Outbox {
  append: LogEntry[];
  send: RaftMessage[];
  sendDurable: RaftMessage[];
  reads: { context: number; ok: boolean; index: Index }[];
  snapshotTo: PeerId[];
}

/** What most lists are most of the time. Shared, so never added to: `added` makes a list of its own. */
export const NOTHING: never[] = [];

function emptyOutbox(): Outbox {
  return { append: NOTHING, send: NOTHING, sendDurable: NOTHING, reads: NOTHING, snapshotTo: NOTHING };
}

/** The list with one item more. Of one or two items it is as long as needed: pushing would make room for many, at every entry. */
export function added<T>(list: T[], item: T): T[] {
  if (list.length === 0) return [item];
  if (list.length === 1) return [list[0], item];
  list.push(item);
  return list;
}

/** The list with one item less. */
export function without<T>(list: T[], at: number): T[] {
  return list.length === 1 ? NOTHING : list.toSpliced(at, 1);
}

type Body<M> = M extends unknown ? Omit<M, 'from' | 'to' | 'term'> & { term?: Term } : never;
/** A message without its address; its term is the sender's unless it says otherwise. */
export type MessageBody = Body<RaftMessage>;

export interface StateOptions {
  common: Common;
  group: GroupId;
  random: () => number;
  nowMs: number;
  hardState: HardState;
  log: LogTerms;
  members: MembershipLog;
  mayVote: boolean;
  preferred: boolean;
}

export class RaftState {
  // What nearly every message looks at stands first, and so side by side in memory. All times are whole milliseconds, rounded down.
  term: Term;
  role: Role = 'follower';
  /** Rises with each change of the term, the role or the leader. */
  reigns = 0;
  commit: Index;
  reportedCommit: Index;
  lead: Leadership | undefined;
  out: Outbox = emptyOutbox();
  /** Followers may be owed appends. */
  flushDue = false;
  hardStateChanged = false;
  nowMs: number;
  readonly log: LogTerms;
  readonly members: MembershipLog;
  readonly common: Common;
  /** The WAL holds the log up to here. */
  stable: Index;
  quiesced = false;
  /** Contexts of this turn's reads here. */
  readQueue: number[] = NOTHING;
  private leading = NOBODY;
  /** The host is about to replace the log by a snapshot: nothing is appended meanwhile. */
  installing = false;
  mayVote: boolean;
  /** Since when a vote, or a candidate's requests, have waited for the disk: the time in which a leader must be heard has not begun. */
  promisedMs: number | undefined;
  electionDueMs = 0;
  electionTimeoutMs = 0;
  heardLeaderMs = LONG_AGO_MS;
  /** The stalls of this node's loop for which the present deadline was put off. */
  stalledMs = 0;
  forwarded: ForwardedReads[] = NOTHING;

  readonly group: GroupId;
  readonly random: () => number;
  readonly preferred: boolean;
  vote: PeerId;
  /** Voters that said yes to this candidate or pre-candidate. */
  votes: Set<PeerId> | undefined;
  /** When the first read was asked that waits for a round. */
  readsSinceMs = 0;
  /** Begins at random, so that an answer to an earlier life of this process fits nothing. */
  forwardContext: number;

  constructor(options: StateOptions) {
    this.common = options.common;
    this.group = options.group;
    this.random = options.random;
    this.log = options.log;
    this.members = options.members;
    this.preferred = options.preferred;
    this.term = options.hardState.term;
    this.vote = options.hardState.vote;
    this.commit = options.log.baseIndex;
    this.reportedCommit = this.commit;
    this.stable = options.log.lastIndex;
    this.mayVote = options.mayVote;
    this.nowMs = Math.floor(options.nowMs);
    if (this.term < this.log.lastTerm) {
      // A snapshot brought a later term and the crash came before the hard state followed. No vote was given in it: a vote leaves
      // only after its hard state.
      this.raiseTerm(this.log.lastTerm, 0);
    }
    this.forwardContext = Math.floor(options.random() * 2 ** 31);
    this.drawElectionTimeout();
  }

  get id(): PeerId {
    return this.common.self.id;
  }

  get limits(): Limits {
    return this.common.limits;
  }

  /** 0: nobody that is known. */
  get leader(): PeerId {
    return this.leading.id;
  }

  rule(role: Role, leader: PeerId): void {
    this.role = role;
    this.leading = this.common.member(leader);
    this.reigns++;
  }

  /** Time does not go back. */
  setNow(nowMs: number): void {
    const ms = Math.floor(nowMs);
    if (ms > this.nowMs) this.nowMs = ms;
  }

  /** May this node stand for election? A removed voter too, until its removal is committed: it may be the only one with all
   * of the log (thesis §4.2.2). It does not count itself then. */
  get electable(): boolean {
    if (!this.mayVote || this.installing) return false;
    const { members } = this;
    if (members.selfVotes) return true;
    return members.latestIndex > this.commit && members.previous.voters.includes(this.id);
  }

  /** Is this node all there is to ask? */
  get lone(): boolean {
    const { voters } = this.members.latest;
    return voters.length === 1 && voters[0] === this.id;
  }

  get quorum(): number {
    return this.members.quorum;
  }

  send(to: PeerId, body: MessageBody): void {
    this.post({ from: this.id, to, term: this.term, ...body } as RaftMessage);
  }

  sendDurable(to: PeerId, body: MessageBody): void {
    this.postDurable({ from: this.id, to, term: this.term, ...body } as RaftMessage);
  }

  /** A message that was made in one piece, as those are that come with every entry. */
  post(message: RaftMessage): void {
    this.out.send = added(this.out.send, message);
  }

  postDurable(message: RaftMessage): void {
    this.out.sendDurable = added(this.out.sendDurable, message);
  }

  /** On a leader: what it knows of that member. */
  progressOf(peer: PeerId): Progress | undefined {
    const progress = this.lead?.progress;
    if (progress === undefined) return undefined;
    for (let i = 0; i < progress.length; i++) if (progress[i].peer === peer) return progress[i];
    return undefined;
  }

  /** A rise of the term is the only thing that frees the vote. */
  raiseTerm(term: Term, vote: PeerId): void {
    assert(term > this.term, `term ${term} after ${this.term}`);
    this.term = term;
    this.vote = vote;
    this.reigns++;
    this.hardStateChanged = true;
  }

  setCommit(index: Index): void {
    const { lastIndex } = this.log;
    if (index > lastIndex) assert(false, `commit ${index} beyond the log's end ${lastIndex}`);
    if (index > this.commit) this.commit = index;
  }

  /** A new random timeout from now. The preferred leader's is short; a group that never had a leader hurries (a stream is being created,
   * its preferred leader waits no longer than the others may need to open it); a lone voter need not wait. */
  drawElectionTimeout(): void {
    this.electionTimeoutMs = this.lone ? 0 : Math.ceil(this.patience(this.random()));
    this.restartElectionTimer();
  }

  private patience(chance: number): number {
    const { electionMinMs, electionMaxMs, heartbeatMs } = this.limits;
    if (this.term === 0) {
      const first = this.role === 'follower' ? heartbeatMs / 15 : heartbeatMs / 3;
      return this.preferred ? chance * first : heartbeatMs * (1 + 2 * chance);
    }
    const span = electionMaxMs - electionMinMs;
    return this.preferred ? electionMinMs + (chance * span) / 4 : electionMinMs + span * (0.2 + 0.8 * chance);
  }

  get promising(): boolean {
    return this.promisedMs !== undefined;
  }

  /** What had to be durable is, and has left. The others' disks are given as much time as the own one took. */
  promiseLeft(): void {
    const tookMs = this.nowMs - (this.promisedMs ?? this.nowMs);
    this.promisedMs = undefined;
    this.restartElectionTimer();
    this.standAt(this.electionDueMs + Math.min(tookMs, this.limits.electionMaxMs));
  }

  restartElectionTimer(): void {
    this.stalledMs = 0;
    this.standAt(this.nowMs + this.electionTimeoutMs);
  }

  /** Whole like `nowMs`: what is due a part of a millisecond later would be looked at over and over until then. */
  standAt(dueMs: number): void {
    this.electionDueMs = Math.ceil(dueMs);
  }

  /** The current leader has just spoken. */
  heardLeader(): void {
    this.heardLeaderMs = this.nowMs;
    this.restartElectionTimer();
  }

  /** Leader stickiness (thesis §4.2.3): is there a leader that works, so that others' candidacies are not our business? */
  get sticky(): boolean {
    if (this.leader === 0) return false;
    if (this.lead !== undefined || this.quiesced) return true;
    return this.nowMs - this.heardLeaderMs < this.limits.electionMinMs;
  }
}
