// Frames of forwarded publishes and their answers: what is written is read, and whatever else arrives (a part of a frame, rows of another
// format, noise) ends with a result.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  ANSWERS,
  FORWARD,
  FrameBuilder,
  frameHeader,
  RETURNED,
  readFrame,
} from '../../../src/jetstream/publish-codec.ts';

const EPOCH = 7;

/** Everything that a frame says, and whether it is whole. */
function read(bytes: Uint8Array): { items: unknown[]; whole: boolean } {
  const items: unknown[] = [];
  const whole = readFrame(bytes, {
    onForward: (group, term, token, subject, hdr, payload) =>
      items.push([group, term, token, subject, `${Buffer.from(hdr)}`, `${Buffer.from(payload)}`]),
    onStored: (token, seq, duplicate) => items.push([token, seq, duplicate]),
    onRefused: (token, errCode, code, text) => items.push([token, errCode, code, text]),
  });
  return { items, whole };
}

function forwardOf(kind: number): Uint8Array {
  const builder = new FrameBuilder(kind);
  builder.addForward(64 * 5e9, 1, 0xffffffff, { subject: 'a', hdr: Buffer.from(''), payload: Buffer.from('') });
  builder.addForward(65, 2 ** 40, 3, {
    subject: 'b.ö',
    hdr: Buffer.from('NATS/1.0\r\n\r\n'),
    payload: Buffer.from('xyz'),
  });
  return builder.take(EPOCH);
}

const FORWARDED = [
  [64 * 5e9, 1, 0xffffffff, 'a', '', ''],
  [65, 2 ** 40, 3, 'b.ö', 'NATS/1.0\r\n\r\n', 'xyz'],
];

function answers(): Uint8Array {
  const builder = new FrameBuilder(ANSWERS);
  builder.addStored(1, 2 ** 50, false);
  builder.addStored(2, 9, true);
  builder.addRefused(3, 10071, 400, 'wrong');
  return builder.take(EPOCH);
}

test.each([FORWARD, RETURNED])('publishes keep their terms, numbers and bytes (kind %i)', (kind) => {
  const frame = forwardOf(kind);
  expect(frameHeader(frame)).toEqual({ kind, epoch: EPOCH });
  expect(read(frame)).toEqual({ items: FORWARDED, whole: true });
});

test('answers keep theirs', () => {
  expect(read(answers())).toEqual({
    items: [
      [1, 2 ** 50, false],
      [2, 9, true],
      [3, 10071, 400, 'wrong'],
    ],
    whole: true,
  });
});

test.each([
  ['publishes', forwardOf(FORWARD), 2],
  ['answers', answers(), 3],
])('of %s that are cut off anywhere what is whole is read', (_, frame, count) => {
  const ends = new Set<number>();
  for (let end = 5; end < frame.length; end++) {
    const { items, whole } = read(frame.subarray(0, end));
    expect(items.length).toBeLessThan(count);
    if (whole) ends.add(end);
  }
  // Only between two items nothing is missing.
  expect(ends.size).toBe(count);
});

test('rows without a term are malformed, not misread', () => {
  const frame = new Uint8Array(5 + 22 + 3);
  const view = new DataView(frame.buffer);
  frame[0] = FORWARD;
  view.setFloat64(5, 320);
  view.setUint32(13, 1);
  view.setUint16(17, 1);
  view.setUint32(23, 2);
  expect(read(frame)).toEqual({ items: [], whole: false });
});

test('noise ends with a result', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 200 }),
      fc.constantFrom(FORWARD, ANSWERS, RETURNED),
      (noise, kind) => {
        noise[0] = kind;
        if (frameHeader(noise) === undefined) expect(noise.length).toBeLessThan(5);
        else expect(read(noise).whole).toBeTypeOf('boolean');
      },
    ),
  );
});
