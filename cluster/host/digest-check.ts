// Do replicas agree? At every 4096th index each replica of a group tells the leader the digest of its machine; the leader compares with
// its own. Owned by the host. A mismatch is logged on both ends and counted: one of the replicas has left the common history.
// Invariant: only digests of the same (group, index) are compared; what is kept is bounded.

import type { GroupId, Index, PeerId } from '../core/types.ts';
import type { Rpc } from '../rpc/types.ts';
import type { GroupRunner, RunnerOwner } from './group-runner.ts';
import type { HostStats } from './types.ts';

export const DIGEST_EVERY = 4096;
/** Points per group that are remembered. */
const KEPT = 4;
const METHOD = 'host.digest';
const TIMEOUT_MS = 5_000;

interface Owner extends RunnerOwner {
  readonly stats: HostStats;
  readonly self: PeerId;
  group(id: GroupId): GroupRunner | undefined;
}

interface Points {
  own: Map<Index, string>;
  /** Of replicas that were here first. */
  early: { from: PeerId; index: Index; digest: string; reply: (bytes: Uint8Array) => void }[];
}

export class DigestCheck {
  private readonly owner: Owner;
  private readonly rpc: Rpc;
  private readonly groups = new Map<GroupId, Points>();

  constructor(owner: Owner, rpc: Rpc) {
    this.owner = owner;
    this.rpc = rpc;
    rpc.handle(METHOD, (from, bytes, reply) => this.onDigest(from, bytes, reply));
  }

  applied(runner: GroupRunner, index: Index): void {
    if (index % DIGEST_EVERY !== 0) return;
    const digest = runner.machine.digest();
    const points = this.points(runner.id);
    points.own.set(index, digest);
    for (const old of points.own.keys()) if (points.own.size > KEPT) points.own.delete(old);
    const early = points.early.filter((point) => point.index <= index);
    points.early = points.early.filter((point) => point.index > index);
    for (const { from, index: at, digest: theirs, reply } of early)
      this.compare(runner, points, from, at, theirs, reply);
    const { leader } = runner;
    if (leader === 0 || leader === this.owner.self) return;
    this.rpc.request(leader, METHOD, encode(runner.id, index, digest), TIMEOUT_MS, (answer) => {
      if (answer.ok && answer.bytes[0] === 0) this.report(runner.id, index, leader);
    });
  }

  dropGroup(group: GroupId): void {
    this.groups.delete(group);
  }

  private onDigest(from: PeerId, bytes: Uint8Array, reply: (bytes: Uint8Array) => void): void {
    const message = decode(bytes);
    const runner = message === undefined ? undefined : this.owner.group(message.group);
    if (message === undefined || runner === undefined) {
      reply(Uint8Array.of(1));
      return;
    }
    const points = this.points(runner.id);
    const { index, digest } = message;
    if (index > runner.applied && points.early.length < KEPT * 8) points.early.push({ from, index, digest, reply });
    else this.compare(runner, points, from, index, digest, reply);
  }

  /** The answer is 0 for a mismatch; 1 otherwise, also when the point is no longer remembered here. */
  private compare(
    runner: GroupRunner,
    points: Points,
    from: PeerId,
    index: Index,
    digest: string,
    reply: (bytes: Uint8Array) => void,
  ): void {
    const own = points.own.get(index);
    if (own !== undefined) this.owner.stats.digestChecks++;
    const same = own === undefined || own === digest;
    if (!same) this.report(runner.id, index, from);
    reply(Uint8Array.of(same ? 1 : 0));
  }

  private report(group: GroupId, index: Index, other: PeerId): void {
    this.owner.stats.digestMismatches++;
    this.owner.env.log.error(`group ${group}: at index ${index} the state here differs from that of peer ${other}`);
  }

  private points(group: GroupId): Points {
    let points = this.groups.get(group);
    if (points === undefined) {
      points = { own: new Map(), early: [] };
      this.groups.set(group, points);
    }
    return points;
  }
}

function encode(group: GroupId, index: Index, digest: string): Uint8Array {
  return Buffer.from(`${group} ${index} ${digest}`, 'latin1');
}

function decode(bytes: Uint8Array): { group: GroupId; index: Index; digest: string } | undefined {
  const found = /^(\d{1,16}) (\d{1,16}) ([0-9a-f]{1,64})$/.exec(Buffer.from(bytes).toString('latin1'));
  return found === null ? undefined : { group: Number(found[1]), index: Number(found[2]), digest: found[3] };
}
