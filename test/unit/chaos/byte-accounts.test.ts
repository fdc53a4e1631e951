// What the proxies of a chaos run must show: bytes that went around them are seen, whatever was cut meanwhile.
import { expect, test } from 'vitest';
import { accountsOf, type LinkCounts } from '../../../chaos/byte-accounts.ts';
import { seriesOf } from '../../../chaos/cluster.ts';
import { carriedOf } from '../../../chaos/toxiproxy.ts';

const KB = 1024;
const MB = 1024 * KB;
const NODES = ['n1', 'n2', 'n3'];
const SECONDS = 60;

/** A page on which every dialing node sends 10 MB through each proxy and gets 5 MB back: 30 MB from each node, 30 MB for each. */
function page(): string {
  const line = (name: string, direction: string, proxy: string, value: number): string =>
    `toxiproxy_proxy_${name}_bytes_total{direction="${direction}",listener="127.0.0.1:1",proxy="7-${proxy}",upstream="127.0.0.1:2"} ${value}`;
  const lines = ['# TYPE toxiproxy_proxy_received_bytes_total counter'];
  for (const from of NODES) {
    for (const to of NODES) {
      if (from === to) continue;
      lines.push(line('received', 'upstream', `${from}-${to}`, 10 * MB));
      lines.push(line('received', 'downstream', `${from}-${to}`, 5 * MB));
      // Less: some of it was never handed on.
      lines.push(line('sent', 'upstream', `${from}-${to}`, 9 * MB));
    }
  }
  lines.push(line('received', 'upstream', 'clients-n1', 99 * MB));
  // Of an earlier run.
  lines.push(line('received', 'upstream', 'n1-n2', 99 * MB).replace('7-', '6-'));
  return lines.join('\n');
}

/** The first node's processes as given; the others wrote and read what the proxies say. */
const judged = (...lives: LinkCounts[]): boolean => {
  const processes = new Map(NODES.map((node) => [node, [{ in: 30 * MB, out: 30 * MB, downs: 0 }]]));
  processes.set('n1', lives);
  const [first, ...others] = accountsOf(NODES, processes, carriedOf(page(), '7-'), SECONDS);
  expect(others.map(({ ok }) => ok)).toEqual([true, true]);
  return first.ok;
};

test('a node that wrote what the proxies took, and read all or less of what they took for it', () => {
  expect(judged({ in: 30 * MB, out: 30 * MB, downs: 0 })).toBe(true);
  expect(judged({ in: 20 * MB, out: 30 * MB, downs: 9 })).toBe(true);
});

test('a byte more read than the proxies took went around them, whatever was cut or killed', () => {
  expect(judged({ in: 30 * MB + 1, out: 30 * MB, downs: 0 })).toBe(false);
  expect(judged({ in: 30 * MB + 1, out: 30 * MB, downs: 1000 })).toBe(false);
  const killed = { in: 10 * MB, out: 10 * MB, downs: 50 };
  expect(judged(killed, killed, { ...killed, in: 10 * MB + 1 })).toBe(false);
});

test('what was written around the proxies is not among what they took: beyond what cut links may lose, it is seen', () => {
  // Half of what it should have read was dropped on the way; a link around the proxies made up for that.
  expect(judged({ in: 30 * MB, out: 33 * MB, downs: 80 })).toBe(false);
  expect(judged({ in: 30 * MB, out: 30 * MB + 100 * KB, downs: 0 })).toBe(false);
  expect(judged({ in: 30 * MB, out: 30 * MB + 100 * KB, downs: 3 })).toBe(true);
});

test('a node that wrote less than the proxies took counts wrongly, but for the last moments of killed processes', () => {
  expect(judged({ in: 30 * MB, out: 30 * MB - 1, downs: 80 })).toBe(false);
  expect(judged({ in: 10 * MB, out: 10 * MB, downs: 0 }, { in: 20 * MB, out: 20 * MB - 200 * KB, downs: 0 })).toBe(
    true,
  );
  expect(judged({ in: 10 * MB, out: 10 * MB, downs: 0 }, { in: 20 * MB, out: 18 * MB, downs: 0 })).toBe(false);
});

test('a node that nobody asked, or proxies that count nothing, are no account', () => {
  expect(judged()).toBe(false);
  const processes = new Map(NODES.map((node) => [node, [{ in: 0, out: 0, downs: 0 }]]));
  expect(accountsOf(NODES, processes, new Map(), SECONDS).map(({ ok }) => ok)).toEqual([false, false, false]);
});

test('series are known without the label of their node', () => {
  const series = seriesOf('# HELP a b\na{server="n1"} 1\nb{x="y",server="n1"} 2\nc{server="n1",x="y"} 3\n');
  expect([...series]).toEqual([
    ['a', 1],
    ['b{x="y"}', 2],
    ['c{x="y"}', 3],
  ]);
});
