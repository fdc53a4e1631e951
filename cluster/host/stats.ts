// The host's counters at the start of a process.
import type { HostStats } from './types.ts';

export function emptyHostStats(): HostStats {
  return {
    groups: 0,
    leading: 0,
    electionsStarted: 0,
    electionsWon: 0,
    appliedEntries: 0,
    framesSent: 0,
    snapshotsSent: 0,
    snapshotsInstalled: 0,
    snapshotsOnKept: 0,
    snapshotBytesFetched: 0,
    snapshotsFailed: 0,
    turns: 0,
    snapshotsTaken: 0,
    framesDropped: 0,
    badMessages: 0,
    digestChecks: 0,
    digestMismatches: 0,
    groupsStopped: 0,
    entriesRepaired: 0,
    rangesDamaged: 0,
    rangesRepaired: 0,
    rangesInRepair: 0,
    stalls: 0,
    passMsMax: 0,
    clockSkewUs: 0,
    clockSpreadUs: 0,
    diskStuck: 0,
  };
}
