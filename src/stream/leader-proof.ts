// What the leader of a partition may do on its own word alone: hand out messages, and say that an acknowledged one never comes again
// (docs/adr/0007). Hands out only on fresh proof that it leads; who must wait is told when it is there. After an election, and whenever else
// another node may still hand out what was given to it, answers to double acks wait until it cannot any more.
// Used by delivery.ts and home-engine.ts. Invariant: answers leave in the order in which they were given.
import { SUCCESSION_MS } from '../../cluster/host/types.ts';
import type { Clock, Timer } from '../kit/env.ts';
import { EMPTY } from './delivery-frames.ts';
import type { CommandProposer, Outlet } from './types.ts';

export interface ProofHost<Waiter> {
  readonly outlet: Outlet;
  /** It waited for a proof: to be asked again. */
  ready(waiter: Waiter): void;
}

export class LeaderProof<Waiter> {
  readonly #clock: Clock;
  readonly #proposer: CommandProposer;
  readonly #host: ProofHost<Waiter>;
  /** Counted in SUCCESSION_MS: how often an earlier leader's word may be passed on before a message is handed out. */
  readonly #hops: number;
  #waiting = new Set<Waiter>();
  #isAsked = false;
  /** No answers before. */
  #answerFromMs = 0;
  #answers: string[] = [];
  #timer: Timer | undefined;

  constructor(clock: Clock, proposer: CommandProposer, host: ProofHost<Waiter>, hops: number) {
    this.#clock = clock;
    this.#proposer = proposer;
    this.#host = host;
    this.#hops = hops;
  }

  /** Leadership has come. The first term has no earlier leader. */
  begin(term: number): void {
    if (term > 1) this.hold(this.#hops);
  }

  end(): void {
    this.#waiting.clear();
    this.#answers = [];
    this.#answerFromMs = 0;
    if (this.#timer !== undefined) this.#clock.cancel(this.#timer);
    this.#timer = undefined;
  }

  /** Is it proven now that this leader leads? */
  get holds(): boolean {
    return this.#clock.nowMs() < this.#proposer.provenUntilMs();
  }

  /** May messages be handed out in this turn? If not, `waiter` is called when that may have changed. */
  mayHandOut(waiter: Waiter): boolean {
    if (this.holds) return true;
    this.#waiting.add(waiter);
    if (this.#isAsked) return false;
    this.#isAsked = true;
    this.#proposer.prove(() => {
      this.#isAsked = false;
      const waiting = this.#waiting;
      this.#waiting = new Set();
      for (const one of waiting) this.#host.ready(one);
    });
    return false;
  }

  /** Somebody may still hand out what was acknowledged here: for so many times SUCCESSION_MS. */
  hold(hops: number): void {
    this.#answerFromMs = Math.max(this.#answerFromMs, this.#clock.nowMs() + hops * SUCCESSION_MS);
  }

  confirm(inbox: string): void {
    if (this.#answerFromMs === 0) this.#answer(inbox);
    else {
      this.#answers.push(inbox);
      this.#answerWaiting();
    }
  }

  #answerWaiting(): void {
    const waitMs = this.#answerFromMs - this.#clock.nowMs();
    if (waitMs > 0) {
      this.#timer ??= this.#clock.after(waitMs, this.#onTimer);
      return;
    }
    this.#answerFromMs = 0;
    const answers = this.#answers;
    this.#answers = [];
    for (const inbox of answers) this.#answer(inbox);
  }

  /** An empty message. */
  #answer(inbox: string): void {
    this.#host.outlet.deliverTo(inbox, { subject: inbox, reply: '', hdr: EMPTY, payload: EMPTY });
  }

  readonly #onTimer = (): void => {
    this.#timer = undefined;
    this.#answerWaiting();
  };
}
