// Where messages of one subject go, worked out once and kept until interest in the subject changes. Pure; made and used by the
// broker. A route is never changed after it was made: deliveries may unsubscribe while it is being walked.
import type { RemoteInterest } from './remote-interest.ts';
import type { Sink, Subscription } from './types.ts';

/** A sink in the subject index; a class of its own, so that entries tell themselves apart. */
export class SinkEntry {
  readonly subject: string;
  readonly sink: Sink;

  constructor(subject: string, sink: Sink) {
    this.subject = subject;
    this.sink = sink;
  }
}

/** Who can stand behind a pattern. */
export type Entry = Subscription | SinkEntry | RemoteInterest;

/** One queue group: one of its members gets each message. */
export interface Group {
  readonly queue: string;
  readonly local: Subscription[];
  /** Members on other nodes, by weight. */
  readonly remote: RemoteInterest[];
}

export interface Route {
  readonly sinks: readonly SinkEntry[];
  readonly plain: readonly Subscription[];
  readonly groups: readonly Group[];
  /** Plain interest on other nodes; one entry per node. */
  readonly peers: readonly RemoteInterest[];
}
