import { describe, expect, test } from 'vitest';
import type { Clock } from '../../../src/kit/env.ts';
import type { Listener, Net, Socket } from '../../../src/kit/net.ts';
import { ConnectionListener } from '../../../src/net/listener.ts';
import { ReadGate, STALL_MS_MAX, STALL_MS_MIN } from '../../../src/net/read-gate.ts';

class FakeSocket {
  paused = false;
  destroyed = false;
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  destroy(): void {
    this.destroyed = true;
  }
}

const asSocket = (socket: FakeSocket) => socket as unknown as Socket;

describe('listener', () => {
  function world(error: Error | null = null) {
    let accept: (socket: Socket) => void = () => {};
    let closed = 0;
    const net: Net = {
      listen(host, _port, onSocket, done) {
        accept = onSocket;
        const listener: Listener = { host, port: 4222, close: () => void closed++ };
        done(error, error === null ? listener : null);
      },
      dial: () => {},
    };
    const seen: boolean[] = [];
    const listener = new ConnectionListener({
      net,
      host: '127.0.0.1',
      port: 0,
      connectionsMax: 2,
      onConnection: (_socket, refused) => void seen.push(refused),
    });
    let started: Error | null | undefined;
    listener.start((failure) => {
      started = failure;
    });
    const come = () => {
      const socket = new FakeSocket();
      accept(asSocket(socket));
      return socket;
    };
    return { listener, seen, come, started, closes: () => closed };
  }

  test('counts, refuses beyond the maximum, and has room again', () => {
    const { listener, seen, come } = world();
    expect(listener.address).toEqual({ host: '127.0.0.1', port: 4222 });
    for (let i = 0; i < 3; i++) come();
    expect(seen).toEqual([false, false, true]);
    expect(listener.open).toBe(2);
    listener.release();
    come();
    expect(seen.at(-1)).toBe(false);
  });

  test('after stop nobody is let in, and stopping twice is stopping once', () => {
    const { listener, seen, come, closes } = world();
    let stops = 0;
    listener.stop(() => stops++);
    listener.stop(() => stops++);
    expect([stops, closes()]).toEqual([2, 1]);
    expect(come().destroyed).toBe(true);
    expect(seen).toEqual([]);
  });

  test('an address that cannot be bound is told', () => {
    const { started, listener } = world(new Error('EADDRINUSE'));
    expect(started?.message).toBe('EADDRINUSE');
    expect(listener.address.port).toBe(0);
  });
});

describe('gate', () => {
  function world() {
    const socket = new FakeSocket();
    const timers: { delayMs: number; fn: () => void }[] = [];
    const clock = {
      after: (delayMs: number, fn: () => void) => {
        timers.push({ delayMs, fn });
        return { dueMs: delayMs };
      },
      cancel: () => void timers.pop(),
    } as unknown as Clock;
    return { socket, timers, gate: new ReadGate(asSocket(socket), clock) };
  }

  test('the fuller the receiver the longer the wait, within bounds; it ends by itself', () => {
    const { socket, timers, gate } = world();
    for (const [pressure, delayMs] of [
      [0, STALL_MS_MIN],
      [0.5, (STALL_MS_MIN + STALL_MS_MAX) / 2],
      [1, STALL_MS_MAX],
      [7, STALL_MS_MAX],
    ]) {
      gate.stall(pressure);
      gate.stall(pressure);
      expect(socket.paused).toBe(true);
      expect(timers.length).toBe(1);
      expect(timers[0].delayMs).toBe(delayMs);
      timers.pop()!.fn();
      expect(socket.paused).toBe(false);
    }
    expect(gate.stalls).toBe(4);
  });

  test('a connection that ends is read again at once', () => {
    const { socket, timers, gate } = world();
    gate.stall(1);
    gate.close();
    expect([socket.paused, timers.length]).toEqual([false, 0]);
  });
});
