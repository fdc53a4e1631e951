// The door of core NATS: a message to everyone who asked, on this node and on others (DESIGN §4.4, §8).
// Used by protocol sessions (as clients) and by the composition root (sinks of streams and of the JetStream API).

import type { PeerId } from '../../cluster/core/types.ts';

export interface Message {
  /** What receivers see as the subject. */
  subject: string;
  /** '' when there is none. */
  reply: string;
  /** Whole header block, `NATS/1.0…` up to and with the empty line; empty when there is none. */
  hdr: Uint8Array;
  payload: Uint8Array;
}

/** Everybody who can receive. `deliver` must not keep `message.hdr`/`payload` beyond the call unless it copies: they may be
 * views of a receive buffer. */
export interface Receiver {
  deliver(subscription: Subscription, message: Message): void;
}

export interface Subscription {
  readonly account: string;
  readonly subject: string;
  /** '' for a plain subscription. */
  readonly queue: string;
  /** The client's own id, opaque. */
  readonly sid: string;
  readonly receiver: Receiver;
  /** Receiver that set echo:false does not get what it published itself. */
  readonly echo: boolean;
}

/** Consumes every message that a client of THIS node publishes to a matching subject (never copies routed from other nodes);
 * counts as a responder. Streams, `$JS.API.>`, `$JS.ACK.>` are sinks. */
export type Sink = (message: Message, account: string, origin: Receiver | undefined) => void;

export interface SinkHandle {
  remove(): void;
}

export interface Broker {
  subscribe(subscription: Subscription): void;
  unsubscribe(subscription: Subscription): void;

  /** Hands the message to sinks, local subscribers, one member of each queue group cluster-wide (local first), and to other nodes
   * with interest. False: nobody (caller then answers 503 if the publisher negotiated no_responders). */
  publish(account: string, message: Message, origin: Receiver | undefined): boolean;

  /** Delivers to whoever subscribes `inbox`, but receivers see `message.subject` (nats-surface X6). Sinks are not asked.
   * Works across nodes. False: nobody. */
  deliverTo(account: string, inbox: string, message: Message): boolean;

  /** Someone, here or on another node, subscribes to this literal subject (sinks do not count). */
  hasInterest(account: string, subject: string): boolean;
  /** A plain subscription of this very receiver to this literal subject: who gets the 503 of its own request. */
  subscriptionOf(receiver: Receiver, account: string, subject: string): Subscription | undefined;
  /** Runs `changed` (next turn at the latest) whenever interest anywhere that matches `pattern` may have gone. */
  onInterestLost(changed: (account: string, pattern: string) => void): void;

  addSink(account: string, subject: string, sink: Sink): SinkHandle;

  /** How full the fullest way to another node was that clients' messages took since this was last set to 0. */
  congestion: number;

  /** What the clients of another node want, as far as this node has been told; for monitoring. */
  interestOf(peer: PeerId): { account: string; subject: string; queue: string; weight: number }[];

  readonly stats: {
    subscriptions: number;
    /** Ever made; those that are gone are the difference. */
    subscribed: number;
    routedIn: number;
    routedOut: number;
    /** Messages for which the link to another node had no room. */
    routedLost: number;
    inMsgs: number;
    outMsgs: number;
    inBytes: number;
    outBytes: number;
  };
}
