// The rules of Raft that implementations get wrong, one by one, on a single core.
import { describe, expect, test } from 'vitest';
import type { Membership } from '../../../cluster/core/types.ts';
import { EntryKind } from '../../../cluster/core/types.ts';
import { change, entry, granted, NO_BYTES, OneCore, sent, vote } from './one-core.ts';

describe('term and vote', () => {
  test('one vote per term; it leaves only when durable, in one record with the term', () => {
    const core = new OneCore([1]);
    const first = vote(core, 2, 2, [1, 1]);
    expect(first.hardState).toEqual({ term: 2, vote: 2 });
    expect(sent(first, 'vote-reply')).toMatchObject([{ durable: true, message: { granted: true, to: 2, term: 2 } }]);
    expect(granted(vote(core, 3, 2, [9, 1]))).toBe(false);
    // The same candidate asks again: the same answer, again only when durable.
    const again = vote(core, 2, 2, [1, 1]);
    expect(sent(again, 'vote-reply')).toMatchObject([{ durable: true, message: { granted: true } }]);
    expect(again.hardState).toBeUndefined();
  });

  test('the vote survives stepping down within the term, and a restart', () => {
    const core = new OneCore([1]);
    core.raft.campaign(0);
    core.put({ type: 'pre-vote-reply', from: 2, term: 2, granted: true });
    expect(core.take().hardState).toEqual({ term: 2, vote: 1 });
    core.append(3, 2, [1, 1], [entry(2, 2)]);
    expect(core.raft.role).toBe('follower');
    expect(core.raft.vote).toBe(1);
    expect(core.take().hardState).toBeUndefined();
    const restarted = new OneCore([1, 2], { hardState: { term: 2, vote: 1 } });
    expect(granted(vote(restarted, 3, 2, [9, 2]))).toBe(false);
    expect(granted(vote(restarted, 3, 3, [9, 2]))).toBe(true);
  });

  test('a candidate asks only when its own term and vote are durable', () => {
    const core = new OneCore([1]);
    core.raft.campaign(0);
    core.put({ type: 'pre-vote-reply', from: 2, term: 2, granted: true });
    const ready = core.take();
    expect(sent(ready, 'vote').map(({ durable }) => durable)).toEqual([true, true]);
    expect(sent(ready, 'vote')[0].message).toMatchObject({ term: 2, lastIndex: 1, lastTerm: 1, transfer: false });
  });

  test('the term never falls, whatever comes', () => {
    const core = new OneCore([1], { hardState: { term: 7, vote: 0 } });
    core.append(2, 3, [1, 1], [entry(2, 3)]);
    expect(core.raft.term).toBe(7);
    expect(core.raft.lastIndex).toBe(1);
    // An old leader is told, so that it steps down.
    expect(sent(core.take(), 'append-reply')).toMatchObject([{ message: { ok: false, term: 7 } }]);
  });

  test('no vote for a shorter log', () => {
    const core = new OneCore([1, 2, 2]);
    expect(granted(vote(core, 2, 3, [9, 1]))).toBe(false);
    expect(granted(vote(core, 2, 4, [2, 2]))).toBe(false);
    expect(granted(vote(core, 2, 5, [3, 2]))).toBe(true);
    expect(core.raft.term).toBe(5);
  });

  test('hard state behind the log (a snapshot came first): the term is raised, no vote was given in it', () => {
    const core = new OneCore([1, 4], { hardState: { term: 2, vote: 3 } });
    expect(core.raft.term).toBe(4);
    expect(core.take().hardState).toEqual({ term: 4, vote: 0 });
  });
});

describe('acknowledgements', () => {
  test('a follower acknowledges only what is durable', () => {
    const core = new OneCore();
    core.append(2, 1, [0, 0], [entry(1, 1), entry(2, 1)]);
    const ready = core.take();
    expect(ready.append.map(({ index }) => index)).toEqual([1, 2]);
    expect(sent(ready, 'append-reply')).toMatchObject([{ durable: true, message: { ok: true, index: 2 } }]);
    // A repeated append that brings nothing is acknowledged in the same way: the first may not be durable yet.
    core.append(2, 1, [0, 0], [entry(1, 1), entry(2, 1)]);
    const again = core.take();
    expect(again.append).toEqual([]);
    expect(sent(again, 'append-reply')).toMatchObject([{ durable: true, message: { ok: true, index: 2 } }]);
  });

  test('the leader sends at once and counts itself when its WAL has the entry', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.raft.propose(EntryKind.batch, NO_BYTES, 1);
    const ready = core.take();
    expect(sent(ready, 'append').map(({ durable }) => durable)).toEqual([false, false]);
    core.ack(2, 2);
    expect(core.raft.commit).toBe(1);
    core.raft.persisted(2, 1);
    expect(core.raft.commit).toBe(2);
  });

  test('two followers commit without the leader', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.raft.propose(EntryKind.batch, NO_BYTES, 1);
    core.take();
    core.ack(2, 2);
    core.ack(3, 2);
    expect(core.raft.commit).toBe(2);
  });

  test('persisted() of an entry that was replaced since counts for nothing', () => {
    const core = new OneCore([1, 1, 1]);
    core.append(2, 2, [1, 1], [entry(2, 2)]);
    core.take();
    core.raft.persisted(3, 1);
    core.raft.persisted(2, 1);
    core.lead();
    // Its own WAL was never said to hold 2/2.
    core.take();
    core.ack(2, 3);
    expect(core.raft.commit).toBe(0);
    core.raft.persisted(3, 3);
    expect(core.raft.commit).toBe(3);
  });
});

describe('commit', () => {
  test('a term begins with a no-op, and only own entries are committed by counting', () => {
    const core = new OneCore([1, 1, 2]);
    core.lead();
    expect(core.raft.termStart).toBe(4);
    const ready = core.durable();
    expect(ready.append).toMatchObject([{ index: 4, term: 3, kind: EntryKind.noop }]);
    core.ack(2, 3);
    core.ack(3, 3);
    expect(core.raft.commit).toBe(0);
    core.ack(2, 4);
    expect(core.raft.commit).toBe(4);
  });

  test('a follower commits no further than it has verified', () => {
    const core = new OneCore([1, 1, 1]);
    core.append(2, 2, [1, 1], [], 3);
    expect(core.raft.commit).toBe(1);
  });

  test('one voter commits when persisted, and says nothing before', () => {
    const core = new OneCore([], { membership: { voters: [1], learners: [2] } });
    core.tick(0);
    expect(core.raft.role).toBe('leader');
    const ready = core.take();
    expect(ready.hardState).toEqual({ term: 1, vote: 1 });
    expect(ready.send).toEqual([]);
    expect(core.raft.commit).toBe(0);
    core.raft.persisted(1, 1);
    expect(core.raft.commit).toBe(1);
    expect(sent(core.take(), 'append')).toMatchObject([{ message: { to: 2, first: 1, last: 1 } }]);
  });
});

describe('truncation', () => {
  test('only a real conflict cuts; old, repeated and shorter appends do not', () => {
    const core = new OneCore();
    core.append(2, 1, [0, 0], [entry(1, 1), entry(2, 1), entry(3, 1)]);
    core.take();
    core.append(2, 1, [0, 0], [entry(1, 1)]);
    core.append(2, 1, [1, 1], []);
    core.append(2, 1, [1, 1], [entry(2, 1)]);
    expect(core.raft.lastIndex).toBe(3);
    expect(core.take().append).toEqual([]);
    core.append(3, 2, [1, 1], [entry(2, 2)]);
    expect(core.raft.lastIndex).toBe(2);
    expect(core.take().append).toMatchObject([{ index: 2, term: 2 }]);
  });

  test('a cut before the last Ready was taken leaves one contiguous append', () => {
    const core = new OneCore();
    core.append(2, 1, [0, 0], [entry(1, 1), entry(2, 1), entry(3, 1)]);
    core.append(3, 2, [1, 1], [entry(2, 2)]);
    expect(core.take().append.map(({ index, term }) => [index, term])).toEqual([
      [1, 1],
      [2, 2],
    ]);
  });

  test('what is committed is skipped, not compared, and never cut, whatever is offered', () => {
    const core = new OneCore([1, 1, 1]);
    core.append(2, 1, [3, 1], [], 3);
    expect(core.raft.commit).toBe(3);
    core.append(3, 2, [0, 0], [entry(1, 2), entry(2, 2)]);
    expect(core.raft.lastIndex).toBe(3);
    expect(core.raft.termOf(2)).toBe(1);
  });

  test('a refusal tells where the logs may still agree', () => {
    const core = new OneCore([1, 1, 1, 2, 2, 2]);
    core.append(2, 9, [20, 8], []);
    expect(sent(core.take(), 'append-reply')).toMatchObject([{ message: { ok: false, index: 6, hintTerm: 2 } }]);
    core.append(2, 9, [6, 1], []);
    expect(sent(core.take(), 'append-reply')).toMatchObject([{ message: { ok: false, index: 3, hintTerm: 1 } }]);
  });

  test('what no core would send is ignored', () => {
    const core = new OneCore([1]);
    core.append(2, 2, [1, 1], [entry(3, 2)]);
    core.append(2, 2, [1, 1], [entry(2, 3)]);
    core.append(2, 2, [1, 1], [entry(2, 2), entry(3, 1)]);
    core.append(2, 2, [1, 1], [{ ...change(2, 2, { voters: [1], learners: [] }), membership: undefined }]);
    expect(core.raft.lastIndex).toBe(1);
    core.take();
    core.put({ type: 'append-reply', from: 2, term: 2, ok: true, index: 99, hintTerm: 0, round: 0 });
    expect(core.raft.commit).toBe(0);
  });
});

describe('snapshots', () => {
  const meta = { index: 10, term: 3, membership: { voters: [1, 2, 3], learners: [] } };

  test('what the log holds already is not replaced: it may have acknowledged more', () => {
    const core = new OneCore([1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3]);
    expect(core.raft.acceptSnapshot(meta)).toBe('have');
    expect(core.raft.commit).toBe(10);
    expect(core.raft.lastIndex).toBe(12);
  });

  test('while one is installed nothing is appended, and there is only one', () => {
    const core = new OneCore([1, 1]);
    expect(core.raft.acceptSnapshot(meta)).toBe('install');
    expect(core.raft.acceptSnapshot(meta)).toBe('busy');
    core.append(2, 3, [2, 1], [entry(3, 3)]);
    expect(core.raft.lastIndex).toBe(2);
    expect(core.take().sendDurable).toEqual([]);
    core.raft.restoredSnapshot(meta);
    expect([core.raft.firstIndex, core.raft.lastIndex, core.raft.commit, core.raft.lastTerm]).toEqual([11, 10, 10, 3]);
    // The leader hears of it, once everything is durable.
    expect(sent(core.take(), 'append-reply')).toMatchObject([
      { durable: true, message: { ok: true, index: 10, to: 2 } },
    ]);
    core.append(2, 3, [10, 3], [entry(11, 3)]);
    expect(core.raft.lastIndex).toBe(11);
  });

  test('an aborted one leaves everything as it was', () => {
    const core = new OneCore([1, 1]);
    core.raft.acceptSnapshot(meta);
    core.raft.snapshotAborted();
    core.append(2, 3, [2, 1], [entry(3, 3)]);
    expect(core.raft.lastIndex).toBe(3);
  });

  test('one of a later term brings the term along', () => {
    const core = new OneCore([1, 1]);
    core.raft.acceptSnapshot({ ...meta, term: 8 });
    core.raft.restoredSnapshot({ ...meta, term: 8 });
    expect(core.take().hardState).toEqual({ term: 8, vote: 0 });
  });

  test('never back below the commit index', () => {
    const core = new OneCore([1, 1]);
    core.append(2, 1, [2, 1], [], 2);
    expect(() => core.raft.restoredSnapshot({ ...meta, index: 1, term: 1 })).toThrow('at or below the commit index');
    expect(() => core.raft.compacted(9)).toThrow("beyond the log's end");
  });

  test('a snapshot saved for an entry that the log holds is of committed state', () => {
    const core = new OneCore([1, 1, 1]);
    core.raft.compacted(3);
    expect([core.raft.commit, core.raft.firstIndex, core.raft.lastIndex]).toEqual([2, 3, 3]);
  });

  test('a follower that cannot be served from the log is named once', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.raft.compacted(2);
    core.put({ type: 'append-reply', from: 3, term: 1, ok: false, index: 0, hintTerm: 0, round: 0 });
    // Its match is known; only a restart makes such an answer believable.
    core.raft.peerDown(3, 0);
    core.take();
    core.put({ type: 'append-reply', from: 3, term: 1, ok: false, index: 0, hintTerm: 0, round: 0 });
    expect(core.take().snapshotTo).toEqual([3]);
    core.put({ type: 'heartbeat-reply', from: 3, term: 1, round: 0 });
    core.put({ type: 'append-reply', from: 3, term: 1, ok: false, index: 0, hintTerm: 0, round: 0 });
    expect(core.take().snapshotTo).toEqual([]);
    core.raft.snapshotDone(3, 1);
    expect(sent(core.take(), 'append')).toMatchObject([{ message: { to: 3, prevIndex: 1, first: 2 } }]);
  });
});

describe('membership', () => {
  const with4: Membership = { voters: [1, 2, 3, 4], learners: [] };

  test('no change before an entry of the own term is committed, and one at a time', () => {
    const core = new OneCore([1]);
    core.lead();
    expect(core.raft.proposeMembership(with4)).toBeUndefined();
    core.durable();
    core.ack(2, 2);
    expect(core.raft.proposeMembership(with4)).toBe(3);
    expect(core.raft.proposeMembership({ voters: [1, 2, 3], learners: [] })).toBeUndefined();
    // It rules from now on: three of four.
    core.durable();
    core.ack(2, 3);
    expect(core.raft.commit).toBe(2);
    core.ack(4, 3);
    expect(core.raft.commit).toBe(3);
  });

  test('steps that are too big, empty or contradictory are refused', () => {
    const core = new OneCore();
    core.leadAndCommit();
    for (const to of [
      { voters: [1, 4], learners: [] },
      { voters: [1, 2, 4], learners: [] },
      { voters: [], learners: [1] },
      { voters: [1, 2, 3], learners: [3] },
      { voters: [1, 2, 3, 3], learners: [] },
    ]) {
      expect(core.raft.proposeMembership(to)).toBeUndefined();
    }
    expect(core.raft.proposeMembership({ voters: [1, 2], learners: [3, 4, 5] })).toBe(2);
  });

  test('a truncated change rolls back, also after a restart', () => {
    const three: Membership = { voters: [1, 2, 3], learners: [] };
    const core = new OneCore([1]);
    core.append(2, 1, [1, 1], [change(2, 1, with4)]);
    expect(core.raft.membership).toEqual(with4);
    core.append(3, 2, [1, 1], [entry(2, 2)]);
    expect(core.raft.membership).toEqual(three);
    const restarted = new OneCore([1, 1], { membership: with4, membershipIndex: 2, previousMembership: three });
    expect(restarted.raft.membershipAt(1)).toEqual(three);
    restarted.append(3, 2, [1, 1], [entry(2, 2)]);
    expect(restarted.raft.membership).toEqual(three);
    // Without the one before it the core refuses to start: it could not roll back.
    expect(() => new OneCore([1, 1], { membership: with4, membershipIndex: 2 })).toThrow('is unknown');
  });

  test('a learner replicates, never counts and never stands', () => {
    const core = new OneCore([], { membership: { voters: [2, 3], learners: [1] } });
    expect(core.raft.nextDeadlineMs).toBe(Number.POSITIVE_INFINITY);
    core.raft.campaign(0);
    expect(core.raft.role).toBe('follower');
    core.append(2, 1, [0, 0], [entry(1, 1)]);
    expect(core.raft.lastIndex).toBe(1);
    const leader = new OneCore([], { membership: { voters: [1, 2, 3], learners: [4, 5] } });
    leader.lead();
    leader.durable();
    leader.ack(4, 1);
    leader.ack(5, 1);
    expect(leader.raft.commit).toBe(0);
  });

  test('a leader hands over when the heir has all and all is committed', () => {
    const core = new OneCore([], { membership: { voters: [1, 2, 3, 4, 5], learners: [] } });
    core.leadAndCommit();
    core.raft.propose(EntryKind.batch, NO_BYTES, 1);
    core.durable();
    core.ack(2, 2);
    core.raft.transferLeadership(2, 0);
    expect(sent(core.take(), 'timeout-now')).toEqual([]);
    core.ack(3, 2);
    expect(core.raft.commit).toBe(2);
    expect(sent(core.take(), 'timeout-now')).toMatchObject([{ message: { to: 2 } }]);
  });

  test('who was removed neither counts nor unseats nor uses a late transfer', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.raft.proposeMembership({ voters: [1, 2], learners: [] });
    core.durable();
    core.ack(3, 2);
    expect(core.raft.commit).toBe(1);
    core.ack(2, 2);
    core.take();
    core.put({ type: 'append-reply', from: 3, term: 9, ok: false, index: 0, hintTerm: 0, round: 0 });
    core.put({ type: 'vote', from: 3, term: 9, lastIndex: 9, lastTerm: 9, transfer: true });
    core.put({ type: 'pre-vote', from: 3, term: 9, lastIndex: 9, lastTerm: 9 });
    expect([core.raft.role, core.raft.term]).toEqual(['leader', 1]);
  });

  test('a leader that is removed does not count itself and goes when that is committed', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.raft.proposeMembership({ voters: [2, 3], learners: [] });
    core.durable();
    core.ack(2, 2);
    expect([core.raft.commit, core.raft.role]).toEqual([1, 'leader']);
    core.ack(3, 2);
    expect([core.raft.commit, core.raft.role]).toEqual([2, 'follower']);
    expect(sent(core.take(), 'timeout-now')).toHaveLength(1);
    expect(core.raft.nextDeadlineMs).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('time', () => {
  test('deadlines are whole milliseconds, whatever the clock and chance say: one that is due is met by a tick at it', () => {
    for (const limits of [{ heirMs: 0.5 }, { gridMs: 12.5 }])
      expect(() => new OneCore([], {}, limits)).toThrow('whole milliseconds');
    const core = new OneCore([1], { nowMs: 0.7, random: () => 0.123 });
    core.nowMs = 10.9;
    core.append(2, 1, [1, 1], []);
    const heardMs = core.raft.nextDeadlineMs;
    core.raft.stalled(0.3);
    core.raft.peerDown(2, 11.2);
    const lostMs = core.raft.nextDeadlineMs;
    expect([heardMs, lostMs].every(Number.isInteger)).toBe(true);
    core.tick(lostMs);
    expect(core.raft.role).toBe('pre-candidate');
    expect(core.raft.nextDeadlineMs).toBeGreaterThan(lostMs);
    expect(Number.isInteger(core.raft.nextDeadlineMs)).toBe(true);
  });
});

describe('flow control', () => {
  test('a bounded number of entries is under way, in messages of a bounded number', () => {
    const core = new OneCore([], {}, { appendEntriesMax: 2, inflightMax: 5 });
    core.leadAndCommit();
    for (let i = 0; i < 20; i++) core.raft.propose(EntryKind.batch, NO_BYTES, i);
    const to2 = () =>
      sent(core.take(), 'append')
        .filter(({ message }) => message.to === 2)
        .map(({ message }) => [message.first, message.last]);
    expect(to2()).toEqual([
      [2, 3],
      [4, 5],
      [6, 7],
    ]);
    // Still as many as may be.
    core.ack(2, 2);
    expect(to2()).toEqual([]);
    core.ack(2, 5);
    expect(to2()).toEqual([
      [8, 9],
      [10, 11],
    ]);
  });

  test('a follower that is asked where it stands gets one message at a time, and entries only once', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.raft.peerDown(2, 0);
    core.raft.propose(EntryKind.batch, NO_BYTES, 1);
    const to2 = () => sent(core.take(), 'append').filter(({ message }) => message.to === 2);
    expect(to2()).toMatchObject([{ message: { prevIndex: 1, first: 2, last: 2 } }]);
    core.raft.propose(EntryKind.batch, NO_BYTES, 2);
    expect(to2()).toEqual([]);
    core.put({ type: 'heartbeat-reply', from: 2, term: 1, round: 0 });
    expect(to2()).toMatchObject([{ message: { prevIndex: 1, first: 2, last: 1 } }]);
    core.ack(2, 1);
    expect(to2()).toMatchObject([{ message: { prevIndex: 1, first: 2, last: 3 } }]);
  });

  test('without prompt notices the next append, heartbeat or read tells what is committed', () => {
    const core = new OneCore([], {}, { promptCommits: false });
    core.leadAndCommit();
    const propose = () => {
      core.raft.propose(EntryKind.batch, NO_BYTES, 1);
      const { message } = sent(core.durable(), 'append').filter(({ message: m }) => m.to === 2)[0];
      return message;
    };
    propose();
    for (const peer of [2, 3]) core.ack(peer, 2);
    expect(core.raft.commit).toBe(2);
    expect(core.take().send).toEqual([]);
    expect(propose()).toMatchObject({ first: 3, commit: 2 });
    core.ack(3, 3);
    expect(core.take().send).toEqual([]);
    // Member 2 asks while its own acknowledgement is still on the way: the answer to it must not wait for a heartbeat.
    core.put({ type: 'read-index', from: 2, term: 1, context: 9 });
    expect(sent(core.take(), 'heartbeat').map(({ message }) => [message.to, message.commit])).toEqual([
      [2, 2],
      [3, 3],
    ]);
    core.ack(2, 3);
    expect(core.take().send).toMatchObject([{ type: 'commit', to: 2, index: 3 }]);
    propose();
    for (const peer of [2, 3]) core.ack(peer, 4);
    expect(core.take().send).toEqual([]);
    core.tick(core.raft.nextDeadlineMs);
    core.tick(core.raft.nextDeadlineMs);
    const told = sent(core.take(), 'heartbeat').map(({ message }) => [message.to, message.commit]);
    expect(told).toContainEqual([2, 4]);
    expect(told).toContainEqual([3, 4]);
  });

  test('refusals that are old change nothing', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.raft.propose(EntryKind.batch, NO_BYTES, 1);
    core.durable();
    core.ack(2, 2);
    core.put({ type: 'append-reply', from: 2, term: 1, ok: false, index: 0, hintTerm: 0, round: 0 });
    expect(core.raft.progress[0]).toMatchObject({ peer: 2, match: 2, state: 'replicate' });
  });
});
