// Gathers small parts before they go to writev: an iovec entry costs more than copying a few hundred bytes. Used by the node
// implementations of Disk and Net. The result holds the same bytes in the same order; large parts are passed through uncopied.

const PART_BYTES_MAX = 2_048;
const CHUNK_BYTES_MAX = 65_536;

export function gatherParts(parts: readonly Uint8Array[]): Uint8Array[] {
  const out: Uint8Array[] = [];
  let i = 0;
  while (i < parts.length) {
    const first = parts[i];
    if (first.length > PART_BYTES_MAX) {
      out.push(first);
      i++;
      continue;
    }
    let bytes = first.length;
    let end = i + 1;
    while (end < parts.length && parts[end].length <= PART_BYTES_MAX && bytes + parts[end].length <= CHUNK_BYTES_MAX) {
      bytes += parts[end].length;
      end++;
    }
    if (bytes > 0) out.push(end === i + 1 ? first : concat(parts, i, end, bytes));
    i = end;
  }
  return out;
}

function concat(parts: readonly Uint8Array[], from: number, end: number, bytes: number): Uint8Array {
  const chunk = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (let k = from; k < end; k++) {
    chunk.set(parts[k], at);
    at += parts[k].length;
  }
  return chunk;
}

/** What is left when the first `written` bytes are on their way. */
export function restOf(buffers: Uint8Array[], written: number): Uint8Array[] {
  let skip = 0;
  let left = written;
  while (skip < buffers.length && left >= buffers[skip].length) left -= buffers[skip++].length;
  const rest = buffers.slice(skip);
  if (rest.length > 0) rest[0] = rest[0].subarray(left);
  return rest;
}
