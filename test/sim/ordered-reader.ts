// Ordered reading as clients do it: a consumer without acks, made again behind the last message whenever something is missing in its
// count or it stays silent. Invariant: what it hands on ascends, if the server keeps the consumer's count right.
import type { Event } from '../checkers/history.ts';
import type { SimClient } from './sim-client.ts';
import { deliveryOf, type Run } from './stream-load.ts';

const SILENT_MS = 3_000;
const PULL_MS = 900;

export interface OrderedReader {
  readonly lastSeq: number;
}

export function ordered(run: Run, stream: string, client: SimClient, record: (event: Event) => void): OrderedReader {
  const { scheduler } = run.world;
  let lastSeq = 0;
  let lastConsumerSeq = 0;
  let name = '';
  let life = 0;
  let heardMs = 0;

  const make = (): void => {
    const wanted = `ordered-${++life}`;
    name = '';
    heardMs = scheduler.nowMs;
    const config = {
      name: wanted,
      ack_policy: 'none',
      mem_storage: true,
      num_replicas: 1,
      max_deliver: 1,
      inactive_threshold: 300e9,
      deliver_policy: 'by_start_sequence',
      opt_start_seq: lastSeq + 1,
    };
    const body = JSON.stringify({ stream_name: stream, config });
    client.request(`$JS.API.CONSUMER.CREATE.${stream}.${wanted}`, body, {}, 5000, (outcome) => {
      if (outcome.kind !== 'reply' || outcome.text.includes('"error"')) {
        scheduler.after(200, make);
        return;
      }
      name = wanted;
      lastConsumerSeq = 0;
      heardMs = scheduler.nowMs;
    });
  };

  client.onMessage = (_subject, reply, hdr, content) => {
    const delivery = deliveryOf(reply, hdr);
    if (delivery === undefined || delivery.consumer !== name) return;
    if (delivery.consumerSeq !== lastConsumerSeq + 1) {
      run.world.count('ordered reader began anew');
      make();
      return;
    }
    lastConsumerSeq = delivery.consumerSeq;
    lastSeq = delivery.seq;
    heardMs = scheduler.nowMs;
    const { seq, deliveries } = delivery;
    const at = scheduler.nowMs;
    const leftAt = run.world.handedOutMs.get(reply)!;
    record({ kind: 'delivered', at, leftAt, consumer: 'ordered', seq, content, deliveries });
  };

  const pull = (): void => {
    scheduler.after(PULL_MS + 100, pull);
    if (name === '') return;
    if (scheduler.nowMs - heardMs > SILENT_MS) {
      run.world.count('ordered reader heard nothing');
      make();
      return;
    }
    const body = JSON.stringify({ batch: 100, expires: PULL_MS * 1e6 });
    client.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`, body, {}, client.inbox());
  };
  make();
  pull();
  return {
    get lastSeq() {
      return lastSeq;
    },
  };
}
