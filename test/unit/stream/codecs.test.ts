import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BATCH_HEADER_BYTES,
  BatchBuilder,
  CommandType,
  commandBody,
  commandEnd,
  PublishView,
  readBatchHeader,
  readPublish,
  viewOf,
} from '../../../src/stream/batch-codec.ts';
import { Fifo } from '../../../src/stream/fifo.ts';
import { Header, PublishHeaders, parseTtl, withoutStatus } from '../../../src/stream/publish-headers.ts';
import { SubjectMatcher } from '../../../src/stream/subject-matcher.ts';
import { utf8Length, writeUtf8 } from '../../../src/stream/text.ts';
import { subjectMatches } from '../../../src/subjects/subject.ts';
import { headers } from './fake-world.ts';

const encoder = new TextEncoder();

describe('batch', () => {
  const publish = fc.record({
    subject: fc.constantFrom('a', 'a', 'b.c', 'ü.ö', 'x'.repeat(300)),
    hdr: fc.uint8Array({ maxLength: 60 }),
    payload: fc.uint8Array({ maxLength: 200 }),
    id: fc.boolean(),
    ttl: fc.constantFrom(0, 0, 1, 0xffffffff),
    rollup: fc.constantFrom(0, 1, 2),
  });
  const command = fc.record({ type: fc.integer({ min: 2, max: 63 }), body: fc.uint8Array({ maxLength: 50 }) });

  test('what is built is read, each message by its offset alone', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(publish, command), { minLength: 1, maxLength: 30 }), (items) => {
        const builder = new BatchBuilder();
        builder.begin(2 ** 40, 1_700_000_000_000_123, 77);
        for (const item of items) {
          if ('type' in item) builder.command(item.type, item.body);
          else {
            const idEnd = item.id ? item.hdr.length : 0;
            builder.publish(item.subject, item.hdr, item.payload, item.rollup, 0, idEnd, item.ttl);
          }
        }
        const body = builder.finish();
        const view = viewOf(body);
        expect(readBatchHeader(view)).toMatchObject({ work: 77, baseSeq: 2 ** 40, stampUs: 1_700_000_000_000_123 });
        const out = new PublishView();
        const read: unknown[] = [];
        for (let at = BATCH_HEADER_BYTES; at < body.length; ) {
          const type = view.getUint8(at);
          if (type !== CommandType.publish) {
            read.push({ type, body: commandBody(view, body, at) });
            at = commandEnd(view, at);
            continue;
          }
          at = readPublish(view, at, out);
          expect(out.idEnd - out.idAt).toBe(out.flags & 4 ? out.hdrEnd - out.hdrAt : 0);
          read.push({
            subject: Buffer.from(body.subarray(out.subjectAt, out.subjectEnd)).toString(),
            hdr: body.slice(out.hdrAt, out.hdrEnd),
            payload: body.slice(out.payloadAt, out.payloadEnd),
            id: (out.flags & 4) !== 0,
            ttl: out.ttlSeconds,
            rollup: out.flags & 3,
          });
        }
        const expected = items.map((item) => ('type' in item ? item : { ...item, id: item.id && item.hdr.length > 0 }));
        expect(read).toEqual(expected);
        expect(builder.empty).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});

describe('headers of a publish', () => {
  test('values in place, the first of several, nothing from payloads or look-alikes', () => {
    const found = new PublishHeaders();
    const hdr = headers({
      X: '1',
      'Nats-Msg-Id': '  id 1 ',
      'nats-rollup': 'sub',
      'Nats-Expected-Last-Sequence': '42',
      'Nats-TTL': '',
    });
    expect(found.scan(hdr)).toBe(true);
    expect(found.text(Header.msgId)).toBe('id 1');
    expect(found.number(Header.expectedLastSeq)).toBe(42);
    expect(found.has(Header.rollup)).toBe(false);
    expect(found.has(Header.ttl)).toBe(false);
    const twice = encoder.encode(
      'NATS/1.0\r\nNats-Msg-Id: a\r\nNats-Msg-Id: b\r\nX-Nats-TTL: 1\r\nNats-Msg-Idx: c\r\n\r\n',
    );
    expect(found.scan(twice)).toBe(true);
    expect(found.text(Header.msgId)).toBe('a');
    expect(found.present).toBe(1);
    expect(found.scan(headers({ Plain: 'Nats-Msg-Id: x' }))).toBe(false);
  });

  test('no bytes make the scan fail', () => {
    const found = new PublishHeaders();
    const piece = fc.constantFrom(
      'Nats-',
      'Nats-Msg-Id',
      ':',
      ' ',
      '\r\n',
      '\n',
      'NATS/1.0',
      'x',
      'Nats-Rollup: ',
      '\u00fc',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), fc.uint8Array({ maxLength: 6 }), (pieces, tail) => {
        const hdr = new Uint8Array([...encoder.encode(pieces.join('')), ...tail]);
        found.scan(withoutStatus(hdr));
        for (const header of Object.values(Header))
          if (found.has(header)) expect(found.to(header)).toBeGreaterThan(found.from(header));
      }),
      { numRuns: 500 },
    );
  });

  test('Nats-TTL', () => {
    expect(['5', '00', '1h30m', '1.9s', 'NEVER', '90s'].map(parseTtl)).toEqual([
      5,
      0,
      5400,
      1,
      Number.POSITIVE_INFINITY,
      90,
    ]);
    expect(['', 'x', '-1', '0', '500ms', '1d', '5 s', '99999999999'].map(parseTtl)).toEqual(Array(8).fill(undefined));
  });
});

test('patterns say the same of bytes as of strings', () => {
  const token = fc.constantFrom('a', 'b', 'ab', '*', '>', 'a*', '>b', 'ü');
  const literal = fc.array(fc.constantFrom('a', 'b', 'ab', 'a*', '>b', 'ü'), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.array(token, { minLength: 1, maxLength: 4 }), literal, (tokens, subject) => {
      // `>` stands last only.
      const pattern = tokens.map((t, i) => (t === '>' && i + 1 < tokens.length ? 'a' : t)).join('.');
      const bytes = encoder.encode(`..${subject.join('.')}`);
      expect(new SubjectMatcher(pattern).matches(bytes, 2, bytes.length)).toBe(
        subjectMatches(pattern, subject.join('.')),
      );
    }),
    { numRuns: 500 },
  );
});

test('texts as UTF-8', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 20 }), (text) => {
      const expected = encoder.encode(text);
      const buffer = new Uint8Array(text.length * 3 + 4);
      expect(writeUtf8(buffer, 2, text)).toBe(2 + expected.length);
      expect(buffer.slice(2, 2 + expected.length)).toEqual(expected);
      expect(utf8Length(text)).toBe(expected.length);
    }),
  );
});

test('fifo', () => {
  const fifo = new Fifo<number>();
  const model: number[] = [];
  for (let i = 0; i < 5000; i++) {
    fifo.push(i);
    model.push(i);
    if (i % 3 > 0 && i % 500 < 400) expect(fifo.shift()).toBe(model.shift());
    expect(fifo.peek()).toBe(model[0]);
    expect(fifo.size).toBe(model.length);
  }
  expect(fifo.drain()).toEqual(model);
  expect(fifo.shift()).toBeUndefined();
});
