// Raft messages of many groups to one peer as one payload of channel raft, pure: `u32 length of the rows | rows | bodies of the entries`. A
// message is a row of fixed size, followed by a smaller row for each of its entries: with a thousand groups in a payload an object and a
// field-by-field encoding per message would cost more than the consensus itself. Bodies are neither copied nor re-encoded;
// a receiver hands an entry on only if its body has the checksum that the proposer computed. Sender and receiver are
// not in the bytes: the link knows them.
import { crc32c } from '@node-rs/crc32';
import { decodeMembership } from '../core/membership.ts';
import { added } from '../core/state.ts';
import {
  EntryKind,
  type GroupId,
  type Index,
  type LogEntry,
  type PeerId,
  type RaftMessage,
  type Term,
} from '../core/types.ts';
import { readU32, writeU32 } from './codec.ts';

type MessageType = RaftMessage['type'];
type MessageOf<T extends MessageType> = Extract<RaftMessage, { type: T }>;

/** What a row holds besides group, type and term; which fields count depends on the type. */
interface Item {
  index: number;
  indexTerm: number;
  last: number;
  commit: number;
  round: number;
  flag: boolean;
  /** Of entries index + 1, index + 2, … */
  entries: readonly LogEntry[];
}

interface Layout<T extends MessageType> {
  number: number;
  write(row: Item, message: MessageOf<T>): void;
  read(from: PeerId, to: PeerId, term: number, row: Item): MessageOf<T>;
}

const NO_ENTRIES: LogEntry[] = [];
/** Little-endian: doubles group, term, index, indexTerm, last, commit, round; bytes type and flag; u32 number of entries. Integers are
 * doubles (exact below 2^53, which is the bound everywhere). */
const ROW_BYTES = 64;
const TERM_AT = 8;
const INDEX_AT = 16;
const INDEX_TERM_AT = 24;
const LAST_AT = 32;
const COMMIT_AT = 40;
const ROUND_AT = 48;
const TYPE_AT = 56;
const FLAG_AT = 57;
const ENTRIES_AT = 60;
/** Double term; u32 body length, body checksum, kind. */
const ENTRY_ROW_BYTES = 20;
const LENGTH_AT = 8;
const CRC_AT = 12;
const KIND_AT = 16;
const ROWS_BYTES_MIN = 1024;

function emptyItem(): Item {
  return { index: 0, indexTerm: 0, last: 0, commit: 0, round: 0, flag: false, entries: NO_ENTRIES };
}

function clear(row: Item): void {
  row.index = row.indexTerm = row.last = row.commit = row.round = 0;
  row.flag = false;
  row.entries = NO_ENTRIES;
}

/** Which fields of a row carry what. Messages are made in one piece: thousands of them come in a turn. */
const layouts: { [T in MessageType]: Layout<T> } = {
  'pre-vote': {
    number: 1,
    write: (row, m) => {
      row.index = m.lastIndex;
      row.indexTerm = m.lastTerm;
    },
    read: (from, to, term, r) => ({ from, to, term, type: 'pre-vote', lastIndex: r.index, lastTerm: r.indexTerm }),
  },
  'pre-vote-reply': {
    number: 2,
    write: (row, m) => {
      row.flag = m.granted;
    },
    read: (from, to, term, r) => ({ from, to, term, type: 'pre-vote-reply', granted: r.flag }),
  },
  vote: {
    number: 3,
    write: (row, m) => {
      row.index = m.lastIndex;
      row.indexTerm = m.lastTerm;
      row.flag = m.transfer;
    },
    read: (from, to, term, r) => {
      return { from, to, term, type: 'vote', lastIndex: r.index, lastTerm: r.indexTerm, transfer: r.flag };
    },
  },
  'vote-reply': {
    number: 4,
    write: (row, m) => {
      row.flag = m.granted;
    },
    read: (from, to, term, r) => ({ from, to, term, type: 'vote-reply', granted: r.flag }),
  },
  append: {
    number: 5,
    write: (row, m) => {
      row.index = m.prevIndex;
      row.indexTerm = m.prevTerm;
      row.commit = m.commit;
      row.round = m.round;
      row.entries = m.entries ?? NO_ENTRIES;
    },
    read: (from, to, term, r) => ({
      from,
      to,
      term,
      type: 'append',
      prevIndex: r.index,
      prevTerm: r.indexTerm,
      first: r.index + 1,
      last: r.index + r.entries.length,
      entries: r.entries,
      commit: r.commit,
      round: r.round,
    }),
  },
  'append-reply': {
    number: 6,
    write: (row, m) => {
      row.index = m.index;
      row.indexTerm = m.hintTerm;
      row.round = m.round;
      row.flag = m.ok;
    },
    read: (from, to, term, r) => {
      return {
        from,
        to,
        term,
        type: 'append-reply',
        ok: r.flag,
        index: r.index,
        hintTerm: r.indexTerm,
        round: r.round,
      };
    },
  },
  heartbeat: {
    number: 7,
    write: (row, m) => {
      row.commit = m.commit;
      row.round = m.round;
      row.flag = m.quiesce;
      row.last = m.lastIndex;
    },
    read: (from, to, term, r) => {
      return {
        from,
        to,
        term,
        type: 'heartbeat',
        commit: r.commit,
        round: r.round,
        quiesce: r.flag,
        lastIndex: r.last,
      };
    },
  },
  'heartbeat-reply': {
    number: 8,
    write: (row, m) => {
      row.round = m.round;
    },
    read: (from, to, term, r) => ({ from, to, term, type: 'heartbeat-reply', round: r.round }),
  },
  'timeout-now': {
    number: 9,
    write: () => undefined,
    read: (from, to, term) => ({ from, to, term, type: 'timeout-now' }),
  },
  'read-index': {
    number: 10,
    write: (row, m) => {
      row.round = m.context;
    },
    read: (from, to, term, r) => ({ from, to, term, type: 'read-index', context: r.round }),
  },
  'read-index-reply': {
    number: 11,
    write: (row, m) => {
      row.round = m.context;
      row.index = m.index;
      row.flag = m.ok;
    },
    read: (from, to, term, r) => {
      return { from, to, term, type: 'read-index-reply', context: r.round, ok: r.flag, index: r.index };
    },
  },
  commit: {
    number: 12,
    write: (row, m) => {
      row.commit = m.index;
    },
    read: (from, to, term, r) => ({ from, to, term, type: 'commit', index: r.commit }),
  },
};

const typeOfNumber: MessageType[] = [];
for (const type of Object.keys(layouts) as MessageType[]) typeOfNumber[layouts[type].number] = type;

/** Gathers the messages of a turn to one peer. */
export class RaftBatchWriter {
  private rows = new Uint8Array(ROWS_BYTES_MIN);
  private view = new DataView(this.rows.buffer);
  private used = 0;
  private bodies: Uint8Array[] = [];
  private bodyBytes = 0;
  private readonly item = emptyItem();

  /** Size of what was added. */
  get bytes(): number {
    return this.used + this.bodyBytes;
  }

  get empty(): boolean {
    return this.used === 0;
  }

  add<T extends MessageType>(group: GroupId, message: MessageOf<T>): void {
    const { item } = this;
    const layout = layouts[message.type as T];
    clear(item);
    layout.write(item, message);
    const at = this.reserve(ROW_BYTES + item.entries.length * ENTRY_ROW_BYTES);
    const { view } = this;
    view.setFloat64(at, group, true);
    view.setFloat64(at + TERM_AT, message.term, true);
    view.setFloat64(at + INDEX_AT, item.index, true);
    view.setFloat64(at + INDEX_TERM_AT, item.indexTerm, true);
    view.setFloat64(at + LAST_AT, item.last, true);
    view.setFloat64(at + COMMIT_AT, item.commit, true);
    view.setFloat64(at + ROUND_AT, item.round, true);
    view.setUint8(at + TYPE_AT, layout.number);
    view.setUint8(at + FLAG_AT, item.flag ? 1 : 0);
    view.setUint32(at + ENTRIES_AT, item.entries.length, true);
    this.putEntries(at + ROW_BYTES, item.entries);
  }

  /** What was added is not sent. */
  drop(): void {
    this.used = 0;
    this.bodies = [];
    this.bodyBytes = 0;
  }

  /** The payload's parts; the writer is empty afterwards. */
  take(): Uint8Array[] {
    const prefix = new Uint8Array(4);
    writeU32(prefix, 0, this.used);
    const parts = [prefix, this.rows.subarray(0, this.used), ...this.bodies];
    // Whoever sends the parts keeps them. The next payload will be about as long.
    this.rows = new Uint8Array(Math.max(ROWS_BYTES_MIN, this.used));
    this.view = new DataView(this.rows.buffer);
    this.drop();
    return parts;
  }

  private reserve(bytes: number): number {
    const at = this.used;
    this.used += bytes;
    if (this.used <= this.rows.length) return at;
    const larger = new Uint8Array(Math.max(this.used, this.rows.length * 2));
    larger.set(this.rows.subarray(0, at));
    this.rows = larger;
    this.view = new DataView(larger.buffer);
    return at;
  }

  private putEntries(from: number, entries: readonly LogEntry[]): void {
    const { view } = this;
    let at = from;
    for (const { term, kind, body, crc } of entries) {
      view.setFloat64(at, term, true);
      view.setUint32(at + LENGTH_AT, body.length, true);
      view.setUint32(at + CRC_AT, crc, true);
      view.setUint32(at + KIND_AT, kind, true);
      at += ENTRY_ROW_BYTES;
      if (body.length > 0) this.bodies.push(body);
      this.bodyBytes += body.length;
    }
  }
}

/** Calls `each` for every message, but for acknowledgements that `takesAck` has taken: there is one for each entry, and mostly all that is to be
 * done with it is to keep its numbers. A string: the payload, or the message at which it stopped, is not what a core sent. */
export function decodeRaftBatch(
  bytes: Uint8Array,
  from: PeerId,
  to: PeerId,
  takesAck: (group: GroupId, term: Term, index: Index, round: number) => boolean,
  each: (group: GroupId, message: RaftMessage) => void,
): string | undefined {
  if (bytes.length < 4) return 'raft payload too short';
  const end = 4 + readU32(bytes, 0);
  if (end > bytes.length) return 'bad length of raft rows';
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const item = emptyItem();
  let bodyAt = end;
  let at = 4;
  while (at < end) {
    if (at + ROW_BYTES > end) return 'raft row cut off';
    const type = typeOfNumber[view.getUint8(at + TYPE_AT)];
    if (type === undefined) return `unknown raft message ${view.getUint8(at + TYPE_AT)}`;
    const group = view.getFloat64(at, true);
    const term = view.getFloat64(at + TERM_AT, true);
    item.index = view.getFloat64(at + INDEX_AT, true);
    item.indexTerm = view.getFloat64(at + INDEX_TERM_AT, true);
    item.last = view.getFloat64(at + LAST_AT, true);
    item.commit = view.getFloat64(at + COMMIT_AT, true);
    item.round = view.getFloat64(at + ROUND_AT, true);
    item.flag = view.getUint8(at + FLAG_AT) !== 0;
    item.entries = NO_ENTRIES;
    if (!isCount(group) || !isCount(term) || !areCounts(item)) return 'a number of a raft message is out of range';
    const count = view.getUint32(at + ENTRIES_AT, true);
    at += ROW_BYTES;
    if (count > 0 && type !== 'append') return 'entries in a raft message that has none';
    if (type === 'append') {
      if (count * ENTRY_ROW_BYTES > end - at) return 'raft entries cut off';
      const entries = readEntries(view, at, count, item.index, bytes, bodyAt);
      if (typeof entries === 'string') return entries;
      item.entries = entries;
      for (const entry of entries) bodyAt += entry.body.length;
      at += count * ENTRY_ROW_BYTES;
    }
    if (type === 'append-reply' && item.flag && takesAck(group, term, item.index, item.round)) continue;
    each(group, layouts[type].read(from, to, term, item));
  }
  return bodyAt === bytes.length ? undefined : 'raft payload longer than its messages';
}

function readEntries(
  view: DataView,
  rowsAt: number,
  count: number,
  prevIndex: number,
  bytes: Uint8Array,
  bodiesAt: number,
): LogEntry[] | string {
  let entries = NO_ENTRIES;
  let at = bodiesAt;
  for (let i = 0; i < count; i++) {
    const row = rowsAt + i * ENTRY_ROW_BYTES;
    const length = view.getUint32(row + LENGTH_AT, true);
    if (at + length > bytes.length) return 'entries beyond the payload';
    const body = bytes.subarray(at, at + length);
    at += length;
    const kind = view.getUint32(row + KIND_AT, true);
    const crc = view.getUint32(row + CRC_AT, true);
    const entry = checkEntry(prevIndex + 1 + i, view.getFloat64(row, true), kind, crc, body);
    if (typeof entry === 'string') return entry;
    entries = added(entries, entry);
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

function areCounts(row: Item): boolean {
  return isCount(row.index) && isCount(row.indexTerm) && isCount(row.last) && isCount(row.commit) && isCount(row.round);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
