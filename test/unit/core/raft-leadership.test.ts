// Rules of one core that concern who leads: elections, transfer, reads through the leader, quiescence. The log's are in raft-rules.test.ts.
import { describe, expect, test } from 'vitest';
import { defaultLimits } from '../../../cluster/core/limits.ts';
import type { RaftOptions } from '../../../cluster/core/raft.ts';
import type { PeerId, Ready } from '../../../cluster/core/types.ts';
import { EntryKind } from '../../../cluster/core/types.ts';
import { createPrng } from '../../sim/prng.ts';
import { entry, granted, NO_BYTES, OneCore, sent, vote } from './one-core.ts';

describe('elections', () => {
  test('while a leader is heard, neither pre-votes nor votes; nobody raises the term', () => {
    const core = new OneCore([1]);
    core.append(2, 1, [1, 1], []);
    core.take();
    core.nowMs = 500;
    core.put({ type: 'pre-vote', from: 3, term: 2, lastIndex: 9, lastTerm: 1 });
    expect(sent(core.take(), 'pre-vote-reply')).toMatchObject([{ message: { granted: false, term: 1 } }]);
    expect(vote(core, 3, 2, [9, 1]).sendDurable).toEqual([]);
    expect(core.raft.term).toBe(1);
    core.nowMs = 601;
    core.put({ type: 'pre-vote', from: 3, term: 2, lastIndex: 9, lastTerm: 1 });
    expect(sent(core.take(), 'pre-vote-reply')).toMatchObject([{ message: { granted: true, term: 2 } }]);
    expect(core.raft.term).toBe(1);
    expect(granted(vote(core, 3, 2, [9, 1]))).toBe(true);
  });

  test('a transfer is not resisted', () => {
    const core = new OneCore([1]);
    core.append(2, 1, [1, 1], []);
    expect(granted(vote(core, 3, 2, [1, 1], true))).toBe(true);
  });

  test('a leader of an earlier term is unstuck by anyone who knows a later one', () => {
    const core = new OneCore([1], { hardState: { term: 6, vote: 1 } });
    core.put({ type: 'heartbeat', from: 2, term: 4, commit: 0, round: 0, quiesce: false, lastIndex: 0 });
    expect(sent(core.take(), 'heartbeat-reply')).toMatchObject([{ message: { term: 6 } }]);
    const leader = new OneCore();
    leader.leadAndCommit();
    leader.put({ type: 'heartbeat-reply', from: 2, term: 6, round: 0 });
    expect([leader.raft.role, leader.raft.term, leader.raft.leader]).toEqual(['follower', 6, 0]);
  });

  test('a pre-vote that is refused with a later term is asked again in that term', () => {
    const core = new OneCore([1]);
    core.raft.campaign(0);
    core.put({ type: 'pre-vote-reply', from: 2, term: 5, granted: false });
    expect(core.take().hardState).toEqual({ term: 5, vote: 0 });
    core.raft.campaign(0);
    expect(sent(core.take(), 'pre-vote').map(({ message }) => message.term)).toEqual([6, 6]);
  });

  test('check-quorum: a leader that nobody answers steps down', () => {
    const core = new OneCore();
    core.leadAndCommit();
    for (let at = 150; at <= 1200; at += 150) core.tick(at);
    expect(core.raft.role).toBe('leader');
    core.tick(1350);
    expect([core.raft.role, core.raft.leader]).toEqual(['follower', 0]);
  });

  /** When this member of the group stands after its leader, node 2, is lost at 100 ms. */
  function standsMs(id: PeerId, options: Partial<RaftOptions>): number {
    const core = new OneCore([1], options, {}, id);
    core.append(2, 1, [1, 1], []);
    core.nowMs = 100;
    core.raft.peerDown(3, 100);
    expect(core.raft.nextDeadlineMs).toBeGreaterThan(600);
    core.raft.peerDown(2, 100);
    const atMs = core.raft.nextDeadlineMs;
    core.tick(atMs);
    expect(core.raft.role).toBe('pre-candidate');
    return atMs;
  }

  test('a reset link to the leader: its heir stands at once, the other one waits; each has its share of the groups', () => {
    const heirs = { 1: 0, 3: 0 };
    for (let group = 64; group < 64 * 1001; group += 64) {
      const [one, three] = [
        standsMs(1, { group }),
        standsMs(3, { group, membership: { voters: [1, 2, 3], learners: [] } }),
      ];
      expect([one, three].sort((a, b) => a - b)).toEqual([110, 410]);
      heirs[one < three ? 1 : 3]++;
    }
    expect(Math.min(heirs[1], heirs[3])).toBeGreaterThan(450);
    expect(standsMs(1, { preferred: true })).toBe(100);
    const five = [1, 3, 4, 5].map((id) => standsMs(id, { membership: { voters: [5, 4, 3, 2, 1], learners: [] } }));
    expect(five.sort((a, b) => a - b)).toEqual([110, 410, 710, 1010]);
  });

  test('asked by a log that lacks something while nobody leads: the better one stands at once', () => {
    const core = new OneCore([1, 1]);
    core.append(2, 1, [2, 1], []);
    core.take();
    core.nowMs = 100;
    core.put({ type: 'pre-vote', from: 3, term: 2, lastIndex: 1, lastTerm: 1 });
    expect(core.raft.nextDeadlineMs).toBeGreaterThan(600);
    core.take();
    core.raft.peerDown(2, 100);
    core.put({ type: 'pre-vote', from: 3, term: 2, lastIndex: 1, lastTerm: 1 });
    expect(sent(core.take(), 'pre-vote-reply')).toMatchObject([{ message: { granted: false } }]);
    expect(core.raft.nextDeadlineMs).toBe(100);
    core.tick(100);
    expect(core.raft.role).toBe('pre-candidate');
  });

  test('the time of who gave a vote begins when that leaves', () => {
    const core = new OneCore([1]);
    core.put({ type: 'vote', from: 3, term: 2, lastIndex: 1, lastTerm: 1, transfer: false });
    expect(core.raft.nextDeadlineMs).toBe(Number.POSITIVE_INFINITY);
    core.tick(5000);
    expect(core.raft.role).toBe('follower');
    core.nowMs = 5000;
    core.durable();
    expect(core.raft.nextDeadlineMs).toBeGreaterThanOrEqual(5600);
    // Whoever is elected meanwhile is waited for as ever.
    const other = new OneCore([1]);
    other.put({ type: 'vote', from: 3, term: 2, lastIndex: 1, lastTerm: 1, transfer: false });
    other.append(3, 2, [1, 1], []);
    expect(other.raft.nextDeadlineMs).toBeLessThan(1200);
  });

  test('the time of a candidate begins when its requests leave, however long its disk takes', () => {
    const core = new OneCore([1]);
    core.raft.campaign(0);
    core.put({ type: 'pre-vote-reply', from: 3, term: 2, granted: true });
    expect(core.raft.nextDeadlineMs).toBe(Number.POSITIVE_INFINITY);
    core.tick(5000);
    expect([core.raft.role, core.raft.term]).toEqual(['candidate', 2]);
    core.nowMs = 5000;
    core.durable();
    expect(core.raft.nextDeadlineMs).toBeGreaterThanOrEqual(5600);
    core.tick(core.raft.nextDeadlineMs);
    expect([core.raft.role, core.raft.term]).toEqual(['pre-candidate', 2]);
  });

  test('without the right to vote: no grant, no candidacy, no leadership; it still replicates', () => {
    const core = new OneCore([1], { mayVote: false });
    expect(core.raft.nextDeadlineMs).toBe(Number.POSITIVE_INFINITY);
    core.put({ type: 'pre-vote', from: 3, term: 2, lastIndex: 9, lastTerm: 1 });
    expect(sent(core.take(), 'pre-vote-reply')[0].message.granted).toBe(false);
    expect(granted(vote(core, 3, 2, [9, 1]))).toBe(false);
    core.put({ type: 'timeout-now', from: 3, term: 2 });
    core.raft.campaign(0);
    expect(core.raft.role).toBe('follower');
    core.append(2, 2, [1, 1], [entry(2, 2)]);
    expect(core.raft.lastIndex).toBe(2);
    const leader = new OneCore();
    leader.leadAndCommit();
    leader.raft.setMayVote(false);
    expect(leader.raft.role).toBe('follower');
  });

  test('two leaders in one term end the process', () => {
    const core = new OneCore();
    core.append(2, 1, [0, 0], []);
    expect(() => core.append(3, 1, [0, 0], [])).toThrow('both lead term 1');
  });

  test('time that goes back changes nothing', () => {
    const core = new OneCore([1]);
    core.append(2, 1, [1, 1], []);
    core.nowMs = 5000;
    core.append(2, 1, [1, 1], []);
    const due = core.raft.nextDeadlineMs;
    core.tick(10);
    core.append(2, 1, [1, 1], []);
    expect(core.raft.nextDeadlineMs).toBe(due);
    expect(core.raft.role).toBe('follower');
  });
});

describe('transfer', () => {
  test('proposals stop; the target is told when it has everything; given up after an election timeout', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.raft.propose(EntryKind.batch, NO_BYTES, 1);
    core.durable();
    core.raft.transferLeadership(3, 0);
    expect(core.raft.transferringTo).toBe(3);
    expect(core.raft.propose(EntryKind.batch, NO_BYTES, 2)).toBeUndefined();
    expect(core.raft.proposeMembership({ voters: [1, 3], learners: [] })).toBeUndefined();
    expect(sent(core.take(), 'timeout-now')).toEqual([]);
    core.ack(2, 2);
    expect(sent(core.take(), 'timeout-now')).toEqual([]);
    core.ack(3, 2);
    expect(sent(core.take(), 'timeout-now')).toMatchObject([{ message: { to: 3 } }]);
    expect(core.raft.nextDeadlineMs).toBeLessThanOrEqual(600);
    core.tick(600);
    expect(core.raft.transferringTo).toBe(0);
    expect(core.raft.propose(EntryKind.batch, NO_BYTES, 3)).toEqual({ index: 3, term: 1 });
  });

  test('given up at once when the target is gone, not when somebody else is', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.raft.transferLeadership(3, 0);
    core.take();
    core.raft.peerDown(2, 20);
    core.take();
    expect(core.raft.nextDeadlineMs).toBeGreaterThan(20);
    core.tick(20);
    expect(core.raft.transferringTo).toBe(3);
    core.raft.peerDown(3, 30);
    expect(core.raft.nextDeadlineMs).toBe(30);
    core.tick(30);
    expect(core.raft.transferringTo).toBe(0);
    expect(core.raft.propose(EntryKind.batch, NO_BYTES, 3)).toEqual({ index: 2, term: 1 });
  });

  test('the target stands at once, without a pre-vote', () => {
    const core = new OneCore([1]);
    core.append(2, 1, [1, 1], []);
    core.take();
    core.put({ type: 'timeout-now', from: 2, term: 1 });
    const ready = core.take();
    expect(core.raft.role).toBe('candidate');
    expect(sent(ready, 'vote').map(({ message }) => message.transfer)).toEqual([true, true]);
    // A late one of an earlier term means nothing.
    core.put({ type: 'timeout-now', from: 2, term: 1 });
    expect(core.raft.term).toBe(2);
  });
});

describe('heartbeats', () => {
  const { heartbeatMs, gridMs } = defaultLimits;
  expect(heartbeatMs % gridMs).toBe(0);

  test('leave on the grid, never later than heartbeatMs after the last word, and not to whom there was one lately', () => {
    const prng = createPrng(3);
    for (let round = 0; round < 50; round++) {
      const core = new OneCore();
      core.nowMs = prng.float() * 1000;
      core.leadAndCommit();
      core.raft.tick(core.nowMs);
      core.take();
      const saidMs = new Map([2, 3].map((peer) => [peer, core.nowMs]));
      const endMs = core.nowMs + 1200;
      let proposeMs = core.nowMs + prng.float() * 400;
      while (core.nowMs < endMs) {
        const dueMs = core.raft.nextDeadlineMs;
        // A tick is a hair late.
        core.nowMs = Math.min(proposeMs, dueMs + prng.float());
        if (core.nowMs === proposeMs) {
          proposeMs += prng.float() * 400;
          core.raft.setNow(core.nowMs);
          core.raft.propose(EntryKind.batch, NO_BYTES, 0);
        } else {
          expect(dueMs % gridMs).toBe(0);
          core.raft.tick(core.nowMs);
          expect(core.raft.nextDeadlineMs).toBeGreaterThan(core.nowMs);
        }
        const ready = core.durable();
        for (const { message } of sent(ready, 'heartbeat')) {
          expect(core.nowMs - saidMs.get(message.to)!).toBeGreaterThanOrEqual(heartbeatMs - gridMs);
          core.put({ type: 'heartbeat-reply', from: message.to, term: core.raft.term, round: message.round });
        }
        for (const { message } of sent(ready, 'append')) core.ack(message.to, message.last, message.round);
        const commits = sent(core.take(), 'commit');
        for (const { message } of [...sent(ready, 'heartbeat'), ...sent(ready, 'append'), ...commits])
          saidMs.set(message.to, core.nowMs);
        for (const ms of saidMs.values()) expect(core.nowMs - ms).toBeLessThanOrEqual(heartbeatMs + 1);
      }
      expect(core.raft.role).toBe('leader');
    }
  });
});

describe('proof of leadership', () => {
  const { proofMs, heartbeatMs } = defaultLimits;

  /** The last message to a peer, answered. */
  function answered(core: OneCore, peer: PeerId, ready: Ready): void {
    for (const { message } of [...sent(ready, 'heartbeat'), ...sent(ready, 'append')]) {
      if (message.to !== peer) continue;
      if (message.type === 'append') core.ack(peer, message.last, message.round);
      else core.put({ type: 'heartbeat-reply', from: peer, term: core.raft.term, round: message.round });
    }
  }

  test('it counts from when the message left, not from when its answer came; a majority must have answered', () => {
    const core = new OneCore([1], { membership: { voters: [1, 2, 3, 4, 5], learners: [6] } });
    expect(core.raft.provenUntilMs).toBe(Number.NEGATIVE_INFINITY);
    core.leadAndCommit();
    core.tick(1000 - heartbeatMs);
    core.take();
    for (const peer of [2, 3, 4, 5]) core.ack(peer, core.raft.lastIndex);
    core.tick(1000);
    const beat = core.take();
    expect(sent(beat, 'heartbeat')).toHaveLength(5);
    core.nowMs = 1300;
    answered(core, 6, beat);
    answered(core, 4, beat);
    expect(core.raft.provenUntilMs).toBeLessThan(1000);
    answered(core, 2, beat);
    expect(core.raft.provenUntilMs).toBe(1000 + proofMs);
  });

  test('answers to appends prove it as well; without any answer it runs out', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.raft.setNow(500);
    core.raft.propose(EntryKind.batch, NO_BYTES, 0);
    const ready = core.durable();
    core.nowMs = 510;
    answered(core, 3, ready);
    expect(core.raft.provenUntilMs).toBe(500 + proofMs);
    for (let atMs = 600; atMs < 1500; atMs += 50) {
      core.tick(atMs);
      core.take();
    }
    expect(core.raft.role).toBe('leader');
    expect(core.raft.provenUntilMs).toBeLessThanOrEqual(500 + proofMs);
    // An answer from an earlier round, however late.
    core.nowMs = 1500;
    answered(core, 3, ready);
    expect(core.raft.provenUntilMs).toBeLessThanOrEqual(500 + proofMs);
  });

  test('an answer of an earlier term proves nothing; a lone voter needs none; who does not lead has none', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.put({ type: 'heartbeat', from: 2, term: 5, commit: 0, round: 0, quiesce: false, lastIndex: 0 });
    expect(core.raft.provenUntilMs).toBe(Number.NEGATIVE_INFINITY);
    core.lead();
    core.put({ type: 'heartbeat-reply', from: 2, term: 1, round: 1e9 });
    core.put({ type: 'heartbeat-reply', from: 3, term: 1, round: 1e9 });
    core.take();
    expect(core.raft.provenUntilMs).toBe(Number.NEGATIVE_INFINITY);
    const lone = new OneCore([], { membership: { voters: [1], learners: [2] } });
    lone.raft.campaign(0);
    expect(lone.raft.provenUntilMs).toBe(Number.POSITIVE_INFINITY);
  });
});

describe('reads', () => {
  test('no answer without a round that began afterwards: a leader that slept through its overthrow serves nothing', () => {
    const core = new OneCore();
    core.leadAndCommit();
    core.raft.readIndex(1, 10);
    expect(sent(core.take(), 'heartbeat').map(({ message }) => message.round)).toEqual([2, 2]);
    core.raft.readIndex(2, 11);
    core.take();
    // An answer to the first round confirms the first read only.
    core.put({ type: 'heartbeat-reply', from: 2, term: 1, round: 2 });
    expect(core.take().reads).toEqual([{ context: 1, ok: true, index: 1 }]);
    // The process stood still for a minute.
    core.raft.readIndex(3, 60_000);
    expect(core.take().reads).toEqual([]);
    core.tick(60_000);
    expect(core.raft.role).toBe('follower');
    expect(core.take().reads).toEqual([
      { context: 2, ok: false, index: 0 },
      { context: 3, ok: false, index: 0 },
    ]);
  });

  test('nothing is answered before the own no-op is committed; then one round serves all', () => {
    const core = new OneCore([1]);
    core.lead();
    core.raft.readIndex(1, 0);
    core.put({ type: 'read-index', from: 3, term: 2, context: 70 });
    core.durable();
    expect(core.raft.commit).toBe(0);
    core.ack(2, 2);
    core.raft.readIndex(2, 0);
    expect(sent(core.take(), 'heartbeat').map(({ message }) => message.round)).toEqual([2, 2]);
    core.ack(3, 2, 2);
    const ready = core.take();
    expect(ready.reads).toEqual([
      { context: 1, ok: true, index: 2 },
      { context: 2, ok: true, index: 2 },
    ]);
    expect(sent(ready, 'read-index-reply')).toMatchObject([{ message: { to: 3, context: 70, ok: true, index: 2 } }]);
  });

  test('a leader whose no-op is not committed in time refuses', () => {
    const core = new OneCore([1]);
    core.lead();
    core.take();
    core.raft.readIndex(1, 0);
    for (let at = 150; at <= 1200; at += 150) {
      core.put({ type: 'heartbeat-reply', from: 2, term: 2, round: 0 });
      core.tick(at);
    }
    expect(core.raft.role).toBe('leader');
    expect(core.take().reads).toEqual([{ context: 1, ok: false, index: 0 }]);
  });

  test('a follower asks once per turn, and answers exactly once whatever happens', () => {
    const core = new OneCore([1]);
    core.append(2, 1, [1, 1], []);
    core.take();
    core.raft.readIndex(1, 0);
    core.raft.readIndex(2, 0);
    const asked = sent(core.take(), 'read-index');
    expect(asked).toHaveLength(1);
    const { context } = asked[0].message;
    core.put({ type: 'read-index-reply', from: 2, term: 1, context, ok: true, index: 5 });
    core.put({ type: 'read-index-reply', from: 2, term: 1, context, ok: true, index: 5 });
    expect(core.take().reads.map((read) => read.context)).toEqual([1, 2]);
    core.raft.readIndex(3, 0);
    core.take();
    core.put({ type: 'heartbeat', from: 3, term: 2, commit: 0, round: 0, quiesce: false, lastIndex: 0 });
    expect(core.take().reads).toEqual([{ context: 3, ok: false, index: 0 }]);
  });

  test('an answer to an earlier life of the process fits nothing', () => {
    const contexts = [0.1, 0.9].map((chance) => {
      const core = new OneCore([1], { random: () => chance });
      core.append(2, 1, [1, 1], []);
      core.raft.readIndex(1, 0);
      return sent(core.take(), 'read-index')[0].message.context;
    });
    expect(contexts[0]).not.toBe(contexts[1]);
  });
});

describe('quiescence', () => {
  function asleep(): OneCore {
    const core = new OneCore();
    core.leadAndCommit();
    for (let at = 150; at <= 1650; at += 150) {
      for (const from of [2, 3]) core.put({ type: 'heartbeat-reply', from, term: 1, round: 0 });
      core.tick(at);
      core.take();
    }
    return core;
  }

  test('a leader with nothing to do has no deadline; a proposal makes it due at once', () => {
    const core = asleep();
    expect([core.raft.quiesced, core.raft.nextDeadlineMs]).toEqual([true, Number.POSITIVE_INFINITY]);
    core.raft.propose(EntryKind.batch, NO_BYTES, 1);
    expect(core.raft.nextDeadlineMs).toBeLessThanOrEqual(1650);
    // An hour later nobody is blamed for the silence.
    core.tick(3_600_000);
    expect(core.raft.role).toBe('leader');
    expect(core.raft.nextDeadlineMs).toBe(3_600_150);
  });

  test('a follower sleeps only if its log and its commit index are the leader’s', () => {
    const sleepAt = (core: OneCore, lastIndex: number, commit: number) =>
      core.put({ type: 'heartbeat', from: 2, term: 1, commit, round: 0, quiesce: true, lastIndex });
    const core = new OneCore([1, 1]);
    sleepAt(core, 3, 1);
    expect(core.raft.quiesced).toBe(false);
    sleepAt(core, 2, 1);
    expect(core.raft.quiesced).toBe(false);
    sleepAt(core, 2, 2);
    expect([core.raft.quiesced, core.raft.nextDeadlineMs]).toEqual([true, Number.POSITIVE_INFINITY]);
    // Late messages do not wake it, news does.
    core.append(2, 1, [0, 0], [entry(1, 1)], 1);
    expect(core.raft.quiesced).toBe(true);
    core.append(2, 1, [2, 1], [entry(3, 1)], 2);
    expect(core.raft.quiesced).toBe(false);
  });

  test('answers do not wake a leader; questions of members do, those of strangers do not', () => {
    const core = asleep();
    core.put({ type: 'heartbeat-reply', from: 2, term: 1, round: 0 });
    core.ack(2, 1);
    core.put({ type: 'pre-vote', from: 77, term: 2, lastIndex: 9, lastTerm: 9 });
    expect(core.raft.quiesced).toBe(true);
    core.put({ type: 'pre-vote', from: 2, term: 2, lastIndex: 1, lastTerm: 1 });
    expect(core.raft.quiesced).toBe(false);
    expect(sent(core.take(), 'heartbeat').length).toBeGreaterThanOrEqual(2);
  });
});
