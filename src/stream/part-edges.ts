// What a home asks of a partition about its messages: where they end, which are the newest. Pure, over the machine's index; called by
// partition.ts behind a read barrier. `toStream`: from the seqs of the index to those of the stream, which are told; 0: none.
import { compileFilter } from './consumer-filter.ts';
import type { MessageIndex } from './message-index.ts';
import type { PartitionEdges } from './types.ts';

type Seqs = (local: number) => number;

export function edgesOf(index: MessageIndex, patterns: readonly string[], toStream: Seqs): PartitionEdges {
  const lastMatch = index.messages === 0 ? 0 : index.lastMatching(compileFilter(patterns));
  return { lastSeq: toStream(index.lastSeq), lastMatch: toStream(lastMatch) };
}

/** Of the messages that match, the last `count`; ascending. */
export function newestOf(index: MessageIndex, pattern: string, count: number, toStream: Seqs): number[] {
  const filter = compileFilter(pattern === '' ? [] : [pattern]);
  const seqs: number[] = [];
  let passed = index.count(0, filter) - count;
  for (let seq = index.next(0, filter); seq !== 0; seq = index.next(seq + 1, filter)) {
    if (--passed < 0) seqs.push(toStream(seq));
  }
  return seqs;
}
