// Commands of the meta group's log and the requests that lead to them. Pure. An entry holds exactly one command:
// [version u8][type u8][stamp f64 LE, microseconds][JSON]. JSON is right here: creating a stream is no hot path.
// Bodies are written by the meta leader and read by every replica for ever, so a field is added, never redefined.
import type { PeerId } from '../../cluster/core/types.ts';
import type { StreamConfig } from '../stream/config.ts';
import type { ApiError } from '../stream/errors.ts';
import type { NodeRecord } from './types.ts';

/** What a node asks of the meta leader. */
export type MetaRequest =
  /** First entry of a cluster's life: who it is and who belongs to it. */
  | { type: 'form'; clusterId: string; nodes: NodeRecord[] }
  /** A node with a new incarnation, a new name or new addresses. */
  | { type: 'node'; node: NodeRecord }
  /** A node that is down for good. */
  | { type: 'remove'; id: PeerId }
  | { type: 'create'; account: string; config: StreamConfig }
  /** `streamId` and `revision`: of the record from which `config` was made and against which it was checked. */
  | { type: 'update'; account: string; streamId: number; revision: number; config: StreamConfig }
  | { type: 'delete'; account: string; name: string }
  /** Moves a partition: desired replicas, preferred leader first. */
  | { type: 'replicas'; streamId: number; partition: number; replicas: PeerId[] }
  /** One of the partition's replicas becomes its preferred leader. */
  | { type: 'prefer'; streamId: number; partition: number; peer: PeerId }
  /** Another node takes the place of `peer` in every partition of the stream. */
  | { type: 'evict'; streamId: number; peer: PeerId }
  /** The partition's group consists of exactly its desired replicas of change `since`; others may drop their copy. */
  | { type: 'settled'; streamId: number; partition: number; since: number };

/** What the leader adds before it proposes: facts of the moment, so that `apply` is a function of the log alone. */
export type MetaCommand =
  | Extract<MetaRequest, { type: 'form' | 'replicas' | 'prefer' | 'settled' }>
  /** `replaces`: a dead incarnation with the same name, 0 none. */
  | { type: 'node'; node: NodeRecord; replaces: PeerId }
  /** `live`: nodes that the leader could reach. */
  | { type: 'remove'; id: PeerId; live: PeerId[] }
  | { type: 'evict'; streamId: number; peer: PeerId; live: PeerId[] }
  | { type: 'create'; account: string; config: StreamConfig; live: PeerId[] }
  | { type: 'update'; account: string; streamId: number; revision: number; config: StreamConfig; live: PeerId[] }
  /** By identity: 0 when the leader knew no such stream. */
  | { type: 'delete'; account: string; streamId: number };

/** What `apply` made of a command. `changed`: nothing, since the record is no longer what the command was made from. */
export type MetaResult =
  | { ok: true; streamId: number; created: boolean }
  | { ok: false; error: ApiError; changed?: true };

const VERSION = 1;
const HEADER_BYTES = 10;

/** Numbers in the log; never reused. */
const CODES: Record<MetaCommand['type'], number> = {
  form: 1,
  node: 2,
  create: 3,
  update: 4,
  delete: 5,
  replicas: 6,
  settled: 7,
  remove: 8,
  prefer: 9,
  evict: 10,
};

export function encodeCommand(command: MetaCommand, stampUs: number): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(command));
  const bytes = new Uint8Array(HEADER_BYTES + json.length);
  bytes[0] = VERSION;
  bytes[1] = CODES[command.type];
  new DataView(bytes.buffer).setFloat64(2, stampUs, true);
  bytes.set(json, HEADER_BYTES);
  return bytes;
}

/** Throws on anything that no leader of a known version wrote: a committed entry that cannot be read must stop the node. */
export function decodeCommand(body: Uint8Array): { command: MetaCommand; stampUs: number } {
  if (body.length < HEADER_BYTES || body[0] !== VERSION) throw new Error(`meta entry of unknown version ${body[0]}`);
  const stampUs = new DataView(body.buffer, body.byteOffset).getFloat64(2, true);
  const command = parseJson(body.subarray(HEADER_BYTES)) as MetaCommand;
  if (CODES[command.type] !== body[1]) throw new Error(`meta entry of unknown type ${body[1]}`);
  return { command, stampUs };
}

const isId = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) > 0;
const isText = (value: unknown): boolean => typeof value === 'string';
const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
const isList = (value: unknown, isItem: (item: unknown) => boolean): boolean =>
  Array.isArray(value) && value.every(isItem);
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const isNode = (value: unknown): boolean => isObject(value) && isId(value.id) && isText(value.name);
/** The fields that `apply` looks at; the API has validated the rest. */
const isConfig = (value: unknown): boolean =>
  isObject(value) &&
  isText(value.name) &&
  isCount(value.num_replicas) &&
  (value.subjects === undefined || isList(value.subjects, isText)) &&
  (value.metadata === undefined || isObject(value.metadata));

const SHAPES: Record<MetaRequest['type'], Record<string, (value: unknown) => boolean>> = {
  form: { clusterId: isText, nodes: (value) => isList(value, isNode) },
  node: { node: isNode },
  remove: { id: isId },
  create: { account: isText, config: isConfig },
  update: { account: isText, streamId: isId, revision: isId, config: isConfig },
  delete: { account: isText, name: isText },
  replicas: { streamId: isId, partition: isCount, replicas: (value) => isList(value, isId) },
  prefer: { streamId: isId, partition: isCount, peer: isId },
  evict: { streamId: isId, peer: isId },
  settled: { streamId: isId, partition: isCount, since: isId },
};

/** A request as it came from a peer; undefined when it is none: what the leader does not understand must not enter the log. */
export function parseRequest(bytes: Uint8Array): MetaRequest | undefined {
  const value = parseObject(bytes);
  if (value === undefined || typeof value.type !== 'string' || !Object.hasOwn(SHAPES, value.type)) return undefined;
  const shape = SHAPES[value.type as MetaRequest['type']];
  return Object.keys(shape).every((field) => shape[field](value[field])) ? (value as MetaRequest) : undefined;
}

export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** Throws on malformed UTF-8 or JSON. */
export function parseJson(bytes: Uint8Array): unknown {
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
}

/** What a peer sent: an object, or undefined when it is none. */
export function parseObject(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value = parseJson(bytes);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
}
