// Known-bad cores and hosts, each with one rule of Raft left out the way real systems have left it out. The simulator must find
// every one of them; if it does not, its silence about the real core means nothing. Used by core-sim.test.ts; mutants.ts plants bugs in whole nodes.
import { majorityOf } from '../../cluster/core/membership.ts';
import { Raft } from '../../cluster/core/raft.ts';
import { answer } from '../../cluster/core/reads.ts';
import { appendOwn, syncProgress } from '../../cluster/core/replication.ts';
import type { RaftState } from '../../cluster/core/state.ts';
import type { Index, Membership, PeerId, RaftMessage, Ready } from '../../cluster/core/types.ts';
import { EntryKind } from '../../cluster/core/types.ts';
import type { CoreSimOptions, Weather } from './core-sim.ts';

/** The index that a majority of `peers` has, whatever its term. */
export function majorityIndex(s: RaftState, peers: readonly PeerId[]): Index {
  const matches = peers.map((peer) => (peer === s.id ? s.stable : (s.progressOf(peer)?.match ?? 0)));
  return matches.sort((a, b) => b - a)[majorityOf(peers) - 1];
}

/** Figure 8. */
class CommitsOlderTerms extends Raft {
  override takeReady(): Ready {
    const s = this.state;
    if (s.lead !== undefined) s.setCommit(Math.min(majorityIndex(s, s.members.latest.voters), s.log.lastIndex));
    return super.takeReady();
  }
}

class CountsLearners extends Raft {
  override takeReady(): Ready {
    const s = this.state;
    if (s.lead !== undefined && s.members.latest.learners.length > 0) {
      const index = majorityIndex(s, [...s.members.latest.voters, ...s.members.latest.learners]);
      if (s.log.termOf(index) === s.term) s.setCommit(index);
    }
    return super.takeReady();
  }
}

class ReadsWithoutRound extends Raft {
  override readIndex(context: number, nowMs: number): void {
    const s = this.state;
    if (s.lead !== undefined && s.commit >= s.lead.termStart) answer(s, [context], true, s.commit);
    else super.readIndex(context, nowMs);
  }
}

class ReadsBeforeNoop extends Raft {
  override takeReady(): Ready {
    const { lead, commit } = this.state;
    const start = lead?.termStart;
    if (lead !== undefined) lead.termStart = Math.min(lead.termStart, commit);
    const ready = super.takeReady();
    if (lead !== undefined) lead.termStart = start!;
    return ready;
  }
}

/** An answer to an older round confirms the current one. */
class OldAnswersConfirm extends Raft {
  override step(message: RaftMessage, nowMs: number): void {
    const { lead } = this.state;
    if (message.type === 'heartbeat-reply' && lead !== undefined) super.step({ ...message, round: lead.round }, nowMs);
    else super.step(message, nowMs);
  }
}

/** A second change before the first is committed; with it the bug of 2015, a change before any own entry is committed. */
class OverlappingChanges extends Raft {
  override proposeMembership(to: Membership): Index | undefined {
    const s = this.state;
    if (s.lead === undefined) return undefined;
    const index = appendOwn(s, EntryKind.membership, new Uint8Array(0), 0, to);
    s.members.append(index, to);
    syncProgress(s);
    return index;
  }
}

class KeepsTruncatedMembership extends Raft {
  override step(message: RaftMessage, nowMs: number): void {
    this.state.members.truncateFrom = () => {};
    super.step(message, nowMs);
  }
}

/** Commits up to the leader's index though its own log may differ there. */
class CommitsUnverified extends Raft {
  override step(message: RaftMessage, nowMs: number): void {
    super.step(message, nowMs);
    const s = this.state;
    if (message.type === 'append' && message.term === s.term && s.lead === undefined) {
      s.setCommit(Math.min(message.commit, s.log.lastIndex));
    }
  }
}

/** Takes the end of a message for the end of the log (old or reordered messages cut what was acknowledged). */
class TruncatesOnOldAppends extends Raft {
  override step(message: RaftMessage, nowMs: number): void {
    super.step(message, nowMs);
    const s = this.state;
    if (message.type !== 'append' || message.term !== s.term || s.lead !== undefined) return;
    const end = message.prevIndex + (message.entries?.length ?? 0);
    if (end <= s.log.baseIndex || end < s.commit || end >= s.log.lastIndex) return;
    s.log.truncateFrom(end + 1);
    s.out.append = s.out.append.filter(({ index }) => index <= end);
  }
}

/** A lone voter speaks before its own vote is durable. */
class LoneVoterSpeaks extends Raft {
  override takeReady(): Ready {
    if (this.state.lead !== undefined) this.state.lead.muted = false;
    return super.takeReady();
  }
}

/** The vote is cleared when a candidate gives up, within the term. */
class ClearsVoteAtStepDown extends Raft {
  override step(message: RaftMessage, nowMs: number): void {
    const { role, term } = this;
    super.step(message, nowMs);
    if (role === 'candidate' && this.role === 'follower' && this.term === term) this.state.vote = 0;
  }
  override tick(nowMs: number): void {
    const { role } = this;
    super.tick(nowMs);
    if (role === 'candidate' && this.role === 'pre-candidate') this.state.vote = 0;
  }
}

/** A vote for whoever asks, however short its log. */
class VotesForShortLogs extends Raft {
  override step(message: RaftMessage, nowMs: number): void {
    const asks = message.type === 'vote' || message.type === 'pre-vote';
    super.step(asks ? { ...message, lastTerm: message.term, lastIndex: Number.MAX_SAFE_INTEGER } : message, nowMs);
  }
}

export interface Mutant {
  name: string;
  options: CoreSimOptions;
}

/** Weather in which a rare mistake has a chance to matter. */
const contested: Partial<Weather> = {
  voters: 3,
  others: 0,
  storms: true,
  crashAfterSendChance: 0.01,
  restartMeanMs: 20,
  faultMeanMs: 300,
};
const figure8: Partial<Weather> = {
  voters: 3,
  others: 0,
  membership: false,
  storms: true,
  crashes: true,
  pauses: false,
  partitions: true,
  snapshots: false,
  transfers: false,
  faultMeanMs: 100,
  proposalMeanMs: 30,
  appendEntriesMax: 1,
  inflightMax: 1,
  delayMeanMs: 5,
  crashAfterSendChance: 0,
  restartMeanMs: 500,
  lossChance: 0.2,
};
const lateAnswers: Partial<Weather> = {
  voters: 3,
  others: 0,
  membership: false,
  storms: false,
  crashes: false,
  pauses: false,
  partitions: true,
  leaky: true,
  spikeChance: 0.1,
  reorders: true,
  slowDisks: false,
  delayMeanMs: 1,
  readMeanMs: 10,
  proposalMeanMs: 200,
  faultMeanMs: 1000,
};
const changing: Partial<Weather> = {
  voters: 3,
  others: 2,
  membership: true,
  partitions: true,
  crashes: true,
  storms: false,
  faultMeanMs: 100,
  proposalMeanMs: 200,
};
const lonely: Partial<Weather> = {
  voters: 1,
  others: 2,
  othersLearn: true,
  membership: false,
  crashes: true,
  crashAfterSendChance: 0.01,
  restartMeanMs: 20,
  faultMeanMs: 300,
  proposalMeanMs: 5,
  delayMeanMs: 0.3,
};

export const mutants: Mutant[] = [
  { name: 'votes sent before they are durable', options: { bugs: { votesBeforeDurable: true }, weather: contested } },
  { name: 'acknowledgements sent before they are durable', options: { bugs: { acksBeforeDurable: true } } },
  { name: 'leader counts itself before its sync', options: { bugs: { countsItselfEarly: true } } },
  { name: 'vote forgotten at restart', options: { bugs: { forgetsVote: true }, weather: contested } },
  { name: 'commits entries of older terms by counting', options: { Core: CommitsOlderTerms, weather: figure8 } },
  { name: 'counts learners', options: { Core: CountsLearners } },
  { name: 'reads without a round', options: { Core: ReadsWithoutRound } },
  { name: 'reads before the no-op', options: { Core: ReadsBeforeNoop } },
  { name: 'old answers confirm a round', options: { Core: OldAnswersConfirm, weather: lateAnswers } },
  { name: 'overlapping membership changes', options: { Core: OverlappingChanges } },
  { name: 'keeps a truncated membership', options: { Core: KeepsTruncatedMembership, weather: changing } },
  { name: 'commits without verifying', options: { Core: CommitsUnverified } },
  { name: 'truncates on old appends', options: { Core: TruncatesOnOldAppends } },
  { name: 'lone voter speaks early', options: { Core: LoneVoterSpeaks, weather: lonely } },
  { name: 'vote cleared at step-down', options: { Core: ClearsVoteAtStepDown, weather: contested } },
  { name: 'votes for short logs', options: { Core: VotesForShortLogs } },
];

/** The weathers that the mutants need; the real core must stand them, too. */
export const weathers: Partial<Weather>[] = [contested, figure8, lateAnswers, changing, lonely];
