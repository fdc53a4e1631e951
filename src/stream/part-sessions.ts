// The parts' side of consumers over several partitions (docs/adr/0004), on the leader of each partition: takes the frames of homes,
// opens and ends sessions, makes and removes parts after what the home says exists. Owned by partition.ts, over its DeliveryEngine.
// Invariants: a session of an earlier leadership of the home never replaces one of a later; a part is removed only because its home's
// log says that the consumer is gone.
import type { PeerId } from '../../cluster/core/types.ts';
import type { Env, Timer } from '../kit/env.ts';
import type { ConsumerConfig } from './config.ts';
import { ConsumerCommand, encodeRemove } from './consumer-codec.ts';
import { ConsumerRecord } from './consumer-record.ts';
import type { ConsumerRegistry } from './consumers.ts';
import type { DeliveryEngine } from './delivery.ts';
import type { LiveConsumer } from './delivery-consumer.ts';
import { type ApiError, apiError } from './errors.ts';
import {
  decodeHomeFrame,
  encodeClosed,
  encodeMissing,
  type HomeFrame,
  type OpenFrame,
  PartFrame,
  type SyncFrame,
} from './part-frames.ts';
import type { PartUplink } from './part-target.ts';
import type { CommandProposer, MessageView, PartPlan } from './types.ts';

/** A home that could not be reached is told again after this that its session is over. */
const RETRY_MS = 50;

export interface PartSessionsOptions {
  env: Env;
  engine: () => DeliveryEngine;
  table: ConsumerRegistry;
  view: MessageView;
  proposer: CommandProposer;
  /** To the node that leads the home. False: it did not leave. */
  send: (home: PeerId, frame: Uint8Array) => boolean;
  /** First local seq whose stream seq is >= seq. */
  toLocalFrom: (seq: number) => number;
  isLeading: () => boolean;
}

interface Lost {
  home: PeerId;
  session: number;
  name: string;
}

export class PartSessions implements PartUplink {
  readonly #options: PartSessionsOptions;
  /** The largest session heard of: a home of an earlier term is over. */
  #newest = 0;
  #lost: Lost[] = [];
  #timer: Timer | undefined;

  constructor(options: PartSessionsOptions) {
    this.#options = options;
  }

  onNotLeading() {
    this.#newest = 0;
    this.#lost = [];
    if (this.#timer !== undefined) this.#options.env.clock.cancel(this.#timer);
    this.#timer = undefined;
  }

  // ---- PartUplink

  send(home: PeerId, frame: Uint8Array): boolean {
    return this.#options.send(home, frame);
  }

  lost(home: PeerId, session: number, name: string) {
    this.#lost.push({ home, session, name });
    this.#timer ??= this.#options.env.clock.after(RETRY_MS, () => this.#tellLost());
  }

  #tellLost() {
    this.#timer = undefined;
    const lost = this.#lost;
    this.#lost = [];
    for (const { home, session, name } of lost) {
      if (!this.#options.send(home, encodeClosed(session, name, false))) this.lost(home, session, name);
    }
  }

  // ---- making and removing

  /** Lifts the partition behind the plan's seq, then makes the part. */
  create(plan: PartPlan, done: (result: true | ApiError) => void) {
    this.#advance(plan.behind === 0 ? 0 : this.#options.toLocalFrom(plan.behind + 1) - 1, (ok) => {
      if (!ok) return done(apiError(10008));
      const start = plan.start === 0 ? 0 : this.#options.toLocalFrom(plan.start);
      this.#options.engine().createPart(plan.homeId, plan.config, start, done);
    });
  }

  /** Removes the part of the home's consumer `homeId`, if it is there. */
  remove(name: string, homeId: number, done: (result: true | ApiError) => void) {
    const record = this.#options.table.get(name);
    if (record === undefined || record.homeId !== homeId) return done(true);
    this.#remove(record, done);
  }

  #remove(record: ConsumerRecord, done: (result: true | ApiError) => void) {
    const body = encodeRemove(record.id, record.name);
    this.#options.proposer.proposeCommand(ConsumerCommand.remove, body, (result) => {
      if (result === undefined) this.#options.engine().part(record.name);
      done(result === undefined || result.err_code === 10014 ? true : result);
    });
  }

  #advance(level: number, then: (ok: boolean) => void) {
    if (level <= this.#options.view.lastSeq) then(true);
    else this.#options.proposer.advance(level, then);
  }

  // ---- frames of homes

  /** False: malformed. */
  receive(from: PeerId, bytes: Uint8Array): boolean {
    const frame = decodeHomeFrame(bytes);
    if (frame === undefined) return false;
    if (!this.#options.isLeading()) {
      if (frame.kind === PartFrame.open || frame.kind === PartFrame.demand) this.#refuse(from, frame, false);
      return true;
    }
    if (frame.kind === PartFrame.sync) this.#sync(from, frame);
    else if (frame.kind === PartFrame.open) this.#open(from, frame);
    else this.#converse(from, frame);
    return true;
  }

  #refuse(home: PeerId, frame: { session: number; name: string }, isMissing: boolean) {
    if (!this.#options.send(home, encodeClosed(frame.session, frame.name, isMissing))) {
      this.lost(home, frame.session, frame.name);
    }
  }

  #converse(from: PeerId, frame: Exclude<HomeFrame, OpenFrame | SyncFrame>) {
    const consumer = this.#options.engine().part(frame.name);
    if (consumer === undefined || consumer.part!.session !== frame.session) {
      if (frame.kind === PartFrame.demand) this.#refuse(from, frame, false);
      return;
    }
    if (frame.kind === PartFrame.demand) consumer.demand(frame);
    else if (frame.kind === PartFrame.rewind) consumer.rewind(frame);
    else if (frame.kind === PartFrame.ackAll) consumer.ackAll(frame.upTo, frame.token);
    else if (consumer.memory) this.#options.engine().dropPart(consumer);
    else consumer.endSession();
  }

  #open(from: PeerId, frame: OpenFrame) {
    const { table } = this.#options;
    if (this.#isOver(frame.session)) return this.#refuse(from, frame, false);
    this.#newest = Math.max(this.#newest, frame.session);
    if (frame.homeId === 0) {
      this.#advance(frame.level, (ok) => {
        if (ok && this.#options.isLeading() && !this.#isOver(frame.session)) this.#openInMemory(from, frame);
        else this.#refuse(from, frame, false);
      });
      return;
    }
    const consumer = this.#options.engine().part(frame.name);
    const record = table.get(frame.name);
    // In the home's own partition the part is the home's record.
    const known = record?.homeId || record?.id;
    if (consumer === undefined || consumer.memory || known !== frame.homeId) {
      return this.#refuse(from, frame, true);
    }
    if (frame.session > consumer.part!.session) consumer.openSession(frame.session, from);
  }

  /** Sessions of a leadership are numbered on; those of an earlier one are over. */
  #isOver(session: number): boolean {
    return Math.floor(session / SESSIONS_PER_TERM) < Math.floor(this.#newest / SESSIONS_PER_TERM);
  }

  #openInMemory(from: PeerId, frame: OpenFrame) {
    const { env, view } = this.#options;
    const engine = this.#options.engine();
    const before = engine.part(frame.name);
    if (before !== undefined) {
      if (!before.memory || before.part!.session >= frame.session) return this.#refuse(from, frame, false);
      engine.dropPart(before);
    }
    const record = new ConsumerRecord(0, JSON.parse(frame.config) as ConsumerConfig, env.clock.wallUs());
    if (frame.after === 0) record.begin(view, frame.start, false);
    else record.resume(frame.after - 1, frame.lastsEnd);
    engine.beginPart(record).openSession(frame.session, from);
  }

  /** The home has a leader, or this partition has, or they meet again. */
  #sync(from: PeerId, frame: SyncFrame) {
    if (this.#isOver(frame.session)) return;
    this.#newest = Math.max(this.#newest, frame.session);
    this.#options.engine().endParts(({ part }) => part!.session > 0 && this.#isOver(part!.session));
    const ids = new Set(frame.ids);
    for (const record of [...this.#options.table.records()]) {
      if (record.homeId === 0) continue;
      if (ids.delete(record.homeId) || record.homeId >= frame.nextId) continue;
      this.#remove(record, () => {});
    }
    if (ids.size > 0)
      this.#options.send(
        from,
        encodeMissing(
          frame.session,
          [...ids].sort((a, b) => a - b),
        ),
      );
  }

  /** The node of homes is gone, or does not lead them any more. */
  onPeerDown(peer: PeerId) {
    this.#lost = this.#lost.filter(({ home }) => home !== peer);
    this.#options.engine().endParts((consumer: LiveConsumer) => {
      return consumer.part!.session > 0 && consumer.part!.home === peer;
    });
  }
}

/** A session's number: term of the home's group × this, plus a count. */
export const SESSIONS_PER_TERM = 1 << 20;
