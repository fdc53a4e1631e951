// The promise, checked on a history (history.ts). Each checker is a pure function from a history to findings; an empty list means that
// nothing was found. Complexity is linear in the history but for sorting.
import type { Event, Finding, History } from './history.ts';
import { linearizable } from './register.ts';
import { noService } from './service.ts';

type Of<Kind extends Event['kind']> = Extract<Event, { kind: Kind }>;

const of = <Kind extends Event['kind']>(history: History, kind: Kind): Of<Kind>[] =>
  history.events.filter((event): event is Of<Kind> => event.kind === kind);

function attempts(history: History): Map<string, Of<'sent'>> {
  return new Map(of(history, 'sent').map((event) => [event.id, event]));
}

/** Every acknowledged message is on every replica, under its seq and with its content, unless it was removed on purpose. */
export function lost(history: History): Finding[] {
  const sent = attempts(history);
  const findings: Finding[] = [];
  for (const replica of history.replicas) {
    const stored = new Map(replica.messages.map((message) => [message.seq, message]));
    for (const ack of of(history, 'acked')) {
      if (history.removed.has(ack.seq)) continue;
      const attempt = sent.get(ack.id);
      const message = stored.get(ack.seq);
      if (message === undefined) {
        findings.push({ check: 'lost', text: `${replica.node}: acked seq ${ack.seq} (${ack.id}) is missing` });
      } else if (message.content !== attempt?.content && !ack.duplicate) {
        findings.push({
          check: 'lost',
          text: `${replica.node}: acked seq ${ack.seq} (${ack.id}) holds another message: ${message.content}`,
        });
      }
    }
  }
  return findings;
}

/** Nothing is stored that nobody sent, and nothing that was certainly refused. */
export function phantom(history: History): Finding[] {
  const contents = new Set(of(history, 'sent').map((event) => event.content));
  const sent = attempts(history);
  const refused = new Set(of(history, 'refused').map((event) => sent.get(event.id)?.content));
  // A retry of the same content may have been stored by another attempt.
  const maybeStored = new Set(
    [...of(history, 'acked'), ...of(history, 'unknown')].map((event) => sent.get(event.id)?.content),
  );
  const findings: Finding[] = [];
  for (const replica of history.replicas) {
    for (const message of replica.messages) {
      if (!contents.has(message.content)) {
        findings.push({
          check: 'phantom',
          text: `${replica.node}: seq ${message.seq} holds what nobody sent: ${message.content}`,
        });
      } else if (refused.has(message.content) && !maybeStored.has(message.content)) {
        findings.push({
          check: 'phantom',
          text: `${replica.node}: seq ${message.seq} holds what was refused: ${message.content}`,
        });
      }
    }
  }
  return findings;
}

/** One message id, or one attempt without an id, is stored at most once; retries are told the same seq. */
export function duplicate(history: History): Finding[] {
  const sent = attempts(history);
  const findings: Finding[] = [];
  const seqOfMsgId = new Map<string, number>();
  for (const ack of of(history, 'acked')) {
    const msgId = sent.get(ack.id)?.msgId ?? '';
    if (msgId === '') continue;
    const known = seqOfMsgId.get(msgId);
    if (known !== undefined && known !== ack.seq) {
      findings.push({
        check: 'duplicate',
        text: `message id ${msgId} was acknowledged as seq ${known} and as ${ack.seq}`,
      });
    }
    seqOfMsgId.set(msgId, ack.seq);
  }
  for (const replica of history.replicas) {
    const seqOf = new Map<string, number>();
    for (const message of replica.messages) {
      const known = seqOf.get(message.content);
      if (known !== undefined) {
        findings.push({
          check: 'duplicate',
          text: `${replica.node}: ${message.content} is stored as seq ${known} and as ${message.seq}`,
        });
      }
      seqOf.set(message.content, message.seq);
    }
  }
  return findings;
}

/** If a was acknowledged before b was sent, then a has the smaller seq (real time, over all clients). */
export function order(history: History): Finding[] {
  const sent = attempts(history);
  const findings: Finding[] = [];
  const acks = of(history, 'acked').filter((ack) => !ack.duplicate);
  const byAck = [...acks].sort((a, b) => a.at - b.at);
  const bySend = acks
    .map((ack) => ({ seq: ack.seq, id: ack.id, sentAt: sent.get(ack.id)?.at ?? 0 }))
    .sort((a, b) => a.sentAt - b.sentAt);
  let acked = 0;
  let highest = { seq: 0, id: '' };
  for (const later of bySend) {
    while (acked < byAck.length && byAck[acked].at < later.sentAt) {
      if (byAck[acked].seq > highest.seq) highest = byAck[acked];
      acked++;
    }
    if (later.seq < highest.seq) {
      findings.push({
        check: 'order',
        text: `${later.id} has seq ${later.seq} but was sent after ${highest.id} was acknowledged as ${highest.seq}`,
      });
    }
  }
  return findings;
}

/** What one client published, without waiting for answers, is stored in that order, whatever it was answered. What has an id may be sent again:
 * of that only acknowledged attempts count. */
export function sendOrder(history: History): Finding[] {
  const findings: Finding[] = [];
  if (history.inSendOrder !== true) return findings;
  const seqOf = new Map<string, number>();
  const acks = of(history, 'acked').filter(({ duplicate }) => !duplicate);
  const acked = new Map(acks.map(({ id, seq }) => [id, seq]));
  for (const { messages } of history.replicas) for (const { content, seq } of messages) seqOf.set(content, seq);
  const highest = new Map<number, { seq: number; id: string }>();
  for (const { client, id, msgId, content } of of(history, 'sent')) {
    const seq = acked.get(id) ?? (msgId === '' ? seqOf.get(content) : undefined);
    if (seq === undefined) continue;
    const before = highest.get(client);
    if (before === undefined || seq > before.seq) highest.set(client, { seq, id });
    else
      findings.push({
        check: 'send-order',
        text: `${id} has seq ${seq} but was sent after ${before.id}, ${before.seq}`,
      });
  }
  return findings;
}

/** One content per seq, for all time: acks, deliveries, replicas. */
export function seqReused(history: History): Finding[] {
  const sent = attempts(history);
  const contentOf = new Map<number, string>();
  const findings: Finding[] = [];
  const see = (seq: number, content: string, where: string): void => {
    const known = contentOf.get(seq);
    if (known === undefined) contentOf.set(seq, content);
    else if (known !== content)
      findings.push({ check: 'seq-reused', text: `seq ${seq}: ${known} before, ${content} in ${where}` });
  };
  for (const event of history.events) {
    if (event.kind === 'acked') see(event.seq, sent.get(event.id)?.content ?? '', `ack of ${event.id}`);
    if (event.kind === 'delivered') see(event.seq, event.content, `a delivery to ${event.consumer}`);
  }
  for (const replica of history.replicas)
    for (const message of replica.messages) see(message.seq, message.content, replica.node);
  return findings;
}

/** All healed replicas hold the same. */
export function divergence(history: History): Finding[] {
  const [first, ...others] = history.replicas;
  const findings: Finding[] = [];
  for (const other of others) {
    for (const key of ['digest', 'applied', 'lastSeq'] as const) {
      if (other[key] !== first[key]) {
        findings.push({
          check: 'divergence',
          text: `${key}: ${first.node} has ${first[key]}, ${other.node} has ${other[key]}`,
        });
      }
    }
    if (other.messages.length !== first.messages.length) {
      findings.push({
        check: 'divergence',
        text: `${first.node} holds ${first.messages.length} messages, ${other.node} ${other.messages.length}`,
      });
    }
  }
  return findings;
}

/** After a confirmed ack a message is never delivered to that consumer again. */
export function redelivered(history: History): Finding[] {
  const confirmedAt = new Map<string, number>();
  const inFlightMs = history.inFlightMs ?? 0;
  const findings: Finding[] = [];
  for (const event of history.events) {
    if (event.kind !== 'ack-confirmed' && event.kind !== 'delivered') continue;
    const key = `${event.consumer} ${event.seq}`;
    const known = confirmedAt.get(key);
    if (event.kind === 'ack-confirmed') confirmedAt.set(key, known ?? event.at);
    else if (known !== undefined && event.leftAt - known >= inFlightMs) {
      findings.push({
        check: 'redelivered-after-ack',
        text: `${event.consumer}: seq ${event.seq} left its leader ${Math.round(event.leftAt - known)} ms after its ack was confirmed`,
      });
    }
  }
  return findings;
}

/** Last seqs and ack floors never go back, whoever answers. */
export function wentBack(history: History): Finding[] {
  const findings: Finding[] = [];
  const positions = Map.groupBy(of(history, 'position'), (event) => event.of);
  for (const [name, asked] of positions) {
    const answered = [...asked].sort((a, b) => a.until - b.until);
    let known = 0;
    let next = 0;
    for (const position of asked.sort((a, b) => a.at - b.at)) {
      for (; next < answered.length && answered[next].until < position.at; next++)
        known = Math.max(known, answered[next].seq);
      if (position.seq < known)
        findings.push({ check: 'went-back', text: `${name} was ${known} and then ${position.seq}` });
    }
  }
  return findings;
}

/** A consumer that was drained has seen every message that is stored, and every acknowledged one that was removed by its ack. */
export function neverDelivered(history: History): Finding[] {
  const findings: Finding[] = [];
  for (const consumer of history.drained) {
    const seen = new Set(
      of(history, 'delivered')
        .filter((event) => event.consumer === consumer)
        .map((event) => event.seq),
    );
    for (const message of history.replicas[0]?.messages ?? []) {
      if (!seen.has(message.seq))
        findings.push({ check: 'never-delivered', text: `${consumer} never got seq ${message.seq}` });
    }
    if (history.removedByAcks !== true) continue;
    for (const { seq } of of(history, 'acked')) {
      if (!seen.has(seq)) findings.push({ check: 'never-delivered', text: `${consumer} never got seq ${seq}` });
    }
  }
  return findings;
}

/** What was removed and confirmed so is stored nowhere. */
export function cameBack(history: History): Finding[] {
  const findings: Finding[] = [];
  for (const replica of history.replicas) {
    for (const { seq } of replica.messages) {
      if (history.gone?.has(seq))
        findings.push({ check: 'came-back', text: `${replica.node}: seq ${seq} was removed and is there` });
    }
  }
  return findings;
}

/** An ordered reader gets messages in ascending order, each once. */
export function outOfOrder(history: History): Finding[] {
  const findings: Finding[] = [];
  for (const consumer of history.ordered ?? []) {
    let last = 0;
    for (const event of of(history, 'delivered')) {
      if (event.consumer !== consumer) continue;
      if (event.seq <= last)
        findings.push({ check: 'out-of-order', text: `${consumer}: seq ${event.seq} came after ${last}` });
      last = event.seq;
    }
  }
  return findings;
}

/** Reads of a subject's last message are linearizable: not older than what was acknowledged, or read, before they were asked; not
 * a message that was sent only afterwards. */
export function staleRead(history: History): Finding[] {
  const sent = attempts(history);
  const findings: Finding[] = [];
  const reads = of(history, 'read');
  const subjects = new Set(reads.map((read) => read.subject));
  for (const subject of subjects) {
    /** What was known of the subject, and since when. */
    const facts: { at: number; seq: number }[] = [];
    const sentAt = new Map<number, number>();
    for (const ack of of(history, 'acked')) {
      const attempt = sent.get(ack.id);
      if (attempt?.subject !== subject || ack.duplicate) continue;
      facts.push({ at: ack.at, seq: ack.seq });
      sentAt.set(ack.seq, attempt.at);
    }
    const asked = reads.filter((read) => read.subject === subject).sort((a, b) => a.at - b.at);
    for (const read of asked) facts.push({ at: read.until, seq: read.seq });
    facts.sort((a, b) => a.at - b.at);
    let known = 0;
    let next = 0;
    for (const read of asked) {
      for (; next < facts.length && facts[next].at < read.at; next++) known = Math.max(known, facts[next].seq);
      if (read.seq < known) {
        findings.push({ check: 'stale-read', text: `${subject}: read ${read.seq} although ${known} was known before` });
      } else if ((sentAt.get(read.seq) ?? 0) > read.until) {
        findings.push({ check: 'stale-read', text: `${subject}: read ${read.seq} before it was sent` });
      }
    }
  }
  return findings;
}

/** A conditional publish is stored only right behind the seq of its subject that it names. With `order` and `lost`, and nothing removed,
 * that makes each subject a linearizable register. */
export function compareAndSet(history: History): Finding[] {
  const expectedOf = new Map<string, number>();
  for (const event of of(history, 'sent'))
    if (event.expected !== undefined) expectedOf.set(event.content, event.expected);
  const findings: Finding[] = [];
  if (history.removed.size > 0) return findings;
  for (const replica of history.replicas) {
    const last = new Map<string, number>();
    for (const { seq, subject, content } of replica.messages) {
      const expected = expectedOf.get(content);
      const actual = last.get(subject) ?? 0;
      if (expected !== undefined && expected !== actual) {
        findings.push({
          check: 'compare-and-set',
          text: `${replica.node}: seq ${seq} of ${subject} expected ${expected}, but ${actual} was its last`,
        });
      }
      last.set(subject, seq);
    }
  }
  return findings;
}

export const CHECKERS = {
  lost,
  phantom,
  duplicate,
  order,
  sendOrder,
  seqReused,
  divergence,
  redelivered,
  neverDelivered,
  compareAndSet,
  cameBack,
  outOfOrder,
  staleRead,
  wentBack,
  linearizable,
  noService,
} as const;

export function checkAll(history: History): Finding[] {
  return Object.values(CHECKERS).flatMap((check) => check(history));
}
