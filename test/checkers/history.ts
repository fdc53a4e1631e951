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
  /** A consumer's client received a message, which had left its leader at `leftAt` (`at`, when nobody knows). */
  | {
      kind: 'delivered';
      at: number;
      leftAt: number;
      consumer: string;
      seq: number;
      content: string;
      deliveries: number;
    }
  /** A client sent an ack; what becomes of it is not known yet. */
  | { kind: 'ack-sent'; at: number; consumer: string; seq: number }
  /** The server confirmed an ack (double ack). */
  | { kind: 'ack-confirmed'; at: number; consumer: string; seq: number }
  /** The last message of a subject was asked for at `at` and answered at `until`: its seq, 0 when there was none. */
  | { kind: 'read'; at: number; until: number; subject: string; seq: number }
  /** A position that only goes forward (last seq, ack floor) was asked for at `at` and answered at `until`. */
  | { kind: 'position'; at: number; until: number; of: string; seq: number };

/** What concerns one partition of a stream of so many: seqs tell whose they are, attempts concern all. */
export function eventsOf(events: Event[], partitions: number, partition: number): Event[] {
  if (partitions === 1) return events;
  return events.filter((event) => !('seq' in event) || event.seq % partitions === partition);
}

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

/** From the moment a fault strikes until the next one does. */
export interface FaultWindow {
  name: string;
  from: number;
  until: number;
  /** Longest time without any acknowledgement that is allowed in it. */
  silentMsMax: number;
}

export interface History {
  events: Event[];
  replicas: ReplicaState[];
  /** Seqs that may have been removed on purpose (purge, delete, work-queue ack); absent ones must be among them. */
  removed: ReadonlySet<number>;
  /** Seqs whose removal was confirmed: nobody holds them any more. */
  gone?: ReadonlySet<number>;
  /** Messages leave by acks alone (work queue, interest). */
  removedByAcks?: boolean;
  /** Each client has one connection to one node for all it hears of: its publishes are stored in the order in which it sent them. */
  inSendOrder?: boolean;
  /** Consumers that were drained to the end after healing. */
  drained: readonly string[];
  /** Readers that get every message once, in the order of the stream. */
  ordered?: readonly string[];
  /** A copy that left before its message's ack was confirmed may still arrive this long afterwards (default 0); shorter than the ack wait. */
  inFlightMs?: number;
  faults?: readonly FaultWindow[];
}

export interface Finding {
  check:
    | 'lost'
    | 'phantom'
    | 'duplicate'
    | 'order'
    | 'send-order'
    | 'seq-reused'
    | 'divergence'
    | 'redelivered-after-ack'
    | 'never-delivered'
    | 'compare-and-set'
    | 'came-back'
    | 'stale-read'
    | 'out-of-order'
    | 'went-back'
    | 'linearizable'
    | 'no-service';
  text: string;
}

/** Each partition has its own order; consumers and contents are of the stream. */
export function byPartition(history: History, partitions: number): History[] {
  if (partitions === 1) return [history];
  return Array.from({ length: partitions }, (_, partition) => ({
    ...history,
    events: eventsOf(history.events, partitions, partition),
    replicas: history.replicas.map((replica) => ({
      ...replica,
      messages: replica.messages.filter(({ seq }) => seq % partitions === partition),
    })),
  }));
}
