// What a core will want to know, and need not know yet: acknowledgements that cannot commit anything, syncs that nobody waits for. With a thousand
// groups every visit to a core is a walk through cold memory, so such news waits beside the group, in its runner, until something is to be done
// there anyway, or until it may commit something: one visit per entry instead of three on a leader. To a core it is as if the word had come a
// little later. Owned by the host.
// Invariants: a core has all that is held before it hears, sends, proposes or ticks (`GroupRunner.core`); nothing is held that a core would act upon (`Raft.steady`);
// nothing is said to be durable before it is.
import type { Index, PeerId, Term } from '../core/types.ts';
import type { AppendSender } from './append-sender.ts';
import type { GroupRunner } from './group-runner.ts';

/** Of one acknowledgement: peer, index, round. */
export const ACK_NUMBERS = 3;
/** For one group, at most. */
const HELD_NUMBERS_MAX = 8 * ACK_NUMBERS;

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
    for (let i = 0; i < runners.length; i++) runners[i].acksDue = false;
    return runners;
  }

  private due(runner: GroupRunner): void {
    if (runner.acksDue) return;
    runner.acksDue = true;
    this.dueRunners.push(runner);
    this.wanted();
  }

  /** A member's word that it holds all up to `index`. True: it is held. */
  holdsAck(runner: GroupRunner, from: PeerId, term: Term, index: Index, round: number): boolean {
    const { steadiness, ackedTo, committed } = runner;
    if (index > ackedTo) runner.ackedTo = index;
    if (steadiness !== 'leads' || term !== runner.steadyTerm || !this.sender.hasRoom(from)) return false;
    if (!keep(runner, from, index, round)) return false;
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

/** A later word of a member says what its earlier ones said. */
function keep(runner: GroupRunner, from: PeerId, index: Index, round: number): boolean {
  const { ackNumbers } = runner;
  if (runner.acks.length === 0) runner.acks = [from, index, round];
  const { acks } = runner;
  let at = 0;
  while (at < ackNumbers && acks[at] !== from) at += ACK_NUMBERS;
  if (at === HELD_NUMBERS_MAX) return false;
  const isFirst = at === ackNumbers;
  acks[at] = from;
  acks[at + 1] = isFirst ? index : Math.max(acks[at + 1], index);
  acks[at + 2] = isFirst ? round : Math.max(acks[at + 2], round);
  if (isFirst) runner.ackNumbers = at + ACK_NUMBERS;
  return true;
}
