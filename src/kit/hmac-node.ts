// HMAC-SHA-256 for the handshake between nodes; handed to cluster/rpc by the composition root.
import { createHmac } from 'node:crypto';

export function hmacSha256(key: string, text: string): Uint8Array {
  return createHmac('sha256', key).update(text).digest();
}
