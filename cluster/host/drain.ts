// A node that is stopped hands over what it leads while it still serves. Owned by the host.
// A group goes on without a pause only if the members that stay and keep up make a majority. While one that could be of it is still far
// behind, perhaps because it was restarted itself a moment ago, the leader leads on and feeds it, for a bounded time.
// Invariant: nobody waits for a member that cannot come (not linked, or its disk is full), nor where waiting would not make a majority.
import { majorityOf } from '../core/membership.ts';
import type { Transport } from '../rpc/types.ts';
import type { FullDisks } from './full-disks.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';
import type { DrainBounds } from './types.ts';

const POLL_MS = 20;
/** Who lacks no more than that has it within an election. */
const IN_STEP_ENTRIES = 1_000;

interface Owner extends RunnerOwner {
  readonly transport: Transport;
  readonly fullDisks: FullDisks;
  groups(): Iterable<GroupRunner>;
}

/** Calls `done` when nothing is led here any more, or the time is over, or `isClosed`. */
export function drain(
  owner: Owner,
  { catchUpMs, handOverMs }: DrainBounds,
  isClosed: () => boolean,
  done: () => void,
): void {
  const { clock } = owner.env;
  const patientUntilMs = clock.nowMs() + catchUpMs;
  let untilMs = clock.nowMs() + handOverMs;
  const step = (): void => {
    const nowMs = clock.nowMs();
    let led = 0;
    for (const runner of owner.groups()) {
      if (runner.raft.role !== 'leader' || runner.raft.membership.voters.length === 1) continue;
      led++;
      if (runner.raft.transferringTo !== 0) continue;
      if (nowMs < patientUntilMs && isWorthWaiting(owner, runner)) untilMs = nowMs + handOverMs;
      else handOver(owner, runner);
    }
    if (led === 0 || isClosed() || nowMs >= untilMs) done();
    else clock.after(POLL_MS, step);
  };
  step();
}

/** Too few of those who stay are in step, and somebody is on the way who would make them enough. */
function isWorthWaiting({ transport, fullDisks }: Owner, { raft }: GroupRunner): boolean {
  const { voters } = raft.membership;
  let inStep = 0;
  let coming = 0;
  for (const { peer, match, state } of raft.progress) {
    if (!voters.includes(peer) || !transport.isUp(peer) || fullDisks.isLow(peer)) continue;
    if (state === 'replicate' && raft.commit - match <= IN_STEP_ENTRIES) inStep++;
    else coming++;
  }
  const enough = majorityOf(voters);
  return inStep < enough && inStep + coming >= enough;
}

/** To a connected voter that has most of the log; to another one when it does not take it. */
function handOver({ env, transport }: Owner, runner: GroupRunner): void {
  const { raft } = runner;
  const heirs = raft.progress.filter(({ peer }) => raft.membership.voters.includes(peer) && transport.isUp(peer));
  const most = heirs.reduce((match, heir) => Math.max(match, heir.match), 0);
  const best = heirs.filter((heir) => heir.match === most);
  if (best.length > 0) runner.transferLeadership(best[Math.floor(env.random.float() * best.length)].peer);
}
