// One core without a cluster around it: messages are put in by hand, Readys taken out. Used by the tests of this folder.
import { Common } from '../../../cluster/core/common.ts';
import { isVote } from '../../../cluster/core/election.ts';
import { defaultLimits, type Limits } from '../../../cluster/core/limits.ts';
import { Raft, type RaftOptions } from '../../../cluster/core/raft.ts';
import type { LogEntry, Membership, PeerId, RaftMessage, Ready, Term } from '../../../cluster/core/types.ts';
import { EntryKind } from '../../../cluster/core/types.ts';

export const NO_BYTES = new Uint8Array(0);

type WithoutTo<M> = M extends unknown ? Omit<M, 'to'> : never;

export function entry(index: number, term: Term, crc = 0): LogEntry {
  return { index, term, kind: EntryKind.batch, body: NO_BYTES, crc };
}

export function change(index: number, term: Term, membership: Membership): LogEntry {
  return { index, term, kind: EntryKind.membership, body: NO_BYTES, crc: 0, membership };
}

export class OneCore {
  readonly raft: Raft;
  nowMs = 0;

  /** `terms[i]` is the term of entry i + 1. Voters 1 2 3, this is node 1. */
  constructor(
    terms: readonly Term[] = [],
    options: Partial<RaftOptions> = {},
    limits: Partial<Limits> = {},
    id: PeerId = 1,
  ) {
    this.raft = new Raft({
      common: new Common(id, { ...defaultLimits, ...limits }),
      group: 5,
      random: () => 0.5,
      nowMs: 0,
      hardState: { term: terms.at(-1) ?? 0, vote: 0 },
      snapshot: undefined,
      membership: { voters: [1, 2, 3], learners: [] },
      lastIndex: terms.length,
      terms: terms.map((term, i) => ({ start: i + 1, term })),
      mayVote: true,
      preferred: false,
      ...options,
    });
  }

  /** The message arrives; what it leads to is left in the core. */
  put(message: WithoutTo<RaftMessage>): void {
    this.raft.step({ ...message, to: this.raft.id } as RaftMessage, this.nowMs);
  }

  append(from: PeerId, term: Term, prev: readonly [number, number], entries: LogEntry[], commit = 0): void {
    const [prevIndex, prevTerm] = prev;
    const [first, last] = [prevIndex + 1, prevIndex + entries.length];
    this.put({ type: 'append', from, term, prevIndex, prevTerm, first, last, entries, commit, round: 0 });
  }

  take(): Ready {
    return this.raft.takeReady();
  }

  /** Takes a Ready and makes it durable. */
  durable(): Ready {
    const ready = this.take();
    if (ready.sendDurable.some(isVote)) this.raft.votesLeft(this.nowMs);
    this.raft.persisted(this.raft.lastIndex, this.raft.lastTerm);
    return ready;
  }

  tick(atMs: number): void {
    this.nowMs = atMs;
    this.raft.tick(atMs);
  }

  /** Leads its next term with the votes of all; its no-op is proposed, nothing of it is taken yet. */
  lead(): void {
    this.raft.campaign(this.nowMs);
    const { voters } = this.raft.membership;
    const term = this.raft.term + 1;
    for (const from of voters) this.put({ type: 'pre-vote-reply', from, term, granted: true });
    this.durable();
    for (const from of voters) this.put({ type: 'vote-reply', from, term, granted: true });
  }

  /** As lead, and the no-op is committed. */
  leadAndCommit(): void {
    this.lead();
    this.durable();
    for (const { peer } of this.raft.progress) this.ack(peer, this.raft.lastIndex);
    this.durable();
  }

  ack(from: PeerId, index: number, round = 0): void {
    this.put({ type: 'append-reply', from, term: this.raft.term, ok: true, index, hintTerm: 0, round });
  }
}

/** Messages of one type in a Ready, in either list. */
export function sent<T extends RaftMessage['type']>(
  ready: Ready,
  type: T,
): { message: Extract<RaftMessage, { type: T }>; durable: boolean }[] {
  const pick = (messages: RaftMessage[], durable: boolean) =>
    messages
      .filter((message): message is Extract<RaftMessage, { type: T }> => message.type === type)
      .map((message) => ({ message, durable }));
  return [...pick(ready.send, false), ...pick(ready.sendDurable, true)];
}

export function vote(core: OneCore, from: number, term: number, last: [number, number], transfer = false): Ready {
  core.put({ type: 'vote', from, term, lastIndex: last[0], lastTerm: last[1], transfer });
  return core.take();
}

export function granted(ready: Ready): boolean | undefined {
  return sent(ready, 'vote-reply')[0]?.message.granted;
}
