// The one decision that makes a cluster: its id and first members. Pure codec of the file in which every node keeps it.
// Written once per data directory, before the node opens the meta group; never changed afterwards (later members live in
// the meta group's own log).
import type { Membership, PeerId } from '../../cluster/core/types.ts';
import { hashHex } from './digest.ts';
import type { NodeRecord } from './types.ts';

export interface FormationRecord {
  clusterId: string;
  /** Membership with which this node opens the meta group when it has none yet. */
  membership: Membership;
  /** The nodes that formed the cluster. */
  founders: NodeRecord[];
  /** Membership with which the cluster began. */
  founding: Membership;
}

export const META_VOTERS_MAX = 5;

/** The decision of the forming node. */
export function foundCluster(clusterId: string, founders: readonly NodeRecord[]): FormationRecord {
  const sorted = [...founders].sort((a, b) => (a.name < b.name ? -1 : 1));
  const ids = sorted.map((node) => node.id);
  const founding = { voters: ids.slice(0, META_VOTERS_MAX), learners: ids.slice(META_VOTERS_MAX) };
  return { clusterId, membership: founding, founders: sorted, founding };
}

/** What a node that hears of a formed cluster keeps. A founder begins as it was decided; anybody else, and an incarnation that may
 * have voted before, learns until the cluster admits it. */
export function joinCluster(record: FormationRecord, current: Membership | undefined, self: PeerId): FormationRecord {
  const { founding } = record;
  if (founding.voters.includes(self) || founding.learners.includes(self)) return { ...record, membership: founding };
  const known = current ?? founding;
  const voters = known.voters.filter((peer) => peer !== self);
  const learners = [...known.learners.filter((peer) => peer !== self), self];
  return { ...record, membership: { voters, learners } };
}

export function encodeRecord(record: FormationRecord): Uint8Array {
  const body = JSON.stringify(record);
  return new TextEncoder().encode(`${hashHex(body)}\n${body}\n`);
}

/** Undefined when the bytes are not what was written. */
export function decodeRecord(bytes: Uint8Array): FormationRecord | undefined {
  const [check, body] = new TextDecoder().decode(bytes).split('\n');
  if (body === undefined || hashHex(body) !== check) return undefined;
  return JSON.parse(body) as FormationRecord;
}

export function isMembership(value: unknown): value is Membership {
  const { voters, learners } = (value ?? {}) as Partial<Membership>;
  return [voters, learners].every((list) => Array.isArray(list) && list.every((peer) => Number.isSafeInteger(peer)));
}

export function isRecord(value: unknown): value is FormationRecord {
  const { clusterId, membership, founders, founding } = (value ?? {}) as Partial<FormationRecord>;
  return typeof clusterId === 'string' && isMembership(membership) && isMembership(founding) && Array.isArray(founders);
}
