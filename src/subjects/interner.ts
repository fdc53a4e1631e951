// Turns the bytes of a name into a string without decoding it when the same bytes were seen lately. Used by parsers and by
// the route codec: subjects repeat, and an interned string compares by pointer and has its hash ready for Maps.
// Direct-mapped: a slot remembers a name that hashed to it twice running, so memory is bounded whatever clients send.

const SLOTS = 4096;
/** Longer names are decoded each time. */
const NAME_BYTES_MAX = 256;

export class Interner {
  readonly #names: string[] = new Array<string>(SLOTS).fill('');
  /** Bytes of the name in the same slot; undefined while empty. */
  readonly #bytes: (Uint8Array | undefined)[] = new Array<Uint8Array | undefined>(SLOTS).fill(undefined);

  /** Hash of the last name that missed in the slot: a name is kept when it comes twice, so those used once (reply inboxes, ack
   * subjects) cost neither a copy nor the place of a hot one. */
  readonly #missed = new Int32Array(SLOTS);

  /** The UTF-8 in `buf[from, to)`, remembered. */
  intern(buf: Buffer, from: number, to: number): string {
    const length = to - from;
    if (length === 0) return '';
    if (length > NAME_BYTES_MAX) return decodeName(buf, from, to);
    let hash = length;
    for (let i = from; i < to; i++) hash = ((hash << 5) + hash) ^ buf[i];
    const slot = (hash ^ (hash >>> 12)) & (SLOTS - 1);
    const known = this.#bytes[slot];
    if (known !== undefined && known.length === length) {
      let i = 0;
      while (i < length && known[i] === buf[from + i]) i++;
      if (i === length) return this.#names[slot];
    }
    const name = decodeName(buf, from, to);
    if (this.#missed[slot] === hash) {
      const bytes = new Uint8Array(length);
      for (let i = 0; i < length; i++) bytes[i] = buf[from + i];
      this.#bytes[slot] = bytes;
      this.#names[slot] = name;
    } else {
      this.#missed[slot] = hash;
    }
    return name;
  }
}

/** The UTF-8 in `buf[from, to)`. Plain ASCII, the usual case, takes the short way. */
export function decodeName(buf: Buffer, from: number, to: number): string {
  for (let i = from; i < to; i++) if (buf[i] > 127) return buf.toString('utf8', from, to);
  return buf.toString('latin1', from, to);
}
