// What must hold in a cluster of cores, checked at every step of test/sim/core-sim.ts against one global history. The first
// commit of an index writes it; everyone else must agree. A violation throws with the name of the rule.
import { majorityOf } from '../../cluster/core/membership.ts';
import type { Index, LogEntry, PeerId, RaftMessage, Term } from '../../cluster/core/types.ts';
import type { CoreNode } from './core-sim-node.ts';

export class Violation extends Error {
  readonly rule: string;

  constructor(rule: string, detail: string) {
    super(`${rule}: ${detail}`);
    this.rule = rule;
  }
}

/** Order-dependent mix of 32-bit numbers; equal chains mean equal logs. */
export function chainOf(previous: number, entry: LogEntry): number {
  let h = previous;
  for (const value of [entry.index, entry.term, entry.kind, entry.crc]) {
    h = Math.imul(h ^ value, 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    h ^= h >>> 16;
  }
  return h >>> 0;
}

export class Truth {
  /** Chain of each committed index; [0] is the empty log. */
  readonly committed: { term: Term; chain: number /** no earlier term knew */; knownIn: Term }[] = [
    { term: 0, chain: 0, knownIn: 0 },
  ];
  /** Highest index whose proposer was told that it is committed. */
  acked: Index = 0;
  ackedCount = 0;
  elections = 0;
  private readonly leaders = new Map<Term, PeerId>();
  private readonly votes = new Map<string, PeerId>();
  private readonly chains = new Map<number, number>();

  get commitIndex(): Index {
    return this.committed.length - 1;
  }

  /** Log matching: one content per (index, term) and everything before it, of all that became durable or left a node. */
  onEntry(index: Index, term: Term, chain: number): void {
    const key = index * 100_000 + term;
    const known = this.chains.get(key);
    if (known === undefined) this.chains.set(key, chain);
    else if (known !== chain) throw new Violation('log-matching', `two contents at index ${index} term ${term}`);
  }

  onLeader(node: CoreNode): void {
    const { term, id } = node.raft;
    const known = this.leaders.get(term);
    if (known !== undefined && known !== id) {
      throw new Violation('one-leader-per-term', `${known} and ${id} in term ${term}`);
    }
    if (known === undefined) this.elections++;
    this.leaders.set(term, id);
    this.leaderIsComplete(node);
  }

  /** A leader holds all that was committed in earlier terms (what later terms commit is not its business). */
  private leaderIsComplete(node: CoreNode): void {
    let index = this.commitIndex;
    while (index > 0 && this.committed[index].knownIn >= node.raft.term) index--;
    if (node.raft.firstIndex > index + 1) return;
    if (node.raft.termOf(index) === this.committed[index].term) return;
    throw new Violation('leader-completeness', `${node.name} leads term ${node.raft.term} without committed ${index}`);
  }

  /** State machine safety. */
  onCommit(node: CoreNode, index: Index, term: Term, chain: number, nodes: readonly CoreNode[]): void {
    const known = this.committed[index];
    if (known !== undefined) {
      if (known.chain !== chain) throw new Violation('state-machine-safety', `${node.name} commits another ${index}`);
      return;
    }
    if (index !== this.committed.length) throw new Violation('commit-gap', `${node.name} commits ${index}`);
    this.committed.push({ term, chain, knownIn: node.raft.term });
    for (const other of nodes) {
      if (other.alive && other.raft.role === 'leader') this.leaderIsComplete(other);
    }
  }

  /** Does a majority hold what this leader has just committed, durably, at this very moment? */
  isDurable(node: CoreNode, index: Index, nodes: readonly CoreNode[]): void {
    const term = node.raft.termOf(index)!;
    const { voters } = node.raft.membership;
    const holders = nodes.filter((other) => voters.includes(other.id) && other.disk.holds(index, term));
    if (holders.length < majorityOf(voters)) {
      throw new Violation('durable-majority', `${node.name} commits ${index} held by ${holders.length} of ${voters}`);
    }
  }

  onSnapshot(node: CoreNode, index: Index, chain: number): void {
    if (this.committed[index]?.chain === chain) return;
    throw new Violation('state-machine-safety', `${node.name} restores another state at ${index}`);
  }

  onSend(message: RaftMessage): void {
    if (message.type === 'vote') this.vote(message.from, message.term, message.from);
    if (message.type === 'vote-reply' && message.granted) this.vote(message.from, message.term, message.to);
  }

  private vote(voter: PeerId, term: Term, candidate: PeerId): void {
    const key = `${voter}/${term}`;
    const known = this.votes.get(key);
    if (known !== undefined && known !== candidate) {
      throw new Violation('one-vote-per-term', `${voter} votes for ${known} and ${candidate} in term ${term}`);
    }
    this.votes.set(key, candidate);
  }

  onAck(index: Index): void {
    this.acked = Math.max(this.acked, index);
    this.ackedCount++;
  }

  onRead(node: CoreNode, index: Index, ackedBefore: Index): void {
    if (index < ackedBefore)
      throw new Violation('stale-read', `${node.name} reads at ${index}, acked was ${ackedBefore}`);
  }
}
