import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RawMessage } from '../../../src/broker/raw-message.ts';
import { RouteDecoder, RouteEncoder, type RouteHandler } from '../../../src/broker/route-codec.ts';
import { Interner } from '../../../src/subjects/interner.ts';

type Record_ =
  | { kind: 'begin' }
  | { kind: 'end' }
  | { kind: 'interest'; account: string; subject: string; queue: string; weight: number }
  | {
      kind: 'message';
      account: string;
      target: string;
      picks: string[];
      subject: string;
      reply: string;
      hdr: Uint8Array;
      payload: Uint8Array;
      raw: boolean;
    };

const name = fc.constantFrom('a', 'foo.bar', '$G', 'größe.日本.😀', 'x'.repeat(130), 'y'.repeat(5000));
const optional = fc.oneof(fc.constant(''), name);
const body = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.constantFrom(16_383, 16_384, 70_000).map((n) => new Uint8Array(n).fill(7)),
);
const record: fc.Arbitrary<Record_> = fc.oneof(
  fc.constantFrom('begin', 'end').map((kind) => ({ kind }) as Record_),
  fc.record({
    kind: fc.constant('interest' as const),
    account: name,
    subject: name,
    queue: optional,
    weight: fc.constantFrom(0, 1, 127, 128, 100_000),
  }),
  fc.record({
    kind: fc.constant('message' as const),
    account: name,
    target: name,
    picks: fc.array(name, { maxLength: 3 }),
    subject: name,
    reply: optional,
    hdr: fc.oneof(fc.constant(new Uint8Array(0)), body),
    payload: body,
    raw: fc.boolean(),
  }),
);

function encode(encoder: RouteEncoder, r: Record_): void {
  if (r.kind === 'begin') encoder.syncBegin();
  else if (r.kind === 'end') encoder.syncEnd();
  else if (r.kind === 'interest') encoder.interest(r.account, r.subject, r.queue, r.weight);
  else if (!r.raw) encoder.message(r.account, r.target, r.picks, r);
  else {
    const m = new RawMessage();
    m.subject = r.subject;
    m.reply = r.reply;
    const bytes = Buffer.concat([Buffer.from('xx'), r.hdr, r.payload, Buffer.from('yy')]);
    m.setBody(bytes, 2, 2 + r.hdr.length, bytes.length - 2);
    encoder.message(r.account, r.target, r.picks, m);
  }
}

function decode(bytes: Uint8Array): { ok: boolean; records: Record_[] } {
  const records: Record_[] = [];
  const handler: RouteHandler = {
    onSyncBegin: () => records.push({ kind: 'begin' }),
    onSyncEnd: () => records.push({ kind: 'end' }),
    onInterest: (account, subject, queue, weight) =>
      records.push({ kind: 'interest', account, subject, queue, weight }),
    onMessage: (account, target, picks, m) =>
      records.push({
        kind: 'message',
        account,
        target,
        picks: [...picks],
        subject: m.subject,
        reply: m.reply,
        hdr: Uint8Array.from(m.hdr),
        payload: Uint8Array.from(m.payload),
        raw: false,
      }),
  };
  return { ok: new RouteDecoder(handler, new Interner()).frame(bytes), records };
}

const plain = (r: Record_) => (r.kind === 'message' ? { ...r, raw: false } : r);

describe('route codec', () => {
  test('what goes in comes out, in order, whatever the batches', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(record, fc.boolean()), { maxLength: 12 }), (steps) => {
        const encoder = new RouteEncoder();
        const frames: Uint8Array[][] = [];
        for (const [r, take] of steps) {
          encode(encoder, r);
          if (take) frames.push(encoder.take());
        }
        const { bytes } = encoder;
        const last = encoder.take();
        expect(Buffer.concat(last).length).toBe(bytes);
        frames.push(last);
        const decoded = frames.flatMap((parts) => {
          const { ok, records } = decode(Buffer.concat(parts));
          expect(ok).toBe(true);
          return records;
        });
        expect(decoded).toEqual(steps.map(([r]) => plain(r)));
      }),
      { numRuns: 150 },
    );
  });

  test('cut or altered frames are refused or read, never thrown at', () => {
    const encoder = new RouteEncoder();
    encoder.syncBegin();
    encoder.interest('$G', 'foo.*', 'q', 300);
    encoder.message('$G', 'inbox', ['q1', 'q2'], {
      subject: 'foo',
      reply: 'r',
      hdr: Buffer.from('hdr'),
      payload: Buffer.from('payload'),
    });
    const frame = Buffer.concat(encoder.take());
    const whole = decode(frame).records;
    for (let end = 0; end < frame.length; end++) {
      const { records } = decode(frame.subarray(0, end));
      expect(records).toEqual(whole.slice(0, records.length));
    }
    fc.assert(
      fc.property(fc.nat(frame.length - 1), fc.nat(255), (at, byte) => {
        const altered = Buffer.from(frame);
        altered[at] = byte;
        decode(altered);
      }),
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => void decode(bytes)));
  });
});
