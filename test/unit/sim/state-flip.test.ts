// Whole nodes: one bit flips in the tables of one replica of a stream. Sooner or later the replica computes something else than the others; its
// digest tells, it gives its state up, fetches it from the others, and holds again what they hold.
import { crc32c } from '@node-rs/crc32';
import { expect, it } from 'vitest';
import type { Partition } from '../../../src/stream/partition.ts';
import { SimClient } from '../../sim/sim-client.ts';
import { type SimNode, World } from '../../sim/world.ts';

const partitionOf = (node: SimNode): Partition => [...(node.node?.partitions.values() ?? [])][0];

function stateOf(node: SimNode): Uint8Array {
  return Buffer.concat([...partitionOf(node).machine.snapshot()]);
}

function replaceState(node: SimNode, state: Uint8Array): void {
  const sink = partitionOf(node).machine.restore();
  for (let at = 0; at < state.length; at += 64) sink.push(state.subarray(at, at + 64));
  sink.end();
}

/** The state's own checksums are made to fit: it flipped in memory, before it was written. */
function seal(state: Uint8Array): void {
  const view = new DataView(state.buffer, state.byteOffset, state.length);
  const head = view.getUint32(8, true);
  view.setUint32(12, crc32c(state.subarray(16, head)), true);
  for (let at = head; at + 8 <= state.length; at += 8 + view.getUint32(at, true))
    view.setUint32(at + 4, crc32c(state.subarray(at + 8, at + 8 + view.getUint32(at, true))), true);
}

/** Flips a bit that the machine does not notice by itself; false: it did. */
function flip(node: SimNode, byte: number): boolean {
  const state = stateOf(node);
  const digest = partitionOf(node).digest();
  const harmed = Uint8Array.from(state);
  harmed[byte] ^= 4;
  seal(harmed);
  try {
    replaceState(node, harmed);
    if (partitionOf(node).digest() === digest && stateOf(node).length === state.length) return true;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
  }
  replaceState(node, state);
  return false;
}

it('a flipped bit in a replica of a stream is noticed and healed', { timeout: 120_000 }, () => {
  const world = new World(77, 3);
  const { scheduler } = world;
  for (const node of world.nodes) node.start();
  expect(
    scheduler.runUntilTrue(() => world.nodes.every((node) => node.node?.meta.ready === true), { timeoutMs: 60_000 }),
  ).toBe(true);
  const client = new SimClient('c', scheduler, world.nodes[0]);
  const ask = (subject: string, body: string): string => {
    let text: string | undefined;
    for (let i = 0; i < 20 && (text === undefined || text.includes('"error"')); i++) {
      text = undefined;
      let ended = false;
      client.request(subject, body, {}, 3_000, (outcome) => {
        ended = true;
        if (outcome.kind === 'reply') text = outcome.text;
      });
      scheduler.runUntilTrue(() => ended, { timeoutMs: 10_000 });
    }
    return text ?? '';
  };
  const config = { name: 'S', subjects: ['s.>'], num_replicas: 3, max_msgs: 40 };
  expect(ask('$JS.API.STREAM.CREATE.S', JSON.stringify(config))).toContain('"created"');
  let count = 0;
  const publish = (times: number): void => {
    for (let i = 0; i < times; i++) expect(ask(`s.${count++ % 7}`, 'x'.repeat(1_000))).toContain('"seq"');
  };
  publish(60);
  const odd = world.nodes.find((node) => !partitionOf(node).leading)!;
  const host = () => odd.node!.host;
  // All messages have one size, so the table says where it is kept.
  const { bytes, messages } = partitionOf(odd).machine.index;
  const state = stateOf(odd);
  const places = [...state.keys()].filter((at) => (state[at] | (state[at + 1] << 8)) === bytes / messages);
  // The first rows may be of messages that are gone.
  expect(flip(odd, places.at(-5) ?? 0)).toBe(true);
  publish(150);
  expect(host().stats.digestMismatches).toBeGreaterThan(0);
  const [group] = [...odd.node!.partitions.keys()];
  const healed = (): boolean =>
    host().stats.snapshotsInstalled > 0 && host().group(group)?.status().stateMissing === false;
  expect(scheduler.runUntilTrue(healed, { timeoutMs: 30_000 })).toBe(true);
  publish(70);
  scheduler.runFor(2_000);
  const digests = world.nodes.map((node) => [node.node!.host.group(group)?.applied, partitionOf(node).digest()]);
  expect(digests[1]).toEqual(digests[0]);
  expect(digests[2]).toEqual(digests[0]);
  expect(world.nodes.map((node) => node.node!.host.stats.groupsStopped)).toEqual([0, 0, 0]);
});
