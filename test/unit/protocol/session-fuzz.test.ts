// Whole sessions on sockets and a clock in memory: whatever clients send, however it is cut, nothing throws, output is the same, and
// nothing is left when they are gone.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createAuth } from '../../../src/auth/auth.ts';
import { createBroker } from '../../../src/broker/broker.ts';
import type { Clock, Env } from '../../../src/kit/env.ts';
import type { Net, Socket } from '../../../src/kit/net.ts';
import { createNatsFront } from '../../../src/protocols/nats/front.ts';

class MemorySocket implements Socket {
  readonly remoteAddress = '10.0.0.1:1';
  readonly loopback = false;
  readonly bytesRead = 0;
  bufferedBytes = 0;
  output = '';
  /** Refuses to take anything while true. */
  stuck = false;
  closed = false;
  data: (bytes: Uint8Array) => void = () => {};
  drain: () => void = () => {};
  close: (error: Error | undefined) => void = () => {};

  write(parts: readonly Uint8Array[]): boolean {
    if (this.closed) return true;
    for (const part of parts) {
      this.output += Buffer.from(part).toString('latin1');
      if (this.stuck) this.bufferedBytes += part.length;
    }
    return !this.stuck;
  }
  unstick(): void {
    this.stuck = false;
    this.bufferedBytes = 0;
    this.drain();
  }
  onData(handler: (bytes: Uint8Array) => void): void {
    this.data = handler;
  }
  onDrain(handler: () => void): void {
    this.drain = handler;
  }
  onClose(handler: (error: Error | undefined) => void): void {
    this.close = handler;
  }
  pause(): void {}
  resume(): void {}
  end(): void {
    this.destroy();
  }
  destroy(): void {
    if (this.closed) return;
    this.closed = true;
    this.close(undefined);
  }
}

function world() {
  let nowMs = 0;
  const turn: (() => void)[] = [];
  let timers: { dueMs: number; fn: () => void }[] = [];
  const clock: Clock = {
    nowMs: () => nowMs,
    wallUs: () => nowMs * 1000,
    after(delayMs, fn) {
      const timer = { dueMs: nowMs + delayMs, fn };
      timers.push(timer);
      return timer;
    },
    cancel: (timer) => {
      timers = timers.filter((other) => other !== timer);
    },
    endOfTurn: (fn) => turn.push(fn),
  };
  const none = () => {};
  const env = {
    clock,
    random: { uint32: () => 7 },
    log: { debug: none, info: none, warn: none, error: none },
  } as unknown as Env;
  const broker = createBroker({ env, transport: undefined, self: 1 });
  let accept: (socket: Socket) => void = none;
  const net: Net = {
    listen(host, _port, onSocket, done) {
      accept = onSocket;
      done(null, { host, port: 4222, close: (closed) => closed() });
    },
    dial: none,
  };
  const front = createNatsFront({
    env,
    net,
    broker,
    listen: { host: 'h', port: 4222 },
    info: () => ({ server_id: 'N', server_name: 'n', version: '2.14.0', jetstream: false, api_lvl: 4 }),
    auth: createAuth(),
  });
  front.start(none);
  const endTurn = () => {
    for (const fn of turn.splice(0)) fn();
  };
  return {
    broker,
    front,
    endTurn,
    advance(ms: number): void {
      for (const until = nowMs + ms; nowMs < until; ) {
        nowMs = Math.min(until, Math.min(...timers.map((timer) => timer.dueMs)));
        const due = timers.filter((timer) => timer.dueMs <= nowMs);
        timers = timers.filter((timer) => timer.dueMs > nowMs);
        for (const timer of due) timer.fn();
        endTurn();
      }
    },
    connect(): MemorySocket {
      const socket = new MemorySocket();
      accept(socket);
      endTurn();
      return socket;
    },
  };
}

const subject = fc.constantFrom('a', 'a.b', 'a.*', '>', 'x..y', 'größe');
const sid = fc.constantFrom('1', '2', '3');
const operation = fc.oneof(
  fc.tuple(subject, sid, fc.constantFrom('', 'q ')).map(([s, n, q]) => `SUB ${s} ${q}${n}\r\n`),
  fc.tuple(sid, fc.constantFrom('', ' 1', ' 3')).map(([n, max]) => `UNSUB ${n}${max}\r\n`),
  fc
    .tuple(subject, fc.constantFrom('', 'a ', 'r.x '), fc.constantFrom('', 'hi', 'x'.repeat(300)))
    .map(([s, r, p]) => `PUB ${s} ${r}${p.length}\r\n${p}\r\n`),
  fc.tuple(subject, fc.constantFrom('', 'a.b ')).map(([s, r]) => `HPUB ${s} ${r}12 14\r\nNATS/1.0\r\n\r\nhi\r\n`),
  fc.constantFrom(
    'PING\r\n',
    'PONG\r\n',
    'CONNECT {}\r\n',
    'CONNECT {"verbose":false,"headers":true,"no_responders":true,"echo":false}\r\n',
  ),
);
const rare = fc.constantFrom('PUB a\r\n', 'JUNK\r\n', 'CONNECT {\r\n', 'PUB a 9999999\r\n');

test('any conversation, however it is cut', () => {
  const conversation = fc.tuple(
    fc.constantFrom('', 'CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true}\r\n'),
    fc.array(fc.oneof({ weight: 30, arbitrary: operation }, { weight: 1, arbitrary: rare }), { maxLength: 25 }),
  );
  const play = (text: string, cuts: readonly number[]) => {
    const { broker, front, connect, endTurn, advance } = world();
    const other = connect();
    other.data(Buffer.from('CONNECT {"verbose":false,"pedantic":false}\r\nSUB a.> 9\r\nSUB r.x 8\r\n'));
    const socket = connect();
    const all = Buffer.from(text);
    const at = [...new Set([0, ...cuts.map((cut) => cut % (all.length + 1)), all.length])].sort((a, b) => a - b);
    for (let i = 1; i < at.length; i++) {
      socket.data(Buffer.from(all.subarray(at[i - 1], at[i])));
      if (i % 2 === 0) endTurn();
    }
    endTurn();
    const { output, closed } = socket;
    socket.destroy();
    other.destroy();
    advance(1_000);
    expect(broker.stats.subscriptions).toBe(0);
    expect(front.connections()).toEqual([]);
    expect(front.closed().length).toBe(2);
    return { output, closed, other: other.output };
  };
  fc.assert(
    fc.property(conversation, fc.array(fc.nat(5_000), { maxLength: 10 }), ([hello, operations], cuts) => {
      const text = hello + operations.join('');
      expect(play(text, cuts)).toEqual(play(text, []));
    }),
    { numRuns: 200 },
  );
});

test('pings: first soon after CONNECT, then when nothing came for long; two unanswered are tolerated', () => {
  const { connect, advance, front } = world();
  const socket = connect();
  socket.data(Buffer.from('CONNECT {"verbose":false}\r\n'));
  const pings = () => socket.output.split('PING\r\n').length - 1;
  advance(1_900);
  expect(pings()).toBe(0);
  advance(500);
  expect(pings()).toBe(1);
  socket.data(Buffer.from('PONG\r\n'));
  expect(front.connections()[0].rttMs).toBeGreaterThanOrEqual(0);
  for (let i = 0; i < 10; i++) {
    advance(60_000);
    socket.data(Buffer.from('PING\r\n'));
  }
  expect(pings()).toBe(1);
  advance(121_000);
  expect(pings()).toBe(2);
  advance(121_000);
  expect([pings(), socket.closed]).toEqual([3, false]);
  advance(121_000);
  expect([pings(), socket.closed]).toEqual([3, true]);
  expect(socket.output.endsWith("-ERR 'Stale Connection'\r\n")).toBe(true);
});

test('output waits while the socket takes nothing, and leaves in order when it does', () => {
  const { connect, endTurn, front } = world();
  const socket = connect();
  socket.data(Buffer.from('CONNECT {"verbose":false,"pedantic":false}\r\nSUB a 1\r\n'));
  const publisher = connect();
  publisher.data(Buffer.from('CONNECT {"verbose":false,"pedantic":false}\r\n'));
  const start = socket.output.length;
  let expected = '';
  socket.stuck = true;
  for (let i = 0; i < 40; i++) {
    const body = String.fromCharCode(65 + i).repeat(i % 7 === 0 ? 90_000 : 500 * i);
    publisher.data(Buffer.from(`PUB a ${body.length}\r\n${body}\r\n`));
    expected += `MSG a 1 ${body.length}\r\n${body}\r\n`;
    if (i % 3 === 0) endTurn();
    if (i === 20) {
      expect(front.connections()[0].pendingBytes).toBeGreaterThan(100_000);
      socket.unstick();
      socket.stuck = true;
    }
  }
  endTurn();
  expect(socket.output.length - start).toBeLessThan(expected.length);
  socket.unstick();
  endTurn();
  expect(socket.output.slice(start) === expected).toBe(true);
  expect(front.connections()[0].pendingBytes).toBe(0);
});
