// The checker of the checkers: a sound history passes, and each kind of broken history is found by the check made for it.
import { describe, expect, test } from 'vitest';
import { CHECKERS, checkAll } from '../../checkers/checkers.ts';
import { byPartition, type Event, type Finding, type History } from '../../checkers/history.ts';
import { outages } from '../../checkers/service.ts';

function sound(): History {
  const events: Event[] = [];
  for (let i = 1; i <= 4; i++) {
    const id = `a${i}`;
    events.push({ kind: 'sent', at: i * 10, client: 1, id, msgId: `m${i}`, subject: 's', content: `c${i}` });
    events.push({ kind: 'acked', at: i * 10 + 5, id, seq: i, duplicate: false });
    events.push({
      kind: 'delivered',
      at: i * 10 + 6,
      leftAt: i * 10 + 6,
      consumer: 'work',
      seq: i,
      content: `c${i}`,
      deliveries: 1,
    });
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
  'send-order': (h) => {
    // a2 was sent before a1 was answered, and overtook it.
    h.inSendOrder = true;
    for (const event of h.events) {
      if (event.kind === 'acked' && event.id === 'a1') Object.assign(event, { at: 26, seq: 2 });
      if (event.kind === 'acked' && event.id === 'a2') event.seq = 1;
    }
  },
  'seq-reused': (h) =>
    void h.events.push({
      kind: 'delivered',
      at: 99,
      leftAt: 99,
      consumer: 'other',
      seq: 2,
      content: 'c9',
      deliveries: 1,
    }),
  divergence: (h) => {
    h.replicas[2].digest = 'e';
  },
  'redelivered-after-ack': (h) =>
    void h.events.push({
      kind: 'delivered',
      at: 99,
      leftAt: 99,
      consumer: 'work',
      seq: 2,
      content: 'c2',
      deliveries: 2,
    }),
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
  'went-back': (h) => {
    h.events.push({ kind: 'position', at: 70, until: 71, of: 'floor', seq: 4 });
    h.events.push({ kind: 'position', at: 72, until: 73, of: 'floor', seq: 3 });
  },
  linearizable: (h) => {
    // c4 was stored as 4 although it named 2, and 3 lay between.
    for (const event of h.events) if (event.kind === 'sent' && event.id === 'a4') event.expected = 2;
  },
  'no-service': (h) => {
    h.faults = [{ name: 'kill', from: 25, until: 40, silentMsMax: 9 }];
  },
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

test('each partition has its own order, and a message is lost in its partition', () => {
  const swapped = sound();
  for (const event of swapped.events) if (event.kind === 'acked' && event.seq < 3) event.seq = 3 - event.seq;
  const checks = (history: History, check: 'order' | 'lost', partitions: number): number[] =>
    byPartition(history, partitions).map((part) => CHECKERS[check](part).length);
  expect(checks(swapped, 'order', 1)).toEqual([1]);
  expect(checks(swapped, 'order', 2)).toEqual([0, 0]);
  const wrong = sound();
  BROKEN.order(wrong);
  expect(checks(wrong, 'order', 2)).toEqual([0, 1]);
  const lost = sound();
  BROKEN.lost(lost);
  expect(checks(lost, 'lost', 2)).toEqual([0, 1]);
});

test('what was stored without an acknowledgement has its place in the order as well', () => {
  const history = sound();
  history.events.push({ kind: 'sent', at: 62, client: 1, id: 'v', msgId: '', subject: 's', content: 'v' });
  history.events.push({ kind: 'sent', at: 63, client: 1, id: 'w', msgId: '', subject: 's', content: 'w' });
  history.events.push({ kind: 'unknown', at: 64, id: 'w' });
  const store = (...contents: string[]): History => ({
    ...history,
    inSendOrder: true,
    replicas: history.replicas.map((replica) => {
      const added = contents.map((content, i) => ({ seq: 5 + i, subject: 's', content }));
      return { ...replica, messages: [...replica.messages, ...added] };
    }),
  });
  expect(CHECKERS.sendOrder(store('v', 'w'))).toEqual([]);
  expect(CHECKERS.sendOrder(store('w'))).toEqual([]);
  expect(CHECKERS.sendOrder(store('w', 'v'))).toHaveLength(1);
});

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

test('a copy in flight at a confirmation is allowed for as long as it says', () => {
  const history = { ...sound(), inFlightMs: 10 };
  history.events.push({
    kind: 'delivered',
    at: 36,
    leftAt: 36,
    consumer: 'work',
    seq: 2,
    content: 'c2',
    deliveries: 2,
  });
  expect(checkAll(history)).toEqual([]);
  history.events.push({
    kind: 'delivered',
    at: 37,
    leftAt: 37,
    consumer: 'work',
    seq: 2,
    content: 'c2',
    deliveries: 3,
  });
  expect(checkAll(history).map((finding) => finding.check)).toEqual(['redelivered-after-ack']);
});

test('positions asked for at the same time may be answered in any order', () => {
  const history = sound();
  history.events.push({ kind: 'position', at: 70, until: 75, of: 'floor', seq: 4 });
  history.events.push({ kind: 'position', at: 72, until: 74, of: 'floor', seq: 3 });
  history.events.push({ kind: 'position', at: 76, until: 77, of: 'other', seq: 1 });
  expect(checkAll(history)).toEqual([]);
});

describe('conditional writes', () => {
  const write = (
    h: History,
    at: number,
    id: string,
    expected: number,
    answer: 'unknown' | { error: number } | number,
  ) => {
    h.events.push({ kind: 'sent', at, client: 2, id, msgId: '', subject: 's', content: id, expected });
    if (answer === 'unknown') h.events.push({ kind: 'unknown', at: at + 5, id });
    else if (typeof answer === 'number')
      h.events.push({ kind: 'acked', at: at + 5, id, seq: answer, duplicate: false });
    else h.events.push({ kind: 'refused', at: at + 5, id, error: answer.error });
  };
  const store = (h: History, seq: number, content: string) => {
    for (const replica of h.replicas) {
      replica.messages.push({ seq, subject: 's', content });
      replica.lastSeq = seq;
    }
    h.drained = [];
  };
  const kinds = (h: History) => checkAll(h).map((finding) => finding.check);

  test('one after the other, and a refusal that is true', () => {
    const h = sound();
    write(h, 70, 'x', 4, 5);
    store(h, 5, 'x');
    write(h, 80, 'y', 4, { error: 10071 });
    expect(kinds(h)).toEqual([]);
  });

  test('two winners for one seq', () => {
    const h = sound();
    write(h, 70, 'x', 4, 5);
    write(h, 70, 'y', 4, 6);
    store(h, 5, 'x');
    store(h, 6, 'y');
    expect(kinds(h)).toContain('linearizable');
  });

  test('a winner over a write that only a reader saw', () => {
    const h = sound();
    h.replicas = [];
    h.drained = [];
    h.events.push({ kind: 'read', at: 70, until: 71, subject: 's', seq: 5 });
    write(h, 72, 'y', 4, 6);
    expect(kinds(h)).toEqual(['linearizable']);
  });

  test('a refusal although the condition held', () => {
    const h = sound();
    write(h, 70, 'x', 4, { error: 10071 });
    expect(kinds(h)).toEqual(['linearizable']);
  });

  test('a refusal may be due to a write whose outcome was never told', () => {
    const h = sound();
    write(h, 70, 'x', 4, 'unknown');
    store(h, 5, 'x');
    write(h, 72, 'y', 4, { error: 10071 });
    expect(kinds(h)).toEqual([]);
  });
});

test('the longest time without service is told for each fault', () => {
  const fault = (name: string, from: number, until: number) => ({ name, from, until, silentMsMax: 20 });
  const found = outages(sound().events, [fault('a', 0, 21), fault('b', 21, 60), fault('c', 60, 60)]);
  expect(found.map(({ longestMs, at }) => [longestMs, at])).toEqual([
    [15, 0],
    [15, 45],
    [0, 60],
  ]);
});
