// One TCP connection to a peer, from the first byte to its end: handshake, then frames. links.ts owns all of them and decides by its
// callbacks which becomes the link. Invariants: nothing but handshake frames is accepted before both proofs were verified; any
// bad byte ends this connection and nothing else; after `closed` no callback runs.
import type { Env, Timer } from '../../src/kit/env.ts';
import type { Socket } from '../../src/kit/net.ts';
import { encodeFrame, FRAME_BYTES_MAX, type FrameHeader, FrameParser, HANDSHAKE_FRAME_BYTES_MAX } from './codec.ts';
import { equalMacs, type Hello, judge, readHello, transcript } from './handshake.ts';

const HANDSHAKE_TIMEOUT_MS = 3_000;
/** An end that does not close after we did is cut off. */
const LINGER_MS = 1_000;

/** hello: theirs is awaited. proof: theirs is awaited. choice: both are proved; the end with the smaller id says welcome. welcomed: it
 * did. up: both did. */
export type ConnectionState = 'hello' | 'proof' | 'choice' | 'welcomed' | 'up' | 'closed';

export interface ConnectionOwner {
  readonly env: Env;
  readonly secret: string;
  /** Every byte of every connection between nodes: handshakes, heartbeats and what was never completed included. */
  readonly stats: { bytesIn: number; bytesOut: number };
  hmac(key: string, text: string): Uint8Array;
  /** The other end is proved and this end is the one to choose: take it (undefined), or refuse it with a reason. */
  choose(connection: Connection): string | undefined;
  up(connection: Connection): void;
  frame(connection: Connection, header: FrameHeader, body: Uint8Array): void;
  heard(connection: Connection): void;
  writable(connection: Connection): void;
  /** Runs once. `fault` is for the log: ours or theirs, a refusal's reason; '' when there is nothing to say. */
  closed(connection: Connection, fault: string): void;
}

export interface ConnectionCounts {
  messagesIn: number;
  messagesOut: number;
  bytesIn: number;
  bytesOut: number;
}

export class Connection {
  state: ConnectionState = 'hello';
  /** What the other end says of itself; set from state 'proof' on. */
  peer: Hello | undefined;
  /** This end dialed that address; '' when the other end did. */
  readonly dialed: string;
  readonly socket: Socket;
  /** For bulk data, beside the link; both ends know it once the dialing end has said hello. */
  bulk: boolean;
  /** The other end is this node. */
  isSelf = false;
  /** Since it is up: what it carried. Messages are what channels were given; heartbeats and gossip are none. */
  readonly counts: ConnectionCounts = { messagesIn: 0, messagesOut: 0, bytesIn: 0, bytesOut: 0 };
  /** Wall clock when both ends said welcome, and when anything last came. */
  upUs = 0;
  heardUs = 0;
  private readonly owner: ConnectionOwner;
  private readonly own: Hello;
  private readonly timer: Timer;
  private readonly parser: FrameParser;

  constructor(owner: ConnectionOwner, socket: Socket, own: Hello, dialed: string) {
    this.owner = owner;
    this.socket = socket;
    this.own = own;
    this.dialed = dialed;
    this.bulk = own.bulk;
    this.parser = new FrameParser(HANDSHAKE_FRAME_BYTES_MAX, (header, body) => this.onFrame(header, body));
    this.timer = owner.env.clock.after(HANDSHAKE_TIMEOUT_MS, () => this.close('no handshake within 3 s'));
    socket.onClose((error) => this.finish(error?.message ?? 'closed by the other end'));
    socket.onDrain(() => {
      if (this.state === 'up') owner.writable(this);
    });
    socket.onData((bytes) => {
      owner.stats.bytesIn += bytes.length;
      this.counts.bytesIn += bytes.length;
      if (this.state === 'closed') return;
      this.heardUs = owner.env.clock.wallUs();
      owner.heard(this);
      const wrong = this.parser.push(bytes);
      if (wrong !== undefined) this.close(wrong);
    });
    if (owner.secret === '' && !socket.loopback) {
      this.refuse('a cluster secret is required beyond loopback');
      return;
    }
    this.write({ hello: { ...own } });
  }

  write(header: FrameHeader, body: readonly Uint8Array[] = []): void {
    if (this.state === 'closed') return;
    const parts = encodeFrame(header, body);
    for (const part of parts) {
      this.owner.stats.bytesOut += part.length;
      this.counts.bytesOut += part.length;
    }
    this.socket.write(parts);
  }

  /** Tells the other end why, then closes. */
  refuse(reason: string, duplicate = false): void {
    if (this.state === 'closed') return;
    this.write({ refusal: { reason, duplicate } });
    this.linger();
    this.finish(duplicate ? '' : `refused: ${reason}`);
  }

  /** Closes after everything written has left. */
  end(): void {
    if (this.state === 'closed') return;
    this.linger();
    this.finish('');
  }

  close(fault: string): void {
    if (this.state === 'closed') return;
    this.socket.destroy();
    this.finish(fault);
  }

  private linger(): void {
    this.socket.end();
    const timer = this.owner.env.clock.after(LINGER_MS, () => this.socket.destroy());
    this.socket.onClose(() => this.owner.env.clock.cancel(timer));
  }

  private finish(fault: string): void {
    if (this.state === 'closed') return;
    this.state = 'closed';
    this.owner.env.clock.cancel(this.timer);
    this.owner.closed(this, fault);
  }

  private onFrame(header: FrameHeader, body: Uint8Array): void {
    if (this.state === 'closed') return;
    if (header.refusal) {
      this.close(header.refusal.duplicate ? '' : `refused by the other end: ${header.refusal.reason}`);
      return;
    }
    if (this.state === 'up') this.owner.frame(this, header, body);
    else if (header.hello && this.state === 'hello') this.onHello(header.hello);
    else if (header.proof && this.state === 'proof') this.onProof(header.proof.mac ?? new Uint8Array(0));
    else if (header.welcome && (this.state === 'choice' || this.state === 'welcomed')) this.onWelcome();
    else this.close('a frame that does not belong into the handshake');
  }

  private onHello(raw: NonNullable<FrameHeader['hello']>): void {
    const hello = readHello(this.own, raw);
    if (typeof hello === 'string') {
      this.refuse(hello);
      return;
    }
    const verdict = judge(this.own, hello);
    if (!verdict.ok) {
      this.isSelf = verdict.self;
      if (verdict.self) this.close('');
      else this.refuse(verdict.reason);
      return;
    }
    this.peer = hello;
    this.bulk ||= hello.bulk;
    this.state = 'proof';
    this.write({ proof: { mac: this.mac(this.own, hello) } });
  }

  private onProof(mac: Uint8Array): void {
    const peer = this.peer!;
    if (!equalMacs(mac, this.mac(peer, this.own))) {
      this.refuse(`the cluster secrets of nodes ${this.own.name} and ${peer.name} differ`);
      return;
    }
    this.state = 'choice';
    if (this.own.id > peer.id) return;
    const refusal = this.owner.choose(this);
    if (refusal !== undefined) {
      this.refuse(refusal, true);
      return;
    }
    this.state = 'welcomed';
    this.write({ welcome: {} });
  }

  private onWelcome(): void {
    const chooser = this.own.id < this.peer!.id;
    if (chooser !== (this.state === 'welcomed')) {
      this.close('a welcome out of turn');
      return;
    }
    if (!chooser) this.write({ welcome: {} });
    this.state = 'up';
    this.upUs = this.owner.env.clock.wallUs();
    this.owner.env.clock.cancel(this.timer);
    this.parser.setFrameBytesMax(FRAME_BYTES_MAX);
    this.owner.up(this);
  }

  private mac(prover: Hello, other: Hello): Uint8Array {
    return this.owner.secret === '' ? new Uint8Array(0) : this.owner.hmac(this.owner.secret, transcript(prover, other));
  }
}
