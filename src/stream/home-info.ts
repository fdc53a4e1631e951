// What a consumer over several partitions says of itself: its parts, added up (nats-surface I4). Pure; used by home-engine.ts.
// Consumer seqs are sums over the parts; a stream seq is the furthest, the floor's the one below which nothing is pending anywhere.
import type { ConsumerRecord } from './consumer-record.ts';
import type { ConsumerState } from './types.ts';

export function mergeParts(record: ConsumerRecord, states: readonly ConsumerState[]): ConsumerState {
  const sum = (of: (state: ConsumerState) => number): number => states.reduce((total, each) => total + of(each), 0);
  const most = (of: (state: ConsumerState) => number): number => Math.max(0, ...states.map(of));
  const pending = states.filter((state) => state.num_ack_pending > 0).map((state) => state.ack_floor.stream_seq);
  const delivered = most((state) => (state.delivered.consumer_seq > 0 ? state.delivered.stream_seq : 0));
  return {
    name: record.name,
    config: record.config,
    createdUs: record.createdUs,
    delivered: {
      consumer_seq: sum((state) => state.delivered.consumer_seq),
      stream_seq: delivered,
      last_active_us: most((state) => state.delivered.last_active_us),
    },
    ack_floor: {
      consumer_seq: sum((state) => state.ack_floor.consumer_seq),
      stream_seq: Math.min(delivered, ...pending),
      last_active_us: most((state) => state.ack_floor.last_active_us),
    },
    num_ack_pending: sum((state) => state.num_ack_pending),
    num_redelivered: sum((state) => state.num_redelivered),
    num_waiting: 0,
    num_pending: sum((state) => state.num_pending),
  };
}
