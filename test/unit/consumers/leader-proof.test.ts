// A leader hands out on fresh proof that it leads, and asks for that only when there is something to hand out.
import { expect, test } from 'vitest';
import { FakePartition } from './fake-partition.ts';

function withConsumer(config: object = {}): FakePartition {
  const p = new FakePartition();
  p.create(config);
  return p;
}

test('without proof nothing leaves; one question serves all who wait, and what was asked for goes out with the answer', () => {
  const p = withConsumer();
  p.create({ durable_name: 'D' });
  p.create({ durable_name: 'P', deliver_subject: 'push' });
  p.provenUntilMs = p.scheduler.nowMs;
  p.proofMs = 30;
  p.store('a', '1', '2');
  p.pull('2').pull('1', 'other', 'D').run(20);
  expect(p.received).toEqual([]);
  expect(p.proofsAsked).toBe(1);
  p.run(20);
  expect(p.brief()).toEqual(['1', '2']);
  expect(p.brief('other')).toEqual(['1']);
  expect(p.brief('push')).toEqual(['1', '2']);
  expect(p.proofsAsked).toBe(1);
});

test('an answer that came too late to prove anything is followed by another question', () => {
  const p = withConsumer();
  p.provenUntilMs = p.scheduler.nowMs;
  p.proofMs = 10;
  p.proofLastsMs = 0;
  p.store('a', '1');
  p.pull('1').run(55);
  expect(p.take()).toEqual([]);
  expect(p.proofsAsked).toBeGreaterThan(3);
  p.proofLastsMs = 100;
  p.run(20);
  expect(p.brief()).toEqual(['1']);
});

test('what was acknowledged while the leader waited for its proof is not handed out', () => {
  const p = withConsumer({ ack_wait: 1e9 });
  p.store('a', '1', '2');
  const [one] = p.fetch();
  p.provenUntilMs = p.scheduler.nowMs;
  p.proofMs = 500;
  p.run(1100);
  p.pull('5').run(10);
  p.ack(one);
  p.run(600);
  expect(p.brief()).toEqual(['2']);
});

test('nobody is asked while there is nothing to hand out: idle consumers cost nothing', () => {
  const p = withConsumer();
  p.provenUntilMs = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < 10; i++) p.pull({ batch: 1, expires: 5e9 }, `in${i}`);
  p.create({ durable_name: 'P', deliver_subject: 'push', idle_heartbeat: 1e9 });
  p.pull({ batch: 1, no_wait: true }).run(60_000);
  expect(p.proofsAsked).toBe(0);
  expect(p.brief()).toEqual(['404 No Messages']);
});
