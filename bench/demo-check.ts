// What the demo saw, held against what was acknowledged: each line stored once, in order, delivered to a worker and to the ordered reader. Used by
// demo.ts. Pure.

/** A line that was acknowledged. */
export interface Acked {
  seq: number;
  hash: string;
  /** Its window: all of a window was acknowledged before the next one was sent. */
  window: number;
}

/** `acked`: of each publisher, in the order of its acknowledgements. `taken`: by workers. `read`: by the ordered reader, as it came. */
export function problemsOf(
  acked: readonly (readonly Acked[])[],
  taken: ReadonlyMap<number, { hash: string }>,
  read: readonly { seq: number; hash: string }[],
): string[] {
  const problems: string[] = [];
  const bySeq = new Map(read.map((message) => [message.seq, message.hash]));
  if (bySeq.size !== read.length) problems.push('the ordered reader saw a seq twice');
  for (let i = 1; i < read.length; i++)
    if (read[i].seq <= read[i - 1].seq) problems.push(`the reader went back at ${read[i].seq}`);
  const seqs = new Set<number>();
  for (const [p, lines] of acked.entries()) {
    // Order is promised between a publish and those sent after its ack: here, between windows.
    let window = 0;
    let windowSeqMax = 0;
    let earlierSeqMax = 0;
    for (const { seq, hash, window: own } of lines) {
      if (own !== window) {
        window = own;
        earlierSeqMax = windowSeqMax;
      }
      windowSeqMax = Math.max(windowSeqMax, seq);
      if (seqs.has(seq)) problems.push(`seq ${seq} was acknowledged twice`);
      seqs.add(seq);
      if (bySeq.get(seq) !== hash)
        problems.push(
          `publisher ${p}: seq ${seq} is ${bySeq.has(seq) ? 'another line' : 'missing'} for the ordered reader`,
        );
      if (taken.get(seq)?.hash !== hash) problems.push(`publisher ${p}: seq ${seq} was not delivered to a worker`);
      if (seq < earlierSeqMax)
        problems.push(`publisher ${p}: seq ${seq} was sent after ${earlierSeqMax} was acknowledged: out of order`);
    }
  }
  for (const seq of bySeq.keys()) if (!seqs.has(seq)) problems.push(`seq ${seq} is stored but nobody was told`);
  return problems;
}
