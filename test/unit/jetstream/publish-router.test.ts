// The node where a publish entered always answers it: when the leader never does, when it does late, when the link has no room.
import { describe, expect, test } from 'vitest';
import {
  ANSWERS,
  FORWARD,
  FrameBuilder,
  frameHeader,
  RETURNED,
  readFrame,
} from '../../../src/jetstream/publish-codec.ts';
import { groupOf } from '../../../src/meta/types.ts';
import { ackOf, ELSEWHERE, EMPTY, HERE, returnOf, THERE, world } from './router-world.ts';

const UNKNOWN = /^\d+ r\d+ \{"error":\{"code":503,"err_code":10008,.*"stream":"S","seq":0\}$/;

describe('a publish is answered once', () => {
  test.each([HERE, THERE])('10008 when its leader (%i) never answers; a late answer changes nothing', (leader) => {
    const { answers, frames, published, publish, receive, run, scheduler } = world(leader);
    publish('r1');
    scheduler.runFor(2400);
    expect(answers).toEqual([]);
    scheduler.runFor(400);
    expect(answers).toEqual([expect.stringMatching(UNKNOWN)]);
    if (leader === HERE) run(() => published[0].sink.stored(published[0].token, 1, false));
    else receive(ackOf(frames[0], 1));
    scheduler.runFor(10_000);
    expect(answers).toHaveLength(1);
  });

  test('waits longer while others of its stream are answered, but not for ever', () => {
    const { answers, published, publish, run, scheduler } = world(HERE);
    publish('r1');
    for (let i = 2; scheduler.nowMs < 6000; i++) {
      publish(`r${i}`);
      run(() => published.at(-1)!.sink.stored(published.at(-1)!.token, i, false));
      scheduler.runFor(500);
    }
    const atMs = Number(answers.find((answer) => UNKNOWN.test(answer))?.split(' ')[0]);
    expect(atMs).toBeGreaterThanOrEqual(4500);
    expect(atMs).toBeLessThan(5000);
    expect(answers.filter((answer) => answer.includes(' r1 '))).toHaveLength(1);
  });

  test('when the link to the leader is lost', () => {
    const { answers, down, publish, scheduler } = world(THERE);
    publish('r1');
    scheduler.runFor(1);
    down();
    expect(answers).toEqual([expect.stringMatching(UNKNOWN)]);
    scheduler.runFor(10_000);
    expect(answers).toHaveLength(1);
  });

  test('answers for which a link has no room are sent when it has, in order; none without a link', () => {
    const { frames, link, published, receive, run, scheduler } = world(HERE);
    const forward = (token: number) => {
      const builder = new FrameBuilder(1);
      builder.addForward(groupOf(5, 0), 1, token, { subject: 'S.a', hdr: EMPTY, payload: EMPTY });
      receive(builder.take(7));
    };
    const stored = (): number[] =>
      frames.flatMap((frame) => {
        const seqs: number[] = [];
        readFrame(frame, {
          onForward: () => undefined,
          onStored: (_token, seq) => seqs.push(seq),
          onRefused: () => undefined,
        });
        return seqs;
      });
    link.full = true;
    for (let i = 0; i < 3; i++) {
      forward(i);
      run(() => published[i].sink.stored(published[i].token, i + 1, false));
      scheduler.runFor(50);
    }
    expect(frames).toEqual([]);
    link.full = false;
    scheduler.runFor(50);
    expect(stored()).toEqual([1, 2, 3]);
    link.up = false;
    run(() => published[0].sink.stored(published[0].token, 9, false));
    scheduler.runFor(50);
    link.up = true;
    scheduler.runFor(50);
    expect(stored()).toEqual([1, 2, 3]);
  });
});

/** Subjects and terms. */
function sentOf(frame: Uint8Array): [string, number][] {
  const sent: [string, number][] = [];
  expect(frameHeader(frame)?.kind).toBe(FORWARD);
  readFrame(frame, {
    onForward: (_group, term, _token, subject) => sent.push([subject, term]),
    onStored: () => undefined,
    onRefused: () => undefined,
  });
  return sent;
}

function subjectsOf(frame: Uint8Array): string[] {
  return sentOf(frame).map(([subject]) => subject);
}

describe('a publish that a leader returns', () => {
  test('waits for the next one, before those that came later, whether somebody waits for it or not', () => {
    const { answers, frames, lead, publish, receive, scheduler } = world(THERE);
    publish('r1', 'S.1');
    publish('', 'S.2');
    scheduler.runFor(1);
    publish('r3', 'S.3');
    scheduler.runFor(1);
    const [one, two] = frames.splice(0);
    lead(0);
    publish('r4', 'S.4');
    receive(returnOf(one));
    receive(returnOf(two));
    publish('r5', 'S.5');
    scheduler.runFor(20);
    expect([answers, frames]).toEqual([[], []]);
    lead(THERE);
    scheduler.runFor(1);
    expect(frames.flatMap(subjectsOf)).toEqual(['S.1', 'S.2', 'S.3', 'S.4', 'S.5']);
    receive(ackOf(frames[0], 9));
    expect(answers).toHaveLength(4);
    expect(answers.every((answer) => answer.includes('"seq":9'))).toBe(true);
  });

  test('also of this node, before it has said that it leads no longer', () => {
    const { frames, giveBack, lead, local, publish, published, scheduler } = world(HERE);
    publish('r1', 'S.1');
    local.leading = false;
    giveBack(published[0]);
    lead(0);
    lead(THERE);
    scheduler.runFor(1);
    expect(frames.flatMap(subjectsOf)).toEqual(['S.1']);
  });

  test('goes to the same leader when that leads again, though the word of that came first; later ones do not wait for ever', () => {
    const { answers, frames, lead, publish, receive, scheduler } = world(THERE);
    publish('r1', 'S.1');
    scheduler.runFor(1);
    lead(0);
    lead(THERE);
    receive(returnOf(frames.splice(0)[0]));
    publish('r2', 'S.2');
    scheduler.runFor(500);
    expect([answers, frames.flatMap(subjectsOf)]).toEqual([[], ['S.1', 'S.2']]);
  });

  test.each([HERE, THERE])(
    'by node %i is not sent there again in that term, and what comes later waits behind it',
    (leader) => {
      const { answers, frames, giveBack, lead, publish, published, receive, scheduler } = world(leader);
      publish('r1', 'S.1');
      scheduler.runFor(1);
      if (leader === HERE) giveBack(published.splice(0)[0]);
      else receive(returnOf(frames.splice(0)[0]));
      publish('r2', 'S.2');
      scheduler.runFor(1_000);
      expect([answers, frames, published]).toEqual([[], [], []]);
      lead(leader);
      scheduler.runFor(1);
      const sent = leader === HERE ? published.map(({ subject, term }) => [subject, term]) : frames.flatMap(sentOf);
      expect(sent).toEqual([
        ['S.1', 2],
        ['S.2', 2],
      ]);
    },
  );

  test('again and again, as its leaders change, is answered 503 after two seconds', () => {
    const { answers, giveBack, lead, publish, published, scheduler } = world(HERE);
    publish('r1', 'S.1');
    let tried = 0;
    for (let i = 0; i < 30; i++) {
      for (const one of published.splice(0)) {
        tried++;
        giveBack(one);
      }
      scheduler.runFor(50);
      lead(HERE);
      scheduler.runFor(50);
    }
    expect(tried).toBeGreaterThan(15);
    expect(answers).toEqual([expect.stringMatching(/^\d+ r1 NATS\/1.0 503/)]);
    expect(Number(answers[0].split(' ')[0])).toBeLessThan(2_300);
  });

  test('is waited for when the next one is known already: later ones do not overtake it', () => {
    const { frames, lead, publish, receive, receivers, scheduler } = world(THERE);
    publish('r1', 'S.1');
    scheduler.runFor(1);
    lead(ELSEWHERE);
    publish('r2', 'S.2');
    scheduler.runFor(100);
    expect(receivers).toEqual([THERE]);
    receive(returnOf(frames[0]));
    publish('r3', 'S.3');
    scheduler.runFor(20);
    expect(frames.slice(1).flatMap(subjectsOf)).toEqual(['S.1', 'S.2', 'S.3']);
    expect(new Set(receivers.slice(1))).toEqual(new Set([ELSEWHERE]));
  });

  test('by this node comes before later ones, also when the word of the next leader was read first', () => {
    const { answers, frames, giveBack, lead, local, publish, published, scheduler } = world(HERE);
    publish('r1', 'S.1');
    lead(THERE);
    publish('r2', 'S.2');
    local.leading = false;
    giveBack(published[0]);
    scheduler.runFor(20);
    expect([answers, frames.flatMap(subjectsOf)]).toEqual([[], ['S.1', 'S.2']]);
  });

  test('is not overtaken either when the same one leads again before it has come back', () => {
    const { answers, frames, lead, publish, receive, scheduler } = world(THERE);
    publish('r1', 'S.1');
    scheduler.runFor(1);
    lead(0);
    publish('r2', 'S.2');
    lead(THERE);
    scheduler.runFor(50);
    receive(returnOf(frames.splice(0)[0]));
    scheduler.runFor(20);
    expect([answers, frames.flatMap(subjectsOf)]).toEqual([[], ['S.1', 'S.2']]);
  });

  test('goes on when an earlier one was stored there', () => {
    const { answers, frames, lead, publish, receive, scheduler } = world(THERE);
    for (const reply of ['r1', 'r2']) {
      publish(reply, `S.${reply}`);
      scheduler.runFor(1);
    }
    const [one, two] = frames.splice(0);
    lead(0);
    publish('r3', 'S.r3');
    receive(returnOf(two));
    receive(ackOf(one, 1));
    lead(THERE);
    scheduler.runFor(20);
    expect(answers).toEqual([expect.stringContaining(' r1 {"stream":"S","seq":1}')]);
    expect(frames.flatMap(subjectsOf)).toEqual(['S.r2', 'S.r3']);
  });

  test.each(['r1', ''])(
    'is given up when a later one has gone to a later leader, whoever leads now (reply %j)',
    (reply) => {
      const { answers, frames, lead, publish, receive, scheduler, stats } = world(THERE);
      publish(reply, 'S.1');
      scheduler.runFor(1);
      lead(ELSEWHERE);
      publish('', 'S.2');
      scheduler.runFor(250);
      const [one, two] = frames.splice(0);
      lead(THERE);
      scheduler.runFor(250);
      receive(returnOf(one));
      receive(returnOf(two), ELSEWHERE);
      scheduler.runFor(20);
      expect(answers).toEqual(reply === '' ? [] : [expect.stringMatching(UNKNOWN)]);
      expect(stats.refused.get(10008)).toBe(1);
      expect(frames.flatMap(sentOf)).toEqual([['S.2', 3]]);
    },
  );

  test('late goes to the leader of now, with those that come back with it, if nothing has gone there', () => {
    const { answers, frames, lead, publish, receive, receivers, scheduler } = world(THERE);
    for (const subject of ['S.1', 'S.2']) {
      publish(subject, subject);
      scheduler.runFor(1);
    }
    lead(ELSEWHERE);
    scheduler.runFor(500);
    for (const frame of frames.splice(0)) receive(returnOf(frame));
    publish('r3', 'S.3');
    scheduler.runFor(20);
    expect(answers).toEqual([]);
    expect(frames.flatMap(subjectsOf)).toEqual(['S.1', 'S.2', 'S.3']);
    expect(receivers.at(-1)).toBe(ELSEWHERE);
  });

  test('is given up as well when another leader has stored a later one, and is gone when it comes back', () => {
    const { answers, frames, lead, publish, receive, scheduler } = world(THERE);
    publish('r1', 'S.1');
    scheduler.runFor(1);
    lead(ELSEWHERE);
    publish('r2', 'S.2');
    scheduler.runFor(250);
    const [one, two] = frames.splice(0);
    receive(ackOf(two, 1), ELSEWHERE);
    lead(0);
    receive(returnOf(one));
    lead(THERE);
    scheduler.runFor(20);
    expect(answers).toEqual([
      expect.stringContaining(' r2 {"stream":"S","seq":1}'),
      expect.stringMatching(/ r1 \{"error":.*10008/),
    ]);
    expect(frames).toEqual([]);
  });

  test('is given up also when the later leader has returned the later one sooner', () => {
    const { answers, frames, lead, publish, receive, scheduler } = world(THERE);
    publish('r1', 'S.1');
    scheduler.runFor(1);
    lead(ELSEWHERE);
    publish('r2', 'S.2');
    publish('r3', 'S.3');
    scheduler.runFor(250);
    const [one, more] = frames.splice(0);
    lead(0);
    receive(returnOf(more), ELSEWHERE);
    receive(returnOf(one));
    publish('r4', 'S.4');
    lead(THERE);
    scheduler.runFor(20);
    expect(answers).toEqual([expect.stringMatching(UNKNOWN)]);
    expect(frames.flatMap(subjectsOf)).toEqual(['S.2', 'S.3', 'S.4']);
  });

  test.each([true, false])(
    'for which nobody waits does not let others wait longer, had they left or not: %s',
    (left) => {
      const { answers, frames, lead, publish, receive, scheduler } = world(THERE);
      publish('', 'S.0');
      scheduler.runFor(1);
      if (!left) lead(0);
      publish('r1', 'S.1');
      scheduler.runFor(1_900);
      lead(0);
      for (const frame of frames) receive(returnOf(frame));
      scheduler.runFor(3_000);
      expect(answers).toEqual([expect.stringMatching(/^\d+ r1 NATS\/1.0 503/)]);
      expect(Number(answers[0].split(' ')[0])).toBeLessThan(2_300);
    },
  );

  test('is not waited for for ever by those that came later', () => {
    const { frames, lead, publish, scheduler } = world(HERE);
    publish('r1', 'S.1');
    lead(THERE);
    publish('r2', 'S.2');
    scheduler.runFor(250);
    expect(frames.flatMap(subjectsOf)).toEqual(['S.2']);
  });

  test('goes on though a later one is still away after the waiting: behind what came back nothing is stored there', () => {
    const { answers, frames, lead, publish, receive, receivers, scheduler } = world(THERE);
    publish('r1', 'S.1');
    scheduler.runFor(1);
    publish('r2', 'S.2');
    scheduler.runFor(1);
    lead(0);
    publish('r3', 'S.3');
    lead(ELSEWHERE);
    scheduler.runFor(10);
    receive(returnOf(frames[0]));
    scheduler.runFor(250);
    expect(answers).toEqual([]);
    expect(receivers).toEqual([THERE, THERE, ELSEWHERE]);
    expect(subjectsOf(frames[2])).toEqual(['S.1', 'S.3']);
    receive(returnOf(frames[1]));
    expect(answers).toEqual([expect.stringMatching(/r2 \{"error".*10008/)]);
  });

  test('is not waited for again because the leader changes twice meanwhile', () => {
    const { lead, publish, receivers, scheduler } = world(THERE);
    publish('r1');
    scheduler.runFor(2);
    lead(ELSEWHERE);
    scheduler.runFor(2);
    lead(HERE);
    lead(ELSEWHERE);
    publish('r2');
    scheduler.runFor(250);
    expect(receivers).toEqual([THERE, ELSEWHERE]);
    publish('r3');
    scheduler.runFor(1);
    expect(receivers).toEqual([THERE, ELSEWHERE, ELSEWHERE]);
  });

  test('and those behind it are answered in time when the next leader goes while the former one is waited for', () => {
    const { answers, lead, publish, scheduler } = world(THERE);
    publish('r1');
    scheduler.runFor(10);
    lead(0);
    publish('r2');
    scheduler.runFor(1_900);
    publish('r3');
    lead(ELSEWHERE);
    // What came first is due meanwhile.
    scheduler.runFor(150);
    lead(0);
    scheduler.runFor(10_000);
    expect(answers.map((answer) => answer.replace(/^\d+ /, '').slice(0, 15))).toEqual([
      'r2 NATS/1.0 503',
      expect.stringMatching(/^r1 \{"error"/),
      'r3 NATS/1.0 503',
    ]);
  });

  test('nobody waits for a former leader that has answered, or to which there is no link', () => {
    for (const answer of [true, false]) {
      const { down, frames, lead, publish, receive, receivers, scheduler } = world(THERE);
      publish('r1');
      scheduler.runFor(1);
      if (answer) receive(ackOf(frames[0], 1));
      else down();
      lead(ELSEWHERE);
      publish('r2');
      scheduler.runFor(1);
      expect(receivers).toEqual([THERE, ELSEWHERE]);
    }
  });

  test.each([THERE, ELSEWHERE])('has lost its place when it comes too late, node %i leads now: unknown', (next) => {
    const { answers, frames, lead, publish, receive, receivers, scheduler } = world(THERE);
    publish('r1');
    scheduler.runFor(1);
    lead(0);
    lead(next);
    publish('r2');
    scheduler.runFor(250);
    expect(receivers).toEqual([THERE, next]);
    receive(returnOf(frames[0]));
    expect(answers).toEqual([expect.stringMatching(UNKNOWN)]);
  });

  test('is answered 503 two seconds after it came when nobody leads: certainly not stored', () => {
    const { answers, frames, lead, publish, receive, scheduler } = world(THERE);
    publish('r1');
    scheduler.runFor(900);
    lead(0);
    receive(returnOf(frames[0]));
    scheduler.runFor(3_000);
    expect(answers).toEqual([expect.stringMatching(/^\d+ r1 NATS\/1.0 503/)]);
    expect(Number(answers[0].split(' ')[0])).toBeLessThan(2_300);
  });

  test('goes back to the node where it came from; refused where the link has no room', () => {
    const { frames, giveBack, link, published, receive, scheduler } = world(HERE);
    const forward = new FrameBuilder(FORWARD);
    forward.addForward(groupOf(5, 0), 1, 7, { subject: 'S.1', hdr: EMPTY, payload: EMPTY });
    receive(forward.take(3));
    const [one] = published;
    giveBack(one);
    scheduler.runFor(1);
    expect(frameHeader(frames[0])).toEqual({ kind: RETURNED, epoch: 3 });
    link.full = true;
    giveBack(one);
    scheduler.runFor(1);
    link.full = false;
    scheduler.runFor(50);
    expect(frames.map((frame) => frameHeader(frame)?.kind)).toEqual([RETURNED, ANSWERS]);
  });
});
