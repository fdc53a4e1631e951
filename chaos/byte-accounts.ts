// Did everything between the nodes go through the proxies? Compares the counters of the nodes' sockets with what the proxies took from them.
// Called by cluster.ts at the end of a run, when the proxies have been closed and all their connections are counted. Pure.
// Invariant: what nodes read <= what proxies took <= what nodes wrote. Cut connections lose bytes on both ways, so neither is an
// equality; bytes that went around the proxies are read by a node and taken by none, so they break the first.
import type { Carried } from './toxiproxy.ts';

/** The link counters of one process, as last seen. */
export interface LinkBytes {
  in: number;
  out: number;
}

export interface ByteAccount {
  node: string;
  /** Its processes' own counts. */
  out: number;
  in: number;
  /** What proxies took from it and gave to it. */
  taken: number;
  given: number;
  ok: boolean;
}

const DIFFERENCE_BYTES_MAX = 64 * 1024;
/** A process that was killed sent something after it was last asked. */
const BYTES_PER_FAULT = 64 * 1024;
const SECONDS_PER_FAULT = 0.5;

export const proxyName = (from: string, to: string): string => `${from}-${to}`;

export function accountsOf(
  nodes: readonly string[],
  processes: ReadonlyMap<string, readonly LinkBytes[]>,
  carried: ReadonlyMap<string, Carried>,
  run: { faults: number; seconds: number },
): ByteAccount[] {
  const accounts = nodes.map((node) => {
    const account: ByteAccount = { node, out: 0, in: 0, taken: 0, given: 0, ok: false };
    for (const life of processes.get(node) ?? []) {
      account.out += life.out;
      account.in += life.in;
    }
    for (const other of nodes) {
      if (other === node) continue;
      const dialed = carried.get(proxyName(node, other));
      const accepted = carried.get(proxyName(other, node));
      account.taken += (dialed?.upstream.received ?? 0) + (accepted?.downstream.received ?? 0);
      account.given += (dialed?.downstream.sent ?? 0) + (accepted?.upstream.sent ?? 0);
    }
    return account;
  });
  const sum = (read: (account: ByteAccount) => number): number =>
    accounts.reduce((total, each) => total + read(each), 0);
  const wentAround = sum((account) => account.in) > sum(({ taken }) => taken) + DIFFERENCE_BYTES_MAX;
  for (const account of accounts) {
    const { out, taken } = account;
    const allowed = DIFFERENCE_BYTES_MAX + run.faults * (BYTES_PER_FAULT + (taken / run.seconds) * SECONDS_PER_FAULT);
    account.ok = !wentAround && out > 0 && taken > 0 && taken <= out + allowed;
  }
  return accounts;
}
