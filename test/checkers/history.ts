// One history format for the simulator and for runs with real processes: what clients did and saw, in the order in which it
// happened, and what the replicas hold at the end. Checkers (checkers.ts) read nothing else.

export type Event =
  /** A publish was sent. `id` is unique per attempt; `msgId` is shared by retries of one message ('' none). */
  | {
      kind: 'sent';
      at: number;
      client: number;
      id: string;
      msgId: string;
      subject: string;
      content: string;
      /** Only to be stored when this is the subject's last seq (0: none). */
      expected?: number;
    }
  | { kind: 'acked'; at: number; id: string; seq: number; duplicate: boolean }
  /** Certainly not stored (an error that promises it). */
  | { kind: 'refused'; at: number; id: string; error: number }
  /** Outcome unknown: timeout, 10008, lost connection. */
  | { kind: 'unknown'; at: number; id: string }
  /** A consumer's client received a message. */
  | { kind: 'delivered'; at: number; consumer: string; seq: number; content: string; deliveries: number }
  /** The server confirmed an ack (double ack). */
  | { kind: 'ack-confirmed'; at: number; consumer: string; seq: number };

export interface StoredMessage {
  seq: number;
  subject: string;
  content: string;
}

/** What one replica holds when everything has healed. */
export interface ReplicaState {
  node: string;
  /** Results digest at its applied index. */
  digest: string;
  applied: number;
  lastSeq: number;
  messages: StoredMessage[];
}

export interface History {
  events: Event[];
  replicas: ReplicaState[];
  /** Seqs that were removed on purpose (purge, delete, work-queue ack); absent ones must be among them. */
  removed: ReadonlySet<number>;
  /** Consumers that were drained to the end after healing. */
  drained: readonly string[];
}

export interface Finding {
  check:
    | 'lost'
    | 'phantom'
    | 'duplicate'
    | 'order'
    | 'seq-reused'
    | 'divergence'
    | 'redelivered-after-ack'
    | 'never-delivered'
    | 'compare-and-set';
  text: string;
}
