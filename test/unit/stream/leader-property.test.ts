import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  BATCH_HEADER_BYTES,
  BatchBuilder,
  CommandType,
  commandBody,
  commandEnd,
  decodeConfig,
  decodeDelete,
  decodeExpire,
  decodePurge,
  ENTRY_WORK,
  HAS_ID,
  PublishView,
  ROLLUP_ALL,
  ROLLUP_SUBJECT,
  readBatchHeader,
  readPublish,
  viewOf,
} from '../../../src/stream/batch-codec.ts';
import { isApiError } from '../../../src/stream/errors.ts';
import { type Outcome, streamConfig, World } from './fake-world.ts';
import { Model } from './model.ts';

// Whatever the leader answers must be true where it stands in the log: the log is replayed into a naive model, and every
// publish in it is checked against the state before it, every refusal against the states that existed while it was asked.

const SUBJECTS = ['k.a', 'k.b', 'j'];

interface Publish {
  kind: 'publish';
  subject: string;
  id: string;
  /** Relative to what the client last heard: 0 none, 1 right by its knowledge, 2 wrong. */
  expectSubject: number;
  of: string;
  expectLast: number;
  expectId: string;
  rollup: '' | 'sub' | 'all';
  foreign?: boolean;
}

const PLAIN: Publish = {
  kind: 'publish',
  subject: '',
  id: '',
  expectSubject: 0,
  of: '',
  expectLast: 0,
  expectId: '',
  rollup: '',
};

type Action =
  | Publish
  | { kind: 'purge'; filter: string }
  | { kind: 'delete'; back: number }
  | { kind: 'limit'; max_msgs: number }
  | { kind: 'turn' }
  | { kind: 'commit'; count: number }
  | { kind: 'advance'; ms: number }
  | { kind: 'depose'; lose: boolean; foreign: string }
  | { kind: 'pause'; paused: boolean }
  | { kind: 'barriers' };

const publish: fc.Arbitrary<Publish> = fc.record({
  kind: fc.constant('publish' as const),
  subject: fc.constantFrom(...SUBJECTS),
  id: fc.constantFrom('', '', '', 'x', 'y', 'z'),
  expectSubject: fc.constantFrom(0, 0, 1, 1, 1, 2),
  of: fc.constantFrom('', '', '', 'j', 'k.*'),
  expectLast: fc.constantFrom(0, 0, 0, 0, 1),
  expectId: fc.constantFrom('', '', '', '', 'x'),
  rollup: fc.constantFrom('', '', '', '', '', 'sub', 'all') as fc.Arbitrary<'' | 'sub' | 'all'>,
});

const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 20, arbitrary: publish },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('purge' as const), filter: fc.constantFrom('', 'k.a', 'k.*') }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('delete' as const), back: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('limit' as const), max_msgs: fc.constantFrom(-1, 2, 5) }) },
  { weight: 8, arbitrary: fc.constant({ kind: 'turn' as const }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('commit' as const), count: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.constantFrom(1, 400, 1200) }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('depose' as const),
      lose: fc.boolean(),
      foreign: fc.constantFrom('', 'k.a', 'j'),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('pause' as const), paused: fc.boolean() }) },
  { weight: 4, arbitrary: fc.constant({ kind: 'barriers' as const }) },
);

interface Asked {
  publish: Publish;
  expectedSubject: number;
  expectedLast: number;
  askedAt: number;
  answeredAt: number;
  outcome: Outcome | undefined;
}

/** State before a command of the log. */
interface Moment {
  index: number;
  last: number;
  lastId: string;
  lastOf: Map<string, number>;
}

function run(actions: Action[], discard: 'old' | 'new', batches: number): void {
  const config = streamConfig({ max_age: 2_000_000_000, duplicate_window: 1_000_000_000, max_msgs: 6, discard });
  const world = new World(config, {}, batches);
  const { group, clock, partition } = world;
  group.holdBarriers = true;
  group.lead();
  const asked = new Map<number, Asked>();
  let revision = 10;
  let token = 0;
  let unanswered = 0;
  const known = (): Map<string, number> => momentOf(partition.machine).lastOf;
  const sink = {
    stored: (t: number, seq: number, duplicate: boolean) => settle(t, { seq, duplicate }),
    refused: (t: number, error: Outcome) => settle(t, error),
    returned: (t: number) => settle(t, 'returned'),
  };
  function settle(t: number, outcome: Outcome): void {
    const item = asked.get(t)!;
    expect(item.outcome).toBeUndefined();
    item.outcome = outcome;
    item.answeredAt = group.applied;
  }
  /** Another leader stores a message meanwhile. */
  function follow(subject: string): void {
    token++;
    const plain: Publish = { ...PLAIN, subject, foreign: true };
    const outcome = { code: 503, err_code: 10008, description: 'of another client' };
    asked.set(token, { publish: plain, expectedSubject: 0, expectedLast: 0, askedAt: 0, answeredAt: 0, outcome });
    const builder = new BatchBuilder();
    builder.begin(partition.machine.lastSeq + 1, partition.machine.stampUs, ENTRY_WORK);
    builder.publish(subject, new Uint8Array(0), new TextEncoder().encode(String(token)), 0, 0, 0, 0);
    group.follow(builder.finish());
  }
  const perform = (each: Action): void => {
    switch (each.kind) {
      case 'publish': {
        token++;
        const of = each.of === '' ? each.subject : each.of;
        const knowledge = Math.max(0, ...[...known()].filter(([s]) => s === of || of === 'k.*').map(([, seq]) => seq));
        const expectedSubject = each.expectSubject === 1 ? knowledge : knowledge + 1;
        const expectedLast = partition.machine.lastSeq;
        const lines: string[] = [];
        if (each.id !== '') lines.push(`Nats-Msg-Id: ${each.id}`);
        if (each.expectSubject > 0) {
          lines.push(`Nats-Expected-Last-Subject-Sequence: ${expectedSubject}`);
          if (each.of !== '') lines.push(`Nats-Expected-Last-Subject-Sequence-Subject: ${each.of}`);
        }
        if (each.expectLast > 0) lines.push(`Nats-Expected-Last-Sequence: ${expectedLast}`);
        if (each.expectId !== '') lines.push(`Nats-Expected-Last-Msg-Id: ${each.expectId}`);
        if (each.rollup !== '') lines.push(`Nats-Rollup: ${each.rollup}`);
        const hdr = new TextEncoder().encode(lines.length === 0 ? '' : `NATS/1.0\r\n${lines.join('\r\n')}\r\n\r\n`);
        const item = {
          publish: each,
          expectedSubject,
          expectedLast,
          askedAt: group.applied,
          answeredAt: 0,
          outcome: undefined,
        };
        asked.set(token, item);
        partition.publish(each.subject, hdr, new TextEncoder().encode(String(token)), sink, token, group.term);
        return;
      }
      case 'purge':
        unanswered++;
        partition.purge({ filter: each.filter }, () => unanswered--);
        return;
      case 'delete':
        unanswered++;
        partition.deleteMessage(Math.max(1, partition.machine.lastSeq - each.back), () => unanswered--);
        return;
      case 'limit':
        partition.updateConfig({ ...partition.config, max_msgs: each.max_msgs }, ++revision);
        return;
      case 'turn':
        clock.turn();
        return;
      case 'commit':
        group.commit(Math.min(each.count, group.uncommitted));
        return;
      case 'advance':
        clock.advance(each.ms);
        return;
      case 'depose':
        group.depose(each.lose);
        // What a new leader finds in the log is applied before it may lead.
        group.commit();
        if (each.foreign !== '' && partition.machine.config !== undefined) follow(each.foreign);
        group.lead();
        return;
      case 'pause':
        group.pause(each.paused);
        return;
      case 'barriers':
        group.answerBarriers(true);
        return;
    }
  };
  for (const each of actions) perform(each);
  group.pause(false);
  for (let i = 0; i < 4; i++) {
    world.settle();
    group.answerBarriers(true);
  }
  expect(unanswered).toBe(0);
  verify(
    world,
    asked,
    config,
    actions.some((each) => each.kind === 'limit'),
  );
}

function momentOf(machine: World['partition']['machine']): Moment {
  const lastOf = new Map<string, number>();
  machine.index.eachSubject({ patterns: [], literal: false, matches: () => true }, (id) => {
    lastOf.set(machine.index.nameOfSubject(id), machine.index.lastOfSubject(id));
  });
  return { index: 0, last: machine.lastSeq, lastId: machine.lastMsgId, lastOf };
}

/** Last seq of the subject, or of all under k. */
function lastIn(moment: Moment, of: string): number {
  let last = 0;
  for (const [subject, seq] of moment.lastOf)
    if (subject === of || (of === 'k.*' && subject.startsWith('k.'))) last = Math.max(last, seq);
  return last;
}

/** Those of the publishes in a batch. */
function tokensOf(body: Uint8Array): number[] {
  const view = viewOf(body);
  const tokens: number[] = [];
  let at = BATCH_HEADER_BYTES;
  for (let left = readBatchHeader(view).commands; left > 0; left--) {
    if (view.getUint8(at) !== CommandType.publish) {
      at = commandEnd(view, at);
      continue;
    }
    const p = new PublishView();
    at = readPublish(view, at, p);
    tokens.push(Number(Buffer.from(body.subarray(p.payloadAt, p.payloadEnd)).toString()));
  }
  return tokens;
}

function verify(
  world: World,
  asked: Map<number, Asked>,
  config: ReturnType<typeof streamConfig>,
  reconfigured: boolean,
): void {
  const model = new Model(config);
  const moments: Moment[] = [];
  const seqOfToken = new Map<number, number>();
  const idsEver = new Map<string, Set<number>>();
  let lastId = '';
  const record = (index: number): Moment => {
    const lastOf = new Map<string, number>();
    for (const [seq, { subject }] of model.messages) lastOf.set(subject, seq);
    const moment = { index, last: model.last, lastId, lastOf };
    moments.push(moment);
    return moment;
  };
  record(0.5);
  world.group.log.forEach((body, i) => {
    const index = i + 1;
    const view = viewOf(body);
    const header = readBatchHeader(view);
    let at = BATCH_HEADER_BYTES;
    for (let left = header.commands; left > 0; left--) {
      const type = view.getUint8(at);
      if (type === CommandType.publish) {
        const p = new PublishView();
        at = readPublish(view, at, p);
        const before = record(index);
        const token = Number(Buffer.from(body.subarray(p.payloadAt, p.payloadEnd)).toString());
        const { publish, expectedSubject, expectedLast } = asked.get(token)!;
        const id = (p.flags & HAS_ID) !== 0 ? Buffer.from(body.subarray(p.idAt, p.idEnd)).toString() : '';
        expect(id).toBe(publish.id);
        if (publish.expectLast > 0) expect(before.last).toBe(expectedLast);
        if (publish.expectSubject > 0) expect(lastIn(before, publish.of || publish.subject)).toBe(expectedSubject);
        if (publish.expectId !== '') expect(before.lastId).toBe(publish.expectId);
        const known = model.ids.get(id);
        if (known !== undefined) expect(known.stampUs + 1_000_000).toBeLessThanOrEqual(header.stampUs);
        const rollup = p.flags & ROLLUP_SUBJECT ? 'sub' : p.flags & ROLLUP_ALL ? 'all' : '';
        expect(rollup).toBe(publish.rollup);
        const room = model.config.max_msgs;
        // A configuration that is on its way in the log is in force for decisions already.
        if (model.config.discard === 'new' && room > 0 && !reconfigured && !publish.foreign)
          expect(model.messages.size).toBeLessThan(room);
        const payload = p.payloadEnd - p.payloadAt;
        const step = {
          kind: 'publish' as const,
          subject: publish.subject,
          payload,
          hdr: false,
          id,
          rollup: publish.rollup,
        };
        model.apply(step, index, header.stampUs, p.hdrEnd - p.hdrAt);
        seqOfToken.set(token, model.last);
        lastId = id;
        if (id !== '') idsEver.set(id, (idsEver.get(id) ?? new Set()).add(model.last));
        continue;
      }
      record(index);
      const command = commandBody(view, body, at);
      at = commandEnd(view, at);
      if (type === CommandType.purge) model.apply({ kind: 'purge', ...decodePurge(command) }, index, header.stampUs, 0);
      else if (type === CommandType.delete)
        model.apply({ kind: 'delete', seq: decodeDelete(command) }, index, header.stampUs, 0);
      else if (type === CommandType.expire) {
        const { kinds, max } = decodeExpire(command);
        const before = new Map(model.ids);
        model.apply({ kind: 'expire', max }, index, header.stampUs, 0);
        if ((kinds & 2) === 0) model.ids = before;
      } else if (type === CommandType.config) {
        model.apply({ kind: 'config', change: JSON.parse(decodeConfig(command).json) }, index, header.stampUs, 0);
      }
    }
    record(index + 0.5);
  });
  expect(world.partition.machine.index.messages).toBe(model.messages.size);
  expect(world.partition.machine.lastSeq).toBe(model.last);
  const everProposed = new Set<number>();
  for (const body of world.group.proposed) for (const token of tokensOf(body)) everProposed.add(token);
  for (const [token, { publish, outcome, askedAt, answeredAt, ...item }] of asked) {
    expect(outcome).toBeDefined();
    if (outcome === undefined) continue;
    const seq = seqOfToken.get(token);
    // Whoever leads next may store it: it must not be in any log, not even in one that was lost.
    if (outcome === 'returned') {
      expect(everProposed.has(token)).toBe(false);
      continue;
    }
    if (!isApiError(outcome)) {
      if (outcome.duplicate) {
        expect(seq).toBeUndefined();
        expect([...(idsEver.get(publish.id) ?? [])]).toContain(outcome.seq);
      } else expect(seq).toBe(outcome.seq);
      continue;
    }
    // The outcome of 10008 is unknown; any other refusal is sure.
    if (outcome.err_code === 10008) continue;
    expect(seq).toBeUndefined();
    // Positions that can stand between question and answer: from the state after askedAt to the one after answeredAt.
    const during = moments.filter((m) => m.index > askedAt && m.index <= answeredAt + 0.5);
    const states = [...moments.filter((m) => m.index === askedAt + 0.5), ...during];
    if (outcome.err_code === 10071) {
      const quoted = Number(outcome.description.split(': ')[1]);
      const bySubject = (m: Moment): boolean =>
        publish.expectSubject > 0 &&
        quoted !== item.expectedSubject &&
        lastIn(m, publish.of || publish.subject) === quoted;
      const byLast = (m: Moment): boolean =>
        publish.expectLast > 0 && quoted !== item.expectedLast && m.last === quoted;
      expect(states.some((m) => bySubject(m) || byLast(m))).toBe(true);
    } else if (outcome.err_code === 10070) {
      expect(states.some((m) => outcome.description === `wrong last msg ID: ${m.lastId}`)).toBe(true);
    } else expect(outcome.err_code).toBe(10077);
  }
}

test.each(['old', 'new'] as const)('what the leader answers is true in the log (discard %s)', (discard) => {
  fc.assert(
    fc.property(fc.array(action, { minLength: 1, maxLength: 80 }), fc.constantFrom(1, 2, 64), (actions, batches) =>
      run(actions, discard, batches),
    ),
    { numRuns: 400 },
  );
});

test('what waits during a pause does not wait for batches of an earlier leadership', () => {
  const first: Publish = { ...PLAIN, subject: 'k.a', expectSubject: 1 };
  const second: Publish = { ...PLAIN, subject: 'k.a' };
  const depose = { kind: 'depose', lose: false, foreign: '' } as const;
  run([{ kind: 'turn' }, first, depose, { kind: 'pause', paused: true }, second], 'new', 64);
});
