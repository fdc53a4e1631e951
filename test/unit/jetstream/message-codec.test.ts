// Messages between nodes: what goes in comes out, and bytes that no node wrote are refused, never thrown at.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeBatch, decodeMessage, encodeBatch, encodeMessage } from '../../../src/jetstream/message-codec.ts';

const message = fc.record({
  seq: fc.nat(2 ** 52),
  subject: fc.string({ unit: 'grapheme', maxLength: 20 }),
  hdr: fc.uint8Array({ maxLength: 30 }),
  payload: fc.uint8Array({ maxLength: 30 }),
  stampUs: fc.nat(2 ** 52),
});
const batch = fc.record({ messages: fc.array(message, { maxLength: 5 }), more: fc.boolean(), pending: fc.nat() });

describe('messages between nodes', () => {
  test('come out as they went in', () => {
    fc.assert(
      fc.property(message, (one) => void expect(decodeMessage(encodeMessage(3, one).subarray(1))).toEqual(one)),
    );
    fc.assert(fc.property(batch, (all) => void expect(decodeBatch(encodeBatch(4, all).subarray(1))).toEqual(all)));
  });

  test('cut, altered or arbitrary bytes are refused or read', () => {
    fc.assert(
      fc.property(batch, fc.nat(), fc.nat(255), (all, at, byte) => {
        const bytes = encodeBatch(4, all).subarray(1);
        const cut = decodeBatch(bytes.subarray(0, at % bytes.length));
        if (cut !== undefined) expect(all.messages.slice(0, cut.messages.length)).toEqual(cut.messages);
        bytes[at % bytes.length] = byte;
        decodeBatch(bytes);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => void [decodeBatch(bytes), decodeMessage(bytes)]),
    );
  });
});
