// Accepts connections for a protocol front and counts them. Beyond `connectionsMax` a socket is still handed over, marked
// as refused, because the protocol owes it an explanation. Invariant: `open` counts every accepted socket that was not refused
// and has not been released.
import type { Listener, Net, Socket } from '../kit/net.ts';

export interface ConnectionListenerOptions {
  net: Net;
  host: string;
  /** 0 picks a free port. */
  port: number;
  connectionsMax: number;
  onConnection(socket: Socket, refused: boolean): void;
}

export class ConnectionListener {
  readonly #options: ConnectionListenerOptions;
  #listener: Listener | undefined = undefined;
  #connectionsMax: number;
  #stopped = false;
  open = 0;

  constructor(options: ConnectionListenerOptions) {
    this.#options = options;
    this.#connectionsMax = options.connectionsMax;
  }

  /** For those who come from now on. */
  setConnectionsMax(connectionsMax: number): void {
    this.#connectionsMax = connectionsMax;
  }

  start(ready: (error: Error | null) => void): void {
    const { net, host, port } = this.#options;
    net.listen(
      host,
      port,
      (socket) => this.#accept(socket),
      (error, listener) => {
        if (listener !== null) this.#listener = listener;
        if (this.#stopped) listener?.close(() => {});
        ready(error);
      },
    );
  }

  /** Where it listens; the port is 0 until it does. */
  get address(): { host: string; port: number } {
    return { host: this.#options.host, port: this.#listener?.port ?? 0 };
  }

  /** The connection that was not refused has ended. */
  release(): void {
    this.open--;
  }

  /** Accepts no more; open connections stay. */
  stop(done: () => void): void {
    if (this.#stopped || this.#listener === undefined) {
      this.#stopped = true;
      done();
      return;
    }
    this.#stopped = true;
    // The kernel-side listener is closed at once; its callback waits for open sockets, which are not its business here.
    this.#listener.close(() => {});
    done();
  }

  #accept(socket: Socket): void {
    if (this.#stopped) {
      socket.destroy();
      return;
    }
    const refused = this.open >= this.#connectionsMax;
    if (!refused) this.open++;
    this.#options.onConnection(socket, refused);
  }
}
