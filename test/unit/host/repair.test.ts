// Damaged entries and the other members: what counts as the same entry, when a leader gives way, and what is left when the group goes. The answers
// come from made up members where the point is what they say, else from whole nodes.
import { describe, expect, test } from 'vitest';
import type { GroupRunner } from '../../../cluster/host/group-runner.ts';
import { Repair } from '../../../cluster/host/repair.ts';
import { emptyHostStats } from '../../../cluster/host/stats.ts';
import type { Entries } from '../../../cluster/host/transfer-codec.ts';
import { encodeEntries } from '../../../cluster/host/transfer-codec.ts';
import type { Rpc } from '../../../cluster/rpc/types.ts';
import { World, type WorldNode } from './world.ts';

const HOLE = 7;
const TERM = 3;

const entryAt = (index: number, term: number) => ({ index, term, kind: 0 as const, body: new Uint8Array(0), crc: 0 });
/** The log ends before the hole. */
const ENDS_BEFORE: Entries = { entries: [], next: HOLE, commit: 4, gone: true };
/** Another leader's entry stands there. */
const HAS_ANOTHER: Entries = { entries: [entryAt(HOLE, 2)], next: HOLE + 1, commit: 4, gone: false };
/** It is there, and cannot be read. */
const DAMAGED_TOO: Entries = { entries: [], next: HOLE + 2, commit: 4, gone: true };
/** The group is not open there (yet), or it is in doubt what it had. */
const CANNOT_TELL: Entries = { entries: [], next: 0, commit: 0, gone: true };

/** A leader of five voters with a hole; the four others answer as they are told to. */
function leaderWithHole(answers: Entries[], commit: number) {
  const raft = {
    role: 'leader',
    commit,
    lastIndex: HOLE + 2,
    termOf: () => TERM,
    membership: { voters: [1, 2, 3, 4, 5], learners: [] },
  };
  const runner = { id: 0, raft, applied: 4, closed: false, termsUnknown: false } as unknown as GroupRunner;
  const wal = {
    damaged: [HOLE],
    /** Of what is damaged, where it is known. */
    terms: new Map<number, number>(),
    isOpen: true,
    stats: { damagedReads: 0 },
    firstIndex: () => 3,
    damagedRanges() {
      if (!this.isOpen) throw new Error('no such group');
      return this.damaged.map((index) => ({ first: index, last: index }));
    },
    termOf(_group: number, index: number) {
      return this.terms.get(index);
    },
    repair(_group: number, entries: { index: number; term: number }[]) {
      for (const { index, term } of entries) {
        if ((this.terms.get(index) ?? term) === term) this.damaged = this.damaged.filter((other) => other !== index);
      }
    },
    flush: (done: () => void) => done(),
  };
  const outcome = { reviewed: 0 };
  const owner = {
    self: 1,
    stats: emptyHostStats(),
    env: { log: { error: () => {}, info: () => {} } },
    transport: { isUp: () => true },
    wal,
    groups: () => (wal.isOpen ? [runner] : []),
    reviewVote: () => {
      outcome.reviewed++;
    },
  };
  const rpc = {
    handle: () => {},
    request: (to: number, _method: string, _bytes: Uint8Array, _timeoutMs: number, done: (reply: object) => void) =>
      done({ ok: true, bytes: encodeEntries(answers[to - 2]) }),
  };
  const repair = new Repair(owner as unknown as ConstructorParameters<typeof Repair>[0], rpc as unknown as Rpc);
  repair.need(runner, HOLE, () => {});
  return { repair, runner, wal, outcome };
}

function givesWay(answers: Entries[], commit: number): boolean {
  const { repair, runner, outcome } = leaderWithHole(answers, commit);
  for (let round = 0; round < 8; round++) repair.keepHouse();
  const holds = repair.holdsTail(runner);
  expect(outcome.reviewed > 0).toBe(holds);
  return holds;
}

describe('a leader with a hole gives way', () => {
  test('when a majority certainly has no copy of the entry', () => {
    expect(givesWay([ENDS_BEFORE, HAS_ANOTHER, ENDS_BEFORE, DAMAGED_TOO], 5)).toBe(true);
  });

  test('not when so many may have acknowledged it that it may be committed', () => {
    expect(givesWay([ENDS_BEFORE, HAS_ANOTHER, DAMAGED_TOO, DAMAGED_TOO], 5)).toBe(false);
    expect(givesWay([ENDS_BEFORE, HAS_ANOTHER, CANNOT_TELL, CANNOT_TELL], 5)).toBe(false);
  });

  test('and is forgotten with its group, whatever else is damaged by then', () => {
    const answers = [1, 2, 3, 4].map(() => ({ ...ENDS_BEFORE }));
    const { repair, runner, wal } = leaderWithHole(answers, 5);
    for (let round = 0; round < 4; round++) repair.keepHouse();
    expect(repair.holdsTail(runner)).toBe(true);
    // Found by a read that nobody waits for: it has not been asked for when the first one is filled.
    wal.damaged.push(HOLE + 1);
    for (const answer of answers) {
      answer.entries = [entryAt(HOLE, TERM)];
      answer.next = HOLE + 1;
    }
    repair.keepHouse();
    expect([repair.isBusy(runner), repair.holdsTail(runner)]).toEqual([false, true]);
    wal.isOpen = false;
    repair.dropGroup(0);
    repair.keepHouse();
    expect(repair.holdsTail(runner)).toBe(false);
  });

  test('not when it is committed', () => {
    expect(givesWay([ENDS_BEFORE, ENDS_BEFORE, ENDS_BEFORE, ENDS_BEFORE], HOLE)).toBe(false);
  });
});

test('a log of unknown terms whose end others have replaced is covered by a snapshot: no leader sends them to it', () => {
  const entries = [HOLE, HOLE + 1, HOLE + 2].map((index) => entryAt(index, TERM + 1));
  const answer = { entries, next: HOLE + 3, commit: HOLE + 2, gone: false };
  const { repair, runner, wal } = leaderWithHole([answer, answer, answer, answer], 4);
  Object.assign(runner, { termsUnknown: true });
  wal.damaged.push(HOLE + 1, HOLE + 2);
  wal.terms.set(HOLE + 2, TERM);
  repair.need(runner, HOLE + 1, () => {});
  repair.need(runner, HOLE + 2, () => {});
  repair.keepHouse();
  expect(wal.damaged).toEqual([HOLE + 2]);
  expect(runner.snapshotWanted).toBe(HOLE + 2);
});

/** Flips a bit in the body of the record that holds the text. */
function spoilRecordOf(node: WorldNode, text: string): void {
  for (const path of node.disk.files('wal/').filter((file) => file.endsWith('.seg'))) {
    const at = Buffer.from(node.disk.content(path)!).indexOf(text);
    if (at < 0) continue;
    node.disk.flipBit(path, at, 1);
    return;
  }
  throw new Error(`no record holds ${text}`);
}

/** Node 1 has an entry that nobody else got, damaged; the two others have gone on. */
function withConflictingHole(): World {
  const world = new World({ seed: 31, nodes: 3, host: { rebalance: false } });
  world.start();
  for (let i = 0; i < 10; i++) world.put(`put ${i}`);
  world.untilEqual();
  const one = world.node(1);
  expect(world.leader()).toBe(one);
  for (const other of ['n2', 'n3']) {
    world.network.cut('n1', other);
    world.network.cut(other, 'n1');
  }
  one.env.run(() => one.group().propose(Buffer.from('put only here')));
  world.scheduler.runFor(3_000);
  one.kill('process');
  spoilRecordOf(one, 'put only here');
  world.put('put elsewhere');
  one.start();
  expect(one.wal.damagedRanges(0)).toHaveLength(1);
  return world;
}

describe('a hole where others have committed another entry', () => {
  test('is no hole for long, and is not asked for again and again until a leader has come', () => {
    const world = withConflictingHole();
    const one = world.node(1);
    const leader = world.leader()!;
    const follower = world.nodes.find((node) => node !== one && node !== leader)!;
    let asked = 0;
    const { readEntries } = follower.wal;
    follower.wal.readEntries = (...args) => {
      asked++;
      readEntries.apply(follower.wal, args);
    };
    world.network.heal();
    for (const [from, to] of [
      [one.name, leader.name],
      [leader.name, one.name],
    ])
      world.network.cut(from, to);
    world.scheduler.runFor(3_000);
    expect(asked).toBeGreaterThan(0);
    expect(asked).toBeLessThan(10);
    expect(one.host.stats.entriesRepaired).toBe(0);
    world.network.heal();
    world.until('no damage', () => one.wal.damagedRanges(0).length === 0 && (one.group() as GroupRunner).raft.mayVote);
    world.untilEqual();
  });
});
