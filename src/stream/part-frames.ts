// Bytes between the home of a consumer and its parts in other partitions (docs/adr/0004). Pure. Written and read by home-source.ts on
// one side and part-target.ts / part-sessions.ts on the other. What a peer sent and cannot be read is undefined, never a throw.
// Seqs are local to the part's partition. A session is one conversation of a home's leader with a part's leader about one consumer; a
// later one has a larger number. Within it, an epoch ends when what the home did not hand out goes back.
import { ByteReader, BytesError, ByteWriter } from './consumer-bytes.ts';

/** First byte of a frame. Below 16: from the home. */
export const PartFrame = {
  open: 1,
  demand: 2,
  rewind: 3,
  close: 4,
  sync: 5,
  ackAll: 6,
  supply: 16,
  closed: 17,
  missing: 18,
} as const;

export interface OpenFrame {
  kind: typeof PartFrame.open;
  session: number;
  name: string;
  /** Id in the home's log; 0: the consumer lives in memory, and `config` says what it is. */
  homeId: number;
  config: string;
  /** The partition's last seq is to be at least this before it begins; 0: as it is. */
  level: number;
  /** Where it begins if the deliver policy does not decide; 0: that does. */
  start: number;
  /** Last seq that the home knows as handed out, plus one; 0: it begins. */
  after: number;
  lastsEnd: number;
}

export interface DemandFrame {
  kind: typeof PartFrame.demand;
  session: number;
  name: string;
  epoch: number;
  /** Messages that may be sent in addition, and how many of them may be new ones. */
  credit: number;
  news: number;
  /** Messages handed out, in order, since the last demand. */
  taken: number;
  /** Comes back in the answer. */
  poll: number;
  /** Comes back when the part's leader has proven after it that it leads. */
  round: number;
  /** The partition's last seq is to be at least this. */
  level: number;
}

export interface RewindFrame {
  kind: typeof PartFrame.rewind;
  session: number;
  name: string;
  taken: number;
}

export interface CloseFrame {
  kind: typeof PartFrame.close;
  session: number;
  name: string;
}

/** Which consumers there are: every id below `nextId` that is not in `ids` is gone. */
export interface SyncFrame {
  kind: typeof PartFrame.sync;
  session: number;
  nextId: number;
  ids: number[];
}

export interface AckAllFrame {
  kind: typeof PartFrame.ackAll;
  session: number;
  name: string;
  /** Last local seq that is acknowledged. */
  upTo: number;
  /** Comes back when it is applied; 0: nobody waits. */
  token: number;
}

export type HomeFrame = OpenFrame | DemandFrame | RewindFrame | CloseFrame | SyncFrame | AckAllFrame;

export function encodeHomeFrame(frame: HomeFrame): Uint8Array {
  const out = new ByteWriter(frame.kind === PartFrame.open ? 512 : 64);
  out.u8(frame.kind);
  out.number(frame.session);
  if (frame.kind === PartFrame.sync) {
    out.number(frame.nextId);
    out.ascending(frame.ids);
    return out.give();
  }
  out.text(frame.name);
  switch (frame.kind) {
    case PartFrame.open:
      out.text(frame.config);
      for (const value of [frame.homeId, frame.level, frame.start, frame.after, frame.lastsEnd]) out.number(value);
      break;
    case PartFrame.demand:
      out.number(frame.epoch);
      out.number(frame.credit);
      out.number(frame.news);
      out.number(frame.taken);
      out.number(frame.poll);
      out.number(frame.round);
      out.number(frame.level);
      break;
    case PartFrame.rewind:
      out.number(frame.taken);
      break;
    case PartFrame.ackAll:
      out.number(frame.upTo);
      out.number(frame.token);
      break;
    case PartFrame.close:
      break;
  }
  return out.give();
}

/** Undefined: malformed. */
export function decodeHomeFrame(bytes: Uint8Array): HomeFrame | undefined {
  return checked(bytes, readHomeFrame);
}

function readHomeFrame(from: ByteReader): HomeFrame | undefined {
  const kind = from.u8();
  const session = from.number();
  if (kind === PartFrame.sync) {
    const nextId = from.number();
    const ids: number[] = [];
    from.runs((first, count) => {
      for (let i = 0; i < count; i++) ids.push(first + i);
    });
    return { kind, session, nextId, ids };
  }
  const name = from.text();
  switch (kind) {
    case PartFrame.open: {
      const config = from.text();
      const homeId = from.number();
      const level = from.number();
      const start = from.number();
      const after = from.number();
      return { kind, session, name, homeId, config, level, start, after, lastsEnd: from.number() };
    }
    case PartFrame.demand: {
      const epoch = from.number();
      const credit = from.number();
      const news = from.number();
      const taken = from.number();
      const poll = from.number();
      const round = from.number();
      return { kind, session, name, epoch, credit, news, taken, poll, round, level: from.number() };
    }
    case PartFrame.rewind:
      return { kind, session, name, taken: from.number() };
    case PartFrame.close:
      return { kind, session, name };
    case PartFrame.ackAll: {
      const upTo = from.number();
      return { kind, session, name, upTo, token: from.number() };
    }
    default:
      return undefined;
  }
}

// ---- from a part ----------------------------------------------------------------------------------------------------

/** A message on its way through the home. */
export interface Offer {
  seq: number;
  isNew: boolean;
  deliveries: number;
  stampUs: number;
  subject: string;
  hdr: Uint8Array;
  payload: Uint8Array;
}

/** Where the part stands at the end of a supply frame. */
export interface PartStanding {
  /** New messages not sent yet, and pending ones whose turn has come again. */
  left: number;
  again: number;
  /** Messages that wait for an ack, those on their way included. */
  pending: number;
  /** Everything up to here that is to be delivered has been sent. */
  settled: number;
  /** Last seq of the partition. */
  lastSeq: number;
  poll: number;
  round: number;
  /** Credit that the part has no use for now. */
  voided: number;
  voidedNews: number;
  lastsEnd: number;
}

export interface SupplyReader {
  offer(offer: Offer): void;
  /** The message is not to be handed out any more: acknowledged, or removed. */
  withdraw(seq: number): void;
  /** A double ack is applied. */
  confirm(inbox: string): void;
  /** An ack of everything up to a message, to be given to all parts. */
  ackAll(seq: number, inbox: string): void;
  ackedAll(token: number): void;
  standing(standing: PartStanding): void;
}

const Item = { end: 0, offer: 1, withdraw: 2, confirm: 3, ackAll: 4, ackedAll: 5 } as const;

/** One supply frame under construction; items leave in the order in which they were added. */
export class SupplyWriter {
  readonly #out = new ByteWriter(256);

  get isEmpty(): boolean {
    return this.#out.length === 0;
  }

  get length(): number {
    return this.#out.length;
  }

  begin(session: number, name: string, epoch: number): void {
    this.#out.u8(PartFrame.supply);
    this.#out.number(session);
    this.#out.text(name);
    this.#out.number(epoch);
  }

  offer(offer: Offer): void {
    const out = this.#out;
    out.u8(Item.offer);
    out.u8(offer.isNew ? 1 : 0);
    out.number(offer.seq);
    out.number(offer.deliveries);
    out.number(offer.stampUs);
    out.text(offer.subject);
    out.number(offer.hdr.length);
    out.raw(offer.hdr);
    out.number(offer.payload.length);
    out.raw(offer.payload);
  }

  withdraw(seq: number): void {
    this.#out.u8(Item.withdraw);
    this.#out.number(seq);
  }

  confirm(inbox: string): void {
    this.#out.u8(Item.confirm);
    this.#out.text(inbox);
  }

  ackAll(seq: number, inbox: string): void {
    this.#out.u8(Item.ackAll);
    this.#out.number(seq);
    this.#out.text(inbox);
  }

  ackedAll(token: number): void {
    this.#out.u8(Item.ackedAll);
    this.#out.number(token);
  }

  finish(standing: PartStanding): Uint8Array {
    const out = this.#out;
    out.u8(Item.end);
    out.number(standing.left);
    out.number(standing.again);
    out.number(standing.pending);
    out.number(standing.settled);
    out.number(standing.lastSeq);
    out.number(standing.poll);
    out.number(standing.round);
    out.number(standing.voided);
    out.number(standing.voidedNews);
    out.number(standing.lastsEnd);
    return out.give();
  }

  drop(): void {
    this.#out.reset();
  }
}

/** The part has no such session. `isMissing`: nor has it the consumer. */
export function encodeClosed(session: number, name: string, isMissing: boolean): Uint8Array {
  const out = new ByteWriter(64);
  out.u8(PartFrame.closed);
  out.number(session);
  out.text(name);
  out.u8(isMissing ? 1 : 0);
  return out.give();
}

/** Consumers of the home that the partition has no part of. */
export function encodeMissing(session: number, ids: readonly number[]): Uint8Array {
  const out = new ByteWriter(64);
  out.u8(PartFrame.missing);
  out.number(session);
  out.ascending(ids);
  return out.give();
}

export interface PartFrameReader {
  /** What is to hear the items of a supply frame; undefined: nobody waits for it. */
  supply(session: number, name: string, epoch: number): SupplyReader | undefined;
  closed(session: number, name: string, isMissing: boolean): void;
  missing(session: number, ids: number[]): void;
}

/** False: malformed. */
export function readPartFrame(bytes: Uint8Array, to: PartFrameReader): boolean {
  return checked(bytes, (from) => dispatch(from, to)) ?? false;
}

function dispatch(from: ByteReader, to: PartFrameReader): true | undefined {
  const kind = from.u8();
  const session = from.number();
  if (kind === PartFrame.missing) {
    const ids: number[] = [];
    from.runs((first, count) => {
      for (let i = 0; i < count; i++) ids.push(first + i);
    });
    to.missing(session, ids);
    return true;
  }
  const name = from.text();
  if (kind === PartFrame.closed) {
    to.closed(session, name, from.u8() === 1);
    return true;
  }
  if (kind !== PartFrame.supply) return undefined;
  const reader = to.supply(session, name, from.number());
  return reader === undefined ? true : readItems(from, reader);
}

function readItems(from: ByteReader, to: SupplyReader): true | undefined {
  for (;;) {
    switch (from.u8()) {
      case Item.offer: {
        const isNew = from.u8() === 1;
        const seq = from.number();
        const deliveries = from.number();
        const stampUs = from.number();
        const subject = from.text();
        const hdr = from.raw(from.number());
        to.offer({ seq, isNew, deliveries, stampUs, subject, hdr, payload: from.raw(from.number()) });
        break;
      }
      case Item.withdraw:
        to.withdraw(from.number());
        break;
      case Item.confirm:
        to.confirm(from.text());
        break;
      case Item.ackAll: {
        const seq = from.number();
        to.ackAll(seq, from.text());
        break;
      }
      case Item.ackedAll:
        to.ackedAll(from.number());
        break;
      case Item.end: {
        const left = from.number();
        const again = from.number();
        const pending = from.number();
        const settled = from.number();
        const lastSeq = from.number();
        const poll = from.number();
        const round = from.number();
        const voided = from.number();
        const voidedNews = from.number();
        to.standing({
          left,
          again,
          pending,
          settled,
          lastSeq,
          poll,
          round,
          voided,
          voidedNews,
          lastsEnd: from.number(),
        });
        return true;
      }
      default:
        return undefined;
    }
  }
}

function checked<T>(bytes: Uint8Array, read: (from: ByteReader) => T): T | undefined {
  try {
    return read(new ByteReader(bytes));
  } catch (error) {
    if (error instanceof BytesError) return undefined;
    throw error;
  }
}
