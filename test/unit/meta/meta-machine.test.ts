// The meta machine: the same log gives the same state on every replica, through snapshots and restarts.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeCommand, type MetaCommand } from '../../../src/meta/meta-codec.ts';
import { MetaMachine, type MetaStream } from '../../../src/meta/meta-machine.ts';
import { streamConfig } from './meta-world.ts';

const NODES = [1, 2, 3].map((id) => ({ id, name: `n${id}` }));
const FORM: MetaCommand = { type: 'form', clusterId: 'c', nodes: NODES };

function machine(changes: [MetaStream | undefined, MetaStream | undefined][] = []): MetaMachine {
  return new MetaMachine({
    onStream: (before, after) => changes.push([before, after]),
    onNodes: () => undefined,
  });
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** Commands that make sense often enough: few names, streamIds that may exist. */
const command: fc.Arbitrary<MetaCommand> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant('create' as const),
      account: fc.constantFrom('$G', 'B'),
      config: fc
        .record({
          name: fc.constantFrom('a', 'b', 'c', 'd'),
          r: fc.integer({ min: 1, max: 3 }),
          wide: fc.boolean(),
          p: fc.constantFrom('1', '3'),
        })
        .map(({ name, r, wide, p }) =>
          streamConfig(name, {
            num_replicas: r,
            subjects: [wide ? '*.x' : `${name}.>`],
            metadata: { 'flotilla.partitions': p },
          }),
        ),
      live: fc.subarray([1, 2, 3, 4]),
    }),
  },
  {
    weight: 3,
    arbitrary: fc
      .record({
        type: fc.constant('update' as const),
        account: fc.constant('$G'),
        streamId: fc.integer({ min: 1, max: 30 }),
        sinceUpdate: fc.option(fc.integer({ min: 1, max: 30 }), { nil: undefined }),
        config: fc
          .record({ name: fc.constantFrom('a', 'b', 'c', 'd'), r: fc.integer({ min: 1, max: 3 }), max: fc.nat(3) })
          .map(({ name, r, max }) => streamConfig(name, { num_replicas: r, max_msgs: max })),
        live: fc.subarray([1, 2, 3, 4]),
      })
      // Most were made from the record as it was created.
      .map(({ sinceUpdate, ...rest }) => ({ ...rest, revision: sinceUpdate ?? rest.streamId })),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant('delete' as const),
      account: fc.constant('$G'),
      streamId: fc.integer({ min: 1, max: 30 }),
    }),
  },
  fc.record({
    type: fc.constant('node' as const),
    node: fc.record({ id: fc.integer({ min: 1, max: 6 }), name: fc.constantFrom('n1', 'n2', 'n9') }),
    replaces: fc.constantFrom(0, 1, 2),
  }),
  fc.record({
    type: fc.constant('remove' as const),
    id: fc.integer({ min: 1, max: 6 }),
    live: fc.subarray([1, 2, 3, 4, 5]),
  }),
  fc.record({
    type: fc.constant('replicas' as const),
    streamId: fc.integer({ min: 1, max: 30 }),
    partition: fc.nat(2),
    replicas: fc.subarray([1, 2, 3]),
  }),
  fc.record({
    type: fc.constant('prefer' as const),
    streamId: fc.integer({ min: 1, max: 30 }),
    partition: fc.nat(2),
    peer: fc.integer({ min: 1, max: 4 }),
  }),
  fc.record({
    type: fc.constant('evict' as const),
    streamId: fc.integer({ min: 1, max: 30 }),
    peer: fc.integer({ min: 1, max: 4 }),
    live: fc.subarray([1, 2, 3, 4, 5]),
  }),
  fc.record({
    type: fc.constant('settled' as const),
    streamId: fc.integer({ min: 1, max: 30 }),
    partition: fc.nat(2),
    since: fc.integer({ min: 1, max: 30 }),
  }),
);

describe('determinism', () => {
  test('same log, same results, same digest, whether through a snapshot or not', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 40 }), fc.nat(40), (commands, cut) => {
        const bodies = [FORM, ...commands].map((one, i) => encodeCommand(one, 1000 + i));
        const whole = machine();
        let restored = machine();
        bodies.forEach((body, i) => {
          expect(restored.apply(i + 1, body)).toEqual(whole.apply(i + 1, body));
          if (i === cut) {
            const other = machine();
            other.restore(joined(restored.snapshot()));
            restored = other;
          }
          expect(restored.digest()).toBe(whole.digest());
        });
        expect(joined(restored.snapshot())).toEqual(joined(whole.snapshot()));
        expect([...restored.unsettled].sort()).toEqual([...whole.unsettled].sort());
      }),
      { numRuns: 150 },
    );
  });

  test('changes told are the difference of states; restoring tells the same', () => {
    fc.assert(
      fc.property(fc.array(command, { maxLength: 30 }), (commands) => {
        const changes: [MetaStream | undefined, MetaStream | undefined][] = [];
        const whole = machine(changes);
        const seen = new Map<number, MetaStream>();
        [FORM, ...commands].forEach((one, i) => {
          whole.apply(i + 1, encodeCommand(one, 0));
          for (const [before, after] of changes.splice(0)) {
            if (before !== undefined) expect(seen.get(before.streamId)).toBe(before);
            if (after !== undefined) seen.set(after.streamId, after);
            else seen.delete(before!.streamId);
          }
          expect(new Map(whole.streams)).toEqual(seen);
        });
        const told: [MetaStream | undefined, MetaStream | undefined][] = [];
        const late = machine(told);
        late.restore(joined(whole.snapshot()));
        expect(told.map(([, after]) => after!.streamId).sort()).toEqual([...seen.keys()].sort());
        late.restore(undefined);
        expect(late.digest()).toBe(machine().digest());
      }),
      { numRuns: 100 },
    );
  });
});

describe('rules', () => {
  test('a damaged snapshot is refused', () => {
    const one = machine();
    one.apply(1, encodeCommand(FORM, 5));
    one.apply(2, encodeCommand({ type: 'create', account: '$G', config: streamConfig('S'), live: [1, 2, 3] }, 6));
    const bytes = joined(one.snapshot());
    const at = bytes.lastIndexOf('"name":"S"'.charCodeAt(8));
    bytes[at] ^= 1;
    expect(() => machine().restore(bytes)).toThrow();
  });

  test('an update made from an older record changes nothing', () => {
    const it = machine();
    let index = 0;
    const run = (command: MetaCommand) => it.apply(++index, encodeCommand(command, index));
    run(FORM);
    run({ type: 'create', account: '$G', config: streamConfig('S'), live: [1] });
    const update = (revision: number, more: object): MetaCommand => ({
      type: 'update',
      account: '$G',
      streamId: 2,
      revision,
      config: streamConfig('S', more),
      live: [1],
    });
    expect(run(update(2, { deny_delete: true }))).toMatchObject({ ok: true });
    const digest = it.digest();
    expect(run(update(2, { max_msgs: 9 }))).toMatchObject({ ok: false, changed: true });
    expect(it.streams.get(2)?.config).toMatchObject({ deny_delete: true, max_msgs: -1 });
    expect(it.streams.get(2)?.revision).toBe(3);
    expect(run(update(3, { deny_delete: true, max_msgs: 9 }))).toMatchObject({ ok: true });
    expect(it.digest()).not.toBe(digest);
  });

  test('the stamp never goes back', () => {
    const one = machine();
    one.apply(1, encodeCommand(FORM, 5000));
    one.apply(2, encodeCommand({ type: 'create', account: '$G', config: streamConfig('S'), live: [1] }, 10));
    expect(one.streams.get(2)!.createdUs).toBe(5000);
  });

  test('only the first forming counts', () => {
    const one = machine();
    one.apply(1, encodeCommand(FORM, 0));
    one.apply(2, encodeCommand({ type: 'form', clusterId: 'other', nodes: [] }, 0));
    expect(one.clusterId).toBe('c');
    expect(one.nodes.size).toBe(3);
  });

  test('who opens a partition first begins as the group began, however often it has moved since', () => {
    const one = machine();
    one.apply(1, encodeCommand(FORM, 0));
    const config = streamConfig('S', { num_replicas: 3 });
    one.apply(2, encodeCommand({ type: 'create', account: '$G', config, live: [1, 2, 3] }, 0));
    one.apply(3, encodeCommand({ type: 'node', node: { id: 4, name: 'n1' }, replaces: 1 }, 0));
    const moved = one.streams.get(2)!;
    expect([...moved.initial[0]].sort()).toEqual([1, 2, 3]);
    expect([...moved.replicas[0]].sort()).toEqual([2, 3, 4]);
    expect([...moved.members[0]].sort()).toEqual([1, 2, 3]);
    expect([...one.unsettled]).toEqual([128]);
    expect(one.apply(4, encodeCommand({ type: 'settled', streamId: 2, partition: 0, since: 2 }, 0)).ok).toBe(false);
    expect(one.apply(5, encodeCommand({ type: 'settled', streamId: 2, partition: 0, since: 3 }, 0)).ok).toBe(true);
    const settled = one.streams.get(2)!;
    expect(settled.left[0]).toEqual([1]);
    expect([...settled.initial[0]].sort()).toEqual([1, 2, 3]);
    expect(one.unsettled.size).toBe(0);
  });

  test('partitions that lost a copy get it back with the next update that finds a node, and hold up none that finds none', () => {
    const one = machine();
    one.apply(1, encodeCommand(FORM, 0));
    const config = streamConfig('S', { num_replicas: 2, metadata: { 'flotilla.partitions': '3' } });
    one.apply(2, encodeCommand({ type: 'create', account: '$G', config, live: [1, 2, 3] }, 0));
    const lengths = (): number[] => one.streams.get(2)!.replicas.map((list) => list.length);
    const [first] = one.streams.get(2)!.replicas;
    const id = [1, 2, 3].find((peer) => !first.includes(peer))!;
    one.apply(3, encodeCommand({ type: 'remove', id, live: first }, 0));
    // Both of those that stay have what the removed one had, where they can.
    expect(lengths()).toEqual([2, 2, 2]);
    one.apply(4, encodeCommand({ type: 'node', node: { id: 4, name: 'n4' }, replaces: 0 }, 0));
    one.apply(5, encodeCommand({ type: 'replicas', streamId: 2, partition: 1, replicas: [4, first[0]] }, 0));
    one.apply(6, encodeCommand({ type: 'remove', id: 4, live: [first[0]] }, 0));
    expect(lengths()).toEqual([2, 1, 2]);
    const update = (index: number, revision: number, replicas: number, max_msgs: number, live: number[]) =>
      one.apply(
        index,
        encodeCommand(
          {
            type: 'update',
            account: '$G',
            streamId: 2,
            revision,
            config: { ...config, num_replicas: replicas, max_msgs },
            live,
          },
          0,
        ),
      );
    expect(update(7, 2, 2, 7, [first[0]]).ok).toBe(true);
    expect(lengths()).toEqual([2, 1, 2]);
    expect(update(8, 7, 2, 8, first).ok).toBe(true);
    expect(lengths()).toEqual([2, 2, 2]);
    expect([...one.unsettled]).toContain(2 * 64 + 1);
    // More copies than before are a wish that must be met.
    expect(update(9, 8, 3, 9, first)).toMatchObject({ ok: false, error: { err_code: 10005 } });
  });

  test('a replacement of a name that somebody else took meanwhile is refused', () => {
    const one = machine();
    one.apply(1, encodeCommand(FORM, 0));
    one.apply(2, encodeCommand({ type: 'node', node: { id: 4, name: 'n1' }, replaces: 1 }, 0));
    expect(one.apply(3, encodeCommand({ type: 'node', node: { id: 5, name: 'n1' }, replaces: 1 }, 0)).ok).toBe(false);
    expect([...one.nodes.keys()].sort()).toEqual([2, 3, 4]);
  });

  test('subjects of any depth are compared: an entry that is in the log must be applied', () => {
    const one = machine();
    one.apply(1, encodeCommand(FORM, 0));
    const deep = Array.from({ length: 100_000 }, () => 'a').join('.');
    const create = (index: number, name: string, subject: string): boolean => {
      const config = streamConfig(name, { num_replicas: 3, subjects: [subject] });
      return one.apply(index, encodeCommand({ type: 'create', account: '$G', config, live: [1, 2, 3] }, 0)).ok;
    };
    expect(create(2, 'A', deep)).toBe(true);
    expect(create(3, 'B', deep)).toBe(false);
    expect(create(4, 'B', `${deep.slice(2)}.b`)).toBe(true);
    expect(create(5, 'C', `${deep.slice(2)}.*`)).toBe(false);
    expect(create(6, 'C', `${deep}.>`)).toBe(true);
    expect(one.apply(7, encodeCommand({ type: 'delete', account: '$G', streamId: 2 }, 0)).ok).toBe(true);
    expect(create(8, 'D', deep)).toBe(true);
  });

  test('thousands of wildcards beside thousands of names are refused before they hold all nodes up', () => {
    const one = machine();
    one.apply(1, encodeCommand(FORM, 0));
    const create = (index: number, name: string, subject: (i: number) => string): boolean => {
      const subjects = Array.from({ length: 20_000 }, (_, i) => subject(i));
      const config = streamConfig(name, { num_replicas: 3, subjects });
      return one.apply(index, encodeCommand({ type: 'create', account: '$G', config, live: [1, 2, 3] }, 0)).ok;
    };
    expect(create(2, 'A', (i) => `a.${i}.k`)).toBe(true);
    const before = process.cpuUsage();
    expect(create(3, 'B', (i) => `a.*.m${i}`)).toBe(false);
    expect(process.cpuUsage(before).user).toBeLessThan(3_000_000);
    expect(create(4, 'B', (i) => `b.*.m${i}`)).toBe(true);
    expect(create(5, 'C', (i) => `a.m${i}.*`)).toBe(true);
  });

  test('an unreadable entry stops the replica', () => {
    expect(() => machine().apply(1, new Uint8Array([9, 1]))).toThrow(/unknown version/);
    const body = encodeCommand(FORM, 0);
    body[1] = 77;
    expect(() => machine().apply(1, body)).toThrow(/unknown type/);
  });
});
