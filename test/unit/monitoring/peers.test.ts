// Who is missed: nodes are told by name, whatever incarnations they have had.
import { expect, test } from 'vitest';
import { peersByName } from '../../../src/node-view.ts';

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
