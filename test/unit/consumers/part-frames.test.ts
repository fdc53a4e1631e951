// Frames between a consumer's home and its parts: what is written is read, what is damaged is said so and never thrown, and a part
// believes nothing that cannot be.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  decodeHomeFrame,
  encodeClosed,
  encodeHomeFrame,
  encodeMissing,
  type HomeFrame,
  type Offer,
  PartFrame,
  type PartStanding,
  readPartFrame,
  SupplyWriter,
} from '../../../src/stream/part-frames.ts';
import { PartTarget } from '../../../src/stream/part-target.ts';

const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
const ids = fc.uniqueArray(fc.integer({ min: 1, max: 1e6 })).map((values) => values.sort((a, b) => a - b));
const text = fc.string({ maxLength: 20 });
const bytes = fc.uint8Array({ maxLength: 40 });

const homeFrame: fc.Arbitrary<HomeFrame> = fc.oneof(
  fc.record({
    kind: fc.constant(PartFrame.open),
    session: count,
    name: text,
    homeId: count,
    config: text,
    level: count,
    start: count,
    after: count,
    lastsEnd: count,
  }),
  fc.record({
    kind: fc.constant(PartFrame.demand),
    session: count,
    name: text,
    epoch: count,
    credit: count,
    news: count,
    taken: count,
    poll: count,
    round: count,
    level: count,
  }),
  fc.record({ kind: fc.constant(PartFrame.rewind), session: count, name: text, taken: count }),
  fc.record({ kind: fc.constant(PartFrame.close), session: count, name: text }),
  fc.record({ kind: fc.constant(PartFrame.sync), session: count, nextId: count, ids }),
  fc.record({ kind: fc.constant(PartFrame.ackAll), session: count, name: text, upTo: count, token: count }),
);

const offer: fc.Arbitrary<Offer> = fc.record({
  seq: count,
  isNew: fc.boolean(),
  deliveries: count,
  stampUs: count,
  subject: text,
  hdr: bytes,
  payload: bytes,
});

const STANDING: PartStanding = {
  left: 7,
  again: 1,
  pending: 3,
  settled: 90,
  lastSeq: 95,
  poll: 2,
  round: 3,
  voided: 4,
  voidedNews: 5,
  lastsEnd: 6,
};

/** Everything that a frame says, in order; undefined when it is malformed. */
function heard(frame: Uint8Array): unknown[] | undefined {
  const said: unknown[] = [];
  const isWhole = readPartFrame(frame, {
    supply: (session, name, epoch) => {
      said.push([session, name, epoch]);
      return {
        offer: ({ hdr, payload, ...rest }) =>
          void said.push({ ...rest, hdr: Uint8Array.from(hdr), payload: Uint8Array.from(payload) }),
        withdraw: (seq) => void said.push(['withdraw', seq]),
        confirm: (inbox) => void said.push(['confirm', inbox]),
        ackAll: (seq, inbox) => void said.push(['ackAll', seq, inbox]),
        ackedAll: (token) => void said.push(['ackedAll', token]),
        standing: (standing) => void said.push(standing),
      };
    },
    closed: (...what) => void said.push(what),
    missing: (...what) => void said.push(what),
  });
  return isWhole ? said : undefined;
}

test('frames of the home', () => {
  fc.assert(
    fc.property(homeFrame, (frame) => {
      expect(decodeHomeFrame(encodeHomeFrame(frame))).toEqual(frame);
    }),
  );
});

test('frames of a part', () => {
  fc.assert(
    fc.property(fc.array(offer, { maxLength: 5 }), count, text, (offers, seq, inbox) => {
      const writer = new SupplyWriter();
      writer.begin(seq, 'C', 3);
      for (const one of offers) writer.offer(one);
      writer.withdraw(seq);
      writer.confirm(inbox);
      writer.ackAll(seq, inbox);
      writer.ackedAll(9);
      const frame = writer.finish(STANDING);
      const tail = [['withdraw', seq], ['confirm', inbox], ['ackAll', seq, inbox], ['ackedAll', 9], STANDING];
      expect(heard(frame)).toEqual([[seq, 'C', 3], ...offers, ...tail]);
      for (let end = 0; end < frame.length; end++) expect(heard(frame.subarray(0, end))).toBeUndefined();
    }),
    { numRuns: 50 },
  );
  expect(heard(encodeClosed(5, 'C', true))).toEqual([[5, 'C', true]]);
  expect(heard(encodeMissing(5, [1, 2, 9]))).toEqual([[5, [1, 2, 9]]]);
});

test('damaged frames are refused, never thrown', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
      decodeHomeFrame(noise);
      heard(noise);
    }),
    { numRuns: 500 },
  );
});

test('a home that has handed out more than was sent is told to begin anew', () => {
  const lost: unknown[] = [];
  const frames: Uint8Array[] = [];
  const part = new PartTarget(
    { send: (_, frame) => frames.push(frame) > 0, lost: (...what) => void lost.push(what) },
    'C',
  );
  part.open(77, 2);
  part.demand({
    kind: PartFrame.demand,
    session: 77,
    name: 'C',
    epoch: 0,
    credit: 2,
    news: 2,
    taken: 0,
    poll: 0,
    round: 0,
    level: 0,
  });
  const message = { deliveries: 1, stampUs: 1, subject: 's', hdr: new Uint8Array(0), payload: new Uint8Array(3) };
  part.offer({ seq: 4, isNew: true, ...message }, 4);
  part.offer({ seq: 8, isNew: true, ...message }, 4);
  expect(part.admits).toBe(false);
  const taken: number[] = [];
  expect(part.taken(1, (seq) => taken.push(seq))).toBe(true);
  expect(part.taken(2, (seq) => taken.push(seq))).toBe(false);
  expect(taken).toEqual([4]);
  part.breakOff();
  expect(lost).toEqual([[2, 77, 'C']]);
  expect(part.takeBack()).toEqual([8]);
});
