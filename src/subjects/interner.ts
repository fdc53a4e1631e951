// Turns the bytes of a name into a string without decoding it when the same bytes were seen lately. Used by parsers and codecs:
// subjects repeat, and an interned string compares by pointer and has its hash ready for Maps.
// Two slots for each hash, and a slot is taken by a name that comes twice, so memory is bounded whatever clients send. All names' bytes
// lie in one block: thousands of small arrays would be as many places in memory to wait for.
import { Door } from './door.ts';

const SETS = 8192;
const NAMES_MAX = SETS * 2;
/** Longer names are decoded each time. */
const NAME_BYTES_MAX = 127;
/** Of one slot: the length, and the bytes. */
const SLOT_BYTES = NAME_BYTES_MAX + 1;

export class Interner {
  readonly #names: string[] = new Array<string>(NAMES_MAX).fill('');
  readonly #bytes = new Uint8Array(NAMES_MAX * SLOT_BYTES);
  /** Names used once (reply inboxes, ack subjects) cost neither a copy nor the place of a hot one. */
  readonly #door = new Door(NAMES_MAX);

  /** The UTF-8 in `buf[from, to)`, remembered. */
  intern(buf: Buffer, from: number, to: number): string {
    const length = to - from;
    if (length === 0) return '';
    if (length > NAME_BYTES_MAX) return decodeName(buf, from, to);
    let hash = length;
    for (let i = from; i < to; i++) hash = ((hash << 5) + hash) ^ buf[i];
    const slot = (Math.imul(hash, 0x9e3779b1) >>> 18) & ~1;
    if (this.#holds(slot, buf, from, length)) return this.#names[slot];
    if (this.#holds(slot + 1, buf, from, length)) return this.#names[slot + 1];
    const name = decodeName(buf, from, to);
    if (this.#door.knows(hash)) this.#keep(slot, name, buf, from, length);
    return name;
  }

  #holds(slot: number, buf: Buffer, from: number, length: number): boolean {
    const bytes = this.#bytes;
    const at = slot * SLOT_BYTES;
    if (bytes[at] !== length) return false;
    let i = 0;
    while (i < length && bytes[at + 1 + i] === buf[from + i]) i++;
    return i === length;
  }

  /** In the first slot; who was there moves to the second. */
  #keep(slot: number, name: string, buf: Buffer, from: number, length: number): void {
    const bytes = this.#bytes;
    const at = slot * SLOT_BYTES;
    bytes.copyWithin(at + SLOT_BYTES, at, at + SLOT_BYTES);
    this.#names[slot + 1] = this.#names[slot];
    bytes[at] = length;
    for (let i = 0; i < length; i++) bytes[at + 1 + i] = buf[from + i];
    this.#names[slot] = name;
  }
}

/** The UTF-8 in `buf[from, to)`. Plain ASCII, the usual case, takes the short way. */
export function decodeName(buf: Buffer, from: number, to: number): string {
  for (let i = from; i < to; i++) if (buf[i] > 127) return buf.toString('utf8', from, to);
  return buf.toString('latin1', from, to);
}
