// Did everything between the nodes go through the proxies? Compares the counters of the nodes' sockets with what the proxies took from
// them. Called by cluster.ts at the end of a run, when the proxies have been closed and all their connections are counted. Pure.
// Invariant: a node reads no more than the proxies took for it, without any allowance: what went around them is read and was taken by
// none. And what they took from it is what it wrote, but for the little that a cut connection or a killed process leaves uncounted.
import type { Carried } from './toxiproxy.ts';

/** The link counters of one process, as last seen. */
export interface LinkCounts {
  in: number;
  out: number;
  /** Links that ended. */
  downs: number;
  /** From the last time that it was asked to its end; 0 while it runs. */
  unseenMs: number;
}

export interface ByteAccount {
  node: string;
  /** What its processes wrote, and what proxies took from them. */
  out: number;
  taken: number;
  /** What proxies took from others for it, and what its processes read. */
  owed: number;
  in: number;
  ok: boolean;
}

/** Written, and dropped by its own end's socket or the proxy's when a link ended: less than 1 KiB on average when measured. */
const LOST_PER_LINK = 16 * 1024;
/** Attempts to reach a node that is not there. */
const LOST_BY_PROCESS = 64 * 1024;
/** What a process wrote after it was last asked: less than this, and so many times what its node writes on average. */
const UNSEEN_BYTES = 64 * 1024;
const UNSEEN_RATE = 2;
/** Lists of keys (key-load.ts) that were on their way then: hundreds of KiB at once. Once per node: few links and processes end in the
 * middle of a list, and what is allowed to the others makes up for it. */
const LISTS = 1024 * 1024;

export const proxyName = (from: string, to: string): string => `${from}-${to}`;

export function accountsOf(
  nodes: readonly string[],
  processes: ReadonlyMap<string, readonly LinkCounts[]>,
  carried: ReadonlyMap<string, Carried>,
  seconds: number,
): ByteAccount[] {
  return nodes.map((node) => {
    const account: ByteAccount = { node, out: 0, taken: 0, owed: 0, in: 0, ok: false };
    const lives = processes.get(node) ?? [];
    let downs = 0;
    let ended = 0;
    let unseenMs = 0;
    for (const life of lives) {
      account.out += life.out;
      account.in += life.in;
      downs += life.downs;
      unseenMs += life.unseenMs;
      if (life.unseenMs > 0) ended++;
    }
    for (const other of nodes) {
      if (other === node) continue;
      const dialed = carried.get(proxyName(node, other));
      const accepted = carried.get(proxyName(other, node));
      account.taken += (dialed?.upstream ?? 0) + (accepted?.downstream ?? 0);
      account.owed += (dialed?.downstream ?? 0) + (accepted?.upstream ?? 0);
    }
    const { out, taken, owed, in: read } = account;
    const written = UNSEEN_RATE * (taken / seconds) * (unseenMs / 1000);
    const unseen = ended * UNSEEN_BYTES + (ended > 0 ? LISTS : 0) + written;
    const lost = downs * LOST_PER_LINK + (downs > 0 ? LISTS : 0) + lives.length * LOST_BY_PROCESS;
    account.ok = read > 0 && read <= owed && taken <= out + unseen && out <= taken + lost;
    return account;
  });
}
