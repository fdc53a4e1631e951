// Why a connection ended: the texts of monitoring (nats-surface VF3), and with which words to the client (§1.4).

export const CloseReason = {
  clientClosed: 'Client Closed',
  authTimeout: 'Authentication Timeout',
  authFailure: 'Authentication Failure',
  slowPending: 'Slow Consumer (Pending Bytes)',
  slowDeadline: 'Slow Consumer (Write Deadline)',
  writeError: 'Write Error',
  readError: 'Read Error',
  parseError: 'Parse Error',
  stale: 'Stale Connection',
  protocolViolation: 'Protocol Violation',
  badProtocol: 'Bad Client Protocol Version',
  connectionsMax: 'Maximum Connections Exceeded',
  payloadMax: 'Maximum Message Payload Exceeded',
  controlLineMax: 'Maximum Control Line Exceeded',
  serverShutdown: 'Server Shutdown',
  headerViolation: 'Message Header Violation',
  noRespondersHeaders: 'No Responders Requires Headers',
  kicked: 'Kicked',
} as const;
export type CloseReason = (typeof CloseReason)[keyof typeof CloseReason];

/** Text of the -ERR that precedes the end; reasons that are not here end in silence. */
export const CLOSE_ERRORS: Readonly<Partial<Record<CloseReason, string>>> = {
  [CloseReason.authTimeout]: 'Authentication Timeout',
  [CloseReason.authFailure]: 'Authorization Violation',
  [CloseReason.parseError]: 'Unknown Protocol Operation',
  [CloseReason.stale]: 'Stale Connection',
  [CloseReason.badProtocol]: 'invalid client protocol',
  [CloseReason.connectionsMax]: 'maximum connections exceeded',
  [CloseReason.payloadMax]: 'Maximum Payload Violation',
  [CloseReason.controlLineMax]: 'maximum control line exceeded',
  [CloseReason.noRespondersHeaders]: 'no responders requires headers support',
};
