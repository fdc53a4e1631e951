// Values of the rebuildable store: what they are valid for, then the bytes, under one checksum. Pure.
// Used by level-kv.ts (the checksum of every value) and by owners of checkpoints (the validity).
// Invariant: a value that was damaged, or made for another group, another incarnation of the data or an unknown format, reads as absent.
import { crc32c } from '@node-rs/crc32';
import type { GroupId, Index } from '../core/types.ts';

export interface Validity {
  group: GroupId;
  /** Of the data directory (PeerId of this node). */
  incarnation: number;
  /** Applied index at which the value was taken. */
  index: Index;
}

const TWO32 = 4294967296;
const CHECKSUM_BYTES = 4;
const VALIDITY_BYTES = 25;
const FORMAT = 1;

/** crc, then the bytes. */
export function addChecksum(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(CHECKSUM_BYTES + bytes.length);
  out.set(bytes, CHECKSUM_BYTES);
  new DataView(out.buffer).setUint32(0, crc32c(bytes), true);
  return out;
}

/** Undefined: damaged. The result is a view of the given bytes. */
export function checkChecksum(stored: Uint8Array): Uint8Array | undefined {
  if (stored.length < CHECKSUM_BYTES) return undefined;
  const bytes = stored.subarray(CHECKSUM_BYTES);
  const view = new DataView(stored.buffer, stored.byteOffset, stored.length);
  return view.getUint32(0, true) === crc32c(bytes) ? bytes : undefined;
}

export function encodeValid(validity: Validity, body: Uint8Array): Uint8Array {
  const out = new Uint8Array(VALIDITY_BYTES + body.length);
  const view = new DataView(out.buffer);
  view.setUint8(0, FORMAT);
  [validity.group, validity.incarnation, validity.index].forEach((value, i) => {
    view.setUint32(1 + i * 8, value % TWO32, true);
    view.setUint32(5 + i * 8, Math.floor(value / TWO32), true);
  });
  out.set(body, VALIDITY_BYTES);
  return out;
}

/** Undefined: not for this group and incarnation, or not this format. */
export function decodeValid(
  value: Uint8Array,
  group: GroupId,
  incarnation: number,
): { index: Index; body: Uint8Array } | undefined {
  if (value.length < VALIDITY_BYTES || value[0] !== FORMAT) return undefined;
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  const number = (i: number): number => view.getUint32(1 + i * 8, true) + view.getUint32(5 + i * 8, true) * TWO32;
  if (number(0) !== group || number(1) !== incarnation) return undefined;
  return { index: number(2), body: value.subarray(VALIDITY_BYTES) };
}
