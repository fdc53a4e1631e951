// Which nodes hold a partition (pure). Called by the meta machine inside `apply`, so that it sees exactly the streams
// that stand before the entry in the log, and creates in flight still spread evenly. Deterministic: least loaded
// first, ties by id. Changing the choice is a change of the machine's version.
import type { PeerId } from '../../cluster/core/types.ts';

/** How much each node holds already. */
export class Load {
  readonly replicas = new Map<PeerId, number>();
  readonly leaders = new Map<PeerId, number>();

  /** Counts a partition's replicas in (`by` 1) or out (-1). The first is its preferred leader. */
  count(replicas: readonly PeerId[], by: 1 | -1): void {
    for (const peer of replicas) bump(this.replicas, peer, by);
    if (replicas.length > 0) bump(this.leaders, replicas[0], by);
  }

  clear(): void {
    this.replicas.clear();
    this.leaders.clear();
  }
}

/** Replica lists of `partitions` new partitions, preferred leader first; undefined when `live` has fewer than `replicas` nodes.
 * `load` is not changed. */
export function place(
  partitions: number,
  replicas: number,
  live: readonly PeerId[],
  load: Load,
): PeerId[][] | undefined {
  if (live.length < replicas) return undefined;
  const planned = new Load();
  for (const peer of live) {
    planned.replicas.set(peer, load.replicas.get(peer) ?? 0);
    planned.leaders.set(peer, load.leaders.get(peer) ?? 0);
  }
  const placed: PeerId[][] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const chosen = leastLoaded(live, planned).slice(0, replicas);
    const list = leaderFirst(chosen, planned);
    planned.count(list, 1);
    placed.push(list);
  }
  return placed;
}

/** The replica list grown or shrunk to `replicas`. Present replicas stay as far as they are wanted, dead ones go first and the
 * preferred leader last; undefined when there are too few live nodes to grow. */
export function resize(
  current: readonly PeerId[],
  replicas: number,
  live: readonly PeerId[],
  load: Load,
): PeerId[] | undefined {
  if (replicas <= current.length) {
    const alive = current.filter((peer) => live.includes(peer));
    const dead = current.filter((peer) => !live.includes(peer));
    const kept = [...alive, ...dead].slice(0, replicas);
    return current.filter((peer) => kept.includes(peer));
  }
  const added = leastLoaded(
    live.filter((peer) => !current.includes(peer)),
    load,
  ).slice(0, replicas - current.length);
  return current.length + added.length === replicas ? [...current, ...added] : undefined;
}

/** The replica list without `gone`; another live node takes its place if there is one. */
export function substitute(current: readonly PeerId[], gone: PeerId, live: readonly PeerId[], load: Load): PeerId[] {
  const [heir] = leastLoaded(
    live.filter((peer) => peer !== gone && !current.includes(peer)),
    load,
  );
  if (heir === undefined) return current.filter((peer) => peer !== gone);
  return current.map((peer) => (peer === gone ? heir : peer));
}

function leastLoaded(peers: readonly PeerId[], load: Load): PeerId[] {
  return [...peers].sort((a, b) => of(load.replicas, a) - of(load.replicas, b) || a - b);
}

function leaderFirst(chosen: readonly PeerId[], load: Load): PeerId[] {
  let leader = chosen[0];
  for (const peer of chosen) {
    const less = of(load.leaders, peer) - of(load.leaders, leader);
    if (less < 0 || (less === 0 && peer < leader)) leader = peer;
  }
  return [leader, ...chosen.filter((peer) => peer !== leader)];
}

function of(counts: ReadonlyMap<PeerId, number>, peer: PeerId): number {
  return counts.get(peer) ?? 0;
}

function bump(counts: Map<PeerId, number>, peer: PeerId, by: number): void {
  const next = of(counts, peer) + by;
  if (next === 0) counts.delete(peer);
  else counts.set(peer, next);
}
