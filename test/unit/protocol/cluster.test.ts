// Three nodes joined by real links: what clients of different nodes see of each other.
import { connect } from '@nats-io/transport-node';
import { expect, test } from 'vitest';
import { QUIET, RawClient, startCluster } from './front-world.ts';

const until = async (so: () => boolean) => {
  while (!so()) await new Promise((next) => setTimeout(next, 2));
};

test('request and reply, queue groups and no responders across nodes', async () => {
  const nodes = await startCluster(3);
  const [a, b, c] = await Promise.all(nodes.map((node) => connect({ servers: `127.0.0.1:${node.port}` })));
  await expect(a.request('svc', '', { timeout: 5_000 })).rejects.toThrow(/no responders/i);
  const served = [0, 0, 0];
  for (const [i, nc] of [b, b, c].entries()) {
    nc.subscribe('svc', {
      queue: 'workers',
      callback: (_error, m) => {
        served[i]++;
        m.respond(m.data);
      },
    });
  }
  await Promise.all([b.flush(), c.flush()]);
  await until(() => nodes[0].broker.hasInterest('$G', 'svc'));
  const answers = await Promise.all(
    Array.from({ length: 300 }, (_, i) => a.request('svc', `q${i}`, { timeout: 10_000 })),
  );
  expect(answers.map((m) => m.string())).toEqual(Array.from({ length: 300 }, (_, i) => `q${i}`));
  expect(served[0] + served[1] + served[2]).toBe(300);
  for (const count of served) expect(count).toBeGreaterThan(40);
  await Promise.all([a, b, c].map((nc) => nc.close()));
  await until(() => !nodes[0].broker.hasInterest('$G', 'svc'));
});

test('a flood crosses once per node, whole and in order, to every subscriber', async () => {
  const nodes = await startCluster(3);
  const subscribers = await Promise.all(
    nodes.flatMap(({ port }) => [port, port]).map((port) => RawClient.open(port, `${QUIET}SUB flood 1\r\n`)),
  );
  await until(() => nodes.every((node) => node.broker.hasInterest('$G', 'flood')));
  const publisher = await RawClient.open(nodes[0].port, QUIET);
  const total = 20_000;
  let text = '';
  for (let i = 0; i < total; i++) text += `PUB flood 6\r\n${String(i).padStart(6, '0')}\r\n`;
  for (const subscriber of subscribers) subscriber.take();
  await publisher.say(text);
  const expected = text.replaceAll('PUB flood', 'MSG flood 1');
  for (const subscriber of subscribers) {
    await subscriber.until((all) => all.length >= expected.length);
    expect(subscriber.take() === expected).toBe(true);
  }
  expect(nodes[0].broker.stats.routedOut).toBe(2 * total);
  expect(nodes.map((node) => node.broker.stats.routedIn)).toEqual([0, total, total]);
  expect(nodes[0].broker.stats.routedLost).toBe(0);
});

test('a node that leaves takes its interest along; its clients stay', async () => {
  const nodes = await startCluster(2);
  const subscriber = await RawClient.open(nodes[1].port, `${QUIET}SUB a.* 1\r\n`);
  await until(() => nodes[0].broker.hasInterest('$G', 'a.b'));
  await new Promise<void>((done) => nodes[1].links.close(done));
  await until(() => !nodes[0].broker.hasInterest('$G', 'a.b'));
  expect(subscriber.closed).toBe(false);
});

test('whoever floods a link that cannot follow is held up, other clients are not', async () => {
  const [near, far] = await startCluster(2);
  await RawClient.open(far.port, `${QUIET}SUB flood 1\r\n`);
  await until(() => near.broker.hasInterest('$G', 'flood'));
  const [publisher, other] = await Promise.all([RawClient.open(near.port, QUIET), RawClient.open(near.port, QUIET)]);
  near.links.fullness = () => 0.1;
  await publisher.say('PUB flood 1\r\nx\r\n');
  expect(near.front.stats.stalledClients).toBe(0);
  near.links.fullness = () => 0.5;
  await publisher.say('PUB flood 1\r\nx\r\n');
  expect(near.front.stats.stalledClients).toBeGreaterThan(0);
  const held = near.front.stats.stalledClients;
  await other.say('PUB nobody 1\r\nx\r\n');
  expect(near.front.stats.stalledClients).toBe(held);
});
