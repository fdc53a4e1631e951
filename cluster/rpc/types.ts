// The door to other nodes. `links.ts` implements it over TCP, the simulator over a model of a network. Upper rooms
// name their traffic by channel; what is in the bytes is theirs.
import type { PeerId } from '../core/types.ts';

export const Channel = {
  raft: 1,
  /** host: snapshot transfer and repair (own connection). */
  transfer: 2,
  /** Request/reply between nodes. */
  rpc: 3,
  /** broker: routed core messages. */
  route: 4,
  /** jetstream: forwarded publishes and their answers. */
  publish: 5,
  /** jetstream: who leads what. */
  leaders: 6,
  /** jetstream: acks and pull requests on their way to a consumer's leader. */
  consumer: 7,
  /** broker: who wants what. In one class with rpc and consumer, in order with them: a pull request must not arrive before
   * the interest in its inbox. */
  interest: 8,
  /** jetstream: messages of consumers over several partitions, between a consumer's parts and its home. */
  part: 9,
} as const;
export type Channel = (typeof Channel)[keyof typeof Channel];

export interface PeerInfo {
  id: PeerId;
  /** Configured server name. */
  name: string;
  /** host:port where its clients connect, as advertised. */
  clientUrl: string;
  /** host:port of its cluster listener. */
  clusterUrl: string;
  /** host:port of its monitoring listener, or ''. */
  monitorUrl: string;
}

/** Sent in every link heartbeat (every 150 ms and at link up); `onHeartbeat` hands it to the host. */
export interface NodeHeartbeat {
  /** Random per process start: a change means that the peer restarted. */
  bootId: number;
  wallUs: number;
  /** The cluster's time as far as the sender knows it from others; 0 when it does not. */
  clusterUs: number;
  /** The sender's durable position: total of records ever durable on this incarnation; never goes back. */
  durable: number;
  /** The highest `durable` that the sender remembers of the receiver, the life in which that was said, and the highest before that life. */
  durableSeen: number;
  seenBootId: number;
  seenBefore: number;
  /** The sender's disk is nearly full: nothing that needs space should be asked of it. */
  diskLow: boolean;
}

export interface Transport {
  readonly self: PeerInfo;
  /** Queues for this turn's one frame to that peer. The parts are not copied and must not change. False: no link or its bound
   * is reached, nothing was queued. */
  send(to: PeerId, channel: Channel, parts: readonly Uint8Array[]): boolean;
  /** How full the way to that peer is for a channel; near 1 `send` says false. 0 without a link. */
  fullness(to: PeerId, channel: Channel): number;
  /** What is queued leaves now, not at the end of the turn: others can work on it while this node goes on. */
  flush(): void;
  /** One handler per channel. `bytes` is valid after the call as well (not reused). */
  onMessage(channel: Channel, handler: (from: PeerId, bytes: Uint8Array) => void): void;
  onPeerUp(handler: (peer: PeerInfo) => void): void;
  /** Link reset, or silent for 2 s. */
  onPeerDown(handler: (peer: PeerId) => void): void;
  onHeartbeat(handler: (from: PeerId, heartbeat: NodeHeartbeat) => void): void;
  /** Called when a heartbeat to `peer` is due. */
  setHeartbeatSource(source: (peer: PeerId) => NodeHeartbeat): void;
  /** Connected peers (handshake done), without self. */
  peers(): PeerInfo[];
  isUp(peer: PeerId): boolean;
  /** Monotonic ms when anything last came from that peer; -Infinity when never. */
  lastHeardMs(peer: PeerId): number;
}

export type RpcReply =
  | { ok: true; bytes: Uint8Array }
  | { ok: false; reason: 'no-link' | 'timeout' | 'link-lost' | 'refused' };

/** Request/reply on top of Transport (rpc.ts, pure of sockets; same code in the simulator). */
export interface Rpc {
  /** `done` runs exactly once. 'link-lost' and 'timeout' mean: outcome unknown. A request to self is served locally, next turn. */
  request(to: PeerId, method: string, bytes: Uint8Array, timeoutMs: number, done: (reply: RpcReply) => void): void;
  /** `reply` may be called later, once. */
  handle(method: string, handler: (from: PeerId, bytes: Uint8Array, reply: (bytes: Uint8Array) => void) => void): void;
}
