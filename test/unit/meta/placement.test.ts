// Placement, membership steps, configuration equality, overlaps: pure rules, by example and by property.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Membership, PeerId } from '../../../cluster/core/types.ts';
import { equalConfigs } from '../../../src/meta/config-equality.ts';
import { metaMembership } from '../../../src/meta/drive.ts';
import { nextStep } from '../../../src/meta/membership-steps.ts';
import { Load, place, resize } from '../../../src/meta/placement.ts';
import { OverlapIndex } from '../../../src/subjects/overlap-index.ts';
import { subjectsOverlap } from '../../../src/subjects/subject.ts';
import { streamConfig } from './meta-world.ts';

describe('placement', () => {
  test('replicas and preferred leaders spread evenly', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 5 }), fc.nat(200), (nodes, r, streams) => {
        fc.pre(r <= nodes);
        const live = Array.from({ length: nodes }, (_, i) => 1000 - i * 7);
        const load = new Load();
        for (let i = 0; i < streams; i++) {
          const [replicas] = place(1, r, live, load)!;
          expect(new Set(replicas).size).toBe(r);
          load.count(replicas, 1);
        }
        const spread = (counts: Map<PeerId, number>): number => {
          const all = live.map((peer) => counts.get(peer) ?? 0);
          return Math.max(...all) - Math.min(...all);
        };
        expect(spread(load.replicas)).toBeLessThanOrEqual(1);
        expect(spread(load.leaders)).toBeLessThanOrEqual(nodes === r ? 1 : 2);
      }),
      { numRuns: 60 },
    );
  });

  test('the partitions of one stream spread as well, and too few nodes refuse', () => {
    const load = new Load();
    const placed = place(6, 2, [1, 2, 3], load)!;
    for (const replicas of placed) load.count(replicas, 1);
    expect([...load.replicas.values()]).toEqual([4, 4, 4]);
    expect([...load.leaders.values()]).toEqual([2, 2, 2]);
    expect(place(1, 3, [1, 2], new Load())).toBeUndefined();
  });

  test('resizing keeps who is there, drops the dead first and the preferred leader last', () => {
    expect(resize([1, 2], 3, [1, 2, 3, 4], loaded([3]))).toEqual([1, 2, 4]);
    expect(resize([1, 2, 3], 1, [1, 2, 3], new Load())).toEqual([1]);
    expect(resize([1, 2, 3], 1, [2, 3], new Load())).toEqual([2]);
    expect(resize([1, 2], 3, [1, 2], new Load())).toBeUndefined();
  });
});

function loaded(replicas: PeerId[]): Load {
  const load = new Load();
  load.count(replicas, 1);
  return load;
}

describe('membership steps', () => {
  test('lead from any membership to any other, one voter at a time, never through fewer copies than both have', () => {
    const peers = fc.uniqueArray(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(peers, peers, fc.nat(4), (from, to, at) => {
        let current: Membership = { voters: from, learners: [] };
        let leader = from[at % from.length];
        const wanted: Membership = { voters: to, learners: [] };
        for (let steps = 0; steps < 40; steps++) {
          const step = nextStep(current, wanted, leader, () => true);
          if (step.kind === 'done') break;
          if (step.kind === 'transfer') {
            for (const heir of step.heirs) expect(current.voters).toContain(heir);
            leader = step.heirs[steps % step.heirs.length];
          } else if (step.kind === 'change') {
            const next = step.membership;
            const all = [...next.voters, ...next.learners];
            expect(new Set(all).size).toBe(all.length);
            const moved = [...current.voters, ...next.voters].filter(
              (peer) => !current.voters.includes(peer) || !next.voters.includes(peer),
            );
            expect(moved.length).toBeLessThanOrEqual(1);
            expect(next.voters).toContain(leader);
            expect(next.voters.length).toBeGreaterThanOrEqual(Math.min(from.length, to.length));
            current = next;
          } else throw new Error('waits although all have caught up');
        }
        expect([...current.voters].sort()).toEqual([...to].sort());
        expect(current.learners).toEqual([]);
      }),
      { numRuns: 300 },
    );
  });

  test('nobody goes before the newcomer votes', () => {
    const step = nextStep({ voters: [1, 2, 3], learners: [4] }, { voters: [1, 2, 4], learners: [] }, 1, () => false);
    expect(step).toEqual({ kind: 'wait' });
  });

  test('who never comes back goes before anybody else votes', () => {
    const isGone = (peer: number): boolean => peer === 3;
    const wanted = { voters: [1, 2, 4], learners: [] };
    const step = nextStep({ voters: [1, 2, 3], learners: [4] }, wanted, 1, () => true, isGone);
    expect(step).toEqual({ kind: 'change', membership: { voters: [1, 2], learners: [4] } });
    const next = nextStep({ voters: [1, 2], learners: [4] }, wanted, 1, () => true, isGone);
    expect(next).toEqual({ kind: 'change', membership: { voters: [1, 2, 4], learners: [] } });
  });

  test('meta voters: up to five, the rest learn; gone nodes are not wanted', () => {
    const node = (id: number) => [id, { id, name: `n${id}` }] as const;
    const nodes = new Map([1, 2, 3, 4, 5, 6].map(node));
    expect(metaMembership({ voters: [2, 9], learners: [] }, nodes, () => true)).toEqual({
      voters: [2, 1, 3, 4, 5],
      learners: [6],
    });
    expect(metaMembership({ voters: [2], learners: [] }, nodes, (peer) => peer > 4)).toEqual({
      voters: [2, 5, 6],
      learners: [1, 3, 4],
    });
  });
});

describe('equal configurations', () => {
  test('ignore server metadata, absent and empty fields; heed order of lists', () => {
    const a = streamConfig('S', { metadata: { app: 'x', '_nats.ver': '1' } });
    expect(equalConfigs(a, streamConfig('S', { metadata: { app: 'x', '_nats.level': '2' } }))).toBe(true);
    expect(equalConfigs(a, streamConfig('S'))).toBe(false);
    expect(equalConfigs(streamConfig('S', { metadata: {} }), streamConfig('S'))).toBe(true);
    expect(equalConfigs(streamConfig('S', { placement: {} }), streamConfig('S'))).toBe(true);
    const lists = (subjects: string[]) => streamConfig('S', { subjects });
    expect(equalConfigs(lists(['a', 'b']), lists(['b', 'a']))).toBe(false);
  });
});

describe('overlap index', () => {
  test('agrees with the pairwise rule, also after removals', () => {
    const token = fc.constantFrom('a', 'b', '*', '>');
    const pattern = fc
      .array(token, { minLength: 1, maxLength: 4 })
      .filter((tokens) => tokens.slice(0, -1).every((one) => one !== '>'))
      .map((tokens) => tokens.join('.'));
    fc.assert(
      fc.property(
        fc.array(pattern, { maxLength: 8 }),
        fc.array(pattern, { maxLength: 4 }),
        pattern,
        (keep, gone, ask) => {
          const index = new OverlapIndex();
          for (const one of [...keep, ...gone]) index.add(one);
          for (const one of gone) index.remove(one);
          expect(index.overlaps(ask)).toBe(keep.some((one) => subjectsOverlap(one, ask)));
        },
      ),
      { numRuns: 2000 },
    );
  });
});
