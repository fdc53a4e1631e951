// How the partitions of a stream reach each other for consumers over several of them (docs/adr/0004): frames on a channel of their own,
// calls by PartitionClient. Runs on every node; made by the composition root. A frame to this node itself arrives at the end of the
// turn, as one from elsewhere arrives in a later one. What cannot leave is said so at once; nothing is kept or sent again here.

import type { GroupId, PeerId } from '../../cluster/core/types.ts';
import { Channel, type Transport } from '../../cluster/rpc/types.ts';
import type { Env } from '../kit/env.ts';
import { groupOf, type Partitions, type StreamRecord } from '../meta/types.ts';
import type { PartLinks, PartOps } from '../stream/types.ts';
import type { PartitionClient } from './partition-client.ts';

const TO_PART = 1;
const TO_HOME = 2;
/** u8 direction, u8 sending partition, f64 group. */
const HEADER_BYTES = 10;
const PARTITIONS_MAX = 64;

export interface PartLinksOptions {
  env: Env;
  transport: Transport;
  partitions: Partitions;
  client: PartitionClient;
  /** Of all partitions with a replica here. */
  each: () => Iterable<{ readonly parts: PartOps | undefined }>;
}

export class PartRouter {
  readonly #options: PartLinksOptions;
  #local: { header: Uint8Array; frame: Uint8Array }[] = [];

  constructor(options: PartLinksOptions) {
    const { transport, partitions } = options;
    this.#options = options;
    transport.onMessage(Channel.part, (from, bytes) => {
      this.#receive(from, bytes.subarray(0, HEADER_BYTES), bytes.subarray(HEADER_BYTES));
    });
    transport.onPeerDown((peer) => {
      for (const { parts } of options.each()) parts?.onPeerDown(peer);
    });
    partitions.onLeaderChange((group, leader) => {
      if (leader === 0) return;
      const partition = group % PARTITIONS_MAX;
      partitions.local(group - partition)?.parts?.onPartLeader(partition);
    });
  }

  linksOf({ streamId, partitions: count }: StreamRecord): PartLinks {
    const { client, partitions } = this.#options;
    const home = groupOf(streamId, 0);
    return {
      partitions: count,
      toPart: (partition, frame) => {
        const group = groupOf(streamId, partition);
        return this.#send(partitions.leaderOf(group), TO_PART, 0, group, frame);
      },
      toHome: (peer, from, frame) => this.#send(peer, TO_HOME, from, home, frame),
      calls: {
        createPart: (partition, plan, done) => client.call(groupOf(streamId, partition), 'createPart', [plan], done),
        removePart: (partition, name, homeId, done) =>
          client.call(groupOf(streamId, partition), 'removePart', [name, homeId], done),
        edges: (partition, patterns, done) => client.call(groupOf(streamId, partition), 'edges', [[...patterns]], done),
        partInfo: (partition, name, done) => client.call(groupOf(streamId, partition), 'consumerInfo', [name], done),
        partList: (partition, done) => client.call(groupOf(streamId, partition), 'consumerList', [], done),
      },
    };
  }

  #send(to: PeerId, direction: number, from: number, group: GroupId, frame: Uint8Array): boolean {
    if (to === 0) return false;
    const header = new Uint8Array(HEADER_BYTES);
    header[0] = direction;
    header[1] = from;
    new DataView(header.buffer).setFloat64(2, group);
    const { env, transport } = this.#options;
    if (to !== transport.self.id) return transport.send(to, Channel.part, [header, frame]);
    if (this.#local.length === 0) env.clock.endOfTurn(this.#deliverLocal);
    this.#local.push({ header, frame });
    return true;
  }

  readonly #deliverLocal = (): void => {
    const frames = this.#local;
    this.#local = [];
    for (const { header, frame } of frames) this.#receive(this.#options.transport.self.id, header, frame);
  };

  #receive(from: PeerId, header: Uint8Array, frame: Uint8Array): void {
    const { env, partitions } = this.#options;
    let isWhole = header.length === HEADER_BYTES;
    if (isWhole) {
      const group = new DataView(header.buffer, header.byteOffset, HEADER_BYTES).getFloat64(2);
      // A group that is not here: who spoke to it hears of its leader.
      const parts = partitions.local(group)?.parts;
      if (parts === undefined) return;
      isWhole = header[0] === TO_PART ? parts.fromHome(from, frame) : parts.fromPart(header[1], frame);
    }
    if (!isWhole) env.log.warn('malformed frame between partitions', { peer: from });
  }
}
