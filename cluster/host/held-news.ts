// What a core will want to know, and need not know yet: acknowledgements that cannot commit anything, syncs that nobody waits for. With a thousand
// groups every visit to a core is a walk through cold memory, so such news waits beside the group, in its runner, until something is to be done
// there anyway, or until it may commit something: one visit per entry instead of three on a leader. To a core it is as if the word had come a
// little later. Owned by the host.
// Invariants: a core has all that is held before it hears, sends, proposes or ticks (`GroupRunner.core`); nothing is held that a core would act upon (`Raft.steady`);
// nothing is said to be durable before it is.
import { added } from '../core/state.ts';
import type { Index, RaftMessage, Term } from '../core/types.ts';
import type { AppendSender } from './append-sender.ts';
import type { GroupRunner } from './group-runner.ts';

export type AppendReply = Extract<RaftMessage, { type: 'append-reply' }>;

/** Held for one group at most. */
const ACKS_MAX = 8;

export class HeldNews {
  private readonly sender: AppendSender;
  private readonly wanted: () => void;
  private dueRunners: GroupRunner[] = [];

  /** `wanted`: what some runners hold may commit something, takeDue is to be called in this turn. */
  constructor(sender: AppendSender, wanted: () => void) {
    this.sender = sender;
    this.wanted = wanted;
  }

  /** What these hold may commit something. */
  takeDue(): readonly GroupRunner[] {
    const runners = this.dueRunners;
    this.dueRunners = [];
    for (const runner of runners) runner.acksDue = false;
    return runners;
  }

  private due(runner: GroupRunner): void {
    if (runner.acksDue) return;
    runner.acksDue = true;
    this.dueRunners.push(runner);
    this.wanted();
  }

  /** True: it is held. */
  holdsAck(runner: GroupRunner, reply: AppendReply): boolean {
    if (!reply.ok) return false;
    const { steadiness, ackedTo, committed } = runner;
    const { index } = reply;
    if (index > ackedTo) runner.ackedTo = index;
    if (steadiness !== 'leads' || reply.term !== runner.steadyTerm || runner.acks.length === ACKS_MAX) return false;
    if (!this.sender.hasRoom(reply.from)) return false;
    runner.acks = added(runner.acks, reply);
    // One that acknowledged is not yet a majority; with this node, or with another one, it may be.
    if (index > committed && (runner.syncedTo >= index || ackedTo > committed)) this.due(runner);
    return true;
  }

  /** The log is durable up to there. True: that is held. */
  holdsSync(runner: GroupRunner, index: Index, term: Term): boolean {
    runner.syncedTo = index;
    if (runner.steadiness === 'none') return false;
    runner.syncedTerm = term;
    runner.syncHeld = true;
    if (runner.steadiness === 'leads' && runner.ackedTo > runner.committed) this.due(runner);
    return true;
  }
}
