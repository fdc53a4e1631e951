// Advisories of consumers (nats-surface §2.17). Rare events, so plain JSON; the outlet drops them when nobody listens.
import type { Env } from '../kit/env.ts';
import { formatRfc3339 } from './consumer-time.ts';
import type { Outlet } from './types.ts';

const encoder = new TextEncoder();
const ID_DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** Letters and digits, as client ids have them. */
export function randomId(env: Env, length: number): string {
  let id = '';
  for (const byte of env.random.bytes(length)) id += ID_DIGITS[byte % ID_DIGITS.length];
  return id;
}

export class Advisories {
  readonly #env: Env;
  readonly #outlet: Outlet;
  readonly #stream: string;

  constructor(env: Env, outlet: Outlet, stream: string) {
    this.#env = env;
    this.#outlet = outlet;
    this.#stream = stream;
  }

  action(consumer: string, action: 'create' | 'delete'): void {
    const word = action === 'create' ? 'CREATED' : 'DELETED';
    this.#publish(`ADVISORY.CONSUMER.${word}`, 'advisory.v1.consumer_action', consumer, { action });
  }

  maxDeliveries(consumer: string, stream_seq: number, deliveries: number): void {
    const fields = { stream_seq, deliveries };
    this.#publish('ADVISORY.CONSUMER.MAX_DELIVERIES', 'advisory.v1.max_deliver', consumer, fields);
  }

  naked(consumer: string, consumer_seq: number, stream_seq: number, deliveries: number): void {
    const fields = { consumer_seq, stream_seq, deliveries };
    this.#publish('ADVISORY.CONSUMER.MSG_NAKED', 'advisory.v1.nak', consumer, fields);
  }

  terminated(consumer: string, consumer_seq: number, stream_seq: number, deliveries: number, reason: string): void {
    const fields = { consumer_seq, stream_seq, deliveries, reason: reason === '' ? undefined : reason };
    this.#publish('ADVISORY.CONSUMER.MSG_TERMINATED', 'advisory.v1.terminated', consumer, fields);
  }

  #publish(kind: string, type: string, consumer: string, fields: Record<string, string | number | undefined>): void {
    const body = {
      type: `io.nats.jetstream.${type}`,
      id: randomId(this.#env, 22),
      timestamp: formatRfc3339(this.#env.clock.wallUs()),
      stream: this.#stream,
      consumer,
      ...fields,
    };
    this.#outlet.publish(`$JS.EVENT.${kind}.${this.#stream}.${consumer}`, encoder.encode(JSON.stringify(body)));
  }
}
