// A node's publish router alone: what it sends is kept, answers and the word of leaders come when the test says so.
import type { Channel, PeerInfo, Transport } from '../../../cluster/rpc/types.ts';
import type { Broker, Message, Sink } from '../../../src/broker/types.ts';
import { ANSWERS, FrameBuilder, frameHeader, RETURNED, readFrame } from '../../../src/jetstream/publish-codec.ts';
import { createPublishRouter, type PublishRouter } from '../../../src/jetstream/publish-router.ts';
import { type Catalog, groupOf, type StreamRecord } from '../../../src/meta/types.ts';
import type { AckSink, PartitionOps } from '../../../src/stream/types.ts';
import { createPrng } from '../../sim/prng.ts';
import { createScheduler } from '../../sim/scheduler.ts';
import { createSimEnv } from '../../sim/sim-env.ts';
import { streamConfig } from '../meta/meta-world.ts';

export const HERE = 1;
export const THERE = 2;
export const ELSEWHERE = 3;
export const EMPTY = new Uint8Array(0);
const RECORD: StreamRecord = {
  streamId: 5,
  account: '$G',
  name: 'S',
  config: streamConfig('S'),
  createdUs: 0,
  revision: 5,
  partitions: 1,
  stride: 1,
  replicas: [[HERE, THERE]],
};

export function world(firstLeader: number) {
  let leader = firstLeader;
  let term = 1;
  let onLeader: ((group: number, leader: number, term: number) => void) | undefined;
  const scheduler = createScheduler(createPrng(1).stream('scheduler'));
  const env = createSimEnv({ scheduler, seed: 'router', node: 'here' });
  let sink: Sink | undefined;
  const answers: string[] = [];
  const broker = {
    addSink: (_account: string, _subject: string, added: Sink) => {
      sink = added;
      return { remove: () => undefined };
    },
    deliverTo: (_account: string, inbox: string, { hdr, payload }: Message) => {
      answers.push(`${Math.round(scheduler.nowMs)} ${inbox} ${Buffer.from(hdr)}${Buffer.from(payload)}`);
      return true;
    },
  } as unknown as Broker;
  const frames: Uint8Array[] = [];
  /** Of the frames. */
  const receivers: number[] = [];
  const link = { full: false, up: true };
  let onFrame: ((from: number, bytes: Uint8Array) => void) | undefined;
  let onDown: ((peer: number) => void) | undefined;
  const transport = {
    self: { id: HERE } as PeerInfo,
    send: (to: number, _channel: Channel, parts: readonly Uint8Array[]) => {
      if (link.full || !link.up) return false;
      receivers.push(to);
      frames.push(Buffer.concat(parts));
      return true;
    },
    isUp: () => link.up,
    onMessage: (_channel: Channel, handler: (from: number, bytes: Uint8Array) => void) => {
      onFrame = handler;
    },
    onPeerDown: (handler: (peer: number) => void) => {
      onDown = handler;
    },
  } as unknown as Transport;
  const published: { subject: string; sink: AckSink; token: number; term: number }[] = [];
  const local = { leading: firstLeader === HERE };
  const ops = {
    get leading() {
      return local.leading;
    },
    publish: (subject: string, _h: Uint8Array, _p: Uint8Array, to: AckSink, token: number, at: number) => {
      published.push({ subject, sink: to, token, term: at });
    },
  } as unknown as PartitionOps;
  const router = env.run(() =>
    createPublishRouter({
      env,
      broker,
      transport,
      catalog: {
        onChange: (handler) => handler({ account: '$G', name: 'S', before: undefined, record: RECORD }),
      } as Catalog,
      partitions: {
        local: () => ops,
        leaderOf: () => leader,
        termOf: () => term,
        onLeaderChange: (handler) => {
          onLeader = handler;
        },
      },
    }),
  ) as PublishRouter;
  return {
    answers,
    frames,
    receivers,
    link,
    local,
    published,
    scheduler,
    publish: (reply: string, subject = 'S.a') =>
      env.run(() => sink!({ subject, reply, hdr: EMPTY, payload: EMPTY }, '$G', undefined)),
    /** Each leader in a term of its own, unless said otherwise. */
    lead: (next: number, at = next === 0 ? term : term + 1) => {
      leader = next;
      term = at;
      env.run(() => onLeader!(groupOf(5, 0), next, at));
    },
    /** This node's leader gives a publish back. */
    giveBack: ({ sink: to, token, term: at, subject }: (typeof published)[number]) =>
      env.run(() => to.returned(token, groupOf(5, 0), at, subject, EMPTY, EMPTY)),
    receive: (bytes: Uint8Array, from = THERE) => env.run(() => onFrame!(from, bytes)),
    down: (peer = THERE) => env.run(() => onDown!(peer)),
    run: (fn: () => void) => env.run(fn),
    stats: router.stats,
  };
}

export function ackOf(frame: Uint8Array, seq: number): Uint8Array {
  const builder = new FrameBuilder(ANSWERS);
  readFrame(frame, {
    onForward: (_group, _term, token) => builder.addStored(token, seq, false),
    onStored: () => undefined,
    onRefused: () => undefined,
  });
  return builder.take(frameHeader(frame)!.epoch);
}

/** The frame of publishes comes back as it is. */
export function returnOf(frame: Uint8Array): Uint8Array {
  const builder = new FrameBuilder(RETURNED);
  readFrame(frame, {
    onForward: (group, term, token, subject, hdr, payload) =>
      builder.addForward(group, term, token, { subject, hdr, payload }),
    onStored: () => undefined,
    onRefused: () => undefined,
  });
  return builder.take(frameHeader(frame)!.epoch);
}
