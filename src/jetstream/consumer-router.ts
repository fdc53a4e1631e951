// From a client's pull request or ack to the leader of the consumer's partition. Runs on every node; messages and status frames
// come back from the leader by the broker's deliverTo, straight to the client's inbox. An ack without a reply that meets no leader
// is lost, which at-least-once delivery allows (the message is delivered again); everything with a reply is answered.

import type { PeerId } from '../../cluster/core/types.ts';
import { Channel, type Transport } from '../../cluster/rpc/types.ts';
import type { Broker, Message } from '../broker/types.ts';
import type { Env } from '../kit/env.ts';
import { type Catalog, groupOf, type Partitions, type StreamRecord, streamOf } from '../meta/types.ts';
import { withLeft } from '../stream/delivery-frames.ts';
import { readPull } from '../stream/pull-request.ts';

/** How long a pull or a double ack waits for a leader to be known. */
const HOLD_MS_MAX = 2000;
const HELD_MAX = 10_000;

const PULL = 1;
const ACK = 2;
/** An answer to a flow control request; the body is its subject. */
const FLOW = 3;
/** u8 kind, f64 group, f64 stream seq, f64 consumer seq, u32 delivered, u16 consumer, u16 reply, u32 body lengths. */
const ITEM_FIXED = 1 + 8 + 8 + 8 + 4 + 2 + 2 + 4;

const EMPTY = new Uint8Array(0);
/** Where the dots of the ack subject at hand are, used again for each: those beyond the end are dropped. */
const ACK_DOTS = new Int32Array(16);
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const NEXT = encoder.encode('+NXT');
const NO_RESPONDERS = encoder.encode('NATS/1.0 503\r\n\r\n');
/** Pulls and double acks remembered per peer to which they were sent; the oldest go first. */
const SENT_MAX = 10_000;
/** An answer to a double ack that is older has come, or nobody waits for it any more. */
const ACK_MS_MAX = 3000;

export interface ConsumerRouterOptions {
  env: Env;
  broker: Broker;
  transport: Transport;
  catalog: Catalog;
  partitions: Partitions;
}

/** What was sent to a leader and may wait there for its answer. */
interface Sent {
  account: string;
  kind: typeof PULL | typeof ACK;
  group: number;
  /** A pull as it was sent (encodeItem). */
  bytes: Uint8Array;
  atMs: number;
}

interface Item {
  kind: typeof PULL | typeof ACK | typeof FLOW;
  account: string;
  group: number;
  consumer: string;
  streamSeq: number;
  consumerSeq: number;
  delivered: number;
  reply: string;
  body: Uint8Array;
}

export interface ConsumerRouter {
  /** `$JS.API.CONSUMER.MSG.NEXT.<stream>.<consumer>`. */
  pull(account: string, stream: string, consumer: string, message: Message): void;
}

export function createConsumerRouter(options: ConsumerRouterOptions): ConsumerRouter {
  const { env, broker, transport, catalog, partitions } = options;
  const outgoing = new Map<PeerId, Uint8Array[]>();
  const held = new Map<number, { item: Item; dueMs: number }[]>();
  /** By peer and reply subject. */
  const sent = new Map<PeerId, Map<string, Sent>>();
  let heldCount = 0;
  let flushAsked = false;

  const noResponders = (account: string, reply: string): void => {
    if (reply !== '')
      broker.deliverTo(account, reply, { subject: reply, reply: '', hdr: NO_RESPONDERS, payload: EMPTY });
  };

  /** Nobody serves a pull any more. As at its end, with what it asked for: so clients ask again at once. After "Leadership Change" those for
   * JavaScript wait until heartbeats are missed, half a minute. */
  const pullEnded = (account: string, reply: string, body: Uint8Array): void => {
    if (reply === '' || !broker.hasInterest(account, reply)) return;
    const request = readPull(body);
    const hdr =
      request instanceof Uint8Array ? request : withLeft('408 Request Timeout', request.batch, request.maxBytes);
    broker.deliverTo(account, reply, { subject: reply, reply: '', hdr, payload: EMPTY });
  };

  /** Whoever asked the wrong node hears so: its own node does not wait for the answer. */
  const misrouted = ({ kind, group, reply, body }: Item): void => {
    const account = catalog.streamById(streamOf(group))?.account;
    if (account === undefined) return;
    if (kind === PULL) pullEnded(account, reply, body);
    else noResponders(account, reply);
  };

  const run = (item: Item): void => {
    const ops = partitions.local(item.group);
    if (ops?.leading !== true) {
      misrouted(item);
      return;
    }
    if (item.kind === PULL) ops.pull(item.consumer, item.reply, item.body);
    else if (item.kind === FLOW) ops.flowReply?.(item.consumer, decoder.decode(item.body));
    else ops.ack(item.consumer, item.streamSeq, item.consumerSeq, item.delivered, item.body, item.reply);
  };

  const flush = (): void => {
    flushAsked = false;
    for (const [peer, parts] of outgoing) transport.send(peer, Channel.consumer, parts);
    outgoing.clear();
  };

  const remember = (leader: PeerId, { kind, account, group, reply }: Item, bytes: Uint8Array): void => {
    if (reply === '' || kind === FLOW) return;
    let replies = sent.get(leader);
    if (replies === undefined) sent.set(leader, (replies = new Map()));
    replies.delete(reply);
    replies.set(reply, { account, kind, group, bytes: kind === PULL ? bytes : EMPTY, atMs: env.clock.nowMs() });
    if (replies.size <= SENT_MAX) return;
    for (const oldest of replies.keys()) {
      replies.delete(oldest);
      break;
    }
  };

  /** A leader that dies cannot tell those who wait for it, so this node does. Whoever has its answer already has left its inbox, or
   * takes this for a reason to ask again. */
  transport.onPeerDown((peer) => {
    const replies = sent.get(peer);
    sent.delete(peer);
    const nowMs = env.clock.nowMs();
    for (const [reply, { account, kind, bytes, atMs }] of replies ?? []) {
      if (kind === PULL) decodeItems(bytes, ({ body }) => pullEnded(account, reply, body));
      else if (nowMs - atMs <= ACK_MS_MAX) noResponders(account, reply);
    }
  });

  /** Who asks again has been told by the leader of before that it led no longer: when that one's node goes too, as at a clean stop, a second
   * word would make clients ask for as much once more, for good. */
  const forget = ({ group, reply }: Item): void => {
    if (reply === '') return;
    for (const replies of sent.values()) if (replies.get(reply)?.group === group) replies.delete(reply);
  };

  const send = (leader: PeerId, item: Item): void => {
    forget(item);
    if (leader === transport.self.id) {
      run(item);
      return;
    }
    if (!transport.isUp(leader)) {
      noResponders(item.account, item.reply);
      return;
    }
    const bytes = encodeItem(item);
    remember(leader, item, bytes);
    let parts = outgoing.get(leader);
    if (parts === undefined) {
      parts = [];
      outgoing.set(leader, parts);
    }
    parts.push(bytes);
    if (!flushAsked) {
      flushAsked = true;
      env.clock.endOfTurn(flush);
    }
  };

  const route = (item: Item): void => {
    const leader = held.has(item.group) ? 0 : partitions.leaderOf(item.group);
    if (leader !== 0) {
      send(leader, item);
      return;
    }
    if (heldCount >= HELD_MAX) {
      noResponders(item.account, item.reply);
      return;
    }
    let queue = held.get(item.group);
    if (queue === undefined) {
      queue = [];
      held.set(item.group, queue);
    }
    heldCount++;
    queue.push({ item: { ...item, body: new Uint8Array(item.body) }, dueMs: env.clock.nowMs() + HOLD_MS_MAX });
    env.clock.after(HOLD_MS_MAX + 1, () => expire(item.group));
  };

  const expire = (group: number): void => {
    const queue = held.get(group);
    if (queue === undefined) return;
    const nowMs = env.clock.nowMs();
    while (queue.length > 0 && queue[0].dueMs <= nowMs) {
      const { item } = queue.shift()!;
      heldCount--;
      noResponders(item.account, item.reply);
    }
    if (queue.length === 0) held.delete(group);
  };

  partitions.onLeaderChange((group, leader) => {
    const queue = held.get(group);
    if (leader === 0 || queue === undefined) return;
    held.delete(group);
    heldCount -= queue.length;
    for (const { item } of queue) send(leader, item);
  });

  transport.onMessage(Channel.consumer, (from, bytes) => {
    if (!decodeItems(bytes, run)) env.log.warn('malformed consumer frame from a peer', { peer: from });
  });

  const onAck = (message: Message, account: string): void => {
    const parsed = parseAckSubject(message.subject);
    const record = parsed && catalog.stream(account, parsed.stream);
    if (!parsed || !record) {
      noResponders(account, message.reply);
      return;
    }
    const partition = record.partitions === 1 ? 0 : parsed.streamSeq % record.stride;
    if (record.partitions > 1 && isNext(message.payload)) {
      ackThenPull(record, partition, parsed.consumer, account, message);
      return;
    }
    route({
      kind: ACK,
      account,
      group: groupOf(record.streamId, partition),
      consumer: parsed.consumer,
      streamSeq: parsed.streamSeq,
      consumerSeq: parsed.consumerSeq,
      delivered: parsed.delivered,
      reply: message.reply,
      body: message.payload,
    });
  };

  /** The message is the partition's, the request its home's. */
  const ackThenPull = (
    record: StreamRecord,
    partition: number,
    consumer: string,
    account: string,
    { subject, payload, reply }: Message,
  ): void => {
    const { streamSeq, consumerSeq, delivered } = parseAckSubject(subject)!;
    const item = { account, consumer, streamSeq, consumerSeq, delivered };
    route({ ...item, kind: ACK, group: groupOf(record.streamId, partition), reply: '', body: EMPTY });
    if (reply === '') return;
    route({ ...item, kind: PULL, group: groupOf(record.streamId, 0), reply, body: payload.subarray(NEXT.length) });
  };

  const onFlow = (message: Message, account: string): void => {
    const [, , stream, consumer] = message.subject.split('.');
    const record = stream && catalog.stream(account, stream);
    if (!record) return;
    route({
      kind: FLOW,
      account,
      group: groupOf(record.streamId, 0),
      consumer,
      streamSeq: 0,
      consumerSeq: 0,
      delivered: 0,
      reply: '',
      body: encoder.encode(message.subject),
    });
  };

  const accounts = new Set<string>();
  const addAccount = (account: string): void => {
    if (accounts.has(account)) return;
    accounts.add(account);
    broker.addSink(account, '$JS.ACK.>', onAck);
    broker.addSink(account, '$JS.FC.>', onFlow);
  };
  catalog.onChange((change) => addAccount(change.account));

  return {
    pull(account, stream, consumer, message) {
      const record: StreamRecord | undefined = catalog.stream(account, stream);
      if (record === undefined) {
        noResponders(account, message.reply);
        return;
      }
      route({
        kind: PULL,
        account,
        group: groupOf(record.streamId, 0),
        consumer,
        streamSeq: 0,
        consumerSeq: 0,
        delivered: 0,
        reply: message.reply,
        body: message.payload,
      });
    },
  };
}

/** nats-surface A1 (9 tokens) and A2 (11 or more: domain and account hash come first). Undefined: not an ack subject. */
export function parseAckSubject(
  subject: string,
): { stream: string; consumer: string; delivered: number; streamSeq: number; consumerSeq: number } | undefined {
  const dots = ACK_DOTS;
  let count = 0;
  for (let dot = subject.indexOf('.'); dot >= 0; dot = subject.indexOf('.', dot + 1)) dots[count++] = dot;
  const at = count === 8 ? 1 : count >= 10 ? 3 : -1;
  if (at < 0) return undefined;
  const delivered = countOf(subject, dots[at + 2], dots[at + 3]);
  const streamSeq = countOf(subject, dots[at + 3], dots[at + 4]);
  const consumerSeq = countOf(subject, dots[at + 4], dots[at + 5]);
  if (delivered < 0 || streamSeq < 0 || consumerSeq < 0) return undefined;
  const stream = subject.slice(dots[at] + 1, dots[at + 1]);
  const consumer = subject.slice(dots[at + 1] + 1, dots[at + 2]);
  return { stream, consumer, delivered, streamSeq, consumerSeq };
}

/** `+NXT`, alone or before a pull request. */
function isNext(payload: Uint8Array): boolean {
  return NEXT.every((byte, i) => payload[i] === byte);
}

/** The decimal digits between two dots; -1 when they are none or too many. */
function countOf(subject: string, dot: number, next: number): number {
  if (next === dot + 1 || next > dot + 17) return -1;
  let count = 0;
  for (let i = dot + 1; i < next; i++) {
    const digit = subject.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    count = count * 10 + digit;
  }
  return Number.isSafeInteger(count) ? count : -1;
}

function encodeItem(item: Item): Uint8Array {
  const consumer = encoder.encode(item.consumer);
  const reply = encoder.encode(item.reply);
  const bytes = new Uint8Array(ITEM_FIXED + consumer.length + reply.length + item.body.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = item.kind;
  view.setFloat64(1, item.group);
  view.setFloat64(9, item.streamSeq);
  view.setFloat64(17, item.consumerSeq);
  view.setUint32(25, item.delivered);
  view.setUint16(29, consumer.length);
  view.setUint16(31, reply.length);
  view.setUint32(33, item.body.length);
  bytes.set(consumer, ITEM_FIXED);
  bytes.set(reply, ITEM_FIXED + consumer.length);
  bytes.set(item.body, ITEM_FIXED + consumer.length + reply.length);
  return bytes;
}

/** Hands over every item of a frame in order; false when the frame is malformed from some item on. */
export function decodeItems(bytes: Uint8Array, onItem: (item: Item) => void): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  while (at < bytes.length) {
    const kind = bytes[at];
    if (at + ITEM_FIXED > bytes.length || (kind !== PULL && kind !== ACK && kind !== FLOW)) return false;
    const consumerEnd = at + ITEM_FIXED + view.getUint16(at + 29);
    const replyEnd = consumerEnd + view.getUint16(at + 31);
    const end = replyEnd + view.getUint32(at + 33);
    if (end > bytes.length) return false;
    onItem({
      kind,
      account: '',
      group: view.getFloat64(at + 1),
      streamSeq: view.getFloat64(at + 9),
      consumerSeq: view.getFloat64(at + 17),
      delivered: view.getUint32(at + 25),
      consumer: decoder.decode(bytes.subarray(at + ITEM_FIXED, consumerEnd)),
      reply: decoder.decode(bytes.subarray(consumerEnd, replyEnd)),
      body: bytes.subarray(replyEnd, end),
    });
    at = end;
  }
  return true;
}
