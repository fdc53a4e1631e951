// A node's consumer router alone: who waits for a leader whose node goes hears of it, unless another one serves him.
import { expect, test } from 'vitest';
import type { PeerInfo, Transport } from '../../../cluster/rpc/types.ts';
import type { Broker, Message } from '../../../src/broker/types.ts';
import { createConsumerRouter } from '../../../src/jetstream/consumer-router.ts';
import type { Catalog, Partitions, StreamRecord } from '../../../src/meta/types.ts';
import type { PartitionOps } from '../../../src/stream/types.ts';
import { createPrng } from '../../sim/prng.ts';
import { createScheduler } from '../../sim/scheduler.ts';
import { createSimEnv } from '../../sim/sim-env.ts';

const HERE = 1;
const THERE = 2;
const ELSEWHERE = 3;
const EMPTY = new Uint8Array(0);

function world() {
  const told: string[] = [];
  let leader = THERE;
  let onDown: ((peer: number) => void) | undefined;
  const env = createSimEnv({
    scheduler: createScheduler(createPrng(1).stream('scheduler')),
    seed: 'router',
    node: 'here',
  });
  const broker = {
    hasInterest: () => true,
    deliverTo: (_account: string, inbox: string, { hdr }: Message) => told.push(`${inbox} ${Buffer.from(hdr)}`) > 0,
  } as unknown as Broker;
  const transport = {
    self: { id: HERE } as PeerInfo,
    send: () => true,
    isUp: () => true,
    onMessage: () => {},
    onPeerDown: (handler: (peer: number) => void) => {
      onDown = handler;
    },
  } as unknown as Transport;
  const catalog = {
    onChange: () => {},
    stream: (_account: string, name: string) =>
      ({ streamId: Number(name), account: '$G', partitions: 1 }) as StreamRecord,
  } as unknown as Catalog;
  const partitions = {
    local: () => ({ leading: true, pull: () => {} }) as unknown as PartitionOps,
    leaderOf: () => leader,
    onLeaderChange: () => {},
  } as unknown as Partitions;
  const router = env.run(() => createConsumerRouter({ env, broker, transport, catalog, partitions }))!;
  return {
    told,
    pull: (reply: string, batch: number, stream = '5') =>
      env.run(() =>
        router.pull('$G', stream, 'C', { subject: '', reply, hdr: EMPTY, payload: Buffer.from(`{"batch":${batch}}`) }),
      ),
    lead: (next: number) => {
      leader = next;
    },
    down: (peer: number) => env.run(() => onDown!(peer)),
  };
}

const ended = (inbox: string, messages: number): string =>
  `${inbox} NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: ${messages}\r\nNats-Pending-Bytes: 0\r\n\r\n`;

test('who waits at a node that goes is told what is left, once', () => {
  const { told, pull, down } = world();
  pull('a', 3);
  pull('b', 4);
  down(ELSEWHERE);
  expect(told).toEqual([]);
  down(THERE);
  down(THERE);
  expect(told).toEqual([ended('a', 3), ended('b', 4)]);
});

test.each([HERE, ELSEWHERE])(
  'who has asked the next leader, node %i, is not told when the node of the former goes',
  (next) => {
    const { told, pull, lead, down } = world();
    pull('a', 3);
    pull('b', 4);
    lead(next);
    pull('a', 5);
    down(THERE);
    expect(told).toEqual([ended('b', 4)]);
    down(ELSEWHERE);
    expect(told.slice(1)).toEqual(next === ELSEWHERE ? [ended('a', 5)] : []);
  },
);

test('who asks for another stream with the same inbox still waits at the node that goes', () => {
  const { told, pull, lead, down } = world();
  pull('a', 3);
  lead(ELSEWHERE);
  pull('a', 5, '6');
  down(THERE);
  expect(told).toEqual([ended('a', 3)]);
});
