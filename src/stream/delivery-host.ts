// What a consumer on the leader needs from the engine that holds it (delivery.ts gives it, delivery-consumer.ts takes it).
import type { Env } from '../kit/env.ts';
import type { StreamConfig } from './config.ts';
import type { Advisories } from './delivery-advisories.ts';
import type { LiveConsumer } from './delivery-consumer.ts';
import type { DeliveryCounts } from './delivery-counts.ts';
import type { ApiError } from './errors.ts';
import type { PullQueueOutlet } from './pull-queue.ts';
import type { ConsumerState, MessageView, Outlet, StoredMessage } from './types.ts';

/** What a turn may still send. */
export interface Budget {
  messages: number;
  bytes: number;
}

export type InfoDone = (state: ConsumerState | ApiError) => void;

export interface DeliveryHost extends PullQueueOutlet {
  readonly env: Env;
  readonly view: MessageView;
  readonly outlet: Outlet;
  readonly advisories: Advisories;
  readonly streamName: string;
  readonly counts: DeliveryCounts;
  readonly retention: StreamConfig['retention'];
  nowMs(): number;
  /** What clients see of a local seq. */
  streamSeq(seq: number): number;
  propose(type: number, body: Uint8Array, done: ((result: ApiError | undefined) => void) | undefined): void;
  readMessage(seq: number, done: (message: StoredMessage | undefined) => void): void;
  /** Answers a double ack, as soon as nobody else can hand out what it acknowledged. */
  confirm(inbox: string): void;
  /** A home may go on handing out what this leader gave to it. */
  holdConfirms(): void;
  /** Is it proven at this moment that this node leads? */
  readonly isProven: boolean;
  /** The same; if not, asks, and `ready` follows. */
  mayHandOut(consumer: LiveConsumer): boolean;
  /** Asks for a slice of delivery at the end of this turn. */
  ready(consumer: LiveConsumer): void;
  /** Has demand and no supply: to be asked again when something is stored. */
  hungry(consumer: LiveConsumer): void;
  /** Has something for the log at the end of this turn. */
  flush(consumer: LiveConsumer): void;
  /** Removals of messages matter to it from now on. */
  watch(consumer: LiveConsumer): void;
  schedule(consumer: LiveConsumer, dueMs: number): void;
  /** The partition's last seq is to be at least `seq`. */
  advance(seq: number): void;
  /** Inactive for its threshold. */
  expire(consumer: LiveConsumer): void;
}
