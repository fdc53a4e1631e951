// Do replicas agree? At every 4096th index each replica of a group tells the leader the digest of its machine. What a majority of the voters
// says is right: who says otherwise has left the common history, gives its state up and gets it anew. If no majority agrees, nobody knows what
// is right, and the group stops. Owned by the host. Invariants: only digests of the same (group, index) are compared; a verdict rests on a
// majority, or on its absence when all have spoken or some have been silent for long; what is kept is bounded.

import { majorityOf } from '../core/membership.ts';
import type { GroupId, Index, PeerId } from '../core/types.ts';
import type { Rpc } from '../rpc/types.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';
import type { HostStats } from './types.ts';

export const DIGEST_EVERY = 4096;
/** Points per group that are remembered. */
const KEPT = 8;
const METHOD = 'host.digest';
/** Voters that differ while the rest is silent: so long the rest may take. */
const UNDECIDED_MS = 10_000;
const TIMEOUT_MS = UNDECIDED_MS + 5_000;
const SAVING_POLL_MS = 20;

/** The leader's answer. */
const Verdict = { differs: 0, fine: 1, undecidable: 2 } as const;

interface Owner extends RunnerOwner {
  readonly stats: HostStats;
  readonly self: PeerId;
  group(id: GroupId): GroupRunner | undefined;
  /** It was marked as one whose state counts no more: it gives it to nobody, and neither leads nor votes. */
  distrust(runner: GroupRunner): void;
}

/** What was said about one index. */
interface Point {
  digests: Map<PeerId, string>;
  replies: Map<PeerId, (bytes: Uint8Array) => void>;
  /** What a majority says. */
  winner: string | undefined;
  waiting: boolean;
}

export class DigestCheck {
  private readonly owner: Owner;
  private readonly rpc: Rpc;
  private readonly every: number;
  private readonly groups = new Map<GroupId, Map<Index, Point>>();

  constructor(owner: Owner, rpc: Rpc, every = DIGEST_EVERY) {
    this.owner = owner;
    this.rpc = rpc;
    this.every = every;
    rpc.handle(METHOD, (from, bytes, reply) => this.onDigest(from, bytes, reply));
  }

  applied(runner: GroupRunner, index: Index): void {
    if (index % this.every !== 0) return;
    const { self } = this.owner;
    const digest = runner.machine.digest();
    const point = this.point(runner.id, index);
    point.digests.set(self, digest);
    const { leader } = runner;
    if (leader === self) this.judge(runner, index, point);
    else if (leader !== 0) {
      this.rpc.request(leader, METHOD, encode(runner.id, index, digest), TIMEOUT_MS, (answer) => {
        // What an earlier state said does not count against the one that took its place.
        if (!answer.ok || runner.closed || this.groups.get(runner.id)?.get(index) !== point) return;
        if (answer.bytes[0] === Verdict.differs) this.lose(runner, index);
        else if (answer.bytes[0] === Verdict.undecidable) this.stop(runner, index);
      });
    }
  }

  /** Also when the machine's state was replaced: what it said before was said by another state. */
  dropGroup(group: GroupId): void {
    for (const point of this.groups.get(group)?.values() ?? [])
      for (const reply of point.replies.values()) reply(Uint8Array.of(Verdict.fine));
    this.groups.delete(group);
  }

  private onDigest(from: PeerId, bytes: Uint8Array, reply: (bytes: Uint8Array) => void): void {
    const message = decode(bytes);
    const runner = message === undefined ? undefined : this.owner.group(message.group);
    if (message === undefined || runner === undefined || runner.raft.role !== 'leader') {
      reply(Uint8Array.of(Verdict.fine));
      return;
    }
    const { index, digest } = message;
    const points = this.groups.get(runner.id);
    const isKnown = points?.has(index) || index > runner.applied || (points?.size ?? 0) < KEPT;
    if (!isKnown || index % this.every !== 0) {
      reply(Uint8Array.of(Verdict.fine));
      return;
    }
    const point = this.point(runner.id, index);
    point.digests.set(from, digest);
    point.replies.set(from, reply);
    this.owner.stats.digestChecks++;
    this.judge(runner, index, point);
  }

  private judge(runner: GroupRunner, index: Index, point: Point): void {
    const { voters } = runner.raft.membership;
    const said = voters.filter((peer) => point.digests.has(peer));
    const votes = new Map<string, number>();
    for (const peer of said) {
      const digest = point.digests.get(peer) as string;
      votes.set(digest, (votes.get(digest) ?? 0) + 1);
    }
    for (const [digest, count] of votes) if (count >= majorityOf(voters)) point.winner = digest;
    if (point.winner !== undefined) this.tell(runner, index, point, point.winner);
    else if (votes.size > 1 && said.length === voters.length) this.giveUp(runner, index, point);
    else if (votes.size > 1 && !point.waiting) {
      point.waiting = true;
      this.owner.env.clock.after(UNDECIDED_MS, () => {
        const isOpen = point.winner === undefined && this.groups.get(runner.id)?.get(index) === point;
        if (isOpen && !runner.closed && runner.raft.role === 'leader') this.giveUp(runner, index, point);
      });
    }
  }

  private tell(runner: GroupRunner, index: Index, point: Point, winner: string): void {
    for (const [peer, reply] of point.replies) {
      const same = point.digests.get(peer) === winner;
      if (!same) this.report(runner.id, index, `the state of peer ${peer} differs from that of the majority`);
      reply(Uint8Array.of(same ? Verdict.fine : Verdict.differs));
    }
    point.replies.clear();
    const own = point.digests.get(this.owner.self);
    if (own !== undefined && own !== winner) this.lose(runner, index);
  }

  private lose(runner: GroupRunner, index: Index): void {
    this.report(runner.id, index, 'the state here differs from that of the majority: it is given up and fetched anew');
    this.dropGroup(runner.id);
    if (!runner.isWhole) return;
    runner.stateMissing = true;
    this.owner.distrust(runner);
    this.putAside(runner);
  }

  /** A snapshot of it is on disk, or is being written: it has the wrong state as well. */
  private putAside(runner: GroupRunner): void {
    const { env, wal } = this.owner;
    if (runner.savingSnapshot) env.clock.after(SAVING_POLL_MS, () => this.putAside(runner));
    else if (!runner.closed && runner.stateMissing) wal.distrustSnapshot(runner.id);
  }

  /** There is nobody to get the right state from. A restart computes it anew from what is on disk. */
  private stop(runner: GroupRunner, index: Index): void {
    if (runner.stopped) return;
    this.report(runner.id, index, 'the replicas differ and no majority of them agrees: it stops here until a restart');
    runner.stopped = true;
    this.owner.stats.groupsStopped++;
    this.owner.distrust(runner);
  }

  private giveUp(runner: GroupRunner, index: Index, point: Point): void {
    for (const reply of point.replies.values()) reply(Uint8Array.of(Verdict.undecidable));
    point.replies.clear();
    this.stop(runner, index);
  }

  private report(group: GroupId, index: Index, what: string): void {
    this.owner.stats.digestMismatches++;
    this.owner.env.log.error(`group ${group}: at index ${index} ${what}`);
  }

  private point(group: GroupId, index: Index): Point {
    let points = this.groups.get(group);
    if (points === undefined) {
      points = new Map();
      this.groups.set(group, points);
    }
    let point = points.get(index);
    if (point === undefined) {
      point = { digests: new Map(), replies: new Map(), winner: undefined, waiting: false };
      points.set(index, point);
      for (const [old, { replies }] of points) {
        if (points.size <= KEPT) break;
        for (const reply of replies.values()) reply(Uint8Array.of(Verdict.fine));
        points.delete(old);
      }
    }
    return point;
  }
}

function encode(group: GroupId, index: Index, digest: string): Uint8Array {
  return Buffer.from(`${group} ${index} ${digest}`, 'latin1');
}

function decode(bytes: Uint8Array): { group: GroupId; index: Index; digest: string } | undefined {
  const found = /^(\d{1,16}) (\d{1,16}) ([0-9a-f]{1,64})$/.exec(Buffer.from(bytes).toString('latin1'));
  return found === null ? undefined : { group: Number(found[1]), index: Number(found[2]), digest: found[3] };
}
