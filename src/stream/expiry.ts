// Wakes the leader when messages grow too old or message ids leave the duplicate window, and proposes that they go: only the log
// removes them, equally everywhere (DESIGN §7). Also proposes what works off a backlog (backlog.ts). Used by partition.ts. Nothing ticks
// while nothing is due: one timer, at the earliest due time. Invariant: at most one expiry is in flight.
import { NO_TIME_US } from '../../cluster/host/cluster-clock.ts';
import type { Env, Timer } from '../kit/env.ts';
import { CommandType, EXPIRE_AGE, EXPIRE_BACKLOG, EXPIRE_IDS, EXPIRE_TTL, encodeExpire } from './batch-codec.ts';
import type { PartitionLeader } from './leader.ts';
import type { StreamMachine } from './machine.ts';

/** Removals of one kind per command: an apply stays short. */
const REMOVALS_MAX = 2_500;
const MARKERS_MAX = 1000;
/** Expiries that fall due one after the other leave together. */
const SLACK_MS = 50;
/** Ids that are past the window are ignored anyway; they only hold memory. */
const IDS_SLACK_MS = 1000;
/** Nobody has told the time yet: so long until it is asked for again. */
const NO_TIME_MS = 500;
/** Timers are 32 bit. */
const DELAY_MS_MAX = 1 << 30;

export interface ExpiryOptions {
  env: Env;
  machine: StreamMachine;
  leader: PartitionLeader;
  clusterTimeUs: () => number;
}

export class ExpiryTimers {
  readonly #options: ExpiryOptions;
  #timer: Timer | undefined;
  // What the timer was set by.
  #dueUs = 0;
  #revision = 0;
  #proposed = false;

  constructor(options: ExpiryOptions) {
    this.#options = options;
  }

  /** Something was applied while leading, or leadership began: the earliest due time may have changed. */
  applied(): void {
    const { machine, env, clusterTimeUs } = this.#options;
    if (this.#proposed) return;
    if (machine.hasBacklog) {
      env.crashPoint('stream:backlog');
      this.#propose(EXPIRE_BACKLOG);
      return;
    }
    if (this.#timer === undefined && !machine.fallsDue) return;
    // Stamps only grow: nothing becomes due before the timer, except by a time to live or another configuration.
    if (this.#timer !== undefined && machine.ttls.dueUs >= this.#dueUs && this.#revision === machine.configRevision)
      return;
    this.#cancel();
    const dueUs = Math.min(machine.ageDueUs, machine.ttls.dueUs, machine.idsDueUs + IDS_SLACK_MS * 1000);
    if (dueUs === Number.POSITIVE_INFINITY) return;
    this.#dueUs = dueUs;
    this.#revision = machine.configRevision;
    const nowUs = clusterTimeUs();
    const delayMs =
      nowUs === NO_TIME_US ? NO_TIME_MS : Math.min(Math.max((dueUs - nowUs) / 1000, 0) + SLACK_MS, DELAY_MS_MAX);
    this.#timer = env.clock.after(delayMs, this.#wake);
  }

  readonly #wake = (): void => {
    this.#timer = undefined;
    const { machine, leader, clusterTimeUs } = this.#options;
    const nowUs = clusterTimeUs();
    let kinds = 0;
    if (machine.ageDueUs <= nowUs) kinds |= EXPIRE_AGE;
    if (machine.ttls.dueUs <= nowUs) kinds |= EXPIRE_TTL;
    if (machine.idsDueUs <= nowUs) kinds |= EXPIRE_IDS;
    if (kinds === 0) {
      this.applied();
      return;
    }
    // Markers go first: the expiry stops at a message that still needs one.
    for (const seq of machine.dueForMarker(nowUs, MARKERS_MAX)) {
      if (!leader.storeMarker(seq, machine.markerTtlSeconds)) break;
    }
    this.#propose(kinds);
  };

  #propose(kinds: number): void {
    this.#proposed = true;
    this.#options.leader.command(CommandType.expire, encodeExpire(kinds, REMOVALS_MAX), (gone) => {
      this.#proposed = false;
      // A full command: there may be more, which need not wait.
      if (typeof gone === 'number' && gone >= REMOVALS_MAX) this.#wake();
    });
  }

  stop(): void {
    this.#cancel();
    this.#proposed = false;
  }

  #cancel(): void {
    if (this.#timer !== undefined) this.#options.env.clock.cancel(this.#timer);
    this.#timer = undefined;
  }
}
