// The id by which a running server is known to clients and monitoring: as long and of the same letters as nats-server's, `N` and 55 of
// base 32. It follows from the incarnation and the process's boot id, which every peer knows: so what one node says of another
// (/routez) is what that one says of itself (/varz).
import { createHash } from 'node:crypto';

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

export function serverIdOf(incarnation: number, bootId: number): string {
  const digest = createHash('sha512').update(`${incarnation}.${bootId}`).digest();
  return `N${Array.from(digest.subarray(0, 55), (byte) => LETTERS[byte & 31]).join('')}`;
}
