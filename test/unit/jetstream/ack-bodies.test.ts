import { describe, expect, it } from 'vitest';
import { AckBodies } from '../../../src/jetstream/ack-bodies.ts';

const encoder = new TextEncoder();
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');

describe('bodies of PubAcks', () => {
  it('say seq and duplicate for every number of digits, in any prefix', () => {
    const bodies = new AckBodies();
    for (const name of ['S', 'Größe', 'x'.repeat(255)]) {
      const prefix = `{"stream":"${name}","seq":`;
      const head = encoder.encode(prefix);
      for (const seq of [0, 1, 9, 10, 99, 100, 4294967296, 999_999_999_999, Number.MAX_SAFE_INTEGER]) {
        const answer = bodies.stored('inbox.1', head, seq, false);
        expect([answer.subject, answer.reply, answer.hdr.length]).toEqual(['inbox.1', '', 0]);
        expect(text(answer.payload)).toBe(`${prefix}${seq}}`);
        const again = text(bodies.stored('i', head, seq, true).payload);
        expect(JSON.parse(again)).toEqual({ stream: name, seq, duplicate: true });
      }
    }
  });

  it('keep what was handed out', () => {
    const bodies = new AckBodies();
    const head = encoder.encode('{"stream":"S","seq":');
    const kept = Array.from({ length: 5_000 }, (_, i) => bodies.stored('i', head, i, i % 2 === 0).payload);
    kept.forEach((payload, i) => {
      expect(JSON.parse(text(payload)).seq).toBe(i);
    });
  });
});
