import { crc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { LogEntry, PeerId, RaftMessage } from '../../../cluster/core/types.ts';
import { type Append, AppendSender, type LaneOwner } from '../../../cluster/host/append-sender.ts';
import { Deadlines, NOT_QUEUED_MS } from '../../../cluster/host/deadlines.ts';
import { loadIdentity, saveIdentity } from '../../../cluster/host/identity.ts';
import { Outgoing } from '../../../cluster/host/outgoing.ts';
import { emptyHostStats } from '../../../cluster/host/stats.ts';
import * as codec from '../../../cluster/host/transfer-codec.ts';
import { createSoloTransport } from '../../../cluster/rpc/solo-transport.ts';
import type { Wal } from '../../../cluster/wal/types.ts';
import { durableIdentity } from '../../../src/node.ts';
import { createPrng } from '../../sim/prng.ts';
import { createScheduler } from '../../sim/scheduler.ts';
import { SimDisk } from '../../sim/sim-disk.ts';
import { createSimEnv } from '../../sim/sim-env.ts';

describe('deadlines', () => {
  test('every item is taken at its time, however often that moved', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(9), fc.nat(100), fc.boolean()), { maxLength: 200 }), (steps) => {
        const heap = new Deadlines<{ deadlineMs: number; queuedMs: number }>();
        const items = Array.from({ length: 10 }, () => ({
          deadlineMs: Number.POSITIVE_INFINITY,
          queuedMs: NOT_QUEUED_MS,
        }));
        let nowMs = 0;
        for (const [at, delay, advance] of steps) {
          items[at].deadlineMs = nowMs + delay;
          heap.update(items[at]);
          if (!advance) continue;
          nowMs += delay / 2;
          const due = new Set(items.filter((item) => item.deadlineMs <= nowMs));
          heap.take(nowMs, (item) => {
            expect(due.delete(item)).toBe(true);
            item.deadlineMs = Number.POSITIVE_INFINITY;
          });
          expect(due.size).toBe(0);
          expect(heap.nextMs).toBeLessThanOrEqual(Math.min(...items.map((item) => item.deadlineMs)));
        }
      }),
    );
  });
});

describe('append sender', () => {
  const entry = (index: number, bytes: number): LogEntry => ({
    index,
    term: 1,
    kind: 1,
    body: new Uint8Array(bytes),
    crc: 0,
  });
  const MIB = 1024 * 1024;

  function setup(sizes: (index: number) => number, memoryFrom = 1) {
    const sent: Append[] = [];
    const reads: (() => void)[] = [];
    const range = (first: number, last: number, maxBytes: number) => {
      const entries: LogEntry[] = [];
      let bytes = 0;
      for (let index = first; index <= last && (entries.length === 0 || bytes + sizes(index) <= maxBytes); index++) {
        entries.push(entry(index, sizes(index)));
        bytes += sizes(index);
      }
      return entries;
    };
    const wal = {
      entriesFromMemory: (_: number, first: number, last: number, max: number) =>
        first >= memoryFrom ? range(first, last, max) : undefined,
      readEntries: (_: number, first: number, last: number, max: number, done: (entries: LogEntry[]) => void) => {
        reads.push(() => done(range(first, last, max)));
      },
    } as unknown as Wal;
    const world = { leads: true };
    const owner: LaneOwner = { id: 7, lanes: [] };
    const sender = new AppendSender(wal, {
      send: (_, message) => sent.push(message as Append),
      leads: () => world.leads,
      unreadable: () => {},
    });
    const push = (first: number, last: number, fresh: LogEntry[] = []) =>
      sender.push(
        owner,
        {
          type: 'append',
          from: 1,
          to: 2,
          term: 1,
          prevIndex: first - 1,
          prevTerm: 1,
          first,
          last,
          commit: 0,
          round: 0,
        },
        fresh,
      );
    const contiguous = () => {
      let next = sent[0]?.first ?? 1;
      for (const message of sent) {
        expect(message.first).toBe(next);
        expect(message.prevIndex).toBe(next - 1);
        expect(message.entries!.map((e) => e.index)).toEqual(
          Array.from({ length: message.last - message.first + 1 }, (_, i) => next + i),
        );
        next = message.last + 1;
      }
      return next - 1;
    };
    const reply = (ok: boolean, index: number) => sender.onReply(owner, 2, ok, index);
    return { sender, reply, sent, reads, push, contiguous, world };
  }

  test('cuts ranges by size, keeps order, and stops at the window until answers come', () => {
    const { reply, sent, push, contiguous } = setup(() => MIB / 2);
    push(1, 64);
    push(65, 70);
    const last = contiguous();
    expect(last).toBe(16);
    for (const message of sent)
      expect(message.entries!.reduce((sum, e) => sum + e.body.length, 0)).toBeLessThanOrEqual(MIB);
    reply(true, 8);
    expect(contiguous()).toBe(24);
    for (let acked = 9; acked <= 70; acked++) reply(true, acked);
    expect(contiguous()).toBe(70);
  });

  test('one entry larger than everything still leaves, alone', () => {
    const { reply, push, contiguous } = setup(() => 12 * MIB);
    push(1, 2);
    expect(contiguous()).toBe(1);
    reply(true, 1);
    expect(contiguous()).toBe(2);
  });

  test('what is not in memory is read, one read at a time, and nothing overtakes it', () => {
    const { reads, sent, push, contiguous } = setup(() => 1_000, 50);
    push(1, 10);
    push(50, 60);
    expect(sent).toEqual([]);
    expect(reads).toHaveLength(1);
    reads.shift()!();
    expect(sent.map((m) => [m.first, m.last])).toEqual([
      [1, 10],
      [50, 60],
    ]);
    expect(contiguous).toThrow();
  });

  test('entries that were just made leave as they are, within the window and behind what waits', () => {
    const { reply, sent, push, contiguous } = setup(() => MIB / 2, 1_000);
    const made = (first: number, last: number) =>
      Array.from({ length: last - first + 1 }, (_, i) => entry(first + i, MIB / 2));
    for (let index = 1; index <= 16; index++) push(index, index, made(index, index));
    expect(contiguous()).toBe(16);
    expect(sent[15].entries).toEqual(made(16, 16));
    push(17, 17, made(17, 17));
    expect(sent).toHaveLength(16);
    // What waits was not kept: it is read, and what is made meanwhile does not overtake it.
    reply(true, 16);
    push(18, 18, made(18, 18));
    expect(sent).toHaveLength(16);
  });

  test('of what was just made only what the message names leaves with it', () => {
    const { sent, push } = setup(() => 10, 1);
    push(3, 4, [entry(4, 10)]);
    push(5, 5, [entry(5, 10), entry(6, 10)]);
    expect(sent.map(({ entries }) => entries!.map(({ index }) => index))).toEqual([[3, 4], [5]]);
  });

  test('answers free the window whatever number of messages is under way', () => {
    const { reply, sent, push } = setup(() => MIB / 4);
    for (let round = 0; round < 5; round++) {
      for (let index = 1; index <= 40; index++) push(round * 40 + index, round * 40 + index);
      expect(sent).toHaveLength(round * 40 + 32);
      for (let acked = 1; acked <= 40; acked += 3) reply(true, round * 40 + acked);
      expect(sent).toHaveLength(round * 40 + 40);
      reply(true, round * 40 + 40);
    }
  });

  test('a refusal, a lost link or a lost leadership empties the lane', () => {
    const { sender, reply, sent, reads, push, world } = setup(() => 1_000, 50);
    push(1, 10);
    reply(false, 0);
    reads.shift()!();
    expect(sent).toEqual([]);
    push(1, 10);
    sender.dropPeer(2);
    reads.shift()!();
    expect(sent).toEqual([]);
    push(1, 10);
    world.leads = false;
    reads.shift()!();
    expect(sent).toEqual([]);
  });

  test('a range that is sent again takes the place of what was lost', () => {
    const { push, sent } = setup(() => MIB);
    push(1, 8);
    expect(sent).toHaveLength(8);
    push(1, 4);
    expect(sent).toHaveLength(12);
  });
});

describe('outgoing', () => {
  test('everything asks to leave at once, but commit indexes alone', () => {
    const sent: PeerId[] = [];
    const send = (peer: PeerId) => sent.push(peer) > 0;
    const outgoing = new Outgoing(
      {
        ...createSoloTransport({ id: 1, name: 'a', clientUrl: '', clusterUrl: '', monitorUrl: '' }),
        isUp: () => true,
        send,
      },
      emptyHostStats(),
    );
    const commit = (to: PeerId): RaftMessage => ({ type: 'commit', from: 1, to, term: 1, index: 7 });
    const reply: RaftMessage = { type: 'heartbeat-reply', from: 1, to: 3, term: 1, round: 1 };
    outgoing.add(9, commit(2));
    outgoing.add(9, commit(3));
    expect(outgoing.send()).toBe(false);
    expect(sent).toEqual([2, 3]);
    outgoing.add(9, commit(2));
    outgoing.add(9, reply);
    expect(outgoing.send()).toBe(true);
    expect(sent).toEqual([2, 3, 2, 3]);
    outgoing.add(9, commit(2));
    expect(outgoing.send()).toBe(false);
  });
});

describe('transfer codec', () => {
  test('round trips, and no damage throws', () => {
    const body = new Uint8Array(100).fill(3);
    const entries: LogEntry[] = [{ index: 5, term: 2 ** 40, kind: 1, body, crc: crc32c(body) }];
    const batch = codec.encodeEntries({ entries, next: 9, commit: 7, gone: false });
    expect(codec.decodeEntries(batch)).toEqual({
      entries: entries.map((e) => ({ ...e, body: expect.anything() })),
      next: 9,
      commit: 7,
      gone: false,
    });
    const offer = {
      group: 65,
      meta: { index: 3, term: 2, membership: { voters: [1, 2 ** 47], learners: [] } },
      stateBytes: 10,
      stateCrc: 2 ** 32 - 1,
    };
    expect(codec.decodeOffer(codec.encodeOffer(offer))).toEqual(offer);
    expect(codec.decodeRequest(codec.encodeRequest({ group: 1, index: 2, from: 3, to: 4 }))).toEqual({
      group: 1,
      index: 2,
      from: 3,
      to: 4,
    });
    expect(codec.decodeOutcome(codec.encodeOutcome(codec.OfferOutcome.have))).toBe(2);
    fc.assert(
      fc.property(
        fc.constantFrom(batch, codec.encodeOffer(offer)),
        fc.nat(200),
        fc.nat(255),
        fc.nat(200),
        (bytes, at, value, length) => {
          const bad = bytes.slice(0, length);
          if (at < bad.length) bad[at] = value;
          for (const entry of codec.decodeEntries(bad)?.entries ?? [])
            expect(entry.crc).toBe(entry.body.length ? crc32c(entry.body) : 0);
          codec.decodeOffer(bad);
          codec.decodeRequest(bad);
          codec.decodeOutcome(bad);
        },
      ),
    );
  });
});

describe('identity', () => {
  const scheduler = createScheduler(createPrng(1));
  const envOf = (disk: SimDisk, crash?: string) =>
    createSimEnv({ scheduler, seed: 1, node: 'n', disk, crashAt: (name) => (name === crash ? 'power' : undefined) });
  const fresh = () => new SimDisk({ scheduler, prng: createPrng(2) });

  test('is drawn once, kept, and survives the loss of one copy', () => {
    const disk = fresh();
    const first = loadIdentity(envOf(disk), 'a', ['wal']);
    expect(first.created).toBe(true);
    expect(first.identity.incarnation).toBeGreaterThan(0);
    expect(loadIdentity(envOf(disk), 'b', ['wal'])).toEqual({ identity: first.identity, created: false });
    for (const file of ['identity', 'identity.copy']) {
      disk.flipBit(file, 20);
      expect(loadIdentity(envOf(disk), 'b', []).identity).toEqual(first.identity);
      disk.remove(file);
      expect(loadIdentity(envOf(disk), 'b', []).identity).toEqual(first.identity);
    }
    const formed = { ...first.identity, clusterId: 'C' };
    saveIdentity(envOf(disk), formed);
    expect(loadIdentity(envOf(disk), 'b', []).identity).toEqual(formed);
  });

  test('is never invented where there was one', () => {
    const disk = fresh();
    loadIdentity(envOf(disk), 'a', []);
    for (const file of ['identity', 'identity.copy']) disk.flipBit(file, 20);
    expect(() => loadIdentity(envOf(disk), 'a', [])).toThrow(/damaged/);
    for (const file of ['identity', 'identity.copy']) disk.remove(file);
    disk.put('wal/1', new Uint8Array(1));
    expect(() => loadIdentity(envOf(disk), 'a', ['wal'])).toThrow(/no identity/);
  });

  test('a disk that has no room for it ends the node, and says that it is the disk', () => {
    const disk = fresh();
    const { identity } = loadIdentity(envOf(disk), 'a', []);
    disk.faults.spaceBytes = disk.usedBytes;
    let reason = '';
    const env = createSimEnv({ scheduler, seed: 1, node: 'n', disk, onCrash: (why) => (reason = why) });
    const adopted: string[] = [];
    env.run(() => {
      durableIdentity(env, identity, (clusterId) => adopted.push(clusterId)).adoptCluster('C', () =>
        adopted.push('done'),
      );
    });
    expect(reason).toMatch(/^fatal disk: the identity can not be written: .*ENOSPC/);
    expect(adopted).toEqual([]);
    disk.faults.spaceBytes = Number.POSITIVE_INFINITY;
    expect(loadIdentity(envOf(disk), 'a', []).identity).toMatchObject({
      incarnation: identity.incarnation,
      clusterId: '',
    });
  });

  test('a crash between the copies leaves one of the two', () => {
    const disk = fresh();
    const { identity } = loadIdentity(envOf(disk), 'a', []);
    const env = envOf(disk, 'identity:saved-identity');
    env.run(() => saveIdentity(env, { ...identity, clusterId: 'C' }));
    expect(env.alive).toBe(false);
    expect(loadIdentity(envOf(disk), 'a', []).identity.clusterId).toBe('C');
  });
});
