// Output of connections that share a pool of chunks, over sockets that read what they were given only later, as a kernel does: a chunk that
// went back to the pool too early would show as wrong bytes; one that never does, as memory.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Socket } from '../../../src/kit/net.ts';
import { ChunkPool, Writer, type WriterHost } from '../../../src/protocols/nats/writer.ts';

class LateSocket {
  bufferedBytes = 0;
  taken = '';
  /** Handed over, not looked at yet. */
  readonly held: Uint8Array[] = [];
  /** Takes at once what comes. */
  quick = true;

  write(parts: readonly Uint8Array[]): boolean {
    this.held.push(...parts);
    for (const part of parts) this.bufferedBytes += part.length;
    if (this.quick) this.take();
    return this.quick;
  }

  take(): void {
    for (const part of this.held.splice(0)) this.taken += Buffer.from(part).toString('latin1');
    this.bufferedBytes = 0;
  }
}

class CountingPool extends ChunkPool {
  readonly seen = new Set<Buffer>();

  override take(bytes: number): Buffer {
    const chunk = super.take(bytes);
    this.seen.add(chunk);
    return chunk;
  }
}

function worldOf(connections: number) {
  const pool = new CountingPool();
  let waiting: Writer[] = [];
  const host: WriterHost = { pool, onOutput: (writer) => waiting.push(writer), nowMs: () => 0 };
  const sockets = Array.from({ length: connections }, () => new LateSocket());
  const writers = sockets.map((socket) => new Writer(socket as unknown as Socket, host));
  const endOfTurn = (): void => {
    const now = waiting;
    waiting = [];
    for (const writer of now) writer.flush();
  };
  const unblock = (i: number): void => {
    sockets[i].quick = true;
    sockets[i].take();
    if (writers[i].blocked) writers[i].drained();
  };
  return { pool, sockets, writers, endOfTurn, unblock };
}

const messageOf = (i: number, bytes: number): string => `${i}`.padEnd(bytes, String.fromCharCode(97 + (i % 26)));

test('whatever blocks when, each connection gets its own bytes in order', () => {
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ to: fc.nat(2), bytes: fc.constantFrom(1, 100, 3_000, 20_000, 60_000, 70_000) }),
    },
    { weight: 2, arbitrary: fc.constant('turn' as const) },
    { weight: 1, arbitrary: fc.record({ block: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.record({ unblock: fc.nat(2) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const { sockets, writers, endOfTurn, unblock } = worldOf(3);
      const expected = ['', '', ''];
      steps.forEach((each, i) => {
        if (each === 'turn') endOfTurn();
        else if ('block' in each) sockets[each.block].quick = false;
        else if ('unblock' in each) unblock(each.unblock);
        else {
          const text = messageOf(i, each.bytes);
          const nothing = new Uint8Array(0);
          writers[each.to].message('7', { subject: 'a', reply: '', hdr: nothing, payload: Buffer.from(text) }, true);
          expected[each.to] += `MSG a 7 ${each.bytes}\r\n${text}\r\n`;
        }
      });
      endOfTurn();
      for (let i = 0; i < 3; i++) unblock(i);
      for (let i = 0; i < 3; i++) expect(sockets[i].taken === expected[i]).toBe(true);
    }),
    { numRuns: 200 },
  );
});

test('chunks of a connection that was blocked come back to the pool', () => {
  const { pool, sockets, writers, endOfTurn, unblock } = worldOf(1);
  const payload = Buffer.alloc(1_000);
  for (let round = 0; round < 50; round++) {
    sockets[0].quick = false;
    for (let i = 0; i < 300; i++)
      writers[0].message('7', { subject: 'a', reply: '', hdr: new Uint8Array(0), payload }, true);
    endOfTurn();
    unblock(0);
  }
  // A round fills five large ones.
  expect(pool.seen.size).toBeLessThanOrEqual(8);
  expect(sockets[0].taken.length).toBe(50 * 300 * (1_000 + 'MSG a 7 1000\r\n\r\n'.length));
});
