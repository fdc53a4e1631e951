// Publishers that go on while leaders change and their news come late, over links that may be slower than former leaders are waited for: each
// publish is answered once, what is acknowledged is stored, and a publish answered 503 is not; whatever is stored is so once and in the order in
// which it came, also if nobody was answered. Leaders are queues here: what was looked at is stored or lost when they are deposed, the rest is
// returned, and so is what was sent to the leader of another term.
import { expect, test } from 'vitest';
import { ANSWERS, FrameBuilder, frameHeader, RETURNED, readFrame } from '../../../src/jetstream/publish-codec.ts';
import { NO_ANSWER } from '../../../src/jetstream/waiting-publishes.ts';
import { groupOf } from '../../../src/meta/types.ts';
import { createPrng } from '../../sim/prng.ts';
import { ELSEWHERE, EMPTY, HERE, THERE, world } from './router-world.ts';

const SCHEDULES = 400;
const STEPS = 150;
/** Until everything has arrived. */
const LAST_STEPS = 4000;
const NODES = [HERE, THERE, ELSEWHERE];
const FAR = [THERE, ELSEWHERE];
const GROUP = groupOf(5, 0);
const UNKNOWN = { code: 503, err_code: 10008, description: 'unknown' };

type Outcome = 'stored' | 'unknown' | 'returned';

interface Word {
  leader: number;
  term: number;
}

interface Publish {
  number: number;
  /** Says to the router what became of it. */
  answer: (outcome: Outcome) => void;
}

class Node {
  /** Frames on their way to it and from it. */
  to: Uint8Array[] = [];
  from: Uint8Array[] = [];
  queue: Publish[] = [];
  looked: Publish[] = [];
}

function numberOf(subject: string): number {
  return Number(subject.slice(2));
}

function frameOf(epoch: number, term: number, token: number, number: number, outcome: Outcome): Uint8Array {
  const builder = new FrameBuilder(outcome === 'returned' ? RETURNED : ANSWERS);
  if (outcome === 'stored') builder.addStored(token, number + 1, false);
  else if (outcome === 'unknown') builder.addRefused(token, UNKNOWN.err_code, UNKNOWN.code, UNKNOWN.description);
  else builder.addForward(GROUP, term, token, { subject: `S.${number}`, hdr: EMPTY, payload: EMPTY });
  return builder.take(epoch);
}

class Schedule {
  readonly #chance;
  readonly #router = world(THERE);
  readonly #nodes = new Map(NODES.map((id) => [id, new Node()]));
  readonly #slow: boolean;
  #leader = THERE;
  #term = 1;
  /** The leader that the router has heard of, and words on their way to it. */
  #known: Word = { leader: THERE, term: 1 };
  readonly #words: Word[] = [];
  readonly #stored: number[] = [];
  #published = 0;
  /** Publishes with a reply. */
  readonly #asked = new Set<number>();

  constructor(seed: number, slow: boolean) {
    this.#chance = createPrng(seed);
    this.#slow = slow;
  }

  #node(id: number): Node {
    return this.#nodes.get(id) as Node;
  }

  /** What the router gave away goes on its way. */
  #collect(): void {
    const { frames, published, receivers, run } = this.#router;
    for (const frame of frames.splice(0)) this.#node(receivers.shift() as number).to.push(frame);
    for (const { subject, sink, token, term } of published.splice(0)) {
      const number = numberOf(subject);
      this.#arrive(HERE, term, number, (outcome) =>
        run(() => {
          if (outcome === 'stored') sink.stored(token, number + 1, false);
          else if (outcome === 'unknown') sink.refused(token, UNKNOWN);
          else sink.returned(token, GROUP, term, subject, EMPTY, EMPTY);
        }),
      );
    }
  }

  #arrive(id: number, term: number, number: number, answer: Publish['answer']): void {
    if (id === this.#leader && term === this.#term) this.#node(id).queue.push({ number, answer });
    else answer('returned');
  }

  #arriveFrame(id: number): void {
    const node = this.#node(id);
    const frame = node.to.shift();
    if (frame === undefined) return;
    const epoch = frameHeader(frame)?.epoch as number;
    readFrame(frame, {
      onForward: (_group, term, token, subject) => {
        const number = numberOf(subject);
        this.#arrive(id, term, number, (outcome) => {
          if (token !== NO_ANSWER || outcome === 'returned')
            node.from.push(frameOf(epoch, term, token, number, outcome));
        });
      },
      onStored: () => undefined,
      onRefused: () => undefined,
    });
  }

  #store({ number, answer }: Publish): void {
    this.#stored.push(number);
    answer('stored');
  }

  #depose(): void {
    const { queue, looked } = this.#node(this.#leader);
    this.#lead(0);
    for (const publish of looked.splice(0, this.#chance.int(looked.length + 1))) this.#store(publish);
    for (const { answer } of looked.splice(0)) answer('unknown');
    for (const { answer } of queue.splice(0)) answer('returned');
  }

  #lead(next: number): void {
    this.#leader = next;
    if (next !== 0) this.#term++;
    this.#router.local.leading = next === HERE;
    this.#words.push({ leader: next, term: this.#term });
  }

  #hear(): void {
    const word = this.#words.shift();
    if (word === undefined || (word.leader === this.#known.leader && word.term === this.#known.term)) return;
    this.#known = word;
    this.#router.lead(word.leader, word.term);
  }

  #cut(id: number): void {
    Object.assign(this.#node(id), { to: [], from: [] });
    if (this.#known.leader === id) {
      this.#known = { leader: 0, term: this.#known.term };
      this.#router.lead(0, this.#known.term);
    }
    this.#router.down(id);
    if (this.#leader === id) this.#words.push({ leader: id, term: this.#term });
  }

  /** Something that goes on by itself. */
  #goOn(): void {
    const id = this.#chance.pick(NODES);
    const { from, queue, looked } = this.#node(id);
    switch (this.#chance.int(5)) {
      case 0:
        if (queue.length > 0) looked.push(queue.shift() as Publish);
        break;
      case 1:
        if (looked.length > 0) this.#store(looked.shift() as Publish);
        break;
      case 2:
        this.#arriveFrame(id);
        break;
      case 3:
        if (from.length > 0) this.#router.receive(from.shift() as Uint8Array, id);
        break;
      default:
        this.#hear();
        this.#router.scheduler.runFor(this.#chance.float());
    }
  }

  #disturb(): void {
    const { scheduler } = this.#router;
    const kind = this.#chance.int(20);
    if (kind < 12) {
      const number = this.#published++;
      const wantsAnswer = this.#chance.chance(0.9);
      if (wantsAnswer) this.#asked.add(number);
      this.#router.publish(wantsAnswer ? `r${number}` : '', `S.${number}`);
    } else if (kind < 14 && this.#leader !== 0) this.#depose();
    else if (kind < 18 && this.#leader === 0) this.#lead(this.#chance.pick(NODES));
    else if (kind === 18) scheduler.runFor(this.#chance.int(this.#slow ? 400 : 20));
    else if (this.#chance.chance(0.1)) this.#cut(this.#chance.pick(FAR));
  }

  run(): void {
    for (let step = 0; step < STEPS; step++) {
      if (this.#chance.chance(0.5)) this.#disturb();
      else this.#goOn();
      this.#collect();
    }
    if (this.#leader === 0) this.#lead(this.#chance.pick(NODES));
    for (let step = 0; step < LAST_STEPS; step++) {
      this.#goOn();
      this.#collect();
    }
    this.#router.scheduler.runFor(6_000);
  }

  /** Returns how many were acknowledged. */
  check(): number {
    const answers = new Map<string, string>();
    for (const answer of this.#router.answers) {
      const [, inbox, text] = /^\d+ (\S+) (.*)/s.exec(answer) as unknown as string[];
      expect(answers.has(inbox), `${inbox} answered twice`).toBe(false);
      answers.set(inbox, text);
    }
    expect(answers.size).toBe(this.#asked.size);
    const ofKind = (prefix: string): Set<number> =>
      new Set([...answers].filter(([, text]) => text.startsWith(prefix)).map(([inbox]) => Number(inbox.slice(1))));
    const acknowledged = ofKind('{"stream"');
    expect(new Set(this.#stored).size, 'stored twice').toBe(this.#stored.length);
    expect(this.#stored).toEqual([...this.#stored].sort((a, b) => a - b));
    const stored = new Set(this.#stored);
    expect([...acknowledged].filter((number) => !stored.has(number))).toEqual([]);
    const refused = ofKind('NATS/1.0 503');
    expect(this.#stored.filter((number) => refused.has(number))).toEqual([]);
    return acknowledged.size;
  }
}

test.each([false, true])(
  'publishes while leaders change: answered once, stored once, in order; links are slow: %s',
  (slow) => {
    let acknowledged = 0;
    for (let seed = 1; seed <= SCHEDULES; seed++) {
      const schedule = new Schedule(seed, slow);
      schedule.run();
      try {
        acknowledged += schedule.check();
      } catch (error) {
        throw new Error(`schedule ${seed}`, { cause: error });
      }
    }
    // Not by refusing.
    expect(acknowledged).toBeGreaterThan(SCHEDULES * 20);
  },
);
