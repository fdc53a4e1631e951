// What cores say in one turn, gathered into one frame per peer. The host adds messages as groups are served and sends when all were. Invariant:
// the messages to one peer keep their order; what cannot leave is lost like on a wire, and cores send again what matters.
import type { GroupId, PeerId, RaftMessage } from '../core/types.ts';
import { RaftBatchWriter } from '../rpc/raft-codec.ts';
import { Channel, type Transport } from '../rpc/types.ts';
import type { HostStats } from './types.ts';

/** A frame to one peer is sent when it has grown to this, even within a turn. */
const FRAME_BYTES = 1024 * 1024;

export class Outgoing {
  private readonly transport: Transport;
  private readonly stats: HostStats;
  private readonly writers = new Map<PeerId, RaftBatchWriter>();
  /** Among what waits is something that another node must work on before an answer can be given. */
  private urgent = false;

  constructor(transport: Transport, stats: HostStats) {
    this.transport = transport;
    this.stats = stats;
  }

  /** True: it waits for `send`. */
  add(group: GroupId, message: RaftMessage): boolean {
    let writer = this.writers.get(message.to);
    if (writer === undefined) {
      writer = new RaftBatchWriter();
      this.writers.set(message.to, writer);
    }
    writer.add(group, message);
    // A commit index alone is news of what is over.
    if (message.type !== 'commit') this.urgent = true;
    if (writer.bytes < FRAME_BYTES) return true;
    this.sendTo(message.to, writer);
    return false;
  }

  /** True: it should leave at once, before this turn's answers to clients. */
  send(): boolean {
    for (const [peer, writer] of this.writers) if (!writer.empty) this.sendTo(peer, writer);
    const { urgent } = this;
    this.urgent = false;
    return urgent;
  }

  dropPeer(peer: PeerId): void {
    this.writers.delete(peer);
  }

  private sendTo(peer: PeerId, writer: RaftBatchWriter): void {
    if (!this.transport.isUp(peer)) writer.drop();
    else if (this.transport.send(peer, Channel.raft, writer.take())) {
      this.stats.framesSent++;
      return;
    }
    this.stats.framesDropped++;
  }
}
