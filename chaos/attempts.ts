// What a client tries and what becomes of it: an attempt's outcome in the history, which errors faults may cause, bodies that show every
// changed byte. Called by workload.ts, key-load.ts and replicas.ts. Invariant: an attempt has one outcome, and only an error that promises
// that nothing was stored is a refusal.
import { NatsError } from 'nats';
import type { Event } from '../test/checkers/history.ts';

export const ATTEMPT_MS = 3000;
export const RETRY_MS = 50;
/** Below the duplicate window, so that a retry is still known. */
export const RETRIES_MS_MAX = 90_000;
export const DUPLICATE_WINDOW_MS = 120_000;

export const now = (): number => performance.now();
/** When a message left its leader is not known here. */
export const arrival = (): { at: number; leftAt: number } => ({ at: now(), leftAt: now() });
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** The seq, when it was acknowledged. */
export async function settled(
  events: Event[],
  id: string,
  attempt: () => Promise<{ seq: number; duplicate: boolean }>,
): Promise<number | undefined> {
  try {
    const { seq, duplicate } = await attempt();
    events.push({ kind: 'acked', at: now(), id, seq, duplicate });
    return seq;
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal === undefined) events.push({ kind: 'unknown', at: now(), id });
    else events.push({ kind: 'refused', at: now(), id, error: refusal });
    return undefined;
  }
}

/** What faults do to a client; anything else is a fault of this program. */
export function expected(error: unknown): void {
  if (!(error instanceof Error) || error instanceof TypeError || error instanceof ReferenceError) throw error;
}

/** The error that promises that nothing was stored; undefined: nobody knows. */
function refusalOf(error: unknown): number | undefined {
  expected(error);
  if (!(error instanceof NatsError)) return undefined;
  const code = error.api_error?.err_code;
  if (code !== undefined) return code === 10008 ? undefined : code;
  return error.code === '503' ? 503 : undefined;
}

/** The content, then dots up to the wanted size. */
export function bodyOf(content: string, bytes: number): Uint8Array {
  return encoder.encode(`${content}|`.padEnd(bytes, '.'));
}

/** What was sent, or all of it when somebody changed a byte. */
export function contentOf(body: Uint8Array): string {
  const text = decoder.decode(body);
  const [content, filler] = text.split('|', 2);
  return filler !== undefined && /^\.*$/.test(filler) ? content : text;
}
