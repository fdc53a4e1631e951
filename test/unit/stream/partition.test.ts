// One partition at work on its leader: publishes, reads, removals, limits, headers. Its life beyond that is in partition-life.test.ts.
import { describe, expect, test } from 'vitest';
import type { StreamConfig } from '../../../src/stream/config.ts';
import { isApiError } from '../../../src/stream/errors.ts';
import { streamConfig, World } from './fake-world.ts';
import { get, info, seqOf, stored, subjectsOf, text } from './partition-asks.ts';

describe('publish and read', () => {
  test('a message is answered after its entry is applied and can be read', () => {
    const world = new World().lead();
    const token = world.publish('orders.new', 'hello', { Custom: 'x' });
    expect(world.outcome(token)).toBeUndefined();
    world.clock.turn();
    expect(world.outcome(token)).toBeUndefined();
    world.group.commit();
    expect(world.outcome(token)).toEqual(stored(1));
    const message = get(world, { seq: 1 });
    if (isApiError(message)) throw new Error(message.description);
    expect(message.subject).toBe('orders.new');
    expect(text(message.payload)).toBe('hello');
    expect(text(message.hdr)).toBe('NATS/1.0\r\nCustom: x\r\n\r\n');
    expect(message.stampUs).toBe(world.clock.wall);
  });

  test('a turn is one entry, answered in order with one pass', () => {
    const world = new World().lead();
    const before = world.group.log.length;
    const tokens = Array.from({ length: 100 }, (_, i) => world.publish(`s.${i % 3}`, `m${i}`));
    world.settle();
    expect(world.group.log.length).toBe(before + 1);
    expect(world.outcomes.order).toEqual(tokens);
    for (let i = 0; i < 100; i++) {
      const message = get(world, { seq: i + 1 });
      expect(isApiError(message) ? message : [message.subject, text(message.payload)]).toEqual([`s.${i % 3}`, `m${i}`]);
    }
  });

  test('an entry holds at most 1 MiB, or one message', () => {
    const world = new World().lead();
    const before = world.group.log.length;
    for (let i = 0; i < 5; i++) world.publish('big', new Uint8Array(400_000));
    world.publish('huge', new Uint8Array(3_000_000));
    world.settle();
    const sizes = world.group.log.slice(before).map((body) => body.length);
    expect(sizes).toHaveLength(4);
    expect(sizes.filter((size) => size > 1 << 20)).toHaveLength(1);
    expect(info(world).messages).toBe(6);
  });

  test('bytes are accounted as the reference server does', () => {
    const file = new World().lead();
    for (let i = 0; i < 3; i++) file.store('limits', 'A');
    expect(info(file)).toMatchObject({ messages: 3, bytes: 111, first_seq: 1, last_seq: 3, num_subjects: 1 });
    const memory = new World({ storage: 'memory' }).lead();
    memory.store('limits', 'A');
    expect(info(memory)).toMatchObject({ bytes: 23 });
    file.store('limits', 'A', { K: 'v' });
    expect(info(file).bytes).toBe(111 + 37 + 4 + 'NATS/1.0\r\nK: v\r\n\r\n'.length);
  });

  test('get by seq, last, next and time', () => {
    const world = new World().lead();
    const start = world.clock.wall;
    for (const subject of ['a', 'b', 'a', 'c.x', 'c.y']) {
      world.store(subject);
      world.clock.advance(1000);
    }
    expect(seqOf(world, { seq: 2 })).toBe(2);
    expect(seqOf(world, { seq: 9 })).toBe(-10037);
    expect(seqOf(world, { seq: 2 ** 60 })).toBe(-10037);
    expect(seqOf(world, { last_by_subj: 'a' })).toBe(3);
    expect(seqOf(world, { last_by_subj: 'c.*' })).toBe(5);
    expect(seqOf(world, { last_by_subj: 'none' })).toBe(-10037);
    expect(seqOf(world, { next_by_subj: 'a', seq: 2 })).toBe(3);
    expect(seqOf(world, { next_by_subj: 'c.>' })).toBe(4);
    expect(seqOf(world, { next_by_subj: 'a', start_time_us: start + 3_000_000 })).toBe(-10037);
    expect(seqOf(world, { start_time_us: start + 2_500_000 })).toBe(4);
    expect(seqOf(world, { start_time_us: 0 })).toBe(1);
    expect(seqOf(world, { start_time_us: start + 60_000_000 })).toBe(-10037);
  });

  test('info: deleted details, subjects, an empty stream', () => {
    const world = new World().lead();
    expect(info(world)).toMatchObject({ first_seq: 0, last_seq: 0, first_ts_us: 0, last_ts_us: 0 });
    for (const subject of ['a', 'b', 'a', 'c', 'a']) world.store(subject);
    world.ask((done) => world.partition.deleteMessage(3, done));
    expect(info(world, { deletedDetails: true })).toMatchObject({ num_deleted: 1, deleted: [3], num_subjects: 3 });
    expect(info(world, subjectsOf('>')).subjects).toEqual({ a: 2, b: 1, c: 1 });
    expect(info(world, subjectsOf('a')).subjects).toEqual({ a: 2 });
    expect(info(world, subjectsOf('>', 1, 1))).toMatchObject({ subjects: { b: 1 }, subjects_total: 3 });
    world.ask((done) => world.partition.purge({}, done));
    const last = world.clock.wall;
    expect(info(world)).toMatchObject({
      messages: 0,
      bytes: 0,
      first_seq: 6,
      last_seq: 5,
      first_ts_us: 0,
      last_ts_us: last,
    });
  });

  test('first_seq of the configuration', () => {
    const world = new World({ first_seq: 1000 }).lead();
    expect(info(world)).toMatchObject({ first_seq: 1000, last_seq: 999 });
    expect(world.store('a', '', { 'Nats-Expected-Last-Sequence': '999' })).toEqual(stored(1000));
    const early = new World({ first_seq: 77 });
    early.group.lead();
    const token = early.publish('a');
    early.settle();
    expect(early.outcome(token)).toEqual(stored(77));
  });

  test('cold messages: one disk read per entry, damage is not absence', () => {
    const world = new World().lead();
    const before = world.group.log.length;
    for (let i = 0; i < 10; i++) world.publish('a', `${i}`);
    world.settle();
    world.group.cold = true;
    const got: (string | number)[] = [];
    for (let seq = 1; seq <= 10; seq++) {
      world.partition.get({ seq }, (m) => got.push(isApiError(m) ? m.err_code : text(m.payload)));
    }
    expect(got).toEqual([]);
    world.group.readDisk();
    expect(got).toEqual(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    expect(world.group.diskReads).toBe(1);
    world.partition.get({ seq: 4 }, (m) => got.push(isApiError(m) ? m.err_code : text(m.payload)));
    expect(got.pop()).toBe('3');

    world.store('b');
    world.group.damaged.add(before + 2);
    world.partition.get({ seq: 11 }, (m) => got.push(isApiError(m) ? m.err_code : 'ok'));
    world.group.readDisk();
    expect(got.pop()).toBe(10008);
    world.store('c');
    world.partition.get({ seq: 12 }, (m) => got.push(isApiError(m) ? m.err_code : 'ok'));
    world.ask((done) => world.partition.deleteMessage(12, done));
    world.group.readDisk();
    expect(got.pop()).toBe(10037);
  });

  test('reads wait for their barrier and fail with it', () => {
    const world = new World().lead();
    world.store('a');
    world.group.holdBarriers = true;
    const got: number[] = [];
    world.partition.get({ seq: 1 }, (m) => got.push(isApiError(m) ? m.err_code : m.seq));
    world.partition.info({ deletedDetails: false }, (s) => got.push(isApiError(s) ? s.err_code : s.messages));
    expect(got).toEqual([]);
    world.group.answerBarriers(true);
    expect(got).toEqual([1, 1]);
    world.partition.get({ seq: 1 }, (m) => got.push(isApiError(m) ? m.err_code : m.seq));
    world.group.answerBarriers(false);
    expect(got).toEqual([1, 1, 10008]);
  });

  test('a partition of several maps seqs at the door only', () => {
    const world = new World({}, { partition: 2, stride: 4 }).lead();
    expect(world.store('a')).toEqual(stored(6));
    for (const header of ['Nats-Expected-Last-Sequence', 'Nats-Expected-Last-Msg-Id'])
      expect(world.store('b', '', { [header]: '6' })).toMatchObject({ err_code: 10052 });
    expect(world.store('b')).toEqual(stored(10));
    expect(world.store('a', '', { 'Nats-Expected-Last-Subject-Sequence': '6' })).toEqual(stored(14));
    expect(world.store('a', '', { 'Nats-Expected-Last-Subject-Sequence': '10' })).toMatchObject({ err_code: 10071 });
    expect(info(world)).toMatchObject({ first_seq: 6, last_seq: 14, messages: 3 });
    expect(seqOf(world, { seq: 10 })).toBe(10);
    expect(seqOf(world, { seq: 11 })).toBe(-10037);
    expect(seqOf(world, { next_by_subj: '>', seq: 7 })).toBe(10);
    expect(world.ask((done) => world.partition.deleteMessage(9, done))).toMatchObject({
      err_code: 10043,
      description: 'sequence 9 not found',
    });
    expect(world.ask((done) => world.partition.purge({ seq: 14 }, done))).toBe(2);
    expect(info(world)).toMatchObject({ first_seq: 14, messages: 1 });
  });

  test('an advance: later messages have larger seqs, what was sent before keeps its own', () => {
    const world = new World({}, { partition: 2, stride: 4 }).lead();
    const acked: number[] = [];
    const sink = {
      stored: (_: number, seq: number) => void acked.push(seq),
      refused: () => void acked.push(-1),
      returned: () => void acked.push(-2),
    };
    const advanced: boolean[] = [];
    world.partition.publish('a', new Uint8Array(0), new Uint8Array(0), sink, 0, world.group.term);
    world.partition.advance(100, (ok) => advanced.push(ok));
    world.partition.publish('a', new Uint8Array(0), new Uint8Array(0), sink, 0, world.group.term);
    world.partition.advance(50, (ok) => advanced.push(ok));
    world.partition.publish('b', new Uint8Array(0), new Uint8Array(0), sink, 0, world.group.term);
    world.settle();
    expect(acked).toEqual([6, 101 * 4 + 2, 102 * 4 + 2]);
    expect(advanced).toEqual([true, true]);
    expect(info(world)).toMatchObject({ first_seq: 6, last_seq: 102 * 4 + 2, messages: 3, num_deleted: 99 });
    expect(seqOf(world, { next_by_subj: 'a', seq: 7 })).toBe(101 * 4 + 2);
  });
});

describe('deletes and purges', () => {
  test('delete', () => {
    const world = new World().lead();
    world.store('a');
    expect(world.ask((done) => world.partition.deleteMessage(1, done))).toBe(true);
    expect(world.ask((done) => world.partition.deleteMessage(1, done))).toMatchObject({ err_code: 10043 });
    const denied = new World({ deny_delete: true, deny_purge: true }).lead();
    denied.store('a');
    expect(denied.ask((done) => denied.partition.deleteMessage(1, done))).toEqual({
      code: 500,
      err_code: 10057,
      description: 'message delete not permitted',
    });
    expect(denied.ask((done) => denied.partition.purge({}, done))).toEqual({
      code: 500,
      err_code: 10110,
      description: 'stream purge not permitted',
    });
    denied.partition.updateConfig(streamConfig({ sealed: true }), 5);
    expect(denied.ask((done) => denied.partition.deleteMessage(1, done))).toMatchObject({ err_code: 10109 });
    expect(denied.ask((done) => denied.partition.purge({}, done))).toMatchObject({ err_code: 10109 });
    expect(denied.store('a')).toMatchObject({ err_code: 10109 });
  });

  test('purge by filter, seq and keep', () => {
    const world = new World().lead();
    for (let i = 0; i < 12; i++) world.store(`k.${i % 3}`);
    const purge = (request: { filter?: string; seq?: number; keep?: number }) =>
      world.ask((done) => world.partition.purge(request, done));
    expect(purge({ seq: 1 })).toBe(0);
    expect(purge({ filter: 'k.0', seq: 7 })).toBe(2);
    expect(purge({ filter: 'k.1', keep: 1 })).toBe(3);
    expect(purge({ filter: 'k.*', keep: 2 })).toBe(5);
    expect(info(world)).toMatchObject({ messages: 2, first_seq: 11 });
    expect(purge({ keep: 1 })).toBe(1);
    expect(purge({})).toBe(1);
    expect(world.store('k.0')).toEqual(stored(13));
  });
});

describe('limits', () => {
  const full = (config: Partial<StreamConfig>) => new World({ discard: 'new', ...config }).lead();

  test('discard new counts what is in flight', () => {
    const world = full({ max_msgs: 3 });
    const tokens = Array.from({ length: 5 }, () => world.publish('a'));
    world.settle();
    expect(tokens.map((token) => world.outcome(token))).toMatchObject([
      stored(1),
      stored(2),
      stored(3),
      { code: 503, err_code: 10077, description: 'maximum messages exceeded' },
      { err_code: 10077 },
    ]);
    world.ask((done) => world.partition.deleteMessage(2, done));
    expect(world.store('a')).toEqual(stored(4));
    const bytes = full({ max_bytes: 100 });
    expect(bytes.store('a', 'x'.repeat(60))).toEqual(stored(1));
    expect(bytes.store('a', 'x')).toMatchObject({ description: 'maximum bytes exceeded' });
  });

  test('discard new per subject; without it the oldest of the subject makes room', () => {
    const per = full({ max_msgs_per_subject: 1, discard_new_per_subject: true });
    const first = per.publish('a');
    const second = per.publish('a');
    const other = per.publish('b');
    per.settle();
    expect([first, second, other].map((token) => per.outcome(token))).toMatchObject([
      stored(1),
      { err_code: 10077, description: 'maximum messages per subject exceeded' },
      stored(2),
    ]);
    expect(per.store('a', '', { 'Nats-Rollup': 'sub' })).toEqual(stored(3));

    const kv = full({ max_msgs_per_subject: 2, max_msgs: 4 });
    for (let i = 0; i < 6; i++) expect(kv.store('a')).toEqual(stored(i + 1));
    kv.store('b');
    kv.store('c');
    expect(kv.store('d')).toMatchObject({ err_code: 10077 });
    const tokens = [kv.publish('a'), kv.publish('a'), kv.publish('d')];
    kv.settle();
    expect(tokens.map((token) => kv.outcome(token))).toMatchObject([stored(9), stored(10), { err_code: 10077 }]);
    expect(info(kv)).toMatchObject({ messages: 4 });
  });

  test('max_msg_size, header size, no room on a sealed stream', () => {
    const world = new World({ max_msg_size: 10 }).lead();
    expect(world.store('a', '12345678901')).toMatchObject({ err_code: 10054 });
    expect(world.store('a', '1234567890')).toEqual(stored(1));
    const headers = new World().lead();
    expect(headers.store('a', '', { Big: 'x'.repeat(66_000) })).toMatchObject({ err_code: 10097 });
  });

  test('beyond the in-flight bounds: 10167, and a message larger than the bound passes alone', () => {
    const world = new World({}, { inFlightBytesMax: 1000, inFlightMessagesMax: 3 }).lead();
    const big = world.publish('a', new Uint8Array(5000));
    const refused = world.publish('a', 'x');
    expect(world.outcome(refused)).toMatchObject({ code: 429, err_code: 10167 });
    world.settle();
    expect(world.outcome(big)).toEqual(stored(1));
    const tokens = Array.from({ length: 4 }, () => world.publish('a', 'x'));
    expect(world.outcome(tokens[3])).toMatchObject({ err_code: 10167 });
    world.settle();
    expect(world.outcome(tokens[2])).toEqual(stored(4));
  });

  test('a smaller limit takes effect when its entry is applied; info waits for it', () => {
    const world = new World().lead();
    for (let i = 0; i < 10; i++) world.store('a');
    world.partition.updateConfig(streamConfig({ max_msgs: 4 }), 9);
    const got: number[] = [];
    world.partition.info({ deletedDetails: false }, (s) => got.push(isApiError(s) ? -1 : s.messages));
    expect(got).toEqual([]);
    world.settle();
    expect(got).toEqual([4]);
    // A replica with older metadata takes over: the newer configuration stays.
    world.partition.updateConfig(streamConfig({ max_msgs: 1 }), 8);
    world.settle();
    expect(info(world).messages).toBe(4);
  });
});

describe('headers', () => {
  test('a duplicate is answered with the first seq, after that is applied', () => {
    const world = new World().lead();
    const first = world.publish('a', '1', { 'Nats-Msg-Id': 'x' });
    const second = world.publish('a', '2', { 'Nats-Msg-Id': 'x' });
    world.clock.turn();
    expect(world.outcome(second)).toBeUndefined();
    world.group.commit();
    expect(world.outcome(first)).toEqual(stored(1));
    expect(world.outcome(second)).toEqual(stored(1, true));
    expect(world.store('b', '3', { 'Nats-Msg-Id': 'x' })).toEqual(stored(1, true));
    expect(info(world).messages).toBe(1);
  });

  test('a duplicate of something in flight that is lost has an unknown outcome, and the id is free again', () => {
    const world = new World().lead();
    const first = world.publish('a', '1', { 'Nats-Msg-Id': 'x' });
    world.clock.turn();
    const second = world.publish('a', '2', { 'Nats-Msg-Id': 'x' });
    world.group.depose();
    expect(world.outcome(first)).toMatchObject({ err_code: 10008 });
    expect(world.outcome(second)).toMatchObject({ err_code: 10008 });
    world.lead();
    expect(world.store('a', '3', { 'Nats-Msg-Id': 'x' })).toEqual(stored(1));
  });

  test('ids leave with the window, through the log, and are ignored from the due time on', () => {
    const world = new World({ duplicate_window: 10_000_000_000 }).lead();
    world.store('a', '', { 'Nats-Msg-Id': 'x' });
    world.clock.advance(9_000);
    expect(world.store('a', '', { 'Nats-Msg-Id': 'x' })).toEqual(stored(1, true));
    world.clock.advance(1_001);
    expect(world.partition.machine.ids.size).toBe(1);
    expect(world.store('a', '', { 'Nats-Msg-Id': 'x' })).toEqual(stored(2));
    world.clock.advance(20_000);
    world.settle();
    expect(world.partition.machine.ids.size).toBe(0);
    expect(world.clock.timers).toHaveLength(0);
  });

  test('expected stream, last sequence, last message id', () => {
    const world = new World().lead();
    world.store('a', '', { 'Nats-Msg-Id': 'one' });
    expect(world.store('a', '', { 'Nats-Expected-Stream': 'T' })).toMatchObject({ err_code: 10060 });
    expect(world.store('a', '', { 'Nats-Expected-Last-Sequence': '7' })).toMatchObject({
      err_code: 10071,
      description: 'wrong last sequence: 1',
    });
    expect(world.store('a', '', { 'Nats-Expected-Last-Sequence': 'x' })).toMatchObject({ err_code: 10071 });
    expect(world.store('a', '', { 'Nats-Expected-Last-Msg-Id': 'two' })).toMatchObject({
      err_code: 10070,
      description: 'wrong last msg ID: one',
    });
    const ok = { 'Nats-Expected-Stream': 'S', 'Nats-Expected-Last-Sequence': '1', 'Nats-Expected-Last-Msg-Id': 'one' };
    expect(world.store('a', '', ok)).toEqual(stored(2));
  });

  test('expected last sequence of a subject, seen through what is in flight', () => {
    const world = new World().lead();
    const cas = (subject: string, seq: number, of?: string) =>
      world.publish(subject, '', {
        'Nats-Expected-Last-Subject-Sequence': `${seq}`,
        ...(of === undefined ? {} : { 'Nats-Expected-Last-Subject-Sequence-Subject': of }),
      });
    const tokens = [
      world.publish('k', 'plain'),
      cas('k', 0),
      cas('k', 1),
      cas('k', 1),
      cas('new', 0),
      cas('new', 0),
      cas('other', 2, 'k'),
      cas('other', 99, '*'),
    ];
    world.settle();
    expect(tokens.map((token) => world.outcome(token))).toMatchObject([
      stored(1),
      { err_code: 10071, description: 'wrong last sequence: 1' },
      stored(2),
      { err_code: 10071, description: 'wrong last sequence: 2' },
      stored(3),
      { err_code: 10071, description: 'wrong last sequence: 3' },
      stored(4),
      { err_code: 10071, description: 'wrong last sequence: 4' },
    ]);
    expect(world.store('k', '', { 'Nats-Expected-Last-Subject-Sequence-Subject': 'k' })).toMatchObject({
      err_code: 10193,
    });
  });

  test('a compare-and-set behind a removal in flight waits for it, and what follows stays behind it', () => {
    const world = new World().lead();
    world.store('k');
    world.store('j', '', { 'Nats-Expected-Last-Subject-Sequence': '0' });
    const purged: unknown[] = [];
    world.partition.purge({ filter: 'k' }, (result) => purged.push(result));
    const create = world.publish('k', '', { 'Nats-Expected-Last-Subject-Sequence': '0' });
    const after = world.publish('k');
    world.clock.turn();
    world.group.commit();
    expect(purged).toEqual([1]);
    expect(world.outcome(create)).toBeUndefined();
    world.settle();
    expect(world.outcome(create)).toEqual(stored(3));
    expect(world.outcome(after)).toEqual(stored(4));
  });

  test('a compare-and-set on what a limit may push out in flight waits', () => {
    const world = new World({ max_msgs: 2 }).lead();
    world.store('k', '', { 'Nats-Expected-Last-Subject-Sequence': '0' });
    world.store('j');
    world.publish('j');
    const tokens = ['1', '0'].map((seq) => world.publish('k', '', { 'Nats-Expected-Last-Subject-Sequence': seq }));
    world.settle();
    expect(tokens.map((token) => world.outcome(token))).toMatchObject([{ err_code: 10071 }, stored(4)]);
  });

  test('a refusal that quotes a revision waits for what it rests on and for proof of leadership', () => {
    const world = new World().lead();
    world.store('k', '', { 'Nats-Expected-Last-Subject-Sequence': '0' });
    const write = world.publish('k');
    world.clock.turn();
    world.group.holdBarriers = true;
    const refused = world.publish('k', '', { 'Nats-Expected-Last-Subject-Sequence': '1' });
    world.clock.turn();
    expect(world.outcome(refused)).toBeUndefined();
    world.group.commit();
    world.clock.turn();
    expect(world.outcome(write)).toEqual(stored(2));
    expect(world.outcome(refused)).toBeUndefined();
    world.group.answerBarriers(true);
    expect(world.outcome(refused)).toMatchObject({ err_code: 10071, description: 'wrong last sequence: 2' });

    const late = world.publish('k', '', { 'Nats-Expected-Last-Subject-Sequence': '1' });
    world.clock.turn();
    world.group.depose();
    world.group.answerBarriers(true);
    expect(world.outcome(late)).toMatchObject({ err_code: 10008 });
  });

  test('rollup', () => {
    const world = new World().lead();
    for (let i = 0; i < 6; i++) world.store(`k.${i % 2}`);
    expect(world.store('k.0', '', { 'Nats-Rollup': 'SUB' })).toEqual(stored(7));
    expect(info(world)).toMatchObject({ messages: 4, first_seq: 2 });
    expect(world.store('k.0', '', { 'Nats-Rollup': 'none' })).toMatchObject({
      err_code: 10111,
      description: 'rollup value invalid: "none"',
    });
    expect(world.store('x', '', { 'Nats-Rollup': 'all' })).toEqual(stored(8));
    expect(info(world)).toMatchObject({ messages: 1, first_seq: 8 });
    const denied = new World({ allow_rollup_hdrs: false }).lead();
    expect(denied.store('x', '', { 'Nats-Rollup': 'sub' })).toMatchObject({
      err_code: 10111,
      description: 'rollup not permitted',
    });
  });

  test('a status in the first line is not stored; other headers are kept byte for byte', () => {
    const world = new World().lead();
    world.store('a', 'x', new TextEncoder().encode('NATS/1.0 503 No Responders\r\nK:  v \r\nk: 2\r\n\r\n'));
    const message = get(world, { seq: 1 });
    expect(isApiError(message) ? message : text(message.hdr)).toBe('NATS/1.0\r\nK:  v \r\nk: 2\r\n\r\n');
  });

  test('what this server does not do is refused, not ignored', () => {
    const world = new World().lead();
    const codes: [string, number][] = [
      ['Nats-Incr', 10168],
      ['Nats-Batch-Id', 10174],
      ['Nats-TTL', 10166],
      ['Nats-Schedule', 10188],
    ];
    for (const [name, code] of codes) expect(world.store('a', '', { [name]: '1' })).toMatchObject({ err_code: code });
    expect(world.store('a', '', { 'Nats-Unknown': '1', 'X-Nats-TTL': '1' })).toEqual(stored(1));
  });

  test('a message that is to be traced and stored nowhere is not stored', () => {
    const world = new World().lead();
    for (const only of ['true', 'TRUE', '1', 'on']) {
      expect(world.store('a', '', { 'Nats-Trace-Dest': 'd', 'Nats-Trace-Only': only })).toMatchObject({
        err_code: 10052,
        description: 'tracing messages is not supported by this server yet',
      });
    }
    expect(world.store('a', '', { 'Nats-Trace-Dest': 'd', 'Nats-Trace-Only': 'false' })).toEqual(stored(1));
    expect(world.store('a', '', { 'Nats-Trace-Only': 'true' })).toEqual(stored(2));
    expect(world.store('a', '', { 'Nats-Trace-Dest': 'd' })).toEqual(stored(3));
  });
});
