// Bytes of snapshot transfer and repair, pure. Used by both ends. Invariant: an entry comes out only with the checksum that its
// proposer computed; anything malformed is undefined, never an exception.
import { decodeMembership, encodeMembership } from '../core/membership.ts';
import type { GroupId, Index, LogEntry, SnapshotMeta } from '../core/types.ts';
import { readU32, writeU32 } from '../rpc/codec.ts';
import { frames } from '../rpc/frames.generated.js';
import { checkEntry } from '../rpc/raft-codec.ts';

export interface Offer {
  group: GroupId;
  meta: SnapshotMeta;
  stateBytes: number;
  stateCrc: number;
}

export const OfferOutcome = { busy: 0, fetch: 1, have: 2 } as const;
export type OfferOutcome = (typeof OfferOutcome)[keyof typeof OfferOutcome];

export interface TransferRequest {
  group: GroupId;
  index: Index;
  from: number;
  to: number;
}

export interface Entries {
  entries: LogEntry[];
  next: Index;
  commit: Index;
  gone: boolean;
}

function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    // protobufjs reports malformed input by throwing; nothing else is called in `decode`.
    return undefined;
  }
}

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

export function encodeOffer(offer: Offer): Uint8Array {
  const { index, term, membership } = offer.meta;
  const { group, stateBytes, stateCrc } = offer;
  return frames.SnapshotOffer.encode({
    group,
    index,
    term,
    membership: encodeMembership(membership),
    stateBytes,
    stateCrc,
  }).finish();
}

export function decodeOffer(bytes: Uint8Array): Offer | undefined {
  const raw = attempt(() => frames.SnapshotOffer.decode(bytes));
  const membership = decodeMembership(raw?.membership ?? new Uint8Array(0));
  if (raw === undefined || membership === undefined) return undefined;
  const { group, index, term, stateBytes, stateCrc } = raw;
  if (!isCount(group) || !isCount(index) || !isCount(term) || index < 1) return undefined;
  return { group, meta: { index, term, membership }, stateBytes, stateCrc };
}

export function encodeOutcome(outcome: OfferOutcome): Uint8Array {
  return frames.SnapshotAnswer.encode({ outcome }).finish();
}

export function decodeOutcome(bytes: Uint8Array): OfferOutcome {
  const outcome = attempt(() => frames.SnapshotAnswer.decode(bytes))?.outcome;
  return outcome === OfferOutcome.fetch || outcome === OfferOutcome.have ? outcome : OfferOutcome.busy;
}

export function encodeRequest(request: TransferRequest): Uint8Array {
  return frames.TransferRequest.encode(request).finish();
}

export function decodeRequest(bytes: Uint8Array): TransferRequest | undefined {
  const raw = attempt(() => frames.TransferRequest.decode(bytes));
  if (raw === undefined) return undefined;
  const { group, index, from, to } = raw;
  return [group, index, from, to].every(isCount) ? { group, index, from, to } : undefined;
}

export function encodeEntries(batch: Entries): Uint8Array {
  const { entries, next, commit, gone } = batch;
  const header = frames.EntryBatch.encode({
    index: entries.map((entry) => entry.index),
    term: entries.map((entry) => entry.term),
    kind: entries.map((entry) => entry.kind),
    bodyCrc: entries.map((entry) => entry.crc),
    bodyLength: entries.map((entry) => entry.body.length),
    next,
    commit,
    gone,
  }).finish();
  let total = 4 + header.length;
  for (const entry of entries) total += entry.body.length;
  const bytes = new Uint8Array(total);
  writeU32(bytes, 0, header.length);
  bytes.set(header, 4);
  let at = 4 + header.length;
  for (const entry of entries) {
    bytes.set(entry.body, at);
    at += entry.body.length;
  }
  return bytes;
}

export function decodeEntries(bytes: Uint8Array): Entries | undefined {
  if (bytes.length < 4) return undefined;
  const end = 4 + readU32(bytes, 0);
  if (end > bytes.length) return undefined;
  const raw = attempt(() => frames.EntryBatch.decode(bytes.subarray(4, end)));
  if (raw === undefined) return undefined;
  const { index, term, kind, bodyCrc, bodyLength, next, commit, gone } = raw;
  const count = index.length;
  if ([term, kind, bodyCrc, bodyLength].some((column) => column.length !== count)) return undefined;
  if (!isCount(next) || !isCount(commit)) return undefined;
  const entries: LogEntry[] = [];
  let at = end;
  for (let i = 0; i < count; i++) {
    if (at + bodyLength[i] > bytes.length) return undefined;
    const entry = checkEntry(index[i], term[i], kind[i], bodyCrc[i], bytes.subarray(at, at + bodyLength[i]));
    if (typeof entry === 'string') return undefined;
    entries.push(entry);
    at += bodyLength[i];
  }
  return at === bytes.length ? { entries, next, commit, gone } : undefined;
}
