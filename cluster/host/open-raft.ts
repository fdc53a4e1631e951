// The core of a group as its log on this node has it: a new one, or what recovery found. Called by the host when a group is opened, and
// again after a repair that told the terms of entries. Invariant: the core starts with exactly what is durable here; terms
// of damaged entries are only filled in where both neighbours agree (terms never fall along a log).
import type { Env } from '../../src/kit/env.ts';
import { Common } from '../core/common.ts';
import { defaultLimits, type Limits } from '../core/limits.ts';
import type { TermRun } from '../core/log-terms.ts';
import { Raft } from '../core/raft.ts';
import { type GroupId, type Index, META_GROUP, type Membership, type PeerId } from '../core/types.ts';
import type { RecoveredGroup, Wal } from '../wal/types.ts';

export interface Commons {
  metadata: Common;
  others: Common;
}

export interface OpenOptions {
  env: Env;
  wal: Wal;
  commons: Commons;
  group: GroupId;
  recovered: RecoveredGroup | undefined;
  /** Of a new group, or of one whose own is lost. */
  membership: Membership;
  preferred: boolean;
}

export interface OpenedRaft {
  raft: Raft;
  snapshotIndex: Index;
  /** Its last position or hard state is not known for sure: it must not vote. */
  voteUnsafe: boolean;
  /** The terms of some damaged entries are not known: nothing may be compared with this log. */
  termsUnknown: boolean;
}

/** What exists and where is to be known everywhere at once; in all other groups nobody but a reader waits for a follower. */
export function commonsOf(self: PeerId, limits: Partial<Limits> | undefined): Commons {
  return {
    metadata: new Common(self, { ...defaultLimits, promptCommits: true, ...limits }),
    others: new Common(self, { ...defaultLimits, promptCommits: false, ...limits }),
  };
}

export function openRaft(options: OpenOptions): OpenedRaft {
  const { env, wal, commons, group, recovered, preferred } = options;
  const nowMs = env.clock.nowMs();
  const random = () => env.random.float();
  const common = group === META_GROUP ? commons.metadata : commons.others;
  const fixed = { common, group, random, nowMs, mayVote: false, preferred };
  if (recovered === undefined) {
    wal.createGroup(group, options.membership);
    const raft = new Raft({
      ...fixed,
      hardState: { term: 0, vote: 0 },
      snapshot: undefined,
      membership: options.membership,
      lastIndex: 0,
      terms: [],
    });
    return { raft, snapshotIndex: 0, voteUnsafe: wal.isInDoubt(group), termsUnknown: false };
  }
  const snapshotIndex = recovered.snapshot?.index ?? 0;
  const { runs, unknown } = termRuns(wal, group, recovered);
  const lastTerm = Math.max(recovered.lastTerm, runs[runs.length - 1]?.term ?? 0);
  // A term may only be behind the log's when the hard state was lost; then this node does not vote.
  const behind = recovered.hardState.term < lastTerm;
  const hardState = behind ? { term: lastTerm, vote: 0 } : recovered.hardState;
  const raft = new Raft({
    ...fixed,
    hardState,
    snapshot: recovered.snapshot,
    membership: recovered.membership.voters.length > 0 ? recovered.membership : options.membership,
    membershipIndex: recovered.membershipIndex,
    previousMembership: recovered.previousMembership,
    lastIndex: recovered.lastIndex,
    terms: runs,
  });
  return { raft, snapshotIndex, voteUnsafe: wal.isInDoubt(group) || behind || unknown, termsUnknown: unknown };
}

function termRuns(wal: Wal, group: GroupId, recovered: RecoveredGroup): { runs: TermRun[]; unknown: boolean } {
  const runs: TermRun[] = [];
  const baseTerm = recovered.snapshot?.term ?? 0;
  const first = (recovered.snapshot?.index ?? 0) + 1;
  const last = recovered.lastIndex;
  const whole = recovered.voteSafe && wal.damagedRanges(group).every((range) => range.last < first);
  let unknown = false;
  let index = first;
  while (index <= last) {
    const before = runs.length > 0 ? runs[runs.length - 1].term : baseTerm;
    const known = wal.termOf(group, index);
    const next = whole ? endOfRun(wal, group, index, last) + 1 : index + 1;
    if (known === undefined) {
      let after = index + 1;
      while (after <= last && wal.termOf(group, after) === undefined) after++;
      const termAfter = after <= last ? wal.termOf(group, after)! : recovered.lastTerm;
      if (termAfter !== before) unknown = true;
      if (runs.length === 0) runs.push({ start: index, term: before });
      index = after;
      continue;
    }
    // Terms never fall along a log: some of these entries had been replaced, and damage hides which.
    if (known < before) unknown = true;
    if (runs.length === 0 || known > before) runs.push({ start: index, term: Math.max(known, before) });
    index = next;
  }
  return { runs, unknown };
}

/** Terms do not fall, so the end of a run in an undamaged log is found by halving. */
function endOfRun(wal: Wal, group: GroupId, start: Index, last: Index): Index {
  const term = wal.termOf(group, start);
  let low = start;
  let high = last;
  while (low < high) {
    const middle = Math.floor((low + high + 1) / 2);
    if (wal.termOf(group, middle) === term) low = middle;
    else high = middle - 1;
  }
  return low;
}
