// Memberships: their bytes, what may follow what, and the overlap of majorities that single steps rest on.
import { crc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  crc32cOf,
  decodeMembership,
  encodeMembership,
  isSingleStep,
  MembershipLog,
  majorityOf,
} from '../../../cluster/core/membership.ts';
import type { Membership } from '../../../cluster/core/types.ts';

const peer = fc.integer({ min: 1, max: 2 ** 48 - 1 });
const membership = fc
  .uniqueArray(peer, { minLength: 1, maxLength: 9 })
  .chain((peers) =>
    fc.nat(peers.length - 1).map((cut): Membership => ({ voters: peers.slice(cut), learners: peers.slice(0, cut) })),
  );

describe('membership', () => {
  test('bytes and back, with the usual checksum', () => {
    fc.assert(
      fc.property(membership, (value) => {
        const bytes = encodeMembership(value);
        expect(decodeMembership(bytes)).toEqual(value);
        expect(crc32cOf(bytes)).toBe(crc32c(bytes));
      }),
    );
  });

  test('other bytes are not taken for a membership', () => {
    const bytes = encodeMembership({ voters: [1, 2], learners: [3] });
    for (let length = 0; length < bytes.length; length++)
      expect(decodeMembership(bytes.subarray(0, length))).toBeUndefined();
    expect(decodeMembership(new Uint8Array([...bytes, 0]))).toBeUndefined();
    expect(decodeMembership(new Uint8Array([9, ...bytes.subarray(1)]))).toBeUndefined();
  });

  test('majorities of neighbours overlap', () => {
    const subsets = (peers: number[]): number[][] =>
      Array.from({ length: 2 ** peers.length }, (_, bits) => peers.filter((_peer, i) => (bits >> i) & 1));
    for (let size = 1; size <= 5; size++) {
      const from = Array.from({ length: size }, (_, i) => i + 1);
      for (const to of [[...from, 9], from.slice(1)].filter((voters) => voters.length > 0)) {
        expect(isSingleStep({ voters: from, learners: [] }, { voters: to, learners: [] })).toBe(true);
        for (const a of subsets(from).filter((set) => set.length >= majorityOf(from))) {
          for (const b of subsets(to).filter((set) => set.length >= majorityOf(to))) {
            expect(a.some((one) => b.includes(one))).toBe(true);
          }
        }
      }
    }
  });

  test('the log of changes rolls back, is compacted, and knows what ruled when', () => {
    const voters = (...ids: number[]): Membership => ({ voters: ids, learners: [] });
    const log = new MembershipLog([{ index: 0, membership: voters(1) }], 3);
    const atHand = () => [log.latestIndex, log.quorum, log.selfVotes];
    expect(atHand()).toEqual([0, 1, false]);
    log.append(5, voters(1, 2));
    log.append(9, voters(1, 2, 3));
    expect(atHand()).toEqual([9, 2, true]);
    expect([0, 4, 5, 8, 9, 99].map((index) => log.at(index).voters.length)).toEqual([1, 1, 2, 2, 3, 3]);
    expect(log.previous).toEqual(voters(1, 2));
    log.truncateFrom(9);
    expect([log.latestIndex, log.latest]).toEqual([5, voters(1, 2)]);
    expect(atHand()).toEqual([5, 2, false]);
    log.compactTo(7);
    expect(log.at(7)).toEqual(voters(1, 2));
    expect(() => log.truncateFrom(5)).toThrow('none before it is known');
    log.reset(20, voters(3));
    expect(atHand()).toEqual([20, 1, true]);
  });
});
