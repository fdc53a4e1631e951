// Bounds of the JetStream API that several of its files share. Pure.

export const NAME_LENGTH_MAX = 255;
export const DESCRIPTION_BYTES_MAX = 4096;
export const METADATA_BYTES_MAX = 128 * 1024;

/** Length of one page of an answer. */
export const NAMES_PER_PAGE = 1024;
export const INFOS_PER_PAGE = 256;
export const SUBJECTS_PER_PAGE = 100_000;

/** How long a request waits for a leader to be known. */
export const LEADER_WAIT_MS_MAX = 2_000;
/** After this a request is answered as one whose outcome is unknown, wherever its work hangs: before a client's own patience ends. */
export const REQUEST_MS_MAX = 2_750;
/** How long another node may take over one operation. */
export const FORWARD_TIMEOUT_MS = 4_000;
/** Requests of clients under way on one node; more are refused. */
export const REQUESTS_MAX = 20_000;

export function byteLength(text: string): number {
  return Buffer.byteLength(text);
}

export function metadataBytes(metadata: Record<string, string> | undefined): number {
  let bytes = 0;
  for (const [key, value] of Object.entries(metadata ?? {})) bytes += byteLength(key) + byteLength(value);
  return bytes;
}

/** Where looking for overlaps among the subjects of one request would take long (OVERLAP_STEPS_MAX). */
export const TOO_MANY_SUBJECTS = 'too many subjects with wildcards';
