// Brokers joined by a Transport in memory: frames wait in one list until `settle`, as a test says. Turns end in `settle` too.
import { Channel, type PeerInfo, type Transport } from '../../../cluster/rpc/types.ts';
import { createBroker } from '../../../src/broker/broker.ts';
import type { Broker, Message, Receiver, Subscription } from '../../../src/broker/types.ts';
import type { Clock, Env } from '../../../src/kit/env.ts';

type Handler = (from: number, bytes: Uint8Array) => void;

export class FakeNode {
  readonly id: number;
  readonly broker: Broker;
  readonly turnEnd: (() => void)[] = [];
  readonly timers: (() => void)[] = [];
  readonly handlers = new Map<number, Handler>();
  readonly ups: ((peer: PeerInfo) => void)[] = [];
  readonly downs: ((peer: number) => void)[] = [];
  readonly connected = new Set<number>();
  readonly errors: string[] = [];
  /** Channels on which `send` refuses. */
  readonly refusing = new Set<number>();
  /** Of the links, by peer. */
  readonly fullness = new Map<number, number>();
  /** Messages (not interest) that were handed to links. */
  sentMessages = 0;

  constructor(cluster: FakeCluster, id: number) {
    this.id = id;
    const info = (peer: number): PeerInfo => ({
      id: peer,
      name: `n${peer}`,
      clientUrl: '',
      clusterUrl: '',
      monitorUrl: '',
    });
    const transport: Transport = {
      self: info(id),
      send: (to, channel, parts) => {
        if (!this.connected.has(to) || this.refusing.has(channel)) return false;
        if (channel === Channel.route) this.sentMessages++;
        cluster.frames.push({ from: id, to, channel, bytes: Buffer.concat(parts) });
        return true;
      },
      fullness: (to) => this.fullness.get(to) ?? 0,
      onMessage: (channel, handler) => this.handlers.set(channel, handler),
      onPeerUp: (handler) => this.ups.push(handler),
      onPeerDown: (handler) => this.downs.push(handler),
      onHeartbeat: () => {},
      flush: () => {},
      setHeartbeatSource: () => {},
      peers: () => [...this.connected].map(info),
      isUp: (peer) => this.connected.has(peer),
      lastHeardMs: () => 0,
    };
    const clock: Clock = {
      nowMs: () => 0,
      wallUs: () => 0,
      // Work that goes on in steps is not worth a test's attention.
      after: (delay, fn) => {
        (delay === 0 ? this.turnEnd : this.timers).push(fn);
        return { dueMs: 0 };
      },
      cancel: () => {},
      endOfTurn: (fn) => this.turnEnd.push(fn),
    };
    const env = {
      clock,
      random: { uint32: () => 12345 + id, float: () => 0.5, bytes: (n: number) => new Uint8Array(n) },
      log: { debug() {}, info() {}, warn() {}, error: (message: string) => this.errors.push(message) },
    } as unknown as Env;
    this.broker = createBroker({ env, transport, self: id });
  }

  endTurn(): void {
    for (const fn of this.turnEnd.splice(0)) fn();
  }

  /** Runs every timer that waits, once. */
  fireTimers(): void {
    for (const fn of this.timers.splice(0)) fn();
  }
}

export class FakeCluster {
  readonly nodes: FakeNode[] = [];
  frames: { from: number; to: number; channel: number; bytes: Uint8Array }[] = [];

  constructor(size: number) {
    for (let id = 1; id <= size; id++) this.nodes.push(new FakeNode(this, id));
    for (const a of this.nodes) for (const b of this.nodes) if (a.id < b.id) this.join(a, b);
    this.settle();
  }

  join(a: FakeNode, b: FakeNode): void {
    for (const [self, other] of [
      [a, b],
      [b, a],
    ]) {
      self.connected.add(other.id);
      for (const up of self.ups) up({ id: other.id, name: '', clientUrl: '', clusterUrl: '', monitorUrl: '' });
    }
  }

  part(a: FakeNode, b: FakeNode): void {
    this.frames = this.frames.filter(
      (f) => !((f.from === a.id && f.to === b.id) || (f.from === b.id && f.to === a.id)),
    );
    for (const [self, other] of [
      [a, b],
      [b, a],
    ]) {
      self.connected.delete(other.id);
      for (const down of self.downs) down(other.id);
    }
  }

  /** Ends turns and delivers frames until nothing moves. */
  settle(): void {
    for (;;) {
      for (const node of this.nodes) node.endTurn();
      const frame = this.frames.shift();
      if (frame !== undefined) this.nodes[frame.to - 1].handlers.get(frame.channel)!(frame.from, frame.bytes);
      else if (this.nodes.every((node) => node.turnEnd.length === 0)) return;
    }
  }
}

/** A client that writes down what it gets. */
export class Client implements Receiver {
  readonly node: FakeNode;
  readonly account: string;
  readonly echo: boolean;
  readonly got: string[] = [];
  readonly subscriptions: Subscription[] = [];

  constructor(node: FakeNode, account = '$G', echo = true) {
    this.node = node;
    this.account = account;
    this.echo = echo;
  }

  sub(subject: string, queue = ''): Subscription {
    const sid = String(this.subscriptions.length + 1);
    const subscription = { account: this.account, subject, queue, sid, receiver: this, echo: this.echo };
    this.subscriptions.push(subscription);
    this.node.broker.subscribe(subscription);
    return subscription;
  }

  pub(subject: string, payload = '', reply = ''): boolean {
    return this.node.broker.publish(this.account, message(subject, payload, reply), this);
  }

  leave(): void {
    for (const subscription of this.subscriptions.splice(0)) this.node.broker.unsubscribe(subscription);
  }

  deliver(subscription: Subscription, message: Message): void {
    const reply = message.reply === '' ? '' : ` reply ${message.reply}`;
    const hdr = message.hdr.length === 0 ? '' : ` hdr ${Buffer.from(message.hdr)}`;
    this.got.push(`${subscription.subject}: ${message.subject} ${Buffer.from(message.payload)}${reply}${hdr}`.trim());
  }
}

export function message(subject: string, payload = '', reply = '', hdr = ''): Message {
  return { subject, reply, hdr: Buffer.from(hdr), payload: Buffer.from(payload) };
}
