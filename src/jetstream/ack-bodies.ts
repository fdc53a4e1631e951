// PubAcks, their bodies written side by side into slabs: an encoder call and allocations per answer cost more than the answer. Used by
// publish-router.ts. Invariant: bytes that were handed out are never written again, so receivers may keep them; the message is one, used
// again and again.
import { RawMessage } from '../broker/raw-message.ts';

const SLAB_BYTES = 16_384;
/** `,"duplicate":true}` and the 16 digits of the largest seq. */
const TAIL_BYTES_MAX = 40;

const encoder = new TextEncoder();
const END = encoder.encode('}');
const END_DUPLICATE = encoder.encode(',"duplicate":true}');

export class AckBodies {
  readonly #message = new RawMessage();
  #slab = Buffer.alloc(0);
  #used = 0;

  /** The answer to `reply`, valid until the next one. `head` is the text before the seq. */
  stored(reply: string, head: Uint8Array, seq: number, duplicate: boolean): RawMessage {
    if (this.#used + head.length + TAIL_BYTES_MAX > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES + head.length + TAIL_BYTES_MAX);
      this.#used = 0;
    }
    const slab = this.#slab;
    const from = this.#used;
    let at = from;
    for (let i = 0; i < head.length; i++) slab[at++] = head[i];
    let digits = 1;
    for (let bound = 10; seq >= bound; bound *= 10) digits++;
    let rest = seq;
    for (let i = at + digits - 1; i >= at; i--) {
      const tens = Math.trunc(rest / 10);
      slab[i] = rest - tens * 10 + 48;
      rest = tens;
    }
    at += digits;
    const end = duplicate ? END_DUPLICATE : END;
    for (let i = 0; i < end.length; i++) slab[at++] = end[i];
    this.#used = at;
    const message = this.#message;
    message.subject = reply;
    message.setBody(slab, from, from, at);
    return message;
  }
}
