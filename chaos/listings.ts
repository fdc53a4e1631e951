// Are listings of a bucket's keys whole, and do watches skip nothing? Each is held against what was certain of every key at that time, and
// what the bucket may have forgotten is told. Called by round.ts after healing. Pure. Invariant: a key has one writer, who begins no write
// before the one before it is acknowledged; so of each key all is certain but for one write at most.
import type { Event } from '../test/checkers/history.ts';

/** One write, however often it was attempted. */
export interface Write {
  key: string;
  /** False: a delete. */
  kept: boolean;
  sentAt: number;
  /** Infinity: nobody knows yet whether it was done, nor when. */
  ackedAt: number;
  /** 0: not acknowledged. */
  seq: number;
}

export interface Listing {
  by: string;
  /** This client takes the first heartbeat for the end of its list: ADR 0011. */
  endsByHeartbeat: boolean;
  at: number;
  until: number;
  keys: ReadonlySet<string>;
}

/** While something was done to nodes or links. */
export interface Held {
  from: number;
  heldMs: number;
}

/** Consumers that clients list with are idle for as long before they are sent a heartbeat. */
const HEARTBEAT_MS = 5000;
const KEYS_TOLD = 3;

export interface ListingsJudged {
  findings: string[];
  /** Lists whose end was lost with a leader's connections, and a heartbeat came before it was noticed. */
  endedByHeartbeat: number;
}

interface Compared {
  missing: Write[];
  /** Deleted ones. */
  extra: string[];
  /** Of what is listed, and of what is missing; without keys that were written meanwhile: those have moved to the end. */
  highestSeq: number;
  lowestMissing: number;
}

function compared(listing: Listing, writesOf: ReadonlyMap<string, readonly Write[]>): Compared {
  const result: Compared = { missing: [], extra: [], highestSeq: 0, lowestMissing: Number.POSITIVE_INFINITY };
  for (const [key, writes] of writesOf) {
    const last = writes.findLast((write) => write.ackedAt < listing.at);
    const meanwhile = writes.filter((write) => write.ackedAt >= listing.at && write.sentAt <= listing.until);
    const isListed = listing.keys.has(key);
    if (last?.kept && meanwhile.every(({ kept }) => kept)) {
      if (!isListed) result.missing.push(last);
      if (meanwhile.length > 0) continue;
      if (isListed) result.highestSeq = Math.max(result.highestSeq, last.seq);
      else result.lowestMissing = Math.min(result.lowestMissing, last.seq);
    } else if (isListed && !last?.kept && meanwhile.every(({ kept }) => !kept)) result.extra.push(key);
  }
  result.missing.sort((a, b) => a.seq - b.seq);
  return result;
}

/** A list is in the order of the last writes: what a heartbeat cuts off is its end, never something out of its middle. */
function cutByHeartbeat(listing: Listing, { highestSeq, lowestMissing }: Compared, faults: readonly Held[]): boolean {
  const { endsByHeartbeat, at, until } = listing;
  const duringFault = faults.some(({ from, heldMs }) => from <= until && at <= from + heldMs);
  return endsByHeartbeat && until - at >= HEARTBEAT_MS && duringFault && lowestMissing > highestSeq;
}

export function judgeListings(
  writes: readonly Write[],
  listings: readonly Listing[],
  faults: readonly Held[],
): ListingsJudged {
  const writesOf = Map.groupBy(writes, ({ key }) => key);
  const findings: string[] = [];
  let endedByHeartbeat = 0;
  for (const listing of listings) {
    const { by, at, until, keys } = listing;
    const found = compared(listing, writesOf);
    const { missing, extra } = found;
    const what = `a list of ${keys.size} keys by ${by}, after ${Math.round(until - at)} ms,`;
    if (extra.length > 0) findings.push(`${what} has ${extra.length} deleted ones: ${extra.slice(0, KEYS_TOLD)}`);
    for (const key of keys) if (!writesOf.has(key)) findings.push(`${what} has ${key}, which nobody wrote`);
    if (missing.length === 0) continue;
    if (cutByHeartbeat(listing, found, faults)) {
      endedByHeartbeat++;
      continue;
    }
    const examples = missing.slice(0, KEYS_TOLD).map(({ key, seq }) => `${key} (seq ${seq})`);
    findings.push(`${what} lacks ${missing.length}: ${examples}; it has others up to seq ${found.highestSeq}`);
  }
  return { findings, endedByHeartbeat };
}

/** A watch may skip what was replaced before it got there, nothing else. What it lacks at the end, and its order, are for the checkers of all
 * histories. */
export function skippedBy(watch: string, writes: readonly Write[], events: readonly Event[]): string[] {
  const replacedAt = new Map<Write, number>();
  const lastOf = new Map<string, Write>();
  for (const write of writes) {
    const before = lastOf.get(write.key);
    if (before) replacedAt.set(before, write.sentAt);
    lastOf.set(write.key, write);
  }
  const stored = writes.filter(({ seq }) => seq > 0).sort((a, b) => a.seq - b.seq);
  const findings: string[] = [];
  let next = 0;
  for (const event of events) {
    if (event.kind !== 'delivered' || event.consumer !== watch) continue;
    for (; next < stored.length && stored[next].seq < event.seq; next++) {
      const write = stored[next];
      if ((replacedAt.get(write) ?? Number.POSITIVE_INFINITY) > event.at)
        findings.push(`${watch} got seq ${event.seq} before ${write.seq} (${write.key})`);
    }
    if (stored[next]?.seq === event.seq) next++;
  }
  return findings;
}

/** Of a bucket that keeps the last of each key: a message may be gone once another was sent to its key, and is gone once that was stored. */
export function replacedIn(events: readonly Event[]): { removed: Set<number>; gone: Set<number> } {
  const subjectOf = new Map<string, string>();
  const lastSeqOf = new Map<string, number>();
  const removed = new Set<number>();
  const gone = new Set<number>();
  for (const event of events) {
    if (event.kind === 'sent') {
      subjectOf.set(event.id, event.subject);
      const last = lastSeqOf.get(event.subject);
      if (last !== undefined) removed.add(last);
    } else if (event.kind === 'acked') {
      const subject = subjectOf.get(event.id)!;
      const last = lastSeqOf.get(subject);
      if (last !== undefined) gone.add(last);
      lastSeqOf.set(subject, event.seq);
    }
  }
  return { removed, gone };
}
