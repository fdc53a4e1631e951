// Sockets as a door: byte streams to clients and peers. `net-node.ts` implements it on node:net; protocol sessions and
// cluster links see only this. Callbacks, no promises; one handler per event, the last one set counts. After `onClose` ran, no other
// handler of that socket runs again.

export interface Socket {
  /** `ip:port` of the other end; '' when it is gone. */
  readonly remoteAddress: string;
  /** The other end is this machine. */
  readonly loopback: boolean;
  /** Bytes accepted by `write` that the kernel has not taken yet. */
  readonly bufferedBytes: number;
  /** Total bytes received so far. */
  readonly bytesRead: number;

  /** Writes all parts in order with one system call where the kernel takes them. The parts must not change as
   * long as `bufferedBytes` counts them. False: more is buffered than is good, `onDrain` follows when it has gone. Ignored after close. Call it once per turn. */
  write(parts: readonly Uint8Array[]): boolean;
  /** `bytes` is not reused: it may be kept or sliced. Reading starts when the handler is set. */
  onData(handler: (bytes: Uint8Array) => void): void;
  onDrain(handler: () => void): void;
  /** Runs once, whichever end closed. `error` when it did not end in order. */
  onClose(handler: (error: Error | undefined) => void): void;
  /** Stops reading: the sender feels TCP's back-pressure. */
  pause(): void;
  resume(): void;
  /** Closes after everything written has left. */
  end(): void;
  /** Closes now. */
  destroy(): void;
}

export interface Listener {
  readonly host: string;
  /** The real port, also when 0 was asked for. */
  readonly port: number;
  /** Stops accepting; accepted sockets stay open. */
  close(done: () => void): void;
}

export interface Net {
  /** `done(error)` when the address cannot be bound. Accepted sockets have TCP_NODELAY set. */
  listen(
    host: string,
    port: number,
    onSocket: (socket: Socket) => void,
    done: (error: Error | null, listener: Listener | null) => void,
  ): void;
  /** Exactly one call of `done`; a socket that is not open after `timeoutMs` is given up. */
  dial(host: string, port: number, timeoutMs: number, done: (error: Error | null, socket: Socket | null) => void): void;
}

/** 127.0.0.0/8, ::1 and their mapped forms. Literal addresses only; `localhost` counts as well. */
export function isLoopbackAddress(host: string): boolean {
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
  if (bare === 'localhost' || bare === '::1') return true;
  const v4 = bare.startsWith('::ffff:') ? bare.slice(7) : bare;
  return /^127\.\d+\.\d+\.\d+$/.test(v4);
}

/** Splits `host:port`, `[v6]:port` and URLs like `nats-route://user@host:port/`. Undefined when there is no valid port. */
export function parseHostPort(address: string): { host: string; port: number } | undefined {
  const noScheme = address.replace(/^[a-z][a-z0-9+.-]*:\/\//i, '').replace(/\/+$/, '');
  const at = noScheme.lastIndexOf('@');
  const rest = at < 0 ? noScheme : noScheme.slice(at + 1);
  const colon = rest.lastIndexOf(':');
  if (colon <= 0) return undefined;
  const port = Number(rest.slice(colon + 1));
  if (!/^\d+$/.test(rest.slice(colon + 1)) || port > 65_535) return undefined;
  let host = rest.slice(0, colon);
  if (host.startsWith('[') && host.endsWith(']')) host = host.slice(1, -1);
  else if (host.includes(':')) return undefined;
  return { host, port };
}
