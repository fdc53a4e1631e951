// A Message whose header and payload are ranges of one buffer; the views that the door promises are made only when someone
// asks. Parsers reuse one object for every message: who keeps the message beyond the call copies it, but the buffer
// itself never changes, so views may be kept. Invariant: hdrStart <= payloadStart <= end <= bytes.length.
import type { Message } from './types.ts';

const NOTHING = Buffer.alloc(0);

export class RawMessage implements Message {
  subject = '';
  reply = '';
  bytes: Buffer = NOTHING;
  hdrStart = 0;
  payloadStart = 0;
  end = 0;
  #hdr: Uint8Array | undefined = undefined;
  #payload: Uint8Array | undefined = undefined;

  get hdr(): Uint8Array {
    if (this.hdrStart === this.payloadStart) return NOTHING;
    return (this.#hdr ??= this.bytes.subarray(this.hdrStart, this.payloadStart));
  }

  get payload(): Uint8Array {
    return (this.#payload ??= this.bytes.subarray(this.payloadStart, this.end));
  }

  setBody(bytes: Buffer, hdrStart: number, payloadStart: number, end: number): void {
    this.bytes = bytes;
    this.hdrStart = hdrStart;
    this.payloadStart = payloadStart;
    this.end = end;
    this.#hdr = undefined;
    this.#payload = undefined;
  }
}

/** Header and payload together, as NATS counts bytes. */
export function messageBytes(message: Message): number {
  if (message instanceof RawMessage) return message.end - message.hdrStart;
  return message.hdr.length + message.payload.length;
}
