// Bounds of a NATS front and of each of its connections (nats-surface L1-L3), with the values clients expect.

export interface NatsLimits {
  payloadBytesMax: number;
  controlLineBytesMax: number;
  connectionsMax: number;
  /** Output that waits for one slow client. */
  pendingBytesMax: number;
  writeDeadlineMs: number;
  /** Per connection; 0: no limit. */
  subscriptionsMax: number;
  /** From CONNECT to the first ping, which learns the round trip time. */
  firstPingMs: number;
  pingIntervalMs: number;
  /** Unanswered pings that are tolerated. */
  pingsOutMax: number;
  /** From accept to a good CONNECT, when credentials are required. */
  authTimeoutMs: number;
}

export const DEFAULT_LIMITS: Readonly<NatsLimits> = {
  payloadBytesMax: 1024 * 1024,
  controlLineBytesMax: 4096,
  connectionsMax: 65_536,
  pendingBytesMax: 64 * 1024 * 1024,
  writeDeadlineMs: 10_000,
  subscriptionsMax: 0,
  firstPingMs: 2_000,
  pingIntervalMs: 120_000,
  pingsOutMax: 2,
  authTimeoutMs: 2_000,
};

/** Producers are held up, a little first, when a receiver's output is fuller than this share of its bound: it has work for long enough, and what
 * waits is memory: 2 MB at the default bound. A quarter made core publish/subscribe no faster and a node 100 MB larger. */
export const STALL_SHARE = 1 / 32;
/** The same for the link to another node, which carries everybody's messages: 4 MB of the 32 MB from which on they are lost. */
export const LINK_STALL_SHARE = 1 / 8;
/** A connection that was told to go gets this long to read why. */
export const LINGER_MS = 2_000;
/** Few clients are sent away in seconds, however long they might have stayed. */
export const LAME_DUCK_STEP_MS_MAX = 1_000;
/** How often time-outs are looked at. */
export const SWEEP_MS = 250;
/** Closed connections that are remembered for monitoring. */
export const CLOSED_MAX = 10_000;
