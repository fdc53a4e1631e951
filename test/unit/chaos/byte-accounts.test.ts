// What the proxies of a chaos run must show: bytes that went around them are seen.
import { expect, test } from 'vitest';
import { accountsOf, type LinkBytes } from '../../../chaos/byte-accounts.ts';
import { seriesOf } from '../../../chaos/cluster.ts';
import { carriedOf } from '../../../chaos/toxiproxy.ts';

const MB = 1024 * 1024;
const NODES = ['n1', 'n2', 'n3'];

/** A page on which every dialing node sends 10 MB through each proxy and gets 5 MB back. */
function page(): string {
  const line = (name: string, direction: string, proxy: string, value: number): string =>
    `toxiproxy_proxy_${name}_bytes_total{direction="${direction}",listener="127.0.0.1:1",proxy="7-${proxy}",upstream="127.0.0.1:2"} ${value}`;
  const lines = ['# TYPE toxiproxy_proxy_received_bytes_total counter'];
  for (const from of NODES) {
    for (const to of NODES) {
      if (from === to) continue;
      for (const name of ['received', 'sent']) {
        lines.push(line(name, 'upstream', `${from}-${to}`, 10 * MB));
        lines.push(line(name, 'downstream', `${from}-${to}`, 5 * MB));
      }
    }
  }
  lines.push(line('received', 'upstream', 'clients-n1', 99 * MB));
  // Of an earlier run.
  lines.push(line('received', 'upstream', 'n1-n2', 99 * MB).replace('7-', '6-'));
  return lines.join('\n');
}

const judged = (out: number[], read: number): boolean[] => {
  const lives = new Map<string, LinkBytes[]>(NODES.map((node, i) => [node, [{ in: read * MB, out: out[i] * MB }]]));
  return accountsOf(NODES, lives, carriedOf(page(), '7-'), { faults: 1, seconds: 60 }).map(({ ok }) => ok);
};

test('nodes that wrote what the proxies took, and more that a cut lost', () => {
  expect(judged([30, 30.5, 45], 30)).toEqual([true, true, true]);
  expect(judged([30, 30, 30], 20)).toEqual([true, true, true]);
});

test('nodes that read more than the proxies took went around them', () => {
  expect(judged([31, 31, 31], 31)).toEqual([false, false, false]);
});

test('a node that wrote less than the proxies took counts wrongly', () => {
  expect(judged([30, 15, 30], 30)).toEqual([true, false, true]);
});

test('what the processes of a node gave one after the other is added up', () => {
  const lives = new Map([
    [
      'n1',
      [
        { in: 1, out: 10 * MB },
        { in: 1, out: 20 * MB },
      ],
    ],
  ]);
  expect(accountsOf(NODES, lives, carriedOf(page(), '7-'), { faults: 0, seconds: 60 }).map(({ ok }) => ok)).toEqual([
    true,
    false,
    false,
  ]);
});

test('series are known without the label of their node', () => {
  const series = seriesOf('# HELP a b\na{server="n1"} 1\nb{x="y",server="n1"} 2\nc{server="n1",x="y"} 3\n');
  expect([...series]).toEqual([
    ['a', 1],
    ['b{x="y"}', 2],
    ['c{x="y"}', 3],
  ]);
});
