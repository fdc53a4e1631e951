// Who may link with whom; pure. links.ts asks with both hellos in hand. A refusal names its reason in words that an operator
// can act on; it never harms other links. Sequence on a fresh connection, both ends alike: hello, proof (HMAC over both hellos,
// so that neither can be replayed or redirected), then the end with the smaller id says welcome for the connection that it chooses
// (of two that were dialed at once), the other answers welcome, and the link is up on both.
import type { frames } from './frames.generated.js';
import type { PeerInfo } from './types.ts';

export interface Hello extends PeerInfo {
  format: number;
  clusterName: string;
  /** '' until the cluster is formed. */
  clusterId: string;
  bootId: number;
  nonce: Uint8Array;
  /** Said by the end that dials: this is the connection for bulk data, beside the link. */
  bulk: boolean;
}

export const NONCE_BYTES = 16;
const TEXT_LENGTH_MAX = 512;
const PEER_ID_LIMIT = 2 ** 48;

/** A string: what is wrong with it. The format is looked at first: of another one nothing else can be known. */
export function readHello(own: Hello, raw: frames.Hello.$Properties): Hello | string {
  const format = raw.format ?? 0;
  const name = raw.name ?? '';
  if (format !== own.format) {
    const newer = format > own.format ? 'a newer' : 'an older';
    return `node "${name.slice(0, 64)}" speaks ${newer} cluster format (${format}) than node ${own.name} (${own.format})`;
  }
  const hello: Hello = {
    format,
    clusterName: raw.clusterName ?? '',
    clusterId: raw.clusterId ?? '',
    id: raw.id ?? 0,
    bootId: raw.bootId ?? 0,
    name,
    clientUrl: raw.clientUrl ?? '',
    clusterUrl: raw.clusterUrl ?? '',
    monitorUrl: raw.monitorUrl ?? '',
    nonce: raw.nonce ?? new Uint8Array(0),
    bulk: raw.bulk ?? false,
  };
  const texts = [hello.clusterName, hello.clusterId, hello.name, hello.clientUrl, hello.clusterUrl, hello.monitorUrl];
  if (texts.some((text) => text.length > TEXT_LENGTH_MAX)) return 'malformed hello';
  if (!Number.isInteger(hello.id) || hello.id < 1 || hello.id >= PEER_ID_LIMIT) return 'malformed hello';
  if (!Number.isInteger(hello.bootId) || hello.nonce.length !== NONCE_BYTES) return 'malformed hello';
  return hello;
}

export type Verdict = { ok: true } | { ok: false; self: boolean; reason: string };

/** May `own` and `theirs` be in one cluster? */
export function judge(own: Hello, theirs: Hello): Verdict {
  const no = (reason: string): Verdict => ({ ok: false, self: false, reason });
  if (theirs.clusterName !== own.clusterName) {
    return no(
      `node ${theirs.name} belongs to cluster "${theirs.clusterName}", node ${own.name} to "${own.clusterName}"`,
    );
  }
  if (theirs.clusterId !== '' && own.clusterId !== '' && theirs.clusterId !== own.clusterId) {
    return no(
      `node ${theirs.name} belongs to another cluster of the same name (${theirs.clusterId}, not ${own.clusterId})`,
    );
  }
  if (theirs.id === own.id) {
    if (theirs.bootId === own.bootId) return { ok: false, self: true, reason: 'this is the node itself' };
    return no(`two processes use the data directory of node ${own.name} (incarnation ${own.id}), or a copy of it`);
  }
  return { ok: true };
}

/** What a proof signs. `prover` made the proof, `other` is the hello that it answers. */
export function transcript(prover: Hello, other: Hello): string {
  return JSON.stringify(['flotilla link', fields(prover), fields(other)]);
}

function fields(hello: Hello): (string | number | boolean)[] {
  return [
    hello.format,
    hello.clusterName,
    hello.clusterId,
    hello.id,
    hello.bootId,
    hello.name,
    hello.clientUrl,
    hello.clusterUrl,
    hello.monitorUrl,
    hello.nonce.join(),
    hello.bulk,
  ];
}

/** Takes the same time wherever the difference is. */
export function equalMacs(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i] ^ b[i];
  return difference === 0;
}

export function peerInfoOf(hello: Hello): PeerInfo {
  return {
    id: hello.id,
    name: hello.name,
    clientUrl: hello.clientUrl,
    clusterUrl: hello.clusterUrl,
    monitorUrl: hello.monitorUrl,
  };
}
