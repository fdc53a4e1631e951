// A NATS client of twenty lines: bytes in, bytes out. For expectations about the wire itself (error texts, split input,
// verbose and pedantic answers) that a real client hides.

import { connect, type Socket } from 'node:net';

export class RawClient {
  /** Everything received and not yet taken. */
  received = '';
  closed = false;
  private readonly socket: Socket;
  private wake: () => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding('latin1');
    socket.setNoDelay(true);
    socket.on('data', (chunk: string) => {
      this.received += chunk;
      this.wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      this.wake();
    });
  }

  static connect(port: number): Promise<RawClient> {
    return new Promise((done, fail) => {
      const socket = connect({ port, host: '127.0.0.1' }, () => done(new RawClient(socket)));
      socket.once('error', fail);
    });
  }

  /** Connected, CONNECT sent, its INFO taken; returns the client and the INFO. Protocol 0: no INFO comes later. */
  static async session(
    port: number,
    options: Record<string, unknown> = {},
  ): Promise<[RawClient, Record<string, unknown>]> {
    const client = await RawClient.connect(port);
    const info = await client.until(/INFO (.*)\r\n/);
    client.send(`CONNECT ${JSON.stringify({ verbose: false, pedantic: false, protocol: 0, ...options })}\r\n`);
    await client.fence();
    return [client, JSON.parse(info.slice('INFO '.length))];
  }

  send(text: string): void {
    this.socket.write(Buffer.from(text, 'latin1'));
  }

  /** Waits for a match and takes everything up to its end; returns the matched text. */
  until(pattern: RegExp, timeoutMs = 30_000): Promise<string> {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => {
        this.wake = () => {};
        fail(new Error(`no ${pattern} within ${timeoutMs} ms; got ${JSON.stringify(this.received.slice(0, 2000))}`));
      }, timeoutMs);
      this.wake = () => {
        const match = pattern.exec(this.received);
        if (!match && !this.closed) return;
        clearTimeout(timer);
        this.wake = () => {};
        if (!match) return fail(new Error(`closed before ${pattern}; got ${JSON.stringify(this.received)}`));
        this.received = this.received.slice(match.index + match[0].length);
        done(match[0]);
      };
      this.wake();
    });
  }

  /** PING, then everything that came before its PONG. */
  async fence(): Promise<string> {
    this.send('PING\r\n');
    const text = await this.until(/^[\s\S]*?PONG\r\n/);
    return text.slice(0, -'PONG\r\n'.length);
  }

  /** Everything that the server sends until it closes the connection. */
  async untilClosed(timeoutMs = 30_000): Promise<string> {
    const deadline = performance.now() + timeoutMs;
    while (!this.closed) {
      if (performance.now() > deadline) throw new Error(`still open; got ${JSON.stringify(this.received)}`);
      await new Promise((go) => setTimeout(go, 5));
    }
    const text = this.received;
    this.received = '';
    return text;
  }

  close(): void {
    this.socket.destroy();
  }
}
