import { expect, test } from 'vitest';
import { BatchWindow, type Proposer, WAITS_NOT } from '../../../src/stream/batch-window.ts';
import { FakeClock, World } from './fake-world.ts';

class Partition implements Proposer {
  waitsSince = WAITS_NOT;
  readonly #leave: () => void;
  constructor(leave: () => void) {
    this.#leave = leave;
  }
  letGo(): void {
    this.#leave();
  }
}

/** Partitions that ask in order; who leaves is noted by its number. */
function ask(window: BatchWindow, count: number, gone: number[]): void {
  for (let i = 0; i < count; i++) {
    const leave = (): void => {
      gone.push(i);
      window.entered();
    };
    if (!window.keeps(new Partition(leave))) leave();
  }
}

test('those beyond the window go in order, as room is made', () => {
  const clock = new FakeClock();
  const window = new BatchWindow(clock, 2);
  const gone: number[] = [];
  ask(window, 5, gone);
  expect(gone).toEqual([0, 1]);
  window.left(1);
  clock.turn();
  expect(gone).toEqual([0, 1, 2]);
  // Who comes when others wait goes behind them, although there is room.
  window.left(2);
  ask(window, 1, gone);
  expect(gone).toEqual([0, 1, 2]);
  clock.turn();
  expect(gone).toEqual([0, 1, 2, 3, 4]);
  window.left(2);
  clock.turn();
  expect(gone).toEqual([0, 1, 2, 3, 4, 0]);
});

test('where nothing comes through, all that wait go after a moment', () => {
  const clock = new FakeClock();
  const window = new BatchWindow(clock, 1);
  const gone: number[] = [];
  ask(window, 4, gone);
  clock.advance(19);
  expect(gone).toEqual([0]);
  clock.advance(1);
  expect(gone).toEqual([0, 1, 2, 3]);
  // Those are counted: the next ones wait until they are through, …
  ask(window, 2, gone);
  window.left(3);
  clock.turn();
  expect(gone).toHaveLength(4);
  window.left(1);
  clock.turn();
  expect(gone).toHaveLength(5);
  // … or for another moment without news.
  clock.advance(40);
  expect(gone).toHaveLength(6);
});

test('while something comes through, the others wait on', () => {
  const clock = new FakeClock();
  const window = new BatchWindow(clock, 10);
  const gone: number[] = [];
  ask(window, 20, gone);
  window.left(1);
  clock.advance(20);
  expect(gone).toHaveLength(11);
  clock.advance(19);
  expect(gone).toHaveLength(11);
  clock.advance(1);
  expect(gone).toHaveLength(20);
});

test('nobody waits for ever behind batches that are stuck, while somebody whose batches are full goes on', () => {
  const clock = new FakeClock();
  const window = new BatchWindow(clock, 1);
  window.entered();
  const gone: number[] = [];
  ask(window, 2, gone);
  for (let ms = 0; ms < 600; ms += 10) {
    if (ms === 300) ask(window, 1, gone);
    window.entered();
    clock.advance(10);
    window.left(1);
    clock.turn();
    if (ms < 450) expect(gone).toEqual([]);
  }
  expect(gone).toEqual([0, 1]);
});

/** Leaders of one node, which lets one batch be under way. */
function neighbours(): { a: World; b: World } {
  const a = new World({}, {}, 1).lead();
  const b = new World({}, { env: a.env, window: a.window }).lead();
  a.clock.turn();
  b.group.commit();
  a.clock.turn();
  return { a, b };
}

test('who asks again while it waits waits once', () => {
  const clock = new FakeClock();
  const window = new BatchWindow(clock, 1);
  window.entered();
  let left = 0;
  const partition = new Partition(() => left++);
  expect(window.keeps(partition)).toBe(true);
  expect(window.keeps(partition)).toBe(true);
  window.left(1);
  clock.turn();
  expect(left).toBe(1);
});

test('a partition that waits for another gathers messages, and stores them as one entry in their order', () => {
  const { a, b } = neighbours();
  const turn = (): void => a.clock.turn();
  const entries = b.group.log.length;
  const first = a.publish('a');
  turn();
  const tokens = [b.publish('b.1')];
  turn();
  tokens.push(b.publish('b.2'), b.publish('b.1'));
  turn();
  expect(b.group.log).toHaveLength(entries);
  a.group.commit();
  turn();
  expect(a.outcome(first)).toMatchObject({ seq: 1 });
  expect(b.group.log).toHaveLength(entries + 1);
  b.group.commit();
  expect(tokens.map((token) => b.outcome(token))).toMatchObject([{ seq: 1 }, { seq: 2 }, { seq: 3 }]);
});

test('the room of a leader that loses its office is given to others', () => {
  const { a, b } = neighbours();
  const lost = a.publish('a');
  a.clock.turn();
  const token = b.publish('b');
  a.clock.turn();
  expect(b.group.uncommitted).toBe(0);
  a.group.depose();
  a.clock.turn();
  expect(a.outcome(lost)).toMatchObject({ err_code: 10008 });
  b.group.commit();
  expect(b.outcome(token)).toMatchObject({ seq: 1 });
});

test('what waits when leadership ends is not proposed later', () => {
  const { a, b } = neighbours();
  a.publish('a');
  a.clock.turn();
  const token = b.publish('b');
  a.clock.turn();
  const entries = b.group.log.length;
  b.group.depose();
  expect(b.outcome(token)).toMatchObject({ err_code: 10008 });
  b.group.lead();
  a.group.commit();
  a.clock.turn();
  expect(b.group.log).toHaveLength(entries);
  // It takes part as before.
  const again = b.publish('b');
  a.clock.turn();
  b.group.commit();
  expect(b.outcome(again)).toMatchObject({ seq: 1 });
});
