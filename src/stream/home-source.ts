// One part of a consumer as its home sees it (docs/adr/0004): the session with the part's leader, messages that came and wait for a
// request, and what the part last said of itself. Owned by home-consumer.ts. Seqs are local to the part's partition.
// Invariants: `credit` is what the part may still send or void; the order of messages is the part's; what is dropped here without being
// handed out goes back by a rewind or by the end of the session.
import { PROOF_MS } from '../../cluster/host/types.ts';
import { Fifo } from './fifo.ts';
import { encodeHomeFrame, type Offer, PartFrame, type PartStanding, type SupplyReader } from './part-frames.ts';

/** What a source needs of its consumer. */
export interface SourceOwner {
  readonly name: string;
  nowMs(): number;
  /** To the leader of the partition. False: it did not leave. */
  toPart(partition: number, frame: Uint8Array): boolean;
  confirm(inbox: string): void;
  ackAll(partition: number, seq: number, inbox: string): void;
  ackedAll(partition: number, token: number): void;
  /** A client is at work. */
  touch(): void;
  /** The session ended because a frame did not leave. */
  lost(source: HomeSource): void;
  /** Something has changed. */
  changed(): void;
}

export class HomeSource implements SupplyReader {
  readonly partition: number;
  /** 0: none. */
  session = 0;
  /** The part has said where it stands, in the present epoch. */
  isKnown = false;
  credit = 0;
  newsCredit = 0;
  left = 0;
  again = 0;
  pending = 0;
  settled = -1;
  lastSeq = 0;
  poll = -1;
  lastsEnd = 0;
  /** Everything up to here was handed out; -1: it has not begun. */
  position = -1;
  /** What the partition's last seq is to be at least. */
  level = 0;
  /** Not asked for a session before. */
  reopenAtMs = 0;
  readonly #owner: SourceOwner;
  readonly #buffer = new Fifo<Offer>();
  /** Of the messages that wait here, those that are new. */
  bufferedNew = 0;
  #epoch = 0;
  #taken = 0;
  #isStale = false;
  #toldPoll = 0;
  #toldLevel = 0;
  /** Comes back with proof that the part's leader led after it was told. */
  #round = 0;
  /** When the present round was told; -1: it was answered. */
  #toldMs = -1;
  /** When the part's leader certainly led, in this session. */
  #ledMs = Number.NEGATIVE_INFINITY;

  constructor(owner: SourceOwner, partition: number) {
    this.#owner = owner;
    this.partition = partition;
  }

  // ---- session

  opened(session: number): void {
    this.closed();
    this.session = session;
  }

  /** The part is told, if it can be. */
  end(): void {
    const { session } = this;
    if (session > 0) {
      const frame = encodeHomeFrame({ kind: PartFrame.close, session, name: this.#owner.name });
      this.#owner.toPart(this.partition, frame);
    }
    this.closed();
  }

  /** Whatever is here and was not handed out is the part's again. */
  closed(): void {
    this.session = 0;
    this.#epoch = 0;
    this.#taken = 0;
    this.#toldPoll = 0;
    this.#toldLevel = 0;
    this.#round = 0;
    this.#toldMs = -1;
    this.#ledMs = Number.NEGATIVE_INFINITY;
    this.poll = -1;
    this.settled = -1;
    this.#empty();
  }

  #empty(): void {
    this.left += this.bufferedNew;
    this.#buffer.drain();
    this.bufferedNew = 0;
    this.credit = 0;
    this.newsCredit = 0;
    this.isKnown = false;
  }

  /** Gives back what is here. */
  rewind(): void {
    const taken = this.#taken;
    this.#taken = 0;
    this.#epoch++;
    this.settled = -1;
    this.#empty();
    this.#send(encodeHomeFrame({ kind: PartFrame.rewind, session: this.session, name: this.#owner.name, taken }));
  }

  /** Tells the part what is new to it, with more credit. */
  demand(credit: number, news: number, poll: number): void {
    if (credit === 0 && this.#taken === 0 && poll <= this.#toldPoll && this.level <= this.#toldLevel) return;
    this.#tell(credit, news, poll);
  }

  /** May what waits here be handed out? A part whose leader was replaced, or has ended the session, gives it to somebody else. If not, asks;
   * `changed` follows. */
  mayHandOut(nowMs: number): boolean {
    if (nowMs < this.#ledMs + PROOF_MS) return true;
    if (this.#toldMs < 0) this.#tell(0, 0, this.#toldPoll);
    return false;
  }

  #tell(credit: number, news: number, poll: number): void {
    if (this.#toldMs < 0) {
      this.#toldMs = this.#owner.nowMs();
      this.#round++;
    }
    const taken = this.#taken;
    this.credit += credit;
    this.newsCredit += news;
    this.#taken = 0;
    this.#toldPoll = poll;
    this.#toldLevel = this.level;
    this.#send(
      encodeHomeFrame({
        kind: PartFrame.demand,
        session: this.session,
        name: this.#owner.name,
        epoch: this.#epoch,
        credit,
        news,
        taken,
        poll,
        round: this.#round,
        level: this.level,
      }),
    );
  }

  #send(frame: Uint8Array): void {
    if (this.#owner.toPart(this.partition, frame)) return;
    this.closed();
    this.#owner.lost(this);
  }

  // ---- messages

  get buffered(): number {
    return this.#buffer.size;
  }

  /** New messages that the client has not seen. */
  get remaining(): number {
    return this.left + this.bufferedNew;
  }

  get isIdle(): boolean {
    return this.isKnown && this.#buffer.size === 0 && this.credit === 0 && this.left === 0 && this.again === 0;
  }

  /** The message to hand out next; those that were withdrawn leave. */
  peek(): Offer | undefined {
    for (;;) {
      const offer = this.#buffer.peek();
      if (offer === undefined || offer.deliveries > 0) return offer;
      this.take();
    }
  }

  /** The first was handed out. */
  take(): void {
    const offer = this.#buffer.shift() as Offer;
    this.#taken++;
    if (offer.deliveries > 0 && offer.isNew) this.bufferedNew--;
    if (offer.isNew) this.position = offer.seq;
  }

  // ---- SupplyReader

  /** Whom a frame of this session is for. */
  reader(epoch: number): SupplyReader {
    this.#isStale = epoch !== this.#epoch;
    return this;
  }

  offer(offer: Offer): void {
    if (this.#isStale) return;
    this.credit--;
    if (offer.isNew) {
      this.newsCredit--;
      this.bufferedNew++;
    }
    this.#buffer.push(offer);
  }

  withdraw(seq: number): void {
    this.#buffer.each((offer) => {
      if (offer.seq !== seq || offer.deliveries === 0) return;
      offer.deliveries = 0;
      if (offer.isNew) this.bufferedNew--;
    });
  }

  /** Everything up to `seq` is acknowledged. */
  withdrawUpTo(seq: number): void {
    this.#buffer.each((offer) => {
      if (offer.seq <= seq) this.withdraw(offer.seq);
    });
  }

  confirm(inbox: string): void {
    this.#owner.confirm(inbox);
  }

  ackAll(seq: number, inbox: string): void {
    this.#owner.ackAll(this.partition, seq, inbox);
  }

  ackedAll(token: number): void {
    this.#owner.ackedAll(this.partition, token);
  }

  standing(standing: PartStanding): void {
    if (standing.round === this.#round && this.#toldMs >= 0) {
      this.#ledMs = this.#toldMs;
      this.#toldMs = -1;
    }
    if (!this.#isStale) {
      if (standing.pending < this.pending) this.#owner.touch();
      this.isKnown = true;
      this.left = standing.left;
      this.again = standing.again;
      this.pending = standing.pending;
      this.settled = standing.settled;
      this.lastSeq = standing.lastSeq;
      this.poll = standing.poll;
      this.lastsEnd = standing.lastsEnd;
      this.credit -= standing.voided;
      this.newsCredit -= standing.voidedNews;
      if (this.#buffer.size === 0 && (this.position < 0 || this.left === 0)) {
        this.position = Math.max(this.position, standing.settled);
      }
    }
    this.#owner.changed();
  }
}
