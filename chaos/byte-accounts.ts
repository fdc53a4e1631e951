// Did everything between the nodes go through the proxies? Compares what the nodes' sockets gave with what the proxies took from them.
// Called by cluster.ts at the end of a run, when the proxies have been closed and all their connections are counted. Pure.
// Invariant: bytes on a way around the proxies are counted by nodes alone, so they show as a difference.
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

/** What a process sent after it was last asked, and what lay in buffers when a fault cut a connection: about what a node gives in two
 * seconds, the time after which a silent link is closed. */
const DIFFERENCE_SHARE_MAX = 0.02;
const DIFFERENCE_BYTES_MIN = 128 * 1024;
const SECONDS_PER_FAULT = 2;
const BYTES_PER_FAULT_MIN = 64 * 1024;

export const proxyName = (from: string, to: string): string => `${from}-${to}`;

export function accountsOf(
  nodes: readonly string[],
  processes: ReadonlyMap<string, readonly LinkBytes[]>,
  carried: ReadonlyMap<string, Carried>,
  run: { faults: number; seconds: number },
): ByteAccount[] {
  return nodes.map((node) => {
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
    const perFault = BYTES_PER_FAULT_MIN + (account.out / run.seconds) * SECONDS_PER_FAULT;
    const allowed = DIFFERENCE_BYTES_MIN + account.out * DIFFERENCE_SHARE_MAX + run.faults * perFault;
    account.ok = account.out > 0 && account.taken > 0 && Math.abs(account.out - account.taken) <= allowed;
    return account;
  });
}
