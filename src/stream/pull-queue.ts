// The waiting pull requests of one consumer: FIFO, served round-robin one message each, at most `max_waiting`. Decides which
// request gets the next message and which status frames are due; sends them through `send`. Used by delivery-consumer.ts.
// Invariant: `nextDueMs` is never later than the earliest expiry or heartbeat of a waiting request.
import { CONSUMER_DELETED, handedOver, idleHeartbeat, NO_MESSAGES, withLeft } from './delivery-frames.ts';
import type { PullBody } from './pull-request.ts';

const SEARCH_MS = 1000;

export interface PullRequest {
  readonly reply: string;
  /** Messages left. */
  batch: number;
  /** Bytes left; meaningless unless `bounded`. */
  bytes: number;
  readonly bounded: boolean;
  delivered: number;
  readonly noWait: boolean;
  /** Infinity when the request has none. */
  readonly expiresAtMs: number;
  readonly heartbeatMs: number;
  heartbeatAtMs: number;
}

/** Why nobody serves waiting requests any more. */
export type PullsEnd = 'deleted' | 'handed over' | 'shutdown';

export interface PullQueueOutlet {
  status(inbox: string, frame: Uint8Array): boolean;
  hasInterest(inbox: string): boolean;
}

export class PullQueue {
  readonly #max: number;
  readonly #outlet: PullQueueOutlet;
  /** A ring; its length is a power of two. */
  #ring: (PullRequest | undefined)[] = new Array(4).fill(undefined);
  #head = 0;
  #size = 0;
  #oneShots = 0;
  #searchedMs = Number.NEGATIVE_INFINITY;
  nextDueMs = Number.POSITIVE_INFINITY;

  constructor(max: number, outlet: PullQueueOutlet) {
    this.#max = max;
    this.#outlet = outlet;
  }

  get size(): number {
    return this.#size;
  }

  /** Looks for requests that may go, at most once a second, before it says yes. */
  isFull(nowMs: number): boolean {
    if (this.#size < this.#max) return false;
    if (nowMs - this.#searchedMs >= SEARCH_MS) {
      this.#searchedMs = nowMs;
      this.dropLost();
    }
    return this.#size >= this.#max;
  }

  /** Messages that the waiting requests still ask for. */
  get asked(): number {
    let sum = 0;
    for (let i = 0; i < this.#size; i++) sum += this.#at(i).batch;
    return sum;
  }

  add(reply: string, body: PullBody, nowMs: number): void {
    const request: PullRequest = {
      reply,
      batch: body.batch,
      bytes: body.maxBytes,
      bounded: body.maxBytes > 0,
      delivered: 0,
      noWait: body.noWait,
      expiresAtMs: body.expiresMs !== 0 ? nowMs + body.expiresMs : Number.POSITIVE_INFINITY,
      heartbeatMs: body.heartbeatMs,
      heartbeatAtMs: body.heartbeatMs > 0 ? nowMs + body.heartbeatMs : Number.POSITIVE_INFINITY,
    };
    this.#push(request);
    this.nextDueMs = Math.min(this.nextDueMs, request.expiresAtMs, request.heartbeatAtMs);
  }

  /** The request whose turn it is; undefined when none waits. */
  peek(): PullRequest | undefined {
    return this.#size === 0 ? undefined : this.#at(0);
  }

  /** Takes the first request out. */
  drop(): void {
    if (this.#at(0).noWait) this.#oneShots--;
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#size--;
  }

  /** The first request that may have a message of `size` bytes; those with less room are closed on the way. */
  fitting(size: number, nowMs: number): PullRequest | undefined {
    for (;;) {
      const request = this.peek();
      if (request === undefined) return undefined;
      if (request.expiresAtMs <= nowMs) {
        this.#outlet.status(request.reply, withLeft('408 Request Timeout', request.batch, request.bytes));
      } else if (request.bounded && size > request.bytes) {
        this.#outlet.status(request.reply, withLeft('409 Message Size Exceeds MaxBytes', request.batch, request.bytes));
      } else return request;
      this.drop();
    }
  }

  /** The first request got a message of `size` bytes: it goes to the end of the line, or is done. */
  served(size: number, nowMs: number): void {
    const request = this.#at(0);
    this.drop();
    request.delivered++;
    request.batch--;
    if (request.bounded) {
      request.bytes -= size;
      if (request.bytes === 0) request.batch = 0;
    }
    if (request.batch > 0) {
      if (request.heartbeatMs > 0) request.heartbeatAtMs = nowMs + request.heartbeatMs;
      this.#push(request);
    } else if (request.bounded && request.bytes > 0) {
      this.#outlet.status(request.reply, withLeft('409 Batch Completed', 0, request.bytes));
    }
  }

  /** Sends what is due. `drained`: nothing is left to deliver, so requests that do not wait end. */
  sweep(nowMs: number, drained: boolean, lastConsumerSeq: number, lastStreamSeq: number): void {
    let nextDueMs = Number.POSITIVE_INFINITY;
    for (let left = this.#size; left > 0; left--) {
      const request = this.#at(0);
      this.drop();
      const drainedOut = drained && request.noWait;
      // A request that got something is told what is missing, as at its expiry.
      if (request.expiresAtMs <= nowMs || (drainedOut && request.delivered > 0)) {
        this.#outlet.status(request.reply, withLeft('408 Request Timeout', request.batch, request.bytes));
        continue;
      }
      if (drainedOut && request.expiresAtMs === Number.POSITIVE_INFINITY) {
        this.#outlet.status(request.reply, NO_MESSAGES);
        continue;
      }
      if (request.heartbeatAtMs <= nowMs) {
        if (!this.#outlet.status(request.reply, idleHeartbeat(lastConsumerSeq, lastStreamSeq, ''))) continue;
        request.heartbeatAtMs = nowMs + request.heartbeatMs;
      }
      nextDueMs = Math.min(nextDueMs, request.expiresAtMs, request.heartbeatAtMs);
      this.#push(request);
    }
    this.nextDueMs = nextDueMs;
  }

  /** A sweep would end some request now that nothing is left to deliver. */
  get hasOneShots(): boolean {
    return this.#oneShots > 0;
  }

  /** Forgets requests whose inbox is gone. */
  dropLost(): void {
    for (let left = this.#size; left > 0; left--) {
      const request = this.#at(0);
      this.drop();
      if (this.#outlet.hasInterest(request.reply)) this.#push(request);
    }
  }

  /** Ends every request. */
  endAll(why: PullsEnd): void {
    if (why === 'handed over') this.#handOver();
    while (this.#size > 0) {
      const { reply, batch, bytes } = this.#at(0);
      this.drop();
      this.#outlet.status(reply, why === 'deleted' ? CONSUMER_DELETED : withLeft('409 Server Shutdown', batch, bytes));
    }
    this.nextDueMs = Number.POSITIVE_INFINITY;
  }

  /** Every inbox hears it once, as from nats-server, for all its requests: clients that count anew each time would ask for too much. */
  #handOver(): void {
    const left = new Map<string, { messages: number; bytes: number }>();
    for (; this.#size > 0; this.drop()) {
      const { reply, batch, bytes } = this.#at(0);
      const sum = left.get(reply) ?? { messages: 0, bytes: 0 };
      left.set(reply, { messages: sum.messages + batch, bytes: sum.bytes + bytes });
    }
    for (const [inbox, { messages, bytes }] of left) {
      for (const frame of handedOver(messages, bytes)) this.#outlet.status(inbox, frame);
    }
  }

  #at(index: number): PullRequest {
    return this.#ring[(this.#head + index) & (this.#ring.length - 1)]!;
  }

  #push(request: PullRequest): void {
    if (this.#size === this.#ring.length) {
      const grown: (PullRequest | undefined)[] = new Array(this.#ring.length * 2).fill(undefined);
      for (let i = 0; i < this.#size; i++) grown[i] = this.#at(i);
      this.#ring = grown;
      this.#head = 0;
    }
    this.#ring[(this.#head + this.#size) & (this.#ring.length - 1)] = request;
    this.#size++;
    if (request.noWait) this.#oneShots++;
  }
}
