// The numbers of consensus, each with its unit. Read by every file of the room; a group may be given others (tests do).

export interface Limits {
  /** A follower that hears nothing for a random time in [min, max) asks for an election. */
  electionMinMs: number;
  electionMaxMs: number;
  /** Leader to followers while the group is active. */
  heartbeatMs: number;
  /** Heartbeats leave at multiples of this on the leader's clock, so those of all groups of a node leave together: one tick, one pass and one
   * frame per peer instead of one per group. A whole part of heartbeatMs. Followers' deadlines are never on it: they are drawn at random. */
  gridMs: number;
  /** A leader without news for so long puts the group to sleep. */
  quiesceAfterMs: number;
  /** Answers to what was sent prove for so long that this replica leads. Far longer than a round trip, or nothing is ever proven. */
  proofMs: number;
  /** After a reset link to the leader its heir starts a pre-vote, … */
  heirMs: number;
  /** … and the others, should that come to nothing, each so much later than the one before. */
  nextHeirMs: number;
  /** Entries named by one append message. */
  appendEntriesMax: number;
  /** Entries on their way to one follower: while there are fewer, another append may leave. */
  inflightMax: number;
  /** A follower that is sent nothing else is told at once what is committed. Else the next append, heartbeat or read tells it, and a
   * thousand groups with a message now and then cost a message and a pass less per entry and follower. */
  promptCommits: boolean;
}

export const defaultLimits: Limits = {
  electionMinMs: 600,
  electionMaxMs: 1200,
  heartbeatMs: 150,
  gridMs: 50,
  quiesceAfterMs: 1500,
  proofMs: 400,
  heirMs: 10,
  nextHeirMs: 300,
  appendEntriesMax: 64,
  inflightMax: 1024,
  promptCommits: true,
};

/** Before all times, and a small integer like those: of a field that may hold other numbers every object keeps the number in a place apart. */
export const LONG_AGO_MS = -(2 ** 30);

/** The last line of the grid at or before that time. */
export function gridLine(limits: Limits, ms: number): number {
  return Math.floor(ms / limits.gridMs) * limits.gridMs;
}
