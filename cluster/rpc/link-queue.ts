// What waits to leave for one peer, by priority class. links.ts fills it during a turn and drains it at the turn's end, and again when
// the socket has room. Order is kept within a channel; between classes the more important overtakes: consensus first, then
// answers, then forwarded publishes, routed core messages, bulk data. Invariant: the bound is on all that is
// queued here or in the socket; the less important a class, the earlier it is refused, so that consensus always finds room.
import { encodeFrame } from './codec.ts';
import { Channel } from './types.ts';

const MIB = 1024 * 1024;
/** A frame is closed when it has reached this size. */
const FRAME_TARGET_BYTES = MIB;

/** Class of each channel, by channel number; 0 is the most important. */
const CLASS_OF: number[] = [];
CLASS_OF[Channel.raft] = 0;
CLASS_OF[Channel.rpc] = 1;
CLASS_OF[Channel.leaders] = 1;
CLASS_OF[Channel.consumer] = 1;
CLASS_OF[Channel.interest] = 1;
CLASS_OF[Channel.publish] = 2;
CLASS_OF[Channel.part] = 3;
CLASS_OF[Channel.route] = 3;
CLASS_OF[Channel.transfer] = 4;
/** A message of the class is refused when more than this is queued in all. */
const REFUSE_ABOVE_BYTES = [64 * MIB, 56 * MIB, 48 * MIB, 32 * MIB, 16 * MIB];
/** The class waits here while the socket holds more than this. */
const SOCKET_ABOVE_BYTES = [8 * MIB, MIB, MIB, MIB, MIB / 2];

/** One message must fit into a frame with room for the header. */
export const MESSAGE_BYTES_MAX = 15 * MIB;

interface Lane {
  channels: number[];
  lengths: number[];
  /** How many of `parts` belong to each message. */
  partCounts: number[];
  parts: Uint8Array[];
  head: number;
  partHead: number;
}

export class LinkQueue {
  bytes = 0;
  private readonly lanes: Lane[] = REFUSE_ABOVE_BYTES.map(() => ({
    channels: [],
    lengths: [],
    partCounts: [],
    parts: [],
    head: 0,
    partHead: 0,
  }));

  /** False: refused, nothing was queued. `socketBytes` is what the socket still holds. */
  push(channel: Channel, parts: readonly Uint8Array[], socketBytes: number): boolean {
    let length = 0;
    for (const part of parts) length += part.length;
    const cls = CLASS_OF[channel];
    if (length > MESSAGE_BYTES_MAX || this.bytes + socketBytes + length > REFUSE_ABOVE_BYTES[cls]) return false;
    const lane = this.lanes[cls];
    lane.channels.push(channel);
    lane.lengths.push(length);
    lane.partCounts.push(parts.length);
    for (const part of parts) lane.parts.push(part);
    this.bytes += length;
    return true;
  }

  /** Against the bound of the channel's class; above 1 for a class that is refused earlier than what is queued. */
  fullness(channel: Channel, socketBytes: number): number {
    return (this.bytes + socketBytes) / REFUSE_ABOVE_BYTES[CLASS_OF[channel]];
  }

  /** The next frame that may leave while the socket holds `socketBytes`; undefined: nothing (more) may. */
  nextFrame(socketBytes: number): Uint8Array[] | undefined {
    const channel: number[] = [];
    const length: number[] = [];
    const body: Uint8Array[] = [];
    let bytes = 0;
    for (let cls = 0; cls < this.lanes.length && bytes < FRAME_TARGET_BYTES; cls++) {
      const lane = this.lanes[cls];
      while (lane.head < lane.channels.length && bytes < FRAME_TARGET_BYTES) {
        if (socketBytes + bytes > SOCKET_ABOVE_BYTES[cls]) break;
        const size = lane.lengths[lane.head];
        if (bytes > 0 && bytes + size > MESSAGE_BYTES_MAX) break;
        channel.push(lane.channels[lane.head]);
        length.push(size);
        for (let left = lane.partCounts[lane.head]; left > 0; left--) body.push(lane.parts[lane.partHead++]);
        lane.head++;
        bytes += size;
      }
      if (lane.head === lane.channels.length && lane.head > 0) reset(lane);
    }
    if (channel.length === 0) return undefined;
    this.bytes -= bytes;
    return encodeFrame({ data: { channel, length } }, body);
  }
}

function reset(lane: Lane): void {
  lane.channels = [];
  lane.lengths = [];
  lane.partCounts = [];
  lane.parts = [];
  lane.head = 0;
  lane.partHead = 0;
}
