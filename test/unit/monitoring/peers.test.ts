// Who is missed: nodes are told by name, whatever incarnations they have had; and what is known of how far they are behind.
import { expect, test } from 'vitest';
import { peersByName, replicaCounts } from '../../../src/node-view.ts';

const info = (id: number, name: string) => ({
  id,
  name,
  clientUrl: '',
  clusterUrl: `${name}:6222`,
  monitorUrl: `${name}:8222`,
});

test('an emptied node that is back is not missed as its former self', () => {
  const views = peersByName('n1', [info(22, 'n2')], [info(1, 'n1'), info(2, 'n2'), info(22, 'n2'), info(3, 'n3')]);
  expect(views).toEqual([
    { name: 'n2', monitorUrl: 'n2:8222', clusterUrl: 'n2:6222', connected: true },
    { name: 'n3', monitorUrl: 'n3:8222', clusterUrl: 'n3:6222', connected: false },
  ]);
});

test('this node is no peer, not even as it was before it was emptied; a node without a record counts once linked', () => {
  expect(peersByName('n1', [info(4, 'n4')], [info(9, 'n1')]).map(({ name }) => name)).toEqual(['n4']);
  expect(peersByName('n1', [], [])).toEqual([]);
});

test('how far a member is behind is told when it is known: not of one that is away and was never heard', () => {
  const of = (match: number, state: 'probe' | 'replicate' | 'snapshot', up: number[]) => {
    const progress = [
      { peer: 2, match: 5_000, lastActiveMs: 0, state: 'replicate' as const },
      { peer: 3, match, lastActiveMs: 0, state },
    ];
    const status = { lastIndex: 5_000, membership: { voters: [1, 2, 3], learners: [] }, progress };
    return replicaCounts(status, 3, new Set(up));
  };
  expect(of(0, 'probe', [2])).toEqual({ expected: 3, inSync: 2, lagMax: 0 });
  expect(of(4_000, 'probe', [2])).toEqual({ expected: 3, inSync: 2, lagMax: 1_000 });
  expect(of(0, 'snapshot', [2, 3])).toEqual({ expected: 3, inSync: 2, lagMax: 5_000 });
  expect(of(4_999, 'replicate', [2, 3])).toEqual({ expected: 3, inSync: 3, lagMax: 1 });
});
