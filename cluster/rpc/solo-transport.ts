// Transport of a node that has no cluster listener: there are no peers and never will be in this process life.
import type { PeerInfo, Transport } from './types.ts';

export function createSoloTransport(self: PeerInfo): Transport {
  return {
    self,
    send: () => false,
    fullness: () => 0,
    flush: () => undefined,
    onMessage: () => undefined,
    onPeerUp: () => undefined,
    onPeerDown: () => undefined,
    onHeartbeat: () => undefined,
    setHeartbeatSource: () => undefined,
    peers: () => [],
    isUp: () => false,
    lastHeardMs: () => Number.NEGATIVE_INFINITY,
  };
}
