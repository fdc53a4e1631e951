// Publishers that go on while leaders change and their news come late, over links that are faster than former leaders are waited for: each
// publish is answered once, what is acknowledged is stored, once and in the order in which it came, and a publish answered 503 is not.
// Leaders are queues here: what was looked at is stored or lost when they are deposed, the rest is returned.
import { expect, test } from 'vitest';
import { ANSWERS, FrameBuilder, frameHeader, RETURNED, readFrame } from '../../../src/jetstream/publish-codec.ts';
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

function frameOf(epoch: number, token: number, number: number, outcome: Outcome): Uint8Array {
  const builder = new FrameBuilder(outcome === 'returned' ? RETURNED : ANSWERS);
  if (outcome === 'stored') builder.addStored(token, number + 1, false);
  else if (outcome === 'unknown') builder.addRefused(token, UNKNOWN.err_code, UNKNOWN.code, UNKNOWN.description);
  else builder.addForward(GROUP, token, { subject: `S.${number}`, hdr: EMPTY, payload: EMPTY });
  return builder.take(epoch);
}

class Schedule {
  readonly #chance;
  readonly #router = world(THERE);
  readonly #nodes = new Map(NODES.map((id) => [id, new Node()]));
  #leader = THERE;
  /** The leader that the router has heard of, and words on their way to it. */
  #known = THERE;
  readonly #words: number[] = [];
  readonly #stored: number[] = [];
  #published = 0;

  constructor(seed: number) {
    this.#chance = createPrng(seed);
  }

  #node(id: number): Node {
    return this.#nodes.get(id) as Node;
  }

  /** What the router gave away goes on its way. */
  #collect(): void {
    const { frames, published, receivers, run } = this.#router;
    for (const frame of frames.splice(0)) this.#node(receivers.shift() as number).to.push(frame);
    for (const { subject, sink, token } of published.splice(0)) {
      const number = numberOf(subject);
      this.#arrive(HERE, number, (outcome) =>
        run(() => {
          if (outcome === 'stored') sink.stored(token, number + 1, false);
          else if (outcome === 'unknown') sink.refused(token, UNKNOWN);
          else sink.returned(token, GROUP, subject, EMPTY, EMPTY);
        }),
      );
    }
  }

  #arrive(id: number, number: number, answer: Publish['answer']): void {
    if (id === this.#leader) this.#node(id).queue.push({ number, answer });
    else answer('returned');
  }

  #arriveFrame(id: number): void {
    const node = this.#node(id);
    const frame = node.to.shift();
    if (frame === undefined) return;
    const epoch = frameHeader(frame)?.epoch as number;
    readFrame(frame, {
      onForward: (_group, token, subject) => {
        const number = numberOf(subject);
        this.#arrive(id, number, (outcome) => node.from.push(frameOf(epoch, token, number, outcome)));
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
    this.#router.local.leading = next === HERE;
    this.#words.push(next);
  }

  #hear(): void {
    const word = this.#words.shift();
    if (word === undefined || word === this.#known) return;
    this.#known = word;
    this.#router.lead(word);
  }

  #cut(id: number): void {
    Object.assign(this.#node(id), { to: [], from: [] });
    if (this.#known === id) this.#router.lead((this.#known = 0));
    this.#router.down(id);
    if (this.#leader === id) this.#words.push(id);
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
      this.#router.publish(`r${number}`, `S.${number}`);
    } else if (kind < 14 && this.#leader !== 0) this.#depose();
    else if (kind < 18 && this.#leader === 0) this.#lead(this.#chance.pick(NODES));
    else if (kind === 18) scheduler.runFor(this.#chance.int(20));
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
    expect(answers.size).toBe(this.#published);
    const ofKind = (prefix: string): Set<number> =>
      new Set([...answers].filter(([, text]) => text.startsWith(prefix)).map(([inbox]) => Number(inbox.slice(1))));
    const acknowledged = ofKind('{"stream"');
    expect(new Set(this.#stored).size, 'stored twice').toBe(this.#stored.length);
    const order = this.#stored.filter((number) => acknowledged.has(number));
    expect(order).toEqual([...acknowledged].sort((a, b) => a - b));
    const refused = ofKind('NATS/1.0 503');
    expect(this.#stored.filter((number) => refused.has(number))).toEqual([]);
    return acknowledged.size;
  }
}

test('publishes while leaders change: answered once, stored once, in order', () => {
  let acknowledged = 0;
  for (let seed = 1; seed <= SCHEDULES; seed++) {
    const schedule = new Schedule(seed);
    schedule.run();
    try {
      acknowledged += schedule.check();
    } catch (error) {
      throw new Error(`schedule ${seed}`, { cause: error });
    }
  }
  // Not by refusing.
  expect(acknowledged).toBeGreaterThan(SCHEDULES * 20);
});
