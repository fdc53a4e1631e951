// Interest of another node in one pattern: an entry of the subject index beside local subscriptions. Pure data.
import type { PeerRoute } from './cluster-routes.ts';

export class RemoteInterest {
  readonly peer: PeerRoute;
  readonly account: string;
  readonly subject: string;
  /** '' for plain interest. */
  readonly queue: string;
  /** Members there. */
  weight: number;
  /** The peer's sync that last named it. */
  epoch: number;

  constructor(peer: PeerRoute, account: string, subject: string, queue: string, weight: number, epoch: number) {
    this.peer = peer;
    this.account = account;
    this.subject = subject;
    this.queue = queue;
    this.weight = weight;
    this.epoch = epoch;
  }
}
