// What is asked of a partition's stream: its state, messages, what homes of consumers want to know. Made and called by partition.ts.
// Invariant: an answer rests on a read barrier begun after the request arrived, and on the newest configuration that was known here then.
import type { Group } from '../../cluster/host/types.ts';
import type { Clock } from '../kit/env.ts';
import { batchFrom, batchOf, lastOfSubjects } from './batch-get.ts';
import { compileFilter } from './consumer-filter.ts';
import { listDeleted } from './deleted-list.ts';
import { type ApiError, apiError } from './errors.ts';
import type { StreamMachine } from './machine.ts';
import { edgesOf, newestOf } from './part-edges.ts';
import type { PartitionSeqs } from './partition-seqs.ts';
import { pageOfSubjects } from './subjects-page.ts';
import type {
  BatchRequest,
  GetRequest,
  InfoRequest,
  LastRequest,
  MessageBatch,
  PartitionEdges,
  StoredMessage,
  StreamState,
} from './types.ts';

/** What is read from. */
export interface ReadSource {
  clock: Clock;
  machine: StreamMachine;
  seqs: PartitionSeqs;
  /** Local seqs, also in the result. Undefined: removed, or unreadable for now (then it still exists). */
  readMessage: (seq: number, done: (message: StoredMessage | undefined) => void) => void;
  /** As applied. */
  localState: () => StreamState;
  isLeading: () => boolean;
  /** Of the newest configuration that the metadata has told. */
  configRevision: () => number;
}

type Done<T> = (result: T | ApiError) => void;

export class PartitionReads {
  readonly #from: ReadSource;
  /** Reads that wait until the leader's machine has the newest configuration. */
  #afterConfig: { revision: number; then: (ok: boolean) => void }[] = [];
  #group: Group | undefined;
  #closed = false;

  constructor(from: ReadSource) {
    this.#from = from;
  }

  attach(group: Group): void {
    this.#group = group;
  }

  close(): void {
    this.#closed = true;
  }

  /** `then(true)` when this replica has everything that was committed when called, and its leader the newest configuration that is
   * known here, at least that of `revision`. */
  barrier(then: (ok: boolean) => void, revision = 0): void {
    if (this.#group === undefined || this.#closed) {
      then(false);
      return;
    }
    this.#group.readBarrier((ok) => {
      const wanted = Math.max(revision, this.#from.configRevision());
      if (ok && this.#from.isLeading() && this.#from.machine.configRevision < wanted)
        this.#afterConfig.push({ revision: wanted, then });
      else then(ok && !this.#closed);
    });
  }

  /** Some wait for a configuration. */
  get isWaiting(): boolean {
    return this.#afterConfig.length > 0;
  }

  /** The machine may have a newer one. */
  configured(): void {
    const { configRevision } = this.#from.machine;
    const waiting = this.#afterConfig;
    this.#afterConfig = waiting.filter(({ revision }) => revision > configRevision);
    for (const { revision, then } of waiting) if (revision <= configRevision) then(true);
  }

  /** The machine of this replica will not get it, or is not asked any more. */
  giveUp(): void {
    const waiting = this.#afterConfig;
    this.#afterConfig = [];
    for (const { then } of waiting) then(false);
  }

  edges(patterns: readonly string[], done: Done<PartitionEdges>): void {
    this.barrier((ok) => {
      done(ok ? edgesOf(this.#from.machine.index, patterns, (seq) => this.#from.seqs.toStream(seq)) : apiError(10008));
    });
  }

  newest(pattern: string, count: number, done: Done<number[]>): void {
    this.barrier((ok) => {
      done(
        ok
          ? newestOf(this.#from.machine.index, pattern, count, (seq) => this.#from.seqs.toStream(seq))
          : apiError(10008),
      );
    });
  }

  info(want: InfoRequest, done: Done<StreamState>): void {
    this.barrier((ok) => {
      if (ok) this.#listSubjects(want, done);
      else done(apiError(10008));
    }, want.revision);
  }

  #listSubjects(want: InfoRequest, done: Done<StreamState>): void {
    const { subjects: page } = want;
    if (page === undefined) this.#listDeleted(want, {}, done);
    else
      pageOfSubjects(this.#from.clock, this.#from.machine.index, page, (subjects, subjects_total) =>
        this.#listDeleted(want, { subjects, subjects_total }, done),
      );
  }

  #listDeleted(want: InfoRequest, listed: Partial<StreamState>, done: Done<StreamState>): void {
    const finish = (more: Partial<StreamState>): void => {
      if (this.#closed) done(apiError(10008));
      else done({ ...this.#from.localState(), ...more });
    };
    const toStream = (seq: number): number => this.#from.seqs.toStream(seq);
    const { index } = this.#from.machine;
    if (!want.deletedDetails) finish(listed);
    else listDeleted(this.#from.clock, index, toStream, (deleted) => finish({ ...listed, deleted }));
  }

  get(request: GetRequest, done: Done<StoredMessage>): void {
    this.barrier((ok) => {
      if (ok) this.#getLocal(this.#find(request), done);
      else done(apiError(10008));
    });
  }

  #getLocal(local: number, done: Done<StoredMessage>): void {
    this.#from.readMessage(local, (message) => {
      if (message !== undefined) done({ ...message, seq: this.#from.seqs.toStream(local) });
      // There but unreadable: its entry is being repaired.
      else done(apiError(this.#from.machine.index.exists(local) ? 10008 : 10037));
    });
  }

  getBatch(request: BatchRequest, done: Done<MessageBatch>): void {
    this.barrier((ok) => {
      if (!ok) {
        done(apiError(10008));
        return;
      }
      const { index } = this.#from.machine;
      const source = { index, readMessage: this.#from.readMessage };
      const finish = (batch: MessageBatch | undefined): void => {
        for (const message of batch?.messages ?? []) message.seq = this.#from.seqs.toStream(message.seq);
        done(batch ?? apiError(10008));
      };
      if ('seqs' in request) {
        const locals = request.seqs.map((seq) => this.#from.seqs.toLocal(seq)).filter((local) => local > 0);
        batchOf(source, locals, request, finish);
        return;
      }
      const { seq, start_time_us } = request;
      const from =
        start_time_us === undefined ? this.#from.seqs.toLocalFrom(seq ?? 0) : index.seqAtOrAfter(start_time_us);
      batchFrom(this.#from.clock, source, from, request.filter, request, finish);
    });
  }

  getLast(request: LastRequest, done: Done<{ seqs: number[]; upTo: number; lastSeq: number } | 'too-many'>): void {
    this.barrier((ok) => {
      if (!ok) {
        done(apiError(10008));
        return;
      }
      const { index } = this.#from.machine;
      const { up_to_seq: seq, up_to_time_us: timeUs } = request;
      let upTo = index.lastSeq;
      if (timeUs !== undefined) upTo = index.seqAtOrAfter(timeUs) - 1;
      else if (seq !== undefined) upTo = this.#from.seqs.toLocalFrom(seq + 1) - 1;
      const edges = { upTo: this.#from.seqs.toStream(upTo), lastSeq: this.#from.seqs.toStream(index.lastSeq) };
      lastOfSubjects(this.#from.clock, index, request.filters, upTo, request.max, (locals) => {
        done(
          locals === undefined
            ? 'too-many'
            : { seqs: locals.map((local) => this.#from.seqs.toStream(local)), ...edges },
        );
      });
    });
  }

  /** Local seq of the message that was asked for; 0 when there is none. */
  #find(request: GetRequest): number {
    const { index } = this.#from.machine;
    if ('last_by_subj' in request) return index.lastMatching(compileFilter([request.last_by_subj]));
    if ('next_by_subj' in request) {
      const from =
        request.start_time_us !== undefined
          ? index.seqAtOrAfter(request.start_time_us)
          : this.#from.seqs.toLocalFrom(request.seq ?? 0);
      return index.next(from, compileFilter([request.next_by_subj]));
    }
    const local = 'seq' in request ? this.#from.seqs.toLocal(request.seq) : index.seqAtOrAfter(request.start_time_us);
    return local > 0 && index.exists(local) ? local : 0;
  }
}
