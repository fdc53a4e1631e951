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
  const processes = new Map(NODES.map((node) => [node, [life(30, 30 * MB, 0)]]));
  processes.set('n1', lives);
  const [first, ...others] = accountsOf(NODES, processes, carriedOf(page(), '7-'), SECONDS);
  expect(others.map(({ ok }) => ok)).toEqual([true, true]);
  return first.ok;
};

const life = (inMB: number, out: number, downs: number, unseenMs = 0): LinkCounts => ({
  in: inMB * MB,
  out,
  downs,
  unseenMs,
});

test('a node that wrote what the proxies took, and read all or less of what they took for it', () => {
  expect(judged(life(30, 30 * MB, 0))).toBe(true);
  expect(judged(life(20, 30 * MB, 9))).toBe(true);
});

test('a byte more read than the proxies took went around them, whatever was cut or killed', () => {
  const more = 30 + 1 / MB;
  expect(judged(life(more, 30 * MB, 0))).toBe(false);
  expect(judged(life(more, 30 * MB, 1000))).toBe(false);
  expect(judged(life(20, 10 * MB, 50, 3000), life(more - 20, 20 * MB, 50))).toBe(false);
});

test('what was written around the proxies is not among what they took: beyond what cut links may lose, it is seen', () => {
  // Some of what it should have read was dropped on the way; a link around the proxies made up for that.
  expect(judged(life(30, 33 * MB, 80))).toBe(false);
  expect(judged(life(30, 30 * MB + 100 * KB, 0))).toBe(false);
  expect(judged(life(30, 31 * MB + 100 * KB, 3))).toBe(true);
  expect(judged(life(30, 31 * MB + 200 * KB, 3))).toBe(false);
});

test('a node that wrote less than the proxies took counts wrongly, but for the last moments of processes that ended', () => {
  expect(judged(life(30, 30 * MB - 1, 80))).toBe(false);
  expect(judged(life(10, 10 * MB, 0, 100), life(20, 19 * MB - 150 * KB, 0))).toBe(true);
  expect(judged(life(10, 10 * MB, 0, 100), life(20, 19 * MB - 200 * KB, 0))).toBe(false);
  // Half a megabyte a second: a list and 64 KiB, and twice what it writes in three seconds.
  expect(judged(life(10, 10 * MB, 0, 3000), life(20, 16 * MB, 0))).toBe(true);
  expect(judged(life(10, 10 * MB, 0, 3000), life(20, 15 * MB, 0))).toBe(false);
});

test('a node that nobody asked, or proxies that count nothing, are no account', () => {
  expect(judged()).toBe(false);
  const processes = new Map(NODES.map((node) => [node, [life(0, 0, 0)]]));
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
