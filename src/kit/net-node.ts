// Net on node:net. Used by the composition root, which hands it to listeners and cluster links; `socketFromStream` also wraps what
// TLS or WebSocket layers make of a socket. Invariant: one `write` is one corked flush (writev); small parts are gathered
// first, because an iovec entry costs more than copying a few hundred bytes.
import { createServer, connect as netConnect, type Server, type Socket as TcpSocket } from 'node:net';
import type { Duplex } from 'node:stream';
import { gatherParts } from './gather.ts';
import { isLoopbackAddress, type Listener, type Net, type Socket } from './net.ts';

class StreamSocket implements Socket {
  readonly remoteAddress: string;
  readonly loopback: boolean;
  bytesRead = 0;
  private readonly stream: Duplex;
  private dataHandler: ((bytes: Uint8Array) => void) | undefined;
  private drainHandler: (() => void) | undefined;
  private closeHandler: ((error: Error | undefined) => void) | undefined;
  private closed = false;
  private error: Error | undefined;

  constructor(stream: Duplex, remoteIp: string, remotePort: number) {
    this.stream = stream;
    this.remoteAddress = remoteIp.includes(':') ? `[${remoteIp}]:${remotePort}` : `${remoteIp}:${remotePort}`;
    this.loopback = isLoopbackAddress(remoteIp);
    stream.on('drain', () => {
      if (!this.closed) this.drainHandler?.();
    });
    // The error is told with 'close', which always follows.
    stream.on('error', (error) => {
      this.error = error;
    });
    stream.on('end', () => {
      if (!stream.writableEnded) stream.end();
    });
    stream.on('close', () => {
      if (this.closed) return;
      this.closed = true;
      this.closeHandler?.(this.error);
    });
  }

  get bufferedBytes(): number {
    return this.stream.writableLength;
  }

  write(parts: readonly Uint8Array[]): boolean {
    const stream = this.stream;
    if (this.closed || stream.destroyed || stream.writableEnded) return true;
    if (parts.length === 1) return stream.write(parts[0]);
    const chunks = gatherParts(parts);
    let ok = true;
    stream.cork();
    for (const chunk of chunks) ok = stream.write(chunk);
    stream.uncork();
    return ok;
  }

  onData(handler: (bytes: Uint8Array) => void): void {
    const first = this.dataHandler === undefined;
    this.dataHandler = handler;
    if (!first) return;
    this.stream.on('data', (chunk: Buffer) => {
      if (this.closed) return;
      this.bytesRead += chunk.length;
      this.dataHandler!(chunk);
    });
  }

  onDrain(handler: () => void): void {
    this.drainHandler = handler;
  }

  onClose(handler: (error: Error | undefined) => void): void {
    this.closeHandler = handler;
  }

  pause(): void {
    this.stream.pause();
  }

  resume(): void {
    this.stream.resume();
  }

  end(): void {
    this.stream.end();
  }

  destroy(): void {
    this.stream.destroy();
  }
}

/** A Socket over any byte stream (TLS, WebSocket); the address is that of the TCP connection below. */
export function socketFromStream(stream: Duplex, remoteIp: string, remotePort: number): Socket {
  return new StreamSocket(stream, remoteIp, remotePort);
}

/** The TCP socket below a Socket's stream, configured as all of ours are. */
export function socketFromTcp(tcp: TcpSocket): Socket {
  tcp.setNoDelay(true);
  return new StreamSocket(tcp, tcp.remoteAddress ?? '', tcp.remotePort ?? 0);
}

function listenerOf(server: Server, host: string): Listener {
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  return {
    host,
    port,
    close(done) {
      server.close(() => done());
    },
  };
}

export const nodeNet: Net = {
  listen(host, port, onSocket, done) {
    const server = createServer({ noDelay: true, allowHalfOpen: true }, (tcp) => onSocket(socketFromTcp(tcp)));
    let settled = false;
    server.on('error', (error) => {
      // After the address is bound, errors are those of single accepts (EMFILE); the listener goes on.
      if (settled) return;
      settled = true;
      done(error, null);
    });
    server.listen({ host, port, backlog: 4_096 }, () => {
      settled = true;
      done(null, listenerOf(server, host));
    });
  },

  dial(host, port, timeoutMs, done) {
    const tcp = netConnect({ host, port, noDelay: true, allowHalfOpen: true });
    let settled = false;
    const settle = (error: Error | null) => {
      if (settled) return;
      settled = true;
      tcp.setTimeout(0);
      tcp.off('error', settle);
      if (error === null) {
        done(null, socketFromTcp(tcp));
        return;
      }
      // A later error of the socket that was given up is of no interest.
      tcp.on('error', () => {});
      tcp.destroy();
      done(error, null);
    };
    tcp.setTimeout(timeoutMs, () => settle(new Error(`no connection to ${host}:${port} within ${timeoutMs} ms`)));
    tcp.once('error', settle);
    tcp.once('connect', () => settle(null));
  },
};
