// A voter that cannot be sure what it voted, or what it acknowledged last, finds its way back without an operator. Owned by the host. Two
// facts end the doubt. Its forgotten vote was asked for by a member whose own term was durable before it asked: so when ALL other voters
// have told their terms, no vote of this node is above the highest of them, and it goes to a term above that. (One that is in doubt itself
// may have forgotten its candidacy, but that ended with its earlier life, unless it had won: then one of a majority without doubts knows the
// term. So a majority must be free of doubt.) Its forgotten acknowledgements are in the log of any leader elected without its vote: so when
// such a leader of the new term has confirmed a read barrier and this node has applied that far, its log holds them again. Who the voters
// are may be forgotten too: those of the log by then must all have been asked. Invariant: until these are durable facts it does not vote.
import { majorityOf } from '../core/membership.ts';
import type { GroupId, PeerId, RaftMessage, Term } from '../core/types.ts';
import type { Rpc, RpcReply } from '../rpc/types.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';

const METHOD = 'host.term';
const TIMEOUT_MS = 2_000;

interface Owner extends RunnerOwner {
  readonly self: PeerId;
  group(id: GroupId): GroupRunner | undefined;
  reviewVote(runner: GroupRunner): void;
  send(group: GroupId, message: RaftMessage): void;
}

/** `asking`: terms are being collected. `catching-up`: it waits for a barrier of a leader at `term` or above. */
type Progress = { state: 'asking' } | CatchingUp;

interface CatchingUp {
  state: 'catching-up';
  term: Term;
  waiting: boolean;
  asked: PeerId[];
}

/** Its first letter says that the answering node is in doubt of its own. */
const ANSWER = /^(\??)(\d{1,16})$/;

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
      const term = runner === undefined ? '' : String(runner.raft.term);
      const inDoubt = runner?.voteUnsafe || runner?.termsUnknown;
      reply(Buffer.from(inDoubt ? `?${term}` : term, 'latin1'));
    });
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

  private ask(runner: GroupRunner): void {
    const { raft } = runner;
    const { voters } = raft.membership;
    const others = voters.filter((peer) => peer !== this.owner.self);
    // Not a word is left of who the members are: whoever leads will tell.
    if (voters.length === 0) return;
    if (others.length === 0) {
      // There is nobody else who could know better: its one disk is all that was promised.
      this.owner.env.log.error(
        `group ${runner.id}: its last entries or its last vote may be lost, and there is no other replica`,
      );
      this.settle(runner);
      return;
    }
    const asking: Progress = { state: 'asking' };
    this.progress.set(runner, asking);
    let left = others.length;
    let highest = raft.term;
    let answers = 0;
    let free = 0;
    const answer = (reply: RpcReply) => {
      const [, doubt, term] = (reply.ok && ANSWER.exec(Buffer.from(reply.bytes).toString('latin1'))) || [];
      if (term !== undefined) {
        answers++;
        if (doubt === '') free++;
        highest = Math.max(highest, Number(term));
      }
      if (--left > 0 || runner.closed || this.progress.get(runner) !== asking) return;
      if (answers === others.length && free >= majorityOf(voters)) this.rise(runner, others, highest + 1);
      else this.progress.delete(runner);
    };
    const request = Buffer.from(String(runner.id), 'latin1');
    for (const peer of others) this.rpc.request(peer, METHOD, request, TIMEOUT_MS, answer);
  }

  /** To the core it looks like news of a later term. */
  private rise(runner: GroupRunner, asked: PeerId[], term: Term): void {
    const { env, self } = this.owner;
    runner.raft.step(news(asked[0], self, term), env.clock.nowMs());
    this.progress.set(runner, { state: 'catching-up', term, waiting: false, asked });
    this.owner.dirty(runner);
  }

  private catchUp(runner: GroupRunner, progress: CatchingUp): void {
    const { leader, term } = runner.raft;
    if (leader === 0 || leader === this.owner.self || term < progress.term) {
      // The others may sleep under a leader of an earlier term, who owes them nothing.
      const to = progress.asked.filter((peer) => peer !== this.owner.self);
      for (const peer of to) this.owner.send(runner.id, news(this.owner.self, peer, term));
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
