// Where the part of a consumer delivers to: its home, against credit. The third kind of demand beside PullQueue and PushTarget; used by
// delivery-consumer.ts. Knows what is on its way: sent to the home and neither handed out nor given back.
// Invariants: nothing is sent without a session or beyond the credit; frames of one session leave in order or the session ends; what
// is on its way stays in the order in which it left.
import type { PeerId } from '../../cluster/core/types.ts';
import { Fifo } from './fifo.ts';
import { type DemandFrame, type Offer, type PartStanding, SupplyWriter } from './part-frames.ts';

/** Bytes on their way, beyond which a part waits for what the home hands out. */
const BYTES_MAX = 2 << 20;

export interface PartUplink {
  /** To the node that leads the home. False: it did not leave. */
  send(home: PeerId, frame: Uint8Array): boolean;
  /** A session ends because its frames do not get through: the home is to be told. */
  lost(home: PeerId, session: number, name: string): void;
}

/** Where the part stands, apart from what this file knows. */
export type PartReport = Omit<PartStanding, 'poll' | 'round' | 'voided' | 'voidedNews'>;

export class PartTarget {
  /** 0: none. */
  session = 0;
  home: PeerId = 0;
  credit = 0;
  /** How much of the credit is for messages never sent before. */
  news = 0;
  /** What the partition's last seq is to be at least. */
  level = 0;
  readonly #uplink: PartUplink;
  readonly #name: string;
  readonly #writer = new SupplyWriter();
  /** seq × 2, plus 1 when it was new. */
  readonly #onTheWay = new Fifo<number>();
  readonly #sizes = new Fifo<number>();
  #bytes = 0;
  /** The one that left last; 0 when none is on its way. */
  lastOnTheWay = 0;
  #epoch = 0;
  #poll = 0;
  #voided = 0;
  #voidedNews = 0;
  #asked = false;
  /** The home's last round, and the one that was answered with proof. */
  #round = 0;
  #provenRound = 0;
  #confirms: string[] = [];
  #acks: { seq: number; inbox: string }[] = [];
  #tokens: number[] = [];
  // What the home knows.
  #toldSome = false;
  #toldPending = -1;
  #toldSettled = -1;

  constructor(uplink: PartUplink, name: string) {
    this.#uplink = uplink;
    this.#name = name;
  }

  /** A new conversation. The one before must have been closed. */
  open(session: number, home: PeerId): void {
    this.session = session;
    this.home = home;
    this.level = 0;
    this.#epoch = 0;
    this.#poll = 0;
    this.#round = 0;
    this.#provenRound = 0;
    this.#asked = true;
  }

  /** Returns the inboxes that still wait for an answer. */
  close(): string[] {
    const inboxes = this.#confirms;
    this.session = 0;
    this.#void(0);
    this.#writer.drop();
    this.#confirms = [];
    this.#acks = [];
    this.#tokens = [];
    return inboxes;
  }

  #void(voided: number): void {
    this.credit = 0;
    this.news = 0;
    this.#voided = voided;
    this.#voidedNews = voided;
  }

  demand(frame: DemandFrame): void {
    this.#asked = true;
    this.#poll = frame.poll;
    this.#round = frame.round;
    this.level = frame.level;
    if (frame.epoch !== this.#epoch) return;
    this.credit += frame.credit;
    this.news += frame.news;
  }

  /** The home has not heard since its last frame that this node leads. */
  get owesProof(): boolean {
    return this.#provenRound < this.#round;
  }

  /** It is proven now that this node leads, with every frame of the home heard. */
  proven(): void {
    this.#provenRound = this.#round;
    this.#asked = true;
  }

  get admits(): boolean {
    return this.session > 0 && this.credit > 0 && this.#bytes < BYTES_MAX;
  }

  offer(offer: Offer, size: number): void {
    this.#begin();
    this.#writer.offer(offer);
    this.#onTheWay.push(offer.seq * 2 + (offer.isNew ? 1 : 0));
    this.#sizes.push(size);
    this.#bytes += size;
    this.lastOnTheWay = offer.seq;
    this.credit--;
    if (offer.isNew) this.news--;
  }

  /** Nothing is there for the credit that is left. */
  void(): void {
    this.#voided += this.credit;
    this.#voidedNews += this.news;
    this.credit = 0;
    this.news = 0;
  }

  /** The home has handed out the first `count`. False: so many were not on their way, it speaks of something else. */
  taken(count: number, each: (seq: number) => void): boolean {
    if (count > this.#onTheWay.size) return false;
    for (let i = 0; i < count; i++) {
      this.#bytes -= this.#sizes.shift() as number;
      each(Math.floor((this.#onTheWay.shift() as number) / 2));
    }
    if (this.#onTheWay.size === 0) this.lastOnTheWay = 0;
    return true;
  }

  /** The home is to begin anew. */
  breakOff(): void {
    this.#uplink.lost(this.home, this.session, this.#name);
  }

  /** Nothing is on its way any more: all of it goes back, in the order in which it left. */
  takeBack(): number[] {
    this.#sizes.drain();
    this.#bytes = 0;
    this.lastOnTheWay = 0;
    return this.#onTheWay.drain().map((item) => Math.floor(item / 2));
  }

  /** The home gives everything back and goes on. */
  rewound(): void {
    this.#epoch++;
    this.#void(0);
    this.#writer.drop();
    this.#asked = true;
  }

  isOnTheWay(seq: number): boolean {
    return this.#onTheWay.some((item) => Math.floor(item / 2) === seq);
  }

  /** The first that left; 0 when none is on its way. */
  get firstOnTheWay(): number {
    return Math.floor((this.#onTheWay.peek() ?? 0) / 2);
  }

  /** False: none is on its way. */
  withdrawAll(): boolean {
    this.#onTheWay.each((item) => this.withdraw(Math.floor(item / 2)));
    return this.#onTheWay.size > 0;
  }

  withdraw(seq: number): void {
    this.#begin();
    this.#writer.withdraw(seq);
  }

  /** Answers leave behind the messages of the same frame. */
  confirm(inbox: string): void {
    this.#confirms.push(inbox);
  }

  ackAll(seq: number, inbox: string): void {
    this.#acks.push({ seq, inbox });
  }

  ackedAll(token: number): void {
    this.#tokens.push(token);
  }

  #writeAnswers(): void {
    for (const inbox of this.#confirms) this.#writer.confirm(inbox);
    for (const { seq, inbox } of this.#acks) this.#writer.ackAll(seq, inbox);
    for (const token of this.#tokens) this.#writer.ackedAll(token);
  }

  /** Tells the home what is new to it, if anything is. False: it did not get through, the session is over. */
  report(standing: PartReport): boolean {
    const { left, again, pending, settled } = standing;
    const some = left > 0 || again > 0;
    const reached = this.level > this.#toldSettled && settled > this.#toldSettled;
    const answers = this.#confirms.length + this.#acks.length + this.#tokens.length;
    const isNews =
      answers > 0 || some !== this.#toldSome || pending !== this.#toldPending || reached || this.#voided > 0;
    if (!this.#asked && this.#writer.isEmpty && !isNews) return true;
    this.#begin();
    this.#writeAnswers();
    const voids = { poll: this.#poll, round: this.#provenRound, voided: this.#voided, voidedNews: this.#voidedNews };
    const frame = this.#writer.finish({ ...standing, ...voids });
    this.#asked = false;
    this.#voided = 0;
    this.#voidedNews = 0;
    this.#toldSome = some;
    this.#toldPending = pending;
    this.#toldSettled = settled;
    if (this.#uplink.send(this.home, frame)) {
      this.#confirms = [];
      this.#acks = [];
      this.#tokens = [];
      return true;
    }
    this.breakOff();
    return false;
  }

  #begin(): void {
    if (this.#writer.isEmpty) this.#writer.begin(this.session, this.#name, this.#epoch);
  }
}
