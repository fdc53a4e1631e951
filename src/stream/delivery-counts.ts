// What all consumers of a node have done, in plain numbers: one object per node, counted by delivery-consumer.ts on whichever
// partition leads here, read by monitoring. It outlives partitions, so that its numbers never go back.

export interface DeliveryCounts {
  /** Messages handed to clients, redeliveries included. */
  delivered: number;
  redelivered: number;
  /** Acks taken: explicit, implied by a later one, and terminations. */
  acked: number;
  naked: number;
  /** Messages given up after max_deliver attempts. */
  givenUp: number;
}

export function createDeliveryCounts(): DeliveryCounts {
  return { delivered: 0, redelivered: 0, acked: 0, naked: 0, givenUp: 0 };
}
