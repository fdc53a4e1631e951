// A voter that cannot be sure what it voted, or what it acknowledged last, finds its way back without an operator. Owned by the host. Two
// facts end the doubt. Its forgotten vote was asked for by a member whose own term was durable before it asked: so when ALL other voters
// have told their terms, no vote of this node is above the highest of them, and it goes to a term above that. Its forgotten
// acknowledgements are in the log of any leader elected without its vote: so when such a leader of the new term has confirmed a read
// barrier and this node has applied that far, its log holds them again. Invariant: until both are durable facts it does not vote.
import type { GroupId, PeerId, Term } from '../core/types.ts';
import type { Rpc, RpcReply } from '../rpc/types.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';

const METHOD = 'host.term';
const TIMEOUT_MS = 2_000;

interface Owner extends RunnerOwner {
  readonly self: PeerId;
  group(id: GroupId): GroupRunner | undefined;
  reviewVote(runner: GroupRunner): void;
}

/** `asking`: terms are being collected. `catching-up`: it waits for a barrier of a leader at `term` or above. */
type Progress = { state: 'asking' } | { state: 'catching-up'; term: Term; waiting: boolean };

export class Doubt {
  private readonly owner: Owner;
  private readonly rpc: Rpc;
  private readonly progress = new WeakMap<GroupRunner, Progress>();

  constructor(owner: Owner, rpc: Rpc) {
    this.owner = owner;
    this.rpc = rpc;
    rpc.handle(METHOD, (_from, bytes, reply) => {
      const runner = owner.group(Number(Buffer.from(bytes).toString('latin1')));
      // A node in doubt of its own cannot vouch; neither can one that has no part in the group.
      const term = runner === undefined || runner.voteUnsafe || runner.termsUnknown ? '' : String(runner.raft.term);
      reply(Buffer.from(term, 'latin1'));
    });
  }

  /** Called about once a second for a group in doubt. */
  advance(runner: GroupRunner): void {
    if (runner.termsUnknown || runner.stateMissing) return;
    const progress = this.progress.get(runner);
    if (progress === undefined) this.ask(runner);
    else if (progress.state === 'catching-up' && !progress.waiting) this.catchUp(runner, progress);
  }

  private ask(runner: GroupRunner): void {
    const { raft } = runner;
    const others = raft.membership.voters.filter((peer) => peer !== this.owner.self);
    if (others.length === 0) {
      // There is nobody else who could know better: its one disk is all that was promised.
      this.owner.env.log.error(
        `group ${runner.id}: its last entries or its last vote may be lost, and there is no other replica`,
      );
      this.settle(runner);
      return;
    }
    this.progress.set(runner, { state: 'asking' });
    let left = others.length;
    let highest = raft.term;
    let sure = true;
    const answer = (reply: RpcReply) => {
      const text = reply.ok ? Buffer.from(reply.bytes).toString('latin1') : '';
      if (/^\d{1,16}$/.test(text)) highest = Math.max(highest, Number(text));
      else sure = false;
      if (--left > 0 || runner.closed) return;
      if (sure) this.rise(runner, others[0], highest + 1);
      else this.progress.delete(runner);
    };
    const request = Buffer.from(String(runner.id), 'latin1');
    for (const peer of others) this.rpc.request(peer, METHOD, request, TIMEOUT_MS, answer);
  }

  /** To the core it looks like news of a later term. */
  private rise(runner: GroupRunner, from: PeerId, term: Term): void {
    const { env, self } = this.owner;
    runner.raft.step({ type: 'heartbeat-reply', from, to: self, term, round: 0 }, env.clock.nowMs());
    this.progress.set(runner, { state: 'catching-up', term, waiting: false });
    this.owner.dirty(runner);
  }

  private catchUp(runner: GroupRunner, progress: { term: Term; waiting: boolean }): void {
    const { leader, term } = runner.raft;
    if (leader === 0 || leader === this.owner.self || term < progress.term) return;
    progress.waiting = true;
    runner.readBarrier((ok) => {
      progress.waiting = false;
      if (!ok || runner.closed) return;
      // What was applied may still be on its way to the disk.
      this.owner.wal.flush(() => {
        if (!runner.closed && runner.voteUnsafe) this.settle(runner);
      });
    });
  }

  private settle(runner: GroupRunner): void {
    const { env, wal } = this.owner;
    wal.clearDoubt(runner.id);
    env.log.info(`group ${runner.id}: this node votes again`);
    wal.flush(() => {
      runner.voteUnsafe = false;
      this.progress.delete(runner);
      if (!runner.closed) this.owner.reviewVote(runner);
    });
  }
}
