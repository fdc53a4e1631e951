// Several stored messages at once, and the last message of several subjects as the stream stood at some point (ADR-31): what direct get
// asks of one partition. Called by partition.ts behind its read barrier; local seqs throughout. Reads one message at a time, so a
// batch holds no more memory than its answer.
import type { Clock } from '../kit/env.ts';
import { compileFilter } from './consumer-filter.ts';
import { SeqSet } from './consumer-seq-set.ts';
import { type Selection, UndeliveredCount } from './delivery-count.ts';
import type { MessageIndex } from './message-index.ts';
import type { MessageBatch, StoredMessage } from './types.ts';

const SUBJECTS_PER_SLICE = 30_000;
const NOBODY = new SeqSet();

export interface BatchSource {
  readonly index: MessageIndex;
  /** Undefined: removed, or unreadable for now (then it still exists). */
  readMessage(seq: number, done: (message: StoredMessage | undefined) => void): void;
}

/** Messages from local seq `from` on that match; undefined: one of them cannot be read now. */
export function batchFrom(
  clock: Clock,
  source: BatchSource,
  from: number,
  filter: string,
  limits: { count: number; bytes: number },
  done: (batch: MessageBatch | undefined) => void,
): void {
  const { index } = source;
  const compiled = compileFilter(filter === '' ? [] : [filter]);
  const next = (seq: number): number => index.next(seq, compiled);
  const selection: Selection = {
    filter: compiled,
    lastsEnd: 0,
    nextAfter: (cursor) => next(cursor + 1),
    admits: (_seq, subject) => compiled.matches(subject),
  };
  const go = (): void => {
    if (!count.isKnown(from - 1)) return;
    const pending = count.get(from - 1);
    collect(source, next, from, limits, (messages, more) => done(messages && { messages, more, pending }));
  };
  // What is removed while many are counted may be in the number.
  const count = new UndeliveredCount(selection, index, clock, NOBODY, go);
  go();
}

/** Those of `seqs` (ascending) that still exist. */
export function batchOf(
  source: BatchSource,
  seqs: readonly number[],
  limits: { count: number; bytes: number },
  done: (batch: MessageBatch | undefined) => void,
): void {
  let at = 0;
  const next = (from: number): number => {
    while (at < seqs.length && (seqs[at] < from || !source.index.exists(seqs[at]))) at++;
    return at < seqs.length ? seqs[at] : 0;
  };
  collect(source, next, 0, limits, (messages, more) => done(messages && { messages, more, pending: 0 }));
}

/** The last message of each matching subject among the messages up to `upTo`, ascending; undefined: more than `max`. Of many subjects some at a time
 * are looked at, so that others have their turn. */
export function lastOfSubjects(
  clock: Clock,
  index: MessageIndex,
  filters: readonly string[],
  upTo: number,
  max: number,
  done: (seqs: number[] | undefined) => void,
): void {
  const wanted = [...new Set(filters)].map((filter) => compileFilter([filter]));
  const seqs = new Set<number>();
  const take = (id: number): void => {
    if (seqs.size > max) return;
    const seq = index.lastOfSubjectUpTo(id, upTo);
    if (seq > 0) seqs.add(seq);
  };
  const slice = (first: number, from: number): void => {
    let at = from;
    for (let i = first; i < wanted.length && seqs.size <= max; i++) {
      const next = index.someSubjects(at, wanted[i], SUBJECTS_PER_SLICE, take);
      at = 0;
      if (next === 0) continue;
      clock.after(0, () => slice(i, next));
      return;
    }
    done(seqs.size > max ? undefined : [...seqs].sort((a, b) => a - b));
  };
  slice(0, 0);
}

/** One after the other, without recursion for what is in memory. */
function collect(
  source: BatchSource,
  next: (from: number) => number,
  from: number,
  limits: { count: number; bytes: number },
  done: (messages: StoredMessage[] | undefined, more: boolean) => void,
): void {
  const messages: StoredMessage[] = [];
  let bytes = 0;
  let at = from;
  /** False: goes on by itself when the message has been read. */
  const step = (seq: number): boolean | 'failed' => {
    let isRead = false;
    let failed = false;
    let waits = false;
    source.readMessage(seq, (message) => {
      isRead = true;
      if (message !== undefined) {
        messages.push({ ...message, seq });
        bytes += message.subject.length + message.hdr.length + message.payload.length;
      } else failed = source.index.exists(seq);
      if (!waits) return;
      if (failed) done(undefined, false);
      else run();
    });
    waits = !isRead;
    return failed ? 'failed' : isRead;
  };
  const run = (): void => {
    for (;;) {
      const seq = next(at);
      const isFull = messages.length >= limits.count || bytes >= limits.bytes;
      if (seq === 0 || isFull) {
        done(messages, seq !== 0);
        return;
      }
      at = seq + 1;
      const read = step(seq);
      if (read === false) return;
      if (read === 'failed') {
        done(undefined, false);
        return;
      }
    }
  };
  run();
}
