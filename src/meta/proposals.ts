// Requests on their way into the meta group's log and their answers on the way back. Owned by meta.ts; works the same on
// the meta leader and elsewhere (`meta.propose`). A request waits in order for a leader for at most 2 s; once it may have
// reached a log it is never sent again, and if its fate is lost the answer is 10008. An answer leaves only when this node
// has applied the entry itself, so whoever asks next on this node sees what was answered.

import type { Index, PeerId } from '../../cluster/core/types.ts';
import type { Group } from '../../cluster/host/types.ts';
import type { Rpc, Transport } from '../../cluster/rpc/types.ts';
import type { Env, Timer } from '../kit/env.ts';
import { type ApiError, apiError } from '../stream/errors.ts';
import {
  encodeCommand,
  encodeJson,
  type MetaCommand,
  type MetaRequest,
  type MetaResult,
  parseObject,
  parseRequest,
} from './meta-codec.ts';

type Answer = { index: Index; result: MetaResult } | { notLeading: true } | { unknown: true };

interface Waiting {
  request: MetaRequest;
  dueMs: number;
  done: (outcome: MetaResult) => void;
}

interface AppliedWaiter {
  index: Index;
  dueMs: number;
  done: (applied: boolean) => void;
}

export interface ProposalsOptions {
  env: Env;
  rpc: Rpc;
  transport: Transport;
  /** Undefined until the meta group is open. */
  group: () => Group | undefined;
  /** Adds the leader's knowledge; an error refuses the request without an entry. */
  command: (request: MetaRequest) => MetaCommand | ApiError;
  clusterTimeUs: () => number;
}

const PROPOSE = 'meta.propose';
const HOLD_MS_MAX = 2000;
const ANSWER_MS_MAX = 5000;
const RETRY_MS = 50;
/** Requests held or under way from this node; more are refused. */
const WAITING_MAX = 10_000;

const UNAVAILABLE: MetaResult = { ok: false, error: apiError(10008) };

export class Proposals {
  readonly #options: ProposalsOptions;
  #waiting: Waiting[] = [];
  #underWay = 0;
  /** Proposed here, by index, until applied. */
  readonly #proposed = new Map<Index, (answer: Answer) => void>();
  #appliedWaiters: AppliedWaiter[] = [];
  #applied: Index = 0;
  #timer: Timer | undefined;
  #pumpAsked = false;
  #closed = false;

  constructor(options: ProposalsOptions) {
    this.#options = options;
    options.rpc.handle(PROPOSE, (from, bytes, reply) => {
      const request = parseRequest(bytes);
      if (request === undefined) {
        options.env.log.warn('malformed metadata request from a peer', { peer: from });
        reply(encodeJson({ unknown: true }));
      } else this.#propose(request, (answer) => reply(encodeJson(answer)));
    });
  }

  /** `done` runs exactly once. */
  submit(request: MetaRequest, done: (outcome: MetaResult) => void): void {
    if (this.#closed || this.#waiting.length + this.#underWay >= WAITING_MAX) {
      done(UNAVAILABLE);
      return;
    }
    this.#waiting.push({ request, done, dueMs: this.#options.env.clock.nowMs() + HOLD_MS_MAX });
    this.#askPump();
  }

  /** Proposes on `leader`, of which the caller knows otherwise; the answer is of no interest, the caller looks at the catalog. */
  submitTo(leader: PeerId, request: MetaRequest): void {
    this.#options.rpc.request(leader, PROPOSE, encodeJson(request), ANSWER_MS_MAX, () => undefined);
  }

  /** The meta leader may have changed. */
  leaderChanged(): void {
    if (this.#waiting.length > 0) this.#askPump();
  }

  /** This node leads no longer: what it proposed has an unknown outcome. */
  stopped(): void {
    const lost = [...this.#proposed.values()];
    this.#proposed.clear();
    for (const answer of lost) answer({ unknown: true });
  }

  /** The machine has applied `index` (or a snapshot up to it: then without result). */
  applied(index: Index, result: MetaResult | undefined): void {
    this.#applied = index;
    const answer = this.#proposed.get(index);
    if (answer !== undefined && result !== undefined) {
      this.#proposed.delete(index);
      answer({ index, result });
    }
    if (this.#appliedWaiters.length === 0) return;
    const ready = this.#appliedWaiters.filter((waiter) => waiter.index <= index);
    if (ready.length === 0) return;
    this.#appliedWaiters = this.#appliedWaiters.filter((waiter) => waiter.index > index);
    for (const waiter of ready) waiter.done(true);
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== undefined) this.#options.env.clock.cancel(this.#timer);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { done } of waiting) done(UNAVAILABLE);
    const late = this.#appliedWaiters;
    this.#appliedWaiters = [];
    for (const waiter of late) waiter.done(false);
    this.stopped();
  }

  #askPump(): void {
    if (this.#pumpAsked || this.#closed) return;
    this.#pumpAsked = true;
    this.#options.env.clock.endOfTurn(() => {
      this.#pumpAsked = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#closed) return;
    const nowMs = this.#options.env.clock.nowMs();
    const waiting = this.#waiting;
    this.#waiting = [];
    const leader = this.#leader();
    for (const one of waiting) {
      if (leader !== 0) this.#send(leader, one);
      else if (one.dueMs <= nowMs) one.done(UNAVAILABLE);
      else this.#waiting.push(one);
    }
    const late = this.#appliedWaiters.filter((waiter) => waiter.dueMs <= nowMs);
    if (late.length > 0) {
      this.#appliedWaiters = this.#appliedWaiters.filter((waiter) => waiter.dueMs > nowMs);
      for (const waiter of late) waiter.done(false);
    }
    this.#armTimer();
  }

  #armTimer(): void {
    if (this.#timer !== undefined || (this.#waiting.length === 0 && this.#appliedWaiters.length === 0)) return;
    this.#timer = this.#options.env.clock.after(RETRY_MS, () => {
      this.#timer = undefined;
      this.#pump();
    });
  }

  /** Who can be asked now; 0 nobody. */
  #leader(): PeerId {
    const { group, transport } = this.#options;
    const meta = group();
    if (meta === undefined) return 0;
    if (meta.leading) return transport.self.id;
    const { leader } = meta;
    return leader !== 0 && leader !== transport.self.id && transport.isUp(leader) ? leader : 0;
  }

  #send(leader: PeerId, one: Waiting): void {
    const { rpc, transport } = this.#options;
    this.#underWay++;
    if (leader === transport.self.id) {
      this.#propose(one.request, (answer) => this.#answered(one, answer));
      return;
    }
    rpc.request(leader, PROPOSE, encodeJson(one.request), ANSWER_MS_MAX, (reply) => {
      if (reply.ok) this.#answered(one, parseAnswer(reply.bytes));
      else if (reply.reason === 'no-link' || reply.reason === 'refused') this.#answered(one, { notLeading: true });
      else this.#answered(one, { unknown: true });
    });
  }

  #answered(one: Waiting, answer: Answer): void {
    this.#underWay--;
    if ('index' in answer) {
      const { result } = answer;
      this.#whenApplied(answer.index, (applied) => one.done(applied ? result : UNAVAILABLE));
    } else if ('notLeading' in answer && !this.#closed && this.#options.env.clock.nowMs() < one.dueMs) {
      this.#waiting.push(one);
      this.#armTimer();
    } else {
      one.done(UNAVAILABLE);
    }
  }

  #whenApplied(index: Index, done: (applied: boolean) => void): void {
    if (this.#applied >= index) {
      done(true);
      return;
    }
    this.#appliedWaiters.push({ index, done, dueMs: this.#options.env.clock.nowMs() + ANSWER_MS_MAX });
    this.#armTimer();
  }

  /** On the leader. */
  #propose(request: MetaRequest, done: (answer: Answer) => void): void {
    const { group, command, clusterTimeUs } = this.#options;
    const meta = group();
    if (meta === undefined || !meta.leading || this.#closed) {
      done({ notLeading: true });
      return;
    }
    const made = command(request);
    if ('err_code' in made) {
      done({ index: 0, result: { ok: false, error: made } });
      return;
    }
    const index = meta.propose(encodeCommand(made, clusterTimeUs()));
    if (index === undefined) done({ notLeading: true });
    else this.#proposed.set(index, done);
  }
}

function parseAnswer(bytes: Uint8Array): Answer {
  const value = parseObject(bytes);
  if (value?.notLeading === true) return { notLeading: true };
  const { index, result } = value ?? {};
  if (typeof index !== 'number' || typeof result !== 'object' || result === null || !('ok' in result)) {
    return { unknown: true };
  }
  return { index, result: result as MetaResult };
}
