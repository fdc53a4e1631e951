// Who belongs to a group: the memberships named by its log, the latest of which rules from the moment it is appended
// (thesis §4.1) and gives way to its predecessor when it is truncated. Also the bytes of a membership entry.
// Invariant: `changes` ascend by index and the first one stands at or below the log's base.
import { assert } from './assert.ts';
import type { Index, Membership, PeerId } from './types.ts';

export interface MembershipChange {
  index: Index;
  membership: Membership;
}

export function majorityOf(voters: readonly PeerId[]): number {
  return (voters.length >> 1) + 1;
}

/** May `to` follow `from` in one step: do any two of their majorities overlap? */
export function isSingleStep(from: Membership, to: Membership): boolean {
  if (to.voters.length === 0) return false;
  const members = [...to.voters, ...to.learners];
  if (new Set(members).size !== members.length) return false;
  const added = to.voters.filter((peer) => !from.voters.includes(peer)).length;
  const removed = from.voters.filter((peer) => !to.voters.includes(peer)).length;
  return added + removed <= 1;
}

export class MembershipLog {
  // Of the latest change: what is asked with every message.
  quorum!: number;
  /** This replica is a voter. */
  selfVotes!: boolean;
  /** The log's base or below when there is none in the log. */
  latestIndex!: Index;
  latest!: Membership;
  private readonly self: PeerId;
  private changes: MembershipChange[];

  constructor(changes: MembershipChange[], self: PeerId) {
    assert(changes.length > 0, 'no membership');
    this.changes = changes;
    this.self = self;
    this.noteLatest();
  }

  private noteLatest(): void {
    const { index, membership } = this.changes[this.changes.length - 1];
    this.latest = membership;
    this.latestIndex = index;
    this.quorum = majorityOf(membership.voters);
    this.selfVotes = membership.voters.includes(this.self);
  }

  /** The membership that rules again if the latest is truncated. */
  get previous(): Membership {
    return this.changes[Math.max(0, this.changes.length - 2)].membership;
  }

  isVoter(peer: PeerId): boolean {
    return this.latest.voters.includes(peer);
  }

  isMember(peer: PeerId): boolean {
    return this.latest.voters.includes(peer) || this.latest.learners.includes(peer);
  }

  /** The membership that ruled when the log ended at `index` (what a snapshot at `index` must name). */
  at(index: Index): Membership {
    let i = this.changes.length - 1;
    while (i > 0 && this.changes[i].index > index) i--;
    return this.changes[i].membership;
  }

  append(index: Index, membership: Membership): void {
    this.changes.push({ index, membership });
    this.noteLatest();
  }

  truncateFrom(index: Index): void {
    while (this.changes[this.changes.length - 1].index >= index) {
      assert(this.changes.length > 1, `membership at ${index} truncated and none before it is known`);
      this.changes.pop();
    }
    this.noteLatest();
  }

  /** Entries up to `index` left the log for a snapshot. */
  compactTo(index: Index): void {
    let keep = this.changes.length - 1;
    while (keep > 0 && this.changes[keep].index > index) keep--;
    this.changes.splice(0, keep);
  }

  reset(index: Index, membership: Membership): void {
    this.changes = [{ index, membership }];
    this.noteLatest();
  }
}

const FORMAT = 1;
const PEER_BYTES = 6;
const HEADER_BYTES = 5;

/** Format 1: u8 format, u16 voters, u16 learners, then 48-bit peer ids, all big-endian. */
export function encodeMembership(membership: Membership): Uint8Array {
  const { voters, learners } = membership;
  const bytes = new Uint8Array(HEADER_BYTES + PEER_BYTES * (voters.length + learners.length));
  const view = new DataView(bytes.buffer);
  view.setUint8(0, FORMAT);
  view.setUint16(1, voters.length);
  view.setUint16(3, learners.length);
  let at = HEADER_BYTES;
  for (const peer of [...voters, ...learners]) {
    view.setUint16(at, Math.floor(peer / 2 ** 32));
    view.setUint32(at + 2, peer % 2 ** 32);
    at += PEER_BYTES;
  }
  return bytes;
}

/** CRC-32C of such bytes: few and rare, so plain bit steps do. */
export function crc32cOf(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (0x82f63b78 & -(crc & 1));
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** Undefined: not the bytes of a membership. */
export function decodeMembership(bytes: Uint8Array): Membership | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const voterCount = view.getUint16(1);
  const count = voterCount + view.getUint16(3);
  if (view.getUint8(0) !== FORMAT || bytes.length !== HEADER_BYTES + PEER_BYTES * count) return undefined;
  const peers: PeerId[] = [];
  for (let at = HEADER_BYTES; at < bytes.length; at += PEER_BYTES) {
    peers.push(view.getUint16(at) * 2 ** 32 + view.getUint32(at + 2));
  }
  return { voters: peers.slice(0, voterCount), learners: peers.slice(voterCount) };
}
