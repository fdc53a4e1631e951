// The workload that changes who holds what, on purpose and under load: streams of the other workloads get more replicas or fewer, lose a member
// for another node, and have their leaders step down. Started by scenario.ts. When faults are over every stream is given the size back that its
// workload judges it by; that goes on until the end, because a change of unknown outcome may come late.
import type { Prng } from './prng.ts';
import { SimClient } from './sim-client.ts';
import type { Run, StreamLoad } from './stream-load.ts';

const REQUEST_MS = 6000;
const INFO_MS = 3000;
/** Between two moves of a stream. */
const GAP_MS_MAX = 2500;
const SCALE_SHARE = 0.45;
const REMOVE_SHARE = 0.35;

interface Answer {
  error?: unknown;
  config?: { num_replicas: number };
}

export class Moves {
  readonly #run: Run;
  readonly #loads: readonly StreamLoad[];
  /** Numbers of replicas that a stream may get. */
  readonly #sizes: readonly number[];
  readonly #clients: readonly SimClient[];
  readonly #chance: Prng;

  constructor(run: Run, loads: readonly StreamLoad[], sizes: readonly number[]) {
    const { nodes, prng, scheduler } = run.world;
    this.#run = run;
    this.#loads = loads;
    this.#sizes = sizes;
    this.#clients = nodes.map((node) => new SimClient(`moves-${node.name}`, scheduler, node));
    this.#chance = prng.stream('what moves');
  }

  start(): void {
    for (const load of this.#loads) this.#later(load);
  }

  #later(load: StreamLoad): void {
    this.#run.world.scheduler.after(this.#chance.float() * GAP_MS_MAX, () => this.#move(load));
  }

  #move(load: StreamLoad): void {
    const { faulty, world } = this.#run;
    const later = (): void => this.#later(load);
    const counted = (what: string) => (answer: Answer | undefined) => {
      if (answer !== undefined) world.count(what);
      later();
    };
    const kind = faulty ? this.#chance.float() : 0;
    if (kind < SCALE_SHARE) this.#scale(load, faulty ? this.#chance.pick(this.#sizes) : load.replicas, later);
    else if (kind < SCALE_SHARE + REMOVE_SHARE) {
      const body = { peer: this.#chance.pick(world.nodes).name };
      this.#ask(`PEER.REMOVE.${load.name}`, body, REQUEST_MS, counted('peer removed'));
    } else this.#ask(`LEADER.STEPDOWN.${load.name}`, {}, REQUEST_MS, counted('stepped down'));
  }

  #scale(load: StreamLoad, replicas: number, then: () => void): void {
    this.#ask(`INFO.${load.name}`, {}, INFO_MS, (info) => {
      const before = info?.config?.num_replicas ?? replicas;
      if (before === replicas) {
        then();
        return;
      }
      this.#ask(`UPDATE.${load.name}`, { ...info!.config, num_replicas: replicas }, REQUEST_MS, (answer) => {
        if (answer !== undefined) this.#run.world.count(replicas > before ? 'scaled up' : 'scaled down');
        then();
      });
    });
  }

  /** Through any node; undefined: refused, or nobody knows. */
  #ask(api: string, body: object, timeoutMs: number, then: (answer: Answer | undefined) => void): void {
    this.#chance
      .pick(this.#clients)
      .request(`$JS.API.STREAM.${api}`, JSON.stringify(body), {}, timeoutMs, (outcome) => {
        const answer = outcome.kind === 'reply' ? (JSON.parse(outcome.text) as Answer) : undefined;
        then(answer?.error === undefined ? answer : undefined);
      });
  }
}
