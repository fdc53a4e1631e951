// Queries of the monitoring port and how their values are read: as nats-server reads them. Used by every endpoint. Pure. A bad value is
// a 400 with a text that names it.
import type { NodeView } from './types.ts';

export type Query = Readonly<Record<string, string | undefined>>;
export type Answer = { status: number; body: unknown };

/** Items on a page when the query names no limit. */
const LIMIT_DEFAULT = 1024;

export class BadQuery extends Error {}

export function boolean(query: Query, key: string): boolean {
  const value = query[key];
  if (value === undefined || value === '') return false;
  if (/^(1|t|true)$/i.test(value)) return true;
  if (/^(0|f|false)$/i.test(value)) return false;
  throw new BadQuery(`error decoding boolean for '${key}': ${value}`);
}

export function integer(query: Query, key: string, fallback: number): number {
  const value = query[key];
  if (value === undefined || value === '') return fallback;
  if (!/^-?\d+$/.test(value)) throw new BadQuery(`error decoding int for '${key}': ${value}`);
  return Number(value);
}

/** `requests`: how often each page was asked for. */
export type Endpoint = (
  view: NodeView,
  query: Query,
  requests: Readonly<Record<string, number>>,
) => Answer | Promise<Answer>;

/** Runs an endpoint; bad query values become a 400. */
export async function answerOf(endpoint: Endpoint, ...[view, query, requests]: Parameters<Endpoint>): Promise<Answer> {
  try {
    return await endpoint(view, query, requests);
  } catch (error) {
    if (error instanceof BadQuery) return { status: 400, body: error.message };
    throw error;
  }
}

/** `limit` and `offset`; a limit of 0 means the default. */
export function pageOf(query: Query): { offset: number; limit: number } {
  return { offset: Math.max(0, integer(query, 'offset', 0)), limit: integer(query, 'limit', 0) || LIMIT_DEFAULT };
}

/** `subs=1` asks for names, `subs=detail` for all that is known. */
export function subsOf(query: Query): 'none' | 'names' | 'detail' {
  if (query['subs'] === 'detail') return 'detail';
  return boolean(query, 'subs') ? 'names' : 'none';
}
