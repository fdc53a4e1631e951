import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Channel } from '../../../cluster/rpc/types.ts';
import { subjectMatches } from '../../../src/subjects/subject.ts';
import { Client, FakeCluster, message } from './fake-cluster.ts';

function one() {
  const cluster = new FakeCluster(1);
  const [node] = cluster.nodes;
  return { cluster, node, broker: node.broker };
}

function three() {
  const cluster = new FakeCluster(3);
  return { cluster, nodes: cluster.nodes };
}

const counts = (clients: Client[]) => clients.map((client) => client.got.length);
const sum = (numbers: number[]) => numbers.reduce((a, b) => a + b, 0);

describe('one node', () => {
  test('every plain subscription gets its copy, also two of one client', () => {
    const { node } = one();
    const a = new Client(node);
    a.sub('foo.*');
    a.sub('foo.>');
    a.sub('bar');
    expect(a.pub('foo.x', 'hi')).toBe(true);
    expect(a.got.sort()).toEqual(['foo.*: foo.x hi', 'foo.>: foo.x hi']);
    expect(a.pub('baz')).toBe(false);
  });

  test('changes of interest count at once, although routes are cached', () => {
    const { node } = one();
    const a = new Client(node);
    for (let i = 0; i < 5; i++) expect(a.pub('foo')).toBe(false);
    const first = a.sub('foo');
    for (let i = 0; i < 5; i++) expect(a.pub('foo')).toBe(true);
    const second = a.sub('*');
    a.pub('foo');
    expect(a.got.length).toBe(7);
    node.broker.unsubscribe(first);
    node.broker.unsubscribe(second);
    expect(a.pub('foo')).toBe(false);
    expect(node.broker.stats.subscriptions).toBe(0);
  });

  test('whoever asked gets it, whatever was kept: unique names, literals among them, wildcards that come and go', () => {
    const token = fc.constantFrom('a', 'b', 'c');
    const name = fc.array(token, { minLength: 1, maxLength: 4 }).map((tokens) => tokens.join('.'));
    const pattern = fc
      .array(fc.constantFrom('a', 'b', '*'), { minLength: 1, maxLength: 4 })
      .chain((tokens) => fc.boolean().map((tail) => (tail ? [...tokens, '>'] : tokens).join('.')));
    const step = fc.oneof(
      { weight: 2, arbitrary: pattern.map((subject) => ({ kind: 'sub' as const, subject })) },
      { weight: 1, arbitrary: fc.nat(20).map((which) => ({ kind: 'unsub' as const, which })) },
      {
        weight: 8,
        arbitrary: fc.tuple(name, fc.nat(3)).map(([below, n]) => ({ kind: 'pub' as const, subject: `${below}.${n}` })),
      },
      { weight: 4, arbitrary: name.map((subject) => ({ kind: 'pub' as const, subject })) },
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 60, maxLength: 120 }), (steps) => {
        const { node } = one();
        const client = new Client(node);
        const held: { subject: string; subscription: ReturnType<Client['sub']> }[] = [];
        for (const each of steps) {
          if (each.kind === 'sub') held.push({ subject: each.subject, subscription: client.sub(each.subject) });
          else if (each.kind === 'unsub') {
            const [gone] = held.splice(each.which % Math.max(1, held.length), 1);
            if (gone !== undefined) node.broker.unsubscribe(gone.subscription);
          } else {
            client.got.length = 0;
            client.pub(each.subject);
            const want = held.filter(({ subject }) => subjectMatches(subject, each.subject)).length;
            expect(client.got.length, each.subject).toBe(want);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  test('echo: false keeps a client from its own messages, and from being the responder', () => {
    const { node } = one();
    const quiet = new Client(node, '$G', false);
    quiet.sub('foo');
    quiet.sub('foo', 'q');
    expect(quiet.pub('foo')).toBe(false);
    expect(new Client(node).pub('foo')).toBe(true);
    expect(quiet.got.length).toBe(2);
  });

  test('a queue group gets a message once, fairly; groups are apart, patterns of a group are not', () => {
    const { node } = one();
    const members = [0, 1, 2, 3].map(() => new Client(node));
    for (const [i, member] of members.entries()) member.sub(i % 2 === 0 ? 'foo.*' : 'foo.a', 'q');
    const other = new Client(node);
    other.sub('foo.a', 'other');
    for (let i = 0; i < 400; i++) members[0].pub('foo.a');
    expect(sum(counts(members))).toBe(400);
    for (const count of counts(members)) expect(count).toBeGreaterThan(50);
    expect(other.got.length).toBe(400);
  });

  test('a member that will not hear itself leaves the message to another', () => {
    const { node } = one();
    const quiet = new Client(node, '$G', false);
    const loud = new Client(node);
    quiet.sub('foo', 'q');
    loud.sub('foo', 'q');
    for (let i = 0; i < 20; i++) quiet.pub('foo');
    expect(counts([quiet, loud])).toEqual([0, 20]);
  });

  test('accounts are apart', () => {
    const { node } = one();
    const a = new Client(node, 'A');
    const b = new Client(node, 'B');
    a.sub('>');
    expect(b.pub('foo')).toBe(false);
    expect(a.got).toEqual([]);
  });

  test('malformed subjects reach nobody', () => {
    const { node } = one();
    const a = new Client(node);
    a.sub('>');
    a.sub('a.*.b');
    for (const subject of ['', 'a..b', '.a', 'a.']) expect(a.pub(subject)).toBe(false);
    expect(a.got).toEqual([]);
  });

  test('sinks see what is published, count as responders, and are not asked by deliverTo', () => {
    const { node, broker } = one();
    const seen: string[] = [];
    const handle = broker.addSink('$G', 'orders.>', (m, account, origin) => {
      seen.push(`${account} ${m.subject} ${origin === a}`);
    });
    const a = new Client(node);
    expect(a.pub('orders.1')).toBe(true);
    expect(broker.deliverTo('$G', 'orders.1', message('orders.1'))).toBe(false);
    expect(broker.hasInterest('$G', 'orders.1')).toBe(false);
    a.sub('orders.1');
    expect(broker.hasInterest('$G', 'orders.1')).toBe(true);
    handle.remove();
    a.pub('orders.1');
    expect(seen).toEqual(['$G orders.1 true']);
  });

  test('deliverTo goes by the inbox and shows the subject of the message', () => {
    const { node, broker } = one();
    const a = new Client(node);
    a.sub('_INBOX.a.*');
    expect(broker.deliverTo('$G', '_INBOX.a.1', message('orders.1', 'x', '$JS.ACK.1'))).toBe(true);
    expect(broker.deliverTo('$G', '_INBOX.b.1', message('orders.1'))).toBe(false);
    expect(a.got).toEqual(['_INBOX.a.*: orders.1 x reply $JS.ACK.1']);
    expect(broker.subscriptionOf(a, '$G', '_INBOX.a.9')?.sid).toBe('1');
    expect(broker.subscriptionOf(new Client(node), '$G', '_INBOX.a.9')).toBeUndefined();
  });

  test('lost interest is told once per pattern at the end of the turn', () => {
    const { cluster, node, broker } = one();
    const lost: string[] = [];
    broker.onInterestLost((account, pattern) => lost.push(`${account} ${pattern}`));
    const a = new Client(node);
    a.sub('foo');
    a.sub('foo');
    a.sub('bar.*');
    a.leave();
    expect(lost).toEqual([]);
    cluster.settle();
    expect(lost).toEqual(['$G foo', '$G bar.*']);
  });

  test('a receiver may unsubscribe and publish while it is being served', () => {
    const { node } = one();
    const b = new Client(node);
    const a = new Client(node);
    const own = a.sub('foo');
    b.sub('foo');
    b.sub('bar', 'q');
    a.deliver = () => {
      node.broker.unsubscribe(own);
      a.pub('bar', 'nested');
    };
    a.pub('foo', '1');
    a.pub('foo', '2');
    expect(b.got.sort()).toEqual(['bar: bar nested', 'foo: foo 1', 'foo: foo 2']);
  });
});

describe('three nodes', () => {
  test('a message reaches subscribers of every node, crossing to each once', () => {
    const { cluster, nodes } = three();
    const clients = nodes.flatMap((node) => [new Client(node), new Client(node)]);
    for (const client of clients) client.sub('foo.*');
    cluster.settle();
    expect(clients[0].pub('foo.x', 'hi', 'r')).toBe(true);
    cluster.settle();
    expect(counts(clients)).toEqual([1, 1, 1, 1, 1, 1]);
    expect(clients[5].got).toEqual(['foo.*: foo.x hi reply r']);
    expect(nodes.map((node) => node.sentMessages)).toEqual([2, 0, 0]);
    expect(nodes.map((node) => node.broker.stats.routedOut)).toEqual([2, 0, 0]);
    expect(nodes.map((node) => node.broker.stats.routedIn)).toEqual([0, 1, 1]);
  });

  test('headers and large payloads cross unchanged', () => {
    const { cluster, nodes } = three();
    const there = new Client(nodes[1]);
    there.sub('big');
    cluster.settle();
    const payload = 'x'.repeat(300_000);
    nodes[0].broker.publish('$G', message('big', payload, '', 'NATS/1.0\r\nA: b\r\n\r\n'), undefined);
    nodes[0].broker.publish('$G', message('big', 'small', '', 'NATS/1.0\r\n\r\n'), undefined);
    cluster.settle();
    expect(there.got).toEqual([
      `big: big ${payload} hdr NATS/1.0\r\nA: b\r\n\r\n`.trim(),
      'big: big small hdr NATS/1.0'.trim(),
    ]);
  });

  test('no interest anywhere: nobody, and nothing leaves', () => {
    const { cluster, nodes } = three();
    expect(new Client(nodes[0]).pub('foo')).toBe(false);
    cluster.settle();
    expect(nodes[0].sentMessages).toBe(0);
  });

  test('a queue group has one winner in the cluster, a local one if there is one', () => {
    const { cluster, nodes } = three();
    const far = [new Client(nodes[1]), new Client(nodes[1]), new Client(nodes[1]), new Client(nodes[2])];
    for (const client of far) client.sub('foo', 'q');
    cluster.settle();
    const publisher = new Client(nodes[0]);
    for (let i = 0; i < 400; i++) expect(publisher.pub('foo')).toBe(true);
    cluster.settle();
    expect(sum(counts(far))).toBe(400);
    // By weight: each member gets about as much as any other.
    for (const count of counts(far)) expect(count).toBeGreaterThan(60);
    publisher.sub('foo', 'q');
    const sent = nodes[0].sentMessages;
    for (let i = 0; i < 20; i++) publisher.pub('foo');
    cluster.settle();
    expect(publisher.got.length).toBe(20);
    expect(nodes[0].sentMessages).toBe(sent);
  });

  test('plain subscribers and picks of several groups on one node share one record', () => {
    const { cluster, nodes } = three();
    const there = new Client(nodes[1]);
    there.sub('foo');
    there.sub('foo', 'q1');
    there.sub('foo', 'q2');
    const groupOnly = new Client(nodes[2]);
    groupOnly.sub('foo', 'q3');
    cluster.settle();
    new Client(nodes[0]).pub('foo', 'x');
    cluster.settle();
    expect(there.got.length).toBe(3);
    expect(groupOnly.got.length).toBe(1);
    expect(nodes[0].broker.stats.routedOut).toBe(2);
  });

  test('two patterns of one node are still one crossing', () => {
    const { cluster, nodes } = three();
    const there = new Client(nodes[1]);
    there.sub('foo.*');
    there.sub('foo.>');
    cluster.settle();
    new Client(nodes[0]).pub('foo.x');
    cluster.settle();
    expect(there.got.length).toBe(2);
    expect(nodes[0].broker.stats.routedOut).toBe(1);
  });

  test('only the first and the last subscriber of a pattern are news', () => {
    const { cluster, nodes } = three();
    const clients = [new Client(nodes[0]), new Client(nodes[0])];
    clients[0].sub('foo');
    for (const node of nodes) node.endTurn();
    expect(cluster.frames.length).toBe(2);
    cluster.settle();
    clients[1].sub('foo');
    clients[0].leave();
    for (const node of nodes) node.endTurn();
    expect(cluster.frames).toEqual([]);
    expect(nodes[2].broker.hasInterest('$G', 'foo')).toBe(true);
    clients[1].leave();
    cluster.settle();
    expect(nodes[2].broker.hasInterest('$G', 'foo')).toBe(false);
  });

  test('request and reply across nodes in one go: interest travels ahead of the request', () => {
    const { cluster, nodes } = three();
    const service = new Client(nodes[1]);
    service.sub('svc');
    service.deliver = (_subscription, m) => {
      service.pub(m.reply, 'pong');
    };
    cluster.settle();
    const asker = new Client(nodes[0]);
    asker.sub('_INBOX.a.*');
    asker.pub('svc', 'ping', '_INBOX.a.1');
    cluster.settle();
    expect(asker.got).toEqual(['_INBOX.a.*: _INBOX.a.1 pong']);
  });

  test('interest is at the links before a sink acts, in order with other requests', () => {
    const { cluster, nodes } = three();
    const asker = new Client(nodes[0]);
    let interestFirst = false;
    nodes[0].broker.addSink('$G', '$JS.API.>', () => {
      interestFirst = cluster.frames.some((frame) => frame.to === 2 && frame.channel === Channel.interest);
    });
    asker.sub('_INBOX.a.*');
    asker.pub('$JS.API.CONSUMER.MSG.NEXT.S.C', '', '_INBOX.a.1');
    expect(interestFirst).toBe(true);
  });

  test('deliverTo across nodes', () => {
    const { cluster, nodes } = three();
    const there = new Client(nodes[2]);
    there.sub('_INBOX.c.*');
    cluster.settle();
    expect(nodes[0].broker.deliverTo('$G', '_INBOX.c.7', message('orders.new', 'x', '$JS.ACK.s'))).toBe(true);
    expect(nodes[0].broker.hasInterest('$G', '_INBOX.c.8')).toBe(true);
    cluster.settle();
    expect(there.got).toEqual(['_INBOX.c.*: orders.new x reply $JS.ACK.s']);
  });

  test('sinks of other nodes do not see routed copies', () => {
    const { cluster, nodes } = three();
    let calls = 0;
    for (const node of nodes) node.broker.addSink('$G', 'foo', () => calls++);
    for (const node of nodes) new Client(node).sub('foo');
    cluster.settle();
    new Client(nodes[0]).pub('foo');
    cluster.settle();
    expect(calls).toBe(1);
  });

  test('a peer that is down has no interest, and is heard again when it is back', () => {
    const { cluster, nodes } = three();
    const lost: string[] = [];
    nodes[0].broker.onInterestLost((_account, pattern) => lost.push(pattern));
    const there = new Client(nodes[1]);
    there.sub('foo.*');
    there.sub('foo.a', 'q');
    cluster.settle();
    cluster.part(nodes[0], nodes[1]);
    cluster.settle();
    const publisher = new Client(nodes[0]);
    expect(publisher.pub('foo.a')).toBe(false);
    expect(lost.sort()).toEqual(['foo.*', 'foo.a']);
    there.sub('late');
    cluster.settle();
    cluster.join(nodes[0], nodes[1]);
    cluster.settle();
    expect(publisher.pub('foo.a')).toBe(true);
    expect(publisher.pub('late')).toBe(true);
    cluster.settle();
    expect(there.got.sort()).toEqual(['foo.*: foo.a', 'foo.a: foo.a', 'late: late']);
  });

  test('says how full the ways are that messages of clients take, and of nobody else', () => {
    const { cluster, nodes } = three();
    const { broker, fullness } = nodes[0];
    new Client(nodes[1]).sub('near');
    new Client(nodes[2]).sub('far', 'q');
    cluster.settle();
    fullness.set(nodes[1].id, 0.25).set(nodes[2].id, 0.5);
    const publisher = new Client(nodes[0]);
    broker.deliverTo('$G', 'near', { subject: 'near', reply: '', hdr: new Uint8Array(0), payload: new Uint8Array(0) });
    publisher.pub('nobody');
    expect(broker.congestion).toBe(0);
    publisher.pub('near');
    expect(broker.congestion).toBe(0.25);
    publisher.pub('far');
    publisher.pub('near');
    expect(broker.congestion).toBe(0.5);
  });

  test('interest that a link refused is told again, and what went meanwhile is forgotten', () => {
    const { cluster, nodes } = three();
    const here = new Client(nodes[0]);
    const gone = here.sub('gone');
    cluster.settle();
    nodes[0].refusing.add(Channel.interest);
    here.sub('new');
    nodes[0].broker.unsubscribe(gone);
    cluster.settle();
    expect(nodes[1].broker.hasInterest('$G', 'gone')).toBe(true);
    nodes[0].fireTimers();
    cluster.settle();
    nodes[0].refusing.clear();
    nodes[0].fireTimers();
    cluster.settle();
    for (const node of nodes.slice(1)) {
      expect(node.broker.hasInterest('$G', 'gone')).toBe(false);
      expect(node.broker.hasInterest('$G', 'new')).toBe(true);
    }
  });

  test('what a link refused when it came up is told again', () => {
    const { cluster, nodes } = three();
    const there = new Client(nodes[1]);
    there.sub('foo');
    cluster.settle();
    cluster.part(nodes[0], nodes[1]);
    nodes[1].refusing.add(Channel.interest);
    cluster.join(nodes[0], nodes[1]);
    cluster.settle();
    expect(nodes[0].broker.hasInterest('$G', 'foo')).toBe(false);
    nodes[1].refusing.clear();
    nodes[1].fireTimers();
    cluster.settle();
    expect(nodes[0].broker.hasInterest('$G', 'foo')).toBe(true);
  });

  test('much interest is told in pieces', () => {
    const { cluster, nodes } = three();
    const [node0] = nodes;
    const here = new Client(node0);
    for (let i = 0; i < 30_000; i++) here.sub(`some.longer.subject.${i}`);
    cluster.settle();
    cluster.part(nodes[0], nodes[2]);
    expect(nodes[2].broker.hasInterest('$G', 'some.longer.subject.29999')).toBe(false);
    cluster.join(nodes[0], nodes[2]);
    // Changes during the telling count.
    for (let i = 0; i < 10; i++) for (const node of nodes) node.endTurn();
    const late = here.sub('late');
    node0.broker.unsubscribe(here.subscriptions[29_999]);
    cluster.settle();
    expect(nodes[2].broker.hasInterest('$G', 'some.longer.subject.0')).toBe(true);
    expect(nodes[2].broker.hasInterest('$G', 'some.longer.subject.29998')).toBe(true);
    expect(nodes[2].broker.hasInterest('$G', 'some.longer.subject.29999')).toBe(false);
    expect(nodes[2].broker.hasInterest('$G', 'late')).toBe(true);
    node0.broker.unsubscribe(late);
    cluster.settle();
    expect(nodes[2].broker.hasInterest('$G', 'late')).toBe(false);
  });

  test('messages for which a link has no room are lost and counted; others are not', () => {
    const { cluster, nodes } = three();
    const there = new Client(nodes[1]);
    there.sub('foo');
    cluster.settle();
    nodes[0].refusing.add(Channel.route);
    const publisher = new Client(nodes[0]);
    for (let i = 0; i < 3; i++) publisher.pub('foo');
    cluster.settle();
    expect(nodes[0].broker.stats.routedLost).toBe(3);
    nodes[0].refusing.clear();
    publisher.pub('foo', 'later');
    cluster.settle();
    expect(there.got).toEqual(['foo: foo later']);
  });

  test('garbage from a peer is reported and changes nothing', () => {
    const { nodes } = three();
    nodes[0].handlers.get(Channel.route)!(2, Buffer.from([5, 0, 200, 1]));
    nodes[0].handlers.get(Channel.interest)!(2, Buffer.from([99]));
    expect(nodes[0].errors.length).toBe(2);
    expect(new Client(nodes[0]).pub('foo')).toBe(false);
  });
});
