import { describe, expect, test } from 'vitest';
import { type ApiError, isApiError } from '../../../src/stream/errors.ts';
import type { StoredMessage } from '../../../src/stream/types.ts';
import { World } from './fake-world.ts';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

describe('publish and read', () => {
  test('a message is answered after its entry is applied and can be read', () => {
    const world = new World().lead();
    const token = world.publish('orders.new', 'hello', { Custom: 'x' });
    expect(world.outcome(token)).toBeUndefined();
    world.clock.turn();
    expect(world.outcome(token)).toBeUndefined();
    world.group.commit();
    expect(world.outcome(token)).toEqual({ seq: 1, duplicate: false });
    const message = world.ask<StoredMessage | ApiError>((done) => world.partition.get({ seq: 1 }, done));
    if (isApiError(message)) throw new Error(message.description);
    expect(message.subject).toBe('orders.new');
    expect(text(message.payload)).toBe('hello');
    expect(text(message.hdr)).toContain('Custom: x');
    expect(message.stampUs).toBe(world.clock.wall);
  });

  test('bytes are accounted as the reference server does', () => {
    const file = new World().lead();
    for (let i = 0; i < 3; i++) file.store('limits', 'A');
    expect(file.ask((done) => file.partition.info({ deletedDetails: false }, done))).toMatchObject({
      messages: 3,
      bytes: 111,
      first_seq: 1,
      last_seq: 3,
      num_subjects: 1,
      num_deleted: 0,
      consumer_count: 0,
    });
    const memory = new World({ storage: 'memory' }).lead();
    memory.store('limits', 'A');
    expect(memory.ask((done) => memory.partition.info({ deletedDetails: false }, done))).toMatchObject({ bytes: 23 });
  });
});
