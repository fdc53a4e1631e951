// Everything that one replica of one group knows, and the few primitives that all rules share: sending, terms, time. Changed
// only by the rules in election.ts, replication.ts, reads.ts, leadership.ts on behalf of raft.ts. Invariants: the term never falls;
// `vote` is cleared by a rise of the term and by nothing else; commit <= log.lastIndex; `lead` exists exactly on a leader.
import { assert } from './assert.ts';
import type { Limits } from './limits.ts';
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
  /** Of every other member. A list: it is gone through at each message, and has a handful of items at most. */
  progress: Progress[];
  /** Index of this term's no-op: nothing is served before it is committed. */
  termStart: Index;
  /** A lone voter elects itself before its vote is durable; it says nothing to anyone until it is. */
  muted: boolean;
  heartbeatDueMs: number;
  /** When the log last grew, as seen by the heartbeat. */
  activeMs: number;
  activeIndex: Index;
  /** Woken by an event without a time: the next tick starts the clocks again. */
  waking: boolean;
  transfer: { to: PeerId; untilMs: number; sent: boolean } | undefined;
  round: number;
  marks: Marks;
  readRounds: ReadRound[];
  /** Reads of followers that wait for the next round. */
  asks: { from: PeerId; context: number }[];
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

/** What most parts of most Readys are. Shared, so never added to: `added` makes a list of its own. */
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

type Body<M> = M extends unknown ? Omit<M, 'from' | 'to' | 'term'> & { term?: Term } : never;
/** A message without its address; its term is the sender's unless it says otherwise. */
export type MessageBody = Body<RaftMessage>;

export interface StateOptions {
  id: PeerId;
  group: GroupId;
  limits: Limits;
  random: () => number;
  nowMs: number;
  hardState: HardState;
  log: LogTerms;
  members: MembershipLog;
  mayVote: boolean;
  preferred: boolean;
}

export class RaftState {
  // What nearly every message looks at stands first, and so side by side in memory.
  readonly id: PeerId;
  readonly limits: Limits;
  readonly log: LogTerms;
  readonly members: MembershipLog;
  term: Term;
  role: Role = 'follower';
  leader: PeerId = 0;
  commit: Index;
  reportedCommit: Index;
  /** The WAL holds the log up to here. */
  stable: Index;
  nowMs: number;
  lead: Leadership | undefined;
  out: Outbox = emptyOutbox();
  hardStateChanged = false;
  /** Followers may be owed appends. */
  flushDue = false;
  quiesced = false;
  /** The host is about to replace the log by a snapshot: nothing is appended meanwhile. */
  installing = false;
  mayVote: boolean;
  electionDueMs = 0;
  electionTimeoutMs = 0;
  heardLeaderMs = -Infinity;
  /** The stalls of this node's loop for which the present deadline was put off. */
  stalledMs = 0;
  /** Since when a vote, or a candidate's requests, have waited for the disk: the time in which a leader must be heard has not begun. */
  promisedMs: number | undefined;
  /** Contexts of this turn's reads here. */
  readQueue: number[] = [];

  readonly group: GroupId;
  readonly random: () => number;
  readonly preferred: boolean;
  vote: PeerId;
  /** Voters that said yes to this candidate or pre-candidate. */
  votes: Set<PeerId> | undefined;
  /** When the first read was asked that waits for a round. */
  readsSinceMs = 0;
  forwarded: ForwardedReads[] = [];
  /** Begins at random, so that an answer to an earlier life of this process fits nothing. */
  forwardContext: number;

  constructor(options: StateOptions) {
    this.id = options.id;
    this.group = options.group;
    this.limits = options.limits;
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
    this.nowMs = options.nowMs;
    if (this.term < this.log.lastTerm) {
      // A snapshot brought a later term and the crash came before the hard state followed. No vote was given in it: a vote leaves
      // only after its hard state.
      this.raiseTerm(this.log.lastTerm, 0);
    }
    this.forwardContext = Math.floor(options.random() * 2 ** 31);
    this.drawElectionTimeout();
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
    const { electionMinMs, electionMaxMs, heartbeatMs } = this.limits;
    const chance = this.random();
    if (this.lone) this.electionTimeoutMs = 0;
    else if (this.term === 0) {
      const first = this.role === 'follower' ? heartbeatMs / 15 : heartbeatMs / 3;
      this.electionTimeoutMs = this.preferred ? chance * first : heartbeatMs * (1 + 2 * chance);
    } else {
      const span = electionMaxMs - electionMinMs;
      this.electionTimeoutMs = this.preferred
        ? electionMinMs + (chance * span) / 4
        : electionMinMs + span * (0.2 + 0.8 * chance);
    }
    this.restartElectionTimer();
  }

  get promising(): boolean {
    return this.promisedMs !== undefined;
  }

  /** What had to be durable is, and has left. The others' disks are given as much time as the own one took. */
  promiseLeft(): void {
    const tookMs = this.nowMs - (this.promisedMs ?? this.nowMs);
    this.promisedMs = undefined;
    this.restartElectionTimer();
    this.electionDueMs += Math.min(tookMs, this.limits.electionMaxMs);
  }

  restartElectionTimer(): void {
    this.stalledMs = 0;
    this.electionDueMs = this.nowMs + this.electionTimeoutMs;
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
