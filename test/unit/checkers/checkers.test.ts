// The checker of the checkers: a sound history passes, and each kind of broken history is found by the check made for it.
import { expect, test } from 'vitest';
import { CHECKERS, checkAll } from '../../checkers/checkers.ts';
import type { Event, Finding, History } from '../../checkers/history.ts';

function sound(): History {
  const events: Event[] = [];
  for (let i = 1; i <= 4; i++) {
    const id = `a${i}`;
    events.push({ kind: 'sent', at: i * 10, client: 1, id, msgId: `m${i}`, subject: 's', content: `c${i}` });
    events.push({ kind: 'acked', at: i * 10 + 5, id, seq: i, duplicate: false });
    events.push({ kind: 'delivered', at: i * 10 + 6, consumer: 'work', seq: i, content: `c${i}`, deliveries: 1 });
    events.push({ kind: 'ack-confirmed', at: i * 10 + 7, consumer: 'work', seq: i });
  }
  events.push({ kind: 'sent', at: 60, client: 1, id: 'u', msgId: '', subject: 's', content: 'never' });
  events.push({ kind: 'refused', at: 61, id: 'u', error: 10071 });
  const messages = [1, 2, 3, 4].map((seq) => ({ seq, subject: 's', content: `c${seq}` }));
  const replica = (node: string) => ({ node, digest: 'd', applied: 9, lastSeq: 4, messages: [...messages] });
  return { events, replicas: [replica('n1'), replica('n2'), replica('n3')], removed: new Set(), drained: ['work'] };
}

const BROKEN: Record<Finding['check'], (history: History) => void> = {
  lost: (h) => void h.replicas[1].messages.splice(2, 1),
  phantom: (h) => void h.replicas[0].messages.push({ seq: 5, subject: 's', content: 'never' }),
  duplicate: (h) => void h.replicas[2].messages.push({ seq: 5, subject: 's', content: 'c1' }),
  order: (h) => {
    for (const event of h.events)
      if (event.kind === 'acked' && (event.id === 'a1' || event.id === 'a3')) event.seq = event.id === 'a1' ? 3 : 1;
  },
  'seq-reused': (h) =>
    void h.events.push({ kind: 'delivered', at: 99, consumer: 'other', seq: 2, content: 'c9', deliveries: 1 }),
  divergence: (h) => {
    h.replicas[2].digest = 'e';
  },
  'redelivered-after-ack': (h) =>
    void h.events.push({ kind: 'delivered', at: 99, consumer: 'work', seq: 2, content: 'c2', deliveries: 2 }),
  'compare-and-set': (h) => {
    // c3 was stored behind seq 2, but named seq 1.
    for (const event of h.events) if (event.kind === 'sent' && event.id === 'a3') event.expected = 1;
  },
  'came-back': (h) => {
    h.gone = new Set([2]);
  },
  'out-of-order': (h) => {
    h.ordered = ['work'];
    h.events.reverse();
  },
  'stale-read': (h) => void h.events.push({ kind: 'read', at: 36, until: 37, subject: 's', seq: 2 }),
  'never-delivered': (h) => {
    h.events = h.events.filter((event) => !(event.kind === 'delivered' && event.seq === 3));
  },
};

test('a sound history has no findings', () => {
  expect(checkAll(sound())).toEqual([]);
});

for (const [check, breakIt] of Object.entries(BROKEN)) {
  test(`finds: ${check}`, () => {
    const history = sound();
    breakIt(history);
    expect(checkAll(history).map((finding) => finding.check)).toContain(check);
  });
}

test('a removed message is not lost', () => {
  const history = sound();
  for (const replica of history.replicas) replica.messages.splice(1, 1);
  expect(CHECKERS.lost({ ...history, removed: new Set([2]) })).toEqual([]);
});

test('reads in turn, and reads beside a write, are not stale', () => {
  const history = sound();
  history.events.push({ kind: 'read', at: 36, until: 37, subject: 's', seq: 3 });
  history.events.push({ kind: 'read', at: 42, until: 47, subject: 's', seq: 3 });
  history.events.push({ kind: 'read', at: 43, until: 44, subject: 's', seq: 4 });
  expect(checkAll(history)).toEqual([]);
});

test('a read that goes back is stale', () => {
  const history = sound();
  history.events.push({ kind: 'read', at: 41, until: 42, subject: 's', seq: 4 });
  history.events.push({ kind: 'read', at: 43, until: 44, subject: 's', seq: 3 });
  expect(checkAll(history).map((finding) => finding.check)).toEqual(['stale-read']);
});

test('a message that only its ack removed was delivered', () => {
  const history = { ...sound(), removedByAcks: true, removed: new Set([1, 2, 3, 4]) };
  for (const replica of history.replicas) replica.messages.length = 0;
  expect(checkAll(history)).toEqual([]);
  history.events = history.events.filter((event) => event.kind !== 'delivered' || event.seq !== 3);
  expect(checkAll(history).map((finding) => finding.check)).toEqual(['never-delivered']);
});
