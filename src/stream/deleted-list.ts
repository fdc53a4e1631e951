// The seqs of a stream that are gone, for stream info. There may be millions of messages, so they are looked at in slices of some milliseconds, between
// which others have their turn. What is removed meanwhile behind the place that was reached is not in the list; nothing is in it that is
// there, or that is before the first message by then. Used by partition.ts.
import type { Clock } from '../kit/env.ts';
import type { MessageIndex } from './message-index.ts';

const SEQS_PER_SLICE = 100_000;

/** `toStream`: seqs of this partition as those of the stream, which ascend too. */
export function listDeleted(
  clock: Clock,
  index: MessageIndex,
  toStream: (local: number) => number,
  done: (gone: number[]) => void,
): void {
  const gone: number[] = [];
  const take = (local: number): void => {
    gone.push(toStream(local));
  };
  const slice = (from: number): void => {
    const next = index.someDeleted(from, SEQS_PER_SLICE, take);
    if (next > 0) {
      clock.after(0, () => slice(next));
      return;
    }
    const first = toStream(index.firstSeq);
    done(gone.length > 0 && gone[0] < first ? gone.filter((seq) => seq > first) : gone);
  };
  slice(0);
}
