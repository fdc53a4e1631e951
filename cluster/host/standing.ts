// May this node vote? Asked by the host for each group. Heartbeats carry how much the sender has made durable and the most that it
// remembers of the receiver: a node that has less than a peer remembers was wiped, restored or rolled back, and says so instead of voting.
// Invariants: what is reported to a peer was durable here first, so it is not forgotten; a node votes only after enough
// peers to form a majority with itself have told it, in this life, that they remember no more than it has.
import { crc32c } from '@node-rs/crc32';
import type { Env } from '../../src/kit/env.ts';
import { majorityOf } from '../core/membership.ts';
import type { PeerId } from '../core/types.ts';
import type { Transport } from '../rpc/types.ts';
import type { Wal } from '../wal/types.ts';
import type { ClusterClock } from './cluster-clock.ts';

const SEEN_FILE = 'peers-seen';
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
  /** One more peer vouches for this node. */
  onVouched: () => void;
  onRolledBack: (finding: RolledBack) => void;
}

export class Standing {
  private readonly options: StandingOptions;
  private readonly vouching = new Set<PeerId>();
  private readonly seen: Map<PeerId, number>;
  /** What of `seen` is on disk. */
  private reported: Map<PeerId, number>;
  private persisting = false;
  private rolledBack = false;
  private closed = false;

  constructor(options: StandingOptions) {
    this.options = options;
    this.seen = load(options.env);
    this.reported = new Map(this.seen);
    const { transport, env, wal, bootId } = options;
    transport.setHeartbeatSource((peer) => ({
      bootId,
      wallUs: env.clock.wallUs(),
      clusterUs: options.time.toldUs,
      durable: wal.durable,
      durableSeen: this.reported.get(peer) ?? 0,
    }));
    transport.onHeartbeat((from, heartbeat) => {
      options.time.heard(from, heartbeat.wallUs, heartbeat.clusterUs);
      this.onHeartbeat(from, heartbeat.durable, heartbeat.durableSeen);
    });
  }

  /** Do enough of these voters vouch for this node? */
  mayVote(voters: readonly PeerId[]): boolean {
    if (this.rolledBack) return false;
    let count = 0;
    for (const voter of voters) if (voter === this.options.self || this.vouching.has(voter)) count++;
    return count >= majorityOf(voters);
  }

  /** What is not written yet is forgotten. */
  close(): void {
    this.closed = true;
  }

  private onHeartbeat(from: PeerId, durable: number, durableSeen: number): void {
    const own = this.options.wal.durable;
    if (durableSeen > own) {
      if (!this.rolledBack) {
        this.rolledBack = true;
        this.options.onRolledBack({ peer: from, remembered: durableSeen, durable: own });
      }
      return;
    }
    if (Number.isSafeInteger(durable) && durable > (this.seen.get(from) ?? 0)) {
      this.seen.set(from, durable);
      this.persist();
    }
    if (this.vouching.has(from)) return;
    this.vouching.add(from);
    this.options.onVouched();
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
        if (error !== null) env.fatal(`cannot write ${SEEN_FILE}: ${error.message}`);
        this.reported = written;
        this.persisting = false;
        for (const [peer, durable] of this.seen) if (durable > (written.get(peer) ?? 0)) this.persist();
      });
    });
  }
}

function save(seen: ReadonlyMap<PeerId, number>): Uint8Array {
  const text = JSON.stringify([...seen]);
  return Buffer.from(`${checksum(text)} ${text}\n`);
}

/** Damaged: it is put aside, and what peers did before is forgotten. They still know what this node did. */
function load(env: Env): Map<PeerId, number> {
  const bytes = env.disk.readSync(SEEN_FILE);
  if (bytes === undefined) return new Map();
  const [, sum, text] = /^([0-9a-f]{8}) (.*)\n$/s.exec(Buffer.from(bytes).toString('utf8')) ?? [];
  if (text !== undefined && sum === checksum(text)) return new Map(JSON.parse(text) as [PeerId, number][]);
  env.log.warn(`${SEEN_FILE} is damaged and was moved to quarantine`);
  env.disk.renameSync(SEEN_FILE, `quarantine/${SEEN_FILE}-${env.clock.wallUs()}`);
  return new Map();
}

function checksum(text: string): string {
  return crc32c(text).toString(16).padStart(8, '0');
}
