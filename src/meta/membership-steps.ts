// How a group gets from the members it has to those it should have, one safe step at a time (pure). Driven by the group's
// leader: the meta leader for the meta group, a partition's leader for its partition.
// Order: voters that will never come back go first: they are no copies, and beside a newcomer's vote they would make the majority
// larger than what is there (a node emptied twice in a row would end the group). Then new members learn, vote when they have caught up, and
// only when all wanted voters vote do others go. So a replacement never lowers the number of copies, and a stop between any two steps
// leaves a working group.
import type { Membership, PeerId } from '../../cluster/core/types.ts';

export type Step =
  | { kind: 'done' }
  /** Nothing can be done now: a wanted voter is still catching up. */
  | { kind: 'wait' }
  | { kind: 'change'; membership: Membership }
  /** The leader itself has to go: one of these must lead first. */
  | { kind: 'transfer'; heirs: PeerId[] };

export function nextStep(
  current: Membership,
  wanted: Membership,
  self: PeerId,
  hasCaughtUp: (peer: PeerId) => boolean,
  /** Its disk is known to be replaced, or it was removed: no registered node. */
  isGone: (peer: PeerId) => boolean = () => false,
): Step {
  const { voters, learners } = current;
  const gone = voters.find((p) => p !== self && isGone(p) && !wanted.voters.includes(p));
  if (gone !== undefined) return change(without(voters, gone), learners);

  const fresh = [...wanted.voters, ...wanted.learners].find((p) => !voters.includes(p) && !learners.includes(p));
  if (fresh !== undefined) return change(voters, [...learners, fresh]);

  const rising = wanted.voters.filter((p) => !voters.includes(p));
  const ready = rising.find(hasCaughtUp);
  if (ready !== undefined) return change([...voters, ready], without(learners, ready));

  const isNeeded = (p: PeerId): boolean => wanted.voters.includes(p) || wanted.learners.includes(p);
  const idle = learners.find((p) => !isNeeded(p));
  if (idle !== undefined) return change(voters, without(learners, idle));
  if (rising.length > 0) return { kind: 'wait' };

  const leaving = voters.filter((p) => !wanted.voters.includes(p));
  if (leaving.length === 0) return { kind: 'done' };
  const other = leaving.find((p) => p !== self);
  if (other === undefined) {
    const heirs = wanted.voters.filter(hasCaughtUp);
    return heirs.length === 0 ? { kind: 'wait' } : { kind: 'transfer', heirs };
  }
  return change(without(voters, other), wanted.learners.includes(other) ? [...learners, other] : learners);
}

function change(voters: PeerId[], learners: PeerId[]): Step {
  return { kind: 'change', membership: { voters, learners } };
}

function without(peers: readonly PeerId[], gone: PeerId): PeerId[] {
  return peers.filter((p) => p !== gone);
}
