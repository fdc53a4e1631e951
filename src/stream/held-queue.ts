// Publishes and commands that wait behind one whose answer is not known yet, in the order in which they came. Pure; owned by leader.ts.
// Invariant: the one that was put back comes first.
import { Fifo } from './fifo.ts';
import type { CommandResult } from './machine.ts';
import type { AckSink } from './types.ts';

export type CommandDone = (result: CommandResult) => void;

export type Held =
  | { subject: string; hdr: Uint8Array; payload: Uint8Array; sink: AckSink; token: number }
  | { type: number; body: Uint8Array; done: CommandDone | undefined };

export class HeldQueue {
  /** Of headers and payloads. */
  bytes = 0;
  readonly #queue = new Fifo<Held>();
  #first: Held | undefined;

  get size(): number {
    return this.#queue.size + (this.#first === undefined ? 0 : 1);
  }

  /** Copies what may be part of a receive buffer. */
  publish(subject: string, hdr: Uint8Array, payload: Uint8Array, sink: AckSink, token: number): void {
    this.#queue.push({ subject, hdr: new Uint8Array(hdr), payload: new Uint8Array(payload), sink, token });
    this.bytes += hdr.length + payload.length;
  }

  command(type: number, body: Uint8Array, done: CommandDone | undefined): void {
    this.#queue.push({ type, body, done });
  }

  take(): Held | undefined {
    const next = this.#first ?? this.#queue.shift();
    this.#first = undefined;
    if (next !== undefined && 'sink' in next) this.bytes -= next.hdr.length + next.payload.length;
    return next;
  }

  /** What `take` gave must go on waiting. */
  putBack(item: Held): void {
    this.#first = item;
    if ('sink' in item) this.bytes += item.hdr.length + item.payload.length;
  }

  drain(): Held[] {
    const items = this.#queue.drain();
    if (this.#first !== undefined) items.unshift(this.#first);
    this.#first = undefined;
    this.bytes = 0;
    return items;
  }
}
