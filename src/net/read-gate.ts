// Makes a socket wait for a moment: the sender of core traffic whose receivers cannot follow. Used by sessions.
// Invariant: a gate that closes opens again by itself, so nothing that shares the connection can be stuck for longer
// than `STALL_MS_MAX`.
import type { Clock, Timer } from '../kit/env.ts';
import type { Socket } from '../kit/net.ts';

export const STALL_MS_MIN = 2;
export const STALL_MS_MAX = 10;

export class ReadGate {
  readonly #socket: Socket;
  readonly #clock: Clock;
  #timer: Timer | undefined = undefined;
  /** How often reading was held up. */
  stalls = 0;

  constructor(socket: Socket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
  }

  /** `pressure` from 0, where a receiver begins to fall behind, to 1, where it is about to be cut: the more, the longer. */
  stall(pressure: number): void {
    if (this.#timer !== undefined) return;
    const share = Math.min(1, pressure);
    this.stalls++;
    this.#socket.pause();
    this.#timer = this.#clock.after(STALL_MS_MIN + share * (STALL_MS_MAX - STALL_MS_MIN), () => {
      this.#timer = undefined;
      this.#socket.resume();
    });
  }

  /** No more waiting: the connection is about to end and must see the other side's end. */
  close(): void {
    if (this.#timer === undefined) return;
    this.#clock.cancel(this.#timer);
    this.#timer = undefined;
    this.#socket.resume();
  }
}
