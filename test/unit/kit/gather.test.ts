// Parts gathered for one call, and what is left of them after a short write: always the same bytes in the same order.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { gatherParts, restOf } from '../../../src/kit/gather.ts';

const part = fc
  .tuple(fc.constantFrom(0, 1, 100, 2_048, 2_049, 70_000), fc.nat(255))
  .map(([bytes, fill]) => new Uint8Array(bytes).fill(fill));

test('gathering changes no byte, and passes large parts on as they are', () => {
  fc.assert(
    fc.property(fc.array(part, { maxLength: 60 }), (parts) => {
      const gathered = gatherParts(parts);
      expect(Buffer.concat(gathered).equals(Buffer.concat(parts))).toBe(true);
      for (const each of parts) if (each.length > 2_048) expect(gathered).toContain(each);
    }),
  );
});

test('what is left after a write of any length', () => {
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), fc.nat(), (parts, some) => {
      const all = Buffer.concat(parts);
      for (const written of [0, some % (all.length + 1), all.length]) {
        expect(Buffer.concat(restOf(parts, written)).equals(all.subarray(written))).toBe(true);
      }
      expect(restOf(parts, all.length).length).toBe(0);
    }),
  );
});
