// Raft messages of many groups to one peer as one payload of channel raft, pure: `u32 header length | protobuf header | bodies of
// the entries`. The host encodes once per peer and turn and decodes what arrives. Bodies are neither copied nor re-encoded;
// a receiver hands an entry on only if its body has the checksum that the proposer computed. Sender and receiver are
// not in the bytes: the link knows them.
import { crc32c } from '@node-rs/crc32';
import { decodeMembership } from '../core/membership.ts';
import { EntryKind, type GroupId, type LogEntry, type PeerId, type RaftMessage } from '../core/types.ts';
import { readU32, writeU32 } from './codec.ts';
import { frames } from './frames.generated.js';

type Item = frames.RaftItem.$Properties;
type MessageType = RaftMessage['type'];
type MessageOf<T extends MessageType> = Extract<RaftMessage, { type: T }>;
interface Layout<T extends MessageType> {
  number: number;
  write(message: MessageOf<T>): Item;
  read(from: PeerId, to: PeerId, term: number, item: Item): MessageOf<T>;
}

const index = (item: Item): number => item.index ?? 0;
const indexTerm = (item: Item): number => item.indexTerm ?? 0;
const last = (item: Item): number => item.last ?? 0;
const round = (item: Item): number => item.round ?? 0;
const commit = (item: Item): number => item.commit ?? 0;
const flag = (item: Item): boolean => item.flag ?? false;

/** Which fields of an item carry what. Numbers stay for ever. Messages are made in one piece: thousands of them come in a turn. */
const layouts: { [T in MessageType]: Layout<T> } = {
  'pre-vote': {
    number: 1,
    write: (m) => ({ index: m.lastIndex, indexTerm: m.lastTerm }),
    read: (from, to, term, i) => ({ from, to, term, type: 'pre-vote', lastIndex: index(i), lastTerm: indexTerm(i) }),
  },
  'pre-vote-reply': {
    number: 2,
    write: (m) => ({ flag: m.granted }),
    read: (from, to, term, i) => ({ from, to, term, type: 'pre-vote-reply', granted: flag(i) }),
  },
  vote: {
    number: 3,
    write: (m) => ({ index: m.lastIndex, indexTerm: m.lastTerm, flag: m.transfer }),
    read: (from, to, term, i) => {
      return { from, to, term, type: 'vote', lastIndex: index(i), lastTerm: indexTerm(i), transfer: flag(i) };
    },
  },
  'vote-reply': {
    number: 4,
    write: (m) => ({ flag: m.granted }),
    read: (from, to, term, i) => ({ from, to, term, type: 'vote-reply', granted: flag(i) }),
  },
  append: {
    number: 5,
    write: (m) => ({ index: m.prevIndex, indexTerm: m.prevTerm, commit: m.commit, round: m.round }),
    read: (from, to, term, i) => ({
      from,
      to,
      term,
      type: 'append',
      prevIndex: index(i),
      prevTerm: indexTerm(i),
      first: index(i) + 1,
      last: index(i) + (i.bodyLength?.length ?? 0),
      commit: commit(i),
      round: round(i),
    }),
  },
  'append-reply': {
    number: 6,
    write: (m) => ({ index: m.index, indexTerm: m.hintTerm, round: m.round, flag: m.ok }),
    read: (from, to, term, i) => ({
      from,
      to,
      term,
      type: 'append-reply',
      ok: flag(i),
      index: index(i),
      hintTerm: indexTerm(i),
      round: round(i),
    }),
  },
  heartbeat: {
    number: 7,
    write: (m) => ({ commit: m.commit, round: m.round, flag: m.quiesce, last: m.lastIndex }),
    read: (from, to, term, i) => ({
      from,
      to,
      term,
      type: 'heartbeat',
      commit: commit(i),
      round: round(i),
      quiesce: flag(i),
      lastIndex: last(i),
    }),
  },
  'heartbeat-reply': {
    number: 8,
    write: (m) => ({ round: m.round }),
    read: (from, to, term, i) => ({ from, to, term, type: 'heartbeat-reply', round: round(i) }),
  },
  'timeout-now': {
    number: 9,
    write: () => ({}),
    read: (from, to, term) => ({ from, to, term, type: 'timeout-now' }),
  },
  'read-index': {
    number: 10,
    write: (m) => ({ round: m.context }),
    read: (from, to, term, i) => ({ from, to, term, type: 'read-index', context: round(i) }),
  },
  'read-index-reply': {
    number: 11,
    write: (m) => ({ round: m.context, index: m.index, flag: m.ok }),
    read: (from, to, term, i) => {
      return { from, to, term, type: 'read-index-reply', context: round(i), index: index(i), ok: flag(i) };
    },
  },
  commit: {
    number: 12,
    write: (m) => ({ commit: m.index }),
    read: (from, to, term, i) => ({ from, to, term, type: 'commit', index: commit(i) }),
  },
};

const typeOfNumber: MessageType[] = [];
for (const type of Object.keys(layouts) as MessageType[]) typeOfNumber[layouts[type].number] = type;

/** Gathers the messages of a turn to one peer. */
export class RaftBatchWriter {
  private items: Item[] = [];
  private bodies: Uint8Array[] = [];
  private bodyBytes = 0;

  /** Approximate size of what was added: bodies and a bound on the rest. */
  get bytes(): number {
    return this.bodyBytes;
  }

  get empty(): boolean {
    return this.items.length === 0;
  }

  add<T extends MessageType>(group: GroupId, message: MessageOf<T>): void {
    const layout = layouts[message.type as T];
    const item = layout.write(message);
    item.group = group;
    item.type = layout.number;
    item.term = message.term;
    this.bodyBytes += 80;
    if (message.type === 'append') this.addEntries(item, (message as MessageOf<'append'>).entries ?? []);
    this.items.push(item);
  }

  /** What was added is not sent. */
  drop(): void {
    this.items = [];
    this.bodies = [];
    this.bodyBytes = 0;
  }

  /** The payload's parts; the writer is empty afterwards. */
  take(): Uint8Array[] {
    const header = frames.RaftBatch.encode({ item: this.items }).finish();
    const prefix = new Uint8Array(4);
    writeU32(prefix, 0, header.length);
    const parts = [prefix, header, ...this.bodies];
    this.drop();
    return parts;
  }

  private addEntries(item: Item, entries: readonly LogEntry[]): void {
    if (entries.length === 0) return;
    item.bodyLength = entries.map((entry) => entry.body.length);
    item.bodyCrc = entries.map((entry) => entry.crc);
    item.kind = entries.map((entry) => entry.kind);
    item.entryTerm = entries.map((entry) => entry.term);
    for (const entry of entries) {
      if (entry.body.length > 0) this.bodies.push(entry.body);
      this.bodyBytes += entry.body.length + 20;
    }
  }
}

/** Calls `each` for every message. A string: the payload, or the message at which it stopped, is not what a core sent. */
export function decodeRaftBatch(
  bytes: Uint8Array,
  from: PeerId,
  to: PeerId,
  each: (group: GroupId, message: RaftMessage) => void,
): string | undefined {
  if (bytes.length < 4) return 'raft payload too short';
  const headerEnd = 4 + readU32(bytes, 0);
  if (headerEnd > bytes.length) return 'bad raft header length';
  const batch = decodeHeader(bytes.subarray(4, headerEnd));
  if (batch === undefined) return 'bad raft header';
  let at = headerEnd;
  for (const item of batch.item ?? []) {
    const type = typeOfNumber[item.type ?? 0];
    if (type === undefined) return `unknown raft message ${item.type}`;
    const group = item.group ?? 0;
    const term = item.term ?? 0;
    if (!isCount(group) || !isCount(term) || !areCounts(item)) return 'a number of a raft message is out of range';
    const message: RaftMessage = layouts[type].read(from, to, term, item);
    if (message.type === 'append') {
      const entries = readEntries(item, bytes, at);
      if (typeof entries === 'string') return entries;
      message.entries = entries;
      for (const entry of entries) at += entry.body.length;
    }
    each(group, message);
  }
  return at === bytes.length ? undefined : 'raft payload longer than its messages';
}

function readEntries(item: Item, bytes: Uint8Array, from: number): LogEntry[] | string {
  const lengths = item.bodyLength ?? [];
  const crcs = item.bodyCrc ?? [];
  const kinds = item.kind ?? [];
  const terms = item.entryTerm ?? [];
  if (crcs.length !== lengths.length || kinds.length !== lengths.length || terms.length !== lengths.length) {
    return 'entries of unequal fields';
  }
  const entries: LogEntry[] = [];
  let at = from;
  for (let i = 0; i < lengths.length; i++) {
    if (at + lengths[i] > bytes.length) return 'entries beyond the payload';
    const body = bytes.subarray(at, at + lengths[i]);
    at += lengths[i];
    const entry = checkEntry(index(item) + 1 + i, terms[i], kinds[i], crcs[i], body);
    if (typeof entry === 'string') return entry;
    entries.push(entry);
  }
  return entries;
}

/** Also used for entries that come by snapshot transfer or repair. */
export function checkEntry(
  entryIndex: number,
  term: number,
  kind: number,
  crc: number,
  body: Uint8Array,
): LogEntry | string {
  if (!isCount(term) || !isCount(entryIndex) || entryIndex < 1) return 'a number of an entry is out of range';
  if (kind !== EntryKind.noop && kind !== EntryKind.batch && kind !== EntryKind.membership) {
    return `unknown kind of entry ${kind}`;
  }
  if ((body.length === 0 ? 0 : crc32c(body)) !== crc) return `entry ${entryIndex} of term ${term}: bad body checksum`;
  const entry: LogEntry = { index: entryIndex, term, kind, body, crc };
  if (kind === EntryKind.membership) {
    const membership = decodeMembership(body);
    if (membership === undefined) return `entry ${entryIndex} of term ${term}: no membership in it`;
    entry.membership = membership;
  }
  return entry;
}

function areCounts(item: Item): boolean {
  return (
    isCount(index(item)) &&
    isCount(indexTerm(item)) &&
    isCount(last(item)) &&
    isCount(commit(item)) &&
    isCount(round(item))
  );
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function decodeHeader(bytes: Uint8Array): frames.RaftBatch.$Properties | undefined {
  try {
    return frames.RaftBatch.decode(bytes);
  } catch {
    // protobufjs reports malformed input by throwing; nothing else is called here.
    return undefined;
  }
}
