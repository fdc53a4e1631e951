// Ack subjects of both forms, and what is none (nats-surface A1, A2).
import { expect, test } from 'vitest';
import { parseAckSubject } from '../../../src/jetstream/consumer-router.ts';

const PARSED = { stream: 'S', consumer: 'C', delivered: 2, streamSeq: 30, consumerSeq: 41 };

test.each([
  ['$JS.ACK.S.C.2.30.41.1700000000000000000.7', PARSED],
  ['$JS.ACK._.hash.S.C.2.30.41.1700000000000000000.7', PARSED],
  ['$JS.ACK.hub.hash.S.C.2.30.41.1700000000000000000.7.token', PARSED],
  [`$JS.ACK.hub.hash.S.C.2.30.41.${'x.'.repeat(40)}y`, PARSED],
  ['$JS.ACK.S.C.0.0.0.0.0', { ...PARSED, delivered: 0, streamSeq: 0, consumerSeq: 0 }],
  [
    `$JS.ACK.S.C.1.${Number.MAX_SAFE_INTEGER}.1.1.1`,
    { ...PARSED, delivered: 1, streamSeq: 2 ** 53 - 1, consumerSeq: 1 },
  ],
  [`$JS.ACK.S.C.1.${2 ** 53}.1.1.1`, undefined],
  [`$JS.ACK.S.C.1.${'9'.repeat(400)}.1.1.1`, undefined],
  ['$JS.ACK.S.C.2.30.41.7', undefined],
  ['$JS.ACK._.S.C.2.30.41.17.7', undefined],
  ['$JS.ACK.S.C..30.41.17.7', undefined],
  ['$JS.ACK.S.C.2.-30.41.17.7', undefined],
  ['$JS.ACK.S.C.2.1e3.41.17.7', undefined],
  ['$JS.ACK.S.C.x.30.41.17.7', undefined],
  ['', undefined],
])('%s', (subject, expected) => {
  expect(parseAckSubject(subject)).toEqual(expected);
});
