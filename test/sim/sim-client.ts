// A client inside the simulator: speaks to one node's broker as a session would, without sockets. It reconnects when its
// node is up again. Invariant: every request ends exactly once: with a reply, as unknown (time-out or node lost) or refused (503).
import type { Message, Receiver, Subscription } from '../../src/broker/types.ts';
import type { BrokerNode } from '../../src/node.ts';
import type { ScheduledEvent, Scheduler } from './scheduler.ts';

const ACCOUNT = '$G';
const EMPTY = new Uint8Array(0);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

export interface ClientHost {
  /** Runs `fn` inside the node's present life; does nothing when the node is down. */
  enter(fn: (node: BrokerNode) => void): void;
  /** Counts the node's lives: a change means that everything of the earlier one is gone. */
  readonly life: number;
  readonly up: boolean;
}

export type Outcome =
  | { kind: 'reply'; hdr: string; text: string; reply: string }
  | { kind: 'unknown' }
  | { kind: 'no-responders' };

interface Pending {
  done: (outcome: Outcome) => void;
  timer: ScheduledEvent;
}

export class SimClient implements Receiver {
  readonly name: string;
  readonly #scheduler: Scheduler;
  readonly #host: ClientHost;
  readonly #pending = new Map<string, Pending>();
  #arrived: (() => void)[] = [];
  #life = -1;
  #next = 0;
  /** Messages to subscriptions other than the request inbox. */
  onMessage: ((subject: string, reply: string, hdr: string, content: string) => void) | undefined;

  constructor(name: string, scheduler: Scheduler, host: ClientHost) {
    this.name = name;
    this.#scheduler = scheduler;
    this.#host = host;
  }

  get connected(): boolean {
    return this.#host.up;
  }

  /** Publishes with a reply inbox and waits for one answer. */
  request(
    subject: string,
    payload: string,
    headers: Record<string, string>,
    timeoutMs: number,
    done: (outcome: Outcome) => void,
  ): void {
    this.#connect();
    if (!this.#host.up) {
      done({ kind: 'no-responders' });
      return;
    }
    const reply = `_INBOX.${this.name}.r${this.#next++}`;
    const timer = this.#scheduler.after(timeoutMs, () => this.#settle(reply, { kind: 'unknown' }));
    this.#pending.set(reply, { done, timer });
    this.publish(subject, payload, headers, reply);
  }

  publish(subject: string, payload: string, headers: Record<string, string> = {}, reply = ''): void {
    this.#connect();
    this.#host.enter((node) => {
      const message: Message = { subject, reply, hdr: headerBlock(headers), payload: encoder.encode(payload) };
      if (!node.broker.publish(ACCOUNT, message, this) && reply !== '') this.#settle(reply, { kind: 'no-responders' });
    });
  }

  /** An inbox of its own for many answers; they come to onMessage. */
  inbox(): string {
    this.#connect();
    return `_INBOX.${this.name}.m${this.#next++}`;
  }

  deliver(_subscription: Subscription, message: Message): void {
    // A pull delivery shows the stored subject, so answers are told apart by the pending table. Whatever the client does about it, it does
    // in an event of its own: no session acts inside a delivery.
    const content = decoder.decode(message.payload);
    const hdr = decoder.decode(message.hdr);
    if (this.#pending.has(message.subject)) {
      const outcome: Outcome = hdr.startsWith('NATS/1.0 503')
        ? { kind: 'no-responders' }
        : { kind: 'reply', hdr, text: content, reply: message.reply };
      this.#settle(message.subject, outcome);
      return;
    }
    const { subject, reply } = message;
    this.#arrived.push(() => this.onMessage?.(subject, reply, hdr, content));
    // A connection keeps the order of its messages.
    if (this.#arrived.length === 1) this.#scheduler.after(0, () => this.#drain());
  }

  #drain(): void {
    const arrived = this.#arrived;
    this.#arrived = [];
    for (const handle of arrived) handle();
  }

  #settle(reply: string, outcome: Outcome): void {
    const pending = this.#pending.get(reply);
    if (pending === undefined) return;
    this.#pending.delete(reply);
    this.#scheduler.cancel(pending.timer);
    // The client is a program of its own: it goes on in an event of its own.
    this.#scheduler.after(0, () => pending.done(outcome));
  }

  /** Subscribes in the node's present life; what was pending in an earlier one has an unknown outcome. */
  #connect(): void {
    if (!this.#host.up || this.#host.life === this.#life) return;
    this.#life = this.#host.life;
    for (const reply of [...this.#pending.keys()]) this.#settle(reply, { kind: 'unknown' });
    this.#host.enter((node) => {
      node.broker.subscribe({
        account: ACCOUNT,
        subject: `_INBOX.${this.name}.*`,
        queue: '',
        sid: '1',
        receiver: this,
        echo: true,
      });
    });
  }
}

function headerBlock(headers: Record<string, string>): Uint8Array {
  const entries = Object.entries(headers);
  if (entries.length === 0) return EMPTY;
  return encoder.encode(`NATS/1.0\r\n${entries.map(([key, value]) => `${key}: ${value}\r\n`).join('')}\r\n`);
}
