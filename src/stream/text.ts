// Bytes to strings and back for subjects and small texts, the fast way. Pure (Buffer is used for its native slices only).
// Subjects are UTF-8 on the wire and on disk; strings in memory.

const encoder = new TextEncoder();

/** The UTF-8 in `bytes[from, to)` as a string. */
export function utf8Text(bytes: Uint8Array, from: number, to: number): string {
  return Buffer.prototype.utf8Slice.call(bytes, from, to);
}

export function utf8Bytes(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Writes `text` as UTF-8 at `at`, where 3 bytes per unit are free; returns the end. */
export function writeUtf8(into: Uint8Array, at: number, text: string): number {
  const length = text.length;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code > 127) return at + encoder.encodeInto(text, into.subarray(at)).written;
    into[at + i] = code;
  }
  return at + length;
}

/** Bytes of `text` as UTF-8. */
export function utf8Length(text: string): number {
  let length = text.length;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0x7ff) length += (code & 0xf800) === 0xd800 ? 1 : 2;
    else if (code > 127) length++;
  }
  return length;
}

/** A text as bytes in a buffer that is used again: for look-ups on hot paths. */
export class TextKey {
  bytes = new Uint8Array(256);
  length = 0;

  set(text: string): void {
    if (text.length * 3 > this.bytes.length) this.bytes = new Uint8Array(text.length * 6);
    this.length = writeUtf8(this.bytes, 0, text);
  }
}
