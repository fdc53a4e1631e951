// May this node vote, or act on consensus messages at all? Asked by the host for each group. Heartbeats carry how much the sender has made
// durable and the most that it remembers of earlier lives of the receiver: a node that began with less was wiped, restored or rolled back;
// the host is told, and doubts every group. Invariant: a node votes, and answers a leader, only after enough peers to form a majority with
// itself have told it, in this life, what they remember of it, and it had no less, or doubted. README says what this finds and what
// it cannot find.
import { crc32c } from '@node-rs/crc32';
import type { Env } from '../../src/kit/env.ts';
import { majorityOf } from '../core/membership.ts';
import type { PeerId } from '../core/types.ts';
import type { NodeHeartbeat, Transport } from '../rpc/types.ts';
import type { Wal } from '../wal/types.ts';
import type { ClusterClock } from './cluster-clock.ts';

export const SEEN_FILE = 'peers-seen';
const PERSIST_EVERY_MS = 1_000;

export interface RolledBack {
  peer: PeerId;
  /** What the peer remembers of this node, and what this node has. */
  remembered: number;
  durable: number;
}

export interface StandingOptions {
  env: Env;
  wal: Wal;
  transport: Transport;
  self: PeerId;
  bootId: number;
  time: ClusterClock;
  /** The disk is nearly full; peers are told. */
  isDiskLow: () => boolean;
  /** What a peer says of its disk. */
  onDisk: (peer: PeerId, isLow: boolean) => void;
  /** One more peer has told what it remembers. */
  onVouched: () => void;
  /** Must raise `wal.durable` to what the peer remembers. */
  onRolledBack: (finding: RolledBack) => void;
}

/** What is remembered of a peer. */
export interface Seen {
  /** The most that it ever said to be durable. */
  durable: number;
  /** Its last known life, and the most that it said before that one. */
  bootId: number;
  before: number;
}

const NOTHING: Seen = { durable: 0, bootId: 0, before: 0 };

export class Standing {
  private readonly options: StandingOptions;
  private readonly vouching = new Set<PeerId>();
  /** What was durable when this life began, or what peers are known to remember of earlier ones. */
  private floor: number;
  private readonly seen: Map<PeerId, Seen>;
  private persisting = false;
  private closed = false;

  constructor(options: StandingOptions) {
    this.options = options;
    this.seen = load(options.env);
    this.floor = options.wal.durable;
    const { transport, env, wal, bootId } = options;
    transport.setHeartbeatSource((peer) => {
      const { durable: durableSeen, bootId: seenBootId, before: seenBefore } = this.seen.get(peer) ?? NOTHING;
      const diskLow = options.isDiskLow();
      const wallUs = env.clock.wallUs();
      const clusterUs = options.time.toldUs;
      return { bootId, wallUs, clusterUs, durable: wal.durable, durableSeen, seenBootId, seenBefore, diskLow };
    });
    transport.onHeartbeat((from, heartbeat) => {
      options.time.heard(from, heartbeat.wallUs, heartbeat.clusterUs);
      options.onDisk(from, heartbeat.diskLow);
      this.onHeartbeat(from, heartbeat);
    });
  }

  /** Do enough of these voters vouch for this node? */
  mayVote(voters: readonly PeerId[]): boolean {
    let count = 0;
    for (const voter of voters) if (voter === this.options.self || this.vouching.has(voter)) count++;
    return count >= majorityOf(voters);
  }

  /** May it act on what `from` says? Not before the sender itself has vouched, for what is promised to it rests on its memory too. Any peers
   * make up the rest of the majority: who the voters are may have changed while this node was away, and would never be learned. */
  mayHear(voters: readonly PeerId[], from: PeerId): boolean {
    if (!this.vouching.has(from)) return false;
    return !voters.includes(this.options.self) || 1 + this.vouching.size >= majorityOf(voters);
  }

  /** What is not written yet is forgotten. */
  close(): void {
    this.closed = true;
  }

  private onHeartbeat(from: PeerId, heartbeat: NodeHeartbeat): void {
    const { bootId, durable, durableSeen, seenBootId, seenBefore } = heartbeat;
    // What this life has reached says nothing about how it began.
    const remembered = seenBootId === this.options.bootId ? seenBefore : durableSeen;
    if (remembered > this.floor) {
      const finding = { peer: from, remembered, durable: this.floor };
      this.floor = remembered;
      this.options.onRolledBack(finding);
    }
    if (Number.isSafeInteger(durable)) this.remember(from, bootId, durable);
    if (this.vouching.has(from)) return;
    this.vouching.add(from);
    this.options.onVouched();
  }

  private remember(peer: PeerId, bootId: number, durable: number): void {
    const seen = this.seen.get(peer) ?? { ...NOTHING, bootId };
    const isNewLife = seen.bootId !== bootId;
    if (!isNewLife && durable <= seen.durable) return;
    this.seen.set(peer, {
      bootId,
      durable: Math.max(seen.durable, durable),
      before: isNewLife ? seen.durable : seen.before,
    });
    this.persist();
  }

  private persist(): void {
    if (this.persisting) return;
    this.persisting = true;
    const { env } = this.options;
    env.clock.after(PERSIST_EVERY_MS, () => {
      if (this.closed) return;
      const written = new Map(this.seen);
      env.disk.replace(SEEN_FILE, save(written), (error) => {
        if (this.closed) return;
        if (error !== null) env.fatal(`cannot write ${SEEN_FILE}: ${error.message}`, 'disk');
        this.persisting = false;
        for (const [peer, seen] of this.seen) if (seen !== written.get(peer)) this.persist();
      });
    });
  }
}

function save(seen: ReadonlyMap<PeerId, Seen>): Uint8Array {
  const text = JSON.stringify([...seen].map(([peer, { durable, bootId, before }]) => [peer, durable, bootId, before]));
  return Buffer.from(`${checksum(text)} ${text}\n`);
}

/** Damaged: it is put aside, and what peers did before is forgotten. They still know what this node did. */
function load(env: Env): Map<PeerId, Seen> {
  const bytes = env.disk.readSync(SEEN_FILE);
  if (bytes === undefined) return new Map();
  const seen = decodeSeen(bytes);
  if (seen !== undefined) return seen;
  env.log.warn(`${SEEN_FILE} is damaged and was moved to quarantine`);
  env.disk.renameSync(SEEN_FILE, `quarantine/${SEEN_FILE}-${env.clock.wallUs()}`);
  return new Map();
}

/** What a file of that name says; undefined: it is damaged. */
export function decodeSeen(bytes: Uint8Array): Map<PeerId, Seen> | undefined {
  const [, sum, text] = /^([0-9a-f]{8}) (.+)\n$/s.exec(Buffer.from(bytes).toString('utf8')) ?? [];
  if (text === undefined || sum !== checksum(text)) return undefined;
  const rows = JSON.parse(text) as [PeerId, number, number, number][];
  return new Map(rows.map(([peer, durable, bootId, before]) => [peer, { durable, bootId, before }]));
}

function checksum(text: string): string {
  return crc32c(text).toString(16).padStart(8, '0');
}
