// Each subject as a register that is written on a condition (compare-and-set) and read. Every write has a seq of its own, so the order is
// known and linearizability can be decided in linear time: no search. With `order` and `staleRead` (checkers.ts), which hold reads and
// writes to real time, what is left is that every answer to a condition was true. Called through CHECKERS.
import type { Event, Finding, History } from './history.ts';

const WRONG_LAST_SEQ = 10071;

/** All writes of one subject that anybody has seen, ascending, and from where on the others were sent. */
interface Writes {
  seqs: number[];
  /** The earliest moment at which any of the writes from that place on was sent. */
  sentFrom: number[];
}

function writesBySubject(history: History, sent: ReadonlyMap<string, Sent>): Map<string, Writes> {
  const sentAt = new Map<string, Map<number, number>>();
  const see = (subject: string, seq: number, at: number): void => {
    let known = sentAt.get(subject);
    if (known === undefined) sentAt.set(subject, (known = new Map()));
    known.set(seq, Math.min(at, known.get(seq) ?? Number.POSITIVE_INFINITY));
  };
  const firstSent = new Map<string, number>();
  for (const { content, at } of sent.values()) firstSent.set(content, Math.min(at, firstSent.get(content) ?? at));
  for (const event of history.events) {
    const attempt = event.kind === 'acked' ? sent.get(event.id) : undefined;
    if (event.kind === 'acked' && attempt !== undefined)
      see(attempt.subject, event.seq, firstSent.get(attempt.content)!);
  }
  for (const { messages } of history.replicas) {
    for (const { seq, subject, content } of messages) {
      see(subject, seq, firstSent.get(content) ?? Number.NEGATIVE_INFINITY);
    }
  }
  // What was read is a write at that moment at the latest; somebody may have sent it at any time before.
  for (const event of history.events) {
    if (event.kind === 'read' && event.seq > 0 && sentAt.get(event.subject)?.has(event.seq) !== true)
      see(event.subject, event.seq, Number.NEGATIVE_INFINITY);
  }
  const writes = new Map<string, Writes>();
  for (const [subject, known] of sentAt) {
    const seqs = [...known.keys()].sort((a, b) => a - b);
    const sentFrom = seqs.map((seq) => known.get(seq)!);
    for (let i = sentFrom.length - 2; i >= 0; i--) sentFrom[i] = Math.min(sentFrom[i], sentFrom[i + 1]);
    writes.set(subject, { seqs, sentFrom });
  }
  return writes;
}

type Sent = Extract<Event, { kind: 'sent' }>;

/** Place of the first seq above `seq`. */
function after(seqs: readonly number[], seq: number): number {
  let low = 0;
  let high = seqs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (seqs[middle] <= seq) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A conditional write that was acknowledged followed the seq that it named; one that was refused named a seq that was not the last. */
export function linearizable(history: History): Finding[] {
  const sent = new Map<string, Sent>();
  for (const event of history.events) if (event.kind === 'sent') sent.set(event.id, event);
  if (![...sent.values()].some((event) => event.expected !== undefined)) return [];
  const writes = writesBySubject(history, sent);
  const findings: Finding[] = [];
  for (const event of history.events) {
    if (event.kind !== 'acked' && event.kind !== 'refused') continue;
    const attempt = sent.get(event.id);
    const known = attempt && writes.get(attempt.subject);
    if (attempt?.expected === undefined || known === undefined) continue;
    const { subject, expected, at } = attempt;
    const next = after(known.seqs, expected);
    if (event.kind === 'acked') {
      if (event.seq <= expected || known.seqs[next] < event.seq) {
        findings.push({
          check: 'linearizable',
          text: `${subject}: ${event.id} was stored as ${event.seq} on the condition ${expected}, but ${known.seqs[next]} lay between`,
        });
      }
    } else if (event.error === WRONG_LAST_SEQ && history.removed.size === 0) {
      const existed = expected === 0 || known.seqs[next - 1] === expected;
      const changed = next < known.seqs.length && known.sentFrom[next] <= event.at;
      const wasSent = expected === 0 || known.sentFrom[next - 1] <= at;
      if (existed && wasSent && !changed && wasKnown(history, subject, expected, at, sent)) {
        findings.push({
          check: 'linearizable',
          text: `${subject}: ${event.id} was refused on the condition ${expected}, which was its last seq all the time`,
        });
      }
    }
  }
  return findings;
}

/** Somebody had been told of that write before. Runs only for what would be a finding otherwise. */
function wasKnown(
  history: History,
  subject: string,
  seq: number,
  before: number,
  sent: ReadonlyMap<string, Sent>,
): boolean {
  if (seq === 0) return true;
  return history.events.some((event) => {
    if (event.kind === 'acked')
      return event.seq === seq && event.at < before && sent.get(event.id)?.subject === subject;
    return event.kind === 'read' && event.subject === subject && event.seq === seq && event.until < before;
  });
}
