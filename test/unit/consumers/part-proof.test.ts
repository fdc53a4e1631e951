// A home hands out what a part gave to it while that part's leader has lately said, in the same session and with proof, that it leads: the
// two ends against each other, frames carried by hand.
import { beforeEach, expect, test } from 'vitest';
import { PROOF_MS } from '../../../cluster/host/types.ts';
import { HomeSource } from '../../../src/stream/home-source.ts';
import { decodeHomeFrame, PartFrame, readPartFrame } from '../../../src/stream/part-frames.ts';
import { PartTarget } from '../../../src/stream/part-target.ts';

const STANDING = { left: 0, again: 0, pending: 1, settled: 4, lastSeq: 4, lastsEnd: 0 };
const MESSAGE = { deliveries: 1, stampUs: 1, subject: 's', hdr: new Uint8Array(0), payload: new Uint8Array(3) };

let nowMs = 0;
let toPart: Uint8Array[] = [];
let toHome: Uint8Array[] = [];
let source: HomeSource;
let part: PartTarget;

beforeEach(() => {
  nowMs = 1000;
  toPart = [];
  toHome = [];
  const nothing = (): void => undefined;
  source = new HomeSource(
    {
      name: 'C',
      nowMs: () => nowMs,
      toPart: (_, frame) => toPart.push(frame) > 0,
      confirm: nothing,
      ackAll: nothing,
      ackedAll: nothing,
      touch: nothing,
      lost: nothing,
      changed: nothing,
    },
    1,
  );
  part = new PartTarget({ send: (_, frame) => toHome.push(frame) > 0, lost: nothing }, 'C');
  source.opened(9);
  part.open(9, 2);
});

/** The part hears what the home has sent, and answers; `proven`: its leader is certain of itself now. */
function partAnswers(proven: boolean): void {
  for (const bytes of toPart.splice(0)) {
    const frame = decodeHomeFrame(bytes);
    if (frame?.kind === PartFrame.demand) part.demand(frame);
  }
  if (proven && part.owesProof) part.proven();
  expect(part.report(STANDING)).toBe(true);
}

function homeHears(): void {
  for (const bytes of toHome.splice(0)) {
    readPartFrame(bytes, {
      supply: (session, _, epoch) => (session === source.session ? source.reader(epoch) : undefined),
      closed: () => undefined,
      missing: () => undefined,
    });
  }
}

test('what comes for a demand may be handed out at once, for as long as the proof lasts', () => {
  source.demand(1, 1, 0);
  partAnswers(true);
  part.offer({ seq: 4, isNew: true, ...MESSAGE }, 4);
  part.report(STANDING);
  nowMs += 30;
  homeHears();
  expect(source.buffered).toBe(1);
  expect(source.mayHandOut(nowMs)).toBe(true);
  // It counts from when the home asked.
  nowMs = 1000 + PROOF_MS;
  expect(source.mayHandOut(nowMs)).toBe(false);
});

test('then it asks once, and goes on with the answer; one without proof is none', () => {
  source.demand(1, 1, 0);
  partAnswers(true);
  part.offer({ seq: 4, isNew: true, ...MESSAGE }, 4);
  part.report(STANDING);
  homeHears();
  nowMs = 60_000;
  expect(source.mayHandOut(nowMs)).toBe(false);
  expect(source.mayHandOut(nowMs)).toBe(false);
  expect(toPart).toHaveLength(1);
  partAnswers(false);
  homeHears();
  expect(source.mayHandOut(nowMs)).toBe(false);
  expect(part.owesProof).toBe(true);
  expect(toPart).toHaveLength(0);
  nowMs += 50;
  partAnswers(true);
  homeHears();
  expect(source.mayHandOut(nowMs)).toBe(true);
  expect(source.mayHandOut(60_000 + PROOF_MS)).toBe(false);
});

test('an answer that was a long time on its way proves nothing, and is followed by another question', () => {
  source.demand(1, 1, 0);
  partAnswers(true);
  part.offer({ seq: 4, isNew: true, ...MESSAGE }, 4);
  part.report(STANDING);
  nowMs += PROOF_MS;
  homeHears();
  expect(source.mayHandOut(nowMs)).toBe(false);
  expect(toPart).toHaveLength(1);
  partAnswers(true);
  homeHears();
  expect(source.mayHandOut(nowMs)).toBe(true);
});

test('proof of one session is none of the next, and a rewind leaves it', () => {
  source.demand(1, 1, 0);
  partAnswers(true);
  homeHears();
  expect(source.mayHandOut(nowMs)).toBe(true);
  source.rewind();
  expect(source.mayHandOut(nowMs)).toBe(true);
  source.opened(10);
  expect(source.mayHandOut(nowMs)).toBe(false);
  partAnswers(true);
  homeHears();
  expect(source.mayHandOut(nowMs)).toBe(false);
});

test('an answer counts whatever has been given back meanwhile', () => {
  source.demand(1, 1, 0);
  partAnswers(true);
  source.rewind();
  homeHears();
  expect(source.mayHandOut(nowMs)).toBe(true);
});
