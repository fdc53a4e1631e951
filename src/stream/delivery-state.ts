// A consumer's record as clients and monitoring see it. Pure; used by delivery-consumer.ts and delivery.ts, which put over it what the leader
// alone knows.
import type { ConsumerRecord } from './consumer-record.ts';
import type { ConsumerPosition, ConsumerState } from './types.ts';

/** What the log does not have. `isBound`: someone listens on the push subject. */
export interface LeaderFacts {
  undelivered: number;
  waiting: number;
  isBound: boolean;
}

export function stateOf(
  record: ConsumerRecord,
  streamSeq: (seq: number) => number,
  { undelivered, waiting, isBound }: LeaderFacts,
): ConsumerState {
  return {
    name: record.name,
    config: record.config,
    createdUs: record.createdUs,
    delivered: {
      consumer_seq: record.deliveredConsumerSeq,
      stream_seq: streamSeq(record.deliveredSeq),
      last_active_us: record.deliveredUs,
    },
    ack_floor: {
      consumer_seq: record.floorConsumerSeq,
      stream_seq: streamSeq(record.floorSeq),
      last_active_us: record.ackUs,
    },
    num_ack_pending: record.pending.size,
    num_redelivered: record.pending.redelivered,
    num_waiting: waiting,
    num_pending: undelivered,
    push_bound: isBound ? true : undefined,
  };
}

export function positionOf(record: ConsumerRecord, at: ConsumerPosition): void {
  at.name = record.name;
  at.createdUs = record.createdUs;
  at.deliveredSeq = record.deliveredSeq;
  at.lookedAtSeq = record.deliveredSeq;
  at.floorSeq = record.floorSeq;
  at.ackPending = record.pending.size;
  at.redelivered = record.pending.redelivered;
  at.waiting = 0;
  at.ackUs = record.ackUs;
}
