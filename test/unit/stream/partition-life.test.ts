// One partition over time: leaders that come and go, snapshots, what leaves by age, consumers in the same log.
import { describe, expect, test } from 'vitest';
import { NO_TIME_US } from '../../../cluster/host/cluster-clock.ts';
import { isApiError } from '../../../src/stream/errors.ts';
import { NONE, streamConfig, World } from './fake-world.ts';
import { get, info, stored, subjectsOf, text } from './partition-asks.ts';

describe('leadership', () => {
  test('not leading: returned; pending at step-down: unknown; a new leader starts from what is applied', () => {
    const world = new World();
    expect(world.outcome(world.publish('a'))).toBe('returned');
    world.lead();
    const committed = world.publish('a');
    world.clock.turn();
    world.group.commit();
    const proposed = world.publish('a');
    world.clock.turn();
    const building = world.publish('b');
    const results: unknown[] = [];
    world.partition.purge({}, (result) => results.push(result));
    world.partition.deleteMessage(1, (result) => results.push(result));
    world.group.depose();
    world.clock.turn();
    expect(world.outcome(committed)).toEqual(stored(1));
    expect(world.outcome(proposed)).toMatchObject({ err_code: 10008 });
    expect(world.outcome(building)).toMatchObject({ err_code: 10008 });
    expect(results).toMatchObject([{ err_code: 10008 }, { err_code: 10008 }]);
    world.lead();
    expect(world.store('c')).toEqual(stored(2));
  });

  test('a publish that was sent to the leader of another term is returned, also while this one leads, and is not stored', () => {
    const world = new World().lead();
    world.group.depose();
    world.lead();
    world.group.pause(true);
    for (const term of [1, 3, Number.NaN]) {
      expect(world.outcome(world.publish('a', '', NONE, term))).toBe('returned');
    }
    const held = world.publish('a');
    expect(world.outcome(held)).toBeUndefined();
    world.group.pause(false);
    world.settle();
    expect(world.outcome(held)).toEqual(stored(1));
    expect(info(world).messages).toBe(1);
  });

  test('a leadership that is lost without word: the proposal fails, everything is answered once', () => {
    const world = new World().lead();
    const one = world.publish('a');
    world.group.leading = false;
    world.clock.turn();
    expect(world.outcome(one)).toMatchObject({ err_code: 10008 });
    expect(world.outcome(world.publish('a'))).toBe('returned');
    world.group.depose();
  });

  test('entries of a former leader are applied without answers', () => {
    const world = new World().lead();
    const token = world.publish('a');
    world.clock.turn();
    world.group.depose(false);
    world.group.commit();
    expect(world.outcome(token)).toMatchObject({ err_code: 10008 });
    expect(info(world).messages).toBe(1);
    world.lead();
    expect(world.store('b')).toEqual(stored(2));
  });

  test('stamps never go back when the clock does', () => {
    const world = new World().lead();
    world.store('a');
    const before = world.clock.wall;
    world.clock.wall -= 3_600_000_000;
    world.store('b');
    const message = get(world, { seq: 2 });
    expect(isApiError(message) ? 0 : message.stampUs).toBe(before);
    world.group.depose();
    world.lead();
    world.store('c');
    expect(info(world).last_ts_us).toBe(before);
  });

  test('snapshot and restore on another replica', () => {
    const world = new World({ max_msgs: 50 }).lead();
    for (let i = 0; i < 80; i++) world.store(`k.${i % 7}`, `${i}`, i % 5 === 0 ? { 'Nats-Msg-Id': `id${i}` } : NONE);
    const parts = world.partition.snapshot();
    const other = new World();
    const sink = other.partition.restore(world.group.applied);
    for (const part of parts) sink.push(part);
    sink.end();
    other.group.log.push(...world.group.log);
    other.group.applied = world.group.applied;
    expect(other.partition.digest()).toBe(world.partition.digest());
    other.lead();
    expect(info(other)).toEqual(info(world));
    expect(other.store('x', '', { 'Nats-Msg-Id': 'id75' })).toEqual(stored(76, true));
    expect(other.store('x')).toEqual(stored(81));
    const message = get(other, { seq: 80 });
    expect(isApiError(message) ? '' : text(message.payload)).toBe('79');
  });
});

describe('time', () => {
  test('old messages leave through the log, woken when the first is due', () => {
    const world = new World({ max_age: 10_000_000_000, duplicate_window: 0 }).lead();
    world.store('a');
    world.clock.advance(4_000);
    world.store('b');
    world.clock.advance(5_900);
    expect(info(world).messages).toBe(2);
    world.clock.advance(200);
    world.settle();
    expect(info(world)).toMatchObject({ messages: 1, first_seq: 2 });
    world.clock.advance(4_100);
    world.settle();
    expect(info(world)).toMatchObject({ messages: 0, first_seq: 3, last_seq: 2 });
    expect(world.clock.timers).toHaveLength(0);
  });

  test('more than one command removes leaves without waiting', () => {
    const world = new World({ max_age: 1_000_000_000, duplicate_window: 0 }).lead();
    for (let i = 0; i < 25_000; i++) world.publish('a');
    world.settle();
    world.clock.advance(1060);
    world.settle();
    expect(info(world).messages).toBe(0);
  });

  test('while nobody has told the time, stamps stand still and nothing expires', () => {
    let told = true;
    const world: World = new World(
      { max_age: 1_000_000_000, duplicate_window: 0 },
      { clusterTimeUs: () => (told ? world.clock.wall : NO_TIME_US) },
    );
    world.lead();
    world.store('a');
    const { stampUs } = world.partition.machine;
    told = false;
    world.clock.advance(5000);
    world.store('b');
    expect(world.partition.machine.stampUs).toBe(stampUs);
    world.clock.advance(60_000);
    world.settle();
    expect(info(world).messages).toBe(2);
    told = true;
    world.clock.advance(600);
    world.settle();
    expect(info(world).messages).toBe(0);
  });

  test('the first stamp of all is of this node when nobody has told the time', () => {
    const world = new World({ max_age: 1_000_000_000 }, { clusterTimeUs: () => NO_TIME_US }).lead();
    world.store('a');
    expect(world.partition.machine.stampUs).toBe(world.clock.wall);
    world.clock.advance(5000);
    world.store('b');
    expect(info(world).messages).toBe(2);
  });

  test('a follower does not wake; the next leader takes over', () => {
    const world = new World({ max_age: 1_000_000_000 }).lead();
    world.store('a');
    world.group.depose();
    expect(world.clock.timers).toHaveLength(0);
    world.clock.advance(5000);
    world.lead();
    world.clock.advance(100);
    world.settle();
    expect(info(world).messages).toBe(0);
  });

  test('a shorter max_age is noticed', () => {
    const world = new World({ max_age: 3_600_000_000_000, duplicate_window: 0 }).lead();
    world.store('a');
    world.partition.updateConfig(streamConfig({ max_age: 1_000_000_000, duplicate_window: 0 }), 7);
    world.settle();
    world.clock.advance(1100);
    world.settle();
    expect(info(world).messages).toBe(0);
  });

  test('messages with a time to live, and those that never go', () => {
    const world = new World({ allow_msg_ttl: true, max_age: 20_000_000_000 }).lead();
    world.store('ever', '', { 'Nats-TTL': 'never' });
    world.store('long', '', { 'Nats-TTL': '5s' });
    world.store('short', '', { 'Nats-TTL': '1' });
    world.store('plain');
    expect(world.store('bad', '', { 'Nats-TTL': '500ms' })).toMatchObject({ err_code: 10165 });
    world.clock.advance(1100);
    world.settle();
    expect(info(world, subjectsOf('>')).subjects).toEqual({ ever: 1, long: 1, plain: 1 });
    world.clock.advance(4000);
    world.settle();
    expect(info(world, subjectsOf('>')).subjects).toEqual({ ever: 1, plain: 1 });
    world.clock.advance(20_000);
    world.settle();
    expect(info(world, subjectsOf('>')).subjects).toEqual({ ever: 1 });
  });

  test('the last message of a subject leaves a marker, which leaves in its turn', () => {
    const config = { allow_msg_ttl: true, subject_delete_marker_ttl: 3_000_000_000, max_age: 10_000_000_000 };
    const world = new World({ ...config, max_msgs_per_subject: 1 }).lead();
    world.store('k.age');
    world.store('k.ttl', '', { 'Nats-TTL': '2s' });
    world.store('k.purged', '', { 'KV-Operation': 'PURGE', 'Nats-TTL': '2s' });
    world.clock.advance(2100);
    world.settle();
    expect(info(world, subjectsOf('>')).subjects).toEqual({ 'k.age': 1, 'k.ttl': 1 });
    const marker = get(world, { last_by_subj: 'k.ttl' });
    expect(isApiError(marker) ? marker : text(marker.hdr)).toBe(
      'NATS/1.0\r\nNats-Marker-Reason: MaxAge\r\nNats-TTL: 3s\r\nNats-Rollup: sub\r\n\r\n',
    );
    world.clock.advance(3200);
    world.settle();
    expect(info(world, subjectsOf('>')).subjects).toEqual({ 'k.age': 1 });
    world.clock.advance(5000);
    world.settle();
    const aged = get(world, { last_by_subj: 'k.age' });
    expect(isApiError(aged) ? aged : text(aged.hdr)).toContain('Nats-Marker-Reason: MaxAge');
    world.clock.advance(4000);
    world.settle();
    expect(info(world).messages).toBe(0);
  });

  test('a marker of longer than the log can say lives as long as it can say, not a moment', () => {
    const world = new World({
      allow_msg_ttl: true,
      subject_delete_marker_ttl: (2 ** 32 + 5) * 1e9,
      max_msgs_per_subject: 1,
    }).lead();
    world.store('k', '', { 'Nats-TTL': '2s' });
    world.clock.advance(2100);
    world.settle();
    world.clock.advance(60_000);
    world.settle();
    expect(info(world)).toMatchObject({ messages: 1, last_seq: 2 });
  });

  test('no marker over a newer message in flight', () => {
    const world = new World({ allow_msg_ttl: true, subject_delete_marker_ttl: 3_000_000_000 }).lead();
    world.store('k', '1', { 'Nats-TTL': '3s' });
    world.clock.advance(2900);
    world.publish('k', '2');
    world.clock.turn();
    world.clock.advance(300);
    world.settle();
    world.clock.advance(300);
    world.settle();
    expect(info(world)).toMatchObject({ messages: 1, first_seq: 2, last_seq: 2 });
  });
});

describe('consumers in the same log', () => {
  test('interest: nobody asks, nothing is kept, the seq is used up', () => {
    const world = new World({ retention: 'interest' }).lead();
    expect(world.store('a', '', { 'Nats-Msg-Id': 'x' })).toEqual(stored(1));
    expect(info(world)).toMatchObject({ messages: 0, last_seq: 1 });
    expect(world.store('a', '', { 'Nats-Msg-Id': 'x' })).toEqual(stored(1, true));
  });

  test('work queue: an acknowledged message is gone', () => {
    const world = new World({ retention: 'workqueue' }).lead();
    world.ask((done) =>
      world.partition.createConsumer(
        {
          name: 'c',
          durable_name: 'c',
          deliver_policy: 'all',
          ack_policy: 'explicit',
          replay_policy: 'instant',
          ack_wait: 30_000_000_000,
          max_ack_pending: 1000,
          max_waiting: 512,
          max_deliver: -1,
          num_replicas: 0,
        },
        'create',
        done,
      ),
    );
    for (let i = 0; i < 3; i++) world.store('job', `${i}`);
    world.partition.pull('c', '_INBOX.1', new TextEncoder().encode('{"batch":2}'));
    world.settle();
    expect(world.delivered.map((message) => message.subject)).toEqual(['job', 'job']);
    const tokens = world.delivered[0].reply.split('.');
    world.partition.ack('c', Number(tokens[5]), Number(tokens[6]), Number(tokens[4]), NONE, '_INBOX.ack');
    world.settle();
    expect(world.delivered.at(-1)?.inbox).toBe('_INBOX.ack');
    expect(info(world)).toMatchObject({ messages: 2, first_seq: 2, consumer_count: 1 });
  });
});
