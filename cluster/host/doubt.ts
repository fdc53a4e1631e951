// A voter that cannot be sure what it voted, or what it acknowledged last, finds its way back without an operator. Owned by the host. Until
// its term is above every vote that it may have forgotten (`hasRisen`) the host lets it hear nothing, for an answer to the leader of an
// earlier term would break such a vote. Two facts end the doubt. Its forgotten vote was asked for by a member whose own term was durable
// before it asked: so when ALL other voters have told their terms, no vote of this node is above the highest of them, and it goes to a term
// above that. (One that is in doubt itself may have forgotten its candidacy, but that ended with its earlier life, unless it had won: then
// a majority knew the term. So every majority must have one free of doubt.) Its forgotten acknowledgements are in the log of any
// leader elected without its vote: so when such a leader of the new term has confirmed a read barrier and this node has applied that far, its
// log holds them again. Who the voters are may be forgotten too: whoever answers tells, and those of the log at the end must all have
// been asked. Invariant: until these are durable facts it does not vote.
import { majorityOf } from '../core/membership.ts';
import type { GroupId, Index, Membership, PeerId, RaftMessage, Term } from '../core/types.ts';
import type { Rpc, RpcReply, Transport } from '../rpc/types.ts';
import type { CoreView, GroupRunner, RunnerOwner } from './group-runner.ts';

const METHOD = 'host.term';
const TIMEOUT_MS = 2_000;
const NOBODY: PeerId = 0;
/** What makes a majority of somebody, or might. */
const PROMISES: ReadonlySet<RaftMessage['type']> = new Set([
  'append-reply',
  'heartbeat-reply',
  'pre-vote',
  'pre-vote-reply',
  'vote',
  'vote-reply',
] as const);

interface Owner extends RunnerOwner {
  readonly self: PeerId;
  readonly transport: Transport;
  group(id: GroupId): GroupRunner | undefined;
  isVouchedFor(runner: GroupRunner): boolean;
  reviewVote(runner: GroupRunner): void;
  send(group: GroupId, message: RaftMessage): void;
}

/** `asking`: terms are being collected. `catching-up`: it waits for a barrier of a leader at `term` or above; if nobody
 * was asked (or only one who votes with it or not at all), for its own term to be on its way to the disk. */
type Progress = { state: 'asking' } | CatchingUp;

interface CatchingUp {
  state: 'catching-up';
  term: Term;
  waiting: boolean;
  asked: PeerId[];
}

/** What a node says of a group: its term, what it knows to be committed and the members by then, the latest change of membership in its
 * log and the members since; `voters/learners`. A first letter `?`: it is in doubt itself, or nobody has vouched for it yet. */
const ANSWER = /^(\??)(\d{1,16}) (\d{1,16}):([\d,]*)\/([\d,]*) (\d{1,16}):([\d,]*)\/([\d,]*)$/;

interface Answer {
  isFree: boolean;
  term: Term;
  commit: Index;
  committed: Membership;
  latestIndex: Index;
  latest: Membership;
}

function encodeAnswer(raft: CoreView, isFree: boolean): string {
  const { term, commit, membership, membershipIndex } = raft;
  const committed = raft.membershipAt(commit);
  return `${isFree ? '' : '?'}${term} ${commit}:${textOf(committed)} ${membershipIndex}:${textOf(membership)}`;
}

function textOf({ voters, learners }: Membership): string {
  return `${voters}/${learners}`;
}

function decodeAnswer(bytes: Uint8Array): Answer | undefined {
  const found = ANSWER.exec(Buffer.from(bytes).toString('latin1'));
  if (found === null) return undefined;
  const [, doubt, term, commit, voters, learners, latestIndex, latestVoters, latestLearners] = found;
  return {
    isFree: doubt === '',
    term: Number(term),
    commit: Number(commit),
    committed: { voters: peersOf(voters), learners: peersOf(learners) },
    latestIndex: Number(latestIndex),
    latest: { voters: peersOf(latestVoters), learners: peersOf(latestLearners) },
  };
}

function peersOf(text: string): PeerId[] {
  return text === '' ? [] : text.split(',').map(Number);
}

/** The memberships that may be in force: the one at the highest commit index known, and every later change, committed or not. */
function inForce(raft: CoreView, answers: Iterable<Answer>): Membership[] {
  const { membership, membershipIndex } = raft;
  let commit = -1;
  let committed: Membership = { voters: [], learners: [] };
  for (const answer of answers) {
    if (answer.commit <= commit) continue;
    commit = answer.commit;
    committed = answer.committed;
  }
  const sets = [committed];
  if (membershipIndex > commit) sets.push(membership);
  for (const answer of answers) if (answer.latestIndex > commit) sets.push(answer.latest);
  return sets.filter(({ voters }) => voters.length > 0);
}

/** Two voters, this node one of them, whatever happened to the membership: nothing was committed that the other one does not have, and without
 * its vote for a log as good as its own nobody leads. */
function isPair(sets: readonly Membership[], self: PeerId): boolean {
  const voters = new Set(sets.flatMap((set) => set.voters));
  return voters.size === 2 && voters.has(self) && sets.every((set) => set.voters.length === 2);
}

/** To a core: there is a term, and nothing else. */
function news(from: PeerId, to: PeerId, term: Term): RaftMessage {
  return { type: 'heartbeat-reply', from, to, term, round: 0 };
}

export class Doubt {
  private readonly owner: Owner;
  private readonly rpc: Rpc;
  private readonly progress = new WeakMap<GroupRunner, Progress>();

  constructor(owner: Owner, rpc: Rpc) {
    this.owner = owner;
    this.rpc = rpc;
    rpc.handle(METHOD, (_from, bytes, reply) => {
      const runner = owner.group(Number(Buffer.from(bytes).toString('latin1')));
      // One that has no part in the group cannot tell.
      reply(Buffer.from(runner === undefined ? '' : encodeAnswer(runner.raft, this.isFree(runner)), 'latin1'));
    });
  }

  /** Is its term above all that it may have voted in? What it answers from now on contradicts nothing that it forgot. */
  hasRisen(runner: GroupRunner): boolean {
    return this.progress.get(runner)?.state === 'catching-up';
  }

  /** A promise of the time before the doubt that has not left yet: it may contradict what was forgotten. */
  isVoid(runner: GroupRunner, message: RaftMessage): boolean {
    return PROMISES.has(message.type) && (!this.hasRisen(runner) || message.term < runner.raft.term);
  }

  private isFree(runner: GroupRunner): boolean {
    return !runner.voteUnsafe && !runner.termsUnknown && this.owner.isVouchedFor(runner);
  }

  /** Called about once a second for a group in doubt. */
  advance(runner: GroupRunner): void {
    if (runner.termsUnknown || runner.stateMissing) return;
    const progress = this.progress.get(runner);
    if (progress === undefined) this.ask(runner);
    else if (progress.state === 'catching-up' && !progress.waiting) this.catchUp(runner, progress);
  }

  /** There is a new reason: what was learned so far counts no more. */
  restart(runner: GroupRunner): void {
    this.progress.delete(runner);
  }

  /** Everybody in reach, for the voters that its log names may have been replaced long ago. */
  private ask(runner: GroupRunner): void {
    const { self, transport } = this.owner;
    const { voters, learners } = runner.raft.membership;
    const known = [...voters, ...learners, ...transport.peers().map((peer) => peer.id)];
    const others = [...new Set(known)].filter((peer) => peer !== self);
    const asking: Progress = { state: 'asking' };
    this.progress.set(runner, asking);
    const answers = new Map<PeerId, Answer>();
    let left = others.length;
    if (left === 0) this.conclude(runner, answers);
    const request = Buffer.from(String(runner.id), 'latin1');
    for (const peer of others)
      this.rpc.request(peer, METHOD, request, TIMEOUT_MS, (reply: RpcReply) => {
        const answer = reply.ok ? decodeAnswer(reply.bytes) : undefined;
        if (answer !== undefined) answers.set(peer, answer);
        if (--left > 0 || runner.closed || this.progress.get(runner) !== asking) return;
        this.conclude(runner, answers);
      });
  }

  private conclude(runner: GroupRunner, answers: ReadonlyMap<PeerId, Answer>): void {
    const { self, env } = this.owner;
    const sets = inForce(runner.raft, [...answers.values()]);
    const term = 1 + [...answers.values()].reduce((most, { term }) => Math.max(most, term), runner.raft.term);
    if (sets.length > 0 && sets.every(({ voters }) => voters.every((peer) => peer === self))) {
      // There is nobody else who could know better: its one disk is all that was promised.
      env.log.error(`group ${runner.id}: its last entries or its last vote may be lost, and there is no other replica`);
      this.rise(runner, [], term);
      return;
    }
    const isFree = (peer: PeerId) => answers.get(peer)?.isFree === true;
    const enoughFree = sets.every(({ voters }) => voters.filter(isFree).length > voters.length - majorityOf(voters));
    // Learners too: this node may have led, and made a voter of one by an entry that nobody else has.
    const members = sets.flatMap(({ voters, learners }) => [...voters, ...learners]);
    const asked = [...new Set(members)].filter((peer) => peer !== self);
    const mayRise = sets.length > 0 && enoughFree && asked.every((peer) => answers.has(peer));
    if (!mayRise) this.progress.delete(runner);
    else this.rise(runner, isPair([...sets, runner.raft.membership], self) ? [] : asked, term);
  }

  /** To the core it looks like news of a later term. */
  private rise(runner: GroupRunner, asked: PeerId[], term: Term): void {
    const { env, self } = this.owner;
    const nowMs = env.clock.nowMs();
    if (runner.holdsNews) env.crashPoint('host:rises-with-held-news');
    runner.core(nowMs).step(news(NOBODY, self, term), nowMs);
    this.progress.set(runner, { state: 'catching-up', term, waiting: false, asked });
    this.owner.dirty(runner);
  }

  private catchUp(runner: GroupRunner, progress: CatchingUp): void {
    const { leader, term } = runner.raft;
    if (progress.asked.length === 0) {
      this.settle(runner);
      return;
    }
    if (leader === 0 || leader === this.owner.self || term < progress.term) {
      // The others may sleep under a leader of an earlier term, who owes them nothing.
      for (const peer of progress.asked) this.owner.send(runner.id, news(this.owner.self, peer, term));
      return;
    }
    progress.waiting = true;
    runner.readBarrier((ok) => {
      progress.waiting = false;
      if (!ok || runner.closed || this.progress.get(runner) !== progress) return;
      if (runner.raft.membership.voters.some((peer) => peer !== this.owner.self && !progress.asked.includes(peer))) {
        this.progress.delete(runner);
        return;
      }
      // What was applied may still be on its way to the disk.
      this.owner.wal.flush(() => {
        if (!runner.closed && this.progress.get(runner) === progress) this.settle(runner);
      });
    });
  }

  private settle(runner: GroupRunner): void {
    const { env, wal } = this.owner;
    wal.clearDoubt(runner.id);
    env.log.info(`group ${runner.id}: this node votes again`);
    const settled = this.progress.get(runner);
    wal.flush(() => {
      if (runner.closed || this.progress.get(runner) !== settled) return;
      runner.voteUnsafe = false;
      this.progress.delete(runner);
      this.owner.reviewVote(runner);
    });
  }
}
